//! The fields that `--fields` may name, and what each holds of a record.
//!
//! A name that is none of ours is a column of the input; `input.NAME` always is, for a column called like one of ours.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::OutputOptions;
use crate::error::{Error, Result};
use crate::response::Usage;
use crate::run::record::{Answer, Json, Record, Text, dollars, push_json};
use crate::suggest;

/// A field of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Id,
    Input,
    Output,
    Model,
    Sample,
    Endpoint,
    FinishReason,
    Usage,
    InputTokens,
    OutputTokens,
    CachedTokens,
    ReasoningTokens,
    CostUsd,
    LatencyMs,
    Attempts,
    RequestId,
    Fallback,
    Cached,
    Shared,
    Packed,
    Calls,
    Checked,
    Error,
    ErrorKind,
    ErrorMessage,
    ErrorStatus,
}

/// Every field of ours with its name.
const NAMES: [(&str, Own); 26] = [
    ("id", Own::Id),
    ("input", Own::Input),
    ("output", Own::Output),
    ("model", Own::Model),
    ("sample", Own::Sample),
    ("endpoint", Own::Endpoint),
    ("finish_reason", Own::FinishReason),
    ("usage", Own::Usage),
    ("input_tokens", Own::InputTokens),
    ("output_tokens", Own::OutputTokens),
    ("cached_tokens", Own::CachedTokens),
    ("reasoning_tokens", Own::ReasoningTokens),
    ("cost_usd", Own::CostUsd),
    ("latency_ms", Own::LatencyMs),
    ("attempts", Own::Attempts),
    ("request_id", Own::RequestId),
    ("fallback", Own::Fallback),
    ("cached", Own::Cached),
    ("shared", Own::Shared),
    ("packed", Own::Packed),
    ("calls", Own::Calls),
    ("checked", Own::Checked),
    ("error", Own::Error),
    ("error_kind", Own::ErrorKind),
    ("error_message", Own::ErrorMessage),
    ("error_status", Own::ErrorStatus),
];

/// The fields of a JSON record.
pub(super) const RECORD: [Own; 19] = [
    Own::Id,
    Own::Input,
    Own::Output,
    Own::Model,
    Own::Sample,
    Own::Endpoint,
    Own::FinishReason,
    Own::Usage,
    Own::CostUsd,
    Own::LatencyMs,
    Own::Attempts,
    Own::RequestId,
    Own::Fallback,
    Own::Cached,
    Own::Shared,
    Own::Packed,
    Own::Calls,
    Own::Checked,
    Own::Error,
];

/// The fields of a CSV after the input's columns: the same, without nesting.
pub(super) const FLAT: [Own; 18] = [
    Own::Id,
    Own::Output,
    Own::Model,
    Own::Sample,
    Own::Endpoint,
    Own::FinishReason,
    Own::InputTokens,
    Own::OutputTokens,
    Own::CachedTokens,
    Own::ReasoningTokens,
    Own::CostUsd,
    Own::LatencyMs,
    Own::Attempts,
    Own::RequestId,
    Own::Fallback,
    Own::ErrorKind,
    Own::ErrorMessage,
    Own::ErrorStatus,
];

/// Where a field comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A field of ours.
    Own(Own),
    /// A column of the input.
    Input(String),
    /// A field of a structured answer, by its path.
    Lifted(String),
}

/// One field of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) source: Source,
}

