//! The most that a request can cost at an endpoint, before anybody has counted its tokens.
//!
//! A token is at least one byte of text, so the input is bounded by the bytes of the body as it is sent. The output is
//! bounded by what the body says, else by the most that the model writes. What a body only refers to (an image, a file, a
//! search) is bounded by the most that the model reads. Where there is no bound or no price there is no worst case: such a
//! request is not sent under a budget.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::dispatch::endpoint::Endpoint;
use crate::failure::{Failure, Kind};
use crate::json;
use crate::money::{Budget, Money, Price, Spend};
use crate::request::{Part, Request, Task, TaskKind};
use crate::response::{Tier, Usage};

/// Tokens for what servers put around messages and tools.
const AROUND: u64 = 64;
/// Tokens of the instructions that servers add where tools are offered.
const TOOLS: u64 = 1024;
/// Names in a body that stand for more input than they have bytes.
const REFERENCES: [&str; 18] = [
    "\"image_url\"",
    "\"input_image\"",
    "\"image\"",
    "\"input_audio\"",
    "\"video_url\"",
    "\"video\"",
    "\"document\"",
    "\"file\"",
    "\"file_id\"",
    "\"file_url\"",
    "\"fileData\"",
    "\"file_data\"",
    "\"inlineData\"",
    "\"inline_data\"",
    "\"cachedContent\"",
    "\"previous_response_id\"",
    "\"web_search_options\"",
    "\"googleSearch\"",
];

