//! One limit as the provider's headers tell it: what is left, how fast it comes back, and so how fast to send.
//!
//! # Why
//!
//! A reply says what remained when its call arrived. Less what was sent since, plus what came back since, that is what is
//! left now, whoever else uses the key. So the pace follows two things: the refill, and a gentle pull of what is left
//! towards a small reserve. Quota that has been saved up is used, and an estimate that is off shows as a level that
//! sinks, long before a call is rejected.
//!
//! # States
//!
//! | shape | recognised by | pace |
//! |---|---|---|
//! | bucket | what comes back, which is what remains more plus what was sent | refill, plus a tenth of what is above the reserve, a second |
//! | window | resets that name the same end, or nothing comes back for five seconds | what is left over the time until the window ends |
//! | long | a name that says hour or day, or a reset far away | none: only an empty limit holds requests back |
//!
//! The refill is `limit` a minute until replies say otherwise: the first ones if it is meant for another period (see
//! [`period`]), those of five seconds if others use the key or nobody tells the limit. Small deviations are not believed: the told limit is exact and the measured one
//! is not. A told limit that changes changes the refill at once.
//!
//! # Considered and rejected
//!
//! Taking the rate from `(limit - remaining) / reset` is right for buckets and absurd for windows, and nothing in a single
//! reply tells which it is. Sending until `remaining` is zero and waiting for `reset` uses all quota too, but in bursts
//! that run into limits per second which nobody tells.

use std::time::Duration;

use tokio::time::Instant;

use crate::call::limits::{Counted, Reading};
use crate::dispatch::limit::{Bucket, Ready};
use crate::dispatch::period::{self, ByEnd, ByGain, ByReset};
use crate::limits::Limit;

/// Seconds over which saved-up quota is used.
const DRAIN: f64 = 10.0;
/// The most that saved-up quota may speed up sending.
const FASTEST: f64 = 4.0;
/// How much faster than the refill to send while the bucket is full: for one that holds nothing, and one of a second or more.
const BOLDNESS: (f64, f64) = (0.1, 1.0);
/// Seconds of refill that are kept in reserve.
const RESERVE: f64 = 0.5;
/// A reset further away belongs to a limit per hour or day.
const LONG: Duration = Duration::from_secs(300);
/// How long a window is taken to be until one has ended.
const MINUTE: f64 = 60.0;
/// How long replies are compared before they are believed, and how long where nothing else is known.
const OBSERVE: Duration = Duration::from_secs(5);
const OBSERVE_FIRST: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Bucket,
    Window { ends: Instant },
    Long { ends: Instant },
}

/// What remained for a call.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// When the call was sent.
    at: Instant,
    remaining: f64,
    /// What had been sent by then, the call included.
    taken: f64,
}

/// One limit of one endpoint.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) of: Counted,
    shape: Shape,
    /// The limit as told.
    limit: Option<f64>,
    /// Units a second by the told limit.
    told: Option<f64>,
    /// Seconds that the told limit is for: by its name, and once replies have shown it.
    named: Option<f64>,
    period: Option<f64>,
    by_reset: ByReset,
    by_end: ByEnd,
    by_gain: ByGain,
    /// Units a second by what came back.
    seen: Option<f64>,
    /// The most that ever remained.
    most: f64,
    newest: Option<Sample>,
    /// Where the present comparison began.
    base: Option<Sample>,
    pace: Bucket,
}

impl Meter {
    pub(crate) fn new(of: Counted, now: Instant) -> Meter {
        Meter {
            of,
            shape: Shape::Bucket,
            limit: None,
            told: None,
            named: None,
            period: None,
            by_reset: ByReset::default(),
            by_end: ByEnd::default(),
            by_gain: ByGain::default(),
            seen: None,
            most: 0.0,
            newest: None,
            base: None,
            pace: Bucket::per_minute(f64::INFINITY, Limit::Told, now),
        }
    }

