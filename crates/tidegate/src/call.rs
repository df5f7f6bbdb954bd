//! LOOP 0: one exchange. Encode, authorise, send, decode.
//!
//! Nothing here sleeps or retries: one call is one request on the wire, and its failure says what happened. A user's
//! own [`Caller`] sits in the same place, under the same admission.

mod address;
pub(crate) mod auth;
pub mod aws;
pub(crate) mod caller;
pub mod context_cache;
pub mod eventstream;
pub mod form;
pub mod google;
pub(crate) mod lesser;
pub mod limits;
mod mend;
pub(crate) mod own;
pub mod pool;
pub(crate) mod prompt_cache;
pub mod provider;
pub(crate) mod sigv4;
pub mod sse;
pub mod status;
pub mod streaming;
pub mod transport;
pub mod vertex;
pub mod wire;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt, TryStreamExt};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http::{Method, Uri};
use secrecy::{ExposeSecret, SecretString};

use self::auth::{Authoriser, Identity, Used};
pub use self::caller::{Caller, ItemState, Preview, Try, caller, strategy};
use self::context_cache::{ContextCache, ContextCacheOptions, Link};
use self::lesser::Lacks;
use self::limits::Hints;
use self::prompt_cache::PromptCache;
use self::provider::{Provider, Quirks};
use self::streaming::{Piece, ReplyStream};
use self::transport::{HttpReply, HttpRequest, Transport, read_whole};
use self::vertex::Vertex;
use self::wire::fit::{Fitted, fit};
use self::wire::{Wire, WireId};
use crate::failure::{Failure, Kind};
use crate::future::boxed;
use crate::request::{Request, TaskKind};
use crate::response::{Output, Response};

/// Reads a target's keys again, all of them in the order in which they were given.
pub type KeySource = Arc<dyn Fn() -> Vec<SecretString> + Send + Sync>;

/// The [`Caller`] of a provider: a wire over a transport.
pub(crate) struct HttpCaller {
    /// The formats that it speaks, the preferred one first.
    spoken: Vec<Spoken>,
    quirks: Quirks,
    model: String,
    headers: HeaderMap,
    auth: Authoriser,
    transport: Arc<dyn Transport>,
    base_url: String,
    cache: Option<ContextCache>,
    /// How cache points are placed, if they are.
    prompt_cache: Option<PromptCache>,
    /// Whether the provider is told which requests begin alike.
    names_prefix: bool,
    /// What this model turned out not to take here.
    lacks: Arc<Lacks>,
}

/// A format that is spoken, and where each kind of task goes in it; nowhere if the format does not have it.
struct Spoken {
    wire: WireId,
    chat: Option<Uri>,
    stream: Option<Uri>,
    embed: Option<Uri>,
}

impl Spoken {
    fn new(id: WireId, target: &HttpTarget<'_>) -> Result<Spoken, String> {
        let wire = id.wire();
        let uri = |path: Option<String>| path.map(|path| address::of(target, &path)).transpose();
        let embed = wire.path(TaskKind::Embed, target.model).filter(|_| target.provider.embeds);
        Ok(Spoken {
            wire: id,
            chat: uri(wire.path(TaskKind::Chat, target.model))?,
            stream: uri(wire.stream_path(target.model))?,
            embed: uri(embed)?,
        })
    }
}

/// What an [`HttpCaller`] is made of.
pub(crate) struct HttpTarget<'a> {
    pub(crate) provider: &'a Provider,
    pub(crate) base_url: &'a str,
    /// The version in the query, where the provider has one.
    pub(crate) api_version: Option<&'a str>,
    /// The model's name as the provider knows it.
    pub(crate) model: &'a str,
    /// Project and location, where the provider has them.
    pub(crate) vertex: Option<&'a Vertex>,
    /// How context caches are kept, where the provider has them.
    pub(crate) context_cache: Option<ContextCacheOptions>,
    /// Where cache points are placed, at providers that want them.
    pub(crate) prompt_cache: PromptCache,
    pub(crate) headers: HeaderMap,
    pub(crate) identity: Identity,
    /// Where the key can be read again, and its place among those.
    pub(crate) source: Option<(KeySource, usize)>,
    pub(crate) transport: Arc<dyn Transport>,
}

