//! What is written is read back the same, and no bytes make the decoder panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::BytesMut;
use proptest::{collection::vec, option, prelude::*, sample::Index};
use proxima_bgp_wire::{
    AddPath, AddPathMode, AfiSafi, Aggregator, AsPath, Attributes, Capability, EXTENDED_MAX_LEN,
    ExtendedNextHop, Families, GracefulRestart, GracefulRestartFamily, MAX_LEN, Message, Negotiated, NextHop,
    Nlri, Notification, Open, Origin, PeerKind, RareAttributes, RawAttribute, Reach, RefreshKind, Role,
    RouteRefresh, Segment, SegmentKind, Update, frame,
};
use proxima_types::{Asn, Community, Family, LargeCommunity, Prefix};

use super::{decode_update, encode, frames, message, modern};

fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1..=65535u32, 65536..=u32::MAX].prop_map(Asn)
}

fn afi_safi() -> impl Strategy<Value = AfiSafi> {
    (any::<u16>(), any::<u8>()).prop_map(|(afi, safi)| AfiSafi { afi, safi })
}

fn graceful_restart() -> impl Strategy<Value = GracefulRestart> {
    let family = (afi_safi(), any::<bool>())
        .prop_map(|(family, forwarding)| GracefulRestartFamily { family, forwarding });
    (any::<bool>(), any::<bool>(), 0..=4095u16, vec(family, 0..4)).prop_map(
        |(restarted, notification, restart_time, families)| GracefulRestart {
            restarted,
            notification,
            restart_time,
            families,
        },
    )
}

fn capability() -> impl Strategy<Value = Capability> {
    let mode = prop_oneof![Just(AddPathMode::Receive), Just(AddPathMode::Send), Just(AddPathMode::Both)];
    let role = prop_oneof![
        Just(Role::Provider),
        Just(Role::RouteServer),
        Just(Role::RouteServerClient),
        Just(Role::Customer),
        Just(Role::Peer)
    ];
    let extended_next_hop = any::<(u16, u16, u16)>().prop_map(|(afi, safi, next_hop_afi)| ExtendedNextHop {
        afi,
        safi,
        next_hop_afi,
    });
    prop_oneof![
        afi_safi().prop_map(Capability::Multiprotocol),
        Just(Capability::RouteRefresh),
        Just(Capability::ExtendedMessage),
        Just(Capability::EnhancedRouteRefresh),
        vec(extended_next_hop, 0..4).prop_map(Capability::ExtendedNextHop),
        role.prop_map(Capability::Role),
        graceful_restart().prop_map(Capability::GracefulRestart),
        vec((afi_safi(), mode).prop_map(|(family, mode)| AddPath { family, mode }), 0..4)
            .prop_map(Capability::AddPath),
        (128..=255u8, vec(any::<u8>(), 0..=255))
            .prop_map(|(code, value)| Capability::Unknown { code, value }),
    ]
}

fn open() -> impl Strategy<Value = Open> {
    let hold_time = prop_oneof![Just(0), 3..=u16::MAX];
    (asn(), hold_time, 1..=u32::MAX, vec(capability(), 0..12)).prop_map(
        |(asn, hold_time, router_id, mut capabilities)| {
            capabilities.push(Capability::FourOctetAs(asn));
            Open::new(asn, hold_time, Ipv4Addr::from(router_id), capabilities)
        },
    )
}

