//! Faults of several PoPs at once, and of what they see of each other: 8 to 11.

use proxima_sim::{FaultKind, MS, SECOND, Shape};

use crate::{READY, Scenario, alarm, any_change, any_lost, lost, region};

#[test]
fn fault_8_of_pops_that_fail_together_one_stays_and_says_so() {
    for within in [0, 50 * MS, 400 * MS, 3 * SECOND] {
        Scenario::new(region()).fault(10 * SECOND, 30 * SECOND, FaultKind::KillAll(within)).holds(|told| {
            told.always_announced(READY);
            told.within(10 * SECOND, within + 2 * SECOND, alarm("the last announcer"));
            // All but one leave.
            assert!(told.count(READY, any_lost) >= 2, "{}", (told.timeline)());
        });
    }
}

#[test]
fn fault_9_of_two_pops_that_fail_within_a_round_trip_one_stays() {
    let shape = Shape { propagation: 200 * MS, ..Shape::plain(2, 4) };
    for apart in [0, 1, 50, 100, 199, 200, 201, 399, 400, 450] {
        Scenario::new(shape.clone())
            .fault(10 * SECOND, 30 * SECOND, FaultKind::KillRegion(0))
            .fault(10 * SECOND + apart * MS, 30 * SECOND, FaultKind::KillRegion(1))
            .holds(|told| {
                told.always_announced(READY);
                told.within(10 * SECOND, 2 * SECOND, alarm("the last announcer"));
            });
    }
}

#[test]
fn fault_10_a_pop_parted_from_all_others_stays_as_it_is() {
    Scenario::new(region()).fault(10 * SECOND, 40 * SECOND, FaultKind::Isolate(0)).holds(|told| {
        told.never(READY, any_change);
    });
    // Also when its region fails then: nobody else is seen.
    Scenario::new(region())
        .fault(10 * SECOND, 45 * SECOND, FaultKind::Isolate(0))
        .fault(25 * SECOND, 20 * SECOND, FaultKind::KillRegion(0))
        .holds(|told| {
            told.never(READY, lost(0));
            told.within(25 * SECOND, 2 * SECOND, alarm("the last announcer"));
        });
}

#[test]
fn fault_11_a_pop_that_hears_nothing_stays_as_it_is() {
    let deaf = |scenario: Scenario| {
        [1, 2].into_iter().fold(scenario, |scenario, of| {
            scenario.fault(10 * SECOND, 45 * SECOND, FaultKind::WanCut { of, at: 0, both: false })
        })
    };
    deaf(Scenario::new(region())).holds(|told| told.never(READY, any_change));
    deaf(Scenario::new(region())).fault(25 * SECOND, 20 * SECOND, FaultKind::KillRegion(0)).holds(|told| {
        told.never(READY, lost(0));
        told.within(25 * SECOND, 2 * SECOND, alarm("the last announcer"));
    });
}
