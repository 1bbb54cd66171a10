//! What real traffic says about backends and objectives, and what comes of it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use proxima_api::EventKind;
use proxima_types::{Health, ReachState};

use crate::support::{App, Client, Daemon, Fails, Mood, Pop, Router, get};

const ANNOUNCED: &str = "announce 203.0.113.0/24 path 64512 via 127.0.0.1 communities 64512:100";
const DE_PREFERRED: &str =
    "announce 203.0.113.0/24 path 64512 64512 64512 via 127.0.0.1 med 200 communities 64512:100 64512:666";
/// What an app takes for a request in plain life; it keeps the clients from running hot.
const USUAL: Mood = Mood { takes: Duration::from_millis(5), fails: Fails::Nothing };

/// Goes on asking while `scene` runs.
fn under_load<R>(pop: &Pop, scene: impl FnOnce() -> R) -> R {
    let (over, web) = (AtomicBool::new(false), pop.web());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::connect(web);
                while !over.load(Ordering::Relaxed) {
                    client.get("/work").unwrap();
                }
            });
        }
        let _over = Over(&over);
        scene()
    })
}

/// The scene is over, also when it ends by a panic: the clients are waited for.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn with_slo(pop: &mut Pop, limit: &str) {
    let slo = format!("prepend = 2\n  slo = {{ {limit}, window = \"5s\", min-requests = 10 }}\n");
    pop.group = pop.group.replacen("prepend = 2\n", &slo, 1);
}

/// Why the group changed into that state, in words.
fn reason(daemon: &Daemon, state: ReachState) -> String {
    daemon.wait_event("a transition", |event| match &event.kind {
        EventKind::GroupTransition { to, .. } if *to == state => Some(event.to_string()),
        _ => None,
    })
}

fn is_never_withdrawn_and_nothing_goes_down(daemon: &Daemon, router: &Router) {
    assert!(!router.updates().iter().any(|update| update.starts_with("withdraw")), "{:?}", router.updates());
    daemon.wait_events("events", |events| {
        let down = |kind: &EventKind| matches!(kind, EventKind::BackendVerdict { to: Health::Down, .. });
        assert!(!events.iter().any(|event| down(&event.kind)), "{events:?}");
        Some(())
    });
}

#[test]
fn a_p95_beyond_the_objective_de_prefers_until_it_is_met_again_and_withdraws_nothing() {
    let (router, app) = (Router::polite(), App::healthy("eu-1"));
    app.turn(USUAL);
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    with_slo(&mut pop, "p95 = \"400ms\"");
    let daemon = pop.start_announced(&router);
    under_load(&pop, || {
        let before = router.heard().len();
        app.turn(Mood { takes: Duration::from_millis(600), ..USUAL });
        router.wait_after(before, DE_PREFERRED);
        let why = reason(&daemon, ReachState::DePreferred);
        assert!(why.contains("web: p95 to first byte") && why.contains("400 ms allowed"), "{why}");
        let before = router.heard().len();
        app.turn(USUAL);
        router.wait_after(before, ANNOUNCED);
    });
    is_never_withdrawn_and_nothing_goes_down(&daemon, &router);
}

