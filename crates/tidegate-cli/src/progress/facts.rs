//! What the progress display says, as a pure function of what is known.
//!
//! The same [`Facts`] become the display of a terminal, a plain line, or JSON, so that the three cannot disagree.

use std::time::Duration;

use serde::Serialize;
use tidegate::run::progress::Numbers;
use tidegate::{EndpointSnapshot, Money, Snapshot, Usage};

use crate::format;
use crate::progress::bottleneck::{Bottleneck, in_flight};
use crate::progress::pace::Rates;

/// The most endpoints that are listed; of more, those in trouble come first.
const ENDPOINTS: usize = 4;
/// Rows that must be finished before the cost of the rest is projected from them.
const PROJECTABLE: u64 = 10;

/// How fast it goes: over the last seconds, and steadier for what lies ahead.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    /// The time since the run began.
    pub(crate) elapsed: Duration,
    /// The rates to show.
    pub(crate) now: Option<Rates>,
    /// The rates to reckon with.
    pub(crate) steady: Option<Rates>,
}

/// All that is known about a run at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    numbers: Numbers,
    endpoints: Vec<EndpointSnapshot>,
    in_flight: usize,
    pace: Pace,
    bottleneck: Bottleneck,
}

/// What is shown on a terminal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Display {
    /// How far it has come; a bar follows if `share` is known.
    pub(crate) head: String,
    /// The share that is done.
    pub(crate) share: Option<f64>,
    /// How fast it goes, and what it costs.
    pub(crate) facts: String,
    /// The endpoints, when there are several or one is in trouble.
    pub(crate) endpoints: Option<String>,
}

impl Facts {
    /// Puts together what is known.
    pub(crate) fn new(numbers: Numbers, snapshot: Snapshot, pace: Pace) -> Facts {
        let bottleneck = Bottleneck::of(&numbers, &snapshot);
        Facts { numbers, in_flight: in_flight(&snapshot), endpoints: snapshot.endpoints, pace, bottleneck }
    }

    /// Says that the run is about to stop.
    pub(crate) fn stopping(mut self) -> Facts {
        self.bottleneck = Bottleneck::Stopping;
        self
    }

    /// Returns the lines for a terminal.
    pub(crate) fn display(&self) -> Display {
        let mut head: Vec<String> = self.numbers.share().map(format::percent).into_iter().collect();
        head.push(self.how_far());
        head.extend(self.how_many());
        head.extend(self.eta());
        let facts: Vec<String> = self.how_fast().chain(self.cost()).chain([self.bottleneck.to_string()]).collect();
        Display {
            head: head.join(" · "),
            share: self.numbers.share(),
            facts: facts.join(" · "),
            endpoints: self.endpoints(" · "),
        }
    }

    /// Returns the one line for a log.
    pub(crate) fn line(&self) -> String {
        let share = self.numbers.share().map(|share| format!(" ({})", format::percent(share)));
        let mut facts = vec![format!("{}{}", self.how_far(), share.unwrap_or_default())];
        facts.extend(self.how_many());
        facts.extend(self.how_fast());
        facts.extend(self.cost());
        facts.extend(self.eta());
        facts.push(match self.bottleneck {
            Bottleneck::Stopping => self.bottleneck.to_string(),
            limit => format!("limited by: {limit}"),
        });
        let endpoints = self.endpoints(", ").map(|text| format!("; {text}")).unwrap_or_default();
        format!("[{}] {}{endpoints}", format::duration(self.pace.elapsed), facts.join(", "))
    }

