//! What arrived and what became of it: the simulator's memory of its callers.
//!
//! Tests ask it whether anything was lost, sent twice or paid twice, so it counts by id. Ids are kept as hashes and only
//! up to a bound; past it, totals still count and [`Stats::ids_not_counted`] says how many calls have no count of their own.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::fault::Fault;

/// The longest time that arrivals are counted second by second; later ones fall into the last second.
const LONGEST_SECONDS: usize = 86_400;

/// What a simulated provider has seen since it began or was reset.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Calls for completions and embeddings, whatever became of them.
    pub arrivals: u64,
    /// Calls that got everything that was planned for them.
    pub finished: u64,
    /// Calls whose client left earlier.
    pub abandoned: u64,
    /// Finished calls by HTTP status.
    pub by_status: BTreeMap<u16, u64>,
    /// Calls that a fault was planned for, by fault.
    pub faults: BTreeMap<Fault, u64>,
    /// Calls being served.
    pub in_flight: u64,
    /// The most calls that were being served at once.
    pub peak_in_flight: u64,
    /// Distinct ids: the header `x-tidegate-id`, or else the body.
    pub distinct_ids: u64,
    /// How many ids arrived how often: `{"1": 998, "3": 2}`.
    pub ids_by_arrivals: BTreeMap<u32, u64>,
    /// Ids that got more than one good and whole reply.
    pub answered_more_than_once: u64,
    /// Calls whose id came after the bound on ids was reached.
    pub ids_not_counted: u64,
    /// Input tokens of good replies.
    pub input_tokens: u64,
    /// Output tokens of good replies.
    pub output_tokens: u64,
    /// Calls signed for AWS, by the region that they are signed for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub by_region: BTreeMap<String, u64>,
    /// Arrivals in each second since the first.
    pub arrivals_per_second: Vec<u64>,
}

/// How often one id arrived, and how often it was given a good and whole reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Arrivals.
    pub arrivals: u32,
    /// Good replies.
    pub answered: u32,
}

/// What a call leaves behind when it ends.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Receipt {
    pub(super) id: u64,
    pub(super) status: u16,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    /// Whether a client can use the reply: a 200 that nothing was done to.
    pub(super) good: bool,
    /// Whether all of it was delivered.
    pub(super) finished: bool,
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(super) struct Ledger {
    ids: HashMap<u64, Sent>,
    totals: Stats,
}

impl Ledger {
    /// Counts an arrival and returns how often its id had come before.
    ///
    /// Once `remember` ids are known, a new one gets the number of all arrivals instead, so that chance does not treat
    /// every sending of it alike.
    pub(super) fn arrive(&mut self, id: u64, second: u64, remember: usize) -> u32 {
        self.totals.arrivals += 1;
        self.count_second(second);
        let known = self.ids.len();
        match self.ids.get_mut(&id) {
            Some(sent) => {
                sent.arrivals = sent.arrivals.saturating_add(1);
                sent.arrivals - 1
            }
            None if known < remember => {
                self.ids.insert(id, Sent { arrivals: 1, answered: 0 });
                0
            }
            None => {
                self.totals.ids_not_counted += 1;
                self.totals.arrivals as u32
            }
        }
    }

    fn count_second(&mut self, second: u64) {
        let seconds = &mut self.totals.arrivals_per_second;
        let second = usize::try_from(second).unwrap_or(usize::MAX).min(LONGEST_SECONDS - 1);
        if seconds.len() <= second {
            seconds.resize(second + 1, 0);
        }
        seconds[second] += 1;
    }

    /// Counts an arrival in a region of AWS's.
    pub(super) fn arrive_in(&mut self, region: &str) {
        match self.totals.by_region.get_mut(region) {
            Some(count) => *count += 1,
            None => drop(self.totals.by_region.insert(region.to_owned(), 1)),
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        *self.totals.faults.entry(fault).or_default() += 1;
    }

    pub(super) fn enter(&mut self) {
        self.totals.in_flight += 1;
        self.totals.peak_in_flight = self.totals.peak_in_flight.max(self.totals.in_flight);
    }

    pub(super) fn exit(&mut self) {
        // A reset forgets the calls that are still being served.
        self.totals.in_flight = self.totals.in_flight.saturating_sub(1);
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.totals.in_flight
    }

    pub(super) fn settle(&mut self, receipt: &Receipt) {
        if !receipt.finished {
            self.totals.abandoned += 1;
            return;
        }
        self.totals.finished += 1;
        if receipt.status > 0 {
            *self.totals.by_status.entry(receipt.status).or_default() += 1;
        }
        if !receipt.good {
            return;
        }
        self.totals.input_tokens += receipt.input_tokens;
        self.totals.output_tokens += receipt.output_tokens;
        if let Some(sent) = self.ids.get_mut(&receipt.id) {
            sent.answered = sent.answered.saturating_add(1);
        }
    }

    pub(super) fn sent(&self, id: u64) -> Sent {
        self.ids.get(&id).copied().unwrap_or_default()
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = self.totals.clone();
        stats.distinct_ids = self.ids.len() as u64;
        for sent in self.ids.values() {
            *stats.ids_by_arrivals.entry(sent.arrivals).or_default() += 1;
            stats.answered_more_than_once += u64::from(sent.answered > 1);
        }
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_counted_up_to_the_bound() {
        let mut ledger = Ledger::default();
        let attempts = [1, 1, 2, 3].map(|id| ledger.arrive(id, 0, 2));
        assert_eq!(attempts[..3], [0, 1, 0]);
        let good = Receipt { id: 1, status: 200, good: true, finished: true, ..Receipt::default() };
        ledger.settle(&good);
        ledger.settle(&good);
        ledger.settle(&Receipt { id: 2, ..Receipt::default() });
        let stats = ledger.stats();
        assert_eq!((stats.arrivals, stats.distinct_ids, stats.ids_not_counted), (4, 2, 1));
        assert_eq!((stats.finished, stats.abandoned, stats.answered_more_than_once), (2, 1, 1));
        assert_eq!(stats.ids_by_arrivals, BTreeMap::from([(1, 1), (2, 1)]));
        assert_eq!(ledger.sent(1), Sent { arrivals: 2, answered: 2 });
    }

    #[test]
    fn seconds_do_not_grow_without_bound() {
        let mut ledger = Ledger::default();
        ledger.arrive(1, 2, 9);
        ledger.arrive(2, u64::MAX, 9);
        let seconds = ledger.stats().arrivals_per_second;
        assert_eq!((seconds.len(), seconds[2], seconds[LONGEST_SECONDS - 1]), (LONGEST_SECONDS, 1, 1));
    }
}
