//! Status, drain, metrics, the command line.

use std::time::Instant;

use nix::sys::signal::Signal;
use proxima_api::{
    AdvertisedRoutes, Backends, By, DrainStatus, EventKind, Events, GroupReason, OrderVerb, Peer, Peers,
    Phase, ReceivedRoutes, SessionState, Status, VerdictReason, paths,
};
use proxima_types::{Asn, Family, Health, ReachState};

use crate::support::{App, PATIENCE, Pop, Router, exchange, get, proxima};

#[test]
fn every_answer_is_of_the_interfaces_types_and_tells_what_is() {
    let router = Router::polite();
    let (eu, us) = (App::healthy("eu-1"), App::healthy("us-1"));
    let pop = Pop::new().peer("router", &router).backend("eu", &eu).backend("us", &us);
    let daemon = pop.start_announced(&router);
    daemon.wait_verdict("app/us-1", Health::Up);
    get(pop.web(), "/");

    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!(
        (status.pop.as_str(), status.region.as_str(), status.jurisdiction.as_str()),
        ("eu1", "eu", "EU")
    );
    assert_eq!((status.pid, status.local_as, status.phase), (daemon.pid(), Asn(64512), Phase::Running));
    assert_eq!(
        (status.peers.total, status.peers.established, status.backends.up, status.workers),
        (1, 1, 2, 2)
    );
    assert_eq!((status.services[0].listeners[0].address, status.services[0].exchanges), (pop.web(), 1));
    let group = &status.groups[0];
    assert_eq!((group.state, group.score.unwrap().share()), (ReachState::Announced, 1.0));
    assert!(matches!(group.reason, GroupReason::FirstVerdicts { .. }), "{:?}", group.reason);

    let Peers { peers } = daemon.ask(paths::PEERS);
    let peer: Peer = daemon.ask(&format!("{}/router", paths::PEERS));
    assert_eq!((peers.len(), peers[0].name.as_str()), (1, "router"));
    assert_eq!((peer.state, peer.hold_time_s, peer.advertised), (SessionState::Established, Some(9), 2));
    assert_eq!((peer.updates_sent, peer.established_count), (4, 1));
    assert_eq!(peer.families, [Family::Ipv4, Family::Ipv6]);
    assert_eq!(peer.remote_router_id.unwrap().to_string(), "192.0.2.1");

    let AdvertisedRoutes { routes } = daemon.ask(paths::ADVERTISED);
    let shown: Vec<_> =
        routes.iter().map(|r| format!("{} {} {} {}", r.peer, r.prefix, r.next_hop, r.as_path)).collect();
    assert_eq!(
        shown,
        ["router 203.0.113.0/24 127.0.0.1 64512", "router 2001:db8:ac::/48 2001:db8:ffff::2 64512"]
    );
    let narrowed: AdvertisedRoutes =
        daemon.ask(&format!("{}?peer=router&prefix=2001:db8::/32", paths::ADVERTISED));
    assert_eq!(narrowed.routes, routes[1..]);
    let received: ReceivedRoutes = daemon.ask(paths::RECEIVED);
    assert_eq!(received.routes, []);

    let Backends { backends } = daemon.ask(paths::BACKENDS);
    let ids: Vec<_> = backends.iter().map(|backend| (backend.id.to_string(), backend.health)).collect();
    assert_eq!(ids, [("app/eu-1".to_owned(), Health::Up), ("app/us-1".to_owned(), Health::Up)]);
    assert_eq!(backends[0].reason, Some(VerdictReason::Rise { passes: 2 }));
    assert!(backends[0].rtt_us.is_some());

    let Events { lost, events } = daemon.ask(paths::EVENTS);
    assert_eq!(lost, 0);
    assert!(events.iter().map(|event| event.seq).eq(1..=events.len() as u64));
    assert!(matches!(events[0].kind, EventKind::DaemonStarted { .. } | EventKind::ListenerBound { .. }));
}

#[test]
fn wrong_questions_are_answered_with_a_hint() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start();
    for (method, path, body, status, hint) in [
        ("GET", "/v1/nothing", "", 404, "/v1"),
        ("GET", "/v1/peers/rooter", "", 404, "router"),
        ("GET", "/v1/routes/advertised?prefix=203.0.113.1/24", "", 400, "prefix=PREFIX"),
        ("GET", "/v1/drain", "", 405, "POST"),
        ("POST", "/v1/drain", "{\"reason\": 5}", 400, "reason"),
    ] {
        let (found, error) = daemon.refused(method, path, body);
        assert_eq!(found, status, "{method} {path}: {error:?}");
        assert!(error.hint.as_ref().unwrap().contains(hint), "{method} {path}: {error:?}");
    }
    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!(status.drained, None);
}

#[test]
fn drain_warns_then_withdraws_while_requests_are_served_and_undrain_announces_again() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start_announced(&router);
    let announced = router.updates()[..2].to_vec();

    let before = router.heard().len();
    let drained: DrainStatus = daemon.post(paths::DRAIN, r#"{"reason": "kernel update"}"#);
    assert!(drained.changed && drained.drained.unwrap().reason.as_deref() == Some("kernel update"));
    let warned = router.wait_after(before, "announce 203.0.113.0/24");
    assert!(warned.line.contains("65535:0"), "{}", warned.line);
    assert!(router.wait_for("withdraw 203.0.113.0/24").at > warned.at);
    router.wait_for("withdraw 2001:db8:ac::/48");
    assert_eq!(get(pop.web(), "/late").status, 200);
    let again: DrainStatus = daemon.post(paths::DRAIN, "");
    assert!(!again.changed);
    let status: Status = daemon.ask(paths::STATUS);
    let group = &status.groups[0];
    let order = group.order.clone().unwrap();
    assert_eq!((group.state, group.by_health), (ReachState::Withdrawn, ReachState::Announced));
    assert_eq!((order.verb, order.reason.as_deref()), (OrderVerb::Drain, Some("kernel update")));
    let uid = nix::unistd::getuid().as_raw();
    assert!(matches!(order.by, By::Operator { uid: Some(found), pid: Some(_) } if found == uid), "{order}");
    assert_eq!(group.reason, GroupReason::Operator { order });

    let before = router.heard().len();
    let undrained: DrainStatus = daemon.post(paths::UNDRAIN, "");
    assert!(undrained.changed && undrained.drained.is_none());
    for line in &announced {
        router.wait_after(before, line);
    }
}

