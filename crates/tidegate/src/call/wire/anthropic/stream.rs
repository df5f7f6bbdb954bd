//! A streamed message: begun whole but empty, then filled block by block.

use serde_json::{Map, Value};

use super::failed_inside;
use super::types::ErrorBody;
use crate::call::sse::Event;
use crate::call::status;
use crate::call::wire::StreamState;
use crate::call::wire::stream::{append, list, object};
use crate::failure::{Failure, Kind};
use crate::response::Delta;

/// Adds an event to the message.
pub(super) fn event(state: &mut StreamState, event: &Event, out: &mut Vec<Delta>) -> Result<(), Failure> {
    let mut fields: Map<String, Value> = state.read(event)?;
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or(&event.name).to_owned();
    let index = fields.get("index").and_then(Value::as_u64).unwrap_or(0) as usize;
    let mut take = |name: &str| fields.shift_remove(name).unwrap_or_default();
    match kind.as_str() {
        "message_start" => state.reply = take("message"),
        "content_block_start" => {
            let content = list(state.object(), "content");
            let block = take("content_block");
            out.extend(call(content, &block));
            content.push(block);
        }
        "content_block_delta" => {
            let delta = take("delta");
            let content = list(state.object(), "content");
            let call = content.iter().take(index).filter(|block| is_call(block)).count();
            let Some(block) = content.get_mut(index) else { return Err(out_of_order(state)) };
            out.extend(add(object(block), call, &delta));
        }
        "content_block_stop" => {
            if let Some(block) = list(state.object(), "content").get_mut(index) {
                parse_input(block);
            }
        }
        "message_delta" => {
            state.object().extend(object(&mut take("delta")).clone());
            // The counts are of the whole message so far; those that are absent have not changed.
            let usage = state.object().entry("usage").or_insert(Value::Null);
            object(usage).extend(object(&mut take("usage")).clone().into_iter().filter(|(_, count)| !count.is_null()));
        }
        "message_stop" => state.ended = true,
        "error" => {
            let error = ErrorBody::from_value(&take("error"));
            return Err(error.map_or_else(|| out_of_order(state), |error| failed_inside(&state.head, &error)));
        }
        _ => {}
    }
    Ok(())
}

fn out_of_order(state: &StreamState) -> Failure {
    status::failure(&state.head, Kind::Malformed, "the stream's events are out of order".to_owned())
}

fn is_call(block: &Value) -> bool {
    block.get("type").is_some_and(|kind| kind == "tool_use")
}

fn call(before: &[Value], block: &Value) -> Option<Delta> {
    let text = |name: &str| block.get(name).and_then(Value::as_str).map(str::to_owned);
    let index = before.iter().filter(|block| is_call(block)).count();
    is_call(block).then(|| Delta::ToolCall { index, id: text("id"), name: text("name"), arguments: String::new() })
}

/// Adds a delta to its block, of which it is the `call`th tool call if it is one.
fn add(block: &mut Map<String, Value>, call: usize, delta: &Value) -> Option<Delta> {
    let text = |name: &str| delta.get(name).and_then(Value::as_str);
    match text("type")? {
        "text_delta" => {
            let more = text("text")?;
            append(block, "text", more);
            Some(Delta::Text(more.to_owned()))
        }
        "thinking_delta" => {
            let more = text("thinking")?;
            append(block, "thinking", more);
            Some(Delta::Reasoning(more.to_owned()))
        }
        "input_json_delta" => {
            let more = text("partial_json")?;
            append(block, "input", more);
            Some(Delta::ToolCall { index: call, id: None, name: None, arguments: more.to_owned() })
        }
        "signature_delta" => {
            block.insert("signature".to_owned(), text("signature")?.into());
            None
        }
        "citations_delta" => {
            list(block, "citations").push(delta.get("citation")?.clone());
            None
        }
        _ => None,
    }
}

/// Makes the object of a tool's input, which came as pieces of JSON text; without a piece it is the empty one from the
/// start. Text that is no JSON stays text, for whoever calls the tool to see.
fn parse_input(block: &mut Value) {
    let Some(input) = block.get_mut("input") else { return };
    let parsed = match &*input {
        Value::String(text) if text.is_empty() => Some(Value::Object(Map::new())),
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    };
    if let Some(parsed) = parsed {
        *input = parsed;
    }
}
