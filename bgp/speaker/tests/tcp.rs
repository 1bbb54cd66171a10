//! Speakers over real TCP on loopback addresses: with each other, with hostile bytes, with nobody.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use common::{
    V4, V6, event, free_port, own_address, peer, plain, prefix,
    raw::{
        KEEPALIVE, MP_IPV4, OPEN, ROUTE_REFRESH, THEIR_AS, accept, announce, connect_from, handshake,
        handshake_with, listening, message, open, read_kind, read_message, read_notification, router,
    },
    received, received_count, until, until_received, within,
};
use proxima_bgp_speaker::{
    AllowList, Cause, CommandError, Leave, LimitAction, MaxPrefixes, PeerError, PeerStatus, Problem, Remote,
    Speaker, SpeakerConfig, SpeakerEvent, Stale, StartError, State, UpdateContent,
};
use proxima_types::Asn;
use tokio::{io::AsyncWriteExt, net::TcpListener};

#[tokio::test]
async fn two_speakers_exchange_routes_both_ways_and_take_leave() {
    let (us, them) = (own_address(), own_address());
    let (router, _router_events) = Speaker::start(router(SocketAddr::new(them, 0), &[us])).unwrap();
    let (pop, mut events) =
        Speaker::start(common::speaker(vec![peer("router", router.listening()[0], THEIR_AS, us)])).unwrap();
    pop.set_desired(vec![plain(V4), plain(V6)]).unwrap();
    pop.release_end_of_rib();
    router.set_desired(vec![plain(V6)]).unwrap();
    until_received(&router, "pop0", 2).await;
    until_received(&pop, "router", 1).await;

    let status = pop.peers().remove(0);
    assert_eq!(status.session.state, State::Established);
    assert_eq!(status.local.map(|address| address.ip()), Some(us));
    assert_eq!(status.remote, Some(router.listening()[0]));
    assert_eq!(status.terms().unwrap().hold_time, Some(Duration::from_secs(9)));
    assert_eq!(status.session.advertised, 2);
    let received = received(&pop, "router").await;
    assert_eq!(received[0].route.prefix, prefix(V6));
    assert_eq!(received[0].route.shared.attributes.as_path.to_string(), "65000");
    assert_eq!(pop.advertised("router").await.unwrap().len(), 2);

    // Each change is told, with what was sent.
    let mut sent = Vec::new();
    event("both End-of-RIBs", &mut events, |event| {
        if let SpeakerEvent::UpdateSent { content, .. } = event {
            sent.push(content);
        }
        (sent.iter().filter(|content| matches!(content, UpdateContent::EndOfRib(_))).count() == 2)
            .then_some(())
    })
    .await;
    assert_eq!(sent.len(), 4);

    within("stop", pop.stop(Leave::Stop { reason: "maintenance".to_owned() })).await;
    until(&router, "pop0", State::Idle).await;
    until_received(&router, "pop0", 0).await;
    let status = router.peers().remove(0);
    let last = status.session.last_received.unwrap().what.to_string();
    assert!(last.contains("administrative shutdown (6/2)") && last.contains("maintenance"), "{last}");
    assert!(matches!(pop.reset("router").await, Err(CommandError::Stopped)));
}

#[tokio::test]
async fn a_session_over_ipv6_carries_both_families() {
    let loopback = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
    let (router, _router_events) = Speaker::start(router(SocketAddr::new(loopback, 0), &[loopback])).unwrap();
    let mut towards = peer("router", router.listening()[0], THEIR_AS, loopback);
    towards.next_hop_ipv4 = Some(Ipv4Addr::new(10, 0, 0, 9));
    towards.next_hop_ipv6 = None;
    let (pop, _events) = Speaker::start(common::speaker(vec![towards])).unwrap();
    pop.set_desired(vec![plain(V4), plain(V6)]).unwrap();
    until_received(&router, "pop0", 2).await;
    let received = received(&router, "pop0").await;
    let next_hops: Vec<_> =
        received.iter().map(|route| route.route.shared.next_hop.address.to_string()).collect();
    assert_eq!(next_hops, ["10.0.0.9", "::1"], "as configured, and the local address of the session");
}

