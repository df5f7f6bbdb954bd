//! Anthropic Messages.
//!
//! Three things differ from OpenAI's form in more than names. The output's bound is required, so that a request without
//! one gets the model's own maximum. Input tokens are told without the cached ones, which are added again here. And a
//! conversation is made of blocks: tools in OpenAI's spelling are translated, and what has no counterpart is refused by name, because a request that lost a part on the way is answered wrongly.

mod content;
mod pieces;
mod read;
pub(crate) mod server;
mod stream;
pub mod types;
mod write;

use std::borrow::Cow;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use self::types::{Block, ErrorBody, MessageReply, UsageReply};
use crate::call::provider::Quirks;
use crate::call::sse::Event;
use crate::call::status;
use crate::call::wire::body::{patch_model, set_field};
use crate::call::wire::fit::{MediaLimit, MediaLimits};
use crate::call::wire::{StreamState, Wire};
use crate::failure::{Failure, Kind};
use crate::json;
use crate::request::{Original, Part, Request, TaskKind};
use crate::response::{Delta, Finish, Output, Response, Tier, Usage};

/// The codec.
#[derive(Debug, Clone, Copy)]
pub struct Anthropic;

impl Wire for Anthropic {
    fn path(&self, kind: TaskKind, _model: &str) -> Option<String> {
        match kind {
            TaskKind::Chat => Some("/v1/messages".to_owned()),
            TaskKind::Embed => None,
        }
    }

    fn typed(&self, original: &Original) -> Result<Request, Failure> {
        read::request(original)
    }

    fn encode(&self, request: &Request, model: &str, quirks: &Quirks) -> Result<Bytes, Failure> {
        let mut request = Cow::Borrowed(request);
        if request.params.extra.contains_key(BETA) {
            request.to_mut().params.extra.shift_remove(BETA);
        }
        encode(&request, model, quirks)
    }

    /// What InvokeModel has in its body.
    fn headers(&self, request: &Request) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        if let Some(names) = request.params.extra.get(BETA) {
            let list = names.as_array().map_or(std::slice::from_ref(names), Vec::as_slice);
            let names: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            let wrong = || Failure::new(Kind::BadRequest, format!("`{BETA}` is neither a name nor a list of names"));
            let value = HeaderValue::try_from(names.join(",")).ok().filter(|_| names.len() == list.len());
            headers.insert("anthropic-beta", value.ok_or_else(wrong)?);
        }
        Ok(headers)
    }

    fn decode(&self, _kind: TaskKind, head: &Parts, body: &Bytes) -> Result<Response, Failure> {
        let reply: MessageReply<'_> = json::from_slice(body)
            .map_err(|error| status::failure(head, Kind::Malformed, format!("the reply is not a message: {error}")))?;
        decode_message(head, body, reply)
    }

    fn kind(&self, _head: &Parts, body: &[u8]) -> Option<Kind> {
        kind_of(&ErrorBody::read(body)?)
    }

    fn message(&self, body: &[u8]) -> Option<String> {
        ErrorBody::read(body).map(|error| error.message)
    }

    fn refuses(&self, part: &Part) -> Option<String> {
        content::refuses(part)
    }

    fn media_limits(&self) -> &'static MediaLimits {
        &MEDIA
    }

    fn stream_body(&self, body: Bytes) -> Result<Bytes, Failure> {
        set_field(&body, "stream", "true")
    }

    fn decode_event(&self, state: &mut StreamState, event: &Event, out: &mut Vec<Delta>) -> Result<(), Failure> {
        stream::event(state, event, out)
    }

    fn finish(&self, state: StreamState) -> Result<Response, Failure> {
        state.finish(self)
    }
}

/// Features that are asked for by name.
const BETA: &str = "anthropic_beta";

/// Writes a body, with all its fields.
pub(super) fn encode(request: &Request, model: &str, quirks: &Quirks) -> Result<Bytes, Failure> {
    match &request.original {
        Some(original) if request.params.is_empty() => patch_model(original, model),
        Some(original) => write::merged(original, model, &request.params, quirks),
        None => write::body(request, model, quirks),
    }
}

/// The body may have 32 MB, in which base64 takes four bytes for three; of images a model with a small context takes 100.
const MEDIA: MediaLimits = MediaLimits {
    each: [
        MediaLimit { count: 600, bytes: 7_500_000 },
        MediaLimit { count: 100, bytes: 24_000_000 },
        MediaLimit::NONE,
        MediaLimit::NONE,
    ],
    total_bytes: 24_000_000,
    image_side: 8_000,
    many_images: Some((20, 2_000)),
};

/// Returns what the `url` of a batch file's line asks for, if this wire has it.
#[must_use]
pub fn batch_url(url: &str) -> Option<TaskKind> {
    (url == "/v1/messages").then_some(TaskKind::Chat)
}

fn decode_message(head: &Parts, body: &Bytes, reply: MessageReply<'_>) -> Result<Response, Failure> {
    if let Some(error) = reply.error.as_ref().and_then(ErrorBody::from_value) {
        return Err(failed_inside(head, &error));
    }
    let usage = reply.usage.map(usage);
    let failed = |kind, message| Err(status::failure(head, kind, message).with_usage(usage));
    let Some(content) = reply.content else {
        return failed(Kind::Malformed, "the reply has no content".to_owned());
    };
    let finish = finish(reply.stop_reason.as_deref());
    if finish == Finish::ContentFilter {
        return failed(Kind::ContentFilter, refusal(reply.stop_details.as_ref()));
    }
    let Some(output) = output(&content) else {
        return failed(Kind::Empty, format!("the reply is empty (stop reason {})", finish.name().unwrap_or("none")));
    };
    let (model, request_id) = (reply.model.into_owned(), status::request_id(head));
    let parts = if content.iter().any(|block| block.kind != "text") { parts(body) } else { Vec::new() };
    Ok(Response { output, finish, usage, model, request_id, raw: body.clone(), parts, ..Response::default() })
}

