#![allow(clippy::disallowed_methods, reason = "any instant will do as the start of a virtual clock")]

use proptest::prelude::*;

use super::*;

const LIMIT: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);

/// When each probe of a backend ended; when the ones began that passed, and that failed.
type Marks = (Option<Instant>, Option<Instant>, Option<Instant>);

#[derive(Default)]
struct Probes(BTreeMap<BackendId, Marks>);

impl LatestProbes for Probes {
    fn ended(&self, backend: &BackendId) -> Option<Instant> {
        self.0.get(backend)?.0
    }

    fn passed(&self, backend: &BackendId) -> Option<Instant> {
        self.0.get(backend)?.1
    }

    fn failed(&self, backend: &BackendId) -> Option<Instant> {
        self.0.get(backend)?.2
    }
}

/// A group gated by `app/eu-1` and `app/eu-2`, both up; probes end when the test says so.
struct World {
    probes: Probes,
    doubt: Doubt,
    begun: Instant,
}

impl World {
    fn gates() -> [Gates; 1] {
        let watched = ["app/eu-1", "app/eu-2"].map(|id| Watched {
            backend: id.parse().unwrap(),
            is_own: true,
            limit: Watched::limit_of(LIMIT, SECOND),
        });
        [Gates { group: Self::group(), dead_man: Some(LIMIT), watched: watched.into() }]
    }

    fn new() -> Self {
        let (begun, probes) = (Instant::now(), Probes::default());
        Self { doubt: Doubt::new(begun, &Self::gates(), &probes), probes, begun }
    }

    fn note(&mut self, id: &str, began: Duration, ended: Duration, passed: bool) {
        let marks = self.probes.0.entry(id.parse().unwrap()).or_default();
        marks.0 = Some(self.begun + ended);
        *(if passed { &mut marks.1 } else { &mut marks.2 }) = Some(self.begun + began);
    }

    fn passes(&mut self, id: &str, at: Duration) {
        self.note(id, at, at, true);
    }

    fn fails(&mut self, id: &str, at: Duration) {
        self.note(id, at, at, false);
    }

    fn look(&mut self, at: Duration) -> Looked {
        self.look_with(at, Health::Up)
    }

    fn look_with(&mut self, at: Duration, verdict: Health) -> Looked {
        self.doubt.look(self.begun + at, &self.probes, |_| verdict)
    }

    fn decided(&mut self, id: &str, verdict: Health) {
        self.doubt.decided(&id.parse().unwrap(), verdict, &self.probes);
    }

    fn thawed(&mut self, at: Duration, length: Duration, suspended: bool) {
        let asleep = if suspended { length } else { Duration::ZERO };
        self.doubt.thawed(self.begun + at, Gap { length, asleep });
    }

    fn reconfigure(&mut self, at: Duration, gates: &[Gates]) {
        self.doubt.reconfigure(self.begun + at, gates, &self.probes);
    }

    fn believed(&self, id: &str) -> Health {
        self.doubt.believed(&id.parse().unwrap(), Health::Up)
    }

    fn group() -> GroupName {
        "held".parse().unwrap()
    }
}

#[test]
fn the_newest_end_of_an_own_backend_is_told_once_and_one_of_another_region_is_not() {
    let mut world = World::new();
    assert_eq!(world.look(SECOND), Looked::default());
    world.passes("app/us-1", SECOND);
    assert_eq!(world.look(SECOND), Looked::default());
    assert_eq!(world.doubt.newest(&World::group(), &world.probes), None);
    world.passes("app/eu-1", SECOND);
    world.fails("app/eu-2", 2 * SECOND);
    assert_eq!(world.doubt.newest(&World::group(), &world.probes), Some(world.begun + 2 * SECOND));
    let checked = world.look(2 * SECOND).checked;
    assert_eq!(checked, [(World::group(), world.begun + 2 * SECOND)]);
    assert_eq!(world.look(3 * SECOND), Looked::default());
}

