//! Google Gemini's generateContent and embedContent, as the Gemini Developer API speaks them.
//!
//! The model stands in the path, so a body written for this wire goes out byte for byte. A blocked prompt is a success
//! without an answer, reasoning is a part like any other, and what a limit means stands in the details of an error:
//! everything here reads leniently, keeps the unknown, and takes nothing for an answer that is none.

pub(crate) mod cache;
mod embed;
mod errors;
mod media;
mod read;
pub(crate) mod server;
mod settings;
mod stream;
mod tools;
pub mod types;
mod write;

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use self::settings::Settings;
use self::types::{Candidate, ErrorBody, GenerateReply, PartReply, UsageReply};
use self::write::Conversation;
use crate::call::provider::Quirks;
use crate::call::sse::Event;
use crate::call::status;
use crate::call::wire::fit::{MediaLimit, MediaLimits};
use crate::call::wire::{StreamState, Wire};
use crate::failure::{Failure, Kind};
use crate::json;
use crate::request::{Original, Params, Part, Request, Task, TaskKind};
use crate::response::{Delta, Finish, Output, Response, Usage};

/// The codec.
#[derive(Debug, Clone, Copy)]
pub struct Gemini;

impl Wire for Gemini {
    fn path(&self, kind: TaskKind, model: &str) -> Option<String> {
        let verb = match kind {
            TaskKind::Chat => "generateContent",
            TaskKind::Embed => embed::verb(model),
        };
        Some(format!("/v1beta/{}:{verb}", resource(model)))
    }

    fn typed(&self, original: &Original) -> Result<Request, Failure> {
        let mut body = object(&original.bytes)?;
        let task = match original.kind {
            TaskKind::Chat => {
                let system = body.shift_remove("systemInstruction");
                let messages = read::messages(system, body.shift_remove("contents")).map_err(bad)?;
                Task::Chat(messages)
            }
            TaskKind::Embed => Task::Embed(embed::text(&mut body)?),
        };
        body.shift_remove("model");
        Ok(Request { task, params: settings::read(body)?, ..Request::default() })
    }

    fn encode(&self, request: &Request, model: &str, quirks: &Quirks) -> Result<Bytes, Failure> {
        match (&request.original, &request.task) {
            (Some(original), _) if request.params.is_empty() => Ok(original.bytes.clone()),
            (Some(original), _) => merge(original, &request.params, model),
            (None, Task::Chat(messages)) => {
                let conversation = write::conversation(messages)?;
                let settings = Settings::new(&request.params, model)?;
                settings.check_sampling(model, quirks)?;
                to_bytes(&Body { conversation, settings })
            }
            (None, Task::Embed(text)) => embed::body(text, &request.params.extra, model),
        }
    }

    fn decode(&self, kind: TaskKind, head: &Parts, body: &Bytes) -> Result<Response, Failure> {
        match kind {
            TaskKind::Chat => decode_answer(head, body),
            TaskKind::Embed => embed::decode(head, body),
        }
    }

    fn kind(&self, _head: &Parts, body: &[u8]) -> Option<Kind> {
        errors::kind(&ErrorBody::read(body)?)
    }

    fn message(&self, body: &[u8]) -> Option<String> {
        ErrorBody::read(body).map(|error| error.message)
    }

    fn retry_after(&self, body: &[u8]) -> Option<Duration> {
        errors::retry_after(&ErrorBody::read(body)?)
    }

    fn refuses(&self, part: &Part) -> Option<String> {
        media::refuses(part)
    }

    fn stores(&self, _model: &str) -> &'static [&'static str] {
        &["gs://"]
    }

    fn media_limits(&self) -> &'static MediaLimits {
        &MEDIA
    }

    fn stream_path(&self, model: &str) -> Option<String> {
        Some(format!("/v1beta/{}:streamGenerateContent?alt=sse", resource(model)))
    }

    fn stream_body(&self, body: Bytes) -> Result<Bytes, Failure> {
        Ok(body)
    }

    fn decode_event(&self, state: &mut StreamState, event: &Event, out: &mut Vec<Delta>) -> Result<(), Failure> {
        stream::event(state, event, out)
    }

    fn finish(&self, mut state: StreamState) -> Result<Response, Failure> {
        state.ended |= stream::is_whole(&state.reply);
        state.finish(self)
    }
}

/// A request may have 100 MB, in which base64 takes four bytes for three.
const MEDIA: MediaLimits = MediaLimits {
    each: [
        MediaLimit { count: 3_600, bytes: 75_000_000 },
        MediaLimit { count: 1_000, bytes: 50_000_000 },
        MediaLimit { count: 10, bytes: 75_000_000 },
        MediaLimit { count: 1_000, bytes: 75_000_000 },
    ],
    total_bytes: 75_000_000,
    ..MediaLimits::NONE
};

