//! What a speaker is told at its start, and of one peer while it runs.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU8,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use proxima_bgp_rib::BestPathRules;
use proxima_bgp_session::{AllowList, Change, GracefulRestart, MaxPrefixes, Settings, octets};
use proxima_bgp_wire::Role;
use proxima_types::{Asn, Family, PeerName, Prefix, StationName};
use serde::{Deserialize, Serialize};

use crate::PeerError;

/// The port BGP listens on by custom.
pub const BGP_PORT: u16 = 179;
/// How many peers a range makes at most when nothing else is said.
pub const MAX_DYNAMIC: u16 = 100;

/// How long a member of a range is remembered after its last connection when nothing else is said.
pub const FORGET_AFTER: Duration = Duration::from_mins(1);

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
    /// The peers, each with a name of its own, and none that another could be taken for.
    pub peers: Vec<PeerConfig>,
    /// What may be announced.
    pub allow_list: AllowList,
    /// How the best of several received paths is chosen.
    pub best_path: BestPathRules,
    /// Who is told of sessions and received routes by BMP (RFC 7854).
    pub bmp: Vec<BmpConfig>,
    /// Where the routing table is written from time to time (RFC 6396).
    pub mrt: Option<MrtConfig>,
}

/// A BMP collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BmpConfig {
    /// Its name in logs.
    pub name: StationName,
    /// Where it listens.
    pub address: SocketAddr,
    /// The wait between two attempts to connect; doubles up to sixteen times as much.
    pub retry: Duration,
    /// How often the collector gets a report of statistics; never when absent.
    pub statistics: Option<Duration>,
}

/// Table dumps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MrtConfig {
    /// The folder the files go to; it has to be there.
    pub directory: PathBuf,
    /// The time from one to the next; more than 0.
    pub interval: Duration,
}

/// One peer, or a kind of them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of the operator's, by itself")]
pub struct PeerConfig {
    /// Its name in logs, events and commands. The peers of a range are named `RANGE/ADDRESS`.
    pub name: PeerName,
    /// Who it is.
    pub remote: Remote,
    /// The port it listens on.
    pub port: u16,
    /// Its AS number; the own one makes it an internal peer.
    pub remote_as: Asn,
    /// The families to exchange; at least one.
    pub families: Vec<Family>,
    /// Wait for it to connect, never connect to it. The peers of a range are passive whatever this says.
    pub passive: bool,
    /// The local address to connect from; the kernel chooses when absent.
    pub source: Option<IpAddr>,
    /// Instead of the speaker's.
    pub hold_time: Option<Duration>,
    /// Instead of the speaker's.
    pub connect_retry: Option<Duration>,
    /// Next hop of IPv4 routes; the local address of the session when absent.
    pub next_hop_ipv4: Option<Ipv4Addr>,
    /// Next hop of IPv6 routes; the local address of the session when absent.
    pub next_hop_ipv6: Option<Ipv6Addr>,
    /// The most paths to prefixes it may send of each family, and what happens beyond that.
    pub max_prefixes: Option<MaxPrefixes>,
    /// The key of the TCP MD5 signatures (RFC 2385).
    pub password: Option<Password>,
    /// Which way packets may have come.
    pub distance: Distance,
    /// How long sent data may stay unacknowledged before the kernel gives the connection up (RFC 5482); its own way of doing
    /// so when absent.
    pub tcp_user_timeout: Option<Duration>,
    /// Whether the kernel asks a silent peer for a sign of life.
    pub keepalive: bool,
    /// What we are to the peer (RFC 9234).
    pub role: Option<Role>,
    /// The peer has to say its role too.
    pub role_strict: bool,
    /// Graceful restart (RFC 4724, RFC 8538); not offered when absent.
    pub graceful_restart: Option<GracefulRestart>,
    /// Take several paths for one prefix (RFC 7911).
    pub add_path: bool,
    /// Offer IPv4 routes with IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// Offer messages beyond 4096 octets (RFC 8654).
    pub extended_messages: bool,
    /// Paths of an external peer have to begin with its AS (RFC 4271 §6.3).
    pub enforce_first_as: bool,
    /// Routes of the peer may be used; without, those of an external peer are kept to be seen (RFC 8212 §2).
    pub import: bool,
    /// The session starts down, for this reason, until [`SpeakerHandle::up`](crate::SpeakerHandle::up).
    pub shutdown: Option<String>,
    /// Of a range: how long a member is remembered after its last connection.
    pub forget_after: Duration,
}

impl PeerConfig {
    /// A peer with nothing but defaults: both families, no limit, no signature.
    pub fn new(name: PeerName, remote: Remote, remote_as: Asn) -> Self {
        Self {
            name,
            remote,
            port: BGP_PORT,
            remote_as,
            families: Family::ALL.to_vec(),
            passive: false,
            source: None,
            hold_time: None,
            connect_retry: None,
            next_hop_ipv4: None,
            next_hop_ipv6: None,
            max_prefixes: None,
            password: None,
            distance: Distance::Usual,
            tcp_user_timeout: None,
            keepalive: true,
            role: None,
            role_strict: false,
            graceful_restart: None,
            add_path: false,
            extended_next_hop: false,
            extended_messages: true,
            enforce_first_as: true,
            import: true,
            shutdown: None,
            forget_after: FORGET_AFTER,
        }
    }

