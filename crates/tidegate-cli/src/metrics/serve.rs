//! The address at which a run's numbers are read.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate::Error;
use tokio::net::{TcpListener, TcpStream};

use super::family::{Family, json, text};

/// What returns the numbers of the moment at which somebody asks.
pub(crate) trait Source: Fn() -> Vec<Family> + Clone + Send + 'static {}
impl<F: Fn() -> Vec<Family> + Clone + Send + 'static> Source for F {}

/// Time in which a client must have said what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes the address.
///
/// # Errors
///
/// [`Error::Usage`] if it cannot be listened on.
pub(crate) async fn listen(address: SocketAddr) -> tidegate::Result<TcpListener> {
    let failed = |error| Error::Usage(format!("--metrics-listen: cannot listen on {address}: {error}"));
    TcpListener::bind(address).await.map_err(failed)
}

/// Answers whoever asks, for ever.
#[expect(clippy::disallowed_methods, reason = "a server has a task for each connection")]
pub(crate) async fn serve(listener: TcpListener, families: impl Source) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => drop(tokio::spawn(connection(tcp, families.clone()))),
            // No more descriptors, mostly: some will be free soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn connection(tcp: TcpStream, families: impl Source) {
    let service = service_fn(move |request| {
        let answer = answer(&request, &families);
        async { Ok::<_, Infallible>(answer) }
    });
    let mut builder = http1::Builder::new();
    // Clients may leave at any time.
    let _ = builder
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(tcp), service)
        .await;
}

fn answer<B>(request: &Request<B>, families: &impl Source) -> Response<Full<Bytes>> {
    let reply = |status, kind: &'static str, body: String| {
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
        response
    };
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            reply(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text(&families()))
        }
        (&Method::GET | &Method::HEAD, "/metrics.json") => {
            reply(StatusCode::OK, "application/json", format!("{}\n", json(&families())))
        }
        (&Method::GET | &Method::HEAD, _) => {
            reply(StatusCode::NOT_FOUND, "text/plain", "there are /metrics and /metrics.json\n".to_owned())
        }
        _ => reply(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned()),
    }
}
