//! What a client would ask: its regions, and the ways to a model from each.

use std::sync::Arc;

use serde::Serialize;

use super::spot::spots;
use super::{Client, Target};
use crate::call::transport::Transport;
use crate::catalog::bedrock::{self, Access};
use crate::dispatch::tried::RetryStats;
use crate::failure::Failure;

/// What a client was made of.
pub(super) struct About {
    pub(super) targets: Vec<Target>,
    pub(super) network: Arc<dyn Transport>,
}

/// How a model is reached from a region.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AccessInfo {
    /// The model as the user named it.
    pub model: Arc<str>,
    /// The region.
    pub region: Arc<str>,
    /// The ways, the preferred first; several accounts have ways of their own.
    pub ways: Vec<Way>,
}

/// One way to a model, which is an endpoint of the client's.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Way {
    /// The endpoint's name in records.
    pub endpoint: Arc<str>,
    /// What kind of way it is.
    pub access: Access,
    /// The id that is asked: the model's, or the inference profile's.
    pub id: String,
    /// Where requests may be served, for people to read.
    pub served_in: String,
    /// The account's label, if it has one.
    pub account: Option<Arc<str>>,
    /// Why it is out of service, if it is: such as that the reply demanded a profile.
    pub aside: Option<Failure>,
}

impl Client {
    /// Returns the regions that are asked, each once, in alphabetical order; none where nothing of Bedrock's is.
    #[must_use]
    pub fn regions(&self) -> Vec<Arc<str>> {
        let listed = self.about.targets.iter().filter_map(|target| target.bedrock.as_ref());
        let mut regions: Vec<Arc<str>> =
            listed.flat_map(|bedrock| &bedrock.regions).map(|name| (**name).into()).collect();
        regions.sort();
        regions.dedup();
        regions
    }

    /// Returns how a model is reached from a region, as it stands now; nothing if the client has no such model or region.
    ///
    /// ```
    /// use tidegate::{Bedrock, Client, Target};
    /// let regions = vec!["eu-west-1".to_owned()];
    /// let target = Target::new("bedrock/Nova Lite")?.bedrock(Bedrock { regions, ..Bedrock::default() });
    /// let client = Client::builder().target(target).build()?;
    /// let info = client.access_info(&client.models()[0], "eu-west-1").unwrap();
    /// let ids: Vec<_> = info.ways.iter().map(|way| &*way.id).collect();
    /// assert_eq!(ids, ["amazon.nova-lite-v1:0", "eu.amazon.nova-lite-v1:0"]);
    /// # Ok::<(), tidegate::Error>(())
    /// ```
    #[must_use]
    pub fn access_info(&self, model: &str, region: &str) -> Option<AccessInfo> {
        let target = self.about.targets.iter().find(|target| *target.name == *model)?;
        let mut spots = spots(target).ok()?;
        spots.sort_by_key(|spot| spot.rank);
        let now = self.snapshot().endpoints;
        let way = |spot: super::Spot| {
            let at = spot.at.filter(|at| *at.region == *region)?;
            let aside = now.iter().find(|endpoint| *endpoint.name == *spot.name).and_then(|found| found.aside.clone());
            let served_in = bedrock::served_in(&at.way, region);
            Some(Way {
                endpoint: spot.name,
                access: at.way.access,
                id: at.way.id,
                served_in,
                account: at.account,
                aside,
            })
        };
        let ways: Vec<Way> = spots.into_iter().filter_map(way).collect();
        let (model, region) = (target.name.clone(), region.into());
        (!ways.is_empty()).then_some(AccessInfo { model, region, ways })
    }

    /// Returns how often requests of this client were tried again so far, and after what. Snapshots count the calls.
    #[must_use]
    pub fn retry_stats(&self) -> RetryStats {
        self.dispatcher.tried.stats()
    }
}
