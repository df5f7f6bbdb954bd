//! One client for many callers at once, such as the handlers of a web server, with an end to what may pile up.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use super::Client;
use crate::outcome::Outcome;
use crate::run::Item;

/// How much a [`CallPool`] takes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Requests under way at once, waits for limits and backoffs included. Default 64.
    pub parallel: usize,
    /// Further requests that may wait for those. Default 256; what comes beyond is refused at once.
    pub pending: usize,
    /// How long a caller waits at the most, from its call to the outcome. Default: as long as it takes.
    pub submit_timeout: Option<Duration>,
}

impl Default for PoolLimits {
    fn default() -> PoolLimits {
        PoolLimits { parallel: 64, pending: 256, submit_timeout: None }
    }
}

/// Why a [`CallPool`] has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// As many requests as may wait are waiting.
    #[error("the pool is full: {waiting} requests are under way or waiting")]
    Full {
        /// How many there are.
        waiting: usize,
    },
    /// The caller has waited long enough; its request was given up, and no other.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// How long it waited.
        after: Duration,
    },
    /// The pool takes nothing more.
    #[error("the pool is closed")]
    Closed,
}

/// A client that many callers share: it refuses what it cannot take on, and can be closed in order. Clones are the same
/// pool.
///
/// ```
/// use std::time::Duration;
/// use tidegate::{CallPool, Client, Item, PoolError, PoolLimits, Request, Target};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder().target(Target::new("sim/echo")?).build()?;
/// let limits = PoolLimits { parallel: 8, pending: 100, submit_timeout: Some(Duration::from_secs(30)) };
/// let pool = CallPool::new(client, limits);
/// let outcome = pool.submit(&Item::from(Request::prompt("Is anybody there?"))).await?;
/// assert!(outcome.result.is_ok());
/// pool.close().await;
/// assert_eq!(pool.submit(&Item::from(Request::prompt("And now?"))).await.unwrap_err(), PoolError::Closed);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CallPool(Arc<Inside>);

struct Inside {
    client: Client,
    limits: PoolLimits,
    places: Semaphore,
    /// Requests under way or waiting.
    taken: AtomicUsize,
    closed: AtomicBool,
    /// Tells that the last of them is done.
    drained: Notify,
}

impl CallPool {
    /// Makes a pool over a client, which may be used beside it too.
    #[must_use]
    pub fn new(client: Client, limits: PoolLimits) -> CallPool {
        // As many as tokio can count.
        let places = Semaphore::new(limits.parallel.clamp(1, Semaphore::MAX_PERMITS));
        let (taken, closed, drained) = (AtomicUsize::new(0), AtomicBool::new(false), Notify::new());
        CallPool(Arc::new(Inside { client, limits, places, taken, closed, drained }))
    }

    /// Sends a request and waits for its outcome.
    ///
    /// # Errors
    ///
    /// The pool is full or closed, or the time to wait was over. That a request failed is its outcome.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up this request alone: its call is cancelled and its place is free.
    pub async fn submit<C>(&self, item: &Item<C>) -> Result<Outcome, PoolError> {
        let _taken = self.take()?;
        let work = async {
            // The semaphore is never closed.
            let _place = self.0.places.acquire().await;
            self.0.client.send_item(item).await
        };
        match self.0.limits.submit_timeout {
            None => Ok(work.await),
            Some(after) => tokio::time::timeout(after, work).await.map_err(|_| PoolError::TimedOut { after }),
        }
    }

    /// Takes nothing more, waits until everything is done that was taken, and [closes](Client::close) the client.
    ///
    /// # Cancel safety
    ///
    /// After dropping the future the pool stays closed; another call goes on with waiting.
    pub async fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        loop {
            let drained = self.0.drained.notified();
            let mut drained = std::pin::pin!(drained);
            // Before the look at the count, so that no end is missed between the two.
            drained.as_mut().enable();
            if self.waiting() == 0 {
                break;
            }
            drained.await;
        }
        self.0.client.close().await;
    }

    /// Returns how many requests are under way or waiting.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.taken.load(Ordering::SeqCst)
    }

    /// Returns the client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    fn take(&self) -> Result<Taken<'_>, PoolError> {
        let waiting = self.0.taken.fetch_add(1, Ordering::SeqCst);
        let taken = Taken(&self.0);
        if self.0.closed.load(Ordering::SeqCst) {
            return Err(PoolError::Closed);
        }
        let most = self.0.limits.parallel.max(1).saturating_add(self.0.limits.pending);
        if waiting < most { Ok(taken) } else { Err(PoolError::Full { waiting }) }
    }
}

impl fmt::Debug for CallPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallPool").field("limits", &self.0.limits).field("waiting", &self.waiting()).finish()
    }
}

/// Counts a request until it is dropped.
struct Taken<'a>(&'a Inside);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.0.taken.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.drained.notify_waiters();
        }
    }
}
