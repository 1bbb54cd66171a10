//! BGP peers and what can be asked of them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use proxima_types::{Asn, Family, PeerName};
use serde::{Deserialize, Serialize};

use crate::{BfdSession, SessionReason, Timestamp};

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

impl SessionState {
    /// Every state, in the order of the RFC.
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Connect, Self::Active, Self::OpenSent, Self::OpenConfirm, Self::Established];
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

/// All peers, in the order of the configuration, those of a range after it.
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
    /// Where it is by configuration: an address, with `%` and its interface if one is configured; a range; an interface.
    pub configured: String,
    /// Its address, once it is known.
    pub address: Option<IpAddr>,
    /// Its TCP port by configuration.
    pub port: u16,
    /// Its AS number.
    pub remote_as: Asn,
    /// In our own AS.
    pub internal: bool,
    /// Where the session stands.
    pub state: SessionState,
    /// Since when.
    pub since: Timestamp,
    /// How long that is, in milliseconds.
    pub since_ms: u64,
    /// Why the session is not tried, if it isn't.
    pub held: Option<Held>,
    /// Why the session last left Established or failed to reach it.
    pub last_error: Option<SessionReason>,
    /// The last NOTIFICATION sent.
    pub last_sent: Option<Stamped>,
    /// The last NOTIFICATION received.
    pub last_received: Option<Stamped>,
    /// The last failure to connect or loss of a connection.
    pub last_transport_error: Option<Stamped>,
    /// Our end of the connection, if there is one.
    pub local: Option<SocketAddr>,
    /// The peer's end.
    pub remote: Option<SocketAddr>,
    /// The peer's BGP identifier, once it sent its OPEN.
    pub remote_router_id: Option<Ipv4Addr>,
    /// The negotiated hold time in seconds; 0 means none is kept.
    pub hold_time_s: Option<u16>,
    /// What runs, each timer with the time that is left.
    pub timers: Vec<Timer>,
    /// What each side offered, in the order of its code.
    pub capabilities: Vec<Capability>,
    /// The negotiated families; before that, the configured ones.
    pub families: Vec<Family>,
    /// Our role and the peer's (RFC 9234), as far as said.
    pub roles: Option<Roles>,
    /// BFD with this peer, where it is configured.
    pub bfd: Option<BfdSession>,
    /// What was received, by family.
    pub prefixes: Vec<PrefixCount>,
    /// Routes it was sent and that stand.
    pub advertised: u64,
    /// Routes it sent and that stand.
    pub received: u64,
    /// Messages since the daemon started.
    pub messages: Messages,
    /// UPDATE messages sent since the daemon started, End-of-RIB included.
    pub updates_sent: u64,
    /// UPDATE messages received since the daemon started, End-of-RIB included.
    pub updates_received: u64,
    /// How often the session was established since the daemon started.
    pub established_count: u64,
    /// How often an established session was lost since then.
    pub flaps: u64,
}

/// Why a session that is down is not tried, or not yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum Held {
    /// An operator, or the configuration, shut it down.
    Shutdown {
        /// Why.
        reason: String,
    },
    /// The peer sent too many prefixes.
    PrefixLimit {
        /// In how many milliseconds it is tried again; absent: not before an operator says so.
        retry_ms: Option<u64>,
    },
    /// One side lacks a capability the other insists on; a connection of the peer's is welcome.
    Capability,
    /// BFD went down.
    Bfd {
        /// In how many milliseconds it is tried again, should BFD not come up before.
        retry_ms: u64,
    },
    /// It waits for something else.
    Waiting {
        /// What.
        reason: String,
    },
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shutdown { reason } if reason.is_empty() => f.write_str("shut down"),
            Self::Shutdown { reason } => write!(f, "shut down: {reason}"),
            Self::PrefixLimit { retry_ms: None } => f.write_str("too many prefixes; waits for `up`"),
            Self::PrefixLimit { retry_ms: Some(left) } => {
                write!(f, "too many prefixes; tried again in {} s", left.div_ceil(1000))
            }
            Self::Capability => {
                f.write_str("one side insists on a capability the other lacks; waits for the peer")
            }
            Self::Bfd { retry_ms } => {
                write!(f, "BFD went down; tried again without it in {} s", retry_ms.div_ceil(1000))
            }
            Self::Waiting { reason } => f.write_str(reason),
        }
    }
}

/// Something that went wrong, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// When.
    pub at: Timestamp,
    /// How long ago, in milliseconds.
    pub ago_ms: u64,
    /// What.
    pub reason: SessionReason,
}

/// A timer that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// Its name, as in the RFC: `hold`, `keepalive`, `connect-retry`, …
    pub name: String,
    /// What is left of it, in milliseconds.
    pub left_ms: u64,
}

/// A capability (RFC 5492) and what each side said with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Its code.
    pub code: u8,
    /// Its name.
    pub name: String,
    /// What we offered; absent when we did not.
    pub sent: Option<String>,
    /// What the peer offered; absent when it did not.
    pub received: Option<String>,
}

/// Who is what to whom (RFC 9234), in the words of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// Ours.
    pub local: Option<String>,
    /// The peer's.
    pub remote: Option<String>,
}

/// What was received of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixCount {
    /// The family.
    pub family: Family,
    /// Routes that stand.
    pub received: u64,
    /// The limit.
    pub limit: Option<u32>,
    /// They are kept from before the peer's restart and wait to be confirmed.
    pub stale: bool,
}

/// Messages both ways since the daemon started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Messages {
    /// Sent, of every type.
    pub sent: u64,
    /// Received, of every type.
    pub received: u64,
    /// ROUTE-REFRESH sent.
    pub refreshes_sent: u64,
    /// ROUTE-REFRESH received.
    pub refreshes_received: u64,
    /// Routes received that were taken as withdrawn for a fault (RFC 7606).
    pub treated_as_withdrawn: u64,
    /// Announcements received of prefixes that are no destination of unicast routes (RFC 4271 §6.3); ignored.
    #[serde(default)]
    pub martians: u64,
    /// Routes received with our own address as the next hop (RFC 4271 §6.3); taken as withdrawn.
    #[serde(default)]
    pub own_next_hops: u64,
    /// Announcements received that were left out, the peer having as many prefixes, or as many paths to one prefix, as it may.
    #[serde(default)]
    pub discarded: u64,
    /// Routes received with our own AS in their path.
    pub loops: u64,
    /// Routes received that should not have come from this peer (RFC 9234).
    pub leaks: u64,
}

/// Words for the peer's operator, with a shutdown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownRequest {
    /// Why; goes to the peer, at most 255 octets (RFC 9003).
    #[serde(default)]
    pub reason: String,
}

/// What a command to a peer brought about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerCommanded {
    /// The peer.
    pub peer: PeerName,
    /// Where its session stood when the command was taken; absent for a range, whose members each have one.
    pub state: Option<SessionState>,
}