/// What a body says about the length of its answer, in the words of any format.
#[derive(Debug, Default, Deserialize)]
struct Said {
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    n: Option<u64>,
    #[serde(rename = "generationConfig")]
    generation: Option<Generation>,
    #[serde(rename = "inferenceConfig")]
    inference: Option<Inference>,
    /// The tier of service that is wanted: a name, or Bedrock's object with one.
    #[serde(alias = "serviceTier")]
    service_tier: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Generation {
    max_output_tokens: Option<u64>,
    candidate_count: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inference {
    max_tokens: Option<u64>,
}

impl Said {
    /// Returns the most output tokens of one answer.
    fn output(&self, request: &Request) -> Option<u64> {
        let generation = self.generation.as_ref().and_then(|generation| generation.max_output_tokens);
        let inference = self.inference.as_ref().and_then(|inference| inference.max_tokens);
        let said = [self.max_tokens, self.max_completion_tokens, generation, inference].into_iter().flatten().max();
        said.or(request.params.max_tokens.map(u64::from))
    }

    /// Returns the tier of service that is wanted; what a header says is among the parameters.
    fn tier(&self, request: &Request) -> Tier {
        let param = || ["service_tier", "serviceTier"].iter().find_map(|name| request.params.extra.get(*name));
        let wanted = self.service_tier.as_ref().or_else(param);
        let name = wanted.and_then(|wanted| wanted.as_str().or_else(|| wanted.get("type")?.as_str()));
        name.map(Tier::named).unwrap_or_default()
    }

    /// Returns how many answers are wanted.
    fn answers(&self) -> u64 {
        self.n.or(self.generation.as_ref().and_then(|generation| generation.candidate_count)).unwrap_or(1).max(1)
    }
}

/// Returns the most that a request can cost at an endpoint.
///
/// # Errors
///
/// [`Kind::Budget`] says what must be known first.
pub(crate) fn worst_case(endpoint: &Endpoint, request: &Request, budget: &Budget) -> Result<Spend, Failure> {
    let body = body(endpoint, request).unwrap_or_default();
    let said: Said = json::from_slice(&body).unwrap_or_default();
    let body = String::from_utf8_lossy(&body);
    let input = input(endpoint, request, &body)?;
    let output = match request.kind() {
        TaskKind::Embed => 0,
        _ => {
            let most = said.output(request).or(endpoint.max_output.map(u64::from));
            most.ok_or_else(|| no_output_bound(endpoint))?.saturating_mul(said.answers())
        }
    };
    let money = match (budget.usd, endpoint.price) {
        (None, _) => Money::ZERO,
        (Some(_), Some(price)) => {
            let price = price.of_tier(said.tier(request)).ok_or_else(|| no_tier_price(endpoint))?;
            most(&price, input, output, &body)
        }
        (Some(_), None) => return Err(no_price(endpoint)),
    };
    Ok(Spend { money, tokens: input.saturating_add(output) })
}

/// Returns the most that so many tokens can cost, all of them kept for an hour if the body wants any to be.
fn most(price: &Price, input: u64, output: u64, body: &str) -> Money {
    let most = price.most(input, output);
    if !body.contains("\"1h\"") {
        return most;
    }
    let written = Usage { input_tokens: input, output_tokens: output, cache_write_tokens: input, ..Usage::default() };
    most.max(price.cost(&Usage { cache_write_1h_tokens: input, ..written }))
}

/// Returns the most output tokens of all answers that a request itself says.
pub(crate) fn stated_output(endpoint: &Endpoint, request: &Request) -> Option<u64> {
    let said: Said = json::from_slice(&body(endpoint, request)?).unwrap_or_default();
    said.output(request).map(|most| most.saturating_mul(said.answers()))
}

/// Returns the body that would be sent, if there is one.
fn body(endpoint: &Endpoint, request: &Request) -> Option<Bytes> {
    endpoint.caller.preview(request)?.ok().map(|preview| preview.body)
}

fn input(endpoint: &Endpoint, request: &Request, body: &str) -> Result<u64, Failure> {
    let typed = |task: &Task| match task {
        Task::Chat(messages) => {
            messages.iter().flat_map(|message| &message.parts).all(|part| matches!(part, Part::Text(_)))
        }
        Task::Embed(_) => true,
    };
    let has = |name: &&str| body.contains(*name);
    if typed(&request.task) && !REFERENCES.iter().any(has) {
        let tools = if has(&"\"tools\"") { TOOLS } else { 0 };
        return Ok(body.len().max(request.size()) as u64 + AROUND + tools);
    }
    endpoint.max_input.map(u64::from).ok_or_else(|| {
        let what = "a row refers to more than its text, and nobody knows how much the model reads at most";
        Failure::new(Kind::Budget, format!("{}: {what}: a budget cannot be kept", endpoint.model))
    })
}

/// Says that a model's price is not known.
pub(crate) fn no_price(endpoint: &Endpoint) -> Failure {
    let what = "a budget in dollars needs the price, and the catalog has none";
    Failure::new(
        Kind::Budget,
        format!("{}: {what}; give --price IN,OUT (US dollars per million tokens)", endpoint.model),
    )
}

fn no_tier_price(endpoint: &Endpoint) -> Failure {
    let what = "a budget in dollars needs the price of the service tier that is asked for, and the catalog has none";
    Failure::new(Kind::Budget, format!("{}: {what}; give --price IN,OUT for that tier", endpoint.model))
}

/// Says that the length of a model's answers is not known.
pub(crate) fn no_output_bound(endpoint: &Endpoint) -> Failure {
    let what = "a budget needs the most output tokens of an answer, and the catalog has none";
    Failure::new(Kind::Budget, format!("{}: {what}; give --max-tokens N", endpoint.model))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::BoxFuture;

    use super::*;
    use crate::call::wire::WireId;
    use crate::call::{Caller, Preview, Try};
    use crate::limits::{Limits, Pacing};
    use crate::money::Price;
    use crate::response::Response;

    /// Sends a body that was already written.
    struct Bodies;

    impl Caller for Bodies {
        fn call<'a>(&'a self, _: &'a Request, _: Try<'a>) -> BoxFuture<'a, Result<Response, Failure>> {
            Box::pin(async { Ok(Response::text("")) })
        }

        fn preview(&self, request: &Request) -> Option<Result<Preview, Failure>> {
            let body = request.original.as_ref()?.bytes.clone();
            Some(Ok(Preview { body, ..Preview::default() }))
        }
    }

    fn endpoint(max_output: Option<u32>, max_input: Option<u32>) -> Endpoint {
        Endpoint {
            name: "m".into(),
            model: "m".into(),
            order: 0,
            region: None,
            key: 0,
            weight: None,
            price: Some(Price::new(1.0, 2.0)),
            max_input,
            max_output,
            caller: Arc::new(Bodies),
            limits: Limits::default(),
            split: None,
            account: None,
            pacing: Pacing::default(),
        }
    }

