//! The seam where any async client of the user's own fits in place of HTTP: a [`Caller`].
//!
//! A caller makes one call. Around it stays what the engine does for everybody: limits, retries, failover, cost. What it
//! knows of its place in that is a [`Try`]: the number of the attempt, the time that is left, and a state that goes with the
//! item from one attempt to the next and is nobody else's.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;

use super::limits::Hints;
use super::streaming::{self, ReplyStream};
use crate::failure::Failure;
use crate::request::Request;
use crate::response::Response;

/// Answers one request: the seam where any async client of the user's own fits.
///
/// [`caller`] and [`strategy`] make one of a closure. A type of one's own can do more: it is prepared before its first
/// call, hears of failures, and is cleared up in the end.
///
/// ```
/// use futures_util::FutureExt;
/// use futures_util::future::BoxFuture;
/// use tidegate::{Caller, Client, Failure, ItemState, Kind, Request, Response, Target, Try};
///
/// /// Tells the model what was wrong with its last answer.
/// struct Adaptive;
///
/// impl Caller for Adaptive {
///     fn call<'a>(&'a self, request: &'a Request, this: Try<'a>) -> BoxFuture<'a, Result<Response, Failure>> {
///         let last = this.state().with(|last: &mut String| last.clone());
///         async move {
///             match this.number {
///                 1 => Err(Failure::new(Kind::Malformed, "a comma is missing")),
///                 _ => Ok(Response::text(format!("mended: {last}"))),
///             }
///         }
///         .boxed()
///     }
///
///     fn on_error(&self, failure: &Failure, _attempt: u32, state: &ItemState) {
///         state.with(|last: &mut String| *last = failure.message.clone());
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> tidegate::Result<()> {
/// let client = Client::builder().target(Target::caller("mine", std::sync::Arc::new(Adaptive))).build()?;
/// assert_eq!(client.send(&Request::prompt("?")).await.text(), Ok("mended: a comma is missing"));
/// # Ok(())
/// # }
/// ```
///
/// A panic in any of these functions of a target's caller fails the one call, as [`BadRequest`](crate::Kind::BadRequest).
pub trait Caller: Send + Sync {
    /// Makes one call.
    ///
    /// # Behavior
    ///
    /// - Does not retry: a failure is returned with its [`Kind`](crate::Kind), which decides what happens next.
    /// - Dropping the future cancels the call; whoever waits for it waits no longer than [`Try::timeout`].
    /// - Writes to [`Try::hints`] what the reply tells about limits, be it a success or a failure, if it knows.
    fn call<'a>(&'a self, request: &'a Request, this: Try<'a>) -> BoxFuture<'a, Result<Response, Failure>>;

    /// Makes one call whose reply comes piece by piece.
    ///
    /// # Behavior
    ///
    /// - As [`call`](Caller::call); the stream of the reply ends with [`Piece::Done`](super::streaming::Piece::Done) or a
    ///   failure, and dropping it cancels the call.
    /// - A caller that knows only whole replies need not write it.
    fn stream<'a>(&'a self, request: &'a Request, this: Try<'a>) -> BoxFuture<'a, Result<ReplyStream, Failure>> {
        Box::pin(async move { Ok(streaming::whole(self.call(request, this).await?)) })
    }

    /// Gets ready, before the first call.
    ///
    /// # Behavior
    ///
    /// - Runs once for each client, however many targets share the caller, and within the first call's time.
    /// - A failure is that of the call which waited for it; the next call tries again.
    fn prepare(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Hears that attempt number `attempt` of an item failed, or that its answer was refused; must not block.
    fn on_error(&self, failure: &Failure, attempt: u32, state: &ItemState) {
        let _ = (failure, attempt, state);
    }

    /// Answers without calling anybody, for a client that is made with
    /// [`dry_run`](crate::ClientBuilder::dry_run).
    fn dry_run(&self, request: &Request) -> Response {
        let _ = request;
        Response::text("dry run")
    }

    /// Clears up after the last call.
    ///
    /// # Behavior
    ///
    /// - Runs once for each client, if [`prepare`](Caller::prepare) succeeded: awaited by
    ///   [`Client::close`](crate::Client::close), or else handed to the runtime in which the client's last clone is dropped.
    /// - What must happen without a runtime too belongs in the `Drop` of the caller's own type.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Returns the most output tokens that one answer can have, where that is known.
    fn max_output(&self) -> Option<u32> {
        None
    }

    /// Returns what would be sent, for a look at it, or why nothing would be; nothing where there is none to show.
    fn preview(&self, request: &Request) -> Option<Result<Preview, Failure>> {
        let _ = request;
        None
    }

    /// Returns whether the provider reads media at this address in a store, such as `s3://bucket/a.png`, by itself.
    fn reads(&self, address: &str) -> bool {
        let _ = address;
        false
    }

    /// Returns what tells the prefix of a request that its provider is to keep from others; nothing if none is.
    fn prefix(&self, request: &Request) -> Option<u64> {
        let _ = request;
        None
    }
}

