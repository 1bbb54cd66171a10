//! Each command's request and its text, letter by letter.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, RawQuery},
    routing::{get, post},
};
use proxima_api::{
    AdvertisedRoutes, Backends, BfdSessions, Certificates, DrainRequest, Events, OrderRequest, OrderVerb,
    Ordered, OrderedGroup, Peer, Peers, RouteLookup, RoutesSummary, Status,
};
use proxima_types::ReachState;
use serde::de::DeserializeOwned;

use crate::support::Place;

/// A daemon that answers one path with the JSON of a file, which must be what the interface defines.
fn answering<T: DeserializeOwned>(path: &str, body: &'static str) -> Place {
    serde_json::from_str::<T>(body).unwrap();
    Place::new().serve(Router::new().route(path, get(async move || body)))
}

/// The text is the golden one, `--json` is the daemon's own.
async fn shows<T: DeserializeOwned>(path: &str, args: &[&str], body: &'static str, golden: &str) {
    let daemon = answering::<T>(path, body);
    let text = daemon.proxima(args).await;
    assert_eq!((text.code, text.stderr.as_str()), (0, ""));
    assert_eq!(text.stdout, golden);
    let json = daemon.proxima(&[args, &["--json"]].concat()).await;
    assert_eq!((json.code, json.stdout.as_str()), (0, body));
}

#[tokio::test]
async fn status_shows_groups_services_and_what_listens() {
    let golden = include_str!("golden/status.txt");
    shows::<Status>("/v1/status", &["status"], include_str!("golden/status.json"), golden).await;
}

#[tokio::test]
async fn a_daemon_that_stops_does_so_after_its_time_and_not_for_it() {
    let stopping = include_str!("golden/status.json").replace("\"running\"", "\"stopping\"");
    let golden = include_str!("golden/status.txt").replacen("running for", "stopping after", 1);
    shows::<Status>("/v1/status", &["status"], stopping.leak(), &golden).await;
}

#[tokio::test]
async fn peers_shows_a_line_for_each() {
    let golden = include_str!("golden/peers.txt");
    shows::<Peers>("/v1/peers", &["peers"], include_str!("golden/peers.json"), golden).await;
}

#[tokio::test]
async fn a_peer_by_name_is_shown_in_full() {
    let golden = include_str!("golden/peer.txt");
    shows::<Peer>("/v1/peers/router", &["peers", "router"], include_str!("golden/peer.json"), golden).await;
}

#[tokio::test]
async fn advertised_routes_show_their_group_and_attributes() {
    let golden = include_str!("golden/advertised.txt");
    let body = include_str!("golden/advertised.json");
    shows::<AdvertisedRoutes>("/v1/routes/advertised", &["routes", "advertised"], body, golden).await;
}

#[tokio::test]
async fn bfd_shows_the_pace_of_each_session_and_why_it_is_down() {
    let golden = include_str!("golden/bfd.txt");
    shows::<BfdSessions>("/v1/bfd", &["bfd"], include_str!("golden/bfd.json"), golden).await;
}

#[tokio::test]
async fn a_looked_up_address_shows_the_best_path_and_why_the_others_lost() {
    let golden = include_str!("golden/lookup.txt");
    let body = include_str!("golden/lookup.json");
    shows::<RouteLookup>("/v1/routes/lookup", &["routes", "lookup", "203.0.113.77"], body, golden).await;
    let nothing = r#"{"address":"2001:db8::1","prefix":null,"paths":[]}"#;
    let daemon = answering::<RouteLookup>("/v1/routes/lookup", nothing);
    let outcome = daemon.proxima(&["routes", "lookup", "2001:db8::1"]).await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "no received route leads to 2001:db8::1\n"));
}

#[tokio::test]
async fn a_summary_counts_what_was_received() {
    let body = "{\"prefixes\":1000000,\"selected\":999999,\"paths\":1}\n";
    let shown = "1000000 prefixes, 999999 with a best path; 1 path\n";
    shows::<RoutesSummary>("/v1/routes/summary", &["routes", "summary"], body, shown).await;
}

#[tokio::test]
async fn backends_show_the_verdict_and_its_reason() {
    let golden = include_str!("golden/backends.txt");
    shows::<Backends>("/v1/backends", &["backends"], include_str!("golden/backends.json"), golden).await;
}

#[tokio::test]
async fn certificates_show_their_ends_and_what_keeps_orders_from_success() {
    let golden = include_str!("golden/certificates.txt");
    let body = include_str!("golden/certificates.json");
    shows::<Certificates>("/v1/certificates", &["certificates"], body, golden).await;
}

#[tokio::test]
async fn renew_orders_the_certificate_of_the_service_that_is_named() {
    let renew =
        async |Path(service): Path<String>| Json(serde_json::json!({ "service": service, "issuer": "le" }));
    let daemon = Place::new().serve(Router::new().route("/v1/certificates/{service}/renew", post(renew)));
    for (args, text) in [
        (&["renew", "api"][..], "api: ordered from le; `proxima events --follow` tells what comes of it\n"),
        (&["renew", "api", "--json"], "{\"issuer\":\"le\",\"service\":\"api\"}\n"),
    ] {
        let outcome = daemon.proxima(args).await;
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, text), "{args:?}: {}", outcome.stderr);
    }
}

