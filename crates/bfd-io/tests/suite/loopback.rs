//! Two drivers on loopback addresses of their own.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, UdpSocket},
    num::NonZeroU8,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use nix::{
    cmsg_space, libc,
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt::Ipv4RecvTtl},
};
use proxima_bfd::{Discard, Received};
use proxima_bfd_io::{
    Authentication, AuthenticationKind, Bfd, BfdError, BfdOptions, Cause, Key, Meaning, SessionConfig, State,
};

use crate::common::{Host, MS, SLACK, session, settings, until};

/// Two addresses nobody else uses.
pub(crate) fn addresses(test: u8) -> [Ipv4Addr; 2] {
    [Ipv4Addr::new(127, 37, test, 1), Ipv4Addr::new(127, 37, test, 2)]
}

/// Two hosts with a session to each other, settled.
pub(crate) fn pair(test: u8, change: impl Fn(&mut SessionConfig)) -> ([Host; 2], [SessionConfig; 2]) {
    let [a, b] = addresses(test);
    let mut configs = [session("b", a.into(), b.into()), session("a", b.into(), a.into())];
    configs.iter_mut().for_each(change);
    let mut hosts = [Host::at(a), Host::at(b)];
    for (host, config) in hosts.iter_mut().zip(&configs) {
        host.handle.add(config.clone()).unwrap();
    }
    for (host, config) in hosts.iter_mut().zip(&configs) {
        host.settled(&config.name);
    }
    (hosts, configs)
}

#[test]
fn two_hosts_come_up_and_agree_on_the_slower_interval() {
    let [a, b] = addresses(1);
    let mut hosts = [Host::at(a), Host::at(b)];
    let ours = SessionConfig { settings: settings(30 * MS, 50), ..session("b", a.into(), b.into()) };
    let theirs = SessionConfig { settings: settings(80 * MS, 30), ..session("a", b.into(), a.into()) };
    hosts[0].handle.add(ours).unwrap();
    hosts[1].handle.add(theirs).unwrap();
    assert_eq!(hosts[0].meaning(Meaning::Up).change.to, State::Up);
    hosts[0].settled("b");
    hosts[1].settled("a");
    let status = hosts[0].status("b");
    assert_eq!(status.session.transmit_interval, Some(80 * MS));
    assert_eq!(status.session.detection_time, Some(2400 * MS));
    assert_eq!(hosts[1].status("a").session.detection_time, Some(4000 * MS));
    assert_eq!((status.send_errors, status.session.counters.flaps), (0, 0));
}

#[test]
fn a_host_that_dies_is_noticed_within_the_detection_time() {
    let (hosts, _) = pair(2, |config| config.settings = settings(200 * MS, 3));
    let [mut alive, dead] = hosts;
    let at = Instant::now();
    drop(dead);
    let event = alive.meaning(Meaning::Failed);
    assert_eq!(event.change.cause, Cause::DetectionTimeExpired);
    let took = event.at - at;
    assert!(took <= 600 * MS + SLACK, "{took:?}");
    assert_eq!(&*event.name, "b");
}

#[test]
fn admin_down_and_removal_are_no_failure_on_the_other_host() {
    let (mut hosts, configs) = pair(3, |_| {});
    hosts[0].handle.set_admin_down("b", true).unwrap();
    assert_eq!(hosts[0].event().change.cause, Cause::AdminDown);
    assert_eq!(hosts[1].event().change.cause, Cause::NeighborAdminDown);
    hosts[0].handle.set_admin_down("b", false).unwrap();
    hosts[0].meaning(Meaning::Up);
    hosts[1].meaning(Meaning::Up);
    hosts[0].handle.remove("b").unwrap();
    assert_eq!(hosts[1].event().change.cause, Cause::NeighborAdminDown);
    assert!(hosts[0].handle.sessions().unwrap().is_empty());
    hosts[0].handle.add(configs[0].clone()).unwrap();
    hosts[1].meaning(Meaning::Up);
    hosts[0].handle.farewell().unwrap();
    assert_eq!(hosts[1].event().meaning(), Meaning::AdminDown);
}

#[test]
fn other_intervals_are_negotiated_without_a_flap() {
    let (mut hosts, configs) = pair(4, |config| config.settings.multiplier = NonZeroU8::new(50).unwrap());
    for interval in [200 * MS, 20 * MS, 100 * MS] {
        let config = SessionConfig { settings: settings(interval, 50), ..configs[0].clone() };
        hosts[0].handle.reconfigure(config).unwrap();
        let expected = Some(interval.max(50 * MS));
        until("the new interval", || {
            let [ours, theirs] = [hosts[0].status("b").session, hosts[1].status("a").session];
            ours.transmit_interval == expected && theirs.transmit_interval == expected && !ours.polling
        });
    }
    assert!(hosts.iter_mut().all(|host| host.try_event().is_none()));
}

