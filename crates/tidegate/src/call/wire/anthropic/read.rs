//! From a body that was written for this wire to the typed form, so that other wires can carry it.
//!
//! A block that says more than the typed form can (citations, a search result) stays as it is, and other wires refuse it
//! by name.

use serde_json::{Map, Value, json};

use super::pieces;
use crate::call::wire::WireId;
use crate::call::wire::body::bad_body;
use crate::failure::{Failure, Kind};
use crate::json;
use crate::request::{
    CachePoint, Media, Message, Original, Params, Part, Reasoning, Request, Role, Task, TaskKind, ToolResult, ToolUse,
};

/// Reads a whole body.
pub(super) fn request(original: &Original) -> Result<Request, Failure> {
    if original.kind != TaskKind::Chat {
        return Err(Failure::new(Kind::Unsupported, "Anthropic's format has no embeddings"));
    }
    let mut body: Map<String, Value> = json::from_slice(&original.bytes).map_err(bad_body)?;
    body.shift_remove("model");
    let messages = conversation(&mut body).map_err(|e| Failure::new(Kind::BadRequest, e))?;
    Ok(Request { task: Task::Chat(messages), params: params(body), ..Request::default() })
}

fn conversation(body: &mut Map<String, Value>) -> Result<Vec<Message>, String> {
    let mut messages = Vec::new();
    if let Some(system) = body.shift_remove("system").filter(|system| !system.is_null()) {
        let parts = parts(system).map_err(|e| format!("`system`: {e}"))?;
        messages.push(Message { role: Role::System, parts, extra: Map::new() });
    }
    let Some(Value::Array(turns)) = body.shift_remove("messages") else {
        return Err("`messages` is not a list".to_owned());
    };
    if turns.is_empty() {
        return Err("`messages` is empty".to_owned());
    }
    for (i, turn) in turns.into_iter().enumerate() {
        read_turn(turn, &mut messages).map_err(|e| format!("messages[{i}]: {e}"))?;
    }
    Ok(messages)
}

fn read_turn(turn: Value, messages: &mut Vec<Message>) -> Result<(), String> {
    let Value::Object(mut extra) = turn else { return Err("not an object".to_owned()) };
    let Some(Value::String(role)) = extra.shift_remove("role") else { return Err("no `role`".to_owned()) };
    let content = extra.shift_remove("content").unwrap_or_default();
    messages.push(Message { role: Role::from_name(&role), parts: parts(content)?, extra });
    Ok(())
}

fn parts(content: Value) -> Result<Vec<Part>, String> {
    match content {
        Value::String(text) => Ok(vec![Part::Text(text)]),
        Value::Array(blocks) => Ok(blocks.into_iter().flat_map(read_block).collect()),
        _ => Err("the content is neither text nor a list".to_owned()),
    }
}

/// Reads a block into the typed form, with the cache point behind it, if there is one; what says more than the typed form
/// can stays as it is.
pub(super) fn read_block(mut block: Value) -> impl Iterator<Item = Part> {
    let whole = block.clone();
    let point = block.as_object_mut().and_then(|fields| fields.shift_remove("cache_control"));
    let (part, point) = match (point.as_ref().map(cache_point), typed(&block)) {
        (None, Some(part)) => (part, None),
        (Some(Some(point)), Some(part)) => (part, Some(Part::CachePoint(point))),
        _ => (Part::Raw { wire: WireId::Anthropic, value: whole }, None),
    };
    std::iter::once(part).chain(point)
}

fn cache_point(control: &Value) -> Option<CachePoint> {
    let fields = exactly(control, &["type", "ttl"]).filter(|fields| fields.get("type") == Some(&json!("ephemeral")))?;
    match fields.get("ttl") {
        None => Some(CachePoint { ttl: None }),
        Some(ttl) => Some(CachePoint { ttl: Some(ttl.as_str()?.to_owned()) }),
    }
}

/// Returns an object's fields if it has no others than these.
fn exactly<'v>(value: &'v Value, known: &[&str]) -> Option<&'v Map<String, Value>> {
    value.as_object().filter(|fields| fields.keys().all(|name| known.contains(&name.as_str())))
}

