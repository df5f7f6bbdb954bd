//! From the typed form to a body.
//!
//! Nothing is dropped in silence: a message's field, a part or a parameter that this format cannot carry is a failure
//! that names it. Fields that the user gives by their own names win, and pass untouched unless they are OpenAI's.

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::pieces;
use crate::call::provider::Quirks;
use crate::call::wire::WireId;
use crate::call::wire::body::{bad_body, to_bytes};
use crate::failure::{Failure, Kind};
use crate::request::{Message, Original, Params, Part, Request, Task};

/// The output's bound where nobody knows the model's own; the smallest that any model has.
const MAX_TOKENS: u32 = 4096;

/// Parameters that decide how tokens are drawn.
const SAMPLING: [&str; 3] = ["temperature", "top_p", "top_k"];

/// Parameters of OpenAI's that ask for something else than this wire can do.
const OPENAI_ONLY: [&str; 17] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "modalities",
    "n",
    "prediction",
    "presence_penalty",
    "reasoning_effort",
    "seed",
    "store",
    "stream_options",
    "top_logprobs",
    "verbosity",
];

/// Writes a typed request.
pub(super) fn body(request: &Request, model: &str, quirks: &Quirks) -> Result<Bytes, Failure> {
    let Task::Chat(messages) = &request.task else { return Err(no_place("embeddings")) };
    let mut fields = fields(&request.params, model, quirks)?;
    fields.entry("max_tokens").or_insert_with(|| quirks.max_output.unwrap_or(MAX_TOKENS).into());
    let conversation = Conversation::of(messages)?;
    if conversation.system.is_some() && fields.contains_key("system") {
        return Err(Failure::new(Kind::BadRequest, "there are system messages and a field `system`; keep one of them"));
    }
    to_bytes(&Body { model, conversation, fields })
}

/// Sets parameters in a body that was written by somebody else.
pub(super) fn merged(original: &Original, model: &str, params: &Params, quirks: &Quirks) -> Result<Bytes, Failure> {
    let mut body: Map<String, Value> = serde_json::from_slice(&original.bytes).map_err(bad_body)?;
    body.insert("model".to_owned(), model.into());
    body.extend(fields(params, model, quirks)?);
    to_bytes(&body)
}

struct Body<'a> {
    model: &'a str,
    conversation: Conversation<'a>,
    fields: Map<String, Value>,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.fields.contains_key("model") {
            map.serialize_entry("model", self.model)?;
        }
        if let Some(system) = &self.conversation.system {
            map.serialize_entry("system", system)?;
        }
        if !self.fields.contains_key("messages") {
            map.serialize_entry("messages", &self.conversation.turns)?;
        }
        for (name, value) in &self.fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Returns the parameters as this wire's fields.
fn fields(params: &Params, model: &str, quirks: &Quirks) -> Result<Map<String, Value>, Failure> {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Option<Value>| value.map(|value| fields.insert(name.to_owned(), value));
    set("max_tokens", params.max_tokens.map(Value::from));
    set("temperature", params.temperature.map(Value::from));
    set("stop_sequences", Some(&params.stop).filter(|stop| !stop.is_empty()).map(|stop| json!(stop)));
    set("seed", params.seed.map(Value::from));
    fields.extend(params.extra.clone());
    translate(&mut fields)?;
    match SAMPLING.into_iter().find(|name| !quirks.sampling && fields.contains_key(*name)) {
        Some(name) => {
            Err(Failure::new(Kind::Unsupported, format!("{model} refuses sampling parameters; leave `{name}` out")))
        }
        None => Ok(fields),
    }
}

/// Puts OpenAI's fields into this wire's form.
fn translate(fields: &mut Map<String, Value>) -> Result<(), Failure> {
    if let Some(Value::Array(tools)) = fields.get_mut("tools") {
        tools.iter_mut().for_each(|tool| *tool = pieces::tool_of_function(tool));
    }
    if let Some(choice) = fields.get_mut("tool_choice") {
        *choice = pieces::choice_of_openai(choice);
    }
    if fields.shift_remove("parallel_tool_calls") == Some(Value::Bool(false)) && fields.contains_key("tools") {
        let choice = fields.entry("tool_choice").or_insert_with(|| json!({"type": "auto"}));
        if let Value::Object(choice) = choice
            && choice.get("type").is_none_or(|kind| kind != "none")
        {
            choice.insert("disable_parallel_tool_use".to_owned(), true.into());
        }
    }
    if let Some(user) = fields.shift_remove("user").filter(|user| !user.is_null())
        && let Value::Object(metadata) = fields.entry("metadata").or_insert_with(|| json!({}))
    {
        metadata.entry("user_id").or_insert(user);
    }
    if let Some(format) = fields.shift_remove("response_format") {
        structure(fields, &format)?;
    }
    let asks = |name: &str, value: &Value| match name {
        "n" => value.as_u64() != Some(1) && !value.is_null(),
        "frequency_penalty" | "presence_penalty" => value.as_f64() != Some(0.0) && !value.is_null(),
        _ => !is_nothing(value),
    };
    for name in OPENAI_ONLY {
        if fields.shift_remove(name).is_some_and(|value| asks(name, &value)) {
            return Err(no_place(&format!("`{name}`")));
        }
    }
    Ok(())
}

