//! From a method and a path to what is asked for.

use http::{Method, Uri};

use super::{bedrock, caches, control, gemini, token};
use crate::call::wire::WireId;
use crate::request::TaskKind;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Call(WireId, TaskKind),
    /// Gemini's cached contents, whatever the method.
    Caches,
    /// Where access tokens come from, whatever the method.
    Token,
    /// Bedrock's control plane.
    Control(control::List),
    Models,
    Stats,
    Reset,
    /// The path exists, but not with this method.
    OtherMethod,
    Nowhere,
}

impl Route {
    /// Reads the path with or without `/v1` in front, or as Azure has it.
    pub(super) fn of(method: &Method, uri: &Uri) -> Route {
        let path = match Azure::of(uri) {
            Some(azure) => azure.path,
            None => without_version(uri.path()),
        };
        if caches::rest_of(path).is_some() {
            return Route::Caches;
        }
        let (route, wanted) = match path {
            path if token::PATHS.contains(&path) => return Route::Token,
            "chat/completions" => (Route::Call(WireId::Openai, TaskKind::Chat), Method::POST),
            "responses" => (Route::Call(WireId::Responses, TaskKind::Chat), Method::POST),
            "embeddings" => (Route::Call(WireId::Openai, TaskKind::Embed), Method::POST),
            "messages" => (Route::Call(WireId::Anthropic, TaskKind::Chat), Method::POST),
            "models" => (Route::Models, Method::GET),
            "__sim/stats" => (Route::Stats, Method::GET),
            "__sim/reset" => (Route::Reset, Method::POST),
            _ => match control::list(path).map(Route::Control) {
                Some(route) => (route, Method::GET),
                None => match (gemini::task(path), bedrock::wire(path)) {
                    (Some(kind), _) => (Route::Call(WireId::Gemini, kind), Method::POST),
                    (None, Some(wire)) => (Route::Call(wire, TaskKind::Chat), Method::POST),
                    (None, None) => return Route::Nowhere,
                },
            },
        };
        if *method == wanted { route } else { Route::OtherMethod }
    }
}

/// A path in one of Azure's two forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Azure<'a> {
    /// The deployment, where the path names it.
    pub(super) deployment: Option<&'a str>,
    path: &'a str,
}

impl<'a> Azure<'a> {
    /// Reads `/openai/v1/…`, or with an API version `/openai/deployments/NAME/…` and `/openai/…`.
    pub(super) fn of(uri: &'a Uri) -> Option<Azure<'a>> {
        let rest = uri.path().strip_prefix("/openai/")?;
        if let Some(path) = rest.strip_prefix("v1/") {
            return Some(Azure { deployment: None, path });
        }
        let versioned = uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("api-version=")));
        match rest.strip_prefix("deployments/").and_then(|rest| rest.split_once('/')) {
            _ if !versioned => None,
            Some((deployment, path)) => Some(Azure { deployment: Some(deployment), path }),
            None => Some(Azure { deployment: None, path: rest }),
        }
    }
}

/// Takes the `/v1` off a path.
pub(super) fn without_version(path: &str) -> &str {
    path.strip_prefix("/v1/").or(path.strip_prefix('/')).unwrap_or(path)
}

/// Returns the value of `id` in a query, with percent signs decoded.
pub(super) fn id_of(uri: &Uri) -> Option<Vec<u8>> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("id=")).map(unescape)
}

/// Decodes percent signs.
pub(super) fn unescape(value: &str) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.as_bytes().iter().copied();
    while let Some(byte) = bytes.next() {
        let escaped = (byte == b'%').then(|| bytes.clone()).and_then(|mut next| Some([next.next()?, next.next()?]));
        match escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()) {
            Some(decoded) => {
                plain.push(decoded);
                bytes.nth(1);
            }
            None => plain.push(byte),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_with_and_without_version() {
        let route = |method: &Method, path: &str| Route::of(method, &path.parse().unwrap());
        assert_eq!(route(&Method::POST, "/v1/chat/completions"), Route::Call(WireId::Openai, TaskKind::Chat));
        assert_eq!(
            route(&Method::POST, "http://sim.invalid/v1/embeddings?x=1"),
            Route::Call(WireId::Openai, TaskKind::Embed)
        );
        assert_eq!(route(&Method::POST, "/v1/messages?beta=true"), Route::Call(WireId::Anthropic, TaskKind::Chat));
        let gemini = |kind| Route::Call(WireId::Gemini, kind);
        assert_eq!(route(&Method::POST, "/v1beta/models/m:generateContent"), gemini(TaskKind::Chat));
        assert_eq!(route(&Method::POST, "/v1/models/m:embedContent"), gemini(TaskKind::Embed));
        assert_eq!(route(&Method::GET, "/v1/models/m:embedContent"), Route::OtherMethod);
        let vertex = "/v1beta1/projects/p/locations/l/publishers/google/models/m:generateContent";
        assert_eq!(route(&Method::POST, vertex), gemini(TaskKind::Chat));
        for caches in ["/v1beta/cachedContents", "/v1/projects/p/locations/l/cachedContents/1?updateMask=ttl"] {
            assert_eq!(route(&Method::PATCH, caches), Route::Caches);
        }
        assert_eq!(route(&Method::POST, "/token"), Route::Token);
        let bedrock = Route::Call(WireId::Bedrock, TaskKind::Chat);
        assert_eq!(route(&Method::POST, "/model/anthropic.claude%3A0/converse"), bedrock);
        assert_eq!(route(&Method::GET, "/models"), Route::Models);
        assert_eq!(route(&Method::GET, "/chat/completions"), Route::OtherMethod);
        assert_eq!(route(&Method::POST, "/v1/responses"), Route::Call(WireId::Responses, TaskKind::Chat));
        assert_eq!(route(&Method::POST, "/v1/completions"), Route::Nowhere);
        for azure in ["/openai/v1/chat/completions", "/openai/deployments/d/chat/completions?api-version=2024-10-21"] {
            assert_eq!(route(&Method::POST, azure), Route::Call(WireId::Openai, TaskKind::Chat));
        }
        assert_eq!(route(&Method::POST, "/openai/deployments/d/chat/completions"), Route::Nowhere);
    }

    #[test]
    fn ids_in_queries_are_decoded() {
        let id = |path: &str| id_of(&path.parse().unwrap()).map(|id| String::from_utf8(id).unwrap());
        assert_eq!(id("/__sim/stats"), None);
        assert_eq!(id("/__sim/stats?a=b&id=row-1"), Some("row-1".to_owned()));
        assert_eq!(id("/__sim/stats?id=a%20b%2Fc%"), Some("a b/c%".to_owned()));
        assert_eq!(id("/__sim/stats?id=%C3%A9%zz"), Some("é%zz".to_owned()));
    }
}
