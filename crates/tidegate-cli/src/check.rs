//! `tidegate check`: what a run with these settings would ask, where, and in whose name; sends no prompt.
//!
//! The library finds out ([`Validation`]); what is added here is where keys come from. Everything that is wrong is listed at
//! once. With `--live` the AWS control plane is asked which of Bedrock's models and profiles the accounts really have, and
//! its answers are used: by this check, and by runs on the following day.

use tidegate::call::pool::Pool;
use tidegate::call::provider::Auth;
use tidegate::{Refreshed, Result, Validation};

use crate::args::{CheckArgs, unknown_variables};
use crate::aws::{self, Signing};
use crate::keys::{self, Keys};
use crate::settings::{self, EndpointSettings, Settings};
use crate::{run, runtime};

/// Checks the settings.
///
/// # Errors
/// The settings cannot be read at all.
pub(crate) fn check(args: &CheckArgs) -> anyhow::Result<Validation> {
    let settings = settings::load_for_check(args)?;
    Ok(runtime()?.block_on(examine(settings, args.live)))
}

async fn examine(mut settings: Settings, live: bool) -> Validation {
    let refreshed = match live {
        true => {
            let network = Pool::new(run::pool_options(&settings).unwrap_or_default());
            aws::refresh(&mut settings, &network).await
        }
        false => {
            aws::recall(&mut settings);
            Refreshed::default()
        }
    };
    let mut found = match run::builder(&settings, None, some_keys, Signing::Needed) {
        Ok(builder) => builder.validate().await,
        Err(error) => {
            let mut none = Validation::default();
            none.errors.push(format!("{error:#}"));
            none
        }
    };
    found.warnings.extend(refreshed.warnings);
    if let Ok(endpoints) = settings.resolve() {
        name_keys(&mut found, &endpoints);
        found.warnings.extend(settings.idle(&endpoints));
    }
    found.warnings.extend(unknown_variables());
    found
}

/// Returns the keys of an endpoint, or something in their place: that they are missing is told once, with what to do.
fn some_keys(endpoint: &EndpointSettings) -> Result<Keys> {
    Ok(keys::find(endpoint).unwrap_or_else(|_| Keys { keys: vec!["missing".into()], ..Keys::none() }))
}

/// Says where each model's keys come from, and which are missing.
fn name_keys(found: &mut Validation, endpoints: &[EndpointSettings]) {
    for (model, endpoint) in found.models.iter_mut().zip(endpoints) {
        let elsewhere = matches!(endpoint.model.provider.auth, Auth::Aws | Auth::Google);
        match keys::find(endpoint) {
            Ok(keys) if keys.keys.is_empty() && elsewhere => {}
            Ok(_) if model.key == "AWS signature" => {}
            Ok(keys) => model.key = keys.source.to_string(),
            Err(error) => {
                found.errors.push(error.to_string());
                "missing".clone_into(&mut model.key);
            }
        }
    }
}

/// Writes a report for people.
pub(crate) fn describe(report: &Validation) -> String {
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
pub(crate) fn json(report: &Validation) -> Result<String> {
    let text = serde_json::to_string_pretty(report).map_err(|error| tidegate::Error::Usage(error.to_string()))?;
    Ok(text + "\n")
}
