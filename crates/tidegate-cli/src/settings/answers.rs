//! Settings about answers: checks, ladders, tasks.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate::Params;

use super::value;
use crate::duration;

/// What answers must pass, and how often they are asked for again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Checks {
    /// Expressions that must be true; `output` is the answer.
    pub(crate) expressions: Vec<String>,
    /// Regular expressions that must be found in the answer.
    pub(crate) regexes: Vec<String>,
    /// A program that reads a line `{"output": …}` for each answer and writes a line `true` or `false`.
    pub(crate) command: Option<String>,
    /// How long the program may take for one answer; default 30 s.
    #[serde(deserialize_with = "duration::deserialize_positive", serialize_with = "duration::serialize")]
    pub(crate) timeout: Duration,
    /// How often a refused answer is asked for again; default 2, or until the ladder's last rung.
    pub(crate) max_retries: Option<u32>,
    /// The wait before asking again; default none.
    #[serde(with = "duration")]
    pub(crate) delay: Duration,
}

impl Default for Checks {
    fn default() -> Checks {
        Checks {
            expressions: Vec::new(),
            regexes: Vec::new(),
            command: None,
            timeout: Duration::from_secs(30),
            max_retries: None,
            delay: Duration::ZERO,
        }
    }
}

/// One step of the ladder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rung {
    /// The model to ask; default: the run's.
    pub(crate) model: Option<String>,
    /// Parameters that win over the run's.
    #[serde(deserialize_with = "value::params_setting")]
    pub(crate) params: Params,
}

/// The models of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Task {
    /// The models, the first preferred.
    pub(crate) models: Vec<String>,
}
