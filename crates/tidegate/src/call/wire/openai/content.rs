//! The messages of OpenAI's wire, both ways.
//!
//! A piece is read into the typed form only where nothing is lost by it; what says more (an image's `detail`) stays as it
//! came, and [`lenient`] is what other formats can make of it. Results of tools are messages of their own here and parts of
//! a user's message in the typed form, as all other formats have them.

use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Value, json};

use super::said::{echoed, is_echo};
use crate::call::wire::WireId;
use crate::request::{Format, Media, MediaKind, Message, Part, Reasoning, Role, Source, ToolResult, ToolUse};

/// Messages as the body has them.
pub(super) struct Messages<'a>(pub(super) &'a [Message]);

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for message in self.0 {
            let mut results = 0;
            for part in &message.parts {
                if let Part::ToolResult(result) = part {
                    results += 1;
                    list.serialize_element(&Answer(result))?;
                }
            }
            if results == 0 || results < message.parts.len() {
                list.serialize_element(&Turn(message))?;
            }
        }
        list.end()
    }
}

/// One message without the results of tools in it.
struct Turn<'a>(&'a Message);

impl Serialize for Turn<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Message { role, parts, extra } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("role", role.name())?;
        let mut calls = Vec::new();
        match &parts[..] {
            [Part::Text(text)] => map.serialize_entry("content", text)?,
            parts => {
                let said: Vec<&Part> = parts.iter().filter(|part| is_content(part)).collect();
                calls.extend(parts.iter().filter_map(|part| match part {
                    Part::ToolUse(call) => Some(call_of(call)),
                    _ => None,
                }));
                map.serialize_entry("content", &Content(&said))?;
            }
        }
        for (name, value) in parts.iter().filter_map(echoed).filter(|(name, _)| !extra.contains_key(*name)) {
            map.serialize_entry(name, value)?;
        }
        for (name, value) in extra {
            match value.as_array().filter(|_| name == "tool_calls" && !calls.is_empty()) {
                Some(others) => calls.splice(0..0, others.iter().cloned()).for_each(drop),
                None => map.serialize_entry(name, value)?,
            }
        }
        if !calls.is_empty() {
            map.serialize_entry("tool_calls", &calls)?;
        }
        map.end()
    }
}

fn is_content(part: &Part) -> bool {
    !matches!(part, Part::ToolUse(_) | Part::ToolResult(_)) && !is_thought(part) && echoed(part).is_none()
}

/// Returns whether a part is a thought that nothing proves. There is no field that all servers know for it, and whoever
/// wants it back has told it as a part of this wire's own too.
pub(in crate::call::wire) fn is_thought(part: &Part) -> bool {
    matches!(part, Part::Reasoning(Reasoning::Text { signature: None, .. }))
}

/// What is said: nothing, a text, or a list.
struct Content<'a>(&'a [&'a Part]);

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            [] => serializer.serialize_unit(),
            [Part::Text(text)] => serializer.serialize_str(text),
            parts => {
                let mut list = serializer.serialize_seq(Some(parts.len()))?;
                for part in parts {
                    list.serialize_element(&write_part(part).map_err(S::Error::custom)?)?;
                }
                list.end()
            }
        }
    }
}

/// The result of a tool.
struct Answer<'a>(&'a ToolResult);

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ToolResult { id, name, content, .. } = self.0;
        if let Some(why) = refuses_result(self.0) {
            return Err(S::Error::custom(why));
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("role", "tool")?;
        match &content[..] {
            [] => map.serialize_entry("content", "")?,
            parts => map.serialize_entry("content", &Content(&parts.iter().collect::<Vec<_>>()))?,
        }
        map.serialize_entry("tool_call_id", id)?;
        if let Some(name) = name {
            map.serialize_entry("name", name)?;
        }
        map.end()
    }
}

/// Returns why a part has no place in this format.
pub(super) fn refuses(part: &Part) -> Option<String> {
    let what = match part {
        Part::Text(_) | Part::ToolUse(_) | Part::Raw { wire: WireId::Openai, .. } => return None,
        thought if is_thought(thought) => return None,
        Part::Image(media) => match (&media.source, media.mime.as_str()) {
            (Source::Url(_), _) | (Source::Bytes(_), "image/png" | "image/jpeg" | "image/gif" | "image/webp") => {
                return None;
            }
            (Source::S3 { .. }, _) => "an image in S3".to_owned(),
            (_, mime) => format!("an image of type {mime}"),
        },
        Part::Document(media) => match &media.source {
            Source::Bytes(_) => return None,
            _ => "a document by its address".to_owned(),
        },
        Part::Audio(media) => match (&media.source, audio_format(media)) {
            (Source::Bytes(_), Some(_)) => return None,
            (Source::Bytes(_), None) => format!("sound of type {}", media.mime),
            _ => "sound by its address".to_owned(),
        },
        Part::Video(_) => "a video".to_owned(),
        Part::ToolResult(result) => return refuses_result(result),
        Part::Raw { wire, .. } => format!("a `{}` part of {}'s", part.name(), wire.name()),
        other => other.name().to_owned(),
    };
    Some(no_place(&what))
}