#[test]
fn after_a_silence_a_verdict_is_believed_again_when_a_probe_that_began_since_agrees() {
    let mut world = World::new();
    world.passes("app/eu-1", SECOND);
    world.look(SECOND);
    assert!(!world.look(LIMIT).changed, "not yet");
    assert!(world.look(SECOND + LIMIT).changed);
    assert_eq!((world.believed("app/eu-1"), world.believed("app/us-1")), (Health::Unknown, Health::Up));

    // One that had begun before says nothing of now.
    world.note("app/eu-1", SECOND, 8 * SECOND, true);
    let looked = world.look(8 * SECOND);
    assert_eq!((looked.changed, looked.checked.len()), (false, 1));
    world.fails("app/eu-1", 9 * SECOND);
    world.passes("app/eu-2", 9 * SECOND);
    assert!(world.look(9 * SECOND).changed);
    assert_eq!((world.believed("app/eu-1"), world.believed("app/eu-2")), (Health::Unknown, Health::Up));
    world.decided("app/eu-1", Health::Down);
    assert_eq!(world.believed("app/eu-1"), Health::Up, "whatever it is now");
}

#[test]
fn a_group_that_comes_after_a_standstill_does_not_believe_what_is_older_than_it_may_be() {
    let mut world = World::new();
    world.reconfigure(Duration::ZERO, &[]);
    world.passes("app/eu-1", SECOND);
    world.passes("app/eu-2", 8 * SECOND);
    world.thawed(9 * SECOND, 7 * SECOND, false);
    world.reconfigure(9 * SECOND, &World::gates());
    assert_eq!((world.believed("app/eu-1"), world.believed("app/eu-2")), (Health::Unknown, Health::Up));
    world.passes("app/eu-1", 10 * SECOND);
    world.look(10 * SECOND);
    assert_eq!(world.believed("app/eu-1"), Health::Up);
}

#[test]
fn a_backend_that_was_down_is_believed_to_be_after_any_new_probe() {
    let mut world = World::new();
    world.passes("app/eu-1", SECOND);
    world.look(SECOND);
    world.look(SECOND + LIMIT);
    world.passes("app/eu-1", 7 * SECOND);
    assert!(world.look_with(7 * SECOND, Health::Down).changed);
    assert_eq!(world.believed("app/eu-1"), Health::Up);
}

#[test]
fn a_suspended_host_is_a_fault_until_every_own_backend_is_known_anew() {
    let mut world = World::new();
    world.passes("app/eu-1", SECOND);
    world.look(SECOND);
    world.thawed(2 * SECOND, 60 * SECOND, true);
    let fault = world.doubt.fault(&World::group()).unwrap();
    assert!(fault.contains("suspended for 60.0 s"), "{fault}");
    world.passes("app/eu-1", 3 * SECOND);
    world.look(3 * SECOND);
    assert!(world.doubt.fault(&World::group()).is_some(), "one of two");
    world.passes("app/eu-2", 3 * SECOND);
    world.look(3 * SECOND);
    assert_eq!(world.doubt.fault(&World::group()), None);

    // A process that stood still: the group's own clock tells.
    world.thawed(4 * SECOND, 60 * SECOND, false);
    assert_eq!((world.believed("app/eu-1"), world.doubt.fault(&World::group())), (Health::Unknown, None));
}

