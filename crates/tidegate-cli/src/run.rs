//! `tidegate run`: settings become a client and a job, the job runs, its summary becomes an exit code.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use http::{HeaderName, HeaderValue};
use tidegate::call::pool::{self, PoolOptions, ProxyRules, ProxyUrls};
use tidegate::call::provider::Auth;
use tidegate::run::input::{self, InputOptions};
use tidegate::run::job::{self, Control, Job};
use tidegate::run::journal::Changed;
use tidegate::run::output;
use tidegate::run::prompt::PromptOptions;
use tidegate::run::summary::{Stopped, Summary};
use tidegate::{Balance, Bedrock, Client, ClientBuilder, Error, Kind, Limits, Observer, RetryPolicy, Target};

use crate::args::{ReportArgs, RunArgs};
use crate::aws::Signing;
use crate::keys::Keys;
use crate::logging::LogOptions;
use crate::progress::events::Events;
use crate::progress::screen::{Screen, Style};
use crate::settings::{self, EndpointSettings, Http2, InputFormat, OutputFormat, Settings};
use crate::signals::Signals;
use crate::sim_server::read_scenario;
use crate::{aws, inspect, keys, logging, progress, runtime};

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

/// Prints the summary of everything that an output holds.
pub(crate) fn report(args: &ReportArgs) -> anyhow::Result<String> {
    let summary = job::report(&args.out)?;
    if args.json {
        return Ok(serde_json::to_string_pretty(&summary)? + "\n");
    }
    let mut text = Vec::new();
    crate::summary::print(&summary, Some(&args.out), None, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Runs the job with everything that watches it, and says what it came to.
async fn work(job: &Job, settings: &Settings) -> anyhow::Result<Summary> {
    let control = Control::default();
    let screen = screen(job, settings);
    logging::start(&log_options(settings), &screen)?;
    let observer = Events::new(screen.clone(), settings.run.verbose);
    let client = client(settings, Some(Arc::new(observer)), keys::find, Signing::Needed)?;
    let display = progress::show(client.clone(), control.clone(), screen.clone());
    if job.out.is_none() {
        screen.line("results go to the standard output: without -o there is no journal, and the run cannot be resumed");
    }
    let watch = async {
        let signals = Signals::new()?.watch(control.clone(), screen.clone(), job.drain_timeout);
        tokio::join!(signals, display);
        Ok::<(), std::io::Error>(())
    };
    let summary = tokio::select! {
        // In this order, because opening the input may wait for a pipe that nobody writes to: until that is over, and
        // nothing has been sent, a signal ends the process as it would any other.
        biased;
        summary = job.run(&client, &control) => summary?,
        failed = watch => return Err(failed.map_or_else(Into::into, |()| unreachable!("both watch for ever"))),
    };
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
    let (redo, keep) = (args.resume.redo_changed, args.resume.keep_changed);
    Ok(Job {
        input: InputOptions {
            paths: args.input.inputs.iter().map(|path| path.display().to_string()).collect(),
            format: settings.format.map(input_format),
            max_row_bytes: settings.run.max_row_bytes as usize,
            ..InputOptions::default()
        },
        prompt: PromptOptions {
            template,
            system: settings.system.clone(),
            embed: settings.embed.clone(),
            params: settings.params.clone(),
            id_column: settings.id_column.clone(),
        },
        out: settings.output.path.clone(),
        format: output_format(settings),
        fields: settings.fields.clone().unwrap_or_default(),
        output_column: settings.output.column.clone(),
        each_model: settings.each_model,
        repeat: u16::try_from(settings.repeat)
            .map_err(|_| Error::Usage("--repeat must be at most 65535".to_owned()))?,
        rows: args.trial.rows.map(u64::from),
        sample: args.trial.sample.map(u64::from),
        skip_bad_rows: settings.run.skip_bad_rows,
        allow_duplicate_ids: settings.run.allow_duplicate_ids,
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
        drain_timeout: settings.run.drain_timeout,
    })
}

fn input_format(format: InputFormat) -> input::Format {
    match format {
        InputFormat::Jsonl => input::Format::Jsonl,
        InputFormat::Csv => input::Format::Csv,
        InputFormat::Tsv => input::Format::Tsv,
        InputFormat::Text => input::Format::Text,
    }
}

/// Returns the results' format: as told, else by the extension, else by the input.
fn output_format(settings: &Settings) -> Option<output::Format> {
    let told = settings.output.format.map(|format| match format {
        OutputFormat::Jsonl => output::Format::Jsonl,
        OutputFormat::Csv => output::Format::Csv,
        OutputFormat::Batch => output::Format::OpenaiBatch,
    });
    let csv = settings.output.path.as_ref().is_some_and(|path| path.extension().is_some_and(|name| name == "csv"));
    told.or_else(|| csv.then_some(output::Format::Csv))
}

/// Finds an endpoint's keys; a look at what would be sent needs none.
type FindKeys = fn(&EndpointSettings) -> tidegate::Result<Keys>;

fn client(
    settings: &Settings,
    observer: Option<Arc<dyn Observer>>,
    keys: FindKeys,
    signing: Signing,
) -> anyhow::Result<Client> {
    let total = Limits { concurrency: Some(most_connections(settings)?), ..limits(settings.total) };
    let mut builder = Client::builder()
        .total(total)
        .balance(settings.balance.as_deref().and_then(Balance::from_name).unwrap_or_default())
        .retry(RetryPolicy {
            max_attempts: settings.retry.max_attempts,
            timeout: settings.retry.timeout,
            stream: settings.retry.stream,
            first_delta: settings.retry.first_delta_timeout,
            idle: settings.retry.idle_timeout,
            ..RetryPolicy::default()
        })
        .pool(pool_options(settings)?);
    if let Some(path) = &settings.run.scenario {
        builder = builder.scenario(read_scenario(path)?);
    }
    if let Some(observer) = observer {
        builder = builder.observer(observer);
    }
    let endpoints = settings.resolve()?;
    let on_bedrock = endpoints.iter().any(|endpoint| endpoint.model.provider.auth == Auth::Aws);
    let bedrock = on_bedrock.then(|| aws::bedrock(settings, signing)).transpose()?;
    if settings.bedrock.regions_first {
        builder = builder.regions_first();
    }
    for endpoint in endpoints {
        builder = add_target(builder, &endpoint, keys, bedrock.as_ref())?;
    }
    Ok(builder.build()?)
}

fn add_target(
    builder: ClientBuilder,
    endpoint: &EndpointSettings,
    keys: FindKeys,
    bedrock: Option<&Bedrock>,
) -> anyhow::Result<ClientBuilder> {
    let found = keys(endpoint)?;
    let mut target = Target::of(&endpoint.model).base_url(&endpoint.base_url).limits(limits(endpoint.limits));
    if let Some(price) = endpoint.price {
        target = target.price(price);
    }
    if let Some(bedrock) = bedrock.filter(|_| endpoint.model.provider.auth == Auth::Aws) {
        target = target.bedrock(bedrock.clone());
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

fn limits(limits: settings::Limits) -> Limits {
    Limits { rpm: limits.rpm, tpm: limits.tpm, concurrency: limits.concurrency }
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

fn proxies() -> ProxyUrls {
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
