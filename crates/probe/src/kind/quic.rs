//! That a QUIC handshake succeeds (RFC 9000), and the connection that HTTP/3 probes use again.
//!
//! A QUIC connection ends without a FIN: a killed app just falls silent. So the standing connection sends a PING every
//! second, over a socket of its own that is connected to the one address. Where nobody has that port any more, the host
//! answers with ICMP, and the socket fails. Where even that is lost, the idle timeout ends the connection.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use proxima_health::{Failure, Findings, Loss, Phase};
use proxima_probe_kind::{Quic, Tls};
use proxima_quic_socket::{Connected, connect};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, IdleTimeout, TokioRuntime,
    TransportConfig, VarInt, crypto::rustls::QuicClientConfig,
};
use rustls::{AlertDescription, pki_types::CertificateDer};
use tokio::time::{Instant, timeout_at};

use super::{Check, Checked};
use crate::{
    path::{Deadline, Path, failure},
    standing::{Driver, Link, Standing},
    tls::{certificate_ends, judge_validity, server_name},
};

/// From PING to PING while a connection is idle.
const PING: Duration = Duration::from_secs(1);
/// A connection on which nothing came for so long has ended.
const SILENCE: Duration = Duration::from_secs(4);
/// The streams a server may open: HTTP/3 has three.
const STREAMS: VarInt = VarInt::from_u32(8);
/// From one confirming packet to the next, as long as none was answered.
const CONFIRM_EVERY: Duration = Duration::from_millis(20);

/// A connection, and HTTP/3 on top where that is spoken.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) http3: Option<Http3>,
    /// When the server's certificate ends, in seconds since the Unix epoch.
    pub(crate) certificate_ends: Option<u64>,
    socket: Arc<Connected>,
    _endpoint: Endpoint,
}

/// HTTP/3 over a connection.
pub(crate) struct Http3 {
    pub(crate) sender: h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
    pub(crate) _driver: Driver,
}

impl std::fmt::Debug for Http3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http3").finish_non_exhaustive()
    }
}

impl Session {
    /// Waits for the end of the connection. Cancel-safe.
    pub(crate) async fn ended(&self) -> Loss {
        loss(&self.connection.closed().await)
    }

    /// What the end of the connection says about the backend, if it has ended.
    pub(crate) fn end(&self) -> Option<Failure> {
        self.connection.close_reason().map(|error| ended_by(&self.socket, &error))
    }
}

/// Connects, and judges the certificate.
pub(crate) async fn open(
    path: &Path,
    tls: &Tls,
    alpn: &[String],
    deadline: Deadline,
) -> Result<Session, Failure> {
    let config = client_config(path, tls, alpn).await?;
    let socket = Connected::to(path.address, path.bind_to()).map_err(|error| failure(&error))?;
    let socket = Arc::new(socket);
    let endpoint = endpoint(Arc::clone(&socket)).map_err(|error| failure(&error))?;
    let name = server_name(tls, path.address.ip())?;
    let connecting = endpoint
        .connect_with(config, path.address, &name.to_str())
        .map_err(|error| Failure::Local { error: error.to_string() })?;
    let shake = async { connecting.await.map_err(|error| ended_by(&socket, &error)) };
    let connection = deadline.run(Phase::Handshake, shake).await?;
    let certificate_ends = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .and_then(|chain| chain.first().and_then(certificate_ends));
    judge_validity(certificate_ends, tls.min_validity)?;
    Ok(Session { connection, http3: None, certificate_ends, socket, _endpoint: endpoint })
}

fn endpoint(socket: Arc<Connected>) -> io::Result<Endpoint> {
    Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
}

async fn client_config(path: &Path, tls: &Tls, alpn: &[String]) -> Result<ClientConfig, Failure> {
    let config = path.shared.tls.config(&tls.trust, alpn).await?;
    let config =
        QuicClientConfig::try_from(config).map_err(|error| Failure::Local { error: error.to_string() })?;
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(PING))
        .max_idle_timeout(IdleTimeout::try_from(SILENCE).ok())
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(STREAMS);
    let mut config = ClientConfig::new(Arc::new(config));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// How a connection ended.
