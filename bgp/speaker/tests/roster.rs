//! Peers that come, change and go while others stay as they are.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use common::{
    OUR_AS, V4, V6, own_address, peer, plain,
    raw::{
        GRACEFUL_RESTART, KEEPALIVE, MP_IPV4, OPEN, THEIR_AS, accept, announce, connect_from, handshake,
        handshake_with, listening, open, read_kind, read_message, read_notification, router,
    },
    received, received_count, speaker, until, until_received, within,
};
use proxima_bgp_speaker::{
    BfdState, CommandError, Effect, GracefulRestart, Held, Leave, MaxPrefixes, PeerConfig, PeerError,
    PeerStatus, Remote, Speaker, SpeakerConfig, SpeakerHandle, State,
};
use proxima_types::{Family, Prefix};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// The range of the test's own addresses.
fn range(name: &str, of: IpAddr, max: u16) -> PeerConfig {
    let remote = Remote::Range { prefix: Prefix::truncating(of, 24), max };
    PeerConfig { families: vec![Family::Ipv4], ..PeerConfig::new(name.parse().unwrap(), remote, OUR_AS) }
}

/// An OPEN of our AS, as a member of a range has it.
fn member_open() -> Vec<u8> {
    let mut bytes = OPEN.to_vec();
    bytes[20..22].copy_from_slice(&u16::try_from(OUR_AS.0).unwrap().to_be_bytes());
    bytes
}

fn names(handle: &SpeakerHandle) -> Vec<String> {
    handle.peers().iter().map(|peer| peer.name.to_string()).collect()
}

/// A speaker with a session to each of two raw routers, established.
struct Two {
    pop: SpeakerHandle,
    first: TcpStream,
    second: TcpStream,
    config: SpeakerConfig,
}

async fn two() -> Two {
    let us = own_address();
    let (first_listener, first_at) = listening(own_address()).await;
    let (second_listener, second_at) = listening(own_address()).await;
    let peers = vec![peer("first", first_at, THEIR_AS, us), peer("second", second_at, THEIR_AS, us)];
    let config = speaker(peers);
    let (pop, events) = Speaker::start(config.clone()).unwrap();
    drop(events); // nobody listens; nobody has to
    let mut first = accept(&first_listener).await;
    handshake(&mut first).await;
    let mut second = accept(&second_listener).await;
    handshake(&mut second).await;
    until(&pop, "first", State::Established).await;
    until(&pop, "second", State::Established).await;
    Two { pop, first, second, config }
}

fn status(handle: &SpeakerHandle, name: &str) -> PeerStatus {
    handle.peers().into_iter().find(|peer| peer.name.as_str() == name).unwrap()
}

/// What a session is by: the same as long as nothing happened to it.
fn identity(status: &PeerStatus) -> (std::time::Instant, Option<SocketAddr>, Option<SocketAddr>, u64) {
    (status.since, status.local, status.remote, status.session.counters.flaps)
}

#[tokio::test]
async fn whoever_connects_from_a_range_becomes_a_peer_and_is_forgotten_after_it_left() {
    let (them, member) = (own_address(), own_address());
    let mut config = router(SocketAddr::new(them, 0), &[]);
    config.peers =
        vec![PeerConfig { forget_after: Duration::from_millis(50), ..range("leaves", member, 10) }];
    let (router, _events) = Speaker::start(config).unwrap();
    assert!(names(&router).is_empty());
    let mut stream = connect_from(member, router.listening()[0]).await;
    handshake_with(&mut stream, &member_open()).await;
    let name = format!("leaves/{member}");
    until(&router, &name, State::Established).await;
    let found = status(&router, &name);
    assert_eq!(found.range.as_ref().map(proxima_types::PeerName::as_str), Some("leaves"));
    assert_eq!(found.remote.map(|remote| remote.ip()), Some(member));
    drop(stream);
    within("it to be forgotten", async {
        while !names(&router).is_empty() {
            // Its task ends, which ends this wait too.
            router.wait_for(&name, |_| false).await.unwrap_err();
            tokio::task::yield_now().await;
        }
    })
    .await;
    // And it may come again.
    let mut stream = connect_from(member, router.listening()[0]).await;
    assert_eq!(read_message(&mut stream).await.expect("OPEN")[18], 1);
}

