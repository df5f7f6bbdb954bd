//! The shared pause of an endpoint that asked for less load.
//!
//! | event | what happens |
//! |---|---|
//! | a rejection of a call sent after the last pause began | a pause starts: the hint, or else a backoff that doubles |
//! | a rejection of a call sent before it began | joins the pause: a longer hint lengthens it, nothing escalates |
//! | a second pause in a row ends | one call probes; the others follow when it has been answered, or not rejected for a second |
//! | a success of a call sent after the pause ended | the backoff starts from the beginning again |
//!
//! Everyone waits for the same end, retries included, so a limited endpoint is not hammered by each caller in turn.

use std::time::Duration;

use tokio::time::Instant;

/// The pause after the first rejection without a hint.
const FIRST: Duration = Duration::from_millis(500);
/// The shortest pause without a hint.
const SHORTEST: Duration = Duration::from_millis(20);
/// The longest pause without a hint.
const LONGEST: Duration = Duration::from_secs(8);
/// How long others wait for what becomes of a probe; rejections are quick, answers need not be.
const GRACE: Duration = Duration::from_secs(1);

/// The pause of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Cooldown {
    began: Option<Instant>,
    until: Option<Instant>,
    streak: u32,
    /// When the first call after the pause was sent.
    probe: Option<Instant>,
}

impl Cooldown {
    /// Returns the end of the pause, if one is on.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        let probe = self.probe.filter(|_| self.streak > 1).map(|sent| sent + GRACE);
        probe.or(self.until).filter(|until| *until > now)
    }

    /// Notes that a call is sent: after several pauses in a row, the first one is a probe that the others wait for.
    pub(crate) fn admit(&mut self, now: Instant) {
        self.probe.get_or_insert(now);
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
                self.until = Some(until.max(sent + hint));
            }
            return None;
        }
        let first = usual.map_or(FIRST, |usual| usual.clamp(SHORTEST, FIRST));
        let own = first.saturating_mul(1 << self.streak.min(10)).min(LONGEST);
        let pause = match hint {
            // A little more than asked, so that clocks that disagree do not cost a second rejection.
            Some(hint) => hint + hint.mul_f64(0.05 * jitter),
            None => own.mul_f64(0.5 + 0.5 * jitter),
        };
        self.streak += 1;
        self.began = Some(now);
        self.probe = None;
        self.until = Some(now + pause);
        Some(pause)
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
            assert!(cooldown.rejected(now, now, None, None, 1.0).unwrap() <= LONGEST);
        }
    }
}