fn as_path() -> impl Strategy<Value = AsPath> {
    let kind = prop_oneof![Just(SegmentKind::Set), Just(SegmentKind::Sequence)];
    vec((kind, vec(asn(), 1..20)), 0..3).prop_map(|segments| {
        AsPath::from_segments(segments.iter().map(|(kind, asns)| Segment { kind: *kind, asns }))
    })
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let origin = prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)];
    let aggregator = (asn(), any::<Ipv4Addr>()).prop_map(|(asn, router_id)| Aggregator { asn, router_id });
    let large = any::<(u32, u32, u32)>().prop_map(|(global, local1, local2)| LargeCommunity {
        global,
        local1,
        local2,
    });
    let unknown = option::of((99..=200u8, vec(any::<u8>(), 0..300))).prop_map(|raw| {
        raw.map(|(code, value)| RawAttribute { flags: 0xe0, code, value: value.into() }).into_iter().collect()
    });
    let plain = (origin, as_path(), any::<Option<u32>>(), any::<Option<u32>>(), any::<bool>());
    let listed = (
        option::of(aggregator),
        vec(any::<u32>().prop_map(Community), 0..80),
        vec(large, 0..10),
        vec(any::<[u8; 8]>(), 0..10),
        unknown,
    );
    let reflected = (any::<Option<Ipv4Addr>>(), vec(any::<Ipv4Addr>(), 0..5), option::of(asn()));
    (plain, listed, reflected).prop_map(
        |(
            (origin, as_path, med, local_pref, atomic_aggregate),
            (aggregator, communities, large_communities, extended_communities, unknown),
            (originator_id, cluster_list, only_to_customer),
        )| Attributes {
            origin,
            as_path,
            med,
            local_pref,
            atomic_aggregate,
            communities: communities.into(),
            large_communities: large_communities.into(),
            only_to_customer,
            rare: RareAttributes {
                aggregator,
                extended_communities: extended_communities.into(),
                originator_id,
                cluster_list: cluster_list.into(),
                unknown,
            }
            .into(),
        },
    )
}

fn ipv4_nlri() -> impl Strategy<Value = Nlri> {
    (any::<Ipv4Addr>(), 0..=32u8, any::<u32>()).prop_map(|(address, length, path_id)| Nlri {
        prefix: Prefix::truncating(address.into(), length),
        path_id,
    })
}

fn ipv6_nlri() -> impl Strategy<Value = Nlri> {
    (any::<Ipv6Addr>(), 0..=128u8, any::<u32>()).prop_map(|(address, length, path_id)| Nlri {
        prefix: Prefix::truncating(address.into(), length),
        path_id,
    })
}

/// What is left of path identifiers where they are not negotiated.
fn without_path_ids(nlri: &mut [Nlri], kept: Families) {
    for nlri in nlri.iter_mut().filter(|nlri| !kept.contains(nlri.prefix.family())) {
        nlri.path_id = 0;
    }
}

/// An UPDATE as one could have been received: of many messages when it is large.
fn update() -> impl Strategy<Value = Update> {
    // IPv4 routes have next hops of either family (RFC 8950).
    let next_hop = prop_oneof![
        (1..=0xdfff_ffffu32).prop_map(|address| IpAddr::V4(address.into())),
        any::<u64>().prop_map(|low| IpAddr::V6(Ipv6Addr::from(0x2001_0db8_0001 << 80 | u128::from(low)))),
    ];
    let ipv4 = (next_hop, vec(ipv4_nlri(), 1..1500))
        .prop_map(|(next_hop, nlri)| Reach { next_hop: next_hop.into(), nlri });
    let ipv6 =
        (any::<u64>(), any::<Option<u64>>(), vec(ipv6_nlri(), 1..500)).prop_map(|(low, link_local, nlri)| {
            Reach {
                next_hop: NextHop {
                    address: Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(low)).into(),
                    link_local: link_local.map(|low| Ipv6Addr::from(0xfe80 << 112 | u128::from(low))),
                },
                nlri,
            }
        });
    let reach =
        (option::of(ipv4), option::of(ipv6)).prop_map(|(ipv4, ipv6)| ipv4.into_iter().chain(ipv6).collect());
    let withdrawn = (vec(ipv4_nlri(), 0..1500), vec(ipv6_nlri(), 0..500));
    let end_of_rib = option::of(prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)]);
    (withdrawn, reach, attributes(), end_of_rib).prop_map(|((ipv4, ipv6), reach, attributes, end_of_rib)| {
        Update { withdrawn: [ipv4, ipv6].concat(), reach, attributes, end_of_rib, problems: Vec::new() }
    })
}

