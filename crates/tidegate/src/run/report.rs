//! Everything that an output's journal, manifest and timeline can tell about how it was made: what `tidegate report` shows.
//!
//! It is made without the journal's lock, so also in the middle of a run, and its size does not follow the input's: rows
//! become counts, and of examples there are a few. Prompts and answers are in it only if examples are asked for.

mod causes;
mod compare;
mod pace;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

pub use self::causes::{CauseReport, MessageReport};
pub use self::compare::{Cell, Comparison, ModelAgreement, RowReport};
pub use self::pace::{EndpointReport, RunReport};
use super::job::finished;
use super::journal::{self, Manifest};
use super::record::Record;
use super::summary::{Summary, Tally};
use super::timeline;
use crate::error::{Error, Result};

use self::causes::Causes;
use self::compare::Cells;

/// Of so many models each has numbers of its own; those beyond are counted together.
const MODELS: usize = 100;
/// What the rest is called.
const OTHERS: &str = "(others)";
/// Bars of the latency's histogram.
const BARS: usize = 40;

/// What a report is to hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReportOptions {
    /// How many rows of each kind are shown with what was asked and answered; with 0 no content is shown.
    pub examples: usize,
}

/// How an output was made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The numbers over all rows, as in the report without pictures.
    pub summary: Summary,
    /// How many answered rows took how long.
    pub latency: Vec<Bar>,
    /// Each model, the one with the most rows first.
    pub models: Vec<ModelReport>,
    /// The failed rows by cause, the most frequent first.
    pub causes: Vec<CauseReport>,
    /// The models or samples side by side, if every row was asked several times.
    pub comparison: Option<Comparison>,
    /// The runs, oldest first.
    pub runs: Vec<RunReport>,
    /// What the endpoints did in all those runs.
    pub endpoints: Vec<EndpointReport>,
    /// What everything was asked with, by name; the prompts only with examples.
    pub settings: BTreeMap<String, String>,
}

/// A bar of a histogram: so many between these two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Bar {
    pub from: Duration,
    pub to: Duration,
    pub rows: u64,
}

/// What one model did.
#[derive(Debug)]
#[non_exhaustive]
pub struct ModelReport {
    /// The model.
    pub name: String,
    /// Its rows, counted.
    pub tally: Tally,
}

impl Report {
    /// Reads everything that there is beside an output.
    ///
    /// # Errors
    ///
    /// No journal beside that output, damage, storage.
    pub fn read(out: &Path, options: ReportOptions) -> Result<Report> {
        let manifest = Manifest::read(&journal::Home::of_run(out)?.dir)?;
        let (mut tally, mut causes) = (Tally::default(), Causes::new(options.examples));
        let mut models: BTreeMap<String, Tally> = BTreeMap::new();
        let mut cells = manifest.as_ref().is_some_and(compare::is_wanted).then(Cells::default);
        each_record(out, |number, record| {
            let row = finished(record);
            tally.add(&row);
            if !row.model.is_empty() {
                of_model(&mut models, row.model).add(&row);
            }
            causes.add(number, record);
            if let Some(cells) = &mut cells {
                cells.add(record);
            }
        })?;
        let timelines = timeline::read(out)?;
        let invocations = manifest.as_ref().map(|manifest| manifest.invocations.clone()).unwrap_or_default();
        let mut models: Vec<_> = models.into_iter().map(|(name, tally)| ModelReport { name, tally }).collect();
        models.sort_by_key(|model| std::cmp::Reverse(model.tally.finished()));
        Ok(Report {
            summary: Summary::of(&tally),
            latency: bars(&tally),
            models,
            causes: causes.finish(),
            comparison: cells.map(|cells| cells.compare(out, options.examples)).transpose()?.flatten(),
            endpoints: pace::endpoints(&timelines),
            runs: pace::runs(invocations, timelines),
            settings: settings(manifest, options),
        })
    }
}

/// Shows every record that counts with its number, from 1.
fn each_record(out: &Path, mut visit: impl FnMut(u64, &Record<'_>)) -> Result<()> {
    let mut number = 0;
    journal::read(out, |row, _| {
        let record = Record::parse(row.record)
            .map_err(|error| Error::damaged(out, format!("a record cannot be read: {error}")))?;
        number += 1;
        visit(number, &record);
        Ok(())
    })
}

fn of_model<'a>(models: &'a mut BTreeMap<String, Tally>, name: &str) -> &'a mut Tally {
    let name = if models.contains_key(name) || models.len() < MODELS { name } else { OTHERS };
    models.entry(name.to_owned()).or_default()
}

/// Returns a histogram whose bars are equally wide to the logarithm: from milliseconds to minutes in one picture.
fn bars(tally: &Tally) -> Vec<Bar> {
    let (least, most) = (tally.latency(0.0), tally.latency(100.0));
    if most.is_zero() {
        return Vec::new();
    }
    let (low, high) = (least.as_secs_f64().max(1e-5) * 0.98, most.as_secs_f64() * 1.02);
    let step = (high / low).powf(1.0 / BARS as f64).max(1.02);
    let mut edges = (0..=BARS as i32).map(|n| Duration::from_secs_f64(low * step.powi(n)));
    let (mut from, mut below) = (edges.next().unwrap_or_default(), 0);
    let bar = |to| {
        let within = tally.answered_within(to);
        let bar = Bar { from, to, rows: within - below };
        (from, below) = (to, within);
        bar
    };
    edges.map(bar).collect()
}

fn settings(manifest: Option<Manifest>, options: ReportOptions) -> BTreeMap<String, String> {
    let mut settings = manifest.map(|manifest| manifest.identity).unwrap_or_default();
    if options.examples == 0 {
        settings.retain(|name, _| !matches!(name.as_str(), "prompt" | "system"));
    }
    settings
}

/// Returns at most that many characters of a text.
fn clip(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Returns a row with its letters as such where the input has `\u` and their numbers, as Python writes them.
fn readable(input: &str) -> Cow<'_, str> {
    let escaped = Some(input).filter(|text| text.contains("\\u"));
    let read = escaped.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    read.map_or(Cow::Borrowed(input), |value| Cow::Owned(value.to_string()))
}

/// Returns how a reader may name a record to `tidegate show`.
fn name_of(number: u64, record: &Record<'_>) -> String {
    record.id.map_or_else(|| format!(":{number}"), |id| clip(&super::job::plain(id.get()), 120))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::summary::Finished;

    #[test]
    fn every_answered_row_is_in_one_bar() {
        let mut tally = Tally::default();
        assert_eq!(bars(&tally), []);
        for latency_ms in [0.0, 0.4, 35.0, 35.1, 900.0, 61_000.0] {
            let finished = Finished {
                model: "m",
                endpoint: "m",
                failure: None,
                usage: None,
                cost: None,
                latency_ms,
                attempts: 1,
                fallback: false,
                cached: false,
                shared: false,
                packed: None,
                calls: None,
                checked: None,
            };
            tally.add(&finished);
        }
        let bars = bars(&tally);
        assert_eq!((bars.len(), bars.iter().map(|bar| bar.rows).sum::<u64>()), (BARS, 6));
        assert!(bars.windows(2).all(|pair| pair[0].to == pair[1].from));
    }
}
