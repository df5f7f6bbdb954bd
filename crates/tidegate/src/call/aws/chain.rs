//! Where AWS's own tools look for credentials, in their order.
//!
//! | source | asked when |
//! |---|---|
//! | `AWS_ACCESS_KEY_ID` and its like | no profile is named |
//! | web identity: `AWS_WEB_IDENTITY_TOKEN_FILE` | no profile is named |
//! | profile in the shared files: keys, role over another profile, single sign-on, `credential_process` | it is there |
//! | container: `AWS_CONTAINER_CREDENTIALS_…` | no profile is named |
//! | instance: the metadata service | no profile is named, nor is it switched off |
//!
//! A role that the user names is assumed with whatever is found. A profile that is named and not there is an error, so that
//! nobody pays from another account than they meant.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::files::{Files, Section, home};
use super::services::{self, Role};
use super::sso;
use super::{CredentialSource, Credentials};
use crate::call::sigv4::hex;
use crate::call::transport::Transport;
use crate::failure::{Failure, Kind};
use crate::json;
use crate::suggest::closest;

/// How many profiles may stand on each other's shoulders.
const DEEPEST: usize = 5;

/// Looks a variable up.
type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Variables, as whoever uses the library lets it see them.
#[derive(Clone)]
pub struct Environment(Arc<Lookup>);

impl Environment {
    /// Makes an environment from a function that looks variables up.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Environment {
        Environment(Arc::new(lookup))
    }

    /// Returns a variable's value, if it has one that is not empty.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.trim().is_empty())
    }
}

/// The chain of sources.
#[derive(Clone)]
pub struct Chain {
    environment: Environment,
    profile: Option<String>,
    role: Option<String>,
}

impl Chain {
    /// Makes the chain that AWS's own tools follow in this environment.
    #[must_use]
    pub fn new(environment: Environment) -> Chain {
        Chain { environment, profile: None, role: None }
    }

    /// Takes one profile of the shared files, and nothing else.
    #[must_use]
    pub fn profile(mut self, name: &str) -> Chain {
        self.profile = Some(name.to_owned());
        self
    }

    /// Assumes a role with what the chain finds.
    #[must_use]
    pub fn role(mut self, arn: &str) -> Chain {
        self.role = Some(arn.to_owned());
        self
    }

    /// Returns the region that variables or the profile name.
    #[must_use]
    pub fn region(&self) -> Option<String> {
        let named = ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| self.environment.get(name));
        let of_profile = || Files::read(&self.environment).profile(&self.profile_name())?.get("region").cloned();
        if self.profile.is_some() { of_profile().or(named) } else { named.or_else(of_profile) }
    }

    fn profile_name(&self) -> String {
        let named = || ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"].iter().find_map(|name| self.environment.get(name));
        self.profile.clone().or_else(named).unwrap_or_else(|| "default".to_owned())
    }

    async fn find(&self, transport: &dyn Transport) -> Result<Credentials, Failure> {
        let found = Finder { environment: &self.environment, files: Files::read(&self.environment), transport };
        let base = match &self.profile {
            Some(name) => found.profile(name, DEEPEST).await?,
            None => found.anywhere(&self.profile_name()).await?,
        };
        match &self.role {
            None => Ok(base),
            Some(arn) => {
                let region = self.region();
                let role = Role { arn, external_id: None, session: None, region: region.as_deref() };
                services::assume(transport, &self.environment, role, &base).await
            }
        }
    }
}

impl CredentialSource for Chain {
    fn resolve<'a>(&'a self, transport: &'a dyn Transport) -> BoxFuture<'a, Result<Credentials, Failure>> {
        Box::pin(self.find(transport))
    }
}

/// One walk along the chain.
struct Finder<'a> {
    environment: &'a Environment,
    files: Files,
    transport: &'a dyn Transport,
}

