//! One exchange over HTTP/1.1.
//!
//! hyper splits a connection into a handle that takes requests and a driver that moves bytes; usually the driver gets a
//! task of its own, and every request and reply then crosses between two tasks. Here both are polled by the one future
//! that sends. The driver is polled first and with the task's waker; the reply and its body are polled right after it
//! with a waker that does nothing, because whatever completes them happened inside the driver a moment ago. That saves
//! the wake-ups that a task would otherwise send itself.
//!
//! A connection is reused only after its reply was read to the end and the driver reports itself open. Dropping the
//! future drops the driver and with it the socket.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Uri, Version};
use http_body_util::Full;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::origin::Origin;
use super::stream::Stream;
use super::{Sent, body, causes};
use crate::call::transport::HttpRequest;
use crate::failure::{Failure, Kind};

type Driver = http1::Connection<TokioIo<Stream>, Full<Bytes>>;

/// An HTTP/1.1 connection: the handle that takes requests, and the driver until it ends.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Option<Driver>,
}

/// Makes a connection of a socket; sends nothing.
pub(super) async fn handshake(stream: Stream) -> hyper::Result<Box<Connection>> {
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    Ok(Box::new(Connection { sender, driver: Some(driver) }))
}

/// Sends one request and reads the reply's head.
///
/// # Errors
///
/// [`Kind::Cut`] if the connection broke after the request's first byte may have left, [`Kind::Malformed`] if the reply
/// is not HTTP.
pub(super) async fn exchange(
    mut connection: Box<Connection>,
    request: HttpRequest,
    origin: &Arc<Origin>,
) -> Result<Sent, Failure> {
    let (mut parts, body) = request.into_parts();
    address(&mut parts, origin);
    let request = Request::from_parts(parts, Full::new(body.clone()));
    let reply = match connection.reply(request).await {
        Ok(reply) => reply,
        Err(mut error) => {
            return match error.take_message() {
                Some(unsent) => Ok(Sent::Unsent(Request::from_parts(unsent.into_parts().0, body))),
                None => Err(broken(origin, error.error())),
            };
        }
    };
    let origin = origin.clone();
    Ok(Sent::Reply(reply.map(|incoming| body::Body::One(Body { incoming, connection: Some(connection), origin }))))
}

/// A reply's body with its connection, which is put back at the body's end.
pub(super) struct Body {
    incoming: Incoming,
    connection: Option<Box<Connection>>,
    origin: Arc<Origin>,
}

impl Body {
    /// Takes the next part.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        loop {
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            let frame = match self.incoming.is_end_stream() {
                true => None,
                false => std::task::ready!(connection.poll_frame(&mut self.incoming, cx)),
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(part))) => return Poll::Ready(Some(Ok(part))),
                // Trailers.
                Some(Ok(Err(_))) => {}
                Some(Err(error)) => {
                    self.connection = None;
                    return Poll::Ready(Some(Err(broken(&self.origin, &error))));
                }
                None => {
                    // Whether it is still open is seen when it is used again: by then this reply has been read, and
                    // its buffer is free.
                    if let Some(connection) = self.connection.take() {
                        self.origin.put_idle(connection, Instant::now());
                    }
                }
            }
        }
    }
}

impl Connection {
    /// Returns the connection if it can take a request.
    ///
    /// It also makes the driver forget the task that it last ran in, which would otherwise be woken by the next request.
    pub(super) fn if_open(mut self: Box<Self>) -> Option<Box<Connection>> {
        drive(&mut self.driver, &mut Context::from_waker(Waker::noop()));
        (self.driver.is_some() && self.sender.is_ready()).then_some(self)
    }

    async fn reply(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, hyper::client::conn::TrySendError<Request<Full<Bytes>>>> {
        // Out of tokio's budget: a future that yields would wait for a waker that does nothing.
        let mut reply = pin!(tokio::task::unconstrained(self.sender.try_send_request(request)));
        let driver = &mut self.driver;
        poll_fn(|cx| {
            drive(driver, cx);
            reply.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }

    /// Takes the next frame, first from what the driver has already read.
    fn poll_frame(
        &mut self,
        incoming: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match Pin::new(&mut *incoming).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => {
                drive(&mut self.driver, cx);
                Pin::new(incoming).poll_frame(&mut Context::from_waker(Waker::noop()))
            }
            ready => ready,
        }
    }
}

/// Lets the driver read and write, and drops it when it has ended: that hands back an unsent request.
fn drive(driver: &mut Option<Driver>, cx: &mut Context<'_>) {
    if let Some(open) = driver
        && Pin::new(open).poll(cx).is_ready()
    {
        *driver = None;
    }
}

/// Gives the request the form that the other end expects: only the path for a server, the whole address for a proxy.
fn address(parts: &mut Parts, origin: &Origin) {
    let target = &origin.target;
    parts.version = Version::HTTP_11;
    parts.headers.entry(HOST).or_insert_with(|| origin.host_header.clone());
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = match origin.forward_proxy() {
        None => Uri::from(path),
        Some(proxy) => {
            if let Some(login) = proxy.basic_auth() {
                parts.headers.insert(PROXY_AUTHORIZATION, login.clone());
            }
            target.uri(path)
        }
    };
}

fn broken(origin: &Origin, error: &hyper::Error) -> Failure {
    let kind = if error.is_parse() { Kind::Malformed } else { Kind::Cut };
    Failure::new(kind, format!("{}: {}", origin.target.host(), causes(error)))
}
