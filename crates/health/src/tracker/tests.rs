use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::Phase;

const MS: Duration = Duration::from_millis(1);

fn nonzero(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap()
}

fn settings() -> Settings {
    Settings::new(Duration::from_secs(1), nonzero(2), nonzero(3))
}

fn timeout() -> Failure {
    Failure::Timeout { phase: Phase::Answer, after: Duration::from_millis(500) }
}

fn local() -> Failure {
    Failure::Local { error: "Too many open files".to_owned() }
}

/// A tracker on a virtual clock.
struct World {
    tracker: BackendTracker,
    now: Instant,
}

impl World {
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the start of a virtual clock")]
    fn new() -> Self {
        let now = Instant::now();
        Self { tracker: BackendTracker::new(settings(), 1, now), now }
    }

    fn with(health: Health) -> Self {
        let mut world = Self::new();
        for _ in 0..3 {
            world.probe(if health == Health::Up { Ok(()) } else { Err(timeout()) });
        }
        assert_eq!(world.tracker.health(), health);
        world
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.tracker.poll_output()).collect()
    }

    /// Moves on to the next probe, answers it a millisecond later, and tells what came of it and how long it paused.
    fn probe(&mut self, outcome: Result<(), Failure>) -> (Vec<Output>, Duration) {
        let due = self.tracker.poll_timeout().expect("no probe runs");
        let pause = due.saturating_duration_since(self.now);
        self.now = self.now.max(due);
        self.tracker.handle_timeout(self.now);
        assert_eq!(self.outputs(), [Output::Probe]);
        self.now += MS;
        self.tracker.handle(self.now, Input::Probed(outcome));
        (self.outputs(), pause)
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.tracker.handle(self.now, input);
        self.outputs()
    }
}

fn verdict(outputs: &[Output]) -> Option<(Health, Health, String)> {
    outputs.iter().find_map(|output| match output {
        Output::Verdict(v) => Some((v.from, v.to, v.reason.to_string())),
        _ => None,
    })
}

fn near(pause: Duration, expected: Duration) -> bool {
    pause + MS >= expected.mul_f64(0.9) && pause <= expected.mul_f64(1.1)
}

#[test]
fn unknown_becomes_up_after_rise_successes_at_a_fast_pace() {
    let mut world = World::new();
    assert_eq!(world.tracker.poll_timeout(), Some(world.now));
    assert_eq!(world.probe(Ok(())).0, []);
    let (outputs, pause) = world.probe(Ok(()));
    assert_eq!(
        verdict(&outputs),
        Some((Health::Unknown, Health::Up, "2 probes in a row succeeded".to_owned()))
    );
    assert!(near(pause, Settings::FAST_INTERVAL), "{pause:?}");
    let (outputs, pause) = world.probe(Ok(()));
    assert_eq!(outputs, []);
    assert!(near(pause, Duration::from_secs(1)), "{pause:?}");
}

#[test]
fn soft_failures_need_fall_in_a_row() {
    let mut world = World::with(Health::Up);
    for _ in 0..2 {
        assert_eq!(world.probe(Err(timeout())).0, []);
    }
    assert_eq!(world.probe(Ok(())).0, []);
    let first_failure = {
        world.probe(Err(timeout()));
        world.now
    };
    world.probe(Err(timeout()));
    let (outputs, pause) = world.probe(Err(Failure::Status { expected: 200, received: 503 }));
    assert!(near(pause, Settings::FAST_INTERVAL), "undecided: {pause:?}");
    let expected = "3 probes in a row failed, the last: status 503 instead of 200";
    assert_eq!(verdict(&outputs), Some((Health::Up, Health::Down, expected.to_owned())));
    let Some(Output::Verdict(verdict)) = outputs.first() else { panic!("{outputs:?}") };
    assert_eq!((verdict.evidence_at, verdict.at), (first_failure, world.now));
}

