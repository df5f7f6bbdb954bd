//! A streamed answer: replies that hold a part each, and the counts so far.

use serde_json::{Map, Value};

use super::types::ErrorBody;
use super::{failed_inside, tools};
use crate::call::sse::Event;
use crate::call::wire::StreamState;
use crate::call::wire::stream::{append, list, object};
use crate::failure::Failure;
use crate::response::Delta;

/// Adds an event to the answer.
pub(super) fn event(state: &mut StreamState, event: &Event, out: &mut Vec<Delta>) -> Result<(), Failure> {
    let mut reply: Map<String, Value> = state.read(event)?;
    if let Some(error) = reply.shift_remove("error").and_then(ErrorBody::from_value) {
        return Err(failed_inside(&state.head, &error));
    }
    if let Some(Value::Array(candidates)) = reply.shift_remove("candidates") {
        let known = list(state.object(), "candidates");
        candidates.into_iter().for_each(|candidate| add(known, candidate, out));
    }
    state.object().extend(reply);
    Ok(())
}

/// Returns whether every answer that began has ended, or the prompt was blocked: no event says that nothing more comes.
pub(super) fn is_whole(reply: &Value) -> bool {
    let blocked = reply.pointer("/promptFeedback/blockReason").is_some();
    let candidates = reply.get("candidates").and_then(Value::as_array).filter(|all| !all.is_empty());
    candidates.map_or(blocked, |all| all.iter().all(|one| one.get("finishReason").is_some_and(Value::is_string)))
}

fn add(known: &mut Vec<Value>, mut candidate: Value, out: &mut Vec<Delta>) {
    let index = |candidate: &Value| candidate.get("index").and_then(Value::as_u64).unwrap_or(0);
    let number = index(&candidate);
    let place = known.iter().position(|old| index(old) == number).unwrap_or_else(|| {
        known.push(Value::Object(Map::from_iter([("index".to_owned(), number.into())])));
        known.len() - 1
    });
    let fields = object(&mut known[place]);
    let mut new = std::mem::take(object(&mut candidate));
    if let Some(mut content) = new.shift_remove("content") {
        let old = object(fields.entry("content").or_insert(Value::Null));
        let mut content = std::mem::take(object(&mut content));
        let parts = content.shift_remove("parts");
        old.extend(content);
        let old = list(old, "parts");
        for part in parts.as_ref().and_then(Value::as_array).into_iter().flatten() {
            if number == 0 {
                tell(old, part, out);
            }
            add_part(old, part);
        }
    }
    fields.extend(new);
}

/// Adds a part; text continues the text before it, of the answer and of the reasoning alike.
fn add_part(parts: &mut Vec<Value>, part: &Value) {
    let kind = |part: &Value| part.get("thought").and_then(Value::as_bool).unwrap_or(false);
    let plain = |part: &Value| {
        part.as_object().is_some_and(|part| part.keys().all(|name| matches!(name.as_str(), "text" | "thought")))
    };
    match (parts.last_mut(), part.get("text").and_then(Value::as_str)) {
        (Some(last), Some(text)) if plain(last) && plain(part) && kind(last) == kind(part) => {
            append(object(last), "text", text);
        }
        _ => parts.push(part.clone()),
    }
}

/// Tells what is new in a part; calls come whole.
fn tell(before: &[Value], part: &Value, out: &mut Vec<Delta>) {
    let text = part.get("text").and_then(Value::as_str).filter(|text| !text.is_empty());
    match (text, part.get("thought").and_then(Value::as_bool)) {
        (Some(text), Some(true)) => out.push(Delta::Reasoning(text.to_owned())),
        (Some(text), _) => out.push(Delta::Text(text.to_owned())),
        _ => {}
    }
    if let Some(call) = part.get("functionCall") {
        let index = before.iter().filter(|part| part.get("functionCall").is_some()).count();
        let (id, name) = (call.get("id").and_then(Value::as_str), call.get("name").and_then(Value::as_str));
        let arguments = call.get("args").map_or("{}".to_owned(), Value::to_string);
        let call = tools::openai_call(id, index, name.unwrap_or_default(), &arguments, None);
        let id = call["id"].as_str().map(str::to_owned);
        out.push(Delta::ToolCall { index, id, name: name.map(str::to_owned), arguments });
    }
}