/// Reads all blocks again, into the typed form: thinking and calls go back to the model as they came.
fn parts(body: &Bytes) -> Vec<Part> {
    #[derive(serde::Deserialize)]
    struct Whole {
        content: Vec<Value>,
    }
    let whole: Result<Whole, _> = json::from_slice(body);
    whole.map(|whole| whole.content.into_iter().flat_map(read::read_block).collect()).unwrap_or_default()
}

/// Joins the text blocks, which citations split in the middle of sentences; thinking is no part of the answer. With tool
/// calls the answer has the form of an OpenAI message.
fn output(content: &[Block<'_>]) -> Option<Output> {
    let text: String = content.iter().filter(|block| block.kind == "text").filter_map(|b| b.text.as_deref()).collect();
    let calls: Vec<Value> = content.iter().filter(|block| block.kind == "tool_use").map(tool_call).collect();
    match (calls.is_empty(), text.is_empty()) {
        (true, true) => None,
        (true, false) => Some(Output::Text(text)),
        (false, none) => {
            let text = if none { Value::Null } else { Value::String(text) };
            Some(Output::Json(json!({"content": text, "tool_calls": calls})))
        }
    }
}

fn tool_call(block: &Block<'_>) -> Value {
    let arguments = block.input.map_or("{}", |input| input.get());
    json!({"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}})
}

fn refusal(details: Option<&Value>) -> String {
    let text = |name: &str| details.and_then(|details| details.get(name)).and_then(Value::as_str);
    let category = text("category").map(|category| format!(" ({category})")).unwrap_or_default();
    let explanation = text("explanation").map(|explanation| format!(": {explanation}")).unwrap_or_default();
    format!("the model refused{category}{explanation}")
}

fn finish(reason: Option<&str>) -> Finish {
    match reason {
        Some("end_turn" | "stop_sequence") => Finish::Stop,
        Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
        Some("tool_use") => Finish::ToolCalls,
        Some("refusal") => Finish::ContentFilter,
        Some(other) => Finish::Other(other.to_owned()),
        None => Finish::None,
    }
}

fn usage(reply: UsageReply) -> Usage {
    let cached = reply.cache_read_input_tokens.unwrap_or(0);
    let written = reply.cache_creation_input_tokens.unwrap_or(0);
    let dearer = reply.speed != Tier::Standard || reply.inference_geo;
    Usage {
        input_tokens: reply.input_tokens.unwrap_or(0).saturating_add(cached).saturating_add(written),
        output_tokens: reply.output_tokens.unwrap_or(0),
        cached_tokens: cached,
        reasoning_tokens: reply.output_tokens_details.and_then(|details| details.thinking_tokens).unwrap_or(0),
        cache_write_tokens: written,
        cache_write_1h_tokens: reply.cache_creation.map_or(0, |written| written.ephemeral_1h_input_tokens),
        tier: if dearer { Tier::Other } else { reply.service_tier },
        charged: None,
    }
}

/// A failure reported inside a success: its type stands for the status that it has no other of.
fn failed_inside(head: &Parts, error: &ErrorBody) -> Failure {
    let status = match error.kind.as_str() {
        "invalid_request_error" => StatusCode::BAD_REQUEST,
        "rate_limit_error" => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::BAD_GATEWAY,
    };
    let kind = kind_of(error).unwrap_or_else(|| status::kind(status, &error.message));
    status::failure(head, kind, error.message.clone())
}

/// Names the cause: by the detailed code, or else by the error's type.
fn kind_of(error: &ErrorBody) -> Option<Kind> {
    error.code.as_deref().and_then(kind_of_code).or_else(|| kind_of_type(error))
}

fn kind_of_code(code: &str) -> Option<Kind> {
    match code {
        // They come as a 429 like any other, but last until the month ends.
        _ if code.ends_with("spend_limit_reached") => Some(Kind::OutOfCredit),
        "ramp_limit_exceeded" => Some(Kind::RateLimited),
        "request_body_timeout" => Some(Kind::Timeout),
        "request_body_too_large_after_decoding" => Some(Kind::TooLong),
        "organization_on_hold" => Some(Kind::Permission),
        _ => None,
    }
}

/// Invalid requests and rate limits have several causes; what is not named here is left to their text.
fn kind_of_type(error: &ErrorBody) -> Option<Kind> {
    let starts = |text: &str| error.message.starts_with(text);
    match error.kind.as_str() {
        "authentication_error" => Some(Kind::Auth),
        "billing_error" => Some(Kind::OutOfCredit),
        "permission_error" => Some(Kind::Permission),
        "not_found_error" => Some(Kind::NotFound),
        "request_too_large" => Some(Kind::TooLong),
        "timeout_error" => Some(Kind::Timeout),
        "overloaded_error" => Some(Kind::Overloaded),
        "api_error" | "conflict_error" => Some(Kind::ServerError),
        "invalid_request_error" if starts("Your credit balance is too low") => Some(Kind::OutOfCredit),
        "invalid_request_error" if starts("You have reached your specified API usage limits") => {
            Some(Kind::OutOfCredit)
        }
        "invalid_request_error" if starts("Output blocked by content filtering policy") => Some(Kind::ContentFilter),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
