//! From a body that was written for this wire to the typed form, so that other wires can carry it.
//!
//! Messages, functions, their calls and results, and images get Chat Completions' spelling, which the typed form has them
//! in. An item that is more than that (reasoning, a hosted tool's call) stays as it is, and other wires refuse it by name;
//! so does a conversation that only the provider knows.

use serde_json::{Map, Value, json};

use crate::call::wire::WireId;
use crate::call::wire::body::bad_body;
use crate::failure::{Failure, Kind};
use crate::request::{Message, Original, Params, Part, Request, Role, Task, TaskKind};

/// What the provider would have to remember: no other form can carry it.
const REMEMBERED: [&str; 4] = ["previous_response_id", "conversation", "prompt", "background"];

/// Reads a whole body.
pub(super) fn request(original: &Original) -> Result<Request, Failure> {
    if original.kind != TaskKind::Chat {
        return Err(Failure::new(Kind::Unsupported, "OpenAI's Responses format has no embeddings"));
    }
    let mut body: Map<String, Value> = serde_json::from_slice(&original.bytes).map_err(bad_body)?;
    body.shift_remove("model");
    let given = |name: &&str| body.get(*name).is_some_and(|value| !value.is_null() && *value != false);
    if let Some(name) = REMEMBERED.iter().find(|name| given(name)) {
        return Err(Failure::new(Kind::Unsupported, format!("only OpenAI's Responses format has `{name}`")));
    }
    let messages = conversation(&mut body).map_err(|error| Failure::new(Kind::BadRequest, error))?;
    Ok(Request { task: Task::Chat(messages), params: params(body), ..Request::default() })
}

fn conversation(body: &mut Map<String, Value>) -> Result<Vec<Message>, String> {
    let mut messages = Vec::new();
    if let Some(Value::String(text)) = body.shift_remove("instructions") {
        messages.push(Message::text(Role::System, text));
    }
    match body.shift_remove("input") {
        Some(Value::String(text)) => messages.push(Message::user(text)),
        Some(Value::Array(items)) => {
            for (i, item) in items.into_iter().enumerate() {
                read_item(item, &mut messages).map_err(|error| format!("input[{i}]: {error}"))?;
            }
        }
        _ => return Err("`input` is neither text nor a list".to_owned()),
    }
    Ok(messages)
}

fn read_item(item: Value, messages: &mut Vec<Message>) -> Result<(), String> {
    let Value::Object(mut fields) = item else { return Err("not an object".to_owned()) };
    match fields.get("type").and_then(Value::as_str).unwrap_or("message") {
        "message" => messages.push(message(fields)?),
        "function_call" => add_call(&fields, messages),
        "function_call_output" => {
            let id = fields.shift_remove("call_id").unwrap_or_default();
            let parts = parts(fields.shift_remove("output").unwrap_or_default())?;
            let extra = Map::from_iter([("tool_call_id".to_owned(), id)]);
            messages.push(Message { role: Role::Other("tool".to_owned()), parts, extra });
        }
        _ => {
            let parts = vec![Part::Raw { wire: WireId::Responses, value: fields.into() }];
            messages.push(Message { role: Role::Assistant, parts, extra: Map::new() });
        }
    }
    Ok(())
}

fn message(mut fields: Map<String, Value>) -> Result<Message, String> {
    let Some(Value::String(role)) = fields.shift_remove("role") else { return Err("no `role`".to_owned()) };
    let parts = parts(fields.shift_remove("content").unwrap_or_default())?;
    // What the provider's own replies have beside their content says nothing to it.
    ["type", "id", "status"].iter().for_each(|name| drop(fields.shift_remove(*name)));
    Ok(Message { role: Role::from_name(&role), parts, extra: fields })
}

/// Adds a call to the assistant's message right before it, or makes one for it.
fn add_call(item: &Map<String, Value>, messages: &mut Vec<Message>) {
    let field = |name: &str| item.get(name).cloned().unwrap_or_default();
    let function = json!({"name": field("name"), "arguments": field("arguments")});
    let call = json!({"id": field("call_id"), "type": "function", "function": function});
    if messages.last().is_none_or(|last| last.role != Role::Assistant) {
        messages.push(Message { role: Role::Assistant, parts: Vec::new(), extra: Map::new() });
    }
    if let Some(last) = messages.last_mut() {
        match last.extra.get_mut("tool_calls") {
            Some(Value::Array(calls)) => calls.push(call),
            _ => drop(last.extra.insert("tool_calls".to_owned(), json!([call]))),
        }
    }
}

fn parts(content: Value) -> Result<Vec<Part>, String> {
    match content {
        Value::String(text) => Ok(vec![Part::Text(text)]),
        Value::Array(parts) => Ok(parts.into_iter().map(part).collect()),
        _ => Err("the content is neither text nor a list".to_owned()),
    }
}

fn part(value: Value) -> Part {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    match (text("type"), text("text"), text("image_url")) {
        (Some("input_text" | "output_text"), Some(said), _) => Part::Text(said.to_owned()),
        (Some("input_image"), _, Some(url)) => {
            let mut image = json!({"url": url});
            if let Some(detail) = value.get("detail") {
                image["detail"] = detail.clone();
            }
            Part::Raw { wire: WireId::Openai, value: json!({"type": "image_url", "image_url": image}) }
        }
        _ => Part::Raw { wire: WireId::Responses, value },
    }
}

/// Takes the parameters that every provider has out of a body; the rest gets Chat Completions' names where it has some.
fn params(mut body: Map<String, Value>) -> Params {
    let mut params = Params::default();
    let mut take = |name: &str| body.shift_remove(name).filter(|value| !value.is_null());
    params.temperature = take("temperature").and_then(|value| value.as_f64());
    params.max_tokens = take("max_output_tokens").and_then(|value| u32::try_from(value.as_u64()?).ok());
    let (reasoning, text) = (take("reasoning"), take("text"));
    let (tools, choice) = (take("tools"), take("tool_choice"));
    let mut put = |name: &str, value: Option<Value>| value.map(|value| params.extra.insert(name.to_owned(), value));
    let field = |value: &Option<Value>, name: &str| value.as_ref()?.get(name).cloned();
    put("reasoning_effort", field(&reasoning, "effort"));
    put("verbosity", field(&text, "verbosity"));
    let format = field(&text, "format").filter(|format| format["type"] != "text");
    put("response_format", format.map(|format| nested(format, "json_schema", "json_schema")));
    let function = |tool: &Value| nested(tool.clone(), "function", "function");
    put("tools", tools.map(|tools| tools.as_array().into_iter().flatten().map(function).collect()));
    put("tool_choice", choice.as_ref().map(function));
    // Those have no counterpart, and nothing is lost without them.
    ["include", "store", "truncation"].iter().for_each(|name| drop(body.shift_remove(*name)));
    params.extra.extend(body);
    params
}

/// Puts the fields of a `kind` beside its type into an object of their own.
fn nested(value: Value, kind: &str, name: &str) -> Value {
    match value {
        Value::Object(mut fields) if fields.get("type").is_some_and(|value| value == kind) => {
            fields.shift_remove("type");
            json!({"type": kind, name: fields})
        }
        other => other,
    }
}
