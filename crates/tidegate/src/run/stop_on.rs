//! Which failures stop a run, and the count of them.
//!
//! A stop is about what is not sent yet: what is in flight is waited for, and every outcome is kept.

use crate::event::Ended;
use crate::failure::{Failure, Kind};
use crate::outcome::Outcome;
use crate::run::Run;
use crate::run::summary::{FailureRule, Stopped};

/// Which failed requests stop a run. By default none.
#[derive(Debug, Clone, PartialEq)]
pub struct StopOn {
    /// Any.
    pub first_failure: bool,
    /// More than that share of this run's requests, such as 0.1, once there are [`min_sample`](StopOn::min_sample).
    pub failure_rate: Option<f64>,
    /// Requests that must be finished before their share counts. Default 100: fewer say little.
    pub min_sample: u64,
    /// Those of these causes. A request counts that ends so after all its attempts, unsent ones (`auth`) included.
    pub kinds: Vec<Kind>,
}

impl Default for StopOn {
    fn default() -> StopOn {
        StopOn { first_failure: false, failure_rate: None, min_sample: 100, kinds: Vec::new() }
    }
}

impl<S, C> Run<S, C> {
    /// Stops when requests fail: takes nothing more, lets calls in flight end, and gives up what still waits, which ends
    /// with [`Kind::Cancelled`]. The run has then [ended](crate::Batch::ended) by [`Ended::Failures`].
    ///
    /// ```
    /// # use tidegate::{Client, Ended, Request, Target};
    /// # use tidegate::sim::Scenario;
    /// use tidegate::{Kind, StopOn};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> tidegate::Result<()> {
    /// # let scenario = Scenario::from_yaml("script: [{contains: '7', status: 400}]")?;
    /// # let client = Client::builder().target(Target::new("sim/echo")?).scenario(scenario).build()?;
    /// let tenth = StopOn { failure_rate: Some(0.1), min_sample: 20, kinds: vec![Kind::ContentFilter], ..StopOn::default() };
    /// let requests = (0..100_000).map(|n| Request::prompt(format!("number {n}")));
    /// let batch = client.run(requests).stop_on_failures(tenth).in_input_order().await;
    /// assert_eq!(batch.ended, Ended::Failures);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stop_on_failures(mut self, rules: StopOn) -> Run<S, C> {
        self.failures = (rules != StopOn::default()).then(|| Box::new(Failures::new(rules)));
        self
    }

    /// Counts an outcome, and stops the run if that was one failure too many.
    pub(super) fn count_failures(&mut self, outcome: &Outcome) {
        let stops = self.failures.as_mut().is_some_and(|failures| failures.see(outcome));
        if stops {
            self.source_ended = true;
            self.ledger.stopped(Ended::Failures);
            self.asker.stop.cancel();
        }
    }
}

/// Counts outcomes against the rules.
#[derive(Debug, Default)]
pub(super) struct Failures {
    rules: StopOn,
    finished: u64,
    failed: u64,
    last: Option<Failure>,
}

impl Failures {
    pub(super) fn new(rules: StopOn) -> Failures {
        Failures { rules, ..Failures::default() }
    }

    /// Notes an outcome. Returns whether the run should stop.
    fn see(&mut self, outcome: &Outcome) -> bool {
        match &outcome.result {
            // What a stop or a budget left unsent has not failed.
            Err(failure) if matches!(failure.kind, Kind::Budget | Kind::Cancelled) => self.unsent(failure),
            result => self.finished(result.as_ref().err()),
        }
        .is_some()
    }

    /// Notes a request that was answered or has failed. Returns why the run should stop, if it should.
    pub(super) fn finished(&mut self, failure: Option<&Failure>) -> Option<Stopped> {
        self.finished += 1;
        if let Some(failure) = failure {
            self.failed += 1;
            self.last = Some(failure.clone());
        }
        let rule = failure.and_then(|failure| self.stops_on(failure)).or_else(|| self.too_many());
        rule.zip(self.last.as_ref()).map(|(rule, failure)| self.stopped(rule, failure))
    }

    /// Notes a request that was not sent. Returns why the run should stop, if it should.
    pub(super) fn unsent(&self, failure: &Failure) -> Option<Stopped> {
        self.rules.kinds.contains(&failure.kind).then(|| self.stopped(FailureRule::Kind, failure))
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops_after(rules: StopOn, failures: impl IntoIterator<Item = Option<Kind>>) -> Option<usize> {
        let mut counted = Failures::new(rules);
        let mut failures = failures.into_iter();
        failures.position(|kind| counted.finished(kind.map(|kind| Failure::new(kind, "x")).as_ref()).is_some())
    }

    const BAD: Option<Kind> = Some(Kind::BadRequest);

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

    #[test]
    fn what_was_not_sent_counts_only_where_it_is_named() {
        let ended = |kind| Outcome::new(0, Err(Failure::new(kind, "no")));
        let first = || Failures::new(StopOn { first_failure: true, ..StopOn::default() });
        assert!(first().see(&ended(Kind::Auth)) && !first().see(&ended(Kind::Cancelled)));
        assert!(Failures::new(StopOn { kinds: vec![Kind::Budget], ..StopOn::default() }).see(&ended(Kind::Budget)));
    }
}
