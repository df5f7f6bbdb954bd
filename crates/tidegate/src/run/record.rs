//! One line of results: what was asked, what was answered, by whom, at what price, or why not.
//!
//! The names and their order are part of the product: pipelines read them. A record is written without building a tree,
//! and read back with everything borrowed, because other outputs and reports are made from the journal's records.

use std::borrow::Cow;
use std::time::Duration;

use serde::de::Deserializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::failure::{Failure, Kind};
use crate::json;
use crate::money::Money;
use crate::outcome::Checked;
use crate::response::{Output, Usage};

/// One result.
#[derive(Debug, Clone, Deserialize)]
pub struct Record<'a> {
    /// The row's id as the input had it.
    #[serde(borrow)]
    pub id: Option<Json<'a>>,
    /// The row as the input had it.
    #[serde(borrow)]
    pub input: Option<Json<'a>>,
    /// The answer, unless the row failed.
    #[serde(borrow)]
    pub output: Option<Answer<'a>>,
    /// The model that answered, or the last one tried.
    #[serde(borrow, deserialize_with = "text")]
    pub model: Option<Cow<'a, str>>,
    /// The number of the sample, only under `--repeat`.
    #[serde(default)]
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
    #[serde(rename = "cost_usd", deserialize_with = "usd")]
    pub cost: Option<Money>,
    /// How long the last attempt took.
    #[serde(rename = "latency_ms", deserialize_with = "millis")]
    pub latency: Duration,
    /// How many requests were sent.
    pub attempts: u32,
    /// The provider's id of the request.
    #[serde(borrow, deserialize_with = "text")]
    pub request_id: Option<Cow<'a, str>>,
    /// Whether the output is only a last resort, because every attempt failed.
    #[serde(default)]
    pub fallback: bool,
    /// Whether the output was found in the cache, so that nobody was asked.
    #[serde(default)]
    pub cached: bool,
    /// Whether the outcome is that of an identical row, so that nobody was asked for this one.
    #[serde(default)]
    pub shared: bool,
    /// How many rows the call was about that answered it or failed last, if there were several.
    #[serde(default)]
    pub packed: Option<u32>,
    /// How many calls were made for it, its part of a call about several rows counted as such; only with a call of that
    /// kind.
    #[serde(default)]
    pub calls: Option<f64>,
    /// How the answer was judged, only with a schema, checks or a ladder.
    #[serde(default)]
    pub checked: Option<Cow<'a, Checked>>,
    /// Why there is no answer.
    #[serde(borrow)]
    pub error: Option<RecordError<'a>>,
    /// What was left out of the request, and what was odd about it; only where there is any.
    #[serde(default)]
    pub warnings: Vec<Cow<'a, str>>,
}

