//! A streamed response. The event that ends it holds all of it, so the events before are only told.

use serde_json::Value;

use super::failed_inside;
use super::read::PARAGRAPH;
use crate::call::sse::Event;
use crate::call::status;
use crate::call::wire::StreamState;
use crate::call::wire::openai::types::ErrorBody;
use crate::call::wire::stream::list;
use crate::failure::{Failure, Kind};
use crate::response::Delta;

/// Adds an event to the response.
pub(super) fn event(state: &mut StreamState, event: &Event, out: &mut Vec<Delta>) -> Result<(), Failure> {
    if event.data.starts_with(b"[DONE]") || event.data.trim_ascii().is_empty() {
        return Ok(());
    }
    let mut fields: Value = state.read(event)?;
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or(&event.name).to_owned();
    let delta = || fields.get("delta").and_then(Value::as_str).map(str::to_owned);
    let place = fields.get("output_index").and_then(Value::as_u64).unwrap_or(0);
    match kind.as_str() {
        "response.output_text.delta" => out.extend(delta().map(Delta::Text)),
        "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
            out.extend(delta().map(Delta::Reasoning));
        }
        "response.reasoning_summary_part.added" if fields["summary_index"].as_u64() > Some(0) => {
            out.push(Delta::Reasoning(PARAGRAPH.to_owned()));
        }
        "response.output_item.added" => out.extend(call(state, place, &fields["item"])),
        "response.function_call_arguments.delta" => {
            let index = calls(state).iter().position(|call| *call == place);
            let (index, arguments) = (index.unwrap_or(0), delta().unwrap_or_default());
            out.push(Delta::ToolCall { index, id: None, name: None, arguments });
        }
        "response.output_item.done" => list(state.object(), "output").push(fields["item"].take()),
        "response.completed" | "response.incomplete" | "response.failed" => end(state, fields["response"].take()),
        "error" => {
            let error = fields.get_mut("error").map(Value::take).filter(Value::is_object).unwrap_or(fields);
            let malformed = || status::failure(&state.head, Kind::Malformed, "the stream failed".to_owned());
            let error = ErrorBody::from_value(error);
            return Err(error.map_or_else(malformed, |error| failed_inside(&state.head, &error)));
        }
        _ => {}
    }
    Ok(())
}

/// Takes the whole response; servers that leave its items out have told them before.
fn end(state: &mut StreamState, mut response: Value) {
    let told = std::mem::take(list(state.object(), "output"));
    if let Some(fields) = response.as_object_mut() {
        let output = list(fields, "output");
        if output.is_empty() {
            *output = told;
        }
    }
    state.reply = response;
    state.ended = true;
}

/// Returns the places of the function calls among the items so far.
fn calls(state: &mut StreamState) -> &mut Vec<Value> {
    list(state.object(), "calls")
}

fn call(state: &mut StreamState, place: u64, item: &Value) -> Option<Delta> {
    let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
    if text("type")? != "function_call" {
        return None;
    }
    let calls = calls(state);
    calls.push(place.into());
    let index = calls.len() - 1;
    Some(Delta::ToolCall { index, id: text("call_id"), name: text("name"), arguments: String::new() })
}
