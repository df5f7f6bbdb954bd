//! What a request may do without, where it allows that: parameters that only tune an answer, media, cache points.
//!
//! What decides *what* is answered or what may be said is no such thing, and never left out: guardrails, tools, schemas,
//! system prompts, texts.

use super::{MediaKind, Message, Params, Part, Request, Task};

/// Something that a request can be sent without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    /// A parameter, by its place in the list of them.
    Param(u8),
    /// Media of one kind in messages; those in results of tools stay.
    Media(MediaKind),
    /// Marks of what the provider may keep.
    CachePoints,
}

/// The parameters that an answer may do without.
const PARAMS: [&str; 17] = [
    "anthropic_beta",
    "frequency_penalty",
    "logit_bias",
    "min_p",
    "performance_config",
    "presence_penalty",
    "reasoning_config",
    "reasoning_effort",
    "repetition_penalty",
    "request_metadata",
    "seed",
    "service_tier",
    "temperature",
    "thinking",
    "top_k",
    "top_p",
    "verbosity",
];

/// The objects in which formats keep parameters.
const NESTS: [&str; 3] = ["additionalModelRequestFields", "inferenceConfig", "generationConfig"];

/// The kinds of media, with the words for them.
const MEDIA: [(MediaKind, &[&str]); 4] = [
    (MediaKind::Image, &["image", "images"]),
    (MediaKind::Document, &["document", "documents", "pdf", "pdfs"]),
    (MediaKind::Video, &["video", "videos"]),
    (MediaKind::Audio, &["audio"]),
];

impl Feature {
    /// Returns every feature there is.
    pub(crate) fn all() -> impl Iterator<Item = Feature> {
        let media = MEDIA.iter().map(|(kind, _)| Feature::Media(*kind));
        (0..PARAMS.len() as u8).map(Feature::Param).chain(media).chain([Feature::CachePoints])
    }

    /// Returns the words, in lower case, by which a message may mean it.
    pub(crate) fn words(self) -> Vec<String> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match self {
            Feature::Param(_) => vec![self.name().to_owned(), self.name().replace('_', "")],
            Feature::Media(kind) => {
                MEDIA.iter().find(|(known, _)| *known == kind).map_or(Vec::new(), |(_, words)| owned(words))
            }
            Feature::CachePoints => owned(&["cachepoint", "cachepoints", "cache_point", "cache_control", "caching"]),
        }
    }

    /// Returns its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Feature::Param(place) => PARAMS[usize::from(place)],
            Feature::Media(kind) => kind.name(),
            Feature::CachePoints => "cache_point",
        }
    }

    fn is(self, part: &Part) -> bool {
        match (self, part) {
            (Feature::Media(kind), part) => part.as_media().is_some_and(|(own, _)| own == kind),
            (Feature::CachePoints, Part::CachePoint(_)) => true,
            _ => false,
        }
    }
}

impl Request {
    /// Returns whether a typed request has a feature, and would still ask something without it.
    pub(crate) fn can_do_without(&self, feature: Feature) -> bool {
        if let Feature::Param(_) = feature {
            return has(&self.params, feature.name());
        }
        let Task::Chat(messages) = &self.task else { return false };
        let parts = || messages.iter().flat_map(|message| &message.parts);
        parts().any(|part| feature.is(part))
            && parts().any(|part| matches!(part, Part::Text(text) if !text.trim().is_empty()))
    }

    /// Takes a feature out of a typed request.
    pub(crate) fn leave_out(&mut self, feature: Feature) {
        match (feature, &mut self.task) {
            (Feature::Param(_), _) => remove(&mut self.params, feature.name()),
            (_, Task::Chat(messages)) => {
                messages.iter_mut().for_each(|message| message.parts.retain(|part| !feature.is(part)));
                messages.retain(|message: &Message| !message.parts.is_empty() || !message.extra.is_empty());
            }
            (_, Task::Embed(_)) => {}
        }
    }
}

/// Returns the name as Converse and Gemini write it.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}

fn has(params: &Params, name: &str) -> bool {
    let (camel, extra) = (camel(name), &params.extra);
    let nested = NESTS.iter().filter_map(|nest| extra.get(*nest)?.as_object());
    let own = match name {
        "temperature" => params.temperature.is_some(),
        "seed" => params.seed.is_some(),
        _ => false,
    };
    own || nested.chain([extra]).any(|fields| fields.contains_key(name) || fields.contains_key(&camel))
}

fn remove(params: &mut Params, name: &str) {
    let camel = camel(name);
    match name {
        "temperature" => params.temperature = None,
        "seed" => params.seed = None,
        _ => {}
    }
    for name in [name, &camel] {
        params.extra.shift_remove(name);
        for nest in NESTS {
            if let Some(fields) = params.extra.get_mut(nest).and_then(serde_json::Value::as_object_mut) {
                fields.shift_remove(name);
            }
        }
    }
    // An object that held nothing else is not sent empty.
    params
        .extra
        .retain(|name, value| !NESTS.contains(&name.as_str()) || value.as_object().is_none_or(|own| !own.is_empty()));
}
