//! Which stored records belong to which row of an input: to write them in its order, or beside its rows.
//!
//! A record knows its row's key and not its place, since rows may be added, removed and sorted between runs. So the input is
//! read again, and every row asks for its records as a resumed run would.

use crate::error::{Error, Result};
use crate::run::input::{Input, InputOptions, Row};
use crate::run::job::identity;
use crate::run::journal::{Manifest, Offsets, Taker};
use crate::run::key::{KeyRule, bad_key, peek, record_key};

/// How the rows of an output are known.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    rule: KeyRule,
    seed: u64,
    /// The models that each row is asked of, each with records of its own; one without a name otherwise.
    models: Vec<Option<String>>,
    repeat: u16,
}

impl Keys {
    /// Returns how the rows are known that a manifest tells of.
    pub(crate) fn of(manifest: &Manifest) -> Keys {
        let mut models: Vec<Option<String>> = manifest.asked.models.iter().cloned().map(Some).collect();
        if models.is_empty() {
            models.push(None);
        }
        Keys {
            rule: identity::key_rule(&manifest.identity),
            seed: manifest.seed,
            models,
            repeat: manifest.asked.repeat.max(1),
        }
    }

    /// Takes the records of a row, in the order of models and samples.
    pub(crate) fn take(&self, row: &Row, taker: &mut Taker<'_>) -> Vec<u64> {
        let mut found = Vec::new();
        if let Some(peeked) = row.text().ok().and_then(|text| peek(text, &self.rule, self.seed).ok()) {
            for model in &self.models {
                let keys = (0..self.repeat).map(|sample| record_key(peeked.hash, model.as_deref(), sample));
                found.extend(keys.filter_map(|key| taker.take(key)));
            }
        }
        if found.is_empty() {
            found.extend(taker.take(bad_key(&row.json, self.seed)));
        }
        found
    }

    /// Returns the offsets of all records in the order of the input; those whose rows are gone from it come last.
    pub(crate) fn arrange(&self, offsets: &Offsets, input: &InputOptions) -> Result<Vec<u64>> {
        let (mut input, mut taker, mut arranged) = (open(input)?, offsets.taker(), Vec::new());
        while let Some(row) = input.next_row()? {
            arranged.extend(self.take(&row, &mut taker));
        }
        arranged.extend(taker.rest());
        Ok(arranged)
    }
}

/// Opens an input that can be read once more.
pub(crate) fn open(options: &InputOptions) -> Result<Input> {
    if options.is_piped() {
        let message =
            "the order of rows that came through a pipe is known to nobody; give a file, or leave --ordered away";
        return Err(Error::Usage(message.to_owned()));
    }
    Input::open(options)
}
