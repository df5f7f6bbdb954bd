//! `tidegate sim`: the simulated provider over HTTP.
//!
//! All decisions are the library's; this file only carries plans out on sockets. It is also what benchmarks run against,
//! so a call takes no detour: one thread, no router, no layers, and a reply of one piece goes out in one write.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{io, vec};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tidegate::Error;
use tidegate::sim::{Act, End, Latency, Piece, Plan, Scenario, Simulator, Visit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;

use crate::metrics;
use crate::settings::value;

const EXAMPLES: &str = "\
Examples:
  tidegate sim
  tidegate sim --listen 127.0.0.1:8443 --tls --tls-cert-out cert.pem --scenario examples/scenarios/bad-day.yaml
  curl http://127.0.0.1:8080/__sim/stats";

/// Serves a simulated provider over HTTP/1.1 and HTTP/2.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SimArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = value::socket)]
    listen: SocketAddr,
    /// How the provider behaves: latency, limits, faults, scripted answers
    #[arg(long, value_name = "FILE.yaml")]
    scenario: Option<PathBuf>,
    /// A fixed latency, in place of the scenario's
    #[arg(long, value_name = "MS", value_parser = value::milliseconds)]
    latency_ms: Option<f64>,
    /// Speak TLS with a certificate made for this run
    #[arg(long)]
    tls: bool,
    /// Write the certificate made for this run, so that clients can be told to trust it
    #[arg(long, value_name = "FILE", requires = "tls", conflicts_with = "tls_cert")]
    tls_cert_out: Option<PathBuf>,
    /// Speak TLS with this certificate chain
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Address for Prometheus' /metrics and for /metrics.json, such as 127.0.0.1:9465
    #[arg(long, value_name = "ADDRESS", value_parser = value::socket)]
    metrics_listen: Option<SocketAddr>,
    /// How many calls one HTTP/2 connection may carry at once
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_streams: u32,
}

/// Connections that may wait to be accepted. Clients dial hundreds at once; of those that the customary 128 turns away,
/// each tries again a whole second later.
const BACKLOG: u32 = 4096;

/// What [`serve`] needs, read and checked.
pub(crate) struct SimOptions {
    listen: SocketAddr,
    metrics_listen: Option<SocketAddr>,
    scenario: Scenario,
    tls: Option<Arc<rustls::ServerConfig>>,
    max_streams: u32,
}

impl SimArgs {
    /// Reads the files that the arguments name.
    pub(crate) fn resolve(self) -> anyhow::Result<SimOptions> {
        let mut scenario = match &self.scenario {
            Some(path) => read_scenario(path)?,
            None => Scenario::default(),
        };
        if let Some(ms) = self.latency_ms {
            scenario.latency = Latency::Fixed { ms };
        }
        if self.max_streams == 0 {
            bail!("--max-streams 0 would refuse every call: give at least 1");
        }
        let tls = self.tls_config()?;
        let SimArgs { listen, metrics_listen, max_streams, .. } = self;
        Ok(SimOptions { listen, metrics_listen, scenario, tls, max_streams })
    }

    fn tls_config(&self) -> anyhow::Result<Option<Arc<rustls::ServerConfig>>> {
        let (chain, key) = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => {
                let chain = CertificateDer::pem_file_iter(cert)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .with_context(|| format!("cannot read a certificate from {}", cert.display()))?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .with_context(|| format!("cannot read a private key from {}", key.display()))?;
                (chain, key)
            }
            _ if self.tls => self.self_signed()?,
            _ => return Ok(None),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .context("the certificate and its key cannot be used")?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Some(Arc::new(config)))
    }

    fn self_signed(&self) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let own = self.listen.ip().to_string();
        if !names.contains(&own) {
            names.push(own);
        }
        let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
        if let Some(path) = &self.tls_cert_out {
            std::fs::write(path, made.cert.pem()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        Ok((vec![made.cert.der().clone()], key))
    }
}

/// Reads a scenario.
///
/// # Errors
///
/// [`Error::Usage`] names the file, and the line of a mistake.
pub(crate) fn read_scenario(path: &Path) -> tidegate::Result<Scenario> {
    let text = std::fs::read_to_string(path);
    let text =
        text.map_err(|error| Error::Usage(format!("the scenario {} cannot be read: {error}", path.display())))?;
    Scenario::from_yaml(&text).map_err(|error| Error::Usage(format!("{}: {error}", path.display())))
}

/// Serves until the process is told to stop.
///
/// # Errors
///
/// An address cannot be listened on.
#[expect(clippy::disallowed_methods, reason = "whoever reads the metrics waits for no call")]
pub(crate) async fn serve(options: SimOptions) -> anyhow::Result<()> {
    let listener = listen(options.listen).with_context(|| format!("cannot listen on {}", options.listen))?;
    let metrics = match options.metrics_listen {
        Some(address) => Some(metrics::listen(address).await?),
        None => None,
    };
    announce(&listener, options.tls.is_some(), metrics.as_ref())?;
    let server = Server {
        simulator: Simulator::new(options.scenario),
        tls: options.tls.map(TlsAcceptor::from),
        http: builder(options.max_streams),
    };
    let server = Arc::new(server);
    if let Some(metrics) = metrics {
        let simulator = server.simulator.clone();
        drop(tokio::spawn(metrics::serve(metrics, move || metrics::sim::families(&simulator.stats()))));
    }
    let mut stop = std::pin::pin!(stopped());
    loop {
        tokio::select! {
            signal = &mut stop => return signal.context("cannot listen for signals"),
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => start(Arc::clone(&server), tcp),
                // No more descriptors, mostly: some will be free soon.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // On Windows this would let another program take the port.
    socket.set_reuseaddr(cfg!(not(windows)))?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[expect(clippy::print_stdout, reason = "the lines that tell a waiting script the ports")]
fn announce(listener: &TcpListener, tls: bool, metrics: Option<&TcpListener>) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    println!("listening on {}://{address}", if tls { "https" } else { "http" });
    if let Some(metrics) = metrics {
        println!("metrics: http://{}/metrics", metrics.local_addr()?);
    }
    Ok(())
}

/// Resolves on Ctrl-C or SIGTERM.
async fn stopped() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// What all connections share.
struct Server {
    simulator: Simulator,
    tls: Option<TlsAcceptor>,
    http: auto::Builder<TokioExecutor>,
}

fn builder(max_streams: u32) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).pipeline_flush(true).header_read_timeout(None);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(max_streams);
    builder
}

