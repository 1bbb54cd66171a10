//! Routes and their attributes, both ways.

use std::net::IpAddr;

use proxima_api::paths;
use proxima_testnet::router::{Announcement, Make, Path};
use proxima_types::Prefix;

use crate::support::{Lab, POP, POP_IPV6, ROUTER, ROUTER_AS, ROUTER_IPV6, in_sandbox, wait};

const IPV4: &str = "203.0.113.0/24";
const IPV6: &str = "2001:db8:ac::/48";
const POP_AS: u32 = 4_200_000_001;
const GRACEFUL_SHUTDOWN: &str = "65535:0";

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// What a router has of a route as the daemon announces it while all is well.
fn as_announced(make: Make) -> Path {
    Path {
        as_path: vec![POP_AS],
        med: Some(50),
        local_pref: make.has_rib().then_some(100),
        communities: vec!["64512:100".to_owned()],
        ..Path::default()
    }
}

/// Waits until both routes stand as they are announced while all is well, in the table and in the kernel.
fn wait_announced(lab: &Lab) {
    for (text, next_hop) in [(IPV4, POP.into()), (IPV6, POP_IPV6.into())] {
        let wanted = Path { next_hop: Some(next_hop), ..as_announced(lab.make) };
        lab.wait_path(text, "as announced", |path| *path == wanted);
        lab.wait_fib(prefix(text), &[next_hop]);
    }
}

// ---- announced and withdrawn

fn takes_and_lets_go(make: Make) {
    let mut lab = Lab::new(make);
    lab.establish();
    wait_announced(&lab);
    lab.pop.stop_apps(2);
    lab.wait_gone(IPV4);
    lab.wait_gone(IPV6);
    lab.pop.start_apps();
    wait_announced(&lab);
}

#[test]
fn bird_takes_ipv4_and_ipv6_into_rib_and_fib_and_lets_go() {
    in_sandbox(|| takes_and_lets_go(Make::Bird));
}

#[test]
fn frr_takes_ipv4_and_ipv6_into_rib_and_fib_and_lets_go() {
    in_sandbox(|| takes_and_lets_go(Make::Frr));
}

#[test]
fn gobgp_takes_ipv4_and_ipv6_into_its_rib_and_lets_go() {
    in_sandbox(|| takes_and_lets_go(Make::GoBgp));
}

#[test]
fn openbgpd_takes_ipv4_and_ipv6_into_its_rib_and_lets_go() {
    in_sandbox(|| takes_and_lets_go(Make::OpenBgpd));
}

#[test]
fn exabgp_hears_ipv4_and_ipv6_announced_and_withdrawn() {
    in_sandbox(|| takes_and_lets_go(Make::ExaBgp));
}

// ---- attributes

fn sees_attributes_follow_health(make: Make) {
    let mut lab = Lab::new(make);
    lab.establish();
    wait_announced(&lab);
    lab.pop.stop_apps(1);
    for text in [IPV4, IPV6] {
        let path = lab.wait_path(text, "less attractive", |path| path.med == Some(200));
        assert_eq!(path.as_path, [POP_AS; 3], "prepended twice");
        assert_eq!(path.communities, ["64512:100", "64512:666"]);
    }
    lab.pop.start_apps();
    wait_announced(&lab);
}

#[test]
fn bird_sees_prepend_med_and_communities_follow_health() {
    in_sandbox(|| sees_attributes_follow_health(Make::Bird));
}

#[test]
fn frr_sees_prepend_med_and_communities_follow_health() {
    in_sandbox(|| sees_attributes_follow_health(Make::Frr));
}

#[test]
fn gobgp_sees_prepend_med_and_communities_follow_health() {
    in_sandbox(|| sees_attributes_follow_health(Make::GoBgp));
}

#[test]
fn openbgpd_sees_prepend_med_and_communities_follow_health() {
    in_sandbox(|| sees_attributes_follow_health(Make::OpenBgpd));
}

#[test]
fn exabgp_sees_prepend_med_and_communities_follow_health() {
    in_sandbox(|| sees_attributes_follow_health(Make::ExaBgp));
}

// ---- inside one AS

