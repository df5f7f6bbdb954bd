//! The seam under every exchange: bytes out, bytes back.
//!
//! A [`Transport`] neither retries nor follows redirects nor reads bodies for meaning, so that one send is one request on
//! the wire. The pool over real sockets and the simulated provider in memory are two of them; a test writes a third.

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};

use crate::failure::{Failure, Kind};

/// The largest body that is read whole, in bytes.
const LIMIT: usize = 256 << 20;

/// An HTTP request with its whole body.
pub type HttpRequest = http::Request<Bytes>;
/// An HTTP reply with its whole body.
pub type HttpReply = http::Response<Bytes>;
/// An HTTP reply whose body comes as it arrives.
pub type HttpStream = http::Response<BodyStream>;
/// The parts of a body as they arrive. A failure is its last item; dropping it closes or recycles the connection.
pub type BodyStream = BoxStream<'static, Result<Bytes, Failure>>;

/// Sends one HTTP request and returns the reply.
pub trait Transport: Send + Sync {
    /// Sends the request once and returns the whole reply.
    ///
    /// # Behavior
    ///
    /// - Any status is a reply, not a failure.
    /// - A failure before the request's first byte left is [`Connect`](crate::Kind::Connect), a later one
    ///   [`Cut`](crate::Kind::Cut).
    /// - Dropping the future closes or recycles the connection and sends nothing more.
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpReply, Failure>>;

    /// Sends the request once and returns the reply when its head is there.
    ///
    /// # Behavior
    ///
    /// - As [`send`](Transport::send); a transport that knows only whole replies need not write it.
    fn open(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpStream, Failure>> {
        let whole = self.send(request);
        Box::pin(async move { Ok(whole.await?.map(whole_body)) })
    }
}

/// Makes the stream of a body that is there already.
pub(crate) fn whole_body(body: Bytes) -> BodyStream {
    stream::iter((!body.is_empty()).then_some(Ok(body))).boxed()
}

/// Reads a whole body. Nearly every one arrives as one part, which is handed on without a copy.
///
/// # Errors
///
/// What broke it off; [`Kind::Malformed`] if it is too large.
pub(crate) async fn read_whole<S>(mut body: S) -> Result<Bytes, Failure>
where
    S: Stream<Item = Result<Bytes, Failure>> + Unpin,
{
    let mut whole = Whole::default();
    while let Some(part) = body.next().await {
        whole.push(part?)?;
    }
    Ok(whole.finish())
}

/// The parts of a body that have arrived.
#[derive(Default)]
struct Whole {
    first: Bytes,
    all: BytesMut,
}

impl Whole {
    /// Adds a part.
    fn push(&mut self, part: Bytes) -> Result<(), Failure> {
        if self.first.len() + self.all.len() + part.len() > LIMIT {
            let message = format!("the reply is larger than {} MiB", LIMIT >> 20);
            return Err(Failure::new(Kind::Malformed, message));
        }
        if self.first.is_empty() && self.all.is_empty() {
            self.first = part;
            return Ok(());
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&part);
        Ok(())
    }

    /// Returns the body.
    fn finish(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_is_not_copied() {
        let part = Bytes::from(vec![7; 100]);
        let mut whole = Whole::default();
        whole.push(Bytes::new()).unwrap();
        whole.push(part.clone()).unwrap();
        assert_eq!(whole.finish().as_ptr(), part.as_ptr());
    }

    #[test]
    fn parts_are_joined_in_order() {
        let mut whole = Whole::default();
        for part in ["a", "bc", "", "def"] {
            whole.push(Bytes::from_static(part.as_bytes())).unwrap();
        }
        assert_eq!(whole.finish(), "abcdef");
    }

    #[test]
    fn a_body_over_the_limit_is_malformed() {
        let mut whole = Whole::default();
        let large = Bytes::from(vec![0; LIMIT]);
        whole.push(large).unwrap();
        assert_eq!(whole.push(Bytes::from_static(b"x")).unwrap_err().kind, Kind::Malformed);
    }
}
