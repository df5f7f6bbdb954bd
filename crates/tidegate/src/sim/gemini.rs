//! The simulated model behind Gemini's API: the same answers, with that format's paths, streams and errors.

use http::{StatusCode, Uri};
use serde_json::value::RawValue;

use super::answer::{self, Asked, Body, Draft, EVENT, Fate, Form, THOUGHT};
use super::caches::Cached;
use super::dice::{Dice, Draw};
use super::limit::{Cause, Refusal};
use super::scenario::{Resource, RetryAfter, Scenario};
use super::serve::{Call, Denial, Prepared, read, wrong};
use super::{Simulator, route};
use crate::call::wire::gemini::server::{
    self, EmbedRequest, EmbedRequests, GenerateRequest, GenerationConfig, PredictRequest, Reply,
};
use crate::call::wire::gemini::types::UsageReply;
use crate::call::wire::openai;
use crate::call::wire::openai::server::{Answer, ForcedTool, MessageAsked, Texts, event};
use crate::request::TaskKind;

/// The most answers one request may ask for.
const MOST_CANDIDATES: u32 = 8;

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Generate,
    Stream,
    Embed,
    EmbedBatch,
    Predict,
}

/// Returns what kind of task a path without its version asks for, such as `models/gemini-2.5-flash:generateContent`.
pub(super) fn task(path: &str) -> Option<TaskKind> {
    match target(path)?.1 {
        Verb::Generate | Verb::Stream => Some(TaskKind::Chat),
        Verb::Embed | Verb::EmbedBatch | Verb::Predict => Some(TaskKind::Embed),
    }
}

fn target(path: &str) -> Option<(&str, Verb)> {
    let path = ["v1beta/", "v1beta1/"].iter().find_map(|version| path.strip_prefix(version)).unwrap_or(path);
    // Vertex AI has a project and a location in front, its express mode only the publisher.
    let path = match path.starts_with("projects/") || path.starts_with("publishers/") {
        true => path.split_once("publishers/google/")?.1,
        false => path,
    };
    let (model, verb) = path.strip_prefix("models/")?.rsplit_once(':')?;
    let verb = match verb {
        "generateContent" => Verb::Generate,
        "streamGenerateContent" => Verb::Stream,
        "embedContent" => Verb::Embed,
        "batchEmbedContents" => Verb::EmbedBatch,
        "predict" => Verb::Predict,
        _ => return None,
    };
    Some((model, verb))
}

/// Returns the model and what is asked of it.
fn target_of(uri: &Uri) -> Option<(String, Verb)> {
    let (model, verb) = target(route::without_version(uri.path()))?;
    Some((String::from_utf8(route::unescape(model)).ok()?, verb))
}

