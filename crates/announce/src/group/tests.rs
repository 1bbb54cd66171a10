mod held;
mod ordered;

use std::time::Duration;

use proptest::prelude::*;
use proxima_health::ServiceScore;
use proxima_types::{Score, UpCount};

use super::*;
use crate::{
    Bound,
    testing::{GRACEFUL, HOLD_DOWN, config, partly_unknown, score, sees, start, told},
};

/// A group on a virtual clock.
struct World {
    group: Group,
    now: Instant,
}

impl World {
    fn new(config: GroupConfig) -> Self {
        Self { group: Group::new(config), now: start() }
    }

    /// A world whose first score is `share`.
    fn at(share: f64) -> Self {
        let mut world = Self::new(config());
        world.score(share);
        world
    }

    fn input(&mut self, input: Input) -> Vec<String> {
        self.group.handle(self.now, input);
        self.outputs()
    }

    fn score(&mut self, share: f64) -> Vec<String> {
        self.input(Input::Score(score(share)))
    }

    fn order(&mut self, order: Override) -> Vec<String> {
        self.input(Input::Order(order.into()))
    }

    fn fault(&mut self, fault: Option<&str>) -> Vec<String> {
        self.input(Input::Fault(fault.map(str::to_owned)))
    }

    fn sees(&mut self, others: &[i8]) -> Vec<String> {
        self.input(Input::View(sees(others)))
    }

    /// The next thing that is due, which is then done.
    fn next(&mut self) -> (Duration, Vec<String>) {
        let due = self.group.poll_timeout().expect("something is due") - self.now;
        (due, self.wait(due))
    }

    fn wait(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.group.handle_timeout(self.now);
        self.outputs()
    }

    fn outputs(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.group.poll_output()).map(told).collect()
    }

    fn communities(&self) -> Vec<String> {
        self.group.desired()[0].attributes.communities.iter().map(ToString::to_string).collect()
    }

    fn marks(&self) -> Vec<String> {
        self.group.desired()[0].attributes.large_communities.iter().map(ToString::to_string).collect()
    }
}

use ReachState::{Announced, DePreferred};

#[test]
fn nothing_is_announced_before_all_first_verdicts() {
    let mut world = World::new(config());
    assert_eq!(world.group.desired(), []);
    assert_eq!(world.input(Input::Score(partly_unknown(0.95, 1.0))), [""; 0]);
    assert!(!world.group.is_settled());
    assert_eq!(world.score(1.0), ["withdrawn → announced: first verdicts known: score 1.00"]);
    assert_eq!(world.group.desired().len(), 2);
    assert_eq!(world.group.desired()[0].attributes, config().attributes);
}

#[test]
fn at_the_start_the_lower_bounds_alone_decide() {
    for (share, state) in [(0.0, ReachState::Withdrawn), (0.39, ReachState::Withdrawn)] {
        assert_eq!(World::at(share).group.state(), state, "{share}");
    }
    for (share, state) in [(0.4, DePreferred), (0.79, DePreferred), (0.8, Announced), (1.0, Announced)] {
        assert_eq!(World::at(share).group.state(), state, "{share}");
    }
}

#[test]
fn each_state_is_left_only_beyond_its_bound() {
    let mut world = World::at(1.0);
    assert_eq!(world.score(0.8), [""; 0]);
    assert_eq!(world.score(0.75), ["announced → de-preferred: score below 0.80: 0.75"]);
    assert_eq!(world.group.desired()[1].attributes, config().degraded.unwrap().attributes);
    assert_eq!(world.score(0.89), [""; 0]);
    assert_eq!(world.score(0.9), ["de-preferred → announced: score not below 0.90: 0.90"]);
    assert_eq!(world.score(0.3), ["announced → withdrawn: score below 0.40: 0.30"]);
    assert_eq!(world.group.desired(), []);
    world.wait(HOLD_DOWN);
    assert_eq!(world.score(0.59), [""; 0]);
    assert_eq!(world.score(0.6), ["withdrawn → de-preferred: score not below 0.60: 0.60"]);
    assert_eq!(world.score(0.0), ["de-preferred → withdrawn: score at zero: 0.00"]);
    world.wait(HOLD_DOWN);
    assert_eq!(world.score(1.0), ["withdrawn → announced: score not below 0.60: 1.00"]);
}

