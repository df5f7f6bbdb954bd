//! Several copies of one request under way at once: the first whole reply wins, or the first that begins, if somebody takes
//! it piece by piece.
//!
//! All of them live in the one future that waits for the answer, each with a lease of its own. A copy that fails is noted
//! and the others go on, unless its failure says that no other can do better. The losers are cancelled; they may have been
//! served all the same, so they are charged at the estimate. One that was overtaken by a later copy counts as a time-out
//! against its endpoint: that is how a region that hangs is found out before its calls' time is over.

use std::future::{pending, poll_fn};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use super::admission::Ask;
use super::hedge::{Advice, COPIES};
use super::payer::Payer;
use super::streaming::Outlet;
use super::{Dispatcher, Order, Sent};
use crate::call::limits::Hints;
use crate::failure::{Failure, Kind, Retry};
use crate::outcome::Attempt;
use crate::response::Response;

type Ended = (usize, Result<Response, Failure>, Hints);

/// What becomes of a copy.
#[expect(clippy::large_enum_variant, reason = "it lives for one step and is kept nowhere")]
enum Step {
    /// It has ended.
    Ended(Ended),
    /// It is the first of them to speak; this is its place.
    Speaks(usize),
}

/// The copies of a request that are under way, the oldest first.
struct Race<'a> {
    dispatcher: &'a Dispatcher,
    order: &'a Order<'a>,
    running: Vec<Copy<'a>>,
    /// How many were sent beside the first.
    copies: usize,
    /// Whether one of them has begun to speak.
    speaks: bool,
}

struct Copy<'a> {
    /// Which one it is, counted from 1.
    number: usize,
    sent: Sent<'a>,
    call: BoxFuture<'a, (Result<Response, Failure>, Hints)>,
}

impl Dispatcher {
    /// Makes one call, and copies of it as they are due. Returns the endpoint and the result that decided.
    pub(super) async fn race(
        &self,
        order: &Order<'_>,
        (payer, cap): (&Payer<'_>, f64),
        ask: &Ask,
        first: Sent<'_>,
        attempts: &mut Vec<Attempt>,
    ) -> (usize, Result<Response, Failure>) {
        let mut ask = ask.clone();
        let mut latest = (first.lease.place, first.lease.sent);
        ask.tried.push(latest.0);
        let mut race = Race::new(self, order, first);
        let mut may_copy = true;
        loop {
            tokio::select! {
                biased;
                step = next_step(&mut race.running, order.outlet.filter(|_| !race.speaks)) => match step {
                    Step::Ended(ended) => {
                        if let Some(decided) = race.ended(ended, attempts) {
                            return decided;
                        }
                    }
                    Step::Speaks(place) => {
                        may_copy = false;
                        race.speaks(place, attempts);
                    }
                },
                copy = order.wait(self.next_copy(order, (payer, cap), &ask, latest)), if may_copy => {
                    may_copy = false;
                    if let Ok(sent) = copy {
                        latest = (sent.lease.place, sent.lease.sent);
                        ask.tried.push(latest.0);
                        may_copy = race.copy(sent);
                    }
                }
            }
        }
    }

    /// Waits until another copy is due after the latest one, and admitted; where the budget has no room for one, for ever.
    async fn next_copy<'a>(
        &self,
        order: &Order<'_>,
        (payer, cap): (&Payer<'a>, f64),
        ask: &Ask,
        (place, since): (usize, Instant),
    ) -> Sent<'a> {
        loop {
            let now = Instant::now();
            let advice = self.hedges(order).advise(now, place, since, cap);
            let lease = match advice {
                Advice::Wait(until) => {
                    sleep_until(until).await;
                    continue;
                }
                Advice::IfIdle(otherwise) => match self.admission.try_admit(ask) {
                    Some(lease) => lease,
                    None => {
                        sleep_until(otherwise).await;
                        continue;
                    }
                },
                Advice::Replace => match self.admission.acquire(ask.clone()).await {
                    Ok(lease) => lease,
                    // No endpoint is left for a copy: what is under way decides.
                    Err(_) => pending().await,
                },
            };
            // Only now, when one is due: what is reserved for it is missing elsewhere.
            let paid = payer.try_reserve(&[lease.place]);
            let paid = paid.and_then(|mut paid| payer.sent(&mut paid, lease.place).ok().map(|()| paid));
            let Some(paid) = paid else {
                lease.withdraw();
                return pending().await;
            };
            return Sent::new(lease, now, Duration::ZERO, paid);
        }
    }

