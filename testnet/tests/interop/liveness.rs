//! BFD (RFC 5880, 5881) with routers that speak it: BIRD and FRR.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use proxima_api::SessionState;
use proxima_testnet::{
    netns::NetNs,
    observe::capture::{Capture, Wanted},
    router::{Bfd, Make, Neighbour},
};
use proxima_types::Prefix;

use crate::support::{
    BETWEEN, FAR_POP, FAR_POP_IPV6, INTERFACE, Lab, POP, POP_IPV6, ROUTER, ROUTER_AS, ROUTER_IPV6, hold_for,
    in_sandbox, wait,
};

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

const IPV4: &str = "203.0.113.0/24";
const INTERVAL_MS: u32 = 50;
/// BFD 50 ms × 3 with room for a busy machine. Without BFD it would be the hold time: 90 s.
const SOON: Duration = Duration::from_secs(2);

/// A session that nothing but BFD can end within 90 s, not started yet.
fn lab(make: Make) -> Lab {
    let mut lab = Lab::new(make);
    watch_by_bfd(&mut lab);
    lab
}

fn watch_by_bfd(lab: &mut Lab) {
    lab.pop.hold_time = "90s";
    lab.peering.hold_time = 90;
    lab.peering.bfd = Some(Bfd { interval_ms: INTERVAL_MS, multiplier: 3 });
    lab.pop.set(format!("bfd = {{ interval = \"{INTERVAL_MS}ms\", multiplier = 3 }}"));
}

fn wait_bfd(lab: &Lab, state: &str) {
    wait(&format!("BFD {state}"), || {
        let peer = lab.pop.peer();
        if peer.more["bfd"]["state"] == state { Ok(()) } else { Err(format!("{peer:?}")) }
    });
}

/// Brings it up, BFD included.
fn start(lab: &mut Lab) {
    lab.establish();
    lab.wait_path(IPV4, "", |_| true);
    wait_bfd(lab, "up");
}

fn establish(make: Make) -> Lab {
    let mut lab = lab(make);
    start(&mut lab);
    lab.wait_fib(prefix(IPV4), &[POP.into()]);
    lab
}

fn wait_in_kernel(lab: &Lab) {
    wait("route in the kernel", || match lab.fib(prefix(IPV4)).len() {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    });
}

/// The daemon is stopped in the middle of all it does; its routes leave the router's kernel.
fn freeze_and_wait_left(lab: &Lab) {
    wait_in_kernel(lab);
    lab.pop.signal(Signal::SIGSTOP);
    let frozen = Instant::now();
    lab.wait_fib(prefix(IPV4), &[]);
    assert!(frozen.elapsed() < SOON, "after {:?}", frozen.elapsed());
    lab.pop.signal(Signal::SIGCONT);
    lab.wait_established();
    wait_in_kernel(lab);
}

fn leaves_a_frozen_daemon(make: Make) {
    freeze_and_wait_left(&establish(make));
}

#[test]
fn bird_leaves_a_frozen_daemon_by_bfd() {
    in_sandbox(|| leaves_a_frozen_daemon(Make::Bird));
}

#[test]
fn frr_leaves_a_frozen_daemon_by_bfd() {
    in_sandbox(|| leaves_a_frozen_daemon(Make::Frr));
}

fn is_left_when_frozen(make: Make) {
    let lab = establish(make);
    lab.router.signal(Signal::SIGSTOP).unwrap();
    let frozen = Instant::now();
    wait("end of the session", || match lab.pop.peer() {
        peer if peer.state != SessionState::Established => Ok(()),
        peer => Err(format!("{peer:?}")),
    });
    assert!(frozen.elapsed() < SOON, "after {:?}", frozen.elapsed());
    // Cease, BFD Down (RFC 9384).
    lab.pop.wait_ended("sent", 6, 10);
    lab.router.signal(Signal::SIGCONT).unwrap();
    lab.wait_established();
    lab.wait_path(IPV4, "", |_| true);
}

#[test]
fn bird_that_is_frozen_is_left_by_bfd() {
    in_sandbox(|| is_left_when_frozen(Make::Bird));
}

#[test]
fn frr_that_is_frozen_is_left_by_bfd() {
    in_sandbox(|| is_left_when_frozen(Make::Frr));
}

