//! From a draft to what the client meets: when it comes, in which pieces, and what breaks on the way.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use super::answer::{Body, Draft, Fate};
use super::dice::Dice;
use super::fault::Fault;
use super::plan::{Act, End, Piece};
use super::scenario::{Latency, Scenario};

/// In how many pieces a body trickles.
const TRICKLE: usize = 10;

/// Returns the time from a call's arrival to its reply's head; `in_flight` includes the call itself.
pub(super) fn delay(scenario: &Scenario, draft: &Draft, in_flight: u64, dice: Dice) -> Duration {
    let first = match scenario.latency {
        Latency::Fixed { ms } => ms,
        Latency::Lognormal { median_ms, sigma } => median_ms * (sigma * dice.normal()).exp(),
        Latency::Load { base_ms, per_in_flight_ms, knee } => {
            base_ms + per_in_flight_ms * in_flight.saturating_sub(u64::from(knee)) as f64
        }
    };
    // The head of a stream comes with its first event; a whole reply is sent when its last token is there.
    let tokens = match draft.body {
        Body::Json(_) => draft.usage.completion_tokens,
        Body::Events(_) => 0,
    };
    ms(first + scenario.ms_per_output_token * tokens as f64)
}

/// Makes a duration of milliseconds, however absurd.
pub(super) fn ms(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or(Duration::MAX / 4)
}

/// Returns what happens once the delay is over.
pub(super) fn act(scenario: &Scenario, draft: Draft, fate: Fate<'_>, headers: HeaderMap) -> Act {
    let fault = match fate {
        Fate::Fault(fault) => Some(fault),
        Fate::Good | Fate::Scripted(_) => None,
    };
    let mut head = http::Response::new(());
    *head.status_mut() = draft.status;
    *head.headers_mut() = headers;
    match (fault, draft.body) {
        (Some(Fault::Reset), _) => Act::Reset,
        (Some(Fault::Hang), _) => Act::Hang,
        (fault, Body::Json(body)) => act_json(scenario, head, body, fault),
        (fault, Body::Events(events)) => act_events(scenario, head, events, fault),
    }
}

fn act_json(scenario: &Scenario, mut head: http::Response<()>, body: Bytes, fault: Option<Fault>) -> Act {
    let headers = head.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match fault {
        Some(Fault::MalformedJson) => Act::Reply(head.map(|()| body.slice(..body.len() / 2))),
        Some(Fault::SlowBody) => {
            headers.insert(header::CONTENT_LENGTH, body.len().into());
            Act::Pieces { head, pieces: trickle(scenario, &body), end: End::Whole }
        }
        Some(Fault::CutBody) => {
            headers.insert(header::CONTENT_LENGTH, body.len().into());
            let piece = Piece { gap: Duration::ZERO, bytes: body.slice(..body.len() / 2) };
            Act::Pieces { head, pieces: vec![piece], end: End::Cut }
        }
        _ => Act::Reply(head.map(|()| body)),
    }
}

fn trickle(scenario: &Scenario, body: &Bytes) -> Vec<Piece> {
    let gap = ms(scenario.slow_body_ms) / TRICKLE as u32;
    let size = body.len().div_ceil(TRICKLE).max(1);
    body.chunks(size).map(|piece| Piece { gap, bytes: body.slice_ref(piece) }).collect()
}

fn act_events(
    scenario: &Scenario,
    mut head: http::Response<()>,
    mut events: Vec<(Bytes, u64)>,
    fault: Option<Fault>,
) -> Act {
    // Who has a framing of its own has said so.
    let sse = HeaderValue::from_static("text/event-stream");
    head.headers_mut().entry(header::CONTENT_TYPE).or_insert(sse);
    let mut end = End::Whole;
    let mut extra = Duration::ZERO;
    match fault {
        Some(Fault::CutBody) => {
            events.truncate(events.len() / 2);
            end = End::Cut;
        }
        Some(Fault::MalformedJson) => events[0].0 = Bytes::from_static(b"data: {\"id\": \n\n"),
        Some(Fault::SlowBody) => extra = ms(scenario.slow_body_ms) / events.len() as u32,
        _ => {}
    }
    let gap = |tokens: u64| extra + ms(scenario.ms_per_output_token * tokens as f64);
    let pieces = events.into_iter().map(|(bytes, tokens)| Piece { gap: gap(tokens), bytes }).collect();
    Act::Pieces { head, pieces, end }
}
