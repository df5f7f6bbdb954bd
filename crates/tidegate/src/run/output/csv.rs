//! CSV and TSV: the input's columns first, then ours; the first row decides which.
//!
//! Later rows are fitted to the header: what they lack is empty, what they have
//! more is left out and counted.

use super::OutputOptions;
use super::fields::{self, Columns, Field, Source};
use crate::error::Result;
use crate::run::record::Record;

/// Writes a header and then a line a row.
#[derive(Debug)]
pub(super) struct Csv {
    delimiter: u8,
    options: OutputOptions,
    chosen: Option<Vec<Field>>,
    /// The header, once the first row has come.
    fields: Option<Vec<Field>>,
    met: Vec<bool>,
    rows: u64,
    trimmed: u64,
}

impl Csv {
    pub(super) fn new(options: &OutputOptions, delimiter: u8) -> Result<Csv> {
        let chosen = fields::chosen(options)?.filter(|_| !options.joined);
        Ok(Csv { delimiter, options: options.clone(), chosen, fields: None, met: Vec::new(), rows: 0, trimmed: 0 })
    }

    pub(super) fn restart(&mut self) {
        self.fields = None;
        self.met.clear();
        (self.rows, self.trimmed) = (0, 0);
    }

    /// Decides on the header.
    pub(super) fn begin(&mut self, first: &Record<'_>) -> Result<()> {
        let named: Vec<String> = match self.options.columns.is_empty() {
            true => Columns::of(first).0.into_iter().map(|(name, _)| name.into_owned()).collect(),
            false => self.options.columns.clone(),
        };
        let fields = fields::table(&self.options, &named)?;
        self.met = vec![false; fields.len()];
        self.fields = Some(fields);
        Ok(())
    }

    pub(super) fn project(&mut self, record: &Record<'_>, line: &mut Vec<u8>) -> Result<()> {
        if self.fields.is_none() {
            self.begin(record)?;
            push_line(line, self.delimiter, self.fields.iter().flatten().map(|field| field.name.as_str()));
        }
        let columns = Columns::of(record);
        let mut used = 0;
        let fields = self.fields.iter().flatten().zip(&mut self.met).enumerate();
        push_line(
            line,
            self.delimiter,
            fields.map(|(place, (field, met))| match &field.source {
                Source::Input(name) => {
                    let value = columns.get(name, place);
                    *met |= value.is_some();
                    used += usize::from(value.is_some());
                    fields::Cell::from(value).text().into_owned()
                }
                other => other.cell(record, &columns, place).text().into_owned(),
            }),
        );
        self.rows += 1;
        self.trimmed += u64::from(self.chosen.is_none() && used < columns.0.len());
        Ok(())
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let fields = self.chosen.iter().flatten().zip(&self.met);
        let mut warnings = fields::never_met(fields, self.rows);
        if self.trimmed > 0 {
            let rows = self.trimmed;
            warnings.push(format!("{rows} rows have columns that the first row lacks; the CSV leaves them out"));
        }
        warnings
    }
}

fn push_line(line: &mut Vec<u8>, delimiter: u8, cells: impl Iterator<Item = impl AsRef<str>>) {
    let start = line.len();
    for (number, cell) in cells.enumerate() {
        if number > 0 {
            line.push(delimiter);
        }
        push_cell(line, delimiter, cell.as_ref().as_bytes());
    }
    // A lone empty cell would be an empty line, which readers skip.
    if line.len() == start {
        line.extend_from_slice(b"\"\"");
    }
    line.push(b'\n');
}

fn push_cell(line: &mut Vec<u8>, delimiter: u8, cell: &[u8]) {
    if !cell.iter().any(|byte| *byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r')) {
        return line.extend_from_slice(cell);
    }
    line.push(b'"');
    for part in cell.split_inclusive(|&byte| byte == b'"') {
        line.extend_from_slice(part);
        if part.ends_with(b"\"") {
            line.push(b'"');
        }
    }
    line.push(b'"');
}
