//! Whether, and after how long, a request is tried again.

use std::time::Duration;

use crate::failure::{Failure, Retry};

/// How often and how patiently a request is tried.
///
/// ```
/// use std::time::Duration;
/// let retry = tidegate::RetryPolicy { timeout: Duration::from_secs(60), hedge: Some(0.02), ..Default::default() };
/// # let _ = retry;
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Attempts per request, the first included. Default 5. Rejections for load do not count, nor do calls that found nobody
    /// where somebody was at most ten minutes before.
    pub max_attempts: u32,
    /// Rejections for load that a request may have and still be tried again. Default: any number.
    pub max_rate_limit_retries: Option<u32>,
    /// The time for one attempt, from admission to the whole reply. Default 600 s. A stream has none: see
    /// [`first_delta`](RetryPolicy::first_delta) and [`idle`](RetryPolicy::idle).
    pub timeout: Duration,
    /// Whether replies that are wanted whole are read as streams too, so that no proxy on the way sees an idle
    /// connection. Default false.
    pub stream: bool,
    /// How long nothing may come of a stream before its first piece. Default 300 s.
    pub first_delta: Duration,
    /// How long nothing may come of a stream after its first piece. Default 60 s.
    pub idle: Duration,
    /// Whether a reply that is taken piece by piece and breaks off goes on elsewhere, at the cost of both calls: see
    /// [`Streaming`](crate::Streaming). Default false: it fails.
    pub switch_streams: bool,
    /// The mean of the first backoff; it doubles each time. Default 500 ms.
    pub backoff: Duration,
    /// The longest backoff. Default 30 s.
    pub longest_backoff: Duration,
    /// The time for one request with everything: waiting, backoffs, all attempts. Nothing is sent for it afterwards, and
    /// what is in flight is given up. Default: none.
    pub deadline: Option<Duration>,
    /// Sends a second copy of a slow request where quota is idle, and of one that hangs. The share of extra calls that
    /// this may cost beyond one replacement for each hanging call; 0.02 is a good one. Default: none, no copies.
    pub hedge: Option<f64>,
    /// The share of a run's requests that may be tried again, beside ten that always may; rejections for load do not
    /// count. Default: none, all may: a request is not to fail because many others did.
    pub budget: Option<f64>,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 5,
            max_rate_limit_retries: None,
            timeout: Duration::from_secs(600),
            stream: false,
            first_delta: Duration::from_secs(300),
            idle: Duration::from_secs(60),
            switch_streams: false,
            backoff: Duration::from_millis(500),
            longest_backoff: Duration::from_secs(30),
            deadline: None,
            hedge: None,
            budget: None,
        }
    }
}

impl RetryPolicy {
    /// Reads the advice table.
    ///
    /// `gone` says that nobody was there where somebody was just before: admission waits for that, and no attempt is spent.
    /// The short pause is for a server that has no room for another connection while its old ones work.
    pub(super) fn next(&self, failure: &Failure, gone: bool, spent: &mut Spent) -> Next {
        let advice = failure.kind.advice();
        if gone {
            return Next::After(self.backoff(1));
        }
        match advice.retry {
            Retry::Never => return Next::GiveUp,
            Retry::Elsewhere => return Next::Without { whole_model: advice.aside.is_none() },
            // The endpoint's own pause is the wait, and no attempt is spent.
            Retry::Here if advice.slow_down => {
                spent.rejections += 1;
                let enough = self.max_rate_limit_retries.is_some_and(|most| spent.rejections > most);
                return if enough { Next::GiveUp } else { Next::Again };
            }
            Retry::AtOnce | Retry::Here => {}
        }
        spent.attempts += 1;
        match advice.retry {
            _ if spent.attempts >= self.max_attempts => Next::GiveUp,
            Retry::AtOnce => Next::Again,
            _ => Next::After(self.backoff(spent.attempts).max(failure.retry_after.unwrap_or_default())),
        }
    }

    /// Returns the longest that a request may take from its first admission, if no rejection for load comes between.
    pub(crate) fn longest(&self) -> Duration {
        let waits = (1..self.max_attempts).map(|spent| self.mean_backoff(spent).mul_f64(1.5));
        waits.take(64).fold(self.timeout.saturating_mul(self.max_attempts), Duration::saturating_add)
    }

    fn mean_backoff(&self, spent: u32) -> Duration {
        self.backoff.saturating_mul(1 << (spent - 1).min(16)).min(self.longest_backoff)
    }

    /// Returns the wait before attempt `spent + 1`: exponential, with jitter over its whole upper half.
    fn backoff(&self, spent: u32) -> Duration {
        self.mean_backoff(spent).mul_f64(0.5 + fastrand::f64())
    }
}

/// What a request has used up of its policy.
#[derive(Debug, Default)]
pub(super) struct Spent {
    attempts: u32,
    rejections: u32,
}

/// What to do after a failed attempt.
pub(super) enum Next {
    Again,
    After(Duration),
    Without { whole_model: bool },
    GiveUp,
}
