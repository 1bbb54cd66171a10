//! TLS to the backends of a pool.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore,
    client::{Resumption, WebPkiServerVerifier},
    crypto::aws_lc_rs,
    pki_types::ServerName,
    sign::SingleCertAndKey,
    version::TLS13,
};
use tokio::net::TcpStream;

use super::{Chain, H2, HTTP1, HTTP3, Identity, TlsError, TlsStream, server::roots, verified::Verified};
use crate::{
    UpstreamProtocol,
    quic::{self, ClientCrypto, Unconnected},
    stats::Handshake,
};

/// How many tickets of a backend each worker keeps; rustls keeps no more of one server.
const TICKETS: usize = 8;

/// RFC 9001 §4.2.
const OVER_QUIC: &[&rustls::SupportedProtocolVersion] = &[&TLS13];

/// The TLS to a pool's backends. Clones are the same.
#[derive(Debug, Clone)]
pub struct TlsClient(Arc<Client>);

#[derive(Debug)]
struct Client {
    config: ClientConfig,
    verifier: Arc<WebPkiServerVerifier>,
    protocol: UpstreamProtocol,
    name: Option<ServerName<'static>>,
}

/// What [`TlsClient::new`] makes one of.
#[derive(Debug)]
pub struct TlsClientOptions<'a> {
    /// Whose certificates are trusted.
    pub authorities: &'a Authorities,
    /// The name asked for by SNI, which the certificate has to have: a DNS name or an address. `None`: the backend's address,
    /// without SNI.
    pub server_name: Option<&'a str>,
    /// What is offered by ALPN (RFC 7301): nothing else could be spoken with them.
    pub protocol: UpstreamProtocol,
    /// What is shown to backends that ask for a certificate.
    pub identity: Option<&'a Identity>,
}

/// Whose certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorities {
    /// Those the system trusts.
    System,
    /// These.
    Only(Chain),
}

impl TlsClient {
    /// The TLS that is described.
    ///
    /// # Errors
    /// When an authority can't be used, the system has none, or the name can't be one.
    pub fn new(options: &TlsClientOptions<'_>) -> Result<Self, TlsError> {
        let TlsClientOptions { authorities, server_name, protocol, identity } = options;
        let trusted = match authorities {
            Authorities::System => system_roots()?,
            Authorities::Only(chain) => Arc::new(roots(chain)?),
        };
        let versions = match protocol {
            UpstreamProtocol::Http1 | UpstreamProtocol::Http2 => rustls::DEFAULT_VERSIONS,
            UpstreamProtocol::Http3 => OVER_QUIC,
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(trusted, provider.clone())
            .build()
            .map_err(|error| TlsError::Other(error.to_string()))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| TlsError::Other(error.to_string()))?
            .with_webpki_verifier(verifier.clone());
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified.clone()))),
        };
        let offered = match protocol {
            UpstreamProtocol::Http1 => HTTP1,
            UpstreamProtocol::Http2 => H2,
            UpstreamProtocol::Http3 => HTTP3,
        };
        config.alpn_protocols = vec![offered.to_vec()];
        // Nor is early data sent to a backend that would take it: a request could be replayed there (RFC 8446 §8).
        config.enable_early_data = false;
        let name = server_name.map(|name| {
            ServerName::try_from(name.to_owned())
                .map_err(|_| TlsError::Other(format!("`{name}` is not a server name")))
        });
        Ok(Self(Arc::new(Client { config, verifier, protocol: *protocol, name: name.transpose()? })))
    }

    /// Tells it from every other there is at the same time.
    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// The same for one backend, with sessions of its own: another machine behind the same name knows nothing of them.
    pub(crate) fn to(&self, backend: SocketAddr) -> TlsToBackend {
        let mut config = self.0.config.clone();
        config.resumption = Resumption::in_memory_sessions(TICKETS);
        let name = self.0.name.clone().unwrap_or_else(|| ServerName::from(backend.ip()));
        let quic = match self.0.protocol {
            UpstreamProtocol::Http1 | UpstreamProtocol::Http2 => None,
            UpstreamProtocol::Http3 => {
                let verified = Arc::new(Verified::new(self.0.verifier.clone()));
                config.dangerous().set_certificate_verifier(verified.clone());
                ClientCrypto::new(Arc::new(config.clone())).map(|crypto| (crypto, verified))
            }
        };
        let config = Arc::new(config);
        TlsToBackend { config, quic, name, _of: self.clone() }
    }
}

/// The TLS of one worker to one backend.
#[derive(Debug)]
pub(crate) struct TlsToBackend {
    config: Arc<ClientConfig>,
    /// The same over QUIC, where HTTP/3 is spoken, and what was verified there.
    quic: Option<(ClientCrypto, Arc<Verified>)>,
    name: ServerName<'static>,
    /// Keeps [`TlsClient::id`] from being another's.
    _of: TlsClient,
}

impl TlsToBackend {
    /// The handshake over a new connection.
    pub(crate) async fn connect(&self, tcp: TcpStream) -> io::Result<TlsStream> {
        let connection =
            ClientConnection::new(self.config.clone(), self.name.clone()).map_err(io::Error::other)?;
        let mut stream = TlsStream::new(tcp, Connection::Client(connection));
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    /// A new QUIC connection to `address`, and the kind of its handshake; `None` where HTTP/3 is not spoken. Connections of one worker to
    /// one backend are made one after the other (`multiplexed`): what is verified meanwhile is this one's.
    pub(crate) async fn connect_quic(
        &self,
        address: SocketAddr,
    ) -> Option<Result<(quinn::Connection, Handshake), Unconnected>> {
        let (crypto, verified) = self.quic.as_ref()?;
        let before = verified.count();
        let connected = quic::connect(address, &self.name, crypto).await;
        let is_full = verified.count() != before;
        let kind = if is_full { Handshake::Full13 } else { Handshake::Resumed13 };
        Some(connected.map(|connection| (connection, kind)))
    }
}

/// The system's authorities, read once.
fn system_roots() -> Result<Arc<RootCertStore>, TlsError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(TlsError::Other(format!(
            "this host has no certificate authorities{why}; install ca-certificates or name a `ca-file`"
        )));
    }
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
}
