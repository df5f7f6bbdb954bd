//! The rate of an endpoint that tells nothing but "too many".
//!
//! # Why
//!
//! A rejection says one precise thing: at that moment the provider's quota was used up. Between two such moments, what was
//! accepted is what came back, whatever the limit's shape and burst, and however clumsily we sent. So the rate is
//! *counted*, not guessed by halving and creeping up: two rejections give it within a few percent, and the following ones
//! sharpen it.
//!
//! # States
//!
//! | state | pace | leaves when |
//! |---|---|---|
//! | unknown | none; the concurrency's slow start rules | a call is rejected, and most of those sent after it |
//! | hold | 0.99 of the counted rate | the hold is over (1 s at first, twice as long each time, 30 s at most, longer for slow rates) |
//! | probe | grows exponentially: the limit may have risen | a call is rejected; what was counted then rules |
//!
//! Calls that were under way when the first rejection was heard say whether it was chance: if the quota was used up, most of
//! those sent after it were rejected, too. If hardly any were, nothing is known, and the pause is over.
//!
//! Time in which nothing was sent (a pause, a probe behind it) makes the count uncertain, because a small bucket overflows
//! meanwhile and a large one saves: there is a lower and an upper count, and a rate between them stands. Nothing is saved up
//! here meanwhile, or it would go out in one burst. A rejection that comes while holding halves the next hold, so that
//! rejections by chance cannot freeze the rate. Those of calls sent before the last one was heard belong to it: one round trip,
//! one correction. If nothing was accepted in between, the quota has not come back yet, and the rejection belongs to the last
//! one too. Calls that are sent together arrive in any order, so that a handful of them says little: fewer than twenty are
//! counted from the moment before, and cut the rate by no more than a third.
//!
//! What is counted are calls, or tokens where these are what is limited: see [`unit`](crate::dispatch::unit).
//!
//! Rejections that come by chance count for nothing, as far as they are recognised: see
//! [`chance`](crate::dispatch::chance).
//!
//! # Considered and rejected
//!
//! Plain halving with additive increase averages 75 % of a limit. A cubic curve around the remembered ceiling still takes
//! the pace at a rejection for the rate, and a bucket that holds a minute's worth makes that ten times too high.

use std::time::Duration;

use tokio::time::Instant;

use crate::call::limits::Counted;
use crate::dispatch::chance::{Chance, Pace};
use crate::dispatch::limit::{Bucket, Cost, Ready};
use crate::dispatch::unit::Unit;
use crate::limits::Limit;

/// The share of the counted rate at which to hold: what is saved pays for the next probe.
const HOLD_AT: f64 = 0.99;
/// Seconds of holding: while the rate is searched for, once it has been confirmed, and at the most.
const SHORTEST_HOLD: f64 = 1.0;
const FIRST_HOLD: f64 = 4.0;
const LONGEST_HOLD: f64 = 30.0;
/// Calls for which a slow rate is held, and the most seconds of that: a probe costs a rejection.
const HOLD_CALLS: f64 = 100.0;
const SLOWEST_HOLD: f64 = 60.0;
/// The time in which a probe grows by a factor of e, in seconds: while searching, and later.
const QUICK: f64 = 2.0;
const SLOW: f64 = 20.0;
/// Calls in which it does at least, later, and the most seconds of that.
const SLOW_CALLS: f64 = 100.0;
const SLOWEST: f64 = 100.0;
/// How far a probe goes that finds nothing new, in multiples of the rate.
const FAR: f64 = 1.3;
/// Between two moments of emptiness that count there are so many calls or seconds: which of the calls that were sent
/// together arrived first is not known. What is closer is counted from the moment before.
const ENOUGH: f64 = 20.0;
const LONG_AGO: f64 = 10.0;
/// The most by which fewer calls cut the rate.
const CUT: f64 = 0.7;
/// Nothing sent for longer than so many seconds, in which so many calls could have been, is a pause.
const IDLE: (f64, f64) = (0.02, 2.5);
/// The least time over which anything is counted, in seconds.
const SHORTEST: f64 = 0.5;
/// So many calls sent after the first rejected one, of which no more than such a share was rejected, say that it was chance.
const MANY: f64 = 30.0;
const FEW: f64 = 0.06;
/// How far the pace must get past the counted rate, in multiples of it, to make a doubt sure.
const WELL_PAST: f64 = 1.6;
/// Seconds of a pause after which nothing can be said about company.
const SHORT_PAUSE: f64 = 0.2;
/// Calls a second below which it would take too long to see company.
const QUICK_ENOUGH: f64 = 5.0;
/// The time in which a probe grows by a factor of e in doubt, in seconds.
const DOUBTFUL: f64 = 6.0;
/// The lowest rate ever held, per second.
const LOWEST: f64 = 0.02;

