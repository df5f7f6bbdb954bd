//! The pool over real sockets: what a server, a proxy and a broken network see of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::PrivateKeyDer;
use tidegate::Kind;
use tidegate::call::pool::{Http2, Pool, PoolOptions, ProxyRules, ProxyUrls, Roots};
use tidegate::call::transport::{HttpReply, HttpRequest, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What a server has seen.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    heads: Mutex<Vec<String>>,
}

impl Seen {
    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// A server that answers with the body it got; `/wait` waits for a permit of the semaphore first.
#[derive(Clone)]
struct Echo {
    seen: Arc<Seen>,
    gate: Arc<Semaphore>,
}

impl Echo {
    fn new() -> Echo {
        Echo { seen: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    async fn answer(self, request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, Infallible> {
        self.seen.requests.fetch_add(1, Ordering::SeqCst);
        let waits = request.uri().path() == "/wait";
        let status = if request.uri().path() == "/moved" { 302 } else { 200 };
        let version = format!("{:?}", request.version());
        self.seen.heads.lock().unwrap().push(format!("{} {} {:?}", request.method(), request.uri(), request.headers()));
        let body = request.into_body().collect().await.unwrap().to_bytes();
        if waits {
            self.gate.acquire().await.unwrap().forget();
        }
        let reply = http::Response::builder().status(status).header("x-version", version).header("location", "/");
        Ok(reply.body(Full::new(body)).unwrap())
    }

    /// Serves one connection until it ends.
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        self.seen.connections.fetch_add(1, Ordering::SeqCst);
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http2().max_concurrent_streams(100);
        let service = service_fn(|request| self.clone().answer(request));
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn listen(&self) -> SocketAddr {
        let (listener, address) = listener().await;
        let echo = self.clone();
        spawn(async move {
            loop {
                spawn(echo.clone().serve(listener.accept().await.unwrap().0));
            }
        });
        address
    }

    async fn listen_tls(&self, acceptor: TlsAcceptor) -> SocketAddr {
        let (listener, address) = listener().await;
        let echo = self.clone();
        spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (echo, acceptor) = (echo.clone(), acceptor.clone());
                spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        echo.serve(stream).await;
                    }
                });
            }
        });
        address
    }
}

#[expect(clippy::disallowed_methods, reason = "a server runs beside the test")]
fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work);
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Makes a certificate for localhost: the server's side, and the PEM text that trusts it.
fn certificate(protocols: &[&str]) -> (TlsAcceptor, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem().into_bytes())
}

fn post(url: impl std::fmt::Display, body: impl Into<Bytes>) -> HttpRequest {
    http::Request::post(url.to_string()).header("x-test", "1").body(body.into()).unwrap()
}

fn pool() -> Pool {
    Pool::new(PoolOptions::default())
}

/// Sends that many requests at once and returns the replies.
async fn send_all(pool: &Arc<Pool>, url: &str, count: usize) -> Vec<HttpReply> {
    let mut sends = JoinSet::new();
    for number in 0..count {
        let (pool, request) = (pool.clone(), post(url, number.to_string()));
        sends.spawn(async move { (number, pool.send(request).await.unwrap()) });
    }
    let mut replies = Vec::new();
    while let Some(done) = sends.join_next().await {
        let (number, reply) = done.unwrap();
        assert_eq!(reply.body(), &number.to_string(), "an answer was mixed up");
        replies.push(reply);
    }
    replies
}

/// Reads a whole HTTP/1.1 request with a content length and returns its head.
async fn read_request(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    stream.read_exact(&mut vec![0; length]).await?;
    Ok(head)
}

async fn reply(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_is_reused() {
    let echo = Echo::new();
    let address = echo.listen().await;
    let pool = pool();
    for number in 0..20 {
        let answer = pool.send(post(format!("http://{address}/a?b={number}"), "hello")).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"hello"[..]));
    }
    assert_eq!((echo.seen.connections(), echo.seen.requests()), (1, 20));
    let head = echo.seen.heads.lock().unwrap()[7].clone();
    assert!(head.starts_with("POST /a?b=7 ") && head.contains(&format!("\"host\": \"{address}\"")), "{head}");
}

#[tokio::test]
async fn every_request_in_flight_has_a_connection_of_its_own_over_http() {
    let echo = Echo::new();
    let address = echo.listen().await;
    let pool = Arc::new(pool());
    echo.gate.add_permits(150);
    send_all(&pool, &format!("http://{address}/wait"), 150).await;
    let connections = echo.seen.connections();
    assert!(connections <= 150, "{connections}");
    send_all(&pool, &format!("http://{address}/"), 1).await;
    assert_eq!(echo.seen.connections(), connections);
}

