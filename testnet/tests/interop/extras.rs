//! What is negotiated: several paths, IPv6 next hops, roles, neighbours without an address.

use std::net::{IpAddr, Ipv6Addr};

use proxima_testnet::router::{Announcement, Make, Neighbour, Role};
use proxima_types::Prefix;

use crate::support::{INTERFACE, Lab, POP, POP_IPV6, ROUTER_AS, ROUTER_IPV6, in_sandbox, wait};

const IPV4: &str = "203.0.113.0/24";
const IPV6: &str = "2001:db8:ac::/48";
const POP_AS: u32 = 4_200_000_001;
const THEIRS: &str = "198.51.100.0/24";

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

// ---- several paths (RFC 7911)

fn sends_several_paths(make: Make) {
    let mut lab = Lab::new(make);
    lab.peering.add_path = true;
    lab.pop.set("add-path = true");
    for nth in [1, 2] {
        lab.router.announce(&Announcement::of(THEIRS).med(6 + nth).nth(nth)).unwrap();
    }
    lab.establish();
    let seen = || {
        let routes = lab.pop.received().into_iter().filter(|route| route.prefix == prefix(THEIRS));
        let mut seen: Vec<_> = routes.map(|route| (route.med, route.more["path_id"].as_u64())).collect();
        seen.sort_unstable();
        seen
    };
    wait("both paths", || match seen().as_slice() {
        [(Some(7), Some(one)), (Some(8), Some(other))] if one != other => Ok(()),
        other => Err(format!("{other:?}")),
    });
    lab.router.withdraw(prefix(THEIRS)).unwrap();
    wait("end of both paths", || if seen().is_empty() { Ok(()) } else { Err(format!("{:?}", seen())) });
}

#[test]
fn several_paths_of_bird_are_received() {
    in_sandbox(|| sends_several_paths(Make::Bird));
}

#[test]
fn several_paths_of_frr_are_received() {
    in_sandbox(|| sends_several_paths(Make::Frr));
}

#[test]
fn several_paths_of_gobgp_are_received() {
    in_sandbox(|| sends_several_paths(Make::GoBgp));
}

#[test]
fn several_paths_of_exabgp_are_received() {
    in_sandbox(|| sends_several_paths(Make::ExaBgp));
}

// ---- IPv6 next hops for IPv4 (RFC 8950)

fn takes_ipv4_by_ipv6(make: Make) {
    let mut lab = Lab::new(make);
    lab.peering.neighbour = Neighbour::Address(POP_IPV6.into());
    lab.peering.extended_next_hop = true;
    lab.pop.remote = format!("address = \"{ROUTER_IPV6}\"\nremote-as = {ROUTER_AS}");
    lab.pop.peer.clear();
    lab.pop.set("families = [\"ipv4\", \"ipv6\"]");
    lab.pop.set("extended-next-hop = true");
    lab.router.announce(&Announcement::of(THEIRS)).unwrap();
    lab.establish();
    // The next hop is sent with the link-local address beside it (RFC 2545 §3), and routers take either.
    let is_ours = |address: &IpAddr| {
        *address == POP_IPV6 || matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
    };
    for text in [IPV4, IPV6] {
        lab.wait_path(text, "by an IPv6 next hop", |path| path.next_hop.as_ref().is_some_and(is_ours));
        if make.has_fib() {
            wait(&format!("route to {text} by an IPv6 gateway"), || match lab.fib(prefix(text)).as_slice() {
                [one] if is_ours(one) => Ok(()),
                other => Err(format!("{other:?}")),
            });
        }
    }
    let route = wait("route by an IPv6 next hop", || {
        let routes = lab.pop.received();
        let found = routes.iter().find(|route| route.prefix == prefix(THEIRS)).cloned();
        found.ok_or_else(|| format!("{routes:?}"))
    });
    assert_eq!(route.next_hop, IpAddr::from(ROUTER_IPV6), "{route:?}");
}

#[test]
fn bird_takes_ipv4_routes_by_an_ipv6_next_hop() {
    in_sandbox(|| takes_ipv4_by_ipv6(Make::Bird));
}

