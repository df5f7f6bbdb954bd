//! Files of web servers, read in parts: only `https://` and `http://`, and only to read.

use std::io;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, ETAG, IF_MATCH, LOCATION, RANGE, USER_AGENT};
use http::{HeaderMap, Request, StatusCode, Uri};
use tidegate::call::pool::Pool;
use tidegate::call::transport::Transport;
use tidegate::run::store::Object;

use super::http::{patiently, whole};

/// How often a request is tried, and how often it may be sent elsewhere.
const TRIES: u32 = 6;
const REDIRECTS: usize = 5;

/// Finds out how large a file is. A HEAD would do as well, but not with addresses that are signed for a GET.
pub(super) async fn find(pool: &Pool, url: &str) -> io::Result<Object> {
    let (headers, _) = get(pool, url, 0..1, None).await?;
    let total = headers.get(CONTENT_RANGE).and_then(|range| range.to_str().ok()?.rsplit_once('/')?.1.parse().ok());
    let bytes = total.ok_or_else(|| io::Error::other("the server does not say how large it is"))?;
    let version = headers.get(ETAG).and_then(|tag| tag.to_str().ok()).filter(|tag| !tag.starts_with("W/"));
    Ok(Object { url: url.into(), bytes, version: version.map(str::to_owned) })
}

/// Reads a part of a file.
pub(super) async fn read(pool: &Pool, object: &Object, range: Range<u64>) -> io::Result<Bytes> {
    get(pool, &object.url, range, object.version.as_deref()).await.map(|(_, body)| body)
}

async fn get(pool: &Pool, url: &str, range: Range<u64>, version: Option<&str>) -> io::Result<(HeaderMap, Bytes)> {
    let mut tried = 0;
    loop {
        tried += 1;
        match get_once(pool, url, &range, version).await {
            Err(Failed::Passing(_)) if tried < TRIES => tokio::time::sleep(Duration::from_millis(250 << tried)).await,
            Err(Failed::Passing(message) | Failed::Lasting(message)) => return Err(io::Error::other(message)),
            Ok(found) => return Ok(found),
        }
    }
}

enum Failed {
    /// It may go well another time.
    Passing(String),
    Lasting(String),
}

async fn get_once(
    pool: &Pool,
    url: &str,
    range: &Range<u64>,
    version: Option<&str>,
) -> Result<(HeaderMap, Bytes), Failed> {
    let mut uri: Uri = url.parse().map_err(|error| Failed::Lasting(format!("is no address: {error}")))?;
    for _ in 0..=REDIRECTS {
        let mut request = Request::get(&uri).header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        request = request.header(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")));
        if let Some(version) = version {
            request = request.header(IF_MATCH, version);
        }
        let request = request.body(Bytes::new()).map_err(|error| Failed::Lasting(error.to_string()))?;
        let reply = patiently(pool.open(request)).await.map_err(|failure| Failed::Passing(failure.message))?;
        let (head, body) = reply.into_parts();
        match head.status {
            StatusCode::PARTIAL_CONTENT => {
                let body = whole(body).await.map_err(|failure| Failed::Passing(failure.message))?;
                return Ok((head.headers, body));
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                return Err(Failed::Lasting("is empty, or shorter than it was".to_owned()));
            }
            StatusCode::OK => {
                let message = "the server gives only the whole file, not parts of it; download it, and name the file";
                return Err(Failed::Lasting(message.to_owned()));
            }
            StatusCode::PRECONDITION_FAILED => {
                return Err(Failed::Lasting("has been changed while it was read".to_owned()));
            }
            status if status.is_redirection() => uri = elsewhere(&uri, &head.headers)?,
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(Failed::Passing(format!("the server answered {status}")));
            }
            status => return Err(Failed::Lasting(format!("the server answered {status}"))),
        }
    }
    Err(Failed::Lasting("is sent from one address to the next without end".to_owned()))
}

/// Returns where a reply leads to; never from https to http.
fn elsewhere(from: &Uri, headers: &HeaderMap) -> Result<Uri, Failed> {
    let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
    let lost = || Failed::Lasting("the server sends elsewhere without saying where".to_owned());
    let to: Uri = to.parse().map_err(|_| lost())?;
    if to.scheme().is_some() {
        return match from.scheme_str() == Some("https") && to.scheme_str() != Some("https") {
            true => Err(Failed::Lasting("the server sends from https to http".to_owned())),
            false => Ok(to),
        };
    }
    let mut parts = from.clone().into_parts();
    parts.path_and_query = to.into_parts().path_and_query;
    Uri::from_parts(parts).map_err(|_| lost())
}
