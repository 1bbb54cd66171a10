#![allow(clippy::disallowed_methods, reason = "any instant will do as the start of a virtual clock")]

use proxima_health::Watched;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const DEAD_MAN: Duration = Duration::from_secs(5);

/// One backend, `app/one`, whose latest probe began and ended at the same time, and passed.
struct Probes(Option<Instant>);

impl LatestProbes for Probes {
    fn ended(&self, _: &BackendId) -> Option<Instant> {
        self.0
    }

    fn passed(&self, _: &BackendId) -> Option<Instant> {
        self.0
    }

    fn failed(&self, _: &BackendId) -> Option<Instant> {
        None
    }
}

struct World {
    begun: Instant,
    probes: Probes,
    check: SelfCheck,
}

impl World {
    fn new() -> Self {
        let (begun, probes) = (Instant::now(), Probes(None));
        Self { check: SelfCheck::new(begun, &[gates("held")], &probes, 2), begun, probes }
    }

    fn look(&mut self, after: Duration, beats: [u64; 2]) -> Result<Vec<WorkerChange>, WorkerStuck> {
        self.check.look(self.begun + after, beats, &self.probes, |_| Health::Up)
    }

    fn duties(&mut self) -> Vec<Duty> {
        std::iter::from_fn(|| self.check.poll_output()).collect()
    }
}

fn gates(group: &str) -> Gates {
    let backend = "app/one".parse().unwrap();
    let watched = vec![Watched { backend, is_own: true, limit: DEAD_MAN }];
    Gates { group: group.parse().unwrap(), dead_man: Some(DEAD_MAN), watched }
}

fn tell(group: &str, input: Input) -> Duty {
    Duty::Tell(group.parse().unwrap(), input)
}

fn forgets() -> Input {
    Input::View(View::default())
}

#[test]
fn an_end_is_told_and_what_is_doubted_is_scored_before_it() {
    let mut world = World::new();
    world.probes.0 = Some(world.begun + SECOND);
    world.look(SECOND, [1, 1]).unwrap();
    let checked = |at| tell("held", Input::Checked(at));
    assert_eq!(world.duties(), [checked(world.begun + SECOND), Duty::ScoreForgotten]);
    world.look(2 * SECOND, [2, 2]).unwrap();
    assert_eq!(world.duties(), [Duty::ScoreForgotten], "told once");
    // Silent for too long, and then one that had begun before it was: the old verdict is doubted.
    world.probes.0 = Some(world.begun + SECOND + DEAD_MAN);
    world.look(7 * SECOND, [3, 3]).unwrap();
    assert_eq!(world.duties(), [Duty::Score, checked(world.begun + SECOND + DEAD_MAN), Duty::ScoreForgotten]);
    assert_eq!(world.check.believed(&"app/one".parse().unwrap(), Health::Up), Health::Unknown);
    world.check.decided(&"app/one".parse().unwrap(), Health::Down, &world.probes);
    assert_eq!(world.check.believed(&"app/one".parse().unwrap(), Health::Up), Health::Up);
}

