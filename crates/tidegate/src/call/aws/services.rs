//! The services that give credentials: STS, single sign-on, a container's agent, an instance's metadata.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, Uri, header};
use jiff::Timestamp;
use serde_json::Value;

use super::Credentials;
use super::chain::{Environment, from_json, none, time};
use crate::call::sigv4::{self, Scope, escape};
use crate::call::transport::{HttpRequest, Transport};
use crate::failure::{Failure, Kind};
use crate::json;

/// How long a service on this machine may take: where there is none, nobody answers.
const NEARBY: Duration = Duration::from_secs(2);
const INSTANCE: &str = "http://169.254.169.254";
const CONTAINER: &str = "http://169.254.170.2";

/// A role to assume.
#[derive(Debug, Clone, Copy)]
pub(super) struct Role<'a> {
    pub(super) arn: &'a str,
    pub(super) external_id: Option<&'a str>,
    pub(super) session: Option<&'a str>,
    pub(super) region: Option<&'a str>,
}

impl Role<'_> {
    fn region(&self) -> &str {
        self.region.unwrap_or("us-east-1")
    }

    fn form(&self, action: &str, more: &[(&str, &str)]) -> String {
        let mut form = format!("Action={action}&Version=2011-06-15");
        let own = [("RoleArn", Some(self.arn)), ("ExternalId", self.external_id)];
        let session = ("RoleSessionName", Some(self.session.unwrap_or("tidegate")));
        for (name, value) in
            own.into_iter().chain([session]).chain(more.iter().map(|(name, value)| (*name, Some(*value))))
        {
            if let Some(value) = value {
                form.push_str(&format!("&{name}={}", escape(value)));
            }
        }
        form
    }
}

/// Assumes a role with other credentials.
pub(super) async fn assume(
    transport: &dyn Transport,
    environment: &Environment,
    role: Role<'_>,
    with: &Credentials,
) -> Result<Credentials, Failure> {
    let mut request = sts(environment, &role, role.form("AssumeRole", &[]))?;
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    let scope = Scope { region: role.region(), service: "sts" };
    sigv4::sign(&mut request, with, scope, now).map_err(|message| none(&message))?;
    assumed(transport, request, role.arn).await
}

/// Assumes a role with the token in a file.
pub(super) async fn assume_by_token(
    transport: &dyn Transport,
    environment: &Environment,
    role: Role<'_>,
    file: &Path,
) -> Result<Credentials, Failure> {
    let token = std::fs::read_to_string(file)
        .map_err(|error| none(&format!("the web identity token {} cannot be read: {error}", file.display())))?;
    let form = role.form("AssumeRoleWithWebIdentity", &[("WebIdentityToken", token.trim())]);
    assumed(transport, sts(environment, &role, form)?, role.arn).await
}

fn sts(environment: &Environment, role: &Role<'_>, form: String) -> Result<HttpRequest, Failure> {
    let own = || format!("https://sts.{}.amazonaws.com", role.region());
    let address = environment.get("AWS_ENDPOINT_URL_STS").unwrap_or_else(own);
    let mut request = request(Method::POST, &format!("{}/", address.trim_end_matches('/')))?;
    *request.body_mut() = Bytes::from(form);
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
    request.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(request)
}

async fn assumed(transport: &dyn Transport, request: HttpRequest, arn: &str) -> Result<Credentials, Failure> {
    let reply = transport.send(request).await?;
    let text = String::from_utf8_lossy(reply.body());
    let tag = |name: &str| text.split_once(&format!("<{name}>"))?.1.split_once(&format!("</{name}>")).map(|(v, _)| v);
    match (tag("AccessKeyId"), tag("SecretAccessKey")) {
        (Some(id), Some(secret)) if reply.status().is_success() => {
            Ok(Credentials::new(id, secret, tag("SessionToken")).expiring(tag("Expiration").and_then(time)))
        }
        _ => {
            let told = tag("Message").or(tag("Code")).unwrap_or("no credentials came");
            Err(none(&format!("the role {arn} cannot be assumed: {told}")).with_status(reply.status().as_u16()))
        }
    }
}

