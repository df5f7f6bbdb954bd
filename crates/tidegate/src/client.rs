//! The client: targets, transports and limits put together once, then shared by everything that sends.

mod about;
mod call_pool;
mod control;
mod defaults;
mod dry_run;
mod google;
mod media;
mod outputs;
pub(crate) mod preview;
mod refresh;
mod single;
mod spot;
mod streaming;
mod target;
mod transports;
mod validation;
mod watch;

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use futures_util::Stream;
use futures_util::stream;

use self::about::About;
pub use self::about::{AccessInfo, Way};
pub use self::call_pool::{CallPool, PoolError, PoolLimits};
pub use self::refresh::{Refresh, Refreshed};
pub use self::spot::{Bedrock, RegionOrder};
use self::spot::{Spot, spots};
pub use self::streaming::Streaming;
pub use self::target::Target;
use self::transports::Transports;
pub use self::validation::{CheckedAccount, CheckedModel, CheckedRegion, Validation};
use crate::ask::cache::{Answers, Shelf};
use crate::ask::check::Check;
use crate::ask::policy::AskPolicy;
use crate::call::pool::PoolOptions;
use crate::call::prompt_cache::PromptCache;
use crate::call::transport::Transport;
use crate::dispatch::admission::{Admission, RouteId};
use crate::dispatch::balance::{Balance, Chooser, Policy};
use crate::dispatch::endpoint::{Endpoint, Split};
use crate::dispatch::gate::SharedLimits;
use crate::dispatch::hedge::Hedges;
use crate::dispatch::tried::Tried;
use crate::dispatch::{Classify, Dispatcher, RetryPolicy};
use crate::error::{Error, Result};
use crate::event::{Observer, Observers, Snapshot};
use crate::failure::Failure;
use crate::limits::{Limits, Pace, Pacing};
use crate::money::Price;
use crate::outcome::Outcome;
use crate::request::{Params, Request};
use crate::run::{Dedupe, Item, Run};
use crate::sim::Scenario;

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
    dedupe: Dedupe,
    cache: Option<Arc<dyn Shelf>>,
    pool: PoolOptions,
    scenario: Scenario,
    transport: Option<Arc<dyn Transport>>,
    observers: Observers,
    background: Vec<Arc<dyn Observer>>,
    classify: Option<Classify>,
    seed: u64,
    regions_first: bool,
    regions_per_request: Option<NonZeroUsize>,
    dry_run: bool,
    defaults: Params,
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

    /// Asks every model in the first region of Bedrock's before any in the second. Default: the first model in every
    /// region before the second model.
    #[must_use]
    pub fn regions_first(mut self) -> ClientBuilder {
        self.regions_first = true;
        self
    }

    /// Gives each request only this many of Bedrock's regions, and lets it fail over among those. Default: all of them.
    ///
    /// Regions take turns then; under [`Balance::LeastLoaded`] the ones with the fewest requests in flight come first. A
    /// region that has gone out of service gets none, and its requests get others.
    #[must_use]
    pub fn regions_per_request(mut self, count: NonZeroUsize) -> ClientBuilder {
        self.regions_per_request = Some(count);
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

    /// Sets when identical requests of one run are asked once. Default: if their temperature is 0.
    #[must_use]
    pub fn dedupe(mut self, dedupe: Dedupe) -> ClientBuilder {
        self.dedupe = dedupe;
        self
    }

    /// Answers from this cache what was answered before, and keeps new answers there. Default: none.
    ///
    /// What is [streamed](Client::stream) is always asked for.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn cache(mut self, cache: impl Into<Arc<crate::Cache>>) -> ClientBuilder {
        self.cache = Some(cache.into());
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
        let mut transports = Transports::new(&self);
        let endpoints = self.endpoints(&accounts, &mut transports)?;
        let shuffled = |target: &Target| target.bedrock.as_ref().is_some_and(Bedrock::shuffles);
        let mut chooser = Chooser::new(self.balance, self.seed).shuffling(self.targets.iter().any(shuffled));
        if let Some(policy) = self.policy.take() {
            chooser = chooser.with_policy(policy);
        }
        let admission =
            Admission::new(endpoints.clone(), SharedLimits { total: self.total, accounts }, chooser, self.seed);
        let hedges = [(); 2].map(|()| Mutex::new(Hedges::new(endpoints.len())));
        let places = self.targets.iter().map(|target| (target.name.clone(), target.place.address().to_owned()));
        let answers = self.cache.take().map(|cache| Answers::new(cache, places));
        let observer = self.watchers()?;
        let follower = observer.clone().filter(|observer| observer.follows_items());
        let dispatcher = Dispatcher {
            admission,
            endpoints,
            retry: self.retry,
            observer,
            follower,
            runs: AtomicU64::new(0),
            classify: self.classify,
            hedges,
            regions: self.regions_per_request,
            tried: Tried::default(),
        };
        let warms = self.targets.iter().any(|target| target.prompt_cache != PromptCache::Off);
        Ok(Client {
            dispatcher: Arc::new(dispatcher),
            ask_policy: Arc::new(self.ask_policy),
            answers,
            dedupe: self.dedupe,
            warms,
            models,
            defaults: (!self.defaults.is_empty()).then(|| Arc::new(self.defaults)),
            about: Arc::new(About { targets: self.targets, network: transports.network }),
        })
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

    /// Makes an endpoint of every spot of every target.
    fn endpoints(&self, accounts: &[(Arc<str>, Limits)], transports: &mut Transports) -> Result<Vec<Arc<Endpoint>>> {
        let pacing = self.pacing.unwrap_or_else(|| self.pace.pacing());
        let weighted = self.targets.iter().any(|target| target.weight.is_some());
        let named = |account: &(Arc<str>, Limits)| accounts.iter().position(|(name, _)| *name == account.0);
        let mut found: Vec<(usize, &Target, Spot)> = Vec::new();
        for (place, target) in self.targets.iter().enumerate() {
            found.extend(spots(target)?.into_iter().map(|spot| (place, target, spot)));
        }
        let orders = self.orders(&found);
        let mut regions: Vec<Arc<str>> = found.iter().filter_map(|(_, _, spot)| spot.region().cloned()).collect();
        regions.sort();
        regions.dedup();
        let mut keys: Vec<String> = Vec::new();
        let mut endpoints: Vec<Arc<Endpoint>> = Vec::new();
        for ((place, target, spot), order) in found.into_iter().zip(orders) {
            let group = (place, spot.rank.0);
            let identity = spot.key();
            let key = keys.iter().position(|known| *known == identity).unwrap_or_else(|| {
                keys.push(identity);
                keys.len() - 1
            });
            endpoints.push(Arc::new(Endpoint {
                name: spot.name.clone(),
                model: target.name.clone(),
                order,
                region: spot.region().and_then(|region| regions.binary_search(region).ok()),
                key,
                weight: target.weight.or(weighted.then_some(1.0)),
                price: spot.price,
                max_input: target.max_input,
                max_output: target.max_output,
                split: spot.share.map(|(share, inside)| Split { group, share, inside }),
                limits: target.limits.or(self.pace.limits()),
                account: target.account.as_ref().and_then(named),
                pacing,
                caller: transports.caller(target, spot)?,
            }));
        }
        endpoints.sort_by_key(|endpoint| endpoint.order);
        Ok(endpoints)
    }
}

