//! The rules, and what has to be remembered to hold a world to them.
//!
//! | where     | when                                | which                                                              |
//! |-----------|-------------------------------------|--------------------------------------------------------------------|
//! | `judged`  | at every transition of a group      | hysteresis, hold-down, least time up, damping, guard, dead man, orders |
//! | here      | at every change of what is announced, and of what a router holds | allow-list, redundancy, attributes, start and stop, last announcer |
//! | `due`     | every 250 ms                        | what has to have happened by now                                   |
//! | `known`   | at every score                      | the share of capacity; what is too old to count                    |
//! | `announcers` | when a PoP leaves, and every 250 ms | that somebody stays                                              |
//!
//! What a rule needs to know it takes from what the core was told and from what routers hold, never from the core. Where it
//! can't know as much as the core does it lets things pass.

use std::{collections::VecDeque, fmt, time::Instant};

use proxima_announce::{AnnouncerConfig, Input, Transition};
use proxima_types::{Announcement, Community, ReachState};

use crate::{
    clock::{Nanos, SECOND, span},
    history::{Fact, Gone},
    router::Route,
    shape::{MOST_POPS, Shape},
    world::{MOST_GROUPS, World},
};

mod announcers;
mod due;
mod flaps;
mod judged;
mod known;

use announcers::{Announcers, Word};
use judged::{Judged, Verdict};

/// What a world is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Nothing is sent that the other side has already.
    Redundant,
    /// Nothing is announced that is not on the list.
    AllowList,
    /// A transition leads from the state before to another, of a group that is configured.
    Continuity,
    /// The reason given for a transition is one there is.
    Reason,
    /// Routes bear the marks and communities of the group's state, and no others.
    Attributes,
    /// Health moves a group only where the score is beyond a bound.
    Hysteresis,
    /// Nothing that health has withdrawn comes back before the end of the hold-down.
    HoldDown,
    /// Health withdraws nothing before its least time up is over.
    MinUp,
    /// Nothing improves while flaps are damped.
    Damping,
    /// No more withdrawals by health than the cap allows.
    Cap,
    /// A guarded group leaves by health only after its quiet period, with others in sight; and comes back only without.
    Guard,
    /// Of a guarded group there is an announcer, while there is any PoP that can be one.
    LastAnnouncer,
    /// A score is the share of capacity that is up, as far as that is known.
    Score,
    /// A backend that nothing checks any more is not taken for up.
    Unchecked,
    /// Nothing is announced before all first verdicts.
    FirstVerdicts,
    /// With a dead checker nothing is announced.
    DeadMan,
    /// A PoP with a fault of its own announces nothing.
    Fault,
    /// The operator's order is obeyed.
    Order,
    /// A group whose score is good for long enough is announced.
    Announced,
    /// A group whose score is bad for long enough is withdrawn.
    Withdrawn,
    /// What is desired is what routers hold.
    Delivered,
    /// Routers hold nothing of a PoP that is gone.
    Stale,
    /// No configuration is taken under which nothing is announced any more.
    ConfigGuard,
    /// End-of-RIB comes after the first verdicts and what they announce.
    StartOrder,
    /// A stop goes in order: GRACEFUL_SHUTDOWN for its time, the withdrawal, the end of sessions.
    StopOrder,
}

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// When.
    pub at: Nanos,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:.4} s: {}", self.rule, self.at as f64 / SECOND as f64, self.what)
    }
}

/// After the start of a daemon its sessions and views are there within this time.
const START_TIME: Nanos = 5 * SECOND;
/// After a fault beyond apps all is as before within this time, and the hold time.
const RECOVERY: Nanos = 10 * SECOND;

