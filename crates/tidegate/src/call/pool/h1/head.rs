//! The heads of requests and replies.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use bytes::{Buf, Bytes};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, TRANSFER_ENCODING,
};
use http::uri::PathAndQuery;
use http::{Method, Response, StatusCode, Version};

use super::framing::Framing;
use crate::call::pool::origin::Origin;
use crate::call::transport::HttpRequest;

/// The largest head of a reply, in bytes.
const HEAD_LIMIT: usize = 64 << 10;
/// The most headers of a reply.
const MOST_HEADERS: usize = 128;
/// As many bytes as most heads of requests have.
const OFTEN: usize = 512;

/// A reply's head, and what it says of the rest.
pub(super) struct Head {
    pub(super) reply: Response<()>,
    pub(super) framing: Framing,
    /// Whether the server keeps the connection open behind this reply.
    pub(super) reusable: bool,
}

/// Writes a request's head in the form that the other end expects: only the path for a server, the whole address for a
/// proxy. The length is told once, by the body that there is.
pub(super) fn write(request: &HttpRequest, origin: &Origin, head: &mut Vec<u8>) {
    head.reserve(OFTEN);
    let path = request.uri().path_and_query();
    let proxy = origin.forward_proxy();
    let target: Cow<'_, str> = match proxy {
        None => path.map_or("/", PathAndQuery::as_str).into(),
        Some(_) => {
            let path = path.cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
            origin.target.uri(path).to_string().into()
        }
    };
    push(head, &[request.method().as_str().as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\n"]);
    if !request.headers().contains_key(HOST) {
        push(head, &[b"host: ", origin.host_header.as_bytes(), b"\r\n"]);
    }
    if let Some(login) = proxy.and_then(|proxy| proxy.basic_auth()) {
        push(head, &[PROXY_AUTHORIZATION.as_str().as_bytes(), b": ", login.as_bytes(), b"\r\n"]);
    }
    for (name, value) in request.headers() {
        if name != CONTENT_LENGTH && name != TRANSFER_ENCODING {
            push(head, &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        }
    }
    if !request.body().is_empty() || request.method() != Method::GET {
        push(head, &[b"content-length: ", request.body().len().to_string().as_bytes(), b"\r\n"]);
    }
    head.extend_from_slice(b"\r\n");
}

fn push(head: &mut Vec<u8>, pieces: &[&[u8]]) {
    pieces.iter().for_each(|piece| head.extend_from_slice(piece));
}

/// Takes a reply's head off what has arrived; nothing if it is not all there. Interim replies are passed over.
///
/// # Errors
///
/// What is wrong with it, in words for the user.
pub(super) fn read(arrived: &mut Bytes) -> Result<Option<Head>, String> {
    loop {
        let Some(reply) = parse(arrived)? else { return Ok(None) };
        match reply.status() {
            StatusCode::SWITCHING_PROTOCOLS => return Err("it switches to another protocol".to_owned()),
            status if status.is_informational() => {}
            _ => return known(reply).map(Some),
        }
    }
}

fn parse(arrived: &mut Bytes) -> Result<Option<Response<()>>, String> {
    let mut room = [MaybeUninit::uninit(); MOST_HEADERS];
    let mut head = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut head, arrived, &mut room);
    let length = match parsed.map_err(|error| format!("the reply is not HTTP: {error}"))? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if arrived.len() > HEAD_LIMIT => return Err("the reply's head is too large".into()),
        httparse::Status::Partial => return Ok(None),
    };
    let mut reply = Response::new(());
    *reply.status_mut() =
        head.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or("the reply has no status")?;
    *reply.version_mut() = if head.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    reply.headers_mut().reserve(head.headers.len());
    for header in &*head.headers {
        // Both have been looked at by the parser; the value stays where it arrived.
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(arrived.slice_ref(header.value));
        if let (Ok(name), Ok(value)) = (name, value) {
            reply.headers_mut().append(name, value);
        }
    }
    arrived.advance(length);
    Ok(Some(reply))
}

