//! Objects of a store as something to read: from front to back, or here and there.

use std::io::{self, Read};
use std::sync::Arc;
#[cfg(any(feature = "parquet", test))]
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use bytes::{Buf, Bytes};

use crate::run::store::{Object, Store};

/// What is asked for at once when an object is read from front to back: the next part is on its way while one is read.
const PART: u64 = 8 << 20;
/// What is asked for first: enough for a header, since every file of an input is looked at before the first row.
const FIRST: u64 = 64 << 10;

/// An object that can be read.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    pub(super) store: Arc<dyn Store>,
    pub(super) object: Object,
}

impl Remote {
    fn part(&self, from: u64, length: u64) -> io::Result<Bytes> {
        let end = (from + length).min(self.object.bytes);
        if from >= end {
            return Ok(Bytes::new());
        }
        let bytes = self.store.read(&self.object, from..end)?;
        if bytes.len() as u64 == end - from { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Reads it from front to back.
    pub(super) fn stream(self) -> impl Read + Send {
        Stream { remote: self, at: 0, part: Bytes::new(), next: None }
    }
}

struct Stream {
    remote: Remote,
    /// Where the next part begins that nobody has asked for.
    at: u64,
    part: Bytes,
    next: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Stream {
    /// Returns where the next part is, and steps over it.
    fn step(&mut self) -> (u64, u64) {
        let at = self.at;
        let length = if at == 0 { FIRST } else { PART };
        self.at += length;
        (at, length)
    }

    fn next_part(&mut self) -> io::Result<Bytes> {
        let part = match self.next.take() {
            Some(asked) => asked.join().map_err(|_| io::Error::other("the thread that reads it has stopped"))??,
            None => {
                let (at, length) = self.step();
                self.remote.part(at, length)?
            }
        };
        // Whoever wants more than the first part will want all.
        if self.at > FIRST && self.at < self.remote.object.bytes {
            let (remote, (at, length)) = (self.remote.clone(), self.step());
            let ask = move || remote.part(at, length);
            let thread = std::thread::Builder::new().name("tidegate-part".to_owned()).spawn(ask);
            self.next = Some(thread?);
        }
        Ok(part)
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.part.is_empty() && (self.next.is_some() || self.at < self.remote.object.bytes) {
            self.part = self.next_part()?;
        }
        let count = self.part.len().min(into.len());
        self.part.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

/// An object that is read here and there, in blocks of which the last ones used are kept.
#[cfg(feature = "parquet")]
pub(super) struct Blocks {
    remote: Remote,
    kept: std::sync::Mutex<Vec<(u64, Bytes)>>,
    read: Arc<AtomicU64>,
}

#[cfg(feature = "parquet")]
impl Blocks {
    const BYTES: u64 = 1 << 20;
    /// A Parquet file is read in as many places at once as it has columns.
    const KEPT: usize = 64;

    pub(super) fn new(remote: Remote, read: Arc<AtomicU64>) -> Blocks {
        Blocks { remote, kept: std::sync::Mutex::default(), read }
    }

    fn block(&self, number: u64) -> io::Result<Bytes> {
        let mut kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(other, _)| *other == number) {
            let used = kept.remove(at);
            kept.push(used);
            return Ok(kept[kept.len() - 1].1.clone());
        }
        let block = self.remote.part(number * Blocks::BYTES, Blocks::BYTES)?;
        self.read.fetch_add(block.len() as u64, Ordering::Relaxed);
        if kept.len() == Blocks::KEPT {
            kept.remove(0);
        }
        kept.push((number, block.clone()));
        Ok(block)
    }
}

#[cfg(feature = "parquet")]
impl super::ranged::Ranged for Blocks {
    fn size(&self) -> u64 {
        self.remote.object.bytes
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        if at >= self.size() {
            return Ok(0);
        }
        let mut block = self.block(at / Blocks::BYTES)?;
        block.advance(usize::try_from(at % Blocks::BYTES).unwrap_or_default().min(block.len()));
        let count = block.len().min(into.len());
        block.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::path::Path;

    use super::*;

    /// A store of one object, which counts how often it is asked.
    #[derive(Debug, Default)]
    struct One(Vec<u8>, AtomicU64);

    impl Store for One {
        fn find(&self, url: &str) -> io::Result<Object> {
            Ok(Object { url: url.into(), bytes: self.0.len() as u64, version: None })
        }

        fn list(&self, prefix: &str) -> io::Result<Vec<Object>> {
            Ok(vec![self.find(prefix)?])
        }

        fn read(&self, _: &Object, range: Range<u64>) -> io::Result<Bytes> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::copy_from_slice(&self.0[range.start as usize..range.end as usize]))
        }

        fn upload(&self, _: &Path, _: &str) -> io::Result<()> {
            Ok(())
        }
    }

    fn remote(bytes: Vec<u8>) -> (Arc<One>, Remote) {
        let store = Arc::new(One(bytes, AtomicU64::new(0)));
        let object = store.find("s3://a/b").unwrap();
        (store.clone(), Remote { store, object })
    }

    #[test]
    fn an_object_is_read_in_parts_to_its_end() {
        for length in [0, 1, FIRST as usize, PART as usize, 2 * PART as usize + 5] {
            let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let (store, remote) = remote(bytes.clone());
            let mut found = Vec::new();
            remote.stream().read_to_end(&mut found).unwrap();
            assert!(found == bytes, "{length}");
            let parts = u64::from(length > 0) + (length as u64).saturating_sub(FIRST).div_ceil(PART);
            assert_eq!(store.1.load(Ordering::Relaxed), parts, "{length}");
        }
    }

    #[test]
    fn a_store_that_gives_less_is_an_error() {
        let (_, mut remote) = remote(vec![7; 10]);
        remote.object.bytes = 8;
        assert!(remote.part(0, 8).is_ok());
        let (_, short) = self::remote(vec![7; 10]);
        let cut = Remote { store: Arc::new(Short), ..short };
        assert!(cut.stream().read_to_end(&mut Vec::new()).is_err());
    }

    #[derive(Debug)]
    struct Short;

    impl Store for Short {
        fn find(&self, _: &str) -> io::Result<Object> {
            Err(io::ErrorKind::NotFound.into())
        }

        fn list(&self, _: &str) -> io::Result<Vec<Object>> {
            Ok(Vec::new())
        }

        fn read(&self, _: &Object, _: Range<u64>) -> io::Result<Bytes> {
            Ok(Bytes::from_static(b"x"))
        }

        fn upload(&self, _: &Path, _: &str) -> io::Result<()> {
            Ok(())
        }
    }
}