/// What a field holds.
#[derive(Debug)]
pub(super) enum Cell<'a> {
    /// Nothing.
    Null,
    /// Text.
    Text(&'a str),
    /// JSON text.
    Raw(Cow<'a, str>),
}

/// Returns the chosen fields, or nothing if none were chosen.
pub(super) fn chosen(options: &OutputOptions) -> Result<Option<Vec<Field>>> {
    let mut fields: Vec<Field> = Vec::new();
    for name in &options.fields {
        let field = Field::named(name, options);
        if name.is_empty() || fields.iter().any(|other| other.name == field.name) {
            return Err(Error::Usage(format!("--fields: {name:?} is empty or comes twice")));
        }
        fields.push(field);
    }
    Ok((!fields.is_empty()).then_some(fields))
}

/// Refuses chosen fields that are neither ours nor among the columns that every row has.
pub(super) fn check(options: &OutputOptions, columns: &[String]) -> Result<()> {
    for field in chosen(options)?.into_iter().flatten() {
        let Source::Input(name) = field.source else { continue };
        if columns.contains(&name) {
            continue;
        }
        let known = NAMES.iter().map(|(own, _)| *own).chain(columns.iter().map(String::as_str));
        let meant = suggest::closest(&name, known).map(|meant| format!("did you mean `{meant}`? ")).unwrap_or_default();
        return Err(Error::Usage(format!(
            "--fields: `{name}` is neither a field of the results nor a column; {meant}the columns are: {}",
            columns.join(", ")
        )));
    }
    Ok(())
}

/// Returns those of our fields that an output has, with the user's name for `output`.
pub(super) fn own(fields: &[Own], options: &OutputOptions) -> Vec<Field> {
    let wanted = |own: &&Own| match own {
        Own::Sample => options.samples,
        Own::Fallback => options.fallbacks,
        Own::Cached => options.cached,
        Own::Shared => options.shared,
        Own::Packed | Own::Calls => options.packed,
        Own::Checked => options.checked,
        _ => true,
    };
    fields.iter().filter(wanted).map(|&own| Field { name: own.shown(options), source: Source::Own(own) }).collect()
}

/// Returns the fields that are lifted out of answers.
pub(super) fn lifted(options: &OutputOptions) -> impl Iterator<Item = Field> {
    options.lift.iter().map(|path| Field { name: path.clone(), source: Source::Lifted(path.clone()) })
}

/// Returns the fields of a table: the input's columns, then ours, or the chosen ones.
///
/// A field of ours that is called as a column is gets a number (`output_2`), except `id`: that is left out then, since a row's
/// id is always one of the input's columns. Where an input is joined, its columns come in any case, and the chosen fields
/// behind them.
pub(super) fn table(options: &OutputOptions, columns: &[String]) -> Result<Vec<Field>> {
    let chosen = chosen(options)?;
    if let Some(chosen) = chosen.as_ref().filter(|_| !options.joined) {
        return Ok(chosen.clone());
    }
    let mut all: Vec<Field> = Vec::new();
    for name in columns {
        if all.iter().all(|field| field.name != *name) {
            all.push(Field { source: Source::Input(name.clone()), name: name.clone() });
        }
    }
    if let Some(chosen) = chosen {
        let more: Vec<Field> = chosen.into_iter().filter(|field| !all.contains(field)).collect();
        return Ok(distinct(all.into_iter().chain(more)));
    }
    let has_id = all.iter().any(|field| field.name == "id");
    for field in own(&FLAT, options) {
        if has_id && field.source == Source::Own(Own::Id) {
            continue;
        }
        let is_output = field.source == Source::Own(Own::Output);
        all.push(field);
        // What is lifted out of the answer stands behind it.
        if is_output {
            all.extend(lifted(options));
        }
    }
    Ok(distinct(all.into_iter()))
}

/// Returns the fields with a number behind each name that an earlier one has.
pub(super) fn distinct(fields: impl Iterator<Item = Field>) -> Vec<Field> {
    let mut all: Vec<Field> = Vec::new();
    for mut field in fields {
        field.name = free_name(field.name, &all);
        all.push(field);
    }
    all
}

/// Returns the name, with a number behind it if it is taken.
fn free_name(name: String, taken: &[Field]) -> String {
    let free = |name: &String| taken.iter().all(|field| field.name != *name);
    if free(&name) {
        return name;
    }
    (2..).map(|number: u32| format!("{name}_{number}")).find(free).unwrap_or(name)
}

/// Returns a field of a structured answer; its path has points between the names.
pub(super) fn lift<'r>(record: &'r Record<'_>, path: &str) -> Cell<'r> {
    let Some(Answer::Raw(answer)) = &record.output else { return Cell::Null };
    let mut found = *answer;
    for name in path.split('.') {
        let Ok(fields) = serde_json::from_str::<Columns<'r>>(found.get()) else { return Cell::Null };
        let Some(value) = fields.get(name, 0) else { return Cell::Null };
        found = value;
    }
    Cell::Raw(found.get().into())
}

impl Own {
    fn name(self) -> &'static str {
        NAMES.iter().find(|(_, own)| *own == self).map_or("", |(name, _)| name)
    }

    fn shown(self, options: &OutputOptions) -> String {
        match &options.output_column {
            Some(name) if self == Own::Output => name.clone(),
            _ => self.name().to_owned(),
        }
    }

    /// Returns what a record holds in this field.
    pub(super) fn cell<'r>(self, record: &'r Record<'_>) -> Cell<'r> {
        let tokens = |count: fn(&Usage) -> u64| record.usage.as_ref().map(count).into();
        let error = record.error.as_ref();
        match self {
            Own::LatencyMs | Own::Attempts | Own::Fallback | Own::Cached if record.is_blank() => Cell::Null,
            Own::Id => record.id.into(),
            Own::Input => record.input.into(),
            Own::Output => record.output.as_ref().map_or(Cell::Null, Cell::answer),
            Own::Model => record.model.as_deref().into(),
            Own::Sample => record.sample.map(u64::from).into(),
            Own::Endpoint => record.endpoint.as_deref().into(),
            Own::FinishReason => record.finish_reason.as_deref().into(),
            Own::Usage => Cell::json(record.usage.as_ref()),
            Own::InputTokens => tokens(|usage| usage.input_tokens),
            Own::OutputTokens => tokens(|usage| usage.output_tokens),
            Own::CachedTokens => tokens(|usage| usage.cached_tokens),
            Own::ReasoningTokens => tokens(|usage| usage.reasoning_tokens),
            Own::CostUsd => record.cost.map_or(Cell::Null, |cost| Cell::Raw(dollars(cost).into())),
            Own::LatencyMs => Cell::Raw((record.latency.as_micros() as f64 / 1000.0).to_string().into()),
            Own::Attempts => Some(u64::from(record.attempts)).into(),
            Own::RequestId => record.request_id.as_deref().into(),
            Own::Fallback => Cell::Raw(record.fallback.to_string().into()),
            Own::Cached => Cell::Raw(record.cached.to_string().into()),
            Own::Shared => Cell::Raw(record.shared.to_string().into()),
            Own::Packed => record.packed.map(u64::from).into(),
            Own::Calls => Cell::json(record.calls.as_ref()),
            Own::Checked => Cell::json(record.checked.as_deref()),
            Own::Error => Cell::json(error),
            Own::ErrorKind => error.map(|error| error.kind.name()).into(),
            Own::ErrorMessage => error.map(|error| &*error.message).into(),
            Own::ErrorStatus => error.and_then(|error| error.status).map(u64::from).into(),
        }
    }
}

