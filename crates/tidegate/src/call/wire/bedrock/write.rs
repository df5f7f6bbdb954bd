//! From the typed form to a body.
//!
//! Nothing is dropped in silence: a message's field, a part or a parameter that this format cannot carry is a failure
//! that names it. Fields that the user gives by Converse's own names win and pass untouched.

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::content::{self, Conversation};
use super::{embed, pieces};
use crate::call::provider::Quirks;
use crate::call::wire::body::{bad_body, refuses_sampling, to_bytes};
use crate::failure::{Failure, Kind};
use crate::request::{Original, Params, Request, Task};

/// Parameters of OpenAI's that ask for something else than this wire can do.
const OPENAI_ONLY: [&str; 15] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "modalities",
    "n",
    "prediction",
    "presence_penalty",
    "seed",
    "store",
    "stream_options",
    "top_logprobs",
    "verbosity",
];

/// Parameters of vendors that users know by their plain names; Converse takes them beside its own.
const VENDORS: [&str; 4] = ["top_k", "thinking", "anthropic_beta", "reasoning_config"];

/// Writes a typed request.
pub(super) fn body(request: &Request, model: &str, quirks: &Quirks) -> Result<Bytes, Failure> {
    let messages = match &request.task {
        Task::Chat(messages) => messages,
        Task::Embed(text) => return embed::body(text, &request.params, model),
    };
    let fields = fields(&request.params, model, quirks)?;
    let conversation = Conversation::of(messages).map_err(|what| no_place(&what))?;
    if !conversation.system.is_empty() && fields.contains_key("system") {
        return Err(Failure::new(Kind::BadRequest, "there are system messages and a field `system`; keep one of them"));
    }
    to_bytes(&Body { conversation, fields })
}

/// Sets parameters in a body that was written by somebody else.
pub(super) fn merged(original: &Original, model: &str, params: &Params, quirks: &Quirks) -> Result<Bytes, Failure> {
    let mut body: Map<String, Value> = serde_json::from_slice(&original.bytes).map_err(bad_body)?;
    for (name, value) in fields(params, model, quirks)? {
        match (body.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
            (_, value) => drop(body.insert(name, value)),
        }
    }
    to_bytes(&body)
}

struct Body<'a> {
    conversation: Conversation<'a>,
    fields: Map<String, Value>,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.conversation.system.is_empty() {
            map.serialize_entry("system", &self.conversation.system)?;
        }
        if !self.fields.contains_key("messages") {
            map.serialize_entry("messages", &self.conversation.turns)?;
        }
        for (name, value) in &self.fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Returns the parameters as this wire's fields.
fn fields(params: &Params, model: &str, quirks: &Quirks) -> Result<Map<String, Value>, Failure> {
    let mut fields = params.extra.clone();
    if params.seed.is_some() {
        return Err(no_place("`seed`"));
    }
    let mut config = Map::new();
    let mut set = |name: &str, value: Option<Value>| value.map(|value| config.insert(name.to_owned(), value));
    set("maxTokens", params.max_tokens.map(Value::from));
    for name in ["max_tokens", "max_completion_tokens"] {
        set("maxTokens", fields.shift_remove(name).filter(|value| !value.is_null()));
    }
    set("temperature", params.temperature.map(Value::from));
    set("topP", fields.shift_remove("top_p").filter(|value| !value.is_null()));
    set("stopSequences", Some(&params.stop).filter(|stop| !stop.is_empty()).map(|stop| json!(stop)));
    if let Some(sampling) = ["temperature", "topP"].into_iter().find(|name| config.contains_key(*name))
        && !quirks.sampling
    {
        return Err(refuses_sampling(model, sampling));
    }
    lay_under(&mut fields, "inferenceConfig", config);
    translate(&mut fields)?;
    Ok(fields)
}

/// Puts values into an object among the fields; what stands there already wins.
fn lay_under(fields: &mut Map<String, Value>, name: &str, values: Map<String, Value>) {
    if values.is_empty() {
        return;
    }
    if let Value::Object(own) = fields.entry(name).or_insert_with(|| json!({})) {
        for (key, value) in values {
            own.entry(key).or_insert(value);
        }
    }
}

