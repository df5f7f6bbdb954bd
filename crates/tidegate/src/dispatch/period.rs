//! How fast a limit that headers name comes back, when they do not name its period: from the first replies on.
//!
//! # Why
//!
//! "100 remain of 100" may be meant per second or per day. Most providers mean a minute, but where that is wrong by a factor
//! of sixty it must show at once, not after seconds of sending at a sixtieth.
//!
//! # How
//!
//! | what is told | what follows |
//! |---|---|
//! | a reset that gets later as less remains | a bucket, and the reset is when it will be full: so much time for each unit |
//! | the same reset, although time has passed | a bucket, full before each call or nowhere near empty: at least one call in that time |
//! | resets that name one moment, whatever was sent in between | a window, and the shortest usual one as long as the longest reset |
//! | what remains, twice, and what was sent in between | what came back, at least; a full bucket hides the rest |
//!
//! The first and the last are believed only twice in a row. A window's reset does not depend on what remains, and what comes
//! back at its end comes once.

use std::time::Duration;

use tokio::time::Instant;

/// What limits are per, in seconds; a rate near one of them means it.
const PERIODS: [f64; 5] = [1.0, 10.0, 60.0, 3600.0, 86_400.0];
const NEAR: f64 = 0.2;
/// The least changes that say something, in steps in which they are told.
const STEPS: f64 = 4.0;
const GAINED: f64 = 7.0;
/// The least time between two replies that are compared, and the most in which something must have come back.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);
/// How exactly a reset is the same.
const EVEN: Duration = Duration::from_millis(2);
/// How much more than thought must come back, in multiples.
pub(super) const MORE: f64 = 1.5;
/// How much further than the ends of a window differ those of the quickest bucket would have moved, in multiples, and in
/// seconds.
const FURTHER: f64 = 4.0;
const MOVED: f64 = 0.01;

/// Returns the usual period that is nearly so long, or else this one.
pub(super) fn usual(seconds: f64) -> f64 {
    PERIODS.into_iter().find(|usual| (seconds / usual - 1.0).abs() < NEAR).unwrap_or(seconds)
}

/// The rate as resets tell it.
#[derive(Debug, Default)]
pub(super) struct ByReset {
    /// What remained, and the seconds until all would be there again.
    last: Option<(f64, f64)>,
    /// Seconds for each unit.
    each: Option<f64>,
    /// When a call was sent that was told the latest reset, and what remained for it.
    same: Option<(Instant, f64, Duration)>,
}

impl ByReset {
    /// Returns the least rate in calls a second, if calls were told the same reset some time apart: where each finds the bucket
    /// full, that is what one of them takes, and otherwise what several do.
    pub(super) fn steady(&mut self, at: Instant, remaining: f64, reset: Duration) -> Option<f64> {
        let known = self.same.filter(|(_, left, known)| *left == remaining && known.abs_diff(reset) <= EVEN);
        let Some((since, ..)) = known.filter(|_| reset.subsec_nanos() > 0) else {
            self.same = Some((at, remaining, reset));
            return None;
        };
        (at.saturating_duration_since(since) >= SHORTEST).then(|| 1.0 / reset.as_secs_f64())
    }

    /// Returns the rate in units a second, if this reset and those before agree on one.
    pub(super) fn note(&mut self, remaining: f64, step: f64, reset: Duration) -> Option<f64> {
        let reset = reset.as_secs_f64();
        let Some((remained, before)) = self.last else {
            self.last = Some((remaining, reset));
            return None;
        };
        let (used, later) = (remained - remaining, reset - before);
        // Some tell whole seconds.
        let grain = if reset.fract() == 0.0 && before.fract() == 0.0 { 1.0 } else { 1e-3 };
        let falls = used * later < 0.0;
        if used.abs() < STEPS * step || (!falls && later.abs() < STEPS * grain) {
            return None;
        }
        self.last = Some((remaining, reset));
        let each = (!falls && used != 0.0).then(|| later / used);
        let agreed = self.each.zip(each).filter(|(a, b)| (a / b).max(b / a) < 1.3);
        self.each = each;
        agreed.map(|(a, b)| 2.0 / (a + b))
    }
}

/// The window as its end shows it.
#[derive(Debug, Default)]
pub(super) struct ByEnd {
    /// The first call that was told of the present window: when it was sent, what had been by then, and the window's end.
    first: Option<(Instant, f64, Instant)>,
    /// The most seconds by which replies differ about that end.
    spread: f64,
    /// The longest reset of all, in seconds.
    longest: f64,
}

impl ByEnd {
    /// Returns the seconds of a window, if the resets of calls have named the same end although enough of `limit` was sent in
    /// between. `taken` is what had been sent in all at `sent`.
    pub(super) fn note(&mut self, sent: Instant, taken: f64, limit: f64, reset: Duration) -> Option<f64> {
        if reset.subsec_nanos() == 0 {
            // Whole seconds say too little.
            return None;
        }
        let end = sent + reset;
        self.longest = self.longest.max(reset.as_secs_f64());
        let Some((since, before, first)) = self.first.filter(|(.., first)| sent < *first) else {
            (self.first, self.spread) = (Some((sent, taken, end)), 0.0);
            return None;
        };
        if sent < since {
            return None;
        }
        let apart = end.max(first) - end.min(first);
        self.spread = self.spread.max(apart.as_secs_f64());
        let moved = (taken - before).abs() / limit * PERIODS[0];
        let stands = moved > FURTHER * self.spread + MOVED;
        stands.then(|| PERIODS.into_iter().find(|usual| *usual * (1.0 + NEAR) > self.longest)).flatten()
    }
}

/// The rate as what comes back shows it, where that is more than was thought.
#[derive(Debug, Default)]
pub(super) struct ByGain {
    /// When a call was sent, and what remained for it plus what had been sent by then.
    last: Option<(Instant, f64)>,
    rate: Option<f64>,
}

impl ByGain {
    /// Returns the least rate, if it is more than `thought` and was so twice in a row. `taken` is what had been sent when
    /// that remained, at `at`.
    pub(super) fn note(&mut self, at: Instant, remaining: f64, step: f64, taken: f64, thought: f64) -> Option<f64> {
        if remaining < step {
            // What is empty rejects, and nobody knows whether that is counted.
            (self.last, self.rate) = (None, None);
            return None;
        }
        let sum = remaining + taken;
        let Some((then, before)) = self.last else {
            self.last = Some((at, sum));
            return None;
        };
        let (passed, gained) = (at.saturating_duration_since(then), sum - before);
        let seconds = passed.as_secs_f64();
        if passed < SHORTEST {
            return None;
        }
        if gained < GAINED * step || gained < MORE * thought * seconds {
            if passed > LONGEST {
                (self.last, self.rate) = (Some((at, sum)), None);
            }
            return None;
        }
        self.last = Some((at, sum));
        let before = self.rate.replace(gained / seconds)?;
        Some(before.min(gained / seconds))
    }
}
