//! The server's side of Anthropic's wire: reads requests, writes replies, streams and errors.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::types::{Block, MessageReply, OutputDetails, UsageReply};
use crate::call::wire::openai::server::{MessageAsked, Texts};

/// A request for Messages, as far as a server must understand it.
#[derive(Debug, Deserialize)]
pub(crate) struct MessagesRequest<'a> {
    #[serde(borrow, default)]
    pub(crate) model: Cow<'a, str>,
    #[serde(default)]
    pub(crate) max_tokens: Option<u64>,
    #[serde(borrow, default)]
    system: Texts<'a>,
    #[serde(borrow)]
    pub(crate) messages: Vec<MessageAsked<'a>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
    #[serde(borrow, default)]
    tool_choice: Option<ToolChoice<'a>>,
    #[serde(borrow, default)]
    output_config: Option<OutputConfig<'a>>,
    /// Where the version stands in the body, as on Bedrock.
    #[serde(borrow, default)]
    pub(crate) anthropic_version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    thinking: Option<Thinking<'a>>,
}

#[derive(Debug, Deserialize)]
struct Thinking<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

/// A tool that the model may call.
#[derive(Debug, Deserialize)]
pub(crate) struct Tool<'a> {
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) input_schema: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct ToolChoice<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
struct OutputConfig<'a> {
    #[serde(borrow, default)]
    format: Option<Format<'a>>,
}

#[derive(Debug, Deserialize)]
struct Format<'a> {
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
}

impl<'a> MessagesRequest<'a> {
    /// Says whether the reply is to be streamed, where the path decides it.
    pub(crate) fn set_streams(&mut self, streams: bool) {
        self.stream = Some(streams);
    }

    /// Returns whether the reply is to be streamed.
    pub(crate) fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    /// Returns whether the model is to think before it answers.
    pub(crate) fn thinks(&self) -> bool {
        self.thinking.as_ref().is_some_and(|thinking| thinking.kind != "disabled")
    }

    /// Returns the schema of the answer, if it must have one.
    pub(crate) fn schema(&self) -> Option<&'a RawValue> {
        self.output_config.as_ref()?.format.as_ref()?.schema
    }

    /// Returns the tool that must be called, if one must.
    pub(crate) fn forced_tool(&self) -> Option<&Tool<'a>> {
        let (choice, tools) = (self.tool_choice.as_ref()?, self.tools.as_ref()?);
        match &*choice.kind {
            "any" => tools.first(),
            "tool" => tools.iter().find(|tool| Some(&tool.name) == choice.name.as_ref()),
            _ => None,
        }
    }

    /// Puts the system prompt in front of the messages, as formats have it that make it one of them.
    pub(crate) fn fold_system(&mut self) {
        let content = std::mem::take(&mut self.system);
        if content != Texts::None {
            self.messages.insert(0, MessageAsked { role: "system".into(), content });
        }
    }
}

/// A reply to be written.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) id: &'a str,
    pub(crate) model: &'a str,
    /// What the model thought before.
    pub(crate) thought: Option<&'a str>,
    pub(crate) said: Option<Said<'a>>,
    pub(crate) stop_reason: &'static str,
    /// All of the input, whatever a cache has to do with it.
    pub(crate) input_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) cache_write_tokens: u64,
    pub(crate) output_tokens: u64,
}

/// What the model says or wants done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Said<'a> {
    Text(&'a str),
    /// A tool's name and the JSON that it is to be called with.
    ToolUse(&'a str, &'a RawValue),
}

impl Said<'_> {
    fn block<'b>(&'b self, id: &'b str) -> Block<'b> {
        match self {
            Said::Text(text) => Block { kind: "text".into(), text: Some((*text).into()), ..Block::default() },
            Said::ToolUse(name, input) => Block {
                kind: "tool_use".into(),
                id: Some(id.into()),
                name: Some((*name).into()),
                input: Some(input),
                ..Block::default()
            },
        }
    }
}

