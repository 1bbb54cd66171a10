//! Capabilities byte by byte, and what two OPENs make of them.

use std::net::Ipv4Addr;

use bytes::BytesMut;
use proxima_bgp_wire::{
    AddPath, AddPathMode, AfiSafi, Attributes, Capability, EXTENDED_MAX_LEN, EncodeError, ErrorCode,
    ExtendedNextHop, Families, GracefulRestart, GracefulRestartFamily, MAX_LEN, Message, Negotiated, NextHop,
    Open, PeerKind, Role, RoleMismatch, update,
};
use proxima_types::{Asn, Family, Prefix};

use super::{encode, hex, message};

const IPV4: AfiSafi = AfiSafi { afi: 1, safi: 1 };
const IPV6: AfiSafi = AfiSafi { afi: 2, safi: 1 };

fn open(capabilities: Vec<Capability>) -> Open {
    Open::new(Asn(64512), 9, Ipv4Addr::new(192, 0, 2, 1), capabilities)
}

fn add_path(family: AfiSafi, mode: AddPathMode) -> Capability {
    Capability::AddPath(vec![AddPath { family, mode }])
}

fn unknown(code: u8, value: &str) -> Capability {
    Capability::Unknown { code, value: hex(value) }
}

/// Bytes by hand after the RFC of each capability, and what a person reads.
fn known() -> Vec<(&'static str, Capability, &'static str)> {
    let restart = GracefulRestart {
        restarted: true,
        notification: true,
        restart_time: 120,
        families: vec![
            GracefulRestartFamily { family: IPV4, forwarding: true },
            GracefulRestartFamily { family: IPV6, forwarding: false },
        ],
    };
    vec![
        ("0104 00010001", Capability::Multiprotocol(IPV4), "multiprotocol: ipv4"),
        (
            "0104 40040047",
            Capability::Multiprotocol(AfiSafi { afi: 16388, safi: 71 }),
            "multiprotocol: AFI 16388 SAFI 71",
        ),
        ("0200", Capability::RouteRefresh, "route refresh"),
        (
            "0506 000100010002",
            Capability::ExtendedNextHop(vec![ExtendedNextHop::IPV4_OVER_IPV6]),
            "extended next hop: ipv4 over ipv6",
        ),
        ("0600", Capability::ExtendedMessage, "extended message"),
        ("0901 00", Capability::Role(Role::Provider), "role: provider"),
        ("0901 01", Capability::Role(Role::RouteServer), "role: route-server"),
        ("0901 02", Capability::Role(Role::RouteServerClient), "role: route-server-client"),
        ("0901 03", Capability::Role(Role::Customer), "role: customer"),
        ("0901 04", Capability::Role(Role::Peer), "role: peer"),
        (
            "400a c078 00010180 00020100",
            Capability::GracefulRestart(restart),
            "graceful restart: 120 s, restarted, also after a NOTIFICATION, ipv4 (forwarding), ipv6",
        ),
        ("4104 0000fc00", Capability::FourOctetAs(Asn(64512)), "four-octet AS number: 64512"),
        (
            "4508 00010101 00020103",
            Capability::AddPath(vec![
                AddPath { family: IPV4, mode: AddPathMode::Receive },
                AddPath { family: IPV6, mode: AddPathMode::Both },
            ]),
            "add-path: ipv4 receive, ipv6 send and receive",
        ),
        ("4600", Capability::EnhancedRouteRefresh, "enhanced route refresh"),
        ("4700", unknown(71, ""), "long-lived graceful restart"),
        ("4908 04746f7231 026465", unknown(73, "04746f7231 026465"), "FQDN: tor1.de"),
        (
            "4b09 0846525220382e34 ",
            unknown(75, "0846525220382e34 "),
            "software version: 08 46 52 52 20 38 2e 34",
        ),
        ("4b08 0746525220382e34 ", unknown(75, "0746525220382e34 "), "software version: FRR 8.4"),
        ("8000", unknown(128, ""), "route refresh (before RFC 2918)"),
        ("f003 010203", unknown(240, "010203"), "capability 240: 01 02 03"),
        ("0901 05", unknown(9, "05"), "role: 05"),
        ("0601 00", unknown(6, "00"), "extended message: 00"),
        ("4504 00010104", unknown(69, "00010104"), "add-path: 00 01 01 04"),
    ]
}

