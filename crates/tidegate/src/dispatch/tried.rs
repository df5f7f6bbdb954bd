//! How often requests were tried again, and after what: counted where it is decided, and only there.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Serialize, Serializer};

use super::Next;
use crate::failure::{Failure, Kind, Retry};
use crate::money::Money;

/// How often requests of a client were tried again since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RetryStats {
    /// Sent again after a backoff.
    pub after_backoff: u64,
    /// Sent again after a rejection for load, which costs no attempt.
    pub after_rejection: u64,
    /// Sent again at once, with another key.
    pub at_once: u64,
    /// Sent to another endpoint or model, because the one before does not serve it.
    pub elsewhere: u64,
    /// Sent again at once without something that was refused as unsupported, which costs no attempt.
    pub lesser: u64,
    /// Not sent again.
    pub given_up: u64,
    /// Failed attempts by cause.
    pub causes: BTreeMap<Kind, u64>,
    /// Copies of slow calls, sent beside these.
    pub copies: u64,
    /// What the calls cost that were given up for another copy, as far as prices are known: they may have been served, so
    /// each counts at its estimate.
    #[serde(rename = "copies_usd", serialize_with = "in_usd")]
    pub copies_cost: Money,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn in_usd<S: Serializer>(cost: &Money, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(cost.usd())
}

/// Counts retries.
#[derive(Debug, Default)]
pub(crate) struct Tried(Mutex<RetryStats>);

impl Tried {
    pub(crate) fn stats(&self) -> RetryStats {
        self.lock().clone()
    }

    /// Counts what is done about a failed attempt.
    pub(super) fn count(&self, failure: &Failure, next: &Next) {
        let mut stats = self.lock();
        *stats.causes.entry(failure.kind).or_default() += 1;
        *match next {
            Next::After(_) => &mut stats.after_backoff,
            Next::Again if failure.kind.advice().retry == Retry::AtOnce => &mut stats.at_once,
            Next::Again => &mut stats.after_rejection,
            Next::Without { .. } => &mut stats.elsewhere,
            Next::GiveUp => &mut stats.given_up,
        } += 1;
    }

    /// Counts a request that goes on without something.
    pub(super) fn count_lesser(&self, failure: &Failure) {
        let mut stats = self.lock();
        *stats.causes.entry(failure.kind).or_default() += 1;
        stats.lesser += 1;
    }

    /// Counts a copy of a slow call.
    pub(super) fn copied(&self) {
        self.lock().copies += 1;
    }

    /// Counts what a call may have cost that was given up for another copy.
    pub(super) fn overtaken(&self, cost: Option<Money>) {
        self.lock().copies_cost += cost.unwrap_or_default();
    }

    fn lock(&self) -> MutexGuard<'_, RetryStats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
