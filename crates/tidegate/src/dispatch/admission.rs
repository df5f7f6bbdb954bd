//! The queue in front of the endpoints: who may send next, and where.
//!
//! Admission is one mutex around a synchronous [`Scheduler`]. Whoever settles a call also admits the next waiter and wakes
//! it, so nobody polls and no wake-up costs more than one waiter. Where only the clock can help (a bucket refills, a pause
//! ends), the waiter at the head of its queue keeps the clock: it alone holds a timer.
//!
//! There is one queue per *route*, a set of endpoints. A request that must not go back to an endpoint continues on the
//! route without it, so a cooling model never blocks another's queue. Within a queue the order is that of first arrival: a
//! retry keeps its place.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::time::{Instant, Sleep};

use crate::dispatch::balance::{Balance, Candidate};
use crate::dispatch::endpoint::{Call, Endpoint, Gate, Limits, Settled, State};
use crate::dispatch::limit::{Cost, Limit, Ready};
use crate::event::Snapshot;
use crate::failure::{Aside, Failure, Kind};
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
    pub(crate) fn new(endpoints: Vec<Arc<Endpoint>>, total: Limits, balance: Balance, seed: u64) -> Arc<Admission> {
        let scheduler = Scheduler::new(endpoints, total, balance, seed, Instant::now());
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

/// The synchronous machine behind admission.
struct Scheduler {
    states: Vec<State>,
    routes: Vec<Route>,
    tickets: Tickets,
    total: Gate,
    most: usize,
    balance: Balance,
    rng: fastrand::Rng,
    wakers: Vec<Waker>,
    /// The endpoints that could take the head just looked at, and those of the best head so far.
    candidates: Vec<(usize, Candidate)>,
    chosen: Vec<(usize, Candidate)>,
}

fn pick(balance: Balance, candidates: &[(usize, Candidate)], rng: &mut fastrand::Rng) -> Option<usize> {
    if let [(only, _)] = candidates {
        return Some(*only);
    }
    let seen: Vec<Candidate> = candidates.iter().map(|(_, candidate)| *candidate).collect();
    balance.pick(&seen, rng).map(|chosen| candidates[chosen].0)
}

struct Route {
    endpoints: Vec<usize>,
    queue: BinaryHeap<Reverse<(Turn, TicketId)>>,
    blocked: Option<Limit>,
}

impl Scheduler {
    fn new(endpoints: Vec<Arc<Endpoint>>, total: Limits, balance: Balance, seed: u64, now: Instant) -> Scheduler {
        Scheduler {
            states: endpoints.into_iter().map(|endpoint| State::new(endpoint, now)).collect(),
            routes: Vec::new(),
            tickets: Tickets::default(),
            total: Gate::new(&total, now),
            most: total.concurrency.map_or(usize::MAX, |n| n as usize),
            balance,
            rng: fastrand::Rng::with_seed(seed),
            wakers: Vec::new(),
            candidates: Vec::new(),
            chosen: Vec::new(),
        }
    }

    fn route(&mut self, endpoints: Vec<usize>) -> RouteId {
        let known = self.routes.iter().position(|route| route.endpoints == endpoints);
        RouteId(known.unwrap_or_else(|| {
            self.routes.push(Route { endpoints, queue: BinaryHeap::new(), blocked: None });
            self.routes.len() - 1
        }))
    }

    fn capacity(&self) -> usize {
        let serving = self.states.iter().filter(|state| state.aside.is_none());
        serving.map(State::limit).fold(0, usize::saturating_add).min(self.most)
    }

    fn enqueue(&mut self, ask: Ask, waker: Waker) -> TicketId {
        let (route, turn) = (ask.route.0, ask.turn);
        let id = self.tickets.add(Ticket { ask, waker, fate: Fate::Waiting, armed: None });
        self.routes[route].queue.push(Reverse((turn, id)));
        id
    }

    /// Admits everyone who may go now, the earliest first, and sees to it that the heads keep the clock.
    fn pump(&mut self, now: Instant) {
        while let Some(route) = self.next_route(now) {
            let Some(Reverse((_, id))) = self.routes[route].queue.pop() else { return };
            let (Some(place), Some(ticket)) = (pick(self.balance, &self.chosen, &mut self.rng), self.tickets.get(id))
            else {
                return;
            };
            let cost = self.states[place].cost(ticket.ask.bytes, ticket.ask.max_tokens);
            ticket.fate = Fate::Admitted { place, cost };
            self.wakers.push(ticket.waker.clone());
            self.states[place].admit(now, cost);
            self.total.admit(now, cost);
        }
    }

    /// Returns the route whose head may go now and has waited longest, with the endpoints that could take it in `chosen`;
    /// notes for the others what they wait for.
    fn next_route(&mut self, now: Instant) -> Option<usize> {
        let mut best: Option<(Turn, usize)> = None;
        for route in 0..self.routes.len() {
            let Some((turn, id)) = self.head(route) else { continue };
            match self.ready(route, id, now) {
                Ready::Now => {
                    if best.is_none_or(|(first, _)| turn < first) {
                        best = Some((turn, route));
                        std::mem::swap(&mut self.candidates, &mut self.chosen);
                    }
                }
                Ready::At(at, limit) => {
                    self.routes[route].blocked = Some(limit);
                    self.arm(id, at);
                }
                Ready::Later(limit) => self.routes[route].blocked = Some(limit),
                Ready::Never => self.refuse_all(route),
            }
        }
        best.map(|(_, route)| route)
    }

    /// Returns the first waiter of a route, dropping those that gave up.
    fn head(&mut self, route: usize) -> Option<(Turn, TicketId)> {
        let route = &mut self.routes[route];
        route.blocked = None;
        while let Some(Reverse((turn, id))) = route.queue.peek().copied() {
            if self.tickets.get(id).is_some() {
                return Some((turn, id));
            }
            route.queue.pop();
        }
        None
    }

    /// Returns when the waiter may go, and leaves the endpoints that could take it now in `candidates`.
    fn ready(&mut self, route: usize, id: TicketId, now: Instant) -> Ready {
        self.candidates.clear();
        let Some(ticket) = self.tickets.get(id) else { return Ready::Never };
        let ask = &ticket.ask;
        let endpoints = &self.routes[route].endpoints;
        let preferred = match self.balance {
            Balance::Order => {
                let serving = || endpoints.iter().filter(|&&place| self.states[place].serves(now));
                let fresh = serving().find(|place| !ask.tried.contains(place));
                fresh.or_else(|| serving().next()).map(|&place| self.states[place].endpoint.order)
            }
            _ => None,
        };
        let mut ready = Ready::Never;
        for &place in endpoints {
            let state = &self.states[place];
            if preferred.is_some_and(|order| state.endpoint.order != order) {
                continue;
            }
            let cost = state.cost(ask.bytes, ask.max_tokens);
            let total = if self.total.in_flight >= self.most {
                Ready::Later(Limit::Concurrency)
            } else {
                self.total.ready(now, cost)
            };
            let here = state.ready(now, cost).and(total);
            if here == Ready::Now {
                self.candidates.push((place, state.candidate(ask.tried.contains(&place))));
            }
            ready = ready.or(here);
        }
        ready
    }

    /// Wakes the head so that it sets its timer, unless it has one that is early enough.
    fn arm(&mut self, id: TicketId, at: Instant) {
        if let Some(ticket) = self.tickets.get(id)
            && ticket.armed.is_none_or(|armed| armed > at)
        {
            ticket.armed = Some(at);
            self.wakers.push(ticket.waker.clone());
        }
    }

    /// Tells everyone on a route that no endpoint of it will ever serve.
    fn refuse_all(&mut self, route: usize) {
        let why = self.routes[route].endpoints.iter().find_map(|&place| self.states[place].aside.clone());
        let why = why.unwrap_or_else(|| Failure::new(Kind::NotFound, "no endpoint is left for this request"));
        for Reverse((_, id)) in std::mem::take(&mut self.routes[route].queue) {
            if let Some(ticket) = self.tickets.get(id) {
                ticket.fate = Fate::Refused(why.clone());
                self.wakers.push(ticket.waker.clone());
            }
        }
    }

    fn settle(&mut self, now: Instant, place: usize, call: &Call<'_>) -> Settled {
        let jitter = self.rng.f64();
        let cooldown = self.states[place].settle(now, call, jitter);
        self.total.release();
        if let Some(usage) = call.usage {
            self.total.give_back(now, 0.0, call.cost.tokens - usage.total() as f64);
        }
        let set_aside = call.failure.map_or(0, |failure| self.set_aside(place, failure));
        Settled { cooldown, set_aside }
    }

    fn set_aside(&mut self, place: usize, failure: &Failure) -> usize {
        let Some(aside) = failure.kind.advice().aside else { return 0 };
        let key = self.states[place].endpoint.key;
        let mut count = 0;
        for (i, state) in self.states.iter_mut().enumerate() {
            let meant = match aside {
                Aside::Key => state.endpoint.key == key,
                Aside::Model => i == place,
            };
            if meant && state.aside.is_none() {
                state.aside = Some(failure.clone());
                count += 1;
            }
        }
        count
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        let waiting = self.tickets.len();
        let blocked = self.routes.iter().filter(|route| !route.queue.is_empty()).find_map(|route| route.blocked);
        let endpoints = self.states.iter().map(|state| state.snapshot(now)).collect();
        Snapshot { endpoints, waiting, limited_by: blocked }
    }
}

/// What became of a waiter.
enum Fate {
    Waiting,
    Admitted { place: usize, cost: Cost },
    Refused(Failure),
}

struct Ticket {
    ask: Ask,
    waker: Waker,
    fate: Fate,
    /// When the timer rings that this waiter keeps, if it keeps one.
    armed: Option<Instant>,
}

/// A ticket's slot and how often that slot was used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TicketId {
    slot: usize,
    uses: u64,
}

