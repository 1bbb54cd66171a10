//! Many sessions of a host: which of them a datagram is for.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU8,
    time::{Duration, Instant},
};

use proxima_bfd::{
    AddError, Arrival, Command, Datagram, Diagnostic, Discard, Discriminator, Hops, Interval, Output, Packet,
    Path, Received, Sessions, Settings, State,
};

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        desired_min_tx: SECOND / 10,
        required_min_rx: SECOND / 10,
        multiplier: NonZeroU8::new(3).unwrap(),
        authentication: None,
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn path(remote: &str) -> Path {
    Path { remote: address(remote), local: None, interface: None, hops: Hops::Single }
}

fn name(value: u32) -> Discriminator {
    Discriminator::new(value).unwrap()
}

fn arrival(source: &str) -> Arrival {
    Arrival {
        source: address(source),
        destination: address("192.0.2.1"),
        interface: 7,
        ttl: 255,
        multihop: false,
    }
}

fn datagram(state: State, your_discriminator: u32) -> Datagram {
    Datagram::encode(&Packet {
        diagnostic: Diagnostic::None,
        state,
        poll: false,
        finished: false,
        control_plane_independent: false,
        demand: false,
        multiplier: NonZeroU8::new(3).unwrap(),
        my_discriminator: name(99),
        your_discriminator: Discriminator::new(your_discriminator),
        desired_min_tx: Interval(1_000_000),
        required_min_rx: Interval(100_000),
        required_min_echo_rx: Interval(0),
    })
}

struct Host {
    now: Instant,
    sessions: Sessions,
}

impl Host {
    fn new() -> Self {
        Self { now: Instant::now(), sessions: Sessions::new() }
    }

    fn add(&mut self, discriminator: u32, path: Path) -> Result<(), AddError> {
        self.sessions.add(self.now, name(discriminator), path, settings(), 1)
    }

    fn receive(&mut self, arrival: Arrival, datagram: Datagram) -> Result<u32, Discard> {
        self.sessions.handle(self.now, &arrival, datagram.as_bytes()).map(|name| name.0.get())
    }

    fn run(&mut self, time: Duration) -> Vec<(u32, Output)> {
        let end = self.now + time;
        let mut outputs = Vec::new();
        loop {
            while let Some((name, _, output)) = self.sessions.poll_output() {
                outputs.push((name.0.get(), output));
            }
            let Some(at) = self.sessions.poll_timeout().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            self.sessions.handle_timeout(self.now);
        }
        self.now = end;
        outputs
    }
}

#[test]
fn a_first_packet_finds_its_session_by_source_port_interface_and_own_address() {
    let mut host = Host::new();
    host.add(1, path("192.0.2.2")).unwrap();
    host.add(2, Path { hops: Hops::Multi { least_ttl: 250 }, ..path("192.0.2.2") }).unwrap();
    host.add(3, Path { interface: Some(7), ..path("fe80::1") }).unwrap();
    host.add(4, Path { interface: Some(8), ..path("fe80::1") }).unwrap();
    host.add(5, Path { local: Some(address("192.0.2.9")), ..path("192.0.2.3") }).unwrap();
    host.add(6, Path { local: Some(address("192.0.2.1")), ..path("192.0.2.3") }).unwrap();
    host.add(7, path("192.0.2.3")).unwrap();
    let first = || datagram(State::Down, 0);
    assert_eq!(host.receive(arrival("192.0.2.2"), first()), Ok(1));
    assert_eq!(host.receive(Arrival { multihop: true, ..arrival("192.0.2.2") }, first()), Ok(2));
    assert_eq!(host.receive(arrival("fe80::1"), first()), Ok(3));
    assert_eq!(host.receive(Arrival { interface: 8, ..arrival("fe80::1") }, first()), Ok(4));
    assert_eq!(
        host.receive(Arrival { interface: 9, ..arrival("fe80::1") }, first()),
        Err(Discard::NoSession)
    );
    assert_eq!(host.receive(arrival("192.0.2.3"), first()), Ok(6), "the closest description");
    let elsewhere = Arrival { destination: address("192.0.2.8"), ..arrival("192.0.2.3") };
    assert_eq!(host.receive(elsewhere, first()), Ok(7));
    assert_eq!(host.receive(arrival("192.0.2.4"), first()), Err(Discard::NoSession));
}

