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
mod options;
pub mod output;
pub(crate) mod pack;
pub mod packing;
pub mod progress;
pub mod prompt;
pub mod record;
mod redact;
pub mod report;
mod reporter;
mod stop_on;
pub mod store;
pub mod summary;
pub mod timeline;
mod twins;
mod waiting;
mod warm;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesUnordered, Stream};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use self::asker::Asker;
use self::hooks::Hooks;
pub use self::hooks::Middleware;
pub use self::item::Item;
use self::item::{Answered, Hooked, Kept, Member, Place};
use self::ledger::Ledger;
use self::pack::{Load, Packer, Unpacked, ask_together};
use self::reporter::Reporter;
pub use self::reporter::RunProgress;
use self::stop_on::Failures;
pub use self::stop_on::StopOn;
pub use self::twins::Dedupe;
use self::twins::{Met, Twins};
use self::waiting::{Waiting, is_due};
use self::warm::{Prefixes, Turn};
use crate::ask::Begun;
use crate::client::Client;
use crate::dispatch::admission::{RouteId, Urgency};
use crate::event::Ended;
use crate::failure::{Failure, Kind};
use crate::future::boxed;
use crate::outcome::Outcome;
use crate::response::Response;

/// What to do where Parquet and Arrow are not built in.
#[cfg(not(feature = "parquet"))]
pub(crate) const NO_PARQUET: &str = "this program was built without the feature 'parquet'; install it with \
    cargo install --locked --path crates/tidegate-cli --features full";

/// Requests that may wait for admission at the least: enough that a small limit still overlaps reading and sending.
const LEAST_AHEAD: usize = 16;
/// Requests that may wait for admission at the most, if all wait for the same endpoints: enough that a concurrency which
/// is still being found can grow. Where it is stated, as many as at the least do, since the run takes again as soon as it has
/// looked at what has arrived; more would only be more memory to walk through, a fifteenth of the time of a fast run.
const MOST_AHEAD: usize = 64;
/// Bytes of requests that a run holds at the most, unless a single one is larger.
const MOST_BYTES: usize = 256 << 20;

type Asked<C> = BoxFuture<'static, (Came<C>, Option<u64>)>;

/// What a future of the run came to.
enum Came<C> {
    One(Box<Answered<C>>),
    Many(Unpacked<C>),
    /// Middleware has seen an item, and some of it may have broken off.
    Passed(Arrival, Box<Item<C>>, usize, Option<Box<Result<Response, Failure>>>),
    /// Hooks have seen outcomes.
    Ended(Done<C>),
}

/// An item's arrival.
#[derive(Clone, Copy)]
struct Arrival {
    index: u64,
    urgency: Urgency,
    /// About how many bytes the request holds.
    bytes: usize,
}

/// An outcome, and those that are to be kept together with it or not at all. Boxed, because it is handed on several times.
struct Done<C> {
    first: Box<Answered<C>>,
    rest: Vec<Answered<C>>,
}

/// Whom items ask: models, and the regions in which alone they are asked.
type Whom = (Vec<Arc<str>>, Option<Box<[String]>>);

/// Many requests under way: a stream of their outcomes, in the order in which they are done.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tidegate::Result<()> {
/// use futures_util::StreamExt;
/// use tidegate::{Client, Request, Target};
/// # let client = Client::builder().target(Target::new("sim/echo")?).build()?;
/// let mut run = client.run(["otter", "heron"].map(Request::prompt)).max_parallel(8);
/// while let Some((outcome, ())) = run.next().await {
///     match outcome.text() {
///         Ok(answer) => println!("{}: {answer}", outcome.index),
///         Err(failure) => println!("{}: {failure}", outcome.index),
///     }
/// }
/// # Ok(())
/// # }
/// ```
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
    most_ahead: usize,
    routes: Vec<(Whom, RouteId)>,
    twins: Twins<C>,
    /// Where requests gather that are asked together, if any are.
    packer: Option<Packer<C>>,
    /// When those that wait for company go as they are.
    linger: Option<Pin<Box<Sleep>>>,
    /// What begins alike, where that is to be kept by providers.
    prefixes: Option<Prefixes<Load<C>>>,
    /// When those that wait for the first of them go all the same.
    patience: Option<Pin<Box<Sleep>>>,
    /// What is done and not taken yet.
    ready: VecDeque<Done<C>>,
    /// What was done together with the last outcome that was taken.
    rest: std::vec::IntoIter<Answered<C>>,
    hooks: Option<Arc<Hooks<C>>>,
    /// Items that middleware has not let through yet.
    arriving: usize,
    failures: Option<Box<Failures>>,
    reporter: Option<Box<Reporter>>,
    ledger: Ledger,
}