#[tokio::test]
async fn reset_begins_a_new_session() {
    let (us, them) = (own_address(), own_address());
    let (router, _router_events) = Speaker::start(router(SocketAddr::new(them, 0), &[us])).unwrap();
    let (pop, _events) =
        Speaker::start(common::speaker(vec![peer("router", router.listening()[0], THEIR_AS, us)])).unwrap();
    pop.set_desired(vec![plain(V4)]).unwrap();
    until_received(&router, "pop0", 1).await;
    pop.reset("router").await.unwrap();
    within("the flap", router.wait_for("pop0", |status| status.session.counters.flaps == 1)).await.unwrap();
    until_received(&router, "pop0", 1).await;
    let error = pop.reset("rooter").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no BGP peer `rooter`; there are: router");
}

#[tokio::test]
async fn a_prefix_outside_the_allow_list_cannot_be_sent() {
    let (us, them) = (own_address(), own_address());
    let (router, _router_events) = Speaker::start(router(SocketAddr::new(them, 0), &[us])).unwrap();
    let (pop, _events) =
        Speaker::start(common::speaker(vec![peer("router", router.listening()[0], THEIR_AS, us)])).unwrap();
    pop.set_desired(vec![plain(V4)]).unwrap();
    until_received(&router, "pop0", 1).await;
    let error = pop.set_desired(vec![plain(V6), plain("0.0.0.0/0"), plain("203.0.113.0/25")]).unwrap_err();
    assert_eq!(error.0, ["0.0.0.0/0", "203.0.113.0/25"].map(prefix));
    // Nothing of it was applied: what comes next is the next good state.
    pop.set_desired(vec![plain(V4), plain(V6)]).unwrap();
    until_received(&router, "pop0", 2).await;
    let received = received(&router, "pop0").await;
    assert_eq!(received.iter().map(|route| route.route.prefix).collect::<Vec<_>>(), [prefix(V4), prefix(V6)]);
}

#[tokio::test]
async fn the_allow_list_changes_with_the_configuration_but_never_under_a_route_that_is_announced() {
    const NEW: &str = "198.51.100.0/24";
    let (us, them) = (own_address(), own_address());
    let (router, _router_events) = Speaker::start(router(SocketAddr::new(them, 0), &[us])).unwrap();
    let (pop, _events) =
        Speaker::start(common::speaker(vec![peer("router", router.listening()[0], THEIR_AS, us)])).unwrap();
    pop.set_desired(vec![plain(V4)]).unwrap();
    until_received(&router, "pop0", 1).await;

    let narrow = AllowList::new([prefix(NEW)]);
    assert_eq!(pop.set_allow_list(narrow.clone()).unwrap_err().0, [prefix(V4)]);
    assert_eq!(pop.set_desired(vec![plain(NEW)]).unwrap_err().0, [prefix(NEW)], "the old list is in force");

    pop.set_allow_list(AllowList::new([prefix(V4), prefix(NEW)])).unwrap();
    pop.set_desired(vec![plain(V4), plain(NEW)]).unwrap();
    until_received(&router, "pop0", 2).await;
    pop.set_desired(vec![plain(NEW)]).unwrap();
    pop.set_allow_list(narrow).unwrap();
    until_received(&router, "pop0", 1).await;
    assert_eq!(pop.set_desired(vec![plain(V4)]).unwrap_err().0, [prefix(V4)], "gone from the list");
    let received = received(&router, "pop0").await;
    assert_eq!(received.iter().map(|route| route.route.prefix).collect::<Vec<_>>(), [prefix(NEW)]);
}

