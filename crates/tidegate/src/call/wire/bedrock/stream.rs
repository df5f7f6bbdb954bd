//! A streamed message of Converse: filled block by block, with what was used told behind its end.

use serde_json::{Map, Value, json};

use super::errors;
use super::types::{ErrorBody, plain_name};
use crate::call::eventstream::EXCEPTION;
use crate::call::sse::Event;
use crate::call::status;
use crate::call::wire::StreamState;
use crate::call::wire::stream::{append, list, object};
use crate::failure::{Failure, Kind};
use crate::response::Delta;

/// Adds an event to the message.
pub(super) fn event(state: &mut StreamState, event: &Event, out: &mut Vec<Delta>) -> Result<(), Failure> {
    if let Some(name) = event.name.strip_prefix(EXCEPTION) {
        return Err(failed(state, name, &event.data));
    }
    let mut fields: Map<String, Value> = state.read(event)?;
    let index = fields.get("contentBlockIndex").and_then(Value::as_u64);
    let mut take = |name: &str| fields.shift_remove(name).unwrap_or_default();
    match event.name.as_str() {
        "messageStart" => drop(message(state).insert("role".to_owned(), take("role"))),
        "contentBlockStart" => {
            let start = take("start");
            let (block, call) = block(state, index)?;
            object(block).extend(start.as_object().cloned().unwrap_or_default());
            out.extend(begun(block, call));
        }
        "contentBlockDelta" => {
            let delta = take("delta");
            let (block, call) = block(state, index)?;
            out.extend(add(object(block), call, &delta));
        }
        "contentBlockStop" => parse_input(block(state, index)?.0),
        "messageStop" => {
            for name in ["stopReason", "additionalModelResponseFields"] {
                state.object().insert(name.to_owned(), take(name));
            }
        }
        "metadata" => {
            state.object().extend(fields);
            state.ended = true;
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn failed(state: &StreamState, name: &str, data: &[u8]) -> Failure {
    let told = ErrorBody::read(&http::HeaderMap::new(), data);
    let (message, original) = told.map(|told| (told.message, told.original)).unwrap_or_default();
    let error = ErrorBody { kind: plain_name(name), message, original };
    let kind = errors::kind(&error).unwrap_or(match error.kind.as_str() {
        "validation" => Kind::BadRequest,
        _ => Kind::ServerError,
    });
    let message = if error.message.is_empty() { name.to_owned() } else { error.message };
    status::failure(&state.head, kind, message)
}

fn message(state: &mut StreamState) -> &mut Map<String, Value> {
    let output = state.object().entry("output").or_insert(Value::Null);
    object(object(output).entry("message").or_insert(Value::Null))
}

/// Returns a block, which begins with its first event whatever that is, and how many tool calls stand before it.
fn block(state: &mut StreamState, index: Option<u64>) -> Result<(&mut Value, usize), Failure> {
    let length = list(message(state), "content").len();
    let index = index.and_then(|index| usize::try_from(index).ok()).filter(|index| *index <= length);
    let Some(index) = index else {
        let what = "the stream's events are out of order".to_owned();
        return Err(status::failure(&state.head, Kind::Malformed, what));
    };
    let content = list(message(state), "content");
    if index == length {
        content.push(json!({}));
    }
    let calls = content.iter().take(index).filter(|block| block.get("toolUse").is_some()).count();
    Ok((&mut content[index], calls))
}

fn begun(block: &Value, index: usize) -> Option<Delta> {
    let call = block.get("toolUse")?;
    let text = |name: &str| call.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Delta::ToolCall { index, id: text("toolUseId"), name: text("name"), arguments: String::new() })
}

/// Adds a delta to its block, of which it is the `call`th tool call if it is one.
fn add(block: &mut Map<String, Value>, call: usize, delta: &Value) -> Option<Delta> {
    let (kind, value) = delta.as_object()?.iter().next()?;
    match kind.as_str() {
        "text" => {
            let more = value.as_str()?;
            append(block, "text", more);
            Some(Delta::Text(more.to_owned()))
        }
        "toolUse" => {
            let more = value.get("input")?.as_str()?;
            append(object(block.entry("toolUse").or_insert(Value::Null)), "input", more);
            Some(Delta::ToolCall { index: call, id: None, name: None, arguments: more.to_owned() })
        }
        "reasoningContent" => reasoning(object(block.entry("reasoningContent").or_insert(Value::Null)), value),
        "citation" => {
            let cited = object(block.entry("citationsContent").or_insert(Value::Null));
            list(cited, "citations").push(value.clone());
            None
        }
        _ => None,
    }
}

fn reasoning(block: &mut Map<String, Value>, value: &Value) -> Option<Delta> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    if let Some(redacted) = text("redactedContent") {
        append(block, "redactedContent", redacted);
        return None;
    }
    let shown = object(block.entry("reasoningText").or_insert(Value::Null));
    if let Some(signature) = text("signature") {
        append(shown, "signature", signature);
    }
    let more = text("text")?;
    append(shown, "text", more);
    Some(Delta::Reasoning(more.to_owned()))
}

/// Makes the object of a tool's input, which came as pieces of JSON text. Text that is no JSON stays text, for whoever
/// calls the tool to see.
fn parse_input(block: &mut Value) {
    let Some(call) = block.get_mut("toolUse") else { return };
    let parsed = match call.get("input") {
        None => Some(json!({})),
        Some(Value::String(text)) if text.is_empty() => Some(json!({})),
        Some(Value::String(text)) => serde_json::from_str(text).ok(),
        _ => None,
    };
    if let Some(parsed) = parsed {
        object(call).insert("input".to_owned(), parsed);
    }
}
