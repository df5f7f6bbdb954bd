//! `tidegate run`: settings become a client and a job, the job runs, its summary becomes an exit code.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::{HeaderName, HeaderValue};
use tidegate::call::pool::{self, PoolOptions, ProxyRules, ProxyUrls};
use tidegate::call::provider::Auth;
use tidegate::run::fallback::Fallback;
use tidegate::run::input::{self, InputOptions};
use tidegate::run::job::{AtDeadline, Control, Job, Onlooker, StopOn, Tasks};
use tidegate::run::journal::Changed;
use tidegate::run::output;
use tidegate::run::packing::Packing;
use tidegate::run::prompt::{MediaColumn, PromptOptions};
use tidegate::run::summary::{Stopped, Summary};
use tidegate::{
    AskPolicy, Balance, Bedrock, Budget, Check, Client, ClientBuilder, ContextCacheOptions, Error, Kind, Limits,
    MediaKind, Money, Observer, RetryPolicy, Rung, Schema, Target, TaskKind,
};

use crate::args::RunArgs;
use crate::aws::Signing;
use crate::google;
use crate::keys::Keys;
use crate::logging::LogOptions;
use crate::metrics::{Calls, Metrics};
use crate::progress::events::Events;
use crate::progress::screen::{Screen, Style};
use crate::settings::{self, EndpointSettings, Http2, InputFormat, OnFailure, OutputFormat, Settings};
use crate::sim_server::read_scenario;
use crate::{aws, cache, inspect, keys, logging, metrics, moment, progress, runtime, signals, store};

/// File descriptors that are needed for other things than connections.
const OTHER_FILES: u64 = 64;

/// Runs the command.
pub(crate) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let settings = settings::load(&args)?;
    if args.config.print_config {
        return crate::print(&settings.masked_toml()?);
    }
    let job = job(&args, &settings)?;
    if args.trial.dry_run || args.trial.check_input {
        return look(&args, &job, &client(&settings, None, |_| Ok(Keys::none()), Signing::NotNeeded)?);
    }
    let summary = runtime()?.block_on(work(&job, &settings))?;
    Ok(exit_code(&summary))
}

/// Runs the job with everything that watches it, and says what it came to.
async fn work(job: &Job, settings: &Settings) -> anyhow::Result<Summary> {
    let (calls, onlooker) = calls(job, settings);
    let control = Control { onlooker, ..Control::default() };
    let screen = screen(job, settings);
    logging::start(&log_options(settings), &screen)?;
    let observer = Events::new(screen.clone(), settings.run.verbose);
    let client = client(settings, Some(Arc::new(observer)), keys::find, Signing::Needed)?;
    // Before anything is opened: a pipe that nobody writes to may be waited for for ever.
    signals::watch(control.clone(), screen.clone(), job.drain_timeout)?;
    for caution in job.cautions(&client) {
        screen.line(&format!("warning: {caution}"));
    }
    if job.out.is_none() {
        screen.line("results go to the standard output: without -o there is no journal, and the run cannot be resumed");
    }
    let display = progress::show(client.clone(), control.clone(), screen.clone());
    let metrics = serve(settings, Metrics::new(client.clone(), control.progress.clone(), calls), &screen).await?;
    let summary = tokio::select! {
        biased;
        summary = job.run(&client, &control) => summary?,
        () = display => unreachable!("it is shown for ever"),
        never = metrics => match never {},
    };
    client.close().await;
    if let Some(path) = &settings.output.summary {
        crate::summary::write_json(&summary, path)?;
    }
    match screen.style {
        Style::Quiet => crate::summary::print_error(&summary, &mut std::io::stderr())?,
        Style::Json => progress::events::summary(&screen, &summary),
        _ => crate::summary::print(&summary, job.out.as_deref(), settings.file.as_deref(), &mut std::io::stderr())?,
    }
    Ok(summary)
}

/// Makes the counts of calls, and who counts them, if anybody wants to know.
fn calls(job: &Job, settings: &Settings) -> (Calls, Option<Onlooker>) {
    let kind = if job.prompt.embed.is_some() { TaskKind::Embed } else { TaskKind::Chat };
    let calls = Calls::new(kind);
    let counted = calls.clone();
    let onlooker = settings.run.metrics_listen.map(|_| Onlooker::new(move |outcome| counted.note(outcome)));
    (calls, onlooker)
}