fn refuses_result(result: &ToolResult) -> Option<String> {
    if result.is_error {
        return Some(no_place("the mark that a tool failed"));
    }
    let other =
        result.content.iter().find(|part| !matches!(part, Part::Text(_) | Part::Raw { wire: WireId::Openai, .. }));
    other.map(|part| no_place(&format!("{} in a tool's result", part.name())))
}

fn no_place(what: &str) -> String {
    format!("OpenAI's format has no place for {what}")
}

fn audio_format(media: &Media) -> Option<&'static str> {
    media.format().map(Format::name).filter(|name| matches!(*name, "mp3" | "wav"))
}

fn write_part(part: &Part) -> Result<Value, String> {
    if let Some(why) = refuses(part) {
        return Err(why);
    }
    Ok(match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Raw { value, .. } => value.clone(),
        Part::Image(media) => json!({"type": "image_url", "image_url": {"url": media.to_url()}}),
        Part::Document(media) => {
            json!({"type": "file", "file": {"filename": media.name_or_made(), "file_data": media.to_url()}})
        }
        Part::Audio(media) => {
            json!({"type": "input_audio", "input_audio": {"data": media.to_base64(), "format": audio_format(media)}})
        }
        other => return Err(no_place(other.name())),
    })
}

/// Writes a call of a tool.
pub(crate) fn call_of(call: &ToolUse) -> Value {
    let arguments = call.input.to_string();
    let mut written =
        json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}});
    if let Some(signature) = &call.signature {
        written["extra_content"] = json!({"google": {"thought_signature": signature}});
    }
    written
}

/// Reads a call of a tool.
///
/// # Errors
///
/// Says what is wrong with it.
pub(crate) fn read_call(call: &Value) -> Result<ToolUse, String> {
    match call.get("type").and_then(Value::as_str) {
        Some("function") | None => {}
        Some(other) => return Err(format!("a tool call of type `{other}`")),
    }
    let function = call.get("function").ok_or("a tool call that is no function's")?;
    let name = function.get("name").and_then(Value::as_str).ok_or("a tool call without a name")?;
    let input = match function.get("arguments") {
        Some(Value::String(text)) if text.trim().is_empty() => json!({}),
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        Some(object @ Value::Object(_)) => object.clone(),
        _ => json!({}),
    };
    if !input.is_object() {
        return Err("a tool call whose `arguments` are not a JSON object".to_owned());
    }
    let id = call.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let signature = call.pointer("/extra_content/google/thought_signature").and_then(Value::as_str);
    Ok(ToolUse { id, name: name.to_owned(), input, signature: signature.map(str::to_owned) })
}

/// Reads the messages of a row or body in this wire's form.
///
/// # Errors
///
/// Says which message is not one.
pub fn read_messages(value: Value) -> Result<Vec<Message>, String> {
    let Value::Array(items) = value else { return Err("`messages` is not a list".to_owned()) };
    if items.is_empty() {
        return Err("`messages` is empty".to_owned());
    }
    let mut messages: Vec<Message> = Vec::new();
    for (i, item) in items.into_iter().enumerate() {
        let message = read_message(item).map_err(|e| format!("messages[{i}]: {e}"))?;
        add_message(&mut messages, message);
    }
    Ok(messages)
}

/// Adds a message, to the results of tools before it where it belongs to them.
pub(crate) fn add_message(messages: &mut Vec<Message>, message: Message) {
    match messages.last_mut().filter(|last| belongs_to(&message, last)) {
        Some(last) => last.parts.extend(message.parts),
        None => messages.push(message),
    }
}

/// Returns whether a message belongs to the results before it: more results, or what the user says to them.
fn belongs_to(message: &Message, last: &Message) -> bool {
    let all_results = |message: &Message| {
        !message.parts.is_empty() && message.parts.iter().all(|part| matches!(part, Part::ToolResult(_)))
    };
    all_results(last) && message.role == Role::User && message.extra.is_empty() && !message.parts.is_empty()
}

