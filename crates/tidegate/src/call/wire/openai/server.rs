//! The server's side of OpenAI's wire: reads requests, writes replies, streams and errors.
//!
//! The simulated provider speaks through this, and whatever serves this wire later. Requests are read into borrowed
//! structs without a tree in between; only the schema of a structured reply is kept as it came.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::types::{ChatChunk, ChatReply, Choice, ChunkChoice, DeltaReply, MessageReply, UsageReply};

/// A request for Chat Completions, as far as a server must understand it.
#[derive(Debug, Deserialize)]
pub(crate) struct ChatRequest<'a> {
    #[serde(borrow, default)]
    pub(crate) model: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) messages: Vec<MessageAsked<'a>>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
    #[serde(default)]
    n: Option<u32>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(borrow, default)]
    pub(crate) response_format: Option<ResponseFormat<'a>>,
    #[serde(borrow, default)]
    reasoning_effort: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
    #[serde(borrow, default)]
    tool_choice: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Tool<'a> {
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Debug, Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
}

/// A tool that must be called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ForcedTool<'r> {
    pub(crate) name: &'r str,
    pub(crate) parameters: Option<&'r RawValue>,
}

/// What a stream holds besides the text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// The form that the reply must have.
#[derive(Debug, Deserialize)]
pub(crate) struct ResponseFormat<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) json_schema: Option<JsonSchema<'a>>,
}

/// A schema with its name.
#[derive(Debug, Deserialize)]
pub(crate) struct JsonSchema<'a> {
    #[serde(borrow, default)]
    pub(crate) schema: Option<&'a RawValue>,
}

/// One message of a request.
#[derive(Debug, Deserialize)]
pub(crate) struct MessageAsked<'a> {
    #[serde(borrow, default)]
    pub(crate) role: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) content: Texts<'a>,
}

impl ChatRequest<'_> {
    /// Returns the most output tokens, by either name.
    pub(crate) fn max_tokens(&self) -> Option<u64> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// Returns whether the model is to think before it answers.
    pub(crate) fn thinks(&self) -> bool {
        self.reasoning_effort.as_ref().is_some_and(|effort| effort != "none")
    }

    /// Returns the tool that must be called, if one must.
    pub(crate) fn forced_tool(&self) -> Option<ForcedTool<'_>> {
        let (choice, tools) = (self.tool_choice?.get(), self.tools.as_ref()?);
        let Function { name, parameters } = match serde_json::from_str::<Tool<'_>>(choice) {
            Ok(wanted) => &tools.iter().find(|tool| tool.function.name == wanted.function.name)?.function,
            Err(_) if choice == "\"required\"" => &tools.first()?.function,
            Err(_) => return None,
        };
        Some(ForcedTool { name, parameters: *parameters })
    }

    /// Returns how many answers are asked for.
    pub(crate) fn choices(&self) -> u32 {
        self.n.unwrap_or(1)
    }

    /// Returns whether the reply is to be streamed.
    pub(crate) fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    /// Returns whether a stream ends with its usage.
    pub(crate) fn streams_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage == Some(true))
    }
}

/// A request for Embeddings.
#[derive(Debug, Deserialize)]
pub(crate) struct EmbeddingRequest<'a> {
    #[serde(borrow)]
    pub(crate) model: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) input: Texts<'a>,
    #[serde(default)]
    pub(crate) dimensions: Option<u32>,
    #[serde(borrow, default)]
    encoding_format: Option<Cow<'a, str>>,
}

impl EmbeddingRequest<'_> {
    /// Returns how the vectors are to be written; OpenAI's own SDK asks for base64.
    pub(crate) fn encoding(&self) -> Encoding {
        match self.encoding_format.as_deref() {
            Some("base64") => Encoding::Base64,
            _ => Encoding::Numbers,
        }
    }
}

/// How vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As a list of numbers.
    Numbers,
    /// As the base64 of little-endian 32-bit floats.
    Base64,
}

/// The texts of a message or of an embedding's input: one, several (content parts, a batch of inputs) or none.
///
/// A part that is no text (an image, a token number) is kept as its JSON, so that it still tells two prompts apart; a large
/// one as the hash of it, because an image is not as many tokens as it has bytes.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum Texts<'a> {
    #[default]
    None,
    One(Cow<'a, str>),
    Many(Vec<Cow<'a, str>>),
}

impl Texts<'_> {
    /// Returns the texts in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let (one, many): (Option<&str>, &[Cow<'_, str>]) = match self {
            Texts::None => (None, &[]),
            Texts::One(text) => (Some(text), &[]),
            Texts::Many(texts) => (None, texts),
        };
        one.into_iter().chain(many.iter().map(Cow::as_ref))
    }
}

