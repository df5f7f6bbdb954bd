//! Media and reasoning in Gemini's form, and what of a message it has no place for.

use serde_json::{Value, json};

use super::{bad, tools, unsupported};
use crate::call::wire::WireId;
use crate::call::wire::openai::content::lenient;
use crate::failure::Failure;
use crate::request::{Media, Part, Reasoning, Source};

/// Returns why a part has no place in this format.
pub(super) fn refuses(part: &Part) -> Option<String> {
    let what = match part {
        Part::Text(_) | Part::ToolUse(_) | Part::Reasoning(Reasoning::Text { .. }) => return None,
        Part::Image(media) | Part::Document(media) | Part::Video(media) | Part::Audio(media) => {
            return refuses_media(part, media);
        }
        Part::ToolResult(result) if result.content.iter().all(|part| matches!(part, Part::Text(_))) => return None,
        Part::ToolResult(_) => "anything but text as a tool's result".to_owned(),
        Part::Raw { wire: WireId::Gemini, .. } => return None,
        Part::Raw { wire: WireId::Openai, value } => match lenient(value) {
            Ok(part) => return refuses(&part),
            Err(what) => what,
        },
        Part::Raw { wire, .. } => format!("a part in {}'s form", wire.name()),
        Part::Reasoning(Reasoning::Redacted(_)) => "reasoning that another provider has encoded".to_owned(),
        Part::CachePoint(_) | Part::GuardContent(_) => part.name().to_owned(),
    };
    Some(no_place(&what))
}

fn no_place(what: &str) -> String {
    format!("Gemini's format has no place for {what}")
}

/// Google fetches from its own places only.
fn refuses_media(part: &Part, media: &Media) -> Option<String> {
    const PLACES: &[&str] =
        &["gs://", "https://generativelanguage.googleapis.com/", "https://www.youtube.com/", "https://youtu.be/"];
    let office =
        media.mime.contains("officedocument") || media.mime.contains("ms-excel") || media.mime.contains("msword");
    match &media.source {
        Source::Bytes(_) if office => Some(no_place(&format!("a document of type {}", media.mime))),
        Source::Bytes(_) => None,
        Source::Url(url) if PLACES.iter().any(|place| url.starts_with(place)) => None,
        _ => Some(format!(
            "Gemini fetches no {} from the web: give its bytes, gs://… or a file of its Files API",
            part.name()
        )),
    }
}

/// Writes a part that is neither text nor the result of a tool.
pub(super) fn piece(part: &Part) -> Result<Value, Failure> {
    match part {
        Part::Image(media) | Part::Document(media) | Part::Video(media) | Part::Audio(media) => Ok(write(media)),
        Part::ToolUse(call) => Ok(tools::gemini_call(call)),
        Part::Reasoning(Reasoning::Text { text, signature }) => {
            let mut piece = json!({"text": text, "thought": true});
            if let Some(signature) = signature {
                piece["thoughtSignature"] = signature.as_str().into();
            }
            Ok(piece)
        }
        Part::Raw { wire: WireId::Openai, value } => match lenient(value).map_err(bad)? {
            Part::Text(text) => Ok(json!({"text": text})),
            part => piece(&part),
        },
        other => Err(unsupported(no_place(other.name()))),
    }
}

fn write(media: &Media) -> Value {
    match (&media.source, media.to_base64()) {
        (_, Some(data)) => json!({"inlineData": {"mimeType": media.mime, "data": data}}),
        (Source::Url(uri) | Source::S3 { uri, .. }, _) if media.mime.is_empty() => {
            json!({"fileData": {"fileUri": uri}})
        }
        (Source::Url(uri) | Source::S3 { uri, .. }, _) => {
            json!({"fileData": {"fileUri": uri, "mimeType": media.mime}})
        }
        (Source::Bytes(_), None) => Value::Null,
    }
}

/// Reads a part that may be media or reasoning; what says more than the typed form can stays as it is.
pub(super) fn read(value: Value) -> Part {
    typed(&value).unwrap_or(Part::Raw { wire: WireId::Gemini, value })
}

fn typed(value: &Value) -> Option<Part> {
    let fields = value.as_object()?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let only = |known: &[&str]| fields.keys().all(|name| known.contains(&name.as_str()));
    if only(&["text"]) {
        return text("text").map(Part::Text);
    }
    if only(&["text", "thought", "thoughtSignature"]) && fields.get("thought") == Some(&Value::Bool(true)) {
        return Some(Part::Reasoning(Reasoning::Text { text: text("text")?, signature: text("thoughtSignature") }));
    }
    let data = fields.get("inlineData")?.as_object().filter(|data| data.len() == 2 && fields.len() == 1)?;
    let media = Media::base64(data.get("mimeType")?.as_str()?, data.get("data")?.as_str()?)?;
    let kind = media.format().filter(|format| format.mime == media.mime)?.kind;
    Some(Part::media(media, kind))
}
