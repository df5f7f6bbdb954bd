//! The token of a single sign-on: what `aws sso login` left in its cache, renewed before it ends.
//!
//! A token lasts for hours and a sign-on for months: whoever has signed on through an `sso-session` left a refresh token too,
//! with the registration that may use it. A renewed token is written back, because the old refresh token may be worth
//! nothing afterwards, and AWS's own tools find the new one there.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::chain::{Environment, none, time};
use super::services::request;
use crate::call::transport::Transport;
use crate::failure::Failure;
use crate::json;

/// How long before its end a token is renewed: as early as AWS's own tools do it.
const EARLY: Duration = Duration::from_secs(15 * 60);

/// Returns the token in a file of the cache, a new one where it ends soon and can be renewed; nothing if the sign-on is over.
pub(super) async fn token(
    transport: &dyn Transport,
    environment: &Environment,
    file: &Path,
    region: &str,
) -> Option<SecretString> {
    let held: Map<String, Value> = json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let now = SystemTime::now();
    let ends = |name: &str| held.get(name).and_then(Value::as_str).and_then(time);
    let kept = |from: SystemTime| {
        let lasts = ends("expiresAt").is_some_and(|end| end > from);
        held.get("accessToken").and_then(Value::as_str).filter(|_| lasts).map(SecretString::from)
    };
    if let Some(token) = kept(now + EARLY) {
        return Some(token);
    }
    if ends("registrationExpiresAt").is_some_and(|end| end <= now) {
        return kept(now);
    }
    match renew(transport, environment, &held, region, now).await {
        Ok(Some(fresh)) => {
            // Without it the next process renews again, if the old token can still be used for that.
            let _ = store(file, &fresh);
            fresh.get("accessToken").and_then(Value::as_str).map(SecretString::from)
        }
        // What could not be renewed serves to its end.
        Ok(None) | Err(_) => kept(now),
    }
}

/// Asks for a new token (CreateToken); nothing where no refresh token was kept.
async fn renew(
    transport: &dyn Transport,
    environment: &Environment,
    held: &Map<String, Value>,
    region: &str,
    now: SystemTime,
) -> Result<Option<Map<String, Value>>, Failure> {
    let text = |name: &str| held.get(name).and_then(Value::as_str);
    let (Some(refresh), Some(id), Some(secret)) = (text("refreshToken"), text("clientId"), text("clientSecret")) else {
        return Ok(None);
    };
    let own = || format!("https://oidc.{}.amazonaws.com", text("region").unwrap_or(region));
    let address = environment.get("AWS_ENDPOINT_URL_SSO_OIDC").unwrap_or_else(own);
    let mut request = request(Method::POST, &format!("{}/token", address.trim_end_matches('/')))?;
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let asked = json!({"grantType": "refresh_token", "clientId": id, "clientSecret": secret, "refreshToken": refresh});
    *request.body_mut() = Bytes::from(asked.to_string());
    let reply = transport.send(request).await?;
    let told: Value = json::from_slice(reply.body()).unwrap_or_default();
    match (told["accessToken"].as_str(), told["expiresIn"].as_u64()) {
        (Some(token), Some(seconds)) if reply.status().is_success() => {
            let end = Timestamp::try_from(now + Duration::from_secs(seconds)).unwrap_or_default();
            let mut fresh = held.clone();
            fresh.insert("accessToken".to_owned(), token.into());
            fresh.insert("expiresAt".to_owned(), format!("{}", end.strftime("%Y-%m-%dT%H:%M:%SZ")).into());
            fresh.insert("refreshToken".to_owned(), told["refreshToken"].as_str().unwrap_or(refresh).into());
            Ok(Some(fresh))
        }
        _ => Err(none(&format!("the sign-on's token cannot be renewed ({})", reply.status()))),
    }
}

/// Puts a token in the place of the old one, whole or not at all, readable by its owner alone.
fn store(file: &Path, token: &Map<String, Value>) -> std::io::Result<()> {
    let beside = file.with_extension(format!("{}.tmp", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&beside)?.write_all(Value::Object(token.clone()).to_string().as_bytes())?;
    std::fs::rename(&beside, file)
}
