//! One scheme, host and port, with everything that connects to it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Intercept;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::streams::{Grant, Place, Protocol, Streams};
use super::{Http2, h1, h2};
use crate::failure::{Failure, Kind};

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    scheme: Scheme,
    /// Host and port, without the name and password that an address may carry.
    authority: Authority,
}

impl Target {
    /// Reads the address from a request's.
    pub(super) fn of(uri: &Uri) -> Result<Target, Failure> {
        let wrong = || Failure::new(Kind::BadRequest, "the address is not one like https://host/path");
        let scheme = uri.scheme().filter(|scheme| **scheme == Scheme::HTTP || **scheme == Scheme::HTTPS);
        let (Some(scheme), Some(authority)) = (scheme, uri.authority()) else { return Err(wrong()) };
        let authority = match authority.as_str().rsplit_once('@') {
            None => authority.clone(),
            Some((_, bare)) => bare.parse().map_err(|_| wrong())?,
        };
        Ok(Target { scheme: scheme.clone(), authority })
    }

    /// Returns whether a request's address is of this server, as far as a look without a copy tells.
    pub(super) fn is_of(&self, uri: &Uri) -> bool {
        uri.scheme() == Some(&self.scheme)
            && uri.authority().is_some_and(|authority| authority.as_str() == self.authority.as_str())
    }

    /// Returns whether the connection is encrypted.
    pub(super) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Returns the host's name or address, an IPv6 address without its brackets.
    pub(super) fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    /// Returns the port.
    pub(super) fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    /// Returns the whole address of a path on this server.
    pub(super) fn uri(&self, path: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// A server's connections.
pub(super) struct Origin {
    pub(super) target: Target,
    pub(super) host_header: HeaderValue,
    pub(super) proxy: Option<Intercept>,
    idle_timeout: Duration,
    /// The unused HTTP/1.1 connections, the one used last at the back.
    idle: Mutex<VecDeque<(Box<h1::Connection>, Instant)>>,
    streams: Mutex<Streams<h2::Sender>>,
}

impl Origin {
    pub(super) fn new(target: Target, proxy: Option<Intercept>, http2: Http2, idle_timeout: Duration) -> Origin {
        let forwarded = proxy.is_some() && !target.is_https();
        let protocol = match http2 {
            Http2::Auto if target.is_https() => Protocol::Unknown,
            Http2::PriorKnowledge if !forwarded => Protocol::Many,
            _ => Protocol::One,
        };
        let host_header = HeaderValue::from_str(target.authority.as_str());
        Origin {
            host_header: host_header.unwrap_or_else(|_| HeaderValue::from_static("")),
            target,
            proxy,
            idle_timeout,
            idle: Mutex::default(),
            streams: Mutex::new(Streams::new(protocol)),
        }
    }

    /// Returns the proxy that takes this server's requests whole, as plain `http` does.
    pub(super) fn forward_proxy(&self) -> Option<&Intercept> {
        self.proxy.as_ref().filter(|_| !self.target.is_https())
    }

    /// Takes the HTTP/1.1 connection that was used last, with how long it has rested.
    pub(super) fn take_idle(&self, now: Instant) -> Option<(Box<h1::Connection>, Duration)> {
        let (connection, since) = self.idle().pop_back()?;
        let rest = now.duration_since(since);
        if rest > self.idle_timeout {
            // The others have rested longer still.
            drop(std::mem::take(&mut *self.idle()));
            return None;
        }
        Some((connection, rest))
    }

    /// Puts an HTTP/1.1 connection back and closes those unused for too long.
    pub(super) fn put_idle(&self, connection: Box<h1::Connection>, now: Instant) {
        let mut idle = self.idle();
        while idle.front().is_some_and(|(_, since)| now.duration_since(*since) > self.idle_timeout) {
            idle.pop_front();
        }
        idle.push_back((connection, now));
    }

    /// Waits for a stream or for the task to dial.
    ///
    /// # Errors
    ///
    /// The failure of another request's dial, if this one waited for it.
    pub(super) async fn turn(self: &Arc<Origin>, now: Instant) -> Result<Turn, Failure> {
        let turn = {
            let mut streams = self.streams();
            streams.prune(now, self.idle_timeout);
            streams.turn()
        };
        let grant = match turn {
            Ok(grant) => grant,
            Err(receiver) => {
                let mut waiter = Waiter { origin: self.clone(), receiver };
                match (&mut waiter.receiver).await {
                    Ok(grant) => grant,
                    Err(_) => return Err(Failure::new(Kind::Connect, "the pool was closed")),
                }
            }
        };
        match grant {
            Grant::Stream(place) => Ok(Turn::Stream(Lease { origin: self.clone(), place })),
            Grant::Dial => Ok(Turn::Dial(Ticket { origin: self.clone(), open: true })),
            Grant::Failed(failure) => Err(failure),
        }
    }

    /// Gives no more streams of an HTTP/2 connection.
    pub(super) fn retire(&self, id: u64) {
        self.streams().retire(id);
    }

    /// Sets how many streams the server allows on an HTTP/2 connection.
    pub(super) fn set_limit(&self, id: u64, limit: usize) {
        self.streams().set_limit(id, limit);
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<(Box<h1::Connection>, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, Streams<h2::Sender>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request may do.
pub(super) enum Turn {
    /// Use a stream.
    Stream(Lease),
    /// Dial.
    Dial(Ticket),
}

/// A request that waits; a grant that comes too late goes to the next one.
struct Waiter {
    origin: Arc<Origin>,
    receiver: oneshot::Receiver<Grant<h2::Sender>>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.receiver.close();
        match self.receiver.try_recv() {
            Ok(Grant::Stream(place)) => self.origin.streams().release(place.id, Instant::now()),
            Ok(Grant::Dial) => self.origin.streams().dial_dropped(),
            Ok(Grant::Failed(_)) | Err(_) => {}
        }
    }
}

/// A stream in use; dropping it frees the stream.
pub(super) struct Lease {
    origin: Arc<Origin>,
    place: Place<h2::Sender>,
}

impl Lease {
    /// Returns a handle that opens the stream.
    pub(super) fn sender(&self) -> h2::Sender {
        self.place.connection.clone()
    }

    /// Returns the server's address.
    pub(super) fn target(&self) -> &Target {
        &self.origin.target
    }

    /// Keeps other requests off this connection.
    pub(super) fn retire(&self) {
        self.origin.retire(self.place.id);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.origin.streams().release(self.place.id, Instant::now());
    }
}

/// The task to dial; dropping it has another request dial.
pub(super) struct Ticket {
    origin: Arc<Origin>,
    open: bool,
}

impl Ticket {
    /// Says that an HTTP/1.1 connection was made.
    pub(super) fn one(mut self) {
        self.open = false;
        self.origin.streams().dialed_one();
    }

    /// Shares a new HTTP/2 connection and returns the first stream on it.
    pub(super) fn many(mut self, opened: Box<h2::Opened>) -> Lease {
        self.open = false;
        let origin = self.origin.clone();
        let h2::Opened { sender, driver, limit } = *opened;
        let place = origin.streams().dialed_many(sender, limit, Instant::now());
        h2::spawn_driver(driver, Arc::downgrade(&origin), place.id);
        Lease { origin, place }
    }

    /// Says that the dial failed.
    pub(super) fn failed(mut self, failure: &Failure) {
        self.open = false;
        self.origin.streams().dial_failed(failure);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            self.origin.streams().dial_dropped();
        }
    }
}
