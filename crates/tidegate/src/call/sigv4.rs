//! AWS Signature Version 4: proves that a request comes from somebody who has the secret, without sending it.
//!
//! # Why our own
//!
//! It is four hashes of a text that AWS has not changed since 2012, and `ring` is here for TLS anyhow; the crate that does
//! it brings twenty others. Both ends share [`signature`]: the client signs with it, the simulated provider checks, and
//! AWS's own SDK in turn proves the simulator.
//!
//! The one trap: a path that is percent-encoded already is encoded once more for signing (`%3A` becomes `%253A`).

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use ring::{digest, hmac};
use secrecy::ExposeSecret;

use super::aws::Credentials;
use super::transport::HttpRequest;

const DATE: &str = "x-amz-date";
const TOKEN: &str = "x-amz-security-token";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What a signature is valid for, besides its day.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
}

/// Signs a request as it will be sent `now`.
///
/// # Errors
///
/// The credentials hold a character that a header cannot.
pub(crate) fn sign(
    request: &mut HttpRequest,
    credentials: &Credentials,
    scope: Scope<'_>,
    now: Timestamp,
) -> Result<(), String> {
    let unfit = |_| "the AWS credentials hold a character that a header cannot".to_owned();
    let time = now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
    let headers = request.headers_mut();
    headers.insert(DATE, HeaderValue::try_from(&time).map_err(|error| error.to_string())?);
    if let Some(token) = &credentials.session_token {
        let mut token = HeaderValue::from_str(token.expose_secret()).map_err(unfit)?;
        token.set_sensitive(true);
        headers.insert(TOKEN, token);
    }
    // In the order of the alphabet, as it must be; all of AWS's own are signed, the token and the date among them.
    let own =
        headers.keys().map(HeaderName::as_str).filter(|name| *name == "content-type" || name.starts_with("x-amz"));
    let mut signed: Vec<&str> = own.chain(["host"]).collect();
    signed.sort_unstable();
    signed.dedup();
    let claim = Claim { day: &time[..8], scope, time: &time, signed: signed.join(";") };
    let made = signature(request, &claim, credentials.secret_access_key.expose_secret());
    let text = format!(
        "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={made}",
        credentials.access_key_id,
        claim.credential_scope(),
        claim.signed
    );
    let mut value = HeaderValue::from_str(&text).map_err(unfit)?;
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
    Ok(())
}

/// What a signature says that it covers.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) day: &'a str,
    pub(crate) scope: Scope<'a>,
    /// The value of `x-amz-date`.
    pub(crate) time: &'a str,
    /// The headers' names in lower case, in order, separated by semicolons.
    pub(crate) signed: String,
}

impl Claim<'_> {
    fn credential_scope(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.day, self.scope.region, self.scope.service)
    }
}

/// What a request's `Authorization` says of its signature.
#[derive(Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) access_key_id: &'a str,
    pub(crate) claim: Claim<'a>,
    pub(crate) signature: &'a str,
}

