//! What came back: the output, why it ended, what it used, and the provider's own bytes.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::money::Money;
use crate::request::{Message, Part, Reasoning, ToolUse};

/// One successful reply.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tidegate::{Client, Finish, Request, Target};
/// # let client = Client::builder().target(Target::new("sim/echo")?).build()?;
/// let response = client.send(&Request::prompt("Hello")).await.result?;
/// if response.finish == Finish::Length {
///     println!("cut off after {:?}", response.usage.map(|usage| usage.output_tokens));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Response {
    /// The answer.
    pub output: Output,
    /// Why the model stopped.
    #[serde(rename = "finish_reason", with = "by_name")]
    pub finish: Finish,
    /// What was used, where the provider says so.
    pub usage: Option<Usage>,
    /// The model as the provider names it.
    pub model: String,
    /// The provider's id of the request, to quote in a support case.
    pub request_id: Option<String>,
    /// The provider's body, byte for byte; not part of the JSON form.
    #[serde(skip)]
    pub raw: Bytes,
    /// What the answer is made of where it is more than a text (calls of tools, reasoning), in order; see
    /// [`message`](Response::message).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// What was left out of the request, and what was odd about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The answer itself.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> tidegate::Result<()> {
/// use tidegate::{Client, Output, Request, Target};
/// # let client = Client::builder().target(Target::new("sim/embed")?).build()?;
/// let outcome = client.send(&Request::embed("the tide")).await;
/// match outcome.result.map(|response| response.output) {
///     Ok(Output::Embedding(vector)) => assert!(!vector.is_empty()),
///     Ok(Output::Text(text)) => println!("{text}"),
///     Ok(other) => println!("{other:?}"),
///     Err(failure) => eprintln!("{failure}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Output {
    /// Text.
    Text(String),
    /// A vector.
    Embedding(Vec<f32>),
    /// Anything else, such as tool calls or several choices, as JSON.
    Json(Value),
}

impl Default for Output {
    fn default() -> Output {
        Output::Text(String::new())
    }
}

/// Why the model stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Finish {
    /// It was done.
    Stop,
    /// It reached the output limit.
    Length,
    /// It wants tools to be called.
    ToolCalls,
    /// A content filter stopped it.
    ContentFilter,
    /// A reason that only this provider knows, as it came.
    Other(String),
    /// None was given, as with embeddings.
    #[default]
    None,
}

/// A piece of a streamed reply.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Delta {
    /// More text.
    Text(String),
    /// More of the model's reasoning, which is not part of the answer.
    Reasoning(String),
    /// More of a tool call.
    ToolCall {
        /// The call's place among the calls.
        index: usize,
        /// The call's id, in its first piece.
        id: Option<String>,
        /// The tool's name, in its first piece.
        name: Option<String>,
        /// More of the arguments' JSON text.
        arguments: String,
    },
    /// The reply broke off, and what follows goes on where it stopped, from another endpoint or the same one again; see
    /// [`RetryPolicy::switch_streams`](crate::RetryPolicy::switch_streams).
    Switched {
        /// The endpoint whose reply broke off.
        from: Arc<str>,
        /// The endpoint that goes on.
        to: Arc<str>,
    },
    /// What was used, at the end.
    Usage(Usage),
    /// Why the model stopped; the last piece.
    Finish(Finish),
}

/// Tokens used by one call. Cached and cache-write tokens are part of the input, reasoning tokens part of the output,
/// whatever the provider's own convention.
///
/// ```
/// use tidegate::{Response, Usage};
/// // What a caller of your own says that its answer used.
/// let usage = Usage { input_tokens: 120, output_tokens: 30, cached_tokens: 100, ..Usage::default() };
/// let response = Response::text("low tide").with_usage(usage);
/// assert_eq!(response.usage.map(|usage| usage.total()), Some(150));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// All input tokens.
    pub input_tokens: u64,
    /// All output tokens.
    pub output_tokens: u64,
    /// Input tokens that the provider read from its cache.
    pub cached_tokens: u64,
    /// Output tokens spent on reasoning.
    pub reasoning_tokens: u64,
    /// Input tokens that the provider wrote to its cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_tokens: u64,
    /// Those of them that it keeps for an hour.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_1h_tokens: u64,
    /// The tier of service that they are billed as.
    #[serde(skip_serializing_if = "Tier::is_standard")]
    pub tier: Tier,
    /// What the provider says that it charged for them; not part of the JSON form.
    #[serde(skip)]
    pub charged: Option<Money>,
}

