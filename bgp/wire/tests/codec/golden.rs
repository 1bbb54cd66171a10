//! Bytes that BIRD 2.0.12 sent (AS 4200000000 towards AS 64512), and some made by hand after other routers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::BytesMut;
use proxima_bgp_wire::{
    AfiSafi, Aggregator, AsPath, Attributes, Capability, ErrorCode, Families, GracefulRestart, KEEPALIVE,
    Message, Negotiated, NextHop, Nlri, Notification, Open, Origin, RareAttributes, RawAttribute, Reach,
    RouteRefresh, Segment, SegmentKind, Update, update,
};
use proxima_types::{Asn, Community, Family, LargeCommunity, Prefix};

use super::{after_marker, decode_update, encode, hex, message, modern, two_octet};

const BIRD: Asn = Asn(4_200_000_000);

fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix or an address")
}

fn nlri(text: &str) -> Nlri {
    prefix(text).into()
}

fn v4(text: &str) -> NextHop {
    NextHop::from(IpAddr::V4(text.parse().expect("a prefix or an address")))
}

fn v6(text: &str) -> NextHop {
    NextHop::from(IpAddr::V6(text.parse().expect("a prefix or an address")))
}

/// The OPEN of BIRD in its default configuration.
fn bird_open() -> (Vec<u8>, Open) {
    let bytes = after_marker(
        "003b01 04 5ba0 0009 c0000201 1e 021c 0104 00010001 0104 00020001 0200 4002 0078 4104 fa56ea00 4600 4700",
    );
    let capabilities = vec![
        Capability::multiprotocol(Family::Ipv4),
        Capability::multiprotocol(Family::Ipv6),
        Capability::RouteRefresh,
        Capability::GracefulRestart(GracefulRestart {
            restarted: false,
            notification: false,
            restart_time: 120,
            families: Vec::new(),
        }),
        Capability::FourOctetAs(BIRD),
        Capability::EnhancedRouteRefresh,
        Capability::Unknown { code: 71, value: Vec::new() },
    ];
    (bytes, Open::new(BIRD, 9, Ipv4Addr::new(192, 0, 2, 1), capabilities))
}

/// What every route of BIRD's has.
fn bird_attributes() -> Attributes {
    Attributes { origin: Origin::Igp, as_path: AsPath::sequence([BIRD]), ..Attributes::default() }
}

fn bird_attributes_with_everything() -> Attributes {
    Attributes {
        communities: [Community(0xfc00_0064), Community::GRACEFUL_SHUTDOWN].into(),
        large_communities: [LargeCommunity { global: 64512, local1: 1, local2: 2 }].into(),
        rare: RareAttributes {
            extended_communities: [[0x00, 0x02, 0xfc, 0x00, 0, 0, 0, 7]].into(),
            ..RareAttributes::default()
        }
        .into(),
        ..bird_attributes()
    }
}

#[test]
fn the_open_of_bird_is_read_and_written_to_the_octet() {
    let (bytes, open) = bird_open();
    assert_eq!(Message::decode(&bytes, Negotiated::default()), Ok(Message::Open(open.clone())));
    assert_eq!(encode(&Message::Open(open), Negotiated::default()), Ok(bytes));
}

