//! MRT files (RFC 6396, RFC 8050): records, table dumps, and recorded messages.
//!
//! ```text
//!  file ─▶ Records ─▶ header, body ─▶ Record::Peers    the peers that entries of a table dump point to
//!                                     Record::Rib      one prefix with the paths of all peers
//!                                     Record::Message  a BGP message between two routers
//!                                     Record::State    a session's change of state
//!                                     Record::Other    what we do not know
//! ```
//!
//! Read one by one from a stream: a file may be larger than memory.

use std::{
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use proxima_bgp_wire::{
    Attributes, Families, HEADER_LEN, Message, MessageType, Negotiated, NextHop, PeerKind,
};
use proxima_types::{Asn, Family, Prefix};

const TABLE_DUMP_V2: u16 = 13;
const BGP4MP: u16 = 16;
/// With microseconds (RFC 6396 §3).
const BGP4MP_ET: u16 = 17;
/// No record that makes sense is longer: a table dump's record holds one prefix.
const MOST_OCTETS: u32 = 16 * 1024 * 1024;

/// Why a file can't be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MrtError {
    /// The system's words.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It ends within a record.
    #[error("the file ends within record {0}")]
    CutShort(u64),
    /// The length of a record can't be.
    #[error("record {record} claims to have {octets} octets: is this an MRT file, and not compressed?")]
    TooLong {
        /// Which, from 1.
        record: u64,
        /// Its length.
        octets: u32,
    },
}

/// One record and its time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Timed {
    /// Microseconds since 1970.
    pub(crate) micros: i64,
    pub(crate) record: Record,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record {
    /// The peers of a table dump.
    Peers { collector: Ipv4Addr, view: String, peers: Vec<Peer> },
    /// A prefix of a table dump.
    Rib { prefix: Prefix, entries: Vec<Entry> },
    /// A message as it was on the wire.
    Message { peer: Peer, message: Vec<u8>, four_octet_as: bool, add_path: bool },
    /// A change of a session's state, by the numbers of RFC 6396 §4.4.1.
    State { peer: Peer, from: u16, to: u16 },
    /// A record of a type we do not know.
    Other { kind: u16, subtype: u16, octets: usize },
    /// A record that is not shaped as its type says.
    Malformed { kind: u16, subtype: u16, octets: usize },
}

/// A peer of the collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    pub(crate) asn: Asn,
}

/// A path to the prefix of a table dump's record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// Its place among the peers.
    pub(crate) peer: usize,
    /// Microseconds since 1970.
    pub(crate) since: i64,
    pub(crate) path_id: Option<u32>,
    /// Attributes and next hop; none when they can't be read.
    pub(crate) path: Option<(Attributes, NextHop)>,
}

/// The records of a file.
pub(crate) struct Records<R> {
    source: R,
    count: u64,
}

impl<R: Read> Records<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, count: 0 }
    }

    /// The next record; none at the end.
    ///
    /// # Errors
    /// When the file can't be read on.
    pub(crate) fn next(&mut self) -> Result<Option<Timed>, MrtError> {
        let mut header = [0; 12];
        match self.fill(&mut header)? {
            0 => return Ok(None),
            12 => {}
            _ => return Err(MrtError::CutShort(self.count + 1)),
        }
        self.count += 1;
        let mut fields = Octets(&header);
        let (Some(seconds), Some(kind), Some(subtype), Some(octets)) =
            (fields.u32(), fields.u16(), fields.u16(), fields.u32())
        else {
            return Err(MrtError::CutShort(self.count));
        };
        if octets > MOST_OCTETS {
            return Err(MrtError::TooLong { record: self.count, octets });
        }
        let mut body = vec![0; octets as usize];
        if self.fill(&mut body)? < body.len() {
            return Err(MrtError::CutShort(self.count));
        }
        let mut body = Octets(&body);
        let micros = if kind == BGP4MP_ET { body.u32() } else { Some(0) };
        let octets = body.0.len();
        let record = match (kind, micros) {
            (TABLE_DUMP_V2, Some(_)) => table_dump(subtype, body),
            (BGP4MP | BGP4MP_ET, Some(_)) => bgp4mp(subtype, body),
            _ => Some(Record::Other { kind, subtype, octets }),
        };
        let record = record.unwrap_or(Record::Malformed { kind, subtype, octets });
        let micros = i64::from(seconds) * 1_000_000 + i64::from(micros.unwrap_or(0));
        Ok(Some(Timed { micros, record }))
    }

    /// How many octets there were, up to as many as fit.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// TABLE_DUMP_V2 (RFC 6396 §4.3, RFC 8050 §4).
