//! The simulated provider: OpenAI's, Anthropic's, Gemini's and Bedrock's APIs with latency, limits and faults of your choice.
//!
//! # Why
//!
//! A pipeline that was never refused, cut off or kept waiting has not been tested, and a real provider does none of that
//! on request. The simulator does, the same way each time: whatever is random follows from the scenario's seed, the
//! request and how often it was sent, never from the order of arrival. Its replies echo enough of the prompt to show an
//! answer that was lost, duplicated or given to somebody else.
//!
//! # Shape
//!
//! [`Simulator`] is a synchronous machine: [`arrive`](Simulator::arrive) takes the time and a request and returns a
//! [`Plan`] that says what happens and when. Two things carry plans out: [`SimTransport`] in this process and in tokio's
//! time, which a test may pause, and the HTTP server of `tidegate sim`. Neither decides anything.
//!
//! ```
//! use tidegate::sim::{Scenario, SimTransport, Simulator};
//! let simulator = Simulator::new(Scenario::from_yaml("latency: {fixed: {ms: 5}}")?);
//! let transport = SimTransport::to(simulator.clone());
//! assert_eq!(simulator.stats().arrivals, 0);
//! # let _ = transport;
//! # Ok::<(), tidegate::Error>(())
//! ```

mod answer;
mod bedrock;
mod caches;
mod control;
mod delivery;
mod dice;
mod fault;
mod gemini;
mod headers;
mod ledger;
mod limit;
mod messages;
mod mock;
mod packed;
mod plan;
pub(crate) mod prefixes;
mod responses;
mod route;
mod scenario;
mod schema;
mod serve;
mod token;
mod transport;
mod voice;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use self::caches::Caches;
pub use self::fault::{Fault, Faults};
use self::ledger::Ledger;
pub use self::ledger::{Sent, Stats};
use self::limit::Gate;
pub use self::mock::Mock;
pub use self::plan::{Act, End, Piece, Plan, Visit};
use self::prefixes::Prefixes;
use self::route::Route;
pub use self::scenario::{
    Change, Charge, HeaderStyle, Latency, Limit, ReplyText, Resource, RetryAfter, Scenario, Script, Shape,
};
pub use self::transport::SimTransport;
use crate::call::transport::{HttpReply, HttpRequest};
use crate::call::wire::openai::server;

/// The header that names a call for the statistics.
pub const ID_HEADER: &str = "x-tidegate-id";

const UNKNOWN_PATH: &str = "Unknown path: the simulator has /v1/chat/completions, /v1/responses, /v1/embeddings, /v1/messages, \
                            /v1beta/models/MODEL:generateContent, /v1beta/cachedContents, /model/MODEL/converse, /foundation-models, /inference-profiles, /v1/models, /__sim/stats and /__sim/reset.";

/// A simulated provider; clones are the same one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> tidegate::Result<()> {
/// use std::sync::Arc;
/// use tidegate::sim::{Scenario, SimTransport, Simulator};
/// use tidegate::{Client, Request, Target};
/// let simulator = Simulator::new(Scenario::from_yaml("limits: [{of: requests, limit: 600}]")?);
/// let transport = Arc::new(SimTransport::to(simulator.clone()));
/// let client = Client::builder().target(Target::new("openai/gpt-5-mini")?.key("none")).transport(transport).build()?;
/// client.send(&Request::prompt("Is it low tide?")).await;
/// assert_eq!(simulator.stats().arrivals, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Simulator {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    scenario: Scenario,
    state: Mutex<State>,
}

/// What changes as calls come and go.
#[derive(Debug, Default)]
struct State {
    /// The first arrival, as tokio's clock and as the wall's.
    start: Option<(Instant, SystemTime)>,
    ledger: Ledger,
    gates: HashMap<u64, Gate>,
    caches: Caches,
    prefixes: Prefixes,
    /// How often each list of the control plane was asked for.
    asked: HashMap<String, u32>,
}

impl Simulator {
    /// Makes a simulator that nobody has called yet.
    #[must_use]
    pub fn new(scenario: Scenario) -> Simulator {
        Simulator { shared: Arc::new(Shared { scenario, state: Mutex::default() }) }
    }

    /// Returns how it behaves.
    #[must_use]
    pub fn scenario(&self) -> &Scenario {
        &self.shared.scenario
    }

    /// Returns what has arrived and what became of it.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.state().ledger.stats()
    }

    /// Returns how often an id was sent; the id of a call without the header [`ID_HEADER`] is its body.
    #[must_use]
    pub fn sent(&self, id: &[u8]) -> Sent {
        self.state().ledger.sent(xxh3_64(id))
    }

    /// Forgets everything that happened: statistics, used quota, and the time of the first call.
    pub fn reset(&self) {
        *self.state() = State::default();
    }

    /// Decides what happens to a request that arrives `now`.
    ///
    /// The call is in flight until the plan's [`Visit`] is dropped.
    #[must_use]
    pub fn arrive(&self, now: Instant, request: &HttpRequest) -> Plan {
        match Route::of(request.method(), request.uri()) {
            Route::Call(wire, kind) => self.serve(now, request, wire, kind),
            Route::Caches => {
                let rest = caches::rest_of(request.uri().path()).unwrap_or_default();
                self.serve_caches(now, request, rest)
            }
            Route::Token => self.serve_token(request),
            Route::Control(list) => self.serve_control(request, list),
            Route::Models => at_once(StatusCode::OK, self.models()),
            Route::Stats => at_once(StatusCode::OK, self.report(request)),
            Route::Reset => {
                self.reset();
                at_once(StatusCode::OK, Bytes::from_static(b"{}"))
            }
            Route::OtherMethod => at_once(
                StatusCode::METHOD_NOT_ALLOWED,
                server::error("Not allowed: this path has another method.", "invalid_request_error", None),
            ),
            Route::Nowhere => at_once(
                StatusCode::NOT_FOUND,
                server::error(UNKNOWN_PATH, "invalid_request_error", Some("unknown_url")),
            ),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn models(&self) -> Bytes {
        match &self.scenario().models[..] {
            [] => server::models(["sim-1"].into_iter()),
            names => server::models(names.iter().map(String::as_str)),
        }
    }

    fn report(&self, request: &HttpRequest) -> Bytes {
        let written = match route::id_of(request.uri()) {
            Some(id) => serde_json::to_vec(&self.sent(&id)),
            None => serde_json::to_vec(&self.stats()),
        };
        written.unwrap_or_default().into()
    }

    /// Notes that a call is over; its visit says how it went.
    fn leave(&self, visit: &Visit) {
        let mut state = self.state();
        state.ledger.settle(&visit.receipt);
        let Some(scope) = visit.admitted else { return };
        state.ledger.exit();
        if let Some(gate) = state.gates.get_mut(&scope) {
            gate.leave();
        }
    }
}

/// Makes the plan of a reply that is not part of the simulation.
fn at_once(status: StatusCode, body: Bytes) -> Plan {
    let mut reply = HttpReply::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Plan { delay: Duration::ZERO, act: Act::Reply(reply), visit: Visit::uncounted() }
}

#[cfg(test)]
mod tests;
