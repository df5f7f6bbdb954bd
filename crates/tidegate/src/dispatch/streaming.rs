//! An attempt whose reply comes piece by piece.
//!
//! A stream may take as long as it likes while something arrives; what it may not do is fall silent. The wait for the
//! first piece of the reply is longer than that between pieces, because models think before they speak; comments that
//! keep the connection alive are a sign of life, but not yet a reply.
//!
//! Pieces that somebody wants to see are put into an [`Outlet`]. Once one is there the request is not sent again: what
//! was said cannot be taken back. Where copies of a request are under way, the one that says something first has the word,
//! and the others never get it.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::timeout;

use crate::call::streaming::Piece;
use crate::call::{Caller, Try};
use crate::dispatch::RetryPolicy;
use crate::failure::{Failure, Kind};
use crate::request::Request;
use crate::response::{Delta, Response};

/// Where a reply's pieces wait to be taken by whoever polls the attempt.
#[derive(Debug, Default)]
pub(crate) struct Outlet {
    pieces: Mutex<VecDeque<Delta>>,
    /// Which copy of the request has the word, counted from 1; 0 while nothing was said.
    speaker: AtomicUsize,
    text: Mutex<String>,
}

impl Outlet {
    /// Returns whether a piece has ever been put here.
    pub(crate) fn began(&self) -> bool {
        self.speaker().is_some()
    }

    /// Returns which copy of the request has the word.
    pub(super) fn speaker(&self) -> Option<usize> {
        Some(self.speaker.load(Ordering::Relaxed)).filter(|copy| *copy > 0)
    }

    /// Takes the text that has come so far.
    pub(crate) fn take_text(&self) -> String {
        std::mem::take(&mut *self.text.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the next piece.
    pub(crate) fn take(&self) -> Option<Delta> {
        self.pieces().pop_front()
    }

    /// Puts a piece of a copy's reply here and waits until it is taken, so that no more of a reply is read than somebody
    /// looks at. Waits for ever if another copy has the word.
    ///
    /// Whoever takes it polls this again afterwards: nobody needs to be woken.
    async fn put(&self, copy: usize, delta: Delta) {
        let speaker = self.speaker.compare_exchange(0, copy, Ordering::Relaxed, Ordering::Relaxed);
        if speaker.is_err_and(|speaker| speaker != copy) {
            return pending().await;
        }
        if let Delta::Text(more) = &delta {
            self.text.lock().unwrap_or_else(PoisonError::into_inner).push_str(more);
        }
        self.pieces().push_back(delta);
        poll_fn(|_| if self.pieces().is_empty() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn pieces(&self) -> MutexGuard<'_, VecDeque<Delta>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes one call, hands its pieces on and returns the whole reply. `outlet` is where to, and which copy this is.
pub(super) async fn call(
    caller: &dyn Caller,
    request: &Request,
    this: Try<'_>,
    retry: &RetryPolicy,
    outlet: Option<(&Outlet, usize)>,
) -> Result<Response, Failure> {
    let mut patience = retry.first_delta;
    let opened = timeout(patience, caller.stream(request, this)).await;
    let mut pieces = opened.map_err(|_| silent(patience))??;
    loop {
        match timeout(patience, pieces.next()).await.map_err(|_| silent(patience))? {
            Some(Ok(Piece::Delta(delta))) => {
                patience = retry.idle;
                if let Some((outlet, copy)) = outlet {
                    outlet.put(copy, delta).await;
                }
            }
            Some(Ok(Piece::Alive)) => {}
            Some(Ok(Piece::Done(response))) => return Ok(*response),
            Some(Err(failure)) => return Err(failure),
            None => return Err(Failure::new(Kind::Cut, "the stream ended before the reply did")),
        }
    }
}

fn silent(patience: Duration) -> Failure {
    Failure::new(Kind::Timeout, format!("nothing came of the reply for {patience:?}"))
}
