//! Others read what we write: bgpdump (Debian) MRT files, bgpkit-parser MRT and BMP.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::{io::Write, net::Ipv4Addr, process::Command};

use bgpkit_parser::{
    BgpElem, BgpkitParser,
    bmp::{
        messages::{BmpMessage, BmpMessageBody},
        parse_bmp_msg,
    },
    models::{BgpMessage, MrtMessage, TableDumpV2Message},
};
use bytes::BytesMut;
use common::{NOTIFICATION, RECEIVED_OPEN, SENT_OPEN, UPDATE, attributes, header, octets, time};
use proxima_bgp_monitor::{
    bmp::{self, PeerDown, PeerUp, Statistic, TerminationReason},
    mrt::{self, Ends, IndexedPeer, MessageForm, RibEntry, State, TableDump},
};
use proxima_bgp_wire::{Aggregator, Attributes, NextHop};
use proxima_types::{Asn, Family, LargeCommunity};

/// Attributes with something of everything that both readers know.
fn rich() -> Attributes {
    let mut rich = attributes();
    rich.local_pref = Some(200);
    rich.atomic_aggregate = true;
    rich.large_communities = [LargeCommunity { global: 64496, local1: 1, local2: 2 }].into();
    rich.rare.aggregator = Some(Aggregator { asn: Asn(64496), router_id: Ipv4Addr::new(198, 51, 100, 1) });
    rich
}

fn next_hop(text: &str) -> NextHop {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

/// A table of two peers, an UPDATE and a change of state.
fn file() -> BytesMut {
    let mut buf = BytesMut::new();
    let router_id = Ipv4Addr::new(10, 0, 0, 2);
    let peers = [
        IndexedPeer { router_id, address: "192.0.2.2".parse().unwrap(), asn: Asn(65550) },
        IndexedPeer { router_id, address: "2001:db8::2".parse().unwrap(), asn: Asn(65550) },
    ];
    let (plain, rich) = (attributes(), rich());
    let mut dump = TableDump::begin(time(), Ipv4Addr::new(10, 0, 0, 1), "fra1", &peers, &mut buf).unwrap();
    let entry = |peer, attributes, via| RibEntry {
        peer,
        received: time(),
        path_id: 0,
        attributes,
        next_hop: next_hop(via),
    };
    let ipv4 = [entry(0, &plain, "192.0.2.2"), entry(1, &rich, "192.0.2.3")];
    dump.prefix(time(), "203.0.113.0/24".parse().unwrap(), &ipv4, &mut buf).unwrap();
    dump.prefix(time(), "0.0.0.0/0".parse().unwrap(), &ipv4[..1], &mut buf).unwrap();
    let ipv6 = [entry(1, &rich, "2001:db8::2")];
    dump.prefix(time(), "2001:db8:ac::/48".parse().unwrap(), &ipv6, &mut buf).unwrap();

    let ends = Ends {
        peer_as: Asn(65550),
        local_as: Asn(64512),
        peer: "192.0.2.2".parse().unwrap(),
        local: "192.0.2.1".parse().unwrap(),
        interface: 0,
    };
    let form = MessageForm { four_octet_as: true, add_path: false, sent: false };
    mrt::state_change(time(), &ends, State::OpenConfirm, State::Established, &mut buf);
    mrt::message(time(), &ends, form, &octets(UPDATE), &mut buf);
    buf
}

#[test]
fn bgpdump_reads_the_routes_of_a_dump_and_of_an_update() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&self::file()).unwrap();
    let output = Command::new("bgpdump").arg("-m").arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "TABLE_DUMP2|1704164645|B|192.0.2.2|65550|203.0.113.0/24|65550 64496|IGP|192.0.2.2|0|50|64496:1|NAG||",
            "TABLE_DUMP2|1704164645|B|2001:db8::2|65550|203.0.113.0/24|65550 64496|IGP|192.0.2.3|200|50|64496:1|AG|64496 198.51.100.1|",
            "TABLE_DUMP2|1704164645|B|192.0.2.2|65550|0.0.0.0/0|65550 64496|IGP|192.0.2.2|0|50|64496:1|NAG||",
            "TABLE_DUMP2|1704164645|B|2001:db8::2|65550|2001:db8:ac::/48|65550 64496|IGP|2001:db8::2|200|50|64496:1|AG|64496 198.51.100.1|",
            "BGP4MP_ET|1704164645.000678|STATE|192.0.2.2|65550|5|6",
            "BGP4MP_ET|1704164645.000678|A|192.0.2.2|65550|203.0.113.0/24|65550|IGP|192.0.2.2|0|0||NAG||",
        ]
    );
}

