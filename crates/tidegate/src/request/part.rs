//! The pieces of a message.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::format::MediaKind;
use super::media::Media;
use crate::call::wire::WireId;

/// One piece of a message. A wire that has no place for one refuses the request and names it.
///
/// ```
/// use tidegate::{Media, Message, Part};
/// let message = Message::user().part(Part::Text("What is this?".to_owned())).part(Part::Image(Media::url("https://example.org/a.png")));
/// assert_eq!(message.parts.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Plain text.
    Text(String),
    /// A picture.
    Image(Media),
    /// A PDF, a table, a page.
    Document(Media),
    /// Moving pictures.
    Video(Media),
    /// Sound.
    Audio(Media),
    /// A tool that the model wants called.
    ToolUse(ToolUse),
    /// What a called tool returned; it stands in a user's message.
    ToolResult(ToolResult),
    /// What the model thought; it goes back unchanged, in its place.
    Reasoning(Reasoning),
    /// The end of a prefix that the provider may keep for later requests.
    CachePoint(CachePoint),
    /// A text that a guardrail is to look at.
    GuardContent(GuardContent),
    /// A piece in the form of one wire; other wires refuse it by name.
    Raw {
        /// The wire whose form it has.
        wire: WireId,
        /// The piece.
        value: Value,
    },
}

/// A tool that the model wants called.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolUse {
    /// Tells this call from others; the result names it.
    pub id: String,
    /// The tool.
    pub name: String,
    /// What it is called with, an object.
    pub input: Value,
    /// What the provider wants back unchanged with the call (Gemini's `thoughtSignature`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// What a called tool returned.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The id of the call.
    pub id: String,
    /// The tool; wires that need it find it by the id otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it returned.
    #[serde(default)]
    pub content: Vec<Part>,
    /// Whether the tool failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
}

/// What the model thought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reasoning {
    /// Readable thoughts.
    Text {
        /// The thoughts, or a summary of them.
        text: String,
        /// What proves to the provider that they are its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
    /// Thoughts that only the provider can read, as it encoded them.
    Redacted(String),
}

/// The end of a prefix that the provider may keep.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachePoint {
    /// How long to keep it, as the provider writes it: `5m`, `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
}

/// A text that a guardrail is to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardContent {
    /// The text.
    pub text: String,
    /// What it is to the guardrail: `grounding_source`, `query`, `guard_content`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub qualifiers: Vec<String>,
}

impl Part {
    /// Makes a part of media: its kind decides which.
    #[must_use]
    pub fn media(media: Media, kind: MediaKind) -> Part {
        match kind {
            MediaKind::Image => Part::Image(media),
            MediaKind::Document => Part::Document(media),
            MediaKind::Video => Part::Video(media),
            MediaKind::Audio => Part::Audio(media),
        }
    }

    /// Returns the media, and of what kind they are.
    #[must_use]
    pub fn as_media(&self) -> Option<(MediaKind, &Media)> {
        match self {
            Part::Image(media) => Some((MediaKind::Image, media)),
            Part::Document(media) => Some((MediaKind::Document, media)),
            Part::Video(media) => Some((MediaKind::Video, media)),
            Part::Audio(media) => Some((MediaKind::Audio, media)),
            _ => None,
        }
    }

    /// Returns what messages call it: `image`, `tool_use`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Part::Text(_) => "text",
            Part::Image(_) => "image",
            Part::Document(_) => "document",
            Part::Video(_) => "video",
            Part::Audio(_) => "audio",
            Part::ToolUse(_) => "tool_use",
            Part::ToolResult(_) => "tool_result",
            Part::Reasoning(_) => "reasoning",
            Part::CachePoint(_) => "cache_point",
            Part::GuardContent(_) => "guard_content",
            Part::Raw { value, .. } => value.get("type").and_then(Value::as_str).unwrap_or("raw"),
        }
    }

    /// Returns about how many bytes it holds.
    pub(crate) fn size(&self) -> usize {
        match self.as_media() {
            Some((_, media)) => media.source.size(),
            None => self.size_by(Part::size),
        }
    }

    /// Returns how many bytes of text would be about as many tokens.
    pub(crate) fn text_size(&self) -> usize {
        match self.as_media() {
            // An image is 200 to 1,600 tokens, a page of a PDF as many; sound and video cost by the second.
            Some((MediaKind::Image, _)) => 4_000,
            Some((MediaKind::Document, media)) => 4_000 + media.source.size() / 20,
            Some((MediaKind::Audio, media)) => 1_000 + media.source.size() / 100,
            Some((MediaKind::Video, media)) => 8_000 + media.source.size() / 100,
            None => self.size_by(Part::text_size),
        }
    }

    fn size_by(&self, inner: impl Fn(&Part) -> usize) -> usize {
        match self {
            Part::Text(text) | Part::Reasoning(Reasoning::Text { text, .. } | Reasoning::Redacted(text)) => text.len(),
            Part::GuardContent(guarded) => guarded.text.len(),
            Part::ToolUse(call) => call.name.len() + call.input.to_string().len(),
            Part::ToolResult(result) => result.content.iter().map(inner).sum(),
            Part::Raw { value, .. } => value.to_string().len(),
            Part::CachePoint(_) | Part::Image(_) | Part::Document(_) | Part::Video(_) | Part::Audio(_) => 0,
        }
    }
}