/// Exchanges a sign-on's token for credentials of an account: region, account and role name the place.
pub(super) async fn single_sign_on(
    transport: &dyn Transport,
    environment: &Environment,
    [region, account, role]: [&str; 3],
    token: &str,
) -> Result<Credentials, Failure> {
    let own = || format!("https://portal.sso.{region}.amazonaws.com");
    let address = environment.get("AWS_ENDPOINT_URL_SSO").unwrap_or_else(own);
    let path = format!("/federation/credentials?role_name={}&account_id={}", escape(role), escape(account));
    let mut request = request(Method::GET, &format!("{}{path}", address.trim_end_matches('/')))?;
    request.headers_mut().insert("x-amz-sso_bearer_token", secret(token)?);
    let reply = transport.send(request).await?;
    let body: Value = json::from_slice(reply.body()).unwrap_or_default();
    let found = &body["roleCredentials"];
    match (found["accessKeyId"].as_str(), found["secretAccessKey"].as_str()) {
        (Some(id), Some(key)) => {
            let end = found["expiration"].as_u64().map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
            Ok(Credentials::new(id, key, found["sessionToken"].as_str()).expiring(end))
        }
        _ => Err(none(&format!("single sign-on gives no credentials for {role} in {account} ({})", reply.status()))),
    }
}

/// Asks the container's agent; nothing where no container has said that it has one.
pub(super) async fn container(
    transport: &dyn Transport,
    environment: &Environment,
) -> Result<Option<Credentials>, Failure> {
    let relative = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").map(|path| format!("{CONTAINER}{path}"));
    let Some(address) = relative.or_else(|| environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")) else {
        return Ok(None);
    };
    let mut request = request(Method::GET, &address)?;
    let file = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    let token = file.and_then(|file| std::fs::read_to_string(file).ok());
    if let Some(token) = token.or_else(|| environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")) {
        request.headers_mut().insert(header::AUTHORIZATION, secret(token.trim())?);
    }
    let body = nearby(transport, request).await?;
    from_json(&body).map(Some).ok_or_else(|| none("the container's agent gives no credentials"))
}

/// Asks the instance's metadata service: for a session, for the role's name, for its credentials.
pub(super) async fn instance(transport: &dyn Transport, environment: &Environment) -> Result<Credentials, Failure> {
    let nowhere = || {
        none(
            "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile with --aws-profile, or \
              set AWS_BEARER_TOKEN_BEDROCK",
        )
    };
    if environment.get("AWS_EC2_METADATA_DISABLED").is_some_and(|off| off.eq_ignore_ascii_case("true")) {
        return Err(nowhere());
    }
    let address = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| INSTANCE.to_owned());
    let address = address.trim_end_matches('/');
    let mut session = request(Method::PUT, &format!("{address}/latest/api/token"))?;
    session.headers_mut().insert("x-aws-ec2-metadata-token-ttl-seconds", HeaderValue::from_static("21600"));
    let token = nearby(transport, session).await.map_err(|_| nowhere())?;
    let token = secret(&String::from_utf8_lossy(&token))?;
    let get = async |path: &str| {
        let mut get = request(Method::GET, &format!("{address}/latest/meta-data/iam/security-credentials/{path}"))?;
        get.headers_mut().insert("x-aws-ec2-metadata-token", token.clone());
        nearby(transport, get).await
    };
    let role = get("").await.map_err(|_| nowhere())?;
    let role = String::from_utf8_lossy(&role).lines().next().unwrap_or_default().trim().to_owned();
    from_json(&get(&role).await?).ok_or_else(nowhere)
}

pub(super) fn request(method: Method, address: &str) -> Result<HttpRequest, Failure> {
    let uri: Uri = address.parse().map_err(|_| none(&format!("`{address}` is not an address")))?;
    let mut request = HttpRequest::new(Bytes::new());
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    Ok(request)
}

async fn nearby(transport: &dyn Transport, request: HttpRequest) -> Result<Bytes, Failure> {
    let silent = || Failure::new(Kind::Timeout, "no credentials came in time");
    let reply = tokio::time::timeout(NEARBY, transport.send(request)).await.map_err(|_| silent())??;
    match reply.status().is_success() {
        true => Ok(reply.into_body()),
        false => Err(none(&format!("no credentials came ({})", reply.status()))),
    }
}

fn secret(text: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(text).map_err(|_| none("a token holds a character that a header cannot"))?;
    value.set_sensitive(true);
    Ok(value)
}
