//! Worlds by seed.

use proxima_sim::{Case, Shape, World, schedule};

/// A few, so that a debug build is done soon; `cargo xtask test` runs thousands in an optimised one.
const SEEDS: u64 = 150;

#[test]
fn no_rule_is_broken_under_the_first_seeds() {
    let mut world = World::new();
    for seed in 0..SEEDS {
        let broken = Case::of(seed).run(&mut world).err();
        assert_eq!(broken.map(|broken| broken.to_string()), None, "cargo xtask sim --seed {seed}");
    }
}

#[test]
fn a_seed_is_the_same_world_each_time_also_in_one_that_was_used_before() {
    let mut used = World::new();
    for seed in [3, 40, 77, 494] {
        let Case { shape, faults, .. } = Case::of(seed);
        let mut new = World::new();
        let outcomes = [used.replay(seed, &shape, &faults), new.replay(seed, &shape, &faults)];
        assert_eq!(outcomes[0], outcomes[1]);
        assert_eq!(used.history().facts(), new.history().facts());
        assert_eq!(used.timeline(), new.timeline());
    }
}

#[test]
fn a_fault_left_out_moves_nothing_before_it() {
    let seed = 4;
    let shape = Shape::full(seed);
    let faults = schedule(seed, &shape);
    let last = faults.last().expect("it has some").at;
    let mut histories = [&faults[..], &faults[..faults.len() - 1]].map(|faults| {
        let mut world = World::new();
        world.replay(seed, &shape, faults).expect("no rule is broken");
        let facts = world.history().facts().to_vec();
        facts.into_iter().take_while(|(at, _)| *at < last).collect::<Vec<_>>()
    });
    let [whole, without] = &mut histories;
    assert!(!whole.is_empty());
    assert_eq!(whole, without);
}
