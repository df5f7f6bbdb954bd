//! The JSON of OpenAI's wire, for both directions: what a client reads is what a server writes.
//!
//! Only what some code looks at has a field. Strings are borrowed from the body where they need no unescaping.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, value::RawValue};

use crate::json;
use crate::money::Money;
use crate::response::{Tier, Usage};

/// The reply of Chat Completions. Fields that no client needs are only written: to read them costs time with every reply.
#[derive(Debug, Deserialize, Serialize)]
pub struct ChatReply<'a> {
    /// The reply's id.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    /// Always `chat.completion`.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub object: Option<Cow<'a, str>>,
    /// When it was made, in seconds since 1970.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub created: Option<u64>,
    /// The model that answered.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub model: Option<Cow<'a, str>>,
    /// The answers, one unless `n` asked for more.
    #[serde(borrow, default)]
    pub choices: Vec<Choice<'a>>,
    /// What was used.
    #[serde(default, deserialize_with = "usage", skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageReply>,
    /// Where Groq also tells it, at the end of streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x_groq: Option<GroqReply>,
    /// The tier that served it.
    #[serde(default, deserialize_with = "tier", skip_serializing)]
    pub service_tier: Tier,
    /// A failure inside a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// One answer.
#[derive(Debug, Deserialize, Serialize)]
pub struct Choice<'a> {
    /// Its place among the answers.
    #[serde(skip_deserializing)]
    pub index: u32,
    /// What the model said.
    #[serde(borrow)]
    pub message: MessageReply<'a>,
    /// Why it stopped.
    #[serde(borrow, default, deserialize_with = "text")]
    pub finish_reason: Option<Cow<'a, str>>,
}

/// What the model said.
#[derive(Debug, Deserialize, Serialize)]
pub struct MessageReply<'a> {
    /// Always `assistant`.
    #[serde(skip_deserializing, default = "assistant")]
    pub role: Cow<'a, str>,
    /// The text; Mistral's models that think send a list of parts.
    #[serde(borrow, default, deserialize_with = "content")]
    pub content: Option<Content<'a>>,
    /// The model's refusal, instead of a text.
    #[serde(borrow, default, deserialize_with = "text")]
    pub refusal: Option<Cow<'a, str>>,
    /// The tools it wants called, kept as they came.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub tool_calls: Vec<&'a RawValue>,
    /// The call of OpenAI's older form, before there were tools.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub function_call: Option<&'a RawValue>,
    /// Sound that it speaks, where it was asked to.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<&'a RawValue>,
    /// Images that it made; so OpenRouter.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub images: Option<&'a RawValue>,
    /// What the model thought; so DeepSeek, Kimi and older vLLM.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<&'a RawValue>,
    /// The same; so Groq, OpenRouter, Ollama and vLLM.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<&'a RawValue>,
    /// The same with what proves it, which only OpenRouter has.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reasoning_details: Option<&'a RawValue>,
}

/// What is said, and what Mistral's models say that they thought before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content<'a> {
    /// The text, of all parts.
    pub text: Cow<'a, str>,
    /// The thoughts of all parts.
    pub thinking: String,
}

impl<'a> From<Cow<'a, str>> for Content<'a> {
    fn from(text: Cow<'a, str>) -> Content<'a> {
        Content { text, thinking: String::new() }
    }
}

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

fn assistant() -> Cow<'static, str> {
    Cow::Borrowed("assistant")
}

/// Text that is borrowed where it has no escapes; without a struct of its own around it serde copies it.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads a text that may be absent.
pub(crate) fn text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    Ok(Option::<Text<'a>>::deserialize(deserializer)?.map(|Text(text)| text))
}

/// Reads a text that may be absent, or in parts.
fn content<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Content<'a>>, D::Error> {
    deserializer.deserialize_any(TextOrParts)
}

struct TextOrParts;

impl<'de> Visitor<'de> for TextOrParts {
    type Value = Option<Content<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of parts")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Content::from(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Content::from(Cow::Owned(text.to_owned()))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
        let (mut text, mut thinking) = (String::new(), String::new());
        while let Some(part) = parts.next_element::<Value>()? {
            text.push_str(text_of(&part));
            thoughts_of(&part).for_each(|thought| thinking.push_str(thought));
        }
        Ok(Some(Content { text: text.into(), thinking }))
    }
}

/// Returns the text of a part, which it may not have.
pub(super) fn text_of(part: &Value) -> &str {
    part.get("text").and_then(Value::as_str).unwrap_or_default()
}

