//! QUIC endpoints (RFC 9000): one per worker and listener, each on an own socket, by `quinn`.
//!
//! ```text
//!                    ┌ socket of worker 0 ─▶ Routed ─┬─▶ endpoint 0 ─▶ connections
//! kernel: hash of ───┤                               ╳ queues: the connection ID names another worker
//! the addresses      └ socket of worker 1 ─▶ Routed ─┴─▶ endpoint 1 ─▶ connections
//! ```
//!
//! The kernel spreads datagrams over the workers' sockets by their addresses. So a client that changes its address
//! (RFC 9000 §9), or a socket that comes or goes, puts a connection's packets into another worker's socket. Each connection
//! ID says who owns the connection ([`ConnectionIds`]); a worker hands what is another's to that one ([`Routed`]), in a
//! bounded queue: what finds no room in it is lost as on any link, and QUIC sends it again.
//!
//! Why not a program in the kernel (`SO_ATTACH_REUSEPORT_CBPF`): it can't decrypt connection IDs, and those that it could
//! read would tell everybody on the way which connections belong together; it also counts sockets in the order they were
//! bound, which changes when one closes. A copy to another thread is needed for clients that moved only: the first packet's
//! addresses chose the worker, and all that follow from there come to it directly.
//!
//! A process that succeeds another on the same host has its sockets (`crate::inheritance`), and the predecessor goes on with the
//! connections it has until they end. The generation in a connection ID says which of them owns it:
//!
//! ```text
//! kernel ─▶ socket of worker w ─▶ Routed of the successor ─┬─▶ its endpoint
//!                                                          └─▶ lane ─▶ Routed of worker w of the predecessor ─▶ its endpoint, or another worker's
//! ```
//!
//! The predecessor reads its lane instead of the socket (`Inbox`), and sends from the socket as before. When the lane ends, the successor has
//! gone, or listens there no more: then the predecessor reads the socket again. When the predecessor has ended, what comes for it
//! is answered with a stateless reset, by the same key.
//!
//! | a client whose handshake is with the predecessor sends | it has |
//! |---|---|
//! | to the ID that the predecessor chose, after its first flight or a Retry: forwarded | that connection |
//! | its first Initial again, with the ID it made up itself: new to the successor, which begins a handshake of its own | the one whose answer comes first; what others send it drops for another source ID (RFC 9000 §7.2), and they time out |
//!
//! So clients that are with the predecessor when it is succeeded are taken although it drains ([`Newcomer::is_left`]): nobody else can.
//!
//! Connections to backends have a socket of their own each (`client`): what comes there is theirs.
//!
//! | what a flood could grow | its bound |
//! |---|---|
//! | first packets that nobody has looked at | [`Limits::incoming`], with what followed them |
//! | handshakes with clients whose address may be forged | [`Limits::retry_above`]: others have to answer from it first |
//! | handshakes | [`Limits::handshakes`] |
//! | answers to forged addresses | three times what came (RFC 9000 §8.1) |
//! | what clients send and nobody reads, what they don't acknowledge | windows |

mod client;
mod gate;
mod ids;
mod lane;
mod route;
mod socket;

use std::{fmt, sync::Arc, time::Duration};

use quinn::{
    EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt,
    crypto::rustls::{NoInitialCipherSuite, QuicServerConfig},
};

pub(crate) use self::{
    client::{ClientCrypto, Unconnected, connect},
    ids::Lineage,
    lane::{LaneEnd, LaneStart, lane},
    socket::{Heir, Predecessor, ports},
};
pub use self::{
    gate::{Admission, Gate, Handshake, Newcomer},
    ids::{ConnectionIds, ConnectionIdsError, SharedIds},
    socket::{Counters, Port, PortError, bind},
};

/// Requests under way on one connection at most: a client's, and to a backend.
pub(crate) const STREAMS: u32 = 128;
/// Streams of its that carry no request: HTTP/3 needs three (RFC 9114 §6.2), more may be opened to no purpose.
const UNI_STREAMS: u32 = 8;
/// What a client or a backend may send on a stream beyond what was read, in octets.
pub(crate) const STREAM_WINDOW: u32 = 128 * 1024;
/// What is sent on a connection and not acknowledged, in octets.
const SEND_WINDOW: u64 = 2 * 1024 * 1024;
/// Without a packet either way. A client that waits for an answer keeps its connection alive (RFC 9114 §5.1).
const IDLE: Duration = Duration::from_mins(1);

/// What one endpoint does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// First packets of clients that wait to be looked at; more are dropped.
    pub incoming: usize,
    /// Handshakes with clients that have not shown that their address is theirs. Others get a Retry (RFC 9000 §8.1.2).
    pub retry_above: usize,
    /// Handshakes; first packets beyond are dropped, and come again.
    pub handshakes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { incoming: 1024, retry_above: 64, handshakes: 1024 }
    }
}

/// TLS of a service in the form that QUIC needs. Made once for each change of certificates, for all workers.
#[derive(Clone)]
pub struct Crypto(Arc<QuicServerConfig>);

impl Crypto {
    /// # Errors
    /// When the configuration has no cipher suite that QUIC begins with (RFC 9001 §5.2), which every usual one has.
    pub fn new(tls: Arc<rustls::ServerConfig>) -> Result<Self, NoInitialCipherSuite> {
        Ok(Self(Arc::new(QuicServerConfig::try_from(tls)?)))
    }
}

impl Crypto {
    /// TLS of nobody: enough for what comes before a client's handshake is begun.
    fn of_nobody() -> Result<Self, NoInitialCipherSuite> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider speaks TLS 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Nobody));
        Self::new(Arc::new(tls))
    }
}

/// Has no certificate.
#[derive(Debug)]
struct Nobody;

impl rustls::server::ResolvesServerCert for Nobody {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Crypto(…)")
    }
}

/// The configuration that every endpoint has with its own IDs.
fn endpoint_config(ids: &Arc<ConnectionIds>, worker: u16) -> EndpointConfig {
    let mut config = EndpointConfig::new(ids.reset_key());
    let ids = Arc::clone(ids);
    config.cid_generator(move || Box::new(ids.issuer(worker)));
    config
}

fn server_config(crypto: &Crypto, limits: Limits) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(crypto.0.clone());
    config
        .transport_config(Arc::new(transport_config()))
        .max_incoming(limits.incoming)
        // A client's second packet may come before the first was looked at.
        .incoming_buffer_size(16 * 1024)
        .incoming_buffer_size_total(1024 * 1024);
    config
}

fn transport_config() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(STREAMS.into())
        .max_concurrent_uni_streams(UNI_STREAMS.into())
        .stream_receive_window(STREAM_WINDOW.into())
        // A stream that is not read keeps no other one from being sent.
        .receive_window((STREAM_WINDOW * (STREAMS + UNI_STREAMS)).into())
        .send_window(SEND_WINDOW)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE.as_millis() as u32))))
        .datagram_receive_buffer_size(None);
    config
}
