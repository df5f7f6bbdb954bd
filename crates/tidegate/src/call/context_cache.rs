//! Context caches at Gemini: what many requests begin with is stored there once, and paid for as cached input.
//!
//! A prefix (system instruction and tools) goes uncached the first time it is seen, because a run of different prefixes
//! would store each for nothing. The second request finds its cache among those that an earlier run left, or creates it,
//! while the others wait for it; from then on all use it, and whoever comes near its end makes it last longer. Where a
//! prefix cannot be cached, most often because it is too short, requests go as they are, and a warning says so once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, StatusCode};
use tokio::time::Instant;

use super::transport::HttpReply;
use super::wire::gemini::cache::{Cached, Split, renewal, split};
use super::wire::gemini::types::ErrorBody;
use crate::failure::Failure;

/// How long before its end a cache is renewed, unless it is short-lived.
const EARLY: Duration = Duration::from_secs(300);
/// How long a cache that could not be created for a passing reason is not tried again.
const PAUSE: Duration = Duration::from_secs(60);
/// The most prefixes that are told apart; what comes more goes uncached.
const MOST: usize = 64;
/// The most pages of caches that are looked through for one to use again.
const PAGES: usize = 10;

/// How context caches are kept.
///
/// ```
/// use std::time::Duration;
/// use tidegate::{ContextCacheOptions, Target};
/// let caches = ContextCacheOptions::new(Duration::from_secs(3600)).delete_at_end();
/// let target = Target::new("gemini/gemini-2.5-flash")?.context_cache(caches);
/// # Ok::<(), tidegate::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContextCacheOptions {
    /// How long a cache lasts after its last renewal; Google charges for the time.
    pub ttl: Duration,
    /// Whether caches are deleted when the client is closed, instead of being kept for the next run until they end.
    pub delete: bool,
}

impl ContextCacheOptions {
    /// Keeps caches for that long.
    #[must_use]
    pub fn new(ttl: Duration) -> ContextCacheOptions {
        ContextCacheOptions { ttl, delete: false }
    }

    /// Deletes them when the client is closed.
    #[must_use]
    pub fn delete_at_end(mut self) -> ContextCacheOptions {
        self.delete = true;
        self
    }
}

/// Sends what is neither a question nor an answer, authorised like every request.
pub(crate) trait Link: Sync {
    /// Sends to a path behind the base URL.
    fn send<'a>(&'a self, method: Method, path: &'a str, body: Bytes) -> BoxFuture<'a, Result<HttpReply, Failure>>;
}

/// The caches of one key with one model.
pub(crate) struct ContextCache {
    options: ContextCacheOptions,
    /// The collection's path: `/v1beta/cachedContents`.
    collection: String,
    /// What stands in front of a cache's name in a path: `/v1beta/`.
    root: String,
    /// The model by its whole name: `models/gemini-2.5-flash`.
    model: String,
    prefixes: Mutex<HashMap<u64, Arc<tokio::sync::Mutex<State>>>>,
}

/// What is known of one prefix.
#[derive(Debug, Default)]
enum State {
    #[default]
    New,
    /// Seen, but not stored.
    Seen,
    Stored {
        name: String,
        renew_at: Instant,
        expires: Instant,
    },
    /// It cannot be stored, for ever or for now.
    Without {
        until: Option<Instant>,
    },
}

impl ContextCache {
    /// `root` stands in front of the collection and of names in paths, `parent` in front of the collection's name.
    pub(crate) fn new(options: ContextCacheOptions, root: &str, parent: &str, model: String) -> ContextCache {
        let collection = format!("{root}{parent}cachedContents");
        ContextCache { options, collection, root: root.to_owned(), model, prefixes: Mutex::default() }
    }

    /// Puts a cache's name in place of a body's prefix, if there is a cache by now. Returns with it what
    /// [`forget`](ContextCache::forget) wants.
    pub(crate) async fn apply(&self, body: Bytes, link: &dyn Link) -> (Bytes, Option<u64>) {
        let Some(split) = split(&body) else { return (body, None) };
        let hash = split.hash();
        let Some(state) = self.state(hash) else { return (body, None) };
        let mut state = state.lock().await;
        match self.name(&mut state, &split, hash, link).await {
            Some(name) => (split.named(&name), Some(hash)),
            None => (body, None),
        }
    }

    /// Forgets a cache that Google does not know any more.
    pub(crate) async fn forget(&self, hash: u64) {
        if let Some(state) = self.state(hash) {
            *state.lock().await = State::Seen;
        }
    }