    /// Returns when `cost` may be sent; `taken` is what has been sent in all.
    pub(crate) fn ready(&self, now: Instant, cost: f64, taken: f64) -> Ready {
        match self.when(now, cost, taken) {
            Ready::At(at, _) => Ready::At(at, self.name()),
            ready => ready,
        }
    }

    fn when(&self, now: Instant, cost: f64, taken: f64) -> Ready {
        let cost_here = cost.min(0.5 * self.most);
        let left = self.left(now, taken);
        match self.shape {
            Shape::Long { ends } | Shape::Window { ends } if now >= ends => Ready::Now,
            Shape::Long { ends } if left < cost_here => self.pace.at(ends),
            Shape::Long { .. } => Ready::Now,
            Shape::Window { ends } if left < cost_here => self.pace.at(ends),
            Shape::Window { ends } => self.pace.ready(now, cost).or(self.pace.at(ends)),
            Shape::Bucket => self.pace.ready(now, cost),
        }
    }

    /// Returns what the limit is called.
    fn name(&self) -> Limit {
        let known = self.named.or(self.period);
        // A minute is only assumed, where nothing contradicts it.
        let minute = self.told.is_some() && self.refill() == self.told && !matches!(self.shape, Shape::Long { .. });
        let Some(seconds) = known.or(minute.then_some(MINUTE)) else { return Limit::Told };
        let [short, minute, hour] = [0.5, 2.0, 120.0].map(|minutes| minutes * MINUTE);
        match self.of {
            Counted::Requests if seconds < short => Limit::RequestsPerSecond,
            Counted::Requests if seconds < minute => Limit::Requests,
            Counted::Requests if seconds < hour => Limit::RequestsPerHour,
            Counted::Requests => Limit::RequestsPerDay,
            _ if seconds < short => Limit::TokensPerSecond,
            _ if seconds >= minute => Limit::TokensPerDay,
            Counted::Tokens => Limit::Tokens,
            Counted::InputTokens => Limit::InputTokens,
            Counted::OutputTokens => Limit::OutputTokens,
        }
    }

    /// Notes that `cost` is sent; `taken` is what has been sent before.
    pub(crate) fn take(&mut self, now: Instant, cost: f64, taken: f64) {
        self.roll(now, taken);
        self.pace.take(now, cost);
    }

    /// Corrects what was taken by what was really used.
    pub(crate) fn give_back(&mut self, now: Instant, units: f64) {
        self.pace.give_back(now, units);
    }

    /// Returns whether what a rejected call of that cost was told explains the rejection, so that the pace follows.
    pub(crate) fn explains(&self, reading: &Reading, cost: f64) -> bool {
        let paced = !matches!(self.shape, Shape::Long { .. });
        paced && reading.remaining.is_some_and(|remaining| remaining < cost.max(1.0))
    }

    /// Takes note of what a reply tells. `sent` and `mark` are when the call was sent and what had been sent by then;
    /// `taken` is what has been sent by now.
    pub(crate) fn read(&mut self, now: Instant, reading: &Reading, sent: Instant, mark: f64, taken: f64) {
        self.roll(now, taken);
        self.hear_limit(reading);
        self.hear_period(reading, sent);
        if let Some(remaining) = reading.remaining {
            let sample = Sample { at: sent, remaining, taken: mark };
            let newer = |old: Sample| (sample.at, sample.taken) >= (old.at, old.taken);
            if self.newest.is_none_or(newer) {
                self.most = self.most.max(remaining);
                self.hear_gain(&sample, reading);
                self.observe(sample);
                self.newest = Some(sample);
                self.hear_reset(reading, sent);
            }
            self.hear_end(&sample, reading);
        }
        self.set_pace(now, taken);
    }

    fn hear_limit(&mut self, reading: &Reading) {
        let Some(limit) = reading.limit else { return };
        if let Some(known) = self.limit.filter(|known| *known != limit) {
            let factor = limit / known;
            self.seen = self.seen.map(|seen| seen * factor);
            self.most *= factor;
            self.base = None;
            (self.by_reset, self.by_end, self.by_gain) = Default::default();
        }
        self.limit = Some(limit);
        self.named = reading.period.map(|period| period.as_secs_f64().max(0.1));
        self.told = Some(limit / self.named.or(self.period).unwrap_or(MINUTE));
    }

