//! The data plane: TCP relay and reverse proxy for HTTP/1.1, HTTP/2 and HTTP/3, in plain text or over TLS.
//!
//! ```text
//!  control thread                    worker 0 … n-1 (threads of their own)
//!  ──────────────                    ──────────────────────────────────────────────────────────────
//!  ArcSwap<Snapshot> ── read by ───▶ view: routes, levels, backends with idle connections
//!  DataPlane ── phase, listeners ──▶ main task: beat, phase, sockets (`door`), sweep of idle connections
//!  stats, beats ◀── read from ────── one task per listener: accept
//!  ProbeEntrance ───────────────────▶ the same for probes
//!                                    one task per connection: client and upstream of an exchange
//!                                    one task per stream of an HTTP/2 or HTTP/3 connection: the same
//!                                    one endpoint of QUIC per listener of HTTP/3 (`quic`)
//! ```
//!
//! A worker is one thread with a current-thread runtime, its own listeners (`SO_REUSEPORT`), connection pools,
//! coarse timer and counters: nothing on the way of a request is shared with another thread, and no task hands a
//! request to another one. All tasks may be dropped at any await: what they hold is closed or counted by guards.
//!
//! What is tried, in which order and how often is the business of `proxima-balance`; where data may go was
//! decided by `proxima-residency` before the snapshot was made. The data plane only walks the list.

#![allow(clippy::disallowed_methods, reason = "a driver: reads the clock and hands it to the cores")]

mod access;
mod backend;
mod buffer;
mod challenges;
mod close;
mod data_plane;
mod descriptors;
mod direction;
mod displaced;
mod distress;
mod door;
mod entry;
mod http;
mod inheritance;
mod limits;
mod listener;
mod listening;
mod multiplexed;
mod pace;
mod probed;
pub mod quic;
mod retry;
mod snapshot;
mod splice;
mod stats;
mod stream;
mod tcp;
mod timer;
mod tls;
mod view;
mod worker;

pub use access::{AccessLog, AccessLogOptions};
pub use challenges::Challenges;
pub use data_plane::{Beats, DataPlane, DataPlaneConfig, Listener, Protocol, StartError};
pub use displaced::Displaced;
pub use distress::Distress;
pub use inheritance::{Inheritance, InheritanceError, InheritanceMeta};
pub use limits::{BodyRate, ClientLimits, ConnectionsPerIp};
pub use listener::BindError;
pub use listening::{Prepared, Taking};
pub use probed::ProbeEntrance;
pub use snapshot::{Match, Route, Service, Snapshot, Timeouts, Upstream, UpstreamProtocol};
pub use stats::{
    BackendStats, Handshake, HandshakeFailure, LatencyHistogram, QuicStats, Reason, RegionStats, Served,
    ServiceStats, Slow, Stats, TrafficReader, Unserved,
};
pub use tls::{
    Authorities, Chain, ChainError, Clients, ForwardedCertificate, Identity, KeyError, MinVersion,
    TicketKeys, TicketKeysError, TlsClient, TlsClientOptions, TlsError, TlsServer, TlsServerOptions,
};
