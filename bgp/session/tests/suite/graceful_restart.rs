//! Graceful restart: the one that restarts, and the one that helps (RFC 4724, RFC 8538).

use std::time::Duration;

use proxima_bgp_session::{
    Cause, GracefulRestart, Input, Leave, Problem, RibChange, Session, Settings, State,
};
use proxima_bgp_wire::{AfiSafi, GracefulRestart as Offer};
use proxima_types::Family;

use crate::{
    by_hand::{
        Alone, KEEPALIVE, MP_IPV4, MP_IPV6, V4, V4_B, V6, changes, closed, message, notifications, open,
        open_with, plain, restart, set,
    },
    world::{GRACEFUL, LATENCY, World, first, graceful, just_before, second, shutdown, stop},
};

/// Both restart gracefully, the second helps the first, which announces V4 and V6 and has said that this is all.
fn helped() -> World {
    let mut world = World::established(graceful(first()), graceful(second()));
    world.input(0, Input::ReleaseEndOfRib);
    set(&mut world, &[V4, V6]);
    assert!(Family::ALL.iter().all(|family| world.tables[1].complete(*family)));
    world.tables[1].log.clear();
    world
}

fn offer(world: &World) -> Offer {
    world.nodes[1].status().terms.unwrap().peer.graceful_restart().unwrap().clone()
}

// ---- What is offered

#[test]
fn graceful_restart_is_offered_only_where_it_is_configured() {
    let mut world = World::established(first(), graceful(second()));
    assert_eq!(world.nodes[0].status().terms.unwrap().graceful_restart, None);
    set(&mut world, &[V4]);
    world.break_session();
    assert!(world.tables[1].routes.is_empty(), "so nothing stays");
}

#[test]
fn r_is_set_towards_the_peer_for_the_whole_restart_window_and_f_only_as_configured() {
    for forwarding in [true, false] {
        let restart = GracefulRestart { forwarding, ..GRACEFUL };
        let ours = Settings { graceful_restart: Some(restart), ..first() };
        let mut world = World::established(ours, graceful(second()));
        let check = |world: &World, restarted: bool, kept: bool| {
            let offer = offer(world);
            assert_eq!((offer.restarted, offer.notification, offer.restart_time), (restarted, true, 60));
            assert_eq!(offer.families.len(), 2);
            assert!(offer.families.iter().all(|entry| entry.forwarding == kept), "{offer:?}");
        };
        check(&world, true, forwarding);
        // Still within the window, on the third connection as on the first.
        for _ in 0..2 {
            world.break_session();
            world.run(Duration::from_secs(10));
            world.assert_established();
            check(&world, true, forwarding);
        }
        // Later a connection may be lost, but the data plane is the same.
        world.run(Duration::from_mins(1));
        world.break_session();
        world.run(Duration::from_secs(10));
        check(&world, false, true);
    }
}

#[test]
fn a_peer_that_is_new_or_comes_again_long_after_the_start_hears_of_no_restart() {
    for (late, restarted) in [(0, true), (20, true), (60, false), (3600, false)] {
        let mut world = World::new(graceful(first()), graceful(second()));
        let started = world.now;
        world.die(0, false);
        world.run(Duration::from_secs(late));
        world.nodes[0] = Session::new(graceful(first()), started, 7);
        world.listens[0] = true;
        world.input(0, Input::Up);
        world.run_until(Duration::from_secs(35), |world| world.state() == [State::Established; 2]);
        let offer = offer(&world);
        assert_eq!(offer.restarted, restarted, "{late} s after the start");
        assert!(offer.families.iter().all(|entry| entry.forwarding));
    }
}

#[test]
fn a_restart_time_beyond_twelve_bits_is_cut() {
    let long = GracefulRestart { restart_time: Duration::from_hours(9), ..GRACEFUL };
    let ours = Settings { graceful_restart: Some(long), ..first() };
    assert_eq!(offer(&World::established(ours, graceful(second()))).restart_time, 4095);
}

