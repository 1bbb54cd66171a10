//! The guard against every schedule: what it promises holds, and simpler rules don't. `docs/guard.md` tells of it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, reason = "tests")]

mod walk;
mod world;

use std::collections::HashMap;

use stateright::{Checker, Model, Property};
use world::{Act, News, Route, Rule, Rules, World};

/// As many announcers as there have to be.
const SOMEBODY: &str = "somebody announces";
const ABRUPT: &str = "nobody announces only after a death or a fault";
const SOON: &str = "whoever can know that nobody announces does so at once";
const LEAVES: &str = "one that can't serve leaves";
const ALL_BUT_ONE: &str = "all but one leave";

/// Two PoPs whose health alone changes, with evidence up to a tick late.
const TWO: Rules = Rules {
    pops: 2,
    rule: quiet(3),
    latest: 1,
    min_announcers: 1,
    failures: false,
    lossy: false,
    unmarked: false,
};

const THREE: Rules = Rules { pops: 3, rule: quiet(4), ..TWO };

const fn quiet(ticks: u8) -> Rule {
    Rule::Guard { quiet: ticks, longest: ticks, calm: 0 }
}

/// Worlds, and what is asked of all their schedules.
#[derive(Debug, Clone, Copy)]
struct Question {
    rules: Rules,
    /// What never fails.
    promises: &'static [&'static str],
    /// What is possible.
    chances: &'static [&'static str],
}

impl Model for Question {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        vec![self.rules.start()]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        acts.extend(self.rules.acts(world));
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        Some(self.rules.next(world, &act)).filter(|next| next != world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let promises = [
            Property::always(SOMEBODY, |of: &Self, world: &World| {
                world.announcers() >= of.rules.min_announcers as usize
            }),
            Property::always(ABRUPT, |_, world: &World| !world.deserted),
            Property::always(SOON, |of: &Self, world: &World| {
                world.pops.iter().all(|pop| pop.dark <= of.rules.latest + 1)
            }),
        ];
        let chances = [
            Property::sometimes(LEAVES, |_, world: &World| world.left() > 0),
            Property::sometimes(ALL_BUT_ONE, |_, world: &World| world.left() + 1 == world.pops.len()),
        ];
        let promises = promises.into_iter().filter(|promise| self.promises.contains(&promise.name));
        promises.chain(chances.into_iter().filter(|chance| self.chances.contains(&chance.name))).collect()
    }
}

/// Looks at every state, or at the first `most` steps.
fn check(name: &str, question: Question, most: Option<usize>) -> impl Checker<Question> {
    let checker = question.checker().threads(1);
    let checker = match most {
        Some(most) => checker.target_state_count(most),
        None => checker,
    };
    let checked = checker.spawn_bfs().join();
    let (unique, all, depth) = (checked.unique_state_count(), checked.state_count(), checked.max_depth());
    println!("{name}: {unique} states, {all} steps, depth {depth}");
    checked
}

fn holds(name: &str, rules: Rules, promises: &'static [&'static str], most: Option<usize>) {
    let chances: &[&str] = if rules.min_announcers == 1 { &[LEAVES, ALL_BUT_ONE] } else { &[LEAVES] };
    check(name, Question { rules, promises, chances }, most).assert_properties();
}

/// A shortest schedule after which nobody announces.
fn breaks(name: &str, rules: Rules) -> Vec<Act> {
    let question = Question { rules, promises: &[SOMEBODY], chances: &[] };
    let path = check(name, question, None).assert_any_discovery(SOMEBODY);
    assert_eq!(path.last_state().announcers(), 0);
    let acts = path.into_actions();
    for act in &acts {
        println!("  {act:?}");
    }
    acts
}

#[test]
fn to_leave_because_another_is_seen_is_wrong() {
    let acts = breaks("another is seen", Rules { rule: Rule::AnotherIsSeen, ..TWO });
    let sees = |other: usize| {
        let mut seen = vec![Route::Absent; 2];
        seen[other] = Route::Present;
        Some(seen)
    };
    let both_at_once =
        [Act::Pop(0, sees(1), News::CanServe(false)), Act::Pop(1, sees(0), News::CanServe(false))];
    assert_eq!(acts, both_at_once);
}

#[test]
fn ranks_without_a_quiet_period_are_not_enough() {
    breaks("ranks alone", Rules { rule: quiet(0), ..TWO });
}

