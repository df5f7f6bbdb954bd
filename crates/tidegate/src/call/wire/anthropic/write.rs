//! From the typed form to a body.
//!
//! Nothing is dropped in silence: a message's field, a part or a parameter that this format cannot carry is a failure
//! that names it. Fields that the user gives by their own names win, and pass untouched unless they are OpenAI's.

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::content::{self, Conversation};
use super::pieces;
use crate::call::provider::Quirks;
use crate::call::wire::body::{bad_body, refuses_sampling, to_bytes};
use crate::call::wire::foreign::drop_idle;
use crate::failure::{Failure, Kind};
use crate::json;
use crate::request::{Original, Params, Request, Task};

/// The output's bound where nobody knows the model's own; the smallest that any model has.
const MAX_TOKENS: u32 = 4096;

/// Parameters that decide how tokens are drawn.
const SAMPLING: [&str; 3] = ["temperature", "top_p", "top_k"];

/// Writes a typed request.
pub(super) fn body(request: &Request, model: &str, quirks: &Quirks) -> Result<Bytes, Failure> {
    let Task::Chat(messages) = &request.task else { return Err(no_place("embeddings")) };
    let mut fields = fields(&request.params, model, quirks)?;
    fields.entry("max_tokens").or_insert_with(|| quirks.max_output.unwrap_or(MAX_TOKENS).into());
    let conversation = Conversation::of(messages).map_err(|what| no_place(&what))?;
    if conversation.system.is_some() && fields.contains_key("system") {
        return Err(Failure::new(Kind::BadRequest, "there are system messages and a field `system`; keep one of them"));
    }
    to_bytes(&Body { model, conversation, fields })
}

/// Sets parameters in a body that was written by somebody else.
pub(super) fn merged(original: &Original, model: &str, params: &Params, quirks: &Quirks) -> Result<Bytes, Failure> {
    let mut body: Map<String, Value> = json::from_slice(&original.bytes).map_err(bad_body)?;
    body.insert("model".to_owned(), model.into());
    body.extend(fields(params, model, quirks)?);
    to_bytes(&body)
}

struct Body<'a> {
    model: &'a str,
    conversation: Conversation<'a>,
    fields: Map<String, Value>,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.fields.contains_key("model") {
            map.serialize_entry("model", self.model)?;
        }
        if let Some(system) = &self.conversation.system {
            map.serialize_entry("system", system)?;
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
    let mut fields = Map::new();
    let mut set = |name: &str, value: Option<Value>| value.map(|value| fields.insert(name.to_owned(), value));
    set("max_tokens", params.max_tokens.map(Value::from));
    set("temperature", params.temperature.map(Value::from));
    set("stop_sequences", Some(&params.stop).filter(|stop| !stop.is_empty()).map(|stop| json!(stop)));
    set("seed", params.seed.map(Value::from));
    fields.extend(params.extra.clone());
    if let Some(most) = fields.shift_remove("max_completion_tokens").filter(|most| !most.is_null()) {
        fields.entry("max_tokens").or_insert(most);
    }
    translate(&mut fields)?;
    match SAMPLING.into_iter().find(|name| !quirks.sampling && fields.contains_key(*name)) {
        Some(name) => Err(refuses_sampling(model, name)),
        None => Ok(fields),
    }
}

/// Puts OpenAI's fields into this wire's form.
fn translate(fields: &mut Map<String, Value>) -> Result<(), Failure> {
    if let Some(Value::Array(tools)) = fields.get_mut("tools") {
        tools.iter_mut().for_each(|tool| *tool = pieces::tool_of_function(tool));
    }
    if let Some(choice) = fields.get_mut("tool_choice") {
        *choice = pieces::choice_of_openai(choice);
    }
    if fields.shift_remove("parallel_tool_calls") == Some(Value::Bool(false)) && fields.contains_key("tools") {
        let choice = fields.entry("tool_choice").or_insert_with(|| json!({"type": "auto"}));
        if let Value::Object(choice) = choice
            && choice.get("type").is_none_or(|kind| kind != "none")
        {
            choice.insert("disable_parallel_tool_use".to_owned(), true.into());
        }
    }
    if let Some(user) = fields.shift_remove("user").filter(|user| !user.is_null())
        && let Value::Object(metadata) = fields.entry("metadata").or_insert_with(|| json!({}))
    {
        metadata.entry("user_id").or_insert(user);
    }
    if let Some(format) = fields.shift_remove("response_format") {
        structure(fields, &format)?;
    }
    if let Some(effort) = fields.shift_remove("reasoning_effort").filter(|effort| !effort.is_null()) {
        effort_of_openai(fields, effort);
    }
    if let Some(tier) = fields.shift_remove("service_tier").filter(|tier| !tier.is_null()) {
        fields.insert("service_tier".to_owned(), tier_of_openai(&tier)?);
    }
    // OpenAI's is another: Anthropic's own holds nothing but a user's id.
    let own = fields.shift_remove("metadata").filter(|metadata| metadata.get("user_id").is_some());
    drop_idle(fields).map_err(|names| no_place(&names))?;
    fields.extend(own.map(|metadata| ("metadata".to_owned(), metadata)));
    Ok(())
}

/// Returns this wire's word for a tier of service; its own words stay.
fn tier_of_openai(tier: &Value) -> Result<Value, Failure> {
    match tier.as_str() {
        Some("auto" | "standard_only") => Ok(tier.clone()),
        Some("default") => Ok("standard_only".into()),
        // What was bought of it is used, as with OpenAI.
        Some("priority") => Ok("auto".into()),
        _ => Err(no_place(&format!("`service_tier` {tier}"))),
    }
}

/// Sets the form that the answer must have.
fn structure(fields: &mut Map<String, Value>, format: &Value) -> Result<(), Failure> {
    match (format.get("type").and_then(Value::as_str), format.pointer("/json_schema/schema")) {
        (None | Some("text"), _) => Ok(()),
        (Some("json_schema"), Some(schema)) => {
            let config = fields.entry("output_config").or_insert_with(|| json!({}));
            if let Value::Object(config) = config {
                config.entry("format").or_insert_with(|| json!({"type": "json_schema", "schema": schema}));
            }
            Ok(())
        }
        (Some(other), _) => Err(no_place(&format!("`response_format` {other}"))),
    }
}

/// Sets how hard the model is to think. There is no less than `low` but not to think at all.
fn effort_of_openai(fields: &mut Map<String, Value>, effort: Value) {
    if effort == "none" {
        fields.entry("thinking").or_insert_with(|| json!({"type": "disabled"}));
        return;
    }
    let effort = if effort == "minimal" { "low".into() } else { effort };
    if let Value::Object(config) = fields.entry("output_config").or_insert_with(|| json!({})) {
        config.entry("effort").or_insert(effort);
    }
}

fn no_place(what: &str) -> Failure {
    Failure::new(Kind::Unsupported, content::no_place(what))
}
