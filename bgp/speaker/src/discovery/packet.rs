//! Router advertisements and solicitations (RFC 4861 §4.1, §4.2, §4.6.1): bytes and back.
//!
//! The kernel writes and checks the checksum of ICMPv6.

/// ICMPv6 type of a router solicitation.
const SOLICITATION: u8 = 133;
/// ICMPv6 type of a router advertisement.
const ADVERTISEMENT: u8 = 134;
/// Option with the sender's link-layer address.
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
/// What a packet from the same link has: no router has forwarded it (RFC 4861 §6.1).
pub(super) const HOP_LIMIT: i32 = 255;

/// A message of the two kinds that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// "Which routers are there?"
    Solicitation,
    /// "I am one."
    Advertisement,
}

/// Reads a message after the checks of RFC 4861 §6.1; None for other kinds and for what is invalid.
pub(super) fn parse(bytes: &[u8], hop_limit: Option<i32>, from_link_local: bool) -> Option<Message> {
    if hop_limit != Some(HOP_LIMIT) {
        return None;
    }
    let (&[kind, code], options_at) = (
        bytes.first_chunk()?,
        match *bytes.first()? {
            SOLICITATION => 8,
            ADVERTISEMENT => 16,
            _ => return None,
        },
    );
    if code != 0 || !options_are_whole(bytes.get(options_at..)?) {
        return None;
    }
    match kind {
        // Its source may be unspecified: a host without an address may ask.
        SOLICITATION => Some(Message::Solicitation),
        _ => from_link_local.then_some(Message::Advertisement),
    }
}

/// Options have a length in units of eight octets, which is never zero.
fn options_are_whole(mut options: &[u8]) -> bool {
    while let [_, length, ..] = options {
        match options.get(usize::from(*length) * 8..) {
            Some(rest) if *length > 0 => options = rest,
            _ => return false,
        }
    }
    options.is_empty()
}

/// "I am a router, but not one to send your packets to": lifetime 0, nothing said of anything else.
pub(super) fn advertisement(link_layer: Option<[u8; 6]>) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    bytes[0] = ADVERTISEMENT;
    bytes.extend(source(link_layer));
    bytes
}

/// "Which routers are there?"
pub(super) fn solicitation(link_layer: Option<[u8; 6]>) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    bytes[0] = SOLICITATION;
    bytes.extend(source(link_layer));
    bytes
}

fn source(link_layer: Option<[u8; 6]>) -> impl Iterator<Item = u8> {
    link_layer.into_iter().flat_map(|address| {
        // One unit of eight octets.
        [SOURCE_LINK_LAYER_ADDRESS, 1].into_iter().chain(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0x5e, 0x10, 0, 1];

    #[test]
    fn an_advertisement_says_that_we_are_no_default_router() {
        let expected = [
            134, 0, 0, 0, // type, code, checksum by the kernel
            0, 0, 0, 0, // hop limit and flags unspecified, router lifetime 0
            0, 0, 0, 0, 0, 0, 0, 0, // reachable time, retransmission timer
            1, 1, 2, 0, 0x5e, 0x10, 0, 1, // source link-layer address
        ];
        assert_eq!(advertisement(Some(MAC)), expected);
        assert_eq!(advertisement(None), expected[..16]);
        assert_eq!(solicitation(Some(MAC)), [&[133, 0, 0, 0, 0, 0, 0, 0][..], &expected[16..]].concat());
    }

    #[test]
    fn what_a_router_sends_is_read() {
        // From FRR 8.4: hop limit 64, lifetime 0, then MTU-less options: source link-layer address.
        let frr = [134, 0, 0x5c, 0x1e, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0xfa, 0x16, 0x3e, 1, 2, 3];
        assert_eq!(parse(&frr, Some(255), true), Some(Message::Advertisement));
        let linux_host = [133, 0, 0x7b, 0xb8, 0, 0, 0, 0];
        assert_eq!(parse(&linux_host, Some(255), false), Some(Message::Solicitation));
    }

    #[test]
    fn what_was_forwarded_or_is_malformed_is_ignored() {
        let good = advertisement(Some(MAC));
        assert_eq!(parse(&good, Some(254), true), None, "a router has forwarded it");
        assert_eq!(parse(&good, None, true), None);
        assert_eq!(parse(&good, Some(255), false), None, "advertisements come from link-local addresses");
        for length in 0..good.len() {
            let whole = length == 16; // without options
            assert_eq!(parse(&good[..length], Some(255), true).is_some(), whole, "cut to {length}");
        }
        let mut code = good.clone();
        code[1] = 1;
        let mut endless = good.clone();
        endless[17] = 0;
        let mut beyond = good.clone();
        beyond[17] = 2;
        let mut echo = good;
        echo[0] = 128;
        for bad in [code, endless, beyond, echo] {
            assert_eq!(parse(&bad, Some(255), true), None, "{bad:?}");
        }
    }
}