/// What is remembered of a world.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) violation: Option<Violation>,
    pub(crate) alarms: u64,
    judged: [[Judged; MOST_GROUPS]; MOST_POPS as usize],
    /// By PoP: withdrawals by health.
    withdrawals: [VecDeque<Instant>; MOST_POPS as usize],
    /// By link: when the PoP ended in order, and with it the session.
    stopped: [Option<Nanos>; 2 * MOST_POPS as usize],
    /// By PoP: since when nobody there answers.
    gone_since: [Option<Nanos>; MOST_POPS as usize],
    /// By link: when it has recovered from what last befell it.
    link_calm_from: [Nanos; 2 * MOST_POPS as usize],
    /// How many faults are on that are not of apps alone.
    upsets: u32,
    /// When all has recovered from them.
    calm_from: Nanos,
    recovery: Nanos,
    announcers: Announcers,
    /// By PoP and group: from when on its file had it, and from when on not.
    listed: [[Vec<(Nanos, bool)>; MOST_GROUPS]; MOST_POPS as usize],
}

impl Oracle {
    pub(crate) fn reset(&mut self, shape: &Shape) {
        *self = Self { recovery: RECOVERY + shape.hold_time, ..Self::default() };
    }

    pub(crate) fn started(&mut self, pop: usize, now: Nanos, config: &AnnouncerConfig) {
        self.calm_from = self.calm_from.max(now + START_TIME);
        self.judged[pop] = Default::default();
        self.withdrawals[pop].clear();
        self.answers(pop);
        self.lists(pop, now, config.groups.len());
        for (judged, config) in self.judged[pop].iter_mut().zip(&config.groups) {
            judged.configure(config);
        }
    }

    /// What a PoP's file has from now on: its first groups.
    pub(crate) fn lists(&mut self, pop: usize, now: Nanos, groups: usize) {
        for (group, listed) in self.listed[pop].iter_mut().enumerate() {
            listed.push((now, group < groups));
        }
    }

    /// Whether a PoP's file had a group when something was sent.
    pub(crate) fn was_listed(&self, pop: usize, group: usize, sent: Nanos) -> bool {
        let listed = &self.listed[pop][group];
        let ends = listed.iter().skip(1).map(|(at, _)| *at).chain([Nanos::MAX]);
        listed.iter().zip(ends).any(|((begins, is), ends)| *is && *begins <= sent && sent <= ends)
    }

    /// What was seen of others is too old.
    fn forgets_view(&mut self, pop: usize, group: usize) {
        self.judged[pop][group].forgets_view();
    }

    /// A PoP stands still.
    pub(crate) fn stands(&mut self, pop: usize, now: Nanos) {
        self.announcers.stands(pop, now);
    }

    /// A PoP that was silent is so no more.
    pub(crate) fn answers(&mut self, pop: usize) {
        self.gone_since[pop] = None;
    }

    pub(crate) fn died(&mut self, pop: usize, now: Nanos) {
        self.judged[pop] = Default::default();
        for group in 0..MOST_GROUPS {
            self.announcers.word(pop, group, now, Word::default(), false);
        }
    }

    /// A configuration is taken; returns whether it leaves nothing announced where something was.
    #[must_use]
    pub(crate) fn reconfigured(&mut self, pop: usize, local: Instant, config: &AnnouncerConfig) -> bool {
        let speaks = self.judged[pop].iter().any(|judged| is_up(judged.state));
        for (group, judged) in self.judged[pop].iter_mut().enumerate() {
            match config.groups.get(group) {
                Some(config) => judged.reconfigure(local, config),
                None => judged.remove(),
            }
        }
        speaks && self.judged[pop].iter().all(Judged::is_silenced)
    }

    /// A daemon ends in order, or begins: then `now` is `None`.
    pub(crate) fn stops(&mut self, link: usize, now: Option<Nanos>) {
        self.stopped[link] = now;
    }

    pub(crate) fn informed(&mut self, local: Instant, pop: usize, group: usize, input: &Input) {
        self.judged[pop][group].input(local, input);
    }

