//! What observers see: events, which are facts in the past tense, and a snapshot, which they pull.
//!
//! Events go to the log too (`tracing`, target `tidegate::event`): names of endpoints, causes and what the provider said,
//! never a key or a prompt.
//!
//! Observers only look. They are called outside every lock, in the order in which things happened to one request, and one
//! that panics harms nobody. One that is slow is given a thread of its own: see
//! [`background_observer`](crate::ClientBuilder::background_observer).

mod observers;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

pub(crate) use self::observers::{Background, Observers};
use crate::failure::{Failure, Kind};
use crate::limits::{Limit, Limits};
use crate::money::Money;
use crate::outcome::Outcome;
use crate::response::Usage;

/// One item of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
pub struct ItemRef {
    /// The number of the client's run, from 1; 0 for what was sent outside of any.
    pub run: u64,
    /// The item's place in the run's input, from 0.
    pub index: u64,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// One attempt failed; the request may be tried again.
    AttemptFailed {
        /// The endpoint.
        endpoint: Arc<str>,
        /// Why.
        failure: Failure,
    },
    /// An endpoint asked for less load and is not sent to for a while.
    CooldownStarted {
        /// The endpoint.
        endpoint: Arc<str>,
        /// For how long.
        #[serde(rename = "pause_s", serialize_with = "seconds")]
        pause: Duration,
    },
    /// The first call was sent to an endpoint after a pause.
    CooldownEnded {
        /// The endpoint.
        endpoint: Arc<str>,
        /// How long the pause was.
        #[serde(rename = "pause_s", serialize_with = "seconds")]
        pause: Duration,
    },
    /// An endpoint does not work and is put aside until a probe succeeds.
    Ejected {
        /// The endpoint.
        endpoint: Arc<str>,
        /// When it is probed first.
        #[serde(rename = "pause_s", serialize_with = "seconds")]
        pause: Duration,
    },
    /// An endpoint that was put aside works again.
    Readmitted {
        /// The endpoint.
        endpoint: Arc<str>,
    },
    /// An endpoint, or every endpoint of its key, is out of service for the rest of the run.
    SetAside {
        /// The endpoint.
        endpoint: Arc<str>,
        /// How many endpoints that were.
        endpoints: usize,
        /// Why.
        failure: Failure,
    },
    /// A run sends nothing more, by its own decision.
    StopStarted {
        /// Why.
        reason: String,
        /// Whether what is in flight is waited for; if not, it is cancelled.
        drains: bool,
    },
    /// A run took its first look at its input.
    RunStarted {
        /// The run's number.
        run: u64,
    },
    /// A run takes nothing more before its input has ended.
    RunStopped {
        /// The run's number.
        run: u64,
        /// Why.
        reason: Ended,
    },
    /// A run has handed out its last outcome.
    RunCompleted {
        /// The run's number.
        run: u64,
        /// Items answered.
        succeeded: u64,
        /// Items without an answer.
        failed: u64,
    },
    /// An item was taken from the input, and waits to be sent.
    ItemStarted {
        /// The item.
        item: ItemRef,
    },
    /// A call for an item may be sent.
    ItemAdmitted {
        /// The item.
        item: ItemRef,
        /// The endpoint that it goes to.
        endpoint: Arc<str>,
        /// How long it waited for that.
        #[serde(rename = "waited_s", serialize_with = "seconds")]
        waited: Duration,
    },
    /// A call for an item was rejected for load.
    LimitHit {
        /// The item.
        item: ItemRef,
        /// The endpoint.
        endpoint: Arc<str>,
        /// How long the endpoint asked to wait.
        #[serde(rename = "retry_after_s", serialize_with = "seconds_if_any")]
        retry_after: Option<Duration>,
    },
    /// An item is tried again after a failure.
    ItemRetried {
        /// The item.
        item: ItemRef,
        /// The endpoint that failed.
        endpoint: Arc<str>,
        /// The cause.
        kind: Kind,
        /// How long it waits before it queues again.
        #[serde(rename = "backoff_s", serialize_with = "seconds")]
        backoff: Duration,
    },
    /// An item was answered.
    ItemCompleted {
        /// The item.
        item: ItemRef,
        /// How it went.
        #[serde(flatten)]
        ended: ItemEnded,
    },
    /// An item was answered from the cache, or by the answer to an identical one.
    ItemReplayed {
        /// The item.
        item: ItemRef,
        /// The model whose answer it was.
        model: Arc<str>,
    },
    /// An item has no answer, and is not tried again.
    ItemFailed {
        /// The item.
        item: ItemRef,
        /// Why.
        failure: Failure,
        /// How it went.
        #[serde(flatten)]
        ended: ItemEnded,
    },
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ended {
    /// Its input is done.
    #[default]
    Completed,
    /// It was told to stop.
    Stopped,
    /// Its budget had no room for the next call.
    Budget,
    /// Requests failed, and it was to [stop then](crate::StopOn).
    Failures,
    /// Nobody took its outcomes any more.
    Dropped,
}

/// What all attempts for an item came to.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ItemEnded {
    /// The model that decided; nothing if no call was made.
    pub model: Option<Arc<str>>,
    /// Its endpoint.
    pub endpoint: Option<Arc<str>>,
    /// How many calls were made.
    pub calls: u32,
    /// How long the call that decided took.
    #[serde(rename = "took_s", serialize_with = "seconds")]
    pub took: Duration,
    /// How long it all took, with every wait.
    #[serde(rename = "total_s", serialize_with = "seconds")]
    pub total: Duration,
    /// What all calls used, where known.
    pub usage: Option<Usage>,
    /// What they cost, where known.
    #[serde(rename = "cost_usd", serialize_with = "usd")]
    pub cost: Option<Money>,
}