fn read_message(value: Value) -> Result<Message, String> {
    let Value::Object(mut extra) = value else { return Err("not an object".to_owned()) };
    let role = match extra.shift_remove("role") {
        Some(Value::String(role)) => Role::from_name(&role),
        _ => return Err("no `role`".to_owned()),
    };
    let mut parts = match extra.shift_remove("content") {
        Some(Value::String(text)) => vec![Part::Text(text)],
        Some(Value::Array(parts)) => parts.into_iter().map(read_part).collect(),
        Some(Value::Null) | None => Vec::new(),
        Some(_) => return Err("`content` is neither text nor a list".to_owned()),
    };
    if role.name() == "tool" && is_result(&extra) {
        return Ok(Message::user().part(Part::ToolResult(result(extra, parts))));
    }
    let calls = extra.get("tool_calls").and_then(Value::as_array).filter(|calls| !calls.is_empty());
    let typed = calls.and_then(|calls| calls.iter().map(exact_call).collect::<Option<Vec<ToolUse>>>());
    if let Some(typed) = typed {
        extra.shift_remove("tool_calls");
        parts.extend(typed.into_iter().map(Part::ToolUse));
    }
    let mut message = Message::new(role);
    (message.parts, message.extra) = (parts, extra);
    Ok(message)
}

/// Returns whether a message's fields are those of a tool's result and no others.
fn is_result(extra: &Map<String, Value>) -> bool {
    extra.get("tool_call_id").is_some_and(Value::is_string)
        && extra.iter().all(|(name, value)| name == "tool_call_id" || (name == "name" && value.is_string()))
}

fn result(mut extra: Map<String, Value>, content: Vec<Part>) -> ToolResult {
    let mut text = |name: &str| match extra.shift_remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    ToolResult { id: text("tool_call_id").unwrap_or_default(), name: text("name"), content, is_error: false }
}

/// Reads a call that says nothing that the typed form has no place for; its arguments may be spaced otherwise.
fn exact_call(call: &Value) -> Option<ToolUse> {
    let fields = |value: &Value, known: &[&str]| {
        value.as_object().is_some_and(|fields| fields.keys().all(|name| known.contains(&name.as_str())))
    };
    let known = fields(call, &["id", "type", "function", "extra_content"])
        && fields(call.get("function")?, &["name", "arguments"])
        && call.get("id")?.is_string();
    let google = call.get("extra_content").is_none_or(|extra| {
        extra.pointer("/google/thought_signature").is_some_and(Value::is_string)
            && fields(extra, &["google"])
            && fields(&extra["google"], &["thought_signature"])
    });
    (known && google).then(|| read_call(call).ok())?
}

/// Reads a part into the typed form if it can be written again as it was.
fn read_part(value: Value) -> Part {
    match lenient(&value) {
        Ok(part) if write_part(&part).is_ok_and(|written| written == value) => part,
        _ => Part::Raw { wire: WireId::Openai, value },
    }
}

/// Returns what other formats can make of a content part: an image without its `detail`, which bears on the price and not
/// on what the image shows.
///
/// # Errors
///
/// Names the part that the typed form has nothing like.
pub(crate) fn lenient(part: &Value) -> Result<Part, String> {
    let text = |path: &str| part.pointer(path).and_then(Value::as_str);
    match text("/type").unwrap_or_default() {
        "text" => text("/text").map(|text| Part::Text(text.to_owned())).ok_or("a text part without `text`".to_owned()),
        "image_url" => {
            let url = text("/image_url/url").or_else(|| text("/image_url")).unwrap_or_default();
            match Media::url(url) {
                media if url.starts_with("data:") && !matches!(media.source, Source::Bytes(_)) => {
                    Err("an `image_url` whose data is not in base64".to_owned())
                }
                media => Ok(Part::Image(media)),
            }
        }
        "file" => {
            let media = text("/file/file_data").and_then(Media::data_url);
            let media = media.ok_or("a `file` that is not a base64 data URL")?;
            let kind = media.format().map_or(MediaKind::Document, |format| format.kind);
            Ok(Part::media(Media { name: text("/file/filename").map(str::to_owned), ..media }, kind))
        }
        "input_audio" => {
            let mime = format!("audio/{}", text("/input_audio/format").unwrap_or("wav"));
            let media = text("/input_audio/data").and_then(|data| Media::base64(&mime, data));
            media.map(Part::Audio).ok_or("a content part `input_audio` that is not in base64".to_owned())
        }
        "" if is_echo(part) => Err("reasoning as an OpenAI-compatible server wants it back".to_owned()),
        "" => Err("a content part without a `type`".to_owned()),
        other => Err(format!("a content part `{other}`")),
    }
}
