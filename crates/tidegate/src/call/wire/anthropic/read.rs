//! From a body that was written for this wire to the typed form, so that other wires can carry it.
//!
//! Tools, their calls and results, and images get OpenAI's spelling, which the typed form has them in. A block that is
//! more than that (a cache point, thinking, a document) stays as it is, and other wires refuse it by name.

use serde_json::{Map, Value};

use super::pieces;
use crate::call::wire::WireId;
use crate::call::wire::body::bad_body;
use crate::failure::{Failure, Kind};
use crate::request::{Message, Original, Params, Part, Request, Role, Task, TaskKind};

/// Reads a whole body.
pub(super) fn request(original: &Original) -> Result<Request, Failure> {
    if original.kind != TaskKind::Chat {
        return Err(Failure::new(Kind::Unsupported, "Anthropic's format has no embeddings"));
    }
    let mut body: Map<String, Value> = serde_json::from_slice(&original.bytes).map_err(bad_body)?;
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
    match (role.as_str(), content) {
        ("user", Value::Array(blocks)) => read_user(blocks, extra, messages),
        ("assistant", Value::Array(blocks)) => messages.push(read_assistant(blocks, extra)),
        (_, content) => messages.push(Message { role: Role::from_name(&role), parts: parts(content)?, extra }),
    }
    Ok(())
}

/// Results of tools, which stand first, are messages of their own.
fn read_user(mut blocks: Vec<Value>, extra: Map<String, Value>, messages: &mut Vec<Message>) {
    let results: Vec<_> = blocks.iter().map_while(read_result).collect();
    blocks.drain(..results.len());
    let rest = !blocks.is_empty() || results.is_empty() || !extra.is_empty();
    messages.extend(results);
    if rest {
        messages.push(Message { role: Role::User, parts: blocks.into_iter().map(part).collect(), extra });
    }
}

/// Reads a result that is no more than that; one that reports an error has no counterpart.
fn read_result(block: &Value) -> Option<Message> {
    let fields = block.as_object().filter(|_| block["type"] == "tool_result")?;
    let plain = fields.iter().all(|(name, value)| match name.as_str() {
        "type" | "content" => true,
        "tool_use_id" => value.is_string(),
        "is_error" => *value == Value::Bool(false),
        _ => false,
    });
    let id = fields.get("tool_use_id").filter(|_| plain)?;
    let parts = match fields.get("content") {
        None => Vec::new(),
        Some(content) => parts(content.clone()).ok()?,
    };
    let extra = Map::from_iter([("tool_call_id".to_owned(), id.clone())]);
    Some(Message { role: Role::Other("tool".to_owned()), parts, extra })
}

/// Tool calls go beside the parts if they stand last, where they always stand unless the model thinks in between.
fn read_assistant(mut blocks: Vec<Value>, mut extra: Map<String, Value>) -> Message {
    let mut calls: Vec<Value> = blocks.iter().rev().map_while(pieces::call_of_tool_use).collect();
    blocks.truncate(blocks.len() - calls.len());
    calls.reverse();
    if !calls.is_empty() {
        extra.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    Message { role: Role::Assistant, parts: blocks.into_iter().map(part).collect(), extra }
}

fn parts(content: Value) -> Result<Vec<Part>, String> {
    match content {
        Value::String(text) => Ok(vec![Part::Text(text)]),
        Value::Array(blocks) => Ok(blocks.into_iter().map(part).collect()),
        _ => Err("the content is neither text nor a list".to_owned()),
    }
}

fn part(block: Value) -> Part {
    let plain = block.as_object().is_some_and(|fields| fields.len() == 2);
    match (block["type"].as_str(), block["text"].as_str()) {
        (Some("text"), Some(text)) if plain => Part::Text(text.to_owned()),
        (Some("image"), _) => match pieces::part_of_image(&block) {
            Some(value) => Part::Raw { wire: WireId::Openai, value },
            None => Part::Raw { wire: WireId::Anthropic, value: block },
        },
        _ => Part::Raw { wire: WireId::Anthropic, value: block },
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
    params.extra = body;
    params
}

/// Takes a field out of a body if it is what it should be; otherwise it stays, for the provider to complain about.
fn take<T>(body: &mut Map<String, Value>, name: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
    let value = read(body.get(name)?)?;
    body.shift_remove(name);
    Some(value)
}
