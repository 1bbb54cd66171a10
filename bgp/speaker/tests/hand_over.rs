//! Sessions that go on in another process, and what becomes of the one before.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use common::{
    Two, V4, V6, identity, names, own_address, peer, plain, range,
    raw::{
        KEEPALIVE, MP_IPV4, THEIR_AS, accept, announce, connect_from, handshake, handshake_with, listening,
        member_open, open, read_kind, read_message, read_notification, router,
    },
    received_count, speaker, status, two, until, until_received, within,
};
use proxima_bgp_speaker::{
    Configured, Detached, Distance, Down, GracefulRestart, HandOverError, LimitAction, MaxPrefixes, Password,
    PeerConfig, Remote, Speaker, SpeakerConfig, SpeakerEvents, SpeakerHandle, State,
};
use proxima_bgp_wire::{Message, Negotiated};
use socket2::SockRef;
use tokio::{io::AsyncWriteExt, net::TcpStream};

#[tokio::test]
async fn a_successor_goes_on_with_the_sessions_and_the_peer_notices_nothing() {
    let us = own_address();
    let (listener, at) = listening(own_address()).await;
    let mut config = speaker(vec![peer("router", at, THEIR_AS, us)]);
    config.listen = vec![SocketAddr::new(us, 0)];
    let (old, _old_events) = Speaker::start(config.clone()).unwrap();
    old.set_desired(vec![plain(V4)]).unwrap();
    old.release_end_of_rib();
    config.listen = old.listening();
    let mut stream = accept(&listener).await;
    handshake_with(&mut stream, &open(3, &[MP_IPV4, common::raw::ROUTE_REFRESH])).await;
    stream.write_all(&announce([[10, 0, 1]])).await.unwrap();
    until_received(&old, "router", 1).await;
    read_kind(&mut stream, 2).await; // the route
    read_kind(&mut stream, 2).await; // End-of-RIB
    let before = identity(&status(&old, "router"));
    let routes = told(&old).await;
    let received = status(&old, "router").session.counters.updates_received;
    // Half a message is on its way when the process changes.
    let (half, rest) = KEEPALIVE.split_at(9);
    stream.write_all(half).await.unwrap();

    let detached = common::detach(&old).await;
    assert_eq!((detached.peers.len(), detached.listeners.len()), (1, 1));
    drop(old);
    let (new, mut events) = Speaker::start_with(config, detached).unwrap();
    new.set_desired(vec![plain(V4), plain(V6)]).unwrap();
    new.release_end_of_rib();
    stream.write_all(rest).await.unwrap();
    until_received(&new, "router", 1).await;
    assert_eq!(told(&new).await, routes, "nobody had to be asked");
    assert_eq!(status(&new, "router").session.counters.updates_received, received, "none was received");
    let after = status(&new, "router");
    assert_eq!((after.session.state, after.local, after.remote), (State::Established, before.1, before.2));
    assert_eq!(after.session.counters.flaps, 0);
    common::event("where BFD has to look", &mut events, |event| {
        matches!(event, proxima_bgp_speaker::SpeakerEvent::Connected { .. }).then_some(())
    })
    .await;
    // Nothing is sent that the peer has; what is new is.
    new.set_desired(vec![]).unwrap();
    let update = read_kind(&mut stream, 2).await;
    assert_eq!(update[19..25], [0, 4, 24, 203, 0, 113], "the withdrawal is the first UPDATE: {update:?}");
    // KEEPALIVEs go on.
    stream.write_all(KEEPALIVE).await.unwrap();
    assert_eq!(read_kind(&mut stream, 4).await, KEEPALIVE);
    // The listening socket is the same.
    let mut stranger = connect_from(own_address(), new.listening()[0]).await;
    assert_eq!(read_notification(&mut stranger).await, [6, 5]);
    assert_eq!(received_count(&status(&new, "router")), 1);
}

/// The routes of `router`, each in words, without when they came.
async fn told(pop: &SpeakerHandle) -> Vec<String> {
    let told = |route: &proxima_bgp_speaker::PeerRoute| {
        let proxima_bgp_speaker::Route { prefix, path_id, shared, .. } = &route.route;
        format!("{prefix} {path_id:?} {shared:?}")
    };
    common::received(pop, "router").await.iter().map(told).collect()
}

