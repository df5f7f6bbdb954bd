//! What the simulated model says: text that proves which prompt it answers, values that satisfy a schema, vectors.
//!
//! Everything here is a pure function of the request and its fate. A token is four bytes, rounded up, everywhere.

use bytes::Bytes;
use http::StatusCode;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::dice::{mix, unit};
use super::fault::Fault;
use super::packed;
use super::scenario::{ReplyText, Scenario, Script};
use super::schema;
use super::voice::Voice;
use crate::call::wire::openai::server::{
    self, Answer, ChatRequest, DONE, EmbeddingRequest, ForcedTool, MessageAsked, Reply, ResponseFormat, Texts,
};
use crate::call::wire::openai::types::{OutputDetails, UsageReply};

/// How much of the last message an echo holds, in bytes.
const ECHO: usize = 200;
/// How much text one event of a stream holds, in bytes: five tokens.
pub(super) const EVENT: usize = 20;
/// What a reply that is too short is filled up with, as often as it takes; one byte a character.
const FILLER: &str = " and so on";
/// What the simulated model thinks, if it is to think.
pub(super) const THOUGHT: &str = "The answer is an echo.";
/// The most answers or numbers one request may ask for.
const MOST_CHOICES: u32 = 128;
const MOST_DIMENSIONS: u32 = 65_536;

/// What is to happen to a request, apart from limits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate<'a> {
    Good,
    Scripted(&'a Script),
    Fault(Fault),
}

/// A reply that has not met limits and latency yet.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) status: StatusCode,
    pub(super) body: Body,
    pub(super) usage: UsageReply,
    /// Seconds to wait, from a script.
    pub(super) retry_after: Option<f64>,
}

/// The body of a [`Draft`].
#[derive(Debug)]
pub(super) enum Body {
    Json(Bytes),
    /// Events with the output tokens that each carries.
    Events(Vec<(Bytes, u64)>),
}

impl Draft {
    pub(super) fn json(status: StatusCode, body: Bytes) -> Draft {
        Draft { status, body: Body::Json(body), usage: UsageReply::default(), retry_after: None }
    }

    pub(super) fn good(body: Body, usage: UsageReply) -> Draft {
        Draft { status: StatusCode::OK, body, usage, retry_after: None }
    }
}

/// What is asked of the simulated model, in whichever format it was asked.
#[derive(Debug)]
pub(super) struct Asked<'r, 'a> {
    pub(super) messages: &'r [MessageAsked<'a>],
    pub(super) max_tokens: Option<u64>,
    pub(super) form: Form<'r>,
}

/// The form that an answer must have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form<'r> {
    Text,
    /// Any JSON object.
    Json,
    /// What this JSON schema describes.
    Schema(&'r RawValue),
}

impl Asked<'_, '_> {
    /// Returns how many tokens all messages have together.
    pub(super) fn input_tokens(&self) -> u64 {
        tokens(self.messages.iter().map(|message| bytes(&message.content)).sum())
    }
}

/// Decides what happens to the `attempt`th sending (from 0) of a prompt: by script, or else by the chance in `draw`.
pub(super) fn fate(scenario: &Scenario, attempt: u32, draw: f64, says: impl Fn(&str) -> bool) -> Fate<'_> {
    let mut attempt = attempt;
    for script in scenario.script.iter().filter(|script| says(&script.contains)) {
        match script.times {
            // Used up; what comes next in the script counts its own sendings.
            Some(times) if attempt >= times => attempt -= times,
            _ => return script.fault.map_or(Fate::Scripted(script), Fate::Fault),
        }
    }
    scenario.faults.pick(draw).map_or(Fate::Good, Fate::Fault)
}

