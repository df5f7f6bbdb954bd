//! The queue in front of the endpoints: who may send next, and where.
//!
//! Admission is one mutex around a synchronous [`Scheduler`]. Whoever settles a call also admits the next waiter and wakes
//! it, so nobody polls and no wake-up costs more than one waiter. Where only the clock can help (a bucket refills, a pause
//! ends), the waiter at the head of its queue keeps the clock: it alone holds a timer.
//!
//! There is one queue per *route*, a set of endpoints. A request that must not go back to an endpoint continues on the
//! route without it, so a cooling model never blocks another's queue. Within a queue the order is that of first arrival: a
//! retry keeps its place.

mod control;
mod scheduler;
mod tickets;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::time::{Instant, Sleep};

use self::scheduler::Scheduler;
use self::tickets::{Fate, Ticket, TicketId};
use crate::call::limits::Hints;
use crate::dispatch::balance::Balance;
use crate::dispatch::endpoint::{Call, Endpoint, Settled, State};
use crate::dispatch::gate::SharedLimits;
use crate::dispatch::limit::Cost;
use crate::event::Snapshot;
use crate::failure::{Failure, Kind};
use crate::response::Usage;

/// A set of endpoints with a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RouteId(usize);

/// A request's place in the queues, given at its first arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn(u64);

/// What a request asks of admission.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) route: RouteId,
    pub(crate) turn: Turn,
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
        balance: Balance,
        seed: u64,
    ) -> Arc<Admission> {
        let scheduler = Scheduler::new(endpoints, shared, balance, seed, Instant::now());
        let capacity = AtomicUsize::new(scheduler.capacity());
        Arc::new(Admission { scheduler: Mutex::new(scheduler), turns: AtomicU64::new(0), capacity })
    }

    /// Returns the next place in the queues.
    pub(crate) fn turn(&self) -> Turn {
        Turn(self.turns.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns how many requests the endpoints may have in flight together.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Returns the route over every endpoint, or over those of one model.
    pub(crate) fn route(&self, model: Option<&str>) -> RouteId {
        let mut scheduler = self.lock();
        let of = |state: &State| model.is_none_or(|model| &*state.endpoint.model == model);
        let set = (0..scheduler.states.len()).filter(|&i| of(&scheduler.states[i])).collect();
        scheduler.route(set)
    }

    /// Returns the route without one endpoint, or without its whole model.
    pub(crate) fn without(&self, route: RouteId, endpoint: usize, whole_model: bool) -> RouteId {
        let mut scheduler = self.lock();
        let model = scheduler.states[endpoint].endpoint.model.clone();
        let keep = |i: usize| i != endpoint && !(whole_model && scheduler.states[i].endpoint.model == model);
        let set = scheduler.routes[route.0].endpoints.iter().copied().filter(|&i| keep(i)).collect();
        scheduler.route(set)
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

    /// Returns how the endpoints are doing.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.lock().snapshot(Instant::now())
    }

    /// Returns why no endpoint serves any more, if so.
    pub(crate) fn exhausted(&self) -> Option<Failure> {
        let scheduler = self.lock();
        let serving = scheduler.states.iter().any(|state| state.aside.is_none());
        if serving { None } else { scheduler.states.first().and_then(|state| state.aside.clone()) }
    }

    /// Changes the scheduler, lets whoever may go now go, and wakes them outside the lock.
    fn change<T>(&self, act: impl FnOnce(&mut Scheduler, Instant) -> T) -> T {
        let mut scheduler = self.lock();
        let now = Instant::now();
        let result = act(&mut scheduler, now);
        scheduler.pump(now);
        self.capacity.store(scheduler.capacity(), Ordering::Relaxed);
        let wakers = std::mem::take(&mut scheduler.wakers);
        drop(scheduler);
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Scheduler> {
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
            Some(Fate::Admitted { place, cost }) => Ok(Lease {
                admission: self.admission.clone(),
                place,
                cost,
                bytes,
                sent: Instant::now(),
                state: LeaseState::Admitted,
            }),
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
                scheduler.states[place].withdraw(now, cost);
                let account = scheduler.states[place].endpoint.account;
                scheduler.shared.release(account);
                scheduler.shared.give_back(account, now, now, cost.all());
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
    /// Tells limiter and health how the call ended.
    pub(crate) fn settle(mut self, usage: Option<&Usage>, failure: Option<&Failure>, hints: &Hints) -> Settled {
        self.state = LeaseState::Settled;
        let call = Call { sent: self.sent, bytes: self.bytes, cost: self.cost, usage, failure, hints };
        self.admission.change(|scheduler, now| scheduler.settle(now, self.place, &call))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.state == LeaseState::Admitted {
            let (place, cost) = (self.place, self.cost);
            self.admission.change(|scheduler, _| {
                scheduler.states[place].abandon(cost);
                scheduler.shared.release(scheduler.states[place].endpoint.account);
            });
        }
    }
}
