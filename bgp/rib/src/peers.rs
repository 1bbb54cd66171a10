//! Peers by a short number, and which of their paths are fresh, stale or dead.
//!
//! A path bears the generation of its peer and family in which it came. To mark all paths stale is to begin a new
//! generation; to sweep or drop them is to move the oldest one that still counts:
//!
//! ```text
//!  generation   … 41   42   43   44   45
//!                  └────┘    └────┘    │
//!                   dead     stale   fresh           kept = 41, oldest = 43, current = 45
//! ```
//!
//! Of the stale ones those before `known` are from before the loss of the session, the others from before a refresh on it.
//!
//! Generations are counted in eight bits. Dead ones come free when their paths have been collected.

use std::collections::HashMap;

use proxima_types::Family;

use crate::{Counts, PathSource, PeerId, Stale, Unusable, source::index};

/// The most peers at a time: a path has 21 bits for its peer.
const MAX_PEERS: usize = 1 << 21;

#[derive(Debug, Default)]
pub(crate) struct Peers {
    slots: Vec<Option<Peer>>,
    numbers: HashMap<PeerId, u32>,
    free: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) source: PathSource,
    /// The most fresh paths of each family that are taken in.
    limit: usize,
    /// Dropped; it waits for its paths to be collected.
    gone: bool,
    lives: [Life; 2],
}

/// The generations of a family's paths.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Life {
    current: u8,
    oldest: u8,
    /// The oldest that came on the session there is, or would have if it has brought none.
    known: u8,
    /// The oldest that any path, even a dead one, may have.
    kept: u8,
    fresh: Tally,
    stale: Tally,
    dead: usize,
    discarded: u64,
    crowded: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    paths: usize,
    loops: usize,
    leaks: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Fresh,
    Stale,
    Dead,
}

impl Peers {
    /// The number of `id`, new or as before, with `source` from now on.
    pub(crate) fn up(&mut self, id: PeerId, source: PathSource) -> u32 {
        if let Some(number) = self.numbers.get(&id) {
            if let Some(peer) = &mut self.slots[*number as usize] {
                peer.source = source;
                peer.gone = false;
                peer.lives.iter_mut().for_each(|life| (life.discarded, life.crowded) = (0, 0));
            }
            return *number;
        }
        let peer = Peer { id, source, limit: usize::MAX, gone: false, lives: [Life::default(); 2] };
        let number = if let Some(number) = self.free.pop() {
            self.slots[number as usize] = Some(peer);
            number
        } else {
            assert!(self.slots.len() < MAX_PEERS, "no process has room for {MAX_PEERS} sessions");
            self.slots.push(Some(peer));
            self.slots.len() as u32 - 1
        };
        self.numbers.insert(id, number);
        number
    }

    pub(crate) fn number(&self, id: PeerId) -> Option<u32> {
        self.numbers.get(&id).copied().filter(|number| !self.peer(*number).gone)
    }

    pub(crate) fn peer(&self, number: u32) -> &Peer {
        self.slots[number as usize].as_ref().expect("paths and names lead to peers that are here")
    }

    /// Sets the most fresh paths of each family that are taken in of a peer.
    pub(crate) fn limit(&mut self, number: u32, most: usize) {
        if let Some(peer) = &mut self.slots[number as usize] {
            peer.limit = most;
        }
    }

    /// Whether there is room for a path of a peer that is not fresh, which so far is `before`.
    ///
    /// Fresh paths are held against the limit: those that are stale go in the end, while what comes in their place and is
    /// refused does not come again by itself. Both together are no more than twice the limit, so that a peer that marks
    /// its routes and never says that those were all takes up no more memory than that.
    pub(crate) fn has_room(&self, number: u32, family: Family, before: State) -> bool {
        let Peer { limit, lives, .. } = self.peer(number);
        let Life { fresh, stale, .. } = &lives[index(family)];
        let adds = before == State::Dead;
        fresh.paths < *limit && !(adds && fresh.paths + stale.paths >= limit.saturating_mul(2))
    }

    pub(crate) fn life(&self, number: u32, family: Family) -> &Life {
        &self.peer(number).lives[index(family)]
    }

    pub(crate) fn life_mut(&mut self, number: u32, family: Family) -> &mut Life {
        let peer = self.slots[number as usize].as_mut();
        &mut peer.expect("paths and names lead to peers that are here").lives[index(family)]
    }

    /// Marks a peer for removal when nothing leads to it any more.
    pub(crate) fn dismiss(&mut self, number: u32) {
        if let Some(peer) = &mut self.slots[number as usize] {
            peer.gone = true;
        }
        self.bury(number);
    }

