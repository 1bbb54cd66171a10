//! The table and what changes it.

use std::{fmt, time::Instant};

use proxima_bgp_wire::{NextHop, Nlri, PeerKind, Update};
use proxima_types::Family;

use crate::{
    Applied, BestPathRules, Change, Counts, PathSource, PeerId, Shared, Stale, UnknownPeer, Unusable, Watch,
    key::{AnyKey, Key, V4, V6},
    paths::{Incoming, Inserted, Paths},
    table::Table,
    watch::Watches,
};

/// The most paths to one prefix that are taken from one peer (with add-path).
pub const MAX_PATHS_PER_PREFIX: usize = 256;

/// All paths of all peers.
#[derive(Debug)]
pub struct Rib {
    pub(crate) ipv4: Table<V4>,
    pub(crate) ipv6: Table<V6>,
    pub(crate) paths: Paths,
    pub(crate) rules: BestPathRules,
    pub(crate) next_hops: NextHops,
    watches: Watches,
    /// Where to go on collecting.
    collect_ipv4: Option<V4>,
    collect_ipv6: Option<V6>,
}

/// Which next hops are usable.
pub(crate) struct NextHops(pub(crate) Box<dyn Fn(NextHop) -> bool + Send + Sync>);

impl fmt::Debug for NextHops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NextHops")
    }
}

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
        Self {
            ipv4: Table::default(),
            ipv6: Table::default(),
            paths: Paths::default(),
            rules,
            next_hops: NextHops(Box::new(|_| true)),
            watches: Watches::default(),
            collect_ipv4: None,
            collect_ipv6: None,
        }
    }

    /// Chooses by other rules from now on.
    pub fn set_rules(&mut self, rules: BestPathRules) {
        self.rules = rules;
        self.watches.touch_all();
    }

    /// Which next hops are usable (RFC 4271 §9.1.2); asked at each selection. All are until this is called. Call it again
    /// when the answers change, so that watches are looked at.
    pub fn set_next_hops(&mut self, usable: impl Fn(NextHop) -> bool + Send + Sync + 'static) {
        self.next_hops = NextHops(Box::new(usable));
        self.watches.touch_all();
    }

    /// A session is established, for the first time or again; paths kept from the one before stay.
    pub fn peer_up(&mut self, peer: PeerId, source: PathSource) {
        self.paths.peers.up(peer, source);
        self.watches.touch_all();
    }

    /// Takes in at most so many paths of each family of the peer from now on; what it has stays until it has to be announced
    /// again. Paths that are stale don't count, but both together are twice as many at most. A stale path that is announced
    /// when there is no room stays as it is until it is swept. Without limit when absent, and until this is called.
    pub fn limit(&mut self, peer: PeerId, most: Option<u32>) {
        if let Some(number) = self.paths.peers.number(peer) {
            self.paths.peers.limit(number, most.map_or(usize::MAX, |most| most as usize));
        }
    }

    /// Takes an UPDATE in: withdrawals first, so that a prefix in both lists stays.
    ///
    /// `marked` is what the session has found against the routes that it announces: they are kept to be seen, and never used.
    /// Those of an external peer are not used without a policy either (RFC 8212 §2), which is told where there is nothing worse.
    pub fn apply(
        &mut self,
        now: Instant,
        peer: PeerId,
        update: Update,
        marked: Option<Unusable>,
    ) -> Result<Applied, UnknownPeer> {
        let number = self.paths.peers.number(peer).ok_or(UnknownPeer(peer))?;
        let mut applied = Applied::default();
        for nlri in update.withdrawn {
            if self.withdraw(number, nlri) {
                applied.withdrawn += 1;
            } else {
                applied.unknown += 1;
            }
        }
        let source = &self.paths.peers.peer(number).source;
        let without_policy = source.kind == PeerKind::External && !source.import;
        let standing = marked.or(without_policy.then_some(Unusable::NoPolicy));
        let received = self.paths.ticks(now);
        let mut attributes = Some(update.attributes);
        let last = update.reach.len().saturating_sub(1);
        for (at, reach) in update.reach.into_iter().enumerate() {
            let own = if at == last { attributes.take() } else { attributes.clone() };
            let Some(first) = reach.nlri.first() else { continue };
            let family = first.prefix.family();
            let shared = Shared { attributes: own.unwrap_or_default(), next_hop: reach.next_hop };
            // Held by us until its paths hold it.
            let shared = self.paths.sets.take(shared);
            let incoming = Incoming { peer: number, family, path_id: 0, shared, received, standing };
            for nlri in reach.nlri {
                self.announce(nlri, incoming, &mut applied);
            }
            self.paths.sets.release(incoming.shared);
        }
        Ok(applied)
    }

    fn announce(&mut self, nlri: Nlri, incoming: Incoming, applied: &mut Applied) {
        let Self { ipv4, ipv6, paths, .. } = self;
        let incoming = Incoming { path_id: nlri.path_id, family: nlri.prefix.family(), ..incoming };
        let inserted = match AnyKey::from(nlri.prefix) {
            AnyKey::V4(key) => ipv4.change(key, |head| paths.insert(head, incoming)),
            AnyKey::V6(key) => ipv6.change(key, |head| paths.insert(head, incoming)),
        };
        match inserted {
            Inserted::New => applied.announced += 1,
            Inserted::Replaced => applied.replaced += 1,
            Inserted::Confirmed | Inserted::Unchanged => applied.unchanged += 1,
            Inserted::Refused => applied.refused += 1,
        }
        if !matches!(inserted, Inserted::Unchanged | Inserted::Refused) {
            self.watches.touch(nlri.prefix);
        }
    }

    fn withdraw(&mut self, peer: u32, Nlri { prefix, path_id }: Nlri) -> bool {
        let Self { ipv4, ipv6, paths, .. } = self;
        let family = prefix.family();
        let withdrawn = match AnyKey::from(prefix) {
            AnyKey::V4(key) => ipv4.change(key, |head| paths.remove(head, peer, path_id, family)),
            AnyKey::V6(key) => ipv6.change(key, |head| paths.remove(head, peer, path_id, family)),
        };
        if withdrawn {
            self.watches.touch(prefix);
        }
        withdrawn
    }

    /// Marks all the peer's paths of a family stale (RFC 4724 §4.2, RFC 7313 §4). Those that were stale before stay so:
    /// sweep first where a second restart has to delete them.
    pub fn mark_stale(&mut self, peer: PeerId, family: Family, since: Stale) {
        if let Some(number) = self.paths.peers.number(peer) {
            self.begin_generation(number, family, since);
            self.watches.touch_all();
        }
    }

    /// Removes the paths that are still stale; returns how many.
    pub fn sweep_stale(&mut self, peer: PeerId, family: Family) -> usize {
        let Some(number) = self.paths.peers.number(peer) else { return 0 };
        self.watches.touch_all();
        self.paths.peers.life_mut(number, family).sweep()
    }

    /// Removes all paths of a family; returns how many.
    pub fn drop_family(&mut self, peer: PeerId, family: Family) -> usize {
        let Some(number) = self.paths.peers.number(peer) else { return 0 };
        self.begin_generation(number, family, Stale::Restart);
        self.watches.touch_all();
        self.paths.peers.life_mut(number, family).sweep()
    }

    /// Removes all paths of the peer and forgets it; returns how many.
    pub fn drop_peer(&mut self, peer: PeerId) -> usize {
        let Some(number) = self.paths.peers.number(peer) else { return 0 };
        let dropped = Family::ALL.into_iter().map(|family| self.drop_family(peer, family)).sum();
        self.paths.peers.dismiss(number);
        dropped
    }

    fn begin_generation(&mut self, peer: u32, family: Family, since: Stale) {
        if self.paths.peers.life(peer, family).is_exhausted() {
            self.join_stale(peer, family);
        }
        self.paths.peers.life_mut(peer, family).mark_stale(since);
    }

    /// Makes room for generations: once in 254 of them, if nothing was swept or collected all the while.
    fn join_stale(&mut self, peer: u32, family: Family) {
        let Self { ipv4, ipv6, paths, .. } = self;
        let join = |head: &mut u32| paths.join_stale(head, peer, family);
        match family {
            Family::Ipv4 => _ = ipv4.change_from(V4::LEAST, usize::MAX, join),
            Family::Ipv6 => _ = ipv6.change_from(V6::LEAST, usize::MAX, join),
        }
        self.paths.peers.life_mut(peer, family).join_stale();
    }

    /// Gives back what removed paths took up, looking at about `prefixes` at most; returns whether there is more to do.
    /// Nothing of what is told depends on when this is called.
    pub fn collect(&mut self, prefixes: usize) -> bool {
        let Self { ipv4, ipv6, paths, .. } = self;
        if paths.peers.dead(Family::Ipv4) > 0 {
            let from = self.collect_ipv4.unwrap_or(V4::LEAST);
            self.collect_ipv4 = ipv4.change_from(from, prefixes, |head| paths.collect(head, Family::Ipv4));
        } else if paths.peers.dead(Family::Ipv6) > 0 {
            let from = self.collect_ipv6.unwrap_or(V6::LEAST);
            self.collect_ipv6 = ipv6.change_from(from, prefixes, |head| paths.collect(head, Family::Ipv6));
        }
        Family::ALL.into_iter().any(|family| self.paths.peers.dead(family) > 0)
    }

    /// How many paths a peer has; zeros for one that is not known.
    pub fn counts(&self, peer: PeerId, family: Family) -> Counts {
        let number = self.paths.peers.number(peer);
        number.map_or(Counts::default(), |number| self.paths.peers.life(number, family).counts())
    }

    /// The peer as told by [`Rib::peer_up`].
    pub fn source(&self, peer: PeerId) -> Option<&PathSource> {
        self.paths.peers.number(peer).map(|number| &self.paths.peers.peer(number).source)
    }

    /// Begins to watch; the first [`Change`] tells how things are, if there are paths.
    pub fn watch(&mut self, watch: Watch) {
        self.watches.add(watch);
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, watch: Watch) {
        self.watches.remove(watch);
    }

    /// The next watch with something new, as it is now; several changes in between are one.
    pub fn poll_change(&mut self) -> Option<Change> {
        while let Some(watch) = self.watches.next_touched() {
            let (best, paths) = self.watched(watch);
            if let Some(change) = self.watches.compare(watch, best, paths) {
                return Some(change);
            }
        }
        None
    }

    /// What the table holds and takes up.
    pub fn memory(&self) -> Memory {
        let Paths { nodes, peers, sets, .. } = &self.paths;
        Memory {
            prefixes: self.ipv4.len() + self.ipv6.len(),
            paths: nodes.len(),
            attribute_sets: sets.len(),
            octets: self.ipv4.octets() + self.ipv6.octets() + nodes.octets() + sets.octets() + peers.octets(),
        }
    }
}
