//! What can go wrong, with its remedy and exit code.

use axum::{
    Json, Router,
    http::StatusCode,
    routing::{get, post},
};

use crate::support::{Outcome, Place, proxima, run};

fn assert_fails(outcome: &Outcome, error: &str, hint: &str) {
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert_eq!(outcome.stdout, "");
    let (first, second) = outcome.stderr.split_once('\n').unwrap();
    assert!(first.starts_with("error: ") && first.contains(error), "{outcome:?}");
    assert!(second.starts_with("  hint: ") && second.contains(hint), "{outcome:?}");
}

#[tokio::test]
async fn a_daemon_that_does_not_run_is_named_by_its_socket() {
    let place = Place::new();
    let error = format!("cannot reach proximad at {}: No such file", place.socket().display());
    assert_fails(&place.proxima(&["status"]).await, &error, "is it running?");
}

#[tokio::test]
async fn with_json_an_error_is_an_object_with_its_remedy() {
    let place = Place::new();
    let missing = place.directory().join("missing.toml").display().to_string();
    for command in [&["--json", "status"][..], &["--json", "check", &missing]] {
        let told = place.proxima(command).await;
        let body: proxima_api::ErrorBody = serde_json::from_str(&told.stderr).unwrap();
        assert!(body.error.starts_with("cannot re") && body.hint.is_some(), "{body:?}");
    }
}

#[tokio::test]
async fn a_left_over_socket_is_told_apart() {
    let place = Place::new();
    drop(place.listen());
    assert_fails(&place.proxima(&["status"]).await, "Connection refused", "left over");
}

#[tokio::test]
async fn the_socket_of_the_command_line_wins() {
    let place = Place::new();
    let other = place.directory().join("other.sock");
    let outcome = place.proxima(&["status", "--socket", other.to_str().unwrap()]).await;
    assert_fails(&outcome, "other.sock", "--socket");
}

#[tokio::test]
async fn the_daemons_refusal_is_told_in_its_words() {
    let body = || Json(serde_json::json!({ "error": "there is no peer `x`", "hint": "peers: router" }));
    let refusal = async move || (StatusCode::NOT_FOUND, body());
    let router = Router::new().route("/v1/peers/x", get(refusal)).route("/v1/events", get(refusal));
    let daemon = Place::new().serve(router);
    assert_fails(&daemon.proxima(&["peers", "x"]).await, "there is no peer `x`", "peers: router");
    assert_fails(&daemon.proxima(&["events", "--follow"]).await, "there is no peer `x`", "peers: router");
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_before_the_error_itself() {
    let body = || {
        Json(serde_json::json!({
            "error": "2 errors in proxima.toml", "details": ["first", "second"], "hint": "correct them"
        }))
    };
    let refusal = async move || (StatusCode::UNPROCESSABLE_ENTITY, body());
    let daemon = Place::new().serve(Router::new().route("/v1/reload", post(refusal)));
    let outcome = daemon.proxima(&["reload"]).await;
    let told = "first\n\nsecond\n\nerror: 2 errors in proxima.toml\n  hint: correct them\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (1, told));
    let outcome = daemon.proxima(&["--json", "reload"]).await;
    let body: proxima_api::ErrorBody = serde_json::from_str(&outcome.stderr).unwrap();
    assert_eq!((outcome.code, body.details), (1, vec!["first".to_owned(), "second".to_owned()]));
}

#[tokio::test]
async fn another_programs_socket_is_recognised() {
    let router =
        Router::new().route("/v1/status", get(async || "hello")).route("/v1/drain", post(async || "{}"));
    let daemon = Place::new().serve(router);
    assert_fails(
        &daemon.proxima(&["status"]).await,
        "something else than the admin interface's JSON",
        "proximad's socket",
    );
    assert_fails(&daemon.proxima(&["drain"]).await, "missing field", "one version");
    assert_fails(&daemon.proxima(&["peers"]).await, "404", "proximad's socket");
}

#[tokio::test]
async fn a_daemon_that_dies_while_answering_is_told() {
    let place = Place::new();
    let listener = place.listen();
    tokio::spawn(async move { drop(listener.accept().await) });
    assert_fails(&place.proxima(&["status"]).await, "broke off", "did it stop or crash?");
}

#[tokio::test]
async fn bad_usage_exits_with_2_and_names_the_argument() {
    for (args, told) in [
        (&["stauts"][..], "stauts"),
        (&["routes"], "advertised"),
        (&["routes", "received", "-x"], "-x"),
        (&["routes", "received", "10.0.0.1/8"], "did you mean 10.0.0.0/8?"),
        (&["routes", "received", "tor1", "10.0.0.1"], "write `10.0.0.1/32` for one address"),
        (&["routes", "received", "a b"], "neither a peer's name nor a prefix"),
        (&["routes", "received", "10.0.0.0/8", "10.0.0.0/9"], "two prefixes are one too many"),
        (&["routes", "lookup", "10.0.0.0/8"], "10.0.0.0/8"),
        (&["peer", "tor1"], "shutdown"),
        (&["peer", "tor1", "down"], "down"),
        (&["bgp", "decode"], "HEX|FILE|-"),
        (&["peers", "-x-"], "-x"),
        (&["events", "--since", "yesterday"], "yesterday"),
        (&["check"], "FILE"),
    ] {
        let outcome = run(proxima(args)).await;
        assert_eq!(outcome.code, 2, "{args:?}: {outcome:?}");
        assert!(outcome.stderr.contains(told), "{args:?}: {outcome:?}");
    }
}
