//! One row of an output, as far as its journal knows it: what `tidegate show` prints.
//!
//! The journal holds the row and the answer, and of the request only a check. The request is made again, from the stored
//! row and the prompt in the manifest, and the check tells whether that is what was asked. Files are not read again: they
//! may be gone, or others by now.

use std::path::Path;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::identity;
use crate::error::{Error, Result};
use crate::json;
use crate::outcome::Attempt;
use crate::request::Request;
use crate::run::input::{Place, Row};
use crate::run::journal::{self, Manifest};
use crate::run::prompt::{Attached, Renderer, fingerprint};
use crate::run::record::Record;
use crate::suggest::closest;

/// Which records of an output are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Those of the row with this id.
    Id(String),
    /// The one with this number, from 1, in the order in which the rows were finished.
    Number(u64),
}

/// One record, with what the journal knows beside it.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Shown {
    /// The record, as it stands in the journal.
    pub record: Box<RawValue>,
    /// The request, made again; nothing if that cannot be done.
    pub request: Option<Request>,
    /// Whether the journal's check says that exactly this was asked.
    pub as_asked: bool,
    /// Every attempt, if there were several. Of a single one the record says everything.
    pub attempts: Vec<Attempt>,
    /// The provider's own reply, of a line of a batch file only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Box<RawValue>>,
}

/// Returns every record of a row: one for each model under `--each-model`, one for each sample under `--repeat`.
///
/// It needs no lock, so that it works in the middle of a run.
///
/// # Errors
///
/// No such row, with the id that may have been meant; no journal beside that output, damage, storage.
pub fn show(out: &Path, which: &Which) -> Result<Vec<Shown>> {
    let manifest = Manifest::read(&journal::Home::of_run(out)?.dir)?;
    let again = manifest.as_ref().map(Again::new);
    let (mut found, mut number, mut with_id) = (Vec::new(), 0, 0_u64);
    journal::read(out, |row, _| {
        number += 1;
        let id = id_of(row.record);
        with_id += u64::from(id.is_some());
        let meant = match which {
            Which::Id(wanted) => id.as_ref() == Some(wanted),
            Which::Number(wanted) => number == *wanted,
        };
        if meant {
            found.push(Shown::new(out, row, again.as_ref())?);
        }
        Ok(())
    })?;
    match (which, found.is_empty()) {
        (_, false) => Ok(found),
        (Which::Number(wanted), _) => {
            Err(Error::Usage(format!("{} has no record {wanted}: it holds {number}", out.display())))
        }
        (Which::Id(_), _) if with_id == 0 && number > 0 => Err(Error::Usage(format!(
            "the rows of {} have no ids; give a record's number, such as :17 for the 17th that was finished",
            out.display()
        ))),
        (Which::Id(wanted), _) => Err(unknown(out, wanted)?),
    }
}

/// Makes the error about an id that is not there, with the nearest one that is.
fn unknown(out: &Path, wanted: &str) -> Result<Error> {
    let mut nearest: Option<String> = None;
    journal::read(out, |row, _| {
        if let Some(id) = id_of(row.record) {
            let rivals = nearest.as_deref().into_iter().chain([id.as_str()]);
            if closest(wanted, rivals) == Some(&id) {
                nearest = Some(id);
            }
        }
        Ok(())
    })?;
    let meant = nearest.map(|id| format!("; did you mean '{id}'?")).unwrap_or_default();
    let reason = "no finished row has this id";
    Ok(Error::Usage(format!("{}: {reason}: '{wanted}'{meant}", out.display())))
}

/// Returns a record's id as a person would type it.
pub(crate) fn id_of(record: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
    }
    let Head { id } = json::from_slice(record).ok()?;
    Some(plain(id?.get()))
}

/// Returns an id without the quotes of JSON.
pub(crate) fn plain(json: &str) -> String {
    if json.starts_with('"') { serde_json::from_str(json).unwrap_or_default() } else { json.to_owned() }
}

impl Shown {
    fn new(out: &Path, row: &journal::Row<'_>, again: Option<&Again>) -> Result<Shown> {
        let broken = |error: serde_json::Error| Error::damaged(out, format!("a record cannot be read: {error}"));
        let record: Box<RawValue> = json::from_slice(row.record).map_err(broken)?;
        let parsed = Record::parse(row.record).map_err(broken)?;
        let detail = row.detail.filter(|detail| !detail.is_empty());
        let attempts: Option<Vec<Attempt>> = detail.and_then(|detail| json::from_slice(detail).ok());
        let body = detail.filter(|_| attempts.is_none()).and_then(|detail| json::from_slice(detail).ok());
        let request = again.zip(parsed.input).and_then(|(again, input)| again.render(input.get()));
        let as_asked = request
            .as_ref()
            .zip(again)
            .is_some_and(|(request, again)| fingerprint(request, again.seed) == row.head.request);
        Ok(Shown { record, request, as_asked, attempts: attempts.unwrap_or_default(), body })
    }
}

/// Makes requests again, of the prompt that the manifest holds.
struct Again {
    /// Nothing if that prompt cannot be read any more.
    renderer: Option<Renderer>,
    seed: u64,
}

impl Again {
    fn new(manifest: &Manifest) -> Again {
        let renderer = identity::prompt(&manifest.identity).and_then(|prompt| Renderer::new(&prompt, None).ok());
        Again { renderer, seed: manifest.seed ^ identity::judged_of(&manifest.identity) }
    }

    fn render(&self, input: &str) -> Option<Request> {
        let place = Place { file: "".into(), line: 0 };
        let row = Row { place, json: Bytes::copy_from_slice(input.as_bytes()), fault: None };
        Some(self.renderer.as_ref()?.render(&row, Attached::default()).ok()?.request)
    }
}
