//! The transport over real sockets: a small connection pool over `httparse` and `h2`.
//!
//! Why an own pool: the clients on the shelf hide what this program must know. They resend a request on their own (it
//! may be billed twice), keep all HTTP/2 traffic on one connection (a server that allows 100 streams then caps the rate,
//! whatever the concurrency), or dial more connections than anybody needs. Here one send is one request on the wire; the
//! only exception is a request that provably never reached the server, which moves to another connection.
//!
//! How a request finds its way:
//!
//! - An *origin* is one scheme, host and port. It owns the idle HTTP/1.1 connections, used last in, first out, and the
//!   HTTP/2 connections with their free streams (`streams.rs` decides who dials and who waits).
//! - HTTP/1.1 (`h1.rs`): the future that sends also reads and writes, so no task has to wake another one, and dropping it
//!   closes the socket.
//! - HTTP/2 (`h2.rs`): one spawned task per connection drives it; dropping the future resets the stream.
//!
//! It never follows a redirect, never unpacks a body, never retries, and reads no environment variable.

mod body;
mod dial;
mod h1;
mod h2;
mod origin;
mod proxy;
mod resolve;
mod stream;
mod streams;
mod tls;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::Uri;
use tokio::time::Instant;

use self::body::Body;
use self::dial::{Dialed, Dialer};
use self::origin::{Origin, Target, Turn};
pub use self::proxy::{ProxyRules, ProxyUrls};
use crate::call::transport::{HttpReply, HttpRequest, HttpStream, Transport, read_whole};
use crate::failure::{Failure, Kind};
use crate::future::boxed;

/// How often a request that never reached the server moves to another new connection before it fails.
const MOVES: usize = 3;

/// How long a connection may rest before the server is suspected to have closed it meanwhile.
const SURELY_OPEN: Duration = Duration::from_millis(5);

/// The settings of a [`Pool`].
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// The time for name, connection, TLS and proxy together; 10 s by default.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept; 75 s by default. Longer than the server keeps it gains nothing.
    pub idle_timeout: Duration,
    /// When to speak HTTP/2.
    pub http2: Http2,
    /// Which proxy to use for which host; none by default.
    pub proxy: ProxyRules,
    /// Whose certificates to trust.
    pub roots: Roots,
}

impl Default for PoolOptions {
    fn default() -> PoolOptions {
        PoolOptions {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            http2: Http2::default(),
            proxy: ProxyRules::default(),
            roots: Roots::default(),
        }
    }
}

/// When to speak HTTP/2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Http2 {
    /// Over `https` if the server offers it in the handshake; never over plain `http`.
    #[default]
    Auto,
    /// Never.
    Never,
    /// Always, without asking: for servers known to speak it over plain `http`.
    PriorKnowledge,
}

/// Whose certificates to trust.
#[derive(Debug, Clone, Default)]
pub enum Roots {
    /// Those of the operating system, or of the file that `SSL_CERT_FILE` names; read when the first `https` connection
    /// is made.
    #[default]
    Native,
    /// Those in this PEM text, and no others.
    Pem(Vec<u8>),
}

/// A pool of connections to any number of servers.
pub struct Pool {
    dialer: Dialer,
    idle_timeout: Duration,
    /// A handful at most, one for each server that a target names.
    origins: Mutex<Vec<Arc<Origin>>>,
}

impl Pool {
    /// Makes a pool without connections; nothing is read, resolved or dialled before the first request.
    #[must_use]
    pub fn new(options: PoolOptions) -> Pool {
        let idle_timeout = options.idle_timeout;
        Pool { dialer: Dialer::new(options), idle_timeout, origins: Mutex::default() }
    }

    fn origin(&self, uri: &Uri) -> Result<Arc<Origin>, Failure> {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(origin) = origins.iter().find(|origin| origin.target.is_of(uri)) {
            return Ok(origin.clone());
        }
        let target = Target::of(uri)?;
        if let Some(origin) = origins.iter().find(|origin| origin.target == target) {
            return Ok(origin.clone());
        }
        let proxy = self.dialer.proxy(uri);
        let origin = Arc::new(Origin::new(target, proxy, self.dialer.http2(), self.idle_timeout));
        origins.push(origin.clone());
        Ok(origin)
    }

    async fn exchange(&self, request: &HttpRequest) -> Result<http::Response<Body>, Failure> {
        let origin = self.origin(request.uri())?;
        let mut moves = 0;
        loop {
            let connection = self.connection(&origin).await?;
            let (sent, counts) = match connection {
                Connection::Rested(connection) => (h1::exchange(connection, request, &origin).await?, false),
                Connection::Fresh(connection) => (h1::exchange(connection, request, &origin).await?, true),
                Connection::Stream(lease) => (h2::exchange(lease, request).await?, true),
            };
            if let Some(reply) = sent {
                return Ok(reply);
            }
            moves += usize::from(counts);
            if moves == MOVES {
                let message = format!("{} took no request on {MOVES} new connections", origin.target.host());
                return Err(Failure::new(Kind::Connect, message));
            }
        }
    }

    /// Returns a connection with room for one request: one that rested, a free stream, or a new one.
    async fn connection(&self, origin: &Arc<Origin>) -> Result<Connection, Failure> {
        if let Some((connection, rest)) = origin.take_idle(Instant::now()) {
            if rest >= SURELY_OPEN {
                // The runtime learns that a socket was closed only when it looks at the sockets; this lets it look.
                tokio::task::yield_now().await;
            }
            return Ok(Connection::Rested(connection));
        }
        match origin.turn(Instant::now()).await? {
            Turn::Stream(lease) => Ok(Connection::Stream(lease)),
            // Boxed, because few requests dial and all would have to hold it.
            Turn::Dial(ticket) => match Box::pin(self.dialer.dial(origin)).await {
                Ok(Dialed::One(connection)) => {
                    ticket.one();
                    Ok(Connection::Fresh(connection))
                }
                Ok(Dialed::Many(connection)) => Ok(Connection::Stream(ticket.many(connection))),
                Err(failure) => {
                    ticket.failed(&failure);
                    Err(failure)
                }
            },
        }
    }
}

impl Transport for Pool {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpReply, Failure>> {
        boxed(move || async move {
            let (head, body) = self.exchange(&request).await?.into_parts();
            Ok(http::Response::from_parts(head, read_whole(body).await?))
        })
    }

    fn open(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpStream, Failure>> {
        Box::pin(async move { Ok(self.exchange(&request).await?.map(StreamExt::boxed)) })
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("idle_timeout", &self.idle_timeout).finish_non_exhaustive()
    }
}

/// A connection with room for one request.
enum Connection {
    /// It served other requests and may have been closed meanwhile.
    Rested(Box<h1::Connection>),
    /// It was dialled for this request.
    Fresh(Box<h1::Connection>),
    /// A stream of an HTTP/2 connection.
    Stream(origin::Lease),
}

/// What became of a request on one connection: the reply, whose body is still to be read, or nothing if the request
/// provably never reached the server, so that it may go elsewhere.
type Sent = Option<http::Response<Body>>;

/// Writes an error with its causes.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
