//! Whether a provider rejects calls by chance, too.
//!
//! # Why
//!
//! Some providers reject a call now and then whatever is left. If each such rejection were taken for a limit that is used
//! up, the rate would follow them down.
//!
//! # How
//!
//! At a real limit a rejection soon has company if nothing is done about it; by chance it stays alone.
//!
//! | state | what a rejection means | leaves when |
//! |---|---|---|
//! | trust | a limit | a few were alone, those without a reason counted twice |
//! | doubt | nothing, while it is alone; three together, or eight not far apart: a limit | the pace gets well past the rate (sure), or three come together (trust, and a doubt comes half as easily) |
//! | sure | the same; the more were rejected by chance while no rate was known, the more it takes | several limits were real while hardly any rejection was alone |
//!
//! # Considered and rejected
//!
//! Doubting every rejection that is alone, from the first one on: it takes three rejections instead of one to find each
//! limit, and hardly any provider rejects by chance. A short pause for each of them, doubling as pauses do (tried): where
//! answers take long, the next one comes before a success has ended the row, and half of the quota goes unused.

/// Rejections further apart than so many calls are alone; two of them, and three in a doubt.
const AMONG: f64 = 25.0;
const AMONG_THREE: f64 = 33.0;
/// Eight within so many calls are a limit, too: a pace a little above it is rejected now and then, for ever.
const AMONG_EIGHT: f64 = 260.0;
/// How many more than three and eight it takes for each hundredth of the calls that is rejected by chance, beyond a half.
const MORE_THAN_THREE: f64 = 2.0;
const MORE_THAN_EIGHT: f64 = 5.0;
/// What share that is, in hundredths: until it is known, and at the most.
const LEAST_SHARE: f64 = 0.5;
const MOST_SHARE: f64 = 3.0;
/// The calls after which it is known, and those over which it is measured.
const KNOWN: f64 = 200.0;
const MEASURED: f64 = 5000.0;
/// The rejections that are remembered for all that: they are not heard in the order of the calls.
const LAST: usize = 20;
/// How many rejections that were alone begin a doubt; after each doubt that was unfounded twice as many, up to the second
/// number.
const SUSPICIOUS: u32 = 4;
const MOST_PATIENCE: u32 = 16;
/// From where a doubt is sure, and how sure it gets.
const SURE: u32 = 2;
const MOST_DOUBT: u32 = 8;
/// How much less sure three rejections together make it, where each one alone makes it surer by one.
const REAL: u32 = 3;

/// How fast calls are sent, against what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Near the counted rate.
    Held,
    /// Far above it.
    WellPast,
    /// No rate is known.
    Free,
}

/// What is thought of an endpoint's rejections.
#[derive(Debug)]
pub(super) struct Chance {
    /// How sure it is that rejections come by chance, too.
    doubt: u32,
    /// The numbers of the last rejected calls, and whether there were hardly any others before the latest.
    last: [f64; LAST],
    alone: bool,
    /// How many others were close to the latest.
    company: u32,
    /// How many calls there were from the one before to the latest, and up to that one in all.
    since: f64,
    until: f64,
    /// How many were taken for chance, and of how many calls, while no rate was known.
    ignored: f64,
    calls: f64,
    /// How odd the rejections since the last doubt were, and how odd they must be for another.
    odd: u32,
    patience: u32,
}

impl Default for Chance {
    fn default() -> Chance {
        Chance {
            doubt: 0,
            last: [f64::NEG_INFINITY; LAST],
            alone: false,
            company: 0,
            since: 0.0,
            until: 0.0,
            ignored: 0.0,
            calls: 0.0,
            odd: 0,
            patience: SUSPICIOUS,
        }
    }
}

impl Chance {
    /// Returns whether there is a doubt.
    pub(super) fn doubts(&self) -> bool {
        self.doubt > 0
    }

    /// Returns whether the doubt is sure.
    pub(super) fn is_sure(&self) -> bool {
        self.doubt >= SURE
    }

    /// Notes a rejection of the `mark`th call, and returns whether it counts for nothing. `visible` says whether others
    /// would be seen soon, if there were any.
    pub(super) fn is_likely(&mut self, mark: f64, visible: bool) -> bool {
        let above = self.share() - LEAST_SHARE;
        let more = |for_each: f64| (for_each * above).round() as usize;
        let (among, enough) = if self.doubts() { (AMONG_THREE, 2 + more(MORE_THAN_THREE)) } else { (AMONG, 1) };
        let within = |calls: f64| self.last.iter().filter(|other| (mark - **other).abs() <= calls).count();
        self.company = within(among).min(enough) as u32;
        self.alone = visible && within(among) < enough && within(AMONG_EIGHT) < 7 + more(MORE_THAN_EIGHT);
        self.last.rotate_left(1);
        self.last[LAST - 1] = mark;
        self.since = (mark - self.until).max(0.0);
        self.until = self.until.max(mark);
        self.doubts() && self.alone
    }

