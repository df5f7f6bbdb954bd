//! The queue in front of the endpoints: who may send next, and where.
//!
//! Admission is one mutex around a synchronous [`Scheduler`]. Whoever settles a call also admits the next waiter and wakes
//! it, so nobody polls and no wake-up costs more than one waiter. Where only the clock can help (a bucket refills, a pause
//! ends), the waiter at the head of its queue keeps the clock: it alone holds a timer.
//!
//! There is one queue per *route*, a set of endpoints. A request that must not go back to an endpoint continues on the
//! route without it, so a cooling model never blocks another's queue.
//!
//! Within a queue the order is that of [`Rank`]: classes first, in a class those whose time is over soonest, then first
//! arrival; a retry keeps its place. A class counts for as much as ten minutes of waiting, and a deadline moves a request
//! within its class only. So nobody starves: what arrives more than ten minutes later for each class between them, and ten
//! more, never goes first.

mod affinity;
mod control;
#[cfg(test)]
mod model;
mod places;
mod regions;
mod scheduler;
mod tickets;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

pub(crate) use self::affinity::Warmth;
use self::places::Places;
use self::scheduler::Scheduler;
use self::tickets::{Fate, Ticket, TicketId};
use crate::call::limits::Hints;
use crate::dispatch::balance::{Chooser, Labels};
use crate::dispatch::endpoint::{Call, Endpoint, Settled};
use crate::dispatch::gate::SharedLimits;
use crate::dispatch::limit::Cost;
use crate::event::Snapshot;
use crate::failure::{Failure, Kind};
use crate::response::Usage;

/// A set of endpoints with a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RouteId(usize);

/// How long a request must wait to be as urgent as one that just arrives in the class above.
const CLASS: Duration = Duration::from_secs(600);

/// How urgent a request is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Urgency {
    /// Its class; 0 is the most urgent.
    pub(crate) priority: u8,
    /// When its time is over, if ever.
    pub(crate) deadline: Option<Instant>,
}

impl Urgency {
    /// Returns the urgency of a request that arrives now and has that much time.
    pub(crate) fn new(priority: u8, time: Option<Duration>) -> Urgency {
        // A time so long that the clock cannot show its end has none.
        Urgency { priority, deadline: time.and_then(|time| Instant::now().checked_add(time)) }
    }
}

/// A request's place in the queues, given at its first arrival: when it is due, and whose turn it is among equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    due: Instant,
    turn: u64,
}

impl Rank {
    fn new(arrived: Instant, turn: u64, urgency: Urgency) -> Rank {
        let within = urgency.deadline.map_or(CLASS, |deadline| CLASS.min(deadline.duration_since(arrived)));
        Rank { due: arrived + CLASS * u32::from(urgency.priority) + within, turn }
    }
}

/// What a request asks of admission.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) route: RouteId,
    pub(crate) rank: Rank,
    pub(crate) priority: u8,
    pub(crate) deadline: Option<Instant>,
    pub(crate) labels: Labels,
    pub(crate) bytes: usize,
    pub(crate) max_tokens: Option<u32>,
    /// Endpoints where it has failed already; empty on the first attempt.
    pub(crate) tried: Vec<usize>,
}

/// The shared queue.
pub(crate) struct Admission {
    scheduler: Mutex<Scheduler>,
    turns: AtomicU64,
    capacity: AtomicUsize,
}

impl Admission {
    pub(crate) fn new(
        endpoints: Vec<Arc<Endpoint>>,
        shared: SharedLimits,
        chooser: Chooser,
        seed: u64,
    ) -> Arc<Admission> {
        let places = Places::new(endpoints, shared, chooser, seed, Instant::now());
        let capacity = AtomicUsize::new(places.capacity());
        let scheduler = Mutex::new(Scheduler::new(places));
        Arc::new(Admission { scheduler, turns: AtomicU64::new(0), capacity })
    }

    /// Returns the place in the queues of a request that arrives now.
    pub(crate) fn rank(&self, now: Instant, urgency: Urgency) -> Rank {
        Rank::new(now, self.turns.fetch_add(1, Ordering::Relaxed), urgency)
    }

    /// Returns how many requests the endpoints may have in flight together.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Returns the route over the endpoints of these models, the first preferred.
    pub(crate) fn route(&self, models: &[Arc<str>]) -> RouteId {
        self.route_in(models, &[])
    }