/// What a [`Caller`] would send.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Preview {
    /// The headers that belong to this request alone, mostly none.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// What a [`Caller`] knows of the call that it makes, beside the request.
#[non_exhaustive]
pub struct Try<'a> {
    /// Which attempt of the item it is, from 1. Rejections for load do not count, as in
    /// [`RetryPolicy::max_attempts`](crate::RetryPolicy::max_attempts); answers that were refused do.
    pub number: u32,
    /// How long the reply is waited for.
    pub timeout: Duration,
    /// What the reply tells about limits.
    pub hints: &'a mut Hints,
    tries: &'a Tries,
}

impl<'a> Try<'a> {
    pub(crate) fn new(tries: &'a Tries, timeout: Duration, hints: &'a mut Hints) -> Try<'a> {
        Try { number: tries.number(), timeout, hints, tries }
    }

    /// Returns what is kept of the item from one attempt to the next.
    #[must_use]
    pub fn state(&self) -> &'a ItemState {
        self.tries.state()
    }
}

impl fmt::Debug for Try<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Try").field("number", &self.number).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// What callers keep of one item from one attempt to the next: a value for each type. Clones are the same state.
///
/// ```
/// let state = tidegate::ItemState::default();
/// state.with(|errors: &mut Vec<String>| errors.push("no name".to_owned()));
/// assert_eq!(state.with(|errors: &mut Vec<String>| errors.len()), 1);
/// ```
#[derive(Clone, Default)]
pub struct ItemState(Arc<Mutex<Vec<Box<dyn Any + Send>>>>);

impl ItemState {
    /// Looks at the value of a type, or changes it; it begins as its default.
    pub fn with<T: Default + Send + 'static, R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = values.iter_mut().find_map(|value| value.downcast_mut::<T>()) {
            return act(value);
        }
        let mut value = T::default();
        let result = act(&mut value);
        values.push(Box::new(value));
        result
    }
}

impl fmt::Debug for ItemState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ItemState(…)")
    }
}

/// The tries of one item: how many there were, and what callers keep from one to the next, if any does.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    over: AtomicU32,
    state: OnceLock<ItemState>,
}

impl Tries {
    /// Returns the number of the present attempt, from 1.
    pub(crate) fn number(&self) -> u32 {
        self.over.load(Ordering::Relaxed).saturating_add(1)
    }

    /// Tells a caller that the present attempt failed. The next one has the next number, unless this was a rejection for
    /// load.
    pub(crate) fn failed(&self, caller: &dyn Caller, failure: &Failure) {
        caller.on_error(failure, self.number(), self.state());
        if !failure.kind.advice().slow_down {
            self.over.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn state(&self) -> &ItemState {
        self.state.get_or_init(ItemState::default)
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
    strategy(move |request, _, _, _| call(request))
}

/// Makes a [`Caller`] from an async closure that is told the number of the attempt, from 1, the time that it has, and what
/// is kept of the item.
///
/// ```
/// use tidegate::{Failure, Request, Response};
/// let hotter = tidegate::strategy(|request: Request, attempt, timeout, state| async move {
///     let temperature = [0.0, 0.5, 1.0][(attempt as usize - 1).min(2)];
///     state.with(|asked: &mut Vec<f64>| asked.push(temperature));
///     Ok::<_, Failure>(Response::text(format!("{:?} at {temperature} within {timeout:?}", request.task)))
/// });
/// # let _ = hotter;
/// ```
pub fn strategy<F, A>(call: F) -> Arc<dyn Caller>
where
    F: Fn(Request, u32, Duration, ItemState) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response, Failure>> + Send + 'static,
{
    Arc::new(Closure(call))
}

impl<F, A> Caller for Closure<F>
where
    F: Fn(Request, u32, Duration, ItemState) -> A + Send + Sync,
    A: Future<Output = Result<Response, Failure>> + Send + 'static,
{
    fn call<'a>(&'a self, request: &'a Request, this: Try<'a>) -> BoxFuture<'a, Result<Response, Failure>> {
        Box::pin((self.0)(request.clone(), this.number, this.timeout, this.state().clone()))
    }
}
