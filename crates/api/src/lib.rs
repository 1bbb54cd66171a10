//! The admin interface's words: HTTP/JSON over a Unix socket, versioned under `/v1`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | [`Status`] |
//! | `GET /v1/peers` | [`Peers`] |
//! | `GET /v1/peers/{name}` | [`Peer`] |
//! | `GET /v1/routes/advertised?peer=&prefix=` ([`RouteFilter`]) | [`AdvertisedRoutes`] |
//! | `GET /v1/routes/received?peer=&prefix=` ([`RouteFilter`]) | [`ReceivedRoutes`] |
//! | `GET /v1/backends` | [`Backends`] |
//! | `GET /v1/events?since=SEQ` ([`EventsQuery`]) | [`Events`] |
//! | `GET /v1/events?since=SEQ&follow=true` | one [`EventLine`] a line, without end |
//! | `POST /v1/drain` with [`DrainRequest`] | [`DrainStatus`] |
//! | `POST /v1/undrain` | [`DrainStatus`] |
//!
//! Every other answer than 2xx has an [`ErrorBody`]. Keys are in snake_case and carry their unit (`uptime_ms`, `rtt_us`);
//! words of an enumeration are in kebab-case. A reader ignores keys it does not know.
//! Nothing here does I/O or reads a clock.

mod backend;
mod event;
mod operate;
mod peer;
mod reason;
mod route;
mod status;
mod time;

pub use backend::{Backend, Backends};
pub use event::{Event, EventKind, EventLine, Events, EventsQuery, Severity};
pub use operate::{DrainRequest, DrainStatus, Drained, ErrorBody};
pub use peer::{Peer, Peers, SessionState};
pub use reason::{GroupReason, ProbeFailure, SessionReason, VerdictReason};
pub use route::{
    AdvertisedRoute, AdvertisedRoutes, AsPath, AsPathElement, Origin, ReceivedRoute, ReceivedRoutes,
    RouteFilter,
};
pub use status::{BackendCounts, Group, Listener, PeerCounts, Phase, Protocol, Service, Status};
pub use time::{Timestamp, TimestampError};

/// The paths of the interface.
pub mod paths {
    /// The daemon and what it serves.
    pub const STATUS: &str = "/v1/status";
    /// All peers; one peer is below it, by name.
    pub const PEERS: &str = "/v1/peers";
    /// What peers were sent.
    pub const ADVERTISED: &str = "/v1/routes/advertised";
    /// What peers sent.
    pub const RECEIVED: &str = "/v1/routes/received";
    /// All backends.
    pub const BACKENDS: &str = "/v1/backends";
    /// What happened.
    pub const EVENTS: &str = "/v1/events";
    /// Take this PoP out of anycast.
    pub const DRAIN: &str = "/v1/drain";
    /// Put it back.
    pub const UNDRAIN: &str = "/v1/undrain";
}
