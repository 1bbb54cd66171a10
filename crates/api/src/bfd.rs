//! BFD sessions (RFC 5880).

use std::{fmt, net::IpAddr};

use proxima_types::PeerName;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Where a BFD session stands (RFC 5880 §6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BfdState {
    /// Taken down by an operator: no failure.
    AdminDown,
    /// The other side is not heard.
    Down,
    /// The other side is heard, and does not hear us yet.
    Init,
    /// Both hear each other.
    Up,
}

impl fmt::Display for BfdState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AdminDown => "admin-down",
            Self::Down => "down",
            Self::Init => "init",
            Self::Up => "up",
        })
    }
}

/// All BFD sessions, by peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BfdSessions {
    /// The sessions.
    pub sessions: Vec<BfdSession>,
}

/// One BFD session. Times are in microseconds, as on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BfdSession {
    /// The BGP peer it is for.
    pub peer: PeerName,
    /// The other side.
    pub remote: IpAddr,
    /// Our side, where it is bound to an address.
    pub local: Option<IpAddr>,
    /// The interface, where it is bound to one.
    pub interface: Option<String>,
    /// Across routers (RFC 5883).
    pub multihop: bool,
    /// Packets are authenticated.
    pub authenticated: bool,
    /// Where it stands.
    pub state: BfdState,
    /// Since when.
    pub since: Timestamp,
    /// How long that is, in milliseconds.
    pub since_ms: u64,
    /// Why it last went down, in the words of RFC 5880 §4.1; absent when it never did.
    pub diagnostic: Option<String>,
    /// Where the other side says it stands; absent before it was heard.
    pub remote_state: Option<BfdState>,
    /// Why the other side says it last went down.
    pub remote_diagnostic: Option<String>,
    /// Our discriminator.
    pub local_discriminator: u32,
    /// The other side's; 0 before it was heard.
    pub remote_discriminator: u32,
    /// Detect Mult as configured.
    pub multiplier: u8,
    /// From one packet sent to the next, as agreed.
    pub transmit_us: u64,
    /// From one packet received to the next, as agreed.
    pub receive_us: u64,
    /// After this long without a packet the other side is gone; 0 before it was heard.
    pub detection_us: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received and taken.
    pub packets_received: u64,
    /// Packets received and refused.
    pub packets_discarded: u64,
    /// How often it went down after it was up.
    pub flaps: u64,
}
