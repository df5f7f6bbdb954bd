//! From messages to Gemini's `contents`.
//!
//! Gemini has two speakers, `user` and `model`; instructions stand apart, and results of tools are said by the user, all
//! results of one turn together.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::{bad, tools, unsupported};
use crate::call::wire::WireId;
use crate::failure::Failure;
use crate::request::{Message, Part};

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
    /// Whether the last content is one of results.
    in_results: bool,
}

impl<'a> Writer<'a> {
    fn message(&mut self, message: &'a Message) -> Result<(), Failure> {
        let was_in_results = std::mem::take(&mut self.in_results);
        match message.role.name() {
            "system" | "developer" => self.system(message),
            "user" => self.turn("user", message),
            "assistant" | "model" => self.turn("model", message),
            "tool" | "function" => self.result(message, was_in_results),
            other => Err(unsupported(format!("Gemini's format has no role `{other}`"))),
        }
    }

    fn system(&mut self, message: &'a Message) -> Result<(), Failure> {
        refuse_fields(message, &[])?;
        let parts = message.parts.iter().map(piece).collect::<Result<Vec<_>, _>>()?;
        let system = self.conversation.system.get_or_insert(Content { role: None, parts: Vec::new() });
        system.parts.extend(parts);
        Ok(())
    }

    fn turn(&mut self, role: &'static str, message: &'a Message) -> Result<(), Failure> {
        refuse_fields(message, &["tool_calls"])?;
        let mut parts = message.parts.iter().map(piece).collect::<Result<Vec<_>, _>>()?;
        for call in message.extra.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            parts.push(Piece::Other(Cow::Owned(tools::gemini_call(call)?)));
            let text = |path: &str| call.pointer(path).and_then(Value::as_str);
            if let (Some(id), Some(name)) = (text("/id"), text("/function/name")) {
                self.called.insert(id, name);
            }
        }
        self.conversation.contents.push(Content { role: Some(role), parts });
        Ok(())
    }

    fn result(&mut self, message: &'a Message, goes_on: bool) -> Result<(), Failure> {
        refuse_fields(message, &["tool_call_id", "name"])?;
        let text = |name: &str| message.extra.get(name).and_then(Value::as_str);
        let id = text("tool_call_id");
        let name = text("name").or_else(|| self.called.get(id?).copied());
        let name = name.ok_or_else(|| bad("no tool call before it has its `tool_call_id`"))?;
        let mut response = json!({"name": name, "response": result_value(message)?});
        if let Some(id) = id {
            response["id"] = id.into();
        }
        let part = Piece::Other(Cow::Owned(json!({"functionResponse": response})));
        match self.conversation.contents.last_mut().filter(|_| goes_on) {
            Some(content) => content.parts.push(part),
            None => self.conversation.contents.push(Content { role: Some("user"), parts: vec![part] }),
        }
        self.in_results = true;
        Ok(())
    }
}

/// Gemini takes an object; anything else stands in its `output`.
fn result_value(message: &Message) -> Result<Value, Failure> {
    let mut text = String::new();
    for part in &message.parts {
        match piece(part)? {
            Piece::Text { text: more } => text.push_str(more),
            Piece::Other(_) => {
                return Err(unsupported("Gemini's format takes only text as a tool's result"));
            }
        }
    }
    match serde_json::from_str(&text) {
        Ok(Value::Object(fields)) => Ok(fields.into()),
        _ => Ok(json!({"output": text})),
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

fn piece(part: &Part) -> Result<Piece<'_>, Failure> {
    match part {
        Part::Text(text) => Ok(Piece::Text { text }),
        Part::Raw { wire: WireId::Gemini, value } => Ok(Piece::Other(Cow::Borrowed(value))),
        Part::Raw { wire: WireId::Openai, value } => openai_piece(value),
        Part::Raw { wire, .. } => {
            Err(unsupported(format!("Gemini's format cannot carry a part in {}'s form", wire.name())))
        }
    }
}

fn openai_piece(value: &Value) -> Result<Piece<'_>, Failure> {
    let text = |path: &str| value.pointer(path).and_then(Value::as_str);
    let kind = text("/type").unwrap_or_default();
    let part = match (kind, text("/text"), text("/image_url/url"), text("/file/file_data"), text("/input_audio/data")) {
        ("text", Some(text), ..) => return Ok(Piece::Text { text }),
        ("image_url", _, Some(url), ..) => at_address(url)?,
        ("file", _, _, Some(url), _) => at_address(url)?,
        ("input_audio", _, _, _, Some(data)) => {
            inline(&format!("audio/{}", text("/input_audio/format").unwrap_or("wav")), data)
        }
        _ => return Err(unsupported(format!("Gemini's format cannot carry a part of type `{kind}`"))),
    };
    Ok(Piece::Other(Cow::Owned(part)))
}

/// Writes what a URL means: data inside it, or a file that Google can reach. Google fetches no other address.
fn at_address(url: &str) -> Result<Value, Failure> {
    if let Some(rest) = url.strip_prefix("data:") {
        let (head, data) = rest.split_once(',').unwrap_or((rest, ""));
        let kind = head.strip_suffix(";base64").map(|head| head.split(';').next().unwrap_or_default());
        return match kind {
            Some(kind) if !kind.is_empty() => Ok(inline(kind, data)),
            _ => Err(bad("a data: URL must have a type and be base64: data:image/png;base64,…")),
        };
    }
    let path = url.split(['?', '#']).next().unwrap_or_default();
    if !is_googles(url) {
        return Err(unsupported(
            "Gemini fetches no images from the web: give a data: URL, gs://… or a file of its Files API",
        ));
    }
    let mut file = json!({"fileUri": url});
    if let Some(kind) = kind_of(path) {
        file["mimeType"] = kind.into();
    }
    Ok(json!({"fileData": file}))
}

fn is_googles(url: &str) -> bool {
    const PLACES: &[&str] =
        &["gs://", "https://generativelanguage.googleapis.com/", "https://www.youtube.com/", "https://youtu.be/"];
    PLACES.iter().any(|place| url.starts_with(place))
}

/// Returns the type that a path's ending tells; files of the Files API have none and need none.
fn kind_of(path: &str) -> Option<&'static str> {
    let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
    let kind = match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        _ => return None,
    };
    Some(kind)
}

fn inline(kind: &str, data: &str) -> Value {
    json!({"inlineData": {"mimeType": kind, "data": data}})
}
