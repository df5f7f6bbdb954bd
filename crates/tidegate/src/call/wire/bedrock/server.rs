//! The server's side of Bedrock's wire: reads requests, writes replies and errors.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::types::{Block, ConverseReply, MessageReply, Metrics, OutputReply, ToolUse, UsageReply};
use crate::call::eventstream;
use crate::call::wire::openai::server::{MessageAsked, Texts};
use crate::json;

/// A request for Converse, as far as a server must understand it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConverseRequest<'a> {
    #[serde(borrow, default)]
    pub(crate) messages: Vec<MessageAsked<'a>>,
    #[serde(borrow, default)]
    system: Texts<'a>,
    #[serde(default)]
    pub(crate) inference_config: InferenceConfig,
    #[serde(borrow, default)]
    tool_config: Option<ToolConfig<'a>>,
    #[serde(borrow, default)]
    output_config: Option<OutputConfig<'a>>,
    #[serde(default)]
    additional_model_request_fields: Option<Value>,
}

/// How the reply is to be made.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct InferenceConfig {
    pub(crate) max_tokens: Option<i64>,
    pub(crate) temperature: Option<f64>,
    pub(crate) top_p: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig<'a> {
    #[serde(borrow, default)]
    tools: Vec<Tool<'a>>,
    #[serde(default)]
    tool_choice: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    #[serde(borrow, default)]
    tool_spec: Option<ToolSpec<'a>>,
}

/// A tool that the model may call.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToolSpec<'a> {
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) input_schema: InputSchema<'a>,
}

/// What a tool is to be called with.
#[derive(Debug, Deserialize)]
pub(crate) struct InputSchema<'a> {
    #[serde(borrow)]
    pub(crate) json: &'a RawValue,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OutputConfig<'a> {
    #[serde(borrow, default)]
    text_format: Option<TextFormat<'a>>,
}

#[derive(Debug, Deserialize)]
struct TextFormat<'a> {
    #[serde(borrow)]
    structure: Structure<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Structure<'a> {
    #[serde(borrow)]
    json_schema: JsonSchema<'a>,
}

#[derive(Debug, Deserialize)]
struct JsonSchema<'a> {
    #[serde(borrow)]
    schema: Cow<'a, str>,
}

impl<'a> ConverseRequest<'a> {
    /// Returns the schema of the answer as it travels, as text, if it must have one.
    pub(crate) fn schema(&self) -> Option<&str> {
        let format = self.output_config.as_ref()?.text_format.as_ref()?;
        Some(&format.structure.json_schema.schema)
    }

    /// Returns whether the model is to think before it answers, as one of the vendors has it.
    pub(crate) fn thinks(&self) -> bool {
        let Some(fields) = &self.additional_model_request_fields else { return false };
        let asked = ["/thinking/type", "/reasoningConfig/type", "/reasoning_config/type", "/reasoning_effort"];
        let asked = asked.iter().filter_map(|field| fields.pointer(field)?.as_str());
        asked.into_iter().any(|how| !matches!(how, "disabled" | "none"))
    }

    /// Returns the tool that must be called, if one must.
    pub(crate) fn forced_tool(&self) -> Option<&ToolSpec<'a>> {
        let config = self.tool_config.as_ref()?;
        let choice = config.tool_choice.as_ref()?;
        let mut tools = config.tools.iter().filter_map(|tool| tool.tool_spec.as_ref());
        match choice.pointer("/tool/name").and_then(Value::as_str) {
            Some(name) => tools.find(|tool| tool.name == name),
            None => tools.next().filter(|_| choice.get("any").is_some()),
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

/// What proves a thought to be the model's own.
const SIGNATURE: &str = "c2lt";

/// A reply to be written.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    /// What the model thought before.
    pub(crate) thought: Option<&'a str>,
    pub(crate) said: Option<Said<'a>>,
    pub(crate) stop_reason: &'static str,
    pub(crate) usage: UsageReply,
}

/// What the model says or wants done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Said<'a> {
    Text(&'a str),
    ToolUse {
        id: &'a str,
        name: &'a str,
        /// The JSON that it is to be called with.
        input: &'a RawValue,
    },
}

impl Reply<'_> {
    /// Writes the reply as one object.
    pub(crate) fn whole(&self) -> Bytes {
        let told = |text: &str| json!({"reasoningText": {"text": text, "signature": SIGNATURE}});
        let thought = self.thought.map(|text| Block { reasoning_content: Some(told(text)), ..Block::default() });
        let content = thought.into_iter().chain(self.said.iter().map(Said::block)).collect();
        json(&ConverseReply {
            output: Some(OutputReply { message: Some(MessageReply { role: "assistant".into(), content }) }),
            stop_reason: Some(self.stop_reason.into()),
            usage: Some(self.usage),
            metrics: Some(Metrics { latency_ms: 1 }),
            ..ConverseReply::default()
        })
    }
}

