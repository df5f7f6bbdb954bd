//! Reads the rows of the input files, whatever their format, as JSON objects.
//!
//! Every format ends in the same [`Row`]: its place, for messages, and its JSON text, so that nothing behind this module
//! knows whether a row came from JSONL, CSV or a plain text file. Rows are handed out as their lines arrive, which matters
//! for a pipe, and are never held: memory is bounded by one block, or by one row where that is larger.
//!
//! What is wrong with a *file* (missing, a directory, a bad header) is an [`Error`] and found by [`Input::open`] for all
//! files at once. What is wrong with one *row* is its [`Row::fault`]; the next row is read all the same.

#[cfg(feature = "parquet")]
mod arrow;
mod blocks;
mod csv;
mod files;
mod format;
mod jsonl;
mod object;
mod open;
#[cfg(feature = "parquet")]
mod ranged;
mod remote;
mod text;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use self::blocks::Blocks;
pub use self::format::Format;
use self::open::Source;
use crate::error::{Error, Result};
use crate::run::key;
use crate::run::store::Store;

/// Where a row stands: shown as `rows.jsonl:17`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named, or `<stdin>`.
    pub file: Arc<str>,
    /// The line that the row starts on, from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One row of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it stands.
    pub place: Place,
    /// The row as the text of one JSON object; of a row with a fault the bytes as they were read, none if it was too large.
    ///
    /// The bytes share their block (64 KiB) with neighbouring rows, which lives as long as any of them.
    pub json: Bytes,
    /// Why the row cannot be used, if the reader found something.
    pub fault: Option<String>,
}

impl Row {
    /// Returns the JSON text.
    ///
    /// # Errors
    ///
    /// Says what the reader found wrong with the row.
    pub fn text(&self) -> Result<&str, String> {
        match &self.fault {
            Some(fault) => Err(fault.clone()),
            None => std::str::from_utf8(&self.json).map_err(|_| NOT_UTF8.to_owned()),
        }
    }
}

const NOT_UTF8: &str = "the row is not UTF-8; convert the file with iconv";

/// What to read, and how.
#[derive(Debug, Clone)]
pub struct InputOptions {
    /// Files, globs such as `data/*.jsonl`, addresses, or `-` for standard input; read in this order, a glob's files sorted.
    pub paths: Vec<String>,
    /// The format of all files; without one each file's extension tells it.
    pub format: Option<Format>,
    /// The largest row in bytes, 32 MiB by default; a larger one is skipped over and becomes a row with a fault.
    pub max_row_bytes: usize,
    /// Where to read what is named by an address, such as `s3://bucket/rows.jsonl`.
    pub store: Option<Arc<dyn Store>>,
    /// What the run itself writes: left out where a pattern, the shell's or ours, matches it.
    pub outputs: Vec<PathBuf>,
}

impl Default for InputOptions {
    fn default() -> InputOptions {
        InputOptions { paths: Vec::new(), format: None, max_row_bytes: 32 << 20, store: None, outputs: Vec::new() }
    }
}

impl InputOptions {
    /// Returns whether any of it can be read only once: the standard input, a FIFO, a shell's `<(command)`.
    pub(crate) fn is_piped(&self) -> bool {
        self.paths.iter().any(|path| path == "-" || std::fs::metadata(path).is_ok_and(|found| !found.is_file()))
    }
}

/// All rows of all input files, one after the other.
pub struct Input {
    waiting: VecDeque<Source>,
    options: InputOptions,
    current: Option<(Arc<str>, Reader)>,
    line: u64,
    peeked: Option<Row>,
    columns: Option<Vec<String>>,
    types: BTreeMap<String, String>,
    header: Option<Header>,
    /// Whether rows may have columns that the first one has not.
    varies: bool,
    of_files: bool,
    read: Arc<AtomicU64>,
    /// What of it other files were.
    before: u64,
    total: Option<u64>,
}

/// The first CSV header, which those of all other CSV files are compared with.
#[derive(Clone)]
struct Header {
    file: Arc<str>,
    columns: Vec<String>,
}

impl Input {
    /// Finds the files, checks what can be checked before the first row, and peeks at that row.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] names the path that is missing, a directory, unreadable or of an unknown format, the glob that
    /// matches nothing, or the CSV header that is wrong or unlike the first one.
    pub fn open(options: &InputOptions) -> Result<Input> {
        let sources = open::find(options)?;
        let total = sources.iter().map(|source| source.bytes).sum();
        let mut input = Input {
            waiting: sources.into(),
            options: options.clone(),
            current: None,
            line: 0,
            peeked: None,
            columns: None,
            types: BTreeMap::new(),
            header: None,
            varies: false,
            of_files: false,
            read: Arc::default(),
            before: 0,
            total,
        };
        input.open_next()?;
        input.check_waiting()?;
        input.peeked = input.read_row()?;
        if input.columns.is_none() {
            input.columns = input.peeked.as_ref().and_then(|row| key::columns_of(row.text().ok()?).ok());
        }
        Ok(input)
    }

