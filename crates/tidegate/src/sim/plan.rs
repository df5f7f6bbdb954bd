//! What will happen to one call: decided on arrival, carried out by a transport or a server.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::Simulator;
use super::ledger::Receipt;
use crate::call::transport::HttpReply;

/// What happens to a call, and when.
#[derive(Debug)]
#[non_exhaustive]
pub struct Plan {
    /// How long after the arrival it happens.
    pub delay: Duration,
    /// What happens.
    pub act: Act,
    /// Stands for the call's place at the provider; drop it when the call is over.
    pub visit: Visit,
}

/// What happens to a call.
#[derive(Debug)]
#[non_exhaustive]
pub enum Act {
    /// A whole reply.
    Reply(HttpReply),
    /// A reply whose body comes in pieces.
    Pieces {
        /// Status and headers.
        head: http::Response<()>,
        /// The body's pieces in order.
        pieces: Vec<Piece>,
        /// How the body ends.
        end: End,
    },
    /// The connection is reset before any reply.
    Reset,
    /// Nothing, for ever.
    Hang,
}

/// A piece of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// How long after the previous piece it comes.
    pub gap: Duration,
    /// The bytes.
    pub bytes: Bytes,
}

/// How a body in pieces ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Whole,
    /// The connection closes although more should come.
    Cut,
}

/// A call's place at the simulated provider: while it exists the call is in flight.
#[must_use = "a visit that is dropped at once is a call that left at once"]
pub struct Visit {
    pub(super) simulator: Option<Simulator>,
    pub(super) receipt: Receipt,
    /// Whose limits the call passed, once it did.
    pub(super) admitted: Option<u64>,
}

impl Visit {
    /// Makes the visit of a call that is not counted.
    pub(super) fn uncounted() -> Visit {
        Visit { simulator: None, receipt: Receipt::default(), admitted: None }
    }

    /// Says that all that was planned was delivered; without it the client counts as gone before.
    pub fn finish(mut self) {
        self.receipt.finished = true;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(simulator) = &self.simulator {
            simulator.leave(self);
        }
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visit").field("receipt", &self.receipt).finish_non_exhaustive()
    }
}
