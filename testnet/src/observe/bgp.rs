//! A minimal scan of BGP messages (RFC 4271 §4, RFC 4760): what kind, and which prefixes come or go.
//!
//! Written apart from the product's codec on purpose, so that neither hides an error of the other. It judges nothing:
//! a message that makes no sense is reported as `Unreadable`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proxima_types::{Family, Prefix};

const MARKER: [u8; 16] = [0xff; 16];
const HEADER: usize = 19;
const ATTRIBUTE_MP_REACH: u8 = 14;
const ATTRIBUTE_MP_UNREACH: u8 = 15;

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// OPEN.
    Open,
    /// UPDATE.
    Update(Update),
    /// NOTIFICATION with its code and subcode.
    Notification(u8, u8),
    /// KEEPALIVE.
    Keepalive,
    /// ROUTE-REFRESH of a family, if it is one that is known here.
    RouteRefresh(Option<Family>, Refresh),
    /// Anything else, or an UPDATE whose lengths contradict each other.
    Unreadable,
}

/// What a ROUTE-REFRESH says (RFC 2918 §3, RFC 7313 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// The routes are to be sent again.
    Request,
    /// From here on they are.
    Begin,
    /// They have been.
    End,
}

/// The routes an UPDATE brings and takes, of both families.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// NLRI and `MP_REACH_NLRI`.
    pub announced: Vec<Prefix>,
    /// Withdrawn routes and `MP_UNREACH_NLRI`.
    pub withdrawn: Vec<Prefix>,
    /// It is an End-of-RIB marker (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
}

/// Finds messages in the octets of one direction of one session.
#[derive(Debug, Default)]
pub struct Scanner {
    pending: Vec<u8>,
}

impl Scanner {
    /// Forgets half a message: the stream started anew.
    pub fn restart(&mut self) {
        self.pending.clear();
    }

    /// Takes the next octets; returns the messages they complete.
    pub fn push(&mut self, data: &[u8]) -> Vec<Message> {
        self.pending.extend_from_slice(data);
        let mut messages = Vec::new();
        loop {
            self.seek_marker();
            let Some(header) = self.pending.get(..HEADER) else { return messages };
            let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
            if length < HEADER {
                self.pending.drain(..1);
                continue;
            }
            if self.pending.len() < length {
                return messages;
            }
            let message: Vec<u8> = self.pending.drain(..length).collect();
            messages.push(read_message(message[18], &message[HEADER..]));
        }
    }

    /// Drops what stands before a marker: a capture may have begun within a message.
    fn seek_marker(&mut self) {
        let start = (0..self.pending.len())
            .find(|&start| {
                let tail = &self.pending[start..];
                tail[..tail.len().min(16)] == MARKER[..tail.len().min(16)]
            })
            .unwrap_or(self.pending.len());
        self.pending.drain(..start);
    }
}

fn read_message(kind: u8, body: &[u8]) -> Message {
    match (kind, body) {
        (1, _) => Message::Open,
        (2, _) => read_update(body).map_or(Message::Unreadable, Message::Update),
        (3, [code, subcode, ..]) => Message::Notification(*code, *subcode),
        (4, []) => Message::Keepalive,
        (5, body) => read_refresh(body).unwrap_or(Message::Unreadable),
        _ => Message::Unreadable,
    }
}

/// Address family, subtype, subsequent address family.
fn read_refresh(body: &[u8]) -> Option<Message> {
    let [high, low, subtype, safi] = *body else { return None };
    let refresh = match subtype {
        0 => Refresh::Request,
        1 => Refresh::Begin,
        2 => Refresh::End,
        _ => return None,
    };
    Some(Message::RouteRefresh(read_family(&[high, low, safi]), refresh))
}

