//! Clients and apps that talk nonsense: their own exchange pays for it, nobody else's.

use proxima_api::{EventKind, Status, paths};
use proxima_types::Health;

use crate::support::{App, Client, Pop, Router, exchange, get};

#[test]
fn requests_that_could_be_read_in_two_ways_are_refused_and_never_reach_an_app() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let cases = [
        // CL.TE and TE.CL
        format!(
            "POST /evil HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!(
            "POST /evil HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        "POST /evil HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_owned(),
        "POST /evil HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na".to_owned(),
        "POST /evil HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_owned(),
        "POST /evil HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "POST /evil HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "GET /evil HTTP/1.1\nHost: x\n\n".to_owned(),
        "GET /evil HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n".to_owned(),
        "GET /evil HTTP/1.1\r\n\r\n".to_owned(),
        "GET /evil HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_owned(),
        "GET http://a/evil HTTP/1.1\r\nHost: b\r\n\r\n".to_owned(),
        "GET /../evil HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /evil\0 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned(),
        "POST /evil HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"
            .to_owned(),
        "POST /evil HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"
            .to_owned(),
        "POST /evil HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n"
            .to_owned(),
    ];
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let _daemon = pop.start_announced(&router);
    let mut other = Client::connect(pop.web());
    for (number, request) in cases.iter().enumerate() {
        let (answer, in_order) = exchange(pop.web(), request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "case {number}: {request:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 4").count(), 1, "case {number}: {answer}");
        assert!(answer.contains("Connection: close\r\n"), "case {number}: {answer}");
        assert!(in_order, "case {number}: the answer is not destroyed by a reset");
        assert_eq!(other.get("/good").unwrap().status, 200, "case {number}: others are served");
    }
    assert!(app.paths().iter().all(|path| path == "/good"), "{:?}", app.paths());
    assert!(!app.received("evil") && !app.received("smuggled"));
}

#[test]
fn a_head_without_end_is_refused_with_431() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let _daemon = pop.start_announced(&router);
    let request = format!("GET /evil HTTP/1.1\r\nHost: x\r\nA: {}", "a".repeat(200_000));
    let (answer, _) = exchange(pop.web(), request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(app.paths(), [""; 0]);
}

#[test]
fn a_chunk_that_goes_wrong_later_ends_its_exchange_only() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let _daemon = pop.start_announced(&router);
    let mut client = Client::connect(pop.web());
    client.send(b"POST /begun HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    app.wait_request("/begun");
    client.send(b"oops\r\n");
    // Whether the app has answered by then or not: no second answer follows, and the connection ends.
    while client.response().is_ok() {}
    assert!(!app.received("oops"));
    assert_eq!(get(pop.web(), "/good").status, 200);
}

#[test]
fn malformed_answers_of_an_app_become_502_and_others_are_served() {
    const SCRIPTS: [(&str, &[u8]); 8] = [
        ("/garbage", b"\x00\x01\x02 this is not HTTP\r\n\r\n"),
        ("/ssh", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("/both", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("/lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        ("/number", b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello"),
        ("/fold", b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n"),
        ("/status", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
        ("/upgrade", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    ];
    let router = Router::polite();
    let app = App::scripted("eu-1", &SCRIPTS);
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start_announced(&router);
    let before = router.updates();
    let mut other = Client::connect(pop.web());
    for (path, script) in SCRIPTS {
        let answer = get(pop.web(), path);
        assert_eq!(answer.status, 502, "{path}: {answer:?}");
        assert!(answer.head.contains("Proxy-Status: eu1; error=http_protocol_error"), "{path}: {answer:?}");
        assert!(!answer.body.contains("hello") && !script.is_empty());
        assert_eq!(other.get("/good").unwrap().body, "eu-1 /good", "after {path}");
    }
    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!(status.backends.up, 1);
    assert_eq!(router.updates(), before, "its probes are well, and probes decide");
}

#[test]
fn an_answer_cut_short_is_cut_short_for_the_client_too() {
    let app = App::scripted(
        "eu-1",
        &[
            ("/empty", b""),
            ("/short", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"),
            ("/chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        ],
    );
    let router = Router::polite();
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let _daemon = pop.start_announced(&router);
    assert_eq!(get(pop.web(), "/empty").status, 502);
    for path in ["/short", "/chunks"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let (answer, in_order) = exchange(pop.web(), request.as_bytes());
        assert!(!in_order, "{path}: a reset, so that no client takes it for whole: {answer}");
        assert!(!answer.ends_with("0\r\n\r\n"), "{path}: {answer}");
    }
    assert_eq!(get(pop.web(), "/good").status, 200);
}

#[test]
fn an_app_that_answers_probes_with_garbage_is_down_and_the_other_serves() {
    let router = Router::polite();
    let (good, bad) =
        (App::healthy("eu-1"), App::scripted("eu-2", &[("/healthz", b"\x00\x01 nonsense\r\n\r\n")]));
    let mut pop = Pop::new().peer("router", &router).backend("eu", &good).backend("eu", &bad);
    pop.probe = r#"{ http = "/healthz", interval = "100ms", rise = 2, fall = 3 }"#.to_owned();
    let daemon = pop.start_announced(&router);
    let verdict = daemon.wait_verdict("app/eu-2", Health::Down);
    assert!(verdict.kind.to_string().contains("malformed answer"), "{verdict}");
    for _ in 0..10 {
        assert_eq!(get(pop.web(), "/").body, "eu-1 /");
    }
    let de_preferred = |event: &proxima_api::Event| match &event.kind {
        EventKind::GroupTransition { to, .. } => Some(*to),
        _ => None,
    };
    assert_eq!(daemon.wait_event("a transition", de_preferred), proxima_types::ReachState::DePreferred);
}
