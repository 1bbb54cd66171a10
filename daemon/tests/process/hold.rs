//! What holds a group back, and what is no longer believed.

use std::{fs, os::unix::fs::PermissionsExt, process::Command, thread, time::Duration};

use nix::sys::signal::Signal;
use proxima_api::{AlarmKind, Backends, Event, EventKind, GroupReason, Hold, Status, paths};
use proxima_types::{Health, ReachState};

use crate::support::{App, Daemon, Pop, Router, exchange, get};

const GRACEFUL: &str = "announce 203.0.113.0/24 path 64512 64512 64512 via 127.0.0.1 med 200 communities 64512:100 64512:666 65535:0";

/// The group with this line among those of its section `withdrawn`, and more sections.
fn group(withdrawn: &str, more: &str) -> String {
    format!(
        r#"
[announce.web]
prefixes = ["203.0.113.0/24", "2001:db8:ac::/48"]
services = ["web"]
communities = ["64512:100"]
vip = "none"
dead-man = "2s"
  [announce.web.degraded]
  below = 0.8
  above = 0.9
  prepend = 2
  med = 200
  communities = ["64512:666"]
  [announce.web.withdrawn]
  below = 0.4
  above = 0.6
  {withdrawn}
{more}
"#
    )
}

fn between(earlier: &Event, later: &Event) -> Duration {
    Duration::from_nanos(later.mono_ns - earlier.mono_ns)
}

#[test]
fn a_group_that_was_not_announced_for_long_is_de_preferred_hard_until_it_was() {
    let router = Router::polite();
    let mut app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.group = group("hold-down = \"1s\"\n  min-up = \"3s\"", "");
    let daemon = pop.start_announced(&router);
    let before = router.heard().len();
    app.kill();
    assert_eq!(router.wait_after(before, "announce 203.0.113.0/24").line, GRACEFUL);
    let (held, why) = daemon.wait_transition("web", ReachState::DePreferred, 0);
    let GroupReason::Held { why, by: Hold::MinUp { least_ms: 3000, .. } } = why else { panic!("{why:?}") };
    assert!(matches!(*why, GroupReason::NothingUp { .. }), "{why}");

    router.wait_after(before, "withdraw 203.0.113.0/24");
    let (left, why) = daemon.wait_transition("web", ReachState::Withdrawn, held.seq);
    assert!(
        matches!(&why, GroupReason::Left { held: Some(Hold::MinUp { .. }), evidence: None, .. }),
        "{why:?}"
    );
    let (announced, _) = daemon.wait_transition("web", ReachState::Announced, 0);
    assert!(between(&announced, &left) >= Duration::from_secs(3), "{:?}", between(&announced, &left));
}

#[test]
fn a_group_that_flaps_is_not_announced_before_its_penalty_has_fallen() {
    let router = Router::polite();
    let mut app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    let damping = r#"
  [announce.web.damping]
  half-life = "10s"
  suppress = 1.4
  reuse = 1.35
"#;
    pop.group = group("hold-down = \"0s\"", damping);
    let daemon = pop.start_announced(&router);
    app.kill();
    let (first, why) = daemon.wait_transition("web", ReachState::Withdrawn, 0);
    let GroupReason::NothingUp { penalty: Some(penalty), .. } = why else { panic!("{why:?}") };
    assert!((penalty - 1.0).abs() < 1e-9, "{penalty}");
    app.restore();
    let (back, _) = daemon.wait_transition("web", ReachState::Announced, first.seq);
    app.kill();
    let (second, why) = daemon.wait_transition("web", ReachState::Withdrawn, back.seq);
    let GroupReason::NothingUp { penalty: Some(penalty), .. } = why else { panic!("{why:?}") };
    assert!(penalty > 1.4 && penalty < 2.0, "{penalty}");

    app.restore();
    let risen = daemon.wait_verdict("app/eu-1", Health::Up);
    let status: Status = daemon.ask(paths::STATUS);
    let web = &status.groups[0];
    assert!(
        matches!(web.hold, Some(Hold::Damping { .. })) && web.penalty.is_some() && web.score.is_some(),
        "{web:?}"
    );
    let (announced, why) = daemon.wait_transition("web", ReachState::Announced, second.seq);
    let GroupReason::ScoreAbove { held: Some(Hold::Damping { until, reuse, .. }), .. } = why else {
        panic!("{why:?}")
    };
    assert!(risen.seq < announced.seq && announced.at >= until, "{announced} before {until}");
    assert!((reuse - 1.35).abs() < 1e-9);
    // 10 s × log2(penalty / reuse).
    let expected = 10.0 * (penalty / 1.35).log2();
    assert!(between(&second, &announced).as_secs_f64() > expected - 0.1, "{expected}");
}