#[test]
fn another_path_takes_a_new_session_and_a_taken_one_leaves_the_old() {
    let (mut hosts, configs) = pair(5, |_| {});
    let third = Ipv4Addr::new(127, 37, 5, 3);
    let elsewhere = SessionConfig { remote: third.into(), ..configs[0].clone() };
    hosts[0].handle.reconfigure(elsewhere.clone()).unwrap();
    assert_eq!(hosts[1].event().meaning(), Meaning::AdminDown);
    assert_eq!(hosts[0].status("b").session.path.remote, IpAddr::from(third));
    let other = SessionConfig { name: "c".to_owned(), ..configs[0].clone() };
    hosts[0].handle.add(other).unwrap();
    assert!(matches!(hosts[0].handle.reconfigure(configs[0].clone()), Err(BfdError::Refused(_))));
    assert_eq!(hosts[0].status("b").session.path.remote, IpAddr::from(third));
    hosts[1].meaning(Meaning::Up);
}

pub(crate) fn key(secret: &str) -> Authentication {
    Authentication {
        kind: AuthenticationKind::MeticulousKeyedSha1,
        key_id: 9,
        key: Key::new(secret.as_bytes()).unwrap(),
    }
}

#[test]
fn sessions_are_signed_with_meticulous_keyed_sha1() {
    let (mut hosts, configs) = pair(6, |config| config.settings.authentication = Some(key("secret")));
    let status = hosts[0].status("b").session;
    assert_eq!(status.authentication, Some(AuthenticationKind::MeticulousKeyedSha1));
    assert_eq!(status.counters.discarded.total(), 0);
    // Another key on one end only: the session fails and stays down.
    let mut other = configs[0].clone();
    other.settings.authentication = Some(key("Secret"));
    hosts[0].handle.reconfigure(other).unwrap();
    hosts[1].meaning(Meaning::Failed);
    until("refused packets", || hosts[1].status("a").session.counters.discarded.count(Discard::Digest) > 0);
}

#[test]
fn multihop_sessions_have_their_own_port_and_a_least_ttl() {
    let [a, b] = addresses(7);
    let host = Host::at(a);
    let far = neighbour(b, 4784);
    host.handle.add(SessionConfig { multihop: Some(250), ..session("far", a.into(), b.into()) }).unwrap();
    let mut buffer = [0; 128];
    let length = far.recv(&mut buffer).unwrap();
    // Its own packet back makes a good first packet of a neighbour: not from too far, nor to the port of single hops.
    let packet = &buffer[..length];
    for (ttl, port) in [(249, 4784), (255, 3784)] {
        far.set_ttl(ttl).unwrap();
        far.send_to(packet, (a, port)).unwrap();
    }
    until("the packets", || host.handle.host().unwrap().received == 2);
    let discards: Vec<_> = host.handle.host().unwrap().discards.iter().collect();
    assert_eq!(discards, [(Discard::TtlTooLow, 1), (Discard::NoSession, 1)]);
    assert_eq!(host.state("far"), State::Down);
    far.set_ttl(250).unwrap();
    far.send_to(packet, (a, 4784)).unwrap();
    until("a good packet", || host.state("far") == State::Init);
    assert_eq!(host.handle.host().unwrap().discards.total(), 2);
}

#[test]
fn multihop_sessions_come_up() {
    let (hosts, _) = pair(20, |config| config.multihop = Some(250));
    assert!(hosts.iter().zip(["b", "a"]).all(|(host, name)| host.state(name) == State::Up));
}

