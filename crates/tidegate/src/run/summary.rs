//! What a run came to: counts, causes, tokens, money, time.
//!
//! A [`Tally`] takes one row after the other, live from the run or later from the journal, so that `report` and the run's own
//! summary can never disagree. A [`Summary`] is the tally with what only the run knows: how long it took, what limited it,
//! why it stopped. Its JSON form is versioned by [`Summary::VERSION`].

mod answers;
mod finished;
mod packing;
mod spread;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::RetryStats;
use crate::event::EndpointSnapshot;
use crate::failure::{Failure, Kind};
use crate::money::Money;
use crate::response::Usage;

pub use self::answers::AnswerTally;
pub use self::finished::Finished;
pub(in crate::run) use self::finished::region;
pub use self::packing::{PackTally, Packing};
pub use self::spread::{Percentiles, Spread};

/// Rows that failed for one cause.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// How many.
    pub rows: u64,
    /// What the first of them said.
    pub example: String,
}

/// What one model did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelTally {
    /// Rows it answered.
    pub succeeded: u64,
    /// Rows that failed with it.
    pub failed: u64,
    /// What they cost in US dollars, as far as known; null if nothing is.
    pub cost_usd: Option<f64>,
}

/// Counts over finished rows.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> tidegate::Result<()> {
/// use tidegate::{Client, Request, Target};
/// # let client = Client::builder().target(Target::new("sim/echo")?).build()?;
/// let batch = client.run((0..20).map(|n| Request::prompt(format!("Is {n} a prime number?")))).in_input_order().await;
/// let tally = batch.tally();
/// assert_eq!((tally.succeeded, tally.failed), (20, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Tally {
    /// Rows answered.
    pub succeeded: u64,
    /// Rows failed.
    pub failed: u64,
    /// The failed rows by cause.
    pub causes: BTreeMap<Kind, Cause>,
    /// Tokens of all attempts.
    pub usage: Usage,
    /// What is known of the cost.
    pub cost: Money,
    /// Answered rows whose cost is not known.
    pub unpriced: u64,
    /// Calls made beyond the first of each row.
    pub retries: u64,
    /// Failed rows with a last resort in the place of an answer.
    pub fallbacks: u64,
    /// Rows answered from the cache, at no cost; they are among those answered.
    pub cached: u64,
    /// Rows whose outcome is that of an identical row, at no cost.
    pub shared: u64,
    /// How rows were asked together.
    pub packing: PackTally,
    /// Rows of whose prompt a provider had a part in its cache.
    pub prompt_hits: u64,
    /// The rows by model.
    pub models: BTreeMap<String, ModelTally>,
    /// Rows answered by region, where endpoints have one.
    pub regions: BTreeMap<String, u64>,
    /// How answers were judged.
    pub answers: AnswerTally,
    /// Answered rows that nobody was asked for.
    free: u64,
    latency_us: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            succeeded: 0,
            failed: 0,
            causes: BTreeMap::new(),
            usage: Usage::default(),
            cost: Money::ZERO,
            unpriced: 0,
            retries: 0,
            fallbacks: 0,
            cached: 0,
            shared: 0,
            packing: PackTally::default(),
            prompt_hits: 0,
            models: BTreeMap::new(),
            regions: BTreeMap::new(),
            answers: AnswerTally::default(),
            free: 0,
            latency_us: microseconds_up_to_a_day(),
        }
    }
}

#[expect(clippy::expect_used, reason = "the arguments are constants that a test shows to be valid")]
fn microseconds_up_to_a_day() -> Histogram<u64> {
    Histogram::new_with_max(86_400_000_000, 3).expect("3 digits up to a day")
}

impl Tally {
    /// Counts one more row: a stored record's, or an outcome's as in `tally.add(&(&outcome).into())`.
    pub fn add(&mut self, row: &Finished<'_>) {
        match row.failure {
            None => {
                self.succeeded += 1;
                self.unpriced += u64::from(row.cost.is_none());
                self.free += u64::from(row.is_free());
                if !row.is_free() {
                    self.latency_us.saturating_record((row.latency_ms * 1e3) as u64);
                }
            }
            Some((kind, message)) => {
                self.failed += 1;
                let cause = self.causes.entry(kind).or_default();
                if cause.rows == 0 {
                    message.clone_into(&mut cause.example);
                }
                cause.rows += 1;
            }
        }
        if let Some(usage) = row.usage {
            self.prompt_hits += u64::from(usage.cached_tokens > 0);
            self.usage += usage;
        }
        self.cost += row.cost.unwrap_or_default();
        match row.calls {
            None => self.retries += u64::from(row.attempts.saturating_sub(1)),
            Some(calls) => self.packing.add(calls, row),
        }
        self.fallbacks += u64::from(row.fallback);
        self.cached += u64::from(row.cached);
        self.shared += u64::from(row.shared);
        if let Some(checked) = row.checked {
            self.answers.add(checked, row.cost.filter(|_| row.failure.is_none()));
        }
        self.add_to_model(row);
        if let Some(region) = region(row.endpoint).filter(|_| row.failure.is_none()) {
            self.add_to_region(region);
        }
    }

