//! LOOP 0: one exchange. Encode, authorise, send, decode.
//!
//! Nothing here sleeps or retries: one call is one request on the wire, and its failure says what happened. A user's
//! own [`Caller`] sits in the same place, under the same admission.

pub mod form;
pub mod limits;
pub mod pool;
pub mod provider;
pub mod status;
pub mod transport;
pub mod wire;

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use secrecy::{ExposeSecret, SecretString};

use self::limits::Hints;
use self::provider::{Auth, Provider, Quirks};
use self::transport::{HttpReply, HttpRequest, Transport};
use self::wire::WireId;
use crate::failure::{Failure, Kind};
use crate::request::{Request, TaskKind};
use crate::response::Response;

/// Answers one request: the seam where any async client of the user's own fits.
pub trait Caller: Send + Sync {
    /// Makes one call.
    ///
    /// # Behavior
    ///
    /// - Does not retry: a failure is returned with its [`Kind`], which decides what happens next.
    /// - Dropping the future cancels the call.
    fn call<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response, Failure>>;

    /// Makes one call, and notes what its reply tells about limits, be it a success or a failure.
    ///
    /// # Behavior
    ///
    /// - As [`call`](Caller::call); a caller that knows nothing about limits need not write it.
    fn call_with_hints<'a>(
        &'a self,
        request: &'a Request,
        hints: &'a mut Hints,
    ) -> BoxFuture<'a, Result<Response, Failure>> {
        let _ = hints;
        self.call(request)
    }

    /// Returns the most output tokens that one answer can have, where that is known.
    fn max_output(&self) -> Option<u32> {
        None
    }

    /// Returns the body that would be sent, for a look at it; nothing where there is none to show.
    fn preview(&self, request: &Request) -> Option<Bytes> {
        let _ = request;
        None
    }
}

/// A [`Caller`] from a closure; see [`caller`].
struct Closure<F>(F);

/// Makes a [`Caller`] from an async closure that owns its request.
///
/// ```
/// use std::time::Duration;
/// use tidegate::{Failure, Request, Response};
/// let mine = tidegate::caller(|request: Request| async move {
///     if request.size() > 1000 {
///         return Err(Failure::rate_limited(Duration::from_secs(3)));
///     }
///     Ok(Response::text("hello"))
/// });
/// # let _ = mine;
/// ```
pub fn caller<F, A>(call: F) -> Arc<dyn Caller>
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response, Failure>> + Send + 'static,
{
    Arc::new(Closure(call))
}

impl<F, A> Caller for Closure<F>
where
    F: Fn(Request) -> A + Send + Sync,
    A: Future<Output = Result<Response, Failure>> + Send + 'static,
{
    fn call<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response, Failure>> {
        Box::pin((self.0)(request.clone()))
    }
}

/// Reads a target's keys again, all of them in the order in which they were given.
pub type KeySource = Arc<dyn Fn() -> Vec<SecretString> + Send + Sync>;

/// The [`Caller`] of a provider: a wire over a transport.
pub(crate) struct HttpCaller {
    wire: WireId,
    quirks: Quirks,
    auth: Auth,
    model: String,
    /// Where each kind of task goes; nowhere if the wire does not have it.
    chat: Option<Uri>,
    embed: Option<Uri>,
    headers: HeaderMap,
    key: RwLock<Key>,
    source: Option<(KeySource, usize)>,
    transport: Arc<dyn Transport>,
}

/// What an [`HttpCaller`] is made of.
pub(crate) struct HttpTarget<'a> {
    pub(crate) provider: &'a Provider,
    pub(crate) base_url: &'a str,
    /// The model's name as the provider knows it.
    pub(crate) model: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) key: Option<SecretString>,
    /// Where the key can be read again, and its place among those.
    pub(crate) source: Option<(KeySource, usize)>,
    pub(crate) transport: Arc<dyn Transport>,
}

/// A key and the header value it makes.
struct Key {
    secret: Option<SecretString>,
    header: Option<HeaderValue>,
}

impl Key {
    fn new(secret: Option<SecretString>, auth: Auth) -> Result<Key, String> {
        let header = secret.as_ref().map(ExposeSecret::expose_secret).map(|secret| match auth {
            Auth::Bearer => HeaderValue::from_str(&format!("Bearer {secret}")),
            Auth::Header(_) => HeaderValue::from_str(secret),
        });
        let mut header = header.transpose().map_err(|_| "the key holds a character that a header cannot".to_owned())?;
        if let Some(header) = &mut header {
            header.set_sensitive(true);
        }
        Ok(Key { secret, header })
    }
}

impl HttpCaller {
    pub(crate) fn new(target: HttpTarget<'_>) -> Result<HttpCaller, String> {
        let provider = target.provider;
        let wire = provider.wire.wire();
        let uri = |kind: TaskKind| {
            let path = wire.path(kind, target.model);
            path.map(|path| address(target.base_url, &path)).transpose()
        };
        let mut headers = target.headers;
        let product = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
        for (name, value) in
            [("content-type", "application/json"), ("user-agent", product)].iter().chain(provider.headers)
        {
            headers.entry(*name).or_insert(HeaderValue::from_static(value));
        }
        Ok(HttpCaller {
            wire: provider.wire,
            quirks: provider.quirks,
            auth: provider.auth,
            model: target.model.to_owned(),
            chat: uri(TaskKind::Chat)?,
            embed: uri(TaskKind::Embed)?,
            headers,
            key: RwLock::new(Key::new(target.key, provider.auth)?),
            source: target.source,
            transport: target.transport,
        })
    }

