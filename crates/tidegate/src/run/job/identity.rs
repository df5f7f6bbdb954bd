//! What makes two runs ask the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use xxhash_rust::xxh3::Xxh3;

use super::Job;
use crate::ask::policy::AskPolicy;
use crate::client::Client;
use crate::request::{MediaKind, Params};
use crate::run::key::KeyRule;
use crate::run::prompt::{PromptOptions, Renderer};
use crate::schema::Schema;

/// The entry that says which columns rows without an id are known by.
const ROW_KEY: &str = "row key";
/// The entry that says that every model was asked about every row.
pub(in crate::run) const EACH_MODEL: &str = "each model";
/// The entry that names the column of the id.
const ID_COLUMN: &str = "id column";

/// Returns everything of a job that changes its answers, by the name that a user knows it by.
pub(super) fn of(job: &Job, client: &Client, renderer: &Renderer) -> BTreeMap<String, String> {
    let prompt = &job.prompt;
    let mut entries = BTreeMap::new();
    let mut add = |name: &str, value: Option<String>| value.and_then(|value| entries.insert(name.to_owned(), value));
    add("prompt", prompt.template.as_ref().map(|(text, _)| text.clone()));
    add("system", prompt.system.clone());
    add("embed", prompt.embed.clone());
    add("lossy", prompt.lossy.then(|| "yes".to_owned()));
    for kind in
        [None, Some(MediaKind::Image), Some(MediaKind::Document), Some(MediaKind::Video), Some(MediaKind::Audio)]
    {
        let of_kind = prompt.media.iter().filter(|media| media.kind == kind);
        let columns: Vec<&str> = of_kind.map(|media| media.column.as_str()).collect();
        let name = format!("{} columns", kind.map_or("media", MediaKind::name));
        add(&name, (!columns.is_empty()).then(|| json!(columns).to_string()));
    }
    add(ID_COLUMN, prompt.id_column.clone());
    add("parameters", (!prompt.params.is_empty()).then(|| json!(prompt.params).to_string()));
    add("schema", prompt.schema.as_ref().map(|schema| schema.value().to_string()));
    add(EACH_MODEL, job.each_model.then(|| "yes".to_owned()));
    add("defaults", client.defaults.as_ref().map(|params| json!(**params).to_string()));
    for (name, value) in client.ask_policy.identity() {
        add(name, Some(value));
    }
    add(ROW_KEY, Some(json!(renderer.used_columns()).to_string()));
    entries
}

/// Returns a hash of what decides which answers are taken; 0 if every reply is an answer.
pub(super) fn judged(client: &Client) -> u64 {
    judged_by(client.ask_policy.identity().into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Returns the same of an identity as a whole.
pub(super) fn judged_of(identity: &BTreeMap<String, String>) -> u64 {
    let judges = |(name, _): &(&String, &String)| AskPolicy::IDENTITY.contains(&name.as_str());
    judged_by(identity.iter().filter(judges).map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn judged_by(entries: BTreeMap<String, String>) -> u64 {
    if entries.is_empty() { 0 } else { hash(&entries) }
}

/// Returns the prompt that an identity tells of, without its files; nothing if it cannot be read any more.
pub(super) fn prompt(identity: &BTreeMap<String, String>) -> Option<PromptOptions> {
    let of = |name: &str| identity.get(name).cloned();
    let schema = of("schema").map(|schema| Schema::new(serde_json::from_str(&schema).ok()?).ok());
    Some(PromptOptions {
        template: of("prompt").map(|text| (text, "the prompt".to_owned())),
        system: of("system"),
        embed: of("embed"),
        media: Vec::new(),
        lossy: identity.contains_key("lossy"),
        params: of("parameters").map_or_else(|| Some(Params::default()), |text| serde_json::from_str(&text).ok())?,
        schema: match schema {
            None => None,
            Some(schema) => Some(Arc::new(schema?)),
        },
        id_column: None,
    })
}

/// Keeps the columns that rows are known by as they were: the keys in the journal are made of them.
pub(super) fn keep_row_key(new: &mut BTreeMap<String, String>, old: &BTreeMap<String, String>) {
    if let Some(columns) = old.get(ROW_KEY) {
        new.insert(ROW_KEY.to_owned(), columns.clone());
    }
}

/// Returns what the rows are known by.
pub(in crate::run) fn key_rule(identity: &BTreeMap<String, String>) -> KeyRule {
    let columns = identity.get(ROW_KEY).and_then(|columns| serde_json::from_str(columns).ok());
    KeyRule { id_column: identity.get(ID_COLUMN).cloned(), columns: columns.unwrap_or_default() }
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
