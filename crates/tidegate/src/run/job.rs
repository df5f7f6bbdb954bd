//! The file job: input files in, a journal and its output out, resumable at any instant.
//!
//! A reader thread takes rows, drops those that are done and renders the others; the run sends them; every outcome becomes
//! a record in the journal, whose own thread stores and publishes it. The three meet in bounded places only: a few chunks
//! of requests ahead of the run, 16 MB of records behind it. A row is finished when its record is stored, and a row that
//! was not answered for a reason that is not its own (a stop, a refused key) is never recorded, so that the same command
//! sends it again.

mod ahead;
mod cautions;
mod changes;
mod chosen;
mod fetch;
pub(in crate::run) mod identity;
mod inspect;
mod intake;
mod onlooker;
mod place;
mod policy;
mod results;
mod show;
mod spending;
mod tasks;
mod upload;

use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::{Stream, StreamExt, future::BoxFuture};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::ahead::{Side, read_ahead};
pub use self::inspect::{Inspection, Sample};
use self::intake::{Intake, Task};
pub use self::onlooker::Onlooker;
use self::policy::Policy;
pub(super) use self::results::finished;
pub use self::results::report;
pub(super) use self::show::plain;
pub use self::show::{Shown, Which, show};
use self::spending::Till;
pub use self::tasks::Tasks;
use crate::client::Client;
use crate::error::Result;
use crate::event::{self, Event};
use crate::failure::Kind;
use crate::money::Budget;
use crate::run::fallback::Fallback;
use crate::run::input::{Input, InputOptions};
use crate::run::journal::{Arrange, Changed, Closed, Invocation, Journal, Manifest, Resume, Rules, Writer};
use crate::run::output::{Format, OutputOptions, Projection};
use crate::run::packing::Packing;
use crate::run::progress::Progress;
use crate::run::prompt::PromptOptions;
pub use crate::run::stop_on::StopOn;
use crate::run::summary::{Stopped, Summary, Tally};
use crate::run::timeline::Timeline;
use crate::run::{Dedupe, Item};

/// Records that wait to be stored beyond this many bytes hold the run back.
pub const MOST_PENDING: u64 = 16 << 20;
/// Outcomes that are recorded together where so many are there: one kind of work at a time keeps its code in the cache.
const TOGETHER: usize = 32;
/// Chunks of rendered rows that wait for the run.
const CHUNKS_AHEAD: usize = 4;

/// What is to be done: plain data.
#[derive(Debug, Clone)]
pub struct Job {
    /// Where rows come from.
    pub input: InputOptions,
    /// How they become requests.
    pub prompt: PromptOptions,
    /// The result file; the standard output, without a journal, if absent.
    pub out: Option<PathBuf>,
    /// The directory of the journal; beside the result file if absent.
    pub journal: Option<PathBuf>,
    /// The results' format; that of the input's kind if absent.
    pub format: Option<Format>,
    /// How the result file is packed.
    pub packing: Option<Packing>,
    /// The fields of a record to write, in this order; all if empty.
    pub fields: Vec<String>,
    /// What the field `output` is called.
    pub output_column: Option<String>,
    /// Fields of structured answers that become fields of their own, such as `total` or `address.city`.
    pub lift: Vec<String>,
    /// Which models a row is for.
    pub tasks: Tasks,
    /// Whether every model is asked about every row.
    pub each_model: bool,
    /// How often each row is asked; at least 1. More than once, identical rows are never asked as one.
    pub repeat: u16,
    /// How many rows are asked in one call at the most, where they differ in their text only; 0 and 1 pack none.
    pub pack: usize,
    /// Only the first rows, that many.
    pub rows: Option<u64>,
    /// Only that many rows, chosen at random but always the same.
    pub sample: Option<u64>,
    /// Whether a row that cannot be read becomes a failed record instead of stopping the intake.
    pub skip_bad_rows: bool,
    /// Whether rows with the same id are kept apart instead of stopping the intake.
    pub allow_duplicate_ids: bool,
    /// Whether records of rows that are gone from the input are dropped, once it has been read to its end.
    pub prune: bool,
    /// Whether the output is put into the order of the input when the run ends, which is read once more for that.
    pub ordered: bool,
    /// What to do about rows that were answered when something else was asked.
    pub changed: Changed,
    /// The kinds of failed records that are sent again.
    pub retry_failed: Vec<Kind>,
    /// What may be spent for this output, over all invocations.
    pub budget: Budget,
    /// Which failed rows stop the run.
    pub stop_on: StopOn,
    /// What stands in the place of answers that are not to be had; such rows stay failed.
    pub fallback: Option<Fallback>,
    /// How long the run may take.
    pub max_time: Option<Duration>,
    /// What happens to calls in flight when that time is over.
    pub at_deadline: AtDeadline,
    /// How long a stopped run waits for what is in flight.
    pub drain_timeout: Duration,
}