#[test]
fn a_backend_whose_checker_is_dead_is_doubted_though_others_are_probed() {
    let mut world = World::new();
    world.passes("app/eu-1", SECOND);
    world.passes("app/eu-2", SECOND);
    world.look(SECOND);
    let id = "app/eu-2".parse().unwrap();
    for second in 2..=6 {
        world.passes("app/eu-1", second * SECOND);
        assert!(!world.look(second * SECOND).changed, "{second}");
    }
    assert_eq!(world.doubt.unchecked_since(&id), None, "not long enough");
    world.passes("app/eu-1", 7 * SECOND);
    assert!(world.look(7 * SECOND).changed);
    assert_eq!((world.believed("app/eu-1"), world.believed("app/eu-2")), (Health::Up, Health::Unknown));
    assert_eq!(world.doubt.unchecked_since(&id), Some(world.begun + SECOND));
    assert!(!world.look(8 * SECOND).changed, "once");

    // Its first end says that it is checked again, and its first success that the verdict holds.
    world.fails("app/eu-2", 9 * SECOND);
    assert!(world.look(9 * SECOND).changed);
    assert!(!world.doubt.is_unchecked(&id) && world.believed("app/eu-2") == Health::Unknown);
    world.passes("app/eu-2", 10 * SECOND);
    assert!(world.look(10 * SECOND).changed);
    assert_eq!(world.believed("app/eu-2"), Health::Up);
}

#[test]
fn a_backend_that_a_reload_has_put_elsewhere_has_as_long_as_a_new_one() {
    let mut world = World::new();
    let id = "app/eu-2".parse().unwrap();
    let others_are_probed = |world: &mut World, until: u32, unchecked: bool| {
        for second in until - 4..=until {
            world.passes("app/eu-1", second * SECOND);
            world.look(second * SECOND);
        }
        assert_eq!(world.doubt.is_unchecked(&id), unchecked, "after {until} s");
    };
    others_are_probed(&mut world, 10, true);
    world.reconfigure(10 * SECOND, &World::gates());
    others_are_probed(&mut world, 15, false);
    others_are_probed(&mut world, 20, true);
}

#[test]
fn where_all_fall_silent_and_come_back_none_is_singled_out() {
    let mut world = World::new();
    world.passes("app/eu-1", SECOND);
    world.passes("app/eu-2", 2 * SECOND);
    world.look(2 * SECOND);
    for second in 3..60 {
        world.look(second * SECOND);
    }
    let (one, other) = ("app/eu-1".parse().unwrap(), "app/eu-2".parse().unwrap());
    assert!(!world.doubt.is_unchecked(&one) && !world.doubt.is_unchecked(&other));
    world.passes("app/eu-1", 60 * SECOND);
    world.look(60 * SECOND);
    assert!(!world.doubt.is_unchecked(&other), "its turn comes");
    // As after a freeze.
    world.passes("app/eu-2", 60 * SECOND);
    world.thawed(90 * SECOND, 30 * SECOND, false);
    world.passes("app/eu-1", 91 * SECOND);
    world.look(91 * SECOND);
    assert!(!world.doubt.is_unchecked(&other));
}

#[test]
fn a_backend_that_no_probe_of_ever_ends_is_waited_for_no_longer_than_the_dead_man() {
    let mut world = World::new();
    let id = "app/eu-1".parse().unwrap();
    assert!(!world.look_with(LIMIT, Health::Unknown).changed);
    assert!(world.look_with(LIMIT + SECOND, Health::Unknown).changed);
    assert!(world.doubt.is_unchecked(&id));
    assert!(!world.look_with(LIMIT + 2 * SECOND, Health::Unknown).changed, "once");
}

#[test]
fn a_group_that_comes_after_a_suspension_does_not_believe_what_is_older_than_it_may_be() {
    let mut world = World::new();
    world.reconfigure(Duration::ZERO, &[]);
    world.passes("app/eu-1", SECOND);
    world.passes("app/eu-2", 3 * SECOND);
    world.thawed(2 * SECOND, 60 * SECOND, true);
    world.reconfigure(4 * SECOND, &World::gates());
    assert_eq!((world.believed("app/eu-1"), world.believed("app/eu-2")), (Health::Unknown, Health::Up));
}

