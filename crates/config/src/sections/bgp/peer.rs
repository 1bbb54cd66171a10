//! `[[bgp.peers]]`: a session as it is written, and as it is meant.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU8,
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use proxima_types::{Asn, Family, PeerName, Prefix};
use toml::de::DeValue;

use super::{
    BGP_PORT,
    options::{RawBfd, RawGracefulRestart, RawMaxPrefixes},
};
use crate::{
    Import, Peer, Remote, Role,
    report::Wrong,
    section::{Field, List, Read, Section},
    sections::{Place, resolved},
    value,
};

/// What `connect-retry` may be.
pub(super) const RETRY: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);
/// How many peers a range makes at most.
const MAX_PEERS: u16 = 100;
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
    pub(super) max_prefixes: RawMaxPrefixes,
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
            name: peer.required("name", "\"tor1\"", name),
            address: peer.optional("address", value::scoped_address),
            range: peer.optional("range", value::parsed),
            max_peers: peer.optional("max-peers", value::integer(1..=10_000)),
            interface: peer.optional("interface", value::interface),
            port: peer.optional("port", value::integer(1..=65535)),
            remote_as: peer.required("remote-as", "65000", value::asn),
            families: peer.optional_list("families", value::word(&FAMILIES)),
            passive: peer.optional("passive", value::boolean),
            source: peer.optional("source", value::scoped_address),
            next_hop_ipv4: peer.optional("next-hop-ipv4", value::ipv4),
            next_hop_ipv6: peer.optional("next-hop-ipv6", value::ipv6),
            hold_time: peer.optional("hold-time", value::hold_time),
            connect_retry: peer.optional("connect-retry", value::duration(RETRY)),
            max_prefixes: RawMaxPrefixes::read(&mut peer),
            password_file: peer.optional("password-file", value::absolute_path),
            // 255 hops would let every packet through.
            ttl_security: peer.optional("ttl-security", hops(1..=254)),
            multihop: peer.optional("multihop", hops(2..=255)),
            tcp_user_timeout: peer.optional(
                "tcp-user-timeout",
                value::duration(Duration::from_millis(100)..=Duration::from_hours(1)),
            ),
            tcp_keepalive: peer.optional("tcp-keepalive", value::boolean),
            role: peer.optional("role", value::word(&Role::ALL)),
            role_strict: peer.optional("role-strict", value::boolean),
            graceful_restart: peer.section("graceful-restart").map(RawGracefulRestart::read),
            add_path: peer.optional("add-path", value::boolean),
            extended_next_hop: peer.optional("extended-next-hop", value::boolean),
            extended_messages: peer.optional("extended-messages", value::boolean),
            enforce_first_as: peer.optional("enforce-first-as", value::boolean),
            import: peer.optional("import", value::word(&Import::ALL)),
            bfd: peer.section("bfd").map(RawBfd::read),
            shutdown: peer.optional("shutdown", value::shutdown_reason),
            place: Place::of(&peer),
        };
        if !["address", "range", "interface"].into_iter().any(|key| peer.has(key)) {
            let _: Field<()> = peer.missing(
                "address",
                "add `address = \"10.0.0.1\"`, `range = \"10.0.0.0/24\"` for whoever connects from there, or `interface = \"eth0\"` for the one router on a link",
            );
        }
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
            max_prefixes: self.max_prefixes.resolve()?,
            password_file: self.password_file.maybe()?,
            ttl_security: self.ttl_security.maybe()?,
            multihop,
            tcp_user_timeout: self.tcp_user_timeout.maybe()?,
            tcp_keepalive: self.tcp_keepalive.or(true)?,
            role: self.role.maybe()?,
            role_strict: self.role_strict.or(false)?,
            graceful_restart: resolved(&self.graceful_restart, RawGracefulRestart::resolve)?,
            add_path: self.add_path.or(false)?,
            extended_next_hop: self.extended_next_hop.or(false)?,
            extended_messages: self.extended_messages.or(true)?,
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
fn name(found: &DeValue<'_>) -> Read<PeerName> {
    let name: PeerName = value::parsed(found)?;
    match name.as_member() {
        None => Ok(name),
        Some((range, _)) => {
            Err(Wrong::new(format!("`{name}` is how a member of the range `{range}` is called"))
                .hint("write a name without `/`"))
        }
    }
}

/// A number of routers, or a TTL.
fn hops(range: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Read<NonZeroU8> {
    let number = value::integer::<u8>(range);
    move |found| Ok(NonZeroU8::new(number(found)?).expect("read within a range that begins above 0"))
}