    /// A fault that is not of apps alone begins or ends.
    pub(crate) fn upset(&mut self, now: Nanos, begins: bool) {
        self.upsets = if begins { self.upsets + 1 } else { self.upsets - 1 };
        self.calm_from = self.calm_from.max(now + self.recovery);
    }

    /// Something befalls a link.
    pub(crate) fn link_upset(&mut self, link: usize, now: Nanos) {
        self.link_calm_from[link] = now + RECOVERY;
    }

    /// Whether nothing but faults of apps has had an effect for long enough.
    fn is_calm(&self, now: Nanos) -> bool {
        self.upsets == 0 && now >= self.calm_from
    }
}

impl World {
    /// The announcement core has changed a group's state.
    pub(crate) fn transition(&mut self, pop: usize, transition: &Transition) {
        let Some(group) = self.names.groups.iter().position(|name| *name == transition.group) else {
            return self.violated(Rule::Continuity, format!("pop{pop}: {} is no group", transition.group));
        };
        let Transition { from, to, reason, .. } = transition;
        if self.trace.on() {
            let who = format!("pop{pop}/{}", transition.group);
            self.trace.say(self.now, &who, format_args!("{from} to {to}: {reason}"));
        }
        self.record(|| Fact::Transition {
            pop: pop as u8,
            group: group as u8,
            to: *to,
            why: reason.to_string(),
        });
        let local = self.pops[pop].clock.at(self.now);
        match self.oracle.judged[pop][group].transition(local, *from, *to, reason) {
            Ok(Verdict::Fine) => {}
            Ok(Verdict::WithdrawnByHealth) => {
                self.withdrawn_by_health(pop, local);
                self.oracle.announcers.word(pop, group, self.now, Word::default(), true);
                self.leaves_by_health(pop, group);
            }
            Err((rule, what)) => {
                let group = &transition.group;
                self.violated(rule, format!("pop{pop}/{group}, {from} to {to} ({reason}): {what}"));
            }
        }
    }

    fn withdrawn_by_health(&mut self, pop: usize, local: Instant) {
        let Some((most, within)) = self.shape.cap else { return };
        let withdrawals = &mut self.oracle.withdrawals[pop];
        withdrawals.retain(|at| *at + span(within) > local);
        withdrawals.push_back(local);
        if withdrawals.len() > most as usize {
            self.violated(
                Rule::Cap,
                format!("pop{pop}: more than {most} withdrawals within {:?}", span(within)),
            );
        }
    }

    /// A daemon wants its routers to hold this from now on.
    pub(crate) fn desires(&mut self, pop: usize, desired: &[Announcement]) {
        let local = self.pops[pop].clock.at(self.now);
        for group in 0..self.shape.groups.len() {
            let prefix = self.names.prefixes[group];
            let attributes =
                desired.iter().find(|route| route.prefix == prefix).map(|route| &route.attributes);
            let judged = &mut self.oracle.judged[pop][group];
            let found = judged.desired(local, attributes);
            let word = judged.word(attributes);
            self.oracle.announcers.word(pop, group, self.now, word, false);
            if let Err(what) = found {
                self.violated(Rule::Attributes, format!("pop{pop}/{}: {what}", self.names.groups[group]));
            }
        }
        let graceful =
            |route: &Announcement| route.attributes.communities.contains(&Community::GRACEFUL_SHUTDOWN);
        if self.pops[pop].stop.is_some() && !desired.iter().all(graceful) {
            self.violated(Rule::StopOrder, format!("pop{pop} stops and announces without GRACEFUL_SHUTDOWN"));
        }
    }

    /// A router holds a route it did not, or with other attributes.
    pub(crate) fn route_came(&mut self, link: usize, group: usize, before: Option<&Route>) {
        if self.trace.on() {
            let verb = if before.is_some() { "changes" } else { "comes" };
            let who = format!("router{link}");
            self.trace.say(self.now, &who, format_args!("{} {verb}", self.names.prefixes[group]));
        }
        self.record(|| Fact::Came { link: link as u8, group: group as u8 });
    }

