//! Where the requests of a target go: one spot for each key, or for each region, account and way that Bedrock has.
//!
//! Every spot becomes an endpoint with limits, health and a price of its own. Their order is that of failover: the target's
//! place in the user's list, then the region's, then that of the way, unless the user wants regions first.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::target::Place;
use super::{ClientBuilder, Target};
use crate::call::auth::Identity;
use crate::call::aws::Account;
use crate::catalog;
use crate::catalog::bedrock::{self, Access, Preference, Reach};
use crate::catalog::inventory::Inventories;
use crate::error::{Error, Result};
use crate::money::Price;

/// Where a model of Bedrock is asked, and in whose name.
///
/// ```
/// use tidegate::{Bedrock, Target};
/// let regions = ["us-east-1", "eu-west-1"].map(str::to_owned).to_vec();
/// let target = Target::new("bedrock/Claude 3 Haiku")?.bedrock(Bedrock { regions, ..Bedrock::default() });
/// # let _ = target;
/// # Ok::<(), tidegate::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Bedrock {
    /// The regions, the preferred first.
    pub regions: Vec<String>,
    /// The accounts that requests are signed for; without one only keys are sent, if there are any.
    pub accounts: Vec<Account>,
    /// Which ways to the model are preferred, and which allowed.
    pub preference: Preference,
    /// The share of requests that goes through the global profile, 0 to 1; default: it is the last resort.
    pub global_fraction: Option<f64>,
    /// How regions follow each other.
    pub region_order: RegionOrder,
    /// What the accounts were found to have; default: what the bundled table says. See [`Bedrock::refresh`].
    pub found: Inventories,
}

impl Bedrock {
    pub(super) fn shuffles(&self) -> bool {
        self.region_order == RegionOrder::Shuffle
    }
}

/// How the regions of a Bedrock model follow each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegionOrder {
    /// As they are listed: the next where the one before cannot be used.
    #[default]
    Fixed,
    /// In turn.
    Rotate,
    /// By chance, anew for each request.
    Shuffle,
}

/// One endpoint to be.
pub(super) struct Spot {
    pub(super) name: Arc<str>,
    /// The model's id at the provider.
    pub(super) model: String,
    pub(super) base_url: String,
    pub(super) identity: Identity,
    /// Which of the target's keys it is.
    pub(super) number: usize,
    pub(super) price: Option<Price>,
    /// The region, and the way from there, where there are such.
    pub(super) at: Option<At>,
    /// The region's place, and that of the way; spots with the same take turns.
    pub(super) rank: (usize, usize),
    /// The share of the requests that some of the spots get, and whether this is one of them.
    pub(super) share: Option<(f64, bool)>,
}

/// Where on Bedrock a spot is.
pub(super) struct At {
    pub(super) region: Arc<str>,
    pub(super) way: Reach,
    /// The account's label.
    pub(super) account: Option<Arc<str>>,
}

impl Spot {
    /// Returns its region, where there are several.
    pub(super) fn region(&self) -> Option<&Arc<str>> {
        self.at.as_ref().map(|at| &at.region)
    }

    /// Returns what tells its key from another: endpoints with the same are put aside together.
    pub(super) fn key(&self) -> String {
        let secret = match &self.identity {
            Identity::Nobody => String::new(),
            Identity::Key(secret) => secret.expose_secret().to_owned(),
            // A region that an account has not opened refuses what others accept.
            Identity::Aws(account, region) => format!("{} {region}", account.number()),
            Identity::Google(account) => account.number(),
        };
        format!("{} {secret}", self.base_url)
    }
}

/// Returns where a target's requests may go.
///
/// # Errors
///
/// [`Error::Usage`] where a region of Bedrock's can't serve the model, or what is asked for contradicts itself.
pub(super) fn spots(target: &Target) -> Result<Vec<Spot>> {
    match (&target.bedrock, &target.place) {
        (Some(bedrock), Place::Provider { model, base_url, .. }) => {
            Regional { target, bedrock, model, base_url }.spots()
        }
        _ => Ok(by_key(target)),
    }
}

fn by_key(target: &Target) -> Vec<Spot> {
    let (model, base_url) = match &target.place {
        Place::Provider { model, base_url, .. } => (model.as_str(), base_url.as_str()),
        Place::Caller(_) => ("", &*target.name),
    };
    let spot = |(number, identity)| Spot {
        name: if number == 0 { target.name.clone() } else { format!("{}#{}", target.name, number + 1).into() },
        model: model.to_owned(),
        base_url: base_url.to_owned(),
        identity,
        number,
        price: target.price_of(model),
        at: None,
        rank: (0, 0),
        share: None,
    };
    let account = target.vertex.as_ref().and_then(|vertex| vertex.account.clone());
    match account.filter(|_| target.keys.is_empty()) {
        Some(account) => vec![spot((0, Identity::Google(account)))],
        None => keys(&target.keys).enumerate().map(spot).collect(),
    }
}