/// A provider's tier of service, as far as it makes a difference to the price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The one that price lists mean.
    #[default]
    Standard,
    /// The slower and cheaper one of OpenAI, Google, AWS and others.
    Flex,
    /// Any other: priority, fast, provisioned, within one country only.
    Other,
}

impl Tier {
    /// Returns the tier that a provider calls so.
    #[must_use]
    pub fn named(name: &str) -> Tier {
        match name {
            "" | "auto" | "default" | "standard" | "standard_only" | "on_demand" | "ON_DEMAND" => Tier::Standard,
            "flex" | "ON_DEMAND_FLEX" => Tier::Flex,
            _ => Tier::Other,
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_standard(&self) -> bool {
        *self == Tier::Standard
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Usage {
    /// Returns input and output tokens together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input_tokens + self.output_tokens
    }
}

/// Adds up tokens; tier and charge stay those of the first.
impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cached_tokens += other.cached_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
        self.cache_write_1h_tokens += other.cache_write_1h_tokens;
    }
}

/// A finish by its name.
mod by_name {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Finish;

    pub(super) fn serialize<S: Serializer>(finish: &Finish, to: S) -> Result<S::Ok, S::Error> {
        finish.name().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Finish, D::Error> {
        Ok(match Option::<String>::deserialize(from)? {
            None => Finish::None,
            Some(name) => [Finish::Stop, Finish::Length, Finish::ToolCalls, Finish::ContentFilter]
                .into_iter()
                .find(|finish| finish.name() == Some(&name))
                .unwrap_or(Finish::Other(name)),
        })
    }
}

impl Finish {
    /// Returns the reason's name in records, or nothing where none was given.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Finish::Stop => Some("stop"),
            Finish::Length => Some("length"),
            Finish::ToolCalls => Some("tool_calls"),
            Finish::ContentFilter => Some("content_filter"),
            Finish::Other(name) => Some(name),
            Finish::None => None,
        }
    }
}

impl Response {
    /// Makes a plain text response, as a user's own [`Caller`](crate::Caller) returns it.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Response {
        Response { output: Output::Text(text.into()), finish: Finish::Stop, ..Response::default() }
    }

    /// Yields the tools that the model wants called.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolUse> {
        self.parts.iter().filter_map(|part| match part {
            Part::ToolUse(call) => Some(call),
            _ => None,
        })
    }

    /// Yields what the model thought.
    pub fn reasoning(&self) -> impl Iterator<Item = &Reasoning> {
        self.parts.iter().filter_map(|part| match part {
            Part::Reasoning(reasoning) => Some(reasoning),
            _ => None,
        })
    }

    /// Returns the answer as the model's turn, to go on with the conversation: calls and reasoning as they came.
    #[must_use]
    pub fn message(&self) -> Message {
        let mut message = Message::assistant();
        message.parts = match (&self.parts[..], &self.output) {
            ([], Output::Text(text)) => vec![Part::Text(text.clone())],
            (parts, _) => parts.to_vec(),
        };
        message
    }

    /// Sets what was used.
    #[must_use]
    pub fn with_usage(mut self, usage: Usage) -> Response {
        self.usage = Some(usage);
        self
    }
}

impl Output {
    /// Returns the answer as JSON, as a record shows it.
    #[must_use]
    pub fn into_value(self) -> Value {
        match self {
            Output::Text(text) => Value::String(text),
            Output::Embedding(vector) => vector.into(),
            Output::Json(value) => value,
        }
    }
}
