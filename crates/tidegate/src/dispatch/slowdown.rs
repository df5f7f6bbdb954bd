//! Whether a server gets slower because of how much it is sent.
//!
//! # Why
//!
//! A GPU server never answers 429: it takes everything and gets slow. More concurrency brings more throughput all the way,
//! but less and less, while every call takes longer. So the concurrency is kept where calls take just under twice as long
//! as they would alone.
//!
//! # How
//!
//! How long a call takes alone is found from the first few dozen calls, which began with few others in flight: a line is
//! laid through latency over calls in flight. After that, calls are judged in rounds, each made of calls that were sent
//! since the last change, so that a correction sees its own effect.
//!
//! | a round's mean, in times alone | verdict |
//! |---|---|
//! | up to 1.75 | room: grow, more slowly the less there is |
//! | up to 1.95 | enough |
//! | more | too much: back to where 1.85 is expected |
//! | hardly less after going back | not our doing (longer answers, a slow hour): forget what alone was, and undo |
//!
//! Only rounds in which concurrency was what held requests back are judged.
//!
//! # Rejected
//!
//! Looking at throughput alone, until it stops growing (tried): it hardly ever stops, and calls take ten times as long by
//! then. Taking the shortest latency seen for "alone": with answers of different lengths that is the shortest answer.

use tokio::time::Instant;

/// How many times as long as alone calls are meant to take, and what is near enough.
const AIM: f64 = 1.85;
const ENOUGH: f64 = 1.75;
const TOO_MUCH: f64 = 1.95;
/// Up to where a limit may double.
const EARLY: f64 = 1.2;
/// The weight of one call in the smoothed latency.
const RECENT: f64 = 1.0 / 16.0;
/// Calls that make a round, at least.
const ROUND: u32 = 32;
/// What is learned about being alone comes from that many calls, with at most so many in flight.
const FEW_CALLS: f64 = 32.0;
const FEW_IN_FLIGHT: f64 = 24.0;

/// What a round of calls means for the concurrency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    /// It may grow; 1 is all the room there is, 0 none.
    Room(f64),
    /// It is right.
    Enough,
    /// It should become this.
    Set(f64),
}

/// What is known of one server's latency.
#[derive(Debug, Default)]
pub(crate) struct Slowdown {
    first: Line,
    /// Seconds a call takes alone.
    alone: Option<f64>,
    began: Option<Instant>,
    calls: u32,
    full: u32,
    seconds: f64,
    /// The smoothed latency.
    recent: f64,
    /// The limit and the latency from before the last cut.
    before: Option<(f64, f64)>,
}

/// One answered call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) sent: Instant,
    pub(crate) seconds: f64,
    /// The calls in flight when it was sent, itself included.
    pub(crate) in_flight: usize,
}

impl Slowdown {
    /// Notes an answer, and returns a verdict at the end of a round; `limit` is the concurrency in force, and `full` says
    /// whether it is what holds requests back.
    pub(crate) fn answered(&mut self, now: Instant, call: &Answered, limit: f64, full: bool) -> Option<Verdict> {
        if self.alone.is_none() && call.in_flight as f64 <= FEW_IN_FLIGHT {
            self.first.add(call.in_flight as f64, call.seconds);
            self.alone = self.first.at_one();
        }
        self.recent += RECENT * (call.seconds - self.recent);
        let began = *self.began.get_or_insert(now);
        if call.sent < began {
            return None;
        }
        self.calls += 1;
        self.full += u32::from(full);
        self.seconds += call.seconds;
        if self.calls < ROUND.max(limit as u32) {
            return None;
        }
        let (mean, mostly_full) = (self.seconds / f64::from(self.calls), 2 * self.full > self.calls);
        (self.began, self.calls, self.full, self.seconds) = (Some(now), 0, 0, 0.0);
        mostly_full.then(|| self.judge(mean, limit))
    }

    /// Returns whether a limit may grow before a round is over: calls have not got too slow just now, and no more are in
    /// flight than it takes to learn how long a call takes alone.
    pub(crate) fn allows(&self, limit: f64) -> bool {
        self.alone.map_or(limit < FEW_IN_FLIGHT, |alone| self.recent <= ENOUGH * alone)
    }

    /// Returns whether a limit may double in a round trip: calls that end now began with half as many in flight, so that
    /// those which begin now will take longer by twice as much and more.
    pub(crate) fn allows_doubling(&self) -> bool {
        self.alone.is_none_or(|alone| self.recent <= EARLY * alone)
    }

