//! Whether an endpoint works at all, so that a dead one neither swallows requests nor stays forgotten.
//!
//! # Why
//!
//! A dead endpoint fails quickly, so it always has room, and every policy that looks for room sends there: a black hole.
//! Each request would spend an attempt and a backoff on it.
//!
//! # States
//!
//! | state | sends | leaves when |
//! |---|---|---|
//! | working | everything | eight calls in a row fail, or four of five lately: put aside for 0.5 s |
//! | aside | nothing | the time is over |
//! | probing | one call every 4 s | one succeeds: working; one fails: aside for twice as long, 4 s at most |
//!
//! What counts is whether the endpoint did its work: a server error, a broken connection, no reply. A rejection for load is
//! a sign of life, and a refused request too. Calls that were sent before it was put aside say nothing about it afterwards.
//! Where no endpoint of a route is fit, health is ignored: there is nothing to lose, and requests must be able to fail. But
//! an endpoint where nobody is any more (a server that is started anew, a network that is gone) is waited for a while: it
//! cannot even be told what to refuse.
//!
//! # Considered and rejected
//!
//! A share of failures alone needs a window that is long enough to mean something and then too long to act; a row of
//! failures alone never notices an endpoint that answers now and then.

use std::time::Duration;

use tokio::time::Instant;

use crate::call::status::LONGEST_HINT;
use crate::failure::{Kind, Retry};

/// Failures in a row that put an endpoint aside.
const ROW: u32 = 8;
/// The weight of one call in the smoothed share of successes, the share that is too low, and the calls it takes to judge.
const RECENT: f64 = 0.05;
const TOO_LOW: f64 = 0.2;
const SAMPLE: u32 = 20;
/// How long an endpoint is put aside: at first, and at most.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(4);

/// How long an endpoint that has worked and cannot be reached is waited for: a server that is started anew, a network that
/// is gone. As long as a provider may ask for a pause.
const PATIENCE: Duration = LONGEST_HINT;

/// The health of one endpoint.
#[derive(Debug)]
pub(crate) struct Health {
    row: u32,
    calls: u32,
    share: f64,
    aside: Option<Aside>,
    /// When a call last showed that it works.
    worked: Option<Instant>,
    /// Whether nobody was there for the latest call.
    gone: bool,
}

#[derive(Debug)]
struct Aside {
    until: Instant,
    pause: Duration,
    /// When the latest probe was sent, while it is out.
    probe: Option<Instant>,
}

/// What a call has changed about an endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is put aside, for so long at first.
    Ejected(Duration),
    /// It works again.
    Readmitted,
}

impl Default for Health {
    fn default() -> Health {
        Health { row: 0, calls: 0, share: 1.0, aside: None, worked: None, gone: false }
    }
}

impl Health {
    /// Returns when the endpoint may be sent to, if not now.
    pub(crate) fn wait(&self, now: Instant) -> Option<Instant> {
        let aside = self.aside.as_ref()?;
        // A probe may hang: the endpoint is not to be forgotten over it.
        let at = aside.probe.map_or(aside.until, |sent| sent + LONGEST);
        Some(at).filter(|at| *at > now)
    }

    /// Returns whether nobody is there where somebody was at most [`PATIENCE`] ago, so that it is waited for.
    pub(crate) fn is_awaited(&self, now: Instant) -> bool {
        self.gone && self.worked.is_some_and(|worked| now.duration_since(worked) <= PATIENCE)
    }

