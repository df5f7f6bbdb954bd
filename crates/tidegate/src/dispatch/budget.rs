//! Budgets: nothing is sent that the money or the tokens might not suffice for.
//!
//! The worst case of a call is reserved before it is queued and settled with what it really used, so that spent and
//! reserved together never exceed the budget. What cannot be known (a time-out, a connection cut after sending, a reply
//! without usage) stays charged at the worst case. A request whose worst case does not fit beside what is reserved waits
//! until something is settled, in the order of arrival; one that does not fit beside what is *settled* never will, and then
//! the budget is spent. A retry reserves anew, so every attempt is counted.
//!
//! [`Account`] is the synchronous machine; [`Purse`] lets requests wait for it. Each settlement wakes one waiter, not all.
//!
//! Who is killed forgets what was in flight. So that the next run does not spend it again, a purse can be told to *note* a
//! mark somewhere durable before calls in flight could pass it: afterwards nobody has spent more than the last mark says.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::failure::{Failure, Kind};
use crate::money::{Budget, Price, Spend};
use crate::response::{Response, Usage};

/// A mark is moved on by this part of the budget: the most that a crash can cost, beside what was in flight.
const MARKS: u64 = 64;

/// What may be spent, is spent and is reserved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    budget: Budget,
    settled: Spend,
    /// What is reserved for calls that are in flight or queue.
    reserved: Spend,
    /// The part of it that is in flight.
    in_flight: Spend,
}

/// Whether a reservation was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was.
    Reserved,
    /// Not now: what is reserved may turn out to cost less.
    Wait,
    /// No: not even if everything in flight cost nothing.
    Over,
}

impl Account {
    /// Opens an account from which that much has been spent.
    pub(crate) fn new(budget: Budget, settled: Spend) -> Account {
        Account { budget, settled, reserved: Spend::default(), in_flight: Spend::default() }
    }

    /// Reserves the worst case of a call.
    pub(crate) fn reserve(&mut self, worst: Spend) -> Answer {
        if !self.budget.covers(self.settled + worst) {
            return Answer::Over;
        }
        if !self.budget.covers(self.total() + worst) {
            return Answer::Wait;
        }
        self.reserved = self.reserved + worst;
        Answer::Reserved
    }

    /// Notes that a call is sent for which that much was reserved; at its endpoint the worst case may be less.
    pub(crate) fn send(&mut self, reserved: Spend, worst: Spend) {
        self.reserved = self.reserved - reserved + worst;
        self.in_flight = self.in_flight + worst;
    }

    /// Puts what a call in flight really cost in the place of its worst case.
    pub(crate) fn settle(&mut self, worst: Spend, real: Spend) {
        self.reserved = self.reserved - worst;
        self.in_flight = self.in_flight - worst;
        self.settled = self.settled + real;
    }

    /// Gives back what was reserved for a call that was not sent.
    pub(crate) fn release(&mut self, reserved: Spend) {
        self.reserved = self.reserved - reserved;
    }

    /// Returns what is settled and reserved together.
    fn total(&self) -> Spend {
        self.settled + self.reserved
    }

    /// Returns the most that has been spent by now.
    fn exposed(&self) -> Spend {
        self.settled + self.in_flight
    }

    /// Returns the next mark: the most that has been spent, and some way ahead.
    fn mark(&self) -> Spend {
        let Budget { usd, tokens } = self.budget;
        let now = self.exposed();
        let money = usd.map_or(now.money, |most| most.min(now.money + most.part(MARKS)));
        let tokens = tokens.map_or(now.tokens, |most| most.min(now.tokens.saturating_add(most / MARKS)));
        Spend { money, tokens }.max(now)
    }
}

/// Notes durably up to which mark may have been spent.
pub(crate) type Note = Box<dyn Fn(Spend) -> Result<(), String> + Send + Sync>;

/// An account that requests can wait for.
pub(crate) struct Purse {
    state: Mutex<State>,
    /// Whoever waits for the account; the others wait behind.
    turnstile: tokio::sync::Mutex<()>,
    settled: Notify,
    note: Option<Note>,
}