    fn judge(&mut self, mean: f64, limit: f64) -> Verdict {
        let Some(alone) = self.alone else { return Verdict::Room(1.0) };
        if let Some((limit_before, mean_before)) = self.before.take() {
            let (less, quicker) = (1.0 - limit / limit_before, 1.0 - mean / mean_before);
            if quicker < 0.3 * less {
                self.alone = Some(mean / 1.5);
                return Verdict::Set(limit_before);
            }
        }
        if mean < alone {
            self.alone = Some(alone + 0.3 * (mean - alone));
        }
        let times = mean / alone;
        if times > TOO_MUCH {
            self.before = Some((limit, mean));
            return Verdict::Set((limit * (AIM / times).max(0.5)).max(1.0));
        }
        if times > ENOUGH { Verdict::Enough } else { Verdict::Room(((AIM - times) / (AIM - 1.0)).clamp(0.0, 1.0)) }
    }
}

/// A line laid through points.
#[derive(Debug, Default)]
struct Line {
    n: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
}

impl Line {
    fn add(&mut self, x: f64, y: f64) {
        self.n += 1.0;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.xy += x * y;
        self.yy += y * y;
    }

    /// Returns the line's value at 1, once there are enough points; a slope that may be chance counts as none.
    fn at_one(&self) -> Option<f64> {
        if self.n < FEW_CALLS {
            return None;
        }
        let (mean_x, mean_y) = (self.x / self.n, self.y / self.n);
        let spread_x = (self.xx / self.n - mean_x * mean_x).max(1e-9);
        let spread_y = (self.yy / self.n - mean_y * mean_y).max(0.0);
        let slope = (self.xy / self.n - mean_x * mean_y) / spread_x;
        let error = ((spread_y / spread_x - slope * slope).max(0.0) / self.n).sqrt();
        let slope = if slope > 2.0 * error { slope } else { 0.0 };
        Some((mean_y - slope * (mean_x - 1.0)).max(0.5 * mean_y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_a_call_takes_alone_is_read_off_the_first_calls() {
        let mut line = Line::default();
        (0..48).for_each(|i| line.add(f64::from(i % 24 + 1), 1.0 + 0.02 * f64::from(i % 24)));
        assert!((line.at_one().unwrap() - 1.0).abs() < 0.01);
        let mut noise = Line::default();
        (0..48).for_each(|i| noise.add(f64::from(i % 24 + 1), if i % 2 == 0 { 0.5 } else { 1.5 }));
        assert!((noise.at_one().unwrap() - 1.0).abs() < 0.01);
    }

    /// Feeds rounds of calls that all take `seconds`, and returns the first verdict.
    fn round(slowdown: &mut Slowdown, now: &mut Instant, limit: f64, seconds: f64) -> Verdict {
        loop {
            *now += Duration::from_millis(10);
            let call = Answered { sent: *now, seconds, in_flight: limit as usize };
            if let Some(verdict) = slowdown.answered(*now, &call, limit, true) {
                return verdict;
            }
        }
    }

    #[test]
    fn it_grows_holds_and_goes_back_by_latency() {
        let (mut slowdown, mut now) = (Slowdown::default(), Instant::now());
        round(&mut slowdown, &mut now, 16.0, 1.0);
        round(&mut slowdown, &mut now, 16.0, 1.0);
        assert_eq!(round(&mut slowdown, &mut now, 16.0, 1.0), Verdict::Room(1.0));
        assert_eq!(round(&mut slowdown, &mut now, 60.0, 1.9), Verdict::Enough);
        assert_eq!(round(&mut slowdown, &mut now, 100.0, 2.5), Verdict::Set(74.0));
        assert_eq!(round(&mut slowdown, &mut now, 74.0, 1.8), Verdict::Enough);
    }

    #[test]
    fn a_slow_hour_is_not_our_doing() {
        let (mut slowdown, mut now) = (Slowdown::default(), Instant::now());
        (0..3).for_each(|_| {
            round(&mut slowdown, &mut now, 16.0, 1.0);
        });
        let Verdict::Set(less) = round(&mut slowdown, &mut now, 100.0, 3.0) else { panic!("goes back first") };
        assert!(less < 70.0, "{less}");
        assert_eq!(round(&mut slowdown, &mut now, less, 3.0), Verdict::Set(100.0));
        assert!(matches!(round(&mut slowdown, &mut now, 100.0, 3.0), Verdict::Room(_)));
    }
}