/// The tickets of everyone who waits, in slots that are used again.
#[derive(Default)]
struct Tickets {
    slots: Vec<(u64, Option<Ticket>)>,
    free: Vec<usize>,
}

impl Tickets {
    fn add(&mut self, ticket: Ticket) -> TicketId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() - 1
        });
        self.slots[slot].1 = Some(ticket);
        TicketId { slot, uses: self.slots[slot].0 }
    }

    fn get(&mut self, id: TicketId) -> Option<&mut Ticket> {
        let (uses, ticket) = &mut self.slots[id.slot];
        if *uses == id.uses { ticket.as_mut() } else { None }
    }

    fn remove(&mut self, id: TicketId) -> Option<Ticket> {
        let (uses, ticket) = &mut self.slots[id.slot];
        if *uses != id.uses {
            return None;
        }
        *uses += 1;
        self.free.push(id.slot);
        ticket.take()
    }

    fn len(&self) -> usize {
        self.slots.len() - self.free.len()
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
                scheduler.total.release();
                scheduler.total.give_back(now, 1.0, cost.tokens);
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
    pub(crate) fn settle(mut self, usage: Option<&Usage>, failure: Option<&Failure>) -> Settled {
        self.state = LeaseState::Settled;
        let call = Call { sent: self.sent, bytes: self.bytes, cost: self.cost, usage, failure };
        self.admission.change(|scheduler, now| scheduler.settle(now, self.place, &call))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.state == LeaseState::Admitted {
            let place = self.place;
            self.admission.change(|scheduler, _| {
                scheduler.states[place].gate.release();
                scheduler.total.release();
            });
        }
    }
}
