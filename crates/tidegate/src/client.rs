//! The client: targets, transports and limits put together once, then shared by everything that sends.

mod control;
mod outputs;
mod single;

use std::sync::{Arc, Mutex};

use futures_util::Stream;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;

use crate::ask::check::Check;
use crate::ask::policy::AskPolicy;
use crate::call::form::Structure;
use crate::call::pool::{Pool, PoolOptions};
use crate::call::provider::{Provider, Quirks, Reach};
use crate::call::transport::Transport;
use crate::call::{Caller, HttpCaller, HttpTarget, KeySource};
use crate::catalog::{self, ModelRef};
use crate::dispatch::admission::{Admission, RouteId};
use crate::dispatch::balance::{Balance, Chooser, Policy};
use crate::dispatch::endpoint::Endpoint;
use crate::dispatch::gate::SharedLimits;
use crate::dispatch::hedge::Hedges;
use crate::dispatch::{Dispatcher, RetryPolicy};
use crate::error::{Error, Result};
use crate::event::{Observer, Snapshot};
use crate::failure::Failure;
use crate::limits::{Limits, Pace, Pacing};
use crate::money::Price;
use crate::outcome::Outcome;
use crate::request::Request;
use crate::run::{Item, Run};
use crate::sim::{Scenario, SimTransport};

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
    name: Arc<str>,
    place: Place,
    keys: Vec<SecretString>,
    source: Option<KeySource>,
    headers: HeaderMap,
    limits: Limits,
    account: Option<(Arc<str>, Limits)>,
    price: Option<Price>,
    max_input: Option<u32>,
    max_output: Option<u32>,
    weight: Option<f64>,
    /// Whether it is asked only where it is named.
    by_name: bool,
}

#[derive(Clone)]
enum Place {
    Provider { provider: Provider, model: String, base_url: String },
    Caller(Arc<dyn Caller>),
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
        let provider = Provider { quirks: quirks(model), ..*model.provider };
        let place = Place::Provider { provider, model: model.name.clone(), base_url };
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
        self.price = Some(price);
        self
    }

    /// Sets its share of the requests under [`Balance::Weighted`]: 3 gets three times as many as 1, which is what others
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
    let quirks = model.provider.quirks;
    match model.facts() {
        Some(facts) => Quirks { max_output: facts.max_output, sampling: facts.sampling, ..quirks },
        None => quirks,
    }
}

/// Puts a [`Client`] together.
///
/// ```
/// use std::time::Duration;
/// use tidegate::{Balance, Client, Limits, RetryPolicy, Target};
/// let client = Client::builder()
///     .target(Target::new("sim/a")?)
///     .target(Target::new("sim/b")?)
///     .balance(Balance::WaterFill)
///     .total(Limits { rpm: Some(6000.0), ..Limits::default() })
///     .retry(RetryPolicy { timeout: Duration::from_secs(60), ..RetryPolicy::default() })
///     .observer(std::sync::Arc::new(|event: &tidegate::Event| println!("{event:?}")))
///     .build()?;
/// assert_eq!(client.models().len(), 2);
/// # Ok::<(), tidegate::Error>(())
/// ```
#[derive(Default)]
pub struct ClientBuilder {
    targets: Vec<Target>,
    total: Limits,
    pace: Pace,
    pacing: Option<Pacing>,
    balance: Balance,
    policy: Option<Box<dyn Policy>>,
    retry: RetryPolicy,
    ask_policy: AskPolicy,
    pool: PoolOptions,
    scenario: Scenario,
    transport: Option<Arc<dyn Transport>>,
    observer: Option<Arc<dyn Observer>>,
    seed: u64,
}

impl ClientBuilder {
    /// Adds a model; the first is preferred, unless a policy balances them.
    #[must_use]
    pub fn target(mut self, target: Target) -> ClientBuilder {
        self.targets.push(target);
        self
    }

