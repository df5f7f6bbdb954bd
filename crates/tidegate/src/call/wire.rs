//! Wires: the formats that providers speak, as pure codecs.
//!
//! A wire has no clock, no client and no state. Its serde types serve both directions, so that the client, the simulated
//! provider and a gateway share one reading of a format. Authorisation is applied after encoding. Adding a format is
//! adding one file here and one arm in [`WireId::wire`]; adding a *provider* of a known format is a row in
//! [`provider`](crate::call::provider).

pub mod anthropic;
pub mod bedrock;
mod body;
pub mod fit;
mod foreign;
pub mod gemini;
pub mod openai;
pub mod responses;
mod stream;

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;
use serde::{Deserialize, Serialize};

use self::fit::MediaLimits;
pub use self::stream::{Framing, StreamState};
use crate::call::provider::Quirks;
use crate::call::sse::Event;
use crate::failure::{Failure, Kind};
use crate::request::{Original, Part, Request, TaskKind};
use crate::response::{Delta, Response};

/// The name of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WireId {
    /// OpenAI Chat Completions and Embeddings, spoken by most servers.
    Openai,
    /// OpenAI Responses.
    Responses,
    /// Anthropic Messages.
    Anthropic,
    /// Google Gemini's generateContent and embedContent.
    Gemini,
    /// AWS Bedrock's Converse.
    Bedrock,
    /// AWS Bedrock's InvokeModel with Anthropic's bodies.
    BedrockInvoke,
}

impl WireId {
    /// Returns the codec of that name.
    #[must_use]
    pub fn wire(self) -> &'static dyn Wire {
        match self {
            WireId::Openai => &openai::OpenAi,
            WireId::Responses => &responses::Responses,
            WireId::Anthropic => &anthropic::Anthropic,
            WireId::Gemini => &gemini::Gemini,
            WireId::Bedrock => &bedrock::Bedrock,
            WireId::BedrockInvoke => &bedrock::invoke::Invoke,
        }
    }

    /// Returns whether a body that was written for that format may go out in this one as it is.
    pub(crate) fn takes(self, written: WireId) -> bool {
        // InvokeModel's bodies are Anthropic's own.
        self == written || (self == WireId::BedrockInvoke && written == WireId::Anthropic)
    }

    /// Returns the name in settings.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            WireId::Openai => "openai",
            WireId::Responses => "responses",
            WireId::Anthropic => "anthropic",
            WireId::Gemini => "gemini",
            WireId::Bedrock => "bedrock",
            WireId::BedrockInvoke => "bedrock_invoke",
        }
    }

    /// Returns the name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            WireId::Openai => "OpenAI",
            WireId::Responses => "OpenAI Responses",
            WireId::Anthropic => "Anthropic",
            WireId::Gemini => "Gemini",
            WireId::Bedrock => "Bedrock",
            WireId::BedrockInvoke => "InvokeModel",
        }
    }
}

/// Returns the format in which a batch file's lines with this `url` are written, and what they ask for.
#[must_use]
pub fn batch_url(url: &str) -> Option<(WireId, TaskKind)> {
    let openai = openai::batch_url(url).map(|kind| (WireId::Openai, kind));
    let openai = openai.or_else(|| responses::batch_url(url).map(|kind| (WireId::Responses, kind)));
    openai.or_else(|| anthropic::batch_url(url).map(|kind| (WireId::Anthropic, kind)))
}

/// One format, both ways; pure.
pub trait Wire: Send + Sync {
    /// Returns the path behind the base URL for a kind of task and a model, such as `/chat/completions`; nothing if this
    /// format has no such task.
    fn path(&self, kind: TaskKind, model: &str) -> Option<String>;

    /// Reads a body that was written for this wire into the typed form, so that another wire can carry it.
    ///
    /// # Errors
    ///
    /// [`Kind::BadRequest`] says what is wrong with the body.
    fn typed(&self, original: &Original) -> Result<Request, Failure>;

    /// Writes a request's body.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] names what this wire cannot carry; [`Kind::BadRequest`] what is wrong with an original body.
    fn encode(&self, request: &Request, model: &str, quirks: &Quirks) -> Result<Bytes, Failure>;

    /// Returns the headers of one request: what stands beside its body in this format.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] names what no header can tell; [`Kind::BadRequest`] what is wrong with an original body.
    fn headers(&self, request: &Request) -> Result<HeaderMap, Failure> {
        let _ = request;
        Ok(HeaderMap::new())
    }

    /// Reads a reply whose status says success.
    ///
    /// # Errors
    ///
    /// A failure reported inside a success is classified like any other; [`Kind::Malformed`] is a reply that cannot be read.
    fn decode(&self, kind: TaskKind, head: &Parts, body: &Bytes) -> Result<Response, Failure>;

    /// Names the cause of a reply whose status says failure, where this wire's own codes tell more than the status.
    fn kind(&self, head: &Parts, body: &[u8]) -> Option<Kind>;

    /// Returns the provider's message in the body of a failed reply.
    fn message(&self, body: &[u8]) -> Option<String>;

    /// Returns how long to wait, where this wire says so in the body of a failed reply; headers come first.
    fn retry_after(&self, body: &[u8]) -> Option<Duration> {
        let _ = body;
        None
    }

    /// Returns why a part has no place in this format, or nothing if it has one.
    fn refuses(&self, part: &Part) -> Option<String> {
        let _ = part;
        None
    }

    /// Returns how the addresses of stores begin from which a model reads media itself, such as `s3://`.
    fn stores(&self, model: &str) -> &'static [&'static str] {
        let _ = model;
        &[]
    }

    /// Returns what is taken of media in one request.
    fn media_limits(&self) -> &'static MediaLimits {
        &MediaLimits::NONE
    }

    /// Returns the path of a chat whose reply is streamed; nothing if this format has none.
    fn stream_path(&self, model: &str) -> Option<String> {
        self.path(TaskKind::Chat, model)
    }

    /// Changes a body that [`encode`](Wire::encode) wrote so that its reply is streamed.
    ///
    /// # Errors
    ///
    /// [`Kind::BadRequest`] if it is not a JSON object.
    fn stream_body(&self, body: Bytes) -> Result<Bytes, Failure>;

    /// Returns how a stream of this format is cut into events.
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    /// Adds an event to the reply in the making, and what it says to `out`: text, reasoning, pieces of tool calls.
    ///
    /// # Behavior
    ///
    /// - An event that is not known is none.
    /// - `state.ended` is set by the event behind which nothing more comes.
    ///
    /// # Errors
    ///
    /// A failure reported inside the stream is classified like any other; [`Kind::Malformed`] is an event that cannot be
    /// read.
    fn decode_event(&self, state: &mut StreamState, event: &Event, out: &mut Vec<Delta>) -> Result<(), Failure>;

    /// Reads the reply that the events came to.
    ///
    /// # Errors
    ///
    /// [`Kind::Cut`] if the stream ended before the reply did; else as [`decode`](Wire::decode).
    fn finish(&self, state: StreamState) -> Result<Response, Failure>;
}

#[cfg(test)]
mod tests;