    /// Finds out what the limit is per where no name tells it, by when all would be there again.
    fn hear_period(&mut self, reading: &Reading, sent: Instant) {
        let (None, Some(remaining), Some(reset)) = (reading.period, reading.remaining, reading.reset) else { return };
        let steady = self.by_reset.steady(sent, remaining, reset).filter(|_| self.of == Counted::Requests);
        let more = steady.filter(|rate| self.refill().is_some_and(|known| *rate > period::MORE * known));
        let Some(rate) = self.by_reset.note(remaining, coarseness(remaining), reset).or(more) else { return };
        let period = self.limit.map(|limit| period::usual(limit / rate));
        if period.is_none() {
            self.seen = Some(rate);
        } else if self.period != period {
            (self.period, self.seen, self.base) = (period, None, None);
            self.told = self.limit.zip(period).map(|(limit, period)| limit / period);
        }
    }

    /// Notes at once if much more comes back than was thought.
    fn hear_gain(&mut self, sample: &Sample, reading: &Reading) {
        let (step, thought) = (coarseness(sample.remaining), self.refill().unwrap_or(0.0));
        let gained = self.by_gain.note(sample.at, sample.remaining, step, sample.taken, thought);
        if reading.period.is_none() && gained.is_some() {
            self.seen = gained;
        }
    }

    fn hear_reset(&mut self, reading: &Reading, sent: Instant) {
        let long = reading.period.is_some_and(|period| period > LONG);
        let Some(reset) = reading.reset else {
            if long {
                self.shape = Shape::Long { ends: sent + LONG };
            }
            return;
        };
        let ends = sent + reset + self.way();
        let rounded = reset.subsec_nanos() == 0;
        match self.shape {
            // A bucket whose rate is known goes on coming back, however long it takes to be full.
            _ if long || (reset > LONG && self.period.is_none()) => self.shape = Shape::Long { ends },
            // Resets in whole seconds are rounded up: the earliest is the truest.
            Shape::Window { ends: known } if rounded && ends > known && ends - known < Duration::from_millis(1500) => {}
            Shape::Window { .. } => self.shape = Shape::Window { ends },
            Shape::Long { .. } => self.shape = Shape::Bucket,
            Shape::Bucket => {}
        }
    }

    /// Recognises a window by its end, and by how long it lasts what the limit is per.
    fn hear_end(&mut self, sample: &Sample, reading: &Reading) {
        let (None, Some(limit), Some(reset)) = (reading.period, self.limit, reading.reset) else { return };
        if matches!(self.shape, Shape::Long { .. }) {
            return;
        }
        let Some(period) = self.by_end.note(sample.at, sample.taken, limit, reset) else { return };
        if self.period != Some(period) {
            (self.period, self.told, self.seen, self.base) = (Some(period), Some(limit / period), None, None);
        }
        if self.shape == Shape::Bucket {
            self.shape = Shape::Window { ends: sample.at + reset + self.way() };
        }
    }

    /// Returns how much later than told a window is taken to end, as the way to the provider takes time too.
    fn way(&self) -> Duration {
        Duration::from_secs_f64((0.01 * self.window()).min(0.1))
    }

    /// Returns how many seconds a window lasts.
    fn window(&self) -> f64 {
        self.period.unwrap_or(MINUTE)
    }

