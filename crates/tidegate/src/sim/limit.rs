//! A provider's limits as a synchronous machine: may this call pass now, and if not, when?
//!
//! Every limit counts what is *used*. A bucket's use drains steadily, a window's falls to zero at once, so both are one
//! number and a time, and a limit that changes while in use needs no special case. Time is seconds since the first call.

use super::headers::go_duration;
use super::scenario::{Charge, Limit, Resource, Shape};

/// What a call costs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) input_tokens: f64,
    pub(super) output_tokens: f64,
    /// The most output tokens that the request allows, where it says so.
    pub(super) max_output_tokens: Option<f64>,
}

/// Why a call may not pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Refusal {
    pub(super) of: Resource,
    pub(super) per_s: f64,
    pub(super) limit: f64,
    pub(super) used: f64,
    pub(super) requested: f64,
    pub(super) cause: Cause,
    pub(super) hidden: bool,
}

/// Whether waiting helps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cause {
    /// After this many seconds.
    Wait(f64),
    /// The call alone is more than the limit ever holds.
    TooLarge,
}

/// The state of one limit, as headers tell it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Standing {
    pub(super) of: Resource,
    pub(super) limit: f64,
    pub(super) remaining: f64,
    /// Seconds until all of it is there again.
    pub(super) reset: f64,
    /// The period in seconds.
    pub(super) per_s: f64,
}

/// The state of all limits for one caller.
#[derive(Debug)]
pub(super) struct Gate {
    meters: Vec<Meter>,
    in_flight: u32,
}

/// How much of a limit is used, as of a time.
#[derive(Debug, Clone, Copy, Default)]
struct Meter {
    used: f64,
    at: f64,
}

/// What floats may be off by after many small steps.
const ROUNDING: f64 = 1e-9;

impl Gate {
    /// Makes the gate of a caller who has used nothing.
    pub(super) fn new(limits: &[Limit]) -> Gate {
        Gate { meters: vec![Meter::default(); limits.len()], in_flight: 0 }
    }

    /// Lets a call pass and charges it to every limit, or refuses it and, if refusals count, charges it all the same.
    pub(super) fn admit(
        &mut self,
        limits: &[Limit],
        now: f64,
        cost: &Cost,
        refusals_count: bool,
    ) -> Result<(), Refusal> {
        self.advance(limits, now);
        let refusals = limits.iter().zip(&self.meters).filter_map(|(limit, meter)| {
            let used = if limit.of == Resource::Concurrency { f64::from(self.in_flight) } else { meter.used };
            limit.refusal(now, used, limit.charge(cost))
        });
        let worst = refusals.max_by(|a, b| a.cause.seconds().total_cmp(&b.cause.seconds()));
        if worst.is_none() || refusals_count {
            self.charge(limits, now, cost);
        }
        match worst {
            Some(refusal) => Err(refusal),
            None => {
                self.in_flight += 1;
                Ok(())
            }
        }
    }

    /// Notes that an admitted call is over.
    pub(super) fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Returns the state of the limits that are not secret.
    pub(super) fn standings(&mut self, limits: &[Limit], now: f64) -> Vec<Standing> {
        self.advance(limits, now);
        let told = |limit: &Limit| !limit.hidden && limit.of != Resource::Concurrency;
        let pairs = limits.iter().zip(&self.meters).filter(|(limit, _)| told(limit));
        pairs.map(|(limit, meter)| limit.standing(now, meter.used)).collect()
    }

    fn advance(&mut self, limits: &[Limit], now: f64) {
        for (limit, meter) in limits.iter().zip(&mut self.meters) {
            meter.used = (meter.used - limit.returned(meter.at, now)).max(0.0);
            meter.at = meter.at.max(now);
        }
    }

    fn charge(&mut self, limits: &[Limit], now: f64, cost: &Cost) {
        for (limit, meter) in limits.iter().zip(&mut self.meters) {
            // Refused calls could otherwise pile up a debt that outlives the test.
            let most = (limit.burst(now) * 2.0).max(meter.used);
            meter.used = (meter.used + limit.charge(cost)).min(most);
        }
    }
}

impl Cause {
    fn seconds(self) -> f64 {
        match self {
            Cause::Wait(seconds) => seconds,
            Cause::TooLarge => f64::INFINITY,
        }
    }
}

impl Refusal {
    /// Says what OpenAI says; of a hidden limit nothing more than that there is one.
    pub(super) fn message(&self) -> String {
        if self.hidden {
            return "Too many requests. Please slow down.".to_owned();
        }
        let Refusal { limit, used, requested, .. } = self;
        let what = self.what();
        match self.cause {
            Cause::TooLarge => format!("Request too large for {what}: Limit {limit:.0}, Requested {requested:.0}."),
            Cause::Wait(seconds) => format!(
                "Rate limit reached on {what}: Limit {limit:.0}, Used {used:.0}, Requested {requested:.0}. \
                 Please try again in {}.",
                go_duration(seconds)
            ),
        }
    }

