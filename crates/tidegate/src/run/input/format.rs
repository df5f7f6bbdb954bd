//! The formats of input files, and which file has which.

use crate::request::format as media;
use crate::run::packing::Packing;

/// A format of input files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
    /// A prompt a line.
    Text,
    /// The file itself is the row: an image, a PDF.
    Files,
    /// A Parquet file; needs the feature `parquet`.
    Parquet,
    /// An Arrow IPC file or stream; needs the feature `parquet`.
    Arrow,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 7] =
        [Format::Jsonl, Format::Csv, Format::Tsv, Format::Text, Format::Files, Format::Parquet, Format::Arrow];

    /// Returns the name used on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Format::Jsonl => "jsonl",
            Format::Csv => "csv",
            Format::Tsv => "tsv",
            Format::Text => "text",
            Format::Files => "files",
            Format::Parquet => "parquet",
            Format::Arrow => "arrow",
        }
    }

    /// Returns the format of that [`name`](Format::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Returns the format that a file's extension tells, with or without `.gz` or `.zst` behind it.
    ///
    /// ```
    /// use tidegate::run::input::Format;
    /// assert_eq!(Format::from_path("data/rows.CSV.gz"), Some(Format::Csv));
    /// assert_eq!(Format::from_path("bills/may.pdf"), Some(Format::Files));
    /// assert_eq!(Format::from_path("rows"), None);
    /// ```
    #[must_use]
    pub fn from_path(path: &str) -> Option<Format> {
        let path = path.to_ascii_lowercase();
        let (_, extension) = Packing::split(&path).0.rsplit_once('.')?;
        match extension {
            "jsonl" | "ndjson" | "jsonlines" | "json" => Some(Format::Jsonl),
            "csv" => Some(Format::Csv),
            "tsv" | "tab" => Some(Format::Tsv),
            "txt" | "text" => Some(Format::Text),
            "parquet" | "pq" => Some(Format::Parquet),
            "arrow" | "arrows" | "feather" | "ipc" => Some(Format::Arrow),
            _ => media::Format::from_name(&path).map(|_| Format::Files),
        }
    }
}
