//! What the user reads: a projection of the journal's rows, in the format asked for.
//!
//! A projection is a function of the rows alone, in the order in which they were committed. So an output can be
//! continued by appending, and made anew at any time with the same result. The one thing that it remembers is a CSV's
//! header, which the first row decides.
//!
//! | format | a line is | files |
//! |---|---|---|
//! | JSONL | the record as it is in the journal | OUT |
//! | JSONL with fields | an object of the chosen fields | OUT |
//! | CSV | the input's columns, then ours; or the chosen fields | OUT |
//! | OpenAI batch | a result line as the Batch API writes it | OUT, and `OUT.errors.jsonl` for failed rows |

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

mod batch;
mod csv;
mod fields;
mod jsonl;

use self::csv::Csv;
use self::jsonl::ChosenFields;
use super::journal::Row;
use super::record::Record;
use crate::error::{Error, Result};

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// A JSON object a line.
    #[default]
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// Result lines of OpenAI's Batch API, and an error file.
    OpenaiBatch,
}

/// What a user may choose about the results.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputOptions {
    /// The format.
    pub format: Format,
    /// The fields to write, in this order: a record's own, or the input's columns. All of them if empty.
    pub fields: Vec<String>,
    /// What the field `output` is called.
    pub output_column: Option<String>,
    /// The input's columns, for a CSV whose input has a header; otherwise the first row's.
    pub columns: Vec<String>,
    /// Whether rows have samples (`--repeat`).
    pub samples: bool,
}

/// Turns rows into lines.
#[derive(Debug)]
pub struct Projection(Shape);

#[derive(Debug)]
enum Shape {
    Whole,
    Chosen(ChosenFields),
    Csv(Csv),
    Batch,
}

impl Projection {
    /// Makes a projection.
    ///
    /// # Errors
    /// Fields or a column's name where the format has none, a field named twice.
    pub fn new(options: &OutputOptions) -> Result<Projection> {
        let plain = options.fields.is_empty() && options.output_column.is_none();
        Ok(Projection(match options.format {
            Format::Jsonl if plain => Shape::Whole,
            Format::Jsonl => Shape::Chosen(ChosenFields::new(options)?),
            Format::Csv => Shape::Csv(Csv::new(options)?),
            Format::OpenaiBatch if plain => Shape::Batch,
            Format::OpenaiBatch => {
                let message =
                    "batch results have fixed fields; leave away --fields and --output-column, or write JSONL";
                return Err(Error::Usage(message.to_owned()));
            }
        }))
    }

    /// Returns the files that belong to an output.
    #[must_use]
    pub fn paths(&self, out: &Path) -> Vec<PathBuf> {
        match &self.0 {
            Shape::Batch => {
                let mut errors = OsString::from(out);
                errors.push(".errors.jsonl");
                vec![out.to_owned(), errors.into()]
            }
            Shape::Whole | Shape::Chosen(_) | Shape::Csv(_) => vec![out.to_owned()],
        }
    }

    /// Continues files that already begin with that row.
    pub(super) fn prime(&mut self, first: &Row<'_>) -> Result<()> {
        if let Shape::Csv(csv) = &mut self.0 {
            csv.begin(&parse(first)?);
        }
        Ok(())
    }

    /// Starts again with empty files.
    pub(super) fn restart(&mut self) {
        match &mut self.0 {
            Shape::Whole | Shape::Batch => {}
            Shape::Chosen(chosen) => chosen.restart(),
            Shape::Csv(csv) => csv.restart(),
        }
    }

    /// Appends a row's lines, for each file to its own buffer.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn project(&mut self, row: &Row<'_>, out: &mut [Vec<u8>]) -> Result<()> {
        let Some((first, others)) = out.split_first_mut() else { return Ok(()) };
        match &mut self.0 {
            Shape::Whole => {
                first.extend_from_slice(row.record);
                first.push(b'\n');
            }
            Shape::Chosen(chosen) => chosen.project(&parse(row)?, first),
            Shape::Csv(csv) => csv.project(&parse(row)?, first),
            Shape::Batch => {
                let record = parse(row)?;
                let errors = others.first_mut().filter(|_| record.error.is_some());
                batch::project(row, &record, errors.unwrap_or(first));
            }
        }
        Ok(())
    }

    /// Returns what could not be shown, in sentences for the user.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        match &self.0 {
            Shape::Whole | Shape::Batch => Vec::new(),
            Shape::Chosen(chosen) => chosen.warnings(),
            Shape::Csv(csv) => csv.warnings(),
        }
    }
}

fn parse<'a>(row: &Row<'a>) -> Result<Record<'a>> {
    Record::parse(row.record).map_err(|error| {
        let message = format!("the record of a stored row cannot be read: {error}");
        Error::damaged("journal".as_ref(), message)
    })
}
