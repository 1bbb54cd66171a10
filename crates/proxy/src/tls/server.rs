//! What a service is told about TLS.

use std::sync::Arc;

use proxima_types::ServiceName;
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};

use crate::quic::Crypto;

use super::{Chain, H2, HTTP1, HTTP3, HTTP10, Identity, TicketKeys, names::ByName};

/// What is offered by ALPN (RFC 7301), the dearest first. A client that offers none of it is refused; one without ALPN gets
/// HTTP/1.1.
const PROTOCOLS: [&[u8]; 3] = [H2, HTTP1, HTTP10];

/// The TLS of a service.
#[derive(Debug, Clone)]
pub struct TlsServer {
    pub(super) tcp: Arc<ServerConfig>,
    quic: Crypto,
    /// There is a certificate.
    pub(super) is_someone: bool,
}

/// What [`TlsServer::new`] makes one of.
#[derive(Debug)]
pub struct TlsServerOptions<'a> {
    /// Tickets are good for this service only.
    pub service: &'a ServiceName,
    /// By the names they have; the first is for clients that name none of them. While it is empty nobody is served, and every
    /// client is told so by an alert (`access_denied`).
    pub identities: &'a [Identity],
    /// The least version taken.
    pub min_version: MinVersion,
    /// Whether clients show certificates.
    pub clients: &'a Clients,
    /// The keys of session tickets.
    pub tickets: &'a TicketKeys,
}

/// The least version of TLS that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Whose clients are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clients {
    /// Anyone's; nobody is asked for a certificate.
    Any,
    /// Of whoever has a certificate that leads to one of these, and of those who show none.
    Optional(Chain),
    /// Only of whoever has a certificate that leads to one of these.
    Required(Chain),
}

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate authority can't be used.
    #[error("certificate {number} in it can't be a certificate authority: {error}")]
    Authority {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        error: rustls::Error,
    },
    /// Anything else.
    #[error("TLS can't be set up: {0}")]
    Other(String),
}

impl TlsServer {
    /// The TLS that is described.
    ///
    /// # Errors
    /// When a certificate authority for clients can't be used.
    pub fn new(options: &TlsServerOptions<'_>) -> Result<Self, TlsError> {
        let TlsServerOptions { service, identities, min_version, clients, tickets } = options;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(min_version.versions())
            .map_err(|error| TlsError::Other(error.to_string()))?;
        let builder = match clients {
            Clients::Any => builder.with_no_client_auth(),
            Clients::Optional(authorities) | Clients::Required(authorities) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots(authorities)?.into(), provider);
                let verifier = match clients {
                    Clients::Optional(_) => verifier.allow_unauthenticated(),
                    Clients::Any | Clients::Required(_) => verifier,
                };
                let verifier = verifier.build().map_err(|error| TlsError::Other(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByName::new(identities)));
        config.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
        // Tickets only: what they hold costs no memory here, and is known at every PoP with the same keys.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = tickets.within(&context(service, clients));
        let mut quic = config.clone();
        quic.alpn_protocols = vec![HTTP3.to_vec()];
        let quic = Crypto::new(Arc::new(quic)).map_err(|error| TlsError::Other(error.to_string()))?;
        Ok(Self { tcp: Arc::new(config), quic, is_someone: !identities.is_empty() })
    }

    /// For HTTP/3, which is the same but for the version and ALPN (RFC 9114 §3.1).
    pub(crate) fn quic(&self) -> Crypto {
        self.quic.clone()
    }
}

/// What a session is good for: the service, and whose clients it takes.
fn context(service: &ServiceName, clients: &Clients) -> Vec<u8> {
    let (mode, authorities) = match clients {
        Clients::Any => (0, None),
        Clients::Optional(authorities) => (1, Some(authorities)),
        Clients::Required(authorities) => (2, Some(authorities)),
    };
    let mut context = service.as_str().as_bytes().to_vec();
    context.extend([0, mode]);
    context.extend(authorities.into_iter().flat_map(Chain::certificates).flat_map(AsRef::as_ref));
    context
}

pub(super) fn roots(authorities: &Chain) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (index, authority) in authorities.certificates().iter().enumerate() {
        roots.add(authority.clone()).map_err(|error| TlsError::Authority { number: index + 1, error })?;
    }
    Ok(roots)
}

impl MinVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Self::Tls12 => &BOTH,
            Self::Tls13 => &BOTH[..1],
        }
    }
}
