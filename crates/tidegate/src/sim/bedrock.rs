//! The simulated model behind Bedrock's Converse: the same answers, with AWS's signatures, profiles and exceptions.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::answer::{self, Asked, Body, Draft, EVENT, Fate, Form, THOUGHT};
use super::dice::{Dice, Draw};
use super::fault::Fault;
use super::prefixes::CacheUse;
use super::scenario::Scenario;
use super::serve::{Call, Denial, Prepared, read, wrong};
use super::{Simulator, route, schema};
use crate::call::sigv4::{self, Signed};
use crate::call::sse;
use crate::call::transport::HttpRequest;
use crate::call::wire::WireId;
use crate::call::wire::anthropic::server::MessagesRequest;
use crate::call::wire::bedrock::embed::{self, Vendor};
use crate::call::wire::bedrock::invoke;
use crate::call::wire::bedrock::server::{self, ConverseRequest, Reply, Said, ToolSpec};
use crate::call::wire::bedrock::types::UsageReply;
use crate::call::wire::openai::types::UsageReply as Told;
use crate::json;

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Converse,
    Stream,
    Invoke,
    InvokeStream,
}

/// Returns the format of a path that asks a model something, such as `model/amazon.nova-lite-v1%3A0/converse`.
pub(super) fn wire(path: &str) -> Option<WireId> {
    Some(match target(path)?.1 {
        Verb::Converse | Verb::Stream => WireId::Bedrock,
        Verb::Invoke | Verb::InvokeStream => WireId::BedrockInvoke,
    })
}

/// Returns whether a format is one of Bedrock's.
pub(super) fn is_wire(wire: WireId) -> bool {
    matches!(wire, WireId::Bedrock | WireId::BedrockInvoke)
}

fn target(path: &str) -> Option<(&str, Verb)> {
    let (model, verb) = path.strip_prefix("model/")?.split_once('/')?;
    let verb = match verb {
        "converse" => Verb::Converse,
        "converse-stream" => Verb::Stream,
        "invoke" => Verb::Invoke,
        "invoke-with-response-stream" => Verb::InvokeStream,
        _ => return None,
    };
    Some((model, verb))
}

/// Returns the model, and whether the reply is to be streamed.
fn target_of(uri: &Uri) -> Option<(String, bool)> {
    let (model, verb) = target(route::without_version(uri.path()))?;
    Some((String::from_utf8(route::unescape(model)).ok()?, matches!(verb, Verb::Stream | Verb::InvokeStream)))
}

/// Returns who signed a request and for which region: AWS's limits are those of an account in a region.
pub(super) fn signer(request: &HttpRequest) -> Option<Vec<u8>> {
    let signed = Signed::read(request.headers())?;
    Some(format!("{} {}", signed.access_key_id, signed.claim.scope.region).into_bytes())
}

/// Returns the region that a request is signed for.
pub(super) fn region(request: &HttpRequest) -> Option<&str> {
    Some(Signed::read(request.headers())?.claim.scope.region)
}

/// Checks a request's proof of who asks: a key as it is, or a signature made with a key of the form `ID:SECRET` or
/// `ID:SECRET:TOKEN`. Without keys everybody may ask.
pub(super) fn check_signature(request: &HttpRequest, keys: &[String]) -> Result<(), Denial> {
    if keys.is_empty() {
        return Ok(());
    }
    match Signed::read(request.headers()) {
        Some(signed) => check_signed(request, &signed, keys),
        None => check_bearer(request, keys),
    }
}

fn check_signed(request: &HttpRequest, signed: &Signed<'_>, keys: &[String]) -> Result<(), Denial> {
    let unknown = || denied("UnrecognizedClientException", "The security token included in the request is invalid.");
    let known = keys.iter().find_map(|key| key.strip_prefix(signed.access_key_id)?.strip_prefix(':'));
    let known = known.ok_or_else(unknown)?;
    let (secret, token) = known.split_once(':').map_or((known, None), |(secret, token)| (secret, Some(token)));
    if token != Signed::token(request.headers()) {
        return Err(unknown());
    }
    let own = sigv4::signature(request, &signed.claim, secret) == signed.signature;
    match own && signed.claim.scope.service == "bedrock" {
        true => Ok(()),
        false => Err(denied(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
             Key and signing method. Consult the service documentation for details.",
        )),
    }
}

