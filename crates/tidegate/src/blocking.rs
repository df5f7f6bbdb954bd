//! The client for programs without an async runtime: every call blocks its thread until it is done.
//!
//! The client works on a thread of its own, on a runtime that ends with it; several threads may use clones of it at once,
//! within the same limits. Within an async runtime it is refused, because it would block that runtime's thread.
//!
//! ```
//! use tidegate::{Request, Target, blocking};
//!
//! # fn main() -> tidegate::Result<()> {
//! let client = blocking::Client::new(tidegate::Client::builder().target(Target::new("sim/echo")?))?;
//! let outcome = client.send(Request::prompt("Is it low tide?"))?;
//! assert!(outcome.text().unwrap().ends_with("Is it low tide?"));
//!
//! let batch = client.run((0..20).map(|n| Request::prompt(format!("Is {n} a prime number?"))))?;
//! assert_eq!(batch.tally().succeeded, 20);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::{self, Receiver, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use crate::client::ClientBuilder;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::request::Request;
use crate::run::batch::Batch;
use crate::run::{Item, Run};

/// Outcomes that may be ahead of whoever iterates over them.
const AHEAD: usize = 64;

type Job = BoxFuture<'static, ()>;

/// The items of a list.
pub type Items<C> = stream::Iter<std::vec::IntoIter<Item<C>>>;

/// Sends requests and blocks until they are done. Clones share limits, connections and the thread.
///
/// ```
/// use tidegate::{Request, Target, blocking};
/// let client = blocking::Client::new(tidegate::Client::builder().target(Target::new("sim/echo")?))?;
/// assert!(client.send(Request::prompt("Is it low tide?"))?.result.is_ok());
/// # Ok::<(), tidegate::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    client: crate::Client,
    worker: Arc<Worker>,
}

/// The thread that does the work; it ends with the last clone, after the client was closed.
struct Worker {
    jobs: Option<UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Makes a client and starts its thread.
    ///
    /// # Errors
    ///
    /// As [`ClientBuilder::build`]; and [`Error::Usage`] within an async runtime, [`Error::Storage`] if the system gives no
    /// thread.
    pub fn new(builder: ClientBuilder) -> Result<Client> {
        refuse_within_runtime()?;
        let failed = |cause| Error::storage("blocking client".as_ref(), "cannot start its thread", cause);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let client = {
            // Timers and sockets that are made along belong to that runtime.
            let _inside = runtime.enter();
            builder.build()?
        };
        let (jobs, queue) = mpsc::unbounded_channel();
        let last = client.clone();
        let work = move || {
            runtime.block_on(async move {
                work(queue).await;
                last.close().await;
            });
        };
        let thread = std::thread::Builder::new().name("tidegate-blocking".to_owned()).spawn(work).map_err(failed)?;
        Ok(Client { client, worker: Arc::new(Worker { jobs: Some(jobs), thread: Some(thread) }) })
    }

    /// Sends one request, with all retries.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] within an async runtime. That the request failed is its outcome.
    pub fn send(&self, request: Request) -> Result<Outcome> {
        self.send_item(Item::from(request))
    }

