//! Bedrock's control plane at the simulated provider: which models and inference profiles an account has in a region.
//!
//! What there is are the scenario's `models`, or, where it lists none, those of the bundled table. A region has the plain
//! ids, the profiles of its own geography, and the global ones. A scripted answer is meant where its `contains` is part of
//! the path, such as `inference-profiles`.

use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};

use super::answer::{self, Body, Draft};
use super::bedrock::{check_signature, finish_headers, region};
use super::route::unescape;
use super::voice::Voice;
use super::{Act, Plan, Simulator, at_once};
use crate::call::sigv4::escape;
use crate::call::transport::HttpRequest;
use crate::call::wire::WireId;
use crate::catalog::bedrock::{self, geography_of_profile, own_geographies};

/// The most entries of a page.
const PAGE: usize = 1000;
/// The region of a request that is not signed.
const REGION: &str = "us-east-1";

/// Which list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Models,
    Profiles,
}

/// Returns the list that a path asks for.
pub(super) fn list(path: &str) -> Option<List> {
    match path {
        "foundation-models" => Some(List::Models),
        "inference-profiles" => Some(List::Profiles),
        _ => None,
    }
}

impl Simulator {
    /// Answers a request for a list.
    pub(super) fn serve_control(&self, request: &HttpRequest, list: List) -> Plan {
        let path = request.uri().path();
        let mut state = self.state();
        let count = state.asked.entry(path.to_owned()).or_default();
        let attempt = *count;
        *count += 1;
        drop(state);
        let voice = Voice { wire: WireId::Bedrock, number: u64::from(attempt), azure: false };
        let scripted = answer::fate(self.scenario(), attempt, 1.0, |text| path.contains(text));
        let draft = match (check_signature(request, &self.scenario().keys), answer::refused(scripted, voice)) {
            (Err(denial), _) => Draft::json(denial.status, denial.error),
            (Ok(()), Some(draft)) => draft,
            (Ok(()), None) => self.page(request, list, voice),
        };
        let mut headers = HeaderMap::new();
        voice.sign(&mut headers);
        finish_headers(&draft, &mut headers);
        let body = match draft.body {
            Body::Json(body) => body,
            Body::Events(_) => bytes::Bytes::new(),
        };
        let mut plan = at_once(draft.status, body);
        if let Act::Reply(reply) = &mut plan.act {
            reply.headers_mut().extend(headers);
        }
        plan
    }

    fn page(&self, request: &HttpRequest, list: List, voice: Voice) -> Draft {
        let region = region(request).unwrap_or(REGION);
        let reply = match list {
            List::Models => json!({"modelSummaries": self.listed_models(region)}),
            List::Profiles => match Page::of(request.uri()) {
                Some(page) => page.cut(self.listed_profiles(region), request.uri()),
                None => {
                    let status = StatusCode::BAD_REQUEST;
                    return Draft::json(status, voice.bad_request("The provided token or page size is invalid."));
                }
            },
        };
        Draft::json(StatusCode::OK, reply.to_string().into())
    }

    /// Returns all ids that are served somewhere, plain ones and profiles.
    fn served(&self) -> Vec<String> {
        let models = &self.scenario().models;
        if !models.is_empty() {
            return models.clone();
        }
        let of = |model: &bedrock::BedrockModel| {
            let plain = model.on_demand.then(|| model.id.to_owned());
            let profiles: Vec<_> = model.profiles().map(|geography| format!("{geography}.{}", model.id)).collect();
            plain.into_iter().chain(profiles)
        };
        bedrock::models().iter().flat_map(of).collect()
    }

    fn listed_models(&self, region: &str) -> Vec<Value> {
        let served = self.served();
        let plain = |id: &String| match geography_of_profile(id) {
            Some(_) => id.split_once('.').map_or(id.clone(), |(_, id)| id.to_owned()),
            None => id.clone(),
        };
        let mut ids: Vec<String> = served.iter().map(plain).collect();
        ids.sort();
        ids.dedup();
        let summary = |id: &String| {
            let known = bedrock::models().iter().find(|model| model.id == *id);
            let on_demand = if served.contains(id) { "ON_DEMAND" } else { "INFERENCE_PROFILE" };
            json!({"modelArn": model_arn(region, id), "modelId": id, "modelName": known.map_or_else(|| title(id), |model| model.name.to_owned()),
                "providerName": id.split('.').next(), "inputModalities": ["TEXT"], "outputModalities": ["TEXT"],
                "responseStreamingSupported": true, "customizationsSupported": [],
                "inferenceTypesSupported": [on_demand], "modelLifecycle": {"status": "ACTIVE"}})
        };
        ids.iter().map(summary).collect()
    }

    fn listed_profiles(&self, region: &str) -> Vec<Value> {
        let here = |geography: &str| geography == "global" || own_geographies(region).contains(&geography);
        let mut ids = self.served();
        ids.retain(|id| geography_of_profile(id).is_some_and(here));
        let summary = |id: &String| {
            let model = id.split_once('.').map_or(id.as_str(), |(_, model)| model);
            json!({"inferenceProfileId": id, "inferenceProfileName": id, "type": "SYSTEM_DEFINED", "status": "ACTIVE",
                "inferenceProfileArn": format!("arn:aws:bedrock:{region}:111122223333:inference-profile/{id}"),
                "models": [{"modelArn": model_arn(region, model)}]})
        };
        ids.iter().map(summary).collect()
    }
}

/// Makes a name for a model that the table does not know: `Low Tide` of `tide.low-tide-v1:0`.
fn title(id: &str) -> String {
    let name = id.split_once('.').map_or(id, |(_, name)| name);
    let name = name.rsplit_once("-v").map_or(name, |(name, _)| name);
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('-').filter(|part| part.is_char_boundary(1)).map(word).collect::<Vec<_>>().join(" ")
}

fn model_arn(region: &str, id: &str) -> String {
    format!("arn:aws:bedrock:{region}::foundation-model/{id}")
}

/// The part of a list that is asked for.
struct Page {
    from: usize,
    size: usize,
}

impl Page {
    /// Reads `maxResults` and `nextToken`; nothing where they are impossible.
    fn of(uri: &Uri) -> Option<Page> {
        let size = query(uri, "maxResults").map_or(Some(PAGE), |size| size.parse().ok())?;
        let from = query(uri, "nextToken")
            .map_or(Some(0), |token| token.strip_prefix("page/")?.strip_suffix('=')?.parse().ok())?;
        (1..=PAGE).contains(&size).then_some(Page { from, size })
    }

    fn cut(&self, all: Vec<Value>, uri: &Uri) -> Value {
        let own = query(uri, "type").is_some_and(|kind| kind == "APPLICATION");
        let all = if own { Vec::new() } else { all };
        let end = self.from.saturating_add(self.size);
        let mut reply =
            json!({"inferenceProfileSummaries": all.iter().skip(self.from).take(self.size).collect::<Vec<_>>()});
        if end < all.len() {
            // Tokens hold what a query must escape, as AWS's do.
            reply["nextToken"] = format!("page/{end}=").into();
        }
        reply
    }
}

fn query(uri: &Uri, name: &str) -> Option<String> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.filter(|(known, _)| *known == escape(name)).map(|(_, value)| value).next()?;
    String::from_utf8(unescape(value)).ok()
}
