//! Another process goes on with an established session.

use std::{sync::Arc, time::Duration};

use proxima_bgp_session::{
    Input, Leave, Local, ResumeError, RibChange, Session, Settings, State, UpdateContent,
};
use proxima_types::{Family, RouteAttributes};

use crate::{
    by_hand::{
        Alone, KEEPALIVE, MP_IPV4, MP_IPV6, ROUTE_REFRESH, V4, V4_B, V6, allow_list, attributes, changes,
        closed, drain, local, message, notifications, open_of_second, open_with, plain, set, unreadable_ipv6,
        update, update_ipv6, update_of,
    },
    world::{LATENCY, World, desired, epoch, first, graceful, prefix, second},
};

fn announcing() -> World {
    let mut world = World::established(first(), second());
    world.input(0, Input::ReleaseEndOfRib);
    set(&mut world, &[V4, V6]);
    world.sent[0].clear();
    world.updates[0].clear();
    world
}

#[test]
fn the_peer_sees_nothing_of_a_hand_over() {
    let mut world = announcing();
    let flaps = |world: &World| world.nodes[1].status().counters.flaps;
    let since = |world: &World| [0, 1].map(|node| world.nodes[node].status().since);
    let up_since = since(&world);
    for _ in 0..3 {
        world.hand_over(0, first());
        world.run(Duration::from_secs(20)); // more than twice the hold time
        world.input(0, plain(&[V4, V6]));
        world.run(Duration::from_secs(1));
        world.input(0, Input::ReleaseEndOfRib);
        world.run(Duration::from_secs(20));
    }
    world.assert_established();
    assert!(world.types_sent(0).is_empty(), "nothing but KEEPALIVEs");
    assert_eq!((flaps(&world), since(&world)), (0, up_since), "up for as long as it has been");
    assert_eq!(world.tables[1].prefixes(), [V4.to_owned(), V6.to_owned()]);
}

#[test]
fn a_successor_sends_what_differs_and_withdraws_only_once_it_knows_everything() {
    let mut world = announcing();
    world.hand_over(0, first());
    let worse = RouteAttributes { prepend: 1, ..RouteAttributes::default() };
    world.input(0, Input::SetDesired(desired(&allow_list(), &[(V4_B, worse)])));
    world.run(2 * LATENCY);
    assert_eq!(world.tables[1].prefixes(), [V4_B, V4, V6], "what it has no verdict on stays");
    world.input(0, Input::ReleaseEndOfRib);
    world.run(2 * LATENCY);
    assert_eq!(world.tables[1].prefixes(), [V4_B]);
    assert_eq!(world.types_sent(0), [2, 2, 2], "an announcement, two withdrawals and no second End-of-RIB");
}

#[test]
fn a_peer_that_asks_is_answered_once_the_successor_knows_everything() {
    // What is not between the marks of an answer is gone for the peer (RFC 7313 section 4).
    let mut world = announcing();
    world.hand_over(0, first());
    world.input(1, Input::Refresh(Family::Ipv4));
    world.run(Duration::from_secs(2));
    assert!(world.types_sent(0).is_empty(), "no mark yet");
    world.input(0, plain(&[V4, V6]));
    world.input(0, Input::ReleaseEndOfRib);
    world.run(2 * LATENCY);
    assert_eq!(world.types_sent(0), [5, 2, 5], "the marks around the route");
    assert_eq!(world.tables[1].prefixes(), [V4, V6]);
}

#[test]
fn the_hold_time_goes_on_where_it_was() {
    let mut world = announcing();
    world.run(Duration::from_secs(5));
    world.cut = true;
    world.run(Duration::from_secs(4));
    let silent_until = world.nodes[0].status().timers.hold.unwrap();
    world.hand_over(0, first());
    assert_eq!(world.nodes[0].status().timers.hold, Some(silent_until));
    world.run(silent_until - world.now);
    assert_ne!(world.nodes[0].state(), State::Established);
}

#[test]
fn a_message_in_part_is_completed_by_the_successor() {
    let (mut alone, connection) = Alone::established(first(), &open_of_second());
    let bytes = update(&attributes(&[65000], &[]));
    alone.receive(connection, &bytes[..30]);
    alone.input(Input::Stop(Leave::Upgrade));
    let snapshot = alone.session.detach(alone.now).unwrap();
    let (mut session, connection) = Session::resume(first(), 2, alone.now, snapshot).unwrap();
    session.handle(
        alone.now,
        Input::Received { connection, bytes: bytes::Bytes::copy_from_slice(&bytes[30..]) },
    );
    let outputs = drain(&mut session);
    assert_eq!(changes(&outputs).len(), 2, "PeerUp, then the UPDATE: {outputs:?}");
}