#[test]
fn two_pops_need_a_quiet_period_longer_than_twice_the_propagation() {
    for latest in [1, 2] {
        let rules = |ticks| Rules { latest, rule: quiet(ticks), ..TWO };
        breaks("two, quiet = 2 · propagation", rules(2 * latest));
        holds("two, quiet > 2 · propagation", rules(2 * latest + 1), &[SOMEBODY], None);
    }
}

#[test]
fn three_pops_need_a_quiet_period_longer_than_three_times_the_propagation() {
    breaks("three, quiet = 3 · propagation", Rules { rule: quiet(3), ..THREE });
}

#[test]
fn three_pops_never_all_leave_with_a_quiet_period_longer_than_three_times_the_propagation() {
    holds("three, quiet > 3 · propagation", THREE, &[SOMEBODY], None);
}

#[test]
fn three_pops_of_which_two_are_to_announce_keep_two() {
    holds("three, two to stay", Rules { min_announcers: 2, ..THREE }, &[SOMEBODY], Some(150_000));
}

#[test]
fn lost_evidence_makes_nobody_leave() {
    holds("two, lost evidence", Rules { lossy: true, ..TWO }, &[SOMEBODY], None);
}

#[test]
fn after_a_death_or_a_fault_of_the_last_another_is_back_as_soon_as_it_can_know() {
    holds("two, failures", Rules { failures: true, ..TWO }, &[ABRUPT, SOON], None);
}

#[test]
fn all_of_it_holds_with_lost_evidence_and_failures_at_once() {
    let rules = Rules { failures: true, lossy: true, ..TWO };
    holds("two, lost evidence and failures", rules, &[ABRUPT, SOON], None);
}

/// There are too many states to look at all of them: long ways through them at random.
#[test]
fn three_and_four_pops_keep_every_promise_with_lost_evidence_and_failures() {
    for pops in [3, 4] {
        let calm = Rules { pops, rule: quiet(pops + 1), lossy: true, ..TWO };
        for rules in [calm, Rules { failures: true, ..calm }] {
            let question = Question { rules, promises: &[], chances: &[] };
            let promises: &[&str] = if rules.failures { &[ABRUPT, SOON] } else { &[SOMEBODY] };
            let promises = Question { promises, ..question }.properties();
            let (mut worlds, mut all_but_one) = (0, 0);
            for seed in 1..=60 {
                for world in walk::Walk::new(rules, seed).take(400) {
                    for promise in &promises {
                        assert!((promise.condition)(&question, &world), "{}: seed {seed}", promise.name);
                    }
                    worlds += 1;
                    all_but_one += usize::from(world.left() + 1 == usize::from(pops));
                }
            }
            println!("{pops} PoPs, failures {}: {worlds} worlds, {all_but_one} with one", rules.failures);
            assert!(all_but_one > 0, "a walk that leads nowhere proves nothing");
        }
    }
}

#[test]
fn a_quiet_period_that_grows_with_each_return_does_no_harm() {
    let rule = Rule::Guard { quiet: 3, longest: 6, calm: 7 };
    holds("two, growing", Rules { rule, lossy: true, ..TWO }, &[SOMEBODY], Some(120_000));
}

#[test]
fn evidence_later_than_assumed_leaves_a_gap_no_longer_than_it_is_late() {
    let late = Rules { latest: 3, ..TWO };
    breaks("two, late evidence", late);
    holds("two, late evidence", late, &[SOON], None);
}

#[test]
fn a_router_that_removes_the_mark_of_leaving_breaks_the_rule() {
    breaks("two, mark removed", Rules { unmarked: true, ..TWO });
}

/// What a state is known by is all that matters of it: the checker takes states for one that are so by their keys.
#[test]
fn equal_keys_behave_equally() {
    for rules in [
        Rules { failures: true, lossy: true, ..TWO },
        Rules { rule: Rule::Guard { quiet: 3, longest: 6, calm: 7 }, lossy: true, ..TWO },
        THREE,
    ] {
        let after = |world: &World| -> Vec<(Act, World)> {
            let act = |act: Act| (act.clone(), rules.next(world, &act));
            rules.acts(world).into_iter().map(act).collect()
        };
        let mut known: HashMap<World, Vec<(Act, World)>> = HashMap::new();
        let (mut found, mut again) = (vec![rules.start()], 0);
        while let Some(world) = found.pop().filter(|_| again < 1_200) {
            if let Some(expected) = known.get(&world) {
                // Found on another way: another core, at another time.
                again += 1;
                assert_eq!(&after(&world), expected);
            } else if known.len() < 400 {
                let next = after(&world);
                found.extend(next.iter().map(|(_, world)| world.clone()));
                known.insert(world, next);
            }
        }
        assert!(again > 400, "{again}");
    }
}