#[tokio::test]
async fn a_successor_asks_for_routes_that_are_too_many_to_be_handed_over() {
    let us = own_address();
    let (listener, at) = listening(own_address()).await;
    let config = speaker(vec![peer("router", at, THEIR_AS, us)]);
    let (old, _events) = Speaker::start(config.clone()).unwrap();
    let mut stream = accept(&listener).await;
    handshake_with(&mut stream, &open(0, &[MP_IPV4, common::raw::ROUTE_REFRESH])).await;
    let prefixes = slash_24s(20_001);
    for chunk in prefixes.chunks(900) {
        stream.write_all(&announce(chunk.iter().copied())).await.unwrap();
    }
    until_received(&old, "router", prefixes.len()).await;
    let detached = common::detach(&old).await;
    assert_eq!(detached.peers[0].session.received, None);
    let (new, _events) = Speaker::start_with(config, detached).unwrap();
    assert_eq!(read_kind(&mut stream, 5).await[19..], [0, 1, 0, 1]);
    assert_eq!(status(&new, "router").session.state, State::Established);
}

#[tokio::test]
async fn a_successor_asks_for_what_was_left_out_for_the_limit_where_the_peer_can_be_asked() {
    let max = MaxPrefixes { action: LimitAction::Discard, ..MaxPrefixes::new(1) };
    for (capabilities, carried) in [(&[MP_IPV4, common::raw::ROUTE_REFRESH][..], false), (&[MP_IPV4], true)] {
        let (listener, at) = listening(own_address()).await;
        let limited = PeerConfig { max_prefixes: Some(max), ..peer("router", at, THEIR_AS, own_address()) };
        let mut config = speaker(vec![limited]);
        let (old, _events) = Speaker::start(config.clone()).unwrap();
        let mut stream = accept(&listener).await;
        handshake_with(&mut stream, &open(0, capabilities)).await;
        stream.write_all(&announce([[10, 0, 1], [10, 0, 2]])).await.unwrap();
        let discarded = |status: &proxima_bgp_speaker::PeerStatus| status.session.counters.discarded == 1;
        within("one left out", old.wait_for("router", discarded)).await.unwrap();
        let detached = common::detach(&old).await;
        assert_eq!(detached.peers[0].session.received.is_some(), carried);
        // There is room for it from now on.
        config.peers[0].max_prefixes = None;
        let (new, _events) = Speaker::start_with(config, detached).unwrap();
        if carried {
            until_received(&new, "router", 1).await;
        } else {
            assert_eq!(read_kind(&mut stream, 5).await[19..], [0, 1, 0, 1]);
        }
    }
}

/// Whether our OPEN, the next message on a connection, says that we have restarted, and that forwarding went on.
async fn restarted(stream: &mut TcpStream) -> (bool, bool) {
    let open = read_message(stream).await.expect("OPEN");
    let Ok(Message::Open(open)) = Message::decode(&open, Negotiated::default()) else { panic!("{open:?}") };
    let offer = open.graceful_restart().expect("it is configured");
    (offer.restarted, offer.families.iter().all(|family| family.forwarding))
}

#[tokio::test]
async fn a_hand_over_is_no_restart_to_peers_whose_session_was_down() {
    let restart_time = Duration::from_mins(1);
    let restart = GracefulRestart { restart_time, stale_time: restart_time, forwarding: false };
    let (listener, at) = listening(own_address()).await;
    let router =
        PeerConfig { graceful_restart: Some(restart), ..peer("router", at, THEIR_AS, own_address()) };
    let config = speaker(vec![router]);
    let (old, _events) = Speaker::start(config.clone()).unwrap();
    assert_eq!(restarted(&mut accept(&listener).await).await, (true, false));
    let detached = common::detach(&old).await;
    assert!(detached.peers.is_empty());
    let started = detached.started.unwrap();
    // As it would be, had that been a while ago.
    let detached = Detached { started: started.checked_sub(restart_time), ..detached };
    let (new, _events) = Speaker::start_with(config.clone(), detached).unwrap();
    assert_eq!(restarted(&mut accept(&listener).await).await, (false, true), "nothing has stopped since");
    // Its own successor hears the same of it.
    let (_newest, _events) = Speaker::start_with(config, common::detach(&new).await).unwrap();
    assert_eq!(restarted(&mut accept(&listener).await).await, (false, true));
}

