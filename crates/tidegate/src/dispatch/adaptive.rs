//! How many requests may be in flight at one endpoint.
//!
//! A number given by the user is used at once. Without one the limit starts at 16 and is searched for:
//!
//! | state | growth | leaves when |
//! |---|---|---|
//! | slow start | doubles per round trip | throughput stops following, calls get slower, or the server is overloaded |
//! | steady | 5 % per round trip, less the slower calls get, none at twice the time | – |
//!
//! Throughput stops following when a round of calls at a raised limit brings hardly more replies per second than the
//! round before: a server that never rejects but queues (vLLM, llama.cpp) is found this way. Then the limit goes back to
//! where the gain ended. A server that gets slower with each call more is kept where calls take not quite twice as long
//! as alone; see [`slowdown`](crate::dispatch::slowdown). An overload (not a rate limit, which is the business of
//! [`learned`](crate::dispatch::learned)) cuts by a quarter, once per round trip. The limit only grows while it is what holds
//! requests back; there is no ceiling but the one the user gives.

use std::time::Duration;

use tokio::time::Instant;

use crate::dispatch::slowdown::{Answered, Slowdown, Verdict};

/// The least that a search which finds no more gain goes back to.
const START: u32 = 16;
/// The factor of a cut.
const CUT: f64 = 0.75;
/// The share of the hoped-for gain below which more concurrency is not worth having.
const WORTH: f64 = 0.2;
/// The share by which the limit grows with each answer, outside slow start, where nothing gets slower: 5 % a round trip.
const QUICKEST: f64 = 0.05;
/// The room that slow start needs.
const MOSTLY: f64 = 0.6;
/// Completed calls that make a round comparable, at least.
const ROUND: u32 = 48;

/// The concurrency limit of one endpoint.
#[derive(Debug)]
pub(crate) struct Adaptive {
    limit: f64,
    most: f64,
    slow_start: bool,
    slowdown: Slowdown,
    /// How much room the server's latency leaves for growth: 1 all, 0 none.
    room: f64,
    cut_at: Option<Instant>,
    round: Round,
    last: Option<Done>,
}

/// The calls since the limit was last judged.
#[derive(Debug, Default)]
struct Round {
    began: Option<Instant>,
    /// How many replies make this round: the limit when it began.
    length: u32,
    replies: u32,
    full: u32,
    limits: f64,
}

/// What a finished round brought.
#[derive(Debug, Clone, Copy)]
struct Done {
    limit: f64,
    per_second: f64,
}

impl Adaptive {
    /// Makes the limit that the user gave, or one that is searched for, beginning at `start`.
    pub(crate) fn new(given: Option<u32>, start: u32) -> Adaptive {
        let searched = || (f64::from(start.max(1)), f64::INFINITY);
        let (limit, most) = given.map_or_else(searched, |n| (f64::from(n), f64::from(n)));
        Adaptive {
            limit,
            most,
            slow_start: true,
            slowdown: Slowdown::default(),
            room: 1.0,
            cut_at: None,
            round: Round::default(),
            last: None,
        }
    }

    /// Returns how many requests may be in flight.
    pub(crate) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// Takes the number that the user gives now; without one it is searched for from where it is.
    pub(crate) fn state(&mut self, given: Option<u32>) {
        (self.limit, self.most) = given.map_or((self.limit, f64::INFINITY), |n| (f64::from(n), f64::from(n)));
    }

    /// Notes an answered call; `full` says whether the limit was what held requests back when the answer came.
    pub(crate) fn replied(&mut self, now: Instant, call: &Answered, full: bool) {
        if full && self.slowdown.allows(self.limit) {
            let growth = if self.slow_start && self.slowdown.allows_doubling() {
                1.0
            } else {
                (self.room * QUICKEST).max(1.0 / self.limit)
            };
            self.limit = (self.limit + if self.room > 0.0 { growth } else { 0.0 }).min(self.most);
        }
        if self.most.is_finite() {
            return;
        }
        if self.slow_start {
            self.judge(now, full);
        }
        match self.slowdown.answered(now, call, self.limit, full) {
            None => {}
            Some(Verdict::Room(room)) => {
                self.room = room;
                self.slow_start &= room > MOSTLY;
            }
            Some(Verdict::Enough) => (self.room, self.slow_start) = (0.0, false),
            Some(Verdict::Set(limit)) => (self.limit, self.room, self.slow_start) = (limit, 0.0, false),
        }
    }