fn families() -> impl Strategy<Value = Families> {
    let one = |family| [family].into_iter().collect();
    prop_oneof![Just(Families::ALL), Just(one(Family::Ipv4)), Just(one(Family::Ipv6)), Just(Families::NONE)]
}

fn negotiated() -> impl Strategy<Value = Negotiated> {
    let bits = any::<[bool; 6]>();
    (bits, families(), families()).prop_map(|(bits, families, add_path_receive)| {
        let [four_octet_as, extended_messages, extended_next_hop, route_refresh, disable_families, internal] =
            bits;
        Negotiated {
            four_octet_as,
            families,
            extended_messages_receive: extended_messages,
            extended_messages_send: extended_messages,
            extended_next_hop_receive: extended_next_hop,
            extended_next_hop_send: extended_next_hop,
            add_path_receive,
            route_refresh,
            disable_families,
            peer: if internal { PeerKind::Internal } else { PeerKind::External },
            ..Negotiated::default()
        }
    })
}

/// What all messages of `stream` say together. Each has one kind of content, and the attributes of every
/// announcement are the same.
fn read_all(stream: &[u8], negotiated: Negotiated) -> Update {
    let mut all = Update::default();
    for message in frames(stream, negotiated.max_len_send()) {
        let update = decode_update(message, negotiated).expect("what we write is well-formed");
        assert!(update.problems.is_empty(), "{:?}", update.problems);
        let contents = [!update.withdrawn.is_empty(), !update.reach.is_empty(), update.end_of_rib.is_some()];
        assert_eq!(contents.iter().filter(|present| **present).count(), 1, "one kind of content per message");
        all.withdrawn.extend(update.withdrawn);
        all.end_of_rib = all.end_of_rib.or(update.end_of_rib);
        for reach in update.reach {
            if let Some(last) = all.reach.last_mut().filter(|last| last.next_hop == reach.next_hop) {
                assert_eq!(all.attributes, update.attributes);
                last.nlri.extend(reach.nlri);
            } else {
                all.reach.push(reach);
            }
            all.attributes = update.attributes.clone();
        }
    }
    all
}

/// Decodes anything anyhow; only that it comes back matters, and that its error can be told to peer and person.
fn survive(bytes: &[u8], negotiated: Negotiated) {
    for max_len in [MAX_LEN, EXTENDED_MAX_LEN] {
        if let Ok(Some(length)) = frame(bytes, max_len) {
            assert!(length <= bytes.len());
        }
    }
    match Message::decode(bytes, negotiated) {
        Ok(Message::Notification(notification)) => drop(notification.to_string()),
        Ok(Message::Update(update)) => {
            for problem in &update.problems {
                assert!(!problem.to_string().is_empty());
            }
            let _ = Message::Update(update).encode(negotiated, &mut BytesMut::new());
        }
        Ok(message) => {
            message.encode(negotiated, &mut BytesMut::new()).expect("what was read can be written");
        }
        Err(error) => {
            let notification = Message::Notification(error.to_notification());
            let written = encode(&notification, negotiated).expect("a NOTIFICATION can always be written");
            assert!(Message::decode(&written, negotiated).is_ok());
            assert!(!error.to_string().is_empty());
        }
    }
}

