//! Whether what is known of backends is still to be believed.
//!
//! ```text
//!  probes' ends ─▶ newest of a group's own backends ─▶ told to the group: its dead man lives
//!                     │ none for longer than `dead-man`, or nothing of this process ran for so long
//!                     ▼
//!                  each of them is doubted ─▶ no verdict, as far as scores go, until
//!                                              ├─ a probe that began since says the same as the old verdict, or anything
//!                                              │  where that was Down
//!                                              └─ there is a new verdict
//!
//!  its own latest end ─▶ older by `dead-man` than the newest of its group, or there has been none for so long
//!                           └─▶ doubted by itself, and unchecked: not up as far as scores go, until a probe of it ends
//! ```
//!
//! So a checker that is dead or stuck is noticed though all others live. Where all of a group fall silent together, it is the
//! group's dead man that tells, and none of them is singled out. Pools that are probed less often than the group's dead man waits have
//! three of their own paces.
//!
//! Requests go on by the old verdicts meanwhile: a wrong one costs another try, and to believe none would cost every request.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use proxima_config::{Backend, Config, Pool};
use proxima_probe::Checks;
use proxima_types::{BackendId, GroupName, Health};

use crate::{
    groups::{behind_scores, dead_man},
    thaw::Gap,
};

/// After so long without a probe that could be made it is told, though the verdict is still believed.
const TOLD_AFTER: Duration = Duration::from_secs(5);
/// How many times the pace of its pool's probes a backend may be without one, at the least.
const PACES: u32 = 3;

/// What is doubted, by backend and by group.
#[derive(Debug)]
pub(crate) struct Doubt {
    checks: Checks,
    groups: BTreeMap<GroupName, Checked>,
    /// Since when. What a probe says counts if it began later.
    doubted: BTreeMap<BackendId, Instant>,
    /// Doubted by themselves, and since when nothing checks them.
    unchecked: BTreeMap<BackendId, Instant>,
}

/// What gates a group that does not believe for ever.
#[derive(Debug)]
struct Checked {
    limit: Duration,
    watched: Vec<Watched>,
    /// When the newest of the own backends' probes ended.
    newest: Option<Instant>,
    /// How long the host was suspended, until something of now is known.
    suspended: Option<Duration>,
}

/// A backend that counts for a group.
#[derive(Debug)]
struct Watched {
    backend: BackendId,
    /// Of the own region.
    is_own: bool,
    /// How long it may be without a probe's end while others have some.
    limit: Duration,
    /// From when on it could have had one.
    since: Instant,
}

impl Checked {
    fn own(&self) -> impl Iterator<Item = &BackendId> {
        self.watched.iter().filter(|watched| watched.is_own).map(|watched| &watched.backend)
    }

    /// Nothing could have ended before `now`.
    fn begin_anew(&mut self, now: Instant) {
        self.watched.iter_mut().for_each(|watched| watched.since = now);
    }

    /// Takes the latest ends in; returns the newest of the own ones if that is news, and who has had none for too long, each with
    /// since when.
    fn look(&mut self, now: Instant, checks: &Checks) -> (Option<Instant>, Vec<(BackendId, Instant)>) {
        let ends: Vec<_> = self.watched.iter().map(|watched| checks.ended(&watched.backend)).collect();
        let own = self.watched.iter().zip(&ends).filter(|(watched, _)| watched.is_own);
        let newest = own.filter_map(|(_, ended)| *ended).max();
        let news = newest.filter(|at| self.newest.is_none_or(|before| *at > before));
        if let Some(at) = news {
            let silent = self.newest.map(|before| at.saturating_duration_since(before));
            if silent.is_some_and(|silent| silent > self.limit) {
                self.begin_anew(at); // the others come back with this one
            }
            self.newest = Some(at);
        }
        let alive = self.newest.unwrap_or(now);
        let silent = |(watched, ended): (&Watched, &Option<Instant>)| {
            let since = ended.map_or(watched.since, |ended| ended.max(watched.since));
            let is_late = alive.saturating_duration_since(since) > watched.limit;
            is_late.then(|| (watched.backend.clone(), since))
        };
        (news, self.watched.iter().zip(&ends).filter_map(silent).collect())
    }
}

/// That a backend can't be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unchecked {
    pub(crate) since: Instant,
    /// Why its latest probe could not be made; `None` where none has even failed.
    pub(crate) why: Option<Arc<str>>,
}