/// The same session in another process.
fn succeeded(alone: &mut Alone) -> proxima_bgp_session::ConnectionId {
    alone.input(Input::Stop(Leave::Upgrade));
    alone.drain();
    let text = serde_json::to_string(&alone.session.detach(alone.now).unwrap()).unwrap();
    let snapshot = serde_json::from_str(&text).unwrap();
    let settings = alone.session.settings().clone();
    let (session, connection) = Session::resume(settings, 2, alone.now, snapshot).unwrap();
    alone.session = session;
    connection
}

#[test]
fn a_family_that_could_not_be_read_stays_disabled_in_the_successor() {
    let end_of_rib = update_of(&[0x80, 15, 3, 0, 2, 1]);
    let (mut alone, connection) = Alone::established(first(), &open_with(&[MP_IPV4, MP_IPV6].concat()));
    alone.receive(connection, &end_of_rib);
    assert_eq!(alone.session.status().complete, [Family::Ipv6]);
    alone.receive(connection, &unreadable_ipv6());
    assert_eq!(alone.session.status().disabled, [Family::Ipv6]);
    assert_eq!(alone.session.status().complete, [], "nobody knows what there is");
    for _ in 0..2 {
        let connection = succeeded(&mut alone);
        assert_eq!(alone.session.status().disabled, [Family::Ipv6]);
        alone.drain();
        alone.receive(connection, &update_ipv6());
        alone.receive(connection, &end_of_rib);
        assert_eq!(changes(&alone.drain()).len(), 0, "its routes are left out for the rest of the session");
    }
}

#[test]
fn the_subnet_that_an_external_peer_shares_goes_over_with_its_session() {
    let mut alone = Alone::active(first());
    let connection = alone.session.next_connection();
    let subnet = Some(prefix("10.0.0.0/24"));
    alone.input(Input::Accepted { connection, local: Local { subnet, ..local() } });
    alone.receive(connection, &open_of_second());
    alone.receive(connection, KEEPALIVE);
    for _ in 0..2 {
        succeeded(&mut alone);
        let outputs = alone.drain();
        let [RibChange::PeerUp(up)] = changes(&outputs)[..] else { panic!("{outputs:?}") };
        assert_eq!(up.local, Local { subnet, ..local() });
    }
}

#[test]
fn a_refresh_without_marks_that_was_under_way_is_answered_by_the_successor() {
    let (mut alone, connection) = Alone::established(first(), &open_with(&[MP_IPV4, ROUTE_REFRESH].concat()));
    alone.input(plain(&[V4]));
    alone.input(Input::ReleaseEndOfRib);
    alone.updates();
    alone.receive(connection, &message(5, &[0, 1, 0, 1]));
    for _ in 0..2 {
        succeeded(&mut alone); // twice, before it knows what is desired
    }
    assert_eq!(alone.updates(), [], "not yet");
    alone.input(plain(&[V4]));
    alone.input(Input::ReleaseEndOfRib);
    let announced = |batch: &proxima_bgp_session::UpdateBatch| match &batch.content {
        UpdateContent::Announced { prefixes, .. } => prefixes.len(),
        _ => 0,
    };
    assert_eq!(alone.updates().iter().map(announced).collect::<Vec<_>>(), [1], "once");
    succeeded(&mut alone);
    alone.input(plain(&[V4]));
    alone.input(Input::ReleaseEndOfRib);
    assert_eq!(alone.updates(), [], "it was answered");
}

#[test]
fn a_snapshot_survives_being_written_down() {
    let mut world = World::established(graceful(first()), graceful(second()));
    set(&mut world, &[V4, V6]);
    world.input(0, Input::Stop(Leave::Upgrade));
    let snapshot = world.nodes[0].detach(world.now).unwrap();
    let text = serde_json::to_string(&snapshot).unwrap();
    let read = serde_json::from_str(&text).unwrap();
    assert_eq!(snapshot, read);
    let octets = snapshot.sent_open.len() + snapshot.received_open.len();
    assert!(text.len() < 2 * octets + 2000, "octets are no arrays of numbers: {text}");
    let (session, _) = Session::resume(graceful(first()), 3, world.now, read).unwrap();
    assert_eq!(session.state(), State::Established);
    assert_eq!(session.adj_rib_out().len(), 2);
    assert_eq!(session.status().terms, world.nodes[0].status().terms);
    let proxima_bgp_session::Status { sent_open, terms, .. } = session.status();
    assert!(Arc::ptr_eq(&sent_open.unwrap(), &terms.unwrap().ours), "told without a copy of it");
}