impl From<&Outcome> for ItemEnded {
    fn from(outcome: &Outcome) -> ItemEnded {
        let last = outcome.last();
        ItemEnded {
            model: last.map(|attempt| attempt.model.clone()),
            endpoint: last.map(|attempt| attempt.endpoint.clone()),
            calls: outcome.calls(),
            took: last.map_or(Duration::ZERO, |attempt| attempt.took),
            total: outcome.total_time(),
            usage: outcome.usage(),
            cost: outcome.cost(),
        }
    }
}

impl Event {
    /// Returns whether it is about a run or an item, and not about an endpoint.
    #[must_use]
    pub fn is_of_item(&self) -> bool {
        match self {
            Event::AttemptFailed { .. }
            | Event::CooldownStarted { .. }
            | Event::CooldownEnded { .. }
            | Event::Ejected { .. }
            | Event::Readmitted { .. }
            | Event::SetAside { .. }
            | Event::StopStarted { .. } => false,
            Event::RunStarted { .. }
            | Event::RunStopped { .. }
            | Event::RunCompleted { .. }
            | Event::ItemStarted { .. }
            | Event::ItemAdmitted { .. }
            | Event::LimitHit { .. }
            | Event::ItemRetried { .. }
            | Event::ItemCompleted { .. }
            | Event::ItemReplayed { .. }
            | Event::ItemFailed { .. } => true,
        }
    }

    /// Makes the event of an item's end.
    pub(crate) fn ended(item: ItemRef, outcome: &Outcome) -> Event {
        match (&outcome.result, outcome.cached.as_ref().or(outcome.shared.as_ref())) {
            (Ok(_), Some(model)) => Event::ItemReplayed { item, model: model.clone() },
            (Ok(_), None) => Event::ItemCompleted { item, ended: outcome.into() },
            (Err(failure), _) => Event::ItemFailed { item, failure: failure.clone(), ended: outcome.into() },
        }
    }

