//! Bedrock's InvokeModel with Anthropic's bodies: for what Converse has no field for.
//!
//! The body is that of Messages, with its version in it and the model in the path; the reply is Anthropic's, errors are
//! AWS's. In a stream each of AWS's messages holds one of Anthropic's events.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Bedrock, headers, stream};
use crate::call::eventstream::{self, EXCEPTION};
use crate::call::provider::Quirks;
use crate::call::sigv4::escape;
use crate::call::sse::Event;
use crate::call::status;
use crate::call::wire::anthropic::{self, Anthropic};
use crate::call::wire::body::{bad_body, to_bytes};
use crate::call::wire::fit::MediaLimits;
use crate::call::wire::{Framing, StreamState, Wire, WireId};
use crate::failure::{Failure, Kind};
use crate::json;
use crate::request::{Media, Original, Part, Request, Source, TaskKind};
use crate::response::{Delta, Response, Tier};

/// The version that every model of Anthropic's on Bedrock accepts.
const VERSION: &str = "bedrock-2023-05-31";

/// The header in which AWS is told the wanted tier, and tells the one that served.
const SERVICE_TIER: &str = "x-amzn-bedrock-service-tier";

/// The name of the events that hold one of the vendor's.
const CHUNK: &str = "chunk";

/// An event of the stream.
#[derive(Deserialize)]
struct Chunk {
    /// The vendor's event, in base64.
    bytes: String,
}

/// Writes a vendor's event as one of the stream's.
pub(crate) fn chunk(event: &[u8]) -> Vec<u8> {
    let body = serde_json::json!({"bytes": STANDARD.encode(event)});
    eventstream::event_message(CHUNK, body.to_string().as_bytes())
}

/// Takes out of fields what is told in headers. Anthropic's own `metadata` holds nothing but a user's id.
fn beside(fields: &mut Map<String, Value>) -> Result<HeaderMap, Failure> {
    let own = fields.get("metadata").is_some_and(|metadata| metadata.get("user_id").is_some());
    let metadata = if own { fields.shift_remove("metadata") } else { None };
    headers::translate(fields)?;
    fields.extend(metadata.map(|metadata| ("metadata".to_owned(), metadata)));
    headers::taken_out(fields)
}

/// The codec.
#[derive(Debug, Clone, Copy)]
pub struct Invoke;

impl Wire for Invoke {
    fn path(&self, kind: TaskKind, model: &str) -> Option<String> {
        match kind {
            TaskKind::Chat => Some(format!("/model/{}/invoke", escape(model))),
            TaskKind::Embed => Bedrock.path(kind, model),
        }
    }

    fn typed(&self, original: &Original) -> Result<Request, Failure> {
        let mut typed = Anthropic.typed(&Original { wire: WireId::Anthropic, ..original.clone() })?;
        typed.params.extra.shift_remove("anthropic_version");
        Ok(typed)
    }

    fn encode(&self, request: &Request, model: &str, quirks: &Quirks) -> Result<Bytes, Failure> {
        if request.kind() == TaskKind::Embed {
            return Bedrock.encode(request, model, quirks);
        }
        let mut request = Cow::Borrowed(request);
        if !request.params.extra.is_empty() {
            beside(&mut request.to_mut().params.extra)?;
        }
        let body = anthropic::encode(&request, model, quirks)?;
        let mut body: Map<String, Value> = json::from_slice(&body).map_err(bad_body)?;
        if request.original.is_some() {
            beside(&mut body)?;
        }
        body.shift_remove("model");
        body.shift_remove("stream");
        body.entry("anthropic_version").or_insert_with(|| VERSION.into());
        to_bytes(&body)
    }

    /// What Converse has in its body, where users know it from.
    fn headers(&self, request: &Request) -> Result<HeaderMap, Failure> {
        let mut fields = match &request.original {
            Some(original) => json::from_slice(&original.bytes).map_err(bad_body)?,
            None if request.params.extra.is_empty() => return Ok(HeaderMap::new()),
            None => Map::new(),
        };
        fields.extend(request.params.extra.clone());
        beside(&mut fields)
    }