fn read_update(body: &[u8]) -> Option<Update> {
    let (withdrawn, rest) = split_by_length(body)?;
    let (attributes, nlri) = split_by_length(rest)?;
    let mut update = Update {
        withdrawn: read_prefixes(Family::Ipv4, withdrawn)?,
        announced: read_prefixes(Family::Ipv4, nlri)?,
        end_of_rib: None,
    };
    if withdrawn.is_empty() && attributes.is_empty() && nlri.is_empty() {
        update.end_of_rib = Some(Family::Ipv4);
    }
    let mut rest = attributes;
    while !rest.is_empty() {
        let (kind, value, after) = split_attribute(rest)?;
        match kind {
            ATTRIBUTE_MP_REACH => update.announced.extend(read_mp_reach(value)?),
            ATTRIBUTE_MP_UNREACH => {
                let family = read_family(value)?;
                let prefixes = read_prefixes(family, &value[3..])?;
                let alone = after.is_empty() && rest.len() == attributes.len();
                if prefixes.is_empty() && alone {
                    update.end_of_rib = Some(family);
                }
                update.withdrawn.extend(prefixes);
            }
            _ => {}
        }
        rest = after;
    }
    Some(update)
}

/// A two-octet length, that many octets, and the rest.
fn split_by_length(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(u16::from_be_bytes([*data.first()?, *data.get(1)?]));
    data[2..].split_at_checked(length)
}

/// Type code, value, and the attributes after it.
fn split_attribute(data: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    const EXTENDED_LENGTH: u8 = 0x10;
    let (flags, kind) = (*data.first()?, *data.get(1)?);
    let (length, start) = if flags & EXTENDED_LENGTH == 0 {
        (usize::from(*data.get(2)?), 3)
    } else {
        (usize::from(u16::from_be_bytes([*data.get(2)?, *data.get(3)?])), 4)
    };
    let (value, after) = data.get(start..)?.split_at_checked(length)?;
    Some((kind, value, after))
}

fn read_mp_reach(value: &[u8]) -> Option<Vec<Prefix>> {
    let family = read_family(value)?;
    let next_hop = usize::from(*value.get(3)?);
    // The next hop, then one reserved octet.
    read_prefixes(family, value.get(4 + next_hop + 1..)?)
}

fn read_family(value: &[u8]) -> Option<Family> {
    match value.get(..3)? {
        [0, 1, 1] => Some(Family::Ipv4),
        [0, 2, 1] => Some(Family::Ipv6),
        _ => None,
    }
}

