//! One endpoint: a model reached with one key, and everything known about how it is doing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::call::Caller;
use crate::call::limits::{Counted, Hints};
use crate::dispatch::adaptive::Adaptive;
use crate::dispatch::balance::Candidate;
use crate::dispatch::cooldown::Cooldown;
use crate::dispatch::estimate::Estimate;
use crate::dispatch::gate::Gate;
use crate::dispatch::health::{Health, Verdict};
use crate::dispatch::learned::Learned;
use crate::dispatch::limit::{Cost, Ready, Taken};
use crate::dispatch::meter::Meter;
use crate::dispatch::slowdown::Answered;
use crate::event::EndpointSnapshot;
use crate::failure::{Failure, Kind};
use crate::limits::{Limit, Limits, Pacing};
use crate::money::Price;
use crate::response::Usage;

/// What an endpoint is; it never changes.
pub(crate) struct Endpoint {
    /// The name shown in records: the model, with `#2` and so on for further keys.
    pub(crate) name: Arc<str>,
    /// The model as the user named it.
    pub(crate) model: Arc<str>,
    /// The model's place in the user's list.
    pub(crate) order: usize,
    /// Its region's number, if the provider has several.
    pub(crate) region: Option<usize>,
    /// Which key it uses: endpoints with the same number share one.
    pub(crate) key: usize,
    /// Its share of the requests under the policy `weighted`, if one was given.
    pub(crate) weight: Option<f64>,
    /// What its tokens cost, where known.
    pub(crate) price: Option<Price>,
    /// The most input tokens that it reads in one call, where known.
    pub(crate) max_input: Option<u32>,
    /// The most output tokens that it writes in one call, where known.
    pub(crate) max_output: Option<u32>,
    /// Which endpoints it divides requests with by a share, if any.
    pub(crate) split: Option<Split>,
    /// Does the calls.
    pub(crate) caller: Arc<dyn Caller>,
    /// What it may be sent, at first.
    pub(crate) limits: Limits,
    /// The account whose limits it shares with others, by its number.
    pub(crate) account: Option<usize>,
    /// How it starts and pauses.
    pub(crate) pacing: Pacing,
}

impl Endpoint {
    /// Returns whether it is in one of these regions, with which the names of Bedrock's endpoints end; all are if none is
    /// named.
    pub(crate) fn is_in(&self, regions: &[String]) -> bool {
        let place = || self.name.rsplit_once('@').map(|(_, place)| place.split('#').next().unwrap_or(place));
        regions.is_empty() || place().is_some_and(|place| regions.iter().any(|region| region == place))
    }
}

/// What divides the requests of a group of endpoints: some get a share of them, and the others the rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Split {
    /// Endpoints with the same places of model and region divide their requests.
    pub(crate) group: (usize, usize),
    /// The share of those that get one, 0 to 1.
    pub(crate) share: f64,
    /// Whether this is one of them.
    pub(crate) inside: bool,
}

/// How the endpoint is doing.
pub(crate) struct State {
    pub(crate) endpoint: Arc<Endpoint>,
    /// What is stated about it just now.
    limits: Limits,
    pub(crate) gate: Gate,
    /// What has been sent in all.
    taken: Taken,
    /// The limits that replies have told of.
    meters: Vec<Meter>,
    learned: Learned,
    adaptive: Adaptive,
    cooldown: Cooldown,
    pub(crate) health: Health,
    estimate: Estimate,
    latency: f64,
    /// Why it is out of service, if it is.
    pub(crate) aside: Option<Failure>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    sent: u64,
    succeeded: u64,
    rejected: u64,
    failed: u64,
    cooled: Duration,
    tokens: u64,
}

/// What a settled call means for others.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Settled {
    /// A pause that this call started.
    pub(crate) cooldown: Option<Duration>,
    /// How many endpoints it took out of service.
    pub(crate) set_aside: usize,
    /// Whether the endpoint was put aside, or taken back, for how it works.
    pub(crate) health: Option<Verdict>,
}

impl State {
    pub(crate) fn new(endpoint: Arc<Endpoint>, now: Instant) -> State {
        State {
            gate: Gate::new(&endpoint.limits, now),
            taken: Taken::default(),
            meters: Vec::new(),
            learned: Learned::default(),
            adaptive: Adaptive::new(endpoint.limits.concurrency, endpoint.pacing.start),
            cooldown: Cooldown::new(endpoint.pacing),
            health: Health::default(),
            estimate: Estimate::default(),
            latency: 0.0,
            aside: None,
            counts: Counts::default(),
            limits: endpoint.limits,
            endpoint,
        }
    }

