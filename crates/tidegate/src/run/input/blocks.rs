//! Cuts a stream of bytes into records without copying them.
//!
//! Bytes are read in blocks; a record is a slice that shares its block. Only a record that a block's end cuts through is
//! moved, and only a record larger than a block makes the buffer grow. One that is larger than the limit is skipped over
//! without being held. A `BufRead` with a vector per line costs an allocation and a copy for each of a million rows.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};

/// What one read asks for: large enough to make system calls cheap, small enough that a row which stays in flight for
/// minutes pins little.
const BLOCK: usize = 64 << 10;

const BOM: &[u8] = b"\xEF\xBB\xBF";
/// The marks that a stream may begin with: UTF-8, which is skipped, and both kinds of UTF-16, which the caller refuses.
const MARKS: [&[u8]; 3] = [BOM, b"\xFF\xFE", b"\xFE\xFF"];

/// The next record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Its bytes without the line's end.
    Whole(Bytes),
    /// It is larger than the limit, and has been skipped.
    TooLarge,
}

/// How files begin that hold no lines, whatever they are called.
pub(super) const NO_LINES: [(&[u8], &str); 3] = [
    (b"PAR1", "is a Parquet file; name it .parquet, or give --format parquet"),
    (b"ARROW1", "is an Arrow file; name it .arrow, or give --format arrow"),
    (b"PK\x03\x04", "is a ZIP archive, as spreadsheets are; save its table as CSV"),
];

/// A buffered reader that hands out records.
pub(super) struct Blocks {
    source: Box<dyn Read + Send>,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no record's end.
    scanned: usize,
    limit: usize,
    skipping: bool,
    ended: bool,
    /// How many bytes have come.
    filled: u64,
}

impl Blocks {
    pub(super) fn new(source: Box<dyn Read + Send>, limit: usize) -> Blocks {
        Blocks { source, buffer: BytesMut::new(), scanned: 0, limit, skipping: false, ended: false, filled: 0 }
    }