    /// A router holds a route no more.
    pub(crate) fn route_gone(&mut self, link: usize, group: usize, _was: &Route, how: Gone) {
        if self.trace.on() {
            let who = format!("router{link}");
            self.trace.say(self.now, &who, format_args!("{} goes: {how:?}", self.names.prefixes[group]));
        }
        self.record(|| Fact::Lost { link: link as u8, group: group as u8, how });
        let pop = self.pop_of(link);
        let undisturbed = self.oracle.stopped[link]
            .is_some_and(|since| self.link_is_whole(link) && self.oracle.link_calm_from[link] < since);
        if how == Gone::Session && undisturbed && !self.links[link].given_up {
            self.violated(
                Rule::StopOrder,
                format!("pop{pop} has stopped and was still announced at router{link}"),
            );
        }
        self.last_announcer(group);
    }

    /// A router has had End-of-RIB.
    pub(crate) fn end_of_rib_arrived(&mut self, link: usize) {
        let pop = self.pop_of(link);
        let host = &self.pops[pop];
        if !host.running || !self.link_is_whole(link) || host.stands_still() {
            return;
        }
        if !host.released {
            self.violated(Rule::StartOrder, format!("router{link} got End-of-RIB before all first verdicts"));
        } else if host.desired_since + SECOND < self.now && self.oracle.link_calm_from[link] < self.now {
            self.delivered(link, Rule::StartOrder);
        }
    }

    /// Whether a link is without fault now.
    fn link_is_whole(&self, link: usize) -> bool {
        let link = &self.links[link];
        link.cut == [0; 2] && link.loss == 0 && link.extra == 0
    }

    /// Whether a router holds what the PoP wants it to hold.
    fn delivered(&mut self, link: usize, rule: Rule) {
        let pop = self.pop_of(link);
        for group in 0..self.shape.groups.len() {
            let prefix = self.names.prefixes[group];
            let desired = self.pops[pop].desired.iter().find(|route| route.prefix == prefix);
            let held = self.links[link].routes[group].as_ref();
            let same = match (desired, held) {
                (None, None) => true,
                (Some(desired), Some(held)) => held.is(&desired.attributes),
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !same {
                let held = if held.is_some() { "another route" } else { "none" };
                let desired = desired.map_or("none", |_| "one");
                let what =
                    format!("router{link} holds {held} for {prefix}, pop{pop} wants it to hold {desired}");
                return self.violated(rule, what);
            }
        }
    }

    /// Of a guarded group somebody announces, while any PoP can.
    fn last_announcer(&mut self, group: usize) {
        if self.shape.groups[group].guard.is_none() || !self.oracle.is_calm(self.now) {
            return;
        }
        let held = (0..self.pops.len()).any(|pop| self.held_of(pop, group));
        if !held && let Some(pop) = (0..self.pops.len()).find(|pop| self.can_announce(*pop, group)) {
            let name = &self.names.groups[group];
            self.violated(Rule::LastAnnouncer, format!("nobody announces {name}, although pop{pop} could"));
        }
    }

    /// Whether nothing but health keeps a PoP from announcing, and its routers would know.
    fn can_announce(&self, pop: usize, group: usize) -> bool {
        let host = &self.pops[pop];
        let connected = |link: usize| {
            self.links[link].up_since.is_some_and(|since| since + 3 * SECOND < self.now)
                && self.link_is_whole(link)
        };
        host.running
            && !host.stands_still()
            && host.stop.is_none()
            && self.oracle.judged[pop][group].is_healths()
            && self.links_of(pop).any(connected)
    }
}

/// Whether a group is announced in any way.
fn is_up(state: ReachState) -> bool {
    match state {
        ReachState::Announced | ReachState::DePreferred => true,
        ReachState::Withdrawn => false,
    }
}
