//! Which rows still count, when later ones took the place of earlier ones.
//!
//! A row that is sent again (`--retry-failed`, `--redo-changed`) is appended with its `replaces` flag; the one it replaces
//! stays in the file. Rows with an id have one key each, so it is the earlier one with that key. Identical rows without
//! an id share a key, and each counts; there a replacing row takes the place of one of an earlier run, a failed one
//! before an answered one, the oldest first. A withdrawal does the same and never counts itself.
//!
//! Keys are handled in parts of some millions, so that memory stays bounded even if every row was replaced. A journal in
//! which nothing was replaced, the usual one, is not read at all.

use std::ops::ControlFlow;
use std::path::Path;

use super::bits::Bits;
use super::frame::HEADER_LEN;
use super::scan::{Survey, walk};
use crate::error::Result;

/// The replacing rows that are resolved at once: 4 million keys are 32 MB, their entries some 128 MB.
const PART: u64 = 4_000_000;

/// One row of a key that was replaced at least once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: u64,
    number: u32,
    failed: bool,
    replaces: bool,
    withdraws: bool,
}

/// Returns a bit per committed row, set where another has taken its place.
pub(super) fn replaced(path: &Path, survey: &Survey) -> Result<Bits> {
    if survey.replacing == 0 {
        return Ok(Bits::default());
    }
    let mut dead = Bits::new(survey.rows);
    let parts = survey.replacing.div_ceil(PART);
    for part in 0..parts {
        for group in entries(path, survey, part, parts)?.chunk_by(|a, b| a.key == b.key) {
            resolve(group, &survey.sessions, |number| dead.set(u64::from(number)));
        }
    }
    Ok(dead)
}

/// Collects every row of the keys of one part that were replaced, sorted by key and then by age.
fn entries(path: &Path, survey: &Survey, part: u64, parts: u64) -> Result<Vec<Entry>> {
    let mine = |key: u64| (key >> 32) % parts == part;
    let mut keys = Vec::new();
    walk(path, HEADER_LEN as u64..survey.end, |_, row| {
        if row.head.replaces && mine(row.head.key) {
            keys.push(row.head.key);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    keys.sort_unstable();
    keys.dedup();
    let mut entries = Vec::with_capacity(keys.len() * 2);
    let mut number = 0;
    walk(path, HEADER_LEN as u64..survey.end, |_, row| {
        let key = row.head.key;
        if mine(key) && keys.binary_search(&key).is_ok() {
            let (failed, withdraws) = (row.head.failed.is_some(), row.is_withdrawal());
            entries.push(Entry { key, number, failed, replaces: row.head.replaces, withdraws });
        }
        number += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    entries.sort_unstable();
    Ok(entries)
}

/// Walks the rows of one key in the order of their age and reports those that another replaces.
fn resolve(group: &[Entry], sessions: &[u64], mut dead: impl FnMut(u32)) {
    let session = |entry: &Entry| sessions.partition_point(|&first| first <= u64::from(entry.number));
    let mut live: Vec<Entry> = Vec::new();
    for entry in group {
        if entry.replaces {
            let rank = |old: &Entry| (session(old) == session(entry), !old.failed, old.number);
            if let Some((at, old)) = live.iter().enumerate().min_by_key(|(_, old)| rank(old)) {
                dead(old.number);
                live.remove(at);
            }
        }
        match entry.withdraws {
            true => dead(entry.number),
            false => live.push(*entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resolves rows of one key, each `(run, failed, replaces)`, and returns the numbers of those that still count.
    fn live(rows: &[(u32, bool, bool)]) -> Vec<u32> {
        live_without(rows, &[])
    }

    /// The same where the rows of these numbers are withdrawals.
    fn live_without(rows: &[(u32, bool, bool)], withdrawals: &[u32]) -> Vec<u32> {
        let entry = |(number, &(_, failed, replaces)): (usize, &(u32, bool, bool))| Entry {
            key: 1,
            number: number as u32,
            failed,
            replaces,
            withdraws: withdrawals.contains(&(number as u32)),
        };
        let group: Vec<Entry> = rows.iter().enumerate().map(entry).collect();
        let runs = rows.last().map_or(0, |row| row.0);
        let first = |run| rows.iter().position(|row| row.0 >= run).unwrap_or(rows.len()) as u64;
        let sessions: Vec<u64> = (0..=runs).map(first).collect();
        let mut live: Vec<u32> = (0..rows.len() as u32).collect();
        resolve(&group, &sessions, |dead| live.retain(|&number| number != dead));
        live
    }

    const ANSWERED: bool = false;
    const FAILED: bool = true;

    #[test]
    fn the_last_of_a_chain_counts() {
        assert_eq!(live(&[(0, FAILED, false), (1, FAILED, true), (2, ANSWERED, true)]), [2]);
    }

    #[test]
    fn identical_rows_that_replace_nothing_all_count() {
        assert_eq!(live(&[(0, ANSWERED, false), (0, ANSWERED, false), (1, ANSWERED, false)]), [0, 1, 2]);
    }

    #[test]
    fn of_identical_rows_the_failed_one_is_replaced() {
        assert_eq!(live(&[(0, ANSWERED, false), (0, FAILED, false), (1, ANSWERED, true)]), [0, 2]);
    }

    #[test]
    fn of_identical_rows_redone_each_replaces_an_old_one_even_if_the_new_ones_fail() {
        let rows = [(0, ANSWERED, false), (0, ANSWERED, false), (1, FAILED, true), (1, FAILED, true)];
        assert_eq!(live(&rows), [2, 3]);
    }

    #[test]
    fn a_row_may_be_replaced_within_one_run() {
        assert_eq!(live(&[(0, FAILED, false), (0, ANSWERED, true)]), [1]);
    }

    #[test]
    fn a_withdrawal_takes_a_row_away_and_does_not_count_itself() {
        let bad = [(0, true, false), (0, true, false), (1, false, true)];
        assert_eq!(live_without(&bad, &[2]), [1]);
        assert_eq!(live_without(&[(0, false, true)], &[0]), [0; 0]);
        assert_eq!(live_without(&[(0, true, false), (1, false, true), (2, true, false)], &[1]), [2]);
    }
}