    /// Returns the same for programs.
    pub(crate) fn json(&self) -> ProgressJson<'_> {
        let numbers = &self.numbers;
        ProgressJson {
            event: "progress",
            elapsed_s: self.pace.elapsed.as_secs_f64(),
            read: numbers.read,
            read_all: numbers.read_all,
            expected: numbers.expected().map(f64::round),
            done_before: numbers.done_before,
            succeeded: numbers.succeeded,
            failed: numbers.failed,
            cached: numbers.cached,
            shared: numbers.shared,
            in_flight: self.in_flight,
            rows_per_second: self.pace.now.map(|rates| rates.rows),
            tokens_per_second: self.pace.now.map(|rates| rates.tokens),
            usage: numbers.usage,
            cost_usd: self.known_cost(),
            projected_cost_usd: self.projected_cost(),
            eta_s: self.time_left().map(|left| left.as_secs_f64()),
            limited_by: self.bottleneck.to_string(),
            endpoints: &self.endpoints,
        }
    }

    fn finished(&self) -> u64 {
        self.numbers.succeeded + self.numbers.failed
    }

    fn done(&self) -> u64 {
        self.numbers.done_before + self.finished()
    }

    fn left(&self) -> Option<f64> {
        self.numbers.expected().map(|expected| (expected - self.done() as f64).max(0.0))
    }

    fn how_far(&self) -> String {
        let done = format::count(self.done());
        match self.numbers.expected() {
            Some(expected) if self.numbers.read_all => format!("{done} of {}", format::count(expected as u64)),
            // Digits of a projection that change all the time say nothing.
            Some(expected) => format!("{done} of ~{}", format::short(expected)),
            None => format!("{done} done"),
        }
    }

    fn how_many(&self) -> impl Iterator<Item = String> {
        let failed = (self.numbers.failed > 0).then(|| format!("{} failed", format::count(self.numbers.failed)));
        let free = self.numbers.cached + self.numbers.shared;
        let free = (free > 0).then(|| format!("{} at no cost", format::count(free)));
        failed.into_iter().chain(free).chain([format!("{} in flight", format::count(self.in_flight as u64))])
    }

    fn how_fast(&self) -> impl Iterator<Item = String> {
        let rows = self.pace.now.map(|rates| format::rate(rates.rows, ""));
        let tokens = self.pace.now.map(|rates| rates.tokens).filter(|tokens| *tokens > 0.0);
        rows.into_iter().chain(tokens.map(|tokens| format!("{} tokens/s", format::short(tokens))))
    }

    fn time_left(&self) -> Option<Duration> {
        if self.bottleneck == Bottleneck::Stopping {
            return None;
        }
        let left = self.left().filter(|left| *left > 0.0)?;
        Duration::try_from_secs_f64(left / self.pace.steady?.rows).ok()
    }

    fn eta(&self) -> Option<String> {
        self.time_left().map(|left| format!("{} left", format::countdown(left)))
    }

    /// Returns the cost so far, unless no answered row's cost is known: an unknown cost is not zero.
    fn known_cost(&self) -> Option<f64> {
        let known = self.numbers.unpriced < self.numbers.succeeded || self.numbers.cost > Money::ZERO;
        known.then(|| self.numbers.cost.usd())
    }

    fn projected_cost(&self) -> Option<f64> {
        let finished = self.finished();
        let projectable = finished >= PROJECTABLE && self.numbers.unpriced == 0;
        let (cost, left) = self.known_cost().zip(self.left()).filter(|_| projectable)?;
        Some(cost + cost / finished as f64 * left)
    }

    fn cost(&self) -> Option<String> {
        let so_far = format::money(self.known_cost()?);
        let projected = self.projected_cost().filter(|_| self.left().is_some_and(|left| left > 0.0));
        Some(match projected {
            Some(whole) => format!("{so_far} of ~{}", format::money(whole)),
            None if self.numbers.unpriced > 0 => format!("at least {so_far}"),
            None => so_far,
        })
    }

    fn endpoints(&self, between: &str) -> Option<String> {
        let in_trouble = |endpoint: &&EndpointSnapshot| endpoint.aside.is_some() || endpoint.cooling.is_some();
        if self.endpoints.len() < 2 && !self.endpoints.iter().any(|endpoint| in_trouble(&endpoint)) {
            return None;
        }
        let mut sorted: Vec<_> = self.endpoints.iter().collect();
        if sorted.len() > ENDPOINTS {
            sorted.sort_by_key(|endpoint| !in_trouble(endpoint));
        }
        let mut texts: Vec<_> = sorted.iter().take(ENDPOINTS).map(|endpoint| state_of(endpoint)).collect();
        if sorted.len() > ENDPOINTS {
            texts.push(format!("{} more", sorted.len() - ENDPOINTS));
        }
        Some(texts.join(between))
    }
}

fn state_of(endpoint: &EndpointSnapshot) -> String {
    let EndpointSnapshot { name, in_flight, concurrency, .. } = endpoint;
    match (&endpoint.aside, endpoint.cooling) {
        (Some(failure), _) => format!("{name} out of service ({})", failure.kind),
        (None, Some(rest)) => format!("{name} pausing {}", format::countdown(rest)),
        (None, None) => format!("{name} {in_flight}/{concurrency}"),
    }
}

/// The facts for programs; what is not known is null.
#[derive(Debug, Serialize)]
pub(crate) struct ProgressJson<'a> {
    event: &'static str,
    elapsed_s: f64,
    read: u64,
    read_all: bool,
    expected: Option<f64>,
    done_before: u64,
    succeeded: u64,
    failed: u64,
    cached: u64,
    shared: u64,
    in_flight: usize,
    rows_per_second: Option<f64>,
    tokens_per_second: Option<f64>,
    usage: Usage,
    cost_usd: Option<f64>,
    projected_cost_usd: Option<f64>,
    eta_s: Option<f64>,
    limited_by: String,
    endpoints: &'a [EndpointSnapshot],
}

#[cfg(test)]
mod tests {
    use tidegate::{Failure, Kind, Limit};

    use super::*;
    use crate::progress::testing::{endpoint, snapshot};

