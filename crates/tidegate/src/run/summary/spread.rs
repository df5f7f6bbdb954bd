//! How long the calls of answered rows took.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How times are spread: the extremes, the mean, and percentiles to three digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Spread {
    pub min: Duration,
    pub mean: Duration,
    pub max: Duration,
    pub p50: Duration,
    pub p95: Duration,
    pub p99: Duration,
}

/// Latency in milliseconds: the extremes, the mean and the usual percentiles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
#[serde(default)]
pub struct Percentiles {
    pub min: f64,
    pub mean: f64,
    pub max: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

impl From<Spread> for Percentiles {
    fn from(spread: Spread) -> Percentiles {
        let Spread { min, mean, max, p50, p95, p99 } = spread;
        let [min, mean, max, p50, p95, p99] = [min, mean, max, p50, p95, p99].map(|time| time.as_secs_f64() * 1e3);
        Percentiles { min, mean, max, p50, p95, p99 }
    }
}
