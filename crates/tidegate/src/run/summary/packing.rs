//! How many calls rows took that were asked together.

use serde::Serialize;

use super::Finished;

/// Counts over rows that were in a call about several of them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PackTally {
    /// Those rows.
    pub rows: u64,
    /// Their parts of the calls that were made for them; whole once all rows of a call are counted.
    pub calls: f64,
    /// Those parts of them that were made beyond the first for each row.
    retries: f64,
}

/// What asking rows together came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Packing {
    /// Rows that were in a call about several of them.
    pub rows: u64,
    /// The calls made for them, those included that asked again about rows without an answer.
    pub calls: u64,
    /// How many fewer that are than a call for each row.
    pub saved_calls: u64,
}

impl PackTally {
    /// Counts one more row.
    pub(super) fn add(&mut self, calls: f64, row: &Finished<'_>) {
        self.rows += 1;
        self.calls += calls;
        self.retries += match row.packed {
            Some(rows) => calls - 1.0 / f64::from(rows.max(1)),
            None => f64::from(row.attempts.saturating_sub(1)),
        };
    }

    /// Returns the calls made beyond the first for each row.
    pub(super) fn retries(&self) -> u64 {
        self.retries.round() as u64
    }
}

impl From<PackTally> for Packing {
    fn from(tally: PackTally) -> Packing {
        let calls = tally.calls.round() as u64;
        Packing { rows: tally.rows, calls, saved_calls: tally.rows.saturating_sub(calls) }
    }
}
