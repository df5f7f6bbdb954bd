//! Reports of how far a run has come, to an async function of the user's own.
//!
//! One report is under way at a time, beside the run. What happens meanwhile is in the next one, so a slow function is
//! called less often instead of holding up anybody; the last report is of the end, and is waited for.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Run;
use super::hooks::{PATIENCE, isolated};

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunProgress {
    /// Items answered.
    pub succeeded: u64,
    /// Items without an answer.
    pub failed: u64,
    /// Items in all, where the source knows.
    pub total: Option<u64>,
    /// The [id](crate::Outcome::id) of the item that was done last.
    pub last: String,
}

type Report = dyn Fn(RunProgress) -> BoxFuture<'static, ()> + Send + Sync;

/// Calls the user's function.
#[derive(Clone)]
pub(super) struct Reporting {
    report: Arc<Report>,
    patience: Duration,
}

/// The reports of one run.
pub(super) struct Reporter {
    reporting: Reporting,
    running: Option<BoxFuture<'static, ()>>,
    next: Option<RunProgress>,
}

impl<S, C> Run<S, C> {
    /// Reports to this function after each item, or after several if it takes its time; after 30 s, or what
    /// [`progress_timeout`](Run::progress_timeout) says, a report is given up.
    ///
    /// ```
    /// # use tidegate::{Client, Request, Target};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> tidegate::Result<()> {
    /// # let client = Client::builder().target(Target::new("sim/echo")?).build()?;
    /// let run = client.run(["ebb", "flow"].map(Request::prompt)).on_progress(|progress| async move {
    ///     println!("{} of {:?}", progress.succeeded + progress.failed, progress.total);
    /// });
    /// assert_eq!(run.in_input_order().await.tally().succeeded, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_progress<F, A>(mut self, report: F) -> Run<S, C>
    where
        F: Fn(RunProgress) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let report: Arc<Report> = Arc::new(move |progress| report(progress).boxed());
        let reporting = Reporting { report, patience: PATIENCE };
        self.reporter = Some(Box::new(Reporter { reporting, running: None, next: None }));
        self
    }

    /// Sets how long a report to [`on_progress`](Run::on_progress) may take.
    pub fn progress_timeout(mut self, patience: Duration) -> Run<S, C> {
        if let Some(reporter) = &mut self.reporter {
            reporter.reporting.patience = patience;
        }
        self
    }
}

impl Reporter {
    /// Notes how far the run has come.
    pub(super) fn note(&mut self, progress: RunProgress) {
        self.next = Some(progress);
    }

    /// Goes on with reporting; ready when everything is reported.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(running) = &mut self.running {
                std::task::ready!(running.poll_unpin(cx));
                self.running = None;
            }
            let Some(progress) = self.next.take() else { return Poll::Ready(()) };
            let Reporting { report, patience } = self.reporting.clone();
            self.running = Some(async move { _ = isolated("progress", patience, || report(progress)).await }.boxed());
        }
    }
}