    /// Leaves the event in the log of whoever collects one.
    fn log(&self) {
        match self {
            Event::AttemptFailed { endpoint, failure } => tracing::info!(%endpoint, %failure, "attempt failed"),
            Event::CooldownStarted { endpoint, pause } => tracing::info!(%endpoint, ?pause, "pause started"),
            Event::Ejected { endpoint, pause } => tracing::info!(%endpoint, ?pause, "endpoint put aside"),
            Event::Readmitted { endpoint } => tracing::info!(%endpoint, "endpoint works again"),
            Event::SetAside { endpoint, endpoints, failure } => {
                tracing::warn!(%endpoint, endpoints, %failure, "endpoint out of service");
            }
            Event::StopStarted { reason, drains } => tracing::warn!(%reason, drains, "stopping"),
            Event::CooldownEnded { endpoint, pause } => tracing::info!(%endpoint, ?pause, "pause ended"),
            // So many, and each outcome says it all.
            _ => {}
        }
    }
}

/// Logs an event, and tells it to an observer. It is only made if somebody wants to know.
pub(crate) fn tell(observer: Option<&Arc<dyn Observer>>, event: impl FnOnce() -> Event) {
    if observer.is_none() && !tracing::enabled!(tracing::Level::WARN) {
        return;
    }
    let event = event();
    event.log();
    if let Some(observer) = observer {
        observer.event(&event);
    }
}

/// Is told what happens. A closure is one too.
///
/// ```
/// use std::sync::Arc;
/// use tidegate::{Client, Event, Target};
/// let watch = |event: &Event| match event {
///     Event::CooldownStarted { endpoint, pause } => println!("{endpoint} pauses {pause:?}"),
///     Event::ItemFailed { item, failure, .. } => println!("item {} failed: {failure}", item.index),
///     _ => {}
/// };
/// let client = Client::builder().target(Target::new("sim/echo")?).observer(Arc::new(watch)).build()?;
/// # let _ = client;
/// # Ok::<(), tidegate::Error>(())
/// ```
pub trait Observer: Send + Sync {
    /// Takes note of an event; must not block.
    fn event(&self, event: &Event);

    /// Returns whether it is told of runs and items too ([`Event::is_of_item`]): a few events for every request. Asked
    /// once, when the client is made. Default: it is.
    fn follows_items(&self) -> bool {
        true
    }
}

impl<F: Fn(&Event) + Send + Sync> Observer for F {
    fn event(&self, event: &Event) {
        self(event);
    }
}

/// How the endpoints are doing.
///
/// ```
/// use tidegate::{Client, Target};
/// let client = Client::builder().target(Target::new("sim/echo")?).build()?;
/// for endpoint in client.snapshot().endpoints {
///     println!("{}: {} of {} in flight", endpoint.name, endpoint.in_flight, endpoint.concurrency);
/// }
/// # Ok::<(), tidegate::Error>(())
/// ```
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// Each endpoint, in the user's order.
    pub endpoints: Vec<EndpointSnapshot>,
    /// Requests that wait to be admitted.
    pub waiting: usize,
    /// What the first of them waits for.
    pub limited_by: Option<Limit>,
}

/// How one endpoint is doing.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct EndpointSnapshot {
    /// Its name in records.
    pub name: String,
    /// Requests in flight.
    pub in_flight: usize,
    /// How many may be.
    pub concurrency: usize,
    /// Calls made.
    pub sent: u64,
    /// Calls answered.
    pub succeeded: u64,
    /// Calls rejected for load (429 and the like).
    pub rejected: u64,
    /// Calls that failed otherwise.
    pub failed: u64,
    /// Input and output tokens used.
    pub tokens: u64,
    /// Time spent in pauses so far.
    #[serde(rename = "cooled_s", serialize_with = "seconds")]
    pub cooled: Duration,
    /// How much longer the present pause lasts.
    #[serde(rename = "cooling_s", serialize_with = "seconds_if_any")]
    pub cooling: Option<Duration>,
    /// Why it is out of service.
    pub aside: Option<Failure>,
    /// The limits that were stated for it.
    pub limits: Limits,
}

/// Writes a time as a number of seconds, which every language can read.
fn seconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

#[expect(clippy::ref_option, reason = "serde passes a reference")]
fn usd<S: Serializer>(cost: &Option<Money>, to: S) -> Result<S::Ok, S::Error> {
    cost.map(Money::usd).serialize(to)
}

#[expect(clippy::ref_option, reason = "serde passes a reference")]
fn seconds_if_any<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(to)
}