/// What a look has brought about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Looked {
    /// Other backends are doubted than before: the scores are others.
    pub(crate) changed: bool,
    /// Probes have ended: groups, and when the newest did. To be told after the scores.
    pub(crate) checked: Vec<(GroupName, Instant)>,
}

impl Doubt {
    pub(crate) fn new(now: Instant, config: &Config, checks: Checks) -> Self {
        let (groups, doubted, unchecked) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut doubt = Self { checks, groups, doubted, unchecked };
        doubt.reconfigure(now, config);
        doubt
    }

    /// Takes another configuration; what is doubted of backends that gate a group stays so. A backend that counts from now on, and
    /// of which no probe has ended for longer than its group believes, is doubted at once: while nothing hung on it, nobody looked.
    pub(crate) fn reconfigure(&mut self, now: Instant, config: &Config) {
        let mut before = std::mem::take(&mut self.groups);
        let known = before.values().flat_map(|group| &group.watched);
        let known: BTreeMap<BackendId, Instant> =
            known.map(|watched| (watched.backend.clone(), watched.since)).collect();
        // One without an end is new, or at another address.
        let since = |backend: &BackendId| {
            self.checks.ended(backend).and_then(|_| known.get(backend).copied()).unwrap_or(now)
        };
        for (name, group) in &config.groups {
            let Some(limit) = dead_man(config, group) else { continue };
            let (newest, suspended) =
                before.remove(name).map_or((None, None), |it| (it.newest, it.suspended));
            let watched = |(pool, backend): (&Pool, &Backend)| Watched {
                backend: backend.id.clone(),
                is_own: backend.region == config.pop.region,
                limit: limit.max(pool.probe.pace() * PACES),
                since: since(&backend.id),
            };
            let watched = behind_scores(config, &group.services).map(watched).collect();
            self.groups.insert(name.clone(), Checked { limit, watched, newest, suspended });
        }
        for group in self.groups.values() {
            let is_old = |backend: &BackendId| {
                let age = self.checks.ended(backend).map(|ended| now.saturating_duration_since(ended));
                !known.contains_key(backend) && age.is_some_and(|age| age >= group.limit)
            };
            let old: Vec<BackendId> = group.own().filter(|backend| is_old(backend)).cloned().collect();
            self.doubted.extend(old.into_iter().map(|backend| (backend, now)));
        }
        let watched = self.groups.values().flat_map(|group| &group.watched);
        let watched: BTreeSet<&BackendId> = watched.map(|watched| &watched.backend).collect();
        self.doubted.retain(|backend, _| watched.contains(backend));
        self.unchecked.retain(|backend, _| watched.contains(backend));
    }

    /// The verdict as far as it is believed.
    pub(crate) fn believed(&self, backend: &BackendId, verdict: Health) -> Health {
        let is_believed = !self.doubted.contains_key(backend) && !self.is_unchecked(backend);
        if is_believed { verdict } else { Health::Unknown }
    }

    /// Whether it is doubted by itself, so that it is not up even at best.
    pub(crate) fn is_unchecked(&self, backend: &BackendId) -> bool {
        self.unchecked.contains_key(backend)
    }

    /// Whether and why it can't be checked: not for a while, or for so long that it is doubted.
    pub(crate) fn unchecked(&self, now: Instant, backend: &BackendId) -> Option<Unchecked> {
        let blind = self.checks.blind(backend);
        let long = blind.as_ref().filter(|blind| now.saturating_duration_since(blind.since) >= TOLD_AFTER);
        let since = self.unchecked.get(backend).copied().or(long.map(|blind| blind.since))?;
        Some(Unchecked { since, why: blind.map(|blind| blind.error) })
    }

    /// A new verdict is believed.
    pub(crate) fn decided(&mut self, backend: &BackendId) {
        self.doubted.remove(backend);
    }

    /// Nothing ran until `now`: what is older than it may be is doubted.
    pub(crate) fn thawed(&mut self, now: Instant, gap: Gap) {
        for group in self.groups.values_mut() {
            group.begin_anew(now);
            if gap.outlasts(group.limit) {
                group.suspended = group.suspended.max(gap.suspended.then_some(gap.length));
                self.doubted.extend(group.own().map(|backend| (backend.clone(), now)));
            }
        }
    }

    /// Why a group can't be relied on until something of now is known, where its own clock can't tell.
    pub(crate) fn fault(&self, group: &GroupName) -> Option<String> {
        let group = self.groups.get(group)?;
        let (length, limit) = (group.suspended?.as_secs_f64(), group.limit.as_secs_f64());
        Some(format!(
            "this host was suspended for {length:.1} s, and health is believed for {limit:.1} s; new verdicts are awaited"
        ))
    }