#[test]
fn after_an_upgrade_nothing_is_said_any_more_unless_it_is_called_off() {
    let mut world = announcing();
    world.input(0, Input::Stop(Leave::Upgrade));
    world.input(0, plain(&[V4_B]));
    world.input(0, Input::Reset);
    assert_eq!(world.nodes[0].poll_timeout(), None);
    assert!(world.types_sent(0).is_empty());
    world.input(0, plain(&[V4]));
    world.input(0, Input::Up);
    world.run(Duration::from_secs(30));
    world.assert_established();
    assert_eq!(world.tables[1].prefixes(), [V4]);
}

#[test]
fn only_an_established_session_is_handed_over_and_all_else_closes_silently() {
    let (mut alone, connection) = Alone::open_sent(first());
    alone.input(Input::Stop(Leave::Upgrade));
    let outputs = alone.drain();
    assert_eq!((closed(&outputs), notifications(&outputs)), (vec![connection], vec![]));
    assert_eq!(alone.session.detach(alone.now), None);
}

#[test]
fn a_successor_with_other_settings_begins_a_new_session() {
    let mut world = announcing();
    world.hand_over(0, Settings { remote_as: proxima_types::Asn(65009), ..first() });
    assert_eq!(world.notifications(0), [(6, 6, vec![])], "as a reload has it");
    let mut world = announcing();
    world.hand_over(0, Settings { hold_time: Duration::from_secs(30), ..first() });
    assert_eq!(world.notifications(0), [(6, 6, vec![])]);
    world.input(0, plain(&[V4]));
    world.run(Duration::from_secs(31));
    world.assert_established();
    assert_eq!(world.tables[1].prefixes(), [V4]);
}

#[test]
fn what_a_reload_changes_in_place_a_successor_does_too() {
    let mut world = announcing();
    world.hand_over(0, Settings { next_hop_ipv4: Some([10, 9, 8, 7].into()), ..first() });
    world.input(0, plain(&[V4, V6]));
    world.run(2 * LATENCY);
    assert_eq!(world.types_sent(0), [2], "the IPv4 route again");
    world.hand_over(0, Settings { enforce_first_as: false, ..first() });
    world.run(2 * LATENCY);
    assert_eq!(world.types_sent(0)[1..3], [5, 5], "routes that were refused before may be taken now");
    world.assert_established();
}

#[test]
fn the_last_words_on_a_session_withdraw_and_say_why() {
    let mut world = announcing();
    world.input(0, Input::Stop(Leave::Upgrade));
    let snapshot = world.nodes[0].detach(world.now).unwrap();
    let words = Session::last_words(world.now, snapshot, Leave::Deconfigured).unwrap();
    let mut kinds = Vec::new();
    let mut rest = &words[..];
    while let [.., _] = rest {
        let length = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
        kinds.push(rest[18]);
        assert!(rest[18] != 3 || rest[19..] == [6, 3], "peer deconfigured");
        rest = &rest[length..];
    }
    assert_eq!(kinds, [2, 2, 3]);
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    let (alone, _) = Alone::established(first(), &open_of_second());
    let snapshot = alone.session.detach(alone.now).unwrap();
    let mut other = snapshot.clone();
    other.settings.remote_as = proxima_types::Asn(65009);
    let refused = Session::resume(first(), 1, epoch(), other).unwrap_err();
    assert!(matches!(&refused, ResumeError::Refused(why) if why.contains("remote-as = 65009")), "{refused}");
    let mut broken = snapshot.clone();
    broken.received_open = KEEPALIVE.to_vec();
    assert_eq!(
        Session::resume(first(), 1, epoch(), broken).unwrap_err(),
        ResumeError::NotAnOpen("received_open")
    );
    let mut broken = snapshot;
    broken.sent_open = message(1, &[]);
    assert_eq!(
        Session::resume(first(), 1, epoch(), broken).unwrap_err(),
        ResumeError::NotAnOpen("sent_open")
    );
}

#[test]
fn a_successor_asks_for_the_peers_routes() {
    let mut world = World::established(first(), second());
    let theirs = desired(&allow_list(), &[(V4, RouteAttributes::default())]);
    world.input(1, Input::SetDesired(theirs));
    world.run(2 * LATENCY);
    world.hand_over(0, first());
    assert_eq!(world.tables[0].prefixes(), Vec::<String>::new());
    for family in Family::ALL {
        world.input(0, Input::Refresh(family));
    }
    world.run(4 * LATENCY);
    assert_eq!((world.tables[0].prefixes(), world.tables[0].stale()), (vec![V4.to_owned()], vec![]));
}
