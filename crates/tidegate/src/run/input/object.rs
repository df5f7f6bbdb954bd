//! Writes the JSON objects of formats that have none of their own.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

/// How much is allocated for several rows together.
const BLOCK: usize = 64 << 10;

/// Writes objects whose keys are always the same and whose values are all strings.
pub(super) struct ObjectWriter {
    /// What stands in front of each value: `{"first":`, `,"second":`, ….
    keys: Vec<String>,
    buffer: BytesMut,
    fields: usize,
}

impl ObjectWriter {
    pub(super) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> ObjectWriter {
        let key = |(i, name)| format!("{}{}:", if i == 0 { '{' } else { ',' }, Value::from(name));
        ObjectWriter { keys: names.into_iter().enumerate().map(key).collect(), buffer: BytesMut::new(), fields: 0 }
    }

    /// Adds the next value; one for which there is no key is counted but not written.
    pub(super) fn add(&mut self, value: &str) -> io::Result<()> {
        if let Some(key) = self.keys.get(self.fields) {
            let room = key.len() + value.len() + 3;
            if self.buffer.capacity() - self.buffer.len() < room {
                self.buffer.reserve(room.max(BLOCK));
            }
            self.buffer.put_slice(key.as_bytes());
            serde_json::to_writer((&mut self.buffer).writer(), value)?;
        }
        self.fields += 1;
        Ok(())
    }

    /// Returns how many values there are so far.
    pub(super) fn fields(&self) -> usize {
        self.fields
    }

    /// Returns the finished object, and begins the next one.
    pub(super) fn finish(&mut self) -> Bytes {
        self.fields = 0;
        self.buffer.put_u8(b'}');
        self.buffer.split().freeze()
    }

    /// Forgets the unfinished object.
    pub(super) fn discard(&mut self) {
        self.fields = 0;
        self.buffer.clear();
    }
}