/// Yields the texts of a part in which Mistral's model thinks.
pub(super) fn thoughts_of(part: &Value) -> impl Iterator<Item = &str> {
    part.get("thinking").and_then(Value::as_array).into_iter().flatten().map(text_of)
}

/// Servers write an absent list as null as often as they leave it out.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads what was used, where it is told in the usual form. An answer is good, and paid for, whatever is said of its tokens:
/// a count that nobody understands is unknown, and so is one of nothing at all.
pub(crate) fn usage<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Default + PartialEq + Deserialize<'de>,
{
    let told = Option::<&RawValue>::deserialize(deserializer)?;
    let usage = told.and_then(|told| serde_json::from_str(told.get()).ok());
    Ok(usage.filter(|usage| *usage != T::default()))
}

/// Reads the name of a tier of service, which may be absent.
pub(crate) fn tier<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tier, D::Error> {
    let name = Value::deserialize(deserializer)?;
    Ok(Tier::named(name.as_str().unwrap_or_default()))
}

/// Reads a number where others write something else under that name.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_f64())
}

/// Tokens used, in this wire's own convention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct UsageReply {
    /// All input tokens, cached ones included.
    pub prompt_tokens: u64,
    /// All output tokens, reasoning included but at xAI; none for embeddings.
    #[serde(deserialize_with = "nullable")]
    pub completion_tokens: u64,
    /// Both together, and xAI's reasoning.
    #[serde(deserialize_with = "nullable")]
    pub total_tokens: u64,
    /// Parts of the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Option<InputDetails>,
    /// Parts of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_tokens_details: Option<OutputDetails>,
    /// DeepSeek's name for cached input tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_cache_hit_tokens: Option<u64>,
    /// OpenRouter's charge in US dollars; its own fee alone, if the call was made with a key of the user's.
    #[serde(deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Whether it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_byok: Option<bool>,
    /// Parts of the charge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_details: Option<CostDetails>,
}

impl UsageReply {
    /// Returns what was charged, where it is told as OpenRouter does. Others mean something else by a bare `cost`.
    fn charged(&self) -> Option<Money> {
        let upstream = self.cost_details.and_then(|details| details.upstream_inference_cost);
        // Before `is_byok` came, only calls with the user's own key told what their provider charges.
        let own_key = self.is_byok.or(self.cost_details.map(|_| upstream.is_some()))?;
        Some(Money::from_usd(self.cost? + upstream.filter(|_| own_key).unwrap_or(0.0)))
    }

    /// Returns the same in our convention.
    pub(in crate::call::wire) fn usage(self, tier: Tier) -> Usage {
        let (input, output) =
            (self.prompt_tokens_details.unwrap_or_default(), self.completion_tokens_details.unwrap_or_default());
        let reasoning = output.reasoning_tokens.unwrap_or(0);
        // xAI counts reasoning beside the output, everybody else within it; only the total tells.
        let apart = self.total_tokens.checked_sub(self.prompt_tokens.saturating_add(self.completion_tokens));
        let beside = apart.filter(|apart| *apart == reasoning).unwrap_or(0);
        Usage {
            input_tokens: self.prompt_tokens,
            output_tokens: self.completion_tokens.saturating_add(beside),
            cached_tokens: input.cached_tokens.or(self.prompt_cache_hit_tokens).unwrap_or(0),
            reasoning_tokens: reasoning,
            cache_write_tokens: input.cache_write_tokens.unwrap_or(0),
            tier,
            charged: self.charged(),
            ..Usage::default()
        }
    }
}

/// Parts of OpenRouter's charge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct CostDetails {
    /// What the model's provider charges, in US dollars.
    #[serde(deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    pub upstream_inference_cost: Option<f64>,
}

/// What only Groq says.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct GroqReply {
    /// What was used.
    #[serde(deserialize_with = "usage", skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageReply>,
}

/// Parts of the input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct InputDetails {
    /// Read from the provider's cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Written to the provider's cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
}

/// Parts of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct OutputDetails {
    /// Spent on reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
}

/// One event of a streamed reply of Chat Completions.
#[derive(Debug, Deserialize, Serialize)]
pub struct ChatChunk<'a> {
    /// The reply's id, the same in all its events.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    /// Always `chat.completion.chunk`.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub object: Option<Cow<'a, str>>,
    /// When the reply began, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<u64>,
    /// The model that answers.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub model: Option<Cow<'a, str>>,
    /// What is new; none in the event that tells the usage.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub choices: Vec<ChunkChoice<'a>>,
    /// What was used, in the last event where it was asked for.
    #[serde(default, deserialize_with = "usage", skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageReply>,
    /// A failure in the middle of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// What is new in one answer of a stream.
