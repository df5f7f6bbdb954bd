//! The failures with which the dispatcher itself ends a request.

use std::time::Duration;

use crate::failure::{Failure, Kind, Retry};
use crate::outcome::Attempt;

pub(super) fn cancelled() -> Failure {
    Failure::new(Kind::Cancelled, "the run was stopped before this request was answered")
}

pub(super) fn overdue() -> Failure {
    Failure::new(Kind::Deadline, "the time for this request was over before it was answered")
}

/// Returns the failure of a request that would be tried again if there were time.
pub(super) fn out_of_time(last: &Failure) -> Failure {
    Failure::new(Kind::Deadline, format!("no time is left to try again after {last}"))
}

pub(super) fn no_reply_within(time: Duration) -> Failure {
    Failure::new(Kind::Timeout, format!("no reply within {time:?}"))
}

/// Returns the failure after which a request had nowhere to go, if it was its own and not the endpoints'.
pub(super) fn own_fault(attempts: &[Attempt]) -> Option<Failure> {
    let last = attempts.last()?.failure.as_ref()?;
    (last.kind.advice().retry == Retry::Elsewhere).then(|| last.clone())
}
