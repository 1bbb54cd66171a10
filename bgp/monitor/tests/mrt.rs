//! MRT records, octet by octet as RFC 6396 and RFC 8050 lay them out.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::net::Ipv4Addr;

use bytes::BytesMut;
use common::{UPDATE, attributes, octets, time};
use proxima_bgp_monitor::mrt::{
    self, Ends, IndexedPeer, MessageForm, RibEntry, State, TableDump, TableDumpError,
};
use proxima_bgp_wire::{Attributes, NextHop, RawAttribute};
use proxima_types::Asn;

fn ends() -> Ends {
    Ends {
        peer_as: Asn(65550),
        local_as: Asn(64512),
        peer: "192.0.2.2".parse().unwrap(),
        local: "192.0.2.1".parse().unwrap(),
        interface: 3,
    }
}

fn peers() -> [IndexedPeer; 2] {
    let router_id = Ipv4Addr::new(10, 0, 0, 2);
    [
        IndexedPeer { router_id, address: "192.0.2.2".parse().unwrap(), asn: Asn(65550) },
        IndexedPeer { router_id, address: "2001:db8::2".parse().unwrap(), asn: Asn(64496) },
    ]
}

fn dump(buf: &mut BytesMut) -> TableDump {
    TableDump::begin(time(), Ipv4Addr::new(10, 0, 0, 1), "", &peers(), buf).unwrap()
}

fn entry<'a>(peer: u16, attributes: &'a Attributes, next_hop: &str) -> RibEntry<'a> {
    let next_hop = next_hop.parse::<std::net::IpAddr>().unwrap().into();
    RibEntry { peer, received: time(), path_id: 0, attributes, next_hop }
}

#[test]
fn a_message_stands_in_a_record_with_microseconds() {
    let form = MessageForm { four_octet_as: true, add_path: false, sent: false };
    let mut buf = BytesMut::new();
    mrt::message(time(), &ends(), form, &octets(UPDATE), &mut buf);
    let expected = octets(&format!(
        "65937d25 0011 0004 00000047 000002a6
         0001000e 0000fc00 0003 0001 c0000202 c0000201
         {UPDATE}"
    ));
    assert_eq!(buf, expected[..]);
}

#[test]
fn a_two_octet_session_has_two_octet_as_numbers_in_its_records() {
    let form = MessageForm { four_octet_as: false, add_path: false, sent: false };
    let mut buf = BytesMut::new();
    mrt::message(time(), &ends(), form, &[], &mut buf);
    let expected = octets("65937d25 0011 0001 00000014 000002a6 5ba0 fc00 0003 0001 c0000202 c0000201");
    assert_eq!(buf, expected[..]);
}

#[test]
fn the_subtype_tells_size_of_as_numbers_direction_and_path_identifiers() {
    for (four_octet_as, sent, add_path, subtype) in [
        (false, false, false, 1),
        (true, false, false, 4),
        (false, true, false, 6),
        (true, true, false, 7),
        (false, false, true, 8),
        (true, false, true, 9),
        (false, true, true, 10),
        (true, true, true, 11),
    ] {
        let mut buf = BytesMut::new();
        mrt::message(time(), &ends(), MessageForm { four_octet_as, add_path, sent }, &[], &mut buf);
        assert_eq!(buf[6..8], [0, subtype]);
    }
}

#[test]
fn a_change_of_state_tells_both_states() {
    let ends = Ends {
        peer: "2001:db8::2".parse().unwrap(),
        local: "2001:db8::1".parse().unwrap(),
        interface: 0,
        ..ends()
    };
    let mut buf = BytesMut::new();
    mrt::state_change(time(), &ends, State::OpenConfirm, State::Established, &mut buf);
    let expected = octets(
        "65937d25 0011 0005 00000034 000002a6
         0001000e 0000fc00 0000 0002
         20010db8000000000000000000000002 20010db8000000000000000000000001
         0005 0006",
    );
    assert_eq!(buf, expected[..]);
}

#[test]
fn a_dump_begins_with_its_peers() {
    let mut buf = BytesMut::new();
    TableDump::begin(time(), Ipv4Addr::new(10, 0, 0, 1), "fra1", &peers(), &mut buf).unwrap();
    let expected = octets(
        "65937d25 000d 0001 00000032
         0a000001 0004 66726131 0002
         02 0a000002 c0000202 0001000e
         03 0a000002 20010db8000000000000000000000002 0000fbf0",
    );
    assert_eq!(buf, expected[..]);
}

#[test]
fn a_prefix_has_an_entry_for_each_path() {
    let mut buf = BytesMut::new();
    let mut dump = dump(&mut buf);
    buf.clear();
    let attributes = attributes();
    let entries = [entry(0, &attributes, "192.0.2.2"), entry(1, &attributes, "192.0.2.3")];
    dump.prefix(time(), "203.0.113.0/24".parse().unwrap(), &entries, &mut buf).unwrap();
    let shared = "80 04 04 00000032  c0 08 04 fbf00001";
    let expected = octets(&format!(
        "65937d25 000d 0002 00000066
         00000000 18 cb0071 0002
         0000 65937d25 0026
           40 01 01 00  40 02 0a 02 02 0001000e 0000fbf0  40 03 04 c0000202  {shared}
         0001 65937d25 0026
           40 01 01 00  40 02 0a 02 02 0001000e 0000fbf0  40 03 04 c0000203  {shared}"
    ));
    assert_eq!(buf, expected[..]);
}

