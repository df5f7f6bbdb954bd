//! One message to the collector, over our own connections, and again where OTLP says that this may help.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use prost::Message;
use tidegate::call::pool::{Pool, PoolOptions, ProxyRules};
use tidegate::call::transport::Transport;
use tokio_util::sync::CancellationToken;

use super::config::Place;
use crate::run::proxies;

/// How often a message is sent before it is given up, and the pause after the first time, which doubles.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// What speaks with the collector.
pub(super) struct Poster {
    pool: Pool,
    timeout: Duration,
    /// Once this is over nothing is sent again.
    stop: CancellationToken,
}

/// Why a message was not taken.
struct Refused {
    why: String,
    /// Whether it may be taken another time.
    passing: bool,
}

impl Poster {
    pub(super) fn new(timeout: Duration, stop: CancellationToken) -> tidegate::Result<Poster> {
        let options = PoolOptions { proxy: ProxyRules::new(&proxies())?, ..PoolOptions::default() };
        Ok(Poster { pool: Pool::new(options), timeout, stop })
    }

    /// Sends a message until it is taken, and returns the reply.
    ///
    /// # Errors
    ///
    /// Why it was not taken, without what the collector said: it may quote what it was sent.
    pub(super) async fn deliver(&self, place: &Place, message: &impl Message) -> Result<Bytes, String> {
        let body = message.encode_to_vec();
        let body = Bytes::from(if place.gzip { packed(&body) } else { body });
        let (mut tries, mut pause) = (1, PAUSE);
        loop {
            let refused = match self.send(place, body.clone()).await {
                Ok(reply) => return Ok(reply),
                Err(refused) => refused,
            };
            if !refused.passing || tries == TRIES || self.stop.is_cancelled() {
                return Err(refused.why);
            }
            // At the end there is no time to wait, but for one more try.
            let _ = tokio::time::timeout(pause, self.stop.cancelled()).await;
            (tries, pause) = (tries + 1, pause * 2);
        }
    }

    async fn send(&self, place: &Place, body: Bytes) -> Result<Bytes, Refused> {
        let passing = |why: String| Refused { why, passing: true };
        let mut request = Request::post(&place.url).body(body).map_err(|error| passing(error.to_string()))?;
        request.headers_mut().extend(place.headers.clone());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let agent = HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        if place.gzip {
            request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let reply = tokio::time::timeout(self.timeout, self.pool.send(request)).await;
        let reply = reply.map_err(|_| passing(format!("no reply within {} s", self.timeout.as_secs_f64())))?;
        let reply = reply.map_err(|failure| passing(failure.message))?;
        let again = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        match reply.status() {
            status if status.is_success() => Ok(reply.into_body()),
            status => Err(Refused { why: format!("HTTP {}", status.as_u16()), passing: again.contains(&status) }),
        }
    }
}

fn packed(body: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    // Reading memory into memory cannot fail.
    let _ = GzEncoder::new(body, Compression::default()).read_to_end(&mut packed);
    packed
}
