//! What a silent limit counts: calls or tokens.
//!
//! # Why
//!
//! "Too many" does not say of what. As long as calls are alike it makes no difference; where their sizes change, a limit on
//! tokens looks like one on calls that rises and falls: each fall costs rejections, and each rise goes unused.
//!
//! # How
//!
//! Between two moments at which the quota was used up so many calls were accepted and so many tokens. Of what is limited no
//! more can be accepted than comes back. So whatever was accepted much faster than that is not what counts, if the other one
//! was not. The rate goes on being told in calls, of a size that is fixed at the moment of that decision,
//! so that nothing else need know.
//!
//! # Considered and rejected
//!
//! Taking what varies less (tried): while calls are small a limit on tokens is never reached, and then the tokens vary most.

use crate::call::limits::Counted;
use crate::dispatch::limit::Cost;

/// How much faster than thought counts, in multiples, and what is no faster.
const FASTER: f64 = 1.25;
const NO_FASTER: f64 = 1.1;
/// Counts before anything is known.
const KNOWN: u32 = 4;
/// The weight of one count.
const RECENT: f64 = 0.3;
/// Seconds after which it does not matter what had been saved up before.
const LONG: f64 = 10.0;

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Unit {
    calls: Ceiling,
    tokens: Ceiling,
    /// Tokens that make a call, where tokens count.
    size: Option<f64>,
    /// Whether the last count was one of a quota that was used to the full.
    full: bool,
}

impl Unit {
    /// Returns what a call takes.
    pub(super) fn weigh(&self, cost: &Cost) -> f64 {
        self.size.map_or(1.0, |size| cost.of(Counted::Tokens) / size)
    }

    /// Returns how much that is.
    pub(super) fn amount(&self, calls: f64, tokens: f64) -> f64 {
        self.size.map_or(calls, |size| tokens / size)
    }

    /// Notes what was accepted in that many seconds between two moments of emptiness; `full` says whether it was near what
    /// came back all the time. `rate` is the rate in force, in calls a second.
    pub(super) fn note(&mut self, calls: f64, tokens: f64, seconds: f64, full: bool, rate: f64) {
        let was_full = std::mem::replace(&mut self.full, full);
        // What was saved up before would look like more coming back.
        if tokens <= 0.0 || (seconds < LONG && !(full && was_full)) {
            return;
        }
        let (calls, tokens) = (self.calls.note(calls / seconds, full), self.tokens.note(tokens / seconds, full));
        let (counted, other) = if self.size.is_none() { (calls, tokens) } else { (tokens, calls) };
        if counted > FASTER && other < NO_FASTER {
            // A call is then as many tokens as make the rate what it was.
            self.size = if self.size.is_none() { self.tokens.rate.map(|tokens| tokens / rate) } else { None };
        }
    }
}

/// The most that was seen to come back.
#[derive(Debug, Default)]
struct Ceiling {
    rate: Option<f64>,
    /// How often it was counted so.
    counts: u32,
}

impl Ceiling {
    /// Notes a rate, and returns how many times as fast it is as what was known.
    fn note(&mut self, rate: f64, full: bool) -> f64 {
        let known = *self.rate.get_or_insert(rate);
        let times = if self.counts < KNOWN { 1.0 } else { rate / known };
        if times > FASTER {
            self.rate = Some(rate);
        } else if full {
            self.counts = self.counts.saturating_add(1);
            self.rate = Some(known + RECENT.max(1.0 / f64::from(self.counts)) * (rate - known));
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_never_exceeded_is_what_counts() {
        let (mut unit, big) = (Unit::default(), Cost { input: 900.0, output: 100.0, ..Cost::default() });
        for size in [1000.0, 1000.0, 1000.0, 1000.0, 100.0] {
            unit.note(500_000.0 / size, 500_000.0, 10.0, true, 50.0);
        }
        assert_eq!((unit.weigh(&big), unit.amount(7.0, 3000.0)), (1.0, 3.0));
        unit.note(300.0, 900_000.0, 10.0, true, 50.0);
        assert_eq!((unit.weigh(&big), unit.amount(7.0, 3000.0)), (1.0, 7.0));
    }

    #[test]
    fn a_limit_that_changes_is_no_reason_to_count_otherwise() {
        let mut unit = Unit::default();
        for rate in [100.0, 50.0, 200.0, 100.0, 20.0, 100.0] {
            unit.note(rate, 110.0 * rate, 1.0, true, rate);
        }
        assert_eq!(unit.amount(7.0, 3000.0), 7.0);
    }
}
