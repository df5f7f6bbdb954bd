//! The server's side of OpenAI's Responses: reads requests, writes replies and streams. Errors are those of Chat
//! Completions.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::types::{Incomplete, Item, Part, ResponseReply, UsageReply};
use crate::call::wire::openai::server::{Answer, ForcedTool, MessageAsked, Texts};
use crate::call::wire::openai::types as openai;

/// A request for a response, as far as a server must understand it.
#[derive(Debug, Deserialize)]
pub(crate) struct ResponseRequest<'a> {
    #[serde(borrow, default)]
    pub(crate) model: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "input")]
    pub(crate) input: Vec<MessageAsked<'a>>,
    #[serde(borrow, default)]
    instructions: Texts<'a>,
    #[serde(default)]
    pub(crate) max_output_tokens: Option<u64>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    reasoning: Option<Thinking<'a>>,
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
    #[serde(borrow, default)]
    tool_choice: Option<&'a RawValue>,
}

/// How the model is to think, and whether it is to tell.
#[derive(Debug, Deserialize)]
struct Thinking<'a> {
    #[serde(borrow, default)]
    effort: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    summary: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
struct Text<'a> {
    #[serde(borrow, default)]
    format: Option<Format<'a>>,
}

/// The form that the reply must have.
#[derive(Debug, Deserialize)]
pub(crate) struct Format<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) schema: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Tool<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
}

/// One item of the input: a message, or a result whose text stands for one.
#[derive(Debug, Deserialize)]
struct Asked<'a> {
    #[serde(borrow, default)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Texts<'a>,
    #[serde(borrow, default)]
    output: Texts<'a>,
}

fn input<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<MessageAsked<'a>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Plain<'a>(#[serde(borrow)] Cow<'a, str>);
    let json = <&'de RawValue>::deserialize(deserializer)?.get();
    if json.starts_with('"') {
        let Plain(text) = serde_json::from_str(json).map_err(D::Error::custom)?;
        return Ok(vec![MessageAsked { role: "user".into(), content: Texts::One(text) }]);
    }
    let items: Vec<Asked<'de>> = serde_json::from_str(json).map_err(D::Error::custom)?;
    let message = |item: Asked<'a>| match item.output {
        Texts::None => MessageAsked { role: item.role, content: item.content },
        output => MessageAsked { role: "tool".into(), content: output },
    };
    Ok(items.into_iter().map(message).collect())
}

impl<'a> ResponseRequest<'a> {
    /// Returns whether the reply is to be streamed.
    pub(crate) fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    /// Returns whether the model is to think before it answers.
    pub(crate) fn thinks(&self) -> bool {
        self.reasoning.as_ref().is_some_and(|thinking| thinking.effort.as_deref() != Some("none"))
    }

    /// Returns whether it is to tell what it thought, in a summary.
    pub(crate) fn tells_thoughts(&self) -> bool {
        self.thinks() && self.reasoning.as_ref().is_some_and(|thinking| thinking.summary.is_some())
    }

    /// Returns the form that the reply must have.
    pub(crate) fn format(&self) -> Option<&Format<'a>> {
        self.text.as_ref()?.format.as_ref()
    }

    /// Returns the function that must be called, if one must.
    pub(crate) fn forced_tool(&self) -> Option<ForcedTool<'_>> {
        #[derive(Deserialize)]
        struct Choice<'a> {
            #[serde(borrow)]
            name: Cow<'a, str>,
        }
        let (choice, tools) = (self.tool_choice?.get(), self.tools.as_ref()?);
        let tool = match serde_json::from_str::<Choice<'_>>(choice) {
            Ok(choice) => tools.iter().find(|tool| tool.name == choice.name)?,
            Err(_) if choice == "\"required\"" => tools.first()?,
            Err(_) => return None,
        };
        Some(ForcedTool { name: &tool.name, parameters: tool.parameters })
    }

    /// Puts the instructions in front of the messages, as formats have it that make them one of them.
    pub(crate) fn fold_instructions(&mut self) {
        let content = std::mem::take(&mut self.instructions);
        if content != Texts::None {
            self.input.insert(0, MessageAsked { role: "system".into(), content });
        }
    }
}

