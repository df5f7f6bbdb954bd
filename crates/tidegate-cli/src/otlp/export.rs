//! The queue of outcomes, and the thread that sends what is in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tidegate::{Outcome, TaskKind};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::config::{self, Config, Place};
use super::metrics;
use super::post::Poster;
use super::spans::{self, Seen};
use crate::keys;
use crate::metrics::{Metrics, operation};
use crate::settings::Settings;

/// Outcomes that wait to be sent; those that come when there are so many are not.
const QUEUE: usize = 4096;
/// Spans of one message, but for those of the last row in it.
const BATCH: usize = 512;
/// How long spans wait for others to go with.
const WAIT: Duration = Duration::from_secs(1);
/// How long the collector may take for what is left when the run has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to be sent, before there is anything.
pub(crate) struct Export {
    config: Config,
    operation: &'static str,
    queue: mpsc::Sender<Seen>,
    seen: mpsc::Receiver<Seen>,
    counts: Arc<Counts>,
}

/// Spans that there were, and that the collector took.
#[derive(Default)]
struct Counts {
    made: AtomicU64,
    taken: AtomicU64,
}

/// Reads what the user wants; nothing if that is no telemetry. The warnings say what was wrong with the variables.
pub(crate) fn prepare(settings: &Settings, kind: TaskKind) -> tidegate::Result<(Option<Export>, Vec<String>)> {
    let (config, warnings) = config::read(settings.run.otlp.as_deref(), &keys::variable);
    let export = config.map(|config| {
        let (queue, seen) = mpsc::channel(QUEUE);
        Export { config, operation: operation(kind), queue, seen, counts: Arc::default() }
    });
    Ok((export, warnings))
}

impl Export {
    /// Returns what notes outcomes, if traces are wanted.
    pub(crate) fn noter(&self) -> Option<Noter> {
        let noter = || Noter { queue: self.queue.clone(), counts: self.counts.clone(), share: self.config.share };
        self.config.traces.as_ref().map(|_| noter())
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// A proxy's address that is none, and what the system says.
    pub(crate) fn start(self, metrics: Metrics) -> tidegate::Result<Exporting> {
        let Export { config, operation, seen, counts, .. } = self;
        let stop = CancellationToken::new();
        let poster = Poster::new(config.timeout, stop.clone())?;
        let worker = Worker {
            operation,
            metrics,
            poster,
            stop: stop.clone(),
            counts,
            begun: SystemTime::now(),
            waiting: Vec::new(),
            problem: None,
            unsent_metrics: false,
            config,
        };
        let (tell, told) = oneshot::channel();
        let failed = |error: std::io::Error| tidegate::Error::Usage(format!("the telemetry cannot be sent: {error}"));
        let runtime = crate::runtime().map_err(failed)?;
        let work = move || drop(tell.send(runtime.block_on(worker.work(seen))));
        std::thread::Builder::new().name("tidegate-otlp".to_owned()).spawn(work).map_err(failed)?;
        Ok(Exporting { stop, told })
    }
}

/// Notes outcomes, while the run goes on.
pub(crate) struct Noter {
    queue: mpsc::Sender<Seen>,
    counts: Arc<Counts>,
    share: f64,
}

impl Noter {
    /// Puts an outcome into the queue, if it is one that is traced and there is room.
    pub(crate) fn note(&self, outcome: &Outcome, id: Option<&str>) {
        if self.share < 1.0 && fastrand::f64() >= self.share {
            return;
        }
        let Some(seen) = Seen::of(outcome, id) else { return };
        self.counts.made.fetch_add(seen.count(), Ordering::Relaxed);
        // What finds no room has been counted, and is missed at the end.
        let _ = self.queue.try_send(seen);
    }
}

/// The thread that sends.
pub(crate) struct Exporting {
    stop: CancellationToken,
    told: oneshot::Receiver<Vec<String>>,
}

impl Exporting {
    /// Waits a moment for what is left to be taken, and returns what was not.
    pub(crate) async fn finish(self) -> Vec<String> {
        self.stop.cancel();
        self.told.await.unwrap_or_default()
    }
}

struct Worker {
    config: Config,
    operation: &'static str,
    metrics: Metrics,
    poster: Poster,
    stop: CancellationToken,
    counts: Arc<Counts>,
    begun: SystemTime,
    waiting: Vec<Span>,
    /// Why the last message was not taken that was not.
    problem: Option<String>,
    /// Whether the last metrics were not taken.
    unsent_metrics: bool,
}

impl Worker {
    /// Sends until it is told to stop and everything is sent, or the time for that is over.
    async fn work(mut self, mut seen: mpsc::Receiver<Seen>) -> Vec<String> {
        let (stop, mut in_time) = (self.stop.clone(), true);
        tokio::select! {
            () = self.send_all(&mut seen) => {}
            () = async { stop.cancelled().await; tokio::time::sleep(PATIENCE).await } => in_time = false,
        }
        if !in_time {
            self.problem.get_or_insert_with(|| format!("it took longer than {} s", PATIENCE.as_secs()));
        }
        self.complaints()
    }