// ---- The one that restarts

#[test]
fn a_restarted_speaker_gets_its_routes_back_without_a_gap() {
    for silently in [false, true] {
        let mut world = helped();
        if silently {
            world.die(0, true); // the host went: no FIN, the helper does not know yet
        } else {
            world.input(0, Input::Stop(Leave::Restart));
            world.run(LATENCY);
            assert_eq!(world.tables[1].stale().len(), 2);
            world.die(0, false);
        }
        world.run(Duration::from_secs(2));
        world.start(0, graceful(first()));
        world.run_until(Duration::from_secs(35), |world| world.state() == [State::Established; 2]);
        world.run(2 * LATENCY);
        assert_eq!(world.tables[1].stale().len(), 2, "kept while its successor has not decided");
        // The first verdict knows of one route, then End-of-RIB: the other is gone.
        world.input(0, plain(&[V4]));
        world.run(2 * LATENCY);
        assert_eq!(world.tables[1].stale(), [V6]);
        world.input(0, Input::ReleaseEndOfRib);
        world.run(2 * LATENCY);
        assert_eq!(world.tables[1].prefixes(), [V4]);
        assert_eq!(world.tables[1].stale(), Vec::<String>::new());
        assert!(!world.tables[1].log.contains(&"DropAll".to_owned()), "{:?}", world.tables[1].log);
    }
}

#[test]
fn forwarding_that_is_not_kept_costs_the_stale_routes_as_soon_as_it_is_said() {
    let mut world = helped();
    world.die(0, false);
    world.run(LATENCY);
    assert_eq!(world.tables[1].stale().len(), 2);
    let honest = Some(GracefulRestart { forwarding: false, ..GRACEFUL });
    world.start(0, Settings { graceful_restart: honest, ..first() });
    world.run_until(Duration::from_secs(35), |world| world.state() == [State::Established; 2]);
    assert!(world.tables[1].routes.is_empty());
    let dropped = Family::ALL.map(|family| format!("DropFamily({family})"));
    assert!(world.tables[1].log.ends_with(&dropped), "{:?}", world.tables[1].log);
}

// ---- The helper

#[test]
fn stale_routes_go_when_the_peer_does_not_come_back_in_its_restart_time() {
    let mut world = helped();
    world.die(0, false);
    world.run(LATENCY);
    world.run(just_before(GRACEFUL.restart_time));
    assert_eq!(world.tables[1].stale().len(), 2);
    assert!(world.nodes[1].status().timers.restart.is_some());
    world.run(Duration::from_millis(1));
    assert!(world.tables[1].routes.is_empty());
    let said = |problem: &&Problem| matches!(problem, Problem::StaleRoutesDropped { .. });
    assert_eq!(world.problems[1].iter().filter(said).count(), 2);
}

#[test]
fn stale_routes_go_when_the_end_of_rib_does_not_come_in_the_stale_time() {
    let mut world = helped();
    world.die(0, false);
    world.start(0, graceful(first()));
    world.run_until(Duration::from_secs(35), |world| world.state() == [State::Established; 2]);
    world.input(0, plain(&[V4])); // and never an End-of-RIB
    world.run(Duration::from_secs(29));
    assert_eq!(world.tables[1].stale(), [V6]);
    assert!(world.nodes[1].status().timers.stale.is_some());
    world.run(Duration::from_secs(1));
    assert_eq!(world.tables[1].prefixes(), [V4]);
    world.assert_established();
}

#[test]
fn a_family_that_is_no_longer_offered_goes_at_once() {
    let mut world = helped();
    world.die(0, false);
    world.start(0, graceful(Settings { families: vec![Family::Ipv4], ..first() }));
    world.run_until(Duration::from_secs(35), |world| world.state() == [State::Established; 2]);
    assert_eq!(
        (world.tables[1].prefixes(), world.tables[1].stale()),
        (vec![V4.to_owned()], vec![V4.to_owned()])
    );
}

