//! An ordered map from prefixes to heads of path lists: a B+tree of three levels and wide nodes.
//!
//! ```text
//!  Table      │ 0.0.0.0/0  57.1.0.0/16  … │
//!                  ▼
//!  Branch     │ 0.0.0.0/0  1.9.0.0/16  4.0.0.0/8  … │          128 leaves at most
//!                  ▼
//!  Leaf       │ 1.0.0.0/24  1.0.4.0/22  … │ heads │            128 prefixes at most
//! ```
//!
//! What limits a full table is waiting for memory. All above the leaves stays in the processor's cache; within a leaf
//! one key of each cache line is looked at, without waiting for one to choose the next, and then one line: finding a
//! prefix waits for memory about once. A prefix takes 12 octets, and what leaves have of spare room.

use std::ops::Bound;

use crate::key::Key;

/// The head of an empty list. Entries never keep it.
pub(crate) const NONE: u32 = u32::MAX;

/// Entries of a leaf.
const WIDTH: usize = 128;
/// Leaves of a branch.
const LEAVES: usize = 128;
const CACHE_LINE: usize = 64;

#[derive(Debug)]
pub(crate) struct Table<K> {
    /// For each branch a key that is greater than all in the branch before and not greater than any in it; but for the
    /// first of all, which takes every key below too.
    fences: Vec<K>,
    branches: Vec<Branch<K>>,
    len: usize,
}

#[derive(Debug)]
struct Branch<K> {
    /// As in the table.
    fences: Vec<K>,
    leaves: Vec<Box<Leaf<K>>>,
}

#[derive(Debug)]
struct Leaf<K> {
    /// In ascending order; behind the last one all are [`Key::BEYOND`], so that a search need not know how many there
    /// are.
    keys: [K; WIDTH],
    heads: [u32; WIDTH],
    len: usize,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { fences: Vec::new(), branches: Vec::new(), len: 0 }
    }
}

/// Where a key is, or belongs.
#[derive(Debug, Clone, Copy)]
struct Place {
    branch: usize,
    leaf: usize,
    at: usize,
}

