//! One endpoint's machines together against a provider, under many seeds.
//!
//! The scenario files run the whole client, which shows that everything fits together, but each of them is one throw of
//! the dice. Here the same machines are driven by a plain list of events, a hundred times faster, so that the worst of many
//! throws can be looked at, and what a network does to the times of arrival, too.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::call::limits::{Counted, Hints, Reading};
use crate::dispatch::endpoint::{Call, Endpoint, State};
use crate::dispatch::limit::{Cost, Ready};
use crate::failure::{Failure, Kind};
use crate::limits::{Limits, Pacing};
use crate::response::{Response, Usage};

/// A provider, what it tells, and how far away it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World {
    pub(crate) of: Counted,
    /// Units a second, and how much a full bucket holds.
    pub(crate) rate: f64,
    pub(crate) burst: f64,
    /// The seconds after which everything comes back at once, in place of a bucket.
    pub(crate) window: Option<f64>,
    /// When the rate becomes how many times as much.
    pub(crate) change: Option<(f64, f64)>,
    /// The limit that its headers name, and whether they tell what remains.
    pub(crate) names: Option<f64>,
    pub(crate) tells: bool,
    /// Whether a rejection says how many whole seconds to wait.
    pub(crate) hints: bool,
    /// The share of calls that are rejected for no reason, when their answer would come.
    pub(crate) noise: f64,
    /// Whether a rejected call uses quota, too, down to as much below nothing as the bucket holds.
    pub(crate) counts_rejected: bool,
    /// A call's median and spread, in milliseconds.
    pub(crate) latency: f64,
    pub(crate) sigma: f64,
    /// The milliseconds by which a call takes longer for each one in flight above a number.
    pub(crate) load: Option<(f64, f64)>,
    /// The most milliseconds by which a call arrives late, and by which the client wakes up late.
    pub(crate) jitter: f64,
    /// The shortest and the longest prompt.
    pub(crate) bytes: [usize; 2],
    /// How many rows in a row are small and then large; 0 where sizes are mixed.
    pub(crate) stretch: usize,
    /// How many clients that know nothing of each other share it.
    pub(crate) clients: usize,
}

impl World {
    /// Returns a provider that tells nothing but "too many".
    pub(crate) fn silent(rate: f64, burst: f64) -> World {
        World {
            of: Counted::Requests,
            rate,
            burst,
            window: None,
            change: None,
            names: None,
            tells: false,
            hints: false,
            noise: 0.0,
            counts_rejected: false,
            latency: 800.0,
            sigma: 0.4,
            load: None,
            jitter: 0.0,
            bytes: [40, 40],
            stretch: 0,
            clients: 1,
        }
    }

    fn rate_at(&self, second: f64) -> f64 {
        self.change.filter(|(at, _)| second >= *at).map_or(self.rate, |(_, factor)| self.rate * factor)
    }

    /// Returns the units that come back between two times.
    fn returned(&self, from: f64, to: f64) -> f64 {
        let (at, factor) = self.change.unwrap_or((f64::INFINITY, 1.0));
        let after = to - at.clamp(from, to);
        self.rate * (to - from - after + factor * after)
    }
}

/// What became of a run.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// When each call arrived, the units it took, and whether it was accepted.
    pub(crate) log: Vec<(f64, f64, bool)>,
    /// How long each accepted call took, in seconds.
    pub(crate) latencies: Vec<f64>,
    /// When the last answer came, and when it could have.
    pub(crate) took: f64,
    pub(crate) ideal: f64,
    world: Option<World>,
}

impl Run {
    /// Returns the share of the quota that was used between two times.
    pub(crate) fn used(&self, from: f64, to: f64) -> f64 {
        let within = self.log.iter().filter(|(at, _, good)| *good && (from..to).contains(at));
        within.map(|(_, units, _)| units).sum::<f64>() / self.world.map_or(1.0, |world| world.returned(from, to))
    }

    /// Returns the share of the calls that were rejected between two times.
    pub(crate) fn rejected(&self, from: f64, to: f64) -> f64 {
        let within = || self.log.iter().filter(|(at, ..)| (from..to).contains(at));
        within().filter(|(.., good)| !good).count() as f64 / within().count().max(1) as f64
    }

    /// Returns when the last call arrived.
    pub(crate) fn end(&self) -> f64 {
        self.log.iter().map(|(at, ..)| *at).fold(0.0, f64::max)
    }
}

#[derive(Debug, Clone)]
struct Flight {
    client: usize,
    bytes: usize,
    units: f64,
    usage: Usage,
    sent: Instant,
    cost: Cost,
    reply: Option<(bool, Hints, Option<Duration>)>,
}

/// Sends that many rows as an endpoint with those limits allows.
pub(crate) fn run(world: World, limits: Limits, rows: usize, seed: u64) -> Run {
    Driver::new(world, limits, rows, seed).run(rows)
}

