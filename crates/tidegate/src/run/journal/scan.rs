//! Reading the journal front to back: every frame is checked, in one pass through one buffer.
//!
//! A crash can leave a tail behind the last commit, which nobody counts and which is cut off. Anything unreadable
//! *before* a commit is damage: rows that were counted, and paid for, may be lost, so that is an error and never repaired
//! silently.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::{ControlFlow, Range};
use std::path::Path;

use super::frame::{self, COMMIT_LEN, Commit, Content, FRAME_HEAD, HEADER_LEN, Row, Split};
use crate::error::{Error, Result};

/// Large enough that reading costs little, small enough to stay in the processor's cache.
const CHUNK: usize = 512 << 10;

/// How much is read at once of a single frame, whose length is not known yet.
const FIRST_READ: usize = 4 << 10;

/// The known-good length that no file has: "rewrite this output".
pub(super) const STALE: u64 = u64::MAX;

/// What is known about a journal's committed part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Survey {
    /// Where the last commit ends.
    pub(super) end: u64,
    /// How many rows are committed, replaced ones included.
    pub(super) rows: u64,
    /// How many of them take the place of an earlier one.
    pub(super) replacing: u64,
    /// The number of rows before each run that committed any.
    pub(super) sessions: Vec<u64>,
    /// The number of the last run.
    pub(super) session: u32,
    /// Where the last batch that holds rows starts.
    pub(super) last_batch: u64,
    /// The known-good length of each output, from the last commit; nothing before the first.
    pub(super) lengths: Option<Vec<u64>>,
}

/// The rows since the last commit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Batch {
    /// Their number.
    pub(super) rows: u32,
    /// How many of them take the place of an earlier one.
    pub(super) replacing: u32,
}

impl Survey {
    /// Returns what is known about a journal without frames.
    pub(super) fn empty() -> Survey {
        let end = HEADER_LEN as u64;
        Survey { end, rows: 0, replacing: 0, sessions: Vec::new(), session: 0, last_batch: end, lengths: None }
    }

    /// Adds a batch whose commit frame ends at `end`.
    pub(super) fn add(&mut self, batch: Batch, commit: &Commit, end: u64) {
        if commit.session != self.session {
            self.sessions.push(self.rows);
            self.session = commit.session;
        }
        // A commit without rows only says how long the outputs are now: there is nothing of it to publish again.
        self.last_batch = if batch.rows == 0 { end } else { self.end };
        self.rows += u64::from(batch.rows);
        self.replacing += u64::from(batch.replacing);
        self.lengths = Some(commit.lengths.clone());
        self.end = end;
    }
}

/// The frames of a file, one after another.
pub(super) struct Frames {
    file: File,
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    offset: u64,
    limit: u64,
}

/// What comes next in a file of frames.
pub(super) enum Step<'a> {
    /// A frame whose checksum holds: where it starts, and its type with its payload.
    Frame(u64, &'a [u8]),
    /// Something else, or a frame that the file's end cuts off.
    Bad(u64),
    /// The end.
    End,
}

impl Frames {
    /// Opens a file to read the frames from one offset up to another.
    pub(super) fn open(path: &Path, from: u64, limit: u64) -> io::Result<Frames> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(Frames { file, buffer: Vec::new(), start: 0, filled: 0, offset: from, limit })
    }

    /// Reads the next frame. After [`Step::Bad`] there is nothing more to ask.
    pub(super) fn next(&mut self) -> io::Result<Step<'_>> {
        let at = self.offset;
        let left = self.limit.saturating_sub(at);
        if left == 0 {
            return Ok(Step::End);
        }
        let mut need = FRAME_HEAD;
        let len = loop {
            if need as u64 > left {
                return Ok(Step::Bad(at));
            }
            self.fill(need)?;
            match frame::split(&self.buffer[self.start..self.filled]) {
                Split::Whole(_, len) if len as u64 <= left => break len,
                Split::Needs(more) => need = more,
                Split::Whole(..) | Split::Bad => return Ok(Step::Bad(at)),
            }
        };
        let body = self.start + FRAME_HEAD..self.start + len;
        self.start += len;
        self.offset += len as u64;
        Ok(Step::Frame(at, &self.buffer[body]))
    }

    /// Makes at least `need` bytes available from `start`.
    fn fill(&mut self, need: usize) -> io::Result<()> {
        if self.filled - self.start >= need {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.start = 0;
        if self.buffer.len() < need.max(CHUNK) {
            self.buffer.resize(need.max(CHUNK), 0);
        }
        while self.filled < need {
            match self.file.read(&mut self.buffer[self.filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.filled += read,
            }
        }
        Ok(())
    }
}

/// Reads single frames of a file.
#[derive(Debug)]
pub(super) struct Random {
    file: File,
    buffer: Vec<u8>,
}

impl Random {
    pub(super) fn open(path: &Path) -> io::Result<Random> {
        Ok(Random { file: File::open(path)?, buffer: Vec::new() })
    }

    /// Reads the row whose frame starts there; nothing if none does.
    pub(super) fn row(&mut self, at: u64) -> io::Result<Option<Row<'_>>> {
        self.file.seek(SeekFrom::Start(at))?;
        self.buffer.clear();
        let mut need = FIRST_READ;
        loop {
            let missing = (need - self.buffer.len()) as u64;
            let read = self.file.by_ref().take(missing).read_to_end(&mut self.buffer)?;
            match frame::split(&self.buffer) {
                Split::Needs(more) if read > 0 => need = more.max(self.buffer.len() + 1),
                Split::Whole(..) => break,
                Split::Needs(_) | Split::Bad => return Ok(None),
            }
        }
        let Split::Whole(body, _) = frame::split(&self.buffer) else { return Ok(None) };
        Ok(match frame::content(body) {
            Some(Content::Row(row)) => Some(row),
            _ => None,
        })
    }
}