    /// Sets the limits of all endpoints together.
    #[must_use]
    pub fn total(mut self, total: Limits) -> ClientBuilder {
        self.total = total;
        self
    }

    /// Chooses limits for targets that state none, and the pacing. Default: balanced.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> ClientBuilder {
        self.pace = pace;
        self
    }

    /// Sets how endpoints start, pause and come back, in place of the pace's way.
    #[must_use]
    pub fn pacing(mut self, pacing: Pacing) -> ClientBuilder {
        self.pacing = Some(pacing);
        self
    }

    /// Sets how requests are spread over several models. Default: in order, as a fallback list.
    #[must_use]
    pub fn balance(mut self, balance: Balance) -> ClientBuilder {
        self.balance = balance;
        self
    }

    /// Spreads requests over several models by a policy of the user's own, in place of one by name.
    #[must_use]
    pub fn policy(mut self, policy: impl Policy + 'static) -> ClientBuilder {
        self.policy = Some(Box::new(policy));
        self
    }

    /// Sets how often and how patiently a request is tried.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> ClientBuilder {
        self.retry = retry;
        self
    }

    /// Sets what answers must pass, how often they are asked for again, and of whom.
    #[must_use]
    pub fn ask_policy(mut self, policy: AskPolicy) -> ClientBuilder {
        self.ask_policy = policy;
        self
    }

    /// Adds a check that every answer must pass.
    #[must_use]
    pub fn check(mut self, check: Check) -> ClientBuilder {
        self.ask_policy.checks.push(check);
        self
    }

    /// Sets how connections are made.
    #[must_use]
    pub fn pool(mut self, pool: PoolOptions) -> ClientBuilder {
        self.pool = pool;
        self
    }

    /// Sets how the simulated provider behaves.
    #[must_use]
    pub fn scenario(mut self, scenario: Scenario) -> ClientBuilder {
        self.scenario = scenario;
        self
    }

    /// Sends everything over this transport, in place of sockets and the simulated provider.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> ClientBuilder {
        self.transport = Some(transport);
        self
    }

    /// Tells this observer what happens.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> ClientBuilder {
        self.observer = Some(observer);
        self
    }

    /// Makes random choices repeatable.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> ClientBuilder {
        self.seed = seed;
        self
    }

    /// Makes the client.
    ///
    /// # Errors
    ///
    /// No target, a base URL or a key that cannot be used, a weight or a share that is not one.
    pub fn build(mut self) -> Result<Client> {
        if self.targets.is_empty() {
            return Err(Error::Usage("no model is given; name at least one".to_owned()));
        }
        self.check_shares()?;
        let models = self.models()?;
        let accounts = self.accounts()?;
        let endpoints = self.endpoints(&accounts)?;
        let mut chooser = Chooser::new(self.balance, self.seed);
        if let Some(policy) = self.policy.take() {
            chooser = chooser.with_policy(policy);
        }
        let admission =
            Admission::new(endpoints.clone(), SharedLimits { total: self.total, accounts }, chooser, self.seed);
        let hedges = Mutex::new(Hedges::new(endpoints.len()));
        let dispatcher = Dispatcher { admission, endpoints, retry: self.retry, observer: self.observer, hedges };
        Ok(Client { dispatcher: Arc::new(dispatcher), ask_policy: Arc::new(self.ask_policy), models })
    }

    /// Returns the models that are asked where none is named.
    fn models(&self) -> Result<Arc<[Arc<str>]>> {
        let all: Vec<_> = self.targets.iter().map(|target| target.name.clone()).collect();
        self.ask_policy.verify(&all)?;
        let unnamed = self.targets.iter().filter(|target| !target.by_name);
        let models: Arc<[_]> = unnamed.map(|target| target.name.clone()).collect();
        match models.is_empty() {
            true => Err(Error::Usage("every model is asked by name only; name one for the rest".to_owned())),
            false => Ok(models),
        }
    }

    fn check_shares(&self) -> Result<()> {
        if let Some(target) = self.targets.iter().find(|target| !target.weight.is_none_or(|w| w > 0.0 && w.is_finite()))
        {
            return Err(Error::Usage(format!("{}: a weight must be more than 0", target.name)));
        }
        let shares = [("hedge", self.retry.hedge), ("retry budget", self.retry.budget)];
        match shares.iter().find(|(_, share)| !share.is_none_or(|share| share >= 0.0)) {
            Some((name, _)) => Err(Error::Usage(format!("{name}: the share must not be less than 0"))),
            None => Ok(()),
        }
    }

    /// Collects the accounts that targets name.
    fn accounts(&self) -> Result<Vec<(Arc<str>, Limits)>> {
        let mut accounts: Vec<(Arc<str>, Limits)> = Vec::new();
        for (name, limits) in self.targets.iter().filter_map(|target| target.account.as_ref()) {
            match accounts.iter().find(|(known, _)| known == name) {
                None => accounts.push((name.clone(), *limits)),
                Some((_, known)) if known == limits => {}
                Some(_) => return Err(Error::Usage(format!("the account '{name}' is given two different limits"))),
            }
        }
        Ok(accounts)
    }

    /// Makes an endpoint of every key of every target.
    fn endpoints(&self, accounts: &[(Arc<str>, Limits)]) -> Result<Vec<Arc<Endpoint>>> {
        let pacing = self.pacing.unwrap_or_else(|| self.pace.pacing());
        let transports = Transports::new(self);
        let mut keys: Vec<String> = Vec::new();
        let mut endpoints = Vec::new();
        let weighted = self.targets.iter().any(|target| target.weight.is_some());
        for (order, target) in self.targets.iter().enumerate() {
            let secrets: Vec<Option<SecretString>> = match target.keys.len() {
                0 => vec![None],
                _ => target.keys.iter().cloned().map(Some).collect(),
            };
            for (i, secret) in secrets.into_iter().enumerate() {
                let identity = key_identity(target, secret.as_ref());
                let key = keys.iter().position(|known| *known == identity).unwrap_or_else(|| {
                    keys.push(identity);
                    keys.len() - 1
                });
                let name = if i == 0 { target.name.clone() } else { format!("{}#{}", target.name, i + 1).into() };
                let caller = transports.caller(target, secret, i)?;
                let weight = target.weight.or(weighted.then_some(1.0));
                let (limits, price) = (target.limits.or(self.pace.limits()), target.price);
                let named = |account: &(Arc<str>, Limits)| accounts.iter().position(|(name, _)| *name == account.0);
                endpoints.push(Arc::new(Endpoint {
                    name,
                    model: target.name.clone(),
                    order,
                    key,
                    weight,
                    price,
                    max_input: target.max_input,
                    max_output: target.max_output,
                    caller,
                    limits,
                    account: target.account.as_ref().and_then(named),
                    pacing,
                }));
            }
        }
        Ok(endpoints)
    }
}

