//! From a body in Gemini's form to the typed one, so that another wire can carry it.
//!
//! Texts, calls, their results and inline images get the form that the vocabulary has for them; every other part stays
//! Gemini's own, and a wire that cannot carry it names it.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::tools;
use crate::call::wire::WireId;
use crate::request::{Message, Part, Role};

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
            mut content => parts_of(&mut content)?.into_iter().map(part).collect(),
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
struct Reader {
    messages: Vec<Message>,
    /// The calls so far, which numbers those without an id.
    calls: usize,
    /// The ids of calls that have no result yet, by tool, the earliest first.
    open: HashMap<String, Vec<String>>,
}

impl Reader {
    fn content(&mut self, mut content: Value) -> Result<(), String> {
        let role = match content.get("role").and_then(Value::as_str) {
            Some("user" | "function") | None => Role::User,
            Some("model") => Role::Assistant,
            Some(other) => Role::Other(other.to_owned()),
        };
        let mut turn = Turn::default();
        let before = self.messages.len();
        for piece in parts_of(&mut content)? {
            if let Some(response) = piece.get("functionResponse") {
                turn.flush(&role, &mut self.messages);
                let result = self.result(response)?;
                self.messages.push(result);
            } else if let Some(call) = piece.get("functionCall") {
                let call = self.call(call, piece.get("thoughtSignature"))?;
                turn.calls.push(call);
            } else {
                // What is said after a call is another message, so that the order stays.
                if !turn.calls.is_empty() {
                    turn.flush(&role, &mut self.messages);
                }
                turn.parts.push(part(piece));
            }
        }
        turn.flush(&role, &mut self.messages);
        if self.messages.len() == before {
            self.messages.push(Message { role, parts: Vec::new(), extra: Map::new() });
        }
        Ok(())
    }

    fn call(&mut self, call: &Value, signature: Option<&Value>) -> Result<Value, String> {
        let name = call.get("name").and_then(Value::as_str).ok_or("a functionCall has no name")?;
        let args = call.get("args").filter(|args| !args.is_null()).map_or("{}".to_owned(), Value::to_string);
        let id = call.get("id").and_then(Value::as_str);
        let call = tools::openai_call(id, self.calls, name, &args, signature.and_then(Value::as_str));
        self.calls += 1;
        let id = call["id"].as_str().unwrap_or_default().to_owned();
        self.open.entry(name.to_owned()).or_default().push(id);
        Ok(call)
    }

    fn result(&mut self, response: &Value) -> Result<Message, String> {
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
        let extra = Map::from_iter([("tool_call_id".to_owned(), Value::String(id)), ("name".to_owned(), name.into())]);
        Ok(Message { role: Role::Other("tool".to_owned()), parts: vec![Part::Text(text)], extra })
    }
}

/// A message in the making.
#[derive(Default)]
struct Turn {
    parts: Vec<Part>,
    calls: Vec<Value>,
}

impl Turn {
    /// Ends the message, if there is anything in it.
    fn flush(&mut self, role: &Role, messages: &mut Vec<Message>) {
        let Turn { parts, calls } = std::mem::take(self);
        if parts.is_empty() && calls.is_empty() {
            return;
        }
        let mut extra = Map::new();
        if !calls.is_empty() {
            extra.insert("tool_calls".to_owned(), calls.into());
        }
        messages.push(Message { role: role.clone(), parts, extra });
    }
}

fn part(value: Value) -> Part {
    let only = |name: &str| value.as_object().filter(|fields| fields.len() == 1)?.get(name);
    if let Some(Value::String(text)) = only("text") {
        return Part::Text(text.clone());
    }
    let image = only("inlineData").filter(|data| data.as_object().is_some_and(|fields| fields.len() == 2));
    let text = |name: &str| image?.get(name)?.as_str();
    match (text("mimeType"), text("data")) {
        (Some(kind), Some(data)) if kind.starts_with("image/") => {
            let url = format!("data:{kind};base64,{data}");
            Part::Raw { wire: WireId::Openai, value: json!({"type": "image_url", "image_url": {"url": url}}) }
        }
        _ => Part::Raw { wire: WireId::Gemini, value },
    }
}
