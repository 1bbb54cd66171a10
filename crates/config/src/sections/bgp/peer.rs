//! `[[bgp.peers]]`: a session as it is written, and as it is meant.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU8,
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use proxima_types::{Asn, Family, PeerName, Prefix};

use super::{
    BGP_PORT,
    options::{RawBfd, RawGracefulRestart, RawMaxPrefixes},
};
use crate::{
    Import, Peer, Remote, Role,
    field::{Field, List},
    reader::Reader,
    reference::Absent,
    report::Wrong,
    section::Section,
    sections::{Place, resolved},
    value,
};

/// What `connect-retry` may be.
pub(super) const RETRY: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);
/// How many peers a range makes at most.
const MAX_PEERS: u16 = 100;
const TCP_KEEPALIVE: bool = true;
const ROLE_STRICT: bool = false;
const ADD_PATH: bool = false;
const EXTENDED_NEXT_HOP: bool = false;
const EXTENDED_MESSAGES: bool = true;
const FAMILIES: [(&str, Family); 2] = [("ipv4", Family::Ipv4), ("ipv6", Family::Ipv6)];

/// What `[bgp]` says for peers that say nothing.
pub(super) struct Defaults {
    pub(super) local_as: Asn,
    pub(super) hold_time: Duration,
    pub(super) connect_retry: Duration,
}

pub(super) struct RawPeer {
    pub(super) name: Field<PeerName>,
    pub(super) address: Field<IpAddr>,
    pub(super) range: Field<Prefix>,
    pub(super) max_peers: Field<u16>,
    pub(super) interface: Field<String>,
    pub(super) port: Field<u16>,
    pub(super) remote_as: Field<Asn>,
    pub(super) families: Field<List<Family>>,
    pub(super) passive: Field<bool>,
    pub(super) source: Field<IpAddr>,
    pub(super) next_hop_ipv4: Field<Ipv4Addr>,
    pub(super) next_hop_ipv6: Field<Ipv6Addr>,
    hold_time: Field<Duration>,
    connect_retry: Field<Duration>,
    pub(super) max_prefixes: Field<RawMaxPrefixes>,
    password_file: Field<PathBuf>,
    pub(super) ttl_security: Field<NonZeroU8>,
    pub(super) multihop: Field<NonZeroU8>,
    tcp_user_timeout: Field<Duration>,
    tcp_keepalive: Field<bool>,
    pub(super) role: Field<Role>,
    pub(super) role_strict: Field<bool>,
    graceful_restart: Field<RawGracefulRestart>,
    add_path: Field<bool>,
    pub(super) extended_next_hop: Field<bool>,
    extended_messages: Field<bool>,
    pub(super) enforce_first_as: Field<bool>,
    import: Field<Import>,
    pub(super) bfd: Field<RawBfd>,
    shutdown: Field<String>,
    pub(super) place: Place,
}

/// Where a peer is, as far as one of the three keys says it.
pub(super) enum RawRemote<'r> {
    Address(IpAddr),
    Range(Prefix),
    Interface(&'r str),
}

