//! From an outcome to a record in the journal.

use std::borrow::Cow;
use std::path::Path;

use serde_json::value::RawValue;

use super::Work;
use super::intake::{Bad, Task};
use crate::error::{Error, Result};
use crate::failure::{Failure, Kind};
use crate::json;
use crate::money::Money;
use crate::outcome::Outcome;
use crate::response::Usage;
use crate::run::Done;
use crate::run::item::Kept;
use crate::run::journal::{Home, Row, RowHead, Snapshot};
use crate::run::record::{Answer, Json, Record, RecordError, write_record};
use crate::run::summary::{Finished, Summary, Tally};

impl Work<'_> {
    /// Records outcomes that belong together, in one commit, except of rows that are to stay unsent.
    pub(super) fn finish(&mut self, done: &Done<Task>) -> Result<()> {
        let Done { first, rest } = done;
        if let Some(onlooker) = &self.control.onlooker {
            std::iter::once(&**first).chain(rest).for_each(|(outcome, kept)| onlooker.see(outcome, kept.context.id()));
        }
        if rest.is_empty() {
            return self.finish_one(&first.0, &first.1.context);
        }
        let (mut lines, mut halt) = (Vec::with_capacity(1 + rest.len()), None);
        for (outcome, Kept { context: task, .. }) in std::iter::once(&**first).chain(rest) {
            let why = if stays_unsent(outcome) {
                outcome.result.as_ref().err().and_then(|failure| self.policy.unsent(failure, self.client))
            } else {
                self.add_savings(outcome);
                lines.push(Line::new(outcome, task));
                self.policy.finished(outcome.result.as_ref().err())
            };
            halt = halt.or(why);
        }
        self.store_all(&lines)?;
        halt.into_iter().for_each(|why| self.halt(why));
        Ok(())
    }

    /// Adds what the provider's cache of prompts has saved of an outcome's cost.
    fn add_savings(&mut self, outcome: &Outcome) {
        for attempt in &outcome.attempts {
            let used = |usage: &Usage| usage.cached_tokens > 0 || usage.cache_write_tokens > 0;
            let Some(usage) = attempt.usage.filter(used) else { continue };
            let price = self.client.price(&attempt.model);
            if let Some(price) = price.and_then(|price| price.of_tier(usage.tier)) {
                *self.saved.get_or_insert(0.0) += price.saved_by_cache(&usage);
            }
        }
    }

    /// Records an outcome, unless the row is to stay unsent.
    fn finish_one(&mut self, outcome: &Outcome, task: &Task) -> Result<()> {
        if let Err(failure) = &outcome.result
            && stays_unsent(outcome)
        {
            if let Some(why) = self.policy.unsent(failure, self.client) {
                self.halt(why);
            }
            return Ok(());
        }
        self.add_savings(outcome);
        let record = record(outcome, task);
        self.store(&record, task.head(&record), detail(outcome, task).as_deref())?;
        if let Some(why) = self.policy.finished(outcome.result.as_ref().err()) {
            self.halt(why);
        }
        Ok(())
    }

    /// Records the rows that could not be turned into requests, and withdraws such records of earlier runs whose rows are
    /// corrected or gone.
    pub(super) fn finish_bad_rows(&mut self) -> Result<()> {
        let gone = std::mem::take(&mut *self.side.gone.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        self.withdrawn += gone.len() as u64;
        gone.into_iter().try_for_each(|key| self.writer.append(&Row::withdrawal(key)))?;
        // One lock per outcome, never contended: the reader's rows arrive here on this very thread.
        let bad = std::mem::take(&mut *self.side.bad.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for Bad { task, message } in bad {
            let failure = Failure::new(Kind::BadRow, message);
            // What makes it bad may be that it is no JSON.
            let input = json::from_slice::<&RawValue>(&task.json).ok().map(|raw| Json::known(raw.get()));
            let record =
                Record { id: task.id().map(Json::known), input, error: Some((&failure).into()), ..empty(&task) };
            self.store(&record, task.head(&record), None)?;
        }
        Ok(())
    }

    fn store(&mut self, record: &Record<'_>, head: RowHead<'_>, detail: Option<&[u8]>) -> Result<()> {
        self.line.clear();
        write_record(record, &mut self.line);
        self.writer.append(&Row { head, record: &self.line, detail })?;
        self.tally.add(&finished(record));
        Ok(())
    }

    /// Stores records in one commit.
    fn store_all(&mut self, lines: &[Line<'_>]) -> Result<()> {
        self.writer.append_all(&lines.iter().map(Line::row).collect::<Vec<_>>())?;
        lines.iter().for_each(|line| self.tally.add(&finished(&line.record)));
        Ok(())
    }

    /// Tells the progress what has been recorded so far.
    pub(super) fn tell(&self) {
        self.control.progress.note(|numbers| {
            numbers.succeeded = self.tally.succeeded;
            numbers.failed = self.tally.failed;
            numbers.cached = self.tally.cached;
            numbers.shared = self.tally.shared;
            numbers.usage = self.tally.usage;
            numbers.cost = self.tally.cost;
            numbers.unpriced = self.tally.unpriced;
            numbers.unstored = self.writer.pending_bytes();
        });
    }
}

/// A record that is stored together with others.
struct Line<'a> {
    record: Record<'a>,
    task: &'a Task,
    detail: Option<Vec<u8>>,
    text: Vec<u8>,
}

impl<'a> Line<'a> {
    fn new(outcome: &'a Outcome, task: &'a Task) -> Line<'a> {
        let (record, mut text) = (record(outcome, task), Vec::new());
        write_record(&record, &mut text);
        Line { record, task, detail: detail(outcome, task), text }
    }

    fn row(&self) -> Row<'_> {
        Row { head: self.task.head(&self.record), record: &self.text, detail: self.detail.as_deref() }
    }
}

