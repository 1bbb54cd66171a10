//! The value of a path attribute in words. Lenient: a value that a session refuses is still shown if it can be read.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use proxima_types::{Asn, Community, LargeCommunity};

use super::octets;
use crate::{
    AfiSafi, Negotiated, NextHop, Nlri,
    reader::Reader,
    update::{self, code},
};

/// The value of attribute `attribute`; `None` if it is not shaped as such a value, or means nothing to us.
pub(super) fn text(attribute: u8, value: &[u8], negotiated: Negotiated) -> Option<String> {
    let wide = negotiated.four_octet_as;
    match attribute {
        code::ORIGIN => origin(value),
        code::AS_PATH => as_path(value, wide),
        code::AS4_PATH => as_path(value, true),
        code::NEXT_HOP | code::ORIGINATOR_ID => Some(ipv4(value)?.to_string()),
        code::MED | code::LOCAL_PREF => number(value),
        code::ONLY_TO_CUSTOMER => Some(format!("AS {}", number(value)?)),
        code::ATOMIC_AGGREGATE => value.is_empty().then(String::new),
        code::AGGREGATOR => aggregator(value, wide),
        code::AS4_AGGREGATOR => aggregator(value, true),
        code::COMMUNITIES => list(value, |octets| community(u32::from_be_bytes(octets))),
        code::EXTENDED_COMMUNITIES => list(value, extended_community),
        code::IPV6_EXTENDED_COMMUNITIES => list::<20>(value, |octets_| octets(&octets_)),
        code::LARGE_COMMUNITIES => list(value, |octets| LargeCommunity::from(octets).to_string()),
        code::CLUSTER_LIST => list(value, |octets| Ipv4Addr::from(octets).to_string()),
        code::MP_REACH => mp_reach(value, negotiated),
        code::MP_UNREACH => mp_unreach(value, negotiated),
        _ => None,
    }
}

fn origin(value: &[u8]) -> Option<String> {
    let &[octet] = value else { return None };
    Some(match octet {
        0 => "igp".to_owned(),
        1 => "egp".to_owned(),
        2 => "incomplete".to_owned(),
        other => format!("{other}, which is no origin"),
    })
}

/// Segments of confederations are shown too: `(64512 64513)`, `[64512,64513]` (RFC 5065 §3).
fn as_path(value: &[u8], wide: bool) -> Option<String> {
    let mut reader = Reader::new(value);
    let mut text = String::new();
    while !reader.is_empty() {
        let (open, between, close) = match reader.u8()? {
            1 => ("{", ",", "}"),
            2 => ("", " ", ""),
            3 => ("(", " ", ")"),
            4 => ("[", ",", "]"),
            _ => return None,
        };
        let count = reader.u8()?;
        text.push_str(if text.is_empty() { "" } else { " " });
        text.push_str(open);
        for index in 0..count {
            let asn = if wide { reader.u32()? } else { reader.u16()?.into() };
            text.push_str(if index == 0 { "" } else { between });
            write!(text, "{asn}").ok()?;
        }
        text.push_str(close);
    }
    Some(text)
}

fn ipv4(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

fn number(value: &[u8]) -> Option<String> {
    value.try_into().ok().map(|octets| u32::from_be_bytes(octets).to_string())
}

fn aggregator(value: &[u8], wide: bool) -> Option<String> {
    let mut reader = Reader::new(value);
    let asn = if wide { reader.u32()? } else { reader.u16()?.into() };
    Some(format!("AS {} {}", Asn(asn), ipv4(reader.rest())?))
}

fn list<const N: usize>(value: &[u8], item: impl Fn([u8; N]) -> String) -> Option<String> {
    let (items, []) = value.as_chunks() else { return None };
    Some(items.iter().map(|octets| item(*octets)).collect::<Vec<_>>().join(" "))
}

/// A community by number, and by name where IANA's registry has one.
fn community(value: u32) -> String {
    let name = match value {
        0xffff_0000 => "graceful-shutdown",
        0xffff_0001 => "accept-own",
        0xffff_0006 => "llgr-stale",
        0xffff_0007 => "no-llgr",
        0xffff_029a => "blackhole",
        0xffff_ff01 => "no-export",
        0xffff_ff02 => "no-advertise",
        0xffff_ff03 => "no-export-subconfed",
        0xffff_ff04 => "no-peer",
        _ => return Community(value).to_string(),
    };
    format!("{} ({name})", Community(value))
}

/// An extended community in words, such as `rt:65001:9`: route targets and origins in their three forms (RFC 4360 §3, §4, §5;
/// RFC 5668), others in hexadecimal.
pub fn extended_community(community: [u8; 8]) -> String {
    let [kind, subtype, value @ ..] = community;
    let name = match subtype {
        2 => "rt",
        3 => "ro",
        _ => return octets(&community),
    };
    // One of the two numbers has four octets: an AS or address in front, or what the AS chose behind.
    let number = u64::from_be_bytes([0, 0, value[0], value[1], value[2], value[3], value[4], value[5]]);
    let (front, behind) = ((number >> 16) as u32, number & 0xffff);
    match kind & !0x40 {
        0 => format!("{name}:{}:{}", number >> 32, number as u32),
        1 => format!("{name}:{}:{behind}", Ipv4Addr::from(front)),
        2 => format!("{name}:{front}:{behind}"),
        _ => octets(&community),
    }
}

fn mp_reach(value: &[u8], negotiated: Negotiated) -> Option<String> {
    let mut reader = Reader::new(value);
    let afi_safi = AfiSafi { afi: reader.u16()?, safi: reader.u8()? };
    let length = reader.u8()?;
    let next_hop = next_hop(reader.take(length.into())?);
    let _reserved = reader.u8()?;
    Some(format!("{afi_safi} via {next_hop}: {}", prefixes(reader.rest(), afi_safi, negotiated)?))
}

fn mp_unreach(value: &[u8], negotiated: Negotiated) -> Option<String> {
    let mut reader = Reader::new(value);
    let afi_safi = AfiSafi { afi: reader.u16()?, safi: reader.u8()? };
    Some(format!("{afi_safi}: {}", prefixes(reader.rest(), afi_safi, negotiated)?))
}

fn next_hop(value: &[u8]) -> String {
    if let Some(address) = ipv4(value) {
        return address.to_string();
    }
    match value.as_chunks::<16>() {
        ([address], []) => Ipv6Addr::from(*address).to_string(),
        ([address, second], []) => {
            NextHop { address: IpAddr::V6((*address).into()), link_local: Some((*second).into()) }.to_string()
        }
        _ => octets(value),
    }
}

fn prefixes(bytes: &[u8], afi_safi: AfiSafi, negotiated: Negotiated) -> Option<String> {
    let Some(family) = afi_safi.family() else { return Some(octets(bytes)) };
    let nlri = update::decode_nlri(bytes, family, negotiated.add_path_receive.contains(family))?;
    Some(match nlri.as_slice() {
        [] => "no prefixes".to_owned(),
        nlri => nlri.iter().map(Nlri::to_string).collect::<Vec<_>>().join(" "),
    })
}
