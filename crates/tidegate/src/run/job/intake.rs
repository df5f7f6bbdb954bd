//! From the input's rows to what is to be sent: keys, the journal's word on each, rendered requests.
//!
//! All of it runs on the reader's thread, or in a trial that only counts. A row that is done is known by its key and a check
//! of its bytes, and is passed over without being rendered.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::chosen::Chosen;
use super::fetch::FetchAhead;
use super::{Job, Tasks, identity};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::run::Item;
use crate::run::input::{Input, InputOptions, Row};
use crate::run::journal::{Decision, Identity, Manifest, Resume};
use crate::run::key::{KeyRule, bad_key, peek, record_key};
use crate::run::progress::Progress;
use crate::run::prompt::{Attached, Fetching, MediaColumn, Rendered, Renderer, fingerprint};
use crate::run::redact;

/// Rows handed over together, so that two threads meet once per chunk and not once per row.
const CHUNK_ROWS: usize = 128;
const CHUNK_BYTES: usize = 256 << 10;
/// The first rows go alone, so that the first request does not wait for a whole chunk.
const ALONE: usize = 4;

/// What is kept of a row while it is sent.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) key: u64,
    pub(super) raw: u32,
    pub(super) request: u32,
    pub(super) sample: u16,
    /// Whether records show the sample's number.
    pub(super) numbered: bool,
    pub(super) replaces: bool,
    pub(super) batch: bool,
    /// The row as JSON, and where in it the id stands.
    pub(super) json: Bytes,
    pub(super) id: Option<Range<usize>>,
}

/// A row that cannot be turned into a request.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) task: Task,
    pub(super) message: String,
}

/// What the intake makes of a row.
#[expect(clippy::large_enum_variant, reason = "nearly all rows are sent, and a box for each would cost more")]
pub(super) enum Taken {
    Send(Item<Task>),
    Bad(Bad),
    /// The record of a row that is corrected or gone is to be withdrawn: its key.
    Gone(u64),
}

/// The input with everything that decides about its rows.
pub(super) struct Intake {
    input: Input,
    renderer: Arc<Renderer>,
    fetching: Fetching,
    ahead: FetchAhead,
    /// Whether rows may be read before they are taken: the next of a pipe may be long in coming.
    looks_ahead: bool,
    resume: Resume,
    rule: KeyRule,
    seed: u64,
    /// The seed of the check of a row's bytes: other than before if the run asks something else.
    stamp: u64,
    /// What a request's check is mixed with: which answers are taken counts as part of what is asked.
    judged: u64,
    tasks: Tasks,
    /// Every model that a row may name.
    models: Vec<Arc<str>>,
    wanted: Vec<Wanted>,
    allow_duplicate_ids: bool,
    skip_bad_rows: bool,
    prune: bool,
    chosen: Chosen,
    options: InputOptions,
    progress: Progress,
    counts: Counts,
    ready: VecDeque<Taken>,
}

/// What has been met since the progress was told: it is shared with another thread, too dear to be told of each row.
#[derive(Default)]
struct Counts {
    read: u64,
    wanted: u64,
    done: u64,
}

/// One of the records that every row makes.
#[derive(Clone)]
struct Wanted {
    model: Option<Arc<str>>,
    sample: u16,
}

/// What is known of a row before it is rendered.
struct Seen {
    id: Option<Range<usize>>,
    hash: u64,
    raw: u32,
    identity: Identity,
}

impl Job {
    /// Opens the input and reads the templates against its columns.
    pub(super) fn open(&self) -> Result<(Input, Renderer)> {
        let input = Input::open(&self.input_options())?;
        let mut prompt = self.prompt.clone();
        if input.is_of_files() && prompt.media.is_empty() {
            prompt.media.push(MediaColumn { column: "path".to_owned(), kind: None });
        }
        let renderer = Renderer::new(&prompt, input.columns())?;
        Ok((input, renderer))
    }

    /// Adds to the input's options which files are none: what an earlier run of the same command wrote.
    pub(super) fn input_options(&self) -> InputOptions {
        let errors = |out: &PathBuf| out.with_added_extension("errors.jsonl");
        let outputs = self.out.iter().flat_map(|out| [out.clone(), errors(out)]).collect();
        InputOptions { outputs, ..self.input.clone() }
    }
}

