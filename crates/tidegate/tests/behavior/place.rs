//! A row of the providers' table in one of its formats, and what it has.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate::call::aws::{Account, Credentials};
use tidegate::call::form::Structure;
use tidegate::call::provider::{Auth, PROVIDERS, Paths, Provider, Reach, provider};
use tidegate::call::wire::WireId;
use tidegate::catalog::{self, ModelKind};
use tidegate::{Bedrock, Client, Media, MediaKind, Outcome, Part, Request, RetryPolicy, Target, TaskKind, Vertex};

/// The key that the simulated provider knows.
pub(crate) const KEY: &str = "sk-known";
/// The AWS account that it knows.
pub(crate) const ACCOUNT: (&str, &str) = ("AKIAKNOWN", "secret");

/// Where a behaviour is looked at.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) provider: &'static Provider,
    pub(crate) wire: WireId,
    pub(crate) model: String,
    pub(crate) embedding: String,
    /// Whether the provider itself is asked.
    pub(crate) live: bool,
    /// Where the simulated provider listens.
    address: Option<SocketAddr>,
}

/// What a behaviour needs of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    /// Replies in pieces.
    Stream,
    Embeddings,
    /// A place for images in its format.
    Images,
    /// A format in which a body may ask for several answers.
    Choices,
    /// Thoughts that are told beside the answer.
    Thoughts,
    /// A provider that behaves as it is told.
    Simulated,
}

impl Place {
    pub(crate) fn name(&self) -> String {
        match self.wire == self.provider.wire {
            true => self.provider.name.to_owned(),
            false => format!("{}, {}", self.provider.name, self.wire.id()),
        }
    }

    /// Returns what is missing for a behaviour: all of it data of the row or of its format.
    pub(crate) fn lacks(&self, need: Need) -> Option<String> {
        let (wire, row) = (self.wire.wire(), self.provider);
        let image = || Part::media(Media::base64("image/png", "iVBORw0KGgo=").unwrap(), MediaKind::Image);
        let no = |missing: bool, what: &str| missing.then(|| what.to_owned());
        match need {
            Need::Stream => no(wire.stream_path("m").is_none(), "its format has no streams"),
            Need::Embeddings if wire.path(TaskKind::Embed, "m").is_none() => {
                // A row that speaks several formats embeds in the one that can.
                no(!row.also.contains(&WireId::Openai), "its format has no embeddings")
                    .or_else(|| self.lacks_embeddings())
            }
            Need::Embeddings => self.lacks_embeddings(),
            Need::Images => wire.refuses(&image()),
            Need::Choices => no(self.wire != WireId::Openai, "its format has one answer"),
            // Of real ones only some models do, and OpenAI's never.
            Need::Thoughts if self.live => Some("not every model tells its thoughts".to_owned()),
            Need::Thoughts => None,
            Need::Simulated => no(self.live, "only the simulated provider does so when asked"),
        }
    }

    fn lacks_embeddings(&self) -> Option<String> {
        let missing = !self.provider.embeds || self.embedding.is_empty();
        missing.then(|| "it has no models for embeddings".to_owned())
    }

    /// Returns whether it enforces schemas, in whichever way.
    pub(crate) fn enforces(&self) -> bool {
        !matches!(self.provider.quirks_of(&self.model).structure, Structure::Json | Structure::Told)
    }

    pub(crate) fn simulated(&self, address: SocketAddr) -> Place {
        Place { address: Some(address), ..self.clone() }
    }

    /// Returns the model as a target with a key that is good.
    pub(crate) fn target(&self, model: &str) -> Target {
        let target = self.bare(model);
        match (self.live, self.provider.auth) {
            (true, _) => self
                .provider
                .key
                .variables()
                .iter()
                .find_map(|name| variable(name))
                .into_iter()
                .fold(target, Target::key),
            (false, Auth::Aws) => self.of_account(target, ACCOUNT.1),
            (false, _) => target.key(KEY),
        }
    }

    /// Returns it with a key that is not.
    pub(crate) fn stranger(&self) -> Target {
        let target = self.bare(&self.model);
        match (self.live, self.provider.auth) {
            (false, Auth::Aws) => self.of_account(target, "wrong"),
            _ => target.key("sk-unknown"),
        }
    }

