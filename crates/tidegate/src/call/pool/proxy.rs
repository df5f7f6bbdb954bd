//! Proxies: which requests go through one, and the tunnel through it.
//!
//! A request over plain `http` is given to the proxy whole, with its full address; for `https` the proxy is asked for a
//! tunnel (CONNECT) and sees nothing but the host's name. Only `no_proxy` exempts a host, loopback addresses too.

use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stream::Stream;
use crate::error::{Error, Result};

/// The longest answer to CONNECT that is read, in bytes.
const ANSWER_LIMIT: usize = 8 << 10;

/// The values of the usual proxy variables, as the caller found them.
#[derive(Clone, Default)]
pub struct ProxyUrls {
    /// The proxy for `https` addresses.
    pub https_proxy: Option<String>,
    /// The proxy for `http` addresses.
    pub http_proxy: Option<String>,
    /// The proxy for both, where they have none of their own.
    pub all_proxy: Option<String>,
    /// The hosts to connect to directly: names (with all names below them), addresses and networks, by commas, or `*`.
    pub no_proxy: Option<String>,
}

/// Which proxy to use for which host.
#[derive(Clone, Default)]
pub struct ProxyRules {
    matcher: Option<Arc<Matcher>>,
}

impl ProxyRules {
    /// Makes the rules; an empty value counts as none.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] for a proxy that is not one, because ignoring it would send requests past the proxy. The message
    /// does not show the address, which may hold a password.
    pub fn new(urls: &ProxyUrls) -> Result<ProxyRules> {
        let https = proxy("https_proxy", urls.https_proxy.as_deref())?;
        let http = proxy("http_proxy", urls.http_proxy.as_deref())?;
        let all = proxy("all_proxy", urls.all_proxy.as_deref())?;
        if https.is_empty() && http.is_empty() && all.is_empty() {
            return Ok(ProxyRules::default());
        }
        let no = urls.no_proxy.clone().unwrap_or_default();
        let matcher = Matcher::builder().https(https).http(http).all(all).no(no).build();
        Ok(ProxyRules { matcher: Some(Arc::new(matcher)) })
    }

    /// Returns the proxy for that address.
    pub(super) fn proxy(&self, uri: &Uri) -> Option<Intercept> {
        self.matcher.as_ref()?.intercept(uri)
    }
}

impl fmt::Debug for ProxyRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyRules").field("any", &self.matcher.is_some()).finish()
    }
}

fn proxy(name: &str, value: Option<&str>) -> Result<String> {
    let value = value.unwrap_or_default().trim();
    if value.is_empty() {
        return Ok(String::new());
    }
    let wrong = |what: &str| Error::Usage(format!("{name} {what}; write it like http://user:password@host:8080"));
    let uri: Uri = value.parse().map_err(|_| wrong("is not an address"))?;
    match uri.scheme_str() {
        Some("http" | "https") | None if uri.host().is_some_and(|host| !host.is_empty()) => Ok(value.to_owned()),
        Some("http" | "https") | None => Err(wrong("names no host")),
        Some(_) => Err(wrong("is not an http:// or https:// proxy, the only kinds there are")),
    }
}

/// Asks a proxy for a tunnel to `host:port`.
///
/// # Errors
///
/// What went wrong, in words for the user.
pub(super) async fn tunnel(
    stream: &mut Stream,
    host: &str,
    port: u16,
    login: Option<&HeaderValue>,
) -> std::result::Result<(), String> {
    let to = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
    if let Some(login) = login {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(login.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())?;
    let status = status(&read_head(stream).await?);
    match status {
        Some(200..=299) => Ok(()),
        Some(407) => Err("it wants a user name and password: write them into its address".to_owned()),
        Some(status) => Err(format!("it answered CONNECT {to} with {status}")),
        None => Err("its answer is not HTTP".to_owned()),
    }
}

/// Reads up to the empty line, byte by byte, because what follows belongs to the tunnel.
async fn read_head(stream: &mut Stream) -> std::result::Result<Vec<u8>, String> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == ANSWER_LIMIT {
            return Err("its answer is too long".to_owned());
        }
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) => return Err(format!("it closed the connection: {error}")),
        }
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(https: &str, no: &str) -> ProxyRules {
        let urls = ProxyUrls { https_proxy: Some(https.into()), no_proxy: Some(no.into()), ..ProxyUrls::default() };
        ProxyRules::new(&urls).unwrap()
    }

    fn uses_proxy(rules: &ProxyRules, uri: &'static str) -> bool {
        rules.proxy(&Uri::from_static(uri)).is_some()
    }

    #[test]
    fn only_no_proxy_exempts_a_host() {
        let rules = rules("http://proxy:8080", "localhost, example.com,10.0.0.0/8");
        assert!(uses_proxy(&rules, "https://api.openai.com/v1"));
        assert!(uses_proxy(&rules, "https://127.0.0.1/v1"));
        assert!(!uses_proxy(&rules, "https://localhost/v1"));
        assert!(!uses_proxy(&rules, "https://eu.example.com/v1"));
        assert!(!uses_proxy(&rules, "https://10.1.2.3/v1"));
        assert!(!uses_proxy(&rules, "http://api.openai.com/v1"), "there is no proxy for http");
    }

    #[test]
    fn the_login_is_decoded() {
        let proxy = rules("http://me:p%40ss@proxy:8080", "").proxy(&Uri::from_static("https://a.b/")).unwrap();
        assert_eq!(proxy.basic_auth().unwrap(), "Basic bWU6cEBzcw==");
        assert_eq!(proxy.uri().host(), Some("proxy"));
    }

    #[test]
    fn a_wrong_proxy_is_an_error_that_does_not_show_it() {
        for value in ["socks5://user:secret@host:1", "http://", "user:secret@:1 x", "ftp://secret"] {
            let urls = ProxyUrls { all_proxy: Some(value.into()), ..ProxyUrls::default() };
            let message = ProxyRules::new(&urls).unwrap_err().to_string();
            assert!(message.starts_with("all_proxy ") && !message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn the_status_of_an_answer() {
        assert_eq!(status(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 407\r\nA: b\r\n\r\n"), Some(407));
        assert_eq!(status(b"SSH-2.0-x\r\n\r\n"), None);
    }
}
