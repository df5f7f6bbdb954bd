//! Every format against bytes as a network may deliver them, and against replies that nobody should send: however a stream
//! is cut into reads its pieces are the same, and nothing that a server says makes a decoder panic.
//!
//! The streams and replies that are cut and damaged are those of the simulated provider, which the providers' own SDKs read.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::StreamExt;
use http::response::Parts;
use http::{Method, StatusCode};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tidegate::call::eventstream;
use tidegate::call::provider::Quirks;
use tidegate::call::sse::{self, Event};
use tidegate::call::transport::{HttpRequest, Transport};
use tidegate::call::wire::{Framing, StreamState, WireId};
use tidegate::sim::{Scenario, SimTransport};
use tidegate::{Delta, Failure, Request, Response, TaskKind};

const WIRES: [WireId; 6] =
    [WireId::Openai, WireId::Responses, WireId::Anthropic, WireId::Gemini, WireId::Bedrock, WireId::BedrockInvoke];
const MODEL: &str = "model-1";

/// A reply as the simulated provider sends it.
#[derive(Debug, Clone)]
struct Reply {
    wire: WireId,
    head: Parts,
    body: Bytes,
}

/// Every format's replies to a question and to a demand for a tool's call, in pieces.
static STREAMS: LazyLock<Vec<Reply>> = LazyLock::new(|| replies(true));
/// The same, whole.
static REPLIES: LazyLock<Vec<Reply>> = LazyLock::new(|| replies(false));

fn replies(stream: bool) -> Vec<Reply> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let pairs = WIRES.into_iter().flat_map(|wire| [question(), tool(), thought(wire)].map(|request| (wire, request)));
    pairs.filter_map(|(wire, request)| runtime.block_on(reply(wire, &request, stream))).collect()
}

fn question() -> Request {
    Request::prompt("Wie hoch ist die Flut in Büsum? 🌊 Say it in a few words.").max_tokens(30)
}

fn tool() -> Request {
    let parameters = json!({"type": "object", "properties": {"city": {"enum": ["Büsum"]}}, "required": ["city"]});
    let function = json!({"name": "height", "parameters": parameters});
    let choice = json!({"type": "function", "function": {"name": "height"}});
    question().param("tools", json!([{"type": "function", "function": function}])).param("tool_choice", choice)
}

/// Asks for the model's thoughts too.
fn thought(wire: WireId) -> Request {
    let (name, value) = match wire {
        WireId::Openai => ("reasoning_effort", json!("low")),
        WireId::Responses => ("reasoning", json!({"effort": "low", "summary": "auto"})),
        WireId::Gemini => ("thinkingConfig", json!({"includeThoughts": true})),
        _ => ("thinking", json!({"type": "enabled", "budget_tokens": 1024})),
    };
    question().max_tokens(2000).param(name, value)
}

/// Asks the simulated provider; nothing where the format has no streams.
async fn reply(id: WireId, request: &Request, stream: bool) -> Option<Reply> {
    let wire = id.wire();
    let body = wire.encode(request, MODEL, &Quirks::COMMON).ok()?;
    let (path, body) = match stream {
        true => (wire.stream_path(MODEL)?, wire.stream_body(body).unwrap()),
        false => (wire.path(TaskKind::Chat, MODEL)?, body),
    };
    let mut http = HttpRequest::new(body);
    *http.method_mut() = Method::POST;
    *http.uri_mut() = format!("http://sim.test{path}").parse().unwrap();
    http.headers_mut().insert("anthropic-version", http::HeaderValue::from_static("2023-06-01"));
    let (head, mut pieces) = SimTransport::new(Scenario::fixed(0.0)).open(http).await.unwrap().into_parts();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    (head.status == StatusCode::OK).then(|| Reply { wire: id, head, body: bytes.into() })
}

/// Reads a stream that arrives in these pieces, as a call does.
fn read<'a>(reply: &Reply, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Delta>, Result<Response, Failure>) {
    let wire = reply.wire.wire();
    let (mut sse, mut aws) = (sse::Reader::default(), eventstream::Reader::default());
    let (mut state, mut deltas) = (StreamState::new(reply.head.clone()), Vec::new());
    for piece in pieces {
        let mut events = Vec::new();
        let cut = match wire.framing() {
            Framing::Aws => aws.push(piece, &mut events),
            _ => sse.push(piece, &mut events),
        };
        let told = events.iter().try_for_each(|event| wire.decode_event(&mut state, event, &mut deltas));
        if let Err(failure) = told.and(cut) {
            return (deltas, Err(failure));
        }
    }
    let mut events = Vec::new();
    sse.end(&mut events);
    let told = events.iter().try_for_each(|event| wire.decode_event(&mut state, event, &mut deltas));
    (deltas, told.and_then(|()| wire.finish(state)))
}

#[test]
fn a_stream_cut_at_every_byte_is_the_same_stream() {
    let formats: Vec<_> = STREAMS.iter().map(|reply| reply.wire).collect();
    for wire in WIRES {
        let streams = wire.wire().stream_path(MODEL).is_some();
        assert_eq!(formats.contains(&wire), streams, "{wire:?} has {}streams", if streams { "" } else { "no " });
    }
    for reply in &*STREAMS {
        let whole = read(reply, [&*reply.body]);
        assert!(whole.1.is_ok() && !whole.0.is_empty(), "{:?}: {whole:?}", reply.wire);
        for at in 0..=reply.body.len() {
            let (before, after) = reply.body.split_at(at);
            assert_eq!(read(reply, [before, after]), whole, "{:?} cut at {at}", reply.wire);
        }
        assert_eq!(read(reply, reply.body.chunks(1)), whole, "{:?} byte by byte", reply.wire);
    }
}

