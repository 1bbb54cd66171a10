//! The daemon at a glance.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
};

use proxima_types::{
    Asn, GroupName, Jurisdiction, PopName, Prefix, ReachState, RegionName, Score, ServiceName,
};
use serde::{Deserialize, Serialize};

use crate::{Alarm, Drained, Evidence, GroupReason, Hold, Order, Timestamp};

/// The daemon and what it serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The PoP's name.
    pub pop: PopName,
    /// Its region.
    pub region: RegionName,
    /// Its region's jurisdiction.
    pub jurisdiction: Jurisdiction,
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// Its AS number.
    pub local_as: Asn,
    /// When it started.
    pub started_at: Timestamp,
    /// How long ago that was.
    pub uptime_ms: u64,
    /// Where its life stands.
    pub phase: Phase,
    /// Drained by an operator; absent when not.
    pub drained: Option<Drained>,
    /// What needs a person's attention, by group.
    #[serde(default)]
    pub alarms: Vec<Alarm>,
    /// Announcement groups, sorted by name.
    pub groups: Vec<Group>,
    /// Services, sorted by name.
    pub services: Vec<Service>,
    /// Peers in numbers.
    pub peers: PeerCounts,
    /// Backends in numbers.
    pub backends: BackendCounts,
    /// Data-plane workers.
    pub workers: u32,
    /// The newest event's number; 0 before the first.
    pub last_event: u64,
}

/// Where the daemon's life stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Not every gating service has its first verdict.
    Starting,
    /// Announces by health.
    Running,
    /// Withdraws, drains and exits.
    Stopping,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
        })
    }
}

/// An announcement group: prefixes that share a fate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// Where it stands.
    pub state: ReachState,
    /// Since when.
    pub since: Timestamp,
    /// The region's healthy share for it; absent before the first verdicts.
    pub score: Option<Score>,
    /// Why it stands there.
    pub reason: GroupReason,
    /// The state that health alone asks for.
    pub by_health: ReachState,
    /// What keeps it from there, or would: a hold-down that still runs is told also while the score is low.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// The order that holds it there, health notwithstanding; absent when health decides.
    #[serde(rename = "override", default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// What flaps have cost by now; absent where they are not damped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty: Option<f64>,
    /// Who else announces it, where it has a guard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<Evidence>,
    /// Its prefixes.
    pub prefixes: Vec<Prefix>,
    /// The services that gate it.
    pub services: Vec<ServiceName>,
}

/// A service: listeners and what they serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its listeners.
    pub listeners: Vec<Listener>,
    /// Client connections open now.
    pub connections: u64,
    /// Requests (HTTP) or connections (TCP) since the start.
    pub exchanges: u64,
}

/// What a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Bytes, relayed.
    Tcp,
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it takes connections; not any more once the daemon stops.
    pub open: bool,
}

/// Peers in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PeerCounts {
    /// Configured.
    pub total: u32,
    /// With an established session.
    pub established: u32,
}

/// Backends in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BackendCounts {
    /// Serve.
    pub up: u32,
    /// Do not.
    pub down: u32,
    /// Without a verdict.
    pub unknown: u32,
    /// Those of them all that can't be checked at present.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unchecked: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}
