//! The admin interface's words: HTTP/JSON over a Unix socket, versioned under `/v1`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | [`Status`] |
//! | `GET /v1/peers` | [`Peers`] |
//! | `GET /v1/peers/{name}` | [`Peer`] |
//! | `POST /v1/peers/{name}/shutdown` with [`ShutdownRequest`] | [`PeerCommanded`] |
//! | `POST /v1/peers/{name}/up`, `…/reset`, `…/refresh` | [`PeerCommanded`] |
//! | `GET /v1/bfd` | [`BfdSessions`] |
//! | `GET /v1/routes/advertised?peer=&prefix=` ([`RouteFilter`]) | [`AdvertisedRoutes`] |
//! | `GET /v1/routes/received?peer=&prefix=&after=&limit=` ([`ReceivedQuery`]) | [`ReceivedRoutes`], a page |
//! | `GET /v1/routes/lookup?address=` ([`LookupQuery`]) | [`RouteLookup`] |
//! | `GET /v1/routes/summary` | [`RoutesSummary`] |
//! | `GET /v1/backends` | [`Backends`] |
//! | `GET /v1/certificates` | [`Certificates`] |
//! | `POST /v1/certificates/{service}/renew` | [`Renewing`] |
//! | `GET /v1/events?since=SEQ` ([`EventsQuery`]) | [`Events`] |
//! | `GET /v1/events?since=SEQ&follow=true` | one [`EventLine`] a line, without end |
//! | `POST /v1/orders` with [`OrderRequest`] | [`Ordered`] |
//! | `POST /v1/drain` with [`DrainRequest`] | [`DrainStatus`] |
//! | `POST /v1/undrain` | [`DrainStatus`] |
//! | `POST /v1/reload` with [`ReloadRequest`] | [`Reloaded`] |
//! | `POST /v1/restart` with [`RestartRequest`] | [`Restarting`] |
//! | `POST /v1/upgrade` with [`UpgradeRequest`] | [`Upgraded`] |
//!
//! The `/` in the name of a member of a range is written `%2F` in a path. Every other answer than 2xx has an [`ErrorBody`]. Keys are in snake_case and carry their unit (`uptime_ms`, `rtt_us`);
//! words of an enumeration are in kebab-case. A reader ignores keys it does not know.
//! Nothing here does I/O or reads a clock.

mod alarm;
mod backend;
mod bfd;
mod certificate;
mod event;
mod group;
mod hold;
mod operate;
mod order;
mod patience;
mod peer;
mod reason;
mod route;
mod status;
mod time;

pub use alarm::{Alarm, AlarmKind};
pub use backend::{Backend, Backends, Distance, ServerRole, Unchecked};
pub use bfd::{BfdSession, BfdSessions, BfdState};
pub use certificate::{Certificate, CertificateOrder, Certificates, Renewing};
pub use event::{Event, EventKind, EventLine, Events, EventsQuery, Severity};
pub use group::{Degradation, GroupReason, RegionScore, ServiceScore};
pub use hold::{Evidence, Hold, Sighting};
pub use operate::{
    DrainRequest, DrainStatus, Drained, ErrorBody, ReloadRequest, Reloaded, Reloads, RestartRequest,
    Restarting, UpgradeRequest, Upgraded,
};
pub use order::{By, Order, OrderRequest, OrderVerb, Ordered, OrderedGroup};
pub use patience::patience;
pub use peer::{
    Capability, Held, Messages, Peer, PeerCommanded, Peers, PrefixCount, Roles, SessionState,
    ShutdownRequest, Stamped, Timer,
};
pub use reason::{Inside, ProbeFailure, SessionReason, VerdictReason};
pub use route::{
    AdvertisedRoute, AdvertisedRoutes, AsPath, AsPathElement, JudgedRoute, LookupQuery, Origin,
    ReceivedQuery, ReceivedRoute, ReceivedRoutes, RouteFilter, RouteLookup, RoutesSummary,
};
pub use status::{BackendCounts, Group, Listener, PeerCounts, Phase, Protocol, Service, Status};
pub(crate) use time::Milliseconds;
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
    /// The paths to an address.
    pub const LOOKUP: &str = "/v1/routes/lookup";
    /// How much peers sent.
    pub const SUMMARY: &str = "/v1/routes/summary";
    /// All BFD sessions.
    pub const BFD: &str = "/v1/bfd";
    /// All backends.
    pub const BACKENDS: &str = "/v1/backends";
    /// All certificates of services.
    pub const CERTIFICATES: &str = "/v1/certificates";
    /// What happened.
    pub const EVENTS: &str = "/v1/events";
    /// Order something for groups, health notwithstanding.
    pub const ORDERS: &str = "/v1/orders";
    /// Take this PoP out of anycast.
    pub const DRAIN: &str = "/v1/drain";
    /// Put it back.
    pub const UNDRAIN: &str = "/v1/undrain";
    /// Read the configuration again.
    pub const RELOAD: &str = "/v1/reload";
    /// Leave without a word and begin anew.
    pub const RESTART: &str = "/v1/restart";
    /// `POST`: hand over to the program as it is on disk now.
    pub const UPGRADE: &str = "/v1/upgrade";

    /// Orders the certificate of a service.
    pub fn renew(service: &proxima_types::ServiceName) -> String {
        format!("{CERTIFICATES}/{service}/renew")
    }

    /// One peer.
    pub fn peer(name: &proxima_types::PeerName) -> String {
        format!("{PEERS}/{}", name.as_str().replace('/', "%2F"))
    }
}
