//! The pieces of a conversation that OpenAI and Converse spell differently: images, documents, tools and their calls.
//!
//! The typed form holds them in OpenAI's spelling. Each pair of functions here is one such piece in both directions; what
//! cannot be translated without a loss is refused (to Converse) or kept (from Converse).

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

/// Translates a content part of OpenAI's into a block; a block of Converse's own stays as it is.
///
/// # Errors
///
/// Names the part that has no counterpart.
pub(super) fn block_of_part(part: &Value) -> Result<Value, String> {
    match part.get("type").and_then(Value::as_str) {
        None if is_own(part) => Ok(part.clone()),
        None => Err("a content part without a `type`".to_owned()),
        Some("text") => Ok(json!({"text": part["text"]})),
        Some("image_url") => image(part.pointer("/image_url/url").or(part.get("image_url"))),
        Some("file") => document(&part["file"]),
        Some(other) => Err(format!("a content part `{other}`")),
    }
}

fn is_own(part: &Value) -> bool {
    let mut names = part.as_object().into_iter().flat_map(Map::keys);
    names.next().is_some_and(|name| OWN.contains(&name.as_str())) && names.next().is_none()
}

fn image(url: Option<&Value>) -> Result<Value, String> {
    match url.and_then(Value::as_str).and_then(base64_of) {
        Some((media, data)) if media.starts_with("image/") => {
            let format = media.trim_start_matches("image/").replace("jpg", "jpeg");
            Ok(json!({"image": {"format": format, "source": {"bytes": data}}}))
        }
        _ => Err("an `image_url` that is not a base64 data URL of an image".to_owned()),
    }
}

fn document(file: &Value) -> Result<Value, String> {
    let Some(("application/pdf", data)) = file["file_data"].as_str().and_then(base64_of) else {
        return Err("a `file` that is not a base64 data URL of a PDF".to_owned());
    };
    let name = document_name(file["filename"].as_str().unwrap_or("document"));
    Ok(json!({"document": {"format": "pdf", "name": name, "source": {"bytes": data}}}))
}

/// Brings a file's name to the characters that Converse allows.
fn document_name(file: &str) -> String {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { ' ' };
    let plain: String = stem.chars().map(allowed).collect();
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if plain.is_empty() { "document".to_owned() } else { plain }
}

/// Splits `data:image/png;base64,AAAA` into media type and data.
fn base64_of(url: &str) -> Option<(&str, &str)> {
    let (media, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
    Some((media.split(';').next().unwrap_or(media), data))
}

/// Translates an image block into a content part of OpenAI's; nothing for whatever says more than one can.
pub(super) fn part_of_image(block: &Value) -> Option<Value> {
    let (format, data) = (block.pointer("/image/format")?.as_str()?, block.pointer("/image/source/bytes")?.as_str()?);
    let part = json!({"type": "image_url", "image_url": {"url": format!("data:image/{format};base64,{data}")}});
    (block_of_part(&part).ok()? == *block).then_some(part)
}

/// Translates a tool call of OpenAI's into a block.
///
/// # Errors
///
/// Says what is wrong with the call.
pub(super) fn tool_use_of_call(call: &Value) -> Result<Value, String> {
    let function = call.get("function").ok_or("a tool call that is no function's")?;
    let input: Value = match function.get("arguments").and_then(Value::as_str).map(str::trim) {
        None | Some("") => json!({}),
        Some(arguments) => serde_json::from_str(arguments).unwrap_or_default(),
    };
    if !input.is_object() {
        return Err("a tool call whose `arguments` are not a JSON object".to_owned());
    }
    Ok(json!({"toolUse": {"toolUseId": call["id"], "name": function["name"], "input": input}}))
}

/// Translates a tool call into OpenAI's form; nothing for whatever says more than one can.
pub(super) fn call_of_tool_use(block: &Value) -> Option<Value> {
    let call = block.get("toolUse")?;
    let (id, name, input) = (call.get("toolUseId")?, call.get("name")?, call.get("input")?);
    let call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": input.to_string()}});
    (tool_use_of_call(&call).ok()? == *block).then_some(call)
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
        if let Some(value) = function.get(name).filter(|value| !value.is_null()) {
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
