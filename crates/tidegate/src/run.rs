//! LOOP 1: over items. Take as many as can be used, ask, hand out what is done.
//!
//! A [`Run`] is a stream of outcomes. It takes items from its source only while few of those it has are waiting for
//! admission: enough ahead that a freed place is never idle, bounded by bytes and by *ready* waiters, so that requests
//! which sleep in a backoff do not count. Memory therefore follows the limits, not the input.

pub mod batch;
#[cfg(feature = "parquet")]
mod columnar;
pub mod export;
pub mod fallback;
pub mod input;
pub mod job;
pub mod journal;
pub mod key;
mod matching;
pub mod output;
pub mod packing;
pub mod progress;
pub mod prompt;
pub mod record;
mod redact;
pub mod report;
pub mod store;
pub mod summary;
pub mod timeline;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::ask::ask;
use crate::ask::cache::Answers;
use crate::ask::check::Check;
use crate::ask::policy::AskPolicy;
use crate::call::caller::Tries;
use crate::client::Client;
use crate::dispatch::admission::{RouteId, Urgency};
use crate::dispatch::balance::Labels;
use crate::dispatch::budget::{Account, Purse};
use crate::dispatch::retries::Retries;
use crate::dispatch::{Order, RetryPolicy};
use crate::error::Result;
use crate::failure::Kind;
use crate::money::{Budget, Spend};
use crate::outcome::Outcome;
use crate::request::Request;
use crate::run::fallback::Fallback;

/// What to do where Parquet and Arrow are not built in.
#[cfg(not(feature = "parquet"))]
pub(crate) const NO_PARQUET: &str = "this program was built without the feature 'parquet'; install it with \
    cargo install --locked --path crates/tidegate-cli --features full";

/// Requests that may wait for admission, if all wait for the same endpoints: enough that a small limit still overlaps
/// reading and sending. Each outcome makes the run take again, so more would only be more memory to walk through: 64 cost
/// a fast run a fifteenth of its time.
const AHEAD: usize = 16;
/// Bytes of requests that a run holds at the most, unless a single one is larger.
const MOST_BYTES: usize = 256 << 20;

/// One request on its way through a run, with whatever the user wants back with the outcome.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Item<C> {
    /// What is asked.
    pub request: Request,
    /// Comes back with the outcome.
    pub context: C,
    /// Its class: those of a lower number go first, 0 before all, wherever requests wait for the same limits. Nobody
    /// waits for ever: a class counts for as much as ten minutes of waiting. Default 0.
    pub priority: u8,
    /// The time for it with everything, in place of [`RetryPolicy::deadline`]; within a class, those whose time is over
    /// sooner go first.
    pub deadline: Option<Duration>,
    /// What a [`Policy`](crate::Policy) of the user's own sees of it.
    pub labels: Labels,
    /// The models to ask, by their names, the first preferred; those that the client asks otherwise if empty.
    pub models: Vec<Arc<str>>,
}

impl<C> Item<C> {
    /// Makes an item.
    pub fn new(request: Request, context: C) -> Item<C> {
        Item { request, context, models: Vec::new(), priority: 0, deadline: None, labels: Labels::default() }
    }

    /// Asks one model only.
    #[must_use]
    pub fn for_model(self, model: Arc<str>) -> Item<C> {
        self.for_models(vec![model])
    }

    /// Asks these models only, the first preferred.
    #[must_use]
    pub fn for_models(mut self, models: Vec<Arc<str>>) -> Item<C> {
        self.models = models;
        self
    }

    /// Sets its class; 0 goes first.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Item<C> {
        self.priority = priority;
        self
    }

    /// Sets the time for it with everything: waiting, backoffs, all attempts.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Item<C> {
        self.deadline = Some(deadline);
        self
    }

    /// Adds a label for a policy to see.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Item<C> {
        self.labels.set(name, value);
        self
    }
}

impl From<Request> for Item<()> {
    fn from(request: Request) -> Item<()> {
        Item::new(request, ())
    }
}