/// What happens to calls in flight when the time allowed for a run is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AtDeadline {
    /// They are waited for, as after any other stop.
    #[default]
    Drain,
    /// They are given up: their rows stay unsent, and may have been billed.
    Cancel,
}

impl Default for Job {
    fn default() -> Job {
        Job {
            input: InputOptions::default(),
            prompt: PromptOptions::default(),
            out: None,
            journal: None,
            format: None,
            packing: None,
            fields: Vec::new(),
            output_column: None,
            lift: Vec::new(),
            tasks: Tasks::default(),
            each_model: false,
            repeat: 1,
            pack: 1,
            rows: None,
            sample: None,
            skip_bad_rows: false,
            allow_duplicate_ids: false,
            prune: false,
            ordered: false,
            changed: Changed::Ask,
            retry_failed: Vec::new(),
            budget: Budget::default(),
            stop_on: StopOn::default(),
            fallback: None,
            max_time: None,
            at_deadline: AtDeadline::Drain,
            drain_timeout: Duration::from_secs(25),
        }
    }
}

/// How a running job is watched and stopped.
///
/// ```
/// use tidegate::run::job::Control;
/// let control = Control::default();
/// // Another task may stop the job that runs with it, and see how far it has come.
/// control.stop.cancel();
/// assert_eq!(control.progress.numbers().succeeded, 0);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// Stop taking rows, finish what is in flight, write.
    pub stop: CancellationToken,
    /// Stop now: what is in flight is given up.
    pub kill: CancellationToken,
    /// How far it has come.
    pub progress: Progress,
    /// Who is shown every outcome.
    pub onlooker: Option<Onlooker>,
}

impl Job {
    /// Does the job.
    ///
    /// # Errors
    ///
    /// What is wrong with the input, the template or the output before anything is sent, and storage. What is found wrong
    /// with a later row stops the intake and is told in the summary.
    pub async fn run(&self, client: &Client, control: &Control) -> Result<Summary> {
        self.boxed_run(client, control).await
    }