#[tokio::test]
async fn hostile_bytes_are_answered_exactly_and_the_session_comes_back() {
    let mut garbage = KEEPALIVE.to_vec();
    garbage[0] = 0;
    let mut short = KEEPALIVE.to_vec();
    short[17] = 18;
    let mut unknown = KEEPALIVE.to_vec();
    unknown[18] = 9;
    let mut version = OPEN.to_vec();
    version[19] = 3;
    let mut wrong_as = OPEN.to_vec();
    wrong_as[21] = 1;
    let http = b"GET / HTTP/1.1\r\nHost: router\r\n\r\n".repeat(2000);
    let cases: [(&[u8], &[u8]); 6] = [
        (&garbage, &[1, 1]),
        (&short, &[1, 2, 0, 18]),
        (&unknown, &[1, 3, 9]),
        (&version, &[2, 1, 0, 4]),
        (&wrong_as, &[2, 2]),
        (&http, &[1, 1]),
    ];
    let (us, them, neighbour) = (own_address(), own_address(), own_address());
    let hostile = TcpListener::bind(SocketAddr::new(them, 0)).await.unwrap();
    let (router, _router_events) = Speaker::start(router(SocketAddr::new(neighbour, 0), &[us])).unwrap();
    let mut config = common::speaker(vec![
        peer("hostile", hostile.local_addr().unwrap(), THEIR_AS, us),
        peer("router", router.listening()[0], THEIR_AS, us),
    ]);
    config.connect_retry = Duration::from_millis(5);
    let (pop, _events) = Speaker::start(config).unwrap();
    pop.set_desired(vec![plain(V4)]).unwrap();
    until_received(&router, "pop0", 1).await;

    for (bytes, expected) in cases {
        let (mut stream, _) = within("an attempt", hostile.accept()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert_eq!(read_notification(&mut stream).await, expected);
    }
    // In mid-session: an UPDATE whose lengths do not add up.
    let (mut stream, _) = within("an attempt", hostile.accept()).await.unwrap();
    handshake(&mut stream).await;
    until(&pop, "hostile", State::Established).await;
    stream
        .write_all(
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x17\x02\x00\xff\x00\x00",
        )
        .await
        .unwrap();
    assert_eq!(read_notification(&mut stream).await, [3, 1]);
    let (mut stream, _) = within("an attempt", hostile.accept()).await.unwrap();
    handshake(&mut stream).await;
    until(&pop, "hostile", State::Established).await;
    let status = pop.peers();
    assert_eq!(status[0].session.counters.flaps, 1);
    let last = status[0].session.last_sent.as_ref().unwrap().what.to_string();
    assert!(last.contains("malformed attribute list (3/1)"), "{last}");
    // The neighbour noticed nothing.
    assert_eq!((status[1].session.state, status[1].session.counters.flaps), (State::Established, 0));
    assert_eq!(received_count(&router.peers()[0]), 1);
}

#[tokio::test]
async fn an_unconfigured_source_is_rejected_and_told_so() {
    let (us, them, stranger) = (own_address(), own_address(), own_address());
    let (router, _events) = Speaker::start(router(SocketAddr::new(them, 0), &[us])).unwrap();
    let mut stream = connect_from(stranger, router.listening()[0]).await;
    assert_eq!(read_notification(&mut stream).await, [6, 5]);
    // Whom it knows it lets in.
    let mut stream = connect_from(us, router.listening()[0]).await;
    assert_eq!(read_message(&mut stream).await.expect("OPEN")[18], 1);
}

#[tokio::test]
async fn a_peer_that_comes_to_another_address_than_its_source_is_rejected() {
    let (us, other, them) = (own_address(), own_address(), own_address());
    let mut config = common::speaker(vec![peer("router", SocketAddr::new(them, 179), THEIR_AS, us)]);
    config.listen = [us, other].map(|address| SocketAddr::new(address, 0)).to_vec();
    config.peers[0].passive = true;
    let (pop, _events) = Speaker::start(config).unwrap();
    let mut stream = connect_from(them, pop.listening()[1]).await;
    assert_eq!(read_notification(&mut stream).await, [6, 5]);
    let mut stream = connect_from(them, pop.listening()[0]).await;
    assert_eq!(read_message(&mut stream).await.expect("OPEN")[18], 1);
}

#[tokio::test]
async fn no_session_is_at_an_address_that_is_announced() {
    let (us, them) = (own_address(), own_address());
    let mut config = common::speaker(vec![peer("router", SocketAddr::new(them, 179), THEIR_AS, us)]);
    config.listen = vec![SocketAddr::new(us, 0)];
    config.peers[0].passive = true;
    let (pop, _events) = Speaker::start(config).unwrap();
    let to = pop.listening()[0];
    pop.set_allow_list(AllowList::new([prefix(&format!("{us}/32"))])).unwrap();
    let mut stream = connect_from(them, to).await;
    assert_eq!(read_notification(&mut stream).await, [6, 5]);
    pop.set_allow_list(AllowList::new([prefix(V4), prefix("0.0.0.0/0")])).unwrap();
    let mut stream = connect_from(them, to).await;
    assert_eq!(read_message(&mut stream).await.expect("OPEN")[18], 1);
}

#[tokio::test]
async fn a_peer_that_comes_by_another_interface_than_its_own_is_rejected() {
    for (interface, taken) in [("lo", true), ("nosuch0", false)] {
        let (us, them) = (own_address(), own_address());
        let mut config = common::speaker(vec![peer("router", SocketAddr::new(them, 179), THEIR_AS, us)]);
        config.listen = vec![SocketAddr::new(us, 0)];
        config.peers[0].passive = true;
        config.peers[0].remote = Remote::Address { address: them, interface: Some(interface.to_owned()) };
        let (pop, _events) = Speaker::start(config).unwrap();
        let mut stream = connect_from(them, pop.listening()[0]).await;
        if taken {
            handshake(&mut stream).await;
        } else {
            assert_eq!(read_notification(&mut stream).await, [6, 5]);
        }
    }
}

#[tokio::test]
async fn a_crowd_of_strangers_does_not_keep_a_peer_out() {
    let (us, them, stranger) = (own_address(), own_address(), own_address());
    let (router, _router_events) = Speaker::start(router(SocketAddr::new(them, 0), &[us])).unwrap();
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(connect_from(stranger, router.listening()[0]).await);
    }
    let (pop, _events) =
        Speaker::start(common::speaker(vec![peer("router", router.listening()[0], THEIR_AS, us)])).unwrap();
    until(&pop, "router", State::Established).await;
    drop(crowd);
}

