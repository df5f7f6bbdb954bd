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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    type Waiting = oneshot::Receiver<Grant<char>>;

    /// Has that many requests take their turn; returns the dials handed out and those that wait.
    fn arrive(streams: &mut Streams<char>, count: usize) -> (usize, Vec<Waiting>) {
        let turns: Vec<_> = (0..count).map(|_| streams.turn()).collect();
        let dials = turns.iter().filter(|turn| matches!(turn, Ok(Grant::Dial))).count();
        (dials, turns.into_iter().filter_map(Result::err).collect())
    }

    /// Counts what the waiters have got: streams, dials, failures.
    fn got(waiting: &mut [Waiting]) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for waiter in waiting {
            match waiter.try_recv() {
                Ok(Grant::Stream(_)) => counts.0 += 1,
                Ok(Grant::Dial) => counts.1 += 1,
                Ok(Grant::Failed(_)) => counts.2 += 1,
                Err(_) => {}
            }
        }
        counts
    }

    #[test]
    fn a_thousand_requests_dial_once_and_then_as_often_as_the_streams_need() {
        let mut streams = Streams::new(Protocol::Unknown);
        let (dials, mut waiting) = arrive(&mut streams, 1000);
        assert_eq!((dials, waiting.len()), (1, 999));
        streams.dialed_many('a', 100, Instant::now());
        assert_eq!(got(&mut waiting), (99, 9, 0), "900 are left, 9 dials carry them with their diallers");
        for name in "bcdefghij".chars() {
            streams.dialed_many(name, 100, Instant::now());
        }
        assert_eq!(got(&mut waiting), (891, 0, 0));
        assert!(matches!(streams.turn(), Ok(Grant::Dial)), "one more request needs one more connection");
        assert!(streams.turn().is_err(), "the next one finds room on it");
    }

    #[test]
    fn over_http1_everybody_dials() {
        let mut streams = Streams::<char>::new(Protocol::Unknown);
        let (dials, mut waiting) = arrive(&mut streams, 50);
        streams.dialed_one();
        assert_eq!((dials, got(&mut waiting)), (1, (0, 49, 0)));
        assert_eq!(arrive(&mut streams, 50).0, 50);
    }

    #[test]
    fn a_freed_stream_goes_to_the_oldest_waiter_that_still_exists() {
        let mut streams = Streams::new(Protocol::Unknown);
        arrive(&mut streams, 1);
        let place = streams.dialed_many('a', 10, Instant::now());
        let (dials, mut waiting) = arrive(&mut streams, 9 + 1 + 3);
        assert_eq!((dials, waiting.len()), (1, 3), "nine have streams, one dials, three wait for its connection");
        drop(waiting.remove(0));
        streams.release(place.id, Instant::now());
        assert_eq!(got(&mut waiting[..1]), (1, 0, 0));
        assert_eq!(got(&mut waiting[1..]), (0, 0, 0));
    }

    #[test]
    fn a_failed_dial_fails_the_waiters_only_if_nothing_else_is_left() {
        let failure = Failure::new(Kind::Connect, "refused");
        let mut streams = Streams::<char>::new(Protocol::Unknown);
        let (_, mut waiting) = arrive(&mut streams, 10);
        streams.dial_failed(&failure);
        assert_eq!(got(&mut waiting), (0, 0, 9));

        let mut streams = Streams::new(Protocol::Many);
        arrive(&mut streams, 1);
        let place = streams.dialed_many('a', 1, Instant::now());
        let (dials, _) = arrive(&mut streams, 1);
        let mut waiting: Vec<_> = streams.turn().err().into_iter().collect();
        assert_eq!(dials, 1);
        streams.dial_failed(&failure);
        assert_eq!(got(&mut waiting), (0, 0, 0));
        streams.release(place.id, Instant::now());
        assert_eq!(waiting.len(), got(&mut waiting).0);
    }

    #[test]
    fn a_dropped_dial_is_handed_on() {
        let mut streams = Streams::<char>::new(Protocol::Unknown);
        let (_, mut waiting) = arrive(&mut streams, 3);
        streams.dial_dropped();
        assert_eq!(got(&mut waiting), (0, 1, 0));
    }

    #[test]
    fn a_retired_connection_gets_no_more_requests_and_its_streams_may_end() {
        let mut streams = Streams::new(Protocol::Unknown);
        arrive(&mut streams, 1);
        let place = streams.dialed_many('a', 100, Instant::now());
        streams.retire(place.id);
        assert!(matches!(streams.turn(), Ok(Grant::Dial)));
        streams.release(place.id, Instant::now());
    }

    #[test]
    fn a_lowered_limit_holds_new_streams_back() {
        let mut streams = Streams::new(Protocol::Unknown);
        arrive(&mut streams, 1);
        let place = streams.dialed_many('a', 100, Instant::now());
        streams.set_limit(place.id, 1);
        assert!(matches!(streams.turn(), Ok(Grant::Dial)));
        streams.set_limit(place.id, 2);
        assert!(matches!(streams.turn(), Ok(Grant::Stream(_))));
    }

    #[test]
    fn unused_connections_are_forgotten_after_a_while() {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let mut streams = Streams::new(Protocol::Unknown);
        arrive(&mut streams, 2);
        let place = streams.dialed_many('a', 1, start);
        streams.prune(start + 10 * minute, minute);
        streams.release(place.id, start + 10 * minute);
        streams.prune(start + 10 * minute + minute / 2, minute);
        assert!(matches!(streams.turn(), Ok(Grant::Stream(Place { connection: 'a', .. }))));
        streams.release(place.id, start + 11 * minute);
        streams.prune(start + 13 * minute, minute);
        assert!(streams.connections.is_empty());
    }
}
