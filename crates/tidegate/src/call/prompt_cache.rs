//! What many requests begin with, kept by the provider: where its caches end.
//!
//! Anthropic's models, directly and on Bedrock, and Amazon's Nova keep what stands before a *cache point*; other providers
//! keep prefixes by themselves. A point is worth something where the text before it comes again, so a strategy places
//! points by the lengths of a request's blocks:
//!
//! | strategy | where |
//! |---|---|
//! | conservative | one point, after the first block up to which there are 100 tokens or more and behind which there are fewer than 100, or less than a fifth of the whole |
//! | aggressive | a point after each block that makes 500 tokens or more since the last point, at most four |
//!
//! Never after the last block, and never in a request that has points of its own, or whose body is the user's own.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::call::wire::WireId;
use crate::request::{CachePoint, Part, Request, Role, Task};

/// Tokens below which a prefix is not worth a point.
const LEAST: usize = 100;
/// Tokens from one point to the next of the aggressive strategy.
const APART: usize = 500;
/// Points that providers take in one request.
const MOST: usize = 4;

/// How cache points are placed in requests to providers that want them.
///
/// ```
/// use tidegate::{PromptCache, Target};
/// let target = Target::new("anthropic/claude-haiku-4-5")?.prompt_cache(PromptCache::Conservative);
/// # let _ = target;
/// # Ok::<(), tidegate::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PromptCache {
    /// None are: a request has those that it came with.
    #[default]
    Off,
    /// One, before the last part of a request that is much shorter than what stands before it.
    Conservative,
    /// Up to four, after each longer part.
    Aggressive,
}

impl PromptCache {
    /// Returns whether a model of a wire keeps what stands before a point.
    pub(super) fn is_known_to(wire: WireId, model: &str) -> bool {
        match wire {
            WireId::Anthropic | WireId::BedrockInvoke => true,
            WireId::Bedrock => ["anthropic.", "amazon.nova"].iter().any(|family| model.contains(family)),
            WireId::Openai | WireId::Responses | WireId::Gemini => false,
        }
    }

