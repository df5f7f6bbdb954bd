//! A streamed reply of Chat Completions.
//!
//! Chunks are merged by the rule that all their fields follow, also those of which nobody here has heard: text is
//! appended, lists are merged by their items' `index`, and what names something (`id`, `name`, `role`, `type`) is said
//! once. Of several answers all are kept, and the first one is told piece by piece.

use bytes::Bytes;
use http::response::Parts;
use serde_json::{Map, Value, json};

use super::failed_inside;
use super::types::{ErrorBody, text_of, thoughts_of};
use crate::call::sse::Event;
use crate::call::wire::StreamState;
use crate::call::wire::body::{bad_body, field, set_field};
use crate::call::wire::stream::{list, object};
use crate::failure::Failure;
use crate::response::Delta;

/// The fields in which servers tell the model's reasoning.
const REASONING: [&str; 2] = ["reasoning_content", "reasoning"];

/// Asks for a stream that ends with its usage.
pub(super) fn body(body: &Bytes) -> Result<Bytes, Failure> {
    let text = std::str::from_utf8(body).map_err(bad_body)?;
    let given = field(text, "stream_options").map_err(bad_body)?;
    let mut options: Value = given.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    object(&mut options).insert("include_usage".to_owned(), true.into());
    set_field(&set_field(body, "stream_options", &options.to_string())?, "stream", "true")
}

/// Adds an event to the reply.
pub(super) fn event(state: &mut StreamState, event: &Event, out: &mut Vec<Delta>) -> Result<(), Failure> {
    if event.data.starts_with(b"[DONE]") {
        state.ended = true;
        return Ok(());
    }
    if event.data.trim_ascii().is_empty() {
        return Ok(());
    }
    let mut chunk: Map<String, Value> = state.read(event)?;
    if let Some(error) = error(&state.head, &mut chunk, event) {
        return Err(error);
    }
    if let Some(Value::Array(choices)) = chunk.shift_remove("choices") {
        let known = list(state.object(), "choices");
        for choice in choices {
            if choice.get("index").is_none_or(|index| *index == 0) {
                tell(&choice, out);
            }
            add_choice(known, choice);
        }
    }
    let reply = state.object();
    // Most chunks say that the usage is null.
    reply.extend(chunk.into_iter().filter(|(_, value)| !value.is_null()));
    Ok(())
}

/// Returns whether every answer that began has ended: some servers close the connection then, without `[DONE]`.
pub(super) fn all_finished(reply: &Value) -> bool {
    let choices = reply.get("choices").and_then(Value::as_array);
    choices.is_some_and(|choices| {
        !choices.is_empty() && choices.iter().all(|choice| choice.get("finish_reason").is_some_and(Value::is_string))
    })
}

/// Returns the failure that an event reports, which some servers name only by the event.
fn error(head: &Parts, chunk: &mut Map<String, Value>, event: &Event) -> Option<Failure> {
    let value = chunk.shift_remove("error").filter(|error| !error.is_null());
    let value = value.or_else(|| (event.name == "error").then(|| Value::Object(std::mem::take(chunk))))?;
    Some(failed_inside(head, &ErrorBody::from_value(value)?))
}

fn add_choice(known: &mut Vec<Value>, mut choice: Value) {
    let fields = object(&mut choice);
    let delta = fields.shift_remove("delta").unwrap_or_default();
    fields.insert("message".to_owned(), delta);
    merge_item(known, choice);
}

/// Merges an item into the one of the same index.
fn merge_item(known: &mut Vec<Value>, item: Value) {
    let index = |item: &Value| item.get("index").and_then(Value::as_u64).unwrap_or(0);
    match known.iter_mut().find(|old| index(old) == index(&item)) {
        Some(old) => merge(old, item),
        None => {
            let place = known.iter().position(|old| index(old) > index(&item)).unwrap_or(known.len());
            known.insert(place, item);
        }
    }
}

fn merge(old: &mut Value, new: Value) {
    match (old, new) {
        (_, Value::Null) => {}
        (Value::String(old), Value::String(more)) => old.push_str(&more),
        // Mistral's models that think go from parts to text, or the other way.
        (Value::Array(old), Value::String(text)) => old.push(text_part(text)),
        (old @ Value::String(_), Value::Array(parts)) => {
            let said = old.as_str().filter(|text| !text.is_empty()).map(|text| text_part(text.to_owned()));
            *old = said.into_iter().chain(parts).collect();
        }
        (Value::Object(old), Value::Object(new)) => {
            new.into_iter().for_each(|(name, value)| merge_field(old, name, value))
        }
        (Value::Array(old), Value::Array(new)) => new.into_iter().for_each(|item| match item.get("index") {
            Some(_) => merge_item(old, item),
            None => old.push(item),
        }),
        (old, new) => *old = new,
    }
}

fn text_part(text: String) -> Value {
    json!({"type": "text", "text": text})
}

fn merge_field(fields: &mut Map<String, Value>, name: String, value: Value) {
    let said_once = matches!(name.as_str(), "id" | "name" | "role" | "type");
    match fields.get_mut(&name) {
        Some(Value::String(old)) if said_once && !old.is_empty() => {}
        Some(old) => merge(old, value),
        None => drop(fields.insert(name, value)),
    }
}

