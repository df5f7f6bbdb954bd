//! OpenAI Chat Completions and Embeddings, the format that most servers speak.
//!
//! Compatible servers leave things out (`usage`, `id`), add their own, write `error.code` as a number or `error` as plain
//! text, and some report a failure inside a 200. Everything here therefore reads leniently and writes strictly.

pub(crate) mod content;
mod said;
pub(crate) mod server;
mod stream;
pub mod types;

use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use self::content::Messages;
pub use self::content::read_messages;
use self::types::{ChatReply, Choice, EmbeddingReply, ErrorBody};
use crate::call::provider::Quirks;
use crate::call::sse::Event;
use crate::call::status;
use crate::call::wire::body::{bad_body, check_sampling, patch_model, to_bytes};
use crate::call::wire::fit::{MediaLimit, MediaLimits};
use crate::call::wire::{StreamState, Wire};
use crate::failure::{Failure, Kind};
use crate::json;
use crate::request::{Original, Params, Part, Request, Task, TaskKind};
use crate::response::{Delta, Finish, Output, Response, Tier};

/// The codec.
#[derive(Debug, Clone, Copy)]
pub struct OpenAi;

impl Wire for OpenAi {
    fn path(&self, kind: TaskKind, _model: &str) -> Option<String> {
        let path = match kind {
            TaskKind::Chat => "/chat/completions",
            TaskKind::Embed => "/embeddings",
        };
        Some(path.to_owned())
    }

    fn typed(&self, original: &Original) -> Result<Request, Failure> {
        let mut body: Map<String, Value> = json::from_slice(&original.bytes).map_err(bad_body)?;
        body.shift_remove("model");
        let task = match original.kind {
            TaskKind::Chat => {
                let messages = body.shift_remove("messages").unwrap_or_default();
                Task::Chat(read_messages(messages).map_err(|e| Failure::new(Kind::BadRequest, e))?)
            }
            TaskKind::Embed => match body.shift_remove("input") {
                Some(Value::String(text)) => Task::Embed(text),
                _ => {
                    return Err(Failure::new(
                        Kind::Unsupported,
                        "only a single text can be embedded by another format",
                    ));
                }
            },
        };
        Ok(Request { task, params: read_params(body), ..Request::default() })
    }

    fn encode(&self, request: &Request, model: &str, quirks: &Quirks) -> Result<Bytes, Failure> {
        check_sampling(&request.params, model, quirks)?;
        match &request.original {
            Some(original) if request.params.is_empty() => patch_model(original, model),
            Some(original) => merge(original, model, &request.params, quirks),
            None => to_bytes(&Body { request, model, quirks }),
        }
    }

    fn decode(&self, kind: TaskKind, head: &Parts, body: &Bytes) -> Result<Response, Failure> {
        match kind {
            TaskKind::Chat => decode_chat(head, body),
            TaskKind::Embed => decode_embedding(head, body),
        }
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
        stream::body(&body)
    }

    fn decode_event(&self, state: &mut StreamState, event: &Event, out: &mut Vec<Delta>) -> Result<(), Failure> {
        stream::event(state, event, out)
    }

    fn finish(&self, mut state: StreamState) -> Result<Response, Failure> {
        state.ended |= stream::all_finished(&state.reply);
        state.finish(self)
    }
}

/// The largest body is 512 MB, all files of it 50 MB.
pub(super) const MEDIA: MediaLimits = MediaLimits {
    each: [
        MediaLimit { count: 500, bytes: 50_000_000 },
        MediaLimit { count: 500, bytes: 50_000_000 },
        MediaLimit::NONE,
        MediaLimit { count: 500, bytes: 25_000_000 },
    ],
    total_bytes: 50_000_000,
    ..MediaLimits::NONE
};

/// Returns what the `url` of a batch file's line asks for, if this wire has it.
#[must_use]
pub fn batch_url(url: &str) -> Option<TaskKind> {
    match url {
        "/v1/chat/completions" | "/chat/completions" => Some(TaskKind::Chat),
        "/v1/embeddings" | "/embeddings" => Some(TaskKind::Embed),
        _ => None,
    }
}

