//! Faults of regions and of configurations: 25, 33; and what once went wrong.

use proxima_sim::{App, FaultKind, Gone, GroupShape, MS, Revision, SECOND, Shape};

use crate::{READY, Scenario, any_change, lost, lost_by, refused, region};

#[test]
fn fault_25_a_dead_region_is_gone_within_a_second_and_the_next_is_there() {
    // Its apps; its daemon; its power.
    for kind in [FaultKind::KillRegion(0), FaultKind::Crash(0), FaultKind::PowerLoss(0)] {
        Scenario::new(region()).fault(10 * SECOND, 20 * SECOND, kind).holds(|told| {
            told.within(10 * SECOND, SECOND, lost(0));
            told.never(READY, lost(1));
            told.never(READY, lost(2));
            told.always_announced(READY);
        });
    }
}

#[test]
fn fault_33_an_emptied_configuration_is_refused_whole() {
    let mut shape = region();
    shape.groups.push(GroupShape::plain());
    // Other attributes are in the same file, and not taken either; without the fault, they are.
    Scenario::new(shape)
        .fault(10 * SECOND, 20 * SECOND, FaultKind::Reconfigure(0, Revision::Emptied))
        .fault(15 * SECOND, 20 * SECOND, FaultKind::Reconfigure(0, Revision::Attributes))
        .holds(|told| {
            told.within(10 * SECOND, MS, refused(0));
            told.within(15 * SECOND, MS, refused(0));
            assert_eq!(told.count(READY, refused(0)), 2, "{}", (told.timeline)());
            let came = told.first(READY, any_change).expect("the attributes, when the file is sound again");
            assert!(came >= 30 * SECOND, "{}", (told.timeline)());
            told.never(READY, lost(0));
        });
}

#[test]
fn fault_33_bounds_that_nothing_meets_are_refused_while_they_would_silence() {
    let strict = FaultKind::Reconfigure(0, Revision::Strict);
    // One of four backends is down, which the bounds in force allow.
    let one = FaultKind::Kill(App { pop: 0, backend: 0 });
    Scenario::new(region())
        .fault(10 * SECOND, 20 * SECOND, one)
        .fault(15 * SECOND, 2 * SECOND, strict)
        .holds(|told| {
            told.within(15 * SECOND, MS, refused(0));
            told.never(READY, lost(0));
        });
    // All are up, and then the same file is sound.
    Scenario::new(region()).fault(15 * SECOND, 2 * SECOND, strict).holds(|told| {
        told.never(READY, refused(0));
        told.never(READY, any_change);
    });
}

#[test]
fn fault_33_a_group_that_is_taken_out_is_withdrawn_and_the_others_are_left_alone() {
    let mut shape = region();
    shape.groups.push(GroupShape::plain());
    Scenario::new(shape)
        .fault(10 * SECOND, 20 * SECOND, FaultKind::Reconfigure(0, Revision::FewerGroups))
        .holds(|told| {
            told.within(10 * SECOND, 100 * MS, lost_by(0, Gone::Withdrawn));
            assert_eq!(told.count(READY, any_change), 4, "goes and comes, at the PoP and its router");
        });
}

#[test]
fn a_group_that_comes_while_the_prober_is_dead_is_not_announced() {
    let mut shape = Shape { dead_man: Some(6 * SECOND), ..region() };
    shape.groups.push(GroupShape { guard: None, ..GroupShape::plain() });
    // It goes and comes again when all that is known is old.
    Scenario::new(shape)
        .fault(10 * SECOND, 20 * SECOND, FaultKind::Checker(0))
        .fault(20 * SECOND, SECOND, FaultKind::Reconfigure(0, Revision::FewerGroups))
        .holds(|told| {
            let announced = |fact: &_| crate::goes(0, proxima_types::ReachState::Announced)(fact);
            let back = told.first(17 * SECOND, announced).expect("the prober comes back");
            assert!(back > 30 * SECOND, "{}", (told.timeline)());
        });
}

#[test]
fn what_the_guard_brought_back_stays_guarded_while_a_hold_down_runs() {
    // Blind and held down after a standstill it is brought back; then its prober begins anew, and knows nothing for a moment.
    let mut shape = Shape { hold_time: 3 * SECOND, dead_man: Some(4500 * MS), ..Shape::plain(3, 1) };
    shape.groups[0].hold_down = 20 * SECOND;
    Scenario::new(shape)
        .fault(10 * SECOND, 5 * SECOND, FaultKind::Stuck(0))
        .fault(14 * SECOND, 30 * SECOND, FaultKind::LinkCut(0, proxima_sim::Direction::Both))
        .fault(18 * SECOND, SECOND, FaultKind::Checker(0))
        .holds(|told| {
            let withdrawn = crate::goes(0, proxima_types::ReachState::Withdrawn);
            assert_eq!(told.count(READY, withdrawn), 1, "{}", (told.timeline)());
        });
}