/// Takes the address of the metrics, and returns what serves them for ever.
async fn serve(
    settings: &Settings,
    metrics: Metrics,
    screen: &Screen,
) -> anyhow::Result<impl Future<Output = Infallible> + use<>> {
    let listener = match settings.run.metrics_listen {
        Some(address) => Some(metrics::listen(address).await?),
        None => None,
    };
    if let Some(listener) = &listener {
        screen.line(&format!("metrics: http://{}/metrics", listener.local_addr()?));
    }
    Ok(async move {
        match listener {
            Some(listener) => metrics::serve(listener, metrics).await,
            None => std::future::pending().await,
        }
    })
}

fn screen(job: &Job, settings: &Settings) -> Screen {
    Screen::new(match (settings.run.quiet, settings.run.json_events) {
        (_, true) => Style::Json,
        (true, _) => Style::Quiet,
        _ => Style::fitting(job.out.as_deref()),
    })
}

/// Returns the exit code that tells how it went.
fn exit_code(summary: &Summary) -> ExitCode {
    match &summary.stopped {
        Some(Stopped::User) => ExitCode::from(130),
        Some(Stopped::Input { .. }) => ExitCode::from(2),
        Some(_) => ExitCode::from(3),
        None if summary.unsent > 0 => ExitCode::from(3),
        None if summary.failed + summary.failed_before > 0 => ExitCode::from(1),
        None => ExitCode::SUCCESS,
    }
}

fn look(args: &RunArgs, job: &Job, client: &Client) -> anyhow::Result<ExitCode> {
    let found = job.inspect(client)?;
    let text = if args.trial.json {
        serde_json::to_string_pretty(&found)? + "\n"
    } else {
        inspect::describe(&found, args.trial.dry_run)
    };
    crate::print(&text)?;
    Ok(if found.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn log_options(settings: &Settings) -> LogOptions<'_> {
    LogOptions {
        verbose: settings.run.verbose,
        file: settings.run.log_file.as_deref(),
        format: settings.run.log_format,
    }
}

fn job(args: &RunArgs, settings: &Settings) -> anyhow::Result<Job> {
    let template = match (&settings.prompt, &settings.template) {
        (Some(text), _) => Some((text.clone(), "-p".to_owned())),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path);
            let text =
                text.map_err(|e| Error::Usage(format!("the template {} cannot be read: {e}", path.display())))?;
            Some((text, path.display().to_string()))
        }
        (None, None) => None,
    };
    let inputs: Vec<String> = args.input.inputs.iter().map(|path| path.display().to_string()).collect();
    let out = settings.output.path.as_ref().and_then(|path| path.to_str());
    let names = inputs.iter().map(String::as_str).chain(out);
    let (redo, keep) = (args.resume.redo_changed, args.resume.keep_changed);
    Ok(Job {
        input: InputOptions {
            paths: inputs.clone(),
            format: settings.format.map(input_format),
            max_row_bytes: settings.run.max_row_bytes as usize,
            store: store::needed(names)?,
            ..InputOptions::default()
        },
        prompt: PromptOptions {
            template,
            system: settings.system.clone(),
            embed: settings.embed.clone(),
            media: media_columns(settings),
            lossy: settings.lossy,
            params: settings.params.clone(),
            schema: settings.schema.as_deref().map(schema).transpose()?,
            id_column: settings.id_column.clone(),
        },
        out: settings.output.path.clone(),
        journal: settings.output.journal.clone(),
        format: output_format(settings),
        packing: packing(settings),
        fields: settings.fields.clone().unwrap_or_default(),
        output_column: settings.output.column.clone(),
        lift: settings.lift.clone().unwrap_or_default(),
        tasks: tasks(settings)?,
        each_model: settings.each_model,
        repeat: u16::try_from(settings.repeat)
            .map_err(|_| Error::Usage("--repeat must be at most 65535".to_owned()))?,
        rows: args.trial.rows.map(u64::from),
        sample: args.trial.sample.map(u64::from),
        skip_bad_rows: settings.run.skip_bad_rows,
        allow_duplicate_ids: settings.run.allow_duplicate_ids,
        prune: args.resume.prune,
        ordered: settings.output.ordered,
        changed: match (redo, keep) {
            (true, _) => Changed::Redo,
            (_, true) => Changed::Keep,
            _ => Changed::Ask,
        },
        retry_failed: match &args.resume.retry_failed {
            None => Vec::new(),
            Some(kinds) if kinds.is_empty() => Kind::ALL.into_iter().filter(|kind| kind.is_transient()).collect(),
            Some(kinds) => kinds.clone(),
        },
        budget: Budget {
            usd: settings.budget.usd.map(Money::from_usd),
            tokens: settings.budget.tokens.and_then(|tokens| u64::try_from(tokens).ok()),
        },
        stop_on: stop_on(settings),
        fallback: fallback(settings)?,
        max_time: max_time(settings)?,
        at_deadline: match settings.stop.at_deadline {
            settings::AtDeadline::Drain => AtDeadline::Drain,
            settings::AtDeadline::Cancel => AtDeadline::Cancel,
        },
        drain_timeout: settings.run.drain_timeout,
    })
}

