//! LOOP 3: over attempts. Wait for admission, call, settle, and then again here, elsewhere or never.
//!
//! What a failure means is read from the [advice table](crate::Kind::advice) and nowhere else. A rejection for load does
//! not spend one of the request's attempts: it has told us something about the endpoint, nothing about the request. Nobody
//! holds a lease while waiting; a request in backoff is out of every queue and comes back with its old place.

pub(crate) mod adaptive;
pub(crate) mod admission;
pub(crate) mod balance;
pub(crate) mod budget;
pub(crate) mod cooldown;
pub(crate) mod endpoint;
pub(crate) mod estimate;
pub(crate) mod health;
pub(crate) mod learned;
pub(crate) mod limit;
pub(crate) mod meter;
pub(crate) mod slowdown;
pub(crate) mod worst_case;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::admission::{Admission, Ask, Lease, RouteId};
use self::budget::{Charge, Purse, Reservation};
use self::endpoint::{Endpoint, Settled};
use self::worst_case::worst_case;
use crate::call::limits::Hints;
use crate::event::{self, Event, Observer};
use crate::failure::{Failure, Kind, Retry};
use crate::money::Spend;
use crate::outcome::Attempt;
use crate::request::Request;
use crate::response::Response;

/// How often and how patiently a request is tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Attempts per request, the first included; rejections for load do not count. Default 5.
    pub max_attempts: u32,
    /// The time for one attempt, from admission to the whole reply. Default 600 s.
    pub timeout: Duration,
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

/// What every dispatch shares.
pub(crate) struct Dispatcher {
    pub(crate) admission: Arc<Admission>,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) retry: RetryPolicy,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

/// What is to be sent, and the signal that nothing more may be started.
pub(crate) struct Order<'a> {
    pub(crate) request: &'a Request,
    pub(crate) route: RouteId,
    pub(crate) stop: &'a CancellationToken,
    pub(crate) retry: RetryPolicy,
    /// What pays for it, if there is a budget.
    pub(crate) purse: Option<&'a Purse>,
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
        let fares = self.fares(&order);
        loop {
            let waiting = Instant::now();
            let mut paid = match order.stop.run_until_cancelled(self.reserve(&order, &fares, route)).await {
                Some(reserved) => reserved?,
                None => return Err(cancelled()),
            };
            let ask = Ask { route, turn, bytes, max_tokens, tried: tried.clone() };
            let lease = match order.stop.run_until_cancelled(self.admission.acquire(ask)).await {
                Some(Ok(lease)) => lease,
                Some(Err(refused)) => return Err(own_fault(attempts).unwrap_or(refused)),
                None => return Err(cancelled()),
            };
            admitted.take();
            let place = lease.place;
            let waited = lease.sent.duration_since(waiting);
            if let (Some(paid), Some(Ok(worst))) = (&mut paid, fares.get(place)) {
                paid.sent(*worst)?;
            }
            let failure = match self.attempt(&order, lease, paid, waited, attempts).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
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

    /// Returns the worst case of a request at each endpoint; nothing without a budget.
    fn fares(&self, order: &Order<'_>) -> Vec<Result<Spend, Failure>> {
        let Some(purse) = order.purse else { return Vec::new() };
        let fare = |endpoint: &Arc<Endpoint>| worst_case(endpoint, order.request, &purse.budget());
        self.endpoints.iter().map(fare).collect()
    }

    /// Waits until the budget has room for one call, wherever on the route it will go. Done before it queues, because
    /// nobody holds a lease while waiting.
    async fn reserve<'a>(
        &self,
        order: &Order<'a>,
        fares: &[Result<Spend, Failure>],
        route: RouteId,
    ) -> Result<Option<Reservation<'a>>, Failure> {
        let Some(purse) = order.purse else { return Ok(None) };
        let mut worst = Spend::default();
        for place in self.admission.endpoints_of(route) {
            worst = worst.max(fares[place].clone()?);
        }
        purse.reserve(worst).await.map(Some)
    }

    /// Makes one call, settles its lease and charges what it cost.
    async fn attempt(
        &self,
        order: &Order<'_>,
        lease: Lease,
        paid: Option<Reservation<'_>>,
        waited: Duration,
        attempts: &mut Vec<Attempt>,
    ) -> Result<Response, Failure> {
        let (place, sent) = (lease.place, lease.sent);
        let endpoint = &self.endpoints[place];
        let mut hints = Hints::default();
        let call = endpoint.caller.call_with_hints(order.request, &mut hints);
        let result = match tokio::time::timeout(order.retry.timeout, call).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(Kind::Timeout, format!("no reply within {:?}", order.retry.timeout))),
        };
        let took = sent.elapsed();
        if let Some(paid) = paid {
            paid.settle(Charge::of(&result), endpoint.price);
        }
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
        };
        attempt.add_to(attempts);
        if let Some(failure) = failure {
            self.tell(endpoint, failure, settled);
        }
        result
    }

    fn tell(&self, endpoint: &Arc<Endpoint>, failure: &Failure, settled: Settled) {
        let tell = |event: &dyn Fn(Arc<str>) -> Event| {
            event::tell(self.observer.as_ref(), || event(endpoint.name.clone()));
        };
        tell(&|endpoint| Event::AttemptFailed { endpoint, failure: failure.clone() });
        if let Some(pause) = settled.cooldown {
            tell(&|endpoint| Event::CooldownStarted { endpoint, pause });
        }
        let endpoints = settled.set_aside;
        if endpoints > 0 {
            tell(&|endpoint| Event::SetAside { endpoint, endpoints, failure: failure.clone() });
        }
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
