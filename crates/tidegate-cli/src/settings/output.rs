//! Where and how results are written.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Where and how results are written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Output {
    /// The result file; default: the standard output.
    pub(crate) path: Option<PathBuf>,
    /// The format; default: by the extension, `batch` for batch-file input, else JSONL.
    pub(crate) format: Option<OutputFormat>,
    /// The name of the answer's field or column; default `output`.
    pub(crate) column: Option<String>,
    /// The directory of the journal; default: beside the result file.
    pub(crate) journal: Option<PathBuf>,
    /// Whether the result file is put into the order of the input when the run ends; default: false.
    pub(crate) ordered: bool,
    /// A file for the summary as JSON.
    pub(crate) summary: Option<PathBuf>,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OutputFormat {
    /// A JSON record a line.
    Jsonl,
    /// Comma-separated values: the input's columns, then the result's.
    Csv,
    /// Tab-separated values.
    Tsv,
    /// OpenAI's batch result lines, the provider's body untouched.
    Batch,
    /// A Parquet file, made at the end.
    Parquet,
    /// An Arrow IPC file, made at the end.
    Arrow,
    /// An Arrow IPC stream, made at the end.
    ArrowStream,
}