/// Sets parameters in a body that was written by somebody else: an edit, so it goes through the typed form.
fn merge(original: &Original, model: &str, params: &Params, quirks: &Quirks) -> Result<Bytes, Failure> {
    let mut body: Map<String, Value> = json::from_slice(&original.bytes).map_err(bad_body)?;
    body.insert("model".to_owned(), model.into());
    if let Some(value) = params.temperature {
        body.insert("temperature".to_owned(), json!(value));
    }
    if let Some(value) = params.max_tokens {
        body.remove("max_tokens");
        body.insert(quirks.max_tokens.to_owned(), json!(value));
    }
    if !params.stop.is_empty() {
        body.insert("stop".to_owned(), json!(params.stop));
    }
    if let Some(value) = params.seed {
        body.insert(quirks.seed.to_owned(), json!(value));
    }
    body.extend(params.extra.clone());
    to_bytes(&body)
}

/// Takes the parameters that every provider has out of a body; the rest keeps its own names.
fn read_params(mut body: Map<String, Value>) -> Params {
    let mut take = |name: &str| body.shift_remove(name).filter(|value| !value.is_null());
    let temperature = take("temperature").and_then(|value| value.as_f64());
    let max_tokens = take("max_completion_tokens").or(take("max_tokens")).and_then(|value| value.as_u64());
    let seed = take("seed").and_then(|value| value.as_i64());
    let stop = match take("stop") {
        Some(Value::String(text)) => vec![text],
        Some(list) => serde_json::from_value(list).unwrap_or_default(),
        None => Vec::new(),
    };
    Params { temperature, max_tokens: max_tokens.and_then(|n| u32::try_from(n).ok()), stop, seed, extra: body }
}

/// A typed request, serialised without building a tree first.
struct Body<'a> {
    request: &'a Request,
    model: &'a str,
    quirks: &'a Quirks,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let params = &self.request.params;
        let mut fields = Fields { map: serializer.serialize_map(None)?, given: &params.extra };
        fields.add("model", Some(self.model))?;
        match &self.request.task {
            Task::Chat(messages) => fields.add("messages", Some(&Messages(messages)))?,
            Task::Embed(text) => fields.add("input", Some(text))?,
        }
        fields.add("temperature", params.temperature.as_ref())?;
        fields.add(self.quirks.max_tokens, params.max_tokens.as_ref())?;
        fields.add("stop", Some(&params.stop).filter(|stop| !stop.is_empty()))?;
        fields.add(self.quirks.seed, params.seed.as_ref())?;
        for (name, value) in &params.extra {
            fields.map.serialize_entry(name, value)?;
        }
        fields.map.end()
    }
}

/// Writes the fields that are set, except those that the user gives by the provider's own name.
struct Fields<'a, M> {
    map: M,
    given: &'a Map<String, Value>,
}

impl<M: SerializeMap> Fields<'_, M> {
    fn add<V: Serialize + ?Sized>(&mut self, name: &str, value: Option<&V>) -> Result<(), M::Error> {
        match value {
            Some(value) if !self.given.contains_key(name) => self.map.serialize_entry(name, value),
            _ => Ok(()),
        }
    }
}

