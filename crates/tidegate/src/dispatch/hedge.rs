//! When a second copy of a slow request is worth its cost.
//!
//! # Why
//!
//! Some calls hang for ever and some take ten times as long as others. Nobody can tell one from the other by waiting, but
//! by the time nearly every call has been answered, a second copy costs little: of those that are left, most hang.
//!
//! # How
//!
//! For every endpoint it keeps how long calls took, and of those that were given up how long they had lasted: such a call
//! would have taken *longer* than that, and no more is known of it (it is *censored*). From both, the product-limit
//! estimate says which share of the calls lasts longer than any given time. It falls quickly and then stays level: at the
//! share of the calls that hang. The delay is where at most a quarter of the cap would still be answered within four times
//! the median, and three quarters of it ever: some calls take very much longer without hanging.
//!
//! | age of the latest copy | what happens |
//! |---|---|
//! | less than the delay | nothing |
//! | the delay | a copy is sent if quota is idle just then |
//! | twice the delay | it is taken for hung: a copy waits at the head of the queue, where the request's own place is |
//!
//! Two things hold back what the estimate gets wrong. Copies that turn out superfluous, because an older one answers first,
//! may be half of the cap in all. And where a whole provider stalls, it does not get everything twice: only so many copies
//! at a time.
//!
//! # Considered and rejected
//!
//! The quantile of the calls that were answered, without those that were given up: each copy that wins takes a slow call
//! out of the sample, so the quantile falls, so more calls are copied, without end. The quantile of all calls: with five
//! calls of a hundred hanging there is no 98th percentile. Giving up the slow call for its copy: a long answer would never
//! be finished.

use std::time::Duration;

use tokio::time::Instant;

/// Copies of one request beside the first.
pub(crate) const COPIES: usize = 3;
/// Answers it takes to know what is usual.
const SAMPLE: u32 = 20;
/// Observations after which their weight is halved.
const MEMORY: u32 = 2000;
/// Superfluous copies that cost nothing, so that a short run can be hedged too.
const FREE: f64 = 3.0;
/// Copies that may be under way whatever else is.
const AT_ONCE: usize = 8;
/// How soon a call is looked at while nothing is known, and after a refusal.
const SOON: Duration = Duration::from_millis(100);

/// What is known of every endpoint's calls, and what copies have cost.
#[derive(Debug)]
pub(crate) struct Hedges {
    endpoints: Vec<Durations>,
    /// Calls that were not copies.
    calls: f64,
    /// Copies that an older call outran.
    superfluous: f64,
    /// Requests under way, and copies among their calls.
    requests: usize,
    copies: usize,
}

/// What to do about a call that is still under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Ask again then.
    Wait(Instant),
    /// Send a copy if quota is idle; otherwise ask again then.
    IfIdle(Instant),
    /// Queue for a copy.
    Replace,
}

impl Hedges {
    pub(crate) fn new(endpoints: usize) -> Hedges {
        Hedges {
            endpoints: vec![Durations::default(); endpoints],
            calls: 0.0,
            superfluous: 0.0,
            requests: 0,
            copies: 0,
        }
    }

    /// Notes that a request is sent for the first time.
    pub(crate) fn began(&mut self) {
        self.calls += 1.0;
        self.requests += 1;
    }

    /// Notes that a copy is sent.
    pub(crate) fn copied(&mut self) {
        self.copies += 1;
    }

    /// Notes that a request is answered or given up, of which that many copies were sent.
    pub(crate) fn ended(&mut self, copies: usize) {
        self.requests -= 1;
        self.copies -= copies;
    }

    /// Notes that copies were outrun by an older call.
    pub(crate) fn outran(&mut self, copies: usize) {
        self.superfluous += copies as f64;
    }

    /// Notes an answer.
    pub(crate) fn answered(&mut self, place: usize, took: Duration) {
        self.endpoints[place].note(took, true);
    }

    /// Notes a call that had lasted that long when nobody waited for it any more.
    pub(crate) fn given_up(&mut self, place: usize, lasted: Duration) {
        self.endpoints[place].note(lasted, false);
    }