    async fn exchange(&self, request: &Request, hints: &mut Hints) -> Result<Response, Failure> {
        let kind = request.kind();
        let uri = match kind {
            TaskKind::Chat => &self.chat,
            TaskKind::Embed => &self.embed,
        };
        let uri =
            uri.clone().ok_or_else(|| Failure::new(Kind::Unsupported, format!("{} cannot do that", self.model)))?;
        let mut http = HttpRequest::new(self.encode(request)?);
        *http.method_mut() = Method::POST;
        *http.uri_mut() = uri;
        *http.headers_mut() = self.headers.clone();
        let used = self.authorise(http.headers_mut());
        let reply = self.transport.send(http).await?;
        *hints = Hints::read(reply.headers());
        match self.read(kind, reply) {
            Err(failure) if failure.kind == Kind::Auth && self.renew(used).await => {
                Err(Failure { kind: Kind::StaleKey, ..failure })
            }
            result => result,
        }
    }

    /// Writes the request in this provider's form; a body that was written for another form goes through the typed one.
    fn encode(&self, request: &Request) -> Result<Bytes, Failure> {
        let request = form::formed(request, self.quirks.structure)?;
        let foreign = request.original.as_ref().is_some_and(|original| original.wire != self.wire);
        let request = if foreign { typed(&request)? } else { request };
        self.wire.wire().encode(&request, &self.model, &self.quirks)
    }

    /// Sets the key's header, and returns it to tell this key from a later one.
    fn authorise(&self, headers: &mut HeaderMap) -> Option<HeaderValue> {
        let header = self.key.read().unwrap_or_else(PoisonError::into_inner).header.clone()?;
        let name = match self.auth {
            Auth::Bearer => AUTHORIZATION,
            Auth::Header(name) => HeaderName::from_static(name),
        };
        headers.insert(name, header.clone());
        Some(header)
    }

    /// Sees to it that the key is another one than the refused one, which may be so already. Returns whether it is.
    async fn renew(&self, refused: Option<HeaderValue>) -> bool {
        let Some((source, number)) = self.source.clone() else { return false };
        if self.key.read().unwrap_or_else(PoisonError::into_inner).header != refused {
            return true;
        }
        // A command that prints a key may take its time: nobody else waits for it.
        let keys = tokio::task::spawn_blocking(move || source()).await.unwrap_or_default();
        let renewed = keys.into_iter().nth(number).and_then(|secret| Key::new(Some(secret), self.auth).ok());
        let mut key = self.key.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(renewed) = renewed {
            *key = renewed;
        }
        key.header != refused
    }

    fn read(&self, kind: TaskKind, reply: HttpReply) -> Result<Response, Failure> {
        let wire = self.wire.wire();
        let (head, body) = reply.into_parts();
        if head.status.is_success() {
            return wire.decode(kind, &head, &body).map_err(|failure| self.scrub(failure));
        }
        let message = wire.message(&body).unwrap_or_else(|| status::plain_message(&head, &body));
        let kind = wire.kind(&head, &body).unwrap_or_else(|| status::kind(head.status, &message));
        let failure = status::failure(&head, kind, message);
        let hint = failure.retry_after.or_else(|| status::capped(wire.retry_after(&body)?));
        Err(self.scrub(failure.with_retry_after(hint)))
    }

    /// Takes the key, and what headers of the user's own hold of that kind, out of a message that repeats it.
    fn scrub(&self, mut failure: Failure) -> Failure {
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner);
        let key = key.secret.as_ref().map(ExposeSecret::expose_secret);
        let headers = self.headers.iter().filter(|(name, _)| may_hold_a_secret(name));
        // Of `Bearer sk-1` the last word is the secret.
        let secrets = headers.filter_map(|(_, value)| value.to_str().ok()?.split_whitespace().last());
        for secret in key.into_iter().chain(secrets).filter(|secret| secret.len() >= 4) {
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
    Ok(Cow::Owned(typed))
}

fn may_hold_a_secret(header: &HeaderName) -> bool {
    ["authorization", "cookie", "key", "token", "secret"].iter().any(|part| header.as_str().contains(part))
}

impl Caller for HttpCaller {
    fn call<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response, Failure>> {
        Box::pin(async move { self.exchange(request, &mut Hints::default()).await })
    }

    fn call_with_hints<'a>(
        &'a self,
        request: &'a Request,
        hints: &'a mut Hints,
    ) -> BoxFuture<'a, Result<Response, Failure>> {
        Box::pin(self.exchange(request, hints))
    }

    fn max_output(&self) -> Option<u32> {
        self.quirks.max_output
    }

    fn preview(&self, request: &Request) -> Option<Bytes> {
        self.encode(request).ok()
    }
}

/// Puts a path behind a base URL.
fn address(base_url: &str, path: &str) -> Result<Uri, String> {
    let text = format!("{}{path}", base_url.trim_end_matches('/'));
    let uri: Uri = text.parse().map_err(|e| format!("`{base_url}` is not a base URL: {e}"))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(format!("`{base_url}` is not a base URL: it must start with http:// or https://")),
    }
}
