//! How sessions come up, stay up and end.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use proxima_api::SessionState;
use proxima_testnet::router::Make;
use proxima_types::Family;

use crate::support::{Lab, POP, hold_for, in_sandbox, wait};

const IPV4: &str = "203.0.113.0/24";
const IPV6: &str = "2001:db8:ac::/48";
const POP_AS: u32 = 4_200_000_001;
const AS_TRANS: u32 = 23456;

// ---- hold time

/// How long after a program was stopped its session may end: the hold time of 3 s runs from its last message.
const SILENCE: std::ops::Range<Duration> = Duration::from_millis(1_500)..Duration::from_secs(6);

fn establish_with_three_seconds(make: Make) -> Lab {
    let mut lab = Lab::new(make);
    lab.pop.hold_time = "3s";
    lab.peering.hold_time = 3;
    lab.establish();
    assert_eq!(lab.router.session().unwrap().hold_time, Some(3));
    assert_eq!(lab.pop.peer().hold_time_s, Some(3));
    lab.wait_path(IPV4, "", |_| true);
    lab.wait_fib(IPV4.parse().unwrap(), &[POP.into()]);
    lab
}

fn is_noticed_silent(make: Make) {
    let lab = establish_with_three_seconds(make);
    lab.router.signal(Signal::SIGSTOP).unwrap();
    let stopped = Instant::now();
    let peer = wait("end of the session", || match lab.pop.peer() {
        peer if peer.state != SessionState::Established => Ok(peer),
        peer => Err(format!("{peer:?}")),
    });
    assert!(SILENCE.contains(&stopped.elapsed()), "after {:?}", stopped.elapsed());
    let ended = |event: &serde_json::Value| event["kind"] == "peer-state" && event["reason"]["code"] == 4;
    assert!(lab.pop.events().iter().any(ended), "{peer:?}");
    lab.router.signal(Signal::SIGCONT).unwrap();
}

fn notices_a_silent_daemon(make: Make) {
    let lab = establish_with_three_seconds(make);
    lab.pop.signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    lab.wait_gone(IPV4);
    assert!(SILENCE.contains(&stopped.elapsed()), "after {:?}", stopped.elapsed());
}

#[test]
fn bird_fallen_silent_is_noticed_within_a_hold_time_of_three_seconds() {
    in_sandbox(|| is_noticed_silent(Make::Bird));
}

#[test]
fn bird_notices_a_silent_daemon_within_a_hold_time_of_three_seconds() {
    in_sandbox(|| notices_a_silent_daemon(Make::Bird));
}

#[test]
fn frr_fallen_silent_is_noticed_within_a_hold_time_of_three_seconds() {
    in_sandbox(|| is_noticed_silent(Make::Frr));
}

#[test]
fn frr_notices_a_silent_daemon_within_a_hold_time_of_three_seconds() {
    in_sandbox(|| notices_a_silent_daemon(Make::Frr));
}

#[test]
fn gobgp_fallen_silent_is_noticed_within_a_hold_time_of_three_seconds() {
    in_sandbox(|| is_noticed_silent(Make::GoBgp));
}

#[test]
fn gobgp_notices_a_silent_daemon_within_a_hold_time_of_three_seconds() {
    in_sandbox(|| notices_a_silent_daemon(Make::GoBgp));
}

#[test]
fn openbgpd_fallen_silent_is_noticed_within_a_hold_time_of_three_seconds() {
    in_sandbox(|| is_noticed_silent(Make::OpenBgpd));
}

#[test]
fn openbgpd_notices_a_silent_daemon_within_a_hold_time_of_three_seconds() {
    in_sandbox(|| notices_a_silent_daemon(Make::OpenBgpd));
}

#[test]
fn exabgp_fallen_silent_is_noticed_within_a_hold_time_of_three_seconds() {
    in_sandbox(|| is_noticed_silent(Make::ExaBgp));
}

#[test]
fn exabgp_notices_a_silent_daemon_within_a_hold_time_of_three_seconds() {
    in_sandbox(|| notices_a_silent_daemon(Make::ExaBgp));
}

