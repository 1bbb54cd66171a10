//! Whether what is known of backends is still to be believed.
//!
//! ```text
//!  probes' ends ─▶ newest of a group's own backends ─▶ told to the group: its dead man lives
//!                     │ none for longer than `dead-man`, or nothing of this process ran for so long
//!                     ▼
//!                  each of them is doubted ─▶ no verdict, as far as scores go, until
//!                                              ├─ a probe that began since says the same as the old verdict, or anything
//!                                              │  where that was Down
//!                                              └─ there is a new verdict: Down at once, Up by a probe that began since
//!
//!  its own latest end ─▶ older by `dead-man` than the newest of its group, or there has been none for so long
//!                           └─▶ doubted by itself, and unchecked: not up as far as scores go, until a probe of it ends
//! ```
//!
//! So a checker that is dead or stuck is noticed though all others live. Where all of a group fall silent together, it is the
//! group's dead man that tells, and none of them is singled out. Pools that are probed less often than the group's dead man waits have
//! three of their own paces ([`Watched::limit_of`]).
//!
//! Requests go on by the old verdicts meanwhile: a wrong one costs another try, and to believe none would cost every request.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use proxima_types::{BackendId, GroupName, Health};

use crate::Gap;

/// So many suspensions of the host are remembered; what is older than so many is older than any group believes.
const NAPS: usize = 64;
/// How many times the pace of its pool's probes a backend may be without one, at the least.
const PACES: u32 = 3;

/// The latest probes of each backend, which whoever makes them writes down. Probes that could not be made are not among them.
pub trait LatestProbes {
    /// When the latest one ended; `None` before the first.
    fn ended(&self, backend: &BackendId) -> Option<Instant>;
    /// When the latest one began that passed; `None` before the first.
    fn passed(&self, backend: &BackendId) -> Option<Instant>;
    /// When the latest one began that failed; `None` before the first.
    fn failed(&self, backend: &BackendId) -> Option<Instant>;
}

/// What gates a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gates {
    /// The group.
    pub group: GroupName,
    /// How long its health is believed without a probe's end; `None`: for ever, as where no probe of the own region gates it.
    pub dead_man: Option<Duration>,
    /// The backends that count for it, each once.
    pub watched: Vec<Watched>,
}

/// A backend that counts for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// It.
    pub backend: BackendId,
    /// Whether it is of the own region: others don't keep a group's dead man alive.
    pub is_own: bool,
    /// How long it may be without a probe's end while others have some.
    pub limit: Duration,
}

impl Watched {
    /// The limit of a backend of a group with this dead man, whose probes end no later than `pace` one after the other.
    pub fn limit_of(dead_man: Duration, pace: Duration) -> Duration {
        dead_man.max(pace * PACES)
    }
}

/// What is doubted, by backend and by group.
#[derive(Debug)]
pub struct Doubt {
    groups: BTreeMap<GroupName, Checked>,
    /// Since when. What a probe says counts if it began later.
    doubted: BTreeMap<BackendId, Instant>,
    /// Doubted by themselves, and since when nothing checks them.
    unchecked: BTreeMap<BackendId, Instant>,
    /// When the host went on after it was suspended, and for how long it was: the clock has not counted that.
    naps: VecDeque<(Instant, Duration)>,
}

/// What gates a group that does not believe for ever.
#[derive(Debug)]
struct Checked {
    limit: Duration,
    /// Each with from when on it could have had a probe.
    watched: Vec<(Watched, Instant)>,
    /// When the newest of the own backends' probes ended.
    newest: Option<Instant>,
    /// For how long the host was suspended, where that has made what is known too old, until something of now is known.
    suspended: Option<Duration>,
}

impl Checked {
    fn own(&self) -> impl Iterator<Item = &BackendId> {
        self.watched.iter().filter(|(watched, _)| watched.is_own).map(|(watched, _)| &watched.backend)
    }

    /// Nothing could have ended before `now`.
    fn begin_anew(&mut self, now: Instant) {
        self.watched.iter_mut().for_each(|(_, since)| *since = now);
    }