#[tokio::test]
async fn a_redirect_is_returned_as_it_is() {
    let echo = Echo::new();
    let address = echo.listen().await;
    let answer = pool().send(post(format!("http://{address}/moved"), "")).await.unwrap();
    assert_eq!((answer.status().as_u16(), echo.seen.requests()), (302, 1));
}

#[tokio::test]
async fn a_connection_unused_for_too_long_is_replaced() {
    let echo = Echo::new();
    let address = echo.listen().await;
    let pool = Pool::new(PoolOptions { idle_timeout: Duration::from_millis(10), ..PoolOptions::default() });
    for _ in 0..2 {
        pool.send(post(format!("http://{address}/"), "x")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(11)).await;
    }
    assert_eq!(echo.seen.connections(), 2);
}

#[tokio::test]
async fn a_connection_closed_while_it_rested_costs_nothing() {
    let (listener, address) = listener().await;
    let (close, closed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (close_it, it_closed) = (close.clone(), closed.clone());
    let seen = Arc::new(Seen::default());
    let count = seen.clone();
    spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await.unwrap();
            count.requests.fetch_add(1, Ordering::SeqCst);
            reply(&mut stream, OK).await;
            close_it.notified().await;
            drop(stream);
            it_closed.notify_one();
        }
    });
    let pool = pool();
    for round in 1..=3 {
        let answer = pool.send(post(format!("http://{address}/"), "x")).await.unwrap();
        assert_eq!((&answer.body()[..], seen.requests()), (&b"ok"[..], round));
        close.notify_one();
        closed.notified().await;
        tokio::time::sleep(Duration::from_millis(6)).await; // A rest longer than what counts as surely open.
    }
}

#[tokio::test]
async fn a_server_that_closes_without_a_reply_has_the_only_copy() {
    let (listener, address) = listener().await;
    let seen = Arc::new(Seen::default());
    let count = seen.clone();
    spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The first request on a connection is answered, the second one is read and dropped.
            read_request(&mut stream).await.unwrap();
            count.requests.fetch_add(1, Ordering::SeqCst);
            reply(&mut stream, OK).await;
            read_request(&mut stream).await.unwrap();
            count.requests.fetch_add(1, Ordering::SeqCst);
        }
    });
    let pool = pool();
    pool.send(post(format!("http://{address}/"), "x")).await.unwrap();
    let failure = pool.send(post(format!("http://{address}/"), "x")).await.unwrap_err();
    assert_eq!((failure.kind, seen.requests()), (Kind::Cut, 2), "{failure}");
}

#[tokio::test]
async fn a_reply_cut_in_its_body_is_cut() {
    let (listener, address) = listener().await;
    spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        reply(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    });
    let failure = pool().send(post(format!("http://{address}/"), "x")).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Cut, "{failure}");
}

#[tokio::test]
async fn a_reply_to_head_has_no_body_and_leaves_the_connection_whole() {
    let (listener, address) = listener().await;
    spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_request(&mut stream).await.unwrap();
        assert!(head.starts_with("HEAD / "), "{head}");
        reply(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
        read_request(&mut stream).await.unwrap();
        reply(&mut stream, OK).await;
        std::future::pending::<()>().await;
    });
    let pool = pool();
    let head = http::Request::head(format!("http://{address}/")).body(Bytes::new()).unwrap();
    let described = pool.send(head).await.unwrap();
    assert_eq!((described.headers()["content-length"].as_bytes(), described.body().len()), (&b"1000"[..], 0));
    assert_eq!(&pool.send(post(format!("http://{address}/"), "x")).await.unwrap().body()[..], b"ok");
}

#[tokio::test]
async fn a_reply_ends_where_it_says() {
    let (listener, address) = listener().await;
    spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        reply(&mut stream, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab")
            .await;
        reply(&mut stream, "\r\n1\r\nc\r\n0\r\n\r\n").await;
        // On the same connection, which was read to the end.
        read_request(&mut stream).await.unwrap();
        reply(&mut stream, "HTTP/1.1 200 OK\r\n\r\nuntil it closes").await;
        drop(stream);
        // Answered when little of the request was read; the rest never is.
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 100]).await.unwrap();
        reply(&mut stream, "HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
        std::future::pending::<()>().await;
    });
    let pool = pool();
    for (body, status, answer) in [(1, 200, "abc"), (1, 200, "until it closes"), (20_000_000, 413, "big")] {
        let got = pool.send(post(format!("http://{address}/"), vec![b'x'; body])).await.unwrap();
        assert_eq!((got.status().as_u16(), &got.body()[..]), (status, answer.as_bytes()));
    }
}

