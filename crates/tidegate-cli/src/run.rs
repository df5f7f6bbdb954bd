//! `tidegate run`: settings become a client and a job, the job runs, its summary becomes an exit code.

mod client;
mod job;

use std::convert::Infallible;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use tidegate::run::job::{Control, Job, Onlooker};
use tidegate::run::summary::{Stopped, Summary};
use tidegate::{Client, Outcome, TaskKind};

#[cfg(any(feature = "object-store", feature = "otlp"))]
pub(crate) use self::client::proxies;
pub(crate) use self::client::{builder, pool_options};
pub(crate) use self::job::{input_format, named_format};
use crate::args::{RunArgs, unknown_variables};
use crate::aws::Signing;
use crate::keys::Keys;
use crate::logging::LogOptions;
use crate::metrics::{Calls, Metrics};
use crate::otlp::{self, Export, Exporting};
use crate::progress::events::Events;
use crate::progress::screen::{Screen, Style};
use crate::settings::{self, Settings};
use crate::{aws, inspect, keys, logging, metrics, progress, runtime, signals};

/// Runs the command.
pub(crate) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let mut settings = settings::load(&args)?;
    if args.config.print_config {
        return crate::print(&settings.masked_toml()?);
    }
    aws::recall(&mut settings);
    let job = job::job(&args, &settings)?;
    if args.trial.dry_run || args.trial.check_input {
        for caution in cautions(&settings)? {
            writeln!(std::io::stderr(), "warning: {caution}")?;
        }
        return look(&args, &job, &client::client(&settings, None, |_| Ok(Keys::none()), Signing::NotNeeded)?);
    }
    let summary = runtime()?.block_on(work(&job, &settings))?;
    Ok(exit_code(&summary))
}

/// Runs the job with everything that watches it, and says what it came to.
async fn work(job: &Job, settings: &Settings) -> anyhow::Result<Summary> {
    let screen = screen(job, settings)?;
    logging::start(&log_options(settings), &screen)?;
    let kind = if job.prompt.embed.is_some() { TaskKind::Embed } else { TaskKind::Chat };
    let (export, wrong) = otlp::prepare(settings, kind)?;
    wrong.iter().for_each(|warning| screen.line(&format!("warning: {warning}")));
    let calls = Calls::new(kind);
    let onlooker = onlooker(&calls, export.as_ref(), settings, &screen);
    let control = Control { onlooker, ..Control::default() };
    let sources =
        settings.resolve()?.into_iter().map(|endpoint| (endpoint.model.to_string(), keys::source_of(&endpoint)));
    let observer = Events::new(screen.clone(), settings.run.verbose, sources.collect());
    let client = client::client(settings, Some(Arc::new(observer)), keys::find, Signing::Needed)?;
    // Before anything is opened: a pipe that nobody writes to may be waited for for ever.
    signals::watch(control.clone(), screen.clone(), job.drain_timeout)?;
    for caution in cautions(settings)?.into_iter().chain(job.cautions(&client)) {
        screen.line(&format!("warning: {caution}"));
    }
    if job.out.is_none() {
        screen.line("results go to the standard output: without -o there is no journal, and the run cannot be resumed");
    }
    let display = progress::show(client.clone(), control.clone(), screen.clone());
    let numbers = Metrics::new(client.clone(), control.progress.clone(), calls);
    let metrics = serve(settings, numbers.clone(), &screen).await?;
    let exporting = export.map(|export| export.start(numbers)).transpose()?;
    let summary = tokio::select! {
        biased;
        summary = job.run(&client, &control) => summary,
        () = display => unreachable!("it is shown for ever"),
        never = metrics => match never {},
    };
    screen.repeat_warnings();
    let mut summary = summary?;
    client.close().await;
    if let Some(exporting) = exporting {
        summary.warnings.extend(finish(exporting, &control).await);
    }
    if let Some(path) = &settings.output.summary {
        crate::summary::write_json(&summary, path)?;
    }
    // The exit code tells of the rows, also where the rest cannot be told, such as to a log on a full disk.
    let (out, file, mut stderr) = (job.out.as_deref(), settings.file.as_deref(), std::io::stderr());
    let _ = match screen.style {
        Style::Json => {
            progress::events::summary(&screen, &summary);
            Ok(())
        }
        Style::Quiet => crate::summary::print_error(&summary, &mut stderr),
        _ => crate::summary::print(&summary, out, file, &mut stderr),
    };
    Ok(summary)
}

/// Returns what was set and counts for nothing.
fn cautions(settings: &Settings) -> tidegate::Result<Vec<String>> {
    Ok([unknown_variables(), settings.idle(&settings.resolve()?)].concat())
}

/// Returns who is shown every outcome, if anybody wants to see them.
fn onlooker(calls: &Calls, export: Option<&Export>, settings: &Settings, screen: &Screen) -> Option<Onlooker> {
    let counted = (settings.run.metrics_listen.is_some() || export.is_some()).then(|| calls.clone());
    let noter = export.and_then(Export::noter);
    let shown = (screen.style == Style::Full).then(|| screen.clone());
    let wanted = counted.is_some() || shown.is_some();
    let see = move |outcome: &Outcome, id: Option<&str>| {
        counted.iter().for_each(|calls| calls.note(outcome));
        noter.iter().for_each(|noter| noter.note(outcome, id));
        shown.iter().for_each(|screen| screen.note_latency(outcome));
    };
    wanted.then(|| Onlooker::new(see))
}

/// Gives the collector a moment for what is left, unless the user will not wait, and returns what it did not take.
async fn finish(exporting: Exporting, control: &Control) -> Vec<String> {
    tokio::select! {
        warnings = exporting.finish() => warnings,
        () = control.kill.cancelled() => vec!["the last spans and metrics were not waited for".to_owned()],
    }
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
            Some(listener) => metrics::serve(listener, move || metrics.families()).await,
            None => std::future::pending().await,
        }
    })
}

fn screen(job: &Job, settings: &Settings) -> anyhow::Result<Screen> {
    let run = &settings.run;
    let style = match (run.json_events, run.quiet, run.tui) {
        (true, ..) => Style::Json,
        (_, true, _) => Style::Quiet,
        (.., true) => Style::full()?,
        _ => Style::fitting(job.out.as_deref()),
    };
    Ok(Screen::new(style))
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
