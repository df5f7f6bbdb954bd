//! The client that the settings ask for: targets, transports, limits.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use http::{HeaderName, HeaderValue};
use tidegate::call::pool::{self, PoolOptions, ProxyRules, ProxyUrls};
use tidegate::call::provider::Auth;
use tidegate::{
    Balance, Bedrock, Client, ClientBuilder, ContextCacheOptions, Dedupe, Error, Limits, Observer, PromptCache,
    RetryPolicy, Target,
};

use super::job::ask_policy;
use crate::aws::Signing;
use crate::google;
use crate::keys::Keys;
use crate::settings::{self, EndpointSettings, Http2, Settings};
use crate::sim_server::read_scenario;
use crate::{aws, cache, keys};

/// File descriptors that are needed for other things than connections.
const OTHER_FILES: u64 = 64;

/// Finds an endpoint's keys; a look at what would be sent needs none.
type FindKeys = fn(&EndpointSettings) -> tidegate::Result<Keys>;

pub(super) fn client(
    settings: &Settings,
    observer: Option<Arc<dyn Observer>>,
    keys: FindKeys,
    signing: Signing,
) -> anyhow::Result<Client> {
    Ok(builder(settings, observer, keys, signing)?.build()?)
}

/// Puts together what the settings say.
///
/// # Errors
/// A setting that cannot be, a file that cannot be read, a key that is missing.
pub(crate) fn builder(
    settings: &Settings,
    observer: Option<Arc<dyn Observer>>,
    keys: FindKeys,
    signing: Signing,
) -> anyhow::Result<ClientBuilder> {
    let endpoints = settings.resolve()?;
    settings.refuse_idle(&endpoints)?;
    let total = Limits { concurrency: Some(most_connections(settings)?), ..settings.total.into() };
    let mut builder = Client::builder()
        .total(total)
        .pace(settings.pace.into())
        .pacing(settings.cooldown.pacing(settings.pace))
        .balance(settings.balance.as_deref().and_then(Balance::from_name).unwrap_or_default())
        .retry(RetryPolicy {
            max_attempts: settings.retry.max_attempts,
            max_rate_limit_retries: settings.retry.max_rate_limit_retries,
            timeout: settings.retry.timeout,
            budget: settings.retry.budget,
            deadline: settings.retry.deadline,
            hedge: settings.retry.hedge.filter(|share| *share > 0.0),
            stream: settings.retry.stream,
            first_delta: settings.retry.first_delta_timeout,
            idle: settings.retry.idle_timeout,
            ..RetryPolicy::default()
        })
        .ask_policy(ask_policy(settings)?)
        .dedupe(dedupe(settings)?)
        .pool(pool_options(settings)?);
    if let Some(path) = &settings.run.scenario {
        builder = builder.scenario(read_scenario(path)?);
    }
    if let Some(observer) = observer {
        // Nothing is opened for a mere look.
        builder = cache::add(builder.observer(observer), settings)?;
    }
    let on_bedrock = endpoints.iter().any(|endpoint| endpoint.model.provider.auth == Auth::Aws);
    let bedrock = on_bedrock.then(|| aws::bedrock(settings, signing)).transpose()?;
    if settings.bedrock.regions_first {
        builder = builder.regions_first();
    }
    if let Some(count) = settings.bedrock.regions_per_request {
        builder = builder.regions_per_request(count);
    }
    for endpoint in endpoints {
        builder = add_target(builder, &endpoint, keys, bedrock.as_ref(), settings)?;
    }
    Ok(builder)
}

