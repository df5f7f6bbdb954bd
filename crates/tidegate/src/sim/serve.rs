//! One call's way through the simulator: counted, checked, answered, admitted, and planned.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::answer::{self, Draft, Fate};
use super::dice::{Dice, Draw, mix};
use super::fault::Fault;
use super::ledger::Receipt;
use super::limit::{Cause, Cost, Gate, Refusal};
use super::prefixes::{CacheUse, Marked};
use super::route::Azure;
use super::scenario::Resource;
use super::voice::Voice;
use super::{ID_HEADER, Plan, Simulator, Visit, bedrock, delivery, gemini, headers, messages, responses};
use crate::call::transport::HttpRequest;
use crate::call::wire::WireId;
use crate::call::wire::anthropic::server::MessagesRequest;
use crate::call::wire::openai::server::{ChatRequest, EmbeddingRequest};
use crate::call::wire::responses::server::ResponseRequest;
use crate::json;
use crate::request::TaskKind;

/// What is known of a call on arrival.
pub(super) struct Call<'a> {
    pub(super) request: &'a HttpRequest,
    pub(super) voice: Voice,
    /// The model, where Azure's path names it.
    deployment: Option<&'a str>,
    id: u64,
    body: u64,
    /// Whose limits apply.
    scope: u64,
    /// Seconds since the first arrival.
    pub(super) at: f64,
    wall: SystemTime,
    pub(super) attempt: u32,
    /// The prefixes that it marks, and what of them is read and written.
    marked: Marked,
    pub(super) cached: CacheUse,
}

/// Why a request is wrong, whatever the limits say.
pub(super) struct Denial {
    pub(super) status: StatusCode,
    pub(super) error: Bytes,
}

/// A call that is ready to be admitted.
pub(super) struct Prepared<'a> {
    pub(super) draft: Draft,
    pub(super) fate: Fate<'a>,
    pub(super) max_output_tokens: Option<u64>,
}

impl Simulator {
    /// Decides what happens to a call for a completion or an embedding.
    pub(super) fn serve(&self, now: Instant, request: &HttpRequest, wire: WireId, kind: TaskKind) -> Plan {
        let call = self.note(now, request, wire);
        let dice = Dice::new(self.scenario().seed, call.body, call.attempt);
        match self.prepare(&call, kind, dice) {
            Ok(prepared) => self.admit(&call, prepared, dice),
            Err(Denial { status, error }) => self.turn_away(&call, Draft::json(status, error), HeaderMap::new()),
        }
    }

