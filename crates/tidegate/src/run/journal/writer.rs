//! The way into the journal: rows are appended to a buffer in memory, and a thread of its own makes them durable.
//!
//! The engine's thread must never wait for a disk, so [`Writer::append`] only copies bytes under a short lock. The thread
//! commits whatever has gathered 50 ms after the first row of a batch, or at 4 MB. If the disk is slower than the answers,
//! the buffer grows; whoever sends asks [`Writer::wait_below`] before it sends more.
//!
//! A storage error is kept: it fails every later append, and nothing is published after it.

use std::any::Any;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;

use super::Journal;
use super::commit::{Arrange, Committer, Finished, project_frames};
use super::frame::{self, Row};
use super::scan::Batch;
use crate::error::{Error, Result};
use crate::run::output::Projection;

/// How long rows gather before they are committed.
const GATHER: Duration = Duration::from_millis(50);
/// How many bytes are committed at once without waiting longer.
const BATCH_BYTES: usize = 4 << 20;
/// A buffer that grew beyond this is given back.
const KEEP_BYTES: usize = 4 << 20;

/// Appends rows; a thread commits and publishes them.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Ended>>,
}

/// Counts of what has been committed, for progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// Rows, failed ones included.
    pub rows: u64,
    /// Failed rows.
    pub failed: u64,
    /// Bytes, as the journal counts them.
    pub bytes: u64,
}

/// What a writer leaves behind.
#[derive(Debug)]
pub struct Closed {
    /// What was committed.
    pub committed: Committed,
    /// Whether the outputs were made anew because rows were replaced.
    pub rewritten: bool,
    /// What the output's format could not show, in sentences for the user.
    pub warnings: Vec<String>,
    /// The journal, still locked, unless there is none.
    pub journal: Option<Journal>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
    room: Notify,
    pending: AtomicU64,
    rows: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    batch: Batch,
    failed: u64,
    hurry: bool,
    closing: bool,
    failure: Option<Failure>,
}

/// A storage error, as often as it is asked for.
#[derive(Debug, Clone)]
struct Failure {
    path: PathBuf,
    message: String,
}

/// Where batches go.
enum Sink {
    Journal(Box<Committer>),
    Stream { projection: Projection, stream: Box<dyn Write + Send>, scratch: Vec<Vec<u8>> },
}

type Ended = (Sink, Result<()>);

impl Writer {
    /// Starts a writer for a journal.
    pub(super) fn start(committer: Committer) -> Result<Writer> {
        Writer::spawn(Sink::Journal(Box::new(committer)))
    }

