//! Anthropic's Messages as a client meets it, with exact replies, events and errors.

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::super::{Scenario, SimTransport, Simulator};
use crate::call::transport::{HttpReply, HttpRequest, Transport};

fn simulator(yaml: &str) -> Simulator {
    Simulator::new(Scenario::from_yaml(yaml).unwrap())
}

fn post(body: &Value) -> HttpRequest {
    let request = Request::post("/v1/messages").header("anthropic-version", "2023-06-01").header("x-api-key", "k");
    request.body(Bytes::from(body.to_string())).unwrap()
}

/// Asks for the answer to `hi`.
fn ask(more: Value) -> HttpRequest {
    let mut body = json!({"model": "claude-x", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    post(&body)
}

async fn send(simulator: &Simulator, request: HttpRequest) -> HttpReply {
    SimTransport::to(simulator.clone()).send(request).await.unwrap()
}

fn json_of(reply: &HttpReply) -> Value {
    serde_json::from_slice(reply.body()).unwrap()
}

fn header<'a>(reply: &'a HttpReply, name: &str) -> Option<&'a str> {
    reply.headers().get(name).map(|value| value.to_str().unwrap())
}

/// Reads the events of a stream, each with its name.
fn events(reply: &HttpReply) -> Vec<Value> {
    let text = std::str::from_utf8(reply.body()).unwrap();
    let event = |event: &str| {
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["type"], name);
        data
    };
    text.strip_suffix("\n\n").unwrap().split("\n\n").map(event).collect()
}

#[tokio::test(start_paused = true)]
async fn a_reply_is_a_message() {
    let simulator = simulator("reply: {text: 'hello there'}");
    let reply = send(&simulator, ask(json!({"system": "be brief"}))).await;
    let body = json_of(&reply);
    let id = body["id"].as_str().unwrap();
    assert!(id.starts_with("msg_"), "{id}");
    let usage =
        json!({"input_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 3});
    let expected = json!({"id": id, "type": "message", "role": "assistant", "model": "claude-x",
        "content": [{"type": "text", "text": "hello there"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": usage});
    assert_eq!(body, expected);
    assert!(header(&reply, "request-id").unwrap().starts_with("req_") && header(&reply, "x-request-id").is_none());
    let short = json_of(&send(&simulator, ask(json!({"max_tokens": 1}))).await);
    assert_eq!((&short["content"][0]["text"], &short["stop_reason"]), (&json!("hell"), &json!("max_tokens")));
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_the_documented_events() {
    let simulator = simulator("reply: {text: 'a text of more than twenty bytes'}");
    let reply = send(&simulator, ask(json!({"stream": true}))).await;
    assert_eq!(header(&reply, "content-type"), Some("text/event-stream"));
    let events = events(&reply);
    let message = &events[0]["message"];
    assert_eq!((&message["content"], &message["stop_reason"]), (&json!([]), &Value::Null));
    assert_eq!((&message["usage"]["input_tokens"], &message["usage"]["output_tokens"]), (&json!(1), &json!(1)));
    let delta =
        |text: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    let expected = [
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
        delta("a text of more than "),
        delta("twenty bytes"),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"input_tokens": 1, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 8}}),
        json!({"type": "message_stop"}),
    ];
    assert_eq!(events[1..], expected);
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_must_be_called_is() {
    let simulator = simulator("{}");
    let schema = json!({"type": "object", "properties": {"city": {"const": "Ulm"}}, "required": ["city"]});
    let tools =
        json!([{"type": "web_search_20260318", "name": "web_search"}, {"name": "weather", "input_schema": schema}]);
    let forced = json!({"tools": tools, "tool_choice": {"type": "tool", "name": "weather"}});
    let body = json_of(&send(&simulator, ask(forced.clone())).await);
    let id = body["content"][0]["id"].as_str().unwrap();
    assert!(id.starts_with("toolu_"), "{id}");
    let block = json!({"type": "tool_use", "id": id, "name": "weather", "input": {"city": "Ulm"}});
    assert_eq!((&body["content"], &body["stop_reason"]), (&json!([block]), &json!("tool_use")));
    let mut streamed = forced;
    streamed["stream"] = true.into();
    let events = events(&send(&simulator, ask(streamed)).await);
    assert_eq!(events[1]["content_block"], json!({"type": "tool_use", "id": id, "name": "weather", "input": {}}));
    let pieces: String = events.iter().filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
    assert_eq!(pieces, r#"{"city":"Ulm"}"#);
    let free = json_of(&send(&simulator, ask(json!({"tools": tools, "tool_choice": {"type": "auto"}}))).await);
    assert_eq!(free["content"][0]["type"], "text");
}

#[tokio::test(start_paused = true)]
async fn an_answer_satisfies_the_schema_that_was_asked_for() {
    let schema = json!({"type": "object", "properties": {"n": {"const": 7}}, "required": ["n"]});
    let format = json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
    let body = json_of(&send(&simulator("{}"), ask(format)).await);
    assert_eq!(body["content"][0]["text"], r#"{"n":7}"#);
}

#[tokio::test(start_paused = true)]
async fn wrong_requests_are_refused_as_anthropic_does() {
    let simulator = simulator("{keys: [k], models: [claude-x]}");
    let error = async |request: HttpRequest| {
        let reply = send(&simulator, request).await;
        let body = json_of(&reply);
        assert_eq!((&body["type"], body["request_id"].as_str()), (&json!("error"), header(&reply, "request-id")));
        (reply.status().as_u16(), body["error"]["type"].as_str().unwrap().to_owned())
    };
    let is = |status: u16, kind: &str| (status, kind.to_owned());
    let mut other = ask(json!({}));
    other.headers_mut().insert("x-api-key", "x".parse().unwrap());
    assert_eq!(error(other).await, is(401, "authentication_error"));
    assert_eq!(error(ask(json!({"model": "claude-y"}))).await, is(404, "not_found_error"));
    let mut unversioned = ask(json!({}));
    unversioned.headers_mut().remove("anthropic-version");
    assert_eq!(error(unversioned).await, is(400, "invalid_request_error"));
    for wrong in [json!({"max_tokens": null}), json!({"messages": []}), json!({"messages": 5})] {
        assert_eq!(error(ask(wrong.clone())).await, is(400, "invalid_request_error"), "{wrong}");
    }
    let mut bearer = ask(json!({}));
    bearer.headers_mut().remove("x-api-key");
    bearer.headers_mut().insert("authorization", "Bearer k".parse().unwrap());
    assert_eq!(send(&simulator, bearer).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn limits_and_faults_have_anthropics_words() {
    let limited = simulator("limits: [{of: requests, limit: 1}]");
    let good = send(&limited, ask(json!({}))).await;
    assert_eq!(header(&good, "anthropic-ratelimit-requests-limit"), Some("1"));
    let refused = send(&limited, ask(json!({}))).await;
    assert_eq!((refused.status().as_u16(), header(&refused, "retry-after")), (429, Some("60")));
    assert_eq!(json_of(&refused)["error"]["type"], "rate_limit_error");
    let overloaded = send(&simulator("faults: {status_529: 1}"), ask(json!({}))).await;
    assert_eq!(json_of(&overloaded)["error"], json!({"type": "overloaded_error", "message": "Overloaded"}));
    let filtered = json_of(&send(&simulator("faults: {content_filter: 1}"), ask(json!({}))).await);
    assert_eq!((&filtered["content"], &filtered["stop_reason"]), (&json!([]), &json!("refusal")));
}