impl Intake {
    pub(super) fn new(
        job: &Job,
        client: &Client,
        (input, renderer): (Input, Renderer),
        resume: Resume,
        manifest: &Manifest,
        progress: &Progress,
    ) -> Result<Intake> {
        let models = if job.each_model { client.models().into_iter().map(Some).collect() } else { vec![None] };
        job.tasks.verify(client, job.each_model)?;
        let judged = identity::judged(client);
        let samples =
            |model: Option<Arc<str>>| (0..job.repeat.max(1)).map(move |sample| Wanted { model: model.clone(), sample });
        let wanted: Vec<_> = models.into_iter().flat_map(samples).collect();
        let chosen = Chosen::of(job, 0)?;
        let most = chosen.most().map(|rows| rows.saturating_mul(wanted.len() as u64));
        progress.note(|numbers| numbers.most = most);
        Ok(Intake {
            chosen,
            rule: identity::key_rule(&manifest.identity),
            seed: manifest.seed,
            stamp: manifest.seed ^ identity::hash(&manifest.identity),
            judged,
            tasks: job.tasks.clone(),
            models: client.all_models(),
            wanted,
            allow_duplicate_ids: job.allow_duplicate_ids,
            skip_bad_rows: job.skip_bad_rows,
            prune: job.prune,
            options: job.input_options(),
            progress: progress.clone(),
            counts: Counts::default(),
            ready: VecDeque::new(),
            ahead: FetchAhead::default(),
            looks_ahead: input.position().1.is_some(),
            input,
            renderer: Arc::new(renderer),
            fetching: Fetching { store: job.input.store.clone(), client: Some(client.clone()) },
            resume,
        })
    }