struct Driver {
    world: World,
    rng: fastrand::Rng,
    start: Instant,
    /// Each client, and the sizes of the rows that it is still to send.
    clients: Vec<(State, VecDeque<usize>)>,
    flights: Vec<Flight>,
    /// When what happens to which flight.
    events: BinaryHeap<Reverse<(Instant, usize)>>,
    level: f64,
    at: f64,
    /// The calls that it works on.
    busy: u32,
    log: Vec<(f64, f64, bool)>,
    latencies: Vec<f64>,
}

impl Driver {
    fn new(world: World, limits: Limits, rows: usize, seed: u64) -> Driver {
        let (mut rng, start) = (fastrand::Rng::with_seed(seed), Instant::now());
        let [shortest, longest] = world.bytes;
        let size = |row: usize| match row.checked_div(world.stretch) {
            None => rng.usize(shortest..=longest),
            Some(stretch) => world.bytes[stretch % 2],
        };
        let sizes: Vec<usize> = (0..rows).map(size).collect();
        let full = world.window.map_or(world.burst, |period| world.rate * period);
        let rows_of = |client| sizes.iter().copied().skip(client).step_by(world.clients).collect();
        let client = |number| (State::new(Arc::new(endpoint(limits)), start), rows_of(number));
        let clients = (0..world.clients).map(client).collect();
        let (flights, events, log, latencies) = (Vec::new(), BinaryHeap::new(), Vec::new(), Vec::new());
        Driver { world, rng, start, clients, flights, events, level: full, at: 0.0, busy: 0, log, latencies }
    }

    fn run(mut self, rows: usize) -> Run {
        let units: f64 = self
            .clients
            .iter()
            .flat_map(|(_, rows)| rows)
            .map(|&bytes| self.usage(bytes))
            .map(|usage| self.units(&usage))
            .sum();
        let (mut now, mut took, mut done) = (self.start, 0.0, 0);
        while done < rows {
            let wake = (0..self.clients.len()).filter_map(|client| self.send(now, client)).min();
            let event = self.events.peek().map(|Reverse((at, _))| *at);
            now = match (event, wake) {
                (Some(event), Some(wake)) if wake < event => wake,
                (Some(event), _) => event,
                (None, wake) => wake.expect("somebody keeps the clock"),
            };
            while self.events.peek().is_some_and(|Reverse((at, _))| *at <= now) {
                let Some(Reverse((at, number))) = self.events.pop() else { break };
                match self.flights[number].reply.take() {
                    None => self.arrive(at, number),
                    Some(reply) => done += usize::from(self.settle(at, number, &reply)),
                }
                took = at.duration_since(self.start).as_secs_f64();
            }
        }
        let full = self.world.window.map_or(self.world.burst, |period| self.world.rate * period);
        let ideal = ((units - full) / self.world.rate).max(0.0) + self.world.latency / 1e3;
        Run { log: self.log, latencies: self.latencies, took, ideal, world: Some(self.world) }
    }

    /// Sends what a client may send, and returns when the clock lets more go.
    fn send(&mut self, now: Instant, client: usize) -> Option<Instant> {
        while let Some(&bytes) = self.clients[client].1.front() {
            let mut cost = self.clients[client].0.cost(bytes, None);
            match self.clients[client].0.ready(now, cost) {
                Ready::Now => {}
                Ready::At(at, _) => {
                    // A timer rings at a whole millisecond, and somewhat late.
                    let passed = at.duration_since(self.start).as_nanos().div_ceil(1_000_000) as u64;
                    return Some(self.start + Duration::from_millis(passed) + self.late());
                }
                Ready::Later(_) | Ready::Never => return None,
            }
            self.clients[client].1.pop_front();
            self.clients[client].0.admit(now, &mut cost);
            let usage = self.usage(bytes);
            let flight = Flight { client, bytes, units: self.units(&usage), usage, sent: now, cost, reply: None };
            let arrives = now + self.late();
            self.events.push(Reverse((arrives, self.flights.len())));
            self.flights.push(flight);
        }
        None
    }

    fn late(&mut self) -> Duration {
        Duration::from_secs_f64(self.rng.f64() * self.world.jitter / 1e3)
    }

    fn usage(&self, bytes: usize) -> Usage {
        Usage { input_tokens: bytes as u64 / 4, output_tokens: bytes as u64 / 4, ..Usage::default() }
    }

    fn units(&self, usage: &Usage) -> f64 {
        match self.world.of {
            Counted::Requests => 1.0,
            Counted::Tokens => usage.total() as f64,
            Counted::InputTokens => usage.input_tokens as f64,
            Counted::OutputTokens => usage.output_tokens as f64,
        }
    }

