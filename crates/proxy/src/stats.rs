//! Counters.
//!
//! Every worker writes its own, with plain loads and stores: nobody else writes them, so no atomic
//! read-modify-write and no shared cache line stands in a request's way. A reader adds the workers up.

mod counters;
mod handshake;
mod histogram;
mod served;
mod slow;
mod traffic;

use std::collections::BTreeMap;

use proxima_http1::Fault;
use proxima_types::{BackendId, RegionName, ServiceName};

pub(crate) use self::{
    counters::{BackendCounters, Counter, RegionCounters, ServiceCounters, WorkerCounters},
    histogram::Histogram,
};
pub use self::{
    handshake::{Handshake, HandshakeFailure},
    histogram::LatencyHistogram,
    served::Served,
    slow::Slow,
    traffic::TrafficReader,
};

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The backend refused the connection or could not be reached.
    Connect,
    /// The connection was not there in time.
    ConnectTimeout,
    /// The TLS handshake with the backend failed.
    Tls,
    /// A kept-alive connection had been closed by the backend.
    Stale,
    /// The backend closed or reset the connection before the head of its response was whole.
    Closed,
    /// The backend said that it did nothing with the request (RFC 9113 §8.7).
    Refused,
    /// The backend takes no WebSockets over its version of HTTP (RFC 8441 §3, RFC 9220 §3); or it has answered 2xx without a switch to
    /// a request for one, which to a client of HTTP/2 or HTTP/3 would be the agreement (RFC 8441 §5).
    Upgrade,
    /// The first byte of the response was not there in time.
    FirstByte,
    /// The response was malformed.
    Malformed,
    /// The connection broke in the middle of the response.
    Broken,
    /// Nothing moved for too long.
    Idle,
    /// The exchange took too long.
    Total,
}

impl Reason {
    /// Every reason, in the order of the enum.
    pub const ALL: [Self; 12] = [
        Self::Connect,
        Self::ConnectTimeout,
        Self::Tls,
        Self::Stale,
        Self::Closed,
        Self::Refused,
        Self::Upgrade,
        Self::FirstByte,
        Self::Malformed,
        Self::Broken,
        Self::Idle,
        Self::Total,
    ];

    /// A short name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect-timeout",
            Self::Tls => "tls",
            Self::Stale => "stale",
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::Upgrade => "upgrade",
            Self::FirstByte => "first-byte",
            Self::Malformed => "malformed",
            Self::Broken => "broken",
            Self::Idle => "idle",
            Self::Total => "total",
        }
    }
}

/// Why a request or connection was answered with 503 before anything was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unserved {
    /// The pool has no backends, or the service no snapshot.
    NoBackends,
    /// Every backend lies outside the fence.
    AllOutside,
    /// Backends lie inside the fence, and none is up.
    NoneUsable,
}

impl Unserved {
    /// Every kind, in the order of the enum.
    pub const ALL: [Self; 3] = [Self::NoBackends, Self::AllOutside, Self::NoneUsable];

    /// A short name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoBackends => "no-backends",
            Self::AllOutside => "all-outside",
            Self::NoneUsable => "none-usable",
        }
    }
}

/// What a client of HTTP/2 or HTTP/3 was refused for by the protocol itself: its stream was reset or its connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// More streams reset than the budget of its connection allows.
    RapidReset,
    /// More frames that bring nothing forward than the budget of its connection allows.
    ControlFlood,
    /// PROTOCOL_ERROR: a malformed message or frame; connection-specific fields, a body unlike its Content-Length.
    Protocol,
    /// FLOW_CONTROL_ERROR.
    FlowControl,
    /// STREAM_CLOSED.
    StreamClosed,
    /// FRAME_SIZE_ERROR.
    FrameSize,
    /// REFUSED_STREAM: more streams at once than are allowed.
    Concurrency,
    /// COMPRESSION_ERROR.
    Compression,
    /// ENHANCE_YOUR_CALM by another measure: CONTINUATION frames without end, a field list far too long, or of far too many fields.
    Excess,
    /// HTTP/3: more requests cancelled than the budget of its connection allows.
    H3RapidReset,
    /// HTTP/3: frames, settings or streams that must not come so (RFC 9114 §8.1).
    H3Protocol,
    /// HTTP/3: QPACK that can't be decoded, or asks for a dynamic table.
    H3Compression,
    /// H3_EXCESSIVE_LOAD: frames and streams that bring nothing forward.
    H3Excess,
}

impl Misuse {
    /// Every kind, in the order of the enum.
    pub(crate) const ALL: [Self; 13] = [
        Self::RapidReset,
        Self::ControlFlood,
        Self::Protocol,
        Self::FlowControl,
        Self::StreamClosed,
        Self::FrameSize,
        Self::Concurrency,
        Self::Compression,
        Self::Excess,
        Self::H3RapidReset,
        Self::H3Protocol,
        Self::H3Compression,
        Self::H3Excess,
    ];

    /// A short name for metrics, among those of [`Fault`].
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RapidReset => "h2-rapid-reset",
            Self::ControlFlood => "h2-control-flood",
            Self::Protocol => "h2-protocol",
            Self::FlowControl => "h2-flow-control",
            Self::StreamClosed => "h2-stream-closed",
            Self::FrameSize => "h2-frame-size",
            Self::Concurrency => "h2-concurrency",
            Self::Compression => "h2-compression",
            Self::Excess => "h2-excess",
            Self::H3RapidReset => "h3-rapid-reset",
            Self::H3Protocol => "h3-protocol",
            Self::H3Compression => "h3-compression",
            Self::H3Excess => "h3-excess",
        }
    }
}

