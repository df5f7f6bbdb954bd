//! One request whose reply is taken piece by piece.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt};

use super::Client;
use crate::dispatch::streaming::Outlet;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::request::Request;
use crate::response::Delta;

/// A reply as it comes: a stream of its pieces, and [in the end](Streaming::outcome) the whole.
///
/// Every attempt waits for admission like any other request. Until the first piece is there the request may be tried
/// again, here or elsewhere; after it a failure is the stream's last item, and its
/// [`Attempt`](crate::Attempt) keeps the text that had come. With
/// [`switch_streams`](crate::RetryPolicy::switch_streams) a reply that breaks off, or falls silent, goes on elsewhere in
/// place of that, as far as the attempts reach: another endpoint is shown what was said and asked to go on from there,
/// [`Delta::Switched`] marks where it begins, and what it repeats of the end of what was said is left out, so that the
/// texts of all pieces together are the outcome's. Both calls count, the broken one at an estimate, and `max_tokens` counts
/// anew. Replies that must have a schema, or have begun to call a tool, fail all the same.
///
/// Nothing is read from the connection before it is asked for here. Dropping the stream closes the connection and frees its place; what
/// the call has used up to then stays counted.
#[must_use = "a stream does nothing until its pieces are taken"]
pub struct Streaming {
    outlet: Arc<Outlet>,
    answer: BoxFuture<'static, Outcome>,
    outcome: Option<Outcome>,
}

impl Streaming {
    pub(super) fn new(client: Client, request: Request) -> Streaming {
        let outlet = Arc::new(Outlet::default());
        let pieces = outlet.clone();
        let answer = async move { client.stream_into(&request, &pieces).await };
        Streaming { outlet, answer: answer.boxed(), outcome: None }
    }

    /// Takes the pieces that are left, and returns the whole reply with every attempt that was made for it.
    pub async fn outcome(mut self) -> Outcome {
        while self.next().await.is_some() {}
        match self.outcome {
            Some(outcome) => outcome,
            None => self.answer.await,
        }
    }
}

impl Stream for Streaming {
    type Item = Result<Delta, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(delta) = self.outlet.take() {
            return Poll::Ready(Some(Ok(delta)));
        }
        if self.outcome.is_some() {
            return Poll::Ready(None);
        }
        let polled = self.answer.poll_unpin(cx);
        if let Some(delta) = self.outlet.take() {
            return Poll::Ready(Some(Ok(delta)));
        }
        let outcome = std::task::ready!(polled);
        let failure = outcome.result.as_ref().err().cloned();
        self.outcome = Some(outcome);
        Poll::Ready(failure.map(Err))
    }
}

impl std::fmt::Debug for Streaming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streaming").field("outcome", &self.outcome).finish_non_exhaustive()
    }
}