    /// Compares with an earlier call: what came back in between?
    fn observe(&mut self, sample: Sample) {
        let Some(base) = self.base else {
            self.base = Some(sample);
            return;
        };
        let patience = if self.told.is_some() { OBSERVE } else { OBSERVE_FIRST };
        let passed = sample.at.saturating_duration_since(base.at);
        let used = sample.taken - base.taken;
        let gained = sample.remaining - base.remaining + used;
        if self.jumped(sample) {
            self.shape = Shape::Window { ends: sample.at + Duration::from_secs_f64(self.window()) };
            self.base = Some(sample);
            return;
        }
        // What is full cannot gain more than is used.
        let room = (self.most - base.remaining).max(0.0) + used;
        let passed_s = passed.as_secs_f64();
        let hoped = self.told.map_or(used, |told| told * passed_s).min(room);
        if passed < patience || hoped < 5.0 * coarseness(sample.remaining) {
            return;
        }
        self.base = Some(sample);
        let never_full = sample.remaining < base.remaining || sample.remaining < 0.5 * self.most;
        let rate = (gained / passed_s).max(0.0);
        match self.shape {
            Shape::Bucket if gained < 0.2 * hoped && never_full => {
                self.shape = Shape::Window { ends: sample.at + Duration::from_secs_f64(self.window()) };
            }
            Shape::Window { .. } if gained > 0.5 * hoped => self.shape = Shape::Bucket,
            Shape::Bucket if never_full => {
                self.seen = Some(self.seen.map_or(rate, |seen| seen + 0.3 * (rate - seen)));
            }
            // A full bucket hides what would have come back: at least that much.
            Shape::Bucket => self.seen = Some(self.seen.or(self.told).map_or(rate, |known| known.max(rate))),
            Shape::Window { .. } | Shape::Long { .. } => {}
        }
    }

    /// Returns whether a new window has begun: far more is left than could have come back since the last call.
    fn jumped(&self, sample: Sample) -> bool {
        let (Shape::Window { .. }, Some(last)) = (self.shape, self.newest) else { return false };
        let gained = sample.remaining - last.remaining + sample.taken - last.taken;
        gained > (0.3 * self.most).max(5.0)
    }

    /// Returns the refill in units a second.
    fn refill(&self) -> Option<f64> {
        match (self.told, self.seen) {
            (Some(told), Some(seen)) if (0.9..1.1).contains(&(seen / told)) => Some(told),
            (told, seen) => seen.or(told),
        }
    }

    /// Returns what is left, as far as one can tell.
    fn left(&self, now: Instant, taken: f64) -> f64 {
        let Some(newest) = self.newest else { return f64::INFINITY };
        let passed = now.saturating_duration_since(newest.at).as_secs_f64();
        let back = match self.shape {
            Shape::Bucket => passed * self.refill().unwrap_or(0.0),
            Shape::Window { .. } | Shape::Long { .. } => 0.0,
        };
        (newest.remaining + back - (taken - newest.taken)).min(self.most)
    }

    /// Starts the next window when the present one has ended.
    fn roll(&mut self, now: Instant, taken: f64) {
        let (Shape::Window { ends }, Some(_)) = (self.shape, self.newest) else { return };
        if now < ends {
            return;
        }
        let full = self.limit.unwrap_or(self.most);
        let sample = Sample { at: now, remaining: full, taken };
        (self.newest, self.base) = (Some(sample), Some(sample));
        let into = now.duration_since(ends).as_secs_f64() % self.window();
        self.shape = Shape::Window { ends: now + Duration::from_secs_f64(self.window() - into) };
        self.set_pace(now, taken);
    }

    fn set_pace(&mut self, now: Instant, taken: f64) {
        let speed = self.speed(now, taken);
        self.pace.set_rate(now, speed);
    }