    async fn send_all(&mut self, queue: &mut mpsc::Receiver<Seen>) {
        let mut spans_clock = tokio::time::interval(WAIT);
        spans_clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut metrics_clock = tokio::time::interval(self.config.every);
        metrics_clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        metrics_clock.tick().await;
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = metrics_clock.tick() => self.send_metrics().await,
                _ = spans_clock.tick() => self.send_spans().await,
                Some(seen) = queue.recv() => self.add(&seen).await,
            }
        }
        while let Ok(seen) = queue.try_recv() {
            self.add(&seen).await;
        }
        self.send_spans().await;
        self.send_metrics().await;
    }

    async fn add(&mut self, seen: &Seen) {
        self.waiting.extend(seen.spans(self.operation));
        if self.waiting.len() >= BATCH {
            self.send_spans().await;
        }
    }

    async fn send_spans(&mut self) {
        let Some(place) = self.config.traces.clone().filter(|_| !self.waiting.is_empty()) else { return };
        let spans = std::mem::take(&mut self.waiting);
        let count = spans.len() as u64;
        let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
        let all = ResourceSpans { resource: Some(self.resource()), scope_spans, ..ResourceSpans::default() };
        let message = ExportTraceServiceRequest { resource_spans: vec![all] };
        match self.poster.deliver(&place, &message).await {
            Ok(reply) => {
                let refused = ExportTraceServiceResponse::decode(reply).ok().and_then(|reply| reply.partial_success);
                let refused = refused.map_or(0, |part| u64::try_from(part.rejected_spans).unwrap_or(0)).min(count);
                self.counts.taken.fetch_add(count - refused, Ordering::Relaxed);
                if refused > 0 {
                    self.note_problem(&place, "it refused some");
                }
            }
            Err(why) => self.note_problem(&place, &why),
        }
    }

    async fn send_metrics(&mut self) {
        let Some(place) = self.config.metrics.clone() else { return };
        let metrics = metrics::metrics(&self.metrics.families(), self.begun);
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
        let all = ResourceMetrics { resource: Some(self.resource()), scope_metrics, ..ResourceMetrics::default() };
        let message = ExportMetricsServiceRequest { resource_metrics: vec![all] };
        // Until they are taken they are not, whenever the time is over.
        self.unsent_metrics = true;
        match self.poster.deliver(&place, &message).await {
            Ok(_) => self.unsent_metrics = false,
            Err(why) => self.note_problem(&place, &why),
        }
    }

    fn resource(&self) -> Resource {
        let attributes = self.config.resource.iter().map(|(name, value)| spans::text(name, value)).collect();
        Resource { attributes, ..Resource::default() }
    }

    /// Remembers why something was not taken, by whom: the host alone, as an address may hold a secret.
    fn note_problem(&mut self, place: &Place, why: &str) {
        let problem = format!("{}: {why}", place.url.host().unwrap_or_default());
        if self.problem.as_ref() != Some(&problem) {
            tracing::info!(%problem, "telemetry was not taken");
        }
        self.problem = Some(problem);
    }

    /// Says what was not taken.
    fn complaints(&self) -> Vec<String> {
        let made = self.counts.made.load(Ordering::Relaxed);
        let lost = made.saturating_sub(self.counts.taken.load(Ordering::Relaxed));
        let why = self.problem.as_deref().unwrap_or("they came faster than it took them");
        let spans = format!("{lost} of {made} spans were not taken by the collector ({why})");
        let metrics = format!("the last metrics were not taken by the collector ({why})");
        [(lost > 0).then_some(spans), self.unsent_metrics.then_some(metrics)].into_iter().flatten().collect()
    }
}

fn scope() -> InstrumentationScope {
    let (name, version) = ("tidegate".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    InstrumentationScope { name, version, ..InstrumentationScope::default() }
}
