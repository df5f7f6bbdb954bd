//! The synchronous machine behind admission: no clock of its own, no waiting, no lock.
//!
//! It is told what happened and what time it is, admits whoever may go, and leaves the wakers of those to be called when
//! the lock is gone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::places::Places;
use super::tickets::{Fate, Ticket, TicketId, Tickets};
use super::{Ask, Rank, RouteId};
use crate::dispatch::limit::{Cost, Ready};
use crate::event::Snapshot;
use crate::failure::{Failure, Kind};
use crate::limits::Limit;

/// What is told to a request with nowhere to go.
const NOBODY: &str =
    "no endpoint is left for this request, or it names models or regions that the client does not have";
/// When a policy that wanted no endpoint is asked again at the latest.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// The endpoints, the queues in front of them, and who waits in these.
pub(super) struct Scheduler {
    pub(super) places: Places,
    pub(super) routes: Vec<Route>,
    pub(super) tickets: Tickets,
    /// Whether the user has paused everything.
    pub(super) paused: bool,
    pub(super) wakers: Vec<Waker>,
    /// The endpoints that could take the head just looked at, and those of the best head so far.
    candidates: Vec<usize>,
    chosen: Vec<usize>,
    /// How many requests were given a part of the regions.
    pub(super) region_turn: usize,
}

pub(super) struct Route {
    pub(super) endpoints: Vec<usize>,
    queue: BinaryHeap<Reverse<(Rank, TicketId)>>,
    blocked: Option<Limit>,
    /// Whether the user's own policy wants to send the head nowhere just now.
    declined: bool,
}

impl Scheduler {
    pub(super) fn new(places: Places) -> Scheduler {
        Scheduler {
            places,
            routes: Vec::new(),
            tickets: Tickets::default(),
            paused: false,
            wakers: Vec::new(),
            candidates: Vec::new(),
            chosen: Vec::new(),
            region_turn: 0,
        }
    }

    pub(super) fn route(&mut self, endpoints: Vec<usize>) -> RouteId {
        let known = self.routes.iter().position(|route| route.endpoints == endpoints);
        RouteId(known.unwrap_or_else(|| {
            self.routes.push(Route { endpoints, queue: BinaryHeap::new(), blocked: None, declined: false });
            self.routes.len() - 1
        }))
    }

    pub(super) fn enqueue(&mut self, ask: Ask, waker: Waker) -> TicketId {
        let (route, rank) = (ask.route.0, ask.rank);
        let id = self.tickets.add(Ticket { ask, waker, fate: Fate::Waiting, armed: None });
        self.routes[route].queue.push(Reverse((rank, id)));
        id
    }

    /// Admits everyone who may go now, the first in rank first, and sees to it that the heads keep the clock.
    pub(super) fn pump(&mut self, now: Instant) {
        self.routes.iter_mut().for_each(|route| route.declined = false);
        while let Some((route, id)) = self.next_head(now) {
            let Some(ticket) = self.tickets.get(id) else { return };
            let Some(place) = self.places.pick(&ticket.ask, &self.chosen) else {
                self.routes[route].declined = true;
                self.arm(id, now + ASK_AGAIN);
                continue;
            };
            let cost = self.places.admit(now, place, &ticket.ask);
            ticket.fate = Fate::Admitted { place, cost };
            self.wakers.push(ticket.waker.clone());
            self.routes[route].queue.pop();
        }
    }

    /// Admits a request at once, where an endpoint is ready that nobody waits for.
    pub(super) fn admit_idle(&mut self, ask: &Ask, now: Instant) -> Option<(usize, Cost)> {
        if self.paused {
            return None;
        }
        self.pump(now);
        self.places.ready(&self.routes[ask.route.0].endpoints, ask, now, &mut self.candidates);
        let wanted = |place: &usize| self.routes.iter().any(|route| route.is_waited_for(*place));
        self.candidates.retain(|place| !wanted(place));
        let place = if self.candidates.is_empty() { None } else { self.places.pick(ask, &self.candidates) }?;
        Some((place, self.places.admit(now, place, ask)))
    }

    /// Returns the route and the ticket of the head that may go now and is first in rank, with the endpoints that could
    /// take it in `chosen`; notes for the others what they wait for.
    fn next_head(&mut self, now: Instant) -> Option<(usize, TicketId)> {
        let mut best: Option<(Rank, usize, TicketId)> = None;
        for route in 0..self.routes.len() {
            let Some((rank, id)) = self.head(route) else { continue };
            if self.paused {
                self.routes[route].blocked = Some(Limit::Paused);
                continue;
            }
            let Some(ticket) = self.tickets.get(id) else { continue };
            match self.places.ready(&self.routes[route].endpoints, &ticket.ask, now, &mut self.candidates) {
                Ready::Now if self.routes[route].declined => {}
                Ready::Now => {
                    if best.is_none_or(|(first, ..)| rank < first) {
                        best = Some((rank, route, id));
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
        best.map(|(_, route, id)| (route, id))
    }

    /// Returns the first waiter of a route, dropping those that gave up.
    fn head(&mut self, route: usize) -> Option<(Rank, TicketId)> {
        let route = &mut self.routes[route];
        route.blocked = None;
        while let Some(Reverse((rank, id))) = route.queue.peek().copied() {
            if self.tickets.get(id).is_some() {
                return Some((rank, id));
            }
            route.queue.pop();
        }
        None
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
        let why = self.routes[route].endpoints.iter().find_map(|&place| self.places.states[place].aside.clone());
        let why = why.unwrap_or_else(|| Failure::new(Kind::NotFound, NOBODY));
        for Reverse((_, id)) in std::mem::take(&mut self.routes[route].queue) {
            if let Some(ticket) = self.tickets.get(id) {
                ticket.fate = Fate::Refused(why.clone());
                self.wakers.push(ticket.waker.clone());
            }
        }
    }

    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        let waiting = self.tickets.len();
        let blocked = self.routes.iter().filter(|route| !route.queue.is_empty()).find_map(|route| route.blocked);
        let endpoints = self.places.states.iter().map(|state| state.snapshot(now)).collect();
        Snapshot { endpoints, waiting, limited_by: blocked }
    }
}

impl Route {
    pub(super) fn is_waited_for(&self, place: usize) -> bool {
        !self.queue.is_empty() && self.endpoints.contains(&place)
    }
}
