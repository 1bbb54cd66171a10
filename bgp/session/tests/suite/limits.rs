//! Too many prefixes.

use std::time::Duration;

use proxima_bgp_session::{Held, Input, LimitAction, MaxPrefixes, Problem, Settings, State};
use proxima_types::Family;

use crate::{
    by_hand::{V4, V4_B, V6, plain, set},
    world::{LATENCY, World, first, graceful, just_before, second},
};

fn limited(max: MaxPrefixes) -> Settings {
    Settings { max_prefixes: Some(max), ..second() }
}

#[test]
fn too_many_prefixes_of_a_family_end_the_session_until_an_operator_looks_at_it() {
    let mut world = World::established(first(), limited(MaxPrefixes { warn_at: 100, ..MaxPrefixes::new(1) }));
    set(&mut world, &[V4, V6]);
    assert_eq!(world.tables[1].prefixes().len(), 2, "one of each family is within the limit");
    set(&mut world, &[V4, V4_B, V6]);
    // AFI 1, SAFI 1, limit 1 (RFC 4486 §4).
    assert_eq!(world.notifications(1), [(6, 1, vec![0, 1, 1, 0, 0, 0, 1])]);
    assert!(world.tables[1].routes.is_empty());
    let cause = world.nodes[1].status().last_sent.unwrap().what.to_string();
    assert!(cause.contains("2 ipv4 paths received, max-prefixes is 1"), "{cause}");
    world.run(Duration::from_hours(1));
    assert_eq!(world.nodes[1].state(), State::Idle);
    assert_eq!(world.nodes[1].status().held, Some(Held::PrefixLimit { until: None }));

    set(&mut world, &[V4]);
    world.input(1, Input::Up);
    world.run(Duration::from_secs(31));
    world.assert_established();
    assert_eq!(world.nodes[1].status().held, None);
}

#[test]
fn a_session_closed_for_too_many_prefixes_is_tried_again_after_the_configured_time() {
    let restart = Duration::from_mins(5);
    let max = MaxPrefixes { restart: Some(restart), ..MaxPrefixes::new(1) };
    let mut world = World::established(first(), limited(max));
    set(&mut world, &[V4, V4_B]);
    let closed_at = world.nodes[1].status().since.unwrap();
    assert_eq!(world.nodes[1].status().held, Some(Held::PrefixLimit { until: Some(closed_at + restart) }));
    set(&mut world, &[V4]);
    world.run(just_before(closed_at + restart - world.now));
    assert_eq!(world.nodes[1].state(), State::Idle);
    world.run(Duration::from_secs(31));
    world.assert_established();
}

#[test]
fn a_limit_that_only_warns_does_so_near_and_beyond_it() {
    let max = MaxPrefixes { action: LimitAction::Warn, ..MaxPrefixes::new(1) };
    let mut world = World::established(first(), limited(max));
    set(&mut world, &[V4]);
    set(&mut world, &[V4, V4_B]);
    let family = Family::Ipv4;
    assert_eq!(
        world.problems[1],
        [
            Problem::NearPrefixLimit { family, count: 1, limit: 1 },
            Problem::BeyondPrefixLimit { family, count: 2, limit: 1 },
        ]
    );
    world.assert_established();
    assert_eq!(world.nodes[1].status().received.ipv4, 2);
}

#[test]
fn routes_kept_over_a_restart_do_not_count_beside_those_that_come_anew() {
    let max = MaxPrefixes { warn_at: 100, ..MaxPrefixes::new(1) };
    let mut world = World::established(graceful(first()), graceful(limited(max)));
    set(&mut world, &[V4]);
    world.break_session();
    world.input(0, plain(&[V4_B]));
    world.run(Duration::from_secs(31));
    world.assert_established();
    assert_eq!(
        (world.tables[1].prefixes(), world.tables[1].stale()),
        (vec![V4_B.into(), V4.into()], vec![V4.into()])
    );
    assert_eq!(world.nodes[1].status().received.ipv4, 2, "both are told");
    world.input(0, Input::ReleaseEndOfRib);
    world.run(LATENCY * 4);
    assert_eq!((world.tables[1].prefixes(), world.notifications(1)), (vec![V4_B.to_owned()], vec![]));
}

#[test]
fn prefixes_the_rib_leaves_out_are_counted_and_told_once_and_asked_for_when_the_limit_is_raised() {
    let limit = |limit| limited(MaxPrefixes { action: LimitAction::Discard, ..MaxPrefixes::new(limit) });
    let mut world = World::established(first(), limit(1));
    set(&mut world, &[V4]);
    let family = Family::Ipv4;
    for total in [1, 5] {
        world.input(1, Input::PrefixesDiscarded { family, total });
    }
    assert_eq!(
        world.problems[1],
        [
            Problem::NearPrefixLimit { family, count: 1, limit: 1 },
            Problem::PrefixesDiscarded { family, limit: 1 },
        ]
    );
    world.assert_established();
    assert_eq!(world.nodes[1].status().counters.discarded, 5);
    world.input(1, Input::Reconfigure(Box::new(limit(2))));
    assert_eq!(world.nodes[1].status().counters.refreshes_sent, 1, "of that family alone");
    world.run(LATENCY * 4);
    world.assert_established();
}

#[test]
fn paths_beyond_the_most_to_one_prefix_are_counted_and_told_once_a_session() {
    let mut world = World::established(first(), second());
    let family = Family::Ipv6;
    for total in [0, 3, 10] {
        world.input(1, Input::PathsDiscarded { family, total, limit: 256 });
    }
    assert_eq!(world.problems[1], [Problem::PathsDiscarded { family, limit: 256 }]);
    assert_eq!(world.nodes[1].status().counters.discarded, 10);
    world.assert_established();
}

#[test]
fn raising_the_limit_brings_the_session_back_and_lowering_it_ends_it() {
    let mut world = World::established(first(), limited(MaxPrefixes::new(1)));
    set(&mut world, &[V4, V4_B]);
    assert_eq!(world.nodes[1].state(), State::Idle);
    let raised = limited(MaxPrefixes::new(2));
    world.input(1, Input::Reconfigure(Box::new(raised)));
    world.run(Duration::from_secs(31));
    world.assert_established();
    world.input(1, Input::Reconfigure(Box::new(limited(MaxPrefixes::new(1)))));
    assert_eq!(world.nodes[1].state(), State::Idle);
}

#[test]
fn with_graceful_restart_too_many_prefixes_are_a_hard_reset() {
    let mut world = World::established(graceful(first()), graceful(limited(MaxPrefixes::new(1))));
    set(&mut world, &[V4, V4_B]);
    assert_eq!(world.notifications(1), [(6, 9, vec![6, 1, 0, 1, 1, 0, 0, 0, 1])]);
    assert!(world.tables[1].routes.is_empty(), "nothing stays");
}
