//! What holds a withdrawal back, and what does not wait.

use super::*;
use crate::{
    Damping, Withdrawn,
    testing::{QUIET, SECOND, guard, withdrawn},
};

const MIN_UP: Duration = Duration::from_secs(30);
const DEAD_MAN: Duration = Duration::from_secs(5);

fn with_min_up() -> World {
    let withdrawn = Withdrawn { min_up: MIN_UP, ..withdrawn() };
    let mut world = World::new(GroupConfig { when_down: WhenDown::Withdraw(withdrawn), ..config() });
    world.score(1.0);
    world
}

/// A group with a guard that has seen `others`, and serves.
fn guarded(others: &[i8]) -> World {
    let mut world = World::new(GroupConfig { guard: Some(guard()), ..config() });
    world.sees(others);
    world.score(1.0);
    world
}

/// One with a dead man, whose newest probe ends now.
fn checked(config: GroupConfig) -> World {
    let mut world = World::new(GroupConfig { dead_man: Some(DEAD_MAN), ..config });
    world.input(Input::Checked(world.now));
    world.score(1.0);
    world
}

#[test]
fn the_least_time_announced_holds_a_withdrawal_back_and_ends_by_itself() {
    let mut world = with_min_up();
    world.wait(SECOND);
    assert_eq!(
        world.score(0.0),
        ["announced → de-preferred: score at zero: 0.00; not withdrawn: the least time announced of 30s"]
    );
    assert_eq!(world.communities(), ["64512:100", "64512:666", "65535:0"]);
    let told =
        "de-preferred → withdrawn: score at zero: 0.00; held until now by the least time announced of 30s";
    assert_eq!(world.next(), (SECOND * 29, vec![told.to_owned()]));
    world.score(1.0);
    assert_eq!(world.next().0, HOLD_DOWN, "the hold-down begins with the withdrawal");
}

#[test]
fn a_group_that_recovers_within_the_least_time_was_never_withdrawn_and_is_not_held_down() {
    let mut world = with_min_up();
    world.score(0.0);
    assert_eq!(world.score(1.0), ["de-preferred → announced: score not below 0.60: 1.00"]);
    assert_eq!(world.communities(), ["64512:100"]);
    assert_eq!(world.group.poll_timeout(), None);
    world.wait(MIN_UP);
    assert_eq!(world.score(0.0), ["announced → withdrawn: score at zero: 0.00"], "it is over");
}

#[test]
fn a_fault_does_not_wait_and_is_told_also_where_the_score_had_asked_before() {
    let mut world = with_min_up();
    world.score(0.0);
    assert_eq!(world.fault(Some("worker 1 is stuck")), ["de-preferred → withdrawn: worker 1 is stuck"]);
    assert_eq!(world.fault(None), [""; 0]);
    assert_eq!(world.group.reason().unwrap().to_string(), "score at zero: 0.00");
    let mut world = with_min_up();
    world.fault(Some("worker 1 is stuck"));
    world.score(0.5);
    world.fault(None);
    assert_eq!(world.group.reason().unwrap().to_string(), "able to serve again: score 0.50");
    world.score(0.1);
    world.wait(HOLD_DOWN);
    assert_eq!(world.score(0.7).len(), 1);
}

#[test]
fn a_group_that_flaps_is_held_back_until_its_penalty_has_fallen() {
    let damping = Damping {
        half_life: Duration::from_mins(1),
        suppress: 3.0,
        reuse: 1.0,
        most: Duration::from_mins(4),
    };
    let mut world = World::new(GroupConfig { damping: Some(damping), ..config() });
    world.score(1.0);
    for penalty in ["1.00", "2.00"] {
        let told = format!("announced → de-preferred: score below 0.80: 0.70, penalty {penalty}");
        assert_eq!(world.score(0.7), [told]);
        let told = format!("de-preferred → announced: score not below 0.90: 1.00, penalty {penalty}");
        assert_eq!(world.score(1.0), [told]);
    }
    assert_eq!(world.score(0.7).len(), 1);
    assert_eq!(world.score(1.0), [""; 0]);
    assert!(matches!(world.group.held_by(), Some(Hold::Damping { .. })));
    let (due, told) = world.next();
    assert!((due.as_secs_f64() - 60.0 * 3f64.log2()).abs() < 1e-6);
    let held = "held until now by damping: a penalty of 3.00 has to fall to 1.00";
    assert_eq!(told, [format!("de-preferred → announced: score not below 0.90: 1.00, penalty 1.00; {held}")]);
    assert_eq!(world.group.poll_timeout(), None);
}

