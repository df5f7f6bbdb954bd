//! Result lines as OpenAI's Batch API writes them, so that what reads those reads ours.
//!
//! The provider's body is the row's detail and goes out as it came, but on one line. A row that failed with an HTTP status
//! has a `response` with it, one that failed without has an `error`; both go to the error file.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::run::journal::Row;
use crate::run::record::{Record, RecordError, push_json};

#[derive(Serialize)]
struct Line<'a> {
    id: String,
    custom_id: Option<&'a RawValue>,
    response: Option<Reply<'a>>,
    error: Option<Fault<'a>>,
}

#[derive(Serialize)]
struct Reply<'a> {
    status_code: u16,
    request_id: Option<&'a str>,
    body: Body<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    /// As the provider sent it.
    Sent(Box<RawValue>),
    /// What we know of an error whose body is not kept or is not JSON.
    Error { error: Fault<'a> },
    /// An answer whose body is not kept.
    None,
}

#[derive(Serialize)]
struct Fault<'a> {
    code: &'static str,
    message: &'a str,
}

/// Appends a row's line.
pub(super) fn project(row: &Row<'_>, record: &Record<'_>, line: &mut Vec<u8>) {
    let reply = |status_code| Reply { status_code, request_id: record.request_id.as_deref(), body: body(row, record) };
    let (response, error) = match &record.error {
        None => (Some(reply(200)), None),
        Some(RecordError { status: Some(status), .. }) => (Some(reply(*status)), None),
        Some(error) => (None, Some(fault(error))),
    };
    let custom_id = record.id.and_then(|id| serde_json::from_str(id.get()).ok());
    let id = format!("batch_req_{:016x}", row.head.key);
    push_json(line, &Line { id, custom_id, response, error });
    line.push(b'\n');
}

fn body<'r>(row: &Row<'_>, record: &'r Record<'_>) -> Body<'r> {
    let sent = row.detail.and_then(|detail| std::str::from_utf8(detail).ok());
    match (sent.and_then(|sent| RawValue::from_string(one_line(sent).into_owned()).ok()), &record.error) {
        (Some(sent), _) => Body::Sent(sent),
        (None, Some(error)) => Body::Error { error: fault(error) },
        (None, None) => Body::None,
    }
}

fn fault<'r>(error: &'r RecordError<'_>) -> Fault<'r> {
    Fault { code: error.kind.name(), message: &error.message }
}

/// In JSON a line break can only stand between tokens, where a space means the same.
fn one_line(json: &str) -> Cow<'_, str> {
    match json.contains(['\n', '\r']) {
        true => Cow::Owned(json.replace(['\n', '\r'], " ")),
        false => Cow::Borrowed(json),
    }
}