#[derive(Debug, Deserialize, Serialize)]
pub struct ChunkChoice<'a> {
    /// The answer's place among the answers.
    #[serde(default)]
    pub index: u32,
    /// The new piece.
    #[serde(borrow, default)]
    pub delta: DeltaReply<'a>,
    /// Why the answer ended, in its last event.
    #[serde(borrow, default, deserialize_with = "text")]
    pub finish_reason: Option<Cow<'a, str>>,
}

/// A piece of an answer.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct DeltaReply<'a> {
    /// Always `assistant`, in the first piece.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub role: Option<Cow<'a, str>>,
    /// More text.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub content: Option<Cow<'a, str>>,
    /// More of what the model thinks.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<Cow<'a, str>>,
    /// More of the tools that it wants called.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub tool_calls: Vec<Value>,
}

/// The reply of Embeddings.
#[derive(Debug, Deserialize, Serialize)]
pub struct EmbeddingReply<'a> {
    /// Always `list`.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub object: Option<Cow<'a, str>>,
    /// The vectors.
    #[serde(default)]
    pub data: Vec<EmbeddingEntry>,
    /// The model that answered.
    #[serde(borrow, default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub model: Option<Cow<'a, str>>,
    /// What was used.
    #[serde(default, deserialize_with = "usage", skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageReply>,
    /// A failure inside a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// One vector.
#[derive(Debug, Deserialize, Serialize)]
pub struct EmbeddingEntry {
    /// The place of its text in the request.
    #[serde(default)]
    pub index: u32,
    /// The vector.
    #[serde(deserialize_with = "vector")]
    pub embedding: Vec<f32>,
}

/// Reads a vector in either of the forms that can be asked for: numbers, or the base64 of little-endian 32-bit floats.
fn vector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    deserializer.deserialize_any(NumbersOrBase64)
}

struct NumbersOrBase64;

impl<'de> Visitor<'de> for NumbersOrBase64 {
    type Value = Vec<f32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numbers or base64 of 32-bit floats")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Vec<f32>, A::Error> {
        let mut vector = Vec::with_capacity(numbers.size_hint().unwrap_or(0));
        while let Some(number) = numbers.next_element()? {
            vector.push(number);
        }
        Ok(vector)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<f32>, E> {
        let bytes = STANDARD.decode(text).ok().filter(|bytes| bytes.len() % 4 == 0);
        let bytes = bytes.ok_or_else(|| E::invalid_value(Unexpected::Other("another text"), &self))?;
        Ok(bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
    }
}

/// An error, in whichever of the shapes that servers of this wire use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorBody {
    /// What the provider said.
    pub message: String,
    /// `error.type`.
    pub kind: Option<String>,
    /// `error.code`, a number as its digits.
    pub code: Option<String>,
    /// What OpenRouter tells of its cause: which limit, or `moderation`.
    pub reason: Option<String>,
}

impl ErrorBody {
    /// Reads a failed reply's body; nothing if it is not JSON or holds no error.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<ErrorBody> {
        let Ok(Value::Object(mut whole)) = json::from_slice(body) else { return None };
        match whole.remove("error") {
            Some(error) => ErrorBody::from_value(error),
            None => ErrorBody::from_value(Value::Object(whole)),
        }
    }

    /// Reads the value of `error`: an object, or plain text.
    #[must_use]
    pub fn from_value(value: Value) -> Option<ErrorBody> {
        match value {
            Value::String(message) => Some(ErrorBody { message, kind: None, code: None, reason: None }),
            Value::Object(fields) => {
                let text = |name: &str| match fields.get(name) {
                    Some(Value::String(text)) => Some(text.clone()),
                    Some(Value::Number(number)) => Some(number.to_string()),
                    _ => None,
                };
                let detail = || fields.get("detail").or(fields.get("message")).map(Value::to_string);
                let message = text("message").or_else(|| text("detail")).or_else(detail)?;
                let reason = fields.get("metadata").and_then(reason);
                Some(ErrorBody { message, kind: text("type"), code: text("code"), reason })
            }
            _ => None,
        }
    }

    /// Returns `error.code` where it is a number, as OpenRouter and vLLM write it.
    #[must_use]
    pub fn code_number(&self) -> Option<u16> {
        self.code.as_deref()?.parse().ok()
    }
}

/// Reads what OpenRouter's `error.metadata` tells of the cause.
fn reason(metadata: &Value) -> Option<String> {
    let limit = metadata.get("limit_source").and_then(Value::as_str).map(str::to_owned);
    let flagged = || metadata.get("flagged_input").or(metadata.get("reasons")).map(|_| "moderation".to_owned());
    limit.or_else(flagged)
}
