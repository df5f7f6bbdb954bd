//! Puts an output into its store, unless it is there already.
//!
//! What was uploaded is noted beside the journal. The same command again, with nothing new, then only asks the store whether the
//! object is still the one that it put there. The note is a convenience: without it everything is uploaded again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Job;
use crate::error::{Error, Result};
use crate::json;
use crate::run::store::Store;

/// What was uploaded, by address.
type Notes = BTreeMap<String, Note>;

/// A file as it was when it was uploaded, and the object that was made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    bytes: u64,
    /// When the file was changed last.
    modified: Duration,
    version: Option<String>,
}

impl Job {
    /// Puts what was made where it belongs.
    pub(super) fn upload(&self, paths: &[PathBuf]) -> Result<()> {
        let (Some(url), Some(home), Some(store)) = (self.url(), self.home(), &self.input.store) else { return Ok(()) };
        let (local, noted) = (home.out.display().to_string(), home.dir.join("uploaded.json"));
        let mut notes: Notes = fs::read(&noted).ok().and_then(|text| json::from_slice(&text).ok()).unwrap_or_default();
        for path in paths.iter().filter(|path| path.exists()) {
            // An error file has the output's name with something behind it.
            let to = format!("{url}{}", path.display().to_string().strip_prefix(&local).unwrap_or_default());
            if notes.get(&to).is_some_and(|note| is_there(&**store, path, &to, note)) {
                continue;
            }
            // As it is before, so that a change meanwhile is one that is uploaded the next time.
            let file = state(path);
            store.upload(path, &to).map_err(|source| Error::storage(to.as_ref(), "cannot be uploaded", source))?;
            let object = store.find(&to).ok();
            if let (Some((bytes, modified)), Some(object)) = (file, object) {
                notes.insert(to, Note { bytes, modified, version: object.version });
            }
        }
        // Who cannot keep the note uploads once more.
        let _ = serde_json::to_vec(&notes).map(|text| fs::write(&noted, text));
        Ok(())
    }
}

/// Returns whether a file is what was uploaded, and the object still what was made of it.
fn is_there(store: &dyn Store, path: &Path, to: &str, note: &Note) -> bool {
    let same = state(path) == Some((note.bytes, note.modified));
    same && store.find(to).is_ok_and(|object| object.bytes == note.bytes && object.version == note.version)
}

/// Returns a file's size and when it was changed last.
fn state(path: &Path) -> Option<(u64, Duration)> {
    let about = fs::metadata(path).ok()?;
    Some((about.len(), about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::ops::Range;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;

    use super::*;
    use crate::run::store::Object;

    /// A store of one object, which counts uploads.
    #[derive(Debug, Default)]
    struct Bucket {
        uploads: AtomicU64,
        object: Mutex<Option<Object>>,
    }

    impl Store for Bucket {
        fn find(&self, _: &str) -> io::Result<Object> {
            self.object.lock().unwrap().clone().ok_or_else(|| io::Error::other("there is no such object"))
        }

        fn list(&self, _: &str) -> io::Result<Vec<Object>> {
            Ok(Vec::new())
        }

        fn read(&self, _: &Object, _: Range<u64>) -> io::Result<Bytes> {
            Err(io::Error::other("not read"))
        }

        fn upload(&self, file: &Path, url: &str) -> io::Result<()> {
            let number = self.uploads.fetch_add(1, Ordering::Relaxed);
            let bytes = fs::metadata(file)?.len();
            *self.object.lock().unwrap() = Some(Object { url: url.into(), bytes, version: Some(number.to_string()) });
            Ok(())
        }
    }

    #[test]
    fn what_is_there_is_not_uploaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let bucket = Arc::new(Bucket::default());
        let mut job =
            Job { out: Some("s3://lake/out.jsonl".into()), journal: Some(dir.path().into()), ..Job::default() };
        job.input.store = Some(bucket.clone());
        let out = job.home().unwrap().out;
        let uploads = |job: &Job| {
            job.upload(std::slice::from_ref(&out)).unwrap();
            bucket.uploads.load(Ordering::Relaxed)
        };
        fs::write(&out, "one\n").unwrap();
        assert_eq!((uploads(&job), uploads(&job)), (1, 1));
        fs::write(&out, "one\ntwo\n").unwrap();
        assert_eq!((uploads(&job), uploads(&job)), (2, 2));
        // Somebody has put another object there, or has taken it away.
        bucket.object.lock().unwrap().as_mut().unwrap().version = Some("foreign".to_owned());
        assert_eq!((uploads(&job), uploads(&job)), (3, 3));
        *bucket.object.lock().unwrap() = None;
        assert_eq!((uploads(&job), uploads(&job)), (4, 4));
    }
}
