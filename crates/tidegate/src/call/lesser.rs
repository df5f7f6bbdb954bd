//! What an endpoint turned out not to take, and what a request is without it.
//!
//! Only for requests that allow it ([`Request::lossy`]), and only on a refusal that says so: a wrong request (400, 422)
//! whose message says that something is not *supported* and names exactly one thing that the request has and may do
//! without. A message that mentions a guardrail, a tool, a schema, a region or a profile is about something else, whatever
//! else it says: those are never left out. What was refused once is left out of later requests to the same endpoint, that
//! is, to this model in this region; and from a request it is left out wherever it goes next.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use super::typed;
use crate::failure::{Failure, Kind};
use crate::request::{Feature, Request};

/// What one endpoint does not take.
#[derive(Debug, Default)]
pub(super) struct Lacks(Mutex<Vec<Feature>>);

impl Lacks {
    /// Returns the request without what it is to do without, and what there is to say about that.
    ///
    /// # Errors
    ///
    /// [`Kind::BadRequest`] says what is wrong with a body of the user's own.
    pub(super) fn fit<'a>(
        &self,
        request: Cow<'a, Request>,
        model: &str,
    ) -> Result<(Cow<'a, Request>, Vec<String>), Failure> {
        if !request.lossy {
            return Ok((request, Vec::new()));
        }
        let mut features = request.without.clone();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        features.extend(known.into_iter().filter(|feature| !request.without.contains(feature)));
        if features.is_empty() {
            return Ok((request, Vec::new()));
        }
        let mut lesser = typed(&request)?.into_owned();
        features.retain(|feature| lesser.can_do_without(*feature));
        if features.is_empty() {
            return Ok((request, Vec::new()));
        }
        features.iter().for_each(|feature| lesser.leave_out(*feature));
        let told = features.iter().map(|feature| left_out(*feature, model)).collect();
        Ok((Cow::Owned(lesser), told))
    }

    /// Notes what a refusal says is not taken, and names it in the failure.
    pub(super) fn learn(&self, request: &Request, mut failure: Failure) -> Failure {
        if request.lossy && failure.kind == Kind::BadRequest {
            failure.refused = refused(request, &failure.message);
        }
        if let Some(feature) = failure.refused {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !known.contains(&feature) {
                known.push(feature);
            }
        }
        failure
    }
}

/// Returns the request without what was refused in it, if it may do without and has not done so before.
pub(crate) fn lesser(request: &Request, failure: &Failure) -> Option<Request> {
    let refused = failure.refused.filter(|feature| !request.without.contains(feature))?;
    let mut lesser = request.clone();
    lesser.without.push(refused);
    Some(lesser)
}

/// Returns the request without the parameter for which it could not be written, and what there is to say about that; nothing
/// if it must not be sent without.
pub(super) fn unwritten(request: &Request, failure: &Failure, model: &str) -> Option<(Request, String)> {
    let allowed = request.lossy && failure.kind == Kind::Unsupported;
    let name = failure.message.split('`').nth(1).filter(|_| allowed)?.to_lowercase();
    let mut request = typed(request).ok()?.into_owned();
    let is_named = |feature: &Feature| matches!(feature, Feature::Param(_)) && feature.words().contains(&name);
    let feature = Feature::all().find(|feature| is_named(feature) && request.can_do_without(*feature))?;
    request.leave_out(feature);
    Some((request, left_out(feature, model)))
}

fn left_out(feature: Feature, model: &str) -> String {
    format!("left out: {}, which {model} does not take", feature.name())
}

/// Returns the one thing that a message says is not supported, if the request has it and may do without.
fn refused(request: &Request, message: &str) -> Option<Feature> {
    let words = words(message);
    if !says_unsupported(message) || words.iter().any(|word| is_kept(word)) {
        return None;
    }
    let request = typed(request).ok()?;
    let named = |feature: &Feature| match feature {
        Feature::Media(_) => is_named_as_media(&words, &feature.words()),
        _ => words.iter().any(|word| feature.words().contains(word)),
    };
    let mut named = Feature::all().filter(|feature| named(feature) && request.can_do_without(*feature));
    named.next().filter(|_| named.next().is_none())
}

