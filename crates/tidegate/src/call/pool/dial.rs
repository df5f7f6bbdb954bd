//! A new connection: name, TCP, proxy, TLS and the choice of HTTP version, together within the connect time-out.

use std::time::Duration;

use hyper_util::client::proxy::matcher::Intercept;
use tokio::time::timeout;

use super::origin::Origin;
use super::resolve::{self, Resolver};
use super::stream::Stream;
use super::tls::{Peer, Tls};
use super::{Http2, PoolOptions, ProxyRules, h1, h2, proxy};
use crate::failure::{Failure, Kind};

/// What the operating system calls "too many open files".
const EMFILE: i32 = if cfg!(windows) { 10024 } else { 24 };

/// Makes connections.
pub(super) struct Dialer {
    connect_timeout: Duration,
    http2: Http2,
    proxies: ProxyRules,
    tls: Tls,
    resolver: Resolver,
}

/// A new connection.
pub(super) enum Dialed {
    /// Over HTTP/1.1.
    One(Box<h1::Connection>),
    /// Over HTTP/2.
    Many(Box<h2::Opened>),
}

impl Dialer {
    pub(super) fn new(options: PoolOptions) -> Dialer {
        let PoolOptions { connect_timeout, http2, proxy, roots, .. } = options;
        Dialer { connect_timeout, http2, proxies: proxy, tls: Tls::new(roots, http2), resolver: Resolver::default() }
    }

    /// Returns when to speak HTTP/2.
    pub(super) fn http2(&self) -> Http2 {
        self.http2
    }

    /// Returns the proxy for that address.
    pub(super) fn proxy(&self, uri: &http::Uri) -> Option<Intercept> {
        self.proxies.proxy(uri)
    }

    /// Connects to a server.
    ///
    /// # Errors
    ///
    /// [`Kind::Connect`], naming the host and the cause.
    pub(super) async fn dial(&self, origin: &Origin) -> Result<Dialed, Failure> {
        // Boxed, because a request in flight would otherwise hold the room for a whole TLS handshake.
        let message = match timeout(self.connect_timeout, Box::pin(self.open(origin))).await {
            Ok(Ok(dialed)) => return Ok(dialed),
            Ok(Err(message)) => message,
            Err(_) => format!("no connection to {} within {:?}", origin.target.host(), self.connect_timeout),
        };
        Err(Failure::new(Kind::Connect, message))
    }

    async fn open(&self, origin: &Origin) -> Result<Dialed, String> {
        let target = &origin.target;
        let host = target.host();
        let mut stream = match &origin.proxy {
            None => self.tcp(host, target.port()).await?,
            Some(proxy) => self.through(proxy, origin).await?,
        };
        let mut many = self.http2 == Http2::PriorKnowledge && origin.forward_proxy().is_none();
        if target.is_https() {
            let agreed;
            (stream, agreed) =
                self.tls.connect(stream, host, Peer::Server).await.map_err(|e| format!("{host}: {e}"))?;
            many |= agreed;
        }
        if many {
            let opened = h2::handshake(stream).await.map_err(|e| format!("{host}: no HTTP/2: {e}"))?;
            return Ok(Dialed::Many(opened));
        }
        Ok(Dialed::One(Box::new(h1::Connection::new(stream))))
    }

    /// Connects to a proxy, and through it to the server if the requests are encrypted.
    async fn through(&self, proxy: &Intercept, origin: &Origin) -> Result<Stream, String> {
        let uri = proxy.uri();
        let https = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let failed = |error: String| format!("proxy {host}: {error}");
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let mut stream = self.tcp(host, port).await.map_err(|error| format!("proxy: {error}"))?;
        if https {
            (stream, _) = self.tls.connect(stream, host, Peer::Proxy).await.map_err(failed)?;
        }
        let target = &origin.target;
        if target.is_https() {
            let login = proxy.basic_auth();
            proxy::tunnel(&mut stream, target.host(), target.port(), login).await.map_err(failed)?;
        }
        Ok(stream)
    }

    async fn tcp(&self, host: &str, port: u16) -> Result<Stream, String> {
        let addresses = self.resolver.resolve(host).await.map_err(|e| format!("cannot find the host {host}: {e}"))?;
        match resolve::connect(&addresses, port).await {
            Ok(stream) => Ok(Stream::Plain(stream)),
            Err(error) if error.raw_os_error() == Some(EMFILE) => Err(format!(
                "cannot connect to {host}:{port}: too many open files; raise the limit (ulimit -n) or lower the concurrency"
            )),
            Err(error) => Err(format!("cannot connect to {host}:{port}: {error}")),
        }
    }
}
