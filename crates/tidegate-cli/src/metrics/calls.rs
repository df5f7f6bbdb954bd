//! How long calls took and what they used, counted as they end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate::call::provider::COMPATIBLE;
use tidegate::{Attempt, Outcome, TaskKind};

use super::family::{Family, Measured, Ranges, Type, Unit};

/// The bounds that OpenTelemetry advises for `gen_ai.client.operation.duration`, in seconds.
const SECONDS: [f64; 14] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// The bounds that OpenTelemetry advises for `gen_ai.client.token.usage`.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Calls that have ended; clones share their counts.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    operation: &'static str,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    /// By model, and by the cause of a failure; empty if it was answered.
    seconds: BTreeMap<(String, &'static str), Ranges>,
    /// By model, and by the kind of token.
    tokens: BTreeMap<(String, &'static str), Ranges>,
}

impl Calls {
    pub(crate) fn new(kind: TaskKind) -> Calls {
        Calls { operation: operation(kind), counts: Arc::default() }
    }

    /// Counts the calls made for a row.
    pub(crate) fn note(&self, outcome: &Outcome) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for Attempt { model, failure, took, times, usage, .. } in &outcome.attempts {
            let cause = failure.as_ref().map_or("", |failure| failure.kind.name());
            // Rejections in a row are one attempt with the last one's time.
            let seconds = counts.seconds.entry((model.to_string(), cause)).or_insert_with(|| Ranges::new(&SECONDS));
            seconds.note(took.as_secs_f64(), u64::from(*times));
            let Some(usage) = usage else { continue };
            for (kind, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
                let ranges = counts.tokens.entry((model.to_string(), kind)).or_insert_with(|| Ranges::new(&TOKENS));
                ranges.note(tokens as f64, 1);
            }
        }
    }

    pub(super) fn families(&self) -> [Family; 2] {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seconds = Family::new(
            "gen_ai.client.operation.duration",
            "How long calls took, by error.type where they failed.",
            Type::Histogram,
        )
        .in_unit(Unit::Seconds);
        let help = "Tokens of a call, by input and output.";
        let mut tokens = Family::new("gen_ai.client.token.usage", help, Type::Histogram).in_unit(Unit::Tokens);
        for ((model, cause), ranges) in &counts.seconds {
            let mut labels = self.labels(model).to_vec();
            labels.extend((!cause.is_empty()).then_some(("error.type", *cause)));
            seconds.push(&labels, Measured::Ranges(ranges.clone()));
        }
        for ((model, kind), ranges) in &counts.tokens {
            let labels = [&self.labels(model)[..], &[("gen_ai.token.type", *kind)]].concat();
            tokens.push(&labels, Measured::Ranges(ranges.clone()));
        }
        [seconds, tokens]
    }

    fn labels<'a>(&self, model: &'a str) -> [(&'static str, &'a str); 3] {
        let (provider, name) = provider_and_model(model);
        [("gen_ai.operation.name", self.operation), ("gen_ai.provider.name", provider), ("gen_ai.request.model", name)]
    }
}

/// Returns what OpenTelemetry calls such a request.
pub(crate) fn operation(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Embed => "embeddings",
        _ => "chat",
    }
}

/// Parts a model's name, with the provider's as OpenTelemetry has it.
pub(crate) fn provider_and_model(model: &str) -> (&str, &str) {
    let (provider, name) = model.split_once('/').unwrap_or((COMPATIBLE.name, model));
    let provider = match provider {
        "azure" => "azure.ai.openai",
        "bedrock" | "bedrock-invoke" => "aws.bedrock",
        "gemini" => "gcp.gemini",
        "vertex" => "gcp.vertex_ai",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        // Whoever it is, it speaks as OpenAI does: what the convention wants of a client that knows no more.
        other if other == COMPATIBLE.name => "openai",
        other => other,
    };
    (provider, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_the_first_range_that_it_does_not_exceed() {
        let mut ranges = Ranges::new(&SECONDS);
        [0.01, 0.011, 500.0].iter().for_each(|value| ranges.note(*value, 1));
        assert_eq!((ranges.within[0], ranges.within[1], ranges.within[14], ranges.count()), (1, 1, 1, 3));
    }

    #[test]
    fn providers_have_the_names_of_the_convention() {
        assert_eq!(provider_and_model("bedrock/Claude 3.5 Sonnet"), ("aws.bedrock", "Claude 3.5 Sonnet"));
        assert_eq!(provider_and_model("groq/openai/gpt-oss-120b"), ("groq", "openai/gpt-oss-120b"));
        assert_eq!(provider_and_model("compatible/org/m"), ("openai", "org/m"));
        assert_eq!(provider_and_model("mine/m"), ("mine", "m"));
    }
}
