//! What operators and the process order: up, shutdown, reset, stop, restart, new settings.

use std::time::Duration;

use proxima_bgp_session::{Cause, Change, Held, Input, Leave, Session, Settings, State, UpdateContent};
use proxima_bgp_wire::Role;
use proxima_types::{Asn, Community, Family};

use crate::{
    by_hand::{V4, V4_B, V6, plain, set},
    world::{LATENCY, World, first, graceful, just_before, prefix, second, shutdown, stop},
};

#[test]
fn stop_withdraws_and_says_why_and_stays_stopped() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4, V6]);
    world.sent[0].clear();
    world.input(0, stop("maintenance"));
    assert_eq!(world.types_sent(0), [2, 2, 3], "a withdrawal for each family, then Cease");
    assert_eq!(world.notifications(0), [(6, 2, b"\x0bmaintenance".to_vec())]);
    world.run(Duration::from_hours(1));
    assert!(world.tables[1].routes.is_empty());
    assert_eq!(world.nodes[0].state(), State::Idle);
    assert_eq!(world.nodes[0].poll_timeout(), None);
    assert_eq!(world.nodes[0].status().held, Some(Held::Left));
    let received = world.nodes[1].status().last_received.unwrap();
    assert_eq!(received.what.shutdown_message().as_deref(), Some("maintenance"));
}

#[test]
fn a_peer_that_is_no_longer_configured_is_told_so() {
    let mut world = World::established(first(), second());
    world.input(0, Input::Stop(Leave::Deconfigured));
    assert_eq!(world.notifications(0), [(6, 3, vec![])]);
}

#[test]
fn an_operators_shutdown_stays_until_up() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4]);
    world.input(0, shutdown("line works", Duration::ZERO));
    assert_eq!(world.notifications(0), [(6, 2, b"\x0aline works".to_vec())]);
    world.run(Duration::from_hours(1));
    assert_eq!(world.nodes[0].state(), State::Idle);
    assert_eq!(world.nodes[0].status().held, Some(Held::Shutdown("line works".to_owned())));
    world.input(0, Input::Up);
    world.run(Duration::from_mins(1));
    world.assert_established();
    assert_eq!(world.tables[1].prefixes(), [V4]);
}

#[test]
fn a_session_may_start_shut_down() {
    let mut world = World::new(first(), second());
    world.nodes[0] = Session::new(first(), world.now, 1);
    world.states[0].clear();
    world.input(0, shutdown("not yet", Duration::ZERO));
    world.run(Duration::from_mins(10));
    assert_eq!(world.nodes[0].status().held, Some(Held::Shutdown("not yet".to_owned())));
    world.input(0, Input::Up);
    world.run(Duration::from_mins(1));
    world.assert_established();
}

// ---- GRACEFUL_SHUTDOWN before a shutdown (RFC 8326)

const DRAIN: Duration = Duration::from_mins(1);

fn communities(world: &World) -> Vec<Community> {
    world.tables[1].route(V4).unwrap().attributes.communities.to_vec()
}

#[test]
fn a_drain_announces_graceful_shutdown_waits_and_then_ends() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4, V6]);
    world.updates[0].clear();
    world.input(0, shutdown("moving", DRAIN));
    let started = world.now;
    world.run(2 * LATENCY);
    assert_eq!(communities(&world), [Community::GRACEFUL_SHUTDOWN]);
    assert_eq!(world.updates[0].len(), 2, "each route once more");
    assert_eq!(world.nodes[0].status().timers.drain, Some(started + DRAIN));
    // What changes meanwhile goes out marked too.
    world.input(0, plain(&[V4, V4_B]));
    world.run(2 * LATENCY);
    let fresh = world.tables[1].route(V4_B).unwrap();
    assert_eq!(fresh.attributes.communities.to_vec(), [Community::GRACEFUL_SHUTDOWN]);
    world.run(just_before(started + DRAIN - world.now));
    world.assert_established();
    world.run(Duration::from_millis(1));
    assert_eq!(world.notifications(0), [(6, 2, b"\x06moving".to_vec())]);
    world.run(Duration::from_mins(5));
    assert_eq!(world.nodes[0].state(), State::Idle);
    // Up again, the mark is gone.
    world.input(0, Input::Up);
    world.run(Duration::from_mins(1));
    assert_eq!(communities(&world), []);
}

#[test]
fn towards_an_internal_peer_a_drain_sets_local_pref_0() {
    let internal = |settings: Settings| Settings { local_as: Asn(64512), remote_as: Asn(64512), ..settings };
    let mut world = World::established(internal(first()), internal(second()));
    set(&mut world, &[V4]);
    let local_pref = |world: &World| world.tables[1].route(V4).unwrap().attributes.local_pref;
    assert_eq!(local_pref(&world), Some(100));
    world.input(0, shutdown("", DRAIN));
    world.run(2 * LATENCY);
    assert_eq!(local_pref(&world), Some(0));
    assert_eq!(communities(&world), [Community::GRACEFUL_SHUTDOWN]);
}

#[test]
fn up_calls_a_drain_off_and_a_second_shutdown_replaces_it() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4]);
    world.input(0, shutdown("", DRAIN));
    world.run(Duration::from_secs(30));
    world.input(0, Input::Up);
    world.run(Duration::from_mins(10));
    world.assert_established();
    assert_eq!(communities(&world), []);
    assert_eq!(world.nodes[0].status().timers.drain, None);

    world.input(0, shutdown("first", DRAIN));
    world.run(Duration::from_secs(30));
    let updates = world.updates[0].len();
    world.input(0, shutdown("second", DRAIN));
    world.run(Duration::from_secs(59));
    world.assert_established();
    assert_eq!(world.updates[0].len(), updates, "said once is enough");
    world.input(0, shutdown("third", Duration::ZERO));
    assert_eq!(world.notifications(0), [(6, 2, b"\x05third".to_vec())]);
}