/// Returns whether a row has no answer for a reason that is not its own. One that ran out of time although it had been
/// sent has failed: what that cost must be on record.
fn stays_unsent(outcome: &Outcome) -> bool {
    let Err(failure) = &outcome.result else { return false };
    match failure.kind {
        Kind::Deadline => outcome.attempts.is_empty(),
        kind => kind.is_unsent() || kind.advice().aside.is_some(),
    }
}

impl Task {
    /// Returns the row's id as JSON.
    fn id(&self) -> Option<&str> {
        let id = self.json.get(self.id.clone()?)?;
        std::str::from_utf8(id).ok()
    }

    fn head<'a>(&self, record: &'a Record<'_>) -> RowHead<'a> {
        RowHead {
            key: self.key,
            raw: self.raw,
            request: self.request,
            sample: self.sample,
            replaces: self.replaces,
            failed: record.error.as_ref().map(|error| error.kind),
            model: record.model.as_deref().unwrap_or_default(),
        }
    }
}

/// Makes the record of a row of which nothing is known yet.
fn empty(task: &Task) -> Record<'_> {
    Record { sample: task.numbered.then_some(task.sample), ..Record::blank() }
}

fn record<'a>(outcome: &'a Outcome, task: &'a Task) -> Record<'a> {
    let last = outcome.last();
    // The intake has read the row: it is JSON.
    let input = std::str::from_utf8(&task.json).ok();
    let record = Record {
        id: task.id().map(Json::known),
        input: input.map(Json::known),
        model: outcome.model().map(|model| (&**model).into()),
        endpoint: last.map(|attempt| (&*attempt.endpoint).into()),
        usage: outcome.usage(),
        cost: outcome.cost(),
        latency: last.map(|attempt| attempt.took).unwrap_or_default(),
        attempts: outcome.calls(),
        cached: outcome.cached.is_some(),
        shared: outcome.shared.is_some(),
        packed: last.map(|attempt| attempt.packed).filter(|rows| *rows > 1),
        calls: outcome.part_of_calls(),
        checked: outcome.checked.as_deref().map(Cow::Borrowed),
        ..empty(task)
    };
    match &outcome.result {
        Ok(response) => Record {
            output: Some(Answer::from(&response.output)),
            finish_reason: response.finish.name().map(Into::into),
            request_id: response.request_id.as_deref().map(Into::into),
            warnings: response.warnings.iter().map(|warning| warning.as_str().into()).collect(),
            ..record
        },
        Err(failure) => Record {
            output: outcome.fallback.as_ref().map(Answer::from),
            fallback: outcome.fallback.is_some(),
            request_id: failure.request_id.as_deref().map(Into::into),
            error: Some(RecordError::from(failure)),
            ..record
        },
    }
}

/// Returns what the record does not say: a batch row's body, or the attempts before the last.
fn detail(outcome: &Outcome, task: &Task) -> Option<Vec<u8>> {
    match &outcome.result {
        Ok(response) if task.batch => Some(response.raw.to_vec()),
        _ if !task.batch && outcome.calls() > 1 => serde_json::to_vec(&outcome.attempts).ok(),
        _ => None,
    }
}

/// Returns what a tally wants to know of a record.
pub(in crate::run) fn finished<'a>(record: &'a Record<'_>) -> Finished<'a> {
    Finished {
        model: record.model.as_deref().unwrap_or_default(),
        endpoint: record.endpoint.as_deref().unwrap_or_default(),
        failure: record.error.as_ref().map(|error| (error.kind, &*error.message)),
        usage: record.usage,
        cost: record.cost.or(record.error.as_ref().map(|_| Money::ZERO)),
        latency_ms: record.latency.as_secs_f64() * 1e3,
        attempts: record.attempts,
        fallback: record.fallback,
        cached: record.cached,
        shared: record.shared,
        packed: record.packed,
        calls: record.calls,
        checked: record.checked.as_deref(),
    }
}

/// Returns the summary of everything that an output's journal holds, over all invocations.
///
/// # Errors
///
/// No journal beside that output, damage, storage.
pub fn report(out: &Path) -> Result<Summary> {
    let mut tally = Tally::default();
    Snapshot::open(&Home::of_run(out)?.dir)?.scan(|row, _| {
        let record = Record::parse(row.record)
            .map_err(|error| Error::damaged(out, format!("a record cannot be read: {error}")))?;
        tally.add(&finished(&record));
        Ok(())
    })?;
    Ok(Summary::of(&tally))
}