#[test]
fn the_hold_down_is_waited_for_and_then_ends_by_itself() {
    let mut world = World::at(1.0);
    world.score(0.0);
    assert_eq!(world.score(1.0), [""; 0]);
    assert_eq!(world.group.poll_timeout(), Some(world.now + HOLD_DOWN));
    assert_eq!(world.wait(HOLD_DOWN.checked_sub(Duration::from_nanos(1)).unwrap()), [""; 0]);
    let told = "withdrawn → announced: score not below 0.60: 1.00; held until now by hold-down of 10s";
    assert_eq!(world.wait(Duration::from_nanos(1)), [told]);
    assert_eq!(world.group.poll_timeout(), None);
}

#[test]
fn a_new_backend_without_a_verdict_moves_nothing_by_itself() {
    let mut world = World::at(1.0);
    assert_eq!(world.input(Input::Score(partly_unknown(0.3, 1.0))), [""; 0]);
    assert_eq!(world.input(Input::Score(partly_unknown(0.0, 0.3))).len(), 1, "even at best it is too low");
    world.wait(HOLD_DOWN);
    assert_eq!(world.input(Input::Score(partly_unknown(0.5, 1.0))), [""; 0]);
    assert_eq!(
        world.input(Input::Score(partly_unknown(0.9, 1.0))).len(),
        1,
        "even at worst it is high enough"
    );
}

#[test]
fn a_group_that_stays_is_never_withdrawn_by_health() {
    let mut world = World::new(GroupConfig { when_down: WhenDown::Stay, ..config() });
    assert_eq!(world.input(Input::Score(partly_unknown(0.0, 1.0))), [""; 0]);
    assert_eq!(world.score(0.0), ["withdrawn → de-preferred: first verdicts known: score 0.00"]);
    assert_eq!(world.score(1.0), ["de-preferred → announced: score not below 0.90: 1.00"]);
    let mut world = World::new(GroupConfig { when_down: WhenDown::Stay, degraded: None, ..config() });
    assert_eq!(world.score(0.0), ["withdrawn → announced: first verdicts known: score 0.00"]);
}

#[test]
fn a_fault_withdraws_even_a_group_that_stays() {
    for when_down in [WhenDown::Stay, config().when_down] {
        let mut world = World::new(GroupConfig { when_down, ..config() });
        world.score(1.0);
        let fault = Input::Fault(Some("worker 1 is stuck".to_owned()));
        assert_eq!(world.input(fault), ["announced → withdrawn: worker 1 is stuck"]);
        assert_eq!(world.score(0.9), [""; 0]);
        world.input(Input::Fault(None));
        world.wait(HOLD_DOWN);
        assert_eq!(world.group.state(), Announced);
    }
    let mut world = World::new(config());
    world.input(Input::Fault(Some("no workers yet".to_owned())));
    assert_eq!(world.score(1.0), [""; 0]);
    assert_eq!(world.input(Input::Fault(None)), ["withdrawn → announced: first verdicts known: score 1.00"]);
}

#[test]
fn a_group_of_which_nothing_was_ever_checked_is_not_announced_and_holds_up_nobody() {
    let checked = |share: f64, up: u32, unchecked: u32| {
        let count = UpCount { up, unchecked, backends: 1, ..UpCount::default() };
        let service = "site".parse().unwrap();
        let share = Score::new(share);
        let services = vec![ServiceScore { service, score: share, at_best: share, count }];
        Input::Score(RegionScore { services, ..score(share.share()) })
    };
    for when_down in [WhenDown::Stay, config().when_down] {
        let dead_man = Some(Duration::from_secs(30));
        let mut world = World::new(GroupConfig { when_down, dead_man, ..config() });
        assert_eq!(world.input(checked(0.0, 0, 1)), [""; 0]);
        assert!(world.group.is_settled(), "others are not to wait for it");
        assert_eq!(world.sees(&[]), [""; 0]);
        assert_eq!(world.group.reason().unwrap().to_string(), "no probe has ended for 30s (at most 30s)");
        // The first end is the first verdict.
        assert_eq!(
            world.input(checked(1.0, 1, 0)),
            ["withdrawn → announced: first verdicts known: score 1.00 (site: 1 of 1 up)"]
        );
    }
}

