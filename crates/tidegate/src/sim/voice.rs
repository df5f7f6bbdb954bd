//! How the simulated provider words what it refuses: in the format that it was asked in.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::scenario::HeaderStyle;
use crate::call::wire::WireId;
use crate::call::wire::{anthropic, bedrock, gemini, openai};

/// The format of one call, and the number that the call's id is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice {
    pub(super) wire: WireId,
    pub(super) number: u64,
}

impl Voice {
    /// Writes an error; `kind` and `code` are those of OpenAI's, the others' follow from the status.
    pub(super) fn error(self, status: StatusCode, message: &str, kind: &str, code: Option<&str>) -> Bytes {
        match self.wire {
            WireId::Openai => openai::server::error(message, kind, code),
            WireId::Anthropic => anthropic::server::error(status, message, &self.request_id()),
            WireId::Gemini => gemini::server::error(status, message, &[]),
            WireId::Bedrock | WireId::BedrockInvoke => bedrock::server::error(status, None, message),
        }
    }

    /// Writes the error of a request that is wrong.
    pub(super) fn bad_request(self, message: &str) -> Bytes {
        self.error(StatusCode::BAD_REQUEST, message, "invalid_request_error", None)
    }

    /// Returns the status by which an overload is told: only Anthropic has one of its own for it.
    pub(super) fn status(self, status: u16) -> u16 {
        match (self.wire, status) {
            (WireId::Gemini | WireId::Bedrock | WireId::BedrockInvoke, 529) => 503,
            (_, status) => status,
        }
    }

    /// Adds the call's id under the name that the format's clients look for; Gemini's stands in the body.
    pub(super) fn sign(self, headers: &mut HeaderMap) {
        let name = match self.wire {
            WireId::Openai => "x-request-id",
            WireId::Anthropic => "request-id",
            WireId::Bedrock | WireId::BedrockInvoke => "x-amzn-requestid",
            WireId::Gemini => return,
        };
        if let Ok(id) = HeaderValue::try_from(self.request_id()) {
            headers.insert(HeaderName::from_static(name), id);
        }
    }

    /// Returns how limits are told: as the scenario says, but Gemini and Bedrock have no headers for them, and nobody tells
    /// Anthropic's clients in OpenAI's words.
    pub(super) fn style(self, wanted: HeaderStyle) -> HeaderStyle {
        match (self.wire, wanted) {
            (WireId::Gemini | WireId::Bedrock | WireId::BedrockInvoke, _) => HeaderStyle::None,
            (WireId::Anthropic, HeaderStyle::Openai) => HeaderStyle::Anthropic,
            (_, wanted) => wanted,
        }
    }

    fn request_id(self) -> String {
        format!("req_{:016x}", self.number)
    }
}
