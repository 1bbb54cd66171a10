//! Writing UPDATEs: as few messages as hold the prefixes, each with one kind of content (RFC 7606 §5.1).
//!
//! Everything is written where it stays; lengths are filled in behind.
//!
//! ```text
//!  with the NLRI field   │ header │ 0 │ length │ attributes                          │ prefixes … │
//!  with MP_REACH_NLRI    │ header │ 0 │ length │ MP_REACH: … prefixes … │ attributes │
//!                                              └── announce: attributes once, prefixes by pack()
//! ```

use std::{
    borrow::Borrow,
    net::{IpAddr, Ipv4Addr},
};

use bytes::{BufMut, BytesMut};
use proxima_types::{Asn, Family};

use super::{
    AsPath, Attributes, NextHop, Nlri, Update,
    attributes::{code, flag, without_repetitions},
    nlri,
};
use crate::{
    AfiSafi, EncodeError, HEADER_LEN, MessageType, Negotiated, PeerKind,
    header::{begin_message, end_message},
};

/// Octets of an UPDATE without withdrawn routes, attributes and NLRI.
const EMPTY_LEN: usize = HEADER_LEN + 4;
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
    match (family, next_hop.address) {
        (Family::Ipv4, IpAddr::V4(next_hop)) => {
            announce_classic(attributes, next_hop, prefixes, negotiated, buf)
        }
        (_, IpAddr::V6(_)) if family == Family::Ipv6 || negotiated.extended_next_hop_send => {
            announce_multiprotocol(attributes, (family, next_hop), prefixes, negotiated, buf)
        }
        (_, next_hop) => Err(EncodeError::NextHopFamily { prefix: first, next_hop }),
    }
}

/// With NEXT_HOP and the NLRI field. The attributes are written into the first message and copied from there.
fn announce_classic(
    attributes: &Attributes,
    next_hop: Ipv4Addr,
    prefixes: impl Iterator<Item = Nlri>,
    negotiated: Negotiated,
    buf: &mut BytesMut,
) -> Result<usize, EncodeError> {
    let mut shared = None;
    let begin = |buf: &mut BytesMut| {
        buf.put_slice(&[0; 4]);
        let at = buf.len();
        match &shared {
            None => {
                write_attributes(attributes, Some(next_hop), negotiated, buf);
                shared = Some(at..buf.len());
            }
            Some(first) => {
                let copy = buf[first.clone()].to_vec();
                buf.put_slice(&copy);
            }
        }
        let length = (buf.len() - at) as u16;
        buf[at - 2..at].copy_from_slice(&length.to_be_bytes());
    };
    let limits = Limits { family: Family::Ipv4, behind: 0, negotiated };
    pack(prefixes, limits, buf, begin, |_, _| {})
}

/// With MP_REACH_NLRI, which comes first (RFC 7606 §5.1).
fn announce_multiprotocol(
    attributes: &Attributes,
    (family, next_hop): (Family, NextHop),
    prefixes: impl Iterator<Item = Nlri>,
    negotiated: Negotiated,
    buf: &mut BytesMut,
) -> Result<usize, EncodeError> {
    let mut shared = BytesMut::with_capacity(256);
    write_attributes(attributes, None, negotiated, &mut shared);
    let begin = |buf: &mut BytesMut| {
        let [afi_high, afi_low, safi] = afi_safi(family);
        let next_hop_len = if next_hop.link_local.is_some() { 32 } else { 16 };
        buf.put_slice(&[0, 0, 0, 0, OPTIONAL, code::MP_REACH, 0, afi_high, afi_low, safi, next_hop_len]);
        if let IpAddr::V6(address) = next_hop.address {
            buf.put_slice(&address.octets());
        }
        if let Some(link_local) = next_hop.link_local {
            buf.put_slice(&link_local.octets());
        }
        buf.put_u8(0);
    };
    let end = |buf: &mut BytesMut, body: usize| {
        close_attribute(buf, body + 4);
        buf.put_slice(&shared);
        let length = (buf.len() - body - 4) as u16;
        buf[body + 2..body + 4].copy_from_slice(&length.to_be_bytes());
    };
    // One octet more in case the attribute's length takes two.
    let limits = Limits { family, behind: shared.len() + 1, negotiated };
    pack(prefixes, limits, buf, begin, end)
}

/// What messages are packed with, and how far.
#[derive(Clone, Copy)]
struct Limits {
    family: Family,
    /// Octets that come behind the prefixes.
    behind: usize,
    negotiated: Negotiated,
}