#[test]
fn an_ipv6_next_hop_stands_alone_in_its_attribute() {
    let mut buf = BytesMut::new();
    let mut dump = dump(&mut buf);
    buf.clear();
    let attributes = Attributes { atomic_aggregate: true, med: None, communities: [].into(), ..attributes() };
    let link_local = RibEntry {
        next_hop: NextHop {
            address: "2001:db8::2".parse().unwrap(),
            link_local: Some("fe80::2".parse().unwrap()),
        },
        ..entry(1, &attributes, "::")
    };
    let entries = [entry(1, &attributes, "2001:db8::2"), link_local];
    dump.prefix(time(), "2001:db8:ac::/48".parse().unwrap(), &entries, &mut buf).unwrap();
    let behind = "40 01 01 00  40 02 0a 02 02 0001000e 0000fbf0  40 06 00";
    let expected = octets(&format!(
        "65937d25 000d 0004 0000007d
         00000000 30 20010db800ac 0002
         0001 65937d25 0028
           80 0e 11 10 20010db8000000000000000000000002  {behind}
         0001 65937d25 0038
           80 0e 21 20 20010db8000000000000000000000002 fe800000000000000000000000000002  {behind}"
    ));
    assert_eq!(buf, expected[..]);
}

#[test]
fn path_identifiers_come_with_their_own_subtypes() {
    let attributes = attributes();
    for (prefix, next_hop, plain, with_identifiers) in
        [("203.0.113.0/24", "192.0.2.2", 2, 8), ("2001:db8::/32", "2001:db8::2", 4, 10)]
    {
        let mut buf = BytesMut::new();
        let mut dump = dump(&mut buf);
        buf.clear();
        let first = entry(0, &attributes, next_hop);
        let second = RibEntry { path_id: 7, ..first };
        dump.prefix(time(), prefix.parse().unwrap(), &[first], &mut buf).unwrap();
        assert_eq!(buf[6..8], [0, plain]);
        assert_eq!(buf[12..16], [0, 0, 0, 0], "sequence number");
        buf.clear();
        dump.prefix(time(), prefix.parse().unwrap(), &[first, second], &mut buf).unwrap();
        assert_eq!(buf[6..8], [0, with_identifiers]);
        assert_eq!(buf[12..16], [0, 0, 0, 1], "sequence number");
        let identifier = 16 + 1 + prefix_octets(prefix) + 2 + 2 + 4;
        assert_eq!(buf[identifier..identifier + 4], [0, 0, 0, 0]);
        let length = usize::from(u16::from_be_bytes([buf[identifier + 4], buf[identifier + 5]]));
        let next = identifier + 6 + length + 2 + 4;
        assert_eq!(buf[next..next + 4], [0, 0, 0, 7]);
    }
}

fn prefix_octets(prefix: &str) -> usize {
    prefix.rsplit('/').next().unwrap().parse::<usize>().unwrap().div_ceil(8)
}

#[test]
fn attributes_have_65535_octets_at_most_the_next_hop_among_them() {
    let mut buf = BytesMut::new();
    let mut dump = dump(&mut buf);
    buf.clear();
    let prefix = "2001:db8:ac::/48".parse().unwrap();
    let mut of_length = |value: usize| {
        let mut long = attributes();
        long.rare.unknown = [RawAttribute { flags: 0xc0, code: 200, value: vec![0; value].into() }].into();
        let link_local = Some("fe80::2".parse().unwrap());
        let next_hop = NextHop { address: "2001:db8::2".parse().unwrap(), link_local };
        dump.prefix(time(), prefix, &[RibEntry { next_hop, ..entry(0, &long, "::") }], &mut buf)
    };
    // Beside the value: 4 of its header, 31 of the others, 36 of the next hop.
    of_length(65_535 - 71).unwrap();
    assert!(matches!(of_length(65_535 - 70), Err(TableDumpError::Attributes { .. })));
    let length_at = 12 + 4 + 7 + 2 + 2 + 4;
    assert_eq!(buf[length_at..length_at + 2], [0xff, 0xff]);
    assert_eq!(buf.len(), length_at + 2 + 65_535, "of the second nothing is left");
}

#[test]
fn nothing_is_written_of_a_prefix_without_paths_or_with_one_that_does_not_fit() {
    let mut buf = BytesMut::new();
    let mut dump = dump(&mut buf);
    buf.clear();
    let prefix = "203.0.113.0/24".parse().unwrap();
    dump.prefix(time(), prefix, &[], &mut buf).unwrap();
    let attributes = attributes();
    assert_eq!(
        dump.prefix(time(), prefix, &[entry(2, &attributes, "192.0.2.2")], &mut buf),
        Err(TableDumpError::NoSuchPeer { prefix, peer: 2, peers: 2 })
    );
    let mut long = attributes.clone();
    let unknown = RawAttribute { flags: 0xc0, code: 200, value: vec![0; 65_530].into() };
    long.rare.unknown = [unknown].into();
    let entries = [entry(0, &attributes, "192.0.2.2"), entry(0, &long, "192.0.2.2")];
    assert!(matches!(
        dump.prefix(time(), prefix, &entries, &mut buf),
        Err(TableDumpError::Attributes { .. })
    ));
    assert!(buf.is_empty());
    let peers = vec![peers()[0]; 65_536];
    let error = TableDump::begin(time(), Ipv4Addr::UNSPECIFIED, "", &peers, &mut buf).unwrap_err();
    assert_eq!(error, TableDumpError::TooManyPeers(65_536));
    assert!(buf.is_empty());
}
