//! Google accounts: whose access tokens requests to Vertex AI carry.
//!
//! A [`GoogleAccount`] is shared by all endpoints that use it. Its token is fetched when the first request needs it, and
//! again before it expires; everybody else waits for that one exchange. It comes from a service account's key, which signs
//! an assertion, from the refresh token that `gcloud auth application-default login` leaves, or from the metadata server
//! of a machine at Google.
//!
//! Written here and not taken from a crate: three small exchanges, over the transport that is there anyway, with the
//! cryptography that TLS brings. Other kinds of credentials (workload identity federation) are for `key_command`.

mod jwt;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode, Uri};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::jwt::ServiceAccount;
use super::status;
use super::transport::{HttpReply, HttpRequest, Transport};
use crate::failure::{Failure, Kind};
use crate::json;

/// Where tokens are exchanged, unless the credentials say otherwise.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// The metadata server, by the name that it has inside Google's network.
const METADATA: &str = "http://metadata.google.internal";
/// How long before its end a token is replaced.
const EARLY: Duration = Duration::from_secs(300);
/// A token that is younger than this and refused is refused for another reason than its age.
const YOUNG: Duration = Duration::from_secs(60);

/// A Google account; clones share its token.
#[derive(Clone)]
pub struct GoogleAccount {
    shared: Arc<Shared>,
}

struct Shared {
    credentials: Credentials,
    token: Mutex<Option<Token>>,
}

enum Credentials {
    Service(ServiceAccount),
    User(AuthorizedUser),
    /// The metadata server at this address.
    Metadata(String),
}

/// What `gcloud auth application-default login` leaves.
#[derive(Deserialize)]
struct AuthorizedUser {
    client_id: String,
    client_secret: SecretString,
    refresh_token: SecretString,
    #[serde(default = "token_uri")]
    token_uri: String,
}

fn token_uri() -> String {
    TOKEN_URI.to_owned()
}

struct Token {
    header: HeaderValue,
    fetched: Instant,
    expires: Instant,
}

impl fmt::Debug for GoogleAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.shared.credentials {
            Credentials::Service(_) => "service account",
            Credentials::User(_) => "authorized user",
            Credentials::Metadata(_) => "metadata server",
        };
        write!(f, "GoogleAccount({kind})")
    }
}