#[test]
fn a_discriminator_alone_decides_but_never_by_another_kind_of_path() {
    let mut host = Host::new();
    host.add(1, Path { interface: Some(7), ..path("192.0.2.2") }).unwrap();
    host.add(2, Path { hops: Hops::Multi { least_ttl: 250 }, ..path("198.51.100.2") }).unwrap();
    let up = |to| datagram(State::Up, to);
    assert_eq!(host.receive(arrival("203.0.113.9"), up(1)), Ok(1), "RFC 5880 §6.3: addresses do not count");
    assert_eq!(host.receive(arrival("192.0.2.2"), up(3)), Err(Discard::UnknownDiscriminator));
    let elsewhere = Arrival { interface: 8, ..arrival("192.0.2.2") };
    assert_eq!(host.receive(elsewhere, up(1)), Err(Discard::WrongPath));
    // A packet from afar must not reach a single-hop session by way of the multihop port.
    let far = Arrival { multihop: true, ttl: 250, ..arrival("192.0.2.2") };
    assert_eq!(host.receive(far, up(1)), Err(Discard::WrongPath));
    assert_eq!(host.receive(far, up(2)), Ok(2));
    assert_eq!(host.sessions.discards().count(Discard::WrongPath), 2);
    assert_eq!(host.sessions.status(name(1)).unwrap().counters.discarded.count(Discard::WrongPath), 2);
}

#[test]
fn single_hop_packets_need_ttl_255_and_multihop_ones_their_least() {
    let mut host = Host::new();
    host.add(1, path("192.0.2.2")).unwrap();
    host.add(2, Path { hops: Hops::Multi { least_ttl: 250 }, ..path("192.0.2.2") }).unwrap();
    let first = || datagram(State::Down, 0);
    for (multihop, ttl, expected) in [
        (false, 255, Ok(1)),
        (false, 254, Err(Discard::TtlTooLow)),
        (false, 1, Err(Discard::TtlTooLow)),
        (true, 255, Ok(2)),
        (true, 250, Ok(2)),
        (true, 249, Err(Discard::TtlTooLow)),
    ] {
        assert_eq!(host.receive(Arrival { multihop, ttl, ..arrival("192.0.2.2") }, first()), expected);
    }
    assert!(host.sessions.set_least_ttl(name(2), 249));
    assert_eq!(host.receive(Arrival { multihop: true, ttl: 249, ..arrival("192.0.2.2") }, first()), Ok(2));
    assert!(!host.sessions.set_least_ttl(name(1), 249), "single hop");
}

#[test]
fn packets_of_many_sessions_go_out_together_and_only_silence_asks_for_a_last_look() {
    let mut host = Host::new();
    for n in 1..=100 {
        host.add(n, path(&format!("198.51.100.{n}"))).unwrap();
    }
    host.receive(arrival("198.51.100.1"), datagram(State::Down, 0)).unwrap();
    let (mut wakings, mut sent) = (0, 0);
    let end = host.now + 10 * SECOND;
    while let Some(at) = host.sessions.poll_timeout().filter(|at| *at <= end) {
        // The first neighbour has said that it sends once a second, three times.
        assert_eq!(host.sessions.expires(at), at == end.checked_sub(7 * SECOND).unwrap());
        host.now = at;
        host.sessions.handle_timeout(at);
        wakings += 1;
        while let Some((_, _, output)) = host.sessions.poll_output() {
            sent += usize::from(matches!(output, Output::Send(_)));
        }
    }
    assert!((1000..=1300).contains(&sent), "{sent}");
    assert!(wakings < sent / 3, "{wakings} for {sent}");
}

