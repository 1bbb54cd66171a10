//! Two connections at once (RFC 4271 §6.8): both sides have called, and the identifiers alone say which call stays.
//!
//! The kernels' packet filters hold the sides back until that is so:
//!
//! ```text
//!  1  all messages held              both call, and wait on both connections for an OPEN
//!  2  calls and all but OPENs held   each side has to choose, and hears nothing of what the other chose
//!  3  calls held                     the connection that is left becomes established
//! ```

use std::net::Ipv4Addr;

use proxima_api::SessionState;
use proxima_testnet::{
    observe::{bgp::Message, wire::Seen},
    router::Make,
};

use crate::support::{Connection, INTERFACE, Lab, POP, Wire, connections, in_sandbox, listens, wait};

const IPV4: &str = "203.0.113.0/24";
const IPV6: &str = "2001:db8:ac::/48";

/// Another call: SYN without ACK.
const CALL: &str = "tcp dport 179 tcp flags & (syn | ack) == syn";
/// Data is pushed.
const MESSAGE: &str = "tcp flags & psh == psh";
/// A KEEPALIVE, a NOTIFICATION without data, or both: 40 octets of headers, as there are no options (see [`plain_segments`]), and
/// up to 19 + 21 of RFC 4271 §4.4 and §4.5. Every OPEN here is longer.
const AFTER_OPEN: &str = "tcp flags & psh == psh ip length <= 80";

/// Who made a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Daemon,
    Router,
}

impl Caller {
    fn of(connection: &Connection, pop: Ipv4Addr) -> Self {
        if (connection.local.ip() == pop) == connection.is_called() { Self::Daemon } else { Self::Router }
    }
}

/// The connections that neither host has closed yet, and who made them.
fn standing(lab: &Lab) -> [Vec<Connection>; 2] {
    [0, 1].map(|host| connections(&lab.hosts[host]))
}

/// What is sent again is sent as it was, and a message has the same length at all times.
fn plain_segments(lab: &Lab) {
    for host in &lab.hosts {
        for key in ["tcp_retrans_collapse", "tcp_timestamps", "tcp_sack"] {
            host.sysctl(&format!("net/ipv4/{key}"), "0").unwrap();
        }
    }
}

/// Drops what comes in by the cable and is like this, instead of what was dropped before.
fn hold(lab: &Lab, rules: &[&str]) {
    let drops: Vec<_> = rules
        .iter()
        .map(|rule| format!("add rule inet hold in iifname \"{INTERFACE}\" {rule} drop\n"))
        .collect();
    let drops = drops.concat();
    for host in &lab.hosts {
        host.nft(&format!(
            "add table inet hold\n\
             add chain inet hold in {{ type filter hook input priority 0; }}\n\
             flush chain inet hold in\n{drops}"
        ))
        .unwrap();
    }
}

/// Both call, and wait on both connections for an OPEN.
fn collide(lab: &mut Lab) {
    plain_segments(lab);
    hold(lab, &[MESSAGE]);
    lab.start_router();
    wait("listening router", || if listens(&lab.hosts[0]) { Ok(()) } else { Err("none".to_owned()) });
    lab.pop.start();
    wait("OPENs on two connections", || {
        lab.check();
        let both = standing(lab);
        let waits = |all: &Vec<Connection>| all.len() == 2 && all.iter().all(|one| one.unacknowledged > 0);
        let calls = |all: &Vec<Connection>| all.iter().filter(|one| one.is_called()).count();
        let collide = both.iter().all(waits) && both.iter().all(|all| calls(all) == 1);
        if collide { Ok(()) } else { Err(format!("{both:?}")) }
    });
}

/// Waits until the capture has seen an OPEN from either side on both connections, and nothing else.
fn wait_opens(lab: &Lab, wire: &Wire) {
    wait("OPENs on the wire", || {
        let said = wire.since(0);
        assert!(said.iter().all(|seen| seen.message == Message::Open), "{said:?}");
        let from = |one: &Connection| {
            said.iter().any(|seen| (seen.flow.source, seen.flow.destination) == (one.local, one.remote))
        };
        let all = standing(lab).concat();
        if all.iter().all(from) { Ok(()) } else { Err(format!("{all:?}: {said:?}")) }
    });
}

/// The only connection that is left, on both hosts.
fn wait_chosen(lab: &Lab) -> Connection {
    wait("choice of one connection", || {
        lab.check();
        match standing(lab) {
            [router, pop] if router.len() == 1 && pop.len() == 1 => {
                let (there, here) = (router[0], pop[0]);
                assert_eq!((there.local, there.remote), (here.remote, here.local), "each chose another");
                Ok(here)
            }
            other => Err(format!("{other:?}")),
        }
    })
}