/// A piece of JSON text as it stands in a row or in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(&'a str);

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
    Raw(Json<'a>),
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
///
/// Not derived: serde looks for escapes in each field's name again and checks the row's JSON once more, for every row.
pub fn write_record(record: &Record<'_>, line: &mut Vec<u8>) {
    push_field(line, r#"{"id":"#, record.id.as_ref(), push_one_line);
    push_field(line, r#","input":"#, record.input.as_ref(), push_one_line);
    push_field(line, r#","output":"#, record.output.as_ref(), push_answer);
    push_field(line, r#","model":"#, record.model.as_deref(), push_text);
    if let Some(sample) = &record.sample {
        push_field(line, r#","sample":"#, Some(sample), push_json);
    }
    push_field(line, r#","endpoint":"#, record.endpoint.as_deref(), push_text);
    push_field(line, r#","finish_reason":"#, record.finish_reason.as_deref(), push_text);
    push_field(line, r#","usage":"#, record.usage.as_ref(), push_usage);
    push_field(line, r#","cost_usd":"#, record.cost.as_ref(), |line, cost| {
        line.extend_from_slice(dollars(*cost).as_bytes())
    });
    push_field(line, r#","latency_ms":"#, Some(&record.latency), push_millis);
    push_field(line, r#","attempts":"#, Some(&record.attempts), push_json);
    push_field(line, r#","request_id":"#, record.request_id.as_deref(), push_text);
    if record.fallback {
        line.extend_from_slice(br#","fallback":true"#);
    }
    if record.cached {
        line.extend_from_slice(br#","cached":true"#);
    }
    if record.shared {
        line.extend_from_slice(br#","shared":true"#);
    }
    if let Some(packed) = &record.packed {
        push_field(line, r#","packed":"#, Some(packed), push_json);
    }
    if let Some(calls) = &record.calls {
        push_field(line, r#","calls":"#, Some(calls), push_json);
    }
    if let Some(checked) = &record.checked {
        push_field(line, r#","checked":"#, Some(checked), push_json);
    }
    push_field(line, r#","error":"#, record.error.as_ref(), push_json);
    if !record.warnings.is_empty() {
        push_field(line, r#","warnings":"#, Some(&record.warnings), push_json);
    }
    line.push(b'}');
}

/// Appends what stands before a value, and the value as `push` writes it, or null.
fn push_field<T: ?Sized>(line: &mut Vec<u8>, before: &str, value: Option<&T>, push: impl FnOnce(&mut Vec<u8>, &T)) {
    line.extend_from_slice(before.as_bytes());
    match value {
        Some(value) => push(line, value),
        None => line.extend_from_slice(b"null"),
    }
}

/// Appends JSON text as it is, but on one line: a line break can only stand between its tokens.
fn push_one_line(line: &mut Vec<u8>, json: &Json<'_>) {
    let start = line.len();
    line.extend_from_slice(json.get().as_bytes());
    if memchr::memchr2(b'\n', b'\r', &line[start..]).is_some() {
        line[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    }
}

fn push_answer(line: &mut Vec<u8>, answer: &Answer<'_>) {
    match answer {
        Answer::Text(text) => push_text(line, text),
        Answer::Vector(vector) => push_json(line, vector),
        Answer::Value(value) => push_json(line, value),
        Answer::Raw(json) => push_one_line(line, json),
    }
}

fn push_usage(line: &mut Vec<u8>, usage: &Usage) {
    push_field(line, r#"{"input_tokens":"#, Some(&usage.input_tokens), push_json);
    push_field(line, r#","output_tokens":"#, Some(&usage.output_tokens), push_json);
    push_field(line, r#","cached_tokens":"#, Some(&usage.cached_tokens), push_json);
    push_field(line, r#","reasoning_tokens":"#, Some(&usage.reasoning_tokens), push_json);
    if usage.cache_write_tokens > 0 {
        push_field(line, r#","cache_write_tokens":"#, Some(&usage.cache_write_tokens), push_json);
    }
    line.push(b'}');
}

/// Appends milliseconds with at most three decimals.
fn push_millis(line: &mut Vec<u8>, latency: &Duration) {
    let micros = latency.as_micros();
    match micros % 1000 {
        0 => push_json(line, &((micros / 1000) as u64)),
        _ => push_json(line, &(micros as f64 / 1000.0)),
    }
}

/// Appends a text as JSON. Most have nothing to escape, and that is found out for many bytes at once, where serde looks
/// at one after the other.
fn push_text(line: &mut Vec<u8>, text: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if !text.bytes().fold(true, |all, byte| all & plain(byte)) {
        return push_json(line, text);
    }
    line.push(b'"');
    line.extend_from_slice(text.as_bytes());
    line.push(b'"');
}

/// Appends a value as JSON.
pub(super) fn push_json(line: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let written = serde_json::to_writer(line, value);
    // Memory does not fail, and nothing here is a map with keys other than text.
    debug_assert!(written.is_ok(), "{written:?}");
}

impl<'a> Record<'a> {
    /// Makes the record of a row of which nothing is known.
    pub(super) fn blank() -> Record<'a> {
        Record {
            id: None,
            input: None,
            output: None,
            model: None,
            sample: None,
            endpoint: None,
            finish_reason: None,
            usage: None,
            cost: None,
            latency: Duration::ZERO,
            attempts: 0,
            request_id: None,
            fallback: false,
            cached: false,
            shared: false,
            packed: None,
            calls: None,
            checked: None,
            error: None,
            warnings: Vec::new(),
        }
    }

    /// Returns whether nothing is known: the row was neither answered nor has it failed.
    pub(super) fn is_blank(&self) -> bool {
        self.output.is_none() && self.error.is_none() && self.attempts == 0
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Anything but a record as [`write_record`] makes it.
    pub fn parse(line: &'a [u8]) -> Result<Record<'a>, serde_json::Error> {
        json::from_slice(line)
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

impl<'a> Json<'a> {
    /// Takes a text that is known to be JSON.
    #[must_use]
    pub fn known(text: &'a str) -> Json<'a> {
        Json(text)
    }

    /// Returns the text.
    #[must_use]
    pub fn get(self) -> &'a str {
        self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json<'a>, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| Json(raw.get()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Answer<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Answer<'a>, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        match raw.get().starts_with('"') {
            true => {
                serde_json::from_str(raw.get()).map(|Text(text)| Answer::Text(text)).map_err(serde::de::Error::custom)
            }
            false => Ok(Answer::Raw(Json(raw.get()))),
        }
    }
}

/// Text that is borrowed where it has no escapes; serde does that inside a struct only.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

fn text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    Ok(Option::<Text<'a>>::deserialize(deserializer)?.map(|Text(text)| text))
}

fn usd<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Money>, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.map(Money::from_usd))
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Ok(Duration::from_micros((f64::deserialize(deserializer)? * 1000.0).round() as u64))
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

    fn written(record: &Record<'_>) -> String {
        let mut line = Vec::new();
        write_record(record, &mut line);
        String::from_utf8(line).unwrap()
    }

    fn example() -> Record<'static> {
        Record {
            id: Some(Json::known("17")),
            input: Some(Json::known(r#"{"text":"a"}"#)),
            output: Some(Answer::Text("yes".into())),
            model: Some("sim/echo".into()),
            sample: None,
            endpoint: Some("sim".into()),
            finish_reason: Some("stop".into()),
            usage: Some(Usage { input_tokens: 3, output_tokens: 2, ..Usage::default() }),
            cost: Some(Money::from_usd(0.000_031)),
            latency: Duration::from_nanos(12_345_678),
            attempts: 1,
            ..Record::blank()
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
        assert!(line.contains(r#""sample":2,"endpoint""#) && !line.contains("fallback"), "{line}");
        let line = written(&Record { fallback: true, ..record });
        assert!(line.contains(r#","fallback":true,"error":{"#), "{line}");
        assert!(line.ends_with(r#""error":{"kind":"server_error","message":"no","status":500}}"#), "{line}");
    }

    #[test]
    fn a_row_written_over_several_lines_becomes_one() {
        let line = written(&Record { input: Some(Json::known("{\r\n \"a\": \"x\\ny\"}")), ..example() });
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

    fn values() -> impl Strategy<Value = Option<String>> {
        let value = prop_oneof![
            any::<String>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), any::<String>(), 0..4)
                .prop_map(|map| map.into_iter().collect()),
            Just(Value::Bool(true)),
        ];
        proptest::option::of(value.prop_map(|value| value.to_string()))
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
                id: id.as_deref().map(Json::known),
                input: input.as_deref().map(Json::known),
                output: output.as_deref().map(Json::known).map(Answer::Raw),
                model: model.map(Cow::Owned),
                sample,
                endpoint: endpoint.map(Cow::Owned),
                finish_reason: finish.map(Cow::Owned),
                usage,
                cost: cost.map(|pico| Money::from_usd(pico as f64 / 1e12)),
                latency: Duration::from_micros(micros),
                attempts,
                request_id: request_id.map(Cow::Owned),
                fallback: attempts % 2 == 1,
                cached: attempts % 3 == 1,
                shared: attempts % 5 == 1,
                packed: sample.map(u32::from),
                calls: sample.map(|n| f64::from(n) / 3.0),
                checked: None,
                error: Some(RecordError { kind: Kind::ALL[kind], message: message.into(), status }),
                warnings: sample.map(|n| Cow::from(format!("\"{n}"))).into_iter().collect(),
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
