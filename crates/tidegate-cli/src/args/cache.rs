//! The flags of the answer cache.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::duration;

#[derive(Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct CacheArgs {
    /// File or folder with answers that are used again, by this and other runs [default: none]
    #[arg(long, value_name = "PATH")]
    pub(crate) cache: Option<PathBuf>,
    /// Age from which a stored answer is asked for anew [default: none]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, allow_hyphen_values = true)]
    pub(crate) cache_ttl: Option<Duration>,
    /// Megabytes above which the oldest answers are removed [default: 1024]
    #[arg(long, value_name = "MB")]
    pub(crate) cache_size: Option<u32>,
}