#[tokio::test]
async fn a_hand_over_that_is_called_off_leaves_everything_as_it_was() {
    let Two { pop, mut first, mut second, .. } = two().await;
    pop.shutdown("second", "enough", Duration::ZERO).await.unwrap();
    assert_eq!(read_notification(&mut second).await[..2], [6, 2]);
    until(&pop, "second", State::Idle).await;
    let before = identity(&status(&pop, "first"));
    let handed = within("the hand-over", pop.hand_over()).await.unwrap();
    // What the peer says meanwhile waits.
    first.write_all(&announce([[10, 0, 1]])).await.unwrap();
    assert_eq!(handed.detached.peers.len(), 1);
    let down = Down { name: "second".parse().unwrap(), reason: "enough".to_owned(), drain: Duration::ZERO };
    assert_eq!(handed.detached.down, [down]);
    drop(handed);
    until_received(&pop, "first", 1).await;
    assert_eq!(identity(&status(&pop, "first")), before);
    assert_eq!(status(&pop, "second").session.state, State::Idle);
    pop.set_desired(vec![plain(V4)]).unwrap();
    pop.release_end_of_rib();
    let update = read_kind(&mut first, 2).await;
    assert!(update.ends_with(&[24, 203, 0, 113]), "it is announced as ever: {update:?}");
}

#[tokio::test]
async fn whom_an_operator_has_shut_down_a_successor_does_not_call() {
    let us = own_address();
    let (listener, at) = listening(own_address()).await;
    let config = speaker(vec![peer("router", at, THEIR_AS, us)]);
    let (old, _events) = Speaker::start(config.clone()).unwrap();
    let mut stream = accept(&listener).await;
    handshake_with(&mut stream, &open(0, &[MP_IPV4])).await;
    until(&old, "router", State::Established).await;
    old.shutdown("router", "enough", Duration::ZERO).await.unwrap();
    assert_eq!(read_notification(&mut stream).await[..2], [6, 2]);
    until(&old, "router", State::Idle).await;
    let detached = common::detach(&old).await;
    let (new, _events) = Speaker::start_with(config, detached).unwrap();
    let down = Some(proxima_bgp_speaker::Held::Shutdown("enough".to_owned()));
    within("its start", new.wait_for("router", |status| status.session.held == down)).await.unwrap();
    assert_eq!(status(&new, "router").session.counters.flaps, 0);
    new.up("router").await.unwrap();
    let mut stream = accept(&listener).await;
    handshake_with(&mut stream, &open(0, &[MP_IPV4])).await;
    until(&new, "router", State::Established).await;
}

#[tokio::test]
async fn a_member_of_a_range_outlives_the_process_that_let_it_in() {
    let (them, member) = (own_address(), own_address());
    let mut config = router(SocketAddr::new(them, 0), &[]);
    config.peers = vec![range("leaves", member, 10)];
    let (old, _old_events) = Speaker::start(config.clone()).unwrap();
    config.listen = old.listening();
    let mut stream = connect_from(member, config.listen[0]).await;
    handshake_with(&mut stream, &member_open()).await;
    let name = format!("leaves/{member}");
    until(&old, &name, State::Established).await;
    let before = identity(&status(&old, &name));
    let detached = common::detach(&old).await;
    drop(old);
    let (new, _events) = Speaker::start_with(config, detached).unwrap();
    until(&new, &name, State::Established).await;
    let after = identity(&status(&new, &name));
    assert_eq!((after.1, after.2, after.3), (before.1, before.2, before.3));
    new.shutdown("leaves", "enough", Duration::ZERO).await.unwrap();
    assert_eq!(read_notification(&mut stream).await[..2], [6, 2]);
}

/// A speaker that lets a range in, and one that would come.
fn with_range() -> (SpeakerHandle, SpeakerConfig, IpAddr) {
    let (them, member) = (own_address(), own_address());
    let mut config = router(SocketAddr::new(them, 0), &[]);
    config.peers = vec![range("leaves", member, 10)];
    let (pop, _events) = Speaker::start(config.clone()).unwrap();
    config.listen = pop.listening();
    (pop, config, member)
}

