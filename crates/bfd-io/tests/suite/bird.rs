//! With a real BIRD 2.

use std::fs;

use nix::sys::signal::Signal;
use proxima_bfd::Discard;
use proxima_bfd_io::{
    Authentication, AuthenticationKind, BfdOptions, BfdStatus, Cause, Diagnostic, Key, Meaning, SessionConfig,
};

use crate::{
    common::{ASKING, Host, MS, PATIENT, SLACK, session, settings, until},
    freeze::Frozen,
    sandbox::{Process, enter, shell, within},
};

const SECRET: &str = "a shared secret";

struct Bird {
    process: Process,
    socket: &'static str,
}

impl Bird {
    /// `interface` goes into the options of its interface, `neighbours` into the protocol.
    fn start(interface: &str, neighbours: &str) -> Self {
        let config = format!(
            "router id 10.0.0.2;
             protocol device {{}}
             protocol bfd {{
               interface \"eth0\" {{ interval 60 ms; idle tx interval 1 s; multiplier {PATIENT}; {interface} }};
               multihop {{ interval 60 ms; multiplier {PATIENT}; }};
               {neighbours}
             }}"
        );
        fs::write("/run/bird.conf", config).unwrap();
        let socket = "/run/bird.ctl";
        // Of one that was killed.
        fs::remove_file(socket).ok();
        let arguments = ["-f", "-c", "/run/bird.conf", "-s", socket];
        let bird = Self { process: Process::start("them", "bird", &arguments), socket };
        until("BIRD's control socket", || fs::exists(socket).unwrap());
        bird
    }