#[tokio::test]
async fn a_range_makes_no_more_peers_than_it_may() {
    let (them, first, second) = (own_address(), own_address(), own_address());
    let mut config = router(SocketAddr::new(them, 0), &[]);
    config.peers = vec![range("leaves", first, 1)];
    let (router, _events) = Speaker::start(config).unwrap();
    let mut stream = connect_from(first, router.listening()[0]).await;
    handshake_with(&mut stream, &member_open()).await;
    let mut refused = connect_from(second, router.listening()[0]).await;
    assert_eq!(read_message(&mut refused).await, None, "closed without a word");
    assert_eq!(names(&router), [format!("leaves/{first}")]);
    // Who is in has its place, with another connection too.
    let mut again = connect_from(first, router.listening()[0]).await;
    assert_eq!(read_notification(&mut again).await, [6, 7], "connection collision resolution");
}

#[tokio::test]
async fn a_configured_peer_and_a_longer_range_go_before_a_range() {
    let (them, fixed, member) = (own_address(), own_address(), own_address());
    let mut config = router(SocketAddr::new(them, 0), &[fixed]);
    let wide = Remote::Range { prefix: Prefix::truncating(member, 8), max: 10 };
    config.peers.push(PeerConfig { name: "wide".parse().unwrap(), remote: wide, ..range("w", member, 1) });
    config.peers.push(range("narrow", member, 10));
    let (router, _events) = Speaker::start(config).unwrap();
    let mut streams = Vec::new();
    for source in [fixed, member, IpAddr::V4(Ipv4Addr::new(127, 1, 2, 3))] {
        let mut stream = connect_from(source, router.listening()[0]).await;
        assert_eq!(read_message(&mut stream).await.expect("OPEN")[18], 1);
        streams.push(stream);
    }
    assert_eq!(names(&router), ["pop0", &format!("narrow/{member}"), "wide/127.1.2.3"]);
}

#[tokio::test]
async fn orders_to_a_range_go_to_its_members_and_to_those_who_would_come() {
    let (them, member, other) = (own_address(), own_address(), own_address());
    let mut config = router(SocketAddr::new(them, 0), &[]);
    config.peers = vec![range("leaves", member, 10)];
    let (router, _events) = Speaker::start(config).unwrap();
    let mut stream = connect_from(member, router.listening()[0]).await;
    handshake_with(&mut stream, &member_open()).await;
    router.shutdown("leaves", "maintenance", Duration::ZERO).await.unwrap();
    let notification = read_notification(&mut stream).await;
    assert_eq!((&notification[..3], &notification[3..]), (&[6, 2, 11][..], &b"maintenance"[..]));
    let mut refused = connect_from(other, router.listening()[0]).await;
    assert_eq!(read_message(&mut refused).await, None);
    router.up("leaves").await.unwrap();
    let mut welcome = connect_from(other, router.listening()[0]).await;
    assert_eq!(read_message(&mut welcome).await.expect("OPEN")[18], 1);
    // Commands that need one session want one.
    assert!(matches!(router.advertised("leaves").await, Err(CommandError::IsRange(_))));
    let member = format!("leaves/{member}");
    assert!(matches!(router.remove_peer(&member).await, Err(CommandError::OfRange(_))));
    // The range goes with all who came of it.
    within("removal", router.remove_peer("leaves")).await.unwrap();
    assert!(names(&router).is_empty());
}

#[tokio::test]
async fn a_change_of_one_peer_leaves_the_other_as_it_is() {
    let Two { pop, mut first, mut second, config } = two().await;
    let before = identity(&status(&pop, "second"));
    let changed = PeerConfig { hold_time: Some(Duration::from_secs(30)), ..config.peers[0].clone() };
    assert_eq!(pop.reconfigure(changed).await.unwrap(), Effect::Reopened);
    assert_eq!(read_notification(&mut first).await, [6, 6], "other configuration change");
    pop.reset("first").await.unwrap();
    within("removal", pop.remove_peer("first")).await.unwrap();
    assert_eq!(names(&pop), ["second"]);
    pop.add_peer(config.peers[0].clone()).await.unwrap();
    assert_eq!(names(&pop), ["second", "first"]);

    pop.set_desired(vec![plain(V4)]).unwrap();
    assert_eq!(read_kind(&mut second, 2).await[18], 2, "the second session goes on");
    assert_eq!(identity(&status(&pop, "second")), before);
}

