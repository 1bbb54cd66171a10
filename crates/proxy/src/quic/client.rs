//! QUIC connections to backends, each over a socket of its own.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use proxima_quic_socket::Connected;
use quinn::{
    ConnectError, Connection, ConnectionError, Endpoint, EndpointConfig, IdleTimeout, TokioRuntime,
    TransportConfig, VarInt, crypto::rustls::QuicClientConfig,
};
use rustls::pki_types::ServerName;

use super::{SEND_WINDOW, STREAM_WINDOW, STREAMS, UNI_STREAMS};

/// From PING to PING while nothing else is sent: a backend that is gone without a word is noticed, and one that takes long for an
/// answer does not take the connection for idle (RFC 9114 §5.1).
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Without a packet of the backend.
const SILENCE: Duration = Duration::from_secs(20);
/// Before anything was measured; RFC 9002 §6.2.2 has 333 ms for hosts that nothing is known of, after thrice which a first packet
/// that was lost would come again.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// TLS to a backend in the form that QUIC needs.
#[derive(Clone)]
pub(crate) struct ClientCrypto(quinn::ClientConfig);

impl ClientCrypto {
    /// `None` when the configuration does not speak TLS 1.3.
    pub(crate) fn new(tls: Arc<rustls::ClientConfig>) -> Option<Self> {
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).ok()?));
        config.transport_config(Arc::new(transport_config()));
        Some(Self(config))
    }
}

impl fmt::Debug for ClientCrypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCrypto(…)")
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unconnected {
    /// This host's doing.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Also this host's.
    #[error(transparent)]
    Local(#[from] ConnectError),
    /// The backend's.
    #[error(transparent)]
    Backend(#[from] ConnectionError),
}

impl Unconnected {
    /// Whether TLS is what failed (RFC 9001 §4.8: its alerts are the codes from 0x100 on).
    pub(crate) fn is_of_tls(&self) -> bool {
        let code = match self {
            Self::Backend(ConnectionError::TransportError(error)) => error.code,
            Self::Backend(ConnectionError::ConnectionClosed(close)) => close.error_code,
            _ => return false,
        };
        (0x100..0x200).contains(&u64::from(code))
    }
}

/// A connection to `address`, which has shown that it is `name`.
pub(crate) async fn connect(
    address: SocketAddr,
    name: &ServerName<'_>,
    crypto: &ClientCrypto,
) -> Result<Connection, Unconnected> {
    let socket = Arc::new(Connected::to(address, None)?);
    let runtime = Arc::new(TokioRuntime);
    let endpoint = Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, socket, runtime)?;
    // The endpoint lives as long as its connection.
    Ok(endpoint.connect_with(crypto.0.clone(), address, &name.to_str())?.await?)
}

fn transport_config() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .initial_rtt(INITIAL_RTT)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(SILENCE.as_millis() as u32))))
        // Requests are ours alone to make.
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(UNI_STREAMS.into())
        .stream_receive_window(STREAM_WINDOW.into())
        // A response that its client does not take keeps no other one from being sent.
        .receive_window((STREAM_WINDOW * (STREAMS + UNI_STREAMS)).into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None);
    config
}
