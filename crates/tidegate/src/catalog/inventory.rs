//! What accounts were found to have at Bedrock: in one region, and in all of them.
//!
//! The bundled table says what there is somewhere; an inventory says what there is here and now. Where one is known, and
//! knows the model at all, it decides which ways lead there; where not, the table does.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bedrock::{self, Names, Preference, Reach, normalised};
use crate::error::Result;

/// A model as an account's list has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedModel {
    /// Its id.
    pub id: String,
    /// What people call it, such as `Claude Sonnet 4.5`.
    #[serde(default)]
    pub name: String,
    /// Whether it is served under its plain id.
    pub on_demand: bool,
}

/// What an account has in a region.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The models.
    pub models: Vec<ListedModel>,
    /// Ids of the inference profiles.
    pub profiles: Vec<String>,
}

impl Inventory {
    /// Adds what another list of the region has.
    pub fn join(&mut self, other: Inventory) {
        for model in other.models {
            match self.models.iter_mut().find(|known| known.id == model.id) {
                Some(known) => known.on_demand |= model.on_demand,
                None => self.models.push(model),
            }
        }
        let new = other.profiles.into_iter().filter(|id| !self.profiles.contains(id)).collect::<Vec<_>>();
        self.profiles.extend(new);
    }

    /// Returns whether requests under this id are served.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.on_demand(id) || self.profiles.iter().any(|known| known == id)
    }

    /// Returns whether the plain id of a model is served.
    #[must_use]
    pub fn on_demand(&self, id: &str) -> bool {
        self.models.iter().any(|model| model.on_demand && model.id == id)
    }

    /// Returns whether there is any way to a model, allowed or not.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        let through = |profile: &String| profile.strip_suffix(id).is_some_and(|before| before.ends_with('.'));
        self.on_demand(id) || self.profiles.iter().any(through)
    }
}

/// What accounts have in regions; clones share it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventories(Arc<BTreeMap<(String, String), Inventory>>);

impl Inventories {
    /// Adds what an account, by its label, has in a region.
    pub fn insert(&mut self, account: Option<&str>, region: &str, inventory: Inventory) {
        Arc::make_mut(&mut self.0).insert(key(account, region), inventory);
    }

    /// Returns what an account, by its label, has in a region, if that was asked.
    #[must_use]
    pub fn get(&self, account: Option<&str>, region: &str) -> Option<&Inventory> {
        if self.0.is_empty() { None } else { self.0.get(&key(account, region)) }
    }

    /// Returns the id that a name stands for, in the bundled table or else here.
    ///
    /// # Errors
    ///
    /// As [`bedrock::id_of`].
    pub fn id_of(&self, name: &str, names: Names) -> Result<String> {
        bedrock::id_of(name, names).or_else(|unknown| self.listed(name, names).ok_or(unknown))
    }

    fn listed(&self, name: &str, names: Names) -> Option<String> {
        let wanted = normalised(name);
        let same = |model: &&ListedModel| match names {
            Names::Strict => model.name == name,
            Names::Lenient => normalised(&model.name) == wanted,
        };
        // Variants that only dedicated capacity serves come with the same name and a longer id.
        let found = self.0.values().flat_map(|inventory| &inventory.models).filter(same);
        found.min_by_key(|model| (!model.on_demand, model.id.len())).map(|model| model.id.clone())
    }

    /// Returns the ways of an account to a model from a region, the preferred first, as [`bedrock::routes`].
    ///
    /// # Errors
    ///
    /// As [`bedrock::routes`].
    pub fn routes(&self, account: Option<&str>, id: &str, region: &str, preference: Preference) -> Result<Vec<Reach>> {
        bedrock::routes_in(self.get(account, region), id, region, preference)
    }
}

fn key(account: Option<&str>, region: &str) -> (String, String) {
    (account.unwrap_or("default").to_owned(), region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(models: &[(&str, &str, bool)], profiles: &[&str]) -> Inventories {
        let model = |(id, name, on_demand): &(&str, &str, bool)| ListedModel {
            id: (*id).to_owned(),
            name: (*name).to_owned(),
            on_demand: *on_demand,
        };
        let profiles = profiles.iter().map(|id| (*id).to_owned()).collect();
        let mut all = Inventories::default();
        all.insert(None, "us-east-1", Inventory { models: models.iter().map(model).collect(), profiles });
        all
    }

    fn ways(all: &Inventories, id: &str, region: &str, allow_global: bool) -> Vec<String> {
        let preference = Preference { allow_global, ..Preference::default() };
        all.routes(None, id, region, preference).unwrap().into_iter().map(|way| way.id).collect()
    }

    #[test]
    fn joined_lists_have_what_either_has() {
        let listed = |models: &[(&str, &str, bool)], profiles: &[&str]| {
            found(models, profiles).get(None, "us-east-1").cloned().unwrap()
        };
        let mut all = listed(&[("a", "A", false), ("b", "B", true)], &["us.a"]);
        all.join(listed(&[("a", "A", true), ("c", "C", false)], &["us.a", "us.c"]));
        assert_eq!(all, listed(&[("a", "A", true), ("b", "B", true), ("c", "C", false)], &["us.a", "us.c"]));
    }

    #[test]
    fn what_was_found_decides_over_the_table_and_keeps_data_at_home() {
        let haiku = "anthropic.claude-3-5-haiku-20241022-v1:0";
        let all = found(&[(haiku, "", true)], &[&format!("global.{haiku}"), &format!("eu.{haiku}")]);
        assert_eq!(ways(&all, haiku, "us-east-1", false), [haiku]);
        assert_eq!(ways(&all, haiku, "us-east-1", true), [haiku.to_owned(), format!("global.{haiku}")]);
        // Elsewhere nothing was asked, and of a model that the account does not list the table knows more.
        assert_eq!(ways(&all, haiku, "us-west-2", false), [haiku.to_owned(), format!("us.{haiku}")]);
        assert_eq!(ways(&all, "amazon.nova-premier-v1:0", "us-east-1", false), ["us.amazon.nova-premier-v1:0"]);
        let all = found(&[("new.model-v1:0", "New Model", false)], &["us.new.model-v1:0"]);
        assert_eq!(ways(&all, "new.model-v1:0", "us-east-1", true), ["us.new.model-v1:0"]);
    }

    #[test]
    fn names_that_the_table_lacks_are_found() {
        let listed = [("new.model-v1:0:200k", "New Model 9", false), ("new.model-v1:0", "New Model 9", true)];
        let all = found(&listed, &[]);
        assert_eq!(all.id_of("new-model 9", Names::Lenient).unwrap(), "new.model-v1:0");
        assert_eq!(all.id_of("New Model 9", Names::Strict).unwrap(), "new.model-v1:0");
        assert!(all.id_of("new-model 9", Names::Strict).is_err());
        assert!(all.id_of("Claude 3.5 Sonet", Names::Lenient).unwrap_err().to_string().contains("did you mean"));
        assert_eq!(all.id_of("Nova Pro", Names::Lenient).unwrap(), "amazon.nova-pro-v1:0");
    }
}