impl<K: Key> Table<K> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn octets(&self) -> usize {
        let branch = |branch: &Branch<K>| {
            branch.leaves.len() * size_of::<Leaf<K>>()
                + branch.leaves.capacity() * size_of::<Box<Leaf<K>>>()
                + branch.fences.capacity() * size_of::<K>()
        };
        self.branches.iter().map(branch).sum::<usize>()
            + self.branches.capacity() * size_of::<Branch<K>>()
            + self.fences.capacity() * size_of::<K>()
    }

    pub(crate) fn find(&self, key: K) -> Option<u32> {
        let place = self.place(key)?;
        let leaf = self.leaf(place);
        leaf.has(place.at, key).then(|| leaf.heads[place.at])
    }

    /// Lets `change` see and set the head at `key`, [`NONE`] if there is no entry; one left with `NONE` goes.
    pub(crate) fn change<R>(&mut self, key: K, change: impl FnOnce(&mut u32) -> R) -> R {
        let mut head = NONE;
        let Some(place) = self.place(key) else {
            let result = change(&mut head);
            if head != NONE {
                let mut leaf = Leaf::new();
                leaf.insert(0, key, head);
                self.fences.push(key);
                self.branches.push(Branch { fences: vec![key], leaves: vec![leaf] });
                self.len = 1;
            }
            return result;
        };
        let leaf = &mut self.branches[place.branch].leaves[place.leaf];
        if leaf.has(place.at, key) {
            let result = change(&mut leaf.heads[place.at]);
            if leaf.heads[place.at] == NONE {
                leaf.remove(place.at);
                self.len -= 1;
                self.tidy(place);
            }
            return result;
        }
        let result = change(&mut head);
        if head != NONE {
            self.len += 1;
            if leaf.len < WIDTH {
                leaf.insert(place.at, key, head);
            } else {
                self.split(place, key, head);
            }
        }
        result
    }

    /// Parts a full leaf and puts the entry in. Where keys come in ascending order, full leaves are left behind.
    fn split(&mut self, Place { branch: b, leaf: l, at }: Place, key: K, head: u32) {
        let last = b + 1 == self.branches.len() && l + 1 == self.branches[b].leaves.len();
        let branch = &mut self.branches[b];
        let middle = if last && at == WIDTH { WIDTH } else { WIDTH / 2 };
        let mut upper = branch.leaves[l].split_off(middle);
        if at > middle || middle == WIDTH {
            upper.insert(at - middle, key, head);
        } else {
            branch.leaves[l].insert(at, key, head);
        }
        branch.fences.insert(l + 1, upper.keys[0]);
        branch.leaves.insert(l + 1, upper);
        if branch.leaves.len() > LEAVES {
            let middle = if last { LEAVES } else { LEAVES / 2 };
            let fences = branch.fences.split_off(middle);
            let leaves = branch.leaves.split_off(middle);
            self.fences.insert(b + 1, fences[0]);
            self.branches.insert(b + 1, Branch { fences, leaves });
        }
    }

    /// Joins a leaf that has become short with the one before it, and removes what is empty.
    fn tidy(&mut self, Place { branch: b, leaf: l, .. }: Place) {
        let branch = &mut self.branches[b];
        let len = branch.leaves[l].len;
        if len > 0 {
            let Some(before) = l.checked_sub(1) else { return };
            if branch.leaves[before].len + len > WIDTH / 2 {
                return;
            }
            let leaf = branch.leaves.remove(l);
            branch.leaves[before].append(&leaf);
        } else {
            branch.leaves.remove(l);
        }
        branch.fences.remove(l);
        if branch.leaves.is_empty() {
            self.branches.remove(b);
            self.fences.remove(b);
        }
        if self.branches.is_empty() {
            *self = Self::default();
        }
    }

    /// Lets `change` see and set the heads from `from` on, leaf by leaf until about `budget` were seen. Returns where to
    /// go on, `None` at the end.
    pub(crate) fn change_from(
        &mut self,
        mut from: K,
        budget: usize,
        mut change: impl FnMut(&mut u32),
    ) -> Option<K> {
        let mut seen = 0;
        loop {
            let place = self.place(from)?;
            let next = self.after(place).map(|next| self.leaf(next).keys[0]);
            let leaf = &mut self.branches[place.branch].leaves[place.leaf];
            let before = leaf.len;
            leaf.retain(&mut change);
            self.len -= before - leaf.len;
            seen += before;
            if leaf.len < before {
                self.tidy(place);
            }
            from = next?;
            if seen >= budget {
                return Some(from);
            }
        }
    }

    /// The entries in order, from `from` on.
    pub(crate) fn iter_from(&self, from: Bound<K>) -> impl Iterator<Item = (K, u32)> + '_ {
        let (key, excluded) = match from {
            Bound::Included(key) => (key, false),
            Bound::Excluded(key) => (key, true),
            Bound::Unbounded => (K::LEAST, false),
        };
        let start = self.place(key).map(|place| {
            let skip = usize::from(excluded && self.leaf(place).has(place.at, key));
            Place { at: place.at + skip, ..place }
        });
        let mut next = start;
        std::iter::from_fn(move || {
            let mut place = next?;
            while place.at >= self.leaf(place).len {
                place = self.after(place)?;
            }
            next = Some(Place { at: place.at + 1, ..place });
            Some(self.leaf(place).entry(place.at))
        })
    }

    /// The entries whose prefixes cover `key`, itself included, the longest first.
    pub(crate) fn covering(&self, key: K) -> impl Iterator<Item = (K, u32)> + '_ {
        // Of all prefixes up to `bound` in order the last one either covers the key, or shares only some bits with it;
        // then no longer prefix than these bits can cover the key.
        let mut bound = Some(key);
        std::iter::from_fn(move || {
            loop {
                let (found, head) = self.last_up_to(bound?)?;
                let alike = found.common_length(key);
                if alike == found.length() {
                    bound = alike.checked_sub(1).map(|length| key.truncated(length));
                    return Some((found, head));
                }
                bound = Some(key.truncated(alike));
            }
        })
    }

    fn last_up_to(&self, key: K) -> Option<(K, u32)> {
        let place = self.place(key)?;
        let leaf = self.leaf(place);
        if leaf.has(place.at, key) {
            return Some(leaf.entry(place.at));
        }
        if let Some(at) = place.at.checked_sub(1) {
            return Some(leaf.entry(at));
        }
        let leaf = if let Some(before) = place.leaf.checked_sub(1) {
            &self.branches[place.branch].leaves[before]
        } else {
            self.branches[..place.branch].last()?.leaves.last()?
        };
        Some(leaf.entry(leaf.len.checked_sub(1)?))
    }

    /// `None` only in an empty table.
    fn place(&self, key: K) -> Option<Place> {
        let branch = below(&self.fences, key);
        let leaf = below(&self.branches.get(branch)?.fences, key);
        let at = self.branches[branch].leaves[leaf].position(key);
        Some(Place { branch, leaf, at })
    }

    fn leaf(&self, place: Place) -> &Leaf<K> {
        &self.branches[place.branch].leaves[place.leaf]
    }

    /// The beginning of the next leaf.
    fn after(&self, Place { branch, leaf, .. }: Place) -> Option<Place> {
        if leaf + 1 < self.branches[branch].leaves.len() {
            return Some(Place { branch, leaf: leaf + 1, at: 0 });
        }
        (branch + 1 < self.branches.len()).then_some(Place { branch: branch + 1, leaf: 0, at: 0 })
    }
}

