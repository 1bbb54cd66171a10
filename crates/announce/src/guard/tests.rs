use proptest::prelude::*;

use super::*;
use crate::testing::{AS, QUIET, SECOND, SELF, guard, origin, sees, start};

const LEAVE: Ask = Ask { leave: true, announced: true, held: false };
const STAY_AWAY: Ask = Ask { announced: false, ..LEAVE };

fn seeing(others: &[i8]) -> Guard {
    let mut guard = Guard::new(guard());
    guard.see(sees(others));
    guard
}

/// A guard that has left, at the time returned.
fn left() -> (Guard, Instant) {
    let (mut guard, now) = (seeing(&[1]), start());
    guard.decide(now, LEAVE);
    assert_eq!(guard.decide(now + QUIET, LEAVE), Stand::Left);
    (guard, now + QUIET)
}

#[test]
fn a_route_tells_its_origin_and_whether_that_leaves() {
    let of = |marks: &[(u32, u32, u32)]| {
        let community = |&(global, local1, local2): &_| LargeCommunity { global, local1, local2 };
        Sighting::of(AS, marks.iter().map(community))
    };
    let (one, two) = (origin(1).0, origin(2).0);
    let sighting = |leaving| Some(Sighting { origin: origin(1), leaving });
    for (why, marks, expected) in [
        ("nothing", &[][..], None),
        ("its mark", &[(AS.0, 1, one)], sighting(false)),
        ("both marks", &[(AS.0, 1, one), (AS.0, 2, one)], sighting(true)),
        ("both marks, the other way round", &[(AS.0, 2, one), (AS.0, 1, one)], sighting(true)),
        ("the same mark twice", &[(AS.0, 1, one), (AS.0, 1, one)], sighting(false)),
        ("of two origins", &[(AS.0, 1, one), (AS.0, 1, two)], None),
        ("leaving, of nobody", &[(AS.0, 2, one)], None),
        ("leaving, of another", &[(AS.0, 1, one), (AS.0, 2, two)], sighting(false)),
        ("of another AS", &[(AS.0 + 1, 1, one)], None),
        ("others' communities", &[(AS.0, 3, 7), (AS.0, 1, one), (7, 1, two)], sighting(false)),
    ] {
        assert_eq!(of(marks), expected, "{why}");
    }
    let (origin_mark, leaving_mark) = (guard().origin_mark(), guard().leaving_mark());
    let own = Sighting::of(AS, [origin_mark, leaving_mark]);
    assert_eq!(own, Some(Sighting { origin: origin(SELF), leaving: true }), "what it sets, others read");
}

#[test]
fn those_count_who_stay_when_this_pop_leaves() {
    for (others, counted) in [
        (&[][..], 0),
        (&[1], 1),
        (&[7], 1),
        (&[-1], 1), // it has the higher rank
        (&[-7], 0), // it will stay only if this one does not
        (&[-1, -2, -7, 8], 3),
        (&[3], 0),     // itself
        (&[7, -7], 0), // twice, of which one says that it leaves
        (&[-1, 1, 2, 2], 2),
    ] {
        let evidence = seeing(others).evidence();
        assert_eq!((evidence.counted, evidence.suffices()), (counted, counted > 0), "{others:?}");
    }
    let mut guard = seeing(&[1, 2]);
    guard.see(View { observing: false, ..sees(&[1, 2]) });
    assert!(!guard.evidence().suffices(), "nothing can be concluded");
}

#[test]
fn it_leaves_after_the_quiet_period_if_enough_others_are_seen() {
    let (mut guard, now) = (seeing(&[]), start());
    let marked = |waits| Stand::Marked { since: now, waits };
    assert_eq!(guard.decide(now, Ask { leave: false, ..LEAVE }), Stand::Free);
    assert_eq!(guard.decide(now, LEAVE), marked(Waits::Quiet(now + QUIET)));
    assert_eq!(guard.poll_timeout(), Some(now + QUIET));
    guard.see(sees(&[-7]));
    assert_eq!(guard.decide(now + QUIET, LEAVE), marked(Waits::Others));
    assert_eq!(guard.poll_timeout(), None);
    guard.see(sees(&[7]));
    let held = Ask { held: true, ..LEAVE };
    assert_eq!(guard.decide(now + QUIET, held), marked(Waits::Nothing), "something else keeps it");
    assert_eq!(guard.decide(now + QUIET, LEAVE), Stand::Left);
}

#[test]
fn the_quiet_period_begins_anew_when_health_had_no_longer_asked() {
    let (mut guard, now) = (seeing(&[1]), start());
    guard.decide(now, LEAVE);
    guard.decide(now + QUIET / 2, Ask { leave: false, ..LEAVE });
    assert_eq!(guard.marked_for(now + QUIET / 2), None);
    guard.decide(now + QUIET / 2, LEAVE);
    assert_eq!(guard.poll_timeout(), Some(now + QUIET / 2 + QUIET));
}

#[test]
fn who_has_left_relies_on_those_who_leave_too() {
    let (mut guard, now) = left();
    guard.see(sees(&[-7]));
    assert_eq!(guard.decide(now, STAY_AWAY), Stand::Left);
    guard.see(sees(&[]));
    let waits = Waits::Quiet(now + QUIET * 2);
    assert_eq!(guard.decide(now, STAY_AWAY), Stand::Marked { since: now, waits });
}

