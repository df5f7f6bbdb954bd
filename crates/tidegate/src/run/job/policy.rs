//! When a job has no sense any more, or the user wants it to have none.
//!
//! By itself a failed row never stops the others. But when no endpoint serves any more, or the first rows all failed for one
//! cause that will not pass, or rows fail one after the other because nobody is there, going on would only burn the rest of
//! the input. [`StopOn`] stops earlier.

use crate::client::Client;
use crate::failure::{Failure, Kind};
use crate::run::stop_on::{Failures, StopOn};
use crate::run::summary::Stopped;

/// How many rows in a row must have failed alike.
const ALIKE: u64 = 50;

/// Watches the outcomes.
#[derive(Debug, Default)]
pub(super) struct Policy {
    failures: Failures,
    alike: u64,
    first: Option<Failure>,
    mixed: bool,
    /// How many rows in a row have failed because no endpoint could be reached.
    unreached: u64,
}

impl Policy {
    pub(super) fn new(rules: StopOn) -> Policy {
        Policy { failures: Failures::new(rules), ..Policy::default() }
    }

    /// Notes a finished row. Returns why the run should stop, if it should.
    pub(super) fn finished(&mut self, failure: Option<&Failure>) -> Option<Stopped> {
        let stopped = self.failures.finished(failure);
        stopped.or_else(|| self.hopeless(failure)).or_else(|| self.nobody_there(failure))
    }

    /// Notes a row that stays unsent. Returns why the run should stop, if it should.
    pub(super) fn unsent(&self, failure: &Failure, client: &Client) -> Option<Stopped> {
        if failure.kind == Kind::Budget {
            return Some(Stopped::Budget { failure: failure.clone() });
        }
        let exhausted = || failure.kind.advice().aside.and_then(|_| client.exhausted());
        self.failures.unsent(failure).or_else(|| exhausted().map(|failure| Stopped::NoEndpoint { failure }))
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
        let first = self.first.as_ref().filter(|_| !self.mixed && self.alike == ALIKE)?;
        Some(Stopped::SameCause { failure: first.clone(), rows: ALIKE })
    }

    fn nobody_there(&mut self, failure: Option<&Failure>) -> Option<Stopped> {
        let failure = failure.filter(|failure| failure.kind == Kind::Connect);
        self.unreached = failure.map_or(0, |_| self.unreached + 1);
        failure
            .filter(|_| self.unreached == ALIKE)
            .map(|failure| Stopped::SameCause { failure: failure.clone(), rows: ALIKE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops_after(failures: impl IntoIterator<Item = Option<Kind>>) -> Option<usize> {
        let mut policy = Policy::new(StopOn::default());
        let mut failures = failures.into_iter();
        failures.position(|kind| policy.finished(kind.map(|kind| Failure::new(kind, "x")).as_ref()).is_some())
    }

    const BAD: Option<Kind> = Some(Kind::BadRequest);

    #[test]
    fn fifty_first_rows_that_fail_alike_stop_the_run() {
        assert_eq!(stops_after([BAD; 100]), Some(49));
    }

    #[test]
    fn fifty_rows_in_a_row_for_which_nobody_is_there_stop_the_run() {
        let gone = Some(Kind::Connect);
        assert_eq!(stops_after([gone; 100]), Some(49));
        assert_eq!(stops_after([None; 70].into_iter().chain([gone; 100])), Some(119));
        assert_eq!(stops_after([gone, gone, None].into_iter().cycle().take(300)), None);
    }

    #[test]
    fn transient_mixed_or_later_failures_do_not() {
        assert_eq!(stops_after([Some(Kind::Timeout); 100]), None);
        assert_eq!(stops_after([BAD, Some(Kind::TooLong)].into_iter().cycle().take(100)), None);
        assert_eq!(stops_after(std::iter::once(None).chain([BAD; 100])), None);
    }
}