#[tokio::test]
async fn a_reply_that_is_not_http_is_malformed() {
    let (listener, address) = listener().await;
    spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        reply(&mut stream, "220 mail.example.com ESMTP\r\n\r\n").await;
    });
    let failure = pool().send(post(format!("http://{address}/"), "x")).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Malformed, "{failure}");
}

#[tokio::test]
async fn nobody_listening_is_a_failed_connection() {
    let (listener, address) = listener().await;
    drop(listener);
    let failure = pool().send(post(format!("http://{address}/"), "x")).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Connect);
    assert!(failure.message.contains(&address.to_string()), "{failure}");
}

#[tokio::test]
async fn an_unknown_host_is_a_failed_connection() {
    let failure = pool().send(post("http://no-such-host.invalid/", "x")).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Connect);
    assert!(failure.message.contains("no-such-host.invalid"), "{failure}");
}

#[tokio::test]
async fn an_address_without_a_host_is_a_bad_request() {
    for url in ["/v1/chat", "ftp://host/"] {
        assert_eq!(pool().send(post(url, "x")).await.unwrap_err().kind, Kind::BadRequest);
    }
}

#[tokio::test]
async fn a_connection_that_takes_too_long_fails() {
    let (listener, address) = listener().await;
    let options = PoolOptions { connect_timeout: Duration::from_millis(50), ..PoolOptions::default() };
    let failure = Pool::new(options).send(post(format!("https://{address}/"), "x")).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Connect);
    assert!(failure.message.contains("within 50ms"), "{failure}");
    drop(listener);
}

#[tokio::test]
async fn dropping_a_send_closes_the_socket() {
    let (listener, address) = listener().await;
    let (arrived, has_arrived) = oneshot::channel();
    let (ended, has_ended) = oneshot::channel();
    spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        arrived.send(()).unwrap();
        ended.send(stream.read_u8().await.map_err(|error| error.kind())).unwrap();
    });
    let pool = pool();
    tokio::select! {
        _ = pool.send(post(format!("http://{address}/"), "x")) => panic!("nobody answers"),
        arrived = has_arrived => arrived.unwrap(),
    }
    assert_eq!(has_ended.await.unwrap(), Err(io::ErrorKind::UnexpectedEof));
}

#[tokio::test]
async fn large_bodies_go_both_ways() {
    let (acceptor, pem) = certificate(&["h2", "http/1.1"]);
    let echo = Echo::new();
    let (plain, tls) = (echo.listen().await, echo.listen_tls(acceptor).await);
    let pool = Pool::new(PoolOptions { roots: Roots::Pem(pem), ..PoolOptions::default() });
    let body = Bytes::from((0..20_000_000u32).map(|n| n as u8).collect::<Vec<_>>());
    for url in [format!("http://{plain}/"), format!("https://localhost:{}/", tls.port())] {
        for _ in 0..2 {
            let answer = pool.send(post(&url, body.clone())).await.unwrap();
            assert!(answer.body() == &body, "{url}: the body came back changed");
        }
    }
    assert_eq!(echo.seen.connections(), 2);
}

#[tokio::test]
async fn a_trusted_certificate_works_over_both_versions() {
    for (protocols, http2, version) in [
        (&["h2", "http/1.1"][..], Http2::Auto, "HTTP/2.0"),
        (&["http/1.1"], Http2::Auto, "HTTP/1.1"),
        (&[], Http2::Auto, "HTTP/1.1"),
        (&["h2", "http/1.1"], Http2::Never, "HTTP/1.1"),
    ] {
        let (acceptor, pem) = certificate(protocols);
        let echo = Echo::new();
        let address = echo.listen_tls(acceptor).await;
        let pool = Pool::new(PoolOptions { roots: Roots::Pem(pem), http2, ..PoolOptions::default() });
        for _ in 0..3 {
            let answer = pool.send(post(format!("https://{address}/"), "hello")).await.unwrap();
            assert_eq!((&answer.body()[..], answer.headers()["x-version"].to_str().unwrap()), (&b"hello"[..], version));
        }
        assert_eq!(echo.seen.connections(), 1);
    }
}

