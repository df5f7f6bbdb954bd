//! Tools in both forms: Gemini's, and OpenAI's, which the vocabulary and every record use.
//!
//! Gemini names a call by its tool and often gives it no id; OpenAI's results name only the id. What Gemini wants back
//! unchanged (`thoughtSignature`) travels where Google's own OpenAI-compatible endpoint puts it: `extra_content.google`.

use serde_json::{Map, Value, json};

use super::unsupported;
use crate::failure::Failure;
use crate::request::ToolUse;

/// Writes a call in OpenAI's form. A call without an id gets one from its `place` in the reply or conversation.
pub(super) fn openai_call(id: Option<&str>, place: usize, name: &str, args: &str, signature: Option<&str>) -> Value {
    let id = id.map_or_else(|| format!("call_{place}"), str::to_owned);
    let mut call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": args}});
    if let Some(signature) = signature {
        call["extra_content"] = json!({"google": {"thought_signature": signature}});
    }
    call
}

/// Writes a call in Gemini's form, as a part of a message.
pub(super) fn gemini_call(call: &ToolUse) -> Value {
    let mut written = json!({"name": call.name, "args": call.input});
    if !call.id.is_empty() {
        written["id"] = call.id.as_str().into();
    }
    let mut part = json!({"functionCall": written});
    if let Some(signature) = &call.signature {
        part["thoughtSignature"] = signature.as_str().into();
    }
    part
}

/// Writes OpenAI's `tools` in Gemini's form; tools that are in Gemini's form already stay as they are.
///
/// # Errors
///
/// Names the tool that Gemini does not have.
pub(super) fn gemini_tools(tools: Value) -> Result<Value, Failure> {
    let Value::Array(tools) = tools else { return Ok(tools) };
    let mut functions = Vec::new();
    let mut written = Vec::new();
    for tool in tools {
        match tool.get("type").and_then(Value::as_str) {
            Some("function") => functions.push(declaration(tool.get("function").unwrap_or(&tool))),
            Some(other) => return Err(unsupported(format!("Gemini's format cannot carry a tool of type `{other}`"))),
            None => written.push(tool),
        }
    }
    if !functions.is_empty() {
        written.insert(0, json!({"functionDeclarations": functions}));
    }
    Ok(Value::Array(written))
}

fn declaration(function: &Value) -> Value {
    let mut written = Map::new();
    for (ours, theirs) in [("name", "name"), ("description", "description"), ("parameters", "parametersJsonSchema")] {
        if let Some(value) = function.get(ours).filter(|value| !value.is_null()) {
            written.insert(theirs.to_owned(), value.clone());
        }
    }
    Value::Object(written)
}

/// Writes Gemini's `tools` in OpenAI's form if all of them are functions with JSON schemas; else they stay as they are.
pub(super) fn openai_tools(tools: Value) -> Value {
    let function = |declared: &Value| {
        let Value::Object(fields) = declared else { return None };
        let mut written = Map::new();
        for (name, value) in fields {
            let name = match name.as_str() {
                "name" | "description" => name.as_str(),
                "parametersJsonSchema" => "parameters",
                _ => return None,
            };
            written.insert(name.to_owned(), value.clone());
        }
        Some(json!({"type": "function", "function": written}))
    };
    let functions = |tool: &Value| {
        let only = tool.as_object().is_some_and(|tool| tool.len() == 1);
        let declared = tool.get("functionDeclarations").and_then(Value::as_array).filter(|_| only)?;
        declared.iter().map(function).collect::<Option<Vec<Value>>>()
    };
    // Several groups of functions would come back as one.
    match tools.as_array().map(Vec::as_slice) {
        Some([group]) => functions(group).map_or(tools, Value::Array),
        _ => tools,
    }
}

/// Writes OpenAI's `tool_choice` as Gemini's `toolConfig`.
///
/// # Errors
///
/// Says which choice Gemini does not have.
pub(super) fn gemini_choice(choice: &Value) -> Result<Value, Failure> {
    let config = match choice.as_str() {
        Some("auto") => json!({"mode": "AUTO"}),
        Some("none") => json!({"mode": "NONE"}),
        Some("required") => json!({"mode": "ANY"}),
        _ => match choice.pointer("/function/name").and_then(Value::as_str) {
            Some(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
            None => return Err(unsupported(format!("Gemini's format has no tool choice {choice}"))),
        },
    };
    Ok(json!({"functionCallingConfig": config}))
}

/// Writes Gemini's `toolConfig` as OpenAI's `tool_choice`, if it says no more than that.
pub(super) fn openai_choice(config: &Value) -> Option<Value> {
    let choices = ["auto", "none", "required"].map(Value::from);
    let named = || {
        let name = config.pointer("/functionCallingConfig/allowedFunctionNames/0")?;
        Some(json!({"type": "function", "function": {"name": name}}))
    };
    choices.into_iter().chain(named()).find(|choice| gemini_choice(choice).is_ok_and(|written| written == *config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::wire::openai::content::read_call;

    #[test]
    fn calls_are_the_same_in_both_forms() {
        let ours = openai_call(Some("a"), 0, "f", r#"{"x":1}"#, Some("c2ln"));
        let expected = json!({"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"});
        assert_eq!(gemini_call(&read_call(&ours).unwrap()), expected);
        assert_eq!(openai_call(None, 3, "f", "{}", None)["id"], "call_3");
        assert_eq!(
            gemini_call(&read_call(&json!({"function": {"name": "f", "arguments": ""}})).unwrap())["functionCall"]["args"],
            json!({})
        );
        for wrong in
            [json!({}), json!({"type": "custom"}), json!({"function": {"name": "f", "arguments": "[]"}}), json!(3)]
        {
            assert!(read_call(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tools_are_the_same_in_both_forms() {
        let ours = json!([{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]);
        let theirs = json!([{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}}]}]);
        assert_eq!(gemini_tools(ours.clone()).unwrap(), theirs);
        assert_eq!(openai_tools(theirs), ours);
        let search = json!([{"googleSearch": {}}]);
        assert_eq!((gemini_tools(search.clone()).unwrap(), openai_tools(search.clone())), (search.clone(), search));
        assert!(gemini_tools(json!([{"type": "web_search"}])).unwrap_err().message.contains("`web_search`"));
    }

    #[test]
    fn choices_are_the_same_in_both_forms() {
        let named = json!({"type": "function", "function": {"name": "f"}});
        let written = json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}});
        assert_eq!(gemini_choice(&named).unwrap(), written);
        for choice in [json!("auto"), json!("none"), json!("required"), named] {
            assert_eq!(openai_choice(&gemini_choice(&choice).unwrap()), Some(choice));
        }
        assert_eq!(openai_choice(&json!({"functionCallingConfig": {"mode": "VALIDATED"}})), None);
        assert!(gemini_choice(&json!({"type": "allowed_tools"})).is_err());
    }
}