impl Finder<'_> {
    async fn anywhere(&self, profile: &str) -> Result<Credentials, Failure> {
        let variable = |name: &str| self.environment.get(name);
        if let (Some(id), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
            let end = variable("AWS_CREDENTIAL_EXPIRATION").and_then(|text| time(&text));
            return Ok(Credentials::new(&id, &secret, variable("AWS_SESSION_TOKEN").as_deref()).expiring(end));
        }
        if let (Some(file), Some(arn)) = (variable("AWS_WEB_IDENTITY_TOKEN_FILE"), variable("AWS_ROLE_ARN")) {
            let (session, region) = (variable("AWS_ROLE_SESSION_NAME"), variable("AWS_REGION"));
            let role = Role { arn: &arn, external_id: None, session: session.as_deref(), region: region.as_deref() };
            return services::assume_by_token(self.transport, self.environment, role, Path::new(&file)).await;
        }
        if self.files.profile(profile).is_some_and(gives_credentials) {
            return self.profile(profile, DEEPEST).await;
        }
        if profile != "default" && self.files.profile(profile).is_none() {
            return Err(self.no_profile(profile));
        }
        if let Some(found) = services::container(self.transport, self.environment).await? {
            return Ok(found);
        }
        services::instance(self.transport, self.environment).await
    }

    fn profile<'a>(&'a self, name: &'a str, depth: usize) -> BoxFuture<'a, Result<Credentials, Failure>> {
        Box::pin(async move {
            let section = self.files.profile(name).ok_or_else(|| self.no_profile(name))?;
            let text = |key: &str| section.get(key).map(String::as_str);
            if let Some(arn) = text("role_arn") {
                return self.role(name, section, arn, depth).await;
            }
            if let (Some(id), Some(secret)) = (text("aws_access_key_id"), text("aws_secret_access_key")) {
                return Ok(Credentials::new(id, secret, text("aws_session_token")));
            }
            if text("sso_account_id").is_some() {
                return self.single_sign_on(name, section).await;
            }
            match text("credential_process") {
                Some(command) => process(command.to_owned()).await,
                None => Err(none(&format!("the AWS profile {name} holds no credentials"))),
            }
        })
    }

    async fn role(&self, name: &str, section: &Section, arn: &str, depth: usize) -> Result<Credentials, Failure> {
        let text = |key: &str| section.get(key).map(String::as_str);
        let role =
            Role { arn, external_id: text("external_id"), session: text("role_session_name"), region: text("region") };
        if let Some(file) = text("web_identity_token_file") {
            return services::assume_by_token(self.transport, self.environment, role, Path::new(file)).await;
        }
        if depth == 0 {
            return Err(none(&format!("the AWS profile {name} stands on itself; check its source_profile")));
        }
        let base = match (text("source_profile"), text("credential_source")) {
            // A profile may assume its role with its own keys.
            (Some(source), _) if source == name => Credentials::new(
                text("aws_access_key_id").unwrap_or_default(),
                text("aws_secret_access_key").unwrap_or_default(),
                text("aws_session_token"),
            ),
            (Some(source), _) => self.profile(source, depth - 1).await?,
            (None, Some("EcsContainer")) => services::container(self.transport, self.environment)
                .await?
                .ok_or_else(|| none("there is no container that gives credentials"))?,
            (None, Some("Ec2InstanceMetadata")) => services::instance(self.transport, self.environment).await?,
            (None, Some("Environment")) => self.anywhere("default").await?,
            _ => {
                return Err(none(&format!(
                    "the AWS profile {name} has a role_arn, but neither source_profile nor credential_source"
                )));
            }
        };
        services::assume(self.transport, self.environment, role, &base).await
    }

    async fn single_sign_on(&self, name: &str, section: &Section) -> Result<Credentials, Failure> {
        let session = section.get("sso_session").and_then(|session| self.files.session(session));
        let text = |key: &str| section.get(key).or_else(|| session?.get(key)).map(String::as_str).unwrap_or_default();
        let key = section.get("sso_session").map_or(text("sso_start_url"), String::as_str);
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
        let file = home(self.environment).unwrap_or_default().join(".aws/sso/cache");
        let file = file.join(format!("{}.json", hex(digest.as_ref())));
        match sso::token(self.transport, self.environment, &file, text("sso_region")).await {
            Some(token) => {
                let place = [text("sso_region"), text("sso_account_id"), text("sso_role_name")];
                services::single_sign_on(self.transport, self.environment, place, token.expose_secret()).await
            }
            None => {
                Err(none(&format!("the sign-on of AWS profile {name} is over: run `aws sso login --profile {name}`")))
            }
        }
    }

    fn no_profile(&self, name: &str) -> Failure {
        let meant = closest(name, self.files.names()).map(|near| format!("; did you mean '{near}'?"));
        none(&format!("there is no AWS profile '{name}'{}", meant.unwrap_or_default()))
    }
}

fn gives_credentials(section: &Section) -> bool {
    ["role_arn", "aws_access_key_id", "sso_account_id", "credential_process"]
        .iter()
        .any(|key| section.contains_key(*key))
}

/// Runs a command that prints credentials; what it complains goes to the user's terminal.
async fn process(command: String) -> Result<Credentials, Failure> {
    let run = move || {
        let mut shell = std::process::Command::new("sh");
        shell.arg("-c").arg(command).stdin(std::process::Stdio::null()).stderr(std::process::Stdio::inherit()).output()
    };
    let output = tokio::task::spawn_blocking(run).await.ok().and_then(Result::ok);
    let output = output.ok_or_else(|| none("credential_process could not be started"))?;
    if !output.status.success() {
        return Err(none(&format!("credential_process failed ({})", output.status)));
    }
    from_json(&output.stdout).ok_or_else(|| none("credential_process printed no credentials"))
}

/// Reads credentials as processes, containers and instances write them.
pub(super) fn from_json(text: &[u8]) -> Option<Credentials> {
    let found: Value = json::from_slice(text).ok()?;
    let text = |name: &str| found.get(name).and_then(Value::as_str);
    let token = text("SessionToken").or(text("Token"));
    let end = text("Expiration").and_then(time);
    Some(Credentials::new(text("AccessKeyId")?, text("SecretAccessKey")?, token).expiring(end))
}

/// Reads a time such as `2026-11-23T10:00:00Z`.
pub(super) fn time(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}

/// Says why there are no credentials.
pub(super) fn none(message: &str) -> Failure {
    Failure::new(Kind::Auth, message)
}

#[cfg(test)]
mod tests;
