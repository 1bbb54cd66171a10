//! All groups of a PoP, and the cap over them.

use std::{collections::VecDeque, time::Instant};

use proxima_types::{Announcement, GroupName, ReachState, moment};
use serde::{Deserialize, Serialize};

use crate::{AnnouncerConfig, Cap, Group, GroupConfig, Input, Output, Override, group::Full};

/// Decides what a PoP announces.
///
/// The cap counts withdrawals by health. Where it is reached, a group that health asks to withdraw is de-preferred hard
/// until the oldest withdrawal no longer counts; of several that wait, the first in the configuration goes first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Announcer {
    groups: Vec<Group>,
    cap: Option<Cap>,
    /// When health withdrew groups, as far back as it counts.
    #[serde(with = "moment::queue")]
    withdrawals: VecDeque<Instant>,
    #[serde(skip)]
    outputs: VecDeque<Output>,
}

impl Announcer {
    /// All groups, of which nothing is announced yet.
    pub fn new(now: Instant, config: AnnouncerConfig) -> Self {
        let mut announcer =
            Self { groups: Vec::new(), cap: None, withdrawals: VecDeque::new(), outputs: VecDeque::new() };
        announcer.reconfigure(now, config);
        announcer
    }

    /// Takes news of one group. A group that is not configured (any more) has none.
    pub fn handle(&mut self, now: Instant, group: &GroupName, input: Input) {
        if let Some(at) = self.groups.iter().position(|known| known.name() == group) {
            self.with(now, at, |group, full| group.handle_under(now, input, full));
        }
    }

    /// Takes news that concerns every group, such as a fault of this PoP.
    pub fn handle_all(&mut self, now: Instant, input: &Input) {
        for at in 0..self.groups.len() {
            self.with(now, at, |group, full| group.handle_under(now, input.clone(), full));
        }
    }

    /// To be called when the time of [`Announcer::poll_timeout`] has come; early calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        for at in 0..self.groups.len() {
            self.with(now, at, |group, full| group.handle_timeout_under(now, full));
        }
    }

    /// When something is due without news.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.groups.iter().filter_map(Group::poll_timeout).min()
    }

    /// The next output, in order. To be followed by a look at [`Announcer::desired`], also where there is none: that may
    /// change without a transition.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Everything the peers should hold.
    pub fn desired(&self) -> Vec<Announcement> {
        self.groups.iter().flat_map(Group::desired).collect()
    }

    /// The groups, in the order of the configuration.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter()
    }

    /// The group of that name.
    pub fn group(&self, name: &GroupName) -> Option<&Group> {
        self.groups.iter().find(|group| group.name() == name)
    }

    /// Whether a configuration that nobody means is tried on: something is announced here, and `tried`, which is this with
    /// that configuration and its scores, would have nothing announced, now or when what holds its groups back is over.
    ///
    /// The config guard. A group that an operator wants announced is not silent, whatever its health.
    pub fn would_fall_silent(&self, tried: &Self) -> bool {
        let stays_silent = |group: &Group| {
            group.by_health_alone() == ReachState::Withdrawn && group.order().verb != Override::Announce
        };
        !self.is_silent() && tried.groups().all(stays_silent)
    }

    /// Whether nothing is announced.
    pub fn is_silent(&self) -> bool {
        self.groups().all(|group| group.state() == ReachState::Withdrawn)
    }

    /// Takes another configuration. Groups that stay keep their whole state, new ones begin as at a start, and those that
    /// are no longer there are withdrawn.
    pub fn reconfigure(&mut self, now: Instant, config: AnnouncerConfig) {
        let AnnouncerConfig { groups, cap } = config;
        self.cap = cap;
        let mut before = std::mem::take(&mut self.groups);
        for config in groups {
            match before.iter().position(|group| group.name() == &config.name) {
                Some(at) => self.reconfigure_group(now, before.remove(at), config),
                None => self.groups.push(Group::new(config)),
            }
        }
        for group in before {
            self.outputs.extend(group.remove(now));
        }
    }

    fn reconfigure_group(&mut self, now: Instant, group: Group, config: GroupConfig) {
        self.groups.push(group);
        let last = self.groups.len() - 1;
        self.with(now, last, |group, full| group.reconfigure_under(now, config, full));
    }

    /// Does something with a group under the cap as it is now, and takes account of what came of it.
    fn with(&mut self, now: Instant, at: usize, act: impl FnOnce(&mut Group, Option<Full>) -> bool) {
        let full = self.full(now);
        let group = &mut self.groups[at];
        if act(group, full) {
            self.withdrawals.push_back(now);
        }
        self.outputs.extend(std::iter::from_fn(|| group.poll_output()));
    }

    /// Until when the cap leaves no room; `None`: there is some.
    fn full(&mut self, now: Instant) -> Option<Full> {
        let Some(cap) = self.cap else {
            self.withdrawals.clear();
            return None;
        };
        while self.withdrawals.front().is_some_and(|at| *at + cap.within <= now) {
            self.withdrawals.pop_front();
        }
        let most = usize::try_from(cap.most.max(1)).unwrap_or(usize::MAX);
        let oldest_that_counts = self.withdrawals.len().checked_sub(most)?;
        Some(Full { until: self.withdrawals[oldest_that_counts] + cap.within, cap })
    }
}

#[cfg(test)]
mod tests;