#[test]
fn a_stalled_worker_is_a_fault_of_every_group_until_it_beats_again() {
    let mut world = World::new();
    let mut told = Vec::new();
    for tick in 1..=14u64 {
        let beats = [tick, if tick < 13 { 1 } else { tick }];
        let changes = world.look(SECOND / 10 * u32::try_from(tick).unwrap(), beats).unwrap();
        told.extend(changes.into_iter().map(|change| (tick, change)));
        for duty in world.duties() {
            if let Duty::Tell(_, Input::Fault(fault)) = duty {
                told.push((tick, WorkerChange::Recovered { worker: 9 }));
                assert_eq!(fault.as_deref(), (tick < 13).then_some("1 of 2 workers stalled"));
            }
        }
    }
    let (marker, silent) = (WorkerChange::Recovered { worker: 9 }, SECOND);
    let expected = [
        (11, WorkerChange::Stalled { worker: 1, silent }),
        (11, marker.clone()),
        (13, WorkerChange::Recovered { worker: 1 }),
        (13, marker),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_worker_that_stays_stuck_is_an_error() {
    let mut world = World::new();
    let lost = (1..=400u32).find_map(|tick| {
        let lost = world.look(SECOND / 10 * tick, [1, tick.into()]).err();
        lost.map(|lost| (tick, lost.worker))
    });
    assert_eq!(lost, Some((301, 0)));
}

#[test]
fn after_a_standstill_a_suspended_host_is_a_fault_first_and_views_are_forgotten() {
    let mut world = World::new();
    world.probes.0 = Some(world.begun + SECOND);
    world.look(SECOND, [1, 1]).unwrap();
    assert_eq!(world.check.turn(world.begun + SECOND, SECOND), None);
    world.duties();

    let gap = world.check.turn(world.begun + 4 * SECOND, 4 * SECOND);
    assert_eq!(gap, Some(Gap { length: 3 * SECOND, asleep: Duration::ZERO }));
    assert_eq!(world.duties(), [tell("held", forgets()), Duty::Score], "not for longer than the dead man");

    let gap = world.check.turn(world.begun + 5 * SECOND, 60 * SECOND);
    assert_eq!(gap, Some(Gap { length: 56 * SECOND, asleep: 55 * SECOND }));
    let duties = world.duties();
    assert!(
        matches!(
            &duties[..],
            [Duty::Tell(_, Input::Fault(Some(_))), Duty::Tell(_, Input::View(_)), Duty::Score]
        ),
        "{duties:?}"
    );
    assert_eq!(world.check.believed(&"app/one".parse().unwrap(), Health::Up), Health::Unknown);
    // The next probe says that all is as it was.
    world.probes.0 = Some(world.begun + 6 * SECOND);
    world.look(6 * SECOND, [2, 2]).unwrap();
    let duties = world.duties();
    assert_eq!(duties.last(), Some(&tell("held", Input::Fault(None))), "{duties:?}");
}

#[test]
fn a_group_that_is_new_is_told_what_it_would_know_and_one_that_stays_is_not() {
    let mut world = World::new();
    let at = world.begun + SECOND;
    world.probes.0 = Some(at);
    world.check.reconfigure(at, &[gates("held"), gates("new")], &world.probes);
    assert_eq!(world.duties(), [tell("new", Input::Checked(at)), Duty::Score]);
    // A fault goes to a group that comes while it is there, too.
    for tick in 11..=22u32 {
        world.look(SECOND / 10 * tick, [1, tick.into()]).unwrap();
    }
    world.duties();
    let fault = || Input::Fault(Some("1 of 2 workers stalled".to_owned()));
    world.check.reconfigure(at, &[gates("newer"), gates("new")], &world.probes);
    assert_eq!(
        world.duties(),
        [tell("newer", fault()), tell("newer", Input::Checked(at)), Duty::Score],
        "never announced meanwhile"
    );
}

#[test]
fn a_fault_goes_before_a_probes_end_and_its_own_end_after() {
    let mut world = World::new();
    for tick in 1..=10u32 {
        world.look(SECOND / 10 * tick, [1, tick.into()]).unwrap();
    }
    world.duties();
    world.probes.0 = Some(world.begun + SECOND);
    world.look(SECOND / 10 * 11, [1, 11]).unwrap();
    let checked = tell("held", Input::Checked(world.begun + SECOND));
    let stalled = tell("held", Input::Fault(Some("1 of 2 workers stalled".to_owned())));
    assert_eq!(world.duties(), [stalled, checked, Duty::ScoreForgotten]);
    world.probes.0 = Some(world.begun + 2 * SECOND);
    world.look(2 * SECOND, [2, 12]).unwrap();
    let checked = tell("held", Input::Checked(world.begun + 2 * SECOND));
    assert_eq!(world.duties(), [checked, Duty::ScoreForgotten, tell("held", Input::Fault(None))]);
}
