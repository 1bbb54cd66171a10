//! The values of attributes by type: what each may be, and what becomes of the message when it is not (RFC 7606 §7).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proxima_types::{Asn, Family};

use super::{
    Aggregator, Disposition, Fault, NextHop, Origin,
    attributes::{code, flag},
};
use crate::{AfiSafi, reader::Reader};

/// The optional and transitive bits an attribute must have; `None` for attributes we do not know.
pub(super) fn class(attribute: u8) -> Option<u8> {
    Some(match attribute {
        code::ORIGIN | code::AS_PATH | code::NEXT_HOP | code::LOCAL_PREF | code::ATOMIC_AGGREGATE => {
            flag::TRANSITIVE
        }
        code::MED | code::ORIGINATOR_ID | code::CLUSTER_LIST | code::MP_REACH | code::MP_UNREACH => {
            flag::OPTIONAL
        }
        code::AGGREGATOR
        | code::COMMUNITIES
        | code::EXTENDED_COMMUNITIES
        | code::IPV6_EXTENDED_COMMUNITIES
        | code::AS4_PATH
        | code::AS4_AGGREGATOR
        | code::LARGE_COMMUNITIES
        | code::ONLY_TO_CUSTOMER => flag::OPTIONAL | flag::TRANSITIVE,
        _ => return None,
    })
}

/// What a fault of an attribute leads to (RFC 7606 §7; RFC 6793 §6).
///
/// Wrong flags withdraw, even of attributes whose bad values are only discarded: RFC 7606 §3 c makes an exception for
/// attributes whose specification asks for another handling of wrong flags, and §7.6, §7.7 and RFC 6793 §6 speak of
/// lengths and values only. BIRD reads it likewise; FRR discards.
pub(super) fn disposition(attribute: u8, fault: Fault) -> Disposition {
    match (attribute, fault) {
        (_, Fault::Flags(_) | Fault::AsSet) => Disposition::TreatAsWithdraw,
        (code::ATOMIC_AGGREGATE | code::AGGREGATOR | code::AS4_PATH | code::AS4_AGGREGATOR, _) => {
            Disposition::AttributeDiscard
        }
        _ => Disposition::TreatAsWithdraw,
    }
}

pub(super) fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], Fault> {
    value.try_into().map_err(|_| Fault::Length(value.len()))
}

pub(super) fn number(value: &[u8]) -> Result<u32, Fault> {
    fixed(value).map(u32::from_be_bytes)
}

/// One or more items of `N` octets.
pub(super) fn list<const N: usize>(value: &[u8]) -> Result<&[[u8; N]], Fault> {
    match value.as_chunks() {
        (items, []) if !items.is_empty() => Ok(items),
        _ => Err(Fault::Length(value.len())),
    }
}

pub(super) fn origin(value: &[u8]) -> Result<Origin, Fault> {
    match fixed(value)? {
        [0] => Ok(Origin::Igp),
        [1] => Ok(Origin::Egp),
        [2] => Ok(Origin::Incomplete),
        _ => Err(Fault::Value),
    }
}

/// The value of NEXT_HOP.
pub(super) fn next_hop(value: &[u8]) -> Result<Ipv4Addr, Fault> {
    let address = Ipv4Addr::from(fixed(value)?);
    if can_be_a_host(address.into()) { Ok(address) } else { Err(Fault::Value) }
}

/// Whether a next hop can be one (RFC 4271 §6.3), in whatever attribute it came.
pub(super) fn can_be_a_host(address: IpAddr) -> bool {
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(address.is_unspecified() || address.is_multicast() || broadcast)
}

pub(super) fn aggregator(value: &[u8], four_octet_as: bool) -> Result<Aggregator, Fault> {
    let (asn, router_id) = if four_octet_as {
        let [a, b, c, d, router_id @ ..] = fixed::<8>(value)?;
        (u32::from_be_bytes([a, b, c, d]), router_id)
    } else {
        let [a, b, router_id @ ..] = fixed::<6>(value)?;
        (u32::from(u16::from_be_bytes([a, b])), router_id)
    };
    if asn == 0 {
        return Err(Fault::AsZero);
    }
    Ok(Aggregator { asn: Asn(asn), router_id: router_id.into() })
}

pub(super) fn afi_safi(reader: &mut Reader<'_>) -> Option<AfiSafi> {
    Some(AfiSafi { afi: reader.u16()?, safi: reader.u8()? })
}

/// The next hop of MP_REACH_NLRI (RFC 2545 §3, RFC 8950 §3); `None` when its length is not one of the family's.
pub(super) fn mp_next_hop(family: Family, octets: &[u8], extended: bool) -> Option<NextHop> {
    if family == Family::Ipv4 && octets.len() == 4 {
        return Some(IpAddr::V4(<[u8; 4]>::try_from(octets).ok()?.into()).into());
    }
    if family == Family::Ipv4 && !extended {
        return None;
    }
    let (addresses, []) = octets.as_chunks::<16>() else { return None };
    match *addresses {
        [address] => Some(IpAddr::V6(address.into()).into()),
        [address, second] => {
            let second = Ipv6Addr::from(second);
            let link_local = Some(second).filter(Ipv6Addr::is_unicast_link_local);
            // Some speakers on a link without global addresses leave the first one empty.
            let address = Some(Ipv6Addr::from(address)).filter(|first| !first.is_unspecified());
            let address = address.or(link_local).unwrap_or(Ipv6Addr::UNSPECIFIED);
            Some(NextHop { address: IpAddr::V6(address), link_local })
        }
        _ => None,
    }
}
