//! What routers put into their UPDATEs, and what the daemon makes of it; and messages that are longer than they used to be.

use std::net::IpAddr;

use proxima_testnet::router::{Announcement, Make};
use proxima_types::Prefix;
use serde_json::Value;

use crate::support::{Headers, Lab, POP, ROUTER, ROUTER_AS, Route, in_sandbox, wait};

const IPV4: &str = "203.0.113.0/24";
const POP_AS: u32 = 4_200_000_001;
const THEIRS: &str = "198.51.100.0/24";
const OTHER: &str = "198.51.101.0/24";

const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;
const KEEPALIVE: u8 = 4;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn received(lab: &Lab, text: &str) -> Option<Route> {
    lab.pop.received().into_iter().find(|route| route.prefix == prefix(text))
}

fn wait_received(lab: &Lab, text: &str, what: &str, wanted: impl Fn(&Route) -> bool) -> Route {
    wait(&format!("received {text} {what}"), || {
        lab.check();
        received(lab, text).filter(&wanted).ok_or_else(|| format!("{:?}", lab.pop.received()))
    })
}

fn wait_lost(lab: &Lab, text: &str) {
    wait(&format!("end of {text}"), || match received(lab, text) {
        None => Ok(()),
        Some(route) => Err(format!("{route:?}")),
    });
}

/// Waits until the operator is told of something wrong in these words.
fn wait_problem(lab: &Lab, words: &str) {
    wait(&format!("word of `{words}`"), || {
        let log = lab.pop.log();
        if log.contains(words) { Ok(()) } else { Err(log) }
    });
}

/// What selection makes of the paths to an address: MED of each and why it is not the best.
fn judged(lab: &Lab, address: &str) -> Vec<(Option<u64>, Option<String>)> {
    let found: Value = lab.pop.ask(&format!("{}?address={address}", proxima_api::paths::LOOKUP));
    let paths = found["paths"].as_array().cloned().unwrap_or_default();
    let of = |path: &Value| (path["med"].as_u64(), path["reason"].as_str().map(str::to_owned));
    paths.iter().map(of).collect()
}

fn is_undisturbed(lab: &Lab) {
    assert_eq!(lab.pop.peer().established_count, 1);
    lab.wait_path(IPV4, "", |_| true);
}

// ---- faults (RFC 7606)

/// COMMUNITIES of three octets cost the route that has it, an `ATOMIC_AGGREGATE` with a value nothing but itself.
#[test]
fn faulty_attributes_of_exabgp_cost_their_route_or_nothing_and_never_the_session() {
    in_sandbox(|| {
        let mut lab = Lab::new(Make::ExaBgp);
        for text in [THEIRS, OTHER] {
            lab.router.announce(&Announcement::of(text)).unwrap();
        }
        lab.establish();
        for text in [THEIRS, OTHER] {
            wait_received(&lab, text, "", |_| true);
        }
        lab.router.announce(&Announcement::of(THEIRS).attribute(8, 0xc0, &[1, 2, 3])).unwrap();
        wait_lost(&lab, THEIRS);
        wait_problem(&lab, "malformed UPDATE from the peer");
        assert_eq!(lab.pop.peer().more["messages"]["treated_as_withdrawn"], 1);
        lab.router.announce(&Announcement::of(OTHER).med(9).attribute(6, 0x40, &[0])).unwrap();
        wait_received(&lab, OTHER, "with its other attributes", |route| route.med == Some(9));
        assert_eq!(lab.pop.peer().more["messages"]["treated_as_withdrawn"], 1);
        // And well again.
        lab.router.announce(&Announcement::of(THEIRS).med(8)).unwrap();
        wait_received(&lab, THEIRS, "again", |route| route.med == Some(8));
        is_undisturbed(&lab);
    });
}

/// A path that ends in an AS_SET is taken as withdrawn (RFC 9774 §3).
#[test]
fn routes_of_exabgp_with_an_as_set_are_taken_as_withdrawn() {
    in_sandbox(|| {
        let mut lab = Lab::new(Make::ExaBgp);
        lab.router.announce(&Announcement::of(THEIRS)).unwrap();
        lab.establish();
        wait_received(&lab, THEIRS, "", |_| true);
        lab.router.announce(&Announcement::of(THEIRS).as_set(&[64500, 64501])).unwrap();
        wait_lost(&lab, THEIRS);
        wait_problem(&lab, "AS_SET");
        is_undisturbed(&lab);
    });
}

