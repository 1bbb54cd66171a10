//! What every policy must hold to, and what each promises of its own.

use proptest::prelude::*;
use proxima_residency::Fence;
use proxima_types::{Health, PoolName, Weight};

use super::*;
use crate::Candidate;

const KINDS: [PolicyKind; 2] = [PolicyKind::RoundRobin, PolicyKind::LeastRequest];

pub(crate) fn candidate(name: &str, region: &str, tier: u8, weight: u16) -> Candidate {
    let pool: PoolName = "p".parse().unwrap();
    Candidate {
        backend: proxima_types::BackendId::new(&pool, name).unwrap(),
        address: "127.0.0.1:80".parse().unwrap(),
        region: region.parse().unwrap(),
        jurisdiction: format!("J-{region}").parse().unwrap(),
        tier,
        weight: Weight(weight),
        health: Health::Up,
        distance: 0,
        rtt: None,
    }
}

fn levels(groups: &[&[u16]]) -> Levels {
    let world = groups.iter().enumerate().flat_map(|(tier, weights)| {
        weights
            .iter()
            .enumerate()
            .map(move |(n, &weight)| candidate(&format!("t{tier}-{n:03}"), "own", tier as u8, weight))
    });
    Levels::new(Fence::open().admit(world), &"own".parse().unwrap())
}

fn counts(levels: &Levels, kind: PolicyKind, picks: usize) -> Vec<usize> {
    let mut policy = Policy::new(kind, 7);
    let mut counts = vec![0; levels.len()];
    for _ in 0..picks {
        counts[levels.pick(&mut policy, &Tried::new(), |_| 0).unwrap()] += 1;
    }
    counts
}

#[test]
fn shares_follow_the_weights_without_load() {
    let levels = levels(&[&[100, 50, 10, 40]]);
    for kind in KINDS {
        let counts = counts(&levels, kind, 20_000);
        for (count, expected) in counts.iter().zip([10_000, 5_000, 1_000, 4_000]) {
            assert!(count.abs_diff(expected) < 200, "{kind:?}: {counts:?}");
        }
    }
}

#[test]
fn only_the_first_level_is_used_while_it_has_an_untried_candidate() {
    let levels = levels(&[&[1, 1], &[500, 500]]);
    for kind in KINDS {
        assert_eq!(counts(&levels, kind, 1000)[2..], [0, 0], "{kind:?}");
    }
}

#[test]
fn attempts_end_at_the_limit() {
    let levels = levels(&[&[1; 40]]);
    for kind in KINDS {
        let mut policy = Policy::new(kind, 3);
        let mut tried = Tried::new();
        while let Some(index) = levels.pick(&mut policy, &tried, |_| 0) {
            tried.add(index);
        }
        assert_eq!(tried.len(), Tried::LIMIT, "{kind:?}");
    }
}

#[test]
fn round_robin_is_exact_and_smooth_over_a_cycle() {
    let levels = levels(&[&[5, 1, 1]]);
    let mut policy = Policy::new(PolicyKind::RoundRobin, 1);
    let cycle: Vec<usize> =
        (0..70).map(|_| levels.pick(&mut policy, &Tried::new(), |_| 0).unwrap()).collect();
    for window in cycle.windows(7) {
        let count = |index| window.iter().filter(|&&picked| picked == index).count();
        assert_eq!([count(0), count(1), count(2)], [5, 1, 1], "{cycle:?}");
    }
    assert!(!cycle.windows(5).any(|run| run == [0; 5]), "{cycle:?}");
}

#[test]
fn round_robin_survives_a_change_of_the_levels() {
    let mut policy = Policy::new(PolicyKind::RoundRobin, 1);
    for groups in [vec![1u16; 3], vec![1; 9], vec![2; 2]] {
        let levels = levels(&[&groups]);
        for _ in 0..20 {
            assert!(levels.pick(&mut policy, &Tried::new(), |_| 0).unwrap() < groups.len());
        }
    }
}

#[test]
fn least_request_leaves_a_stuck_backend_alone() {
    let levels = levels(&[&[100, 100, 100]]);
    let mut policy = Policy::new(PolicyKind::LeastRequest, 5);
    for _ in 0..1000 {
        assert_ne!(levels.pick(&mut policy, &Tried::new(), |index| if index == 1 { 50 } else { 2 }), Some(1));
    }
}

#[test]
fn least_request_fills_by_weight_under_load() {
    let levels = levels(&[&[100, 25]]);
    let mut policy = Policy::new(PolicyKind::LeastRequest, 5);
    let mut pending = [0u32; 2];
    for _ in 0..500 {
        let index = levels.pick(&mut policy, &Tried::new(), |index| pending[index]).unwrap();
        pending[index] += 1;
    }
    assert!(pending[0].abs_diff(400) <= 5, "{pending:?}");
}

proptest! {
    #[test]
    fn failover_visits_every_candidate_once_level_by_level(
        groups in proptest::collection::vec(proptest::collection::vec(1u16..200, 1..5), 1..4),
        kind in proptest::sample::select(KINDS.to_vec()),
        seed: u64,
        loads in proptest::collection::vec(0u32..100, 16),
    ) {
        let groups: Vec<&[u16]> = groups.iter().map(Vec::as_slice).collect();
        let levels = levels(&groups);
        let mut policy = Policy::new(kind, seed);
        let mut tried = Tried::new();
        while let Some(index) = levels.pick(&mut policy, &tried, |index| loads[index]) {
            prop_assert!(!tried.contains(index));
            tried.add(index);
        }
        prop_assert_eq!(tried.len(), levels.len());
        let tiers: Vec<u8> = tried.indices().map(|index| levels[index].tier).collect();
        prop_assert!(tiers.is_sorted(), "{:?}", tiers);
    }
}
