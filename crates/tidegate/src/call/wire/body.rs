//! What every wire does with JSON bodies: writes them, and changes no more than the model in those of somebody else.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::call::provider::Quirks;
use crate::failure::{Failure, Kind};
use crate::request::{Original, Params};

/// As many bytes as most bodies have.
const OFTEN: usize = 1024;

/// Writes a body.
///
/// # Errors
///
/// [`Kind::Unsupported`] with the reason for which a part of it refused to be written.
pub(super) fn to_bytes(body: &impl Serialize) -> Result<Bytes, Failure> {
    let mut bytes = Vec::with_capacity(OFTEN);
    serde_json::to_writer(&mut bytes, body).map_err(|e| Failure::new(Kind::Unsupported, e.to_string()))?;
    Ok(Bytes::from(bytes))
}

/// Replaces only the value of `model` in a body that was written by somebody else.
///
/// # Errors
///
/// [`Kind::BadRequest`] if it is not a JSON object.
pub(super) fn patch_model(original: &Original, model: &str) -> Result<Bytes, Failure> {
    set_field(&original.bytes, "model", &serde_json::Value::from(model).to_string())
}

/// Replaces only the value of one field of a body, or adds it in front.
///
/// # Errors
///
/// [`Kind::BadRequest`] if it is not a JSON object.
pub(super) fn set_field(body: &Bytes, name: &str, json: &str) -> Result<Bytes, Failure> {
    let text = std::str::from_utf8(body).map_err(bad_body)?;
    // A list would be read as an object's fields in order.
    if !text.trim_start().starts_with('{') {
        return Err(bad_body("it does not begin with a brace"));
    }
    if let Some(old) = field(text, name).map_err(bad_body)? {
        let start = old.as_ptr() as usize - text.as_ptr() as usize;
        return Ok(Bytes::from([&text[..start], json, &text[start + old.len()..]].concat()));
    }
    let open = text.find('{').ok_or_else(|| bad_body("not a JSON object"))? + 1;
    let comma = if text[open..].trim_start().starts_with('}') { "" } else { "," };
    Ok(Bytes::from([&text[..open], "\"", name, "\":", json, comma, &text[open..]].concat()))
}

/// Finds the text of a field's value; the others are checked to be JSON and skipped.
pub(super) fn field<'a>(text: &'a str, name: &str) -> serde_json::Result<Option<&'a str>> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = reader.deserialize_map(Find(name))?;
    reader.end()?;
    Ok(found)
}

struct Find<'n>(&'n str);

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<&'de str>, A::Error> {
        let mut found = None;
        while let Some(Key(key)) = map.next_key()? {
            if key == self.0 {
                found = Some(map.next_value::<&'de RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Refuses sampling parameters where the model does: what it answers is a 400.
///
/// # Errors
///
/// [`Kind::Unsupported`] names the first that is set.
pub(super) fn check_sampling(params: &Params, model: &str, quirks: &Quirks) -> Result<(), Failure> {
    if quirks.sampling {
        return Ok(());
    }
    let given =
        |name: &&str| params.extra.contains_key(*name) || (*name == "temperature" && params.temperature.is_some());
    match ["temperature", "top_p"].iter().find(|name| given(name)) {
        Some(name) => Err(refuses_sampling(model, name)),
        None => Ok(()),
    }
}

/// Says that a model refuses a sampling parameter.
pub(super) fn refuses_sampling(model: &str, name: &str) -> Failure {
    Failure::new(Kind::Unsupported, format!("{model} refuses sampling parameters; leave `{name}` out"))
}

/// Says that a body which was written by somebody else cannot be read.
pub(super) fn bad_body(error: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::BadRequest, format!("the request body is not a JSON object: {error}"))
}