#[test]
fn beyond_the_cap_a_group_is_de_preferred_with_an_alarm_until_there_is_room() {
    let router = Router::polite();
    let mut app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.group = group("hold-down = \"1s\"", "")
        + "[announce.api]\nprefixes = [\"198.51.100.0/24\"]\nservices = [\"web\"]\nvip = \"none\"\n";
    pop.more = "[limits]\nwithdrawals = { most = 1, within = \"3s\" }\n".to_owned();
    let daemon = pop.start_announced(&router);
    let before = router.heard().len();
    app.kill();
    router.wait_after(before, "withdraw 198.51.100.0/24");
    assert_eq!(router.wait_after(before, "announce 203.0.113.0/24").line, GRACEFUL);
    daemon.wait_event("the alarm", |event| match &event.kind {
        EventKind::AlarmRaised { group, alarm: AlarmKind::Capped { most: 1, within_ms: 3000 } } => {
            (group.as_str() == "web").then_some(())
        }
        _ => None,
    });
    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!(status.alarms.len(), 1);
    let request = b"GET /metrics HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n";
    let (text, _) = exchange(pop.metrics(), request);
    let line = r#"proxima_alarm{kind="capped",group="web"} 1"#;
    assert!(text.lines().any(|found| found == line), "{text}");

    router.wait_after(before, "withdraw 203.0.113.0/24");
    let (first, _) = daemon.wait_transition("api", ReachState::Withdrawn, 0);
    let (second, why) = daemon.wait_transition("web", ReachState::Withdrawn, 0);
    assert!(matches!(&why, GroupReason::Left { held: Some(Hold::Cap { most: 1, .. }), .. }), "{why:?}");
    assert!(between(&first, &second) >= Duration::from_millis(2990), "{:?}", between(&first, &second));
    daemon.wait_event("the end of the alarm", |event| match &event.kind {
        EventKind::AlarmOver { group, alarm: AlarmKind::Capped { .. }, lasted_ms } => {
            (group.as_str() == "web" && *lasted_ms > 0).then_some(())
        }
        _ => None,
    });
}

/// The limit of open files of a running daemon, its hard one left as it is.
fn limit_open_files(daemon: &Daemon, limit: &str) {
    let (pid, limit) = (daemon.pid().to_string(), format!("--nofile={limit}:"));
    let limited = Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap();
    assert!(limited.success());
}

#[test]
fn when_no_probe_ends_any_more_the_group_is_withdrawn_and_comes_back_by_new_verdicts() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.group = group("hold-down = \"1s\"", "");
    let daemon = pop.start_announced(&router);
    // Without a descriptor to be had no probe is made once the standing connection is used up.
    limit_open_files(&daemon, "8");
    let (silent, why) = daemon.wait_transition("web", ReachState::Withdrawn, 0);
    assert!(matches!(why, GroupReason::Silent { silent_ms, limit_ms: 2000 } if silent_ms >= 2000), "{why:?}");
    router.wait_for("withdraw 203.0.113.0/24");
    limit_open_files(&daemon, "1024");
    let (_, why) = daemon.wait_transition("web", ReachState::Announced, silent.seq);
    assert!(matches!(why, GroupReason::FirstVerdicts { .. }), "{why:?}");
}

