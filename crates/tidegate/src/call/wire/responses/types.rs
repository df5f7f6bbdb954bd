//! The JSON of OpenAI's Responses, for both directions: what a client reads is what a server writes.
//!
//! Only what some code looks at has a field. Items are one flat struct and not a variant for each type, because new
//! types appear every few months and none of them may make a reply unreadable.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call::wire::openai::types::{InputDetails, OutputDetails, nullable, text, tier, usage};
use crate::response::Tier;

/// A reply.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct ResponseReply<'a> {
    /// The reply's id.
    #[serde(borrow, default, deserialize_with = "text")]
    pub id: Option<Cow<'a, str>>,
    /// Always `response`.
    #[serde(borrow, default, deserialize_with = "text")]
    pub object: Option<Cow<'a, str>>,
    /// When it was made, in seconds since 1970.
    #[serde(default)]
    pub created_at: Option<f64>,
    /// `completed`, `incomplete`, `failed`, and what only background responses are.
    #[serde(borrow, default, deserialize_with = "text")]
    pub status: Option<Cow<'a, str>>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<Value>,
    /// Why it is incomplete.
    #[serde(borrow, default)]
    pub incomplete_details: Option<Incomplete<'a>>,
    /// The model that answered.
    #[serde(borrow, default, deserialize_with = "text")]
    pub model: Option<Cow<'a, str>>,
    /// What the model said, thought and wants done, in order.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub output: Vec<Item<'a>>,
    /// What was used.
    #[serde(default, deserialize_with = "usage")]
    pub usage: Option<UsageReply>,
    /// The tier that served it.
    #[serde(default, deserialize_with = "tier", skip_serializing)]
    pub service_tier: Tier,
}

/// Why a reply is incomplete.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Incomplete<'a> {
    /// `max_output_tokens`, `content_filter` or another.
    #[serde(borrow, default, deserialize_with = "text")]
    pub reason: Option<Cow<'a, str>>,
}

/// One item of a reply.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Item<'a> {
    /// `message`, `function_call`, `reasoning`, or one of many others.
    #[serde(borrow, default, rename = "type")]
    pub kind: Cow<'a, str>,
    /// Its id.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    /// Its own status.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub status: Option<Cow<'a, str>>,
    /// Who speaks in a message.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub role: Option<Cow<'a, str>>,
    /// What a message says.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Vec<Part<'a>>>,
    /// What the model thought, in paragraphs: only to write, since nobody reads it from here.
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Vec<Value>>,
    /// What a call's result is to name.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub call_id: Option<Cow<'a, str>>,
    /// The function to call.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub name: Option<Cow<'a, str>>,
    /// Its arguments, JSON in a text.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Cow<'a, str>>,
}

/// A part of a message.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Part<'a> {
    /// `output_text` or `refusal`.
    #[serde(borrow, default, rename = "type")]
    pub kind: Cow<'a, str>,
    /// The text.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
    /// The model's refusal, instead of a text.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Cow<'a, str>>,
    /// What the text refers to.
    #[serde(default, deserialize_with = "nullable")]
    pub annotations: Vec<Value>,
}

/// Tokens used, in this wire's own convention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct UsageReply {
    /// All input tokens, cached ones included.
    pub input_tokens: u64,
    /// Parts of the input.
    pub input_tokens_details: Option<InputDetails>,
    /// All output tokens, reasoning included.
    pub output_tokens: u64,
    /// Parts of the output.
    pub output_tokens_details: Option<OutputDetails>,
    /// Both together.
    pub total_tokens: u64,
}