/// Returns a model's place in the path: tuned models have a collection of their own.
fn resource(model: &str) -> String {
    let (collection, name) = match model.split_once('/') {
        Some((collection @ ("models" | "tunedModels"), name)) => (collection, name),
        _ => ("models", model),
    };
    format!("{collection}/{}", escape(name))
}

/// Writes a name as one segment of a path.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

fn unsupported(message: impl Into<String>) -> Failure {
    Failure::new(Kind::Unsupported, message)
}

fn bad(message: impl Into<String>) -> Failure {
    Failure::new(Kind::BadRequest, message)
}

fn to_bytes(body: &impl Serialize) -> Result<Bytes, Failure> {
    let bytes = serde_json::to_vec(body).map_err(|e| unsupported(e.to_string()))?;
    Ok(Bytes::from(bytes))
}

/// Reads a body in which fields may have either of the names that Google accepts.
fn object(bytes: &Bytes) -> Result<Map<String, Value>, Failure> {
    const NAMES: &[(&str, &str)] = &[
        ("system_instruction", "systemInstruction"),
        ("generation_config", "generationConfig"),
        ("safety_settings", "safetySettings"),
        ("tool_config", "toolConfig"),
        ("cached_content", "cachedContent"),
    ];
    let body: Map<String, Value> =
        json::from_slice(bytes).map_err(|error| bad(format!("the request body is not a JSON object: {error}")))?;
    let name =
        |name: String| NAMES.iter().find(|(snake, _)| *snake == name).map_or(name, |(_, camel)| (*camel).to_owned());
    Ok(body.into_iter().map(|(key, value)| (name(key), value)).collect())
}

/// Sets parameters in a body that was written by somebody else: an edit, so it goes through the tree.
fn merge(original: &Original, params: &Params, model: &str) -> Result<Bytes, Failure> {
    let mut body = object(&original.bytes)?;
    if original.kind == TaskKind::Embed {
        body.extend(params.extra.iter().filter_map(|(name, value)| embed::field(name, value)));
        return to_bytes(&body);
    }
    let settings = Settings::new(params, model)?;
    body.extend(settings.top);
    if !settings.generation.is_empty() {
        match body.entry("generationConfig").or_insert_with(|| json!({})) {
            Value::Object(config) => config.extend(settings.generation),
            _ => return Err(bad("`generationConfig` is not an object")),
        }
    }
    to_bytes(&body)
}

/// A typed request, serialised without building a tree of its texts first.
struct Body<'a> {
    conversation: Conversation<'a>,
    settings: Settings,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Settings { generation, top } = &self.settings;
        let given = |name: &str| top.contains_key(name);
        let mut map = serializer.serialize_map(None)?;
        if let Some(system) = self.conversation.system.as_ref().filter(|_| !given("systemInstruction")) {
            map.serialize_entry("systemInstruction", system)?;
        }
        if !given("contents") {
            map.serialize_entry("contents", &self.conversation.contents)?;
        }
        if !generation.is_empty() {
            map.serialize_entry("generationConfig", generation)?;
        }
        for (name, value) in top {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn decode_answer(head: &Parts, body: &Bytes) -> Result<Response, Failure> {
    let reply: GenerateReply<'_> = read_reply(head, body)?;
    if let Some(error) = reply.error.and_then(ErrorBody::from_value) {
        return Err(failed_inside(head, &error));
    }
    let usage = reply.usage_metadata.map(usage);
    let request_id = reply.response_id.map(|id| id.into_owned()).or_else(|| status::request_id(head));
    let failed = |kind, message: String| {
        let failure = Failure::new(kind, message).with_status(head.status.as_u16()).with_usage(usage);
        Err(failure.with_request_id(request_id.clone()))
    };
    let Some(first) = reply.candidates.first() else {
        let feedback = reply.prompt_feedback.unwrap_or_default();
        return match feedback.block_reason {
            Some(reason) => {
                let more = feedback.block_reason_message.map(|more| format!(": {more}")).unwrap_or_default();
                failed(Kind::ContentFilter, format!("the provider blocked the prompt ({reason}){more}"))
            }
            None => failed(Kind::Malformed, "the reply has no candidates".to_owned()),
        };
    };
    if let Some((kind, message)) = stopped(first) {
        return failed(kind, message);
    }
    let output = match &reply.candidates[..] {
        [only] => output(only),
        many => Some(Output::Json(
            many.iter().map(|candidate| output(candidate).map_or(Value::Null, Output::into_value)).collect(),
        )),
    };
    let Some(output) = output else {
        let reason = first.finish_reason.as_deref().unwrap_or("none");
        return failed(Kind::Empty, format!("the reply is empty (finish reason {reason})"));
    };
    let model = reply.model_version.unwrap_or_default().into_owned();
    let finish = finish(first);
    let plain = |part: &PartReply<'_>| {
        part.function_call.is_none() && part.inline_data.is_none() && !part.thought && part.thought_signature.is_none()
    };
    let more = first.content.iter().any(|content| !content.parts.iter().all(plain));
    let parts = if more { all_parts(body) } else { Vec::new() };
    Ok(Response { output, finish, usage, model, request_id, raw: body.clone(), parts, ..Response::default() })
}

