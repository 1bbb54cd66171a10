//! Whether this PoP knows what it says, and can serve: what the groups are told beside scores of verdicts.
//!
//! ```text
//! turns of the control loop ─▶ Thaw ──── nothing ran ────┐
//! probes' ends, verdicts ────▶ Doubt ─── not believed ───┼─▶ duties, in order: Score, Tell(group, …) ─▶ Announcer
//! workers' beats ────────────▶ Watchdog ─ stalled ───────┘
//! ```
//!
//! Scores are the caller's: it knows the verdicts and the weights. A [`Duty`] asks for them where what is believed has changed. The
//! order matters. A fault that keeps this PoP from serving goes before what would have a group announced, and the end of one after; a
//! score that no longer counts what is doubted goes before the proof that the checker lives, so that no group is brought back by what it
//! knew before; and a group that has forgotten its score is given one after.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use proxima_health::{Doubt, Gap, Gates, LatestProbes, Looked, Thaw, Watchdog, WorkerChange, WorkerStuck};
use proxima_types::{BackendId, GroupName, Health};

use crate::{Input, View};

/// What is to be done with the [`Announcer`](crate::Announcer), in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum Duty {
    /// Take the score of every group anew, by what is believed now, and tell each its own if that has changed.
    Score,
    /// The same where a group has forgotten its score ([`Group::score`](crate::Group::score)).
    ScoreForgotten,
    /// Tell a group.
    Tell(GroupName, Input),
}

/// Checks the PoP itself.
#[derive(Debug)]
pub struct SelfCheck {
    doubt: Doubt,
    thaw: Thaw,
    workers: Watchdog,
    looked: Instant,
    /// The fault each group was told of last.
    faults: BTreeMap<GroupName, Option<String>>,
    duties: VecDeque<Duty>,
}

impl SelfCheck {
    /// Nothing is known to be wrong. `gates` has each group once.
    pub fn new(now: Instant, gates: &[Gates], probes: &impl LatestProbes, workers: usize) -> Self {
        Self {
            doubt: Doubt::new(now, gates, probes),
            thaw: Thaw::default(),
            workers: Watchdog::new(now, workers),
            looked: now,
            faults: gates.iter().map(|gates| (gates.group.clone(), None)).collect(),
            duties: VecDeque::new(),
        }
    }

    /// To be called first in each turn of the control loop, before anything else is taken in; `boottime` is the time since the
    /// host's start at `now`, suspended or not. Returns the gap that ends now, if nothing ran for a while: then what was seen of
    /// others before is not to be told to any group any more.
    pub fn turn(&mut self, now: Instant, boottime: Duration) -> Option<Gap> {
        let gap = self.thaw.look(now, boottime)?;
        self.doubt.thawed(now, gap);
        // First: any other news would let a hold that has ended meanwhile end.
        self.tell_new_faults();
        for group in self.faults.keys() {
            self.duties.push_back(Duty::Tell(group.clone(), Input::View(View::default())));
        }
        self.duties.push_back(Duty::Score);
        self.tell_ended_faults();
        Some(gap)
    }

    /// The control loop has waited until `now` for something, while all else went on.
    pub fn waited(&mut self, now: Instant, boottime: Duration) {
        self.thaw.waited(now, boottime);
    }

    /// To be called every 100 ms, with the counts of the workers' beats and the verdict on each backend. Returns what became of
    /// workers.
    ///
    /// # Errors
    /// When a worker will not recover: nothing more is to be decided, as the process has to begin anew.
    pub fn look(
        &mut self,
        now: Instant,
        beats: impl IntoIterator<Item = u64>,
        probes: &impl LatestProbes,
        verdict: impl Fn(&BackendId) -> Health,
    ) -> Result<Vec<WorkerChange>, WorkerStuck> {
        let changes = self.workers.check(now, self.looked, beats);
        self.looked = now;
        self.workers.none_lost(now)?;
        let Looked { changed, checked } = self.doubt.look(now, probes, verdict);
        self.tell_new_faults();
        if changed {
            self.duties.push_back(Duty::Score);
        }
        for (group, at) in checked {
            self.duties.push_back(Duty::Tell(group, Input::Checked(at)));
        }
        self.duties.push_back(Duty::ScoreForgotten);
        self.tell_ended_faults();
        Ok(changes)
    }

    /// When a look is due, though nothing has happened that it is to be told of and all workers beat.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.doubt.poll_timeout()
    }

    /// There is a new verdict on a backend; it is to be scored after.
    pub fn decided(&mut self, backend: &BackendId, verdict: Health, probes: &impl LatestProbes) {
        self.doubt.decided(backend, verdict, probes);
    }

    /// Takes other gates. To be called, and its duties done, once the announcer has its configuration and newcomers their
    /// orders: what is too old already is not believed by a group that is new, either.
    pub fn reconfigure(&mut self, now: Instant, gates: &[Gates], probes: &impl LatestProbes) {
        self.doubt.reconfigure(now, gates, probes);
        let before = std::mem::take(&mut self.faults);
        for Gates { group, .. } in gates {
            self.faults.insert(group.clone(), before.get(group).cloned().flatten());
        }
        self.tell_new_faults();
        for Gates { group, .. } in gates {
            if !before.contains_key(group)
                && let Some(at) = self.doubt.newest(group, probes)
            {
                self.duties.push_back(Duty::Tell(group.clone(), Input::Checked(at)));
            }
        }
        self.duties.push_back(Duty::Score);
        self.tell_ended_faults();
    }

    /// The next duty.
    pub fn poll_output(&mut self) -> Option<Duty> {
        self.duties.pop_front()
    }

    /// The verdict on a backend as far as it is believed.
    pub fn believed(&self, backend: &BackendId, verdict: Health) -> Health {
        self.doubt.believed(backend, verdict)
    }

    /// Since when nothing checks a backend, where that has made it not up, even at best.
    pub fn unchecked_since(&self, backend: &BackendId) -> Option<Instant> {
        self.doubt.unchecked_since(backend)
    }

    /// Whatever keeps this PoP from serving from now on, whatever its backends do.
    fn tell_new_faults(&mut self) {
        self.tell_faults(Option::is_some);
    }

    fn tell_ended_faults(&mut self) {
        self.tell_faults(Option::is_none);
    }

    fn tell_faults(&mut self, is_told: impl Fn(&Option<String>) -> bool) {
        let stalled = self.workers.fault();
        for (group, told) in &mut self.faults {
            let fault = stalled.clone().or_else(|| self.doubt.fault(group));
            if *told != fault && is_told(&fault) {
                told.clone_from(&fault);
                self.duties.push_back(Duty::Tell(group.clone(), Input::Fault(fault)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
