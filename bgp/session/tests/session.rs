//! Sessions on one virtual clock: how they come up, collide, end, and what they say.

mod world;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use proxima_bgp_session::{
    AllowList, Cause, ConnectionId, Input, Output, Problem, RETRY_CEILING, Session, Settings, State,
    UpdateContent,
};
use proxima_types::{Asn, Community, Family, RouteAttributes};
use world::{LATENCY, World, desired, epoch, first, prefix, second};

const V4: &str = "203.0.113.0/24";
const V4_B: &str = "198.51.100.0/24";
const V6: &str = "2001:db8:ac::/48";

fn allow_list() -> AllowList {
    AllowList::new([V4, V4_B, V6].map(prefix))
}

fn plain(routes: &[&str]) -> Input {
    let routes: Vec<_> = routes.iter().map(|text| (*text, RouteAttributes::default())).collect();
    Input::SetDesired(desired(&allow_list(), &routes))
}

fn set(world: &mut World, routes: &[&str]) {
    world.input(0, plain(routes));
    world.run(4 * LATENCY);
}

// ---- Coming up

#[test]
fn an_active_and_a_passive_side_establish_in_the_order_of_the_rfc() {
    let world = World::established(first(), second());
    let states = |node: usize| world.states[node].iter().map(|(state, _)| *state).collect::<Vec<_>>();
    assert_eq!(states(0), [State::Connect, State::OpenSent, State::OpenConfirm, State::Established]);
    assert_eq!(states(1), [State::Active, State::OpenSent, State::OpenConfirm, State::Established]);
    let status = world.nodes[0].status();
    let terms = status.terms.expect("agreed");
    assert_eq!(terms.hold_time, Some(Duration::from_secs(9)));
    assert_eq!(terms.peer.router_id, Ipv4Addr::new(192, 0, 2, 2));
    assert!(terms.negotiated.four_octet_as && terms.negotiated.route_refresh);
    assert_eq!(status.local_address, Some("10.0.0.1".parse().unwrap()));
}

#[test]
fn the_lesser_hold_time_counts_and_zero_turns_it_off() {
    for (ours, theirs, agreed) in
        [(9, 90, Some(9)), (90, 9, Some(9)), (0, 9, None), (9, 0, None), (3, 3, Some(3))]
    {
        let hold = |settings, seconds| Settings { hold_time: Duration::from_secs(seconds), ..settings };
        let mut world = World::established(hold(first(), ours), hold(second(), theirs));
        let terms = world.nodes[0].status().terms.unwrap();
        assert_eq!(terms.hold_time, agreed.map(Duration::from_secs), "{ours} and {theirs}");
        world.run(Duration::from_hours(1));
        assert_eq!(world.state(), [State::Established; 2]);
    }
}

#[test]
fn a_peer_that_is_not_there_is_tried_again_with_growing_waits() {
    let mut world = World::new(first(), second());
    world.listens[1] = false;
    world.run(Duration::from_mins(10));
    let attempts = world.states[0].iter().filter(|(state, _)| *state == State::Connect).count();
    assert!((18..=40).contains(&attempts), "{attempts} attempts in 10 minutes");
    assert!(
        matches!(world.states[0].last(), Some((State::Active, Cause::ConnectFailed(error))) if error == "refused")
    );
    // It comes back at most one ceiling after the peer does.
    world.listens[1] = true;
    world.run(Duration::from_secs(31));
    assert_eq!(world.state(), [State::Established; 2]);
}

#[test]
fn a_peer_that_never_answers_is_reported_and_tried_again() {
    let mut world = World::new(first(), second());
    world.cut = true;
    world.run(Duration::from_mins(1));
    assert_eq!(world.nodes[0].state(), State::Connect);
    world.input(0, Input::ManualStop { reason: String::new() });
    world.input(0, Input::ManualStart);
    world.run(Duration::from_secs(4));
    assert!(world.problems[0].contains(&Problem::NoAnswer));
    world.cut = false;
    world.run(Duration::from_secs(40));
    assert_eq!(world.state(), [State::Established; 2]);
}