impl RawPeer {
    pub(super) fn read(mut peer: Section<'_>) -> Self {
        let raw = Self {
            name: peer.required(
                "name",
                "\"tor1\"",
                name(),
                "The peer's name, as commands and metrics have it.",
            ),
            address: peer.optional(
                "address",
                value::scoped_address(),
                Absent::means("see `range` and `interface`"),
                "The peer's address: one host. One of `address`, `range` and `interface` says where the \
                peer is.",
            ),
            range: peer.optional(
                "range",
                value::parsed(),
                Absent::means("see `address`"),
                "Whoever connects from this prefix with `remote-as` becomes a peer, named as in \
                `racks/10.1.0.7`.",
            ),
            max_peers: peer.optional(
                "max-peers",
                value::integer(1..=10_000),
                Absent::is(MAX_PEERS),
                "With `range`: how many peers there may be at once.",
            ),
            interface: peer.optional(
                "interface",
                value::interface(),
                Absent::means("any"),
                "Alone: the one router on this link, found by its router advertisements. Beside `address`: \
                what the connection is bound to; always needed for a link-local address.",
            ),
            port: peer.optional(
                "port",
                value::integer(1..=65535),
                Absent::is(BGP_PORT),
                "The TCP port to connect to.",
            ),
            remote_as: peer.required(
                "remote-as",
                "65000",
                value::asn(),
                "The peer's AS; the own one makes it iBGP.",
            ),
            families: peer.optional_list(
                "families",
                value::word(&FAMILIES),
                Absent::means("the family of the session"),
                "The families of routes that are offered.",
            ),
            passive: peer.optional(
                "passive",
                value::boolean(),
                Absent::means("`false`; `true` for a `range`"),
                "Waits for the peer to connect instead of connecting.",
            ),
            source: peer.optional(
                "source",
                value::scoped_address(),
                Absent::means("the system's choice"),
                "The local address to connect from, of the family of the session.",
            ),
            next_hop_ipv4: peer.optional(
                "next-hop-ipv4",
                value::ipv4(),
                Absent::means("the session's local address"),
                "The next hop of IPv4 routes. Needed for them on an IPv6 session, unless \
                `extended-next-hop` is set.",
            ),
            next_hop_ipv6: peer.optional(
                "next-hop-ipv6",
                value::ipv6(),
                Absent::means("the session's local address"),
                "The next hop of IPv6 routes. Needed for them on an IPv4 session.",
            ),
            hold_time: peer.optional(
                "hold-time",
                value::hold_time(),
                Absent::means("that of `[bgp]`"),
                "The hold time offered, in whole seconds; `\"0s\"`: no keepalives.",
            ),
            connect_retry: peer.optional(
                "connect-retry",
                value::duration(RETRY),
                Absent::means("that of `[bgp]`"),
                "The first interval of the backoff between attempts to connect.",
            ),
            max_prefixes: RawMaxPrefixes::read(&mut peer),
            password_file: peer.optional(
                "password-file",
                value::absolute_path(),
                Absent::means("segments are not signed"),
                "A file with the key of TCP MD5 (RFC 2385).",
            ),
            // 255 hops would let every packet through.
            ttl_security: peer.optional(
                "ttl-security",
                hops(1..=254),
                Absent::means("not checked"),
                "GTSM (RFC 5082): the peer is at most so many hops away, and packets from farther are \
                dropped. Not beside `multihop`, nor for iBGP.",
            ),
            multihop: peer.optional(
                "multihop",
                hops(2..=255),
                Absent::means("the peer is next to us"),
                "The TTL of what is sent to an external peer that is not next to us.",
            ),
            tcp_user_timeout: peer.optional(
                "tcp-user-timeout",
                value::duration(Duration::from_millis(100)..=Duration::from_hours(1)),
                Absent::means("the kernel's"),
                "How long sent data may stay unacknowledged before the kernel ends the connection (RFC \
                5482).",
            ),
            tcp_keepalive: peer.optional(
                "tcp-keepalive",
                value::boolean(),
                Absent::is(TCP_KEEPALIVE),
                "Whether the kernel probes an idle connection.",
            ),
            role: peer.optional(
                "role",
                value::word(&Role::ALL),
                Absent::means("not said"),
                "What this side is to the peer (RFC 9234). Not for iBGP.",
            ),
            role_strict: peer.optional(
                "role-strict",
                value::boolean(),
                Absent::is(ROLE_STRICT),
                "Whether a peer that does not say its role is refused. Needs `role`.",
            ),
            graceful_restart: peer
                .section(
                    "graceful-restart",
                    Absent::means("not offered"),
                    "Graceful restart (RFC 4724, RFC 8538): the peer keeps our routes over a restart, and \
                    over a crash, too.",
                )
                .map(RawGracefulRestart::read),
            add_path: peer.optional(
                "add-path",
                value::boolean(),
                Absent::is(ADD_PATH),
                "Whether several paths for a prefix are taken (RFC 7911).",
            ),
            extended_next_hop: peer.optional(
                "extended-next-hop",
                value::boolean(),
                Absent::is(EXTENDED_NEXT_HOP),
                "Whether IPv4 routes may have an IPv6 next hop (RFC 8950).",
            ),
            extended_messages: peer.optional(
                "extended-messages",
                value::boolean(),
                Absent::is(EXTENDED_MESSAGES),
                "Whether messages may have 65535 octets (RFC 8654).",
            ),
            enforce_first_as: peer.optional(
                "enforce-first-as",
                value::boolean(),
                Absent::means("`true`; `false` for iBGP"),
                "Whether the first AS of a path has to be the peer's.",
            ),
            import: peer.optional(
                "import",
                value::word(&Import::ALL),
                Absent::means("`none`; `all` for iBGP (RFC 8212)"),
                "Which of the peer's routes may be used, as a distance (`distance = \"bgp\"`). What a \
                guard sees does not depend on it.",
            ),
            bfd: peer
                .section(
                    "bfd",
                    Absent::means("not watched"),
                    "Forwarding to the peer is watched by BFD (RFC 5880); the session ends with it.",
                )
                .map(RawBfd::read),
            shutdown: peer.optional(
                "shutdown",
                value::shutdown_reason(),
                Absent::means("the session is to be up"),
                "The session starts down, until an operator says otherwise (`proxima peer NAME up`). The \
                text says why, and goes to the peer (RFC 9003).",
            ),
            place: Place::of(&peer),
        };
        peer.any_of(
            &["address", "range", "interface"],
            "add `address = \"10.0.0.1\"`, `range = \"10.0.0.0/24\"` for whoever connects from there, or `interface = \"eth0\"` for the one router on a link",
        );
        peer.close();
        raw
    }

