//! What every wire does with JSON bodies: writes them, and changes no more than the model in those of somebody else.

use bytes::Bytes;
use serde::Serialize;

use crate::failure::{Failure, Kind};
use crate::request::Original;

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
    #[derive(serde::Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        model: Option<&'a serde_json::value::RawValue>,
    }
    let text = std::str::from_utf8(&original.bytes).map_err(bad_body)?;
    // A list would be read as the struct's fields in order.
    if !text.trim_start().starts_with('{') {
        return Err(bad_body("it does not begin with a brace"));
    }
    let head: Head<'_> = serde_json::from_str(text).map_err(bad_body)?;
    let name = serde_json::Value::from(model).to_string();
    let (before, after) = match head.model {
        Some(old) => {
            let start = old.get().as_ptr() as usize - text.as_ptr() as usize;
            (&text[..start], &text[start + old.get().len()..])
        }
        None => {
            let open = text.find('{').ok_or_else(|| bad_body("not a JSON object"))? + 1;
            let comma = if text[open..].trim_start().starts_with('}') { "" } else { "," };
            return Ok(Bytes::from([&text[..open], "\"model\":", &name, comma, &text[open..]].concat()));
        }
    };
    Ok(Bytes::from([before, &name, after].concat()))
}

/// Says that a body which was written by somebody else cannot be read.
pub(super) fn bad_body(error: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::BadRequest, format!("the request body is not a JSON object: {error}"))
}
