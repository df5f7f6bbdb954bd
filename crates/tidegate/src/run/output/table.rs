//! Parquet and Arrow files: the columns of a CSV, with types.
//!
//! The rows are gone through twice, once to find each column's type and once to write, so that nothing of them is held but
//! one batch. A column that only some rows have is there for all, empty where it is missing.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{ArrowError, DataType, Field as ArrowField, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::arrays::{self, Text};
use super::fields::{self, Cell, Columns, Field, Own, Source};
use super::types::Guess;
use super::{Format, Making, OutputOptions, Rows, parse};
use crate::error::{Error, Result};

/// How much goes into one batch.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 8 << 20;
/// How much is gathered for one row group of a Parquet file.
const GROUP_BYTES: usize = 64 << 20;

#[derive(Debug)]
pub(super) struct Table {
    options: OutputOptions,
    warnings: Vec<String>,
}

impl Table {
    pub(super) fn new(options: &OutputOptions) -> Result<Table> {
        fields::chosen(options)?;
        Ok(Table { options: options.clone(), warnings: Vec::new() })
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    /// Makes the file.
    pub(super) fn make(&mut self, rows: &dyn Rows, Making { path, file }: Making<'_>) -> Result<()> {
        let columns = self.columns(rows)?;
        let (fields, guesses) = self.survey(rows, &columns)?;
        let types: Vec<DataType> =
            fields.iter().zip(&guesses).map(|(field, guess)| guess.data_type(is_answer(field))).collect();
        let column = |(field, data_type): (&Field, &DataType)| ArrowField::new(&field.name, data_type.clone(), true);
        let schema = Arc::new(Schema::new(fields.iter().zip(&types).map(column).collect::<Vec<_>>()));
        let failed = |error: WriteError| error.at(path);
        let mut sink = Sink::open(self.options.format, file, &schema).map_err(failed)?;
        let mut batch = Batch::new(schema);
        rows.visit(&mut |row| {
            let record = parse(row)?;
            let columns = Columns::of(&record);
            batch.push(fields.iter().enumerate().map(|(place, field)| field.source.cell(&record, &columns, place)));
            if batch.is_full() { batch.write(&mut sink).map_err(failed) } else { Ok(()) }
        })?;
        batch.write(&mut sink).and_then(|()| sink.finish()).map_err(failed)
    }

    /// Returns the input's columns: those that are known, and what else single rows have.
    fn columns(&self, rows: &dyn Rows) -> Result<Vec<String>> {
        let mut names = self.options.columns.clone();
        if !self.options.fields.is_empty() && !self.options.joined {
            return Ok(names);
        }
        rows.visit(&mut |row| {
            let record = parse(row)?;
            for (place, (name, _)) in Columns::of(&record).0.iter().enumerate() {
                if names.get(place).is_none_or(|there| there != name) && !names.iter().any(|there| there == name) {
                    names.push(name.clone().into_owned());
                }
            }
            Ok(())
        })?;
        Ok(names)
    }

    /// Looks at every value.
    fn survey(&mut self, rows: &dyn Rows, columns: &[String]) -> Result<(Vec<Field>, Vec<Guess>)> {
        let fields = fields::table(&self.options, columns)?;
        let mut guesses: Vec<Guess> = fields.iter().map(|field| Guess::new(self.declared(field))).collect();
        let mut met = vec![false; fields.len()];
        let mut count = 0;
        rows.visit(&mut |row| {
            let record = parse(row)?;
            let columns = Columns::of(&record);
            count += 1;
            for (place, (field, (guess, met))) in fields.iter().zip(guesses.iter_mut().zip(&mut met)).enumerate() {
                let cell = field.source.cell(&record, &columns, place);
                *met |= !matches!(cell, Cell::Null);
                guess.see(&cell);
            }
            Ok(())
        })?;
        if !self.options.fields.is_empty() {
            self.warnings = fields::never_met(fields.iter().zip(&met), count);
        }
        Ok((fields, guesses))
    }

    /// Returns the type that a column has whatever its values are.
    fn declared(&self, field: &Field) -> Option<DataType> {
        match &field.source {
            Source::Input(name) => self.options.types.get(name)?.parse().ok(),
            // The id is one of the input's columns, most often the one of that name.
            Source::Own(Own::Id) => self.options.types.get("id")?.parse().ok(),
            Source::Own(own) => own_type(*own),
            Source::Lifted(_) => None,
        }
    }
}

/// Returns the type of a field of ours, if it is always the same.
fn own_type(own: Own) -> Option<DataType> {
    match own {
        Own::Id | Own::Output => None,
        Own::InputTokens | Own::OutputTokens | Own::CachedTokens | Own::ReasoningTokens => Some(DataType::Int64),
        Own::Sample | Own::Attempts | Own::ErrorStatus => Some(DataType::Int32),
        Own::CostUsd | Own::LatencyMs => Some(DataType::Float64),
        Own::Fallback | Own::Cached => Some(DataType::Boolean),
        _ => Some(DataType::Utf8),
    }
}

fn is_answer(field: &Field) -> bool {
    field.source == Source::Own(Own::Output)
}

/// The cells of some rows.
struct Batch {
    schema: SchemaRef,
    columns: Vec<Vec<Text>>,
    rows: usize,
    bytes: usize,
}

impl Batch {
    fn new(schema: SchemaRef) -> Batch {
        Batch { columns: vec![Vec::new(); schema.fields().len()], schema, rows: 0, bytes: 0 }
    }

