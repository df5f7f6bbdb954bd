//! What would be sent, for a look at it before it is.

use std::collections::BTreeMap;

use super::Client;
use crate::failure::Failure;
use crate::json;
use crate::request::Request;

/// A request as a model would be sent it.
pub(crate) struct Sent {
    /// The headers that belong to this request alone.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: serde_json::Value,
}

impl Client {
    /// Returns what a model would be sent, where its body is JSON.
    ///
    /// # Errors
    ///
    /// Why nothing would be sent.
    pub(crate) fn preview(&self, model: &str, request: &Request) -> Result<Option<Sent>, Failure> {
        let Some(preview) = self.endpoint(model).and_then(|endpoint| endpoint.caller.preview(request)) else {
            return Ok(None);
        };
        let preview = preview?;
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = preview.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Ok(json::from_slice(&preview.body).ok().map(|body| Sent { headers, body }))
    }
}