#[tokio::test]
async fn what_needs_no_new_session_is_changed_in_place() {
    let Two { pop, mut first, config, .. } = two().await;
    let before = identity(&status(&pop, "first"));
    let base = &config.peers[0];
    let multihop = proxima_bgp_speaker::Distance::Multihop(std::num::NonZeroU8::new(9).unwrap());
    let changes = [
        PeerConfig { max_prefixes: Some(MaxPrefixes::new(7)), ..base.clone() },
        PeerConfig { tcp_user_timeout: Some(Duration::from_secs(7)), ..base.clone() },
        PeerConfig { keepalive: false, ..base.clone() },
        PeerConfig { connect_retry: Some(Duration::from_secs(7)), ..base.clone() },
        PeerConfig { passive: true, ..base.clone() },
        PeerConfig { enforce_first_as: false, ..base.clone() },
        PeerConfig { distance: multihop, ..base.clone() },
    ];
    for change in changes {
        assert_eq!(pop.reconfigure(change.clone()).await.unwrap(), Effect::InPlace, "{change:?}");
        assert_eq!(pop.reconfigure(change).await.unwrap(), Effect::Unchanged);
    }
    // A next hop is told by announcing again.
    pop.reconfigure(base.clone()).await.unwrap();
    pop.set_desired(vec![plain(V4)]).unwrap();
    read_kind(&mut first, 2).await;
    let next_hop = Some(Ipv4Addr::new(10, 9, 8, 7));
    let change = PeerConfig { next_hop_ipv4: next_hop, ..base.clone() };
    assert_eq!(pop.reconfigure(change).await.unwrap(), Effect::InPlace);
    let update = read_kind(&mut first, 2).await;
    assert!(update.windows(4).any(|octets| octets == [10, 9, 8, 7]), "{update:?}");
    assert_eq!(identity(&status(&pop, "first")), before);
}

#[tokio::test]
async fn what_an_open_says_or_a_connection_is_made_with_needs_a_new_session() {
    let Two { pop, config, .. } = two().await;
    let base = &config.peers[0];
    let graceful_restart = GracefulRestart {
        restart_time: Duration::from_mins(1),
        stale_time: Duration::from_mins(1),
        forwarding: false,
    };
    let changes = [
        PeerConfig { remote_as: proxima_types::Asn(65009), ..base.clone() },
        PeerConfig { families: vec![Family::Ipv4], ..base.clone() },
        PeerConfig { hold_time: Some(Duration::from_mins(1)), ..base.clone() },
        PeerConfig { add_path: true, ..base.clone() },
        PeerConfig { extended_messages: false, ..base.clone() },
        PeerConfig { graceful_restart: Some(graceful_restart), ..base.clone() },
        PeerConfig { source: Some(own_address()), ..base.clone() },
        PeerConfig { source: None, ..base.clone() },
    ];
    for change in changes {
        assert_eq!(pop.reconfigure(change.clone()).await.unwrap(), Effect::Reopened, "{change:?}");
        pop.reconfigure(base.clone()).await.unwrap();
    }
    for change in [
        PeerConfig { port: 9, ..base.clone() },
        PeerConfig { remote: Remote::address(own_address()), ..base.clone() },
    ] {
        assert_eq!(pop.reconfigure(change).await.unwrap(), Effect::Replaced);
        pop.reconfigure(base.clone()).await.unwrap();
    }
    assert_eq!(names(&pop).len(), 2);
}

#[tokio::test]
async fn a_change_that_cannot_be_changes_nothing() {
    let Two { pop, mut second, config, .. } = two().await;
    let clash = PeerConfig {
        remote: config.peers[1].remote.clone(),
        port: config.peers[1].port,
        ..config.peers[0].clone()
    };
    assert!(matches!(
        pop.reconfigure(clash.clone()).await,
        Err(CommandError::Peer(PeerError::DuplicateAddress { .. }))
    ));
    let third = PeerConfig { name: "third".parse().unwrap(), ..clash };
    assert!(matches!(pop.add_peer(third).await, Err(CommandError::Peer(PeerError::DuplicateAddress { .. }))));
    assert!(matches!(
        pop.add_peer(config.peers[0].clone()).await,
        Err(CommandError::Peer(PeerError::DuplicateName(_)))
    ));
    let nobody = PeerConfig { name: "nobody".parse().unwrap(), ..config.peers[0].clone() };
    assert!(matches!(pop.reconfigure(nobody).await, Err(CommandError::UnknownPeer { .. })));
    assert_eq!(names(&pop), ["first", "second"]);
    pop.set_desired(vec![plain(V4)]).unwrap();
    read_kind(&mut second, 2).await;
}