/// Puts OpenAI's fields, and those that only a vendor knows, into this wire's form.
fn translate(fields: &mut Map<String, Value>) -> Result<(), Failure> {
    let mut config = Map::new();
    if let Some(Value::Array(tools)) = fields.shift_remove("tools") {
        let tools = tools.iter().map(pieces::tool_of_function).collect::<Result<Vec<Value>, _>>();
        config.insert("tools".to_owned(), tools.map_err(|what| no_place(&what))?.into());
    }
    if let Some(choice) = fields.shift_remove("tool_choice").filter(|choice| !choice.is_null()) {
        match pieces::choice_of_openai(&choice) {
            Some(choice) => drop(config.insert("toolChoice".to_owned(), choice)),
            // There is no such choice here: without tools none is called.
            None => drop(config.shift_remove("tools")),
        }
    }
    lay_under(fields, "toolConfig", config);
    if let Some(format) = fields.shift_remove("response_format") {
        structure(fields, &format)?;
    }
    if let Some(effort) = fields.shift_remove("reasoning_effort").filter(|effort| !effort.is_null()) {
        lay_under(fields, "outputConfig", Map::from_iter([("effort".to_owned(), effort)]));
    }
    // `auto` is OpenAI's word for what happens anyhow.
    let tier = fields.shift_remove("service_tier").filter(|tier| tier.is_string() && tier != "auto");
    if let Some(tier) = tier {
        fields.entry("serviceTier").or_insert_with(|| json!({"type": tier}));
    }
    let vendor = VENDORS.into_iter().filter_map(|name| Some((name.to_owned(), fields.shift_remove(name)?)));
    let vendor: Map<String, Value> = vendor.collect();
    lay_under(fields, "additionalModelRequestFields", vendor);
    refuse_foreign(fields)
}

fn refuse_foreign(fields: &mut Map<String, Value>) -> Result<(), Failure> {
    let asks = |name: &str, value: &Value| match name {
        "n" => value.as_u64() != Some(1) && !value.is_null(),
        "frequency_penalty" | "presence_penalty" => value.as_f64() != Some(0.0) && !value.is_null(),
        _ => !is_nothing(value),
    };
    for name in OPENAI_ONLY {
        if fields.shift_remove(name).is_some_and(|value| asks(name, &value)) {
            return Err(no_place(&format!("`{name}`")));
        }
    }
    // What these ask for is what happens anyhow, or bears on nothing but OpenAI's books.
    for name in ["user", "metadata", "parallel_tool_calls"] {
        if fields.shift_remove(name) == Some(Value::Bool(false)) && name == "parallel_tool_calls" {
            return Err(no_place("`parallel_tool_calls`"));
        }
    }
    Ok(())
}

/// Sets the form that the answer must have; its schema travels as text.
fn structure(fields: &mut Map<String, Value>, format: &Value) -> Result<(), Failure> {
    match (format.get("type").and_then(Value::as_str), format.get("json_schema")) {
        (None | Some("text"), _) => Ok(()),
        (Some("json_schema"), Some(wanted)) => {
            let mut schema = json!({"schema": wanted.get("schema").unwrap_or(&json!({})).to_string()});
            for name in ["name", "description"] {
                if let Some(text) = wanted.get(name).filter(|text| text.is_string()) {
                    schema[name] = text.clone();
                }
            }
            let text = json!({"type": "json_schema", "structure": {"jsonSchema": schema}});
            lay_under(fields, "outputConfig", Map::from_iter([("textFormat".to_owned(), text)]));
            Ok(())
        }
        (Some(other), _) => Err(no_place(&format!("`response_format` {other}"))),
    }
}

/// What stands for nothing, as OpenAI's SDKs write it: null, false, an empty list.
pub(super) fn is_nothing(value: &Value) -> bool {
    value.is_null() || *value == Value::Bool(false) || value.as_array().is_some_and(Vec::is_empty)
}

fn no_place(what: &str) -> Failure {
    Failure::new(Kind::Unsupported, content::no_place(what))
}
