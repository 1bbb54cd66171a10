//! One copy of each set of attributes and next hop, for as long as a path has it.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use hashbrown::HashTable;
use proxima_bgp_wire::Attributes;

use crate::{Shared, slab::Slab};

#[derive(Debug, Default)]
pub(crate) struct Interner {
    sets: Slab<Entry>,
    /// Numbers in `sets` by hash.
    numbers: HashTable<u32>,
    hasher: RandomState,
    /// The set asked for last: peers often send several UPDATEs with the same one.
    last: Option<u32>,
    /// What the sets take up beside their entries.
    octets: usize,
}

#[derive(Debug, Default)]
struct Entry {
    /// `None` only in places that are free.
    shared: Option<Arc<Shared>>,
    users: u32,
    hash: u32,
}

impl Interner {
    pub(crate) fn len(&self) -> usize {
        self.sets.len()
    }

    pub(crate) fn octets(&self) -> usize {
        self.sets.octets() + self.numbers.allocation_size() + self.octets
    }

    pub(crate) fn shared(&self, number: u32) -> &Arc<Shared> {
        self.sets[number].shared.as_ref().expect("a number in use")
    }

    /// The number of `shared`, with one user more: the caller.
    pub(crate) fn take(&mut self, shared: Shared) -> u32 {
        if let Some(last) = self.last
            && **self.shared(last) == shared
        {
            self.hold(last);
            return last;
        }
        let hash = self.hasher.hash_one(&shared);
        let sets = &self.sets;
        let same = |number: &u32| {
            sets[*number].hash == hash as u32 && sets[*number].shared.as_deref() == Some(&shared)
        };
        let number = if let Some(number) = self.numbers.find(spread(hash as u32), same) {
            *number
        } else {
            self.octets += octets(&shared);
            let entry = Entry { shared: Some(Arc::new(shared)), users: 0, hash: hash as u32 };
            let number = self.sets.insert(entry);
            let sets = &self.sets;
            self.numbers.insert_unique(spread(hash as u32), number, |number| spread(sets[*number].hash));
            number
        };
        self.last = Some(number);
        self.hold(number);
        number
    }

    /// One user more.
    pub(crate) fn hold(&mut self, number: u32) {
        self.sets[number].users += 1;
    }

    /// One user fewer; with the last one the set goes.
    pub(crate) fn release(&mut self, number: u32) {
        let entry = &mut self.sets[number];
        entry.users -= 1;
        if entry.users > 0 {
            return;
        }
        let Entry { shared, hash, .. } = self.sets.remove(number);
        self.octets -= shared.as_deref().map_or(0, octets);
        if let Ok(found) = self.numbers.find_entry(spread(hash), |other| *other == number) {
            found.remove();
        }
        if self.last == Some(number) {
            self.last = None;
        }
        let sets = &self.sets;
        if self.numbers.is_empty() || self.numbers.len() * 8 < self.numbers.capacity().saturating_sub(64) {
            self.numbers.shrink_to_fit(|number| spread(sets[*number].hash));
        }
    }
}

/// The table wants entropy in the upper bits too; 32 are kept of each hash.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// About what a set takes up.
fn octets(shared: &Shared) -> usize {
    const COUNTS_OF_ARC: usize = 16;
    let Attributes { as_path, communities, large_communities, rare, .. } = &shared.attributes;
    let segments = as_path.segments().map(|segment| (segment.asns.len() + 1) * 4).sum::<usize>();
    let raw: usize = rare.unknown.iter().map(|raw| raw.value.len() + size_of_val(raw)).sum();
    let lists = size_of_val(&**communities)
        + size_of_val(&**large_communities)
        + size_of_val(&*rare.extended_communities)
        + size_of_val(&*rare.cluster_list);
    COUNTS_OF_ARC + size_of::<Shared>() + segments + lists + raw
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn shared(med: u32) -> Shared {
        let next_hop = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)).into();
        Shared { attributes: Attributes { med: Some(med), ..Attributes::default() }, next_hop }
    }

    #[test]
    fn equal_sets_have_one_number_until_the_last_user_is_gone() {
        let mut interner = Interner::default();
        let numbers: Vec<u32> = (0..1000).map(|med| interner.take(shared(med))).collect();
        for (med, number) in numbers.iter().enumerate() {
            assert_eq!(interner.take(shared(med as u32)), *number);
            assert_eq!(**interner.shared(*number), shared(med as u32));
        }
        assert_eq!(interner.len(), 1000);
        for number in &numbers {
            interner.release(*number);
        }
        assert_eq!(interner.len(), 1000);
        for number in &numbers {
            interner.release(*number);
        }
        assert_eq!((interner.len(), interner.octets(), interner.numbers.len()), (0, 0, 0));
    }

    #[test]
    fn a_set_that_is_gone_is_not_found_by_the_short_way() {
        let mut interner = Interner::default();
        let first = interner.take(shared(1));
        interner.release(first);
        let second = interner.take(shared(2));
        assert_eq!(**interner.shared(second), shared(2));
    }
}