/// The last part whose fence is not above `key`, or the first.
fn below<K: Key>(fences: &[K], key: K) -> usize {
    fences.partition_point(|fence| *fence <= key).saturating_sub(1)
}

impl<K: Key> Leaf<K> {
    fn new() -> Box<Self> {
        Box::new(Self { keys: [K::BEYOND; WIDTH], heads: [NONE; WIDTH], len: 0 })
    }

    fn entry(&self, at: usize) -> (K, u32) {
        (self.keys[at], self.heads[at])
    }

    fn has(&self, at: usize, key: K) -> bool {
        self.keys.get(at) == Some(&key)
    }

    /// How many keys are less than `key`.
    fn position(&self, key: K) -> usize {
        let per_line = const { CACHE_LINE.div_ceil(size_of::<K>()) };
        let lines = self.keys.iter().step_by(per_line).filter(|other| **other < key).count();
        let start = lines.saturating_sub(1) * per_line;
        let line = &self.keys[start..WIDTH.min(start + per_line)];
        start + line.iter().filter(|other| **other < key).count()
    }

    fn insert(&mut self, at: usize, key: K, head: u32) {
        self.keys.copy_within(at..self.len, at + 1);
        self.heads.copy_within(at..self.len, at + 1);
        self.keys[at] = key;
        self.heads[at] = head;
        self.len += 1;
    }

    fn remove(&mut self, at: usize) {
        self.keys.copy_within(at + 1..self.len, at);
        self.heads.copy_within(at + 1..self.len, at);
        self.truncate(self.len - 1);
    }

    fn retain(&mut self, change: &mut impl FnMut(&mut u32)) {
        let mut kept = 0;
        for at in 0..self.len {
            change(&mut self.heads[at]);
            if self.heads[at] != NONE {
                self.keys[kept] = self.keys[at];
                self.heads[kept] = self.heads[at];
                kept += 1;
            }
        }
        self.truncate(kept);
    }

    fn split_off(&mut self, middle: usize) -> Box<Self> {
        let mut upper = Self::new();
        upper.append_range(self, middle);
        self.truncate(middle);
        upper
    }

    fn truncate(&mut self, len: usize) {
        self.keys[len..self.len].fill(K::BEYOND);
        self.len = len;
    }

    fn append(&mut self, other: &Self) {
        self.append_range(other, 0);
    }

