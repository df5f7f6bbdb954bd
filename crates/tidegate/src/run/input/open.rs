//! Finds the input files and opens them: globs, standard input, packed files, a look at the first bytes.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::blocks::NO_LINES;
#[cfg(feature = "parquet")]
use super::ranged::{OnDisk, Ranged};
#[cfg(feature = "parquet")]
use super::remote::Blocks;
use super::remote::Remote;
use super::{Format, InputOptions};
use crate::error::{Error, Result};
use crate::run::packing::Packing;
use crate::run::store::{NO_STORE, Object, Store, is_url};

/// A file to read.
#[derive(Debug)]
pub(super) struct Source {
    /// What it is called in messages.
    pub(super) name: Arc<str>,
    /// Nothing for standard input.
    path: Option<PathBuf>,
    /// Where it is, if it has an address in place of a path.
    remote: Option<Remote>,
    /// Its size, if it is a regular file: one that may be opened twice.
    pub(super) bytes: Option<u64>,
}

/// Finds all files, in the order of the paths.
pub(super) fn find(options: &InputOptions) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in &options.paths {
        match path.as_str() {
            "-" => sources.push(Source { name: "<stdin>".into(), path: None, remote: None, bytes: None }),
            url if is_url(url) => sources.extend(find_remote(url, options.store.as_ref())?),
            path if is_glob(path) => sources.extend(expand(path)?),
            path => sources.push(Source::file(Path::new(path))?),
        }
    }
    let outputs: Vec<PathBuf> = options.outputs.iter().filter_map(|path| path.canonicalize().ok()).collect();
    let is_output = |source: &Source| source.path.as_ref().is_some_and(|path| is_one_of(path, &outputs));
    if let Some(output) = sources.iter().find(|source| is_output(source)).filter(|_| sources.iter().all(is_output)) {
        return Err(Error::input(&output.name, "is also the output; choose another output with -o"));
    }
    sources.retain(|source| !is_output(source));
    let mut seen = HashSet::new();
    match sources.iter().find(|source| !seen.insert(&source.name)) {
        Some(twice) => Err(Error::input(&twice.name, "is named twice; its rows would be sent twice")),
        None => Ok(sources),
    }
}

fn is_one_of(path: &Path, others: &[PathBuf]) -> bool {
    !others.is_empty() && path.canonicalize().is_ok_and(|path| others.contains(&path))
}

/// Returns whether a path is a pattern: a file that really has such a name wins.
fn is_glob(path: &str) -> bool {
    path.contains(['*', '?', '[']) && !Path::new(path).exists()
}

fn expand(pattern: &str) -> Result<Vec<Source>> {
    let matches = glob::glob(pattern).map_err(|e| Error::input(pattern, format!("is not a pattern: {}", e.msg)))?;
    let mut paths = matches
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Error::input(e.path().display(), format!("cannot be read: {}", e.error())))?;
    paths.retain(|path| !path.is_dir());
    paths.sort_unstable();
    match paths.is_empty() {
        true => Err(Error::input(pattern, "no file matches this pattern")),
        false => paths.iter().map(|path| Source::file(path)).collect(),
    }
}

/// Finds an object, or all that a pattern names.
fn find_remote(url: &str, store: Option<&Arc<dyn Store>>) -> Result<Vec<Source>> {
    let store = store.ok_or_else(|| Error::input(url, format!("cannot be read: {NO_STORE}")))?;
    let failed = |error: io::Error| Error::input(url, error.to_string());
    // A `?` of the web begins a query.
    let is_web = url.starts_with("http");
    let Some(first) = url.find(['*', '?', '[']).filter(|_| !is_web) else {
        return Ok(vec![Source::remote(store, store.find(url).map_err(failed)?)]);
    };
    let pattern =
        glob::Pattern::new(url).map_err(|error| Error::input(url, format!("is not a pattern: {}", error.msg)))?;
    let matching = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    let prefix = url[..first].rfind('/').map_or("", |end| &url[..=end]);
    let mut found = store.list(prefix).map_err(failed)?;
    found.retain(|object| pattern.matches_with(&object.url, matching));
    found.sort_unstable_by(|a, b| a.url.cmp(&b.url));
    match found.is_empty() {
        true => Err(Error::input(url, "no object matches this pattern")),
        false => Ok(found.into_iter().map(|object| Source::remote(store, object)).collect()),
    }
}

