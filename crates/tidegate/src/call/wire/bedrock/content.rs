//! Messages in Converse's form, both ways: parts and blocks.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::pieces;
use crate::call::wire::WireId;
use crate::call::wire::foreign::is_nothing;
use crate::call::wire::openai::content::{lenient, read_call};
use crate::request::format::FORMATS;
use crate::request::{
    CachePoint, GuardContent, Media, MediaKind, Message, Part, Reasoning, Source, ToolResult, ToolUse,
};

/// A whole conversation.
#[derive(Default)]
pub(super) struct Conversation<'a> {
    pub(super) system: Vec<Block<'a>>,
    pub(super) turns: Vec<Turn<'a>>,
}

#[derive(Serialize)]
pub(super) struct Turn<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

/// A block: plain text needs no copy.
pub(super) enum Block<'a> {
    Text(&'a str),
    Other(Value),
}

impl Serialize for Block<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Block::Text(text) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("text", text)?;
                map.end()
            }
            Block::Other(value) => value.serialize(serializer),
        }
    }
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
        conversation.name_documents();
        Ok(conversation)
    }

    /// No two documents of a request may have the same name.
    fn name_documents(&mut self) {
        let mut known = Vec::new();
        for block in self.turns.iter_mut().flat_map(|turn| &mut turn.content) {
            let Block::Other(block) = block else { continue };
            if let Some(Value::Array(inner)) = block.pointer_mut("/toolResult/content") {
                inner.iter_mut().for_each(|block| name_document(block, &mut known));
            }
            name_document(block, &mut known);
        }
    }

    fn add(&mut self, message: &'a Message) -> Result<(), String> {
        let extra = &message.extra;
        match message.role.name() {
            "system" | "developer" => {
                only(extra, &[])?;
                self.system.extend(blocks(&message.parts)?);
            }
            "user" => {
                only(extra, &[])?;
                self.add_turn("user", blocks(&message.parts)?);
            }
            "assistant" => {
                only(extra, &["tool_calls"])?;
                self.add_turn("assistant", assistant(message)?);
            }
            "tool" if !extra.contains_key("tool_call_id") => {
                return Err("a tool's result without `tool_call_id`".to_owned());
            }
            other => return Err(format!("the role `{other}`")),
        }
        Ok(())
    }

    /// Roles must alternate.
    fn add_turn(&mut self, role: &'static str, content: Vec<Block<'a>>) {
        match self.turns.last_mut() {
            Some(last) if last.role == role => last.content.extend(content),
            _ => self.turns.push(Turn { role, content }),
        }
    }
}

/// Numbers a document whose name another one has; case does not tell them apart.
fn name_document(block: &mut Value, known: &mut Vec<String>) {
    let Some(Value::String(name)) = block.pointer_mut("/document/name") else { return };
    let mut number = 1;
    let mut unique = name.clone();
    while known.contains(&unique.to_lowercase()) {
        number += 1;
        unique = format!("{name} {number}");
    }
    known.push(unique.to_lowercase());
    *name = unique;
}

/// Refuses a message's fields that are neither known nor empty.
fn only(extra: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match extra.iter().find(|(name, value)| !known.contains(&name.as_str()) && !is_nothing(value)) {
        Some((name, _)) => Err(format!("the field `{name}`")),
        None => Ok(()),
    }
}

/// Writes what is said. An empty text beside something else, as templates and OpenAI's SDKs write it, would be refused.
fn blocks(parts: &[Part]) -> Result<Vec<Block<'_>>, String> {
    let said = parts.iter().filter(|part| parts.len() == 1 || **part != Part::Text(String::new()));
    said.map(block).collect()
}

fn assistant(message: &Message) -> Result<Vec<Block<'_>>, String> {
    let calls = message.extra.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut said = match &message.parts[..] {
        [Part::Text(text)] if text.is_empty() && !calls.is_empty() => Vec::new(),
        parts => blocks(parts)?,
    };
    for call in calls {
        said.push(Block::Other(tool_use(&read_call(call)?)));
    }
    Ok(said)
}

