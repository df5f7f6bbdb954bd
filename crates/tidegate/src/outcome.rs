//! How one request ended, with every attempt that was made for it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::money::Money;
use crate::response::{Output, Response, Usage};

/// How one request ended. Exactly one of these comes out for every request that went in.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Outcome {
    /// The request's place in the input, from 0.
    pub index: u64,
    /// The answer, or why there is none.
    pub result: Result<Response, Failure>,
    /// Every attempt, in order; empty if it was never sent.
    pub attempts: Vec<Attempt>,
    /// The last resort that stands in the place of the answer, if there is none and one was asked for.
    pub fallback: Option<Output>,
    /// The model whose stored answer this is, if it was found in the cache and nobody was asked.
    pub cached: Option<Arc<str>>,
    /// How it was judged, where there was a schema, a check or a ladder.
    pub checked: Option<Box<Checked>>,
}

/// How answers were judged, and how often they were asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Checked {
    /// How often an answer was asked for.
    pub asks: u32,
    /// Replies that were refused.
    pub refused: u32,
    /// Replies that a code fence was taken off.
    pub stripped: u32,
    /// The ladder's rung that was asked last, from 0.
    pub rung: u32,
    /// What was wrong with the last reply, field by field, if it was refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// What the ladder's last rung would have cost if it had been asked at once, where its price is known.
    #[serde(rename = "last_rung_cost_usd", with = "usd", skip_serializing_if = "Option::is_none")]
    pub last_rung_cost: Option<Money>,
}

/// Money as a number of dollars.
mod usd {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Money;

    #[expect(clippy::ref_option, reason = "serde passes a reference")]
    pub(super) fn serialize<S: Serializer>(money: &Option<Money>, to: S) -> Result<S::Ok, S::Error> {
        money.map(Money::usd).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Money>, D::Error> {
        Ok(Option::<f64>::deserialize(from)?.map(Money::from_usd))
    }
}

/// One thing that is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where, as a JSON pointer; empty for the answer as a whole.
    pub path: String,
    /// What.
    pub message: String,
}

/// One call made for a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attempt {
    /// The endpoint that was called.
    pub endpoint: Arc<str>,
    /// The model as the user named it.
    pub model: Arc<str>,
    /// How many calls in a row ended like this: rejections for load by one endpoint are counted, not listed. The times
    /// are the last one's.
    #[serde(default = "one", skip_serializing_if = "once")]
    pub times: u32,
    /// How long it waited to be admitted, backoff before it included.
    pub waited: Duration,
    /// How long the call took.
    pub took: Duration,
    /// What it used, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What it cost, where price and usage are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
    /// Whether usage and cost are estimates, because the call was given up and may have been served all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The text that had come when a stream broke off; no record holds it.
    #[serde(skip)]
    pub partial: Option<String>,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn once(times: &u32) -> bool {
    *times == 1
}

impl Attempt {
    /// Returns whether it was rejected for load.
    fn was_rejected(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.kind.advice().slow_down)
    }

    /// Adds an attempt to those before it.
    pub(crate) fn add_to(self, attempts: &mut Vec<Attempt>) {
        match attempts.last_mut() {
            // A request may be rejected every second for hours, and thousands wait beside it.
            Some(last) if last.was_rejected() && self.was_rejected() && last.endpoint == self.endpoint => {
                *last = Attempt { times: last.times + self.times, ..self };
            }
            _ => attempts.push(self),
        }
    }
}

impl Outcome {
    /// Returns how many calls were made.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.attempts.iter().map(|attempt| attempt.times).sum()
    }

    /// Returns the answer's text.
    ///
    /// # Errors
    ///
    /// The failure of a request without an answer. An answer that is not text is an empty one.
    pub fn text(&self) -> Result<&str, &Failure> {
        self.result.as_ref().map(|response| match &response.output {
            Output::Text(text) => text.as_str(),
            _ => "",
        })
    }

    /// Returns what was wrong with the last reply, field by field, if it was refused.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        self.checked.as_ref().map_or(&[], |checked| &checked.faults)
    }

    /// Returns the attempt that decided the outcome.
    #[must_use]
    pub fn last(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// Returns what all attempts together used; nothing if no attempt's usage is known.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.attempts.iter().filter_map(|attempt| attempt.usage).reduce(|mut sum, usage| {
            sum += usage;
            sum
        })
    }

    /// Returns what all attempts together cost; an answer from the cache costs 0. Nothing if the cost of a reply is unknown: never a zero that is a guess.
    #[must_use]
    pub fn cost(&self) -> Option<Money> {
        if self.cached.is_some() {
            return Some(Money::ZERO);
        }
        let replied = |attempt: &&Attempt| attempt.failure.as_ref().is_none_or(|failure| failure.usage.is_some());
        if self.result.is_ok() && self.attempts.iter().filter(replied).any(|attempt| attempt.cost.is_none()) {
            return None;
        }
        self.attempts.iter().filter_map(|attempt| attempt.cost).reduce(|a, b| a + b)
    }
}