impl Source {
    fn remote(store: &Arc<dyn Store>, object: Object) -> Source {
        let (name, bytes) = (object.url.clone(), Some(object.bytes));
        Source { name, path: None, remote: Some(Remote { store: store.clone(), object }), bytes }
    }

    fn file(path: &Path) -> Result<Source> {
        let name = path.display();
        let data = path.metadata().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::input(&name, "there is no such file"),
            _ => Error::input(&name, format!("cannot be read: {error}")),
        })?;
        if data.is_dir() {
            return Err(Error::input(&name, format!("is a directory; name its files, such as '{name}/*.jsonl'")));
        }
        let bytes = data.is_file().then_some(data.len());
        Ok(Source { name: name.to_string().into(), path: Some(path.to_owned()), remote: None, bytes })
    }

    /// Opens the file, unpacked if it is packed; `read` counts the bytes as they are on disk.
    pub(super) fn open(&self, read: Arc<AtomicU64>) -> Result<Box<dyn Read + Send>> {
        let unreadable = |error: io::Error| Error::input(&self.name, format!("cannot be read: {error}"));
        let raw: Box<dyn Read + Send> = match (&self.path, &self.remote) {
            (Some(path), _) => Box::new(File::open(path).map_err(unreadable)?),
            (None, Some(remote)) => Box::new(remote.clone().stream()),
            (None, None) => Box::new(io::stdin()),
        };
        let mut raw = Counted { inner: raw, read };
        let head = Packing::read_head(&mut raw).map_err(unreadable)?;
        let (_, named) = Packing::split(&self.name);
        // Zstandard may begin with a frame that is to be skipped.
        let found = Packing::of_head(&head).or(named.filter(|named| *named == Packing::Zstd && !head.is_empty()));
        let whole = Cursor::new(head.clone()).chain(raw);
        match (found, named) {
            (Some(packing), _) => Ok(packing.unpack(whole)),
            (None, Some(packing)) if !head.is_empty() => {
                let message = format!("is not in {} format; rename it if it is not packed", packing.name());
                Err(Error::input(&self.name, message))
            }
            (None, _) => Ok(Box::new(whole)),
        }
    }

    /// Opens the file to be read here and there; nothing if it can only be read from front to back.
    #[cfg(feature = "parquet")]
    pub(super) fn ranged(&self, read: Arc<AtomicU64>) -> Result<Option<Arc<dyn Ranged>>> {
        if let Some(remote) = &self.remote {
            return Ok(Some(Arc::new(Blocks::new(remote.clone(), read))));
        }
        let Some(path) = self.path.as_ref().filter(|_| self.bytes.is_some()) else { return Ok(None) };
        match OnDisk::open(path, read) {
            Ok(file) => Ok(Some(Arc::new(file))),
            Err(error) => Err(Error::input(&self.name, format!("cannot be read: {error}"))),
        }
    }

    /// Decides on the format by what was asked for, the extension, or the first bytes, and refuses what is none.
    pub(super) fn format(&self, asked: Option<Format>, head: &[u8]) -> Result<Format> {
        if head.starts_with(b"\xFF\xFE") || head.starts_with(b"\xFE\xFF") {
            return Err(Error::input(&self.name, "is UTF-16; convert it with iconv -f UTF-16 -t UTF-8"));
        }
        if let Some((_, message)) = NO_LINES.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Err(Error::input(&self.name, *message));
        }
        let first = head.trim_ascii_start().first();
        let format = asked.or_else(|| Format::from_path(&self.name)).or(match first {
            None | Some(b'{' | b'[') if self.bytes.is_none() => Some(Format::Jsonl),
            _ => None,
        });
        match format {
            Some(Format::Jsonl) if first == Some(&b'[') => {
                let message = "is one JSON list, not an object a line; convert it with jq -c '.[]' FILE > FILE.jsonl";
                Err(Error::input(&self.name, message))
            }
            Some(format) => Ok(format),
            None => Err(Error::input(
                &self.name,
                "the format is unknown; give --format jsonl, csv, tsv, text, files, parquet or arrow",
            )),
        }
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
