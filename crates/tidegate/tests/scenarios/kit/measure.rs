//! What a run brought, against what the providers would have given.

use tidegate::sim::{Charge, Limit, Resource};

use super::case::{Case, ProviderCase};
use super::provider::Entry;

/// A run's log and end.
pub(crate) struct Measured {
    pub(crate) log: Vec<Entry>,
    pub(crate) failed: u64,
    /// Seconds from the first call to the last outcome.
    pub(crate) took: f64,
    /// When each row was done, in seconds.
    pub(crate) done: Vec<f64>,
    /// Calls that arrived, and those among them that hung by chance.
    pub(crate) arrived: u64,
    pub(crate) hung: u64,
}

/// The shares of one part of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares {
    pub(crate) utilisation: f64,
    pub(crate) rejected: f64,
}

impl Measured {
    /// Returns when the last row was sent for the first time: later, there is too little to send to use a limit.
    pub(crate) fn last_sent(&self) -> f64 {
        self.log.iter().map(|entry| entry.at).fold(0.0, f64::max)
    }

    pub(crate) fn shares(&self, case: &Case, from: f64, to: f64) -> Shares {
        let within = |entry: &&Entry| entry.at >= from && entry.at < to;
        let sent = self.log.iter().filter(within).count() as f64;
        let rejected = self.log.iter().filter(within).filter(|entry| entry.status == 429).count() as f64;
        let accepted = self.log.iter().filter(within).filter(|entry| entry.status == 200).count() as f64;
        let quota: f64 = (0..case.providers.len()).map(|i| self.quota(case, i, from, to)).sum();
        Shares { utilisation: accepted / quota, rejected: rejected / sent.max(1.0) }
    }

    /// Returns the seconds of the quota that were lost between two times.
    pub(crate) fn lost(&self, case: &Case, from: f64, to: f64) -> f64 {
        (1.0 - self.shares(case, from, to).utilisation) * (to - from)
    }

    /// Returns how many calls a provider's limits would have let through, at the mean size of those it did.
    fn quota(&self, case: &Case, provider: usize, from: f64, to: f64) -> f64 {
        let served = || self.log.iter().filter(|entry| entry.provider == provider && entry.status == 200);
        let count = served().count().max(1) as f64;
        let of = |limit: &Limit| {
            let cost = served().map(|entry| cost(limit, entry, case.workload.max_tokens)).sum::<f64>() / count;
            provided(limit, &case.providers[provider], from, to) / cost.max(1e-9)
        };
        let limits = case.providers[provider].is.limits.iter();
        // What all calls together do not use up, such as a day's quota, sets no pace.
        let used = |limit: &Limit| served().map(|entry| cost(limit, entry, case.workload.max_tokens)).sum::<f64>();
        let paces = |limit: &&Limit| limit.of != Resource::Concurrency && used(limit) > 0.9 * limit.limit;
        limits.filter(paces).map(of).fold(f64::INFINITY, f64::min)
    }

    /// Returns the seconds in which the limits and the stated concurrency would have let every row through, with those that
    /// are to be sent again because of errors and rejections by chance.
    pub(crate) fn ideal(&self, case: &Case) -> f64 {
        let lets = |i: usize, to: f64| self.quota(case, i, 0.0, to).min(self.at_once(case, i, to));
        let quota = |to: f64| (0..case.providers.len()).map(|i| lets(i, to)).sum::<f64>();
        let faults = &case.providers[0].is.faults;
        let errors = faults.status_500 + faults.status_429;
        let (mut short, mut long) = (0.0, 2.0 * self.took);
        while long - short > 0.1 {
            let middle = f64::midpoint(short, long);
            if quota(middle) * (1.0 - errors) < case.workload.rows as f64 { short = middle } else { long = middle }
        }
        long
    }

    /// Returns how many calls a provider would have answered until then with as many in flight as the user states.
    fn at_once(&self, case: &Case, provider: usize, to: f64) -> f64 {
        let took = || self.log.iter().filter(|entry| entry.provider == provider).map(|entry| entry.took);
        let mean = took().sum::<f64>() / took().count().max(1) as f64;
        case.providers[provider].stated.concurrency.map_or(f64::INFINITY, |most| f64::from(most) * to / mean)
    }

    /// Returns the 99th percentile of the latency of calls that were served after a time.
    pub(crate) fn p99(&self, from: f64) -> f64 {
        let served = self.log.iter().filter(|entry| entry.status == 200 && entry.at >= from);
        let mut took: Vec<f64> = served.map(|entry| entry.took).collect();
        took.sort_by(f64::total_cmp);
        took.get(took.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default()
    }

    /// Returns how long the whole run took, in multiples of the time until 99 % of the rows were done.
    pub(crate) fn tail(&self) -> f64 {
        self.took / self.done[self.done.len() * 99 / 100 - 1]
    }

    /// Returns the calls beyond one for each row and one for each call that hung, as a share of the rows.
    pub(crate) fn extra(&self) -> f64 {
        (self.arrived - self.hung) as f64 / self.done.len() as f64 - 1.0
    }

    /// Returns the calls served per second between two times.
    pub(crate) fn throughput(&self, from: f64, to: f64) -> f64 {
        let ended = |entry: &&Entry| entry.status == 200 && (from..to).contains(&(entry.at + entry.took));
        self.log.iter().filter(ended).count() as f64 / (to - from)
    }

    /// Returns the most calls that a provider got in any 60 seconds.
    pub(crate) fn most_in_a_minute(&self, provider: usize) -> usize {
        let mut at: Vec<f64> = self.log.iter().filter(|one| one.provider == provider).map(|one| one.at).collect();
        at.sort_by(f64::total_cmp);
        let minute = |first: usize| at.partition_point(|time| *time < at[first] + 60.0) - first;
        (0..at.len()).map(minute).max().unwrap_or(0)
    }

    /// Returns the share of the served calls that each client made.
    pub(crate) fn per_client(&self, clients: usize, from: f64, to: f64) -> Vec<f64> {
        let within = || self.log.iter().filter(|entry| entry.status == 200 && (from..to).contains(&entry.at));
        let all = within().count().max(1) as f64;
        (0..clients).map(|client| within().filter(|entry| entry.client == client).count() as f64 / all).collect()
    }
}

fn cost(limit: &Limit, entry: &Entry, max_tokens: Option<u32>) -> f64 {
    let output = match (limit.charge, max_tokens) {
        (Charge::MaxTokens, Some(most)) => f64::from(most),
        _ => entry.output_tokens,
    };
    match limit.of {
        Resource::Requests | Resource::Concurrency => 1.0,
        Resource::InputTokens => entry.input_tokens,
        Resource::OutputTokens => output,
        Resource::Tokens => entry.input_tokens + output,
    }
}

/// Integrates a limit over the time in which the provider was up.
fn provided(limit: &Limit, provider: &ProviderCase, from: f64, to: f64) -> f64 {
    let step = 0.1;
    let steps = ((to - from) / step).ceil().max(1.0) as u64;
    let width = (to - from) / steps as f64;
    let rate = |at: f64| {
        let down = provider.down.iter().any(|outage| (outage.from_s..outage.to_s).contains(&at));
        let past = limit.changes.iter().take_while(|change| change.after_s <= at);
        let value = past.fold(limit.limit, |value, change| change.limit.unwrap_or(value * change.factor));
        if down { 0.0 } else { value / limit.per_s }
    };
    (0..steps).map(|i| rate(from + (i as f64 + 0.5) * width) * width).sum()
}