/// With these identifiers the call of `winner` stays, the other gets Cease 6/7, and nobody calls again.
fn is_resolved(make: Make, router_id: &'static str, winner: Caller) {
    let mut lab = Lab::new(make);
    // No KEEPALIVE but the first while they are held.
    lab.pop.hold_time = "90s";
    lab.peering.hold_time = 90;
    lab.peering.passive = false;
    lab.pop.router_id = router_id;
    lab.pop.bgp = format!("listen = [\"{POP}:179\"]\n");
    let wire = Wire::of(&lab);
    collide(&mut lab);
    wait_opens(&lab, &wire);

    let choice = wire.mark();
    hold(&lab, &[CALL, AFTER_OPEN]);
    let chosen = wait_chosen(&lab);
    assert_eq!(Caller::of(&chosen, POP), winner);
    assert_ne!(lab.pop.peer().state, SessionState::Established);
    hold(&lab, &[CALL]);
    lab.wait_established();
    hold(&lab, &[]);
    for text in [IPV4, IPV6] {
        lab.wait_path(text, "", |_| true);
    }
    lab.wait_fib(IPV4.parse().unwrap(), &[POP.into()]);

    // It goes on: a change of health passes.
    lab.pop.stop_apps(1);
    lab.wait_path(IPV4, "less attractive", |path| path.med == Some(200));
    let [_, here] = standing(&lab);
    assert_eq!(
        here.iter().map(|one| (one.local, one.remote)).collect::<Vec<_>>(),
        [(chosen.local, chosen.remote)]
    );
    let peer = lab.pop.peer();
    assert_eq!((peer.established_count, &peer.more["flaps"]), (1, &0.into()), "{peer:?}");
    let opens = |all: &[Seen]| all.iter().filter(|seen| seen.message == Message::Open).count();
    assert_eq!(opens(&wire.since(choice)), 0, "nobody has called again");
    only_the_other_was_refused(&lab, &wire, &chosen);
}

/// The router says that it chose, and the only end that passed the cable is Cease 6/7 on the connection that was not chosen: both
/// sides have closed that, so that their last words may be lost.
fn only_the_other_was_refused(lab: &Lab, wire: &Wire, chosen: &Connection) {
    let words = match lab.make {
        Make::Frr => "NOTIFICATION: sent to neighbor 10.0.0.2 6/7 (Cease/Connection Collision Resolution)",
        _ => "Connection collision, giving up",
    };
    assert!(lab.router.log().contains(words), "the router says nothing of a collision");
    let ways = [(chosen.local, chosen.remote), (chosen.remote, chosen.local)];
    for seen in wire.since(0) {
        if let Message::Notification(code, subcode) = seen.message {
            assert!(!ways.contains(&(seen.flow.source, seen.flow.destination)), "{seen:?} on {chosen:?}");
            assert_eq!((code, subcode), (6, 7), "{seen:?}");
        }
    }
}

/// 10.0.0.2 against the router's 10.0.0.1.
fn higher_identifier_here(make: Make) {
    is_resolved(make, "10.0.0.2", Caller::Daemon);
}

fn higher_identifier_there(make: Make) {
    is_resolved(make, "9.0.0.1", Caller::Router);
}

/// Then the higher AS number decides (RFC 6286 §2.3): the daemon's, 4200000001 against 65001.
fn equal_identifiers(make: Make) {
    is_resolved(make, "10.0.0.1", Caller::Daemon);
}

#[test]
fn bird_gives_up_its_call_to_a_daemon_with_the_higher_identifier() {
    in_sandbox(|| higher_identifier_here(Make::Bird));
}

#[test]
fn frr_gives_up_its_call_to_a_daemon_with_the_higher_identifier() {
    in_sandbox(|| higher_identifier_here(Make::Frr));
}

#[test]
fn bird_with_the_higher_identifier_keeps_its_call() {
    in_sandbox(|| higher_identifier_there(Make::Bird));
}

#[test]
fn frr_with_the_higher_identifier_keeps_its_call() {
    in_sandbox(|| higher_identifier_there(Make::Frr));
}

#[test]
fn bird_with_the_same_identifier_gives_up_its_call_to_the_higher_as() {
    in_sandbox(|| equal_identifiers(Make::Bird));
}

#[test]
fn frr_with_the_same_identifier_gives_up_its_call_to_the_higher_as() {
    in_sandbox(|| equal_identifiers(Make::Frr));
}