impl Simulator {
    /// Checks and answers a request for one of a model's methods.
    pub(super) fn prepare_gemini(&self, call: &Call<'_>, dice: Dice) -> Result<Prepared<'_>, Denial> {
        let target = target_of(call.request.uri());
        let (model, verb) = target.ok_or_else(|| wrong(call)("The model's name is not UTF-8.".to_owned()))?;
        self.check_model(call, &model)?;
        match verb {
            Verb::Generate | Verb::Stream => self.prepare_answer(call, dice, &model, verb),
            Verb::Embed => {
                let asked: EmbedRequest<'_> = read(call)?;
                let text = asked.content.parts.iter().collect();
                self.prepare_vectors(call, dice, &[text], asked.output_dimensionality, verb)
            }
            Verb::EmbedBatch => {
                let asked: EmbedRequests<'_> = read(call)?;
                let texts: Vec<String> = asked.requests.iter().map(|one| one.content.parts.iter().collect()).collect();
                let dimensions = asked.requests.first().and_then(|one| one.output_dimensionality);
                self.prepare_vectors(call, dice, &texts, dimensions, verb)
            }
            Verb::Predict => {
                let asked: PredictRequest<'_> = read(call)?;
                let texts: Vec<String> = asked.instances.into_iter().map(|one| one.content.into_owned()).collect();
                self.prepare_vectors(call, dice, &texts, asked.parameters.output_dimensionality, verb)
            }
        }
    }

    fn prepare_answer(&self, call: &Call<'_>, dice: Dice, model: &str, verb: Verb) -> Result<Prepared<'_>, Denial> {
        let asked: GenerateRequest<'_> = read(call)?;
        let fate = answer::fate(self.scenario(), call.attempt, dice.roll(Draw::Fault), |text| {
            asked.contents.iter().any(|content| content.parts.contain(text))
        });
        let max_output_tokens = asked.generation_config.as_ref().and_then(|config| config.max_output_tokens);
        let sse = call.request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
        let form = match (verb, sse) {
            (Verb::Stream, true) => Sending::Events,
            (Verb::Stream, false) => Sending::List,
            _ => Sending::Whole,
        };
        let cached = self.cached(call, &asked)?;
        let draft = match answer::refused(fate, call.voice) {
            Some(draft) => draft,
            None => reply(self.scenario(), asked, cached, model, fate, form).map_err(wrong(call))?,
        };
        Ok(Prepared { draft, fate, max_output_tokens })
    }

    /// Returns the cache that a request begins with.
    fn cached(&self, call: &Call<'_>, asked: &GenerateRequest<'_>) -> Result<Option<Cached>, Denial> {
        let Some(name) = &asked.cached_content else { return Ok(None) };
        if asked.system_instruction.is_some() || asked.tools.is_some() {
            let message = "CachedContent can not be used with GenerateContent request setting system_instruction, \
                           tools or tool_config.";
            return Err(wrong(call)(message.to_owned()));
        }
        let denied = || {
            let (status, message) = (StatusCode::FORBIDDEN, "CachedContent not found (or permission denied)");
            Denial { status, error: server::error(status, message, &[]) }
        };
        self.state().caches.get(name, call.at).map(Some).ok_or_else(denied)
    }

    fn prepare_vectors(
        &self,
        call: &Call<'_>,
        dice: Dice,
        texts: &[String],
        dimensions: Option<u32>,
        verb: Verb,
    ) -> Result<Prepared<'_>, Denial> {
        let scenario = self.scenario();
        let fate = answer::fate(scenario, call.attempt, dice.roll(Draw::Fault), |text| {
            texts.iter().any(|one| one.contains(text))
        });
        if let Some(draft) = answer::refused(fate, call.voice) {
            return Ok(Prepared { draft, fate, max_output_tokens: None });
        }
        let vectors = answer::vectors(scenario, texts.iter().map(String::as_str), dimensions, fate);
        let vectors = vectors.map_err(wrong(call))?;
        let usage = answer::usage(answer::tokens(texts.iter().map(String::len).sum()), 0);
        let body = match verb {
            Verb::EmbedBatch => server::embeddings(vectors, told(usage)),
            Verb::Predict => {
                let tokens: Vec<u64> = texts.iter().map(|text| answer::tokens(text.len())).collect();
                server::predictions(vectors, &tokens)
            }
            _ => server::embedding(vectors, told(usage)),
        };
        Ok(Prepared { draft: Draft::good(Body::Json(body), usage), fate, max_output_tokens: None })
    }
}

/// How an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Whole,
    Events,
    /// As a list of what the events would hold: a stream without `alt=sse`.
    List,
}