    /// Starts a writer without a journal, such as to standard output: whole lines, written at each commit.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn stream(projection: Projection, stream: impl Write + Send + 'static) -> Result<Writer> {
        Writer::spawn(Sink::Stream { projection, stream: Box::new(stream), scratch: vec![Vec::new(); 2] })
    }

    fn spawn(mut sink: Sink) -> Result<Writer> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let work = move || {
            let ended = catch_unwind(AssertUnwindSafe(|| write_batches(&theirs, &mut sink)));
            let ended = ended.unwrap_or_else(|panic| Err(stopped(&*panic)));
            if let Err(error) = &ended {
                theirs.fail(error);
            }
            (sink, ended)
        };
        let thread = std::thread::Builder::new().name("tidegate-journal".to_owned()).spawn(work);
        let thread = thread.map_err(|source| Error::storage("journal".as_ref(), "cannot start its thread", source))?;
        Ok(Writer { shared, thread: Some(thread) })
    }

    /// Appends one row. It counts once it is committed, at most 50 ms later.
    ///
    /// # Errors
    /// An earlier storage error, or a row too large to be stored; nothing is appended then.
    pub fn append(&self, row: &Row<'_>) -> Result<()> {
        self.append_all(std::slice::from_ref(row))
    }

    /// Appends rows that were answered together: all of them are committed, or none.
    ///
    /// # Errors
    /// As with [`Writer::append`].
    pub fn append_all(&self, rows: &[Row<'_>]) -> Result<()> {
        let mut state = self.shared.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.error());
        }
        let before = state.buffer.len();
        if !rows.iter().all(|row| frame::push_row(&mut state.buffer, row)) {
            state.buffer.truncate(before);
            return Err(Error::damaged("journal".as_ref(), "a record is too large to be stored (over 255 MB)"));
        }
        for row in rows {
            state.batch.count(row);
            state.failed += u64::from(row.head.failed.is_some());
        }
        let after = state.buffer.len();
        self.shared.pending.fetch_add((after - before) as u64, Ordering::Relaxed);
        drop(state);
        if before == 0 || (before < BATCH_BYTES && after >= BATCH_BYTES) {
            self.shared.work.notify_one();
        }
        Ok(())
    }

    /// Returns the number of bytes that were appended and are not committed.
    #[must_use]
    pub fn pending_bytes(&self) -> u64 {
        self.shared.pending.load(Ordering::Relaxed)
    }

    /// Returns what has been committed so far.
    #[must_use]
    pub fn committed(&self) -> Committed {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Committed { rows: read(&self.shared.rows), failed: read(&self.shared.failed), bytes: read(&self.shared.bytes) }
    }

    /// Returns the storage error that ended the writing, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.shared.lock().failure.as_ref().map(Failure::error)
    }

    /// Asks for a commit now instead of within 50 ms.
    pub fn flush(&self) {
        self.shared.lock().hurry = true;
        self.shared.work.notify_one();
    }

    /// Waits until at most `limit` bytes are pending, such as 16 MB before more is sent, or 0 until all is committed.
    /// Returns at once after a storage error.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    pub async fn wait_below(&self, limit: u64) {
        loop {
            let mut changed = std::pin::pin!(self.shared.room.notified());
            // Listening begins before the check, so that a commit in between is not missed.
            changed.as_mut().enable();
            if self.pending_bytes() <= limit || self.failure().is_some() {
                return;
            }
            changed.await;
        }
    }

    /// Commits what is pending, ends the thread and completes the outputs. Blocks meanwhile.
    ///
    /// # Errors
    /// The first storage error. Everything committed before it is kept.
    pub fn close(self) -> Result<Closed> {
        self.close_arranged(None)
    }

    /// Does the same, and makes the outputs anew in the order that `arrange` decides on.
    pub(crate) fn close_arranged(mut self, arrange: Option<&Arrange<'_>>) -> Result<Closed> {
        let Some((sink, ended)) = self.join() else {
            return Err(Error::damaged("journal".as_ref(), "its thread has ended unexpectedly"));
        };
        ended?;
        let committed = self.committed();
        match sink {
            Sink::Journal(committer) => {
                let Finished { journal, rewritten, warnings } = committer.finish(arrange)?;
                Ok(Closed { committed, rewritten, warnings, journal: Some(journal) })
            }
            Sink::Stream { projection, .. } => {
                Ok(Closed { committed, rewritten: false, warnings: projection.warnings(), journal: None })
            }
        }
    }

    fn join(&mut self) -> Option<Ended> {
        let thread = self.thread.take()?;
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
        thread.join().ok()
    }
}