#[tokio::test]
async fn an_unreachable_router_is_told_with_its_remedy_and_tried_until_it_is_there() {
    let (us, them) = (own_address(), own_address());
    let address = SocketAddr::new(them, free_port(them));
    let (pop, mut events) =
        Speaker::start(common::speaker(vec![peer("router", address, THEIR_AS, us)])).unwrap();
    let refused = |event| match event {
        SpeakerEvent::StateChanged { cause: Cause::ConnectFailed(error), .. } => Some(error),
        _ => None,
    };
    let error = event("a refusal", &mut events, refused).await;
    assert!(error.contains("nothing listens there: start BGP on the router"), "{error}");
    event("a second refusal", &mut events, refused).await;
    let (router, _router_events) = Speaker::start(router(address, &[us])).unwrap();
    until(&pop, "router", State::Established).await;
    until(&router, "pop0", State::Established).await;
}

#[tokio::test]
async fn a_source_that_is_not_ours_is_named() {
    let them = own_address();
    let config = common::speaker(vec![peer(
        "router",
        SocketAddr::new(them, 179),
        THEIR_AS,
        "198.51.100.77".parse().unwrap(),
    )]);
    let (_pop, mut events) = Speaker::start(config).unwrap();
    let error = event("the error", &mut events, |event| match event {
        SpeakerEvent::StateChanged { cause: Cause::ConnectFailed(error), .. } => Some(error),
        _ => None,
    })
    .await;
    assert!(error.contains("source 198.51.100.77 is not an address of this host"), "{error}");
}

