//! Commands to peers, what they sent, and a restart that peers help with.

use std::time::Instant;

use nix::sys::signal::Signal;
use proxima_api::{
    EventKind, Held, Peer, PeerCommanded, ReceivedRoutes, Restarting, RouteLookup, RoutesSummary,
    SessionReason, SessionState, Severity, Status, paths,
};

use crate::support::{
    App, Daemon, Manner, PATIENCE, Pop, Router, announcements, get, message, open_with, proxima,
};

fn peer(daemon: &Daemon, name: &str) -> Peer {
    daemon.ask(&format!("{}/{name}", paths::PEERS))
}

fn command(daemon: &Daemon, verb: &str, body: &str) -> PeerCommanded {
    daemon.post(&format!("{}/router/{verb}", paths::PEERS), body)
}

/// What the daemon was sent before has been taken in when this returns: a ROUTE-REFRESH is answered after it.
fn settle(router: &Router) {
    let before = router.heard().len();
    router.say(&message(5, &[0, 1, 0, 1]));
    router.wait_after(before, "announce 203.0.113.0/24");
}

#[test]
fn a_shutdown_warns_then_ends_with_the_operators_words_until_up() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start_announced(&router);
    let before = router.heard().len();
    let commanded = command(&daemon, "shutdown", r#"{"reason": "new line card"}"#);
    assert_eq!(commanded.state, Some(SessionState::Established));
    let warned = router.wait_after(before, "announce 203.0.113.0/24");
    assert!(warned.line.contains("65535:0"), "{}", warned.line);
    let farewell = router.wait_on(0, "notification");
    assert_eq!(farewell.line, "notification 6/2 \\rnew line card");
    assert!(farewell.at > warned.at);
    daemon.wait_event("the shutdown", |event| match &event.kind {
        EventKind::PeerShutdown { peer, reason } => {
            ((peer.as_str(), reason.as_str()) == ("router", "new line card")).then_some(())
        }
        _ => None,
    });
    router.wait_on(0, "closed");
    let told = peer(&daemon, "router");
    assert_eq!(told.held, Some(Held::Shutdown { reason: "new line card".to_owned() }));
    let sent = told.last_sent.unwrap().reason;
    assert!(
        matches!(&sent, SessionReason::NotificationSent { code: 6, subcode: 2, meaning, .. } if meaning.contains("new line card")),
        "{sent:?}"
    );
    assert_eq!(get(pop.web(), "/").status, 200);

    command(&daemon, "up", "");
    router.wait_complete(1);
    assert_eq!(peer(&daemon, "router").held, None);
}

#[test]
fn a_reset_begins_the_session_anew_and_a_refresh_asks_for_the_routes_of_each_family() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start_announced(&router);
    let before = router.heard().len();
    command(&daemon, "refresh", "");
    let asked: Vec<Vec<u8>> =
        (0..2).map(|skip| router.wait_after(before + skip, "type 5").bytes[19..].to_vec()).collect();
    assert_eq!(asked, [[0, 1, 0, 1], [0, 2, 0, 1]]);
    command(&daemon, "reset", "");
    assert!(router.wait_on(0, "notification").line.starts_with("notification 6/4"));
    router.wait_complete(1);
}

#[test]
fn commands_to_nobody_are_refused_with_who_there_is() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start();
    for verb in ["reset", "refresh", "shutdown", "up"] {
        let (status, body) = daemon.refused("POST", &format!("{}/rooter/{verb}", paths::PEERS), "");
        assert_eq!((status, body.hint.as_deref()), (404, Some("peers: router")), "{verb}: {body:?}");
    }
}