    /// Takes the latest ends in; returns the newest of the own ones if that is news. Who has had none for too long goes to `silent`,
    /// each with since when.
    fn look(
        &mut self,
        now: Instant,
        probes: &impl LatestProbes,
        silent: &mut BTreeMap<BackendId, Instant>,
    ) -> Option<Instant> {
        let newest = self.own().filter_map(|backend| probes.ended(backend)).max();
        let news = newest.filter(|at| self.newest.is_none_or(|before| *at > before));
        if let Some(at) = news {
            let was_silent = self.newest.map(|before| at.saturating_duration_since(before));
            if was_silent.is_some_and(|silent| silent > self.limit) {
                self.begin_anew(at); // the others come back with this one
            }
            self.newest = Some(at);
        }
        let alive = self.newest.unwrap_or(now);
        for (watched, since) in &self.watched {
            // Read again only where the time it has had is over: an end may have come.
            if alive.saturating_duration_since(*since) > watched.limit {
                let since = probes.ended(&watched.backend).map_or(*since, |ended| ended.max(*since));
                if alive.saturating_duration_since(since) > watched.limit {
                    silent.insert(watched.backend.clone(), since);
                }
            }
        }
        news
    }

    /// When it falls silent, without a further end.
    fn silent_at(&self, naps: &VecDeque<(Instant, Duration)>) -> Option<Instant> {
        self.newest.map(|at| at + self.limit.saturating_sub(asleep_since(naps, at)))
    }

    /// Where what is known is too old at `now`: since when it is.
    fn silent_since(&mut self, now: Instant, naps: &VecDeque<(Instant, Duration)>) -> Option<Instant> {
        let silent = self.silent_at(naps).filter(|at| *at <= now)?;
        let asleep = self.newest.map(|at| asleep_since(naps, at)).filter(|asleep| !asleep.is_zero());
        self.suspended = self.suspended.max(asleep);
        Some(silent)
    }
}

/// For how long the host was suspended after `at`.
fn asleep_since(naps: &VecDeque<(Instant, Duration)>, at: Instant) -> Duration {
    naps.iter().filter(|(woke, _)| *woke >= at).map(|(_, asleep)| *asleep).sum()
}

/// What a look has brought about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Other backends are doubted than before: the scores are others.
    pub changed: bool,
    /// Probes have ended: groups, and when the newest did. To be told after the scores.
    pub checked: Vec<(GroupName, Instant)>,
}

impl Doubt {
    /// Nothing is doubted yet.
    pub fn new(now: Instant, gates: &[Gates], probes: &impl LatestProbes) -> Self {
        let (groups, doubted, unchecked) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut doubt = Self { groups, doubted, unchecked, naps: VecDeque::new() };
        doubt.reconfigure(now, gates, probes);
        doubt
    }

    /// Takes other gates; what is doubted of backends that gate a group stays so. A backend that counts from now on, and
    /// of which no probe has ended for longer than its group believes, is doubted at once: while nothing hung on it, nobody looked.
    pub fn reconfigure(&mut self, now: Instant, gates: &[Gates], probes: &impl LatestProbes) {
        let mut before = std::mem::take(&mut self.groups);
        let known = before.values().flat_map(|group| &group.watched);
        let known: BTreeMap<BackendId, Instant> =
            known.map(|(watched, since)| (watched.backend.clone(), *since)).collect();
        // One without an end is new, or at another address.
        let since = |backend: &BackendId| {
            probes.ended(backend).and_then(|_| known.get(backend).copied()).unwrap_or(now)
        };
        for Gates { group, dead_man, watched } in gates {
            let Some(limit) = *dead_man else { continue };
            let (newest, suspended) =
                before.remove(group).map_or((None, None), |it| (it.newest, it.suspended));
            let watched = watched.iter().map(|it| (it.clone(), since(&it.backend))).collect();
            self.groups.insert(group.clone(), Checked { limit, watched, newest, suspended });
        }
        for group in self.groups.values() {
            let is_old = |backend: &BackendId| {
                let age = probes
                    .ended(backend)
                    .map(|ended| now.saturating_duration_since(ended) + asleep_since(&self.naps, ended));
                !known.contains_key(backend) && age.is_some_and(|age| age >= group.limit)
            };
            let old: Vec<BackendId> = group.own().filter(|backend| is_old(backend)).cloned().collect();
            self.doubted.extend(old.into_iter().map(|backend| (backend, now)));
        }
        let watched = self.groups.values().flat_map(|group| &group.watched);
        let watched: BTreeSet<&BackendId> = watched.map(|(watched, _)| &watched.backend).collect();
        self.doubted.retain(|backend, _| watched.contains(backend));
        self.unchecked.retain(|backend, _| watched.contains(backend));
    }

    /// The verdict as far as it is believed.
    pub fn believed(&self, backend: &BackendId, verdict: Health) -> Health {
        let is_believed = !self.doubted.contains_key(backend) && !self.is_unchecked(backend);
        if is_believed { verdict } else { Health::Unknown }
    }

