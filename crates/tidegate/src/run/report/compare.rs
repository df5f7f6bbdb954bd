//! Models, or samples of one model, side by side: do they agree, and where not?
//!
//! Answers are equal if they are but for case and white space, and JSON but for the order of fields: that says much about
//! labels and structured answers, and little about prose. Answers of one row are found by the row's id, or by its content.
//! Of very many rows a part stands for the whole: those whose hash has enough zeros in one place, so that the same ones are chosen
//! every time, and every one as likely.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::{clip, each_record, name_of, readable};
use crate::error::Result;
use crate::failure::Kind;
use crate::money::Money;
use crate::run::job::identity::EACH_MODEL;
use crate::run::journal::{KeyHasher, Manifest};
use crate::run::record::{Answer, Record};

/// Answers that are kept in mind at once: 16 bytes each.
const ANSWERS: usize = 2_000_000;
/// Rows that the table shows.
const ROWS: usize = 50;
/// Columns that it has at most.
const COLUMNS: usize = 24;
/// Characters of an answer.
const ANSWER: usize = 400;
/// Characters of a row.
const INPUT: usize = 200;

/// Models or samples side by side.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// Each model, by name.
    pub models: Vec<ModelAgreement>,
    /// How many samples each was asked for.
    pub samples: usize,
    /// Rows with at least two answers that were compared.
    pub rows: u64,
    /// The share of all rows that were looked at: 1 unless there are very many.
    pub looked_at: f64,
    /// How many of them have answers that are all equal.
    pub agreeing: u64,
    /// For each pair of models the share of equal answers to the same row, where both answered.
    pub pairs: Vec<Vec<Option<f64>>>,
    /// The columns of the table: a model, and the number of the sample.
    pub columns: Vec<(String, u16)>,
    /// Some rows, those with the most different answers first.
    pub table: Vec<RowReport>,
}

/// How one model gets on with the others, and with itself.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ModelAgreement {
    /// The model.
    pub name: String,
    /// The share of its answers that are what most answers to the row are.
    pub with_most: Option<f64>,
    /// The share of rows to which all its samples are equal.
    pub with_itself: Option<f64>,
}

/// One row of the table.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct RowReport {
    /// The row, as `tidegate show` takes it.
    pub name: String,
    /// The row as the input had it, if examples are asked for.
    pub input: Option<String>,
    /// How many different answers there are.
    pub different: usize,
    /// A cell for each column; nothing where there is no record yet.
    pub cells: Vec<Option<Cell>>,
}

/// One answer in the table.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Cell {
    /// Equal answers of a row have the same number, from 0, the most frequent one first; nothing if there is no answer.
    pub group: Option<usize>,
    /// Why there is no answer.
    pub failed: Option<Kind>,
    /// The answer, if examples are asked for.
    pub answer: Option<String>,
    /// What it cost.
    pub cost: Option<Money>,
    /// How long it took.
    pub latency: Duration,
}

/// Returns whether an output holds several answers to a row.
pub(super) fn is_wanted(manifest: &Manifest) -> bool {
    manifest.identity.contains_key(EACH_MODEL) || manifest.output.samples
}

/// An answer in mind: its column, and a hash of it; 0 if the row failed.
type Mark = (u16, u32);

/// The answers of the rows looked at.
#[derive(Default)]
pub(super) struct Cells {
    columns: Vec<(String, u16)>,
    rows: HashMap<u64, Vec<Mark>, BuildHasherDefault<KeyHasher>>,
    kept: usize,
    /// The bits of a row's hash that are zero in those looked at.
    mask: u64,
}

impl Cells {
    pub(super) fn add(&mut self, record: &Record<'_>) {
        let key = key_of(record);
        if !is_looked_at(key, self.mask) {
            return;
        }
        let Some(column) = self.column(record) else { return };
        self.rows.entry(key).or_default().push((column, mark(record)));
        self.kept += 1;
        if self.kept > ANSWERS {
            self.mask = self.mask << 1 | 1;
            self.rows.retain(|key, _| is_looked_at(*key, self.mask));
            self.kept = self.rows.values().map(Vec::len).sum();
        }
    }

    fn column(&mut self, record: &Record<'_>) -> Option<u16> {
        let (model, sample) = (record.model.as_deref()?, record.sample.unwrap_or(0));
        let known = self.columns.iter().position(|(name, number)| name == model && *number == sample);
        let place = known.unwrap_or_else(|| {
            self.columns.push((model.to_owned(), sample));
            self.columns.len() - 1
        });
        u16::try_from(place).ok()
    }

