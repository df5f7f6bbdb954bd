//! What the AWS control plane says of Bedrock's models, kept on disk for a day.
//!
//! The answers only warn: a run asks whatever the settings name, and heeds the replies.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tidegate::Bedrock;
use tidegate::call::aws::Account;
use tidegate::call::aws::control::{self, Inventory};
use tidegate::call::transport::Transport;

use crate::keys;
use crate::settings::Settings;

/// How old an answer may be.
const AGE: Duration = Duration::from_secs(24 * 3600);

/// Returns what the control plane has against the ids that would be asked, each with its region.
pub(crate) async fn survey(
    settings: &Settings,
    bedrock: &Bedrock,
    transport: &dyn Transport,
    ids: &[(String, String)],
) -> Vec<String> {
    let mut warnings = Vec::new();
    if bedrock.accounts.is_empty() {
        warnings.push("--live needs an AWS account: a bearer key may not list models".to_owned());
    }
    for account in &bedrock.accounts {
        for region in &bedrock.regions {
            let label = account.label().unwrap_or("default");
            match inventory(settings, account, region, transport).await {
                Ok(inventory) => {
                    let asked = ids.iter().filter(|(at, id)| at == region && !id.starts_with("arn:"));
                    let missing = asked.filter(|(_, id)| !inventory.has(id));
                    warnings.extend(missing.map(|(_, id)| format!("account {label} has no {id} in {region}")));
                }
                Err(message) => {
                    warnings.push(format!("account {label}, {region}: {message}; the bundled list is used"))
                }
            }
        }
    }
    warnings
}

async fn inventory(
    settings: &Settings,
    account: &Account,
    region: &str,
    transport: &dyn Transport,
) -> Result<Inventory, String> {
    let file = file(account.label().unwrap_or("default"), region);
    if let Some(kept) = file.as_ref().and_then(kept) {
        return Ok(kept);
    }
    let own = settings.base_url.clone().or_else(|| keys::variable("AWS_ENDPOINT_URL_BEDROCK"));
    let address = own.unwrap_or_else(|| control::ADDRESS.to_owned());
    let found = control::inventory(&address, region, account, transport).await.map_err(|failure| failure.message)?;
    if let Some(file) = file {
        // Without it the next check asks again.
        let _ = file.parent().map(std::fs::create_dir_all);
        let _ = std::fs::write(file, serde_json::to_vec(&found).unwrap_or_default());
    }
    Ok(found)
}

fn kept(file: &PathBuf) -> Option<Inventory> {
    let written = std::fs::metadata(file).ok()?.modified().ok()?;
    let age = SystemTime::now().duration_since(written).unwrap_or_default();
    serde_json::from_slice(&std::fs::read(file).ok()?).ok().filter(|_| age < AGE)
}

fn file(account: &str, region: &str) -> Option<PathBuf> {
    let home = || Some(PathBuf::from(keys::variable("HOME")?).join(".cache"));
    let cache = keys::variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
    let plain = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
    Some(cache.join("tidegate/bedrock").join(format!("{}-{}.json", plain(account), plain(region))))
}
