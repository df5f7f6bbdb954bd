//! A model to send to.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;

use super::spot::Bedrock;
use crate::call::context_cache::ContextCacheOptions;
use crate::call::form::Structure;
use crate::call::provider::{Auth, Provider, Quirks};
use crate::call::vertex::Vertex;
use crate::call::wire::WireId;
use crate::call::{Caller, KeySource};
use crate::catalog::{self, ModelKind, ModelRef};
use crate::error::Result;
use crate::limits::Limits;
use crate::money::Price;

/// A model to send to: where it is, with which keys, within which limits, at what price.
///
/// ```
/// use tidegate::{Limits, Price, Target};
/// let hosted = Target::new("openai/gpt-5-mini")?.key("sk-one").key("sk-two");
/// let own = Target::new("vllm/tide-7b")?
///     .base_url("http://10.0.0.7:8000/v1")
///     .limits(Limits { concurrency: Some(256), ..Limits::default() })
///     .price(Price::new(0.0, 0.0));
/// # let _ = (hosted, own);
/// # Ok::<(), tidegate::Error>(())
/// ```
#[derive(Clone)]
pub struct Target {
    /// The model as the user names it; records carry it.
    pub(super) name: Arc<str>,
    pub(super) place: Place,
    pub(super) keys: Vec<SecretString>,
    pub(super) source: Option<KeySource>,
    pub(super) headers: HeaderMap,
    pub(super) limits: Limits,
    pub(super) account: Option<(Arc<str>, Limits)>,
    pub(super) price: Option<Price>,
    pub(super) max_input: Option<u32>,
    pub(super) max_output: Option<u32>,
    pub(super) weight: Option<f64>,
    /// Whether it is asked only where it is named.
    pub(super) by_name: bool,
    pub(super) stated_price: bool,
    pub(super) bedrock: Option<Bedrock>,
    pub(super) vertex: Option<Vertex>,
    pub(super) context_cache: Option<ContextCacheOptions>,
}

#[derive(Clone)]
pub(super) enum Place {
    Provider { provider: Box<Provider>, model: String, base_url: String, api_version: Option<String> },
    Caller(Arc<dyn Caller>),
}

impl Place {
    /// Returns where it is, as far as that is known.
    pub(super) fn address(&self) -> &str {
        match self {
            Place::Provider { base_url, .. } => base_url,
            Place::Caller(_) => "",
        }
    }
}

impl Target {
    /// Makes a target from `provider/model` or from a bare name that exactly one provider has; the price comes from the
    /// catalog.
    ///
    /// # Errors
    ///
    /// An unknown provider or name, with the nearest known one.
    pub fn new(name: &str) -> Result<Target> {
        Ok(Target::of(&catalog::resolve(name, None, &[])?))
    }

    /// Makes a target of a model that the catalog found.
    #[must_use]
    pub fn of(model: &ModelRef) -> Target {
        let facts = model.facts();
        let (price, max_input) = (facts.and_then(|facts| facts.price), facts.and_then(|facts| facts.max_input));
        let max_output = facts.and_then(|facts| facts.max_output);
        let base_url = model.provider.base_url.to_owned();
        let mut provider = Box::new(Provider { quirks: quirks(model), ..*model.provider });
        if model.facts().is_some_and(|facts| facts.kind == ModelKind::Responses) && provider.speaks(WireId::Responses) {
            provider.wire = WireId::Responses;
        }
        let place = Place::Provider { provider, model: model.name.clone(), base_url, api_version: None };
        Target { price, max_input, max_output, ..Target::at(&model.to_string(), place) }
    }

    /// Makes a target of a caller of the user's own.
    #[must_use]
    pub fn caller(name: &str, caller: Arc<dyn Caller>) -> Target {
        Target::at(name, Place::Caller(caller))
    }