    /// Returns the share of the bytes that have come which no record has been made of yet.
    pub(super) fn ahead(&self) -> f64 {
        self.buffer.len() as f64 / self.filled.max(1) as f64
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Skips a byte order mark and returns the first bytes, at least one unless the stream is empty.
    pub(super) fn head(&mut self) -> io::Result<&[u8]> {
        // Waits for more only while a mark is possible: a pipe's first row may be a single byte long.
        let marks = || MARKS.into_iter().chain(NO_LINES.map(|(magic, _)| magic));
        let undecided = |bytes: &[u8]| marks().any(|mark| mark.starts_with(bytes) && mark.len() > bytes.len());
        while undecided(&self.buffer) && self.fill()? {}
        if self.buffer.starts_with(BOM) {
            let _mark = self.buffer.split_to(BOM.len());
        }
        while self.buffer.trim_ascii_start().is_empty() && self.buffer.len() <= self.limit && self.fill()? {}
        Ok(&self.buffer)
    }

    /// Returns the next record, or nothing at the end of the stream.
    ///
    /// `find_end` is given the bytes it has not seen yet and returns the index of the line feed that ends the record.
    pub(super) fn next(&mut self, mut find_end: impl FnMut(&[u8]) -> Option<usize>) -> io::Result<Option<Record>> {
        loop {
            if let Some(at) = find_end(&self.buffer[self.scanned..]) {
                return Ok(Some(self.take(self.scanned + at + 1)));
            }
            self.scanned = self.buffer.len();
            // One byte more than the limit may still be the carriage return of the line's end.
            if self.scanned > self.limit.saturating_add(1) {
                self.skipping = true;
                self.buffer = BytesMut::new();
                self.scanned = 0;
            }
            if !self.fill()? {
                let rest = self.buffer.len();
                return Ok((rest > 0 || self.skipping).then(|| self.take(rest)));
            }
        }
    }

    fn take(&mut self, length: usize) -> Record {
        self.scanned = 0;
        let record = self.buffer.split_to(length).freeze();
        if length > BLOCK {
            // The grown buffer goes with its record, so that small rows behind it don't pin it.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        let record = record.slice(..without_end(&record).len());
        match std::mem::take(&mut self.skipping) || record.len() > self.limit {
            true => Record::TooLarge,
            false => Record::Whole(record),
        }
    }

    /// Reads once; returns whether anything came.
    fn fill(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let length = self.buffer.len();
        if self.buffer.capacity() - length < BLOCK / 4 {
            self.buffer.reserve(BLOCK);
        }
        let end = self.buffer.capacity().min(length + BLOCK);
        self.buffer.resize(end, 0);
        let result = read_once(&mut self.source, &mut self.buffer[length..]);
        self.buffer.truncate(length + result.as_ref().copied().unwrap_or(0));
        let came = result?;
        self.filled += came as u64;
        self.ended = came == 0;
        Ok(!self.ended)
    }
}

fn read_once(source: &mut dyn Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn without_end(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    /// Hands out one piece for each read.
    struct Pieces(std::vec::IntoIter<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let piece = self.0.find(|piece| !piece.is_empty()).unwrap_or_default();
            into[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    fn records(pieces: Vec<Vec<u8>>, limit: usize) -> Vec<Record> {
        let mut blocks = Blocks::new(Box::new(Pieces(pieces.into_iter())), limit);
        blocks.head().unwrap();
        std::iter::from_fn(|| blocks.next(|bytes| memchr::memchr(b'\n', bytes)).unwrap()).collect()
    }

    fn cut(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect()
    }

    proptest! {
        #[test]
        fn where_reads_end_makes_no_difference(
            bytes in prop::collection::vec(prop::sample::select(b"\n\n\r\xEF\xBB\xBFab{".to_vec()), 0..60),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            limit in 1usize..12,
        ) {
            let pieces = cut(&bytes, &cuts);
            let found = records(pieces, limit);
            prop_assert_eq!(&found, &records(vec![bytes.clone()], limit));
            let text = bytes.strip_prefix(BOM).unwrap_or(&bytes);
            let lines = text.split_inclusive(|byte| *byte == b'\n');
            prop_assert_eq!(found.len(), lines.clone().count());
            for (record, line) in found.iter().zip(lines) {
                match record {
                    Record::Whole(bytes) => prop_assert_eq!(&bytes[..], without_end(line)),
                    Record::TooLarge => prop_assert!(without_end(line).len() > limit),
                }
            }
        }
    }

    /// A pipe whose writer sleeps.
    struct Asleep;

    impl Read for Asleep {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("read on although a record was there")
        }
    }

    #[test]
    fn a_record_is_handed_out_before_more_is_read() {
        for line in [&b"{}\n"[..], b"x\n", b"\xEF\xBB\xBFx\n"] {
            let mut blocks = Blocks::new(Box::new(line.chain(Asleep)), BLOCK);
            blocks.head().unwrap();
            assert!(matches!(blocks.next(|bytes| memchr::memchr(b'\n', bytes)), Ok(Some(Record::Whole(_)))));
        }
    }

    #[test]
    fn a_large_record_leaves_no_large_buffer_behind() {
        let mut bytes = vec![b'x'; 20 * BLOCK];
        bytes.extend(b"\nsmall\n");
        let mut blocks = Blocks::new(Box::new(io::Cursor::new(bytes)), 32 * BLOCK);
        let mut next = || blocks.next(|bytes| memchr::memchr(b'\n', bytes)).unwrap();
        assert!(matches!(next(), Some(Record::Whole(large)) if large.len() == 20 * BLOCK));
        assert_eq!(next(), Some(Record::Whole(Bytes::from_static(b"small"))));
        assert_eq!(next(), None);
        assert!(blocks.buffer.capacity() <= 2 * BLOCK);
    }

    #[test]
    fn a_record_over_the_limit_is_never_held() {
        let bytes = [vec![b'x'; 50 * BLOCK], b"\nnext".to_vec()].concat();
        let mut blocks = Blocks::new(Box::new(io::Cursor::new(bytes)), BLOCK);
        let mut largest = 0;
        let mut next = |blocks: &mut Blocks| {
            let record = blocks.next(|bytes| {
                largest = largest.max(bytes.len());
                memchr::memchr(b'\n', bytes)
            });
            record.unwrap()
        };
        assert_eq!(next(&mut blocks), Some(Record::TooLarge));
        assert_eq!(next(&mut blocks), Some(Record::Whole(Bytes::from_static(b"next"))));
        assert!(largest <= BLOCK && blocks.buffer.capacity() <= 2 * BLOCK);
    }
}
