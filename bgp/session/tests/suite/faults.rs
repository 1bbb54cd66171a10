//! Bad input: the exact NOTIFICATION, or none.

use proxima_bgp_session::{Output, PROBLEM_INTERVAL, Problem, RibChange, Settings, State};
use proxima_types::{Asn, Family};

use crate::{
    by_hand::{
        Alone, KEEPALIVE, MARKER, MP_IPV4, MP_IPV6, attributes, changes, closed, message, notifications,
        open, open_of_second, open_with, sent, unreadable_ipv6, update, update_ipv6,
    },
    world::first,
};

#[test]
fn what_is_wrong_with_a_peers_bytes_is_said_exactly() {
    let internal = Settings { remote_as: Asn(64512), ..first() };
    let id = [192, 0, 2, 2];
    let mut out_of_step = message(4, &[]);
    out_of_step[0] = 0;
    let cases: [(&str, Settings, Vec<u8>, &[u8]); 14] = [
        ("marker", first(), out_of_step, &[1, 1]),
        ("length 18", first(), [&MARKER[..], &[0, 18, 4]].concat(), &[1, 2, 0, 18]),
        ("length 4097", first(), [&MARKER[..], &[0x10, 0x01, 2]].concat(), &[1, 2, 0x10, 0x01]),
        ("KEEPALIVE of 20", first(), message(4, &[0]), &[1, 2, 0, 20]),
        ("type 9", first(), message(9, &[]), &[1, 3, 9]),
        ("version 3", first(), open(3, 65000, 9, id, &[]), &[2, 1, 0, 4]),
        ("wrong AS", first(), open(4, 65009, 9, id, &[]), &[2, 2]),
        ("AS 0", first(), open(4, 0, 9, id, &[]), &[2, 2]),
        ("identifier 0", first(), open(4, 65000, 9, [0; 4], &[]), &[2, 3]),
        ("our identifier in our AS", internal, open(4, 64512, 9, [192, 0, 2, 1], &[]), &[2, 3]),
        ("hold time 2", first(), open(4, 65000, 2, id, &[]), &[2, 6]),
        ("parameter 1", first(), open(4, 65000, 9, id, &[1, 1, 0]), &[2, 4]),
        ("KEEPALIVE in OpenSent", first(), KEEPALIVE.to_vec(), &[5, 1, 4]),
        ("UPDATE in OpenSent", first(), message(2, &[0; 4]), &[5, 1, 2]),
    ];
    for (what, settings, bytes, expected) in cases {
        let (mut alone, connection) = Alone::open_sent(settings);
        alone.receive(connection, &bytes);
        let outputs = alone.drain();
        let said: Vec<_> = sent(&outputs, 3).into_iter().map(|(_, bytes)| bytes[19..].to_vec()).collect();
        assert_eq!(said, [expected], "{what}");
        assert_eq!(closed(&outputs), [connection], "{what}");
        assert_eq!(alone.session.state(), State::Idle, "{what}");
    }
}

#[test]
fn extended_messages_are_taken_once_we_offer_them() {
    let long = [&MARKER[..], &[0x10, 0x01, 2]].concat();
    for theirs in [&[6, 0][..], &[]] {
        let (mut alone, connection) = Alone::established(first(), &open_with(theirs));
        alone.receive(connection, &long);
        assert_eq!(notifications(&alone.drain()), []);
    }
    // But no OPEN and no KEEPALIVE (RFC 8654 §4).
    for kind in [1, 4] {
        let (mut alone, connection) = Alone::established(first(), &open_with(&[6, 0]));
        alone.receive(connection, &[&MARKER[..], &[0x10, 0x01, kind]].concat());
        assert_eq!(notifications(&alone.drain()), [(connection, 1, 2)]);
    }
    let (mut alone, connection) =
        Alone::established(Settings { extended_messages: false, ..first() }, &open_with(&[6, 0]));
    alone.receive(connection, &long);
    assert_eq!(notifications(&alone.drain()), [(connection, 1, 2)]);
}

