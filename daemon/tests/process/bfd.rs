//! BFD with a neighbour played by the test, in networks of their own: the router's, which is the test's, and the daemon's.
//!
//! ```text
//!  test: BGP router, BFD neighbour ── v0 10.0.0.1 ═══ 10.0.0.2 v1 ── proximad
//! ```

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use proxima_api::{BfdSessions, BfdState, EventKind, Peer, SessionReason, SessionState, paths};
use proxima_types::ReachState;
use socket2::{Domain, Socket, Type};

use crate::support::{App, Client, Daemon, KEEPALIVE, Pop, Port, Router, inside, ip, open, proxima};

const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const POP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The daemon's network: lives as long as this.
struct Network(Child);

impl Network {
    fn new() -> Self {
        let child = Command::new("unshare")
            .args(["--net", "sleep", "infinity"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let network = Self(child);
        let pid = network.0.id();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let begun = Instant::now();
        while std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap() == own {
            assert!(begun.elapsed() < crate::support::PATIENCE, "no network of its own");
            thread::yield_now();
        }
        ip(&["link", "set", "lo", "up"]);
        ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", &pid.to_string()]);
        ip(&["address", "add", &format!("{ROUTER}/24"), "dev", "v0"]);
        ip(&["link", "set", "v0", "up"]);
        network.ip(&["link", "set", "lo", "up"]);
        network.ip(&["address", "add", &format!("{POP}/24"), "dev", "v1"]);
        network.ip(&["link", "set", "v1", "up"]);
        network
    }

    fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.0.id())).arg(program);
        command
    }

    fn ip(&self, arguments: &[&str]) {
        assert!(self.enter("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A BFD neighbour written by hand (RFC 5880 §4.1, §6.8.6; RFC 5881): answers each packet with the next state.
struct Neighbour {
    speaks: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Neighbour {
    fn start() -> Self {
        let receiver = UdpSocket::bind(SocketAddr::new(ROUTER.into(), 3784)).unwrap();
        receiver.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let sender = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        sender.set_ttl_v4(255).unwrap();
        sender.bind(&SocketAddr::new(ROUTER.into(), 49_152).into()).unwrap();
        let (speaks, ends) = (Arc::new(AtomicBool::new(true)), Arc::<AtomicBool>::default());
        let thread = thread::spawn({
            let (speaks, ends, sender) = (Arc::clone(&speaks), Arc::clone(&ends), UdpSocket::from(sender));
            move || {
                let (mut theirs, mut state) = ([0; 4], DOWN);
                let mut packet = [0; 64];
                while !ends.load(Ordering::Relaxed) {
                    if let Ok((length, _)) = receiver.recv_from(&mut packet) {
                        assert!(length >= 24, "a control packet");
                        theirs.copy_from_slice(&packet[4..8]);
                        state = next(state, packet[1] >> 6);
                        // An answer is due to a poll at once.
                        if packet[1] & 0x20 != 0 && speaks.load(Ordering::Relaxed) {
                            sender.send_to(&control(state, 0x10, theirs), (POP, 3784)).ok();
                        }
                    }
                    if speaks.load(Ordering::Relaxed) && theirs != [0; 4] {
                        sender.send_to(&control(state, 0, theirs), (POP, 3784)).ok();
                    }
                }
            }
        });
        Self { speaks, ends, thread: Some(thread) }
    }

    fn speaks(&self, speaks: bool) {
        self.speaks.store(speaks, Ordering::Relaxed);
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

const DOWN: u8 = 1;
const INIT: u8 = 2;
const UP: u8 = 3;

fn next(ours: u8, theirs: u8) -> u8 {
    match (ours, theirs) {
        (DOWN, DOWN) => INIT,
        (DOWN, INIT) | (INIT, INIT | UP) => UP,
        (UP, DOWN) => DOWN,
        (state, _) => state,
    }
}

/// Version 1, 300 ms either way, multiplier 3: machines that are busy with other tests lose no session by themselves.
fn control(state: u8, flags: u8, theirs: [u8; 4]) -> Vec<u8> {
    let interval = 300_000_u32.to_be_bytes();
    [&[0x20, state << 6 | flags, 3, 24, 0, 0, 0, 7][..], &theirs, &interval, &interval, &[0; 4]].concat()
}

/// The PoP's daemon, with a session of both kinds with its router.
fn watched(network: &Network, pop: &Pop) -> Daemon {
    let path = pop.write();
    let bfd = "name = \"router\"\nbfd = { interval = \"300ms\", multiplier = 3 }";
    std::fs::write(&path, pop.text().replacen("name = \"router\"", bfd, 1)).unwrap();
    let mut command = network.enter(env!("CARGO_BIN_EXE_proximad"));
    command.arg("--config").arg(&path).env("NO_COLOR", "1");
    let daemon = Daemon::launch(command, &pop.socket());
    daemon.wait_established("router");
    daemon.wait_event("BFD up", |event| {
        matches!(&event.kind, EventKind::BfdState { to: BfdState::Up, .. }).then_some(())
    });
    daemon
}

#[test]
fn a_neighbour_that_falls_silent_ends_the_session_by_bfd_long_before_the_hold_time() {
    if !inside("bfd::a_neighbour_that_falls_silent_ends_the_session_by_bfd_long_before_the_hold_time") {
        return;
    }
    let network = Network::new();
    let router = Router::at(&Port::reserve_at(IpAddr::V4(ROUTER)).unwrap(), []);
    let neighbour = Neighbour::start();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.group = String::new();
    let daemon = watched(&network, &pop);
    let BfdSessions { sessions } = daemon.ask(paths::BFD);
    assert_eq!((sessions.len(), sessions[0].state, sessions[0].multiplier), (1, BfdState::Up, 3));
    let peer: Peer = daemon.ask(&format!("{}/router", paths::PEERS));
    assert_eq!(peer.bfd.unwrap().remote_discriminator, 7);
    let shown = String::from_utf8(proxima(&pop.socket(), &["bfd"]).stdout).unwrap();
    assert!(shown.contains("router  10.0.0.1  up"), "{shown}");

    neighbour.speaks(false);
    let silent = Instant::now();
    let farewell = router.wait_on(0, "notification");
    // RFC 9384: BFD down.
    assert!(farewell.line.starts_with("notification 6/10"), "{}", farewell.line);
    let took = farewell.at.saturating_duration_since(silent);
    eprintln!("silence -> NOTIFICATION: {took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    let why = daemon.wait_event("BFD down", |event| match &event.kind {
        EventKind::BfdState { from: BfdState::Up, to: BfdState::Down, diagnostic, .. } => diagnostic.clone(),
        _ => None,
    });
    assert_eq!(why, "detection time expired");

    neighbour.speaks(true);
    router.wait_on(1, "open");
    daemon.wait_events("up again, and the session with it", |events| {
        let down = events.iter().position(|event| {
            matches!(event.kind, EventKind::BfdState { from: BfdState::Up, to: BfdState::Down, .. })
        })?;
        let again = |wanted: fn(&EventKind) -> bool| events[down..].iter().any(|event| wanted(&event.kind));
        (again(|kind| matches!(kind, EventKind::BfdState { to: BfdState::Up, .. }))
            && again(|kind| matches!(kind, EventKind::PeerState { to: SessionState::Established, .. })))
        .then_some(())
    });
}

#[test]
fn a_member_of_a_range_is_watched_from_when_it_connects() {
    if !inside("bfd::a_member_of_a_range_is_watched_from_when_it_connects") {
        return;
    }
    let network = Network::new();
    let neighbour = Neighbour::start();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().backend("eu", &app);
    pop.group = String::new();
    let path = pop.write();
    let range = "\n[[bgp.peers]]\nname = \"racks\"\nrange = \"10.0.0.0/24\"\nremote-as = 65001\nbfd = {}\n";
    let listen = "connect-retry = \"50ms\"\nlisten = [\"10.0.0.2:1790\"]";
    let text = pop.text().replacen("connect-retry = \"50ms\"", &format!("{listen}{range}"), 1);
    std::fs::write(&path, text).unwrap();
    let mut command = network.enter(env!("CARGO_BIN_EXE_proximad"));
    command.arg("--config").arg(&path).env("NO_COLOR", "1");
    let daemon = Daemon::launch(command, &pop.socket());
    let nobody: BfdSessions = daemon.ask(paths::BFD);
    assert!(nobody.sessions.is_empty());

    let mut member = Client::from(ROUTER.into(), SocketAddr::new(POP.into(), 1790));
    member.send(&[open(), KEEPALIVE.to_vec()].concat());
    daemon.wait_established("racks/10.0.0.1");
    let up = |event: &proxima_api::Event| match &event.kind {
        EventKind::BfdState { peer, to: BfdState::Up, .. } => Some(peer.to_string()),
        _ => None,
    };
    assert_eq!(daemon.wait_event("BFD up", up), "racks/10.0.0.1");
    let BfdSessions { sessions } = daemon.ask(paths::BFD);
    assert_eq!((sessions[0].remote, sessions[0].local), (ROUTER.into(), Some(POP.into())));

    neighbour.speaks(false);
    let lost = daemon.wait_event("the session's end", |event| match &event.kind {
        EventKind::PeerState { from: SessionState::Established, reason, .. } => reason.clone(),
        _ => None,
    });
    assert!(matches!(lost, SessionReason::NotificationSent { code: 6, subcode: 10, .. }), "{lost}");
}

#[test]
fn a_session_that_is_shut_down_is_watched_until_its_drain_is_over() {
    if !inside("bfd::a_session_that_is_shut_down_is_watched_until_its_drain_is_over") {
        return;
    }
    let network = Network::new();
    let router = Router::at(&Port::reserve_at(IpAddr::V4(ROUTER)).unwrap(), []);
    let _neighbour = Neighbour::start();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    // The app is not in the daemon's network.
    pop.group = r#"
[announce.web]
prefixes = ["203.0.113.0/24"]
services = ["web"]
vip = "none"
when-down = "stay"
"#
    .to_owned();
    let daemon = watched(&network, &pop);
    daemon.wait_transition("web", ReachState::Announced, 0);
    router.wait_for("announce 203.0.113.0/24");
    let done = proxima(&pop.socket(), &["peer", "router", "shutdown", "new cables"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let farewell = router.wait_on(0, "notification");
    assert!(farewell.line.starts_with("notification 6/2"), "{}", farewell.line);
    // A router that hears AdminDown may drop the routes at once: not before they have been announced as about to go.
    let (ended, over) = daemon.wait_events("both sessions' ends", |events| {
        let at = |is: fn(&EventKind) -> bool| events.iter().position(|event| is(&event.kind));
        let ended = at(|kind| matches!(kind, EventKind::PeerState { from: SessionState::Established, .. }))?;
        let over = at(|kind| matches!(kind, EventKind::BfdState { to: BfdState::AdminDown, .. }))?;
        Some((ended, over))
    });
    assert!(ended < over, "BFD was ended before the drain");

    let done = proxima(&pop.socket(), &["peer", "router", "up"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    router.wait_on(1, "open");
    daemon.wait_events("BFD up again", |events| {
        let ups =
            events.iter().filter(|event| matches!(event.kind, EventKind::BfdState { to: BfdState::Up, .. }));
        (ups.count() == 2).then_some(())
    });
}