#[test]
fn a_drain_announces_graceful_shutdown_and_then_withdraws_until_the_next_order() {
    let mut world = World::at(1.0);
    let drain = Override::Drain { graceful_shutdown: GRACEFUL };
    assert_eq!(world.order(drain), ["announced → de-preferred: ordered by the operator: drain"]);
    assert_eq!(world.communities(), ["64512:100", "64512:666", "65535:0"]);
    assert_eq!(world.group.poll_timeout(), Some(world.now + GRACEFUL));
    assert_eq!(world.score(0.7), [""; 0]);
    assert_eq!(
        world.wait(GRACEFUL),
        ["de-preferred → withdrawn: drained: GRACEFUL_SHUTDOWN announced for 5s"]
    );
    assert_eq!(world.score(1.0), [""; 0]);
    assert_eq!(world.order(Override::Auto), ["withdrawn → announced: ordered by the operator: auto"]);
    assert_eq!(world.communities(), ["64512:100"]);
}

#[test]
fn a_drain_of_a_de_preferred_group_changes_what_is_desired_without_a_transition() {
    let mut world = World::at(0.7);
    assert_eq!(world.order(Override::Drain { graceful_shutdown: GRACEFUL }), [""; 0]);
    assert_eq!(world.communities().last().unwrap(), "65535:0");
}

#[test]
fn a_drain_ends_at_once_when_nothing_serves_and_does_not_come_back() {
    let mut world = World::at(1.0);
    world.order(Override::Drain { graceful_shutdown: GRACEFUL });
    assert_eq!(world.score(0.0), ["de-preferred → withdrawn: score at zero: 0.00"]);
    world.score(1.0);
    assert_eq!(world.wait(HOLD_DOWN), [""; 0]);
    assert_eq!(world.order(Override::Drain { graceful_shutdown: GRACEFUL }), [""; 0]);
    assert_eq!(world.order(Override::Auto).len(), 1);
}

#[test]
fn the_operator_outranks_health_and_auto_returns_to_it() {
    let mut world = World::new(config());
    assert_eq!(world.order(Override::Announce), ["withdrawn → announced: ordered by the operator: announce"]);
    assert_eq!(world.score(0.0), [""; 0]);
    assert_eq!(world.order(Override::Auto), ["announced → withdrawn: ordered by the operator: auto"]);
    assert_eq!(world.score(1.0), ["withdrawn → announced: score not below 0.60: 1.00"]);
    assert_eq!(world.order(Override::Withdraw), ["announced → withdrawn: ordered by the operator: withdraw"]);
    assert_eq!(world.score(0.95), [""; 0]);
    assert_eq!(
        world.order(Override::Auto),
        ["withdrawn → announced: ordered by the operator: auto"],
        "no hold-down after an order"
    );
}

#[derive(Debug, Clone)]
enum Step {
    Input(Input),
    Wait(Duration),
}

fn any_step() -> impl Strategy<Value = Step> {
    let share = || proptest::sample::select(vec![0.0, 0.2, 0.4, 0.5, 0.6, 0.79, 0.85, 0.9, 1.0]);
    let order = proptest::sample::select(vec![
        Override::Auto,
        Override::Auto,
        Override::Announce,
        Override::Withdraw,
        Override::Drain { graceful_shutdown: GRACEFUL },
    ]);
    prop_oneof![
        8 => share().prop_map(|share| Step::Input(Input::Score(score(share)))),
        1 => (share(), share()).prop_map(|(a, b)| Step::Input(Input::Score(partly_unknown(a.min(b), a.max(b))))),
        1 => proptest::option::of(Just("stuck".to_owned())).prop_map(|fault| Step::Input(Input::Fault(fault))),
        1 => order.prop_map(|order| Step::Input(Input::Order(order.into()))),
        4 => (0u64..12_000).prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
    ]
}

fn any_config() -> impl Strategy<Value = GroupConfig> {
    (any::<bool>(), any::<bool>()).prop_map(|(stay, degrades)| GroupConfig {
        when_down: if stay { WhenDown::Stay } else { config().when_down },
        degraded: config().degraded.filter(|_| degrades),
        ..config()
    })
}

