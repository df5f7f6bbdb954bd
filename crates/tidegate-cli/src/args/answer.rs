//! The flags of `tidegate run` about what an answer must be.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tidegate::Kind;

use crate::duration;
use crate::settings::value;

#[derive(Args)]
#[command(next_help_heading = "Answers")]
pub(crate) struct AnswerArgs {
    /// File with the JSON Schema that every answer must satisfy
    #[arg(long, value_name = "FILE")]
    pub(crate) schema: Option<PathBuf>,
    /// Fields of structured answers that become fields or columns, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) lift: Option<Vec<String>>,
    /// Expression that must be true, such as 'output.total > 0'; may be repeated
    #[arg(long, value_name = "EXPR")]
    pub(crate) check: Vec<String>,
    /// Regular expression that must be found in the answer; may be repeated
    #[arg(long, value_name = "REGEX")]
    pub(crate) check_regex: Vec<String>,
    /// Program that reads {"output": …} a line and writes true or false a line
    #[arg(long, value_name = "COMMAND")]
    pub(crate) check_command: Option<String>,
    /// Time of that program for one answer [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, allow_hyphen_values = true)]
    pub(crate) check_timeout: Option<Duration>,
    /// How often a refused answer is asked for again [default: 2, or to the ladder's end]
    #[arg(long, value_name = "N")]
    pub(crate) max_check_retries: Option<u32>,
    /// Wait before a refused answer is asked for again [default: 0]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, allow_hyphen_values = true)]
    pub(crate) check_delay: Option<Duration>,
    /// Models and parameters by try: 'temperature=0;model=a/b,temperature=1'
    #[arg(long, value_name = "RUNG;…", value_parser = value::ladder)]
    pub(crate) ladder: Option<toml::Value>,
    /// Causes that lead to the ladder's next rung [default: rejected,truncated]
    #[arg(long, value_name = "CAUSE,…", value_delimiter = ',', value_parser = value::kind)]
    pub(crate) ladder_on: Option<Vec<Kind>>,
    /// Column that names a row's task, one of the tasks in the configuration
    #[arg(long, value_name = "NAME")]
    pub(crate) task_column: Option<String>,
    /// Column that names a row's one model
    #[arg(long, value_name = "NAME")]
    pub(crate) model_column: Option<String>,
}