#[test]
fn a_peer_without_the_multiprotocol_capability_speaks_ipv4_only() {
    let only_ipv4 = Settings { families: vec![Family::Ipv4], ..second() };
    let mut world = World::established(first(), only_ipv4);
    assert_eq!(world.problems[0], [Problem::FamilyNotOffered(Family::Ipv6)]);
    set(&mut world, &[V4, V6]);
    assert_eq!(world.updates[0].len(), 1, "{:?}", world.updates[0]);
    assert!(world.nodes[1].adj_rib_in().route(prefix(V4)).is_some());
    assert!(world.nodes[0].adj_rib_out().converged());
}

#[test]
fn without_a_common_family_the_missing_capability_is_named_and_the_session_comes_back_once_it_is_there() {
    let ours = Settings { families: vec![Family::Ipv6], ..first() };
    let theirs = Settings { families: vec![Family::Ipv4], ..second() };
    let mut world = World::new(ours, theirs);
    world.run(Duration::from_mins(10));
    // Each says it, whoever is first; the data is the multiprotocol capability as it should have been offered.
    let said = [world.notifications(0), world.notifications(1)].concat();
    assert!(
        said.contains(&(2, 7, vec![1, 4, 0, 2, 0, 1])) || said.contains(&(2, 7, vec![1, 4, 0, 1, 0, 1])),
        "{said:?}"
    );
    let attempts = world.states[0].iter().filter(|(state, _)| *state == State::Connect).count();
    assert!((15..=28).contains(&attempts), "{attempts} attempts in 10 minutes");
    // The peer's operator enables the family, with nothing done here: at most one ceiling later the session is up.
    world.nodes[1] = Session::new(second(), 3);
    world.states[1].clear();
    world.input(1, Input::ManualStart);
    world.run(RETRY_CEILING + Duration::from_secs(1));
    assert_eq!(world.state(), [State::Established; 2]);
}

#[test]
fn a_missing_next_hop_is_reported_and_the_other_family_is_announced() {
    let world = &mut World::new(Settings { next_hop_ipv6: None, ..first() }, second());
    world.input(0, plain(&[V4, V6]));
    world.run(Duration::from_secs(1));
    assert_eq!(world.problems[0], [Problem::NoNextHop(Family::Ipv6)]);
    assert_eq!(
        world.nodes[1].adj_rib_in().iter().map(|(prefix, _)| prefix).collect::<Vec<_>>(),
        [prefix(V4)]
    );
}

#[test]
fn a_missing_next_hop_is_reported_once_when_there_are_routes_that_need_it() {
    let world = &mut World::established(Settings { next_hop_ipv6: None, ..first() }, second());
    set(world, &[V4]);
    assert_eq!(world.problems[0], []);
    set(world, &[V4, V6]);
    assert_eq!(world.problems[0], [Problem::NoNextHop(Family::Ipv6)]);
    set(world, &[V6]);
    assert_eq!(world.problems[0].len(), 1);
}

// ---- Collisions

/// Both connect at once; who made the connection that stays, and who said so.
fn collide(first: Settings, second: Settings) -> (usize, World) {
    let mut world = World::new(first, Settings { passive: false, ..second });
    world.run(Duration::from_secs(1));
    assert_eq!(world.state(), [State::Established; 2], "{:?}", world.states);
    assert_eq!(world.live_connections(), 1);
    (world.initiator(), world)
}

