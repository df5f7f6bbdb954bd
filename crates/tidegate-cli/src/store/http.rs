//! The object store client's HTTP over our own connection pool, so that there is one transport and one TLS in the program.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use tidegate::call::pool::Pool;
use tidegate::call::transport::{BodyStream, Transport};
use tidegate::{Failure, Kind};

/// How long a reply's head, and each part of its body, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends what the object store client asks for.
#[derive(Debug, Clone)]
pub(super) struct Connector(pub(super) Arc<Pool>);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait::async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let reply = patiently(self.0.open(http::Request::from_parts(head, body))).await.map_err(wrong)?;
        let (head, body) = reply.into_parts();
        // No reply is larger than the part that was asked for; one that breaks off is asked for again as a whole.
        let body = whole(body).await.map_err(wrong)?;
        Ok(HttpResponse::from_parts(head, HttpResponseBody::from(body)))
    }
}

/// Waits for something that a server may never do.
pub(super) async fn patiently<T>(doing: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let silent = |_| Err(Failure::new(Kind::Timeout, format!("nothing came for {} s", PATIENCE.as_secs())));
    tokio::time::timeout(PATIENCE, doing).await.unwrap_or_else(silent)
}

/// Reads a whole body, as long as something comes of it.
pub(super) async fn whole(mut body: BodyStream) -> Result<Bytes, Failure> {
    let mut bytes = BytesMut::new();
    while let Some(part) = patiently(async { Ok(body.next().await) }).await? {
        bytes.extend_from_slice(&part?);
    }
    Ok(bytes.freeze())
}

fn wrong(failure: Failure) -> HttpError {
    let kind = match failure.kind {
        Kind::Connect => HttpErrorKind::Connect,
        Kind::Timeout => HttpErrorKind::Timeout,
        Kind::Cut => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, std::io::Error::other(failure.message))
}
