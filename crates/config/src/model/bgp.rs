//! `[bgp]`: the speaker, its sessions, and what watches them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::{NonZeroU8, NonZeroU32},
    path::PathBuf,
    time::Duration,
};

use proxima_types::{Asn, Family, PeerName, Prefix, StationName};

/// `[bgp]`: the speaker and its sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bgp {
    /// The own AS; never 0 or AS_TRANS.
    pub local_as: Asn,
    /// The hold time of peers that have none of their own: zero (no keepalives) or 3 s to 65535 s, whole seconds.
    /// Default 90 s.
    pub hold_time: Duration,
    /// The first interval of the backoff between connection attempts, of peers that have none of their own; 10 ms to
    /// 1 h. Default 5 s.
    pub connect_retry: Duration,
    /// Where incoming sessions are taken. Default: nowhere, or port 179 of both families when a peer is passive, a range or
    /// unnumbered.
    pub listen: Vec<SocketAddr>,
    /// How the best of several paths is found.
    pub best_path: BestPath,
    /// The sessions, as written. Not empty when there are groups. Names differ, and so do address and port.
    pub peers: Vec<Peer>,
    /// Where the sessions are reported to (RFC 7854), as written. Names and addresses differ.
    pub bmp: Vec<Bmp>,
    /// What is written to files (RFC 6396); absent: nothing.
    pub mrt: Option<Mrt>,
}

/// `best-path` of `[bgp]`: where RFC 4271 §9.1.2.2 leaves a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct BestPath {
    /// MEDs are compared whatever AS the paths came by. Default false: only between paths by the same neighbour AS.
    pub always_compare_med: bool,
    /// A path without MED is the least preferred. Default false: it counts as 0, the most preferred.
    pub missing_med_worst: bool,
    /// The length of AS_PATH is not looked at. Default false.
    pub ignore_as_path_length: bool,
    /// Of external paths the one that came first stays the best, which spares changes (RFC 5004). Default false: the lower
    /// router ID decides.
    pub prefer_oldest: bool,
}

/// `[[bgp.peers]]`: one session, or the sessions of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Peer {
    /// The peer's name.
    pub name: PeerName,
    /// Where it is.
    pub remote: Remote,
    /// The TCP port to connect to. Default 179.
    pub port: u16,
    /// The peer's AS; never 0 or AS_TRANS. The own AS makes it iBGP.
    pub remote_as: Asn,
    /// The families offered; not empty, IPv4 first. Default: the family of the session.
    pub families: Vec<Family>,
    /// Waits for the peer to connect instead of connecting. Default false; true for a range.
    pub passive: bool,
    /// The local address to connect from, of the family of the session. Default: the kernel's choice.
    pub source: Option<IpAddr>,
    /// NEXT_HOP of IPv4 routes. Absent only on an IPv4 session, or with `extended_next_hop`: the local address.
    pub next_hop_ipv4: Option<Ipv4Addr>,
    /// The next hop of IPv6 routes. Absent only on an IPv6 session: its local address.
    pub next_hop_ipv6: Option<Ipv6Addr>,
    /// The hold time offered: zero (no keepalives) or 3 s to 65535 s, whole seconds.
    pub hold_time: Duration,
    /// The first interval of the backoff between connection attempts, 10 ms to 1 h.
    pub connect_retry: Duration,
    /// What is done about a peer that announces too much.
    pub max_prefixes: MaxPrefixes,
    /// An absolute path of a file with the key of TCP-MD5 (RFC 2385); absent: segments are not signed.
    pub password_file: Option<PathBuf>,
    /// GTSM (RFC 5082): the peer is at most so many hops away, 1 to 254; packets from farther are dropped. Absent: not checked.
    /// Never beside `multihop`, nor for iBGP.
    pub ttl_security: Option<NonZeroU8>,
    /// The TTL of what is sent to an external peer that is not next to us, 2 to 255. Absent: it is next to us.
    pub multihop: Option<NonZeroU8>,
    /// How long sent data may stay unacknowledged before the kernel ends the connection (RFC 5482), 100 ms to 1 h. Absent:
    /// left to the speaker.
    pub tcp_user_timeout: Option<Duration>,
    /// The kernel probes an idle connection. Default true.
    pub tcp_keepalive: bool,
    /// What this side is to the peer (RFC 9234); absent: not said. Never for iBGP.
    pub role: Option<Role>,
    /// A peer that does not say its role is refused. Default false.
    pub role_strict: bool,
    /// Graceful restart (RFC 4724, RFC 8538); absent: not offered.
    pub graceful_restart: Option<GracefulRestart>,
    /// Takes several paths per prefix (RFC 7911). Default false.
    pub add_path: bool,
    /// IPv4 routes may have an IPv6 next hop (RFC 8950). Default false. Only with the family IPv4.
    pub extended_next_hop: bool,
    /// Messages may have 65535 octets (RFC 8654). Default true.
    pub extended_messages: bool,
    /// The first AS of a path must be the peer's. Default true for eBGP; never for iBGP.
    pub enforce_first_as: bool,
    /// Which routes of the peer may be used, as a distance (`distance = "bgp"`). Default: all for iBGP, none otherwise (RFC 8212
    /// §2). Evidence for a guard is what is seen, used or not.
    pub import: Import,
    /// Forwarding to the peer is watched by BFD (RFC 5880); absent: it is not.
    pub bfd: Option<Bfd>,
    /// The session is down until an operator says otherwise. The text goes to the peer, at most 255 octets (RFC 9003).
    pub shutdown: Option<String>,
}