    /// Where it is; nothing when that is not known, or said in more ways than one.
    pub(super) fn remote(&self) -> Option<RawRemote<'_>> {
        match (&self.address, &self.range, &self.interface) {
            (Field::Given(address), Field::Absent, Field::Absent | Field::Given(_)) => {
                Some(RawRemote::Address(address.value))
            }
            (Field::Absent, Field::Given(range), Field::Absent) => Some(RawRemote::Range(range.value)),
            (Field::Absent, Field::Absent, Field::Given(interface)) => {
                Some(RawRemote::Interface(&interface.value))
            }
            _ => None,
        }
    }

    /// The family the session runs over, when it is known.
    pub(super) fn session_family(&self) -> Option<Family> {
        Some(match self.remote()? {
            RawRemote::Address(IpAddr::V4(_)) => Family::Ipv4,
            RawRemote::Address(IpAddr::V6(_)) | RawRemote::Interface(_) => Family::Ipv6,
            RawRemote::Range(range) => range.family(),
        })
    }

    /// The families offered, IPv4 first; nothing when they are not known.
    pub(super) fn offered(&self) -> Option<Vec<Family>> {
        match &self.families {
            Field::Absent => self.session_family().map(|family| vec![family]),
            Field::Bad => None,
            Field::Given(at) => {
                let mut families = at.value.values()?;
                families.sort_unstable();
                families.dedup();
                Some(families)
            }
        }
    }

    pub(super) fn resolve(&self, defaults: &Defaults) -> Option<Peer> {
        let remote = match self.remote()? {
            RawRemote::Address(address) => Remote::Address { address, interface: self.interface.maybe()? },
            RawRemote::Range(prefix) => Remote::Range { prefix, max_peers: self.max_peers.or(MAX_PEERS)? },
            RawRemote::Interface(interface) => Remote::Interface(interface.to_owned()),
        };
        let remote_as = *self.remote_as.value()?;
        let multihop = self.multihop.maybe()?;
        Some(Peer {
            name: self.name.value()?.clone(),
            port: self.port.or(BGP_PORT)?,
            remote_as,
            families: self.offered()?,
            passive: self.passive.or(matches!(remote, Remote::Range { .. }))?,
            remote,
            source: self.source.maybe()?,
            next_hop_ipv4: self.next_hop_ipv4.maybe()?,
            next_hop_ipv6: self.next_hop_ipv6.maybe()?,
            hold_time: self.hold_time.or(defaults.hold_time)?,
            connect_retry: self.connect_retry.or(defaults.connect_retry)?,
            max_prefixes: RawMaxPrefixes::resolve(&self.max_prefixes)?,
            password_file: self.password_file.maybe()?,
            ttl_security: self.ttl_security.maybe()?,
            multihop,
            tcp_user_timeout: self.tcp_user_timeout.maybe()?,
            tcp_keepalive: self.tcp_keepalive.or(TCP_KEEPALIVE)?,
            role: self.role.maybe()?,
            role_strict: self.role_strict.or(ROLE_STRICT)?,
            graceful_restart: resolved(&self.graceful_restart, RawGracefulRestart::resolve)?,
            add_path: self.add_path.or(ADD_PATH)?,
            extended_next_hop: self.extended_next_hop.or(EXTENDED_NEXT_HOP)?,
            extended_messages: self.extended_messages.or(EXTENDED_MESSAGES)?,
            enforce_first_as: self.enforce_first_as.or(remote_as != defaults.local_as)?,
            import: self.import.or(if remote_as == defaults.local_as {
                Import::All
            } else {
                Import::None
            })?,
            bfd: resolved(&self.bfd, |bfd| bfd.resolve(multihop.is_some()))?,
            shutdown: self.shutdown.maybe()?,
        })
    }
}

/// A name that no member of a range could have.
fn name() -> Reader<PeerName> {
    value::parsed().then(|name: PeerName| match name.as_member() {
        None => Ok(name),
        Some((range, _)) => {
            Err(Wrong::new(format!("`{name}` is how a member of the range `{range}` is called"))
                .hint("write a name without `/`"))
        }
    })
}

/// A number of routers, or a TTL.
fn hops(range: RangeInclusive<u32>) -> Reader<NonZeroU8> {
    value::integer(range).map(|hops| NonZeroU8::new(hops).expect("read within a range that begins above 0"))
}