    /// Returns the next row, or nothing after the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if a file cannot be read to its end.
    pub fn next_row(&mut self) -> Result<Option<Row>> {
        match self.peeked.take() {
            Some(row) => Ok(Some(row)),
            None => self.read_row(),
        }
    }

    /// Returns the columns: the header, or the keys of the first row; nothing if there is neither.
    #[must_use]
    pub fn columns(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    /// Returns the columns that every row has; nothing where each row says what it has.
    #[must_use]
    pub fn fixed_columns(&self) -> Option<&[String]> {
        self.columns().filter(|_| !self.varies)
    }

    /// Returns the Arrow types of columns by name, where the input says them.
    #[must_use]
    pub fn types(&self) -> &BTreeMap<String, String> {
        &self.types
    }

    /// Returns whether the files themselves are the rows.
    #[must_use]
    pub fn is_of_files(&self) -> bool {
        self.of_files
    }

    /// Returns how many bytes have become rows of how many, as they are on disk; the whole is unknown with a pipe.
    #[must_use]
    pub fn position(&self) -> (u64, Option<u64>) {
        let read = self.read.load(Ordering::Relaxed);
        // What is read but waits in a buffer is no row yet; of a packed file that is about its share.
        let ahead = self.current.as_ref().map_or(0.0, |(_, reader)| reader.ahead());
        (read - ((read - self.before) as f64 * ahead) as u64, self.total)
    }

    fn read_row(&mut self) -> Result<Option<Row>> {
        while let Some((file, reader)) = &mut self.current {
            let found = reader.next_row().map_err(|e| unreadable(file, self.line, &e))?;
            if let Some(Found { line, json, fault }) = found {
                self.line = line;
                return Ok(Some(Row { place: Place { file: file.clone(), line }, json, fault }));
            }
            self.open_next()?;
        }
        Ok(None)
    }

    fn open_next(&mut self) -> Result<()> {
        self.line = 0;
        let Some(source) = self.waiting.pop_front() else {
            self.current = None;
            return Ok(());
        };
        let before = self.read.load(Ordering::Relaxed);
        let reader = self.open_reader(&source, self.read.clone())?;
        match &reader {
            Reader::Csv(csv) => self.take_header(&source.name, csv.columns())?,
            #[cfg(feature = "parquet")]
            Reader::Arrow(arrow) => {
                self.take_header(&source.name, arrow.columns())?;
                self.types.extend(arrow.types().clone());
            }
            Reader::Text(_) => self.columns = self.columns.take().or_else(|| Some(vec![text::COLUMN.to_owned()])),
            Reader::Files(_) => {
                self.of_files = true;
                self.columns = self.columns.take().or_else(|| Some(files::COLUMNS.map(str::to_owned).to_vec()));
            }
            Reader::Jsonl(_) => self.varies = true,
        }
        self.before = before;
        self.current = Some((source.name, reader));
        Ok(())
    }

    /// Opens and closes the other regular files, so that a bad header is found before any row is sent.
    fn check_waiting(&mut self) -> Result<()> {
        let (mut header, mut varies) = (self.header.clone(), false);
        for source in self.waiting.iter().filter(|source| source.bytes.is_some()) {
            match self.open_reader(source, Arc::default())? {
                Reader::Csv(csv) => compare(&mut header, &source.name, csv.columns())?,
                #[cfg(feature = "parquet")]
                Reader::Arrow(arrow) => compare(&mut header, &source.name, arrow.columns())?,
                Reader::Jsonl(_) => varies = true,
                Reader::Text(_) | Reader::Files(_) => {}
            }
        }
        self.varies |= varies;
        Ok(())
    }

    fn open_reader(&self, source: &Source, read: Arc<AtomicU64>) -> Result<Reader> {
        match self.options.format.or_else(|| Format::from_path(&source.name)) {
            Some(Format::Files) => {
                let bytes =
                    source.bytes.ok_or_else(|| Error::input(&source.name, "is no file; its name is the row"))?;
                read.fetch_add(bytes, Ordering::Relaxed);
                return Ok(Reader::Files(files::Files::new(&source.name)));
            }
            Some(format @ (Format::Parquet | Format::Arrow)) => return self.open_columns(source, format, read),
            _ => {}
        }
        let mut blocks = Blocks::new(source.open(read)?, self.options.max_row_bytes);
        let head = blocks.head().map_err(|e| unreadable(&source.name, 0, &e))?;
        let format = source.format(self.options.format, head)?;
        Reader::new(format, blocks, &source.name)
    }

    #[cfg(feature = "parquet")]
    fn open_columns(&self, source: &Source, format: Format, read: Arc<AtomicU64>) -> Result<Reader> {
        let (limit, name) = (self.options.max_row_bytes, &source.name);
        Ok(Reader::Arrow(Box::new(match source.ranged(read.clone())? {
            Some(file) if format == Format::Parquet => arrow::Arrow::parquet(file, limit, name)?,
            Some(file) => arrow::Arrow::ranged(file, limit, name)?,
            None if format == Format::Arrow => arrow::Arrow::stream(source.open(read)?, limit, name)?,
            None => return Err(Error::input(name, "a Parquet file cannot come through a pipe; give its path")),
        })))
    }

    #[cfg(not(feature = "parquet"))]
    fn open_columns(&self, source: &Source, format: Format, _: Arc<AtomicU64>) -> Result<Reader> {
        Err(Error::input(&source.name, format!("{} cannot be read: {}", format.name(), super::NO_PARQUET)))
    }

    fn take_header(&mut self, file: &Arc<str>, columns: &[String]) -> Result<()> {
        compare(&mut self.header, file, columns)?;
        if self.columns.is_none() && !columns.is_empty() {
            self.columns = Some(columns.to_vec());
        }
        Ok(())
    }
}

fn compare(first: &mut Option<Header>, file: &Arc<str>, columns: &[String]) -> Result<()> {
    let Some(first) = first else {
        if !columns.is_empty() {
            *first = Some(Header { file: file.clone(), columns: columns.to_vec() });
        }
        return Ok(());
    };
    if columns.is_empty() {
        return Ok(());
    }
    let only_in = |these: &[String], those: &[String]| these.iter().find(|name| !those.contains(name)).cloned();
    if let Some(name) = only_in(&first.columns, columns) {
        return Err(Error::input(file, format!("there is no column `{name}`, which {} has", first.file)));
    }
    match only_in(columns, &first.columns) {
        Some(name) => Err(Error::input(file, format!("there is a column `{name}`, which {} has not", first.file))),
        None => Ok(()),
    }
}

fn unreadable(file: &str, line: u64, error: &io::Error) -> Error {
    match line {
        0 => Error::input(file, format!("cannot be read: {error}")),
        line => Error::input(file, format!("cannot be read on behind line {line}: {error}")),
    }
}

/// A row as a format's reader finds it.
struct Found {
    line: u64,
    json: Bytes,
    fault: Option<String>,
}

impl Found {
    fn good(line: u64, json: Bytes) -> Found {
        Found { line, json, fault: None }
    }

