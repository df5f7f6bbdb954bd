//! `OUT.tidegate/`: where the journal lives, who may use it, and how files in and beside it are made.
//!
//! Prompts and answers are private, so everything here is readable by its owner only. A file that is replaced is written
//! beside, synced and renamed, so that at any instant there is either the old one or the new one.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::frame;
use super::home::Home;
use crate::error::{Error, Result};
use crate::run::output::Making;

/// The directory beside an output that belongs to this process.
#[derive(Debug)]
pub(super) struct Dir {
    path: PathBuf,
    /// Held as long as this is open; the system lets go of it even when we are killed.
    _lock: File,
}

impl Dir {
    /// Makes the directory if need be and takes its lock.
    ///
    /// # Errors
    /// An output that we did not make, a lock that another process holds, storage.
    pub(super) fn open(home: &Home) -> Result<Dir> {
        let (out, path) = (&home.out, home.dir.clone());
        if !path.join("journal").exists() && is_foreign(out)? {
            return Err(refusal(out));
        }
        create_private_dir(&path)
            .and_then(|()| sync_dir(parent(&path)))
            .map_err(|source| not_created(&path, source))?;
        let lock_path = path.join("lock");
        let failed = |source| Error::storage(&lock_path, "cannot be locked", source);
        let lock = private(OpenOptions::new().create(true).truncate(false).write(true)).open(&lock_path);
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Dir { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse(out.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Returns the journal's path.
    pub(super) fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Makes an empty journal if there is none.
    pub(super) fn create_journal(&self) -> Result<()> {
        let path = self.journal();
        if path.exists() {
            return Ok(());
        }
        self.replace(&path, &frame::header())
    }

    /// Returns where the manifest is.
    pub(super) fn manifest(&self) -> PathBuf {
        self.path.join("manifest.json")
    }

    /// Moves a file of unknown contents into the directory, instead of overwriting it, and returns where it is now.
    pub(super) fn keep(&self, file: &Path) -> Result<PathBuf> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let free = |number: &u32| !self.path.join(format!("{name}.kept-{number}")).exists();
        let number = (1..).find(free).unwrap_or_default();
        let kept = self.path.join(format!("{name}.kept-{number}"));
        fs::rename(file, &kept).map_err(|source| Error::storage(file, "cannot be moved away", source))?;
        Ok(kept)
    }

    /// Replaces a small file as a whole.
    pub(super) fn replace(&self, path: &Path, contents: &[u8]) -> Result<()> {
        replace(&self.path, path, contents)
    }
}

/// Replaces a small file as a whole, by way of one inside the directory.
pub(super) fn replace(dir: &Path, path: &Path, contents: &[u8]) -> Result<()> {
    let mut staged = Staged::inside(dir, path)?;
    staged.file.write_all(contents).map_err(|source| Error::storage(&staged.path, "cannot be written", source))?;
    staged.publish(path)
}

/// A new version of a file that is not in its place yet.
#[derive(Debug)]
pub(crate) struct Staged {
    path: PathBuf,
    file: File,
}

impl Staged {
    /// Begins a new version of a file, inside a directory that lies on the same disk.
    pub(super) fn inside(dir: &Path, path: &Path) -> Result<Staged> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        Staged::create(dir.join(name))
    }

    /// Begins a new version of a file, in a hidden file beside it.
    pub(crate) fn beside(path: &Path) -> Result<Staged> {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".new");
        Staged::create(path.with_file_name(name))
    }

    fn create(path: PathBuf) -> Result<Staged> {
        let mut options = OpenOptions::new();
        let file = private(options.create(true).truncate(true).write(true)).open(&path);
        let file = file.map_err(|source| not_created(&path, source))?;
        Ok(Staged { path, file })
    }

    /// Returns the file as something to write.
    pub(crate) fn making(&mut self) -> Making<'_> {
        Making { path: &self.path, file: &mut self.file }
    }

    /// Returns where it is until then.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it.
    pub(crate) fn discard(self) {
        let _ = fs::remove_file(&self.path);
    }

    /// Puts the new version in its place: whole or not at all, even if the machine stops.
    pub(crate) fn publish(self, path: &Path) -> Result<()> {
        let failed = |source| Error::storage(path, "cannot be replaced", source);
        self.file.sync_all().map_err(failed)?;
        drop(self.file);
        fs::rename(&self.path, path).and_then(|()| sync_dir(parent(path))).map_err(failed)
    }
}

/// Makes the error about something that cannot be created; mostly its folder is not there.
fn not_created(path: &Path, source: io::Error) -> Error {
    let missing = source.kind() == io::ErrorKind::NotFound;
    let doing = if missing { "cannot be created, make its folder first" } else { "cannot be created" };
    Error::storage(path, doing, source)
}

/// Makes the error about an output that is not ours.
pub(super) fn refusal(out: &Path) -> Error {
    if out.is_dir() {
        return Error::Usage(format!("{} is a folder; name a file in it with -o", out.display()));
    }
    Error::Usage(format!(
        "refusing to overwrite {}, which tidegate did not make; choose another output with -o, or move it away",
        out.display()
    ))
}

/// Returns whether something exists there that we would destroy; an empty file is not.
pub(super) fn is_foreign(out: &Path) -> Result<bool> {
    match fs::metadata(out) {
        Ok(found) => Ok(!found.is_file() || found.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::storage(out, "cannot be read", source)),
    }
}

/// Opens a file to append to, readable by its owner only if it is new.
pub(super) fn open_append(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    private(options.create(true).append(true))
        .open(path)
        .map_err(|source| Error::storage(path, "cannot be opened for writing", source))
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a new name in a directory durable.
#[cfg(unix)]
fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Elsewhere a directory cannot be opened as a file; a rename is as durable as the system makes it.
#[cfg(not(unix))]
fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}
