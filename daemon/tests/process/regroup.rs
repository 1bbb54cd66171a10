//! Announcement groups that change with the file.

use std::fs;

use proxima_api::{ErrorBody, GroupReason, Peer, Reloaded, Reloads, SessionState, Status, paths};
use proxima_types::ReachState;

use crate::support::{App, Daemon, Pop, Router, message};

const API: &str = "[announce.api]\nprefixes = [\"198.51.100.0/24\"]\nservices = [\"web\"]\nvip = \"none\"\n";

fn reload(daemon: &Daemon) -> Reloaded {
    daemon.post(paths::RELOAD, "")
}

fn refused(daemon: &Daemon) -> ErrorBody {
    let (status, body) = daemon.refused("POST", paths::RELOAD, "");
    assert_eq!(status, 422, "{body:?}");
    body
}

/// Writes the file of `pop` with the first `from` replaced.
fn rewrite(pop: &Pop, from: &str, to: &str) {
    let text = pop.text();
    assert!(text.contains(from), "`{from}` is not in the file");
    fs::write(pop.directory().join("proxima.toml"), text.replacen(from, to, 1)).unwrap();
}

/// What the router is told in answer to a ROUTE-REFRESH for IPv4, after all that was under way before.
fn after_refresh(router: &Router, before: usize) -> Vec<String> {
    let updates = router.updates().len();
    router.say(&message(5, &[0, 1, 0, 1]));
    router.wait_after(before, "announce 203.0.113.0/24");
    router.updates()[updates..].to_vec()
}

fn untouched(daemon: &Daemon) {
    let peer: Peer = daemon.ask(&format!("{}/router", paths::PEERS));
    assert_eq!((peer.state, peer.flaps, peer.established_count), (SessionState::Established, 0, 1));
}

#[test]
fn thresholds_change_without_an_update_and_mean_something_from_then_on() {
    let router = Router::polite();
    let (mut first, second) = (App::healthy("eu-1"), App::healthy("eu-2"));
    let pop = Pop::new().peer("router", &router).backend("eu", &first).backend("eu", &second);
    let daemon = pop.start_announced(&router);
    let before = router.heard().len();
    rewrite(
        &pop,
        "below = 0.4\n  above = 0.6\n  hold-down = \"1s\"",
        "below = 0.7\n  above = 0.75\n  hold-down = \"2s\"",
    );
    let changed = Reloads { changed: vec!["web".to_owned()], ..Reloads::default() };
    assert_eq!(reload(&daemon).groups, changed);
    let heard = after_refresh(&router, before);
    assert_eq!(heard, ["announce 203.0.113.0/24 path 64512 via 127.0.0.1 communities 64512:100"]);
    untouched(&daemon);

    // Half is too little now.
    first.kill();
    let (_, why) = daemon.wait_transition("web", ReachState::Withdrawn, 0);
    assert!(
        matches!(&why, GroupReason::ScoreBelow { threshold, .. } if threshold.to_string() == "0.70"),
        "{why:?}"
    );
    router.wait_after(before, "withdraw 203.0.113.0/24");
}

#[test]
fn attributes_and_prefixes_change_with_one_update_each_and_the_session_stays() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start_announced(&router);
    let before = router.heard().len();
    rewrite(&pop, "communities = [\"64512:100\"]", "communities = [\"64512:101\"]");
    reload(&daemon);
    let heard = router.wait_after(before, "announce 203.0.113.0/24");
    assert!(heard.line.ends_with("communities 64512:101"), "{}", heard.line);

    let before = router.heard().len();
    rewrite(&pop, "\"203.0.113.0/24\"", "\"203.0.113.0/25\", \"203.0.113.128/25\"");
    reload(&daemon);
    router.wait_after(before, "withdraw 203.0.113.0/24");
    let heard = router.wait_after(before, "announce 203.0.113.0/25");
    assert!(heard.line.starts_with("announce 203.0.113.0/25 203.0.113.128/25 "), "{}", heard.line);
    untouched(&daemon);
    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!((status.groups[0].state, status.groups[0].prefixes.len()), (ReachState::Announced, 3));
}