    fn add_to_region(&mut self, region: &str) {
        match self.regions.get_mut(region) {
            Some(answered) => *answered += 1,
            None => drop(self.regions.insert(region.to_owned(), 1)),
        }
    }

    /// A row that never reached a model, such as a broken line, is nobody's.
    fn add_to_model(&mut self, row: &Finished<'_>) {
        if row.model.is_empty() {
            return;
        }
        // Without an allocation for a model that is known already.
        let model = match self.models.get_mut(row.model) {
            Some(model) => model,
            None => self.models.entry(row.model.to_owned()).or_default(),
        };
        match row.failure {
            None => model.succeeded += 1,
            Some(_) => model.failed += 1,
        }
        let says = |cost: &Money| *cost > Money::ZERO || row.failure.is_none() && !row.is_free();
        if let Some(cost) = row.cost.filter(says) {
            model.cost_usd = Some(model.cost_usd.unwrap_or(0.0) + cost.usd());
        }
    }

    /// Returns rows answered and failed together.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.succeeded + self.failed
    }

    /// Returns the latency of answered rows at a percentile, such as 95.
    #[must_use]
    pub fn latency(&self, percentile: f64) -> Duration {
        Duration::from_micros(self.latency_us.value_at_percentile(percentile))
    }

    /// Returns the latency of answered rows: the extremes, the mean and the usual percentiles; all zero if none was answered.
    #[must_use]
    pub fn latencies(&self) -> Spread {
        let micros = |value: u64| Duration::from_micros(value);
        Spread {
            min: micros(if self.latency_us.is_empty() { 0 } else { self.latency_us.min() }),
            mean: Duration::from_secs_f64(self.latency_us.mean() / 1e6),
            max: micros(self.latency_us.max()),
            p50: self.latency(50.0),
            p95: self.latency(95.0),
            p99: self.latency(99.0),
        }
    }

    /// Returns the share of finished rows that were answered, 0 to 1; nothing if none is finished.
    #[must_use]
    pub fn success_rate(&self) -> Option<f64> {
        (self.finished() > 0).then(|| self.succeeded as f64 / self.finished() as f64)
    }

    /// Returns the share of finished rows that failed, 0 to 1; nothing if none is finished.
    #[must_use]
    pub fn failure_rate(&self) -> Option<f64> {
        self.success_rate().map(|rate| 1.0 - rate)
    }

    /// Returns the share of input tokens that providers read from their caches, 0 to 1; nothing if no input is known.
    #[must_use]
    pub fn cached_token_rate(&self) -> Option<f64> {
        let Usage { input_tokens, cached_tokens, .. } = self.usage;
        (input_tokens > 0).then(|| cached_tokens as f64 / input_tokens as f64)
    }

    /// Returns how many answered rows took at most that long, to three digits.
    #[must_use]
    pub fn answered_within(&self, time: Duration) -> u64 {
        self.latency_us.count_between(0, time.as_micros() as u64)
    }

    /// Returns the known cost, or nothing if the cost of no answered row that somebody was asked for is known.
    #[must_use]
    pub fn known_cost(&self) -> Option<Money> {
        let paid = self.succeeded - self.free;
        let all_free = paid == 0 && (self.free > 0 || self.finished() == 0);
        (self.unpriced < paid || self.cost > Money::ZERO || all_free).then_some(self.cost)
    }
}

/// Why a run ended before its input did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
#[non_exhaustive]
pub enum Stopped {
    /// The user asked for it.
    User,
    /// No endpoint can serve any more.
    NoEndpoint {
        /// What the provider said.
        failure: Failure,
    },
    /// Rows failed one after the other for the same cause: the first of all, or later ones because nobody was there.
    SameCause {
        /// The cause, with one row's message.
        failure: Failure,
        /// How many rows.
        rows: u64,
    },
    /// The next request might have exceeded the budget.
    Budget {
        /// What is spent, and what the request might have cost.
        failure: Failure,
    },
    /// The time allowed was over.
    Deadline {
        /// That time, in seconds.
        seconds: f64,
    },
    /// Rows failed, and the user wanted to stop then.
    Failures {
        /// Which rule it was.
        rule: FailureRule,
        /// The failure that decided it.
        failure: Failure,
        /// Rows failed until then.
        failed: u64,
        /// Rows answered or failed until then.
        finished: u64,
    },
    /// A row stopped the intake: it cannot be read, repeats an id, or asks something else than before.
    Input {
        /// Which row, and what to do.
        message: String,
    },
}

