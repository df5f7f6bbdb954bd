//! Settings of the answer cache.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::value;
use crate::duration;

/// Where answers are kept, and for how long they are used again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cache {
    /// A file, or a folder to have one in; relative to the configuration file that names it; default: no cache.
    pub(crate) path: Option<PathBuf>,
    /// The age from which a stored answer is asked for anew; default: none.
    #[serde(with = "duration::optional", skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<Duration>,
    /// The megabytes above which the oldest answers are removed; default 1024.
    #[serde(deserialize_with = "value::optional_count_setting")]
    pub(crate) size: Option<u32>,
}
