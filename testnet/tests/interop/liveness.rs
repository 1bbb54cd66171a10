//! BFD (RFC 5880, 5881) with routers that speak it: BIRD and FRR.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use proxima_api::SessionState;
use proxima_testnet::router::{Bfd, Make};

use crate::support::{Lab, POP, hold_for, in_sandbox, wait};

const IPV4: &str = "203.0.113.0/24";
const INTERVAL_MS: u32 = 50;
/// BFD 50 ms × 3 with room for a busy machine. Without BFD it would be the hold time: 90 s.
const SOON: Duration = Duration::from_secs(2);

/// A session over which both sides have BFD up, so that nothing but BFD can notice anything within 90 s.
fn establish(make: Make) -> Lab {
    let mut lab = Lab::new(make);
    lab.pop.hold_time = "90s";
    lab.peering.hold_time = 90;
    lab.peering.bfd = Some(Bfd { interval_ms: INTERVAL_MS, multiplier: 3 });
    lab.pop.peer += &format!("bfd = {{ interval = \"{INTERVAL_MS}ms\", multiplier = 3 }}\n");
    lab.establish();
    lab.wait_path(IPV4, "", |_| true);
    lab.wait_fib(IPV4.parse().unwrap(), &[POP.into()]);
    wait("BFD up", || {
        let peer = lab.pop.peer();
        if peer.more["bfd"]["state"] == "up" { Ok(()) } else { Err(format!("{peer:?}")) }
    });
    lab
}

fn leaves_a_frozen_daemon(make: Make) {
    let lab = establish(make);
    lab.pop.signal(Signal::SIGSTOP);
    let frozen = Instant::now();
    lab.wait_fib(IPV4.parse().unwrap(), &[]);
    assert!(frozen.elapsed() < SOON, "after {:?}", frozen.elapsed());
    lab.pop.signal(Signal::SIGCONT);
    lab.wait_established();
    lab.wait_fib(IPV4.parse().unwrap(), &[POP.into()]);
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

/// An operator who takes BFD down leaves BGP up. (BIRD just falls silent when its BFD is disabled.)
#[test]
fn frr_may_take_bfd_down_and_keep_the_session() {
    in_sandbox(|| {
        let mut lab = establish(Make::Frr);
        lab.router.bfd_admin_down().unwrap();
        wait("word of the router's BFD", || {
            let peer = lab.pop.peer();
            if peer.more["bfd"]["state"] == "up" { Err(format!("{peer:?}")) } else { Ok(()) }
        });
        hold_for(SOON, || assert_eq!(lab.pop.peer().state, SessionState::Established));
        assert_eq!(lab.pop.peer().established_count, 1);
    });
}
