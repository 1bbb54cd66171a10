//! How sessions end by themselves.

use std::time::Duration;

use proxima_bgp_session::{Input, Settings, State};

use crate::{
    by_hand::{Alone, KEEPALIVE, V4, closed, message, notifications, open, open_of_second, set},
    world::{World, first, second, stop},
};

#[test]
fn silence_for_the_hold_time_ends_the_session_on_both_sides() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4]);
    assert_eq!(world.tables[1].prefixes(), [V4]);
    world.cut = true;
    let silent_since = world.now;
    world.run(Duration::from_secs(9));
    for node in [0, 1] {
        assert_eq!(world.notifications(node), [(4, 0, vec![])]);
        assert!(world.tables[node].routes.is_empty(), "its routes went with it");
        assert_eq!(world.tables[node].log.last().unwrap(), "DropAll");
        assert!(world.nodes[node].adj_rib_out().is_empty());
        assert_eq!(world.nodes[node].status().counters.flaps, 1);
        let lost = world.nodes[node].status().since.unwrap() - silent_since;
        assert!((Duration::from_secs(6)..=Duration::from_secs(9)).contains(&lost), "{lost:?}");
    }
    world.cut = false;
    world.run(Duration::from_mins(1));
    world.assert_established();
    assert_eq!(world.tables[1].prefixes(), [V4], "and came back");
}

#[test]
fn a_peer_that_speaks_but_takes_nothing_is_given_up_after_the_send_hold_time() {
    let hold = |seconds| Settings { hold_time: Duration::from_secs(seconds), ..first() };
    for (ours, send_hold) in [(hold(9), 8 * 60), (hold(300), 10 * 60)] {
        let (mut alone, connection) = Alone::established(ours, &open(4, 65000, 300, [192, 0, 2, 2], &[]));
        let start = alone.now;
        // It takes what we send for a minute, then nothing more.
        while alone.session.state() == State::Established {
            alone.run(Duration::from_secs(1));
            alone.receive(connection, KEEPALIVE);
            if alone.now - start <= Duration::from_mins(1) {
                alone.input(Input::Written { connection });
            }
        }
        assert_eq!(alone.now - start, Duration::from_secs(60 + send_hold));
        let outputs = alone.drain();
        assert_eq!(notifications(&outputs), [(connection, 8, 0)]);
        assert_eq!(closed(&outputs), [connection]);
    }
}

#[test]
fn without_a_hold_time_there_is_no_send_hold_time_and_no_timer_at_all() {
    let (alone, _) = Alone::established(Settings { hold_time: Duration::ZERO, ..first() }, &open_of_second());
    assert_eq!(alone.session.poll_timeout(), None);
}

#[test]
fn a_failed_peer_is_refused_while_we_wait_and_a_stopped_session_says_so() {
    let (mut alone, connection) = Alone::open_sent(first());
    alone.receive(connection, &message(9, &[]));
    alone.drain();
    let again = alone.accept();
    let outputs = alone.drain();
    assert_eq!((closed(&outputs), notifications(&outputs)), (vec![again], vec![]));

    alone.input(stop(""));
    let again = alone.accept();
    assert_eq!(notifications(&alone.drain()), [(again, 6, 5)]);
}

#[test]
fn the_last_errors_both_ways_are_kept_with_their_times() {
    let mut world = World::established(first(), second());
    let then = world.now;
    world.input(0, Input::Reset);
    world.run(Duration::from_secs(3));
    let (here, there) = (world.nodes[0].status(), world.nodes[1].status());
    let sent = here.last_sent.unwrap();
    assert_eq!((sent.at, sent.what.to_string().contains("6/4")), (then, true));
    let received = there.last_received.unwrap();
    assert!(received.at > then && received.what.error().1 == 4);
    world.break_session();
    let error = world.nodes[1].status().last_transport_error.unwrap();
    assert_eq!((error.at, error.what.as_str()), (world.now, "broken"));
    assert_eq!(world.nodes[1].status().counters.flaps, 2);
}