fn check_bearer(request: &HttpRequest, keys: &[String]) -> Result<(), Denial> {
    let given = request.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given.and_then(|given| given.strip_prefix("Bearer ")) {
        Some(given) if keys.iter().any(|key| key == given) => Ok(()),
        Some(_) => {
            Err(denied("AccessDeniedException", "Authentication failed: Please make sure your API Key is valid."))
        }
        None => Err(denied("MissingAuthenticationTokenException", "Missing Authentication Token")),
    }
}

fn denied(name: &str, message: &str) -> Denial {
    let status = StatusCode::FORBIDDEN;
    Denial { status, error: server::error(status, Some(name), message) }
}

/// Puts the name of an error's exception where AWS puts it, into a header, and says how a stream is framed.
pub(super) fn finish_headers(draft: &Draft, headers: &mut HeaderMap) {
    match &draft.body {
        Body::Events(_) => {
            let framing = HeaderValue::from_static("application/vnd.amazon.eventstream");
            headers.insert(http::header::CONTENT_TYPE, framing);
        }
        Body::Json(body) => {
            if draft.status == StatusCode::OK {
                headers.insert(embed::INPUT_TOKENS, draft.usage.prompt_tokens.into());
            }
            let name = (draft.status != StatusCode::OK).then(|| server::exception_in(body)).flatten();
            if let Some(Ok(name)) = name.map(HeaderValue::try_from) {
                headers.insert(HeaderName::from_static("x-amzn-errortype"), name);
            }
        }
    }
}