fn loss(error: &ConnectionError) -> Loss {
    match error {
        ConnectionError::TimedOut => Loss::TimedOut,
        // The socket failed: nobody has the port any more.
        ConnectionError::Reset | ConnectionError::TransportError(_) => Loss::Reset,
        _ => Loss::Closed,
    }
}

/// What the end of a connection over `socket` says about the backend.
fn ended_by(socket: &Connected, error: &ConnectionError) -> Failure {
    socket.error().map_or_else(|| connection_failure(error), |error| failure(&error))
}

fn connection_failure(error: &ConnectionError) -> Failure {
    let protocol = |detail: String| Failure::Protocol { detail };
    match error {
        ConnectionError::VersionMismatch => protocol("it does not speak QUIC version 1".to_owned()),
        ConnectionError::Reset => Failure::Reset,
        ConnectionError::TimedOut => Failure::Timeout { phase: Phase::Handshake, after: SILENCE },
        ConnectionError::TransportError(error) => match alert(error.code) {
            Some(alert) if is_about_certificates(alert) => {
                Failure::Certificate { detail: error.reason.clone() }
            }
            _ => protocol(format!("QUIC: {error}")),
        },
        ConnectionError::ConnectionClosed(close) => match alert(close.error_code) {
            Some(AlertDescription::NoApplicationProtocol) => {
                protocol("it speaks none of the protocols offered (ALPN)".to_owned())
            }
            Some(alert) => protocol(format!("it ends the TLS handshake with the alert {alert:?}")),
            None => Failure::Refusal { detail: close.to_string() },
        },
        ConnectionError::ApplicationClosed(close) => Failure::Refusal { detail: close.to_string() },
        ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => Failure::Closed,
    }
}

/// The alert in a QUIC error code, if there is one (RFC 9001 §4.8).
fn alert(code: quinn::TransportErrorCode) -> Option<AlertDescription> {
    let code = u64::from(code);
    (0x100..0x200).contains(&code).then(|| AlertDescription::from(code as u8))
}

fn is_about_certificates(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::BadCertificate
            | A::CertificateExpired
            | A::CertificateRevoked
            | A::CertificateUnknown
            | A::UnknownCA
            | A::UnsupportedCertificate
            | A::NoCertificate
    )
}

impl Check for Quic {
    async fn check(&self, path: &Path, _standing: Option<Standing>, deadline: Deadline) -> Checked {
        match open(path, &self.tls, &self.alpn, deadline).await {
            Ok(session) => Checked::Done {
                outcome: Ok(Findings { certificate_ends: session.certificate_ends, ..Findings::default() }),
                standing: Some(Standing { link: Link::Quic(Box::new(session)), uses_left: 0 }),
                connected_in: None,
            },
            Err(failure) => failure.into(),
        }
    }

    async fn confirm(&self, path: &Path, deadline: Deadline) -> Result<(), Failure> {
        confirm(path, deadline).await
    }
}

/// Whether somebody answers QUIC: asks in a version that does not exist, which a server answers with those that it speaks
/// (RFC 9000 §6) and without a state of its own.
pub(crate) async fn confirm(path: &Path, deadline: Deadline) -> Result<(), Failure> {
    let asked = async {
        let socket = tokio::net::UdpSocket::from_std(connect(path.address, path.bind_to())?)?;
        let mut answer = [0; 64];
        loop {
            socket.send(&VERSION_QUESTION).await?;
            let again = Instant::now() + CONFIRM_EVERY;
            if let Ok(received) = timeout_at(again, socket.recv(&mut answer)).await {
                return received.map(|_| ());
            }
        }
    };
    deadline.run(Phase::Answer, async { asked.await.map_err(|error: io::Error| failure(&error)) }).await
}

/// A long header of the reserved version 0x0a1a2a3a with two connection identifiers, as long as a first packet has to be.
const VERSION_QUESTION: [u8; 1200] = {
    let mut packet = [0; 1200];
    let head = [
        0xc0, 0x0a, 0x1a, 0x2a, 0x3a, 8, b'p', b'r', b'o', b'x', b'i', b'm', b'a', b'1', 8, b'p', b'r', b'o',
        b'x', b'i', b'm', b'a', b'2',
    ];
    let mut at = 0;
    while at < head.len() {
        packet[at] = head[at];
        at += 1;
    }
    packet
};
