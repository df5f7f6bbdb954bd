//! Embeddings: by `embedContent`, and by `predict` for the older models, which only Vertex AI has.

use bytes::Bytes;
use http::response::Parts;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::types::{EmbedReply, ErrorBody};
use super::write::Content;
use super::{bad, failed_inside, read, read_reply, to_bytes, unsupported, usage};
use crate::call::status;
use crate::failure::{Failure, Kind};
use crate::response::{Finish, Output, Response, Usage};

/// How the names of the older models begin.
const OLDER: [&str; 3] = ["text-embedding", "text-multilingual-embedding", "textembedding"];

/// Returns the method that makes a model's embeddings.
pub(super) fn verb(model: &str) -> &'static str {
    if is_older(model) { "predict" } else { "embedContent" }
}

fn is_older(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    OLDER.iter().any(|begins| name.starts_with(begins))
}

/// Writes a request for the embedding of one text.
pub(super) fn body(text: &str, extra: &Map<String, Value>, model: &str) -> Result<Bytes, Failure> {
    match is_older(model) {
        true => to_bytes(&predicted(text, extra)),
        false => to_bytes(&EmbedBody { text, extra }),
    }
}

/// Writes the body of `predict`: a text's kind and title stand beside it, the rest concerns all texts.
fn predicted(text: &str, extra: &Map<String, Value>) -> Value {
    let (mut instance, mut parameters) = (Map::from_iter([("content".to_owned(), text.into())]), Map::new());
    for (name, value) in extra.iter().filter_map(|(name, value)| field(name, value)) {
        match name.as_str() {
            "taskType" | "task_type" => instance.insert("task_type".to_owned(), value),
            "title" => instance.insert(name, value),
            _ => parameters.insert(name, value),
        };
    }
    let mut body = json!({"instances": [instance]});
    if !parameters.is_empty() {
        body["parameters"] = parameters.into();
    }
    body
}

/// A text to embed. The parameters that every provider has say nothing about a vector and are left out.
struct EmbedBody<'a> {
    text: &'a str,
    extra: &'a Map<String, Value>,
}

impl Serialize for EmbedBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("content", &Content::text(self.text))?;
        for (name, value) in self.extra.iter().filter_map(|(name, value)| field(name, value)) {
            map.serialize_entry(&name, &value)?;
        }
        map.end()
    }
}

/// Returns a parameter under Google's name. OpenAI's format of numbers is what is sent anyhow, and its user concerns nobody.
pub(super) fn field(name: &str, value: &Value) -> Option<(String, Value)> {
    let name = match name {
        "encoding_format" | "user" => return None,
        "dimensions" => "outputDimensionality",
        other => other,
    };
    Some((name.to_owned(), value.clone()))
}

/// Takes the text out of a body for `embedContent`.
pub(super) fn text(body: &mut Map<String, Value>) -> Result<String, Failure> {
    if let Some(length) = body.shift_remove("outputDimensionality") {
        body.insert("dimensions".to_owned(), length);
    }
    let mut content = body.shift_remove("content").unwrap_or_default();
    let mut parts = read::parts_of(&mut content).map_err(|error| bad(format!("content: {error}")))?;
    match (parts.pop().and_then(|mut part| part.get_mut("text").map(Value::take)), parts.is_empty()) {
        (Some(Value::String(text)), true) => Ok(text),
        _ => Err(unsupported("only a single text can be embedded by another format")),
    }
}

/// Reads a reply of either.
pub(super) fn decode(head: &Parts, body: &Bytes) -> Result<Response, Failure> {
    let reply: EmbedReply = read_reply(head, body)?;
    if let Some(error) = reply.error.and_then(ErrorBody::from_value) {
        return Err(failed_inside(head, &error));
    }
    let counted = reply.predictions.iter().filter_map(|one| one.embeddings.statistics.as_ref()?.token_count);
    let counted = counted.reduce(u64::saturating_add).map(|input_tokens| Usage { input_tokens, ..Usage::default() });
    let predicted = reply.predictions.into_iter().map(|one| one.embeddings);
    let all = reply.embedding.into_iter().chain(reply.embeddings).chain(predicted);
    let mut vectors: Vec<Vec<f32>> = all.map(|one| one.values).collect();
    let output = match &mut vectors[..] {
        [only] if !only.is_empty() => Output::Embedding(std::mem::take(only)),
        [_, _, ..] => Output::Json(json!(vectors)),
        _ => return Err(status::failure(head, Kind::Empty, "the reply has no embedding".to_owned())),
    };
    Ok(Response {
        output,
        finish: Finish::None,
        usage: reply.usage_metadata.map(usage).or(counted),
        model: String::new(),
        request_id: status::request_id(head),
        raw: body.clone(),
        ..Response::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::provider::Quirks;
    use crate::call::wire::Wire;
    use crate::call::wire::gemini::Gemini;
    use crate::request::{Request, TaskKind};

    #[test]
    fn older_models_predict() {
        let request = Request::embed("high tide").param("dimensions", 8).param("taskType", "CLUSTERING");
        let request = request.param("encoding_format", "float");
        let body = |model| -> Value {
            serde_json::from_slice(&Gemini.encode(&request, model, &Quirks::COMMON).unwrap()).unwrap()
        };
        let older = json!({"instances": [{"content": "high tide", "task_type": "CLUSTERING"}],
            "parameters": {"outputDimensionality": 8}});
        assert_eq!(body("text-embedding-005"), older);
        let newer =
            json!({"content": {"parts": [{"text": "high tide"}]}, "outputDimensionality": 8, "taskType": "CLUSTERING"});
        assert_eq!(body("gemini-embedding-001"), newer);
        let path = |model| Gemini.path(TaskKind::Embed, model).unwrap();
        assert!(path("text-multilingual-embedding-002").ends_with("002:predict"));
        assert!(path("gemini-embedding-001").ends_with("001:embedContent"));
    }

    #[test]
    fn predictions_tell_their_tokens() {
        let head = http::Response::new(()).into_parts().0;
        let one = json!({"embeddings": {"values": [0.5, -0.5], "statistics": {"token_count": 3, "truncated": false}}});
        let reply = json!({"predictions": [one], "metadata": {"billableCharacterCount": 9}});
        let response = decode(&head, &reply.to_string().into()).unwrap();
        assert_eq!(response.output, Output::Embedding(vec![0.5, -0.5]));
        assert_eq!(response.usage.unwrap().input_tokens, 3);
    }
}