#[tokio::test]
async fn an_unknown_certificate_fails_and_says_what_to_do() {
    let (acceptor, _) = certificate(&["h2"]);
    let address = Echo::new().listen_tls(acceptor).await;
    let (_, other) = certificate(&[]);
    let pool = Pool::new(PoolOptions { roots: Roots::Pem(other), ..PoolOptions::default() });
    let failure = pool.send(post(format!("https://{address}/"), "x")).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Connect);
    assert!(failure.message.contains("127.0.0.1") && failure.message.contains("SSL_CERT_FILE"), "{failure}");
}

#[tokio::test]
async fn a_server_without_tls_fails_and_says_so() {
    let (listener, address) = listener().await;
    spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read_u8().await;
        reply(&mut stream, "HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let failure = pool().send(post(format!("https://{address}/"), "x")).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Connect);
    assert!(failure.message.contains("http://"), "{failure}");
}

/// 300 requests that all wait for each other need three connections of 100 streams, and no more.
#[tokio::test]
async fn http2_takes_as_many_connections_as_the_streams_need() {
    let (acceptor, pem) = certificate(&["h2"]);
    let echo = Echo::new();
    let (tls, plain) = (echo.listen_tls(acceptor).await, echo.listen().await);
    let urls = [format!("https://localhost:{}/wait", tls.port()), format!("http://{plain}/wait")];
    for (url, http2) in urls.iter().zip([Http2::Auto, Http2::PriorKnowledge]) {
        let roots = Roots::Pem(pem.clone());
        let pool = Arc::new(Pool::new(PoolOptions { roots, http2, ..PoolOptions::default() }));
        let (connections, requests) = (echo.seen.connections(), echo.seen.requests());
        let (gate, seen) = (echo.gate.clone(), echo.seen.clone());
        spawn(async move {
            while seen.requests() < requests + 300 {
                tokio::task::yield_now().await;
            }
            gate.add_permits(300);
        });
        let replies = send_all(&pool, url, 300).await;
        assert!(replies.iter().all(|reply| reply.headers()["x-version"] == "HTTP/2.0"));
        assert_eq!(echo.seen.connections() - connections, 3, "{url}");
    }
}

#[tokio::test]
async fn a_dropped_http2_request_frees_its_stream_and_not_the_connection() {
    let echo = Echo::new();
    let address = echo.listen().await;
    let pool = Arc::new(Pool::new(PoolOptions { http2: Http2::PriorKnowledge, ..PoolOptions::default() }));
    for _ in 0..3 {
        let before = echo.seen.requests();
        let mut sends = JoinSet::new();
        for _ in 0..100 {
            let pool = pool.clone();
            sends.spawn(async move { pool.send(post(format!("http://{address}/wait"), "x")).await.map(|_| ()) });
        }
        while echo.seen.requests() < before + 100 {
            tokio::task::yield_now().await;
        }
        sends.shutdown().await;
    }
    send_all(&pool, &format!("http://{address}/"), 1).await;
    assert_eq!(echo.seen.connections(), 1);
}

/// Requests dropped while they dial, wait or are answered leave nothing behind that others would wait for.
#[tokio::test]
async fn requests_dropped_at_any_time_leave_the_others_alone() {
    let (acceptor, pem) = certificate(&["h2"]);
    let echo = Echo::new();
    let address = echo.listen_tls(acceptor).await;
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..20 {
        let pool = Arc::new(Pool::new(PoolOptions { roots: Roots::Pem(pem.clone()), ..PoolOptions::default() }));
        let mut sends = JoinSet::new();
        let handles: Vec<_> = (0..400)
            .map(|_| {
                let pool = pool.clone();
                sends.spawn(async move { pool.send(post(format!("https://{address}/"), "x")).await.map(|_| ()) })
            })
            .collect();
        for handle in handles {
            if random.bool() {
                handle.abort();
            }
            if random.u8(..) < 40 {
                tokio::task::yield_now().await;
            }
        }
        while let Some(done) = sends.join_next().await {
            assert!(matches!(done, Ok(Ok(()))) || done.is_err_and(|error| error.is_cancelled()));
        }
        echo.gate.add_permits(250);
        send_all(&pool, &format!("https://{address}/wait"), 250).await;
    }
}

/// The first request dials and is dropped while it does; the one that waited for it dials instead.
#[tokio::test]
async fn a_dropped_dial_is_taken_over() {
    let (listener, address) = listener().await;
    let pool = Arc::new(Pool::new(PoolOptions { http2: Http2::PriorKnowledge, ..PoolOptions::default() }));
    let mut first = pool.send(post(format!("http://{address}/"), "first"));
    assert!((&mut first).now_or_never().is_none());
    let mut second = pool.send(post(format!("http://{address}/"), "second"));
    assert!((&mut second).now_or_never().is_none());
    drop(first);
    let echo = Echo::new();
    let server = echo.clone();
    spawn(async move {
        loop {
            spawn(server.clone().serve(listener.accept().await.unwrap().0));
        }
    });
    assert_eq!(second.await.unwrap().body(), "second");
    assert_eq!(echo.seen.requests(), 1);
}

#[tokio::test]
async fn requests_that_wait_for_a_failed_dial_fail_with_it() {
    let (listener, address) = listener().await;
    drop(listener);
    let pool = Arc::new(Pool::new(PoolOptions { http2: Http2::PriorKnowledge, ..PoolOptions::default() }));
    let mut sends = JoinSet::new();
    for _ in 0..50 {
        let pool = pool.clone();
        sends.spawn(async move { pool.send(post(format!("http://{address}/"), "x")).await.unwrap_err().kind });
    }
    assert!(sends.join_all().await.iter().all(|kind| *kind == Kind::Connect));
}

/// What a raw HTTP/2 server does with the requests of its first connection; later connections answer.
#[derive(Clone, Copy)]
enum Refusal {
    Stream(h2::Reason),
    Close,
}

async fn refusing_server(refusal: Refusal) -> (SocketAddr, Arc<Seen>) {
    let (listener, address) = listener().await;
    let seen = Arc::new(Seen::default());
    let count = seen.clone();
    spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let first = count.connections.fetch_add(1, Ordering::SeqCst) == 0;
            let count = count.clone();
            spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    count.requests.fetch_add(1, Ordering::SeqCst);
                    match refusal {
                        _ if !first => drop(respond.send_response(http::Response::new(()), true).unwrap()),
                        Refusal::Stream(reason) => respond.send_reset(reason),
                        Refusal::Close => return,
                    }
                }
            });
        }
    });
    (address, seen)
}

