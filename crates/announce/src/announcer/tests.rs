mod histories;

use std::time::Duration;

use proxima_types::ReachState;

use super::*;
use crate::{
    Order, Override, Transition, WhenDown, Withdrawn,
    testing::{HOLD_DOWN, QUIET, SECOND, config, guard, score, sees, start, told, withdrawn},
};

const CAP: Cap = Cap { most: 2, within: Duration::from_mins(1) };

fn named(name: &str) -> GroupConfig {
    GroupConfig { name: name.parse().unwrap(), ..config() }
}

struct World {
    announcer: Announcer,
    now: Instant,
}

impl World {
    /// Groups that all serve.
    fn new(groups: &[GroupConfig], cap: Option<Cap>) -> Self {
        let now = start();
        let mut world =
            Self { announcer: Announcer::new(now, AnnouncerConfig { groups: groups.to_vec(), cap }), now };
        for group in groups {
            world.input(group.name.as_ref(), Input::Score(score(1.0)));
        }
        world
    }

    fn input(&mut self, group: &str, input: Input) -> Vec<String> {
        self.announcer.handle(self.now, &group.parse().unwrap(), input);
        self.outputs()
    }

    fn score(&mut self, group: &str, share: f64) -> Vec<String> {
        self.input(group, Input::Score(score(share)))
    }

    fn reconfigure(&mut self, groups: &[GroupConfig], cap: Option<Cap>) -> Vec<String> {
        self.announcer.reconfigure(self.now, AnnouncerConfig { groups: groups.to_vec(), cap });
        self.outputs()
    }

    fn next(&mut self) -> (Duration, Vec<String>) {
        let due = self.announcer.poll_timeout().expect("something is due");
        let waited = due - self.now;
        self.now = due;
        self.announcer.handle_timeout(due);
        (waited, self.outputs())
    }

    /// Each with its group.
    fn outputs(&mut self) -> Vec<String> {
        let named = |output: Output| {
            let group = match &output {
                Output::Transition(Transition { group, .. }) => group,
                Output::Alarm(alarm) => &alarm.group,
                Output::AlarmOver(over) => &over.alarm.group,
            };
            format!("{group}: {}", told(output.clone()))
        };
        std::iter::from_fn(|| self.announcer.poll_output()).map(named).collect()
    }

    fn state(&self, group: &str) -> ReachState {
        self.announcer.group(&group.parse().unwrap()).unwrap().state()
    }
}

#[test]
fn withdrawals_beyond_the_cap_wait_and_the_first_that_waits_goes_first() {
    let mut world = World::new(&["a", "b", "c", "d"].map(named), Some(CAP));
    assert_eq!(world.score("d", 0.0), ["d: announced → withdrawn: score at zero: 0.00"]);
    world.now += SECOND;
    assert_eq!(world.score("c", 0.0).len(), 1);
    let cap = "the cap of 2 withdrawals within 60s";
    for group in ["b", "a"] {
        let kept = format!("{group}: announced → de-preferred: score at zero: 0.00; not withdrawn: {cap}");
        assert_eq!(world.score(group, 0.0), [kept, format!("{group}: alarm: not withdrawn, by {cap}")]);
    }
    let gone = |group| {
        vec![
            format!("{group}: de-preferred → withdrawn: score at zero: 0.00; held until now by {cap}"),
            format!("{group}: over: not withdrawn, by {cap}"),
        ]
    };
    for (group, due) in [("a", Duration::from_secs(49)), ("b", SECOND)] {
        while world.announcer.poll_timeout().is_some_and(|due| due < world.now + HOLD_DOWN) && group == "a" {
            assert_eq!(world.next().1, [""; 0], "hold-downs end");
        }
        let (waited, told) = world.next();
        assert_eq!((waited, told), (due, gone(group)));
    }
}

#[test]
fn faults_and_orders_neither_wait_for_the_cap_nor_count() {
    let mut world = World::new(&["a", "b", "c"].map(named), Some(Cap { most: 1, ..CAP }));
    world.input("a", Input::Order(Override::Withdraw.into()));
    world.input("b", Input::Fault(Some("stuck".to_owned())));
    assert_eq!(world.score("c", 0.0), ["c: announced → withdrawn: score at zero: 0.00"]);
    world.input("a", Input::Order(Order::default()));
    assert_eq!(world.score("a", 0.0).len(), 2, "the cap is reached");
    let told = world.input("a", Input::Fault(Some("stuck".to_owned())));
    assert_eq!(told[0], "a: de-preferred → withdrawn: stuck");
}