#[test]
fn one_capability_per_parameter_is_read_like_all_in_one() {
    // As Cisco and FRR send it, with the old route refresh capability 128 and FQDN 73.
    let bytes = message(
        1,
        &hex("04 fde8 00b4 c0000263 2a
              0206 0104 00010001  0202 8000  0202 0200  0206 4104 0000fde8  0206 4504 00010101
              0208 4906 04 746f7231 00"),
    );
    let Ok(Message::Open(open)) = Message::decode(&bytes, Negotiated::default()) else { panic!("not read") };
    assert_eq!(open.asn, Asn(65000));
    assert_eq!(open.hold_time, 180);
    assert_eq!(open.capabilities.iter().map(Capability::code).collect::<Vec<_>>(), [1, 128, 2, 65, 69, 73]);
    assert!(open.families().contains(Family::Ipv4) && !open.families().contains(Family::Ipv6));
}

#[test]
fn an_open_without_capabilities_means_ipv4_and_two_octets() {
    let bytes = message(1, &hex("04 fc00 0000 c0000201 00"));
    let Ok(Message::Open(open)) = Message::decode(&bytes, Negotiated::default()) else { panic!("not read") };
    assert_eq!((open.asn, open.hold_time, open.four_octet_as()), (Asn(64512), 0, None));
    let (_, bird) = bird_open();
    let negotiated = Negotiated::between(&bird, &open);
    assert_eq!(negotiated, Negotiated::default());
    assert_eq!(encode(&Message::Open(open), negotiated), Ok(bytes));
}

#[test]
fn two_opens_agree_on_what_both_offer() {
    let (_, bird) = bird_open();
    let mut ours = Open::new(
        Asn(64512),
        9,
        Ipv4Addr::new(192, 0, 2, 11),
        vec![
            Capability::multiprotocol(Family::Ipv4),
            Capability::multiprotocol(Family::Ipv6),
            Capability::RouteRefresh,
            Capability::ExtendedMessage,
            Capability::FourOctetAs(Asn(64512)),
        ],
    );
    // BIRD offers no extended messages; it may send them all the same, as we offer to take them.
    let expected = Negotiated { extended_messages_receive: true, enhanced_refresh: false, ..modern() };
    assert_eq!(Negotiated::between(&ours, &bird), expected);
    ours.capabilities.remove(0);
    assert_eq!(Negotiated::between(&ours, &bird).families.iter().collect::<Vec<_>>(), [Family::Ipv6]);
}

#[test]
fn a_peer_that_offers_only_families_we_do_not_know_shares_none() {
    let vpn = Open::new(
        BIRD,
        9,
        Ipv4Addr::new(192, 0, 2, 1),
        vec![Capability::Multiprotocol(AfiSafi { afi: 1, safi: 128 })],
    );
    assert!(Negotiated::between(&bird_open().1, &vpn).families.is_empty());
}

#[test]
fn extended_parameters_are_read_whatever_the_short_length_says() {
    for short_length in ["ff", "01", "00"] {
        let bytes = message(
            1,
            &hex(&format!("04 fc00 0009 c0000201 {short_length} ff 000c 02 0009 0104 00020001 4601 00")),
        );
        let Ok(Message::Open(open)) = Message::decode(&bytes, Negotiated::default()) else {
            panic!("not read")
        };
        assert_eq!(
            open.capabilities,
            [Capability::multiprotocol(Family::Ipv6), Capability::Unknown { code: 70, value: vec![0] }],
            "a misshapen capability we can live without is kept as unknown"
        );
    }
}

#[test]
fn parameters_are_extended_only_above_255_octets() {
    let open = |octets: usize| {
        let capabilities = vec![
            Capability::Unknown { code: 200, value: vec![7; octets - 2 - 2 - 100] },
            Capability::Unknown { code: 201, value: vec![8; 98] },
        ];
        Open::new(Asn(64512), 9, Ipv4Addr::new(192, 0, 2, 11), capabilities)
    };
    let just = encode(&Message::Open(open(255)), Negotiated::default()).unwrap();
    assert_eq!(just[28..32], [255, 2, 253, 200]);
    let above = encode(&Message::Open(open(256)), Negotiated::default()).unwrap();
    assert_eq!(above[28..36], [255, 255, 1, 1, 2, 0, 254, 200]);
    for (bytes, octets) in [(just, 255), (above, 256)] {
        assert_eq!(Message::decode(&bytes, Negotiated::default()), Ok(Message::Open(open(octets))));
    }
}

#[test]
fn keepalive_and_route_refresh_are_written_to_the_octet() {
    assert_eq!(KEEPALIVE.to_vec(), after_marker("0013 04"));
    assert_eq!(encode(&Message::Keepalive, modern()), Ok(KEEPALIVE.to_vec()));
    let refresh = after_marker("0017 05 0002 00 01");
    let request = Message::RouteRefresh(RouteRefresh::request(Family::Ipv6));
    assert_eq!(Message::decode(&refresh, modern()), Ok(request.clone()));
    assert_eq!(encode(&request, modern()), Ok(refresh));
}

#[test]
fn ipv4_routes_of_bird_are_read_and_written_to_the_octet() {
    let cases = [
        (
            modern(),
            "0035 02 0000 0014 400101 00 400206 0201 fa56ea00 400304 c0000209 19 c6336400 19 c6336480",
            bird_attributes(),
            vec![nlri("198.51.100.0/25"), nlri("198.51.100.128/25")],
        ),
        (
            modern(),
            "0054 02 0000 0039 400101 00 400206 0201 fa56ea00 400304 c0000209 c00808 fc000064 ffff0000
             c01008 0002fc0000000007 c0200c 0000fc00 00000001 00000002 18 cb0071",
            bird_attributes_with_everything(),
            vec![nlri("203.0.113.0/24")],
        ),
        (
            modern(),
            "0030 02 0000 0018 400101 00 40020a 0202 fa56ea00 0001000f 400304 c0000209 00",
            Attributes { as_path: AsPath::sequence([BIRD, Asn(65551)]), ..bird_attributes() },
            vec![nlri("0.0.0.0/0")],
        ),
    ];
    for (negotiated, bytes, attributes, nlri) in cases {
        let bytes = after_marker(bytes);
        let update = Update {
            reach: vec![Reach { next_hop: v4("192.0.2.9"), nlri }],
            attributes,
            ..Update::default()
        };
        assert_eq!(decode_update(&bytes, negotiated), Ok(update.clone()));
        assert_eq!(encode(&Message::Update(update), negotiated), Ok(bytes));
    }
}

#[test]
fn the_as_path_of_a_two_octet_peer_is_made_whole() {
    let cases = [
        (
            "0039 02 0000 0021 400101 00 400206 0202 5ba0 5ba0 400304 c0000209 c0110a 0202 fa56ea00 0001000f 00",
            Attributes { as_path: AsPath::sequence([BIRD, Asn(65551)]), ..bird_attributes() },
            vec![nlri("0.0.0.0/0")],
        ),
        (
            "005b 02 0000 0040 400101 00 400204 0201 5ba0 400304 c0000209 c00808 fc000064 ffff0000
             c01008 0002fc0000000007 c01106 0201 fa56ea00 c0200c 0000fc00 00000001 00000002 18 cb0071",
            bird_attributes_with_everything(),
            vec![nlri("203.0.113.0/24")],
        ),
    ];
    for (bytes, attributes, nlri) in cases {
        let bytes = after_marker(bytes);
        let update = Update {
            reach: vec![Reach { next_hop: v4("192.0.2.9"), nlri }],
            attributes,
            ..Update::default()
        };
        assert_eq!(decode_update(&bytes, two_octet()), Ok(update.clone()));
        assert_eq!(encode(&Message::Update(update), two_octet()), Ok(bytes));
    }
}

#[test]
fn as4_path_replaces_the_far_end_only() {
    let sequence = |asns: &[u32]| AsPath::sequence(asns.iter().copied().map(Asn));
    let with_set = AsPath::from_segments([
        Segment { kind: SegmentKind::Sequence, asns: &[Asn(7), Asn(70000)] },
        Segment { kind: SegmentKind::Set, asns: &[Asn(80000), Asn(80001)] },
    ]);
    let cases = [
        (
            "an old speaker prepended itself",
            "0203 0007 5ba0 0009",
            "0202 00011170 00000009",
            sequence(&[7, 70000, 9]),
        ),
        ("the same length", "0202 5ba0 0009", "0202 00011170 00000009", sequence(&[70000, 9])),
        ("longer than AS_PATH: ignored", "0201 0009", "0202 00011170 00000009", sequence(&[9])),
        (
            "a set counts as one",
            "0202 0007 5ba0 0102 5ba0 5ba0",
            "0201 00011170 0102 00013880 00013881",
            with_set,
        ),
        (
            "segments of a confederation are skipped",
            "0202 0007 5ba0",
            "0301 0000fde8 0201 00011170",
            sequence(&[7, 70000]),
        ),
    ];
    for (claim, as_path, as4_path, merged) in cases {
        let (as_path, as4_path) = (hex(as_path), hex(as4_path));
        let attributes = [
            &hex("400101 00 400304 c0000209")[..],
            &[0x40, 2, as_path.len() as u8],
            &as_path,
            &[0xc0, 17, as4_path.len() as u8],
            &as4_path,
        ]
        .concat();
        let update = decode_update(&super::update(&[], &attributes, &[0]), two_octet()).unwrap();
        assert_eq!(update.attributes.as_path, merged, "{claim}");
        assert!(update.problems.is_empty(), "{claim}");
    }
}

#[test]
fn as4_attributes_do_not_count_when_an_old_speaker_aggregated_later() {
    let attributes = hex("400101 00 400304 c0000209 400206 0202 0007 5ba0 c00706 0007 c0000207
         c01106 0201 00011170 c01208 00011170 c0000208");
    let update = decode_update(&super::update(&[], &attributes, &[0]), two_octet()).unwrap();
    assert_eq!(update.attributes.as_path, AsPath::sequence([Asn(7), Asn::TRANS]));
    assert_eq!(update.attributes.rare.aggregator.map(|by| by.asn), Some(Asn(7)));

    let attributes =
        hex("400101 00 400304 c0000209 400204 0201 5ba0 c00706 5ba0 c0000207 c01208 00011170 c0000208");
    let update = decode_update(&super::update(&[], &attributes, &[0]), two_octet()).unwrap();
    assert_eq!(update.attributes.rare.aggregator.map(|by| by.asn), Some(Asn(70000)));

    // Without AS4_AGGREGATOR the aggregator says nothing about AS4_PATH.
    let attributes =
        hex("400101 00 400304 c0000209 400204 0201 5ba0 c00706 0007 c0000207 c01106 0201 00011170");
    let update = decode_update(&super::update(&[], &attributes, &[0]), two_octet()).unwrap();
    assert_eq!(update.attributes.as_path, AsPath::sequence([Asn(70000)]));
    assert_eq!(update.attributes.rare.aggregator.map(|by| by.asn), Some(Asn(7)));
}

#[test]
fn ipv6_routes_of_bird_are_read() {
    // BIRD sets the extended length bit here without need.
    let bytes = after_marker(
        "0053 02 0000 003c 900e0024 0002 01 10 20010db8000000000000000000000009 00
         31 20010db800ad00 30 20010db800ac 400101 00 400206 0201 fa56ea00 800404 00000032",
    );
    let update = Update {
        reach: vec![Reach {
            next_hop: v6("2001:db8::9"),
            nlri: vec![nlri("2001:db8:ad::/49"), nlri("2001:db8:ac::/48")],
        }],
        attributes: Attributes { med: Some(50), ..bird_attributes() },
        ..Update::default()
    };
    assert_eq!(decode_update(&bytes, modern()), Ok(update.clone()));

    let written = after_marker(
        "0052 02 0000 003b 800e24 0002 01 10 20010db8000000000000000000000009 00
         31 20010db800ad00 30 20010db800ac 400101 00 400206 0201 fa56ea00 800404 00000032",
    );
    assert_eq!(encode(&Message::Update(update), modern()), Ok(written));
}

#[test]
fn next_hops_of_32_octets_are_read() {
    let link_local: Ipv6Addr = "fe80::1".parse().unwrap();
    let read = |global: &str, second: &str| {
        let attributes = hex(&format!(
            "800e2c 0002 01 20 {global} {second} 00 30 20010db800ac 400101 00 400206 0201 0000fde8"
        ));
        decode_update(&super::update(&[], &attributes, &[]), modern()).unwrap().reach[0].next_hop
    };
    let global = "20010db8000000000000000000000009";
    let fe80 = "fe800000000000000000000000000001";
    let zero = "00000000000000000000000000000000";
    assert_eq!(read(global, fe80), NextHop { link_local: Some(link_local), ..v6("2001:db8::9") });
    assert_eq!(read(global, zero), v6("2001:db8::9"), "what is not link-local is left out");
    assert_eq!(read(zero, fe80), NextHop { link_local: Some(link_local), ..v6("fe80::1") });
    assert_eq!(read(fe80, fe80), NextHop { link_local: Some(link_local), ..v6("fe80::1") });
}

#[test]
fn withdrawals_of_bird_are_read_and_written() {
    let ipv4 = after_marker("0026 02 000f 00 19 c6336400 19 c6336480 18 cb0071 0000");
    let update = Update {
        withdrawn: vec![
            nlri("0.0.0.0/0"),
            nlri("198.51.100.0/25"),
            nlri("198.51.100.128/25"),
            nlri("203.0.113.0/24"),
        ],
        ..Update::default()
    };
    assert_eq!(decode_update(&ipv4, modern()), Ok(update.clone()));
    assert_eq!(encode(&Message::Update(update), modern()), Ok(ipv4));

    let ipv6 = after_marker("002d 02 0000 0016 900f0012 0002 01 31 20010db800ad00 30 20010db800ac");
    let update =
        Update { withdrawn: vec![nlri("2001:db8:ad::/49"), nlri("2001:db8:ac::/48")], ..Update::default() };
    assert_eq!(decode_update(&ipv6, modern()), Ok(update.clone()));
    let written = after_marker("002c 02 0000 0015 800f12 0002 01 31 20010db800ad00 30 20010db800ac");
    assert_eq!(encode(&Message::Update(update), modern()), Ok(written));
}

#[test]
fn end_of_rib_is_read_and_written() {
    let mark = |family| Update { end_of_rib: Some(family), ..Update::default() };
    for (bytes, family) in [
        ("0017 02 0000 0000", Family::Ipv4),
        ("001d 02 0000 0006 800f03 0002 01", Family::Ipv6),
        ("001e 02 0000 0007 900f0003 0002 01", Family::Ipv6),
        ("001d 02 0000 0006 800f03 0001 01", Family::Ipv4),
    ] {
        assert_eq!(decode_update(&after_marker(bytes), modern()), Ok(mark(family)), "{bytes}");
    }
    let mut written = BytesMut::new();
    update::end_of_rib(Family::Ipv4, &mut written);
    update::end_of_rib(Family::Ipv6, &mut written);
    assert_eq!(
        written.to_vec(),
        [after_marker("0017 02 0000 0000"), after_marker("001d 02 0000 0006 800f03 0002 01")].concat()
    );
}

#[test]
fn an_ipv6_next_hop_carries_ipv4_only_where_negotiated() {
    let attributes = hex("800e1d 0001 01 10 20010db8000000000000000000000009 00 18 cb0071 30 20010db800ac
                          400101 00 400206 0201 0000fde8");
    let extended = Negotiated { extended_next_hop_receive: true, extended_next_hop_send: true, ..modern() };
    // The second prefix is too long for IPv4: the family counts, not the next hop.
    assert!(decode_update(&super::update(&[], &attributes, &[]), extended).is_err());

    let attributes = hex("800e19 0001 01 10 20010db8000000000000000000000009 00 18 cb0071
                          400101 00 400206 0201 0000fde8");
    let bytes = super::update(&[], &attributes, &[]);
    let update = decode_update(&bytes, extended).unwrap();
    assert_eq!(update.reach, [Reach { next_hop: v6("2001:db8::9"), nlri: vec![nlri("203.0.113.0/24")] }]);
    assert_eq!(encode(&Message::Update(update), extended), Ok(bytes.clone()));
    let refused = decode_update(&bytes, modern()).unwrap_err().to_notification();
    assert_eq!((refused.code, refused.subcode), (3, 9));
}

#[test]
fn the_shutdown_of_bird_is_read_and_written_to_the_octet() {
    let bytes = after_marker("002b 03 06 02 15 6d61696e74656e616e636520696e207261636b2037");
    let shutdown = Notification::shutdown("maintenance in rack 7");
    assert_eq!(Message::decode(&bytes, modern()), Ok(Message::Notification(shutdown.clone())));
    assert_eq!(encode(&Message::Notification(shutdown.clone()), modern()), Ok(bytes));
    assert_eq!(shutdown.to_string(), r#"administrative shutdown (6/2): "maintenance in rack 7""#);
}

#[test]
fn what_we_announce_is_written_to_the_octet() {
    // Degraded: prepended twice, MED, two communities. Written by hand after RFC 4271 §4.3, 1997, 4760.
    let attributes = Attributes {
        origin: Origin::Igp,
        as_path: AsPath::sequence([Asn(64512); 3]),
        med: Some(200),
        local_pref: Some(100),
        communities: [Community(0xfc00_0064), Community(0xfc00_029a)].into(),
        ..Attributes::default()
    };
    let mut buf = BytesMut::new();
    let ours = [prefix("203.0.113.0/24"), prefix("198.51.100.0/22")];
    assert_eq!(update::announce(&attributes, v4("10.0.0.2"), ours, modern(), &mut buf), Ok(1));
    assert_eq!(
        buf.to_vec(),
        after_marker(
            "004d 02 0000 002e
             400101 00  40020e 0203 0000fc00 0000fc00 0000fc00  400304 0a000002  800404 000000c8
             c00808 fc000064 fc00029a
             18 cb0071  16 c63364"
        ),
        "no LOCAL_PREF towards another AS"
    );

    buf.clear();
    let ours = [prefix("2001:db8:ac::/48")];
    assert_eq!(update::announce(&attributes, v6("2001:db8::2"), ours, super::internal(), &mut buf), Ok(1));
    assert_eq!(
        buf.to_vec(),
        after_marker(
            "0064 02 0000 004d
             800e1c 0002 01 10 20010db8000000000000000000000002 00 30 20010db800ac
             400101 00  40020e 0203 0000fc00 0000fc00 0000fc00  800404 000000c8  400504 00000064
             c00808 fc000064 fc00029a"
        )
    );
}

fn path(text: &str, path_id: u32) -> Nlri {
    Nlri { prefix: prefix(text), path_id }
}

#[test]
fn several_paths_of_a_prefix_are_read_and_written_in_every_field() {
    // By hand after RFC 7911 §3: four octets before each prefix.
    let negotiated = Negotiated { add_path_receive: Families::ALL, add_path_send: Families::ALL, ..modern() };
    let attributes = "400101 00 400206 0201 fa56ea00";
    let cases = [
        (
            super::update(
                &[],
                &hex(&format!("{attributes} 400304 c0000209")),
                &hex("00000001 18 cb0071 00000002 18 cb0071 ffffffff 00"),
            ),
            Update {
                reach: vec![Reach {
                    next_hop: v4("192.0.2.9"),
                    nlri: vec![
                        path("203.0.113.0/24", 1),
                        path("203.0.113.0/24", 2),
                        path("0.0.0.0/0", u32::MAX),
                    ],
                }],
                attributes: bird_attributes(),
                ..Update::default()
            },
        ),
        (
            super::update(
                &[],
                &hex(&format!(
                    "800e2b 0002 01 10 20010db8000000000000000000000009 00
                     00000003 30 20010db800ac 00000004 30 20010db800ac {attributes}"
                )),
                &[],
            ),
            Update {
                reach: vec![Reach {
                    next_hop: v6("2001:db8::9"),
                    nlri: vec![path("2001:db8:ac::/48", 3), path("2001:db8:ac::/48", 4)],
                }],
                attributes: bird_attributes(),
                ..Update::default()
            },
        ),
        (
            super::update(&hex("00000007 19 c6336400"), &[], &[]),
            Update { withdrawn: vec![path("198.51.100.0/25", 7)], ..Update::default() },
        ),
        (
            super::update(&[], &hex("800f0e 0002 01 00000008 30 20010db800ad"), &[]),
            Update { withdrawn: vec![path("2001:db8:ad::/48", 8)], ..Update::default() },
        ),
    ];
    for (bytes, update) in cases {
        assert_eq!(decode_update(&bytes, negotiated), Ok(update.clone()));
        assert_eq!(encode(&Message::Update(update), negotiated), Ok(bytes.clone()));
        assert_ne!(
            decode_update(&bytes, Negotiated { add_path_send: Families::ALL, ..modern() }),
            decode_update(&bytes, negotiated)
        );
    }
    assert_eq!(path("203.0.113.0/24", 7).to_string(), "203.0.113.0/24 path 7");
    assert_eq!(nlri("203.0.113.0/24").to_string(), "203.0.113.0/24");
}

#[test]
fn path_identifiers_of_one_family_leave_the_other_alone() {
    let negotiated = Negotiated { add_path_receive: Families::IPV4, ..modern() };
    let attributes = hex(
        "800e1c 0002 01 10 20010db8000000000000000000000009 00 30 20010db800ac 400101 00 400206 0201 fa56ea00
         400304 c0000209",
    );
    let bytes = super::update(&[], &attributes, &hex("00000001 18 cb0071"));
    let update = decode_update(&bytes, negotiated).unwrap();
    assert_eq!(update.reach[0].nlri, [path("203.0.113.0/24", 1)]);
    assert_eq!(update.reach[1].nlri, [nlri("2001:db8:ac::/48")]);
}

#[test]
fn a_path_identifier_without_a_prefix_ends_the_session() {
    let negotiated = Negotiated { add_path_receive: Families::ALL, ..modern() };
    for field in ["00000001", "000000", "00000001 18 cb00", "00000001 21 cb00710000"] {
        let refused = decode_update(&super::update(&hex(field), &[], &[]), negotiated).unwrap_err();
        assert_eq!(refused.to_notification(), Notification::new(ErrorCode(3, 10), []), "{field}");
    }
}

#[test]
fn only_to_customer_is_read_and_written_to_the_octet() {
    // RFC 9234 §5: optional transitive, type 35, one AS number of four octets, towards old speakers too.
    for (negotiated, as_path) in [(modern(), "400206 0201 0000fde8"), (two_octet(), "400204 0201 fde8")] {
        let attributes = format!("400101 00 {as_path} 400304 c0000209 c02304 fa56ea00");
        let bytes = super::update(&[], &hex(&attributes), &hex("18 cb0071"));
        let update = decode_update(&bytes, negotiated).unwrap();
        assert_eq!(update.attributes.only_to_customer, Some(BIRD));
        assert_eq!(encode(&Message::Update(update), negotiated), Ok(bytes));
    }
}

#[test]
fn attributes_few_routes_have_are_read_and_written_to_the_octet() {
    let bytes = super::update(
        &[],
        &hex("400101 01  40020a 0202 fa56ea00 0001000f  400304 c0000209  800404 00000032  400504 00000064
              400600  c00708 00011170 c0000208  800904 c0000263  800a08 c0000262 c0000261
              c01010 0002fc0000000007 030c000000000008  e0c802 abcd"),
        &hex("18 cb0071"),
    );
    let update = Update {
        reach: vec![Reach { next_hop: v4("192.0.2.9"), nlri: vec![nlri("203.0.113.0/24")] }],
        attributes: Attributes {
            origin: Origin::Egp,
            as_path: AsPath::sequence([BIRD, Asn(65551)]),
            med: Some(50),
            local_pref: Some(100),
            atomic_aggregate: true,
            rare: RareAttributes {
                aggregator: Some(Aggregator { asn: Asn(70000), router_id: Ipv4Addr::new(192, 0, 2, 8) }),
                extended_communities: [[0x00, 0x02, 0xfc, 0x00, 0, 0, 0, 7], [0x03, 0x0c, 0, 0, 0, 0, 0, 8]]
                    .into(),
                originator_id: Some(Ipv4Addr::new(192, 0, 2, 99)),
                cluster_list: [Ipv4Addr::new(192, 0, 2, 98), Ipv4Addr::new(192, 0, 2, 97)].into(),
                unknown: [RawAttribute { flags: 0xe0, code: 200, value: [0xab, 0xcd].into() }].into(),
            }
            .into(),
            ..Attributes::default()
        },
        ..Update::default()
    };
    assert_eq!(decode_update(&bytes, super::internal()), Ok(update.clone()));
    assert_eq!(encode(&Message::Update(update), super::internal()), Ok(bytes));
}

#[test]
fn what_an_old_speaker_can_not_read_goes_beside_it() {
    // RFC 6793 §4.2.2: AS_TRANS in the old attributes, the numbers themselves in the new ones.
    let bytes = super::update(
        &[],
        &hex("400101 00  40020a 0202 5ba0 0007 0101 5ba0  400304 c0000209  c00706 5ba0 c0000208
              c01110 0202 fa56ea00 00000007 0101 00011170  c01208 00011170 c0000208"),
        &hex("18 cb0071"),
    );
    let as_path = AsPath::from_segments([
        Segment { kind: SegmentKind::Sequence, asns: &[BIRD, Asn(7)] },
        Segment { kind: SegmentKind::Set, asns: &[Asn(70000)] },
    ]);
    let aggregator = Some(Aggregator { asn: Asn(70000), router_id: Ipv4Addr::new(192, 0, 2, 8) });
    let update = Update {
        reach: vec![Reach { next_hop: v4("192.0.2.9"), nlri: vec![nlri("203.0.113.0/24")] }],
        attributes: Attributes {
            origin: Origin::Igp,
            as_path,
            rare: RareAttributes { aggregator, ..RareAttributes::default() }.into(),
            ..Attributes::default()
        },
        ..Update::default()
    };
    assert_eq!(encode(&Message::Update(update.clone()), two_octet()), Ok(bytes.clone()));
    assert_eq!(decode_update(&bytes, two_octet()), Ok(update));
}

#[test]
fn ipv4_over_two_ipv6_addresses_is_read_and_written_to_the_octet() {
    // RFC 8950 §4 with the two addresses of RFC 2545 §3.
    let extended = Negotiated { extended_next_hop_receive: true, extended_next_hop_send: true, ..modern() };
    let bytes = super::update(
        &[],
        &hex(
            "800e29 0001 01 20 20010db8000000000000000000000009 fe800000000000000000000000000001 00 18 cb0071
              400101 00 400206 0201 fa56ea00",
        ),
        &[],
    );
    let next_hop = NextHop { link_local: Some("fe80::1".parse().unwrap()), ..v6("2001:db8::9") };
    let update = Update {
        reach: vec![Reach { next_hop, nlri: vec![nlri("203.0.113.0/24")] }],
        attributes: bird_attributes(),
        ..Update::default()
    };
    assert_eq!(decode_update(&bytes, extended), Ok(update.clone()));
    assert_eq!(encode(&Message::Update(update), extended), Ok(bytes));
    assert_eq!(next_hop.to_string(), "2001:db8::9 (fe80::1)");
}

#[test]
fn an_ipv4_next_hop_in_mp_reach_is_read() {
    let attributes = hex("800e0d 0001 01 04 c0000209 00 18 cb0071 400101 00 400206 0201 fa56ea00");
    let update = decode_update(&super::update(&[], &attributes, &[]), modern()).unwrap();
    assert_eq!(update.reach, [Reach { next_hop: v4("192.0.2.9"), nlri: vec![nlri("203.0.113.0/24")] }]);
}

#[test]
fn large_communities_are_taken_and_sent_once_each() {
    // RFC 8092 §3.
    let twice = "c02024 0000fc00 00000001 00000002 0000fc00 00000000 00000000 0000fc00 00000001 00000002";
    let once = "c02018 0000fc00 00000001 00000002 0000fc00 00000000 00000000";
    let with = |large: &str| {
        let attributes = format!("400101 00 400206 0201 fa56ea00 400304 c0000209 {large}");
        super::update(&[], &hex(&attributes), &hex("18 cb0071"))
    };
    let mut update = decode_update(&with(twice), modern()).unwrap();
    let large = |local1, local2| LargeCommunity { global: 64512, local1, local2 };
    assert_eq!(*update.attributes.large_communities, [large(1, 2), large(0, 0)]);
    update.attributes.large_communities = [large(1, 2), large(0, 0), large(1, 2)].into();
    assert_eq!(encode(&Message::Update(update), modern()), Ok(with(once)));
}

#[test]
fn an_extended_message_holds_what_would_be_many() {
    let negotiated = Negotiated { extended_messages_receive: true, extended_messages_send: true, ..modern() };
    let hosts = |count: u32| (0..count).map(|n| Prefix::host(Ipv4Addr::from(0x0a00_0000 + n).into()));
    let attributes = bird_attributes();
    // 65535 octets but for 23 around and 20 of attributes: 13098 host routes of 5 octets, and 2 octets to spare.
    let mut buf = BytesMut::new();
    assert_eq!(update::announce(&attributes, v4("192.0.2.9"), hosts(13098), negotiated, &mut buf), Ok(1));
    assert_eq!(buf.len(), 65533);
    assert_eq!(decode_update(&buf, negotiated).unwrap().reach[0].nlri.len(), 13098);
    assert!(Message::decode(&buf, modern()).is_err());
    buf.clear();
    assert_eq!(update::announce(&attributes, v4("192.0.2.9"), hosts(13099), negotiated, &mut buf), Ok(2));
}
