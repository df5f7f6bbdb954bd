//! How a run is looked at afterwards, or from beside.

use std::path::PathBuf;

use clap::Args;

use crate::settings::value;

/// The arguments of `tidegate report`.
#[derive(Args)]
#[command(after_help = REPORT_EXAMPLES)]
pub(crate) struct ReportArgs {
    /// Result file of the run, or the directory of its journal
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,
    /// Print JSON
    #[arg(long, conflicts_with = "html")]
    pub(crate) json: bool,
    /// Write a page with pictures instead; - is the standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Rows to show on the page with input and answer, of each kind [default: 0, no content]
    #[arg(long, value_name = "N", value_parser = value::count, requires = "html")]
    pub(crate) examples: Option<u32>,
}

const REPORT_EXAMPLES: &str = "\
Examples:
  tidegate report out.jsonl
  tidegate report out.jsonl --html report.html

All of it comes from OUT.tidegate/, also in the middle of a run. The page is one file that loads nothing. Without --examples it
has counts, ids, settings and what providers said about failures, but no prompts, inputs and answers.";

/// The arguments of `tidegate show`.
#[derive(Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(crate) struct ShowArgs {
    /// Result file of the run
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,
    /// Id of the row; :17 is the 17th record, for rows without ids
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Print JSON, an object a record
    #[arg(long)]
    pub(crate) json: bool,
}

const SHOW_EXAMPLES: &str = "\
Examples:
  tidegate show out.jsonl invoice-17
  tidegate show out.jsonl :1 --json

Everything comes from the journal, OUT.tidegate/, also in the middle of a run. The journal holds the row and the answer,
not the request: that is made again from the row and the prompt of the last run, and a check in the journal says whether it is
what was asked. Files that went with it are not shown. Each attempt is known where there were several, except of batch lines.";
