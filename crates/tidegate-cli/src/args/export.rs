//! The arguments of `tidegate export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::settings::{InputFormat, OutputFormat};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    /// Result file of the run, or the directory of its journal
    #[arg(value_name = "OUT")]
    pub(crate) from: PathBuf,
    /// File to write [default: the standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Format of the file [default: by extension, else jsonl]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(crate) output_format: Option<OutputFormat>,
    /// Only records with an answer, or only those without
    #[arg(long, value_name = "WHICH", value_enum)]
    pub(crate) only: Option<ExportOnly>,
    /// Write records in the order of the last run's input [default: as they were answered]
    #[arg(long, conflicts_with = "join")]
    pub(crate) ordered: bool,
    /// Write the rows of this input, all and in order, with the answers behind their columns; may be repeated
    #[arg(long, value_name = "INPUT")]
    pub(crate) join: Vec<PathBuf>,
    /// Format of the joined input [default: by extension]
    #[arg(long, value_name = "FORMAT", value_enum, requires = "join")]
    pub(crate) format: Option<InputFormat>,
    /// Fields of a record to write, separated by commas; with --join behind the input's columns [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) fields: Vec<String>,
    /// Fields of structured answers that become fields of their own [default: those of the run]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) lift: Option<Vec<String>>,
    /// Name of the answer's field or column [default: that of the run]
    #[arg(long, value_name = "NAME")]
    pub(crate) output_column: Option<String>,
}

/// Which records are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportOnly {
    /// Those with an answer.
    Ok,
    /// Those without.
    Failed,
}

const EXAMPLES: &str = "\
Examples:
  tidegate export out.jsonl -o out.csv --ordered
  tidegate export out.jsonl --only failed --fields id,error_kind,error_message
  tidegate export out.jsonl --join rows.csv -o rows-with-answers.csv --fields output";
