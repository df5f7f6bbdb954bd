//! The journal's bytes: a header, then frames, each a row or a commit.
//!
//! ```text
//! header   "TIDEGATE"  version u32
//! frame    length u32  crc32 u32  type u8  payload          (little endian; length and crc cover type and payload)
//! row      key u64  raw u32  request u32  sample u16  flags u8  kind (u8 + name)  model (u16 + name)
//!          record (u32 + JSON)  detail (JSON, the rest)
//! commit   rows u32  session u32  position u64  lengths u64 …
//! ```
//!
//! A row that replaces and has an empty record only takes another away.
//!
//! A failure's kind is stored by name, so that the order of [`Kind`] may change. A commit repeats its own position: with
//! that and its checksum no part of a row's text can be taken for one, which is how damage is told from a torn tail.

use crate::failure::Kind;

/// The number of bytes before the first frame.
pub(crate) const HEADER_LEN: usize = 12;
/// The format that this version writes, and the newest one it reads.
pub(crate) const VERSION: u32 = 1;
/// The largest frame: a damaged length must not make us reserve gigabytes.
pub(crate) const MAX_FRAME: usize = 256 << 20;
/// The smallest and the largest payload of a commit frame, with its type.
pub(crate) const COMMIT_LEN: std::ops::RangeInclusive<usize> = 17..=17 + 8 * 8;
/// The bytes before a frame's type.
pub(crate) const FRAME_HEAD: usize = 8;

const MAGIC: [u8; 8] = *b"TIDEGATE";
const ROW: u8 = 1;
/// A control character, so that it cannot occur in JSON text.
const COMMIT: u8 = 2;
const REPLACES: u8 = 1;

/// What the journal knows about a row without reading its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowHead<'a> {
    /// The row's identity: the hash of its id, or of its content.
    pub key: u64,
    /// A check of the raw row with everything of the run that changes the answer.
    pub raw: u32,
    /// A check of the rendered request.
    pub request: u32,
    /// The number of the sample under `--repeat`, otherwise 0.
    pub sample: u16,
    /// Whether this row takes the place of an earlier one with the same key.
    pub replaces: bool,
    /// Why the row failed, or nothing if it was answered.
    pub failed: Option<Kind>,
    /// The model that answered, or the last one tried; empty if none was.
    pub model: &'a str,
}

/// A row with its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// What is known without reading the record.
    pub head: RowHead<'a>,
    /// The record as JSON, on one line.
    pub record: &'a [u8],
    /// What only some outputs need, such as the provider's own body.
    pub detail: Option<&'a [u8]>,
}

impl<'a> Row<'a> {
    /// Makes a row that takes an earlier one of that key away and puts nothing in its place.
    #[must_use]
    pub fn withdrawal(key: u64) -> Row<'a> {
        let head = RowHead { key, raw: 0, request: 0, sample: 0, replaces: true, failed: None, model: "" };
        Row { head, record: &[], detail: None }
    }

    /// Returns whether the row only takes another away.
    #[must_use]
    pub fn is_withdrawal(&self) -> bool {
        self.head.replaces && self.record.is_empty()
    }
}

/// The end of a batch: every row before it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    /// The rows since the commit before.
    pub(crate) rows: u32,
    /// The number of the run that wrote it, counted from 1.
    pub(crate) session: u32,
    /// Where this frame starts in the file.
    pub(crate) position: u64,
    /// The length up to which each output file is known to be good: before this batch was appended to it.
    pub(crate) lengths: Vec<u64>,
}

/// What a frame holds.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    /// A row, committed or not.
    Row(Row<'a>),
    /// The end of a batch.
    Commit(Commit),
}

/// The start of some bytes, taken as a frame.
#[derive(Debug)]
pub(crate) enum Split<'a> {
    /// A frame whose checksum holds: its type with its payload, and its whole length.
    Whole(&'a [u8], usize),
    /// A frame that needs that many bytes in all.
    Needs(usize),
    /// Not a frame.
    Bad,
}

/// Returns the header of a new journal.
pub(crate) fn header() -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(&MAGIC);
    header[8..].copy_from_slice(&VERSION.to_le_bytes());
    header
}

/// Returns the version that a header names, or nothing if it is not one of ours.
pub(crate) fn version(header: &[u8]) -> Option<u32> {
    let mut rest = header.strip_prefix(&MAGIC)?;
    take(&mut rest).map(u32::from_le_bytes)
}

/// Appends a row's frame; returns false, and appends nothing, if the row is too large for one.
#[must_use]
pub(crate) fn push_row(buffer: &mut Vec<u8>, row: &Row<'_>) -> bool {
    let detail = row.detail.unwrap_or_default();
    let kind = row.head.failed.map_or("", Kind::name);
    let (Ok(model_len), Ok(kind_len)) = (u16::try_from(row.head.model.len()), u8::try_from(kind.len())) else {
        return false;
    };
    if row.record.len().saturating_add(detail.len()) > MAX_FRAME - usize::from(u16::MAX) - 1024 {
        return false;
    }
    let start = begin(buffer, ROW);
    buffer.extend_from_slice(&row.head.key.to_le_bytes());
    buffer.extend_from_slice(&row.head.raw.to_le_bytes());
    buffer.extend_from_slice(&row.head.request.to_le_bytes());
    buffer.extend_from_slice(&row.head.sample.to_le_bytes());
    buffer.push(if row.head.replaces { REPLACES } else { 0 });
    buffer.push(kind_len);
    buffer.extend_from_slice(kind.as_bytes());
    buffer.extend_from_slice(&model_len.to_le_bytes());
    buffer.extend_from_slice(row.head.model.as_bytes());
    buffer.extend_from_slice(&(row.record.len() as u32).to_le_bytes());
    buffer.extend_from_slice(row.record);
    buffer.extend_from_slice(detail);
    finish(buffer, start);
    true
}