impl Texts<'_> {
    /// Returns whether one of the texts contains that one.
    pub(crate) fn contain(&self, wanted: &str) -> bool {
        self.iter().any(|text| text.contains(wanted))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Texts<'a>, D::Error> {
        deserializer.deserialize_any(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list or null")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Texts<'de>, E> {
        Ok(Texts::One(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Texts<'de>, E> {
        Ok(Texts::One(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Texts<'de>, E> {
        Ok(Texts::None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts<'de>, A::Error> {
        let mut texts = Vec::new();
        while let Some(item) = list.next_element::<&'de RawValue>()? {
            texts.push(part_text(item));
        }
        Ok(Texts::Many(texts))
    }
}

/// Returns the text of a content part or of a plain string, and the JSON of anything else.
fn part_text(item: &RawValue) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(borrow)]
        text: Cow<'a, str>,
    }
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Plain<'a>(#[serde(borrow)] Cow<'a, str>);

    let json = item.get();
    let text = match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<Plain<'_>>(json).map(|plain| plain.0),
        _ => serde_json::from_str::<Part<'_>>(json).map(|part| part.text),
    };
    text.unwrap_or_else(|_| match json.len() > LARGE {
        true => Cow::Owned(format!("[part {:016x}]", xxhash_rust::xxh3::xxh3_64(json.as_bytes()))),
        false => Cow::Borrowed(json),
    })
}

/// More JSON than this is a file.
const LARGE: usize = 512;

/// A reply to be written: what all its forms share.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) id: &'a str,
    pub(crate) model: &'a str,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// What is thought before each answer.
    pub(crate) thought: Option<&'a str>,
    pub(crate) answers: &'a [Answer],
    pub(crate) usage: UsageReply,
}

/// One answer of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) finish: &'static str,
    /// The tool to call; the text is its arguments then.
    pub(crate) tool: Option<String>,
}

impl Answer {
    /// Makes an answer that is text.
    pub(crate) fn of(text: String, finish: &'static str) -> Answer {
        Answer { text, finish, tool: None }
    }
}

impl Reply<'_> {
    /// Writes the reply as one object.
    pub(crate) fn whole(&self) -> Bytes {
        let calls: Vec<_> = self.answers.iter().zip(0..).map(|(answer, index)| self.call(index, answer)).collect();
        let thought = self.thought.and_then(|thought| to_raw_value(thought).ok());
        let choices = self.answers.iter().zip(&calls).zip(0..).map(|((answer, call), index)| Choice {
            index,
            message: MessageReply {
                role: "assistant".into(),
                content: answer.tool.is_none().then(|| Cow::Borrowed(answer.text.as_str()).into()),
                refusal: None,
                tool_calls: call.iter().map(|call| &**call).collect(),
                reasoning_content: thought.as_deref(),
                reasoning: None,
                reasoning_details: None,
                function_call: None,
                audio: None,
                images: None,
            },
            finish_reason: Some(answer.finish.into()),
        });
        json(&ChatReply {
            id: Some(self.id.into()),
            object: Some("chat.completion".into()),
            created: Some(self.created),
            model: Some(self.model.into()),
            choices: choices.collect(),
            usage: Some(self.usage),
            x_groq: None,
            service_tier: Default::default(),
            error: None,
        })
    }

    /// Returns an answer's call of a tool, if it is one.
    fn call(&self, index: u32, answer: &Answer) -> Option<Box<RawValue>> {
        let function = json!({"name": answer.tool.as_ref()?, "arguments": answer.text});
        to_raw_value(&json!({"id": self.call_id(index), "type": "function", "function": function})).ok()
    }

    fn call_id(&self, index: u32) -> String {
        format!("{}_{index}", self.id.replacen("chatcmpl-", "call_", 1))
    }

    /// Writes the event that begins an answer.
    pub(crate) fn first_event(&self, index: u32, answer: &Answer) -> Bytes {
        let call = answer.tool.as_ref().map(|name| {
            let function = json!({"name": name, "arguments": ""});
            json!({"index": 0, "id": self.call_id(index), "type": "function", "function": function})
        });
        let content = answer.tool.is_none().then(|| "".into());
        let (role, tool_calls) = (Some("assistant".into()), call.into_iter().collect());
        let delta = DeltaReply { role, content, tool_calls, reasoning_content: self.thought.map(Cow::Borrowed) };
        self.event(vec![ChunkChoice { index, delta, finish_reason: None }], None)
    }

    /// Writes the event that carries a piece of an answer: of its text, or of its call's arguments.
    pub(crate) fn piece_event(&self, index: u32, answer: &Answer, piece: &str) -> Bytes {
        let delta = match &answer.tool {
            None => DeltaReply { content: Some(piece.into()), ..DeltaReply::default() },
            Some(_) => {
                let call = json!({"index": 0, "function": {"arguments": piece}});
                DeltaReply { tool_calls: vec![call], ..DeltaReply::default() }
            }
        };
        self.event(vec![ChunkChoice { index, delta, finish_reason: None }], None)
    }

    /// Writes the event that ends an answer.
    pub(crate) fn finish_event(&self, index: u32, finish: &str) -> Bytes {
        self.event(vec![ChunkChoice { index, delta: DeltaReply::default(), finish_reason: Some(finish.into()) }], None)
    }

    /// Writes the event that tells the usage, the last before the end.
    pub(crate) fn usage_event(&self) -> Bytes {
        self.event(Vec::new(), Some(self.usage))
    }

    fn event(&self, choices: Vec<ChunkChoice<'_>>, usage: Option<UsageReply>) -> Bytes {
        let chunk = ChatChunk {
            id: Some(self.id.into()),
            object: Some("chat.completion.chunk".into()),
            created: Some(self.created),
            model: Some(self.model.into()),
            choices,
            usage,
            error: None,
        };
        event(&json(&chunk))
    }
}