/// A neighbour of the test's own: the socket it receives with.
pub(crate) fn neighbour(address: Ipv4Addr, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((address, port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

#[test]
fn packets_leave_with_ttl_255_from_one_port_above_49151() {
    let [a, b] = addresses(8);
    let host = Host::at(a);
    let sockets = [neighbour(b, 3784), neighbour(b, 4784)];
    host.handle.add(session("near", a.into(), b.into())).unwrap();
    host.handle.add(SessionConfig { multihop: Some(1), ..session("far", a.into(), b.into()) }).unwrap();
    let mut ports = Vec::new();
    for socket in sockets {
        setsockopt(&socket, Ipv4RecvTtl, &true).unwrap();
        let mut ttls = Vec::new();
        // What came before the option was set carries none.
        while ttls.len() < 2 {
            let mut buffer = [0; 128];
            let mut control = cmsg_space!(libc::c_int);
            let capacity = control.capacity();
            control.resize(capacity, 0);
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let message =
                recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty())
                    .unwrap();
            if let Some(ControlMessageOwned::Ipv4Ttl(ttl)) = message.cmsgs().unwrap().next() {
                ttls.push(ttl);
            }
            let from = message.address.unwrap();
            assert_eq!(from.ip(), a);
            ports.push(from.port());
            let length = message.bytes;
            assert_eq!(Received::decode(&buffer[..length]).unwrap().packet.state, State::Down);
        }
        assert_eq!(ttls, [255, 255]);
    }
    assert!(ports.iter().all(|port| *port == ports[0] && *port >= 49152), "{ports:?}");
}

#[test]
fn packets_that_came_too_far_or_make_no_sense_are_counted_and_change_nothing() {
    let [a, b] = addresses(9);
    let host = Host::at(a);
    let near = neighbour(b, 3784);
    host.handle.add(session("near", a.into(), b.into())).unwrap();
    let mut buffer = [0; 128];
    let length = near.recv(&mut buffer).unwrap();
    // Its own packet back makes a good first packet of a neighbour.
    let packet = buffer[..length].to_vec();
    near.set_ttl(254).unwrap();
    near.send_to(&packet, (a, 3784)).unwrap();
    near.set_ttl(255).unwrap();
    near.send_to(&packet[..20], (a, 3784)).unwrap();
    near.send_to(&[], (a, 3784)).unwrap();
    near.send_to(&[packet.as_slice(), &[0; 1000]].concat(), (a, 4784)).unwrap();
    until("the packets", || host.handle.host().unwrap().received == 4);
    let discards: Vec<_> = host.handle.host().unwrap().discards.iter().collect();
    let expected = [Discard::TtlTooLow, Discard::Truncated, Discard::LengthTooGreat, Discard::NoSession]
        .map(|reason| (reason, 1));
    assert_eq!(discards, expected);
    assert_eq!(host.state("near"), State::Down);
    near.send_to(&packet, (a, 3784)).unwrap();
    until("a good packet", || host.state("near") == State::Init);
}

#[test]
fn a_second_daemon_is_told_that_the_port_is_taken() {
    let [a, _] = addresses(10);
    let _first = Host::at(a);
    let error = Bfd::start(BfdOptions { ipv4: Some(a), ipv6: None, real_time: None }).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(error.to_string(), "udp 127.37.10.1:3784 is taken; does another BFD daemon run on this host?");
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let [a, b] = addresses(11);
    let host = Host::at(a);
    let good = session("b", a.into(), b.into());
    host.handle.add(good.clone()).unwrap();
    let with = |change: &dyn Fn(&mut SessionConfig)| {
        let mut config = SessionConfig { name: "c".to_owned(), ..good.clone() };
        change(&mut config);
        host.handle.add(config).unwrap_err().to_string()
    };
    let six: IpAddr = "2001:db8::1".parse().unwrap();
    assert_eq!(with(&|config| config.name = "b".to_owned()), "there is a BFD session b already");
    assert_eq!(
        with(&|_| {}),
        "there is a BFD session to 127.37.11.2 from 127.37.11.1 already; give one of them an interface or a local \
         address of its own"
    );
    assert_eq!(
        with(&|config| config.remote = six),
        "BFD from 127.37.11.1 to 2001:db8::1 is not possible: they are of different address families"
    );
    assert_eq!(
        with(&|config| (config.remote, config.local) = (six, None)),
        "BFD to 2001:db8::1 is not possible: its address family is off on this host"
    );
    assert_eq!(
        with(&|config| (config.remote, config.local) = ("fe80::1".parse().unwrap(), None)),
        "BFD to the link-local address fe80::1 needs an interface"
    );
    assert_eq!(
        with(&|config| config.settings = settings(9 * MS, 3)),
        "a BFD interval of 9ms is out of range; it is at least 10ms and at most 4294.967295s"
    );
    assert_eq!(host.handle.remove("x").unwrap_err().to_string(), "there is no BFD session x");
    assert_eq!(host.handle.sessions().unwrap().len(), 1);
}

#[test]
fn a_reader_that_sleeps_is_told_of_the_failure_all_the_same() {
    let (mut hosts, _) = pair(12, |_| {});
    for _ in 0..3 {
        hosts[1].handle.set_admin_down("a", true).unwrap();
        hosts[1].handle.set_admin_down("a", false).unwrap();
        hosts[1].settled("a");
    }
    let told =
        std::iter::from_fn(|| hosts[0].try_event()).filter(|event| event.change.from == State::Up).count();
    assert_eq!(told, 3);
}

#[test]
fn a_flood_of_bad_packets_takes_no_session_down_and_not_the_whole_core() {
    let (mut hosts, _) = pair(13, |config| config.settings = settings(200 * MS, 5));
    let [a, _] = addresses(13);
    let stranger = UdpSocket::bind((Ipv4Addr::new(127, 37, 13, 9), 0)).unwrap();
    let (start, cpu) = (Instant::now(), cpu_of_threads("bfd"));
    let mut sent: u64 = 0;
    while start.elapsed() < Duration::from_secs(2) {
        for _ in 0..64 {
            stranger.send_to(&[0x20; 24], (a, 3784)).unwrap();
        }
        sent += 64;
    }
    let share = cpu_of_threads("bfd").saturating_sub(cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    let host = hosts[0].handle.host().unwrap();
    eprintln!("{sent} sent, {} received, {:.0} % of a core", host.received, share * 100.0);
    assert!(hosts[0].try_event().is_none());
    assert_eq!(hosts[0].state("b"), State::Up);
    assert!(share < 0.8, "{share}");
}

/// The processor time that threads of this process with that name have used.
fn cpu_of_threads(name: &str) -> Duration {
    let ticks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        let (before, after) = stat.rsplit_once(") ").unwrap();
        // Fields 14 and 15 of proc_pid_stat(5).
        let used = after.split(' ').skip(14 - 3).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        if before.ends_with(&format!("({name}")) { used } else { 0 }
    });
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
