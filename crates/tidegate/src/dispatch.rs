//! LOOP 3: over attempts. Wait for admission, call, settle, and then again here, elsewhere or never.
//!
//! What a failure means is read from the [advice table](crate::Kind::advice) and nowhere else. A rejection for load does
//! not spend one of the request's attempts: it has told us something about the endpoint, nothing about the request. Nor does
//! a call that found nobody where somebody was a moment ago. Nobody holds a lease while waiting; a request in backoff is out
//! of every queue and comes back with its old place.

pub(crate) mod adaptive;
pub(crate) mod admission;
pub(crate) mod balance;
pub(crate) mod budget;
mod chance;
mod continued;
pub(crate) mod cooldown;
pub(crate) mod endpoint;
mod ends;
pub(crate) mod estimate;
pub(crate) mod gate;
pub(crate) mod health;
pub(crate) mod hedge;
pub(crate) mod learned;
pub(crate) mod limit;
pub(crate) mod meter;
mod payer;
pub(crate) mod period;
mod race;
pub(crate) mod retries;
mod retry;
#[cfg(test)]
mod seeds;
mod sent;
pub(crate) mod slowdown;
pub(crate) mod streaming;
mod telling;
pub(crate) mod tried;
mod unit;
pub(crate) mod window;
pub(crate) mod worst_case;

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::admission::{Admission, Ask, RouteId, Urgency, Warmth};
use self::balance::Labels;
use self::budget::{Charge, Purse};
use self::endpoint::Endpoint;
use self::ends::{cancelled, no_reply_within, out_of_time, overdue, own_fault};
use self::hedge::Hedges;
use self::payer::{Paid, Payer};
use self::retries::Retries;
pub use self::retry::RetryPolicy;
use self::retry::{Next, Spent};
use self::sent::Sent;
use self::streaming::Outlet;
use self::tried::Tried;
use crate::call::Try;
use crate::call::caller::Tries;
use crate::call::lesser::lesser;
use crate::call::limits::Hints;
use crate::event::{ItemRef, Observer};
use crate::failure::{Diagnosis, Failure, Kind};
use crate::outcome::Attempt;
use crate::request::Request;
use crate::response::Response;

/// What every dispatch shares.
pub(crate) struct Dispatcher {
    pub(crate) admission: Arc<Admission>,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) retry: RetryPolicy,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// The same, if it wants to know of every item.
    pub(crate) follower: Option<Arc<dyn Observer>>,
    /// How many runs there were, for whoever follows them.
    pub(crate) runs: AtomicU64,
    /// How long calls take, and apart from these how long streams take to begin.
    pub(crate) hedges: [Mutex<Hedges>; 2],
    pub(crate) classify: Option<Classify>,
    /// How many regions a request gets, if not all.
    pub(crate) regions: Option<NonZeroUsize>,
    pub(crate) tried: Tried,
}

/// Names the cause of a failure in place of the built-in classification; nothing where that is right.
pub(crate) type Classify = Arc<dyn Fn(&Failure) -> Option<Diagnosis> + Send + Sync>;

/// What is to be sent, and the signal that nothing more may be started.
pub(crate) struct Order<'a> {
    pub(crate) request: &'a Request,
    pub(crate) route: RouteId,
    /// The regions that a ladder's other models are asked in too; all if none is named.
    pub(crate) regions: &'a [String],
    pub(crate) stop: &'a CancellationToken,
    pub(crate) retry: &'a RetryPolicy,
    pub(crate) urgency: Urgency,
    pub(crate) labels: &'a Labels,
    /// What the run has left for trying again.
    pub(crate) retries: &'a Retries,
    /// What pays for it, if there is a budget.
    pub(crate) purse: Option<&'a Purse>,
    /// Whom events are about.
    pub(crate) item: ItemRef,
    /// What its earlier attempts came to.
    pub(crate) tries: &'a Tries,
    /// Where what it begins with is kept, if that matters.
    pub(crate) warmth: Option<&'a Warmth>,
    /// Where the reply's pieces go, if somebody wants them.
    pub(crate) outlet: Option<&'a Outlet>,
}

impl Order<'_> {
    /// Waits for something, unless the run is stopped or the request's time is over before.
    async fn wait<F: Future>(&self, what: F) -> Result<F::Output, Failure> {
        let mut what = pin!(what);
        let in_time = async {
            match self.urgency.deadline {
                // Boxed, because few requests have a deadline and all would have to hold its timer.
                Some(deadline) => {
                    Box::pin(tokio::time::timeout_at(deadline, what.as_mut())).await.map_err(|_| overdue())
                }
                None => Ok(what.as_mut().await),
            }
        };
        self.stop.run_until_cancelled(in_time).await.unwrap_or_else(|| Err(cancelled()))
    }

    /// Returns whether the request's time is over by then.
    fn is_over(&self, at: Instant) -> bool {
        self.urgency.deadline.is_some_and(|deadline| at >= deadline)
    }
}