    fn arrive(&mut self, now: Instant, number: usize) {
        let second = now.duration_since(self.start).as_secs_f64();
        self.refill(second);
        let units = self.flights[number].units;
        let noise = self.rng.f64() < self.world.noise;
        let good = self.level >= units - 1e-9 && !noise;
        let missing = units - self.level;
        if good || self.world.counts_rejected {
            self.level = (self.level - units).max(-self.world.burst);
        }
        self.log.push((second, units, good));
        let hint = (self.world.hints && !good).then(|| self.wait(second, missing));
        let spread = (self.world.sigma * self.normal()).exp();
        self.busy += u32::from(good);
        let (each, knee) = self.world.load.unwrap_or_default();
        let queued = each * (f64::from(self.busy) - knee).max(0.0);
        let took = if good || noise { self.world.latency * spread + queued } else { 5.0 };
        let took = Duration::from_secs_f64(took / 1e3) + self.late();
        if good {
            self.latencies.push(took.as_secs_f64());
        }
        self.flights[number].reply = Some((good, self.told(second), hint));
        self.events.push(Reverse((now + took, number)));
    }

    fn refill(&mut self, second: f64) {
        match self.world.window {
            Some(period) if (self.at / period).floor() < (second / period).floor() => {
                self.level = self.world.rate_at(second) * period;
            }
            Some(_) => {}
            None => {
                let burst = self.world.burst * self.world.rate_at(second) / self.world.rate;
                self.level = (self.level + self.world.returned(self.at, second)).min(burst);
            }
        }
        self.at = second;
    }

    fn wait(&self, second: f64, missing: f64) -> Duration {
        let seconds = match self.world.window {
            Some(period) => period - second % period,
            None => missing.max(0.0) / self.world.rate_at(second),
        };
        Duration::from_secs_f64(seconds.ceil().max(1.0))
    }

    fn told(&self, second: f64) -> Hints {
        let mut hints = Hints::default();
        if self.world.tells {
            let rate = self.world.rate_at(second);
            let reset = match self.world.window {
                Some(period) => period - second % period,
                None => (self.world.burst * rate / self.world.rate - self.level) / rate,
            };
            let limit = self.world.names.map(|limit| limit * rate / self.world.rate);
            let reset = limit.map(|_| Duration::from_secs_f64(reset.max(0.0)));
            let remaining = Some((self.level + 1e-6).floor().max(0.0));
            hints.set(self.world.of, Reading { limit, remaining, reset, period: None });
        }
        hints
    }

    /// Returns whether the row is done.
    fn settle(&mut self, now: Instant, number: usize, (good, hints, hint): &(bool, Hints, Option<Duration>)) -> bool {
        let flight = self.flights[number].clone();
        self.busy -= u32::from(*good);
        let failure = Failure { retry_after: *hint, ..Failure::new(Kind::RateLimited, "too many") };
        let call = Call {
            sent: flight.sent,
            bytes: flight.bytes,
            cost: flight.cost,
            usage: good.then_some(&flight.usage),
            failure: (!good).then_some(&failure),
            hints,
        };
        let jitter = self.rng.f64();
        let (state, rows) = &mut self.clients[flight.client];
        state.settle(now, &call, jitter);
        if !good {
            rows.push_front(flight.bytes);
        }
        *good
    }

    /// Returns a number of the normal distribution.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.rng.f64()).sum::<f64>() - 6.0
    }
}

fn endpoint(limits: Limits) -> Endpoint {
    Endpoint {
        name: "m".into(),
        model: "m".into(),
        order: 0,
        region: None,
        key: 0,
        weight: None,
        price: None,
        max_input: None,
        max_output: None,
        split: None,
        caller: crate::caller(|_| async { Ok(Response::text("")) }),
        limits,
        account: None,
        pacing: Pacing::default(),
    }
}

/// Returns the worst of many seeds: the share of the quota that was used from a second on, the rejected share of all calls,
/// and how often the ideal it took.
fn worst(world: World, limits: Limits, rows: usize, seeds: u64, from: f64) -> (f64, f64, f64) {
    (0..seeds).map(|seed| run(world, limits, rows, seed)).fold((f64::INFINITY, 0.0, 0.0), |worst, run| {
        let used = run.used(from, run.end());
        (worst.0.min(used), run.rejected(0.0, f64::INFINITY).max(worst.1), (run.took / run.ideal).max(worst.2))
    })
}

/// A hundred a second and as many at once, 100 ms away, over a network that is not quite even.
fn near() -> World {
    World { latency: 100.0, sigma: 0.0, jitter: 2.0, ..World::silent(100.0, 100.0) }
}