    /// Puts other limits in force.
    pub(crate) fn change(&mut self, limits: Limits, now: Instant) {
        self.gate.change(&limits, now);
        self.adaptive.state(limits.concurrency);
        self.limits = limits;
    }

    /// Returns whether it could serve at all just now: neither out of service nor pausing, nor done for the day.
    pub(crate) fn serves(&self, now: Instant) -> bool {
        self.fit(now) && self.cooldown.until(now).is_none() && !self.gate.is_done_for_the_day(now)
    }

    /// Returns whether it is in service and works, or may be probed.
    pub(crate) fn fit(&self, now: Instant) -> bool {
        self.aside.is_none() && self.health.wait(now).is_none()
    }

    /// Returns when a request of that cost may be sent, whatever the endpoint's health.
    pub(crate) fn ready(&self, now: Instant, cost: Cost) -> Ready {
        if self.aside.is_some() {
            return Ready::Never;
        }
        if let Some(until) = self.cooldown.until(now) {
            return Ready::At(until, Limit::Cooldown);
        }
        if self.gate.in_flight >= self.limit() {
            return Ready::Later(Limit::Concurrency);
        }
        if let Some(at) = self.cooldown.ramp(now, self.gate.in_flight) {
            return Ready::At(at, Limit::Concurrency);
        }
        let told = |meter: &Meter| meter.ready(now, cost.of(meter.of), self.taken.of(meter.of));
        self.meters.iter().map(told).fold(self.gate.ready(now, cost).and(self.learned.ready(now, &cost)), Ready::and)
    }

    /// Returns what a request would take here.
    pub(crate) fn cost(&self, bytes: usize, max_tokens: Option<u32>) -> Cost {
        self.estimate.cost(bytes, max_tokens)
    }

    /// Returns how many requests may be in flight.
    pub(crate) fn limit(&self) -> usize {
        self.adaptive.limit()
    }

    /// Returns how many requests it was given, if it is in that group, and whether it gets the share.
    pub(crate) fn sent_in(&self, group: (usize, usize)) -> Option<(bool, u64)> {
        self.endpoint.split.filter(|split| split.group == group).map(|split| (split.inside, self.counts.sent))
    }

