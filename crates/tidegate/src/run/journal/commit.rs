//! The commit protocol: how rows become durable, and how the outputs follow.
//!
//! For each batch: sync the outputs; write the rows and a commit frame that holds the outputs' synced lengths; sync the
//! journal; append the rows' projection to the outputs. So whatever an output holds is in the journal, and after a crash
//! it is whole up to the length in the last commit, from where the last batch is projected again.
//!
//! An output whose past rows were replaced cannot be mended by appending. The lengths then say [`STALE`] from the first
//! such commit on, while rows are still appended for whoever is reading along, and the output is rewritten as a whole
//! when the run ends, or when the next one begins. So is one of a format that cannot be appended to: it is never made before
//! the run ends, and is stale from the first new row on.
//!
//! States of an output: *good* (synced up to its length), *ahead* (one batch appended, not synced), *stale*. It never
//! holds a row that is not committed, and bytes that the journal cannot explain are moved away, never destroyed.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::dir::{self, Staged};
use super::frame::{self, Commit, Content, Split};
use super::manifest::Manifest;
use super::offsets::Offsets;
use super::scan::{self, Batch, STALE};
use super::snapshot::Arranged;
use super::{Journal, Row};
use crate::error::{Error, Result};
use crate::run::output::{Projection, Rows};

/// Decides on an order of rows: their offsets one after the other.
pub(crate) type Arrange<'a> = dyn Fn(&Offsets) -> Result<Vec<u64>> + 'a;

/// A file that grows: the seam at which tests make the disk fail.
pub(super) trait Store: Send {
    /// Appends bytes, all of them.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns once everything appended is durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file off at a length.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

impl Store for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// One output file.
struct Output {
    path: PathBuf,
    file: Box<dyn Store>,
    length: u64,
    ahead: bool,
}

/// Writes batches to the journal and their projection to the outputs.
pub(super) struct Committer {
    journal: Journal,
    file: Box<dyn Store>,
    outputs: Vec<Output>,
    projection: Projection,
    session: u32,
    stale: bool,
    scratch: Vec<Vec<u8>>,
}

impl Committer {
    /// Takes over a journal, and makes the outputs what it and the manifest say they are.
    ///
    /// Returns with it the files that were moved away because the journal could not explain what they held.
    pub(super) fn start(journal: Journal, manifest: &Manifest) -> Result<(Committer, Vec<PathBuf>)> {
        let projection = Projection::new(&manifest.output)?;
        let paths = projection.paths(&journal.home.out);
        let known = journal.survey.lengths.clone();
        let mut kept = Vec::new();
        match &known {
            None => refuse_foreign(&paths)?,
            Some(known) if known.len() < paths.len() => kept = keep_others(&journal, &paths)?,
            Some(_) => {}
        }
        let reformatted = journal.written_as.as_ref().is_some_and(|old| *old != manifest.output);
        let good = |known: &Vec<u64>| known.len() == paths.len() && !known.contains(&STALE) && !reformatted;
        let mut committer = Committer {
            session: journal.survey.session + 1,
            file: Box::new(dir::open_append(&journal.path)?),
            outputs: Vec::new(),
            stale: !known.as_ref().is_none_or(good),
            scratch: vec![Vec::new(); paths.len()],
            projection,
            journal,
        };
        if committer.projection.is_made_at_end() {
            committer.stale |= !committer.is_as_it_was(&paths, known.as_deref(), &mut kept)?;
        }
        if committer.stale {
            committer.mark_stale(paths.len())?;
        }
        manifest.write(&committer.journal.dir)?;
        if committer.projection.is_made_at_end() {
            return Ok((committer, kept));
        }
        if !committer.stale {
            committer.repair(&paths, &known.unwrap_or_else(|| vec![0; paths.len()]), &mut kept)?;
        }
        if committer.stale {
            committer.rewrite(None)?;
        }
        Ok((committer, kept))
    }

