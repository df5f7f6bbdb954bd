//! Who dials and who waits: the book-keeping of one origin, without sockets and without a clock of its own.
//!
//! A request needs room: a free stream on an HTTP/2 connection, or a connection that it dials itself. A thousand
//! requests that start at once must not dial a thousand times only to learn that one connection carries a hundred of
//! them, so the first one dials and the others wait until the server's limit is known:
//!
//! | known about the server | room for a request without a free stream |
//! |---|---|
//! | nothing | the first dials, the others wait |
//! | HTTP/1.1 | everybody dials for themselves |
//! | HTTP/2, n streams a connection | as many dial as ⌈requests without a stream / n⌉, the others wait |
//!
//! A dial belongs to the request that makes it. When that request is dropped, the next waiter dials. When the dial
//! fails and nothing else is left to wait for, all waiters fail with it, so that an unreachable server is not tried by
//! one after the other, each for the whole connect time-out.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::failure::Failure;

/// What a request gets in its turn.
pub(super) enum Grant<C> {
    /// A stream.
    Stream(Place<C>),
    /// The task to dial, ended by [`Streams::dialed_one`], [`Streams::dialed_many`], [`Streams::dial_failed`] or
    /// [`Streams::dial_dropped`].
    Dial,
    /// The failure of the dial that it waited for.
    Failed(Failure),
}

/// A stream on a connection, ended by [`Streams::release`].
pub(super) struct Place<C> {
    /// The connection.
    pub(super) connection: C,
    /// Its number.
    pub(super) id: u64,
}

/// What is known about a server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Nothing yet.
    Unknown,
    /// HTTP/1.1: one request at a time on a connection.
    One,
    /// HTTP/2: many.
    Many,
}

struct Entry<C> {
    connection: C,
    id: u64,
    limit: usize,
    in_flight: usize,
    since: Instant,
}

/// The HTTP/2 connections of an origin, its dials, and the requests that wait.
pub(super) struct Streams<C> {
    protocol: Protocol,
    connections: Vec<Entry<C>>,
    /// The streams per connection that the server allowed last.
    limit: usize,
    dialing: usize,
    waiting: VecDeque<oneshot::Sender<Grant<C>>>,
    next_id: u64,
}

impl<C: Clone> Streams<C> {
    pub(super) fn new(protocol: Protocol) -> Streams<C> {
        let (connections, waiting) = (Vec::new(), VecDeque::new());
        Streams { protocol, connections, limit: usize::MAX, dialing: 0, waiting, next_id: 0 }
    }

    /// Returns what a new request gets at once, or the place where it will get it.
    pub(super) fn turn(&mut self) -> Result<Grant<C>, oneshot::Receiver<Grant<C>>> {
        if let Some(place) = self.free_place() {
            return Ok(Grant::Stream(place));
        }
        if self.protocol == Protocol::One || self.lacks_dials(self.waiting.len() + 1) {
            self.dialing += 1;
            return Ok(Grant::Dial);
        }
        let (sender, receiver) = oneshot::channel();
        self.waiting.push_back(sender);
        Err(receiver)
    }

    /// Ends a dial that made an HTTP/1.1 connection, which the dialler keeps.
    pub(super) fn dialed_one(&mut self) {
        self.dialing -= 1;
        self.protocol = Protocol::One;
        while self.hand(Grant::Dial).is_ok() {
            self.dialing += 1;
        }
    }

    /// Ends a dial that made an HTTP/2 connection and returns the dialler's own stream on it.
    pub(super) fn dialed_many(&mut self, connection: C, limit: usize, now: Instant) -> Place<C> {
        self.dialing -= 1;
        self.protocol = Protocol::Many;
        self.limit = limit;
        let id = self.next_id;
        self.next_id += 1;
        self.connections.push(Entry { connection: connection.clone(), id, limit, in_flight: 1, since: now });
        self.serve();
        Place { connection, id }
    }

    /// Ends a dial that failed.
    pub(super) fn dial_failed(&mut self, failure: &Failure) {
        self.dialing -= 1;
        if self.dialing == 0 && self.connections.is_empty() {
            while self.hand(Grant::Failed(failure.clone())).is_ok() {}
        }
    }

    /// Ends a dial whose request was dropped; another one takes over.
    pub(super) fn dial_dropped(&mut self) {
        self.dialing -= 1;
        self.serve();
    }

    /// Ends a stream.
    pub(super) fn release(&mut self, id: u64, now: Instant) {
        if let Some(entry) = self.connections.iter_mut().find(|entry| entry.id == id) {
            entry.in_flight -= 1;
            entry.since = now;
        }
        self.serve();
    }

    /// Gives no more streams of that connection; those in use go on.
    pub(super) fn retire(&mut self, id: u64) {
        self.connections.retain(|entry| entry.id != id);
        self.serve();
    }

    /// Sets how many streams the server now allows on that connection.
    pub(super) fn set_limit(&mut self, id: u64, limit: usize) {
        if let Some(entry) = self.connections.iter_mut().find(|entry| entry.id == id) {
            entry.limit = limit;
            self.limit = limit;
        }
        self.serve();
    }

    /// Forgets the connections that have been unused for that long.
    pub(super) fn prune(&mut self, now: Instant, idle_timeout: Duration) {
        self.connections.retain(|entry| entry.in_flight > 0 || entry.since + idle_timeout > now);
    }

    /// Hands the free streams to waiters and has as many of the rest dial as it takes.
    fn serve(&mut self) {
        while !self.waiting.is_empty()
            && let Some(place) = self.free_place()
        {
            if let Err(Grant::Stream(place)) = self.hand(Grant::Stream(place)) {
                self.give_back(place.id);
            }
        }
        while self.lacks_dials(self.waiting.len()) && self.hand(Grant::Dial).is_ok() {
            self.dialing += 1;
        }
    }

    /// Gives the oldest waiter that still exists its grant, or the grant back.
    fn hand(&mut self, mut grant: Grant<C>) -> Result<(), Grant<C>> {
        while let Some(waiter) = self.waiting.pop_front() {
            match waiter.send(grant) {
                Ok(()) => return Ok(()),
                Err(back) => grant = back,
            }
        }
        Err(grant)
    }

    /// Returns whether `waiting` requests need more connections than are being dialled; a dialler uses a stream, too.
    fn lacks_dials(&self, waiting: usize) -> bool {
        waiting > 0 && (self.dialing == 0 || self.dialing.saturating_mul(self.limit) < waiting + self.dialing)
    }

    /// Takes a stream of the connection with the fewest in use.
    fn free_place(&mut self) -> Option<Place<C>> {
        let free = self.connections.iter_mut().filter(|entry| entry.in_flight < entry.limit);
        let entry = free.min_by_key(|entry| entry.in_flight)?;
        entry.in_flight += 1;
        Some(Place { connection: entry.connection.clone(), id: entry.id })
    }

    fn give_back(&mut self, id: u64) {
        if let Some(entry) = self.connections.iter_mut().find(|entry| entry.id == id) {
            entry.in_flight -= 1;
        }
    }
}