/// Where a peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// `address`, one host; `interface` where the connection is bound to one, always for a link-local address.
    Address {
        /// The peer's address.
        address: IpAddr,
        /// The interface.
        interface: Option<String>,
    },
    /// `range`: whoever connects from inside it, with the AS of the peer.
    Range {
        /// The range.
        prefix: Prefix,
        /// `max-peers`: how many of them there may be at once, 1 to 10 000. Default 100.
        max_peers: u16,
    },
    /// `interface` alone: the one router on this link, at the link-local address that its router advertisements come from.
    Interface(String),
}

impl Remote {
    /// The address, where there is one beforehand.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address { address, .. } => Some(*address),
            Self::Range { .. } | Self::Interface(_) => None,
        }
    }

    /// The family the session runs over.
    pub fn family(&self) -> Family {
        match self {
            Self::Address { address: IpAddr::V4(_), .. } => Family::Ipv4,
            Self::Address { address: IpAddr::V6(_), .. } | Self::Interface(_) => Family::Ipv6,
            Self::Range { prefix, .. } => prefix.family(),
        }
    }
}

/// As an operator would name it: `10.0.0.1`, `fe80::1%eth0`, `10.0.0.0/24`, `eth0`.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, interface: None } => f.pad(&address.to_string()),
            Self::Address { address, interface: Some(interface) } => f.pad(&format!("{address}%{interface}")),
            Self::Range { prefix, .. } => f.pad(&prefix.to_string()),
            Self::Interface(interface) => f.pad(interface),
        }
    }
}

/// `max-prefixes` of a peer, counted per family. With `add-path` each path to a prefix counts; paths that wait to be announced again
/// after a restart or a refresh don't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaxPrefixes {
    /// The most prefixes of one family. Default 10 000.
    pub limit: NonZeroU32,
    /// From this share of the limit on the operator is warned, 1 to 100 percent. Default 80.
    pub warn_at: u8,
    /// What is done beyond the limit. Default [`PrefixAction::Discard`]: a router that leaks a full table must not cost the
    /// session on which we announce.
    pub action: PrefixAction,
    /// With [`PrefixAction::Close`], when the session is tried again, 1 s to 24 h; absent: not before an operator says so.
    pub restart: Option<Duration>,
}

/// What is done about a peer beyond its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrefixAction {
    /// `close`: the session ends with Cease 6/1 (RFC 4486).
    Close,
    /// `warn`: the operator is told, the session stays.
    Warn,
    /// `discard`: what is beyond the limit is left out, which the operator is told; the session stays.
    Discard,
}

/// `import` of a peer (RFC 8212 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Import {
    /// All of its routes.
    All,
    /// None: they are kept to be seen.
    None,
}

impl Import {
    /// Every one, each with its word in the file.
    pub const ALL: [(&'static str, Self); 2] = [("all", Self::All), ("none", Self::None)];
}

/// `role`: what this side is to the peer (RFC 9234 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sells transit to the peer.
    Provider,
    /// Route server.
    RouteServer,
    /// Client of a route server.
    RouteServerClient,
    /// Buys transit from the peer.
    Customer,
    /// Neither.
    Peer,
}

impl Role {
    /// Every role, each with its word in the file.
    pub const ALL: [(&'static str, Self); 5] = [
        ("provider", Self::Provider),
        ("route-server", Self::RouteServer),
        ("route-server-client", Self::RouteServerClient),
        ("customer", Self::Customer),
        ("peer", Self::Peer),
    ];
}

/// `graceful-restart` of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GracefulRestart {
    /// How long the peer is asked to keep our routes while we restart, 1 s to 4095 s in whole seconds. Default 120 s.
    pub restart_time: Duration,
    /// How long we keep the peer's routes at most once it is back, 1 s to 1 h. Default 6 min.
    pub stale_time: Duration,
    /// Forwarding is kept while we restart: F is set towards the peer. Default false: the data plane restarts with us.
    pub forwarding: bool,
}

/// `bfd` of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bfd {
    /// From one packet to the next, sent and asked for, 10 ms to 1 min. Default 300 ms.
    pub interval: Duration,
    /// So many packets missed in a row mean that the peer is gone, 2 to 255. Default 3.
    pub multiplier: NonZeroU8,
    /// Across routers (RFC 5883). Default: when the session is.
    pub multihop: bool,
    /// Across routers: packets that arrive with a TTL below this are not taken, 1 to 255. Default 1.
    pub least_ttl: NonZeroU8,
    /// Meticulous keyed SHA1 (RFC 5880 §6.7.4); absent: none.
    pub auth: Option<BfdAuth>,
}

/// Authentication of BFD packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BfdAuth {
    /// An absolute path of a file with the key, 1 to 20 octets.
    pub key_file: PathBuf,
    /// The key's number on both sides. Default 1.
    pub key_id: u8,
}

/// `[[bgp.bmp]]`: a monitoring station (RFC 7854) that we connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bmp {
    /// The station's name.
    pub name: StationName,
    /// Where it listens.
    pub address: SocketAddr,
    /// From one attempt to connect to the next, 100 ms to 1 h. Default 30 s.
    pub retry: Duration,
    /// From one statistics report to the next, 1 s to 24 h; absent: none. Default 60 s.
    pub statistics: Option<Duration>,
}

/// `[bgp.mrt]`: files of what was received (RFC 6396).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mrt {
    /// An absolute path of a directory that the daemon may write to.
    pub directory: PathBuf,
    /// From one file to the next, 1 s to 24 h. Default 15 min.
    pub interval: Duration,
}
