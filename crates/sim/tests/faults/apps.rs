//! Faults of apps and of the way to them: 1 to 7.

use proxima_sim::{DampingShape, FaultKind, Gone, MS, SECOND, Shape};
use proxima_types::ReachState;

use crate::{Fact, READY, Scenario, any_change, any_lost, app, came, goes, lost, lost_by, region, unguarded};

#[test]
fn fault_1_one_app_of_four_killed_withdraws_nothing() {
    Scenario::new(region()).fault(10 * SECOND, 20 * SECOND, FaultKind::Kill(app(0, 2))).holds(|told| {
        // A quarter of the capacity: de-preferred as configured, at once, and back when the app is.
        told.within(10 * SECOND, 200 * MS, goes(0, ReachState::DePreferred));
        told.within(30 * SECOND, SECOND, goes(0, ReachState::Announced));
        told.never(READY, any_lost);
    });
}

#[test]
fn fault_2_a_region_without_apps_is_withdrawn_and_the_others_stay() {
    Scenario::new(unguarded()).fault(10 * SECOND, 30 * SECOND, FaultKind::KillRegion(0)).holds(|told| {
        told.within(10 * SECOND, 200 * MS, lost_by(0, Gone::Withdrawn));
        told.never(READY, lost(1));
        told.never(READY, lost(2));
        told.within(40 * SECOND, SECOND, came(0));
    });
}

#[test]
fn fault_2_a_guarded_region_without_apps_goes_once_others_are_seen_for_the_quiet_period() {
    let shape = region();
    let quiet = shape.quiet();
    Scenario::new(shape).fault(10 * SECOND, 30 * SECOND, FaultKind::KillRegion(0)).holds(|told| {
        // De-preferred as hard as routers allow at once, withdrawn after.
        told.within(10 * SECOND, 200 * MS, came(0));
        let gone = told.within(10 * SECOND, quiet + 200 * MS, lost_by(0, Gone::Withdrawn));
        assert!(gone >= 10 * SECOND + quiet);
        told.never(READY, lost(1));
        told.never(READY, lost(2));
    });
}

#[test]
fn fault_3_apps_that_hang_are_noticed_by_their_probes() {
    let shape = unguarded();
    // The next probe, and then one after the other: undecided, they wait for each other's end only.
    let timeouts = u64::from(shape.fall) * shape.timeout;
    let noticed = shape.interval * 11 / 10 + timeouts;
    Scenario::new(shape).fault(10 * SECOND, 30 * SECOND, FaultKind::HangRegion(0)).holds(|told| {
        let gone = told.within(10 * SECOND, noticed + 100 * MS, lost_by(0, Gone::Withdrawn));
        assert!(gone >= 10 * SECOND + timeouts, "not by one probe: {gone}");
        told.never(READY, lost(1));
    });
}

#[test]
fn fault_4_errors_and_slowness_degrade_as_configured() {
    for kind in [FaultKind::Errors, FaultKind::Slow] {
        // One of four: below `degraded`, above `withdrawn`.
        Scenario::new(unguarded()).fault(10 * SECOND, 20 * SECOND, kind(app(0, 1))).holds(|told| {
            told.within(10 * SECOND, 5 * SECOND, goes(0, ReachState::DePreferred));
            told.never(READY, any_lost);
        });
        // Three of four: below both.
        let mut worse = Scenario::new(unguarded());
        for backend in 0..3 {
            worse = worse.fault(10 * SECOND, 20 * SECOND, kind(app(0, backend)));
        }
        worse.holds(|told| {
            told.within(10 * SECOND, 5 * SECOND, lost_by(0, Gone::Withdrawn));
        });
        // Where nothing is to be de-preferred nothing is.
        let mut shape = unguarded();
        shape.groups[0].degraded = None;
        Scenario::new(shape).fault(10 * SECOND, 20 * SECOND, kind(app(0, 1))).holds(|told| {
            told.never(READY, any_change);
        });
    }
}

/// One backend that dies and comes back at 1 Hz for 40 s: how often its router hears of it.
fn flap_at_1_hz(damping: Option<DampingShape>, limit: usize) {
    let mut shape = Shape { rise: 1, ..Shape::plain(3, 1) };
    shape.groups[0].guard = None;
    shape.groups[0].degraded = None;
    shape.groups[0].damping = damping;
    Scenario::new(shape).fault(10 * SECOND, 40 * SECOND, FaultKind::Flap(app(0, 0), 500 * MS)).holds(
        |told| {
            let heard = told.count(READY, |fact| came(0)(fact) || lost(0)(fact));
            assert!(heard >= 1 && heard <= limit, "{heard} UPDATEs\n{}", (told.timeline)());
        },
    );
}

#[test]
fn fault_5_an_app_that_flaps_is_heard_of_once_per_hold_down_and_once_after() {
    // 40 s with a hold-down of 10 s: at most four times withdrawn, and announced as often.
    flap_at_1_hz(None, 8);
}

#[test]
fn fault_5_an_app_that_flaps_is_damped() {
    let damping = DampingShape { half_life: 60 * SECOND, suppress: 2.0, reuse: 0.5, most: 180 * SECOND };
    // Withdrawn, back after the hold-down, withdrawn, back, and then held until the penalty has fallen.
    flap_at_1_hz(Some(damping), 5);
}

#[test]
fn fault_5_one_of_several_apps_that_flaps_is_damped_too() {
    // De-preferred and preferred in turn, which no hold-down holds back: damping does, by the defaults of a group.
    let mut shape = Shape { rise: 1, ..Shape::plain(3, 3) };
    shape.groups[0].guard = None;
    shape.groups[0].damping =
        Some(DampingShape { half_life: 60 * SECOND, suppress: 3.0, reuse: 1.0, most: 240 * SECOND });
    assert!(shape.groups[0].degraded.is_some(), "two of three are too few");
    Scenario::new(shape).fault(10 * SECOND, 40 * SECOND, FaultKind::Flap(app(0, 0), 500 * MS)).holds(
        |told| {
            let heard = told.count(READY, |fact| came(0)(fact) || lost(0)(fact));
            // Three times less attractive, twice better again; the fourth time it would be is never.
            assert!((3..=7).contains(&heard), "{heard} UPDATEs\n{}", (told.timeline)());
        },
    );
}

#[test]
fn fault_6_loss_on_the_way_to_the_apps_flaps_nothing() {
    // A lost SYN is sent again after a second: a probe has to wait for that.
    let shape = Shape { interval: 2 * SECOND, timeout: 1500 * MS, fall: 5, ..region() };
    Scenario::new(shape)
        .fault(10 * SECOND, 45 * SECOND, FaultKind::ProbeLoss(0, 20))
        .holds(|told| told.never(READY, any_change));
}

#[test]
fn fault_7_a_cut_way_of_probes_counts_as_configured() {
    Scenario::new(unguarded()).fault(10 * SECOND, 15 * SECOND, FaultKind::ProbeCut(0)).holds(|told| {
        let gone = told.within(10 * SECOND, 5 * SECOND, goes(0, ReachState::Withdrawn));
        let why = |fact: &Fact| matches!(fact, Fact::Transition { why, .. } if why.contains("of 4 up"));
        told.within(gone, 0, why);
    });
    // A PoP that answers by itself stays.
    let mut shape = unguarded();
    shape.groups[0].withdrawn = None;
    Scenario::new(shape).fault(10 * SECOND, 15 * SECOND, FaultKind::ProbeCut(0)).holds(|told| {
        told.within(10 * SECOND, 5 * SECOND, goes(0, ReachState::DePreferred));
        told.never(READY, any_lost);
    });
}