/// The learned rate of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    first_sent: Option<Instant>,
    found: Option<Found>,
}

#[derive(Debug)]
struct Found {
    /// Calls a second, as counted.
    rate: f64,
    /// Calls accepted until the first rejection.
    calls: f64,
    /// When the quota was last known to be used up, and how many calls had been sent by then.
    empty: Instant,
    mark: f64,
    /// The tokens that had been accepted by then.
    tokens: f64,
    unit: Unit,
    /// Rejected calls sent since.
    rejected: f64,
    /// Rejections of calls sent before this belong to the last one.
    heard: Instant,
    /// Whether a second moment of emptiness is still to come.
    first: bool,
    /// How much of the time since then nothing was sent, for a pause, for a probe after it or for want of work.
    idle: f64,
    /// When the latest call was sent, and what it took.
    latest: (Instant, f64),
    hold_from: Instant,
    hold: f64,
    /// Whether no second count has confirmed the rate yet.
    search: bool,
    chance: Chance,
    /// Whether the last moment of emptiness was found in spite of rejections by chance.
    certain: bool,
    /// Of the calls under way when a rejection was heard before which no rate was known, those sent after the rejected one:
    /// accepted and rejected.
    later: Option<[f64; 2]>,
    /// Whether that rejection was chance after all: then no rate is known.
    free: bool,
    /// Calls sent since the first rejection, and how many those were at two moments of late.
    sent: f64,
    recent: [(Instant, f64); 2],
    pace: Bucket,
}

impl Learned {
    /// Returns when a call may be sent.
    pub(crate) fn ready(&self, now: Instant, cost: &Cost) -> Ready {
        self.known().map_or(Ready::Now, |found| found.pace.ready(now, found.unit.weigh(cost)))
    }

    /// Returns the rate in calls a second, once one is known.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.known().map(|found| found.rate)
    }

    fn known(&self) -> Option<&Found> {
        self.found.as_ref().filter(|found| !found.free)
    }

    /// Notes that a call is sent.
    pub(crate) fn admit(&mut self, now: Instant, cost: &Cost) {
        self.first_sent.get_or_insert(now);
        if let Some(found) = &mut self.found {
            found.admit(now, cost);
        }
    }

    /// Notes a success of the `mark`th call, sent at `sent`, and returns whether it shows that the first rejection was
    /// chance, so that there is no reason for a pause.
    pub(crate) fn succeeded(&mut self, sent: Instant, mark: f64) -> bool {
        let (Some(found), Some(start)) = (&mut self.found, self.first_sent) else { return false };
        if sent <= found.heard {
            return mark > found.mark && found.is_refuted();
        }
        found.later = None;
        if !found.first {
            return false;
        }
        // Quota came back after the first rejection: a window's worth was used in the time until now.
        found.recount(start, sent);
        found.first = false;
        false
    }

    /// Notes the rejection of a call that was the `mark`th, and returns whether that is taken for chance: then nothing is
    /// to be done about it. `hint` is how long the provider asks to wait.
    pub(crate) fn is_chance(&mut self, now: Instant, mark: f64, hint: Option<Duration>) -> bool {
        let Some(found) = &mut self.found else { return false };
        // What comes back in a long pause leaves every rejection alone, and each costs too much to be in doubt about.
        let long = hint.is_some_and(|hint| hint.as_secs_f64() > SHORT_PAUSE.max(3.0 / found.rate));
        let chance = found.chance.is_likely(mark, !long && (found.free || found.rate > QUICK_ENOUGH));
        if chance {
            found.rejected += 1.0;
            let well_past = found.speed(now) > WELL_PAST * found.rate;
            found.chance.ignored(if found.free {
                Pace::Free
            } else if well_past {
                Pace::WellPast
            } else {
                Pace::Held
            });
        }
        chance
    }

    /// Notes a rejection, not by chance, of a call sent at `sent` at that cost; `until` is the end of the pause.
    pub(crate) fn rejected(&mut self, now: Instant, sent: Instant, cost: &Cost, until: Option<Instant>) {
        let until = until.unwrap_or(now).max(now);
        let mark = cost.mark.requests;
        // Of calls that were rejected the tokens are put back, so that these are the ones that were accepted.
        let tokens = cost.mark.of(Counted::Tokens) - cost.of(Counted::Tokens);
        let start = *self.first_sent.get_or_insert(sent);
        let Some(found) = &mut self.found else {
            self.found = Some(Found::first(start, now, sent, (mark, tokens), until));
            return;
        };
        if sent <= found.heard {
            found.rejected += 1.0;
            if let Some([_, rejected]) = found.later.as_mut().filter(|_| mark > found.mark) {
                *rejected += 1.0;
            }
            return;
        }
        let sure = found.chance.is_sure();
        found.chance.counted();
        if found.free && !sure {
            let chance = std::mem::take(&mut found.chance);
            *found = Found { chance, ..Found::first(start, now, sent, (mark, tokens), until) };
            return;
        }
        let accepted = mark - 1.0 - found.mark - found.rejected;
        found.heard = now;
        found.later = found.free.then_some([0.0; 2]);
        found.certain &= !found.free;
        found.free = false;
        if accepted < 0.5 {
            found.rejected += 1.0;
            if found.first {
                found.recount(start, now);
            }
        } else if sure && !found.certain {
            // What was counted last may have been chance and no moment of emptiness: only what passed just now is known.
            (found.rate, found.hold, found.search) = (found.recently(now).max(LOWEST), FIRST_HOLD, false);
            found.mark_empty(sent, mark, tokens);
        } else {
            let held = found.count(accepted, sent, (mark, tokens), now);
            if found.chance.begins(held) {
                found.hold = 0.0;
            }
        }
        found.certain = sure;
        found.pause(now, until);
    }
}