/// A request in a provider's form.
struct Encoded {
    body: Bytes,
    /// What stands beside the body. Boxed, because few requests have any and all would have to hold it.
    headers: Option<Box<HeaderMap>>,
    /// What was left out, and what is odd.
    warnings: Vec<String>,
}

impl HttpCaller {
    pub(crate) fn new(target: HttpTarget<'_>) -> Result<HttpCaller, String> {
        let provider = target.provider;
        let others = provider.also.iter().filter(|wire| **wire != provider.wire);
        let spoken = [&provider.wire].into_iter().chain(others).map(|wire| Spoken::new(*wire, &target));
        let spoken = spoken.collect::<Result<_, _>>()?;
        let cache = cache_of(&target);
        let points = PromptCache::is_known_to(provider.wire, target.model) && target.prompt_cache != PromptCache::Off;
        let named = provider.name == "openai" && target.prompt_cache != PromptCache::Off;
        let mut headers = target.headers;
        let product = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
        for (name, value) in
            [("content-type", "application/json"), ("user-agent", product)].iter().chain(provider.headers)
        {
            headers.entry(*name).or_insert(HeaderValue::from_static(value));
        }
        Ok(HttpCaller {
            spoken,
            quirks: provider.quirks,
            model: target.model.to_owned(),
            headers,
            auth: Authoriser::new(target.identity, provider.auth, target.source)?,
            transport: target.transport,
            base_url: target.base_url.trim_end_matches('/').to_owned(),
            cache,
            prompt_cache: points.then_some(target.prompt_cache),
            names_prefix: named,
            lacks: Arc::default(),
        })
    }

    async fn exchange(&self, request: &Request, hints: &mut Hints) -> Result<Response, Failure> {
        let (spoken, kind) = (self.spoken(request), request.kind());
        let uri = match kind {
            TaskKind::Chat => &spoken.chat,
            TaskKind::Embed => &spoken.embed,
        };
        let uri = uri.as_ref().ok_or_else(|| {
            Failure::new(Kind::Unsupported, format!("{}: its provider makes no embeddings", self.model))
        })?;
        let Encoded { body, headers, warnings } = self.encode(request)?;
        let (body, cached) = self.cached(body).await;
        // In a block of its own, so that the request is not held beside the reply.
        let (used, reply) = {
            let mut http = self.http(uri, body);
            if let Some(headers) = headers {
                http.headers_mut().extend(*headers);
            }
            let used = self.auth.authorise(&mut http, &*self.transport).await?;
            (used, self.transport.send(http))
        };
        let reply = reply.await?;
        *hints = Hints::read(reply.headers());
        let failure = match self.read(spoken, kind, reply) {
            Ok(mut response) => {
                response.warnings.extend(warnings);
                return Ok(response);
            }
            Err(failure) => failure,
        };
        Err(Box::pin(self.heed(request, failure, used, cached)).await)
    }

    /// Sends a request whose reply is to come piece by piece. What cannot, comes whole.
    async fn open(&self, request: &Request, hints: &mut Hints) -> Result<ReplyStream, Failure> {
        let (spoken, kind) = (self.spoken(request), request.kind());
        let Some(uri) = spoken.stream.as_ref().filter(|_| kind == TaskKind::Chat) else {
            return Ok(streaming::whole(self.exchange(request, hints).await?));
        };
        let wire = spoken.wire.wire();
        let Encoded { body, headers, warnings } = self.encode(request)?;
        let (body, cached) = self.cached(body).await;
        let mut http = self.http(uri, wire.stream_body(body)?);
        if let Some(headers) = headers {
            http.headers_mut().extend(*headers);
        }
        let used = self.auth.authorise(&mut http, &*self.transport).await?;
        let (head, body) = self.transport.open(http).await?.into_parts();
        *hints = Hints::read(&head.headers);
        if streaming::is_stream(&head) {
            status::uncompressed(&head)?;
            let pieces = streaming::read(wire, head, body, self.secrets());
            let (model, mut warnings) = (self.model.clone(), Some(warnings));
            let pieces = pieces.map_ok(move |piece| finished(piece, &model, &mut warnings));
            return Ok(if request.lossy { self.learning(request, pieces).boxed() } else { pieces.boxed() });
        }
        let reply = HttpReply::from_parts(head, read_whole(body).await?);
        match self.read(spoken, kind, reply) {
            Ok(mut response) => {
                response.warnings.extend(warnings);
                Ok(streaming::whole(response))
            }
            Err(failure) => Err(self.heed(request, failure, used, cached).await),
        }
    }