#[test]
fn a_checker_that_falls_silent_withdraws_the_group_and_all_begins_anew() {
    let mut world = checked(config());
    world.wait(SECOND);
    world.input(Input::Checked(world.now));
    let told = "announced → withdrawn: no probe has ended for 5s (at most 5s)";
    assert_eq!(world.next(), (DEAD_MAN, vec![told.to_owned()]));
    assert_eq!(world.group.score(), None, "what was known is forgotten");
    assert_eq!(world.score(1.0), [""; 0], "a score that rests on no probe");
    world.wait(HOLD_DOWN);
    assert_eq!(
        world.input(Input::Checked(world.now)),
        ["withdrawn → announced: first verdicts known: score 1.00"]
    );
    assert_eq!(world.next().0, DEAD_MAN);
}

#[test]
fn a_freeze_is_noticed_before_the_news_that_come_after_it() {
    for news in [Input::Score(score(1.0)), Input::Fault(None), Input::Order(Order::default())] {
        let mut world = checked(config());
        world.now += Duration::from_mins(1);
        let told = "announced → withdrawn: no probe has ended for 60s (at most 5s)";
        assert_eq!(world.input(news), [told]);
    }
    let mut world = checked(config());
    world.now += Duration::from_mins(1);
    let told = world.input(Input::Checked(world.now));
    assert_eq!(told, ["announced → withdrawn: no probe has ended for 60s (at most 5s)"]);
    let reason = world.group.reason().map(|reason| reason.to_string());
    assert_eq!(
        reason.as_deref(),
        Some("no probe has ended for 60s (at most 5s)"),
        "until there are verdicts"
    );
    assert!(!world.group.is_settled());
    world.score(1.0);
    let mut told = Vec::new();
    for _ in 0..HOLD_DOWN.as_secs() {
        told.extend(world.wait(SECOND));
        told.extend(world.input(Input::Checked(world.now)));
    }
    assert_eq!(
        told,
        ["withdrawn → announced: first verdicts known: score 1.00; held until now by hold-down of 10s"]
    );
}

#[test]
fn verdicts_are_not_believed_while_the_newest_probe_is_too_old() {
    let mut world = checked(config());
    world.next();
    world.input(Input::Checked(world.now));
    world.wait(HOLD_DOWN);
    assert_eq!(world.score(1.0), [""; 0]);
    assert!(!world.group.is_settled());
    assert_eq!(world.input(Input::Checked(world.now)).len(), 1);
}

#[test]
fn a_guarded_group_bears_its_mark_and_says_that_it_leaves_before_it_does() {
    let mut world = guarded(&[1]);
    assert_eq!(world.marks(), ["64512:1:3221225987"]);
    assert_eq!(
        world.score(0.0),
        [
            "announced → de-preferred: score at zero: 0.00; not withdrawn: the guard: marked as leaving for 20s before"
        ]
    );
    assert_eq!(world.marks(), ["64512:1:3221225987", "64512:2:3221225987"]);
    assert_eq!(world.communities().last().unwrap(), "65535:0");
    let told = "de-preferred → withdrawn: score at zero: 0.00; \
        held until now by the guard: marked as leaving for 20s before; 1 of 1 other announcers: 192.0.2.1";
    assert_eq!(world.next(), (QUIET, vec![told.to_owned()]));
    assert_eq!(world.group.poll_timeout(), Some(world.now + HOLD_DOWN));
}

#[test]
fn without_another_it_stays_and_alarms_and_goes_when_one_is_seen() {
    let mut world = guarded(&[]);
    let told = world.score(0.0);
    assert_eq!(told.len(), 2);
    let alarm = "the last announcer: it stays although its region can't serve (0 of 1 other announcers)";
    assert_eq!(told[1], format!("alarm: {alarm}"));
    assert_eq!(world.next(), (QUIET, vec![]));
    assert_eq!(world.group.poll_timeout(), None, "it waits for others");
    assert_eq!(world.wait(QUIET * 100), [""; 0]);
    let reason = world.group.reason().unwrap().to_string();
    assert_eq!(reason, "score at zero: 0.00; not withdrawn: the guard: 0 of 1 other announcers");
    let told = world.sees(&[7]);
    assert_eq!(told[0].split(':').next().unwrap(), "de-preferred → withdrawn");
    assert_eq!(told[1], format!("over: {alarm}"));
}

