//! Writing UPDATEs: as few messages as hold the prefixes, each with one kind of content (RFC 7606 §5.1).
//!
//! ```text
//!  attributes ──once──▶ shared ─┐
//!  prefixes ──as many as fit──▶ nlri ─┴▶ message, message, …
//!
//!  NEXT_HOP and NLRI field:  │ 0 │ attributes: shared                │ nlri │
//!  MP_REACH_NLRI:            │ 0 │ attributes: MP_REACH(nlri), shared │
//! ```

use std::net::{IpAddr, Ipv4Addr};

use bytes::{BufMut, BytesMut};
use proxima_types::{Asn, Family};

use super::{
    AsPath, Attributes, LargeCommunity, NextHop, Nlri, Update,
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
    let mut shared = Vec::with_capacity(256);
    write_attributes(attributes, carrier, negotiated, &mut shared);

    let fixed = EMPTY_LEN + shared.len() + carrier.overhead();
    let mut messages = 0;
    let mut pending = Vec::with_capacity(64);
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
    withdraw_family(Family::Ipv4, &ipv4, negotiated, buf)
        + withdraw_family(Family::Ipv6, &ipv6, negotiated, buf)
}

fn withdraw_family(family: Family, withdrawn: &[Nlri], negotiated: Negotiated, buf: &mut BytesMut) -> usize {
    let overhead = match family {
        Family::Ipv4 => EMPTY_LEN,
        Family::Ipv6 => EMPTY_LEN + ATTRIBUTE_HEADER_LEN + 3,
    };
    let write = |nlri: &[u8], buf: &mut BytesMut| match family {
        Family::Ipv4 => write_withdrawn(nlri, buf),
        Family::Ipv6 => write_unreach(family, nlri, buf),
    };
    let add_path = negotiated.add_path_send.contains(family);
    let mut messages = 0;
    let mut pending = Vec::new();
    for nlri in withdrawn {
        if overhead + pending.len() + nlri::encoded_len(*nlri, add_path) > negotiated.max_len() {
            write(&pending, buf);
            messages += 1;
            pending.clear();
        }
        nlri::encode(*nlri, add_path, &mut pending);
    }
    if !pending.is_empty() {
        write(&pending, buf);
        messages += 1;
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
#[derive(Clone, Copy)]
enum Carrier {
    /// NEXT_HOP and the NLRI field.
    Classic(Ipv4Addr),
    /// MP_REACH_NLRI; its family and next hop.
    Multiprotocol(Family, NextHop),
}

impl Carrier {
    fn of(family: Family, next_hop: NextHop, negotiated: Negotiated) -> Option<Self> {
        match (family, next_hop.address) {
            (Family::Ipv4, IpAddr::V4(address)) => Some(Self::Classic(address)),
            (Family::Ipv6, IpAddr::V4(_)) => None,
            (Family::Ipv4, IpAddr::V6(_)) if !negotiated.extended_next_hop => None,
            (_, IpAddr::V6(_)) => Some(Self::Multiprotocol(family, next_hop)),
        }
    }

    /// Octets it takes at most beside the prefixes and the shared attributes.
    fn overhead(self) -> usize {
        match self {
            Self::Classic(_) => 0,
            Self::Multiprotocol(_, next_hop) => ATTRIBUTE_HEADER_LEN + Self::reach_head_len(next_hop),
        }
    }

    /// AFI, SAFI, the next hop with its length, and a reserved octet.
    fn reach_head_len(next_hop: NextHop) -> usize {
        3 + 1 + next_hop_len(next_hop) + 1
    }

    fn write(self, shared: &[u8], nlri: &[u8], buf: &mut BytesMut) {
        buf.reserve(EMPTY_LEN + shared.len() + self.overhead() + nlri.len());
        write_message(buf, MessageType::Update, |buf| {
            buf.put_u16(0);
            match self {
                Self::Classic(_) => {
                    buf.put_u16(shared.len() as u16);
                    buf.put_slice(shared);
                    buf.put_slice(nlri);
                }
                Self::Multiprotocol(family, next_hop) => {
                    let value = Self::reach_head_len(next_hop) + nlri.len();
                    buf.put_u16((attribute_header_len(value) + value + shared.len()) as u16);
                    write_attribute_header(OPTIONAL, code::MP_REACH, value, buf);
                    buf.put_slice(&afi_safi(family));
                    buf.put_u8(next_hop_len(next_hop) as u8);
                    if let IpAddr::V6(address) = next_hop.address {
                        buf.put_slice(&address.octets());
                    }
                    if let Some(link_local) = next_hop.link_local {
                        buf.put_slice(&link_local.octets());
                    }
                    buf.put_u8(0);
                    buf.put_slice(nlri);
                    buf.put_slice(shared);
                }
            }
        });
    }
}

/// Octets of an IPv6 next hop.
fn next_hop_len(next_hop: NextHop) -> usize {
    if next_hop.link_local.is_some() { 32 } else { 16 }
}

fn write_withdrawn(nlri: &[u8], buf: &mut BytesMut) {
    write_message(buf, MessageType::Update, |buf| {
        buf.put_u16(nlri.len() as u16);
        buf.put_slice(nlri);
        buf.put_u16(0);
    });
}

fn write_unreach(family: Family, nlri: &[u8], buf: &mut BytesMut) {
    let value = 3 + nlri.len();
    write_message(buf, MessageType::Update, |buf| {
        buf.put_u16(0);
        buf.put_u16((attribute_header_len(value) + value) as u16);
        write_attribute_header(OPTIONAL, code::MP_UNREACH, value, buf);
        buf.put_slice(&afi_safi(family));
        buf.put_slice(nlri);
    });
}

fn afi_safi(family: Family) -> [u8; 3] {
    let AfiSafi { afi, safi } = family.into();
    let [high, low] = afi.to_be_bytes();
    [high, low, safi]
}

/// The attributes that do not depend on the prefixes, in ascending order of their codes.
fn write_attributes(attributes: &Attributes, carrier: Carrier, negotiated: Negotiated, buf: &mut Vec<u8>) {
    let internal = negotiated.peer == PeerKind::Internal;
    let wide = negotiated.four_octet_as;
    let rare = &*attributes.rare;

    write_attribute(WELL_KNOWN, code::ORIGIN, &[attributes.origin as u8], buf);
    write_as_path(WELL_KNOWN, code::AS_PATH, &attributes.as_path, wide, buf);
    if let Carrier::Classic(next_hop) = carrier {
        write_attribute(WELL_KNOWN, code::NEXT_HOP, &next_hop.octets(), buf);
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
    if let Some(by) = rare.aggregator {
        write_attribute_header(OPTIONAL_TRANSITIVE, code::AGGREGATOR, if wide { 8 } else { 6 }, buf);
        put_asn(by.asn, wide, buf);
        buf.extend(by.router_id.octets());
    }
    let communities = attributes.communities.iter().map(|community| community.0.to_be_bytes());
    write_list(OPTIONAL_TRANSITIVE, code::COMMUNITIES, communities, buf);
    if internal {
        if let Some(originator) = rare.originator_id {
            write_attribute(OPTIONAL, code::ORIGINATOR_ID, &originator.octets(), buf);
        }
        write_list(OPTIONAL, code::CLUSTER_LIST, rare.cluster_list.iter().map(Ipv4Addr::octets), buf);
    }
    let extended = rare.extended_communities.iter().copied();
    write_list(OPTIONAL_TRANSITIVE, code::EXTENDED_COMMUNITIES, extended, buf);
    if !wide {
        write_as4(attributes, buf);
    }
    let large = LargeCommunity::distinct(attributes.large_communities.clone());
    write_list(OPTIONAL_TRANSITIVE, code::LARGE_COMMUNITIES, large.iter().map(|c| c.octets()), buf);
    if let Some(asn) = attributes.only_to_customer {
        write_attribute(OPTIONAL_TRANSITIVE, code::ONLY_TO_CUSTOMER, &asn.0.to_be_bytes(), buf);
    }
    for raw in &rare.unknown {
        write_attribute(OPTIONAL_TRANSITIVE | flag::PARTIAL, raw.code, &raw.value, buf);
    }
}

/// What a two-octet peer can't tell from AS_PATH and AGGREGATOR (RFC 6793 §4.2.2).
fn write_as4(attributes: &Attributes, buf: &mut Vec<u8>) {
    let fits = |asn: Asn| u16::try_from(asn.0).is_ok();
    if !attributes.as_path.asns().all(fits) {
        write_as_path(OPTIONAL_TRANSITIVE, code::AS4_PATH, &attributes.as_path, true, buf);
    }
    if let Some(by) = attributes.rare.aggregator.filter(|by| !fits(by.asn)) {
        write_attribute_header(OPTIONAL_TRANSITIVE, code::AS4_AGGREGATOR, 8, buf);
        put_asn(by.asn, true, buf);
        buf.extend(by.router_id.octets());
    }
}

/// An attribute of items of one size that is left out when it would be empty.
fn write_list<const N: usize>(
    flags: u8,
    code: u8,
    items: impl ExactSizeIterator<Item = [u8; N]>,
    buf: &mut Vec<u8>,
) {
    if items.len() > 0 {
        write_attribute_header(flags, code, items.len() * N, buf);
        items.for_each(|item| buf.extend_from_slice(&item));
    }
}

fn write_attribute(flags: u8, code: u8, value: &[u8], buf: &mut Vec<u8>) {
    write_attribute_header(flags, code, value.len(), buf);
    buf.extend_from_slice(value);
}

/// A value beyond 65535 octets leaves no room in any message, which the caller notices by the length of the whole.
fn write_attribute_header(flags: u8, code: u8, length: usize, buf: &mut impl BufMut) {
    let flags = flags & !flag::EXTENDED_LENGTH;
    if let Ok(length) = u8::try_from(length) {
        buf.put_slice(&[flags, code, length]);
    } else {
        let [high, low] = (length as u16).to_be_bytes();
        buf.put_slice(&[flags | flag::EXTENDED_LENGTH, code, high, low]);
    }
}

/// Octets of what [`write_attribute_header`] writes.
fn attribute_header_len(length: usize) -> usize {
    if u8::try_from(length).is_ok() { 3 } else { 4 }
}

fn write_as_path(flags: u8, code: u8, path: &AsPath, wide: bool, buf: &mut Vec<u8>) {
    let width = if wide { 4 } else { 2 };
    let length = path
        .segments()
        .map(|segment| 2 * segment.asns.len().div_ceil(MAX_SEGMENT) + width * segment.asns.len());
    write_attribute_header(flags, code, length.sum(), buf);
    for segment in path.segments() {
        for asns in segment.asns.chunks(MAX_SEGMENT) {
            buf.extend([segment.kind as u8, asns.len() as u8]);
            for asn in asns {
                put_asn(*asn, wide, buf);
            }
        }
    }
}

fn put_asn(asn: Asn, wide: bool, buf: &mut Vec<u8>) {
    if wide {
        buf.extend_from_slice(&asn.0.to_be_bytes());
    } else {
        buf.extend_from_slice(&asn.two_octets().to_be_bytes());
    }
}
