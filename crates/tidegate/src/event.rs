//! What observers see: events, which are facts in the past tense, and a snapshot, which they pull.
//!
//! Events go to the log too (`tracing`, target `tidegate::event`): names of endpoints, causes and what the provider said,
//! never a key or a prompt.
//!
//! Observers only look. They are called outside every lock, in the order in which things happened to one request, and a
//! slow one slows nobody but the request it was told about.

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::failure::Failure;
use crate::limits::{Limit, Limits};

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
    /// A run sends nothing more, by its own decision: what is in flight is waited for.
    StopStarted {
        /// Why.
        reason: String,
    },
}

impl Event {
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
            Event::StopStarted { reason } => tracing::warn!(%reason, "stopping"),
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

/// Is told what happens.
pub trait Observer: Send + Sync {
    /// Takes note of an event; must not block.
    fn event(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Observer for F {
    fn event(&self, event: &Event) {
        self(event);
    }
}

/// How the endpoints are doing.
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
fn seconds_if_any<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(to)
}
