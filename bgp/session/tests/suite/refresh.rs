//! Asking for routes again, and being asked (RFC 2918, RFC 7313).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use proxima_bgp_session::{ConnectionId, Input, Output, Problem, REFRESH_TIME, RibChange, UpdateContent};
use proxima_types::Family;

use crate::{
    by_hand::{
        Alone, ENHANCED_REFRESH, KEEPALIVE, MP_IPV4, MP_IPV6, ROUTE_REFRESH, V4, V4_B, V6, changes, message,
        notifications, open_of_second, open_with, plain, restart, sent, set,
    },
    world::{LATENCY, World, first, graceful, prefix, second},
};

const REQUEST: u8 = 0;
const BEGIN: u8 = 1;
const END: u8 = 2;

/// A ROUTE-REFRESH for IPv4.
fn mark(subtype: u8) -> Vec<u8> {
    message(5, &[0, 1, subtype, 1])
}

fn announced(prefixes: &[&str]) -> UpdateContent {
    let prefixes = prefixes.iter().map(|text| prefix(text)).collect();
    UpdateContent::Announced { prefixes, attributes: Arc::default() }
}

fn contents(alone: &mut Alone) -> Vec<UpdateContent> {
    alone.updates().into_iter().map(|batch| batch.content).collect()
}

/// Established with an enhanced peer that holds these routes.
fn enhanced(routes: &[&str], more: &[u8]) -> (Alone, ConnectionId) {
    let open = open_with(&[MP_IPV4, MP_IPV6, ROUTE_REFRESH, ENHANCED_REFRESH, more].concat());
    let (mut alone, connection) = Alone::established(graceful(first()), &open);
    alone.input(plain(routes));
    alone.updates();
    (alone, connection)
}

#[test]
fn a_peer_that_asks_gets_its_family_again() {
    let (mut alone, connection) = Alone::established(first(), &open_with(&[MP_IPV4, MP_IPV6].concat()));
    alone.input(plain(&[V4, V6]));
    alone.updates();
    alone.receive(connection, &mark(REQUEST));
    assert_eq!(contents(&mut alone), [announced(&[V4])]);
    assert_eq!(alone.session.status().counters.refreshes_received, 1);
}

#[test]
fn marks_stand_around_the_answer_where_both_know_them() {
    let (mut alone, connection) = enhanced(&[V4, V6], &[]);
    alone.receive(connection, &mark(REQUEST));
    let batches = alone.updates();
    assert_eq!((&batches[0].bytes[..], &batches[2].bytes[..]), (&mark(BEGIN)[..], &mark(END)[..]));
    let contents: Vec<_> = batches.into_iter().map(|batch| batch.content).collect();
    let (begun, ended) =
        (UpdateContent::RefreshBegun(Family::Ipv4), UpdateContent::RefreshEnded(Family::Ipv4));
    assert_eq!(contents, [begun.clone(), announced(&[V4]), ended.clone()]);
    assert_eq!(alone.session.status().counters.updates_sent, 3, "marks are no UPDATEs");

    // Nothing to send is an answer too, and what is new meanwhile comes between the marks.
    alone.input(plain(&[V6]));
    alone.updates();
    alone.receive(connection, &mark(REQUEST));
    assert_eq!(contents_of(&mut alone), [begun.clone(), ended.clone()]);
    alone.receive(connection, &mark(REQUEST));
    alone.session.poll_update();
    alone.input(plain(&[V4, V6]));
    assert_eq!(contents_of(&mut alone), [announced(&[V4]), ended]);
}

fn contents_of(alone: &mut Alone) -> Vec<UpdateContent> {
    contents(alone)
}

#[test]
fn a_peer_that_asks_while_it_is_answered_gets_the_answer_from_its_beginning() {
    let (mut alone, connection) = enhanced(&[V4, V4_B], &[]);
    let (begun, ended) =
        (UpdateContent::RefreshBegun(Family::Ipv4), UpdateContent::RefreshEnded(Family::Ipv4));
    alone.receive(connection, &mark(REQUEST));
    assert_eq!(alone.session.poll_update().unwrap().content, begun);
    assert_eq!(alone.session.poll_update().unwrap().content, announced(&[V4_B, V4]));
    alone.receive(connection, &mark(REQUEST));
    assert_eq!(contents(&mut alone), [begun, announced(&[V4_B, V4]), ended]);
}

