//! Money as a whole number, so that sums over millions of rows are exact.
//!
//! Prices are quoted in US dollars per million tokens with up to six decimals; one token at the smallest such step
//! costs one picodollar (1e-12 USD), so every product of tokens and price is a whole number of picodollars.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

use crate::response::{Tier, Usage};

/// An amount in US dollars, exact to a picodollar; at most 18 million dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(u64);

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(0);

    /// Makes an amount from dollars; negative and absurd values become the nearest possible one.
    #[must_use]
    pub fn from_usd(usd: f64) -> Money {
        // A float-to-integer cast saturates, and maps NaN to zero.
        Money((usd * 1e12).round() as u64)
    }

    /// Returns one of that many equal parts, rounded down.
    #[must_use]
    pub(crate) fn part(self, parts: u64) -> Money {
        Money(self.0 / parts)
    }

    /// Makes an amount from trillionths of a dollar.
    #[must_use]
    pub(crate) fn from_picodollars(picodollars: u64) -> Money {
        Money(picodollars)
    }

    /// Returns the amount in trillionths of a dollar.
    #[must_use]
    pub(crate) fn picodollars(self) -> u64 {
        self.0
    }

    /// Returns the amount in dollars.
    #[must_use]
    pub fn usd(self) -> f64 {
        self.0 as f64 / 1e12
    }
}

impl Add for Money {
    type Output = Money;
    fn add(self, other: Money) -> Money {
        Money(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Money) {
        *self = *self + other;
    }
}

impl Sub for Money {
    type Output = Money;
    fn sub(self, other: Money) -> Money {
        Money(self.0.saturating_sub(other.0))
    }
}

/// An amount of money and a number of tokens, which are always spent together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// The money.
    #[serde(rename = "picodollars")]
    pub money: Money,
    /// Input and output tokens.
    pub tokens: u64,
}

impl Spend {
    /// Returns the larger of each.
    #[must_use]
    pub fn max(self, other: Spend) -> Spend {
        Spend { money: self.money.max(other.money), tokens: self.tokens.max(other.tokens) }
    }
}

impl Add for Spend {
    type Output = Spend;
    fn add(self, other: Spend) -> Spend {
        Spend { money: self.money + other.money, tokens: self.tokens.saturating_add(other.tokens) }
    }
}

impl Sub for Spend {
    type Output = Spend;
    fn sub(self, other: Spend) -> Spend {
        Spend { money: self.money - other.money, tokens: self.tokens.saturating_sub(other.tokens) }
    }
}

/// The most that may be spent; what is not stated has no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// Money.
    pub usd: Option<Money>,
    /// Input and output tokens together.
    pub tokens: Option<u64>,
}

impl Budget {
    /// Returns whether nothing is stated.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Budget::default()
    }

    /// Returns whether that much may be spent.
    #[must_use]
    pub fn covers(&self, spend: Spend) -> bool {
        self.usd.is_none_or(|most| spend.money <= most) && self.tokens.is_none_or(|most| spend.tokens <= most)
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Money>>(amounts: I) -> Money {
        amounts.fold(Money::ZERO, Add::add)
    }
}

impl fmt::Display for Money {
    /// Writes dollars with as many decimals as a small amount needs: `$12.34`, `$0.0420`, `$0.000031`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usd = self.usd();
        let decimals = match usd {
            usd if usd == 0.0 || usd >= 1.0 => 2,
            usd if usd >= 0.01 => 4,
            _ => 6,
        };
        write!(f, "${usd:.decimals$}")
    }
}

/// How many times the input price a token costs that is written to a cache for an hour: Anthropic's factor, wherever its
/// models are served; nobody else has such caches.
const HOUR_WRITE: f64 = 2.0;

/// What a model's tokens cost, in US dollars per million.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Input tokens that were not cached.
    pub input: f64,
    /// Output tokens, reasoning included.
    pub output: f64,
    /// Input tokens read from the provider's cache; the input price where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
    /// Input tokens written to the provider's cache; the input price where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
    /// The prices that apply to the whole request once its input passes a threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long: Option<LongPrice>,
    /// Which tiers of service they hold for.
    #[serde(skip)]
    pub tiers: Tiers,
}