    /// Says what to do about a call to an endpoint, of which `cap` is the share of extra calls that is allowed: 0.02.
    pub(crate) fn advise(&mut self, now: Instant, place: usize, sent: Instant, cap: f64) -> Advice {
        let age = now - sent;
        let Some(delay) = self.endpoints[place].delay(cap) else {
            return Advice::Wait(now + SOON.max(age / 4));
        };
        if age < delay {
            return Advice::Wait(sent + delay);
        }
        if !self.allows(cap) {
            return Advice::Wait(now + SOON.max(delay / 2));
        }
        if age < delay * 2 { Advice::IfIdle(sent + delay * 2) } else { Advice::Replace }
    }

    fn allows(&self, cap: f64) -> bool {
        self.superfluous < FREE + self.calls * cap / 2.0 && self.copies < AT_ONCE + self.requests / 4
    }
}

/// Bins per doubling, and bins in all: from a millisecond to several hours.
const FINE: f64 = 8.0;
const BINS: usize = 200;
/// Bins from a time to four times as much.
const NEAR: usize = 16;

/// How long the calls of one endpoint took.
#[derive(Debug, Clone)]
struct Durations {
    /// Answers, and calls given up, by duration.
    bins: Vec<(u32, u32)>,
    answers: u32,
    total: u32,
    /// The latest delay, by the cap it was found for.
    known: Option<(f64, Duration)>,
}

impl Default for Durations {
    fn default() -> Durations {
        Durations { bins: vec![(0, 0); BINS], answers: 0, total: 0, known: None }
    }
}

impl Durations {
    fn note(&mut self, took: Duration, answered: bool) {
        let bin = &mut self.bins[bin(took)];
        *(if answered { &mut bin.0 } else { &mut bin.1 }) += 1;
        self.answers += u32::from(answered);
        self.total += 1;
        if self.total >= MEMORY {
            self.forget();
        }
        // Some observations more or less make no difference, but walking through the bins for each would be felt.
        if self.total < 8 * SAMPLE || self.total.is_multiple_of(SAMPLE) {
            self.known = None;
        }
    }

    fn forget(&mut self) {
        self.bins.iter_mut().for_each(|(answered, given_up)| (*answered, *given_up) = (*answered / 2, *given_up / 2));
        self.answers = self.bins.iter().map(|bin| bin.0).sum();
        self.total = self.answers + self.bins.iter().map(|bin| bin.1).sum::<u32>();
    }

    /// Returns the time after which so few calls are still to be answered that copies of them keep within the cap.
    fn delay(&mut self, cap: f64) -> Option<Duration> {
        if self.answers < SAMPLE {
            return None;
        }
        if let Some((_, delay)) = self.known.filter(|(of, _)| *of == cap) {
            return Some(delay);
        }
        let delay = self.estimate(cap);
        self.known = Some((cap, delay));
        Some(delay)
    }

    fn estimate(&self, cap: f64) -> Duration {
        let curve = self.lasting(cap / 4.0);
        let hung = curve.last().copied().unwrap_or(1.0);
        let median = curve.iter().position(|share| *share <= f64::midpoint(1.0, hung)).unwrap_or_default();
        let near = curve.get(median + NEAR).copied().unwrap_or(hung);
        let few = |share: &f64| *share <= near + cap / 4.0 && *share <= hung + 0.75 * cap;
        let delay = curve.iter().position(few).unwrap_or(BINS - 1);
        Duration::from_secs_f64(2_f64.powf((delay + 1) as f64 / FINE) / 1e3)
    }

    /// Returns the share of the calls that lasts longer than each bin, as far as more than `thin` of them are seen to:
    /// where fewer are left, the estimate is chance, and what lasts so long counts as hung.
    fn lasting(&self, thin: f64) -> Vec<f64> {
        let (mut share, mut left) = (1.0, self.total);
        let mut curve = Vec::with_capacity(BINS);
        for &(answered, given_up) in &self.bins {
            if f64::from(left) <= thin * f64::from(self.total) {
                break;
            }
            share *= 1.0 - f64::from(answered) / f64::from(left);
            left -= answered + given_up;
            curve.push(share);
        }
        curve
    }
}

