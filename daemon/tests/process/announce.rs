//! What goes over BGP, and when.

use std::time::{Duration, Instant};

use proxima_api::{
    AdvertisedRoutes, Event, EventKind, Events, GroupReason, Phase, ReceivedRoutes, Status, paths,
};
use proxima_types::{Health, ReachState};

use crate::support::{App, Client, Pop, Router, announcement, get};

const ANNOUNCED: [&str; 2] = [
    "announce 203.0.113.0/24 path 64512 via 127.0.0.1 communities 64512:100",
    "announce 2001:db8:ac::/48 via 2001:db8:ffff::2 path 64512 communities 64512:100",
];
const WITHDRAWN: [&str; 2] = ["withdraw 203.0.113.0/24", "withdraw 2001:db8:ac::/48"];
/// From the death of the last app to the withdrawal on the wire. Far more than it takes, for machines that are busy
/// with other tests; the figure itself is printed.
const SOON: Duration = Duration::from_millis(500);

fn enters(event: &Event, state: ReachState) -> bool {
    matches!(&event.kind, EventKind::GroupTransition { to, .. } if *to == state)
}

fn rises(event: &Event) -> bool {
    matches!(&event.kind, EventKind::BackendVerdict { to: Health::Up, .. })
}

#[test]
fn nothing_is_announced_before_the_first_verdicts_and_then_everything_before_end_of_rib() {
    let router = Router::polite();
    let (first, second) = (App::undecided("eu-1"), App::undecided("eu-2"));
    let pop = Pop::new().peer("router", &router).backend("eu", &first).backend("eu", &second);
    let daemon = pop.start();
    daemon.wait_established("router");
    first.answer_probes();
    daemon.wait_verdict("app/eu-1", Health::Up);

    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!(status.phase, Phase::Starting);
    let undecided = GroupReason::AwaitingVerdicts { undecided: vec!["app/eu-2".parse().unwrap()] };
    assert_eq!(status.groups[0].reason, undecided);
    let advertised: AdvertisedRoutes = daemon.ask(paths::ADVERTISED);
    assert_eq!(advertised.routes, []);

    let decided = Instant::now();
    second.answer_probes();
    router.wait_complete(0);
    let updates = router.updates();
    assert_eq!(updates, [&ANNOUNCED[..], &["end-of-rib ipv4", "end-of-rib ipv6"]].concat());
    assert!(router.wait_for("announce").at > decided);
    // RFC 4271 §4.3, written down by hand.
    let bytes = [
        &[0xff; 16][..],                    // marker
        &[0, 54, 2, 0, 0, 0, 27],           // length, UPDATE, nothing withdrawn, octets of attributes
        &[0x40, 1, 1, 0],                   // ORIGIN IGP
        &[0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0], // AS_PATH: a sequence of 64512
        &[0x40, 3, 4, 127, 0, 0, 1],        // NEXT_HOP
        &[0xc0, 8, 4, 0xfc, 0, 0, 100],     // COMMUNITIES 64512:100
        &[24, 203, 0, 113],                 // NLRI
    ];
    assert_eq!(router.wait_for("announce 203.0.113.0/24").bytes, bytes.concat());
    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!(status.phase, Phase::Running);
}

#[test]
fn a_backend_of_another_region_keeps_nobody_waiting() {
    let router = Router::polite();
    let (eu, us) = (App::healthy("eu-1"), App::undecided("us-1"));
    let mut pop = Pop::new().peer("router", &router).backend("us", &us).backend("eu", &eu);
    pop.probe = r#"{ http = "/healthz", interval = "60s", timeout = "60s", rise = 2, fall = 3 }"#.to_owned();
    let daemon = pop.start_announced(&router);
    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!((status.phase, status.backends.unknown), (Phase::Running, 1));
    assert_eq!(get(pop.web(), "/").body, "eu-1 /");
}

#[test]
fn steady_health_sends_no_update() {
    let router = Router::polite();
    let (first, second) = (App::healthy("eu-1"), App::healthy("eu-2"));
    let pop = Pop::new().peer("router", &router).backend("eu", &first).backend("eu", &second);
    let daemon = pop.start_announced(&router);
    let before = router.updates();
    first.wait_probes(20);
    second.wait_probes(1);
    assert_eq!(router.updates(), before);
    let Events { events, .. } = daemon.ask(paths::EVENTS);
    let transitions = events.into_iter().filter(|event| {
        matches!(event.kind, EventKind::GroupTransition { .. } | EventKind::UpdateSent { .. })
    });
    assert_eq!(transitions.count(), 3, "into announced, and an UPDATE for each family");
}

