//! The form of a scenario file.

use serde::Deserialize;
use tidegate::sim::Scenario;
use tidegate::{Balance, Limits};

/// One scenario file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// What this shows, in a sentence.
    pub(crate) about: String,
    /// The endpoints, in order of preference.
    pub(crate) providers: Vec<ProviderCase>,
    /// How requests are spread over them.
    #[serde(default)]
    pub(crate) balance: Balance,
    pub(crate) workload: Workload,
    pub(crate) expect: Expect,
}

/// One endpoint: how it behaves, and what the client is told about it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProviderCase {
    /// The provider in the simulator's own language.
    pub(crate) is: Scenario,
    /// The limits that the user states.
    #[serde(default)]
    pub(crate) stated: Limits,
    /// How many endpoints of the client lead here.
    #[serde(default = "one")]
    pub(crate) endpoints: usize,
    /// The limits that the user states for these endpoints together.
    #[serde(default)]
    pub(crate) account: Option<Limits>,
    /// Limits that the user states while the client is at work, in place of the others.
    #[serde(default)]
    pub(crate) stated_later: Vec<Later>,
    /// Endings of header names that it leaves out, such as `-limit-requests`: everything that contains one of these.
    #[serde(default)]
    pub(crate) without_headers: Vec<String>,
    /// When it is out of order.
    #[serde(default)]
    pub(crate) down: Vec<Outage>,
}

/// Limits that are stated later.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Later {
    pub(crate) after_s: f64,
    pub(crate) stated: Limits,
}

/// A time in which a provider does not serve.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outage {
    pub(crate) from_s: f64,
    pub(crate) to_s: f64,
    pub(crate) how: How,
}

/// How a provider fails during an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// Connections are refused.
    Refuse,
    /// It answers 500.
    Status500,
    /// It never answers.
    Hang,
}

/// What is sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workload {
    pub(crate) rows: u64,
    /// The shortest and the longest prompt.
    #[serde(default = "short")]
    pub(crate) prompt_bytes: [usize; 2],
    /// How many rows in a row have the shortest prompt and as many then the longest; without it all lengths are mixed.
    #[serde(default)]
    pub(crate) stretch: Option<u64>,
    #[serde(default)]
    pub(crate) max_tokens: Option<u32>,
    /// The time for one attempt.
    #[serde(default)]
    pub(crate) timeout_s: Option<f64>,
    /// The attempts that a row has. Default: the client's.
    #[serde(default)]
    pub(crate) attempts: Option<u32>,
    /// The share of extra calls that copies of slow ones may cost.
    #[serde(default)]
    pub(crate) hedge: Option<f64>,
    /// How many processes with the same key share the rows, each a client of its own.
    #[serde(default = "one")]
    pub(crate) clients: usize,
}

fn short() -> [usize; 2] {
    [40, 40]
}

fn one() -> usize {
    1
}

/// What is to be reached.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expect {
    /// Shares within parts of the run.
    pub(crate) spans: Vec<Span>,
    /// The most calls of the whole run that may be rejected, as a share. Default: twice the largest share of a span.
    pub(crate) rejected: Option<f64>,
    /// The most rows that may fail.
    pub(crate) failed: u64,
    /// The longest the run may take, in multiples of rows divided by the quota.
    pub(crate) makespan: Option<f64>,
    /// The most calls that a provider may get in any 60 seconds.
    pub(crate) in_a_minute: Option<usize>,
    /// Fixed concurrencies to compare with.
    pub(crate) sweep: Option<Sweep>,
    /// The least share of the calls that each of several clients gets.
    pub(crate) fair: Option<f64>,
    /// The longest the whole run may take, in multiples of the time until 99 % of the rows are done.
    pub(crate) tail: Option<f64>,
    /// The most calls beyond one for each row and one for each call that hangs, as a share of the rows.
    pub(crate) extra: Option<f64>,
}

/// A part of the run, and what is to be reached in it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Span {
    /// Seconds after the first call.
    pub(crate) from_s: f64,
    /// Until then; without it until the last row is sent.
    #[serde(default)]
    pub(crate) to_s: Option<f64>,
    /// The least share of the quota to use.
    #[serde(default)]
    pub(crate) utilisation: f64,
    /// The most seconds' worth of it to lose, against somebody who knows what works and sends all he may.
    #[serde(default)]
    pub(crate) lost_s: Option<f64>,
    /// The most calls that may be rejected, as a share.
    pub(crate) rejected: f64,
}

/// A comparison with the best of several fixed concurrencies.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sweep {
    pub(crate) concurrency: Vec<u32>,
    /// How many rows each of them is given.
    pub(crate) rows: u64,
    /// The most a fixed concurrency's 99th percentile may be, in multiples of the unloaded one, to count as good.
    pub(crate) p99: f64,
    /// The least share of the best one's throughput to reach.
    pub(crate) throughput: f64,
}