fn reply(
    scenario: &Scenario,
    asked: GenerateRequest<'_>,
    cached: Option<Cached>,
    model: &str,
    fate: Fate<'_>,
    sending: Sending,
) -> Result<Draft, String> {
    let tool = asked.forced_tool().map_err(|error| format!("Invalid tools: {error}"))?;
    let tool = tool.as_ref().map(|tool| ForcedTool { name: &tool.name, parameters: tool.parameters.as_deref() });
    let config = asked.generation_config.unwrap_or_default();
    let candidates = config.candidate_count.unwrap_or(1);
    if asked.contents.is_empty() {
        return Err("* GenerateContentRequest.contents: contents is not specified".to_owned());
    }
    if candidates == 0 || candidates > MOST_CANDIDATES {
        return Err(format!("candidateCount must be from 1 to {MOST_CANDIDATES} but was {candidates}."));
    }
    let system = asked.system_instruction.map(|content| message("system", content.parts));
    let contents = asked.contents.into_iter().map(|content| match content.role.as_deref() {
        Some("model") => message("assistant", content.parts),
        _ => message("user", content.parts),
    });
    let cached_tokens = cached.as_ref().map_or(0, Cached::tokens);
    let cached = cached.map(|cached| message("system", Texts::One(cached.text.into())));
    let messages: Vec<MessageAsked<'_>> = cached.into_iter().chain(system).chain(contents).collect();
    let schema = config.openapi_schema().map_err(|error| error.to_string())?;
    let asked =
        Asked { messages: &messages, max_tokens: config.max_output_tokens, form: form(&config, schema.as_deref()) };
    let prompt = answer::prompt_hash(&messages);
    let one = |hash| match answer::call(tool, fate, hash)? {
        Some(call) => Ok(call),
        None => answer::answer(scenario, &asked, fate, hash),
    };
    let answers: Vec<Answer> =
        (0..candidates).map(|index| one(answer::choice_hash(prompt, index))).collect::<Result<_, String>>()?;
    let thoughts = if config.thinks() { answer::tokens(THOUGHT.len()) * u64::from(candidates) } else { 0 };
    let output = answers.iter().map(|answer| answer::tokens(answer.text.len())).sum::<u64>() + thoughts;
    let usage = answer::usage(asked.input_tokens(), output);
    let reply = Reply {
        id: &format!("resp-{prompt:016x}"),
        model,
        thought: config.tells_thoughts().then_some(THOUGHT),
        answers: &answers,
        usage: UsageReply {
            cached_content_token_count: cached_tokens,
            candidates_token_count: output - thoughts,
            thoughts_token_count: thoughts,
            ..told(usage)
        },
    };
    let body = match sending {
        Sending::Whole => Body::Json(reply.whole()),
        Sending::Events => {
            Body::Events(pieces(&reply).into_iter().map(|(piece, tokens)| (event(&piece), tokens)).collect())
        }
        Sending::List => {
            let pieces: Vec<_> = pieces(&reply).into_iter().map(|(piece, _)| piece).collect();
            Body::Json([b"[", pieces.join(&b",\r\n"[..]).as_slice(), b"]"].concat().into())
        }
    };
    Ok(Draft::good(body, usage))
}

/// Writes usage in this format's convention.
fn told(usage: openai::types::UsageReply) -> UsageReply {
    UsageReply {
        prompt_token_count: usage.prompt_tokens,
        candidates_token_count: usage.completion_tokens,
        total_token_count: usage.total_tokens,
        ..UsageReply::default()
    }
}

fn message<'a>(role: &'static str, content: Texts<'a>) -> MessageAsked<'a> {
    MessageAsked { role: role.into(), content }
}

fn form<'r>(config: &GenerationConfig<'r>, openapi: Option<&'r RawValue>) -> Form<'r> {
    match (config.response_json_schema.or(openapi), config.response_mime_type.as_deref()) {
        (Some(schema), _) => Form::Schema(schema),
        (None, Some("application/json")) => Form::Json,
        (None, _) => Form::Text,
    }
}

/// Writes the objects of a streamed reply, with the output tokens that each carries. Nothing marks the end but the reason
/// why the answer ended.
fn pieces(reply: &Reply<'_>) -> Vec<(bytes::Bytes, u64)> {
    let mut pieces = Vec::new();
    for (answer, index) in reply.answers.iter().zip(0..) {
        let (text, call) = if answer.tool.is_some() { ("", &*answer.text) } else { (&*answer.text, "") };
        pieces.extend(reply.thought.map(|thought| (reply.thought(index, thought), answer::tokens(thought.len()))));
        let texts = answer::split(text, EVENT);
        pieces.extend(texts.map(|text| (reply.piece(index, text), answer::tokens(text.len()))));
        pieces.push((reply.last(index, answer), answer::tokens(call.len())));
    }
    pieces
}

