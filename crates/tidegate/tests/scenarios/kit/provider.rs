//! Several simulated providers behind one transport, told apart by their host, with outages and a log of every call.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use tidegate::call::transport::{HttpReply, HttpRequest, Transport};
use tidegate::sim::{Fault, SimTransport, Stats};
use tidegate::{Failure, Kind};
use tokio::time::Instant;

use super::case::{Case, How, ProviderCase};

/// What became of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Which provider it went to.
    pub(crate) provider: usize,
    /// Which client it came from.
    pub(crate) client: usize,
    /// When it was sent, in seconds since the start.
    pub(crate) at: f64,
    /// How long it took, in seconds.
    pub(crate) took: f64,
    /// The status; 0 without a reply.
    pub(crate) status: u16,
    pub(crate) input_tokens: f64,
    pub(crate) output_tokens: f64,
}

/// The providers of a scenario.
pub(crate) struct Providers {
    each: Vec<(SimTransport, ProviderCase)>,
    start: Instant,
    pub(crate) log: Mutex<Vec<Entry>>,
}

impl Providers {
    pub(crate) fn new(case: &Case) -> Providers {
        let each = case.providers.iter().map(|one| (SimTransport::new(one.is.clone()), one.clone())).collect();
        Providers { each, start: Instant::now(), log: Mutex::default() }
    }

    /// Returns how many calls arrived in all, and how many of them hung by chance.
    pub(crate) fn arrived(&self) -> (u64, u64) {
        let stats = self.each.iter().map(|(transport, _)| transport.simulator().stats());
        let of = |stats: Stats| (stats.arrivals, stats.faults.get(&Fault::Hang).copied().unwrap_or_default());
        stats.map(of).fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1))
    }

    async fn answer(&self, provider: usize, at: f64, request: HttpRequest) -> Result<HttpReply, Failure> {
        let (transport, case) = &self.each[provider];
        let outage = case.down.iter().find(|outage| (outage.from_s..outage.to_s).contains(&at));
        match outage.map(|outage| outage.how) {
            None => {
                let mut reply = transport.send(request).await?;
                hide(&mut reply, &case.without_headers);
                Ok(reply)
            }
            Some(How::Hang) => std::future::pending().await,
            Some(How::Refuse) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Err(Failure::new(Kind::Connect, "connection refused"))
            }
            Some(How::Status500) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let mut reply = HttpReply::new("{}".into());
                *reply.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                Ok(reply)
            }
        }
    }

    async fn exchange(&self, client: usize, request: HttpRequest) -> Result<HttpReply, Failure> {
        let provider = request.uri().host().and_then(|host| host.strip_prefix('p')?.parse().ok()).unwrap();
        let at = self.start.elapsed().as_secs_f64();
        let result = self.answer(provider, at, request).await;
        let status = result.as_ref().map_or(0, |reply| reply.status().as_u16());
        let used = result.as_ref().ok().filter(|_| status == 200).and_then(|reply| tokens(reply.body()));
        let (input_tokens, output_tokens) = used.unwrap_or_default();
        let took = self.start.elapsed().as_secs_f64() - at;
        let entry = Entry { provider, client, at, took, status, input_tokens, output_tokens };
        self.log.lock().unwrap().push(entry);
        result
    }
}

fn hide(reply: &mut HttpReply, names: &[String]) {
    let hidden = |name: &&http::HeaderName| names.iter().any(|part| name.as_str().contains(part.as_str()));
    let hidden: Vec<_> = reply.headers().keys().filter(hidden).cloned().collect();
    hidden.into_iter().for_each(|name| {
        reply.headers_mut().remove(name);
    });
}

/// The way of one client to the providers.
pub(crate) struct Door {
    pub(crate) providers: std::sync::Arc<Providers>,
    pub(crate) client: usize,
}

impl Transport for Door {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpReply, Failure>> {
        Box::pin(self.providers.exchange(self.client, request))
    }
}

#[derive(Deserialize)]
struct Reply {
    usage: Used,
}

#[derive(Deserialize)]
struct Used {
    prompt_tokens: f64,
    completion_tokens: f64,
}

fn tokens(body: &[u8]) -> Option<(f64, f64)> {
    let reply: Reply = serde_json::from_slice(body).ok()?;
    Some((reply.usage.prompt_tokens, reply.usage.completion_tokens))
}
