//! A reply as it comes: bytes become events, events become pieces, and the last piece is the whole response.
//!
//! A stream ends with [`Piece::Done`] or with a failure, never otherwise: what broke off is no answer. Nothing here
//! watches the clock; every part that arrives is a piece, so that whoever waits can tell a slow model from a dead one.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::header::CONTENT_TYPE;
use http::response::Parts;

use super::Secrets;
use super::eventstream;
use super::mend;
use super::sse::{self, Event};
use super::transport::BodyStream;
use super::wire::{Framing, StreamState, Wire};
use crate::failure::{Failure, Kind};
use crate::response::{Delta, Output, Response};

/// What comes of a streamed reply.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Piece {
    /// More of the reply.
    Delta(Delta),
    /// A sign of life that says nothing.
    Alive,
    /// The reply is over, and this is all of it.
    Done(Box<Response>),
}

/// The pieces of a reply; [`Piece::Done`] or a failure is the last.
pub type ReplyStream = BoxStream<'static, Result<Piece, Failure>>;

/// How long a connection may take to end properly when the reply itself has ended: only then it is used again.
const LINGER: Duration = Duration::from_millis(100);

/// Makes the stream of a reply that came whole.
pub(crate) fn whole(response: Response) -> ReplyStream {
    let text = match &response.output {
        Output::Text(text) => Some(Delta::Text(text.clone())),
        _ => None,
    };
    stream::iter(text.into_iter().map(Piece::Delta).chain(last(response)).map(Ok)).boxed()
}

/// Returns the pieces that end a reply.
fn last(response: Response) -> impl Iterator<Item = Piece> {
    let usage = response.usage.map(Delta::Usage);
    let deltas = usage.into_iter().chain([Delta::Finish(response.finish.clone())]);
    deltas.map(Piece::Delta).chain([Piece::Done(Box::new(response))])
}

/// Returns whether a reply is a stream: some servers answer whole, or with an error, whatever was asked.
pub(crate) fn is_stream(head: &Parts) -> bool {
    let json = |value: &http::HeaderValue| value.as_bytes().starts_with(b"application/json");
    head.status.is_success() && !head.headers.get(CONTENT_TYPE).is_some_and(json)
}

/// Returns whether a reply says of itself that it is a stream.
pub(crate) fn is_told_as_one(head: &Parts) -> bool {
    head.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// Reads a stream that is there as a whole: a body that was sent as the user wrote it may ask for one.
///
/// # Errors
///
/// As the stream's own last piece.
pub(crate) fn read_at_once(wire: &dyn Wire, head: Parts, body: &Bytes) -> Result<Response, Failure> {
    let (mut framer, mut state, mut events) = (Framer::new(wire.framing()), StreamState::new(head), Vec::new());
    framer.push(body, &mut events)?;
    framer.end(&mut events);
    let mut mended = false;
    events.iter().try_for_each(|event| {
        mended |= decode_event(wire, &mut state, event, &mut Vec::new())?;
        Ok(())
    })?;
    finish(wire, state, mended)
}

/// Takes an event. Returns whether it had to be mended for that.
fn decode_event(
    wire: &dyn Wire,
    state: &mut StreamState,
    event: &Event,
    out: &mut Vec<Delta>,
) -> Result<bool, Failure> {
    let read = mend::read(&event.data, |mended| match mended {
        Some(data) => wire.decode_event(state, &Event { name: event.name.clone(), data }, out),
        None => wire.decode_event(state, event, out),
    });
    read.map(|((), mended)| mended)
}

fn finish(wire: &dyn Wire, state: StreamState, mended: bool) -> Result<Response, Failure> {
    let mut response = wire.finish(state)?;
    response.warnings.extend(mended.then(|| mend::TOLD.to_owned()));
    Ok(response)
}

/// Makes the pieces of a body.
pub(crate) fn read(wire: &'static dyn Wire, head: Parts, body: BodyStream, secrets: Secrets) -> ReplyStream {
    let framer = Framer::new(wire.framing());
    let reading =
        Reading { wire, framer, body, state: Some(StreamState::new(head)), mended: false, ready: VecDeque::new() };
    stream::unfold(reading, |mut reading| async move { Some((reading.next().await?, reading)) })
        .map(move |piece| piece.map_err(|failure| secrets.scrub(failure)))
        .boxed()
}

/// Cuts bytes into events.
enum Framer {
    Sse(sse::Reader),
    Aws(eventstream::Reader),
}

impl Framer {
    fn new(framing: Framing) -> Framer {
        match framing {
            Framing::Sse => Framer::Sse(sse::Reader::default()),
            Framing::Aws => Framer::Aws(eventstream::Reader::default()),
        }
    }

    fn push(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), Failure> {
        match self {
            Framer::Sse(reader) => reader.push(bytes, out),
            Framer::Aws(reader) => reader.push(bytes, out),
        }
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        match self {
            Framer::Sse(reader) => reader.end(out),
            // Half a message is none: the reply is cut.
            Framer::Aws(_) => {}
        }
    }
}

/// A body that is being read.
struct Reading {
    wire: &'static dyn Wire,
    framer: Framer,
    body: BodyStream,
    /// The reply in the making, until it is made or has failed.
    state: Option<StreamState>,
    mended: bool,
    ready: VecDeque<Result<Piece, Failure>>,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Piece, Failure>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(piece);
            }
            if self.state.as_ref()?.ended {
                let rest = async { while let Some(Ok(_)) = self.body.next().await {} };
                // Whether it ends in time or not, the reply has.
                let _ = tokio::time::timeout(LINGER, rest).await;
                self.finish();
                continue;
            }
            match self.body.next().await {
                Some(Ok(part)) => self.take(&part),
                Some(Err(failure)) => self.fail(failure),
                None => self.end(),
            }
        }
    }

    /// Takes a part of the body.
    fn take(&mut self, part: &Bytes) {
        let mut events = Vec::new();
        let framed = self.framer.push(part, &mut events);
        if let Err(failure) = self.decode(events).and(framed) {
            self.fail(failure);
        }
        if self.ready.is_empty() {
            self.ready.push_back(Ok(Piece::Alive));
        }
    }

    /// Takes the body's end.
    fn end(&mut self) {
        let mut events = Vec::new();
        self.framer.end(&mut events);
        match self.decode(events) {
            // What was not ended properly may be half of an event: the reply is cut then, not unreadable.
            Err(failure) if failure.kind != Kind::Malformed => self.fail(failure),
            _ => self.finish(),
        }
    }

    fn decode(&mut self, events: Vec<Event>) -> Result<(), Failure> {
        let Some(state) = &mut self.state else { return Ok(()) };
        let mut deltas = Vec::new();
        let decoded = events.iter().try_for_each(|event| {
            self.mended |= decode_event(self.wire, state, event, &mut deltas)?;
            Ok(())
        });
        self.ready.extend(deltas.into_iter().map(Piece::Delta).map(Ok));
        decoded
    }

    fn finish(&mut self) {
        match self.state.take().map(|state| finish(self.wire, state, self.mended)) {
            Some(Ok(response)) => self.ready.extend(last(response).map(Ok)),
            Some(Err(failure)) => self.fail(failure),
            None => {}
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.state = None;
        self.ready.push_back(Err(failure));
    }
}