#[test]
fn while_up_with_failures_pending_the_pace_is_fast_and_after_a_success_it_is_not() {
    let refused = |world: &mut World| {
        assert_eq!(world.probe(Err(Failure::Refused)).0, [Output::Confirm]);
        world.input(Input::Confirmed(Ok(())));
    };
    let timed_out = |world: &mut World| drop(world.probe(Err(timeout())));
    let fails: [&dyn Fn(&mut World); 2] = [&refused, &timed_out];
    for fail in fails {
        let mut world = World::with(Health::Up);
        for _ in 0..3 {
            fail(&mut world);
            let (outputs, pause) = world.probe(Ok(()));
            assert!(outputs.is_empty() && near(pause, Settings::FAST_INTERVAL), "{pause:?}");
            let (_, pause) = world.probe(Ok(()));
            assert!(near(pause, Duration::from_secs(1)), "settled again: {pause:?}");
        }
        let began = world.now;
        for _ in 0..3 {
            fail(&mut world);
        }
        assert_eq!(world.tracker.health(), Health::Down);
        let first = began + Duration::from_secs(1).mul_f64(1.1);
        assert!(
            world.now <= first + 4 * Settings::FAST_INTERVAL,
            "{:?} from the last success",
            world.now - began
        );
    }
}

#[test]
fn a_lost_standing_connection_and_a_refused_connect_decide_at_once() {
    let mut world = World::with(Health::Up);
    let lost_at = world.now;
    assert_eq!(world.input(Input::StandingLost(Loss::Closed)), [Output::Confirm]);
    assert_eq!(world.input(Input::StandingLost(Loss::Reset)), [], "one confirming connect is enough");
    world.now += MS;
    let outputs = world.input(Input::Confirmed(Err(Failure::Refused)));
    let expected = "standing connection closed; connecting again: connection refused";
    assert_eq!(verdict(&outputs), Some((Health::Up, Health::Down, expected.to_owned())));
    let Some(Output::Verdict(verdict)) = outputs.first() else { panic!("{outputs:?}") };
    assert_eq!((verdict.evidence_at, verdict.at), (lost_at, lost_at + MS));
    let (_, pause) = world.probe(Err(Failure::Refused));
    assert!(near(pause, Settings::DOWN_INTERVAL), "{pause:?}");
}

#[test]
fn an_app_that_closes_idle_connections_stays_up() {
    let mut world = World::with(Health::Up);
    for round in 0..10 {
        assert_eq!(world.input(Input::StandingLost(Loss::Closed)), [Output::Confirm]);
        assert_eq!(world.input(Input::Confirmed(Ok(()))), []);
        let pause = world.tracker.poll_timeout().unwrap() - world.now;
        let expected = (Settings::FAST_INTERVAL * (1 << round)).min(Duration::from_secs(1));
        assert!(near(pause, expected), "looks again soon, but later each time: {pause:?} in round {round}");
        assert_eq!(world.probe(Ok(())).0, []);
    }
    assert_eq!(world.tracker.health(), Health::Up);
    world.probe(Ok(()));
    world.probe(Ok(()));
    world.input(Input::StandingLost(Loss::Closed));
    world.input(Input::Confirmed(Ok(())));
    let pause = world.tracker.poll_timeout().unwrap() - world.now;
    assert!(near(pause, Settings::FAST_INTERVAL), "a connection that lasted ends the row: {pause:?}");
}

#[test]
fn a_refused_probe_is_confirmed_before_it_decides() {
    for hard in [Failure::Refused, Failure::Reset, Failure::Closed] {
        let mut world = World::with(Health::Up);
        assert_eq!(world.probe(Err(hard.clone())).0, [Output::Confirm]);
        assert!(verdict(&world.input(Input::Confirmed(Err(timeout())))).is_some(), "{hard}");

        let mut world = World::with(Health::Up);
        for n in 1..=3 {
            assert_eq!(world.probe(Err(hard.clone())).0, [Output::Confirm]);
            let outputs = world.input(Input::Confirmed(Ok(())));
            assert_eq!(verdict(&outputs).is_some(), n == 3, "counts as soft while it still listens");
        }
    }
}

#[test]
fn a_dead_backend_is_known_to_be_down_from_its_first_probe() {
    let mut world = World::new();
    assert_eq!(world.probe(Err(Failure::Refused)).0, [Output::Confirm]);
    let outputs = world.input(Input::Confirmed(Err(Failure::Refused)));
    let expected = "connection refused; connecting again: connection refused";
    assert_eq!(verdict(&outputs), Some((Health::Unknown, Health::Down, expected.to_owned())));
}

