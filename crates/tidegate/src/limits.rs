//! Limits and pacing: what may be stated about an endpoint, an account or a run, and what holds a request back.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The limits of one endpoint, of an account that several share, or of the whole run; nothing stated means nothing known.
///
/// All of them hold at once, together with whatever the provider tells: the tightest decides. In any time t no more than
/// rate x t + burst is sent.
///
/// ```
/// use tidegate::Limits;
/// let limits = Limits { rpm: Some(500.0), itpm: Some(30_000.0), otpm: Some(8_000.0), ..Limits::default() };
/// assert_eq!(limits.or(Limits { rpm: Some(9.0), concurrency: Some(4), ..Limits::default() }).concurrency, Some(4));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rps: Option<f64>,
    /// Requests per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm: Option<f64>,
    /// Requests in any 24 hours, as fast as the other limits allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpd: Option<f64>,
    /// Input and output tokens per minute, where one limit counts both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<f64>,
    /// Input tokens per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub itpm: Option<f64>,
    /// Output tokens per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otpm: Option<f64>,
    /// Requests in flight. Without it an endpoint starts at 16 and grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// The least time between two requests.
    #[serde(
        rename = "spacing_s",
        serialize_with = "write_seconds",
        deserialize_with = "read_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub spacing: Option<Duration>,
    /// Requests that may be sent at once after a quiet time, less 50 ms of the rate and half of them at most, because calls
    /// may arrive closer together than they were sent. Default: one, or 100 ms of the rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Whether a minute's limit holds in every 60 seconds, bursts included, as some providers count.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict_window: bool,
}

impl Limits {
    /// Returns these limits, and the other's where nothing is stated.
    #[must_use]
    pub fn or(self, other: Limits) -> Limits {
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
            strict_window: self.strict_window || other.strict_window,
        }
    }
}

#[expect(clippy::ref_option, reason = "serde passes a reference")]
fn write_seconds<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(to)
}

fn read_seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let seconds = f64::deserialize(from)?;
    Duration::try_from_secs_f64(seconds).map(Some).map_err(serde::de::Error::custom)
}

/// What keeps a request from being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Limit {
    /// Requests per minute.
    Requests,
    /// Requests per second, or a few seconds.
    RequestsPerSecond,
    /// Requests per hour.
    RequestsPerHour,
    /// Requests in 24 hours.
    RequestsPerDay,
    /// Tokens per minute.
    Tokens,
    /// Tokens of any kind per second, or a few seconds.
    TokensPerSecond,
    /// Tokens of any kind in an hour or a day.
    TokensPerDay,
    /// Input tokens per minute.
    InputTokens,
    /// Output tokens per minute.
    OutputTokens,
    /// What replies tell to remain, of a limit that they do not name or not the time of.
    Told,
    /// A rate that was learned from rejections, because nobody told it.
    Learned,
    /// The least time between two requests.
    Spacing,
    /// Requests in flight.
    Concurrency,
    /// The pause after a rejected request.
    Cooldown,
    /// The user, who has paused the client.
    Paused,
}

/// How an endpoint starts, how it pauses after a rejection for load, and how it comes back.
///
/// ```
/// use std::time::Duration;
/// use tidegate::{Pacing, SlowStart};
/// let patient = Pacing {
///     first_pause: Some(Duration::from_secs(60)),
///     longest_pause: Duration::from_secs(600),
///     slow_start: Some(SlowStart { requests: 50, first: Duration::from_secs(2), last: Duration::from_millis(100) }),
///     ..Pacing::default()
/// };
/// # let _ = patient;
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pacing {
    /// Requests in flight at the start, where no concurrency is stated; at least 1. Default 16.
    pub start: u32,
    /// How more and more requests may be in flight at the start. Default: all at once.
    pub ramp: Option<Ramp>,
    /// The least pause after a rejection. Default: what the provider asks for, else the time of two calls, 20 to 500 ms.
    pub first_pause: Option<Duration>,
    /// The factor by which pauses in a row grow; at least 1. Default 2.
    pub multiplier: f64,
    /// The longest pause, unless the provider asks for more or `first_pause` is longer. Default 8 s.
    pub longest_pause: Duration,
    /// How requests follow each other after a pause. Default: at the usual rate.
    pub slow_start: Option<SlowStart>,
}

impl Default for Pacing {
    fn default() -> Pacing {
        Pacing {
            start: 16,
            ramp: None,
            first_pause: None,
            multiplier: 2.0,
            longest_pause: Duration::from_secs(8),
            slow_start: None,
        }
    }
}

/// Requests one by one after a pause, ever closer to each other: the delay falls evenly from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowStart {
    /// How many requests are held back so, such as 50.
    pub requests: u32,
    /// The delay behind the first request.
    pub first: Duration,
    /// The delay behind the last one.
    pub last: Duration,
}

/// Steps in which more requests may be in flight at the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    /// How many at first; at least 1.
    pub from: u32,
    /// How many more with each step.
    pub step: u32,
    /// The time between two steps.
    pub every: Duration,
}

/// A ready-made choice of limits and pacing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pace {
    /// One request at a time and two seconds from one to the next, unless stated otherwise; pauses of 2 s to a minute. For
    /// free tiers, and keys that others depend on.
    Conservative,
    /// What the provider allows, with the defaults of [`Pacing`].
    #[default]
    Balanced,
    /// What the provider allows, but with 64 requests in flight at once and pauses of 2 s at most.
    Aggressive,
}

impl Pace {
    /// Returns the limits of endpoints that state none of their own.
    #[must_use]
    pub fn limits(self) -> Limits {
        match self {
            Pace::Conservative => {
                Limits { concurrency: Some(1), spacing: Some(Duration::from_secs(2)), ..Limits::default() }
            }
            Pace::Balanced | Pace::Aggressive => Limits::default(),
        }
    }

    /// Returns the pacing.
    #[must_use]
    pub fn pacing(self) -> Pacing {
        let usual = Pacing::default();
        match self {
            Pace::Conservative => {
                Pacing { first_pause: Some(Duration::from_secs(2)), longest_pause: Duration::from_secs(60), ..usual }
            }
            Pace::Balanced => usual,
            Pace::Aggressive => Pacing { start: 64, longest_pause: Duration::from_secs(2), ..usual },
        }
    }
}
