//! AWS Bedrock's Converse: one format for the models of many vendors.
//!
//! The model stands in the path, percent-encoded with its colons and slashes, so a body written for this wire goes out
//! byte for byte. A parameter keeps the name that Converse gives it; what only a vendor knows goes into
//! `additionalModelRequestFields`. Errors are exceptions whose name stands in a header or in the body.

mod content;
pub(crate) mod embed;
mod errors;
mod headers;
pub mod invoke;
mod pieces;
mod read;
mod rules;
pub(crate) mod server;
mod stream;
#[cfg(test)]
mod tests;
pub mod types;
mod write;

use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;
use serde_json::{Value, json};

use self::types::{Block, ConverseReply, ErrorBody, ToolUse, UsageReply};
use crate::call::provider::Quirks;
use crate::call::sigv4::escape;
use crate::call::sse::Event;
use crate::call::status;
use crate::call::wire::fit::{MediaLimit, MediaLimits};
use crate::call::wire::{Framing, StreamState, Wire};
use crate::failure::{Failure, Kind};
use crate::json;
use crate::request::{Original, Part, Request, TaskKind};
use crate::response::{Delta, Finish, Output, Response, Tier, Usage};

/// The codec.
#[derive(Debug, Clone, Copy)]
pub struct Bedrock;

impl Wire for Bedrock {
    fn path(&self, kind: TaskKind, model: &str) -> Option<String> {
        match kind {
            TaskKind::Chat => Some(format!("/model/{}/converse", escape(model))),
            TaskKind::Embed => embed::Vendor::of(model).map(|_| format!("/model/{}/invoke", escape(model))),
        }
    }

    fn typed(&self, original: &Original) -> Result<Request, Failure> {
        read::request(original)
    }

    fn encode(&self, request: &Request, model: &str, quirks: &Quirks) -> Result<Bytes, Failure> {
        match &request.original {
            // What is embedded goes to InvokeModel, as it was written.
            Some(original) if request.params.is_empty() || original.kind == TaskKind::Embed => {
                Ok(original.bytes.clone())
            }
            Some(original) => write::merged(original, model, &request.params, quirks),
            None => write::body(request, model, quirks),
        }
    }

    /// Embeddings come from InvokeModel.
    fn headers(&self, request: &Request) -> Result<HeaderMap, Failure> {
        match request.kind() {
            TaskKind::Embed if request.original.is_none() => headers::taken_out(&mut request.params.extra.clone()),
            _ => Ok(HeaderMap::new()),
        }
    }

    fn decode(&self, kind: TaskKind, head: &Parts, body: &Bytes) -> Result<Response, Failure> {
        if kind == TaskKind::Embed {
            return embed::decode(head, body);
        }
        let malformed = |error: &dyn std::fmt::Display| {
            status::failure(head, Kind::Malformed, format!("the reply is not Converse's: {error}"))
        };
        let text = std::str::from_utf8(body).map_err(|error| malformed(&error))?;
        let reply: ConverseReply<'_> = serde_json::from_str(text).map_err(|error| malformed(&error))?;
        answer(head, body, reply)
    }

    fn kind(&self, head: &Parts, body: &[u8]) -> Option<Kind> {
        errors::kind(&ErrorBody::read(&head.headers, body)?)
    }

    fn message(&self, body: &[u8]) -> Option<String> {
        let error = ErrorBody::read(&http::HeaderMap::new(), body)?;
        Some(error.message).filter(|message| !message.is_empty())
    }

    fn stream_path(&self, model: &str) -> Option<String> {
        Some(format!("/model/{}/converse-stream", escape(model)))
    }

    /// The path alone asks for a stream.
    fn stream_body(&self, body: Bytes) -> Result<Bytes, Failure> {
        Ok(body)
    }

    fn framing(&self) -> Framing {
        Framing::Aws
    }

    fn decode_event(&self, state: &mut StreamState, event: &Event, out: &mut Vec<Delta>) -> Result<(), Failure> {
        stream::event(state, event, out)
    }

    /// The message is over before its usage is told: without that it is an answer all the same.
    fn finish(&self, mut state: StreamState) -> Result<Response, Failure> {
        state.ended |= state.reply.get("stopReason").is_some();
        state.finish(self)
    }

    fn refuses(&self, part: &Part) -> Option<String> {
        content::refuses(part)
    }

    fn stores(&self, model: &str) -> &'static [&'static str] {
        if rules::reads_s3(model) { &["s3://"] } else { &[] }
    }

    fn media_limits(&self) -> &'static MediaLimits {
        &MEDIA
    }
}