#[expect(clippy::disallowed_methods, reason = "a server has a task for each connection")]
fn start(server: Arc<Server>, tcp: TcpStream) {
    tokio::spawn(async move {
        // Without this a small reply waits for the acknowledgement of the one before.
        let _ = tcp.set_nodelay(true);
        let reset = Arc::new(AtomicBool::new(false));
        let socket = Socket { tcp, reset: Arc::clone(&reset) };
        match &server.tls {
            None => connection(&server, socket, reset).await,
            Some(tls) => {
                if let Ok(stream) = tls.accept(socket).await {
                    connection(&server, stream, reset).await;
                }
            }
        }
    });
}

/// Serves one connection until either side closes it.
async fn connection<S>(server: &Server, stream: S, reset: Arc<AtomicBool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| answer(server.simulator.clone(), Arc::clone(&reset), request));
    // Clients may leave at any time, and faults break connections on purpose.
    let _ = server.http.serve_connection(TokioIo::new(stream), service).await;
}

/// Why no reply, or only half of one, is sent.
type NoReply = Box<dyn std::error::Error + Send + Sync>;

async fn answer(
    simulator: Simulator,
    reset: Arc<AtomicBool>,
    request: http::Request<Incoming>,
) -> Result<http::Response<SimBody>, NoReply> {
    let (head, body) = request.into_parts();
    let h1 = head.version <= http::Version::HTTP_11;
    let body = body.collect().await?.to_bytes();
    let request = http::Request::from_parts(head, body);
    let Plan { delay, act, visit, .. } = simulator.arrive(Instant::now(), &request);
    drop(request);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    match act {
        Act::Reply(reply) => Ok(reply.map(|body| SimBody::whole(body, visit))),
        Act::Pieces { head, pieces, end } => Ok(head.map(|()| SimBody::pieces(pieces, end, visit))),
        Act::Reset => {
            visit.finish();
            // With HTTP/2 the error resets the one stream; its connection serves others.
            reset.store(h1, Ordering::Relaxed);
            Err("the scenario resets the connection".into())
        }
        // `Act::Hang`; the visit lasts until the client gives up.
        _ => std::future::pending().await,
    }
}

/// The body of a reply: one piece, or several with time between them.
enum SimBody {
    Whole(Option<(Bytes, Visit)>),
    Pieces(Pieces),
}

/// What is left of a body in pieces.
struct Pieces {
    rest: vec::IntoIter<Piece>,
    /// The piece that is waited for, or nothing before the first and while waiting for a cut.
    next: Option<Bytes>,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    end: End,
    visit: Option<Visit>,
}

/// How long a connection that is to be cut stays open, so that the half reply gets out before.
const BEFORE_CUT: Duration = Duration::from_millis(10);

impl SimBody {
    fn whole(body: Bytes, visit: Visit) -> SimBody {
        SimBody::Whole(Some((body, visit)))
    }

    fn pieces(pieces: Vec<Piece>, end: End, visit: Visit) -> SimBody {
        let timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        SimBody::Pieces(Pieces { rest: pieces.into_iter(), next: None, timer, waiting: false, end, visit: Some(visit) })
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = NoReply;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, NoReply>>> {
        match self.get_mut() {
            SimBody::Whole(whole) => Poll::Ready(whole.take().map(|(body, visit)| {
                visit.finish();
                Ok(Frame::data(body))
            })),
            SimBody::Pieces(pieces) => pieces.poll_next(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, SimBody::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            SimBody::Whole(Some((body, _))) => SizeHint::with_exact(body.len() as u64),
            SimBody::Whole(None) => SizeHint::with_exact(0),
            SimBody::Pieces(_) => SizeHint::default(),
        }
    }
}

impl Pieces {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, NoReply>>> {
        if !self.waiting {
            let gap = match self.rest.next() {
                Some(piece) => {
                    self.next = Some(piece.bytes);
                    piece.gap
                }
                None if self.end == End::Cut => BEFORE_CUT,
                None => return Poll::Ready(None),
            };
            self.waiting = !gap.is_zero();
            self.timer.as_mut().reset(Instant::now() + gap);
        }
        if self.waiting {
            ready!(self.timer.as_mut().poll(cx));
            self.waiting = false;
        }
        let frame = match self.next.take() {
            Some(bytes) => Ok(Frame::data(bytes)),
            None => Err("the scenario cuts the body".into()),
        };
        // A body of a known length is not asked for more once that is reached, so the last piece counts as the end.
        if frame.is_err() || (self.rest.as_slice().is_empty() && self.end == End::Whole) {
            self.leave();
        }
        Poll::Ready(Some(frame))
    }

    fn leave(&mut self) {
        if let Some(visit) = self.visit.take() {
            visit.finish();
        }
    }
}

/// A connection that can be told to end with a reset instead of a proper close.
struct Socket {
    tcp: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            let _ = self.tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