    /// Makes a batch of row frames durable, then publishes it. The buffer may be changed; it is the caller's to clear.
    pub(super) fn commit(&mut self, frames: &mut Vec<u8>, batch: Batch) -> Result<()> {
        self.stale |= batch.replacing > 0 || self.projection.is_made_at_end();
        let rows = frames.len();
        let lengths = self.known_good()?;
        self.store(frames, batch, lengths)?;
        self.publish(&frames[..rows])
    }

    /// Ends the run: the outputs are whole and synced, in the order that is wanted, and the journal says so.
    pub(super) fn finish(mut self, arrange: Option<&Arrange<'_>>) -> Result<Finished> {
        let rewritten = self.stale;
        if let Some(arrange) = arrange {
            let order = self.order(arrange)?;
            self.rewrite(Some(order))?;
        } else if self.stale {
            self.rewrite(None)?;
        } else if self.outputs.iter().any(|output| output.ahead) {
            let lengths = self.known_good()?;
            self.store(&mut Vec::new(), Batch::default(), lengths)?;
        }
        Ok(Finished { rewritten, warnings: self.projection.warnings(), journal: self.journal })
    }

    /// Syncs the outputs and returns their lengths.
    fn known_good(&mut self) -> Result<Vec<u64>> {
        if self.stale {
            return Ok(vec![STALE; self.scratch.len()]);
        }
        for output in &mut self.outputs {
            if std::mem::take(&mut output.ahead) {
                output.file.sync().map_err(|source| Error::storage(&output.path, "cannot be synced", source))?;
            }
        }
        Ok(self.outputs.iter().map(|output| output.length).collect())
    }

    /// Writes frames and the commit that makes them count, in one write.
    fn store(&mut self, frames: &mut Vec<u8>, batch: Batch, lengths: Vec<u64>) -> Result<()> {
        let start = self.journal.survey.end;
        let commit = Commit { rows: batch.rows, session: self.session, position: start + frames.len() as u64, lengths };
        frame::push_commit(frames, &commit);
        if let Err(source) = self.file.append(frames).and_then(|()| self.file.sync()) {
            // A full disk leaves a part of the batch. It does not count, and the next run would cut it off as well.
            let _ = self.file.truncate(start);
            return Err(Error::storage(&self.journal.path, "cannot be written", source));
        }
        self.journal.survey.add(batch, &commit, start + frames.len() as u64);
        Ok(())
    }

    /// Appends the projection of stored rows to the outputs.
    fn publish(&mut self, frames: &[u8]) -> Result<()> {
        if self.projection.is_made_at_end() {
            return Ok(());
        }
        self.scratch.iter_mut().for_each(Vec::clear);
        project_frames(&mut self.projection, frames, &mut self.scratch)?;
        for (output, bytes) in self.outputs.iter_mut().zip(&self.scratch) {
            output.append(bytes)?;
        }
        Ok(())
    }

    /// Brings each output back to its known-good length and appends the last batch again. Sets `stale` where that is
    /// not enough.
    fn repair(&mut self, paths: &[PathBuf], known: &[u64], kept: &mut Vec<PathBuf>) -> Result<()> {
        if known.iter().any(|&length| length > 0) {
            let projection = &mut self.projection;
            self.journal.walk(|_, row| projection.prime(row).map(ControlFlow::Break))?;
        }
        let last = self.journal.survey.last_batch..self.journal.survey.end;
        let (projection, scratch) = (&mut self.projection, &mut self.scratch);
        scan::walk(&self.journal.path, last, |_, row| projection.project(row, scratch).map(ControlFlow::Continue))?;
        for ((path, &length), again) in paths.iter().zip(known).zip(&self.scratch) {
            let found = std::fs::metadata(path).map_or(0, |found| found.len());
            self.stale |= found < length;
            if found > length + again.len() as u64 {
                kept.push(self.journal.dir.keep(path)?);
                self.stale = true;
            }
        }
        if self.stale {
            return Ok(());
        }
        for ((path, &length), again) in paths.iter().zip(known).zip(&self.scratch) {
            let mut output = Output::open(path)?;
            output.truncate(length)?;
            output.append(again)?;
            self.outputs.push(output);
        }
        Ok(())
    }