#[test]
fn down_backends_are_looked_at_often_and_need_rise_successes() {
    let mut world = World::with(Health::Down);
    let (_, pause) = world.probe(Ok(()));
    assert!(near(pause, Settings::DOWN_INTERVAL), "{pause:?}");
    world.probe(Err(Failure::Refused));
    world.probe(Ok(()));
    let (outputs, pause) = world.probe(Ok(()));
    assert!(near(pause, Settings::FAST_INTERVAL), "{pause:?}");
    assert!(matches!(verdict(&outputs), Some((Health::Down, Health::Up, _))));
}

#[test]
fn a_success_from_before_the_death_does_not_count() {
    let mut world = World::with(Health::Up);
    world.now = world.tracker.poll_timeout().unwrap();
    world.tracker.handle_timeout(world.now);
    world.outputs();
    world.input(Input::StandingLost(Loss::Reset));
    let outputs = world.input(Input::Confirmed(Err(Failure::Refused)));
    assert_eq!(outputs[1], Output::Abandon);
    assert_eq!(world.input(Input::Probed(Ok(()))), []);
    let (outputs, _) = world.probe(Ok(()));
    assert_eq!(verdict(&outputs), None);
}

#[test]
fn reports_nobody_asked_for_change_nothing() {
    let mut world = World::with(Health::Up);
    let due = world.tracker.poll_timeout();
    assert_eq!(world.input(Input::Confirmed(Err(Failure::Refused))), []);
    assert_eq!(world.input(Input::Probed(Err(Failure::Refused))), []);
    world.tracker.handle_timeout(world.now);
    assert_eq!((world.outputs(), world.tracker.poll_timeout()), (vec![], due));
}

#[test]
fn a_host_that_cannot_probe_keeps_its_verdicts_and_looks_again_soon() {
    for (health, pace) in [
        (Health::Unknown, Settings::FAST_INTERVAL),
        (Health::Up, Settings::DOWN_INTERVAL),
        (Health::Down, Settings::DOWN_INTERVAL),
    ] {
        let mut world = if health == Health::Unknown { World::new() } else { World::with(health) };
        world.probe(Err(local()));
        for _ in 0..20 {
            let (outputs, pause) = world.probe(Err(local()));
            assert_eq!((outputs, world.tracker.health()), (vec![], health));
            assert!(near(pause, pace), "{health}: {pause:?}");
        }
    }
}

#[test]
fn a_confirming_connect_this_host_cannot_make_confirms_nothing() {
    let mut world = World::with(Health::Up);
    for _ in 0..10 {
        assert_eq!(world.input(Input::StandingLost(Loss::Reset)), [Output::Confirm]);
        assert_eq!(world.input(Input::Confirmed(Err(local()))), []);
        let pause = world.tracker.poll_timeout().unwrap() - world.now;
        assert!(pause <= Settings::DOWN_INTERVAL.mul_f64(1.1), "looks again soon: {pause:?}");
    }
    for n in 1..=3 {
        assert_eq!(world.probe(Err(Failure::Refused)).0, [Output::Confirm]);
        let outputs = world.input(Input::Confirmed(Err(local())));
        assert_eq!(verdict(&outputs).is_some(), n == 3, "what the probe saw counts as soft evidence");
    }
}

fn passive(seen: Passive) -> Input {
    Input::Passive { seen, rule: PassiveRule::default() }
}

const ERRORS: Passive = Passive { server_errors: 5, connect_errors: 0, resets: 0, slow: 0, good: 0 };

#[test]
fn one_refused_connection_of_real_traffic_is_confirmed_at_once_and_decides() {
    for seen in [Passive::CONNECT_ERROR, Passive::RESET, Passive { good: 7, ..Passive::RESET }] {
        let mut world = World::with(Health::Up);
        let seen_at = world.now;
        assert_eq!(world.input(passive(seen)), [Output::Confirm]);
        assert_eq!(world.input(passive(seen)), [], "one confirming connect is enough");
        world.now += MS;
        let outputs = world.input(Input::Confirmed(Err(Failure::Refused)));
        let expected = format!("{seen} in real traffic; connecting again: connection refused");
        assert_eq!(verdict(&outputs), Some((Health::Up, Health::Down, expected)));
        let Some(Output::Verdict(verdict)) = outputs.first() else { panic!("{outputs:?}") };
        assert_eq!((verdict.evidence_at, verdict.at), (seen_at, world.now));
        assert_eq!(world.input(passive(seen)), [], "it is known to be down");
    }
}

