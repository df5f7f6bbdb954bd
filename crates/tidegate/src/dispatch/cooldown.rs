//! The shared pause of an endpoint that asked for less load.
//!
//! | event | what happens |
//! |---|---|
//! | a rejection of a call sent after the last pause began | a pause starts: the hint, or else a backoff that doubles |
//! | a rejection of a call sent before it began | joins the pause: a longer hint lengthens it, nothing escalates |
//! | a second pause in a row ends | one call probes; the others follow when it has been answered, or not rejected for a second |
//! | more pauses in a row than three | what was asked for is only the least: the backoff doubles all the same |
//! | a success of a call sent after the pause ended | the backoff starts from the beginning again |
//!
//! [`Pacing`] may ask for more patience: a longer first pause, requests one by one behind it (each waits for the delay of
//! the one before), and a number in flight that is raised step by step from the endpoint's first request on.
//!
//! Everyone waits for the same end, retries included, so a limited endpoint is not hammered by each caller in turn.

use std::time::Duration;

use tokio::time::Instant;

use crate::call::status::LONGEST_HINT;
use crate::dispatch::limit::Pause;
use crate::limits::Pacing;

/// The pause after the first rejection without a hint.
const FIRST: Duration = Duration::from_millis(500);
/// The shortest pause without a hint.
const SHORTEST: Duration = Duration::from_millis(20);
/// Rejections in a row after which a hint is only the least.
const OBEDIENT: u32 = 3;
/// How long others wait for what becomes of a probe; rejections are quick, answers need not be.
const GRACE: Duration = Duration::from_secs(1);

/// The longest time that any setting can mean: what is longer is a slip of the unit.
const FOREVER: Duration = Duration::from_secs(30 * 24 * 3600);

/// The pauses of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Cooldown {
    pacing: Pacing,
    began: Option<Instant>,
    until: Option<Instant>,
    /// Whether the provider or the user asked for a pause of that length.
    asked: bool,
    streak: u32,
    /// When the first call after the pause was sent.
    probe: Option<Instant>,
    /// How many calls have been sent since the pause, and when the next one may be: for the slow start.
    followed: u32,
    next: Option<Instant>,
    /// When the first call of all was sent.
    started: Option<Instant>,
}

impl Cooldown {
    pub(crate) fn new(pacing: Pacing) -> Cooldown {
        Cooldown { pacing, ..Cooldown::default() }
    }

