//! What the operator decides about one peer, and the constants the RFCs leave to the implementation.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use proxima_types::{Asn, Family};

/// The hold time until the peer's OPEN has been received (RFC 4271 §8.2.2 suggests four minutes).
pub const OPEN_HOLD_TIME: Duration = Duration::from_mins(4);

/// The longest wait between two attempts, however many have failed.
pub const RETRY_CEILING: Duration = Duration::from_secs(30);

/// A session that stood this long has shown itself stable: its loss begins a new backoff.
pub const STABLE_AFTER: Duration = Duration::from_secs(30);

/// How long a peer may take nothing of what we send before the session ends, unless twice the hold time is longer
/// (RFC 9687 §3).
pub const SEND_HOLD_TIME: Duration = Duration::from_mins(8);

/// LOCAL_PREF towards internal peers.
pub const LOCAL_PREF: u32 = 100;

/// One peer as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The own AS number.
    pub local_as: Asn,
    /// The own BGP identifier; not 0.0.0.0.
    pub router_id: Ipv4Addr,
    /// The AS number the peer must have; equal to `local_as` for an internal peer.
    pub remote_as: Asn,
    /// The hold time to propose, in whole seconds: 0, or 3 to 65535.
    pub hold_time: Duration,
    /// The first wait of the backoff between attempts; doubles up to [`RETRY_CEILING`].
    pub connect_retry: Duration,
    /// Wait for the peer to connect, never connect to it.
    pub passive: bool,
    /// The families to offer.
    pub families: Vec<Family>,
    /// The next hop of IPv4 routes; the session's own local address when absent.
    pub next_hop_ipv4: Option<Ipv4Addr>,
    /// The next hop of IPv6 routes; the session's own local address when absent.
    pub next_hop_ipv6: Option<Ipv6Addr>,
    /// The most prefixes the peer may send of each family; without limit when absent.
    pub max_prefixes: Option<u32>,
}

impl Settings {
    /// Whether the peer is in the own AS.
    pub fn internal(&self) -> bool {
        self.local_as == self.remote_as
    }

    /// The proposed hold time in the seconds of an OPEN.
    pub fn hold_seconds(&self) -> u16 {
        u16::try_from(self.hold_time.as_secs()).unwrap_or(u16::MAX)
    }

    /// The next hop for routes of `family` on a session whose local address is `local`. None when that
    /// address is of the other family and no next hop is configured.
    pub fn next_hop(&self, family: Family, local: IpAddr) -> Option<IpAddr> {
        match (family, local) {
            (Family::Ipv4, IpAddr::V4(local)) => Some(IpAddr::V4(self.next_hop_ipv4.unwrap_or(local))),
            (Family::Ipv4, IpAddr::V6(_)) => self.next_hop_ipv4.map(IpAddr::V4),
            (Family::Ipv6, IpAddr::V6(local)) => Some(IpAddr::V6(self.next_hop_ipv6.unwrap_or(local))),
            (Family::Ipv6, IpAddr::V4(_)) => self.next_hop_ipv6.map(IpAddr::V6),
        }
    }
}