    fn decode(&self, kind: TaskKind, head: &Parts, body: &Bytes) -> Result<Response, Failure> {
        match kind {
            TaskKind::Chat => Anthropic.decode(kind, head, body).map(|response| of_tier(response, head)),
            TaskKind::Embed => Bedrock.decode(kind, head, body),
        }
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

    fn stream_path(&self, model: &str) -> Option<String> {
        Some(format!("/model/{}/invoke-with-response-stream", escape(model)))
    }

    /// The path alone asks for a stream.
    fn stream_body(&self, body: Bytes) -> Result<Bytes, Failure> {
        Ok(body)
    }

    fn decode_event(&self, state: &mut StreamState, event: &Event, out: &mut Vec<Delta>) -> Result<(), Failure> {
        if let Some(name) = event.name.strip_prefix(EXCEPTION) {
            return Err(stream::failed(state, name, &event.data));
        }
        if event.name != CHUNK {
            return Ok(());
        }
        let chunk: Chunk = state.read(event)?;
        let broken = |error| status::failure(&state.head, Kind::Malformed, format!("a chunk of the stream: {error}"));
        let data = STANDARD.decode(&chunk.bytes).map_err(broken)?;
        Anthropic.decode_event(state, &Event { name: String::new(), data }, out)
    }

    fn framing(&self) -> Framing {
        Framing::Aws
    }

    fn finish(&self, state: StreamState) -> Result<Response, Failure> {
        let head = state.head.clone();
        Anthropic.finish(state).map(|response| of_tier(response, &head))
    }
}

/// Tells the tier that served, which AWS does beside the vendor's body.
fn of_tier(mut response: Response, head: &Parts) -> Response {
    let told = head.headers.get(SERVICE_TIER).and_then(|name| name.to_str().ok());
    if let (Some(usage), Some(told)) = (&mut response.usage, told) {
        usage.tier = Tier::named(told);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stream_holds_anthropics_events_and_awss_exceptions() {
        let head = http::Response::new(()).into_parts().0;
        let mut state = StreamState::new(head);
        let mut deltas = Vec::new();
        let mut read = |name: &str, data: &str| {
            Invoke.decode_event(&mut state, &Event { name: name.to_owned(), data: data.into() }, &mut deltas)
        };
        let chunk = |event: Value| json!({"bytes": STANDARD.encode(event.to_string()), "p": "abc"}).to_string();
        for event in [
            json!({"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 3}}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Low"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}),
            json!({"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}}),
        ] {
            read(CHUNK, &chunk(event)).unwrap();
        }
        read("unknown", "not JSON").unwrap();
        assert_eq!(read(CHUNK, r#"{"bytes":"?"}"#).unwrap_err().kind, Kind::Malformed);
        assert_eq!(read("exception/throttlingException", "{}").unwrap_err().kind, Kind::RateLimited);
        assert_eq!(read("exception/modelTimeoutException", "{}").unwrap_err().kind, Kind::Timeout);
        assert_eq!(deltas, [Delta::Text("Low".to_owned())]);
        let response = Invoke.finish(state).unwrap();
        assert_eq!(response.output, crate::response::Output::Text("Low".to_owned()));
        assert_eq!(response.usage.unwrap().output_tokens, 1);
    }

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

    #[test]
    fn what_converse_has_beside_the_conversation_stands_in_headers() {
        let guardrail = json!({"guardrailIdentifier": "g1", "guardrailVersion": "2"});
        let asked = |metadata: Value| {
            let request = Request::prompt("hi").param("guardrailConfig", guardrail.clone()).param("metadata", metadata);
            request.param("service_tier", "flex").param("anthropic_beta", json!(["b"])).max_tokens(5)
        };
        let own = json!({"messages": [], "max_tokens": 5, "guardrailConfig": guardrail, "serviceTier": {"type": "flex"},
            "anthropic_beta": ["b"], "metadata": {"user_id": "u"}});
        let own = Request::original(WireId::BedrockInvoke, TaskKind::Chat, own.to_string());
        for request in [asked(json!({"run": "7"})), asked(json!({"user_id": "u"})), own] {
            let headers = Invoke.headers(&request).unwrap();
            let told = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(told("x-amzn-bedrock-guardrailidentifier"), Some("g1"));
            assert_eq!(told("x-amzn-bedrock-guardrailversion"), Some("2"));
            assert_eq!(told(SERVICE_TIER), Some("flex"));
            let body: Value = serde_json::from_slice(&Invoke.encode(&request, "m", &Quirks::COMMON).unwrap()).unwrap();
            assert!(["guardrailConfig", "serviceTier", "service_tier"].iter().all(|name| body.get(name).is_none()));
            assert_eq!(body["anthropic_beta"], json!(["b"]));
            let metadata = told("x-amzn-bedrock-request-metadata");
            assert_eq!(
                (metadata.is_some(), body["metadata"].is_null()),
                (metadata == Some(r#"{"run":"7"}"#), metadata.is_some())
            );
        }
        assert!(Invoke.headers(&Request::prompt("hi")).unwrap().is_empty());
    }

    #[test]
    fn the_tier_that_served_stands_in_a_header() {
        let head = http::Response::builder().header(SERVICE_TIER, "flex").body(()).unwrap().into_parts().0;
        let reply =
            json!({"content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 1, "output_tokens": 1}});
        let response = Invoke.decode(TaskKind::Chat, &head, &reply.to_string().into()).unwrap();
        assert_eq!(response.usage.unwrap().tier, Tier::Flex);
    }
}
