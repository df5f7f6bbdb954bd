//! Who asks: puts proof of that on a request after it is encoded, and replaces what was refused.
//!
//! This is the only step that sees secrets. A key is a header that stays the same; an AWS signature is made anew for each
//! request.

use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::KeySource;
use super::aws::{Account, Credentials};
use super::google::GoogleAccount;
use super::provider::Auth;
use super::sigv4::{self, Scope};
use super::transport::{HttpRequest, Transport};
use crate::failure::{Failure, Kind};

/// What proves who asks, before it is put into use.
#[derive(Debug, Clone)]
pub(crate) enum Identity {
    /// Nothing: some servers need none.
    Nobody,
    /// A key, or a bearer token.
    Key(SecretString),
    /// An AWS account, for requests of one region.
    Aws(Account, String),
    /// A Google account.
    Google(GoogleAccount),
}

/// What was put on a request, to tell it from what is used later.
#[derive(Debug)]
pub(crate) enum Used {
    Key(Option<HeaderValue>),
    Aws(Credentials),
}

/// Puts proof of who asks on requests.
pub(crate) enum Authoriser {
    Key(KeyHeader),
    Aws(Signer),
    Google(GoogleAccount),
}

impl Authoriser {
    /// `source` is where the key can be read again, and its place among those.
    ///
    /// # Errors
    ///
    /// The key cannot be sent in a header.
    pub(crate) fn new(
        identity: Identity,
        auth: Auth,
        source: Option<(KeySource, usize)>,
    ) -> Result<Authoriser, String> {
        let key = |secret| Ok(Authoriser::Key(KeyHeader { auth, key: RwLock::new(Key::new(secret, auth)?), source }));
        match identity {
            Identity::Nobody => key(None),
            Identity::Key(secret) => key(Some(secret)),
            Identity::Google(account) => Ok(Authoriser::Google(account)),
            Identity::Aws(account, region) => Ok(Authoriser::Aws(Signer { account, region })),
        }
    }

    /// Puts the proof on a request that is otherwise ready to be sent.
    ///
    /// # Errors
    ///
    /// [`Kind::Auth`] where there is nothing to prove it with.
    pub(crate) async fn authorise(
        &self,
        request: &mut HttpRequest,
        transport: &dyn Transport,
    ) -> Result<Used, Failure> {
        match self {
            Authoriser::Key(key) => Ok(Used::Key(key.authorise(request.headers_mut()))),
            // Boxed, because most have a key and all would have to hold what these take.
            Authoriser::Aws(signer) => Box::pin(signer.authorise(request, transport)).await.map(Used::Aws),
            Authoriser::Google(account) => {
                let header = Box::pin(account.header(transport)).await?;
                request.headers_mut().insert(AUTHORIZATION, header.clone());
                Ok(Used::Key(Some(header)))
            }
        }
    }

    /// Sees to it that the proof is another one than the refused one, which may be so already. Returns whether it is.
    pub(crate) async fn renew(&self, refused: Used, transport: &dyn Transport) -> bool {
        match (self, refused) {
            (Authoriser::Key(key), Used::Key(refused)) => key.renew(refused).await,
            (Authoriser::Google(account), Used::Key(Some(refused))) => account.renew(&refused).await,
            (Authoriser::Aws(signer), Used::Aws(refused)) => signer.account.renew(transport, &refused).await,
            _ => false,
        }
    }

    /// Returns the key, which no message may repeat. An AWS secret is never sent, so nobody can repeat it, and
    /// a Google token is worth nothing after an hour.
    pub(crate) fn secret(&self) -> Option<SecretString> {
        match self {
            Authoriser::Key(key) => key.key.read().unwrap_or_else(PoisonError::into_inner).secret.clone(),
            Authoriser::Aws(_) | Authoriser::Google(_) => None,
        }
    }
}

/// A key in a header.
pub(crate) struct KeyHeader {
    auth: Auth,
    key: RwLock<Key>,
    source: Option<(KeySource, usize)>,
}

/// A key and the header value it makes.
struct Key {
    secret: Option<SecretString>,
    header: Option<HeaderValue>,
}

impl Key {
    fn new(secret: Option<SecretString>, auth: Auth) -> Result<Key, String> {
        let header = secret.as_ref().map(ExposeSecret::expose_secret).map(|secret| match auth {
            Auth::Bearer | Auth::Aws | Auth::Google => HeaderValue::from_str(&format!("Bearer {secret}")),
            Auth::Header(_) => HeaderValue::from_str(secret),
        });
        let mut header = header.transpose().map_err(|_| "the key holds a character that a header cannot".to_owned())?;
        if let Some(header) = &mut header {
            header.set_sensitive(true);
        }
        Ok(Key { secret, header })
    }
}

impl KeyHeader {
    fn authorise(&self, headers: &mut HeaderMap) -> Option<HeaderValue> {
        let header = self.key.read().unwrap_or_else(PoisonError::into_inner).header.clone()?;
        let name = match self.auth {
            Auth::Bearer | Auth::Aws | Auth::Google => AUTHORIZATION,
            Auth::Header(name) => HeaderName::from_static(name),
        };
        headers.insert(name, header.clone());
        Some(header)
    }

    async fn renew(&self, refused: Option<HeaderValue>) -> bool {
        let Some((source, number)) = self.source.clone() else { return false };
        if self.key.read().unwrap_or_else(PoisonError::into_inner).header != refused {
            return true;
        }
        // A command that prints a key may take its time: nobody else waits for it.
        let keys = tokio::task::spawn_blocking(move || source()).await.unwrap_or_default();
        let renewed = keys.into_iter().nth(number).and_then(|secret| Key::new(Some(secret), self.auth).ok());
        let mut key = self.key.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(renewed) = renewed {
            *key = renewed;
        }
        key.header != refused
    }
}

/// Signs for an AWS account.
pub(crate) struct Signer {
    account: Account,
    region: String,
}

impl Signer {
    async fn authorise(&self, request: &mut HttpRequest, transport: &dyn Transport) -> Result<Credentials, Failure> {
        let now = SystemTime::now();
        let credentials = self.account.credentials(transport, now).await?;
        let scope = Scope { region: &self.region, service: "bedrock" };
        let now = Timestamp::try_from(now).unwrap_or_default();
        sigv4::sign(request, &credentials, scope, now).map_err(|message| Failure::new(Kind::Auth, message))?;
        Ok(credentials)
    }
}
