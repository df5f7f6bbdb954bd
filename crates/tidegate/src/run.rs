//! LOOP 1: over items. Take as many as can be used, ask, hand out what is done.
//!
//! A [`Run`] is a stream of outcomes. It takes items from its source only while few of those it has are waiting for
//! admission: enough ahead that a freed place is never idle, bounded by bytes and by *ready* waiters, so that requests
//! which sleep in a backoff do not count. Memory therefore follows the limits, not the input.

mod asker;
pub mod batch;
#[cfg(feature = "parquet")]
mod columnar;
pub mod export;
pub mod fallback;
mod hooks;
pub mod input;
mod item;
pub mod job;
pub mod journal;
pub mod key;
mod ledger;
mod matching;
pub mod metrics;
pub mod output;
pub mod packing;
pub mod progress;
pub mod prompt;
pub mod record;
mod redact;
pub mod report;
mod reporter;
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

use crate::ask::check::Check;
use crate::ask::policy::AskPolicy;
use crate::client::Client;
use crate::dispatch::RetryPolicy;
use crate::dispatch::admission::{RouteId, Urgency};
use crate::dispatch::budget::{Account, Purse};
use crate::error::Result;
use crate::event::Ended;
use crate::failure::Kind;
use crate::money::{Budget, Spend};
use crate::outcome::Outcome;
use crate::run::asker::Asker;
use crate::run::fallback::Fallback;
use crate::run::hooks::Hooks;
pub use crate::run::hooks::Middleware;
pub use crate::run::item::Item;
use crate::run::item::Place;
use crate::run::ledger::Ledger;
use crate::run::reporter::Reporter;
pub use crate::run::reporter::RunProgress;

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

type Asked<C> = BoxFuture<'static, (Outcome, C, usize)>;

/// Many requests under way: a stream of their outcomes, in the order in which they are done.
///
/// # Cancel safety
///
/// Dropping it cancels what is in flight. Dropping a wait for its next outcome loses nothing: the outcome comes with the next
/// wait. The run works only while somebody waits.
#[must_use = "a run does nothing until its outcomes are taken"]
pub struct Run<S, C> {
    /// Behind one pointer, because every request on its way holds it.
    asker: Arc<Asker>,
    source: Pin<Box<S>>,
    source_ended: bool,
    asked: FuturesUnordered<Asked<C>>,
    waiting: Arc<AtomicUsize>,
    bytes: usize,
    index: u64,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    most: usize,
    routes: Vec<(Vec<Arc<str>>, RouteId)>,
    hooks: Option<Arc<Hooks<C>>>,
    reporter: Option<Box<Reporter>>,
    ledger: Ledger,
}

impl<S, C> Run<S, C> {
    pub(crate) fn new(client: Client, source: S) -> Run<S, C> {
        let ledger = Ledger::new(&client);
        let asker = Asker::of(client, ledger.run);
        Run {
            source: Box::pin(source),
            source_ended: false,
            asked: FuturesUnordered::new(),
            waiting: Arc::default(),
            bytes: 0,
            index: 0,
            stopped: Box::pin(asker.stop.clone().cancelled_owned()),
            most: usize::MAX,
            routes: Vec::new(),
            hooks: None,
            reporter: None,
            ledger,
            asker: Arc::new(asker),
        }
    }

    fn asker(&mut self) -> &mut Asker {
        Arc::make_mut(&mut self.asker)
    }

    /// Stops on this signal: takes nothing more, lets calls in flight end, gives up what still waits.
    pub fn stop_on(mut self, stop: CancellationToken) -> Run<S, C> {
        self.stopped = Box::pin(stop.clone().cancelled_owned());
        self.asker().stop = stop;
        self
    }

    /// Keeps at most that many requests of this run under way, whatever the endpoints would take.
    pub fn max_parallel(mut self, most: usize) -> Run<S, C> {
        self.most = most.max(1);
        self
    }

    /// Tries the requests of this run as often and as patiently as that, whatever the client does otherwise.
    pub fn retry(mut self, retry: RetryPolicy) -> Run<S, C> {
        self.asker().retry = retry;
        self
    }

    /// Waits that long for each attempt, whatever the client does otherwise.
    pub fn timeout(mut self, timeout: Duration) -> Run<S, C> {
        self.asker().retry.timeout = timeout;
        self
    }

    /// Asks models of Bedrock in these of the client's regions only, and no others at all.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`](crate::Error::Usage) names a region that the client does not have.
    pub fn regions<R: Into<String>>(mut self, regions: impl IntoIterator<Item = R>) -> Result<Run<S, C>> {
        let regions: Vec<String> = regions.into_iter().map(Into::into).collect();
        self.asker.client.check_regions(&regions)?;
        self.asker().regions = regions;
        Ok(self)
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
        self.asker().purse = Some(purse);
        self
    }

