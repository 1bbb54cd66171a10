//! Commands to peers, routes by the page, reload and restart.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query},
    routing::{get, post},
};
use proxima_api::{ReceivedQuery, ReceivedRoutes};
use serde_json::{Value, json};

use crate::support::Place;

#[tokio::test]
async fn each_command_reaches_its_peer() {
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let note = Arc::clone(&heard);
    let command = async move |Path((peer, verb)): Path<(String, String)>, body: Bytes| {
        note.lock().unwrap().push(format!("{peer} {verb} {}", String::from_utf8_lossy(&body)));
        Json(json!({ "peer": peer, "state": "established" }))
    };
    let daemon = Place::new().serve(Router::new().route("/v1/peers/{name}/{verb}", post(command)));
    for (args, request, told) in [
        (&["tor1", "reset"][..], "tor1 reset {}", "tor1: session reset; it was established\n"),
        (&["tor1", "refresh"], "tor1 refresh {}", "tor1: asked for its routes again; it was established\n"),
        (&["tor1", "up"], "tor1 up {}", "tor1: may come up; it was established\n"),
        (
            &["racks/10.1.0.7", "shutdown", "new line card"],
            r#"racks/10.1.0.7 shutdown {"reason":"new line card"}"#,
            "racks/10.1.0.7: shut down, until `up`; it was established\n",
        ),
        (
            &["tor1", "shutdown"],
            r#"tor1 shutdown {"reason":""}"#,
            "tor1: shut down, until `up`; it was established\n",
        ),
    ] {
        let outcome = daemon.proxima(&[&["peer"], args].concat()).await;
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, told), "{}", outcome.stderr);
        assert_eq!(heard.lock().unwrap().pop().as_deref(), Some(request));
    }
}

/// A daemon that has `count` routes, a few a page, some pages of them empty.
fn with_routes(count: u32) -> Place {
    let page = move |Query(query): Query<ReceivedQuery>| async move {
        assert_eq!(query.limit, Some(ReceivedQuery::MOST));
        let after = query.after.map(|after| after.to_string());
        let first = after.map_or(0, |after| after.split('.').nth(1).unwrap().parse::<u32>().unwrap() + 1);
        let last = (first + 3).min(count);
        let skips = first % 2 == 1;
        let route = |index: u32| {
            json!({
                "peer": "router",
                "prefix": format!("10.{index}.0.0/16"),
                "next_hop": if index == 5 { "192.168.100.200" } else { "10.0.0.1" },
                "origin": "igp",
                "as_path": [65002],
                "med": null,
                "local_pref": null,
                "communities": [],
                "stale": index == 1,
            })
        };
        let routes: Vec<Value> = (first..last).filter(|_| !skips).map(route).collect();
        let next = if skips { first.checked_sub(1) } else { last.checked_sub(1) };
        let skipped = if skips { first } else { last.saturating_sub(1) };
        let next = (last < count || skips).then_some(if skips { skipped } else { next.unwrap_or(0) });
        Json(json!({ "routes": routes, "next": next.map(|next| format!("10.{next}.0.0/16")) }))
    };
    Place::new().serve(Router::new().route("/v1/routes/received", get(page)))
}

#[tokio::test]
async fn received_routes_are_shown_page_after_page() {
    let outcome = with_routes(9).proxima(&["routes", "received"]).await;
    let mut expected = "PEER    PREFIX       NEXT HOP  ORIGIN  MED  AS PATH  COMMUNITIES\n".to_owned();
    for line in outcome.stdout.lines().skip(1) {
        writeln!(expected, "{line}").unwrap();
    }
    assert_eq!((outcome.code, &outcome.stdout), (0, &expected), "{}", outcome.stderr);
    let prefixes: Vec<&str> =
        outcome.stdout.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert!(prefixes.is_sorted() && prefixes.contains(&"10.0.0.0/16") && prefixes.len() > 3, "{prefixes:?}");
    assert!(outcome.stdout.contains("65002    (stale)"), "{}", outcome.stdout);
    let none = with_routes(0).proxima(&["routes", "received"]).await;
    assert_eq!(none.stdout, "no such routes are received\n");
}

#[tokio::test]
async fn received_routes_as_json_are_one_document_with_a_route_a_line() {
    let outcome = with_routes(9).proxima(&["--json", "routes", "received"]).await;
    let whole: ReceivedRoutes = serde_json::from_str(&outcome.stdout).unwrap();
    assert!(whole.next.is_none() && whole.routes.len() > 3, "{whole:?}");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!((lines[0], lines[lines.len() - 1]), ("{\"routes\":[", "]}"));
    for line in &lines[1..lines.len() - 1] {
        serde_json::from_str::<Value>(line.trim_end_matches(',')).unwrap();
    }
    let none = with_routes(0).proxima(&["--json", "routes", "received"]).await;
    assert!(serde_json::from_str::<ReceivedRoutes>(&none.stdout).unwrap().routes.is_empty());
}

#[tokio::test]
async fn reload_tells_what_changed_and_force_is_passed_on() {
    let reload = async |body: Bytes| {
        let request: Value = serde_json::from_slice(&body).unwrap();
        let changed = if request["force"] == true { vec!["tor1"] } else { vec![] };
        let none = json!({ "added": [], "removed": [], "changed": [] });
        Json(
            json!({ "peers": { "added": [], "removed": [], "changed": changed }, "bmp": none, "mrt": false }),
        )
    };
    let daemon = Place::new().serve(Router::new().route("/v1/reload", post(reload)));
    for (args, told) in [(&["reload"][..], "nothing changes\n"), (&["reload", "--force"], "peers: ~tor1\n")] {
        let outcome = daemon.proxima(args).await;
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, told), "{}", outcome.stderr);
    }
}

#[tokio::test]
async fn restart_tells_who_keeps_the_routes() {
    let restart = async || Json(json!({ "helped_by": ["tor1", "tor2"], "dropped_by": [] }));
    let daemon = Place::new().serve(Router::new().route("/v1/restart", post(restart)));
    let outcome = daemon.proxima(&["restart"]).await;
    assert_eq!(outcome.stdout, "restarting: routes are kept by tor1 tor2, dropped by nobody\n");
}
