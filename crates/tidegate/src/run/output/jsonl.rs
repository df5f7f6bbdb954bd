//! JSON lines with chosen fields, or with another name for the output.

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
            let cell = match &field.source {
                Source::Own(own) => own.cell(record),
                Source::Lifted(path) => fields::lift(record, path),
                Source::Input(name) => columns.get(name, number).into(),
            };
            *met |= !matches!(cell, Cell::Null);
            cell.push_json(line);
        }
        line.extend_from_slice(b"}\n");
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        fields::never_met(self.fields.iter().zip(&self.met), self.rows)
    }
}
