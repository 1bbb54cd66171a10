//! `[bgp]` and `[[bgp.peers]]`: the speaker and its sessions.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use proxima_types::{Asn, Family, PeerName};

use super::{Place, Raw, distinct, element, resolved};
use crate::{
    Bgp, Peer,
    report::{Report, Wrong},
    section::{At, Field, List, Section},
    value,
};

const BGP_PORT: u16 = 179;
const HOLD_TIME: Duration = Duration::from_secs(90);
const CONNECT_RETRY: Duration = Duration::from_secs(5);
const MAX_PREFIXES: u32 = 10_000;
const FAMILIES: [(&str, Family); 2] = [("ipv4", Family::Ipv4), ("ipv6", Family::Ipv6)];

pub(super) struct RawBgp {
    pub(super) path: String,
    local_as: Field<Asn>,
    hold_time: Field<Duration>,
    connect_retry: Field<Duration>,
    listen: Field<List<SocketAddr>>,
    peers: Field<Vec<RawPeer>>,
    place: Place,
}

struct RawPeer {
    name: Field<PeerName>,
    address: Field<IpAddr>,
    port: Field<u16>,
    remote_as: Field<Asn>,
    families: Field<List<Family>>,
    passive: Field<bool>,
    source: Field<IpAddr>,
    next_hop_ipv4: Field<Ipv4Addr>,
    next_hop_ipv6: Field<Ipv6Addr>,
    max_prefixes: Field<u32>,
    place: Place,
}

impl RawBgp {
    pub(super) fn read(file: &mut Section<'_>) -> Field<Self> {
        match file.section("bgp") {
            Field::Absent => {
                file.missing("bgp", "add `[bgp]` with `local-as`, and `[[bgp.peers]]` for each router")
            }
            found => found.map(|mut bgp| {
                let raw = Self {
                    path: bgp.path().to_owned(),
                    local_as: bgp.required("local-as", "64512", value::asn),
                    hold_time: bgp.optional("hold-time", value::hold_time),
                    connect_retry: bgp.optional(
                        "connect-retry",
                        value::duration(Duration::from_millis(10)..=Duration::from_hours(1)),
                    ),
                    listen: bgp.optional_list("listen", value::listen),
                    peers: bgp.sections("peers").map(|peers| peers.into_iter().map(RawPeer::read).collect()),
                    place: Place::of(&bgp),
                };
                bgp.close();
                raw
            }),
        }
    }

    pub(super) fn listens(&self) -> impl Iterator<Item = &At<SocketAddr>> {
        self.listen.value().into_iter().flat_map(|list| &list.elements)
    }

    fn peers(&self) -> &[RawPeer] {
        self.peers.value().map_or(&[], Vec::as_slice)
    }

    pub(super) fn resolve(&self) -> Option<Bgp> {
        let peers: Vec<Peer> = match &self.peers {
            Field::Absent => Vec::new(),
            Field::Bad => return None,
            Field::Given(at) => at.value.iter().map(RawPeer::resolve).collect::<Option<_>>()?,
        };
        let listen = match resolved(&self.listen, List::values)? {
            Some(listen) => listen,
            None if peers.iter().any(|peer| peer.passive) => {
                vec![
                    SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), BGP_PORT),
                    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), BGP_PORT),
                ]
            }
            None => Vec::new(),
        };
        Some(Bgp {
            local_as: *self.local_as.value()?,
            hold_time: self.hold_time.or(HOLD_TIME)?,
            connect_retry: self.connect_retry.or(CONNECT_RETRY)?,
            listen,
            peers,
        })
    }
}

impl RawPeer {
    fn read(mut peer: Section<'_>) -> Self {
        let raw = Self {
            name: peer.required("name", "\"tor1\"", value::parsed),
            address: peer.required("address", "\"10.0.0.1\"", value::address),
            port: peer.optional("port", value::integer(1..=65535)),
            remote_as: peer.required("remote-as", "65000", value::asn),
            families: peer.optional_list("families", value::word(&FAMILIES)),
            passive: peer.optional("passive", value::boolean),
            source: peer.optional("source", value::address),
            next_hop_ipv4: peer.optional("next-hop-ipv4", value::ipv4),
            next_hop_ipv6: peer.optional("next-hop-ipv6", value::ipv6),
            max_prefixes: peer.optional("max-prefixes", value::integer(1..=u32::MAX)),
            place: Place::of(&peer),
        };
        peer.close();
        raw
    }

    /// The families offered, IPv4 first; nothing when they are not known.
    fn offered(&self) -> Option<Vec<Family>> {
        match &self.families {
            Field::Absent => self.address.value().map(|address| vec![family_of(*address)]),
            Field::Bad => None,
            Field::Given(at) => {
                let mut families = at.value.values()?;
                families.sort_unstable();
                families.dedup();
                Some(families)
            }
        }
    }