/// Reads a whole journal and finds its committed part.
///
/// # Errors
/// A journal of a newer version, one that is not ours, and damage before the last commit, with its offset.
pub(super) fn survey(path: &Path) -> Result<Survey> {
    let failed = |source| Error::storage(path, "cannot be read", source);
    let length = std::fs::metadata(path).map_err(failed)?.len();
    check_header(path, length)?;
    let mut survey = Survey::empty();
    let mut frames = Frames::open(path, survey.end, length).map_err(failed)?;
    let mut batch = Batch::default();
    loop {
        match frames.next().map_err(failed)? {
            Step::End => return Ok(survey),
            Step::Bad(at) => {
                return match commit_behind(path, at, length).map_err(failed)? {
                    true => Err(damaged(path, at)),
                    false => Ok(survey),
                };
            }
            Step::Frame(at, body) => match frame::content(body) {
                Some(Content::Row(row)) => batch.count(&row),
                Some(Content::Commit(commit)) if commit.position == at && commit.rows == batch.rows => {
                    survey.add(std::mem::take(&mut batch), &commit, at + (FRAME_HEAD + body.len()) as u64);
                }
                Some(Content::Commit(_)) => return Err(damaged(path, at)),
                None => return Err(Error::damaged(path, unknown(at))),
            },
        }
    }
}

/// Visits every row of a committed part of a journal, with its offset, until the visitor breaks off.
pub(super) fn walk(
    path: &Path,
    part: Range<u64>,
    mut visit: impl FnMut(u64, &Row<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let failed = |source| Error::storage(path, "cannot be read", source);
    let mut frames = Frames::open(path, part.start, part.end).map_err(failed)?;
    loop {
        match frames.next().map_err(failed)? {
            Step::End => return Ok(()),
            Step::Bad(at) => return Err(damaged(path, at)),
            Step::Frame(at, body) => match frame::content(body) {
                Some(Content::Row(row)) if visit(at, &row)?.is_break() => return Ok(()),
                Some(_) => {}
                None => return Err(Error::damaged(path, unknown(at))),
            },
        }
    }
}

impl Batch {
    /// Counts one more row.
    pub(super) fn count(&mut self, row: &Row<'_>) {
        self.rows += 1;
        self.replacing += u32::from(row.head.replaces);
    }
}

/// Makes the error about damage in the middle of a journal.
pub(super) fn damaged(path: &Path, at: u64) -> Error {
    let advice = "restore it from a backup, or choose another output with -o";
    Error::damaged(path, format!("damaged at byte {at}, with stored rows behind it; {advice}"))
}

fn unknown(at: u64) -> String {
    format!("the entry at byte {at} is of a kind that this version does not know; use the newer tidegate that wrote it")
}

fn check_header(path: &Path, length: u64) -> Result<()> {
    let failed = |source| Error::storage(path, "cannot be read", source);
    if length < HEADER_LEN as u64 {
        return Err(Error::damaged(path, "too short to be a journal; choose another output with -o"));
    }
    let mut header = [0; HEADER_LEN];
    File::open(path).and_then(|mut file| file.read_exact(&mut header)).map_err(failed)?;
    match frame::version(&header) {
        Some(frame::VERSION) => Ok(()),
        Some(version) if version > frame::VERSION => {
            let ours = frame::VERSION;
            let message =
                format!("written by a newer tidegate (format {version}, this one reads {ours}); update tidegate");
            Err(Error::damaged(path, message))
        }
        _ => Err(Error::damaged(path, "not a journal of tidegate (damaged at byte 0); choose another output with -o")),
    }
}

/// Returns whether a whole commit frame starts anywhere behind that offset.
fn commit_behind(path: &Path, from: u64, limit: u64) -> io::Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut file = file.take(limit.saturating_sub(from));
    let (mut base, mut window) = (from, Vec::new());
    loop {
        let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut window)?;
        let found = (0..window.len()).any(|at| is_commit(&window[at..], base + at as u64));
        if found || read == 0 {
            return Ok(found);
        }
        // A commit that the window's end cuts off is found in the next one.
        let done = window.len().saturating_sub(FRAME_HEAD + COMMIT_LEN.end());
        window.drain(..done);
        base += done as u64;
    }
}

fn is_commit(bytes: &[u8], at: u64) -> bool {
    if !frame::looks_like_commit(bytes) {
        return false;
    }
    let Split::Whole(body, _) = frame::split(bytes) else { return false };
    matches!(frame::content(body), Some(Content::Commit(commit)) if commit.position == at)
}
