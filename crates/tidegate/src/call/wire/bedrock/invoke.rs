//! Bedrock's InvokeModel with Anthropic's bodies: for what Converse has no field for.
//!
//! The body is that of Messages, with its version in it and the model in the path; the reply is Anthropic's, errors are
//! AWS's. Replies are read whole.

use bytes::Bytes;
use http::response::Parts;
use serde_json::{Map, Value};

use super::Bedrock;
use crate::call::provider::Quirks;
use crate::call::sigv4::escape;
use crate::call::sse::Event;
use crate::call::wire::anthropic::Anthropic;
use crate::call::wire::body::{bad_body, to_bytes};
use crate::call::wire::fit::MediaLimits;
use crate::call::wire::{StreamState, Wire, WireId};
use crate::failure::{Failure, Kind};
use crate::request::{Media, Original, Part, Request, Source, TaskKind};
use crate::response::{Delta, Response};

/// The version that every model of Anthropic's on Bedrock accepts.
const VERSION: &str = "bedrock-2023-05-31";

/// The codec.
#[derive(Debug, Clone, Copy)]
pub struct Invoke;

impl Wire for Invoke {
    fn path(&self, kind: TaskKind, model: &str) -> Option<String> {
        match kind {
            TaskKind::Chat => Some(format!("/model/{}/invoke", escape(model))),
            TaskKind::Embed => None,
        }
    }

    fn typed(&self, original: &Original) -> Result<Request, Failure> {
        let mut typed = Anthropic.typed(&Original { wire: WireId::Anthropic, ..original.clone() })?;
        typed.params.extra.shift_remove("anthropic_version");
        Ok(typed)
    }

    fn encode(&self, request: &Request, model: &str, quirks: &Quirks) -> Result<Bytes, Failure> {
        let body = Anthropic.encode(request, model, quirks)?;
        let mut body: Map<String, Value> = serde_json::from_slice(&body).map_err(bad_body)?;
        body.shift_remove("model");
        body.shift_remove("stream");
        body.entry("anthropic_version").or_insert_with(|| VERSION.into());
        to_bytes(&body)
    }

    fn decode(&self, kind: TaskKind, head: &Parts, body: &Bytes) -> Result<Response, Failure> {
        Anthropic.decode(kind, head, body)
    }

    fn kind(&self, head: &Parts, body: &[u8]) -> Option<Kind> {
        Bedrock.kind(head, body)
    }

    fn message(&self, body: &[u8]) -> Option<String> {
        Bedrock.message(body)
    }

    /// Anthropic's own servers fetch addresses, Bedrock does not.
    fn refuses(&self, part: &Part) -> Option<String> {
        match part.as_media() {
            Some((kind, Media { source: Source::Url(_), .. })) => {
                Some(format!("InvokeModel has no place for a {} by its address", kind.name()))
            }
            _ => Anthropic.refuses(part),
        }
    }

    fn media_limits(&self) -> &'static MediaLimits {
        Anthropic.media_limits()
    }

    fn stream_path(&self, _model: &str) -> Option<String> {
        None
    }

    fn stream_body(&self, body: Bytes) -> Result<Bytes, Failure> {
        Ok(body)
    }

    fn decode_event(&self, state: &mut StreamState, event: &Event, out: &mut Vec<Delta>) -> Result<(), Failure> {
        Anthropic.decode_event(state, event, out)
    }

    fn finish(&self, state: StreamState) -> Result<Response, Failure> {
        Anthropic.finish(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_body_is_anthropics_without_its_model() {
        let encode = |request: &Request| -> Value {
            serde_json::from_slice(&Invoke.encode(request, "m", &Quirks::COMMON).unwrap()).unwrap()
        };
        let body =
            json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "anthropic_version": VERSION});
        let typed = encode(&Request::prompt("hi").max_tokens(5));
        assert_eq!(typed, body);
        let own =
            json!({"model": "x", "stream": true, "max_tokens": 5, "messages": [], "anthropic_version": "new", "x": 1});
        let own = Request::original(WireId::BedrockInvoke, TaskKind::Chat, own.to_string());
        assert_eq!(encode(&own), json!({"max_tokens": 5, "messages": [], "anthropic_version": "new", "x": 1}));
        assert_eq!(Invoke.path(TaskKind::Chat, "a:0").as_deref(), Some("/model/a%3A0/invoke"));
    }
}
