//! The simulated provider over real HTTP, in this process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tidegate::sim::{Act, Scenario, Simulator};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::place::{ACCOUNT, KEY, Place};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Starts a provider that has the place's models and knows the suite's keys; it lives as long as the runtime.
pub(crate) async fn start(scenario: &str, place: &Place) -> SocketAddr {
    // Bedrock's are served through profiles too.
    let models = format!("models: ['{0}', 'us.{0}', '{1}']", place.model, place.embedding);
    let keys = format!("keys: ['{KEY}', '{}:{}']", ACCOUNT.0, ACCOUNT.1);
    let common = format!("latency: {{fixed: {{ms: 0}}}}\nreject_ms: 0\n{keys}\n{models}\n{scenario}");
    let simulator = Simulator::new(Scenario::from_yaml(&common).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let simulator = simulator.clone();
            spawn(async move {
                let service = service_fn(|request| answer(simulator.clone(), request));
                // Clients may leave at any time.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

#[expect(clippy::disallowed_methods, reason = "a server runs beside the test")]
fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work);
}

async fn answer(simulator: Simulator, request: http::Request<Incoming>) -> hyper::Result<http::Response<Body>> {
    let (head, body) = request.into_parts();
    let request = http::Request::from_parts(head, body.collect().await?.to_bytes());
    let plan = simulator.arrive(Instant::now(), &request);
    sleep(plan.delay).await;
    Ok(match plan.act {
        Act::Reply(reply) => reply.map(|body| Full::new(body).boxed_unsync()),
        Act::Pieces { head, pieces, .. } => head.map(|()| {
            let frames = stream::iter(pieces).then(|piece| async move {
                sleep(piece.gap).await;
                Ok(Frame::data(piece.bytes))
            });
            StreamBody::new(frames).boxed_unsync()
        }),
        // No behaviour of this suite breaks connections.
        act => panic!("{act:?}"),
    })
}