    fn append_range(&mut self, other: &Self, from: usize) {
        let added = other.len - from;
        self.keys[self.len..self.len + added].copy_from_slice(&other.keys[from..other.len]);
        self.heads[self.len..self.len + added].copy_from_slice(&other.heads[from..other.len]);
        self.len += added;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::key::{V4, V6};

    /// Keys near each other, so that they cover one another and fill and empty blocks.
    fn keys<K: Key>() -> impl Strategy<Value = K> {
        (0..1500u128, 0..=12u32, 20..=32u8)
            .prop_map(|(n, spread, length)| K::from_bits(n << (96 + spread / 4), 32).truncated(length))
    }

    fn check<K: Key>(table: &Table<K>, model: &BTreeMap<K, u32>, probe: K) -> Result<(), TestCaseError> {
        prop_assert_eq!(table.len(), model.len());
        let all: Vec<_> = table.iter_from(Bound::Unbounded).collect();
        prop_assert_eq!(&all, &model.iter().map(|(key, head)| (*key, *head)).collect::<Vec<_>>());
        for bound in [Bound::Included(probe), Bound::Excluded(probe)] {
            let from: Vec<_> = table.iter_from(bound).collect();
            let expected: Vec<_> =
                model.range((bound, Bound::Unbounded)).map(|(key, head)| (*key, *head)).collect();
            prop_assert_eq!(from, expected);
        }
        let covering: Vec<_> = table.covering(probe).collect();
        let mut expected: Vec<_> = all.into_iter().filter(|(key, _)| key.covers(probe)).collect();
        expected.reverse();
        prop_assert_eq!(covering, expected);
        prop_assert_eq!(table.find(probe), model.get(&probe).copied());
        Ok(())
    }

    fn run<K: Key>(steps: Vec<(K, bool)>, sorted: bool, probes: Vec<K>) -> Result<(), TestCaseError> {
        let (mut table, mut model) = (Table::default(), BTreeMap::new());
        let mut steps = steps;
        if sorted {
            steps.sort_by_key(|(key, _)| *key);
        }
        for (at, (key, insert)) in steps.into_iter().enumerate() {
            let head = if insert { at as u32 } else { NONE };
            let before = table.change(key, |place| std::mem::replace(place, head));
            let expected = if insert { model.insert(key, head) } else { model.remove(&key) };
            prop_assert_eq!(before, expected.unwrap_or(NONE));
        }
        for probe in &probes {
            check(&table, &model, *probe)?;
        }
        // Every third goes, in slices.
        let mut from = Some(K::LEAST);
        while let Some(start) = from {
            from = table.change_from(start, 100, |head| {
                if *head % 3 == 0 {
                    *head = NONE;
                }
            });
        }
        model.retain(|_, head| *head % 3 != 0);
        check(&table, &model, probes[0])?;
        while table.change_from(K::LEAST, 1, |head| *head = NONE).is_some() {}
        prop_assert_eq!(table.len(), 0);
        prop_assert_eq!(table.octets(), 0);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn an_ipv4_table_is_an_ordered_map(
            steps in prop::collection::vec((keys::<V4>(), prop::bool::weighted(0.7)), 0..4000),
            sorted: bool,
            probes in prop::collection::vec(keys::<V4>(), 8),
        ) {
            run(steps, sorted, probes)?;
        }

        #[test]
        fn an_ipv6_table_is_an_ordered_map(
            steps in prop::collection::vec((keys::<V6>(), prop::bool::weighted(0.7)), 0..2000),
            sorted: bool,
            probes in prop::collection::vec(keys::<V6>(), 8),
        ) {
            run(steps, sorted, probes)?;
        }
    }

    #[test]
    fn keys_in_ascending_order_leave_full_leaves_behind() {
        let mut table = Table::<V4>::default();
        for n in 0..10_000 {
            table.change(V4::from_bits(n << 104, 24), |head| *head = 1);
        }
        let leaves: usize = table.branches.iter().map(|branch| branch.leaves.len()).sum();
        assert_eq!(leaves, 10_000usize.div_ceil(WIDTH));
    }
}
