//! Another process of the daemon takes over: what passes the cable, what the router keeps, and what BFD sees.

use std::{net::IpAddr, time::Duration};

use proxima_testnet::{
    observe::bgp::Message,
    router::{Announcement, Bfd, Make},
};
use proxima_types::Prefix;

use crate::support::{Lab, POP, Wire, hold_for, in_sandbox, wait};

const IPV4: &str = "203.0.113.0/24";
const THEIRS: &str = "198.51.100.0/24";
/// How often.
const UPGRADES: usize = 3;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// A session of hold time 3 s, the shortest there is, and BFD at 50 ms × 3 where the router has it.
fn lab(make: Make) -> Lab {
    let mut lab = Lab::new(make);
    lab.pop.hold_time = "3s";
    lab.peering.hold_time = 3;
    if matches!(make, Make::Bird | Make::Frr) {
        lab.peering.bfd = Some(Bfd { interval_ms: 50, multiplier: 3 });
        lab.pop.set("bfd = { interval = \"50ms\", multiplier = 3 }");
    }
    if make != Make::ExaBgp {
        lab.router.announce(&Announcement::of(THEIRS)).unwrap();
    }
    lab
}

fn goes_on_over_upgrades(make: Make) {
    let mut lab = lab(make);
    lab.start();
    let wire = Wire::of(&lab);
    lab.wait_established();
    lab.wait_path(IPV4, "", |_| true);
    let bfd = lab.peering.bfd.is_some();
    wait("all of the session", || {
        let (peer, received) = (lab.pop.peer(), lab.pop.received().len());
        let is_up = !bfd || peer.more["bfd"]["state"] == "up";
        let has_routes = received > 0 || make == Make::ExaBgp;
        if is_up && has_routes { Ok(()) } else { Err(format!("{peer:?}, {received} routes")) }
    });
    if make.has_fib() {
        lab.wait_fib(prefix(IPV4), &[POP.into()]);
    }
    let routes = |lab: &Lab| lab.pop.received().iter().map(|it| it.prefix).collect::<Vec<_>>();
    let (theirs, mark) = (routes(&lab), wire.mark());
    for _ in 0..UPGRADES {
        lab.pop.upgrade();
        assert_eq!(routes(&lab), theirs, "the routes went along");
        // For longer than BFD and half a hold time wait.
        hold_for(Duration::from_millis(1500), || {
            assert!(lab.router.session().unwrap().established, "{}", lab.router.session().unwrap().told);
            if make.has_fib() {
                assert_eq!(lab.fib(prefix(IPV4)), [IpAddr::from(POP)]);
            }
            let peer = lab.pop.peer();
            assert!(!bfd || peer.more["bfd"]["state"] == "up", "{peer:?}");
        });
    }
    let said: Vec<_> = wire.since(mark).into_iter().map(|seen| (seen.from(), seen.message)).collect();
    let is_keepalive = |(_, message): &&(IpAddr, Message)| matches!(message, Message::Keepalive);
    let other: Vec<_> = said.iter().filter(|it| !is_keepalive(it)).collect();
    assert!(other.is_empty(), "keepalives, and nothing else: {other:?}");
    assert!(said.iter().filter(|(from, _)| *from == IpAddr::from(POP)).count() >= UPGRADES, "{said:?}");
    // It is its session: what changes is told on it.
    lab.pop.stop_apps(usize::MAX);
    lab.wait_gone(IPV4);
    assert_eq!(lab.pop.peer().established_count, 1);
}

#[test]
fn bird_notices_nothing_of_upgrades() {
    in_sandbox(|| goes_on_over_upgrades(Make::Bird));
}

#[test]
fn frr_notices_nothing_of_upgrades() {
    in_sandbox(|| goes_on_over_upgrades(Make::Frr));
}

#[test]
fn gobgp_notices_nothing_of_upgrades() {
    in_sandbox(|| goes_on_over_upgrades(Make::GoBgp));
}

#[test]
fn openbgpd_notices_nothing_of_upgrades() {
    in_sandbox(|| goes_on_over_upgrades(Make::OpenBgpd));
}

#[test]
fn exabgp_notices_nothing_of_upgrades() {
    in_sandbox(|| goes_on_over_upgrades(Make::ExaBgp));
}
