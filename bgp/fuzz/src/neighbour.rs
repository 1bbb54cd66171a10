//! What holds for whatever comes on a raw ICMPv6 socket: router advertisements and solicitations (RFC 4861).
//!
//! - No octets make the reader panic, and it comes to an end.
//! - Nothing is taken that a router has forwarded, and no advertisement from elsewhere than a link-local address.
//! - What is taken has whole options, and is of no other type and code.

/// The reader, which is the speaker's own.
#[path = "../../speaker/src/discovery/packet.rs"]
#[allow(dead_code, unreachable_pub)]
mod packet;

use packet::{HOP_LIMIT, Message};

/// The target `neighbour`: a hop limit and whether the source is link-local (one octet each), then the message.
pub fn neighbour(input: &[u8]) {
    let [hop_limit, link_local, message @ ..] = input else { return };
    let link_local = link_local & 1 == 1;
    let read = packet::parse(message, Some((*hop_limit).into()), link_local);
    assert_eq!(packet::parse(message, None, link_local), None);
    let Some(kind) = read else { return };
    assert_eq!(i32::from(*hop_limit), HOP_LIMIT);
    let (code, least) = match kind {
        Message::Solicitation => (133, 8),
        Message::Advertisement => {
            assert!(link_local);
            (134, 16)
        }
    };
    assert!(message.len() >= least && (message.len() - least) % 8 == 0, "{} octets", message.len());
    assert_eq!(message[..2], [code, 0]);
}
