//! Settings about how fast: limits, the pace, and the pauses after rejections.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tidegate::{Pacing, Ramp, SlowStart};

use super::value;
use crate::duration;

/// Limits, of an endpoint, an account or a run; what is absent is found out from the replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Requests per second, more than 0.
    #[serde(deserialize_with = "value::rate_setting")]
    pub(crate) rps: Option<f64>,
    /// Requests per minute, more than 0.
    #[serde(deserialize_with = "value::rate_setting")]
    pub(crate) rpm: Option<f64>,
    /// Requests in any 24 hours, more than 0.
    #[serde(deserialize_with = "value::rate_setting")]
    pub(crate) rpd: Option<f64>,
    /// Tokens per minute, input and output, more than 0.
    #[serde(deserialize_with = "value::rate_setting")]
    pub(crate) tpm: Option<f64>,
    /// Input tokens per minute, more than 0.
    #[serde(deserialize_with = "value::rate_setting")]
    pub(crate) itpm: Option<f64>,
    /// Output tokens per minute, more than 0.
    #[serde(deserialize_with = "value::rate_setting")]
    pub(crate) otpm: Option<f64>,
    /// Requests in flight, at least 1; default: 16 at the start, growing.
    #[serde(deserialize_with = "value::optional_count_setting")]
    pub(crate) concurrency: Option<u32>,
    /// The least time between two requests.
    #[serde(with = "duration::optional")]
    pub(crate) spacing: Option<Duration>,
    /// Requests that may be sent at once after a quiet time, at least 1; default: one, or 100 ms of the rate. More uses a
    /// provider's saved-up quota, but only if it saves any.
    #[serde(deserialize_with = "value::optional_count_setting")]
    pub(crate) burst: Option<u32>,
    /// Whether a limit per minute holds in every 60 seconds, bursts included; default: false.
    pub(crate) strict_window: Option<bool>,
}

impl Limits {
    /// Returns these limits, and the other's where there is none.
    pub(crate) fn or(self, other: Limits) -> Limits {
        Limits {
            rps: self.rps.or(other.rps),
            rpm: self.rpm.or(other.rpm),
            rpd: self.rpd.or(other.rpd),
            tpm: self.tpm.or(other.tpm),
            itpm: self.itpm.or(other.itpm),
            otpm: self.otpm.or(other.otpm),
            concurrency: self.concurrency.or(other.concurrency),
            spacing: self.spacing.or(other.spacing),
            burst: self.burst.or(other.burst),
            strict_window: self.strict_window.or(other.strict_window),
        }
    }
}

impl From<Limits> for tidegate::Limits {
    fn from(limits: Limits) -> tidegate::Limits {
        tidegate::Limits {
            rps: limits.rps,
            rpm: limits.rpm,
            rpd: limits.rpd,
            tpm: limits.tpm,
            itpm: limits.itpm,
            otpm: limits.otpm,
            concurrency: limits.concurrency,
            spacing: limits.spacing,
            burst: limits.burst,
            strict_window: limits.strict_window.unwrap_or_default(),
        }
    }
}

/// A ready-made choice of limits and pauses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pace {
    /// One request at a time, two seconds apart, unless stated otherwise.
    Conservative,
    /// What the provider allows.
    #[default]
    Balanced,
    /// The same with a quicker start and shorter pauses.
    Aggressive,
}

impl From<Pace> for tidegate::Pace {
    fn from(pace: Pace) -> tidegate::Pace {
        match pace {
            Pace::Conservative => tidegate::Pace::Conservative,
            Pace::Balanced => tidegate::Pace::Balanced,
            Pace::Aggressive => tidegate::Pace::Aggressive,
        }
    }
}

/// How endpoints start, pause after rejections and come back; what is absent is as the pace has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cooldown {
    /// The least pause after a rejection; default: as the provider asks, else 20 to 500 ms. Longer wastes quota.
    #[serde(with = "duration::optional")]
    pub(crate) first_pause: Option<Duration>,
    /// The factor by which pauses in a row grow, 1 to 100; default 2.
    #[serde(deserialize_with = "value::factor_setting")]
    pub(crate) multiplier: Option<f64>,
    /// The longest pause that is not asked for; default 8 s.
    #[serde(with = "duration::optional")]
    pub(crate) longest_pause: Option<Duration>,
    /// How many requests follow one by one after a pause; default 0.
    pub(crate) slow_start: u32,
    /// The delay behind the first of them; default 2 s.
    #[serde(with = "duration::optional")]
    pub(crate) slow_start_first: Option<Duration>,
    /// The delay behind the last of them; default 100 ms.
    #[serde(with = "duration::optional")]
    pub(crate) slow_start_last: Option<Duration>,
    /// Requests in flight at the start, where no concurrency is stated; default 16.
    #[serde(deserialize_with = "value::optional_count_setting")]
    pub(crate) start: Option<u32>,
    /// How many more may be in flight with each step from `start` on; default: no steps.
    #[serde(deserialize_with = "value::optional_count_setting")]
    pub(crate) ramp_step: Option<u32>,
    /// The time between two steps; default 1 s.
    #[serde(with = "duration::optional")]
    pub(crate) ramp_every: Option<Duration>,
}

impl Cooldown {
    /// Returns the pacing: what is set here, and the pace's where nothing is.
    pub(crate) fn pacing(&self, pace: Pace) -> Pacing {
        let usual = tidegate::Pace::from(pace).pacing();
        let start = self.start.unwrap_or(usual.start);
        let slow_start = SlowStart {
            requests: self.slow_start,
            first: self.slow_start_first.unwrap_or(Duration::from_secs(2)),
            last: self.slow_start_last.unwrap_or(Duration::from_millis(100)),
        };
        let every = self.ramp_every.unwrap_or(Duration::from_secs(1));
        Pacing {
            start,
            ramp: self.ramp_step.map(|step| Ramp { from: start, step, every }).or(usual.ramp),
            first_pause: self.first_pause.or(usual.first_pause),
            multiplier: self.multiplier.unwrap_or(usual.multiplier),
            longest_pause: self.longest_pause.unwrap_or(usual.longest_pause),
            slow_start: (self.slow_start > 0).then_some(slow_start).or(usual.slow_start),
        }
    }
}

/// What may be spent for an output, over all runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Budget {
    /// US dollars, more than 0; default: no bound.
    #[serde(deserialize_with = "value::rate_setting")]
    pub(crate) usd: Option<f64>,
    /// Input and output tokens, more than 0; default: no bound.
    #[serde(deserialize_with = "value::tokens_setting")]
    pub(crate) tokens: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_wins_over_the_pace() {
        let set: Cooldown = toml::from_str("multiplier = 1.5\nslow_start = 50\nramp_step = 2\nstart = 1").unwrap();
        let pacing = set.pacing(Pace::Conservative);
        assert_eq!((pacing.multiplier, pacing.first_pause), (1.5, Some(Duration::from_secs(2))));
        assert_eq!(pacing.ramp, Some(Ramp { from: 1, step: 2, every: Duration::from_secs(1) }));
        assert_eq!(pacing.slow_start.map(|slow| slow.first), Some(Duration::from_secs(2)));
        assert_eq!(Cooldown::default().pacing(Pace::Balanced), Pacing::default());
    }
}