/// Which tiers of service a price holds for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Tiers {
    /// Whichever serves a request: whoever states a price knows what they are served as.
    #[default]
    All,
    /// The standard one, as price lists mean it.
    Standard {
        /// What the flex tier costs, as a share of that.
        flex: Option<f64>,
    },
}

/// Dearer prices for requests with a long input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongPrice {
    /// The number of input tokens above which these prices apply.
    pub above: u64,
    /// Input tokens, in US dollars per million.
    pub input: f64,
    /// Output tokens, in US dollars per million.
    pub output: f64,
}

impl Price {
    /// Makes a price of input and output tokens only.
    #[must_use]
    pub const fn new(input: f64, output: f64) -> Price {
        Price { input, output, cached_input: None, cache_write: None, long: None, tiers: Tiers::All }
    }

    /// Returns the prices of a tier of service, if they are known.
    #[must_use]
    pub fn of_tier(self, tier: Tier) -> Option<Price> {
        let share = match (self.tiers, tier) {
            (Tiers::All, _) | (_, Tier::Standard) => return Some(self),
            (Tiers::Standard { flex }, Tier::Flex) => flex?,
            (Tiers::Standard { .. }, Tier::Other) => return None,
        };
        let long = |long: LongPrice| LongPrice { input: long.input * share, output: long.output * share, ..long };
        Some(Price {
            input: self.input * share,
            output: self.output * share,
            cached_input: self.cached_input.map(|price| price * share),
            cache_write: self.cache_write.map(|price| price * share),
            long: self.long.map(long),
            tiers: Tiers::All,
        })
    }

    /// Returns what that many tokens cost at these prices; see [`Usage::cost`] for what a call has cost.
    ///
    /// ```
    /// use tidegate::{Price, Usage};
    /// let usage = Usage { input_tokens: 1_000_000, output_tokens: 500_000, ..Usage::default() };
    /// assert_eq!(Price::new(0.25, 2.0).cost(&usage).usd(), 1.25);
    /// ```
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Money {
        let long = self.long.filter(|long| usage.input_tokens > long.above);
        let (input, output) = long.map_or((self.input, self.output), |long| (long.input, long.output));
        // A cached token keeps its share of the input price when the long price applies.
        let scale = if self.input > 0.0 { input / self.input } else { 1.0 };
        let cached = self.cached_input.map_or(input, |price| price * scale);
        let written = self.cache_write.map_or(input, |price| price * scale);
        let plain = usage.input_tokens.saturating_sub(usage.cached_tokens + usage.cache_write_tokens);
        let hour = usage.cache_write_1h_tokens.min(usage.cache_write_tokens);
        tokens(plain, input)
            + tokens(usage.cached_tokens, cached)
            + tokens(usage.cache_write_tokens - hour, written)
            + tokens(hour, input * HOUR_WRITE)
            + tokens(usage.output_tokens, output)
    }
}

impl Price {
    /// Returns how many US dollars the provider's cache has saved, less what writing to it cost more; it may be less than
    /// nothing.
    #[must_use]
    pub fn saved_by_cache(&self, usage: &Usage) -> f64 {
        let plain = Usage { cached_tokens: 0, cache_write_tokens: 0, cache_write_1h_tokens: 0, ..*usage };
        self.cost(&plain).usd() - self.cost(usage).usd()
    }

    /// Returns the most that a call of at most so many tokens can cost, whatever part of its input is cached.
    ///
    /// ```
    /// use tidegate::Price;
    /// let price = Price { cache_write: Some(2.5), ..Price::new(2.0, 10.0) };
    /// assert_eq!(price.most(1_000_000, 100_000).usd(), 3.5);
    /// ```
    #[must_use]
    pub fn most(&self, input: u64, output: u64) -> Money {
        // Within a tier the cost grows with each count, so that the dearest call is at the end of a tier and of one kind.
        let ends = [input, self.long.map_or(input, |long| input.min(long.above))];
        let kinds = |input_tokens| {
            let plain = Usage { input_tokens, output_tokens: output, ..Usage::default() };
            let cached = Usage { cached_tokens: input_tokens, ..plain };
            [plain, cached, Usage { cache_write_tokens: input_tokens, ..plain }]
        };
        ends.into_iter().flat_map(kinds).map(|usage| self.cost(&usage)).max().unwrap_or_default()
    }
}

