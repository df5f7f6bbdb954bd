//! From the typed form, which has Chat Completions' spelling, to a body of this form.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::call::wire::WireId;
use crate::call::wire::body::{bad_body, to_bytes};
use crate::call::wire::foreign::asks;
use crate::call::wire::openai::content::{is_thought, read_call};
use crate::call::wire::stream::object;
use crate::failure::{Failure, Kind};
use crate::json;
use crate::request::{Media, Message, Original, Params, Part, Request, Role, Source, Task, ToolUse};

/// Writes a whole body.
pub(super) fn body(request: &Request, model: &str) -> Result<Bytes, Failure> {
    let Task::Chat(messages) = &request.task else { return Err(unsupported("embeddings")) };
    let mut input = Vec::with_capacity(messages.len());
    messages.iter().try_for_each(|message| items(message, &mut input))?;
    let mut body = Map::from_iter([
        ("model".to_owned(), model.into()),
        ("input".to_owned(), input.into()),
        ("store".to_owned(), false.into()),
    ]);
    set(&mut body, &request.params)?;
    to_bytes(&body)
}

/// Sets parameters in a body that was written by somebody else.
pub(super) fn merged(original: &Original, model: &str, params: &Params) -> Result<Bytes, Failure> {
    let mut body: Map<String, Value> = json::from_slice(&original.bytes).map_err(bad_body)?;
    body.insert("model".to_owned(), model.into());
    set(&mut body, params)?;
    to_bytes(&body)
}

fn unsupported(what: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::Unsupported, no_place(what))
}

fn no_place(what: impl std::fmt::Display) -> String {
    format!("OpenAI's Responses format has no place for {what}")
}

/// Writes a message as one item, or as several: tool calls and their results are items of their own.
fn items(message: &Message, input: &mut Vec<Value>) -> Result<(), Failure> {
    let mut rest = message.extra.clone();
    if rest.contains_key("tool_call_id") {
        return Err(unsupported("a tool's result with other fields"));
    }
    let calls = rest.shift_remove("tool_calls");
    for part in &message.parts {
        if let Some(item) = item(part)? {
            input.push(item);
        }
    }
    let said: Vec<&Part> = message.parts.iter().filter(|part| is_said(part)).collect();
    if !said.is_empty() {
        let content = content(&said, message.role == Role::Assistant)?;
        let head = [("role".to_owned(), message.role.name().into()), ("content".to_owned(), content)];
        input.push(Map::from_iter(head.into_iter().chain(rest)).into());
    }
    for part in &message.parts {
        if let Part::ToolUse(use_of) = part {
            input.push(call(use_of));
        }
    }
    for other in calls.as_ref().and_then(Value::as_array).into_iter().flatten() {
        input.push(call(&read_call(other).map_err(unsupported)?));
    }
    Ok(())
}

