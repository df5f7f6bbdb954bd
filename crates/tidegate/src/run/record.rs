//! One line of results: what was asked, what was answered, by whom, at what price, or why not.
//!
//! The names and their order are part of the product: pipelines read them. A record is written without building a tree,
//! and read back with everything borrowed, because other outputs and reports are made from the journal's records.

use std::borrow::Cow;
use std::time::Duration;

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::failure::{Failure, Kind};
use crate::money::Money;
use crate::response::{Output, Usage};

/// One result.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record<'a> {
    /// The row's id as the input had it.
    #[serde(borrow, serialize_with = "one_line")]
    pub id: Option<&'a RawValue>,
    /// The row as the input had it.
    #[serde(borrow, serialize_with = "one_line")]
    pub input: Option<&'a RawValue>,
    /// The answer, unless the row failed.
    #[serde(borrow)]
    pub output: Option<Answer<'a>>,
    /// The model that answered, or the last one tried.
    #[serde(borrow, deserialize_with = "text")]
    pub model: Option<Cow<'a, str>>,
    /// The number of the sample, only under `--repeat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<u16>,
    /// The endpoint that answered, or the last one tried.
    #[serde(borrow, deserialize_with = "text")]
    pub endpoint: Option<Cow<'a, str>>,
    /// Why the model stopped.
    #[serde(borrow, deserialize_with = "text")]
    pub finish_reason: Option<Cow<'a, str>>,
    /// The tokens used, where the provider says so.
    pub usage: Option<Usage>,
    /// What it cost in US dollars, where the price is known.
    #[serde(rename = "cost_usd", with = "usd")]
    pub cost: Option<Money>,
    /// How long the last attempt took.
    #[serde(rename = "latency_ms", with = "millis")]
    pub latency: Duration,
    /// How many requests were sent.
    pub attempts: u32,
    /// The provider's id of the request.
    #[serde(borrow, deserialize_with = "text")]
    pub request_id: Option<Cow<'a, str>>,
    /// Why there is no answer.
    #[serde(borrow)]
    pub error: Option<RecordError<'a>>,
}

/// An answer in a record.
#[derive(Debug, Clone)]
pub enum Answer<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A vector.
    Vector(&'a [f32]),
    /// Any value.
    Value(&'a Value),
    /// Any value but text, as it stands in a record that was read.
    Raw(&'a RawValue),
}

/// A failure in a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordError<'a> {
    /// The cause.
    pub kind: Kind,
    /// What the provider or the operating system said.
    #[serde(borrow)]
    pub message: Cow<'a, str>,
    /// The HTTP status, if a reply came.
    pub status: Option<u16>,
}

/// Appends a record as one line of JSON, without the line's end.
pub fn write_record(record: &Record<'_>, line: &mut Vec<u8>) {
    push_json(line, record);
}

/// Appends a value as JSON.
pub(super) fn push_json(line: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let written = serde_json::to_writer(line, value);
    // Memory does not fail, and nothing here is a map with keys other than text.
    debug_assert!(written.is_ok(), "{written:?}");
}

impl<'a> Record<'a> {
    /// Reads a record.
    ///
    /// # Errors
    /// Anything but a record as [`write_record`] makes it.
    pub fn parse(line: &'a [u8]) -> Result<Record<'a>, serde_json::Error> {
        serde_json::from_slice(line)
    }
}

impl<'a> From<&'a Output> for Answer<'a> {
    fn from(output: &'a Output) -> Answer<'a> {
        match output {
            Output::Text(text) => Answer::Text(Cow::Borrowed(text)),
            Output::Embedding(vector) => Answer::Vector(vector),
            Output::Json(value) => Answer::Value(value),
        }
    }
}

impl<'a> From<&'a Failure> for RecordError<'a> {
    fn from(failure: &'a Failure) -> RecordError<'a> {
        RecordError { kind: failure.kind, message: Cow::Borrowed(&failure.message), status: failure.status }
    }
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Answer::Text(text) => text.serialize(serializer),
            Answer::Vector(vector) => vector.serialize(serializer),
            Answer::Value(value) => value.serialize(serializer),
            Answer::Raw(raw) => one_line(&Some(*raw), serializer),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Answer<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Answer<'a>, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        match raw.get().starts_with('"') {
            true => {
                serde_json::from_str(raw.get()).map(|Text(text)| Answer::Text(text)).map_err(serde::de::Error::custom)
            }
            false => Ok(Answer::Raw(raw)),
        }
    }
}

/// Text that is borrowed where it has no escapes; serde does that inside a struct only.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

fn text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    Ok(Option::<Text<'a>>::deserialize(deserializer)?.map(|Text(text)| text))
}

/// Writes JSON text as it is, but on one line: a line break can only stand between its tokens.
fn one_line<S: Serializer>(raw: &Option<&RawValue>, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(raw) = raw else { return serializer.serialize_none() };
    if memchr::memchr2(b'\n', b'\r', raw.get().as_bytes()).is_none() {
        return raw.serialize(serializer);
    }
    let line = raw.get().replace(['\n', '\r'], " ");
    RawValue::from_string(line).map_err(serde::ser::Error::custom)?.serialize(serializer)
}

/// Dollars as a plain decimal: a float would show small amounts as `3.1e-5`.
mod usd {
    use super::{Deserialize, Deserializer, Money, RawValue, Serialize, Serializer, dollars};

