//! The flags of `tidegate run` about speed, limits and failures.

use std::time::Duration;

use clap::Args;

use crate::duration;
use crate::settings::{Pace, value};

#[derive(Args)]
#[command(next_help_heading = "Speed, limits and failures")]
pub(crate) struct LimitArgs {
    /// Requests per minute, for each endpoint [default: found out from the replies]
    #[arg(long, value_name = "N", value_parser = value::rate)]
    pub(crate) rpm: Option<f64>,
    /// Tokens per minute, for each endpoint [default: found out from the replies]
    #[arg(long, value_name = "N", value_parser = value::rate)]
    pub(crate) tpm: Option<f64>,
    /// Requests per second, for each endpoint
    #[arg(long, value_name = "N", value_parser = value::rate)]
    pub(crate) rps: Option<f64>,
    /// Requests in 24 hours, for each endpoint
    #[arg(long, value_name = "N", value_parser = value::rate)]
    pub(crate) rpd: Option<f64>,
    /// Input tokens per minute, for each endpoint
    #[arg(long, value_name = "N", value_parser = value::rate)]
    pub(crate) itpm: Option<f64>,
    /// Output tokens per minute, for each endpoint
    #[arg(long, value_name = "N", value_parser = value::rate)]
    pub(crate) otpm: Option<f64>,
    /// Least time between two requests, for each endpoint
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, allow_hyphen_values = true)]
    pub(crate) spacing: Option<Duration>,
    /// Requests in flight, for each endpoint [default: 16 at the start, growing]
    #[arg(long, value_name = "N", value_parser = value::count)]
    pub(crate) concurrency: Option<u32>,
    /// Requests per minute of the whole run
    #[arg(long, value_name = "N", value_parser = value::rate)]
    pub(crate) total_rpm: Option<f64>,
    /// Tokens per minute of the whole run
    #[arg(long, value_name = "N", value_parser = value::rate)]
    pub(crate) total_tpm: Option<f64>,
    /// Requests in flight of the whole run
    #[arg(long, value_name = "N", value_parser = value::count)]
    pub(crate) total_concurrency: Option<u32>,
    /// A ready-made choice of limits and pauses [default: balanced, what the provider allows]
    #[arg(long, value_name = "PACE", value_enum)]
    pub(crate) pace: Option<Pace>,
    /// Time of one attempt: 600, 600s, 10m, 250ms [default: 600s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, allow_hyphen_values = true)]
    pub(crate) timeout: Option<Duration>,
    /// Time to make a connection [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, allow_hyphen_values = true)]
    pub(crate) connect_timeout: Option<Duration>,
    /// Read every reply as a stream, without a limit of its time while it comes
    #[arg(long)]
    pub(crate) stream: Option<bool>,
    /// Most attempts for a row; 429s do not count [default: 5]
    #[arg(long, value_name = "N", value_parser = value::count)]
    pub(crate) max_attempts: Option<u32>,
    /// Share of the rows that may be tried again: 0.2 [default: all]
    #[arg(long, value_name = "SHARE", value_parser = value::share)]
    pub(crate) retry_budget: Option<f64>,
    /// Time for a row with everything: waiting, pauses, all attempts [default: none]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, allow_hyphen_values = true)]
    pub(crate) deadline: Option<Duration>,
    /// Ask again about slow rows, for that share of extra calls [without a share: 0.02]
    #[arg(long, value_name = "SHARE", value_parser = value::share, num_args = 0..=1, require_equals = true, default_missing_value = "0.02")]
    pub(crate) hedge: Option<f64>,
}
