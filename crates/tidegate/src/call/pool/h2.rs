//! One exchange over HTTP/2.
//!
//! This speaks to `h2` directly instead of through hyper, because hyper does not say when the server's settings have
//! arrived, and how many connections it takes depends on them. A connection therefore starts with no streams allowed at
//! all, and is shared only when the server has said how many there are.
//!
//! A stream that the server provably did not process (it said REFUSED_STREAM, or GOAWAY with a lower stream number) is
//! unsent; every other break is [`Kind::Cut`]. Dropping the future resets the stream.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Reason, RecvStream};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Version};

use super::origin::{Lease, Origin, Target};
use super::stream::Stream;
use super::{Sent, body, causes};
use crate::call::transport::HttpRequest;
use crate::failure::{Failure, Kind};

/// How much of one reply may arrive before it is read, in bytes; small windows cost a round trip each.
const STREAM_WINDOW: u32 = 2 << 20;
/// How much of all replies on one connection may arrive before they are read, in bytes.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// The largest head of a reply, in bytes.
const HEAD_LIMIT: u32 = 64 << 10;

/// What means something between two hops only and is not allowed in HTTP/2.
const HOP_BY_HOP: [HeaderName; 7] =
    [CONNECTION, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE];

/// The handle that opens streams.
pub(super) type Sender = SendRequest<Bytes>;
type Driver = Connection<Stream, Bytes>;

/// A connection whose server has said how many streams it allows.
pub(super) struct Opened {
    pub(super) sender: Sender,
    pub(super) driver: Driver,
    pub(super) limit: usize,
}

/// Makes a connection of a socket and waits for the server's settings.
///
/// # Errors
///
/// What went wrong, in words for the user.
pub(super) async fn handshake(stream: Stream) -> Result<Box<Opened>, String> {
    let (sender, mut driver) = Builder::new()
        .initial_max_send_streams(0)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEAD_LIMIT)
        .enable_push(false)
        .handshake(stream)
        .await
        .map_err(|error| causes(&error))?;
    let limit = poll_fn(|cx| match Pin::new(&mut driver).poll(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(causes(&error))),
        Poll::Ready(Ok(())) => Poll::Ready(Err("the server closed the connection".to_owned())),
        Poll::Pending => match driver.max_concurrent_send_streams() {
            0 => Poll::Pending,
            limit => Poll::Ready(Ok(limit)),
        },
    })
    .await?;
    Ok(Box::new(Opened { sender, driver, limit }))
}

/// Starts the task that moves the connection's bytes; it ends with the connection, and the connection ends when the
/// pool and its requests are gone.
#[expect(clippy::disallowed_methods, reason = "many requests share the connection, so none of them can drive it")]
pub(super) fn spawn_driver(driver: Driver, origin: Weak<Origin>, id: u64) {
    tokio::spawn(drive(driver, origin, id));
}

async fn drive(mut driver: Driver, origin: Weak<Origin>, id: u64) {
    let mut limit = driver.max_concurrent_send_streams();
    let ended = poll_fn(|cx| {
        let polled = Pin::new(&mut driver).poll(cx);
        let now = driver.max_concurrent_send_streams();
        if now != limit {
            limit = now;
            if let Some(origin) = origin.upgrade() {
                origin.set_limit(id, limit);
            }
        }
        polled
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "an HTTP/2 connection ended");
    }
    if let Some(origin) = origin.upgrade() {
        origin.retire(id);
    }
}

/// Sends one request and reads the reply's head.
///
/// # Errors
///
/// [`Kind::Cut`] if the stream broke and the server may have processed the request.
pub(super) async fn exchange(lease: Lease, request: &HttpRequest) -> Result<Sent, Failure> {
    let mut sender = lease.sender();
    if is_closing(&mut sender) {
        lease.retire();
        return Ok(Sent::Unsent);
    }
    let (reply, mut upload) = match sender.send_request(head(request, lease.target()), request.body().is_empty()) {
        Ok(opened) => opened,
        Err(error) if error.is_go_away() || error.is_io() => {
            lease.retire();
            return Ok(Sent::Unsent);
        }
        Err(error) => return Err(Failure::new(Kind::BadRequest, format!("the request cannot be sent: {error}"))),
    };
    if !request.body().is_empty() {
        // If this fails, the stream has ended, and the reply says why.
        let _ = upload.send_data(request.body().clone(), true);
    }
    match reply.await {
        Ok(reply) => {
            let whole = |incoming| body::Body::Many(Body { incoming, lease });
            Ok(Sent::Reply(reply.map(whole)))
        }
        Err(error) if is_unprocessed(&error) => {
            lease.retire();
            Ok(Sent::Unsent)
        }
        Err(error) => Err(cut(lease.target(), &error)),
    }
}

/// Returns whether the connection takes no more requests.
fn is_closing(sender: &mut Sender) -> bool {
    matches!(sender.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
}

/// A reply's body with its stream's place on the connection.
pub(super) struct Body {
    incoming: RecvStream,
    lease: Lease,
}

impl Body {
    /// Takes the next part.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        let part = match std::task::ready!(self.incoming.poll_data(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) if is_satisfied(&error) => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(cut(self.lease.target(), &error)))),
            Some(Ok(part)) => part,
        };
        // The window is returned at once: whoever reads the body bounds the memory.
        let _ = self.incoming.flow_control().release_capacity(part.len());
        Poll::Ready(Some(Ok(part)))
    }
}

/// Returns whether the server has said that it did not process the stream (RFC 9113, sections 6.8 and 8.7). h2 gives
/// the error of a GOAWAY only to the streams above its number.
fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

/// Returns whether the server has sent its whole reply and only wants no more of the request (RFC 9113, section 8.1).
fn is_satisfied(error: &h2::Error) -> bool {
    error.is_remote() && error.is_reset() && error.reason() == Some(Reason::NO_ERROR)
}

fn cut(target: &Target, error: &h2::Error) -> Failure {
    Failure::new(Kind::Cut, format!("{}: {}", target.host(), causes(error)))
}

fn head(request: &HttpRequest, target: &Target) -> Request<()> {
    let mut head = Request::new(());
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = target.uri(path);
    *head.version_mut() = Version::HTTP_2;
    *head.headers_mut() = request.headers().clone();
    for name in HOP_BY_HOP {
        head.headers_mut().remove(name);
    }
    if !request.body().is_empty() && !head.headers().contains_key(CONTENT_LENGTH) {
        head.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(request.body().len()));
    }
    head
}
