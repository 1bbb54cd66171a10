//! An ordered map from prefixes to heads of path lists: sorted blocks of up to 256 entries, found by a B-tree of the
//! blocks' lower bounds.
//!
//! ```text
//!  blocks:  0.0.0.0/0 ─▶ │1.0.0.0/24│1.0.4.0/22│ … │      57.1.0.0/16 ─▶ │57.1.0.0/16│57.4.0.0/24│ … │
//! ```
//!
//! A million prefixes of a full table take 12 octets each and the little that blocks are not full; the B-tree over
//! the blocks stays in the processor's cache, so that finding a prefix waits for memory about twice.

use std::{collections::BTreeMap, ops::Bound};

use crate::key::Key;

/// The head of an empty list. Entries never keep it.
pub(crate) const NONE: u32 = u32::MAX;

const FULL: usize = 256;
const GROWTH: usize = 32;

type Block<K> = Vec<(K, u32)>;

#[derive(Debug)]
pub(crate) struct Table<K> {
    /// By a key that is at most the block's first and greater than all of the block before.
    blocks: BTreeMap<K, Block<K>>,
    len: usize,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { blocks: BTreeMap::new(), len: 0 }
    }
}

impl<K: Key> Table<K> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Octets of the blocks and about those of the tree above.
    pub(crate) fn octets(&self) -> usize {
        let blocks: usize = self.blocks.values().map(|block| block.capacity() * size_of::<(K, u32)>()).sum();
        blocks + self.blocks.len() * (size_of::<K>() + size_of::<Block<K>>()) * 3 / 2
    }

    pub(crate) fn find(&self, key: K) -> Option<u32> {
        let (_, block) = self.blocks.range(..=key).next_back()?;
        search(block, key).ok().map(|at| block[at].1)
    }

    /// Lets `change` see and set the head at `key`, [`NONE`] if there is no entry; one left with `NONE` goes.
    pub(crate) fn change<R>(&mut self, key: K, change: impl FnOnce(&mut u32) -> R) -> R {
        if self.blocks.is_empty() {
            let mut head = NONE;
            let result = change(&mut head);
            if head != NONE {
                self.blocks.insert(K::LEAST, vec![(key, head)]);
                self.len = 1;
            }
            return result;
        }
        let (fence, block) =
            self.blocks.range_mut(..=key).next_back().expect("the first block begins with the least key");
        match search(block, key) {
            Ok(at) => {
                let result = change(&mut block[at].1);
                if block[at].1 == NONE {
                    let fence = *fence;
                    block.remove(at);
                    self.len -= 1;
                    self.tidy(fence);
                }
                result
            }
            Err(at) => {
                let mut head = NONE;
                let result = change(&mut head);
                if head != NONE {
                    if block.len() == block.capacity() {
                        block.reserve_exact(GROWTH);
                    }
                    block.insert(at, (key, head));
                    self.len += 1;
                    if block.len() > FULL {
                        let fence = *fence;
                        self.split(fence, at);
                    }
                }
                result
            }
        }
    }

    /// Parts a block that has become too long with the entry inserted at `at`. Where keys come in ascending order, full
    /// blocks are left behind.
    fn split(&mut self, fence: K, at: usize) {
        let last = self.blocks.last_key_value().is_some_and(|(last, _)| *last == fence);
        let Some(block) = self.blocks.get_mut(&fence) else { return };
        let middle = if last && at + 1 == block.len() { at } else { block.len() / 2 };
        let upper = block.split_off(middle);
        block.shrink_to(FULL.min(middle + GROWTH));
        self.blocks.insert(upper[0].0, upper);
    }

    /// Joins a block that has become short with the one before it.
    fn tidy(&mut self, fence: K) {
        if self.len == 0 {
            self.blocks.clear();
            return;
        }
        let Some(len) = self.blocks.get(&fence).map(Vec::len) else { return };
        let Some((_, before)) = self.blocks.range_mut(..fence).next_back() else { return };
        if before.len() + len > FULL / 2 {
            return;
        }
        before.reserve_exact(len);
        let mut before = std::mem::take(before);
        before.extend(self.blocks.remove(&fence).into_iter().flatten());
        if let Some((_, place)) = self.blocks.range_mut(..fence).next_back() {
            *place = before;
        }
    }

    /// Lets `change` see and set the heads from `from` on, block by block until about `budget` were seen. Returns where
    /// to go on, `None` at the end.
    pub(crate) fn change_from(
        &mut self,
        from: K,
        budget: usize,
        mut change: impl FnMut(&mut u32),
    ) -> Option<K> {
        let mut seen = 0;
        let mut fence = *self.blocks.range(..=from).next_back()?.0;
        loop {
            let block = self.blocks.get_mut(&fence)?;
            let before = block.len();
            block.retain_mut(|(_, head)| {
                change(head);
                *head != NONE
            });
            self.len -= before - block.len();
            if block.len() + GROWTH < block.capacity() {
                block.shrink_to(block.len());
            }
            seen += before;
            let next = self.blocks.range((Bound::Excluded(fence), Bound::Unbounded)).next();
            let next = next.map(|(fence, _)| *fence);
            self.tidy(fence);
            fence = next?;
            if seen >= budget {
                return Some(fence);
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
        let fence = self.blocks.range(..=key).next_back().map_or(K::LEAST, |(fence, _)| *fence);
        self.blocks.range(fence..).flat_map(move |(_, block)| {
            let start = block.partition_point(|(other, _)| *other < key || (excluded && *other == key));
            block[start..].iter().copied()
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
        self.blocks.range(..=key).rev().find_map(|(_, block)| {
            let end = block.partition_point(|(other, _)| *other <= key);
            block[..end].last().copied()
        })
    }
}

fn search<K: Key>(block: &Block<K>, key: K) -> Result<usize, usize> {
    block.binary_search_by(|(other, _)| other.cmp(&key))
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
        prop_assert!(table.blocks.is_empty());
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
    fn keys_in_ascending_order_leave_full_blocks_behind() {
        let mut table = Table::<V4>::default();
        for n in 0..10_000 {
            table.change(V4::from_bits(n << 104, 24), |head| *head = 1);
        }
        assert_eq!(table.blocks.len(), 10_000usize.div_ceil(FULL));
    }
}
