//! Probes as they are configured: what they find out reaches verdicts, scores and their reasons.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use proxima_api::{EventKind, GroupReason, ProbeFailure, Reloaded, Status, VerdictReason, paths};
use proxima_types::{Health, ReachState};

use crate::support::{App, Daemon, Pop, Router, get};

/// Why the backend has its latest verdict.
fn reason(daemon: &Daemon, id: &str, health: Health) -> VerdictReason {
    match daemon.wait_verdict(id, health).kind {
        EventKind::BackendVerdict { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_share_that_an_agent_tells_de_prefers_and_a_drain_withdraws() {
    let line = Arc::new(Mutex::new("up"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = Arc::clone(&line);
    thread::spawn(move || {
        for stream in listener.incoming() {
            // The prober may have gone with its daemon.
            let _ = writeln!(stream.unwrap(), "{}", said.lock().unwrap());
        }
    });
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.probe = format!(r#"{{ agent = {port}, interval = "100ms" }}"#);
    let daemon = pop.start_announced(&router);
    *line.lock().unwrap() = "up 50%";
    let (de_preferred, _) = daemon.wait_transition("web", ReachState::DePreferred, 0);
    *line.lock().unwrap() = "up 100%";
    let (announced, _) = daemon.wait_transition("web", ReachState::Announced, de_preferred.seq);
    *line.lock().unwrap() = "drain";
    daemon.wait_transition("web", ReachState::Withdrawn, announced.seq);
}

#[test]
fn what_a_program_says_is_in_the_verdict_s_reason() {
    let directory = tempfile::tempdir().unwrap();
    let well = directory.path().join("well");
    fs::write(&well, "").unwrap();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().backend("eu", &app);
    let script = format!("test -e {} || {{ echo 'the queue is full'; exit 3; }}", well.display());
    pop.probe = format!(r#"{{ exec = ["/bin/sh", "-c", "{script}"], interval = "100ms", fall = 1 }}"#);
    pop.group = String::new();
    let daemon = pop.start();
    daemon.wait_verdict("app/eu-1", Health::Up);
    fs::remove_file(&well).unwrap();
    let reason = reason(&daemon, "app/eu-1", Health::Down);
    let VerdictReason::Fall { failures: 1, last: ProbeFailure::Unfit { detail } } = reason else {
        panic!("{reason:?}")
    };
    assert_eq!(detail, "exit status 3: the queue is full");
}

#[test]
fn a_notice_drains_a_backend_whose_probes_succeed_and_the_group_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    let notice =
        format!("notice = {{ directory = \"{}\", interval = \"100ms\" }}", directory.path().display());
    pop.probe = format!("{}\n{notice}", pop.probe);
    let daemon = pop.start_announced(&router);
    let (new, file) = (directory.path().join("new"), directory.path().join("eu-1"));
    fs::write(&new, "2020-01-01T00:00:00Z\n").unwrap();
    fs::rename(&new, &file).unwrap();
    assert_eq!(reason(&daemon, "app/eu-1", Health::Down), VerdictReason::Leaving { within_s: 0 });
    let (withdrawn, _) = daemon.wait_transition("web", ReachState::Withdrawn, 0);
    fs::remove_file(&file).unwrap();
    daemon.wait_transition("web", ReachState::Announced, withdrawn.seq);
}

#[test]
fn a_probe_via_the_service_goes_through_the_workers_to_its_own_backend_and_is_nobody_s_request() {
    let router = Router::polite();
    let (mut one, mut other) = (App::healthy("eu-1"), App::healthy("eu-2"));
    let mut pop = Pop::new().peer("router", &router).backend("eu", &one).backend("eu", &other);
    // No second probe comes by itself while the test runs: what is noticed sooner, the standing connection has noticed.
    let rarely = "interval = \"1h\", timeout = \"20s\", rise = 1, fall = 1";
    pop.probe = format!(r#"{{ http = "/healthz", via = "service", {rarely} }}"#);
    let daemon = pop.start_announced(&router);
    for app in [&one, &other] {
        let head = app.wait_request("/healthz").to_lowercase();
        assert!(head.contains("\r\nvia: 1.1 ") && head.contains("user-agent: proxima-probe/"), "{head}");
    }
    // One request of a client, and no other is counted.
    assert_eq!(get(pop.web(), "/").status, 200);
    let page = get(pop.metrics(), "/metrics").body;
    for metric in [
        "proxima_service_connections_total",
        "proxima_service_requests_total",
        "proxima_service_served_total",
        "proxima_backend_attempts_total",
        "proxima_backend_connects_total",
        "proxima_backend_answers_total",
        "proxima_first_byte_seconds_count",
    ] {
        let of_metric = page.lines().filter(|line| line.starts_with(&format!("{metric}{{")));
        let sum: f64 = of_metric.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
        assert!((sum - 1.0).abs() < f64::EPSILON, "{metric} is {sum} in\n{page}");
    }
    one.kill();
    let hard = |id: &str| matches!(reason(&daemon, id, Health::Down), VerdictReason::Hard { .. });
    assert!(hard("app/eu-1"));
    other.kill();
    assert!(hard("app/eu-2"));
    let (withdrawn, _) = daemon.wait_transition("web", ReachState::Withdrawn, 0);
    one.restore();
    other.restore();
    daemon.wait_transition("web", ReachState::Announced, withdrawn.seq);
}

/// A program at `path` whose first line is `line`.
fn program(path: &Path, line: &str) {
    let new = path.with_extension("new");
    fs::write(&new, format!("{line}\n")).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, path).unwrap();
}

#[test]
fn a_first_verdict_that_can_t_come_is_told_and_keeps_no_daemon_waiting() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    let check = pop.directory().join("check");
    program(&check, "#!/nonexistent/interpreter");
    pop.probe = format!("{{ exec = [{check:?}], interval = \"100ms\", timeout = \"100ms\" }}");
    pop.group = pop.group.replace("vip = \"none\"\n", "vip = \"none\"\ndead-man = \"2s\"\n");
    let daemon = pop.start();
    let why = format!("the program {} is not there, or its interpreter is not", check.display());
    let told = daemon.wait_event("the reason", |event| match &event.kind {
        EventKind::ChecksFailing { backends, why: Some(told), .. } if *told == why => Some(backends.clone()),
        _ => None,
    });
    assert_eq!(told, ["app/eu-1".parse().unwrap()]);
    let after = daemon.wait_event("that it is ready", |event| match event.kind {
        EventKind::DaemonReady { after_ms } => Some(after_ms),
        _ => None,
    });
    assert!(after >= 2000, "after {after} ms");
    let status: Status = daemon.ask(paths::STATUS);
    let web = &status.groups[0];
    assert_eq!(web.state, ReachState::Withdrawn);
    assert!(matches!(web.reason, GroupReason::Silent { limit_ms: 2000, .. }), "{web:?}");
    program(&check, "#!/bin/sh");
    daemon.wait_transition("web", ReachState::Announced, 0);
}

#[test]
fn a_reload_is_refused_while_what_a_probe_takes_of_this_host_is_not_there() {
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().backend("eu", &app);
    let check = pop.directory().join("check");
    program(&check, "#!/bin/sh");
    pop.probe = format!("{{ exec = [{check:?}], interval = \"100ms\", timeout = \"100ms\" }}");
    pop.group = String::new();
    let daemon = pop.start();
    fs::remove_file(&check).unwrap();
    let (status, body) = daemon.refused("POST", paths::RELOAD, "{}");
    let expected = format!("pools.app.probe: can't run the program {}", check.display());
    assert!(status == 422 && body.error.starts_with(&expected), "{status} {body:?}");
    program(&check, "#!/bin/sh");
    let reloaded: Reloaded = daemon.post(paths::RELOAD, "{}");
    assert!(reloaded.is_empty());
}
