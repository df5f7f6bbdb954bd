//! Messages, and the builder that puts them together.

use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::format::MediaKind;
use super::media::{Media, MediaError};
use super::part::{CachePoint, GuardContent, Part, Reasoning, ToolResult, ToolUse};

/// One turn of a conversation.
///
/// ```no_run
/// use tidegate::Message;
/// let asked = Message::user()
///     .text("What do these two have in common?")
///     .image_file("boat.png")?
///     .document_file("log.pdf")?;
/// # let _ = asked;
/// # Ok::<(), tidegate::request::media::MediaError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub parts: Vec<Part>,
    /// Fields of the message that have no name here (`name`, …), kept as they came.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// Who speaks in a [`Message`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum Role {
    /// Instructions that stand above the conversation.
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
    /// A role that only some wires know (`developer`, `tool`), kept as it came.
    Other(String),
}

impl Message {
    /// Starts a message.
    #[must_use]
    pub fn new(role: Role) -> Message {
        Message { role, parts: Vec::new(), extra: Map::new() }
    }

    /// Starts a user's message.
    #[must_use]
    pub fn user() -> Message {
        Message::new(Role::User)
    }

    /// Starts an assistant's message.
    #[must_use]
    pub fn assistant() -> Message {
        Message::new(Role::Assistant)
    }

    /// Adds a part.
    #[must_use]
    pub fn part(mut self, part: Part) -> Message {
        self.parts.push(part);
        self
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Message {
        self.part(Part::Text(text.into()))
    }

    /// Adds an image of its bytes; the type is told by them.
    ///
    /// # Errors
    ///
    /// No known image begins so.
    pub fn image_bytes(self, bytes: impl Into<Bytes>) -> Result<Message, MediaError> {
        self.bytes(MediaKind::Image, bytes)
    }

    /// Adds an image from a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no image.
    pub fn image_file(self, path: impl AsRef<Path>) -> Result<Message, MediaError> {
        self.file(MediaKind::Image, path)
    }

    /// Adds an image that the provider fetches itself.
    #[must_use]
    pub fn image_url(self, url: impl Into<String>) -> Message {
        self.part(Part::Image(Media::url(url)))
    }

    /// Adds a document of its bytes; the type is told by them, or else by the name.
    ///
    /// # Errors
    ///
    /// No known document begins so.
    pub fn document_bytes(self, bytes: impl Into<Bytes>, name: &str) -> Result<Message, MediaError> {
        Ok(self.part(Part::Document(Media::bytes(bytes, Some(name), Some(MediaKind::Document))?)))
    }

    /// Adds a document from a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no document.
    pub fn document_file(self, path: impl AsRef<Path>) -> Result<Message, MediaError> {
        self.file(MediaKind::Document, path)
    }

    /// Adds a document that the provider fetches itself.
    #[must_use]
    pub fn document_url(self, url: impl Into<String>) -> Message {
        self.part(Part::Document(Media::url(url)))
    }

    /// Adds a sound of its bytes; the type is told by them.
    ///
    /// # Errors
    ///
    /// No known sound begins so.
    pub fn audio_bytes(self, bytes: impl Into<Bytes>) -> Result<Message, MediaError> {
        self.bytes(MediaKind::Audio, bytes)
    }

    /// Adds a sound from a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no sound.
    pub fn audio_file(self, path: impl AsRef<Path>) -> Result<Message, MediaError> {
        self.file(MediaKind::Audio, path)
    }

    /// Adds a video of its bytes; the type is told by them.
    ///
    /// # Errors
    ///
    /// No known video begins so.
    pub fn video_bytes(self, bytes: impl Into<Bytes>) -> Result<Message, MediaError> {
        self.bytes(MediaKind::Video, bytes)
    }

    /// Adds a video from a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no video.
    pub fn video_file(self, path: impl AsRef<Path>) -> Result<Message, MediaError> {
        self.file(MediaKind::Video, path)
    }

    /// Adds media from any place, such as a bucket: `Media::s3("s3://tides/low.mp4")`.
    #[must_use]
    pub fn media(self, kind: MediaKind, media: Media) -> Message {
        self.part(Part::media(media, kind))
    }

    /// Adds a call of a tool, as the model made it.
    #[must_use]
    pub fn tool_use(self, call: ToolUse) -> Message {
        self.part(Part::ToolUse(call))
    }

    /// Adds what a tool returned for the call of that id.
    #[must_use]
    pub fn tool_result(self, id: impl Into<String>, text: impl Into<String>) -> Message {
        let content = vec![Part::Text(text.into())];
        self.part(Part::ToolResult(ToolResult { id: id.into(), content, ..ToolResult::default() }))
    }

    /// Adds what the model thought, as it came.
    #[must_use]
    pub fn reasoning(self, reasoning: Reasoning) -> Message {
        self.part(Part::Reasoning(reasoning))
    }

    /// Ends a prefix that the provider may keep for later requests.
    #[must_use]
    pub fn cache_point(self) -> Message {
        self.part(Part::CachePoint(CachePoint::default()))
    }

    /// Adds a text that a guardrail is to look at.
    #[must_use]
    pub fn guard_content(self, text: impl Into<String>) -> Message {
        self.part(Part::GuardContent(GuardContent { text: text.into(), qualifiers: Vec::new() }))
    }

    fn bytes(self, kind: MediaKind, bytes: impl Into<Bytes>) -> Result<Message, MediaError> {
        Ok(self.media(kind, Media::bytes(bytes, None, Some(kind))?))
    }

    fn file(self, kind: MediaKind, path: impl AsRef<Path>) -> Result<Message, MediaError> {
        Ok(self.media(kind, Media::file(path, Some(kind))?))
    }
}

impl Role {
    /// Returns the role's name as most wires write it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Other(name) => name,
        }
    }

    /// Returns the role of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Role {
        match name {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            other => Role::Other(other.to_owned()),
        }
    }
}

impl From<String> for Role {
    fn from(name: String) -> Role {
        Role::from_name(&name)
    }
}

impl From<Role> for String {
    fn from(role: Role) -> String {
        role.name().to_owned()
    }
}
