//! What is asked: messages or texts to embed, and the parameters every provider knows.
//!
//! A request is either *typed* (built here, encoded by whichever wire the chosen endpoint speaks) or carries an
//! [`Original`]: the bytes of a body that was already written for one wire. Original bytes go out as they are, with only
//! the model's name replaced, so a field that we have never heard of survives. Any edit has to go through the typed form.

mod feature;
pub mod format;
pub mod media;
mod message;
mod part;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use self::feature::Feature;
pub use self::format::{Format, MediaKind};
pub use self::media::{Media, Source};
pub use self::message::{Message, Role};
pub use self::part::{CachePoint, GuardContent, Part, Reasoning, ToolResult, ToolUse};
use crate::call::wire::WireId;
use crate::schema::Schema;

/// One request to a model.
///
/// It is read from JSON and written to it, media as base64:
///
/// ```
/// use tidegate::{Message, Request};
/// let asked = Request::chat(vec![Message::user().text("What is this?").image_url("https://example.com/tide.png")]);
/// let line = serde_json::to_string(&asked)?;
/// assert_eq!(serde_json::from_str::<Request>(&line)?, asked);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Request {
    /// What is asked.
    pub task: Task,
    /// How it is to be answered.
    pub params: Params,
    /// The form that the answer must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Arc<Schema>>,
    /// A body already written for one wire; the task is empty then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original: Option<Original>,
    /// Whether what a model cannot take is left out with a warning, instead of failing the request: see
    /// [`Request::lossy`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lossy: bool,
    /// What a model has refused in this request, and what it therefore goes on without.
    #[serde(skip)]
    pub(crate) without: Vec<Feature>,
}

/// What is asked of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Task {
    /// Continue a conversation.
    Chat(Vec<Message>),
    /// Turn a text into a vector.
    Embed(String),
}

impl Default for Task {
    fn default() -> Task {
        Task::Chat(Vec::new())
    }
}

/// The kind of a [`Task`], which decides the path a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskKind {
    /// [`Task::Chat`].
    Chat,
    /// [`Task::Embed`].
    Embed,
}

/// A body as the user wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Original {
    /// The wire that it was written for.
    pub wire: WireId,
    /// What it asks for.
    pub kind: TaskKind,
    /// The JSON text, kept byte for byte.
    #[serde(with = "as_text")]
    pub bytes: Bytes,
}

/// The parameters that every provider has in some form, and the ones that only the user knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Params {
    /// Randomness; providers accept 0 to 1 or 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The most output tokens, reasoning included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Texts at which the output ends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// A number that makes sampling repeatable where the provider supports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Any other field of the provider's body, by its own name; it wins over the fields above.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl Params {
    /// Returns whether nothing is set, so that an original body can go out untouched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Params::default()
    }

    /// Returns these parameters, and the others' where these say nothing.
    #[must_use]
    pub fn over(self, others: Params) -> Params {
        let mut extra = others.extra;
        extra.extend(self.extra);
        Params {
            temperature: self.temperature.or(others.temperature),
            max_tokens: self.max_tokens.or(others.max_tokens),
            stop: if self.stop.is_empty() { others.stop } else { self.stop },
            seed: self.seed.or(others.seed),
            extra,
        }
    }
}

impl Request {
    /// Makes a request of one user message.
    ///
    /// ```
    /// let request = tidegate::Request::prompt("Why is the sky blue?").system("Answer in one sentence.").max_tokens(60);
    /// # let _ = request;
    /// ```
    #[must_use]
    pub fn prompt(text: impl Into<String>) -> Request {
        Request::chat(vec![Message::user().text(text)])
    }

    /// Makes a request of a whole conversation.
    #[must_use]
    pub fn chat(messages: Vec<Message>) -> Request {
        Request { task: Task::Chat(messages), ..Request::default() }
    }

    /// Makes a request for the embedding of a text.
    #[must_use]
    pub fn embed(text: impl Into<String>) -> Request {
        Request { task: Task::Embed(text.into()), ..Request::default() }
    }

    /// Makes a request from a body that was already written for a wire.
    #[must_use]
    pub fn original(wire: WireId, kind: TaskKind, bytes: impl Into<Bytes>) -> Request {
        Request { original: Some(Original { wire, kind, bytes: bytes.into() }), ..Request::default() }
    }

    /// Puts a system message in front of the conversation.
    #[must_use]
    pub fn system(mut self, text: impl Into<String>) -> Request {
        if let Task::Chat(messages) = &mut self.task {
            messages.insert(0, Message::new(Role::System).text(text));
        }
        self
    }

    /// Sets the randomness.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Request {
        self.params.temperature = Some(temperature);
        self
    }

    /// Sets the most output tokens, reasoning included.
    #[must_use]
    pub fn max_tokens(mut self, max_tokens: u32) -> Request {
        self.params.max_tokens = Some(max_tokens);
        self
    }

    /// Sets any other field of the provider's body, by its own name.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl Into<Value>) -> Request {
        self.params.extra.insert(name.into(), value.into());
        self
    }

    /// Sets the form that the answer must have.
    #[must_use]
    pub fn schema(mut self, schema: Arc<Schema>) -> Request {
        self.schema = Some(schema);
        self
    }

    /// Returns what is asked for: the kind decides the path that the request goes to.
    #[must_use]
    pub fn kind(&self) -> TaskKind {
        match (&self.original, &self.task) {
            (Some(original), _) => original.kind,
            (None, Task::Chat(_)) => TaskKind::Chat,
            (None, Task::Embed(_)) => TaskKind::Embed,
        }
    }

    /// Leaves out what a model cannot take, with a warning on the response, instead of failing.
    ///
    /// That is what its format has no place for; and what it refuses as unsupported by name, of these: media, cache points,
    /// and parameters that only tune an answer, such as `temperature` or `top_k`. The request is then sent again at once,
    /// at no cost to its attempts, and goes without wherever it is sent next; later requests to the same endpoint do so
    /// from the start. Guardrails, tools, schemas and texts are never left out.
    #[must_use]
    pub fn lossy(mut self) -> Request {
        self.lossy = true;
        self
    }

    /// Returns about how many bytes the request holds in memory, media included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.sum(Part::size)
    }

    /// Returns how many bytes of text would be about as many tokens: what token estimates start from. An image is not as
    /// many tokens as it has bytes.
    #[must_use]
    pub fn text_size(&self) -> usize {
        self.sum(Part::text_size)
    }

    fn sum(&self, size: impl Fn(&Part) -> usize) -> usize {
        if let Some(original) = &self.original {
            return original.bytes.len();
        }
        match &self.task {
            Task::Embed(text) => text.len(),
            Task::Chat(messages) => messages.iter().flat_map(|message| &message.parts).map(size).sum(),
        }
    }
}

/// A body in JSON: as a text, so that not one byte of it changes.
mod as_text {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(bytes).map_err(serde::ser::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        String::deserialize(deserializer).map(Bytes::from)
    }
}

#[cfg(test)]
mod tests;
