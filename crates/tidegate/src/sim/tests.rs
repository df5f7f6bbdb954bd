//! The whole simulator as a client meets it in process, under paused time.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::{Scenario, SimTransport, Simulator};
use crate::call::transport::{HttpReply, HttpRequest, Transport};
use crate::failure::{Failure, Kind};

fn post(path: &str, body: &Value) -> HttpRequest {
    Request::post(path).body(Bytes::from(body.to_string())).unwrap()
}

fn chat_with(text: &str, more: Value) -> HttpRequest {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": text}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    post("/v1/chat/completions", &body)
}

fn chat(text: &str) -> HttpRequest {
    chat_with(text, json!({}))
}

fn with_key(mut request: HttpRequest, key: &str) -> HttpRequest {
    request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    request
}

fn json_of(reply: &HttpReply) -> Value {
    serde_json::from_slice(reply.body()).unwrap()
}

fn content(reply: &HttpReply) -> String {
    json_of(reply)["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

fn header<'a>(reply: &'a HttpReply, name: &str) -> Option<&'a str> {
    reply.headers().get(name).map(|value| value.to_str().unwrap())
}

fn simulator(yaml: &str) -> Simulator {
    Simulator::new(Scenario::from_yaml(yaml).unwrap())
}

async fn send(simulator: &Simulator, request: HttpRequest) -> Result<HttpReply, Failure> {
    SimTransport::to(simulator.clone()).send(request).await
}

async fn reply(simulator: &Simulator, request: HttpRequest) -> HttpReply {
    send(simulator, request).await.unwrap()
}

/// Sends many calls at once and returns the statuses, 0 for a broken connection.
async fn statuses(simulator: &Simulator, requests: impl IntoIterator<Item = HttpRequest>) -> Vec<u16> {
    let calls = requests.into_iter().map(|request| send(simulator, request));
    let replies = futures_util::future::join_all(calls).await;
    replies.into_iter().map(|reply| reply.map_or(0, |reply| reply.status().as_u16())).collect()
}

#[tokio::test(start_paused = true)]
async fn an_answer_shows_its_prompt_and_takes_its_time() {
    let simulator = Simulator::new(Scenario::default());
    let start = Instant::now();
    let text = content(&reply(&simulator, chat("how high is the tide?")).await);
    assert_eq!(start.elapsed(), Duration::from_millis(30));
    assert!(text.starts_with('[') && text.ends_with("] how high is the tide?"), "{text}");
    let other = content(&reply(&simulator, chat("how high is the tide!")).await);
    assert_ne!(text[..10], other[..10]);
    let long = content(&reply(&simulator, chat(&"é".repeat(500))).await);
    assert_eq!(long.chars().count(), "[00000000] ".len() + 100);
}

#[tokio::test(start_paused = true)]
async fn no_latency_takes_no_time() {
    let simulator = simulator("latency: {fixed: {ms: 0}}");
    let start = Instant::now();
    reply(&simulator, chat("a")).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn usage_and_limits_of_length_agree() {
    let simulator = simulator("{output_tokens: 50, ms_per_output_token: 10, latency: {fixed: {ms: 100}}}");
    let start = Instant::now();
    let whole = json_of(&reply(&simulator, chat("12345678")).await);
    assert_eq!(start.elapsed(), Duration::from_millis(600));
    assert_eq!(whole["usage"], json!({"prompt_tokens": 2, "completion_tokens": 50, "total_tokens": 52}));
    let cut = json_of(&reply(&simulator, chat_with("12345678", json!({"max_tokens": 3}))).await);
    assert_eq!(
        (&cut["choices"][0]["finish_reason"], &cut["usage"]["completion_tokens"]),
        (&json!("length"), &json!(3))
    );
    let three = json_of(&reply(&simulator, chat_with("12345678", json!({"n": 3}))).await);
    let texts: Vec<_> = (0..3).map(|i| three["choices"][i]["message"]["content"].as_str().unwrap()).collect();
    assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts.iter().all(|text| text.contains("12345678")));
}