    /// Deletes what is stored, if that is wanted.
    pub(crate) async fn close(&self, link: &dyn Link) {
        let states: Vec<_> = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner).drain().collect();
        for (_, state) in states.into_iter().filter(|_| self.options.delete) {
            if let State::Stored { name, .. } = &*state.lock().await {
                let deleted = link.send(Method::DELETE, &format!("{}{name}", self.root), Bytes::new()).await;
                if !deleted.is_ok_and(|reply| reply.status().is_success()) {
                    tracing::warn!("the context cache {name} could not be deleted; it ends by itself");
                }
            }
        }
    }

    fn state(&self, hash: u64) -> Option<Arc<tokio::sync::Mutex<State>>> {
        let mut prefixes = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        let room = prefixes.len() < MOST || prefixes.contains_key(&hash);
        room.then(|| prefixes.entry(hash).or_default().clone())
    }

    async fn name(&self, state: &mut State, split: &Split<'_>, hash: u64, link: &dyn Link) -> Option<String> {
        let now = Instant::now();
        match state {
            State::New => {
                *state = State::Seen;
                return None;
            }
            State::Without { until } if until.is_none_or(|until| now < until) => return None,
            State::Stored { name, renew_at, .. } if now < *renew_at => return Some(name.clone()),
            State::Stored { name, expires, .. } => {
                let (name, expires) = (name.clone(), *expires);
                if let Some(renewed) = self.renew(&name, expires, link).await {
                    *state = renewed;
                    return Some(name);
                }
            }
            State::Seen | State::Without { .. } => {}
        }
        *state = self.find_or_create(split, hash, link).await;
        match state {
            State::Stored { name, .. } => Some(name.clone()),
            _ => None,
        }
    }

    fn stored(&self, name: String, now: Instant) -> State {
        let ttl = self.options.ttl;
        State::Stored { name, renew_at: now + ttl.saturating_sub(EARLY.min(ttl / 4)), expires: now + ttl }
    }

    /// Makes a cache last longer; nothing if it is gone.
    async fn renew(&self, name: &str, expires: Instant, link: &dyn Link) -> Option<State> {
        let now = Instant::now();
        let path = format!("{}{name}?updateMask=ttl", self.root);
        let reply = link.send(Method::PATCH, &path, renewal(self.options.ttl)).await;
        match reply {
            Ok(reply) if reply.status().is_success() => Some(self.stored(name.to_owned(), now)),
            Ok(reply) if matches!(reply.status(), StatusCode::NOT_FOUND | StatusCode::FORBIDDEN) => None,
            // Whatever it was, the cache is there yet; the next try is near.
            _ if now < expires => {
                Some(State::Stored { name: name.to_owned(), renew_at: now + (expires - now) / 2, expires })
            }
            _ => None,
        }
    }

    async fn find_or_create(&self, split: &Split<'_>, hash: u64, link: &dyn Link) -> State {
        let display_name = format!("tidegate-{hash:016x}");
        let now = Instant::now();
        if let Some(name) = self.find(&display_name, link).await
            && let Some(found) = self.renew(&name, now, link).await
        {
            return found;
        }
        let body = split.create(&self.model, &display_name, self.options.ttl);
        let passing = State::Without { until: Some(now + PAUSE) };
        match link.send(Method::POST, &self.collection, body).await {
            Ok(reply) if reply.status().is_success() => match Cached::read(reply.body()) {
                Some(cached) => self.stored(cached.name, now),
                None => passing,
            },
            Ok(reply) if reply.status().is_client_error() && reply.status() != StatusCode::TOO_MANY_REQUESTS => {
                let message = ErrorBody::read(reply.body()).map(|error| error.message).unwrap_or_default();
                tracing::warn!("{}: the shared prefix is sent with every request: {message}", self.model);
                State::Without { until: None }
            }
            _ => passing,
        }
    }

    /// Looks for a cache that an earlier run has left.
    async fn find(&self, display_name: &str, link: &dyn Link) -> Option<String> {
        let mut page = String::new();
        for _ in 0..PAGES {
            let path = format!("{}?pageSize=1000{page}", self.collection);
            let reply = link.send(Method::GET, &path, Bytes::new()).await.ok().filter(|r| r.status().is_success())?;
            let (caches, next) = Cached::read_list(reply.body());
            let mut ours = caches.into_iter().filter(|cached| self.is_ours(cached, display_name));
            if let Some(cached) = ours.next() {
                return Some(cached.name);
            }
            page = format!("&pageToken={}", next?);
        }
        None
    }

    fn is_ours(&self, cached: &Cached, display_name: &str) -> bool {
        let expires: Option<jiff::Timestamp> = cached.expire_time.parse().ok();
        let lasts = expires.is_none_or(|expires| expires > jiff::Timestamp::now());
        cached.display_name == display_name && cached.model == self.model && lasts
    }
}

