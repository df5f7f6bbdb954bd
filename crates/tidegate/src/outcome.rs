//! How one request ended, with every attempt that was made for it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::money::Money;
use crate::response::{Output, Response, Usage};

/// How one request ended. Exactly one of these comes out for every request that went in.
///
/// It is written to JSON and read from it; only the provider's own bytes ([`Response::raw`]) are left behind.
///
/// ```
/// # use tidegate::{Client, Outcome, Request, Target};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = Client::builder().target(Target::new("sim/echo")?).build()?;
/// let outcome = client.send(&Request::prompt("Is it high tide?")).await;
/// let again: Outcome = serde_json::from_str(&serde_json::to_string(&outcome)?)?;
/// assert_eq!((again.text(), &again.attempts), (outcome.text(), &outcome.attempts));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The request's place in the input, from 0.
    pub index: u64,
    /// The id that its item was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Arc<str>>,
    /// The answer, or why there is none.
    #[serde(with = "answer_or_failure")]
    pub result: Result<Response, Failure>,
    /// Every attempt, in order; empty if it was never sent.
    pub attempts: Vec<Attempt>,
    /// The last resort that stands in the place of the answer, if there is none and one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Output>,
    /// The model whose stored answer this is, if it was found in the cache and nobody was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<Arc<str>>,
    /// The model that was asked, if it was asked an identical request of the same run and this is the outcome of that;
    /// see [`Dedupe`](crate::Dedupe).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Arc<str>>,
    /// How it was judged, where there was a schema, a check or a ladder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Box<Checked>>,
}

/// A result as an object with one field, `answer` or `failure`.
mod answer_or_failure {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Failure, Response};

    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Written<'a> {
        Answer(&'a Response),
        Failure(&'a Failure),
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Read {
        Answer(Box<Response>),
        Failure(Failure),
    }

    pub(super) fn serialize<S: Serializer>(result: &Result<Response, Failure>, to: S) -> Result<S::Ok, S::Error> {
        result.as_ref().map_or_else(Written::Failure, Written::Answer).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Result<Response, Failure>, D::Error> {
        Ok(match Read::deserialize(from)? {
            Read::Answer(response) => Ok(*response),
            Read::Failure(failure) => Err(failure),
        })
    }
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// How many requests were asked together in this call; usage and cost are this one's part of it.
    #[serde(default = "one", skip_serializing_if = "once")]
    pub packed: u32,
    /// How long it waited to be admitted, the endpoint's pauses included.
    #[serde(rename = "waited_ms", with = "millis")]
    pub waited: Duration,
    /// How much of that the endpoint was in a pause, as after a rejection for load.
    #[serde(rename = "cooled_ms", with = "millis", default, skip_serializing_if = "Duration::is_zero")]
    pub cooled: Duration,
    /// How long it waited after the failure before, until it queued for admission: the backoff, or the delay before an
    /// answer is asked for again.
    #[serde(rename = "backoff_ms", with = "millis", default, skip_serializing_if = "Duration::is_zero")]
    pub backoff: Duration,
    /// How long the call took.
    #[serde(rename = "took_ms", with = "millis")]
    pub took: Duration,
    /// What it used, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What it cost, where price and usage are known.
    #[serde(rename = "cost_usd", with = "usd", default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
    /// Whether usage and cost are estimates, because the call was given up and may have been served all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

/// A time as a number of milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_secs_f64() * 1e3)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let ms = f64::deserialize(from)?;
        Duration::try_from_secs_f64(ms / 1e3).map_err(serde::de::Error::custom)
    }
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
    /// Makes the outcome of a request that nothing has been done for.
    pub(crate) fn new(index: u64, result: Result<Response, Failure>) -> Outcome {
        Outcome {
            index,
            id: None,
            result,
            attempts: Vec::new(),
            fallback: None,
            cached: None,
            shared: None,
            checked: None,
        }
    }

    /// Returns the id that its item was given, or else one made of its place in the input: `item_17`.
    #[must_use]
    pub fn id(&self) -> Cow<'_, str> {
        self.id.as_deref().map_or_else(|| format!("item_{}", self.index).into(), Cow::Borrowed)
    }

    /// Returns what was left out of the request, and what was odd about the answer.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        self.result.as_ref().map_or(&[], |response| &response.warnings)
    }

    /// Returns how long it took from its first wait to its end: backoffs, waits for admission and calls. Of several
    /// rejections for load in a row only the last one's times are known; copies that were sent beside each other count
    /// one after the other.
    #[must_use]
    pub fn total_time(&self) -> Duration {
        self.attempts.iter().map(|attempt| attempt.backoff + attempt.waited + attempt.took).sum()
    }

    /// Returns the model that answered, or was asked last.
    #[must_use]
    pub fn model(&self) -> Option<&Arc<str>> {
        self.last().map(|attempt| &attempt.model).or(self.cached.as_ref()).or(self.shared.as_ref())
    }

    /// Returns how many calls were made.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.attempts.iter().map(|attempt| attempt.times).sum()
    }

    /// Returns how many calls were made, of those about several requests only this one's part; nothing if there were
    /// none of that kind. The sum over all requests of such a call is the number of calls.
    #[must_use]
    pub fn part_of_calls(&self) -> Option<f64> {
        let packed = self.attempts.iter().any(|attempt| attempt.packed > 1);
        packed.then(|| self.attempts.iter().map(|a| f64::from(a.times) / f64::from(a.packed.max(1))).sum())
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

    /// Returns what all attempts together cost; an answer for which nobody was asked costs 0. Nothing if the cost of a
    /// reply is unknown: never a zero that is a guess.
    #[must_use]
    pub fn cost(&self) -> Option<Money> {
        if self.shared.is_some() || (self.result.is_ok() && self.attempts.is_empty()) {
            return Some(Money::ZERO);
        }
        let replied = |attempt: &&Attempt| {
            attempt.partial.is_some() || attempt.failure.as_ref().is_none_or(|failure| failure.usage.is_some())
        };
        if self.result.is_ok() && self.attempts.iter().filter(replied).any(|attempt| attempt.cost.is_none()) {
            return None;
        }
        self.attempts.iter().filter_map(|attempt| attempt.cost).reduce(|a, b| a + b)
    }
}
