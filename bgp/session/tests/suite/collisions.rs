//! Two connections at once.

use std::{net::Ipv4Addr, time::Duration};

use proxima_bgp_session::{Input, Output, Session, Settings, State};

use crate::{
    by_hand::{
        Alone, KEEPALIVE, closed, drain, is_connect, local, notifications, open_of_second, open_with, opens,
        restart,
    },
    world::{World, epoch, first, graceful, second},
};

/// Both connect at once; who made the connection that stays.
fn collide(first: Settings, second: Settings) -> (usize, World) {
    let mut world = World::new(first, Settings { passive: false, ..second });
    world.run(Duration::from_secs(1));
    world.assert_established();
    assert_eq!(world.live_connections(), 1);
    (world.initiator(), world)
}

#[test]
fn the_connection_of_the_higher_identifier_survives_a_collision() {
    for settings in [|settings| settings, graceful] {
        let (initiator, world) = collide(settings(first()), settings(second()));
        assert_eq!(initiator, 1, "192.0.2.2 is the higher");
        let ends = [world.notifications(0), world.notifications(1)].concat();
        assert!(
            !ends.is_empty() && ends.iter().all(|(code, subcode, _)| (*code, *subcode) == (6, 7)),
            "{ends:?}"
        );
        for node in [0, 1] {
            assert_eq!(world.nodes[node].status().counters.flaps, 0);
        }
    }

    let id = |last| Ipv4Addr::new(192, 0, 2, last);
    let (initiator, _) =
        collide(Settings { router_id: id(9), ..first() }, Settings { router_id: id(2), ..second() });
    assert_eq!(initiator, 0, "192.0.2.9 is the higher");
}

#[test]
fn with_equal_identifiers_the_higher_as_number_survives_a_collision() {
    let same = Ipv4Addr::new(192, 0, 2, 5);
    let (initiator, _) =
        collide(Settings { router_id: same, ..first() }, Settings { router_id: same, ..second() });
    assert_eq!(initiator, 1, "65000 is the higher");
}

#[test]
fn an_established_connection_survives_every_newcomer() {
    let mut world = World::established(first(), second());
    let survivor = world.nodes[1].established();
    let newcomer = world.nodes[1].next_connection();
    world.input(1, Input::Accepted { connection: newcomer, local: local() });
    assert_eq!(world.notifications(1), [(6, 7, vec![])]);
    world.run(Duration::from_mins(1));
    assert_eq!(world.nodes[1].established(), survivor);
}

#[test]
fn both_connections_live_until_an_open_decides() {
    let mut session = Session::new(first(), epoch(), 1);
    let now = epoch();
    session.handle(now, Input::Up);
    let Some(Output::Connect { connection: ours }) = drain(&mut session).into_iter().find(is_connect) else {
        panic!("no attempt");
    };
    let mut alone = Alone { session, now };
    let theirs = alone.accept();
    alone.input(Input::Connected { connection: ours, local: local() });
    let outputs = alone.drain();
    assert_eq!(closed(&outputs), [], "{outputs:?}");
    assert_eq!(opens(&outputs), [theirs, ours]);

    // The peer's identifier 192.0.2.2 is the higher: its OPEN on our connection alone decides nothing,
    alone.receive(ours, &open_of_second());
    assert_eq!(closed(&alone.drain()), []);
    assert_eq!(alone.session.state(), State::OpenConfirm);
    // that on its own connection does.
    alone.receive(theirs, &open_of_second());
    let outputs = alone.drain();
    assert_eq!(closed(&outputs), [ours]);
    assert_eq!(notifications(&outputs), [(ours, 6, 7)]);
    alone.receive(theirs, KEEPALIVE);
    assert_eq!(alone.session.established(), Some(theirs));
}

#[test]
fn of_two_connections_that_the_peer_made_the_later_one_stays() {
    // Whoever has the higher identifier: the peer has given up the earlier one.
    for router_id in [[192, 0, 2, 1], [192, 0, 2, 9]] {
        let (mut alone, earlier) = Alone::open_sent(Settings { router_id: router_id.into(), ..first() });
        alone.receive(earlier, &open_of_second());
        let later = alone.accept();
        alone.receive(later, &open_of_second());
        let outputs = alone.drain();
        assert_eq!(closed(&outputs), [earlier]);
        assert_eq!(notifications(&outputs), [(earlier, 6, 7)]);
        alone.receive(later, KEEPALIVE);
        assert_eq!(alone.session.established(), Some(later));
    }
}

#[test]
fn a_connection_that_becomes_established_ends_the_other_one() {
    let mut session = Session::new(first(), epoch(), 1);
    let now = epoch();
    session.handle(now, Input::Up);
    let Some(Output::Connect { connection: ours }) = drain(&mut session).into_iter().find(is_connect) else {
        panic!("no attempt");
    };
    let mut alone = Alone { session, now };
    let theirs = alone.accept();
    alone.receive(theirs, &open_of_second());
    alone.receive(theirs, KEEPALIVE);
    assert_eq!(alone.session.established(), Some(theirs));
    assert_eq!(closed(&alone.drain()), [ours], "the attempt is given up");
    // News of it is no news any more.
    alone.input(Input::Connected { connection: ours, local: local() });
    assert_eq!(alone.session.established(), Some(theirs));
    assert_eq!(closed(&alone.drain()), [ours]);
}

#[test]
fn at_most_two_connections_live_however_many_come() {
    for settings in [first(), graceful(first())] {
        let capabilities = restart(false, true, true);
        let (mut alone, _) = Alone::established(settings, &open_with(&capabilities));
        alone.run(Duration::from_secs(6));
        let mut live = 1;
        for _ in 0..1000 {
            alone.accept();
            live += 1;
            live -= closed(&alone.drain()).len();
            assert!(live <= 2);
        }
        assert_eq!(alone.session.state(), State::Established);
    }
}