impl Usage {
    /// Returns what a call cost that used this, if that is known: what the provider says that it charged, or else the
    /// tokens at the prices of the tier that served it.
    ///
    /// ```
    /// use tidegate::{Price, Tier, Usage, catalog};
    /// let flex = Usage { input_tokens: 1_000_000, tier: Tier::Flex, ..Usage::default() };
    /// assert_eq!(flex.cost(Some(Price::new(2.0, 8.0))).unwrap().usd(), 2.0);
    /// assert_eq!(flex.cost(catalog::find("openai", "o3").unwrap().price).unwrap().usd(), 1.0);
    /// assert_eq!(flex.cost(catalog::find("groq", "openai/gpt-oss-20b").unwrap().price), None);
    /// ```
    #[must_use]
    pub fn cost(&self, price: Option<Price>) -> Option<Money> {
        self.charged.or_else(|| Some(price?.of_tier(self.tier)?.cost(self)))
    }
}

fn tokens(count: u64, usd_per_million: f64) -> Money {
    let picodollars_each = (usd_per_million * 1e6).round() as u64;
    Money(count.saturating_mul(picodollars_each))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_are_part_of_the_input_and_cheaper() {
        let price = Price { cached_input: Some(0.1), ..Price::new(1.0, 2.0) };
        let usage = Usage { input_tokens: 1000, cached_tokens: 400, output_tokens: 10, ..Usage::default() };
        assert_eq!(price.cost(&usage), Money::from_usd(0.000_600 + 0.000_040 + 0.000_020));
    }

    #[test]
    fn the_long_price_applies_to_the_whole_request() {
        let long = LongPrice { above: 272_000, input: 4.0, output: 15.0 };
        let price = Price { cached_input: Some(0.2), long: Some(long), ..Price::new(2.0, 10.0) };
        let at = |input_tokens| price.cost(&Usage { input_tokens, output_tokens: 100, ..Usage::default() });
        assert_eq!(at(272_000), Money::from_usd(0.544 + 0.001));
        assert_eq!(at(272_001), Money::from_usd(1.088_004 + 0.0015));
    }

    #[test]
    fn tokens_kept_for_an_hour_cost_twice_the_input_and_a_tier_what_it_costs() {
        let price = Price { cache_write: Some(2.5), ..Price::new(2.0, 10.0) };
        let usage = Usage { input_tokens: 30, cache_write_tokens: 20, cache_write_1h_tokens: 5, ..Usage::default() };
        assert_eq!(price.cost(&usage), Money::from_usd((10.0 * 2.0 + 15.0 * 2.5 + 5.0 * 4.0) / 1e6));
        let listed = Price { tiers: Tiers::Standard { flex: Some(0.5) }, ..price };
        let at = |tier| Usage { tier, ..usage }.cost(Some(listed)).map(|cost| cost.usd() * 1e6);
        assert_eq!([at(Tier::Standard), at(Tier::Flex), at(Tier::Other)], [Some(77.5), Some(38.75), None]);
        let told = Usage { charged: Some(Money::from_usd(1.0)), tier: Tier::Other, ..usage };
        assert_eq!(told.cost(None), told.charged);
    }

    #[test]
    fn sums_of_millions_of_rows_are_exact() {
        let each = Price::new(0.05, 0.4).cost(&Usage { input_tokens: 7, output_tokens: 3, ..Usage::default() });
        let sum: Money = std::iter::repeat_n(each, 1_000_000).sum();
        assert_eq!(sum.usd(), 1.55);
    }

    #[test]
    fn amounts_are_shown_with_the_decimals_they_need() {
        let shown = |usd| Money::from_usd(usd).to_string();
        assert_eq!(
            [shown(0.0), shown(12.345), shown(0.042), shown(0.000_031)],
            ["$0.00", "$12.35", "$0.0420", "$0.000031"]
        );
    }
}