fn stop_on(settings: &Settings) -> StopOn {
    let stop = &settings.stop;
    let usual = StopOn::default();
    StopOn {
        first_failure: stop.on_failure == Some(OnFailure::Stop),
        failure_rate: stop.max_failure_rate,
        min_sample: stop.min_sample.map_or(usual.min_sample, u64::from),
        kinds: stop.on.clone(),
    }
}

/// Returns the last resort; one that is set counts unless another policy is asked for by name.
fn fallback(settings: &Settings) -> anyhow::Result<Option<Fallback>> {
    match (settings.stop.on_failure, &settings.stop.fallback) {
        (Some(OnFailure::Fallback), None) => {
            Err(Error::Usage("--on-failure fallback needs the text: give --fallback TEXT".to_owned()).into())
        }
        (None | Some(OnFailure::Fallback), Some(text)) => Ok(Some(Fallback::text(text))),
        _ => Ok(None),
    }
}

/// Returns how long the run may take: whichever ends first.
fn max_time(settings: &Settings) -> anyhow::Result<Option<Duration>> {
    let until = |text: &String| moment::until(text, &jiff::Zoned::now());
    let left = settings.stop.at.as_ref().map(until).transpose();
    let left = left.map_err(|reason| Error::Usage(format!("--stop-at: {reason}")))?;
    Ok(settings.stop.max_time.into_iter().chain(left).min())
}