/// Nothing in it is borrowed from within.
impl<S, C> Unpin for Run<S, C> {}

impl<S, C> Run<S, C> {
    pub(crate) fn new(client: Client, source: S) -> Run<S, C> {
        let ledger = Ledger::new(&client);
        let asker = Asker::of(client, ledger.run);
        let stated = asker.client.dispatcher.endpoints.iter().all(|endpoint| endpoint.limits.concurrency.is_some());
        Run {
            twins: Twins::new(asker.client.dedupe),
            source: Box::pin(source),
            source_ended: false,
            asked: FuturesUnordered::new(),
            waiting: Arc::default(),
            bytes: 0,
            index: 0,
            stopped: Box::pin(asker.stop.clone().cancelled_owned()),
            most: usize::MAX,
            most_ahead: if stated { LEAST_AHEAD } else { MOST_AHEAD },
            routes: Vec::new(),
            packer: None,
            linger: None,
            prefixes: asker.client.warms.then(Prefixes::new),
            patience: None,
            asker: Arc::new(asker),
            ready: VecDeque::new(),
            rest: Vec::new().into_iter(),
            hooks: None,
            arriving: 0,
            failures: None,
            reporter: None,
            ledger,
        }
    }

    fn asker(&mut self) -> &mut Asker {
        Arc::make_mut(&mut self.asker)
    }

    /// Returns whether more requests would be of use just now.
    fn has_use(&self) -> bool {
        let twice = (2 * self.asker.client.dispatcher.admission.capacity()).max(LEAST_AHEAD);
        // Those of a route that cannot send shall not keep another's from being taken.
        let ahead = if self.routes.len() > 1 { twice } else { twice.min(self.most_ahead) };
        self.waiting.load(Ordering::Relaxed) < ahead && self.asked.len() < self.most
    }

    fn wants_more(&self) -> bool {
        self.has_use()
            && self.ready.len() < MOST_AHEAD
            && self.twins.has_room()
            && self.prefixes.as_ref().is_none_or(Prefixes::has_room)
            && (self.bytes < MOST_BYTES || self.asked.is_empty())
    }

