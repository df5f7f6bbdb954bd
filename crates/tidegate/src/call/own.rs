//! A [`Caller`] of the user's own within a client: prepared once, cleared up once, and its panics are failures.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::caller::{Caller, ItemState, Preview, Try};
use super::streaming::{self, ReplyStream};
use crate::failure::{Failure, Kind};
use crate::request::Request;
use crate::response::Response;

/// A user's caller, shared by all targets that name it.
pub(crate) struct Own {
    caller: Arc<dyn Caller>,
    prepared: OnceCell<()>,
    closed: AtomicBool,
    /// Whether nobody is to be called.
    dry: bool,
}

impl Own {
    pub(crate) fn new(caller: Arc<dyn Caller>, dry: bool) -> Own {
        Own { caller, prepared: OnceCell::new(), closed: AtomicBool::new(false), dry }
    }

    /// Returns whether it is that caller.
    pub(crate) fn is(&self, caller: &Arc<dyn Caller>) -> bool {
        Arc::ptr_eq(&self.caller, caller)
    }

    async fn prepare(&self) -> Result<(), Failure> {
        self.prepared.get_or_try_init(|| self.caller.prepare()).await.copied()
    }

    /// Returns the caller if it is to be cleared up: once, and only if it was prepared.
    fn to_close(&self) -> Option<Arc<dyn Caller>> {
        let close = self.prepared.initialized() && !self.closed.swap(true, Ordering::Relaxed);
        close.then(|| self.caller.clone())
    }
}

/// Awaits what a user's function makes; a panic of either is a failure.
async fn caught<T, A: Future<Output = Result<T, Failure>>>(make: impl FnOnce() -> A) -> Result<T, Failure> {
    let made = AssertUnwindSafe(async { make().await }).catch_unwind().await;
    made.unwrap_or_else(|panic| Err(panicked(&*panic)))
}

/// Returns the failure of a call that panicked: it would again.
fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    Failure::new(Kind::BadRequest, format!("the caller panicked: {said}"))
}

impl Caller for Own {
    fn call<'a>(&'a self, request: &'a Request, this: Try<'a>) -> BoxFuture<'a, Result<Response, Failure>> {
        Box::pin(caught(move || async move {
            if self.dry {
                return Ok(self.caller.dry_run(request));
            }
            self.prepare().await?;
            self.caller.call(request, this).await
        }))
    }

    fn stream<'a>(&'a self, request: &'a Request, this: Try<'a>) -> BoxFuture<'a, Result<ReplyStream, Failure>> {
        Box::pin(caught(move || async move {
            if self.dry {
                return Ok(streaming::whole(self.caller.dry_run(request)));
            }
            self.prepare().await?;
            self.caller.stream(request, this).await
        }))
    }

    fn on_error(&self, failure: &Failure, attempt: u32, state: &ItemState) {
        let hear = AssertUnwindSafe(|| self.caller.on_error(failure, attempt, state));
        if std::panic::catch_unwind(hear).is_err() {
            tracing::warn!("a caller's on_error panicked");
        }
    }

    fn max_output(&self) -> Option<u32> {
        self.caller.max_output()
    }

    fn preview(&self, request: &Request) -> Option<Result<Preview, Failure>> {
        self.caller.preview(request)
    }

    fn reads(&self, address: &str) -> bool {
        self.caller.reads(address)
    }

    fn prefix(&self, request: &Request) -> Option<u64> {
        self.caller.prefix(request)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(caller) = self.to_close() {
                clear_up(&*caller).await;
            }
        })
    }
}

async fn clear_up(caller: &dyn Caller) {
    if AssertUnwindSafe(async { caller.close().await }).catch_unwind().await.is_err() {
        tracing::warn!("a caller's close panicked");
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let Some(caller) = self.to_close() else { return };
        match Handle::try_current() {
            // Nobody is left to wait for it.
            Ok(runtime) => drop(runtime.spawn(async move { clear_up(&*caller).await })),
            Err(_) => tracing::debug!("a client was dropped outside any runtime: its caller was not closed"),
        }
    }
}