    /// Sends one request that has a priority, a deadline, labels or a model of its own.
    ///
    /// # Errors
    ///
    /// As [`send`](Client::send).
    pub fn send_item<C: Send + Sync + 'static>(&self, item: Item<C>) -> Result<Outcome> {
        let client = self.client.clone();
        self.wait(async move { client.send_item(&item).await })
    }

    /// Sends many requests and waits for all outcomes.
    ///
    /// # Errors
    ///
    /// As [`send`](Client::send).
    pub fn run(&self, requests: impl IntoIterator<Item = Request>) -> Result<Batch<()>> {
        self.run_items(requests.into_iter().map(Item::from), Ok)
    }

    /// Sends many items and waits for all outcomes; `set` sets what a [`Run`] may be told, such as
    /// `|run| Ok(run.max_parallel(8))`.
    ///
    /// # Errors
    ///
    /// As [`send`](Client::send), and what `set` says.
    pub fn run_items<C, F>(&self, items: impl IntoIterator<Item = Item<C>>, set: F) -> Result<Batch<C>>
    where
        C: Send + 'static,
        F: FnOnce(Run<Items<C>, C>) -> Result<Run<Items<C>, C>>,
    {
        let run = set(self.prepare(items))?;
        self.wait(run.in_input_order())
    }

    /// Sends many items and returns their outcomes as they are done. Dropping the iterator cancels what is in flight.
    ///
    /// # Errors
    ///
    /// As [`run_items`](Client::run_items).
    pub fn outcomes<C, F>(&self, items: impl IntoIterator<Item = Item<C>>, set: F) -> Result<Outcomes<C>>
    where
        C: Send + 'static,
        F: FnOnce(Run<Items<C>, C>) -> Result<Run<Items<C>, C>>,
    {
        refuse_within_runtime()?;
        let mut run = set(self.prepare(items))?;
        let (sender, outcomes) = mpsc::channel(AHEAD);
        self.start(Box::pin(async move {
            // Whoever iterates no more wants no call to go on.
            while let Some(Some(done)) =
                tokio::select! { done = run.next() => Some(done), () = sender.closed() => None }
            {
                if sender.send(done).await.is_err() {
                    return;
                }
            }
        }));
        Ok(Outcomes { outcomes, _worker: self.worker.clone() })
    }

    /// Returns the async client, for what has no blocking form: it may be paused, asked for a snapshot, given limits.
    #[must_use]
    pub fn inner(&self) -> &crate::Client {
        &self.client
    }

    fn prepare<C>(&self, items: impl IntoIterator<Item = Item<C>>) -> Run<Items<C>, C> {
        self.client.run_items(stream::iter(items.into_iter().collect::<Vec<_>>()))
    }

    fn start(&self, job: Job) {
        if let Some(jobs) = &self.worker.jobs {
            // The thread takes jobs for as long as there is a worker.
            _ = jobs.send(job);
        }
    }

    /// Lets the thread do something and waits for what comes of it.
    fn wait<T: Send + 'static>(&self, what: impl Future<Output = T> + Send + 'static) -> Result<T> {
        refuse_within_runtime()?;
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        self.start(Box::pin(async move { _ = tell.send(what.await) }));
        told.recv().map_err(|_| Error::Usage("nothing came of it: a function of yours panicked".to_owned()))
    }
}

/// The outcomes of a run as they are done, from [`Client::outcomes`].
pub struct Outcomes<C> {
    outcomes: Receiver<(Outcome, C)>,
    /// The thread works for as long as somebody takes its outcomes.
    _worker: Arc<Worker>,
}

impl<C> Iterator for Outcomes<C> {
    type Item = (Outcome, C);

    fn next(&mut self) -> Option<(Outcome, C)> {
        self.outcomes.blocking_recv()
    }
}

impl<C> fmt::Debug for Outcomes<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outcomes(…)")
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("blocking::Client").field("models", &self.client.models()).finish()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id()) {
            _ = thread.join();
        }
    }
}

/// Does jobs beside each other until no more can come.
async fn work(mut queue: UnboundedReceiver<Job>) {
    let mut jobs = JoinSet::new();
    while let Some(job) = queue.recv().await {
        jobs.spawn(job);
        while jobs.try_join_next().is_some() {}
    }
    // Those that somebody waits for are done by now: whoever waits has a clone of the client.
    jobs.shutdown().await;
}

fn refuse_within_runtime() -> Result<()> {
    match Handle::try_current() {
        Ok(_) => {
            let advice = "use tidegate::Client there, or call this within spawn_blocking of a thread of your own";
            Err(Error::Usage(format!(
                "the blocking client would block the async runtime that it is called in; {advice}"
            )))
        }
        Err(_) => Ok(()),
    }
}
