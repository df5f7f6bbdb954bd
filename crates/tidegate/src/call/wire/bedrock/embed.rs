//! Embeddings on Bedrock: InvokeModel with a body of each vendor's own, because Converse has none.
//!
//! Which vendor is asked stands in the model's id: `amazon.titan-embed-…` or `cohere.embed-…`, with or without a profile in
//! front. Cohere tells what was used in a header.

use std::borrow::Cow;

use bytes::Bytes;
use http::response::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::headers;
use crate::call::status;
use crate::call::wire::body::to_bytes;
use crate::failure::{Failure, Kind};
use crate::json;
use crate::request::Params;
use crate::response::{Output, Response, Usage};

/// Where InvokeModel tells how many tokens it read.
pub(crate) const INPUT_TOKENS: &str = "x-amzn-bedrock-input-token-count";

/// Whose form a body has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vendor {
    Titan,
    Cohere,
}

impl Vendor {
    /// Returns the vendor of a model that makes embeddings.
    pub(crate) fn of(model: &str) -> Option<Vendor> {
        let is = |name: &str| model.contains(name);
        match (is("amazon.titan-embed"), is("cohere.embed")) {
            (true, _) => Some(Vendor::Titan),
            (_, true) => Some(Vendor::Cohere),
            _ => None,
        }
    }
}

/// Writes a request for the embedding of one text. Fields that the user gives win; `dimensions` is known to both.
pub(super) fn body(text: &str, params: &Params, model: &str) -> Result<Bytes, Failure> {
    let mut fields = params.extra.clone();
    headers::taken_out(&mut fields)?;
    // OpenAI's: what they ask for is what happens anyhow.
    for name in ["encoding_format", "user"] {
        fields.shift_remove(name);
    }
    let mut body = Map::new();
    match Vendor::of(model) {
        Some(Vendor::Titan) => drop(body.insert("inputText".to_owned(), text.into())),
        Some(Vendor::Cohere) => {
            body.insert("texts".to_owned(), json!([text]));
            body.insert("input_type".to_owned(), "search_document".into());
            if let Some(dimensions) = fields.shift_remove("dimensions") {
                body.insert("output_dimension".to_owned(), dimensions);
            }
        }
        None => return Err(Failure::new(Kind::Unsupported, format!("{model} is not known to make embeddings"))),
    }
    body.extend(fields);
    to_bytes(&body)
}

/// What Titan replies.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct TitanReply {
    pub(crate) embedding: Vec<f32>,
    pub(crate) input_text_token_count: Option<u64>,
}

/// What Cohere replies: vectors, or vectors by their type.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum CohereVectors {
    Plain(Vec<Vec<f32>>),
    ByType { float: Vec<Vec<f32>> },
}

#[derive(Debug, Deserialize)]
struct CohereReply {
    embeddings: Option<CohereVectors>,
}

/// A request of either vendor's, as far as a server must understand it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked<'a> {
    #[serde(borrow, rename = "inputText")]
    pub(crate) input_text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) texts: Vec<Cow<'a, str>>,
    pub(crate) input_type: Option<&'a str>,
    #[serde(alias = "output_dimension")]
    pub(crate) dimensions: Option<u32>,
}

/// Reads a reply.
pub(super) fn decode(head: &Parts, body: &Bytes) -> Result<Response, Failure> {
    let malformed = |error: serde_json::Error| {
        status::failure(head, Kind::Malformed, format!("the reply is no embedding: {error}"))
    };
    let reply: Value = json::from_slice(body).map_err(malformed)?;
    let (mut vectors, counted) = match reply.get("embeddings") {
        Some(_) => (cohere(reply).map_err(malformed)?, None),
        None => {
            let titan = TitanReply::deserialize(reply).map_err(malformed)?;
            (vec![titan.embedding], titan.input_text_token_count)
        }
    };
    let output = match &mut vectors[..] {
        [only] if !only.is_empty() => Output::Embedding(std::mem::take(only)),
        [_, _, ..] => Output::Json(json!(vectors)),
        _ => return Err(status::failure(head, Kind::Empty, "the reply has no embedding".to_owned())),
    };
    let told = || head.headers.get(INPUT_TOKENS)?.to_str().ok()?.parse().ok();
    let usage = counted.or_else(told).map(|input_tokens| Usage { input_tokens, ..Usage::default() });
    Ok(Response { output, usage, request_id: status::request_id(head), raw: body.clone(), ..Response::default() })
}

fn cohere(reply: Value) -> Result<Vec<Vec<f32>>, serde_json::Error> {
    let reply = CohereReply::deserialize(reply)?;
    Ok(match reply.embeddings {
        Some(CohereVectors::Plain(vectors) | CohereVectors::ByType { float: vectors }) => vectors,
        None => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITAN: &str = "amazon.titan-embed-text-v2:0";

    fn written(model: &str, params: &Params) -> Value {
        serde_json::from_slice(&body("tide", params, model).unwrap()).unwrap()
    }

    #[test]
    fn each_vendor_has_a_body_of_its_own() {
        let mut params = Params::default();
        assert_eq!(written(TITAN, &params), json!({"inputText": "tide"}));
        params.extra.insert("dimensions".to_owned(), 256.into());
        assert_eq!(written(TITAN, &params), json!({"inputText": "tide", "dimensions": 256}));
        let cohere = json!({"texts": ["tide"], "input_type": "search_document", "output_dimension": 256});
        assert_eq!(written("us.cohere.embed-v4:0", &params), cohere);
        params.extra.insert("input_type".to_owned(), "search_query".into());
        assert_eq!(written("cohere.embed-english-v3", &params)["input_type"], "search_query");
        assert_eq!(body("tide", &params, "amazon.nova-lite-v1:0").unwrap_err().kind, Kind::Unsupported);
    }

    #[test]
    fn replies_of_both_are_read() {
        let read = |body: &str, tokens: Option<&str>| {
            let mut head = http::Response::new(());
            if let Some(tokens) = tokens {
                head.headers_mut().insert(INPUT_TOKENS, tokens.parse().unwrap());
            }
            decode(&head.into_parts().0, &Bytes::copy_from_slice(body.as_bytes()))
        };
        let titan = read(r#"{"embedding":[0.5],"inputTextTokenCount":3}"#, None).unwrap();
        assert_eq!((titan.output, titan.usage.unwrap().input_tokens), (Output::Embedding(vec![0.5]), 3));
        for cohere in [r#"{"embeddings":[[0.5]]}"#, r#"{"embeddings":{"float":[[0.5]]},"id":"x"}"#] {
            let cohere = read(cohere, Some("7")).unwrap();
            assert_eq!((cohere.output, cohere.usage.unwrap().input_tokens), (Output::Embedding(vec![0.5]), 7));
        }
        assert_eq!(read(r#"{"embeddings":[[0.5],[1]]}"#, None).unwrap().output, Output::Json(json!([[0.5], [1.0]])));
        assert_eq!(read("{}", None).unwrap_err().kind, Kind::Empty);
        assert_eq!(read("[", None).unwrap_err().kind, Kind::Malformed);
    }
}
