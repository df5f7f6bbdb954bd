//! A web handler that passes a model's answer on as it comes, to a client that hangs up in the middle.
//!
//! Nobody pays for words that nobody reads: when the client goes, the web framework drops the body, the body drops the
//! stream of the answer, and with it the call to the provider ends. Its place is free for the next request, and what it
//! had used stays counted. No task of its own watches for that.
//!
//! Against the simulated provider in this process: `cargo run --example stream_handler`

#![expect(clippy::print_stdout, reason = "the result is what the program is for")]
#![expect(clippy::disallowed_methods, reason = "a web server has a task of its own")]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use futures_util::{StreamExt, future};
use tidegate::sim::{Scenario, SimTransport, Simulator};
use tidegate::{Client, Delta, Failure, Limits, Request, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Answers with the model's words as they come.
async fn answer(State(client): State<Client>, question: String) -> Result<Response, (StatusCode, String)> {
    let mut reply = client.stream(&Request::prompt(question).max_tokens(500));
    // A failure before the first word is an answer of its own; after it the connection can only be cut.
    let first = match reply.next().await {
        Some(Err(failure)) => return Err((StatusCode::BAD_GATEWAY, failure.to_string())),
        first => first,
    };
    let deltas = futures_util::stream::iter(first).chain(reply);
    Ok(Response::new(Body::from_stream(deltas.filter_map(|delta| future::ready(words(delta))))))
}

/// Returns what of a piece is passed on.
fn words(delta: Result<Delta, Failure>) -> Option<Result<Bytes, Failure>> {
    match delta {
        Ok(Delta::Text(text)) => Some(Ok(text.into())),
        Ok(_) => None,
        Err(failure) => Some(Err(failure)),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // A model that needs half a minute for an answer, and lets one client in at a time.
    let simulator = Simulator::new(Scenario::from_yaml("ms_per_output_token: 100\noutput_tokens: 300")?);
    let target = Target::new("sim/slow")?.limits(Limits { concurrency: Some(1), ..Limits::default() });
    let client = Client::builder().target(target).transport(Arc::new(SimTransport::to(simulator.clone()))).build()?;
    let address = serve(client.clone()).await?;

    let mut browser = ask(address, "How high is the tide?").await?;
    println!("the first words: {}", read_some(&mut browser).await?);
    println!("while it reads: {} call at the provider", simulator.stats().in_flight);
    drop(browser);

    // The next one waits for the only place, so an answer to it shows that the place is free.
    let mut next = ask(address, "And now?").await?;
    println!("the next client: {}", read_some(&mut next).await?);
    let (stats, endpoint) = (simulator.stats(), client.snapshot().endpoints.remove(0));
    println!("after the first hung up: {} call given up, {} under way", stats.abandoned, stats.in_flight);
    if (stats.arrivals, stats.abandoned, stats.in_flight, endpoint.in_flight) == (2, 1, 1, 1) {
        return Ok(());
    }
    Err(format!("the call was not given up: {stats:?} {endpoint:?}").into())
}

/// Serves the handler on a free port.
async fn serve(client: Client) -> std::io::Result<SocketAddr> {
    let app = axum::Router::new().route("/", post(answer)).with_state(client);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

/// Asks as a browser would.
async fn ask(address: SocketAddr, question: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let length = question.len();
    let request = format!("POST / HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n{question}");
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

/// Reads until the first words of the answer are there.
async fn read_some(stream: &mut TcpStream) -> Result<String, Box<dyn Error>> {
    let mut read = Vec::new();
    loop {
        let mut piece = [0; 1024];
        let size = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut piece)).await??;
        read.extend_from_slice(&piece[..size]);
        let text = String::from_utf8_lossy(&read);
        // Behind the head, and behind the size of the body's first chunk.
        match text.split_once("\r\n\r\n").and_then(|(_, body)| body.split("\r\n").nth(1)) {
            Some(words) if !words.is_empty() => return Ok(words.to_owned()),
            _ if size == 0 => return Err(format!("no answer: {text}").into()),
            _ => {}
        }
    }
}
