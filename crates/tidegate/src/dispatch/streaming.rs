//! An attempt whose reply comes piece by piece.
//!
//! A stream may take as long as it likes while something arrives; what it may not do is fall silent. The wait for the
//! first piece of the reply is longer than that between pieces, because models think before they speak; comments that
//! keep the connection alive are a sign of life, but not yet a reply.
//!
//! Pieces that somebody wants to see are put into an [`Outlet`]. Once one is there the request is not sent again, unless the
//! reply may go on [elsewhere](super::continued): what was said cannot be taken back. Where copies of a request are under
//! way, the one that says something first has the word, and the others never get it.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::timeout;

use super::continued::Said;
use crate::call::streaming::Piece;
use crate::call::{Caller, Try};
use crate::dispatch::RetryPolicy;
use crate::failure::{Failure, Kind};
use crate::request::Request;
use crate::response::{Delta, Response};

/// Where a reply's pieces wait to be taken by whoever polls the attempt.
#[derive(Debug, Default)]
pub(crate) struct Outlet(Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    pieces: VecDeque<Delta>,
    /// Which copy of the request has the word, counted from 1.
    pub(super) speaker: Option<usize>,
    pub(super) said: Said,
}

/// What one copy of a request speaks with.
#[derive(Clone, Copy)]
pub(super) struct Voice<'a> {
    outlet: &'a Outlet,
    copy: usize,
    endpoint: &'a Arc<str>,
}

impl Outlet {
    /// Returns whether a piece of the present attempt's reply was put here.
    pub(crate) fn began(&self) -> bool {
        self.speaker().is_some()
    }

    /// Returns which copy of the request has the word.
    pub(super) fn speaker(&self) -> Option<usize> {
        self.lock().speaker
    }

    /// Takes the next piece.
    pub(crate) fn take(&self) -> Option<Delta> {
        self.lock().pieces.pop_front()
    }

    /// Returns what a copy of the request that is sent to an endpoint speaks with.
    pub(super) fn voice<'a>(&'a self, copy: usize, endpoint: &'a Arc<str>) -> Voice<'a> {
        Voice { outlet: self, copy, endpoint }
    }

    /// Gives the word to whoever speaks next.
    pub(super) fn reopen(&self) {
        self.lock().speaker = None;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Voice<'_> {
    /// Puts a piece of a copy's reply into the outlet and waits until it is taken, so that no more of a reply is read than
    /// somebody looks at. Waits for ever if another copy has the word.
    ///
    /// Whoever takes it polls this again afterwards: nobody needs to be woken.
    async fn put(self, delta: Delta) {
        if !self.say(delta) {
            return pending().await;
        }
        self.taken().await;
    }

    async fn taken(self) {
        poll_fn(|_| if self.outlet.lock().pieces.is_empty() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Returns whether the copy has the word.
    fn say(self, delta: Delta) -> bool {
        let State { pieces, speaker, said } = &mut *self.outlet.lock();
        let speaks = *speaker.get_or_insert(self.copy) == self.copy;
        if speaks {
            said.add(delta, self.endpoint, pieces);
        }
        speaks
    }

    /// Puts what was held back of the reply into the outlet, and returns the reply with what was said before it.
    async fn end(self, response: Response) -> Response {
        {
            let State { pieces, said, .. } = &mut *self.outlet.lock();
            said.release(true, pieces);
        }
        self.taken().await;
        self.outlet.lock().said.whole(response)
    }
}

/// Makes one call, hands its pieces on to whoever listens, and returns the whole reply.
pub(super) async fn call(
    caller: &dyn Caller,
    request: &Request,
    this: Try<'_>,
    retry: &RetryPolicy,
    voice: Option<Voice<'_>>,
) -> Result<Response, Failure> {
    let mut patience = retry.first_delta;
    let opened = timeout(patience, caller.stream(request, this)).await;
    let mut pieces = opened.map_err(|_| silent(patience))??;
    loop {
        match timeout(patience, pieces.next()).await.map_err(|_| silent(patience))? {
            Some(Ok(Piece::Delta(delta))) => {
                patience = retry.idle;
                if let Some(voice) = voice {
                    voice.put(delta).await;
                }
            }
            Some(Ok(Piece::Alive)) => {}
            Some(Ok(Piece::Done(response))) => {
                return Ok(match voice {
                    Some(voice) => voice.end(*response).await,
                    None => *response,
                });
            }
            Some(Err(failure)) => return Err(failure),
            None => return Err(Failure::new(Kind::Cut, "the stream ended before the reply did")),
        }
    }
}

fn silent(patience: Duration) -> Failure {
    Failure::new(Kind::Timeout, format!("nothing came of the reply for {patience:?}"))
}
