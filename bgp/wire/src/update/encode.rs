//! Writing UPDATEs: as few messages as hold the prefixes, each with one kind of content (RFC 7606 §5.1).

use std::net::{IpAddr, Ipv4Addr};

use bytes::{BufMut, BytesMut};
use proxima_types::{Asn, Family};

use super::{
    AsPath, Attributes, NextHop, Nlri, Update,
    attributes::{code, flag},
    nlri,
};
use crate::{AfiSafi, EncodeError, HEADER_LEN, MessageType, Negotiated, PeerKind, header::write_message};

/// Octets of an UPDATE without withdrawn routes, attributes and NLRI.
const EMPTY_LEN: usize = HEADER_LEN + 4;
/// Flags, code and a two-octet length.
const ATTRIBUTE_HEADER_LEN: usize = 4;
/// The most numbers in a segment of an AS path.
const MAX_SEGMENT: usize = 255;

const WELL_KNOWN: u8 = flag::TRANSITIVE;
const OPTIONAL: u8 = flag::OPTIONAL;
const OPTIONAL_TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;

/// Appends UPDATEs that announce `prefixes`, all of one family, and returns how many messages that took.
///
/// IPv4 goes with NEXT_HOP and the NLRI field, IPv6 (and IPv4 with an IPv6 next hop, RFC 8950) with MP_REACH_NLRI.
/// LOCAL_PREF and the attributes of route reflection are left out towards an external peer, whatever `attributes`
/// holds. Towards a two-octet peer AS4_PATH and AS4_AGGREGATOR are added where they are needed.
///
/// # Errors
/// When next hop and prefixes do not fit together, or the attributes leave no room; nothing has been appended then.
pub fn announce(
    attributes: &Attributes,
    next_hop: NextHop,
    prefixes: impl IntoIterator<Item = impl Into<Nlri>>,
    negotiated: Negotiated,
    buf: &mut BytesMut,
) -> Result<usize, EncodeError> {
    let start = buf.len();
    let written = try_announce(attributes, next_hop, prefixes, negotiated, buf);
    if written.is_err() {
        buf.truncate(start);
    }
    written
}

fn try_announce(
    attributes: &Attributes,
    next_hop: NextHop,
    prefixes: impl IntoIterator<Item = impl Into<Nlri>>,
    negotiated: Negotiated,
    buf: &mut BytesMut,
) -> Result<usize, EncodeError> {
    let mut prefixes = prefixes.into_iter().map(Into::into).peekable();
    let Some(Nlri { prefix: first, .. }) = prefixes.peek().copied() else { return Ok(0) };
    let family = first.family();
    let add_path = negotiated.add_path_send.contains(family);
    let carrier = Carrier::of(family, next_hop, negotiated)
        .ok_or(EncodeError::NextHopFamily { prefix: first, next_hop: next_hop.address })?;
    let mut shared = BytesMut::new();
    write_attributes(attributes, &carrier, negotiated, &mut shared);

    let fixed = EMPTY_LEN + shared.len() + carrier.overhead();
    let mut messages = 0;
    let mut pending = BytesMut::new();
    for nlri in prefixes {
        let prefix = nlri.prefix;
        if prefix.family() != family {
            return Err(EncodeError::MixedFamilies { prefix, family });
        }
        let len = nlri::encoded_len(nlri, add_path);
        if fixed + len > negotiated.max_len() {
            return Err(EncodeError::AttributesTooLong {
                len: shared.len(),
                prefix,
                max: negotiated.max_len(),
            });
        }
        if fixed + pending.len() + len > negotiated.max_len() {
            carrier.write(&shared, &pending, buf);
            messages += 1;
            pending.clear();
        }
        nlri::encode(nlri, add_path, &mut pending);
    }
    carrier.write(&shared, &pending, buf);
    Ok(messages + 1)
}

/// Appends UPDATEs that withdraw `prefixes` of either family, and returns how many messages that took: IPv4 in the
/// withdrawn routes field, IPv6 in MP_UNREACH_NLRI.
pub fn withdraw(
    prefixes: impl IntoIterator<Item = impl Into<Nlri>>,
    negotiated: Negotiated,
    buf: &mut BytesMut,
) -> usize {
    let (ipv4, ipv6): (Vec<Nlri>, Vec<Nlri>) =
        prefixes.into_iter().map(Into::into).partition(|nlri| nlri.prefix.family() == Family::Ipv4);
    let mut messages = 0;
    for (family, prefixes, overhead, write) in [
        (Family::Ipv4, ipv4, EMPTY_LEN, write_withdrawn as fn(&[u8], &mut BytesMut)),
        (Family::Ipv6, ipv6, EMPTY_LEN + ATTRIBUTE_HEADER_LEN + 3, |nlri, buf| {
            write_unreach(Family::Ipv6, nlri, buf);
        }),
    ] {
        let add_path = negotiated.add_path_send.contains(family);
        let mut pending = BytesMut::new();
        for nlri in prefixes {
            if overhead + pending.len() + nlri::encoded_len(nlri, add_path) > negotiated.max_len() {
                write(&pending, buf);
                messages += 1;
                pending.clear();
            }
            nlri::encode(nlri, add_path, &mut pending);
        }
        if !pending.is_empty() {
            write(&pending, buf);
            messages += 1;
        }
    }
    messages
}