    /// Returns the route over the endpoints of these models that are in these regions; in any if none is named.
    pub(crate) fn route_in(&self, models: &[Arc<str>], regions: &[String]) -> RouteId {
        let mut scheduler = self.lock();
        let states = &scheduler.places.states;
        let of =
            |model: &Arc<str>, i: &usize| states[*i].endpoint.model == *model && states[*i].endpoint.is_in(regions);
        let all = 0..states.len();
        let set = models.iter().flat_map(|model| all.clone().filter(move |i| of(model, i))).collect();
        scheduler.route(set)
    }

    /// Returns the route without one endpoint, or without its whole model.
    pub(crate) fn without(&self, route: RouteId, endpoint: usize, whole_model: bool) -> RouteId {
        let mut scheduler = self.lock();
        let model = |i: usize| &scheduler.places.states[i].endpoint.model;
        let keep = |i: usize| i != endpoint && !(whole_model && model(i) == model(endpoint));
        let set = scheduler.routes[route.0].endpoints.iter().copied().filter(|&i| keep(i)).collect();
        scheduler.route(set)
    }

    /// Returns whether nobody is there any more, for now.
    pub(crate) fn is_awaited(&self, endpoint: usize) -> bool {
        self.lock().places.states[endpoint].health.is_awaited(Instant::now())
    }

    /// Returns the endpoints of a route.
    pub(crate) fn endpoints_of(&self, route: RouteId) -> Vec<usize> {
        self.lock().routes[route.0].endpoints.clone()
    }

    /// Waits until the request may be sent.
    ///
    /// # Errors
    ///
    /// The failure that took the last endpoint of the route out of service.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place, or gives back what was admitted.
    pub(crate) fn acquire(self: &Arc<Admission>, ask: Ask) -> Acquire {
        Acquire { admission: self.clone(), ask: Some(ask), ticket: None, clock: None }
    }

    /// Admits a request at once where quota is idle: where an endpoint is ready that nobody waits for.
    pub(crate) fn try_admit(self: &Arc<Admission>, ask: &Ask) -> Option<Lease> {
        let admitted = self.change(|scheduler, now| scheduler.admit_idle(ask, now));
        admitted.map(|(place, cost)| Lease::new(self.clone(), place, cost, ask.bytes))
    }

