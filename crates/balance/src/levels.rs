//! Candidates in the order regions and tiers are tried.

use std::{
    cmp::Ordering,
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    ops::{Index, Range},
    time::Duration,
};

use proxima_residency::{Fenced, Unavailable};
use proxima_types::RegionName;

use crate::{Candidate, Policy, Tried};

/// The usable candidates of one route, level by level. Immutable: it is made with each snapshot and shared by all
/// workers.
///
/// Level order: the own region by tier, then every other region, nearest first, by tier. A region is as near as the one
/// of its usable backends with the least [`Candidate::distance`]. Among equals the median round-trip time of their usable
/// backends decides; regions nobody measured come last, by name.
///
/// They are made of what a fence has let in:
///
/// ```
/// # use proxima_balance::{Candidate, Levels};
/// # use proxima_residency::{Fence, Fenced};
/// # use proxima_types::RegionName;
/// fn levels(candidates: Fenced<Candidate>, own_region: &RegionName) -> Levels {
///     Levels::new(candidates, own_region)
/// }
/// ```
///
/// and of nothing else:
///
/// ```compile_fail,E0308
/// # use proxima_balance::{Candidate, Levels};
/// # use proxima_residency::{Fence, Fenced};
/// # use proxima_types::RegionName;
/// fn levels(candidates: Vec<Candidate>, own_region: &RegionName) -> Levels {
///     Levels::new(candidates, own_region)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Levels {
    candidates: Fenced<Candidate>,
    order: Vec<Level>,
    /// For each candidate, the sum of the weights up to and including it in its level.
    cumulative: Vec<u32>,
    shape: u64,
}

/// Candidates of one region and tier: equals, among which a policy chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// The region.
    pub region: RegionName,
    /// The tier in the region.
    pub tier: u8,
    /// Their indices.
    pub members: Range<usize>,
}

impl Levels {
    /// Orders what the fence admitted, as seen from `own_region`.
    pub fn new(mut candidates: Fenced<Candidate>, own_region: &RegionName) -> Self {
        candidates.retain(Candidate::is_usable);
        let distances = distances(&candidates);
        let rank = |region: &RegionName| (region != own_region, distances.get(region));
        candidates.sort_by(|a, b| {
            if a.region == b.region {
                a.tier.cmp(&b.tier).then_with(|| a.backend.cmp(&b.backend))
            } else {
                rank(&a.region).cmp(&rank(&b.region)).then_with(|| a.region.cmp(&b.region))
            }
        });
        let order = grouped(&candidates);
        let cumulative = cumulative(&candidates, &order);
        let shape = shape(&candidates);
        Self { candidates, order, cumulative, shape }
    }

    /// Chooses a candidate from the first level that has an untried one, by the worker's `policy`.
    ///
    /// `load` gives the number of exchanges this worker has pending on the candidate of an index. `None` when every
    /// candidate was tried, or [`Tried::LIMIT`] of them.
    pub fn pick(&self, policy: &mut Policy, tried: &Tried, load: impl Fn(usize) -> u32) -> Option<usize> {
        if tried.is_full() {
            return None;
        }
        (0..self.order.len()).find_map(|level| policy.choose(self, level, tried, &load))
    }

    /// The levels, first tried first. None of them is empty.
    pub fn levels(&self) -> &[Level] {
        &self.order
    }

    /// The usable candidates; a candidate's index is its place here.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// How many candidates are usable.
    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Whether no candidate is usable.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Why no request can be served, to be asked when [`Levels::is_empty`].
    pub fn unavailable(&self) -> Unavailable {
        self.candidates.unavailable()
    }

    /// A fingerprint of candidates, order and weights. State kept by index stays good while it is unchanged.
    pub fn shape(&self) -> u64 {
        self.shape
    }

    pub(crate) fn members(&self, level: usize) -> Range<usize> {
        self.order[level].members.clone()
    }

    pub(crate) fn weight(&self, index: usize) -> u32 {
        u32::from(self.candidates[index].weight.0)
    }

    /// The sum of the weights of `level` up to and including candidate `index`.
    pub(crate) fn weight_up_to(&self, index: usize) -> u32 {
        self.cumulative[index]
    }