#[tokio::test(start_paused = true)]
async fn latency_grows_with_the_load() {
    let simulator = simulator("latency: {load: {base_ms: 100, per_in_flight_ms: 10, knee: 4}}");
    let start = Instant::now();
    statuses(&simulator, (0..4).map(|i| chat(&i.to_string()))).await;
    assert_eq!(start.elapsed(), Duration::from_millis(100));
    statuses(&simulator, (0..14).map(|i| chat(&i.to_string()))).await;
    assert_eq!(start.elapsed(), Duration::from_millis(100 + 200));
    let stats = simulator.stats();
    assert_eq!((stats.peak_in_flight, stats.in_flight), (14, 0));
}

#[tokio::test(start_paused = true)]
async fn a_fate_does_not_depend_on_the_order_of_arrival() {
    let yaml = "{seed: 4, faults: {status_500: 0.2, reset: 0.2}, latency: {lognormal: {median_ms: 500, sigma: 1}}}";
    let fates = async |order: Vec<usize>| {
        let simulator = simulator(yaml);
        let mut fates = vec![(0, Duration::ZERO); order.len()];
        for i in order {
            let start = Instant::now();
            let status = send(&simulator, chat(&i.to_string())).await.map_or(0, |reply| reply.status().as_u16());
            fates[i] = (status, start.elapsed());
        }
        fates
    };
    let forwards = fates((0..60).collect()).await;
    assert_eq!(forwards, fates((0..60).rev().collect()).await);
    let count = |status| forwards.iter().filter(|fate| fate.0 == status).count();
    assert!((5..20).contains(&count(500)) && (5..20).contains(&count(0)) && count(200) > 25, "{forwards:?}");
}

#[tokio::test(start_paused = true)]
async fn a_429_tells_the_limit_and_the_wait() {
    let simulator = simulator("{limits: [{of: requests, limit: 60, burst: 2}, {of: tokens, limit: 900}]}");
    let first = reply(&simulator, chat("12345678")).await;
    assert_eq!(header(&first, "x-ratelimit-remaining-requests"), Some("1"));
    assert_eq!(header(&first, "x-ratelimit-limit-tokens"), Some("900"));
    reply(&simulator, chat("b")).await;
    let refused = reply(&simulator, chat("c")).await;
    assert_eq!((refused.status().as_u16(), header(&refused, "retry-after")), (429, Some("1")));
    assert_eq!(header(&refused, "x-ratelimit-remaining-requests"), Some("0"));
    let message = json_of(&refused)["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Rate limit reached on requests per min (RPM): Limit 60"), "{message}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(reply(&simulator, chat("c")).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_hidden_limit_says_nothing() {
    let hidden = simulator("{limits: [{of: requests, limit: 1, hidden: true}]}");
    reply(&hidden, chat("a")).await;
    let refused = reply(&hidden, chat("b")).await;
    let names: Vec<_> = refused.headers().keys().map(http::HeaderName::as_str).collect();
    assert_eq!((refused.status().as_u16(), names), (429, vec!["x-request-id", "content-type"]));
}

