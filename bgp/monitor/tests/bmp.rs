//! BMP messages, octet by octet as RFC 7854 lays them out.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use bytes::BytesMut;
use common::{NOTIFICATION, RECEIVED_OPEN, SENT_OPEN, UPDATE, attributes, header, octets};
use proxima_bgp_monitor::bmp::{self, PeerDown, PeerHeader, PeerUp, Statistic, TerminationReason};
use proxima_bgp_wire::{Negotiated, NextHop, Nlri};
use proxima_types::Family;

const PER_PEER: &str = "
    00 00 0000000000000000                      # global instance, IPv4, pre-policy, distinguisher
    000000000000000000000000c0000202            # address
    0001000e 0a000002 65937d25 000002a6         # AS, BGP identifier, seconds, microseconds
";

fn written(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut buf = BytesMut::new();
    write(&mut buf);
    buf
}

#[test]
fn initiation_names_the_system() {
    let expected = octets(
        "03 0000001e 04
         0000 0003 506f50        # string: PoP
         0001 0005 70726f7869    # sysDescr: proxi
         0002 0004 66726131      # sysName: fra1
        ",
    );
    assert_eq!(written(|buf| bmp::initiation("fra1", "proxi", "PoP", buf)), expected[..]);
}

#[test]
fn termination_gives_a_reason() {
    let expected = octets("03 00000013 05  0000 0003 627965  0001 0002 0000");
    assert_eq!(
        written(|buf| bmp::termination(TerminationReason::AdministrativelyClosed, "bye", buf)),
        expected[..]
    );
    let expected = octets("03 0000000c 05  0001 0002 0003");
    assert_eq!(
        written(|buf| bmp::termination(TerminationReason::RedundantConnection, "", buf)),
        expected[..]
    );
}

#[test]
fn peer_up_carries_both_opens_as_they_were() {
    let (sent_open, received_open) = (octets(SENT_OPEN), octets(RECEIVED_OPEN));
    let up = PeerUp {
        local_address: "192.0.2.1".parse().unwrap(),
        local_port: 179,
        remote_port: 40000,
        sent_open: &sent_open,
        received_open: &received_open,
        information: "tor1",
    };
    let expected = octets(&format!(
        "03 0000009e 03 {PER_PEER}
         000000000000000000000000c0000201 00b3 9c40
         {SENT_OPEN} {RECEIVED_OPEN}
         0000 0004 746f7231"
    ));
    assert_eq!(written(|buf| bmp::peer_up(&header(), &up, buf)), expected[..]);
}

#[test]
fn peer_down_tells_each_reason() {
    let notification = octets(NOTIFICATION);
    for (why, length, expected) in [
        (PeerDown::LocalNotification(&notification), "00000046", format!("01 {NOTIFICATION}")),
        (PeerDown::Local { event: 18 }, "00000033", "02 0012".to_owned()),
        (PeerDown::RemoteNotification(&notification), "00000046", format!("03 {NOTIFICATION}")),
        (PeerDown::Remote, "00000031", "04".to_owned()),
        (PeerDown::MonitoringEnds, "00000031", "05".to_owned()),
    ] {
        let expected = octets(&format!("03 {length} 02 {PER_PEER}\n{expected}"));
        assert_eq!(written(|buf| bmp::peer_down(&header(), why, buf)), expected[..], "{why:?}");
    }
}

#[test]
fn route_monitoring_carries_the_update_as_it_came() {
    let expected = octets(&format!("03 0000005f 00 {PER_PEER} {UPDATE}"));
    assert_eq!(written(|buf| bmp::route_monitoring(&header(), &octets(UPDATE), buf)), expected[..]);
}

#[test]
fn flags_tell_ipv6_policy_and_the_size_of_as_numbers() {
    let ipv6 = "2001:db8::2".parse().unwrap();
    for (header, flags) in [
        (header(), 0x00),
        (PeerHeader { address: ipv6, ..header() }, 0x80),
        (PeerHeader { post_policy: true, ..header() }, 0x40),
        (PeerHeader { two_octet_as: true, ..header() }, 0x20),
        (PeerHeader { address: ipv6, post_policy: true, two_octet_as: true, ..header() }, 0xe0),
    ] {
        let message = written(|buf| bmp::route_monitoring(&header, &[], buf));
        assert_eq!(message[7], flags);
    }
    let message = written(|buf| {
        bmp::route_monitoring(&PeerHeader { address: ipv6, ..header() }, &[], buf);
    });
    assert_eq!(message[16..32], octets("20010db8000000000000000000000002")[..]);
}