    /// Puts a last resort in the place of answers that are not to be had.
    pub fn fallback(mut self, fallback: Fallback) -> Run<S, C> {
        self.asker().fallback = Some(fallback);
        self
    }

    /// Asks for every answer, whatever the client's cache holds, and keeps none: for samples of one request.
    pub fn no_cache(mut self) -> Run<S, C> {
        self.asker().answers = None;
        self
    }

    /// Demands this of the answers of this run, whatever the client does otherwise.
    ///
    /// # Errors
    ///
    /// A ladder that asks a model which the client does not have, or that goes on after what says nothing of the answer.
    pub fn ask_policy(mut self, policy: AskPolicy) -> Result<Run<S, C>> {
        policy.verify(&self.asker.client.all_models())?;
        self.asker().policy = Arc::new(policy);
        Ok(self)
    }

    /// Adds a check that every answer of this run must pass.
    pub fn check(mut self, check: Check) -> Run<S, C> {
        Arc::make_mut(&mut self.asker().policy).checks.push(check);
        self
    }

    fn wants_more(&self) -> bool {
        // Those of a route that cannot send shall not keep another's from being taken.
        let ahead = match self.routes.len() {
            0 | 1 => AHEAD,
            _ => AHEAD.max(2 * self.asker.client.dispatcher.admission.capacity()),
        };
        self.waiting.load(Ordering::Relaxed) < ahead
            && self.asked.len() < self.most
            && (self.bytes < MOST_BYTES || self.asked.is_empty())
    }

    fn route(&mut self, models: Vec<Arc<str>>) -> RouteId {
        if let Some((_, route)) = self.routes.iter().find(|(known, _)| *known == models) {
            return *route;
        }
        let route = self.asker.client.route_in(&models, &self.asker.regions);
        self.routes.push((models, route));
        route
    }
}

impl<S, C> Run<S, C>
where
    S: Stream<Item = Item<C>>,
    C: Send + 'static,
{
    /// Notes how far the run has come, if somebody is to be told.
    fn note(&mut self, outcome: &Outcome) {
        let Some(reporter) = &mut self.reporter else { return };
        let rest = match self.source.size_hint() {
            _ if self.source_ended => Some(0),
            (least, Some(most)) if least == most => Some(least as u64),
            _ => None,
        };
        reporter.note(RunProgress {
            succeeded: self.ledger.succeeded,
            failed: self.ledger.failed,
            total: rest.map(|rest| self.index + rest),
            last: outcome.id().into_owned(),
        });
    }

    fn report(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.reporter.as_mut().map_or(Poll::Ready(()), |reporter| reporter.poll(cx))
    }

    /// Takes items while there is use for them. Returns whether any was taken.
    fn take(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.index;
        if !self.source_ended && self.stopped.as_mut().poll(cx).is_ready() {
            self.source_ended = true;
            self.ledger.stopped(Ended::Stopped);
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

    fn start(&mut self, mut item: Item<C>) {
        let asker = self.asker.clone();
        let deadline = item.deadline.or(item.retry.as_deref().unwrap_or(&asker.retry).deadline);
        // Middleware may want to see them, and to name others.
        let models = if self.hooks.is_some() { item.models.clone() } else { std::mem::take(&mut item.models) };
        let route = self.route(models);
        let urgency = Urgency::new(item.priority, deadline);
        let place = Place { index: self.index, route, urgency, retry: item.retry.take() };
        let bytes = item.request.size();
        self.index += 1;
        self.bytes += bytes;
        asker.retries.began();
        asker.client.fill_in(&mut item.request);
        let admitted = Waiting::new(&self.waiting);
        let Some(hooks) = self.hooks.clone() else {
            let Item { request, context, id, labels, .. } = item;
            return self.asked.push(Box::pin(async move {
                let outcome = asker.ask(&place, &request, &labels, admitted).await;
                let outcome = Outcome { id, ..asker.with_fallback(outcome, &request) };
                (outcome, context, bytes)
            }));
        };
        self.asked.push(Box::pin(async move {
            let (outcome, context) = asker.ask_within(place, &hooks, item, admitted).await;
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
        self.ledger.began();
        self.take(cx);
        let reported = self.report(cx);
        loop {
            match Pin::new(&mut self.asked).poll_next(cx) {
                Poll::Ready(Some((outcome, context, bytes))) => {
                    self.bytes -= bytes;
                    if outcome.result.as_ref().is_err_and(|failure| failure.kind == Kind::Budget) {
                        self.source_ended = true;
                        self.ledger.stopped(Ended::Budget);
                    }
                    self.ledger.add(&outcome);
                    self.note(&outcome);
                    return Poll::Ready(Some((outcome, context)));
                }
                Poll::Ready(None) if self.source_ended && reported.is_pending() => return Poll::Pending,
                Poll::Ready(None) if self.source_ended => {
                    self.ledger.completed();
                    return Poll::Ready(None);
                }
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