fn keys(keys: &[SecretString]) -> impl Iterator<Item = Identity> {
    let nobody = keys.is_empty().then_some(Identity::Nobody);
    keys.iter().cloned().map(Identity::Key).chain(nobody)
}

/// A target of Bedrock's.
struct Regional<'a> {
    target: &'a Target,
    bedrock: &'a Bedrock,
    model: &'a str,
    base_url: &'a str,
}

impl Regional<'_> {
    fn spots(&self) -> Result<Vec<Spot>> {
        self.check()?;
        let mut spots = Vec::new();
        for (place, region) in self.bedrock.regions.iter().enumerate() {
            for (number, who) in self.identities(region).into_iter().enumerate() {
                let ways = self.ways(region, &who)?;
                let spot = |(turn, way)| self.spot((place, region), (turn, way), number, who.clone());
                spots.extend(ways.iter().enumerate().map(spot));
            }
        }
        Ok(spots)
    }

    /// Returns the ways to the model from a region, in somebody's name.
    fn ways(&self, region: &str, who: &Identity) -> Result<Vec<Reach>> {
        let account = who.account().and_then(Account::label);
        let ways = self.bedrock.found.routes(account, self.model, region, self.bedrock.preference)?;
        if ways.is_empty() {
            return Err(self.unserved(region));
        }
        let shared = self.bedrock.global_fraction.is_some_and(|share| share > 0.0);
        match shared && !ways.iter().any(|way| way.access == Access::Global) {
            true => Err(Error::Usage(format!("{}: it has no global profile to take a share", self.target.name))),
            false => Ok(ways),
        }
    }

    fn check(&self) -> Result<()> {
        let Bedrock { regions, preference, global_fraction, .. } = self.bedrock;
        let wrong = |message: &str| Err(Error::Usage(format!("{}: {message}", self.target.name)));
        if regions.is_empty() {
            return wrong("name at least one region of Bedrock's, such as us-east-1");
        }
        match global_fraction {
            Some(share) if !(0.0..=1.0).contains(share) => wrong("the global fraction is a number from 0 to 1"),
            Some(share) if *share > 0.0 && !preference.allow_global => {
                wrong("a global fraction takes data out of the regions' geographies; allow it with --allow-global")
            }
            _ => Ok(()),
        }
    }

    fn unserved(&self, region: &str) -> Error {
        let advice = match self.bedrock.preference.allow_global {
            true => "choose another region",
            false => "choose another region, or allow data to leave its geography with --allow-global",
        };
        Error::Usage(format!("{}: nothing in the geography of {region} serves it; {advice}", self.target.name))
    }

    /// Returns in whose name a region is asked: the accounts', or else the keys'.
    fn identities(&self, region: &str) -> Vec<Identity> {
        let signed = |account: &Account| Identity::Aws(account.clone(), region.to_owned());
        match self.bedrock.accounts.as_slice() {
            [] => keys(&self.target.keys).collect(),
            accounts => accounts.iter().map(signed).collect(),
        }
    }

    fn spot(&self, (place, region): (usize, &str), (turn, way): (usize, &Reach), number: usize, who: Identity) -> Spot {
        let label = match &who {
            Identity::Aws(account, _) => account.label().map(|label| format!("#{label}")),
            _ if number > 0 => Some(format!("#{}", number + 1)),
            _ => None,
        };
        let account = who.account().and_then(Account::label).map(Arc::from);
        let provider = self.target.name.split_once('/').map_or("bedrock", |(provider, _)| provider);
        let place = if self.bedrock.region_order == RegionOrder::Fixed { place } else { 0 };
        Spot {
            name: format!("{provider}/{}@{region}{}", way.id, label.unwrap_or_default()).into(),
            model: way.id.clone(),
            base_url: bedrock::address(self.base_url, region),
            identity: who,
            number,
            price: self.target.price_of(&way.id),
            at: Some(At { region: region.into(), way: way.clone(), account }),
            rank: (place, turn),
            share: self.bedrock.global_fraction.map(|share| (share, way.access == Access::Global)),
        }
    }
}

impl Target {
    /// Returns what a model's tokens cost under the id that is asked: profiles may have prices of their own.
    fn price_of(&self, id: &str) -> Option<Price> {
        let listed = || catalog::find("bedrock", id).and_then(|facts| facts.price);
        match self.stated_price || self.bedrock.is_none() {
            true => self.price,
            false => listed().or(self.price),
        }
    }
}

impl ClientBuilder {
    /// Returns each spot's place in the order of failover; spots with the same place take turns.
    pub(super) fn orders(&self, spots: &[(usize, &Target, Spot)]) -> Vec<usize> {
        let rank = |(target, _, spot): &(usize, &Target, Spot)| {
            let (region, way) = spot.rank;
            // Which of its regions a request asks first is whose turn it is.
            let region = if self.regions_per_request.is_some() { 0 } else { region };
            if self.regions_first { (region, *target, way) } else { (*target, region, way) }
        };
        let known: BTreeMap<_, ()> = spots.iter().map(|spot| (rank(spot), ())).collect();
        spots.iter().map(|spot| known.range(..rank(spot)).count()).collect()
    }
}