#[test]
fn with_graceful_restart_no_mark_goes_out_before_the_end_of_rib() {
    let (mut alone, connection) = enhanced(&[V4], &restart(false, true, true));
    alone.receive(connection, &mark(REQUEST));
    assert_eq!(contents(&mut alone), []);
    assert!(!alone.session.adj_rib_out().converged());
    alone.input(Input::ReleaseEndOfRib);
    let (begun, ended) =
        (UpdateContent::RefreshBegun(Family::Ipv4), UpdateContent::RefreshEnded(Family::Ipv4));
    let ends = Family::ALL.map(UpdateContent::EndOfRib);
    let said = contents(&mut alone);
    let at = |content: &UpdateContent| said.iter().position(|said| said == content).unwrap();
    assert!(
        at(&ends[0]) < at(&begun) && at(&begun) < at(&announced(&[V4])) && at(&announced(&[V4])) < at(&ended)
    );
    assert_eq!(said.len(), 5);
}

#[test]
fn routes_not_confirmed_between_the_peers_marks_go() {
    let (mut alone, connection) = enhanced(&[], &[]);
    for (subtype, change) in
        [(BEGIN, RibChange::BeginRefresh(Family::Ipv4)), (END, RibChange::SweepStale(Family::Ipv4))]
    {
        alone.receive(connection, &mark(subtype));
        assert_eq!(changes(&alone.drain()), [&change]);
    }
    // Begun twice, all is stale again; ended twice, the second says nothing.
    for subtype in [BEGIN, BEGIN, END] {
        alone.receive(connection, &mark(subtype));
        assert_eq!(changes(&alone.drain()).len(), 1);
    }
    alone.receive(connection, &mark(END));
    let outputs = alone.drain();
    assert_eq!(changes(&outputs).len(), 0);
    assert_eq!(outputs, [Output::Problem(Problem::StrayRefreshMark("an end without a beginning"))]);
}

#[test]
fn an_answer_that_never_ends_is_ended_here() {
    let (mut alone, connection) = enhanced(&[], &[]);
    alone.receive(connection, &mark(BEGIN));
    alone.drain();
    let begun = alone.now;
    assert_eq!(alone.session.status().timers.refresh, Some(begun + REFRESH_TIME));
    for _ in 0..=REFRESH_TIME.as_secs() {
        alone.run(Duration::from_secs(1));
        alone.receive(connection, KEEPALIVE);
        alone.input(Input::Written { connection });
    }
    let outputs = alone.drain();
    assert_eq!(changes(&outputs), [&RibChange::SweepStale(Family::Ipv4)]);
    assert!(outputs.contains(&Output::Problem(Problem::RefreshUnfinished(Family::Ipv4))));
}

#[test]
fn where_marks_were_not_agreed_on_the_octet_is_reserved_and_every_message_a_request() {
    let open = open_with(&[MP_IPV4, ROUTE_REFRESH].concat());
    let (mut alone, connection) = Alone::established(first(), &open);
    alone.input(plain(&[V4]));
    alone.updates();
    for reserved in [BEGIN, END, 7] {
        alone.receive(connection, &mark(reserved));
        let outputs = alone.drain();
        assert_eq!((changes(&outputs).len(), notifications(&outputs).len()), (0, 0), "{reserved}");
        assert_eq!(contents(&mut alone), [announced(&[V4])], "{reserved}");
    }
    // No length is wrong either.
    alone.receive(connection, &message(5, &[0, 1, BEGIN, 1, 0]));
    assert_eq!(notifications(&alone.drain()), []);
    assert_eq!(contents(&mut alone), [announced(&[V4])]);
    assert_eq!(alone.session.status().counters.refreshes_received, 4);
}