fn table_dump(subtype: u16, mut body: Octets<'_>) -> Option<Record> {
    let (family, add_path) = match subtype {
        1 => return peer_index(body),
        2 => (Family::Ipv4, false),
        4 => (Family::Ipv6, false),
        8 => (Family::Ipv4, true),
        10 => (Family::Ipv6, true),
        _ => return Some(Record::Other { kind: TABLE_DUMP_V2, subtype, octets: body.0.len() }),
    };
    body.u32()?; // sequence number
    let prefix = body.prefix(family)?;
    let count = body.u16()?;
    let mut entries = Vec::with_capacity(count.into());
    for _ in 0..count {
        let peer = body.u16()?.into();
        let since = i64::from(body.u32()?) * 1_000_000;
        let path_id = if add_path { Some(body.u32()?) } else { None };
        let length = body.u16()?;
        let path = attributes(prefix, body.take(length.into())?);
        entries.push(Entry { peer, since, path_id, path });
    }
    Some(Record::Rib { prefix, entries })
}

fn peer_index(mut body: Octets<'_>) -> Option<Record> {
    let collector = Ipv4Addr::from(body.array::<4>()?);
    let length = body.u16()?;
    let view = String::from_utf8_lossy(body.take(length.into())?).into_owned();
    let count = body.u16()?;
    let mut peers = Vec::with_capacity(count.into());
    for _ in 0..count {
        let kind = body.u8()?;
        body.u32()?; // BGP identifier
        let address = body.address(if kind & 1 == 0 { Family::Ipv4 } else { Family::Ipv6 })?;
        let asn = if kind & 2 == 0 { body.u16()?.into() } else { body.u32()? };
        peers.push(Peer { address, asn: Asn(asn) });
    }
    Some(Record::Peers { collector, view, peers })
}

/// The attributes of a path. They are read as those of an UPDATE that announces it: MP_REACH_NLRI, which a dump cuts down to
/// the next hop (RFC 6396 §4.3.4), is made whole for that.
fn attributes(prefix: Prefix, octets: &[u8]) -> Option<(Attributes, NextHop)> {
    const MP_REACH: u8 = 14;
    const OPTIONAL_EXTENDED: u8 = 0x90;
    let nlri = nlri(prefix);
    let (mut list, mut multiprotocol) = (Vec::with_capacity(octets.len() + 24), false);
    let mut rest = Octets(octets);
    while !rest.0.is_empty() {
        let (flags, code) = (rest.u8()?, rest.u8()?);
        let length = if flags & 0x10 == 0 { u16::from(rest.u8()?) } else { rest.u16()? };
        let value = rest.take(length.into())?;
        if code == MP_REACH {
            multiprotocol = true;
            let next_hop = match value.split_first() {
                Some((length, next_hop)) if usize::from(*length) == next_hop.len() => next_hop,
                // Some write it whole.
                _ => value.get(4..4 + usize::from(*value.get(3)?))?,
            };
            let mut whole = prefix.family().afi().to_be_bytes().to_vec();
            whole.extend([1, u8::try_from(next_hop.len()).ok()?]);
            whole.extend(next_hop);
            whole.push(0);
            whole.extend(&nlri);
            list.extend([OPTIONAL_EXTENDED, MP_REACH]);
            list.extend(u16::try_from(whole.len()).ok()?.to_be_bytes());
            list.extend(whole);
        } else {
            list.extend([flags | 0x10, code]);
            list.extend(length.to_be_bytes());
            list.extend(value);
        }
    }
    let mut message = vec![0xff; 16];
    let tail: &[u8] = if multiprotocol { &[] } else { &nlri };
    let length = u16::try_from(HEADER_LEN + 4 + list.len() + tail.len()).ok()?;
    message.extend(length.to_be_bytes());
    message.extend([MessageType::Update as u8, 0, 0]);
    message.extend(u16::try_from(list.len()).ok()?.to_be_bytes());
    message.extend(list);
    message.extend(tail);
    match Message::decode(&message, collected(true, false)).ok()? {
        Message::Update(mut update) => {
            let next_hop = update.reach.pop()?.next_hop;
            Some((update.attributes, next_hop))
        }
        _ => None,
    }
}

