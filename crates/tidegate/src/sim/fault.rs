//! What can go wrong at the simulated provider, and how often.

use serde::{Deserialize, Deserializer, Serialize};

use super::scenario::number;

/// What goes wrong by chance: each a probability from 0 to 1, together at most 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// A 429 although quota is left.
    #[serde(deserialize_with = "probability")]
    pub status_429: f64,
    /// A 500.
    #[serde(deserialize_with = "probability")]
    pub status_500: f64,
    /// A 503.
    #[serde(deserialize_with = "probability")]
    pub status_503: f64,
    /// A 529, overloaded.
    #[serde(deserialize_with = "probability")]
    pub status_529: f64,
    /// The connection is reset before the reply.
    #[serde(deserialize_with = "probability")]
    pub reset: f64,
    /// No reply ever comes.
    #[serde(deserialize_with = "probability")]
    pub hang: f64,
    /// The body trickles.
    #[serde(deserialize_with = "probability")]
    pub slow_body: f64,
    /// The connection closes in the middle of the body.
    #[serde(deserialize_with = "probability")]
    pub cut_body: f64,
    /// A 200 whose body is not JSON.
    #[serde(deserialize_with = "probability")]
    pub malformed_json: f64,
    /// A 200 without any text.
    #[serde(deserialize_with = "probability")]
    pub empty_content: f64,
    /// A 200 whose value does not satisfy the schema that was asked for.
    #[serde(deserialize_with = "probability")]
    pub schema_violation: f64,
    /// A 200 that the content filter stopped.
    #[serde(deserialize_with = "probability")]
    pub content_filter: f64,
    /// A 200 whose text is no longer the JSON that it was: cut, with prose around, or with a property that comes twice.
    #[serde(deserialize_with = "probability")]
    pub damaged_json: f64,
    /// A 200 whose text stands in a code fence.
    #[serde(deserialize_with = "probability")]
    pub fenced_json: f64,
    /// A 200 to several questions at once in which some answers are missing, of another form, spelled with another id, or
    /// there twice; to a single question it is a good one.
    #[serde(deserialize_with = "probability")]
    pub damaged_members: f64,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// See [`Faults::status_429`].
    #[serde(rename = "status_429")]
    Status429,
    /// See [`Faults::status_500`].
    #[serde(rename = "status_500")]
    Status500,
    /// See [`Faults::status_503`].
    #[serde(rename = "status_503")]
    Status503,
    /// See [`Faults::status_529`].
    #[serde(rename = "status_529")]
    Status529,
    /// See [`Faults::reset`].
    Reset,
    /// See [`Faults::hang`].
    Hang,
    /// See [`Faults::slow_body`].
    SlowBody,
    /// See [`Faults::cut_body`].
    CutBody,
    /// See [`Faults::malformed_json`].
    MalformedJson,
    /// See [`Faults::empty_content`].
    EmptyContent,
    /// See [`Faults::schema_violation`].
    SchemaViolation,
    /// See [`Faults::content_filter`].
    ContentFilter,
    /// See [`Faults::damaged_json`].
    DamagedJson,
    /// See [`Faults::fenced_json`].
    FencedJson,
    /// See [`Faults::damaged_members`].
    DamagedMembers,
}

impl Faults {
    fn table(&self) -> [(Fault, f64); 15] {
        [
            (Fault::Status429, self.status_429),
            (Fault::Status500, self.status_500),
            (Fault::Status503, self.status_503),
            (Fault::Status529, self.status_529),
            (Fault::Reset, self.reset),
            (Fault::Hang, self.hang),
            (Fault::SlowBody, self.slow_body),
            (Fault::CutBody, self.cut_body),
            (Fault::MalformedJson, self.malformed_json),
            (Fault::EmptyContent, self.empty_content),
            (Fault::SchemaViolation, self.schema_violation),
            (Fault::ContentFilter, self.content_filter),
            (Fault::DamagedJson, self.damaged_json),
            (Fault::FencedJson, self.fenced_json),
            (Fault::DamagedMembers, self.damaged_members),
        ]
    }

    /// Returns how probable it is that anything goes wrong.
    pub(super) fn together(&self) -> f64 {
        self.table().iter().map(|(_, probability)| probability).sum()
    }

    /// Returns the fault that a draw from 0 to 1 stands for.
    pub(super) fn pick(&self, draw: f64) -> Option<Fault> {
        let mut above = 0.0;
        self.table().into_iter().find_map(|(fault, probability)| {
            above += probability;
            (draw < above).then_some(fault)
        })
    }
}

fn probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number(deserializer, "a probability from 0 to 1", |value| (0.0..=1.0).contains(&value))
}
