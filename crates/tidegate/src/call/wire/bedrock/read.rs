//! From a body that was written for this wire to the typed form, so that other wires can carry it.
//!
//! Tools, their calls and results, and images get OpenAI's spelling, which the typed form has them in. A block that is
//! more than that (a cache point, reasoning, a document) stays as it is, and other wires refuse it by name.

use serde_json::{Map, Value};

use super::pieces;
use crate::call::wire::WireId;
use crate::call::wire::body::bad_body;
use crate::failure::{Failure, Kind};
use crate::request::{Message, Original, Params, Part, Request, Role, Task, TaskKind};

/// Reads a whole body.
pub(super) fn request(original: &Original) -> Result<Request, Failure> {
    if original.kind != TaskKind::Chat {
        return Err(Failure::new(Kind::Unsupported, "Bedrock's Converse has no embeddings"));
    }
    let mut body: Map<String, Value> = serde_json::from_slice(&original.bytes).map_err(bad_body)?;
    body.shift_remove("modelId");
    let messages = conversation(&mut body).map_err(|e| Failure::new(Kind::BadRequest, e))?;
    Ok(Request { task: Task::Chat(messages), params: params(body), original: None, schema: None })
}

fn conversation(body: &mut Map<String, Value>) -> Result<Vec<Message>, String> {
    let mut messages = Vec::new();
    if let Some(Value::Array(system)) = body.shift_remove("system") {
        let parts = system.into_iter().map(part).collect();
        messages.push(Message { role: Role::System, parts, extra: Map::new() });
    }
    let Some(Value::Array(turns)) = body.shift_remove("messages") else {
        return Err("`messages` is not a list".to_owned());
    };
    for (i, turn) in turns.into_iter().enumerate() {
        read_turn(turn, &mut messages).map_err(|e| format!("messages[{i}]: {e}"))?;
    }
    Ok(messages)
}

fn read_turn(mut turn: Value, messages: &mut Vec<Message>) -> Result<(), String> {
    let role = turn["role"].as_str().ok_or("no `role`")?.to_owned();
    let Value::Array(blocks) = turn["content"].take() else { return Err("`content` is not a list".to_owned()) };
    match role.as_str() {
        "user" => read_user(blocks, messages),
        "assistant" => messages.push(read_assistant(blocks)),
        other => messages.push(message(Role::from_name(other), blocks)),
    }
    Ok(())
}

fn message(role: Role, blocks: Vec<Value>) -> Message {
    Message { role, parts: blocks.into_iter().map(part).collect(), extra: Map::new() }
}

/// Results of tools, which stand first, are messages of their own.
fn read_user(mut blocks: Vec<Value>, messages: &mut Vec<Message>) {
    let results: Vec<_> = blocks.iter().map_while(read_result).collect();
    blocks.drain(..results.len());
    let rest = !blocks.is_empty() || results.is_empty();
    messages.extend(results);
    if rest {
        messages.push(message(Role::User, blocks));
    }
}

/// Reads a result that is no more than that; one that reports an error has no counterpart.
fn read_result(block: &Value) -> Option<Message> {
    let result = block.get("toolResult")?.as_object()?;
    let plain = result.get("status").is_none_or(|status| status == "success");
    let id = result.get("toolUseId").filter(|id| plain && id.is_string())?;
    let parts = result.get("content")?.as_array()?.iter().cloned().map(part).collect();
    let extra = Map::from_iter([("tool_call_id".to_owned(), id.clone())]);
    Some(Message { role: Role::Other("tool".to_owned()), parts, extra })
}

/// Tool calls go beside the parts if they stand last, where they always stand unless the model thinks in between.
fn read_assistant(mut blocks: Vec<Value>) -> Message {
    let mut calls: Vec<Value> = blocks.iter().rev().map_while(pieces::call_of_tool_use).collect();
    blocks.truncate(blocks.len() - calls.len());
    calls.reverse();
    let mut message = message(Role::Assistant, blocks);
    if !calls.is_empty() {
        message.extra.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    message
}

fn part(block: Value) -> Part {
    let only = block.as_object().is_some_and(|fields| fields.len() == 1);
    match block.get("text").and_then(Value::as_str) {
        Some(text) if only => Part::Text(text.to_owned()),
        _ => match pieces::part_of_image(&block) {
            Some(value) => Part::Raw { wire: WireId::Openai, value },
            None => Part::Raw { wire: WireId::Bedrock, value: block },
        },
    }
}

/// Takes the parameters that every provider has out of a body; the rest keeps its own names, or gets OpenAI's.
fn params(mut body: Map<String, Value>) -> Params {
    let mut params = Params::default();
    if let Some(Value::Object(config)) = body.get_mut("inferenceConfig") {
        let mut take = |name: &str| config.shift_remove(name);
        params.max_tokens = take("maxTokens").and_then(|value| u32::try_from(value.as_u64()?).ok());
        params.temperature = take("temperature").and_then(|value| value.as_f64());
        params.stop = take("stopSequences").and_then(|list| serde_json::from_value(list).ok()).unwrap_or_default();
        let (top_p, empty) = (take("topP"), config.is_empty());
        if empty {
            body.shift_remove("inferenceConfig");
        }
        top_p.map(|top_p| body.insert("top_p".to_owned(), top_p));
    }
    if let Some(Value::Object(mut config)) = body.shift_remove("toolConfig") {
        if let Some(Value::Array(tools)) = config.shift_remove("tools") {
            body.insert("tools".to_owned(), tools.iter().map(pieces::function_of_tool).collect());
        }
        if let Some(choice) = config.shift_remove("toolChoice") {
            body.insert("tool_choice".to_owned(), pieces::choice_of_converse(&choice));
        }
    }
    params.extra = body;
    params
}
