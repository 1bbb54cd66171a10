//! The table.

use std::{net::IpAddr, time::Instant};

use proxima_bgp_wire::{NextHop, Update};
use proxima_types::{Family, Prefix};

use crate::{
    Applied, BestPathRules, Change, Counts, Page, PathSource, PeerId, Route, UnknownPeer, Verdict, Watch,
};

/// The most paths to one prefix that are taken from one peer (with add-path).
pub const MAX_PATHS_PER_PREFIX: usize = 256;

/// All paths of all peers.
#[derive(Debug)]
pub struct Rib {}

/// What the table holds and takes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Prefixes with at least one path.
    pub prefixes: usize,
    /// Paths, those among them that wait for [`Rib::collect`].
    pub paths: usize,
    /// Different sets of attributes and next hop.
    pub attribute_sets: usize,
    /// Octets for all of it, as far as known without asking the allocator.
    pub octets: usize,
}

impl Rib {
    /// An empty table.
    pub fn new(rules: BestPathRules) -> Self {
        todo!()
    }

    /// Chooses by other rules from now on.
    pub fn set_rules(&mut self, rules: BestPathRules) {
        todo!()
    }

    /// Which next hops are usable (RFC 4271 §9.1.2); asked at each selection. All are until this is called.
    pub fn set_next_hops(&mut self, usable: impl Fn(NextHop) -> bool + Send + 'static) {
        todo!()
    }

    /// A session is established, for the first time or again; paths kept from the one before stay.
    pub fn peer_up(&mut self, peer: PeerId, source: PathSource) {
        todo!()
    }

    /// Takes an UPDATE in: withdrawals first, so that a prefix in both lists stays.
    pub fn apply(&mut self, now: Instant, peer: PeerId, update: Update) -> Result<Applied, UnknownPeer> {
        todo!()
    }

    /// Marks all the peer's paths of a family stale (RFC 4724 §4.2, RFC 7313 §4). Those that were stale before stay so:
    /// sweep first where a second restart has to delete them.
    pub fn mark_stale(&mut self, peer: PeerId, family: Family) {
        todo!()
    }

    /// Removes the paths that are still stale; returns how many.
    pub fn sweep_stale(&mut self, peer: PeerId, family: Family) -> usize {
        todo!()
    }

    /// Removes all paths of a family; returns how many.
    pub fn drop_family(&mut self, peer: PeerId, family: Family) -> usize {
        todo!()
    }

    /// Removes all paths of the peer and forgets it; returns how many.
    pub fn drop_peer(&mut self, peer: PeerId) -> usize {
        todo!()
    }

    /// Gives back what removed paths took up, looking at `prefixes` at most; returns whether there is more to do.
    pub fn collect(&mut self, prefixes: usize) -> bool {
        todo!()
    }

    /// How many paths a peer has; zeros for one that is not known.
    pub fn counts(&self, peer: PeerId, family: Family) -> Counts {
        todo!()
    }

    /// The peer as told by [`Rib::peer_up`].
    pub fn source(&self, peer: PeerId) -> Option<&PathSource> {
        todo!()
    }

    /// The best path to exactly this prefix.
    pub fn best(&self, prefix: Prefix) -> Option<Route> {
        todo!()
    }

    /// The best path of the longest prefix that holds `address` and has a usable path.
    pub fn lookup(&self, address: IpAddr) -> Option<Route> {
        todo!()
    }

    /// All paths to exactly this prefix, usable or not, by peer and path identifier: evidence of who else announces it.
    pub fn evidence(&self, prefix: Prefix) -> impl Iterator<Item = (PeerId, Route)> + '_ {
        std::iter::empty()
    }

    /// All paths to exactly this prefix, usable or not, by peer and path identifier.
    pub fn paths(&self, prefix: Prefix) -> impl Iterator<Item = Route> + '_ {
        std::iter::empty()
    }

    /// All paths to exactly this prefix, the best first, and why each of the others is not.
    pub fn explain(&self, prefix: Prefix) -> Vec<(Route, Verdict)> {
        todo!()
    }

    /// The prefixes with paths that cover `prefix`, itself included, the longest first.
    pub fn covering(&self, prefix: Prefix) -> impl Iterator<Item = Prefix> + '_ {
        std::iter::empty()
    }

    /// The paths to prefixes within `prefix`, itself included, as [`Rib::received`] does it.
    pub fn within(&self, prefix: Prefix, peer: Option<PeerId>, after: Option<Prefix>, limit: usize) -> Page {
        todo!()
    }

    /// The paths of `peer` (its Adj-RIB-In) in order of prefix, those of `after` and before left out, about `limit` of
    /// them.
    pub fn received(&self, peer: PeerId, after: Option<Prefix>, limit: usize) -> Page {
        todo!()
    }

    /// The paths of all peers, likewise.
    pub fn table(&self, after: Option<Prefix>, limit: usize) -> Page {
        todo!()
    }

    /// Begins to watch; the first [`Change`] tells how things are, if there are paths.
    pub fn watch(&mut self, watch: Watch) {
        todo!()
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, watch: Watch) {
        todo!()
    }

    /// The next watch with something new, as it is now; several changes in between are one.
    pub fn poll_change(&mut self) -> Option<Change> {
        todo!()
    }

    /// What the table holds and takes up.
    pub fn memory(&self) -> Memory {
        todo!()
    }
}