    /// Returns the end of the pause, if one is on.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        let probe = self.probe.filter(|_| self.streak > 1).map(|sent| sent + GRACE);
        probe.or(self.until).max(self.next).filter(|until| *until > now)
    }

    /// Returns when one more call may be in flight, if the ramp at the start allows no more than `in_flight` yet.
    pub(crate) fn ramp(&self, now: Instant, in_flight: usize) -> Option<Instant> {
        let ramp = self.pacing.ramp.filter(|ramp| !ramp.every.is_zero())?;
        let (started, every) = (self.started?, ramp.every.min(FOREVER));
        let steps = (now.duration_since(started).as_secs_f64() / every.as_secs_f64()).floor();
        let most = f64::from(ramp.from.max(1)) + steps * f64::from(ramp.step);
        (in_flight as f64 >= most).then(|| started + every.mul_f64((steps + 1.0).min(1e6)))
    }

    /// Returns the last pause; to be asked before a call after it is [admitted](Cooldown::admit).
    pub(crate) fn last(&self) -> Option<Pause> {
        Some(Pause { began: self.began?, until: self.until?, fresh: self.probe.is_none() })
    }

    /// Notes that a call is sent: after several pauses in a row, the first one is a probe that the others wait for.
    pub(crate) fn admit(&mut self, now: Instant) {
        self.started.get_or_insert(now);
        self.probe.get_or_insert(now);
        let Some(slow) = self.pacing.slow_start.filter(|slow| self.began.is_some() && self.followed < slow.requests)
        else {
            return;
        };
        let done = f64::from(self.followed) / f64::from(slow.requests);
        let (first, last) = (slow.first.min(FOREVER).as_secs_f64(), slow.last.min(FOREVER).as_secs_f64());
        self.next = Some(now + Duration::from_secs_f64(first + (last - first) * done));
        self.followed += 1;
    }

    /// Notes a rejection of a call sent at `sent`. Returns the pause's length if a new one starts.
    ///
    /// `usual` is the first pause without a hint, if something better than half a second is known: at 50 calls a second,
    /// 40 ms are enough to see whether quota has come back. `jitter` between 0 and 1 keeps many clients of one key from returning together.
    pub(crate) fn rejected(
        &mut self,
        now: Instant,
        sent: Instant,
        hint: Option<Duration>,
        usual: Option<Duration>,
        jitter: f64,
    ) -> Option<Duration> {
        if self.began.is_some_and(|began| sent <= began) {
            if let (Some(hint), Some(until)) = (hint, self.until) {
                self.until = Some(until.max(sent + hint.min(LONGEST_HINT)));
                self.asked = true;
            }
            return None;
        }
        let hint = hint.map(|hint| hint.min(LONGEST_HINT));
        let asked = match (hint, self.pacing.first_pause) {
            (hint, Some(first)) => Some(self.grown(first).max(hint.unwrap_or_default())),
            // Rejected again and again in spite of what was asked: that was too little, and where rejected calls count, too, it
            // would go on for ever.
            (Some(hint), None) if self.streak >= OBEDIENT => Some(hint.max(self.grown(SHORTEST))),
            (hint, None) => hint,
        };
        let pause = match asked {
            // A little more than asked, so that clocks that disagree do not cost a second rejection.
            Some(asked) => asked + asked.mul_f64(0.05 * jitter),
            None => self.grown(usual.map_or(FIRST, |usual| usual.clamp(SHORTEST, FIRST))).mul_f64(0.5 + 0.5 * jitter),
        };
        (self.streak, self.asked) = (self.streak + 1, asked.is_some());
        self.began = Some(now);
        (self.probe, self.next, self.followed) = (None, None, 0);
        self.until = Some(now + pause);
        Some(pause)
    }

    /// Ends the first pause of a row, for which there was no reason, unless somebody asked for it. Returns what was left of it.
    pub(crate) fn lift(&mut self, now: Instant) -> Duration {
        let Some(until) = self.until.filter(|until| *until > now && self.streak == 1 && !self.asked) else {
            return Duration::ZERO;
        };
        (self.until, self.streak) = (Some(now), 0);
        until - now
    }

    /// Returns the present pause of a row that began with `first`.
    fn grown(&self, first: Duration) -> Duration {
        let factor = self.pacing.multiplier.max(1.0).powi(self.streak.min(1000) as i32);
        let longest = self.pacing.longest_pause.max(first).min(FOREVER).as_secs_f64();
        Duration::from_secs_f64((first.as_secs_f64() * factor).min(longest))
    }

    /// Notes a success of a call sent at `sent`.
    pub(crate) fn succeeded(&mut self, sent: Instant) {
        if self.until.is_none_or(|until| sent >= until) {
            self.streak = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Ramp, SlowStart};
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_late_rejection_from_before_the_pause_starts_no_second_one() {
        let start = Instant::now();
        let mut cooldown = Cooldown::default();
        assert_eq!(cooldown.rejected(start + S, start, Some(3 * S), None, 0.0), Some(3 * S));
        assert_eq!(cooldown.rejected(start + 2 * S, start, None, None, 0.0), None);
        assert_eq!(cooldown.until(start + 2 * S), Some(start + 4 * S));
        assert_eq!(cooldown.rejected(start + 9 * S, start + S, None, None, 0.0), None);
        assert_eq!(cooldown.until(start + 9 * S), None);
    }

    #[test]
    fn a_longer_hint_lengthens_the_pause_it_joins() {
        let start = Instant::now();
        let mut cooldown = Cooldown::default();
        cooldown.rejected(start + S, start, Some(S), None, 0.0);
        cooldown.rejected(start + S, start, Some(7 * S), None, 0.0);
        assert_eq!(cooldown.until(start + S), Some(start + 7 * S));
    }

    #[test]
    fn a_hint_that_does_not_help_is_only_the_least() {
        let (start, mut cooldown) = (Instant::now(), Cooldown::default());
        let ask = Some(Duration::from_millis(10));
        let pauses: Vec<_> =
            (0..12).filter_map(|i| cooldown.rejected(start + i * S, start + i * S, ask, None, 0.0)).collect();
        assert!(pauses[..3].iter().all(|pause| Some(*pause) == ask), "{pauses:?}");
        assert_eq!((pauses[3], pauses[11]), (Duration::from_millis(160), 8 * S));
    }

    #[test]
    fn it_escalates_until_a_success_that_began_afterwards() {
        let start = Instant::now();
        let mut cooldown = Cooldown::default();
        let first = cooldown.rejected(start, start, None, None, 1.0);
        let second = cooldown.rejected(start + S, start + S, None, None, 1.0);
        assert_eq!((first, second), (Some(FIRST), Some(2 * FIRST)));
        cooldown.succeeded(start);
        assert_eq!(cooldown.rejected(start + 5 * S, start + 4 * S, None, None, 1.0), Some(4 * FIRST));
        cooldown.succeeded(start + 20 * S);
        assert_eq!(cooldown.rejected(start + 30 * S, start + 30 * S, None, None, 1.0), Some(FIRST));
    }

    #[test]
    fn after_two_pauses_in_a_row_one_call_probes() {
        let start = Instant::now();
        let mut cooldown = Cooldown::default();
        cooldown.rejected(start, start, None, None, 1.0);
        cooldown.admit(start + S);
        assert_eq!(cooldown.until(start + S), None, "after the first pause everyone goes on");
        cooldown.rejected(start + S, start + S, None, None, 1.0);
        assert_eq!(cooldown.until(start + 3 * S), None);
        cooldown.admit(start + 3 * S);
        assert_eq!(cooldown.until(start + 3 * S), Some(start + 4 * S));
        cooldown.succeeded(start + 3 * S);
        assert_eq!(cooldown.until(start + 3 * S), None);
    }

    #[test]
    fn its_own_pauses_are_bounded() {
        let start = Instant::now();
        let mut cooldown = Cooldown::default();
        for i in 0..40 {
            let now = start + (i * 100) * S;
            assert!(cooldown.rejected(now, now, None, None, 1.0).unwrap() <= Pacing::default().longest_pause);
        }
    }

    #[test]
    fn pauses_are_as_long_as_stated_and_no_shorter_than_the_hint() {
        let start = Instant::now();
        let longest_pause = 7 * S;
        let pacing = Pacing { first_pause: Some(2 * S), multiplier: 3.0, longest_pause, ..Pacing::default() };
        let mut cooldown = Cooldown::new(pacing);
        let mut pause = |second, hint| cooldown.rejected(start + second * S, start + second * S, hint, None, 0.0);
        assert_eq!(pause(0, Some(S)), Some(2 * S));
        assert_eq!(pause(10, None), Some(6 * S));
        assert_eq!(pause(20, None), Some(7 * S));
        assert_eq!(pause(30, Some(9 * S)), Some(9 * S));
    }

    #[test]
    fn after_a_pause_requests_follow_one_by_one_ever_closer() {
        let start = Instant::now();
        let slow_start = Some(SlowStart { requests: 2, first: 3 * S, last: S });
        let mut cooldown = Cooldown::new(Pacing { slow_start, ..Pacing::default() });
        cooldown.admit(start);
        assert_eq!(cooldown.until(start), None, "only after a pause");
        cooldown.rejected(start, start, Some(S), None, 0.0);
        cooldown.admit(start + S);
        assert_eq!(cooldown.until(start + S), Some(start + 4 * S));
        cooldown.admit(start + 4 * S);
        assert_eq!(cooldown.until(start + 4 * S), Some(start + 6 * S));
        cooldown.admit(start + 6 * S);
        assert_eq!(cooldown.until(start + 6 * S), None);
    }

    #[test]
    fn a_ramp_raises_what_may_be_in_flight_step_by_step() {
        let start = Instant::now();
        let mut cooldown =
            Cooldown::new(Pacing { ramp: Some(Ramp { from: 2, step: 3, every: S }), ..Pacing::default() });
        cooldown.admit(start);
        assert_eq!((cooldown.ramp(start, 1), cooldown.ramp(start, 2)), (None, Some(start + S)));
        assert_eq!((cooldown.ramp(start + S, 4), cooldown.ramp(start + S, 5)), (None, Some(start + 2 * S)));
    }

    proptest! {
        #[test]
        fn the_knobs_have_no_bad_values(multiplier in proptest::num::f64::ANY, secs in proptest::collection::vec(0u64..1 << 40, 5)) {
            let of = |i: usize| Duration::from_secs(secs[i]);
            let pacing = Pacing {
                start: 0,
                ramp: Some(Ramp { from: 0, step: u32::MAX, every: of(0).min(S) }),
                first_pause: Some(of(1)),
                multiplier,
                longest_pause: of(2),
                slow_start: Some(SlowStart { requests: 3, first: of(3), last: of(4) }),
            };
            let (mut cooldown, mut now) = (Cooldown::new(pacing), Instant::now());
            for _ in 0..20 {
                cooldown.admit(now);
                cooldown.rejected(now, now, None, None, 1.0);
                cooldown.admit(now);
                now = cooldown.until(now).unwrap_or(now).min(now + S) + S;
                cooldown.ramp(now, 7);
            }
        }
    }
}
