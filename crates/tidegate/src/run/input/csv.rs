//! CSV and TSV with a header: every row becomes an object of strings.
//!
//! The `csv` crate would read the same files, but holds a record of any size (one quote that is never closed swallows the
//! rest of the file) and cannot be told to skip over it. Here a small state machine finds the ends of records, so that the
//! bound on memory is the same as for other formats. The tests hold its reading against that of the crate.

use std::borrow::Cow;
use std::io;

use memchr::{memchr, memchr_iter, memchr2};

use super::blocks::{Blocks, Record};
use super::object::ObjectWriter;
use super::{Found, NOT_UTF8};
use crate::error::{Error, Result};

pub(super) struct Csv {
    blocks: Blocks,
    end: RecordEnd,
    columns: Vec<String>,
    writer: ObjectWriter,
}

impl Csv {
    /// Returns where the bytes come from.
    pub(super) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Reads the header.
    pub(super) fn new(blocks: Blocks, delimiter: u8, file: &str) -> Result<Csv> {
        let end = RecordEnd { delimiter, state: State::FieldStart, lines: 0 };
        let mut csv = Csv { blocks, end, columns: Vec::new(), writer: ObjectWriter::new([]) };
        let record = csv.next_record().map_err(|e| super::unreadable(file, 0, &e))?;
        if let Some((line, record)) = record {
            csv.columns = read_header(record, delimiter).map_err(|fault| Error::input_line(file, line, fault))?;
            csv.writer = ObjectWriter::new(csv.columns.iter().map(String::as_str));
        }
        Ok(csv)
    }

    /// Returns the header; nothing if the file is empty.
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    pub(super) fn next_row(&mut self) -> io::Result<Option<Found>> {
        let Some((line, record)) = self.next_record()? else { return Ok(None) };
        let bytes = match record {
            Record::TooLarge => return Ok(Some(Found::too_large(line, self.blocks.limit()))),
            Record::Whole(bytes) => bytes,
        };
        let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(Some(Found::bad(line, bytes, NOT_UTF8))) };
        if self.end.state == State::Quoted {
            return Ok(Some(Found::bad(line, bytes, "a quote is opened in this row and never closed")));
        }
        for field in (Fields { rest: Some(text), delimiter: self.end.delimiter }) {
            self.writer.add(&field)?;
        }
        let (has, wants) = (self.writer.fields(), self.columns.len());
        if has != wants {
            self.writer.discard();
            return Ok(Some(Found::bad(line, bytes, format!("the row has {has} fields, the header has {wants}"))));
        }
        Ok(Some(Found::good(line, self.writer.finish())))
    }

    /// Returns the next record that is not a blank line, with the line it starts on.
    fn next_record(&mut self) -> io::Result<Option<(u64, Record)>> {
        loop {
            self.end.state = State::FieldStart;
            let line = self.end.lines + 1;
            match self.blocks.next(|bytes| self.end.find(bytes))? {
                None => return Ok(None),
                Some(Record::Whole(bytes)) if bytes.is_empty() => {}
                Some(record) => return Ok(Some((line, record))),
            }
        }
    }
}

fn read_header(record: Record, delimiter: u8) -> Result<Vec<String>, String> {
    let Record::Whole(bytes) = record else { return Err("the header is too large".to_owned()) };
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Err("the header is not UTF-8; convert the file with iconv".to_owned());
    };
    if text.contains('\r') {
        return Err("lines end in bare carriage returns; convert the file with tr '\\r' '\\n'".to_owned());
    }
    let columns: Vec<String> = Fields { rest: Some(text), delimiter }.map(Cow::into_owned).collect();
    for (i, name) in columns.iter().enumerate() {
        if name.is_empty() {
            return Err(format!("column {} has no name in the header", i + 1));
        }
        if columns[..i].contains(name) {
            return Err(format!("the header names the column `{name}` twice"));
        }
    }
    Ok(columns)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At a field's first byte, the only place where a quote opens.
    FieldStart,
    /// In a field without quotes, or behind its closing quote.
    Plain,
    /// Between quotes, where delimiters and line feeds are text.
    Quoted,
    /// Behind a quote that either closes the field or is the first of two.
    QuoteSeen,
}

/// Finds the ends of records and counts lines, over any number of pieces of the stream.
struct RecordEnd {
    delimiter: u8,
    state: State,
    lines: u64,
}

impl RecordEnd {
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.state {
                State::FieldStart if rest[0] == b'"' => {
                    self.state = State::Quoted;
                    at += 1;
                }
                State::FieldStart | State::Plain => {
                    self.state = State::Plain;
                    at += memchr2(self.delimiter, b'\n', rest)? + 1;
                    self.state = State::FieldStart;
                    if bytes[at - 1] == b'\n' {
                        self.lines += 1;
                        return Some(at - 1);
                    }
                }
                State::Quoted => {
                    let quote = memchr(b'"', rest);
                    self.lines += memchr_iter(b'\n', &rest[..quote.unwrap_or(rest.len())]).count() as u64;
                    at += quote? + 1;
                    self.state = State::QuoteSeen;
                }
                State::QuoteSeen => {
                    let doubled = rest[0] == b'"';
                    self.state = if doubled { State::Quoted } else { State::Plain };
                    at += usize::from(doubled);
                }
            }
        }
        None
    }
}

/// The fields of one record.
struct Fields<'a> {
    rest: Option<&'a str>,
    delimiter: u8,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Cow<'a, str>;

    fn next(&mut self) -> Option<Cow<'a, str>> {
        let mut rest = self.rest?;
        let mut field = Cow::Borrowed("");
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            while let Some(quote) = memchr(b'"', rest.as_bytes()) {
                let doubled = rest[quote + 1..].starts_with('"');
                append(&mut field, &rest[..quote + usize::from(doubled)]);
                rest = &rest[quote + 1 + usize::from(doubled)..];
                if !doubled {
                    break;
                }
            }
        }
        let (tail, next) = match memchr(self.delimiter, rest.as_bytes()) {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        append(&mut field, tail);
        self.rest = next;
        Some(field)
    }
}

fn append<'a>(field: &mut Cow<'a, str>, piece: &'a str) {
    match field.is_empty() {
        true => *field = Cow::Borrowed(piece),
        false if piece.is_empty() => {}
        false => field.to_mut().push_str(piece),
    }
}