#[tokio::test]
async fn shutdown_drains_first_then_says_why_and_lasts_until_up() {
    let us = own_address();
    let (listener, at) = listening(own_address()).await;
    let (pop, _events) = Speaker::start(speaker(vec![peer("router", at, THEIR_AS, us)])).unwrap();
    pop.set_desired(vec![plain(V4)]).unwrap();
    let mut stream = accept(&listener).await;
    handshake(&mut stream).await;
    read_kind(&mut stream, 2).await;
    pop.shutdown("router", "new optics", Duration::from_millis(100)).await.unwrap();
    let update = read_kind(&mut stream, 2).await;
    assert!(update.ends_with(&[24, 203, 0, 113]), "announced once more: {update:?}");
    assert!(update.windows(4).any(|octets| octets == [0xff, 0xff, 0, 0]), "GRACEFUL_SHUTDOWN: {update:?}");
    let notification = read_notification(&mut stream).await;
    assert_eq!((&notification[..3], &notification[3..]), (&[6, 2, 10][..], &b"new optics"[..]));
    until(&pop, "router", State::Idle).await;
    // It lasts: no timer runs that would begin an attempt.
    let session = status(&pop, "router").session;
    assert_eq!((session.timers.connect_retry, session.timers.idle_hold), (None, None));
    assert!(matches!(session.held, Some(Held::Shutdown(reason)) if reason == "new optics"));
    pop.up("router").await.unwrap();
    let mut stream = accept(&listener).await;
    handshake(&mut stream).await;
    until(&pop, "router", State::Established).await;
}

#[tokio::test]
async fn a_peer_configured_as_shut_down_waits_for_up() {
    let us = own_address();
    let (listener, at) = listening(own_address()).await;
    let mut config = speaker(vec![peer("router", at, THEIR_AS, us)]);
    config.peers[0].shutdown = Some("not yet".to_owned());
    let (pop, _events) = Speaker::start(config.clone()).unwrap();
    assert!(status(&pop, "router").session.state == State::Idle);
    config.peers[0].shutdown = None;
    assert_eq!(pop.reconfigure(config.peers[0].clone()).await.unwrap(), Effect::InPlace);
    let mut stream = accept(&listener).await;
    handshake(&mut stream).await;
    config.peers[0].shutdown = Some("again".to_owned());
    assert_eq!(pop.reconfigure(config.peers[0].clone()).await.unwrap(), Effect::InPlace);
    assert_eq!(read_notification(&mut stream).await[..2], [6, 2]);
}

#[tokio::test]
async fn bfd_down_ends_the_session_with_its_own_cease_if_bfd_was_up() {
    let Two { pop, mut first, mut second, .. } = two().await;
    let down = BfdState::Down { diagnostic: "control detection time expired".to_owned(), independent: false };
    pop.bfd("second", down.clone()).await.unwrap();
    pop.bfd("first", BfdState::Up).await.unwrap();
    pop.bfd("first", down).await.unwrap();
    assert_eq!(read_notification(&mut first).await[..2], [6, 10]);
    pop.bfd("second", BfdState::Up).await.unwrap();
    pop.bfd("second", BfdState::AdminDown).await.unwrap();
    pop.set_desired(vec![plain(V4)]).unwrap();
    read_kind(&mut second, 2).await;
    assert_eq!(status(&pop, "second").session.counters.flaps, 0);
}

/// A peer with graceful restart on both sides, that holds one route of ours.
async fn graceful() -> (SpeakerHandle, TcpStream) {
    let us = own_address();
    let (listener, at) = listening(own_address()).await;
    let mut config = speaker(vec![peer("router", at, THEIR_AS, us)]);
    config.peers[0].graceful_restart = Some(GracefulRestart {
        restart_time: Duration::from_mins(2),
        stale_time: Duration::from_mins(2),
        forwarding: true,
    });
    let (pop, _events) = Speaker::start(config).unwrap();
    pop.set_desired(vec![plain(V4)]).unwrap();
    let mut stream = accept(&listener).await;
    handshake_with(&mut stream, &open(0, &[MP_IPV4, GRACEFUL_RESTART])).await;
    read_kind(&mut stream, 2).await;
    (pop, stream)
}