    /// Notes that a call is sent, and returns whether it is a probe.
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        if let Some(aside) = &mut self.aside {
            aside.probe = Some(now);
        }
        self.aside.is_some()
    }

    /// Notes that a probe came to nothing: it was never sent, or nobody waited for it.
    pub(crate) fn withdraw(&mut self) {
        if let Some(aside) = &mut self.aside {
            aside.probe = None;
        }
    }

    /// Notes how a call ended; `probe` says whether it was one. Returns what that has changed.
    pub(crate) fn ended(&mut self, now: Instant, probe: bool, failure: Option<Kind>) -> Option<Verdict> {
        let worked = !failure.is_some_and(failed);
        self.gone = failure == Some(Kind::Connect);
        if worked {
            self.worked = Some(now);
        }
        match &mut self.aside {
            None => return self.count(now, worked),
            Some(_) if !probe => {}
            Some(_) if worked => {
                *self = Health { worked: self.worked, ..Health::default() };
                return Some(Verdict::Readmitted);
            }
            Some(aside) => {
                aside.pause = (aside.pause * 2).min(LONGEST);
                (aside.until, aside.probe) = (now + aside.pause, None);
            }
        }
        None
    }

    fn count(&mut self, now: Instant, worked: bool) -> Option<Verdict> {
        self.calls = self.calls.saturating_add(1);
        self.row = if worked { 0 } else { self.row + 1 };
        self.share += RECENT * (f64::from(u8::from(worked)) - self.share);
        if self.row < ROW && (self.share >= TOO_LOW || self.calls < SAMPLE) {
            return None;
        }
        self.aside = Some(Aside { until: now + FIRST, pause: FIRST, probe: None });
        Some(Verdict::Ejected(FIRST))
    }
}

/// Returns whether a failure says that the endpoint does not work: one that may be gone the next time, and is not for load.
fn failed(kind: Kind) -> bool {
    let advice = kind.advice();
    advice.retry == Retry::Here && !advice.slow_down
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const DEAD: Option<Kind> = Some(Kind::Connect);

    /// Returns the health of an endpoint that was put aside at `now`.
    fn aside(now: Instant) -> Health {
        let mut health = Health::default();
        let last = (0..ROW).map(|_| health.ended(now, false, DEAD)).last();
        assert_eq!(last, Some(Some(Verdict::Ejected(FIRST))));
        health
    }

    #[test]
    fn a_row_of_failures_puts_it_aside() {
        let start = Instant::now();
        let mut health = Health::default();
        for _ in 0..100 {
            (1..ROW).for_each(|_| _ = health.ended(start, false, Some(Kind::ServerError)));
            (0..4).for_each(|_| _ = health.ended(start, false, None));
        }
        assert_eq!(health.wait(start), None, "a third still works");
        assert_eq!(aside(start).wait(start), Some(start + FIRST));
    }

    #[test]
    fn so_does_a_low_share_of_successes() {
        let start = Instant::now();
        let mut health = Health::default();
        for _ in 0..30 {
            (1..ROW).for_each(|_| _ = health.ended(start, false, Some(Kind::Timeout)));
            health.ended(start, false, None);
        }
        assert!(health.wait(start).is_some());
    }

    #[test]
    fn rejections_and_bad_requests_are_signs_of_life() {
        let start = Instant::now();
        let mut health = Health::default();
        for kind in [Kind::RateLimited, Kind::Overloaded, Kind::BadRequest, Kind::TooLong, Kind::ContentFilter] {
            (0..50).for_each(|_| assert_eq!(health.ended(start, false, Some(kind)), None));
        }
        assert_eq!(health.wait(start), None);
    }

    #[test]
    fn one_probe_at_a_time_decides() {
        let start = Instant::now();
        let mut health = aside(start);
        let mut now = start + FIRST;
        for pause in [1000, 2000, 4000, 4000] {
            assert_eq!(health.wait(now), None);
            assert!(health.admit(now));
            assert_eq!(health.wait(now + MS), Some(now + LONGEST));
            health.ended(now + MS, true, DEAD);
            now += MS + pause * MS;
            assert_eq!(health.wait(now - MS), Some(now));
        }
        health.admit(now);
        assert_eq!(health.ended(now + MS, true, None), Some(Verdict::Readmitted));
        assert_eq!(health.wait(now + MS), None);
        assert!(!health.admit(now + MS));
    }

    #[test]
    fn calls_from_before_say_nothing_and_a_lost_probe_is_sent_again() {
        let start = Instant::now();
        let mut health = aside(start);
        health.ended(start + MS, false, None);
        assert_eq!(health.wait(start + MS), Some(start + FIRST));
        let now = start + FIRST;
        health.admit(now);
        health.withdraw();
        assert_eq!(health.wait(now), None);
    }
}