#[test]
fn a_stated_limit_is_used_without_a_rejection_although_calls_arrive_unevenly() {
    let stated = Limits { rps: Some(100.0), burst: Some(100), ..Limits::default() };
    let (_, rejected, times) = worst(near(), stated, 3000, 20, 0.0);
    assert!(rejected == 0.0 && times < 1.01, "{rejected} {times}");
}

#[test]
fn a_limit_that_is_told_for_an_unnamed_second_is_found_at_once() {
    let world = World { tells: true, names: Some(100.0), ..near() };
    let (_, rejected, times) = worst(world, Limits::default(), 3000, 20, 0.0);
    assert!(rejected == 0.0 && times < 1.04, "{rejected} {times}");
    for rate in [10.0, 1000.0] {
        let world = World { rate, burst: rate, names: Some(rate), ..world };
        let (used, rejected, _) = worst(world, Limits::default(), 10 * rate as usize, 5, 2.0);
        assert!(rejected < 0.08 && used > 0.95, "{rate}: {rejected} {used}");
    }
}

#[test]
fn a_window_of_an_unnamed_second_is_found_at_once() {
    for (latency, jitter, most) in [(100.0, 2.0, 1.04), (800.0, 2.0, 1.15), (100.0, 20.0, 1.06)] {
        let world = World { tells: true, names: Some(100.0), window: Some(1.0), latency, jitter, ..near() };
        let (_, rejected, times) = worst(world, Limits::default(), 3000, 20, 0.0);
        assert!(rejected < 0.01 && times < most, "{latency} {jitter}: {rejected} {times}");
    }
}

#[test]
fn what_comes_back_in_a_day_is_used_at_once() {
    let per_day = World { tells: true, names: Some(14_400.0), ..World::silent(1.0 / 6.0, 14_400.0) };
    let run = run(per_day, Limits::default(), 3000, 1);
    assert!(run.took < 20.0, "{} s", run.took);
}

#[test]
fn a_limit_that_nobody_tells_is_found_whatever_the_dice_say() {
    let (_, rejected, times) = worst(near(), Limits::default(), 3000, 60, 0.0);
    assert!(rejected < 0.01 && times < 1.02, "{rejected} {times}");
}

#[test]
fn a_fast_limit_is_found_although_answers_take_long() {
    let (used, rejected, _) = worst(World::silent(1000.0, 100.0), Limits::default(), 50_000, 3, 15.0);
    assert!(used > 0.95 && rejected < 0.005, "{used} {rejected}");
}

#[test]
fn a_slow_limit_is_not_probed_all_the_time() {
    let (used, rejected, _) = worst(World::silent(1.0, 60.0), Limits::default(), 1000, 5, 60.0);
    assert!(used > 0.95 && rejected < 0.03, "{used} {rejected}");
}

#[test]
fn rejections_by_chance_hardly_hold_back() {
    let world = World { noise: 0.005, ..World::silent(500.0, 100.0) };
    let (used, rejected, _) = worst(world, Limits::default(), 60_000, 4, 60.0);
    assert!(used > 0.95 && rejected < 0.02, "{used} {rejected}");
}

#[test]
fn rejections_by_chance_alone_do_not_hold_back() {
    let world = World { noise: 0.02, latency: 100.0, sigma: 0.0, ..World::silent(1e6, 1e6) };
    let stated = Limits { concurrency: Some(500), ..Limits::default() };
    let ideal = 100_000.0 / 5000.0 / (1.0 - world.noise);
    let times = (0..10).map(|seed| run(world, stated, 100_000, seed).took / ideal).fold(0.0, f64::max);
    assert!(times < 1.2, "{times}");
}

#[test]
fn two_clients_of_one_key_leave_no_quota_unused() {
    let world = World { clients: 2, ..World::silent(33.0, 66.0) };
    let (used, rejected, _) = worst(world, Limits::default(), 12_000, 6, 60.0);
    assert!(used > 0.9 && rejected < 0.03, "{used} {rejected}");
}

#[test]
fn tokens_are_counted_where_tokens_are_limited() {
    let stretches = World { of: Counted::Tokens, bytes: [40, 400], stretch: 1000, ..World::silent(3700.0, 7300.0) };
    let (used, rejected, _) = worst(stretches, Limits::default(), 20_000, 4, 150.0);
    assert!(used > 0.95 && rejected < 0.01, "{used} {rejected}");
}

#[test]
fn a_server_that_slows_down_is_not_overrun_at_the_start() {
    let world = World { load: Some((15.0, 16.0)), latency: 500.0, sigma: 0.0, jitter: 2.0, ..World::silent(1e6, 1e6) };
    let mut latencies = run(world, Limits::default(), 2500, 1).latencies;
    latencies.sort_by(f64::total_cmp);
    let p99 = latencies[latencies.len() * 99 / 100];
    assert!(p99 < 1.2, "{p99} s, alone 0.5 s");
}
