//! An observer that counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::event::{Event, ItemEnded, Observer};
use crate::failure::{Failure, Kind};
use crate::money::Money;
use crate::response::Usage;
use crate::run::summary::{Finished, ModelTally, Spread, Tally};

/// Counts what happens in a client, over all its runs; clones are the same count.
///
/// ```
/// use std::sync::Arc;
/// use tidegate::run::metrics::Metrics;
/// use tidegate::{Client, Request, Target};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let metrics = Metrics::default();
/// let client = Client::builder().target(Target::new("sim/echo")?).observer(Arc::new(metrics.clone())).build()?;
/// client.run((0..20).map(|n| Request::prompt(n.to_string()))).in_input_order().await;
/// let counted = metrics.counted();
/// assert_eq!((counted.started, counted.succeeded, counted.success_rate), (20, 20, Some(1.0)));
/// println!("{}", serde_json::to_string_pretty(&counted)?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    tally: Tally,
    started: u64,
    admitted: u64,
    retried: u64,
    limits_hit: u64,
    attempts_failed: BTreeMap<Kind, u64>,
    cooldowns: u64,
    cooled: Duration,
    waited: Duration,
    runs: u64,
}

/// What was counted until a moment.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Counted {
    /// Runs that were started.
    pub runs: u64,
    /// Items that were started.
    pub started: u64,
    /// Items answered, those from the cache included.
    pub succeeded: u64,
    /// Items without an answer.
    pub failed: u64,
    /// Items answered from the cache.
    pub replayed: u64,
    /// The share of finished items that were answered, 0 to 1; null if none is finished.
    pub success_rate: Option<f64>,
    /// Calls that were admitted.
    pub admitted: u64,
    /// Attempts that failed, by cause.
    pub attempts_failed: BTreeMap<Kind, u64>,
    /// Attempts after which the item was tried again.
    pub retried: u64,
    /// Calls that were rejected for load.
    pub limits_hit: u64,
    /// Pauses of endpoints.
    pub cooldowns: u64,
    /// Their length together, as far as they were not cut short or made longer.
    pub cooled: Duration,
    /// How long calls waited to be admitted, together.
    pub waited: Duration,
    /// Tokens of all attempts.
    pub usage: Usage,
    /// What they cost in US dollars, where known; null if nothing is.
    pub cost_usd: Option<f64>,
    /// The latency of answered items.
    pub latency: Spread,
    /// The items by model.
    pub models: BTreeMap<String, ModelTally>,
}

impl Metrics {
    /// Returns what has been counted so far.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let counts = self.lock();
        let tally = &counts.tally;
        Counted {
            runs: counts.runs,
            started: counts.started,
            succeeded: tally.succeeded,
            failed: tally.failed,
            replayed: tally.cached,
            success_rate: tally.success_rate(),
            admitted: counts.admitted,
            attempts_failed: counts.attempts_failed.clone(),
            retried: counts.retried,
            limits_hit: counts.limits_hit,
            cooldowns: counts.cooldowns,
            cooled: counts.cooled,
            waited: counts.waited,
            usage: tally.usage,
            cost_usd: tally.known_cost().map(Money::usd),
            latency: tally.latencies(),
            models: tally.models.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Metrics {
    fn event(&self, event: &Event) {
        let mut counts = self.lock();
        match event {
            Event::RunStarted { .. } => counts.runs += 1,
            Event::ItemStarted { .. } => counts.started += 1,
            Event::ItemAdmitted { waited, .. } => {
                counts.admitted += 1;
                counts.waited += *waited;
            }
            Event::ItemRetried { .. } => counts.retried += 1,
            Event::LimitHit { .. } => counts.limits_hit += 1,
            Event::AttemptFailed { failure, .. } => *counts.attempts_failed.entry(failure.kind).or_default() += 1,
            Event::CooldownStarted { pause, .. } => {
                counts.cooldowns += 1;
                counts.cooled += *pause;
            }
            Event::ItemCompleted { ended, .. } => counts.tally.add(&finished(ended, None)),
            Event::ItemFailed { ended, failure, .. } => counts.tally.add(&finished(ended, Some(failure))),
            Event::ItemReplayed { model, .. } => counts.tally.add(&replayed(model)),
            _ => {}
        }
    }
}

fn finished<'a>(ended: &'a ItemEnded, failure: Option<&'a Failure>) -> Finished<'a> {
    Finished {
        model: ended.model.as_deref().unwrap_or_default(),
        endpoint: ended.endpoint.as_deref().unwrap_or_default(),
        failure: failure.map(|failure| (failure.kind, &*failure.message)),
        usage: ended.usage,
        cost: ended.cost,
        latency_ms: ended.took.as_secs_f64() * 1e3,
        attempts: ended.calls,
        fallback: false,
        cached: false,
        shared: false,
        packed: None,
        calls: None,
        checked: None,
    }
}

fn replayed(model: &str) -> Finished<'_> {
    Finished {
        model,
        endpoint: "",
        failure: None,
        usage: None,
        cost: Some(Money::ZERO),
        latency_ms: 0.0,
        attempts: 0,
        fallback: false,
        cached: true,
        shared: false,
        packed: None,
        calls: None,
        checked: None,
    }
}
