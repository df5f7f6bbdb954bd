//! The form that an answer must have: a JSON Schema, compiled once and shared by every request that asks for it.
//!
//! Providers enforce only parts of JSON Schema, and some refuse a schema for what they do not enforce. So a schema has up
//! to three spellings: as the user wrote it, closed (every object says that it has no further properties), and strict
//! (closed, and every property is required). A narrower spelling exists only where whatever satisfies it satisfies the
//! user's schema too, or differs in a bound that is then told in words. Whoever enforces what, each reply is validated
//! here against the schema as it was written.

mod closed;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::error::Error;
use crate::outcome::Fault;

/// Faults of one answer that are told; whoever has more has something else wrong.
const MOST_FAULTS: usize = 20;

/// A JSON Schema that answers must satisfy.
///
/// ```
/// use serde_json::json;
/// use tidegate::{Request, Schema};
/// let schema = Schema::new(json!({"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}))?;
/// let request = Request::prompt("What is the total of …?").schema(schema.into());
/// # let _ = request;
/// # Ok::<(), tidegate::Error>(())
/// ```
pub struct Schema {
    name: String,
    value: Value,
    closed: Option<Value>,
    strict: Option<Value>,
    validator: jsonschema::Validator,
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Schema, D::Error> {
        Schema::new(Value::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    ///
    /// Says what is no JSON Schema in it; references to other documents are not followed.
    pub fn new(mut value: Value) -> Result<Schema, Error> {
        let validator = jsonschema::validator_for(&value).map_err(|error| {
            let place = match error.instance_path().to_string() {
                path if path.is_empty() => "at its root".to_owned(),
                path => format!("at {path}"),
            };
            Error::Usage(format!("the schema is no JSON Schema {place}: {error}"))
        })?;
        let name = name(&value);
        if let Value::Object(fields) = &mut value {
            // It names the dialect, which no provider wants to know.
            fields.shift_remove("$schema");
        }
        let (closed, strict) = (closed::closed(&value), closed::strict(&value));
        Ok(Schema { name, value, closed, strict, validator })
    }

    /// Makes the schema of a type.
    ///
    /// # Errors
    ///
    /// A type whose own description of itself is no JSON Schema.
    #[cfg(feature = "schemars")]
    pub fn of<T: schemars::JsonSchema>() -> Result<Schema, Error> {
        Schema::new(schemars::schema_for!(T).to_value())
    }

    /// Returns the schema as it was written.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Returns a name for it, of letters that every provider takes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns it with closed objects, if that is possible.
    #[must_use]
    pub fn closed(&self) -> Option<&Value> {
        self.closed.as_ref()
    }

    /// Returns it with closed objects whose properties are all required, if that is possible.
    #[must_use]
    pub fn strict(&self) -> Option<&Value> {
        self.strict.as_ref()
    }

    /// Returns what is wrong with a value, field by field; nothing if it satisfies the schema.
    #[must_use]
    pub fn faults(&self, value: &Value) -> Vec<Fault> {
        let fault = |error: jsonschema::ValidationError<'_>| Fault {
            path: error.instance_path().to_string(),
            message: error.masked().to_string(),
        };
        self.validator.iter_errors(value).take(MOST_FAULTS).map(fault).collect()
    }
}

/// Returns the schema's title with no other characters than providers take.
fn name(schema: &Value) -> String {
    let title = schema.get("title").and_then(Value::as_str).unwrap_or_default();
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    match title.chars().take(64).map(allowed).collect::<String>() {
        name if name.is_empty() => "answer".to_owned(),
        name => name,
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Schema) -> bool {
        self.value == other.value
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.value).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn faults_are_named_field_by_field_without_what_the_answer_says() {
        let schema = Schema::new(json!({"type": "object", "required": ["name", "total"], "properties": {
            "name": {"type": "string"}, "total": {"type": "number"}, "tags": {"type": "array", "items": {"enum": ["a"]}}}}));
        let faults = schema.unwrap().faults(&json!({"total": "secret", "tags": ["a", "secret"]}));
        let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths.len(), 3, "{faults:?}");
        assert!(["", "/total", "/tags/1"].iter().all(|path| paths.contains(path)), "{faults:?}");
        assert!(faults.iter().all(|fault| !fault.message.contains("secret")), "{faults:?}");
    }

    #[test]
    fn what_is_no_schema_is_refused_with_its_place() {
        let error = Schema::new(json!({"type": "object", "properties": {"a": {"type": "text"}}})).unwrap_err();
        assert!(error.to_string().contains("at /properties/a/type"), "{error}");
        assert!(Schema::new(json!({"$ref": "https://example.invalid/schema.json"})).is_err());
    }

    #[test]
    fn a_name_has_only_letters_that_providers_take() {
        let named = |title: &str| Schema::new(json!({"title": title})).unwrap().name().to_owned();
        assert_eq!([named("Order line"), named("")], ["Order_line", "answer"]);
    }
}