    /// An async function is compiled where it is waited for. Boxed, what a job does is compiled with the library, once.
    fn boxed_run<'a>(&'a self, client: &'a Client, control: &'a Control) -> BoxFuture<'a, Result<Summary>> {
        crate::future::boxed(|| self.do_all(client, control))
    }

    async fn do_all(&self, client: &Client, control: &Control) -> Result<Summary> {
        let begun = Instant::now();
        self.check_budget(client)?;
        self.check_order()?;
        self.check_url()?;
        let Prepared { intake, journal, manifest, repaired } = self.prepare(client, &control.progress)?;
        let till = self.till(client, journal.as_ref())?;
        let (writer, manifest, mut warnings) = start(journal, manifest)?;
        let started = manifest.invocations.last().map_or("", |invocation| &invocation.started);
        let mut timeline =
            Timeline::begin(self.home().as_ref().map(|home| home.dir.as_path()), started, client, &control.progress)?;
        let (source, side) = read_ahead(intake)?;
        control.progress.note(|numbers| numbers.begun = true);
        let mut work = Work::new(self, client, control, writer, side, till);
        let ended = tokio::select! {
            biased;
            ended = work.consume(source, begun) => ended,
            never = timeline.keep() => match never {},
        };
        timeline.note(Instant::now());
        // Stored is what was committed: an error of the writer outranks whatever the run had to say.
        let paths = self
            .home()
            .map(|home| Projection::new(&manifest.output).map(|shape| shape.paths(&home.out)))
            .transpose()?;
        let (closed, mut summary) = work.close(self.arrange(&manifest).as_deref())?;
        ended?;
        self.upload(&paths.unwrap_or_default())?;
        warnings.extend(closed.warnings.iter().cloned());
        summary.warnings = warnings;
        summary.repaired_bytes = repaired;
        summary.seconds = begun.elapsed().as_secs_f64();
        note_invocation(closed, manifest, &summary)?;
        Ok(summary)
    }

    /// Opens input and output and decides what is new, what is done and what has changed; sends nothing.
    fn prepare(&self, client: &Client, progress: &Progress) -> Result<Prepared> {
        let (input, renderer) = self.open()?;
        let output = OutputOptions {
            cached: client.answers.is_some(),
            packed: self.pack > 1,
            shared: self.repeat <= 1 && client.dedupe.applies_to(&self.prompt.params),
            checked: self.prompt.schema.is_some() || !client.ask_policy.identity().is_empty(),
            ..self.output_options(&input)
        };
        Projection::new(&output)?;
        if let Some(columns) = input.fixed_columns() {
            output.check(columns)?;
        }
        let mut identity = identity::of(self, client, &renderer);
        let opened = self.home().map(Journal::open).transpose()?;
        let (journal, old, repaired) = match opened {
            Some(opened) => (Some(opened.journal), opened.manifest, opened.repaired),
            None => (None, None, 0),
        };
        if let (Some(journal), Some(old)) = (&journal, &old) {
            self.check_journal(old, journal.rows())?;
            identity::keep_row_key(&mut identity, &old.identity);
        }
        let mut manifest = Manifest::new(jiff::Timestamp::now().to_string(), output, identity);
        manifest.asked = self.asked(client, old.as_ref());
        if let Some(old) = &old {
            manifest.seed = old.seed;
            manifest.created.clone_from(&old.created);
            manifest.invocations.clone_from(&old.invocations);
        }
        let rules = self.rules(client);
        let resume = |rules: &Rules| {
            journal.as_ref().map_or_else(|| Ok(Resume::default()), |journal| Resume::load(journal, rules))
        };
        let intake =
            |resume, progress: &Progress, opened| Intake::new(self, client, opened, resume, &manifest, progress);
        let differences = old.as_ref().map(|old| Manifest::differences(old, &manifest)).unwrap_or_default();
        // What came through a pipe cannot be read again: there the first row that differs stops the intake.
        let ask = self.changed == Changed::Ask && !differences.is_empty() && !self.input.is_piped();
        if let (Some(journal), true) = (&journal, ask) {
            let redo = Rules { changed: Changed::Redo, ..rules.clone() };
            let trial = intake(resume(&redo)?, &Progress::default(), self.open()?)?;
            changes::ask(&differences, trial, journal)?;
        }
        let intake = intake(resume(&rules)?, progress, (input, renderer))?;
        Ok(Prepared { intake, journal, manifest, repaired })
    }

    fn rules(&self, client: &Client) -> Rules {
        let models = client.all_models().iter().map(ToString::to_string).collect();
        Rules { models, retry: self.retry_failed.clone(), changed: self.changed }
    }

    fn output_options(&self, input: &Input) -> OutputOptions {
        let columns = input.columns();
        let has = |name: &str| columns.is_some_and(|columns| columns.iter().any(|column| column == name));
        let batch_file = self.prompt.template.is_none() && ["method", "url", "body"].into_iter().all(has);
        OutputOptions {
            format: self.format.unwrap_or(if batch_file { Format::OpenaiBatch } else { Format::Jsonl }),
            fields: self.fields.clone(),
            output_column: self.output_column.clone(),
            lift: self.lift.clone(),
            columns: columns.map(<[String]>::to_vec).unwrap_or_default(),
            samples: self.repeat > 1,
            fallbacks: self.fallback.is_some(),
            cached: false,
            shared: false,
            packed: false,
            checked: false,
            packing: self.packing,
            types: input.types().clone(),
            joined: false,
        }
    }
}