struct State {
    account: Account,
    noted: Spend,
}

impl Purse {
    /// Makes a purse; with `note` it survives being killed.
    pub(crate) fn new(account: Account, note: Option<Note>) -> Purse {
        let state = State { account, noted: account.settled };
        Purse { state: Mutex::new(state), turnstile: tokio::sync::Mutex::new(()), settled: Notify::new(), note }
    }

    /// Returns what may be spent in all.
    pub(crate) fn budget(&self) -> Budget {
        self.lock().account.budget
    }

    /// Returns what has been spent.
    pub(crate) fn spent(&self) -> Spend {
        self.lock().account.settled
    }

    /// Reserves the worst case of a call, once it fits.
    ///
    /// # Errors
    ///
    /// [`Kind::Budget`] if it never will.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future reserves nothing and gives up the place.
    pub(crate) async fn reserve(&self, worst: Spend) -> Result<Reservation<'_>, Failure> {
        let _turn = self.turnstile.lock().await;
        loop {
            match self.try_reserve(worst)? {
                Some(reservation) => return Ok(reservation),
                None => self.settled.notified().await,
            }
        }
    }

    /// Reserves the worst case of a call if it fits now.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Purse::reserve).
    pub(crate) fn try_reserve(&self, worst: Spend) -> Result<Option<Reservation<'_>>, Failure> {
        let mut state = self.lock();
        match state.account.reserve(worst) {
            Answer::Reserved => Ok(Some(Reservation { purse: self, held: worst, sent: false })),
            Answer::Wait => Ok(None),
            Answer::Over => Err(over(&state.account, worst)),
        }
    }

    /// Changes the account, and lets the first waiter look again.
    fn change(&self, act: impl FnOnce(&mut Account)) {
        act(&mut self.lock().account);
        self.settled.notify_one();
    }

    /// Moves the mark on if what is in flight could pass it.
    fn note(&self) -> Result<(), String> {
        let Some(note) = &self.note else { return Ok(()) };
        let mut state = self.lock();
        let Budget { usd, tokens } = state.account.budget;
        let noted = Budget { usd: usd.map(|_| state.noted.money), tokens: tokens.map(|_| state.noted.tokens) };
        if !noted.covers(state.account.exposed()) {
            let mark = state.account.mark();
            note(mark)?;
            state.noted = mark;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing between two changes of the numbers can panic, and a note is made between whole states.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn over(account: &Account, worst: Spend) -> Failure {
    let Account { budget, settled, .. } = account;
    let message = match (budget.usd, budget.tokens) {
        (Some(most), _) if settled.money + worst.money > most => {
            format!("{} of {most} is spent, and the next request may cost up to {}", settled.money, worst.money)
        }
        (_, most) => format!(
            "{} of {} tokens are spent, and the next request may use up to {}",
            settled.tokens,
            most.unwrap_or_default(),
            worst.tokens
        ),
    };
    Failure::new(Kind::Budget, message)
}

/// What is reserved for one call. Dropped unsettled it is charged in full if the call was sent, and given back if not.
pub(crate) struct Reservation<'a> {
    purse: &'a Purse,
    held: Spend,
    sent: bool,
}

impl Reservation<'_> {
    /// Notes that the call is being sent, and where: there its worst case may be less.
    ///
    /// # Errors
    ///
    /// [`Kind::Budget`] if the mark cannot be noted: then the call must not be sent.
    pub(crate) fn sent(&mut self, worst: Spend) -> Result<(), Failure> {
        let held = std::mem::replace(&mut self.held, worst);
        self.sent = true;
        self.purse.change(|account| account.send(held, worst));
        self.purse.note().map_err(|message| {
            self.settle_as(Spend::default());
            Failure::new(Kind::Budget, message)
        })
    }

    /// Charges what the call really cost.
    pub(crate) fn settle(mut self, charge: Charge, price: Option<Price>) {
        let real = match charge {
            Charge::Nothing => Spend::default(),
            Charge::Worst => self.held,
            // Of a tier whose price nobody knows all that was reserved is charged.
            Charge::Used(usage) => Spend { money: usage.cost(price).unwrap_or(self.held.money), tokens: usage.total() },
        };
        self.settle_as(real);
    }

    fn settle_as(&mut self, real: Spend) {
        let held = std::mem::take(&mut self.held);
        self.purse.change(|account| account.settle(held, real));
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let held = self.held;
        match self.sent {
            true => self.settle_as(held),
            false => self.purse.change(|account| account.release(held)),
        }
    }
}