    /// Returns how many calls of a hundred are rejected by chance, as far as is known.
    fn share(&self) -> f64 {
        let share = 100.0 * (1.0 + self.ignored) / (KNOWN + self.calls);
        if self.is_sure() { share.clamp(LEAST_SHARE, MOST_SHARE) } else { LEAST_SHARE }
    }

    /// Begins a doubt.
    pub(super) fn begin(&mut self) {
        (self.odd, self.doubt) = (0, self.doubt.max(1));
    }

    /// Notes that a rejection counted for nothing.
    pub(super) fn ignored(&mut self, pace: Pace) {
        if pace == Pace::Free {
            // Elsewhere it may be none by chance, but one of a pace that is a little too high.
            (self.calls, self.ignored) = (self.calls + self.since, self.ignored + 1.0);
            if self.calls > MEASURED {
                (self.calls, self.ignored) = (0.5 * self.calls, 0.5 * self.ignored);
            }
        }
        if self.is_sure() || pace != Pace::Held {
            self.doubt = (self.doubt + 1).clamp(SURE, MOST_DOUBT);
            self.patience = SUSPICIOUS;
        }
    }

    /// Notes that a rejection counted. A limit that is real says little against rejections by chance: those soon make up for it.
    pub(super) fn counted(&mut self) {
        if self.is_sure() {
            // The others that were close to it were no chance either.
            self.doubt = self.doubt.saturating_sub(REAL.max(1 + self.company));
            // The next limit has to have company of its own.
            self.last = [f64::NEG_INFINITY; LAST];
        } else {
            self.patience = if self.doubts() { (2 * self.patience).min(MOST_PATIENCE) } else { self.patience };
            self.doubt = 0;
        }
    }

    /// Returns whether a doubt begins; `held` says that there was no reason for the last rejection.
    pub(super) fn begins(&mut self, held: bool) -> bool {
        self.odd += u32::from(self.alone) + u32::from(self.alone && held);
        let begins = self.odd >= self.patience;
        if begins {
            self.begin();
        }
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_alone_are_doubted_until_three_come_together() {
        let mut chance = Chance::default();
        for mark in [100.0, 200.0, 300.0, 400.0] {
            assert!(!chance.is_likely(mark, true));
            chance.counted();
            assert_eq!(chance.begins(false), mark == 400.0);
        }
        assert!(chance.is_likely(500.0, true) && chance.is_likely(510.0, true), "a second one may be chance");
        assert!(!chance.is_likely(505.0, true), "heard late, it is a third one");
        chance.counted();
        assert!(!chance.doubts() && !chance.is_likely(900.0, true));
    }

    #[test]
    fn a_few_rejections_in_a_hundred_are_a_limit_however_evenly_they_come() {
        let mut chance = Chance { doubt: MOST_DOUBT, ..Chance::default() };
        let ignored = (0..20).take_while(|i| chance.is_likely(25.0 * f64::from(*i), true)).count();
        assert_eq!(ignored, 7);
        let mut chance = Chance { doubt: MOST_DOUBT, ..Chance::default() };
        assert!((0..99).all(|i| chance.is_likely(50.0 * f64::from(i), true)));
    }

    #[test]
    fn who_gets_well_past_the_rate_is_sure_and_stays_so() {
        let mut chance = Chance { doubt: 1, ..Chance::default() };
        for mark in 1..9 {
            assert!(chance.is_likely(f64::from(100 * mark), true));
            chance.ignored(if mark == 1 { Pace::WellPast } else { Pace::Held });
        }
        chance.counted();
        assert!(chance.is_sure());
        (0..2).for_each(|_| chance.counted());
        assert!(!chance.doubts());
    }

    #[test]
    fn where_no_company_would_be_seen_nothing_is_doubted() {
        let mut chance = Chance::default();
        for mark in 1..100 {
            assert!(!chance.is_likely(f64::from(100 * mark), false));
            chance.counted();
            assert!(!chance.begins(true));
        }
    }
}