    /// When the newest probe of what gates the group ended; `None` without a dead man, or before any has.
    pub(crate) fn newest(&self, group: &GroupName) -> Option<Instant> {
        self.groups.get(group)?.own().filter_map(|backend| self.checks.ended(backend)).max()
    }

    /// To be called from time to time.
    pub(crate) fn look(&mut self, now: Instant, verdict: impl Fn(&BackendId) -> Health) -> Looked {
        let mut looked = Looked::default();
        let mut unchecked = BTreeMap::new();
        for (name, group) in &mut self.groups {
            if let Some(silent) = group.newest.map(|at| at + group.limit).filter(|at| *at <= now) {
                for backend in group.own().filter(|backend| verdict(backend) != Health::Unknown) {
                    if !self.doubted.contains_key(backend) {
                        self.doubted.insert(backend.clone(), silent);
                        looked.changed = true;
                    }
                }
            }
            let (newest, silent) = group.look(now, &self.checks);
            looked.checked.extend(newest.map(|at| (name.clone(), at)));
            unchecked.extend(silent);
        }
        for backend in unchecked.keys().filter(|backend| verdict(backend) != Health::Unknown) {
            self.doubted.entry(backend.clone()).or_insert(now);
        }
        looked.changed |= !unchecked.keys().eq(self.unchecked.keys());
        self.unchecked = unchecked;
        let before = self.doubted.len();
        let checks = &self.checks;
        self.doubted.retain(|backend, since| {
            let began = match verdict(backend) {
                Health::Up => checks.passed(backend),
                Health::Down => checks.passed(backend).max(checks.failed(backend)),
                Health::Unknown => return false,
            };
            began.is_none_or(|began| began <= *since)
        });
        looked.changed |= self.doubted.len() != before;
        for group in self.groups.values_mut() {
            if !group.own().any(|backend| self.doubted.contains_key(backend)) {
                group.suspended = None;
            }
        }
        looked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = include_str!("../tests/two-jurisdictions.toml");
    const LIMIT: Duration = Duration::from_secs(5);
    const SECOND: Duration = Duration::from_secs(1);

    /// A group gated by `app/eu-1` and `app/eu-2`, both up; probes end when the test says so.
    struct World {
        checks: Checks,
        doubt: Doubt,
        begun: Instant,
    }

    impl World {
        fn config() -> Config {
            let more = r#"
[[bgp.peers]]
name = "router"
address = "10.0.0.1"
remote-as = 65001
[announce.held]
prefixes = ["198.51.100.0/24"]
services = ["web"]
vip = "none"
dead-man = "5s"
"#;
            let text = [CONFIG, more].concat();
            Config::parse(&text, "two-jurisdictions.toml").unwrap()
        }

        fn new() -> Self {
            let config = Self::config();
            let begun = Instant::now();
            let ids: Vec<BackendId> =
                ["app/eu-1", "app/eu-2", "app/us-1"].map(|id| id.parse().unwrap()).into();
            let checks = Checks::new(begun, &ids);
            Self { doubt: Doubt::new(begun, &config, checks.clone()), checks, begun }
        }

        fn passes(&self, id: &str, at: Duration) {
            self.checks.note(&id.parse().unwrap(), self.begun + at, self.begun + at, true);
        }

        fn fails(&self, id: &str, at: Duration) {
            self.checks.note(&id.parse().unwrap(), self.begun + at, self.begun + at, false);
        }

        fn look(&mut self, at: Duration) -> Looked {
            self.doubt.look(self.begun + at, |_| Health::Up)
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
        assert_eq!(world.doubt.newest(&World::group()), None);
        world.passes("app/eu-1", SECOND);
        world.fails("app/eu-2", 2 * SECOND);
        assert_eq!(world.doubt.newest(&World::group()), Some(world.begun + 2 * SECOND));
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
        let begun = world.begun;
        world.checks.note(&"app/eu-1".parse().unwrap(), begun + SECOND, begun + 8 * SECOND, true);
        let looked = world.look(8 * SECOND);
        assert_eq!((looked.changed, looked.checked.len()), (false, 1));
        world.fails("app/eu-1", 9 * SECOND);
        world.passes("app/eu-2", 9 * SECOND);
        assert!(world.look(9 * SECOND).changed);
        assert_eq!((world.believed("app/eu-1"), world.believed("app/eu-2")), (Health::Unknown, Health::Up));
        world.doubt.decided(&"app/eu-1".parse().unwrap());
        assert_eq!(world.believed("app/eu-1"), Health::Up);
    }

    #[test]
    fn a_group_that_comes_after_a_standstill_does_not_believe_what_is_older_than_it_may_be() {
        let mut world = World::new();
        let config = World::config();
        let nobody = Config { groups: BTreeMap::new(), ..config.clone() };
        world.doubt.reconfigure(world.begun, &nobody);
        world.passes("app/eu-1", SECOND);
        world.passes("app/eu-2", 8 * SECOND);
        world.doubt.thawed(world.begun + 9 * SECOND, Gap { length: 7 * SECOND, suspended: false });
        world.doubt.reconfigure(world.begun + 9 * SECOND, &config);
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
        assert!(world.doubt.look(world.begun + 7 * SECOND, |_| Health::Down).changed);
        assert_eq!(world.believed("app/eu-1"), Health::Up);
    }

    #[test]
    fn a_suspended_host_is_a_fault_until_every_own_backend_is_known_anew() {
        let mut world = World::new();
        world.passes("app/eu-1", SECOND);
        world.look(SECOND);
        let gap = |length, suspended| Gap { length, suspended };
        world.doubt.thawed(world.begun + SECOND, gap(LIMIT, true));
        assert_eq!(world.believed("app/eu-1"), Health::Up, "no longer than health is believed");

        world.doubt.thawed(world.begun + 2 * SECOND, gap(60 * SECOND, true));
        let fault = world.doubt.fault(&World::group()).unwrap();
        assert!(fault.contains("suspended for 60.0 s"), "{fault}");
        world.passes("app/eu-1", 3 * SECOND);
        world.look(3 * SECOND);
        assert!(world.doubt.fault(&World::group()).is_some(), "one of two");
        world.passes("app/eu-2", 3 * SECOND);
        world.look(3 * SECOND);
        assert_eq!(world.doubt.fault(&World::group()), None);

        // A process that stood still: the group's own clock tells.
        world.doubt.thawed(world.begun + 4 * SECOND, gap(60 * SECOND, false));
        assert_eq!((world.believed("app/eu-1"), world.doubt.fault(&World::group())), (Health::Unknown, None));
    }

    #[test]
    fn a_backend_whose_checker_is_dead_is_doubted_though_others_are_probed() {
        let mut world = World::new();
        world.passes("app/eu-1", SECOND);
        world.passes("app/eu-2", SECOND);
        world.look(SECOND);
        let id = "app/eu-2".parse().unwrap();
        world.checks.blinded(&id, world.begun + 2 * SECOND, "no such program");
        for second in 2..=6 {
            world.passes("app/eu-1", second * SECOND);
            assert!(!world.look(second * SECOND).changed, "{second}");
        }
        assert_eq!(world.doubt.unchecked(world.begun + 6 * SECOND, &id), None, "not long enough to tell");
        world.passes("app/eu-1", 7 * SECOND);
        assert!(world.look(7 * SECOND).changed);
        assert_eq!((world.believed("app/eu-1"), world.believed("app/eu-2")), (Health::Up, Health::Unknown));
        let why = Some("no such program".into());
        let unchecked = Unchecked { since: world.begun + SECOND, why };
        assert_eq!(world.doubt.unchecked(world.begun + 7 * SECOND, &id), Some(unchecked));
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
        world.doubt.reconfigure(world.begun + 10 * SECOND, &World::config());
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
        world.doubt.thawed(world.begun + 90 * SECOND, Gap { length: 30 * SECOND, suspended: false });
        world.passes("app/eu-1", 91 * SECOND);
        world.look(91 * SECOND);
        assert!(!world.doubt.is_unchecked(&other));
    }

    #[test]
    fn a_backend_that_no_probe_of_ever_ends_is_waited_for_no_longer_than_the_dead_man() {
        let mut world = World::new();
        let id = "app/eu-1".parse().unwrap();
        world.checks.blinded(&id, world.begun, "no such address");
        let look = |world: &mut World, at: Duration| world.doubt.look(world.begun + at, |_| Health::Unknown);
        assert!(!look(&mut world, LIMIT).changed);
        let told = world.doubt.unchecked(world.begun + LIMIT, &id).unwrap();
        assert_eq!(told.why.as_deref(), Some("no such address"), "told before");
        assert!(look(&mut world, LIMIT + SECOND).changed);
        assert!(world.doubt.is_unchecked(&id));
        assert!(!look(&mut world, LIMIT + 2 * SECOND).changed, "once");
    }
}