/// What is charged for a call that has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Charge {
    /// What it used.
    Used(Usage),
    /// Nothing: it was refused.
    Nothing,
    /// All that was reserved: it may have been served.
    Worst,
}

impl Charge {
    /// Says what an ended call is charged.
    pub(crate) fn of(result: &Result<Response, Failure>) -> Charge {
        match result {
            Ok(response) => response.usage.map_or(Charge::Worst, Charge::Used),
            Err(Failure { usage: Some(usage), .. }) => Charge::Used(**usage),
            Err(failure) if served(failure) => Charge::Worst,
            Err(_) => Charge::Nothing,
        }
    }
}

/// Returns whether a call that failed like this may have been served, and billed.
fn served(failure: &Failure) -> bool {
    let reply_was_good = failure.status.is_some_and(|status| (200..300).contains(&status));
    let unknown = matches!(failure.kind, Kind::Timeout | Kind::Cut | Kind::Malformed | Kind::Empty | Kind::Truncated);
    reply_was_good || unknown
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::Poll;

    use proptest::prelude::{Strategy, any, prop_assert, proptest};

    use super::*;
    use crate::money::Money;

    fn spend(cents: u64, tokens: u64) -> Spend {
        Spend { money: Money::from_usd(cents as f64 / 100.0), tokens }
    }

    fn dollars(usd: f64) -> Budget {
        Budget { usd: Some(Money::from_usd(usd)), tokens: None }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Reserve(u64, u64),
        /// Settles the reservation of that place with that percentage of it.
        Settle(usize, u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (any::<bool>(), 0..60u64, 0..3000u64, any::<usize>(), 0..=100u64).prop_map(
            |(reserve, cents, tokens, place, share)| {
                if reserve { Step::Reserve(cents, tokens) } else { Step::Settle(place, share) }
            },
        );
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn settled_and_reserved_never_exceed_the_budget(
            (usd, tokens) in (proptest::option::of(0..500u64), proptest::option::of(0..20_000u64)),
            steps in steps(),
        ) {
            let budget = Budget { usd: usd.map(|cents| Money::from_usd(cents as f64 / 100.0)), tokens };
            let mut account = Account::new(budget, Spend::default());
            let (mut held, mut paid) = (Vec::new(), Spend::default());
            for step in steps {
                match step {
                    Step::Reserve(cents, tokens) => {
                        let worst = spend(cents, tokens);
                        let answer = account.reserve(worst);
                        if answer == Answer::Reserved {
                            held.push((worst, cents, tokens));
                        }
                        prop_assert!(answer != Answer::Over || !budget.covers(paid + worst));
                        prop_assert!(answer != Answer::Wait || !held.is_empty());
                    }
                    Step::Settle(place, share) if !held.is_empty() => {
                        let (worst, cents, tokens) = held.swap_remove(place % held.len());
                        // At the endpoint the worst case turns out to be less; one in ten is not sent at all.
                        let (worst, less) = (worst, spend(cents * 9 / 10, tokens * 9 / 10));
                        if share < 10 {
                            account.release(worst);
                            continue;
                        }
                        let real = spend(cents * 9 / 10 * share / 100, tokens * 9 / 10 * share / 100);
                        account.send(worst, less);
                        prop_assert!(budget.covers(account.exposed()) && account.in_flight == less);
                        account.settle(less, real);
                        paid = paid + real;
                    }
                    Step::Settle(..) => {}
                }
                prop_assert!(budget.covers(account.total()) && budget.covers(account.mark()));
                let reserved = held.iter().fold(Spend::default(), |sum, (worst, ..)| sum + *worst);
                prop_assert!(account.settled == paid && account.reserved == reserved);
            }
        }
    }

    /// Returns whether a future is not ready yet.
    async fn waits<F: Future>(mut future: Pin<&mut F>) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }

    #[tokio::test]
    async fn a_request_waits_for_what_is_in_flight_before_the_budget_is_spent() {
        let purse = Purse::new(Account::new(dollars(1.0), Spend::default()), None);
        let mut first = purse.reserve(spend(80, 0)).await.ok().unwrap();
        first.sent(spend(80, 0)).unwrap();
        let second = purse.reserve(spend(50, 0));
        let mut second = std::pin::pin!(second);
        assert!(waits(second.as_mut()).await);
        // The third fits, but it came later.
        let mut third = std::pin::pin!(purse.reserve(spend(10, 0)));
        assert!(waits(third.as_mut()).await);
        let usage = Usage { output_tokens: 100_000, ..Usage::default() };
        first.settle(Charge::Used(usage), Some(Price::new(0.0, 1.0)));
        let second = second.await.ok().unwrap();
        let third = third.await.ok().unwrap();
        assert_eq!(purse.spent(), Spend { money: Money::from_usd(0.1), tokens: 100_000 });
        drop(second);
        assert_eq!(purse.spent().money, Money::from_usd(0.1), "what was not sent costs nothing");
        let mut third = third;
        third.sent(spend(5, 0)).unwrap();
        drop(third);
        assert_eq!(purse.spent().money, Money::from_usd(0.15), "what was sent may have been billed");
        let failure = purse.reserve(spend(86, 0)).await.err().unwrap();
        assert_eq!(failure.kind, Kind::Budget);
        assert_eq!(failure.message, "$0.1500 of $1.00 is spent, and the next request may cost up to $0.8600");
    }

    #[test]
    fn a_mark_is_noted_before_it_is_passed() {
        let marks = Arc::new(Mutex::new(Vec::new()));
        let theirs = marks.clone();
        let note: Note = Box::new(move |mark| {
            theirs.lock().unwrap().push(mark.money.usd());
            Ok(())
        });
        let purse = Purse::new(Account::new(dollars(6.4), Spend::default()), Some(note));
        for _ in 0..20 {
            let mut reservation = purse.try_reserve(spend(4, 0)).unwrap().unwrap();
            reservation.sent(spend(4, 0)).unwrap();
            let usage = Usage { output_tokens: 40_000, ..Usage::default() };
            reservation.settle(Charge::Used(usage), Some(Price::new(0.0, 1.0)));
            assert!(purse.spent().money.usd() <= *marks.lock().unwrap().last().unwrap());
        }
        assert!(marks.lock().unwrap().len() < 10, "{marks:?}");
        let broken = Purse::new(Account::new(dollars(6.4), Spend::default()), Some(Box::new(|_| Err("full".into()))));
        let mut reservation = broken.try_reserve(spend(4, 0)).unwrap().unwrap();
        assert_eq!(reservation.sent(spend(4, 0)).unwrap_err().message, "full");
        drop(reservation);
        assert_eq!(broken.lock().account.total(), Spend::default());
    }

    #[test]
    fn what_may_have_been_served_is_charged_in_full() {
        let failed = |kind| Charge::of(&Err(Failure::new(kind, "x")));
        assert_eq!([failed(Kind::Timeout), failed(Kind::Cut), failed(Kind::Malformed)], [Charge::Worst; 3]);
        assert_eq!([failed(Kind::ServerError), failed(Kind::RateLimited), failed(Kind::Connect)], [Charge::Nothing; 3]);
        assert_eq!(Charge::of(&Ok(Response::text("x"))), Charge::Worst);
        assert_eq!(Charge::of(&Err(Failure::new(Kind::ServerError, "x").with_status(200))), Charge::Worst);
        let usage = Usage { input_tokens: 3, ..Usage::default() };
        assert_eq!(Charge::of(&Err(Failure::new(Kind::Empty, "x").with_usage(Some(usage)))), Charge::Used(usage));
    }
}
