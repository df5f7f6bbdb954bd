//! Repeatable chance: every draw follows from the seed, the request and how often it was sent.
//!
//! A shared generator would make a request's fate depend on the order of arrival, which real clients do not control.

/// What a draw decides, so that two decisions about one call are independent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Draw {
    Fault = 1,
    Latency = 2,
    LatencyAngle = 3,
}

/// The dice of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64, request: u64, attempt: u32) -> Dice {
        Dice(mix(mix(seed ^ request).wrapping_add(u64::from(attempt))))
    }

    /// Returns a number from 0 to 1, without 1.
    pub(super) fn roll(self, what: Draw) -> f64 {
        unit(mix(self.0 ^ what as u64))
    }

    /// Returns a number from the normal distribution around 0 with deviation 1.
    pub(super) fn normal(self) -> f64 {
        let radius = (-2.0 * (1.0 - self.roll(Draw::Latency)).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.roll(Draw::LatencyAngle)).cos()
    }
}

/// Spreads the bits of a number (the finalizer of SplitMix64).
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Makes a number from 0 to 1, without 1, of random bits.
pub(super) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_repeatable_and_spread() {
        let rolls = |seed| (0..10_000).map(move |request| Dice::new(seed, request, 0).roll(Draw::Fault));
        assert!(rolls(1).eq(rolls(1)) && !rolls(1).eq(rolls(2)));
        let below = rolls(1).filter(|roll| *roll < 0.1).count();
        assert!((900..1100).contains(&below), "{below}");
        let attempts: Vec<_> = (0..3).map(|attempt| Dice::new(1, 5, attempt).roll(Draw::Fault)).collect();
        assert!(attempts[0] != attempts[1] && attempts[1] != attempts[2]);
    }

    #[test]
    fn the_normal_distribution_has_its_mean_and_spread() {
        let draws: Vec<f64> = (0..10_000).map(|request| Dice::new(3, request, 0).normal()).collect();
        let mean = draws.iter().sum::<f64>() / 1e4;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 1e4;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.1, "{mean} {variance}");
    }
}
