//! A journal as it is at one moment, read without its lock, even while a run is writing to it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::bits::Bits;
use super::manifest::Manifest;
use super::scan::{self, Survey};
use super::{Row, live, visit_live};
use crate::error::{Error, Result};
use crate::run::output::Rows;

/// The rows that were committed when it was opened.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    survey: Survey,
    replaced: Bits,
    manifest: Manifest,
}

impl Snapshot {
    /// Opens the journal in a directory.
    ///
    /// # Errors
    /// A missing or damaged journal, storage.
    pub fn open(dir: &Path) -> Result<Snapshot> {
        let path = dir.join("journal");
        let survey = scan::survey(&path)?;
        let manifest = Manifest::read(dir)?.ok_or_else(|| {
            Error::damaged(&dir.join("manifest.json"), "is missing; restore it, or start the run again")
        })?;
        let replaced = live::replaced(&path, &survey)?;
        Ok(Snapshot { path, survey, replaced, manifest })
    }

    /// Returns what the answers were made with.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Shows every row that counts, with its offset, oldest first.
    ///
    /// # Errors
    /// Storage, and what `visit` returns.
    pub fn scan(&self, mut visit: impl FnMut(&Row<'_>, u64) -> Result<()>) -> Result<()> {
        visit_live(&self.path, &self.survey, &self.replaced, &mut |at, row| visit(row, at).map(ControlFlow::Continue))
    }

    /// Returns the rows at some offsets, in that order.
    pub(crate) fn arranged(&self, offsets: Vec<u64>) -> Arranged {
        Arranged::new(&self.path, offsets)
    }

    /// Returns a reader of single rows.
    ///
    /// # Errors
    /// Storage.
    pub(crate) fn rows_at(&self) -> Result<RowsAt> {
        RowsAt::open(&self.path)
    }
}

/// Reads single rows by their offset.
#[derive(Debug)]
pub(crate) struct RowsAt {
    path: PathBuf,
    file: scan::Random,
}

impl RowsAt {
    pub(super) fn open(path: &Path) -> Result<RowsAt> {
        let file = scan::Random::open(path).map_err(|source| Error::storage(path, "cannot be read", source))?;
        Ok(RowsAt { path: path.to_owned(), file })
    }

    /// Reads the row at an offset that a scan has shown.
    pub(crate) fn read(&mut self, at: u64) -> Result<Row<'_>> {
        match self.file.row(at) {
            Ok(Some(row)) => Ok(row),
            Ok(None) => Err(scan::damaged(&self.path, at)),
            Err(source) => Err(Error::storage(&self.path, "cannot be read", source)),
        }
    }
}

/// Rows in an order of their own: 8 bytes for each.
#[derive(Debug)]
pub(crate) struct Arranged {
    path: PathBuf,
    offsets: Vec<u64>,
}

impl Arranged {
    pub(super) fn new(path: &Path, offsets: Vec<u64>) -> Arranged {
        Arranged { path: path.to_owned(), offsets }
    }
}

impl Rows for Arranged {
    fn visit(&self, each: &mut dyn FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        let mut rows = RowsAt::open(&self.path)?;
        self.offsets.iter().try_for_each(|&at| each(&rows.read(at)?))
    }
}
