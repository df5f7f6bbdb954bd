//! The synchronous machine behind admission: no clock of its own, no waiting, no lock.
//!
//! It is told what happened and what time it is, admits whoever may go, and leaves the wakers of those to be called when
//! the lock is gone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::task::Waker;

use tokio::time::Instant;

use super::tickets::{Fate, Ticket, TicketId, Tickets};
use super::{Ask, RouteId, Turn};
use crate::dispatch::balance::{Balance, Candidate};
use crate::dispatch::endpoint::{Call, Endpoint, Settled, State};
use crate::dispatch::gate::{Shared, SharedLimits};
use crate::dispatch::limit::Ready;
use crate::event::Snapshot;
use crate::failure::{Aside, Failure, Kind};
use crate::limits::Limit;

/// The endpoints, the queues in front of them, and who waits in these.
pub(super) struct Scheduler {
    pub(super) states: Vec<State>,
    pub(super) routes: Vec<Route>,
    pub(super) tickets: Tickets,
    /// The limits of accounts and of the whole.
    pub(super) shared: Shared,
    /// Whether the user has paused everything.
    pub(super) paused: bool,
    balance: Balance,
    rng: fastrand::Rng,
    pub(super) wakers: Vec<Waker>,
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

pub(super) struct Route {
    pub(super) endpoints: Vec<usize>,
    queue: BinaryHeap<Reverse<(Turn, TicketId)>>,
    blocked: Option<Limit>,
}

impl Scheduler {
    pub(super) fn new(
        endpoints: Vec<Arc<Endpoint>>,
        shared: SharedLimits,
        balance: Balance,
        seed: u64,
        now: Instant,
    ) -> Scheduler {
        Scheduler {
            states: endpoints.into_iter().map(|endpoint| State::new(endpoint, now)).collect(),
            routes: Vec::new(),
            tickets: Tickets::default(),
            shared: Shared::new(shared, now),
            paused: false,
            balance,
            rng: fastrand::Rng::with_seed(seed),
            wakers: Vec::new(),
            candidates: Vec::new(),
            chosen: Vec::new(),
        }
    }

    pub(super) fn route(&mut self, endpoints: Vec<usize>) -> RouteId {
        let known = self.routes.iter().position(|route| route.endpoints == endpoints);
        RouteId(known.unwrap_or_else(|| {
            self.routes.push(Route { endpoints, queue: BinaryHeap::new(), blocked: None });
            self.routes.len() - 1
        }))
    }

    pub(super) fn capacity(&self) -> usize {
        let serving = self.states.iter().filter(|state| state.aside.is_none());
        serving.map(State::limit).fold(0, usize::saturating_add).min(self.shared.most())
    }

    pub(super) fn enqueue(&mut self, ask: Ask, waker: Waker) -> TicketId {
        let (route, turn) = (ask.route.0, ask.turn);
        let id = self.tickets.add(Ticket { ask, waker, fate: Fate::Waiting, armed: None });
        self.routes[route].queue.push(Reverse((turn, id)));
        id
    }

    /// Admits everyone who may go now, the earliest first, and sees to it that the heads keep the clock.
    pub(super) fn pump(&mut self, now: Instant) {
        while let Some(route) = self.next_route(now) {
            let Some(Reverse((_, id))) = self.routes[route].queue.pop() else { return };
            let (Some(place), Some(ticket)) = (pick(self.balance, &self.chosen, &mut self.rng), self.tickets.get(id))
            else {
                return;
            };
            let mut cost = self.states[place].cost(ticket.ask.bytes, ticket.ask.max_tokens);
            self.states[place].admit(now, &mut cost);
            ticket.fate = Fate::Admitted { place, cost };
            self.wakers.push(ticket.waker.clone());
            self.shared.admit(self.states[place].endpoint.account, now, cost);
        }
    }

    /// Returns the route whose head may go now and has waited longest, with the endpoints that could take it in `chosen`;
    /// notes for the others what they wait for.
    fn next_route(&mut self, now: Instant) -> Option<usize> {
        let mut best: Option<(Turn, usize)> = None;
        for route in 0..self.routes.len() {
            let Some((turn, id)) = self.head(route) else { continue };
            if self.paused {
                self.routes[route].blocked = Some(Limit::Paused);
                continue;
            }
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
                let serves =
                    |state: &State| state.serves(now) && !self.shared.is_done_for_the_day(state.endpoint.account, now);
                let serving = || endpoints.iter().filter(|&&place| serves(&self.states[place]));
                let fresh = serving().find(|place| !ask.tried.contains(place));
                fresh.or_else(|| serving().next()).map(|&place| self.states[place].endpoint.order)
            }
            _ => None,
        };
        // Where none is fit, health is ignored: requests must be able to fail.
        let heed = endpoints.iter().any(|&place| self.states[place].fit(now));
        let mut ready = Ready::Never;
        for &place in endpoints {
            let state = &self.states[place];
            if let Some(at) = state.health.wait(now).filter(|_| heed && state.aside.is_none()) {
                ready = ready.or(Ready::At(at, Limit::Cooldown));
                continue;
            }
            if preferred.is_some_and(|order| state.endpoint.order != order) {
                continue;
            }
            let cost = state.cost(ask.bytes, ask.max_tokens);
            let here = state.ready(now, cost).and(self.shared.ready(state.endpoint.account, now, cost));
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

    pub(super) fn settle(&mut self, now: Instant, place: usize, call: &Call<'_>) -> Settled {
        let jitter = self.rng.f64();
        let cooldown = self.states[place].settle(now, call, jitter);
        let account = self.states[place].endpoint.account;
        self.shared.release(account);
        self.shared.give_back(account, now, call.sent, call.unused());
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

    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        let waiting = self.tickets.len();
        let blocked = self.routes.iter().filter(|route| !route.queue.is_empty()).find_map(|route| route.blocked);
        let endpoints = self.states.iter().map(|state| state.snapshot(now)).collect();
        Snapshot { endpoints, waiting, limited_by: blocked }
    }
}