#[test]
fn killed_apps_are_withdrawn_at_once_and_announced_again_only_after_the_hold_down() {
    let router = Router::polite();
    let (mut first, mut second) = (App::healthy("eu-1"), App::healthy("eu-2"));
    let pop = Pop::new().peer("router", &router).backend("eu", &first).backend("eu", &second);
    let daemon = pop.start_announced(&router);
    let before = router.heard().len();

    first.kill();
    let killed = Instant::now();
    second.kill();
    let withdrawn = WITHDRAWN.map(|line| router.wait_after(before, line).at);
    let took = withdrawn.map(|at| at.saturating_duration_since(killed));
    eprintln!("death of the last app -> withdrawal on the wire: IPv4 {:?}, IPv6 {:?}", took[0], took[1]);
    assert!(took.iter().all(|took| *took < SOON), "{took:?}");

    let after = router.heard().len();
    first.restore();
    second.restore();
    for line in ANNOUNCED {
        assert!(router.wait_after(after, line).at > withdrawn[0]);
    }
    let (down, risen, up) = daemon.wait_events("announced again", |events| {
        let down = events.iter().position(|event| enters(event, ReachState::Withdrawn))?;
        let up = events.iter().skip(down).find(|event| enters(event, ReachState::Announced))?;
        let risen = events.iter().skip(down).filter(|event| rises(event)).nth(1)?;
        Some([&events[down], risen, up].map(|event| Duration::from_nanos(event.mono_ns)).into())
    });
    let [held, until_risen] = [up, risen].map(|at| at.saturating_sub(down));
    eprintln!("withdrawn for {held:?}, both apps up again after {until_risen:?}");
    assert!(held >= Duration::from_secs(1), "{held:?}");
    assert!(risen < up, "it was the hold-down that was waited for");
}

#[test]
fn with_half_of_the_apps_killed_the_prefixes_are_de_preferred_and_no_request_fails() {
    let router = Router::polite();
    let (mut first, second) = (App::healthy("eu-1"), App::healthy("eu-2"));
    let pop = Pop::new().peer("router", &router).backend("eu", &first).backend("eu", &second);
    let _daemon = pop.start_announced(&router);
    let before = router.heard().len();

    let web = pop.web();
    let clients = [(); 4].map(|()| {
        std::thread::spawn(move || {
            let mut client = Client::connect(web);
            (0..250).map(|_| client.get("/work").map(|answer| answer.status)).collect::<Vec<_>>()
        })
    });
    first.wait_request("/work");
    first.kill();
    for answers in clients.map(|client| client.join().unwrap()) {
        assert!(answers.iter().all(|answer| matches!(answer, Ok(200))), "{answers:?}");
    }

    let lines = [
        "announce 203.0.113.0/24 path 64512 64512 64512 via 127.0.0.1 med 200 communities 64512:100 64512:666",
        "announce 2001:db8:ac::/48 via 2001:db8:ffff::2 path 64512 64512 64512 med 200 communities 64512:100 64512:666",
    ];
    for line in lines {
        router.wait_after(before, line);
    }
    first.restore();
    for line in ANNOUNCED {
        router.wait_after(before, line);
    }
    assert!(
        !router.updates().iter().any(|update| update.starts_with("withdraw")),
        "de-preferred, not withdrawn"
    );
}

#[test]
fn a_backend_that_hangs_is_soft_evidence_and_withdraws_after_its_failures() {
    let router = Router::polite();
    let app = App::undecided("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.probe =
        r#"{ http = "/healthz", interval = "20ms", timeout = "10ms", rise = 1, fall = 3 }"#.to_owned();
    let daemon = pop.start();
    // Nothing up from the first verdicts on: nothing to announce, and the router is told that this is all.
    router.wait_complete(0);
    assert_eq!(router.updates(), ["end-of-rib ipv4", "end-of-rib ipv6"]);
    let verdict = daemon.wait_verdict("app/eu-1", Health::Down);
    assert!(
        verdict.kind.to_string().contains("3 probes failed, the last: no answer within 10 ms"),
        "{verdict}"
    );
}

#[test]
fn a_lost_session_comes_back_by_itself_with_everything() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let _daemon = pop.start_announced(&router);
    router.hang_up();
    router.wait_complete(1);
    let second = router.heard().into_iter().filter(|heard| heard.connection == 1 && heard.is_update());
    let lines: Vec<_> = second.map(|heard| heard.line).collect();
    assert_eq!(lines, [&ANNOUNCED[..], &["end-of-rib ipv4", "end-of-rib ipv6"]].concat());
    assert_eq!(get(pop.web(), "/").status, 200);
}

#[test]
fn routes_of_one_router_never_reach_another() {
    let (one, other) = (Router::polite(), Router::polite());
    let mut app = App::healthy("eu-1");
    let pop = Pop::new().peer("one", &one).peer("other", &other).backend("eu", &app);
    let daemon = pop.start_announced(&one);
    other.wait_complete(0);

    one.say(&announcement());
    // The next message is answered after it: a ROUTE-REFRESH for IPv4 makes the daemon announce its prefix again.
    let before = one.heard().len();
    one.say(&crate::support::message(5, &[0, 1, 0, 1]));
    one.wait_after(before, "announce 203.0.113.0/24");
    let received: ReceivedRoutes = daemon.ask(paths::RECEIVED);
    let shown: Vec<_> =
        received.routes.iter().map(|route| (route.peer.as_str(), route.prefix.to_string())).collect();
    assert_eq!(shown, [("one", "10.99.0.0/16".to_owned())]);

    // Whatever would have been sent to the others came before the withdrawal.
    app.kill();
    for router in [&one, &other] {
        for line in WITHDRAWN {
            router.wait_for(line);
        }
        assert!(router.updates().iter().all(|update| !update.contains("10.99.")), "{:?}", router.updates());
    }
}