/// A reply to be written.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) id: &'a str,
    pub(crate) model: &'a str,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// What was thought before, if anything: its summary is empty where it is not to be told.
    pub(crate) thought: Option<&'a str>,
    pub(crate) answer: &'a Answer,
    pub(crate) usage: openai::UsageReply,
}

impl Reply<'_> {
    /// Writes the reply as one object.
    pub(crate) fn whole(&self) -> Bytes {
        json(&self.response(self.status(), self.items(&self.answer.text, "completed")))
    }

    /// Writes the events of the reply; `pieces` are those of what is said. With each goes how many bytes it says.
    pub(crate) fn events<'p>(&self, pieces: impl Iterator<Item = &'p str>) -> Vec<(Bytes, usize)> {
        let mut events = Events::default();
        let begun = json!(self.response("in_progress", Vec::new()));
        events.add("response.created", json!({"response": begun}), 0);
        events.add("response.in_progress", json!({"response": begun}), 0);
        if let Some(thought) = self.thought {
            self.thought_events(&mut events, thought);
        }
        if !self.answer.text.is_empty() {
            self.item_events(&mut events, pieces);
        }
        let end = format!("response.{}", self.status());
        let whole = self.response(self.status(), self.items(&self.answer.text, "completed"));
        events.add(&end, json!({"response": whole}), 0);
        events.list
    }

    fn thought_events(&self, events: &mut Events, thought: &str) {
        let item = |thought: &str| json!({"output_index": 0, "item": self.thought_item(thought)});
        events.add("response.output_item.added", item(""), 0);
        if !thought.is_empty() {
            let at = |name: &str, value: Value| {
                let id = self.thought_id();
                json!({"item_id": id, "output_index": 0, "summary_index": 0, name: value})
            };
            events.add("response.reasoning_summary_part.added", at("part", summary("")), 0);
            events.add("response.reasoning_summary_text.delta", at("delta", thought.into()), thought.len());
            events.add("response.reasoning_summary_text.done", at("text", thought.into()), 0);
            events.add("response.reasoning_summary_part.done", at("part", summary(thought)), 0);
        }
        events.add("response.output_item.done", item(thought), 0);
    }

    fn thought_item(&self, thought: &str) -> Item<'_> {
        let told = (!thought.is_empty()).then(|| summary(thought));
        Item {
            kind: "reasoning".into(),
            id: Some(self.thought_id().into()),
            summary: Some(told.into_iter().collect()),
            ..Item::default()
        }
    }

    fn thought_id(&self) -> String {
        self.id.replacen("resp_", "rs_", 1)
    }

    fn item_events<'p>(&self, events: &mut Events, pieces: impl Iterator<Item = &'p str>) {
        let text = self.answer.text.as_str();
        let (id, index) = (self.item_id(), usize::from(self.thought.is_some()));
        let (delta, done, field) = match self.answer.tool {
            Some(_) => ("response.function_call_arguments.delta", "response.function_call_arguments.done", "arguments"),
            None => ("response.output_text.delta", "response.output_text.done", "text"),
        };
        let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
        let at = |mut fields: Value| {
            fields["item_id"] = id.as_str().into();
            fields["output_index"] = index.into();
            if self.answer.tool.is_none() {
                fields["content_index"] = 0.into();
            }
            fields
        };
        let item = |text: &str, status| json!({"output_index": index, "item": self.said(text, status)});
        events.add("response.output_item.added", item("", "in_progress"), 0);
        if self.answer.tool.is_none() {
            events.add("response.content_part.added", at(json!({"part": part("")})), 0);
        }
        for piece in pieces {
            events.add(delta, at(json!({"delta": piece, "logprobs": []})), piece.len());
        }
        events.add(done, at(json!({field: text, "name": self.answer.tool, "logprobs": []})), 0);
        if self.answer.tool.is_none() {
            events.add("response.content_part.done", at(json!({"part": part(text)})), 0);
        }
        events.add("response.output_item.done", item(text, "completed"), 0);
    }

    fn status(&self) -> &'static str {
        match self.answer.finish {
            "length" | "content_filter" => "incomplete",
            _ => "completed",
        }
    }

    fn items<'b>(&'b self, text: &'b str, status: &'b str) -> Vec<Item<'b>> {
        let thought = self.thought.map(|thought| self.thought_item(thought));
        thought.into_iter().chain(self.said(text, status)).collect()
    }

    /// Returns what is said or wanted done, unless that is nothing.
    fn said<'b>(&'b self, text: &'b str, status: &'b str) -> Option<Item<'b>> {
        let id = Some(self.item_id().into());
        let status = Some(status.into());
        if let Some(name) = &self.answer.tool {
            let call_id = Some(self.id.replacen("resp_", "call_", 1).into());
            let (name, arguments) = (Some(name.into()), Some(text.into()));
            let kind = "function_call".into();
            return Some(Item { kind, id, status, call_id, name, arguments, ..Item::default() });
        }
        if self.answer.text.is_empty() {
            return None;
        }
        let part = Part { kind: "output_text".into(), text: Some(text.into()), ..Part::default() };
        let (kind, role) = ("message".into(), Some("assistant".into()));
        let content = Some(if text.is_empty() { Vec::new() } else { vec![part] });
        Some(Item { kind, id, status, role, content, ..Item::default() })
    }

    fn item_id(&self) -> String {
        self.id.replacen("resp_", if self.answer.tool.is_some() { "fc_" } else { "msg_" }, 1)
    }

    fn response<'b>(&'b self, status: &'b str, output: Vec<Item<'b>>) -> Whole<'b> {
        let reason = match self.answer.finish {
            "length" => Some("max_output_tokens".into()),
            "content_filter" => Some("content_filter".into()),
            _ => None,
        };
        let reply = ResponseReply {
            id: Some(self.id.into()),
            object: Some("response".into()),
            created_at: Some(self.created as f64),
            status: Some(status.into()),
            error: None,
            incomplete_details: reason
                .filter(|_| status == "incomplete")
                .map(|reason| Incomplete { reason: Some(reason) }),
            model: Some(self.model.into()),
            output,
            usage: Some(self.usage()).filter(|_| status != "in_progress"),
            ..ResponseReply::default()
        };
        Whole { reply, parallel_tool_calls: true, tool_choice: "auto", tools: [], metadata: json!({}) }
    }

    fn usage(&self) -> UsageReply {
        UsageReply {
            input_tokens: self.usage.prompt_tokens,
            input_tokens_details: Some(openai::InputDetails { cached_tokens: Some(0), cache_write_tokens: None }),
            output_tokens: self.usage.completion_tokens,
            output_tokens_details: Some(
                self.usage.completion_tokens_details.unwrap_or(openai::OutputDetails { reasoning_tokens: Some(0) }),
            ),
            total_tokens: self.usage.total_tokens,
        }
    }
}

/// Writes a paragraph of a summary.
fn summary(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}

/// A reply with what it repeats of the request, which the provider's own SDK expects.
#[derive(Debug, Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    reply: ResponseReply<'a>,
    parallel_tool_calls: bool,
    tool_choice: &'static str,
    tools: [(); 0],
    metadata: Value,
}

/// Events, numbered as they are added.
#[derive(Default)]
struct Events {
    list: Vec<(Bytes, usize)>,
}

impl Events {
    fn add(&mut self, name: &str, mut fields: Value, says: usize) {
        fields["type"] = name.into();
        fields["sequence_number"] = self.list.len().into();
        self.list.push((format!("event: {name}\ndata: {fields}\n\n").into(), says));
    }
}

/// Writes a value whose keys are all text: what cannot fail.
fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
