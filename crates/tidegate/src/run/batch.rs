//! The outcomes of a run, collected: in input order, counted, and those that failed asked for again.
//!
//! For lists that fit into memory. A run that does not is a stream: take its outcomes as they come, or give it to a
//! [`Job`](crate::run::job::Job).

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::event::Ended;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::response::{Output, Response};
use crate::run::summary::{self, Tally};
use crate::run::{Item, Run};

/// All outcomes of a run, each with the context that its request was given.
///
/// What failed can be asked for again, more patiently or elsewhere, and merged in its place. Contexts carry whatever that
/// takes, such as the request itself:
///
/// ```
/// use futures_util::stream;
/// use tidegate::sim::Scenario;
/// use tidegate::{Client, Item, Request, RetryPolicy, Target};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> tidegate::Result<()> {
/// let scenario = Scenario::from_yaml("script: [{contains: unlucky, status: 500, times: 1}]")?;
/// let client = Client::builder().target(Target::new("sim/echo")?).scenario(scenario).build()?;
/// let requests = ["lucky", "unlucky"].map(Request::prompt);
///
/// let items = requests.map(|request| Item::new(request.clone(), request));
/// let once = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
/// let mut batch = client.run_items(stream::iter(items)).retry(once).in_input_order().await;
/// assert_eq!(batch.failures().count(), 1);
///
/// let transient = batch.failures().filter(|(_, failure, _)| failure.kind.is_transient());
/// let again: Vec<_> = transient.map(|(index, _, request)| Item::new(request.clone(), index)).collect();
/// let second = client.run_items(stream::iter(again)).max_parallel(2).in_input_order().await;
/// batch.merge(second);
/// assert_eq!(batch.tally().succeeded, 2);
/// # Ok(())
/// # }
/// ```
///
/// A batch is written to JSON and read from it, if its contexts are; for a line an outcome see
/// [`write_jsonl`](Batch::write_jsonl).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Batch<C> {
    /// The outcomes, sorted by their index.
    pub outcomes: Vec<(Outcome, C)>,
    /// Why there are no more.
    #[serde(default)]
    pub ended: Ended,
    /// How long it took, from the call of [`in_input_order`](Run::in_input_order) to the last outcome.
    #[serde(default)]
    pub took: Duration,
}

impl<S, C> Run<S, C>
where
    S: Stream<Item = Item<C>>,
    C: Send + 'static,
{
    /// Waits for all outcomes and returns them in the order of the input.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels what is in flight and loses the outcomes so far.
    pub async fn in_input_order(self) -> Batch<C> {
        let mut run = self;
        let (begun, mut outcomes) = (Instant::now(), Vec::new());
        while let Some(done) = run.next().await {
            outcomes.push(done);
        }
        outcomes.sort_unstable_by_key(|(outcome, _)| outcome.index);
        Batch { outcomes, ended: run.ledger.ended, took: begun.elapsed() }
    }
}

impl<C> From<Vec<(Outcome, C)>> for Batch<C> {
    /// Makes a batch of outcomes in any order.
    fn from(mut outcomes: Vec<(Outcome, C)>) -> Batch<C> {
        outcomes.sort_by_key(|(outcome, _)| outcome.index);
        Batch { outcomes, ended: Ended::Completed, took: Duration::ZERO }
    }
}

impl<C> Batch<C> {
    /// Returns the answers, each with the index and the context of its request.
    pub fn successes(&self) -> impl Iterator<Item = (u64, &Response, &C)> {
        self.outcomes.iter().filter_map(|(o, context)| o.result.as_ref().ok().map(|answer| (o.index, answer, context)))
    }

    /// Returns why others have no answer, each with the index and the context of its request.
    pub fn failures(&self) -> impl Iterator<Item = (u64, &Failure, &C)> {
        self.outcomes.iter().filter_map(|(o, context)| o.result.as_ref().err().map(|cause| (o.index, cause, context)))
    }