/// Returns the draft that a script or a fault decides without looking at the request any further.
pub(super) fn refused(fate: Fate<'_>, voice: Voice) -> Option<Draft> {
    let draft = |status: u16, message: &str, kind: &str, code: Option<&str>| {
        let status = StatusCode::from_u16(voice.status(status)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Draft::json(status, voice.error(status, message, kind, code))
    };
    match fate {
        Fate::Scripted(script) => {
            let status = script.status?;
            let mut made = draft(status, "a scripted answer", "scripted", None);
            if let Some(body) = &script.body {
                made.body = Body::Json(Bytes::copy_from_slice(body.as_bytes()));
            }
            made.retry_after = script.retry_after_s;
            Some(made)
        }
        Fate::Fault(Fault::Status429) => {
            Some(draft(429, "Rate limit reached. Please slow down.", "requests", Some("rate_limit_exceeded")))
        }
        Fate::Fault(Fault::Status500) => {
            Some(draft(500, "The server had an error while processing your request.", "server_error", None))
        }
        Fate::Fault(Fault::Status503) => Some(draft(503, "The upstream is not available.", "server_error", None)),
        Fate::Fault(Fault::Status529) => Some(draft(529, "Overloaded", "overloaded_error", None)),
        Fate::Fault(Fault::ContentFilter) if voice.azure => {
            Some(draft(400, "The response was filtered by the content management policy.", "", Some("content_filter")))
        }
        Fate::Fault(_) | Fate::Good => None,
    }
}

/// Writes the reply to a chat request.
///
/// # Errors
///
/// A message about what is wrong with the request.
pub(super) fn chat(
    scenario: &Scenario,
    request: &ChatRequest<'_>,
    fate: Fate<'_>,
    created: u64,
) -> Result<Draft, String> {
    let choices = request.choices();
    if request.messages.is_empty() {
        return Err("[] is too short - 'messages'".to_owned());
    }
    if choices == 0 || choices > MOST_CHOICES {
        return Err(format!("Invalid 'n': {choices} is not from 1 to {MOST_CHOICES}."));
    }
    let form = request.response_format.as_ref().map_or(Form::Text, form);
    let asked = Asked { messages: &request.messages, max_tokens: request.max_tokens(), form };
    let prompt = prompt_hash(asked.messages);
    let one = |hash| match call(request.forced_tool(), fate, hash)? {
        Some(call) => Ok(call),
        None => answer(scenario, &asked, fate, hash),
    };
    let answers: Vec<Answer> =
        (0..choices).map(|index| one(choice_hash(prompt, index))).collect::<Result<_, String>>()?;
    let thought = request.thinks().then_some(THOUGHT);
    let thoughts = thought.map_or(0, |thought| tokens(thought.len()) * u64::from(choices));
    let output = answers.iter().map(|answer| tokens(answer.text.len())).sum::<u64>() + thoughts;
    let id = format!("chatcmpl-{prompt:016x}");
    let mut usage = usage(asked.input_tokens(), output);
    usage.completion_tokens_details = thought.map(|_| OutputDetails { reasoning_tokens: Some(thoughts) });
    let reply = Reply { id: &id, model: &request.model, created, thought, answers: &answers, usage };
    let body = if request.streams() {
        Body::Events(events(&reply, request.streams_usage()))
    } else {
        Body::Json(reply.whole())
    };
    Ok(Draft::good(body, usage))
}

fn form<'r>(format: &ResponseFormat<'r>) -> Form<'r> {
    match (&*format.kind, format.json_schema.as_ref().and_then(|schema| schema.schema)) {
        ("text", _) => Form::Text,
        (_, Some(schema)) => Form::Schema(schema),
        (_, None) => Form::Json,
    }
}