#[tokio::test]
async fn backends_show_the_bgp_path_that_makes_their_region_near() {
    let golden = include_str!("golden/backends-by-bgp.txt");
    let body = include_str!("golden/backends-by-bgp.json");
    shows::<Backends>("/v1/backends", &["backends"], body, golden).await;
}

#[tokio::test]
async fn events_are_a_line_each_after_what_was_lost() {
    let golden = include_str!("golden/events.txt");
    shows::<Events>("/v1/events", &["events"], include_str!("golden/events.json"), golden).await;
}

#[tokio::test]
async fn filters_reach_the_daemon() {
    let echo = async |RawQuery(query): RawQuery| Json(serde_json::json!({ "routes": [], "query": query }));
    let router = Router::new().route("/v1/routes/advertised", get(echo));
    let daemon = Place::new().serve(router);
    for (args, query) in [
        (&["advertised"][..], "null"),
        (&["advertised", "router"], r#""peer=router""#),
        (&["advertised", "2001:db8::/32"], r#""prefix=2001:db8::/32""#),
        (&["advertised", "racks/10.1.0.7", "10.0.0.0/8"], r#""peer=racks/10.1.0.7&prefix=10.0.0.0/8""#),
    ] {
        let outcome = daemon.proxima(&[&["--json", "routes"], args].concat()).await;
        assert!(outcome.stdout.contains(&format!(r#""query":{query}"#)), "{args:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn drain_sends_its_reason_and_tells_what_changed() {
    let drain = async |body: Bytes| {
        let request: DrainRequest = serde_json::from_slice(&body).unwrap();
        let changed = request.reason.as_deref() == Some("new kernel");
        Json(serde_json::json!({
            "changed": changed,
            "drained": { "since": "2026-03-01T12:00:00.000000Z", "reason": "new kernel" },
        }))
    };
    let undrain = async || Json(serde_json::json!({ "changed": true, "drained": null }));
    let router = Router::new().route("/v1/drain", post(drain)).route("/v1/undrain", post(undrain));
    let daemon = Place::new().serve(router);
    for (args, text) in [
        (&["drain", "--reason", "new kernel"][..], "drained: new kernel\n"),
        (&["drain", "--reason", "new kernel", "--for", "1h"], "drained: new kernel\n"),
        (&["drain"], "already drained since 2026-03-01T12:00:00Z: new kernel\n"),
        (&["undrain"], "undrained: groups are announced as health allows\n"),
        (&["undrain", "--json"], "{\"changed\":true,\"drained\":null}\n"),
    ] {
        let outcome = daemon.proxima(args).await;
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, text), "{args:?}: {}", outcome.stderr);
    }
}

#[tokio::test]
async fn an_order_names_its_groups_its_reason_and_its_time_and_shows_what_it_brought_about() {
    let order = async |body: Bytes| {
        let request: OrderRequest = serde_json::from_slice(&body).unwrap();
        let order = serde_json::json!({
            "verb": request.verb,
            "by": { "who": "operator", "uid": 1000, "pid": 4711 },
            "reason": request.reason,
            "since": "2026-03-01T12:00:00.000000Z",
            "until": request.for_ms.map(|ms| format!("2026-03-01T12:{:02}:00.000000Z", ms / 60_000)),
        });
        let order = (request.verb != OrderVerb::Auto).then_some(order);
        // `undrain` ends nothing but drains.
        let only_drains = request.only_where == Some(OrderVerb::Drain);
        let order = if only_drains {
            assert_eq!(request.verb, OrderVerb::Auto);
            let by = serde_json::json!({ "who": "daemon" });
            Some(serde_json::json!({ "verb": "withdraw", "by": by, "since": "2026-03-01T12:00:00.000000Z" }))
        } else {
            order
        };
        let groups = if request.groups.is_empty() { vec!["all".parse().unwrap()] } else { request.groups };
        let groups = groups.into_iter().map(|name| OrderedGroup {
            name,
            state: ReachState::Withdrawn,
            order: order.clone().map(|order| serde_json::from_value(order).unwrap()),
        });
        Json(Ordered { groups: groups.collect() })
    };
    let daemon = Place::new().serve(Router::new().route("/v1/orders", post(order)));
    for (args, text) in [
        (
            &["withdraw", "web", "api", "--reason", "new kernel", "--for", "15m"][..],
            "web: withdrawn; withdraw by uid 1000, pid 4711, until 2026-03-01T12:15:00Z: new kernel\n\
             api: withdrawn; withdraw by uid 1000, pid 4711, until 2026-03-01T12:15:00Z: new kernel\n",
        ),
        (&["announce"], "all: withdrawn; announce by uid 1000, pid 4711\n"),
        (&["drain", "web"], "web: withdrawn; drain by uid 1000, pid 4711\n"),
        (&["auto", "--reason", "done"], "all: withdrawn; left to its health\n"),
        (&["undrain", "web"], "web: withdrawn; withdraw by the daemon\n"),
        (&["auto", "web", "--json"], "{\"groups\":[{\"name\":\"web\",\"state\":\"withdrawn\"}]}\n"),
    ] {
        let outcome = daemon.proxima(args).await;
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, text), "{args:?}: {}", outcome.stderr);
    }
    let wrong = daemon.proxima(&["withdraw", "--for", "soon"]).await;
    assert!(wrong.code == 2 && wrong.stderr.contains("15m"), "{wrong:?}");
}