    pub(super) fn serialize<S: Serializer>(cost: &Option<Money>, serializer: S) -> Result<S::Ok, S::Error> {
        let decimal = cost.map(|cost| RawValue::from_string(dollars(cost)));
        decimal.transpose().map_err(serde::ser::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Money>, D::Error> {
        Ok(Option::<f64>::deserialize(deserializer)?.map(Money::from_usd))
    }
}

/// Milliseconds with at most three decimals.
mod millis {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub(super) fn serialize<S: Serializer>(latency: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        let micros = latency.as_micros();
        match micros % 1000 {
            0 => serializer.serialize_u64((micros / 1000) as u64),
            _ => serializer.serialize_f64(micros as f64 / 1000.0),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Ok(Duration::from_micros((f64::deserialize(deserializer)? * 1000.0).round() as u64))
    }
}

/// Returns an amount as a decimal number with no more digits than it needs, at most 12 behind the point.
pub(super) fn dollars(cost: Money) -> String {
    let text = format!("{:.12}", cost.usd());
    let short = text.trim_end_matches('0').trim_end_matches('.');
    short.to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    fn written(record: &Record<'_>) -> String {
        let mut line = Vec::new();
        write_record(record, &mut line);
        String::from_utf8(line).unwrap()
    }

    fn example() -> Record<'static> {
        Record {
            id: Some(raw("17")),
            input: Some(raw(r#"{"text":"a"}"#)),
            output: Some(Answer::Text("yes".into())),
            model: Some("sim/echo".into()),
            sample: None,
            endpoint: Some("sim".into()),
            finish_reason: Some("stop".into()),
            usage: Some(Usage { input_tokens: 3, output_tokens: 2, ..Usage::default() }),
            cost: Some(Money::from_usd(0.000_031)),
            latency: Duration::from_nanos(12_345_678),
            attempts: 1,
            request_id: None,
            error: None,
        }
    }

    #[test]
    fn the_line_is_what_the_documentation_promises() {
        let usage = r#""usage":{"input_tokens":3,"output_tokens":2,"cached_tokens":0,"reasoning_tokens":0}"#;
        let expected = format!(
            r#"{{"id":17,"input":{{"text":"a"}},"output":"yes","model":"sim/echo","endpoint":"sim","finish_reason":"stop",{usage},"cost_usd":0.000031,"latency_ms":12.345,"attempts":1,"request_id":null,"error":null}}"#
        );
        assert_eq!(written(&example()), expected);
    }

    #[test]
    fn a_failed_row_says_why_and_an_unknown_price_is_null() {
        let failure = Failure::new(Kind::ServerError, "no").with_status(500);
        let record = Record { output: None, cost: None, error: Some((&failure).into()), sample: Some(2), ..example() };
        let line = written(&record);
        assert!(line.contains(r#""output":null"#) && line.contains(r#""cost_usd":null"#), "{line}");
        assert!(line.contains(r#""sample":2,"endpoint""#), "{line}");
        assert!(line.ends_with(r#""error":{"kind":"server_error","message":"no","status":500}}"#), "{line}");
    }

    #[test]
    fn a_row_written_over_several_lines_becomes_one() {
        let line = written(&Record { input: Some(raw("{\r\n \"a\": \"x\\ny\"}")), ..example() });
        assert!(line.contains(r#""input":{   "a": "x\ny"}"#), "{line}");
    }

    #[test]
    fn vectors_and_values_are_answers_too() {
        let vector = Output::Embedding(vec![0.5, -1.0]);
        let value = Output::Json(serde_json::json!({"tool": 1}));
        for (output, text) in [(&vector, "[0.5,-1.0]"), (&value, r#"{"tool":1}"#)] {
            let line = written(&Record { output: Some(output.into()), ..example() });
            assert!(line.contains(&format!(r#""output":{text},"#)), "{line}");
        }
    }

    fn texts() -> impl Strategy<Value = Option<String>> {
        proptest::option::of(any::<String>())
    }

    fn values() -> impl Strategy<Value = Option<Box<RawValue>>> {
        let value = prop_oneof![
            any::<String>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), any::<String>(), 0..4)
                .prop_map(|map| map.into_iter().collect()),
            Just(Value::Bool(true)),
        ];
        proptest::option::of(value.prop_map(|value| serde_json::value::to_raw_value(&value).unwrap()))
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(
            (id, input, output) in (values(), values(), values()),
            (model, endpoint, finish, request_id) in (texts(), texts(), texts(), texts()),
            (cost, micros, attempts, sample) in
                (proptest::option::of(0..1_000_000_000_000_000u64), 0..1u64 << 40, any::<u32>(), any::<Option<u16>>()),
            (message, kind, status) in (any::<String>(), 0..Kind::ALL.len(), any::<Option<u16>>()),
        ) {
            let usage = sample.map(|n| Usage { input_tokens: u64::from(n), cache_write_tokens: 1, ..Usage::default() });
            let record = Record {
                id: id.as_deref(),
                input: input.as_deref(),
                output: output.as_deref().map(Answer::Raw),
                model: model.map(Cow::Owned),
                sample,
                endpoint: endpoint.map(Cow::Owned),
                finish_reason: finish.map(Cow::Owned),
                usage,
                cost: cost.map(|pico| Money::from_usd(pico as f64 / 1e12)),
                latency: Duration::from_micros(micros),
                attempts,
                request_id: request_id.map(Cow::Owned),
                error: Some(RecordError { kind: Kind::ALL[kind], message: message.into(), status }),
            };
            let line = written(&record);
            let read = Record::parse(line.as_bytes()).unwrap();
            prop_assert_eq!(written(&read), line.clone());
            prop_assert_eq!((read.cost, read.latency, &read.error), (record.cost, record.latency, &record.error));
            prop_assert_eq!((read.model, read.usage), (record.model, record.usage));
            prop_assert!(!line.contains('\n'));
        }

        #[test]
        fn any_line_is_parsed_without_panic(line in any::<Vec<u8>>()) {
            let _ = Record::parse(&line);
        }
    }
}
