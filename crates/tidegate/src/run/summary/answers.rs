//! How answers were judged, over all rows: refused, asked for again, taken from further up a ladder.

use serde::{Deserialize, Serialize};

use crate::money::Money;
use crate::outcome::Checked;

/// Counts of rows whose answers had to pass a schema, a check or a ladder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnswerTally {
    /// Rows.
    pub checked: u64,
    /// Answers asked for beyond the first of each row.
    pub asked_again: u64,
    /// Replies that were refused.
    pub refused: u64,
    /// Replies that a code fence was taken off.
    pub stripped: u64,
    /// Rows that needed another than the ladder's first rung.
    pub escalated: u64,
    /// What the answered rows cost of which it is known what they would have cost if the ladder's last rung had been asked
    /// at once.
    pub ladder_usd: f64,
    /// What that would have been.
    pub last_rung_usd: f64,
}

impl AnswerTally {
    /// Counts one more row; `cost` is what it cost, if it was answered and that is known.
    pub(super) fn add(&mut self, checked: &Checked, cost: Option<Money>) {
        self.checked += 1;
        self.asked_again += u64::from(checked.asks.saturating_sub(1));
        self.refused += u64::from(checked.refused);
        self.stripped += u64::from(checked.stripped);
        self.escalated += u64::from(checked.rung > 0);
        if let Some((cost, last)) = cost.zip(checked.last_rung_cost) {
            self.ladder_usd += cost.usd();
            self.last_rung_usd += last.usd();
        }
    }

    /// Returns the share of money that the ladder saved against asking its last rung at once; less than 0 if it cost more.
    #[must_use]
    pub fn saved(&self) -> Option<f64> {
        (self.last_rung_usd > 0.0).then(|| 1.0 - self.ladder_usd / self.last_rung_usd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn savings_count_only_rows_whose_costs_are_both_known() {
        let mut tally = AnswerTally::default();
        let checked = Checked { asks: 2, rung: 1, last_rung_cost: Some(Money::from_usd(1.0)), ..Checked::default() };
        tally.add(&checked, Some(Money::from_usd(0.25)));
        tally.add(&checked, None);
        tally.add(&Checked { asks: 1, ..Checked::default() }, Some(Money::from_usd(5.0)));
        assert_eq!((tally.checked, tally.asked_again, tally.escalated, tally.saved()), (3, 2, 2, Some(0.75)));
        assert_eq!(AnswerTally::default().saved(), None);
    }
}