/// Towards a router of our own AS it is LOCAL_PREF that follows health, down to 0 before the routes go.
fn gets_local_pref(make: Make) {
    let mut lab = Lab::new(make);
    lab.peering.local_as = POP_AS;
    lab.pop.remote = format!("address = \"{ROUTER}\"\nremote-as = {POP_AS}");
    lab.pop.group.push_str("local-pref = 300\n");
    "local-pref = 50".clone_into(&mut lab.pop.degraded);
    lab.establish();
    let wait_preference = |lab: &Lab, preference: u32| {
        for (text, next_hop) in [(IPV4, POP.into()), (IPV6, POP_IPV6.into())] {
            let path = lab.wait_path(text, "preferred as said", |path| path.local_pref == Some(preference));
            assert_eq!((path.next_hop, path.as_path.len()), (Some(next_hop), 0), "{path:?}");
            lab.wait_fib(prefix(text), &[next_hop]);
        }
    };
    wait_preference(&lab, 300);
    lab.pop.stop_apps(1);
    wait_preference(&lab, 50);
    lab.pop.start_apps();
    wait_preference(&lab, 300);
    lab.pop.post(paths::DRAIN, "{}");
    lab.wait_path(IPV4, "of last resort", |path| path.local_pref.is_some_and(|preference| preference <= 1));
    lab.wait_gone(IPV4);
}

#[test]
fn bird_in_our_as_gets_local_pref_that_follows_health() {
    in_sandbox(|| gets_local_pref(Make::Bird));
}

#[test]
fn frr_in_our_as_gets_local_pref_that_follows_health() {
    in_sandbox(|| gets_local_pref(Make::Frr));
}

#[test]
fn gobgp_in_our_as_gets_local_pref_that_follows_health() {
    in_sandbox(|| gets_local_pref(Make::GoBgp));
}

#[test]
fn exabgp_in_our_as_gets_local_pref_that_follows_health() {
    in_sandbox(|| gets_local_pref(Make::ExaBgp));
}

#[test]
fn openbgpd_in_our_as_gets_local_pref_that_follows_health() {
    in_sandbox(|| gets_local_pref(Make::OpenBgpd));
}

// ---- received

fn sends_routes(make: Make) {
    let mut lab = Lab::new(make);
    let first = Announcement::of("198.51.100.0/24").med(7).community("65001:7").large_community("65001:1:2");
    lab.router.announce(&first).unwrap();
    lab.router.announce(&Announcement::of("2001:db8:51::/48").community("65001:8")).unwrap();
    lab.establish();
    let received = |text: &str| lab.pop.received().into_iter().find(|route| route.prefix == prefix(text));
    for (text, next_hop, med, community) in [
        ("198.51.100.0/24", IpAddr::from(ROUTER), Some(7), "65001:7"),
        ("2001:db8:51::/48", IpAddr::from(ROUTER_IPV6), None, "65001:8"),
    ] {
        let route = wait(&format!("received {text}"), || received(text).ok_or("nothing".to_owned()));
        // OpenBGPD takes some address of its own for a family that is not the session's.
        if make != Make::OpenBgpd || route.prefix.address().is_ipv4() {
            assert_eq!(route.next_hop, next_hop, "{route:?}");
        }
        assert_eq!(route.as_path, [ROUTER_AS]);
        // GoBGP says MED 0 where none is asked for.
        assert_eq!(route.med.filter(|med| *med > 0), med, "{route:?}");
        assert_eq!(route.communities, [community]);
    }
    lab.router.announce(&Announcement::of("198.51.101.0/24")).unwrap();
    let received = |text: &str| lab.pop.received().iter().any(|route| route.prefix == prefix(text));
    wait("later route", || if received("198.51.101.0/24") { Ok(()) } else { Err("nothing".to_owned()) });
    lab.router.withdraw(prefix("198.51.100.0/24")).unwrap();
    lab.router.withdraw(prefix("2001:db8:51::/48")).unwrap();
    for text in ["198.51.100.0/24", "2001:db8:51::/48"] {
        wait(&format!("withdrawal of {text}"), || {
            if received(text) { Err(format!("{:?}", lab.pop.received())) } else { Ok(()) }
        });
    }
    assert!(received("198.51.101.0/24"), "what was not withdrawn stays");
}