/// An operator who takes BFD down leaves BGP up.
#[test]
fn frr_may_take_bfd_down_and_keep_the_session() {
    in_sandbox(|| {
        let mut lab = establish(Make::Frr);
        lab.router.bfd_admin_down().unwrap();
        wait_bfd(&lab, "down");
        hold_for(SOON, || assert_eq!(lab.pop.peer().state, SessionState::Established));
        assert_eq!(lab.pop.peer().established_count, 1);
    });
}

/// BIRD says nothing where an operator disables its BFD: for the daemon the path is dead.
#[test]
fn bird_that_disables_its_bfd_falls_silent_and_is_left() {
    in_sandbox(|| {
        let mut lab = establish(Make::Bird);
        lab.router.bfd_admin_down().unwrap();
        lab.pop.wait_ended("sent", 6, 10);
        assert_eq!(lab.pop.peer().more["bfd"]["diagnostic"], "detection time expired");
    });
}

// ---- other ways for the packets

/// Over IPv6, between addresses on the link.
fn leaves_a_frozen_daemon_over_ipv6(make: Make) {
    let mut lab = lab(make);
    lab.peering.neighbour = Neighbour::Address(POP_IPV6.into());
    lab.pop.remote =
        format!("address = \"{ROUTER_IPV6}\"\nremote-as = {ROUTER_AS}\nnext-hop-ipv4 = \"{POP}\"");
    lab.pop.peer = lab.pop.peer.replace("next-hop-ipv6", "# next-hop-ipv6");
    start(&mut lab);
    freeze_and_wait_left(&lab);
}

#[test]
fn bird_leaves_a_frozen_daemon_by_bfd_over_ipv6() {
    in_sandbox(|| leaves_a_frozen_daemon_over_ipv6(Make::Bird));
}

#[test]
fn frr_leaves_a_frozen_daemon_by_bfd_over_ipv6() {
    in_sandbox(|| leaves_a_frozen_daemon_over_ipv6(Make::Frr));
}

/// Between link-local addresses that were found on the link.
#[test]
fn frr_leaves_a_frozen_daemon_by_bfd_on_an_interface() {
    in_sandbox(|| {
        let mut lab = lab(Make::Frr);
        lab.peering.neighbour = Neighbour::Interface(INTERFACE.to_owned());
        lab.pop.remote =
            format!("interface = \"{INTERFACE}\"\nremote-as = {ROUTER_AS}\nextended-next-hop = true");
        lab.pop.peer = lab.pop.peer.replace("next-hop-ipv6", "# next-hop-ipv6");
        start(&mut lab);
        freeze_and_wait_left(&lab);
    });
}

const ROUTER_LOOPBACK: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
const POP_LOOPBACK: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 2);
const UDP: u8 = 17;
/// 4784 (RFC 5883 §5).
const MULTIHOP_BFD: [u8; 2] = [0x12, 0xb0];