impl Found {
    fn first(start: Instant, now: Instant, sent: Instant, (mark, tokens): (f64, f64), until: Instant) -> Found {
        let mut found = Found {
            rate: LOWEST,
            calls: mark - 1.0,
            empty: sent,
            mark,
            tokens,
            unit: Unit::default(),
            rejected: 0.0,
            heard: now,
            first: true,
            idle: 0.0,
            latest: (now, 1.0),
            hold_from: until,
            hold: SHORTEST_HOLD,
            search: true,
            chance: Chance::default(),
            certain: false,
            later: Some([0.0; 2]),
            free: false,
            sent: 0.0,
            recent: [(now, 0.0); 2],
            pace: Bucket::per_minute(60.0, Limit::Learned, now),
        };
        found.recount(start, now);
        found.pause(now, until);
        found
    }

    /// Notes that a call was accepted which was sent after the first rejected one and before that was heard. Returns whether
    /// those are so many that the quota was not used up: then nothing is known any more.
    fn is_refuted(&mut self) -> bool {
        let Some([accepted, rejected]) = &mut self.later else { return false };
        *accepted += 1.0;
        let refuted = *accepted >= MANY && *rejected < FEW * *accepted;
        if refuted {
            (self.free, self.first, self.later) = (true, false, None);
            self.chance.begin();
        }
        refuted
    }

    /// Begins to hold when the pause is over, with nothing saved up meanwhile.
    fn pause(&mut self, now: Instant, until: Instant) {
        self.hold_from = until;
        let speed = self.speed(now);
        self.pace.set_rate(now, speed);
        self.pace.empty_until(until);
    }

    /// Counts what was accepted until the first rejection over the time that passed until `to`.
    fn recount(&mut self, start: Instant, to: Instant) {
        let seconds = to.duration_since(start).as_secs_f64().max(SHORTEST);
        self.rate = (self.calls.max(1.0) / seconds).max(LOWEST);
    }