#[test]
fn received_routes_come_page_by_page_in_order_and_the_command_line_puts_them_together() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start_announced(&router);
    router.say(&announcements(2500));
    settle(&router);
    let begun = Instant::now();
    // The table counts for the session when it has taken the routes in.
    while peer(&daemon, "router").received != 2500 {
        assert!(begun.elapsed() < PATIENCE, "{}", peer(&daemon, "router").received);
    }

    for narrowed in ["", "peer=router&", "prefix=10.0.0.0/8&", "peer=router&prefix=10.0.0.0/8&"] {
        let (mut prefixes, mut pages, mut after) = (Vec::new(), 0, String::new());
        loop {
            let page: ReceivedRoutes = daemon.ask(&format!("{}?{narrowed}limit=400{after}", paths::RECEIVED));
            assert!(page.routes.len() <= 500, "{}", page.routes.len());
            prefixes.extend(page.routes.into_iter().map(|route| route.prefix));
            pages += 1;
            let Some(next) = page.next else { break };
            after = format!("&after={next}");
        }
        assert_eq!((prefixes.len(), prefixes.is_sorted()), (2500, true), "{narrowed}");
        assert!(pages >= 7, "{narrowed}: {pages}");
    }
    let within: ReceivedRoutes = daemon.ask(&format!("{}?prefix=10.0.4.0/22", paths::RECEIVED));
    assert_eq!(within.routes.len(), 4);

    let shown = proxima(&pop.socket(), &["routes", "received", "router"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(text.lines().count(), 2501, "a heading and a line for each");
    let json = proxima(&pop.socket(), &["--json", "routes", "received", "10.0.0.0/16"]).stdout;
    let all: ReceivedRoutes = serde_json::from_slice(&json).unwrap();
    assert_eq!(all.routes.len(), 256);
}

#[test]
fn a_lookup_finds_the_longest_match_and_says_why_the_other_path_lost() {
    let (one, other) = (Router::polite(), Router::polite());
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("one", &one).peer("other", &other).backend("eu", &app);
    let daemon = pop.start_announced(&one);
    other.wait_complete(0);
    one.say(&crate::support::announcement());
    // The same with a path of two.
    let path: &[u8] = &[0x40, 2, 10, 2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0xfd, 0xea];
    let longer = [&[0x40, 1, 1, 0][..], path, &[0x40, 3, 4, 127, 0, 0, 1]];
    other.say(&crate::support::update(&longer, &[16, 10, 99]));
    settle(&one);
    settle(&other);
    let found: RouteLookup = daemon.ask(&format!("{}?address=10.99.1.2", paths::LOOKUP));
    assert_eq!(found.prefix.unwrap().to_string(), "10.99.0.0/16");
    let judged: Vec<_> = found.paths.iter().map(|path| (path.route.peer.as_str(), path.best)).collect();
    assert_eq!(judged, [("one", true), ("other", false)]);
    assert_eq!(found.paths[1].reason.as_deref(), Some("longer AS_PATH"));
    let summary: RoutesSummary = daemon.ask(paths::SUMMARY);
    assert_eq!((summary.prefixes, summary.selected, summary.paths), (1, 1, 2));
    let none: RouteLookup = daemon.ask(&format!("{}?address=10.98.1.2", paths::LOOKUP));
    assert_eq!((none.prefix, none.paths.len()), (None, 0));
    let shown = proxima(&pop.socket(), &["routes", "summary"]).stdout;
    assert_eq!(String::from_utf8(shown).unwrap(), "1 prefix, 1 with a best path; 2 paths\n");
    let shown = proxima(&pop.socket(), &["routes", "lookup", "10.99.1.2"]).stdout;
    assert!(String::from_utf8(shown).unwrap().contains("other: not best: longer AS_PATH"));
}

#[test]
fn a_peer_is_told_in_full() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start_announced(&router);
    let told = peer(&daemon, "router");
    assert_eq!((told.address, told.internal), (Some(router.address.ip()), false));
    assert_eq!(told.remote, Some(router.address));
    assert!(
        told.local.is_some() && told.timers.iter().any(|timer| timer.name == "hold" && timer.left_ms <= 9000)
    );
    let refresh = told.capabilities.iter().find(|capability| capability.code == 2).unwrap();
    assert!(refresh.sent.is_some() && refresh.received.is_some(), "{refresh:?}");
    let extended = told.capabilities.iter().find(|capability| capability.code == 6).unwrap();
    assert!(extended.sent.is_some() && extended.received.is_none(), "{extended:?}");
    assert_eq!(told.prefixes.iter().map(|count| count.limit).collect::<Vec<_>>(), [Some(10_000); 2]);
    assert!(told.messages.sent >= 6 && told.messages.received >= 2, "{:?}", told.messages);
}

/// Graceful restart of 120 s for both families, forwarding kept.
const GRACEFUL: &[u8] = &[64, 10, 0, 120, 0, 1, 1, 0x80, 0, 2, 1, 0x80];

