//! What a tally wants to know of a row that is done.

use crate::failure::Kind;
use crate::money::Money;
use crate::outcome::{Checked, Outcome};
use crate::response::Usage;

/// One finished row, as far as counting goes.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    /// The model that answered or failed last.
    pub model: &'a str,
    /// The endpoint that answered or failed last; empty if none is known.
    pub endpoint: &'a str,
    /// Why it failed, if it did.
    pub failure: Option<(Kind, &'a str)>,
    /// What all its attempts used, where known.
    pub usage: Option<Usage>,
    /// What all its attempts cost, where known.
    pub cost: Option<Money>,
    /// The time of the call that decided it, in milliseconds.
    pub latency_ms: f64,
    /// How many attempts it took.
    pub attempts: u32,
    /// Whether a last resort stands in the place of the answer.
    pub fallback: bool,
    /// Whether its answer was found in the cache.
    pub cached: bool,
    /// Whether its outcome is that of an identical row.
    pub shared: bool,
    /// How many rows its last call was about, if there were several.
    pub packed: Option<u32>,
    /// How many calls were made for it, its part of calls about several rows; only with a call of that kind.
    pub calls: Option<f64>,
    /// How its answer was judged, where there was a schema, a check or a ladder.
    pub checked: Option<&'a Checked>,
}

impl<'a> From<&'a Outcome> for Finished<'a> {
    fn from(outcome: &'a Outcome) -> Finished<'a> {
        let last = outcome.last();
        Finished {
            model: outcome.model().map_or("", |model| model),
            endpoint: last.map_or("", |attempt| &attempt.endpoint),
            failure: outcome.result.as_ref().err().map(|failure| (failure.kind, &*failure.message)),
            usage: outcome.usage(),
            cost: outcome.cost(),
            latency_ms: last.map_or(0.0, |attempt| attempt.took.as_secs_f64() * 1e3),
            attempts: outcome.calls(),
            fallback: outcome.fallback.is_some(),
            cached: outcome.cached.is_some(),
            shared: outcome.shared.is_some(),
            packed: last.map(|attempt| attempt.packed).filter(|rows| *rows > 1),
            calls: outcome.part_of_calls(),
            checked: outcome.checked.as_deref(),
        }
    }
}

/// Returns the region in the name of one of Bedrock's endpoints, such as `us-east-1` in `bedrock/ID@us-east-1#ACCOUNT`.
pub(in crate::run) fn region(endpoint: &str) -> Option<&str> {
    let (_, place) = endpoint.strip_prefix("bedrock")?.rsplit_once('@')?;
    Some(place.split('#').next().unwrap_or(place))
}

impl Finished<'_> {
    /// Returns whether nobody was asked for it.
    pub(super) fn is_free(&self) -> bool {
        self.cached || self.shared
    }
}
