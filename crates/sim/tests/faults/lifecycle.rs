//! Faults of daemons, threads and hosts: 12 to 15, 36.

use proxima_sim::{Fact, FaultKind, Gone, MS, SECOND, Verb};
use proxima_types::ReachState;

use crate::{READY, Scenario, any_change, app, came, goes, lost, lost_by, region, unguarded};

fn started(of: u8) -> impl Fn(&Fact) -> bool {
    move |fact| matches!(fact, Fact::Started(pop) if *pop == of)
}

#[test]
fn fault_12_a_killed_daemon_is_gone_from_its_router_at_once_and_back_after_verdicts() {
    Scenario::new(region()).fault(10 * SECOND, 5 * SECOND, FaultKind::Crash(0)).holds(|told| {
        told.within(10 * SECOND, 50 * MS, lost_by(0, Gone::Session));
        let back = told.within(10 * SECOND, 6 * SECOND, started(0));
        let decided = told.within(back, SECOND, goes(0, ReachState::Announced));
        assert!(told.within(back, 5 * SECOND, came(0)) > decided);
        told.never(READY, lost(1));
    });
}

#[test]
fn fault_12_a_daemon_that_comes_back_without_apps_announces_nothing_by_itself() {
    Scenario::new(unguarded())
        .fault(10 * SECOND, 2 * SECOND, FaultKind::Crash(0))
        .fault(10 * SECOND, 20 * SECOND, FaultKind::KillRegion(0))
        .holds(|told| {
            let back = told.within(10 * SECOND, 3 * SECOND, started(0));
            let came_back = told.first(back, came(0)).expect("it comes back with its apps");
            assert!(came_back > 30 * SECOND, "{}", (told.timeline)());
        });
}

#[test]
fn fault_13_a_stuck_worker_withdraws_until_it_beats_again() {
    Scenario::new(region()).fault(10 * SECOND, 5 * SECOND, FaultKind::Worker(0)).holds(|told| {
        let gone = told.within(10 * SECOND, 1300 * MS, lost_by(0, Gone::Withdrawn));
        // Not before the hold-down is over, which began with the withdrawal; news take a few milliseconds.
        let back = told.within(15 * SECOND, 10 * SECOND, came(0));
        assert!(back + 50 * MS >= gone + 10 * SECOND, "gone at {gone}, back at {back}");
    });
}

#[test]
fn fault_14_a_stuck_control_thread_is_noticed_by_the_hold_timer_and_its_watchdog() {
    Scenario::new(region()).fault(10 * SECOND, 30 * SECOND, FaultKind::Stuck(0)).holds(|told| {
        told.within(10 * SECOND, 9 * SECOND + 100 * MS, lost_by(0, Gone::Session));
        let restarted = told.within(15 * SECOND, 6 * SECOND, started(0));
        assert!(restarted >= 20 * SECOND, "{restarted}");
        told.within(restarted, 5 * SECOND, came(0));
    });
}

#[test]
fn fault_15_a_frozen_host_is_gone_by_bfd_and_does_not_trust_what_it_knew() {
    Scenario::new(unguarded())
        .fault(10 * SECOND, 10 * SECOND, FaultKind::Freeze(0))
        .fault(12 * SECOND, 30 * SECOND, FaultKind::KillRegion(0))
        .holds(|told| {
            told.within(10 * SECOND, 300 * MS, lost_by(0, Gone::Session));
            // Its apps died meanwhile: nothing is announced by what was known before.
            let back = told.first(10 * SECOND + 300 * MS, came(0)).expect("it comes back with its apps");
            assert!(back > 42 * SECOND, "{}", (told.timeline)());
        });
}

#[test]
fn fault_36_a_busy_host_keeps_its_sessions_and_verdicts() {
    let busy = |lag| {
        (0..3).fold(Scenario::new(region()), |scenario, pop| {
            scenario.fault(10 * SECOND, 40 * SECOND, FaultKind::Hog(pop, lag))
        })
    };
    busy(100 * MS).holds(|told| told.never(READY, any_change));
    // And does what it has to, a little later.
    busy(100 * MS).fault(20 * SECOND, 10 * SECOND, FaultKind::Kill(app(0, 0))).holds(|told| {
        told.within(20 * SECOND, 2 * SECOND, goes(0, ReachState::DePreferred));
        told.never(READY, lost(0));
    });
}

#[test]
fn a_stop_goes_in_order_and_the_daemon_comes_back() {
    let shape = region();
    let graceful = shape.graceful;
    Scenario::new(shape).fault(10 * SECOND, 10 * SECOND, FaultKind::Stop(0)).holds(|told| {
        told.within(10 * SECOND, 100 * MS, came(0)); // with GRACEFUL_SHUTDOWN, which a rule asks for
        let gone = told.within(10 * SECOND, graceful + 200 * MS, lost_by(0, Gone::Withdrawn));
        assert!(gone >= 10 * SECOND + graceful);
        told.never(gone + 1, |fact| matches!(fact, Fact::Lost { link: 0, .. }));
        told.within(20 * SECOND, 6 * SECOND, came(0));
    });
}

#[test]
fn an_order_ends_by_itself_and_health_decides_again() {
    Scenario::new(region()).fault(10 * SECOND, 10 * SECOND, FaultKind::OrderUntil(0, Verb::Withdraw)).holds(
        |told| {
            told.within(10 * SECOND, 100 * MS, lost_by(0, Gone::Withdrawn));
            told.within(20 * SECOND, 200 * MS, came(0));
        },
    );
}