/// Returns whether a failure says that the cache is gone.
pub(crate) fn is_gone(failure: &Failure) -> bool {
    let message = failure.message.to_ascii_lowercase().replace(' ', "");
    matches!(failure.status, Some(400 | 403 | 404)) && message.contains("cachedcontent")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A server of caches that notes what it is asked.
    #[derive(Default)]
    struct Server {
        asked: Mutex<Vec<String>>,
        /// What creating answers with, if not with a cache.
        refusal: Option<(u16, &'static str)>,
        left: Option<&'static str>,
    }

    impl Link for Server {
        fn send<'a>(&'a self, method: Method, path: &'a str, body: Bytes) -> BoxFuture<'a, Result<HttpReply, Failure>> {
            let mut asked = self.asked.lock().unwrap();
            asked.push(format!("{method} {path}"));
            let left =
                self.left.map(|name| json!({"name": "cachedContents/old", "displayName": name, "model": "models/m"}));
            let (status, reply) = match (method.as_str(), self.refusal) {
                ("POST", Some((status, message))) => (status, json!({"error": {"code": status, "message": message}})),
                ("POST", None) => {
                    assert!(serde_json::from_slice::<Value>(&body).unwrap()["displayName"].is_string());
                    (200, json!({"name": format!("cachedContents/{}", asked.len())}))
                }
                ("GET", _) => (200, json!({"cachedContents": left.into_iter().collect::<Vec<_>>()})),
                _ => (200, json!({})),
            };
            let reply = http::Response::builder().status(status).body(Bytes::from(reply.to_string())).unwrap();
            Box::pin(async move { Ok(reply) })
        }
    }

    fn cache(ttl: u64) -> ContextCache {
        let options = ContextCacheOptions::new(Duration::from_secs(ttl)).delete_at_end();
        ContextCache::new(options, "/v1beta/", "", "models/m".to_owned())
    }

    fn body(text: &str) -> Bytes {
        json!({"systemInstruction": {"parts": [{"text": "be brief"}]}, "contents": [text]}).to_string().into()
    }

    async fn applied(cache: &ContextCache, server: &Server) -> Option<String> {
        let (sent, _) = cache.apply(body("x"), server).await;
        let sent: Value = serde_json::from_slice(&sent).unwrap();
        assert_eq!(sent["contents"], json!(["x"]));
        sent.get("cachedContent").map(|name| name.as_str().unwrap().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_prefix_is_stored_for_its_second_request_and_renewed_before_its_end() {
        let (cache, server) = (cache(1000), Server::default());
        assert_eq!(applied(&cache, &server).await, None);
        let both = futures_util::future::join(applied(&cache, &server), applied(&cache, &server)).await;
        assert_eq!(both, (Some("cachedContents/2".to_owned()), Some("cachedContents/2".to_owned())));
        tokio::time::advance(Duration::from_secs(800)).await;
        assert!(applied(&cache, &server).await.is_some());
        cache.close(&server).await;
        let expected = [
            "GET /v1beta/cachedContents?pageSize=1000",
            "POST /v1beta/cachedContents",
            "PATCH /v1beta/cachedContents/2?updateMask=ttl",
            "DELETE /v1beta/cachedContents/2",
        ];
        assert_eq!(*server.asked.lock().unwrap(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_run_left_is_used() {
        let hash = split(&body("x")).unwrap().hash();
        let name: &'static str = format!("tidegate-{hash:016x}").leak();
        let server = Server { left: Some(name), ..Server::default() };
        let cache = cache(1000);
        applied(&cache, &server).await;
        assert_eq!(applied(&cache, &server).await.as_deref(), Some("cachedContents/old"));
        cache.forget(hash).await;
        assert_eq!(applied(&cache, &server).await.as_deref(), Some("cachedContents/old"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_prefix_that_is_too_short_goes_with_every_request() {
        let server = Server { refusal: Some((400, "Cached content is too small.")), ..Server::default() };
        let cache = cache(1000);
        for _ in 0..3 {
            assert_eq!(applied(&cache, &server).await, None);
        }
        assert_eq!(server.asked.lock().unwrap().len(), 2);
        let busy = Server { refusal: Some((503, "busy")), ..Server::default() };
        let cache = self::cache(1000);
        for _ in 0..3 {
            applied(&cache, &busy).await;
        }
        tokio::time::advance(PAUSE).await;
        applied(&cache, &busy).await;
        assert_eq!(busy.asked.lock().unwrap().len(), 4);
    }
}