#[test]
fn bgpdump_reads_two_octet_sessions_ipv6_next_hops_and_path_identifiers() {
    let mut buf = BytesMut::new();
    let peer = IndexedPeer {
        router_id: Ipv4Addr::new(10, 0, 0, 2),
        address: "192.0.2.2".parse().unwrap(),
        asn: Asn(65550),
    };
    let mut dump = TableDump::begin(time(), Ipv4Addr::new(10, 0, 0, 1), "", &[peer], &mut buf).unwrap();
    let attributes = attributes();
    let entry = RibEntry {
        peer: 0,
        received: time(),
        path_id: 0,
        attributes: &attributes,
        next_hop: next_hop("2001:db8::2"),
    };
    dump.prefix(time(), "203.0.113.0/24".parse().unwrap(), &[entry], &mut buf).unwrap();
    let entry = RibEntry { path_id: 7, next_hop: next_hop("192.0.2.2"), ..entry };
    dump.prefix(time(), "198.51.100.0/24".parse().unwrap(), &[entry], &mut buf).unwrap();
    let ends = Ends {
        peer_as: Asn(64499),
        local_as: Asn(64512),
        peer: "192.0.2.2".parse().unwrap(),
        local: "192.0.2.1".parse().unwrap(),
        interface: 0,
    };
    let form = MessageForm { four_octet_as: false, add_path: false, sent: false };
    let update = octets(
        "ffffffffffffffffffffffffffffffff 002d 02 0000 0012
         40 01 01 00  40 02 04 02 01 fbf3  40 03 04 c0000202  18 cb0071",
    );
    mrt::message(time(), &ends, form, &update, &mut buf);

    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&buf).unwrap();
    let output = Command::new("bgpdump").arg("-m").arg(file.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            "TABLE_DUMP2|1704164645|B|192.0.2.2|65550|203.0.113.0/24|65550 64496|IGP|2001:db8::2|0|50|64496:1|NAG||",
            "TABLE_DUMP2_AP|1704164645|B|192.0.2.2|65550|198.51.100.0/24|7|65550 64496|IGP|192.0.2.2|0|50|64496:1|NAG||",
            "BGP4MP_ET|1704164645.000678|A|192.0.2.2|64499|203.0.113.0/24|64499|IGP|192.0.2.2|0|0||NAG||",
        ],
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Prefix, AS path, next hop, local preference and MED; the reader gives 0 for what is absent.
fn summary(elem: &BgpElem) -> (String, String, String, Option<u32>, Option<u32>) {
    (
        elem.prefix.to_string(),
        elem.as_path.as_ref().unwrap().to_string(),
        elem.next_hop.unwrap().to_string(),
        elem.local_pref,
        elem.med,
    )
}

#[test]
fn bgpkit_reads_the_routes_of_a_dump_and_of_an_update() {
    let elems: Vec<BgpElem> = BgpkitParser::from_reader(&self::file()[..]).into_iter().collect();
    let text = |text: &str| text.to_owned();
    let summaries: Vec<_> = elems.iter().map(summary).collect();
    assert_eq!(
        summaries,
        [
            (text("203.0.113.0/24"), text("65550 64496"), text("192.0.2.2"), Some(0), Some(50)),
            (text("203.0.113.0/24"), text("65550 64496"), text("192.0.2.3"), Some(200), Some(50)),
            (text("0.0.0.0/0"), text("65550 64496"), text("192.0.2.2"), Some(0), Some(50)),
            (text("2001:db8:ac::/48"), text("65550 64496"), text("2001:db8::2"), Some(200), Some(50)),
            (text("203.0.113.0/24"), text("65550"), text("192.0.2.2"), Some(0), Some(0)),
        ]
    );
    let peers: Vec<_> = elems.iter().map(|elem| elem.peer_ip.to_string()).collect();
    assert_eq!(peers, ["192.0.2.2", "2001:db8::2", "192.0.2.2", "2001:db8::2", "192.0.2.2"]);
    let communities: Vec<String> =
        elems[1].communities.as_ref().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(communities, ["64496:1", "64496:1:2"]);
    assert!((elems[4].timestamp - 1_704_164_645.000_678).abs() < 1e-6);
}

#[test]
fn bgpkit_reads_path_identifiers() {
    let mut buf = BytesMut::new();
    let peer = IndexedPeer {
        router_id: Ipv4Addr::new(10, 0, 0, 2),
        address: "192.0.2.2".parse().unwrap(),
        asn: Asn(65550),
    };
    let mut dump = TableDump::begin(time(), Ipv4Addr::new(10, 0, 0, 1), "", &[peer], &mut buf).unwrap();
    let attributes = attributes();
    let entries = [1, 7].map(|path_id| RibEntry {
        peer: 0,
        received: time(),
        path_id,
        attributes: &attributes,
        next_hop: next_hop("192.0.2.2"),
    });
    dump.prefix(time(), "203.0.113.0/24".parse().unwrap(), &entries, &mut buf).unwrap();
    let record = BgpkitParser::from_reader(&buf[..]).into_record_iter().last().unwrap();
    let MrtMessage::TableDumpV2Message(TableDumpV2Message::RibAfi(rib)) = record.message else {
        panic!("{record:?}")
    };
    assert_eq!(rib.prefix.to_string(), "203.0.113.0/24");
    let identifiers: Vec<_> = rib.rib_entries.iter().map(|entry| entry.path_id).collect();
    assert_eq!(identifiers, [Some(1), Some(7)]);
}