    fn what(&self) -> String {
        let (name, short) = match self.of {
            Resource::Concurrency => return "concurrent requests".to_owned(),
            Resource::Requests => ("requests", 'R'),
            Resource::InputTokens => ("input tokens", 'I'),
            Resource::OutputTokens => ("output tokens", 'O'),
            Resource::Tokens => ("tokens", 'T'),
        };
        match self.per_s {
            60.0 => format!("{name} per min ({short}PM)"),
            86_400.0 => format!("{name} per day ({short}PD)"),
            seconds => format!("{name} per {seconds} s"),
        }
    }
}

impl Limit {
    /// Returns what one call is charged.
    fn charge(&self, cost: &Cost) -> f64 {
        let output = match self.charge {
            Charge::Actual => cost.output_tokens,
            Charge::MaxTokens => cost.max_output_tokens.unwrap_or(cost.output_tokens),
        };
        match self.of {
            Resource::Requests | Resource::Concurrency => 1.0,
            Resource::InputTokens => cost.input_tokens,
            Resource::OutputTokens => output,
            Resource::Tokens => cost.input_tokens + output,
        }
    }

    /// Returns the limit in force.
    fn value(&self, now: f64) -> f64 {
        let past = self.changes.iter().take_while(|change| change.after_s <= now);
        past.fold(self.limit, |value, change| change.limit.unwrap_or(value * change.factor))
    }

    /// Returns the most that can be used at once: a limit above zero always has room for one call.
    fn burst(&self, now: f64) -> f64 {
        let value = self.value(now);
        match self.burst {
            _ if value <= 0.0 => 0.0,
            Some(burst) if self.limit > 0.0 => (burst * value / self.limit).max(1.0),
            Some(burst) => burst,
            None if self.shape == Shape::Bucket && self.of != Resource::Concurrency => value.max(1.0),
            None => value,
        }
    }

    /// Returns how much use is forgiven between two times.
    fn returned(&self, from: f64, to: f64) -> f64 {
        if self.of == Resource::Concurrency || to <= from {
            return 0.0;
        }
        match self.shape {
            Shape::FixedWindow if (from / self.per_s).floor() < (to / self.per_s).floor() => f64::INFINITY,
            Shape::FixedWindow => 0.0,
            Shape::Bucket => {
                let changes = self.changes.iter().map(|change| change.after_s).filter(|at| *at > from && *at < to);
                let ends = changes.chain([to]);
                let mut start = from;
                ends.map(|end| {
                    let piece = self.value(start) / self.per_s * (end - start);
                    start = end;
                    piece
                })
                .sum()
            }
        }
    }

    fn refusal(&self, now: f64, used: f64, requested: f64) -> Option<Refusal> {
        let burst = self.burst(now);
        if used + requested <= burst + ROUNDING {
            return None;
        }
        let cause = if requested > burst && burst > 0.0 {
            Cause::TooLarge
        } else {
            Cause::Wait(self.wait(now, used + requested - burst))
        };
        let (of, per_s, limit, hidden) = (self.of, self.per_s, self.value(now), self.hidden);
        Some(Refusal { of, per_s, limit, used, requested, cause, hidden })
    }

    /// Returns the seconds until that much use is forgiven.
    fn wait(&self, now: f64, excess: f64) -> f64 {
        let rate = self.value(now) / self.per_s;
        match (self.of, self.shape) {
            // Nobody knows when a call ends.
            (Resource::Concurrency, _) => 1.0,
            (_, Shape::FixedWindow) => self.window_end(now),
            (_, Shape::Bucket) if rate > 0.0 => excess / rate,
            (_, Shape::Bucket) => self.per_s,
        }
    }

    fn window_end(&self, now: f64) -> f64 {
        ((now / self.per_s).floor() + 1.0) * self.per_s - now
    }