/// A driver: calls the timeouts when they are due on the way to `until`.
fn run_to(group: &mut Group, now: &mut Instant, until: Instant) {
    while let Some(due) = group.poll_timeout().filter(|due| *due <= until) {
        *now = (*now).max(due);
        group.handle_timeout(*now);
        assert_ne!(group.poll_timeout(), Some(due), "a timeout that was handled must not come again");
    }
    *now = until;
}

proptest! {
    #[test]
    fn every_history_keeps_the_promises(
        config in any_config(),
        steps in proptest::collection::vec(any_step(), 1..120),
    ) {
        let World { mut group, mut now } = World::new(config.clone());
        let mut state = ReachState::Withdrawn;
        let mut withdrawn_by_health_at = None;
        for step in steps {
            match step {
                Step::Input(input) => group.handle(now, input),
                Step::Wait(time) => {
                    let until = now + time;
                    run_to(&mut group, &mut now, until);
                }
            }
            while let Some(output) = group.poll_output() {
                let Output::Transition(transition) = output else {
                    return Err(TestCaseError::fail(format!("an alarm: {output:?}")));
                };
                prop_assert_eq!(transition.from, state);
                prop_assert_ne!(transition.to, state, "never two transitions to the same state");
                state = transition.to;
                let by_operator = matches!(transition.reason, Reason::Operator { .. } | Reason::Drained { .. });
                if let WhenDown::Withdraw(withdrawn) = config.when_down {
                    if transition.from == ReachState::Withdrawn && !by_operator
                        && let Some(at) = withdrawn_by_health_at
                    {
                        prop_assert!(transition.at >= at + withdrawn.hold_down, "hold-down is respected");
                    }
                    if let Reason::Score { score, bound: Bound::Above(_), .. } = &transition.reason {
                        prop_assert!(score.score >= withdrawn.above);
                    }
                }
                if transition.to == ReachState::Withdrawn {
                    withdrawn_by_health_at = (!by_operator).then_some(transition.at);
                    let by_score = matches!(transition.reason, Reason::Score { .. });
                    prop_assert!(!(by_score && config.when_down == WhenDown::Stay));
                }
            }
            prop_assert_eq!(group.state(), state);
            let desired = group.desired();
            prop_assert_eq!(desired.is_empty(), state == ReachState::Withdrawn);
            for announcement in &desired {
                prop_assert!(config.prefixes.contains(&announcement.prefix));
                let communities = &announcement.attributes.communities;
                prop_assert!(communities.is_sorted());
                let graceful = communities.contains(&Community::GRACEFUL_SHUTDOWN);
                prop_assert_eq!(graceful, group.is_draining());
            }
            let dead = group.score().is_some_and(|score| score.at_best == Score::ZERO);
            if dead && group.order().verb != Override::Announce && config.when_down != WhenDown::Stay {
                prop_assert_eq!(state, ReachState::Withdrawn, "nothing serves: withdrawn at once");
            }
        }
        group.handle(now, Input::Order(Override::Auto.into()));
        group.handle(now, Input::Fault(None));
        group.handle(now, Input::Score(score(1.0)));
        let later = now + HOLD_DOWN;
        run_to(&mut group, &mut now, later);
        prop_assert_eq!(group.state(), Announced, "healthy for long enough: announced");
        prop_assert_eq!(group.poll_timeout(), None);
    }
}

#[test]
fn the_reason_is_that_of_the_state_also_where_nothing_had_to_change() {
    let reason = |world: &World| world.group.reason().map(|reason| reason.to_string());
    let drain = Override::Drain { graceful_shutdown: GRACEFUL };
    let mut world = World::new(config());
    assert_eq!(reason(&world), None, "first verdicts are awaited");
    world.score(0.1);
    assert_eq!(reason(&world).as_deref(), Some("first verdicts known: score 0.10"));
    world.order(drain);
    assert_eq!(reason(&world).as_deref(), Some("ordered by the operator: drain"));
    world.order(Override::Auto);
    assert_eq!(reason(&world).as_deref(), Some("first verdicts known: score 0.10"));
    world.input(Input::Fault(Some("stuck".to_owned())));
    assert_eq!(reason(&world).as_deref(), Some("stuck"));
}