    /// The candidate of `level` that a `point` below the level's sum of weights falls on.
    pub(crate) fn at_weight(&self, level: usize, point: u32) -> usize {
        let members = self.members(level);
        members.start + self.cumulative[members].partition_point(|&sum| sum <= point)
    }
}

impl Index<usize> for Levels {
    type Output = Candidate;

    fn index(&self, index: usize) -> &Candidate {
        &self.candidates[index]
    }
}

/// How far a region is, compared in this order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Remoteness {
    distance: u32,
    unmeasured: bool,
    /// The median of its candidates, the lower one of two.
    rtt: Duration,
}

fn distances(candidates: &[Candidate]) -> HashMap<RegionName, Remoteness> {
    let mut regions: HashMap<&RegionName, (u32, Vec<Duration>)> = HashMap::new();
    for candidate in candidates {
        let (distance, rtts) = regions.entry(&candidate.region).or_insert((u32::MAX, Vec::new()));
        *distance = candidate.distance.min(*distance);
        rtts.extend(candidate.rtt);
    }
    regions
        .into_iter()
        .map(|(region, (distance, mut rtts))| {
            rtts.sort_unstable();
            let median = rtts.get(rtts.len().saturating_sub(1) / 2).copied();
            let (unmeasured, rtt) = (median.is_none(), median.unwrap_or_default());
            (region.clone(), Remoteness { distance, unmeasured, rtt })
        })
        .collect()
}

fn grouped(candidates: &[Candidate]) -> Vec<Level> {
    let mut start = 0;
    candidates
        .chunk_by(|a, b| a.region == b.region && a.tier.cmp(&b.tier) == Ordering::Equal)
        .map(|chunk| {
            let members = start..start + chunk.len();
            start = members.end;
            Level { region: chunk[0].region.clone(), tier: chunk[0].tier, members }
        })
        .collect()
}

fn cumulative(candidates: &[Candidate], levels: &[Level]) -> Vec<u32> {
    let sums = levels.iter().flat_map(|level| {
        candidates[level.members.clone()].iter().scan(0u32, |sum, candidate| {
            *sum += u32::from(candidate.weight.0);
            Some(*sum)
        })
    });
    sums.collect()
}