#[test]
fn a_pop_without_traffic_sees_by_its_probes_that_an_objective_is_missed() {
    let (router, app) = (Router::polite(), App::healthy("eu-1"));
    app.turn(USUAL);
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.probe = r#"{ http = "/work", interval = "1s", timeout = "1s", fall = 10 }"#.to_owned();
    let slo = "prepend = 2\n  slo = { p95 = \"400ms\", window = \"5s\", min-requests = 3 }\n";
    pop.group = pop.group.replacen("prepend = 2\n", slo, 1);
    let daemon = pop.start_announced(&router);
    app.turn(Mood { takes: Duration::from_millis(600), ..USUAL });
    let why = reason(&daemon, ReachState::DePreferred);
    assert!(why.contains("web: p95 to first byte") && why.contains("of 3 probes, 400 ms allowed"), "{why}");
    let page = get(pop.metrics(), "/metrics").body;
    assert!(page.lines().any(|line| line == r#"proxima_slo_probes{group="web",service="web"} 3"#), "{page}");
    let before = router.heard().len();
    app.turn(USUAL);
    router.wait_after(before, ANNOUNCED);
    is_never_withdrawn_and_nothing_goes_down(&daemon, &router);
}

#[test]
fn an_error_rate_beyond_the_objective_de_prefers_while_probes_pass() {
    let (router, app) = (Router::polite(), App::healthy("eu-1"));
    app.turn(USUAL);
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    with_slo(&mut pop, "error-rate = 0.1");
    let daemon = pop.start_announced(&router);
    under_load(&pop, || {
        let before = router.heard().len();
        app.turn(Mood { fails: Fails::Requests, ..USUAL });
        router.wait_after(before, DE_PREFERRED);
        let why = reason(&daemon, ReachState::DePreferred);
        assert!(why.contains("requests failed, 10.0 % allowed"), "{why}");
        let page = get(pop.metrics(), "/metrics").body;
        let breached = r#"proxima_slo_breached{group="web",service="web",objective="error-rate"} 1"#;
        assert!(page.lines().any(|line| line == breached), "{page}");
        let before = router.heard().len();
        app.turn(USUAL);
        router.wait_after(before, ANNOUNCED);
    });
    is_never_withdrawn_and_nothing_goes_down(&daemon, &router);
}

#[test]
fn a_burst_of_errors_takes_one_backend_down_long_before_its_next_probe() {
    let router = Router::polite();
    let (sick, well) = (App::healthy("eu-1"), App::healthy("eu-2"));
    let mut pop = Pop::new().peer("router", &router).backend("eu", &sick).backend("eu", &well);
    // No second probe comes by itself while the test runs.
    pop.probe = "{ http = \"/healthz\", interval = \"1h\", timeout = \"10s\", rise = 1, fall = 2 }\n\
                 passive = { error-limit = 5 }"
        .to_owned();
    let daemon = pop.start_announced(&router);
    sick.turn(Mood { takes: Duration::ZERO, fails: Fails::Everything });
    under_load(&pop, || daemon.wait_verdict("app/eu-1", Health::Down));
    for _ in 0..10 {
        assert_eq!(get(pop.web(), "/after").body, "eu-2 /after");
    }
}

#[test]
fn where_the_file_says_so_a_backend_that_passes_its_probes_is_marked_down_by_its_traffic_for_a_time() {
    let router = Router::polite();
    let (sick, well) = (App::healthy("eu-1"), App::healthy("eu-2"));
    let mut pop = Pop::new().peer("router", &router).backend("eu", &sick).backend("eu", &well);
    pop.probe.push_str("\npassive = { on-error = \"mark-down\", hold-down = \"1s\" }");
    let daemon = pop.start_announced(&router);
    sick.turn(Mood { takes: Duration::ZERO, fails: Fails::Requests });
    let verdict = under_load(&pop, || daemon.wait_verdict("app/eu-1", Health::Down));
    assert!(verdict.to_string().contains("real traffic"), "{verdict}");
    sick.turn(USUAL);
    let risen = daemon.wait_verdict("app/eu-1", Health::Up);
    let held = Duration::from_nanos(risen.mono_ns - verdict.mono_ns);
    assert!(held >= Duration::from_millis(990), "{held:?}");
}

#[test]
fn a_shared_backend_that_is_lost_de_prefers_and_never_withdraws() {
    let router = Router::polite();
    let (app, mut shared) = (App::healthy("eu-1"), App::healthy("us-1"));
    let pop = Pop::new().peer("router", &router).backend("eu", &app).shared_backend("us", &shared);
    let daemon = pop.start_announced(&router);
    let before = router.heard().len();
    shared.kill();
    router.wait_after(before, DE_PREFERRED);
    let why = reason(&daemon, ReachState::DePreferred);
    assert!(why.contains("shared backend app/us-1 is down"), "{why}");
    let before = router.heard().len();
    shared.restore();
    router.wait_after(before, ANNOUNCED);
    assert!(!router.updates().iter().any(|update| update.starts_with("withdraw")), "{:?}", router.updates());
}
