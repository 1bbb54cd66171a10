//! Never the last announcer to leave: what the observing session shows decides.

use std::time::Instant;

use proxima_api::{AlarmKind, EventKind, Evidence, GroupReason, Hold, Sighting, Status, paths};
use proxima_types::ReachState;

use crate::support::{
    App, Daemon, Manner, PATIENCE, Pop, Router, announcement, end_of_rib, of_another_pop, of_no_other_pop,
};

/// This PoP's router ID, 192.0.2.11, as a number.
const OWN: u32 = 0xc000_020b;
/// Another PoP's, 192.0.2.12.
const OTHER: u32 = 0xc000_020c;

fn group(quiet: &str) -> String {
    format!(
        r#"
[announce.web]
prefixes = ["203.0.113.0/24"]
services = ["web"]
vip = "none"
  [announce.web.withdrawn]
  hold-down = "0s"
  [announce.web.guard]
  observe = ["router"]
  quiet = "{quiet}"
"#
    )
}

fn other(leaving: bool) -> Sighting {
    Sighting { origin: [192, 0, 2, 12].into(), leaving }
}

/// Waits until the observing session has told all its routes, and these others are seen.
fn wait_seen(daemon: &Daemon, others: &[Sighting]) {
    let begun = Instant::now();
    loop {
        let status: Status = daemon.ask(paths::STATUS);
        let seen = status.groups[0].others.as_ref().unwrap();
        if seen.observing && seen.others == others {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{seen:?}");
        std::thread::yield_now();
    }
}

fn wait_alarm(daemon: &Daemon, since: u64) -> Evidence {
    daemon.wait_events("the alarm", |events| {
        events.iter().filter(|event| event.seq > since).find_map(|event| match &event.kind {
            EventKind::AlarmRaised { alarm: AlarmKind::LastAnnouncer { evidence }, .. } => {
                Some(evidence.clone())
            }
            _ => None,
        })
    })
}

fn wait_alarm_over(daemon: &Daemon) {
    daemon.wait_event("the end of the alarm", |event| {
        matches!(event.kind, EventKind::AlarmOver { alarm: AlarmKind::LastAnnouncer { .. }, .. })
            .then_some(())
    });
}

#[test]
fn the_last_announcer_stays_with_an_alarm_leaves_when_another_is_seen_and_returns_when_that_one_goes() {
    let router = Router::with([Manner::Established(end_of_rib())]);
    let mut app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.group = group("500ms");
    let daemon = pop.start_announced(&router);
    let marked = format!("large 64512:1:{OWN}");
    assert!(router.wait_for("announce 203.0.113.0/24").line.ends_with(&marked), "all routes bear the mark");

    wait_seen(&daemon, &[]);
    let before = router.heard().len();
    app.kill();
    let evidence = wait_alarm(&daemon, 0);
    assert_eq!((evidence.observing, evidence.counted, evidence.least), (true, 0, 1));
    let leaving = format!("communities 65535:0 large 64512:1:{OWN} 64512:2:{OWN}");
    let heard = router.wait_after(before, "announce 203.0.113.0/24");
    assert!(heard.line.ends_with(&leaving), "{}", heard.line);
    let (held, why) = daemon.wait_transition("web", ReachState::DePreferred, 0);
    assert!(matches!(&why, GroupReason::Held { by: Hold::Quiet { quiet_ms: 500, .. }, .. }), "{why:?}");

    // A route of an origin that nobody knows is no evidence; it comes before the one that is.
    router.say(&[announcement(), of_another_pop(&[]), of_another_pop(&[[64512, 1, OTHER]])].concat());
    wait_alarm_over(&daemon);
    router.wait_after(before, "withdraw 203.0.113.0/24");
    let (left, why) = daemon.wait_transition("web", ReachState::Withdrawn, held.seq);
    let GroupReason::Left { evidence: Some(evidence), .. } = why else { panic!("{why:?}") };
    assert_eq!((evidence.others.as_slice(), evidence.counted), (&[other(false)][..], 1));
    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!(status.groups[0].others.as_ref().unwrap().others, [other(false)]);
    assert_eq!(status.alarms, []);

    let before = router.heard().len();
    router.say(&of_no_other_pop());
    let heard = router.wait_after(before, "announce 203.0.113.0/24");
    assert!(heard.line.ends_with(&leaving), "{}", heard.line);
    let (_, why) = daemon.wait_transition("web", ReachState::DePreferred, left.seq);
    assert!(matches!(&why, GroupReason::Returned { evidence, .. } if evidence.counted == 0), "{why:?}");
    wait_alarm(&daemon, left.seq);
}

#[test]
fn another_that_is_leaving_too_is_relied_upon_only_if_its_rank_is_higher() {
    let router = Router::with([Manner::Established(
        [end_of_rib(), of_another_pop(&[[64512, 1, OTHER], [64512, 2, OTHER]])].concat(),
    )]);
    let mut app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.group = group("100ms");
    let daemon = pop.start_announced(&router);
    wait_seen(&daemon, &[other(true)]);
    app.kill();
    // 192.0.2.11 has the higher rank of the two: it stays.
    let evidence = wait_alarm(&daemon, 0);
    assert_eq!((evidence.others.as_slice(), evidence.counted), (&[other(true)][..], 0));
    let first = [192, 0, 2, 1];
    let rank = u32::from_be_bytes(first);
    router.say(&of_another_pop(&[[64512, 1, rank], [64512, 2, rank]]));
    let (_, why) = daemon.wait_transition("web", ReachState::Withdrawn, 0);
    let GroupReason::Left { evidence: Some(evidence), .. } = why else { panic!("{why:?}") };
    let higher = Sighting { origin: first.into(), leaving: true };
    assert_eq!((evidence.others.as_slice(), evidence.counted), (&[higher][..], 1));
}

#[test]
fn without_a_session_that_has_told_all_its_routes_nothing_is_concluded() {
    let (router, clock) = (Router::polite(), App::healthy("us-1"));
    let mut app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app).backend("us", &clock);
    pop.group = group("100ms");
    let daemon = pop.start_announced(&router);
    router.say(&of_another_pop(&[[64512, 1, OTHER]]));
    app.kill();
    assert!(!wait_alarm(&daemon, 0).observing);
    // Many times the quiet period.
    clock.wait_probes(10);
    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!((status.groups[0].state, status.alarms.len()), (ReachState::DePreferred, 1));
    router.say(&end_of_rib());
    wait_alarm_over(&daemon);
    daemon.wait_transition("web", ReachState::Withdrawn, 0);

    // Having left, it stays away when the observing session is lost, with an alarm: that is no evidence of anything.
    router.hang_up();
    daemon.wait_event("the alarm", |event| match &event.kind {
        EventKind::AlarmRaised { alarm: AlarmKind::LeftAlone { evidence }, .. } => {
            (!evidence.observing).then_some(())
        }
        _ => None,
    });
    clock.wait_probes(10);
    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!((status.groups[0].state, status.alarms.len()), (ReachState::Withdrawn, 1));
}