impl Dispatcher {
    /// Sends a request until it is answered or there is no sense in trying again. Every attempt is added to `attempts`;
    /// `admitted` is dropped when the first one is admitted.
    /// Thousands of requests are in here at a time, so what few of them do (copies, backoffs, budgets) is boxed: all would
    /// have to hold the room for it, and memory that is out of the cache costs more than the rest.
    pub(crate) fn dispatch<G>(
        &self,
        order: &Order<'_>,
        attempts: &mut Vec<Attempt>,
        admitted: G,
    ) -> impl Future<Output = Result<Response, Failure>> {
        self.go_on(self.ask(order), order, Spent::default(), attempts, admitted)
    }

    /// Goes on with a request that has used up some of its policy.
    async fn go_on<G>(
        &self,
        mut ask: Ask,
        order: &Order<'_>,
        mut spent: Spent,
        attempts: &mut Vec<Attempt>,
        admitted: G,
    ) -> Result<Response, Failure> {
        let mut admitted = Some(admitted);
        let payer = Payer::new(order.purse, order.request, &self.endpoints);
        let mut backoff = Duration::ZERO;
        loop {
            let waiting = Instant::now();
            let mut paid = self.pay(order, &payer, ask.route).await?;
            // Pinned here, so that waiting moves no more than a pointer.
            let lease = match order.wait(pin!(self.admission.acquire(ask.clone()))).await? {
                Ok(lease) => lease,
                Err(refused) => {
                    ask.route = self.elsewhere(order, ask.route, attempts, refused)?;
                    continue;
                }
            };
            if order.is_over(lease.sent) {
                lease.withdraw();
                return Err(overdue());
            }
            admitted.take();
            payer.sent(&mut paid, lease.place)?;
            let sent = Sent::new(lease, waiting, std::mem::take(&mut backoff), paid);
            self.admitted(order, &sent);
            let (place, failure) = {
                let called = match order.retry.hedge {
                    None => {
                        let (place, mut hints) = (sent.lease.place, Hints::default());
                        let result = self.call(order, place, (sent.lease.sent, 1), &mut hints).await;
                        self.settle(order, sent, &result, &hints, attempts);
                        (place, result)
                    }
                    Some(cap) => Box::pin(self.race(order, (&payer, cap), &ask, sent, attempts)).await,
                };
                match called {
                    (place, Ok(response)) => {
                        order.warmth.into_iter().for_each(|warmth| warmth.kept_at(place));
                        return Ok(response);
                    }
                    (place, Err(failure)) => (place, failure),
                }
            };
            order.tries.failed(&*self.endpoints[place].caller, &failure);
            self.limited(order, place, &failure);
            let began = order.outlet.filter(|outlet| outlet.began());
            if began.is_some_and(|outlet| !outlet.broke_off(order, &failure, attempts)) {
                return Err(failure);
            }
            if let Some(lesser) = lesser(order.request, &failure) {
                self.tried.count_lesser(&failure);
                // It ends when there is nothing left to leave out.
                let again = async move {
                    self.dispatch(&Order { request: &lesser, route: ask.route, ..*order }, attempts, ()).await
                };
                return Box::pin(again).await;
            }
            let gone = failure.kind == Kind::Connect && self.admission.is_awaited(place);
            let next = order.retry.next(&failure, gone, &mut spent);
            self.tried.count(&failure, &next);
            let pause = match next {
                Next::GiveUp => return Err(failure),
                Next::Again => Duration::ZERO,
                Next::Without { whole_model } => {
                    ask.route = self.admission.without(ask.route, place, whole_model);
                    Duration::ZERO
                }
                Next::After(pause) => {
                    if !order.retries.take(order.retry.budget) {
                        return Err(failure);
                    }
                    if order.is_over(Instant::now() + pause) {
                        return Err(out_of_time(&failure));
                    }
                    ask.tried.push(place);
                    pause
                }
            };
            self.retried(order, place, &failure, pause);
            if !pause.is_zero() {
                Box::pin(order.wait(tokio::time::sleep(pause))).await?;
                backoff = pause;
            }
            if let Some(request) = began.and_then(|outlet| outlet.rest_of(order.request)) {
                ask.bytes = request.text_size();
                // It ends with the attempts that are left.
                let again =
                    async move { self.go_on(ask, &Order { request: &request, ..*order }, spent, attempts, ()).await };
                return Box::pin(again).await;
            }
        }
    }

    /// Waits until the budget, if there is one, has room for one call, wherever on the route it will go.
    async fn pay<'a>(&self, order: &Order<'a>, payer: &Payer<'a>, route: RouteId) -> Result<Paid<'a>, Failure> {
        match order.purse {
            Some(_) => Box::pin(order.wait(payer.reserve(&self.admission.endpoints_of(route)))).await?,
            None => Ok(None),
        }
    }

    /// Returns the first endpoint of a model: what it costs and may write is the same at all that are not Bedrock's.
    pub(crate) fn endpoint(&self, model: &str) -> Option<&Arc<Endpoint>> {
        self.endpoints.iter().find(|endpoint| &*endpoint.model == model)
    }