/// The counters of all workers, added up. All grow from the start of the process but those said to be gauges.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// By service.
    pub services: BTreeMap<ServiceName, ServiceStats>,
    /// By backend, for those that were ever usable and still are in the snapshot.
    pub backends: BTreeMap<BackendId, BackendStats>,
    /// By service and the backend's region.
    pub regions: BTreeMap<(ServiceName, RegionName), RegionStats>,
    /// Failures of `accept`, for want of file descriptors or memory.
    pub accept_errors: u64,
    /// Lines of the access log that found no room.
    pub access_lines_lost: u64,
    /// What became of datagrams.
    pub quic: QuicStats,
}

/// What the backends of one region have answered the clients of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionStats {
    /// Responses that have begun, by status class: 1xx to 5xx.
    pub responses: [u64; 5],
    /// From a request's head to the first byte of its response.
    pub first_byte: LatencyHistogram,
    /// From a request's head to the end of its response, of those that ended as they should. A tunnel has none.
    pub total: LatencyHistogram,
}

/// What became of what came over QUIC. Datagrams of one sender that came together count as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuicStats {
    /// Datagrams handed to the worker that owns the connection: its client has moved.
    pub forwarded: u64,
    /// Datagrams that worker had no room for.
    pub dropped: u64,
    /// Datagrams that belong to another host or PoP.
    pub elsewhere: u64,
    /// Clients that were told to show that their address is theirs.
    pub retries: u64,
    /// First packets dropped for too many handshakes.
    pub crowded: u64,
    /// Handshakes that failed.
    pub failed: u64,
}

impl QuicStats {
    pub(crate) fn add(&mut self, other: &Self) {
        let Self { forwarded, dropped, elsewhere, retries, crowded, failed } = other;
        self.forwarded += forwarded;
        self.dropped += dropped;
        self.elsewhere += elsewhere;
        self.retries += retries;
        self.crowded += crowded;
        self.failed += failed;
    }
}

/// Counters of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceStats {
    /// Connections accepted.
    pub connections: u64,
    /// Gauge: connections open now.
    pub open: u64,
    /// Gauge: of HTTP, those of them that wait for a request.
    pub idle: u64,
    /// Gauge: requests under way on streams of HTTP/2 and HTTP/3.
    pub streams: u64,
    /// Requests whose head was good.
    pub requests: u64,
    /// Responses by the first digit of their status: 1xx to 5xx. Ours count too.
    pub responses: [u64; 5],
    /// Bytes read from clients.
    pub bytes_in: u64,
    /// Bytes written to clients.
    pub bytes_out: u64,
    /// Attempts after the first one of a request, by what the one before failed for.
    pub failovers: BTreeMap<Reason, u64>,
    /// Requests and connections given up, by what the last attempt failed for.
    pub failures: BTreeMap<Reason, u64>,
    /// Those of them whose response had begun: the client saw it cut off.
    pub cut: u64,
    /// Those of `failures` that were tunnels: they had been agreed to, and nothing moved any more, or one side broke.
    pub tunnel_failures: u64,
    /// Failures that were not tried again because the retry budget was used up.
    pub budget_exhausted: u64,
    /// Malformed requests, by [`Fault`]; and what HTTP/2 itself refuses, by names that begin with `h2-`.
    pub refused: BTreeMap<&'static str, u64>,
    /// Malformed responses, by [`Fault`].
    pub malformed: BTreeMap<&'static str, u64>,
    /// Answered 503 or closed before anything was tried.
    pub unserved: BTreeMap<Unserved, u64>,
    /// Requests no route takes.
    pub unrouted: u64,
    /// Exchanges that ended because the client left.
    pub cancelled: u64,
    /// Clients that were given up, by what they were too slow with.
    pub slow_clients: BTreeMap<Slow, u64>,
    /// TLS handshakes with clients that were done.
    pub handshakes: BTreeMap<Handshake, u64>,
    /// And those that failed.
    pub handshake_failures: BTreeMap<HandshakeFailure, u64>,
    /// Connections turned away for want of file descriptors; they do not count as accepted.
    pub shed: u64,
    /// Connections turned away as their address has as many as it may have; they do not count as accepted either, but for
    /// those of HTTP/3 that were found out by the end of their handshake.
    pub crowded: u64,
    /// Connections at rest that were closed because other clients needed their file descriptors.
    pub evicted: u64,
}

/// Counters of a backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackendStats {
    /// Gauge: exchanges or relayed connections under way.
    pub pending: u64,
    /// Attempts.
    pub requests: u64,
    /// Connections made.
    pub connects: u64,
    /// Attempts on a kept-alive connection.
    pub reuses: u64,
    /// TLS handshakes with the backend that were done.
    pub handshakes: BTreeMap<Handshake, u64>,
    /// Failed attempts, by reason.
    pub failures: BTreeMap<Reason, u64>,
    /// Responses of status 5xx.
    pub server_errors: u64,
    /// Responses begun, and connections relayed.
    pub answers: u64,
    /// Those of them, without those of status 5xx, whose first byte took longer than [`Upstream::late`](crate::Upstream::late).
    pub late: u64,
}

pub(crate) const FAULTS: usize = Fault::ALL.len();