/// Returns why a part has no place in this format.
pub(super) fn refuses(part: &Part) -> Option<String> {
    what_is_refused(part).map(|what| no_place(&what))
}

pub(super) fn no_place(what: &str) -> String {
    format!("Bedrock's format has no place for {what}")
}

fn what_is_refused(part: &Part) -> Option<String> {
    if let Some((kind, media)) = part.as_media() {
        return refuses_media(kind, media);
    }
    match part {
        Part::ToolResult(result) => result.content.iter().find_map(|part| match part {
            Part::Text(_) | Part::Image(_) | Part::Document(_) | Part::Video(_) | Part::Raw { .. } => {
                what_is_refused(part)
            }
            other => Some(format!("{} in a tool's result", other.name())),
        }),
        Part::Raw { wire: WireId::Openai, value } if !pieces::is_own(value) => match lenient(value) {
            Ok(part) => what_is_refused(&part),
            Err(what) => Some(what),
        },
        Part::Raw { wire: WireId::Openai | WireId::Bedrock, .. } => None,
        Part::Raw { wire, .. } => Some(format!("a part in {}'s form", wire.name())),
        _ => None,
    }
}

fn refuses_media(kind: MediaKind, media: &Media) -> Option<String> {
    let what = |rest: &str| Some(format!("{} {} {rest}", article(kind), kind.name()));
    match (&media.source, media.format()) {
        (Source::Url(_), _) => what("by its address; give its bytes, or an object in S3"),
        (_, Some(format)) if format.kind == kind && !matches!(format.name(), "heic" | "heif") => None,
        _ => what(&format!("of type {}", if media.mime.is_empty() { "unknown" } else { &media.mime })),
    }
}

fn article(kind: MediaKind) -> &'static str {
    if matches!(kind, MediaKind::Image | MediaKind::Audio) { "an" } else { "a" }
}

fn block(part: &Part) -> Result<Block<'_>, String> {
    if let Some(what) = what_is_refused(part) {
        return Err(what);
    }
    Ok(Block::Other(match part {
        Part::Text(text) => return Ok(Block::Text(text)),
        Part::ToolUse(call) => tool_use(call),
        Part::ToolResult(result) => tool_result(result)?,
        Part::Reasoning(Reasoning::Text { text, signature }) => {
            let mut thought = json!({"text": text});
            if let Some(signature) = signature {
                thought["signature"] = signature.as_str().into();
            }
            json!({"reasoningContent": {"reasoningText": thought}})
        }
        Part::Reasoning(Reasoning::Redacted(data)) => json!({"reasoningContent": {"redactedContent": data}}),
        Part::CachePoint(CachePoint { ttl: None }) => json!({"cachePoint": {"type": "default"}}),
        Part::CachePoint(CachePoint { ttl }) => json!({"cachePoint": {"type": "default", "ttl": ttl}}),
        Part::GuardContent(guarded) => guard_content(guarded),
        Part::Raw { wire: WireId::Openai, value } if !pieces::is_own(value) => {
            return owned(block(&lenient(value)?)?);
        }
        Part::Raw { value, .. } => value.clone(),
        part => match part.as_media() {
            Some((kind, media)) => media_block(kind, media),
            None => return Err(part.name().to_owned()),
        },
    }))
}

