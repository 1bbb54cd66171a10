//! What PoPs say to each other about flows, in UDP datagrams.
//!
//! ```text
//! ┌─────────┬──────┬─────────────────────────────┬──────────────────────┐
//! │ version │ kind │ body                        │ tag, 16 octets       │
//! └─────────┴──────┴─────────────────────────────┴──────────────────────┘
//!   1         0..3   Query:  flow                   HMAC-SHA-256-128 over
//!                    Answer: flow, owned (0 or 1)   all before it (RFC 4868)
//!                    Carry:  a whole IP packet
//!                    Alive:  nothing
//! flow: family (4 or 6), client address, client port, VIP address, VIP port
//! ```
//!
//! The tag keeps strangers from injecting packets or stealing flows. A replayed datagram does no more than a
//! replayed IP packet would: TCP discards it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::packet::Flow;

const VERSION: u8 = 1;
const TAG: usize = 16;

/// The secret that all PoPs share.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

/// A key file that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key needs 64 hexadecimal digits, this has {0} characters or others; make one with `openssl rand -hex 32`"
)]
pub struct KeyError(usize);

impl Key {
    /// Reads the 64 hexadecimal digits of a key file; white space around them is ignored.
    ///
    /// # Errors
    /// When there are more or fewer digits, or other characters.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let digits = text.trim();
        let error = || KeyError(digits.chars().count());
        if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(error());
        }
        let octets: Vec<u8> = (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16))
            .collect::<Result<_, _>>()
            .map_err(|_| error())?;
        Hmac::new_from_slice(&octets).map(Self).map_err(|_| error())
    }

    fn mac(&self, octets: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(octets);
        mac
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// One datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// Does the receiver own this flow?
    Query(Flow),
    /// Whether the sender owns it.
    Answer {
        /// The flow that was asked for.
        flow: Flow,
        /// Whether the sender's kernel has a connection for it.
        owned: bool,
    },
    /// A packet of a flow that the receiver owns.
    Carry(&'a [u8]),
    /// The sender runs.
    Alive,
}

/// Why a datagram is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Too short, of another version or kind, or with a flow that can't be.
    #[error("not a message of this version")]
    Malformed,
    /// The tag is wrong: another key, or forged.
    #[error("the tag is wrong; do both PoPs have the same key?")]
    Tag,
}

impl<'a> Message<'a> {
    /// The datagram, tagged.
    pub fn encode(&self, key: &Key) -> Vec<u8> {
        let mut datagram = vec![VERSION];
        match self {
            Self::Query(flow) => {
                datagram.push(0);
                put_flow(&mut datagram, flow);
            }
            Self::Answer { flow, owned } => {
                datagram.push(1);
                put_flow(&mut datagram, flow);
                datagram.push(u8::from(*owned));
            }
            Self::Carry(packet) => {
                datagram.reserve_exact(1 + packet.len() + TAG);
                datagram.push(2);
                datagram.extend_from_slice(packet);
            }
            Self::Alive => datagram.push(3),
        }
        let tag = key.mac(&datagram).finalize().into_bytes();
        datagram.extend_from_slice(&tag[..TAG]);
        datagram
    }

    /// Reads a datagram and checks its tag.
    ///
    /// # Errors
    /// When it is malformed or not tagged with `key`.
    pub fn decode(datagram: &'a [u8], key: &Key) -> Result<Self, MessageError> {
        let length =
            datagram.len().checked_sub(TAG).filter(|length| *length >= 2).ok_or(MessageError::Malformed)?;
        let (body, tag) = datagram.split_at(length);
        key.mac(body).verify_truncated_left(tag).map_err(|_| MessageError::Tag)?;
        let ([VERSION, kind], body) = body.split_at(2) else { return Err(MessageError::Malformed) };
        match kind {
            0 => match take_flow(body) {
                Some((flow, [])) => Ok(Self::Query(flow)),
                _ => Err(MessageError::Malformed),
            },
            1 => match take_flow(body) {
                Some((flow, [owned @ 0..=1])) => Ok(Self::Answer { flow, owned: *owned == 1 }),
                _ => Err(MessageError::Malformed),
            },
            2 => Ok(Self::Carry(body)),
            3 if body.is_empty() => Ok(Self::Alive),
            _ => Err(MessageError::Malformed),
        }
    }
}