    /// Counts an arrival.
    fn note<'a>(&self, now: Instant, request: &'a HttpRequest, wire: WireId) -> Call<'a> {
        let body = xxh3_64(request.body());
        let id = request.headers().get(ID_HEADER).map_or(body, |id| xxh3_64(id.as_bytes()));
        let scope = match self.scenario().per_key {
            true => bedrock::signer(request)
                .or_else(|| key(request).map(|key| key.as_bytes().to_vec()))
                .map_or(0, |key| xxh3_64(&key)),
            false => 0,
        };
        let mut state = self.state();
        let (start, wall) = *state.start.get_or_insert_with(|| (now, SystemTime::now()));
        let since = now.saturating_duration_since(start);
        let attempt = state.ledger.arrive(id, since.as_secs(), self.scenario().remember_ids);
        if let Some(region) = bedrock::region(request) {
            state.ledger.arrive_in(region);
        }
        let marked = Marked::of(wire, request.body(), scope);
        let cached = state.prefixes.look(&marked, since.as_secs_f64());
        let azure = Azure::of(request.uri());
        let voice = Voice { wire, number: mix(id ^ u64::from(attempt)), azure: azure.is_some() };
        let deployment = azure.and_then(|azure| azure.deployment);
        let (at, wall) = (since.as_secs_f64(), wall + since);
        Call { request, voice, deployment, id, body, scope, at, wall, attempt, marked, cached }
    }

    /// Checks and answers a request.
    fn prepare(&self, call: &Call<'_>, kind: TaskKind, dice: Dice) -> Result<Prepared<'_>, Denial> {
        self.check_key(call)?;
        match (call.voice.wire, kind) {
            (WireId::Anthropic, _) => self.prepare_messages(call, dice),
            (WireId::Gemini, _) => self.prepare_gemini(call, dice),
            (WireId::Bedrock, _) => self.prepare_converse(call, dice),
            (WireId::BedrockInvoke, _) => self.prepare_invoke(call, dice),
            (WireId::Openai, TaskKind::Chat) => self.prepare_chat(call, dice),
            (WireId::Responses, _) => self.prepare_response(call, dice),
            (WireId::Openai, TaskKind::Embed) => self.prepare_embedding(call, dice),
        }
    }

    fn prepare_chat(&self, call: &Call<'_>, dice: Dice) -> Result<Prepared<'_>, Denial> {
        let scenario = self.scenario();
        let asked: ChatRequest<'_> = read(call)?;
        self.check_model(call, &asked.model)?;
        let fate = answer::fate(scenario, call.attempt, dice.roll(Draw::Fault), |text| {
            asked.messages.iter().any(|message| message.content.contain(text))
        });
        let draft = match answer::refused(fate, call.voice) {
            Some(draft) => draft,
            None => answer::chat(scenario, &asked, fate, unix_seconds(call.wall)).map_err(wrong(call))?,
        };
        Ok(Prepared { draft, fate, max_output_tokens: asked.max_tokens() })
    }

    fn prepare_response(&self, call: &Call<'_>, dice: Dice) -> Result<Prepared<'_>, Denial> {
        let scenario = self.scenario();
        let mut asked: ResponseRequest<'_> = read(call)?;
        self.check_model(call, &asked.model)?;
        asked.fold_instructions();
        let fate = answer::fate(scenario, call.attempt, dice.roll(Draw::Fault), |text| {
            asked.input.iter().any(|message| message.content.contain(text))
        });
        let draft = match answer::refused(fate, call.voice) {
            Some(draft) => draft,
            None => responses::reply(scenario, &asked, fate, unix_seconds(call.wall)).map_err(wrong(call))?,
        };
        Ok(Prepared { draft, fate, max_output_tokens: asked.max_output_tokens })
    }

    fn prepare_messages(&self, call: &Call<'_>, dice: Dice) -> Result<Prepared<'_>, Denial> {
        if !call.request.headers().contains_key("anthropic-version") {
            return Err(wrong(call)("anthropic-version: header is required".to_owned()));
        }
        let asked: MessagesRequest<'_> = read(call)?;
        if asked.model.is_empty() {
            return Err(wrong(call)("model: Field required".to_owned()));
        }
        self.check_model(call, &asked.model)?;
        self.answer_messages(call, asked, dice)
    }

    /// Answers a request for Messages that may be asked.
    pub(super) fn answer_messages(
        &self,
        call: &Call<'_>,
        mut asked: MessagesRequest<'_>,
        dice: Dice,
    ) -> Result<Prepared<'_>, Denial> {
        let scenario = self.scenario();
        asked.fold_system();
        let fate = answer::fate(scenario, call.attempt, dice.roll(Draw::Fault), |text| {
            asked.messages.iter().any(|message| message.content.contain(text))
        });
        let draft = match answer::refused(fate, call.voice) {
            Some(draft) => draft,
            None => messages::reply(scenario, &asked, fate, call.cached).map_err(wrong(call))?,
        };
        Ok(Prepared { draft, fate, max_output_tokens: asked.max_tokens })
    }

    fn prepare_embedding(&self, call: &Call<'_>, dice: Dice) -> Result<Prepared<'_>, Denial> {
        let scenario = self.scenario();
        let asked: EmbeddingRequest<'_> = read(call)?;
        self.check_model(call, &asked.model)?;
        let fate = answer::fate(scenario, call.attempt, dice.roll(Draw::Fault), |text| asked.input.contain(text));
        let draft = match answer::refused(fate, call.voice) {
            Some(draft) => draft,
            None => answer::embed(scenario, &asked, fate).map_err(wrong(call))?,
        };
        Ok(Prepared { draft, fate, max_output_tokens: None })
    }

    /// Checks the key of a request that is no call.
    pub(super) fn check_gemini_key(&self, request: &HttpRequest) -> Result<(), Denial> {
        let keys = &self.scenario().keys;
        let given = key(request).and_then(|key| key.to_str().ok());
        let given = given.map(|given| given.strip_prefix("Bearer ").unwrap_or(given));
        match keys.is_empty() || given.is_some_and(|given| keys.iter().any(|key| key == given)) {
            true => Ok(()),
            false => Err(gemini::bad_key(given.is_some())),
        }
    }

    fn check_key(&self, call: &Call<'_>) -> Result<(), Denial> {
        let keys = &self.scenario().keys;
        if bedrock::is_wire(call.voice.wire) {
            return bedrock::check_signature(call.request, keys);
        }
        let given = key(call.request).and_then(|key| key.to_str().ok());
        let given = given.map(|given| given.strip_prefix("Bearer ").unwrap_or(given));
        if keys.is_empty() || given.is_some_and(|given| keys.iter().any(|key| key == given)) {
            return Ok(());
        }
        if call.voice.wire == WireId::Gemini {
            return Err(gemini::bad_key(given.is_some()));
        }
        let (status, message) = (StatusCode::UNAUTHORIZED, "Incorrect API key provided.");
        let error = call.voice.error(status, message, "invalid_request_error", Some("invalid_api_key"));
        Err(Denial { status, error })
    }

    pub(super) fn check_model(&self, call: &Call<'_>, model: &str) -> Result<(), Denial> {
        let models = &self.scenario().models;
        let model = call.deployment.unwrap_or(model);
        if models.is_empty() || models.iter().any(|known| known == model) {
            return Ok(());
        }
        let message = format!("The model `{model}` does not exist or you do not have access to it.");
        let status = StatusCode::NOT_FOUND;
        let error = call.voice.error(status, &message, "invalid_request_error", Some("model_not_found"));
        Err(Denial { status, error })
    }

    /// Takes a call through the limits.
    fn admit(&self, call: &Call<'_>, prepared: Prepared<'_>, dice: Dice) -> Plan {
        let scenario = self.scenario();
        let usage = prepared.draft.usage;
        let mut state = self.state();
        let mut standings = Vec::new();
        let mut refusal = None;
        if !scenario.limits.is_empty() {
            let gate = state.gates.entry(call.scope).or_insert_with(|| Gate::new(&scenario.limits));
            let cost = Cost {
                input_tokens: usage.prompt_tokens as f64,
                output_tokens: usage.completion_tokens as f64,
                max_output_tokens: prepared.max_output_tokens.map(|tokens| tokens as f64),
            };
            refusal = gate.admit(&scenario.limits, call.at, &cost, scenario.rejected_calls_count).err();
            standings = gate.standings(&scenario.limits, call.at);
        }
        if refusal.is_none() {
            state.ledger.enter();
            if let Fate::Fault(fault) = prepared.fate {
                state.ledger.fault(fault);
            }
        }
        let in_flight = state.ledger.in_flight();
        drop(state);

        let mut headers = HeaderMap::new();
        headers::tell(&mut headers, call.voice.style(scenario.headers), &standings, call.wall);
        match refusal {
            Some(refusal) => self.turn_away(call, self.too_many(call, &refusal, &mut headers), headers),
            None => self.go_on(call, prepared, in_flight, dice, headers),
        }
    }

    /// Plans the reply to a call that passed the limits.
    fn go_on(&self, call: &Call<'_>, prepared: Prepared<'_>, in_flight: u64, dice: Dice, headers: HeaderMap) -> Plan {
        let scenario = self.scenario();
        let Prepared { draft, fate, .. } = prepared;
        let broken = matches!(fate, Fate::Fault(fault) if fault != Fault::SlowBody);
        let receipt = Receipt {
            id: call.id,
            status: match fate {
                Fate::Fault(Fault::Reset | Fault::Hang) => 0,
                _ => draft.status.as_u16(),
            },
            input_tokens: draft.usage.prompt_tokens,
            output_tokens: draft.usage.completion_tokens,
            good: draft.status == StatusCode::OK && !broken,
            finished: false,
        };
        let delay = delivery::delay(scenario, &draft, in_flight, dice);
        if receipt.good {
            self.state().prefixes.keep(&call.marked, call.at + delay.as_secs_f64());
        }
        let headers = self.finish_headers(call, &draft, headers);
        let act = delivery::act(scenario, draft, fate, headers);
        Plan { delay, act, visit: Visit { simulator: Some(self.clone()), receipt, admitted: Some(call.scope) } }
    }

    /// Plans the reply to a call that is refused.
    fn turn_away(&self, call: &Call<'_>, draft: Draft, headers: HeaderMap) -> Plan {
        let scenario = self.scenario();
        let receipt = Receipt { id: call.id, status: draft.status.as_u16(), ..Receipt::default() };
        let headers = self.finish_headers(call, &draft, headers);
        Plan {
            delay: delivery::ms(scenario.reject_ms),
            act: delivery::act(scenario, draft, Fate::Good, headers),
            visit: Visit { simulator: Some(self.clone()), receipt, admitted: None },
        }
    }

    fn finish_headers(&self, call: &Call<'_>, draft: &Draft, mut headers: HeaderMap) -> HeaderMap {
        call.voice.sign(&mut headers);
        if bedrock::is_wire(call.voice.wire) {
            bedrock::finish_headers(draft, &mut headers);
        }
        if let Some(Ok(hint)) = draft.retry_after.map(|seconds| HeaderValue::try_from(seconds.to_string())) {
            headers.insert(header::RETRY_AFTER, hint);
        }
        headers
    }

    /// Writes the reply to a call that a limit refused, and its hint how long to wait.
    fn too_many(&self, call: &Call<'_>, refusal: &Refusal, headers: &mut HeaderMap) -> Draft {
        if call.voice.wire == WireId::Gemini {
            return gemini::too_many(self.scenario(), refusal);
        }
        if let (Cause::Wait(seconds), false) = (refusal.cause, refusal.hidden) {
            headers::retry_after(headers, self.scenario().retry_after, seconds);
        }
        let kind = match refusal.of {
            Resource::Requests | Resource::Concurrency => "requests",
            Resource::InputTokens | Resource::OutputTokens | Resource::Tokens => "tokens",
        };
        let status = StatusCode::TOO_MANY_REQUESTS;
        let error = call.voice.error(status, &refusal.message(), kind, Some("rate_limit_exceeded"));
        Draft::json(status, error)
    }
}

/// Returns the key of a request as it was sent: in the header of OpenAI, Anthropic, Azure or Google.
fn key(request: &HttpRequest) -> Option<&HeaderValue> {
    let names = [header::AUTHORIZATION.as_str(), "x-api-key", "api-key", "x-goog-api-key"];
    names.into_iter().find_map(|name| request.headers().get(name))
}

pub(super) fn read<'a, T: Deserialize<'a>>(call: &Call<'a>) -> Result<T, Denial> {
    json::from_slice(call.request.body())
        .map_err(|error| wrong(call)(format!("We could not parse the JSON body of your request: {error}")))
}

/// Makes the denial of a request that is wrong from what is wrong with it.
pub(super) fn wrong(call: &Call<'_>) -> impl Fn(String) -> Denial {
    let voice = call.voice;
    move |message| Denial { status: StatusCode::BAD_REQUEST, error: voice.bad_request(&message) }
}

fn unix_seconds(wall: SystemTime) -> u64 {
    wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
