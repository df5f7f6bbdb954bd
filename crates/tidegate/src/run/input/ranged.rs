//! Files that are read here and there instead of from front to back: their tables of contents stand at the end.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that can be read at any place.
pub(super) trait Ranged: Send + Sync {
    /// Returns how many there are.
    fn size(&self) -> u64;

    /// Reads some bytes from there on; none at the end.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;
}

/// A file on a disk; counts what is read of it.
pub(super) struct OnDisk {
    file: Mutex<File>,
    size: u64,
    read: Arc<AtomicU64>,
}

impl OnDisk {
    pub(super) fn open(path: &Path, read: Arc<AtomicU64>) -> io::Result<OnDisk> {
        let file = File::open(path)?;
        Ok(OnDisk { size: file.metadata()?.len(), file: Mutex::new(file), read })
    }
}

impl Ranged for OnDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(at))?;
        let count = file.read(into)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A place in such bytes, from which they are read on.
pub(super) struct Cursor {
    of: Arc<dyn Ranged>,
    at: u64,
}

impl Cursor {
    pub(super) fn new(of: Arc<dyn Ranged>, at: u64) -> Cursor {
        Cursor { of, at }
    }
}

impl Read for Cursor {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.of.read_at(self.at, into)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(by) => (self.of.size(), by),
            SeekFrom::Current(by) => (self.at, by),
        };
        self.at = base.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
