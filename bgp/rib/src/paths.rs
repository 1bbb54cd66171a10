//! The paths: lists of small nodes, one list for each prefix, in order of peer and path identifier.

use std::{
    cmp::Ordering,
    time::{Duration, Instant},
};

use proxima_types::{Family, Prefix};

use crate::{
    MAX_PATHS_PER_PREFIX, Route, Unusable,
    interner::Interner,
    peers::{Peers, State},
    slab::Slab,
    table::NONE,
};

#[derive(Debug, Default)]
pub(crate) struct Paths {
    pub(crate) nodes: Slab<Node>,
    pub(crate) peers: Peers,
    pub(crate) sets: Interner,
    epoch: Option<Instant>,
}

/// A path, in 20 octets.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Node {
    /// The next path to the prefix.
    next: u32,
    /// Attributes and next hop, in the interner.
    pub(crate) shared: u32,
    pub(crate) path_id: u32,
    /// Sixteenths of a second since the epoch: good for eight years.
    pub(crate) received: u32,
    origin: Origin,
}

/// Peer (21 bits), generation (8 bits) and standing (3 bits).
#[derive(Debug, Clone, Copy, Default)]
struct Origin(u32);

impl Origin {
    fn new(peer: u32, generation: u8, standing: Option<Unusable>) -> Self {
        let standing = match standing {
            None | Some(Unusable::NextHop) => 0,
            Some(Unusable::AsLoop) => 1,
            Some(Unusable::ReflectionLoop) => 2,
            Some(Unusable::Leak) => 3,
            Some(Unusable::NoPolicy) => 4,
        };
        Self(peer << 11 | u32::from(generation) << 3 | standing)
    }
}

impl Node {
    pub(crate) fn peer(&self) -> u32 {
        self.origin.0 >> 11
    }

    fn generation(&self) -> u8 {
        (self.origin.0 >> 3) as u8
    }

    pub(crate) fn standing(&self) -> Option<Unusable> {
        match self.origin.0 & 7 {
            0 => None,
            1 => Some(Unusable::AsLoop),
            2 => Some(Unusable::ReflectionLoop),
            3 => Some(Unusable::Leak),
            _ => Some(Unusable::NoPolicy),
        }
    }
}

/// A path as it comes; `shared` is held by the caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    pub(crate) peer: u32,
    pub(crate) family: Family,
    pub(crate) path_id: u32,
    pub(crate) shared: u32,
    pub(crate) received: u32,
    pub(crate) standing: Option<Unusable>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    New,
    Replaced,
    Confirmed,
    Unchanged,
    Refused,
}

/// Where in a list a path is, or belongs.
struct Place {
    previous: u32,
    found: Option<u32>,
}

impl Paths {
    /// `now` as nodes keep it.
    pub(crate) fn ticks(&mut self, now: Instant) -> u32 {
        let since = now.saturating_duration_since(*self.epoch.get_or_insert(now));
        u32::try_from(since.as_millis() * 16 / 1000).unwrap_or(u32::MAX)
    }

    fn time(&self, ticks: u32) -> Option<Instant> {
        self.epoch.map(|epoch| epoch + Duration::from_millis(u64::from(ticks) * 1000 / 16))
    }

    pub(crate) fn state(&self, node: &Node, family: Family) -> State {
        self.peers.life(node.peer(), family).state(node.generation())
    }

