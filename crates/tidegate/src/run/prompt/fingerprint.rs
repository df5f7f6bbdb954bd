//! The hash of a request, which tells a resumed run whether a row would be asked something else now.

use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::request::{Message, Original, Params, Part, Request, Task, TaskKind};
use crate::run::key;

/// Hashes everything that the provider will see of a request but the model. It is kept in journals, so that it must never
/// change; the order of fields does not count.
#[must_use]
pub fn fingerprint(request: &Request, seed: u64) -> u32 {
    let mut hasher = Hasher(Vec::with_capacity(OFTEN));
    match (&request.original, &request.task) {
        (Some(original), _) => hasher.original(original),
        (None, Task::Chat(messages)) => hasher.chat(messages),
        (None, Task::Embed(text)) => hasher.texts(&["embed", text]),
    }
    hasher.params(&request.params);
    if let Some(schema) = &request.schema {
        hasher.texts(&["schema"]);
        hasher.value(schema.value());
    }
    let hash = xxh3_64_with_seed(&hasher.0, seed);
    (hash ^ (hash >> 32)) as u32
}

/// As many bytes as most requests have.
const OFTEN: usize = 1024;

/// Writes values so that their borders count: every text with its length, every list with its own.
///
/// Into a buffer: hashing it at once costs a fifth of feeding the hash with many small pieces.
struct Hasher(Vec<u8>);

impl Hasher {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn texts(&mut self, texts: &[&str]) {
        for text in texts {
            self.bytes(text.as_bytes());
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Leaves the model's name out, because another one is put in its place when the body is sent.
    fn original(&mut self, original: &Original) {
        self.texts(&["original", kind_name(original.kind)]);
        let text = std::str::from_utf8(&original.bytes).unwrap_or_default();
        let mut model = [None::<&serde_json::value::RawValue>];
        let readable = key::pick(text, |name| (name == "model").then_some(0), &mut model);
        match (readable, model) {
            (Ok(()), [Some(model)]) => {
                let start = model.get().as_ptr() as usize - text.as_ptr() as usize;
                self.texts(&[&text[..start], &text[start + model.get().len()..]]);
            }
            _ => self.bytes(&original.bytes),
        }
    }

    fn chat(&mut self, messages: &[Message]) {
        self.texts(&["chat"]);
        self.number(messages.len() as u64);
        for message in messages {
            self.texts(&[message.role.name()]);
            self.number(message.parts.len() as u64);
            for part in &message.parts {
                match part {
                    Part::Text(text) => self.texts(&["text", text]),
                    Part::Raw { value, .. } => {
                        self.texts(&["raw"]);
                        self.value(value);
                    }
                }
            }
            self.map(&message.extra);
        }
    }

    fn params(&mut self, params: &Params) {
        let Params { temperature, max_tokens, stop, seed, extra } = params;
        self.option(temperature.map(f64::to_bits));
        self.option(max_tokens.map(u64::from));
        self.option(seed.map(i64::cast_unsigned));
        self.number(stop.len() as u64);
        stop.iter().for_each(|text| self.bytes(text.as_bytes()));
        self.map(extra);
    }

    fn option(&mut self, value: Option<u64>) {
        self.number(u64::from(value.is_some()));
        self.number(value.unwrap_or(0));
    }

    fn map(&mut self, map: &Map<String, Value>) {
        let mut entries: Vec<_> = map.iter().collect();
        entries.sort_unstable_by_key(|(name, _)| *name);
        self.number(entries.len() as u64);
        for (name, value) in entries {
            self.bytes(name.as_bytes());
            self.value(value);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(map) => {
                self.texts(&["object"]);
                self.map(map);
            }
            Value::Array(items) => {
                self.texts(&["list"]);
                self.number(items.len() as u64);
                items.iter().for_each(|item| self.value(item));
            }
            Value::String(text) => self.texts(&["text", text]),
            other => self.bytes(other.to_string().as_bytes()),
        }
    }
}

fn kind_name(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Chat => "chat",
        TaskKind::Embed => "embed",
    }
}
