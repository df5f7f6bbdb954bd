//! The simulated provider as a [`Transport`]: in this process, in tokio's time, without a socket, thread or task.

use futures_util::future::BoxFuture;
use futures_util::stream;
use tokio::time::{Instant, sleep};

use super::{Act, End, Piece, Plan, Scenario, Simulator, Visit};
use crate::call::transport::{BodyStream, HttpReply, HttpRequest, HttpStream, Transport, read_whole, whole_body};
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
            match self.play(request).await? {
                Played::Whole(reply) => Ok(reply),
                Played::Pieces(head, pieces) => {
                    let body = read_whole(pieces).await?;
                    Ok(head.map(|()| body))
                }
            }
        })
    }

    fn open(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpStream, Failure>> {
        Box::pin(async move {
            Ok(match self.play(request).await? {
                Played::Whole(reply) => reply.map(whole_body),
                Played::Pieces(head, pieces) => head.map(|()| pieces),
            })
        })
    }
}

/// What a plan has come to when the reply's head is there.
enum Played {
    Whole(HttpReply),
    Pieces(http::Response<()>, BodyStream),
}

impl SimTransport {
    /// Carries a plan out as a client meets it.
    async fn play(&self, request: HttpRequest) -> Result<Played, Failure> {
        let Plan { delay, act, visit } = self.simulator.arrive(Instant::now(), &request);
        drop(request);
        // A sleep of zero would still go through the timer.
        if !delay.is_zero() {
            sleep(delay).await;
        }
        let result = match act {
            Act::Reply(reply) => Ok(Played::Whole(reply)),
            Act::Pieces { head, pieces, end } => return Ok(Played::Pieces(head, body(pieces, end, visit))),
            Act::Reset => Err(cut("the simulated connection was reset before the reply")),
            Act::Hang => std::future::pending().await,
        };
        visit.finish();
        result
    }
}

/// Makes the stream of a body in pieces, which ends the visit.
fn body(pieces: Vec<Piece>, end: End, visit: Visit) -> BodyStream {
    let rest = (pieces.into_iter(), Some(visit));
    Box::pin(stream::unfold(rest, move |(mut pieces, mut visit)| async move {
        let item = match pieces.next() {
            Some(piece) => {
                if !piece.gap.is_zero() {
                    sleep(piece.gap).await;
                }
                Some(Ok(piece.bytes))
            }
            None => {
                let visit = visit.take()?;
                visit.finish();
                match end {
                    End::Whole => None,
                    End::Cut => Some(Err(cut("the simulated connection closed in the middle of the body"))),
                }
            }
        };
        Some((item?, (pieces, visit)))
    }))
}

fn cut(message: &str) -> Failure {
    Failure::new(Kind::Cut, message)
}