impl Simulator {
    /// Checks and answers a request for Converse.
    pub(super) fn prepare_converse(&self, call: &Call<'_>, dice: Dice) -> Result<Prepared<'_>, Denial> {
        let (model, streams) = target_of(call.request.uri()).unwrap_or_default();
        self.check_bedrock_model(call, &model)?;
        let mut asked: ConverseRequest<'_> = read(call)?;
        check(&asked).map_err(wrong(call))?;
        asked.fold_system();
        let scenario = self.scenario();
        let fate = answer::fate(scenario, call.attempt, dice.roll(Draw::Fault), |text| {
            asked.messages.iter().any(|message| message.content.contain(text))
        });
        let draft = match answer::refused(fate, call.voice) {
            Some(draft) => draft,
            None => reply(scenario, &asked, fate, streams, call.cached).map_err(wrong(call))?,
        };
        Ok(Prepared { draft, fate, max_output_tokens: max_tokens(&asked) })
    }

    /// Checks and answers a request for InvokeModel, whose model speaks as Anthropic's do.
    pub(super) fn prepare_invoke(&self, call: &Call<'_>, dice: Dice) -> Result<Prepared<'_>, Denial> {
        let (model, streams) = target_of(call.request.uri()).unwrap_or_default();
        self.check_bedrock_model(call, &model)?;
        if let Some(vendor) = Vendor::of(&model) {
            return self.prepare_embedding_of(call, vendor, dice);
        }
        let mut asked: MessagesRequest<'_> = read(call)?;
        if asked.anthropic_version.is_none() {
            return Err(wrong(call)(
                "Malformed input request: #: required key [anthropic_version] not found".to_owned(),
            ));
        }
        asked.model = model.into();
        asked.set_streams(streams);
        let mut prepared = self.answer_messages(call, asked, dice)?;
        if let Body::Events(events) = &mut prepared.draft.body {
            *events = chunks(events, &prepared.draft.usage);
        }
        Ok(prepared)
    }

    /// Checks and answers a request for embeddings.
    fn prepare_embedding_of(&self, call: &Call<'_>, vendor: Vendor, dice: Dice) -> Result<Prepared<'_>, Denial> {
        let scenario = self.scenario();
        let asked: embed::Asked<'_> = read(call)?;
        let texts: Vec<&str> = asked.input_text.iter().chain(&asked.texts).map(AsRef::as_ref).collect();
        check_vectors(vendor, &asked, &texts).map_err(wrong(call))?;
        let fate = answer::fate(scenario, call.attempt, dice.roll(Draw::Fault), |said| {
            texts.iter().any(|text| text.contains(said))
        });
        let draft = match answer::refused(fate, call.voice) {
            Some(draft) => draft,
            None => {
                let vectors =
                    answer::vectors(scenario, texts.iter().copied(), asked.dimensions, fate).map_err(wrong(call))?;
                let usage = answer::usage(answer::tokens(texts.iter().map(|text| text.len()).sum()), 0);
                Draft::good(Body::Json(vectors_body(vendor, vectors, &texts, usage.prompt_tokens)), usage)
            }
        };
        Ok(Prepared { draft, fate, max_output_tokens: None })
    }

    /// A model of which only profiles are listed is not served on demand.
    fn check_bedrock_model(&self, call: &Call<'_>, model: &str) -> Result<(), Denial> {
        let models = &self.scenario().models;
        if models.is_empty() || models.iter().any(|known| known == model) {
            return Ok(());
        }
        let profiled = models.iter().any(|known| known.split_once('.').is_some_and(|(_, id)| id == model));
        Err(wrong(call)(match profiled {
            true => format!(
                "Invocation of model ID {model} with on-demand throughput isn’t supported. Retry your request with the ID \
                 or ARN of an inference profile that contains this model."
            ),
            false => "The provided model identifier is invalid.".to_owned(),
        }))
    }
}

fn max_tokens(asked: &ConverseRequest<'_>) -> Option<u64> {
    asked.inference_config.max_tokens.and_then(|tokens| u64::try_from(tokens).ok())
}

/// Refuses what the vendors refuse.
fn check_vectors(vendor: Vendor, asked: &embed::Asked<'_>, texts: &[&str]) -> Result<(), String> {
    match (vendor, texts.len(), asked.dimensions) {
        (Vendor::Titan, _, _) if asked.input_text.is_none() => {
            Err("Malformed input request: #: required key [inputText] not found".to_owned())
        }
        (Vendor::Titan, _, Some(dimensions)) if ![256, 512, 1024].contains(&dimensions) => {
            Err(format!("Malformed input request: {dimensions} is not a valid enum value"))
        }
        (Vendor::Cohere, 1..=96, _) if asked.input_type.is_none() => {
            Err("Malformed input request: #: required key [input_type] not found".to_owned())
        }
        (Vendor::Titan, ..) | (Vendor::Cohere, 1..=96, _) => Ok(()),
        (Vendor::Cohere, count, _) => Err(format!("Malformed input request: {count} texts are not from 1 to 96")),
    }
}

fn vectors_body(vendor: Vendor, vectors: Vec<Vec<f32>>, texts: &[&str], tokens: u64) -> bytes::Bytes {
    let body = match vendor {
        Vendor::Titan => {
            let embedding = vectors.into_iter().next().unwrap_or_default();
            json!(embed::TitanReply { embedding, input_text_token_count: Some(tokens) })
        }
        Vendor::Cohere => json!({"embeddings": vectors, "texts": texts, "response_type": "embeddings_floats"}),
    };
    body.to_string().into()
}

/// Puts Anthropic's events into messages of AWS's stream; behind the last one stands what was used.
fn chunks(events: &[(bytes::Bytes, u64)], used: &Told) -> Vec<(bytes::Bytes, u64)> {
    let mut reader = sse::Reader::default();
    let framed = |(bytes, tokens): &(bytes::Bytes, u64)| {
        let mut read = Vec::new();
        // They were written by ourselves: every one of them is whole.
        let _ = reader.push(bytes, &mut read);
        let framed: Vec<u8> = read.iter().flat_map(|event| invoke::chunk(&with_metrics(&event.data, used))).collect();
        (framed.into(), *tokens)
    };
    events.iter().map(framed).collect()
}

fn with_metrics(event: &[u8], used: &Told) -> Vec<u8> {
    let mut event: Value = json::from_slice(event).unwrap_or_default();
    if event["type"] == "message_stop" {
        event["amazon-bedrock-invocationMetrics"] = json!({"inputTokenCount": used.prompt_tokens,
            "outputTokenCount": used.completion_tokens, "invocationLatency": 1, "firstByteLatency": 1});
    }
    event.to_string().into_bytes()
}

/// Refuses what Converse refuses before any model sees it.
fn check(asked: &ConverseRequest<'_>) -> Result<(), String> {
    let config = &asked.inference_config;
    if asked.messages.is_empty() {
        return Err("The messages field is required and must not be empty.".to_owned());
    }
    if config.max_tokens.is_some_and(|tokens| tokens < 1) {
        return Err(
            "Value at 'inferenceConfig.maxTokens' failed to satisfy constraint: Member must have value greater \
                    than or equal to 1"
                .to_owned(),
        );
    }
    for (name, value) in [("temperature", config.temperature), ("topP", config.top_p)] {
        if value.is_some_and(|value| !(0.0..=1.0).contains(&value)) {
            return Err(format!(
                "Value at 'inferenceConfig.{name}' failed to satisfy constraint: Member must have value less than or \
                 equal to 1"
            ));
        }
    }
    if asked.messages[0].role != "user" {
        return Err("A conversation must start with a user message. Try again with a conversation that starts with a \
                    user message."
            .to_owned());
    }
    match asked.messages.windows(2).any(|pair| pair[0].role == pair[1].role) {
        true => Err("roles must alternate between \"user\" and \"assistant\"".to_owned()),
        false => Ok(()),
    }
}

fn reply(
    scenario: &Scenario,
    asked: &ConverseRequest<'_>,
    fate: Fate<'_>,
    streams: bool,
    cached: CacheUse,
) -> Result<Draft, String> {
    let schema: Option<Box<RawValue>> =
        asked.schema().map(|text| serde_json::from_str(text).map_err(|error| error.to_string())).transpose()?;
    let form = schema.as_deref().map_or(Form::Text, Form::Schema);
    let question = Asked { messages: &asked.messages, max_tokens: max_tokens(asked), form };
    let prompt = answer::prompt_hash(question.messages);
    let input_tokens = question.input_tokens();
    let thought = asked.thinks().then_some(THOUGHT);
    let draft = |said: Option<Said<'_>>, stop_reason, length| {
        let output_tokens = answer::tokens(length) + answer::tokens(thought.map_or(0, str::len));
        let usage = answer::usage(input_tokens, output_tokens);
        let told = UsageReply {
            input_tokens: usage.prompt_tokens.saturating_sub(cached.read + cached.written),
            output_tokens: usage.completion_tokens,
            total_tokens: usage.total_tokens,
            cache_read_input_tokens: (cached.read > 0).then_some(cached.read),
            cache_write_input_tokens: (cached.written > 0).then_some(cached.written),
            ..UsageReply::default()
        };
        let reply = Reply { thought, said, stop_reason, usage: told };
        let body = if streams { Body::Events(events(&reply)) } else { Body::Json(reply.whole()) };
        Draft::good(body, usage)
    };
    match asked.forced_tool().filter(|_| matches!(fate, Fate::Good | Fate::Fault(Fault::SchemaViolation))) {
        Some(tool) => {
            let input = tool_input(tool, fate, prompt)?;
            let said = Said::ToolUse { id: &format!("tooluse_{prompt:016x}"), name: &tool.name, input: &input };
            Ok(draft(Some(said), "tool_use", input.get().len()))
        }
        None => {
            let answer = answer::answer(scenario, &question, fate, prompt)?;
            let said = Some(Said::Text(&answer.text)).filter(|_| !answer.text.is_empty());
            Ok(draft(said, stop_reason(answer.finish), answer.text.len()))
        }
    }
}

/// Writes the events of a streamed reply, with the output tokens that each carries.
fn events(reply: &Reply<'_>) -> Vec<(bytes::Bytes, u64)> {
    let text = match reply.said {
        Some(Said::Text(text)) => text,
        Some(Said::ToolUse { input, .. }) => input.get(),
        None => "",
    };
    let mut events = vec![(reply.first_events(), 0)];
    events.extend(answer::split(text, EVENT).map(|piece| (reply.delta_event(piece), answer::tokens(piece.len()))));
    events.push((reply.last_events(), 0));
    events
}

/// Makes what a tool is called with.
fn tool_input(tool: &ToolSpec<'_>, fate: Fate<'_>, hash: u64) -> Result<Box<RawValue>, String> {
    let wrong = |error: String| format!("The value at toolConfig.tools.{}.inputSchema is invalid: {error}", tool.name);
    let schema: Value = serde_json::from_str(tool.input_schema.json.get()).map_err(|error| wrong(error.to_string()))?;
    let mut input = schema::generate(&schema, hash).map_err(wrong)?;
    if let Fate::Fault(Fault::SchemaViolation) = fate {
        input = answer::violate(input);
    }
    to_raw_value(&input).map_err(|error| error.to_string())
}

/// Returns this format's word for why an answer ended.
fn stop_reason(finish: &str) -> &'static str {
    match finish {
        "length" => "max_tokens",
        "content_filter" => "content_filtered",
        _ => "end_turn",
    }
}