fn shape(candidates: &[Candidate]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for candidate in candidates {
        (&candidate.backend, candidate.tier, candidate.weight).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxima_residency::Fence;
    use proxima_types::{Health, Weight};

    use super::*;
    use crate::{PolicyKind, policy::tests::candidate};

    fn order(candidates: Vec<Candidate>, own: &str) -> Vec<String> {
        let levels = Levels::new(Fence::open().admit(candidates), &own.parse().unwrap());
        let name = |level: &Level| format!("{}/{}", level.region, level.tier);
        levels.levels().iter().map(name).collect()
    }

    fn at(region: &str, tier: u8, rtt_ms: Option<u64>) -> Candidate {
        let name = format!("{region}-{tier}-{}", rtt_ms.unwrap_or(0));
        Candidate { rtt: rtt_ms.map(Duration::from_millis), ..candidate(&name, region, tier, 100) }
    }

    #[test]
    fn own_region_by_tier_comes_before_every_other_region_by_distance() {
        let world = vec![
            at("far", 0, Some(90)),
            at("near", 1, Some(21)),
            at("near", 0, Some(20)),
            at("own", 1, Some(500)),
            at("unmeasured-b", 0, None),
            at("unmeasured-a", 0, None),
            at("own", 0, None),
        ];
        let expected = ["own/0", "own/1", "near/0", "near/1", "far/0", "unmeasured-a/0", "unmeasured-b/0"];
        assert_eq!(order(world, "own"), expected);
    }

    #[test]
    fn a_regions_distance_is_the_median_of_its_usable_backends() {
        let down = Candidate { health: Health::Down, ..at("a", 0, Some(1)) };
        let one_slow =
            vec![at("a", 0, Some(10)), at("a", 0, Some(11)), at("a", 0, Some(900)), at("b", 0, Some(12))];
        assert_eq!(order(one_slow, "own"), ["a/0", "b/0"]);
        assert_eq!(order(vec![down, at("a", 0, Some(30)), at("b", 0, Some(12))], "own"), ["b/0", "a/0"]);
    }

    #[test]
    fn a_distance_goes_before_the_round_trip_time_and_equal_ones_leave_it_to_that() {
        let far = |distance: u32, candidate: Candidate| Candidate { distance, ..candidate };
        let world = vec![
            far(u32::MAX, at("nowhere", 0, Some(1))),
            far(1, at("second", 0, Some(9))),
            far(1, at("third", 0, Some(10))),
            far(1, at("unmeasured", 0, None)),
            far(0, at("first", 1, Some(90))),
            far(7, at("first", 0, Some(90))),
            far(u32::MAX, at("own", 0, Some(500))),
        ];
        let expected = ["own/0", "first/0", "first/1", "second/0", "third/0", "unmeasured/0", "nowhere/0"];
        assert_eq!(order(world, "own"), expected);
        let down = Candidate { health: Health::Down, ..far(0, at("a", 0, Some(1))) };
        let rest = vec![down, far(5, at("a", 1, Some(1))), far(4, at("b", 0, Some(50)))];
        assert_eq!(order(rest, "own"), ["b/0", "a/1"], "what is down makes nothing near");
    }

    #[test]
    fn only_backends_that_are_up_and_weighted_take_part() {
        let world = vec![
            Candidate { health: Health::Unknown, ..at("own", 0, None) },
            Candidate { health: Health::Down, ..at("own", 1, None) },
            Candidate { weight: Weight(0), ..at("own", 2, None) },
        ];
        let levels = Levels::new(Fence::open().admit(world), &"own".parse().unwrap());
        assert!(levels.is_empty() && levels.levels().is_empty());
        assert_eq!(levels.unavailable().to_string(), "no backend is up");
        let mut policy = Policy::new(PolicyKind::LeastRequest, 1);
        assert_eq!(levels.pick(&mut policy, &Tried::new(), |_| 0), None);
    }

    #[test]
    fn the_shape_changes_with_members_order_and_weights_only() {
        let levels = |list: Vec<Candidate>| Levels::new(Fence::open().admit(list), &"own".parse().unwrap());
        let base = levels(vec![at("own", 0, Some(1)), at("b", 0, Some(2))]);
        let slower = Candidate { rtt: Some(Duration::from_millis(9)), ..at("b", 0, Some(2)) };
        assert_eq!(levels(vec![slower, at("own", 0, Some(1))]).shape(), base.shape());
        assert_ne!(levels(vec![at("own", 0, Some(1))]).shape(), base.shape());
        let heavier = Candidate { weight: Weight(7), ..at("b", 0, Some(2)) };
        assert_ne!(levels(vec![at("own", 0, Some(1)), heavier]).shape(), base.shape());
    }

    fn any_candidate() -> impl Strategy<Value = Candidate> {
        let health = proptest::sample::select(vec![Health::Unknown, Health::Up, Health::Up, Health::Down]);
        (0..4u8, 0..3u8, 0..3u16, health, proptest::option::of(1..100u64), 0..40u8).prop_map(
            |(region, tier, weight, health, rtt, name)| Candidate {
                health,
                rtt: rtt.map(Duration::from_millis),
                ..candidate(&format!("n{name}"), &format!("r{region}"), tier, weight)
            },
        )
    }

    proptest! {
        #[test]
        fn levels_hold_each_usable_admitted_candidate_once_and_nothing_else(
            world in proptest::collection::vec(any_candidate(), 0..40),
        ) {
            let fence = Fence::new(Some(vec!["J-r0".parse().unwrap(), "J-r2".parse().unwrap()]));
            let mut expected: Vec<_> = world
                .iter()
                .filter(|c| c.is_usable() && fence.allows(&c.jurisdiction))
                .map(|c| c.backend.clone())
                .collect();
            let levels = Levels::new(fence.admit(world), &"r2".parse().unwrap());
            let mut held: Vec<_> = levels.candidates().iter().map(|c| c.backend.clone()).collect();
            expected.sort();
            held.sort();
            prop_assert_eq!(held, expected);
            let covered: Vec<usize> = levels.levels().iter().flat_map(|l| l.members.clone()).collect();
            prop_assert_eq!(covered, (0..levels.len()).collect::<Vec<_>>());
            for pair in levels.levels().windows(2) {
                prop_assert!(pair[0].region != pair[1].region || pair[0].tier < pair[1].tier);
                prop_assert!(pair[1].region.as_str() != "r2" || pair[0].region.as_str() == "r2");
            }
        }
    }
}
