//! What BFD does to a session.

use std::time::Duration;

use proxima_bgp_session::{BFD_HOLD_OFF, Bfd, Held, Input, RETRY_CEILING, State};

use crate::{
    by_hand::{Alone, V4, open, open_of_second, set},
    world::{World, first, graceful, just_before, second},
};

fn down() -> Input {
    Input::BfdDown { diagnostic: "control detection time expired".to_owned(), independent: false }
}

fn established() -> World {
    World::established(first(), second())
}

#[test]
fn a_session_is_torn_down_only_if_bfd_was_up_with_cease_6_10() {
    let mut world = established();
    world.input(0, down());
    world.assert_established();
    world.input(0, Input::BfdUp);
    world.input(0, down());
    assert_eq!(world.notifications(0), [(6, 10, vec![])]);
    assert_eq!(world.nodes[0].state(), State::Idle);
    let said = world.nodes[0].status().last_sent.unwrap().what.to_string();
    assert!(said.contains("BFD is down: control detection time expired"), "{said}");
    assert!(world.tables[0].routes.is_empty());
}

#[test]
fn bfd_that_never_comes_up_holds_nothing_up() {
    let mut world = World::new(first(), second());
    world.input(0, down());
    world.run(Duration::from_secs(1));
    world.assert_established();
}

#[test]
fn admin_down_is_no_failure_and_no_condition() {
    let mut world = established();
    world.input(0, Input::BfdUp);
    world.input(0, Input::BfdAdminDown);
    world.input(0, down());
    world.assert_established();
    assert_eq!(world.nodes[0].status().bfd, Bfd::Unused);
}

#[test]
fn after_bfd_went_down_the_session_waits_for_it_and_comes_back_with_it() {
    let mut world = established();
    world.input(0, Input::BfdUp);
    let fell = world.now;
    world.input(0, down());
    // The backoff is over after a second, the peer connects and is refused: BFD decides.
    world.run(Duration::from_secs(10));
    assert_eq!(world.nodes[0].state(), State::Idle);
    assert_eq!(world.nodes[0].status().held, Some(Held::Bfd { until: fell + BFD_HOLD_OFF }));
    world.input(0, Input::BfdUp);
    world.run(Duration::from_secs(1));
    world.assert_established();
}

#[test]
fn a_peer_that_has_done_with_bfd_is_tried_without_after_a_while() {
    let mut world = established();
    world.input(0, Input::BfdUp);
    world.input(0, down());
    world.run(just_before(BFD_HOLD_OFF));
    assert_eq!(world.nodes[0].state(), State::Idle);
    world.run(Duration::from_secs(2));
    world.assert_established();
    // And its fall means nothing until it has been up again.
    world.input(0, down());
    world.assert_established();

    let mut world = established();
    world.input(0, Input::BfdUp);
    world.input(0, down());
    world.run(Duration::from_secs(10));
    world.input(0, Input::BfdAdminDown);
    world.run(Duration::from_secs(1));
    world.assert_established();
}

#[test]
fn what_bfd_held_back_once_is_not_said_to_wait_for_it_later() {
    let (mut alone, _) = Alone::established(first(), &open_of_second());
    alone.input(Input::BfdUp);
    alone.input(down());
    alone.run(BFD_HOLD_OFF + Duration::from_secs(1));
    assert_eq!(alone.session.state(), State::Active);
    let connection = alone.accept();
    alone.receive(connection, &open(3, 65000, 9, [192, 0, 2, 2], &[]));
    assert!(alone.session.status().timers.idle_hold.is_some(), "a wait for another reason");
    assert_eq!(alone.session.status().held, None);
}

#[test]
fn bfd_that_flaps_does_not_make_the_session_flap_with_it() {
    let mut world = established();
    world.run(Duration::from_mins(1));
    let flaps = |world: &World| world.nodes[0].status().counters.flaps;
    for _ in 0..300 {
        world.input(0, Input::BfdUp);
        world.run(Duration::from_secs(1));
        world.input(0, down());
        world.run(Duration::from_secs(1));
    }
    // Without backoff it would be 300 in ten minutes.
    assert!(flaps(&world) <= 3 + 600 / RETRY_CEILING.mul_f64(0.75).as_secs(), "{}", flaps(&world));
    world.input(0, Input::BfdUp);
    world.run(Duration::from_mins(1));
    world.assert_established();
}

#[test]
fn routes_outlive_bfd_only_where_it_shares_fate_with_a_peer_that_restarts_gracefully() {
    for (independent, code, kept) in [(false, (6, 10), 1), (true, (6, 9), 0)] {
        let mut world = World::established(graceful(first()), graceful(second()));
        set(&mut world, &[V4]);
        world.input(1, Input::BfdUp);
        world.input(1, Input::BfdDown { diagnostic: String::new(), independent });
        let (major, minor, _) = world.notifications(1).remove(0);
        assert_eq!((major, minor), code);
        assert_eq!(world.tables[1].stale().len(), kept);
        assert_eq!(world.tables[1].routes.len(), kept);
    }
}
