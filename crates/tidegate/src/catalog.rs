//! What is known about models: their names, prices and sizes, compiled in.
//!
//! The table (`catalog/models.csv`) holds third-party facts, collected in November 2026 from LiteLLM's public price table.
//! It is never complete and grows old, so nothing depends on a model being in it: an unlisted model of a known provider
//! is sent as it is named, with an unknown price (never with a price of 0), and whoever knows better overrides the price.

pub mod bedrock;
pub mod inventory;
mod resolve;

use std::sync::LazyLock;

pub use resolve::{ModelRef, resolve, similar};

use crate::money::{LongPrice, Price, Tiers};

/// One model of one provider.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Model {
    /// The provider; some have no row in [`PROVIDERS`](crate::call::provider::PROVIDERS) because their format is not spoken yet.
    pub provider: &'static str,
    /// The name, as the provider's API wants it.
    pub name: &'static str,
    /// How it is asked.
    pub kind: ModelKind,
    /// What its tokens cost.
    pub price: Option<Price>,
    /// The most input tokens that it accepts.
    pub max_input: Option<u32>,
    /// The most output tokens that it writes.
    pub max_output: Option<u32>,
    /// Whether it accepts temperature and the other sampling parameters.
    pub sampling: bool,
    /// The day on which the provider switches it off, such as `2026-10-23`.
    pub retired: Option<&'static str>,
}

/// How a [`Model`] is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelKind {
    /// By a conversation.
    Chat,
    /// For vectors.
    Embedding,
    /// By a conversation, but only through OpenAI's Responses API.
    Responses,
}

impl ModelKind {
    /// Returns the name used in the table and in listings, such as `chat`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ModelKind::Chat => "chat",
            ModelKind::Embedding => "embedding",
            ModelKind::Responses => "responses",
        }
    }
}

/// What OpenAI's flex tier costs, as a share of the prices in the table: the same as its Batch API.
const OPENAI_FLEX: f64 = 0.5;

static TABLE: &str = include_str!("catalog/models.csv");

static MODELS: LazyLock<Vec<Model>> = LazyLock::new(|| lines().filter_map(parse).collect());

/// Returns every model in the table, grouped by provider.
#[must_use]
pub fn models() -> &'static [Model] {
    &MODELS
}

/// Returns what is known about a model; a dated name that is not listed (`gpt-5-2025-08-07`) is its undated model, and an
/// undated one (`claude-haiku-4-5`) its latest version.
///
/// Dated versions whose price differs from the undated name's have rows of their own.
#[must_use]
pub fn find(provider: &str, model: &str) -> Option<&'static Model> {
    let exact = |name: &str| models().iter().find(|row| row.provider == provider && row.name == name);
    exact(model).or_else(|| exact(undated(model)?)).or_else(|| latest(provider, model))
}

fn latest(provider: &str, model: &str) -> Option<&'static Model> {
    let versions = models().iter().filter(|row| row.provider == provider && undated(row.name) == Some(model));
    versions.max_by_key(|row| row.name)
}

/// Returns the models of that bare name, one for each provider that has it.
#[must_use]
pub fn providers_of(name: &str) -> Vec<&'static Model> {
    let mut found: Vec<_> = models().iter().filter_map(|row| find(row.provider, name)).collect();
    found.dedup_by_key(|row| row.provider);
    found
}

/// Cuts `-2025-08-07` or `-20250807` off a name.
fn undated(name: &str) -> Option<&str> {
    [11, 9].into_iter().find_map(|length| {
        let (start, date) = name.split_at_checked(name.len().checked_sub(length)?)?;
        is_date(date).then_some(start)
    })
}

fn is_date(suffix: &str) -> bool {
    let digits: String = suffix.split('-').collect();
    let shape = suffix.len() == 9 || (suffix.get(5..6) == Some("-") && suffix.get(8..9) == Some("-"));
    suffix.starts_with("-20") && shape && digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The table's lines, without comments and header.
fn lines() -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter(|line| !line.starts_with('#')).skip(1)
}