/// The flags of the graceful restart capability (RFC 4724 §3) in an OPEN: code 64, length, flags and time.
fn restart_flags(open: &[u8]) -> u8 {
    let (code, length) = (64, 6); // one family
    let at =
        open.windows(2).position(|octets| octets == [code, length]).expect("graceful restart is offered");
    open[at + 2] & 0xf0
}

#[tokio::test]
async fn every_peer_hears_of_the_restart_one_that_is_added_and_one_of_a_range_too() {
    const R: u8 = 0x80;
    let (us, member) = (own_address(), own_address());
    let graceful = GracefulRestart {
        restart_time: Duration::from_mins(1),
        stale_time: Duration::from_mins(1),
        forwarding: true,
    };
    let with = |config: PeerConfig| PeerConfig {
        families: vec![Family::Ipv4],
        graceful_restart: Some(graceful),
        ..config
    };
    let mut listeners = Vec::new();
    let mut peers = Vec::new();
    for name in ["first", "second", "later"] {
        let (listener, at) = listening(own_address()).await;
        listeners.push(listener);
        peers.push(with(peer(name, at, THEIR_AS, us)));
    }
    let later = peers.pop().unwrap();
    peers.push(with(range("leaves", member, 1)));
    let config = SpeakerConfig { listen: vec![SocketAddr::new(us, 0)], ..speaker(peers) };
    let (pop, _events) = Speaker::start(config).unwrap();
    pop.add_peer(later).await.unwrap();
    for listener in &listeners {
        let open = read_message(&mut accept(listener).await).await.unwrap();
        assert_eq!(restart_flags(&open) & R, R, "{open:?}");
    }
    let mut stream = connect_from(member, pop.listening()[0]).await;
    let open = read_message(&mut stream).await.unwrap();
    assert_eq!(restart_flags(&open) & R, R, "{open:?}");
}

#[tokio::test]
async fn stop_withdraws_and_ends_the_session_for_good_even_for_a_peer_with_graceful_restart() {
    let (pop, mut stream) = graceful().await;
    let stopped = tokio::spawn(async move { pop.stop(Leave::Stop { reason: "bye".to_owned() }).await });
    let withdrawal = read_kind(&mut stream, 2).await;
    assert_eq!(withdrawal[19..25], [0, 4, 24, 203, 0, 113], "withdrawn, then");
    let notification = read_notification(&mut stream).await;
    assert_eq!(notification[..4], [6, 9, 6, 2], "Hard Reset with administrative shutdown inside");
    assert!(notification.ends_with(b"bye"));
    drop(stream);
    within("stop", stopped).await.unwrap();
}

#[tokio::test]
async fn restart_says_nothing_so_that_the_peer_keeps_the_routes() {
    let (pop, mut stream) = graceful().await;
    let stopped = tokio::spawn(async move { pop.stop(Leave::Restart).await });
    assert_eq!(read_message(&mut stream).await, None, "neither withdrawal nor NOTIFICATION");
    drop(stream);
    within("stop", stopped).await.unwrap();
}