fn words(message: &str) -> Vec<String> {
    let plain = message.to_lowercase().replace(['’', '‘', '`'], "'");
    let words = plain.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

fn says_unsupported(message: &str) -> bool {
    let plain = message.to_lowercase().replace(['’', '‘', '`'], "'");
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    let phrases = [
        "not support",
        "n't support",
        "unsupported",
        "not permitted",
        "extraneous key",
        "unknown parameter",
        "unrecognized",
        "deprecated",
        "not valid for this model",
        "not allow prompt caching",
    ];
    phrases.iter().any(|phrase| plain.contains(phrase))
}

/// Whether a word means something that is never left out, or that has nothing to do with what the model takes.
fn is_kept(word: &str) -> bool {
    let begins =
        ["guard", "tool", "function", "schema", "response_format", "outputconfig", "region", "profile", "system"];
    let whole = ["safety", "json", "inference", "format", "size", "dimensions", "pixels", "url", "together", "both"];
    begins.iter().any(|start| word.starts_with(start)) || whole.contains(&word)
}

/// A kind of media is meant where its word stands near the one that says `support`: in "this model doesn't support image
/// content blocks", "images are not supported".
fn is_named_as_media(words: &[String], names: &[String]) -> bool {
    let support = words.iter().enumerate().filter(|(_, word)| word.contains("support")).map(|(at, _)| at);
    let named: Vec<usize> =
        words.iter().enumerate().filter(|(_, word)| names.contains(word)).map(|(at, _)| at).collect();
    support.into_iter().any(|at| named.iter().any(|named| named.abs_diff(at) <= 5))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_parameter_that_cannot_be_written_is_left_out_where_that_is_allowed() {
        let failure = |what: &str| Failure::new(Kind::Unsupported, format!("this format has no place for {what}"));
        let less = |request: &Request, what: &str| unwritten(request, &failure(what), "m");
        let request = Request::prompt("x").lossy().param("top_p", 0.5).param("tools", json!([])).param("n", 2);
        let (without, told) = less(&request, "`topP`").unwrap();
        assert_eq!(
            (without.params.extra.contains_key("top_p"), &*told),
            (false, "left out: top_p, which m does not take")
        );
        for kept in ["`tools`", "`n`", "`seed`", "a video", "`"] {
            assert_eq!(less(&request, kept), None, "{kept}");
        }
        assert_eq!(less(&Request::prompt("x").param("top_p", 0.5), "`top_p`"), None);
    }

    use super::*;
    use crate::request::{Message, Part, Task};
    use serde_json::json;

    const PNG: &[u8] = b"\x89PNG\r\n\x1A\n";

    /// A request with everything that can be refused.
    fn asked() -> Request {
        let message = Message::user().text("what?").image_bytes(PNG).unwrap().cache_point();
        let request = Request::chat(vec![message]).lossy().temperature(0.5).param("top_p", 0.9);
        let request =
            request.param("additionalModelRequestFields", json!({"top_k": 5, "thinking": {"type": "enabled"}}));
        request.param("guardrailConfig", json!({"guardrailIdentifier": "g"})).param("toolConfig", json!({"tools": []}))
    }

    fn param(name: &str) -> Feature {
        Feature::all().find(|feature| feature.name() == name).unwrap()
    }

    fn named(message: &str) -> Option<&'static str> {
        refused(&asked(), message).map(Feature::name)
    }

    #[test]
    fn what_is_said_to_be_unsupported_is_named() {
        for (message, name) in [
            ("Malformed input request: extraneous key [top_k] is not permitted, please reformat", "top_k"),
            ("The model returned the following errors: `temperature` is deprecated for this model.", "temperature"),
            ("Unsupported parameter: 'temperature' is not supported with this model.", "temperature"),
            ("This model doesn't support the topP field. Remove topP and try again.", "top_p"),
            ("This model doesn’t support image content blocks.", "image"),
            ("images are not supported by this model", "image"),
            ("You invoked an unsupported model or your request did not allow prompt caching.", "cache_point"),
        ] {
            assert_eq!(named(message), Some(name), "{message}");
        }
    }

    #[test]
    fn nothing_that_matters_is_ever_left_out() {
        for message in [
            // Guardrails and tools, alone or beside something else.
            "The guardrail identifier is invalid",
            "guardrailConfig is not supported by this model",
            "The guardrail does not support images",
            "This model doesn't support tool use",
            "toolConfig.toolChoice.any is not supported by this model; temperature",
            "temperature is not supported with functions",
            "This model doesn't support system messages",
            "output schema: unsupported keyword; images",
            // Words that only look like them.
            "malfunction in backend: temperature",
            "upstream stream error: the temperature sensor failed",
            "The provided region isn't supported: image",
            "Retry your request with an inference profile, images are not supported",
            "The image format is not supported",
            "temperature must be at most 1",
            "the image is too large",
            // More than one is named: nobody knows which.
            "temperature and top_p are not supported",
            "maxTokens is not supported",
        ] {
            assert_eq!(named(message), None, "{message}");
        }
        assert_eq!(refused(&Request::prompt("x").lossy(), "temperature is not supported"), None, "it has none");
        let only = Request::chat(vec![Message::user().image_bytes(PNG).unwrap()]).lossy();
        assert_eq!(refused(&only, "images are not supported"), None, "nothing would be asked");
    }

    #[test]
    fn only_wrong_requests_that_allow_it_are_learned_from() {
        let message = "temperature is not supported";
        let learned = |request: &Request, kind| {
            let lacks = Lacks::default();
            let failure = lacks.learn(request, Failure::new(kind, message));
            (failure.refused.is_some(), lacks.0.lock().unwrap().len())
        };
        assert_eq!(learned(&asked(), Kind::BadRequest), (true, 1));
        assert_eq!(learned(&asked(), Kind::ServerError), (false, 0));
        assert_eq!(learned(&Request { lossy: false, ..asked() }, Kind::BadRequest), (false, 0));
    }

    #[test]
    fn what_is_left_out_is_told_and_everything_else_stays() {
        let lacks = Lacks::default();
        lacks.learn(&asked(), Failure::new(Kind::BadRequest, "extraneous key [top_k] is not permitted"));
        let mut request = asked();
        request.without =
            vec![param("temperature"), Feature::Media(crate::request::MediaKind::Image), Feature::CachePoints];
        let (lesser, told) = lacks.fit(Cow::Borrowed(&request), "m").unwrap();
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(told[0], "left out: temperature, which m does not take");
        let Task::Chat(messages) = &lesser.task else { unreachable!() };
        assert_eq!(messages[0].parts, [Part::Text("what?".to_owned())]);
        let extra = serde_json::to_value(&lesser.params).unwrap();
        let kept = json!({"extra": {"top_p": 0.9, "additionalModelRequestFields": {"thinking": {"type": "enabled"}},
            "guardrailConfig": {"guardrailIdentifier": "g"}, "toolConfig": {"tools": []}}});
        assert_eq!(extra, kept);
        // Who does not allow it gets all of it, learned or not.
        let (whole, told) = lacks.fit(Cow::Owned(Request { lossy: false, ..asked() }), "m").unwrap();
        assert_eq!((whole.into_owned(), told.len()), (Request { lossy: false, ..asked() }, 0));
    }

    #[test]
    fn a_body_of_the_users_own_is_edited_only_where_it_must_be() {
        let body = r#"{"model":"m", "temperature":1,"messages":[{"role":"user","content":"hi"}]}"#;
        let own = Request::original(crate::call::wire::WireId::Openai, crate::request::TaskKind::Chat, body).lossy();
        let lacks = Lacks::default();
        assert_eq!(lacks.fit(Cow::Borrowed(&own), "m").unwrap().0, Cow::Borrowed(&own));
        let failure = lacks.learn(&own, Failure::new(Kind::BadRequest, "temperature is not supported"));
        assert_eq!(failure.refused, Some(param("temperature")));
        let (lesser, _) = lacks.fit(Cow::Borrowed(&own), "m").unwrap();
        assert!(lesser.original.is_none() && lesser.params.temperature.is_none());
        let without = Request { original: own.original.clone(), ..Request::default() };
        assert_eq!(lacks.fit(Cow::Borrowed(&without), "m").unwrap().0, Cow::Borrowed(&without));
    }
}