    /// Counts what was accepted between the last moment of emptiness and this one. Returns whether the rate was being held
    /// and stands, so that there is no reason for the rejection.
    fn count(&mut self, calls: f64, sent: Instant, (mark, tokens): (f64, f64), now: Instant) -> bool {
        let passed = sent.duration_since(self.empty).as_secs_f64().max(1e-3);
        let enough = calls >= ENOUGH || passed >= LONG_AGO;
        if enough && !self.first {
            let full = self.speed(now) < FAR * self.rate;
            self.unit.note(calls, tokens - self.tokens, passed, full, self.rate);
        }
        let accepted = self.unit.amount(calls, tokens - self.tokens);
        // A bucket may have saved what came back during a pause, or have overflowed: the rate is between these.
        let low = accepted / passed;
        let high = accepted / (passed - self.idle).max(1e-3);
        let slack = 3.0 / passed + 0.1 * low;
        let probing = sent > self.hold_from + Duration::from_secs_f64(self.hold);
        let mut held = false;
        if self.first || self.rate > high + slack {
            let least = if enough { 0.0 } else { CUT * self.rate };
            (self.rate, self.hold, self.search) = (low.max(least), SHORTEST_HOLD, true);
        } else if self.rate < low - slack && probing {
            // While we held back the bucket overflowed, which hides how much more there is; the pace just now is an upper
            // bound, and if it is too high, the next rejection corrects it at once.
            (self.rate, self.hold, self.search) = (low.max(0.9 * self.speed(now)), SHORTEST_HOLD, true);
        } else if self.search {
            self.rate = self.rate.clamp(low, high);
            if enough {
                (self.hold, self.search) = (FIRST_HOLD, false);
            }
        } else if probing {
            // A probe that had to go far says that there may be more: then it is worth probing again soon.
            let reached = self.speed(now);
            self.hold = if reached < FAR * self.rate { 2.0 * self.hold } else { self.hold };
            self.rate = match self.idle / passed {
                // Where pauses cost nothing, trying a little more than was counted costs nothing either, if it is rare.
                share if share < 0.01 => high + 0.25 * (reached / 1.05 - high).max(0.0),
                share if share < 0.15 => high,
                _ => self.rate.clamp(low, high),
            };
        } else {
            (self.rate, self.hold) = (self.rate + 0.5 * (low - self.rate).min(0.0), 0.5 * self.hold);
            held = true;
        }
        self.rate = self.rate.max(LOWEST);
        self.hold = self.hold.clamp(SHORTEST_HOLD, (HOLD_CALLS / self.rate).clamp(LONGEST_HOLD, SLOWEST_HOLD));
        self.first = false;
        if enough {
            self.mark_empty(sent, mark, tokens);
        } else {
            self.rejected += 1.0;
        }
        held
    }

    fn mark_empty(&mut self, sent: Instant, mark: f64, tokens: f64) {
        (self.empty, self.mark, self.tokens) = (sent, mark, tokens);
        (self.rejected, self.idle, self.first) = (0.0, 0.0, false);
    }

    /// Returns how many calls a second were sent in the last second or two.
    fn recently(&self, now: Instant) -> f64 {
        let (at, sent) = self.recent[0];
        (self.sent - sent) / now.saturating_duration_since(at).as_secs_f64().max(SHORTEST)
    }

    /// Notes that a call is sent.
    fn admit(&mut self, now: Instant, cost: &Cost) {
        let speed = self.speed(now);
        self.pace.set_rate(now, speed);
        let (latest, took) = self.latest;
        let gap = now.saturating_duration_since(latest).as_secs_f64();
        if gap > IDLE.0 && gap * speed > IDLE.1 * took.max(1.0) {
            // Nothing is saved up meanwhile: what the provider's bucket holds is not known.
            self.idle += gap - took / speed;
            self.pace.empty_until(now);
        }
        let takes = self.unit.weigh(cost);
        self.latest = (now, takes);
        if !self.free {
            self.pace.take(now, takes);
        }
        let (at, sent) = self.recent[1];
        if self.sent - sent >= 100.0 && now > at + Duration::from_secs(1) {
            self.recent = [self.recent[1], (now, self.sent)];
        }
        self.sent += 1.0;
    }

