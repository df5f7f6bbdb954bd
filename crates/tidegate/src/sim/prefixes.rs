//! The prompt caches of Anthropic and Bedrock at the simulated provider: what stands before a cache point is kept for five
//! minutes after its last use, from the moment when the reply that wrote it begins.
//!
//! So requests that are sent before the first reply all write the same prefix, as they would at the provider.

use std::collections::HashMap;

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::answer::tokens;
use crate::call::wire::WireId;
use crate::json;

/// The shortest prefix that is kept, in tokens.
const LEAST_TOKENS: u64 = 1024;
/// How long a prefix is kept, in seconds.
const TTL: f64 = 300.0;

/// The prefixes that a request marks, from short to long: what each is known by, and how many tokens it has.
#[derive(Debug, Clone, Default)]
pub(super) struct Marked {
    points: Vec<(u64, u64)>,
}

/// How many input tokens a cache has to do with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CacheUse {
    pub(crate) read: u64,
    pub(crate) written: u64,
}

/// The prefixes that are kept, with the seconds from which and until which they are.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    kept: HashMap<u64, (f64, f64)>,
}

impl Marked {
    /// Finds the cache points of a body; `scope` tells whose cache it is.
    pub(super) fn of(wire: WireId, body: &[u8], scope: u64) -> Marked {
        let caches = matches!(wire, WireId::Anthropic | WireId::Bedrock | WireId::BedrockInvoke);
        let has = |name: &[u8]| memchr::memmem::find(body, name).is_some();
        if !caches || !(has(b"cache_control") || has(b"cachePoint")) {
            return Marked::default();
        }
        let Ok(body) = json::from_slice::<Value>(body) else { return Marked::default() };
        let mut marked = Marked::default();
        let (mut hash, mut bytes) = (scope, 0);
        let messages = body["messages"].as_array().into_iter().flatten().map(|message| &message["content"]);
        for content in [&body["system"]].into_iter().chain(messages) {
            let one = std::slice::from_ref(content);
            for block in content.as_array().map_or(one, Vec::as_slice) {
                let text = block["text"].as_str().or(block.as_str()).map_or_else(|| block.to_string(), str::to_owned);
                if block.get("cachePoint").is_none() {
                    hash = xxh3_64_with_seed(text.as_bytes(), hash);
                    bytes += text.len();
                }
                if block.get("cachePoint").is_some() || block.get("cache_control").is_some() {
                    marked.points.push((hash, tokens(bytes)));
                }
            }
        }
        marked
    }
}

impl Prefixes {
    /// Returns what of a request is read and what is written at that time.
    pub(super) fn look(&self, marked: &Marked, at: f64) -> CacheUse {
        let long = || marked.points.iter().filter(|(_, tokens)| *tokens >= LEAST_TOKENS);
        let kept = |hash: &u64| self.kept.get(hash).is_some_and(|(from, until)| *from <= at && at < *until);
        let read = long().rfind(|(hash, _)| kept(hash)).map_or(0, |(_, tokens)| *tokens);
        let most = long().next_back().map_or(0, |(_, tokens)| *tokens);
        CacheUse { read, written: most - read }
    }

    /// Keeps what a request marks, from the time when its reply begins.
    pub(super) fn keep(&mut self, marked: &Marked, begins: f64) {
        for (hash, _) in marked.points.iter().filter(|(_, tokens)| *tokens >= LEAST_TOKENS) {
            let kept = self.kept.entry(*hash).or_insert((begins, begins + TTL));
            let (from, until) = *kept;
            *kept = (if until <= begins { begins } else { from.min(begins) }, begins + TTL);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn marked(system: &str) -> Marked {
        let system = json!([{"type": "text", "text": system.repeat(1500), "cache_control": {"type": "ephemeral"}}]);
        let body = json!({"system": system, "messages": [{"role": "user", "content": "x"}]});
        Marked::of(WireId::Anthropic, body.to_string().as_bytes(), 0)
    }

    #[test]
    fn a_prefix_is_read_once_its_first_reply_has_begun_and_for_five_minutes() {
        let (mut prefixes, abcd) = (Prefixes::default(), marked("abcd"));
        let written = CacheUse { read: 0, written: 1500 };
        assert_eq!(prefixes.look(&abcd, 0.0), written);
        prefixes.keep(&abcd, 1.0);
        assert_eq!(prefixes.look(&abcd, 0.5), written);
        assert_eq!(prefixes.look(&abcd, 1.0), CacheUse { read: 1500, written: 0 });
        assert_eq!(prefixes.look(&marked("abce"), 1.0), written);
        prefixes.keep(&abcd, 200.0);
        assert_eq!((prefixes.look(&abcd, 499.0).read, prefixes.look(&abcd, 500.0).read), (1500, 0));
    }

    #[test]
    fn what_is_short_or_not_marked_is_not_kept() {
        let short = json!({"system": [{"text": "short"}, {"cachePoint": {"type": "default"}}], "messages": []});
        let short = Marked::of(WireId::Bedrock, short.to_string().as_bytes(), 0);
        assert_eq!((short.points.len(), Prefixes::default().look(&short, 0.0)), (1, CacheUse::default()));
        assert!(Marked::of(WireId::Openai, b"{\"cache_control\": 1}", 0).points.is_empty());
    }
}
