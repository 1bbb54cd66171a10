//! What a service is told about TLS.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use proxima_http1::Hop;
use proxima_types::ServiceName;
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::CertificateDer,
    server::{
        NoClientAuth, NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier,
        danger::ClientCertVerifier,
    },
    version::{TLS12, TLS13},
};

use crate::quic::Crypto;

use super::{Chain, H2, HTTP1, HTTP3, HTTP10, Identity, TicketKeys, ending::ending, names::ByName};

/// What is offered by ALPN (RFC 7301), the dearest first. A client that offers none of it is refused; one without ALPN gets
/// HTTP/1.1.
const PROTOCOLS: [&[u8]; 3] = [H2, HTTP1, HTTP10];

/// The TLS of a service.
#[derive(Debug, Clone)]
pub struct TlsServer {
    tcp: Arc<ServerConfig>,
    quic: Crypto,
    /// Where clients are asked for certificates: what each connection has of its own.
    asking: Option<Arc<Asking>>,
    /// There is a certificate.
    pub(super) is_someone: bool,
    forwarded: ForwardedCertificate,
}

/// What backends are told of the certificate that a client has shown (RFC 9440).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedCertificate {
    /// Nothing.
    #[default]
    None,
    /// The certificate, in `Client-Cert`.
    Certificate,
    /// And those that the client has sent with it, in `Client-Cert-Chain`.
    Chain,
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
        let other = |error: &dyn std::fmt::Display| TlsError::Other(error.to_string());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<dyn ClientCertVerifier> = match clients {
            Clients::Any => Arc::new(NoClientAuth),
            Clients::Optional(authorities) | Clients::Required(authorities) => {
                let roots = roots(authorities)?.into();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
                let verifier = match clients {
                    Clients::Optional(_) => verifier.allow_unauthenticated(),
                    Clients::Any | Clients::Required(_) => verifier,
                };
                verifier.build().map_err(|error| other(&error))?
            }
        };
        let tickets = tickets.within(&context(service, clients));
        let asking = Asking {
            provider,
            versions: min_version.versions(),
            names: Arc::new(ByName::new(identities)),
            verifier,
            tickets,
        };
        let tcp = asking.config(asking.verifier.clone(), asking.tickets.clone(), &PROTOCOLS);
        let tcp = tcp.map_err(|error| other(&error))?;
        let mut quic = tcp.clone();
        quic.alpn_protocols = vec![HTTP3.to_vec()];
        Ok(Self {
            tcp: Arc::new(tcp),
            quic: Crypto::new(Arc::new(quic)).map_err(|error| other(&error))?,
            asking: (**clients != Clients::Any).then(|| Arc::new(asking)),
            is_someone: !identities.is_empty(),
            forwarded: ForwardedCertificate::None,
        })
    }

    /// Whose backends are told of clients' certificates.
    #[must_use]
    pub fn forwarding(self, forwarded: ForwardedCertificate) -> Self {
        Self { forwarded, ..self }
    }

    /// What is said of this hop, with what backends are told of a client that has shown `certificates`.
    pub(crate) fn hop(&self, hop: Hop, certificates: &[CertificateDer<'_>]) -> Hop {
        let mut encoded = certificates.iter().map(|certificate| BASE64_STANDARD.encode(certificate));
        match (self.forwarded, encoded.next()) {
            (ForwardedCertificate::None, _) | (_, None) => hop,
            (ForwardedCertificate::Certificate, Some(own)) => hop.with_client_certificate(&own, []),
            (ForwardedCertificate::Chain, Some(own)) => {
                let chain: Vec<_> = encoded.collect();
                hop.with_client_certificate(&own, chain.iter().map(String::as_str))
            }
        }
    }

    /// For one connection over TCP.
    pub(super) fn tcp(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        match &self.asking {
            None => Ok(self.tcp.clone()),
            Some(asking) => asking.of_one(&PROTOCOLS).map(Arc::new),
        }
    }

    /// For one connection of HTTP/3, which is the same but for the version and ALPN (RFC 9114 §3.1). `None` if it can't be had.
    pub(crate) fn quic(&self) -> Option<Crypto> {
        match &self.asking {
            None => Some(self.quic.clone()),
            Some(asking) => Crypto::new(Arc::new(asking.of_one(&[HTTP3]).ok()?)).ok(),
        }
    }
}

/// What the TLS of a connection is made of.
#[derive(Debug)]
struct Asking {
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    names: Arc<ByName>,
    verifier: Arc<dyn ClientCertVerifier>,
    tickets: Arc<dyn ProducesTickets>,
}

impl Asking {
    /// For one connection, whose tickets end with what its client shows.
    fn of_one(&self, protocols: &[&[u8]]) -> Result<ServerConfig, rustls::Error> {
        let (verifier, tickets) = ending(&self.verifier, &self.tickets);
        self.config(verifier, tickets, protocols)
    }

    fn config(
        &self,
        verifier: Arc<dyn ClientCertVerifier>,
        tickets: Arc<dyn ProducesTickets>,
        protocols: &[&[u8]],
    ) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(self.versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(self.names.clone());
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // Tickets only: what they hold costs no memory here, and is known at every PoP with the same keys.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = tickets;
        // No 0-RTT, over TCP nor QUIC: whoever recorded early data can send it again (RFC 8446 §8).
        config.max_early_data_size = 0;
        Ok(config)
    }
}

/// What a session is good for: the service, and whose clients it takes.
fn context(service: &ServiceName, clients: &Clients) -> Vec<u8> {
    // Numbers name what a ticket holds, too: 1 and 2 were without the end of what was shown.
    let (mode, authorities) = match clients {
        Clients::Any => (0, None),
        Clients::Optional(authorities) => (3, Some(authorities)),
        Clients::Required(authorities) => (4, Some(authorities)),
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
