//! From a host's name to a TCP connection.
//!
//! A lookup takes a thread, so a thousand connections that start at once share one, and its answer is used for a
//! moment longer. Of several addresses the first is tried alone for a moment, then the next one beside it, and so on: a
//! host with a dead IPv6 route costs a quarter of a second instead of the whole connect time-out.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, Shared};
use futures_util::stream::{FuturesUnordered, StreamExt};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// How long an answer is used: long enough for a burst of connections, short enough to follow a provider's changes.
const LIFE: Duration = Duration::from_secs(5);
/// How long an address is tried before the next one is tried beside it (RFC 8305, section 8).
const HEAD_START: Duration = Duration::from_millis(250);

/// How long a connection may be silent before it is probed: many routers forget one after five minutes, and a model may
/// think for longer than that.
const SILENCE: Duration = Duration::from_secs(60);
/// How long after one unanswered probe the next is sent.
const BETWEEN_PROBES: Duration = Duration::from_secs(15);

type Lookup = Shared<BoxFuture<'static, Result<Arc<[IpAddr]>, Arc<io::Error>>>>;

/// Looks names up, each once for all who ask at about the same time.
#[derive(Default)]
pub(super) struct Resolver {
    lookups: Mutex<HashMap<String, (Instant, Lookup)>>,
}

impl Resolver {
    /// Returns the addresses of a host.
    pub(super) async fn resolve(&self, host: &str) -> Result<Arc<[IpAddr]>, Arc<io::Error>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Arc::from([address]));
        }
        let lookup = self.lookup(host);
        let answer = lookup.clone().await;
        if answer.is_err() {
            self.forget(host, &lookup);
        }
        answer
    }

    fn lookup(&self, host: &str) -> Lookup {
        let now = Instant::now();
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, lookup)) = lookups.get(host)
            && now.duration_since(*since) < LIFE
        {
            return lookup.clone();
        }
        let lookup = look_up(host.to_owned()).boxed().shared();
        lookups.insert(host.to_owned(), (now, lookup.clone()));
        lookup
    }

    /// Forgets a failed lookup, unless somebody has started another one.
    fn forget(&self, host: &str, failed: &Lookup) {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        if lookups.get(host).is_some_and(|(_, lookup)| lookup.ptr_eq(failed)) {
            lookups.remove(host);
        }
    }
}

async fn look_up(host: String) -> Result<Arc<[IpAddr]>, Arc<io::Error>> {
    let found = tokio::net::lookup_host((host.as_str(), 0)).await.map_err(Arc::new)?;
    Ok(found.map(|address| address.ip()).collect())
}

/// Connects to the first of these addresses that answers.
pub(super) async fn connect(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut untried = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if let Some(address) = untried.next() {
            attempts.push(TcpStream::connect(SocketAddr::new(*address, port)));
        }
        let patience = if untried.as_slice().is_empty() { Duration::MAX } else { HEAD_START };
        match timeout(patience, attempts.next()).await {
            Ok(Some(Ok(stream))) => {
                // Requests are small and written whole; waiting for more would only delay them.
                stream.set_nodelay(true)?;
                let probes = TcpKeepalive::new().with_time(SILENCE).with_interval(BETWEEN_PROBES);
                SockRef::from(&stream).set_tcp_keepalive(&probes)?;
                return Ok(stream);
            }
            Ok(Some(Err(error))) => last = error,
            Ok(None) => return Err(last),
            Err(_) => {}
        }
    }
}
