//! How much of a run may be tried again: a brake for the case that everything fails at once.
//!
//! When a provider breaks, every request would be sent several times over. Endpoints that do not work are put aside and
//! backoffs grow, which is why this is off unless it is asked for: it lets requests fail that might have succeeded.

use std::sync::atomic::{AtomicU64, Ordering};

/// Requests that may be tried again in any run, however short.
const FLOOR: u64 = 10;

/// What one run has tried again so far.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    requests: AtomicU64,
    taken: AtomicU64,
}

impl Retries {
    /// Notes that the run takes another request.
    pub(crate) fn began(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one retry, if the share of them stays within `budget`: 0.2 allows twenty for a hundred requests.
    pub(crate) fn take(&self, budget: Option<f64>) -> bool {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        let allowed = |share: f64| FLOOR + (share * self.requests.load(Ordering::Relaxed) as f64) as u64;
        let within = budget.is_none_or(|share| taken < allowed(share));
        if !within {
            self.taken.fetch_sub(1, Ordering::Relaxed);
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_and_a_floor_may_be_tried_again() {
        let retries = Retries::default();
        (0..100).for_each(|_| retries.began());
        assert_eq!((0..200).filter(|_| retries.take(Some(0.2))).count(), 30);
        assert!(retries.take(None));
    }
}