    fn resolve(&self) -> Option<Peer> {
        Some(Peer {
            name: self.name.value()?.clone(),
            address: *self.address.value()?,
            port: self.port.or(BGP_PORT)?,
            remote_as: *self.remote_as.value()?,
            families: self.offered()?,
            passive: self.passive.or(false)?,
            source: self.source.maybe()?,
            next_hop_ipv4: self.next_hop_ipv4.maybe()?,
            next_hop_ipv6: self.next_hop_ipv6.maybe()?,
            max_prefixes: self.max_prefixes.or(MAX_PREFIXES)?,
        })
    }

    /// What the peer's own settings say about each other.
    fn check(&self, report: &Report) {
        if let Some(families) = self.families.value() {
            distinct(report, &families.elements, &self.place.key("families"));
        }
        let Some(address) = self.address.value() else { return };
        let session = family_of(*address);
        if let Some(source) = self.source.given()
            && family_of(source.value) != session
        {
            let wrong =
                Wrong::new(format!("{} can't be the source of a session with {address}", source.value))
                    .hint(format!("write an {session} address of this host"));
            report.here(source.span.clone(), &self.place.key("source"), wrong);
        }
        let Some(offered) = self.offered() else { return };
        self.check_next_hop(report, session, &offered, Family::Ipv4, &self.next_hop_ipv4);
        self.check_next_hop(report, session, &offered, Family::Ipv6, &self.next_hop_ipv6);
    }

    fn check_next_hop<A>(
        &self,
        report: &Report,
        session: Family,
        offered: &[Family],
        family: Family,
        next_hop: &Field<A>,
    ) {
        let key = format!("next-hop-{family}");
        match next_hop {
            Field::Given(at) if !offered.contains(&family) => {
                let wrong = Wrong::new(format!("`{key}` is given, but the session does not carry {family}"))
                    .hint(format!("add \"{family}\" to `families`, or remove `{key}`"));
                report.elsewhere(at.span.clone(), &self.place.key(&key), wrong);
            }
            Field::Absent if family != session && offered.contains(&family) => {
                let span = self.families.given().map_or(self.place.span.clone(), |at| at.span.clone());
                let wrong = Wrong::new(format!("{family} routes on an {session} session need a next hop"))
                    .hint(format!(
                        "add `{key} = \"…\"` with the {family} address of this host towards the peer"
                    ));
                report.elsewhere(span, &self.place.key(&key), wrong);
            }
            Field::Given(_) | Field::Absent | Field::Bad => {}
        }
    }
}

/// Whether some peer carries `family`; nothing when that is not known.
pub(super) fn carried(raw: &Raw, family: Family) -> Option<bool> {
    let bgp = raw.bgp.value()?;
    let mut known = true;
    for peer in &bgp.peers.given()?.value {
        match peer.offered() {
            Some(families) if families.contains(&family) => return Some(true),
            Some(_) => {}
            None => known = false,
        }
    }
    known.then_some(false)
}

pub(super) fn check(raw: &Raw, report: &Report) {
    let Some(bgp) = raw.bgp.value() else { return };
    if matches!(bgp.peers, Field::Absent) && !raw.groups.is_empty() {
        let wrong = Wrong::new("there is something to announce, but no peer to announce it to")
            .hint("add `[[bgp.peers]]` with `name`, `address` and `remote-as`");
        report.section(bgp.place.span.clone(), &bgp.place.key("peers"), wrong);
    }
    for (index, peer) in bgp.peers().iter().enumerate() {
        peer.check(report);
        let earlier = &bgp.peers()[..index];
        check_name(report, peer, earlier, &element("bgp", "peers", index));
        check_address(report, peer, earlier, !matches!(bgp.listen, Field::Absent));
    }
}

fn check_name(report: &Report, peer: &RawPeer, earlier: &[RawPeer], path: &str) {
    if let Some(name) = peer.name.given()
        && earlier.iter().any(|other| other.name.value() == Some(&name.value))
    {
        let wrong =
            Wrong::new(format!("two peers are named `{}`", name.value)).hint("give each peer its own name");
        report.elsewhere(name.span.clone(), &format!("{path}.name"), wrong);
    }
}

/// Sessions are told apart by the peer's address; where we only connect, also by its port.
fn check_address(report: &Report, peer: &RawPeer, earlier: &[RawPeer], listens: bool) {
    let (Some(address), Some(port)) = (peer.address.given(), peer.port.or(BGP_PORT)) else { return };
    let clash = earlier.iter().find(|other| {
        let waits = listens || peer.passive.value() == Some(&true) || other.passive.value() == Some(&true);
        other.address.value() == Some(&address.value) && (waits || other.port.or(BGP_PORT) == Some(port))
    });
    if let Some(other) = clash {
        let name = other.name.value().map_or("another peer".to_owned(), |name| format!("peer `{name}`"));
        let wrong = Wrong::new(format!("{name} has the address {} already", address.value))
            .hint("one session per address: put both families on it with `families = [\"ipv4\", \"ipv6\"]`");
        report.elsewhere(address.span.clone(), &peer.place.key("address"), wrong);
    }
}

fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::Ipv4,
        IpAddr::V6(_) => Family::Ipv6,
    }
}
