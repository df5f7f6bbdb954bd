//! `OUT.tidegate/timeline.jsonl`: how a run went, moment by moment, for reports.
//!
//! The journal says what came of each row, not when, and a time on every record would cost every run. A line is written
//! when a 200th of the time so far has passed, at least 0.25 s: a run of a day leaves some 1,700 lines, and nothing must
//! ever be thinned out. Numbers are totals, so that a line that was lost costs detail and nothing else; of the endpoints
//! only those that have changed are in a line. It is no part of the journal: without it, or with a torn end, a report has
//! fewer pictures.

use std::convert::Infallible;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::journal;
use super::progress::Progress;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::event::EndpointSnapshot;
use crate::json;
use crate::limits::Limits;

/// The version of the lines.
const VERSION: u32 = 1;
/// The shortest time between two lines.
const LEAST: Duration = Duration::from_millis(250);
/// How many lines there are while the time of a run doubles or so.
const LINES: u32 = 200;

/// What the first line of a run says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    version: u32,
    /// When the run began, as in the manifest.
    pub started: String,
    /// Its endpoints, which later lines name by their place.
    pub endpoints: Vec<Name>,
}

/// An endpoint, as the first line names it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Name {
    /// Its name in records.
    pub name: String,
    /// The requests per minute that were stated for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpm: Option<f64>,
    /// The tokens per minute that were stated for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<f64>,
}

/// A run's totals at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Moment {
    /// Seconds since the run began.
    pub t: f64,
    /// Rows answered.
    pub succeeded: u64,
    /// Rows failed.
    pub failed: u64,
    /// Tokens of all attempts.
    pub tokens: u64,
    /// Requests that wait to be admitted.
    pub waiting: usize,
    /// The endpoints that are not as they were in the line before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointMoment>,
}

/// An endpoint's totals at one moment; in the file a list, in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Cells", into = "Cells")]
#[non_exhaustive]
pub struct EndpointMoment {
    /// Its place among the run's endpoints, from 0.
    pub place: usize,
    /// Requests in flight.
    pub in_flight: usize,
    /// Calls made.
    pub sent: u64,
    /// Calls rejected for load.
    pub rejected: u64,
    /// Tokens used.
    pub tokens: u64,
    /// Seconds spent in pauses.
    pub cooled: f64,
}

type Cells = (usize, usize, u64, u64, u64, f64);

impl From<Cells> for EndpointMoment {
    fn from((place, in_flight, sent, rejected, tokens, cooled): Cells) -> EndpointMoment {
        EndpointMoment { place, in_flight, sent, rejected, tokens, cooled }
    }
}

impl From<EndpointMoment> for Cells {
    fn from(at: EndpointMoment) -> Cells {
        (at.place, at.in_flight, at.sent, at.rejected, at.tokens, at.cooled)
    }
}

/// One run, as it was read.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct RunTimeline {
    /// What its first line says.
    pub head: Head,
    /// The moments, oldest first.
    pub moments: Vec<Moment>,
}

/// Writes the lines of one run.
pub(super) struct Timeline {
    client: Client,
    progress: Progress,
    began: Instant,
    file: Option<File>,
    last: Vec<EndpointMoment>,
}

impl Timeline {
    /// Begins with the first line, in the journal's directory; without one nothing is written.
    pub(super) fn begin(dir: Option<&Path>, started: &str, client: &Client, progress: &Progress) -> Result<Timeline> {
        let file = dir.map(|dir| journal::append_in(dir, journal::TIMELINE)).transpose()?;
        let (client, progress) = (client.clone(), progress.clone());
        let mut timeline = Timeline { client, progress, began: Instant::now(), file, last: Vec::new() };
        let endpoints = timeline.client.snapshot().endpoints.into_iter().map(Name::from).collect();
        timeline.write(&Head { version: VERSION, started: started.to_owned(), endpoints });
        Ok(timeline)
    }

