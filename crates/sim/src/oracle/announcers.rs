//! Who announces a guarded group, by what daemons want their routers to hold: the guard's promise in every world.
//!
//! | | when | what holds |
//! |---|---|---|
//! | calm | nothing but faults of apps for a while | routers of somebody hold it at any time |
//! | leaving | any time, whatever befalls | who leaves by health leaves as many as have to stay, unless others have gone since by something else than health, or what was seen of them was older than the propagation |
//! | dark | any time, whatever befalls | nobody's routers hold it for no longer than it takes to know that, while a PoP could announce it |
//!
//! These are the assumptions of docs/guard.md, each looked at by itself: not "no partition", but that what a PoP relies on when it
//! leaves was so no longer ago than D. Evidence that is lost makes nobody leave; so a cut excuses nothing by itself.

use crate::{
    clock::{Nanos, SECOND},
    oracle::Rule,
    shape::MOST_POPS,
    world::{MOST_GROUPS, World},
};

/// To know that nobody announces any more, beside the hold time: sessions between routers that begin anew, news on the way.
const KNOWN_WITHIN: Nanos = 12 * SECOND;

/// What a PoP wants others to know of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Word {
    /// It can be counted on, unless it is leaving.
    pub(crate) announced: bool,
    pub(crate) leaving: bool,
}

impl Word {
    fn index(self) -> usize {
        usize::from(self.announced) | usize::from(self.leaving) << 1
    }
}

/// What one PoP has wanted of one group.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    now: Word,
    /// When each word was its word last.
    until: [Option<Nanos>; 4],
}

/// Who announces.
#[derive(Debug, Default)]
pub(super) struct Announcers {
    wanted: [[Wanted; MOST_GROUPS]; MOST_POPS as usize],
    /// When somebody last went by something else than health, or stood still.
    abrupt: [Option<Nanos>; MOST_GROUPS],
    /// When somebody last left by what was older than the propagation.
    late: [Option<Nanos>; MOST_GROUPS],
    /// Since when no router holds it.
    dark_since: [Option<Nanos>; MOST_GROUPS],
    /// Since when a PoP could announce it, while no router holds it.
    ready_since: [[Option<Nanos>; MOST_GROUPS]; MOST_POPS as usize],
}

impl Announcers {
    /// A PoP wants something else of a group. Where it went, `by_health` tells whether that was health's doing.
    pub(super) fn word(&mut self, pop: usize, group: usize, now: Nanos, word: Word, by_health: bool) {
        let wanted = &mut self.wanted[pop][group];
        let before = std::mem::replace(&mut wanted.now, word);
        if before == word {
            return;
        }
        wanted.until[before.index()] = Some(now);
        if before.announced && !word.announced && !by_health {
            self.abrupt[group] = Some(now);
        }
    }

    /// A PoP stands still: it counts for others, and nobody knows.
    pub(super) fn stands(&mut self, pop: usize, now: Nanos) {
        for group in 0..MOST_GROUPS {
            if self.wanted[pop][group].now.announced {
                self.abrupt[group] = Some(now);
            }
        }
    }

    /// How old it is that this was a PoP's word; `None`: it never was.
    fn age(&self, pop: usize, group: usize, now: Nanos, word: Word) -> Option<Nanos> {
        let wanted = &self.wanted[pop][group];
        if wanted.now == word { Some(0) } else { wanted.until[word.index()].map(|until| now - until) }
    }
}

impl World {
    /// A PoP leaves a guarded group by health.
    pub(super) fn leaves_by_health(&mut self, pop: usize, group: usize) {
        let Some(least) = self.shape.groups[group].guard else { return };
        let (now, most) = (self.now, self.shape.propagation);
        let counted = self.oracle.judged[pop][group].counted();
        let is_late = |of: usize| {
            let origin = self.router_id(of).into();
            let seen = counted.iter().find(|sighting| sighting.origin == origin);
            seen.is_some_and(|seen| {
                let word = Word { announced: true, leaving: seen.leaving };
                self.oracle.announcers.age(of, group, now, word).is_none_or(|age| age > most)
            })
        };
        if (0..self.pops.len()).filter(|of| *of != pop).any(is_late) {
            self.oracle.announcers.late[group] = Some(now);
        }
        let stays = |of: &usize| *of != pop && self.oracle.announcers.wanted[*of][group].now.announced;
        let others = (0..self.pops.len()).filter(stays).count();
        let chain = self.shape.quiet() + most;
        let is_recent = |at: Option<Nanos>| at.is_some_and(|at| at + chain >= now);
        let Announcers { abrupt, late, .. } = &self.oracle.announcers;
        let excused = is_recent(abrupt[group]) || is_recent(late[group]);
        if others < least as usize && !excused {
            let name = &self.names.groups[group];
            let what =
                format!("pop{pop} leaves {name} by health to {others} others, and {least} have to stay");
            self.violated(Rule::LastAnnouncer, what);
        }
    }

    /// Nobody's routers hold a guarded group for no longer than it takes to know that.
    pub(super) fn check_dark(&mut self, group: usize) {
        if self.shape.groups[group].guard.is_none() {
            return;
        }
        let held = (0..self.pops.len()).any(|pop| self.held_of(pop, group));
        let dark = &mut self.oracle.announcers.dark_since[group];
        *dark = if held { None } else { dark.or(Some(self.now)) };
        let Some(dark) = *dark else {
            self.oracle.announcers.ready_since.iter_mut().for_each(|groups| groups[group] = None);
            return;
        };
        // News that take longer, and sessions that begin anew when they are over.
        let late = self.wan_extra.iter().max().copied().unwrap_or(0);
        let most = self.shape.hold_time + KNOWN_WITHIN + 2 * self.shape.propagation + late;
        for pop in 0..self.pops.len() {
            let can = self.can_announce(pop, group) && self.pops[pop].lag == 0 && late == 0;
            let ready = &mut self.oracle.announcers.ready_since[pop][group];
            *ready = if can { ready.or(Some(self.now)) } else { None };
            let since = ready.map(|ready| ready.max(dark));
            if since.is_some_and(|since| since + most < self.now) {
                let name = &self.names.groups[group];
                let what = format!("nobody has announced {name} for long, and pop{pop} could");
                return self.violated(Rule::LastAnnouncer, what);
            }
        }
    }
}
