//! 10 ms × 3 while every core is busy. The longer runs are in `examples/load.rs`.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::common::{Host, MS, assert_real_time, cores, in_real_time, pause, session, settings};

#[test]
fn ten_milliseconds_times_three_holds_while_every_core_is_busy() {
    in_real_time(busy_round);
}

/// How often a session failed.
fn busy_round(round: u8) -> usize {
    let [a, b] = [1, 2].map(|end| Ipv4Addr::new(127, 38, round, end));
    let mut hosts = [Host::at(a), Host::at(b)];
    assert_real_time(&hosts[0]);
    for (host, [own, other]) in hosts.iter_mut().zip([[a, b], [b, a]]) {
        let mut config = session("other", own.into(), other.into());
        config.settings = settings(10 * MS, 3);
        host.handle.add(config).unwrap();
    }
    for host in &mut hosts {
        host.settled("other");
    }
    let busy = AtomicBool::new(true);
    thread::scope(|scope| {
        for _ in 0..2 * cores().len() {
            scope.spawn(|| {
                while busy.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        // As long as it takes to send some 200 packets, each of which may be late.
        pause(Duration::from_secs(2));
        busy.store(false, Ordering::Relaxed);
    });
    let sent = hosts.iter().map(|host| host.status("other").session.counters.sent).min();
    let failures = hosts.iter().map(|host| host.status("other").session.counters.flaps as usize).sum();
    assert!(failures > 0 || sent > Some(190), "{sent:?}");
    failures
}