/// Writes messages of as many prefixes as fit: `begin` writes what stands in a body before them, `end` what stands
/// behind them and the lengths that are only known then; it is told where the body begins.
fn pack(
    prefixes: impl Iterator<Item: Borrow<Nlri>>,
    Limits { family, behind, negotiated }: Limits,
    buf: &mut BytesMut,
    mut begin: impl FnMut(&mut BytesMut),
    end: impl Fn(&mut BytesMut, usize),
) -> Result<usize, EncodeError> {
    let add_path = negotiated.add_path_send.contains(family);
    let room = negotiated.max_len_send().saturating_sub(behind);
    let mut start = begin_message(buf, MessageType::Update);
    begin(buf);
    let mut empty = buf.len();
    let mut messages = 1;
    for nlri in prefixes {
        let nlri = nlri.borrow();
        if nlri.prefix.family() != family {
            return Err(EncodeError::MixedFamilies { prefix: nlri.prefix, family });
        }
        let len = nlri::encoded_len(nlri, add_path);
        if empty - start + len > room {
            let len = empty + behind - start - EMPTY_LEN;
            return Err(EncodeError::AttributesTooLong {
                len,
                prefix: nlri.prefix,
                max: negotiated.max_len_send(),
            });
        }
        if buf.len() - start + len > room {
            end(buf, start + HEADER_LEN);
            end_message(buf, start);
            start = begin_message(buf, MessageType::Update);
            begin(buf);
            empty = buf.len();
            messages += 1;
        }
        nlri::encode(nlri, add_path, buf);
    }
    end(buf, start + HEADER_LEN);
    end_message(buf, start);
    Ok(messages)
}

/// Appends UPDATEs that withdraw `prefixes` of either family, and returns how many messages that took: IPv4 in the
/// withdrawn routes field, IPv6 in MP_UNREACH_NLRI.
pub fn withdraw(
    prefixes: impl IntoIterator<Item = impl Into<Nlri>>,
    negotiated: Negotiated,
    buf: &mut BytesMut,
) -> usize {
    let mut ipv6: Vec<Nlri> = Vec::new();
    let ipv4 = prefixes.into_iter().map(Into::into).filter(|nlri| {
        let wanted = nlri.prefix.family() == Family::Ipv4;
        if !wanted {
            ipv6.push(*nlri);
        }
        wanted
    });
    withdraw_family(Family::Ipv4, ipv4, negotiated, buf)
        + withdraw_family(Family::Ipv6, ipv6.into_iter(), negotiated, buf)
}

fn withdraw_family(
    family: Family,
    withdrawn: impl Iterator<Item: Borrow<Nlri>>,
    negotiated: Negotiated,
    buf: &mut BytesMut,
) -> usize {
    let mut withdrawn = withdrawn.peekable();
    if withdrawn.peek().is_none() {
        return 0;
    }
    let begin = |buf: &mut BytesMut| begin_withdrawal(family, buf);
    let end = |buf: &mut BytesMut, body| end_withdrawal(family, buf, body);
    // Behind IPv4 comes the length of no attributes; an attribute's length may take an octet more.
    let behind = if family == Family::Ipv4 { 2 } else { 1 };
    pack(withdrawn, Limits { family, behind, negotiated }, buf, begin, end)
        .expect("one family, and a prefix fits any message")
}

fn begin_withdrawal(family: Family, buf: &mut BytesMut) {
    match family {
        Family::Ipv4 => buf.put_u16(0),
        Family::Ipv6 => {
            buf.put_slice(&[0, 0, 0, 0, OPTIONAL, code::MP_UNREACH, 0]);
            buf.put_slice(&afi_safi(family));
        }
    }
}

fn end_withdrawal(family: Family, buf: &mut BytesMut, body: usize) {
    let lengths_at = match family {
        Family::Ipv4 => body,
        Family::Ipv6 => {
            close_attribute(buf, body + 4);
            body + 2
        }
    };
    let length = (buf.len() - lengths_at - 2) as u16;
    buf[lengths_at..lengths_at + 2].copy_from_slice(&length.to_be_bytes());
    if family == Family::Ipv4 {
        buf.put_u16(0);
    }
}

/// Appends the End-of-RIB mark of `family` (RFC 4724 §2).
pub fn end_of_rib(family: Family, buf: &mut BytesMut) {
    let start = begin_message(buf, MessageType::Update);
    begin_withdrawal(family, buf);
    end_withdrawal(family, buf, start + HEADER_LEN);
    end_message(buf, start);
}

