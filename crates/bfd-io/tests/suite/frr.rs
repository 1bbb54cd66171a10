//! With a real FRR: bfdd and zebra.

use std::fs;

use nix::sys::signal::Signal;
use proxima_bfd_io::{BfdOptions, Cause, Meaning, SessionConfig};

use crate::{
    common::{ASKING, Host, MS, PATIENT, SLACK, session, settings, until},
    freeze::Frozen,
    sandbox::{Process, enter, shell, within},
};

const PEERS: &str = "
bfd
 peer 10.0.0.1 local-address 10.0.0.2 interface eth0
  detect-multiplier 20
  receive-interval 60
  transmit-interval 60
 exit
 peer fd00::1 local-address fd00::2 interface eth0
  detect-multiplier 20
  receive-interval 60
  transmit-interval 60
 exit
 peer 10.0.1.1 multihop local-address 10.0.2.2
  detect-multiplier 20
  receive-interval 60
  transmit-interval 60
  minimum-ttl 250
 exit
exit
";

struct Frr {
    bfdd: Process,
    _zebra: Process,
}

impl Frr {
    fn start() -> Self {
        fs::write("/run/zebra.conf", "").unwrap();
        fs::write("/run/bfdd.conf", PEERS).unwrap();
        let common = ["-P", "0", "--log", "stdout", "--log-level", "errors"];
        let zebra = [["-f", "/run/zebra.conf"].as_slice(), &common].concat();
        let zebra = Process::start("them", "/usr/lib/frr/zebra", &zebra);
        until("zebra", || fs::exists("/run/frr/zserv.api").unwrap());
        let bfdd = [["-f", "/run/bfdd.conf"].as_slice(), &common].concat();
        Self { bfdd: Process::start("them", "/usr/lib/frr/bfdd", &bfdd), _zebra: zebra }
    }
}

/// What `show bfd peer` says about us, without spaces.
fn peer(which: &str) -> String {
    let text = shell(&format!("vtysh -c 'show bfd peer {which} json' 2>/dev/null || true"));
    text.split_whitespace().collect()
}

fn until_peer(which: &str, what: &str) {
    until(what, || peer(which).contains(what));
}

/// Changes FRR's session with us.
fn configure(which: &str, lines: &str) {
    shell(&format!("vtysh -c 'configure terminal' -c bfd -c 'peer {which}' {lines} 2>/dev/null"));
}

const NEAR: &str = "10.0.0.1 local-address 10.0.0.2 interface eth0";
const SIX: &str = "fd00::1 local-address fd00::2 interface eth0";
const FAR: &str = "10.0.1.1 multihop local-address 10.0.2.2";

fn near() -> SessionConfig {
    session("frr", "10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap())
}

#[test]
fn frr_comes_up_negotiates_and_each_side_notices_the_others_end() {
    if !enter("frr::frr_comes_up_negotiates_and_each_side_notices_the_others_end") {
        return;
    }
    let mut us = within("us", || Host::start(BfdOptions::default()));
    us.handle.add(near()).unwrap();
    us.handle.add(session("six", "fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())).unwrap();
    let far = session("far", "10.0.1.1".parse().unwrap(), "10.0.2.2".parse().unwrap());
    us.handle.add(SessionConfig { multihop: Some(254), ..far }).unwrap();
    let frr = Frr::start();
    for (name, which) in [("frr", NEAR), ("six", SIX), ("far", FAR)] {
        us.settled(name);
        until_peer(which, "\"status\":\"up\"");
        let status = us.status(name).session;
        assert_eq!(
            (status.transmit_interval, status.detection_time),
            (Some(60 * MS), Some(1200 * MS)),
            "{name}"
        );
        until_peer(which, "\"remote-receive-interval\":50");
        until_peer(which, "\"remote-transmit-interval\":50");
    }

    // Other intervals without a flap, seen by FRR; then FRR's, seen by us.
    us.handle.reconfigure(SessionConfig { settings: settings(200 * MS, 10), ..near() }).unwrap();
    until_peer(NEAR, "\"remote-transmit-interval\":200");
    us.handle.reconfigure(near()).unwrap();
    until_peer(NEAR, "\"remote-transmit-interval\":50");
    configure(NEAR, "-c 'receive-interval 90' -c 'transmit-interval 90'");
    until("FRR's intervals", || us.status("frr").session.detection_time == Some(1800 * MS));
    us.settled("frr");
    assert_eq!(us.status("frr").session.counters.flaps, 0);
    until_peer(NEAR, "\"status\":\"up\"");

    // Our operator takes it down, then FRR's does.
    us.handle.set_admin_down("frr", true).unwrap();
    until_peer(NEAR, "\"status\":\"down\"");
    until_peer(NEAR, "\"remote-diagnostic\":\"administrativelydown\"");
    us.handle.set_admin_down("frr", false).unwrap();
    us.settled("frr");
    until_peer(NEAR, "\"status\":\"up\"");
    configure(NEAR, "-c shutdown");
    let event = us.event();
    assert_eq!((event.change.cause, event.meaning()), (Cause::NeighborAdminDown, Meaning::AdminDown));
    configure(NEAR, "-c 'no shutdown'");
    us.settled("frr");

    // FRR is frozen: we notice in time. It comes back by itself.
    let at = std::time::Instant::now();
    frr.bfdd.signal(Signal::SIGSTOP);
    for _ in 0..3 {
        let event = us.meaning(Meaning::Failed);
        assert_eq!(event.change.cause, Cause::DetectionTimeExpired);
        let most = if &*event.name == "frr" { 1800 * MS } else { 1200 * MS };
        assert!(event.at - at <= most + SLACK, "{}: {:?}", event.name, event.at - at);
    }
    frr.bfdd.signal(Signal::SIGCONT);
    for (name, which) in [("frr", NEAR), ("six", SIX), ("far", FAR)] {
        us.settled(name);
        until_peer(which, "\"status\":\"up\"");
    }

    // FRR is killed; then it comes back, and we die.
    drop(frr);
    for _ in 0..3 {
        assert_eq!(us.meaning(Meaning::Failed).change.cause, Cause::DetectionTimeExpired);
    }
    fs::remove_file("/run/frr/zserv.api").ok();
    let _frr = Frr::start();
    for (name, which) in [("frr", NEAR), ("six", SIX), ("far", FAR)] {
        us.settled(name);
        until_peer(which, "\"status\":\"up\"");
    }
    drop(us);
    for which in [NEAR, SIX, FAR] {
        until_peer(which, "\"status\":\"down\"");
    }

    // We are frozen: FRR notices in time, and takes us back.
    let [own, neighbour] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().unwrap());
    let frozen = within("us", || Frozen::start(own, neighbour, 50, PATIENT));
    until_peer(NEAR, "\"remote-transmit-interval\":50");
    let at = std::time::Instant::now();
    frozen.signal(Signal::SIGSTOP);
    until_peer(NEAR, "\"status\":\"down\"");
    assert!(at.elapsed() <= 1200 * MS + ASKING, "{:?}", at.elapsed());
    frozen.signal(Signal::SIGCONT);
    until_peer(NEAR, "\"status\":\"up\"");
}