/// Returns what tells one key from another: the secret with its address.
fn key_identity(target: &Target, secret: Option<&SecretString>) -> String {
    use secrecy::ExposeSecret;
    let address = match &target.place {
        Place::Provider { base_url, .. } => base_url.as_str(),
        Place::Caller(_) => &target.name,
    };
    format!("{address} {}", secret.map_or("", |secret| secret.expose_secret()))
}

/// The transports of one client: one pool, one simulated provider, shared by all targets.
struct Transports {
    network: Arc<dyn Transport>,
    simulated: Arc<dyn Transport>,
}

impl Transports {
    fn new(builder: &ClientBuilder) -> Transports {
        if let Some(transport) = &builder.transport {
            return Transports { network: transport.clone(), simulated: transport.clone() };
        }
        Transports {
            network: Arc::new(Pool::new(builder.pool.clone())),
            simulated: Arc::new(SimTransport::new(builder.scenario.clone())),
        }
    }

    fn caller(&self, target: &Target, key: Option<SecretString>, number: usize) -> Result<Arc<dyn Caller>> {
        let (provider, model, base_url) = match &target.place {
            Place::Caller(caller) => return Ok(caller.clone()),
            Place::Provider { provider, model, base_url } => (provider, model, base_url),
        };
        // A simulated provider with an address of its own is one that runs in another process.
        let transport = match provider.reach {
            Reach::Simulated if base_url == provider.base_url => &self.simulated,
            _ => &self.network,
        };
        let caller = HttpCaller::new(HttpTarget {
            provider,
            base_url,
            model,
            headers: target.headers.clone(),
            key,
            source: target.source.clone().map(|source| (source, number)),
            transport: transport.clone(),
        });
        Ok(Arc::new(caller.map_err(|message| Error::Usage(format!("{}: {message}", target.name)))?))
    }
}

