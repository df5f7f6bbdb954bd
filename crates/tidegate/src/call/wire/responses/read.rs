//! From a body that was written for this wire to the typed form, so that other wires can carry it.
//!
//! An item that the typed form has nothing like (encrypted reasoning, a hosted tool's call) stays as it is, and other wires
//! refuse it by name; so they do a conversation that only the provider knows.

use serde_json::{Map, Value, json};

use crate::call::wire::WireId;
use crate::call::wire::body::bad_body;
use crate::call::wire::openai::content::{add_message, read_call};
use crate::failure::{Failure, Kind};
use crate::json;
use crate::request::{
    Media, Message, Original, Params, Part, Reasoning, Request, Role, Task, TaskKind, ToolResult, ToolUse,
};

/// What stands between the paragraphs of a summary.
pub(super) const PARAGRAPH: &str = "\n\n";

/// What the provider would have to remember: no other form can carry it.
const REMEMBERED: [&str; 4] = ["previous_response_id", "conversation", "prompt", "background"];

/// Reads a whole body.
pub(super) fn request(original: &Original) -> Result<Request, Failure> {
    if original.kind != TaskKind::Chat {
        return Err(Failure::new(Kind::Unsupported, "OpenAI's Responses format has no embeddings"));
    }
    let mut body: Map<String, Value> = json::from_slice(&original.bytes).map_err(bad_body)?;
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
        messages.push(Message::new(Role::System).text(text));
    }
    match body.shift_remove("input") {
        Some(Value::String(text)) => messages.push(Message::user().text(text)),
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
        "message" => add_message(messages, message(fields)?),
        "function_call" => add_said(messages, Part::ToolUse(call(&fields)?)),
        "function_call_output" => {
            let Some(Value::String(id)) = fields.shift_remove("call_id") else { return Err("no `call_id`".to_owned()) };
            let content = parts(fields.shift_remove("output").unwrap_or_default())?;
            let result = ToolResult { id, content, ..ToolResult::default() };
            add_message(messages, Message::user().part(Part::ToolResult(result)));
        }
        _ => {
            let part = Part::Raw { wire: WireId::Responses, value: fields.into() };
            messages.push(Message::assistant().part(part));
        }
    }
    Ok(())
}

/// Reads the items of a reply into parts, in order: what goes back to the model as it came. Readable thoughts stand in front
/// of the item that tells them.
pub(super) fn said(items: Vec<Value>) -> Vec<Part> {
    let mut messages = Vec::new();
    for item in items {
        if let Some(text) = thoughts(&item) {
            messages.push(Message::assistant().part(Part::Reasoning(Reasoning::Text { text, signature: None })));
        }
        let _ = read_item(item, &mut messages);
    }
    messages.into_iter().flat_map(|message| message.parts).collect()
}

/// Returns the summary of what the model thought, whose parts are paragraphs, or where there is none the thoughts themselves,
/// which open models tell.
fn thoughts(item: &Value) -> Option<String> {
    let texts = |field: &str| -> Vec<&str> {
        let parts = item.get(field).and_then(Value::as_array).into_iter().flatten();
        parts.filter_map(|part| part.get("text").and_then(Value::as_str)).filter(|text| !text.is_empty()).collect()
    };
    let told = item.get("type").and_then(Value::as_str) == Some("reasoning");
    let texts = [texts("summary"), texts("content")].into_iter().find(|texts| told && !texts.is_empty())?;
    Some(texts.join(PARAGRAPH))
}

fn message(mut fields: Map<String, Value>) -> Result<Message, String> {
    let Some(Value::String(role)) = fields.shift_remove("role") else { return Err("no `role`".to_owned()) };
    let parts = parts(fields.shift_remove("content").unwrap_or_default())?;
    // What the provider's own replies have beside their content says nothing to it.
    ["type", "id", "status"].iter().for_each(|name| drop(fields.shift_remove(*name)));
    Ok(Message { role: Role::from_name(&role), parts, extra: fields })
}

/// Adds a part to the assistant's message right before it, or makes one for it.
fn add_said(messages: &mut Vec<Message>, part: Part) {
    match messages.last_mut().filter(|last| last.role == Role::Assistant) {
        Some(last) => last.parts.push(part),
        None => messages.push(Message::assistant().part(part)),
    }
}

fn call(item: &Map<String, Value>) -> Result<ToolUse, String> {
    let field = |name: &str| item.get(name).cloned().unwrap_or_default();
    let id = if item.contains_key("call_id") { field("call_id") } else { field("id") };
    let function = json!({"name": field("name"), "arguments": field("arguments")});
    read_call(&json!({"id": id, "type": "function", "function": function}))
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
        (Some("input_image"), _, Some(url)) => match value.get("detail") {
            None => Part::Image(Media::url(url)),
            Some(detail) => {
                let image = json!({"type": "image_url", "image_url": {"url": url, "detail": detail}});
                Part::Raw { wire: WireId::Openai, value: image }
            }
        },
        (Some("input_file"), ..) => match (text("file_url"), text("file_data").and_then(Media::data_url)) {
            (Some(url), None) => Part::Document(Media::url(url)),
            (None, Some(media)) => Part::Document(Media { name: text("filename").map(str::to_owned), ..media }),
            _ => Part::Raw { wire: WireId::Responses, value },
        },
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