fn bin(took: Duration) -> usize {
    (((took.as_secs_f64() * 1e3).max(1.0).log2() * FINE) as usize).min(BINS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const CAP: f64 = 0.02;

    /// Returns how long a call takes: near a second, one of a hundred ten times as long.
    fn call(rng: &mut fastrand::Rng) -> Duration {
        let normal = (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
        let seconds = if rng.f64() < 0.01 { 10.0 } else { (0.3 * normal).exp() };
        Duration::from_secs_f64(seconds)
    }

    fn delay(hedges: &mut Hedges) -> Duration {
        hedges.endpoints[0].delay(CAP).unwrap()
    }

    #[test]
    fn a_duration_longer_than_all_bins_is_in_the_last() {
        assert_eq!((bin(Duration::ZERO), bin(MS), bin(Duration::from_secs(1 << 40))), (0, 0, BINS - 1));
    }

    #[test]
    fn nothing_is_copied_before_it_is_known_what_is_usual() {
        let (mut hedges, now) = (Hedges::new(1), Instant::now());
        (1..SAMPLE).for_each(|_| hedges.answered(0, 1000 * MS));
        assert_eq!(hedges.advise(now + 1000 * MS, 0, now, CAP), Advice::Wait(now + 1250 * MS));
        hedges.answered(0, 1000 * MS);
        assert!(matches!(hedges.advise(now + 1000 * MS, 0, now, CAP), Advice::Wait(at) if at < now + 1200 * MS));
        assert!(matches!(hedges.advise(now + 1500 * MS, 0, now, CAP), Advice::IfIdle(_)));
        assert_eq!(hedges.advise(now + 3000 * MS, 0, now, CAP), Advice::Replace);
    }

    #[test]
    fn the_delay_stays_where_the_calls_end_although_copies_cut_the_tail_off() {
        let mut rng = fastrand::Rng::with_seed(5);
        for hung in [0.0, 0.05, 0.2] {
            let mut hedges = Hedges::new(1);
            let mut extra = 0;
            (0..SAMPLE).for_each(|_| hedges.answered(0, call(&mut rng)));
            for _ in 0..20_000 {
                let took = if rng.f64() < hung { Duration::MAX } else { call(&mut rng) };
                let (at, copy) = (delay(&mut hedges), call(&mut rng));
                if took <= at.saturating_add(copy) {
                    hedges.answered(0, took);
                } else {
                    hedges.given_up(0, at + copy);
                    hedges.answered(0, copy);
                }
                extra += u32::from(took > at && took != Duration::MAX);
            }
            let share = f64::from(extra) / 20_000.0;
            assert!((1900 * MS..2800 * MS).contains(&delay(&mut hedges)), "{hung}: {:?}", delay(&mut hedges));
            assert!(share <= CAP, "{hung}: {share}");
        }
    }

    #[test]
    fn it_follows_a_server_that_gets_slower() {
        let mut hedges = Hedges::new(1);
        (0..1000).for_each(|_| hedges.answered(0, 1000 * MS));
        (0..2 * MEMORY).for_each(|_| hedges.answered(0, 3000 * MS));
        assert!(delay(&mut hedges) > 3000 * MS);
    }

    #[test]
    fn superfluous_copies_are_limited_and_so_are_those_of_a_stalled_provider() {
        let (mut hedges, now) = (Hedges::new(1), Instant::now());
        for _ in 0..100 {
            hedges.began();
            hedges.answered(0, 1000 * MS);
        }
        let later = now + 1500 * MS;
        let mut copies = 0;
        while matches!(hedges.advise(later, 0, now, CAP), Advice::IfIdle(_)) {
            hedges.copied();
            copies += 1;
        }
        assert_eq!(copies, AT_ONCE + 100 / 4);
        hedges.ended(copies);
        hedges.outran(4);
        assert!(matches!(hedges.advise(later, 0, now, CAP), Advice::Wait(_)), "3 + 1 % of 100");
    }
}