    /// Returns how the endpoints are doing.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.lock().snapshot(Instant::now())
    }

    /// Returns why no endpoint serves any more, if so.
    pub(crate) fn exhausted(&self) -> Option<Failure> {
        let scheduler = self.lock();
        let states = &scheduler.places.states;
        if states.iter().any(|state| state.aside.is_none()) { None } else { states.first()?.aside.clone() }
    }

    /// Changes the scheduler, lets whoever may go now go, and wakes them outside the lock.
    fn change<T>(&self, act: impl FnOnce(&mut Scheduler, Instant) -> T) -> T {
        let mut scheduler = self.lock();
        let now = Instant::now();
        let result = act(&mut scheduler, now);
        scheduler.pump(now);
        self.capacity.store(scheduler.places.capacity(), Ordering::Relaxed);
        // Mostly it is one, and the room for it stays.
        let last = scheduler.wakers.pop();
        let before = if scheduler.wakers.is_empty() { Vec::new() } else { std::mem::take(&mut scheduler.wakers) };
        drop(scheduler);
        #[cfg(test)]
        model::switch();
        before.into_iter().chain(last).for_each(Waker::wake);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Scheduler> {
        #[cfg(test)]
        model::switch();
        // The state machine is consistent between any two statements that can panic: none can.
        self.scheduler.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wait for admission.
pub(crate) struct Acquire {
    admission: Arc<Admission>,
    ask: Option<Ask>,
    ticket: Option<(TicketId, usize)>,
    clock: Option<Pin<Box<Sleep>>>,
}

impl Future for Acquire {
    type Output = Result<Lease, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let id = match (this.ask.take(), this.ticket) {
            (Some(ask), _) => {
                let bytes = ask.bytes;
                // Most are admitted at once: only those who really wait leave a waker that costs something to wake.
                let id = this.admission.change(|scheduler, _| scheduler.enqueue(ask, Waker::noop().clone()));
                this.ticket = Some((id, bytes));
                id
            }
            (None, Some((id, _))) => id,
            (None, None) => return Poll::Pending,
        };
        loop {
            let armed = {
                let mut scheduler = this.admission.lock();
                let Some(ticket) = scheduler.tickets.get(id) else { return Poll::Pending };
                if !matches!(ticket.fate, Fate::Waiting) {
                    let ticket = scheduler.tickets.remove(id);
                    drop(scheduler);
                    return Poll::Ready(this.outcome(ticket));
                }
                ticket.waker.clone_from(cx.waker());
                ticket.armed
            };
            let Some(at) = armed else { return Poll::Pending };
            let clock = this.clock.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if clock.deadline() != at {
                clock.as_mut().reset(at);
            }
            if clock.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.admission.change(|scheduler, _| {
                if let Some(ticket) = scheduler.tickets.get(id) {
                    ticket.armed = None;
                }
            });
        }
    }
}

impl Acquire {
    fn outcome(&mut self, ticket: Option<Ticket>) -> Result<Lease, Failure> {
        let bytes = self.ticket.take().map_or(0, |(_, bytes)| bytes);
        match ticket.map(|ticket| ticket.fate) {
            Some(Fate::Admitted { place, cost }) => Ok(Lease::new(self.admission.clone(), place, cost, bytes)),
            Some(Fate::Refused(failure)) => Err(failure),
            Some(Fate::Waiting) | None => Err(Failure::new(Kind::Cancelled, "the request gave up its place")),
        }
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some((id, _)) = self.ticket else { return };
        self.admission.change(|scheduler, now| {
            if let Some(Fate::Admitted { place, cost }) = scheduler.tickets.remove(id).map(|ticket| ticket.fate) {
                scheduler.places.withdraw(now, place, cost);
            }
        });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeaseState {
    Admitted,
    Settled,
}

/// The right to one call. [`settle`](Lease::settle) says how it ended; dropped unsettled it only frees the concurrency,
/// because the call may have been served.
pub(crate) struct Lease {
    admission: Arc<Admission>,
    /// The endpoint's number.
    pub(crate) place: usize,
    cost: Cost,
    bytes: usize,
    /// When the call was admitted.
    pub(crate) sent: Instant,
    state: LeaseState,
}

impl Lease {
    fn new(admission: Arc<Admission>, place: usize, cost: Cost, bytes: usize) -> Lease {
        Lease { admission, place, cost, bytes, sent: Instant::now(), state: LeaseState::Admitted }
    }

    /// Returns what the call is thought to use.
    pub(crate) fn estimate(&self) -> Usage {
        let tokens = |estimate: f64| estimate.round() as u64;
        Usage { input_tokens: tokens(self.cost.input), output_tokens: tokens(self.cost.output), ..Usage::default() }
    }

    /// Returns how much of the time since then the endpoint was in a pause.
    pub(crate) fn cooled(&self, since: Instant) -> Duration {
        self.cost
            .paused
            .map_or(Duration::ZERO, |pause| pause.until.min(self.sent).duration_since(pause.began.max(since)))
    }

    /// Returns how long the pause was after which this is the first call, if it is one.
    pub(crate) fn ends_pause(&self) -> Option<Duration> {
        self.cost.paused.filter(|pause| pause.fresh).map(|pause| pause.until.duration_since(pause.began))
    }

    /// Gives back what was taken for a call that was not made.
    pub(crate) fn withdraw(mut self) {
        self.state = LeaseState::Settled;
        self.admission.change(|scheduler, now| scheduler.places.withdraw(now, self.place, self.cost));
    }

    /// Tells limiter and health how the call ended.
    pub(crate) fn settle(mut self, usage: Option<&Usage>, failure: Option<&Failure>, hints: &Hints) -> Settled {
        self.state = LeaseState::Settled;
        let call = Call { sent: self.sent, bytes: self.bytes, cost: self.cost, usage, failure, hints };
        self.admission.change(|scheduler, now| scheduler.places.settle(now, self.place, &call))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.state == LeaseState::Admitted {
            let (place, cost) = (self.place, self.cost);
            self.admission.change(|scheduler, _| scheduler.places.abandon(place, cost));
        }
    }
}

#[cfg(test)]
mod tests;