fn add_target(
    builder: ClientBuilder,
    endpoint: &EndpointSettings,
    keys: FindKeys,
    bedrock: Option<&Bedrock>,
    settings: &Settings,
) -> anyhow::Result<ClientBuilder> {
    let found = keys(endpoint)?;
    let mut target = Target::of(&endpoint.model).base_url(&endpoint.base_url).limits(endpoint.limits.into());
    if let Some((name, limits)) = &endpoint.account {
        target = target.account(name, (*limits).into());
    }
    if let Some(price) = endpoint.price {
        target = target.price(price);
    }
    if let Some(weight) = endpoint.weight {
        target = target.weight(weight);
    }
    if let Some(structure) = endpoint.provider.structure {
        target = target.structure(structure);
    }
    if endpoint.by_name {
        target = target.by_name();
    }
    if let Some(wire) = endpoint.wire {
        target = target.wire(wire);
    }
    if let Some(version) = &endpoint.api_version {
        target = target.api_version(version);
    }
    if endpoint.provider.auth == Some(settings::Auth::Bearer) || found.tokens {
        target = target.auth(Auth::Bearer);
    }
    if endpoint.model.provider.auth == Auth::Google {
        target = target.vertex(google::vertex(&endpoint.provider, !found.keys.is_empty())?);
    }
    target = target.prompt_cache(match settings.calls.prompt_cache {
        settings::PromptCache::Off => PromptCache::Off,
        settings::PromptCache::Conservative => PromptCache::Conservative,
        settings::PromptCache::Aggressive => PromptCache::Aggressive,
    });
    if let Some(options) = context_cache(settings) {
        target = target.context_cache(options);
    }
    if let Some(bedrock) = bedrock.filter(|_| endpoint.model.provider.auth == Auth::Aws) {
        target = target.bedrock(bedrock.clone());
    }
    for (name, value) in &endpoint.headers {
        let value = HeaderValue::from_str(value.as_str())
            .with_context(|| format!("the header {name} has a value that cannot be sent"))?;
        target =
            target.header(HeaderName::try_from(name).with_context(|| format!("{name} is not a header's name"))?, value);
    }
    let source = found.source;
    target = target.key_source(Arc::new(move || source.reload().unwrap_or_default()));
    Ok(builder.target(found.keys.into_iter().fold(target, Target::key)))
}

/// Returns when identical rows are asked once.
fn dedupe(settings: &Settings) -> anyhow::Result<Dedupe> {
    match (settings.calls.dedupe, settings.repeat) {
        (true, 2..) => {
            let message = "--repeat asks for a new answer each time, which --dedupe would prevent; give one of them";
            Err(Error::Usage(message.to_owned()).into())
        }
        (true, _) => Ok(Dedupe::Always),
        (false, _) => Ok(Dedupe::AtTemperatureZero),
    }
}

fn context_cache(settings: &Settings) -> Option<ContextCacheOptions> {
    let options = ContextCacheOptions::new(settings.run.context_cache?);
    Some(if settings.run.delete_context_cache { options.delete_at_end() } else { options })
}

pub(crate) fn pool_options(settings: &Settings) -> anyhow::Result<PoolOptions> {
    Ok(PoolOptions {
        connect_timeout: settings.retry.connect_timeout,
        http2: match settings.run.http2 {
            Http2::Auto => pool::Http2::Auto,
            Http2::Never => pool::Http2::Never,
            Http2::Always => pool::Http2::PriorKnowledge,
        },
        proxy: ProxyRules::new(&proxies())?,
        ..PoolOptions::default()
    })
}

pub(crate) fn proxies() -> ProxyUrls {
    let either = |name: &str| keys::variable(name).or_else(|| keys::variable(&name.to_uppercase()));
    // A program under CGI finds what its client sent as `Proxy:` in HTTP_PROXY: only the lower-case name counts there.
    let cgi = keys::variable("REQUEST_METHOD").is_some();
    ProxyUrls {
        https_proxy: either("https_proxy"),
        http_proxy: if cgi { keys::variable("http_proxy") } else { either("http_proxy") },
        all_proxy: either("all_proxy"),
        no_proxy: either("no_proxy"),
    }
}

/// Raises the limit of open files as far as it goes, and returns how many requests may be in flight.
fn most_connections(settings: &Settings) -> anyhow::Result<u32> {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let most = u32::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(u32::MAX).max(1);
    let wanted = settings.total.concurrency.or(settings.limits.concurrency);
    if wanted.is_some_and(|wanted| wanted > most) {
        let note =
            format!("only {files} files may be open: at most {most} requests are in flight; raise it with ulimit -n");
        writeln!(std::io::stderr(), "warning: {note}")?;
    }
    Ok(settings.total.concurrency.unwrap_or(most).min(most))
}