    /// Returns the answers alone, in the order of the input.
    pub fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.successes().map(|(_, answer, _)| &answer.output)
    }

    /// Returns the outcome of that id, the first if several have it; see [`Outcome::id`].
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&(Outcome, C)> {
        self.outcomes.iter().find(|(outcome, _)| outcome.id() == id)
    }

    /// Returns counts, causes, tokens, cost and latencies.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.outcomes.iter().for_each(|(outcome, _)| tally.add(&outcome.into()));
        tally
    }

    /// Returns how many answers each endpoint gave; the name of one of Bedrock's ends with its region.
    #[must_use]
    pub fn by_endpoint(&self) -> BTreeMap<&str, u64> {
        let answered = self.outcomes.iter().filter(|(outcome, _)| outcome.result.is_ok());
        let mut counts = BTreeMap::new();
        for attempt in answered.filter_map(|(outcome, _)| outcome.last()) {
            *counts.entry(&*attempt.endpoint).or_default() += 1;
        }
        counts
    }

    /// Returns how many answers came from each region; those of endpoints without one are not counted.
    #[must_use]
    pub fn by_region(&self) -> BTreeMap<&str, u64> {
        let mut regions = BTreeMap::new();
        for (endpoint, count) in self.by_endpoint() {
            let Some(region) = summary::region(endpoint) else { continue };
            *regions.entry(region).or_default() += count;
        }
        regions
    }

    /// Returns how many requests were finished per second; 0 if it took no time.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let seconds = self.took.as_secs_f64();
        if seconds > 0.0 { self.outcomes.len() as f64 / seconds } else { 0.0 }
    }

    /// Puts outcomes of a second run in the place of earlier ones, whose indices are its contexts. Earlier attempts stay:
    /// they have been paid for. An index that this batch does not have is passed over.
    pub fn merge(&mut self, second: Batch<u64>) {
        for (outcome, index) in second.outcomes {
            let Ok(place) = self.outcomes.binary_search_by_key(&index, |(earlier, _)| earlier.index) else { continue };
            let earlier = &mut self.outcomes[place].0;
            let mut attempts = std::mem::take(&mut earlier.attempts);
            attempts.extend(outcome.attempts);
            *earlier = Outcome { index, attempts, id: earlier.id.take(), ..outcome };
        }
    }
}

impl<C: Serialize> Batch<C> {
    /// Writes a line of JSON for each outcome, with its context.
    ///
    /// # Errors
    ///
    /// What the writer says, and a context that is not JSON.
    pub fn write_jsonl(&self, mut to: impl Write) -> io::Result<()> {
        for (outcome, context) in &self.outcomes {
            serde_json::to_writer(&mut to, &Line { outcome, context })?;
            to.write_all(b"\n")?;
        }
        to.flush()
    }
}

impl<C: DeserializeOwned> Batch<C> {
    /// Reads what [`write_jsonl`](Batch::write_jsonl) wrote.
    ///
    /// ```
    /// # use futures_util::stream;
    /// # use tidegate::{Batch, Client, Item, Request, Target};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let client = Client::builder().target(Target::new("sim/echo")?).build()?;
    /// let items = ["nginx", "redis"].map(|name| Item::new(Request::prompt(name), name.to_owned()).id(name));
    /// let batch = client.run_items(stream::iter(items)).in_input_order().await;
    /// let mut file = Vec::new();
    /// batch.write_jsonl(&mut file)?;
    /// let again: Batch<String> = Batch::read_jsonl(&*file)?;
    /// assert_eq!(again.by_id("redis").unwrap().0.text(), batch.outcomes[1].0.text());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What the reader says, and the number of a line that is not an outcome.
    pub fn read_jsonl(from: impl BufRead) -> io::Result<Batch<C>> {
        let mut outcomes = Vec::new();
        for (i, line) in from.lines().enumerate() {
            let line = line?;
            let read: Line<Outcome, C> = serde_json::from_str(&line)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {error}", i + 1)))?;
            outcomes.push((read.outcome, read.context));
        }
        Ok(Batch::from(outcomes))
    }
}

/// An outcome with its context.
#[derive(Serialize, Deserialize)]
struct Line<O, C> {
    outcome: O,
    context: C,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    fn outcome(index: u64, result: Result<Response, Failure>) -> Outcome {
        Outcome::new(index, result)
    }

    #[test]
    fn what_is_merged_takes_the_place_of_what_failed() {
        let broken = || Err(Failure::new(Kind::ServerError, "no"));
        let first = [outcome(0, Ok(Response::text("a"))), outcome(1, broken()), outcome(2, broken())];
        let mut batch = Batch::from(first.map(|outcome| (outcome, ())).to_vec());
        let second = [(outcome(0, Ok(Response::text("c"))), 2), (outcome(1, Ok(Response::text("nobody's"))), 9)];
        batch.merge(Batch::from(second.to_vec()));
        let texts: Vec<_> = batch.outcomes.iter().map(|(outcome, ())| (outcome.index, outcome.text().ok())).collect();
        assert_eq!(texts, [(0, Some("a")), (1, None), (2, Some("c"))]);
        assert_eq!(batch.failures().map(|(index, ..)| index).collect::<Vec<_>>(), [1]);
    }
}
