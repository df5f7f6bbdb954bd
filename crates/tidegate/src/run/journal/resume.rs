//! Whether a row of the input is sent: the decision, apart from the loop that acts on it.
//!
//! | in the journal | decision |
//! |---|---|
//! | nothing | send |
//! | answered by a model still in the list | skip |
//! | answered by a model no longer in the list | send, replace |
//! | failed, kind not to be retried | skip |
//! | failed, kind to be retried | send, replace |
//! | could not be read, and is not met in the whole input | withdraw, see [`Resume::gone_bad`] |
//! | any of the two skipped ones, but the rendered request is another | as `changed` says: differs, send and replace, or skip |

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::index::{Found, Index, IndexBuilder, KeyHasher, Seen};
use super::{Journal, RowHead};
use crate::error::Result;
use crate::failure::Kind;

/// What to do about rows that were answered when something else was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Changed {
    /// Nothing is sent; the user is asked.
    #[default]
    Ask,
    /// Send them again (`--redo-changed`).
    Redo,
    /// Keep the old answers (`--keep-changed`).
    Keep,
}

impl Changed {
    /// Returns what to do about a row that was answered when something else was asked.
    fn about(self) -> Decision {
        match self {
            Changed::Ask => Decision::Differs,
            Changed::Redo => Decision::Replace,
            Changed::Keep => Decision::Skip,
        }
    }
}

/// What to do with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is done.
    Skip,
    /// It is new.
    Send,
    /// It is in the journal and is to be sent again; its new row must be appended with `replaces`.
    Replace,
    /// It was answered when something else was asked, and the user has not said what to do about that.
    Differs,
    /// Its id has come before in this pass.
    Repeated,
}

/// Whether a row's key is its own, or shared with every row of the same content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The row has an id.
    Id,
    /// The row is known by its content, and as often as it occurs.
    Content,
}

/// The user's wishes about rows that are in the journal.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The models whose answers count; all of them if empty.
    pub models: Vec<String>,
    /// The kinds of failure that are sent again.
    pub retry: Vec<Kind>,
    /// What to do about rows that were answered when something else was asked.
    pub changed: Changed,
}

impl Rules {
    /// Returns whether a stored row counts as done.
    #[must_use]
    pub fn counts(&self, row: &RowHead<'_>) -> bool {
        let retried = row.failed.is_some_and(|kind| self.retry.contains(&kind));
        // A row that never reached a model, such as a broken line, does not depend on the list.
        let wanted =
            self.models.is_empty() || row.model.is_empty() || self.models.iter().any(|model| model == row.model);
        !retried && wanted
    }
}

/// The rows of a journal, ready to decide about each row of an input.
#[derive(Debug, Default)]
pub struct Resume {
    answered: Index,
    failed: Index,
    again: Index,
    /// Rows that could not be read, by key and as often as they occur.
    bad: HashMap<u64, u32, BuildHasherDefault<KeyHasher>>,
    seen: Seen,
    changed: Changed,
    skipped_failed: u64,
}

impl Resume {
    /// Reads a journal.
    ///
    /// # Errors
    /// Storage.
    pub fn load(journal: &Journal, rules: &Rules) -> Result<Resume> {
        let mut answered = IndexBuilder::with_capacity(journal.rows() as usize);
        let (mut failed, mut again) = (IndexBuilder::default(), IndexBuilder::default());
        let mut bad = HashMap::default();
        journal.scan(|row, _| {
            let head = &row.head;
            if head.failed == Some(Kind::BadRow) {
                *bad.entry(head.key).or_default() += 1;
            }
            let index = match (rules.counts(head), head.failed) {
                (true, None) => &mut answered,
                (true, Some(_)) => &mut failed,
                (false, _) => &mut again,
            };
            index.insert(head.key, head.raw, head.request);
            Ok(())
        })?;
        Ok(Resume {
            answered: answered.build(),
            failed: failed.build(),
            again: again.build(),
            bad,
            seen: Seen::new(),
            changed: rules.changed,
            skipped_failed: 0,
        })
    }

    /// Returns how many stored rows count as done, and how many are to be sent again.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.answered.len() + self.failed.len(), self.again.len())
    }

    /// Returns how many of the rows that were skipped had failed.
    #[must_use]
    pub fn skipped_failed(&self) -> u64 {
        self.skipped_failed
    }

    /// Notes that a row which could not be read is still there, and still cannot.
    pub fn meet_bad(&mut self, key: u64) {
        if let Some(count) = self.bad.get_mut(&key) {
            *count = count.saturating_sub(1);
        }
    }

    /// Returns the keys of rows that could not be read and were not met again, each as often as that: they are corrected,
    /// or gone, and their records are to be withdrawn.
    #[must_use]
    pub fn gone_bad(&self) -> Vec<u64> {
        let repeat = |(&key, &count): (&u64, &u32)| std::iter::repeat_n(key, count as usize);
        self.bad.iter().flat_map(repeat).collect()
    }

    /// Returns the keys of all records that no row of the input has asked about, each as often as that.
    #[must_use]
    pub fn gone(&self) -> Vec<u64> {
        [&self.answered, &self.failed, &self.again].into_iter().flat_map(Index::left).collect()
    }

    /// Decides about a row; `request` renders it and returns the check of what would be asked, and is only called if the
    /// raw row is not the same as it was.
    ///
    /// # Errors
    /// What `request` returns.
    pub fn decide(
        &mut self,
        key: u64,
        raw: u32,
        identity: Identity,
        request: impl FnOnce() -> Result<u32>,
    ) -> Result<Decision> {
        for (index, failed) in [(&mut self.answered, 0), (&mut self.failed, 1)] {
            let same = match index.take(key, raw) {
                Found::Done => true,
                Found::Changed { request: before } => self.changed == Changed::Keep || request()? == before,
                Found::Taken if identity == Identity::Id => return Ok(Decision::Repeated),
                Found::Taken | Found::Absent => continue,
            };
            let decision = if same { Decision::Skip } else { self.changed.about() };
            self.skipped_failed += if decision == Decision::Skip { failed } else { 0 };
            return Ok(decision);
        }
        match self.again.take(key, raw) {
            Found::Done | Found::Changed { .. } => Ok(Decision::Replace),
            Found::Taken if identity == Identity::Id => Ok(Decision::Repeated),
            Found::Taken | Found::Absent if identity == Identity::Id && self.seen.meet(key) => Ok(Decision::Repeated),
            Found::Taken | Found::Absent => Ok(Decision::Send),
        }
    }
}