/// Of videos in S3 and those of single models more may be possible; what is sent inside a request may have 25 MB as base64.
const MEDIA: MediaLimits = MediaLimits {
    each: [
        MediaLimit { count: 20, bytes: 3_750_000 },
        MediaLimit { count: 5, bytes: 4_500_000 },
        MediaLimit { count: 1, bytes: 18_750_000 },
        MediaLimit { count: 1, bytes: 18_750_000 },
    ],
    total_bytes: 18_750_000,
    image_side: 8_000,
    many_images: None,
};

fn answer(head: &Parts, body: &Bytes, reply: ConverseReply<'_>) -> Result<Response, Failure> {
    let usage = reply.usage.map(|told| usage(told, reply.service_tier.kind));
    let failed = |kind, message| Err(status::failure(head, kind, message).with_usage(usage));
    let Some(message) = reply.output.and_then(|output| output.message) else {
        return failed(Kind::Malformed, "the reply has no message".to_owned());
    };
    let reason = reply.stop_reason.as_deref();
    if let Some((kind, what)) = stopped(reason) {
        return failed(kind, what.to_owned());
    }
    let finish = finish(reason);
    let Some(output) = output(&message.content) else {
        return failed(Kind::Empty, format!("the reply is empty (stop reason {})", finish.name().unwrap_or("none")));
    };
    let more = message.content.iter().any(|block| block.text.is_none());
    let parts = if more { parts(body) } else { Vec::new() };
    // Which model answered stands in the request's path and nowhere else.
    let model = String::new();
    Ok(Response {
        output,
        finish,
        usage,
        model,
        request_id: status::request_id(head),
        raw: body.clone(),
        parts,
        ..Response::default()
    })
}

/// Reads all blocks again, into the typed form: reasoning and calls go back to the model as they came.
fn parts(body: &Bytes) -> Vec<Part> {
    let mut whole: Value = json::from_slice(body).unwrap_or_default();
    let content = whole.pointer_mut("/output/message/content").map(Value::take);
    let blocks = content.and_then(|content| serde_json::from_value::<Vec<Value>>(content).ok());
    blocks.unwrap_or_default().into_iter().map(content::read_block).collect()
}

/// Returns the failure that a stop reason stands for.
fn stopped(reason: Option<&str>) -> Option<(Kind, &'static str)> {
    match reason? {
        "guardrail_intervened" => Some((Kind::ContentFilter, "the guardrail intervened")),
        "content_filtered" => Some((Kind::ContentFilter, "the provider's content filter stopped the reply")),
        "malformed_model_output" | "malformed_tool_use" => {
            Some((Kind::Malformed, "the model wrote what cannot be read"))
        }
        _ => None,
    }
}

fn finish(reason: Option<&str>) -> Finish {
    match reason {
        Some("end_turn" | "stop_sequence") => Finish::Stop,
        Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
        Some("tool_use") => Finish::ToolCalls,
        Some(other) => Finish::Other(other.to_owned()),
        None => Finish::None,
    }
}

/// Joins the texts; reasoning is no part of the answer. With tool calls the answer has the form of an OpenAI message.
fn output(content: &[Block<'_>]) -> Option<Output> {
    let text: String = content.iter().flat_map(texts).collect();
    let calls: Vec<Value> = content.iter().filter_map(|block| block.tool_use.as_ref()).map(tool_call).collect();
    match (calls.is_empty(), text.is_empty()) {
        (true, true) => None,
        (true, false) => Some(Output::Text(text)),
        (false, none) => {
            let text = if none { Value::Null } else { Value::String(text) };
            Some(Output::Json(json!({"content": text, "tool_calls": calls})))
        }
    }
}

fn texts<'b>(block: &'b Block<'_>) -> impl Iterator<Item = &'b str> {
    let cited = block.citations_content.iter().flat_map(|cited| &cited.content);
    block.text.as_deref().into_iter().chain(cited.map(|piece| &*piece.text))
}

fn tool_call(call: &ToolUse<'_>) -> Value {
    let arguments = call.input.map_or("{}", |input| input.get());
    json!({"id": call.tool_use_id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
}

fn usage(reply: UsageReply, tier: Tier) -> Usage {
    let cached = reply.cache_read_input_tokens.unwrap_or(0);
    let written = reply.cache_write_input_tokens.unwrap_or(0);
    Usage {
        input_tokens: reply.input_tokens.saturating_add(cached).saturating_add(written),
        output_tokens: reply.output_tokens,
        cached_tokens: cached,
        reasoning_tokens: 0,
        cache_write_tokens: written,
        cache_write_1h_tokens: reply.written_for_an_hour,
        tier,
        charged: None,
    }
}