#[tokio::test(start_paused = true)]
async fn every_key_may_have_limits_of_its_own() {
    let own = simulator("{per_key: true, limits: [{of: concurrency, limit: 1}]}");
    let calls = ["a", "a", "b"].map(|key| with_key(chat(key), key));
    assert_eq!(statuses(&own, calls.clone()).await, [200, 429, 200]);
    let shared = simulator("{limits: [{of: concurrency, limit: 1}]}");
    assert_eq!(statuses(&shared, calls).await, [200, 429, 429]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_gives_its_place_back() {
    let simulator = simulator("{limits: [{of: concurrency, limit: 1}], script: [{contains: hang, fault: hang}]}");
    let hour = Duration::from_secs(3600);
    timeout(hour, send(&simulator, chat("hang"))).await.unwrap_err();
    assert_eq!(reply(&simulator, chat("b")).await.status(), 200);
    let stats = simulator.stats();
    assert_eq!((stats.abandoned, stats.finished, stats.in_flight), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn connections_break_as_the_pool_reports_it() {
    let simulator = simulator("script: [{contains: reset, fault: reset}, {contains: cut, fault: cut_body}]");
    for text in ["reset", "cut"] {
        assert_eq!(send(&simulator, chat(text)).await.unwrap_err().kind, Kind::Cut);
        let streamed = chat_with(text, json!({"stream": true}));
        assert_eq!(send(&simulator, streamed).await.unwrap_err().kind, Kind::Cut);
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_go_wrong_in_every_way() {
    let simulator = simulator(
        "{slow_body_ms: 2000, script: [{contains: slow, fault: slow_body}, {contains: bad, fault: malformed_json},
          {contains: empty, fault: empty_content}, {contains: filter, fault: content_filter},
          {contains: schema, fault: schema_violation}, {contains: full, fault: status_529}]}",
    );
    let start = Instant::now();
    assert!(content(&reply(&simulator, chat("slow")).await).ends_with("slow"));
    assert_eq!(start.elapsed(), Duration::from_millis(2030));
    let bad = reply(&simulator, chat("bad")).await;
    assert!(bad.status() == 200 && serde_json::from_slice::<Value>(bad.body()).is_err());
    assert_eq!(content(&reply(&simulator, chat("empty")).await), "");
    let filtered = json_of(&reply(&simulator, chat("filter")).await);
    assert_eq!(filtered["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(reply(&simulator, chat("full")).await.status().as_u16(), 529);
    let format = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema":
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}}});
    let value = |reply: HttpReply| serde_json::from_str::<Value>(&content(&reply)).unwrap();
    assert_eq!(value(reply(&simulator, chat_with("schema", format.clone())).await), json!({}));
    assert!(value(reply(&simulator, chat_with("good", format)).await)["a"].is_i64());
    let object = json!({"response_format": {"type": "json_object"}});
    assert_eq!(value(reply(&simulator, chat_with("good", object)).await)["echo"], "good");
}

#[tokio::test(start_paused = true)]
async fn a_script_counts_the_sendings_of_each_request() {
    let simulator = simulator(
        "script: [{contains: twice, status: 503, body: busy, retry_after_s: 2, times: 2},
                  {contains: twice, reply: \"at last\", times: 1}]",
    );
    for text in ["twice a", "twice b"] {
        for _ in 0..2 {
            let failed = reply(&simulator, chat(text)).await;
            assert_eq!((failed.status().as_u16(), header(&failed, "retry-after")), (503, Some("2")));
            assert_eq!(failed.body(), "busy");
        }
        assert_eq!(content(&reply(&simulator, chat(text)).await), "at last");
        assert!(content(&reply(&simulator, chat(text)).await).ends_with(text));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_the_shape_of_openai_s() {
    let simulator = simulator("{ms_per_output_token: 10}");
    let start = Instant::now();
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let streamed = reply(&simulator, chat_with("a text of some length, é", more)).await;
    assert_eq!(header(&streamed, "content-type"), Some("text/event-stream"));
    let body = std::str::from_utf8(streamed.body()).unwrap();
    let events: Vec<&str> = body.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap()).collect();
    assert_eq!(events.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> =
        events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert!(text.ends_with("] a text of some length, é"), "{text}");
    let [.., finish, usage] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 9);
    assert_eq!(start.elapsed(), Duration::from_millis(30 + 90));
}

#[tokio::test(start_paused = true)]
async fn embeddings_are_unit_vectors_that_follow_from_their_text() {
    let simulator = Simulator::new(Scenario::default());
    let embed = |body: Value| send(&simulator, post("/embeddings", &body));
    let two = json_of(&embed(json!({"model": "e", "input": ["a", "b"], "dimensions": 5})).await.unwrap());
    let vector = |reply: &Value, i: usize| -> Vec<f64> {
        reply["data"][i]["embedding"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    let (a, b) = (vector(&two, 0), vector(&two, 1));
    assert!(a.len() == 5 && a != b && (a.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-6);
    let alone = json_of(&embed(json!({"model": "e", "input": "b", "dimensions": 5})).await.unwrap());
    assert_eq!(vector(&alone, 0), b);
    let packed = json_of(&embed(json!({"model": "e", "input": "b", "encoding_format": "base64"})).await.unwrap());
    assert_eq!(packed["data"][0]["embedding"].as_str().unwrap().len(), (8_usize * 4).div_ceil(3) * 4);
}

#[tokio::test(start_paused = true)]
async fn wrong_requests_are_refused_as_openai_does() {
    let simulator = simulator("{keys: [k], models: [m, e]}");
    let error = async |request: HttpRequest| {
        let reply = reply(&simulator, request).await;
        (reply.status().as_u16(), json_of(&reply)["error"]["code"].clone())
    };
    assert_eq!(error(chat("a")).await, (401, json!("invalid_api_key")));
    assert_eq!(error(with_key(chat("a"), "other")).await, (401, json!("invalid_api_key")));
    let unknown = with_key(chat_with("a", json!({"model": "x"})), "k");
    assert_eq!(error(unknown).await, (404, json!("model_not_found")));
    assert_eq!(error(post("/v1/audio/speech", &json!({}))).await, (404, json!("unknown_url")));
    for body in [json!(5), json!({}), json!({"model": "m", "messages": []}), json!({"model": "m", "messages": "hi"})] {
        assert_eq!(error(with_key(post("/chat/completions", &body), "k")).await.0, 400, "{body}");
    }
    let schema = json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {"pattern": "x"}}}});
    assert_eq!(error(with_key(chat_with("a", schema), "k")).await.0, 400);
    assert_eq!(reply(&simulator, with_key(chat("a"), "k")).await.status(), 200);
    let models = Request::get("/v1/models").body(Bytes::new()).unwrap();
    assert_eq!(json_of(&reply(&simulator, models).await)["data"][1]["id"], "e");
}

#[tokio::test(start_paused = true)]
async fn the_statistics_find_what_was_sent_or_paid_twice() {
    let simulator = simulator("script: [{contains: flaky, status: 500, times: 1}]");
    let named = |id: &str, text: &str| {
        let mut request = chat(text);
        request.headers_mut().insert(super::ID_HEADER, id.parse().unwrap());
        request
    };
    for request in [named("row-1", "flaky"), named("row-1", "flaky"), named("row-2", "a"), named("row-2", "a")] {
        reply(&simulator, request).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    reply(&simulator, chat("b")).await;
    let stats = json_of(&reply(&simulator, Request::get("/__sim/stats").body(Bytes::new()).unwrap()).await);
    assert_eq!(stats["by_status"], json!({"200": 4, "500": 1}));
    assert_eq!(stats["ids_by_arrivals"], json!({"1": 1, "2": 2}));
    assert_eq!((&stats["distinct_ids"], &stats["answered_more_than_once"]), (&json!(3), &json!(1)));
    assert_eq!(stats["arrivals_per_second"], json!([4, 0, 1]));
    let one = Request::get("/__sim/stats?id=row-1").body(Bytes::new()).unwrap();
    assert_eq!(json_of(&reply(&simulator, one).await), json!({"arrivals": 2, "answered": 1}));
    reply(&simulator, Request::post("/__sim/reset").body(Bytes::new()).unwrap()).await;
    assert_eq!(simulator.stats(), super::Stats::default());
}

proptest::proptest! {
    #[test]
    fn no_body_panics(body: Vec<u8>, text in "[\\PC\"\\\\{}\\[\\]:,0-9a-z]{0,60}") {
        let simulator = Simulator::new(Scenario::fixed(0.0));
        let bodies = [body, text.clone().into_bytes(), format!("{{\"model\":\"m\",\"messages\":{text}}}").into_bytes()];
        for body in bodies {
            for path in ["/chat/completions", "/embeddings", "/messages"] {
                let request = Request::post(path).header("anthropic-version", "x").body(Bytes::from(body.clone())).unwrap();
                drop(simulator.arrive(Instant::now(), &request));
            }
        }
    }
}