    fn standing(&self, now: f64, used: f64) -> Standing {
        let limit = self.value(now);
        let reset = match self.shape {
            Shape::FixedWindow => self.window_end(now),
            Shape::Bucket if limit > 0.0 => used / (limit / self.per_s),
            Shape::Bucket => self.per_s,
        };
        let remaining = (self.burst(now) - used + ROUNDING).floor().max(0.0);
        Standing { of: self.of, limit, remaining, reset, per_s: self.per_s }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Change;
    use super::*;

    const CALL: Cost = Cost { input_tokens: 30.0, output_tokens: 10.0, max_output_tokens: Some(50.0) };

    fn requests(limit: f64, burst: f64) -> Limit {
        Limit { burst: Some(burst), ..Limit::per_minute(Resource::Requests, limit) }
    }

    /// Sends a call each time and returns how many passed.
    fn passed(limits: &[Limit], times: impl IntoIterator<Item = f64>) -> usize {
        let mut gate = Gate::new(limits);
        times.into_iter().filter(|now| gate.admit(limits, *now, &CALL, false).is_ok()).count()
    }

    fn every(step: f64, until: f64) -> impl Iterator<Item = f64> {
        (0..(until / step).round() as u32).map(move |i| f64::from(i) * step)
    }

    #[test]
    fn a_bucket_lets_the_burst_and_then_the_rate_pass() {
        let limits = [requests(600.0, 10.0)];
        assert_eq!(passed(&limits, every(0.001, 30.0)), 10 + 299);
        let mut gate = Gate::new(&limits);
        (0..10).for_each(|_| gate.admit(&limits, 0.0, &CALL, false).unwrap());
        let refusal = gate.admit(&limits, 0.04, &CALL, false).unwrap_err();
        let Cause::Wait(wait) = refusal.cause else { panic!("{refusal:?}") };
        assert!((wait - 0.06).abs() < 1e-6 && gate.admit(&limits, 0.04 + wait, &CALL, false).is_ok());
    }

    #[test]
    fn a_window_opens_all_at_once() {
        let limits = [Limit { shape: Shape::FixedWindow, ..Limit::per_minute(Resource::Requests, 5.0) }];
        assert_eq!(passed(&limits, every(0.5, 60.0)), 5);
        assert_eq!(passed(&limits, every(0.5, 120.5)), 11);
        let mut gate = Gate::new(&limits);
        (0..5).for_each(|_| gate.admit(&limits, 0.0, &CALL, false).unwrap());
        assert_eq!(gate.admit(&limits, 18.0, &CALL, false).unwrap_err().cause, Cause::Wait(42.0));
    }

    #[test]
    fn tokens_are_charged_as_the_limit_says() {
        let tokens = |of, limit| [Limit::per_minute(of, limit)];
        assert_eq!(passed(&tokens(Resource::InputTokens, 300.0), [0.0; 20]), 10);
        assert_eq!(passed(&tokens(Resource::OutputTokens, 300.0), [0.0; 40]), 30);
        assert_eq!(passed(&tokens(Resource::Tokens, 400.0), [0.0; 20]), 10);
        let reserved = [Limit { charge: Charge::MaxTokens, ..Limit::per_minute(Resource::Tokens, 400.0) }];
        assert_eq!(passed(&reserved, [0.0; 20]), 5);
        let small = tokens(Resource::Tokens, 39.0);
        assert_eq!(Gate::new(&small).admit(&small, 0.0, &CALL, false).unwrap_err().cause, Cause::TooLarge);
    }

    #[test]
    fn concurrency_is_given_back() {
        let limits = [Limit::per_minute(Resource::Concurrency, 2.0)];
        let mut gate = Gate::new(&limits);
        let admit = |gate: &mut Gate| gate.admit(&limits, 0.0, &CALL, false).is_ok();
        assert_eq!([admit(&mut gate), admit(&mut gate), admit(&mut gate)], [true, true, false]);
        gate.leave();
        assert_eq!([admit(&mut gate), admit(&mut gate)], [true, false]);
    }

    #[test]
    fn one_refusing_limit_keeps_the_others_uncharged() {
        let limits = [Limit::per_minute(Resource::Tokens, 1e6), requests(60.0, 1.0)];
        let mut gate = Gate::new(&limits);
        gate.admit(&limits, 0.0, &CALL, false).unwrap();
        gate.admit(&limits, 0.0, &CALL, false).unwrap_err();
        let standings = gate.standings(&limits, 0.0);
        assert_eq!((standings[0].remaining, standings[1].remaining), (1e6 - 40.0, 0.0));
        assert_eq!(standings[1].reset, 1.0);
    }

    #[test]
    fn refused_calls_may_count() {
        let limits = [requests(60.0, 2.0)];
        let mut gate = Gate::new(&limits);
        let passed = every(0.5, 30.0).filter(|now| gate.admit(&limits, *now, &CALL, true).is_ok()).count();
        assert_eq!(passed, 3, "after the burst, hammering twice a second keeps the gate closed");
    }

    #[test]
    fn a_limit_changes_while_in_use() {
        let half = Change { after_s: 30.0, factor: 0.5, limit: None };
        let outage = Change { after_s: 60.0, factor: 1.0, limit: Some(0.0) };
        let limits = [Limit { changes: vec![half, outage], ..requests(60.0, 1.0) }];
        assert_eq!(passed(&limits, every(0.25, 30.0)), 30);
        assert_eq!(passed(&limits, every(0.25, 60.0)), 30 + 15);
        assert_eq!(passed(&limits, every(0.25, 90.0)), 45);
    }

    #[test]
    fn hidden_limits_have_no_standing() {
        let limits = [Limit { hidden: true, ..requests(60.0, 2.0) }, Limit::per_minute(Resource::Concurrency, 2.0)];
        assert_eq!(Gate::new(&limits).standings(&limits, 0.0), []);
    }
}
