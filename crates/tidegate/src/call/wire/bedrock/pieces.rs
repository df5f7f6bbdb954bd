//! Tools, which OpenAI and Converse spell differently.
//!
//! Parameters hold them in OpenAI's spelling. Each pair of functions here is one such piece in both directions; what cannot
//! be translated without a loss is refused (to Converse) or kept (from Converse).

use serde_json::{Map, Value, json};

/// Blocks that a user may write in Converse's own spelling wherever parts may stand: each is an object of one such field.
const OWN: [&str; 12] = [
    "text",
    "image",
    "document",
    "video",
    "audio",
    "toolUse",
    "toolResult",
    "reasoningContent",
    "cachePoint",
    "guardContent",
    "citationsContent",
    "searchResult",
];

/// Returns whether a part that stands among OpenAI's is a block in Converse's own spelling.
pub(super) fn is_own(part: &Value) -> bool {
    let mut names = part.as_object().into_iter().flat_map(Map::keys);
    names.next().is_some_and(|name| OWN.contains(&name.as_str())) && names.next().is_none()
}

/// The longest name of a document, less what a number behind it takes.
const LONGEST_NAME: usize = 190;

/// Brings a file's name to the characters that Converse allows, and to its length.
pub(super) fn document_name(file: &str) -> String {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { ' ' };
    let plain: String = stem.chars().map(allowed).collect();
    let mut plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    plain.truncate(LONGEST_NAME);
    let plain = plain.trim_end();
    if plain.is_empty() { "document".to_owned() } else { plain.to_owned() }
}

/// Translates a function of OpenAI's `tools`; a tool in Converse's own spelling stays as it is.
///
/// # Errors
///
/// Names the tool that has no counterpart.
pub(super) fn tool_of_function(tool: &Value) -> Result<Value, String> {
    let Some(function) = tool.get("function") else {
        return match tool.get("type") {
            None => Ok(tool.clone()),
            Some(kind) => Err(format!("a tool of type {kind}")),
        };
    };
    let schema = function.get("parameters").filter(|schema| !schema.is_null());
    let schema = schema.cloned().unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    let mut spec = json!({"name": function["name"], "inputSchema": {"json": schema}});
    for name in ["description", "strict"] {
        if let Some(value) = function.get(name).filter(|value| !value.is_null() && *value != "") {
            spec[name] = value.clone();
        }
    }
    Ok(json!({"toolSpec": spec}))
}

/// Translates a tool into a function of OpenAI's; one that says more stays as it is.
pub(super) fn function_of_tool(tool: &Value) -> Value {
    let Some(spec) = tool.get("toolSpec") else { return tool.clone() };
    let mut function = Map::new();
    for (theirs, value) in [
        ("name", spec.get("name")),
        ("description", spec.get("description")),
        ("parameters", spec.pointer("/inputSchema/json")),
        ("strict", spec.get("strict")),
    ] {
        value.map(|value| function.insert(theirs.to_owned(), value.clone()));
    }
    let function = json!({"type": "function", "function": function});
    if tool_of_function(&function).as_ref() == Ok(tool) { function } else { tool.clone() }
}

/// Translates OpenAI's `tool_choice`; nothing for `none`, which Converse does not have.
pub(super) fn choice_of_openai(choice: &Value) -> Option<Value> {
    match (choice.as_str(), choice.pointer("/function/name")) {
        (Some("none"), _) => None,
        (Some("required"), _) => Some(json!({"any": {}})),
        (Some(name), _) => Some(Value::Object(Map::from_iter([(name.to_owned(), json!({}))]))),
        (None, Some(name)) => Some(json!({"tool": {"name": name}})),
        (None, None) => Some(choice.clone()),
    }
}

/// Translates a tool choice into OpenAI's.
pub(super) fn choice_of_converse(choice: &Value) -> Value {
    match (choice.get("any"), choice.get("auto"), choice.pointer("/tool/name")) {
        (Some(_), ..) => json!("required"),
        (_, Some(_), _) => json!("auto"),
        (_, _, Some(name)) => json!({"type": "function", "function": {"name": name}}),
        _ => choice.clone(),
    }
}