#[test]
fn real_traffic_that_a_connect_contradicts_only_brings_the_next_probe_on() {
    let lost = Failure::Timeout { phase: Phase::Connect, after: Duration::from_millis(500) };
    let unreachable = Failure::Unreachable { error: "no route to host".to_owned() };
    for outcome in [Ok(()), Err(lost), Err(unreachable)] {
        let mut world = World::with(Health::Up);
        for round in 0..6 {
            assert_eq!(world.input(passive(Passive::CONNECT_ERROR)), [Output::Confirm], "{round}");
            assert_eq!(world.input(Input::Confirmed(outcome.clone())), []);
            assert_eq!(world.input(passive(Passive::CONNECT_ERROR)), [], "not at once again");
            let pause = world.tracker.poll_timeout().unwrap() - world.now;
            let expected = (Settings::FAST_INTERVAL * (1 << round)).min(Duration::from_secs(1));
            let as_planned = round == 5 && pause < expected;
            assert!(near(pause, expected) || as_planned, "{pause:?} in round {round}");
            assert_eq!(world.probe(Ok(())).0, []);
            world.now += pause.mul_f64(0.3);
        }
        assert_eq!(world.tracker.health(), Health::Up);
    }
}

#[test]
fn a_run_of_bad_answers_counts_as_one_soft_failure_between_two_probes() {
    let mut world = World::with(Health::Up);
    assert_eq!(world.input(passive(ERRORS)), []);
    assert_eq!(world.input(passive(Passive { good: 1, ..ERRORS })), [], "a good one ends the run");
    let before = world.tracker.poll_timeout().unwrap();
    assert_eq!(world.input(passive(ERRORS)), []);
    assert_eq!(world.tracker.poll_timeout(), Some(before), "five are no run");
    for _ in 0..20 {
        assert_eq!(world.input(passive(ERRORS)), []);
    }
    let pause = world.tracker.poll_timeout().unwrap() - world.now;
    assert!(near(pause, Settings::FAST_INTERVAL), "the next probe comes soon: {pause:?}");
    assert_eq!(world.probe(Err(timeout())).0, [], "two failures");
    let mut outputs = Vec::new();
    for _ in 0..2 {
        outputs.extend(world.input(passive(ERRORS)));
    }
    let expected = "3 failures in a row, the last: no good answer in real traffic: 100 times status 5xx";
    assert_eq!(verdict(&outputs), Some((Health::Up, Health::Down, expected.to_owned())));
}

#[test]
fn marked_down_by_its_traffic_a_backend_stays_so_for_a_while_and_rises_by_its_probes() {
    for hold_down in [Duration::from_secs(5), Duration::from_millis(20), Duration::ZERO] {
        let mut world = World::with(Health::Up);
        let rule = PassiveRule { mark_down: Some(hold_down), ..PassiveRule::default() };
        assert_eq!(world.input(Input::Passive { seen: ERRORS, rule }), []);
        let outputs = world.input(Input::Passive { seen: ERRORS, rule });
        let expected = "no good answer in real traffic: 10 times status 5xx";
        assert_eq!(verdict(&outputs), Some((Health::Up, Health::Down, expected.to_owned())));
        let until = world.now + hold_down;
        let mut probes = 0;
        let risen = loop {
            let (outputs, pause) = world.probe(Ok(()));
            probes += 1;
            assert!(pause <= Duration::from_millis(1100), "{pause:?}");
            if let Some(verdict) = verdict(&outputs) {
                break verdict;
            }
        };
        assert!(probes >= 2 && world.now >= until, "{probes} probes");
        assert!(world.now <= until + Duration::from_millis(200), "{:?} late", world.now - until);
        assert!(matches!(risen, (Health::Down, Health::Up, _)));
    }
}