/// The event that ends every stream.
pub(crate) const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// Frames a stream's event.
pub(crate) fn event(data: &[u8]) -> Bytes {
    [b"data: ", data, b"\n\n"].concat().into()
}

/// Writes the reply of Embeddings.
pub(crate) fn embeddings(model: &str, vectors: &[Vec<f32>], encoding: Encoding, usage: UsageReply) -> Bytes {
    #[derive(Serialize)]
    struct List<'a> {
        object: &'static str,
        data: Vec<Entry<'a>>,
        model: &'a str,
        usage: UsageReply,
    }
    #[derive(Serialize)]
    struct Entry<'a> {
        object: &'static str,
        index: usize,
        embedding: Vector<'a>,
    }
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Vector<'a> {
        Numbers(&'a [f32]),
        Base64(String),
    }
    let data = vectors.iter().enumerate().map(|(index, vector)| Entry {
        object: "embedding",
        index,
        embedding: match encoding {
            Encoding::Numbers => Vector::Numbers(vector),
            Encoding::Base64 => Vector::Base64(base64(vector.iter().flat_map(|number| number.to_le_bytes()).collect())),
        },
    });
    json(&List { object: "list", data: data.collect(), model, usage })
}

/// Writes bytes in base64 with padding.
fn base64(bytes: Vec<u8>) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= group.len() { digit as char } else { '=' });
        }
    }
    text
}

/// Writes the list of models.
pub(crate) fn models<'a>(names: impl Iterator<Item = &'a str>) -> Bytes {
    #[derive(Serialize)]
    struct List<'a> {
        object: &'static str,
        data: Vec<Model<'a>>,
    }
    #[derive(Serialize)]
    struct Model<'a> {
        id: &'a str,
        object: &'static str,
        created: u64,
        owned_by: &'static str,
    }
    let data = names.map(|id| Model { id, object: "model", created: 0, owned_by: "tidegate" });
    json(&List { object: "list", data: data.collect() })
}

/// Writes an error: `kind` is its `type`, `code` may be absent.
pub(crate) fn error(message: &str, kind: &str, code: Option<&str>) -> Bytes {
    #[derive(Serialize)]
    struct Whole<'a> {
        error: Inner<'a>,
    }
    #[derive(Serialize)]
    struct Inner<'a> {
        message: &'a str,
        r#type: &'a str,
        param: Option<&'a str>,
        code: Option<&'a str>,
    }
    json(&Whole { error: Inner { message, r#type: kind, param: None, code } })
}

/// Writes a value whose keys are all text: what cannot fail.
fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_request_is_read_without_copying_its_texts() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"u"}}]},
            {"role":"assistant","content":null,"tool_calls":[]}],"max_tokens":5,"max_completion_tokens":null,"stream":true,"stream_options":{"include_usage":true},"new_field":[1]}"#;
        let request: ChatRequest<'_> = serde_json::from_str(body).unwrap();
        assert!(matches!(&request.messages[0].content, Texts::One(Cow::Borrowed("hi"))));
        let parts: Vec<_> = request.messages[1].content.iter().collect();
        assert_eq!(parts, ["a", r#"{"type":"image_url","image_url":{"url":"u"}}"#]);
        assert_eq!(request.messages[2].content, Texts::None);
        assert_eq!((request.max_tokens(), request.choices()), (Some(5), 1));
        assert!(request.streams() && request.streams_usage());
    }

    #[test]
    fn inputs_of_embeddings_come_in_every_form() {
        let texts = |input: Value| {
            let body = json!({"model": "m", "input": input}).to_string();
            let request: EmbeddingRequest<'_> = serde_json::from_str(&body).unwrap();
            request.input.iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(texts(json!("a\n")), ["a\n"]);
        assert_eq!(texts(json!(["a", "b\""])), ["a", "b\""]);
        assert_eq!(texts(json!([[1, 2], [3]])), ["[1,2]", "[3]"]);
    }

    #[test]
    fn base64_is_padded() {
        let written = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.into()));
        assert_eq!(written, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }

    #[test]
    fn what_is_written_is_what_the_client_reads() {
        let answers = [Answer::of("hé".into(), "stop")];
        let usage = UsageReply { prompt_tokens: 3, completion_tokens: 1, total_tokens: 4, ..UsageReply::default() };
        let body = Reply { id: "c1", model: "m", created: 5, thought: None, answers: &answers, usage }.whole();
        let read: ChatReply<'_> = serde_json::from_slice(&body).unwrap();
        assert_eq!(read.choices[0].message.content.as_ref().map(|said| &*said.text), Some("hé"));
        assert_eq!(read.usage.unwrap().total_tokens, 4);
        let body = error("no", "invalid_request_error", Some("invalid_api_key"));
        assert_eq!(super::super::types::ErrorBody::read(&body).unwrap().code.as_deref(), Some("invalid_api_key"));
    }
}