type Asked<C> = BoxFuture<'static, (Outcome, C, usize)>;

/// Many requests under way: a stream of their outcomes, in the order in which they are done.
///
/// Dropping it cancels what is in flight.
#[must_use = "a run does nothing until its outcomes are taken"]
pub struct Run<S, C> {
    /// Behind one pointer, because every request on its way holds it.
    terms: Arc<Terms>,
    source: Pin<Box<S>>,
    source_ended: bool,
    asked: FuturesUnordered<Asked<C>>,
    waiting: Arc<AtomicUsize>,
    bytes: usize,
    index: u64,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    most: usize,
    routes: Vec<(Vec<Arc<str>>, RouteId)>,
}

/// What holds for all requests of a run.
#[derive(Clone)]
struct Terms {
    client: Client,
    stop: CancellationToken,
    retry: RetryPolicy,
    purse: Option<Arc<Purse>>,
    fallback: Option<Fallback>,
    retries: Arc<Retries>,
    policy: Arc<AskPolicy>,
    answers: Option<Answers>,
}

impl<S, C> Run<S, C> {
    pub(crate) fn new(client: Client, source: S) -> Run<S, C> {
        let stop = CancellationToken::new();
        let stopped = Box::pin(stop.clone().cancelled_owned());
        let terms = Terms {
            retry: client.dispatcher.retry,
            policy: client.ask_policy.clone(),
            answers: client.answers.clone(),
            client,
            stop,
            purse: None,
            fallback: None,
            retries: Arc::default(),
        };
        Run {
            terms: Arc::new(terms),
            source: Box::pin(source),
            source_ended: false,
            asked: FuturesUnordered::new(),
            waiting: Arc::default(),
            bytes: 0,
            index: 0,
            stopped,
            most: usize::MAX,
            routes: Vec::new(),
        }
    }

    /// Returns the terms to change them: before the first request nobody shares them.
    fn terms(&mut self) -> &mut Terms {
        Arc::make_mut(&mut self.terms)
    }

    /// Stops on this signal: takes nothing more, lets calls in flight end, gives up what still waits.
    pub fn stop_on(mut self, stop: CancellationToken) -> Run<S, C> {
        self.stopped = Box::pin(stop.clone().cancelled_owned());
        self.terms().stop = stop;
        self
    }

    /// Keeps at most that many requests of this run under way, whatever the endpoints would take.
    pub fn max_parallel(mut self, most: usize) -> Run<S, C> {
        self.most = most.max(1);
        self
    }

    /// Tries the requests of this run as often and as patiently as that, whatever the client does otherwise.
    pub fn retry(mut self, retry: RetryPolicy) -> Run<S, C> {
        self.terms().retry = retry;
        self
    }

    /// Spends no more than that: the worst case of each call is reserved before it is sent.
    ///
    /// A request that no longer fits, or whose worst case cannot be known for want of a price or of `max_tokens`, ends with
    /// [`Kind::Budget`], and nothing more is taken.
    pub fn budget(self, budget: Budget) -> Run<S, C> {
        self.pay_from(Arc::new(Purse::new(Account::new(budget, Spend::default()), None)))
    }

    /// Lets a purse pay for the calls.
    pub(crate) fn pay_from(mut self, purse: Arc<Purse>) -> Run<S, C> {
        self.terms().purse = Some(purse);
        self
    }

    /// Puts a last resort in the place of answers that are not to be had.
    pub fn fallback(mut self, fallback: Fallback) -> Run<S, C> {
        self.terms().fallback = Some(fallback);
        self
    }

    /// Asks for every answer, whatever the client's cache holds, and keeps none: for samples of one request.
    pub fn no_cache(mut self) -> Run<S, C> {
        self.terms().answers = None;
        self
    }