fn decode_chat(head: &Parts, body: &Bytes) -> Result<Response, Failure> {
    let reply: ChatReply<'_> = read(head, body)?;
    if let Some(error) = reply.error.and_then(ErrorBody::from_value) {
        return Err(failed_inside(head, &error));
    }
    let Some(first) = reply.choices.first() else {
        return Err(status::failure(head, Kind::Malformed, "the reply has no choices".to_owned()));
    };
    let finish = finish(first.finish_reason.as_deref());
    let usage = reply.usage.or_else(|| reply.x_groq?.usage);
    let usage = usage.map(|usage| usage.usage(reply.service_tier));
    let request_id = status::request_id(head);
    let failed = |kind, message| Err(status::failure(head, kind, message).with_usage(usage));
    match &finish {
        Finish::ContentFilter => {
            return failed(Kind::ContentFilter, "the provider's content filter stopped the reply".to_owned());
        }
        // DeepSeek gives up in the middle.
        Finish::Other(reason) if reason == "insufficient_system_resource" => {
            return failed(Kind::Overloaded, "the provider had no capacity to end the reply".to_owned());
        }
        // Of a whole reply OpenRouter says no more.
        Finish::Other(reason) if reason == "error" => {
            return failed(Kind::ServerError, "the provider failed before the reply had ended".to_owned());
        }
        _ => {}
    }
    if let Some(refusal) = &first.message.refusal {
        return failed(Kind::ContentFilter, format!("the model refused: {refusal}"));
    }
    let output = match &reply.choices[..] {
        [only] => output(only),
        many => Some(Output::Json(
            many.iter().map(|choice| output(choice).map_or(Value::Null, Output::into_value)).collect(),
        )),
    };
    let Some(output) = output else {
        return failed(Kind::Empty, format!("the reply is empty (finish reason {})", finish.name().unwrap_or("none")));
    };
    let model = reply.model.unwrap_or_default().into_owned();
    let parts = said::parts(&first.message);
    Ok(Response { output, finish, usage, model, request_id, raw: body.clone(), parts, ..Response::default() })
}

fn output(choice: &Choice<'_>) -> Option<Output> {
    let message = &choice.message;
    let text = message.content.as_ref().map(|content| &*content.text);
    if !message.tool_calls.is_empty() {
        return Some(Output::Json(json!({"content": text, "tool_calls": message.tool_calls})));
    }
    // What is rare and no text is kept as it came.
    let others = [("function_call", message.function_call), ("audio", message.audio), ("images", message.images)];
    let mut others = others
        .into_iter()
        .filter(|(_, value)| value.is_some_and(|json| !matches!(json.get(), "null" | "[]")))
        .peekable();
    if others.peek().is_some() {
        let mut output = json!({"content": text});
        others.for_each(|(name, value)| output[name] = json!(value));
        return Some(Output::Json(output));
    }
    text.filter(|text| !text.is_empty()).map(|text| Output::Text(text.to_owned()))
}

fn decode_embedding(head: &Parts, body: &Bytes) -> Result<Response, Failure> {
    let reply: EmbeddingReply<'_> = read(head, body)?;
    if let Some(error) = reply.error.and_then(ErrorBody::from_value) {
        return Err(failed_inside(head, &error));
    }
    let mut data = reply.data;
    data.sort_by_key(|entry| entry.index);
    let output = match data.len() {
        0 => return Err(status::failure(head, Kind::Empty, "the reply has no embedding".to_owned())),
        1 => Output::Embedding(data.swap_remove(0).embedding),
        _ => Output::Json(data.into_iter().map(|entry| json!(entry.embedding)).collect()),
    };
    Ok(Response {
        output,
        finish: Finish::None,
        usage: reply.usage.map(|usage| usage.usage(Tier::Standard)),
        model: reply.model.unwrap_or_default().into_owned(),
        request_id: status::request_id(head),
        raw: body.clone(),
        ..Response::default()
    })
}

fn read<'a, T: serde::Deserialize<'a>>(head: &Parts, body: &'a Bytes) -> Result<T, Failure> {
    let malformed = |error: &dyn std::fmt::Display| {
        status::failure(head, Kind::Malformed, format!("the reply is not a completion: {error}"))
    };
    // The whole body is checked to be UTF-8 at once: string by string it takes several times as long.
    let text = std::str::from_utf8(body).map_err(|error| malformed(&error))?;
    serde_json::from_str(text).map_err(|error| malformed(&error))
}

/// A failure reported inside a success, as OpenRouter, old llama.cpp servers and everybody's streams do: its code, or else
/// its type, stands for the status that it has no other of.
fn failed_inside(head: &Parts, error: &ErrorBody) -> Failure {
    let told = error.code_number().and_then(|code| StatusCode::from_u16(code).ok()).filter(|told| told.as_u16() >= 400);
    let status = match (told, error.kind.as_deref(), error.code.as_deref()) {
        (Some(told), ..) => told,
        (None, Some("rate_limit_error" | "rate_limit_exceeded" | "requests" | "tokens"), _)
        | (None, _, Some("rate_limit_exceeded")) => StatusCode::TOO_MANY_REQUESTS,
        (None, Some("invalid_request_error"), _) => StatusCode::BAD_REQUEST,
        (None, ..) => StatusCode::BAD_GATEWAY,
    };
    let kind = kind_of(error).unwrap_or_else(|| status::kind(status, &error.message));
    status::failure(head, kind, error.message.clone())
}