#[test]
fn every_capability_is_read_and_written_to_the_octet_and_told_to_people() {
    for (bytes, capability, text) in known() {
        let mut value = hex(bytes);
        if bytes.starts_with("4b09") {
            // The length says one octet more than there is: no text then.
            value[1] = 8;
        }
        let body =
            [&hex("04 fc00 0009 c0000201")[..], &[value.len() as u8 + 2, 2, value.len() as u8], &value];
        let bytes = message(1, &body.concat());
        let Ok(Message::Open(read)) = Message::decode(&bytes, Negotiated::default()) else {
            panic!("{text} is not read")
        };
        assert_eq!(read.capabilities, std::slice::from_ref(&capability), "{text}");
        assert_eq!(encode(&Message::Open(read), Negotiated::default()), Ok(bytes), "{text}");
        assert_eq!(capability.to_string(), text);
    }
}

#[test]
fn several_paths_go_where_one_sends_and_the_other_receives() {
    use AddPathMode::{Both, Receive, Send};
    let families = [Capability::Multiprotocol(IPV4), Capability::Multiprotocol(IPV6)];
    let with = |mode: Option<AddPathMode>| {
        open(families.iter().cloned().chain(mode.map(|mode| add_path(IPV4, mode))).collect())
    };
    for (ours, theirs, receive, send) in [
        (Some(Receive), Some(Send), true, false),
        (Some(Receive), Some(Both), true, false),
        (Some(Receive), Some(Receive), false, false),
        (Some(Receive), None, false, false),
        (None, Some(Both), false, false),
        (Some(Send), Some(Receive), false, true),
        (Some(Both), Some(Both), true, true),
    ] {
        let negotiated = Negotiated::between(&with(ours), &with(theirs));
        let expected = |yes| if yes { Families::IPV4 } else { Families::NONE };
        assert_eq!(negotiated.add_path_receive, expected(receive), "{ours:?} {theirs:?}");
        assert_eq!(negotiated.add_path_send, expected(send), "{ours:?} {theirs:?}");
    }
}

#[test]
fn several_paths_go_in_exchanged_families_only_and_as_listed_last() {
    let ours = open(vec![Capability::Multiprotocol(IPV6), add_path(IPV4, AddPathMode::Receive)]);
    let theirs = open(vec![
        Capability::Multiprotocol(IPV4),
        Capability::Multiprotocol(IPV6),
        add_path(IPV4, AddPathMode::Send),
    ]);
    assert!(Negotiated::between(&ours, &theirs).add_path_receive.is_empty());

    let twice = open(vec![add_path(IPV4, AddPathMode::Send), add_path(IPV4, AddPathMode::Receive)]);
    let ours = open(vec![add_path(IPV4, AddPathMode::Receive)]);
    assert!(Negotiated::between(&ours, &twice).add_path_receive.is_empty());
}

#[test]
fn marks_around_a_refresh_need_both_capabilities_of_both() {
    let full = open(vec![Capability::RouteRefresh, Capability::EnhancedRouteRefresh]);
    let plain = open(vec![Capability::RouteRefresh]);
    let odd = open(vec![Capability::EnhancedRouteRefresh]);
    assert!(Negotiated::between(&full, &full).enhanced_refresh);
    assert!(!Negotiated::between(&full, &plain).enhanced_refresh);
    assert!(!Negotiated::between(&full, &odd).enhanced_refresh);
    assert!(Negotiated::between(&full, &plain).route_refresh);
}

#[test]
fn what_needs_both_sides_is_off_where_one_does_not_offer_it() {
    let everything = open(vec![
        Capability::ExtendedMessage,
        Capability::ExtendedNextHop(vec![ExtendedNextHop::IPV4_OVER_IPV6]),
        Capability::RouteRefresh,
        Capability::FourOctetAs(Asn(64512)),
    ]);
    let nothing = Open { asn: Asn(64513), ..open(Vec::new()) };
    assert_eq!(Negotiated::between(&nothing, &everything), Negotiated::default());
    let only_ours = Negotiated::between(&everything, &nothing);
    assert!(!only_ours.extended_messages_send && !only_ours.extended_next_hop_send);
    assert!(!only_ours.route_refresh && !only_ours.four_octet_as);
    let negotiated = Negotiated::between(&everything, &everything);
    assert!(negotiated.extended_messages_send && negotiated.extended_next_hop_send);
    assert!(negotiated.extended_messages_receive && negotiated.extended_next_hop_receive);
    assert!(negotiated.four_octet_as);
    assert_eq!(negotiated.peer, PeerKind::Internal);
}