/// Everything that is known before the first request.
struct Prepared {
    intake: Intake,
    journal: Option<Journal>,
    manifest: Manifest,
    repaired: u64,
}

/// Makes the output whole and starts the writer. Returns with it the manifest with this invocation, and warnings.
fn start(journal: Option<Journal>, mut manifest: Manifest) -> Result<(Writer, Manifest, Vec<String>)> {
    let Some(journal) = journal else {
        let writer = Writer::stream(Projection::new(&manifest.output)?, std::io::stdout())?;
        return Ok((writer, manifest, Vec::new()));
    };
    manifest.invocations.push(Invocation { started: jiff::Timestamp::now().to_string(), ..Invocation::default() });
    let started = journal.start(&manifest)?;
    let told = |path: &PathBuf| format!("what tidegate had not written was moved to {}", path.display());
    Ok((started.writer, manifest, started.kept.iter().map(told).collect()))
}

/// A job under way.
struct Work<'a> {
    job: &'a Job,
    client: &'a Client,
    control: &'a Control,
    stop: CancellationToken,
    /// Why it is stopped, once it is.
    stopped: Option<Stopped>,
    writer: Writer,
    tally: Tally,
    policy: Policy,
    till: Option<Till>,
    side: Side,
    /// Records that were withdrawn.
    withdrawn: u64,
    line: Vec<u8>,
    /// US dollars that providers' caches of prompts have saved, if they had to do with anything.
    saved: Option<f64>,
}