    fn bare(&self, model: &str) -> Target {
        let mut target = Target::new(&format!("{}/{model}", self.provider.name)).unwrap().wire(self.wire);
        let origin = self.address.map(|address| format!("http://{address}"));
        let own = self.provider.base_url_variable.and_then(variable).filter(|_| self.live);
        // Where SDKs mean the host alone, paths bring their version themselves.
        let version = if self.provider.base_url.ends_with("/v1") { "/v1" } else { "" };
        if let Some(url) = own.or(origin.map(|origin| format!("{origin}{version}"))) {
            target = target.base_url(&url);
        }
        let or = |name: &str, default: &str| variable(name).filter(|_| self.live).unwrap_or(default.to_owned());
        if self.provider.paths == Paths::Vertex {
            let location = or("GOOGLE_CLOUD_LOCATION", "global");
            target = target.vertex(Vertex::new(&or("GOOGLE_CLOUD_PROJECT", "project"), &location, None));
        }
        if self.provider.auth == Auth::Aws {
            target = target.bedrock(Bedrock { regions: vec![or("AWS_REGION", "us-east-1")], ..Bedrock::default() });
        }
        target
    }

    fn of_account(&self, target: Target, secret: &str) -> Target {
        let account = Account::new(None, Arc::new(Credentials::new(ACCOUNT.0, secret, None)));
        target.bedrock(Bedrock { regions: vec!["us-east-1".to_owned()], accounts: vec![account], ..Bedrock::default() })
    }

    /// Makes a client that tries everything once.
    pub(crate) fn client(&self, target: Target) -> Client {
        let once = RetryPolicy { max_attempts: 1, max_rate_limit_retries: Some(0), ..RetryPolicy::default() };
        Client::builder().target(target).retry(once).build().unwrap()
    }

    pub(crate) async fn ask(&self, request: Request) -> Outcome {
        self.client(self.target(&self.model)).send(&request).await
    }
}

/// Returns the places that are asked: every row in every format, or the providers that the environment names.
pub(crate) fn all() -> Vec<Place> {
    match variable("TIDEGATE_TEST") {
        None => PROVIDERS.iter().flat_map(|provider| places(provider, None)).collect(),
        Some(names) => names
            .split(',')
            .flat_map(|entry| {
                let (name, model) =
                    entry.trim().split_once('/').map_or((entry.trim(), None), |(name, model)| (name, Some(model)));
                let provider = provider(name).unwrap_or_else(|| panic!("TIDEGATE_TEST: there is no provider '{name}'"));
                let model = model.map(str::to_owned).or_else(|| cheapest(name, ModelKind::Chat));
                let model = model.unwrap_or_else(|| panic!("TIDEGATE_TEST: name a model of {name}: {name}/MODEL"));
                places(provider, Some(model))
            })
            .collect(),
    }
}

fn places(provider: &'static Provider, live: Option<String>) -> impl Iterator<Item = Place> {
    let wires = [provider.wire].into_iter().chain(provider.also.iter().copied().filter(|wire| *wire != provider.wire));
    wires.map(move |wire| Place {
        provider,
        wire,
        model: live.clone().unwrap_or_else(|| stand_in(provider).to_owned()),
        embedding: match (&live, provider.reach) {
            (Some(_), Reach::Network) => cheapest(provider.name, ModelKind::Embedding).unwrap_or_default(),
            _ => "embedding-1".to_owned(),
        },
        live: live.is_some(),
        address: None,
    })
}

/// Returns a model that the simulated provider stands in for. Bedrock's ids are looked up, so it has a real one.
fn stand_in(provider: &Provider) -> &'static str {
    match provider.auth {
        Auth::Aws => "anthropic.claude-3-haiku-20240307-v1:0",
        _ => "model-1",
    }
}

fn cheapest(provider: &str, kind: ModelKind) -> Option<String> {
    let models = catalog::models().iter().filter(|model| model.provider == provider && model.kind == kind);
    let current = models.filter(|model| model.retired.is_none() && model.sampling && model.price.is_some());
    let price = |model: &&catalog::Model| model.price.map(|price| price.input);
    current
        .min_by(|a, b| price(a).partial_cmp(&price(b)).unwrap_or(std::cmp::Ordering::Equal))
        .map(|model| model.name.to_owned())
}

#[expect(clippy::disallowed_methods, reason = "a real provider is asked only where the environment says so")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
