use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Scenario, SimTransport, Simulator};
use crate::call::transport::{HttpReply, HttpRequest, Transport};
use crate::failure::Failure;

fn post(path: &str, body: &Value) -> HttpRequest {
    Request::post(path).body(Bytes::from(body.to_string())).unwrap()
}

fn chat(text: &str) -> HttpRequest {
    post("/v1/chat/completions", &json!({"model": "m", "messages": [{"role": "user", "content": text}]}))
}

fn content(reply: &HttpReply) -> String {
    let body: Value = serde_json::from_slice(reply.body()).unwrap();
    body["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

fn scenario(yaml: &str) -> Scenario {
    Scenario::from_yaml(yaml).unwrap()
}

async fn send(simulator: &Simulator, request: HttpRequest) -> Result<HttpReply, Failure> {
    SimTransport::to(simulator.clone()).send(request).await
}

#[tokio::test(start_paused = true)]
async fn an_answer_shows_its_prompt_and_takes_its_time() {
    let simulator = Simulator::new(Scenario::default());
    let start = Instant::now();
    let reply = send(&simulator, chat("how high is the tide?")).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(30));
    let text = content(&reply);
    assert!(text.starts_with('[') && text.ends_with("] how high is the tide?"), "{text}");
    let other = content(&send(&simulator, chat("how high is the tide!")).await.unwrap());
    assert_ne!(text[..10], other[..10]);
    assert_eq!(simulator.stats().arrivals, 2);
}