#[test]
fn groups_come_and_go_with_the_file_and_one_that_comes_into_a_drained_pop_is_drained() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start_announced(&router);
    let path = pop.directory().join("proxima.toml");
    let alone = pop.text();
    pop.group += API;
    fs::write(&path, pop.text()).unwrap();
    let before = router.heard().len();
    assert_eq!(reload(&daemon).groups.added, ["api"]);
    router.wait_after(before, "announce 198.51.100.0/24 path 64512 via 127.0.0.1");
    let (_, why) = daemon.wait_transition("api", ReachState::Announced, 0);
    assert!(matches!(why, GroupReason::FirstVerdicts { .. }), "{why:?}");

    fs::write(&path, &alone).unwrap();
    assert_eq!(reload(&daemon).groups.removed, ["api"]);
    router.wait_after(before, "withdraw 198.51.100.0/24");
    let (gone, why) = daemon.wait_transition("api", ReachState::Withdrawn, 0);
    assert_eq!(why, GroupReason::Removed);

    daemon.post::<serde_json::Value>(paths::DRAIN, "");
    router.wait_after(before, "withdraw 203.0.113.0/24");
    fs::write(&path, pop.text()).unwrap();
    reload(&daemon);
    let status: Status = daemon.ask(paths::STATUS);
    let states: Vec<_> = status.groups.iter().map(|group| (group.name.as_str(), group.state)).collect();
    assert_eq!(states, [("api", ReachState::Withdrawn), ("web", ReachState::Withdrawn)]);
    daemon.post::<serde_json::Value>(paths::UNDRAIN, "");
    daemon.wait_transition("api", ReachState::Announced, gone.seq);
    untouched(&daemon);
}

#[test]
fn a_file_that_leaves_nothing_announced_or_a_list_empty_is_refused_unless_forced() {
    let router = Router::polite();
    let (mut first, second) = (App::healthy("eu-1"), App::healthy("eu-2"));
    let pop = Pop::new().peer("router", &router).backend("eu", &first).backend("eu", &second);
    let daemon = pop.start_announced(&router);
    let path = pop.directory().join("proxima.toml");
    rewrite(&pop, "communities = [\"64512:100\"]\n", "");
    let body = refused(&daemon);
    assert!(body.error.contains("announce.web.communities"), "{body:?}");
    assert!(body.hint.unwrap().contains("--force"));

    let text = pop.text();
    let begin = text.find("[announce.web]").unwrap();
    let end = text.find("[services.web]").unwrap();
    fs::write(&path, [&text[..begin], &text[end..]].concat()).unwrap();
    assert!(refused(&daemon).error.ends_with(": announce"), "all groups gone");

    // With half of the region down, a threshold above a half withdraws.
    first.kill();
    let (degraded, _) = daemon.wait_transition("web", ReachState::DePreferred, 0);
    rewrite(&pop, "below = 0.4\n  above = 0.6", "below = 0.6\n  above = 0.7");
    let body = refused(&daemon);
    assert!(body.error.contains("nothing would be announced any more"), "{body:?}");
    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!(status.groups[0].state, ReachState::DePreferred);
    assert!(!router.updates().iter().any(|update| update.starts_with("withdraw")));

    let before = router.heard().len();
    let forced: Reloaded = daemon.post(paths::RELOAD, r#"{"force": true}"#);
    assert_eq!(forced.groups.changed, ["web"]);
    router.wait_after(before, "withdraw 203.0.113.0/24");
    let (_, why) = daemon.wait_transition("web", ReachState::Withdrawn, degraded.seq);
    assert!(matches!(why, GroupReason::Reconfigured { .. }), "{why:?}");
}
