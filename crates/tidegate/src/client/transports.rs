//! What carries the requests of one client: one pool of sockets and one simulated provider, shared by all targets.

use std::sync::Arc;

use super::spot::Spot;
use super::target::Place;
use super::{ClientBuilder, Target};
use crate::call::own::Own;
use crate::call::pool::Pool;
use crate::call::provider::Reach;
use crate::call::transport::Transport;
use crate::call::{Caller, HttpCaller, HttpTarget};
use crate::error::{Error, Result};
use crate::sim::SimTransport;

/// The transports of one client: one pool, one simulated provider, shared by all targets.
pub(super) struct Transports {
    pub(super) network: Arc<dyn Transport>,
    simulated: Arc<dyn Transport>,
    /// The user's own callers, each once.
    own: Vec<Arc<Own>>,
    dry: bool,
}

impl Transports {
    pub(super) fn new(builder: &ClientBuilder) -> Transports {
        let (own, dry) = (Vec::new(), builder.dry_run);
        let simulated = || Arc::new(SimTransport::new(builder.scenario.clone()));
        match &builder.transport {
            _ if dry => Transports { network: simulated(), simulated: simulated(), own, dry },
            Some(given) => Transports { network: given.clone(), simulated: given.clone(), own, dry },
            None => Transports { network: Arc::new(Pool::new(builder.pool.clone())), simulated: simulated(), own, dry },
        }
    }

    fn own(&mut self, caller: &Arc<dyn Caller>) -> Arc<Own> {
        if let Some(known) = self.own.iter().find(|own| own.is(caller)) {
            return known.clone();
        }
        let own = Arc::new(Own::new(caller.clone(), self.dry));
        self.own.push(own.clone());
        own
    }

    pub(super) fn caller(&mut self, target: &Target, spot: Spot) -> Result<Arc<dyn Caller>> {
        let (provider, api_version) = match &target.place {
            Place::Caller(caller) => return Ok(self.own(caller)),
            Place::Provider { provider, api_version, .. } => (provider, api_version),
        };
        // A simulated provider with an address of its own is one that runs in another process.
        let transport = match provider.reach {
            Reach::Simulated if spot.base_url == provider.base_url => &self.simulated,
            _ => &self.network,
        };
        let caller = HttpCaller::new(HttpTarget {
            provider,
            base_url: &spot.base_url,
            api_version: api_version.as_deref(),
            model: &spot.model,
            vertex: target.vertex.as_ref(),
            context_cache: target.context_cache,
            prompt_cache: target.prompt_cache,
            headers: target.headers.clone(),
            identity: spot.identity,
            source: target.source.clone().map(|source| (source, spot.number)),
            transport: transport.clone(),
        });
        Ok(Arc::new(caller.map_err(|message| Error::Usage(format!("{}: {message}", target.name)))?))
    }
}
