//! Messages that all three codecs can express.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::{collection::vec, option, prelude::*, sample::select};
use proxima_bgp_wire::{
    AddPath, AddPathMode, AfiSafi, Aggregator, AsPath, Attributes, Capability, ErrorCode, ExtendedNextHop,
    GracefulRestart, GracefulRestartFamily, Message, NextHop, Nlri, Notification, Open, Origin,
    RareAttributes, RawAttribute, Reach, RefreshKind, Role, RouteRefresh, Segment, SegmentKind, Update,
};
use proxima_types::{Asn, Community, Family, LargeCommunity, Prefix};

/// Families all know by number: unicast, multicast, labelled, VPN.
const FAMILIES: [(u16, u8); 8] = [(1, 1), (2, 1), (1, 2), (2, 2), (1, 4), (2, 4), (1, 128), (2, 128)];

/// Both halves of the numbers, and AS_TRANS.
fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![4 => 1..=65535u32, 4 => 65536..=u32::MAX, 1 => Just(23456)].prop_map(Asn)
}

fn family() -> impl Strategy<Value = AfiSafi> {
    select(&FAMILIES[..]).prop_map(|(afi, safi)| AfiSafi { afi, safi })
}

fn capability() -> impl Strategy<Value = Capability> {
    let next_hop = (family(), 1..=2u16).prop_map(|(family, next_hop_afi)| ExtendedNextHop {
        afi: family.afi,
        safi: family.safi.into(),
        next_hop_afi,
    });
    let mode = select(vec![AddPathMode::Receive, AddPathMode::Send, AddPathMode::Both]);
    let add_path = (family(), mode).prop_map(|(family, mode)| AddPath { family, mode });
    let restart_family = (family(), any::<bool>())
        .prop_map(|(family, forwarding)| GracefulRestartFamily { family, forwarding });
    let restart = (any::<bool>(), 0..=4095u16, vec(restart_family, 0..4)).prop_map(
        |(restarted, restart_time, families)| GracefulRestart {
            restarted,
            notification: false,
            restart_time,
            families,
        },
    );
    prop_oneof![
        family().prop_map(Capability::Multiprotocol),
        Just(Capability::RouteRefresh),
        Just(Capability::ExtendedMessage),
        Just(Capability::EnhancedRouteRefresh),
        vec(next_hop, 1..4).prop_map(Capability::ExtendedNextHop),
        select(vec![Role::Provider, Role::Peer]).prop_map(Capability::Role),
        restart.prop_map(Capability::GracefulRestart),
        vec(add_path, 1..4).prop_map(Capability::AddPath),
        (prop_oneof![100..=120u8, 200..=230u8], vec(any::<u8>(), 0..=30))
            .prop_map(|(code, value)| Capability::Unknown { code, value }),
    ]
}

/// At most 255 octets of parameters.
pub(crate) fn open() -> impl Strategy<Value = Open> {
    let hold_time = prop_oneof![Just(0), 3..=u16::MAX];
    (asn(), any::<bool>(), hold_time, 1..=0xdfff_ffffu32, vec(capability(), 0..7)).prop_map(
        |(asn, wide, hold_time, router_id, mut capabilities)| {
            let asn = if wide { asn } else { Asn(asn.0 % 65535 + 1) };
            if wide {
                capabilities.push(Capability::FourOctetAs(asn));
            }
            Open::new(asn, hold_time, Ipv4Addr::from(router_id), capabilities)
        },
    )
}

fn as_path() -> impl Strategy<Value = AsPath> {
    let kind = select(vec![SegmentKind::Sequence, SegmentKind::Set]);
    vec((kind, vec(asn(), 1..12)), 0..3).prop_map(|segments| {
        AsPath::from_segments(segments.iter().map(|(kind, asns)| Segment { kind: *kind, asns }))
    })
}

/// Of types that nobody takes apart beyond numbers: route targets and origins in their three forms, and unknown ones.
fn extended_community() -> impl Strategy<Value = [u8; 8]> {
    let kinds = vec![[0x00, 0x02], [0x00, 0x03], [0x01, 0x02], [0x02, 0x02], [0x02, 0x03], [0x88, 0x77]];
    (select(kinds), any::<[u8; 6]>())
        .prop_map(|([high, low], [a, b, c, d, e, f])| [high, low, a, b, c, d, e, f])
}