#[test]
fn after_a_freeze_what_was_known_before_is_not_believed() {
    let router = Router::polite();
    let (first, second) = (App::healthy("eu-1"), App::healthy("eu-2"));
    let mut pop = Pop::new().peer("router", &router).backend("eu", &first).backend("eu", &second);
    pop.group = group("hold-down = \"1s\"", "");
    let daemon = pop.start_announced(&router);
    let (announced, _) = daemon.wait_transition("web", ReachState::Announced, 0);
    daemon.signal(Signal::SIGSTOP);
    // Time is the fault here: there is nothing to wait for in a process that stands still.
    thread::sleep(Duration::from_secs(3));
    daemon.signal(Signal::SIGCONT);
    let gap = daemon.wait_event("the gap", |event| match event.kind {
        EventKind::Thawed { gap_ms, suspended } => Some((gap_ms, suspended)),
        _ => None,
    });
    assert!(gap.0 >= 2500 && !gap.1, "{gap:?}");
    let (silent, why) = daemon.wait_transition("web", ReachState::Withdrawn, announced.seq);
    assert!(matches!(why, GroupReason::Silent { limit_ms: 2000, .. }), "{why:?}");
    router.wait_for("withdraw 203.0.113.0/24");
    let (_, why) = daemon.wait_transition("web", ReachState::Announced, silent.seq);
    let GroupReason::FirstVerdicts { score, .. } = why else { panic!("{why:?}") };
    assert_eq!((score.score.share(), score.services[0].count.unknown), (1.0, 0), "both are known anew");
}

#[test]
fn a_backend_whose_checks_can_t_be_made_counts_no_more_though_others_are_probed_and_requests_still_go_there()
{
    let router = Router::polite();
    let (app, other) = (App::healthy("eu-1"), App::healthy("eu-2"));
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    let (program, elsewhere) = (pop.directory().join("check"), pop.directory().join("elsewhere"));
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    pop.group = group("hold-down = \"1s\"", "");
    pop.routes = format!(
        "[[services.web.routes]]\nmatch = {{ path-prefix = \"/other\" }}\npool = \"other\"{}",
        pop.routes
    );
    pop.more = format!(
        "[pools.other]\nprobe = {{ exec = [{program:?}], interval = \"100ms\", timeout = \"100ms\" }}\n\
         backends = [{{ name = \"eu-2\", region = \"eu\", address = \"{}\" }}]\n",
        other.address()
    );
    let daemon = pop.start_announced(&router);
    fs::rename(&program, &elsewhere).unwrap();
    let (left, why) = daemon.wait_transition("web", ReachState::DePreferred, 0);
    let GroupReason::ScoreBelow { score, .. } = why else { panic!("{why:?}") };
    assert_eq!((score.services[0].count.up, score.services[0].count.unchecked), (1, 1));
    let why = format!("the program {} is not there, or its interpreter is not", program.display());
    daemon.wait_event("the reason", |event| match &event.kind {
        EventKind::ChecksFailing { backends, more: 0, why: Some(told) } => {
            (backends[0].as_str() == "other/eu-2" && *told == why).then_some(())
        }
        _ => None,
    });
    let backends: Backends = daemon.ask(paths::BACKENDS);
    let unchecked = backends.backends.iter().find(|it| it.id.as_str() == "other/eu-2").unwrap();
    assert_eq!(unchecked.health, Health::Up, "the verdict there was");
    let unchecked = unchecked.unchecked.clone().unwrap();
    assert!(unchecked.why == Some(why) && !unchecked.believed, "{unchecked}");
    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!(status.backends.unchecked, 1);
    let page = get(pop.metrics(), "/metrics").body;
    assert!(page.lines().any(|line| line == "proxima_backends_unchecked 1"), "{page}");
    let counted = |result: &str| {
        let begin = format!("proxima_probes_total{{pool=\"other\",result=\"{result}\"}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&begin)).map(str::parse::<u64>);
        value.unwrap_or_else(|| panic!("no {begin} in {page}")).unwrap()
    };
    assert!(counted("passed") >= 2 && counted("not-made") >= 1);
    assert_eq!(get(pop.web(), "/other").status, 200);

    fs::rename(&elsewhere, &program).unwrap();
    daemon.wait_transition("web", ReachState::Announced, left.seq);
    daemon.wait_event("the end", |event| match &event.kind {
        EventKind::ChecksResumed { backends, more: 0 } => {
            (backends[0].as_str() == "other/eu-2").then_some(())
        }
        _ => None,
    });
}
