//! The JSON of Bedrock's Converse, for both directions: what a client reads is what a server writes.
//!
//! Only what some code looks at has a field. A block is one flat struct and not a variant for each kind, because new
//! kinds appear and none of them may make a reply unreadable.

use std::borrow::Cow;

use http::HeaderMap;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, value::RawValue};

use crate::call::wire::openai::types::{tier, usage};
use crate::json;
use crate::response::Tier;

/// The reply of Converse.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConverseReply<'a> {
    /// What the model said.
    #[serde(borrow)]
    pub output: Option<OutputReply<'a>>,
    /// Why it stopped.
    #[serde(borrow)]
    pub stop_reason: Option<Cow<'a, str>>,
    /// What was used.
    #[serde(deserialize_with = "usage")]
    pub usage: Option<UsageReply>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// The tier that served it.
    #[serde(skip_serializing)]
    pub service_tier: ServiceTier,
}

/// What the model said, one level down.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct OutputReply<'a> {
    /// The message.
    #[serde(borrow)]
    pub message: Option<MessageReply<'a>>,
}

/// The model's message.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct MessageReply<'a> {
    /// Always `assistant`.
    #[serde(borrow)]
    pub role: Cow<'a, str>,
    /// Text, tool calls and reasoning, in order.
    #[serde(borrow)]
    pub content: Vec<Block<'a>>,
}

/// One block of a reply: one of its fields is set.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Block<'a> {
    /// Text.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
    /// A tool call.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub tool_use: Option<ToolUse<'a>>,
    /// What the model thought: only to write, since nobody reads it from here.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<Value>,
    /// Text with its sources.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub citations_content: Option<Cited<'a>>,
}

/// A tool call.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ToolUse<'a> {
    /// The call's id.
    #[serde(borrow)]
    pub tool_use_id: Cow<'a, str>,
    /// The tool's name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// What it is to be called with, an object.
    #[serde(borrow)]
    pub input: Option<&'a RawValue>,
}

/// Text with its sources.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Cited<'a> {
    /// The text, in pieces.
    #[serde(borrow)]
    pub content: Vec<CitedText<'a>>,
}

/// A piece of cited text.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct CitedText<'a> {
    /// The text.
    #[serde(borrow)]
    pub text: Cow<'a, str>,
}

/// Tokens used, in this wire's own convention: the counts of input are disjoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UsageReply {
    /// Input tokens that no cache had to do with.
    pub input_tokens: u64,
    /// All output tokens.
    pub output_tokens: u64,
    /// All tokens.
    pub total_tokens: u64,
    /// Input tokens read from the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read_input_tokens: Option<u64>,
    /// Input tokens written to the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_input_tokens: Option<u64>,
    /// Those of them that are kept for an hour.
    #[serde(rename = "cacheDetails", deserialize_with = "for_an_hour", skip_serializing)]
    pub written_for_an_hour: u64,
}

/// Adds up what is kept for an hour.
fn for_an_hour<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let details = Value::deserialize(deserializer)?;
    let kept = |detail: &&Value| detail.get("ttl").and_then(Value::as_str) == Some("1h");
    let tokens = |detail: &Value| detail.get("inputTokens").and_then(Value::as_u64);
    Ok(details.as_array().into_iter().flatten().filter(kept).filter_map(tokens).sum())
}

/// The tier that served a call.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceTier {
    /// `default`, `flex`, `priority` or `reserved`.
    #[serde(rename = "type", deserialize_with = "tier")]
    pub kind: Tier,
}

/// How long the reply took.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metrics {
    /// Milliseconds at the provider.
    pub latency_ms: u64,
}

/// An error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorBody {
    /// The exception's name in lower case and without `exception`, such as `throttling`; empty if there is none.
    pub kind: String,
    /// What the provider said, and the model behind it.
    pub message: String,
    /// The status with which the model behind it answered.
    pub original: Option<u64>,
}

impl ErrorBody {
    /// Reads a failed reply: the name stands in the header `x-amzn-ErrorType`, or else in the body.
    #[must_use]
    pub fn read(headers: &HeaderMap, body: &[u8]) -> Option<ErrorBody> {
        let whole: Value = json::from_slice(body).unwrap_or_default();
        let text = |names: [&str; 2]| names.iter().find_map(|name| whole.get(*name)?.as_str());
        let named = headers.get("x-amzn-errortype").and_then(|name| name.to_str().ok());
        let kind = named.or_else(|| text(["__type", "code"])).map(plain_name).unwrap_or_default();
        let mut message = text(["message", "Message"]).unwrap_or_default().to_owned();
        let told = text(["originalMessage"; 2]).filter(|told| !told.is_empty() && !message.contains(told));
        if let Some(told) = told {
            message = if message.is_empty() { told.to_owned() } else { format!("{message} The model said: {told}") };
        }
        let original = whole.get("originalStatusCode").and_then(Value::as_u64);
        (!kind.is_empty() || !message.is_empty()).then_some(ErrorBody { kind, message, original })
    }
}

/// Brings `com.amazon.coral#ThrottlingException:http://…` and a stream's `throttlingException` to `throttling`.
pub(super) fn plain_name(name: &str) -> String {
    let name = name.split(':').next().unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default().trim().to_ascii_lowercase();
    name.strip_suffix("exception").unwrap_or(&name).to_owned()
}
