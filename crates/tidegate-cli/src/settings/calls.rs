//! Settings about how rows share calls.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::value;

/// Which rows are asked as one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Calls {
    /// Whether identical rows are asked once whatever the temperature; default: false, only at temperature 0.
    pub(crate) dedupe: bool,
    /// How many rows are asked in one call at the most; default 1. More makes fewer calls and less careful answers.
    #[serde(deserialize_with = "value::count_setting")]
    pub(crate) pack: u32,
    /// Where cache points go; default: off.
    pub(crate) prompt_cache: PromptCache,
}

/// How cache points are placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PromptCache {
    /// None are.
    #[default]
    Off,
    /// One, before a short end.
    Conservative,
    /// After each longer part.
    Aggressive,
}

impl Default for Calls {
    fn default() -> Calls {
        Calls { dedupe: false, pack: 1, prompt_cache: PromptCache::Off }
    }
}