/// Returns the hash that an echo shows the first half of: of all messages' texts in order.
pub(super) fn prompt_hash(messages: &[MessageAsked<'_>]) -> u64 {
    messages
        .iter()
        .flat_map(|message| message.content.iter())
        .fold(0, |hash, text| xxh3_64_with_seed(text.as_bytes(), hash))
}

/// The first answer shows the prompt's own hash; the others differ from it and from each other.
pub(super) fn choice_hash(prompt: u64, index: u32) -> u64 {
    if index == 0 { prompt } else { mix(prompt ^ u64::from(index)) }
}

fn bytes(texts: &Texts<'_>) -> usize {
    texts.iter().map(str::len).sum()
}

pub(super) fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

pub(super) fn usage(input: u64, output: u64) -> UsageReply {
    UsageReply {
        prompt_tokens: input,
        completion_tokens: output,
        total_tokens: input + output,
        ..UsageReply::default()
    }
}

/// Makes one answer; its end is told in OpenAI's words.
pub(super) fn answer(scenario: &Scenario, asked: &Asked<'_, '_>, fate: Fate<'_>, hash: u64) -> Result<Answer, String> {
    let text = match fate {
        Fate::Fault(Fault::EmptyContent) => return Ok(Answer::of(String::new(), "stop")),
        Fate::Fault(Fault::ContentFilter) => return Ok(Answer::of(String::new(), "content_filter")),
        Fate::Scripted(Script { reply: Some(text), .. }) => text.clone(),
        _ => match (packed::answer(scenario, asked, fate), asked.form) {
            (Some(answer), _) => answer?,
            (None, Form::Text) => plain(scenario, asked.messages, hash),
            (None, form) => structured(form, fate, hash, asked.messages)?,
        },
    };
    let text = match fate {
        Fate::Fault(Fault::DamagedJson) => damage(&text, hash),
        Fate::Fault(Fault::FencedJson) => format!("```json\n{text}\n```"),
        _ => text,
    };
    Ok(shorten(text, asked.max_tokens))
}

/// Makes the call of a tool that must be called, as an answer whose text is the arguments; nothing if none must, or
/// something else is to happen.
pub(super) fn call(tool: Option<ForcedTool<'_>>, fate: Fate<'_>, hash: u64) -> Result<Option<Answer>, String> {
    let Some(tool) = tool.filter(|_| calls_tools(fate)) else { return Ok(None) };
    let wrong = |error: String| format!("Invalid schema for function '{}': {error}", tool.name);
    let text = tool_input(tool.parameters.map_or("{}", |schema| schema.get()), fate, hash).map_err(wrong)?.to_string();
    Ok(Some(Answer { text, finish: "tool_calls", tool: Some(tool.name.to_owned()) }))
}

/// Returns whether a tool that must be called is called.
pub(super) fn calls_tools(fate: Fate<'_>) -> bool {
    matches!(fate, Fate::Good | Fate::Fault(Fault::SchemaViolation))
}

/// Makes what a tool is called with.
pub(super) fn tool_input(schema: &str, fate: Fate<'_>, hash: u64) -> Result<Value, String> {
    let schema: Value = serde_json::from_str(schema).map_err(|error| error.to_string())?;
    let input = schema::generate(&schema, hash)?;
    Ok(if let Fate::Fault(Fault::SchemaViolation) = fate { violate(input) } else { input })
}

/// Damages JSON as models do.
fn damage(json: &str, hash: u64) -> String {
    match (hash % 3, json.strip_prefix('{')) {
        (0, _) => json[..json.floor_char_boundary(json.len() / 2)].to_owned(),
        (1, Some(rest)) => format!("{{\"twice\":1,\"twice\":2,{rest}"),
        _ => format!("Here it is:\n{json}\nDo you need anything else?"),
    }
}

/// Cuts a text at the most output tokens.
fn shorten(mut text: String, max_tokens: Option<u64>) -> Answer {
    let most = max_tokens.map_or(usize::MAX, |tokens| usize::try_from(tokens).unwrap_or(usize::MAX).saturating_mul(4));
    if text.len() <= most {
        return Answer::of(text, "stop");
    }
    text.truncate(text.floor_char_boundary(most));
    Answer::of(text, "length")
}

fn plain(scenario: &Scenario, messages: &[MessageAsked<'_>], hash: u64) -> String {
    said(scenario, last_words(messages), hash)
}

/// Returns what is said to a text.
pub(super) fn said(scenario: &Scenario, asked: &str, hash: u64) -> String {
    let mut text = match &scenario.reply {
        ReplyText::Text(text) => text.clone(),
        ReplyText::Echo => format!("[{:08x}] {}", hash >> 32, &asked[..asked.floor_char_boundary(ECHO)]),
    };
    let missing = (scenario.output_tokens as usize * 4).saturating_sub(text.len());
    text.extend(FILLER.chars().cycle().take(missing));
    text
}

/// Returns the beginning of the last user message, or of the last message where no user speaks.
fn last_words<'a>(messages: &'a [MessageAsked<'_>]) -> &'a str {
    let text = last_text(messages);
    &text[..text.floor_char_boundary(ECHO)]
}

pub(super) fn last_text<'a>(messages: &'a [MessageAsked<'_>]) -> &'a str {
    let of_user = messages.iter().rev().find(|message| message.role == "user");
    of_user.or(messages.last()).and_then(|message| message.content.iter().next()).unwrap_or_default()
}

/// Makes a value of the form that was asked for, or one that violates it, as JSON text.
fn structured(form: Form<'_>, fate: Fate<'_>, hash: u64, messages: &[MessageAsked<'_>]) -> Result<String, String> {
    let mut value = match form {
        Form::Schema(schema) => {
            let schema: Value = serde_json::from_str(schema.get()).map_err(|error| error.to_string())?;
            schema::generate(&schema, hash).map_err(|error| format!("Invalid schema for response_format: {error}"))?
        }
        Form::Json | Form::Text => json!({"echo": last_words(messages), "hash": format!("{:08x}", hash >> 32)}),
    };
    if let Fate::Fault(Fault::SchemaViolation) = fate {
        value = violate(value);
    }
    Ok(value.to_string())
}

/// Breaks a value as models do: a field is missing, or it is another type.
pub(super) fn violate(value: Value) -> Value {
    match value {
        Value::Object(mut fields) if !fields.is_empty() => {
            let first = fields.keys().next().cloned().unwrap_or_default();
            fields.shift_remove(&first);
            Value::Object(fields)
        }
        Value::Object(_) => Value::Array(Vec::new()),
        _ => json!({"unexpected": true}),
    }
}

/// Splits a text into pieces of at most that many bytes, four or more.
pub(super) fn split(text: &str, most: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        // A character is at most four bytes, so a piece is never empty.
        let (piece, after) = rest.split_at(rest.floor_char_boundary(most));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Writes the events of a streamed reply.
fn events(reply: &Reply<'_>, with_usage: bool) -> Vec<(Bytes, u64)> {
    let mut events = Vec::new();
    for (answer, index) in reply.answers.iter().zip(0..) {
        events.push((reply.first_event(index, answer), 0));
        let pieces = split(&answer.text, EVENT);
        events.extend(pieces.map(|piece| (reply.piece_event(index, answer, piece), tokens(piece.len()))));
        events.push((reply.finish_event(index, answer.finish), 0));
    }
    if with_usage {
        events.push((reply.usage_event(), 0));
    }
    events.push((DONE, 0));
    events
}

/// Writes the reply to an embeddings request.
///
/// # Errors
///
/// A message about what is wrong with the request.
pub(super) fn embed(scenario: &Scenario, request: &EmbeddingRequest<'_>, fate: Fate<'_>) -> Result<Draft, String> {
    let vectors = vectors(scenario, request.input.iter(), request.dimensions, fate)?;
    let usage = usage(tokens(bytes(&request.input)), 0);
    let body = server::embeddings(&request.model, &vectors, request.encoding(), usage);
    Ok(Draft::good(Body::Json(body), usage))
}

/// Makes a vector for each text.
///
/// # Errors
///
/// A message about what is wrong with their length.
pub(super) fn vectors<'a>(
    scenario: &Scenario,
    texts: impl Iterator<Item = &'a str>,
    dimensions: Option<u32>,
    fate: Fate<'_>,
) -> Result<Vec<Vec<f32>>, String> {
    let dimensions = dimensions.unwrap_or(scenario.dimensions);
    if dimensions == 0 || dimensions > MOST_DIMENSIONS {
        return Err(format!("Invalid 'dimensions': {dimensions} is not from 1 to {MOST_DIMENSIONS}."));
    }
    match fate {
        Fate::Fault(Fault::EmptyContent) => Ok(Vec::new()),
        _ => Ok(texts.map(|text| vector(text, dimensions)).collect()),
    }
}

/// Makes a vector of length 1 that follows from the text.
fn vector(text: &str, dimensions: u32) -> Vec<f32> {
    let hash = xxh3_64_with_seed(text.as_bytes(), 0);
    let raw: Vec<f64> = (0..dimensions).map(|place| unit(mix(hash ^ u64::from(place))) * 2.0 - 1.0).collect();
    let length = raw.iter().map(|number| number * number).sum::<f64>().sqrt();
    raw.into_iter().map(|number| (number / length.max(f64::MIN_POSITIVE)) as f32).collect()
}