/// Multihop (RFC 5883) between loopback addresses with a router between, which forwards. What arrives has lost a hop: as packets
/// of a single hop (RFC 5881 §5: TTL 255) nobody would take it.
fn leaves_a_frozen_daemon_behind_a_router(make: Make) {
    let mut lab = Lab::with_a_router_between(make);
    watch_by_bfd(&mut lab);
    let between = lab.between.clone().unwrap();
    for (side, near, far) in [(0, ROUTER_LOOPBACK, POP_LOOPBACK), (1, POP_LOOPBACK, ROUTER_LOOPBACK)] {
        let host = &lab.hosts[side];
        host.add_address("lo", near.into(), 32).unwrap();
        host.add_route(Prefix::host(far.into()), BETWEEN[side].into()).unwrap();
        between.add_route(Prefix::host(near.into()), [ROUTER, FAR_POP][side].into()).unwrap();
    }
    lab.peering.neighbour = Neighbour::Address(POP_LOOPBACK.into());
    lab.peering.multihop = Some((ROUTER_LOOPBACK.into(), 2));
    lab.pop.remote = format!(
        "address = \"{ROUTER_LOOPBACK}\"\nsource = \"{POP_LOOPBACK}\"\nmultihop = 2\nremote-as = {ROUTER_AS}\n\
         next-hop-ipv4 = \"{FAR_POP}\""
    );
    lab.pop.peer = lab.pop.peer.replace(&POP_IPV6.to_string(), &FAR_POP_IPV6.to_string());
    // The daemon sends with 255 (RFC 5883 §5 leaves it open), FRR too; BIRD with the system's own. One is lost on the way.
    let theirs = if make == Make::Bird { 64 } else { 255 };
    let least_ttl = |least: u8| format!("multiplier = 3, least-ttl = {least} }}");
    lab.pop.peer = lab.pop.peer.replace("multiplier = 3 }", &least_ttl(theirs - 1));
    let ttls = [0, 1].map(|side| arriving_ttls(&lab.hosts[side], [POP_LOOPBACK, ROUTER_LOOPBACK][side]));
    start(&mut lab);
    assert_eq!(lab.pop.peer().more["bfd"]["multihop"], true, "{:?}", lab.pop.peer());
    lab.wait_fib(prefix(IPV4), &[BETWEEN[0].into()]);
    for ((_, seen), wanted) in ttls.iter().zip([254, theirs - 1]) {
        let seen = wait("captured packets", || match seen.lock().unwrap().clone() {
            none if none.is_empty() => Err("none".to_owned()),
            some => Ok(some),
        });
        assert_eq!(seen, BTreeSet::from([wanted]));
    }
    freeze_and_wait_left(&lab);
    // A least TTL that nothing can arrive with: what it sends counts no longer.
    lab.pop.peer = lab.pop.peer.replace(&least_ttl(theirs - 1), &least_ttl(theirs));
    lab.pop.reload();
    wait_bfd(&lab, "down");
    assert_eq!(lab.pop.peer().more["bfd"]["diagnostic"], "detection time expired");
}

/// The TTLs with which packets of multihop BFD from `source` arrive on a host, as long as the capture lives.
fn arriving_ttls(host: &NetNs, source: Ipv4Addr) -> (Capture, Arc<Mutex<BTreeSet<u8>>>) {
    let ttls = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&ttls);
    let capture = Capture::start(host, INTERFACE, Wanted::Everything, move |frame, _| {
        // Ethernet, then IPv4 without options: TTL, protocol, source; then UDP: destination port.
        let (Some(&ttl), Some(&protocol)) = (frame.get(22), frame.get(23)) else { return };
        let of_bfd =
            frame[12..14] == [0x08, 0x00] && protocol == UDP && frame.get(36..38) == Some(&MULTIHOP_BFD);
        if of_bfd && frame[26..30] == source.octets() {
            seen.lock().unwrap().insert(ttl);
        }
    });
    (capture.unwrap(), ttls)
}

#[test]
fn bird_leaves_a_frozen_daemon_by_bfd_behind_a_router() {
    in_sandbox(|| leaves_a_frozen_daemon_behind_a_router(Make::Bird));
}

#[test]
fn frr_leaves_a_frozen_daemon_by_bfd_behind_a_router() {
    in_sandbox(|| leaves_a_frozen_daemon_behind_a_router(Make::Frr));
}

// ---- keys

/// With Meticulous Keyed SHA1 the right key brings BFD up, and BGP stands without BFD where the key is another.
#[test]
fn bird_and_the_daemon_authenticate_bfd() {
    in_sandbox(|| {
        let mut lab = lab(Make::Bird);
        lab.peering.bfd_key = Some("correct-horse".to_owned());
        let keyed = |lab: &mut Lab, key: &str| {
            let file = lab.pop.file("bfd.key", key);
            lab.pop.peer = format!(
                "families = [\"ipv4\", \"ipv6\"]\nnext-hop-ipv6 = \"{POP_IPV6}\"\n\
                 bfd = {{ interval = \"{INTERVAL_MS}ms\", multiplier = 3, auth-key-file = \"{}\" }}\n",
                file.display()
            );
        };
        keyed(&mut lab, "wrong");
        lab.establish();
        // Time enough for it to come up, as it does below.
        hold_for(SOON, || assert_ne!(lab.pop.peer().more["bfd"]["state"], "up"));
        assert_eq!(lab.pop.peer().state, SessionState::Established);
        lab.pop.end(Signal::SIGKILL);
        keyed(&mut lab, "correct-horse");
        lab.pop.start();
        lab.wait_established();
        wait_bfd(&lab, "up");
        freeze_and_wait_left(&lab);
    });
}
