//! Stated limits: those of an endpoint, of an account that several endpoints share, and of a whole run.
//!
//! A [`Gate`] holds whatever was stated in one of these places, each as a smooth bucket or a window, and lets a request
//! through when all of them do. Rates pace: a minute's worth is spread over the minute. A limit per day does not, for it is
//! there to be used up. A strict window is both: paced a little below the limit, and counted.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::call::limits::Counted;
use crate::dispatch::limit::{Bucket, Cost, Ready, Taken};
use crate::dispatch::window::Window;
use crate::limits::{Limit, Limits};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Seconds over which a strict minute's worth is spread, so that it and its burst fit into 60.
const STRICT: f64 = 60.1;
/// Seconds of the rate that a stated burst is cut by, and how much of it stays at least: the provider counts at arrival, and
/// calls may arrive closer together than they were sent.
const RESERVE: f64 = 0.05;
const LEAST: f64 = 0.5;
/// The lowest rate a second: none at all would be a wait without an end.
const LOWEST: f64 = 1e-6;

/// The limits stated in one place, and how much of them is used.
#[derive(Debug)]
pub(crate) struct Gate {
    rules: Vec<Rule>,
    most: usize,
    pub(crate) in_flight: usize,
}

/// One limit.
#[derive(Debug)]
struct Rule {
    counts: Counted,
    limit: Limit,
    meter: Meter,
}

#[derive(Debug)]
enum Meter {
    Bucket(Bucket),
    Window(Window),
}

impl Gate {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Gate {
        let most = limits.concurrency.map_or(usize::MAX, |most| most as usize);
        Gate { rules: rules(limits, now), most, in_flight: 0 }
    }

    /// Returns how many requests may be in flight.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Returns when a request of that cost may pass.
    pub(crate) fn ready(&self, now: Instant, cost: Cost) -> Ready {
        if self.in_flight >= self.most {
            return Ready::Later(Limit::Concurrency);
        }
        self.rules.iter().map(|rule| rule.ready(now, cost)).fold(Ready::Now, Ready::and)
    }

    /// Returns whether the day's requests are used up.
    pub(crate) fn is_done_for_the_day(&self, now: Instant) -> bool {
        let mut days = self.rules.iter().filter(|rule| rule.limit == Limit::RequestsPerDay);
        days.any(|rule| rule.ready(now, Cost::default()) != Ready::Now)
    }

    /// Notes that a request passes.
    pub(crate) fn admit(&mut self, now: Instant, cost: Cost) {
        self.in_flight += 1;
        for rule in &mut self.rules {
            rule.take(now, cost.of(rule.counts));
        }
    }

    /// Notes that a request has ended.
    pub(crate) fn release(&mut self) {
        self.in_flight -= 1;
    }

    /// Puts back what a request took at `sent` and did not use.
    pub(crate) fn give_back(&mut self, now: Instant, sent: Instant, unused: Taken) {
        for rule in &mut self.rules {
            rule.give_back(now, sent, unused.of(rule.counts));
        }
    }

    /// Puts other limits in force; what was sent until now counts.
    pub(crate) fn change(&mut self, limits: &Limits, now: Instant) {
        let mut new = Gate::new(limits, now);
        for rule in &mut new.rules {
            self.rules.iter().for_each(|old| rule.inherit(old, now));
        }
        *self = Gate { in_flight: self.in_flight, ..new };
    }
}

fn rules(limits: &Limits, now: Instant) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut add = |counts, limit, meter| rules.push(Rule { counts, limit, meter });
    let burst = limits.burst.map(f64::from);
    let bucket = |rate: f64, burst: Option<f64>, limit| {
        let burst = burst.map(|burst| (burst - RESERVE * rate).max(LEAST * burst));
        Meter::Bucket(Bucket::new(rate.max(LOWEST), burst, limit, now))
    };
    if let Some(rate) = limits.rps {
        add(Counted::Requests, Limit::RequestsPerSecond, bucket(rate, burst, Limit::RequestsPerSecond));
    }
    for (counts, most, limit) in [
        (Counted::Requests, limits.rpm, Limit::Requests),
        (Counted::Tokens, limits.tpm, Limit::Tokens),
        (Counted::InputTokens, limits.itpm, Limit::InputTokens),
        (Counted::OutputTokens, limits.otpm, Limit::OutputTokens),
    ] {
        let Some(most) = most else { continue };
        let burst = burst.filter(|_| counts == Counted::Requests);
        let seconds = if limits.strict_window { STRICT } else { 60.0 };
        add(counts, limit, bucket(most / seconds, burst, limit));
        if limits.strict_window {
            add(counts, limit, Meter::Window(Window::new(MINUTE, most, limit)));
        }
    }
    if let Some(most) = limits.rpd {
        let limit = Limit::RequestsPerDay;
        add(Counted::Requests, limit, Meter::Window(Window::new(DAY, most, limit)));
    }
    if let Some(spacing) = limits.spacing {
        let rate = 1.0 / spacing.as_secs_f64();
        add(Counted::Requests, Limit::Spacing, bucket(rate, Some(1.0), Limit::Spacing));
    }
    rules
}