#[test]
fn a_fault_of_the_pop_is_one_of_all_groups() {
    let mut world = World::new(&["a", "b"].map(named), None);
    world.announcer.handle_all(world.now, &Input::Fault(Some("stuck".to_owned())));
    assert_eq!(world.outputs(), ["a: announced → withdrawn: stuck", "b: announced → withdrawn: stuck"]);
    assert_eq!(world.announcer.desired(), []);
}

#[test]
fn a_guard_does_not_let_go_beyond_the_cap() {
    let guarded = GroupConfig { guard: Some(guard()), ..named("b") };
    let mut world = World::new(&[named("a"), guarded], Some(Cap { most: 1, within: QUIET * 2 }));
    world.input("b", Input::View(sees(&[1])));
    world.score("b", 0.0);
    world.now += SECOND;
    world.score("a", 0.0);
    world.next();
    assert_eq!(world.state("b"), ReachState::DePreferred);
    let (_, told) = world.next();
    assert_eq!(told, ["b: alarm: not withdrawn, by the cap of 1 withdrawals within 40s"]);
    let (waited, _) = world.next();
    assert_eq!(waited, QUIET + SECOND);
    assert_eq!(world.state("b"), ReachState::Withdrawn);
}

#[test]
fn a_wider_cap_lets_those_go_that_wait() {
    let groups = ["a", "b", "c"].map(named);
    let mut world = World::new(&groups, Some(Cap { most: 1, ..CAP }));
    for group in ["a", "b", "c"] {
        world.score(group, 0.0);
    }
    assert_eq!(world.reconfigure(&groups, Some(CAP)).len(), 2, "one goes, and its alarm");
    assert_eq!((world.state("b"), world.state("c")), (ReachState::Withdrawn, ReachState::DePreferred));
    assert_eq!(world.reconfigure(&groups, None).len(), 2);
    assert_eq!(world.state("c"), ReachState::Withdrawn);
}

#[test]
fn groups_that_stay_keep_their_state_new_ones_begin_and_others_are_withdrawn() {
    let mut world = World::new(&["a", "b"].map(named), None);
    world.score("b", 0.0);
    let told = world.reconfigure(&["c", "b"].map(named), None);
    assert_eq!(told, ["a: announced → withdrawn: no longer configured"]);
    assert_eq!(
        world.announcer.groups().map(Group::name).map(ToString::to_string).collect::<Vec<_>>(),
        ["c", "b"]
    );
    assert_eq!(world.score("a", 1.0), [""; 0], "nobody is there");
    assert_eq!(world.score("c", 1.0), ["c: withdrawn → announced: first verdicts known: score 1.00"]);
    assert_eq!(world.score("b", 1.0), [""; 0]);
    assert_eq!(world.next().0, HOLD_DOWN, "the hold-down goes on");
    assert_eq!(world.announcer.desired().len(), 4);
    assert_eq!(world.reconfigure(&["c", "b"].map(named), None), [""; 0]);
}

#[test]
fn other_bounds_are_decided_by_at_once() {
    let mut world = World::new(&[named("a")], None);
    world.score("a", 0.5);
    let bounds = Withdrawn { below: proxima_types::Score::new(0.55), ..withdrawn() };
    let stricter = GroupConfig { when_down: WhenDown::Withdraw(bounds), ..named("a") };
    let told = world.reconfigure(&[stricter], None);
    assert_eq!(told, ["a: de-preferred → withdrawn: the configuration has changed: score 0.50"]);
}

#[test]
fn the_alarms_of_a_group_that_is_removed_are_over() {
    let guarded = GroupConfig { guard: Some(guard()), ..named("a") };
    let mut world = World::new(&[guarded], None);
    world.input("a", Input::View(sees(&[])));
    world.score("a", 0.0);
    let told = world.reconfigure(&[], None);
    assert_eq!(told[0], "a: de-preferred → withdrawn: no longer configured");
    assert!(told[1].starts_with("a: over: the last announcer"), "{told:?}");
    assert_eq!((told.len(), world.announcer.poll_timeout()), (2, None));
}
