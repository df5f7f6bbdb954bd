//! AWS accounts: whose credentials requests are signed with.
//!
//! An [`Account`] is shared by all endpoints that use it, whatever their model and region. Its credentials are resolved
//! once, when the first request needs them, and again shortly before they expire; everybody else waits for that one
//! resolution. Where they come from is a [`CredentialSource`]: fixed ones, the [chain](chain::Chain) that AWS's own tools
//! follow, or whatever a user writes, such as a few lines around the crate `aws-config`.

pub mod chain;
pub mod control;
mod files;
mod services;
mod sso;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use super::transport::Transport;
use crate::failure::Failure;

/// How long before their end credentials are replaced.
const EARLY: Duration = Duration::from_secs(300);

/// What requests are signed with.
#[derive(Clone)]
#[non_exhaustive]
pub struct Credentials {
    /// Names the secret; it is sent, and not secret.
    pub access_key_id: String,
    /// The secret; it is never sent.
    pub secret_access_key: SecretString,
    /// Sent beside the signature of temporary credentials.
    pub session_token: Option<SecretString>,
    /// When they end, if they do.
    pub expires: Option<SystemTime>,
}

impl Credentials {
    /// Makes credentials that do not end.
    #[must_use]
    pub fn new(access_key_id: &str, secret_access_key: &str, session_token: Option<&str>) -> Credentials {
        Credentials {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.into(),
            session_token: session_token.map(SecretString::from),
            expires: None,
        }
    }

    /// Sets when they end.
    #[must_use]
    pub fn expiring(mut self, expires: Option<SystemTime>) -> Credentials {
        self.expires = expires;
        self
    }

    fn last(&self, now: SystemTime, early: Duration) -> bool {
        self.expires.is_none_or(|end| now + early < end)
    }

    fn same(&self, other: &Credentials) -> bool {
        let token = |of: &Credentials| of.session_token.as_ref().map(|token| token.expose_secret().to_owned());
        self.access_key_id == other.access_key_id
            && self.secret_access_key.expose_secret() == other.secret_access_key.expose_secret()
            && token(self) == token(other)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}…)", self.access_key_id.get(..4).unwrap_or_default())
    }
}

/// Where credentials come from.
pub trait CredentialSource: Send + Sync {
    /// Resolves the credentials anew.
    ///
    /// # Behavior
    ///
    /// - Called by one caller at a time, and rarely: what it returns is kept until shortly before it expires.
    /// - May use `transport`, the one that requests go over, for services such as STS.
    fn resolve<'a>(&'a self, transport: &'a dyn Transport) -> BoxFuture<'a, Result<Credentials, Failure>>;
}

impl CredentialSource for Credentials {
    fn resolve<'a>(&'a self, _transport: &'a dyn Transport) -> BoxFuture<'a, Result<Credentials, Failure>> {
        Box::pin(std::future::ready(Ok(self.clone())))
    }
}

/// One AWS account, as far as requests are signed for it; clones are the same one.
#[derive(Clone)]
pub struct Account {
    label: Option<Arc<str>>,
    source: Arc<dyn CredentialSource>,
    held: Arc<Mutex<Option<Credentials>>>,
}

impl Account {
    /// Makes an account; `label` tells it from others in the names of endpoints.
    #[must_use]
    pub fn new(label: Option<&str>, source: Arc<dyn CredentialSource>) -> Account {
        Account { label: label.map(Arc::from), source, held: Arc::default() }
    }

    /// Returns what tells it from others.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// Returns the credentials, resolved when there are none that last.
    ///
    /// # Errors
    ///
    /// [`Kind::Auth`](crate::Kind::Auth) where there are none, or the failure of the service that should give them.
    pub async fn credentials(&self, transport: &dyn Transport, now: SystemTime) -> Result<Credentials, Failure> {
        let mut held = self.held.lock().await;
        if let Some(kept) = held.as_ref().filter(|kept| kept.last(now, EARLY)) {
            return Ok(kept.clone());
        }
        match (self.source.resolve(transport).await, held.as_ref()) {
            (Ok(fresh), _) => Ok(held.insert(fresh).clone()),
            // They still serve for a while; the next request asks again.
            (Err(_), Some(kept)) if kept.last(now, Duration::ZERO) => Ok(kept.clone()),
            (Err(failure), _) => Err(failure),
        }
    }

    /// Sees to it that the credentials are others than the refused ones, which may be so already. Returns whether they are.
    pub(crate) async fn renew(&self, transport: &dyn Transport, refused: &Credentials) -> bool {
        let mut held = self.held.lock().await;
        if held.as_ref().is_none_or(|kept| kept.same(refused)) {
            *held = self.source.resolve(transport).await.ok();
        }
        held.as_ref().is_some_and(|kept| !kept.same(refused))
    }

    /// Returns what is the same for clones and nobody else.
    pub(crate) fn number(&self) -> usize {
        Arc::as_ptr(&self.held).addr()
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({})", self.label.as_deref().unwrap_or("default"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;
    use crate::sim::{Scenario, SimTransport};
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Gives credentials that end an hour after they were asked for, until it has given enough.
    struct Hourly(AtomicU64, SystemTime);

    impl CredentialSource for Hourly {
        fn resolve<'a>(&'a self, _transport: &'a dyn Transport) -> BoxFuture<'a, Result<Credentials, Failure>> {
            let n = self.0.fetch_add(1, Ordering::Relaxed);
            let end = self.1 + Duration::from_secs(3600) * (n as u32 + 1);
            Box::pin(std::future::ready(match n {
                0 | 1 => Ok(Credentials::new(&format!("A{n}"), "s", None).expiring(Some(end))),
                _ => Err(Failure::new(Kind::Auth, "no more")),
            }))
        }
    }

    #[tokio::test]
    async fn credentials_are_kept_and_replaced_before_they_end() {
        let start = SystemTime::UNIX_EPOCH;
        let account = Account::new(None, Arc::new(Hourly(AtomicU64::new(0), start)));
        let transport = SimTransport::new(Scenario::default());
        let at = async |seconds| {
            account.credentials(&transport, start + Duration::from_secs(seconds)).await.map(|c| c.access_key_id)
        };
        assert_eq!(at(0).await.unwrap(), "A0");
        assert_eq!(at(3299).await.unwrap(), "A0");
        assert_eq!(at(3301).await.unwrap(), "A1");
        assert_eq!(at(7000).await.unwrap(), "A1", "what could not be replaced serves to its end");
        assert_eq!(at(7201).await.unwrap_err().kind, Kind::Auth);
    }

    #[tokio::test]
    async fn refused_credentials_are_replaced_once() {
        let account = Account::new(None, Arc::new(Hourly(AtomicU64::new(0), SystemTime::now())));
        let transport = SimTransport::new(Scenario::default());
        let first = account.credentials(&transport, SystemTime::now()).await.unwrap();
        assert!(account.renew(&transport, &first).await);
        assert!(account.renew(&transport, &first).await, "somebody else has replaced them");
        let second = account.credentials(&transport, SystemTime::now()).await.unwrap();
        assert!(!account.renew(&transport, &second).await);
        let fixed = Account::new(None, Arc::new(Credentials::new("A", "s", None)));
        assert!(!fixed.renew(&transport, &Credentials::new("A", "s", None)).await);
    }
}
