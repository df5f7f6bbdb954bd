//! A schema in the narrower spelling that providers with a grammar of their own enforce.
//!
//! Objects get `additionalProperties: false`; in strict form every property is required, which is possible where those
//! that were optional may be null. Bounds that such providers refuse (`minimum`, `maxLength`) become words in the
//! description: the reply is validated here anyway. A schema with anything else in it that is not known to be taken has
//! no narrower spelling.

use serde_json::{Map, Value, json};

/// What says nothing about a value.
const IGNORED: [&str; 9] =
    ["$schema", "$id", "$comment", "title", "default", "examples", "deprecated", "readOnly", "writeOnly"];

/// Bounds that are told in words.
const BOUNDS: [&str; 11] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "pattern",
];

/// The formats of texts that are enforced.
const FORMATS: [&str; 9] = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];

/// Returns the schema with closed objects.
pub(super) fn closed(schema: &Value) -> Option<Value> {
    root(schema, Required::AsWritten)
}

/// Returns the schema with closed objects whose properties are all required.
pub(super) fn strict(schema: &Value) -> Option<Value> {
    root(schema, Required::All)
}

/// Which properties are required.
#[derive(Clone, Copy, PartialEq)]
enum Required {
    AsWritten,
    All,
}

/// The whole answer must be an object.
fn root(schema: &Value, required: Required) -> Option<Value> {
    let object = schema["type"] == "object" && schema.get("anyOf").is_none();
    if object { node(schema, required) } else { None }
}

fn node(schema: &Value, required: Required) -> Option<Value> {
    let Value::Object(fields) = schema else { return None };
    if let Some(reference) = fields.get("$ref") {
        return referring(fields, reference, required);
    }
    let mut made = Map::new();
    let mut bounds = Vec::new();
    for (name, value) in fields {
        match name.as_str() {
            name if IGNORED.contains(&name) => {}
            name if BOUNDS.contains(&name) => bounds.push(format!("{name}: {value}")),
            "type" | "enum" | "const" | "description" | "required" => drop(made.insert(name.clone(), value.clone())),
            "format" if FORMATS.iter().any(|format| value == format) => {
                made.insert(name.clone(), value.clone());
            }
            "format" => {}
            "additionalProperties" if *value == Value::Bool(false) => {}
            "$defs" | "definitions" | "properties" => drop(made.insert(name.clone(), each(value, required)?)),
            "items" => drop(made.insert(name.clone(), node(value, required)?)),
            // Each reply is checked against the original: whether several alternatives fit is found out there.
            "anyOf" | "oneOf" if !made.contains_key("anyOf") => {
                let alternatives = value.as_array()?.iter().map(|value| node(value, required)).collect::<Option<_>>();
                made.insert("anyOf".to_owned(), Value::Array(alternatives?));
            }
            _ => return None,
        }
    }
    tell(&mut made, &bounds);
    close(made, required).map(Value::Object)
}

/// A reference stands alone, but for definitions beside it.
fn referring(fields: &Map<String, Value>, reference: &Value, required: Required) -> Option<Value> {
    let mut made = Map::new();
    for (name, value) in fields {
        match name.as_str() {
            "$ref" if reference.as_str()?.starts_with('#') => drop(made.insert(name.clone(), value.clone())),
            "$defs" | "definitions" => drop(made.insert(name.clone(), each(value, required)?)),
            "description" => {}
            name if IGNORED.contains(&name) => {}
            _ => return None,
        }
    }
    Some(Value::Object(made))
}

fn each(schemas: &Value, required: Required) -> Option<Value> {
    let schemas = schemas.as_object()?.iter();
    schemas.map(|(name, schema)| Some((name.clone(), node(schema, required)?))).collect()
}

/// Puts bounds into the description.
fn tell(made: &mut Map<String, Value>, bounds: &[String]) {
    if bounds.is_empty() {
        return;
    }
    let before = made.get("description").and_then(Value::as_str).map(|text| format!("{text} ")).unwrap_or_default();
    made.insert("description".to_owned(), format!("{before}({})", bounds.join(", ")).into());
}

/// Closes an object; any other value must be of a kind that is named.
fn close(mut made: Map<String, Value>, required: Required) -> Option<Map<String, Value>> {
    let is = |kind: &str| match made.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(|other| other == kind),
        Some(other) => other == kind,
        None => false,
    };
    if is("object") || made.contains_key("properties") {
        let properties = made.get("properties")?.as_object()?;
        if required == Required::All {
            let written = made.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let may_be_left_out = |name: &String| !written.iter().any(|other| other == name);
            if properties.iter().any(|(name, schema)| may_be_left_out(name) && !allows_null(schema)) {
                return None;
            }
            let all: Vec<&String> = properties.keys().collect();
            made.insert("required".to_owned(), json!(all));
        }
        made.insert("additionalProperties".to_owned(), Value::Bool(false));
        return Some(made);
    }
    if is("array") && !made.contains_key("items") {
        return None;
    }
    ["type", "enum", "const", "anyOf"].iter().any(|name| made.contains_key(*name)).then_some(made)
}

fn allows_null(schema: &Value) -> bool {
    let null_in = |list: &Value, is_null: fn(&Value) -> bool| list.as_array().is_some_and(|l| l.iter().any(is_null));
    schema["type"] == "null"
        || null_in(&schema["type"], |kind| kind == "null")
        || null_in(&schema["enum"], Value::is_null)
        || null_in(&schema["anyOf"], allows_null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_properties_that_may_be_null_are_required_in_strict_form() {
        let schema = json!({"type": "object", "title": "T", "required": ["a"], "properties": {
            "a": {"type": "integer", "format": "uint32", "minimum": 0, "description": "How many."},
            "b": {"type": ["string", "null"], "default": null},
            "c": {"oneOf": [{"$ref": "#/$defs/C"}, {"type": "null"}]}},
            "$defs": {"C": {"type": "object", "properties": {"x": {"enum": [1, 2]}}, "required": ["x"]}}});
        let expected = json!({"type": "object", "required": ["a", "b", "c"], "properties": {
            "a": {"type": "integer", "description": "How many. (minimum: 0)"},
            "b": {"type": ["string", "null"]},
            "c": {"anyOf": [{"$ref": "#/$defs/C"}, {"type": "null"}]}},
            "$defs": {"C": {"type": "object", "properties": {"x": {"enum": [1, 2]}}, "required": ["x"],
                "additionalProperties": false}},
            "additionalProperties": false});
        assert_eq!(strict(&schema), Some(expected));
        assert_eq!(closed(&schema).unwrap()["required"], json!(["a"]));
    }

    #[test]
    fn what_would_mean_something_else_has_no_narrower_form() {
        let object = |more: Value| {
            let mut schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
            schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            schema
        };
        assert!(closed(&object(json!({}))).is_some());
        for more in [
            json!({"additionalProperties": true}),
            json!({"additionalProperties": {"type": "string"}}),
            json!({"patternProperties": {"x": {"type": "string"}}}),
            json!({"properties": {"a": {"type": "object"}}}),
            json!({"properties": {"a": {}}}),
            json!({"properties": {"a": {"type": "array"}}}),
            json!({"properties": {"a": {"$ref": "other.json"}}}),
            json!({"anyOf": [{"type": "object"}]}),
        ] {
            assert_eq!(closed(&object(more.clone())), None, "{more}");
        }
        assert_eq!(closed(&json!({"type": "array", "items": {"type": "string"}})), None);
        let optional = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        assert_eq!((closed(&optional).is_some(), strict(&optional)), (true, None));
    }
}
