//! From the typed form, which has Chat Completions' spelling, to a body of this form.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::call::wire::WireId;
use crate::call::wire::body::{bad_body, to_bytes};
use crate::call::wire::stream::object;
use crate::failure::{Failure, Kind};
use crate::request::{Message, Original, Params, Part, Request, Role, Task};

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
    let mut body: Map<String, Value> = serde_json::from_slice(&original.bytes).map_err(bad_body)?;
    body.insert("model".to_owned(), model.into());
    set(&mut body, params)?;
    to_bytes(&body)
}

fn unsupported(what: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::Unsupported, format!("OpenAI's Responses format has no place for {what}"))
}

/// Writes a message as one item, or as several: tool calls and their results are items of their own.
fn items(message: &Message, input: &mut Vec<Value>) -> Result<(), Failure> {
    let mut rest = message.extra.clone();
    if let Some(id) = rest.shift_remove("tool_call_id") {
        input.push(json!({"type": "function_call_output", "call_id": id, "output": content(message)?}));
        return Ok(());
    }
    let calls = rest.shift_remove("tool_calls");
    for part in message.parts.iter().filter_map(item) {
        input.push(part.clone());
    }
    if message.parts.iter().any(|part| item(part).is_none()) {
        let head = [("role".to_owned(), message.role.name().into()), ("content".to_owned(), content(message)?)];
        input.push(Map::from_iter(head.into_iter().chain(rest)).into());
    }
    for call in calls.as_ref().and_then(Value::as_array).into_iter().flatten() {
        let function = call.get("function").ok_or_else(|| unsupported("a tool call that is not a function's"))?;
        let (name, arguments) = (&function["name"], &function["arguments"]);
        input.push(json!({"type": "function_call", "call_id": call["id"], "name": name, "arguments": arguments}));
    }
    Ok(())
}

/// Returns a part that is an item of this form's own, such as reasoning.
fn item(part: &Part) -> Option<&Value> {
    match part {
        Part::Raw { wire: WireId::Responses, value } => {
            let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
            let part = kind.starts_with("input_") || matches!(kind, "output_text" | "refusal");
            (!part).then_some(value)
        }
        _ => None,
    }
}

fn content(message: &Message) -> Result<Value, Failure> {
    if let [Part::Text(text)] = &message.parts[..] {
        return Ok(text.as_str().into());
    }
    let text = if message.role == Role::Assistant { "output_text" } else { "input_text" };
    message.parts.iter().filter(|part| item(part).is_none()).map(|one| part(one, text)).collect()
}

fn part(part: &Part, text: &str) -> Result<Value, Failure> {
    match part {
        Part::Text(said) => Ok(json!({"type": text, "text": said})),
        Part::Raw { wire: WireId::Responses, value } => Ok(value.clone()),
        Part::Raw { wire: WireId::Openai, value } => openai_part(value, text),
        Part::Raw { wire, value } => {
            let kind = value.get("type").and_then(Value::as_str).unwrap_or("unknown");
            Err(unsupported(format_args!("a `{kind}` part of {}'s", wire.name())))
        }
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
        "n" if *value == 1 => {}
        "n" | "stop" | "seed" | "logit_bias" | "presence_penalty" | "frequency_penalty" => {
            return Err(unsupported(format_args!("`{name}`")));
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