    /// Demands this of the answers of this run, whatever the client does otherwise.
    ///
    /// # Errors
    ///
    /// A ladder that asks a model which the client does not have, or that goes on after what says nothing of the answer.
    pub fn ask_policy(mut self, policy: AskPolicy) -> Result<Run<S, C>> {
        policy.verify(&self.terms.client.all_models())?;
        self.terms().policy = Arc::new(policy);
        Ok(self)
    }

    /// Adds a check that every answer of this run must pass.
    pub fn check(mut self, check: Check) -> Run<S, C> {
        Arc::make_mut(&mut self.terms().policy).checks.push(check);
        self
    }

    fn wants_more(&self) -> bool {
        // Those of a route that cannot send shall not keep another's from being taken.
        let ahead = match self.routes.len() {
            0 | 1 => AHEAD,
            _ => AHEAD.max(2 * self.terms.client.dispatcher.admission.capacity()),
        };
        self.waiting.load(Ordering::Relaxed) < ahead
            && self.asked.len() < self.most
            && (self.bytes < MOST_BYTES || self.asked.is_empty())
    }

    fn route(&mut self, models: Vec<Arc<str>>) -> RouteId {
        if let Some((_, route)) = self.routes.iter().find(|(known, _)| *known == models) {
            return *route;
        }
        let route = self.terms.client.route(&models);
        self.routes.push((models, route));
        route
    }
}

impl<S, C> Run<S, C>
where
    S: Stream<Item = Item<C>>,
    C: Send + 'static,
{
    /// Takes items while there is use for them. Returns whether any was taken.
    fn take(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.index;
        if !self.source_ended && self.stopped.as_mut().poll(cx).is_ready() {
            self.source_ended = true;
        }
        while !self.source_ended && self.wants_more() {
            match self.source.as_mut().poll_next(cx) {
                Poll::Ready(Some(item)) => self.start(item),
                Poll::Ready(None) => self.source_ended = true,
                Poll::Pending => break,
            }
        }
        self.index > before
    }

    fn start(&mut self, item: Item<C>) {
        let urgency = Urgency::new(item.priority, item.deadline.or(self.terms.retry.deadline));
        let Item { request, context, models, labels, .. } = item;
        let route = self.route(models);
        let bytes = request.size();
        let (terms, index) = (self.terms.clone(), self.index);
        terms.retries.began();
        let admitted = Waiting::new(&self.waiting);
        self.bytes += bytes;
        self.index += 1;
        self.asked.push(Box::pin(async move {
            let tries = Tries::default();
            let order = Order {
                request: &request,
                route,
                stop: &terms.stop,
                retry: &terms.retry,
                urgency,
                labels: &labels,
                retries: &terms.retries,
                purse: terms.purse.as_deref(),
                tries: &tries,
                outlet: None,
            };
            let mut outcome =
                ask(&terms.client.dispatcher, &terms.policy, terms.answers.as_ref(), order, index, admitted).await;
            if let (Some(fallback), Err(failure)) = (&terms.fallback, &outcome.result) {
                outcome.fallback = fallback.answer(&request, failure);
            }
            (outcome, context, bytes)
        }));
    }
}

impl<S, C> Stream for Run<S, C>
where
    S: Stream<Item = Item<C>>,
    C: Send + 'static,
{
    type Item = (Outcome, C);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<(Outcome, C)>> {
        self.take(cx);
        loop {
            match Pin::new(&mut self.asked).poll_next(cx) {
                Poll::Ready(Some((outcome, context, bytes))) => {
                    self.bytes -= bytes;
                    self.source_ended |= outcome.result.as_ref().is_err_and(|failure| failure.kind == Kind::Budget);
                    return Poll::Ready(Some((outcome, context)));
                }
                Poll::Ready(None) if self.source_ended => return Poll::Ready(None),
                Poll::Ready(None) => return Poll::Pending,
                // Admissions during this poll may have made room for more.
                Poll::Pending if self.take(cx) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Counts a request as waiting for admission until it is dropped.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn new(count: &Arc<AtomicUsize>) -> Waiting {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