/// With a hold time of 0 silence says nothing: both sides keep a session for longer than the router's own hold time.
fn keeps_a_silent_session_without_a_hold_time(make: Make) {
    let mut lab = Lab::new(make);
    lab.pop.hold_time = "0s";
    lab.peering.hold_time = 3;
    lab.establish();
    lab.wait_path(IPV4, "", |_| true);
    assert_eq!(lab.pop.peer().hold_time_s, Some(0));
    lab.pop.signal(Signal::SIGSTOP);
    // The claim is that nothing happens, for longer than the hold time of three seconds lets anything live (see above).
    hold_for(Duration::from_millis(4_500), || {
        let session = lab.router.session().unwrap();
        assert!(
            session.established && !lab.router.rib(IPV4.parse().unwrap()).unwrap().is_empty(),
            "{}",
            session.told
        );
    });
    lab.pop.signal(Signal::SIGCONT);
    assert_eq!(lab.pop.peer().established_count, 1);
    lab.pop.stop_apps(2);
    lab.wait_gone(IPV4);
}

#[test]
fn bird_keeps_a_silent_session_without_a_hold_time() {
    in_sandbox(|| keeps_a_silent_session_without_a_hold_time(Make::Bird));
}

#[test]
fn frr_keeps_a_silent_session_without_a_hold_time() {
    in_sandbox(|| keeps_a_silent_session_without_a_hold_time(Make::Frr));
}

#[test]
fn gobgp_keeps_a_silent_session_without_a_hold_time() {
    in_sandbox(|| keeps_a_silent_session_without_a_hold_time(Make::GoBgp));
}

#[test]
fn openbgpd_keeps_a_silent_session_without_a_hold_time() {
    in_sandbox(|| keeps_a_silent_session_without_a_hold_time(Make::OpenBgpd));
}

#[test]
fn exabgp_keeps_a_silent_session_without_a_hold_time() {
    in_sandbox(|| keeps_a_silent_session_without_a_hold_time(Make::ExaBgp));
}

/// Without a hold time nobody but TCP notices that the other side is gone: what is sent stays unacknowledged for the user timeout
/// (RFC 5482), which a reload has set on the connection.
fn is_left_when_nothing_arrives(make: Make) {
    let mut lab = Lab::new(make);
    lab.pop.hold_time = "0s";
    lab.establish();
    lab.wait_path(IPV4, "", |_| true);
    lab.pop.set("tcp-user-timeout = \"1s\"");
    lab.pop.reload();
    assert_eq!(lab.pop.peer().established_count, 1, "the connection is the same");
    let deaf =
        "add table inet deaf\nadd chain inet deaf in { type filter hook input priority 0; policy drop; }";
    lab.hosts[0].nft(deaf).unwrap();
    // An UPDATE.
    lab.pop.stop_apps(1);
    let cut = Instant::now();
    let peer = wait("end of the session", || match lab.pop.peer() {
        peer if peer.state != SessionState::Established => Ok(peer),
        peer => Err(format!("{peer:?}")),
    });
    assert!(cut.elapsed() < Duration::from_secs(5), "after {:?}", cut.elapsed());
    let lost = peer.more["last_transport_error"]["reason"]["error"].as_str();
    assert!(lost.is_some_and(|error| error.contains("timed out")), "{peer:?}");
}

#[test]
fn bird_to_which_nothing_gets_is_left_within_the_user_timeout() {
    in_sandbox(|| is_left_when_nothing_arrives(Make::Bird));
}

#[test]
fn frr_to_which_nothing_gets_is_left_within_the_user_timeout() {
    in_sandbox(|| is_left_when_nothing_arrives(Make::Frr));
}

// ---- speakers of two-octet AS numbers

/// A path of two octets cannot name our AS: the router knows it from AS4_PATH.
fn learns_our_as_by_as4_path(make: Make) {
    let mut lab = Lab::new(make);
    lab.peering.two_octet_as = true;
    lab.establish();
    for prefix in [IPV4, IPV6] {
        lab.wait_path(prefix, "with our AS", |path| path.as_path == [POP_AS]);
    }
    lab.pop.stop_apps(1);
    for prefix in [IPV4, IPV6] {
        lab.wait_path(prefix, "with our AS three times", |path| path.as_path == [POP_AS; 3]);
    }
}

#[test]
fn bird_without_four_octet_as_numbers_learns_our_as_by_as4_path() {
    in_sandbox(|| learns_our_as_by_as4_path(Make::Bird));
}

/// FRR can leave out its capabilities only all together, which leaves IPv4; and since it was offered four-octet AS numbers
/// it does not look for an AS4_PATH. So it shows what stands in AS_PATH.
#[test]
fn frr_without_capabilities_sees_as_trans() {
    in_sandbox(|| {
        let mut lab = Lab::new(Make::Frr);
        lab.peering.two_octet_as = true;
        lab.peering.families = vec![Family::Ipv4];
        lab.establish();
        lab.wait_path(IPV4, "of AS_TRANS", |path| path.as_path == [AS_TRANS]);
        lab.pop.stop_apps(1);
        lab.wait_path(IPV4, "of AS_TRANS", |path| path.as_path == [AS_TRANS; 3]);
    });
}

