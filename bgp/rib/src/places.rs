//! Which of several destinations is the nearest by BGP.

use std::collections::{BTreeMap, BTreeSet};

use proxima_bgp_wire::Attributes;
use proxima_types::Asn;

use crate::BestPathRules;

impl BestPathRules {
    /// The place of each of these paths, which lead to different destinations: 0 for the nearest, the same for equals.
    ///
    /// LOCAL_PREF, length of AS_PATH, ORIGIN and MULTI_EXIT_DISC count, as in the first steps of selection
    /// ([`Step`](crate::Step)). The later steps choose among ways to one destination and say nothing of two.
    ///
    /// MULTI_EXIT_DISC is compared among paths of one neighbouring AS, unless `always_compare_med` is set. So that places
    /// are in order all the same, the least of each neighbour share a place, behind them stand the second least of each, …
    pub fn places<'a>(&self, paths: impl IntoIterator<Item = &'a Attributes>) -> Vec<u32> {
        let worths: Vec<Worth> = paths.into_iter().map(|attributes| self.worth(attributes)).collect();
        let mut meds: BTreeMap<(Rank, Option<Asn>), BTreeSet<u32>> = BTreeMap::new();
        for worth in &worths {
            meds.entry((worth.rank, worth.neighbour)).or_default().insert(worth.med);
        }
        let whole = |worth: &Worth| {
            let lesser = meds[&(worth.rank, worth.neighbour)].range(..worth.med).count();
            (worth.rank, lesser)
        };
        let order: BTreeSet<_> = worths.iter().map(whole).collect();
        let places: BTreeMap<_, u32> = order.into_iter().zip(0..).collect();
        worths.iter().map(|worth| places[&whole(worth)]).collect()
    }

    fn worth(&self, attributes: &Attributes) -> Worth {
        let neighbour = if self.always_compare_med { None } else { attributes.as_path.neighbour() };
        let local_pref = u32::MAX - self.local_pref(attributes);
        let rank = (local_pref, self.as_path_length(attributes), attributes.origin as u8);
        Worth { rank, neighbour, med: self.med(attributes) }
    }
}

/// LOCAL_PREF from the top, length of AS_PATH, ORIGIN.
type Rank = (u32, usize, u8);

struct Worth {
    rank: Rank,
    /// Whose MULTI_EXIT_DISC it is, where that matters.
    neighbour: Option<Asn>,
    med: u32,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxima_bgp_wire::{AsPath, Origin};
    use proxima_types::Community;

    use super::*;

    fn path(asns: &[u32], change: impl FnOnce(&mut Attributes)) -> Attributes {
        let as_path = AsPath::sequence(asns.iter().copied().map(Asn));
        let mut attributes = Attributes { origin: Origin::Igp, as_path, ..Attributes::default() };
        change(&mut attributes);
        attributes
    }

    fn med(neighbour: u32, med: u32) -> Attributes {
        path(&[neighbour, 65010], |attributes| attributes.med = Some(med))
    }

    #[test]
    fn local_pref_goes_before_the_as_path_and_that_before_the_origin() {
        let preferred = path(&[65001, 65002, 65003], |attributes| attributes.local_pref = Some(200));
        let usual = path(&[65001, 65002], |_| {});
        let same = path(&[65004, 65005], |attributes| attributes.local_pref = Some(100));
        let incomplete = path(&[65001, 65002], |attributes| attributes.origin = Origin::Incomplete);
        let longer = path(&[65001, 65002, 65003], |_| {});
        let shutdown =
            path(&[65001], |attributes| attributes.communities = [Community::GRACEFUL_SHUTDOWN].into());
        let all = [&longer, &shutdown, &incomplete, &usual, &preferred, &same];
        assert_eq!(BestPathRules::default().places(all), [3, 4, 2, 1, 0, 1]);
        let ignoring = BestPathRules { ignore_as_path_length: true, ..BestPathRules::default() };
        assert_eq!(ignoring.places(all), [1, 3, 2, 1, 0, 1]);
    }

    #[test]
    fn med_counts_among_the_paths_of_one_neighbour() {
        let (a0, a5, a9, b7) = (med(65001, 0), med(65001, 5), med(65001, 9), med(65002, 7));
        let none = path(&[65001, 65010], |_| {});
        let all = [&a9, &b7, &a5, &a0, &none];
        assert_eq!(BestPathRules::default().places(all), [2, 0, 1, 0, 0]);
        let always = BestPathRules { always_compare_med: true, ..BestPathRules::default() };
        assert_eq!(always.places(all), [3, 2, 1, 0, 0]);
        let worst = BestPathRules { missing_med_worst: true, ..BestPathRules::default() };
        assert_eq!(worst.places(all), [2, 0, 1, 0, 3]);
    }

    proptest! {
        #[test]
        fn places_are_dense_and_do_not_depend_on_the_order_of_paths(
            given in proptest::collection::vec((0..3u32, 0..2u32, 0..3u32, 98..102u32), 1..20),
        ) {
            let paths: Vec<_> = given
                .iter()
                .map(|(neighbour, more, value, local_pref)| {
                    let asns = vec![65000 + neighbour; 1 + *more as usize];
                    path(&asns, |attributes| {
                        (attributes.med, attributes.local_pref) = (Some(*value), Some(*local_pref));
                    })
                })
                .collect();
            let rules = BestPathRules::default();
            let places = rules.places(&paths);
            let mut reversed = rules.places(paths.iter().rev());
            reversed.reverse();
            prop_assert_eq!(&places, &reversed);
            let distinct: BTreeSet<u32> = places.iter().copied().collect();
            prop_assert!(distinct.iter().copied().eq(0..u32::try_from(distinct.len()).unwrap()));
        }
    }
}
