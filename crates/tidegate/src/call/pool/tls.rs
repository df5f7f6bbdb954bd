//! TLS: whose certificates are trusted, and what a refusal means.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::stream::Stream;
use super::{Http2, Roots, causes};

const H1: &[u8] = b"http/1.1";
const H2: &[u8] = b"h2";

/// Makes TLS connections; the certificates are read once, when the first one is made.
pub(super) struct Tls {
    roots: Roots,
    http2: Http2,
    config: OnceLock<Result<Configs, String>>,
}

/// The TLS settings towards servers and towards proxies, which are always spoken to in HTTP/1.1.
#[derive(Clone)]
struct Configs {
    server: Arc<ClientConfig>,
    proxy: Arc<ClientConfig>,
}

/// Who is at the other end of a TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// The server that answers.
    Server,
    /// A proxy on the way.
    Proxy,
}

impl Tls {
    pub(super) fn new(roots: Roots, http2: Http2) -> Tls {
        Tls { roots, http2, config: OnceLock::new() }
    }

    /// Encrypts a stream and returns it with whether HTTP/2 was agreed on.
    ///
    /// # Errors
    ///
    /// What went wrong, in words for the user.
    pub(super) async fn connect(&self, stream: Stream, host: &str, peer: Peer) -> Result<(Stream, bool), String> {
        let configs = self.config.get_or_init(|| Configs::load(&self.roots, self.http2)).clone()?;
        let config = match peer {
            Peer::Server => configs.server,
            Peer::Proxy => configs.proxy,
        };
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| "the name cannot be in a certificate".to_owned())?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| refusal(&error))?;
        let h2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        Ok((Stream::Tls(Box::new(stream)), h2))
    }
}

impl Configs {
    fn load(roots: &Roots, http2: Http2) -> Result<Configs, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut proxy = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(store(roots)?)
            .with_no_client_auth();
        let mut server = proxy.clone();
        let offers: &[&[u8]] = match http2 {
            Http2::Auto => &[H2, H1],
            Http2::Never => &[H1],
            Http2::PriorKnowledge => &[H2],
        };
        server.alpn_protocols = offers.iter().map(|name| name.to_vec()).collect();
        proxy.alpn_protocols = vec![H1.to_vec()];
        Ok(Configs { server: Arc::new(server), proxy: Arc::new(proxy) })
    }
}

fn store(roots: &Roots) -> Result<RootCertStore, String> {
    let (certificates, problem) = match roots {
        Roots::Native => {
            let found = rustls_native_certs::load_native_certs();
            (found.certs, found.errors.first().map(ToString::to_string))
        }
        Roots::Pem(text) => match CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>() {
            Ok(certificates) => (certificates, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        },
    };
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates);
    if added > 0 {
        return Ok(store);
    }
    let problem = problem.map(|problem| format!(" ({problem})")).unwrap_or_default();
    Err(format!("no root certificates were found{problem}; set SSL_CERT_FILE to a PEM file of those to trust"))
}

/// Says what a failed handshake means and what to do.
fn refusal(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let text = causes(error);
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => format!(
            "its certificate is not trusted: {text}; if your own authority issued it, set SSL_CERT_FILE to a PEM file with \
             that authority's certificate"
        ),
        Some(rustls::Error::InvalidMessage(_)) => format!("it does not speak TLS: {text}; is it an http:// address?"),
        _ => format!("the TLS handshake failed: {text}"),
    }
}
