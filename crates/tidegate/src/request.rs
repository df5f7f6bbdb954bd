//! What is asked: messages or texts to embed, and the parameters every provider knows.
//!
//! A request is either *typed* (built here, encoded by whichever wire the chosen endpoint speaks) or carries an
//! [`Original`]: the bytes of a body that was already written for one wire. Original bytes go out as they are, with only
//! the model's name replaced, so a field that we have never heard of survives. Any edit has to go through the typed form.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::call::wire::WireId;
use crate::schema::Schema;

/// One request to a model.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Request {
    /// What is asked.
    pub task: Task,
    /// How it is to be answered.
    pub params: Params,
    /// The form that the answer must have.
    pub schema: Option<Arc<Schema>>,
    /// A body already written for one wire; the task is empty then.
    pub original: Option<Original>,
}

/// What is asked of the model.
#[derive(Debug, Clone, PartialEq)]
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
#[derive(Debug, Clone, PartialEq)]
pub struct Original {
    /// The wire that it was written for.
    pub wire: WireId,
    /// What it asks for.
    pub kind: TaskKind,
    /// The JSON text, kept byte for byte.
    pub bytes: Bytes,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub parts: Vec<Part>,
    /// Fields of the message that have no name here (`tool_calls`, `name`, …), kept as they came.
    pub extra: Map<String, Value>,
}

/// Who speaks in a [`Message`].
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// One piece of a message.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// Plain text.
    Text(String),
    /// A piece in the form of one wire; other wires refuse it by name.
    Raw {
        /// The wire whose form it has.
        wire: WireId,
        /// The piece.
        value: Value,
    },
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
        Request::chat(vec![Message::user(text)])
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
            messages.insert(0, Message::text(Role::System, text));
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

    /// Returns about how many bytes of text the request holds: what token estimates and memory bounds start from.
    #[must_use]
    pub fn size(&self) -> usize {
        if let Some(original) = &self.original {
            return original.bytes.len();
        }
        match &self.task {
            Task::Embed(text) => text.len(),
            Task::Chat(messages) => messages.iter().flat_map(|message| &message.parts).map(Part::size).sum(),
        }
    }
}

impl Message {
    /// Makes a message of one text.
    #[must_use]
    pub fn text(role: Role, text: impl Into<String>) -> Message {
        Message { role, parts: vec![Part::Text(text.into())], extra: Map::new() }
    }

    /// Makes a user's message of one text.
    #[must_use]
    pub fn user(text: impl Into<String>) -> Message {
        Message::text(Role::User, text)
    }

    /// Makes an assistant's message of one text.
    #[must_use]
    pub fn assistant(text: impl Into<String>) -> Message {
        Message::text(Role::Assistant, text)
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

impl Part {
    fn size(&self) -> usize {
        match self {
            Part::Text(text) => text.len(),
            Part::Raw { value, .. } => value.to_string().len(),
        }
    }
}
