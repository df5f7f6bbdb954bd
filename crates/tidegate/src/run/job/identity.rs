//! What makes two runs ask the same, and what to say when they do not.

use std::collections::BTreeMap;

use serde_json::json;
use xxhash_rust::xxh3::Xxh3;

use super::Job;
use super::intake::{Intake, Taken};
use super::results::finished;
use crate::error::{Error, Result};
use crate::run::journal::{Difference, Journal};
use crate::run::prompt::Renderer;
use crate::run::record::Record;
use crate::run::summary::Tally;

/// The entry that says which columns rows without an id are known by.
const ROW_KEY: &str = "row key";

/// Returns everything of a job that changes its answers, by the name that a user knows it by.
pub(super) fn of(job: &Job, renderer: &Renderer) -> BTreeMap<String, String> {
    let prompt = &job.prompt;
    let mut entries = BTreeMap::new();
    let mut add = |name: &str, value: Option<String>| value.and_then(|value| entries.insert(name.to_owned(), value));
    add("prompt", prompt.template.as_ref().map(|(text, _)| text.clone()));
    add("system", prompt.system.clone());
    add("embed", prompt.embed.clone());
    add("id column", prompt.id_column.clone());
    add("parameters", (!prompt.params.is_empty()).then(|| json!(prompt.params).to_string()));
    add("each model", job.each_model.then(|| "yes".to_owned()));
    add(ROW_KEY, Some(json!(renderer.used_columns()).to_string()));
    entries
}

/// Keeps the columns that rows are known by as they were: the keys in the journal are made of them.
pub(super) fn keep_row_key(new: &mut BTreeMap<String, String>, old: &BTreeMap<String, String>) {
    if let Some(columns) = old.get(ROW_KEY) {
        new.insert(ROW_KEY.to_owned(), columns.clone());
    }
}

/// Returns the columns that rows without an id are known by.
pub(super) fn row_key(identity: &BTreeMap<String, String>) -> Vec<String> {
    identity.get(ROW_KEY).and_then(|columns| serde_json::from_str(columns).ok()).unwrap_or_default()
}

/// Returns a hash of the whole.
pub(super) fn hash(identity: &BTreeMap<String, String>) -> u64 {
    let mut hasher = Xxh3::new();
    for text in identity.iter().flat_map(|(name, value)| [name, value]) {
        hasher.update(text.as_bytes());
        hasher.update(&[0]);
    }
    hasher.digest()
}

/// Says what differs, how many rows that touches, and about what price: unless it touches none.
pub(super) fn ask_about_changes(differences: &[Difference], mut trial: Intake, journal: &Journal) -> Result<()> {
    let mut redo = 0_u64;
    while let Some(taken) = trial.next()? {
        redo += u64::from(matches!(&taken, Taken::Send(item) if item.context.replaces));
    }
    if redo == 0 {
        return Ok(());
    }
    let what: Vec<String> = differences.iter().map(describe).collect();
    let price = price_per_row(journal)?
        .map_or("at an unknown price".to_owned(), |each| format!("for about ${:.4}", each * redo as f64));
    Err(Error::Changed(format!(
        "the output was made in another way:\n{}\n{redo} finished rows would be asked again, {price}. Nothing was sent. \
         Give --redo-changed to ask them again, --keep-changed to keep their answers and send only what is new, or \
         another output with -o.",
        what.join("\n")
    )))
}

fn describe(difference: &Difference) -> String {
    let shown = |value: &Option<String>| match value {
        None => "none".to_owned(),
        Some(text) if text.chars().count() <= 60 => format!("{text:?}"),
        Some(text) => format!("{:?}…", text.chars().take(60).collect::<String>()),
    };
    format!("  {}: was {}, is {}", difference.name, shown(&difference.old), shown(&difference.new))
}

/// Returns the mean cost of the stored rows in US dollars, where known.
fn price_per_row(journal: &Journal) -> Result<Option<f64>> {
    let mut tally = Tally::default();
    journal.scan(|row, _| {
        if let Ok(record) = Record::parse(row.record) {
            tally.add(&finished(&record));
        }
        Ok(())
    })?;
    let priced = tally.succeeded - tally.unpriced;
    Ok((priced > 0).then(|| tally.cost.usd() / priced as f64))
}
