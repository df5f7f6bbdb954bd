//! Where each row's record stands in a journal: 16 bytes a record, to go through them in another order than the journal's.

use super::bits::Bits;

/// The records of a journal by key; of one key the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Offsets(Vec<(u64, u64)>);

impl Offsets {
    /// Sorts pairs of a key and an offset.
    pub(crate) fn new(mut entries: Vec<(u64, u64)>) -> Offsets {
        entries.sort_unstable();
        Offsets(entries)
    }

    /// Begins to take records, each once.
    pub(crate) fn taker(&self) -> Taker<'_> {
        Taker { offsets: &self.0, taken: Bits::new(self.0.len() as u64) }
    }
}

/// Records that have not been taken yet.
#[derive(Debug)]
pub(crate) struct Taker<'o> {
    offsets: &'o [(u64, u64)],
    taken: Bits,
}

impl Taker<'_> {
    /// Takes the oldest record of a key that is left.
    pub(crate) fn take(&mut self, key: u64) -> Option<u64> {
        let first = self.offsets.partition_point(|(other, _)| *other < key);
        let same = self.offsets[first..].iter().take_while(|(other, _)| *other == key);
        let (at, offset) =
            same.zip(first..).map(|((_, offset), at)| (at, *offset)).find(|(at, _)| !self.taken.get(*at as u64))?;
        self.taken.set(at as u64);
        Some(offset)
    }

    /// Returns the offsets of all that was not taken, as they stand in the journal.
    pub(crate) fn rest(self) -> Vec<u64> {
        let left = self.offsets.iter().enumerate().filter(|(at, _)| !self.taken.get(*at as u64));
        let mut rest: Vec<u64> = left.map(|(_, (_, offset))| *offset).collect();
        rest.sort_unstable();
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_is_taken_once_and_the_oldest_first() {
        let offsets = Offsets::new(vec![(7, 90), (3, 50), (7, 20), (7, 60)]);
        let mut taker = offsets.taker();
        assert_eq!([taker.take(7), taker.take(1), taker.take(7), taker.take(8)], [Some(20), None, Some(60), None]);
        assert_eq!(taker.rest(), [50, 90]);
        assert_eq!(offsets.taker().take(7), Some(20));
    }
}
