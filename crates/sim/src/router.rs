//! What routers hold of a PoP, and how the other PoPs come to know of it.
//!
//! ```text
//!  UPDATE ─▶ router's table ─▶ what all routers of the PoP hold together ─▶ … within D … ─▶ the other PoPs' routers ─▶ View
//! ```
//!
//! What is heard of a PoP is kept while the way is cut, for as long as sessions between routers last; then it is gone, both
//! ways. When the way is mended it is told anew.

use std::collections::VecDeque;

use proxima_announce::{Input, Origin, Sighting, View};
use proxima_bgp_session::{ReceivedUpdate, RibChange};
use proxima_bgp_wire::{Attributes, NextHop};
use proxima_types::RouteAttributes;

use crate::{
    clock::{MS, Nanos},
    history::Gone,
    net::LOCAL_AS,
    oracle::Rule,
    queue::Event,
    world::{MOST_GROUPS, World},
};

/// A route as a router holds it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Route {
    attributes: Attributes,
    next_hop: NextHop,
}

impl Route {
    /// What the route's marks tell other PoPs; `None`: it is no evidence for anybody.
    fn sighting(&self) -> Option<Sighting> {
        Sighting::of(LOCAL_AS, self.attributes.large_communities.iter().copied())
    }

    /// Whether it is announced with these attributes.
    pub(crate) fn is(&self, announced: &RouteAttributes) -> bool {
        let held = &self.attributes;
        held.as_path.asns().count() == 1 + usize::from(announced.prepend)
            && held.med == announced.med
            && held
                .communities
                .iter()
                .map(|known| known.0)
                .eq(announced.communities.iter().map(|known| known.0))
            && held.large_communities[..] == announced.large_communities[..]
    }
}

/// What is known of a PoP's groups, two bits each: announced, leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Known(u8);

impl Known {
    fn with(self, group: usize, announced: bool, leaving: bool) -> Self {
        Self(self.0 | (u8::from(announced) | u8::from(leaving) << 1) << (2 * group))
    }

    pub(crate) fn announced(self, group: usize) -> bool {
        self.0 >> (2 * group) & 1 == 1
    }

    pub(crate) fn leaving(self, group: usize) -> bool {
        self.0 >> (2 * group) & 2 == 2
    }
}

/// The way from one PoP's routers to another's.
#[derive(Debug, Default)]
pub(crate) struct Way {
    pub(crate) delay: Nanos,
    on_it: VecDeque<Known>,
    last: Nanos,
    /// How many faults cut it.
    pub(crate) cut: u8,
    /// Counts the cuts.
    cuts: u16,
    /// The routers have given up their session.
    parted: bool,
    /// What the far end knows.
    pub(crate) known: Known,
}

impl Way {
    pub(crate) fn reset(&mut self, delay: Nanos) {
        self.on_it.clear();
        *self = Self { delay, on_it: std::mem::take(&mut self.on_it), ..Self::default() };
    }
}

impl World {
    /// The router of `link` takes what its session tells it.
    pub(crate) fn table_changes(&mut self, link: usize, change: RibChange) {
        match change {
            RibChange::PeerUp(_) => self.links[link].told_all = false,
            RibChange::Update(received) => self.update_received(link, &received),
            RibChange::EndOfRib(_) => {
                if std::mem::replace(&mut self.links[link].told_all, true) {
                    self.violated(Rule::Redundant, format!("router{link} got a second End-of-RIB"));
                }
                self.end_of_rib_arrived(link);
            }
            RibChange::DropAll | RibChange::DropFamily(_) => {
                for group in 0..MOST_GROUPS {
                    if let Some(route) = self.links[link].routes[group].take() {
                        self.route_gone(link, group, &route, Gone::Session);
                    }
                }
                self.publish(self.pop_of(link));
            }
            RibChange::MarkStale(_) | RibChange::BeginRefresh(_) | RibChange::SweepStale(_) => {}
        }
    }

    fn update_received(&mut self, link: usize, received: &ReceivedUpdate) {
        for nlri in &received.update.withdrawn {
            let Some(group) = self.group_of(nlri.prefix) else {
                self.violated(Rule::AllowList, format!("router{link} was told of {}", nlri.prefix));
                continue;
            };
            if let Some(route) = self.links[link].routes[group].take() {
                self.route_gone(link, group, &route, Gone::Withdrawn);
            } else {
                let text =
                    format!("router{link} was told to withdraw {}, which it did not hold", nlri.prefix);
                self.violated(Rule::Redundant, text);
            }
        }
        for reach in &received.update.reach {
            for nlri in &reach.nlri {
                let (pop, sent) = (self.pop_of(link), self.received_sent);
                let listed = |group: &usize| self.oracle.was_listed(pop, *group, sent);
                let Some(group) = self.group_of(nlri.prefix).filter(listed) else {
                    let text = format!("router{link} was told of {}, which pop{pop} may not", nlri.prefix);
                    self.violated(Rule::AllowList, text);
                    continue;
                };
                let route =
                    Route { attributes: received.update.attributes.clone(), next_hop: reach.next_hop };
                let before = self.links[link].routes[group].replace(route);
                if before == self.links[link].routes[group] {
                    let text = format!("router{link} was told of {} again, unchanged", nlri.prefix);
                    self.violated(Rule::Redundant, text);
                }
                self.route_came(link, group, before.as_ref());
            }
        }
        self.publish(self.pop_of(link));
    }

