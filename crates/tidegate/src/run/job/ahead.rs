//! The reader's thread, a few chunks ahead of what is sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures_util::{Stream, stream};
use tokio::sync::mpsc;

use super::CHUNKS_AHEAD;
use super::intake::{Bad, Intake, Taken, Task};
use crate::error::{Error, Result};
use crate::run::Item;

/// What comes from the reader beside requests.
#[derive(Clone, Default)]
pub(super) struct Side {
    pub(super) bad: Arc<Mutex<Vec<Bad>>>,
    /// The keys of bad rows of earlier runs that are bad no more.
    pub(super) gone: Arc<Mutex<Vec<u64>>>,
    pub(super) error: Arc<Mutex<Option<Error>>>,
}

/// Starts the reader thread and returns what it has rendered as a stream.
pub(super) fn read_ahead(mut intake: Intake) -> Result<(impl Stream<Item = Item<Task>> + Send, Side)> {
    let (sender, mut chunks) = mpsc::channel::<Vec<Taken>>(CHUNKS_AHEAD);
    let side = Side::default();
    let theirs = side.clone();
    let work = move || {
        let read = intake.read_into(|chunk| sender.blocking_send(chunk).is_ok());
        *theirs.error.lock().unwrap_or_else(PoisonError::into_inner) = read.err();
    };
    let thread = std::thread::Builder::new().name("tidegate-reader".to_owned()).spawn(work);
    thread.map_err(|source| Error::storage("reader".as_ref(), "cannot start its thread", source))?;
    let mut chunk = Vec::new().into_iter();
    let (bad, gone) = (side.bad.clone(), side.gone.clone());
    let source = stream::poll_fn(move |cx| {
        loop {
            match chunk.next() {
                Some(Taken::Send(item)) => return Poll::Ready(Some(item)),
                Some(Taken::Bad(row)) => bad.lock().unwrap_or_else(PoisonError::into_inner).push(row),
                Some(Taken::Gone(key)) => gone.lock().unwrap_or_else(PoisonError::into_inner).push(key),
                None => match chunks.poll_recv(cx) {
                    Poll::Ready(Some(next)) => chunk = next.into_iter(),
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    });
    Ok((source, side))
}
