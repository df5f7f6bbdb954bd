//! When a run has no sense any more.
//!
//! A failed row never stops the others. But when no endpoint serves any more, or the first rows all failed for one cause
//! that will not pass, going on would only burn the rest of the input.

use crate::client::Client;
use crate::failure::Failure;
use crate::run::summary::Stopped;

/// How many first rows must have failed alike.
const FIRST_ROWS: u64 = 50;

/// Watches the outcomes.
#[derive(Debug, Default)]
pub(super) struct Policy {
    alike: u64,
    first: Option<Failure>,
    mixed: bool,
    /// Why the run is stopped, once it is.
    pub(super) stopped: Option<Stopped>,
}

impl Policy {
    /// Notes a finished row. Returns whether the run should stop.
    pub(super) fn finished(&mut self, failure: Option<&Failure>) -> bool {
        if self.mixed {
            return false;
        }
        let same = |first: &Failure| failure.is_some_and(|failure| failure.kind == first.kind);
        self.mixed = match (&self.first, failure) {
            (_, None) => true,
            (None, Some(failure)) => failure.kind.is_transient(),
            (Some(first), Some(_)) => !same(first),
        };
        self.first = self.first.take().or_else(|| failure.cloned());
        self.alike += 1;
        let hopeless = !self.mixed && self.alike == FIRST_ROWS;
        if let (true, Some(failure)) = (hopeless, &self.first) {
            self.stopped = Some(Stopped::SameCause { failure: failure.clone(), rows: FIRST_ROWS });
        }
        hopeless
    }

    /// Notes a row that a refused key or model left unsent. Returns whether the run should stop.
    pub(super) fn refused(&mut self, client: &Client) -> bool {
        let Some(failure) = client.exhausted() else { return false };
        self.stopped.get_or_insert(Stopped::NoEndpoint { failure });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    fn stops_after(failures: impl IntoIterator<Item = Option<Kind>>) -> Option<usize> {
        let mut policy = Policy::default();
        let mut failures = failures.into_iter();
        failures.position(|kind| policy.finished(kind.map(|kind| Failure::new(kind, "x")).as_ref()))
    }

    #[test]
    fn fifty_first_rows_that_fail_alike_stop_the_run() {
        assert_eq!(stops_after([Some(Kind::BadRequest); 100]), Some(49));
    }

    #[test]
    fn transient_mixed_or_later_failures_do_not() {
        assert_eq!(stops_after([Some(Kind::Timeout); 100]), None);
        assert_eq!(stops_after([Some(Kind::BadRequest), Some(Kind::TooLong)].into_iter().cycle().take(100)), None);
        assert_eq!(stops_after(std::iter::once(None).chain([Some(Kind::BadRequest); 100])), None);
    }
}
