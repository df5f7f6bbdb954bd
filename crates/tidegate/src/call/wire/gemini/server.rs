//! The server's side of Gemini's wire: reads requests, writes replies, streams and errors.
//!
//! The simulated provider speaks through this, and whatever serves this wire later.

mod tools;

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::tools::ToolConfig;
use super::types::{
    Candidate, ContentReply, EmbedReply, Embedding, FunctionCall, GenerateReply, PartReply, Prediction, Statistics,
    UsageReply,
};
use crate::call::wire::openai::server::{Answer, Texts};

/// A request for `generateContent`, as far as a server must understand it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GenerateRequest<'a> {
    #[serde(borrow, default)]
    pub(crate) contents: Vec<ContentAsked<'a>>,
    #[serde(borrow, default, alias = "system_instruction")]
    pub(crate) system_instruction: Option<ContentAsked<'a>>,
    #[serde(borrow, default, alias = "generation_config")]
    pub(crate) generation_config: Option<GenerationConfig<'a>>,
    #[serde(borrow, default)]
    pub(crate) tools: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "tool_config")]
    tool_config: Option<ToolConfig<'a>>,
    #[serde(borrow, default, alias = "cached_content")]
    pub(crate) cached_content: Option<Cow<'a, str>>,
}

/// One content of a request.
#[derive(Debug, Deserialize)]
pub(crate) struct ContentAsked<'a> {
    #[serde(borrow, default)]
    pub(crate) role: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) parts: Texts<'a>,
}

/// How the reply is to be made.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GenerationConfig<'a> {
    #[serde(default, alias = "max_output_tokens")]
    pub(crate) max_output_tokens: Option<u64>,
    #[serde(default, alias = "candidate_count")]
    pub(crate) candidate_count: Option<u32>,
    #[serde(borrow, default, alias = "response_mime_type")]
    pub(crate) response_mime_type: Option<Cow<'a, str>>,
    #[serde(borrow, default, alias = "response_json_schema")]
    pub(crate) response_json_schema: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "response_schema")]
    response_schema: Option<&'a RawValue>,
    #[serde(default, alias = "thinking_config")]
    thinking_config: Option<ThinkingConfig>,
}

/// How the model is to think, and whether it is to tell.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ThinkingConfig {
    #[serde(default, alias = "include_thoughts")]
    include_thoughts: bool,
    #[serde(default, alias = "thinking_budget")]
    thinking_budget: Option<i64>,
}

impl GenerationConfig<'_> {
    /// Returns whether the model is to think before it answers.
    pub(crate) fn thinks(&self) -> bool {
        self.thinking_config.as_ref().is_some_and(|thinking| thinking.thinking_budget != Some(0))
    }

    /// Returns whether it is to tell what it thought.
    pub(crate) fn tells_thoughts(&self) -> bool {
        self.thinks() && self.thinking_config.as_ref().is_some_and(|thinking| thinking.include_thoughts)
    }

    /// Returns the schema in OpenAPI's dialect as a JSON schema: its types are written in capitals.
    ///
    /// # Errors
    ///
    /// The schema is not JSON.
    pub(crate) fn openapi_schema(&self) -> Result<Option<Box<RawValue>>, serde_json::Error> {
        self.response_schema.map(json_schema).transpose()
    }
}

/// Writes a schema in OpenAPI's dialect as a JSON schema.
fn json_schema(openapi: &RawValue) -> Result<Box<RawValue>, serde_json::Error> {
    let mut schema: Value = serde_json::from_str(openapi.get())?;
    lower_types(&mut schema);
    serde_json::value::to_raw_value(&schema)
}

fn lower_types(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(kind)) = fields.get_mut("type") {
                *kind = kind.to_ascii_lowercase();
            }
            fields.values_mut().for_each(lower_types);
        }
        Value::Array(items) => items.iter_mut().for_each(lower_types),
        _ => {}
    }
}

/// A request for `embedContent`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EmbedRequest<'a> {
    #[serde(borrow)]
    pub(crate) content: ContentAsked<'a>,
    #[serde(default, alias = "output_dimensionality")]
    pub(crate) output_dimensionality: Option<u32>,
}

/// A request for `predict`.
#[derive(Debug, Deserialize)]
pub(crate) struct PredictRequest<'a> {
    #[serde(borrow)]
    pub(crate) instances: Vec<Instance<'a>>,
    #[serde(default)]
    pub(crate) parameters: Parameters,
}

