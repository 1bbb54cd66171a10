//! Graceful restart (RFC 4724, RFC 8538): of the daemon, with routers that help, and of routers, with the daemon's help.

use std::{net::IpAddr, time::Duration};

use nix::sys::signal::Signal;
use proxima_api::{SessionState, paths};
use proxima_testnet::{
    observe::bgp::Message,
    router::{Announcement, Make, Router},
};
use proxima_types::Prefix;

use crate::support::{Lab, POP, Wire, hold_for, in_sandbox, wait};

const IPV4: &str = "203.0.113.0/24";
const IPV6: &str = "2001:db8:ac::/48";

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// A session with graceful restart on both sides; the daemon's restart time is `seconds`.
fn establish(make: Make, seconds: u16) -> Lab {
    let mut lab = Lab::new(make);
    lab.pop.set(format!("graceful-restart = {{ restart-time = \"{seconds}s\", forwarding = true }}"));
    lab.peering.graceful_restart = Some(seconds);
    lab.router.announce(&Announcement::of("198.51.100.0/24")).unwrap();
    lab.router.announce(&Announcement::of("198.51.101.0/24")).unwrap();
    lab.establish();
    for text in [IPV4, IPV6] {
        lab.wait_path(text, "", |path| !path.stale);
    }
    lab.wait_fib(prefix(IPV4), &[POP.into()]);
    wait("routes of the router", || {
        let received = lab.pop.received();
        if received.len() >= 2 { Ok(()) } else { Err(format!("{received:?}")) }
    });
    lab
}

fn is_established(router: &dyn Router) -> bool {
    router.session().unwrap().established
}

/// The router has a path and, where it has a part in the kernel, a route.
fn still_there(lab: &Lab) {
    assert!(!lab.router.rib(prefix(IPV4)).unwrap().is_empty(), "{}", lab.router.session().unwrap().told);
    if lab.make.has_fib() {
        assert_eq!(lab.fib(prefix(IPV4)), [IpAddr::from(POP)]);
    }
}

// ---- the daemon restarts

fn keeps_routes_while_the_daemon_restarts(make: Make) {
    let mut lab = establish(make, 20);
    lab.pop.end(Signal::SIGKILL);
    wait("end of the session", || if is_established(&*lab.router) { Err("up".to_owned()) } else { Ok(()) });
    // For longer than it takes to come back.
    hold_for(Duration::from_secs(1), || still_there(&lab));
    lab.pop.start();
    wait("new session", || {
        still_there(&lab);
        let peer = lab.pop.peer();
        let up = peer.state == SessionState::Established && is_established(&*lab.router);
        if up { Ok(()) } else { Err(format!("{peer:?}")) }
    });
    for text in [IPV4, IPV6] {
        lab.wait_path(text, "confirmed", |path| !path.stale);
    }
    still_there(&lab);
}

#[test]
fn bird_keeps_routes_while_the_daemon_restarts() {
    in_sandbox(|| keeps_routes_while_the_daemon_restarts(Make::Bird));
}

#[test]
fn frr_keeps_routes_while_the_daemon_restarts() {
    in_sandbox(|| keeps_routes_while_the_daemon_restarts(Make::Frr));
}

#[test]
fn gobgp_keeps_routes_while_the_daemon_restarts() {
    in_sandbox(|| keeps_routes_while_the_daemon_restarts(Make::GoBgp));
}

#[test]
fn openbgpd_keeps_routes_while_the_daemon_restarts() {
    in_sandbox(|| keeps_routes_while_the_daemon_restarts(Make::OpenBgpd));
}

/// The same on command: the daemon leaves without a word and is back at once.
fn keeps_routes_over_a_restart_on_command(make: Make) {
    let lab = establish(make, 20);
    lab.pop.post(paths::RESTART, "{}");
    let fresh = || {
        let answer = lab.pop.try_ask(paths::PEERS)?;
        (answer["peers"][0]["established_count"] == 1 && lab.pop.has_restarted()).then_some(())
    };
    wait("new session", || {
        still_there(&lab);
        fresh().filter(|()| is_established(&*lab.router)).ok_or_else(|| lab.pop.log())
    });
    for text in [IPV4, IPV6] {
        lab.wait_path(text, "confirmed", |path| !path.stale);
    }
    still_there(&lab);
}

#[test]
fn bird_keeps_routes_over_a_restart_on_command() {
    in_sandbox(|| keeps_routes_over_a_restart_on_command(Make::Bird));
}

#[test]
fn frr_keeps_routes_over_a_restart_on_command() {
    in_sandbox(|| keeps_routes_over_a_restart_on_command(Make::Frr));
}

#[test]
fn gobgp_keeps_routes_over_a_restart_on_command() {
    in_sandbox(|| keeps_routes_over_a_restart_on_command(Make::GoBgp));
}

fn drops_routes_of_a_daemon_that_stays_away(make: Make) {
    // OpenBGPD tells nothing about routes for two seconds when a session was lost.
    let mut lab = establish(make, if make == Make::OpenBgpd { 5 } else { 2 });
    lab.pop.end(Signal::SIGKILL);
    wait("end of the session", || if is_established(&*lab.router) { Err("up".to_owned()) } else { Ok(()) });
    still_there(&lab);
    for text in [IPV4, IPV6] {
        wait(&format!("end of {text}"), || {
            let paths = lab.router.rib(prefix(text)).unwrap();
            if paths.is_empty() { Ok(()) } else { Err(format!("{paths:?}")) }
        });
        lab.wait_fib(prefix(text), &[]);
    }
}

