//! Whether a client could work, found out without sending a prompt: what `tidegate check` shows.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::spot::{Bedrock, spots};
use super::target::Place;
use super::transports::Transports;
use super::{Client, ClientBuilder, Target};
use crate::call::aws::Account;
use crate::call::provider::{Auth, KeyRule};
use crate::call::transport::Transport;
use crate::catalog;
use crate::catalog::bedrock::{self, Reach};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Validation {
    /// What makes it impossible to work.
    pub errors: Vec<String>,
    /// What may go wrong.
    pub warnings: Vec<String>,
    /// How many endpoints there are: models by regions, accounts and ways, or by keys.
    pub combinations: usize,
    /// The models, in the user's order.
    pub models: Vec<CheckedModel>,
    /// The AWS accounts, each once.
    pub accounts: Vec<CheckedAccount>,
}

/// A model, and where it would be asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CheckedModel {
    /// The model as the user named it.
    pub model: Arc<str>,
    /// How requests prove who asks.
    pub key: String,
    /// The regions, where it has any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<CheckedRegion>,
}

/// The ways to a model from a region.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CheckedRegion {
    /// The region.
    pub region: String,
    /// The ways, the preferred first.
    pub ways: Vec<Reach>,
    /// Where requests on each may be served.
    pub served_in: Vec<String>,
}

/// An AWS account.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CheckedAccount {
    /// Its label, or `default`.
    pub account: String,
    /// Whose credentials were found, or that there are none.
    pub status: String,
}

impl Validation {
    /// Returns whether a run could begin.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }

    /// Checks targets, all of them: no fault hides another.
    async fn of(targets: &[Target], transport: &dyn Transport) -> Validation {
        let mut found = Validation::default();
        let mut accounts: Vec<&Account> = Vec::new();
        for target in targets {
            found.add(target);
            let bedrock = target.bedrock.iter();
            for account in bedrock.flat_map(|bedrock| &bedrock.accounts) {
                if !accounts.iter().any(|known| known.number() == account.number()) {
                    accounts.push(account);
                    found.prove(account, transport).await;
                }
            }
        }
        found
    }

    fn add(&mut self, target: &Target) {
        match spots(target) {
            Ok(spots) => self.combinations += spots.len(),
            Err(error) => self.errors.push(error.to_string()),
        }
        if let Place::Provider { provider, model, .. } = &target.place {
            let table = if provider.auth == Auth::Aws { "bedrock" } else { provider.name };
            if let Some(near) = catalog::similar(table, model) {
                self.warn(format!("{} is not in the catalog; did you mean '{near}'?", target.name));
            }
            if let Some(day) = catalog::find(table, model).and_then(|facts| facts.retired) {
                self.warn(format!("{} is switched off by its provider on {day}", target.name));
            }
        }
        let key = self.proof(target);
        let regions = target.bedrock.as_ref().map(|bedrock| self.regions(target, bedrock)).unwrap_or_default();
        self.models.push(CheckedModel { model: target.name.clone(), key, regions });
    }

    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Says how requests prove who asks.
    fn proof(&mut self, target: &Target) -> String {
        let signed = target.bedrock.as_ref().is_some_and(|bedrock| !bedrock.accounts.is_empty());
        let account = target.vertex.as_ref().is_some_and(|vertex| vertex.account.is_some());
        match (&target.place, target.keys.len()) {
            (Place::Caller(_), _) => "the caller's own affair".to_owned(),
            _ if signed => "AWS signature".to_owned(),
            (_, 0) if account => "Google account".to_owned(),
            (Place::Provider { provider, .. }, 0) => {
                let header = match provider.auth {
                    Auth::Header(name) => name,
                    _ => "authorization",
                };
                if matches!(provider.key, KeyRule::Optional(_)) || target.headers.contains_key(header) {
                    return "no key".to_owned();
                }
                self.errors.push(format!("{}: it needs a key, and none is given", target.name));
                "missing".to_owned()
            }
            (_, 1) => "a key".to_owned(),
            (_, keys) => format!("{keys} keys"),
        }
    }

    fn regions(&mut self, target: &Target, bedrock: &Bedrock) -> Vec<CheckedRegion> {
        let Place::Provider { model, .. } = &target.place else { return Vec::new() };
        let mut regions = Vec::new();
        for region in &bedrock.regions {
            if !bedrock::REGIONS.contains(&region.as_str()) {
                self.warn(format!("{region} is not known as a region of Bedrock's"));
            }
            let accounts = bedrock.accounts.iter().map(Account::label);
            let accounts: Vec<_> = if bedrock.accounts.is_empty() { vec![None] } else { accounts.collect() };
            let mut ways: Vec<Reach> = Vec::new();
            for account in accounts {
                let own = bedrock.found.routes(account, model, region, bedrock.preference).unwrap_or_default();
                self.compare(bedrock, account, model, region);
                ways.extend(own.into_iter().filter(|way| !ways.contains(way)).collect::<Vec<_>>());
            }
            let served_in = ways.iter().map(|way| bedrock::served_in(way, region)).collect();
            regions.push(CheckedRegion { region: region.clone(), ways, served_in });
        }
        regions
    }

    /// Warns of what an account was found not to have.
    fn compare(&mut self, bedrock: &Bedrock, account: Option<&str>, model: &str, region: &str) {
        let Some(found) = bedrock.found.get(account, region).filter(|_| !model.starts_with("arn:")) else { return };
        if !found.knows(model) && !found.has(model) {
            let label = account.unwrap_or("default");
            self.warn(format!("account {label} has no {model} in {region}; it is asked all the same"));
        }
    }

    async fn prove(&mut self, account: &Account, transport: &dyn Transport) {
        let label = account.label().unwrap_or("default").to_owned();
        let status = match account.credentials(transport, SystemTime::now()).await {
            Ok(credentials) => format!("credentials {}", credentials.access_key_id),
            Err(failure) => {
                self.errors.push(format!("account {label}: {}", failure.message));
                "no credentials".to_owned()
            }
        };
        self.accounts.push(CheckedAccount { account: label, status });
    }
}

impl ClientBuilder {
    /// Checks what a client would be made of, and looks for the accounts' credentials; sends no prompt. Unlike
    /// [`build`](ClientBuilder::build) it tells every fault at once.
    pub async fn validate(&self) -> Validation {
        let mut found = Validation::of(&self.targets, &*Transports::new(self).network).await;
        let whole = self.check_shares().and(self.accounts().map(drop)).and(self.models().map(drop));
        found.errors.extend(whole.err().map(|error| error.to_string()));
        found
    }
}

impl Client {
    /// Checks models, regions and credentials again, as [`ClientBuilder::validate`] does.
    pub async fn validate(&self) -> Validation {
        Validation::of(&self.about.targets, &*self.about.network).await
    }
}