#[test]
fn the_connection_of_the_higher_identifier_survives_a_collision() {
    let (initiator, world) = collide(first(), second());
    assert_eq!(initiator, 1, "192.0.2.2 is the higher");
    let ends = [world.notifications(0), world.notifications(1)].concat();
    assert!(
        !ends.is_empty() && ends.iter().all(|(code, subcode, _)| (*code, *subcode) == (6, 7)),
        "{ends:?}"
    );
    for node in [0, 1] {
        assert_eq!(world.nodes[node].status().counters.flaps, 0);
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
    let local = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    world.input(1, Input::Accepted { connection: newcomer, local });
    assert_eq!(world.notifications(1), [(6, 7, vec![])]);
    world.run(Duration::from_mins(1));
    assert_eq!(world.nodes[1].established(), survivor);
}

#[test]
fn both_connections_live_until_an_open_decides() {
    let mut session = Session::new(first(), 1);
    let now = epoch();
    session.handle(now, Input::ManualStart);
    let Some(Output::Connect { connection: ours }) = drain(&mut session).into_iter().find(is_connect) else {
        panic!("no attempt");
    };
    let theirs = session.next_connection();
    session.handle(now, Input::Accepted { connection: theirs, local: local() });
    session.handle(now, Input::Connected { connection: ours, local: local() });
    let outputs = drain(&mut session);
    assert_eq!(closed(&outputs), [], "{outputs:?}");
    assert_eq!(opens(&outputs), [theirs, ours]);

    // The peer's identifier 192.0.2.2 is the higher: its OPEN on our connection alone decides nothing,
    receive(&mut session, ours, &open_of_second());
    assert_eq!(closed(&drain(&mut session)), []);
    assert_eq!(session.state(), State::OpenConfirm);
    // that on its own connection does.
    receive(&mut session, theirs, &open_of_second());
    let outputs = drain(&mut session);
    assert_eq!(closed(&outputs), [ours]);
    assert_eq!(notifications(&outputs), [(ours, 6, 7)]);
    receive(&mut session, theirs, KEEPALIVE);
    assert_eq!(session.established(), Some(theirs));
}

#[test]
fn of_two_connections_that_the_peer_made_the_later_one_stays() {
    // Whoever has the higher identifier: the peer has given up the earlier one.
    for router_id in [[192, 0, 2, 1], [192, 0, 2, 9]] {
        let (mut session, earlier) = open_sent(Settings { router_id: router_id.into(), ..first() });
        receive(&mut session, earlier, &open_of_second());
        let later = session.next_connection();
        session.handle(epoch(), Input::Accepted { connection: later, local: local() });
        receive(&mut session, later, &open_of_second());
        let outputs = drain(&mut session);
        assert_eq!(closed(&outputs), [earlier]);
        assert_eq!(notifications(&outputs), [(earlier, 6, 7)]);
        receive(&mut session, later, KEEPALIVE);
        assert_eq!(session.established(), Some(later));
    }
}

#[test]
fn a_connection_that_becomes_established_ends_the_other_one() {
    let mut session = Session::new(first(), 1);
    session.handle(epoch(), Input::ManualStart);
    let Some(Output::Connect { connection: ours }) = drain(&mut session).into_iter().find(is_connect) else {
        panic!("no attempt");
    };
    let theirs = session.next_connection();
    session.handle(epoch(), Input::Accepted { connection: theirs, local: local() });
    receive(&mut session, theirs, &open_of_second());
    receive(&mut session, theirs, KEEPALIVE);
    assert_eq!(session.established(), Some(theirs));
    assert_eq!(closed(&drain(&mut session)), [ours], "the attempt is given up");
    // News of it is no news any more.
    session.handle(epoch(), Input::Connected { connection: ours, local: local() });
    assert_eq!(session.established(), Some(theirs));
    assert_eq!(closed(&drain(&mut session)), [ours]);
}

// ---- Ending

#[test]
fn silence_for_the_hold_time_ends_the_session_on_both_sides() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4]);
    assert_eq!(world.nodes[1].adj_rib_in().len(), 1);
    world.cut = true;
    let silent_since = world.now;
    world.run(Duration::from_secs(9));
    for node in [0, 1] {
        assert_eq!(world.notifications(node), [(4, 0, vec![])]);
        assert!(world.nodes[node].adj_rib_in().is_empty(), "its routes went with it");
        assert!(world.nodes[node].adj_rib_out().is_empty());
        assert_eq!(world.nodes[node].status().counters.flaps, 1);
        let lost = world.nodes[node].status().since.unwrap() - silent_since;
        assert!((Duration::from_secs(6)..=Duration::from_secs(9)).contains(&lost), "{lost:?}");
    }
    world.cut = false;
    world.run(Duration::from_mins(1));
    assert_eq!(world.state(), [State::Established; 2]);
    assert_eq!(world.nodes[1].adj_rib_in().len(), 1, "and came back");
}