    /// Notes a rejection of a call sent at `sent`.
    pub(crate) fn rejected(&mut self, now: Instant, sent: Instant) {
        // Calls sent before the last cut are its cause, not a reason for another.
        if self.cut_at.is_some_and(|cut| sent <= cut) {
            return;
        }
        self.limit = (self.limit * CUT).max(1.0);
        self.slow_start = false;
        self.cut_at = Some(now);
    }

    fn judge(&mut self, now: Instant, full: bool) {
        let round = &mut self.round;
        let began = *round.began.get_or_insert(now);
        if round.replies == 0 {
            round.length = ROUND.max(self.limit as u32);
        }
        round.replies += 1;
        round.full += u32::from(full);
        round.limits += self.limit;
        let passed = now.duration_since(began);
        if round.replies < round.length || passed < Duration::from_millis(20) {
            return;
        }
        let (replies, mostly_full) = (f64::from(round.replies), round.full * 2 > round.replies);
        let done = Done { limit: round.limits / replies, per_second: replies / passed.as_secs_f64() };
        self.round = Round::default();
        if !mostly_full {
            self.last = None;
            return;
        }
        if let Some(last) = self.last {
            let hoped = done.limit / last.limit - 1.0;
            let gained = done.per_second / last.per_second - 1.0;
            if hoped > 0.05 && gained < hoped * WORTH {
                self.limit = last.limit.max(f64::from(START));
                self.slow_start = false;
            }
        }
        self.last = Some(done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a server that serves at most `capacity` calls at a time, `latency` each, and queues the rest.
    fn search(capacity: usize, latency: Duration, seconds: u64) -> usize {
        let mut adaptive = Adaptive::new(None, START);
        let start = Instant::now();
        let (mut now, end) = (start, start + Duration::from_secs(seconds));
        while now < end {
            let in_flight = adaptive.limit();
            let served = in_flight.min(capacity);
            let step = latency.div_f64(served as f64);
            now += step;
            let call = Answered { sent: now - latency, seconds: latency.as_secs_f64(), in_flight };
            adaptive.replied(now, &call, true);
        }
        adaptive.limit()
    }

    fn call(sent: Instant) -> Answered {
        Answered { sent, seconds: 0.1, in_flight: 1 }
    }

    #[test]
    fn it_grows_as_long_as_throughput_follows() {
        assert!(search(2000, Duration::from_secs(1), 12) > 1000);
    }

    #[test]
    fn it_stops_near_the_capacity_of_a_server_that_only_queues() {
        let limit = search(64, Duration::from_millis(500), 60);
        assert!((64..=512).contains(&limit), "{limit}");
    }

    #[test]
    fn a_given_limit_is_used_at_once_and_never_exceeded() {
        let mut adaptive = Adaptive::new(Some(300), START);
        assert_eq!(adaptive.limit(), 300);
        let now = Instant::now();
        adaptive.replied(now, &call(now), true);
        assert_eq!(adaptive.limit(), 300);
        adaptive.rejected(now, now);
        assert_eq!(adaptive.limit(), 225);
    }

    #[test]
    fn one_burst_of_rejections_cuts_once() {
        let mut adaptive = Adaptive::new(Some(100), START);
        let now = Instant::now();
        for ms in 1..50 {
            adaptive.rejected(now + Duration::from_millis(ms), now);
        }
        assert_eq!(adaptive.limit(), 75);
    }

    #[test]
    fn it_does_not_grow_while_something_else_is_the_limit() {
        let mut adaptive = Adaptive::new(None, START);
        for ms in 0..10_000 {
            let now = Instant::now() + Duration::from_millis(ms);
            adaptive.replied(now, &call(now), false);
        }
        assert_eq!(adaptive.limit(), START as usize);
    }
}