/// The items of plain requests from an iterator.
pub type Requests<I> = stream::Map<stream::Iter<I>, fn(Request) -> Item<()>>;

/// Sends requests. Cheap to clone; all clones share limits, connections and what was learned.
#[derive(Clone)]
pub struct Client {
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) ask_policy: Arc<AskPolicy>,
    /// The models that are asked where none is named.
    models: Arc<[Arc<str>]>,
}

impl Client {
    /// Starts putting a client together.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Sends one request, with all retries.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call and sends nothing more.
    pub async fn send(&self, request: &Request) -> Outcome {
        self.send_with(request, &self.ask_policy).await
    }

    /// Sends many requests; the outcomes come as they are done.
    ///
    /// Requests are taken from the iterator only as they can be sent, so it may be endless.
    pub fn run<I>(&self, requests: I) -> Run<Requests<I::IntoIter>, ()>
    where
        I: IntoIterator<Item = Request>,
    {
        let items: fn(Request) -> Item<()> = Item::from;
        self.run_items(stream::StreamExt::map(stream::iter(requests), items))
    }

    /// Sends the requests of a stream, each with a context of the user's own that comes back with its outcome.
    pub fn run_items<S, C>(&self, items: S) -> Run<S, C>
    where
        S: Stream<Item = Item<C>>,
    {
        Run::new(self.clone(), items)
    }

    /// Returns how the endpoints are doing.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.dispatcher.admission.snapshot()
    }

    /// Returns why no endpoint serves any more, if that is so.
    #[must_use]
    pub fn exhausted(&self) -> Option<Failure> {
        self.dispatcher.admission.exhausted()
    }

    /// Returns the names of the models that are asked where none is named, in the user's order.
    #[must_use]
    pub fn models(&self) -> Vec<Arc<str>> {
        self.models.to_vec()
    }

    /// Returns the names of all models.
    pub(crate) fn all_models(&self) -> Vec<Arc<str>> {
        self.dispatcher.endpoints.iter().map(|endpoint| endpoint.model.clone()).collect()
    }

    /// Returns the price of a model, where known.
    #[must_use]
    pub fn price(&self, model: &str) -> Option<Price> {
        self.endpoint(model)?.price
    }

    fn endpoint(&self, model: &str) -> Option<&Arc<Endpoint>> {
        self.dispatcher.endpoints.iter().find(|endpoint| &*endpoint.model == model)
    }

    /// Returns the body that a model would be sent, where it is JSON.
    pub(crate) fn preview(&self, model: &str, request: &Request) -> Option<serde_json::Value> {
        let endpoint = self.endpoint(model)?;
        serde_json::from_slice(&endpoint.caller.preview(request)?).ok()
    }

    /// Returns the route over these models, the first preferred; over those that are asked without a name if there are none.
    pub(crate) fn route(&self, models: &[Arc<str>]) -> RouteId {
        self.dispatcher.admission.route(if models.is_empty() { &self.models } else { models })
    }
}
