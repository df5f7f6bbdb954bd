//! JSON lines with chosen fields, with another name for the output, or joined to the input's rows.

use super::OutputOptions;
use super::fields::{self, Cell, Columns, Field, RECORD, Source};
use crate::error::Result;
use crate::run::record::{Record, push_json};

/// Writes an object of the chosen fields a line.
#[derive(Debug)]
pub(super) struct ChosenFields {
    fields: Vec<Field>,
    /// For each field whether any row had it.
    met: Vec<bool>,
    rows: u64,
}

impl ChosenFields {
    pub(super) fn new(options: &OutputOptions) -> Result<ChosenFields> {
        let all = || fields::own(&RECORD, options).into_iter().chain(fields::lifted(options));
        let fields = match fields::chosen(options)? {
            Some(chosen) => chosen,
            None => fields::distinct(all()),
        };
        Ok(ChosenFields { met: vec![false; fields.len()], fields, rows: 0 })
    }

    pub(super) fn restart(&mut self) {
        self.met.fill(false);
        self.rows = 0;
    }

    pub(super) fn project(&mut self, record: &Record<'_>, line: &mut Vec<u8>) {
        let columns = Columns::of(record);
        self.rows += 1;
        line.push(b'{');
        for (number, (field, met)) in self.fields.iter().zip(&mut self.met).enumerate() {
            if number > 0 {
                line.push(b',');
            }
            push_json(line, &field.name);
            line.push(b':');
            let cell = field.source.cell(record, &columns, number);
            *met |= !matches!(cell, Cell::Null);
            cell.push_json(line);
        }
        line.extend_from_slice(b"}\n");
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        fields::never_met(self.fields.iter().zip(&self.met), self.rows)
    }
}

/// Writes the input's row, whatever columns it has, with our fields behind them.
#[derive(Debug)]
pub(super) struct Joined(Vec<Field>);

impl Joined {
    pub(super) fn new(options: &OutputOptions) -> Result<Joined> {
        let fields = fields::table(options, &options.columns)?;
        Ok(Joined(fields.into_iter().filter(|field| !matches!(field.source, Source::Input(_))).collect()))
    }

    pub(super) fn project(&self, record: &Record<'_>, line: &mut Vec<u8>) {
        let columns = Columns::of(record);
        let start = line.len();
        let mut push = |name: &str, cell: Cell<'_>| {
            line.push(if line.len() == start { b'{' } else { b',' });
            push_json(line, name);
            line.push(b':');
            cell.push_json(line);
        };
        // A column that only this row has may be called as a field of ours is.
        let ours = |name: &str| self.0.iter().any(|field| field.name == name);
        for (name, value) in columns.0.iter().filter(|(name, _)| !ours(name)) {
            push(name, Some(*value).into());
        }
        for field in &self.0 {
            push(&field.name, field.source.cell(record, &columns, 0));
        }
        line.extend_from_slice(b"}\n");
    }
}
