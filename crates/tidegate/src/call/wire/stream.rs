//! What the wires share when a reply comes in events.
//!
//! A wire puts the events together to the body that the reply would have had if it had come whole, and that body is read
//! like any other. So a streamed reply and a whole one give the same output, usage and failures, and a response keeps a
//! body in the provider's own form either way.

use bytes::Bytes;
use http::response::Parts;
use serde_json::{Map, Value};

use super::Wire;
use crate::call::sse::Event;
use crate::call::status;
use crate::failure::{Failure, Kind};
use crate::json;
use crate::request::TaskKind;
use crate::response::Response;

/// How a wire's stream is cut into events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// AWS's event stream.
    Aws,
}

/// A streamed reply in the making.
#[derive(Debug)]
pub struct StreamState {
    /// The reply's head.
    pub head: Parts,
    /// The body so far, as it would be if the reply had come whole.
    pub reply: Value,
    /// Whether the event that ends the reply has come.
    pub ended: bool,
}

impl StreamState {
    /// Makes the state before the first event.
    #[must_use]
    pub fn new(head: Parts) -> StreamState {
        StreamState { head, reply: Value::Null, ended: false }
    }

    /// Reads the body that the events came to.
    ///
    /// # Errors
    ///
    /// [`Kind::Cut`] if the reply has not ended; else as [`Wire::decode`].
    pub(super) fn finish(self, wire: &dyn Wire) -> Result<Response, Failure> {
        if !self.ended {
            let message = "the stream ended before the reply did".to_owned();
            return Err(status::failure(&self.head, Kind::Cut, message));
        }
        wire.decode(TaskKind::Chat, &self.head, &Bytes::from(self.reply.to_string()))
    }

    /// Returns the reply as an object, empty before the first event.
    pub(super) fn object(&mut self) -> &mut Map<String, Value> {
        object(&mut self.reply)
    }

    /// Reads an event as JSON.
    ///
    /// # Errors
    ///
    /// [`Kind::Malformed`] if it is not.
    pub(super) fn read<'a, T: serde::Deserialize<'a>>(&self, event: &'a Event) -> Result<T, Failure> {
        json::from_slice(&event.data).map_err(|error| {
            status::failure(&self.head, Kind::Malformed, format!("an event of the stream cannot be read: {error}"))
        })
    }
}

/// Returns a value as an object, which it becomes if it was none.
pub(super) fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(fields) => fields,
        _ => unreachable!("it was made an object above"),
    }
}

/// Returns a field as a list, which it becomes if it was none.
pub(super) fn list<'a>(fields: &'a mut Map<String, Value>, name: &str) -> &'a mut Vec<Value> {
    let value = fields.entry(name).or_insert(Value::Null);
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(items) => items,
        _ => unreachable!("it was made a list above"),
    }
}

/// Adds text to a field that is text, or makes it one.
pub(super) fn append(fields: &mut Map<String, Value>, name: &str, text: &str) {
    match fields.get_mut(name) {
        Some(Value::String(known)) => known.push_str(text),
        _ => drop(fields.insert(name.to_owned(), text.into())),
    }
}
