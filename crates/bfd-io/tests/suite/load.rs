//! 10 ms × 3 while every core is busy. The longer runs are in `examples/load.rs`.
//!
//! A machine that takes a core away altogether, as a hypervisor may, or a kernel that cannot be interrupted for long, defeats
//! every real-time thread. So a watch of higher priority runs on each core: a round in which it was kept waiting itself
//! shows nothing, and another one is run.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use proxima_bfd_io::Priority;

use crate::common::{Host, MS, pause, session, settings};

/// A wait of the watch for longer than this makes a round worthless.
const STALL: Duration = Duration::from_millis(5);
const ROUNDS: usize = 10;

#[test]
fn ten_milliseconds_times_three_holds_while_every_core_is_busy() {
    for round in 0..ROUNDS {
        let (failures, stall) = busy_round(round as u8);
        if failures == 0 {
            return;
        }
        assert!(stall > STALL, "{failures} failures although every core was to be had within {stall:?}");
    }
    panic!(
        "not shown in {ROUNDS} rounds: this machine stalls real-time threads for more than {STALL:?} all the time; run it \
         where cores are not taken away"
    );
}

/// How often a session failed, and how long a real-time thread was kept waiting at the most.
fn busy_round(round: u8) -> (usize, Duration) {
    let [a, b] = [1, 2].map(|end| Ipv4Addr::new(127, 38, round, end));
    let mut hosts = [Host::at(a), Host::at(b)];
    let priority = hosts[0].handle.host().unwrap().priority;
    assert!(
        matches!(priority, Priority::RealTime(_)),
        "real-time priority is not allowed here, and nothing holds without: run the tests as root or with CAP_SYS_NICE, or \
         allow it by `ulimit -r 60`, in a container by `--cap-add SYS_NICE` or `--ulimit rtprio=60`; the thread is {priority}"
    );
    for (host, [own, other]) in hosts.iter_mut().zip([[a, b], [b, a]]) {
        let mut config = session("other", own.into(), other.into());
        config.settings = settings(10 * MS, 3);
        host.handle.add(config).unwrap();
    }
    for host in &mut hosts {
        host.settled("other");
    }
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let cores: Vec<_> = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap()).collect();
    let busy = AtomicBool::new(true);
    let stall = thread::scope(|scope| {
        for _ in 0..2 * cores.len() {
            scope.spawn(|| {
                while busy.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let watches: Vec<_> = cores.iter().map(|core| scope.spawn(|| watch(*core, &busy))).collect();
        // As long as it takes to send some 200 packets, each of which may be late.
        pause(Duration::from_secs(2));
        busy.store(false, Ordering::Relaxed);
        watches.into_iter().map(|watch| watch.join().unwrap()).max()
    });
    let sent = hosts.iter().map(|host| host.status("other").session.counters.sent).min();
    let failures = hosts.iter().map(|host| host.status("other").session.counters.flaps as usize).sum();
    assert!(failures > 0 || sent > Some(190), "{sent:?}");
    (failures, stall.unwrap())
}

/// How much longer than a millisecond a thread of high priority sleeps on `core`, at the most.
fn watch(core: usize, busy: &AtomicBool) -> Duration {
    let mut set = CpuSet::new();
    set.set(core).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
    proxima_sys::set_fifo(60).unwrap();
    let mut worst = Duration::ZERO;
    while busy.load(Ordering::Relaxed) {
        let before = Instant::now();
        pause(MS);
        worst = worst.max(before.elapsed().saturating_sub(MS));
    }
    worst
}
