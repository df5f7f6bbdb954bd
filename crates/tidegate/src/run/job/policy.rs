//! When a run has no sense any more, or the user wants it to have none.
//!
//! By itself a failed row never stops the others. But when no endpoint serves any more, or the first rows all failed for one
//! cause that will not pass, going on would only burn the rest of the input. [`StopOn`] stops earlier. A stop is about what
//! is not sent yet: what is in flight is waited for, and every finished row is kept.

use crate::client::Client;
use crate::failure::{Failure, Kind};
use crate::run::summary::{FailureRule, Stopped};

/// How many first rows must have failed alike.
const FIRST_ROWS: u64 = 50;

/// Which failed rows stop a run, beside the first rows all failing alike. By default none.
#[derive(Debug, Clone, PartialEq)]
pub struct StopOn {
    /// Any.
    pub first_failure: bool,
    /// More than that share of this invocation's rows, such as 0.1, once there are [`min_sample`](StopOn::min_sample).
    pub failure_rate: Option<f64>,
    /// Rows that must be finished before their share counts. Default 100: fewer say little.
    pub min_sample: u64,
    /// Those of these causes. A row counts that ends so after all its attempts, unsent ones (`auth`) included.
    pub kinds: Vec<Kind>,
}

impl Default for StopOn {
    fn default() -> StopOn {
        StopOn { first_failure: false, failure_rate: None, min_sample: 100, kinds: Vec::new() }
    }
}

/// Watches the outcomes.
#[derive(Debug, Default)]
pub(super) struct Policy {
    rules: StopOn,
    finished: u64,
    failed: u64,
    last: Option<Failure>,
    alike: u64,
    first: Option<Failure>,
    mixed: bool,
}

impl Policy {
    pub(super) fn new(rules: StopOn) -> Policy {
        Policy { rules, ..Policy::default() }
    }

    /// Notes a finished row. Returns why the run should stop, if it should.
    pub(super) fn finished(&mut self, failure: Option<&Failure>) -> Option<Stopped> {
        self.finished += 1;
        if let Some(failure) = failure {
            self.failed += 1;
            self.last = Some(failure.clone());
        }
        let rule = failure.and_then(|failure| self.stops_on(failure)).or_else(|| self.too_many());
        let stopped = rule.zip(self.last.as_ref()).map(|(rule, failure)| self.stopped(rule, failure));
        stopped.or_else(|| self.hopeless(failure))
    }

    /// Notes a row that stays unsent. Returns why the run should stop, if it should.
    pub(super) fn unsent(&self, failure: &Failure, client: &Client) -> Option<Stopped> {
        if failure.kind == Kind::Budget {
            return Some(Stopped::Budget { failure: failure.clone() });
        }
        if self.rules.kinds.contains(&failure.kind) {
            return Some(self.stopped(FailureRule::Kind, failure));
        }
        let exhausted = failure.kind.advice().aside.and_then(|_| client.exhausted());
        exhausted.map(|failure| Stopped::NoEndpoint { failure })
    }

    fn stops_on(&self, failure: &Failure) -> Option<FailureRule> {
        match self.rules.first_failure {
            true => Some(FailureRule::First),
            false => self.rules.kinds.contains(&failure.kind).then_some(FailureRule::Kind),
        }
    }

    fn too_many(&self) -> Option<FailureRule> {
        let most = self.rules.failure_rate? * self.finished as f64;
        (self.finished >= self.rules.min_sample && self.failed as f64 > most).then_some(FailureRule::Rate)
    }

    fn stopped(&self, rule: FailureRule, failure: &Failure) -> Stopped {
        Stopped::Failures { rule, failure: failure.clone(), failed: self.failed, finished: self.finished }
    }

    fn hopeless(&mut self, failure: Option<&Failure>) -> Option<Stopped> {
        if self.mixed {
            return None;
        }
        let same = |first: &Failure| failure.is_some_and(|failure| failure.kind == first.kind);
        self.mixed = match (&self.first, failure) {
            (_, None) => true,
            (None, Some(failure)) => failure.kind.is_transient(),
            (Some(first), Some(_)) => !same(first),
        };
        self.first = self.first.take().or_else(|| failure.cloned());
        self.alike += 1;
        let first = self.first.as_ref().filter(|_| !self.mixed && self.alike == FIRST_ROWS)?;
        Some(Stopped::SameCause { failure: first.clone(), rows: FIRST_ROWS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops_after(rules: StopOn, failures: impl IntoIterator<Item = Option<Kind>>) -> Option<usize> {
        let mut policy = Policy::new(rules);
        let mut failures = failures.into_iter();
        failures.position(|kind| policy.finished(kind.map(|kind| Failure::new(kind, "x")).as_ref()).is_some())
    }

    const BAD: Option<Kind> = Some(Kind::BadRequest);

    #[test]
    fn fifty_first_rows_that_fail_alike_stop_the_run() {
        assert_eq!(stops_after(StopOn::default(), [BAD; 100]), Some(49));
    }

    #[test]
    fn transient_mixed_or_later_failures_do_not() {
        let stops = |failures: Vec<Option<Kind>>| stops_after(StopOn::default(), failures);
        assert_eq!(stops(vec![Some(Kind::Timeout); 100]), None);
        assert_eq!(stops([BAD, Some(Kind::TooLong)].into_iter().cycle().take(100).collect()), None);
        assert_eq!(stops(std::iter::once(None).chain([BAD; 100]).collect()), None);
    }

    #[test]
    fn the_first_failure_or_a_named_cause_stops_when_that_is_wanted() {
        let first = StopOn { first_failure: true, ..StopOn::default() };
        assert_eq!(stops_after(first, [None, None, BAD, None]), Some(2));
        let named = StopOn { kinds: vec![Kind::ContentFilter], ..StopOn::default() };
        assert_eq!(stops_after(named, [None, BAD, Some(Kind::ContentFilter)]), Some(2));
    }

    #[test]
    fn a_rate_needs_its_sample_and_must_be_exceeded() {
        let rate = |most, min_sample| StopOn { failure_rate: Some(most), min_sample, ..StopOn::default() };
        let tenth = |n: usize| (0..n).map(|i| if i % 10 == 9 { BAD } else { None });
        assert_eq!(stops_after(rate(0.1, 20), tenth(200)), None, "just a tenth is allowed");
        assert_eq!(stops_after(rate(0.09, 25), tenth(200)), Some(29), "the third failure is a tenth of thirty");
        assert_eq!(stops_after(rate(0.5, 10), [BAD; 30]), Some(9));
    }
}
