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
//! ```
//!
//! Requests go on by the old verdicts meanwhile: a wrong one costs another try, and to believe none would cost every request.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use proxima_config::Config;
use proxima_probe::Checks;
use proxima_types::{BackendId, GroupName, Health};

use crate::{
    groups::{dead_man, gating},
    thaw::Gap,
};

/// What is doubted, by backend and by group.
#[derive(Debug)]
pub(crate) struct Doubt {
    checks: Checks,
    groups: BTreeMap<GroupName, Checked>,
    /// Since when. What a probe says counts if it began later.
    doubted: BTreeMap<BackendId, Instant>,
}

/// What gates a group that does not believe for ever.
#[derive(Debug)]
struct Checked {
    limit: Duration,
    backends: Vec<BackendId>,
    /// When the newest of their probes ended.
    newest: Option<Instant>,
    /// How long the host was suspended, until something of now is known.
    suspended: Option<Duration>,
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
    pub(crate) fn new(config: &Config, checks: Checks) -> Self {
        let mut doubt = Self { checks, groups: BTreeMap::new(), doubted: BTreeMap::new() };
        doubt.reconfigure(config);
        doubt
    }

    /// Takes another configuration; what is doubted of backends that gate a group stays so.
    pub(crate) fn reconfigure(&mut self, config: &Config) {
        let mut before = std::mem::take(&mut self.groups);
        for (name, group) in &config.groups {
            let Some(limit) = dead_man(config, group) else { continue };
            let (newest, suspended) =
                before.remove(name).map_or((None, None), |it| (it.newest, it.suspended));
            let backends = gating(config, &group.services).cloned().collect();
            self.groups.insert(name.clone(), Checked { limit, backends, newest, suspended });
        }
        let gating: BTreeSet<&BackendId> = self.groups.values().flat_map(|group| &group.backends).collect();
        self.doubted.retain(|backend, _| gating.contains(backend));
    }

    /// The verdict as far as it is believed.
    pub(crate) fn believed(&self, backend: &BackendId, verdict: Health) -> Health {
        if self.doubted.contains_key(backend) { Health::Unknown } else { verdict }
    }

    /// A new verdict is believed.
    pub(crate) fn decided(&mut self, backend: &BackendId) {
        self.doubted.remove(backend);
    }

    /// Nothing ran until `now`: what is older than it may be is doubted.
    pub(crate) fn thawed(&mut self, now: Instant, gap: Gap) {
        for group in self.groups.values_mut().filter(|group| gap.outlasts(group.limit)) {
            group.suspended = group.suspended.max(gap.suspended.then_some(gap.length));
            for backend in &group.backends {
                self.doubted.insert(backend.clone(), now);
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
        let backends = &self.groups.get(group)?.backends;
        backends.iter().filter_map(|backend| self.checks.ended(backend)).max()
    }

    /// To be called from time to time.
    pub(crate) fn look(&mut self, now: Instant, verdict: impl Fn(&BackendId) -> Health) -> Looked {
        let mut looked = Looked::default();
        for (name, group) in &mut self.groups {
            if let Some(silent) = group.newest.map(|at| at + group.limit).filter(|at| *at <= now) {
                for backend in &group.backends {
                    if !self.doubted.contains_key(backend) {
                        self.doubted.insert(backend.clone(), silent);
                        looked.changed = true;
                    }
                }
            }
            let newest = group.backends.iter().filter_map(|backend| self.checks.ended(backend)).max();
            if let Some(at) = newest.filter(|at| group.newest.is_none_or(|before| *at > before)) {
                group.newest = Some(at);
                looked.checked.push((name.clone(), at));
            }
        }
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
            if !group.backends.iter().any(|backend| self.doubted.contains_key(backend)) {
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
        fn new() -> Self {
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
            let config = Config::parse(&text, "two-jurisdictions.toml").unwrap();
            let begun = Instant::now();
            let ids: Vec<BackendId> =
                ["app/eu-1", "app/eu-2", "app/us-1"].map(|id| id.parse().unwrap()).into();
            let checks = Checks::new(begun, &ids);
            Self { doubt: Doubt::new(&config, checks.clone()), checks, begun }
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
}
