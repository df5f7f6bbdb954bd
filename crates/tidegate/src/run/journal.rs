//! The journal: every answer, stored before anybody sees it.
//!
//! Answers cost money and time, so the one thing that must not happen is to lose or to repeat one. `OUT.tidegate/` holds
//! them all in an append-only file and is the only truth; OUT is a projection of it that can be made anew at any time.
//! A database would do this too, and cost more per row than a local server needs to answer it.
//!
//! | file | holds |
//! |---|---|
//! | `journal` | rows and commits, see `frame` |
//! | `manifest.json` | what the answers were made with, see `manifest` |
//! | `spent.json` | what no record says of the money spent, see `spent`; only after a run with a budget |
//! | `timeline.jsonl` | how the runs went moment by moment, for reports, see [`timeline`](super::timeline) |
//! | `lock` | nothing; whoever holds its lock may write |
//!
//! A journal's life: [`Journal::open`] takes the lock, cuts off what a crash left behind the last commit, and knows which
//! rows count; [`Journal::scan`] shows them; [`Journal::start`] makes OUT whole and turns the journal into a [`Writer`];
//! [`Writer::close`] gives it back. Killed at any instant, no committed row is lost and none is in OUT twice.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

mod bits;
mod commit;
mod dir;
mod frame;
mod home;
mod index;
mod live;
mod manifest;
mod offsets;
mod resume;
mod scan;
mod snapshot;
mod spent;
mod writer;

pub(crate) use dir::Staged;
pub use frame::{Row, RowHead};
pub use home::Home;
pub use index::{Found, Index, IndexBuilder, KeyHasher, Seen};
pub use manifest::{Asked, Difference, Invocation, Manifest};
pub(crate) use offsets::{Offsets, Taker};
pub use resume::{Changed, Decision, Identity, Resume, Rules};
pub use snapshot::Snapshot;
pub use spent::{Spent, SpentFile};
pub use writer::{Closed, Committed, Writer};

use self::bits::Bits;
pub(crate) use self::commit::Arrange;
use self::commit::Committer;
use self::dir::Dir;
use self::frame::HEADER_LEN;
use self::scan::Survey;
use super::output::OutputOptions;
use crate::error::{Error, Result};

/// An output's journal, locked by this process.
#[derive(Debug)]
pub struct Journal {
    home: Home,
    path: PathBuf,
    dir: Dir,
    survey: Survey,
    replaced: Bits,
    written_as: Option<OutputOptions>,
}

/// A journal that has just been opened.
#[derive(Debug)]
pub struct Opened {
    /// The journal.
    pub journal: Journal,
    /// What its answers were made with, unless it is new.
    pub manifest: Option<Manifest>,
    /// How many bytes of an interrupted commit were cut off.
    pub repaired: u64,
}

/// A writer that has just been started.
#[derive(Debug)]
pub struct Started {
    /// The writer.
    pub writer: Writer,
    /// Files that held what the journal cannot explain, moved here instead of being overwritten.
    pub kept: Vec<PathBuf>,
}

impl Journal {
    /// Opens an output's journal, or makes an empty one.
    ///
    /// # Errors
    /// An output that tidegate did not make, one that another process writes, a journal of a newer version, damage
    /// before the last commit, and storage.
    pub fn open(home: impl Into<Home>) -> Result<Opened> {
        let home = home.into();
        let dir = Dir::open(&home)?;
        dir.create_journal()?;
        let path = dir.journal();
        let survey = scan::survey(&path)?;
        let repaired = cut_tail(&path, survey.end)?;
        let manifest = Manifest::read(&home.dir)?;
        if manifest.is_none() && survey.rows > 0 {
            let message = "is missing, and without it the stored answers cannot be matched to rows; restore it";
            return Err(Error::damaged(&dir.manifest(), message));
        }
        let replaced = live::replaced(&path, &survey)?;
        let written_as = manifest.as_ref().map(|manifest| manifest.output.clone());
        let journal = Journal { home, path, dir, survey, replaced, written_as };
        Ok(Opened { journal, manifest, repaired })
    }

    /// Returns the number of stored rows, replaced ones included.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.survey.rows
    }

    /// Shows every row that counts, with its offset in the journal, oldest first. Replaced rows are left out.
    ///
    /// # Errors
    /// Storage, and what `visit` returns.
    pub fn scan(&self, mut visit: impl FnMut(&Row<'_>, u64) -> Result<()>) -> Result<()> {
        self.walk(|at, row| visit(row, at).map(ControlFlow::Continue))
    }

    /// Shows every row that was ever stored, replaced ones included: they were paid for too.
    ///
    /// # Errors
    /// Storage, and what `visit` returns.
    pub fn scan_all(&self, mut visit: impl FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        scan::walk(&self.path, HEADER_LEN as u64..self.survey.end, |_, row| {
            visit(row).map(|()| ControlFlow::Continue(()))
        })
    }

    /// Writes the manifest, such as at the end of a run.
    ///
    /// # Errors
    /// Storage.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<()> {
        manifest.write(&self.dir)
    }

    /// Writes the manifest, makes the output what it and the journal say, and starts to take rows.
    ///
    /// # Errors
    /// Fields that the output cannot have, an error file that tidegate did not make, and storage.
    pub fn start(self, manifest: &Manifest) -> Result<Started> {
        let (committer, kept) = Committer::start(self, manifest)?;
        Ok(Started { writer: Writer::start(committer)?, kept })
    }

    fn walk(&self, mut visit: impl FnMut(u64, &Row<'_>) -> Result<ControlFlow<()>>) -> Result<()> {
        visit_live(&self.path, &self.survey, &self.replaced, &mut visit)
    }

    /// Finds out anew which rows count.
    fn refresh(&mut self) -> Result<()> {
        self.replaced = live::replaced(&self.path, &self.survey)?;
        Ok(())
    }
}

/// The name of the file that says how runs went, moment by moment.
pub(super) const TIMELINE: &str = "timeline.jsonl";

/// Returns where a file beside the journal is of an output, or in the directory of a journal.
pub(super) fn beside(out: &Path, name: &str) -> PathBuf {
    Home::named(out).dir.join(name)
}

/// Shows every row that counts of an output's journal without taking its lock, even while a run is writing to it.
///
/// # Errors
/// A missing or damaged journal, storage, and what `visit` returns.
pub fn read(out: &Path, visit: impl FnMut(&Row<'_>, u64) -> Result<()>) -> Result<()> {
    Snapshot::open(&Home::of_run(out)?.dir)?.scan(visit)
}

/// Opens a file in a journal's directory to append to.
///
/// # Errors
/// Storage.
pub(super) fn append_in(dir: &Path, name: &str) -> Result<std::fs::File> {
    dir::open_append(&dir.join(name))
}

fn visit_live(
    path: &Path,
    survey: &Survey,
    replaced: &Bits,
    visit: &mut dyn FnMut(u64, &Row<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut number = 0;
    scan::walk(path, HEADER_LEN as u64..survey.end, |at, row| {
        number += 1;
        if replaced.get(number - 1) { Ok(ControlFlow::Continue(())) } else { visit(at, row) }
    })
}

/// Cuts off what is behind the last commit, and returns how many bytes that were.
fn cut_tail(path: &Path, end: u64) -> Result<u64> {
    let failed = |source| Error::storage(path, "cannot be repaired", source);
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > end {
        let file = std::fs::OpenOptions::new().write(true).open(path).map_err(failed)?;
        file.set_len(end).and_then(|()| file.sync_all()).map_err(failed)?;
    }
    Ok(length.saturating_sub(end))
}
