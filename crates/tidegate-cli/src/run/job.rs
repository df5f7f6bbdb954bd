//! The job that the settings ask for.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tidegate::run::fallback::Fallback;
use tidegate::run::input::{self, InputOptions};
use tidegate::run::job::{AtDeadline, Job, StopOn, Tasks};
use tidegate::run::journal::Changed;
use tidegate::run::output;
use tidegate::run::packing::Packing;
use tidegate::run::prompt::{MediaColumn, PromptOptions};
use tidegate::{AskPolicy, Budget, Check, Error, Kind, MediaKind, Money, Rung, Schema};

use crate::args::RunArgs;
use crate::settings::{self, InputFormat, OnFailure, OutputFormat, Settings};
use crate::{moment, store};

pub(super) fn job(args: &RunArgs, settings: &Settings) -> anyhow::Result<Job> {
    settings.refuse_idle_flags(args)?;
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
    let media = media_columns(settings);
    let names = inputs.iter().map(String::as_str).chain(out);
    let (redo, keep) = (args.resume.redo_changed, args.resume.keep_changed);
    Ok(Job {
        input: InputOptions {
            paths: inputs.clone(),
            format: settings.format.map(input_format),
            max_row_bytes: settings.run.max_row_bytes as usize,
            store: store::needed(names, !media.is_empty())?,
            ..InputOptions::default()
        },
        prompt: PromptOptions {
            template,
            system: settings.system.clone(),
            embed: settings.embed.clone(),
            media,
            lossy: settings.lossy,
            params: settings.params.clone(),
            schema: settings.schema.as_deref().map(schema).transpose()?,
            id_column: settings.id_column.clone(),
        },
        out: settings.output.path.clone(),
        journal: settings.output.journal.clone(),
        format: output_format(settings)?,
        packing: packing(settings),
        fields: settings.fields.clone().unwrap_or_default(),
        output_column: settings.output.column.clone(),
        lift: settings.lift.clone().unwrap_or_default(),
        tasks: tasks(settings)?,
        each_model: settings.each_model,
        repeat: u16::try_from(settings.repeat)
            .map_err(|_| Error::Usage("--repeat must be at most 65535".to_owned()))?,
        pack: settings.calls.pack as usize,
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
pub(super) fn ask_policy(settings: &Settings) -> anyhow::Result<AskPolicy> {
    let checks = &settings.checks;
    let mut all =
        checks.expressions.iter().map(|source| Check::expression(source)).collect::<tidegate::Result<Vec<_>>>()?;
    for pattern in &checks.regexes {
        all.push(Check::regex(pattern)?);
    }
    if let Some(command) = &checks.command {
        check_program(command)?;
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

/// Refuses a check's command whose program is not there: each of its answers would be paid for and refused.
fn check_program(command: &str) -> tidegate::Result<()> {
    let Some(program) = command.split_whitespace().next() else {
        return Err(Error::Usage("--check-command is empty: write the program, or leave it out".to_owned()));
    };
    // What only a shell understands is left to it, and so is the word of a builtin.
    let is_plain = program.chars().all(|c| c.is_ascii_alphanumeric() || "._-+/".contains(c));
    let known = || {
        let found = Command::new("sh").args(["-c", "command -v -- \"$0\"", program]).stdout(Stdio::null()).status();
        found.map_or(true, |status| status.success())
    };
    if cfg!(windows) || !is_plain || known() {
        return Ok(());
    }
    Err(Error::Usage(format!("--check-command: there is no program `{program}`; give its path, or correct the name")))
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
fn output_format(settings: &Settings) -> tidegate::Result<Option<output::Format>> {
    if let Some(told) = settings.output.format {
        return Ok(Some(named_format(told)));
    }
    let Some(path) = &settings.output.path else { return Ok(None) };
    let by_name = output::Format::wanted_by(&path.to_string_lossy())?;
    // JSONL is what is written anyway, and batch files have results of their own.
    Ok(by_name.filter(|format| *format != output::Format::Jsonl))
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
