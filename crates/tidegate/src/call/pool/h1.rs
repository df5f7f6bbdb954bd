//! One exchange over HTTP/1.1.
//!
//! A connection carries one request at a time, so an exchange is three steps in the future that sends: write the request,
//! read the reply's head (`head.rs`), cut its body into parts (`framing.rs`). hyper, which does this over a task and two
//! channels for each connection, took a quarter of all instructions of a request, and so much memory for each connection
//! that a few hundred did not fit into the processor's cache.
//!
//! What arrives is read into room on the stack and kept at its true length: a connection that waits holds no buffer.
//!
//! A connection is reused only after its request was written and its reply read to the end, each exactly. Dropping the
//! future closes the socket.

mod framing;
mod head;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::Method;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use self::framing::{Framing, Step};
use self::head::Head;
use super::origin::Origin;
use super::stream::Stream;
use super::{Sent, body};
use crate::call::transport::HttpRequest;
use crate::failure::{Failure, Kind};

/// What one read takes at the most, in bytes.
const READ: usize = 16 << 10;

/// An HTTP/1.1 connection. Boxed wherever it goes: each request moves it several times.
pub(super) struct Connection {
    stream: Stream,
    /// The head of the request, and how much of it has been written; the room for it stays.
    head: Vec<u8>,
    begun: usize,
    /// What is still to be written of the body.
    body: Bytes,
    written: bool,
    /// What has arrived and was not taken yet.
    arrived: Bytes,
}

/// Why there is no reply.
enum Broken {
    /// Nothing of the request has left.
    Unsent,
    /// The connection ended, in words for the user.
    Cut(String),
    /// The reply is not HTTP, in words for the user.
    Malformed(String),
}

/// Sends one request and reads the reply's head.
///
/// # Errors
///
/// [`Kind::Cut`] if the connection broke after the request's first byte may have left, [`Kind::Malformed`] if the reply
/// is not HTTP.
pub(super) async fn exchange(
    mut connection: Box<Connection>,
    request: &HttpRequest,
    origin: &Arc<Origin>,
) -> Result<Sent, Failure> {
    connection.begin(request, origin);
    match poll_fn(|cx| connection.poll_head(cx)).await {
        Ok(Head { reply, framing, reusable }) => {
            // What would have been sent is described, and not sent.
            let framing = if request.method() == Method::HEAD { Framing::Length(0) } else { framing };
            let body = Body { connection: Some(connection), framing, reusable, origin: origin.clone() };
            Ok(Some(reply.map(|()| body::Body::One(body))))
        }
        Err(Broken::Unsent) => Ok(None),
        Err(broken) => Err(failure(origin, broken)),
    }
}

impl Connection {
    /// Makes a connection of a socket; sends nothing.
    pub(super) fn new(stream: Stream) -> Connection {
        Connection { stream, head: Vec::new(), begun: 0, body: Bytes::new(), written: true, arrived: Bytes::new() }
    }

    /// Lays a request ready to be written.
    fn begin(&mut self, request: &HttpRequest, origin: &Origin) {
        self.head.clear();
        head::write(request, origin, &mut self.head);
        self.body = request.body().clone();
        (self.begun, self.written) = (0, false);
    }

    /// Writes the request, and waits for the reply's head.
    ///
    /// It reads first: a server that closed the connection while it rested is found out before anything is sent, and one
    /// may answer before it has read the whole request.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Broken>> {
        loop {
            let read = self.poll_read(cx);
            if read.is_ready() && self.begun == 0 {
                return Poll::Ready(Err(Broken::Unsent));
            }
            match read {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Broken::Cut("closed before the reply was whole".into()))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Cut(error.to_string()))),
                Poll::Ready(Ok(_)) => match head::read(&mut self.arrived) {
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => {}
                    Err(fault) => return Poll::Ready(Err(Broken::Malformed(fault))),
                },
                Poll::Pending => match self.poll_write(cx) {
                    Poll::Ready(Err(_)) if self.begun == 0 => return Poll::Ready(Err(Broken::Unsent)),
                    // What cannot be written may have been answered all the same; the next read tells.
                    _ => return Poll::Pending,
                },
            }
        }
    }

    /// Writes what is left of the request.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.written {
            let stream = Pin::new(&mut self.stream);
            let head = &self.head[self.begun..];
            if head.is_empty() && self.body.is_empty() {
                ready!(stream.poll_flush(cx))?;
                self.written = true;
                break;
            }
            let count = match self.body.is_empty() {
                true => ready!(stream.poll_write(cx, head))?,
                false => ready!(stream.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(&self.body)]))?,
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = count.min(head.len());
            self.begun += of_head;
            self.body.advance(count - of_head);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, and returns how much; 0 at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = [MaybeUninit::uninit(); READ];
        let mut read = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        let new = read.filled();
        self.arrived = match self.arrived.is_empty() {
            true => Bytes::copy_from_slice(new),
            false => [&self.arrived[..], new].concat().into(),
        };
        Poll::Ready(Ok(new.len()))
    }
}

/// A reply's body with its connection, which is put back at the body's end.
pub(super) struct Body {
    connection: Option<Box<Connection>>,
    framing: Framing,
    /// Whether the server keeps the connection open behind this reply.
    reusable: bool,
    origin: Arc<Origin>,
}

impl Body {
    /// Takes the next part.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let broken = loop {
            match self.framing.take(&mut connection.arrived) {
                Ok(Step::Part(part)) => return Poll::Ready(Some(Ok(part))),
                Ok(Step::End) => return self.end(),
                Ok(Step::More) => {}
                Err(fault) => break Broken::Malformed(fault),
            }
            // A server may stream its reply while it still reads the request. What fails here is seen below.
            let _ = connection.poll_write(cx);
            match ready!(connection.poll_read(cx)) {
                Ok(0) if self.framing == Framing::UntilClose => return self.end(),
                Ok(0) => break Broken::Cut("closed before the reply was whole".into()),
                Ok(_) => {}
                Err(error) => break Broken::Cut(error.to_string()),
            }
        };
        self.connection = None;
        Poll::Ready(Some(Err(failure(&self.origin, broken))))
    }

    /// Puts the connection back, if nothing is left on it in either direction.
    fn end(&mut self) -> Poll<Option<Result<Bytes, Failure>>> {
        let connection = self.connection.take();
        let clean = |connection: &Connection| self.reusable && connection.written && connection.arrived.is_empty();
        if let Some(connection) = connection.filter(|connection| clean(connection)) {
            // Whether it is still open is seen when it is used again.
            self.origin.put_idle(connection, Instant::now());
        }
        Poll::Ready(None)
    }
}

fn failure(origin: &Origin, broken: Broken) -> Failure {
    let (kind, what) = match broken {
        Broken::Unsent => (Kind::Connect, "the connection was closed".to_owned()),
        Broken::Cut(what) => (Kind::Cut, what),
        Broken::Malformed(what) => (Kind::Malformed, what),
    };
    Failure::new(kind, format!("{}: {what}", origin.target.host()))
}