#[tokio::test]
async fn who_connects_while_sessions_stand_still_is_let_in_by_the_successor() {
    let (old, config, member) = with_range();
    let mut handed = within("the hand-over", old.hand_over()).await.unwrap();
    let mut stream = connect_from(member, config.listen[0]).await;
    stream.write_all(&member_open()).await.unwrap();
    let detached = std::mem::take(&mut handed.detached);
    within("its end", handed.taken()).await;
    assert!(names(&old).is_empty(), "not let in by the process before");
    let (new, _events) = Speaker::start_with(config, detached).unwrap();
    assert_eq!(read_message(&mut stream).await.expect("OPEN")[18], 1);
    stream.write_all(KEEPALIVE).await.unwrap();
    until(&new, &format!("leaves/{member}"), State::Established).await;
}

#[tokio::test]
async fn who_connects_while_sessions_stand_still_is_let_in_when_that_comes_to_nothing() {
    let (pop, config, member) = with_range();
    let handed = within("the hand-over", pop.hand_over()).await.unwrap();
    let mut stream = connect_from(member, config.listen[0]).await;
    handed.called_off();
    handshake_with(&mut stream, &member_open()).await;
    until(&pop, &format!("leaves/{member}"), State::Established).await;
}

#[tokio::test]
async fn a_peer_that_comes_while_sessions_stand_still_does_not_keep_the_process_alive() {
    let Two { pop, config, .. } = two().await;
    let (listener, at) = listening(own_address()).await;
    let handed = within("the hand-over", pop.hand_over()).await.unwrap();
    pop.add_peer(peer("third", at, THEIR_AS, config.peers[0].source.unwrap())).await.unwrap();
    let mut stream = accept(&listener).await;
    handshake(&mut stream).await;
    until(&pop, "third", State::Established).await;
    within("the end", handed.taken()).await;
    assert_eq!(read_message(&mut stream).await, None, "closed without a word");
}

#[tokio::test]
async fn of_all_peers_together_no_more_than_so_many_routes_go_over_those_with_fewest_first() {
    let Two { pop, mut first, mut second, .. } = two().await;
    for (stream, count) in [(&mut first, 15_000), (&mut second, 6_000)] {
        for chunk in slash_24s(count).chunks(900) {
            stream.write_all(&announce(chunk.iter().copied())).await.unwrap();
        }
    }
    until_received(&pop, "first", 15_000).await;
    until_received(&pop, "second", 6_000).await;
    let handed = within("the hand-over", pop.hand_over()).await.unwrap();
    let received: Vec<_> = handed.detached.peers.iter().map(|peer| peer.session.received.is_some()).collect();
    assert_eq!(received, [false, true]);
}

/// So many prefixes of 10.0.0.0/8 and what follows.
fn slash_24s(count: u32) -> Vec<[u8; 3]> {
    (0..count).map(|n| [10 + (n >> 16) as u8, (n >> 8) as u8, n as u8]).collect()
}

/// The process after that of `two`, under another configuration.
async fn succeeded(
    two: &Two,
    change: impl FnOnce(&mut SpeakerConfig),
) -> (SpeakerHandle, SpeakerEvents, SpeakerConfig) {
    let mut config = two.config.clone();
    change(&mut config);
    let detached = common::detach(&two.pop).await;
    let (new, events) = Speaker::start_with(config.clone(), detached).unwrap();
    (new, events, config)
}

#[tokio::test]
async fn a_peer_that_is_configured_no_longer_hears_so_from_the_successor() {
    let mut two = two().await;
    two.pop.set_desired(vec![plain(V4)]).unwrap();
    read_kind(&mut two.first, 2).await;
    let (new, _events, _) = succeeded(&two, |config| drop(config.peers.remove(0))).await;
    let withdrawal = read_kind(&mut two.first, 2).await;
    assert_eq!(withdrawal[19..25], [0, 4, 24, 203, 0, 113]);
    assert_eq!(read_notification(&mut two.first).await, [6, 3], "peer deconfigured");
    assert_eq!(names(&new), ["second"]);
    until(&new, "second", State::Established).await;
}