impl GoogleAccount {
    /// Reads an account from a credentials file: a service account's key, or application default credentials.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the file; never shows what it holds.
    pub fn from_json(text: &str) -> Result<GoogleAccount, String> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(rename = "type", default)]
            kind: String,
        }
        let head: Head = serde_json::from_str(text).map_err(|_| "is not a Google credentials file".to_owned())?;
        let broken = |error: serde_json::Error| {
            let message = error.to_string();
            format!("is not a whole {} file: {}", head.kind, message.split(" at line ").next().unwrap_or_default())
        };
        let credentials = match head.kind.as_str() {
            "service_account" => Credentials::Service(serde_json::from_str(text).map_err(broken)?),
            "authorized_user" => Credentials::User(serde_json::from_str(text).map_err(broken)?),
            other => {
                let kind: String = other.chars().take(40).collect();
                return Err(format!(
                    "holds credentials of type `{kind}`; service_account and authorized_user are read, for others give \
                     key_command = \"gcloud auth application-default print-access-token\""
                ));
            }
        };
        if let Credentials::Service(account) = &credentials {
            account.check()?;
        }
        Ok(GoogleAccount::new(credentials))
    }

    /// Makes the account of the machine that this runs on, at Google; `host` is another metadata server's address.
    #[must_use]
    pub fn metadata(host: Option<&str>) -> GoogleAccount {
        let host = host.map_or(METADATA.to_owned(), |host| match host.contains("://") {
            true => host.to_owned(),
            false => format!("http://{host}"),
        });
        GoogleAccount::new(Credentials::Metadata(host))
    }

    /// Returns what tells this account from others.
    pub(crate) fn number(&self) -> String {
        format!("{:p}", Arc::as_ptr(&self.shared))
    }

    fn new(credentials: Credentials) -> GoogleAccount {
        GoogleAccount { shared: Arc::new(Shared { credentials, token: Mutex::default() }) }
    }

    /// Returns the `Authorization` header, with a token that lasts a while yet.
    ///
    /// # Errors
    ///
    /// [`Kind::Auth`] if the credentials are refused; that of the transport if the server cannot be reached.
    pub(crate) async fn header(&self, transport: &dyn Transport) -> Result<HeaderValue, Failure> {
        let mut token = self.shared.token.lock().await;
        let now = Instant::now();
        if let Some(Token { header, .. }) = token.as_ref().filter(|token| now < token.expires) {
            return Ok(header.clone());
        }
        let fetched = self.fetch(transport, now).await?;
        Ok(token.insert(fetched).header.clone())
    }

    /// Forgets a token that was refused. Returns whether the next one may be another.
    pub(crate) async fn renew(&self, refused: &HeaderValue) -> bool {
        let mut token = self.shared.token.lock().await;
        match token.as_ref() {
            Some(known) if known.header == *refused && known.fetched.elapsed() < YOUNG => false,
            Some(known) if known.header == *refused => {
                *token = None;
                true
            }
            _ => true,
        }
    }

    async fn fetch(&self, transport: &dyn Transport, now: Instant) -> Result<Token, Failure> {
        let request = match &self.shared.credentials {
            Credentials::Service(account) => {
                let assertion = account.assertion(jiff::Timestamp::now().as_second())?;
                let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
                post(&account.token_uri, &[("grant_type", grant), ("assertion", &assertion)])?
            }
            Credentials::User(user) => {
                let (secret, refresh) = (user.client_secret.expose_secret(), user.refresh_token.expose_secret());
                let fields = [("client_id", user.client_id.as_str()), ("client_secret", secret)];
                let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
                post(&user.token_uri, &[fields, grant].concat())?
            }
            Credentials::Metadata(host) => ask_metadata(host)?,
        };
        let reply = transport.send(request).await.map_err(|failure| self.explain(failure))?;
        read(reply, now)
    }

    /// Where there is no metadata server, nobody has said whose credentials to use.
    fn explain(&self, failure: Failure) -> Failure {
        match (&self.shared.credentials, failure.kind) {
            (Credentials::Metadata(_), Kind::Connect) => {
                let advice = "there are no Google credentials: run gcloud auth application-default login, or set \
                              GOOGLE_APPLICATION_CREDENTIALS to a key file";
                Failure::new(Kind::Auth, advice)
            }
            _ => failure,
        }
    }
}

fn post(uri: &str, fields: &[(&str, &str)]) -> Result<HttpRequest, Failure> {
    let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
    let mut request = HttpRequest::new(Bytes::from(body.join("&")));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = address(uri)?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    Ok(request)
}

fn ask_metadata(host: &str) -> Result<HttpRequest, Failure> {
    let path = "/computeMetadata/v1/instance/service-accounts/default/token";
    let mut request = HttpRequest::new(Bytes::new());
    *request.uri_mut() = address(&format!("{}{path}", host.trim_end_matches('/')))?;
    request.headers_mut().insert("metadata-flavor", HeaderValue::from_static("Google"));
    Ok(request)
}

fn address(uri: &str) -> Result<Uri, Failure> {
    uri.parse().map_err(|_| Failure::new(Kind::Auth, "the Google credentials name an address that is none"))
}

/// Writes a value of a form.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

