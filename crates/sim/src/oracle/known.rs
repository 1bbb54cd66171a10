//! What a PoP may take for known, by the world's time: the share of capacity behind its scores, and what is too old to count.

use proxima_health::{LATE, RegionScore};
use proxima_types::Health;

use crate::{
    clock::{MS, Nanos, SECOND, nanos},
    oracle::Rule,
    world::{MOST_GROUPS, World},
};

/// What clocks may differ by, and the daemon's loop may take, where something is too old: it looks at what has ended every half
/// second.
fn slack(limit: Nanos) -> Nanos {
    limit / 500 + 700 * MS
}

impl World {
    /// A probe has ended; the last one before did at `before`.
    pub(crate) fn probe_noted(&mut self, pop: usize, backend: usize, before: Nanos) {
        if backend >= usize::from(self.shape.backends) {
            return; // shared: gates nothing
        }
        for group in 0..self.shape.groups.len() {
            if !self.gates_group(group, backend) {
                continue;
            }
            let from = self.believed_from(pop, group);
            let may_be_late =
                self.shape.dead_man.map_or(Nanos::MAX, |limit| limit.saturating_sub(slack(limit)));
            let host = &mut self.pops[pop];
            if self.now - host.gating_checked[group].min(before) > may_be_late {
                host.disturbed = self.now;
            }
            host.believed_from[group] = from;
            host.gating_checked[group] = self.now;
        }
    }

    /// The host has stood still: what was seen of others before is to be forgotten.
    pub(crate) fn stood_still(&mut self, pop: usize) {
        let stood = self.now - self.pops[pop].stands_since;
        // Around the limit the loop may or may not take it for a standstill: what that excuses is excused, what it asks for is not.
        if stood + SECOND / 10 > nanos(LATE) {
            self.pops[pop].disturbed = self.now;
        }
        if stood > nanos(LATE) + SECOND / 10 {
            for group in 0..MOST_GROUPS {
                self.oracle.forgets_view(pop, group);
            }
        }
    }

    /// What probes of the group's backends said that began before counts for nothing.
    fn believed_from(&self, pop: usize, group: usize) -> Nanos {
        let host = &self.pops[pop];
        let (checked, from) = (host.gating_checked[group], host.believed_from[group]);
        match self.shape.dead_man {
            Some(limit) if self.now > checked + limit + slack(limit) + host.dozed => {
                from.max(checked + limit)
            }
            _ => from,
        }
    }

    fn gates_group(&self, group: usize, backend: usize) -> bool {
        self.shape.groups[group].gates >> backend & 1 == 1
    }

    /// A group's score was taken: it is the share of capacity of those that are up, by probes that are not too old.
    pub(crate) fn scored(&mut self, pop: usize, group: usize, score: &RegionScore) {
        let from = self.believed_from(pop, group);
        let limit = self.shape.dead_man.unwrap_or(Nanos::MAX);
        let (mut all, mut up, mut certain) = (0.0, 0.0, self.pops[pop].is_undisturbed());
        for tracker in self.trackers_of(pop) {
            let backend = self.backend_of(tracker);
            if backend >= usize::from(self.shape.backends) || !self.gates_group(group, backend) {
                continue;
            }
            let (weight, tracked) = (f64::from(self.shape.weights[backend]), &self.trackers[tracker]);
            all += weight;
            certain &= self.now - tracked.ended < limit - limit / 5;
            // The time of the fault and that of the probe are by two clocks.
            let is_new = tracked.passed.is_some_and(|began| began.saturating_add(limit / 500) + MS >= from);
            if self.health_of(tracker) == Health::Up && is_new {
                up += weight * f64::from(tracked.share.as_u8()) / 100.0;
            }
        }
        let share = if all == 0.0 { 0.0 } else { up / all };
        let told = score.score.share();
        if told > share + 1e-9 || certain && told < share - 1e-9 {
            let name = &self.names.groups[group];
            let what = format!("pop{pop}/{name} counts {told:.3} of its capacity as up, and {share:.3} is");
            self.violated(Rule::Score, what);
        }
    }

    /// A backend that nothing checks any more, while others are checked, is not taken for up.
    pub(crate) fn check_backends(&mut self, pop: usize) {
        let Some(dead_man) = self.shape.dead_man else { return };
        let pace = self.shape.interval + self.shape.interval / 10 + self.shape.timeout;
        let host = &self.pops[pop];
        let limit = dead_man.max(3 * pace) + slack(dead_man) + host.dozed;
        if host.lag > 0 || self.now < host.disturbed + limit {
            return;
        }
        for tracker in self.trackers_of(pop) {
            let (backend, tracked) = (self.backend_of(tracker), &self.trackers[tracker]);
            if tracked.ended + limit > self.now {
                continue;
            }
            let configured = |group: usize| self.oracle.judged[pop][group].config().is_some();
            let gates = |group: &usize| configured(*group) && self.gates_group(*group, backend);
            let groups = 0..self.shape.groups.len();
            let Some(alive) = groups.filter(gates).map(|group| host.seen_checked[group]).max() else {
                continue;
            };
            let silent = alive > tracked.ended.max(host.disturbed) + limit;
            let name = &self.names.backends[backend];
            let believed =
                |check: &proxima_announce::SelfCheck| check.believed(name, self.health_of(tracker));
            if silent && host.check.as_ref().map(believed) == Some(Health::Up) {
                let what = format!("pop{pop} takes {name} for up, which nothing checks any more");
                return self.violated(Rule::Unchecked, what);
            }
        }
    }
}