#[test]
fn a_restart_leaves_without_a_word_and_is_back_as_the_same_process_saying_so() {
    let router = Router::with([Manner::Opens(open_with(GRACEFUL)), Manner::Opens(open_with(GRACEFUL))]);
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = pop.write();
    let graceful = "name = \"router\"\ngraceful-restart = { restart-time = \"60s\" }";
    std::fs::write(&path, pop.text().replacen("name = \"router\"", graceful, 1)).unwrap();
    let daemon = Daemon::start(&path, &pop.socket());
    router.wait_complete(0);
    let before = daemon.pid();
    let answer: Restarting = daemon.post(paths::RESTART, "");
    assert_eq!((answer.helped_by.len(), answer.dropped_by.len()), (1, 0));
    let told = daemon.wait_followed();
    assert!(told.iter().any(|event| event.kind.name() == "restarting"), "told to followers");
    let left = told
        .iter()
        .find(|event| matches!(&event.kind, EventKind::PeerState { from: SessionState::Established, .. }));
    let left = &left.expect("the end of the session").kind;
    assert_eq!(left.severity(), Severity::Info, "nobody need look: {left}");
    assert!(left.to_string().ends_with("closed without a word: this speaker restarts"), "{left}");

    router.wait_complete(1);
    let first: Vec<_> = router.heard().into_iter().filter(|heard| heard.connection == 0).collect();
    let last = first.last().unwrap();
    assert!(last.line == "closed" || last.line == "reset", "{}", last.line);
    assert!(
        first
            .iter()
            .all(|heard| !heard.line.starts_with("notification") && !heard.line.starts_with("withdraw"))
    );
    // RFC 4724 §3: the capability with R set, and 60 s.
    let open = router.wait_on(1, "open").bytes;
    let capability = open.windows(2).position(|window| window[0] == 64 && window[1] >= 2).unwrap();
    let [flags, seconds] = [open[capability + 2], open[capability + 3]];
    assert_eq!((flags & 0x80, seconds), (0x80, 60), "{open:?}");
    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!(status.pid, before);
    assert_eq!(get(pop.web(), "/").status, 200);
}

#[test]
fn a_restart_that_nobody_helps_with_is_refused_unless_forced() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start_announced(&router);
    let (status, body) = daemon.refused("POST", paths::RESTART, "");
    assert_eq!(status, 409, "{body:?}");
    assert!(body.hint.unwrap().contains("graceful-restart"));
    assert!(router.heard().iter().all(|heard| heard.connection == 0));
    let answer: Restarting = daemon.post(paths::RESTART, r#"{"force": true}"#);
    assert_eq!(answer.dropped_by.iter().map(ToString::to_string).collect::<Vec<_>>(), ["router"]);
    router.wait_complete(1);
}

#[test]
fn a_restart_by_a_file_that_is_wrong_is_refused_even_when_it_is_forced() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start_announced(&router);
    let (file, sound) = (pop.directory().join("proxima.toml"), pop.text());
    let nowhere = pop.directory().join("nowhere");
    let keyless = sound.replace("[[bgp.peers]]", &format!("[[bgp.peers]]\npassword-file = {nowhere:?}"));
    for (wrong, why) in [("pop = 1".to_owned(), "proxima.toml:1:"), (keyless, "nowhere")] {
        std::fs::write(&file, wrong).unwrap();
        let (status, body) = daemon.refused("POST", paths::RESTART, r#"{"force": true}"#);
        assert_eq!(status, 422, "{body:?}");
        assert!(body.error.contains(why), "{body:?}");
    }
    std::fs::write(&file, sound).unwrap();
    assert!(router.heard().iter().all(|heard| heard.connection == 0));
    let _: Restarting = daemon.post(paths::RESTART, r#"{"force": true}"#);
    router.wait_complete(1);
}

#[test]
fn a_stop_withdraws_even_where_the_peer_would_keep_the_routes() {
    // RFC 8538: N is set, a Cease alone would not end it.
    const NOTIFICATION: &[u8] = &[64, 10, 0x40, 120, 0, 1, 1, 0x80, 0, 2, 1, 0x80];
    let router = Router::with([Manner::Opens(open_with(NOTIFICATION))]);
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = pop.write();
    let graceful = "name = \"router\"\ngraceful-restart = {}";
    std::fs::write(&path, pop.text().replacen("name = \"router\"", graceful, 1)).unwrap();
    let mut daemon = Daemon::start(&path, &pop.socket());
    router.wait_complete(0);
    daemon.signal(Signal::SIGTERM);
    router.wait_for("withdraw 203.0.113.0/24");
    router.wait_for("withdraw 2001:db8:ac::/48");
    let farewell = router.wait_on(0, "notification");
    // Hard reset, and inside it what it is for: administrative shutdown.
    assert!(farewell.line.starts_with("notification 6/9 \\x06\\x02"), "{}", farewell.line);
    assert_eq!(daemon.wait_exit().code(), Some(0));
}