#[test]
fn how_long_a_run_is_comes_with_the_report() {
    for limit in [1, 4, 5, 6, 1000] {
        let mut world = World::with(Health::Up);
        let rule = PassiveRule { limit: NonZeroU32::new(limit).unwrap(), mark_down: None };
        let report = || Input::Passive { seen: ERRORS, rule };
        for reported in 1..=200 {
            assert_eq!(world.input(report()), []);
            let pause = world.tracker.poll_timeout().unwrap() - world.now;
            let counts = 5 * reported >= limit;
            assert_eq!(
                near(pause, Settings::FAST_INTERVAL),
                counts,
                "{limit}: {reported} reports, {pause:?}"
            );
        }
    }
}

#[test]
fn a_noticed_backend_is_drained_before_its_time_and_stays_so_whatever_probes_say() {
    let mut world = World::with(Health::Up);
    let noticed_at = world.now;
    let at = world.now + Duration::from_secs(32);
    assert_eq!(world.input(Input::Notice(Some(at))), []);
    while world.tracker.poll_timeout().unwrap() < noticed_at + Duration::from_secs(2) {
        assert_eq!(world.probe(Ok(())).0, []);
    }
    world.now = world.tracker.poll_timeout().unwrap();
    assert_eq!(world.now + Settings::LEAD, at);
    world.tracker.handle_timeout(world.now);
    let outputs = world.outputs();
    let expected = "announced to go away within 30s".to_owned();
    assert_eq!(verdict(&outputs), Some((Health::Up, Health::Down, expected)));
    let Some(Output::Verdict(decided)) = outputs.first() else { panic!("{outputs:?}") };
    assert_eq!(decided.evidence_at, noticed_at);
    while world.now < at + Duration::from_secs(3) {
        let (outputs, pause) = world.probe(Ok(()));
        assert_eq!(outputs, []);
        assert!(pause <= Duration::from_millis(1100), "{pause:?}");
    }
    let outputs = world.input(Input::Notice(None));
    assert!(matches!(verdict(&outputs), Some((Health::Down, Health::Up, _))), "taken back: up at once");
}

#[test]
fn a_notice_can_come_late_be_put_off_and_be_known_from_the_start() {
    let mut world = World::with(Health::Up);
    let outputs = world.input(Input::Notice(Some(world.now)));
    let expected = "announced to have gone away by now".to_owned();
    assert_eq!(verdict(&outputs), Some((Health::Up, Health::Down, expected)));
    assert_eq!(world.input(Input::Notice(Some(world.now + MS))), [], "the same again, nearly");
    for _ in 0..2 {
        assert_eq!(world.probe(Ok(())).0, []);
    }
    let later = world.now + Duration::from_mins(1);
    assert!(verdict(&world.input(Input::Notice(Some(later)))).is_some(), "put off: up until then");
    assert_eq!(world.tracker.health(), Health::Up);

    let mut world = World::new();
    let outputs = world.input(Input::Notice(Some(world.now)));
    assert!(matches!(verdict(&outputs), Some((Health::Unknown, Health::Down, _))));
    world.probe(Err(timeout()));
    assert_eq!(world.input(Input::Notice(None)), [], "it has to rise as any other");
}

#[test]
fn what_another_tracker_knew_of_marks_and_notices_holds() {
    let rule = PassiveRule { mark_down: Some(Duration::from_secs(5)), ..PassiveRule::default() };
    let resumed = |world: &World| {
        let tracker = BackendTracker::resume(settings(), 2, world.now, world.tracker.known());
        World { tracker, now: world.now }
    };

    let mut marked = World::with(Health::Up);
    marked.input(Input::Passive { seen: ERRORS, rule });
    marked.input(Input::Passive { seen: ERRORS, rule });
    let until = marked.now + Duration::from_secs(5);
    let mut world = resumed(&marked);
    assert_eq!(world.tracker.health(), Health::Down);
    while world.tracker.poll_timeout().unwrap() + MS < until {
        assert_eq!(world.probe(Ok(())).0, [], "marked down by real traffic");
    }
    assert!(verdict(&world.probe(Ok(())).0).is_some(), "up when the mark ends");

    let mut noticed = World::with(Health::Up);
    let at = noticed.now + Duration::from_secs(10);
    noticed.input(Input::Notice(Some(at)));
    let mut world = resumed(&noticed);
    for _ in 0..5 {
        assert_eq!(world.probe(Ok(())).0, [], "announced to go away");
    }
    assert_eq!(world.input(Input::Notice(Some(at))), [], "the same notice");
    assert!(verdict(&world.input(Input::Notice(None))).is_some());

    let mut later = World::with(Health::Up);
    later.input(Input::Notice(Some(later.now + Duration::from_secs(40))));
    let mut world = resumed(&later);
    assert_eq!(world.tracker.health(), Health::Up, "half a minute before is not yet");
    world.now += Duration::from_secs(10);
    world.tracker.handle_timeout(world.now);
    assert!(matches!(verdict(&world.outputs()), Some((Health::Up, Health::Down, _))));
}

