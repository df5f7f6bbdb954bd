//! A caller for tests of the user's own: it answers as it is told, counts its calls, and needs no provider at all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::call::caller::{Caller, Try};
use crate::failure::{Failure, Kind};
use crate::request::Request;
use crate::response::{Response, Usage};

/// A [`Caller`] for tests: with latency, failures, a rejection or a hanging call at a number of your choice.
///
/// Under tokio's paused time a test with it takes no time. For HTTP, streams and real limits see
/// [`Scenario`](super::Scenario).
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use tidegate::sim::Mock;
/// use tidegate::{Client, Request, Response, RetryPolicy, Target, Usage};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> tidegate::Result<()> {
/// let mock = Mock::new(|request: &Request| Response::text(format!("{} bytes", request.size())))
///     .latency(Duration::from_millis(10))
///     .rate_limit_on(2, Duration::from_secs(3))
///     .time_out_on(3)
///     .usage(Usage { input_tokens: 10, output_tokens: 20, ..Usage::default() });
/// let mock = Arc::new(mock);
/// let client = Client::builder()
///     .target(Target::caller("mock", mock.clone()))
///     .retry(RetryPolicy { timeout: Duration::from_secs(5), ..RetryPolicy::default() })
///     .build()?;
/// let batch = client.run(["a", "b", "c"].map(Request::prompt)).in_input_order().await;
/// assert_eq!((batch.tally().succeeded, batch.tally().usage.input_tokens), (3, 30));
/// assert_eq!(mock.calls(), 5);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Mock<F> {
    answer: F,
    latency: Duration,
    failure_rate: f64,
    seed: u64,
    rejected: Option<(u64, Duration)>,
    hanging: Option<u64>,
    usage: Option<Usage>,
    calls: AtomicU64,
    in_flight: AtomicU64,
    most: AtomicU64,
}

impl<F: Fn(&Request) -> Response + Send + Sync> Mock<F> {
    /// Makes one that answers at once, and always.
    #[must_use]
    pub fn new(answer: F) -> Mock<F> {
        Mock {
            answer,
            latency: Duration::ZERO,
            failure_rate: 0.0,
            seed: 0,
            rejected: None,
            hanging: None,
            usage: None,
            calls: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            most: AtomicU64::new(0),
        }
    }

    /// Takes that long for every call.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Mock<F> {
        self.latency = latency;
        self
    }

    /// Fails that share of the calls, 0 to 1, as a server error. Which ones follows from their number and the seed.
    #[must_use]
    pub fn failure_rate(mut self, share: f64) -> Mock<F> {
        self.failure_rate = share;
        self
    }

    /// Chooses other calls to fail.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Mock<F> {
        self.seed = seed;
        self
    }

    /// Rejects the call of that number, from 1, as a rate limit that asks to wait this long.
    #[must_use]
    pub fn rate_limit_on(mut self, call: u64, wait: Duration) -> Mock<F> {
        self.rejected = Some((call, wait));
        self
    }

    /// Never answers the call of that number, from 1.
    #[must_use]
    pub fn time_out_on(mut self, call: u64) -> Mock<F> {
        self.hanging = Some(call);
        self
    }

    /// Says that every answer used so much.
    #[must_use]
    pub fn usage(mut self, usage: Usage) -> Mock<F> {
        self.usage = Some(usage);
        self
    }

    /// Returns how many calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Returns how many calls were under way at once at the most.
    #[must_use]
    pub fn most_in_flight(&self) -> u64 {
        self.most.load(Ordering::SeqCst)
    }

    async fn answer(&self, request: &Request, call: u64) -> Result<Response, Failure> {
        let _in_flight = InFlight::new(self);
        if self.hanging == Some(call) {
            return std::future::pending().await;
        }
        // A sleep of zero would still go through the timer.
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        if let Some((_, wait)) = self.rejected.filter(|(rejected, _)| *rejected == call) {
            return Err(Failure::rate_limited(wait));
        }
        if fastrand::Rng::with_seed(self.seed ^ call.wrapping_mul(0x9E37_79B9_7F4A_7C15)).f64() < self.failure_rate {
            return Err(Failure::new(Kind::ServerError, format!("call {call} was to fail")));
        }
        let response = (self.answer)(request);
        Ok(Response { usage: self.usage.or(response.usage), ..response })
    }
}

impl<F: Fn(&Request) -> Response + Send + Sync> Caller for Mock<F> {
    fn call<'a>(&'a self, request: &'a Request, _: Try<'a>) -> BoxFuture<'a, Result<Response, Failure>> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        Box::pin(self.answer(request, call))
    }

    fn dry_run(&self, request: &Request) -> Response {
        (self.answer)(request)
    }
}

/// Counts a call as under way until it is dropped.
struct InFlight<'a>(&'a AtomicU64);

impl<'a> InFlight<'a> {
    fn new<F>(mock: &'a Mock<F>) -> InFlight<'a> {
        let now = mock.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        mock.most.fetch_max(now, Ordering::SeqCst);
        InFlight(&mock.in_flight)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
