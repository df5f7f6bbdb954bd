//! Bedrock's control plane: which models and inference profiles an account has in a region.

use bytes::Bytes;
use http::{Method, Uri};
use serde::Deserialize;

use crate::call::auth::{Authoriser, Identity};
use crate::call::provider::Auth;
use crate::call::sigv4;
use crate::call::status;
use crate::call::transport::{HttpRequest, Transport};
use crate::call::wire::{Wire, bedrock};
use crate::catalog::inventory::{Inventory, ListedModel};
use crate::failure::{Failure, Kind};
use crate::json;

/// The control plane's address; `{region}` stands for the region.
pub const ADDRESS: &str = "https://bedrock.{region}.amazonaws.com";

/// The most pages that a list may have.
const PAGES: usize = 50;

/// Asks what somebody has in a region, in the name of an account or with a key: ListFoundationModels and
/// ListInferenceProfiles.
///
/// # Errors
///
/// [`Kind::Permission`] where the account may not ask, and whatever else may befall a request.
pub(crate) async fn inventory(
    address: &str,
    region: &str,
    who: Identity,
    transport: &dyn Transport,
) -> Result<Inventory, Failure> {
    let who = Authoriser::new(who, Auth::Aws, None).map_err(|message| Failure::new(Kind::Auth, message))?;
    let address = crate::catalog::bedrock::address(address, region);
    let asker = Asker { address: address.trim_end_matches('/'), who, transport };
    let models: Models = asker.get("/foundation-models").await?;
    let models = models.model_summaries.into_iter().map(Model::listed).collect();
    let mut profiles = Vec::new();
    let mut next = String::new();
    for _ in 0..PAGES {
        let page: Profiles = asker.get(&format!("/inference-profiles?maxResults=1000{next}")).await?;
        profiles.extend(page.inference_profile_summaries.into_iter().map(|profile| profile.inference_profile_id));
        match page.next_token {
            Some(token) => next = format!("&nextToken={}", sigv4::escape(&token)),
            None => break,
        }
    }
    Ok(Inventory { models, profiles })
}

struct Asker<'a> {
    address: &'a str,
    who: Authoriser,
    transport: &'a dyn Transport,
}

impl Asker<'_> {
    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let address = format!("{}{path}", self.address);
        let uri: Uri =
            address.parse().map_err(|_| Failure::new(Kind::BadRequest, format!("`{address}` is not an address")))?;
        let mut request = HttpRequest::new(Bytes::new());
        (*request.method_mut(), *request.uri_mut()) = (Method::GET, uri);
        self.who.authorise(&mut request, self.transport).await?;
        let (head, body) = self.transport.send(request).await?.into_parts();
        if head.status.is_success() {
            let malformed = |error: serde_json::Error| Failure::new(Kind::Malformed, error.to_string());
            return json::from_slice(&body).map_err(malformed);
        }
        let wire = bedrock::Bedrock;
        let message = wire.message(&body).unwrap_or_else(|| status::plain_message(&head, &body));
        let kind = wire.kind(&head, &body).unwrap_or_else(|| status::kind(head.status, &message));
        Err(status::failure(&head, kind, message))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Models {
    model_summaries: Vec<Model>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Model {
    model_id: String,
    model_name: String,
    inference_types_supported: Vec<String>,
}

impl Model {
    fn listed(self) -> ListedModel {
        let on_demand = self.inference_types_supported.iter().any(|kind| kind == "ON_DEMAND");
        ListedModel { id: self.model_id, name: self.model_name, on_demand }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Profiles {
    inference_profile_summaries: Vec<Profile>,
    next_token: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Profile {
    inference_profile_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::aws::{Account, Credentials};
    use crate::call::transport::HttpReply;
    use futures_util::future::BoxFuture;
    use std::sync::Arc;

    /// An account with a page of profiles too many.
    struct Plane;

    impl Transport for Plane {
        fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpReply, Failure>> {
            let target = request.uri().to_string();
            assert!(request.headers()["authorization"].to_str().unwrap().contains("/eu-west-1/bedrock/aws4_request"));
            let body = match target.as_str() {
                "https://bedrock.eu-west-1.amazonaws.com/foundation-models" => {
                    r#"{"modelSummaries":[{"modelId":"a.b","inferenceTypesSupported":["ON_DEMAND"],"new":1},
                        {"modelId":"a.c","inferenceTypesSupported":["INFERENCE_PROFILE"]}]}"#
                }
                "https://bedrock.eu-west-1.amazonaws.com/inference-profiles?maxResults=1000" => {
                    r#"{"inferenceProfileSummaries":[{"inferenceProfileId":"eu.a.b"}],"nextToken":"x/="}"#
                }
                "https://bedrock.eu-west-1.amazonaws.com/inference-profiles?maxResults=1000&nextToken=x%2F%3D" => {
                    r#"{"inferenceProfileSummaries":[{"inferenceProfileId":"eu.a.c"}]}"#
                }
                other => panic!("{other}"),
            };
            Box::pin(std::future::ready(Ok(HttpReply::new(Bytes::from(body)))))
        }
    }

    #[tokio::test]
    async fn all_pages_are_read_and_only_what_is_served_counts() {
        let account = Account::new(None, Arc::new(Credentials::new("A", "s", None)));
        let who = Identity::Aws(account, "eu-west-1".to_owned());
        let found = inventory(ADDRESS, "eu-west-1", who, &Plane).await.unwrap();
        assert!(found.has("a.b") && !found.has("a.c") && found.has("eu.a.b") && found.has("eu.a.c"), "{found:?}");
    }
}