impl Drop for Writer {
    /// Commits what is pending; the outputs are completed when the output is opened again.
    fn drop(&mut self) {
        self.join();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a batch and swaps it with the empty buffer; returns nothing when all is written and no more will come.
    fn next_batch(&self, frames: &mut Vec<u8>) -> Option<(Batch, u64)> {
        let idle = |state: &mut State| state.buffer.is_empty() && !state.closing;
        let gathering = |state: &mut State| state.buffer.len() < BATCH_BYTES && !state.hurry && !state.closing;
        let state = self.work.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        let waited = self.work.wait_timeout_while(state, GATHER, gathering);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.hurry = false;
        if state.buffer.is_empty() {
            return None;
        }
        std::mem::swap(&mut state.buffer, frames);
        Some((std::mem::take(&mut state.batch), std::mem::take(&mut state.failed)))
    }

    fn committed(&self, batch: Batch, failed: u64, bytes: u64) {
        self.rows.fetch_add(u64::from(batch.rows), Ordering::Relaxed);
        self.failed.fetch_add(failed, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.pending.fetch_sub(bytes, Ordering::Relaxed);
        self.room.notify_waiters();
    }

    fn fail(&self, error: &Error) {
        let failure = match error {
            Error::Storage { path, message, .. } => Failure { path: path.clone(), message: message.clone() },
            other => Failure { path: PathBuf::from("journal"), message: other.to_string() },
        };
        self.lock().failure = Some(failure);
        self.room.notify_waiters();
    }
}

impl Failure {
    fn error(&self) -> Error {
        Error::damaged(&self.path, self.message.clone())
    }
}

impl Sink {
    fn commit(&mut self, frames: &mut Vec<u8>, batch: Batch) -> Result<()> {
        match self {
            Sink::Journal(committer) => committer.commit(frames, batch),
            Sink::Stream { projection, stream, scratch } => {
                project_frames(projection, frames, scratch)?;
                for bytes in scratch {
                    let written = stream.write_all(bytes).and_then(|()| stream.flush());
                    written
                        .map_err(|source| Error::storage("standard output".as_ref(), "cannot be written", source))?;
                    bytes.clear();
                }
                Ok(())
            }
        }
    }
}

fn write_batches(shared: &Shared, sink: &mut Sink) -> Result<()> {
    let mut frames = Vec::new();
    while let Some((batch, failed)) = shared.next_batch(&mut frames) {
        let bytes = frames.len() as u64;
        sink.commit(&mut frames, batch)?;
        shared.committed(batch, failed, bytes);
        frames.clear();
        frames.shrink_to(KEEP_BYTES);
    }
    Ok(())
}

fn stopped(panic: &(dyn Any + Send)) -> Error {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::damaged("journal".as_ref(), format!("its thread has stopped: {}", said.unwrap_or("unknown cause")))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::run::journal::RowHead;
    use crate::run::output::OutputOptions;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Closing(usize);

    impl Write for Closing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0 {
                0 => Err(io::ErrorKind::BrokenPipe.into()),
                _ => {
                    self.0 -= 1;
                    Ok(bytes.len())
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Panicking;

    impl Write for Panicking {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("a bug")
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn writer(stream: impl Write + Send + 'static) -> Writer {
        Writer::stream(Projection::new(&OutputOptions::default()).unwrap(), stream).unwrap()
    }

    fn row(record: &[u8]) -> Row<'_> {
        let head = RowHead { key: 1, raw: 0, request: 0, sample: 0, replaces: false, failed: None, model: "m" };
        Row { head, record, detail: None }
    }

    #[tokio::test]
    async fn rows_come_out_in_order_and_are_counted() {
        let memory = Memory::default();
        let writer = writer(memory.clone());
        for number in 0..1000 {
            writer.append(&row(number.to_string().as_bytes())).unwrap();
        }
        writer.flush();
        writer.wait_below(0).await;
        assert_eq!((writer.committed().rows, writer.pending_bytes()), (1000, 0));
        writer.append(&row(b"last")).unwrap();
        let closed = writer.close().unwrap();
        assert_eq!((closed.committed.rows, closed.committed.failed), (1001, 0));
        let expected: String = (0..1000).map(|number| format!("{number}\n")).chain(["last\n".to_owned()]).collect();
        assert_eq!(String::from_utf8(memory.0.lock().unwrap().clone()).unwrap(), expected);
    }

    #[tokio::test]
    async fn a_storage_error_wakes_who_waits_and_fails_every_later_append() {
        let writer = writer(Closing(1));
        writer.append(&row(b"one")).unwrap();
        writer.flush();
        writer.wait_below(0).await;
        writer.append(&row(b"two")).unwrap();
        writer.flush();
        writer.wait_below(0).await;
        assert!(writer.failure().is_some());
        assert!(matches!(writer.append(&row(b"three")), Err(Error::Storage { .. })));
        assert_eq!(writer.committed().rows, 1);
        let Err(Error::Storage { cause, .. }) = writer.close() else { panic!("closed well") };
        assert_eq!(cause.unwrap().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_bug_in_the_thread_is_an_error_and_no_hang() {
        let writer = writer(Panicking);
        writer.append(&row(b"one")).unwrap();
        writer.flush();
        writer.wait_below(0).await;
        assert!(writer.close().unwrap_err().to_string().contains("a bug"));
    }

    #[test]
    fn rows_of_one_call_are_refused_together() {
        let memory = Memory::default();
        let writer = writer(memory.clone());
        let model = "m".repeat(70_000);
        let large = Row { head: RowHead { model: &model, ..row(b"b").head }, ..row(b"b") };
        assert!(writer.append_all(&[row(b"a"), large]).is_err());
        assert!(writer.failure().is_none());
        writer.append(&row(b"c")).unwrap();
        assert_eq!(writer.close().unwrap().committed.rows, 1);
        assert_eq!(memory.0.lock().unwrap().as_slice(), b"c\n");
    }
}