/// A rule by which failed rows stop a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureRule {
    /// Any failed row.
    First,
    /// A row that failed for a cause that was named.
    Kind,
    /// A larger share of failed rows than allowed.
    Rate,
}

impl fmt::Display for Stopped {
    /// Writes why, in words that fit behind "stopped:".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stopped::User => f.write_str("you asked for it"),
            // What the provider said was an event of its own.
            Stopped::NoEndpoint { .. } => f.write_str("no endpoint can serve any more"),
            Stopped::SameCause { failure, rows } => write!(f, "{rows} rows in a row failed alike: {failure}"),
            Stopped::Budget { failure } => write!(f, "the budget: {}", failure.message),
            Stopped::Deadline { seconds } => write!(f, "the time allowed ({seconds} s) is over"),
            Stopped::Failures { rule, failure, failed, finished } => match rule {
                FailureRule::First => write!(f, "a row failed: {failure}"),
                FailureRule::Kind => write!(f, "a row failed for a cause to stop on: {failure}"),
                FailureRule::Rate => {
                    write!(f, "{failed} of {finished} rows failed, more than allowed; the last: {failure}")
                }
            },
            Stopped::Input { message } => f.write_str(message),
        }
    }
}

/// What was spent for an output over all invocations, against its budget.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Spending {
    /// The budget in US dollars, if there is one.
    pub budget_usd: Option<f64>,
    /// The budget in tokens, if there is one.
    pub budget_tokens: Option<u64>,
    /// What is charged to it: what is known, and the worst case of calls of which nobody knows whether they were billed.
    pub spent_usd: Option<f64>,
    /// Tokens charged to it.
    pub spent_tokens: u64,
    /// What earlier invocations had spent.
    pub before_usd: Option<f64>,
    /// Tokens that earlier invocations had used.
    pub before_tokens: u64,
    /// Answers of earlier invocations whose cost nobody knows: they are not counted.
    pub unknown_before: u64,
}

/// What one invocation came to.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// The version of this form.
    pub version: u32,
    /// Rows read from the input.
    pub read: u64,
    /// Whether those were all: if not, an unknown number of further rows was not sent.
    pub read_all: bool,
    /// Records that were there already.
    pub done_before: u64,
    /// How many of those say that their row failed.
    pub failed_before: u64,
    /// Rows answered now.
    pub succeeded: u64,
    /// Rows failed now.
    pub failed: u64,
    /// Rows that were not sent, or whose answer was not waited for.
    pub unsent: u64,
    /// The failed rows by cause.
    pub causes: BTreeMap<Kind, Cause>,
    /// The share of finished rows that were answered, 0 to 1; null if none is finished.
    pub success_rate: Option<f64>,
    /// The rows by model.
    pub models: BTreeMap<String, ModelTally>,
    /// Rows answered by region, where endpoints have one.
    pub regions: BTreeMap<String, u64>,
    /// How answers were judged; all zero without a schema, checks and a ladder.
    pub answers: AnswerTally,
    /// Tokens of all attempts.
    pub usage: Usage,
    /// The share of input tokens that providers read from their caches, 0 to 1; null if no input is known.
    pub cached_token_rate: Option<f64>,
    /// What is known of the cost, in US dollars; null if nothing is.
    pub cost_usd: Option<f64>,
    /// Answered rows whose cost is not known.
    pub unpriced: u64,
    /// Latency of answered rows in milliseconds.
    pub latency_ms: Percentiles,
    /// Calls made beyond the first of each row.
    pub retries: u64,
    /// What was tried again, and after what; all zero in a report.
    pub tried_again: RetryStats,
    /// Wall time in seconds.
    pub seconds: f64,
    /// How the endpoints did; empty in a report.
    pub endpoints: Vec<EndpointSnapshot>,
    /// What was spent against the budget, if there is one.
    pub budget: Option<Spending>,
    /// Failed rows with a last resort in the place of an answer.
    pub fallbacks: u64,
    /// Rows answered from the cache, at no cost; they are among `succeeded`.
    pub cached: u64,
    /// Rows whose outcome is that of an identical row, at no cost.
    pub shared: u64,
    /// Rows that were asked together with others; all zero without `--pack`.
    pub packing: Packing,
    /// What providers' own caches of prompts came to.
    pub prompt_cache: PromptCaching,
    /// Why it ended early.
    pub stopped: Option<Stopped>,
    /// Bytes of a torn journal tail that were cut off at the start.
    pub repaired_bytes: u64,
    /// Things worth knowing.
    pub warnings: Vec<String>,
}