/// A text to embed.
#[derive(Debug, Deserialize)]
pub(crate) struct Instance<'a> {
    #[serde(borrow)]
    pub(crate) content: Cow<'a, str>,
}

/// What holds for all texts.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Parameters {
    pub(crate) output_dimensionality: Option<u32>,
}

/// A request for `batchEmbedContents`.
#[derive(Debug, Deserialize)]
pub(crate) struct EmbedRequests<'a> {
    #[serde(borrow)]
    pub(crate) requests: Vec<EmbedRequest<'a>>,
}

/// A reply to be written: what all its forms share.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) id: &'a str,
    pub(crate) model: &'a str,
    /// What is told of the thoughts before each answer.
    pub(crate) thought: Option<&'a str>,
    pub(crate) answers: &'a [Answer],
    pub(crate) usage: UsageReply,
}

impl Reply<'_> {
    /// Writes the reply as one object.
    pub(crate) fn whole(&self) -> Bytes {
        let answers = self.answers.iter().zip(0..);
        let parts = |answer| self.thought.and_then(thought).into_iter().chain(part(answer));
        self.write(answers.map(|(answer, index)| candidate(index, parts(answer), Some(answer.finish))).collect())
    }

    /// Writes the object that carries the thoughts before an answer.
    pub(crate) fn thought(&self, index: u32, text: &str) -> Bytes {
        self.write(vec![candidate(index, thought(text), None)])
    }

    /// Writes the object that carries a piece of an answer's text.
    pub(crate) fn piece(&self, index: u32, text: &str) -> Bytes {
        self.write(vec![candidate(index, said(text), None)])
    }

    /// Writes the object that ends an answer and tells why; a call of a tool comes whole, with it.
    pub(crate) fn last(&self, index: u32, answer: &Answer) -> Bytes {
        let call = part(answer).filter(|_| answer.tool.is_some());
        self.write(vec![candidate(index, call, Some(answer.finish))])
    }

    fn write(&self, candidates: Vec<Candidate<'_>>) -> Bytes {
        json(&GenerateReply {
            candidates,
            usage_metadata: Some(self.usage),
            model_version: Some(self.model.into()),
            response_id: Some(self.id.into()),
            ..GenerateReply::default()
        })
    }
}

/// Returns what an answer is made of: a text, or a call whose arguments are the text.
fn part(answer: &Answer) -> Option<PartReply<'_>> {
    let Some(name) = &answer.tool else { return said(&answer.text) };
    let call = FunctionCall { id: None, name: name.into(), args: serde_json::from_str(&answer.text).ok() };
    Some(PartReply { function_call: Some(call), ..PartReply::default() })
}

fn said(text: &str) -> Option<PartReply<'_>> {
    (!text.is_empty()).then(|| PartReply { text: Some(text.into()), ..PartReply::default() })
}

fn thought(text: &str) -> Option<PartReply<'_>> {
    Some(PartReply { thought: true, ..said(text)? })
}

fn candidate<'a>(index: u32, parts: impl IntoIterator<Item = PartReply<'a>>, finish: Option<&str>) -> Candidate<'a> {
    let content = ContentReply { parts: parts.into_iter().collect(), role: Some("model".into()) };
    Candidate {
        content: Some(content),
        finish_reason: finish.map(|finish| reason(finish).into()),
        finish_message: None,
        index,
    }
}

fn reason(finish: &str) -> &'static str {
    match finish {
        "stop" | "tool_calls" => "STOP",
        "length" => "MAX_TOKENS",
        "content_filter" => "SAFETY",
        _ => "OTHER",
    }
}

/// Writes the reply of `embedContent`.
pub(crate) fn embedding(mut vectors: Vec<Vec<f32>>, usage: UsageReply) -> Bytes {
    let values = vectors.pop().unwrap_or_default();
    json(&EmbedReply {
        embedding: Some(Embedding { values, statistics: None }),
        usage_metadata: Some(usage),
        ..EmbedReply::default()
    })
}

/// Writes the reply of `predict`, which counts the tokens of each text.
pub(crate) fn predictions(vectors: Vec<Vec<f32>>, tokens: &[u64]) -> Bytes {
    let predictions = vectors.into_iter().zip(tokens).map(|(values, tokens)| {
        let statistics = Some(Statistics { token_count: Some(*tokens) });
        Prediction { embeddings: Embedding { values, statistics } }
    });
    json(&EmbedReply { predictions: predictions.collect(), ..EmbedReply::default() })
}