#[test]
fn a_peer_that_speaks_but_takes_nothing_is_given_up_after_the_send_hold_time() {
    let hold = |seconds| Settings { hold_time: Duration::from_secs(seconds), ..first() };
    for (ours, send_hold) in [(hold(9), 8 * 60), (hold(300), 10 * 60)] {
        let (mut session, connection) = open_sent(ours);
        let start = epoch();
        let mut now = start;
        let hear = |session: &mut Session, now, bytes: &[u8]| {
            session.handle(now, Input::Received { connection, bytes: Bytes::copy_from_slice(bytes) });
        };
        let open = open(4, 65000, 300, [192, 0, 2, 2], &[]);
        hear(&mut session, now, &open);
        hear(&mut session, now, KEEPALIVE);
        assert_eq!(session.state(), State::Established);
        // It takes what we send for a minute, then nothing more.
        while session.state() == State::Established {
            now += Duration::from_secs(1);
            session.handle_timeout(now);
            hear(&mut session, now, KEEPALIVE);
            if now - start <= Duration::from_mins(1) {
                session.handle(now, Input::Written { connection });
            }
        }
        assert_eq!(now - start, Duration::from_secs(60 + send_hold));
        let outputs = drain(&mut session);
        assert_eq!(notifications(&outputs), [(connection, 8, 0)]);
        assert_eq!(closed(&outputs), [connection]);
    }
}

#[test]
fn without_a_hold_time_there_is_no_send_hold_time() {
    let (mut session, connection) = open_sent(Settings { hold_time: Duration::ZERO, ..first() });
    receive(&mut session, connection, &[open_of_second(), KEEPALIVE.to_vec()].concat());
    assert_eq!(session.state(), State::Established);
    assert_eq!(session.poll_timeout(), None);
}

#[test]
fn stop_says_why_and_stays_stopped() {
    let mut world = World::established(first(), second());
    world.input(0, Input::ManualStop { reason: "maintenance".to_owned() });
    assert_eq!(world.notifications(0), [(6, 2, b"\x0bmaintenance".to_vec())]);
    world.run(Duration::from_hours(1));
    assert_eq!(world.nodes[0].state(), State::Idle);
    assert_eq!(world.nodes[0].poll_timeout(), None);
    let received = world.nodes[1].status().last_received.unwrap();
    assert_eq!(received.shutdown_message().as_deref(), Some("maintenance"));
    world.input(0, Input::ManualStart);
    world.run(Duration::from_mins(1));
    assert_eq!(world.state(), [State::Established; 2]);
}

#[test]
fn reset_begins_anew_at_once() {
    let mut world = World::established(first(), second());
    world.run(Duration::from_mins(1));
    world.input(0, Input::Reset);
    let (code, subcode, _) = world.notifications(0).remove(0);
    assert_eq!((code, subcode), (6, 4));
    world.run(Duration::from_secs(4));
    assert_eq!(world.state(), [State::Established; 2]);
}

#[test]
fn too_many_prefixes_of_a_family_end_the_session() {
    let mut world = World::established(first(), Settings { max_prefixes: Some(1), ..second() });
    set(&mut world, &[V4, V6]);
    assert_eq!(world.nodes[1].adj_rib_in().len(), 2, "one of each family is within the limit");
    set(&mut world, &[V4, V4_B, V6]);
    // AFI 1, SAFI 1, limit 1 (RFC 4486 §4).
    assert_eq!(world.notifications(1), [(6, 1, vec![0, 1, 1, 0, 0, 0, 1])]);
    assert!(world.nodes[1].adj_rib_in().is_empty());
    let cause = world.nodes[1].status().last_sent.unwrap().to_string();
    assert!(cause.contains("2 ipv4 prefixes received, max-prefixes = 1"), "{cause}");
}

// ---- Bad input: the exact NOTIFICATION

const MARKER: [u8; 16] = [0xff; 16];
const KEEPALIVE: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x13\x04";

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (19 + body.len()) as u16;
    [&MARKER[..], &length.to_be_bytes(), &[kind], body].concat()
}

/// An OPEN by hand: version, AS, hold time, identifier, parameters.
fn open(version: u8, asn: u16, hold: u16, id: [u8; 4], parameters: &[u8]) -> Vec<u8> {
    let length = [parameters.len() as u8];
    message(1, &[&[version], &asn.to_be_bytes()[..], &hold.to_be_bytes(), &id, &length, parameters].concat())
}

fn open_of_second() -> Vec<u8> {
    open(4, 65000, 9, [192, 0, 2, 2], &[])
}

fn local() -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))
}

fn drain(session: &mut Session) -> Vec<Output> {
    std::iter::from_fn(|| session.poll_output()).collect()
}

fn is_connect(output: &Output) -> bool {
    matches!(output, Output::Connect { .. })
}