#[tokio::test]
async fn a_refused_stream_moves_and_any_other_end_is_cut() {
    for (refusal, outcome) in [
        (Refusal::Stream(h2::Reason::REFUSED_STREAM), Ok(200)),
        (Refusal::Stream(h2::Reason::INTERNAL_ERROR), Err(Kind::Cut)),
        (Refusal::Stream(h2::Reason::CANCEL), Err(Kind::Cut)),
        (Refusal::Close, Err(Kind::Cut)),
    ] {
        let (address, seen) = refusing_server(refusal).await;
        let pool = Pool::new(PoolOptions { http2: Http2::PriorKnowledge, ..PoolOptions::default() });
        let answer = pool.send(post(format!("http://{address}/"), "x")).await;
        let answer = answer.map(|reply| reply.status().as_u16()).map_err(|failure| failure.kind);
        assert_eq!(answer, outcome);
        assert_eq!(seen.requests(), if outcome.is_ok() { 2 } else { 1 });
    }
}

/// Reads HTTP/2 frames up to the head of a request.
async fn read_http2_head(stream: &mut TcpStream) {
    loop {
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).await.unwrap();
        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]) as usize;
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        if frame[3] == 1 {
            return;
        }
    }
}

#[tokio::test]
async fn a_stream_above_the_number_in_goaway_moves() {
    let (listener, address) = listener().await;
    let echo = Echo::new();
    let server = echo.clone();
    spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 24]).await.unwrap();
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap(); // SETTINGS, all defaults
        read_http2_head(&mut stream).await;
        stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap(); // GOAWAY, none processed
        server.serve(listener.accept().await.unwrap().0).await;
    });
    let pool = Pool::new(PoolOptions { http2: Http2::PriorKnowledge, ..PoolOptions::default() });
    assert_eq!(pool.send(post(format!("http://{address}/"), "hello")).await.unwrap().body(), "hello");
    assert_eq!(echo.seen.requests(), 1);
}

