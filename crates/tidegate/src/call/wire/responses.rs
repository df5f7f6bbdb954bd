//! OpenAI Responses.
//!
//! The same provider's newer form of a chat: a list of items in place of messages, flat tools, and a reply that has a
//! status of its own, so that a failure may come with HTTP 200 and an answer may be `incomplete`. The typed form has
//! Chat Completions' spelling, which is translated both ways; what this form has no field for is refused by name.
//!
//! A typed request is not stored by the provider unless `store` says so, as with Chat Completions: nobody wants the
//! answers of a million rows kept in an account as a side effect.

mod read;
pub(crate) mod server;
mod stream;
pub mod types;
mod write;

use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;
use serde_json::{Value, json};

use self::types::{Item, ResponseReply, UsageReply};
use crate::call::provider::Quirks;
use crate::call::sse::Event;
use crate::call::status;
use crate::call::wire::body::{check_sampling, patch_model, set_field};
use crate::call::wire::fit::MediaLimits;
use crate::call::wire::openai::{self, types::ErrorBody};
use crate::call::wire::{StreamState, Wire};
use crate::failure::{Failure, Kind};
use crate::json;
use crate::request::{Original, Part, Request, TaskKind};
use crate::response::{Delta, Finish, Output, Response, Tier, Usage};

/// The codec.
#[derive(Debug, Clone, Copy)]
pub struct Responses;

impl Wire for Responses {
    fn path(&self, kind: TaskKind, _model: &str) -> Option<String> {
        (kind == TaskKind::Chat).then(|| "/responses".to_owned())
    }

    fn typed(&self, original: &Original) -> Result<Request, Failure> {
        read::request(original)
    }

    fn encode(&self, request: &Request, model: &str, quirks: &Quirks) -> Result<Bytes, Failure> {
        check_sampling(&request.params, model, quirks)?;
        match &request.original {
            Some(original) if request.params.is_empty() => patch_model(original, model),
            Some(original) => write::merged(original, model, &request.params),
            None => write::body(request, model),
        }
    }

    fn decode(&self, _kind: TaskKind, head: &Parts, body: &Bytes) -> Result<Response, Failure> {
        let malformed = |error: &dyn std::fmt::Display| {
            status::failure(head, Kind::Malformed, format!("the reply is not a response: {error}"))
        };
        // A list would be read as the struct's fields in order.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(malformed(&"it is not an object"));
        }
        let reply: ResponseReply<'_> = json::from_slice(body).map_err(|error| malformed(&error))?;
        decode_response(head, body, reply)
    }

    fn kind(&self, head: &Parts, body: &[u8]) -> Option<Kind> {
        kind_of(head.status, &ErrorBody::read(body)?)
    }

    fn message(&self, body: &[u8]) -> Option<String> {
        ErrorBody::read(body).map(|error| error.message)
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

    fn refuses(&self, part: &Part) -> Option<String> {
        write::refuses(part)
    }

    fn media_limits(&self) -> &'static MediaLimits {
        &openai::MEDIA
    }
}

/// Returns what the `url` of a batch file's line asks for, if this wire has it.
#[must_use]
pub fn batch_url(url: &str) -> Option<TaskKind> {
    matches!(url, "/v1/responses" | "/responses").then_some(TaskKind::Chat)
}