/// The items of plain requests from an iterator.
pub type Requests<I> = stream::Map<stream::Iter<I>, fn(Request) -> Item<()>>;

/// Sends requests. Cheap to clone; all clones share limits, connections and what was learned.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tidegate::Result<()> {
/// use tidegate::{Client, Request, Target};
/// let client = Client::builder().target(Target::new("sim/echo")?).build()?;
/// let outcome = client.send(&Request::prompt("How high is the tide?")).await;
/// println!("{} ({:?}, {} calls)", outcome.text().unwrap_or_default(), outcome.cost(), outcome.calls());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) ask_policy: Arc<AskPolicy>,
    pub(crate) answers: Option<Answers>,
    pub(crate) dedupe: Dedupe,
    /// Whether the first request of a prefix goes ahead.
    pub(crate) warms: bool,
    /// The models that are asked where none is named.
    models: Arc<[Arc<str>]>,
    /// What requests say where they say nothing themselves.
    pub(crate) defaults: Option<Arc<Params>>,
    about: Arc<About>,
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

    /// Sends one request and takes its reply piece by piece.
    ///
    /// ```
    /// use futures_util::StreamExt;
    /// use tidegate::{Client, Delta, Request, Target};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::builder().target(Target::new("sim/echo")?).build()?;
    /// let mut reply = client.stream(&Request::prompt("When does the tide turn?"));
    /// let mut text = String::new();
    /// while let Some(delta) = reply.next().await {
    ///     if let Delta::Text(more) = delta? {
    ///         text += &more;
    ///     }
    /// }
    /// let outcome = reply.outcome().await;
    /// assert_eq!(outcome.text(), Ok(&*text));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream(&self, request: &Request) -> Streaming {
        Streaming::new(self.clone(), request.clone())
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
        self.dispatcher.endpoint(model)
    }

    /// Returns the route over these models, the first preferred; over those that are asked without a name if there are none.
    pub(crate) fn route(&self, models: &[Arc<str>]) -> RouteId {
        self.dispatcher.admission.route(if models.is_empty() { &self.models } else { models })
    }
}