#[test]
fn a_request_we_did_not_offer_to_answer_is_ignored() {
    let (mut alone, connection) = Alone::open_sent(first());
    alone.receive(connection, &message(3, &[2, 4]));
    alone.run(Duration::from_secs(1));
    let bare = alone.accept();
    alone.receive(bare, &open_with(&[ROUTE_REFRESH, ENHANCED_REFRESH].concat()));
    alone.receive(bare, KEEPALIVE);
    alone.input(plain(&[V4]));
    alone.updates();
    alone.drain();
    for subtype in [REQUEST, BEGIN, END] {
        alone.receive(bare, &mark(subtype));
    }
    let outputs = alone.drain();
    assert_eq!((changes(&outputs).len(), notifications(&outputs).len()), (0, 0));
    assert_eq!(contents(&mut alone), []);
    assert_eq!(alone.session.status().counters.refreshes_received, 0);
}

#[test]
fn marks_that_make_no_sense_are_ignored_and_one_of_another_length_is_7_1() {
    let (mut alone, connection) = enhanced(&[V4], &[]);
    alone.receive(connection, &mark(7));
    alone.receive(connection, &message(5, &[0, 25, REQUEST, 65]));
    alone.receive(connection, &message(5, &[0, 25, BEGIN, 65]));
    assert_eq!(changes(&alone.drain()), Vec::<&RibChange>::new());
    assert_eq!(contents(&mut alone), []);
    // RFC 7313 §5.
    alone.receive(connection, &message(5, &[0, 1, BEGIN, 1, 0]));
    assert_eq!(notifications(&alone.drain()), [(connection, 7, 1)]);
}

#[test]
fn we_ask_for_routes_again_and_lose_none() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4, V6]);
    world.input(1, Input::Refresh(Family::Ipv4));
    world.run(4 * LATENCY);
    let log = world.tables[1].log.clone();
    assert_eq!(log[log.len() - 3..], ["BeginRefresh(ipv4)", "Update", "SweepStale(ipv4)"]);
    assert_eq!((world.tables[1].prefixes().len(), world.tables[1].stale().len()), (2, 0));
    assert_eq!(world.tables[1].redundant, 0);
    assert_eq!(world.nodes[1].status().counters.refreshes_sent, 1);
}

#[test]
fn a_request_not_yet_answered_is_not_repeated_to_a_peer_that_marks_its_answers() {
    let (mut alone, connection) = enhanced(&[], &[]);
    let asked = |alone: &mut Alone| {
        alone.input(Input::Refresh(Family::Ipv4));
        sent(&alone.drain(), 5).len()
    };
    assert_eq!([asked(&mut alone), asked(&mut alone)], [1, 0]);
    alone.receive(connection, &mark(BEGIN));
    alone.drain();
    assert_eq!(asked(&mut alone), 1, "what was answered before it may have changed since");
    alone.receive(connection, &mark(END));
    alone.drain();
    // Of a peer without marks nothing can be known.
    let (mut alone, _) = Alone::established(first(), &open_with(&[MP_IPV4, ROUTE_REFRESH].concat()));
    assert_eq!([asked(&mut alone), asked(&mut alone)], [1, 1]);
}

#[test]
fn what_cannot_be_asked_for_is_said() {
    let said = |alone: &mut Alone, family| {
        alone.input(Input::Refresh(family));
        match &alone.drain()[..] {
            [Output::Problem(Problem::CannotRefresh { why, .. })] => *why,
            other => panic!("{other:?}"),
        }
    };
    let mut alone = Alone::active(first());
    alone.drain();
    assert_eq!(said(&mut alone, Family::Ipv4), "the session is not established");
    let (mut alone, _) = Alone::established(first(), &open_of_second());
    assert!(said(&mut alone, Family::Ipv4).contains("does not offer route refresh"));
    assert!(said(&mut alone, Family::Ipv6).contains("not exchanged"));
}

#[test]
fn a_session_that_ends_in_the_middle_of_an_answer_begins_anew() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4]);
    world.input(1, Input::Refresh(Family::Ipv4));
    world.run(LATENCY);
    world.break_session();
    world.run(Duration::from_secs(5));
    world.assert_established();
    assert_eq!((world.tables[1].prefixes(), world.tables[1].stale()), (vec![V4.to_owned()], vec![]));
    world.input(1, Input::Refresh(Family::Ipv4));
    world.run(4 * LATENCY);
    assert_eq!(world.nodes[1].status().counters.refreshes_sent, 2);
    let id = world.nodes[1].established().unwrap();
    world.input(1, Input::Received { connection: id, bytes: Bytes::from(mark(END)) });
    world.assert_established();
}
