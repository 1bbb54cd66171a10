//! Routers that are away, silent or talk nonsense: the session pays for it, nobody else.

use std::time::Duration;

use proxima_api::{EventKind, Peer, ReceivedRoutes, SessionReason, SessionState, paths};
use proxima_types::Health;

use crate::support::{
    App, Client, Daemon, KEEPALIVE, Manner, Pop, Port, Router, announcement, get, message, open, update,
};

fn peer(daemon: &Daemon, name: &str) -> Peer {
    daemon.ask(&format!("{}/{name}", paths::PEERS))
}

/// `bytes` with those at `at` replaced.
fn patched(mut bytes: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

#[test]
fn with_its_router_away_the_pop_serves_and_says_why_there_is_no_session() {
    let nobody = Port::reserve();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer_at("router", nobody.address).backend("eu", &app);
    let daemon = pop.start();
    daemon.wait_verdict("app/eu-1", Health::Up);
    assert_eq!(get(pop.web(), "/").status, 200);
    let reason = daemon.wait_event("a failed attempt", |event| match &event.kind {
        EventKind::PeerState { reason: Some(reason), .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(
        matches!(&reason, SessionReason::ConnectFailed { error } if error.contains("refused")),
        "{reason}"
    );
    let peer = peer(&daemon, "router");
    assert_ne!(peer.state, SessionState::Established);
    let error = peer.last_error.expect("a reason").to_string();
    assert!(error.contains(&nobody.address.to_string()) || error.contains("refused"), "{error}");
    assert!(daemon.log().contains("no BGP session, retrying"), "{}", daemon.log());
}

#[test]
fn a_router_that_comes_late_gets_everything() {
    let place = Port::reserve();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer_at("router", place.address).backend("eu", &app);
    let daemon = pop.start();
    daemon.wait_event("readiness", |event| matches!(event.kind, EventKind::DaemonReady { .. }).then_some(()));
    let router = Router::at(&place, []);
    router.wait_complete(0);
    assert_eq!(router.updates().len(), 4);
}

#[test]
fn a_silent_router_holds_up_nobody() {
    let (silent, router) = (Router::with([Manner::Silent]), Router::polite());
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("silent", &silent).peer("router", &router).backend("eu", &app);
    let mut daemon = pop.start_announced(&router);
    silent.wait_for("open as 64512 hold 9");
    assert_eq!(peer(&daemon, "silent").state, SessionState::OpenSent);
    assert_eq!(get(pop.web(), "/").status, 200);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    silent.wait_for("notification 6/2");
}

#[test]
fn a_caller_that_is_silent_or_unknown_holds_up_nobody() {
    let bgp = Port::reserve();
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = pop.write();
    let listen = format!("connect-retry = \"50ms\"\nlisten = [\"{}\"]", bgp.address);
    std::fs::write(&path, pop.text().replace("connect-retry = \"50ms\"", &listen)).unwrap();
    let daemon = Daemon::start(&path, &pop.socket());
    router.wait_complete(0);
    // From the router's address, while its session stands: RFC 4271 §6.8 refuses the newcomer.
    let mut second = Client::from(router.address.ip(), bgp.address);
    assert_eq!(second.bytes(21), message(3, &[6, 7]));
    // From an address that is no peer's.
    let mut stranger = Client::from("127.0.0.9".parse().unwrap(), bgp.address);
    assert_eq!(stranger.bytes(21), message(3, &[6, 5]));
    assert_eq!(peer(&daemon, "router").state, SessionState::Established);
    assert_eq!(get(pop.web(), "/").status, 200);
}

#[test]
fn each_kind_of_nonsense_gets_its_notification_and_the_session_comes_back() {
    let open = open();
    let opened = |bytes: &[u8]| Manner::Answers([&open, bytes].concat());
    let header = |length: u16, kind: u8| [&[0xff; 16], length.to_be_bytes().as_slice(), &[kind]].concat();
    let established = |bytes: Vec<u8>| Manner::Established(bytes);
    // What the router does, and code, subcode and data of the answer.
    let cases: Vec<(&str, Manner, Vec<u8>)> = vec![
        ("http-server", Manner::Answers(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), vec![1, 1]),
        ("bad-marker", Manner::Answers(patched(open.clone(), 3, &[0xfe])), vec![1, 1]),
        ("too-short", Manner::Answers(header(18, 1)), vec![1, 2, 0, 18]),
        ("too-long", Manner::Answers(header(4097, 2)), vec![1, 2, 0x10, 1]),
        ("long-keepalive", opened(&header(20, 4)), vec![1, 2, 0, 20]),
        ("unknown-type", Manner::Answers(header(19, 9)), vec![1, 3, 9]),
        ("version-3", Manner::Answers(patched(open.clone(), 19, &[3])), vec![2, 1, 0, 4]),
        // The AS is taken from the capability at the end.
        ("wrong-as", Manner::Answers(patched(open.clone(), open.len() - 1, &[0xff])), vec![2, 2]),
        ("no-identifier", Manner::Answers(patched(open.clone(), 24, &[0; 4])), vec![2, 3]),
        ("hold-time-1", Manner::Answers(patched(open.clone(), 22, &[0, 1])), vec![2, 6]),
        ("bad-parameters", Manner::Answers(patched(open.clone(), 28, &[1])), vec![2, 0]),
        ("garbage-after-open", opened(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), vec![1, 1]),
        ("keepalive-first", Manner::Answers(KEEPALIVE.to_vec()), vec![5, 1, 4]),
        ("update-too-soon", opened(&announcement()), vec![5, 2, 2]),
        ("open-again", established(open.clone()), vec![5, 3, 1]),
        ("attributes-overrun", established(message(2, &[0, 0, 0, 9, 0x40, 1, 1, 0])), vec![3, 1]),
        ("withdrawn-overrun", established(message(2, &[0, 200, 0, 0])), vec![3, 1]),
        ("unknown-well-known", established(update(&[&[0x40, 99, 1, 7]], &[])), vec![3, 2, 0x40, 99, 1, 7]),
        ("bad-prefix-length", established(update(&[&[0x40, 1, 1, 0]], &[33, 10, 0, 0, 0, 0])), vec![3, 10]),
    ];
    let app = App::healthy("eu-1");
    let routers: Vec<_> =
        cases.iter().map(|(name, manner, _)| (*name, Router::with([manner.clone()]))).collect();
    let pop =
        routers.iter().fold(Pop::new(), |pop, (name, router)| pop.peer(name, router)).backend("eu", &app);
    let daemon = pop.start();
    for ((name, router), (.., expected)) in routers.iter().zip(&cases) {
        let notification = router.wait_on(0, "notification");
        assert_eq!(notification.bytes, message(3, expected), "{name}: {}", notification.line);
        let told = daemon.wait_event(name, |event| match &event.kind {
            EventKind::PeerState {
                peer,
                reason: Some(SessionReason::NotificationSent { code, subcode, .. }),
                ..
            } if peer.as_str() == *name => Some((*code, *subcode)),
            _ => None,
        });
        assert_eq!(told, (expected[0], expected[1]), "{name}");
        router.wait_complete(1);
        assert_eq!(get(pop.web(), "/").status, 200);
    }
}

#[test]
fn a_router_that_falls_silent_is_dropped_when_the_hold_time_is_over() {
    let router = Router::with([Manner::Answers([open(), KEEPALIVE.to_vec()].concat())]);
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = pop.write();
    std::fs::write(&path, pop.text().replace("hold-time = \"9s\"", "hold-time = \"3s\"")).unwrap();
    let daemon = Daemon::start(&path, &pop.socket());
    let (opened, expired) = (router.wait_on(0, "open"), router.wait_on(0, "notification"));
    assert_eq!(expired.bytes, message(3, &[4, 0]));
    assert!(expired.at.duration_since(opened.at) > Duration::from_millis(2900));
    assert_eq!(get(pop.web(), "/").status, 200);
    router.wait_complete(1);
    assert_eq!(peer(&daemon, "router").established_count, 2);
}

#[test]
fn a_router_with_more_prefixes_than_allowed_is_told_the_limit() {
    let many = update(
        &[&[0x40, 1, 1, 0], &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9], &[0x40, 3, 4, 127, 0, 0, 1]],
        &[16, 10, 97, 16, 10, 98, 16, 10, 99],
    );
    let router = Router::with([Manner::Established(many)]);
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = pop.write();
    let limit = "max-prefixes = { limit = 2, action = \"close\", restart = \"1s\" }\nnext-hop-ipv6";
    let limited = pop.text().replace("next-hop-ipv6", limit);
    std::fs::write(&path, limited).unwrap();
    let daemon = Daemon::start(&path, &pop.socket());
    // RFC 4486 §4: the family and the bound.
    assert_eq!(router.wait_on(0, "notification").bytes, message(3, &[6, 1, 0, 1, 1, 0, 0, 0, 2]));
    router.wait_complete(1);
    assert_eq!(get(pop.web(), "/").status, 200);
    let ReceivedRoutes { routes, .. } = daemon.ask(paths::RECEIVED);
    assert_eq!(routes, []);
}

#[test]
fn a_reset_in_the_middle_of_the_handshake_is_tried_again() {
    let router = Router::with([Manner::Resets, Manner::Resets]);
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let _daemon = pop.start();
    router.wait_complete(2);
}

#[test]
fn malformed_attributes_withdraw_their_routes_and_the_session_stays() {
    let path: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9];
    let origin: &[u8] = &[0x40, 1, 1, 0];
    let next_hop: &[u8] = &[0x40, 3, 4, 127, 0, 0, 1];
    let nlri: &[u8] = &[16, 10, 99];
    // RFC 7606 §7: each is to be treated as a withdrawal.
    let cases: [(&str, Vec<u8>); 6] = [
        ("ORIGIN", update(&[&[0x40, 1, 1, 5], path, next_hop], nlri)),
        ("ORIGIN", update(&[&[0x40, 1, 2, 0, 0], path, next_hop], nlri)),
        ("AS_PATH", update(&[origin, &[0x40, 2, 6, 2, 2, 0, 0, 0xfd, 0xe9], next_hop], nlri)),
        ("NEXT_HOP", update(&[origin, path, &[0x40, 3, 3, 127, 0, 0]], nlri)),
        ("NEXT_HOP", update(&[origin, path], nlri)),
        ("COMMUNITIES", update(&[origin, path, next_hop, &[0xc0, 8, 3, 1, 2, 3]], nlri)),
    ];
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start_announced(&router);
    // Answered after all that was said before.
    let refresh = message(5, &[0, 1, 0, 1]);
    let held = || {
        let before = router.heard().len();
        router.say(&refresh);
        router.wait_after(before, "announce 203.0.113.0/24");
        let ReceivedRoutes { routes, .. } = daemon.ask(paths::RECEIVED);
        routes.iter().map(|route| route.prefix.to_string()).collect::<Vec<_>>()
    };
    for (number, (attribute, malformed)) in cases.iter().enumerate() {
        router.say(&announcement());
        assert_eq!(held(), ["10.99.0.0/16"], "case {number}");
        router.say(malformed);
        assert_eq!(held(), [""; 0], "case {number}");
        assert_eq!(peer(&daemon, "router").messages.treated_as_withdrawn, number as u64 + 1, "{attribute}");
        assert_eq!(get(pop.web(), "/").status, 200);
    }
    // One that goes on and on is told now and then, and counted each time.
    let fault = daemon.wait_event("a fault", |event| match &event.kind {
        EventKind::PeerFault { fault, .. } => Some(fault.clone()),
        _ => None,
    });
    assert!(fault.contains("ORIGIN") && fault.contains("taken as withdrawn"), "{fault}");
    assert_eq!(peer(&daemon, "router").established_count, 1);
    assert!(router.heard().iter().all(|heard| heard.connection == 0));
}