impl Rule {
    fn ready(&self, now: Instant, cost: Cost) -> Ready {
        match &self.meter {
            Meter::Bucket(bucket) => bucket.ready(now, cost.of(self.counts)),
            Meter::Window(window) => window.ready(now, cost.of(self.counts)),
        }
    }

    fn take(&mut self, now: Instant, units: f64) {
        match &mut self.meter {
            Meter::Bucket(bucket) => bucket.take(now, units),
            Meter::Window(window) => window.take(now, units),
        }
    }

    fn give_back(&mut self, now: Instant, sent: Instant, units: f64) {
        match &mut self.meter {
            // Whatever became of the last request, the next one keeps its distance.
            _ if units == 0.0 || self.limit == Limit::Spacing => {}
            Meter::Bucket(bucket) => bucket.give_back(now, units),
            Meter::Window(window) => window.give_back(sent, units),
        }
    }

    /// Goes on where the same limit was, if that is what the other one is.
    fn inherit(&mut self, old: &Rule, now: Instant) {
        if self.limit != old.limit {
            return;
        }
        match (&mut self.meter, &old.meter) {
            (Meter::Bucket(bucket), Meter::Bucket(old)) => bucket.inherit(old, now),
            (Meter::Window(window), Meter::Window(old)) => window.inherit(old),
            (Meter::Bucket(_), Meter::Window(_)) | (Meter::Window(_), Meter::Bucket(_)) => {}
        }
    }
}

/// What is stated for several endpoints together.
#[derive(Debug, Default)]
pub(crate) struct SharedLimits {
    /// The limits of the whole run.
    pub(crate) total: Limits,
    /// Those of each account, by its name.
    pub(crate) accounts: Vec<(Arc<str>, Limits)>,
}

/// The gates that several endpoints share; an endpoint knows its account by its number.
#[derive(Debug)]
pub(crate) struct Shared {
    total: Gate,
    accounts: Vec<(Arc<str>, Gate)>,
}

impl Shared {
    pub(crate) fn new(limits: SharedLimits, now: Instant) -> Shared {
        let gate = |(name, limits): (Arc<str>, Limits)| (name, Gate::new(&limits, now));
        Shared { total: Gate::new(&limits.total, now), accounts: limits.accounts.into_iter().map(gate).collect() }
    }

    /// Returns how many requests may be in flight in all.
    pub(crate) fn most(&self) -> usize {
        self.total.most()
    }

    /// Returns the gates that a request to an endpoint of that account passes.
    fn gates(&mut self, account: Option<usize>) -> impl Iterator<Item = &mut Gate> {
        let account = account.and_then(|place| self.accounts.get_mut(place)).map(|(_, gate)| gate);
        std::iter::once(&mut self.total).chain(account)
    }

    /// Returns when a request may pass the gates of an account and of the whole.
    pub(crate) fn ready(&self, account: Option<usize>, now: Instant, cost: Cost) -> Ready {
        let total = self.total.ready(now, cost);
        account.and_then(|place| self.accounts.get(place)).map_or(total, |(_, gate)| gate.ready(now, cost).and(total))
    }

    /// Returns whether an account's requests of the day are used up.
    pub(crate) fn is_done_for_the_day(&self, account: Option<usize>, now: Instant) -> bool {
        account.and_then(|place| self.accounts.get(place)).is_some_and(|(_, gate)| gate.is_done_for_the_day(now))
    }