#[test]
fn routes_of_bird_are_received_and_withdrawn() {
    in_sandbox(|| sends_routes(Make::Bird));
}

#[test]
fn routes_of_frr_are_received_and_withdrawn() {
    in_sandbox(|| sends_routes(Make::Frr));
}

#[test]
fn routes_of_gobgp_are_received_and_withdrawn() {
    in_sandbox(|| sends_routes(Make::GoBgp));
}

#[test]
fn routes_of_openbgpd_are_received_and_withdrawn() {
    in_sandbox(|| sends_routes(Make::OpenBgpd));
}

#[test]
fn routes_of_exabgp_are_received_and_withdrawn() {
    in_sandbox(|| sends_routes(Make::ExaBgp));
}

// ---- an orderly shutdown

fn honours_graceful_shutdown(make: Make) {
    let mut lab = Lab::new(make);
    lab.establish();
    wait_announced(&lab);
    lab.pop.post(paths::DRAIN, r#"{"reason":"interop"}"#);
    for text in [IPV4, IPV6] {
        let path = lab.wait_path(text, "of last resort", |path| {
            path.communities.iter().any(|community| community == GRACEFUL_SHUTDOWN)
        });
        assert!(path.local_pref.is_none_or(|preference| preference <= 1), "{path:?}");
        assert_eq!(path.local_pref.is_some(), make.has_rib());
    }
    lab.wait_gone(IPV4);
    lab.wait_gone(IPV6);
    assert_eq!(lab.pop.peer().established_count, 1, "the session outlives the drain");
    lab.pop.post(paths::UNDRAIN, "");
    wait_announced(&lab);
}

#[test]
fn bird_honours_graceful_shutdown_before_the_routes_go() {
    in_sandbox(|| honours_graceful_shutdown(Make::Bird));
}

#[test]
fn frr_honours_graceful_shutdown_before_the_routes_go() {
    in_sandbox(|| honours_graceful_shutdown(Make::Frr));
}

#[test]
fn gobgp_honours_graceful_shutdown_before_the_routes_go() {
    in_sandbox(|| honours_graceful_shutdown(Make::GoBgp));
}

#[test]
fn openbgpd_honours_graceful_shutdown_before_the_routes_go() {
    in_sandbox(|| honours_graceful_shutdown(Make::OpenBgpd));
}

#[test]
fn exabgp_hears_graceful_shutdown_before_the_routes_go() {
    in_sandbox(|| honours_graceful_shutdown(Make::ExaBgp));
}

// ---- which of its routes are used

/// Without a policy the routes of an external peer are kept to be seen (RFC 8212 §2).
fn are_used_only_by_a_policy(make: Make) {
    let mut lab = Lab::new(make);
    lab.pop.peer = lab.pop.peer.replace("import = \"all\"\n", "");
    lab.router.announce(&Announcement::of("198.51.100.0/24")).unwrap();
    lab.establish();
    let judged = |lab: &Lab, wanted: Option<&str>| {
        wait("the route, judged", || {
            let routes = lab.pop.received();
            let of = |route: &crate::support::Route| route.prefix == "198.51.100.0/24".parse().unwrap();
            let route = routes.iter().find(|route| of(route)).ok_or("none")?;
            let why = route.more["unusable"].as_str();
            if why == wanted { Ok(()) } else { Err(format!("{why:?}")) }
        });
    };
    judged(&lab, Some("no policy lets routes of this peer in"));
    lab.pop.set("import = \"all\"");
    lab.pop.reload();
    judged(&lab, None);
}

#[test]
fn routes_of_bird_are_used_only_by_a_policy() {
    in_sandbox(|| are_used_only_by_a_policy(Make::Bird));
}

#[test]
fn routes_of_frr_are_used_only_by_a_policy() {
    in_sandbox(|| are_used_only_by_a_policy(Make::Frr));
}

#[test]
fn routes_of_gobgp_are_used_only_by_a_policy() {
    in_sandbox(|| are_used_only_by_a_policy(Make::GoBgp));
}