fn closed(outputs: &[Output]) -> Vec<ConnectionId> {
    let close = |output: &Output| match output {
        Output::Close { connection } => Some(*connection),
        _ => None,
    };
    outputs.iter().filter_map(close).collect()
}

fn sent(outputs: &[Output], kind: u8) -> Vec<(ConnectionId, Bytes)> {
    let send = |output: &Output| match output {
        Output::Send { connection, bytes } if bytes[18] == kind => Some((*connection, bytes.clone())),
        _ => None,
    };
    outputs.iter().filter_map(send).collect()
}

fn opens(outputs: &[Output]) -> Vec<ConnectionId> {
    sent(outputs, 1).into_iter().map(|(connection, _)| connection).collect()
}

fn notifications(outputs: &[Output]) -> Vec<(ConnectionId, u8, u8)> {
    sent(outputs, 3).into_iter().map(|(connection, bytes)| (connection, bytes[19], bytes[20])).collect()
}

fn receive(session: &mut Session, connection: ConnectionId, bytes: &[u8]) {
    session.handle(epoch(), Input::Received { connection, bytes: Bytes::copy_from_slice(bytes) });
}

/// A session with an accepted connection on which OPEN was sent.
fn open_sent(settings: Settings) -> (Session, ConnectionId) {
    let mut session = Session::new(Settings { passive: true, ..settings }, 1);
    session.handle(epoch(), Input::ManualStart);
    let connection = session.next_connection();
    session.handle(epoch(), Input::Accepted { connection, local: local() });
    assert_eq!(session.state(), State::OpenSent);
    drain(&mut session);
    (session, connection)
}

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
        let (mut session, connection) = open_sent(settings);
        receive(&mut session, connection, &bytes);
        let outputs = drain(&mut session);
        let said: Vec<_> = sent(&outputs, 3).into_iter().map(|(_, bytes)| bytes[19..].to_vec()).collect();
        assert_eq!(said, [expected], "{what}");
        assert_eq!(closed(&outputs), [connection], "{what}");
        assert_eq!(session.state(), State::Idle, "{what}");
    }
}

#[test]
fn bytes_may_come_one_by_one_or_all_at_once() {
    let stream = [open_of_second(), KEEPALIVE.to_vec(), message(2, &[0; 4]), KEEPALIVE.to_vec()].concat();
    for chunk in [1, 7, stream.len()] {
        let (mut session, connection) = open_sent(first());
        for bytes in stream.chunks(chunk) {
            receive(&mut session, connection, bytes);
        }
        assert_eq!(session.state(), State::Established, "in chunks of {chunk}");
        assert_eq!(session.status().counters.messages_received, 4);
        assert!(session.adj_rib_in().complete(Family::Ipv4));
    }
}

#[test]
fn nothing_after_an_error_is_read() {
    let (mut session, connection) = open_sent(first());
    receive(&mut session, connection, &[message(9, &[]), open_of_second(), KEEPALIVE.to_vec()].concat());
    assert_eq!(session.state(), State::Idle);
    assert_eq!(notifications(&drain(&mut session)), [(connection, 1, 3)]);
}

#[test]
fn a_faulty_attribute_withdraws_its_routes_and_leaves_the_session_up() {
    let (mut session, connection) = open_sent(first());
    receive(&mut session, connection, &[open_of_second(), KEEPALIVE.to_vec()].concat());
    // ORIGIN, AS_PATH 65000, NEXT_HOP; 203.0.113.0/24.
    let origin = |value| [0x40, 1, 1, value];
    let rest = [0x40, 2, 4, 2, 1, 0xfd, 0xe8, 0x40, 3, 4, 10, 0, 0, 2];
    let update = |value: u8| {
        let attributes = [&origin(value)[..], &rest].concat();
        message(2, &[&[0, 0, 0, attributes.len() as u8], &attributes[..], &[24, 203, 0, 113]].concat())
    };
    receive(&mut session, connection, &update(0));
    assert_eq!(session.adj_rib_in().len(), 1);
    drain(&mut session);
    receive(&mut session, connection, &update(7));
    assert_eq!(session.state(), State::Established);
    assert!(session.adj_rib_in().is_empty(), "treated as withdrawn");
    let outputs = drain(&mut session);
    assert!(outputs.iter().any(|o| matches!(o, Output::Problem(Problem::MalformedUpdate(_)))), "{outputs:?}");
}