impl<'a> Signed<'a> {
    /// Reads the headers of a signed request; nothing if it is not signed this way.
    pub(crate) fn read(headers: &'a HeaderMap) -> Option<Signed<'a>> {
        let text = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix(ALGORITHM)?;
        let mut fields = text.split(',').map(str::trim);
        let mut field = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix('=');
        let [access_key_id, day, region, service, _] =
            field("Credential")?.split('/').collect::<Vec<_>>().try_into().ok()?;
        let signed = field("SignedHeaders")?.to_owned();
        let time = headers.get(DATE)?.to_str().ok()?;
        let claim = Claim { day, scope: Scope { region, service }, time, signed };
        Some(Signed { access_key_id, claim, signature: field("Signature")? })
    }

    /// Returns the session token that was sent.
    pub(crate) fn token(headers: &HeaderMap) -> Option<&str> {
        headers.get(TOKEN)?.to_str().ok()
    }
}

/// Returns the signature of a request, as hexadecimal digits.
pub(crate) fn signature(request: &HttpRequest, claim: &Claim<'_>, secret: &str) -> String {
    let payload = hex(digest::digest(&digest::SHA256, request.body()).as_ref());
    let canonical = canonical_request(request.method(), request.uri(), request.headers(), &claim.signed, &payload);
    let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let text = format!("{ALGORITHM}\n{}\n{}\n{hashed}", claim.time, claim.credential_scope());
    let start = format!("AWS4{secret}").into_bytes();
    let parts = [claim.day, claim.scope.region, claim.scope.service, "aws4_request", &text];
    hex(&parts.iter().fold(start, |key, part| mac(&key, part)))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn canonical_request(method: &Method, uri: &Uri, headers: &HeaderMap, signed: &str, payload: &str) -> String {
    let mut query: Vec<&str> = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    let query: Vec<String> =
        query.iter().map(|pair| if pair.contains('=') { (*pair).to_owned() } else { format!("{pair}=") }).collect();
    let mut text = format!("{method}\n{}\n{}\n", encode_path(uri.path()), query.join("&"));
    for name in signed.split(';') {
        text.push_str(&format!("{name}:{}\n", header(name, uri, headers)));
    }
    text + &format!("\n{signed}\n{payload}")
}

/// Returns a header's value with single spaces; the host stands in the address until a request is sent.
fn header(name: &str, uri: &Uri, headers: &HeaderMap) -> String {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    if values.is_empty() && name == "host" {
        return host(uri);
    }
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    values.iter().map(|value| plain(value)).collect::<Vec<_>>().join(",")
}

/// Returns the host as it is sent: as the address has it, without name and password.
fn host(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    authority.rsplit_once('@').map_or(authority, |(_, bare)| bare).to_owned()
}

fn encode_path(path: &str) -> String {
    path.split('/').map(escape).collect::<Vec<_>>().join("/")
}

/// Writes a text as a segment of a path or a value of a query.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

/// Writes bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::header::CONTENT_TYPE;

    /// The example of AWS's own documentation of the signing process, which has a query and no body.
    #[test]
    fn the_documented_example_has_its_documented_signature() {
        let mut request = HttpRequest::new(Bytes::new());
        *request.uri_mut() = Uri::from_static("https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08");
        let content = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        request.headers_mut().insert(CONTENT_TYPE, content);
        let credentials = Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None);
        let scope = Scope { region: "us-east-1", service: "iam" };
        sign(&mut request, &credentials, scope, "2015-08-30T12:36:00Z".parse().unwrap()).unwrap();
        let value = request.headers()[AUTHORIZATION].to_str().unwrap();
        assert_eq!(
            value,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn an_encoded_path_is_encoded_again() {
        assert_eq!(encode_path("/model/a%3A0/converse"), "/model/a%253A0/converse");
    }

    #[test]
    fn the_session_token_is_signed_and_never_shown() {
        let mut request = HttpRequest::new(Bytes::from_static(b"{}"));
        *request.uri_mut() = Uri::from_static("http://127.0.0.1:8080/model/x/converse");
        let credentials = Credentials::new("A", "s3cret", Some("t0ken"));
        sign(&mut request, &credentials, Scope { region: "r", service: "bedrock" }, Timestamp::UNIX_EPOCH).unwrap();
        assert!(request.headers()[AUTHORIZATION].to_str().unwrap().contains("host;x-amz-date;x-amz-security-token"));
        let signed = Signed::read(request.headers()).unwrap();
        assert_eq!((signed.access_key_id, signed.claim.scope.region), ("A", "r"));
        assert_eq!(signature(&request, &signed.claim, "s3cret"), signed.signature);
        assert_ne!(signature(&request, &signed.claim, "other"), signed.signature);
        let shown = format!("{:?} {credentials:?}", request.headers());
        assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
        assert_eq!(host(request.uri()), "127.0.0.1:8080");
    }
}
