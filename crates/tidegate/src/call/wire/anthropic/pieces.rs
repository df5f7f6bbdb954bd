//! The pieces of a conversation that two formats spell differently: images, documents, tools and their calls.
//!
//! The typed form holds them in OpenAI's spelling, which most tools write. Each pair of functions here is one such piece
//! in both directions; what cannot be translated without a loss is refused (to Anthropic's) or kept (from Anthropic's).

use serde_json::{Value, json};

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

/// Translates a content part of OpenAI's into a block.
///
/// # Errors
///
/// Names the part that has no counterpart.
pub(super) fn block_of_part(part: &Value) -> Result<Value, String> {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
    match kind {
        // More than its text: a cache point, citations.
        "text" => Ok(part.clone()),
        "image_url" => image(part.pointer("/image_url/url").or(part.get("image_url"))),
        "file" => document(part.get("file")),
        own if OWN.contains(&own) => Ok(part.clone()),
        "" => Err("a content part without a `type`".to_owned()),
        other => Err(format!("a content part `{other}`")),
    }
}

/// An image's `detail` is not carried over: it bears on the price, not on what the image shows.
fn image(url: Option<&Value>) -> Result<Value, String> {
    let url = url.and_then(Value::as_str).unwrap_or_default();
    if url.starts_with("https://") {
        return Ok(json!({"type": "image", "source": {"type": "url", "url": url}}));
    }
    match base64_of(url) {
        Some((media, data)) if media.starts_with("image/") => Ok(base64_block("image", media, data)),
        _ => Err("an `image_url` that is neither an https address nor a base64 data URL of an image".to_owned()),
    }
}

fn document(file: Option<&Value>) -> Result<Value, String> {
    let text = |name: &str| file.and_then(|file| file.get(name)).and_then(Value::as_str);
    let Some(("application/pdf", data)) = text("file_data").and_then(base64_of) else {
        return Err("a `file` that is not a base64 data URL of a PDF".to_owned());
    };
    let mut block = base64_block("document", "application/pdf", data);
    if let Some(name) = text("filename") {
        block["title"] = name.into();
    }
    Ok(block)
}

fn base64_block(kind: &str, media: &str, data: &str) -> Value {
    json!({"type": kind, "source": {"type": "base64", "media_type": media, "data": data}})
}

/// Splits `data:image/png;base64,AAAA` into media type and data.
fn base64_of(url: &str) -> Option<(&str, &str)> {
    let (media, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
    Some((media.split(';').next().unwrap_or(media), data))
}

/// Translates an image block into a content part of OpenAI's; nothing for whatever says more than one can.
pub(super) fn part_of_image(block: &Value) -> Option<Value> {
    let text = |name: &str| block.get("source")?.get(name)?.as_str();
    let url = match text("type")? {
        "url" => text("url")?.to_owned(),
        _ => format!("data:{};base64,{}", text("media_type")?, text("data")?),
    };
    let part = json!({"type": "image_url", "image_url": {"url": url}});
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
    Ok(json!({"type": "tool_use", "id": call["id"], "name": function["name"], "input": input}))
}

/// Translates a `tool_use` block into a tool call of OpenAI's; nothing for whatever says more than one can.
pub(super) fn call_of_tool_use(block: &Value) -> Option<Value> {
    let (id, name, input) = (block.get("id")?, block.get("name")?, block.get("input")?);
    let call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": input.to_string()}});
    (tool_use_of_call(&call).ok()? == *block).then_some(call)
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