    /// Returns the models of a route, each once.
    pub(crate) fn models(&self, route: RouteId) -> Vec<Arc<str>> {
        let endpoints = self.admission.endpoints_of(route);
        let mut models: Vec<_> = endpoints.iter().map(|&place| self.endpoints[place].model.clone()).collect();
        models.dedup();
        models
    }

    /// Returns what a request asks of admission at its arrival.
    fn ask(&self, order: &Order<'_>) -> Ask {
        let mut ask = Ask {
            route: self.regions.map_or(order.route, |count| self.admission.in_regions(order.route, count.get())),
            rank: self.admission.rank(Instant::now(), order.urgency),
            priority: order.urgency.priority,
            deadline: order.urgency.deadline,
            labels: order.labels.clone(),
            bytes: order.request.text_size(),
            max_tokens: order.request.params.max_tokens,
            tried: Vec::new(),
        };
        if let Some(warmth) = order.warmth {
            ask.route = self.admission.beside(&ask, warmth);
        }
        ask
    }

    /// Returns the route of a request after nothing on its own serves any more: another part, if it had only a part.
    fn elsewhere(
        &self,
        order: &Order<'_>,
        left: RouteId,
        attempts: &[Attempt],
        refused: Failure,
    ) -> Result<RouteId, Failure> {
        let last = own_fault(attempts);
        // What no place of this model takes is the request's own affair; what a place refuses is not.
        let own = last.as_ref().is_some_and(|failure| failure.kind.advice().aside.is_none());
        let in_part = self.regions.is_some() || order.warmth.is_some();
        match (in_part && !own).then(|| self.ask(order).route) {
            Some(next) if next != left => Ok(next),
            _ => Err(last.unwrap_or(refused)),
        }
    }

    /// Makes one call within its time, the `copy`th of its kind.
    async fn call(
        &self,
        order: &Order<'_>,
        place: usize,
        (sent, copy): (Instant, usize),
        hints: &mut Hints,
    ) -> Result<Response, Failure> {
        let Order { request, retry, tries, outlet, .. } = order;
        let caller = &*self.endpoints[place].caller;
        let result = if retry.stream || outlet.is_some() {
            // Boxed, because few requests are streamed and all would have to hold it.
            let outlet = outlet.map(|outlet| outlet.voice(copy, &self.endpoints[place].name));
            let this = Try::new(tries, retry.first_delta, hints);
            let call = Box::pin(streaming::call(caller, request, this, retry, outlet));
            match order.urgency.deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, call).await.unwrap_or_else(|_| Err(overdue())),
                None => call.await,
            }
        } else {
            let mine = sent + retry.timeout;
            let until = order.urgency.deadline.map_or(mine, |deadline| deadline.min(mine));
            let late = |_| Err(if until < mine { overdue() } else { no_reply_within(retry.timeout) });
            let this = Try::new(tries, until.duration_since(sent), hints);
            tokio::time::timeout_at(until, caller.call(request, this)).await.unwrap_or_else(late)
        };
        result.map_err(|failure| self.named(failure))
    }

    /// Settles a call that has ended, and notes it among the attempts.
    fn settle(
        &self,
        order: &Order<'_>,
        sent: Sent<'_>,
        result: &Result<Response, Failure>,
        hints: &Hints,
        attempts: &mut Vec<Attempt>,
    ) {
        let Sent { lease, waited, cooled, backoff, paid } = sent;
        let endpoint = &self.endpoints[lease.place];
        let took = lease.sent.elapsed();
        if let Some(paid) = paid {
            paid.settle(Charge::of(result), endpoint.price);
        }
        let (usage, failure) = match result {
            Ok(response) => (response.usage, None),
            Err(failure) => (failure.usage.as_deref().copied(), Some(failure)),
        };
        let guess = failure.filter(|_| usage.is_none()).and(order.outlet).and_then(|said| said.spent(lease.estimate()));
        let settled = lease.settle(usage.as_ref(), failure, hints);
        let attempt = Attempt {
            endpoint: endpoint.name.clone(),
            model: endpoint.model.clone(),
            times: 1,
            packed: 1,
            waited,
            cooled,
            backoff,
            took,
            usage: usage.or(guess),
            cost: usage.or(guess).and_then(|usage| usage.cost(endpoint.price)),
            estimated: guess.is_some(),
            failure: failure.cloned(),
            partial: None,
        };
        attempt.add_to(attempts);
        self.tell(endpoint, failure, settled);
    }

    /// Gives a failure the kind that the user sees in it, and the wait.
    fn named(&self, failure: Failure) -> Failure {
        match self.classify.as_ref().and_then(|classify| classify(&failure)) {
            Some(Diagnosis { kind, wait }) => Failure { kind, retry_after: wait.or(failure.retry_after), ..failure },
            None => failure,
        }
    }

    fn hedges(&self, order: &Order<'_>) -> MutexGuard<'_, Hedges> {
        // Nothing in there can panic between two statements that belong together.
        self.hedges[usize::from(order.outlet.is_some())].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
