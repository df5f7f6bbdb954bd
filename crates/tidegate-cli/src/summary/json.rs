//! The summary as a file for programs.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tidegate::run::summary::Summary;
use tidegate::{Error, Result};

/// Writes the summary as JSON: a reader finds the whole of it or what was there before.
///
/// # Errors
///
/// [`Error::Storage`] if the file cannot be written.
pub(crate) fn write_json(summary: &Summary, path: &Path) -> Result<()> {
    // A pipe or a device is written to as it is; renaming would replace it.
    let special = fs::metadata(path).is_ok_and(|found| !found.is_file());
    let done = if special { write(summary, path) } else { write_and_rename(summary, path) };
    done.map_err(|source| Error::storage(path, "cannot write the summary", source))
}

fn write_and_rename(summary: &Summary, path: &Path) -> io::Result<()> {
    let temporary = beside(path)?;
    let done = write(summary, &temporary).and_then(|()| fs::rename(&temporary, path));
    if done.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    done
}

fn write(summary: &Summary, path: &Path) -> io::Result<()> {
    let mut to = BufWriter::new(File::create(path)?);
    serde_json::to_writer_pretty(&mut to, summary)?;
    to.write_all(b"\n")?;
    to.flush()
}

/// Returns a name in the same folder, so that the rename stays within one file system.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    Ok(path.with_file_name(temporary))
}

#[cfg(test)]
mod tests {
    use tidegate::run::summary::Tally;

    use super::*;

    #[test]
    fn the_file_is_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        fs::write(&path, "old").unwrap();
        write_json(&Summary::of(&Tally::default()), &path).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!((&json["version"], &json["failed"]), (&1.into(), &0.into()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_json(&Summary::of(&Tally::default()), &folder.path().join("no/s.json")).unwrap_err();
        assert!(error.to_string().contains("s.json: cannot write the summary: No such file"), "{error}");
    }

    #[test]
    fn a_folder_in_its_place_is_an_error_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write_json(&Summary::of(&Tally::default()), folder.path()).is_err());
        assert!(folder.path().is_dir());
    }
}
