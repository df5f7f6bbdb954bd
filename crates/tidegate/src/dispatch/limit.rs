//! The parts of every limit: the answer it gives, what a request costs, and the bucket that paces.
//!
//! A [`Bucket`] is the smooth kind: it refills continuously, so that in any interval t no more than `rate x t + burst` is
//! dispatched, measured at our send time. The burst is deliberately small (100 ms of rate): a provider that counts in
//! short slices never sees a minute's worth at once, and nothing is lost by it, because work is waiting all the time.
//! A cost larger than the burst is let through when the bucket is full and leaves it in debt.

use std::time::Duration;

use tokio::time::Instant;

use crate::call::limits::Counted;
use crate::limits::Limit;

/// Whether a request may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// At once.
    Now,
    /// Not before that moment.
    At(Instant, Limit),
    /// When another request has ended: no clock can tell.
    Later(Limit),
    /// Not in this run.
    Never,
}

impl Ready {
    /// Returns the answer that holds for both: the later one.
    pub(crate) fn and(self, other: Ready) -> Ready {
        match (self, other) {
            (Ready::Never, _) | (_, Ready::Never) => Ready::Never,
            (Ready::Later(limit), _) | (_, Ready::Later(limit)) => Ready::Later(limit),
            (Ready::At(a, _), Ready::At(b, limit)) if b > a => Ready::At(b, limit),
            (Ready::At(a, limit), _) | (_, Ready::At(a, limit)) => Ready::At(a, limit),
            (Ready::Now, Ready::Now) => Ready::Now,
        }
    }

    /// Returns the answer that holds for either: the sooner one.
    pub(crate) fn or(self, other: Ready) -> Ready {
        match (self, other) {
            (Ready::Now, _) | (_, Ready::Now) => Ready::Now,
            (Ready::At(a, limit), Ready::At(b, _)) if a <= b => Ready::At(a, limit),
            (_, Ready::At(a, limit)) | (Ready::At(a, limit), _) => Ready::At(a, limit),
            (Ready::Later(limit), _) | (_, Ready::Later(limit)) => Ready::Later(limit),
            (Ready::Never, Ready::Never) => Ready::Never,
        }
    }
}

/// A pause of an endpoint that is over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pause {
    /// When it began.
    pub(crate) began: Instant,
    /// When it ended.
    pub(crate) until: Instant,
    /// Whether nothing has been sent there since.
    pub(crate) fresh: bool,
}

/// What one request takes from the buckets, estimated.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cost {
    /// Input tokens.
    pub(crate) input: f64,
    /// Output tokens.
    pub(crate) output: f64,
    /// What had been sent to the endpoint in all when the request was admitted, itself included.
    pub(crate) mark: Taken,
    /// The requests in flight at the endpoint when it was admitted, itself included.
    pub(crate) in_flight: usize,
    /// Whether the call probes an endpoint that did not work.
    pub(crate) probe: bool,
    /// The endpoint's last pause before the request was admitted.
    pub(crate) paused: Option<Pause>,
}

impl Cost {
    /// Returns everything that the request takes.
    pub(crate) fn all(&self) -> Taken {
        Taken { requests: 1.0, input: self.input, output: self.output }
    }

    /// Returns how much of what is counted the request takes.
    pub(crate) fn of(&self, counted: Counted) -> f64 {
        self.all().of(counted)
    }
}

/// What was taken in all.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Taken {
    pub(crate) requests: f64,
    pub(crate) input: f64,
    pub(crate) output: f64,
}

impl Taken {
    /// Returns how much of what is counted was taken.
    pub(crate) fn of(&self, counted: Counted) -> f64 {
        match counted {
            Counted::Requests => self.requests,
            Counted::Tokens => self.input + self.output,
            Counted::InputTokens => self.input,
            Counted::OutputTokens => self.output,
        }
    }

    pub(crate) fn add(&mut self, requests: f64, input: f64, output: f64) {
        self.requests += requests;
        self.input += input;
        self.output += output;
    }
}

/// A bucket that refills continuously.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// Units per second.
    rate: f64,
    /// The most that can be saved up.
    burst: f64,
    /// What is left; negative while in debt.
    level: f64,
    /// When `level` was true.
    at: Instant,
    limit: Limit,
}

impl Bucket {
    /// Makes a full bucket of `rate` units a second that holds `burst`, at least one; 100 ms of rate if it is not said.
    pub(crate) fn new(rate: f64, burst: Option<f64>, limit: Limit, now: Instant) -> Bucket {
        let burst = burst.unwrap_or(rate * 0.1).max(1.0);
        Bucket { rate, burst, level: burst, at: now, limit }
    }

    /// Makes a full bucket of `per_minute` units.
    pub(crate) fn per_minute(per_minute: f64, limit: Limit, now: Instant) -> Bucket {
        Bucket::new(per_minute / 60.0, None, limit, now)
    }

