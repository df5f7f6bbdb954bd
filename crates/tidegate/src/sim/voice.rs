//! How the simulated provider words what it refuses: in the format that it was asked in.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use super::scenario::HeaderStyle;
use crate::call::wire::WireId;
use crate::call::wire::{anthropic, bedrock, gemini, openai};

/// The format of one call, and the number that the call's id is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice {
    pub(super) wire: WireId,
    pub(super) number: u64,
    /// Whether Azure is asked, which has words of its own for some errors.
    pub(super) azure: bool,
}

impl Voice {
    /// Writes an error; `kind` and `code` are those of OpenAI's, the others' follow from the status.
    pub(super) fn error(self, status: StatusCode, message: &str, kind: &str, code: Option<&str>) -> Bytes {
        match self.wire {
            WireId::Openai | WireId::Responses if self.azure => azure_error(status, message, kind, code),
            WireId::Openai | WireId::Responses => openai::server::error(message, kind, code),
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
            WireId::Openai | WireId::Responses if self.azure => "apim-request-id",
            WireId::Openai | WireId::Responses => "x-request-id",
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
            (_, HeaderStyle::Openai) if self.azure => HeaderStyle::Azure,
            (_, wanted) => wanted,
        }
    }

    fn request_id(self) -> String {
        format!("req_{:016x}", self.number)
    }
}

/// Writes an error as Azure's gateway does where it answers in place of the model.
fn azure_error(status: StatusCode, message: &str, kind: &str, code: Option<&str>) -> Bytes {
    let gateway = |code: &str, message: &str| json!({"error": {"code": code, "message": message}}).to_string().into();
    match (status.as_u16(), code) {
        (401, _) => gateway("401", "Access denied due to invalid subscription key or wrong API endpoint."),
        (404, _) => gateway("DeploymentNotFound", "The API deployment for this resource does not exist."),
        (429, _) => gateway("429", message),
        (_, Some("content_filter")) => {
            let filtered = json!({"violence": {"filtered": true, "severity": "medium"}});
            let inner = json!({"code": "ResponsibleAIPolicyViolation", "content_filter_result": filtered});
            let error = json!({"message": message, "type": null, "param": "prompt", "code": "content_filter",
                "status": status.as_u16(), "innererror": inner});
            json!({"error": error}).to_string().into()
        }
        _ => openai::server::error(message, kind, code),
    }
}