    /// Returns how many calls a second to send now.
    fn speed(&self, now: Instant) -> f64 {
        let probing = (now.saturating_duration_since(self.hold_from).as_secs_f64() - self.hold).max(0.0);
        let slowness = match (self.search, self.chance.doubts()) {
            (_, true) => DOUBTFUL,
            (true, false) => QUICK,
            (false, false) => (SLOW_CALLS / self.rate).clamp(SLOW, SLOWEST),
        };
        // Where a probe has gone far without a rejection, there is no reason to go on slowly.
        let far = slowness * FAR.ln();
        let growth = probing.min(far) / slowness + (probing - far).max(0.0) / slowness.min(SLOW);
        self.rate * HOLD_AT * growth.min(50.0).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::limit::Taken;

    const MS: Duration = Duration::from_millis(1);

    fn the(mark: f64) -> Cost {
        Cost { mark: Taken { requests: mark, ..Taken::default() }, ..Cost::default() }
    }

    /// A bucket that rejects what it does not hold, and pauses of 100 ms after each rejection.
    struct Server {
        rate: f64,
        burst: f64,
        level: f64,
        /// Rejects one of so many calls for no reason.
        chance: Option<(u64, fastrand::Rng)>,
        /// Milliseconds of a pause.
        pause: u32,
    }

    impl Server {
        /// Sends whatever may be sent for that many seconds, and returns how many calls a second were accepted and rejected.
        fn run(&mut self, learned: &mut Learned, from: Instant, seconds: u64) -> (f64, f64) {
            let (mut now, mut paused) = (from, from);
            let (mut accepted, mut rejected, mut mark) = (0, 0, 0.0);
            while now < from + Duration::from_secs(seconds) {
                now += MS;
                self.level = (self.level + self.rate / 1e3).min(self.burst);
                if now < paused || learned.ready(now, &Cost::default()) != Ready::Now {
                    continue;
                }
                learned.admit(now, &Cost::default());
                mark += 1.0;
                let unlucky = self.chance.as_mut().is_some_and(|(of, rng)| rng.u64(..*of) == 0);
                if self.level >= 1.0 && !unlucky {
                    self.level -= 1.0;
                    accepted += 1;
                    learned.succeeded(now, mark);
                } else {
                    rejected += 1;
                    if learned.is_chance(now, mark, None) {
                        continue;
                    }
                    paused = now + self.pause * MS;
                    learned.rejected(now, now, &the(mark), Some(paused));
                }
            }
            (f64::from(accepted) / seconds as f64, f64::from(rejected) / seconds as f64)
        }
    }

    #[test]
    fn the_rate_is_counted_whatever_the_burst() {
        // A bucket of two calls overflows in every pause, whose share of the time is not known, and the lower count stands.
        for (burst, pause, least) in [(2.0, 100, 46.0), (2.0, 40, 47.0), (5.0, 100, 49.0), (500.0, 100, 49.5)] {
            let mut server = Server { rate: 50.0, burst, level: burst, chance: None, pause };
            let (mut learned, start) = (Learned::default(), Instant::now());
            server.run(&mut learned, start, 30);
            let (accepted, rejected) = server.run(&mut learned, start + 30_000 * MS, 300);
            assert!((least..=50.5).contains(&accepted), "burst {burst}, pause {pause}: {accepted}");
            assert!(rejected < 0.5, "burst {burst}: {rejected}");
        }
    }

    #[test]
    fn it_follows_a_limit_that_rises_and_one_that_falls() {
        let mut server = Server { rate: 50.0, burst: 5.0, level: 5.0, chance: None, pause: 100 };
        let (mut learned, mut now) = (Learned::default(), Instant::now());
        for rate in [50.0, 200.0, 20.0] {
            server.rate = rate;
            server.run(&mut learned, now, 90);
            let (accepted, _) = server.run(&mut learned, now + 90_000 * MS, 60);
            assert!(accepted > 0.92 * rate, "{accepted} of {rate}");
            now += 150_000 * MS;
        }
    }

    #[test]
    fn rejections_by_chance_do_not_freeze_it() {
        let mut rates = Vec::new();
        for seed in 0..20 {
            let chance = Some((200, fastrand::Rng::with_seed(seed)));
            let mut server = Server { rate: 1e6, burst: 1e6, level: 1e6, chance, pause: 100 };
            let (mut learned, start) = (Learned::default(), Instant::now());
            learned.admit(start, &Cost::default());
            learned.rejected(start, start, &the(1.0), None);
            server.run(&mut learned, start, 300);
            let (accepted, _) = server.run(&mut learned, start + 300_000 * MS, 120);
            assert!(accepted > 20.0, "seed {seed}: {accepted}");
            rates.push(accepted);
        }
        rates.sort_by(f64::total_cmp);
        assert!(rates[10] > 400.0, "the pauses leave 667 a second: {rates:?}");
    }

    #[test]
    fn a_limit_is_found_among_rejections_by_chance() {
        let (mut used, mut rejected) = (0.0, 0.0);
        for seed in 0..10 {
            let chance = Some((200, fastrand::Rng::with_seed(seed)));
            let mut server = Server { rate: 400.0, burst: 100.0, level: 100.0, chance, pause: 15 };
            let (mut learned, start) = (Learned::default(), Instant::now());
            server.run(&mut learned, start, 120);
            let (accepted, refused) = server.run(&mut learned, start + 120_000 * MS, 300);
            (used, rejected) = (used + accepted / 4000.0, rejected + refused / 4000.0);
        }
        assert!(used > 0.7 && rejected < 0.02, "{used} {rejected}");
    }

    #[test]
    fn one_burst_of_rejections_is_one_correction() {
        let (mut learned, start) = (Learned::default(), Instant::now());
        (0..100).for_each(|_| learned.admit(start, &Cost::default()));
        for mark in 51..=100 {
            learned.rejected(start + 100 * MS, start, &the(f64::from(mark)), None);
        }
        assert_eq!(learned.rate(), Some(100.0), "50 accepted within the shortest time that counts");
    }
}
