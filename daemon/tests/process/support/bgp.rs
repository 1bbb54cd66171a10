//! BGP by hand: bytes written and read without the product's codec (RFC 4271, 4760, 1997).

use std::net::{Ipv4Addr, Ipv6Addr};

/// The AS of every router here.
pub(crate) const ROUTER_AS: u16 = 65001;

pub(crate) const KEEPALIVE: &[u8] =
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x13\x04";

/// A message with a correct header.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).unwrap();
    [&[0xff; 16], length.to_be_bytes().as_slice(), &[kind], body].concat()
}

/// The router's OPEN: hold time 90 s, both families, four-octet AS, route refresh.
pub(crate) fn open() -> Vec<u8> {
    open_with(&[])
}

/// The same with more capabilities.
pub(crate) fn open_with(more: &[u8]) -> Vec<u8> {
    let [high, low] = ROUTER_AS.to_be_bytes();
    let capabilities =
        [&[1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 2, 0][..], more, &[65, 4, 0, 0, high, low]].concat();
    let length = u8::try_from(capabilities.len()).unwrap();
    let fixed = [4, high, low, 0, 90, 192, 0, 2, 1, length + 2, 2, length];
    message(1, &[fixed.as_slice(), &capabilities].concat())
}

/// An UPDATE of path attributes and IPv4 NLRI, both as they are.
pub(crate) fn update(attributes: &[&[u8]], nlri: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let length = u16::try_from(attributes.len()).unwrap();
    message(2, &[&[0, 0], length.to_be_bytes().as_slice(), &attributes, nlri].concat())
}

/// A sound announcement of 10.99.0.0/16 by the router.
pub(crate) fn announcement() -> Vec<u8> {
    let [high, low] = ROUTER_AS.to_be_bytes();
    let as_path = [0x40, 2, 6, 2, 1, 0, 0, high, low];
    update(&[&[0x40, 1, 1, 0], &as_path, &[0x40, 3, 4, 127, 0, 0, 1]], &[16, 10, 99])
}

/// End-of-RIB of both families (RFC 4724 §2).
pub(crate) fn end_of_rib() -> Vec<u8> {
    [update(&[], &[]), update(&[&[0x80, 15, 3, 0, 2, 1]], &[])].concat()
}

/// 203.0.113.0/24 as another PoP of our AS announces it and the router passes it on, with these large communities (RFC 8092).
pub(crate) fn of_another_pop(large: &[[u32; 3]]) -> Vec<u8> {
    let [high, low] = ROUTER_AS.to_be_bytes();
    let as_path = [0x40, 2, 10, 2, 2, 0, 0, high, low, 0, 0, 0xfc, 0];
    let value: Vec<u8> = large.iter().flatten().flat_map(|word| word.to_be_bytes()).collect();
    let large = [&[0xc0, 32, u8::try_from(value.len()).unwrap()][..], &value].concat();
    let attributes: [&[u8]; 4] = [&[0x40, 1, 1, 0], &as_path, &[0x40, 3, 4, 127, 0, 0, 1], &large];
    update(&attributes, &[24, 203, 0, 113])
}

/// The same taken back.
pub(crate) fn of_no_other_pop() -> Vec<u8> {
    message(2, &[0, 4, 24, 203, 0, 113, 0, 0])
}

/// The first whole message in `bytes`, if there is one.
pub(crate) fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes([*bytes.get(16)?, *bytes.get(17)?]));
    bytes.get(..length.max(19))
}

/// Announcements of 10.0.0.0/24, 10.0.1.0/24, … by the router.
pub(crate) fn announcements(count: u16) -> Vec<u8> {
    let [high, low] = ROUTER_AS.to_be_bytes();
    let as_path = [0x40, 2, 6, 2, 1, 0, 0, high, low];
    let numbers: Vec<u16> = (0..count).collect();
    let nlri = |numbers: &[u16]| {
        numbers
            .iter()
            .flat_map(|number| {
                let [high, low] = number.to_be_bytes();
                [24, 10, high, low]
            })
            .collect::<Vec<u8>>()
    };
    let messages = numbers
        .chunks(900)
        .map(|numbers| update(&[&[0x40, 1, 1, 0], &as_path, &[0x40, 3, 4, 127, 0, 0, 1]], &nlri(numbers)));
    messages.collect::<Vec<_>>().concat()
}