#[test]
fn statistics_have_the_sizes_of_their_types() {
    let expected = octets(&format!(
        "03 000000b2 01 {PER_PEER} 0000000d
         0000 0004 00000001  0001 0004 00000002  0002 0004 00000003
         0003 0004 00000004  0004 0004 00000005  0005 0004 00000006
         0007 0008 0000000000000007  0008 0008 0000000000000008
         0009 000b 0001 01 0000000000000009
         000a 000b 0002 01 000000000000000a
         000b 0004 0000000b  000c 0004 0000000c  000d 0004 0000000d"
    ));
    let figures = [
        Statistic::RejectedPrefixes(1),
        Statistic::DuplicateAnnouncements(2),
        Statistic::DuplicateWithdrawals(3),
        Statistic::ClusterListLoops(4),
        Statistic::AsPathLoops(5),
        Statistic::OriginatorIdLoops(6),
        Statistic::AdjRibIn(7),
        Statistic::LocRib(8),
        Statistic::AdjRibInOf(Family::Ipv4, 9),
        Statistic::LocRibOf(Family::Ipv6, 10),
        Statistic::TreatAsWithdrawUpdates(11),
        Statistic::TreatAsWithdrawPrefixes(12),
        Statistic::DuplicateUpdates(13),
    ];
    assert_eq!(written(|buf| bmp::statistics(&header(), &figures, buf)), expected[..]);
}

#[test]
fn routes_from_before_are_written_as_the_peer_would() {
    let next_hop: NextHop = "192.0.2.2".parse::<std::net::IpAddr>().unwrap().into();
    let nlri = Nlri { prefix: "203.0.113.0/24".parse().unwrap(), path_id: 7 };
    let with_identifiers =
        Negotiated { add_path_receive: [Family::Ipv4].into_iter().collect(), ..Negotiated::default() };
    let wide = "40 02 0a 02 02 0001000e 0000fbf0";
    let narrow = "40 02 06 02 02 5ba0 fbf0";
    let attributes_behind = "40 03 04 c0000202  80 04 04 00000032  c0 08 04 fbf00001";
    for (header, session, expected) in [
        (
            header(),
            Negotiated::default(),
            format!("0041 02 0000 0026 40 01 01 00 {wide} {attributes_behind} 18 cb0071"),
        ),
        (
            header(),
            with_identifiers,
            format!("0045 02 0000 0026 40 01 01 00 {wide} {attributes_behind} 00000007 18 cb0071"),
        ),
        (
            PeerHeader { two_octet_as: true, ..header() },
            Negotiated::default(),
            format!(
                "004a 02 0000 002f 40 01 01 00 {narrow} {attributes_behind} c0 11 0a 02 02 0001000e 0000fbf0 18 cb0071"
            ),
        ),
    ] {
        let mut buf = BytesMut::new();
        let count = bmp::announced(&header, session, &attributes(), next_hop, [nlri], &mut buf).unwrap();
        assert_eq!(count, 1);
        let expected = octets(&format!("ffffffffffffffffffffffffffffffff {expected}"));
        assert_eq!(buf[48..], expected[..]);
    }
}

#[test]
fn routes_that_went_silently_are_withdrawn() {
    let nlri = ["203.0.113.0/24", "2001:db8:ac::/48"]
        .map(|prefix| Nlri { prefix: prefix.parse().unwrap(), path_id: 7 });
    let session =
        Negotiated { add_path_receive: [Family::Ipv6].into_iter().collect(), ..Negotiated::default() };
    let mut buf = BytesMut::new();
    assert_eq!(bmp::withdrawn(&header(), session, nlri, &mut buf), 2);
    let expected = octets(&format!(
        "03 0000004b 00 {PER_PEER} ffffffffffffffffffffffffffffffff 001b 02 0004 18 cb0071 0000
         03 00000058 00 {PER_PEER} ffffffffffffffffffffffffffffffff 0028 02 0000 0011
           80 0f 0e 0002 01 00000007 30 20010db800ac"
    ));
    assert_eq!(buf, expected[..]);
}

#[test]
fn many_routes_from_before_take_several_messages() {
    let next_hop: NextHop = "192.0.2.2".parse::<std::net::IpAddr>().unwrap().into();
    let nlri = (0..5000u32).map(|n| {
        let address = std::net::Ipv4Addr::from(10 << 24 | n << 8);
        Nlri::from(proxima_types::Prefix::truncating(address.into(), 24))
    });
    let mut buf = BytesMut::new();
    let count =
        bmp::announced(&header(), Negotiated::default(), &attributes(), next_hop, nlri, &mut buf).unwrap();
    let mut messages = 0;
    while !buf.is_empty() {
        let len = u32::from_be_bytes([buf[1], buf[2], buf[3], buf[4]]) as usize;
        assert!(len <= 48 + 4096, "one UPDATE of {len} octets in each");
        let _ = buf.split_to(len);
        messages += 1;
    }
    assert_eq!((count, messages), (5, 5));
}

#[test]
fn the_end_of_a_familys_routes_is_marked() {
    let expected =
        octets(&format!("03 00000047 00 {PER_PEER} ffffffffffffffffffffffffffffffff 0017 02 0000 0000"));
    assert_eq!(written(|buf| bmp::end_of_rib(&header(), Family::Ipv4, buf)), expected[..]);
}
