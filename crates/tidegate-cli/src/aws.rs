//! Bedrock's regions and accounts, from settings and what AWS's own tools would find.

use std::path::PathBuf;

use tidegate::call::aws::Account;
use tidegate::call::aws::chain::{Chain, Environment};
use tidegate::call::aws::control;
use tidegate::call::transport::Transport;
use tidegate::{Bedrock, Error, Refresh, Refreshed, Result};

use crate::keys;
use crate::settings::Settings;

/// The variables that stand for a bearer key, and for FIPS endpoints.
const KEY: &str = "AWS_BEARER_TOKEN_BEDROCK";
const FIPS: &str = "AWS_USE_FIPS_ENDPOINT";

/// Whether credentials are needed, or only a look is taken at what would be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    Needed,
    NotNeeded,
}

/// Returns where models of Bedrock are asked. Accounts are made once, and shared by all models.
///
/// # Errors
/// [`Error::Usage`] when no region is named anywhere.
pub(crate) fn bedrock(settings: &Settings, signing: Signing) -> Result<Bedrock> {
    let set = &settings.bedrock;
    let regions = match set.regions.is_empty() {
        false => set.regions.clone(),
        true => vec![default_region(settings).ok_or_else(no_region)?],
    };
    let accounts = if signing == Signing::Needed { accounts(settings) } else { Vec::new() };
    Ok(Bedrock {
        regions,
        accounts,
        preference: set.preference(),
        global_fraction: set.global_fraction,
        region_order: set.region_order,
        found: settings.found.clone(),
    })
}

/// Returns whether a model of Bedrock's is named.
fn is_used(settings: &Settings) -> bool {
    settings.all_models().any(|model| model.trim().starts_with("bedrock"))
}

/// Uses what `tidegate check --live` found and kept, where it is young enough.
pub(crate) fn recall(settings: &mut Settings) {
    if let Some(mut bedrock) = is_used(settings).then(|| bedrock(settings, Signing::Needed).ok()).flatten() {
        bedrock.recall(&refresh_of(settings));
        settings.found = bedrock.found;
    }
}

/// Asks the control plane what the accounts have, uses that and keeps it.
pub(crate) async fn refresh(settings: &mut Settings, transport: &dyn Transport) -> Refreshed {
    let Some(mut bedrock) = is_used(settings).then(|| bedrock(settings, Signing::Needed).ok()).flatten() else {
        return Refreshed::default();
    };
    let keys = keys::of_provider("bedrock", settings);
    let refreshed = bedrock.refresh(&refresh_of(settings), &keys, transport).await;
    settings.found = bedrock.found;
    refreshed
}

fn refresh_of(settings: &Settings) -> Refresh {
    let own = settings.base_url.clone().or_else(|| keys::variable("AWS_ENDPOINT_URL_BEDROCK"));
    let address = own.unwrap_or_else(|| match fips() {
        true => control::ADDRESS.replace("bedrock.", "bedrock-fips."),
        false => control::ADDRESS.to_owned(),
    });
    let home = || Some(PathBuf::from(keys::variable("HOME")?).join(".cache"));
    let cache = keys::variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    Refresh { folder: cache.map(|cache| cache.join("tidegate/bedrock")), address, ..Refresh::default() }
}

fn fips() -> bool {
    keys::variable(FIPS).is_some_and(|on| on.eq_ignore_ascii_case("true"))
}

fn environment() -> Environment {
    Environment::new(keys::variable)
}

fn no_region() -> Error {
    Error::Usage("bedrock needs a region: add --regions us-east-1, or set AWS_REGION".to_owned())
}

fn default_region(settings: &Settings) -> Option<String> {
    let chain = Chain::new(environment());
    match settings.bedrock.profiles.first() {
        Some(profile) => chain.profile(profile).region(),
        None => chain.region(),
    }
}

/// A key that is set stands in for signatures, unless an account is named.
fn accounts(settings: &Settings) -> Vec<Account> {
    let set = &settings.bedrock;
    let chain = || Chain::new(environment());
    let account = |label: Option<&str>, chain: Chain| Account::new(label, std::sync::Arc::new(chain));
    if !set.roles.is_empty() {
        let base = || set.profiles.first().map_or_else(chain, |profile| chain().profile(profile));
        return set.roles.iter().map(|arn| account(Some(role_name(arn)), base().role(arn))).collect();
    }
    if !set.profiles.is_empty() {
        return set.profiles.iter().map(|name| account(Some(name), chain().profile(name))).collect();
    }
    let own_key = settings
        .providers
        .get("bedrock")
        .is_some_and(|own| own.key_env.is_some() || own.key_file.is_some() || own.key_command.is_some());
    let key = own_key || keys::variable(KEY).is_some() || keys::variable(&format!("{KEY}_FILE")).is_some();
    if key { Vec::new() } else { vec![account(None, chain())] }
}

/// Returns what tells a role from others: account number and name.
fn role_name(arn: &str) -> &str {
    arn.split_once("::").map_or(arn, |(_, name)| name)
}

/// Returns the address of Bedrock's own hosts, as the user wants them.
pub(crate) fn own_address(base_url: &str) -> String {
    if fips() { base_url.replace("bedrock-runtime.", "bedrock-runtime-fips.") } else { base_url.to_owned() }
}
