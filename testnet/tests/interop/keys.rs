//! Who is let in: TCP MD5 (RFC 2385) and GTSM (RFC 5082).
//!
//! That somebody is kept out is seen in the kernels' counters: of segments dropped for that reason, or sent again for want of
//! an answer.

use std::net::IpAddr;

use nix::sys::signal::Signal;
use proxima_api::SessionState;
use proxima_testnet::router::{Make, Neighbour};

use crate::support::{Lab, POP, POP_IPV6, ROUTER_AS, ROUTER_IPV6, in_sandbox, wait};

const IPV4: &str = "203.0.113.0/24";
const IPV6: &str = "2001:db8:ac::/48";
const KEY: &str = "correct-horse";

/// Waits until this counter of segments has grown by two; the session is down on both sides then.
fn wait_kept_out(lab: &Lab, counter: &str, count: impl Fn() -> u64) {
    let before = count();
    wait(&format!("two drops in {counter}"), || match count() - before {
        0 | 1 => Err(format!("{:?}", lab.pop.peer())),
        _ => Ok(()),
    });
    assert!(!lab.router.session().unwrap().established);
    assert_ne!(lab.pop.peer().state, SessionState::Established);
}

fn with_key(lab: &mut Lab, key: Option<&str>) {
    let lines: Vec<String> = lab
        .pop
        .peer
        .lines()
        .filter(|line| !line.starts_with("password-file"))
        .map(|line| format!("{line}\n"))
        .collect();
    lab.pop.peer = lines.concat();
    if let Some(key) = key {
        let file = lab.pop.file("router.md5", key);
        lab.pop.set(format!("password-file = \"{}\"", file.display()));
    }
}

// ---- MD5, the daemon calls

fn takes_only_the_right_key(make: Make) {
    let mut lab = Lab::new(make);
    lab.peering.password = Some(KEY.to_owned());
    with_key(&mut lab, Some("wrong"));
    lab.start();
    wait_kept_out(&lab, "TCPMD5Failure", || lab.router_counter("TCPMD5Failure"));
    lab.pop.end(Signal::SIGKILL);
    with_key(&mut lab, None);
    lab.pop.start();
    wait_kept_out(&lab, "TCPMD5NotFound", || lab.router_counter("TCPMD5NotFound"));
    lab.pop.end(Signal::SIGKILL);
    with_key(&mut lab, Some(KEY));
    lab.pop.start();
    lab.wait_established();
    lab.wait_path(IPV4, "", |_| true);
    lab.wait_fib(IPV4.parse().unwrap(), &[POP.into()]);
}

#[test]
fn bird_takes_the_daemon_with_the_right_md5_key_only() {
    in_sandbox(|| takes_only_the_right_key(Make::Bird));
}

#[test]
fn frr_takes_the_daemon_with_the_right_md5_key_only() {
    in_sandbox(|| takes_only_the_right_key(Make::Frr));
}

#[test]
fn gobgp_takes_the_daemon_with_the_right_md5_key_only() {
    in_sandbox(|| takes_only_the_right_key(Make::GoBgp));
}

#[test]
fn exabgp_takes_the_daemon_with_the_right_md5_key_only() {
    in_sandbox(|| takes_only_the_right_key(Make::ExaBgp));
}

// ---- MD5, the router calls

fn is_taken_with_the_right_key_only(make: Make) {
    let mut lab = Lab::new(make);
    lab.peering.passive = false;
    lab.pop.set("passive = true");
    lab.peering.password = Some("wrong".to_owned());
    with_key(&mut lab, Some(KEY));
    lab.start();
    wait_kept_out(&lab, "TCPMD5Failure", || lab.pop_counter("TCPMD5Failure"));
    lab.router.kill().unwrap();
    lab.peering.password = None;
    lab.start_router();
    wait_kept_out(&lab, "TCPMD5NotFound", || lab.pop_counter("TCPMD5NotFound"));
    lab.router.kill().unwrap();
    lab.peering.password = Some(KEY.to_owned());
    lab.start_router();
    lab.wait_established();
    lab.wait_path(IPV4, "", |_| true);
}

#[test]
fn bird_is_taken_by_a_daemon_that_waits_with_the_right_md5_key_only() {
    in_sandbox(|| is_taken_with_the_right_key_only(Make::Bird));
}

#[test]
fn frr_is_taken_by_a_daemon_that_waits_with_the_right_md5_key_only() {
    in_sandbox(|| is_taken_with_the_right_key_only(Make::Frr));
}

#[test]
fn gobgp_is_taken_by_a_daemon_that_waits_with_the_right_md5_key_only() {
    in_sandbox(|| is_taken_with_the_right_key_only(Make::GoBgp));
}

#[test]
fn openbgpd_is_taken_by_a_daemon_that_waits_with_the_right_md5_key_only() {
    in_sandbox(|| is_taken_with_the_right_key_only(Make::OpenBgpd));
}

#[test]
fn exabgp_is_taken_by_a_daemon_that_waits_with_the_right_md5_key_only() {
    in_sandbox(|| is_taken_with_the_right_key_only(Make::ExaBgp));
}

// ---- GTSM

