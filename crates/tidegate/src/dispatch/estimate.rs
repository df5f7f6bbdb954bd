//! How many tokens a request will take, before anybody has counted them.
//!
//! Input: its bytes divided by the bytes per token seen so far (4 at first). Output: the mean of the outputs seen so far
//! plus a margin, never more than the request's own limit. Only settled calls teach it; there is no tokenizer, because the
//! estimate is corrected by the real usage within one round trip anyway.

use crate::dispatch::limit::Cost;
use crate::response::Usage;

/// The weight of one new observation.
const GAIN: f64 = 0.05;
/// Output tokens assumed before the first reply.
const FIRST_OUTPUT: f64 = 256.0;

/// What has been learned about one endpoint's tokens.
#[derive(Debug, Clone)]
pub(crate) struct Estimate {
    bytes_per_token: f64,
    output: Option<f64>,
}

impl Default for Estimate {
    fn default() -> Estimate {
        Estimate { bytes_per_token: 4.0, output: None }
    }
}

impl Estimate {
    /// Returns what a request of that many bytes and that output limit will take.
    pub(crate) fn cost(&self, bytes: usize, max_tokens: Option<u32>) -> Cost {
        let output = self.output.map_or(FIRST_OUTPUT, |mean| mean * 1.1 + 1.0);
        let output = max_tokens.map_or(output, |limit| output.min(f64::from(limit)));
        Cost { input: bytes as f64 / self.bytes_per_token, output, ..Cost::default() }
    }

    /// Learns from a call's real usage.
    pub(crate) fn learn(&mut self, bytes: usize, usage: &Usage) {
        if usage.input_tokens > 0 && bytes > 0 {
            let seen = (bytes as f64 / usage.input_tokens as f64).clamp(0.25, 16.0);
            self.bytes_per_token += GAIN * (seen - self.bytes_per_token);
        }
        let seen = usage.output_tokens as f64;
        self.output = Some(self.output.map_or(seen, |mean| mean + GAIN * (seen - mean)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::limits::Counted;

    #[test]
    fn it_approaches_what_calls_really_use() {
        let mut estimate = Estimate::default();
        let tokens = |estimate: &Estimate, most| estimate.cost(400, most).of(Counted::Tokens);
        assert_eq!(tokens(&estimate, None), 100.0 + FIRST_OUTPUT);
        assert_eq!(tokens(&estimate, Some(10)), 110.0);
        let usage = Usage { input_tokens: 200, output_tokens: 40, ..Usage::default() };
        for _ in 0..200 {
            estimate.learn(400, &usage);
        }
        let tokens = tokens(&estimate, None);
        assert!((240.0..250.0).contains(&tokens), "{tokens}");
    }
}