// ---- loops

/// A route that has been through our AS is received, and of no use.
fn sends_a_loop(make: Make) {
    let mut lab = Lab::new(make);
    lab.router.announce(&Announcement::of(THEIRS).behind(&[64500, POP_AS])).unwrap();
    lab.router.announce(&Announcement::of(OTHER).behind(&[64500])).unwrap();
    lab.establish();
    let looped = wait_received(&lab, THEIRS, "with our AS", |_| true);
    assert_eq!(looped.as_path, [ROUTER_AS, 64500, POP_AS]);
    assert!(looped.more["unusable"].is_string(), "{looped:?}");
    assert_eq!(judged(&lab, "198.51.100.1"), [], "no best path");
    let useful = wait_received(&lab, OTHER, "", |_| true);
    assert_eq!(useful.as_path, [ROUTER_AS, 64500]);
    assert_eq!(judged(&lab, "198.51.101.1").len(), 1, "{useful:?}");
    is_undisturbed(&lab);
}

#[test]
fn routes_of_bird_through_our_as_are_known_for_a_loop() {
    in_sandbox(|| sends_a_loop(Make::Bird));
}

#[test]
fn routes_of_gobgp_through_our_as_are_known_for_a_loop() {
    in_sandbox(|| sends_a_loop(Make::GoBgp));
}

#[test]
fn routes_of_exabgp_through_our_as_are_known_for_a_loop() {
    in_sandbox(|| sends_a_loop(Make::ExaBgp));
}

// ---- two-octet AS numbers

/// An old speaker tells an AS beyond two octets beside the path (RFC 6793 §4.2.3): the path is made whole again.
fn sends_as4_path(make: Make) {
    let mut lab = Lab::new(make);
    lab.peering.two_octet_as = true;
    lab.router.announce(&Announcement::of(THEIRS).behind(&[4_200_000_009])).unwrap();
    lab.establish();
    let route = wait_received(&lab, THEIRS, "", |_| true);
    assert_eq!(route.as_path, [ROUTER_AS, 4_200_000_009]);
    is_undisturbed(&lab);
}

#[test]
fn the_path_of_bird_without_four_octet_as_numbers_is_made_whole() {
    in_sandbox(|| sends_as4_path(Make::Bird));
}

#[test]
fn the_path_of_exabgp_without_four_octet_as_numbers_is_made_whole() {
    in_sandbox(|| sends_as4_path(Make::ExaBgp));
}

// ---- GRACEFUL_SHUTDOWN