#[test]
fn it_comes_back_when_the_other_is_gone_and_is_longer_marked_before_it_leaves_again() {
    let mut world = guarded(&[1]);
    world.score(0.0);
    world.next();
    assert_eq!(
        world.sees(&[]),
        [
            "withdrawn → de-preferred: brought back by the guard: 0 of 1 other announcers; health: score at zero: 0.00",
            "alarm: the last announcer: it stays although its region can't serve (0 of 1 other announcers)",
        ]
    );
    assert_eq!(world.marks().len(), 2, "as leaving from the first moment");
    world.sees(&[1]);
    assert_eq!(world.next().0, HOLD_DOWN, "nothing comes of it");
    assert_eq!(world.next().0 + HOLD_DOWN, QUIET * 2);
    assert_eq!(world.group.state(), ReachState::Withdrawn);
}

#[test]
fn a_lost_observer_changes_nothing() {
    let blind = || Input::View(View::default());
    let mut world = guarded(&[1]);
    assert_eq!(world.input(blind()), [""; 0]);
    assert_eq!(world.group.state(), Announced);
    world.sees(&[1]);
    world.score(0.0);
    world.next();
    let alarm = "withdrawn with too few others left (nothing observes who else announces)";
    assert_eq!(world.input(blind()), [format!("alarm: {alarm}")]);
    world.next();
    assert_eq!(world.group.poll_timeout(), None);
    assert_eq!(world.wait(QUIET * 100), [""; 0]);
    assert_eq!(world.group.state(), ReachState::Withdrawn);
    assert_eq!(world.sees(&[1]), [format!("over: {alarm}")]);
}

#[test]
fn what_a_pop_in_a_fault_or_without_a_checker_has_withdrawn_waits_for_nobody() {
    let alarm = "the last announcer: it stays although its region can't serve (0 of 1 other announcers)";
    let alone = "withdrawn with too few others left (0 of 1 other announcers)";
    let mut world = guarded(&[]);
    world.score(0.0);
    assert_eq!(
        world.fault(Some("stuck")),
        ["de-preferred → withdrawn: stuck".to_owned(), format!("over: {alarm}"), format!("alarm: {alone}")]
    );
    let told = world.fault(None);
    assert_eq!(told[0].split(':').next().unwrap(), "withdrawn → de-preferred", "able to be the last again");

    let mut world = checked(GroupConfig { guard: Some(guard()), ..config() });
    world.sees(&[]);
    world.score(0.0);
    let (due, told) = world.next();
    assert_eq!(due, DEAD_MAN);
    assert_eq!(told[0], "de-preferred → withdrawn: no probe has ended for 5s (at most 5s)");
    assert_eq!(told[1..], [format!("over: {alarm}"), format!("alarm: {alone}")]);
    assert_eq!(world.sees(&[1]), [format!("over: {alone}")]);
}

#[test]
fn one_that_starts_without_serving_stays_away_only_if_another_is_seen() {
    let start = |view: Option<View>| {
        let mut world = World::new(GroupConfig { guard: Some(guard()), ..config() });
        if let Some(view) = view {
            world.input(Input::View(view));
        }
        world.score(0.0);
        world
    };
    assert_eq!(
        start(Some(sees(&[-7]))).group.state(),
        ReachState::Withdrawn,
        "one that leaves is there still"
    );
    assert_eq!(start(Some(sees(&[]))).group.state(), DePreferred);
    let mut blind = start(None);
    assert_eq!(blind.group.state(), ReachState::Withdrawn);
    let (due, told) = blind.next();
    assert_eq!(due, QUIET);
    assert_eq!(told[0].split(':').next().unwrap(), "withdrawn → de-preferred");
    let mut seeing = start(None);
    seeing.sees(&[7]);
    assert_eq!(seeing.group.poll_timeout(), None);
}

#[test]
fn one_that_can_serve_again_but_is_held_down_comes_back_when_the_other_is_gone() {
    let mut world = guarded(&[1]);
    world.score(0.0);
    world.next();
    world.score(1.0);
    assert_eq!(world.group.state(), ReachState::Withdrawn);
    assert_eq!(world.sees(&[])[0].split(':').next().unwrap(), "withdrawn → de-preferred");
    assert_eq!(world.next().0, HOLD_DOWN);
    assert_eq!(world.group.state(), Announced);
}

#[test]
fn a_group_that_is_set_to_stay_is_not_kept_withdrawn_by_what_health_did_before() {
    let damping = Damping {
        half_life: Duration::from_mins(1),
        suppress: 1.0,
        reuse: 0.5,
        most: Duration::from_mins(4),
    };
    let mut world = World::new(GroupConfig { damping: Some(damping), ..config() });
    world.score(1.0);
    world.score(0.0);
    let stays = GroupConfig { when_down: WhenDown::Stay, damping: Some(damping), ..config() };
    world.group.reconfigure(world.now, stays);
    assert_eq!(world.outputs(), ["withdrawn → de-preferred: the configuration has changed: score 0.00"]);
}