#[test]
fn openbgpd_without_four_octet_as_numbers_learns_our_as_by_as4_path() {
    in_sandbox(|| learns_our_as_by_as4_path(Make::OpenBgpd));
}

#[test]
fn exabgp_without_four_octet_as_numbers_learns_our_as_by_as4_path() {
    in_sandbox(|| learns_our_as_by_as4_path(Make::ExaBgp));
}

// ---- who calls

/// The daemon listens and waits; the router calls.
fn calls_a_daemon_that_waits(make: Make) {
    let mut lab = Lab::new(make);
    lab.pop.set("passive = true");
    lab.peering.passive = false;
    lab.establish();
    lab.wait_path(IPV4, "", |_| true);
    lab.wait_fib(IPV4.parse().unwrap(), &[POP.into()]);
}

#[test]
fn bird_calls_a_daemon_that_waits() {
    in_sandbox(|| calls_a_daemon_that_waits(Make::Bird));
}

#[test]
fn frr_calls_a_daemon_that_waits() {
    in_sandbox(|| calls_a_daemon_that_waits(Make::Frr));
}

#[test]
fn gobgp_calls_a_daemon_that_waits() {
    in_sandbox(|| calls_a_daemon_that_waits(Make::GoBgp));
}

#[test]
fn openbgpd_calls_a_daemon_that_waits() {
    in_sandbox(|| calls_a_daemon_that_waits(Make::OpenBgpd));
}

#[test]
fn exabgp_calls_a_daemon_that_waits() {
    in_sandbox(|| calls_a_daemon_that_waits(Make::ExaBgp));
}

/// Both sides may call, and listen: whichever connection it is, or wins, one session stands and none flaps. That there were two
/// at once is not asked for; the session's own tests see to that.
fn one_session_stands_when_both_may_call(make: Make) {
    let mut lab = Lab::new(make);
    lab.pop.bgp = format!("listen = [\"{POP}:179\"]\n");
    lab.peering.passive = false;
    lab.establish();
    lab.wait_path(IPV4, "", |_| true);
    for round in 2..4 {
        // Both notice at the same moment.
        lab.router.kill().unwrap();
        lab.start_router();
        lab.wait_established();
        lab.wait_path(IPV4, "", |_| true);
        assert_eq!(lab.pop.peer().established_count, round);
    }
}

#[test]
fn one_session_with_bird_stands_when_both_may_call() {
    in_sandbox(|| one_session_stands_when_both_may_call(Make::Bird));
}

#[test]
fn one_session_with_frr_stands_when_both_may_call() {
    in_sandbox(|| one_session_stands_when_both_may_call(Make::Frr));
}

#[test]
fn one_session_with_gobgp_stands_when_both_may_call() {
    in_sandbox(|| one_session_stands_when_both_may_call(Make::GoBgp));
}

#[test]
fn one_session_with_exabgp_stands_when_both_may_call() {
    in_sandbox(|| one_session_stands_when_both_may_call(Make::ExaBgp));
}

#[test]
fn one_session_with_openbgpd_stands_when_both_may_call() {
    in_sandbox(|| one_session_stands_when_both_may_call(Make::OpenBgpd));
}

// ---- how a session is ended

/// The router ends the session and says why; the operator of the PoP can read it.
fn says_why_it_shuts_down(make: Make) {
    let mut lab = Lab::new(make);
    lab.establish();
    lab.router.shut_down("maintenance until noon").unwrap();
    wait("reason of the end", || {
        let events = lab.pop.events();
        let said = |event: &serde_json::Value| {
            let reason = &event["reason"];
            reason["code"] == 6
                && reason["subcode"] == 2
                && reason["meaning"].as_str().is_some_and(|text| text.contains("maintenance until noon"))
        };
        if events.iter().any(said) { Ok(()) } else { Err(format!("{events:?}")) }
    });
    lab.wait_gone(IPV4);
}

#[test]
fn bird_says_why_it_shuts_down() {
    in_sandbox(|| says_why_it_shuts_down(Make::Bird));
}

#[test]
fn frr_says_why_it_shuts_down() {
    in_sandbox(|| says_why_it_shuts_down(Make::Frr));
}

#[test]
fn gobgp_says_why_it_shuts_down() {
    in_sandbox(|| says_why_it_shuts_down(Make::GoBgp));
}

#[test]
fn openbgpd_says_why_it_shuts_down() {
    in_sandbox(|| says_why_it_shuts_down(Make::OpenBgpd));
}
