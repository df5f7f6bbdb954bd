//! The formats of results, and which file has which.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::run::packing::Packing;
use crate::suggest;

/// The extensions that tell a format.
const EXTENSIONS: [&str; 12] =
    ["jsonl", "ndjson", "jsonlines", "json", "csv", "tsv", "tab", "parquet", "pq", "arrow", "feather", "arrows"];

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
    /// Tab-separated values with a header.
    Tsv,
    /// Result lines of OpenAI's Batch API, and an error file.
    OpenaiBatch,
    /// A Parquet file; needs the feature `parquet`.
    Parquet,
    /// An Arrow IPC file, which is also Feather 2; needs the feature `parquet`.
    Arrow,
    /// An Arrow IPC stream; needs the feature `parquet`.
    ArrowStream,
}

impl Format {
    /// Returns what it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Format::Jsonl => "JSONL",
            Format::Csv => "CSV",
            Format::Tsv => "TSV",
            Format::OpenaiBatch => "batch",
            Format::Parquet => "Parquet",
            Format::Arrow => "Arrow",
            Format::ArrowStream => "Arrow stream",
        }
    }

    /// Returns the format that a file's extension tells, with or without `.gz` or `.zst` behind it.
    ///
    /// ```
    /// use tidegate::run::output::Format;
    /// assert_eq!(Format::from_path("out.csv.gz"), Some(Format::Csv));
    /// assert_eq!(Format::from_path("out"), None);
    /// ```
    #[must_use]
    pub fn from_path(path: &str) -> Option<Format> {
        let (_, extension) = Packing::split(path).0.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" | "jsonlines" | "json" => Some(Format::Jsonl),
            "csv" => Some(Format::Csv),
            "tsv" | "tab" => Some(Format::Tsv),
            "parquet" | "pq" => Some(Format::Parquet),
            "arrow" | "feather" | "ipc" => Some(Format::Arrow),
            "arrows" => Some(Format::ArrowStream),
            _ => None,
        }
    }

    /// Returns the format that the user wants by an output's name; nothing where that tells none.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] where the extension is almost that of a format: `out.prquet`.
    pub fn wanted_by(path: &str) -> Result<Option<Format>> {
        let format = Format::from_path(path);
        let extension = Packing::split(path).0.rsplit_once('.').map(|(_, extension)| extension);
        let meant = extension.filter(|_| format.is_none()).and_then(|told| suggest::closest(told, EXTENSIONS));
        match meant {
            None => Ok(format),
            Some(meant) => Err(Error::Usage(format!(
                "{path}: no format has such an extension; did you mean .{meant}? --output-format says it for any name"
            ))),
        }
    }
}
