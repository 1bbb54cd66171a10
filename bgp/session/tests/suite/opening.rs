//! OPEN, and the way to Established.

use std::{net::Ipv4Addr, time::Duration};

use proxima_bgp_session::{Cause, Held, Input, Output, Problem, RETRY_CEILING, Session, Settings, State};
use proxima_bgp_wire::{Capability, Families, Open, Role};
use proxima_types::{Asn, Family};

use crate::{
    by_hand::{
        Alone, KEEPALIVE, MP_IPV6, V4, V6, closed, drain, is_connect, local, message, notifications, open,
        open_of_second, open_with, opens, plain, sent, set,
    },
    world::{GRACEFUL, World, epoch, first, prefix, second, shutdown, stop},
};

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
    assert_eq!(terms.ours, status.sent_open.unwrap());
    let negotiated = terms.negotiated;
    assert!(negotiated.four_octet_as && negotiated.route_refresh && negotiated.enhanced_refresh);
    assert!(negotiated.extended_messages_send && !negotiated.extended_next_hop_send);
    assert_eq!(status.local.unwrap().address, Ipv4Addr::new(10, 0, 0, 1));
    assert!(status.timers.hold.is_some() && status.timers.keepalive.is_some());
}

#[test]
fn what_the_rib_is_told_of_a_peer_holds_both_opens_as_they_went() {
    let world = World::established(first(), second());
    let up = world.tables[0].peer.as_ref().unwrap();
    assert_eq!((up.asn, up.router_id), (Asn(65000), Ipv4Addr::new(192, 0, 2, 2)));
    assert_eq!(up.sent_open, world.sent[0][0]);
    assert_eq!(up.received_open, world.sent[1][0]);
}

#[test]
fn each_option_is_offered_only_where_it_is_configured() {
    let offered = |settings: Settings| Alone::open_sent(settings).0.session.status().sent_open.unwrap();
    let codes = |open: &Open| open.capabilities.iter().map(Capability::code).collect::<Vec<_>>();
    let bare = Settings { extended_messages: false, ..first() };
    assert_eq!(codes(&offered(bare.clone())), [1, 1, 2, 65, 70]);
    assert_eq!(codes(&offered(first())), [1, 1, 2, 6, 65, 70]);
    let everything = Settings {
        add_path: true,
        extended_next_hop: true,
        role: Some(Role::Customer),
        graceful_restart: Some(GRACEFUL),
        ..first()
    };
    assert_eq!(codes(&offered(everything.clone())), [1, 1, 2, 5, 6, 9, 64, 65, 69, 70]);
    let ipv6_only = Settings { families: vec![Family::Ipv6], extended_next_hop: true, ..bare };
    assert_eq!(codes(&offered(ipv6_only)), [1, 2, 65, 70], "there is no IPv4 route to find a next hop for");
    let internal = Settings { remote_as: Asn(64512), ..everything };
    assert!(!codes(&offered(internal)).contains(&9), "a role is for another AS");
}

#[test]
fn unknown_and_repeated_capabilities_in_one_or_many_parameters_are_fine() {
    // Multiprotocol IPv6 twice, an unknown one, four-octet AS; then all in parameters of their own.
    let many = [MP_IPV6, &[222, 3, 1, 2, 3], MP_IPV6, &[65, 4, 0, 0, 0xfd, 0xe8]];
    let one = many.concat();
    let each: Vec<u8> = many.iter().flat_map(|c| [&[2, c.len() as u8], *c].concat()).collect();
    for parameters in [[&[2, one.len() as u8], &one[..]].concat(), each] {
        let (alone, _) = Alone::established(first(), &open(4, 65000, 9, [192, 0, 2, 2], &parameters));
        let negotiated = alone.session.status().terms.unwrap().negotiated;
        assert_eq!(negotiated.families, Families::from_iter([Family::Ipv6]));
        assert!(negotiated.four_octet_as);
    }
}

