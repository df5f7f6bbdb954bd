//! What the settings say about one model at one provider.

use std::borrow::Cow;
use std::sync::Arc;

use tidegate::call::provider::{Auth, Paths, compatible, provider};
use tidegate::call::wire::WireId;
use tidegate::catalog::{self, ModelRef};
use tidegate::{Error, Price, Result};

use super::{Headers, Limits, Provider, Settings};
use crate::{aws, keys};

/// One model at one provider, with everything that was set about it in any place.
#[derive(Clone, PartialEq)]
pub(crate) struct EndpointSettings {
    /// The model.
    pub(crate) model: ModelRef,
    /// The format to speak, if not the provider's first.
    pub(crate) wire: Option<WireId>,
    /// The API version, where the provider has one.
    pub(crate) api_version: Option<String>,
    /// The address; of the simulated provider only a name.
    pub(crate) base_url: String,
    /// Headers of every request.
    pub(crate) headers: Headers,
    /// Limits that were set.
    pub(crate) limits: Limits,
    /// Its share under the policy `weighted`, if one was set.
    pub(crate) weight: Option<f64>,
    /// The account that it belongs to, with its limits.
    pub(crate) account: Option<(String, Limits)>,
    /// What tokens cost, if anybody knows.
    pub(crate) price: Option<Price>,
    /// The provider's table in the configuration.
    pub(crate) provider: Provider,
    /// Whether only a ladder, a task or a row names it.
    pub(crate) by_name: bool,
}

impl Settings {
    /// Resolves every model, in the order of preference.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is none, or one is not known or named twice.
    pub(crate) fn resolve(&self) -> Result<Vec<EndpointSettings>> {
        if self.models.is_empty() {
            return Err(Error::Usage(
                "no model: name one with -m provider/model, or with models = […] in tidegate.toml".into(),
            ));
        }
        let endpoints = self.models.iter().map(|model| self.endpoint(model)).collect::<Result<Vec<_>>>()?;
        let names: Vec<String> = endpoints.iter().map(|endpoint| endpoint.model.to_string()).collect();
        match names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
            Some((_, name)) => Err(Error::Usage(format!("{name} is named twice; name each model once"))),
            None => self.with_named(endpoints),
        }
    }

    /// Adds the models that only the ladder or a task names.
    fn with_named(&self, mut endpoints: Vec<EndpointSettings>) -> Result<Vec<EndpointSettings>> {
        let rungs = self.ladder.iter().filter_map(|rung| rung.model.as_ref());
        for model in rungs.chain(self.tasks.values().flat_map(|task| &task.models)) {
            let endpoint = EndpointSettings { by_name: true, ..self.endpoint(model)? };
            if endpoints.iter().all(|known| known.model.to_string() != endpoint.model.to_string()) {
                endpoints.push(endpoint);
            }
        }
        Ok(endpoints)
    }

    /// Returns a model's full name, as records have it.
    pub(crate) fn full_name(&self, model: &str) -> Result<Arc<str>> {
        Ok(self.endpoint(model)?.model.to_string().into())
    }

    fn endpoint(&self, model: &str) -> Result<EndpointSettings> {
        let own: Vec<&str> =
            self.providers.keys().map(String::as_str).filter(|name| provider(name).is_none()).collect();
        let address = self.base_url.as_deref().or_else(|| self.compatible_base_url());
        let mut model = catalog::resolve(&self.on_bedrock(model)?, address, &own)?;
        let provider = self.providers.get(model.label.as_ref()).cloned().unwrap_or_default();
        if let Some(wire) = provider.wire.filter(|_| own.contains(&model.label.as_ref())) {
            model.provider = compatible(wire);
        }
        let endpoint = self.endpoints.get(&model.to_string()).cloned().unwrap_or_default();
        let mut headers = own_headers(&model, &keys::variable);
        headers.extend(self.headers.clone());
        headers.extend(provider.headers.clone());
        headers.extend(endpoint.headers);
        Ok(EndpointSettings {
            wire: self.wire(&provider, &model)?,
            api_version: api_version(&provider, &model),
            base_url: self.address(&provider, &model)?,
            headers,
            limits: endpoint.limits.or(provider.limits).or(self.limits),
            weight: endpoint.weight,
            account: endpoint.account.or_else(|| provider.account.clone()).map(|name| self.account(name)),
            price: endpoint.price.or(self.price).or_else(|| known_price(&model)),
            provider,
            model,
            by_name: false,
        })
    }

    /// Returns a model's name with the id that Bedrock knows it by; the name itself, where it is no model of Bedrock's.
    fn on_bedrock<'a>(&self, model: &'a str) -> Result<Cow<'a, str>> {
        let named = model.trim().split_once('/').filter(|(label, _)| ["bedrock", "bedrock-invoke"].contains(label));
        let Some((label, name)) = named else { return Ok(model.into()) };
        Ok(format!("{label}/{}", self.found.id_of(name, self.bedrock.names())?).into())
    }

    /// Returns the models as the user named them, wherever that is.
    pub(crate) fn all_models(&self) -> impl Iterator<Item = &String> {
        let rungs = self.ladder.iter().filter_map(|rung| rung.model.as_ref());
        let tasks = self.tasks.values().flat_map(|task| &task.models);
        self.models.iter().chain(rungs).chain(tasks)
    }

    /// Returns an account with its limits; that there is one of that name has been checked.
    fn account(&self, name: String) -> (String, Limits) {
        let limits = self.accounts.get(&name).copied().unwrap_or_default();
        (name, limits)
    }

    fn compatible_base_url(&self) -> Option<&str> {
        self.providers.get(tidegate::call::provider::COMPATIBLE.name)?.base_url.as_deref()
    }

    /// The most specific address: the provider's table, `base_url`, the variable that the provider's SDK reads, its own.
    fn address(&self, provider: &Provider, model: &ModelRef) -> Result<String> {
        match provider.base_url.as_ref().or(self.base_url.as_ref()) {
            Some(address) => Ok(address.clone()),
            None => match keys::base_url(model.provider)? {
                Some(address) => Ok(address),
                None if model.provider.needs_address() => Err(no_address(model)),
                None => Ok(aws::own_address(model.provider.base_url)),
            },
        }
    }

    /// The format that was asked for: in the provider's table, or for all.
    fn wire(&self, provider: &Provider, model: &ModelRef) -> Result<Option<WireId>> {
        match provider.wire.or(self.wire) {
            Some(wire) if !model.provider.speaks(wire) => {
                Err(Error::Usage(format!("{} does not speak {}'s format; leave `wire` out", model.label, wire.name())))
            }
            wire => Ok(wire),
        }
    }
}

