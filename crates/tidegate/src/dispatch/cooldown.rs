//! The shared pause of an endpoint that asked for less load.
//!
//! | event | what happens |
//! |---|---|
//! | a rejection of a call sent after the last pause began | a pause starts: the hint, or else a backoff that doubles |
//! | a rejection of a call sent before it began | joins the pause: a longer hint lengthens it, nothing escalates |
//! | a success of a call sent after the pause ended | the backoff starts from the beginning again |
//!
//! Everyone waits for the same end, retries included, so a limited endpoint is not hammered by each caller in turn.

use std::time::Duration;

use tokio::time::Instant;

/// The pause after the first rejection without a hint.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause without a hint.
const LONGEST: Duration = Duration::from_secs(60);

/// The pause of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Cooldown {
    began: Option<Instant>,
    until: Option<Instant>,
    streak: u32,
}

impl Cooldown {
    /// Returns the end of the pause, if one is on.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// Notes a rejection of a call sent at `sent`. Returns the pause's length if a new one starts.
    ///
    /// `jitter` between 0 and 1 keeps many clients of one key from returning together.
    pub(crate) fn rejected(
        &mut self,
        now: Instant,
        sent: Instant,
        hint: Option<Duration>,
        jitter: f64,
    ) -> Option<Duration> {
        if self.began.is_some_and(|began| sent <= began) {
            if let (Some(hint), Some(until)) = (hint, self.until) {
                self.until = Some(until.max(sent + hint));
            }
            return None;
        }
        let own = FIRST.saturating_mul(1 << self.streak.min(10)).min(LONGEST);
        let pause = match hint {
            // A little more than asked, so that clocks that disagree do not cost a second rejection.
            Some(hint) => hint + hint.mul_f64(0.05 * jitter),
            None => own.mul_f64(0.5 + 0.5 * jitter),
        };
        self.streak += 1;
        self.began = Some(now);
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
        assert_eq!(cooldown.rejected(start + S, start, Some(3 * S), 0.0), Some(3 * S));
        assert_eq!(cooldown.rejected(start + 2 * S, start, None, 0.0), None);
        assert_eq!(cooldown.until(start + 2 * S), Some(start + 4 * S));
        assert_eq!(cooldown.rejected(start + 9 * S, start + S, None, 0.0), None);
        assert_eq!(cooldown.until(start + 9 * S), None);
    }

    #[test]
    fn a_longer_hint_lengthens_the_pause_it_joins() {
        let start = Instant::now();
        let mut cooldown = Cooldown::default();
        cooldown.rejected(start + S, start, Some(S), 0.0);
        cooldown.rejected(start + S, start, Some(7 * S), 0.0);
        assert_eq!(cooldown.until(start + S), Some(start + 7 * S));
    }

    #[test]
    fn it_escalates_until_a_success_that_began_afterwards() {
        let start = Instant::now();
        let mut cooldown = Cooldown::default();
        let first = cooldown.rejected(start, start, None, 1.0);
        let second = cooldown.rejected(start + S, start + S, None, 1.0);
        assert_eq!((first, second), (Some(FIRST), Some(2 * FIRST)));
        cooldown.succeeded(start);
        assert_eq!(cooldown.rejected(start + 5 * S, start + 4 * S, None, 1.0), Some(4 * FIRST));
        cooldown.succeeded(start + 20 * S);
        assert_eq!(cooldown.rejected(start + 30 * S, start + 30 * S, None, 1.0), Some(FIRST));
    }

    #[test]
    fn its_own_pauses_are_bounded() {
        let start = Instant::now();
        let mut cooldown = Cooldown::default();
        for i in 0..40 {
            let now = start + (i * 100) * S;
            assert!(cooldown.rejected(now, now, None, 1.0).unwrap() <= LONGEST);
        }
    }
}