    /// The paths of a list that are not dead.
    pub(crate) fn live(&self, head: u32, family: Family) -> impl Iterator<Item = &Node> + '_ {
        let mut at = head;
        std::iter::from_fn(move || {
            while at != NONE {
                let node = &self.nodes[at];
                at = node.next;
                if self.state(node, family) != State::Dead {
                    return Some(node);
                }
            }
            None
        })
    }

    /// The path for those outside.
    pub(crate) fn route(&self, prefix: Prefix, node: &Node, usable: bool) -> Option<Route> {
        Some(Route {
            prefix,
            peer: self.peers.peer(node.peer()).id,
            path_id: node.path_id,
            shared: self.sets.shared(node.shared).clone(),
            received_at: self.time(node.received)?,
            stale: self.peers.life(node.peer(), prefix.family()).stale(node.generation()),
            unusable: node.standing().or((!usable).then_some(Unusable::NextHop)),
        })
    }

    fn place(&self, head: u32, peer: u32, path_id: u32) -> Place {
        let (mut previous, mut at) = (NONE, head);
        while at != NONE {
            let node = &self.nodes[at];
            match (node.peer(), node.path_id).cmp(&(peer, path_id)) {
                Ordering::Less => {}
                Ordering::Equal => return Place { previous, found: Some(at) },
                Ordering::Greater => break,
            }
            previous = at;
            at = node.next;
        }
        Place { previous, found: None }
    }

    pub(crate) fn insert(&mut self, head: &mut u32, incoming: Incoming) -> Inserted {
        let Incoming { peer, family, path_id, shared, received, standing } = incoming;
        let Place { previous, found } = self.place(*head, peer, path_id);
        let before = found.map_or(State::Dead, |at| self.state(&self.nodes[at], family));
        let has_room = before == State::Fresh || self.peers.has_room(peer, family, before);
        let life = self.peers.life_mut(peer, family);
        let origin = Origin::new(peer, life.current(), standing);
        if !has_room {
            life.discard();
            return Inserted::Refused;
        }
        if before == State::Dead
            && *head != NONE
            && self.paths_of(*head, peer, family) >= MAX_PATHS_PER_PREFIX
        {
            self.peers.life_mut(peer, family).crowd();
            return Inserted::Refused;
        }
        let Some(at) = found else {
            self.peers.life_mut(peer, family).add(standing);
            let next = if previous == NONE { *head } else { self.nodes[previous].next };
            let at = self.nodes.insert(Node { next, shared, path_id, received, origin });
            self.sets.hold(shared);
            self.link(head, previous, at);
            return Inserted::New;
        };
        let life = self.peers.life_mut(peer, family);
        let node = &mut self.nodes[at];
        life.remove(before, node.standing());
        life.add(standing);
        node.origin = origin;
        if before != State::Dead && node.shared == shared {
            return if before == State::Stale { Inserted::Confirmed } else { Inserted::Unchanged };
        }
        node.received = received;
        let replaced = std::mem::replace(&mut node.shared, shared);
        self.sets.hold(shared);
        self.sets.release(replaced);
        if before == State::Dead { Inserted::New } else { Inserted::Replaced }
    }

    fn paths_of(&self, head: u32, peer: u32, family: Family) -> usize {
        let of_peer = self.live(head, family).skip_while(|node| node.peer() < peer);
        of_peer.take_while(|node| node.peer() == peer).count()
    }

    /// Removes a path; returns whether it was there, alive.
    pub(crate) fn remove(&mut self, head: &mut u32, peer: u32, path_id: u32, family: Family) -> bool {
        let Place { previous, found } = self.place(*head, peer, path_id);
        let Some(at) = found else { return false };
        self.unlink(head, previous, at, family) != State::Dead
    }

    /// Removes the dead paths of a list.
    pub(crate) fn collect(&mut self, head: &mut u32, family: Family) {
        let (mut previous, mut at) = (NONE, *head);
        while at != NONE {
            let next = self.nodes[at].next;
            if self.state(&self.nodes[at], family) == State::Dead {
                self.unlink(head, previous, at, family);
            } else {
                previous = at;
            }
            at = next;
        }
    }

    /// Gives the stale paths of a peer in this list the generation before the current one, and removes its dead ones.
    pub(crate) fn join_stale(&mut self, head: &mut u32, peer: u32, family: Family) {
        let generation = self.peers.life(peer, family).current().wrapping_sub(1);
        let (mut previous, mut at) = (NONE, *head);
        while at != NONE {
            let node = self.nodes[at];
            if node.peer() == peer {
                match self.state(&node, family) {
                    State::Fresh => {}
                    State::Stale => self.nodes[at].origin = Origin::new(peer, generation, node.standing()),
                    State::Dead => {
                        self.unlink(head, previous, at, family);
                        at = node.next;
                        continue;
                    }
                }
            }
            previous = at;
            at = node.next;
        }
    }

    fn link(&mut self, head: &mut u32, previous: u32, at: u32) {
        if previous == NONE { *head = at } else { self.nodes[previous].next = at }
    }

    fn unlink(&mut self, head: &mut u32, previous: u32, at: u32, family: Family) -> State {
        let node = self.nodes.remove(at);
        self.link(head, previous, node.next);
        self.sets.release(node.shared);
        let life = self.peers.life_mut(node.peer(), family);
        let state = life.state(node.generation());
        life.remove(state, node.standing());
        if state == State::Dead {
            self.peers.bury(node.peer());
        }
        state
    }
}
