//! `tidegate check`: what a run with these settings would ask, where, and in whose name; sends no prompt.
//!
//! Everything that is wrong is listed at once. Credentials are looked for as a run would look for them; with `--live` the
//! AWS control plane is asked which of Bedrock's models and profiles the account really has.

use std::time::SystemTime;

use serde::Serialize;
use tidegate::call::aws::Account;
use tidegate::call::pool::Pool;
use tidegate::call::provider::Auth;
use tidegate::call::transport::Transport;
use tidegate::catalog::bedrock::{self, Reach};
use tidegate::{Bedrock, Client, Result, Target, catalog};

use crate::args::CheckArgs;
use crate::aws::{self, Signing};
use crate::settings::{self, EndpointSettings, Settings};
use crate::{keys, live, runtime};

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// What makes a run impossible.
    errors: Vec<String>,
    /// What may go wrong.
    warnings: Vec<String>,
    /// How many endpoints there are.
    combinations: usize,
    models: Vec<Model>,
    /// How requests prove who asks, by account.
    accounts: Vec<Proof>,
}

#[derive(Debug, Serialize)]
struct Model {
    model: String,
    key: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    regions: Vec<Region>,
}

#[derive(Debug, Serialize)]
struct Region {
    region: String,
    ways: Vec<Reach>,
    /// Where requests may be served.
    served_in: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Proof {
    account: String,
    status: String,
}

impl Report {
    /// Returns whether a run may begin.
    pub(crate) fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }
}

/// Checks the settings.
///
/// # Errors
/// The settings cannot be read at all.
pub(crate) fn check(args: &CheckArgs) -> anyhow::Result<Report> {
    let settings = settings::load_for_check(args)?;
    Ok(runtime()?.block_on(examine(&settings, args.live)))
}

async fn examine(settings: &Settings, live: bool) -> Report {
    let mut report = Report::default();
    let endpoints = match settings.resolve() {
        Ok(endpoints) => endpoints,
        Err(error) => {
            report.errors.push(error.to_string());
            return report;
        }
    };
    let on_bedrock = |endpoint: &&EndpointSettings| endpoint.model.provider.auth == Auth::Aws;
    let bedrock = endpoints.iter().any(|e| on_bedrock(&e)).then(|| aws::bedrock(settings, Signing::Needed)).transpose();
    let bedrock = bedrock.unwrap_or_else(|error| {
        report.errors.push(error.to_string());
        None
    });
    for endpoint in &endpoints {
        report.add(endpoint, bedrock.as_ref().filter(|_| on_bedrock(&endpoint)));
    }
    if let Some(bedrock) = &bedrock {
        let transport = Pool::new(crate::run::pool_options(settings).unwrap_or_default());
        for account in &bedrock.accounts {
            report.prove(account, &transport).await;
        }
        for region in bedrock.regions.iter().filter(|region| !bedrock::REGIONS.contains(&region.as_str())) {
            report.warnings.push(format!("{region} is not known as a region of Bedrock's"));
        }
        if live {
            let ids = report.ids();
            report.warnings.extend(live::survey(settings, bedrock, &transport, &ids).await);
        }
    }
    report
}

impl Report {
    fn add(&mut self, endpoint: &EndpointSettings, bedrock: Option<&Bedrock>) {
        let model = endpoint.model.to_string();
        let signed = bedrock.is_some_and(|bedrock| !bedrock.accounts.is_empty());
        let key = match keys::find(endpoint) {
            _ if signed => "AWS signature".to_owned(),
            Ok(keys) => keys.source.to_string(),
            Err(error) => {
                self.errors.push(error.to_string());
                "missing".to_owned()
            }
        };
        if let Some(near) = catalog::similar(&endpoint.model.label, &endpoint.model.name) {
            self.warnings.push(format!("{model} is not in the catalog; did you mean '{near}'?"));
        }
        if let Some(day) = endpoint.model.facts().and_then(|facts| facts.retired) {
            self.warnings.push(format!("{model} is switched off by its provider on {day}"));
        }
        let regions = bedrock.map(|bedrock| self.regions(endpoint, bedrock)).unwrap_or_default();
        if bedrock.is_none() {
            self.combinations += 1;
        }
        self.models.push(Model { model, key, regions });
    }

    fn regions(&mut self, endpoint: &EndpointSettings, bedrock: &Bedrock) -> Vec<Region> {
        let target = Target::of(&endpoint.model).base_url(&endpoint.base_url).bedrock(bedrock.clone());
        match Client::builder().target(target).build() {
            Ok(client) => self.combinations += client.snapshot().endpoints.len(),
            Err(error) => self.errors.push(error.to_string()),
        }
        let region = |name: &String| Region {
            region: name.clone(),
            ways: bedrock::routes(&endpoint.model.name, name, bedrock.preference).unwrap_or_default(),
            served_in: Vec::new(),
        };
        let served = |region: Region| Region {
            served_in: region.ways.iter().map(|way| bedrock::served_in(way, &region.region)).collect(),
            ..region
        };
        bedrock.regions.iter().map(region).map(served).collect()
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
        self.accounts.push(Proof { account: label, status });
    }

    /// Returns the ids that are asked, with their regions.
    fn ids(&self) -> Vec<(String, String)> {
        let regions = self.models.iter().flat_map(|model| &model.regions);
        regions.flat_map(|region| region.ways.iter().map(|way| (region.region.clone(), way.id.clone()))).collect()
    }
}

/// Writes a report for people.
pub(crate) fn describe(report: &Report) -> String {
    let mut text = String::new();
    for model in &report.models {
        text.push_str(&format!("{}  ({})\n", model.model, model.key));
        for region in &model.regions {
            for (way, served) in region.ways.iter().zip(&region.served_in) {
                let access = way.access.to_string();
                text.push_str(&format!("  {:<15} {access:<9} {}  served in {served}\n", region.region, way.id));
            }
            if region.ways.is_empty() {
                text.push_str(&format!("  {:<15} not served\n", region.region));
            }
        }
    }
    for proof in &report.accounts {
        text.push_str(&format!("account {}: {}\n", proof.account, proof.status));
    }
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let (errors, warnings) = (count(report.errors.len(), "error"), count(report.warnings.len(), "warning"));
    text.push_str(&format!("{}, {errors}, {warnings}\n", count(report.combinations, "combination")));
    report.errors.iter().for_each(|error| text.push_str(&format!("error: {error}\n")));
    report.warnings.iter().for_each(|warning| text.push_str(&format!("warning: {warning}\n")));
    text
}

/// Writes a report as JSON.
///
/// # Errors
/// It cannot fail: every key is a text.
pub(crate) fn json(report: &Report) -> Result<String> {
    let text = serde_json::to_string_pretty(report).map_err(|error| tidegate::Error::Usage(error.to_string()))?;
    Ok(text + "\n")
}