    /// Hands over everything that is to be sent, in chunks, until there is no more or nobody takes it.
    pub(super) fn read_into(&mut self, mut give: impl FnMut(Vec<Taken>) -> bool) -> Result<()> {
        // What comes through a pipe is handed on row by row: the next one may be long in coming.
        let most = if self.looks_ahead { CHUNK_ROWS } else { 1 };
        let (mut chunk, mut bytes, mut given) = (Vec::with_capacity(most), 0, 0);
        let ended = loop {
            let taken = match self.next() {
                Ok(Some(taken)) => taken,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            bytes += taken.size();
            chunk.push(taken);
            if chunk.len() >= most || bytes >= CHUNK_BYTES || given < ALONE {
                bytes = 0;
                given += 1;
                self.tell();
                if !give(std::mem::replace(&mut chunk, Vec::with_capacity(most))) {
                    return Ok(());
                }
            }
        };
        // Only who has seen the whole input knows what is not in it.
        if ended.is_ok() && matches!(self.chosen, Chosen::All) {
            // An input without any row is a mistake more often than not.
            let prune = self.prune && self.progress.numbers().read > 0;
            let gone = if prune { self.resume.gone() } else { self.resume.gone_bad() };
            chunk.extend(gone.into_iter().map(Taken::Gone));
        }
        give(chunk);
        if ended.is_ok() {
            self.progress.note(|numbers| numbers.read_all = true);
        }
        ended
    }

    /// Returns the next request or bad row; rows that are done are passed over.
    pub(super) fn next(&mut self) -> Result<Option<Taken>> {
        loop {
            if let Some(taken) = self.ready.pop_front() {
                return Ok(Some(taken));
            }
            let read = || self.chosen.next_of(&mut self.input);
            let row = self.ahead.next(&self.renderer, &self.fetching, self.looks_ahead, read);
            if !matches!(row, Ok(Some(_))) || self.counts.read >= CHUNK_ROWS as u64 {
                self.tell();
            }
            let Some((row, files)) = row? else { return Ok(None) };
            self.counts.read += 1;
            self.take(&row, files).inspect_err(|_| self.tell())?;
        }
    }

    fn tell(&mut self) {
        let Counts { read, wanted, done } = std::mem::take(&mut self.counts);
        let (position, failed_before) = (self.input.position(), self.resume.skipped_failed());
        self.progress.note(|numbers| {
            numbers.read += read;
            numbers.wanted += wanted;
            numbers.done_before += done;
            (numbers.position, numbers.failed_before) = (position, failed_before);
        });
    }

    fn take(&mut self, row: &Row, attached: Result<Attached, String>) -> Result<()> {
        let text = match (&row.fault, row.text()) {
            (Some(fault), _) => return self.take_bad(row, fault.clone()),
            (None, Err(fault)) => return self.take_bad(row, fault),
            (None, Ok(text)) => text,
        };
        let seen = match self.look(text, attached.as_ref().map_or(0, |attached| attached.digest)) {
            Ok(seen) => seen,
            Err(fault) => return self.take_bad(row, fault),
        };
        let renderer = self.renderer.clone();
        let mut rendered = Lazy { renderer: &renderer, row, attached, seed: self.seed ^ self.judged, made: None };
        for number in 0..self.wanted.len() {
            match self.decide(&seen, number, &mut rendered)? {
                Decision::Skip => {
                    self.counts.wanted += 1;
                    self.counts.done += 1;
                }
                Decision::Differs => return Err(differs(row)),
                Decision::Repeated => return Err(self.repeated(row, &text[seen.id.unwrap_or_default()])),
                decision @ (Decision::Send | Decision::Replace) => {
                    if let Err(fault) = &rendered.attached {
                        let message = format!("{}: {fault}", row.place);
                        self.fail(self.task(&seen, number, decision, row), message);
                    } else if let Err(fault) = self.send(&seen, number, decision, &mut rendered) {
                        return self.take_bad(row, fault);
                    }
                }
            }
        }
        Ok(())
    }

    /// Finds what a row is known by; `files` is the digest of the files that it names.
    fn look(&self, text: &str, files: u64) -> Result<Seen, String> {
        let peeked = peek(text, &self.rule, self.seed)?;
        let id = peeked.id.map(|id| within(text, id.get()));
        let identity = if id.is_some() && !self.allow_duplicate_ids { Identity::Id } else { Identity::Content };
        let raw = xxh3_64_with_seed(text.as_bytes(), self.stamp ^ files) as u32;
        Ok(Seen { id, hash: peeked.hash, raw, identity })
    }

    fn decide(&mut self, seen: &Seen, number: usize, rendered: &mut Lazy<'_>) -> Result<Decision> {
        let key = self.wanted[number].key(seen.hash);
        self.resume.decide(key, seen.raw, seen.identity, || Ok(rendered.fingerprint()))
    }

    /// Puts one of a row's requests in line; fails if the row cannot be rendered.
    fn send(&mut self, seen: &Seen, number: usize, decision: Decision, rendered: &mut Lazy<'_>) -> Result<(), String> {
        let last = number + 1 == self.wanted.len();
        let (Rendered { request, batch }, print) = if last { rendered.take() } else { rendered.get().clone() }?;
        let models = match self.wanted[number].model.clone() {
            Some(model) => vec![model],
            None => self.tasks.of(rendered.row.text()?, &self.models)?,
        };
        let task = Task { request: print, batch, ..self.task(seen, number, decision, rendered.row) };
        self.counts.wanted += 1;
        self.ready.push_back(Taken::Send(Item::new(request, task).for_models(models)));
        Ok(())
    }

    fn task(&self, seen: &Seen, number: usize, decision: Decision, row: &Row) -> Task {
        let (json, id) = self.shown(row, seen);
        Task {
            key: self.wanted[number].key(seen.hash),
            raw: seen.raw,
            request: seen.raw,
            sample: self.wanted[number].sample,
            numbered: self.wanted.iter().any(|wanted| wanted.sample > 0),
            replaces: decision == Decision::Replace,
            batch: false,
            json,
            id,
        }
    }

    /// Returns the row as its record shows it, and where its id stands: without the files that it holds.
    fn shown(&self, row: &Row, seen: &Seen) -> (Bytes, Option<Range<usize>>) {
        let Some(short) = std::str::from_utf8(&row.json).ok().and_then(redact::without_files) else {
            return (row.json.clone(), seen.id.clone());
        };
        let id = peek(&short, &self.rule, self.seed).ok().and_then(|peeked| Some(within(&short, peeked.id?.get())));
        (short.into(), id)
    }

    /// Records a row as failed because of a file that it names: other rows go on.
    fn fail(&mut self, task: Task, message: String) {
        self.counts.wanted += 1;
        self.ready.push_back(Taken::Bad(Bad { task, message }));
    }

    /// Records a bad row as failed, where that is wanted and not done yet.
    fn take_bad(&mut self, row: &Row, message: String) -> Result<()> {
        if !self.skip_bad_rows {
            let advice = "correct it, or give --skip-bad-rows to record such rows as failed";
            return Err(Error::Input { place: row.place.to_string(), message: format!("{message}; {advice}") });
        }
        let key = bad_key(&row.json, self.seed);
        let raw = xxh3_64_with_seed(&row.json, self.seed) as u32;
        let decision = self.resume.decide(key, raw, Identity::Content, || Ok(raw))?;
        if decision != Decision::Send {
            self.resume.meet_bad(key);
        }
        self.counts.wanted += 1;
        if decision == Decision::Skip {
            self.counts.done += 1;
        } else {
            let replaces = decision == Decision::Replace;
            let (json, id) = (row.json.clone(), None);
            let task = Task { key, raw, request: raw, sample: 0, numbered: false, replaces, batch: false, json, id };
            self.ready.push_back(Taken::Bad(Bad { task, message: format!("{}: {message}", row.place) }));
        }
        Ok(())
    }

    /// Says where a repeated id stands, and where it stood first if the input can be read again.
    fn repeated(&self, row: &Row, id: &str) -> Error {
        let first = Input::open(&self.options).ok().and_then(|mut input| {
            while let Ok(Some(earlier)) = input.next_row() {
                let same =
                    earlier.text().ok().and_then(|text| Some(peek(text, &self.rule, self.seed).ok()?.id?.get() == id));
                if same == Some(true) {
                    return Some(earlier.place.to_string());
                }
            }
            None
        });
        let first = first.unwrap_or_else(|| "an earlier row".to_owned());
        let message = format!(
            "the id {id} is that of {first} too; make ids unique, choose another --id-column, or give \
             --allow-duplicate-ids to keep such rows apart"
        );
        Error::Input { place: row.place.to_string(), message }
    }
}

/// A row's request, rendered when it is needed and only once.
struct Lazy<'a> {
    renderer: &'a Renderer,
    row: &'a Row,
    attached: Result<Attached, String>,
    seed: u64,
    made: Option<Result<(Rendered, u32), String>>,
}