    fn speed(&self, now: Instant, taken: f64) -> f64 {
        let left = self.left(now, taken);
        let usual = self.told.unwrap_or(self.most / MINUTE);
        match self.shape {
            Shape::Long { .. } => f64::INFINITY,
            Shape::Window { ends } => {
                let time = ends.saturating_duration_since(now + self.way()).max(self.way()).as_secs_f64();
                (left / time).clamp(0.02 * usual, FASTEST * usual)
            }
            Shape::Bucket => {
                let Some(refill) = self.refill() else { return (left / DRAIN).max(1.0) };
                let reserve = (RESERVE * refill).min(0.5 * self.most).max(1e-3);
                if left >= reserve || !left.is_finite() {
                    // A bucket that stays full says that more could be had, however little it holds: only if nobody told it.
                    let known = self.told.is_some_and(|told| refill <= told);
                    let bold = BOLDNESS.0 + (BOLDNESS.1 - BOLDNESS.0) * (self.most / refill - 0.5).clamp(0.0, 1.0);
                    let boldness = if known { 0.0 } else { bold };
                    let full = boldness * refill * ((left - reserve) / (self.most - reserve).max(1.0)).min(1.0);
                    // What comes back in hours is there to be used up.
                    let paces = self.period.is_none_or(|period| period <= LONG.as_secs_f64());
                    let fastest = if paces { FASTEST * refill } else { f64::INFINITY };
                    (refill + full.max((left - reserve) / DRAIN)).min(fastest)
                } else {
                    refill * (0.5 + 0.5 * (left / reserve).max(0.0))
                }
            }
        }
    }
}

