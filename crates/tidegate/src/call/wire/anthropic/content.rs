//! Messages in Anthropic's form: from parts to blocks.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::pieces;
use crate::call::wire::WireId;
use crate::call::wire::foreign::is_nothing;
use crate::call::wire::openai::content::{lenient, read_call};
use crate::request::{CachePoint, Media, Message, Part, Reasoning, Source, ToolResult};

/// A whole conversation.
#[derive(Default)]
pub(super) struct Conversation<'a> {
    pub(super) system: Option<Content<'a>>,
    pub(super) turns: Vec<Turn<'a>>,
}

#[derive(Serialize)]
pub(super) struct Turn<'a> {
    role: &'static str,
    content: Content<'a>,
}

/// What is said: a text, which needs no copy, or blocks.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Text(&'a str),
    Blocks(Vec<Value>),
}

impl<'a> Conversation<'a> {
    /// Writes messages in order.
    ///
    /// # Errors
    ///
    /// Names the message and what has no place.
    pub(super) fn of(messages: &'a [Message]) -> Result<Conversation<'a>, String> {
        let mut conversation = Conversation::default();
        for (i, message) in messages.iter().enumerate() {
            conversation.add(message).map_err(|what| format!("messages[{i}]: {what}"))?;
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
                self.turns.push(Turn { role: "user", content: content(&message.parts)? });
            }
            "assistant" => {
                only(extra, &["tool_calls"])?;
                self.turns.push(Turn { role: "assistant", content: assistant(message)? });
            }
            "tool" if !extra.contains_key("tool_call_id") => {
                return Err("a tool's result without `tool_call_id`".to_owned());
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
}

impl Content<'_> {
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
    if let [Part::Text(text)] = parts {
        return Ok(Content::Text(text));
    }
    let mut blocks: Vec<Value> = Vec::with_capacity(parts.len());
    // An empty text beside something else, as templates and OpenAI's SDKs write it, would be refused.
    for part in parts.iter().filter(|part| **part != Part::Text(String::new())) {
        match (part, blocks.last_mut()) {
            (Part::CachePoint(point), Some(before)) => before["cache_control"] = cache_control(point),
            (Part::CachePoint(_), None) => return Err("a cache point with nothing before it".to_owned()),
            (part, _) => blocks.push(block(part)?),
        }
    }
    Ok(Content::Blocks(blocks))
}

fn cache_control(point: &CachePoint) -> Value {
    match &point.ttl {
        Some(ttl) => json!({"type": "ephemeral", "ttl": ttl}),
        None => json!({"type": "ephemeral"}),
    }
}

fn assistant(message: &Message) -> Result<Content<'_>, String> {
    let calls = message.extra.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let said = match &message.parts[..] {
        [Part::Text(text)] if text.is_empty() && !calls.is_empty() => content(&[])?,
        parts => content(parts)?,
    };
    if calls.is_empty() {
        return Ok(said);
    }
    let mut blocks = said.into_blocks();
    for call in calls {
        blocks.push(pieces::block_of_call(&read_call(call)?));
    }
    Ok(Content::Blocks(blocks))
}

/// Returns why a part has no place in this format.
pub(super) fn refuses(part: &Part) -> Option<String> {
    what_is_refused(part).map(|what| no_place(&what))
}

pub(super) fn no_place(what: &str) -> String {
    format!("Anthropic's format has no place for {what}")
}

fn what_is_refused(part: &Part) -> Option<String> {
    let what = match part {
        Part::Text(_) | Part::ToolUse(_) | Part::CachePoint(_) | Part::Reasoning(Reasoning::Redacted(_)) => {
            return None;
        }
        Part::Reasoning(Reasoning::Text { signature: Some(_), .. }) => return None,
        Part::Reasoning(Reasoning::Text { signature: None, .. }) => "reasoning without a signature".to_owned(),
        Part::Image(media) => return where_from("an image", media, image_types),
        Part::Document(media) => return where_from("a document", media, document_types),
        Part::Video(_) => "a video".to_owned(),
        Part::Audio(_) => "sound".to_owned(),
        Part::ToolResult(result) => return result.content.iter().find_map(what_is_refused),
        Part::Raw { wire: WireId::Anthropic, .. } => return None,
        Part::Raw { wire: WireId::Openai, value } if pieces::is_own(value) => return None,
        Part::Raw { wire: WireId::Openai, value } => match lenient(value) {
            Ok(part) => return what_is_refused(&part),
            Err(what) => what,
        },
        Part::Raw { wire, .. } => format!("a part in {}'s form", wire.name()),
        Part::GuardContent(_) => part.name().to_owned(),
    };
    Some(what)
}

fn where_from(what: &str, media: &Media, is_taken: fn(&str) -> bool) -> Option<String> {
    match &media.source {
        Source::Bytes(_) if is_taken(&media.mime) => None,
        Source::Bytes(_) => Some(format!("{what} of type {}", media.mime)),
        Source::Url(url) if url.starts_with("https://") => None,
        Source::Url(_) => Some(format!("{what} at an address that is neither https nor data in base64")),
        Source::S3 { .. } => Some(format!("{what} in S3")),
    }
}

fn image_types(mime: &str) -> bool {
    matches!(mime, "image/png" | "image/jpeg" | "image/gif" | "image/webp")
}

fn document_types(mime: &str) -> bool {
    mime == "application/pdf" || mime.starts_with("text/")
}

fn block(part: &Part) -> Result<Value, String> {
    if let Some(what) = what_is_refused(part) {
        return Err(what);
    }
    Ok(match part {
        Part::Text(text) => text_block(text),
        Part::Image(media) => json!({"type": "image", "source": source(media)}),
        Part::Document(media) => document(media),
        Part::ToolUse(call) => pieces::block_of_call(call),
        Part::ToolResult(result) => tool_result(result)?,
        Part::Reasoning(Reasoning::Text { text, signature }) => {
            json!({"type": "thinking", "thinking": text, "signature": signature})
        }
        Part::Reasoning(Reasoning::Redacted(data)) => json!({"type": "redacted_thinking", "data": data}),
        Part::Raw { wire: WireId::Openai, value } if !pieces::is_own(value) => block(&lenient(value)?)?,
        Part::Raw { value, .. } => value.clone(),
        other => return Err(other.name().to_owned()),
    })
}

fn document(media: &Media) -> Value {
    let mut block = json!({"type": "document", "source": source(media)});
    if let Some(name) = &media.name {
        block["title"] = name.as_str().into();
    }
    block
}

fn source(media: &Media) -> Value {
    match &media.source {
        Source::Bytes(bytes) if media.mime.starts_with("text/") => {
            json!({"type": "text", "media_type": "text/plain", "data": String::from_utf8_lossy(bytes)})
        }
        Source::Bytes(_) => json!({"type": "base64", "media_type": media.mime, "data": media.to_base64()}),
        Source::Url(url) | Source::S3 { uri: url, .. } => json!({"type": "url", "url": url}),
    }
}

fn tool_result(result: &ToolResult) -> Result<Value, String> {
    let mut block = json!({"type": "tool_result", "tool_use_id": result.id});
    if !result.content.is_empty() {
        block["content"] = json!(content(&result.content)?);
    }
    if result.is_error {
        block["is_error"] = true.into();
    }
    Ok(block)
}