impl Lazy<'_> {
    fn get(&mut self) -> &Result<(Rendered, u32), String> {
        let made = match self.made.take() {
            Some(made) => made,
            None => self.make(),
        };
        self.made.insert(made)
    }

    fn make(&mut self) -> Result<(Rendered, u32), String> {
        let attached = self.attached.as_mut().map(std::mem::take).map_err(|fault| fault.clone())?;
        let rendered = self.renderer.render(self.row, attached)?;
        let print = fingerprint(&rendered.request, self.seed);
        Ok((rendered, print))
    }

    /// Gives the request away, so that the last one who needs it gets it without a copy.
    fn take(&mut self) -> Result<(Rendered, u32), String> {
        match self.made.take() {
            Some(made) => made,
            None => self.make(),
        }
    }

    /// Returns the check of the request; 0 for a row that cannot be rendered, which is then found to be bad.
    fn fingerprint(&mut self) -> u32 {
        self.get().as_ref().map_or(0, |(_, print)| *print)
    }
}

impl Taken {
    fn size(&self) -> usize {
        match self {
            Taken::Send(item) => item.context.json.len() + item.request.size(),
            Taken::Bad(bad) => bad.task.json.len(),
            Taken::Gone(_) => 0,
        }
    }
}

/// Returns where `part`, a slice of `whole`, stands in it.
fn within(whole: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

impl Wanted {
    fn key(&self, row: u64) -> u64 {
        record_key(row, self.model.as_deref(), self.sample)
    }
}

fn differs(row: &Row) -> Error {
    Error::Changed(format!(
        "{}: this row has been answered before, but asks something else now; give --redo-changed to ask again, \
         --keep-changed to keep the old answers, or another output with -o",
        row.place
    ))
}