/// How what a collector has recorded is read: of everything that may have been agreed on, what can be told from the record.
pub(crate) fn collected(four_octet_as: bool, add_path: bool) -> Negotiated {
    Negotiated {
        four_octet_as,
        families: Families::ALL,
        extended_messages_receive: true,
        extended_next_hop_receive: true,
        add_path_receive: if add_path { Families::ALL } else { Families::NONE },
        // LOCAL_PREF and the like are shown as they came.
        peer: PeerKind::Internal,
        ..Negotiated::default()
    }
}

/// BGP4MP (RFC 6396 §4.4, RFC 8050 §3).
fn bgp4mp(subtype: u16, mut body: Octets<'_>) -> Option<Record> {
    let octets = body.0.len();
    let wide = matches!(subtype, 4 | 5 | 7 | 9 | 11);
    let asn = if wide { body.u32()? } else { body.u16()?.into() };
    if wide {
        body.take(4)?
    } else {
        body.take(2)?
    }; // our AS
    body.u16()?; // interface
    let family = match body.u16()? {
        1 => Family::Ipv4,
        2 => Family::Ipv6,
        _ => return None,
    };
    let peer = Peer { address: body.address(family)?, asn: Asn(asn) };
    body.address(family)?; // our address
    Some(match subtype {
        0 | 5 => Record::State { peer, from: body.u16()?, to: body.u16()? },
        1 | 4 | 6 | 7 | 8..=11 => Record::Message {
            peer,
            message: body.0.to_vec(),
            four_octet_as: wide,
            add_path: (8..=11).contains(&subtype),
        },
        _ => Record::Other { kind: BGP4MP, subtype, octets },
    })
}

fn nlri(prefix: Prefix) -> Vec<u8> {
    let octets = usize::from(prefix.length().div_ceil(8));
    let mut nlri = vec![prefix.length()];
    match prefix.address() {
        IpAddr::V4(address) => nlri.extend(&address.octets()[..octets]),
        IpAddr::V6(address) => nlri.extend(&address.octets()[..octets]),
    }
    nlri
}