#[test]
fn nothing_comes_up_before_the_first_word_of_notices() {
    for (notice, expected) in [(None, Health::Up), (Some(Duration::ZERO), Health::Down)] {
        let mut world = World::new();
        world.tracker = BackendTracker::new(settings(), 1, world.now).wait_for_notice();
        for _ in 0..5 {
            assert_eq!(world.probe(Ok(())).0, []);
        }
        let outputs = world.input(Input::Notice(notice.map(|left| world.now + left)));
        assert_eq!(verdict(&outputs).map(|(from, to, _)| (from, to)), Some((Health::Unknown, expected)));
    }
}

fn any_failure() -> impl Strategy<Value = Failure> {
    proptest::sample::select(vec![Failure::Refused, Failure::Closed, timeout()])
}

fn any_probe() -> impl Strategy<Value = Result<(), Failure>> {
    proptest::option::of(any_failure()).prop_map(|failure| failure.map_or(Ok(()), Err))
}

fn any_input() -> impl Strategy<Value = Input> {
    let outcome = || prop_oneof![9 => any_probe(), 1 => Just(Err(local()))];
    prop_oneof![
        4 => outcome().prop_map(Input::Probed),
        2 => outcome().prop_map(Input::Confirmed),
        1 => Just(Input::StandingLost(Loss::Closed)),
        1 => (any_passive(), any_rule()).prop_map(|(seen, rule)| Input::Passive { seen, rule }),
    ]
}

fn any_rule() -> impl Strategy<Value = PassiveRule> {
    (1u32..20, proptest::option::of(0u64..5000)).prop_map(|(limit, mark_down)| PassiveRule {
        limit: NonZeroU32::new(limit).unwrap(),
        mark_down: mark_down.map(Duration::from_millis),
    })
}

fn any_passive() -> impl Strategy<Value = Passive> {
    (0..2u32, 0..2u32, 0..20u32, 0..20u32, 0..2u32).prop_map(
        |(connect_errors, resets, server_errors, slow, good)| Passive {
            connect_errors,
            resets,
            server_errors,
            slow,
            good,
        },
    )
}