fn no_address(model: &ModelRef) -> Error {
    let (label, variable) = (&model.label, model.provider.base_url_variable.unwrap_or_default());
    Error::Usage(format!(
        "{label} needs the address of your resource: set {variable}, or --base-url, or base_url under [providers.{label}]"
    ))
}

/// The version in the provider's table, or else in the variable that Azure's SDK reads.
fn api_version(provider: &Provider, model: &ModelRef) -> Option<String> {
    let variable = || (model.provider.paths == Paths::Azure).then(|| keys::variable("OPENAI_API_VERSION")).flatten();
    provider.api_version.clone().or_else(variable)
}

/// Returns the headers that OpenAI's own SDKs make of its variables; another provider is told nothing of them.
fn own_headers(model: &ModelRef, lookup: &dyn Fn(&str) -> Option<String>) -> Headers {
    let variables = [("openai-organization", "OPENAI_ORG_ID"), ("openai-project", "OPENAI_PROJECT_ID")]
        .into_iter()
        .filter(|_| model.provider.name == "openai" && model.label == model.provider.name);
    variables.filter_map(|(header, name)| Some((header.to_owned(), lookup(name)?.into()))).collect()
}

/// Returns the catalog's price, except that of Bedrock's models: it depends on the way on which they are reached.
fn known_price(model: &ModelRef) -> Option<Price> {
    let by_way = model.provider.auth == Auth::Aws;
    model.facts().filter(|_| !by_way).and_then(|facts| facts.price)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openai_alone_is_told_organization_and_project() {
        let lookup = |name: &str| (name == "OPENAI_ORG_ID").then(|| "org-1".to_owned());
        let headers = |model: &str| own_headers(&catalog::resolve(model, None, &[]).unwrap(), &lookup);
        let told = headers("openai/gpt-5-mini");
        assert_eq!(
            told.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect::<Vec<_>>(),
            [("openai-organization", "org-1")]
        );
        assert!(headers("groq/openai/gpt-oss-120b").is_empty() && headers("sim/echo").is_empty());
    }
}
