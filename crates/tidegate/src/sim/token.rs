//! Where clients of Vertex AI get access tokens: Google's token endpoint, and the metadata server of its machines.

use http::{Method, StatusCode};
use serde_json::json;

use super::{Plan, Simulator, at_once};
use crate::call::transport::HttpRequest;

/// The paths, without `/v1` in front.
pub(super) const PATHS: [&str; 2] = ["token", "computeMetadata/v1/instance/service-accounts/default/token"];

impl Simulator {
    /// Gives an access token to whoever asks in one of the ways that Google knows: the scenario's first key.
    pub(super) fn serve_token(&self, request: &HttpRequest) -> Plan {
        let refused = |error: &str, description: &str| {
            let body = json!({"error": error, "error_description": description});
            at_once(StatusCode::BAD_REQUEST, body.to_string().into())
        };
        if *request.method() == Method::GET {
            return match request.headers().get("metadata-flavor").is_some_and(|flavor| flavor == "Google") {
                true => self.token(),
                false => refused("invalid_request", "Missing Metadata-Flavor:Google header."),
            };
        }
        let form = String::from_utf8_lossy(request.body());
        let field = |name: &str| form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        match (field("grant_type"), field("assertion"), field("refresh_token")) {
            (Some(grant), Some(assertion), _) if grant.ends_with("jwt-bearer") && assertion.split('.').count() == 3 => {
                self.token()
            }
            (Some("refresh_token"), _, Some(token)) if !token.is_empty() => self.token(),
            (Some(grant), ..) if grant.ends_with("jwt-bearer") => refused("invalid_grant", "Invalid JWT Signature."),
            _ => refused("unsupported_grant_type", "Invalid grant_type"),
        }
    }

    fn token(&self) -> Plan {
        let token = self.scenario().keys.first().map_or("sim-token", String::as_str);
        let body = json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"});
        at_once(StatusCode::OK, body.to_string().into())
    }
}
