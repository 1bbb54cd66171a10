//! Orders for groups, which end by themselves.

use proxima_api::{EventKind, GroupReason, OrderVerb, Ordered, Status, paths};
use proxima_types::ReachState;

use crate::support::{App, Daemon, Pop, Router, proxima};

const API: &str = "[announce.api]\nprefixes = [\"198.51.100.0/24\"]\nservices = [\"web\"]\nvip = \"none\"\n";

fn order(daemon: &Daemon, body: &str) -> Ordered {
    daemon.post(paths::ORDERS, body)
}

#[test]
fn an_order_with_an_end_holds_its_group_until_then_and_says_whose_it_is_and_why() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.group += API;
    let daemon = pop.start_announced(&router);
    let before = router.heard().len();
    let told =
        proxima(&pop.socket(), &["withdraw", "web", "--reason", "new line card", "--for", "2s", "--json"]);
    let ordered: Ordered = serde_json::from_slice(&told.stdout).unwrap();
    let given = ordered.groups[0].order.clone().unwrap();
    assert_eq!((ordered.groups.len(), ordered.groups[0].state), (1, ReachState::Withdrawn));
    assert_eq!((given.verb, given.reason.as_deref()), (OrderVerb::Withdraw, Some("new line card")));
    let until = given.until.unwrap();
    assert_eq!(until.unix_micros() - given.since.unix_micros(), 2_000_000);
    router.wait_after(before, "withdraw 203.0.113.0/24");
    let (withdrawn, why) = daemon.wait_transition("web", ReachState::Withdrawn, 0);
    assert_eq!(why, GroupReason::Operator { order: given.clone() });
    daemon.wait_event("the order", |event| match &event.kind {
        EventKind::OrderGiven { groups, order } => {
            assert_eq!((groups[0].as_str(), order.reason.as_deref()), ("web", Some("new line card")));
            Some(())
        }
        _ => None,
    });
    let shown = String::from_utf8(proxima(&pop.socket(), &["status"]).stdout).unwrap();
    let words = format!("withdraw by {}, until {until:.0}: new line card", given.by);
    assert!(shown.contains(&words), "{words} is not in {shown}");

    router.wait_after(before, "announce 203.0.113.0/24");
    let (back, why) = daemon.wait_transition("web", ReachState::Announced, withdrawn.seq);
    let GroupReason::Expired { order: expired, why: Some(health) } = why else { panic!("{why:?}") };
    assert!(back.at >= until && expired == given, "{back}");
    assert!(matches!(*health, GroupReason::FirstVerdicts { .. }), "{health}");
    daemon.wait_event("the end of the order", |event| match &event.kind {
        EventKind::OrderExpired { groups, order } => (groups.len() == 1 && *order == given).then_some(()),
        _ => None,
    });
    let status: Status = daemon.ask(paths::STATUS);
    assert!(status.groups.iter().all(|group| group.order.is_none()));
    assert!(!router.updates().iter().any(|update| update == "withdraw 198.51.100.0/24"), "the other group");
}

#[test]
fn a_group_is_announced_against_its_health_until_it_is_left_to_it() {
    let router = Router::polite();
    let mut app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start_announced(&router);
    app.kill();
    let (down, _) = daemon.wait_transition("web", ReachState::Withdrawn, 0);
    let ordered = order(&daemon, r#"{"verb":"announce","reason":"better than nothing"}"#);
    assert_eq!(ordered.groups[0].state, ReachState::Announced);
    let (up, why) = daemon.wait_transition("web", ReachState::Announced, down.seq);
    assert!(matches!(&why, GroupReason::Operator { order } if order.verb == OrderVerb::Announce), "{why:?}");
    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!(status.groups[0].by_health, ReachState::Withdrawn);
    order(&daemon, r#"{"verb":"auto","groups":["web"]}"#);
    let (_, why) = daemon.wait_transition("web", ReachState::Withdrawn, up.seq);
    assert!(matches!(&why, GroupReason::Operator { order } if order.verb == OrderVerb::Auto), "{why:?}");
}

#[test]
fn a_group_is_drained_alone_and_undrain_leaves_other_orders_alone() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.group += API;
    let daemon = pop.start_announced(&router);
    let before = router.heard().len();
    assert!(proxima(&pop.socket(), &["drain", "api", "--reason", "db move"]).status.success());
    assert!(router.wait_after(before, "announce 198.51.100.0/24").line.contains("65535:0"));
    router.wait_after(before, "withdraw 198.51.100.0/24");
    let (_, why) = daemon.wait_transition("api", ReachState::Withdrawn, 0);
    assert!(
        matches!(&why, GroupReason::Drained { order, after_ms: 300 } if order.reason.as_deref() == Some("db move")),
        "{why:?}"
    );
    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!(status.drained, None, "not the PoP as a whole");

    order(&daemon, r#"{"verb":"withdraw","groups":["web"]}"#);
    router.wait_after(before, "withdraw 203.0.113.0/24");
    let told = proxima(&pop.socket(), &["undrain", "web"]);
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success() && text.starts_with("web: withdrawn; withdraw by "), "{text}");
    assert!(proxima(&pop.socket(), &["undrain", "api"]).status.success());
    let after = router.heard().len();
    router.wait_after(before, "announce 198.51.100.0/24 path 64512 via 127.0.0.1");
    let status: Status = daemon.ask(paths::STATUS);
    let states: Vec<_> = status.groups.iter().map(|group| (group.name.as_str(), group.state)).collect();
    assert_eq!(states, [("api", ReachState::Announced), ("web", ReachState::Withdrawn)]);
    assert!(!router.updates()[..].iter().skip(after).any(|line| line.starts_with("announce 203.0.113.0/24")));
}

#[test]
fn a_drain_with_an_end_puts_the_pop_back() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start_announced(&router);
    let told = proxima(&pop.socket(), &["drain", "--reason", "kernel", "--for", "3s"]);
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(text.starts_with("drained until ") && text.ends_with(": kernel\n"), "{text}");
    let (out, _) = daemon.wait_transition("web", ReachState::Withdrawn, 0);
    let (_, why) = daemon.wait_transition("web", ReachState::Announced, out.seq);
    assert!(matches!(why, GroupReason::Expired { .. }), "{why:?}");
    daemon.wait_event("undrained", |event| matches!(event.kind, EventKind::Undrain).then_some(()));
    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!(status.drained, None);
}