/// Reads all parts of the first answer again, into the typed form: signatures go back to the model as they came.
fn all_parts(body: &Bytes) -> Vec<Part> {
    let mut whole: Value = json::from_slice(body).unwrap_or_default();
    let Some(content) = whole.pointer_mut("/candidates/0/content") else { return Vec::new() };
    let mut reader = read::Reader::default();
    let parts = read::parts_of(content).unwrap_or_default();
    parts.into_iter().filter_map(|part| reader.part(part).ok()).collect()
}

/// Returns the failure that a finish reason stands for.
fn stopped(candidate: &Candidate<'_>) -> Option<(Kind, String)> {
    let reason = candidate.finish_reason.as_deref()?;
    let (kind, what) = match reason {
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => (Kind::ContentFilter, "the provider's content filter stopped the reply"),
        "MALFORMED_FUNCTION_CALL" | "MALFORMED_RESPONSE" => (Kind::Malformed, "the model wrote what cannot be read"),
        _ => return None,
    };
    let more = candidate.finish_message.as_ref().map(|more| format!(": {more}")).unwrap_or_default();
    Some((kind, format!("{what} ({reason}){more}")))
}

fn finish(candidate: &Candidate<'_>) -> Finish {
    match candidate.finish_reason.as_deref() {
        // Calls have no reason of their own.
        Some("STOP") if parts(candidate).any(|part| part.function_call.is_some()) => Finish::ToolCalls,
        Some("STOP") => Finish::Stop,
        Some("MAX_TOKENS") => Finish::Length,
        Some(other) => Finish::Other(other.to_owned()),
        None => Finish::None,
    }
}

fn parts<'r, 'a>(candidate: &'r Candidate<'a>) -> impl Iterator<Item = &'r PartReply<'a>> {
    candidate.content.iter().flat_map(|content| &content.parts).filter(|part| !part.thought)
}

fn output(candidate: &Candidate<'_>) -> Option<Output> {
    let text: String = parts(candidate).filter_map(|part| part.text.as_deref()).collect();
    let calls = parts(candidate).filter_map(|part| Some((part, part.function_call.as_ref()?)));
    let calls: Vec<Value> = calls
        .enumerate()
        .map(|(place, (part, call))| {
            let args = call.args.map_or("{}", |args| args.get());
            tools::openai_call(call.id.as_deref(), place, &call.name, args, part.thought_signature.as_deref())
        })
        .collect();
    let data: Vec<_> = parts(candidate).filter_map(|part| part.inline_data).collect();
    if calls.is_empty() && data.is_empty() {
        return Some(text).filter(|text| !text.is_empty()).map(Output::Text);
    }
    let mut value = json!({"content": Some(text).filter(|text| !text.is_empty())});
    if !calls.is_empty() {
        value["tool_calls"] = calls.into();
    }
    if !data.is_empty() {
        value["inlineData"] = json!(data);
    }
    Some(Output::Json(value))
}

fn read_reply<'a, T: serde::Deserialize<'a>>(head: &Parts, body: &'a Bytes) -> Result<T, Failure> {
    let malformed = |error: &dyn std::fmt::Display| match ErrorBody::read(body) {
        Some(error) => failed_inside(head, &error),
        None => status::failure(head, Kind::Malformed, format!("the reply is not Gemini's: {error}")),
    };
    let text = std::str::from_utf8(body).map_err(|error| malformed(&error))?;
    // A list would be read as the struct's fields in order.
    if !text.trim_start().starts_with('{') {
        return Err(malformed(&"it is not an object"));
    }
    serde_json::from_str(text).map_err(|error| malformed(&error))
}

/// A failure reported inside a success, as proxies and cut streams do.
fn failed_inside(head: &Parts, error: &ErrorBody) -> Failure {
    let inner = error.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = inner.filter(|status| status.as_u16() >= 400).unwrap_or(StatusCode::BAD_GATEWAY);
    let kind = errors::kind(error).unwrap_or_else(|| status::kind(status, &error.message));
    let failure = status::failure(head, kind, error.message.clone());
    let hint = failure.retry_after.or_else(|| status::capped(errors::retry_after(error)?));
    failure.with_retry_after(hint)
}

fn usage(reply: UsageReply) -> Usage {
    Usage {
        input_tokens: reply.prompt_token_count.saturating_add(reply.tool_use_prompt_token_count),
        output_tokens: reply.candidates_token_count.saturating_add(reply.thoughts_token_count),
        cached_tokens: reply.cached_content_token_count,
        reasoning_tokens: reply.thoughts_token_count,
        tier: reply.traffic_type,
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests;
