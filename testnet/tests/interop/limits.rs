//! How many prefixes each side takes of the other.

use proxima_testnet::router::{Announcement, Make};
use proxima_types::Prefix;

use crate::support::{Lab, POP, in_sandbox, wait};

const IPV4: &str = "203.0.113.0/24";

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

// ---- the daemon leaves out what is too much

const THEIRS: [&str; 3] = ["198.51.100.0/24", "198.51.101.0/24", "198.51.102.0/24"];

/// The IPv4 prefixes that the daemon has of the router.
fn taken(lab: &Lab) -> Vec<Prefix> {
    let routes = lab.pop.received().into_iter().map(|route| route.prefix);
    routes.filter(|prefix| prefix.address().is_ipv4()).collect()
}

/// By default the session stands: the router's first prefixes are in, the others are not, and the operator is told.
fn is_left_out_beyond_the_limit(make: Make) -> Lab {
    let mut lab = Lab::new(make);
    lab.pop.set("max-prefixes = 2");
    for text in THEIRS {
        lab.router.announce(&Announcement::of(text)).unwrap();
    }
    lab.establish();
    wait("word of it", || {
        let events = lab.pop.events();
        let told = |event: &serde_json::Value| {
            event["fault"]
                .as_str()
                .is_some_and(|text| text.contains("more ipv4 paths received than max-prefixes = 2"))
        };
        if events.iter().any(told) { Ok(()) } else { Err(format!("{events:?}")) }
    });
    assert_eq!(taken(&lab).len(), 2);
    assert!(lab.pop.peer().more["messages"]["discarded"].as_u64() >= Some(1), "{:?}", lab.pop.peer());
    lab.wait_path(IPV4, "", |_| true);
    lab.wait_fib(prefix(IPV4), &[POP.into()]);
    assert_eq!(lab.pop.peer().established_count, 1);
    lab
}

/// And what was left out comes in once the limit is raised, since it is asked for.
fn comes_in_when_the_limit_is_raised(make: Make) {
    let mut lab = is_left_out_beyond_the_limit(make);
    lab.pop.peer = lab.pop.peer.replace("max-prefixes = 2", "max-prefixes = 3");
    lab.pop.reload();
    wait("what was left out", || {
        let taken = taken(&lab);
        if taken == THEIRS.map(prefix) { Ok(()) } else { Err(format!("{taken:?}")) }
    });
    let peer = lab.pop.peer();
    assert_eq!(
        (peer.established_count, &peer.more["messages"]["refreshes_sent"]),
        (1, &1.into()),
        "{peer:?}"
    );
}

#[test]
fn bird_is_left_out_beyond_the_limit_until_it_is_raised() {
    in_sandbox(|| comes_in_when_the_limit_is_raised(Make::Bird));
}

#[test]
fn gobgp_is_left_out_beyond_the_limit_until_it_is_raised() {
    in_sandbox(|| comes_in_when_the_limit_is_raised(Make::GoBgp));
}

#[test]
fn frr_is_left_out_beyond_the_limit() {
    in_sandbox(|| drop(is_left_out_beyond_the_limit(Make::Frr)));
}

#[test]
fn openbgpd_is_left_out_beyond_the_limit() {
    in_sandbox(|| drop(is_left_out_beyond_the_limit(Make::OpenBgpd)));
}

#[test]
fn exabgp_is_left_out_beyond_the_limit() {
    in_sandbox(|| drop(is_left_out_beyond_the_limit(Make::ExaBgp)));
}

// ---- or the session is closed

/// The router sends more than it may: the session is closed and stays so until an operator says otherwise.
fn sends_too_much(make: Make) {
    let mut lab = Lab::new(make);
    // FRR sends us our own route back, which counts.
    let limit = if make == Make::Frr { 3 } else { 2 };
    lab.pop.set(format!("max-prefixes = {{ limit = {limit}, action = \"close\" }}"));
    for text in ["198.51.100.0/24", "198.51.101.0/24"] {
        lab.router.announce(&Announcement::of(text)).unwrap();
    }
    lab.establish();
    lab.wait_path(IPV4, "", |_| true);
    lab.router.announce(&Announcement::of("198.51.102.0/24")).unwrap();
    lab.pop.wait_ended("sent", 6, 1);
    let peer = lab.pop.peer();
    assert_eq!(peer.more["held"]["because"], "prefix-limit", "{peer:?}");
    lab.wait_gone(IPV4);
    lab.router.kill().unwrap();
    lab.router.forget(prefix("198.51.102.0/24"));
    lab.start_router();
    lab.pop.command_peer("up", "");
    lab.wait_established();
    lab.wait_path(IPV4, "", |_| true);
}

#[test]
fn bird_is_closed_when_it_sends_too_many_prefixes_until_an_operator_says_up() {
    in_sandbox(|| sends_too_much(Make::Bird));
}

#[test]
fn frr_is_closed_when_it_sends_too_many_prefixes_until_an_operator_says_up() {
    in_sandbox(|| sends_too_much(Make::Frr));
}

#[test]
fn gobgp_is_closed_when_it_sends_too_many_prefixes_until_an_operator_says_up() {
    in_sandbox(|| sends_too_much(Make::GoBgp));
}

#[test]
fn openbgpd_is_closed_when_it_sends_too_many_prefixes_until_an_operator_says_up() {
    in_sandbox(|| sends_too_much(Make::OpenBgpd));
}

#[test]
fn exabgp_is_closed_when_it_sends_too_many_prefixes_until_an_operator_says_up() {
    in_sandbox(|| sends_too_much(Make::ExaBgp));
}

/// We send more than the router takes: the operator can read that.
fn takes_only_so_much(make: Make) {
    let mut lab = Lab::new(make);
    // FRR lets one more pass.
    lab.pop.prefixes =
        vec!["203.0.113.0/24", "192.0.2.0/24", "198.18.0.0/24", "198.19.0.0/24", "2001:db8:ac::/48"];
    lab.peering.max_prefixes = Some(2);
    lab.start();
    lab.pop.wait_ended("received", 6, 1);
    for text in ["203.0.113.0/24", "192.0.2.0/24", "198.18.0.0/24", "198.19.0.0/24"] {
        lab.wait_gone(text);
    }
}

#[test]
fn bird_closes_when_it_is_sent_too_many_prefixes_and_says_so() {
    in_sandbox(|| takes_only_so_much(Make::Bird));
}

#[test]
fn frr_closes_when_it_is_sent_too_many_prefixes_and_says_so() {
    in_sandbox(|| takes_only_so_much(Make::Frr));
}

#[test]
fn gobgp_closes_when_it_is_sent_too_many_prefixes_and_says_so() {
    in_sandbox(|| takes_only_so_much(Make::GoBgp));
}

#[test]
fn openbgpd_closes_when_it_is_sent_too_many_prefixes_and_says_so() {
    in_sandbox(|| takes_only_so_much(Make::OpenBgpd));
}