    /// Whether it is doubted by itself, so that it is not up even at best.
    pub fn is_unchecked(&self, backend: &BackendId) -> bool {
        self.unchecked.contains_key(backend)
    }

    /// Since when nothing checks it, where it is doubted by itself.
    pub fn unchecked_since(&self, backend: &BackendId) -> Option<Instant> {
        self.unchecked.get(backend).copied()
    }

    /// There is a new verdict. One of Up is believed when a probe that began since it was doubted has passed: what had begun before
    /// a standstill may have been answered before it, too.
    pub fn decided(&mut self, backend: &BackendId, verdict: Health, probes: &impl LatestProbes) {
        let is_new = |since: &Instant| verdict == Health::Down || probes.passed(backend) > Some(*since);
        if self.doubted.get(backend).is_some_and(is_new) {
            self.doubted.remove(backend);
        }
    }

    /// Nothing ran until `now`: what is older than it may be is doubted.
    pub fn thawed(&mut self, now: Instant, gap: Gap) {
        if !gap.asleep.is_zero() {
            self.naps.truncate(NAPS - 1);
            self.naps.push_front((now, gap.asleep));
        }
        for group in self.groups.values_mut() {
            group.begin_anew(now);
            if gap.length > group.limit || group.silent_since(now, &self.naps).is_some() {
                let asleep = (gap.asleep > group.limit).then_some(gap.asleep);
                group.suspended = group.suspended.max(asleep);
                self.doubted.extend(group.own().map(|backend| (backend.clone(), now)));
            }
        }
    }

    /// Why a group can't be relied on until something of now is known, where its own clock can't tell.
    pub fn fault(&self, group: &GroupName) -> Option<String> {
        let group = self.groups.get(group)?;
        let (length, limit) = (group.suspended?.as_secs_f64(), group.limit.as_secs_f64());
        Some(format!(
            "this host was suspended for {length:.1} s, and health is believed for {limit:.1} s; new verdicts are awaited"
        ))
    }

    /// When the newest probe of what gates the group ended; `None` without a dead man, or before any has.
    pub fn newest(&self, group: &GroupName, probes: &impl LatestProbes) -> Option<Instant> {
        self.groups.get(group)?.own().filter_map(|backend| probes.ended(backend)).max()
    }

    /// When a look is due though no probe has ended, there is no other verdict and nothing else was told.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let past = Duration::from_nanos(1); // what is due is due beyond the limit
        let due = |group: &Checked| match group.silent_at(&self.naps) {
            Some(at) if group.own().any(|backend| !self.doubted.contains_key(backend)) => Some(at),
            Some(_) => None,
            None => {
                let late = group.watched.iter().filter(|(it, _)| !self.unchecked.contains_key(&it.backend));
                late.map(|(it, since)| *since + it.limit + past).min()
            }
        };
        self.groups.values().filter_map(due).min()
    }

    /// To be called from time to time, with the verdict on each backend.
    pub fn look(
        &mut self,
        now: Instant,
        probes: &impl LatestProbes,
        verdict: impl Fn(&BackendId) -> Health,
    ) -> Looked {
        let mut looked = Looked::default();
        let mut unchecked = BTreeMap::new();
        for (name, group) in &mut self.groups {
            if let Some(silent) = group.silent_since(now, &self.naps) {
                for backend in group.own() {
                    if !self.doubted.contains_key(backend) {
                        // Without a verdict too: its first may be by what began before.
                        self.doubted.insert(backend.clone(), silent);
                        looked.changed |= verdict(backend) != Health::Unknown;
                    }
                }
            }
            let newest = group.look(now, probes, &mut unchecked);
            looked.checked.extend(newest.map(|at| (name.clone(), at)));
        }
        for backend in unchecked.keys() {
            self.doubted.entry(backend.clone()).or_insert(now);
        }
        looked.changed |= !unchecked.keys().eq(self.unchecked.keys());
        self.unchecked = unchecked;
        let before = self.doubted.len();
        self.doubted.retain(|backend, since| {
            let began = match verdict(backend) {
                Health::Up => probes.passed(backend),
                Health::Down => probes.passed(backend).max(probes.failed(backend)),
                Health::Unknown => return true,
            };
            began.is_none_or(|began| began <= *since)
        });
        looked.changed |= self.doubted.len() != before;
        for group in self.groups.values_mut().filter(|group| group.suspended.is_some()) {
            let is_awaited =
                |backend| self.doubted.contains_key(backend) && verdict(backend) != Health::Unknown;
            if !group.own().any(is_awaited) {
                group.suspended = None;
            }
        }
        looked
    }
}

#[cfg(test)]
mod tests;