/// Octets still to be read, in network order.
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[octet]| octet)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn address(&mut self, family: Family) -> Option<IpAddr> {
        Some(match family {
            Family::Ipv4 => Ipv4Addr::from(self.array::<4>()?).into(),
            Family::Ipv6 => Ipv6Addr::from(self.array::<16>()?).into(),
        })
    }

    /// A length in bits and as many octets as hold them; bits beyond are of no meaning (RFC 4271 §4.3).
    fn prefix(&mut self, family: Family) -> Option<Prefix> {
        let length = self.u8()?;
        let octets = self.take(usize::from(length.div_ceil(8)))?;
        let address: IpAddr = match family {
            Family::Ipv4 => {
                let mut address = [0; 4];
                address.get_mut(..octets.len())?.copy_from_slice(octets);
                Ipv4Addr::from(address).into()
            }
            Family::Ipv6 => {
                let mut address = [0; 16];
                address.get_mut(..octets.len())?.copy_from_slice(octets);
                Ipv6Addr::from(address).into()
            }
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        (length <= most).then(|| Prefix::truncating(address, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u16, subtype: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap();
        [
            &1_772_366_400_u32.to_be_bytes(),
            kind.to_be_bytes().as_slice(),
            &subtype.to_be_bytes(),
            &length.to_be_bytes(),
            body,
        ]
        .concat()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Record>, MrtError> {
        let mut records = Records::new(bytes);
        let mut found = Vec::new();
        while let Some(Timed { micros, record }) = records.next()? {
            assert_eq!(micros / 1_000_000, 1_772_366_400);
            found.push(record);
        }
        Ok(found)
    }

    fn peers() -> Vec<u8> {
        let view = b"main";
        let peers: [&[u8]; 2] = [
            &[2, 10, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0xfd, 0xe8],
            &[1, 10, 0, 0, 2, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0xfd, 0xe9],
        ];
        record(13, 1, &[&[10, 0, 0, 11, 0, 4], &view[..], &[0, 2], peers[0], peers[1]].concat())
    }

    const PATH: &[u8] = &[0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe8];

    /// A record of one entry: peer, time, the octets before the length, attributes.
    fn rib(subtype: u16, prefix: &[u8], before: &[u8], attributes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(attributes.len()).unwrap().to_be_bytes();
        let entry = [&[0, 1], &[0x69, 0xa4, 0x29, 0x40][..], before, &length, attributes].concat();
        record(13, subtype, &[&[0, 0, 0, 0], prefix, &[0, 1], &entry].concat())
    }

    #[test]
    fn the_index_names_the_peers() {
        let peer = |address: &str, asn| Peer { address: address.parse().unwrap(), asn: Asn(asn) };
        let expected = Record::Peers {
            collector: [10, 0, 0, 11].into(),
            view: "main".to_owned(),
            peers: vec![peer("10.0.0.1", 65000), peer("fd00::2", 65001)],
        };
        assert_eq!(read(&peers()).unwrap(), [expected]);
    }

    #[test]
    fn entries_are_read_with_their_next_hops_whole_or_cut_down() {
        let classic = [PATH, &[0x40, 3, 4, 10, 0, 0, 1]].concat();
        let global = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let cut = [PATH, &[0x80, 14, 17, 16], &global].concat();
        let whole =
            [PATH, &[0x80, 14, 28, 0, 2, 1, 16], &global, &[0, 48, 0x20, 1, 0xd, 0xb8, 0, 0xac]].concat();
        let over_ipv6 = [PATH, &[0x80, 14, 17, 16], &global].concat();
        let six: &[u8] = &[48, 0x20, 1, 0xd, 0xb8, 0, 0xac];
        let four: &[u8] = &[24, 203, 0, 113];
        for (subtype, prefix, before, attributes, expected) in [
            (2, four, &[][..], &classic, ("203.0.113.0/24", "10.0.0.1", None)),
            (2, four, &[], &over_ipv6, ("203.0.113.0/24", "2001:db8::1", None)),
            (4, six, &[], &cut, ("2001:db8:ac::/48", "2001:db8::1", None)),
            (4, six, &[], &whole, ("2001:db8:ac::/48", "2001:db8::1", None)),
            (8, four, &[0, 0, 0, 7], &classic, ("203.0.113.0/24", "10.0.0.1", Some(7))),
            (10, six, &[0, 0, 0, 7], &cut, ("2001:db8:ac::/48", "2001:db8::1", Some(7))),
        ] {
            let records = read(&rib(subtype, prefix, before, attributes)).unwrap();
            let [Record::Rib { prefix, entries }] = records.as_slice() else { panic!("{records:?}") };
            let [Entry { peer: 1, since, path_id, path: Some((attributes, next_hop)) }] = entries.as_slice()
            else {
                panic!("{entries:?}")
            };
            assert_eq!((prefix.to_string().as_str(), next_hop.to_string().as_str(), *path_id), expected);
            assert_eq!((*since, attributes.as_path.to_string().as_str()), (1_772_366_144_000_000, "65000"));
        }
    }

    #[test]
    fn recorded_messages_say_how_they_are_to_be_read() {
        let keepalive = [&[0xff; 16][..], &[0, 19, 4]].concat();
        let narrow = [&[0xfd, 0xe8, 0xfc, 0, 0, 0, 0, 1, 10, 0, 0, 1, 10, 0, 0, 11][..], &keepalive].concat();
        let wide =
            [&[0, 0, 0xfd, 0xe8, 0, 0, 0xfc, 0, 0, 0, 0, 1, 10, 0, 0, 1, 10, 0, 0, 11][..], &keepalive]
                .concat();
        let timed = [&[0, 0, 0, 9][..], &wide].concat();
        let peer = Peer { address: [10, 0, 0, 1].into(), asn: Asn(65000) };
        for (kind, subtype, body, four_octet_as, add_path) in [
            (16, 1, &narrow, false, false),
            (16, 4, &wide, true, false),
            (16, 9, &wide, true, true),
            (17, 4, &timed, true, false),
        ] {
            let expected =
                Record::Message { peer: peer.clone(), message: keepalive.clone(), four_octet_as, add_path };
            assert_eq!(read(&record(kind, subtype, body)).unwrap(), [expected], "{kind}/{subtype}");
        }
        let state = [&wide[..20], &[0, 6, 0, 1]].concat();
        assert_eq!(read(&record(16, 5, &state)).unwrap(), [Record::State { peer, from: 6, to: 1 }]);
    }

    /// Every record, however it ends.
    fn drain(bytes: &[u8]) {
        let mut records = Records::new(bytes);
        while let Ok(Some(_)) = records.next() {}
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read_to_an_end(
            bytes: Vec<u8>,
            kind in proptest::sample::select(vec![13_u16, 16, 17]),
            subtype in 0_u16..12,
        ) {
            drain(&bytes);
            drain(&record(kind, subtype, &bytes));
        }

        #[test]
        fn a_dump_with_some_octets_changed_is_read_to_an_end(
            changes in proptest::collection::vec(proptest::prelude::any::<(proptest::sample::Index, u8)>(), 1..8),
        ) {
            let attributes = [PATH, &[0x40, 3, 4, 10, 0, 0, 1]].concat();
            let mut bytes = [peers(), rib(2, &[24, 203, 0, 113], &[], &attributes)].concat();
            for (at, octet) in changes {
                let at = at.index(bytes.len());
                bytes[at] = octet;
            }
            drain(&bytes);
        }
    }

    #[test]
    fn whatever_is_in_the_file_the_next_record_is_found_or_the_end_is_told() {
        let strange =
            [record(13, 99, &[1, 2]), record(48, 0, &[]), record(13, 2, &[0]), record(16, 1, &[])].concat();
        let kinds = |kind, subtype, octets| Record::Malformed { kind, subtype, octets };
        assert_eq!(
            read(&strange).unwrap(),
            [
                Record::Other { kind: 13, subtype: 99, octets: 2 },
                Record::Other { kind: 48, subtype: 0, octets: 0 },
                kinds(13, 2, 1),
                kinds(16, 1, 0)
            ]
        );
        for cut in 1..peers().len() {
            assert!(matches!(read(&peers()[..cut]), Err(MrtError::CutShort(1))), "{cut}");
        }
        assert!(matches!(
            read(b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xff\xff"),
            Err(MrtError::Io(_) | MrtError::TooLong { .. } | MrtError::CutShort(1))
        ));
        assert!(matches!(read(&[0xff; 40]), Err(MrtError::TooLong { record: 1, .. })));
    }
}