    fn route(&mut self, whom: Whom) -> RouteId {
        if let Some((_, route)) = self.routes.iter().find(|(known, _)| *known == whom) {
            return *route;
        }
        let route = self.asker.route(&whom.0, whom.1.as_deref());
        self.routes.push((whom, route));
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

    /// Returns whether the run has been stopped and has not looked up yet; if not, the task is woken when it is. Waiting for
    /// that costs more than to look whether it is so, and is only for who has nothing else to do.
    fn is_stopped(&mut self, cx: &mut Context<'_>) -> bool {
        !self.source_ended && self.stopped.as_mut().poll(cx).is_ready()
    }

    /// Takes items while there is use for them. Returns whether any was taken, or has turned out to be the last.
    fn take(&mut self, cx: &mut Context<'_>) -> bool {
        let before = (self.index, self.source_ended);
        let begun = self.begin_free();
        if !self.source_ended && self.asker.stop.is_cancelled() {
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
        begun || (self.index, self.source_ended) != before
    }

    fn start(&mut self, mut item: Item<C>) {
        self.asker.client.fill_in(&mut item.request);
        self.asker.retries.began();
        let deadline = item.deadline.or(item.retry.as_deref().unwrap_or(&self.asker.retry).deadline);
        let urgency = Urgency::new(item.priority, deadline);
        let arrival = Arrival { index: self.index, urgency, bytes: item.request.size() };
        self.bytes += arrival.bytes;
        self.index += 1;
        match self.hooks.clone() {
            Some(hooks) => self.let_through(hooks, arrival, item),
            None => self.enter(arrival, item, None),
        }
    }

    fn enter(&mut self, arrival: Arrival, item: Item<C>, hooked: Option<Box<Hooked>>) {
        let Item { request, context, id, labels, models, regions, retry, .. } = item;
        let regions = (!regions.is_empty()).then(|| regions.into_boxed_slice());
        let twin = self.twins.key((&models, &regions, &labels), &request, &self.asker.policy);
        let Arrival { index, urgency, bytes } = arrival;
        let route = self.route((models, regions.clone()));
        let place = Place { index, route, regions, urgency, retry, warmth: None };
        let begun = Begun::default();
        self.meet(Box::new(Member { place, request, context, id, labels, bytes, twin, begun, hooked }));
    }

    fn meet(&mut self, member: Box<Member<C>>) {
        match self.twins.meet(member) {
            Met::Alone(member) => self.gather(member),
            Met::Waits => {}
            Met::Known(first) => {
                self.asker.tell(&first.0);
                self.bytes -= first.1.bytes;
                self.deliver(first, Vec::new());
            }
        }
    }

    fn gather(&mut self, member: Box<Member<C>>) {
        // One that is tried in a way of its own goes alone.
        let Some(packer) = self.packer.as_mut().filter(|_| member.place.retry.is_none()) else {
            return self.ask(Load::One(member));
        };
        let (asker, route) = (&self.asker, member.place.route);
        let loads = packer.add(member, || asker.room(route), Instant::now());
        loads.into_iter().for_each(|load| self.ask(load));
    }

    /// Starts to ask, unless what is asked waits for the first request that begins alike.
    fn ask(&mut self, load: Load<C>) {
        let Some(prefixes) = &mut self.prefixes else { return self.begin(load, None) };
        let Some(prefix) = load.prefix(&self.asker) else { return self.begin(load, None) };
        match prefixes.meet(prefix, load, Instant::now()) {
            Turn::First(load, warmth) => self.begin_beside(load, warmth, Some(prefix)),
            Turn::Next(load, Some(warmth)) => self.begin_beside(load, warmth, None),
            Turn::Next(load, None) => self.begin(load, None),
            Turn::Held => {}
        }
    }

    /// Starts to ask; `first` is the prefix that this is the first request of.
    fn begin(&self, load: Load<C>, first: Option<u64>) {
        let (asker, admitted) = (self.asker.clone(), Waiting::new(&self.waiting));
        self.asked.push(match load {
            Load::One(member) => boxed(|| async move {
                let answered = asker.ask(member, admitted).await;
                (Came::One(Box::new(answered)), first)
            }),
            Load::Many(pack) => boxed(|| async move { (Came::Many(ask_together(asker, pack, admitted).await), first) }),
        });
    }

    /// Lets those go that have waited for long enough. Returns whether there were any.
    fn hurry(&mut self, cx: &mut Context<'_>) -> bool {
        self.hurry_packs(cx) | self.hurry_prefixes(cx)
    }

    fn hurry_packs(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(packer) = self.packer.as_mut().filter(|packer| !packer.is_empty()) else { return false };
        let idle = self.waiting.load(Ordering::Relaxed) == 0;
        let loads = match packer.due() {
            _ if self.source_ended && self.arriving == 0 => packer.finish(),
            // While others wait for admission it costs no time to wait with them.
            Some(due) if idle && is_due(&mut self.linger, due, cx) => packer.overdue(Instant::now()),
            _ => Vec::new(),
        };
        let some = !loads.is_empty();
        loads.into_iter().for_each(|load| self.ask(load));
        some
    }

    /// Takes what a future came to.
    fn settle(&mut self, came: Came<C>) {
        let mut done = Vec::new();
        match came {
            Came::One(first) => {
                self.end(&first.0, &first.1, &mut done);
                self.deliver(first, done);
            }
            Came::Many(unpacked) => {
                if let Some(packer) = &mut self.packer {
                    packer.learn(unpacked.asked, unpacked.answered);
                }
                for (outcome, kept) in unpacked.done {
                    self.asker.tell(&outcome);
                    self.end(&outcome, &kept, &mut done);
                    done.push((outcome, kept));
                }
                if let Some(last) = done.pop() {
                    self.deliver(Box::new(last), done);
                }
                unpacked.again.into_iter().for_each(|load| self.ask(load));
            }
            Came::Passed(arrival, item, passed, early) => {
                self.passed(arrival, *item, passed, early.map(|early| *early))
            }
            Came::Ended(done) => self.ready.push_back(done),
        }
    }

    /// Notes that a request has its outcome; identical ones that have it too are added to `done`.
    fn end(&mut self, outcome: &Outcome, kept: &Kept<C>, done: &mut Vec<Answered<C>>) {
        self.bytes -= kept.bytes;
        if outcome.result.as_ref().is_err_and(|failure| failure.kind == Kind::Budget) {
            self.source_ended = true;
            self.ledger.stopped(Ended::Budget);
        }
        let Some(key) = &kept.twin else { return };
        let over = self.twins.end(key, outcome);
        for (outcome, kept) in over.have {
            self.asker.tell(&outcome);
            self.bytes -= kept.bytes;
            done.push((outcome, kept));
        }
        over.ask.into_iter().for_each(|member| self.meet(member));
    }

    /// Counts what is handed out.
    fn hand_out(&mut self, done: &Done<C>) {
        for (outcome, _) in std::iter::once(&*done.first).chain(&done.rest) {
            self.ledger.add(outcome);
            self.count_failures(outcome);
            self.note(outcome);
        }
    }

    /// Returns what is done next. Everything that has arrived is looked at before more is taken: what is done in turn for
    /// many requests costs less than what is done for each in full.
    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Option<Done<C>>> {
        self.ledger.began();
        let reported = self.report(cx);
        loop {
            if let Some(done) = self.ready.pop_front() {
                self.hand_out(&done);
                return Poll::Ready(Some(done));
            }
            match Pin::new(&mut self.asked).poll_next(cx) {
                Poll::Ready(Some((came, first))) => {
                    self.settle(came);
                    if let (Some(prefix), Some(prefixes)) = (first, &mut self.prefixes) {
                        prefixes.warmed(prefix, Instant::now());
                    }
                }
                // Admissions during this poll may have made room for more.
                _ if self.take(cx) || self.hurry(cx) || self.is_stopped(cx) => {}
                Poll::Ready(None) if self.source_ended && reported.is_ready() => {
                    self.ledger.completed();
                    return Poll::Ready(None);
                }
                _ => return Poll::Pending,
            }
        }
    }

    /// Turns the run into a stream of what is done together.
    fn together(mut self) -> impl Stream<Item = Done<C>> {
        stream::poll_fn(move |cx| self.poll_done(cx))
    }
}

impl<S, C> Stream for Run<S, C>
where
    S: Stream<Item = Item<C>>,
    C: Send + 'static,
{
    type Item = (Outcome, C);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<(Outcome, C)>> {
        let with_context = |(outcome, kept): Answered<C>| (outcome, kept.context);
        if let Some(next) = self.rest.next() {
            return Poll::Ready(Some(with_context(next)));
        }
        self.poll_done(cx).map(|done| {
            done.map(|Done { first, rest }| {
                self.rest = rest.into_iter();
                with_context(*first)
            })
        })
    }
}