impl Reply<'_> {
    /// Writes the events that begin a stream.
    pub(crate) fn first_events(&self) -> Bytes {
        let mut events = event("messageStart", &json!({"role": "assistant"}));
        if let Some(thought) = self.thought {
            for piece in [json!({"text": thought}), json!({"signature": SIGNATURE})] {
                let delta = json!({"contentBlockIndex": 0, "delta": {"reasoningContent": piece}});
                events.extend(event("contentBlockDelta", &delta));
            }
            events.extend(event("contentBlockStop", &json!({"contentBlockIndex": 0})));
        }
        if let Some(Said::ToolUse { id, name, .. }) = self.said {
            let start = json!({"toolUse": {"toolUseId": id, "name": name}});
            events.extend(event("contentBlockStart", &json!({"contentBlockIndex": self.index(), "start": start})));
        }
        events.into()
    }

    /// Writes the event that carries a piece of what is said: of the text, or of the tool's JSON.
    pub(crate) fn delta_event(&self, piece: &str) -> Bytes {
        let delta = match self.said {
            Some(Said::ToolUse { .. }) => json!({"toolUse": {"input": piece}}),
            _ => json!({"text": piece}),
        };
        event("contentBlockDelta", &json!({"contentBlockIndex": self.index(), "delta": delta})).into()
    }

    /// Returns the place of what is said among the blocks.
    fn index(&self) -> u32 {
        u32::from(self.thought.is_some())
    }

    /// Writes the events that end a stream.
    pub(crate) fn last_events(&self) -> Bytes {
        let stop = self.said.map(|_| event("contentBlockStop", &json!({"contentBlockIndex": self.index()})));
        let reason = event("messageStop", &json!({"stopReason": self.stop_reason}));
        let metadata = event("metadata", &json!({"usage": self.usage, "metrics": {"latencyMs": 1}}));
        [stop.unwrap_or_default(), reason, metadata].concat().into()
    }
}

fn event(name: &str, data: &Value) -> Vec<u8> {
    eventstream::event_message(name, data.to_string().as_bytes())
}

impl Said<'_> {
    fn block(&self) -> Block<'_> {
        match *self {
            Said::Text(text) => Block { text: Some(text.into()), ..Block::default() },
            Said::ToolUse { id, name, input } => {
                let call = ToolUse { tool_use_id: id.into(), name: name.into(), input: Some(input) };
                Block { tool_use: Some(call), ..Block::default() }
            }
        }
    }
}

/// Writes an error; the exception's name follows from the status where none is given. AWS sends the name in a header:
/// whoever sends the reply takes it from the body.
pub(crate) fn error(status: StatusCode, name: Option<&str>, message: &str) -> Bytes {
    let name = name.unwrap_or_else(|| exception(status));
    json(&json!({"__type": name, "message": message}))
}

/// Returns the exception's name in an error's body.
pub(crate) fn exception_in(body: &[u8]) -> Option<String> {
    let whole: Value = json::from_slice(body).ok()?;
    whole.get("__type").and_then(Value::as_str).map(str::to_owned)
}

fn exception(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        408 => "ModelTimeoutException",
        424 => "ModelErrorException",
        429 => "ThrottlingException",
        503 => "ServiceUnavailableException",
        500.. => "InternalServerException",
        _ => "ValidationException",
    }
}

/// Writes a value whose keys are all text: what cannot fail.
fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
