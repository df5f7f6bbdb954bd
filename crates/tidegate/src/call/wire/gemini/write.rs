//! From messages to Gemini's `contents`.
//!
//! Gemini has two speakers, `user` and `model`; instructions stand apart, and results of tools are said by the user, all
//! results of one turn together.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::{bad, media, tools, unsupported};
use crate::call::wire::WireId;
use crate::call::wire::openai::content::read_call;
use crate::failure::Failure;
use crate::request::{Message, Part, ToolResult};

/// A conversation in Gemini's form.
#[derive(Debug, Default)]
pub(super) struct Conversation<'a> {
    pub(super) system: Option<Content<'a>>,
    pub(super) contents: Vec<Content<'a>>,
}

/// One turn.
#[derive(Debug, Serialize)]
pub(super) struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Vec<Piece<'a>>,
}

/// One piece of a turn.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Piece<'a> {
    Text { text: &'a str },
    Other(Cow<'a, Value>),
}

impl<'a> Content<'a> {
    /// Makes the content of one text, as an embedding has it.
    pub(super) fn text(text: &'a str) -> Content<'a> {
        Content { role: None, parts: vec![Piece::Text { text }] }
    }
}

/// Writes messages in order.
///
/// # Errors
///
/// Names the message and what is in the way.
pub(super) fn conversation(messages: &[Message]) -> Result<Conversation<'_>, Failure> {
    let mut writer = Writer::default();
    for (i, message) in messages.iter().enumerate() {
        writer
            .message(message)
            .map_err(|failure| Failure::new(failure.kind, format!("messages[{i}]: {}", failure.message)))?;
    }
    Ok(writer.conversation)
}

#[derive(Default)]
struct Writer<'a> {
    conversation: Conversation<'a>,
    /// The tools that were called, by the ids of the calls.
    called: HashMap<&'a str, &'a str>,
}

impl<'a> Writer<'a> {
    fn message(&mut self, message: &'a Message) -> Result<(), Failure> {
        match message.role.name() {
            "system" | "developer" => self.system(message),
            "user" => self.turn("user", message),
            "assistant" | "model" => self.turn("model", message),
            "tool" | "function" => Err(bad("a tool's result without the `tool_call_id` of a call before it")),
            other => Err(unsupported(format!("Gemini's format has no role `{other}`"))),
        }
    }

    fn system(&mut self, message: &'a Message) -> Result<(), Failure> {
        refuse_fields(message, &[])?;
        let parts = message.parts.iter().map(|part| self.piece(part)).collect::<Result<Vec<_>, _>>()?;
        let system = self.conversation.system.get_or_insert(Content { role: None, parts: Vec::new() });
        system.parts.extend(parts);
        Ok(())
    }

    fn turn(&mut self, role: &'static str, message: &'a Message) -> Result<(), Failure> {
        refuse_fields(message, &["tool_calls"])?;
        let mut parts = Vec::with_capacity(message.parts.len());
        for part in &message.parts {
            if let Part::ToolUse(call) = part {
                self.called.insert(&call.id, &call.name);
            }
            parts.push(self.piece(part)?);
        }
        for call in message.extra.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            parts.push(Piece::Other(Cow::Owned(tools::gemini_call(&read_call(call).map_err(bad)?))));
        }
        self.conversation.contents.push(Content { role: Some(role), parts });
        Ok(())
    }

    fn piece(&self, part: &'a Part) -> Result<Piece<'a>, Failure> {
        if let Some(why) = media::refuses(part) {
            return Err(unsupported(why));
        }
        Ok(match part {
            Part::Text(text) => Piece::Text { text },
            Part::Raw { wire: WireId::Gemini, value } => Piece::Other(Cow::Borrowed(value)),
            Part::ToolResult(result) => Piece::Other(Cow::Owned(self.result(result)?)),
            part => Piece::Other(Cow::Owned(media::piece(part)?)),
        })
    }

    fn result(&self, result: &'a ToolResult) -> Result<Value, Failure> {
        let name = result.name.as_deref().or_else(|| self.called.get(result.id.as_str()).copied());
        let name = name.ok_or_else(|| bad("no tool call before it has its `tool_call_id`"))?;
        let mut response = json!({"name": name, "response": result_value(result)});
        if !result.id.is_empty() {
            response["id"] = result.id.as_str().into();
        }
        Ok(json!({"functionResponse": response}))
    }
}

/// Gemini takes an object; anything else stands in its `output`, or in its `error` if the tool failed.
fn result_value(result: &ToolResult) -> Value {
    let texts = result.content.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        _ => None,
    });
    let text: String = texts.collect();
    match serde_json::from_str(&text) {
        _ if result.is_error => json!({"error": text}),
        Ok(Value::Object(fields)) => fields.into(),
        _ => json!({"output": text}),
    }
}

/// Refuses a field of a message that Gemini has nothing like; empty ones, as a reply's echo has them, say nothing.
fn refuse_fields(message: &Message, known: &[&str]) -> Result<(), Failure> {
    let empty = |value: &Value| value.is_null() || value == "" || value.as_array().is_some_and(Vec::is_empty);
    match message.extra.iter().find(|(name, value)| !known.contains(&name.as_str()) && !empty(value)) {
        Some((name, _)) => Err(unsupported(format!("Gemini's format has no `{name}` in a message"))),
        None => Ok(()),
    }
}
