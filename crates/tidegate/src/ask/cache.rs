//! Answers that need not be paid for again: looked up before a request is dispatched, kept once they have passed.
//!
//! An answer is known by what was asked and of whom: the request in its canonical form, the model as the user names it,
//! and the address it is reached at. What an answer must pass is no part of that: a stored one is judged like any other,
//! and one that no longer passes is asked for anew. Kept is only what ended by itself and was accepted; failures, refused
//! and cut-off answers never are.
//!
//! A lookup stands before the dispatch, so that a hit waits for no limit, reserves no money and counts as no attempt.

#[cfg(feature = "cache")]
mod store;

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

#[cfg(feature = "cache")]
pub use self::store::{Cache, CacheOptions};
use crate::request::Request;
use crate::response::{Finish, Output, Response};

/// Part of every key: another number makes everything that is stored unknown.
const FORM: u8 = 1;

/// What a stored answer is known by: a SHA-256, because a cache may be shared and a collision would be a wrong answer.
pub(crate) type Key = [u8; 32];

/// Where answers are kept.
pub(crate) trait Shelf: Send + Sync {
    /// Returns the answer of that key, if there is one that is not too old. What cannot be read is not there.
    fn find(&self, key: &Key) -> Option<Response>;

    /// Keeps an answer, sooner or later. Never waits: an answer may be dropped instead.
    fn keep(&self, key: Key, response: &Response);
}

/// The cache of one client.
#[derive(Clone)]
pub(crate) struct Answers {
    shelf: Arc<dyn Shelf>,
    /// The models, each with its address.
    places: Arc<[(Arc<str>, String)]>,
}

impl Answers {
    pub(crate) fn new(shelf: Arc<dyn Shelf>, places: impl IntoIterator<Item = (Arc<str>, String)>) -> Answers {
        Answers { shelf, places: places.into_iter().collect() }
    }

    /// Returns what that model once answered to that request.
    pub(super) fn find(&self, model: &str, request: &Request) -> Option<Response> {
        self.shelf.find(&self.key(model, request)?)
    }

    /// Keeps an answer that was accepted, if it is one that ended by itself.
    pub(super) fn keep(&self, model: &str, request: &Request, response: &Response) {
        if !matches!(response.finish, Finish::Stop | Finish::ToolCalls | Finish::None) {
            return;
        }
        let Some(key) = self.key(model, request) else { return };
        match &response.output {
            // As the model wrote it, so that it can be judged again.
            Output::Json(value) if request.schema.is_some() => {
                self.shelf.keep(key, &Response { output: Output::Text(value.to_string()), ..response.clone() });
            }
            _ => self.shelf.keep(key, response),
        }
    }

    /// Nothing has no key but a body that is not text.
    fn key(&self, model: &str, request: &Request) -> Option<Key> {
        let place = self.places.iter().find(|(name, _)| **name == *model).map(|(_, place)| place);
        key((model, place), request)
    }
}

/// Returns what a request that is asked of somebody is known by; nothing if it has a body that is not text.
pub(crate) fn key(whom: impl Serialize, request: &Request) -> Option<Key> {
    let text = serde_json::to_vec(&(FORM, whom, canonical(request))).ok()?;
    ring::digest::digest(&ring::digest::SHA256, &text).as_ref().try_into().ok()
}

/// Brings the fields whose order means nothing into one order. That of a schema's fields is the order of the answer's.
fn canonical(request: &Request) -> Cow<'_, Request> {
    if request.params.extra.is_empty() {
        return Cow::Borrowed(request);
    }
    let mut request = request.clone();
    request.params.extra.sort_keys();
    Cow::Owned(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;

    impl Shelf for Nowhere {
        fn find(&self, _: &Key) -> Option<Response> {
            None
        }

        fn keep(&self, _: Key, _: &Response) {
            panic!("is not to be kept");
        }
    }

    fn answers(place: &str) -> Answers {
        Answers::new(Arc::new(Nowhere), [("m".into(), place.to_owned())])
    }

    #[test]
    fn a_key_tells_requests_models_and_addresses_apart() {
        let request = Request::prompt("a").temperature(0.0);
        let key = |place: &str, model: &str, request: &Request| answers(place).key(model, request).unwrap();
        let one = key("http://a", "m", &request);
        assert_eq!(one, key("http://a", "m", &request.clone()));
        let others = [
            key("http://b", "m", &request),
            key("http://a", "n", &request),
            key("http://a", "m", &request.clone().temperature(0.5)),
            key("http://a", "m", &request.clone().system("b")),
            key("http://a", "m", &request.clone().param("top_p", 1)),
        ];
        assert!(others.iter().all(|other| *other != one));
    }

    #[test]
    fn the_order_of_further_parameters_makes_no_difference() {
        let (ab, ba) =
            (Request::prompt("x").param("a", 1).param("b", 2), Request::prompt("x").param("b", 2).param("a", 1));
        assert_eq!(answers("").key("m", &ab), answers("").key("m", &ba));
    }

    #[test]
    fn what_did_not_end_by_itself_is_not_kept() {
        for finish in [Finish::Length, Finish::ContentFilter, Finish::Other("pause_turn".to_owned())] {
            answers("").keep("m", &Request::prompt("x"), &Response { finish, ..Response::text("cut") });
        }
    }
}