#[test]
fn a_failed_peer_is_refused_while_we_wait_and_a_stopped_session_says_so() {
    let (mut session, connection) = open_sent(first());
    receive(&mut session, connection, &message(9, &[]));
    drain(&mut session);
    let again = session.next_connection();
    session.handle(epoch(), Input::Accepted { connection: again, local: local() });
    assert_eq!(drain(&mut session), [Output::Close { connection: again }]);

    session.handle(epoch(), Input::ManualStop { reason: String::new() });
    let again = session.next_connection();
    session.handle(epoch(), Input::Accepted { connection: again, local: local() });
    assert_eq!(notifications(&drain(&mut session)), [(again, 6, 5)]);
}

// ---- What we announce

#[test]
fn the_same_desired_state_twice_sends_nothing() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4, V6]);
    let before = world.updates[0].len();
    for _ in 0..10 {
        set(&mut world, &[V6, V4]);
    }
    world.run(Duration::from_mins(10));
    assert_eq!(world.updates[0].len(), before);
    assert_eq!(world.nodes[0].status().counters.updates_sent, before as u64);
}

#[test]
fn only_the_difference_is_sent_and_withdrawals_go_first() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4, V6]);
    world.updates[0].clear();
    set(&mut world, &[V4_B, V6]);
    let announced = UpdateContent::Announced { prefixes: vec![prefix(V4_B)], attributes: Arc::default() };
    assert_eq!(world.updates[0], [UpdateContent::Withdrawn(vec![prefix(V4)]), announced]);
}

#[test]
fn prefixes_that_share_attributes_share_a_message() {
    let mut world = World::established(first(), second());
    world.sent[0].clear();
    let worse = RouteAttributes { prepend: 2, med: Some(200), communities: vec![Community(1)] };
    let routes = [(V4, worse.clone()), (V4_B, worse), (V6, RouteAttributes::default())];
    world.input(0, Input::SetDesired(desired(&allow_list(), &routes)));
    let updates: Vec<_> = world.sent[0].iter().filter(|bytes| bytes[18] == 2).collect();
    assert_eq!(updates.len(), 2);
    world.run(LATENCY);
    let route = world.nodes[1].adj_rib_in().route(prefix(V4_B)).unwrap();
    assert_eq!(route.attributes.as_path.to_string(), "64512 64512 64512");
    assert_eq!((route.attributes.med, route.attributes.local_pref), (Some(200), None));
    assert_eq!(route.next_hop.address, "10.0.0.1".parse::<IpAddr>().unwrap(), "the session's local address");
    let route = world.nodes[1].adj_rib_in().route(prefix(V6)).unwrap();
    assert_eq!(route.next_hop.address, "2001:db8::1".parse::<IpAddr>().unwrap(), "as configured");
}

#[test]
fn an_internal_peer_gets_local_pref_and_an_empty_path() {
    let second = Settings { local_as: Asn(64512), ..second() };
    let mut world = World::established(Settings { remote_as: Asn(64512), ..first() }, second);
    let worse = RouteAttributes { prepend: 2, med: Some(200), communities: Vec::new() };
    world.input(0, Input::SetDesired(desired(&allow_list(), &[(V4, worse)])));
    world.run(LATENCY);
    let route = world.nodes[1].adj_rib_in().route(prefix(V4)).unwrap();
    assert_eq!(route.attributes.as_path.length(), 0);
    assert_eq!((route.attributes.med, route.attributes.local_pref), (Some(200), Some(100)));
    assert!(!route.as_loop);
}

#[test]
fn a_route_with_our_own_as_in_its_path_is_kept_but_marked() {
    // The second side does not know that it is in our AS too: it sees an external peer, as PoPs of one AS do.
    let mut world = World::established(first(), second());
    world.input(1, Input::SetDesired(desired(&allow_list(), &[(V4, RouteAttributes::default())])));
    world.run(LATENCY);
    assert!(!world.nodes[0].adj_rib_in().route(prefix(V4)).unwrap().as_loop);

    let (mut session, connection) = open_sent(first());
    receive(&mut session, connection, &[open_of_second(), KEEPALIVE.to_vec()].concat());
    // AS_PATH 65000 64512.
    let attributes = [0x40, 1, 1, 0, 0x40, 2, 6, 2, 2, 0xfd, 0xe8, 0xfc, 0x00, 0x40, 3, 4, 10, 0, 0, 2];
    let body = [&[0, 0, 0, attributes.len() as u8], &attributes[..], &[24, 203, 0, 113]].concat();
    receive(&mut session, connection, &message(2, &body));
    assert!(session.adj_rib_in().route(prefix(V4)).unwrap().as_loop);
    assert!(session.adj_rib_out().is_empty(), "and is not announced");
}