impl<'a> Work<'a> {
    fn new(
        job: &'a Job,
        client: &'a Client,
        control: &'a Control,
        writer: Writer,
        side: Side,
        till: Option<Till>,
    ) -> Work<'a> {
        let stop = control.stop.child_token();
        let (tally, policy) = (Tally::default(), Policy::new(job.stop_on.clone()));
        Work {
            job,
            client,
            control,
            stop,
            stopped: None,
            writer,
            tally,
            policy,
            till,
            side,
            withdrawn: 0,
            line: Vec::new(),
            saved: None,
        }
    }

    /// Takes outcomes until there are no more, or until the time to wait for them is over.
    async fn consume(&mut self, source: impl Stream<Item = Item<Task>> + Send, begun: Instant) -> Result<()> {
        let mut run = self.client.run_items(source).stop_on(self.stop.clone());
        if let Some(till) = &self.till {
            run = run.pay_from(till.purse.clone());
        }
        if self.job.repeat > 1 {
            run = run.no_cache().dedupe(Dedupe::Never);
        }
        if self.job.pack > 1 {
            run = run.pack(self.job.pack);
        }
        if let Some(fallback) = &self.job.fallback {
            run = run.fallback(fallback.clone());
        }
        let mut run = std::pin::pin!(run.together().ready_chunks(TOGETHER));
        let mut killed = std::pin::pin!(self.control.kill.cancelled());
        let mut drained = std::pin::pin!(drained(self.stop.clone(), self.job.drain_timeout));
        let mut overdue = std::pin::pin!(overdue(begun, self.job.max_time));
        loop {
            let next = tokio::select! {
                biased;
                next = run.next() => next,
                () = &mut killed => break,
                () = &mut drained => break,
                seconds = &mut overdue, if self.stopped.is_none() => {
                    self.halt(Stopped::Deadline { seconds });
                    match self.job.at_deadline {
                        AtDeadline::Drain => continue,
                        AtDeadline::Cancel => break,
                    }
                }
            };
            let Some(done) = next else { break };
            for done in done {
                self.finish(&done)?;
            }
            self.finish_bad_rows()?;
            self.tell();
            if self.writer.pending_bytes() > MOST_PENDING {
                self.writer.wait_below(MOST_PENDING / 2).await;
            }
        }
        self.finish_bad_rows()?;
        self.tell();
        Ok(())
    }

    /// Stops what is not sent yet; the first reason counts.
    fn halt(&mut self, why: Stopped) {
        if self.stopped.is_none() {
            let reason = why.to_string();
            let drains = !matches!((&why, self.job.at_deadline), (Stopped::Deadline { .. }, AtDeadline::Cancel));
            event::tell(self.client.dispatcher.observer.as_ref(), || Event::StopStarted { reason, drains });
            self.control.progress.note(|numbers| numbers.stopping = true);
            self.stopped = Some(why);
        }
        self.stop.cancel();
    }

    /// Stores what is left and says what it all came to.
    fn close(self, arrange: Option<&Arrange<'_>>) -> Result<(Closed, Summary)> {
        let mut summary = Summary::of(&self.tally);
        summary.prompt_cache.saved_usd = self.saved;
        let numbers = self.control.progress.numbers();
        (summary.read, summary.read_all) = (numbers.read, numbers.read_all);
        (summary.done_before, summary.failed_before) = (numbers.done_before, numbers.failed_before);
        summary.unsent = numbers.wanted.saturating_sub(numbers.done_before + self.tally.finished());
        (summary.endpoints, summary.tried_again) = (self.client.snapshot().endpoints, self.client.retry_stats());
        let failed_intake = self.side.error.lock().unwrap_or_else(PoisonError::into_inner).take();
        let by_user = self.control.stop.is_cancelled() || self.control.kill.is_cancelled();
        summary.stopped = match failed_intake {
            Some(error) => Some(Stopped::Input { message: error.to_string() }),
            None if by_user => Some(Stopped::User),
            None => self.stopped,
        };
        let mut closed = self.writer.close_arranged(arrange)?;
        if self.job.prune && self.withdrawn > 0 {
            closed.warnings.push(format!("{} records were dropped whose rows are gone from the input", self.withdrawn));
        }
        // After the journal: what its records say need not be said again.
        summary.budget = self.till.map(|till| till.close(&self.tally)).transpose()?;
        Ok((closed, summary))
    }
}

/// Returns once a stopped run has waited long enough for what is in flight.
async fn drained(stop: CancellationToken, patience: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(patience).await;
}

/// Returns once the time allowed is over, and how many seconds that were, to a tenth.
async fn overdue(begun: Instant, allowed: Option<Duration>) -> f64 {
    match allowed {
        Some(allowed) => tokio::time::sleep_until(begun + allowed).await,
        None => std::future::pending().await,
    }
    (10.0 * allowed.unwrap_or_default().as_secs_f64()).round() / 10.0
}

/// Adds this invocation's numbers to the manifest.
fn note_invocation(closed: Closed, mut manifest: Manifest, summary: &Summary) -> Result<()> {
    let (Some(journal), Some(invocation)) = (closed.journal, manifest.invocations.last_mut()) else { return Ok(()) };
    invocation.ended = Some(jiff::Timestamp::now().to_string());
    if let Ok(serde_json::Value::Object(numbers)) = serde_json::to_value(summary) {
        invocation.summary = numbers;
        invocation.summary.remove("endpoints");
    }
    journal.write_manifest(&manifest)
}