fn read(write: impl FnOnce(&mut BytesMut)) -> BmpMessage {
    let mut buf = BytesMut::new();
    write(&mut buf);
    let mut bytes = buf.freeze();
    let message = parse_bmp_msg(&mut bytes).unwrap();
    assert!(bytes.is_empty(), "the length covers the whole message");
    message
}

#[test]
fn bgpkit_reads_a_session_told_by_bmp() {
    let message = read(|buf| bmp::initiation("fra1", "proxima", "", buf));
    let BmpMessageBody::InitiationMessage(initiation) = message.message_body else { panic!("{message:?}") };
    let tlvs: Vec<_> = initiation.tlvs.iter().map(|tlv| tlv.info.as_str()).collect();
    assert_eq!(tlvs, ["proxima", "fra1"]);

    let (sent_open, received_open) = (octets(SENT_OPEN), octets(RECEIVED_OPEN));
    let up = PeerUp {
        local_address: "192.0.2.1".parse().unwrap(),
        local_port: 179,
        remote_port: 40000,
        sent_open: &sent_open,
        received_open: &received_open,
        information: "tor1",
    };
    let message = read(|buf| bmp::peer_up(&header(), &up, buf));
    let peer = message.per_peer_header.unwrap();
    assert_eq!((peer.peer_ip.to_string(), peer.peer_asn.to_u32()), ("192.0.2.2".to_owned(), 65550));
    assert_eq!(peer.peer_bgp_id, Ipv4Addr::new(10, 0, 0, 2));
    assert!((peer.timestamp - 1_704_164_645.000_678).abs() < 1e-6);
    let BmpMessageBody::PeerUpNotification(up) = message.message_body else {
        panic!("{:?}", message.message_body)
    };
    assert_eq!(
        (up.local_addr.to_string(), up.local_port, up.remote_port),
        ("192.0.2.1".to_owned(), 179, 40000)
    );
    let BgpMessage::Open(sent) = up.sent_open else { panic!("{:?}", up.sent_open) };
    assert_eq!((sent.asn.to_u32(), sent.hold_time), (64512, 9));
    let BgpMessage::Open(received) = up.received_open else { panic!("{:?}", up.received_open) };
    assert_eq!(received.hold_time, 180);
    assert_eq!(up.tlvs.iter().map(|tlv| tlv.info_value.as_str()).collect::<Vec<_>>(), ["tor1"]);

    let message = read(|buf| bmp::route_monitoring(&header(), &octets(UPDATE), buf));
    let BmpMessageBody::RouteMonitoring(monitoring) = message.message_body else {
        panic!("{:?}", message.message_body)
    };
    let BgpMessage::Update(update) = monitoring.bgp_message else { panic!("{:?}", monitoring.bgp_message) };
    assert_eq!(update.announced_prefixes.len(), 1);
    assert_eq!(update.announced_prefixes[0].to_string(), "203.0.113.0/24");

    let figures = [Statistic::DuplicateAnnouncements(2), Statistic::AdjRibInOf(Family::Ipv6, 3)];
    let message = read(|buf| bmp::statistics(&header(), &figures, buf));
    let BmpMessageBody::StatsReport(report) = message.message_body else {
        panic!("{:?}", message.message_body)
    };
    assert_eq!((report.stats_count, report.counters.len()), (2, 2));
    assert_eq!(format!("{:?}", report.counters[0].stat_data), "Counter(2)");
    assert_eq!(format!("{:?}", report.counters[1].stat_data), "AfiSafiGauge(2, 1, 3)");

    let notification = octets(NOTIFICATION);
    for (why, data) in [
        (PeerDown::LocalNotification(&notification), Some(notification.clone())),
        (PeerDown::Local { event: 18 }, Some(vec![0, 18])),
        (PeerDown::RemoteNotification(&notification), Some(notification.clone())),
        (PeerDown::Remote, None),
        (PeerDown::MonitoringEnds, None),
    ] {
        let message = read(|buf| bmp::peer_down(&header(), why, buf));
        let BmpMessageBody::PeerDownNotification(down) = message.message_body else {
            panic!("{:?}", message.message_body)
        };
        assert_eq!(down.data, data, "{why:?}");
    }

    let message = read(|buf| bmp::termination(TerminationReason::Unspecified, "bye", buf));
    assert!(matches!(message.message_body, BmpMessageBody::TerminationMessage(_)));
}