    fn half_done() -> Numbers {
        let mut numbers = Numbers::default();
        (numbers.read, numbers.wanted, numbers.succeeded, numbers.failed) = (12_409, 12_409, 12_333, 12);
        numbers.position = (452, Some(1000));
        numbers.cost = Money::from_usd(1.23);
        numbers
    }

    fn running(names: &[&str]) -> Snapshot {
        let mut running = snapshot(names.iter().map(|name| endpoint(name, 64)).collect());
        (running.waiting, running.limited_by) = (36, Some(Limit::Requests));
        running
    }

    fn pace() -> Pace {
        let rates = Some(Rates { rows: 105.2, tokens: 12_340.0 });
        Pace { elapsed: Duration::from_secs(118), now: rates, steady: rates }
    }

    #[test]
    fn a_run_halfway() {
        let facts = Facts::new(half_done(), running(&["m"]), pace());
        let display = facts.display();
        assert_eq!(display.head, "45.0% · 12,345 of ~27.5k · 12 failed · 64 in flight · 2m 24s left");
        assert_eq!(display.facts, "105/s · 12.3k tokens/s · $1.23 of ~$2.74 · requests per minute");
        assert_eq!(display.endpoints, None);
        assert_eq!(
            facts.line(),
            "[1m 58s] 12,345 of ~27.5k (45.0%), 12 failed, 64 in flight, 105/s, 12.3k tokens/s, $1.23 of ~$2.74, \
             2m 24s left, limited by: requests per minute"
        );
    }

    #[test]
    fn a_run_that_has_just_begun_shows_no_guesses() {
        let facts = Facts::new(Numbers::default(), snapshot(vec![endpoint("m", 0)]), Pace::default());
        let display = facts.display();
        assert_eq!((display.head.as_str(), display.share), ("0 done · 0 in flight", None));
        assert_eq!(facts.line(), "[0ms] 0 done, 0 in flight, limited by: reading the input");
    }

    #[test]
    fn a_resumed_run_near_its_end_counts_what_was_there() {
        let mut numbers = half_done();
        (numbers.read_all, numbers.wanted, numbers.done_before) = (true, 20_000, 7_650);
        numbers.failed = 0;
        numbers.succeeded = 12_345;
        let slow = Some(Rates { rows: 0.25, tokens: 0.0 });
        let pace = Pace { elapsed: Duration::from_secs(4000), now: slow, steady: slow };
        let mut last = snapshot(vec![endpoint("m", 5)]);
        last.waiting = 0;
        let display = Facts::new(numbers, last, pace).display();
        assert_eq!(display.head, "99.9% · 19,995 of 20,000 · 5 in flight · 20s left");
        assert_eq!(display.facts, "15/min · $1.23 of ~$1.23 · latency");
    }

    #[test]
    fn of_many_endpoints_those_in_trouble_come_first() {
        let mut running = running(&["a", "b", "c", "d", "e"]);
        running.endpoints[2].aside = Some(Failure::new(Kind::Auth, "Incorrect API key"));
        running.endpoints[4].cooling = Some(Duration::from_millis(2600));
        let facts = Facts::new(half_done(), running, pace());
        let text = "c out of service (auth) · e pausing 3s · a 64/64 · b 64/64 · 1 more";
        assert_eq!(facts.display().endpoints.as_deref(), Some(text));
        assert!(facts.line().ends_with("; c out of service (auth), e pausing 3s, a 64/64, b 64/64, 1 more"));
    }

    #[test]
    fn an_unknown_cost_is_left_out_and_a_partly_known_one_is_a_bound() {
        let with = |cost, unpriced| {
            let mut numbers = half_done();
            (numbers.cost, numbers.unpriced) = (Money::from_usd(cost), unpriced);
            Facts::new(numbers, running(&["m"]), pace())
        };
        assert_eq!(with(0.0, 12_333).display().facts, "105/s · 12.3k tokens/s · requests per minute");
        assert_eq!(with(1.0, 3).display().facts, "105/s · 12.3k tokens/s · at least $1.00 · requests per minute");
        let json = serde_json::to_value(with(0.0, 12_333).json()).unwrap();
        assert_eq!(
            (&json["cost_usd"], &json["projected_cost_usd"]),
            (&serde_json::Value::Null, &serde_json::Value::Null)
        );
    }

    #[test]
    fn programs_get_the_same_numbers() {
        let facts = Facts::new(half_done(), running(&["m"]), pace()).stopping();
        let json = serde_json::to_value(facts.json()).unwrap();
        assert_eq!(
            (&json["event"], &json["succeeded"], &json["failed"]),
            (&"progress".into(), &12_333.into(), &12.into())
        );
        assert_eq!(json["limited_by"], "stopping");
        assert_eq!(json["eta_s"], serde_json::Value::Null);
        assert_eq!(json["endpoints"][0]["name"], "m");
    }
}
