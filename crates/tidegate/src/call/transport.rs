//! The seam under every exchange: bytes out, bytes back.
//!
//! A [`Transport`] neither retries nor follows redirects nor reads bodies for meaning, so that one send is one request on
//! the wire. The pool over real sockets and the simulated provider in memory are two of them; a test writes a third.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::failure::Failure;

/// An HTTP request with its whole body.
pub type HttpRequest = http::Request<Bytes>;
/// An HTTP reply with its whole body.
pub type HttpReply = http::Response<Bytes>;

/// Sends one HTTP request and returns the whole reply.
pub trait Transport: Send + Sync {
    /// Sends the request once.
    ///
    /// # Behavior
    ///
    /// - Any status is a reply, not a failure.
    /// - A failure before the request's first byte left is [`Connect`](crate::Kind::Connect), a later one
    ///   [`Cut`](crate::Kind::Cut).
    /// - Dropping the future closes or recycles the connection and sends nothing more.
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpReply, Failure>>;
}