    /// Compares what was kept; nothing if no row has two answers.
    pub(super) fn compare(mut self, out: &Path, examples: usize) -> Result<Option<Comparison>> {
        let models: Vec<String> =
            self.columns.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>().into_iter().collect();
        let model_of: Vec<usize> =
            self.columns.iter().map(|(name, _)| models.binary_search(name).unwrap_or_default()).collect();
        let mut counts = Counts::new(models.len());
        for marks in self.rows.values_mut() {
            marks.sort_unstable();
            counts.add(marks, &model_of, &self.columns);
        }
        if counts.rows == 0 {
            return Ok(None);
        }
        let columns = self.shown_columns();
        let table = self.table(out, &columns, examples)?;
        let samples = self.columns.iter().map(|(_, sample)| sample).collect::<HashSet<_>>().len();
        Ok(Some(counts.finish(models, samples, columns, table, 1.0 / (self.mask + 1) as f64)))
    }

    fn shown_columns(&self) -> Vec<(String, u16)> {
        let mut columns = self.columns.clone();
        columns.sort();
        columns.truncate(COLUMNS);
        columns
    }

    /// Reads the records of the rows with the most different answers.
    fn table(&self, out: &Path, columns: &[(String, u16)], examples: usize) -> Result<Vec<RowReport>> {
        let mut chosen: Vec<_> =
            self.rows.iter().map(|(key, marks)| (std::cmp::Reverse(different(marks)), *key)).collect();
        let most = ROWS.min(chosen.len());
        if most < chosen.len() {
            chosen.select_nth_unstable(most);
            chosen.truncate(most);
        }
        chosen.sort_unstable();
        let place: HashMap<u64, usize> = chosen.iter().enumerate().map(|(place, (_, key))| (*key, place)).collect();
        let mut table = vec![RowReport { cells: vec![None; columns.len()], ..RowReport::default() }; chosen.len()];
        each_record(out, |number, record| {
            let key = key_of(record);
            let Some(place) = place.get(&key) else { return };
            let (row, marks) = (&mut table[*place], &self.rows[&key]);
            row.different = different(marks);
            if row.name.is_empty() {
                row.name = name_of(number, record);
                row.input = record.input.filter(|_| examples > 0).map(|input| clip(&readable(input.get()), INPUT));
            }
            let column = |(name, sample): &(String, u16)| {
                record.model.as_deref() == Some(name) && record.sample.unwrap_or(0) == *sample
            };
            if let Some(cell) = columns.iter().position(column).and_then(|at| row.cells.get_mut(at)) {
                *cell = Some(Cell::new(record, marks, examples > 0));
            }
        })?;
        Ok(table)
    }
}

impl Cell {
    fn new(record: &Record<'_>, marks: &[Mark], with_answer: bool) -> Cell {
        let mark = mark(record);
        Cell {
            group: ranks(marks).iter().position(|rank| *rank == mark),
            failed: record.error.as_ref().map(|error| error.kind),
            answer: record.output.as_ref().filter(|_| with_answer).map(|answer| clip(&text(answer), ANSWER)),
            cost: record.cost,
            latency: record.latency,
        }
    }
}

/// What is counted over rows.
struct Counts {
    rows: u64,
    agreeing: u64,
    pairs: Vec<Vec<(u64, u64)>>,
    with_most: Vec<(u64, u64)>,
    with_itself: Vec<(u64, u64)>,
}

impl Counts {
    fn new(models: usize) -> Counts {
        let none = vec![(0, 0); models];
        Counts { rows: 0, agreeing: 0, pairs: vec![none.clone(); models], with_most: none.clone(), with_itself: none }
    }

    fn add(&mut self, marks: &[Mark], model_of: &[usize], columns: &[(String, u16)]) {
        let answers: Vec<_> =
            marks.iter().filter(|(_, mark)| *mark != 0).map(|(column, mark)| (usize::from(*column), *mark)).collect();
        if answers.len() < 2 {
            return;
        }
        let ranks = ranks(marks);
        self.rows += 1;
        self.agreeing += u64::from(ranks.len() == 1);
        let most = ranks.first().map(|best| count(marks, *best)).unwrap_or_default();
        for (column, mark) in &answers {
            note(&mut self.with_most[model_of[*column]], count(marks, *mark) == most);
            for (other, mark_of_other) in &answers {
                if model_of[*column] != model_of[*other] && columns[*column].1 == columns[*other].1 {
                    note(&mut self.pairs[model_of[*column]][model_of[*other]], mark == mark_of_other);
                }
            }
        }
        for (model, itself) in self.with_itself.iter_mut().enumerate() {
            let own: Vec<_> =
                answers.iter().filter(|(column, _)| model_of[*column] == model).map(|(_, mark)| mark).collect();
            if own.len() > 1 {
                note(itself, own.windows(2).all(|pair| pair[0] == pair[1]));
            }
        }
    }