    /// The line of `show bfd sessions` about us.
    fn session(&self, us: &str) -> Option<String> {
        let text = shell(&format!("birdc -s {} show bfd sessions", self.socket));
        text.lines()
            .find(|line| line.starts_with(us))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    fn is(&self, us: &str, state: &str) -> bool {
        self.session(us).is_some_and(|line| line.contains(state))
    }
}

fn us() -> Host {
    within("us", || Host::start(BfdOptions::default()))
}

fn near() -> SessionConfig {
    session("bird", "10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap())
}

fn negotiated(status: &BfdStatus) -> (Option<std::time::Duration>, Option<std::time::Duration>) {
    (status.session.transmit_interval, status.session.detection_time)
}

#[test]
fn bird_comes_up_negotiates_and_each_side_notices_the_others_end() {
    if !enter("bird::bird_comes_up_negotiates_and_each_side_notices_the_others_end") {
        return;
    }
    let mut us = us();
    us.handle.add(near()).unwrap();
    let bird = Bird::start("", "neighbor 10.0.0.1 dev \"eth0\" local 10.0.0.2;");
    us.meaning(Meaning::Up);
    us.settled("bird");
    // Ours 50 ms, BIRD's 60 ms.
    assert_eq!(negotiated(&us.status("bird")), (Some(60 * MS), Some(1200 * MS)));
    until("BIRD to be up", || bird.is("10.0.0.1", "Up"));
    until("BIRD's timers", || bird.session("10.0.0.1").is_some_and(|line| line.ends_with("0.060 1.200")));

    // Other intervals without a flap, seen by BIRD.
    us.handle.reconfigure(SessionConfig { settings: settings(200 * MS, 10), ..near() }).unwrap();
    until("BIRD's timers", || bird.session("10.0.0.1").is_some_and(|line| line.ends_with("0.200 2.000")));
    us.handle.reconfigure(near()).unwrap();
    until("BIRD's timers", || bird.session("10.0.0.1").is_some_and(|line| line.ends_with("0.060 1.200")));
    us.settled("bird");
    assert_eq!(us.status("bird").session.counters.flaps, 0);

    // Our operator takes it down: BIRD is told.
    us.handle.set_admin_down("bird", true).unwrap();
    until("BIRD to be down", || bird.is("10.0.0.1", "Down"));
    us.handle.set_admin_down("bird", false).unwrap();
    us.settled("bird");
    until("BIRD to be up", || bird.is("10.0.0.1", "Up"));

    // BIRD is frozen: we notice in time. It comes back by itself.
    let at = std::time::Instant::now();
    bird.process.signal(Signal::SIGSTOP);
    let event = us.meaning(Meaning::Failed);
    assert_eq!(event.change.cause, Cause::DetectionTimeExpired);
    assert!(event.at - at <= 1200 * MS + SLACK, "{:?}", event.at - at);
    bird.process.signal(Signal::SIGCONT);
    us.settled("bird");

    // We die: BIRD notices.
    until("BIRD to be up", || bird.is("10.0.0.1", "Up"));
    drop(us);
    until("BIRD to be down", || bird.is("10.0.0.1", "Down"));

    // We are frozen: BIRD notices in time, and takes us back.
    let [own, neighbour] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().unwrap());
    let frozen = within("us", || Frozen::start(own, neighbour, 50, PATIENT));
    until("BIRD to be up", || bird.is("10.0.0.1", "Up"));
    until("BIRD's timers", || bird.session("10.0.0.1").is_some_and(|line| line.ends_with("0.060 1.200")));
    let at = std::time::Instant::now();
    frozen.signal(Signal::SIGSTOP);
    until("BIRD to be down", || bird.is("10.0.0.1", "Down"));
    assert!(at.elapsed() <= 1200 * MS + ASKING, "{:?}", at.elapsed());
    frozen.signal(Signal::SIGCONT);
    until("BIRD to be up", || bird.is("10.0.0.1", "Up"));
}

#[test]
fn bird_that_is_killed_is_noticed_and_comes_back() {
    if !enter("bird::bird_that_is_killed_is_noticed_and_comes_back") {
        return;
    }
    let mut us = us();
    us.handle.add(near()).unwrap();
    for _ in 0..2 {
        let bird = Bird::start("", "neighbor 10.0.0.1 dev \"eth0\" local 10.0.0.2;");
        us.settled("bird");
        let at = std::time::Instant::now();
        drop(bird);
        let event = us.meaning(Meaning::Failed);
        assert_eq!(event.change.cause, Cause::DetectionTimeExpired);
        assert_eq!(event.change.diagnostic, Diagnostic::ControlDetectionTimeExpired);
        assert!(event.at - at <= 1200 * MS + SLACK, "{:?}", event.at - at);
    }
}

#[test]
fn bird_and_we_sign_with_meticulous_keyed_sha1_and_take_nothing_else() {
    if !enter("bird::bird_and_we_sign_with_meticulous_keyed_sha1_and_take_nothing_else") {
        return;
    }
    let mut us = us();
    let mut config = near();
    let key = |secret: &str| {
        let key = Key::new(secret.as_bytes()).unwrap();
        Some(Authentication { kind: AuthenticationKind::MeticulousKeyedSha1, key_id: 7, key })
    };
    config.settings.authentication = key(SECRET);
    us.handle.add(config.clone()).unwrap();
    let options = format!("authentication meticulous keyed sha1; password \"{SECRET}\" {{ id 7; }};");
    let bird = Bird::start(&options, "neighbor 10.0.0.1 dev \"eth0\" local 10.0.0.2;");
    us.settled("bird");
    until("BIRD to be up", || bird.is("10.0.0.1", "Up"));
    // BIRD restarts with other sequence numbers and is heard again once the old ones are forgotten.
    drop(bird);
    us.meaning(Meaning::Failed);
    let bird = Bird::start(&options, "neighbor 10.0.0.1 dev \"eth0\" local 10.0.0.2;");
    us.settled("bird");
    // Another key: the session fails on both sides.
    config.settings.authentication = key("another secret");
    us.handle.reconfigure(config).unwrap();
    us.meaning(Meaning::Failed);
    until("BIRD to be down", || bird.is("10.0.0.1", "Down") || bird.is("10.0.0.1", "Init"));
    until("refused packets", || us.status("bird").session.counters.discarded.count(Discard::Digest) > 0);
}

#[test]
fn bird_does_not_notice_that_another_driver_goes_on() {
    if !enter("bird::bird_does_not_notice_that_another_driver_goes_on") {
        return;
    }
    let mut us = us();
    let options = format!("authentication meticulous keyed sha1; password \"{SECRET}\" {{ id 7; }};");
    let bird = Bird::start(
        &options,
        "neighbor 10.0.0.1 dev \"eth0\" local 10.0.0.2; neighbor 10.0.1.1 local 10.0.2.2 multihop on;",
    );
    let mut signed = near();
    let key = Key::new(SECRET.as_bytes()).unwrap();
    let kind = AuthenticationKind::MeticulousKeyedSha1;
    signed.settings.authentication = Some(Authentication { kind, key_id: 7, key });
    let far = session("far", "10.0.1.1".parse().unwrap(), "10.0.2.2".parse().unwrap());
    // BIRD sends multihop packets with TTL 64.
    let configs = [signed, SessionConfig { multihop: Some(63), ..far }];
    for config in &configs {
        us.handle.add(config.clone()).unwrap();
    }
    let addresses = ["10.0.0.1", "10.0.1.1"];
    for (config, address) in configs.iter().zip(addresses) {
        us.settled(&config.name);
        until("BIRD to be up", || bird.is(address, "Up"));
        until("BIRD's timers", || bird.session(address).is_some_and(|line| line.ends_with("0.060 1.200")));
    }
    // State, since when, intervals.
    let before = addresses.map(|address| bird.session(address).unwrap());
    for _ in 0..5 {
        let handed = us.handle.hand_over().unwrap();
        let successor = within("us", || us.successor(handed));
        us.handle.end_silently().unwrap();
        us = successor;
        for config in &configs {
            us.handle.add(config.clone()).unwrap();
            assert_eq!(us.event().change.cause, Cause::HandedOver);
        }
        us.flows();
        drop(us.handle.hand_over().unwrap());
        us.handle.take_back().unwrap();
        us.flows();
    }
    assert_eq!(addresses.map(|address| bird.session(address).unwrap()), before);
    assert!(us.try_event().is_none());
}

#[test]
fn bird_comes_up_over_ipv6_by_keyed_sha1_and_through_a_router() {
    if !enter("bird::bird_comes_up_over_ipv6_by_keyed_sha1_and_through_a_router") {
        return;
    }
    let mut us = us();
    let options = format!("authentication keyed sha1; password \"{SECRET}\" {{ id 1; }};");
    let _bird = Bird::start(
        &options,
        "neighbor fd00::1 dev \"eth0\" local fd00::2;
         neighbor 10.0.1.1 local 10.0.2.2 multihop on;
         neighbor fd00:1::1 local fd00:2::2 multihop on;",
    );
    let mut six = session("six", "fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
    let key = Key::new(SECRET.as_bytes()).unwrap();
    six.settings.authentication =
        Some(Authentication { kind: AuthenticationKind::KeyedSha1, key_id: 1, key });
    us.handle.add(six).unwrap();
    for (name, ours, theirs) in [("far", "10.0.1.1", "10.0.2.2"), ("far six", "fd00:1::1", "fd00:2::2")] {
        let far = session(name, ours.parse().unwrap(), theirs.parse().unwrap());
        // BIRD sends multihop packets with TTL 64.
        us.handle.add(SessionConfig { multihop: Some(63), ..far }).unwrap();
    }
    for name in ["six", "far", "far six"] {
        us.settled(name);
    }
}