    /// Whether any router of the PoP holds the group's route.
    pub(crate) fn held_of(&self, pop: usize, group: usize) -> bool {
        self.links_of(pop).any(|link| self.links[link].routes[group].is_some())
    }

    /// Tells the other PoPs' routers what those of `pop` hold, if that has changed.
    fn publish(&mut self, pop: usize) {
        let mut known = Known::default();
        for group in 0..self.shape.groups.len() {
            let routes = self.links_of(pop).filter_map(|link| self.links[link].routes[group].as_ref());
            let (mut announced, mut leaving) = (false, false);
            for sighting in routes.filter_map(Route::sighting) {
                announced = true;
                leaving |= sighting.leaving;
            }
            known = known.with(group, announced, leaving);
        }
        if std::mem::replace(&mut self.published[pop], known) != known {
            for at in (0..self.pops.len()).filter(|at| *at != pop) {
                self.news(pop, at, 0);
            }
        }
    }

    /// What is known of a PoP goes to another.
    fn news(&mut self, of: usize, at: usize, wait: Nanos) {
        let delay = self.ways[of][at].delay + self.wan_extra[of];
        let early = delay / 2;
        let arrives = self.now + wait + early + self.net_random.below(delay - early + 1);
        let way = &mut self.ways[of][at];
        way.last = way.last.max(arrives);
        way.on_it.push_back(self.published[of]);
        self.queue.push(way.last, Event::Sighting { of: of as u8, at: at as u8 });
    }

    pub(crate) fn sighting(&mut self, of: usize, at: usize) {
        let way = &mut self.ways[of][at];
        let Some(known) = way.on_it.pop_front() else { return };
        if way.cut == 0 && !way.parted {
            way.known = known;
            self.view_soon(at, self.edge_delay(at));
        }
    }

    fn edge_delay(&self, pop: usize) -> Nanos {
        self.links_of(pop).map(|link| self.links[link].delay + self.links[link].extra).min().unwrap_or(0)
    }

    pub(crate) fn view_soon(&mut self, pop: usize, wait: Nanos) {
        self.queue.push(self.now + wait, Event::View(pop as u8));
    }

    /// One fault more or less cuts the way.
    pub(crate) fn cut_way(&mut self, of: usize, at: usize, begins: bool) {
        let hold = self.shape.hold_time;
        let way = &mut self.ways[of][at];
        if begins {
            way.cut += 1;
            if way.cut == 1 {
                way.cuts += 1;
                let cut = way.cuts;
                self.queue.push(self.now + hold, Event::Parted { of: of as u8, at: at as u8, cut });
            }
            return;
        }
        way.cut -= 1;
        if way.cut > 0 || self.ways[at][of].cut > 0 {
            return;
        }
        for (of, at) in [(of, at), (at, of)] {
            let parted = std::mem::take(&mut self.ways[of][at].parted);
            let wait = if parted { self.net_random.between(1000, 4000) } else { 200 } * MS;
            self.news(of, at, wait);
        }
    }

    /// The routers' hold timer: what they heard of each other is gone, both ways.
    pub(crate) fn parted(&mut self, of: usize, at: usize, cut: u16) {
        let way = &self.ways[of][at];
        if way.cut == 0 || way.cuts != cut {
            return;
        }
        for (of, at) in [(of, at), (at, of)] {
            let way = &mut self.ways[of][at];
            way.parted = true;
            way.known = Known::default();
            self.trace.say(self.now, "wan", format_args!("routers at pop{at} gave up those of pop{of}"));
            self.view_soon(at, self.edge_delay(at));
        }
    }

    /// The PoP hears what its routers know. Nothing comes through where all its links are cut or down.
    pub(crate) fn view(&mut self, pop: usize) {
        if !self.pops[pop].running {
            return;
        }
        let observing = self.links_of(pop).any(|link| self.links[link].observed);
        let cut = |link: usize| self.links[link].cut[crate::net::POP] > 0;
        if observing && self.links_of(pop).filter(|link| self.links[*link].observed).all(cut) {
            self.pops[pop].view_missed = true;
            return;
        }
        for group in 0..self.shape.groups.len() {
            if self.shape.groups[group].guard.is_none() {
                continue;
            }
            let mut others = Vec::new();
            for of in (0..self.pops.len()).filter(|of| observing && *of != pop) {
                let known = self.ways[of][pop].known;
                if known.announced(group) {
                    let origin = Origin(self.router_id(of).into());
                    others.push(Sighting { origin, leaving: known.leaving(group) });
                }
            }
            let view = View { observing, others };
            if self.pops[pop].views[group].as_ref() != Some(&view) {
                self.pops[pop].views[group] = Some(view.clone());
                self.inform(pop, group, Input::View(view));
            }
        }
        self.settle(pop);
    }
}