    /// Writes a line whenever it is time, for ever.
    pub(super) async fn keep(&mut self) -> Infallible {
        if self.file.is_none() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep((self.began.elapsed() / LINES).max(LEAST)).await;
            self.note(Instant::now());
        }
    }

    /// Writes a line about this moment.
    pub(super) fn note(&mut self, now: Instant) {
        if self.file.is_none() {
            return;
        }
        let (numbers, snapshot) = (self.progress.numbers(), self.client.snapshot());
        let all: Vec<_> = snapshot.endpoints.iter().enumerate().map(|(place, seen)| seen.at(place)).collect();
        let fresh = |place| EndpointMoment { place, ..EndpointMoment::default() };
        let before = |at: &&EndpointMoment| self.last.get(at.place).copied().unwrap_or(fresh(at.place));
        let changed = all.iter().filter(|at| **at != before(at)).copied().collect();
        let moment = Moment {
            t: (now.duration_since(self.began).as_secs_f64() * 1e3).round() / 1e3,
            succeeded: numbers.succeeded,
            failed: numbers.failed,
            tokens: numbers.usage.total(),
            waiting: snapshot.waiting,
            endpoints: changed,
        };
        self.write(&moment);
        self.last = all;
    }

    /// Writes a line; after one that fails there are no more. A full disk is for the journal to tell.
    fn write(&mut self, line: &impl Serialize) {
        let Some(file) = &mut self.file else { return };
        let text = serde_json::to_string(line).map_err(std::io::Error::from);
        if let Err(error) = text.and_then(|text| file.write_all((text + "\n").as_bytes())) {
            tracing::warn!(%error, "the timeline cannot be written");
            self.file = None;
        }
    }
}

impl EndpointSnapshot {
    fn at(&self, place: usize) -> EndpointMoment {
        let cooled = (self.cooled.as_secs_f64() * 1e3).round() / 1e3;
        let EndpointSnapshot { in_flight, sent, rejected, tokens, .. } = *self;
        EndpointMoment { place, in_flight, sent, rejected, tokens, cooled }
    }
}

impl From<EndpointSnapshot> for Name {
    fn from(endpoint: EndpointSnapshot) -> Name {
        let Limits { rpm, tpm, .. } = endpoint.limits;
        Name { name: endpoint.name, rpm, tpm }
    }
}

/// Reads the timeline beside an output: its runs, oldest first; none if there is no such file. What cannot be read is left
/// out.
///
/// # Errors
///
/// Storage.
pub fn read(out: &Path) -> Result<Vec<RunTimeline>> {
    let path = journal::beside(out, journal::TIMELINE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::storage(&path, "cannot be read", source)),
    };
    let mut runs: Vec<RunTimeline> = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = line.map_err(|source| Error::storage(&path, "cannot be read", source))?;
        if let Ok(head) = json::from_slice::<Head>(&line) {
            runs.push(RunTimeline { head, moments: Vec::new() });
        } else if let (Ok(moment), Some(run)) = (json::from_slice(&line), runs.last_mut()) {
            run.moments.push(moment);
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_torn_or_unknown_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out.jsonl");
        assert_eq!(read(&out).unwrap(), []);
        std::fs::create_dir(folder.path().join("out.jsonl.tidegate")).unwrap();
        let lines = "{\"version\":1,\"started\":\"a\",\"endpoints\":[{\"name\":\"m\",\"rpm\":60.0}]}\n\
            {\"t\":0.25,\"succeeded\":3,\"failed\":0,\"tokens\":9,\"waiting\":1,\"endpoints\":[[0,2,5,0,9,0.5]]}\n\
            {\"t\":0.5,\"succ\n{\"version\":1,\"started\":\"b\",\"endpoints\":[]}\n{\"t\":1";
        std::fs::write(journal::beside(&out, journal::TIMELINE), lines).unwrap();
        let runs = read(&out).unwrap();
        assert_eq!(
            runs.iter().map(|run| (&*run.head.started, run.moments.len())).collect::<Vec<_>>(),
            [("a", 1), ("b", 0)]
        );
        assert_eq!(runs[0].moments[0].endpoints, [EndpointMoment::from((0, 2, 5, 0, 9, 0.5))]);
    }
}