    fn tokens(endpoint: &Endpoint, body: &str) -> Result<u64, String> {
        let request = Request::original(WireId::Openai, TaskKind::Chat, body.to_owned());
        let budget = Budget { usd: None, tokens: Some(1) };
        worst_case(endpoint, &request, &budget).map(|spend| spend.tokens - AROUND).map_err(|failure| failure.message)
    }

    #[test]
    fn the_output_is_what_the_body_says_else_what_the_model_can() {
        let known = endpoint(Some(1000), None);
        for (body, output) in [
            (r#"{"max_tokens":7}"#, 7),
            (r#"{"max_tokens":7,"n":3}"#, 21),
            (r#"{"max_completion_tokens":9,"max_tokens":7}"#, 9),
            (r#"{"generationConfig":{"maxOutputTokens":5,"candidateCount":2}}"#, 10),
            (r#"{"inferenceConfig":{"maxTokens":6}}"#, 6),
            (r#"{"messages":[]}"#, 1000),
            (r#"{"max_tokens":"many"}"#, 1000),
        ] {
            assert_eq!(tokens(&known, body), Ok(body.len() as u64 + output), "{body}");
        }
        assert!(tokens(&endpoint(None, None), "{}").unwrap_err().contains("give --max-tokens N"));
    }

    #[test]
    fn what_a_body_refers_to_is_bounded_by_what_the_model_reads() {
        let body = r#"{"max_tokens":1,"messages":[{"content":[{"type":"image_url"}]}]}"#;
        let bytes = AROUND;
        assert_eq!(tokens(&endpoint(None, Some(5000)), body), Ok(5001 - bytes));
        assert!(tokens(&endpoint(None, None), body).unwrap_err().contains("refers to more than its text"));
        let quoted = r#"{"max_tokens":1,"content":"about \"image_url\""}"#;
        assert_eq!(tokens(&endpoint(None, None), quoted), Ok(quoted.len() as u64 + 1));
    }

    #[test]
    fn money_needs_a_price_and_embeddings_no_output() {
        let budget = Budget { usd: Some(Money::ZERO), tokens: None };
        let request = Request::embed("twelve bytes");
        let spend = worst_case(&endpoint(None, None), &request, &budget).unwrap();
        assert_eq!((spend.tokens, spend.money), (12 + AROUND, Price::new(1.0, 2.0).most(12 + AROUND, 0)));
        let free = Endpoint { price: None, ..endpoint(None, None) };
        assert!(worst_case(&free, &request, &budget).unwrap_err().message.contains("give --price IN,OUT"));
    }

    #[test]
    fn a_tier_of_service_needs_its_price_and_an_hour_in_the_cache_costs_twice_the_input() {
        let budget = Budget { usd: Some(Money::ZERO), tokens: None };
        let money = |price, body: &str| {
            let listed = Endpoint { price: Some(price), ..endpoint(Some(0), None) };
            let request = Request::original(WireId::Openai, TaskKind::Chat, body.to_owned());
            worst_case(&listed, &request, &budget).map(|spend| spend.money.usd() * 1e6).map_err(|fault| fault.message)
        };
        let stated = Price::new(1.0, 2.0);
        let listed = Price { tiers: crate::money::Tiers::Standard { flex: Some(0.5) }, ..stated };
        let input = |body: &str| (body.len() as u64 + AROUND) as f64;
        let [flex, priority, bedrocks] =
            [r#"{"service_tier":"flex"}"#, r#"{"service_tier":"priority"}"#, r#"{"serviceTier":{"type":"priority"}}"#];
        assert_eq!(money(listed, flex), Ok(input(flex) / 2.0));
        for body in [priority, bedrocks] {
            assert!(money(listed, body).unwrap_err().contains("give --price IN,OUT for that tier"));
            assert_eq!(money(stated, body), Ok(input(body)));
        }
        let hour = r#"{"system":[{"cache_control":{"ttl":"1h"}}]}"#;
        assert_eq!(money(listed, hour), Ok(2.0 * input(hour)));
    }
}