/// Appends the End-of-RIB mark of `family` (RFC 4724 §2).
pub fn end_of_rib(family: Family, buf: &mut BytesMut) {
    match family {
        Family::Ipv4 => write_withdrawn(&[], buf),
        Family::Ipv6 => write_unreach(family, &[], buf),
    }
}

impl Update {
    pub(crate) fn encode(&self, negotiated: Negotiated, buf: &mut BytesMut) -> Result<(), EncodeError> {
        let start = buf.len();
        withdraw(self.withdrawn.iter().copied(), negotiated, buf);
        for reach in &self.reach {
            announce(&self.attributes, reach.next_hop, reach.nlri.iter().copied(), negotiated, buf)
                .inspect_err(|_| buf.truncate(start))?;
        }
        if let Some(family) = self.end_of_rib {
            end_of_rib(family, buf);
        }
        Ok(())
    }
}

/// Where in the message next hop and prefixes go.
enum Carrier {
    /// NEXT_HOP and the NLRI field.
    Classic([u8; 4]),
    /// MP_REACH_NLRI; what stands in it before the prefixes.
    Multiprotocol(BytesMut),
}

impl Carrier {
    fn of(family: Family, next_hop: NextHop, negotiated: Negotiated) -> Option<Self> {
        match (family, next_hop.address) {
            (Family::Ipv4, IpAddr::V4(address)) => Some(Self::Classic(address.octets())),
            (Family::Ipv6, IpAddr::V4(_)) => None,
            (Family::Ipv4, IpAddr::V6(_)) if !negotiated.extended_next_hop => None,
            (_, IpAddr::V6(address)) => {
                let mut head = BytesMut::new();
                head.put_slice(&afi_safi(family));
                head.put_u8(if next_hop.link_local.is_some() { 32 } else { 16 });
                head.put_slice(&address.octets());
                if let Some(link_local) = next_hop.link_local {
                    head.put_slice(&link_local.octets());
                }
                head.put_u8(0);
                Some(Self::Multiprotocol(head))
            }
        }
    }

    /// Octets it takes beside the prefixes and the shared attributes.
    fn overhead(&self) -> usize {
        match self {
            Self::Classic(_) => 0,
            Self::Multiprotocol(head) => ATTRIBUTE_HEADER_LEN + head.len(),
        }
    }

    fn write(&self, shared: &[u8], nlri: &[u8], buf: &mut BytesMut) {
        let mut attributes = BytesMut::new();
        if let Self::Multiprotocol(head) = self {
            write_attribute(OPTIONAL, code::MP_REACH, &[head, nlri].concat(), &mut attributes);
        }
        attributes.put_slice(shared);
        write_message(buf, MessageType::Update, |buf| {
            buf.put_u16(0);
            buf.put_u16(attributes.len() as u16);
            buf.put_slice(&attributes);
            if let Self::Classic(_) = self {
                buf.put_slice(nlri);
            }
        });
    }
}

fn write_withdrawn(nlri: &[u8], buf: &mut BytesMut) {
    write_message(buf, MessageType::Update, |buf| {
        buf.put_u16(nlri.len() as u16);
        buf.put_slice(nlri);
        buf.put_u16(0);
    });
}

fn write_unreach(family: Family, nlri: &[u8], buf: &mut BytesMut) {
    let mut attribute = BytesMut::new();
    write_attribute(OPTIONAL, code::MP_UNREACH, &[&afi_safi(family), nlri].concat(), &mut attribute);
    write_message(buf, MessageType::Update, |buf| {
        buf.put_u16(0);
        buf.put_u16(attribute.len() as u16);
        buf.put_slice(&attribute);
    });
}

fn afi_safi(family: Family) -> [u8; 3] {
    let AfiSafi { afi, safi } = family.into();
    let [high, low] = afi.to_be_bytes();
    [high, low, safi]
}

