//! A driver that hands its sessions to another one: what the neighbour sees of it.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU8,
    time::Instant,
};

use proxima_bfd::{Discriminator, Received};
use proxima_bfd_io::{
    Authentication, Bfd, BfdError, BfdOptions, Cause, HandedOver, Meaning, PreparedBfd, SessionConfig, State,
};

use crate::{
    common::{Host, MS, assert_real_time, in_real_time, session, settings, until},
    link::{host, link_local, pair as link_pair},
    loopback::{addresses, key, neighbour, pair},
    sandbox::{enter, within},
};

/// How often each hand-over is done.
const TIMES: usize = 20;

/// Has another driver go on in the place of `host`.
fn replace(host: &mut Host, prepared: PreparedBfd, handed: HandedOver) {
    let successor = host.prepared_successor(prepared, handed);
    host.handle.end_silently().unwrap();
    *host = successor;
}

/// Claims a session that was handed over while it was up, and is told so.
fn claim(host: &mut Host, config: &SessionConfig) {
    host.handle.add(config.clone()).unwrap();
    let event = host.event();
    let change = event.change;
    assert_eq!(
        (&*event.name, change.from, change.to, change.cause, event.meaning()),
        (config.name.as_str(), State::Down, State::Up, Cause::HandedOver, Meaning::Up)
    );
}

/// Packets the second host has taken from the first.
fn received(hosts: &[Host; 2]) -> u64 {
    hosts[1].status("a").session.counters.received
}

/// Waits until the second host has taken `more` packets from the first, or one of them no longer thinks that they are up.
fn hear(hosts: &[Host; 2], more: u64) {
    let before = received(hosts);
    until("packets of the neighbour", || received(hosts) >= before + more || failures(hosts) > 0);
}

fn failures(hosts: &[Host; 2]) -> usize {
    [hosts[0].handle.sessions(), hosts[1].handle.sessions()]
        .into_iter()
        .flat_map(Result::unwrap)
        .map(|status| status.session.counters.flaps as usize)
        .sum()
}

/// Twenty times at 10 ms × 3: no end of the session may see it fail.
fn twenty_times(
    test: u8,
    authentication: Option<Authentication>,
    act: impl Fn(&mut [Host; 2], PreparedBfd, HandedOver, &SessionConfig),
) {
    // The rest of a daemon that hands over is not what is shown here: it does not wait for the processor.
    proxima_sys::set_fifo(30).unwrap();
    in_real_time(|round| {
        let (mut hosts, configs) = pair(test + round, |config| {
            config.settings = settings(10 * MS, 3);
            config.settings.authentication.clone_from(&authentication);
        });
        assert_real_time(&hosts[0]);
        let names = |hosts: &[Host; 2]| {
            [hosts[0].status("b"), hosts[1].status("a")]
                .map(|status| (status.session.discriminator, status.session.remote_discriminator))
        };
        let before = names(&hosts);
        for _ in 0..TIMES {
            let prepared = Bfd::prepare(hosts[0].options).unwrap();
            let handed = hosts[0].handle.hand_over().unwrap();
            if failures(&hosts) == 0 {
                act(&mut hosts, prepared, handed, &configs[0]);
                hear(&hosts, 3);
            }
            if failures(&hosts) > 0 {
                return failures(&hosts);
            }
        }
        assert_eq!(names(&hosts), before);
        assert!(hosts.iter_mut().all(|host| host.try_event().is_none()));
        0
    });
}

#[test]
fn a_neighbour_at_10_ms_times_3_does_not_notice_another_driver() {
    twenty_times(60, None, |hosts, prepared, handed, config| {
        replace(&mut hosts[0], prepared, handed);
        claim(&mut hosts[0], config);
    });
}

#[test]
fn a_neighbour_with_meticulous_keyed_sha1_at_10_ms_times_3_does_not_notice_another_driver() {
    twenty_times(70, Some(key("secret")), |hosts, prepared, handed, config| {
        replace(&mut hosts[0], prepared, handed);
        claim(&mut hosts[0], config);
    });
}