    fn push<'c>(&mut self, cells: impl Iterator<Item = Cell<'c>>) {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            let text = match &cell {
                Cell::Null => None,
                Cell::Raw(raw) if raw == "null" => None,
                cell => Some(cell.text().into_owned()),
            };
            self.bytes += text.as_ref().map_or(0, String::len);
            column.push(text);
        }
        self.rows += 1;
    }

    fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    fn write(&mut self, sink: &mut Sink<'_>) -> std::result::Result<(), WriteError> {
        if self.rows == 0 {
            return Ok(());
        }
        let typed = self.schema.fields().iter().zip(&self.columns);
        let arrays = typed
            .map(|(field, cells)| arrays::array(field.data_type(), cells))
            .collect::<std::result::Result<_, _>>()?;
        let batch = RecordBatch::try_new(self.schema.clone(), arrays)?;
        self.columns.iter_mut().for_each(Vec::clear);
        (self.rows, self.bytes) = (0, 0);
        sink.write(&batch)
    }
}

/// Where batches go.
enum Sink<'f> {
    Parquet(Box<ArrowWriter<&'f mut (dyn Write + Send)>>),
    File(Box<FileWriter<&'f mut (dyn Write + Send)>>),
    Stream(Box<StreamWriter<&'f mut (dyn Write + Send)>>),
}

impl<'f> Sink<'f> {
    fn open(
        format: Format,
        file: &'f mut (dyn Write + Send),
        schema: &SchemaRef,
    ) -> std::result::Result<Sink<'f>, WriteError> {
        Ok(match format {
            Format::Arrow => Sink::File(Box::new(FileWriter::try_new(file, schema)?)),
            Format::ArrowStream => Sink::Stream(Box::new(StreamWriter::try_new(file, schema)?)),
            _ => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_created_by(concat!("tidegate ", env!("CARGO_PKG_VERSION")).to_owned())
                    .set_max_row_group_bytes(Some(GROUP_BYTES))
                    .build();
                Sink::Parquet(Box::new(ArrowWriter::try_new(file, schema.clone(), Some(properties))?))
            }
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> std::result::Result<(), WriteError> {
        match self {
            Sink::Parquet(writer) => writer.write(batch)?,
            Sink::File(writer) => writer.write(batch)?,
            Sink::Stream(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    fn finish(self) -> std::result::Result<(), WriteError> {
        match self {
            Sink::Parquet(writer) => drop(writer.close()?),
            Sink::File(mut writer) => writer.finish()?,
            Sink::Stream(mut writer) => writer.finish()?,
        }
        Ok(())
    }
}

/// Why a batch could not be written.
struct WriteError(std::io::Error);

impl WriteError {
    fn at(self, path: &Path) -> Error {
        Error::storage(path, "cannot be written", self.0)
    }
}

impl From<ArrowError> for WriteError {
    fn from(error: ArrowError) -> WriteError {
        WriteError(std::io::Error::other(error))
    }
}

impl From<ParquetError> for WriteError {
    fn from(error: ParquetError) -> WriteError {
        WriteError(std::io::Error::other(error))
    }
}