#[test]
fn each_return_doubles_the_quiet_period_until_there_was_calm() {
    let (mut guard, mut now) = left();
    for doubled in [2, 4, 8, 16, 32, 64, 64] {
        guard.see(sees(&[]));
        guard.decide(now, STAY_AWAY);
        assert_eq!(guard.quiet(now), QUIET * doubled);
        guard.see(sees(&[1]));
        guard.decide(now, LEAVE);
        let due = guard.poll_timeout().unwrap();
        assert_eq!(due, now + QUIET * doubled);
        now = due;
        assert_eq!(guard.decide(now, LEAVE), Stand::Left);
    }
    now += guard.config().calm.saturating_sub(guard.returned_for(now).unwrap());
    assert_eq!((guard.quiet(now), guard.returned_for(now)), (QUIET, None));
    guard.see(sees(&[]));
    guard.decide(now, STAY_AWAY);
    assert_eq!(guard.quiet(now), QUIET * 2, "begins anew");
}

#[test]
fn the_end_of_the_calm_ends_a_doubled_quiet_period() {
    let (mut guard, now) = left();
    guard.reconfigure(GuardConfig { calm: QUIET + SECOND, ..*guard.config() });
    guard.see(sees(&[]));
    guard.decide(now, STAY_AWAY);
    guard.see(sees(&[1]));
    guard.decide(now, LEAVE);
    assert_eq!(guard.poll_timeout(), Some(now + QUIET + SECOND));
    assert_eq!(
        guard.decide(now + QUIET, LEAVE),
        Stand::Marked { since: now, waits: Waits::Quiet(now + QUIET * 2) }
    );
    assert_eq!(guard.decide(now + QUIET + SECOND, LEAVE), Stand::Left);
}

#[test]
fn other_settings_keep_what_was_seen_and_the_time_marked() {
    let (mut guard, now) = (seeing(&[1]), start());
    guard.decide(now, LEAVE);
    let longer = GuardConfig { quiet: QUIET * 2, ..*guard.config() };
    guard.reconfigure(longer);
    guard.decide(now + QUIET, LEAVE);
    assert_eq!(guard.poll_timeout(), Some(now + QUIET * 2));
    guard.reconfigure(GuardConfig { min_announcers: 2, ..longer });
    assert_eq!(
        guard.decide(now + QUIET * 2, LEAVE),
        Stand::Marked { since: now, waits: Waits::Others },
        "two are needed now"
    );
}

#[test]
fn what_is_seen_is_told() {
    for (view, told) in [
        (View::default(), "nothing observes who else announces"),
        (sees(&[]), "0 of 1 other announcers"),
        (sees(&[-7, 1]), "1 of 1 other announcers: 192.0.2.1, 192.0.2.7 (leaving)"),
    ] {
        let mut guard = Guard::new(guard());
        guard.see(view);
        assert_eq!(guard.evidence().to_string(), told);
    }
}

#[derive(Debug, Clone)]
enum Step {
    See(Option<Vec<i8>>),
    Wants(bool),
    Held(bool),
    Wait(Duration),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        proptest::option::weighted(0.8, proptest::collection::vec(-5i8..=5, 0..4)).prop_map(Step::See),
        proptest::bool::weighted(0.8).prop_map(Step::Wants),
        proptest::bool::weighted(0.2).prop_map(Step::Held),
        (0u64..60).prop_map(|seconds| Step::Wait(SECOND * seconds as u32)),
    ]
}

proptest! {
    #[test]
    fn every_history_keeps_the_rule(
        min_announcers in 1u32..3,
        steps in proptest::collection::vec(any_step(), 1..80),
    ) {
        let mut guard = Guard::new(GuardConfig { min_announcers, ..guard() });
        let (mut now, mut ask, mut marked_since) = (start(), Ask { leave: false, ..LEAVE }, None);
        for step in steps {
            match step {
                Step::See(others) => guard.see(others.map_or(View::default(), |others| sees(&others))),
                Step::Wants(leave) => ask.leave = leave,
                Step::Held(held) => ask.held = held,
                Step::Wait(time) => now += time,
            }
            let evidence = guard.evidence();
            let stand = guard.decide(now, ask);
            prop_assert_eq!(stand == Stand::Free, !ask.leave);
            match stand {
                Stand::Free => marked_since = None,
                Stand::Marked { since, .. } => {
                    let begun = *marked_since.get_or_insert(now);
                    prop_assert_eq!(since, begun, "it is marked all the time");
                }
                Stand::Left if ask.announced => {
                    prop_assert!(evidence.suffices() && !ask.held);
                    prop_assert!(marked_since.take().is_some_and(|since| now >= since + QUIET));
                }
                Stand::Left => {
                    let (seen, least) = (guard.evidence().others.len(), min_announcers as usize);
                    prop_assert!(!guard.evidence().observing || seen >= least, "it stays away from the last");
                }
            }
            ask.announced = stand != Stand::Left;
            prop_assert!(guard.poll_timeout().is_none_or(|due| due > now), "nothing is due twice");
        }
    }
}