/// A message in one line.
pub(crate) fn describe(message: &[u8]) -> String {
    let body = &message[19..];
    match message[18] {
        1 => format!("open as {} hold {}", u16_at(body, 1), u16_at(body, 3)),
        2 => describe_update(body),
        3 => format!("notification {}/{} {}", body[0], body[1], body[2..].escape_ascii()),
        4 => "keepalive".to_owned(),
        kind => format!("type {kind}"),
    }
}

fn describe_update(body: &[u8]) -> String {
    if body == [0; 4] {
        return "end-of-rib ipv4".to_owned();
    }
    let withdrawn_end = 2 + usize::from(u16_at(body, 0));
    let attributes_end = withdrawn_end + 2 + usize::from(u16_at(body, withdrawn_end));
    let mut said = Said {
        withdrawn: prefixes(&body[2..withdrawn_end], 4),
        announced: prefixes(&body[attributes_end..], 4),
        attributes: Vec::new(),
    };
    let mut attributes = &body[withdrawn_end + 2..attributes_end];
    while let [flags, kind, rest @ ..] = attributes {
        let (length, rest) = if flags & 0x10 == 0 {
            (usize::from(rest[0]), &rest[1..])
        } else {
            (usize::from(u16_at(rest, 0)), &rest[2..])
        };
        let (value, rest) = rest.split_at(length);
        attributes = rest;
        if *kind == 15 && value == [0, 2, 1] {
            return "end-of-rib ipv6".to_owned();
        }
        said.take(*kind, value);
    }
    said.line()
}

#[derive(Debug)]
struct Said {
    announced: Vec<String>,
    withdrawn: Vec<String>,
    attributes: Vec<String>,
}

impl Said {
    fn take(&mut self, kind: u8, value: &[u8]) {
        self.attributes.push(match kind {
            1 => return assert_eq!(value, [0], "ORIGIN is IGP"),
            2 => {
                assert_eq!(usize::from(value[1]) * 4 + 2, value.len(), "one AS_SEQUENCE of four-octet ASNs");
                listed("path", &value[2..], |asn| u32::from_be_bytes(asn.try_into().unwrap()).to_string())
            }
            3 => format!(" via {}", Ipv4Addr::from(<[u8; 4]>::try_from(value).unwrap())),
            4 => format!(" med {}", u32::from_be_bytes(value.try_into().unwrap())),
            8 => listed("communities", value, |one| format!("{}:{}", u16_at(one, 0), u16_at(one, 2))),
            14 => {
                assert_eq!(value[..4], [0, 2, 1, 16], "IPv6 unicast, next hop of 16 octets");
                self.announced.extend(prefixes(&value[21..], 16));
                format!(" via {}", Ipv6Addr::from(<[u8; 16]>::try_from(&value[4..20]).unwrap()))
            }
            15 => return self.withdrawn.extend(prefixes(&value[3..], 16)),
            32 => {
                let words = |one: &[u8]| {
                    one.chunks(4)
                        .map(|word| u32::from_be_bytes(word.try_into().unwrap()).to_string())
                        .collect()
                };
                let each = value.chunks(12).map(words).map(|words: Vec<String>| words.join(":"));
                format!(" large {}", each.collect::<Vec<_>>().join(" "))
            }
            kind => format!(" attribute {kind}"),
        });
    }

    fn line(&self) -> String {
        let attributes = self.attributes.concat();
        match (self.announced.join(" "), self.withdrawn.join(" ")) {
            (announced, withdrawn) if withdrawn.is_empty() => format!("announce {announced}{attributes}"),
            (announced, withdrawn) if announced.is_empty() => format!("withdraw {withdrawn}{attributes}"),
            _ => panic!("one UPDATE announces and withdraws: {self:?}"),
        }
    }
}

fn listed(name: &str, fours: &[u8], show: impl Fn(&[u8]) -> String) -> String {
    format!(" {name} {}", fours.chunks(4).map(show).collect::<Vec<_>>().join(" "))
}

fn prefixes(mut bytes: &[u8], width: usize) -> Vec<String> {
    let mut found = Vec::new();
    while let [length, rest @ ..] = bytes {
        let (octets, rest) = rest.split_at(usize::from(length.div_ceil(8)));
        let mut address = octets.to_vec();
        address.resize(width, 0);
        found.push(match <[u8; 4]>::try_from(address.as_slice()) {
            Ok(address) => format!("{}/{length}", Ipv4Addr::from(address)),
            Err(_) => format!("{}/{length}", Ipv6Addr::from(<[u8; 16]>::try_from(address).unwrap())),
        });
        bytes = rest;
    }
    found
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