/// Appends a commit's frame.
pub(crate) fn push_commit(buffer: &mut Vec<u8>, commit: &Commit) {
    let start = begin(buffer, COMMIT);
    buffer.extend_from_slice(&commit.rows.to_le_bytes());
    buffer.extend_from_slice(&commit.session.to_le_bytes());
    buffer.extend_from_slice(&commit.position.to_le_bytes());
    for length in &commit.lengths {
        buffer.extend_from_slice(&length.to_le_bytes());
    }
    finish(buffer, start);
}

fn begin(buffer: &mut Vec<u8>, kind: u8) -> usize {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; FRAME_HEAD]);
    buffer.push(kind);
    start
}

fn finish(buffer: &mut [u8], start: usize) {
    let (head, body) = buffer[start..].split_at_mut(FRAME_HEAD);
    head[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    head[4..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
}

/// Takes the first frame off some bytes.
pub(crate) fn split(bytes: &[u8]) -> Split<'_> {
    let mut rest = bytes;
    let (Some(len), Some(crc)) = (take(&mut rest), take(&mut rest)) else {
        return Split::Needs(FRAME_HEAD);
    };
    let len = u32::from_le_bytes(len) as usize;
    if len == 0 || len > MAX_FRAME {
        return Split::Bad;
    }
    match rest.get(..len) {
        None => Split::Needs(FRAME_HEAD + len),
        Some(body) if crc32fast::hash(body) == u32::from_le_bytes(crc) => Split::Whole(body, FRAME_HEAD + len),
        Some(_) => Split::Bad,
    }
}

/// Reads a frame's type and payload; nothing means that this version did not write it.
pub(crate) fn content(body: &[u8]) -> Option<Content<'_>> {
    match body.split_first()? {
        (&ROW, payload) => row(payload).map(Content::Row),
        (&COMMIT, payload) => commit(payload).map(Content::Commit),
        _ => None,
    }
}

/// Returns whether a frame's body could be a commit, without looking at its checksum.
pub(crate) fn looks_like_commit(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let plausible = |len: [u8; 4]| COMMIT_LEN.contains(&(u32::from_le_bytes(len) as usize));
    bytes.get(FRAME_HEAD) == Some(&COMMIT) && take(&mut rest).is_some_and(plausible)
}

fn row(mut rest: &[u8]) -> Option<Row<'_>> {
    let key = u64::from_le_bytes(take(&mut rest)?);
    let raw = u32::from_le_bytes(take(&mut rest)?);
    let request = u32::from_le_bytes(take(&mut rest)?);
    let sample = u16::from_le_bytes(take(&mut rest)?);
    let [flags, kind_len] = take(&mut rest)?;
    let failed = match text(&mut rest, usize::from(kind_len))? {
        "" => None,
        name => Some(Kind::from_name(name)?),
    };
    let model_len = u16::from_le_bytes(take(&mut rest)?);
    let model = text(&mut rest, usize::from(model_len))?;
    let record_len = u32::from_le_bytes(take(&mut rest)?);
    let (record, detail) = rest.split_at_checked(record_len as usize)?;
    let head = RowHead { key, raw, request, sample, replaces: flags & REPLACES != 0, failed, model };
    Some(Row { head, record, detail: (!detail.is_empty()).then_some(detail) })
}

fn commit(mut rest: &[u8]) -> Option<Commit> {
    let rows = u32::from_le_bytes(take(&mut rest)?);
    let session = u32::from_le_bytes(take(&mut rest)?);
    let position = u64::from_le_bytes(take(&mut rest)?);
    let (lengths, []) = rest.as_chunks() else { return None };
    Some(Commit { rows, session, position, lengths: lengths.iter().copied().map(u64::from_le_bytes).collect() })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

fn text<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a str> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    std::str::from_utf8(taken).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Row<'static> {
        let head = RowHead {
            key: 0x0123_4567_89ab_cdef,
            raw: 7,
            request: 9,
            sample: 3,
            replaces: true,
            failed: Some(Kind::Timeout),
            model: "sim/échо",
        };
        Row { head, record: br#"{"id":1}"#, detail: Some(br#"{"a":2}"#) }
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        for failed in Kind::ALL.into_iter().map(Some).chain([None]) {
            for detail in [None, Some(&b"[]"[..])] {
                let row = Row { head: RowHead { failed, ..example().head }, detail, ..example() };
                let mut bytes = Vec::new();
                assert!(push_row(&mut bytes, &row));
                let Split::Whole(body, len) = split(&bytes) else { panic!("not a frame") };
                assert_eq!(len, bytes.len());
                let Some(Content::Row(read)) = content(body) else { panic!("not a row") };
                assert_eq!(read, row);
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut bytes = Vec::new();
        assert!(push_row(&mut bytes, &example()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(split(&damaged), Split::Whole(..)), "bit {bit}");
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic() {
        let mut bytes = Vec::new();
        assert!(push_row(&mut bytes, &example()));
        for cut in 0..bytes.len() {
            split(&bytes[..cut]);
            content(&bytes[cut..]);
            content(&bytes[FRAME_HEAD..bytes.len() - cut.min(bytes.len() - FRAME_HEAD)]);
        }
    }

    #[test]
    fn a_row_too_large_for_a_frame_is_refused() {
        let model = "m".repeat(70_000);
        let row = Row { head: RowHead { model: &model, ..example().head }, ..example() };
        let mut bytes = Vec::new();
        assert!(!push_row(&mut bytes, &row));
        assert!(bytes.is_empty());
    }
}