fn call(call: &ToolUse) -> Value {
    json!({"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.input.to_string()})
}

/// Returns a part that stands in front of what is said as an item of its own: the result of a tool, or an item that only
/// this form has, such as reasoning.
fn item(part: &Part) -> Result<Option<Value>, Failure> {
    match part {
        Part::ToolResult(result) => {
            let output = content(&result.content.iter().collect::<Vec<_>>(), false)?;
            Ok(Some(json!({"type": "function_call_output", "call_id": result.id, "output": output})))
        }
        part if is_said(part) => Ok(None),
        Part::Raw { value, .. } => Ok(Some(value.clone())),
        _ => Ok(None),
    }
}

/// Returns whether a part belongs into a message's content.
fn is_said(part: &Part) -> bool {
    match part {
        Part::ToolUse(_) | Part::ToolResult(_) => false,
        thought if is_thought(thought) => false,
        Part::Raw { wire: WireId::Responses, value } => {
            let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
            kind.starts_with("input_") || matches!(kind, "output_text" | "refusal")
        }
        _ => true,
    }
}

fn content(said: &[&Part], by_model: bool) -> Result<Value, Failure> {
    match said {
        [] => Ok("".into()),
        [Part::Text(text)] => Ok(text.as_str().into()),
        parts => {
            let text = if by_model { "output_text" } else { "input_text" };
            parts.iter().map(|one| part(one, text)).collect()
        }
    }
}

/// Returns why a part has no place in this format.
pub(super) fn refuses(part: &Part) -> Option<String> {
    let what = match part {
        Part::Image(Media { source: Source::S3 { .. }, .. }) => "an image in S3",
        Part::Document(Media { source: Source::S3 { .. }, .. }) => "a document in S3",
        Part::Text(_) | Part::Image(_) | Part::Document(_) | Part::ToolUse(_) => return None,
        // Beside it stands the item that told it, if it was told here.
        thought if is_thought(thought) => return None,
        Part::ToolResult(result) if result.is_error => "the mark that a tool failed",
        Part::ToolResult(result) => return result.content.iter().find_map(refuses),
        Part::Raw { wire: WireId::Responses | WireId::Openai, .. } => return None,
        Part::Raw { wire, .. } => return Some(no_place(format_args!("a `{}` part of {}'s", part.name(), wire.name()))),
        Part::Audio(_) => "sound",
        Part::Video(_) => "a video",
        other => other.name(),
    };
    Some(no_place(what))
}

fn part(part: &Part, text: &str) -> Result<Value, Failure> {
    if let Some(why) = refuses(part) {
        return Err(Failure::new(Kind::Unsupported, why));
    }
    match part {
        Part::Text(said) => Ok(json!({"type": text, "text": said})),
        Part::Image(media) => Ok(json!({"type": "input_image", "image_url": media.to_url()})),
        Part::Document(media) => Ok(match &media.source {
            Source::Url(url) => json!({"type": "input_file", "file_url": url}),
            _ => json!({"type": "input_file", "filename": media.name_or_made(), "file_data": media.to_url()}),
        }),
        Part::Raw { wire: WireId::Openai, value } => openai_part(value, text),
        Part::Raw { value, .. } => Ok(value.clone()),
        other => Err(unsupported(other.name())),
    }
}

/// Translates a content part of Chat Completions'.
fn openai_part(value: &Value, text: &str) -> Result<Value, Failure> {
    let renamed = |kind: &str, fields: &Value| {
        let mut fields = fields.as_object().cloned().unwrap_or_default();
        fields.insert("type".to_owned(), kind.into());
        Value::Object(fields)
    };
    match value.get("type").and_then(Value::as_str).unwrap_or("unknown") {
        "text" => Ok(renamed(text, value)),
        "image_url" => {
            let image = &value["image_url"];
            let mut part = json!({"type": "input_image", "image_url": image.get("url").unwrap_or(image)});
            if let Some(detail) = image.get("detail") {
                part["detail"] = detail.clone();
            }
            Ok(part)
        }
        "file" => Ok(renamed("input_file", &value["file"])),
        "refusal" => Ok(value.clone()),
        other => Err(unsupported(format_args!("a `{other}` part"))),
    }
}

/// Sets the parameters: those that every provider has, and the user's by this form's names or by Chat Completions'.
fn set(body: &mut Map<String, Value>, params: &Params) -> Result<(), Failure> {
    if let Some(value) = params.temperature {
        body.insert("temperature".to_owned(), json!(value));
    }
    if let Some(value) = params.max_tokens {
        body.insert("max_output_tokens".to_owned(), value.into());
    }
    if !params.stop.is_empty() {
        return Err(unsupported("`stop`"));
    }
    if params.seed.is_some() {
        return Err(unsupported("`seed`"));
    }
    params.extra.iter().try_for_each(|(name, value)| set_extra(body, name, value))
}

fn set_extra(body: &mut Map<String, Value>, name: &str, value: &Value) -> Result<(), Failure> {
    let mut put = |section: &str, name: &str, value: Value| match section {
        "" => drop(body.insert(name.to_owned(), value)),
        _ => {
            let section = body.entry(section).or_insert(Value::Null);
            object(section).insert(name.to_owned(), value);
        }
    };
    match name {
        "max_tokens" | "max_completion_tokens" => put("", "max_output_tokens", value.clone()),
        "reasoning_effort" => put("reasoning", "effort", value.clone()),
        "verbosity" => put("text", "verbosity", value.clone()),
        "response_format" => put("text", "format", flat(value, "json_schema")),
        "tools" => {
            let tools = value.as_array().into_iter().flatten();
            put("", "tools", tools.map(|tool| flat(tool, "function")).collect());
        }
        "tool_choice" => put("", "tool_choice", flat(value, "function")),
        // Every stream tells its usage here.
        "stream" | "stream_options" => {}
        "n" | "stop" | "seed" | "logit_bias" | "logprobs" | "presence_penalty" | "frequency_penalty" => {
            if asks(name, value) {
                return Err(unsupported(format_args!("`{name}`")));
            }
        }
        _ => put("", name, value.clone()),
    }
    Ok(())
}

/// Takes the fields of `{"type": …, "function": {…}}` out of their object, which this form does without.
fn flat(value: &Value, name: &str) -> Value {
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut()
        && let Some(Value::Object(inner)) = fields.shift_remove(name)
    {
        fields.extend(inner);
    }
    value
}
