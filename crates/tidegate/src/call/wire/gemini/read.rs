//! From a body in Gemini's form to the typed one, so that another wire can carry it.
//!
//! Texts, calls, their results and inline images get the form that the vocabulary has for them; every other part stays
//! Gemini's own, and a wire that cannot carry it names it.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::media;
use crate::request::{Message, Part, Role, ToolResult, ToolUse};

/// Reads `systemInstruction` and `contents`.
///
/// # Errors
///
/// Says which of them is not one.
pub(super) fn messages(system: Option<Value>, contents: Option<Value>) -> Result<Vec<Message>, String> {
    let mut reader = Reader::default();
    if let Some(system) = system.filter(|system| !system.is_null()) {
        let parts = match system {
            Value::String(text) => vec![Part::Text(text)],
            mut content => parts_of(&mut content)?.into_iter().map(media::read).collect(),
        };
        reader.messages.push(Message { role: Role::System, parts, extra: Map::new() });
    }
    match contents {
        Some(Value::Array(contents)) if !contents.is_empty() => {
            for (i, content) in contents.into_iter().enumerate() {
                reader.content(content).map_err(|e| format!("contents[{i}]: {e}"))?;
            }
        }
        _ => return Err("`contents` is not a list with something in it".to_owned()),
    }
    Ok(reader.messages)
}

/// Takes the parts out of a content.
pub(super) fn parts_of(content: &mut Value) -> Result<Vec<Value>, String> {
    match content.get_mut("parts").map(Value::take) {
        Some(Value::Array(parts)) => Ok(parts),
        Some(one @ Value::Object(_)) => Ok(vec![one]),
        _ => Err("no list of `parts`".to_owned()),
    }
}

#[derive(Default)]
pub(super) struct Reader {
    messages: Vec<Message>,
    /// The calls so far, which numbers those without an id.
    calls: usize,
    /// The ids of calls that have no result yet, by tool, the earliest first.
    open: HashMap<String, Vec<String>>,
}

impl Reader {
    fn content(&mut self, mut content: Value) -> Result<(), String> {
        let mut message = Message::new(match content.get("role").and_then(Value::as_str) {
            Some("user" | "function") | None => Role::User,
            Some("model") => Role::Assistant,
            Some(other) => Role::Other(other.to_owned()),
        });
        for piece in parts_of(&mut content)? {
            message.parts.push(self.part(piece)?);
        }
        self.messages.push(message);
        Ok(())
    }

    /// Reads one part.
    ///
    /// # Errors
    ///
    /// Says what a call or a result lacks.
    pub(super) fn part(&mut self, piece: Value) -> Result<Part, String> {
        if let Some(response) = piece.get("functionResponse") {
            return self.result(response).map(Part::ToolResult);
        }
        match piece.get("functionCall") {
            Some(call) => self.call(call, piece.get("thoughtSignature")).map(Part::ToolUse),
            None => Ok(media::read(piece)),
        }
    }

    fn call(&mut self, call: &Value, signature: Option<&Value>) -> Result<ToolUse, String> {
        let text = |name: &str| call.get(name).and_then(Value::as_str).map(str::to_owned);
        let name = text("name").ok_or("a functionCall has no name")?;
        let input = call.get("args").filter(|args| args.is_object()).cloned().unwrap_or_else(|| json!({}));
        let id = text("id").unwrap_or_else(|| format!("call_{}", self.calls));
        self.calls += 1;
        self.open.entry(name.clone()).or_default().push(id.clone());
        Ok(ToolUse { id, name, input, signature: signature.and_then(Value::as_str).map(str::to_owned) })
    }

    fn result(&mut self, response: &Value) -> Result<ToolResult, String> {
        let name = response.get("name").and_then(Value::as_str).ok_or("a functionResponse has no name")?;
        let open = self.open.get_mut(name);
        let id = match (response.get("id").and_then(Value::as_str), open) {
            (Some(id), Some(open)) => {
                open.retain(|other| other != id);
                id.to_owned()
            }
            (Some(id), None) => id.to_owned(),
            (None, Some(open)) if !open.is_empty() => open.remove(0),
            (None, _) => return Err(format!("a functionResponse of {name} has no call before it")),
        };
        let text = match response.get("response") {
            Some(Value::Object(fields)) => match (fields.len(), fields.get("output")) {
                (1, Some(Value::String(text))) => text.clone(),
                _ => Value::Object(fields.clone()).to_string(),
            },
            Some(other) => other.to_string(),
            None => String::new(),
        };
        Ok(ToolResult { id, name: Some(name.to_owned()), content: vec![Part::Text(text)], is_error: false })
    }
}