#[test]
fn parameters_of_extended_length_are_understood() {
    // RFC 9072: 255, 255, the length in two octets; each parameter's length in two octets.
    let parameters = [&[255, 0, 9, 2, 0, 6][..], MP_IPV6].concat();
    let body = [&[4, 0xfd, 0xe8, 0, 9, 192, 0, 2, 2, 255][..], &parameters].concat();
    let (alone, _) = Alone::established(first(), &message(1, &body));
    let negotiated = alone.session.status().terms.unwrap().negotiated;
    assert_eq!(negotiated.families, Families::from_iter([Family::Ipv6]));
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
        world.assert_established();
    }
}

#[test]
fn a_connection_without_an_open_is_given_up_after_four_minutes() {
    let (mut alone, connection) = Alone::open_sent(first());
    alone.run(Duration::from_mins(4) - Duration::from_millis(1));
    assert_eq!(alone.session.state(), State::OpenSent);
    alone.run(Duration::from_millis(1));
    let outputs = alone.drain();
    assert_eq!(notifications(&outputs), [(connection, 4, 0)]);
    assert_eq!(closed(&outputs), [connection]);
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
    world.assert_established();
}

#[test]
fn a_peer_that_never_answers_is_reported_and_tried_again() {
    let mut world = World::new(first(), second());
    world.cut = true;
    world.run(Duration::from_mins(1));
    assert_eq!(world.nodes[0].state(), State::Connect);
    world.input(0, stop(""));
    world.input(0, Input::Up);
    world.run(Duration::from_secs(4));
    assert!(world.problems[0].contains(&Problem::NoAnswer));
    world.cut = false;
    world.run(Duration::from_secs(40));
    world.assert_established();
}

#[test]
fn up_ends_every_wait() {
    let mut world = World::new(first(), second());
    world.listens[1] = false;
    world.run(Duration::from_mins(10));
    world.listens[1] = true;
    world.input(0, Input::Up);
    world.run(Duration::from_millis(200));
    world.assert_established();
}

#[test]
fn a_peer_that_is_found_is_tried_at_once_unless_the_session_is_held_down() {
    let mut world = World::new(first(), second());
    world.listens[1] = false;
    world.run(Duration::from_mins(10));
    world.listens[1] = true;
    world.input(0, Input::PeerFound);
    world.run(Duration::from_millis(200));
    world.assert_established();
    world.input(0, shutdown("held", Duration::ZERO));
    world.input(0, Input::PeerFound);
    world.run(Duration::from_mins(1));
    assert_eq!(world.nodes[0].state(), State::Idle);

    let mut world = without_a_common_family();
    world.run(Duration::from_mins(1));
    world.input(0, Input::PeerFound);
    assert_eq!(world.nodes[0].status().held, Some(Held::Capability));
    assert_eq!(world.nodes[0].state(), State::Active);
}

#[test]
fn whoever_shows_itself_without_end_brings_one_early_attempt() {
    let mut world = World::new(first(), second());
    let attempts =
        |world: &World| world.states[0].iter().filter(|(state, _)| *state == State::Connect).count();
    world.listens[1] = false;
    world.run(Duration::from_mins(10));
    let before = attempts(&world);
    for _ in 0..1000 {
        world.input(0, Input::PeerFound);
        world.run(Duration::from_millis(10));
    }
    // The early one, and the next in its turn.
    assert!((1..=2).contains(&(attempts(&world) - before)), "{} attempts in 10 s", attempts(&world) - before);
    // The wait is as long as before: an advertisement begins no backoff anew.
    let before = attempts(&world);
    world.run(Duration::from_mins(10));
    assert!((18..=40).contains(&(attempts(&world) - before)), "{}", attempts(&world) - before);

    // Once it was stable, the next one that shows itself is tried at once.
    world.listens[1] = true;
    world.run(Duration::from_secs(31));
    world.assert_established();
    world.run(Duration::from_mins(10));
    world.listens[1] = false;
    world.break_session();
    world.run(Duration::from_mins(10));
    world.listens[1] = true;
    world.input(0, Input::PeerFound);
    world.run(Duration::from_millis(200));
    world.assert_established();
}