impl Reply<'_> {
    /// Writes the reply as one object.
    pub(crate) fn whole(&self) -> Bytes {
        let tool = self.tool_id();
        let signature = self.signature();
        let thought = self.thought.map(|thought| Block {
            kind: "thinking".into(),
            thinking: Some(thought.into()),
            signature: Some(signature.as_str().into()),
            ..Block::default()
        });
        let content = thought.into_iter().chain(self.said.iter().map(|said| said.block(&tool))).collect();
        json(&self.message(content, Some(self.stop_reason), self.output_tokens))
    }

    /// Writes the events that begin a stream: the message without what it says.
    pub(crate) fn first_events(&self) -> Bytes {
        let message = self.message(Vec::new(), None, 1);
        let start = event("message_start", &json!({"type": "message_start", "message": message}));
        let start = [start, self.thought.map(|thought| self.thought_events(thought)).unwrap_or_default()].concat();
        let block = match self.said {
            None => return start.into(),
            Some(Said::Text(_)) => json!({"type": "text", "text": ""}),
            Some(Said::ToolUse(name, _)) => {
                json!({"type": "tool_use", "id": self.tool_id(), "name": name, "input": {}})
            }
        };
        let block = json!({"type": "content_block_start", "index": self.index(), "content_block": block});
        let block = event("content_block_start", &block);
        [&start[..], &block, &event("ping", &json!({"type": "ping"}))].concat().into()
    }

    fn thought_events(&self, thought: &str) -> Bytes {
        let block = json!({"type": "thinking", "thinking": "", "signature": ""});
        let delta = |delta: Value| {
            event("content_block_delta", &json!({"type": "content_block_delta", "index": 0, "delta": delta}))
        };
        [
            event("content_block_start", &json!({"type": "content_block_start", "index": 0, "content_block": block})),
            delta(json!({"type": "thinking_delta", "thinking": thought})),
            delta(json!({"type": "signature_delta", "signature": self.signature()})),
            event("content_block_stop", &json!({"type": "content_block_stop", "index": 0})),
        ]
        .concat()
        .into()
    }

    /// Returns the place of the block that says something.
    fn index(&self) -> u32 {
        u32::from(self.thought.is_some())
    }

    /// Writes the event that carries a piece of what is said: of the text, or of the tool's JSON.
    pub(crate) fn delta_event(&self, piece: &str) -> Bytes {
        let delta = match self.said {
            Some(Said::ToolUse(..)) => json!({"type": "input_json_delta", "partial_json": piece}),
            _ => json!({"type": "text_delta", "text": piece}),
        };
        event("content_block_delta", &json!({"type": "content_block_delta", "index": self.index(), "delta": delta}))
    }

    /// Writes the events that end a stream.
    pub(crate) fn last_events(&self) -> Bytes {
        let stop = json!({"type": "content_block_stop", "index": self.index()});
        let stop = self.said.map(|_| event("content_block_stop", &stop));
        let delta = json!({"stop_reason": self.stop_reason, "stop_sequence": null});
        let usage = self.usage(self.output_tokens);
        let delta = event("message_delta", &json!({"type": "message_delta", "delta": delta, "usage": usage}));
        [stop.unwrap_or_default(), delta, event("message_stop", &json!({"type": "message_stop"}))].concat().into()
    }

    fn message<'b>(&'b self, content: Vec<Block<'b>>, stop: Option<&'b str>, output_tokens: u64) -> MessageReply<'b> {
        MessageReply {
            id: self.id.into(),
            kind: "message".into(),
            role: "assistant".into(),
            model: self.model.into(),
            content: Some(content),
            stop_reason: stop.map(Cow::from),
            usage: Some(self.usage(output_tokens)),
            ..MessageReply::default()
        }
    }

    fn usage(&self, output_tokens: u64) -> UsageReply {
        UsageReply {
            input_tokens: Some(self.input_tokens.saturating_sub(self.cached_tokens + self.cache_write_tokens)),
            cache_creation_input_tokens: Some(self.cache_write_tokens),
            cache_read_input_tokens: Some(self.cached_tokens),
            output_tokens: Some(output_tokens),
            output_tokens_details: self
                .thought
                .map(|thought| OutputDetails { thinking_tokens: Some(thought.len().div_ceil(4) as u64) }),
            ..UsageReply::default()
        }
    }

    fn signature(&self) -> String {
        self.id.replacen("msg_", "sig_", 1)
    }

    /// There is at most one tool call in a reply, so it can share the reply's id.
    fn tool_id(&self) -> String {
        self.id.replacen("msg_", "toolu_", 1)
    }
}

/// Frames a stream's event.
fn event(name: &str, data: &Value) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// Writes an error; its type follows from the status.
pub(crate) fn error(status: StatusCode, message: &str, request_id: &str) -> Bytes {
    #[derive(Serialize)]
    struct Whole<'a> {
        r#type: &'a str,
        error: Inner<'a>,
        request_id: &'a str,
    }
    #[derive(Serialize)]
    struct Inner<'a> {
        r#type: &'a str,
        message: &'a str,
    }
    json(&Whole { r#type: "error", error: Inner { r#type: error_type(status), message }, request_id })
}

fn error_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// Writes a value whose keys are all text: what cannot fail.
fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