/// Returns the step in which a provider tells what remains: some round to thousands.
fn coarseness(remaining: f64) -> f64 {
    if remaining >= 1000.0 && remaining % 1000.0 == 0.0 { 1000.0 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What a provider has and tells.
    struct Server {
        limit: f64,
        per_s: f64,
        window: bool,
        level: f64,
        /// Units a second that somebody else takes.
        other: f64,
        tells_limit: bool,
        tells_reset: bool,
    }

    impl Server {
        fn new(limit: f64) -> Server {
            let (tells_limit, tells_reset) = (true, true);
            Server { limit, per_s: 60.0, window: false, level: limit, other: 0.0, tells_limit, tells_reset }
        }

        fn reading(&self, second: f64) -> Reading {
            let left =
                if self.window { self.per_s - second % self.per_s } else { (self.limit - self.level) / self.rate() };
            Reading {
                limit: self.tells_limit.then_some(self.limit),
                remaining: Some(self.level.floor().max(0.0)),
                reset: self.tells_reset.then(|| Duration::from_secs_f64(left)),
                period: None,
            }
        }

        fn rate(&self) -> f64 {
            self.limit / self.per_s
        }

        /// Sends whatever may be sent, with replies after 300 ms; returns accepted and rejected calls of the second half.
        fn run(&mut self, meter: &mut Meter, start: Instant, seconds: u64) -> (f64, f64) {
            let (mut taken, mut counts) = (0.0, (0.0, 0.0));
            let mut replies: std::collections::VecDeque<(Instant, Reading, Instant, f64)> = Default::default();
            for ms in 0..seconds * 1000 {
                let (now, second) = (start + ms as u32 * MS, ms as f64 / 1e3);
                match self.window {
                    true if ms > 0 && ms % (self.per_s * 1e3) as u64 == 0 => self.level = self.limit,
                    true => {}
                    false => self.level = (self.level + self.rate() / 1e3).min(self.limit),
                }
                self.level -= self.other / 1e3;
                while replies.front().is_some_and(|(at, ..)| *at <= now) {
                    let Some((_, reading, sent, mark)) = replies.pop_front() else { break };
                    meter.read(now, &reading, sent, mark, taken);
                }
                if meter.ready(now, 1.0, taken) != Ready::Now || ms % 3 > 0 {
                    continue;
                }
                meter.take(now, 1.0, taken);
                taken += 1.0;
                let good = self.level >= 1.0;
                self.level -= f64::from(u8::from(good));
                replies.push_back((now + 300 * MS, self.reading(second), now, taken));
                if ms > seconds * 500 {
                    counts = if good { (counts.0 + 1.0, counts.1) } else { (counts.0, counts.1 + 1.0) };
                }
            }
            counts
        }
    }

    fn share(mut server: Server, seconds: u64) -> (f64, f64) {
        let start = Instant::now();
        let mut meter = Meter::new(Counted::Requests, start);
        let quota = (server.rate() - server.other) * seconds as f64 / 2.0;
        let (accepted, rejected) = server.run(&mut meter, start, seconds);
        (accepted / quota, rejected / accepted)
    }

    #[test]
    fn a_told_bucket_is_used_to_the_full() {
        let (used, rejected) = share(Server::new(3000.0), 240);
        assert!(used > 0.98 && rejected == 0.0, "{used} {rejected}");
    }

    #[test]
    fn a_window_is_recognised_and_spread_over_its_time() {
        let (used, rejected) = share(Server { window: true, ..Server::new(3000.0) }, 240);
        assert!(used > 0.97 && rejected < 0.005, "{used} {rejected}");
    }

    #[test]
    fn what_remains_is_enough_to_know() {
        let server = Server { tells_limit: false, tells_reset: false, ..Server::new(3000.0) };
        let (used, rejected) = share(server, 240);
        assert!(used > 0.95 && rejected < 0.01, "{used} {rejected}");
    }

    #[test]
    fn another_period_is_found_out() {
        let (used, rejected) = share(Server { per_s: 10.0, ..Server::new(1000.0) }, 120);
        assert!(used > 0.9 && rejected < 0.01, "{used} {rejected}");
    }

    #[test]
    fn a_bucket_that_each_call_finds_full_tells_its_period_too() {
        let (start, mut meter) = (Instant::now(), Meter::new(Counted::Requests, Instant::now()));
        let reset = Some(50 * MS);
        let reading = Reading { limit: Some(20.0), remaining: Some(19.0), reset, period: None };
        for taken in 1..4 {
            let sent = start + taken * 1000 * MS;
            meter.read(sent + 100 * MS, &reading, sent, f64::from(taken), f64::from(taken));
        }
        assert_eq!(meter.refill(), Some(20.0));
    }

    #[test]
    fn others_on_the_same_key_are_made_room_for() {
        let (used, rejected) = share(Server { other: 20.0, ..Server::new(3000.0) }, 240);
        assert!(used > 0.95 && rejected < 0.01, "{used} {rejected}");
    }

    #[test]
    fn a_limit_per_day_does_not_pace() {
        let start = Instant::now();
        let mut meter = Meter::new(Counted::Requests, start);
        let period = Some(Duration::from_secs(86_400));
        let mut reading = Reading { limit: Some(1000.0), remaining: Some(500.0), reset: None, period };
        for taken in 0..100 {
            let taken = f64::from(taken);
            meter.read(start, &reading, start, taken, taken);
            assert_eq!(meter.ready(start, 1.0, taken), Ready::Now);
            meter.take(start, 1.0, taken);
        }
        reading.remaining = Some(0.0);
        meter.read(start + MS, &reading, start + MS, 101.0, 101.0);
        assert_eq!(meter.ready(start + MS, 1.0, 101.0), Ready::At(start + MS + LONG, Limit::RequestsPerDay));
    }

    #[test]
    fn a_limit_is_called_by_what_it_is_per() {
        let start = Instant::now();
        let named = |of, seconds: Option<u64>| {
            let mut meter = Meter::new(of, start);
            let period = seconds.map(Duration::from_secs);
            let reading = Reading { limit: Some(100.0), remaining: Some(50.0), reset: None, period };
            meter.read(start, &reading, start, 1.0, 1.0);
            meter.name()
        };
        assert_eq!(named(Counted::Requests, None), Limit::Requests, "a minute is assumed");
        assert_eq!(named(Counted::Requests, Some(1)), Limit::RequestsPerSecond);
        assert_eq!(named(Counted::Requests, Some(3600)), Limit::RequestsPerHour);
        assert_eq!(named(Counted::Requests, Some(86_400)), Limit::RequestsPerDay);
        assert_eq!(named(Counted::InputTokens, Some(60)), Limit::InputTokens);
        assert_eq!(named(Counted::Tokens, Some(1)), Limit::TokensPerSecond);
        let mut unnamed = Meter::new(Counted::Requests, start);
        let reading = Reading { limit: None, remaining: Some(50.0), reset: None, period: None };
        unnamed.read(start, &reading, start, 1.0, 1.0);
        assert_eq!(unnamed.name(), Limit::Told);
    }
}