fn rare() -> impl Strategy<Value = RareAttributes> {
    let aggregator = (asn(), any::<Ipv4Addr>()).prop_map(|(asn, router_id)| Aggregator { asn, router_id });
    let unknown = option::of((200..=230u8, vec(any::<u8>(), 0..300))).prop_map(|raw| {
        raw.map(|(code, value)| RawAttribute { flags: 0xe0, code, value: value.into() }).into_iter().collect()
    });
    let lists = (vec(extended_community(), 0..8), vec(any::<Ipv4Addr>(), 0..5));
    (option::of(aggregator), lists, any::<Option<Ipv4Addr>>(), unknown).prop_map(
        |(aggregator, (extended_communities, cluster_list), originator_id, unknown)| RareAttributes {
            aggregator,
            extended_communities: extended_communities.into(),
            originator_id,
            cluster_list: cluster_list.into(),
            unknown,
        },
    )
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let origin = select(vec![Origin::Igp, Origin::Egp, Origin::Incomplete]);
    let large = any::<(u32, u32, u32)>().prop_map(|(global, local1, local2)| LargeCommunity {
        global,
        local1,
        local2,
    });
    let plain = (origin, as_path(), any::<Option<u32>>(), any::<Option<u32>>(), any::<bool>());
    let communities = vec(any::<u32>().prop_map(Community), 0..80);
    (plain, communities, vec(large, 0..30), option::of(asn()), rare()).prop_map(
        |(
            (origin, as_path, med, local_pref, atomic_aggregate),
            communities,
            large,
            only_to_customer,
            rare,
        )| {
            Attributes {
                origin,
                as_path,
                med,
                local_pref,
                atomic_aggregate,
                communities: communities.into(),
                large_communities: large.into(),
                only_to_customer,
                rare: rare.into(),
            }
        },
    )
}

fn ipv4(length: std::ops::RangeInclusive<u8>) -> impl Strategy<Value = Nlri> {
    (0..=0xdfff_ffffu32, length, any::<u32>()).prop_map(|(address, length, path_id)| Nlri {
        prefix: Prefix::truncating(IpAddr::V4(address.into()), length),
        path_id,
    })
}

fn ipv6(length: std::ops::RangeInclusive<u8>) -> impl Strategy<Value = Nlri> {
    let address = any::<u128>().prop_map(|bits| Ipv6Addr::from(bits >> 3 | 1 << 125));
    (address, length, any::<u32>()).prop_map(|(address, length, path_id)| Nlri {
        prefix: Prefix::truncating(IpAddr::V6(address), length),
        path_id,
    })
}

fn ipv6_next_hop() -> impl Strategy<Value = NextHop> {
    (any::<u64>(), any::<Option<u64>>()).prop_map(|(low, link_local)| NextHop {
        address: Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(low)).into(),
        link_local: link_local.map(|low| Ipv6Addr::from(0xfe80 << 112 | u128::from(low))),
    })
}

/// Without prefixes of no bits, which bgpkit-parser takes for something else: see [`super::divergences`].
pub(crate) fn update() -> impl Strategy<Value = Update> {
    let classic = (1..=0xdfff_ffffu32)
        .prop_filter("the loopback and such are no next hops", |bits| bits >> 24 != 0)
        .prop_map(|bits| NextHop::from(IpAddr::V4(bits.into())));
    let over_ipv4 =
        (prop_oneof![3 => classic.boxed(), 1 => ipv6_next_hop().boxed()], vec(ipv4(1..=32), 1..30));
    let over_ipv6 = (ipv6_next_hop(), vec(ipv6(1..=128), 1..30));
    let withdrawn = (vec(ipv4(1..=32), 0..30), vec(ipv6(1..=128), 0..30));
    (withdrawn, attributes(), option::of(over_ipv4), option::of(over_ipv6))
        .prop_map(|((ipv4, ipv6), attributes, over_ipv4, over_ipv6)| {
            // MP_REACH_NLRI comes but once.
            let over_ipv6 = over_ipv6.filter(|_| {
                over_ipv4.as_ref().is_none_or(|(next_hop, _): &(NextHop, _)| next_hop.address.is_ipv4())
            });
            let reach = [over_ipv4, over_ipv6].into_iter().flatten();
            Update {
                withdrawn: [ipv4, ipv6].concat(),
                reach: reach.map(|(next_hop, nlri)| Reach { next_hop, nlri }).collect(),
                attributes,
                ..Update::default()
            }
        })
        .prop_filter("it says something", |update| !(update.withdrawn.is_empty() && update.reach.is_empty()))
}