/// Reads one line. No field holds a comma or a quote, so that names can be borrowed from the compiled-in text.
fn parse(line: &'static str) -> Option<Model> {
    let fields: [&'static str; 14] = line.split(',').collect::<Vec<_>>().try_into().ok()?;
    let [
        provider,
        name,
        kind,
        input,
        output,
        cached,
        write,
        above,
        long_in,
        long_out,
        max_in,
        max_out,
        sampling,
        retired,
    ] = fields;
    let long = match optional(above)? {
        Some(above) => Some(LongPrice { above, input: long_in.parse().ok()?, output: long_out.parse().ok()? }),
        None => None,
    };
    let flex = (provider == "openai").then_some(OPENAI_FLEX);
    let tiers = Tiers::Standard { flex };
    let (cached_input, cache_write) = (optional(cached)?, optional(write)?);
    let rest = Price { cached_input, cache_write, long, tiers, ..Price::new(0.0, 0.0) };
    let price = match (optional(input)?, optional(output)?) {
        (Some(input), Some(output)) => Some(Price { input, output, ..rest }),
        _ => None,
    };
    Some(Model {
        provider,
        name,
        kind: parse_kind(kind)?,
        price,
        max_input: optional(max_in)?,
        max_output: optional(max_out)?,
        sampling: sampling != "no",
        retired: (!retired.is_empty()).then_some(retired),
    })
}

fn parse_kind(name: &str) -> Option<ModelKind> {
    [ModelKind::Chat, ModelKind::Embedding, ModelKind::Responses].into_iter().find(|kind| kind.name() == name)
}

/// Reads a field that may be empty; the outer `None` means that it is neither empty nor right.
fn optional<T: std::str::FromStr>(field: &str) -> Option<Option<T>> {
    if field.is_empty() { Some(None) } else { field.parse().ok().map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_parses_and_is_unique() {
        let broken: Vec<_> = lines().filter(|line| parse(line).is_none()).collect();
        assert!(broken.is_empty(), "{broken:#?}");
        let names: std::collections::BTreeSet<_> = models().iter().map(|row| (row.provider, row.name)).collect();
        assert_eq!((names.len(), models().len()), (lines().count(), lines().count()));
    }

    #[test]
    fn prices_are_plausible() {
        for price in models().iter().filter_map(|row| row.price) {
            assert!(price.input > 0.0 && price.input < 1000.0 && price.output >= 0.0 && price.output < 1000.0);
            assert!(price.cached_input.is_none_or(|cached| cached <= price.input));
            assert!(price.long.is_none_or(|long| long.input >= price.input && long.above >= 100_000));
        }
    }

    #[test]
    fn a_row_carries_all_its_facts() {
        let model = find("openai", "gpt-6-sol").unwrap();
        let long = LongPrice { above: 272_000, input: 4.0, output: 15.0 };
        let tiers = Tiers::Standard { flex: Some(0.5) };
        let price =
            Price { cached_input: Some(0.2), cache_write: Some(2.5), long: Some(long), tiers, ..Price::new(2.0, 10.0) };
        assert_eq!((model.price, model.max_input, model.max_output), (Some(price), Some(922_000), Some(128_000)));
        assert!(!find("anthropic", "claude-opus-5").unwrap().sampling);
        assert_eq!(find("openai", "gpt-4o-2024-05-13").unwrap().retired, Some("2026-10-23"));
    }

    #[test]
    fn a_dated_name_is_its_undated_model_unless_it_has_a_row() {
        assert_eq!(find("openai", "gpt-5-mini-2025-08-07"), find("openai", "gpt-5-mini"));
        let price = |name| find("openai", name).unwrap().price.unwrap();
        assert_eq!((price("gpt-4o-2024-05-13").input, price("gpt-4o").input), (5.0, 2.5));
        assert_eq!(find("anthropic", "claude-opus-4-7-20260416").unwrap().name, "claude-opus-4-7");
        assert_eq!(find("anthropic", "claude-haiku-4-5").unwrap().name, "claude-haiku-4-5-20251001");
        assert_eq!(find("anthropic", "claude-3-5-sonnet").unwrap().name, "claude-3-5-sonnet-20241022");
        for name in
            ["gpt-5-mini-2025-08-0x", "gpt-5-mini-0613", "gpt-5-mini-3025-08-07", "-2025-08-07", "é2025-08-07", ""]
        {
            assert_eq!(find("openai", name), None, "{name}");
        }
    }

    #[test]
    fn a_bare_name_lists_each_provider_once() {
        let providers: Vec<_> = providers_of("gpt-4o").iter().map(|row| row.provider).collect();
        assert_eq!(providers, ["openai", "azure"]);
        assert!(providers_of("gpt-99").is_empty());
    }
}
