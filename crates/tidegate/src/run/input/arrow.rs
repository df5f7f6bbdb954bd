//! Parquet and Arrow IPC: rows by record batch, each told as a JSON object with the types that its columns have.
//!
//! A Parquet file is read page by page, in batches of about a megabyte; an Arrow file in the batches that it was written in.

mod parquet;
mod value;

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, Schema};
use bytes::Bytes;
use serde_json::Value;

use super::Found;
use super::ranged::{Cursor, Ranged};
use crate::error::{Error, Result};
use crate::run::columnar;

/// What an Arrow file begins with, and a stream does not.
const MAGIC: &[u8] = b"ARROW1";
/// A schema of a million columns is shorter.
const LONGEST_SCHEMA: i32 = 256 << 20;

type Batches = Box<dyn Iterator<Item = std::result::Result<RecordBatch, ArrowError>> + Send>;

pub(super) struct Arrow {
    batches: Batches,
    batch: Option<RecordBatch>,
    /// The next row of the batch, and of the file from 1.
    at: usize,
    line: u64,
    columns: Vec<String>,
    types: BTreeMap<String, String>,
    /// What stands in front of each value: `{"first":`, `,"second":`, ….
    keys: Vec<String>,
    limit: usize,
    buffer: Vec<u8>,
}

impl Arrow {
    /// Opens a Parquet file.
    pub(super) fn parquet(ranged: Arc<dyn Ranged>, limit: usize, file: &str) -> Result<Arrow> {
        let (schema, batches) = parquet::open(ranged, file)?;
        Arrow::new(&schema, batches, limit, file)
    }

    /// Opens an Arrow file, or a stream in a file.
    pub(super) fn ranged(ranged: Arc<dyn Ranged>, limit: usize, file: &str) -> Result<Arrow> {
        let mut magic = Vec::new();
        let head = Cursor::new(ranged.clone(), 0).take(MAGIC.len() as u64).read_to_end(&mut magic);
        head.map_err(|error| super::unreadable(file, 0, &error))?;
        let size = ranged.size();
        let whole = BufReader::new(Cursor::new(ranged.clone(), 0));
        if magic != MAGIC {
            return Arrow::stream(whole, limit, file);
        }
        if !footer_fits(&mut Cursor::new(ranged, size.saturating_sub(10)), size) {
            return Err(broken(file, &"its end is cut off"));
        }
        let reader = FileReader::try_new(whole, None).map_err(|error| broken(file, &error))?;
        Arrow::new(&reader.schema(), Box::new(reader), limit, file)
    }

    /// Opens an Arrow stream.
    pub(super) fn stream(mut source: impl Read + Send + 'static, limit: usize, file: &str) -> Result<Arrow> {
        let mut head = Vec::new();
        let read = source.by_ref().take(8).read_to_end(&mut head);
        read.map_err(|error| super::unreadable(file, 0, &error))?;
        if head.starts_with(MAGIC) {
            return Err(Error::input(
                file,
                "an Arrow file cannot come through a pipe; give its path, or an Arrow stream",
            ));
        }
        if !begins_a_stream(&head) {
            return Err(broken(file, &"it is neither an Arrow file nor an Arrow stream"));
        }
        let source = io::Cursor::new(head).chain(source);
        let reader = StreamReader::try_new(source, None).map_err(|error| broken(file, &error))?;
        Arrow::new(&reader.schema(), Box::new(reader), limit, file)
    }

    fn new(schema: &Schema, batches: Batches, limit: usize, file: &str) -> Result<Arrow> {
        if let Some((column, data_type)) = columnar::first_refused(schema) {
            let message = format!(
                "the column `{column}` is of the type {data_type}, which a row cannot carry; cast it, or leave it out"
            );
            return Err(Error::input(file, message));
        }
        let columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        if let Some(name) =
            columns.iter().enumerate().find(|(i, name)| columns[..*i].contains(name)).map(|(_, name)| name)
        {
            return Err(Error::input(file, format!("there are two columns `{name}`; rename one")));
        }
        let kept = |field: &Arc<arrow_schema::Field>| {
            Some((field.name().clone(), columnar::kept(field.data_type())?.to_string()))
        };
        let key =
            |(i, name): (usize, &String)| format!("{}{}:", if i == 0 { '{' } else { ',' }, Value::from(name.as_str()));
        Ok(Arrow {
            batches,
            batch: None,
            at: 0,
            line: 0,
            types: schema.fields().iter().filter_map(kept).collect(),
            keys: columns.iter().enumerate().map(key).collect(),
            columns,
            limit,
            buffer: Vec::new(),
        })
    }

    /// Returns the names of the columns.
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Returns the types in which columns can be written again, by name.
    pub(super) fn types(&self) -> &BTreeMap<String, String> {
        &self.types
    }

    pub(super) fn next_row(&mut self) -> io::Result<Option<Found>> {
        loop {
            match &self.batch {
                Some(batch) if self.at < batch.num_rows() => {
                    let row = self.at;
                    self.at += 1;
                    self.line += 1;
                    let fault = write_row(batch, row, &self.keys, &mut self.buffer);
                    return Ok(Some(self.found(fault)));
                }
                _ => match self.batches.next() {
                    None => return Ok(None),
                    Some(batch) => {
                        self.batch = Some(batch.map_err(io::Error::other)?);
                        self.at = 0;
                    }
                },
            }
        }
    }

    fn found(&mut self, fault: Option<String>) -> Found {
        let json = Bytes::from(std::mem::take(&mut self.buffer));
        match fault {
            Some(fault) => Found::bad(self.line, Bytes::new(), fault),
            None if json.len() > self.limit => Found::too_large(self.line, self.limit),
            None => Found::good(self.line, json),
        }
    }
}

/// Writes a row as an object; returns what is wrong with one of its values.
fn write_row(batch: &RecordBatch, row: usize, keys: &[String], out: &mut Vec<u8>) -> Option<String> {
    for (key, column) in keys.iter().zip(batch.columns()) {
        out.extend_from_slice(key.as_bytes());
        if let Err(fault) = value::push(column, row, out) {
            return Some(format!("the value behind {key} {fault}"));
        }
    }
    out.extend_from_slice(if keys.is_empty() { b"{}" } else { b"}" });
    None
}

/// Returns whether a stream begins so: with a mark, and the length of a schema. What is something else would be taken for a
/// length of gigabytes, for which the reader makes room at once.
fn begins_a_stream(head: &[u8]) -> bool {
    let Some((mark, length)) = head.split_first_chunk::<4>() else { return false };
    let length = length.first_chunk::<4>().map_or(-1, |length| i32::from_le_bytes(*length));
    *mark == [0xFF; 4] && (0..=LONGEST_SCHEMA).contains(&length)
}

/// Returns whether the end of a file, from its last ten bytes on, says how long its table of contents is, for the same reason.
fn footer_fits(tail: &mut impl Read, size: u64) -> bool {
    let mut last = Vec::new();
    let read = tail.read_to_end(&mut last);
    let length = last.first_chunk::<4>().map_or(-1, |length| i32::from_le_bytes(*length));
    read.is_ok() && last.ends_with(MAGIC) && u64::try_from(length).is_ok_and(|length| length < size)
}

fn broken(file: &str, error: &dyn std::fmt::Display) -> Error {
    Error::input(file, format!("is not what its name says: {error}"))
}
