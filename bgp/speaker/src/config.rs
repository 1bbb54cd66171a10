//! What a speaker is told at its start.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use proxima_bgp_session::{AllowList, Settings};
use proxima_types::{Asn, Family, PeerName};

/// The speaker as a whole.
#[derive(Debug, Clone)]
pub struct SpeakerConfig {
    /// The own AS number; not 0.
    pub local_as: Asn,
    /// The own BGP identifier; not 0.0.0.0.
    pub router_id: Ipv4Addr,
    /// The hold time to propose: 0 (never expires), or 3 s to 65535 s in whole seconds.
    pub hold_time: Duration,
    /// The first wait of the backoff between attempts to connect; more than 0.
    pub connect_retry: Duration,
    /// Where to listen; empty for not at all. An IPv6 address takes IPv6 only.
    pub listen: Vec<SocketAddr>,
    /// The peers, each with a name and an address of its own.
    pub peers: Vec<PeerConfig>,
    /// What may be announced.
    pub allow_list: AllowList,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its name in logs, events and commands.
    pub name: PeerName,
    /// Its address.
    pub address: IpAddr,
    /// The port it listens on, 179 by custom.
    pub port: u16,
    /// Its AS number; the own one makes it an internal peer.
    pub remote_as: Asn,
    /// The families to exchange; at least one.
    pub families: Vec<Family>,
    /// Wait for it to connect, never connect to it.
    pub passive: bool,
    /// The local address to connect from; the kernel chooses when absent.
    pub source: Option<IpAddr>,
    /// Next hop of IPv4 routes; the local address of the session when absent.
    pub next_hop_ipv4: Option<Ipv4Addr>,
    /// Next hop of IPv6 routes; the local address of the session when absent.
    pub next_hop_ipv6: Option<Ipv6Addr>,
    /// The most prefixes it may send of each family.
    pub max_prefixes: Option<u32>,
}

impl PeerConfig {
    pub(crate) fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    pub(crate) fn settings(&self, speaker: &SpeakerConfig) -> Settings {
        Settings {
            local_as: speaker.local_as,
            router_id: speaker.router_id,
            remote_as: self.remote_as,
            hold_time: speaker.hold_time,
            connect_retry: speaker.connect_retry,
            passive: self.passive,
            families: self.families.clone(),
            next_hop_ipv4: self.next_hop_ipv4,
            next_hop_ipv6: self.next_hop_ipv6,
            max_prefixes: self.max_prefixes,
        }
    }
}
