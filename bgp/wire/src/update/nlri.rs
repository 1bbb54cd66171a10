//! Prefixes in their wire form: a length in bits, then as many octets as hold it (RFC 4271 §4.3, RFC 4760 §5), with a
//! path identifier before them where add-path is negotiated (RFC 7911 §3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};
use proxima_types::{Family, Prefix};

use super::Nlri;
use crate::reader::Reader;

/// Octets of a path identifier.
const PATH_ID_LEN: usize = 4;

/// All prefixes in `bytes`; `None` when a length is too large for the family or a prefix is cut short. Bits beyond
/// the mask mean nothing and are cleared.
pub(crate) fn decode(bytes: &[u8], family: Family, add_path: bool) -> Option<Vec<Nlri>> {
    match family {
        Family::Ipv4 => read(bytes, add_path, |octets: [u8; 4]| Ipv4Addr::from(octets).into()),
        Family::Ipv6 => read(bytes, add_path, |octets: [u8; 16]| Ipv6Addr::from(octets).into()),
    }
}

/// `N` is the family's octets of an address.
fn read<const N: usize>(
    bytes: &[u8],
    add_path: bool,
    address: impl Fn([u8; N]) -> IpAddr,
) -> Option<Vec<Nlri>> {
    let mut nlri = Vec::with_capacity(count(bytes, add_path));
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let path_id = if add_path { reader.u32()? } else { 0 };
        let length = reader.u8()?;
        let behind = reader.rest();
        let octets = reader.take(octets_of(length)).filter(|octets| octets.len() <= N)?;
        // What stands behind the prefix is cleared with the bits beyond the mask.
        let full = behind.first_chunk().copied().unwrap_or_else(|| {
            let mut full = [0; N];
            full[..octets.len()].copy_from_slice(octets);
            full
        });
        nlri.push(Nlri { prefix: Prefix::truncating(address(full), length), path_id });
    }
    Some(nlri)
}

/// How many prefixes there are if all are whole, so that they are put where they stay.
fn count(bytes: &[u8], add_path: bool) -> usize {
    let before = if add_path { PATH_ID_LEN } else { 0 };
    let (mut at, mut count) = (before, 0);
    while let Some(length) = bytes.get(at) {
        at += 1 + octets_of(*length) + before;
        count += 1;
    }
    count
}

fn octets_of(length: u8) -> usize {
    usize::from(length).div_ceil(8)
}

/// Octets of `nlri` on the wire.
pub(super) fn encoded_len(nlri: &Nlri, add_path: bool) -> usize {
    usize::from(add_path) * PATH_ID_LEN + 1 + octets_of(nlri.prefix.length())
}

#[inline]
pub(super) fn encode(Nlri { prefix, path_id }: &Nlri, add_path: bool, buf: &mut BytesMut) {
    if add_path {
        buf.put_u32(*path_id);
    }
    // Whole addresses, then as many octets less as the mask leaves out: faster than a copy of each length.
    let length = prefix.length();
    let end = buf.len() + 1 + octets_of(length);
    match prefix.address() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            buf.put_slice(&[length, a, b, c, d]);
        }
        IpAddr::V6(address) => {
            let mut octets = [length; 17];
            octets[1..].copy_from_slice(&address.octets());
            buf.put_slice(&octets);
        }
    }
    buf.truncate(end);
}
