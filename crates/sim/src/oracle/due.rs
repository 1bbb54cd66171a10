//! What has to have happened by now.

use std::time::Duration;

use proxima_announce::{Override, WhenDown};
use proxima_types::ReachState;

use crate::{
    clock::{MS, Nanos, SECOND, nanos},
    oracle::{RECOVERY, Rule, is_up, judged::Judged},
    world::World,
};

/// What the loop of a daemon that is not busy may take, and clocks may differ.
pub(super) const SLACK: Duration = Duration::from_millis(500);
const SLACK_NANOS: Nanos = 500 * MS;
/// A worker that is silent for so long has to be noticed.
const STUCK: Nanos = 2 * SECOND;

impl World {
    /// Holds the world to what has to be by now.
    pub(crate) fn check(&mut self) {
        for pop in 0..self.pops.len() {
            let host = &self.pops[pop];
            if host.running && !host.stands_still() {
                self.oracle.answers(pop);
                for group in 0..self.shape.groups.len() {
                    self.check_group(pop, group);
                }
                self.check_backends(pop);
            } else {
                self.check_gone(pop);
            }
        }
        for link in 0..self.links.len() {
            self.check_link(link);
        }
        for group in 0..self.shape.groups.len() {
            self.last_announcer(group);
            self.check_dark(group);
        }
    }

    fn check_group(&mut self, pop: usize, group: usize) {
        let (now, local, host) = (self.now, self.pops[pop].clock.at(self.now), &self.pops[pop]);
        let judged = &mut self.oracle.judged[pop][group];
        let Some(config) = judged.config() else { return };
        let (damping, dead_man) = (config.damping, config.dead_man.map_or(Nanos::MAX, nanos));
        let (hold_down, min_up) = match config.when_down {
            WhenDown::Withdraw(withdrawn) => (nanos(withdrawn.hold_down), nanos(withdrawn.min_up)),
            WhenDown::Stay => (0, 0),
        };
        let quiet = config.guard.map_or(0, |guard| nanos(guard.quiet) << judged.returns.min(6));
        let undisturbed = host.stop.is_none() && host.lag == 0 && !judged.is_behind(local);
        let is = |is: bool, since: Option<Nanos>| is.then(|| since.unwrap_or(now));
        judged.good_since = is(undisturbed && judged.is_good(), judged.good_since);
        judged.bad_since = is(undisturbed && judged.is_bad() && judged.sees_others(true), judged.bad_since);

        judged.alone_since = is(undisturbed && judged.is_left_alone(), judged.alone_since);
        let alone = judged.alone_since.is_some_and(|since| since + SLACK_NANOS < now);
        let held = hold_down + damping.map_or(0, |damping| nanos(damping.most));
        let good = judged.good_since.is_some_and(|since| since + held + SLACK_NANOS < now)
            && !judged.is_held_down(local);
        let capped = self.shape.cap.map_or(0, |(_, within)| 2 * within);
        let bad = judged.bad_since.is_some_and(|since| since + min_up + quiet + capped + SLACK_NANOS < now);
        let checked = self.pops[pop].gating_checked[group];
        let slack = dead_man / 1000 + SLACK_NANOS + self.pops[pop].dozed;
        let silent = checked.saturating_add(dead_man).saturating_add(slack) < now;
        let state = judged.state;
        let stuck = self.pops[pop].worker_stuck > 0 && self.pops[pop].seen_stuck + STUCK < now;
        let may_not_be_up = is_up(state) && judged.verb != Override::Announce && host.lag == 0;
        let broken = if stuck && may_not_be_up {
            Some((Rule::Fault, "a worker is stuck"))
        } else if silent && may_not_be_up {
            Some((Rule::DeadMan, "no probe has ended for too long"))
        } else if alone {
            Some((Rule::Guard, "it sees too few others and does not come back"))
        } else if good && state != ReachState::Announced {
            Some((Rule::Announced, "its score is good, and nothing holds it back"))
        } else if bad && is_up(state) {
            Some((Rule::Withdrawn, "its score is bad, and nothing keeps it"))
        } else {
            None
        };
        if let Some((rule, what)) = broken {
            let name = &self.names.groups[group];
            self.violated(rule, format!("pop{pop}/{name} is {state}: {what}"));
        }
    }

    /// Of a PoP that does not answer routers hold nothing, once they have noticed.
    fn check_gone(&mut self, pop: usize) {
        self.oracle.judged[pop].iter_mut().for_each(Judged::stop_time);
        let since = *self.oracle.gone_since[pop].get_or_insert(self.now);
        // Over a link that delays, or loses, the last KEEPALIVE may come late.
        let late = self
            .links_of(pop)
            .any(|link| self.oracle.link_calm_from[link] > since || !self.link_is_whole(link));
        let noticed = since + self.shape.hold_time + if late { RECOVERY } else { 2 * SECOND };
        if noticed > self.now {
            return;
        }
        if let Some(group) = (0..self.shape.groups.len()).find(|group| self.held_of(pop, *group)) {
            let name = &self.names.groups[group];
            self.violated(Rule::Stale, format!("routers hold {name} of pop{pop}, which is gone"));
        }
    }

    /// Over a link that works routers hold what they are to hold.
    fn check_link(&mut self, link: usize) {
        let host = &self.pops[self.pop_of(link)];
        let is_up = self.links[link].up_since.is_some_and(|since| since + 2 * SECOND < self.now);
        let told = host.running && !host.stands_still() && host.lag == 0;
        let settled = host.desired_since + 2 * SECOND < self.now;
        let whole = self.link_is_whole(link) && self.oracle.link_calm_from[link] < self.now;
        if is_up && told && settled && whole {
            self.delivered(link, Rule::Delivered);
        }
    }
}