#[test]
fn a_peer_without_the_multiprotocol_capability_speaks_ipv4_only() {
    let only_ipv4 = Settings { families: vec![Family::Ipv4], ..second() };
    let mut world = World::established(first(), only_ipv4);
    assert_eq!(world.problems[0], [Problem::FamilyNotOffered(Family::Ipv6)]);
    set(&mut world, &[V4, V6]);
    assert_eq!(world.updates[0].len(), 1, "{:?}", world.updates[0]);
    assert_eq!(world.tables[1].prefixes(), [V4]);
    assert!(world.nodes[0].adj_rib_out().converged());

    // By hand, without any capability at all.
    let (alone, _) = Alone::established(first(), &open_of_second());
    assert_eq!(alone.session.status().terms.unwrap().negotiated.families, Families::IPV4);
}

#[test]
fn a_peer_that_refuses_the_optional_parameter_gets_an_open_without_capabilities() {
    let (mut alone, connection) = Alone::open_sent(first());
    alone.receive(connection, &message(3, &[2, 4]));
    assert_eq!(closed(&alone.drain()), [connection]);
    alone.run(Duration::from_secs(1));
    let again = alone.accept();
    let outputs = alone.drain();
    assert_eq!(opens(&outputs), [again]);
    assert_eq!(sent(&outputs, 1)[0].1[28], 0, "no parameters");
    // A two-octet speaker of IPv4 it is then.
    alone.receive(again, &open_of_second());
    alone.receive(again, KEEPALIVE);
    assert_eq!(alone.session.state(), State::Established);
}

#[test]
fn a_large_as_number_goes_as_as_trans_and_in_the_capability() {
    let mut alone = Alone::active(Settings { local_as: Asn(4_200_000_000), ..first() });
    alone.accept();
    let open = sent(&alone.drain(), 1).remove(0).1;
    assert_eq!(open[20..22], 23456u16.to_be_bytes());
    let capability = [&[65, 4][..], &4_200_000_000u32.to_be_bytes()].concat();
    assert!(open.windows(6).any(|window| window == capability));
}

// ---- A missing capability (2/7)

fn without_a_common_family() -> World {
    let ours = Settings { families: vec![Family::Ipv6], ..first() };
    let theirs = Settings { families: vec![Family::Ipv4], ..second() };
    World::new(ours, theirs)
}

#[test]
fn a_missing_capability_is_named_in_the_notification_and_not_tried_again_by_itself() {
    let mut world = without_a_common_family();
    world.run(Duration::from_hours(1));
    // Whoever is first says it, and nobody says anything else: the data is the multiprotocol capability of the family it
    // misses, as it should have been offered.
    let (ipv6, ipv4) = ((2, 7, vec![1, 4, 0, 2, 0, 1]), (2, 7, vec![1, 4, 0, 1, 0, 1]));
    let (ours, theirs) = (world.notifications(0), world.notifications(1));
    assert!(!ours.is_empty() || !theirs.is_empty());
    assert!(ours.iter().all(|said| *said == ipv6), "{ours:?}");
    assert!(theirs.iter().all(|said| *said == ipv4), "{theirs:?}");
    let attempts = world.states[0].iter().filter(|(state, _)| *state == State::Connect).count();
    assert_eq!(attempts, 1, "in an hour");
    assert_eq!(world.nodes[0].state(), State::Active, "where the peer is welcome");
    assert_eq!(world.nodes[0].status().held, Some(Held::Capability));
}

#[test]
fn after_a_missing_capability_an_operator_here_or_a_connection_of_the_peer_brings_the_session_up() {
    for order in [Input::Up, Input::Reset] {
        let mut world = without_a_common_family();
        world.run(Duration::from_mins(10));
        world.die(1, false);
        world.start(1, second());
        world.run(Duration::from_mins(10));
        assert_eq!(world.nodes[0].state(), State::Active);
        world.input(0, order);
        world.run(Duration::from_secs(2));
        world.assert_established();
        assert_eq!(world.nodes[0].status().held, None);
    }
    let mut world = without_a_common_family();
    world.run(Duration::from_mins(10));
    world.die(1, false);
    world.start(1, Settings { passive: false, ..second() });
    world.run(RETRY_CEILING);
    world.assert_established();
}

// ---- Roles

