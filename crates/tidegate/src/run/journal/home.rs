//! Where an output is, and where its journal.

use std::ffi::OsString;
use std::fs;
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

/// Symbolic links that are followed one after the other, as many as Linux itself follows.
const MOST_LINKS: usize = 40;

impl Home {
    /// Returns the usual place: `OUT.tidegate/` beside OUT, or beside the file that OUT is a symbolic link to.
    #[must_use]
    pub fn beside(out: &Path) -> Home {
        let out = linked(out);
        let mut dir = OsString::from(&out);
        dir.push(".tidegate");
        Home { out, dir: dir.into() }
    }

    /// Returns an output with its journal in a directory of the user's choice.
    #[must_use]
    pub fn with_journal(out: &Path, dir: &Path) -> Home {
        Home { out: linked(out), dir: dir.to_owned() }
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

/// Returns the file that a name leads to, whether it is there already or not. So a file has one journal and one lock under
/// all of its names, and is made anew where it is, not in the place of a link to it.
fn linked(out: &Path) -> PathBuf {
    let mut path = out.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    path
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