/// Reads the file of the schema.
fn schema(path: &Path) -> anyhow::Result<Arc<Schema>> {
    let wrong = |error: &dyn std::fmt::Display| Error::Usage(format!("the schema {}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let value = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    Ok(Arc::new(Schema::new(value).map_err(|error| wrong(&error))?))
}

fn tasks(settings: &Settings) -> anyhow::Result<Tasks> {
    let mut models = BTreeMap::new();
    for (name, task) in &settings.tasks {
        let full = task.models.iter().map(|model| settings.full_name(model)).collect::<tidegate::Result<_>>()?;
        models.insert(name.clone(), full);
    }
    // Tasks that nothing else names are named by the column of that name.
    let column = settings.task_column.clone().or_else(|| (!models.is_empty()).then(|| "task".to_owned()));
    Ok(Tasks { models, task_column: column, model_column: settings.model_column.clone() })
}

/// Returns what answers must pass and how they are asked for again.
fn ask_policy(settings: &Settings) -> anyhow::Result<AskPolicy> {
    let checks = &settings.checks;
    let mut all =
        checks.expressions.iter().map(|source| Check::expression(source)).collect::<tidegate::Result<Vec<_>>>()?;
    for pattern in &checks.regexes {
        all.push(Check::regex(pattern)?);
    }
    all.extend(checks.command.iter().map(|command| Check::command(command, checks.timeout)));
    let mut ladder = Vec::new();
    for rung in &settings.ladder {
        let model = rung.model.as_deref().map(|model| settings.full_name(model)).transpose()?;
        ladder.push(Rung { model, params: rung.params.clone() });
    }
    let default = AskPolicy::default();
    Ok(AskPolicy {
        checks: all,
        retries: checks.max_retries,
        delay: checks.delay,
        ladder,
        advance_on: settings.ladder_on.clone().unwrap_or(default.advance_on),
    })
}

fn media_columns(settings: &Settings) -> Vec<MediaColumn> {
    let kinds = [
        (MediaKind::Image, &settings.image_column),
        (MediaKind::Document, &settings.document_column),
        (MediaKind::Audio, &settings.audio_column),
        (MediaKind::Video, &settings.video_column),
    ];
    let column = |kind, column: &String| MediaColumn { column: column.clone(), kind: Some(kind) };
    kinds.into_iter().flat_map(|(kind, columns)| columns.iter().map(move |name| column(kind, name))).collect()
}

pub(crate) fn input_format(format: InputFormat) -> input::Format {
    match format {
        InputFormat::Jsonl => input::Format::Jsonl,
        InputFormat::Csv => input::Format::Csv,
        InputFormat::Tsv => input::Format::Tsv,
        InputFormat::Text => input::Format::Text,
        InputFormat::Files => input::Format::Files,
        InputFormat::Parquet => input::Format::Parquet,
        InputFormat::Arrow => input::Format::Arrow,
    }
}

/// Returns the results' format: as told, else by the extension, else by the input.
fn output_format(settings: &Settings) -> Option<output::Format> {
    let told = settings.output.format.map(named_format);
    let by_name = settings.output.path.as_ref().and_then(|path| output::Format::from_path(&path.to_string_lossy()));
    // JSONL is what is written anyway, and batch files have results of their own.
    told.or_else(|| by_name.filter(|format| *format != output::Format::Jsonl))
}

/// Returns the library's name for a format.
pub(crate) fn named_format(format: OutputFormat) -> output::Format {
    match format {
        OutputFormat::Jsonl => output::Format::Jsonl,
        OutputFormat::Csv => output::Format::Csv,
        OutputFormat::Tsv => output::Format::Tsv,
        OutputFormat::Batch => output::Format::OpenaiBatch,
        OutputFormat::Parquet => output::Format::Parquet,
        OutputFormat::Arrow => output::Format::Arrow,
        OutputFormat::ArrowStream => output::Format::ArrowStream,
    }
}

fn packing(settings: &Settings) -> Option<Packing> {
    Packing::split(&settings.output.path.as_ref()?.to_string_lossy()).1
}

/// Finds an endpoint's keys; a look at what would be sent needs none.
type FindKeys = fn(&EndpointSettings) -> tidegate::Result<Keys>;

fn client(
    settings: &Settings,
    observer: Option<Arc<dyn Observer>>,
    keys: FindKeys,
    signing: Signing,
) -> anyhow::Result<Client> {
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
        .pool(pool_options(settings)?);
    if let Some(path) = &settings.run.scenario {
        builder = builder.scenario(read_scenario(path)?);
    }
    if let Some(observer) = observer {
        // Nothing is opened for a mere look.
        builder = cache::add(builder.observer(observer), settings)?;
    }
    let endpoints = settings.resolve()?;
    let on_bedrock = endpoints.iter().any(|endpoint| endpoint.model.provider.auth == Auth::Aws);
    let bedrock = on_bedrock.then(|| aws::bedrock(settings, signing)).transpose()?;
    if settings.bedrock.regions_first {
        builder = builder.regions_first();
    }
    for endpoint in endpoints {
        builder = add_target(builder, &endpoint, keys, bedrock.as_ref(), context_cache(settings))?;
    }
    Ok(builder.build()?)
}

fn add_target(
    builder: ClientBuilder,
    endpoint: &EndpointSettings,
    keys: FindKeys,
    bedrock: Option<&Bedrock>,
    context_cache: Option<ContextCacheOptions>,
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
    if endpoint.provider.auth == Some(settings::Auth::Bearer) {
        target = target.auth(Auth::Bearer);
    }
    if endpoint.model.provider.auth == Auth::Google {
        target = target.vertex(google::vertex(&endpoint.provider, !found.keys.is_empty())?);
    }
    if let Some(options) = context_cache {
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
