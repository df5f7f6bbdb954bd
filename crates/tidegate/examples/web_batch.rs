//! A web endpoint that runs a batch: texts in, answers in the same order and statistics out.
//!
//! All handlers share one client, and so its limits, connections and what it has learned. When the browser goes away its
//! handler is dropped, and with that the calls that nobody waits for any more.
//!
//! It asks itself and ends: `cargo run -p tidegate --example web_batch`; with an address it serves until it is stopped:
//!
//! ```sh
//! cargo run -p tidegate --example web_batch -- 127.0.0.1:8080
//! curl -s http://127.0.0.1:8080/batch_process -d '{"texts": ["ebb", "flow"]}' -H 'content-type: application/json'
//! ```

#![expect(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate::sim::Scenario;
use tidegate::{Client, Failure, Limits, Outcome, Request, Target};
use tokio::net::{TcpListener, TcpStream};

/// What is asked of the endpoint.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    texts: Vec<String>,
    #[serde(default = "eight")]
    max_parallel: usize,
}

fn eight() -> usize {
    8
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let here = listener.local_addr()?;
    let app = Router::new().route("/batch_process", post(batch_process)).with_state(client()?);
    let server = async { axum::serve(listener, app).await };
    if address.is_some() {
        println!("listening on http://{here}/batch_process");
        return Ok(server.await?);
    }
    tokio::select! {
        ended = server => Ok(ended?),
        asked = try_out(here) => asked,
    }
}

/// Two models of the simulated provider, which fails now and then.
fn client() -> tidegate::Result<Client> {
    let limits = Limits { concurrency: Some(50), ..Limits::default() };
    Client::builder()
        .target(Target::new("sim/first")?.limits(limits))
        .target(Target::new("sim/second")?.limits(limits))
        .scenario(Scenario::from_yaml("latency: {fixed: {ms: 20}}\nscript: [{contains: forbidden, status: 400}]")?)
        .build()
}

async fn batch_process(State(client): State<Client>, Json(asked): Json<Asked>) -> (StatusCode, Json<Value>) {
    if asked.texts.is_empty() {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "texts must hold at least one text"})));
    }
    let requests = asked.texts.into_iter().map(|text| Request::prompt(format!("Summarise: {text}")).max_tokens(60));
    let run = client.run(requests).max_parallel(asked.max_parallel).timeout(Duration::from_secs(30));
    let batch = run.in_input_order().await;
    let tally = batch.tally();
    let statistics = json!({
        "total": tally.finished(),
        "succeeded": tally.succeeded,
        "failed": tally.failed,
        "success_rate": tally.success_rate(),
        "tokens": tally.usage.total(),
        "cost_usd": tally.known_cost().map(tidegate::Money::usd),
        "p95_ms": tally.latency(95.0).as_secs_f64() * 1e3,
        "seconds": batch.took.as_secs_f64(),
        "models": tally.models,
    });
    let results: Vec<_> = batch.outcomes.iter().map(|(outcome, ())| result(outcome)).collect();
    (StatusCode::OK, Json(json!({"results": results, "statistics": statistics})))
}

fn result(outcome: &Outcome) -> Value {
    let (text, error) = (outcome.text().ok(), outcome.text().err().map(Failure::to_string));
    json!({"index": outcome.index, "text": text, "error": error, "calls": outcome.calls()})
}

/// Asks the endpoint as a browser would.
async fn try_out(server: std::net::SocketAddr) -> Result<(), Box<dyn Error>> {
    let texts: Vec<_> = (0..20).map(|n| if n == 7 { "forbidden".to_owned() } else { format!("text {n}") }).collect();
    let (status, answer) = ask(server, &json!({"texts": texts})).await?;
    println!("{status}: {}", answer["statistics"]);
    let results = answer["results"].as_array().cloned().unwrap_or_default();
    assert_eq!((status, results.len()), (StatusCode::OK, 20));
    for (n, result) in results.iter().enumerate() {
        let text = result["text"].as_str();
        assert!(text.is_none_or(|text| text.ends_with(&format!("text {n}"))), "{result}");
        assert_eq!(text.is_none(), n == 7, "{result}");
    }
    assert_eq!(answer["statistics"]["succeeded"], 19);

    let (status, answer) = ask(server, &json!({"texts": []})).await?;
    println!("{status}: {answer}");
    assert_eq!(status, StatusCode::BAD_REQUEST);
    Ok(())
}

async fn ask(server: std::net::SocketAddr, body: &Value) -> Result<(StatusCode, Value), Box<dyn Error>> {
    let socket = TokioIo::new(TcpStream::connect(server).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(socket).await?;
    let request = hyper::Request::post("/batch_process")
        .header("host", server.to_string())
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))?;
    let exchange = async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        Ok::<_, hyper::Error>((head.status, body.collect().await?.to_bytes()))
    };
    // The connection ends when its sender is gone.
    let (answer, _) = tokio::join!(exchange, connection);
    let (status, body) = answer?;
    Ok((status, serde_json::from_slice(&body)?))
}