    fn at(name: &str, place: Place) -> Target {
        Target {
            name: name.into(),
            place,
            keys: Vec::new(),
            source: None,
            headers: HeaderMap::new(),
            limits: Limits::default(),
            account: None,
            price: None,
            max_input: None,
            max_output: None,
            weight: None,
            by_name: false,
            stated_price: false,
            bedrock: None,
            vertex: None,
            context_cache: None,
        }
    }

    /// Returns the model as records name it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends to another address, given as the provider's own SDK means it.
    #[must_use]
    pub fn base_url(mut self, url: &str) -> Target {
        if let Place::Provider { base_url, .. } = &mut self.place {
            url.clone_into(base_url);
        }
        self
    }

    /// Prefers this one of the formats that the provider speaks, such as OpenAI's Responses.
    #[must_use]
    pub fn wire(mut self, wire: WireId) -> Target {
        if let Place::Provider { provider, .. } = &mut self.place {
            provider.wire = wire;
        }
        self
    }

    /// Sets the API version that Azure's older addresses need; without one the newer addresses are used.
    #[must_use]
    pub fn api_version(mut self, version: &str) -> Target {
        if let Place::Provider { api_version, .. } = &mut self.place {
            *api_version = Some(version.to_owned());
        }
        self
    }

    /// Sends the key in another way than the provider's keys are sent: a token of Azure's Entra as [`Auth::Bearer`].
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Target {
        if let Place::Provider { provider, .. } = &mut self.place {
            provider.auth = auth;
        }
        self
    }

    /// Adds a key; several keys are endpoints of their own.
    #[must_use]
    pub fn key(mut self, key: impl Into<SecretString>) -> Target {
        self.keys.push(key.into());
        self
    }

    /// Says how to read the keys again after one was refused.
    #[must_use]
    pub fn key_source(mut self, source: KeySource) -> Target {
        self.source = Some(source);
        self
    }

    /// Adds a header to every request.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Target {
        self.headers.append(name, value);
        self
    }

    /// Sets the limits of each of its endpoints.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Target {
        self.limits = limits;
        self
    }

    /// Counts its requests against an account too, whose limits all targets that name it share.
    #[must_use]
    pub fn account(mut self, name: &str, limits: Limits) -> Target {
        self.account = Some((name.into(), limits));
        self
    }

    /// Sets the price, in place of the catalog's.
    #[must_use]
    pub fn price(mut self, price: Price) -> Target {
        (self.price, self.stated_price) = (Some(price), true);
        self
    }

    /// Says where a model of Bedrock is asked; each region, account and way to the model is an endpoint of its own.
    #[must_use]
    pub fn bedrock(mut self, bedrock: Bedrock) -> Target {
        self.bedrock = Some(bedrock);
        self
    }

    /// Sets its share of the requests under [`Balance::Weighted`](crate::Balance::Weighted): 3 gets three times as many as 1, which is what others
    /// count for if any has a weight.
    #[must_use]
    pub fn weight(mut self, weight: f64) -> Target {
        self.weight = Some(weight);
        self
    }

    /// Asks it only where an item, a task or a ladder names it.
    #[must_use]
    pub fn by_name(mut self) -> Target {
        self.by_name = true;
        self
    }

    /// Says what it makes of schemas, in place of what its provider is known for.
    #[must_use]
    pub fn structure(mut self, structure: Structure) -> Target {
        if let Place::Provider { provider, .. } = &mut self.place {
            provider.quirks.structure = structure;
        }
        self
    }

    /// Returns the price in force, if one is known.
    #[must_use]
    pub fn known_price(&self) -> Option<Price> {
        self.price
    }
}

/// Returns the provider's quirks with what the catalog knows of the model.
fn quirks(model: &ModelRef) -> Quirks {
    let quirks = model.provider.quirks_of(&model.name);
    match model.facts() {
        Some(facts) => Quirks { max_output: facts.max_output, sampling: quirks.sampling && facts.sampling, ..quirks },
        None => quirks,
    }
}