/// A router that does without is not heard; one that has it too is.
fn needs_gtsm_on_both_sides(make: Make) {
    let mut lab = Lab::new(make);
    // What is not heard is not acknowledged either: without a limit to that the connection would stand for minutes.
    lab.pop.set("ttl-security = 1");
    lab.pop.set("tcp-user-timeout = \"1s\"");
    lab.start();
    wait_kept_out(&lab, "TCPMinTTLDrop", || lab.pop_counter("TCPMinTTLDrop"));
    lab.router.kill().unwrap();
    lab.peering.ttl_security = true;
    lab.start_router();
    lab.wait_established();
    lab.wait_path(IPV4, "", |_| true);
    lab.wait_fib(IPV4.parse().unwrap(), &[POP.into()]);
}

#[test]
fn bird_is_heard_with_gtsm_only() {
    in_sandbox(|| needs_gtsm_on_both_sides(Make::Bird));
}

#[test]
fn frr_is_heard_with_gtsm_only() {
    in_sandbox(|| needs_gtsm_on_both_sides(Make::Frr));
}

#[test]
fn gobgp_is_heard_with_gtsm_only() {
    in_sandbox(|| needs_gtsm_on_both_sides(Make::GoBgp));
}

#[test]
fn openbgpd_is_heard_with_gtsm_only() {
    in_sandbox(|| needs_gtsm_on_both_sides(Make::OpenBgpd));
}

/// The same with the router calling: without GTSM not even its SYN is heard.
fn needs_gtsm_of_a_router_that_calls(make: Make) {
    let mut lab = Lab::new(make);
    lab.peering.passive = false;
    lab.pop.set("passive = true");
    lab.pop.set("ttl-security = 1");
    lab.start();
    // Some try again, others let the kernel do so.
    wait_kept_out(&lab, "SYN", || lab.router_counter("ActiveOpens") + lab.router_counter("TCPSynRetrans"));
    lab.router.kill().unwrap();
    lab.peering.ttl_security = true;
    lab.start_router();
    lab.wait_established();
    lab.wait_path(IPV4, "", |_| true);
}

#[test]
fn bird_that_calls_is_heard_with_gtsm_only() {
    in_sandbox(|| needs_gtsm_of_a_router_that_calls(Make::Bird));
}

#[test]
fn frr_that_calls_is_heard_with_gtsm_only() {
    in_sandbox(|| needs_gtsm_of_a_router_that_calls(Make::Frr));
}

#[test]
fn gobgp_that_calls_is_heard_with_gtsm_only() {
    in_sandbox(|| needs_gtsm_of_a_router_that_calls(Make::GoBgp));
}

#[test]
fn openbgpd_that_calls_is_heard_with_gtsm_only() {
    in_sandbox(|| needs_gtsm_of_a_router_that_calls(Make::OpenBgpd));
}

#[test]
fn exabgp_that_calls_is_heard_with_gtsm_only() {
    in_sandbox(|| needs_gtsm_of_a_router_that_calls(Make::ExaBgp));
}

// ---- both, over IPv6

/// A session over IPv6 with a key and GTSM; the side that calls differs, since not every listening socket can have both.
fn talks_over_ipv6_with_key_and_gtsm(make: Make, router_calls: bool) {
    let mut lab = Lab::new(make);
    lab.peering.neighbour = Neighbour::Address(POP_IPV6.into());
    lab.peering.passive = !router_calls;
    lab.peering.password = Some(KEY.to_owned());
    lab.peering.ttl_security = true;
    lab.pop.remote = format!("address = \"{ROUTER_IPV6}\"\nremote-as = {ROUTER_AS}");
    lab.pop.peer = format!(
        "families = [\"ipv4\", \"ipv6\"]\nnext-hop-ipv4 = \"{POP}\"\nttl-security = 1\npassive = {router_calls}\n"
    );
    with_key(&mut lab, Some(KEY));
    lab.establish();
    for (text, next_hop) in [(IPV4, IpAddr::from(POP)), (IPV6, POP_IPV6.into())] {
        lab.wait_path(text, "", |path| {
            path.next_hop.is_some_and(|hop| hop == next_hop || is_link_local(hop))
        });
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[test]
fn bird_talks_over_ipv6_with_key_and_gtsm() {
    in_sandbox(|| talks_over_ipv6_with_key_and_gtsm(Make::Bird, false));
}

#[test]
fn frr_talks_over_ipv6_with_key_and_gtsm() {
    in_sandbox(|| talks_over_ipv6_with_key_and_gtsm(Make::Frr, false));
}

#[test]
fn gobgp_talks_over_ipv6_with_key_and_gtsm() {
    in_sandbox(|| talks_over_ipv6_with_key_and_gtsm(Make::GoBgp, false));
}

#[test]
fn openbgpd_talks_over_ipv6_with_key_and_gtsm() {
    in_sandbox(|| talks_over_ipv6_with_key_and_gtsm(Make::OpenBgpd, true));
}

#[test]
fn exabgp_talks_over_ipv6_with_key_and_gtsm() {
    in_sandbox(|| talks_over_ipv6_with_key_and_gtsm(Make::ExaBgp, true));
}