fn owned(block: Block<'_>) -> Result<Block<'static>, String> {
    Ok(Block::Other(match block {
        Block::Text(text) => json!({"text": text}),
        Block::Other(value) => value,
    }))
}

fn tool_use(call: &ToolUse) -> Value {
    json!({"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.input}})
}

fn tool_result(result: &ToolResult) -> Result<Value, String> {
    let mut block = json!({"toolUseId": result.id, "content": blocks(&result.content)?});
    if result.is_error {
        block["status"] = "error".into();
    }
    Ok(json!({"toolResult": block}))
}

fn guard_content(guarded: &GuardContent) -> Value {
    let mut text = json!({"text": guarded.text});
    if !guarded.qualifiers.is_empty() {
        text["qualifiers"] = json!(guarded.qualifiers);
    }
    json!({"guardContent": {"text": text}})
}

fn media_block(kind: MediaKind, media: &Media) -> Value {
    let source = match &media.source {
        Source::S3 { uri, owner: Some(owner) } => json!({"s3Location": {"uri": uri, "bucketOwner": owner}}),
        Source::S3 { uri, owner: None } => json!({"s3Location": {"uri": uri}}),
        _ => json!({"bytes": media.to_base64()}),
    };
    let mut block = json!({"format": media.format().map(|format| format.name()), "source": source});
    if kind == MediaKind::Document {
        block["name"] = pieces::document_name(media.name.as_deref().unwrap_or("document")).into();
    }
    Value::Object(Map::from_iter([(kind.name().to_owned(), block)]))
}

/// Reads a block into the typed form; what says more than that can stays as it is.
pub(super) fn read_block(block: Value) -> Part {
    match typed(&block) {
        // A document's name may have been brought to Converse's characters; everything else must come out the same.
        Some(part) if written(&part).as_ref() == Some(&block) => part,
        _ => Part::Raw { wire: WireId::Bedrock, value: block },
    }
}

fn written(part: &Part) -> Option<Value> {
    match owned(block(part).ok()?).ok()? {
        Block::Other(value) => Some(value),
        Block::Text(_) => None,
    }
}

fn typed(block: &Value) -> Option<Part> {
    let text = |path: &str| block.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let (name, inner) = block.as_object()?.iter().next()?;
    Some(match name.as_str() {
        "text" => Part::Text(inner.as_str()?.to_owned()),
        "image" => Part::Image(media(inner, MediaKind::Image)?),
        "document" => Part::Document(media(inner, MediaKind::Document)?),
        "video" => Part::Video(media(inner, MediaKind::Video)?),
        "audio" => Part::Audio(media(inner, MediaKind::Audio)?),
        "toolUse" => {
            let input = inner.get("input").filter(|input| input.is_object())?.clone();
            let (id, name) = (text("/toolUse/toolUseId")?, text("/toolUse/name")?);
            Part::ToolUse(ToolUse { id, name, input, signature: None })
        }
        "toolResult" => {
            let content = inner.get("content")?.as_array()?.iter().cloned().map(read_block).collect();
            let is_error = inner.get("status").is_some_and(|status| status == "error");
            Part::ToolResult(ToolResult { id: text("/toolResult/toolUseId")?, name: None, content, is_error })
        }
        "reasoningContent" => match text("/reasoningContent/redactedContent") {
            Some(data) => Part::Reasoning(Reasoning::Redacted(data)),
            None => {
                let signature = text("/reasoningContent/reasoningText/signature");
                Part::Reasoning(Reasoning::Text { text: text("/reasoningContent/reasoningText/text")?, signature })
            }
        },
        "cachePoint" => Part::CachePoint(CachePoint { ttl: text("/cachePoint/ttl") }),
        "guardContent" => {
            let qualifiers = inner.pointer("/text/qualifiers").cloned().unwrap_or_else(|| json!([]));
            let qualifiers = serde_json::from_value(qualifiers).ok()?;
            Part::GuardContent(GuardContent { text: text("/guardContent/text/text")?, qualifiers })
        }
        _ => return None,
    })
}

fn media(block: &Value, kind: MediaKind) -> Option<Media> {
    let text = |path: &str| block.pointer(path).and_then(Value::as_str);
    let format = text("/format")?;
    let format = FORMATS.iter().find(|known| known.kind == kind && known.name() == format)?;
    let mut media = match (text("/source/bytes"), text("/source/s3Location/uri")) {
        (Some(data), _) => Media::base64(format.mime, data)?,
        (None, uri) => {
            let mut media = Media::s3(uri?);
            let owner = text("/source/s3Location/bucketOwner").map(str::to_owned);
            media.source = Source::S3 { uri: uri?.to_owned(), owner };
            media.mime = format.mime.to_owned();
            media
        }
    };
    media.name = text("/name").map(str::to_owned);
    Some(media)
}