fn typed(block: &Value) -> Option<Part> {
    let text = |name: &str| block.get(name).and_then(Value::as_str).map(str::to_owned);
    // Replies write what a block does not have as null, and say that it was the model itself that called a tool.
    let says_nothing =
        |name: &str, value: &Value| value.is_null() || (name == "caller" && *value == json!({"type": "direct"}));
    let only = |known: &[&str]| {
        let mut others = block.as_object()?.iter().filter(|(name, _)| !known.contains(&name.as_str()));
        others.all(|(name, value)| says_nothing(name, value)).then_some(())
    };
    Some(match block.get("type")?.as_str()? {
        "text" => {
            only(&["type", "text"])?;
            Part::Text(text("text")?)
        }
        "image" => {
            only(&["type", "source"])?;
            Part::Image(media(block.get("source")?)?)
        }
        "document" => {
            only(&["type", "source", "title"])?;
            let title = block.get("title").map(|title| title.as_str().map(str::to_owned));
            Part::Document(Media {
                name: title.map_or(Some(None), |title| title.map(Some))?,
                ..media(block.get("source")?)?
            })
        }
        "tool_use" => {
            only(&["type", "id", "name", "input"])?;
            let input = block.get("input").filter(|input| input.is_object())?.clone();
            Part::ToolUse(ToolUse { id: text("id")?, name: text("name")?, input, signature: None })
        }
        "tool_result" => {
            only(&["type", "tool_use_id", "content", "is_error"])?;
            let is_error = block.get("is_error").map_or(Some(false), Value::as_bool)?;
            let content = block.get("content").map_or(Some(Vec::new()), |content| parts(content.clone()).ok())?;
            Part::ToolResult(ToolResult { id: text("tool_use_id")?, name: None, content, is_error })
        }
        "thinking" => {
            only(&["type", "thinking", "signature"])?;
            Part::Reasoning(Reasoning::Text { text: text("thinking")?, signature: Some(text("signature")?) })
        }
        "redacted_thinking" => {
            only(&["type", "data"])?;
            Part::Reasoning(Reasoning::Redacted(text("data")?))
        }
        _ => return None,
    })
}

fn media(source: &Value) -> Option<Media> {
    let text = |name: &str| source.get(name).and_then(Value::as_str);
    match text("type")? {
        "base64" => {
            exactly(source, &["type", "media_type", "data"])?;
            Media::base64(text("media_type")?, text("data")?)
        }
        "url" => {
            exactly(source, &["type", "url"])?;
            text("url").filter(|url| url.starts_with("https://")).map(Media::url)
        }
        _ => None,
    }
}

/// Takes the parameters that every provider has out of a body; the rest keeps its own names, or gets OpenAI's.
fn params(mut body: Map<String, Value>) -> Params {
    let mut params = Params {
        max_tokens: take(&mut body, "max_tokens", |value| u32::try_from(value.as_u64()?).ok()),
        temperature: take(&mut body, "temperature", Value::as_f64),
        stop: take(&mut body, "stop_sequences", |value| serde_json::from_value(value.clone()).ok()).unwrap_or_default(),
        ..Params::default()
    };
    if let Some(Value::Array(tools)) = body.get_mut("tools") {
        tools.iter_mut().for_each(|tool| *tool = pieces::function_of_tool(tool));
    }
    if let Some(choice) = body.shift_remove("tool_choice") {
        let (choice, parallel) = pieces::choice_of_anthropic(&choice);
        body.insert("tool_choice".to_owned(), choice);
        parallel.map(|parallel| body.insert("parallel_tool_calls".to_owned(), parallel.into()));
    }
    if let Some(Value::Object(mut config)) = body.shift_remove("output_config") {
        let format = config.get("format").and_then(format_of_openai);
        if let Some(format) = format {
            config.shift_remove("format");
            body.insert("response_format".to_owned(), format);
        }
        config.shift_remove("effort").map(|effort| body.insert("reasoning_effort".to_owned(), effort));
        if !config.is_empty() {
            body.insert("output_config".to_owned(), config.into());
        }
    }
    if body.get("service_tier").is_some_and(|tier| tier == "standard_only") {
        body.insert("service_tier".to_owned(), "default".into());
    }
    params.extra = body;
    params
}

/// Translates the form of an answer; nothing if it says more than its schema.
fn format_of_openai(format: &Value) -> Option<Value> {
    let schema = exactly(format, &["type", "schema"])?.get("schema").filter(|_| format["type"] == "json_schema")?;
    Some(json!({"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}))
}

/// Takes a field out of a body if it is what it should be; otherwise it stays, for the provider to complain about.
fn take<T>(body: &mut Map<String, Value>, name: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
    let value = read(body.get(name)?)?;
    body.shift_remove(name);
    Some(value)
}