impl Update {
    pub(crate) fn encode(&self, negotiated: Negotiated, buf: &mut BytesMut) -> Result<(), EncodeError> {
        let start = buf.len();
        // Nearly all messages withdraw nothing, or of one family: the list is not walked for nothing.
        let mut left = self.withdrawn.len();
        for family in Family::ALL {
            if left == 0 {
                break;
            }
            let of_family = self.withdrawn.iter().filter(|nlri| {
                let is_of_family = nlri.prefix.family() == family;
                left -= usize::from(is_of_family);
                is_of_family
            });
            withdraw_family(family, of_family, negotiated, buf);
        }
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

fn afi_safi(family: Family) -> [u8; 3] {
    let AfiSafi { afi, safi } = family.into();
    let [high, low] = afi.to_be_bytes();
    [high, low, safi]
}

/// Sets the length of the attribute at `at`, which has one octet for it and is the last in `buf`. A second octet is
/// made room for where it takes one.
fn close_attribute(buf: &mut BytesMut, at: usize) {
    let value = at + 3;
    let length = buf.len() - value;
    if let Ok(length) = u8::try_from(length) {
        buf[at + 2] = length;
        return;
    }
    buf.put_u8(0);
    buf.copy_within(value..value + length, value + 1);
    buf[at] |= flag::EXTENDED_LENGTH;
    buf[at + 2..at + 4].copy_from_slice(&(length as u16).to_be_bytes());
}

/// The attributes that do not depend on the prefixes, in ascending order of their codes; behind them those that are passed on as they
/// came.
fn write_attributes(
    attributes: &Attributes,
    next_hop: Option<Ipv4Addr>,
    negotiated: Negotiated,
    buf: &mut BytesMut,
) {
    let internal = negotiated.peer == PeerKind::Internal;
    let wide = negotiated.four_octet_as;
    let rare = &*attributes.rare;

    write_attribute(WELL_KNOWN, code::ORIGIN, &[attributes.origin as u8], buf);
    write_as_path(WELL_KNOWN, code::AS_PATH, &attributes.as_path, wide, buf);
    if let Some(next_hop) = next_hop {
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
        buf.put_slice(&by.router_id.octets());
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
    let distinct = without_repetitions(&attributes.large_communities);
    let large = distinct.as_ref().unwrap_or(&attributes.large_communities);
    write_list(OPTIONAL_TRANSITIVE, code::LARGE_COMMUNITIES, large.iter().map(|c| c.octets()), buf);
    if let Some(asn) = attributes.only_to_customer {
        write_attribute(OPTIONAL_TRANSITIVE, code::ONLY_TO_CUSTOMER, &asn.0.to_be_bytes(), buf);
    }
    for raw in &rare.unknown {
        write_attribute(OPTIONAL_TRANSITIVE | raw.flags & flag::PARTIAL, raw.code, &raw.value, buf);
    }
}

/// What a two-octet peer can't tell from AS_PATH and AGGREGATOR (RFC 6793 §4.2.2).
fn write_as4(attributes: &Attributes, buf: &mut BytesMut) {
    let fits = |asn: Asn| u16::try_from(asn.0).is_ok();
    if !attributes.as_path.asns().all(fits) {
        write_as_path(OPTIONAL_TRANSITIVE, code::AS4_PATH, &attributes.as_path, true, buf);
    }
    if let Some(by) = attributes.rare.aggregator.filter(|by| !fits(by.asn)) {
        write_attribute_header(OPTIONAL_TRANSITIVE, code::AS4_AGGREGATOR, 8, buf);
        put_asn(by.asn, true, buf);
        buf.put_slice(&by.router_id.octets());
    }
}

/// An attribute of items of one size that is left out when it would be empty.
fn write_list<const N: usize>(
    flags: u8,
    code: u8,
    items: impl ExactSizeIterator<Item = [u8; N]>,
    buf: &mut BytesMut,
) {
    if items.len() > 0 {
        write_attribute_header(flags, code, items.len() * N, buf);
        put_all(items, buf);
    }
}

fn write_attribute(flags: u8, code: u8, value: &[u8], buf: &mut BytesMut) {
    write_attribute_header(flags, code, value.len(), buf);
    buf.put_slice(value);
}

/// A value beyond 65535 octets leaves no room in any message, which the caller notices by the length of the whole.
fn write_attribute_header(flags: u8, code: u8, length: usize, buf: &mut BytesMut) {
    let flags = flags & !flag::EXTENDED_LENGTH;
    if let Ok(length) = u8::try_from(length) {
        buf.put_slice(&[flags, code, length]);
    } else {
        let [high, low] = (length as u16).to_be_bytes();
        buf.put_slice(&[flags | flag::EXTENDED_LENGTH, code, high, low]);
    }
}

fn write_as_path(flags: u8, code: u8, path: &AsPath, wide: bool, buf: &mut BytesMut) {
    let width = if wide { 4 } else { 2 };
    let length = path
        .segments()
        .map(|segment| 2 * segment.asns.len().div_ceil(MAX_SEGMENT) + width * segment.asns.len());
    write_attribute_header(flags, code, length.sum(), buf);
    for segment in path.segments() {
        for asns in segment.asns.chunks(MAX_SEGMENT) {
            buf.put_slice(&[segment.kind as u8, asns.len() as u8]);
            if wide {
                put_all(asns.iter().map(|asn| asn.0.to_be_bytes()), buf);
            } else {
                put_all(asns.iter().map(|asn| asn.two_octets().to_be_bytes()), buf);
            }
        }
    }
}

/// Appends items of one size, the room for all made at once.
fn put_all<const N: usize>(items: impl ExactSizeIterator<Item = [u8; N]>, buf: &mut BytesMut) {
    let at = buf.len();
    buf.resize(at + items.len() * N, 0);
    for (octets, item) in buf[at..].as_chunks_mut().0.iter_mut().zip(items) {
        *octets = item;
    }
}

fn put_asn(asn: Asn, wide: bool, buf: &mut BytesMut) {
    if wide { buf.put_u32(asn.0) } else { buf.put_u16(asn.two_octets()) }
}