    /// Learns from what is refused inside a stream, as from what is refused at once.
    fn learning<S>(&self, request: &Request, pieces: S) -> impl Stream<Item = Result<Piece, Failure>> + use<S>
    where
        S: Stream<Item = Result<Piece, Failure>>,
    {
        let (lacks, request) = (self.lacks.clone(), request.clone());
        pieces.map_err(move |failure| lacks.learn(&request, failure))
    }

    /// Puts a context cache in place of what many bodies begin with, where there is one.
    async fn cached(&self, body: Bytes) -> (Bytes, Option<u64>) {
        match &self.cache {
            Some(cache) => Box::pin(cache.apply(body, self)).await,
            None => (body, None),
        }
    }

    /// Does what a failure asks for before the next attempt: reads a key again that was refused, forgets a context cache
    /// that the provider does not know any more.
    async fn heed(&self, request: &Request, failure: Failure, used: Used, cached: Option<u64>) -> Failure {
        if failure.kind == Kind::Auth && self.auth.renew(used, &*self.transport).await {
            return Failure { kind: Kind::StaleKey, ..failure };
        }
        match (&self.cache, cached) {
            (Some(cache), Some(hash)) if context_cache::is_gone(&failure) => {
                cache.forget(hash).await;
                Failure { kind: Kind::ServerError, ..failure }
            }
            _ => self.lacks.learn(request, failure),
        }
    }

    /// Returns the format for a request: the one that its body was written in, if that is spoken here, else the first
    /// that has such a task.
    fn spoken(&self, request: &Request) -> &Spoken {
        let written = request.original.as_ref().map(|original| original.wire);
        let same = self.spoken.iter().find(|spoken| Some(spoken.wire) == written);
        let fitting = || self.spoken.iter().find(|spoken| request.kind() == TaskKind::Chat || spoken.embed.is_some());
        same.or_else(fitting).unwrap_or(&self.spoken[0])
    }

    /// Makes the HTTP request of a body; who asks is still to be put on it.
    fn http(&self, uri: &Uri, body: Bytes) -> HttpRequest {
        let mut http = HttpRequest::new(body);
        *http.method_mut() = Method::POST;
        *http.uri_mut() = uri.clone();
        *http.headers_mut() = self.headers.clone();
        http
    }

    /// Writes the request in this provider's form; a body that was written for another form goes through the typed one.
    fn encode(&self, request: &Request) -> Result<Encoded, Failure> {
        let spoken = self.spoken(request).wire;
        let wire = spoken.wire();
        let request = form::formed(request, self.quirks.structure)?;
        let (request, mut warnings) = self.lacks.fit(request, &self.model)?;
        let foreign = request.original.as_ref().is_some_and(|original| !spoken.takes(original.wire));
        let mut request = if foreign { typed(&request)? } else { request };
        if let Some(strategy) = self.prompt_cache {
            request = strategy.pointed(request);
        }
        if self.names_prefix {
            request = prompt_cache::named(request);
        }
        let (fitted, body) = self.write(fit(request, wire)?, wire)?;
        let headers = wire.headers(&fitted.request)?;
        let headers = (!headers.is_empty()).then(|| Box::new(headers));
        warnings.extend(fitted.warnings);
        Ok(Encoded { body, headers, warnings })
    }