    /// Removes a peer that is gone and has no dead paths left.
    pub(crate) fn bury(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        if let Some(Peer { id, .. }) =
            slot.take_if(|peer| peer.gone && peer.lives.iter().all(|life| life.dead == 0))
        {
            self.numbers.remove(&id);
            self.free.push(number);
            if self.numbers.is_empty() {
                *self = Self::default();
            }
        }
    }

    /// Dead paths of a family, of all peers.
    pub(crate) fn dead(&self, family: Family) -> usize {
        self.slots.iter().flatten().map(|peer| peer.lives[index(family)].dead).sum()
    }

    pub(crate) fn octets(&self) -> usize {
        self.slots.capacity() * size_of::<Option<Peer>>()
            + self.numbers.capacity() * size_of::<(PeerId, u32)>()
            + self.free.capacity() * size_of::<u32>()
    }
}

impl Life {
    pub(crate) fn current(&self) -> u8 {
        self.current
    }

    pub(crate) fn state(&self, generation: u8) -> State {
        let age = self.current.wrapping_sub(generation);
        if age == 0 {
            State::Fresh
        } else if age <= self.current.wrapping_sub(self.oldest) {
            State::Stale
        } else {
            State::Dead
        }
    }

    /// Since what paths of a generation are stale, if they are.
    pub(crate) fn stale(&self, generation: u8) -> Option<Stale> {
        let is_known = self.current.wrapping_sub(generation) <= self.current.wrapping_sub(self.known);
        (self.state(generation) == State::Stale).then_some(if is_known {
            Stale::Refresh
        } else {
            Stale::Restart
        })
    }

    pub(crate) fn counts(&self) -> Counts {
        let Self { fresh, stale, .. } = self;
        Counts {
            paths: fresh.paths + stale.paths,
            stale: stale.paths,
            loops: fresh.loops + stale.loops,
            leaks: fresh.leaks + stale.leaks,
            discarded: self.discarded,
            crowded: self.crowded,
        }
    }

    /// A path was not taken in: the peer has as many as it may.
    pub(crate) fn discard(&mut self) {
        self.discarded += 1;
    }

    /// A path was not taken in: the peer has as many to that prefix as it may.
    pub(crate) fn crowd(&mut self) {
        self.crowded += 1;
    }

    /// A fresh path has come.
    pub(crate) fn add(&mut self, standing: Option<Unusable>) {
        self.fresh.add(standing);
    }

    /// A path of `state` is gone, or comes anew.
    pub(crate) fn remove(&mut self, state: State, standing: Option<Unusable>) {
        match state {
            State::Fresh => self.fresh.remove(standing),
            State::Stale => self.stale.remove(standing),
            State::Dead => {
                self.dead -= 1;
                if self.dead == 0 {
                    self.kept = self.oldest;
                }
            }
        }
    }

    /// Whether another generation would be mistaken for the oldest one kept.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.current.wrapping_add(1) == self.kept
    }

    /// Begins a generation: what is fresh is stale now.
    pub(crate) fn mark_stale(&mut self, since: Stale) {
        if self.counts().paths == 0 && self.dead == 0 {
            return;
        }
        self.current = self.current.wrapping_add(1);
        if since == Stale::Restart {
            self.known = self.current;
        }
        self.stale = Tally {
            paths: self.stale.paths + self.fresh.paths,
            loops: self.stale.loops + self.fresh.loops,
            leaks: self.stale.leaks + self.fresh.leaks,
        };
        self.fresh = Tally::default();
    }

    /// What is stale is dead now; returns how many.
    pub(crate) fn sweep(&mut self) -> usize {
        let swept = std::mem::take(&mut self.stale).paths;
        self.oldest = self.current;
        self.known = self.current;
        self.dead += swept;
        if self.dead == 0 {
            self.kept = self.oldest;
        }
        swept
    }

    /// All stale paths have been given the generation before the current one, and no dead ones are left. If some were
    /// from before the loss of the session, all count as such.
    pub(crate) fn join_stale(&mut self) {
        let any_lost = self.known != self.oldest;
        self.oldest = self.current.wrapping_sub(1);
        self.known = if any_lost { self.current } else { self.oldest };
        self.kept = self.oldest;
    }
}

impl Tally {
    fn add(&mut self, standing: Option<Unusable>) {
        self.paths += 1;
        match standing {
            Some(Unusable::AsLoop | Unusable::ReflectionLoop) => self.loops += 1,
            Some(Unusable::Leak) => self.leaks += 1,
            Some(Unusable::NoPolicy | Unusable::NextHop) | None => {}
        }
    }

    fn remove(&mut self, standing: Option<Unusable>) {
        self.paths -= 1;
        match standing {
            Some(Unusable::AsLoop | Unusable::ReflectionLoop) => self.loops -= 1,
            Some(Unusable::Leak) => self.leaks -= 1,
            Some(Unusable::NoPolicy | Unusable::NextHop) | None => {}
        }
    }
}