/// Sets the form that the answer must have.
fn structure(fields: &mut Map<String, Value>, format: &Value) -> Result<(), Failure> {
    match (format.get("type").and_then(Value::as_str), format.pointer("/json_schema/schema")) {
        (None | Some("text"), _) => Ok(()),
        (Some("json_schema"), Some(schema)) => {
            let config = fields.entry("output_config").or_insert_with(|| json!({}));
            if let Value::Object(config) = config {
                config.entry("format").or_insert_with(|| json!({"type": "json_schema", "schema": schema}));
            }
            Ok(())
        }
        (Some(other), _) => Err(no_place(&format!("`response_format` {other}"))),
    }
}

/// What stands for nothing, as OpenAI's SDKs write it: null, false, an empty list.
fn is_nothing(value: &Value) -> bool {
    value.is_null() || *value == Value::Bool(false) || value.as_array().is_some_and(Vec::is_empty)
}

fn no_place(what: &str) -> Failure {
    Failure::new(Kind::Unsupported, format!("Anthropic's format has no place for {what}"))
}

/// Messages in this wire's form.
#[derive(Default)]
struct Conversation<'a> {
    system: Option<Content<'a>>,
    turns: Vec<Turn<'a>>,
    /// Whether the last turn holds nothing but results of tools yet: the next ones, and what the user says, belong to it.
    open: bool,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: Content<'a>,
}

/// What is said: a text, which needs no copy, or blocks.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    Blocks(Vec<Value>),
}

impl<'a> Conversation<'a> {
    fn of(messages: &'a [Message]) -> Result<Conversation<'a>, Failure> {
        let mut conversation = Conversation::default();
        for (i, message) in messages.iter().enumerate() {
            conversation.add(message).map_err(|what| no_place(&format!("messages[{i}]: {what}")))?;
        }
        Ok(conversation)
    }

    fn add(&mut self, message: &'a Message) -> Result<(), String> {
        let extra = &message.extra;
        match message.role.name() {
            "system" | "developer" => {
                only(extra, &[])?;
                self.add_system(content(&message.parts)?);
            }
            "user" => {
                only(extra, &[])?;
                self.add_turn("user", content(&message.parts)?);
            }
            "assistant" => {
                only(extra, &["tool_calls"])?;
                self.add_turn("assistant", assistant(message)?);
            }
            "tool" => {
                only(extra, &["tool_call_id", "name"])?;
                self.add_result(tool_result(message)?);
            }
            other => return Err(format!("the role `{other}`")),
        }
        Ok(())
    }

    fn add_system(&mut self, more: Content<'a>) {
        self.system = Some(match self.system.take() {
            None => more,
            Some(before) => Content::Blocks([before.into_blocks(), more.into_blocks()].concat()),
        });
    }

    fn add_turn(&mut self, role: &'static str, content: Content<'a>) {
        let open = std::mem::take(&mut self.open);
        match self.turns.last_mut() {
            Some(Turn { content: Content::Blocks(blocks), .. }) if open && role == "user" && !content.is_empty() => {
                blocks.extend(content.into_blocks());
            }
            _ => self.turns.push(Turn { role, content }),
        }
    }

    fn add_result(&mut self, block: Value) {
        self.add_turn("user", Content::Blocks(vec![block]));
        self.open = true;
    }
}

impl Content<'_> {
    fn is_empty(&self) -> bool {
        matches!(self, Content::Blocks(blocks) if blocks.is_empty())
    }

    fn into_blocks(self) -> Vec<Value> {
        match self {
            Content::Text(text) => vec![text_block(text)],
            Content::Blocks(blocks) => blocks,
        }
    }
}

fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// Refuses a message's fields that are neither known nor empty.
fn only(extra: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match extra.iter().find(|(name, value)| !known.contains(&name.as_str()) && !is_nothing(value)) {
        Some((name, _)) => Err(format!("the field `{name}`")),
        None => Ok(()),
    }
}

fn content(parts: &[Part]) -> Result<Content<'_>, String> {
    match parts {
        [Part::Text(text)] => Ok(Content::Text(text)),
        parts => parts.iter().map(block).collect::<Result<_, _>>().map(Content::Blocks),
    }
}

fn block(part: &Part) -> Result<Value, String> {
    match part {
        Part::Text(text) => Ok(text_block(text)),
        Part::Raw { wire: WireId::Anthropic, value } => Ok(value.clone()),
        Part::Raw { wire, value } if *wire == WireId::Openai => pieces::block_of_part(value),
        Part::Raw { wire, .. } => Err(format!("a part in {}'s form", wire.name())),
    }
}

/// An empty text beside tool calls, as OpenAI's SDKs write it, would be refused.
fn assistant(message: &Message) -> Result<Content<'_>, String> {
    let calls = message.extra.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let said = content(&message.parts)?;
    if calls.is_empty() {
        return Ok(said);
    }
    let mut blocks = match said {
        Content::Text("") => Vec::new(),
        said => said.into_blocks(),
    };
    for call in calls {
        blocks.push(pieces::tool_use_of_call(call)?);
    }
    Ok(Content::Blocks(blocks))
}

fn tool_result(message: &Message) -> Result<Value, String> {
    let id =
        message.extra.get("tool_call_id").and_then(Value::as_str).ok_or("a tool's result without `tool_call_id`")?;
    let mut block = json!({"type": "tool_result", "tool_use_id": id});
    if !message.parts.is_empty() {
        block["content"] = json!(content(&message.parts)?);
    }
    Ok(block)
}
