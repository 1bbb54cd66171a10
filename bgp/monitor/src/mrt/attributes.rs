//! Path attributes as an entry of a table dump has them (RFC 6396 §4.3.4): AS numbers of four octets, and of
//! MP_REACH_NLRI only the next hop.

use std::net::{IpAddr, Ipv4Addr};

use bytes::{BufMut, BytesMut};
use proxima_bgp_wire::{
    Attributes, EncodeError, Families, HEADER_LEN, Negotiated, NextHop, PeerKind, update,
};
use proxima_types::Prefix;

const NEXT_HOP: u8 = 3;
const MP_REACH_NLRI: u8 = 14;
const OPTIONAL: u8 = 0x80;
const EXTENDED_LENGTH: u8 = 0x10;

/// Appends the attributes.
///
/// # Errors
/// When they are longer than a message may be.
pub(super) fn write(
    attributes: &Attributes,
    next_hop: NextHop,
    buf: &mut BytesMut,
) -> Result<(), EncodeError> {
    match next_hop.address {
        IpAddr::V4(address) => buf.put_slice(&encoded(attributes, address)?),
        IpAddr::V6(address) => {
            let encoded = encoded(attributes, Ipv4Addr::UNSPECIFIED)?;
            let link_local = next_hop.link_local.map(|address| address.octets());
            let length = if link_local.is_some() { 32 } else { 16 };
            buf.put_slice(&[OPTIONAL, MP_REACH_NLRI, 1 + length, length]);
            buf.put_slice(&address.octets());
            buf.put_slice(link_local.as_ref().map_or(&[], |octets| octets));
            put_but_next_hop(&encoded, buf);
        }
    }
    Ok(())
}

/// As in an UPDATE to an internal peer with all capabilities, from which nothing is left out.
fn encoded(attributes: &Attributes, next_hop: Ipv4Addr) -> Result<BytesMut, EncodeError> {
    const LENGTHS: usize = 4;
    const DEFAULT_ROUTE: usize = 1;
    let in_full = Negotiated {
        four_octet_as: true,
        families: Families::ALL,
        extended_messages_send: true,
        peer: PeerKind::Internal,
        ..Negotiated::default()
    };
    let default_route = Prefix::truncating(Ipv4Addr::UNSPECIFIED.into(), 0);
    let mut update = BytesMut::new();
    update::announce(attributes, IpAddr::V4(next_hop).into(), [default_route], in_full, &mut update)?;
    update.truncate(update.len() - DEFAULT_ROUTE);
    Ok(update.split_off(HEADER_LEN + LENGTHS))
}

fn put_but_next_hop(mut attributes: &[u8], buf: &mut BytesMut) {
    while let [flags, code, high, low, ..] = *attributes {
        let len = if flags & EXTENDED_LENGTH == 0 {
            3 + usize::from(high)
        } else {
            4 + usize::from(u16::from_be_bytes([high, low]))
        };
        let (attribute, rest) = attributes.split_at(len.min(attributes.len()));
        if code != NEXT_HOP {
            buf.put_slice(attribute);
        }
        attributes = rest;
    }
    // ATOMIC_AGGREGATE has no value: as the last one it is three octets.
    buf.put_slice(attributes);
}