/// A proxy that wants `me` and `p@ss` and counts; CONNECT gets a tunnel, anything else an answer of its own.
async fn proxy() -> (SocketAddr, Arc<Seen>) {
    let (listener, address) = listener().await;
    let seen = Arc::new(Seen::default());
    let count = seen.clone();
    spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = read_request(&mut stream).await.unwrap();
            count.heads.lock().unwrap().push(head.clone());
            if !head.to_lowercase().contains("proxy-authorization: basic bwu6cebzcw==") {
                reply(&mut stream, "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n").await;
                continue;
            }
            match head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()) {
                Some(to) => {
                    let mut server = TcpStream::connect(to).await.unwrap();
                    reply(&mut stream, "HTTP/1.1 200 Connection established\r\n\r\n").await;
                    spawn(async move {
                        let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
                    });
                }
                None => reply(&mut stream, OK).await,
            }
        }
    });
    (address, seen)
}

fn rules(proxy: SocketAddr, login: &str, no_proxy: &str) -> ProxyRules {
    let all_proxy = Some(format!("http://{login}{proxy}"));
    ProxyRules::new(&ProxyUrls { all_proxy, no_proxy: Some(no_proxy.to_owned()), ..ProxyUrls::default() }).unwrap()
}

#[tokio::test]
async fn https_goes_through_a_tunnel_with_a_login() {
    let (acceptor, pem) = certificate(&["h2", "http/1.1"]);
    let echo = Echo::new();
    let address = echo.listen_tls(acceptor).await;
    let (proxy, seen) = proxy().await;
    let roots = Roots::Pem(pem);
    let options = PoolOptions { roots: roots.clone(), proxy: rules(proxy, "me:p%40ss@", ""), ..PoolOptions::default() };
    let pool = Pool::new(options);
    for _ in 0..3 {
        let answer = pool.send(post(format!("https://{address}/"), "hello")).await.unwrap();
        assert_eq!(answer.body(), "hello");
    }
    let heads = seen.heads.lock().unwrap().clone();
    assert_eq!(heads.len(), 1);
    assert!(heads[0].starts_with(&format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n")), "{}", heads[0]);
    let head = echo.seen.heads.lock().unwrap()[0].to_lowercase();
    assert!(!head.contains("proxy-authorization"), "the server must not see the proxy's login: {head}");

    let pool = Pool::new(PoolOptions { roots, proxy: rules(proxy, "", ""), ..PoolOptions::default() });
    let failure = pool.send(post(format!("https://{address}/"), "x")).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Connect);
    assert!(failure.message.contains("user name and password"), "{failure}");
}

#[tokio::test]
async fn http_is_given_to_the_proxy_whole() {
    let (proxy, seen) = proxy().await;
    let pool = Pool::new(PoolOptions { proxy: rules(proxy, "me:p%40ss@", ""), ..PoolOptions::default() });
    let answer = pool.send(post("http://model.example:9/v1/x?y=1", "hello")).await.unwrap();
    assert_eq!(answer.body(), "ok");
    let head = seen.heads.lock().unwrap()[0].clone();
    assert!(head.starts_with("POST http://model.example:9/v1/x?y=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: model.example:9\r\n"), "{head}");
}

#[tokio::test]
async fn no_proxy_exempts_a_host() {
    let echo = Echo::new();
    let address = echo.listen().await;
    let (proxy, seen) = proxy().await;
    let pool = Pool::new(PoolOptions { proxy: rules(proxy, "", "127.0.0.1"), ..PoolOptions::default() });
    assert_eq!(pool.send(post(format!("http://{address}/"), "hello")).await.unwrap().body(), "hello");
    assert_eq!((echo.seen.requests(), seen.heads.lock().unwrap().len()), (1, 0));
}

#[tokio::test]
async fn an_unreachable_proxy_is_named() {
    let (listener, address) = listener().await;
    drop(listener);
    let pool = Pool::new(PoolOptions { proxy: rules(address, "me:secret@", ""), ..PoolOptions::default() });
    let failure = pool.send(post("https://model.example/", "x")).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Connect);
    assert!(failure.message.contains("proxy") && failure.message.contains(&address.to_string()), "{failure}");
    assert!(!failure.message.contains("secret"), "{failure}");
}

/// The task that drives an HTTP/2 connection ends when the pool is dropped, so the server sees the connection end.
#[tokio::test]
async fn dropping_the_pool_ends_its_connections() {
    let (listener, address) = listener().await;
    let (ended, has_ended) = oneshot::channel();
    let echo = Echo::new();
    let server = echo.clone();
    spawn(async move {
        server.serve(listener.accept().await.unwrap().0).await;
        ended.send(()).unwrap();
    });
    let pool = Pool::new(PoolOptions { http2: Http2::PriorKnowledge, ..PoolOptions::default() });
    pool.send(post(format!("http://{address}/"), "x")).await.unwrap();
    drop(pool);
    has_ended.await.unwrap();
}