/// Tells what is new in a choice.
fn tell(choice: &Value, out: &mut Vec<Delta>) {
    let Some(delta) = choice.get("delta") else { return };
    let text = |name: &str| delta.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    out.extend(REASONING.into_iter().find_map(text).map(|text| Delta::Reasoning(text.to_owned())));
    out.extend(text("content").map(|text| Delta::Text(text.to_owned())));
    for part in delta.get("content").and_then(Value::as_array).into_iter().flatten() {
        let filled = |text: &&str| !text.is_empty();
        out.extend(thoughts_of(part).filter(filled).map(|thought| Delta::Reasoning(thought.to_owned())));
        out.extend(Some(text_of(part)).filter(filled).map(|text| Delta::Text(text.to_owned())));
    }
    let calls = delta.get("tool_calls").and_then(Value::as_array);
    out.extend(calls.into_iter().flatten().map(call));
}

fn call(call: &Value) -> Delta {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let function = call.get("function");
    Delta::ToolCall {
        index: call.get("index").and_then(Value::as_u64).unwrap_or(0) as usize,
        id: text(call.get("id")),
        name: text(function.and_then(|function| function.get("name"))),
        arguments: text(function.and_then(|function| function.get("arguments"))).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::wire::Wire;
    use crate::call::wire::openai::OpenAi;
    use crate::failure::Kind;
    use crate::request::Reasoning;
    use crate::response::{Finish, Output, Response};

    fn head() -> Parts {
        http::Response::new(()).into_parts().0
    }

    fn read(events: &[&str]) -> (Vec<Delta>, Result<Response, Failure>) {
        let (mut state, mut deltas) = (StreamState::new(head()), Vec::new());
        for data in events {
            let event = Event { name: String::new(), data: data.as_bytes().to_vec() };
            if let Err(failure) = OpenAi.decode_event(&mut state, &event, &mut deltas) {
                return (deltas, Err(failure));
            }
        }
        (deltas, OpenAi.finish(state))
    }

    #[test]
    fn tool_calls_are_put_together_by_index() {
        let (deltas, response) = read(&[
            r#"{"choices":[],"prompt_filter_results":[]}"#,
            r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":null,"reasoning_content":"hm"},"finish_reason":null}],"usage":null}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{"reasoning_content":"m","tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":""}}]}}]}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\""}}]}}]}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":null,"arguments":":1}"}}]}}]}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
            r#"{"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
            "[DONE]",
        ]);
        let response = response.unwrap();
        let Output::Json(output) = response.output else { panic!("{:?}", response.output) };
        assert_eq!(output["tool_calls"][0]["function"], json!({"name": "f", "arguments": "{\"x\":1}"}));
        assert_eq!(output["tool_calls"][1]["id"], "b");
        assert_eq!((response.finish, response.usage.unwrap().total()), (Finish::ToolCalls, 7));
        let raw: Value = serde_json::from_slice(&response.raw).unwrap();
        assert_eq!(raw["choices"][0]["message"]["reasoning_content"], "hmm");
        assert_eq!(deltas[0], Delta::Reasoning("hm".into()));
        assert!(matches!(&deltas[3], Delta::ToolCall { index: 0, name: Some(name), .. } if name == "f"), "{deltas:?}");
    }

    #[test]
    fn every_answer_is_kept_and_the_first_is_told() {
        let (deltas, response) = read(&[
            r#"{"choices":[{"index":1,"delta":{"content":"B"}},{"index":0,"delta":{"content":"A"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"stop"}]}"#,
        ]);
        assert_eq!(deltas, [Delta::Text("A".into()), Delta::Text("a".into())]);
        assert_eq!(response.unwrap().output, Output::Json(json!(["Aa", "Bb"])));
    }

    #[test]
    fn thoughts_in_parts_are_told_and_kept() {
        let (deltas, response) = read(&[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"h"}]}]}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"m"}]}]}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"high"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":[{"type":"text","text":" tide"}]},"finish_reason":"stop"}]}"#,
        ]);
        let (thought, text) =
            (|text: &str| Delta::Reasoning(text.to_owned()), |text: &str| Delta::Text(text.to_owned()));
        assert_eq!(deltas, [thought("h"), thought("m"), text("high"), text(" tide")]);
        let response = response.unwrap();
        assert_eq!(response.output, Output::Text("high tide".into()));
        let reasoning = Reasoning::Text { text: "hm".to_owned(), signature: None };
        assert_eq!(response.reasoning().collect::<Vec<_>>(), [&reasoning]);
    }

    #[test]
    fn what_does_not_end_is_cut_and_errors_are_named() {
        let kind = |events: &[&str]| read(events).1.unwrap_err().kind;
        assert_eq!(kind(&[]), Kind::Cut);
        assert_eq!(kind(&[r#"{"choices":[{"delta":{"content":"a"}}]}"#]), Kind::Cut);
        assert_eq!(
            kind(&[r#"{"choices":[{"delta":{"content":"a"}}]}"#, r#"{"error":{"code":429,"message":"slow"}}"#]),
            Kind::RateLimited
        );
        assert_eq!(kind(&["{"]), Kind::Malformed);
        assert_eq!(kind(&["[DONE]"]), Kind::Malformed);
        assert_eq!(kind(&[r#"{"choices":[{"delta":{},"finish_reason":"content_filter"}]}"#]), Kind::ContentFilter);
    }

    #[test]
    fn a_body_asks_for_a_stream_with_its_usage() {
        let given = Bytes::from_static(br#"{"stream" :false,"stream_options":{"x":1,"include_usage":false},"n":2}"#);
        let asked = body(&given).unwrap();
        assert_eq!(asked, r#"{"stream" :true,"stream_options":{"x":1,"include_usage":true},"n":2}"#);
    }
}