/// Writes the reply of `batchEmbedContents`.
pub(crate) fn embeddings(vectors: Vec<Vec<f32>>, usage: UsageReply) -> Bytes {
    let embeddings = vectors.into_iter().map(|values| Embedding { values, statistics: None }).collect();
    json(&EmbedReply { embeddings, usage_metadata: Some(usage), ..EmbedReply::default() })
}

/// Writes an error; its name follows from the HTTP status.
pub(crate) fn error(status: StatusCode, message: &str, details: &[Value]) -> Bytes {
    let mut error = json!({"code": status.as_u16(), "message": message, "status": status_name(status)});
    if !details.is_empty() {
        error["details"] = details.into();
    }
    json(&json!({"error": error}))
}

fn status_name(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        400..=498 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    }
}

/// Writes the detail that says how long to wait.
pub(crate) fn retry_info(seconds: f64) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")})
}

/// Writes the detail that names a quota and its value.
pub(crate) fn quota_failure(id: &str, metric: &str, value: f64) -> Value {
    let violation = json!({"quotaMetric": metric, "quotaId": id, "quotaValue": format!("{value:.0}")});
    json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]})
}

/// Writes the detail that names the reason of an error.
pub(crate) fn error_info(reason: &str) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"}})
}

/// Writes a value whose keys are all text: what cannot fail.
fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::wire::gemini::types::ErrorBody;

    #[test]
    fn a_request_is_read_in_both_spellings() {
        let body = r#"{"contents":[{"parts":[{"text":"a"},{"inlineData":{"data":""}}]}],"system_instruction":{"parts":[{"text":"s"}]},
            "generation_config":{"max_output_tokens":5,"responseSchema":{"type":"OBJECT","properties":{"type":{"type":"STRING"}}}},"new":1}"#;
        let request: GenerateRequest<'_> = serde_json::from_str(body).unwrap();
        assert_eq!(request.contents[0].parts.iter().collect::<Vec<_>>(), ["a", r#"{"inlineData":{"data":""}}"#]);
        assert_eq!(request.system_instruction.unwrap().parts.iter().collect::<Vec<_>>(), ["s"]);
        let config = request.generation_config.unwrap();
        assert_eq!(config.max_output_tokens, Some(5));
        let schema = config.openapi_schema().unwrap().unwrap();
        assert_eq!(schema.get(), r#"{"type":"object","properties":{"type":{"type":"string"}}}"#);
    }

    #[test]
    fn replies_have_the_documented_fields() {
        let answers = [Answer::of("hé".into(), "length")];
        let usage = UsageReply {
            prompt_token_count: 3,
            candidates_token_count: 1,
            total_token_count: 4,
            ..UsageReply::default()
        };
        let reply = Reply { id: "r1", model: "m", thought: None, answers: &answers, usage };
        let expected = json!({
            "candidates": [{"content": {"parts": [{"text": "hé"}], "role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4},
            "modelVersion": "m", "responseId": "r1"});
        assert_eq!(serde_json::from_slice::<Value>(&reply.whole()).unwrap(), expected);
        let piece: Value = serde_json::from_slice(&reply.piece(1, "h")).unwrap();
        assert_eq!(piece["candidates"], json!([{"content": {"parts": [{"text": "h"}], "role": "model"}, "index": 1}]));
        let vectors = vec![vec![0.5], vec![1.0]];
        let usage = UsageReply { prompt_token_count: 2, total_token_count: 2, ..UsageReply::default() };
        let told = r#""usageMetadata":{"promptTokenCount":2,"totalTokenCount":2}"#;
        let one = format!(r#"{{"embedding":{{"values":[0.5]}},{told}}}"#);
        assert_eq!(embedding(vectors[..1].to_vec(), usage), one);
        let two = format!(r#"{{"embeddings":[{{"values":[0.5]}},{{"values":[1.0]}}],{told}}}"#);
        assert_eq!(embeddings(vectors, usage), two);
    }

    #[test]
    fn errors_are_what_the_client_reads() {
        let details = [quota_failure("PerDay", "metric", 250.0), retry_info(2.5)];
        let error = ErrorBody::read(&error(StatusCode::TOO_MANY_REQUESTS, "no", &details)).unwrap();
        assert_eq!((error.code, error.status.as_deref()), (Some(429), Some("RESOURCE_EXHAUSTED")));
        assert_eq!(error.details("QuotaFailure").next().unwrap()["violations"][0]["quotaValue"], "250");
        assert_eq!(error.details("RetryInfo").next().unwrap()["retryDelay"], "2.5s");
    }
}