/// NOTIFICATION, KEEPALIVE and ROUTE-REFRESH.
pub(crate) fn other() -> impl Strategy<Value = Message> {
    let errors = vec![
        ErrorCode::CONNECTION_NOT_SYNCHRONIZED,
        ErrorCode::BAD_MESSAGE_LENGTH,
        ErrorCode::BAD_MESSAGE_TYPE,
        ErrorCode::OPEN_UNSPECIFIC,
        ErrorCode::UNSUPPORTED_VERSION_NUMBER,
        ErrorCode::BAD_PEER_AS,
        ErrorCode::BAD_BGP_IDENTIFIER,
        ErrorCode::UNSUPPORTED_OPTIONAL_PARAMETER,
        ErrorCode::UNACCEPTABLE_HOLD_TIME,
        ErrorCode::UNSUPPORTED_CAPABILITY,
        ErrorCode::ROLE_MISMATCH,
        ErrorCode::MALFORMED_ATTRIBUTE_LIST,
        ErrorCode::UNRECOGNIZED_WELL_KNOWN_ATTRIBUTE,
        ErrorCode::MISSING_WELL_KNOWN_ATTRIBUTE,
        ErrorCode::ATTRIBUTE_FLAGS_ERROR,
        ErrorCode::ATTRIBUTE_LENGTH_ERROR,
        ErrorCode::INVALID_ORIGIN,
        ErrorCode::INVALID_NEXT_HOP,
        ErrorCode::OPTIONAL_ATTRIBUTE_ERROR,
        ErrorCode::INVALID_NETWORK_FIELD,
        ErrorCode::MALFORMED_AS_PATH,
        ErrorCode::HOLD_TIMER_EXPIRED,
        ErrorCode::FSM_UNSPECIFIC,
        ErrorCode::FSM_UNEXPECTED_IN_OPEN_SENT,
        ErrorCode::FSM_UNEXPECTED_IN_OPEN_CONFIRM,
        ErrorCode::FSM_UNEXPECTED_IN_ESTABLISHED,
        ErrorCode::MAXIMUM_PREFIXES,
        ErrorCode::ADMINISTRATIVE_SHUTDOWN,
        ErrorCode::PEER_DECONFIGURED,
        ErrorCode::ADMINISTRATIVE_RESET,
        ErrorCode::CONNECTION_REJECTED,
        ErrorCode::OTHER_CONFIGURATION_CHANGE,
        ErrorCode::CONNECTION_COLLISION,
        ErrorCode::OUT_OF_RESOURCES,
        ErrorCode::HARD_RESET,
        ErrorCode::BFD_DOWN,
        ErrorCode::ROUTE_REFRESH_INVALID_LENGTH,
    ];
    let kinds = vec![RefreshKind::Request, RefreshKind::Begin, RefreshKind::End];
    prop_oneof![
        6 => (select(errors), vec(any::<u8>(), 0..300))
            .prop_map(|(error, data)| Message::Notification(Notification::new(error, data))),
        3 => (family(), select(kinds))
            .prop_map(|(family, kind)| Message::RouteRefresh(RouteRefresh { family, kind })),
        1 => Just(Message::Keepalive),
    ]
}

/// Not to be left out by accident.
#[test]
fn every_family_of_ours_is_among_them() {
    for family in Family::ALL {
        assert!(FAMILIES.contains(&(family.afi(), 1)));
    }
}
