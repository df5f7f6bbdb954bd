//! The JSON of Anthropic's wire, for both directions: what a client reads is what a server writes.
//!
//! Only what some code looks at has a field. Blocks are one flat struct and not a variant for each type, because new
//! types appear every few months and none of them may make a reply unreadable.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, value::RawValue};

use crate::call::wire::openai::types::{tier, usage};
use crate::json;
use crate::response::Tier;

/// The reply of Messages.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct MessageReply<'a> {
    /// The reply's id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// `message`, or `error` for a failure inside a success.
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    /// Always `assistant`.
    #[serde(borrow)]
    pub role: Cow<'a, str>,
    /// The model that answered.
    #[serde(borrow)]
    pub model: Cow<'a, str>,
    /// What the model said, thought and wants done, in order.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub content: Option<Vec<Block<'a>>>,
    /// Why it stopped.
    #[serde(borrow)]
    pub stop_reason: Option<Cow<'a, str>>,
    /// At which of the texts to stop at.
    #[serde(borrow)]
    pub stop_sequence: Option<Cow<'a, str>>,
    /// Why it refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_details: Option<Value>,
    /// What was used.
    #[serde(deserialize_with = "usage", skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageReply>,
    /// A failure inside a success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// One block of a reply.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Block<'a> {
    /// `text`, `tool_use`, `thinking`, or one of many others.
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    /// A text block's text.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
    /// What the model thought.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Cow<'a, str>>,
    /// What proves that a thought is the provider's own.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Cow<'a, str>>,
    /// A tool call's id.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    /// The tool's name.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub name: Option<Cow<'a, str>>,
    /// What the tool is to be called with, an object.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub input: Option<&'a RawValue>,
}

/// Tokens used, in this wire's own convention: the three counts of input are disjoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct UsageReply {
    /// Input tokens that no cache had to do with.
    pub input_tokens: Option<u64>,
    /// Input tokens written to the cache.
    pub cache_creation_input_tokens: Option<u64>,
    /// Input tokens read from the cache.
    pub cache_read_input_tokens: Option<u64>,
    /// All output tokens, thinking included.
    pub output_tokens: Option<u64>,
    /// Parts of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_details: Option<OutputDetails>,
    /// Parts of what was written to the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_creation: Option<CacheCreation>,
    /// `standard`, `priority` or `batch`.
    #[serde(deserialize_with = "tier", skip_serializing)]
    pub service_tier: Tier,
    /// `standard`, or `fast` where that was asked for and given.
    #[serde(deserialize_with = "tier", skip_serializing)]
    pub speed: Tier,
    /// Whether it was served in one country only (`us`), which costs more.
    #[serde(deserialize_with = "in_one_country", skip_serializing)]
    pub inference_geo: bool,
}

fn in_one_country<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_str() == Some("us"))
}

/// Parts of what was written to the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct CacheCreation {
    /// What is kept for an hour.
    pub ephemeral_1h_input_tokens: u64,
}

/// Parts of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct OutputDetails {
    /// Spent on thinking.
    pub thinking_tokens: Option<u64>,
}

/// An error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorBody {
    /// What the provider said.
    pub message: String,
    /// `error.type`.
    pub kind: String,
    /// `error.details.error_code`.
    pub code: Option<String>,
}

impl ErrorBody {
    /// Reads a failed reply's body; nothing if it is not JSON or holds no error.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<ErrorBody> {
        let whole: Value = json::from_slice(body).ok()?;
        ErrorBody::from_value(whole.get("error")?)
    }

    /// Reads the value of `error`: an object, or plain text where a proxy stands in between.
    #[must_use]
    pub fn from_value(error: &Value) -> Option<ErrorBody> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let message = text(error.get("message")).or_else(|| text(Some(error)))?;
        let code = text(error.get("details").and_then(|details| details.get("error_code")));
        Some(ErrorBody { message, kind: text(error.get("type")).unwrap_or_default(), code })
    }
}
