//! The simulated provider as a [`Transport`]: in this process, in tokio's time, without a socket, thread or task.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::{Act, End, Piece, Plan, Scenario, Simulator};
use crate::call::transport::{HttpReply, HttpRequest, Transport};
use crate::failure::{Failure, Kind};

/// Sends requests to a [`Simulator`] in this process.
///
/// Under paused tokio time a run of hours takes as long as its computing.
#[derive(Debug, Clone)]
pub struct SimTransport {
    simulator: Simulator,
}

impl SimTransport {
    /// Makes a transport to a new simulator.
    #[must_use]
    pub fn new(scenario: Scenario) -> SimTransport {
        SimTransport::to(Simulator::new(scenario))
    }

    /// Makes a transport to a simulator that others use too.
    #[must_use]
    pub fn to(simulator: Simulator) -> SimTransport {
        SimTransport { simulator }
    }

    /// Returns the simulator, to ask what arrived.
    #[must_use]
    pub fn simulator(&self) -> &Simulator {
        &self.simulator
    }
}

impl Transport for SimTransport {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpReply, Failure>> {
        Box::pin(async move {
            let plan = self.simulator.arrive(Instant::now(), &request);
            drop(request);
            play(plan).await
        })
    }
}

/// Carries a plan out as a client meets it.
async fn play(plan: Plan) -> Result<HttpReply, Failure> {
    let Plan { delay, act, visit } = plan;
    // A sleep of zero would still go through the timer.
    if !delay.is_zero() {
        sleep(delay).await;
    }
    let result = match act {
        Act::Reply(reply) => Ok(reply),
        Act::Pieces { head, pieces, end } => {
            let body = collect(pieces).await;
            match end {
                End::Whole => Ok(head.map(|()| body)),
                End::Cut => Err(cut("the simulated connection closed in the middle of the body")),
            }
        }
        Act::Reset => Err(cut("the simulated connection was reset before the reply")),
        Act::Hang => std::future::pending().await,
    };
    visit.finish();
    result
}

async fn collect(pieces: Vec<Piece>) -> Bytes {
    let mut body = Vec::with_capacity(pieces.iter().map(|piece| piece.bytes.len()).sum());
    for piece in pieces {
        if !piece.gap.is_zero() {
            sleep(piece.gap).await;
        }
        body.extend_from_slice(&piece.bytes);
    }
    body.into()
}

fn cut(message: &str) -> Failure {
    Failure::new(Kind::Cut, message)
}