#[test]
fn frr_takes_ipv4_routes_by_an_ipv6_next_hop() {
    in_sandbox(|| takes_ipv4_by_ipv6(Make::Frr));
}

#[test]
fn gobgp_takes_ipv4_routes_by_an_ipv6_next_hop() {
    in_sandbox(|| takes_ipv4_by_ipv6(Make::GoBgp));
}

#[test]
fn exabgp_hears_ipv4_routes_with_an_ipv6_next_hop() {
    in_sandbox(|| takes_ipv4_by_ipv6(Make::ExaBgp));
}

// ---- link-local neighbours

/// The daemon finds the router by its advertisements, and is found by its own.
fn finds_the_daemon_on_an_interface(make: Make) {
    let mut lab = Lab::new(make);
    lab.peering.extended_next_hop = make != Make::Frr;
    lab.peering.neighbour = Neighbour::Interface(INTERFACE.to_owned());
    lab.pop.remote = format!("interface = \"{INTERFACE}\"\nremote-as = {ROUTER_AS}");
    lab.pop.peer.clear();
    lab.pop.set("families = [\"ipv4\", \"ipv6\"]");
    lab.pop.set("extended-next-hop = true");
    lab.establish();
    let is_link_local = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    for text in [IPV4, IPV6] {
        lab.wait_path(text, "by a link-local next hop", |path| {
            path.next_hop.as_ref().is_some_and(is_link_local)
        });
        wait(&format!("route to {text} by a link-local gateway"), || {
            match lab.fib(prefix(text)).as_slice() {
                [one] if is_link_local(one) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
    lab.pop.stop_apps(2);
    lab.wait_gone(IPV4);
    lab.wait_gone(IPV6);
}

#[test]
fn bird_and_the_daemon_find_each_other_on_an_interface() {
    in_sandbox(|| finds_the_daemon_on_an_interface(Make::Bird));
}

#[test]
fn frr_and_the_daemon_find_each_other_on_an_interface() {
    in_sandbox(|| finds_the_daemon_on_an_interface(Make::Frr));
}

const ROUTER_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const POP_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

/// Both know the other's link-local address by configuration.
fn talks_by_link_local_addresses(make: Make) {
    let mut lab = Lab::new(make);
    for (host, address) in lab.hosts.iter().zip([ROUTER_LINK_LOCAL, POP_LINK_LOCAL]) {
        host.add_address(INTERFACE, address.into(), 64).unwrap();
    }
    lab.peering.neighbour = Neighbour::LinkLocal(POP_LINK_LOCAL, INTERFACE.to_owned());
    lab.peering.extended_next_hop = true;
    lab.pop.remote = format!(
        "address = \"{ROUTER_LINK_LOCAL}\"\ninterface = \"{INTERFACE}\"\nsource = \"{POP_LINK_LOCAL}\"\nremote-as = {ROUTER_AS}"
    );
    lab.pop.peer.clear();
    lab.pop.set("families = [\"ipv4\", \"ipv6\"]");
    lab.pop.set("extended-next-hop = true");
    lab.establish();
    for text in [IPV4, IPV6] {
        lab.wait_path(text, "", |_| true);
        lab.wait_fib(prefix(text), &[POP_LINK_LOCAL.into()]);
    }
}

#[test]
fn bird_and_the_daemon_talk_by_link_local_addresses() {
    in_sandbox(|| talks_by_link_local_addresses(Make::Bird));
}

#[test]
fn gobgp_and_the_daemon_talk_by_link_local_addresses() {
    in_sandbox(|| talks_by_link_local_addresses(Make::GoBgp));
}

#[test]
fn frr_and_the_daemon_talk_by_link_local_addresses() {
    in_sandbox(|| talks_by_link_local_addresses(Make::Frr));
}

// ---- dynamic neighbours

/// The daemon knows a range only; the router calls from within it.
fn calls_from_a_range(make: Make) {
    let mut lab = Lab::new(make);
    lab.peering.passive = false;
    lab.pop.remote = format!("range = \"10.0.0.0/24\"\nremote-as = {ROUTER_AS}");
    lab.router.announce(&Announcement::of(THEIRS)).unwrap();
    lab.establish();
    lab.wait_path(IPV4, "", |_| true);
    lab.wait_fib(prefix(IPV4), &[POP.into()]);
    assert_eq!(lab.pop.peer().more["name"], "router/10.0.0.1");
    wait("its route", || {
        let routes = lab.pop.received();
        if routes.iter().any(|route| route.prefix == prefix(THEIRS)) {
            Ok(())
        } else {
            Err(format!("{routes:?}"))
        }
    });
}

#[test]
fn bird_calls_from_a_range_and_is_taken() {
    in_sandbox(|| calls_from_a_range(Make::Bird));
}

#[test]
fn frr_calls_from_a_range_and_is_taken() {
    in_sandbox(|| calls_from_a_range(Make::Frr));
}

#[test]
fn gobgp_calls_from_a_range_and_is_taken() {
    in_sandbox(|| calls_from_a_range(Make::GoBgp));
}

#[test]
fn openbgpd_calls_from_a_range_and_is_taken() {
    in_sandbox(|| calls_from_a_range(Make::OpenBgpd));
}

#[test]
fn exabgp_calls_from_a_range_and_is_taken() {
    in_sandbox(|| calls_from_a_range(Make::ExaBgp));
}

// ---- roles (RFC 9234)

const ROLE_MISMATCH: (u8, u8) = (2, 11);

/// Provider and customer agree; what the provider sends is marked for customers only.
fn agrees_on_roles(make: Make) {
    let mut lab = Lab::new(make);
    lab.peering.role = Some((Role::Provider, true));
    lab.pop.set("role = \"customer\"");
    lab.pop.set("role-strict = true");
    lab.router.announce(&Announcement::of(THEIRS)).unwrap();
    lab.establish();
    lab.wait_path(IPV4, "", |_| true);
    assert_eq!(
        lab.pop.peer().more["roles"],
        serde_json::json!({ "local": "customer", "remote": "provider" })
    );
    wait("route for customers only", || {
        let routes = lab.pop.received();
        let marked = |route: &&crate::support::Route| {
            route.prefix == prefix(THEIRS) && route.more["only_to_customer"] == ROUTER_AS
        };
        if routes.iter().any(|route| marked(&route)) { Ok(()) } else { Err(format!("{routes:?}")) }
    });
}

#[test]
fn bird_and_the_daemon_agree_on_their_roles() {
    in_sandbox(|| agrees_on_roles(Make::Bird));
}

#[test]
fn frr_and_the_daemon_agree_on_their_roles() {
    in_sandbox(|| agrees_on_roles(Make::Frr));
}

#[test]
fn openbgpd_and_the_daemon_agree_on_their_roles() {
    in_sandbox(|| agrees_on_roles(Make::OpenBgpd));
}

/// Two customers of each other do not talk, whoever notices first.
fn disagrees_on_roles(make: Make) {
    let mut lab = Lab::new(make);
    lab.peering.role = Some((Role::Customer, false));
    lab.pop.set("role = \"customer\"");
    lab.start();
    let (code, subcode) = ROLE_MISMATCH;
    wait("refusal", || {
        let refused = ["sent", "received"].iter().any(|way| lab.pop.ended(way, code, subcode).is_some());
        if refused { Ok(()) } else { Err(format!("{:?}", lab.pop.events())) }
    });
    assert_eq!(lab.pop.peer().established_count, 0);
    assert!(!lab.router.session().unwrap().established);
}

#[test]
fn bird_with_the_wrong_role_is_refused() {
    in_sandbox(|| disagrees_on_roles(Make::Bird));
}

#[test]
fn frr_with_the_wrong_role_is_refused() {
    in_sandbox(|| disagrees_on_roles(Make::Frr));
}

#[test]
fn openbgpd_with_the_wrong_role_is_refused() {
    in_sandbox(|| disagrees_on_roles(Make::OpenBgpd));
}

/// With `role-strict` a router without a role is refused.
#[test]
fn bird_without_a_role_is_refused_where_one_is_insisted_on() {
    in_sandbox(|| {
        let mut lab = Lab::new(Make::Bird);
        lab.pop.set("role = \"customer\"");
        lab.pop.set("role-strict = true");
        lab.start();
        let (code, subcode) = ROLE_MISMATCH;
        lab.pop.wait_ended("sent", code, subcode);
        assert_eq!(lab.pop.peer().established_count, 0);
    });
}

// ---- loops

/// FRR sends a route back to where it came from: it is received, and of no use.
#[test]
fn routes_that_frr_sends_back_are_known_for_a_loop() {
    in_sandbox(|| {
        let mut lab = Lab::new(Make::Frr);
        lab.establish();
        wait("our own route", || {
            let routes = lab.pop.received();
            let Some(ours) = routes.iter().find(|route| route.prefix == prefix(IPV4)) else {
                return Err(format!("{routes:?}"));
            };
            assert_eq!(ours.as_path, [ROUTER_AS, POP_AS]);
            assert!(ours.more["unusable"].is_string(), "{ours:?}");
            Ok(())
        });
    });
}

// ---- large and extended communities

fn sends_communities(make: Make) {
    let mut lab = Lab::new(make);
    let route = Announcement::of(THEIRS)
        .community("65001:7")
        .large_community("65001:1:2")
        .large_community("4200000000:3:4")
        .route_target("65001:9");
    lab.router.announce(&route).unwrap();
    lab.establish();
    let route = wait("its route", || {
        let routes = lab.pop.received();
        let found = routes.iter().find(|route| route.prefix == prefix(THEIRS)).cloned();
        found.ok_or_else(|| format!("{routes:?}"))
    });
    assert_eq!(route.communities, ["65001:7"]);
    let mut large: Vec<String> = serde_json::from_value(route.more["large_communities"].clone()).unwrap();
    large.sort_unstable();
    assert_eq!(large, ["4200000000:3:4", "65001:1:2"]);
    // Two-octet AS specific, route target: 00 02, AS 65001, 9.
    assert_eq!(route.more["extended_communities"], serde_json::json!(["rt:65001:9"]));
}

#[test]
fn large_and_extended_communities_of_bird_are_received() {
    in_sandbox(|| sends_communities(Make::Bird));
}

#[test]
fn large_and_extended_communities_of_frr_are_received() {
    in_sandbox(|| sends_communities(Make::Frr));
}

#[test]
fn large_and_extended_communities_of_gobgp_are_received() {
    in_sandbox(|| sends_communities(Make::GoBgp));
}

#[test]
fn large_and_extended_communities_of_openbgpd_are_received() {
    in_sandbox(|| sends_communities(Make::OpenBgpd));
}

#[test]
fn large_and_extended_communities_of_exabgp_are_received() {
    in_sandbox(|| sends_communities(Make::ExaBgp));
}

// ---- why the daemon ends a session (RFC 9003)

fn is_told_why_the_daemon_shuts_down(make: Make) {
    let mut lab = Lab::new(make);
    lab.establish();
    lab.wait_path(IPV4, "", |_| true);
    lab.pop.command_peer("shutdown", r#"{"reason":"maintenance until noon"}"#);
    wait("reason at the router", || {
        let told = lab.router.session().unwrap().told + &lab.router.log();
        if told.contains("maintenance until noon") { Ok(()) } else { Err(told) }
    });
    lab.wait_gone(IPV4);
    lab.pop.command_peer("up", "");
    lab.wait_established();
    lab.wait_path(IPV4, "", |_| true);
}

#[test]
fn bird_is_told_why_the_daemon_shuts_down() {
    in_sandbox(|| is_told_why_the_daemon_shuts_down(Make::Bird));
}

#[test]
fn frr_is_told_why_the_daemon_shuts_down() {
    in_sandbox(|| is_told_why_the_daemon_shuts_down(Make::Frr));
}

#[test]
fn gobgp_is_told_why_the_daemon_shuts_down() {
    in_sandbox(|| is_told_why_the_daemon_shuts_down(Make::GoBgp));
}

#[test]
fn openbgpd_is_told_why_the_daemon_shuts_down() {
    in_sandbox(|| is_told_why_the_daemon_shuts_down(Make::OpenBgpd));
}
