//! How a provider is told which form the answer must have.
//!
//! The typed form has OpenAI's spelling, `response_format`, which every wire translates into its own. What differs from
//! one provider to the next is how much of JSON Schema it takes; a provider that takes none is told in the prompt.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::failure::{Failure, Kind};
use crate::request::{Message, Part, Request, Role, Task};
use crate::schema::Schema;

/// What a provider makes of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Structure {
    /// It enforces strict schemas, and takes others as a hint.
    Strict,
    /// It enforces schemas of closed objects, and refuses others.
    Closed,
    /// It takes any schema.
    Open,
    /// It has a mode for JSON, but knows no schema.
    Json,
    /// It knows nothing of that kind.
    Told,
}

/// Returns the request with its schema as the provider understands it.
///
/// # Errors
///
/// [`Kind::BadRequest`] for a body of the user's own that cannot be read.
pub(super) fn formed(request: &Request, structure: Structure) -> Result<Cow<'_, Request>, Failure> {
    let Some(schema) = request.schema.clone() else { return Ok(Cow::Borrowed(request)) };
    // What the user writes by the provider's own name wins, as everywhere.
    if request.params.extra.contains_key("response_format") {
        return Ok(Cow::Borrowed(request));
    }
    if let Some(format) = native(&schema, structure) {
        return Ok(Cow::Owned(request.clone().param("response_format", format)));
    }
    let mut told = told(request, &schema)?;
    if structure == Structure::Json {
        told = told.param("response_format", json!({"type": "json_object"}));
    }
    Ok(Cow::Owned(told))
}

fn native(schema: &Arc<Schema>, structure: Structure) -> Option<Value> {
    let (value, strict) = match structure {
        Structure::Strict => (schema.strict().unwrap_or(schema.value()), Some(schema.strict().is_some())),
        Structure::Closed => (schema.closed()?, None),
        Structure::Open => (schema.value(), None),
        Structure::Json | Structure::Told => return None,
    };
    let mut format = json!({"name": schema.name(), "schema": value});
    if let Some(strict) = strict {
        format["strict"] = strict.into();
    }
    Some(json!({"type": "json_schema", "json_schema": format}))
}

/// Puts the instruction behind what the user says last: chat templates of many open models take one system message only.
fn told(request: &Request, schema: &Schema) -> Result<Request, Failure> {
    let mut request = super::typed(request)?.into_owned();
    let Task::Chat(messages) = &mut request.task else {
        return Err(Failure::new(Kind::Unsupported, "an embedding has no schema"));
    };
    let text = format!(
        "Answer with one JSON value that satisfies this JSON Schema, and with nothing else:\n{}",
        schema.value()
    );
    match messages.iter_mut().rfind(|message| message.role == Role::User) {
        Some(message) => match message.parts.last_mut() {
            Some(Part::Text(before)) => *before = format!("{before}\n\n{text}"),
            _ => message.parts.push(Part::Text(text)),
        },
        None => messages.push(Message::user(text)),
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::wire::WireId;
    use crate::request::TaskKind;

    fn schema(value: Value) -> Arc<Schema> {
        Schema::new(value).unwrap().into()
    }

    /// Returns the response format and the last message.
    fn asked(value: Value, structure: Structure) -> (Option<Value>, String) {
        let request = Request::prompt("How much?").schema(schema(value));
        let formed = formed(&request, structure).unwrap();
        let Task::Chat(messages) = &formed.task else { panic!() };
        let [Part::Text(text)] = &messages[0].parts[..] else { panic!() };
        (formed.params.extra.get("response_format").cloned(), text.clone())
    }

    #[test]
    fn each_provider_is_asked_in_the_way_it_understands() {
        let full = || json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
        let partly = || json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let open = || json!({"type": "object"});
        let part = |value, structure, path: &str| asked(value, structure).0.unwrap().pointer(path).cloned();
        assert_eq!(part(full(), Structure::Strict, "/json_schema/strict"), Some(true.into()));
        assert_eq!(part(partly(), Structure::Strict, "/json_schema/strict"), Some(false.into()));
        assert_eq!(part(partly(), Structure::Strict, "/json_schema/schema"), Some(partly()));
        let closed = part(partly(), Structure::Closed, "/json_schema/schema/additionalProperties");
        assert_eq!(closed, Some(false.into()));
        assert_eq!(part(open(), Structure::Open, "/json_schema/schema"), Some(open()));
        for structure in [Structure::Closed, Structure::Told] {
            let (format, text) = asked(open(), structure);
            assert_eq!(format, None);
            assert!(
                text.starts_with("How much?\n\nAnswer with one JSON value") && text.ends_with(r#"{"type":"object"}"#)
            );
        }
        let (format, text) = asked(open(), Structure::Json);
        assert_eq!(format, Some(json!({"type": "json_object"})));
        assert!(text.ends_with(r#"{"type":"object"}"#), "{text}");
    }

    #[test]
    fn a_body_of_the_users_own_is_told_in_typed_form() {
        let body = r#"{"messages":[{"role":"user","content":"x"}],"temperature":0.5}"#;
        let original = Request::original(WireId::Openai, TaskKind::Chat, body).schema(schema(json!({})));
        let formed = formed(&original, Structure::Told).unwrap();
        assert!(formed.original.is_none() && formed.params.temperature == Some(0.5));
    }
}
