//! Prefixes in their wire form: a length in bits, then as many octets as hold it (RFC 4271 §4.3, RFC 4760 §5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};
use proxima_types::{Family, Prefix};

use super::Nlri;
use crate::reader::Reader;

/// All prefixes in `bytes`; `None` when a length is too large for the family or a prefix is cut short. Bits beyond
/// the mask mean nothing and are cleared.
pub(super) fn decode(bytes: &[u8], family: Family, add_path: bool) -> Option<Vec<Nlri>> {
    let mut reader = Reader::new(bytes);
    let mut nlri = Vec::new();
    while !reader.is_empty() {
        let path_id = if add_path { reader.u32()? } else { 0 };
        let length = reader.u8()?;
        let octets = reader.take(usize::from(length).div_ceil(8))?;
        nlri.push(Nlri { prefix: Prefix::truncating(address(octets, family)?, length), path_id });
    }
    Some(nlri)
}

/// The address that begins with `octets`; `None` when they are too many.
fn address(octets: &[u8], family: Family) -> Option<IpAddr> {
    fn padded<const N: usize>(octets: &[u8]) -> Option<[u8; N]> {
        let mut full = [0; N];
        full.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(full)
    }
    Some(match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::from(padded::<4>(octets)?)),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::from(padded::<16>(octets)?)),
    })
}

/// Octets of `nlri` on the wire.
pub(super) fn encoded_len(nlri: Nlri, add_path: bool) -> usize {
    usize::from(add_path) * 4 + 1 + usize::from(nlri.prefix.length()).div_ceil(8)
}

pub(super) fn encode(Nlri { prefix, path_id }: Nlri, add_path: bool, buf: &mut BytesMut) {
    if add_path {
        buf.put_u32(path_id);
    }
    buf.put_u8(prefix.length());
    let octets = usize::from(prefix.length()).div_ceil(8);
    match prefix.address() {
        IpAddr::V4(address) => buf.put_slice(&address.octets()[..octets]),
        IpAddr::V6(address) => buf.put_slice(&address.octets()[..octets]),
    }
}
