//! How far a run has come, for whoever wants to look while it goes on.
//!
//! The run writes a handful of numbers; observers read a copy whenever they like and can neither block nor slow it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::money::Money;
use crate::response::Usage;

/// A shared view of a run's numbers.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<Numbers>>);

/// A run's numbers at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Numbers {
    /// Whether input and output are open, so that rows are being sent.
    pub begun: bool,
    /// Whether the run has decided to stop: nothing more is sent.
    pub stopping: bool,
    /// Rows read from the input.
    pub read: u64,
    /// Whether the whole input has been read.
    pub read_all: bool,
    /// Bytes of the input read, and of how many, where that is known.
    pub position: (u64, Option<u64>),
    /// Records that were there already.
    pub done_before: u64,
    /// How many of those had failed.
    pub failed_before: u64,
    /// Records to be made at the most, where only some of the rows are asked for.
    pub most: Option<u64>,
    /// Records to be made of the rows read so far, those that were there already included.
    pub wanted: u64,
    /// Rows answered.
    pub succeeded: u64,
    /// Rows failed.
    pub failed: u64,
    /// Rows answered from the cache.
    pub cached: u64,
    /// Rows that have the outcome of an identical row.
    pub shared: u64,
    /// Tokens of all attempts so far.
    pub usage: Usage,
    /// What is known of the cost so far.
    pub cost: Money,
    /// Answered rows whose cost is not known.
    pub unpriced: u64,
    /// Bytes that wait to be stored.
    pub unstored: u64,
}

impl Progress {
    /// Returns the numbers of this moment.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        *self.lock()
    }

    /// Changes the numbers.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Numbers)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Numbers {
    /// Returns the share of the whole job that is done, as far as it can be known, 0 to 1.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        let total = self.expected()?;
        (total > 0.0).then(|| ((self.done_before + self.succeeded + self.failed) as f64 / total).min(1.0))
    }

    /// Returns how many records the whole job will make: counted once the input is read, before that projected from the
    /// share of its bytes that has been.
    #[must_use]
    pub fn expected(&self) -> Option<f64> {
        let projected = match self.position {
            _ if self.read_all => return Some(self.wanted as f64),
            (read, Some(of)) if read > 0 && of > 0 => Some(self.wanted as f64 * (of as f64 / read as f64).max(1.0)),
            _ => None,
        };
        projected.map(|total| self.most.map_or(total, |most| total.min(most as f64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_projected_until_it_is_known() {
        let numbers =
            Numbers { wanted: 50, succeeded: 20, failed: 5, position: (500, Some(1000)), ..Numbers::default() };
        assert_eq!((numbers.expected(), numbers.share()), (Some(100.0), Some(0.25)));
        let all = Numbers { read_all: true, ..numbers };
        assert_eq!((all.expected(), all.share()), (Some(50.0), Some(0.5)));
        assert_eq!(Numbers { position: (500, None), ..numbers }.share(), None);
        assert_eq!(Numbers { most: Some(60), ..numbers }.expected(), Some(60.0));
    }
}