/// What providers' own caches of prompts came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PromptCaching {
    /// Rows of whose prompt a part was read from a cache.
    pub hits: u64,
    /// Input tokens read.
    pub read_tokens: u64,
    /// Input tokens written.
    pub written_tokens: u64,
    /// What that saved in US dollars, less what writing cost more; null in a report, and where nothing was read or
    /// written at a known price.
    pub saved_usd: Option<f64>,
}

impl PromptCaching {
    fn of(tally: &Tally) -> PromptCaching {
        let Usage { cached_tokens, cache_write_tokens, .. } = tally.usage;
        let (hits, read_tokens, written_tokens) = (tally.prompt_hits, cached_tokens, cache_write_tokens);
        PromptCaching { hits, read_tokens, written_tokens, saved_usd: None }
    }
}

impl Summary {
    /// The version of the JSON form.
    pub const VERSION: u32 = 1;

    /// Makes a summary of what a tally holds; the rest is for the caller to fill in.
    #[must_use]
    pub fn of(tally: &Tally) -> Summary {
        Summary {
            version: Summary::VERSION,
            read: tally.finished(),
            read_all: true,
            done_before: 0,
            failed_before: 0,
            succeeded: tally.succeeded,
            failed: tally.failed,
            unsent: 0,
            causes: tally.causes.clone(),
            success_rate: tally.success_rate(),
            models: tally.models.clone(),
            regions: tally.regions.clone(),
            answers: tally.answers.clone(),
            usage: tally.usage,
            cached_token_rate: tally.cached_token_rate(),
            cost_usd: tally.known_cost().map(Money::usd),
            unpriced: tally.unpriced,
            latency_ms: tally.latencies().into(),
            retries: tally.retries + tally.packing.retries(),
            tried_again: RetryStats::default(),
            seconds: 0.0,
            endpoints: Vec::new(),
            budget: None,
            fallbacks: tally.fallbacks,
            cached: tally.cached,
            shared: tally.shared,
            packing: tally.packing.into(),
            prompt_cache: PromptCaching::of(tally),
            stopped: None,
            repaired_bytes: 0,
            warnings: Vec::new(),
        }
    }

    /// Returns the calls rejected for load, over all endpoints.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.endpoints.iter().map(|endpoint| endpoint.rejected).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(failure: Option<(Kind, &'static str)>, cost: Option<f64>) -> Finished<'static> {
        let usage = Some(Usage { input_tokens: 10, output_tokens: 5, ..Usage::default() });
        Finished {
            model: "m",
            endpoint: "bedrock/m@us-east-1#dev",
            failure,
            usage,
            cost: cost.map(Money::from_usd),
            latency_ms: 20.0,
            attempts: 2,
            fallback: false,
            cached: false,
            shared: false,
            packed: None,
            calls: None,
            checked: None,
        }
    }

    #[test]
    fn rows_are_counted_by_outcome_and_cause() {
        let mut tally = Tally::default();
        tally.add(&row(None, Some(0.5)));
        tally.add(&row(Some((Kind::Timeout, "first")), Some(0.25)));
        tally.add(&row(Some((Kind::Timeout, "second")), None));
        let summary = Summary::of(&tally);
        assert_eq!((summary.succeeded, summary.failed, summary.retries), (1, 2, 3));
        assert_eq!(summary.causes[&Kind::Timeout], Cause { rows: 2, example: "first".to_owned() });
        assert_eq!((summary.cost_usd, summary.usage.total()), (Some(0.75), 45));
        assert!((summary.latency_ms.p50 - 20.0).abs() < 0.1 && (summary.latency_ms.mean - 20.0).abs() < 0.1);
        assert_eq!((summary.success_rate, &summary.regions["us-east-1"]), (Some(1.0 / 3.0), &1));
    }

    #[test]
    fn an_unknown_cost_is_never_zero() {
        let mut tally = Tally::default();
        tally.add(&row(None, None));
        assert_eq!(Summary::of(&tally).cost_usd, None);
        tally.add(&row(None, Some(1.0)));
        assert_eq!((Summary::of(&tally).cost_usd, tally.unpriced), (Some(1.0), 1));
    }
}