#[test]
fn a_session_lost_during_its_drain_stays_down() {
    let mut world = World::established(first(), second());
    world.input(0, shutdown("moving", DRAIN));
    world.break_session();
    world.run(Duration::from_mins(10));
    assert_eq!(world.nodes[0].state(), State::Idle);
    assert_eq!(world.nodes[0].status().held, Some(Held::Shutdown("moving".to_owned())));
}

// ---- Reset

#[test]
fn reset_begins_anew_at_once() {
    let mut world = World::established(first(), second());
    world.run(Duration::from_mins(1));
    world.input(0, Input::Reset);
    let (code, subcode, _) = world.notifications(0).remove(0);
    assert_eq!((code, subcode), (6, 4));
    world.run(Duration::from_secs(4));
    world.assert_established();
}

// ---- Leaving to come back

#[test]
fn a_restart_closes_without_a_word_so_that_the_peer_keeps_the_routes() {
    let mut world = World::established(graceful(first()), graceful(second()));
    set(&mut world, &[V4]);
    world.sent[0].clear();
    world.input(0, Input::Stop(Leave::Restart));
    assert!(world.types_sent(0).is_empty());
    let (_, cause) = world.states[0].last().unwrap();
    assert_eq!(cause.to_string(), "closed without a word: this speaker restarts");
    assert!(cause.is_ordered(), "no fault of anyone's");
    world.run(LATENCY);
    assert!(matches!(world.states[1].last(), Some((_, cause @ Cause::TcpLost(_))) if !cause.is_ordered()));
    assert_eq!(world.tables[1].stale(), [V4]);
    assert_eq!(world.nodes[0].poll_timeout(), None);
}

#[test]
fn stopping_for_good_is_a_hard_reset_where_the_peer_would_keep_the_routes() {
    for (order, reason) in [
        (stop("bye"), vec![6, 2, 3, b'b', b'y', b'e']),
        (shutdown("bye", Duration::ZERO), vec![6, 2, 3, b'b', b'y', b'e']),
        (Input::Stop(Leave::Deconfigured), vec![6, 3]),
    ] {
        let mut world = World::established(graceful(first()), graceful(second()));
        set(&mut world, &[V4]);
        world.input(0, order);
        assert_eq!(world.notifications(0), [(6, 9, reason)]);
        assert!(
            world.states[0]
                .iter()
                .any(|(_, cause)| { matches!(cause, Cause::NotificationSent { .. }) && cause.is_ordered() })
        );
        world.run(LATENCY);
        assert!(world.tables[1].routes.is_empty());
        let heard = world.nodes[1].status().last_received.unwrap().what;
        assert!(heard.hard_reset_reason().is_some());
    }
}

// ---- New settings

#[test]
fn settings_that_no_open_says_take_effect_without_a_new_session() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4, V6]);
    world.updates[0].clear();
    let moved = Settings {
        next_hop_ipv4: Some("10.0.0.9".parse().unwrap()),
        connect_retry: Duration::from_secs(7),
        ..first()
    };
    assert_eq!(first().change_to(&moved), Change::InPlace);
    world.input(0, Input::Reconfigure(Box::new(moved.clone())));
    world.run(2 * LATENCY);
    world.assert_established();
    assert_eq!(world.tables[1].route(V4).unwrap().next_hop.address.to_string(), "10.0.0.9");
    let announced =
        UpdateContent::Announced { prefixes: vec![prefix(V4)], attributes: std::sync::Arc::default() };
    assert_eq!(world.updates[0], [announced], "IPv6 has not changed");
    assert_eq!(first().change_to(&first()), Change::None);
    world.input(0, Input::Reconfigure(Box::new(moved)));
    world.run(Duration::from_mins(1));
    assert_eq!((world.updates[0].len(), world.notifications(0).len()), (1, 0));
}

#[test]
fn settings_that_an_open_says_begin_a_new_session() {
    let mut world = World::established(first(), second());
    for changed in [
        Settings { hold_time: Duration::from_secs(30), ..first() },
        Settings { families: vec![Family::Ipv4], ..first() },
        Settings { role: Some(Role::Customer), ..first() },
        Settings { add_path: true, ..first() },
        graceful(first()),
    ] {
        assert_eq!(world.nodes[0].settings().change_to(&changed), Change::Reopen);
        world.input(0, Input::Reconfigure(Box::new(changed)));
        assert_eq!(world.notifications(0).pop(), Some((6, 6, vec![])));
        world.run(Duration::from_mins(2));
        world.assert_established();
    }
}

#[test]
fn a_session_that_is_down_takes_new_settings_for_its_next_attempt() {
    let wrong = Settings { remote_as: Asn(65009), ..first() };
    let mut world = World::new(wrong, second());
    world.run(Duration::from_mins(5));
    assert_ne!(world.nodes[0].state(), State::Established);
    world.input(0, Input::Reconfigure(Box::new(first())));
    world.run(Duration::from_secs(31));
    world.assert_established();
    // Shut down it stays down.
    world.input(0, shutdown("", Duration::ZERO));
    world.input(0, Input::Reconfigure(Box::new(Settings { add_path: true, ..first() })));
    world.run(Duration::from_mins(5));
    assert_eq!(world.nodes[0].state(), State::Idle);
}

#[test]
fn a_passive_side_that_may_connect_does_so() {
    let mut world = World::new(Settings { passive: true, ..first() }, second());
    world.run(Duration::from_mins(5));
    assert_eq!(world.state(), [State::Active; 2]);
    world.input(0, Input::Reconfigure(Box::new(first())));
    world.run(Duration::from_secs(1));
    world.assert_established();
}