#[test]
fn what_could_not_be_told_apart_is_not_added() {
    let mut host = Host::new();
    host.add(1, path("192.0.2.2")).unwrap();
    assert_eq!(host.add(1, path("192.0.2.3")), Err(AddError::Discriminator(name(1))));
    assert_eq!(
        host.add(2, path("192.0.2.2")).unwrap_err().to_string(),
        "there is a BFD session to 192.0.2.2 already; give one of them an interface or a local address of its own"
    );
    let bad = Settings { desired_min_tx: SECOND / 1000, ..settings() };
    assert!(matches!(
        host.sessions.add(host.now, name(3), path("192.0.2.3"), bad.clone(), 1),
        Err(AddError::Settings(_))
    ));
    assert!(host.sessions.command(host.now, name(1), Command::Reconfigure(bad)).is_err());
    assert_eq!(host.sessions.len(), 1);
}

#[test]
fn a_removed_session_says_admin_down_for_a_detection_time_and_tells_nobody_else() {
    let mut host = Host::new();
    host.add(1, path("192.0.2.2")).unwrap();
    host.receive(arrival("192.0.2.2"), datagram(State::Down, 0)).unwrap();
    host.run(Duration::ZERO);
    assert!(host.sessions.remove(host.now, name(1)));
    assert!(!host.sessions.remove(host.now, name(1)));
    assert_eq!(host.sessions.status(name(1)), None);
    let outputs = host.run(10 * SECOND);
    let states: Vec<_> = outputs
        .iter()
        .map(|(_, output)| match output {
            Output::Send(datagram) => Received::decode(datagram.as_bytes()).unwrap().packet.state,
            Output::StateChanged(change) => panic!("{change:?}"),
        })
        .collect();
    assert!(
        (3..=5).contains(&states.len()) && states.iter().all(|state| *state == State::AdminDown),
        "{states:?}"
    );
    assert!(host.sessions.is_empty());
    assert_eq!(host.sessions.poll_timeout(), None);
}

#[test]
fn sessions_go_on_in_another_process_by_their_discriminators_and_removed_ones_say_farewell_here() {
    let mut host = Host::new();
    host.add(1, path("192.0.2.2")).unwrap();
    host.add(2, path("192.0.2.3")).unwrap();
    for neighbour in ["192.0.2.2", "192.0.2.3"] {
        host.receive(arrival(neighbour), datagram(State::Down, 0)).unwrap();
    }
    host.receive(arrival("192.0.2.2"), datagram(State::Init, 1)).unwrap();
    host.sessions.remove(host.now, name(2));
    host.run(Duration::ZERO);
    let snapshots = host.sessions.hand_over(host.now);
    let [snapshot] = snapshots.as_slice() else { panic!("{snapshots:?}") };
    assert_eq!((snapshot.discriminator(), snapshot.state()), (name(1), State::Up));
    // The one goes on saying that it is up, though its neighbour is silent; the other one says farewell and is gone.
    let outputs = host.run(10 * SECOND);
    let farewells = outputs.iter().filter(|(name, _)| *name == 2).count();
    assert!((2..=5).contains(&farewells), "{farewells}");
    assert!(outputs.iter().filter(|(name, _)| *name == 1).count() >= 10);
    assert!(outputs.iter().all(|(_, output)| matches!(output, Output::Send(_))));
    assert_eq!(host.sessions.len(), 1);

    let mut other = Host { now: host.now, sessions: Sessions::new() };
    let mut resume = |path| other.sessions.resume(other.now, path, snapshot, settings(), 5);
    assert_eq!(resume(path("192.0.2.2")), Ok(()));
    assert_eq!(resume(path("192.0.2.2")), Err(AddError::Discriminator(name(1))));
    assert_eq!(other.receive(arrival("192.0.2.2"), datagram(State::Up, 1)), Ok(1));
    assert_eq!(other.add(3, path("192.0.2.2")), Err(AddError::Path(path("192.0.2.2"))));
    // And so does the first one, should the other process come to nothing.
    host.sessions.take_back(host.now);
    assert_eq!(host.receive(arrival("192.0.2.2"), datagram(State::Up, 1)), Ok(1));
    host.run(10 * SECOND);
    assert_eq!(host.sessions.state(name(1)), Some(State::Down));
}