fn read_prefixes(family: Family, mut data: &[u8]) -> Option<Vec<Prefix>> {
    let mut prefixes = Vec::new();
    while let Some((&bits, rest)) = data.split_first() {
        let (octets, after) = rest.split_at_checked(usize::from(bits).div_ceil(8))?;
        let address = match family {
            Family::Ipv4 => {
                let mut whole = [0; 4];
                whole.get_mut(..octets.len())?.copy_from_slice(octets);
                IpAddr::V4(Ipv4Addr::from(whole))
            }
            Family::Ipv6 => {
                let mut whole = [0; 16];
                whole.get_mut(..octets.len())?.copy_from_slice(octets);
                IpAddr::V6(Ipv6Addr::from(whole))
            }
        };
        prefixes.push(Prefix::truncating(address, bits));
        data = after;
    }
    Some(prefixes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header with marker, length and type before a body written by hand.
    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xff; 16];
        bytes.extend((19 + body.len() as u16).to_be_bytes());
        bytes.push(kind);
        bytes.extend(body);
        bytes
    }

    fn prefixes(texts: &[&str]) -> Vec<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn one(bytes: &[u8]) -> Message {
        let mut found = Scanner::default().push(bytes);
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    #[test]
    fn ipv4_routes_stand_in_the_message_itself() {
        // RFC 4271 §4.3: ORIGIN igp, AS_PATH 64512, NEXT_HOP 10.2.1.2, then 203.0.113.0/24.
        let announce = [
            0, 0, 0, 20, // no withdrawn routes, 20 octets of attributes
            0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0, 0x40, 3, 4, 10, 2, 1, 2, //
            24, 203, 0, 113,
        ];
        assert_eq!(
            one(&message(2, &announce)),
            Message::Update(Update { announced: prefixes(&["203.0.113.0/24"]), ..Update::default() })
        );
        let withdraw = [0, 4, 24, 203, 0, 113, 0, 0];
        assert_eq!(
            one(&message(2, &withdraw)),
            Message::Update(Update { withdrawn: prefixes(&["203.0.113.0/24"]), ..Update::default() })
        );
    }

    #[test]
    fn ipv6_routes_stand_in_multiprotocol_attributes() {
        let mut reach = vec![0, 0, 0, 31, 0x90, 14, 0, 27, 0, 2, 1, 16];
        reach.extend("fd00:2:1::2".parse::<Ipv6Addr>().unwrap().octets());
        reach.extend([0, 48, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0xac]);
        reach[3] = (reach.len() - 4) as u8;
        reach[7] = (reach.len() - 8) as u8;
        assert_eq!(
            one(&message(2, &reach)),
            Message::Update(Update { announced: prefixes(&["2001:db8:ac::/48"]), ..Update::default() })
        );
        let unreach = [0, 0, 0, 13, 0x80, 15, 10, 0, 2, 1, 48, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0xac];
        assert_eq!(
            one(&message(2, &unreach)),
            Message::Update(Update { withdrawn: prefixes(&["2001:db8:ac::/48"]), ..Update::default() })
        );
    }

    #[test]
    fn end_of_rib_is_told_from_a_withdrawal() {
        let eor = |family| Message::Update(Update { end_of_rib: Some(family), ..Update::default() });
        assert_eq!(one(&message(2, &[0, 0, 0, 0])), eor(Family::Ipv4));
        assert_eq!(one(&message(2, &[0, 0, 0, 6, 0x80, 15, 3, 0, 2, 1])), eor(Family::Ipv6));
    }

    #[test]
    fn a_refresh_is_told_from_the_marks_around_its_answer() {
        let refresh = |body| one(&message(5, body));
        assert_eq!(refresh(&[0, 1, 0, 1]), Message::RouteRefresh(Some(Family::Ipv4), Refresh::Request));
        assert_eq!(refresh(&[0, 2, 1, 1]), Message::RouteRefresh(Some(Family::Ipv6), Refresh::Begin));
        assert_eq!(refresh(&[0, 2, 2, 1]), Message::RouteRefresh(Some(Family::Ipv6), Refresh::End));
        assert_eq!(refresh(&[0, 1, 0, 128]), Message::RouteRefresh(None, Refresh::Request));
        assert_eq!(refresh(&[0, 1, 7, 1]), Message::Unreadable);
        assert_eq!(refresh(&[0, 1, 0]), Message::Unreadable);
    }

    #[test]
    fn messages_are_found_however_the_stream_was_cut_and_wherever_it_was_joined() {
        let keepalive = message(4, &[]);
        let mut stream = vec![0x00, 0x18, 0xff, 0x02]; // the end of a message the capture did not see begin
        stream.extend(&keepalive);
        stream.extend(message(2, &[0, 4, 24, 203, 0, 113, 0, 0]));
        stream.extend(message(3, &[6, 2]));
        for size in 1..stream.len() {
            let mut scanner = Scanner::default();
            let kinds: Vec<_> = stream.chunks(size).flat_map(|chunk| scanner.push(chunk)).collect();
            assert_eq!(kinds.len(), 3, "in pieces of {size}");
            assert_eq!(kinds[0], Message::Keepalive);
            assert_eq!(kinds[2], Message::Notification(6, 2));
        }
    }

    #[test]
    fn contradicting_lengths_are_reported_and_the_next_message_is_still_found() {
        let mut stream = message(2, &[0, 200, 24, 203, 0, 113]);
        stream.extend(message(4, &[]));
        let found = Scanner::default().push(&stream);
        assert_eq!(found[0], Message::Unreadable);
        assert_eq!(found[1], Message::Keepalive);
    }
}
