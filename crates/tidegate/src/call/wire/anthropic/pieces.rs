//! Tools and their calls, which two formats spell differently.
//!
//! Parameters hold them in OpenAI's spelling, which most programs write. Each pair of functions here is one such piece
//! in both directions; what cannot be translated without a loss stays as it is.

use serde_json::{Value, json};

use crate::request::ToolUse;

/// Blocks that a user may write in Anthropic's own spelling wherever parts may stand: OpenAI has none of these names.
const OWN: [&str; 9] = [
    "image",
    "document",
    "search_result",
    "tool_use",
    "tool_result",
    "thinking",
    "redacted_thinking",
    "server_tool_use",
    "container_upload",
];

/// Returns whether a part that stands among OpenAI's is written in Anthropic's own spelling, or says more than its text (a
/// cache point, citations).
pub(super) fn is_own(part: &Value) -> bool {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
    OWN.contains(&kind) || kind == "text"
}

/// Writes a call of a tool.
pub(super) fn block_of_call(call: &ToolUse) -> Value {
    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.input})
}

/// Translates a function of OpenAI's `tools`; a tool in Anthropic's own spelling stays as it is.
pub(super) fn tool_of_function(tool: &Value) -> Value {
    let Some(function) = tool.get("function").and_then(Value::as_object) else { return tool.clone() };
    let mut own = function.clone();
    own.retain(|_, value| !value.is_null());
    let schema = own.shift_remove("parameters").unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    own.insert("input_schema".to_owned(), schema);
    Value::Object(own)
}

/// Translates a tool into a function of OpenAI's; one that only Anthropic has stays as it is.
pub(super) fn function_of_tool(tool: &Value) -> Value {
    let plain = |(name, value): (&String, &Value)| match name.as_str() {
        "name" | "description" | "input_schema" | "strict" => !value.is_null(),
        "type" => value == "custom",
        _ => false,
    };
    let Some(mut own) = tool.as_object().filter(|tool| tool.iter().all(plain)).cloned() else { return tool.clone() };
    let Some(schema) = own.shift_remove("input_schema") else { return tool.clone() };
    own.shift_remove("type");
    own.insert("parameters".to_owned(), schema);
    json!({"type": "function", "function": own})
}

/// Translates OpenAI's `tool_choice`; one in Anthropic's own spelling stays as it is.
pub(super) fn choice_of_openai(choice: &Value) -> Value {
    match (choice.as_str(), choice.pointer("/function/name")) {
        (Some("required"), _) => json!({"type": "any"}),
        (Some(name), _) => json!({"type": name}),
        (None, Some(name)) => json!({"type": "tool", "name": name}),
        (None, None) => choice.clone(),
    }
}

/// Translates a tool choice into OpenAI's, and whether tools may be called in parallel if it says so.
pub(super) fn choice_of_anthropic(choice: &Value) -> (Value, Option<bool>) {
    let parallel = choice.get("disable_parallel_tool_use").and_then(Value::as_bool).map(|disabled| !disabled);
    let choice = match (choice.get("type").and_then(Value::as_str), choice.get("name")) {
        (Some("any"), _) => json!("required"),
        (Some("tool"), Some(name)) => json!({"type": "function", "function": {"name": name}}),
        (Some(kind), _) => json!(kind),
        _ => choice.clone(),
    };
    (choice, parallel)
}