#[tokio::test]
async fn a_start_that_cannot_work_says_what_to_do() {
    let us = own_address();
    let taken = std::net::TcpListener::bind((us, 0)).unwrap().local_addr().unwrap();
    let _holder = TcpListener::bind(taken).await.unwrap();
    let base = || common::speaker(vec![peer("router", SocketAddr::new(own_address(), 179), THEIR_AS, us)]);
    let error = |config| Speaker::start(config).map(|_| ()).unwrap_err();

    let text = error(SpeakerConfig { listen: vec![taken], ..base() }).to_string();
    assert!(text.starts_with(&format!("cannot listen for BGP on {taken}")), "{text}");
    assert!(text.contains("another BGP daemon holds port"), "{text}");
    let foreign = "198.51.100.77:1790".parse().unwrap();
    let text = error(SpeakerConfig { listen: vec![foreign], ..base() }).to_string();
    assert!(text.contains("198.51.100.77 is not an address of this host"), "{text}");

    let error = |change: fn(&mut SpeakerConfig)| {
        let mut config = base();
        change(&mut config);
        error(config)
    };
    assert!(matches!(error(|c| c.hold_time = Duration::from_secs(2)), StartError::HoldTime(_)));
    assert!(matches!(error(|c| c.hold_time = Duration::from_millis(9500)), StartError::HoldTime(_)));
    assert!(matches!(error(|c| c.local_as = Asn(0)), StartError::ZeroIdentity));
    assert!(matches!(error(|c| c.peers[0].families.clear()), StartError::Peer(PeerError::NoFamilies(_))));
    assert!(matches!(
        error(|c| c.peers.push(c.peers[0].clone())),
        StartError::Peer(PeerError::DuplicateName(_))
    ));
    let twin = |c: &mut SpeakerConfig| {
        c.peers.push(proxima_bgp_speaker::PeerConfig { name: "twin".parse().unwrap(), ..c.peers[0].clone() });
    };
    assert!(matches!(error(twin), StartError::Peer(PeerError::DuplicateAddress { .. })));
    let twin_at_another_port = |listen: Vec<SocketAddr>, passive| {
        let mut config = SpeakerConfig { listen, ..base() };
        let mut twin =
            proxima_bgp_speaker::PeerConfig { name: "twin".parse().unwrap(), ..config.peers[0].clone() };
        (twin.port, twin.passive) = (1790, passive);
        config.peers.push(twin);
        Speaker::start(config).map(|_| ())
    };
    assert!(twin_at_another_port(Vec::new(), false).is_ok(), "we connect, and know to whom");
    for ambiguous in
        [twin_at_another_port(vec![SocketAddr::new(us, 0)], false), twin_at_another_port(Vec::new(), true)]
    {
        assert!(matches!(ambiguous, Err(StartError::Peer(PeerError::DuplicateAddress { .. }))));
    }
    let other_version = |c: &mut SpeakerConfig| c.peers[0].source = Some("::1".parse().unwrap());
    assert!(matches!(error(other_version), StartError::Peer(PeerError::SourceFamily { .. })));
}

#[tokio::test]
async fn a_session_learns_what_the_kernel_takes() {
    let (us, them) = (own_address(), own_address());
    let (router, _router_events) = Speaker::start(router(SocketAddr::new(them, 0), &[us])).unwrap();
    let (pop, _events) =
        Speaker::start(common::speaker(vec![peer("router", router.listening()[0], THEIR_AS, us)])).unwrap();
    until(&pop, "router", State::Established).await;
    let before = pop.peers()[0].session.last_written.expect("OPEN and KEEPALIVE were taken");
    pop.set_desired(vec![plain(V4)]).unwrap();
    let taken = |status: &proxima_bgp_speaker::PeerStatus| {
        status.session.counters.updates_sent == 1 && status.session.last_written > Some(before)
    };
    within("the UPDATE", pop.wait_for("router", taken)).await.unwrap();
}