    fn finish(
        self,
        models: Vec<String>,
        samples: usize,
        columns: Vec<(String, u16)>,
        table: Vec<RowReport>,
        looked_at: f64,
    ) -> Comparison {
        let share = |(equal, of): (u64, u64)| (of > 0).then(|| equal as f64 / of as f64);
        let model = |(place, name)| ModelAgreement {
            name,
            with_most: share(self.with_most[place]),
            with_itself: share(self.with_itself[place]),
        };
        Comparison {
            models: models.into_iter().enumerate().map(model).collect(),
            samples,
            rows: self.rows,
            looked_at,
            agreeing: self.agreeing,
            pairs: self.pairs.iter().map(|row| row.iter().map(|pair| share(*pair)).collect()).collect(),
            columns,
            table,
        }
    }
}

fn note((equal, of): &mut (u64, u64), is_equal: bool) {
    *equal += u64::from(is_equal);
    *of += 1;
}

fn count(marks: &[Mark], of: u32) -> usize {
    marks.iter().filter(|(_, mark)| *mark == of).count()
}

/// Returns the different answers, the most frequent one first.
fn ranks(marks: &[Mark]) -> Vec<u32> {
    let mut ranks: Vec<u32> = marks.iter().map(|(_, mark)| *mark).filter(|mark| *mark != 0).collect();
    ranks.sort_unstable();
    ranks.dedup();
    ranks.sort_by_key(|rank| std::cmp::Reverse(count(marks, *rank)));
    ranks
}

fn different(marks: &[Mark]) -> usize {
    ranks(marks).len()
}

/// Returns whether a row is among those looked at. By bits from the middle: the hash map goes by those at both ends.
fn is_looked_at(key: u64, mask: u64) -> bool {
    key >> 24 & mask == 0
}

fn key_of(record: &Record<'_>) -> u64 {
    let json = record.id.or(record.input).map_or("", |json| json.get());
    xxh3_64(json.as_bytes())
}

fn mark(record: &Record<'_>) -> u32 {
    match record.output.as_ref().filter(|_| record.error.is_none()) {
        None => 0,
        Some(answer) => (xxh3_64(plain(&text(answer)).as_bytes()) as u32).max(1),
    }
}

fn text(answer: &Answer<'_>) -> String {
    match answer {
        Answer::Text(text) => text.to_string(),
        Answer::Raw(json) => json.get().to_owned(),
        Answer::Value(value) => value.to_string(),
        Answer::Vector(vector) => format!("{vector:?}"),
    }
}

/// Returns an answer without what does not count: case and white space, and the order of a JSON object's fields.
fn plain(answer: &str) -> String {
    let json =
        answer.trim_start().starts_with(['{', '[']).then(|| serde_json::from_str::<Value>(answer).ok()).flatten();
    let text = json.map_or_else(|| answer.to_owned(), |json| sorted(json).to_string());
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_equal_but_for_case_spaces_and_the_order_of_fields() {
        assert_eq!(plain(" Low  Tide\n"), plain("low tide"));
        assert_eq!(plain(r#"{"b":1,"a":{"d":2,"c":3}}"#), plain(r#"{ "a": {"c": 3, "d": 2}, "b": 1 }"#));
        assert_ne!(plain("[1,2]"), plain("[2,1]"));
    }

    #[test]
    fn agreement_is_counted_by_pairs_with_most_and_with_oneself() {
        let columns: Vec<_> =
            [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 0)].map(|(name, n)| (name.to_owned(), n)).into();
        let model_of = [0, 0, 1, 1, 2];
        let mut counts = Counts::new(3);
        counts.add(&[(0, 7), (1, 7), (2, 7), (3, 9), (4, 8)], &model_of, &columns);
        counts.add(&[(0, 7), (1, 7), (2, 0), (3, 7)], &model_of, &columns);
        counts.add(&[(0, 7), (2, 0)], &model_of, &columns);
        let found = counts.finish(vec!["a".into(), "b".into(), "c".into()], 2, columns, Vec::new(), 1.0);
        assert_eq!((found.rows, found.agreeing), (2, 1));
        assert_eq!(
            (found.pairs[0][1], found.pairs[1][0], found.pairs[0][2]),
            (Some(2.0 / 3.0), Some(2.0 / 3.0), Some(0.0))
        );
        assert_eq!((found.models[0].with_most, found.models[0].with_itself), (Some(1.0), Some(1.0)));
        assert_eq!((found.models[1].with_most, found.models[1].with_itself), (Some(2.0 / 3.0), Some(0.0)));
        assert_eq!(found.models[2].with_itself, None);
    }

    #[test]
    fn too_many_rows_are_thinned_out_evenly() {
        let mut cells = Cells { mask: 0b11, ..Cells::default() };
        for n in 0..4000 {
            let record = format!(
                r#"{{"id":{n},"input":null,"output":"x","model":"m","endpoint":"m","finish_reason":null,"usage":null,"cost_usd":null,"latency_ms":1,"attempts":1,"request_id":null,"error":null}}"#
            );
            cells.add(&Record::parse(record.as_bytes()).unwrap());
        }
        assert!((800..1200).contains(&cells.rows.len()), "{}", cells.rows.len());
    }
}