    /// Writes a body; of a request that allows it without the parameters that this format or this model has no place for.
    fn write<'r>(&self, mut fitted: Fitted<'r>, wire: &dyn Wire) -> Result<(Fitted<'r>, Bytes), Failure> {
        loop {
            let failure = match wire.encode(&fitted.request, &self.model, &self.quirks) {
                Ok(body) => return Ok((fitted, body)),
                Err(failure) => failure,
            };
            let (less, told) = lesser::unwritten(&fitted.request, &failure, &self.model).ok_or(failure)?;
            fitted.request = Cow::Owned(less);
            fitted.warnings.push(told);
        }
    }

    fn read(&self, spoken: &Spoken, kind: TaskKind, reply: HttpReply) -> Result<Response, Failure> {
        let wire = spoken.wire.wire();
        let (head, body) = reply.into_parts();
        if head.status.is_success() {
            let response = status::uncompressed(&head).and_then(|()| match streaming::is_told_as_one(&head) {
                true => streaming::read_at_once(wire, head, &body),
                false => decode(wire, kind, &head, &body),
            });
            return Ok(completed(response.map_err(|failure| self.scrub(failure))?, &self.model));
        }
        let message = wire.message(&body).unwrap_or_else(|| status::plain_message(&head, &body));
        let kind = wire.kind(&head, &body).unwrap_or_else(|| status::kind(head.status, &message));
        let kind = status::overruled(&head.headers, kind);
        let in_message = status::retry_after_in(&message).filter(|_| kind.advice().slow_down);
        let failure = status::failure(&head, kind, message);
        let hint = failure.retry_after.or_else(|| status::capped(wire.retry_after(&body)?)).or(in_message);
        Err(self.scrub(failure.with_retry_after(hint)))
    }

    fn scrub(&self, failure: Failure) -> Failure {
        self.secrets().scrub(failure)
    }

    /// Returns the key, and what headers of the user's own hold of that kind.
    fn secrets(&self) -> Secrets {
        let headers = self.headers.iter().filter(|(name, _)| may_hold_a_secret(name));
        // Of `Bearer sk-1` the last word is the secret.
        let words = headers.filter_map(|(_, value)| value.to_str().ok()?.split_whitespace().last());
        Secrets(self.auth.secret().into_iter().chain(words.map(SecretString::from)).collect())
    }
}

/// Reads a reply that came whole.
fn decode(wire: &dyn Wire, kind: TaskKind, head: &Parts, body: &Bytes) -> Result<Response, Failure> {
    let (mut response, mended) = mend::read(body, |mended| match mended {
        Some(mended) => wire.decode(kind, head, &mended.into()),
        None => wire.decode(kind, head, body),
    })?;
    response.warnings.extend(mended.then(|| mend::TOLD.to_owned()));
    Ok(response)
}

/// Names the model that answered where a format names it only in the request. A text is a token at least: a count of none
/// leaves it out and would make the answer too cheap, so that what was used is unknown.
fn completed(mut response: Response, model: &str) -> Response {
    if response.model.is_empty() {
        model.clone_into(&mut response.model);
    }
    let is_text = matches!(response.output, Output::Text(_));
    response.usage = response.usage.filter(|usage| !is_text || usage.output_tokens > 0 || usage.charged.is_some());
    response
}

/// Completes the last piece of a stream.
fn finished(piece: Piece, model: &str, warnings: &mut Option<Vec<String>>) -> Piece {
    match piece {
        Piece::Done(mut response) => {
            response.warnings.extend(warnings.take().unwrap_or_default());
            Piece::Done(Box::new(completed(*response, model)))
        }
        piece => piece,
    }
}

/// What no message may repeat.
pub(crate) struct Secrets(Vec<SecretString>);