#[tokio::test]
async fn a_refresh_of_the_peers_does_not_make_its_routes_those_of_a_lost_session() {
    const MARK: u8 = 5;
    let (us, them) = (own_address(), own_address());
    let (listener, at) = listening(them).await;
    let config = common::speaker(vec![peer("router", at, THEIR_AS, us)]);
    let (pop, _events) = Speaker::start(config).unwrap();
    let mut router = accept(&listener).await;
    let enhanced = open(0, &[MP_IPV4, ROUTE_REFRESH, &[70, 0]]);
    handshake_with(&mut router, &enhanced).await;
    let routes = [[198, 51, 100], [203, 0, 113]];
    router.write_all(&announce(routes)).await.unwrap();
    until_received(&pop, "router", 2).await;

    let stale = async |wanted: [Option<Stale>; 2]| {
        within("the routes", async {
            while received(&pop, "router").await.iter().map(|route| route.route.stale).ne(wanted) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    router.write_all(&message(MARK, &[0, 1, 1, 1])).await.unwrap();
    router.write_all(&announce(routes[..1].iter().copied())).await.unwrap();
    stale([None, Some(Stale::Refresh)]).await;
    router.write_all(&message(MARK, &[0, 1, 2, 1])).await.unwrap();
    until_received(&pop, "router", 1).await;
}

#[tokio::test]
async fn a_full_table_does_not_end_the_session_that_leaves_out_what_is_too_much() {
    let (us, them) = (own_address(), own_address());
    let (listener, at) = listening(them).await;
    let mut config = common::speaker(vec![peer("router", at, THEIR_AS, us)]);
    let limit = |limit| MaxPrefixes { action: LimitAction::Discard, ..MaxPrefixes::new(limit) };
    config.peers[0].max_prefixes = Some(limit(100));
    let (pop, mut events) = Speaker::start(config.clone()).unwrap();
    let mut router = accept(&listener).await;
    handshake_with(&mut router, &open(0, &[MP_IPV4, ROUTE_REFRESH])).await;
    for high in 0..50 {
        router.write_all(&announce((0..100).map(|low| [10, high, low]))).await.unwrap();
    }
    let discarded = |total| {
        let full = move |status: &PeerStatus| status.session.counters.discarded == total;
        within("all of it", pop.wait_for("router", full))
    };
    let status = discarded(4900).await.unwrap();
    assert_eq!((received_count(&status), status.session.state), (100, State::Established));
    let told = |event| match event {
        SpeakerEvent::Problem { problem: Problem::PrefixesDiscarded { limit, .. }, .. } => Some(limit),
        _ => None,
    };
    assert_eq!(event("the problem", &mut events, told).await, 100);
    // Raised, the peer is asked for what was left out.
    config.peers[0].max_prefixes = Some(limit(101));
    pop.reconfigure(config.peers.remove(0)).await.unwrap();
    read_kind(&mut router, 5).await;
    router.write_all(&announce([[11, 0, 0], [11, 0, 1]])).await.unwrap();
    assert_eq!(received_count(&discarded(4901).await.unwrap()), 101);
    assert!(std::iter::from_fn(|| events.try_recv()).all(|event| told(event) != Some(100)), "told once");
}

#[tokio::test]
async fn paths_beyond_the_most_to_one_prefix_are_told_of_once() {
    let (us, them) = (own_address(), own_address());
    let (listener, at) = listening(them).await;
    let mut config = common::speaker(vec![peer("router", at, THEIR_AS, us)]);
    config.peers[0].add_path = true;
    let (pop, mut events) = Speaker::start(config).unwrap();
    let mut router = accept(&listener).await;
    // It may send several paths (RFC 7911 §4).
    handshake_with(&mut router, &open(0, &[MP_IPV4, &[69, 4, 0, 1, 1, 2]])).await;
    let paths = |range: std::ops::Range<u32>| {
        let attributes = b"\x40\x01\x01\x00\x40\x02\x04\x02\x01\xfd\xe8\x40\x03\x04\xc0\x00\x02\x16";
        let mut body = vec![0, 0, 0, u8::try_from(attributes.len()).unwrap()];
        body.extend(attributes);
        for path_id in range {
            body.extend(path_id.to_be_bytes());
            body.extend([24, 10, 0, 0]);
        }
        message(2, &body)
    };
    for range in [1..257, 257..261, 261..263] {
        router.write_all(&paths(range)).await.unwrap();
    }
    let full = |status: &PeerStatus| status.session.counters.discarded == 6;
    let status = within("all of it", pop.wait_for("router", full)).await.unwrap();
    assert_eq!((received_count(&status), status.session.state), (256, State::Established));
    let told = |event| match event {
        SpeakerEvent::Problem { problem: Problem::PathsDiscarded { limit, .. }, .. } => Some(limit),
        _ => None,
    };
    assert_eq!(event("the problem", &mut events, told).await, 256);
    assert!(std::iter::from_fn(|| events.try_recv()).all(|event| told(event).is_none()), "told once");
}
