//! LOOP 3: over attempts. Wait for admission, call, settle, and then again here, elsewhere or never.
//!
//! What a failure means is read from the [advice table](crate::Kind::advice) and nowhere else. A rejection for load does
//! not spend one of the request's attempts: it has told us something about the endpoint, nothing about the request. Nobody
//! holds a lease while waiting; a request in backoff is out of every queue and comes back with its old place.

pub(crate) mod adaptive;
pub(crate) mod admission;
pub(crate) mod balance;
pub(crate) mod cooldown;
pub(crate) mod endpoint;
pub(crate) mod estimate;
pub(crate) mod health;
pub(crate) mod learned;
pub(crate) mod limit;
pub(crate) mod meter;
pub(crate) mod slowdown;
pub(crate) mod streaming;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::admission::{Admission, Ask, Lease, RouteId};
use self::endpoint::{Endpoint, Settled};
use self::streaming::Outlet;
use crate::call::Caller;
use crate::call::limits::Hints;
use crate::event::{Event, Observer};
use crate::failure::{Failure, Kind, Retry};
use crate::outcome::Attempt;
use crate::request::Request;
use crate::response::Response;

/// How often and how patiently a request is tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Attempts per request, the first included; rejections for load do not count. Default 5.
    pub max_attempts: u32,
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
    /// The mean of the first backoff; it doubles each time. Default 500 ms.
    pub backoff: Duration,
    /// The longest backoff. Default 30 s.
    pub longest_backoff: Duration,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 5,
            timeout: Duration::from_secs(600),
            stream: false,
            first_delta: Duration::from_secs(300),
            idle: Duration::from_secs(60),
            backoff: Duration::from_millis(500),
            longest_backoff: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// Reads the advice table.
    fn next(&self, failure: &Failure, spent: &mut u32) -> Next {
        let advice = failure.kind.advice();
        match advice.retry {
            Retry::Never => return Next::GiveUp,
            Retry::Elsewhere => return Next::Without { whole_model: advice.aside.is_none() },
            // The endpoint's own pause is the wait, and no attempt is spent.
            Retry::Here if advice.slow_down => return Next::Again,
            Retry::AtOnce | Retry::Here => {}
        }
        *spent += 1;
        match advice.retry {
            _ if *spent >= self.max_attempts => Next::GiveUp,
            Retry::AtOnce => Next::Again,
            _ => Next::After(self.backoff(*spent).max(failure.retry_after.unwrap_or_default())),
        }
    }

    /// Returns the wait before attempt `spent + 1`: exponential, with jitter over its whole upper half.
    fn backoff(&self, spent: u32) -> Duration {
        let mean = self.backoff.saturating_mul(1 << (spent - 1).min(16)).min(self.longest_backoff);
        mean.mul_f64(0.5 + fastrand::f64())
    }
}

/// What every dispatch shares.
pub(crate) struct Dispatcher {
    pub(crate) admission: Arc<Admission>,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) retry: RetryPolicy,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) classify: Option<Classify>,
}

/// Names the cause of a failure in place of the advice table's own reading; nothing where that is right.
pub(crate) type Classify = Arc<dyn Fn(&Failure) -> Option<Kind> + Send + Sync>;

/// What is to be sent, and the signal that nothing more may be started.
pub(crate) struct Order<'a> {
    pub(crate) request: &'a Request,
    pub(crate) route: RouteId,
    pub(crate) stop: &'a CancellationToken,
    pub(crate) retry: RetryPolicy,
    /// Where the reply's pieces go, if somebody wants them.
    pub(crate) outlet: Option<&'a Outlet>,
}

/// What to do after a failed attempt.
enum Next {
    Again,
    After(Duration),
    Without { whole_model: bool },
    GiveUp,
}