/// A change to a message that keeps its framing.
fn mutate(bytes: &mut Vec<u8>, mutations: &[(Index, u8)], cut: Option<Index>) {
    for (at, octet) in mutations {
        let body = bytes.len() - 19;
        if body > 0 {
            bytes[19 + at.index(body)] = *octet;
        }
    }
    if let Some(cut) = cut {
        bytes.truncate(19 + cut.index(bytes.len() - 18));
        let length = bytes.len() as u16;
        bytes[16..18].copy_from_slice(&length.to_be_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn opens_come_back_as_they_were(open in open()) {
        let bytes = encode(&Message::Open(open.clone()), Negotiated::default()).unwrap();
        prop_assert!(bytes.len() <= MAX_LEN);
        prop_assert_eq!(frame(&bytes, MAX_LEN), Ok(Some(bytes.len())));
        prop_assert_eq!(Message::decode(&bytes, Negotiated::default()), Ok(Message::Open(open)));
    }

    #[test]
    fn updates_come_back_as_they_were(update in update(), four_octet_as: bool, extended_messages: bool, internal: bool, add_path in families()) {
        let peer = if internal { PeerKind::Internal } else { PeerKind::External };
        let (add_path_send, add_path_receive) = (add_path, add_path);
        let negotiated =
            Negotiated { four_octet_as, extended_messages_receive: extended_messages, extended_messages_send: extended_messages, peer, add_path_send, add_path_receive, extended_next_hop_receive: true, extended_next_hop_send: true, ..modern() };
        let bytes = encode(&Message::Update(update.clone()), negotiated).unwrap();
        let mut expected = update;
        without_path_ids(&mut expected.withdrawn, add_path);
        for reach in &mut expected.reach {
            without_path_ids(&mut reach.nlri, add_path);
        }
        if expected.reach.is_empty() {
            expected.attributes = Attributes::default();
        }
        if !internal {
            expected.attributes.local_pref = None;
            expected.attributes.rare.originator_id = None;
            expected.attributes.rare.cluster_list = Box::default();
        }
        if !four_octet_as {
            // Adjacent sequences may come back as one.
            expected.attributes.as_path = joined(&expected.attributes.as_path);
        }
        let mut read = read_all(&bytes, negotiated);
        if !four_octet_as {
            read.attributes.as_path = joined(&read.attributes.as_path);
        }
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn long_paths_come_back_in_segments_of_255(length in 0..900usize) {
        let attributes = Attributes { as_path: AsPath::sequence(vec![Asn(70000); length]), ..Attributes::default() };
        let reach = Reach {
            next_hop: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)).into(),
            nlri: vec!["203.0.113.0/24".parse::<Prefix>().unwrap().into()],
        };
        let update = Update { reach: vec![reach], attributes, ..Update::default() };
        let bytes = encode(&Message::Update(update), modern()).unwrap();
        let read = read_all(&bytes, modern()).attributes.as_path;
        prop_assert_eq!(read.length(), length);
        prop_assert!(read.segments().all(|segment| segment.asns.len() <= 255));
    }

    #[test]
    fn notifications_and_refreshes_come_back_as_they_were(code: u8, subcode: u8, data in vec(any::<u8>(), 0..300), family in afi_safi(), kind in 0..5u8) {
        let notification = Message::Notification(Notification { code, subcode, data });
        let bytes = encode(&notification, modern()).unwrap();
        prop_assert_eq!(Message::decode(&bytes, modern()), Ok(notification));
        let kind = match kind {
            0 => RefreshKind::Request,
            1 => RefreshKind::Begin,
            2 => RefreshKind::End,
            other => RefreshKind::Unknown(other),
        };
        let refresh = Message::RouteRefresh(RouteRefresh { family, kind });
        let bytes = encode(&refresh, modern()).unwrap();
        prop_assert_eq!(Message::decode(&bytes, modern()), Ok(refresh));
    }

    #[test]
    fn a_stream_is_cut_the_same_wherever_it_is_split(update in update(), at: Index) {
        let extended = Negotiated { extended_next_hop_receive: true, extended_next_hop_send: true, ..modern() };
        let bytes = encode(&Message::Update(update), extended).unwrap();
        let whole = frames(&bytes, MAX_LEN).len();
        let at = at.index(bytes.len() + 1);
        let (mut seen, mut buffer) = (0, Vec::new());
        for part in [&bytes[..at], &bytes[at..]] {
            buffer.extend_from_slice(part);
            while let Some(length) = frame(&buffer, MAX_LEN).unwrap() {
                buffer.drain(..length);
                seen += 1;
            }
        }
        prop_assert_eq!((seen, buffer.len()), (whole, 0));
    }

    #[test]
    fn capabilities_of_an_open_do_not_depend_on_how_they_are_grouped(capabilities in vec(capability().prop_filter("fits a parameter", |c| !matches!(c, Capability::Unknown { value, .. } if value.len() > 30)), 0..5)) {
        let mut body = vec![4, 0xfc, 0, 0, 9, 192, 0, 2, 1, 0];
        for capability in &capabilities {
            // The data of 2/7 lists capabilities as they stand in an OPEN.
            let octets = Notification::unsupported_capabilities(std::slice::from_ref(capability)).data;
            body.extend_from_slice(&[2, octets.len() as u8]);
            body.extend_from_slice(&octets);
        }
        body[9] = (body.len() - 10) as u8;
        let Ok(Message::Open(open)) = Message::decode(&message(1, &body), Negotiated::default()) else {
            return Err(TestCaseError::fail("not read"));
        };
        prop_assert_eq!(open.capabilities, capabilities);
    }
}

/// Adjacent sequences as one, which means the same.
fn joined(path: &AsPath) -> AsPath {
    let mut segments: Vec<(SegmentKind, Vec<Asn>)> = Vec::new();
    for segment in path.segments() {
        match segments.last_mut() {
            Some((SegmentKind::Sequence, asns)) if segment.kind == SegmentKind::Sequence => {
                asns.extend(segment.asns);
            }
            _ => segments.push((segment.kind, segment.asns.to_vec())),
        }
    }
    AsPath::from_segments(segments.iter().map(|(kind, asns)| Segment { kind: *kind, asns }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..600), negotiated in negotiated()) {
        survive(&bytes, negotiated);
    }

    #[test]
    fn no_body_panics(kind in 0..7u8, body in vec(any::<u8>(), 0..600), negotiated in negotiated()) {
        survive(&message(kind, &body), negotiated);
    }

    #[test]
    fn no_attribute_value_panics(code in 0..36u8, flags in prop_oneof![Just(0x40u8), Just(0x80), Just(0xc0)], value in vec(any::<u8>(), 0..60), negotiated in negotiated()) {
        let attribute = [&[flags, code, value.len() as u8][..], &value].concat();
        survive(&super::update(&[], &attribute, &[24, 203, 0, 113]), negotiated);
    }

    #[test]
    fn no_spoiled_open_panics(open in open(), mutations in vec(any::<(Index, u8)>(), 1..6), cut in option::of(any::<Index>()), negotiated in negotiated()) {
        let mut bytes = encode(&Message::Open(open), Negotiated::default()).unwrap();
        mutate(&mut bytes, &mutations, cut);
        survive(&bytes, negotiated);
    }

    #[test]
    fn no_spoiled_update_panics(attributes in attributes(), prefixes in vec(ipv4_nlri(), 1..5), more in vec(ipv6_nlri(), 1..5), mutations in vec(any::<(Index, u8)>(), 1..6), cut in option::of(any::<Index>()), negotiated in negotiated()) {
        let reach = vec![
            Reach { next_hop: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)).into(), nlri: prefixes },
            Reach { next_hop: IpAddr::V6(Ipv6Addr::LOCALHOST).into(), nlri: more.clone() },
        ];
        let update = Update { withdrawn: more, reach, attributes, ..Update::default() };
        let stream = encode(&Message::Update(update), modern()).unwrap();
        for message in frames(&stream, MAX_LEN) {
            let mut bytes = message.to_vec();
            mutate(&mut bytes, &mutations, cut);
            survive(&bytes, negotiated);
        }
    }
}