    /// Gives up a call that lost. `why` tells whether it was overtaken by a later one, or came too late itself.
    fn lose(&self, order: &Order<'_>, sent: Sent<'_>, why: Failure, attempts: &mut Vec<Attempt>) {
        // What was reserved for it is charged in full when it is dropped.
        let Sent { lease, waited, cooled, backoff, paid: _paid } = sent;
        let endpoint = &self.endpoints[lease.place];
        let (took, usage) = (lease.sent.elapsed(), lease.estimate());
        self.hedges(order).given_up(lease.place, took);
        if why.kind == Kind::Timeout {
            let settled = lease.settle(None, Some(&why), &Hints::default());
            self.tell(endpoint, Some(&why), settled);
        }
        let cost = usage.cost(endpoint.price);
        self.tried.overtaken(cost);
        let attempt = Attempt {
            endpoint: endpoint.name.clone(),
            model: endpoint.model.clone(),
            times: 1,
            packed: 1,
            waited,
            cooled,
            backoff,
            took,
            usage: Some(usage),
            cost,
            estimated: true,
            failure: Some(why),
            partial: None,
        };
        attempt.add_to(attempts);
    }
}

impl<'a> Race<'a> {
    fn new(dispatcher: &'a Dispatcher, order: &'a Order<'a>, first: Sent<'a>) -> Race<'a> {
        dispatcher.hedges(order).began();
        let mut race = Race { dispatcher, order, running: Vec::new(), copies: 0, speaks: false };
        race.send(first);
        race
    }

    /// Sends another copy, unless the request's time is over. Returns whether one more may be sent some day.
    fn copy(&mut self, sent: Sent<'a>) -> bool {
        if self.order.is_over(sent.lease.sent) {
            sent.lease.withdraw();
            return false;
        }
        self.dispatcher.hedges(self.order).copied();
        self.dispatcher.tried.copied();
        self.copies += 1;
        self.send(sent);
        self.copies < COPIES
    }

    fn send(&mut self, sent: Sent<'a>) {
        let (dispatcher, order, place, at) = (self.dispatcher, self.order, sent.lease.place, sent.lease.sent);
        let number = self.copies + 1;
        let call = Box::pin(async move {
            let mut hints = Hints::default();
            (dispatcher.call(order, place, (at, number), &mut hints).await, hints)
        });
        self.running.push(Copy { number, sent, call });
    }

    /// Notes how a copy ended. Returns the endpoint and the result if that decides.
    fn ended(&mut self, ended: Ended, attempts: &mut Vec<Attempt>) -> Option<(usize, Result<Response, Failure>)> {
        let (number, result, hints) = ended;
        let done = self.running.remove(number);
        let (place, took) = (done.sent.lease.place, done.sent.lease.sent.elapsed());
        let failure = result.as_ref().err().map(|failure| failure.kind);
        match failure {
            // Of what speaks it was noted when it began.
            _ if self.speaks => {}
            None => self.dispatcher.hedges(self.order).answered(place, took),
            Some(Kind::Timeout) => self.dispatcher.hedges(self.order).given_up(place, took),
            Some(_) => {}
        }
        let decides = failure.is_none_or(|kind| kind.advice().retry == Retry::Never) || self.running.is_empty();
        if decides {
            self.end(number, failure.is_none(), attempts);
        }
        self.dispatcher.settle(self.order, done.sent, &result, &hints, attempts);
        decides.then_some((place, result))
    }

    /// Notes that a copy has begun to speak: it has won, whatever becomes of it.
    fn speaks(&mut self, place: usize, attempts: &mut Vec<Attempt>) {
        self.speaks = true;
        let speaker = self.running.remove(place);
        let lease = &speaker.sent.lease;
        self.dispatcher.hedges(self.order).answered(lease.place, lease.sent.elapsed());
        self.end(place, true, attempts);
        self.running.push(speaker);
    }

    /// Gives up those that lost: the first `older` are older than the one that decided.
    fn end(&mut self, older: usize, answered: bool, attempts: &mut Vec<Attempt>) {
        if answered {
            self.dispatcher.hedges(self.order).outran(self.running.len() - older);
        }
        for (i, loser) in self.running.drain(..).enumerate() {
            let why = if answered && i < older {
                Failure::new(Kind::Timeout, "no reply before a later copy was answered")
            } else {
                Failure::new(Kind::Cancelled, "another copy of the request was decided first")
            };
            self.dispatcher.lose(self.order, loser.sent, why, attempts);
        }
    }
}

impl Drop for Race<'_> {
    fn drop(&mut self) {
        self.dispatcher.hedges(self.order).ended(self.copies);
    }
}

/// Waits for the first of the copies to end, or to speak if it is yet to be heard who does.
async fn next_step(running: &mut [Copy<'_>], silent: Option<&Outlet>) -> Step {
    poll_fn(|cx| {
        let ready = |(i, copy): (usize, &mut Copy<'_>)| match copy.call.as_mut().poll(cx) {
            Poll::Ready((result, hints)) => Some((i, result, hints)),
            Poll::Pending => None,
        };
        if let Some(ended) = running.iter_mut().enumerate().find_map(ready) {
            return Poll::Ready(Step::Ended(ended));
        }
        let speaker = silent.and_then(Outlet::speaker);
        let place = speaker.and_then(|number| running.iter().position(|copy| copy.number == number));
        place.map_or(Poll::Pending, |place| Poll::Ready(Step::Speaks(place)))
    })
    .await
}