    /// Goes on where another bucket was: what was used up there is not there here either.
    pub(crate) fn inherit(&mut self, old: &Bucket, now: Instant) {
        if old.rate.is_finite() {
            self.level = old.level_at(now).min(self.burst);
            self.at = self.at.max(old.at);
        }
    }

    /// Returns when `cost` units may be taken.
    pub(crate) fn ready(&self, now: Instant, cost: f64) -> Ready {
        if self.rate.is_infinite() {
            return Ready::Now;
        }
        let missing = cost.min(self.burst) - self.level_at(now);
        // A rounding error of the clock must not send the caller to sleep for nothing.
        if missing <= 1e-9 * self.burst {
            return Ready::Now;
        }
        let wait = Duration::from_secs_f64((missing / self.rate).min(1e6)).max(Duration::from_micros(1));
        Ready::At(now.max(self.at) + wait, self.limit)
    }

    /// Returns the answer "not before", for this bucket's limit.
    pub(crate) fn at(&self, at: Instant) -> Ready {
        Ready::At(at, self.limit)
    }

    /// Changes the rate, in units per second; an infinite one lets everything through.
    pub(crate) fn set_rate(&mut self, now: Instant, rate: f64) {
        self.level = self.level_at(now);
        self.at = self.at.max(now);
        self.rate = rate;
        self.burst = (rate * 0.1).max(1.0);
        self.level = self.level.min(self.burst);
    }

    /// Empties the bucket; it begins to fill at that moment.
    pub(crate) fn empty_until(&mut self, at: Instant) {
        self.level = self.level.min(0.0);
        self.at = at;
    }

    /// Takes `cost` units, whether or not they are there.
    pub(crate) fn take(&mut self, now: Instant, cost: f64) {
        self.level = self.level_at(now) - cost;
        self.at = self.at.max(now);
    }

    /// Puts units back that were taken but not used; negative ones are taken.
    pub(crate) fn give_back(&mut self, now: Instant, units: f64) {
        self.level = (self.level_at(now) + units).min(self.burst);
        self.at = self.at.max(now);
    }

    fn level_at(&self, now: Instant) -> f64 {
        if self.rate.is_infinite() {
            return 0.0;
        }
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.level + passed * self.rate).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_bucket_paces_after_its_burst() {
        let start = Instant::now();
        let mut bucket = Bucket::per_minute(600.0, Limit::Requests, start);
        assert_eq!(bucket.ready(start, 1.0), Ready::Now);
        bucket.take(start, 1.0);
        assert_eq!(bucket.ready(start, 1.0), Ready::At(start + 100 * MS, Limit::Requests));
        assert_eq!(bucket.ready(start + 100 * MS, 1.0), Ready::Now);
    }

    #[test]
    fn a_cost_above_the_burst_goes_into_debt_and_is_paid_off() {
        let start = Instant::now();
        let mut bucket = Bucket::per_minute(60_000.0, Limit::Tokens, start);
        assert_eq!(bucket.ready(start, 5000.0), Ready::Now);
        bucket.take(start, 5000.0);
        assert_eq!(bucket.ready(start, 100.0), Ready::At(start + 5000 * MS, Limit::Tokens));
        bucket.give_back(start, 4000.0);
        assert_eq!(bucket.ready(start, 100.0), Ready::At(start + 1000 * MS, Limit::Tokens));
    }

    #[test]
    fn and_is_the_later_or_the_sooner() {
        let now = Instant::now();
        let at = |ms| Ready::At(now + ms * MS, Limit::Requests);
        assert_eq!(at(1).and(at(2)), at(2));
        assert_eq!(at(1).or(at(2)), at(1));
        assert_eq!(at(2).or(at(1)), at(1));
        assert_eq!(Ready::Now.and(at(1)), at(1));
        assert_eq!(Ready::Never.or(Ready::Later(Limit::Concurrency)), Ready::Later(Limit::Concurrency));
        assert_eq!(at(1).and(Ready::Never), Ready::Never);
    }

    proptest! {
        #[test]
        fn never_more_than_rate_times_t_plus_burst(
            per_minute in 1.0f64..100_000.0,
            steps in proptest::collection::vec((0u64..5000, 1.0f64..50.0), 1..200),
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::per_minute(per_minute, Limit::Tokens, start);
            let (rate, burst) = (bucket.rate, bucket.burst);
            let (mut now, mut sent) = (start, Vec::new());
            for (wait, cost) in steps {
                now += Duration::from_millis(wait);
                let cost = cost.min(burst);
                if bucket.ready(now, cost) == Ready::Now {
                    bucket.take(now, cost);
                    sent.push((now, cost));
                }
            }
            for (i, (from, _)) in sent.iter().enumerate() {
                let mut total = 0.0;
                for (at, cost) in &sent[i..] {
                    total += cost;
                    let allowed = rate * at.duration_since(*from).as_secs_f64() + burst;
                    prop_assert!(total <= allowed * (1.0 + 1e-6) + 1e-6, "{total} > {allowed}");
                }
            }
        }
    }
}
