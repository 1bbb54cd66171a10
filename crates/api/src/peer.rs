//! BGP peers.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use proxima_types::{Asn, Family, PeerName};
use serde::{Deserialize, Serialize};

use crate::{SessionReason, Timestamp};

/// Where a session stands (RFC 4271 §8.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionState {
    /// Neither connecting nor listening.
    Idle,
    /// Waits for the TCP connection.
    Connect,
    /// Waits to retry, or for the peer to connect.
    Active,
    /// OPEN sent, the peer's awaited.
    OpenSent,
    /// OPENs exchanged, the first KEEPALIVE awaited.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Idle => "idle",
            Self::Connect => "connect",
            Self::Active => "active",
            Self::OpenSent => "open-sent",
            Self::OpenConfirm => "open-confirm",
            Self::Established => "established",
        })
    }
}

/// All peers, in the order of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// The peers.
    pub peers: Vec<Peer>,
}

/// One peer and its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name.
    pub name: PeerName,
    /// Its address.
    pub address: IpAddr,
    /// Its TCP port.
    pub port: u16,
    /// Its AS number.
    pub remote_as: Asn,
    /// Where the session stands.
    pub state: SessionState,
    /// Since when.
    pub since: Timestamp,
    /// Why the session last left Established or failed to reach it.
    pub last_error: Option<SessionReason>,
    /// The peer's BGP identifier, once it sent its OPEN.
    pub remote_router_id: Option<Ipv4Addr>,
    /// The negotiated hold time in seconds; 0 means none is kept.
    pub hold_time_s: Option<u16>,
    /// The negotiated families; before that, the configured ones.
    pub families: Vec<Family>,
    /// Routes it was sent and that stand.
    pub advertised: u64,
    /// Routes it sent and that stand.
    pub received: u64,
    /// UPDATE messages sent since the daemon started, End-of-RIB included.
    pub updates_sent: u64,
    /// UPDATE messages received since the daemon started, End-of-RIB included.
    pub updates_received: u64,
    /// How often the session was established since the daemon started.
    pub established_count: u64,
}