    /// Returns what a policy sees of it, the endpoint with that number.
    pub(crate) fn candidate(&self, place: usize, tried: bool) -> Candidate<'_> {
        let limit = self.limit().max(1);
        // Before the first reply it is taken for one that needs a second.
        let latency = if self.latency == 0.0 { 1.0 } else { self.latency };
        Candidate {
            endpoint: &self.endpoint.name,
            model: &self.endpoint.model,
            weight: self.endpoint.weight.unwrap_or(limit as f64 / latency),
            place,
            order: self.endpoint.order,
            in_flight: self.gate.in_flight,
            headroom: 1.0 - self.gate.in_flight as f64 / limit as f64,
            latency: self.latency,
            price: self.endpoint.price.map_or(f64::INFINITY, |price| price.input + price.output),
            sent: self.counts.sent,
            tried,
        }
    }

    /// Notes that a request is sent, and marks its cost with what was sent until then.
    pub(crate) fn admit(&mut self, now: Instant, cost: &mut Cost) {
        self.gate.admit(now, *cost);
        self.learned.admit(now, cost);
        cost.paused = self.cooldown.last();
        self.cooldown.admit(now);
        for meter in &mut self.meters {
            meter.take(now, cost.of(meter.of), self.taken.of(meter.of));
        }
        self.taken.add(1.0, cost.input, cost.output);
        (cost.mark, cost.in_flight) = (self.taken, self.gate.in_flight);
        cost.probe = self.health.admit(now);
        self.counts.sent += 1;
    }

    /// Notes that a request which was admitted was never sent.
    pub(crate) fn withdraw(&mut self, now: Instant, cost: Cost) {
        self.abandon(cost);
        self.give_back(now, now, cost.all());
        self.counts.sent -= 1;
    }

    /// Notes that nobody waits for a call any more: it may have been served, so what was taken stays taken.
    pub(crate) fn abandon(&mut self, cost: Cost) {
        self.gate.release();
        if cost.probe {
            self.health.withdraw();
        }
    }

    /// Puts back what was taken at `sent` and not used.
    fn give_back(&mut self, now: Instant, sent: Instant, unused: Taken) {
        self.gate.give_back(now, sent, unused);
        self.taken.add(-unused.requests, -unused.input, -unused.output);
        self.meters.iter_mut().for_each(|meter| meter.give_back(now, unused.of(meter.of)));
    }

    /// Takes note of what a reply's headers tell.
    fn read(&mut self, now: Instant, call: &Call<'_>) {
        for of in Counted::ALL {
            let Some(reading) = call.hints.get(of) else { continue };
            let place = self.meters.iter().position(|meter| meter.of == of).unwrap_or_else(|| {
                self.meters.push(Meter::new(of, now));
                self.meters.len() - 1
            });
            self.meters[place].read(now, &reading, call.sent, call.cost.mark.of(of), self.taken.of(of));
        }
    }

    /// Notes how a call sent at `sent` ended. Out-of-service decisions are the scheduler's.
    pub(crate) fn settle(&mut self, now: Instant, call: &Call<'_>, jitter: f64) -> Settled {
        let full = self.gate.in_flight >= self.limit();
        self.gate.release();
        if let Some(usage) = call.usage {
            self.counts.tokens += usage.total();
            self.estimate.learn(call.bytes, usage);
        }
        self.give_back(now, call.sent, call.unused());
        self.read(now, call);
        let health = self.health.ended(now, call.cost.probe, call.failure.map(|failure| failure.kind));
        let cooldown = match call.failure {
            None => {
                self.counts.succeeded += 1;
                self.cooldown.succeeded(call.sent);
                if self.learned.succeeded(call.sent, call.cost.mark.requests) {
                    self.counts.cooled -= self.cooldown.lift(now);
                }
                let took = now.duration_since(call.sent).as_secs_f64();
                let answered = Answered { sent: call.sent, seconds: took, in_flight: call.cost.in_flight };
                self.adaptive.replied(now, &answered, full);
                self.latency = if self.latency == 0.0 { took } else { self.latency + 0.1 * (took - self.latency) };
                None
            }
            Some(failure) => self.failed(now, call, failure, jitter),
        };
        Settled { cooldown, set_aside: 0, health }
    }

    fn failed(&mut self, now: Instant, call: &Call<'_>, failure: &Failure, jitter: f64) -> Option<Duration> {
        let slow_down = failure.kind.advice().slow_down;
        if !slow_down {
            self.counts.failed += 1;
            return None;
        }
        self.counts.rejected += 1;
        let busy = failure.kind == Kind::Overloaded || failure.message.contains("concurren");
        let learns = !busy && !self.explained(call);
        if learns && self.learned.is_chance(now, call.cost.mark.requests, failure.retry_after) {
            return None;
        }
        let usual = self.learned.rate().map(|rate| Duration::from_secs_f64(2.0 / rate));
        let pause = self.cooldown.rejected(now, call.sent, failure.retry_after, usual, jitter);
        self.counts.cooled += pause.unwrap_or_default();
        if busy {
            self.adaptive.rejected(now, call.sent);
        } else if learns {
            self.learned.rejected(now, call.sent, &call.cost, self.cooldown.until(now));
        }
        pause
    }

    /// Returns whether the reply itself says which limit was used up: then its meter knows what to do.
    fn explained(&self, call: &Call<'_>) -> bool {
        let used_up =
            |meter: &Meter| call.hints.get(meter.of).is_some_and(|told| meter.explains(&told, call.cost.of(meter.of)));
        self.meters.iter().any(used_up)
    }

    pub(crate) fn snapshot(&self, now: Instant) -> EndpointSnapshot {
        EndpointSnapshot {
            name: self.endpoint.name.to_string(),
            in_flight: self.gate.in_flight,
            concurrency: self.limit(),
            sent: self.counts.sent,
            succeeded: self.counts.succeeded,
            rejected: self.counts.rejected,
            failed: self.counts.failed,
            tokens: self.counts.tokens,
            cooled: self.counts.cooled,
            cooling: self.cooldown.until(now).max(self.health.wait(now)).map(|until| until - now),
            aside: self.aside.clone(),
            limits: self.limits,
        }
    }
}

/// A call that has ended.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) sent: Instant,
    pub(crate) bytes: usize,
    pub(crate) cost: Cost,
    pub(crate) usage: Option<&'a Usage>,
    pub(crate) failure: Option<&'a Failure>,
    pub(crate) hints: &'a Hints,
}

impl Call<'_> {
    /// Returns what was taken for the call and not used.
    pub(crate) fn unused(&self) -> Taken {
        let Taken { input, output, .. } = self.cost.all();
        match (self.usage, self.failure.map(|failure| failure.kind)) {
            (Some(usage), _) => Taken {
                requests: 0.0,
                input: input - usage.input_tokens as f64,
                output: output - usage.output_tokens as f64,
            },
            // It may have been served and counted: what was taken stays taken.
            (None, None | Some(Kind::Timeout | Kind::Cut)) => Taken::default(),
            (None, Some(Kind::Connect)) => self.cost.all(),
            (None, Some(_)) => Taken { requests: 0.0, input, output },
        }
    }
}