impl Source {
    /// Returns what a record holds there; `columns` are its input's, and `place` is where to look first.
    pub(super) fn cell<'r>(&self, record: &'r Record<'_>, columns: &Columns<'r>, place: usize) -> Cell<'r> {
        match self {
            Source::Own(own) => own.cell(record),
            Source::Lifted(path) => lift(record, path),
            Source::Input(name) => columns.get(name, place).into(),
        }
    }
}

impl Field {
    fn named(name: &str, options: &OutputOptions) -> Field {
        let renamed = options.output_column.as_deref().filter(|shown| *shown == name).map(|_| Own::Output);
        if let Some(own) = NAMES.iter().find(|(own, _)| *own == name).map(|(_, own)| *own).or(renamed) {
            return Field { name: own.shown(options), source: Source::Own(own) };
        }
        if options.lift.iter().any(|path| path == name) {
            return Field { name: name.to_owned(), source: Source::Lifted(name.to_owned()) };
        }
        let column = name.strip_prefix("input.").unwrap_or(name);
        Field { name: column.to_owned(), source: Source::Input(column.to_owned()) }
    }
}

impl<'a> Cell<'a> {
    fn json(value: Option<&impl Serialize>) -> Cell<'a> {
        let Some(value) = value else { return Cell::Null };
        serde_json::to_string(value).map_or(Cell::Null, |text| Cell::Raw(text.into()))
    }

    fn answer<'r>(answer: &'r Answer<'_>) -> Cell<'r> {
        match answer {
            Answer::Text(text) => Cell::Text(text),
            Answer::Raw(raw) => Cell::Raw(raw.get().into()),
            Answer::Vector(vector) => Cell::json(Some(vector)),
            Answer::Value(value) => Cell::json(Some(value)),
        }
    }

    /// Appends the cell as JSON.
    pub(super) fn push_json(&self, line: &mut Vec<u8>) {
        match self {
            Cell::Null => line.extend_from_slice(b"null"),
            Cell::Text(text) => push_json(line, text),
            Cell::Raw(raw) => line.extend_from_slice(raw.as_bytes()),
        }
    }

    /// Returns the cell as plain text: nothing for null, strings without quotes, anything else as JSON.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Cell::Null => Cow::Borrowed(""),
            Cell::Text(text) => Cow::Borrowed(text),
            Cell::Raw(raw) if raw == "null" => Cow::Borrowed(""),
            Cell::Raw(raw) if raw.starts_with('"') => {
                serde_json::from_str(raw).map_or(Cow::Borrowed(&**raw), |Text(text)| text)
            }
            Cell::Raw(raw) => Cow::Borrowed(raw),
        }
    }
}