/// Names the cause by this wire's structured codes; text is the business of [`status::kind`].
pub(super) fn kind_of(error: &ErrorBody) -> Option<Kind> {
    let names = [error.reason.as_deref(), error.code.as_deref(), error.kind.as_deref()];
    for name in names.into_iter().flatten() {
        let kind = match name {
            // OpenRouter waits for the bills of calls under way; it is a 402 that passes.
            "openrouter_in_flight_budget" => Kind::RateLimited,
            "insufficient_quota"
            | "credit_balance_exhausted"
            | "billing_hard_limit_reached"
            | "billing_not_active"
            | "exceeded_current_quota_error" => Kind::OutOfCredit,
            "invalid_api_key" => Kind::Auth,
            "model_not_found" | "DeploymentNotFound" => Kind::NotFound,
            "context_length_exceeded" | "exceed_context_size_error" => Kind::TooLong,
            "content_policy_violation" | "content_filter" | "invalid_prompt" | "moderation" => Kind::ContentFilter,
            // Groq says so of answers that are not the JSON that the model should have written.
            "json_validate_failed" | "tool_use_failed" => Kind::Malformed,
            "server_is_overloaded"
            | "slow_down"
            | "overloaded_error"
            | "engine_overloaded_error"
            | "unavailable_error"
            | "capacity_exceeded" => Kind::Overloaded,
            "unsupported_country_region_territory" => Kind::Permission,
            limit if limit.contains("spend_limit") || limit.contains("usage_limit") => Kind::OutOfCredit,
            _ => continue,
        };
        return Some(kind);
    }
    // These have no code for it, and the status of a wrong request: xAI, and LiteLLM's proxy.
    match &error.message {
        message if message.starts_with("Incorrect API key provided") => Some(Kind::Auth),
        message if message.contains("Invalid model name passed in model=") => Some(Kind::NotFound),
        _ => None,
    }
}

