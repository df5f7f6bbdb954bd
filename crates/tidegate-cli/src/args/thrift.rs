//! The flags of `tidegate run` that make fewer calls of as many rows.

use clap::Args;

use crate::settings::{PromptCache, value};

#[derive(Args)]
#[command(next_help_heading = "Fewer calls")]
pub(crate) struct ThriftArgs {
    /// Ask identical rows once, whatever the temperature [default: only at temperature 0]
    #[arg(long)]
    pub(crate) dedupe: Option<bool>,
    /// Ask up to N rows in one call, where they differ in their text only [default: 1]
    #[arg(long, value_name = "N", value_parser = value::count)]
    pub(crate) pack: Option<u32>,
    /// Where cache points go at Anthropic and Bedrock; the first row of a prefix goes ahead [default: off]
    #[arg(long, value_name = "STRATEGY", value_enum)]
    pub(crate) prompt_cache: Option<PromptCache>,
}