fn with_roles(ours: Option<Role>, theirs: Option<Role>, strict: bool) -> World {
    let ours = Settings { role: ours, role_strict: strict, ..first() };
    let mut world = World::new(ours, Settings { role: theirs, ..second() });
    world.run(Duration::from_secs(1));
    world
}

#[test]
fn roles_that_go_together_establish_and_others_are_refused_with_2_11() {
    use Role::{Customer, Peer, Provider, RouteServer, RouteServerClient};
    let all = [Provider, RouteServer, RouteServerClient, Customer, Peer];
    let pairs = [(Provider, Customer), (RouteServer, RouteServerClient), (Peer, Peer)];
    for (ours, theirs) in all.into_iter().flat_map(|ours| all.map(|theirs| (ours, theirs))) {
        let world = with_roles(Some(ours), Some(theirs), false);
        if pairs.contains(&(ours, theirs)) || pairs.contains(&(theirs, ours)) {
            world.assert_established();
            assert_eq!(world.nodes[0].status().terms.unwrap().peer_role, Some(theirs));
        } else {
            let said = [world.notifications(0), world.notifications(1)].concat();
            assert!(
                !said.is_empty() && said.iter().all(|(code, sub, _)| (*code, *sub) == (2, 11)),
                "{said:?}"
            );
        }
    }
}

#[test]
fn a_peer_without_a_role_is_refused_only_in_strict_mode() {
    let world = with_roles(Some(Role::Customer), None, false);
    world.assert_established();
    assert_eq!(world.problems[0], [Problem::RoleNotOffered]);
    with_roles(None, Some(Role::Customer), false).assert_established();
    let world = with_roles(Some(Role::Customer), None, true);
    assert_eq!(world.notifications(0), [(2, 11, vec![])]);
}

#[test]
fn contradicting_roles_are_refused() {
    let provider: &[u8] = &[9, 1, 0];
    let ours = Settings { role: Some(Role::Customer), ..first() };
    for (roles, established) in [
        ([provider, provider].concat(), true),
        ([provider, &[9, 1, 4]].concat(), false),
        (vec![9, 1, 7], false),
    ] {
        let (mut alone, connection) = Alone::open_sent(ours.clone());
        alone.receive(connection, &open_with(&roles));
        let refused = notifications(&alone.drain()).contains(&(connection, 2, 11));
        assert_eq!(refused, !established, "{roles:?}");
    }
}

// ---- Next hops

#[test]
fn a_missing_next_hop_is_reported_and_the_other_family_is_announced() {
    let world = &mut World::new(Settings { next_hop_ipv6: None, ..first() }, second());
    world.input(0, plain(&[V4, V6]));
    world.run(Duration::from_secs(1));
    assert_eq!(world.problems[0], [Problem::NoNextHop(Family::Ipv6)]);
    assert_eq!(world.tables[1].prefixes(), [V4]);
    assert!(world.tables[1].route(V4).is_some() && prefix(V4).family() == Family::Ipv4);
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

// ---- Generations

#[test]
fn news_of_a_connection_that_is_gone_is_no_news() {
    let mut session = Session::new(first(), epoch(), 1);
    let mut now = epoch();
    session.handle(now, Input::Up);
    let attempt = |session: &mut Session| {
        let found = drain(session).into_iter().find(is_connect);
        let Some(Output::Connect { connection }) = found else { panic!("no attempt") };
        connection
    };
    let old = attempt(&mut session);
    session.handle(now, Input::ConnectFailed { connection: old, error: "refused".to_owned() });
    now += Duration::from_secs(1);
    session.handle_timeout(now);
    let new = attempt(&mut session);
    assert_ne!(old, new);
    for news in [
        Input::ConnectFailed { connection: old, error: "late".to_owned() },
        Input::Closed { connection: old, error: "late".to_owned() },
        Input::Received { connection: old, bytes: bytes::Bytes::from_static(KEEPALIVE) },
        Input::Written { connection: old },
        Input::Connected { connection: old, local: local() },
    ] {
        session.handle(now, news);
        assert_eq!(session.state(), State::Connect);
    }
    session.handle(now, Input::Connected { connection: new, local: local() });
    assert_eq!(session.state(), State::OpenSent);
}
