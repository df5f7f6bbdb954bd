//! From the typed form to a body.
//!
//! Nothing is dropped in silence: a message's field, a part or a parameter that this format cannot carry is a failure
//! that names it. Fields that the user gives by Converse's own names win and pass untouched.

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::content::{self, Conversation};
use super::{embed, headers, pieces, rules};
use crate::call::provider::Quirks;
use crate::call::wire::body::{bad_body, refuses_sampling, to_bytes};
use crate::call::wire::foreign::drop_idle;
use crate::failure::{Failure, Kind};
use crate::json;
use crate::request::{Original, Params, Request, Task};

/// Parameters of vendors that users know by their plain names; Converse takes them beside its own.
const VENDORS: [&str; 4] = ["top_k", "thinking", "anthropic_beta", "reasoning_config"];

/// Fields of other names that stand in `inferenceConfig`.
const INFERENCE: [(&str, &str); 4] = [
    ("max_tokens", "maxTokens"),
    ("max_completion_tokens", "maxTokens"),
    ("temperature", "temperature"),
    ("top_p", "topP"),
];

/// Writes a typed request.
pub(super) fn body(request: &Request, model: &str, quirks: &Quirks) -> Result<Bytes, Failure> {
    let messages = match &request.task {
        Task::Chat(messages) => messages,
        Task::Embed(text) => return embed::body(text, &request.params, model),
    };
    let fields = fields(&request.params, model, quirks)?;
    let has_tools = fields.get("toolConfig").is_some_and(|config| config.get("tools").is_some());
    let faults = rules::broken(messages, has_tools, model);
    if !faults.is_empty() {
        return Err(Failure::new(Kind::Unsupported, faults.join("; ")));
    }
    let conversation = Conversation::of(messages).map_err(|what| no_place(&what))?;
    if !conversation.system.is_empty() && fields.contains_key("system") {
        return Err(Failure::new(Kind::BadRequest, "there are system messages and a field `system`; keep one of them"));
    }
    to_bytes(&Body { conversation, fields })
}

/// Sets parameters in a body that was written by somebody else.
pub(super) fn merged(original: &Original, model: &str, params: &Params, quirks: &Quirks) -> Result<Bytes, Failure> {
    let mut body: Map<String, Value> = json::from_slice(&original.bytes).map_err(bad_body)?;
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
    set("temperature", params.temperature.map(Value::from));
    set("stopSequences", Some(&params.stop).filter(|stop| !stop.is_empty()).map(|stop| json!(stop)));
    for (theirs, own) in INFERENCE {
        set(own, fields.shift_remove(theirs).filter(|value| !value.is_null()));
    }
    if let Some(sampling) = ["temperature", "topP"].into_iter().find(|name| config.contains_key(*name))
        && !quirks.sampling
    {
        return Err(refuses_sampling(model, sampling));
    }
    lay_under(&mut fields, "inferenceConfig", config);
    translate(&mut fields, model)?;
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
fn translate(fields: &mut Map<String, Value>, model: &str) -> Result<(), Failure> {
    let mut config = Map::new();
    if let Some(Value::Array(tools)) = fields.shift_remove("tools") {
        let tools = tools.iter().map(pieces::tool_of_function).collect::<Result<Vec<Value>, _>>();
        config.insert("tools".to_owned(), tools.map_err(|what| no_place(&what))?.into());
    }
    if let Some(choice) = fields.shift_remove("tool_choice").filter(|choice| !choice.is_null()) {
        match pieces::choice_of_openai(&choice) {
            Some(choice) => drop(config.insert("toolChoice".to_owned(), choice)),
            // There is no such choice here: without tools none is called, and what called some is refused.
            None => drop(config.shift_remove("tools")),
        }
    }
    lay_under(fields, "toolConfig", config);
    if let Some(format) = fields.shift_remove("response_format") {
        structure(fields, &format)?;
    }
    if let Some(effort) = fields.shift_remove("reasoning_effort").filter(|effort| !effort.is_null()) {
        effort_of_openai(fields, effort, model)?;
    }
    headers::translate(fields)?;
    let vendor = VENDORS.into_iter().filter_map(|name| Some((name.to_owned(), fields.shift_remove(name)?)));
    let vendor: Map<String, Value> = vendor.collect();
    lay_under(fields, "additionalModelRequestFields", vendor);
    drop_idle(fields).map_err(|names| no_place(&names))
}

/// Vendors whose models take OpenAI's own field.
const SPEAK_OPENAI: [&str; 6] = ["openai.", "deepseek.", "qwen.", "moonshot", "minimax.", "zai."];

/// Sets how hard the model is to think, where its vendor has a place for it. Claude and what is known only by an ARN have
/// Converse's own; Nova and those who speak OpenAI's format have theirs.
fn effort_of_openai(fields: &mut Map<String, Value>, effort: Value, model: &str) -> Result<(), Failure> {
    let level = effort.as_str().unwrap_or_default();
    let nova = model.contains("amazon.nova");
    let (object, own) = match level {
        "none" if nova => ("reasoningConfig", json!({"type": "disabled"})),
        "minimal" if nova => ("reasoningConfig", json!({"type": "enabled", "maxReasoningEffort": "low"})),
        _ if nova => ("reasoningConfig", json!({"type": "enabled", "maxReasoningEffort": effort})),
        _ if SPEAK_OPENAI.iter().any(|vendor| model.contains(vendor)) => ("reasoning_effort", effort),
        "none" => ("thinking", json!({"type": "disabled"})),
        _ => {
            let effort = if level == "minimal" { "low".into() } else { effort };
            lay_under(fields, "outputConfig", Map::from_iter([("effort".to_owned(), effort)]));
            return Ok(());
        }
    };
    lay_under(fields, "additionalModelRequestFields", Map::from_iter([(object.to_owned(), own)]));
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

fn no_place(what: &str) -> Failure {
    Failure::new(Kind::Unsupported, content::no_place(what))
}
