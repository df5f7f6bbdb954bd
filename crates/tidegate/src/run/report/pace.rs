//! How fast it went: each run with its moments, and what its endpoints did.

use super::super::journal::Invocation;
use super::super::timeline::{EndpointMoment, RunTimeline};

/// One run.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RunReport {
    /// When it began, in RFC 3339.
    pub started: String,
    /// When it ended, unless it goes on or was killed.
    pub ended: Option<String>,
    /// Why it ended before its input did.
    pub stopped: Option<String>,
    /// Its moments; none if it left no timeline.
    pub timeline: RunTimeline,
}

/// What one endpoint did in all runs that left a timeline.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct EndpointReport {
    /// Its name in records.
    pub name: String,
    /// Calls made.
    pub sent: u64,
    /// Calls rejected for load.
    pub rejected: u64,
    /// Tokens used.
    pub tokens: u64,
    /// Seconds spent in pauses.
    pub cooled: f64,
    /// Seconds that its runs took.
    pub seconds: f64,
    /// The share of the stated requests per minute that was used.
    pub requests_used: Option<f64>,
    /// The share of the stated tokens per minute that was used.
    pub tokens_used: Option<f64>,
}

impl RunReport {
    /// Returns how long it took, as far as its timeline tells.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        seconds(&self.timeline)
    }

    /// Returns the rows that it answered and that failed.
    #[must_use]
    pub fn finished(&self) -> (u64, u64) {
        self.timeline.moments.last().map_or((0, 0), |last| (last.succeeded, last.failed))
    }
}

fn seconds(run: &RunTimeline) -> f64 {
    run.moments.last().map_or(0.0, |last| last.t)
}

/// Puts the manifest's runs and their timelines together.
pub(super) fn runs(invocations: Vec<Invocation>, mut timelines: Vec<RunTimeline>) -> Vec<RunReport> {
    let mut run = |invocation: Invocation| {
        let found = timelines.iter().position(|timeline| timeline.head.started == invocation.started);
        let reason = invocation.summary.get("stopped").and_then(|stopped| stopped.get("reason"));
        RunReport {
            stopped: reason.and_then(|reason| reason.as_str()).map(str::to_owned),
            timeline: found.map(|place| timelines.swap_remove(place)).unwrap_or_default(),
            started: invocation.started,
            ended: invocation.ended,
        }
    };
    invocations.into_iter().map(&mut run).collect()
}

/// Sums up what the endpoints did, by name.
pub(super) fn endpoints(timelines: &[RunTimeline]) -> Vec<EndpointReport> {
    let mut all: Vec<EndpointReport> = Vec::new();
    let mut possible: Vec<(Option<f64>, Option<f64>)> = Vec::new();
    for run in timelines {
        for (name, last) in run.head.endpoints.iter().zip(totals(run)) {
            let place = all.iter().position(|endpoint| endpoint.name == name.name).unwrap_or_else(|| {
                all.push(EndpointReport { name: name.name.clone(), ..EndpointReport::default() });
                possible.push((Some(0.0), Some(0.0)));
                all.len() - 1
            });
            let endpoint = &mut all[place];
            endpoint.sent += last.sent;
            endpoint.rejected += last.rejected;
            endpoint.tokens += last.tokens;
            endpoint.cooled += last.cooled;
            endpoint.seconds += seconds(run);
            // A run without a limit makes the share of the whole unknown.
            let add = |sum: &mut Option<f64>, rate: Option<f64>| {
                *sum = sum.zip(rate).map(|(sum, rate)| sum + rate * seconds(run) / 60.0);
            };
            add(&mut possible[place].0, name.rpm);
            add(&mut possible[place].1, name.tpm);
        }
    }
    for (endpoint, (requests, tokens)) in all.iter_mut().zip(possible) {
        let share =
            |used: u64, possible: Option<f64>| possible.filter(|most| *most > 0.0).map(|most| used as f64 / most);
        endpoint.requests_used = share(endpoint.sent, requests);
        endpoint.tokens_used = share(endpoint.tokens, tokens);
    }
    all
}

/// Returns each endpoint's last state.
fn totals(run: &RunTimeline) -> Vec<EndpointMoment> {
    let mut totals = vec![EndpointMoment::default(); run.head.endpoints.len()];
    for at in run.moments.iter().flat_map(|moment| &moment.endpoints) {
        if let Some(total) = totals.get_mut(at.place) {
            *total = *at;
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::super::super::timeline::{Moment, Name};
    use super::*;

    fn run(rpm: Option<f64>, sent: u64) -> RunTimeline {
        let mut run = RunTimeline::default();
        run.head.endpoints = vec![Name { name: "m".to_owned(), rpm, tpm: None }];
        let at = |t, sent| Moment { t, endpoints: vec![(0, 1, sent, 0, 10, 0.5).into()], ..Moment::default() };
        run.moments = vec![at(30.0, sent / 2), at(60.0, sent)];
        run
    }

    #[test]
    fn the_share_of_a_limit_is_that_of_all_runs_together() {
        let found = endpoints(&[run(Some(100.0), 100), run(Some(100.0), 50)]);
        assert_eq!((found.len(), found[0].sent, found[0].seconds, found[0].requests_used), (1, 150, 120.0, Some(0.75)));
        assert_eq!(endpoints(&[run(Some(100.0), 100), run(None, 50)])[0].requests_used, None);
        assert_eq!((found[0].tokens, found[0].cooled, found[0].tokens_used), (20, 1.0, None));
    }
}
