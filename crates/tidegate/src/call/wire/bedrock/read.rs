//! From a body that was written for this wire to the typed form, so that other wires can carry it.
//!
//! A block that says more than the typed form can stays as it is, and other wires refuse it by name.

use serde_json::{Map, Value, json};

use super::content::read_block;
use super::pieces;
use crate::call::wire::body::bad_body;
use crate::failure::{Failure, Kind};
use crate::json;
use crate::request::{Message, Original, Params, Request, Role, Task, TaskKind};

/// Reads a whole body.
pub(super) fn request(original: &Original) -> Result<Request, Failure> {
    if original.kind != TaskKind::Chat {
        return Err(Failure::new(Kind::Unsupported, "Bedrock's Converse has no embeddings"));
    }
    let mut body: Map<String, Value> = json::from_slice(&original.bytes).map_err(bad_body)?;
    body.shift_remove("modelId");
    let messages = conversation(&mut body).map_err(|e| Failure::new(Kind::BadRequest, e))?;
    Ok(Request { task: Task::Chat(messages), params: params(body), ..Request::default() })
}

fn conversation(body: &mut Map<String, Value>) -> Result<Vec<Message>, String> {
    let mut messages = Vec::new();
    if let Some(Value::Array(system)) = body.shift_remove("system") {
        messages.push(message(Role::System, system));
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
    messages.push(message(Role::from_name(&role), blocks));
    Ok(())
}

fn message(role: Role, blocks: Vec<Value>) -> Message {
    Message { role, parts: blocks.into_iter().map(read_block).collect(), extra: Map::new() }
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
    if let Some(Value::Object(config)) = body.get_mut("outputConfig")
        && let Some(format) = config.get("textFormat").and_then(format_of_openai)
    {
        config.shift_remove("textFormat");
        if config.is_empty() {
            body.shift_remove("outputConfig");
        }
        body.insert("response_format".to_owned(), format);
    }
    if let Some(tier) = body.get("serviceTier").and_then(|tier| tier.get("type")).cloned() {
        body.shift_remove("serviceTier");
        body.insert("service_tier".to_owned(), tier);
    }
    if let Some(metadata) = body.shift_remove("requestMetadata") {
        body.insert("metadata".to_owned(), metadata);
    }
    params.extra = body;
    params
}

/// Translates the form of an answer, whose schema travels as text; nothing if that is no JSON.
fn format_of_openai(format: &Value) -> Option<Value> {
    let mut wanted = format.pointer("/structure/jsonSchema")?.as_object()?.clone();
    let schema: Value = serde_json::from_str(wanted.get("schema")?.as_str()?).ok()?;
    wanted.insert("schema".to_owned(), schema);
    wanted.entry("name").or_insert_with(|| "reply".into());
    Some(json!({"type": "json_schema", "json_schema": wanted}))
}