    /// As it is for one member of a range.
    pub(crate) fn member(&self, address: IpAddr) -> Self {
        Self {
            name: PeerName::member(&self.name, address),
            remote: Remote::address(address),
            passive: true,
            shutdown: None,
            ..self.clone()
        }
    }

    /// What is wrong with it by itself.
    pub(crate) fn check(&self) -> Result<(), PeerError> {
        if self.families.is_empty() {
            return Err(PeerError::NoFamilies(self.name.clone()));
        }
        if let Some(hold_time) = self.hold_time.filter(|hold_time| !fits_open(*hold_time)) {
            return Err(PeerError::HoldTime { peer: self.name.clone(), hold_time });
        }
        let remote_is_ipv4 = match self.remote {
            Remote::Address { address, .. } => address.is_ipv4(),
            Remote::Range { prefix, .. } => prefix.family() == Family::Ipv4,
            Remote::Interface { .. } => false,
        };
        if let Some(source_address) = self.source.filter(|source| source.is_ipv4() != remote_is_ipv4) {
            let (peer, remote) = (self.name.clone(), self.remote.clone());
            return Err(PeerError::SourceFamily { peer, source_address, remote });
        }
        match self.remote {
            Remote::Address { address: IpAddr::V6(address), interface: None }
                if address.is_unicast_link_local() =>
            {
                Err(PeerError::NoInterface { peer: self.name.clone(), address: address.into() })
            }
            _ => Ok(()),
        }
    }

    /// Whether a connection could be either's. Where nobody listens there is none, and to different ports we connect
    /// knowing to whom.
    pub(crate) fn confusable(&self, other: &Self, listening: bool) -> bool {
        match (&self.remote, &other.remote) {
            (
                Remote::Address { address: one, interface: one_interface },
                Remote::Address { address: other_address, interface: other_interface },
            ) => {
                one.to_canonical() == other_address.to_canonical()
                    && (one_interface == other_interface
                        || !matches!(one, IpAddr::V6(one) if one.is_unicast_link_local()))
                    && (self.port == other.port || self.passive || other.passive || listening)
            }
            (Remote::Range { prefix: one, .. }, Remote::Range { prefix: other, .. }) => one == other,
            (Remote::Interface { interface: one }, Remote::Interface { interface: other }) => one == other,
            _ => false,
        }
    }
}

/// What the sessions of a speaker have in common.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) local_as: Asn,
    pub(crate) router_id: Ipv4Addr,
    /// When the speaker was.
    pub(crate) started: Instant,
    pub(crate) hold_time: Duration,
    pub(crate) connect_retry: Duration,
}

impl Common {
    pub(crate) fn internal(&self, peer: &PeerConfig) -> bool {
        self.local_as == peer.remote_as
    }

    pub(crate) fn settings(&self, peer: &PeerConfig) -> Settings {
        Settings {
            hold_time: peer.hold_time.unwrap_or(self.hold_time),
            connect_retry: peer.connect_retry.unwrap_or(self.connect_retry),
            passive: peer.passive,
            families: peer.families.clone(),
            next_hop_ipv4: peer.next_hop_ipv4,
            next_hop_ipv6: peer.next_hop_ipv6,
            max_prefixes: peer.max_prefixes,
            role: peer.role,
            role_strict: peer.role_strict,
            graceful_restart: peer.graceful_restart,
            add_path: peer.add_path,
            extended_next_hop: peer.extended_next_hop,
            extended_messages: peer.extended_messages,
            enforce_first_as: peer.enforce_first_as,
            ..Settings::new(self.local_as, self.router_id, peer.remote_as)
        }
    }

    /// What the change of a peer's configuration means for it; see [`Effect`].
    pub(crate) fn effect(&self, old: &PeerConfig, new: &PeerConfig) -> Effect {
        let unchanged = if old == new { Effect::Unchanged } else { Effect::InPlace };
        let connection = Configured::of(old).change_to(&Configured::of(new));
        let session = match self.settings(old).change_to(&self.settings(new)) {
            Change::None => Effect::Unchanged,
            Change::InPlace => Effect::InPlace,
            Change::Reopen => Effect::Reopened,
        };
        unchanged.max(connection).max(session)
    }
}

/// What the configuration said of a peer as far as its session does not know: whose connection it is, whether its routes may
/// be used, and whether it was to be up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configured {
    pub(crate) remote: Remote,
    pub(crate) port: u16,
    pub(crate) source: Option<IpAddr>,
    pub(crate) password: Option<Password>,
    pub(crate) import: bool,
    pub(crate) shutdown: Option<String>,
}

impl Configured {
    pub(crate) fn of(peer: &PeerConfig) -> Self {
        let PeerConfig { remote, port, source, password, import, shutdown, .. } = peer.clone();
        Self { remote, port, source, password, import, shutdown }
    }