proptest! {
    #[test]
    fn any_number_of_local_failures_anywhere_changes_no_verdict(
        steps in proptest::collection::vec((any_probe(), any_probe(), 0usize..5), 1..60),
    ) {
        let (mut seeing, mut blinded) = (World::new(), World::new());
        for (outcome, confirm, locals) in steps {
            let before = blinded.tracker.health();
            for _ in 0..locals {
                prop_assert_eq!(blinded.probe(Err(local())).0, []);
                if before != Health::Down {
                    prop_assert_eq!(blinded.input(Input::StandingLost(Loss::Closed)), [Output::Confirm]);
                    prop_assert_eq!(blinded.input(Input::Confirmed(Err(local()))), []);
                }
                prop_assert_eq!(blinded.tracker.health(), before);
            }
            let [expected, found] = [&mut seeing, &mut blinded].map(|world| {
                let mut outputs = world.probe(outcome.clone()).0;
                if outputs.contains(&Output::Confirm) {
                    outputs.extend(world.input(Input::Confirmed(confirm.clone())));
                }
                (verdict(&outputs), world.tracker.health())
            });
            prop_assert_eq!(expected, found);
        }
    }

    /// Else clients that provoke errors could take a backend away.
    #[test]
    fn no_traffic_takes_a_backend_down_that_takes_connections_and_passes_its_probes(
        reports in proptest::collection::vec(proptest::collection::vec(any_passive(), 0..5), 1..100),
        fall in 1u16..4,
    ) {
        let mut world = World::with(Health::Up);
        world.tracker.settings.fall = nonzero(fall);
        for seen in reports {
            for seen in seen {
                if world.input(passive(seen)) == [Output::Confirm] {
                    prop_assert_eq!(world.input(Input::Confirmed(Ok(()))), []);
                }
            }
            prop_assert_eq!(world.probe(Ok(())).0, []);
            prop_assert_eq!(world.tracker.health(), Health::Up);
        }
    }

    /// A notice delays no verdict but the one it forbids: with every notice gone, all is as if there had been none.
    #[test]
    fn a_backend_is_never_up_while_a_notice_is_in_force(
        steps in proptest::collection::vec((any_probe(), proptest::option::of(0u64..60)), 1..60),
    ) {
        let mut world = World::new();
        let mut notice = None;
        for (outcome, change) in steps {
            if let Some(seconds) = change {
                notice = (seconds < 50).then(|| world.now + Duration::from_secs(seconds));
                world.input(Input::Notice(notice));
            }
            let due = world.tracker.poll_timeout().unwrap();
            world.now = world.now.max(due);
            world.tracker.handle_timeout(world.now);
            if world.outputs().contains(&Output::Probe) {
                world.tracker.handle(world.now, Input::Probed(outcome));
                if world.outputs().contains(&Output::Confirm) {
                    world.input(Input::Confirmed(Ok(())));
                }
            }
            if notice.is_some_and(|at| at <= world.now + Settings::LEAD) {
                prop_assert_eq!(world.tracker.health(), Health::Down);
            }
        }
        world.input(Input::Notice(None));
        world.probe(Ok(()));
        world.probe(Ok(()));
        prop_assert_eq!(world.tracker.health(), Health::Up);
    }

    #[test]
    fn verdicts_form_a_chain_and_probes_never_overlap_or_stop(
        steps in proptest::collection::vec((any_input(), 0u64..1500), 1..200),
        seed: u64,
    ) {
        let mut world = World::new();
        world.tracker = BackendTracker::new(settings(), seed, world.now);
        let (mut health, mut probing, mut confirming) = (Health::Unknown, false, false);
        for (input, wait) in steps {
            world.now += Duration::from_millis(wait);
            world.tracker.handle_timeout(world.now);
            let answers_probe = matches!(input, Input::Probed(_));
            let answers_confirm = matches!(input, Input::Confirmed(_));
            for output in world.outputs() {
                prop_assert_eq!(&output, &Output::Probe);
                prop_assert!(!probing);
                probing = true;
            }
            world.tracker.handle(world.now, input);
            probing &= !answers_probe;
            confirming &= !answers_confirm;
            for output in world.outputs() {
                match output {
                    Output::Probe => prop_assert!(false, "a probe is only asked for when it is due"),
                    Output::Confirm => {
                        prop_assert!(!confirming && health != Health::Down);
                        confirming = true;
                    }
                    Output::Abandon => {
                        prop_assert!(probing && health == Health::Down);
                        probing = false;
                    }
                    Output::Verdict(verdict) => {
                        prop_assert_eq!(verdict.from, health);
                        prop_assert_ne!(verdict.to, health);
                        prop_assert!(verdict.evidence_at <= verdict.at);
                        health = verdict.to;
                    }
                }
            }
            prop_assert_eq!(world.tracker.health(), health);
            match world.tracker.poll_timeout() {
                Some(due) => prop_assert!(!probing && due <= world.now + Duration::from_millis(1100)),
                None => prop_assert!(probing),
            }
        }
    }
}

#[test]
fn a_verdict_that_was_known_holds_until_probes_decide_otherwise() {
    for (health, outcomes) in [
        (Health::Up, [Ok(()), Err(timeout()), Err(timeout()), Err(timeout())]),
        (Health::Down, [Err(timeout()), Err(timeout()), Ok(()), Ok(())]),
    ] {
        let mut world = World::new();
        world.tracker = BackendTracker::resume(settings(), 1, world.now, health.into());
        assert_eq!((world.tracker.health(), world.outputs()), (health, vec![]));
        let [before @ .., last] = outcomes;
        for outcome in before {
            assert_eq!(verdict(&world.probe(outcome).0), None);
        }
        let (from, to, _) = verdict(&world.probe(last).0).expect("enough in a row");
        assert_eq!((from, to), (health, if health == Health::Up { Health::Down } else { Health::Up }));
    }
}