/// The attributes that do not depend on the prefixes, in ascending order of their codes.
fn write_attributes(attributes: &Attributes, carrier: &Carrier, negotiated: Negotiated, buf: &mut BytesMut) {
    let internal = negotiated.peer == PeerKind::Internal;
    let wide = negotiated.four_octet_as;

    write_attribute(WELL_KNOWN, code::ORIGIN, &[attributes.origin as u8], buf);
    write_attribute(WELL_KNOWN, code::AS_PATH, &as_path(&attributes.as_path, wide), buf);
    if let Carrier::Classic(next_hop) = carrier {
        write_attribute(WELL_KNOWN, code::NEXT_HOP, next_hop, buf);
    }
    if let Some(med) = attributes.med {
        write_attribute(OPTIONAL, code::MED, &med.to_be_bytes(), buf);
    }
    if let Some(local_pref) = attributes.local_pref.filter(|_| internal) {
        write_attribute(WELL_KNOWN, code::LOCAL_PREF, &local_pref.to_be_bytes(), buf);
    }
    if attributes.atomic_aggregate {
        write_attribute(WELL_KNOWN, code::ATOMIC_AGGREGATE, &[], buf);
    }
    let aggregator = |wide| {
        attributes.rare.aggregator.map(|by| {
            let mut value = BytesMut::new();
            put_asn(by.asn, wide, &mut value);
            value.put_slice(&by.router_id.octets());
            value
        })
    };
    if let Some(value) = aggregator(wide) {
        write_attribute(OPTIONAL_TRANSITIVE, code::AGGREGATOR, &value, buf);
    }
    write_list(
        OPTIONAL_TRANSITIVE,
        code::COMMUNITIES,
        attributes.communities.iter().map(|c| c.0.to_be_bytes()),
        buf,
    );
    if let Some(originator) = attributes.rare.originator_id.filter(|_| internal) {
        write_attribute(OPTIONAL, code::ORIGINATOR_ID, &originator.octets(), buf);
    }
    if internal {
        write_list(
            OPTIONAL,
            code::CLUSTER_LIST,
            attributes.rare.cluster_list.iter().map(Ipv4Addr::octets),
            buf,
        );
    }
    let extended = attributes.rare.extended_communities.iter().copied();
    write_list(OPTIONAL_TRANSITIVE, code::EXTENDED_COMMUNITIES, extended, buf);
    let fits = |asn: Asn| u16::try_from(asn.0).is_ok();
    if !wide && !attributes.as_path.asns().all(fits) {
        write_attribute(OPTIONAL_TRANSITIVE, code::AS4_PATH, &as_path(&attributes.as_path, true), buf);
    }
    if let Some(value) =
        aggregator(true).filter(|_| !wide && !attributes.rare.aggregator.is_none_or(|by| fits(by.asn)))
    {
        write_attribute(OPTIONAL_TRANSITIVE, code::AS4_AGGREGATOR, &value, buf);
    }
    let large = attributes.large_communities.iter();
    let large =
        large.map(|c| [c.global.to_be_bytes(), c.local_1.to_be_bytes(), c.local_2.to_be_bytes()].concat());
    write_list(OPTIONAL_TRANSITIVE, code::LARGE_COMMUNITIES, large, buf);
    if let Some(asn) = attributes.only_to_customer {
        write_attribute(OPTIONAL_TRANSITIVE, code::ONLY_TO_CUSTOMER, &asn.0.to_be_bytes(), buf);
    }
    for raw in &attributes.rare.unknown {
        write_attribute(OPTIONAL_TRANSITIVE | flag::PARTIAL, raw.code, &raw.value, buf);
    }
}

/// An attribute that is left out when it would be empty.
fn write_list(flags: u8, code: u8, items: impl Iterator<Item = impl AsRef<[u8]>>, buf: &mut BytesMut) {
    let mut value = BytesMut::new();
    for item in items {
        value.put_slice(item.as_ref());
    }
    if !value.is_empty() {
        write_attribute(flags, code, &value, buf);
    }
}

/// A value beyond 65535 octets leaves no room in any message, which the caller notices by the length of the whole.
fn write_attribute(flags: u8, code: u8, value: &[u8], buf: &mut BytesMut) {
    let flags = flags & !flag::EXTENDED_LENGTH;
    if let Ok(length) = u8::try_from(value.len()) {
        buf.put_slice(&[flags, code, length]);
    } else {
        buf.put_slice(&[flags | flag::EXTENDED_LENGTH, code]);
        buf.put_u16(value.len() as u16);
    }
    buf.put_slice(value);
}

fn as_path(path: &AsPath, wide: bool) -> BytesMut {
    let mut value = BytesMut::new();
    for segment in path.segments() {
        for asns in segment.asns.chunks(MAX_SEGMENT) {
            value.put_slice(&[segment.kind as u8, asns.len() as u8]);
            for asn in asns {
                put_asn(*asn, wide, &mut value);
            }
        }
    }
    value
}

fn put_asn(asn: Asn, wide: bool, buf: &mut BytesMut) {
    if wide { buf.put_u32(asn.0) } else { buf.put_u16(asn.two_octets()) }
}