#[tokio::test]
async fn received_routes_are_asked_for_by_peer_prefix_and_address() {
    let Two { pop, mut first, mut second, .. } = two().await;
    first.write_all(&announce([[10, 0, 1], [10, 0, 2], [10, 0, 3]])).await.unwrap();
    second.write_all(&announce([[10, 0, 2]])).await.unwrap();
    until_received(&pop, "first", 3).await;
    until_received(&pop, "second", 1).await;
    let prefixes: Vec<_> =
        received(&pop, "first").await.iter().map(|route| route.route.prefix.to_string()).collect();
    assert_eq!(prefixes, ["10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"]);
    let middle = common::prefix("10.0.2.0/24");
    let explained = pop.explain(middle).await.unwrap();
    assert_eq!(explained.len(), 2);
    let best = pop.best(middle).await.unwrap().unwrap();
    assert_eq!(best.peer, explained[0].0.peer);
    let found = pop.lookup("10.0.3.77".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(
        (found.peer.unwrap().to_string(), found.route.prefix.to_string()),
        ("first".into(), "10.0.3.0/24".into())
    );
    assert_eq!(pop.lookup("10.0.4.1".parse().unwrap()).await.unwrap(), None);
    let within = pop.within(common::prefix("10.0.0.0/16"), Some("second"), None, 10).await.unwrap();
    assert_eq!(within.routes.len(), 1);
    assert_eq!(pop.covering(common::prefix("10.0.2.128/25")).await.unwrap(), [middle]);
}

#[tokio::test]
async fn a_watch_tells_when_another_announces_a_prefix_and_when_it_stops() {
    let Two { pop, mut first, .. } = two().await;
    let watched = common::prefix("10.0.1.0/24");
    let mut watch = pop.watch(proxima_bgp_speaker::Watch::Exact(watched)).await.unwrap();
    first.write_all(&announce([[10, 0, 9], [10, 0, 1]])).await.unwrap();
    let seen =
        within("the route", watch.wait_for(|change| change.as_ref().is_some_and(|c| c.best.is_some())));
    let peer = seen.await.unwrap().as_ref().unwrap().best.as_ref().unwrap().peer;
    assert_eq!(pop.peer_name(peer).unwrap().as_str(), "first");
    first.shutdown().await.unwrap();
    let gone = watch.wait_for(|change| change.as_ref().is_some_and(|c| c.paths.is_empty()));
    within("its end", gone).await.unwrap();
}

#[tokio::test]
async fn too_many_prefixes_close_the_session_and_only_that_one() {
    let Two { pop, mut first, mut second, config } = two().await;
    let limited = PeerConfig { max_prefixes: Some(MaxPrefixes::new(2)), ..config.peers[0].clone() };
    assert_eq!(pop.reconfigure(limited).await.unwrap(), Effect::InPlace);
    first.write_all(&announce([[10, 0, 1], [10, 0, 2]])).await.unwrap();
    until_received(&pop, "first", 2).await;
    first.write_all(&announce([[10, 0, 3]])).await.unwrap();
    assert_eq!(read_notification(&mut first).await[..2], [6, 1]);
    second.write_all(&announce([[10, 0, 1], [10, 0, 2], [10, 0, 3]])).await.unwrap();
    until_received(&pop, "second", 3).await;
    until_received(&pop, "first", 0).await;
}

#[tokio::test]
async fn routes_of_a_removed_peer_are_gone() {
    let Two { pop, mut first, .. } = two().await;
    first.write_all(&announce([[10, 0, 1]])).await.unwrap();
    until_received(&pop, "first", 1).await;
    let notified = tokio::spawn(async move { read_notification(&mut first).await });
    within("removal", pop.remove_peer("first")).await.unwrap();
    assert_eq!(notified.await.unwrap(), [6, 3], "peer deconfigured");
    within("its route to go", async {
        while pop.best(common::prefix("10.0.1.0/24")).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_refresh_asks_the_peer_for_its_routes() {
    let us = own_address();
    let (listener, at) = listening(own_address()).await;
    let (pop, _events) = Speaker::start(speaker(vec![peer("router", at, THEIR_AS, us)])).unwrap();
    let mut stream = accept(&listener).await;
    handshake_with(&mut stream, &open(0, &[MP_IPV4, common::raw::ROUTE_REFRESH])).await;
    until(&pop, "router", State::Established).await;
    pop.refresh("router", Family::Ipv4).await.unwrap();
    assert_eq!(read_kind(&mut stream, 5).await[19..], [0, 1, 0, 1]);
}

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
    let prefixes: Vec<[u8; 3]> =
        (0..20_001u32).map(|n| [10 + (n >> 16) as u8, (n >> 8) as u8, n as u8]).collect();
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
async fn a_hand_over_that_is_called_off_leaves_everything_as_it_was() {
    let Two { pop, mut first, mut second, .. } = two().await;
    pop.shutdown("second", "enough", Duration::ZERO).await.unwrap();
    assert_eq!(read_notification(&mut second).await[..2], [6, 2]);
    until(&pop, "second", State::Idle).await;
    let before = identity(&status(&pop, "first"));
    let handed = within("the hand-over", pop.hand_over()).await;
    // What the peer says meanwhile waits.
    first.write_all(&announce([[10, 0, 1]])).await.unwrap();
    assert_eq!(handed.detached.peers.len(), 1);
    assert_eq!(handed.detached.down, [("second".parse().unwrap(), "enough".to_owned())]);
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