impl Dispatcher {
    /// Sends a request until it is answered or there is no sense in trying again. Every attempt is added to `attempts`;
    /// `admitted` is dropped when the first one is admitted.
    pub(crate) async fn dispatch<G>(
        &self,
        order: Order<'_>,
        attempts: &mut Vec<Attempt>,
        admitted: G,
    ) -> Result<Response, Failure> {
        let mut admitted = Some(admitted);
        let mut route = order.route;
        let mut tried = Vec::new();
        let mut spent = 0;
        let turn = self.admission.turn();
        let (bytes, max_tokens) = (order.request.size(), order.request.params.max_tokens);
        loop {
            let waiting = Instant::now();
            let ask = Ask { route, turn, bytes, max_tokens, tried: tried.clone() };
            let lease = match order.stop.run_until_cancelled(self.admission.acquire(ask)).await {
                Some(Ok(lease)) => lease,
                Some(Err(refused)) => return Err(own_fault(attempts).unwrap_or(refused)),
                None => return Err(cancelled()),
            };
            admitted.take();
            let place = lease.place;
            let waited = lease.sent.duration_since(waiting);
            let failure = match self.attempt(&order, lease, waited, attempts).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            if order.outlet.is_some_and(Outlet::began) {
                return Err(failure);
            }
            match order.retry.next(&failure, &mut spent) {
                Next::GiveUp => return Err(failure),
                Next::Again => {}
                Next::Without { whole_model } => route = self.admission.without(route, place, whole_model),
                Next::After(pause) => {
                    tried.push(place);
                    if order.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        return Err(cancelled());
                    }
                }
            }
        }
    }

    /// Makes one call and settles its lease.
    async fn attempt(
        &self,
        order: &Order<'_>,
        lease: Lease,
        waited: Duration,
        attempts: &mut Vec<Attempt>,
    ) -> Result<Response, Failure> {
        let (place, sent) = (lease.place, lease.sent);
        let endpoint = &self.endpoints[place];
        let mut hints = Hints::default();
        let mut text = String::new();
        let result = call(&*endpoint.caller, order, &mut hints, &mut text).await;
        let result = result.map_err(|failure| self.named(failure));
        let took = sent.elapsed();
        let (usage, failure) = match &result {
            Ok(response) => (response.usage, None),
            Err(failure) => (failure.usage, Some(failure)),
        };
        let settled = lease.settle(usage.as_ref(), failure, &hints);
        let attempt = Attempt {
            endpoint: endpoint.name.clone(),
            model: endpoint.model.clone(),
            times: 1,
            waited,
            took,
            usage,
            cost: endpoint.price.zip(usage).map(|(price, usage)| price.cost(&usage)),
            failure: failure.cloned(),
            partial: Some(text).filter(|text| failure.is_some() && !text.is_empty()),
        };
        attempt.add_to(attempts);
        if let Some(failure) = failure {
            self.tell(endpoint, failure, settled);
        }
        result
    }

    /// Gives a failure the kind that the user sees in it.
    fn named(&self, failure: Failure) -> Failure {
        let kind = self.classify.as_ref().and_then(|classify| classify(&failure)).unwrap_or(failure.kind);
        Failure { kind, ..failure }
    }

    fn tell(&self, endpoint: &Arc<Endpoint>, failure: &Failure, settled: Settled) {
        let Some(observer) = &self.observer else { return };
        let name = || endpoint.name.clone();
        observer.event(&Event::AttemptFailed { endpoint: name(), failure: failure.clone() });
        if let Some(pause) = settled.cooldown {
            observer.event(&Event::CooldownStarted { endpoint: name(), pause });
        }
        if settled.set_aside > 0 {
            observer.event(&Event::SetAside {
                endpoint: name(),
                endpoints: settled.set_aside,
                failure: failure.clone(),
            });
        }
    }
}

/// Makes one call, within the time that it is given; `text` is what has come of a stream.
async fn call(
    caller: &dyn Caller,
    order: &Order<'_>,
    hints: &mut Hints,
    text: &mut String,
) -> Result<Response, Failure> {
    let Order { request, retry, outlet, .. } = order;
    if retry.stream || outlet.is_some() {
        // Boxed, because few requests are streamed and all would have to hold it.
        return Box::pin(streaming::call(caller, request, hints, retry, *outlet, text)).await;
    }
    match tokio::time::timeout(retry.timeout, caller.call_with_hints(request, hints)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::new(Kind::Timeout, format!("no reply within {:?}", retry.timeout))),
    }
}

fn cancelled() -> Failure {
    Failure::new(Kind::Cancelled, "the run was stopped before this request was answered")
}

/// Returns the failure after which a request had nowhere to go, if it was its own and not the endpoints'.
fn own_fault(attempts: &[Attempt]) -> Option<Failure> {
    let last = attempts.last()?.failure.as_ref()?;
    (last.kind.advice().retry == Retry::Elsewhere).then(|| last.clone())
}
