//! Reads a reply that should be one JSON value, and guesses nothing.
//!
//! A fence around the value, or what is left of one behind it, says nothing about the value and is taken off. Anything
//! else is refused, because what looks like a repair may be another answer: prose around the value, a second value, a
//! property that comes twice, NaN.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads a reply. Returns with the value whether a fence was taken off.
///
/// # Errors
///
/// Says why it is not one JSON value, without quoting it.
pub(crate) fn read(text: &str) -> Result<(Value, bool), String> {
    let bare = without_fence(text.trim());
    match serde_json::from_str::<Strict>(bare) {
        Ok(Strict(value)) => Ok((value, bare.len() < text.trim().len())),
        Err(error) => Err(format!("not one JSON value: {error}")),
    }
}

/// Takes off an outer code fence with any language's name, and pieces of a fence at the end.
pub(crate) fn without_fence(text: &str) -> &str {
    let opened = text.strip_prefix("```").and_then(|rest| rest.split_once('\n'));
    let language =
        |name: &str| name.trim_end().chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+'));
    let inside = opened.filter(|(name, _)| language(name)).map_or(text, |(_, inside)| inside);
    inside.trim_end_matches(['`', '_']).trim_end()
}

/// A value whose objects have each property once.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Strict, D::Error> {
        deserializer.deserialize_any(Reader).map(Strict)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((name, Strict(value))) = map.next_entry::<String, _>()? {
            if fields.insert(name, value).is_some() {
                return Err(A::Error::custom("a property comes twice"));
            }
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use serde_json::json;

    use super::*;

    #[test]
    fn fences_are_taken_off_and_counted() {
        let value = json!({"a": [1, -2.5, "x`_`", null, true]});
        for (text, stripped) in [
            (format!(" {value}\n"), false),
            (format!("```json\n{value}\n```"), true),
            (format!("```\r\n{value}```\n"), true),
            (format!("```jsonc\n{value}"), true),
            (format!("{value}\n```"), true),
            (format!("{value}\n```_"), true),
        ] {
            assert_eq!(read(&text), Ok((value.clone(), stripped)), "{text}");
        }
    }

    #[test]
    fn nothing_is_guessed() {
        for text in [
            "Here it is: {\"a\": 1}",
            "{\"a\": 1} I hope this helps.",
            "```json\n{\"a\": 1}\n```\nI hope this helps.",
            "{\"a\": 1}\n{\"a\": 2}",
            "{\"a\": 1, \"b\": {\"c\": 1, \"c\": 1}}",
            "{\"a\": NaN}",
            "{\"a\": 1e999}",
            "{\"a\": 1,}",
            "{'a': 1}",
            "{\"a\": \"cut off",
            "",
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with("not one JSON value") && !error.contains("hope"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in any::<String>()) {
            let _ = read(&text);
        }

        #[test]
        fn what_serde_writes_is_read(text in any::<String>(), number in -1e9..1e9, n in any::<i64>()) {
            let value = json!({"a": text, "b": [number, n]});
            prop_assert_eq!(read(&value.to_string()), Ok((value, false)));
        }
    }
}