fn read(reply: HttpReply, now: Instant) -> Result<Token, Failure> {
    #[derive(Deserialize)]
    struct Reply {
        access_token: SecretString,
        expires_in: u64,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Refusal {
        error: String,
        error_description: String,
    }
    let (head, body) = reply.into_parts();
    if head.status != StatusCode::OK {
        let refusal: Refusal = json::from_slice(&body).unwrap_or_default();
        let message = format!("Google gives no access token: {} {}", refusal.error, refusal.error_description);
        // What is wrong with the credentials comes as a 400.
        let kind = if head.status.is_client_error() { Kind::Auth } else { status::kind(head.status, &message) };
        return Err(status::failure(&head, kind, message.trim_end().to_owned()));
    }
    let malformed = || Failure::new(Kind::Malformed, "Google's reply holds no access token");
    let reply: Reply = json::from_slice(&body).map_err(|_| malformed())?;
    let mut header =
        HeaderValue::from_str(&format!("Bearer {}", reply.access_token.expose_secret())).map_err(|_| malformed())?;
    header.set_sensitive(true);
    let life = Duration::from_secs(reply.expires_in);
    Ok(Token { header, fetched: now, expires: now + life.saturating_sub(EARLY.min(life / 2)) })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as SyncMutex;

    use futures_util::future::BoxFuture;
    use serde_json::json;

    use super::*;

    /// Answers with one token after the other, and keeps what it was asked.
    #[derive(Default)]
    struct Tokens(SyncMutex<Vec<HttpRequest>>);

    impl Transport for Tokens {
        fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpReply, Failure>> {
            let mut asked = self.0.lock().unwrap();
            asked.push(request);
            let body = json!({"access_token": format!("t{}", asked.len()), "expires_in": 3600, "token_type": "Bearer"});
            Box::pin(async move { Ok(HttpReply::new(body.to_string().into())) })
        }
    }

    fn user() -> GoogleAccount {
        let text = json!({"type": "authorized_user", "client_id": "c", "client_secret": "s&", "refresh_token": "r"});
        GoogleAccount::from_json(&text.to_string()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_fetched_once_and_again_before_it_expires() {
        let (tokens, account) = (Tokens::default(), user());
        let both = futures_util::future::join(account.header(&tokens), account.clone().header(&tokens)).await;
        assert_eq!((both.0.unwrap(), both.1.unwrap()), ("Bearer t1".parse().unwrap(), "Bearer t1".parse().unwrap()));
        tokio::time::advance(Duration::from_secs(3200)).await;
        assert_eq!(account.header(&tokens).await.unwrap(), "Bearer t1");
        tokio::time::advance(Duration::from_secs(200)).await;
        assert_eq!(account.header(&tokens).await.unwrap(), "Bearer t2");
        let asked = tokens.0.lock().unwrap();
        assert_eq!(asked[0].uri(), TOKEN_URI);
        assert_eq!(asked[0].body(), "client_id=c&client_secret=s%26&grant_type=refresh_token&refresh_token=r");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_unless_it_is_new() {
        let (tokens, account) = (Tokens::default(), user());
        let first = account.header(&tokens).await.unwrap();
        assert!(!account.renew(&first).await);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(account.renew(&first).await);
        assert_eq!(account.header(&tokens).await.unwrap(), "Bearer t2");
        assert!(account.renew(&first).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_at_google_asks_its_metadata_server() {
        let (tokens, account) = (Tokens::default(), GoogleAccount::metadata(Some("127.0.0.1:1")));
        account.header(&tokens).await.unwrap();
        let asked = &tokens.0.lock().unwrap()[0];
        assert!(asked.uri().to_string().starts_with("http://127.0.0.1:1/computeMetadata/v1/"));
        assert_eq!(asked.headers()["metadata-flavor"], "Google");
    }

    #[test]
    fn credentials_that_are_none_say_why_and_show_nothing() {
        let error = |text: &str| GoogleAccount::from_json(text).unwrap_err();
        assert_eq!(error("sk-secret"), "is not a Google credentials file");
        assert!(error(r#"{"type":"authorized_user","client_id":"c"}"#).contains("missing field `client_secret`"));
        assert!(error(r#"{"type":"external_account"}"#).contains("key_command"));
        let key = json!({"type": "service_account", "client_email": "e", "private_key": "sk-secret"}).to_string();
        assert_eq!(error(&key), "holds a private key that cannot be read");
        assert_eq!(format!("{:?}", user()), "GoogleAccount(authorized user)");
    }

    #[test]
    fn a_refusal_is_told_by_its_name() {
        let reply = http::Response::builder().status(400);
        let body = r#"{"error":"invalid_grant","error_description":"Bad Request"}"#;
        let failure = read(reply.body(body.into()).unwrap(), Instant::now()).err().unwrap();
        assert_eq!(failure.kind, Kind::Auth);
        assert_eq!(failure.message, "Google gives no access token: invalid_grant Bad Request");
    }
}