/// Finds out where the body of a reply ends, and what happens to the connection then.
fn known(reply: Response<()>) -> Result<Head, String> {
    let headers = reply.headers();
    let framing = match reply.status() {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Framing::Length(0),
        _ if headers.contains_key(TRANSFER_ENCODING) && ends_chunked(headers) => Framing::chunked(),
        _ if headers.contains_key(TRANSFER_ENCODING) => Framing::UntilClose,
        _ => length(headers)?.map_or(Framing::UntilClose, Framing::Length),
    };
    let open = match reply.version() {
        Version::HTTP_11 => !says(headers, "close"),
        _ => says(headers, "keep-alive"),
    };
    Ok(Head { reusable: open && framing != Framing::UntilClose, framing, reply })
}

fn ends_chunked(headers: &HeaderMap) -> bool {
    let last = headers.get_all(TRANSFER_ENCODING).iter().next_back().and_then(|value| value.to_str().ok());
    let last = last.and_then(|value| value.rsplit(',').next());
    last.is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"))
}

/// Returns the length that the head tells; several must be the same.
fn length(headers: &HeaderMap) -> Result<Option<u64>, String> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for told in value.to_str().unwrap_or_default().split(',') {
            let told = told.trim();
            let digits = !told.is_empty() && told.bytes().all(|byte| byte.is_ascii_digit());
            let told: u64 = told.parse().ok().filter(|_| digits).ok_or("the reply's length is not a number")?;
            if length.replace(told).is_some_and(|before| before != told) {
                return Err("the reply tells two lengths".to_owned());
            }
        }
    }
    Ok(length)
}

/// Returns whether `connection` says a word.
fn says(headers: &HeaderMap, word: &str) -> bool {
    let values = headers.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|said| said.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<(Head, Bytes)>, String> {
        let mut arrived = Bytes::copy_from_slice(text.as_bytes());
        Ok(read(&mut arrived)?.map(|head| (head, arrived)))
    }

    fn framed(text: &str) -> (Framing, bool) {
        let (head, rest) = head(text).unwrap().unwrap();
        assert!(rest.is_empty());
        (head.framing, head.reusable)
    }

    #[test]
    fn a_head_tells_where_the_body_ends_and_whether_the_connection_stays() {
        let ok = |rest: &str| framed(&format!("HTTP/1.1 200 OK\r\n{rest}\r\n"));
        assert_eq!(ok("content-length: 5\r\n"), (Framing::Length(5), true));
        assert_eq!(
            ok("Content-Length: 5\r\ncontent-length: 5, 5\r\nConnection: x, Close\r\n"),
            (Framing::Length(5), false)
        );
        assert_eq!(ok("transfer-encoding: gzip, Chunked\r\ncontent-length: 5\r\n"), (Framing::chunked(), true));
        assert_eq!(ok("transfer-encoding: gzip\r\n"), (Framing::UntilClose, false));
        assert_eq!(ok(""), (Framing::UntilClose, false));
        assert_eq!(framed("HTTP/1.1 204 No\r\n\r\n"), (Framing::Length(0), true));
        assert_eq!(framed("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n"), (Framing::Length(1), false));
        let kept = "HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: Keep-Alive\r\n\r\n";
        assert_eq!(framed(kept), (Framing::Length(1), true));
    }

    #[test]
    fn interim_replies_are_passed_over_and_what_follows_is_left() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 201 Made\r\nx-a: 1\r\nX-A: \"2\"\r\ncontent-length: 2\r\n\r\nok";
        let (head, rest) = head(text).unwrap().unwrap();
        let values: Vec<_> = head.reply.headers().get_all("x-a").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!((head.reply.status().as_u16(), values, &rest[..]), (201, vec!["1", "\"2\""], &b"ok"[..]));
    }

    #[test]
    fn a_head_that_is_not_whole_is_waited_for_and_a_wrong_one_refused() {
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        assert!((0..text.len()).all(|end| matches!(head(&text[..end]), Ok(None))));
        let lengths = ["-1", "+1", "1x", "", "1, 2", "99999999999999999999"];
        let wrong = lengths.map(|length| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"));
        let other = ["220 mail ESMTP\r\n\r\n", "HTTP/1.1 101 Switching\r\n\r\n", "HTTP/1.1 200 OK\r\n: x\r\n\r\n"];
        for text in wrong.iter().map(String::as_str).chain(other) {
            assert!(head(text).is_err(), "{text}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_LIMIT));
        assert!(head(&endless).is_err());
    }
}
