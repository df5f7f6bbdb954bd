//! What a silent limit counts: calls or tokens.
//!
//! # Why
//!
//! "Too many" does not say of what. As long as calls are alike it makes no difference; where their sizes change, a limit on
//! tokens looks like one on calls that rises and falls, and each fall costs rejections.
//!
//! # How
//!
//! Between two moments at which the quota was used up so many calls were accepted and so many tokens. Of what is limited
//! there came back as much each second, time after time; of the other it varies with the sizes. What varies far less is
//! what counts from then on. The rate goes on being told in calls, of the mean size at the moment of that decision, so that
//! nothing else need know.

use crate::call::limits::Counted;
use crate::dispatch::limit::Cost;

/// How many counts it takes, and how much they must vary: a tenth, as the square of a logarithm.
const COUNTS: u32 = 4;
const VARIES: f64 = 0.01;
/// How much less the other one varies, in squares.
const LESS: f64 = 0.25;
/// The weight of one count.
const RECENT: f64 = 0.3;

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Unit {
    calls: Spread,
    tokens: Spread,
    /// Tokens that make a call, where tokens count.
    size: Option<f64>,
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

    /// Notes what was accepted in that many seconds between two moments of emptiness.
    pub(super) fn note(&mut self, calls: f64, tokens: f64, seconds: f64) {
        if calls <= 0.0 || tokens <= 0.0 {
            return;
        }
        self.calls.note(calls / seconds);
        self.tokens.note(tokens / seconds);
        match self.size {
            None if self.tokens.is_steadier(&self.calls) => self.size = Some(tokens / calls),
            Some(_) if self.calls.is_steadier(&self.tokens) => self.size = None,
            None | Some(_) => {}
        }
    }
}

/// How much a rate varies.
#[derive(Debug, Default)]
struct Spread {
    count: u32,
    mean: f64,
    variance: f64,
}

impl Spread {
    fn note(&mut self, rate: f64) {
        let off = rate.ln() - self.mean;
        self.count = self.count.saturating_add(1);
        if self.count == 1 {
            self.mean = rate.ln();
            return;
        }
        self.mean += RECENT * off;
        self.variance += RECENT * ((1.0 - RECENT) * off * off - self.variance);
    }

    fn is_steadier(&self, other: &Spread) -> bool {
        self.count >= COUNTS && other.variance > VARIES && self.variance < LESS * other.variance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_evenly_is_what_counts() {
        let (mut unit, big) = (Unit::default(), Cost { input: 900.0, output: 100.0, ..Cost::default() });
        for size in [100.0, 1000.0, 100.0, 1000.0, 200.0] {
            unit.note(50_000.0 / size, 50_000.0, 10.0);
        }
        assert_eq!((unit.weigh(&big), unit.amount(7.0, 3000.0)), (1.0, 3.0));
        for size in [100.0, 1000.0, 100.0, 1000.0, 200.0, 100.0] {
            unit.note(300.0, 300.0 * size, 10.0);
        }
        assert_eq!((unit.weigh(&big), unit.amount(7.0, 3000.0)), (1.0, 7.0));
    }

    #[test]
    fn a_limit_that_changes_is_no_reason_to_count_otherwise() {
        let mut unit = Unit::default();
        for rate in [100.0, 50.0, 200.0, 100.0, 20.0, 100.0] {
            unit.note(rate, 110.0 * rate, 1.0);
        }
        assert_eq!(unit.amount(7.0, 3000.0), 7.0);
    }
}