    /// Returns whether outputs that are made at the end are as the last run left them. One that somebody else has put there
    /// is moved away.
    fn is_as_it_was(&mut self, paths: &[PathBuf], known: Option<&[u64]>, kept: &mut Vec<PathBuf>) -> Result<bool> {
        let Some(known) = known.filter(|known| known.len() == paths.len()) else { return Ok(false) };
        let mut same = true;
        for (path, &length) in paths.iter().zip(known).filter(|(_, length)| **length != STALE) {
            match std::fs::metadata(path) {
                Ok(found) if found.len() == length => {}
                Ok(_) => {
                    kept.push(self.journal.dir.keep(path)?);
                    same = false;
                }
                Err(_) => same = false,
            }
        }
        Ok(same && !known.contains(&STALE))
    }

    /// Says in the journal that the outputs are not to be trusted.
    fn mark_stale(&mut self, outputs: usize) -> Result<()> {
        let stale = vec![STALE; outputs];
        if self.journal.survey.lengths.as_ref() == Some(&stale) {
            return Ok(());
        }
        self.store(&mut Vec::new(), Batch::default(), stale)
    }

    /// Asks in which order the rows that count are wanted.
    fn order(&mut self, arrange: &Arrange<'_>) -> Result<Vec<u64>> {
        self.journal.refresh()?;
        let mut entries = Vec::new();
        self.journal.walk(|at, row| {
            entries.push((row.head.key, at));
            Ok(ControlFlow::Continue(()))
        })?;
        arrange(&Offsets::new(entries))
    }

    /// Makes every output anew from the rows that count, in the order of their offsets or as they were committed. Until that
    /// is done the journal calls them stale.
    fn rewrite(&mut self, order: Option<Vec<u64>>) -> Result<()> {
        let paths = self.projection.paths(&self.journal.home.out);
        self.mark_stale(paths.len())?;
        self.journal.refresh()?;
        self.outputs.clear();
        let mut staged = Vec::new();
        for path in &paths {
            staged.push(self.journal.home.stage(path)?);
        }
        let arranged = order.map(|offsets| Arranged::new(&self.journal.path, offsets));
        let rows: &dyn Rows = arranged.as_ref().map_or(&self.journal as &dyn Rows, |arranged| arranged);
        self.projection.make(rows, staged.iter_mut().map(Staged::making).collect())?;
        for (staged, path) in staged.into_iter().zip(&paths) {
            staged.publish(path)?;
            self.outputs.push(Output::open(path)?);
        }
        self.stale = false;
        let lengths = self.known_good()?;
        self.store(&mut Vec::new(), Batch::default(), lengths)
    }
}

impl Rows for Journal {
    fn visit(&self, each: &mut dyn FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        self.walk(|_, row| each(row).map(ControlFlow::Continue))
    }
}

/// What remains when a run has ended.
pub(super) struct Finished {
    /// The journal, still locked.
    pub(super) journal: Journal,
    /// Whether the outputs were made anew.
    pub(super) rewritten: bool,
    /// What the projection could not show.
    pub(super) warnings: Vec<String>,
}

impl Output {
    /// Opens an output to append to, and locks it: the lock of its journal says nothing to a run with another journal.
    /// Elsewhere than on Unix a lock would keep readers away, and where there are no locks it is done without.
    fn open(path: &Path) -> Result<Output> {
        let file = dir::open_append(path)?;
        if cfg!(unix) && matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(Error::InUse(path.to_owned()));
        }
        let length = file.metadata().map_err(|source| Error::storage(path, "cannot be read", source))?.len();
        Ok(Output { path: path.to_owned(), file: Box::new(file), length, ahead: false })
    }