#[test]
fn a_neighbour_at_10_ms_times_3_is_sent_packets_however_long_another_driver_takes() {
    twenty_times(80, None, |hosts, prepared, handed, config| {
        hear(hosts, 20);
        let mut successor = hosts[0].prepared_successor(prepared, handed);
        claim(&mut successor, config);
        // Where both send, the neighbour does not mind.
        hear(hosts, 5);
        hosts[0].handle.end_silently().unwrap();
        hosts[0] = successor;
    });
}

#[test]
fn sessions_that_are_taken_back_go_on_as_if_nothing_had_happened() {
    twenty_times(90, None, |hosts, prepared, handed, _| {
        drop((prepared, handed));
        hear(hosts, 20);
        hosts[0].handle.take_back().unwrap();
    });
}

#[test]
fn signed_sessions_that_are_taken_back_go_on_behind_the_numbers_of_the_other_driver() {
    twenty_times(100, Some(key("secret")), |hosts, prepared, handed, _| {
        let successor = hosts[0].prepared_successor(prepared, handed);
        hear(hosts, 1);
        successor.handle.end_silently().unwrap();
        hosts[0].handle.take_back().unwrap();
    });
}

#[test]
fn every_kind_of_path_goes_on() {
    if !enter("handover::every_kind_of_path_goes_on") {
        return;
    }
    let (mut us, mut them) = (host("us"), host("them"));
    let mut by_link = link_pair(&link_local("us"), &link_local("them"));
    let mut by_interface = link_pair("10.0.0.1", "10.0.0.2");
    for config in by_link.iter_mut().chain(&mut by_interface) {
        config.interface = Some("eth0".to_owned());
    }
    let mut far = link_pair("10.0.1.1", "10.0.2.2");
    for config in &mut far {
        config.multihop = Some(254);
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for (n, [our, their]) in
        [link_pair("fd00::1", "fd00::2"), by_link, by_interface, far].into_iter().enumerate()
    {
        ours.push(SessionConfig { name: format!("them{n}"), ..our });
        theirs.push(SessionConfig { name: format!("us{n}"), ..their });
    }
    for (our, their) in ours.iter().zip(&theirs) {
        us.handle.add(our.clone()).unwrap();
        them.handle.add(their.clone()).unwrap();
    }
    for (our, their) in ours.iter().zip(&theirs) {
        us.settled(&our.name);
        them.settled(&their.name);
    }
    for _ in 0..2 {
        let handed = us.handle.hand_over().unwrap();
        let successor = within("us", || us.successor(handed));
        us.handle.end_silently().unwrap();
        us = successor;
        for our in &ours {
            claim(&mut us, our);
        }
        us.flows();
    }
    assert!(us.try_event().is_none() && them.try_event().is_none());
}

/// The port and the discriminator of the next packet.
fn next_packet(socket: &std::net::UdpSocket) -> (u16, Discriminator) {
    let mut buffer = [0; 128];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (from.port(), Received::decode(&buffer[..length]).unwrap().packet.my_discriminator)
}

#[test]
fn a_session_that_is_down_keeps_its_port_and_its_discriminator_and_tells_nothing() {
    let [a, b] = addresses(20);
    let socket = neighbour(b, 3784);
    let mut host = Host::at(a);
    let config = session("b", a.into(), b.into());
    host.handle.add(config.clone()).unwrap();
    let before = next_packet(&socket);
    let successor = host.successor(host.handle.hand_over().unwrap());
    host.handle.end_silently().unwrap();
    host = successor;
    socket.set_nonblocking(true).unwrap();
    while socket.recv(&mut [0; 128]).is_ok() {}
    socket.set_nonblocking(false).unwrap();
    assert_eq!(next_packet(&socket), before);
    host.handle.add(config).unwrap();
    assert_eq!(host.state("b"), State::Down);
    assert!(host.try_event().is_none());
    // Nor is there a second one to end.
    assert!(host.handle.end_unclaimed().unwrap().is_empty());
    let successor = host.successor(host.handle.hand_over().unwrap());
    assert_eq!(successor.handle.end_unclaimed().unwrap(), ["b"]);
}

#[test]
fn a_session_nobody_claims_is_ended_as_a_removed_one_is() {
    let (mut hosts, configs) = pair(21, |_| {});
    let successor = hosts[0].successor(hosts[0].handle.hand_over().unwrap());
    hosts[0].handle.end_silently().unwrap();
    assert_eq!(hosts[0].handle.sessions().unwrap_err(), BfdError::Stopped);
    assert!(successor.handle.sessions().unwrap().is_empty());
    assert_eq!(successor.handle.remove("b").unwrap_err(), BfdError::Unknown("b".to_owned()));
    let third = SessionConfig { remote: Ipv4Addr::new(127, 37, 21, 3).into(), ..configs[0].clone() };
    successor.handle.add(third).unwrap();
    assert_eq!(successor.state("b"), State::Down, "a session by the same name to somebody else");
    assert_eq!(successor.handle.end_unclaimed().unwrap(), ["b"]);
    let change = hosts[1].event().change;
    assert_eq!((change.to, change.cause), (State::Down, Cause::NeighborAdminDown));
    assert_eq!(successor.handle.sessions().unwrap().len(), 1);
    // What has been ended can be added anew.
    successor.handle.remove("b").unwrap();
    successor.handle.add(configs[0].clone()).unwrap();
    hosts[1].meaning(Meaning::Up);
}

#[test]
fn a_farewell_reaches_the_neighbours_of_sessions_that_nobody_has_claimed() {
    let (mut hosts, _) = pair(22, |_| {});
    let successor = hosts[0].successor(hosts[0].handle.hand_over().unwrap());
    hosts[0].handle.end_silently().unwrap();
    successor.handle.farewell().unwrap();
    assert_eq!(hosts[1].event().change.cause, Cause::NeighborAdminDown);
}

#[test]
fn what_became_of_a_session_before_it_was_claimed_is_told_after_what_it_was() {
    let (hosts, configs) = pair(23, |_| {});
    let handed = hosts[0].handle.hand_over().unwrap();
    hosts[1].handle.set_admin_down("a", true).unwrap();
    // Served in the round after the one that has sent it.
    hosts[1].handle.host().unwrap();
    let mut successor = hosts[0].successor(handed);
    hosts[0].handle.end_silently().unwrap();
    assert!(successor.handle.host().unwrap().received > 0);
    successor.handle.add(configs[0].clone()).unwrap();
    let told = [successor.event(), successor.event()].map(|event| (event.meaning(), event.change.cause));
    assert_eq!(told, [(Meaning::Up, Cause::HandedOver), (Meaning::AdminDown, Cause::NeighborAdminDown)]);
}

#[test]
fn a_session_is_claimed_by_its_path_with_another_name_and_other_settings() {
    let (mut hosts, configs) = pair(24, |config| config.settings.multiplier = NonZeroU8::new(50).unwrap());
    let mut successor = hosts[0].successor(hosts[0].handle.hand_over().unwrap());
    hosts[0].handle.end_silently().unwrap();
    let renamed =
        SessionConfig { name: "c".to_owned(), settings: settings(200 * MS, 50), ..configs[0].clone() };
    successor.handle.add(renamed.clone()).unwrap();
    assert_eq!(successor.handle.add(renamed).unwrap_err(), BfdError::Exists("c".to_owned()));
    assert_eq!(&*successor.event().name, "c");
    until("the new interval", || {
        let [ours, theirs] = [successor.status("c").session, hosts[1].status("a").session];
        [ours.transmit_interval, theirs.transmit_interval] == [Some(200 * MS); 2] && !ours.polling
    });
    assert!(successor.try_event().is_none() && hosts[1].try_event().is_none());
}

#[test]
fn a_session_that_is_held_down_stays_so_until_it_is_let_up() {
    let (mut hosts, configs) = pair(25, |_| {});
    hosts[0].handle.set_admin_down("b", true).unwrap();
    hosts[1].meaning(Meaning::AdminDown);
    let mut successor = hosts[0].successor(hosts[0].handle.hand_over().unwrap());
    hosts[0].handle.end_silently().unwrap();
    successor.handle.add(configs[0].clone()).unwrap();
    let event = successor.event();
    assert_eq!((event.change.to, event.meaning()), (State::AdminDown, Meaning::AdminDown));
    successor.handle.set_admin_down("b", false).unwrap();
    successor.meaning(Meaning::Up);
    hosts[1].meaning(Meaning::Up);
}

#[test]
fn what_is_another_drivers_is_not_changed_and_can_be_after_it_is_taken_back() {
    let (mut hosts, configs) = pair(26, |_| {});
    let handle = hosts[0].handle.clone();
    handle.take_back().unwrap();
    drop(handle.hand_over().unwrap());
    let other = SessionConfig { remote: IpAddr::from(Ipv4Addr::new(127, 37, 26, 3)), ..configs[0].clone() };
    let refused = [
        handle.add(SessionConfig { name: "c".to_owned(), ..other.clone() }),
        handle.remove("b"),
        handle.set_admin_down("b", true),
        handle.reconfigure(other),
        handle.farewell(),
        handle.hand_over().map(drop),
        handle.end_unclaimed().map(drop),
    ];
    assert!(refused.iter().all(|result| *result == Err(BfdError::HandedOver)), "{refused:?}");
    assert_eq!(hosts[0].state("b"), State::Up, "it can be asked still");
    handle.take_back().unwrap();
    handle.set_admin_down("b", true).unwrap();
    assert_eq!(hosts[0].event().change.cause, Cause::AdminDown);
    assert_eq!(hosts[1].event().change.cause, Cause::NeighborAdminDown);
}

#[test]
fn nothing_is_read_that_another_driver_is_to_read() {
    let (hosts, configs) = pair(28, |_| {});
    // A removed session whose neighbour falls silent: for its own, what has arrived is looked at once more.
    let third = Ipv4Addr::new(127, 37, 28, 3);
    let config = SessionConfig { name: "c".to_owned(), remote: third.into(), ..configs[0].clone() };
    let mut silent = Host::at(third);
    let [a, _] = addresses(28);
    silent.handle.add(session("a", third.into(), a.into())).unwrap();
    hosts[0].handle.add(config).unwrap();
    silent.settled("a");
    until("the third session", || hosts[0].state("c") == State::Up);
    let detection_time = hosts[0].status("c").session.detection_time.unwrap();
    silent.handle.end_silently().unwrap();
    hosts[0].handle.remove("c").unwrap();
    let handed = hosts[0].handle.hand_over().unwrap();
    assert_eq!(handed.sessions.len(), 1);
    let received = hosts[0].handle.host().unwrap().received;
    let start = Instant::now();
    until("the detection time", || start.elapsed() > detection_time + 100 * MS);
    assert_eq!(hosts[0].handle.host().unwrap().received, received);
    let successor = hosts[0].successor(handed);
    until("what has arrived meanwhile", || successor.handle.host().unwrap().received > 10);
}

#[test]
fn a_session_whose_family_is_off_by_now_is_left_out() {
    let (hosts, configs) = pair(27, |_| {});
    let handed = hosts[0].handle.hand_over().unwrap();
    let options = BfdOptions { ipv4: None, ipv6: None, real_time: None };
    let (handle, _events) = Bfd::start_with(options, handed).unwrap();
    assert!(handle.end_unclaimed().unwrap().is_empty());
    assert_eq!(handle.add(configs[0].clone()).unwrap_err(), BfdError::Family(configs[0].remote));
}