/// Returns what is said about a key that is not accepted, or about none.
pub(super) fn bad_key(given: bool) -> Denial {
    let (status, message, details) = match given {
        true => {
            let details = vec![server::error_info("API_KEY_INVALID")];
            (StatusCode::BAD_REQUEST, "API key not valid. Please pass a valid API key.", details)
        }
        false => {
            let message = "Method doesn't allow unregistered callers (callers without established identity). \
                           Please use API Key or other form of API consumer identity to call this API.";
            (StatusCode::FORBIDDEN, message, Vec::new())
        }
    };
    Denial { status, error: server::error(status, message, &details) }
}

/// Writes the refusal by a limit: which quota, and how long to wait. Google says seconds even where a day must pass.
pub(super) fn too_many(scenario: &Scenario, refusal: &Refusal) -> Draft {
    let status = StatusCode::TOO_MANY_REQUESTS;
    if refusal.hidden {
        let message = "Resource has been exhausted (e.g. check quota).";
        return Draft::json(status, server::error(status, message, &[]));
    }
    let (what, metric) = match refusal.of {
        Resource::Requests | Resource::Concurrency => ("GenerateRequests", "generate_content_requests"),
        _ => ("GenerateContentInputTokens", "generate_content_input_token_count"),
    };
    let period = if refusal.per_s >= 86_400.0 { "PerDay" } else { "PerMinute" };
    let metric = format!("generativelanguage.googleapis.com/{metric}");
    let quota = server::quota_failure(&format!("{what}{period}PerProjectPerModel"), &metric, refusal.limit);
    let mut message = format!(
        "You exceeded your current quota, please check your plan and billing details. \n\
         * Quota exceeded for metric: {metric}, limit: {:.0}",
        refusal.limit
    );
    let mut details = vec![quota];
    if let (Cause::Wait(seconds), true) = (refusal.cause, scenario.retry_after != RetryAfter::None) {
        message.push_str(&format!("\nPlease retry in {seconds}s."));
        details.push(server::retry_info(seconds));
    }
    Draft::json(status, server::error(status, &message, &details))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::transport::{HttpReply, HttpRequest, Transport};
    use crate::call::wire::Wire;
    use crate::call::wire::gemini::Gemini;
    use crate::failure::Kind;
    use crate::sim::SimTransport;
    use bytes::Bytes;
    use serde_json::{Value, json};
    use std::time::Duration;

    async fn post(yaml: &str, path: &str, key: Option<&str>, body: &Value) -> HttpReply {
        let mut request: HttpRequest = http::Request::post(path).body(Bytes::from(body.to_string())).unwrap();
        if let Some(key) = key {
            request.headers_mut().insert("x-goog-api-key", key.parse().unwrap());
        }
        SimTransport::new(Scenario::from_yaml(yaml).unwrap()).send(request).await.unwrap()
    }

    async fn ask(yaml: &str, method: &str, body: &Value) -> HttpReply {
        post(yaml, &format!("/v1beta/models/m:{method}"), Some("k"), body).await
    }

    fn json_of(reply: &HttpReply) -> Value {
        serde_json::from_slice(reply.body()).unwrap()
    }

    fn hello() -> Value {
        json!({"contents": [{"parts": [{"text": "hello, tide"}]}]})
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_says_what_the_whole_answer_says() {
        let whole = json_of(&ask("", "generateContent", &hello()).await);
        let text = whole["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap();
        assert!(text.ends_with("] hello, tide"), "{text}");
        assert_eq!(
            whole["usageMetadata"],
            json!({"promptTokenCount": 3, "candidatesTokenCount": 6, "totalTokenCount": 9})
        );
        let list = json_of(&ask("", "streamGenerateContent", &hello()).await);
        let events = ask("", "streamGenerateContent?alt=sse", &hello()).await;
        let events = std::str::from_utf8(events.body()).unwrap().split_terminator("\n\n");
        let events: Vec<Value> =
            events.map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()).collect();
        let texts = events.iter().filter_map(|event| event.pointer("/candidates/0/content/parts/0/text")?.as_str());
        assert_eq!(texts.collect::<String>(), text);
        assert_eq!(events.last().unwrap()["candidates"][0]["finishReason"], "STOP");
        assert_eq!(list, Value::Array(events));
    }

    #[tokio::test(start_paused = true)]
    async fn a_schema_is_satisfied_in_either_dialect() {
        let with = |config: Value| json!({"contents": [{"parts": [{"text": "x"}]}], "generationConfig": config});
        for config in [
            json!({"responseSchema": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}, "required": ["n"]}}),
            json!({"responseJsonSchema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}),
        ] {
            let reply = json_of(&ask("", "generateContent", &with(config)).await);
            let text = reply["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap();
            assert!(serde_json::from_str::<Value>(text).unwrap()["n"].is_i64(), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_means_the_same_to_the_client() {
        let cases = [
            ("keys: [other]", 400, Some(Kind::Auth)),
            ("models: [other]", 404, Some(Kind::NotFound)),
            ("limits: [{of: requests, limit: 0}]", 429, Some(Kind::Permission)),
            ("faults: {status_429: 1}", 429, None),
            ("faults: {status_500: 1}", 500, None),
            ("faults: {status_503: 1}", 503, Some(Kind::Overloaded)),
            ("faults: {status_529: 1}", 503, Some(Kind::Overloaded)),
            ("script: [{contains: hello, status: 504}]", 504, Some(Kind::Timeout)),
        ];
        for (yaml, status, kind) in cases {
            let (head, body) = ask(yaml, "generateContent", &hello()).await.into_parts();
            assert_eq!((head.status.as_u16(), Gemini.kind(&head, &body)), (status, kind), "{yaml}");
            assert!(Gemini.message(&body).is_some(), "{yaml}");
        }
        let nobody = post("keys: [k]", "/v1/models/m:generateContent", None, &hello()).await;
        assert_eq!(
            (nobody.status(), &json_of(&nobody)["error"]["status"]),
            (StatusCode::FORBIDDEN, &json!("PERMISSION_DENIED"))
        );
        for wrong in [json!({}), json!({"contents": [], "generationConfig": {}}), json!(3)] {
            assert_eq!(ask("", "generateContent", &wrong).await.status(), StatusCode::BAD_REQUEST, "{wrong}");
        }
    }

    #[test]
    fn a_quota_says_its_period_and_the_wait() {
        let refusal = |per_s| Refusal {
            of: Resource::Requests,
            per_s,
            limit: 10.0,
            used: 10.0,
            requested: 1.0,
            cause: Cause::Wait(2.5),
            hidden: false,
        };
        let read = |per_s| {
            let Body::Json(body) = too_many(&Scenario::default(), &refusal(per_s)).body else { unreachable!() };
            let head = http::Response::builder().status(429).body(()).unwrap().into_parts().0;
            (Gemini.kind(&head, &body), Gemini.retry_after(&body))
        };
        assert_eq!(read(60.0), (Some(Kind::RateLimited), Some(Duration::from_millis(2500))));
        assert_eq!(read(86_400.0), (Some(Kind::DayQuota), None));
    }

    #[test]
    fn models_and_methods_are_read_from_the_path() {
        let of = |path: &'static str| target_of(&Uri::from_static(path));
        let found = |model: &str, verb| Some((model.to_owned(), verb));
        assert_eq!(of("/v1beta/models/gemini-2.5-flash:generateContent"), found("gemini-2.5-flash", Verb::Generate));
        assert_eq!(of("/v1/models/a%2Fb:streamGenerateContent?alt=sse"), found("a/b", Verb::Stream));
        assert_eq!(of("http://h/models/e:batchEmbedContents"), found("e", Verb::EmbedBatch));
        assert_eq!((of("/v1beta/models/m:countTokens"), of("/v1beta/models/m"), of("/v1/models")), (None, None, None));
    }
}
