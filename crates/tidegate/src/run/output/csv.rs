//! CSV: the input's columns first, then ours; the first row decides which.
//!
//! A column of ours that the input has too gets a suffix (`output_2`), except `id`: that is left out then, since a row's
//! id is always one of the input's columns. Later rows are fitted to the header: what they lack is empty, what they have
//! more is left out and counted.

use super::OutputOptions;
use super::fields::{self, Columns, FLAT, Field, Own, Source};
use crate::error::Result;
use crate::run::record::Record;

/// Writes a header and then a line a row.
#[derive(Debug)]
pub(super) struct Csv {
    options: OutputOptions,
    chosen: Option<Vec<Field>>,
    /// The header, once the first row has come.
    fields: Option<Vec<Field>>,
    met: Vec<bool>,
    rows: u64,
    trimmed: u64,
}

impl Csv {
    pub(super) fn new(options: &OutputOptions) -> Result<Csv> {
        let chosen = fields::chosen(options)?;
        Ok(Csv { options: options.clone(), chosen, fields: None, met: Vec::new(), rows: 0, trimmed: 0 })
    }

    pub(super) fn restart(&mut self) {
        self.fields = None;
        self.met.clear();
        (self.rows, self.trimmed) = (0, 0);
    }

    /// Decides on the header.
    pub(super) fn begin(&mut self, first: &Record<'_>) {
        let fields = match &self.chosen {
            Some(chosen) => chosen.clone(),
            None => self.all(first),
        };
        self.met = vec![false; fields.len()];
        self.fields = Some(fields);
    }

    pub(super) fn project(&mut self, record: &Record<'_>, line: &mut Vec<u8>) {
        if self.fields.is_none() {
            self.begin(record);
            push_line(line, self.fields.iter().flatten().map(|field| field.name.as_str()));
        }
        let columns = Columns::of(record);
        let mut used = 0;
        let fields = self.fields.iter().flatten().zip(&mut self.met).enumerate();
        push_line(
            line,
            fields.map(|(place, (field, met))| match &field.source {
                Source::Own(own) => own.cell(record).text().into_owned(),
                Source::Lifted(path) => fields::lift(record, path).text().into_owned(),
                Source::Input(name) => {
                    let value = columns.get(name, place);
                    *met |= value.is_some();
                    used += usize::from(value.is_some());
                    fields::Cell::from(value).text().into_owned()
                }
            }),
        );
        self.rows += 1;
        self.trimmed += u64::from(self.chosen.is_none() && used < columns.0.len());
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

    /// Returns the input's columns and then ours.
    fn all(&self, first: &Record<'_>) -> Vec<Field> {
        let named: Vec<String> = match self.options.columns.is_empty() {
            true => Columns::of(first).0.into_iter().map(|(name, _)| name.into_owned()).collect(),
            false => self.options.columns.clone(),
        };
        let mut all: Vec<Field> = Vec::new();
        for name in named {
            if all.iter().all(|field| field.name != name) {
                all.push(Field { source: Source::Input(name.clone()), name });
            }
        }
        let has_id = all.iter().any(|field| field.name == "id");
        for field in fields::own(&FLAT, &self.options) {
            if has_id && field.source == Source::Own(Own::Id) {
                continue;
            }
            let is_output = field.source == Source::Own(Own::Output);
            all.push(field);
            // What is lifted out of the answer stands behind it.
            if is_output {
                all.extend(fields::lifted(&self.options));
            }
        }
        fields::distinct(all.into_iter())
    }
}

fn push_line(line: &mut Vec<u8>, cells: impl Iterator<Item = impl AsRef<str>>) {
    let start = line.len();
    for (number, cell) in cells.enumerate() {
        if number > 0 {
            line.push(b',');
        }
        push_cell(line, cell.as_ref().as_bytes());
    }
    // A lone empty cell would be an empty line, which readers skip.
    if line.len() == start {
        line.extend_from_slice(b"\"\"");
    }
    line.push(b'\n');
}

fn push_cell(line: &mut Vec<u8>, cell: &[u8]) {
    if !cell.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
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