#[test]
fn what_we_offer_to_take_we_take_from_a_peer_that_does_not_offer_it() {
    // RFC 8654 §4, RFC 8950 §4: who sends needs the receiver's offer only.
    let ours = open(vec![
        Capability::ExtendedMessage,
        Capability::ExtendedNextHop(vec![ExtendedNextHop::IPV4_OVER_IPV6]),
        Capability::FourOctetAs(Asn(64512)),
    ]);
    let theirs = open(vec![Capability::FourOctetAs(Asn(64513))]);
    let negotiated = Negotiated::between(&ours, &theirs);
    assert_eq!((negotiated.max_len_receive(), negotiated.max_len_send()), (EXTENDED_MAX_LEN, MAX_LEN));

    // 1100 IPv4 prefixes with an IPv6 next hop, in MP_REACH_NLRI of 4421 octets.
    let mut reach = hex("900e 1145 0001 01 10 20010db8000000000000000000000009 00");
    reach.extend(hex("18 cb0071").repeat(1100));
    reach.extend(hex("400101 00 400206 0201 0000fde8"));
    let update = super::decode_update(&super::update(&[], &reach, &[]), negotiated).unwrap();
    assert_eq!(update.reach[0].nlri.len(), 1100);
    assert!(update.reach[0].next_hop.address.is_ipv6());

    let next_hop: NextHop = "2001:db8::9".parse::<std::net::IpAddr>().unwrap().into();
    let prefix: Prefix = "203.0.113.0/24".parse().unwrap();
    let written =
        update::announce(&Attributes::default(), next_hop, [prefix], negotiated, &mut BytesMut::new());
    assert!(matches!(written, Err(EncodeError::NextHopFamily { .. })), "{written:?}");
}

#[test]
fn of_several_graceful_restarts_the_last_counts() {
    let restart = |restart_time| {
        let restart =
            GracefulRestart { restarted: false, notification: false, restart_time, families: Vec::new() };
        Capability::GracefulRestart(restart)
    };
    let open = open(vec![restart(1), restart(2)]);
    assert_eq!(open.graceful_restart().map(|restart| restart.restart_time), Some(2));
}

#[test]
fn roles_go_together_as_rfc_9234_says_and_not_otherwise() {
    use Role::{Customer, Peer, Provider, RouteServer, RouteServerClient};
    let all = [Provider, RouteServer, RouteServerClient, Customer, Peer];
    let pairs = [
        (Provider, Customer),
        (Customer, Provider),
        (RouteServer, RouteServerClient),
        (RouteServerClient, RouteServer),
        (Peer, Peer),
    ];
    for ours in all {
        for theirs in all {
            let fits = pairs.contains(&(ours, theirs));
            let peer = open(vec![Capability::Role(theirs)]);
            let checked = Open::check_roles(Some(ours), &peer, true);
            assert_eq!(checked.is_ok(), fits, "{ours} {theirs}");
            if let Err(error) = checked {
                assert_eq!(error.to_notification().error(), ErrorCode::ROLE_MISMATCH);
                assert!(error.to_string().contains(&ours.counterpart().to_string()), "{error}");
            }
            assert_eq!(Open::check_roles(None, &peer, true), Ok(()));
        }
    }
}

#[test]
fn a_role_is_asked_for_only_when_strict() {
    let silent = open(Vec::new());
    assert_eq!(Open::check_roles(Some(Role::Customer), &silent, false), Ok(()));
    let refused = Open::check_roles(Some(Role::Customer), &silent, true).unwrap_err();
    assert_eq!(refused.to_notification().error(), ErrorCode(2, 11));
    assert_eq!(
        refused.to_string(),
        "our role is customer and strict, but the peer names no role; it must be provider"
    );
}

#[test]
fn one_role_twice_is_one_and_two_roles_are_none() {
    let named = |roles: &[Role]| open(roles.iter().copied().map(Capability::Role).collect()).role();
    assert_eq!(named(&[Role::Peer, Role::Peer]), Ok(Some(Role::Peer)));
    assert_eq!(named(&[Role::Peer, Role::Customer]), Err(RoleMismatch::Several));
    assert_eq!(open(vec![unknown(9, "05")]).role(), Err(RoleMismatch::NotARole(vec![5])));
    let both = open(vec![Capability::Role(Role::Peer), Capability::Role(Role::Customer)]);
    assert!(Open::check_roles(Some(Role::Peer), &both, false).is_err());
}

#[test]
fn a_family_of_add_path_beyond_ours_does_no_harm() {
    let vpn = AfiSafi { afi: 1, safi: 128 };
    let theirs = open(vec![Capability::AddPath(vec![
        AddPath { family: vpn, mode: AddPathMode::Both },
        AddPath { family: IPV4, mode: AddPathMode::Send },
    ])]);
    let ours = open(vec![add_path(IPV4, AddPathMode::Receive)]);
    assert!(Negotiated::between(&ours, &theirs).add_path_receive.contains(Family::Ipv4));
}