#[test]
fn bird_drops_routes_of_a_daemon_that_stays_away() {
    in_sandbox(|| drops_routes_of_a_daemon_that_stays_away(Make::Bird));
}

#[test]
fn frr_drops_routes_of_a_daemon_that_stays_away() {
    in_sandbox(|| drops_routes_of_a_daemon_that_stays_away(Make::Frr));
}

#[test]
fn gobgp_drops_routes_of_a_daemon_that_stays_away() {
    in_sandbox(|| drops_routes_of_a_daemon_that_stays_away(Make::GoBgp));
}

#[test]
fn openbgpd_drops_routes_of_a_daemon_that_stays_away() {
    in_sandbox(|| drops_routes_of_a_daemon_that_stays_away(Make::OpenBgpd));
}

/// A daemon that is stopped means to leave: the router drops its routes at once, graceful restart or not.
fn drops_routes_of_a_daemon_that_stops(make: Make) {
    let mut lab = establish(make, 60);
    let wire = Wire::of(&lab);
    lab.pop.end(Signal::SIGTERM);
    lab.wait_gone(IPV4);
    lab.wait_gone(IPV6);
    // Hard Reset (RFC 8538 §3) towards whoever would keep routes over a NOTIFICATION as well.
    let last_words = if matches!(make, Make::Frr | Make::GoBgp) { (6, 9) } else { (6, 2) };
    wait("the daemon's last words", || {
        let said = wire.since(0);
        let last = said.iter().rev().find_map(|seen| match seen.message {
            Message::Notification(code, subcode) if seen.from() == IpAddr::from(POP) => Some((code, subcode)),
            _ => None,
        });
        if last == Some(last_words) { Ok(()) } else { Err(format!("{said:?}")) }
    });
}

#[test]
fn bird_drops_routes_of_a_daemon_that_stops() {
    in_sandbox(|| drops_routes_of_a_daemon_that_stops(Make::Bird));
}

#[test]
fn frr_drops_routes_of_a_daemon_that_stops() {
    in_sandbox(|| drops_routes_of_a_daemon_that_stops(Make::Frr));
}

#[test]
fn gobgp_drops_routes_of_a_daemon_that_stops() {
    in_sandbox(|| drops_routes_of_a_daemon_that_stops(Make::GoBgp));
}

#[test]
fn openbgpd_drops_routes_of_a_daemon_that_stops() {
    in_sandbox(|| drops_routes_of_a_daemon_that_stops(Make::OpenBgpd));
}

// ---- the router restarts

/// The routes the daemon has of the router: each with whether it is stale.
fn received(lab: &Lab) -> Vec<(String, bool)> {
    let routes = lab.pop.received().into_iter();
    let ours = |text: &String| text.starts_with("198.51.");
    let mut routes: Vec<_> = routes
        .map(|route| (route.prefix.to_string(), route.more["stale"] == true))
        .filter(|(text, _)| ours(text))
        .collect();
    routes.sort_unstable();
    routes
}

fn routes(list: &[(&str, bool)]) -> Vec<(String, bool)> {
    list.iter().map(|(text, stale)| ((*text).to_owned(), *stale)).collect()
}

fn is_helped_while_it_restarts(make: Make) {
    let mut lab = establish(make, 30);
    lab.router.kill().unwrap();
    let stale = routes(&[("198.51.100.0/24", true), ("198.51.101.0/24", true)]);
    wait("stale routes", || {
        let seen = received(&lab);
        if seen == stale { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    // It comes back without one of them: that one goes with the End-of-RIB.
    lab.router.forget(prefix("198.51.101.0/24"));
    lab.start_router();
    lab.wait_established();
    let fresh = routes(&[("198.51.100.0/24", false)]);
    wait("confirmed routes only", || {
        let seen = received(&lab);
        if seen == fresh { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

#[test]
fn routes_of_bird_are_kept_while_it_restarts() {
    in_sandbox(|| is_helped_while_it_restarts(Make::Bird));
}

#[test]
fn routes_of_frr_are_kept_while_it_restarts() {
    in_sandbox(|| is_helped_while_it_restarts(Make::Frr));
}

#[test]
fn routes_of_gobgp_are_kept_while_it_restarts() {
    in_sandbox(|| is_helped_while_it_restarts(Make::GoBgp));
}

#[test]
fn routes_of_exabgp_are_kept_while_it_restarts() {
    in_sandbox(|| is_helped_while_it_restarts(Make::ExaBgp));
}

fn is_given_up_when_it_stays_away(make: Make) {
    let mut lab = establish(make, 2);
    lab.router.kill().unwrap();
    wait("stale routes", || {
        let seen = received(&lab);
        if seen.iter().any(|(_, stale)| *stale) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    wait("end of the routes", || {
        let seen = received(&lab);
        if seen.is_empty() { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

#[test]
fn routes_of_bird_that_stays_away_go() {
    in_sandbox(|| is_given_up_when_it_stays_away(Make::Bird));
}

#[test]
fn routes_of_frr_that_stays_away_go() {
    in_sandbox(|| is_given_up_when_it_stays_away(Make::Frr));
}

#[test]
fn routes_of_gobgp_that_stays_away_go() {
    in_sandbox(|| is_given_up_when_it_stays_away(Make::GoBgp));
}

#[test]
fn routes_of_exabgp_that_stays_away_go() {
    in_sandbox(|| is_given_up_when_it_stays_away(Make::ExaBgp));
}
