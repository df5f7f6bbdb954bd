//! What keeps a run from going faster just now, in words.

use std::fmt;
use std::time::Duration;

use tidegate::run::job::MOST_PENDING;
use tidegate::run::progress::Numbers;
use tidegate::{Limit, Snapshot};

use crate::format;

/// Bytes that wait to be stored from which the disk, and not a provider, sets the pace: the run stops taking answers at
/// twice as many.
const DISK_IS_BEHIND: u64 = MOST_PENDING / 2;

/// What keeps a run from going faster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bottleneck {
    /// The user has asked it to stop.
    Stopping,
    /// Answers come faster than they are stored.
    Disk,
    /// A rate that was stated or learned.
    Rate(&'static str),
    /// The user has paused it.
    Paused,
    /// So many requests may be in flight, and are.
    Concurrency(usize),
    /// Every endpoint that could serve pauses, the first of them for that long yet.
    Pause(Duration),
    /// There are no requests to send yet.
    Input,
    /// All requests are sent: the answers take their time.
    Latency,
    /// Nothing is in flight, but some rows will be tried again.
    Backoff,
    /// A limit that this program has no words for.
    Other,
}

impl Bottleneck {
    /// Finds what limits the speed.
    pub(crate) fn of(numbers: &Numbers, snapshot: &Snapshot) -> Bottleneck {
        let in_flight = in_flight(snapshot);
        if numbers.unstored >= DISK_IS_BEHIND {
            return Bottleneck::Disk;
        }
        match snapshot.limited_by.filter(|_| snapshot.waiting > 0) {
            Some(Limit::Requests) => Bottleneck::Rate("requests per minute"),
            Some(Limit::RequestsPerSecond) => Bottleneck::Rate("requests per second"),
            Some(Limit::RequestsPerHour) => Bottleneck::Rate("requests per hour"),
            Some(Limit::RequestsPerDay) => Bottleneck::Rate("requests per day"),
            Some(Limit::Tokens) => Bottleneck::Rate("tokens per minute"),
            Some(Limit::TokensPerSecond) => Bottleneck::Rate("tokens per second"),
            Some(Limit::TokensPerDay) => Bottleneck::Rate("tokens per hour or day"),
            Some(Limit::InputTokens) => Bottleneck::Rate("input tokens per minute"),
            Some(Limit::OutputTokens) => Bottleneck::Rate("output tokens per minute"),
            Some(Limit::Told) => Bottleneck::Rate("what the provider says is left"),
            Some(Limit::Learned) => Bottleneck::Rate("the rate learned from rejections"),
            Some(Limit::Spacing) => Bottleneck::Rate("spacing"),
            Some(Limit::Paused) => Bottleneck::Paused,
            Some(Limit::Concurrency) => Bottleneck::Concurrency(in_flight),
            Some(Limit::Cooldown) => Bottleneck::Pause(shortest_pause(snapshot)),
            Some(_) => Bottleneck::Other,
            None if !numbers.read_all && snapshot.waiting == 0 => Bottleneck::Input,
            None if in_flight == 0 && unfinished(numbers) > 0 => Bottleneck::Backoff,
            None => Bottleneck::Latency,
        }
    }
}

fn unfinished(numbers: &Numbers) -> u64 {
    numbers.wanted.saturating_sub(numbers.done_before + numbers.succeeded + numbers.failed)
}

/// Returns how many requests are in flight at all endpoints together.
pub(crate) fn in_flight(snapshot: &Snapshot) -> usize {
    snapshot.endpoints.iter().map(|endpoint| endpoint.in_flight).sum()
}

fn shortest_pause(snapshot: &Snapshot) -> Duration {
    let serving = snapshot.endpoints.iter().filter(|endpoint| endpoint.aside.is_none());
    serving.filter_map(|endpoint| endpoint.cooling).min().unwrap_or_default()
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bottleneck::Stopping => f.write_str("stopping"),
            Bottleneck::Disk => f.write_str("disk"),
            Bottleneck::Rate(limit) => f.write_str(limit),
            Bottleneck::Paused => f.write_str("paused"),
            Bottleneck::Concurrency(most) => write!(f, "concurrency ({})", format::count(*most as u64)),
            Bottleneck::Pause(rest) => write!(f, "pausing {}", format::countdown(*rest)),
            Bottleneck::Input => f.write_str("reading the input"),
            Bottleneck::Latency => f.write_str("latency"),
            Bottleneck::Backoff => f.write_str("waiting to try again"),
            Bottleneck::Other => f.write_str("the provider's limits"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::testing::{endpoint, snapshot};

    /// Returns the words for a run that has sent 10 of the 100 rows read so far.
    fn words(change: impl FnOnce(&mut Numbers, &mut Snapshot)) -> String {
        let mut numbers = Numbers::default();
        (numbers.read, numbers.wanted) = (100, 100);
        let mut snapshot = snapshot(vec![endpoint("m", 64)]);
        change(&mut numbers, &mut snapshot);
        Bottleneck::of(&numbers, &snapshot).to_string()
    }

    fn waiting_for(limit: Limit) -> String {
        words(|_, snapshot| (snapshot.waiting, snapshot.limited_by) = (36, Some(limit)))
    }

    #[test]
    fn what_the_first_waiter_waits_for_is_the_limit() {
        assert_eq!(waiting_for(Limit::Requests), "requests per minute");
        assert_eq!(waiting_for(Limit::RequestsPerSecond), "requests per second");
        assert_eq!(waiting_for(Limit::Learned), "the rate learned from rejections");
        assert_eq!(waiting_for(Limit::Tokens), "tokens per minute");
        assert_eq!(waiting_for(Limit::Concurrency), "concurrency (64)");
    }

    #[test]
    fn a_pause_is_counted_down_to_the_first_endpoint_that_serves_again() {
        let text = words(|_, snapshot| {
            let mut soon = endpoint("n", 0);
            soon.cooling = Some(Duration::from_millis(2100));
            snapshot.endpoints[0].cooling = Some(Duration::from_secs(9));
            snapshot.endpoints.push(soon);
            (snapshot.waiting, snapshot.limited_by) = (1, Some(Limit::Cooldown));
        });
        assert_eq!(text, "pausing 3s");
    }

    #[test]
    fn without_waiters_it_is_the_input_then_the_answers_then_the_retries() {
        assert_eq!(words(|_, _| {}), "reading the input");
        assert_eq!(words(|numbers, _| numbers.read_all = true), "latency");
        let retries = words(|numbers, snapshot| {
            numbers.read_all = true;
            snapshot.endpoints[0].in_flight = 0;
        });
        assert_eq!(retries, "waiting to try again");
    }

    #[test]
    fn a_disk_that_is_behind_outranks_everything() {
        let text = words(|numbers, snapshot| {
            numbers.unstored = MOST_PENDING * 3 / 4;
            (snapshot.waiting, snapshot.limited_by) = (36, Some(Limit::Requests));
        });
        assert_eq!(text, "disk");
    }
}
