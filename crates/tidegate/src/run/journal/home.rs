//! Where an output is, and where its journal.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::dir::Staged;
use crate::error::{Error, Result};

/// An output and the directory of its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The result file.
    pub out: PathBuf,
    /// The directory that holds the journal.
    pub dir: PathBuf,
}

impl Home {
    /// Returns the usual place: `OUT.tidegate/` beside OUT.
    #[must_use]
    pub fn beside(out: &Path) -> Home {
        let mut dir = OsString::from(out);
        dir.push(".tidegate");
        Home { out: out.to_owned(), dir: dir.into() }
    }

    /// Returns where the journal is of what a user names: an output, or the directory of a journal itself.
    #[must_use]
    pub fn named(path: &Path) -> Home {
        if path.join("journal").is_file() {
            return Home { out: path.to_owned(), dir: path.to_owned() };
        }
        Home::beside(path)
    }

    /// As [`named`](Home::named), of what a run has written.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] where there is no journal.
    pub(crate) fn of_run(path: &Path) -> Result<Home> {
        let home = Home::named(path);
        match home.exists() {
            true => Ok(home),
            false => {
                let message = "there is no journal of tidegate; name the output of a run, or the folder of its journal";
                Err(Error::Usage(format!("{}: {message}", path.display())))
            }
        }
    }

    /// Begins a new version of an output: in the journal's directory if that is beside it, and so on the same disk.
    pub(super) fn stage(&self, path: &Path) -> Result<Staged> {
        if self.dir.parent() == path.parent() { Staged::inside(&self.dir, path) } else { Staged::beside(path) }
    }

    /// Returns whether there is a journal.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.dir.join("journal").exists()
    }
}

impl From<&Path> for Home {
    fn from(out: &Path) -> Home {
        Home::beside(out)
    }
}

impl From<&PathBuf> for Home {
    fn from(out: &PathBuf) -> Home {
        Home::beside(out)
    }
}

impl From<&Home> for Home {
    fn from(home: &Home) -> Home {
        home.clone()
    }
}