    pub(crate) fn admit(&mut self, account: Option<usize>, now: Instant, cost: Cost) {
        self.gates(account).for_each(|gate| gate.admit(now, cost));
    }

    pub(crate) fn release(&mut self, account: Option<usize>) {
        self.gates(account).for_each(Gate::release);
    }

    pub(crate) fn give_back(&mut self, account: Option<usize>, now: Instant, sent: Instant, unused: Taken) {
        self.gates(account).for_each(|gate| gate.give_back(now, sent, unused));
    }

    /// Puts other limits in force for the whole.
    pub(crate) fn change_total(&mut self, limits: &Limits, now: Instant) {
        self.total.change(limits, now);
    }

    /// Puts other limits in force for an account, if there is one of that name.
    pub(crate) fn change_account(&mut self, name: &str, limits: &Limits, now: Instant) -> Option<()> {
        let (_, gate) = self.accounts.iter_mut().find(|(known, _)| **known == *name)?;
        gate.change(limits, now);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn cost(input: f64, output: f64) -> Cost {
        Cost { input, output, ..Cost::default() }
    }

    /// Sends requests of these sizes as soon as they may be, each after a wait; returns when each was sent.
    fn send(gate: &mut Gate, start: Instant, work: &[(u64, f64, f64)]) -> Vec<(Instant, Cost)> {
        let (mut now, mut sent) = (start, Vec::new());
        for (wait, input, output) in work {
            now += Duration::from_millis(*wait);
            let cost = cost(*input, *output);
            while let Ready::At(at, _) = gate.ready(now, cost) {
                assert!(at > now, "the wait has an end");
                now = at;
            }
            gate.admit(now, cost);
            gate.release();
            sent.push((now, cost));
        }
        sent
    }

    /// Checks that in every stretch of time at most rate x t + burst was sent.
    fn check(sent: &[(Instant, Cost)], counts: Counted, rate: f64, burst: f64) -> Result<(), TestCaseError> {
        for (i, (from, _)) in sent.iter().enumerate() {
            let mut total = 0.0;
            for (at, cost) in &sent[i..] {
                total += cost.of(counts);
                let allowed = rate * at.duration_since(*from).as_secs_f64() + burst;
                prop_assert!(total <= allowed * (1.0 + 1e-6) + 1e-6, "{counts:?}: {total} > {allowed}");
            }
        }
        Ok(())
    }

    /// Checks that no stretch of time as long as this holds more than `most`, but for one request alone.
    fn check_window(sent: &[(Instant, Cost)], counts: Counted, time: Duration, most: f64) -> Result<(), TestCaseError> {
        for (i, (from, _)) in sent.iter().enumerate() {
            let within = sent[i..].iter().take_while(|(at, _)| *at < *from + time);
            let costs: Vec<f64> = within.map(|(_, cost)| cost.of(counts)).collect();
            let total: f64 = costs.iter().sum();
            prop_assert!(total <= most * (1.0 + 1e-6) || costs.len() == 1, "{counts:?}: {total} > {most}");
        }
        Ok(())
    }

    fn stated() -> impl Strategy<Value = Limits> {
        let rate = |range| proptest::option::of(range);
        let requests = (rate(0.2f64..50.0), rate(5.0f64..2000.0), rate(20.0f64..150.0));
        let tokens = (rate(100.0f64..90_000.0), rate(100.0f64..90_000.0), rate(100.0f64..90_000.0));
        let rest = (proptest::option::of(1u64..3000), proptest::option::of(1u32..40), any::<bool>());
        (requests, tokens, rest).prop_map(|((rps, rpm, rpd), (tpm, itpm, otpm), (spacing, burst, strict_window))| {
            let spacing = spacing.map(Duration::from_millis);
            Limits { rps, rpm, rpd, tpm, itpm, otpm, concurrency: None, spacing, burst, strict_window }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_limit_is_ever_exceeded(
            limits in stated(),
            work in proptest::collection::vec((0u64..2000, 1.0f64..500.0, 1.0f64..500.0), 1..200),
        ) {
            let start = Instant::now();
            let sent = send(&mut Gate::new(&limits, start), start, &work);
            let burst = |rate: f64| limits.burst.map_or((0.1 * rate).max(1.0), f64::from);
            if let Some(rate) = limits.rps {
                check(&sent, Counted::Requests, rate, burst(rate))?;
            }
            if let Some(spacing) = limits.spacing {
                check(&sent, Counted::Requests, 1.0 / spacing.as_secs_f64(), 1.0)?;
            }
            if let Some(most) = limits.rpd {
                check_window(&sent, Counted::Requests, DAY, most)?;
            }
            let minutes = [
                (Counted::Requests, limits.rpm),
                (Counted::Tokens, limits.tpm),
                (Counted::InputTokens, limits.itpm),
                (Counted::OutputTokens, limits.otpm),
            ];
            for (counts, most) in minutes.into_iter().filter_map(|(counts, most)| Some((counts, most?))) {
                let rate = most / 60.0;
                let burst = if counts == Counted::Requests { burst(rate) } else { (0.1 * rate).max(1000.0) };
                check(&sent, counts, rate, burst)?;
                if limits.strict_window {
                    check_window(&sent, counts, MINUTE, most)?;
                }
            }
        }

        #[test]
        fn a_change_gives_nothing_away(rates in proptest::collection::vec(1.0f64..100.0, 2..20)) {
            let (mut now, mut sent) = (Instant::now(), 0.0);
            let most = rates.iter().fold(0.0, |most: f64, rate| most.max(*rate));
            let mut gate = Gate::new(&Limits { rps: Some(rates[0]), ..Limits::default() }, now);
            let start = now;
            for rate in &rates {
                gate.change(&Limits { rps: Some(*rate), ..Limits::default() }, now);
                for _ in 0..20 {
                    now += 7 * MS;
                    if gate.ready(now, cost(1.0, 1.0)) == Ready::Now {
                        gate.admit(now, cost(1.0, 1.0));
                        sent += 1.0;
                    }
                }
            }
            let allowed = most * now.duration_since(start).as_secs_f64() + (0.1 * most).max(1.0);
            prop_assert!(sent <= allowed + 1e-6, "{sent} > {allowed}");
        }
    }

    #[test]
    fn senseless_numbers_neither_panic_nor_wait_for_ever() {
        for bad in [0.0, -5.0, f64::NAN, f64::INFINITY] {
            let some = Some(bad);
            let rates =
                Limits { rps: some, rpm: some, rpd: some, tpm: some, itpm: some, otpm: some, ..Limits::default() };
            for spacing in [Duration::ZERO, Duration::MAX] {
                let limits = Limits { spacing: Some(spacing), burst: Some(0), strict_window: true, ..rates };
                let start = Instant::now();
                send(&mut Gate::new(&limits, start), start, &[(0, 1.0, 1.0), (5, 1.0, 1.0), (5, 1.0, 1.0)]);
            }
        }
    }

    #[test]
    fn what_was_not_used_comes_back_but_the_distance_stays() {
        let start = Instant::now();
        let limits = Limits { rpd: Some(1.0), spacing: Some(1000 * MS), ..Limits::default() };
        let mut gate = Gate::new(&limits, start);
        gate.admit(start, cost(1.0, 1.0));
        assert!(gate.is_done_for_the_day(start));
        gate.give_back(start, start, cost(1.0, 1.0).all());
        assert!(!gate.is_done_for_the_day(start));
        assert_eq!(gate.ready(start, cost(1.0, 1.0)), Ready::At(start + 1000 * MS, Limit::Spacing));
    }

    #[test]
    fn an_account_is_counted_for_all_its_endpoints_and_for_nobody_else() {
        let start = Instant::now();
        let limits = Limits { concurrency: Some(2), ..Limits::default() };
        let accounts = vec![("a".into(), limits), ("b".into(), limits)];
        let mut shared =
            Shared::new(SharedLimits { total: Limits { concurrency: Some(3), ..limits }, accounts }, start);
        let request = cost(1.0, 1.0);
        (0..2).for_each(|_| shared.admit(Some(0), start, request));
        let full = Ready::Later(Limit::Concurrency);
        let ready = |shared: &Shared| [Some(0), Some(1), None].map(|account| shared.ready(account, start, request));
        assert_eq!(ready(&shared), [full, Ready::Now, Ready::Now]);
        shared.admit(Some(1), start, request);
        assert_eq!(ready(&shared), [full, full, full]);
        shared.release(Some(0));
        assert_eq!(ready(&shared), [Ready::Now, Ready::Now, Ready::Now]);
    }
}