#[test]
fn a_peer_that_comes_back_without_graceful_restart_loses_its_stale_routes_at_once() {
    let mut world = helped();
    world.die(0, false);
    world.start(0, first());
    world.run_until(Duration::from_secs(35), |world| world.state() == [State::Established; 2]);
    assert!(world.tables[1].routes.is_empty());
}

#[test]
fn routes_stale_from_the_restart_before_do_not_live_through_the_next() {
    let mut world = helped();
    world.die(0, false);
    world.start(0, graceful(first()));
    world.run_until(Duration::from_secs(35), |world| world.state() == [State::Established; 2]);
    world.input(0, plain(&[V4, V4_B]));
    world.run(2 * LATENCY);
    assert_eq!(world.tables[1].stale(), [V6]);
    world.break_session();
    assert_eq!(world.tables[1].prefixes(), [V4_B, V4], "V6 was stale already");
    assert_eq!(world.tables[1].stale().len(), 2);
}

type End = Box<dyn Fn(&mut World)>;

#[test]
fn the_ways_a_session_ends_decide_whether_routes_stay() {
    let notified = |bytes: &'static [u8]| -> End {
        Box::new(move |world: &mut World| {
            let connection = world.nodes[1].established().unwrap();
            world.input(1, Input::Received { connection, bytes: message(3, bytes).into() });
        })
    };
    let order = |order: Input| -> End { Box::new(move |world: &mut World| world.input(1, order.clone())) };
    let silence: End = Box::new(|world| {
        world.cut = true;
        world.run(Duration::from_secs(9));
    });
    let garbage: End = Box::new(|world| {
        let connection = world.nodes[1].established().unwrap();
        world.input(1, Input::Received { connection, bytes: message(9, &[]).into() });
    });
    // How it ends for the helper, with N on both sides; whether the routes stay.
    let cases: [(&str, End, bool); 9] = [
        ("TCP lost", Box::new(World::break_session), true),
        ("hold timer", silence, true),
        ("an error of the peer's", garbage, true),
        ("NOTIFICATION 6/2 received", notified(&[6, 2]), true),
        ("NOTIFICATION 3/1 received", notified(&[3, 1]), true),
        ("hard reset received", notified(&[6, 9, 6, 2]), false),
        ("an operator's stop here", order(stop("")), false),
        ("an operator's reset here", order(Input::Reset), false),
        ("the peer is deconfigured", order(Input::Stop(Leave::Deconfigured)), false),
    ];
    for (what, end, kept) in cases {
        let mut world = helped();
        end(&mut world);
        let kept = if kept { 2 } else { 0 };
        assert_eq!((world.tables[1].routes.len(), world.tables[1].stale().len()), (kept, kept), "{what}");
    }
    // By hand, with a peer that does not set N.
    for bytes in [message(3, &[6, 4]), message(9, &[])] {
        let (mut alone, connection) = Alone::established(
            graceful(first()),
            &open_with(&[MP_IPV4, &restart(false, false, true)].concat()),
        );
        alone.receive(connection, &bytes);
        assert_eq!(changes(&alone.drain()), [&RibChange::DropAll]);
    }
    let (mut alone, connection) =
        Alone::established(graceful(first()), &open_with(&[MP_IPV4, &restart(false, false, true)].concat()));
    alone.input(Input::Closed { connection, error: "reset".to_owned() });
    assert!(changes(&alone.drain()).contains(&&RibChange::MarkStale(Family::Ipv4)), "TCP lost needs no N");
}

