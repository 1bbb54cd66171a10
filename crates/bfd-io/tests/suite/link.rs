//! Two drivers in namespaces: IPv6, link-local neighbours, interfaces that come and go, routers between.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddrV6},
    time::Duration,
};

use proxima_bfd::Discard;
use proxima_bfd_io::{BfdOptions, Cause, Meaning, SessionConfig, State};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    common::{Host, session, until},
    sandbox::{enter, shell, within},
};

pub(crate) fn host(namespace: &str) -> Host {
    within(namespace, || Host::start(BfdOptions::default()))
}

pub(crate) fn pair(ours: &str, theirs: &str) -> [SessionConfig; 2] {
    let [ours, theirs]: [IpAddr; 2] = [ours.parse().unwrap(), theirs.parse().unwrap()];
    [session("them", ours, theirs), session("us", theirs, ours)]
}

pub(crate) fn link_local(namespace: &str) -> String {
    let line = shell(&format!("ip -n {namespace} -6 -o addr show dev eth0 scope link"));
    line.split("inet6 ").nth(1).unwrap().split('/').next().unwrap().to_owned()
}

#[test]
fn sessions_run_over_ipv6_link_local_addresses_and_through_a_router() {
    if !enter("link::sessions_run_over_ipv6_link_local_addresses_and_through_a_router") {
        return;
    }
    let (mut us, mut them) = (host("us"), host("them"));
    let mut sessions = vec![pair("10.0.0.1", "10.0.0.2"), pair("fd00::1", "fd00::2")];
    let mut by_link = pair(&link_local("us"), &link_local("them"));
    for config in &mut by_link {
        config.interface = Some("eth0".to_owned());
    }
    sessions.push(by_link);
    for (ours, theirs) in [("10.0.1.1", "10.0.2.2"), ("fd00:1::1", "fd00:2::2")] {
        let mut far = pair(ours, theirs);
        for config in &mut far {
            config.multihop = Some(254);
        }
        sessions.push(far);
    }
    for (n, [ours, theirs]) in sessions.into_iter().enumerate() {
        us.handle.add(SessionConfig { name: format!("them{n}"), ..ours }).unwrap();
        them.handle.add(SessionConfig { name: format!("us{n}"), ..theirs }).unwrap();
    }
    for n in 0..5 {
        us.settled(&format!("them{n}"));
        them.settled(&format!("us{n}"));
    }
    // One router is one hop too many for a least TTL of 255, and for a single hop.
    let [mut far, _] = pair("10.0.1.1", "10.0.2.2");
    (far.name, far.multihop) = ("them3".to_owned(), Some(255));
    us.handle.reconfigure(far).unwrap();
    assert_eq!(us.meaning(Meaning::Failed).change.cause, Cause::DetectionTimeExpired);
    assert!(us.status("them3").session.counters.discarded.count(Discard::TtlTooLow) > 0);
    let discarded = |host: &Host| host.handle.host().unwrap().discards.count(Discard::TtlTooLow);
    let before = discarded(&them);
    us.handle.add(session("astray", "10.0.1.1".parse().unwrap(), "10.0.2.2".parse().unwrap())).unwrap();
    until("packets that came too far", || discarded(&them) > before);
}

#[test]
fn an_interface_may_come_later_go_and_come_back() {
    if !enter("link::an_interface_may_come_later_go_and_come_back") {
        return;
    }
    let (mut us, mut them) = (host("us"), host("them"));
    let mut configs = pair("10.0.9.1", "10.0.9.2");
    for config in &mut configs {
        config.interface = Some("late0".to_owned());
    }
    let [ours, theirs] = configs;
    us.handle.add(ours).unwrap();
    them.handle.add(theirs).unwrap();
    until("a packet that could not be sent", || us.status("them").send_errors > 0);
    assert_eq!(us.status("them").last_send_error.as_deref(), Some("No such device (os error 19)"));
    for _ in 0..2 {
        shell(
            "ip link add late0 netns us type veth peer name late0 netns them
             ip -n us addr add 10.0.9.1/24 dev late0; ip -n us link set dev late0 up
             ip -n them addr add 10.0.9.2/24 dev late0; ip -n them link set dev late0 up",
        );
        us.settled("them");
        them.settled("us");
        shell("ip -n us link delete late0");
        us.meaning(Meaning::Failed);
        them.meaning(Meaning::Failed);
    }
}

#[test]
fn ipv6_packets_without_a_checksum_are_taken() {
    if !enter("link::ipv6_packets_without_a_checksum_are_taken") {
        return;
    }
    let us = host("us");
    us.handle.add(session("them", "fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())).unwrap();
    within("them", || {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::UDP)).unwrap();
        socket.set_unicast_hops_v6(255).unwrap();
        // UDP by hand: ports, length, checksum; then a packet of a neighbour that is down and calls itself 1.
        let mut datagram = vec![0xc0, 0x00, 0x0e, 0xc8, 0, 32, 0, 0];
        datagram.extend([0x20, 0x40, 3, 24, 0, 0, 0, 1, 0, 0, 0, 0]);
        for word in [1_000_000u32, 50_000, 0] {
            datagram.extend(word.to_be_bytes());
        }
        let to: Ipv6Addr = "fd00::1".parse().unwrap();
        socket.send_to(&datagram, &SocketAddrV6::new(to, 0, 0, 0).into()).unwrap();
    });
    until("the neighbour to be heard", || us.state("them") == State::Init);
    assert_eq!(us.status("them").session.detection_time, Some(Duration::from_secs(3)));
}
