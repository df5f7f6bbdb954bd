//! Gemini's cached contents: the part of a body that many requests share, stored at Google under a name.
//!
//! What a cache can hold without a change of meaning is what stands in front of the conversation: the system instruction
//! and the tools. A request that names a cache must not repeat them.

use crate::json;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The fields that a cache holds, in the order in which they are sent.
const CACHED: [&str; 3] = ["systemInstruction", "tools", "toolConfig"];

/// A body, taken apart.
#[derive(Debug)]
pub(crate) struct Split<'a> {
    prefix: Vec<(String, &'a RawValue)>,
    rest: Vec<(String, &'a RawValue)>,
}

/// Takes a body apart; nothing if it has no prefix, or names a cache of its own.
pub(crate) fn split(body: &[u8]) -> Option<Split<'_>> {
    let fields: Fields<'_> = json::from_slice(body).ok()?;
    let camel = |name: String| match name.as_str() {
        "system_instruction" => "systemInstruction".to_owned(),
        "tool_config" => "toolConfig".to_owned(),
        _ => name,
    };
    let fields = fields.0.into_iter().map(|(name, value)| (camel(name), value));
    let (prefix, rest): (Vec<_>, Vec<_>) = fields.partition(|(name, _)| CACHED.contains(&name.as_str()));
    let own = rest.iter().any(|(name, _)| name == "cachedContent" || name == "cached_content");
    (!prefix.is_empty() && !own).then_some(Split { prefix, rest })
}

impl Split<'_> {
    /// Returns what tells one prefix from another.
    pub(crate) fn hash(&self) -> u64 {
        self.prefix.iter().fold(0, |hash, (name, value)| {
            xxh3_64_with_seed(value.get().as_bytes(), xxh3_64_with_seed(name.as_bytes(), hash))
        })
    }

    /// Writes the request that stores the prefix.
    pub(crate) fn create(&self, model: &str, display_name: &str, ttl: Duration) -> Bytes {
        let head = [("model", json!(model)), ("displayName", json!(display_name)), ("ttl", seconds(ttl))];
        let head = head.into_iter().map(|(name, value)| (name.to_owned(), value.to_string()));
        write(head.chain(self.prefix.iter().map(|(name, value)| (name.clone(), value.get().to_owned()))))
    }

    /// Writes the body with the cache's name in place of the prefix.
    pub(crate) fn named(&self, cache: &str) -> Bytes {
        let name = ("cachedContent".to_owned(), json!(cache).to_string());
        write(std::iter::once(name).chain(self.rest.iter().map(|(name, value)| (name.clone(), value.get().to_owned()))))
    }
}

/// Writes the request that makes a cache last longer.
pub(crate) fn renewal(ttl: Duration) -> Bytes {
    json!({"ttl": seconds(ttl)}).to_string().into()
}

fn seconds(ttl: Duration) -> Value {
    format!("{}s", ttl.as_secs()).into()
}

fn write(fields: impl Iterator<Item = (String, String)>) -> Bytes {
    let fields: Vec<String> = fields.map(|(name, value)| format!("{}:{value}", Value::from(name))).collect();
    format!("{{{}}}", fields.join(",")).into()
}

/// The fields of an object in their order, unparsed.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Fields<'a>, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A cache as Google tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Cached {
    /// What requests call it.
    pub(crate) name: String,
    /// What its maker called it.
    pub(crate) display_name: String,
    /// The model that it is for.
    pub(crate) model: String,
    /// When it ends, in RFC 3339.
    pub(crate) expire_time: String,
}

impl Cached {
    /// Reads one cache.
    pub(crate) fn read(body: &[u8]) -> Option<Cached> {
        json::from_slice(body).ok().filter(|cached: &Cached| !cached.name.is_empty())
    }

    /// Reads a page of a list, and the token of the next one.
    pub(crate) fn read_list(body: &[u8]) -> (Vec<Cached>, Option<String>) {
        let mut page: Map<String, Value> = json::from_slice(body).unwrap_or_default();
        let caches =
            page.remove("cachedContents").and_then(|list| serde_json::from_value(list).ok()).unwrap_or_default();
        let next = page.get("nextPageToken").and_then(Value::as_str).filter(|token| !token.is_empty());
        (caches, next.map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_taken_apart_and_named() {
        let body = br#"{"system_instruction":{"parts":[{"text":"s"}]},"contents":[ 1 ],"tools":[],"x":1.0}"#;
        let split = split(body).unwrap();
        assert_eq!(split.named("cachedContents/a"), r#"{"cachedContent":"cachedContents/a","contents":[ 1 ],"x":1.0}"#);
        let created = split.create("models/m", "d", Duration::from_secs(90));
        let expected = r#"{"model":"models/m","displayName":"d","ttl":"90s","systemInstruction":{"parts":[{"text":"s"}]},"tools":[]}"#;
        assert_eq!(created, expected);
        let other =
            super::split(br#"{"systemInstruction":{"parts":[{"text":"s"}]},"tools":[],"contents":[2]}"#).unwrap();
        assert_eq!(other.hash(), split.hash());
        assert_ne!(
            super::split(br#"{"systemInstruction":{"parts":[{"text":"t"}]},"tools":[]}"#).unwrap().hash(),
            split.hash()
        );
    }

    #[test]
    fn a_body_without_a_prefix_or_with_a_cache_stays() {
        for body in [r#"{"contents":[]}"#, r#"{"tools":[],"cachedContent":"c"}"#, "[]", "", r#"{"tools":"#] {
            assert!(split(body.as_bytes()).is_none(), "{body}");
        }
    }

    #[test]
    fn lists_are_read_leniently() {
        let page = br#"{"cachedContents":[{"name":"cachedContents/1","displayName":"d","new":1}],"nextPageToken":"t"}"#;
        let (caches, next) = Cached::read_list(page);
        assert_eq!((caches[0].display_name.as_str(), next.as_deref()), ("d", Some("t")));
        for none in ["{}", "[]", "<html>", r#"{"cachedContents":3,"nextPageToken":""}"#] {
            assert_eq!(Cached::read_list(none.as_bytes()), (Vec::new(), None), "{none}");
        }
    }
}