#[test]
fn a_session_that_never_heard_anybody_is_removed_at_once() {
    let mut host = Host::new();
    host.add(1, path("192.0.2.2")).unwrap();
    host.sessions.remove(host.now, name(1));
    host.run(Duration::ZERO);
    assert!(host.sessions.is_empty());
}

#[test]
fn a_session_added_again_takes_the_place_of_the_one_that_says_farewell() {
    let mut host = Host::new();
    host.add(1, path("192.0.2.2")).unwrap();
    host.receive(arrival("192.0.2.2"), datagram(State::Down, 0)).unwrap();
    host.sessions.remove(host.now, name(1));
    host.add(2, path("192.0.2.2")).unwrap();
    let senders: Vec<_> = host.run(5 * SECOND).into_iter().map(|(name, _)| name).collect();
    assert!(senders.iter().all(|sender| *sender == 2), "{senders:?}");
    assert_eq!(host.receive(arrival("192.0.2.2"), datagram(State::Down, 0)), Ok(2));
}

#[test]
fn thousands_of_sessions_between_two_hosts_come_up_and_each_notices_its_own_end() {
    const N: u32 = 2000;
    let neighbour = |n: u32| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n));
    let mut hosts = [Host::new(), Host::new()];
    let start = hosts[0].now;
    hosts[1].now = start;
    // Host 0 has address n of 10/8 for session n and watches n + 2^16, host 1 the other way round.
    for (end, host) in hosts.iter_mut().enumerate() {
        for n in 1..=N {
            let (local, remote) = if end == 0 { (n, n + 0x1_0000) } else { (n + 0x1_0000, n) };
            let path = Path {
                remote: neighbour(remote),
                local: Some(neighbour(local)),
                interface: None,
                hops: Hops::Single,
            };
            let seed = u64::from(n) << 1 | end as u64;
            host.sessions.add(start, name(n * 7 + end as u32), path, settings(), seed).unwrap();
        }
    }
    let mut failed = Vec::new();
    let mut cut = false;
    let mut step = |hosts: &mut [Host; 2], now: Instant, cut: bool| {
        for end in 0..2 {
            hosts[end].sessions.handle_timeout(now);
            while let Some((discriminator, path, output)) = hosts[end].sessions.poll_output() {
                let Output::Send(datagram) = output else {
                    if cut {
                        failed.push((end, discriminator));
                    }
                    continue;
                };
                // The path of every hundredth session breaks, one way.
                if cut && end == 0 && (discriminator.0.get() / 7).is_multiple_of(100) {
                    continue;
                }
                let arrival = Arrival {
                    source: path.local.unwrap(),
                    destination: path.remote,
                    interface: 1,
                    ttl: 255,
                    multihop: false,
                };
                hosts[1 - end].sessions.handle(now, &arrival, datagram.as_bytes()).unwrap();
            }
        }
    };
    for ms in 0..3000 {
        step(&mut hosts, start + Duration::from_millis(ms), cut);
    }
    let up = |host: &Host, end: u32| {
        (1..=N).filter(|n| host.sessions.state(name(n * 7 + end)) == Some(State::Up)).count()
    };
    assert_eq!([up(&hosts[0], 0), up(&hosts[1], 1)], [N as usize; 2]);
    cut = true;
    for ms in 3000..3500 {
        step(&mut hosts, start + Duration::from_millis(ms), cut);
    }
    assert_eq!([up(&hosts[0], 0), up(&hosts[1], 1)], [(N - N / 100) as usize; 2]);
    assert!(failed.iter().all(|(_, name)| (name.0.get() / 7).is_multiple_of(100)), "{failed:?}");
}
