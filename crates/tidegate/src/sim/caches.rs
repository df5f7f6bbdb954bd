//! Gemini's cached contents at the simulated provider: stored, listed, renewed, deleted, and gone when their time is over.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::tokens;
use super::{Plan, Simulator, at_once};
use crate::call::transport::HttpRequest;
use crate::call::wire::gemini::server;
use crate::json;

/// The shortest prefix that is stored, in tokens: that of Gemini's smaller models.
pub(super) const LEAST_TOKENS: u64 = 1024;
/// How long a cache lasts if its maker does not say.
const TTL: f64 = 3600.0;

/// All caches, by their number.
#[derive(Debug, Default)]
pub(super) struct Caches {
    stored: BTreeMap<u64, Cached>,
    made: u64,
}

/// One cache.
#[derive(Debug, Clone)]
pub(super) struct Cached {
    model: String,
    display_name: String,
    /// What it holds, as one text, which answers depend on.
    pub(super) text: String,
    /// Seconds since the first arrival.
    expires: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create<'a> {
    model: String,
    #[serde(default, alias = "display_name")]
    display_name: String,
    #[serde(default)]
    ttl: Option<String>,
    #[serde(borrow, default, alias = "system_instruction")]
    system_instruction: Option<&'a RawValue>,
    #[serde(borrow, default)]
    contents: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
}

impl Cached {
    pub(super) fn tokens(&self) -> u64 {
        tokens(self.text.len())
    }
}

/// Returns what stands behind `cachedContents` in a path: nothing, or a slash and a number.
pub(super) fn rest_of(path: &str) -> Option<&str> {
    let (before, rest) = path.split_once("cachedContents")?;
    let whole = (before.is_empty() || before.ends_with('/')) && (rest.is_empty() || rest.starts_with('/'));
    whole.then_some(rest)
}

impl Caches {
    /// Returns the cache that a request names, if its time is not over.
    pub(super) fn get(&mut self, name: &str, at: f64) -> Option<Cached> {
        self.stored.retain(|_, cached| cached.expires > at);
        self.stored.get(&number(rest_of(name)?)?).cloned()
    }
}

fn number(rest: &str) -> Option<u64> {
    rest.strip_prefix('/')?.parse().ok()
}

impl Simulator {
    /// Answers a request about caches.
    pub(super) fn serve_caches(&self, now: Instant, request: &HttpRequest, rest: &str) -> Plan {
        if let Err(denial) = self.check_gemini_key(request) {
            return at_once(denial.status, denial.error);
        }
        let mut state = self.state();
        let (start, wall) = *state.start.get_or_insert_with(|| (now, SystemTime::now()));
        let at = now.saturating_duration_since(start).as_secs_f64();
        state.caches.stored.retain(|_, cached| cached.expires > at);
        let path = request.uri().path();
        let path = ["/v1beta1/", "/v1beta/", "/v1/", "/"].iter().find_map(|version| path.strip_prefix(version));
        let parent = path.and_then(|path| path.split("cachedContents").next()).unwrap_or_default().to_owned();
        let clock = Clock { at, wall, parent };
        let reply = match (request.method(), number(rest)) {
            (&Method::POST, None) => create(&mut state.caches, request, &clock),
            (&Method::GET, None) => Ok(list(&state.caches, &clock)),
            (&Method::GET, Some(number)) => found(&mut state.caches, number).map(|cached| clock.show(number, cached)),
            (&Method::PATCH, Some(number)) => found(&mut state.caches, number).and_then(|cached| {
                cached.expires = at + ttl(request)?;
                Ok(clock.show(number, cached))
            }),
            (&Method::DELETE, Some(number)) => found(&mut state.caches, number).map(|_| json!({})).inspect(|_| {
                state.caches.stored.remove(&number);
            }),
            _ => Err((StatusCode::METHOD_NOT_ALLOWED, "Method not allowed.".to_owned())),
        };
        match reply {
            Ok(value) => at_once(StatusCode::OK, Bytes::from(value.to_string())),
            Err((status, message)) => at_once(status, server::error(status, &message, &[])),
        }
    }
}

type Refused = (StatusCode, String);

/// What a reply about a cache needs besides the cache.
struct Clock {
    at: f64,
    wall: SystemTime,
    /// What stands in front of the collection: nothing, or a project and a location.
    parent: String,
}

impl Clock {
    fn show(&self, number: u64, cached: &Cached) -> Value {
        let expires = super::delivery::ms(cached.expires * 1e3);
        let expires = Timestamp::try_from(self.wall + expires).unwrap_or_default();
        json!({"name": format!("{}cachedContents/{number}", self.parent), "displayName": cached.display_name,
            "model": cached.model, "expireTime": expires.to_string(),
            "usageMetadata": {"totalTokenCount": cached.tokens()}})
    }
}

fn found(caches: &mut Caches, number: u64) -> Result<&mut Cached, Refused> {
    let gone = || (StatusCode::NOT_FOUND, "Requested entity was not found.".to_owned());
    caches.stored.get_mut(&number).ok_or_else(gone)
}

fn list(caches: &Caches, clock: &Clock) -> Value {
    let all: Vec<Value> = caches.stored.iter().map(|(number, cached)| clock.show(*number, cached)).collect();
    json!({"cachedContents": all})
}

fn create(caches: &mut Caches, request: &HttpRequest, clock: &Clock) -> Result<Value, Refused> {
    let wrong = |message: String| (StatusCode::BAD_REQUEST, message);
    let asked: Create<'_> = json::from_slice(request.body()).map_err(|error| wrong(error.to_string()))?;
    let parts = [asked.system_instruction, asked.contents, asked.tools];
    let text: String = parts.into_iter().flatten().map(RawValue::get).collect();
    let seconds = asked.ttl.as_deref().map_or(Ok(TTL), seconds)?;
    let count = tokens(text.len());
    if count < LEAST_TOKENS {
        return Err(wrong(format!(
            "Cached content is too small. total_token_count={count}, min_total_token_count={LEAST_TOKENS}"
        )));
    }
    caches.made += 1;
    let number = caches.made;
    let cached = Cached { model: asked.model, display_name: asked.display_name, text, expires: clock.at + seconds };
    Ok(clock.show(number, caches.stored.entry(number).or_insert(cached)))
}

fn ttl(request: &HttpRequest) -> Result<f64, Refused> {
    #[derive(Deserialize)]
    struct Update {
        ttl: String,
    }
    let update: Result<Update, _> = json::from_slice(request.body());
    update.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string())).and_then(|update| seconds(&update.ttl))
}

fn seconds(ttl: &str) -> Result<f64, Refused> {
    let seconds = ttl.strip_suffix('s').and_then(|number| number.parse::<f64>().ok()).filter(|s| *s > 0.0);
    seconds.ok_or_else(|| (StatusCode::BAD_REQUEST, format!("Invalid value at 'ttl': {ttl}")))
}
