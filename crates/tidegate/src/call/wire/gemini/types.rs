//! The JSON of Gemini's wire, for both directions: what a client reads is what a server writes.
//!
//! Only what some code looks at has a field. Everything may be absent: Google's servers leave out what is empty or zero.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, value::RawValue};

use crate::call::wire::openai::types::{nullable, text, tier, usage};
use crate::json;
use crate::response::Tier;

/// The reply of `generateContent`, and each event of a streamed one.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GenerateReply<'a> {
    /// The answers, one unless `candidateCount` asked for more; none when the prompt was blocked.
    #[serde(borrow, default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate<'a>>,
    /// What the filters think of the prompt.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub prompt_feedback: Option<PromptFeedback<'a>>,
    /// What was used.
    #[serde(default, deserialize_with = "usage", skip_serializing_if = "Option::is_none")]
    pub usage_metadata: Option<UsageReply>,
    /// The model that answered.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub model_version: Option<Cow<'a, str>>,
    /// The reply's id, the same in all its events.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub response_id: Option<Cow<'a, str>>,
    /// A failure inside a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// One answer.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate<'a> {
    /// What the model said; absent when it was stopped before it said anything.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentReply<'a>>,
    /// Why it stopped.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<Cow<'a, str>>,
    /// More about why it stopped.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub finish_message: Option<Cow<'a, str>>,
    /// Its place among the answers.
    #[serde(default, deserialize_with = "nullable")]
    pub index: u32,
}

/// What the model said.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct ContentReply<'a> {
    /// The pieces in order.
    #[serde(borrow, default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartReply<'a>>,
    /// Always `model`.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub role: Option<Cow<'a, str>>,
}

/// One piece of what the model said.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartReply<'a> {
    /// A text.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
    /// Whether the piece tells the model's reasoning and is not part of the answer.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_false")]
    pub thought: bool,
    /// What must come back unchanged with a call's result.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub thought_signature: Option<Cow<'a, str>>,
    /// A tool that it wants called.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub function_call: Option<FunctionCall<'a>>,
    /// An image or sound that it made, kept as it came.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub inline_data: Option<&'a RawValue>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A tool that the model wants called.
#[derive(Debug, Deserialize, Serialize)]
pub struct FunctionCall<'a> {
    /// Tells several calls apart; often absent.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    /// The tool.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// The arguments, an object.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub args: Option<&'a RawValue>,
}

/// What the filters think of a prompt.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PromptFeedback<'a> {
    /// Why it was blocked.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub block_reason: Option<Cow<'a, str>>,
    /// More about it.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub block_reason_message: Option<Cow<'a, str>>,
}

/// Tokens used, in this wire's own convention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UsageReply {
    /// All input tokens but those of tool use, cached ones included.
    #[serde(deserialize_with = "nullable")]
    pub prompt_token_count: u64,
    /// Input tokens read from the cache.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_zero")]
    pub cached_content_token_count: u64,
    /// Output tokens without reasoning.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_zero")]
    pub candidates_token_count: u64,
    /// Output tokens spent on reasoning.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_zero")]
    pub thoughts_token_count: u64,
    /// Input tokens that the provider's own tools brought in.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_zero")]
    pub tool_use_prompt_token_count: u64,
    /// All together.
    #[serde(deserialize_with = "nullable")]
    pub total_token_count: u64,
    /// The tier that served it, as Vertex AI says it.
    #[serde(deserialize_with = "tier", skip_serializing)]
    pub traffic_type: Tier,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The reply of `embedContent`, and of `batchEmbedContents`, which has the plural.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EmbedReply {
    /// The one vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Embedding>,
    /// The vectors of several texts, in the order of the texts.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub embeddings: Vec<Embedding>,
    /// What `predict` answers in their place.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub predictions: Vec<Prediction>,
    /// What was used; only newer models say.
    #[serde(default, deserialize_with = "usage", skip_serializing_if = "Option::is_none")]
    pub usage_metadata: Option<UsageReply>,
    /// A failure inside a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// One vector.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Embedding {
    /// Its numbers.
    #[serde(default, deserialize_with = "nullable")]
    pub values: Vec<f32>,
    /// What `predict` tells of its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Statistics>,
}

/// One answer of `predict`.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Prediction {
    /// The vector.
    #[serde(default)]
    pub embeddings: Embedding,
}

/// What `predict` tells of a text.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Statistics {
    /// Its tokens; some models write whole numbers with a point.
    #[serde(default, deserialize_with = "whole")]
    pub token_count: Option<u64>,
}

fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let number = Value::deserialize(deserializer)?;
    Ok(number.as_u64().or(number.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64)))
}

/// An error: `google.rpc.Status` as JSON.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ErrorBody {
    /// The HTTP status, repeated.
    pub code: Option<u16>,
    /// What the provider said.
    pub message: String,
    /// The cause by name, such as `RESOURCE_EXHAUSTED`.
    pub status: Option<String>,
    /// More about the cause, each with an `@type`.
    pub details: Vec<Value>,
}

impl ErrorBody {
    /// Reads a failed reply's body, which may be wrapped in a list; nothing if it is not JSON or holds no error.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<ErrorBody> {
        let mut whole: Value = json::from_slice(body).ok()?;
        if let Value::Array(items) = whole {
            whole = items.into_iter().next()?;
        }
        ErrorBody::from_value(whole.get_mut("error")?.take())
    }

    /// Reads the value of `error`.
    #[must_use]
    pub fn from_value(mut value: Value) -> Option<ErrorBody> {
        let details = match value.get_mut("details").map(Value::take) {
            Some(Value::Array(details)) => details,
            _ => Vec::new(),
        };
        let code = value.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(ErrorBody { code, message: text("message")?, status: text("status"), details })
    }

    /// Returns the details of one `google.rpc` type, such as `RetryInfo`.
    pub(crate) fn details(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.details.iter().filter(move |detail| {
            let name = detail.get("@type").and_then(Value::as_str).unwrap_or_default();
            name.rsplit('.').next() == Some(kind)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_error_is_found_in_a_list_too() {
        let error = json!({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}]}});
        let plain = ErrorBody::read(error.to_string().as_bytes()).unwrap();
        let wrapped = ErrorBody::read(json!([error]).to_string().as_bytes()).unwrap();
        assert_eq!(
            (plain.code, plain.message.as_str(), plain.status.as_deref()),
            (Some(503), "busy", Some("UNAVAILABLE"))
        );
        assert_eq!(plain.details("RetryInfo").count(), 1);
        assert_eq!(plain, wrapped);
        for none in ["", "[]", "<html>", "{}", r#"{"error":"text"}"#, r#"{"error":{"code":1}}"#, "[[]]", "null"] {
            assert_eq!(ErrorBody::read(none.as_bytes()), None, "{none}");
        }
    }
}