/// Of two paths the one with GRACEFUL_SHUTDOWN is the last choice, whatever else speaks for it (RFC 8326 §4.1).
fn sends_graceful_shutdown(make: Make) {
    let mut lab = Lab::new(make);
    lab.peering.add_path = true;
    lab.pop.set("add-path = true");
    lab.router.announce(&Announcement::of(THEIRS).med(6).nth(1)).unwrap();
    lab.router.announce(&Announcement::of(THEIRS).med(7).nth(2)).unwrap();
    lab.establish();
    let wait_judged = |lab: &Lab, what: &str, wanted: [(u64, Option<&str>); 2]| {
        wait(what, || {
            let seen = judged(lab, "198.51.100.1");
            let as_wanted =
                seen.iter().map(|(med, reason)| (med.unwrap_or_default(), reason.as_deref())).eq(wanted);
            if as_wanted { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    };
    // FRR has the second one from the kernel, so that its ORIGIN is INCOMPLETE.
    let why = if make == Make::Frr { "worse ORIGIN" } else { "higher MED" };
    wait_judged(&lab, "both paths", [(6, None), (7, Some(why))]);
    lab.router.announce(&Announcement::of(THEIRS).med(6).community("65535:0").nth(1)).unwrap();
    wait_judged(&lab, "the other path as the best", [(7, None), (6, Some("lower LOCAL_PREF"))]);
    is_undisturbed(&lab);
}

#[test]
fn graceful_shutdown_of_bird_makes_its_path_the_last_choice() {
    in_sandbox(|| sends_graceful_shutdown(Make::Bird));
}

#[test]
fn graceful_shutdown_of_frr_makes_its_path_the_last_choice() {
    in_sandbox(|| sends_graceful_shutdown(Make::Frr));
}

#[test]
fn graceful_shutdown_of_gobgp_makes_its_path_the_last_choice() {
    in_sandbox(|| sends_graceful_shutdown(Make::GoBgp));
}

#[test]
fn graceful_shutdown_of_exabgp_makes_its_path_the_last_choice() {
    in_sandbox(|| sends_graceful_shutdown(Make::ExaBgp));
}

// ---- long messages

/// More communities than fit 4096 octets.
const MANY: u32 = 1100;

/// Both ways where the router takes that much from its operator.
fn speaks_at_length(make: Make, both_ways: bool) {
    let mut lab = Lab::new(make);
    lab.peering.extended_messages = true;
    let communities: Vec<String> = (1..=MANY).map(|number| format!("64512:{number}")).collect();
    lab.pop.group = format!("communities = {communities:?}\n");
    if both_ways {
        let route =
            (1..=MANY).fold(Announcement::of(THEIRS), |route, n| route.community(&format!("65001:{n}")));
        lab.router.announce(&route).unwrap();
    }
    let headers = Headers::of(&lab);
    lab.establish();
    let long = |from: std::net::Ipv4Addr| {
        headers.wait("UPDATE beyond 4096 octets", |seen| {
            seen.from == from && seen.kind == UPDATE && seen.length > 4096
        })
    };
    // BIRD shows the first of them only.
    let shown = if make == Make::Bird { 40 } else { MANY as usize };
    lab.wait_path(IPV4, "with all communities", |path| path.communities.len() >= shown);
    lab.wait_fib(prefix(IPV4), &[IpAddr::from(POP)]);
    long(POP);
    if both_ways {
        wait_received(&lab, THEIRS, "with all communities", |route| route.communities.len() == MANY as usize);
        long(ROUTER);
    }
    assert_eq!(lab.pop.peer().established_count, 1);
}

#[test]
fn bird_and_the_daemon_speak_at_length() {
    in_sandbox(|| speaks_at_length(Make::Bird, true));
}

#[test]
fn frr_is_spoken_to_at_length() {
    in_sandbox(|| speaks_at_length(Make::Frr, false));
}

#[test]
fn exabgp_and_the_daemon_speak_at_length() {
    in_sandbox(|| speaks_at_length(Make::ExaBgp, true));
}

/// BIRD without extended messages: what does not fit 4096 octets is not announced, and the operator is told.
#[test]
fn bird_without_extended_messages_is_sent_no_more_than_it_takes() {
    in_sandbox(|| {
        let mut lab = Lab::new(Make::Bird);
        let communities: Vec<String> = (1..=MANY).map(|number| format!("64512:{number}")).collect();
        lab.pop.group = format!("communities = {communities:?}\n");
        lab.establish();
        wait_problem(&lab, "cannot announce 1 route(s)");
        assert_eq!(lab.router.rib(prefix(IPV4)).unwrap(), []);
        assert_eq!(lab.pop.peer().established_count, 1);
    });
}

/// An OPEN whose parameters have extended lengths, though they are few (RFC 9072 §2 allows for it): 255 where their length would
/// be, and 255 as the type of the first. Told to send such, FRR takes no other itself, so that it refuses ours; that its own
/// is understood shows in the KEEPALIVE that answers it.
#[test]
fn an_open_of_frr_with_extended_parameters_is_understood() {
    in_sandbox(|| {
        let mut lab = Lab::new(Make::Frr);
        lab.peering.extended_parameters = true;
        let headers = Headers::of(&lab);
        lab.start();
        let open = headers.wait("OPEN of the router", |seen| seen.from == ROUTER && seen.kind == OPEN);
        // Behind version, AS, hold time and identifier.
        assert_eq!(open.body[9..11], [255, 255], "{open:?}");
        headers.wait("answer", |seen| seen.from == POP && seen.kind == KEEPALIVE);
        lab.pop.wait_ended("received", 2, 0);
        assert!(!headers.any(|seen| seen.from == POP && seen.kind == NOTIFICATION));
    });
}