#[test]
fn half_a_stream_is_never_an_answer() {
    for reply in &*STREAMS {
        let (all, _) = read(reply, [&*reply.body]);
        let parts = (0..reply.body.len()).map(|end| (end, read(reply, [&reply.body[..end]])));
        for (end, (told, response)) in parts.filter(|(_, (_, response))| response.is_ok()) {
            // Behind the answer itself only its usage or a mark of the end may be missing.
            assert_eq!(told, all, "{:?} is an answer after {end} of {}: {response:?}", reply.wire, reply.body.len());
        }
    }
}

/// Any JSON, with the names that formats have among its keys.
fn any_json() -> impl Strategy<Value = Value> {
    const KEYS: &[&str] = &[
        "choices",
        "message",
        "delta",
        "content",
        "tool_calls",
        "function",
        "arguments",
        "index",
        "finish_reason",
        "usage",
        "error",
        "code",
        "type",
        "text",
        "output",
        "status",
        "item",
        "response",
        "incomplete_details",
        "data",
        "embedding",
        "content_block",
        "stop_reason",
        "partial_json",
        "thinking",
        "candidates",
        "parts",
        "functionCall",
        "args",
        "finishReason",
        "usageMetadata",
        "promptFeedback",
        "blockReason",
        "details",
        "retryDelay",
        "embeddings",
        "values",
        "contentBlockDelta",
        "contentBlockIndex",
        "toolUse",
        "input",
        "stopReason",
        "metadata",
        "messageStop",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        prop::sample::select(KEYS).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(KEYS), inner), 0..5).prop_map(|fields| {
                fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>().into()
            }),
        ]
    })
}

/// Puts a value in the place of the node of that number.
fn replace(tree: &mut Value, number: &mut usize, value: &Value) {
    if *number == 0 {
        *tree = value.clone();
    }
    *number = number.wrapping_sub(1);
    match tree {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, number, value)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, number, value)),
        _ => {}
    }
}

/// Has every decoder of a format read a body, as a success and as a failure.
fn decode_all(wire: WireId, body: &Bytes, status: u16) {
    let codec = wire.wire();
    let head = |status: u16| http::Response::builder().status(status).body(()).unwrap().into_parts().0;
    for kind in [TaskKind::Chat, TaskKind::Embed] {
        if let Err(failure) = codec.decode(kind, &head(200), body) {
            assert!(!failure.kind.is_unsent(), "{wire:?}: {failure:?}");
        }
        let request = Request::original(wire, kind, body.clone());
        let _ = request.original.as_ref().map(|original| codec.typed(original));
        let _ = codec.encode(&request, MODEL, &Quirks::COMMON);
    }
    let _ = (
        codec.kind(&head(status), body),
        codec.message(body),
        codec.retry_after(body),
        codec.stream_body(body.clone()),
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_number_of_cuts_gives_the_same_stream(which in any::<prop::sample::Index>(), sizes in prop::collection::vec(1usize..40, 1..9)) {
        let reply = which.get(&STREAMS);
        let mut pieces = Vec::new();
        let mut rest = &*reply.body;
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(read(reply, pieces), read(reply, [&*reply.body]));
    }

    #[test]
    fn a_damaged_stream_makes_nobody_panic(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let reply = which.get(&STREAMS);
        let mut bytes = reply.body.to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let (before, after) = bytes.split_at(cut.index(bytes.len()));
        if let Err(failure) = read(reply, [before, after]).1 {
            prop_assert!(!failure.kind.is_unsent(), "{failure:?}");
        }
    }

    #[test]
    fn strange_events_make_nobody_panic(name in "[a-z_./]{0,12}", events in prop::collection::vec(any_json(), 1..4)) {
        for wire in WIRES {
            let head = http::Response::new(()).into_parts().0;
            let mut state = StreamState::new(head);
            for value in &events {
                let kind = value.get("type").and_then(Value::as_str).unwrap_or(&name).to_owned();
                let event = Event { name: kind, data: value.to_string().into_bytes() };
                let _ = wire.wire().decode_event(&mut state, &event, &mut Vec::new());
            }
            state.ended = true;
            let _ = wire.wire().finish(state);
        }
    }

    #[test]
    fn strange_bodies_make_nobody_panic(value in any_json(), bytes in prop::collection::vec(any::<u8>(), 0..64), status in 300u16..600) {
        for body in [Bytes::from(value.to_string()), Bytes::from(bytes)] {
            for wire in WIRES {
                decode_all(wire, &body, status);
            }
        }
    }

    #[test]
    fn a_reply_with_one_strange_value_makes_nobody_panic(
        which in any::<prop::sample::Index>(), node in 0usize..40, value in any_json(), status in 300u16..600,
    ) {
        let reply = which.get(&REPLIES);
        let mut tree: Value = serde_json::from_slice(&reply.body).unwrap();
        replace(&mut tree, &mut node.clone(), &value);
        decode_all(reply.wire, &tree.to_string().into(), status);
    }
}