#[test]
fn families_the_peer_does_not_restart_gracefully_go_with_the_session() {
    let capabilities = [MP_IPV4, MP_IPV6, &restart(false, true, true)].concat();
    let (mut alone, connection) = Alone::established(graceful(first()), &open_with(&capabilities));
    alone.input(Input::Closed { connection, error: "reset".to_owned() });
    let outputs = alone.drain();
    assert_eq!(
        changes(&outputs),
        [&RibChange::MarkStale(Family::Ipv4), &RibChange::DropFamily(Family::Ipv6)]
    );
    assert_eq!(alone.session.status().stale, [Family::Ipv4]);
}

#[test]
fn an_operators_shutdown_ends_the_wait_for_a_restart() {
    let mut world = helped();
    world.die(0, false);
    world.run(LATENCY);
    assert_eq!(world.tables[1].stale().len(), 2);
    world.input(1, shutdown("", Duration::ZERO));
    assert!(world.tables[1].routes.is_empty());
    assert_eq!(world.nodes[1].poll_timeout(), None);
}

// ---- The peer restarts and we have not noticed (RFC 4724 §5)

fn gr_open(restarted: bool) -> Vec<u8> {
    open_with(&[MP_IPV4, &restart(restarted, true, true)].concat())
}

#[test]
fn a_valid_open_beside_an_established_session_replaces_it_silently_and_routes_stay() {
    let (mut alone, old) = Alone::established(graceful(first()), &gr_open(false));
    alone.run(Duration::from_secs(6));
    let new = alone.accept();
    assert_eq!(closed(&alone.drain()), [], "tracked until its OPEN comes");
    assert_eq!(alone.session.established(), Some(old));
    alone.receive(new, &gr_open(true));
    let outputs = alone.drain();
    assert_eq!((closed(&outputs), notifications(&outputs)), (vec![old], vec![]), "without a word");
    assert_eq!(
        changes(&outputs),
        [&RibChange::MarkStale(Family::Ipv4), &RibChange::DropFamily(Family::Ipv6)]
    );
    assert_eq!(alone.session.state(), State::OpenConfirm);
    assert!(matches!(alone.session.status().cause, Cause::TcpLost(_)));
    alone.receive(new, KEEPALIVE);
    assert_eq!(alone.session.established(), Some(new));
    assert!(matches!(changes(&alone.drain())[..], [RibChange::PeerUp(_)]), "stale routes stay");
    alone.receive(new, &message(2, &[0; 4]));
    assert_eq!(
        changes(&alone.drain()),
        [&RibChange::SweepStale(Family::Ipv4), &RibChange::EndOfRib(Family::Ipv4)]
    );
}

#[test]
fn an_open_that_is_not_valid_replaces_nothing() {
    let (mut alone, old) = Alone::established(graceful(first()), &gr_open(false));
    alone.run(Duration::from_secs(6));
    for bytes in [open(4, 65009, 9, [192, 0, 2, 2], &[]), message(9, &[]), KEEPALIVE.to_vec()] {
        let new = alone.accept();
        alone.receive(new, &bytes);
        let outputs = alone.drain();
        assert_eq!(closed(&outputs), [new]);
        assert_eq!(alone.session.established(), Some(old));
    }
    assert_eq!(alone.session.status().counters.flaps, 0);
}

#[test]
fn in_its_first_moments_a_session_yields_only_to_a_peer_that_says_it_has_restarted() {
    for (restarted, replaced) in [(false, false), (true, true)] {
        let (mut alone, old) = Alone::established(graceful(first()), &gr_open(false));
        let new = alone.accept();
        alone.receive(new, &gr_open(restarted));
        let outputs = alone.drain();
        assert_eq!(closed(&outputs), [if replaced { old } else { new }]);
        let said = if replaced { vec![] } else { vec![(new, 6, 7)] };
        assert_eq!(notifications(&outputs), said);
    }
}

#[test]
fn the_capability_names_our_families() {
    let world = World::established(graceful(first()), graceful(second()));
    let families: Vec<_> = offer(&world).families.iter().map(|entry| entry.family).collect();
    assert_eq!(families, Family::ALL.map(AfiSafi::from));
}