#[tokio::test]
async fn a_member_of_a_range_that_is_gone_hears_so_from_the_successor() {
    let (old, mut config, member) = with_range();
    let mut stream = connect_from(member, config.listen[0]).await;
    handshake_with(&mut stream, &member_open()).await;
    until(&old, &format!("leaves/{member}"), State::Established).await;
    config.peers.clear();
    let detached = common::detach(&old).await;
    let (new, _events) = Speaker::start_with(config, detached).unwrap();
    assert_eq!(read_notification(&mut stream).await, [6, 3], "peer deconfigured");
    assert!(names(&new).is_empty());
}

#[tokio::test]
async fn a_peer_with_another_address_or_port_is_another_to_the_successor() {
    let address: fn(&mut PeerConfig) = |peer| peer.remote = Remote::address(own_address());
    let port: fn(&mut PeerConfig) = |peer| peer.port += 1;
    for change in [address, port] {
        let mut two = two().await;
        let (new, _events, _) = succeeded(&two, |config| change(&mut config.peers[0])).await;
        assert_eq!(read_notification(&mut two.first).await, [6, 3], "peer deconfigured");
        assert_ne!(status(&new, "first").session.state, State::Established);
        until(&new, "second", State::Established).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_to_be_made_otherwise_is_made_anew_by_the_successor() {
    let source: fn(&mut PeerConfig) = |peer| peer.source = None;
    let password: fn(&mut PeerConfig) = |peer| peer.password = Some(Password::new(b"new").unwrap());
    for change in [source, password] {
        let mut two = two().await;
        let before = identity(&status(&two.pop, "second"));
        let (new, _events, _) = succeeded(&two, |config| change(&mut config.peers[0])).await;
        assert_eq!(read_notification(&mut two.first).await[..2], [6, 4], "as after a reload");
        let after = identity(&status(&new, "second"));
        assert_eq!((after.1, after.2, after.3), (before.1, before.2, before.3));
    }
}

#[tokio::test]
async fn what_is_set_on_a_live_connection_a_successor_sets_too() {
    let mut two = two().await;
    let (new, _events, _) = succeeded(&two, |config| {
        let nine = std::num::NonZeroU8::new(9).unwrap();
        let peer = &mut config.peers[0];
        peer.distance = Distance::Multihop(nine);
        peer.tcp_user_timeout = Some(Duration::from_secs(7));
        peer.next_hop_ipv4 = Some([10, 9, 8, 7].into());
    })
    .await;
    new.set_desired(vec![plain(V4)]).unwrap();
    let update = read_kind(&mut two.first, 2).await;
    assert!(update.windows(4).any(|octets| octets == [10, 9, 8, 7]), "{update:?}");
    // The options are of the socket, whichever descriptor they are asked of.
    let mut handed = within("the hand-over", new.hand_over()).await.unwrap();
    let Detached { peers, .. } = std::mem::take(&mut handed.detached);
    let socket = SockRef::from(&peers[0].stream);
    assert_eq!(socket.ttl_v4().unwrap(), 9);
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
    assert_eq!(identity(&status(&new, "first")).3, 0, "no flap");
}

#[tokio::test]
async fn whom_only_the_old_configuration_had_shut_down_the_successor_calls() {
    let us = own_address();
    let (listener, at) = listening(own_address()).await;
    let mut config = speaker(vec![peer("router", at, THEIR_AS, us)]);
    config.peers[0].shutdown = Some("not yet".to_owned());
    let (old, _events) = Speaker::start(config.clone()).unwrap();
    // And who is up by an order against the configuration stays so.
    old.up("router").await.unwrap();
    let mut stream = accept(&listener).await;
    handshake(&mut stream).await;
    until(&old, "router", State::Established).await;
    let detached = common::detach(&old).await;
    let (old, _events) = Speaker::start_with(config.clone(), detached).unwrap();
    old.set_desired(vec![plain(V4)]).unwrap();
    read_kind(&mut stream, 2).await;
    until(&old, "router", State::Established).await;

    old.shutdown("router", "not yet", Duration::ZERO).await.unwrap();
    assert_eq!(read_notification(&mut stream).await[..2], [6, 2]);
    let detached = common::detach(&old).await;
    assert!(detached.down.is_empty(), "{:?}", detached.down);
    config.peers[0].shutdown = None;
    let (new, _events) = Speaker::start_with(config, detached).unwrap();
    handshake(&mut accept(&listener).await).await;
    until(&new, "router", State::Established).await;
}

#[tokio::test]
async fn a_drain_goes_on_in_the_successor_with_the_time_that_is_left() {
    let mut two = two().await;
    two.pop.set_desired(vec![plain(V4)]).unwrap();
    two.pop.release_end_of_rib();
    read_kind(&mut two.first, 2).await;
    read_kind(&mut two.first, 2).await; // End-of-RIB
    two.pop.shutdown("first", "new optics", Duration::from_millis(1500)).await.unwrap();
    let update = read_kind(&mut two.first, 2).await;
    assert!(update.windows(4).any(|octets| octets == [0xff, 0xff, 0, 0]), "GRACEFUL_SHUTDOWN: {update:?}");
    let detached = common::detach(&two.pop).await;
    let [Down { reason, drain, .. }] = &detached.down[..] else { panic!("{:?}", detached.down) };
    assert_eq!(reason, "new optics");
    assert!(!drain.is_zero() && *drain < Duration::from_millis(1500), "{drain:?}");
    let (new, _events) = Speaker::start_with(two.config.clone(), detached).unwrap();
    new.set_desired(vec![plain(V4)]).unwrap();
    new.release_end_of_rib();
    let ends = within("the drain", new.wait_for("first", |status| status.session.timers.drain.is_some()));
    assert_eq!(ends.await.unwrap().session.state, State::Established);
    // Nothing of it is said again; then it ends.
    let withdrawal = read_kind(&mut two.first, 2).await;
    assert_eq!(withdrawal[19..25], [0, 4, 24, 203, 0, 113]);
    let notification = read_notification(&mut two.first).await;
    assert_eq!((&notification[..3], &notification[3..]), (&[6, 2, 10][..], &b"new optics"[..]));
}

#[tokio::test]
async fn sessions_stand_still_for_one_at_a_time() {
    let Two { pop, .. } = two().await;
    let handed = within("the hand-over", pop.hand_over()).await.unwrap();
    assert_eq!(pop.hand_over().await.map(|_| ()), Err(HandOverError::UnderWay));
    handed.called_off();
    within("the hand-over", pop.hand_over()).await.unwrap().called_off();
}

#[tokio::test]
async fn what_is_configured_goes_to_another_process_in_writing() {
    let mut two = two().await;
    let secret =
        PeerConfig { password: Some(Password::new(b"secret").unwrap()), ..two.config.peers[0].clone() };
    two.pop.reconfigure(secret).await.unwrap();
    read_notification(&mut two.first).await;
    let handed = within("the hand-over", two.pop.hand_over()).await.unwrap();
    let configured = &handed.detached.peers[0].configured;
    let text = serde_json::to_string(configured).unwrap();
    assert_eq!(*configured, serde_json::from_str::<Configured>(&text).unwrap());
    assert!(!format!("{configured:?}").contains("secret"));
}

#[tokio::test]
async fn what_guards_connections_is_as_before_when_a_hand_over_is_called_off() {
    let (pop, mut config, member) = with_range();
    let mut handed = within("the hand-over", pop.hand_over()).await.unwrap();
    config.peers[0].password = Some(Password::new(b"new").unwrap());
    let (new, _events) = Speaker::start_with(config.clone(), std::mem::take(&mut handed.detached)).unwrap();
    drop(new); // before its tasks have run
    handed.called_off();
    let mut stream = connect_from(member, config.listen[0]).await;
    handshake_with(&mut stream, &member_open()).await;
    until(&pop, &format!("leaves/{member}"), State::Established).await;
}

#[tokio::test]
async fn a_key_that_the_new_configuration_does_not_have_goes_with_the_process_before() {
    let (them, member) = (own_address(), own_address());
    let mut config = router(SocketAddr::new(them, 0), &[]);
    config.peers = vec![range("leaves", member, 10)];
    config.peers[0].password = Some(Password::new(b"old").unwrap());
    let (old, _events) = Speaker::start(config.clone()).unwrap();
    config.listen = old.listening();
    config.peers[0].password = None;
    let detached = common::detach(&old).await;
    let (new, _events) = Speaker::start_with(config.clone(), detached).unwrap();
    let mut stream = connect_from(member, config.listen[0]).await;
    handshake_with(&mut stream, &member_open()).await;
    until(&new, &format!("leaves/{member}"), State::Established).await;
}