#[test]
fn bytes_may_come_one_by_one_or_all_at_once() {
    let stream = [open_of_second(), KEEPALIVE.to_vec(), message(2, &[0; 4]), KEEPALIVE.to_vec()].concat();
    for chunk in [1, 7, 30, stream.len()] {
        let (mut alone, connection) = Alone::open_sent(first());
        for bytes in stream.chunks(chunk) {
            alone.receive(connection, bytes);
        }
        assert_eq!(alone.session.state(), State::Established, "in chunks of {chunk}");
        assert_eq!(alone.session.status().counters.messages_received, 4);
        assert_eq!(*changes(&alone.drain()).last().unwrap(), &RibChange::EndOfRib(Family::Ipv4));
    }
}

#[test]
fn nothing_after_an_error_is_read() {
    let (mut alone, connection) = Alone::open_sent(first());
    alone.receive(connection, &[message(9, &[]), open_of_second(), KEEPALIVE.to_vec()].concat());
    assert_eq!(alone.session.state(), State::Idle);
    assert_eq!(notifications(&alone.drain()), [(connection, 1, 3)]);
}

#[test]
fn a_faulty_attribute_withdraws_its_routes_and_leaves_the_session_up() {
    let (mut alone, connection) = Alone::established(first(), &open_of_second());
    let mut faulty = attributes(&[65000], &[]);
    faulty[3] = 7; // ORIGIN
    alone.receive(connection, &update(&faulty));
    assert_eq!(alone.session.state(), State::Established);
    let outputs = alone.drain();
    assert!(outputs.iter().any(|o| matches!(o, Output::Problem(Problem::MalformedUpdate(_)))), "{outputs:?}");
    let [RibChange::Update(received)] = changes(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!((received.update.withdrawn.len(), received.update.reach.len()), (1, 0));
    assert_eq!(&received.message[..], update(&faulty), "as it came, for those who watch");
    assert_eq!(alone.session.status().counters.treated_as_withdrawn, 1);
}

#[test]
fn a_family_that_cannot_be_read_goes_alone_and_the_last_one_takes_the_session_with_it() {
    let (mut alone, connection) = Alone::established(first(), &open_with(&[MP_IPV4, MP_IPV6].concat()));
    alone.receive(connection, &update_ipv6());
    assert!(matches!(changes(&alone.drain())[..], [RibChange::Update(_)]));
    alone.receive(connection, &unreadable_ipv6());
    assert_eq!(alone.session.state(), State::Established);
    assert!(changes(&alone.drain()).contains(&&RibChange::DropFamily(Family::Ipv6)));
    assert_eq!(alone.session.status().disabled, [Family::Ipv6]);
    // From now on it is ignored; IPv4 goes on.
    alone.receive(connection, &update_ipv6());
    assert_eq!(changes(&alone.drain()), Vec::<&RibChange>::new());
    alone.receive(connection, &update(&attributes(&[65000], &[])));
    assert!(matches!(changes(&alone.drain())[..], [RibChange::Update(_)]));

    // Where there is no other family the session ends.
    let ipv6 = Settings { families: vec![Family::Ipv6], ..first() };
    let (mut alone, connection) = Alone::established(ipv6, &open_with(MP_IPV6));
    alone.receive(connection, &unreadable_ipv6());
    assert_eq!(notifications(&alone.drain()), [(connection, 3, 9)]);
}

#[test]
fn a_flood_of_faults_is_told_once_in_a_while_and_counted_in_full() {
    let (mut alone, connection) = Alone::established(first(), &open_of_second());
    let faulty = update(&attributes(&[65001], &[]));
    let mut told = 0;
    for _ in 0..1000 {
        alone.receive(connection, &faulty);
        let outputs = alone.drain();
        told += outputs
            .iter()
            .filter(|output| matches!(output, Output::Problem(Problem::FirstAs { .. })))
            .count();
    }
    assert_eq!(told, 1);
    assert_eq!(alone.session.status().counters.treated_as_withdrawn, 1000);
    alone.now += PROBLEM_INTERVAL;
    alone.receive(connection, &faulty);
    assert!(alone.drain().iter().any(|output| matches!(output, Output::Problem(_))));
}
