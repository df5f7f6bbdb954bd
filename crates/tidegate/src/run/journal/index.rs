//! What a journal already holds, to ask about each row of an input: 16.5 bytes per row.
//!
//! A hash map would double its memory at the wrong moment (10 million rows are 20 to 39 bytes each, by luck), so this is
//! a sorted array with a table of where each range of keys begins. It is built once and then only used up: a row that is
//! asked for is taken, so that of two identical rows without an id the second finds the second, and a row with an id that
//! comes twice finds [`Found::Taken`] without another set to remember it in.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use super::bits::Bits;

/// How many keys share one entry of the table, on average, as a power of two.
const KEYS_PER_RANGE: u32 = 4;

/// The rows of a journal by key.
#[derive(Debug, Default)]
pub struct Index {
    entries: Vec<Entry>,
    taken: Bits,
    ranges: Vec<u32>,
    shift: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key: u64,
    raw: u32,
    request: u32,
}

/// An index that is being filled.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    entries: Vec<Entry>,
}

/// What the journal says about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There is no such row.
    Absent,
    /// There is, and its raw bytes and the run's identity are the same.
    Done,
    /// There is, with other raw bytes or in a run with another identity; the check of what was asked then.
    Changed {
        /// The check of the rendered request.
        request: u32,
    },
    /// There was, and it has been taken: a repeated id, or one more of identical rows.
    Taken,
}

impl IndexBuilder {
    /// Starts an index with room for that many rows.
    #[must_use]
    pub fn with_capacity(rows: usize) -> IndexBuilder {
        IndexBuilder { entries: Vec::with_capacity(rows) }
    }

    /// Adds a row; the same key may be added several times.
    pub fn insert(&mut self, key: u64, raw: u32, request: u32) {
        self.entries.push(Entry { key, raw, request });
    }

    /// Makes the index.
    #[must_use]
    pub fn build(mut self) -> Index {
        self.entries.sort_unstable_by_key(|entry| entry.key);
        self.entries.shrink_to_fit();
        let bits = (usize::BITS - self.entries.len().leading_zeros()).saturating_sub(KEYS_PER_RANGE).clamp(1, 28);
        let shift = u64::BITS - bits;
        let mut ranges = Vec::with_capacity((1 << bits) + 1);
        let mut at = 0;
        for range in 0..1u64 << bits {
            at += self.entries[at..].iter().take_while(|entry| entry.key >> shift < range).count();
            ranges.push(at as u32);
        }
        ranges.push(self.entries.len() as u32);
        Index { taken: Bits::new(self.entries.len() as u64), entries: self.entries, ranges, shift }
    }
}

impl Index {
    /// Returns the number of rows, taken ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there are no rows at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns what is known about a row, and takes it: one with the same `raw` first.
    pub fn take(&mut self, key: u64, raw: u32) -> Found {
        let rows = self.rows(key);
        if rows.is_empty() {
            return Found::Absent;
        }
        let mut left = rows.filter(|&at| !self.taken.get(at as u64)).peekable();
        let Some(&first) = left.peek() else { return Found::Taken };
        let at = left.find(|&at| self.entries[at].raw == raw).unwrap_or(first);
        let entry = self.entries[at];
        self.taken.set(at as u64);
        if entry.raw == raw { Found::Done } else { Found::Changed { request: entry.request } }
    }

    /// Returns the keys of the rows that were not taken, each as often as that.
    pub(super) fn left(&self) -> impl Iterator<Item = u64> + '_ {
        self.entries.iter().enumerate().filter(|(at, _)| !self.taken.get(*at as u64)).map(|(_, entry)| entry.key)
    }

    /// Finds where the rows of a key are.
    fn rows(&self, key: u64) -> std::ops::Range<usize> {
        let range = (key >> self.shift) as usize;
        let (Some(&start), Some(&end)) = (self.ranges.get(range), self.ranges.get(range + 1)) else { return 0..0 };
        let (start, near) = (start as usize, &self.entries[start as usize..end as usize]);
        let first = near.partition_point(|entry| entry.key < key);
        let count = near[first..].iter().take_while(|entry| entry.key == key).count();
        start + first..start + first + count
    }
}

/// The keys met in one pass over an input, to notice a repeated id: at most 21 bytes each, in parts so that it never
/// needs twice its memory to grow.
#[derive(Debug, Default)]
pub struct Seen {
    parts: Vec<HashSet<u64, BuildHasherDefault<KeyHasher>>>,
}

const PARTS: usize = 64;

impl Seen {
    /// Makes an empty set.
    #[must_use]
    pub fn new() -> Seen {
        Seen { parts: vec![HashSet::default(); PARTS] }
    }

    /// Remembers a key; returns whether it has been met before.
    pub fn meet(&mut self, key: u64) -> bool {
        // The map itself uses the lowest and the highest bits.
        let part = (key >> 32) as usize % PARTS;
        self.parts.get_mut(part).is_some_and(|part| !part.insert(key))
    }
}

/// Keys are hashes already.
#[derive(Debug, Default, Clone, Copy)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(7) ^ u64::from_le_bytes(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    /// Hashes, small numbers and the ends of the range: many equal, many close together.
    fn keys() -> impl Strategy<Value = u64> {
        prop_oneof![any::<u64>(), 0..20u64, (0..20u64).prop_map(|key| u64::MAX - key)]
    }

    /// The same by trying one row after another.
    fn take(rows: &mut [(u64, u32, u32, bool)], key: u64, raw: u32) -> Option<bool> {
        rows.iter().find(|row| row.0 == key)?;
        let mut left = rows.iter_mut().filter(|row| row.0 == key && !row.3);
        let same = left.find(|row| row.1 == raw).map(|row| row.3 = true);
        Some(same.is_some())
    }

    proptest! {
        #[test]
        fn each_row_is_found_once(
            rows in proptest::collection::vec((keys(), 0..3u32), 0..200),
            asked in proptest::collection::vec((keys(), 0..3u32), 0..200),
        ) {
            let mut builder = IndexBuilder::with_capacity(rows.len());
            rows.iter().for_each(|&(key, raw)| builder.insert(key, raw, raw + 10));
            let mut index = builder.build();
            prop_assert_eq!(index.len(), rows.len());
            let mut model: Vec<_> = rows.iter().map(|&(key, raw)| (key, raw, raw + 10, false)).collect();
            for (key, raw) in asked.into_iter().chain(rows) {
                let left = model.iter().filter(|row| row.0 == key && !row.3).count();
                match (index.take(key, raw), take(&mut model, key, raw)) {
                    (Found::Absent, None) | (Found::Done, Some(true)) => {}
                    (Found::Taken, Some(false)) => prop_assert_eq!(left, 0),
                    (Found::Changed { request }, Some(false)) => {
                        let row = model.iter_mut().find(|row| row.0 == key && !row.3 && row.2 == request);
                        row.unwrap().3 = true;
                    }
                    (found, expected) => panic!("{found:?} where {expected:?} was expected"),
                }
            }
        }
    }

    #[test]
    fn a_key_is_met_once() {
        let mut seen = Seen::new();
        let keys = || (0..1000u64).map(|key| key.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        assert!(keys().all(|key| !seen.meet(key)));
        assert!(keys().all(|key| seen.meet(key)));
    }
}