impl<'a> From<Option<&'a str>> for Cell<'a> {
    fn from(text: Option<&'a str>) -> Cell<'a> {
        text.map_or(Cell::Null, Cell::Text)
    }
}

impl<'a> From<Option<Json<'a>>> for Cell<'a> {
    fn from(raw: Option<Json<'a>>) -> Cell<'a> {
        raw.map_or(Cell::Null, |raw| Cell::Raw(raw.get().into()))
    }
}

impl From<Option<u64>> for Cell<'_> {
    fn from(number: Option<u64>) -> Self {
        number.map_or(Cell::Null, |number| Cell::Raw(number.to_string().into()))
    }
}

/// The columns of an input row in their order; an input that is no object is one column called `input`.
#[derive(Debug, Default)]
pub(super) struct Columns<'a>(pub(super) Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Columns<'a> {
    /// Reads a record's input.
    pub(super) fn of(record: &Record<'a>) -> Columns<'a> {
        let Some(input) = record.input else { return Columns::default() };
        serde_json::from_str(input.get()).unwrap_or_else(|_| Columns(vec![(Cow::Borrowed("input"), input)]))
    }

    /// Returns a column, looking first where it stood in other rows.
    pub(super) fn get(&self, name: &str, place: usize) -> Option<Json<'a>> {
        let there = self.0.get(place).filter(|(column, _)| column == name);
        there.or_else(|| self.0.iter().find(|(column, _)| column == name)).map(|(_, value)| *value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Columns<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Columns<'a>, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Columns<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Columns<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    pairs.push((name, value));
                }
                Ok(Columns(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Names the chosen columns that no row of the input had: a typing error, more often than not.
pub(super) fn never_met<'f>(fields: impl Iterator<Item = (&'f Field, &'f bool)>, rows: u64) -> Vec<String> {
    let missing = fields.filter(|(field, met)| rows > 0 && !**met && matches!(field.source, Source::Input(_)));
    let warning = |(field, _): (&Field, &bool)| {
        let near = suggest::closest(&field.name, NAMES.map(|(name, _)| name));
        let near = near.map(|name| format!("; did you mean '{name}'?")).unwrap_or_default();
        format!("no row of this run has the column {:?} that --fields names{near}", field.name)
    };
    missing.map(warning).collect()
}