    fn truncate(&mut self, length: u64) -> Result<()> {
        if self.length != length {
            self.file.truncate(length).map_err(|source| Error::storage(&self.path, "cannot be cut off", source))?;
            self.length = length;
            self.ahead = true;
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if let Err(source) = self.file.append(bytes) {
            // Readers shall see whole lines only; the journal has the rest.
            let _ = self.file.truncate(self.length);
            return Err(Error::storage(&self.path, "cannot be written", source));
        }
        self.length += bytes.len() as u64;
        self.ahead = true;
        Ok(())
    }
}

/// Projects the rows of a buffer of our own frames.
pub(super) fn project_frames(projection: &mut Projection, frames: &[u8], out: &mut [Vec<u8>]) -> Result<()> {
    let mut rest = frames;
    while let Split::Whole(body, len) = frame::split(rest) {
        if let Some(Content::Row(row)) = frame::content(body)
            && !row.is_withdrawal()
        {
            projection.project(&row, out)?;
        }
        rest = &rest[len..];
    }
    Ok(())
}

fn refuse_foreign(paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        if dir::is_foreign(path)? {
            return Err(dir::refusal(path));
        }
    }
    Ok(())
}

/// Moves away what stands where a changed format puts a second file.
fn keep_others(journal: &Journal, paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let others = paths.iter().filter(|path| **path != journal.home.out && path.exists());
    others.map(|path| journal.dir.keep(path)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::run::journal::home::Home;
    use crate::run::journal::{Opened, RowHead};
    use crate::run::output::OutputOptions;

    /// A file on a disk with little space left: what fits is written, as a real one does it.
    struct Full {
        file: File,
        left: usize,
    }

    impl Store for Full {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            let fits = bytes.len().min(self.left);
            self.left -= fits;
            self.file.append(&bytes[..fits])?;
            if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }

        fn sync(&mut self) -> io::Result<()> {
            self.file.sync()
        }

        fn truncate(&mut self, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    fn open(out: &Path) -> Opened {
        Journal::open(out).unwrap()
    }

    fn start(out: &Path) -> Committer {
        let manifest = Manifest::new(String::new(), OutputOptions::default(), BTreeMap::new());
        Committer::start(open(out).journal, &manifest).unwrap().0
    }

    fn commit(committer: &mut Committer, key: u64) -> Result<()> {
        let head = RowHead { key, raw: 0, request: 0, sample: 0, replaces: false, failed: None, model: "" };
        let record = format!("{{\"id\":{key}}}");
        let row = Row { head, record: record.as_bytes(), detail: None };
        let mut frames = Vec::new();
        assert!(frame::push_row(&mut frames, &row));
        committer.commit(&mut frames, Batch { rows: 1, replacing: 0 })
    }

    #[test]
    fn when_the_disk_is_full_nothing_is_published_that_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        // A batch of one row is about 90 bytes: it fails at every byte of the second one.
        for left in 0..200 {
            let _ = (fs::remove_file(&out), fs::remove_dir_all(Home::beside(&out).dir));
            let mut committer = start(&out);
            let path = committer.journal.path.clone();
            committer.file = Box::new(Full { file: dir::open_append(&path).unwrap(), left });
            let results = [commit(&mut committer, 1), commit(&mut committer, 2)];
            drop(committer);
            let shown = fs::read_to_string(&out).unwrap().lines().count();
            let stored = results.iter().filter(|result| result.is_ok()).count();
            assert_eq!(shown, stored, "{left} bytes left");
            let opened = open(&out);
            assert_eq!(opened.journal.rows(), stored as u64, "{left} bytes left");
            if let Some(Err(error)) = results.into_iter().find(Result::is_err) {
                assert!(matches!(error, Error::Storage { .. }), "{error}");
            }
        }
    }

    #[test]
    fn an_output_that_cannot_be_written_is_completed_by_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let mut committer = start(&out);
        commit(&mut committer, 1).unwrap();
        committer.outputs[0].file = Box::new(Full { file: dir::open_append(&out).unwrap(), left: 4 });
        assert!(commit(&mut committer, 2).is_err());
        drop(committer);
        assert_eq!(fs::read_to_string(&out).unwrap(), "{\"id\":1}\n{\"id");
        drop(start(&out));
        assert_eq!(fs::read_to_string(&out).unwrap(), "{\"id\":1}\n{\"id\":2}\n");
    }
}
