//! How often requests were tried again, and after what: counted where it is decided, and only there.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::Next;
use crate::failure::{Failure, Kind, Retry};

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

    fn lock(&self) -> MutexGuard<'_, RetryStats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