    fn bad(line: u64, bytes: Bytes, fault: impl Into<String>) -> Found {
        Found { line, json: bytes, fault: Some(fault.into()) }
    }

    fn too_large(line: u64, limit: usize) -> Found {
        Found::bad(line, Bytes::new(), format!("the row is larger than {limit} bytes"))
    }
}

enum Reader {
    Jsonl(jsonl::Jsonl),
    Csv(csv::Csv),
    Text(text::Text),
    Files(files::Files),
    #[cfg(feature = "parquet")]
    Arrow(Box<arrow::Arrow>),
}

impl Reader {
    fn new(format: Format, blocks: Blocks, file: &str) -> Result<Reader> {
        Ok(match format {
            Format::Jsonl => Reader::Jsonl(jsonl::Jsonl::new(blocks)),
            Format::Csv => Reader::Csv(csv::Csv::new(blocks, b',', file)?),
            Format::Tsv => Reader::Csv(csv::Csv::new(blocks, b'\t', file)?),
            Format::Text => Reader::Text(text::Text::new(blocks)),
            // These are opened in another way.
            Format::Files | Format::Parquet | Format::Arrow => Reader::Files(files::Files::new(file)),
        })
    }

    /// Returns the share of the bytes read that is not in a row yet.
    fn ahead(&self) -> f64 {
        match self {
            Reader::Jsonl(reader) => reader.blocks().ahead(),
            Reader::Csv(reader) => reader.blocks().ahead(),
            Reader::Text(reader) => reader.blocks().ahead(),
            Reader::Files(_) => 0.0,
            #[cfg(feature = "parquet")]
            Reader::Arrow(_) => 0.0,
        }
    }

    fn next_row(&mut self) -> io::Result<Option<Found>> {
        match self {
            Reader::Jsonl(reader) => reader.next_row(),
            Reader::Csv(reader) => reader.next_row(),
            Reader::Text(reader) => reader.next_row(),
            Reader::Files(reader) => Ok(reader.next_row()),
            #[cfg(feature = "parquet")]
            Reader::Arrow(reader) => reader.next_row(),
        }
    }
}

#[cfg(test)]
mod tests;
