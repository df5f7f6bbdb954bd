//! How fast a run is just now.
//!
//! A window remembers the counts of the last seconds; the rate is what was added over it. Where rows are slow, a window of
//! ten seconds would hold one or none and show nothing but noise, so it reaches back until it holds enough of them.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Rows that make a rate worth showing.
const ENOUGH: u64 = 20;
/// The time beyond which a window does not reach back for them.
const LONGEST: Duration = Duration::from_secs(300);
/// The time before which there is no rate yet.
const SHORTEST: Duration = Duration::from_secs(1);

/// The counts of the last seconds.
#[derive(Debug)]
pub(crate) struct Window {
    span: Duration,
    samples: VecDeque<Sample>,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    rows: u64,
    tokens: u64,
}

/// What happens per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rates {
    /// Rows finished.
    pub(crate) rows: f64,
    /// Tokens used.
    pub(crate) tokens: f64,
}

impl Window {
    /// Makes a window over the last `span`.
    pub(crate) fn new(span: Duration) -> Window {
        Window { span, samples: VecDeque::new() }
    }

    /// Notes how many rows are finished and how many tokens were used by now.
    pub(crate) fn note(&mut self, at: Instant, rows: u64, tokens: u64) {
        self.samples.push_back(Sample { at, rows, tokens });
        while let Some(second) = self.samples.get(1) {
            let age = at.duration_since(second.at);
            let holds_enough = rows.saturating_sub(second.rows) >= ENOUGH;
            if age < self.span || (!holds_enough && age < LONGEST) {
                return;
            }
            self.samples.pop_front();
        }
    }

    /// Returns the rates over the window, once something has happened in it.
    pub(crate) fn rates(&self) -> Option<Rates> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let time = last.at.duration_since(first.at);
        if time < SHORTEST || last.rows == first.rows {
            return None;
        }
        let per_second = |from: u64, to: u64| to.saturating_sub(from) as f64 / time.as_secs_f64();
        Some(Rates { rows: per_second(first.rows, last.rows), tokens: per_second(first.tokens, last.tokens) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs for that many seconds, with a look four times a second.
    fn after(seconds: u64, rows: impl Fn(f64) -> f64) -> Window {
        let mut window = Window::new(Duration::from_secs(10));
        let start = Instant::now();
        for quarter in 0..=seconds * 4 {
            let passed = quarter as f64 / 4.0;
            let done = rows(passed) as u64;
            window.note(start + Duration::from_secs_f64(passed), done, done * 100);
        }
        window
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let speeding_up = after(60, |t| if t < 40.0 { 10.0 * t } else { 400.0 + 50.0 * (t - 40.0) });
        assert_eq!(speeding_up.rates(), Some(Rates { rows: 50.0, tokens: 5000.0 }));
        assert!(speeding_up.samples.len() <= 42);
    }

    #[test]
    fn slow_rows_are_counted_over_a_longer_time() {
        let rate = after(200, |t| t / 5.0).rates().unwrap().rows;
        assert!((rate - 0.2).abs() < 0.01, "{rate}");
    }

    #[test]
    fn there_is_no_rate_before_something_happened_and_memory_is_bounded() {
        assert_eq!(after(0, |_| 5.0).rates(), None);
        let stuck = after(1000, |_| 0.0);
        assert_eq!(stuck.rates(), None);
        assert!(stuck.samples.len() <= 1202, "{}", stuck.samples.len());
    }
}