fn finish(reason: Option<&str>) -> Finish {
    match reason {
        Some("stop" | "eos") => Finish::Stop,
        Some("length" | "model_length") => Finish::Length,
        Some("tool_calls" | "function_call") => Finish::ToolCalls,
        Some("content_filter") => Finish::ContentFilter,
        Some(other) => Finish::Other(other.to_owned()),
        None => Finish::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::wire::WireId;
    use crate::failure::Kind;
    use crate::money::Money;
    use crate::response::Usage;
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

    fn head(status: u16) -> Parts {
        http::Response::builder().status(status).header("x-request-id", "req_1").body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_vector_may_come_as_base64() {
        let read = |vector: Value| {
            let body = json!({"data": [{"index": 0, "embedding": vector}]}).to_string();
            OpenAi.decode(TaskKind::Embed, &head(200), &body.into()).map(|response| response.output)
        };
        assert_eq!(read(json!([0.5, -2])), Ok(Output::Embedding(vec![0.5, -2.0])));
        assert_eq!(read(json!("AAAAPwAAAMA=")), Ok(Output::Embedding(vec![0.5, -2.0])));
        assert_eq!(read(json!("AAAAPwA=")).unwrap_err().kind, Kind::Malformed);
    }

    fn encode(request: &Request, quirks: &Quirks) -> Value {
        serde_json::from_slice(&OpenAi.encode(request, "m-1", quirks).unwrap()).unwrap()
    }

    fn decode(body: &str) -> Result<Response, Failure> {
        OpenAi.decode(TaskKind::Chat, &head(200), &Bytes::copy_from_slice(body.as_bytes()))
    }

    /// Reads the usage of a reply with that usage and that tier.
    fn told(usage: &Value, tier: &str) -> Usage {
        let choices = json!([{"message": {"content": "hi"}, "finish_reason": "stop"}]);
        decode(&json!({"choices": choices, "usage": usage, "service_tier": tier}).to_string()).unwrap().usage.unwrap()
    }

    #[test]
    fn the_tier_that_served_and_what_openrouter_charged_are_part_of_the_usage() {
        let tokens = json!({"prompt_tokens": 3, "completion_tokens": 1});
        let tiers = ["default", "flex", "priority", "auto", "on_demand"].map(|tier| told(&tokens, tier).tier);
        assert_eq!(tiers, [Tier::Standard, Tier::Flex, Tier::Other, Tier::Standard, Tier::Standard]);
        for (usage, charged) in [
            (json!({"cost": 0.95, "is_byok": false, "cost_details": {"upstream_inference_cost": 0.9}}), Some(0.95)),
            (json!({"cost": 0.05, "is_byok": true, "cost_details": {"upstream_inference_cost": 1}}), Some(1.05)),
            (json!({"cost": 0.95, "cost_details": {"upstream_inference_cost": 19}}), Some(19.95)),
            (json!({"cost": 0.95, "cost_details": {"upstream_inference_cost": null}}), Some(0.95)),
            // What others mean by it is not known.
            (json!({"cost": 0.95}), None),
            (json!({"cost": {"total_cost": 0.95}, "is_byok": false}), None),
        ] {
            assert_eq!(told(&usage, "default").charged, charged.map(Money::from_usd), "{usage}");
        }
    }

    #[test]
    fn a_typed_request_has_the_documented_fields() {
        let request = Request::prompt("hi").system("be brief").temperature(0.5).max_tokens(9).param("top_p", 0.9);
        let quirks = Quirks { max_tokens: "max_completion_tokens", ..Quirks::COMMON };
        let expected = json!({"model": "m-1",
            "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
            "temperature": 0.5, "max_completion_tokens": 9, "top_p": 0.9});
        assert_eq!(encode(&request, &quirks), expected);
    }

    #[test]
    fn a_field_given_by_its_own_name_wins_and_stands_once() {
        let request = Request::prompt("hi").temperature(0.5).param("temperature", 1);
        let body = OpenAi.encode(&request, "m", &Quirks::COMMON).unwrap();
        let text = std::str::from_utf8(&body).unwrap();
        assert_eq!(text.matches("temperature").count(), 1);
        assert!(text.contains("\"temperature\":1"));
    }

    #[test]
    fn an_original_body_goes_out_untouched_but_for_its_model() {
        let cases = [
            (r#"{ "model" : "old", "x":[1, 2.50] }"#, r#"{ "model" : "m-1", "x":[1, 2.50] }"#),
            (r#"{"x":"\"model\":1"}"#, r#"{"model":"m-1","x":"\"model\":1"}"#),
            ("{ }", r#"{"model":"m-1" }"#),
        ];
        for (given, sent) in cases {
            let request = Request::original(WireId::Openai, TaskKind::Chat, given.to_owned());
            let encoded = OpenAi.encode(&request, "m-1", &Quirks::COMMON).unwrap();
            assert_eq!(std::str::from_utf8(&encoded).unwrap(), sent);
        }
    }

    #[test]
    fn parameters_are_merged_into_an_original_body() {
        let request =
            Request::original(WireId::Openai, TaskKind::Chat, r#"{"model":"old","max_tokens":5}"#).max_tokens(7);
        assert_eq!(encode(&request, &Quirks::COMMON), json!({"model": "m-1", "max_tokens": 7}));
    }

    #[test]
    fn an_original_body_has_a_typed_form() {
        let bytes = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_completion_tokens":5,"stop":"x","top_p":0.5}"#;
        let original = Original { wire: WireId::Openai, kind: TaskKind::Chat, bytes: bytes.into() };
        let request = OpenAi.typed(&original).unwrap();
        assert_eq!(request.task, Task::Chat(vec![crate::request::Message::user().text("hi")]));
        let params = &request.params;
        assert_eq!(
            (params.max_tokens, &params.stop[..], &params.extra["top_p"]),
            (Some(5), &["x".to_owned()][..], &json!(0.5))
        );
    }

    #[test]
    fn a_model_that_refuses_sampling_parameters_is_not_sent_any() {
        let fixed = Quirks { sampling: false, ..Quirks::COMMON };
        let sent = |request: Request| OpenAi.encode(&request, "kimi-k3", &fixed).map_err(|failure| failure.message);
        assert!(sent(Request::prompt("hi").max_tokens(1)).is_ok());
        let why = "kimi-k3 refuses sampling parameters; leave `temperature` out";
        assert_eq!(sent(Request::prompt("hi").temperature(0.6)), Err(why.to_owned()));
        assert!(sent(Request::prompt("hi").param("top_p", 0.9)).is_err());
    }

    #[test]
    fn messages_survive_a_round_trip() {
        let messages = json!([
            {"role": "developer", "content": "x"},
            {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "https://a/b.png"}}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "content": "42", "tool_call_id": "1"},
        ]);
        let request = Request::chat(read_messages(messages.clone()).unwrap());
        assert_eq!(encode(&request, &Quirks::COMMON)["messages"], messages);
    }

    #[test]
    fn a_reply_is_read_leniently() {
        let response = decode(r#"{"choices":[{"message":{"content":"hé"}}]}"#).unwrap();
        assert_eq!((response.output, response.finish, response.usage), (Output::Text("hé".into()), Finish::None, None));
        let full = r#"{"id":"c1","model":"m","choices":[{"index":0,"finish_reason":"length","message":{"role":"assistant","content":"a","refusal":null}}],
            "usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,"prompt_tokens_details":{"cached_tokens":5},"completion_tokens_details":{"reasoning_tokens":3}}}"#;
        let response = decode(full).unwrap();
        let usage =
            Usage { input_tokens: 9, output_tokens: 4, cached_tokens: 5, reasoning_tokens: 3, ..Usage::default() };
        assert_eq!(
            (response.finish, response.usage, response.request_id.as_deref()),
            (Finish::Length, Some(usage), Some("req_1"))
        );
    }

    #[test]
    fn usage_is_told_in_one_convention_whoever_tells_it() {
        let used = |usage: &str| {
            decode(&format!(r#"{{"choices":[{{"message":{{"content":"a"}}}}],{usage}}}"#)).unwrap().usage.unwrap()
        };
        let told =
            |usage: Usage| (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens);
        let openai = r#""usage":{"prompt_tokens":12,"completion_tokens":400,"total_tokens":412,"completion_tokens_details":{"reasoning_tokens":386}}"#;
        assert_eq!(told(used(openai)), (12, 400, 0, 386));
        let xai = r#""usage":{"prompt_tokens":12,"completion_tokens":1,"total_tokens":399,"completion_tokens_details":{"reasoning_tokens":386}}"#;
        assert_eq!(told(used(xai)), (12, 387, 0, 386));
        let deepseek = r#""usage":{"prompt_tokens":12,"completion_tokens":4,"total_tokens":16,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":4}"#;
        assert_eq!(told(used(deepseek)), (12, 4, 8, 0));
        let groq = r#""x_groq":{"id":"req_1","usage":{"queue_time":0.1,"prompt_tokens":23,"completion_tokens":19,"total_tokens":42}}"#;
        assert_eq!(told(used(groq)), (23, 19, 0, 0));
    }

    #[test]
    fn an_answer_is_kept_whatever_is_said_of_its_tokens() {
        let odd =
            [r#"{"prompt_tokens":-5,"completion_tokens":5}"#, r#"{"prompt_tokens":"10"}"#, "7", "[]", "{}", "null"];
        for usage in odd {
            let body = format!(r#"{{"choices":[{{"message":{{"content":"a"}}}}],"usage":{usage}}}"#);
            let response = decode(&body).unwrap();
            assert_eq!((response.output, response.usage), (Output::Text("a".into()), None), "{usage}");
        }
    }

    #[test]
    fn a_text_may_come_in_parts() {
        let mistral = r#"{"choices":[{"message":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"high"},{"type":"text","text":" tide"}]}}]}"#;
        assert_eq!(decode(mistral).unwrap().output, Output::Text("high tide".into()));
        assert_eq!(decode(r#"{"choices":[{"message":{"content":[]}}]}"#).unwrap_err().kind, Kind::Empty);
        assert_eq!(decode(r#"{"choices":[{"message":{"content":7}}]}"#).unwrap_err().kind, Kind::Malformed);
    }

    #[test]
    fn what_is_no_text_is_kept_as_it_came() {
        let said = |message: Value| {
            decode(&json!({"choices": [{"message": message, "finish_reason": "stop"}]}).to_string()).unwrap().output
        };
        let call = json!({"content": null, "function_call": {"name": "f", "arguments": "{}"}});
        assert_eq!(said(call.clone()), Output::Json(call));
        let spoken = json!({"content": null, "audio": {"id": "a", "data": "UklG", "transcript": "hi"}});
        assert_eq!(said(spoken.clone()), Output::Json(spoken));
        let drawn = json!({"content": "here", "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]});
        assert_eq!(said(drawn.clone()), Output::Json(drawn));
        let plain = json!({"content": "hi", "function_call": null, "audio": null});
        assert_eq!(said(plain), Output::Text("hi".into()));
    }

    #[test]
    fn what_is_not_an_answer_is_a_failure() {
        let kind = |body| decode(body).unwrap_err().kind;
        assert_eq!(kind("<html>"), Kind::Malformed);
        assert_eq!(kind(r#"{"choices":[]}"#), Kind::Malformed);
        assert_eq!(kind(r#"{"choices":[{"message":{"content":""}}]}"#), Kind::Empty);
        assert_eq!(kind(r#"{"choices":[{"message":{"content":null,"refusal":"no"}}]}"#), Kind::ContentFilter);
        assert_eq!(kind(r#"{"error":{"code":429,"message":"slow"}}"#), Kind::RateLimited);
        assert_eq!(kind(r#"{"error":{"code":402,"message":"credits"}}"#), Kind::OutOfCredit);
        assert_eq!(kind(r#"{"error":{"code":502,"message":"provider failed"}}"#), Kind::ServerError);
        // Without a number the type, or a code, tells what the status would have told.
        assert_eq!(kind(r#"{"error":{"type":"invalid_request_error","message":"x","code":null}}"#), Kind::BadRequest);
        assert_eq!(
            kind(r#"{"error":{"type":"tokens","message":"x","code":"rate_limit_exceeded"}}"#),
            Kind::RateLimited
        );
        assert_eq!(kind(r#"{"error":{"type":"server_error","message":"x"}}"#), Kind::ServerError);
    }

    /// Any JSON, with the names of this wire among its keys.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("choices"),
            Just("message"),
            Just("content"),
            Just("usage"),
            Just("error"),
            Just("data"),
            Just("code"),
            Just("prompt_tokens"),
            Just("tool_calls"),
            Just("embedding"),
            Just("type"),
            Just("finish_reason"),
        ];
        leaf.prop_recursive(5, 48, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..5).prop_map(|fields| fields
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect::<Map<_, _>>()
                    .into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_that_a_server_sends_makes_it_panic(value in any_json(), status in 200u16..600, bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for body in [Bytes::from(value.to_string()), Bytes::from(bytes)] {
                for kind in [TaskKind::Chat, TaskKind::Embed] {
                    if let Err(failure) = OpenAi.decode(kind, &head(200), &body) {
                        prop_assert!(!failure.kind.is_unsent());
                    }
                }
                let head = head(status);
                let message = OpenAi.message(&body).unwrap_or_else(|| status::plain_message(&head, &body));
                OpenAi.kind(&head, &body).unwrap_or_else(|| status::kind(head.status, &message));
            }
        }

        #[test]
        fn nothing_that_a_user_writes_as_a_body_makes_it_panic(text in ".{0,64}", value in any_json()) {
            for body in [text, value.to_string()] {
                let request = Request::original(WireId::Openai, TaskKind::Chat, body);
                if let Ok(sent) = OpenAi.encode(&request, "m", &Quirks::COMMON) {
                    let sent: Value = serde_json::from_slice(&sent).unwrap();
                    prop_assert_eq!(&sent["model"], "m");
                }
                let _ = request.original.as_ref().map(|original| OpenAi.typed(original));
            }
        }
    }
}