#[test]
fn end_of_rib_follows_the_routes_of_every_session_once_released() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4]);
    let ends =
        |world: &World| world.updates[0].iter().filter(|u| matches!(u, UpdateContent::EndOfRib(_))).count();
    assert_eq!(ends(&world), 0);
    world.input(0, Input::ReleaseEndOfRib);
    world.run(LATENCY);
    assert_eq!(ends(&world), 2, "for each family, even the one without routes");
    assert!(Family::ALL.iter().all(|family| world.nodes[1].adj_rib_in().complete(*family)));

    world.updates[0].clear();
    world.input(0, Input::Reset);
    world.run(Duration::from_secs(5));
    let kinds: Vec<_> = world.updates[0].iter().map(std::mem::discriminant).collect();
    assert_eq!(kinds.len(), 3);
    assert!(matches!(world.updates[0][0], UpdateContent::Announced { .. }), "routes first");
    set(&mut world, &[V4, V6]);
    assert_eq!(ends(&world), 2, "once a session");
}

#[test]
fn a_peer_that_asks_gets_its_family_again() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4, V6]);
    world.updates[0].clear();
    let connection = world.nodes[0].established().unwrap();
    let request = Bytes::from(message(5, &[0, 2, 0, 1]));
    world.input(0, Input::Received { connection, bytes: request });
    let again = UpdateContent::Announced { prefixes: vec![prefix(V6)], attributes: Arc::default() };
    assert_eq!(world.updates[0], [again]);
}

#[test]
fn a_route_that_cannot_be_encoded_is_reported_and_holds_up_nothing() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4]);
    let monstrous = RouteAttributes { communities: (0..2000).map(Community).collect(), ..Default::default() };
    let routes = [(V4, monstrous), (V6, RouteAttributes::default())];
    world.input(0, Input::SetDesired(desired(&allow_list(), &routes)));
    world.run(LATENCY);
    assert!(
        matches!(world.problems[0][..], [Problem::Unsendable { routes: 1, .. }]),
        "{:?}",
        world.problems[0]
    );
    let held: Vec<_> = world.nodes[1].adj_rib_in().iter().map(|(prefix, _)| prefix).collect();
    assert_eq!(held, [prefix(V6)], "the old version of the route was withdrawn");
    set(&mut world, &[V4, V6]);
    assert_eq!(world.nodes[1].adj_rib_in().len(), 2);
}

#[test]
fn thousands_of_routes_leave_in_small_batches_and_the_latest_state_wins() {
    let prefixes: Vec<_> = (0..5000u32)
        .map(|i| proxima_types::Prefix::host(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + i))))
        .collect();
    let allow = AllowList::new(prefixes.iter().copied());
    let wanted = |range: std::ops::Range<usize>| {
        let routes =
            prefixes[range].iter().map(|p| (allow.exportable(*p).unwrap(), RouteAttributes::default()));
        Input::SetDesired(routes.collect())
    };
    let (mut session, connection) = open_sent(first());
    receive(&mut session, connection, &[open_of_second(), KEEPALIVE.to_vec()].concat());
    session.handle(epoch(), wanted(0..5000));
    let batch = session.poll_update().unwrap();
    assert!(batch.bytes.len() <= 4096, "{} octets", batch.bytes.len());
    // The peer is slow; meanwhile only the last ten are wanted. What was sent is withdrawn, the rest never sent.
    session.handle(epoch(), wanted(4990..5000));
    let rest: Vec<_> = std::iter::from_fn(|| session.poll_update()).map(|batch| batch.content).collect();
    assert!(matches!(&rest[..], [UpdateContent::Withdrawn(gone), UpdateContent::Announced { prefixes, .. }]
        if gone.len() == 800 && prefixes.len() == 10));
    assert!(session.adj_rib_out().converged());
}