fn put_flow(datagram: &mut Vec<u8>, flow: &Flow) {
    datagram.push(if flow.vip.is_ipv4() { 4 } else { 6 });
    for end in [flow.client, flow.vip] {
        match end.ip() {
            IpAddr::V4(address) => datagram.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => datagram.extend_from_slice(&address.octets()),
        }
        datagram.extend_from_slice(&end.port().to_be_bytes());
    }
}

fn take_flow(body: &[u8]) -> Option<(Flow, &[u8])> {
    let (family, body) = body.split_first()?;
    let (client, body) = take_end(*family, body)?;
    let (vip, body) = take_end(*family, body)?;
    Some((Flow { client, vip }, body))
}

fn take_end(family: u8, body: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (address, body): (IpAddr, _) = match family {
        4 => body.split_first_chunk::<4>().map(|(octets, rest)| (Ipv4Addr::from(*octets).into(), rest))?,
        6 => body.split_first_chunk::<16>().map(|(octets, rest)| (Ipv6Addr::from(*octets).into(), rest))?,
        _ => return None,
    };
    let (port, body) = body.split_first_chunk::<2>()?;
    Some((SocketAddr::new(address, u16::from_be_bytes(*port)), body))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn key(octet: u8) -> Key {
        Key::from_hex(&format!("{octet:02x}").repeat(32)).unwrap()
    }

    const TAG_BY_OPENSSL: [u8; 16] =
        [0xab, 0x29, 0x51, 0x1b, 0x32, 0xf8, 0x42, 0x92, 0x45, 0x2e, 0xb3, 0xdc, 0x35, 0x1c, 0xa5, 0x71];

    fn flow(client: &str, vip: &str) -> Flow {
        Flow { client: client.parse().unwrap(), vip: vip.parse().unwrap() }
    }

    #[test]
    fn the_bytes_are_those_of_the_diagram_and_the_tag_is_hmac_sha_256() {
        let datagram = Message::Query(flow("10.0.0.1:258", "192.0.2.1:80")).encode(&key(0x0b));
        assert_eq!(datagram[..15], [1, 0, 4, 10, 0, 0, 1, 1, 2, 192, 0, 2, 1, 0, 80]);
        // printf '\x01\x00\x04\x0a\x00\x00\x01\x01\x02\xc0\x00\x02\x01\x00\x50' |
        //   openssl dgst -sha256 -mac HMAC -macopt hexkey:0b…0b
        assert_eq!(datagram[15..], TAG_BY_OPENSSL);
    }

    #[test]
    fn another_key_or_a_changed_octet_is_refused() {
        let mut datagram = Message::Carry(&[0x45, 0, 0]).encode(&key(1));
        assert_eq!(Message::decode(&datagram, &key(2)), Err(MessageError::Tag));
        datagram[2] ^= 1;
        assert_eq!(Message::decode(&datagram, &key(1)), Err(MessageError::Tag));
    }

    #[test]
    fn a_bad_key_names_the_remedy() {
        let error = Key::from_hex("abc").unwrap_err().to_string();
        assert!(error.contains("this has 3 characters") && error.contains("openssl rand -hex 32"), "{error}");
        assert!(Key::from_hex(&"zz".repeat(32)).is_err());
    }

    proptest! {
        #[test]
        fn messages_survive_the_wire(client: [u8; 4], vip: [u8; 16], ports: [u16; 2], owned: bool, packet: Vec<u8>) {
            let key = key(7);
            let v4 = Flow {
                client: SocketAddr::new(client.into(), ports[0]),
                vip: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ports[1]),
            };
            let v6 = Flow {
                client: SocketAddr::new(Ipv6Addr::LOCALHOST.into(), ports[0]),
                vip: SocketAddr::new(vip.into(), ports[1]),
            };
            for message in
                [Message::Query(v4), Message::Answer { flow: v6, owned }, Message::Carry(&packet), Message::Alive]
            {
                let datagram = message.encode(&key);
                prop_assert_eq!(Message::decode(&datagram, &key), Ok(message));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(datagram: Vec<u8>) {
            let _ = Message::decode(&datagram, &key(7));
        }
    }
}