    /// Returns the request with its points.
    pub(super) fn pointed(self, request: Cow<'_, Request>) -> Cow<'_, Request> {
        let places = self.places(&request);
        if places.is_empty() {
            return request;
        }
        let mut request = request.into_owned();
        if let Task::Chat(messages) = &mut request.task {
            for (message, part) in places.into_iter().rev() {
                messages[message].parts.insert(part + 1, Part::CachePoint(CachePoint::default()));
            }
        }
        Cow::Owned(request)
    }

    /// Returns after which parts of which messages the points go, in order.
    fn places(self, request: &Request) -> Vec<(usize, usize)> {
        let (Task::Chat(messages), None) = (&request.task, &request.original) else { return Vec::new() };
        let parts = || {
            let numbered = messages.iter().enumerate();
            numbered.flat_map(|(message, of)| of.parts.iter().enumerate().map(move |(part, it)| ((message, part), it)))
        };
        if self == PromptCache::Off || parts().any(|(_, part)| matches!(part, Part::CachePoint(_))) {
            return Vec::new();
        }
        let whole: usize = parts().map(|(_, part)| tokens(part)).sum();
        let last = parts().count().saturating_sub(1);
        let (mut before, mut since, mut places) = (0, 0, Vec::new());
        for (place, part) in parts().take(last) {
            before += tokens(part);
            since += tokens(part);
            let here = match self {
                PromptCache::Off => false,
                PromptCache::Conservative => {
                    let behind = whole - before;
                    places.is_empty() && before >= LEAST && (behind < LEAST || 5 * before > 4 * whole)
                }
                PromptCache::Aggressive => since >= APART && places.len() < MOST,
            };
            if here {
                places.push(place);
                since = 0;
            }
        }
        places
    }

    /// Returns what tells the longest prefix that is kept from others; nothing if none is.
    pub(super) fn prefix(self, request: &Request) -> Option<u64> {
        let request = self.pointed(Cow::Borrowed(request));
        let Task::Chat(messages) = &request.task else { return None };
        let parts: Vec<&Part> = messages.iter().flat_map(|message| &message.parts).collect();
        let end = parts.iter().rposition(|part| matches!(part, Part::CachePoint(_)))?;
        let tools = request.params.extra.get("tools").map(ToString::to_string).unwrap_or_default();
        let mut hash = xxh3_64_with_seed(tools.as_bytes(), 0);
        for part in &parts[..end] {
            hash = xxh3_64_with_seed(&serde_json::to_vec(part).ok()?, hash);
        }
        Some(hash)
    }
}

/// Names what a request begins with (its system messages) to a provider that keeps prefixes by itself, so that those
/// that begin alike come to the same machine.
pub(super) fn named(request: Cow<'_, Request>) -> Cow<'_, Request> {
    const NAME: &str = "prompt_cache_key";
    let Task::Chat(messages) = &request.task else { return request };
    let system = messages.iter().take_while(|message| message.role == Role::System);
    let mut hash = None;
    for part in system.flat_map(|message| &message.parts) {
        let Part::Text(text) = part else { return request };
        hash = Some(xxh3_64_with_seed(text.as_bytes(), hash.unwrap_or_default()));
    }
    match hash {
        Some(hash) if request.original.is_none() && !request.params.extra.contains_key(NAME) => {
            Cow::Owned(request.into_owned().param(NAME, format!("{hash:016x}")))
        }
        _ => request,
    }
}

/// Returns about how many tokens a part has.
fn tokens(part: &Part) -> usize {
    match part {
        Part::Text(text) => text.len() / 4,
        Part::Image(_) => 450,
        Part::Document(_) => 1000,
        Part::Video(_) => 2000,
        _ => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Message;

    fn text(tokens: usize) -> String {
        "abcd".repeat(tokens)
    }

    fn places(strategy: PromptCache, system: usize, parts: &[usize]) -> Vec<(usize, usize)> {
        let user = parts.iter().fold(Message::user(), |message, tokens| message.text(text(*tokens)));
        strategy.places(&Request::chat(vec![user]).system(text(system)))
    }

    #[test]
    fn a_conservative_point_stands_before_a_short_end() {
        let conservative = |system, parts: &[usize]| places(PromptCache::Conservative, system, parts);
        assert_eq!(conservative(1500, &[50]), [(0, 0)]);
        assert_eq!(conservative(1500, &[300]), [(0, 0)], "more than four fifths");
        assert_eq!(conservative(1500, &[1500, 20]), [(1, 0)]);
        assert!(conservative(1500, &[1500]).is_empty(), "half of it is another each time");
        assert!(conservative(99, &[5]).is_empty() && conservative(0, &[5000]).is_empty());
    }

    #[test]
    fn aggressive_points_stand_after_each_long_part() {
        let aggressive = |system, parts: &[usize]| places(PromptCache::Aggressive, system, parts);
        assert_eq!(aggressive(600, &[300, 300, 9000]), [(0, 0), (1, 1)]);
        assert_eq!(aggressive(500, &[500; 9]), [(0, 0), (1, 0), (1, 1), (1, 2)]);
        assert!(aggressive(499, &[10]).is_empty());
    }

    #[test]
    fn requests_with_points_of_their_own_are_left_alone() {
        let own = Request::chat(vec![Message::user().text(text(900)).cache_point().text("x")]).system(text(900));
        assert!(PromptCache::Aggressive.places(&own).is_empty());
        assert_eq!(PromptCache::Aggressive.pointed(Cow::Borrowed(&own)).as_ref(), &own);
        assert!(PromptCache::Off.prefix(&own).is_some());
    }

    #[test]
    fn requests_with_the_same_beginning_have_the_same_prefix() {
        let prefix = |system: &str, user: &str| {
            PromptCache::Conservative.prefix(&Request::prompt(user).system(system.repeat(1000)))
        };
        assert_eq!(prefix("abcd", "one"), prefix("abcd", "two"));
        assert_ne!(prefix("abcd", "one"), prefix("abce", "one"));
        assert_eq!(PromptCache::Conservative.prefix(&Request::prompt("short")), None);
    }
}