#[test]
fn the_log_is_json_where_that_is_asked_for() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.more = "[log]\nformat = \"json\"\n".to_owned();
    let mut daemon = pop.start_announced(&router);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let log = daemon.log();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["kind"] == "group-transition" && line["level"] == "INFO"), "{log}");
}

#[test]
fn metrics_are_rendered_under_their_names() {
    let router = Router::polite();
    let (eu, mut us) = (App::healthy("eu-1"), App::healthy("us-1"));
    let pop = Pop::new().peer("router", &router).backend("eu", &eu).backend("us", &us);
    let daemon = pop.start_announced(&router);
    daemon.wait_verdict("app/us-1", Health::Up);
    us.kill();
    daemon.wait_verdict("app/us-1", Health::Down);
    for _ in 0..3 {
        get(pop.web(), "/");
    }
    exchange(pop.web(), b"GET / HTTP/1.1\r\n\r\n");
    let request = b"GET /metrics HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n";
    // A worker notes the end of a response when it has sent it, which the client may know first.
    let ended = r#"proxima_response_seconds_count{service="web",region="eu"} 3"#;
    let deadline = Instant::now() + PATIENCE;
    let text = loop {
        let (text, _) = exchange(pop.metrics(), request);
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        if text.lines().any(|line| line == ended) {
            break text;
        }
        assert!(Instant::now() < deadline, "{ended} is not in\n{text}");
    };
    let version = env!("CARGO_PKG_VERSION");
    let web = pop.web();
    for line in [
        &format!(r#"proxima_build_info{{version="{version}",pop="eu1",region="eu"}} 1"#),
        r#"proxima_group_state{group="web",state="announced"} 1"#,
        r#"proxima_group_score_ratio{group="web"} 1"#,
        r#"proxima_group_transitions_total{group="web",to="announced"} 1"#,
        r#"proxima_backend_up{backend="app/eu-1",region="eu"} 1"#,
        r#"proxima_backend_up{backend="app/us-1",region="us"} 0"#,
        r#"proxima_backend_verdicts_total{backend="app/us-1",to="down"} 1"#,
        r#"proxima_bgp_peer_established{peer="router"} 1"#,
        r#"proxima_bgp_updates_sent_total{peer="router"} 2"#,
        r#"proxima_bgp_routes_advertised{peer="router"} 2"#,
        r#"proxima_bgp_peer_state{peer="router",state="established"} 1"#,
        r#"proxima_bgp_prefixes_limit{peer="router",family="ipv6"} 10000"#,
        r#"proxima_bgp_peer_shutdown{peer="router"} 0"#,
        &format!(r#"proxima_listener_up{{service="web",address="{web}"}} 1"#),
        r#"proxima_service_requests_total{service="web"} 3"#,
        r#"proxima_service_responses_total{service="web",class="2xx"} 3"#,
        r#"proxima_region_responses_total{service="web",region="eu",class="2xx"} 3"#,
        r#"proxima_first_byte_seconds_bucket{service="web",region="eu",le="+Inf"} 3"#,
        r#"proxima_response_seconds_bucket{service="web",region="eu",le="+Inf"} 3"#,
        r#"proxima_service_open_streams{service="web"} 0"#,
        r#"proxima_service_malformed_requests_total{service="web",fault="missing-host"} 1"#,
        "proxima_workers 2",
        "proxima_drained 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(text.lines().any(|line| line.starts_with("proxima_backend_rtt_seconds{")), "{text}");
}

#[test]
fn the_command_line_steers_the_daemon() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let config = pop.write();
    let checked = proxima(&pop.socket(), &["check", config.to_str().unwrap()]);
    assert!(checked.status.success(), "{checked:?}");
    let absent = proxima(&pop.socket(), &["status"]);
    assert_eq!(absent.status.code(), Some(1), "{absent:?}");

    let _daemon = pop.start_announced(&router);
    for (arguments, word) in [
        (&["status"][..], "announced"),
        (&["peers"], "established"),
        (&["routes", "advertised"], "203.0.113.0/24"),
        (&["backends"], "app/eu-1"),
        (&["events"], "ready"),
        (&["drain", "--reason", "kernel update"], ""),
    ] {
        let output = proxima(&pop.socket(), arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains(word), "{arguments:?}: {text}");
    }
    router.wait_for("withdraw 203.0.113.0/24");
    let json = proxima(&pop.socket(), &["status", "--json"]).stdout;
    let status: Status = serde_json::from_slice(&json).unwrap();
    assert_eq!(status.drained.unwrap().reason.as_deref(), Some("kernel update"));
    let before = router.heard().len();
    assert!(proxima(&pop.socket(), &["undrain"]).status.success());
    router.wait_after(before, "announce 203.0.113.0/24");
}