#[test]
fn a_verdict_that_a_backend_is_up_by_a_probe_of_before_a_standstill_is_not_believed() {
    let mut world = World::new();
    world.passes("app/eu-1", SECOND);
    world.look(SECOND);
    world.thawed(60 * SECOND, 58 * SECOND, false);
    // Answered before, and read only now; with it there were enough.
    world.note("app/eu-1", 2 * SECOND, 60 * SECOND, true);
    world.decided("app/eu-1", Health::Up);
    assert_eq!(world.believed("app/eu-1"), Health::Unknown);
    world.look(60 * SECOND);
    assert_eq!(world.believed("app/eu-1"), Health::Unknown);
    world.passes("app/eu-1", 61 * SECOND);
    world.decided("app/eu-1", Health::Up);
    assert_eq!(world.believed("app/eu-1"), Health::Up);
}

#[test]
fn a_first_verdict_by_a_probe_that_began_before_a_silence_is_not_believed() {
    let mut world = World::new();
    world.passes("app/eu-1", SECOND);
    world.look(SECOND);
    let silent = LIMIT + 2 * SECOND;
    assert!(!world.look_with(silent, Health::Unknown).changed, "nothing was known");
    world.note("app/eu-2", SECOND, 2 * silent, true);
    world.decided("app/eu-2", Health::Up);
    assert_eq!(world.believed("app/eu-2"), Health::Unknown);
    world.passes("app/eu-2", 2 * silent + SECOND);
    assert!(world.look(2 * silent + SECOND).changed);
    assert_eq!(world.believed("app/eu-2"), Health::Up);
}

#[test]
fn time_in_which_the_host_was_suspended_counts_for_the_age_of_what_is_known() {
    // Probed 3 s before it was suspended for 2 s, and again so, with a prober that is dead by then.
    let mut world = World::new();
    world.passes("app/eu-1", SECOND);
    world.passes("app/eu-2", SECOND);
    world.look(SECOND);
    world.thawed(7 * SECOND / 2, 2 * SECOND, true);
    assert_eq!((world.believed("app/eu-1"), world.doubt.fault(&World::group())), (Health::Up, None), "4.5 s");
    assert!(world.look(4 * SECOND).changed, "5 s, of which the clock has counted 3");
    assert_eq!(world.believed("app/eu-1"), Health::Unknown);
    let fault = world.doubt.fault(&World::group()).unwrap();
    assert!(fault.contains("suspended for 2.0 s"), "{fault}");
    for id in ["app/eu-1", "app/eu-2"] {
        world.passes(id, 5 * SECOND);
    }
    world.look(5 * SECOND);
    assert_eq!((world.believed("app/eu-1"), world.doubt.fault(&World::group())), (Health::Up, None));
    // At once where it is too old when the host goes on.
    world.thawed(6 * SECOND, 4500 * SECOND / 1000, true);
    assert_eq!(world.believed("app/eu-1"), Health::Unknown);
    assert!(world.doubt.fault(&World::group()).is_some());
}

proptest! {
    /// Whoever looks only when there is news, and when a look is due, sees what one sees that looks all the time.
    #[test]
    fn between_news_and_what_is_due_a_look_changes_nothing(
        ends in proptest::collection::vec((0u64..4_000, 0usize..2, any::<bool>()), 1..40),
    ) {
        let mut world = World::new();
        let mut at = Duration::ZERO;
        for (after, backend, passed) in ends {
            let next = at + Duration::from_millis(after);
            let mut tick = at + Duration::from_millis(100);
            while tick < next {
                let due = world.doubt.poll_timeout().is_some_and(|due| due <= world.begun + tick);
                let before = format!("{:?}", world.doubt);
                let looked = world.look(tick);
                prop_assert!(due || !looked.changed, "{tick:?}: {looked:?}");
                prop_assert!(due || format!("{:?}", world.doubt) == before, "{tick:?}");
                tick += Duration::from_millis(100);
            }
            at = next;
            let id = ["app/eu-1", "app/eu-2"][backend];
            world.note(id, at.saturating_sub(Duration::from_millis(50)), at, passed);
            world.look(at);
        }
    }
}
