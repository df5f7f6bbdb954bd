//! A reply's body, which owns what it arrives on.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;

use super::{h1, h2};
use crate::failure::Failure;

/// A body with its connection; dropped before its end, it takes the connection or the stream with it.
pub(super) enum Body {
    One(h1::Body),
    Many(h2::Body),
}

impl Stream for Body {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut *self {
            Body::One(body) => body.poll_part(cx),
            Body::Many(body) => body.poll_part(cx),
        }
    }
}