impl Secrets {
    /// Takes the secrets out of a message that repeats them.
    fn scrub(&self, mut failure: Failure) -> Failure {
        let secrets = self.0.iter().map(ExposeSecret::expose_secret);
        for secret in secrets.filter(|secret| secret.len() >= 4) {
            failure.message = failure.message.replace(secret, "[key]");
        }
        failure
    }
}

/// Returns the request without a body of the user's own: what has to be edited, or carried by another wire.
///
/// # Errors
///
/// [`Kind::BadRequest`] says what is wrong with the body.
pub(crate) fn typed(request: &Request) -> Result<Cow<'_, Request>, Failure> {
    let Some(original) = &request.original else { return Ok(Cow::Borrowed(request)) };
    let mut typed = original.wire.wire().typed(original)?;
    typed.params = request.params.clone().over(typed.params);
    typed.schema.clone_from(&request.schema);
    typed.lossy = request.lossy;
    typed.without.clone_from(&request.without);
    Ok(Cow::Owned(typed))
}

fn may_hold_a_secret(header: &HeaderName) -> bool {
    ["authorization", "cookie", "key", "token", "secret"].iter().any(|part| header.as_str().contains(part))
}

/// Returns the context caches of a target, if it is to have them: Gemini's, at either of Google's addresses.
fn cache_of(target: &HttpTarget<'_>) -> Option<ContextCache> {
    let options = target.context_cache.filter(|_| target.provider.wire == WireId::Gemini)?;
    Some(match target.vertex {
        Some(vertex) => {
            let parent = format!("{}/", vertex.parent());
            let model = format!("{parent}publishers/google/models/{}", target.model);
            ContextCache::new(options, "/v1/", &parent, model)
        }
        None => ContextCache::new(options, "/v1beta/", "", format!("models/{}", target.model)),
    })
}

impl Link for HttpCaller {
    fn send<'a>(&'a self, method: Method, path: &'a str, body: Bytes) -> BoxFuture<'a, Result<HttpReply, Failure>> {
        Box::pin(async move {
            let uri: Uri = format!("{}{path}", self.base_url)
                .parse()
                .map_err(|_| Failure::new(Kind::BadRequest, "the provider gave a name that is no path"))?;
            let mut http = self.http(&uri, body);
            *http.method_mut() = method;
            self.auth.authorise(&mut http, &*self.transport).await?;
            self.transport.send(http).await
        })
    }
}

impl Caller for HttpCaller {
    fn call<'a>(&'a self, request: &'a Request, this: Try<'a>) -> BoxFuture<'a, Result<Response, Failure>> {
        boxed(|| self.exchange(request, this.hints))
    }

    fn stream<'a>(&'a self, request: &'a Request, this: Try<'a>) -> BoxFuture<'a, Result<ReplyStream, Failure>> {
        Box::pin(self.open(request, this.hints))
    }

    fn max_output(&self) -> Option<u32> {
        self.quirks.max_output
    }

    fn preview(&self, request: &Request) -> Option<Result<Preview, Failure>> {
        Some(self.encode(request).map(|encoded| Preview {
            headers: encoded.headers.map(|headers| *headers).unwrap_or_default(),
            body: encoded.body,
        }))
    }

    fn reads(&self, address: &str) -> bool {
        let stores = self.spoken[0].wire.wire().stores(&self.model);
        stores.iter().any(|store| address.starts_with(store))
    }

    fn prefix(&self, request: &Request) -> Option<u64> {
        self.prompt_cache?.prefix(request)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(cache) = &self.cache {
                cache.close(self).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::Usage;

    #[test]
    fn a_text_that_nobody_counted_is_not_free() {
        let used = |output: Output, output_tokens| {
            let usage = Some(Usage { input_tokens: 9, output_tokens, ..Usage::default() });
            completed(Response { output, usage, ..Response::default() }, "m").usage.map(|usage| usage.output_tokens)
        };
        assert_eq!(used(Output::Text("a".into()), 0), None);
        assert_eq!(used(Output::Text("a".into()), 1), Some(1));
        assert_eq!(used(Output::Embedding(vec![1.0]), 0), Some(0));
    }
}