    /// What it means for the peer's connection that the configuration is another.
    pub(crate) fn change_to(&self, new: &Self) -> Effect {
        if (&self.remote, self.port) != (&new.remote, new.port) {
            match (&self.remote, &new.remote) {
                // Members outside the new range go, the others stay.
                (Remote::Range { .. }, Remote::Range { .. }) if self.port == new.port => Effect::InPlace,
                _ => Effect::Replaced,
            }
        } else if (self.source, &self.password, self.import) != (new.source, &new.password, new.import) {
            Effect::Reopened
        } else {
            Effect::Unchanged
        }
    }
}

/// What a change of a peer's configuration means for it. No other peer ever notices.
///
/// | setting                                                                | effect                                 |
/// |------------------------------------------------------------------------|----------------------------------------|
/// | remote (but for the bounds of a range), port                           | replaced                               |
/// | remote-as, families, hold-time, role, role-strict, add-path            | reopened: said, or judged, in an OPEN  |
/// | graceful-restart (but for the stale time), extended-next-hop, extended-messages | reopened                      |
/// | source, password                                                       | reopened: belong to the connection     |
/// | import                                                                 | reopened: routes are judged as they come |
/// | max-prefixes, next-hop-ipv4, next-hop-ipv6, enforce-first-as           | in place                               |
/// | passive, connect-retry                                                 | in place, from the next attempt on     |
/// | ttl-security, multihop, tcp-user-timeout, keepalive                    | in place, on the live connection       |
/// | shutdown                                                               | in place: the session goes down or comes up |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Nothing changed.
    Unchanged,
    /// The session goes on.
    InPlace,
    /// The session ends with a Cease and begins anew at once.
    Reopened,
    /// The peer is another: it leaves (Cease 6/3), and a new one comes in its place.
    Replaced,
}

/// Whether an OPEN can carry this hold time: 0, or 3 s to 65535 s in whole seconds.
pub(crate) fn fits_open(hold_time: Duration) -> bool {
    let seconds = hold_time.as_secs();
    hold_time == Duration::from_secs(seconds)
        && (seconds == 0 || (3..=u64::from(u16::MAX)).contains(&seconds))
}

/// Who a peer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remote {
    /// A router with an address.
    Address {
        /// The address.
        address: IpAddr,
        /// The interface to reach it by; needed for a link-local address, which means nothing without one.
        interface: Option<String>,
    },
    /// Whoever connects from this range becomes a peer while the connection lasts, and a while longer.
    Range {
        /// The range.
        prefix: Prefix,
        /// How many such peers there may be at once; 1 or more.
        max: u16,
    },
    /// The router at the other end of a link, found by its router advertisements (RFC 4861).
    Interface {
        /// The interface.
        interface: String,
    },
}

impl Remote {
    /// The router with this address.
    pub fn address(address: IpAddr) -> Self {
        Self::Address { address, interface: None }
    }

    /// The interface connections are bound to.
    pub fn interface(&self) -> Option<&str> {
        match self {
            Self::Address { interface, .. } => interface.as_deref(),
            Self::Interface { interface } => Some(interface),
            Self::Range { .. } => None,
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, interface: None } => address.fmt(f),
            Self::Address { address, interface: Some(interface) } => write!(f, "{address}%{interface}"),
            Self::Range { prefix, .. } => prefix.fmt(f),
            Self::Interface { interface } => f.write_str(interface),
        }
    }
}

/// Which way packets to and from a peer may come: the TTL, or hop limit, of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Distance {
    /// An external peer on a shared subnet (TTL 1), an internal one anywhere (TTL 64).
    #[default]
    Usual,
    /// Up to so many hops away: packets are sent with this TTL, those of the peer may have any.
    Multihop(NonZeroU8),
    /// GTSM (RFC 5082): packets are sent with TTL 255; what comes from more than so many hops away is dropped by the
    /// kernel. 1 is the shared subnet.
    Security(NonZeroU8),
}

/// The key of TCP MD5 signatures: 1 to 80 octets. Never shown; written down for another process only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Password(Arc<[u8]>);

#[derive(Serialize, Deserialize)]
struct Written(#[serde(with = "octets")] Vec<u8>);

impl From<Password> for Written {
    fn from(Password(key): Password) -> Self {
        Self(key.to_vec())
    }
}

impl TryFrom<Written> for Password {
    type Error = PasswordError;

    fn try_from(Written(key): Written) -> Result<Self, PasswordError> {
        Self::new(&key)
    }
}

/// A text that can't be the key of TCP MD5 signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password has 1 to {max} octets, not {0}", max = proxima_sys::MAX_MD5_KEY)]
pub struct PasswordError(usize);

impl Password {
    /// This key.
    ///
    /// # Errors
    /// When it is empty or longer than the kernel takes.
    pub fn new(key: &[u8]) -> Result<Self, PasswordError> {
        if (1..=proxima_sys::MAX_MD5_KEY).contains(&key.len()) {
            Ok(Self(key.into()))
        } else {
            Err(PasswordError(key.len()))
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}