fn decode_response(head: &Parts, body: &Bytes, reply: ResponseReply<'_>) -> Result<Response, Failure> {
    let usage = reply.usage.map(|told| usage(told, reply.service_tier));
    let failed = |kind, message: String| Err(status::failure(head, kind, message).with_usage(usage));
    if let Some(error) = reply.error.and_then(ErrorBody::from_value) {
        return Err(failed_inside(head, &error).with_usage(usage));
    }
    let reason = reply.incomplete_details.and_then(|details| details.reason);
    let finish = match (reply.status.as_deref(), reason.as_deref()) {
        (Some("completed") | None, _) => Finish::Stop,
        (Some("incomplete"), Some("max_output_tokens")) => Finish::Length,
        (Some("incomplete"), Some("content_filter")) => {
            return failed(Kind::ContentFilter, "the provider's content filter stopped the reply".to_owned());
        }
        (Some("incomplete"), reason) => Finish::Other(reason.unwrap_or("incomplete").to_owned()),
        (Some(status @ ("queued" | "in_progress")), _) => {
            let message = format!("the response is {status}: background responses are not waited for");
            return failed(Kind::BadRequest, message);
        }
        (Some(status), _) => return failed(Kind::ServerError, format!("the response is {status}")),
    };
    if let Some(refusal) = parts(&reply.output).find_map(|part| part.refusal.as_ref()) {
        return failed(Kind::ContentFilter, format!("the model refused: {refusal}"));
    }
    let calls: Vec<Value> = reply.output.iter().filter(|item| item.kind == "function_call").map(call).collect();
    let finish = if calls.is_empty() || finish != Finish::Stop { finish } else { Finish::ToolCalls };
    let Some(output) = output(&reply.output, calls) else {
        return failed(Kind::Empty, format!("the reply is empty (finish reason {})", finish.name().unwrap_or("none")));
    };
    let more = reply.output.iter().any(|item| item.kind != "message");
    let parts = if more { all_parts(body) } else { Vec::new() };
    let model = reply.model.unwrap_or_default().into_owned();
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

/// Reads all items again, into the typed form: they go back to the model as they came.
fn all_parts(body: &Bytes) -> Vec<Part> {
    #[derive(serde::Deserialize)]
    struct Whole {
        output: Vec<Value>,
    }
    let whole: Result<Whole, _> = json::from_slice(body);
    whole.map(|whole| read::said(whole.output)).unwrap_or_default()
}

fn parts<'r, 'a>(items: &'r [Item<'a>]) -> impl Iterator<Item = &'r types::Part<'a>> {
    items.iter().filter(|item| item.kind == "message").flat_map(|item| item.content.iter().flatten())
}

/// Joins the texts of all messages. With tool calls the answer has the form of a Chat Completions message.
fn output(items: &[Item<'_>], calls: Vec<Value>) -> Option<Output> {
    let text: String = parts(items).filter_map(|part| part.text.as_deref()).collect();
    let text = Some(text).filter(|text| !text.is_empty());
    match calls.is_empty() {
        true => text.map(Output::Text),
        false => Some(Output::Json(json!({"content": text, "tool_calls": calls}))),
    }
}

fn call(item: &Item<'_>) -> Value {
    let function = json!({"name": item.name, "arguments": item.arguments.as_deref().unwrap_or("{}")});
    json!({"id": item.call_id.as_ref().or(item.id.as_ref()), "type": "function", "function": function})
}

fn usage(reply: UsageReply, tier: Tier) -> Usage {
    let (input, output) =
        (reply.input_tokens_details.unwrap_or_default(), reply.output_tokens_details.unwrap_or_default());
    Usage {
        input_tokens: reply.input_tokens,
        output_tokens: reply.output_tokens,
        cached_tokens: input.cached_tokens.unwrap_or(0),
        reasoning_tokens: output.reasoning_tokens.unwrap_or(0),
        cache_write_tokens: input.cache_write_tokens.unwrap_or(0),
        tier,
        ..Usage::default()
    }
}

/// A failure reported inside a success: its code stands for the status that it has no other of.
fn failed_inside(head: &Parts, error: &ErrorBody) -> Failure {
    let kind = kind_of(StatusCode::BAD_GATEWAY, error).unwrap_or(Kind::BadRequest);
    status::failure(head, kind, error.message.clone())
}

/// Names the cause by the codes that only this form has, or else by those of Chat Completions.
fn kind_of(status: StatusCode, error: &ErrorBody) -> Option<Kind> {
    match error.code.as_deref() {
        Some("rate_limit_exceeded") if status.is_server_error() => Some(Kind::RateLimited),
        Some("server_error") if status == StatusCode::BAD_GATEWAY => Some(Kind::ServerError),
        Some("vector_store_timeout" | "failed_to_download_image") => Some(Kind::ServerError),
        Some("bio_policy" | "misalignment_policy_violation" | "image_content_policy_violation") => {
            Some(Kind::ContentFilter)
        }
        Some("data_residency_mismatch") => Some(Kind::Permission),
        _ => openai::kind_of(error),
    }
}

#[cfg(test)]
mod tests;
