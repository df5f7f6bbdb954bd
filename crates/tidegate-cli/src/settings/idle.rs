//! Settings that concern nothing of the run: mostly a name that was mistyped.

use tidegate::suggest::closest;

use super::{EndpointSettings, Settings};

impl Settings {
    /// Returns a warning about each table that no model of the run has, although one has nearly its name, and about each account
    /// that nothing belongs to.
    pub(crate) fn idle(&self, endpoints: &[EndpointSettings]) -> Vec<String> {
        let models: Vec<String> = endpoints.iter().map(|endpoint| endpoint.model.to_string()).collect();
        let unused = self.endpoints.keys().filter(|name| !models.contains(name));
        let near = unused.filter_map(|name| Some((name, closest(name, models.iter().map(String::as_str))?)));
        let tables = near.map(|(name, meant)| {
            format!("[endpoints.\"{name}\"] counts for no model of this run; did you mean [endpoints.\"{meant}\"]?")
        });
        let of_providers = self.providers.values().filter_map(|table| table.account.as_ref());
        let named: Vec<&String> =
            of_providers.chain(self.endpoints.values().filter_map(|table| table.account.as_ref())).collect();
        let lonely = self.accounts.keys().filter(|name| !named.contains(name));
        let accounts = lonely.map(|name| {
            format!("[accounts.{name}] limits nothing: no table of a provider or an endpoint has account = \"{name}\"")
        });
        tables.chain(accounts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_table_and_an_account_of_nobody_are_told() {
        let text = "models = ['sim/echo']\n[endpoints.'sim/ecko']\nweight = 3\n[endpoints.'openai/gpt-5']\naccount = 'a'\n\
                    [accounts.a]\nrpm = 1\n[accounts.b]\nrpm = 1\n";
        let settings: Settings = toml::from_str(text).unwrap();
        let said = settings.idle(&settings.resolve().unwrap());
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("did you mean [endpoints.\"sim/echo\"]?"), "{said:?}");
        assert!(said[1].starts_with("[accounts.b] limits nothing"), "{said:?}");
    }
}
