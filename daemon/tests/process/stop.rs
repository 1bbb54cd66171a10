//! The ways a daemon ends, and what peers and clients see of it.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{App, Client, PATIENCE, Pop, Router, get};

#[test]
fn sigterm_warns_then_withdraws_then_lets_streams_end_and_leaves_nothing_behind() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.drain = r#"
graceful-shutdown = "300ms"
withdrawn = "1s"
streams = "60s"
"#
    .to_owned();
    let mut daemon = pop.start_announced(&router);
    let mut stream = Client::connect(pop.web());
    stream.send(b"GET /stream HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!(stream.head().unwrap().0, 200);
    app.release();
    assert_eq!(stream.chunk().unwrap(), "data: 1\n\n");

    let before = router.heard().len();
    daemon.signal(Signal::SIGTERM);
    let warned = ["203.0.113.0/24", "2001:db8:ac::/48"].map(|prefix| {
        let heard = router.wait_after(before, &format!("announce {prefix}"));
        assert!(heard.line.contains("communities 64512:100 64512:666 65535:0"), "{}", heard.line);
        heard.at
    });
    let withdrawn =
        ["withdraw 203.0.113.0/24", "withdraw 2001:db8:ac::/48"].map(|line| router.wait_for(line).at);
    assert!(withdrawn[0] - warned[0] > Duration::from_millis(200), "routers get time to move traffic away");
    assert_eq!(get(pop.web(), "/late").status, 200, "what still arrives is served");

    app.release();
    assert_eq!(stream.chunk().unwrap(), "data: 2\n\n");
    let begun = Instant::now();
    while Client::try_connect(pop.web()).and_then(|mut client| client.get("/late")).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it still takes connections");
    }
    app.release();
    app.release();
    assert_eq!([stream.chunk().unwrap(), stream.chunk().unwrap()], ["data: 3\n\n", "data: 4\n\n"]);
    assert_eq!(stream.chunk(), None, "the stream is whole");
    assert!(stream.is_closed());

    assert_eq!(daemon.wait_exit().code(), Some(0));
    let told = daemon.wait_followed();
    let kinds: Vec<_> = told.iter().map(|event| event.kind.name()).collect();
    let stopping = kinds.iter().position(|kind| *kind == "daemon-stopping").expect("told to followers");
    let after = &kinds[stopping..];
    assert!(after.contains(&"group-transition") && after.contains(&"listener-closed"), "{kinds:?}");
    let last: Vec<_> = router.heard().into_iter().rev().take(2).map(|heard| heard.line).collect();
    assert_eq!(last[1], "notification 6/2 \\x0eproximad stops");
    assert_eq!(last[0], "closed");
    assert!(!pop.socket().exists());
    for address in [pop.web(), pop.metrics()] {
        assert!(Client::try_connect(address).is_err());
    }
}

#[test]
fn a_stop_ends_streams_that_outlast_their_time() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.drain = r#"
graceful-shutdown = "0s"
withdrawn = "0s"
streams = "200ms"
"#
    .to_owned();
    let mut daemon = pop.start_announced(&router);
    let mut stream = Client::connect(pop.web());
    stream.send(b"GET /stream HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!(stream.head().unwrap().0, 200);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    assert!(
        daemon.log().contains("connections were still open when their time was over"),
        "{}",
        daemon.log()
    );
    // Without a last chunk the client can tell that the stream is not whole.
    assert!(stream.response().is_err());
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.drain = r#"
graceful-shutdown = "1h"
withdrawn = "1h"
streams = "1h"
"#
    .to_owned();
    let mut daemon = pop.start_announced(&router);
    let before = router.heard().len();
    daemon.signal(Signal::SIGTERM);
    router.wait_after(before, "announce 2001:db8:ac::/48");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    router.wait_for("notification 6/2");
    assert!(!pop.socket().exists());
}

#[test]
fn sigint_stops_like_sigterm_even_before_the_first_verdicts() {
    let router = Router::polite();
    let app = App::undecided("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let mut daemon = pop.start();
    daemon.wait_established("router");
    daemon.signal(Signal::SIGINT);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    assert_eq!(router.updates(), [""; 0], "there was nothing to withdraw");
    assert!(!pop.socket().exists());
}

#[test]
fn after_sigkill_the_kernel_ends_the_session_and_a_restart_waits_for_its_own_verdicts() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let mut daemon = pop.start_announced(&router);
    let killed = Instant::now();
    daemon.signal(Signal::SIGKILL);
    let ended = router.heard();
    let ended = ended.iter().find(|heard| heard.line == "closed" || heard.line == "reset").cloned();
    let ended = ended.unwrap_or_else(|| router.wait_on(0, "closed"));
    let took = ended.at.saturating_duration_since(killed);
    eprintln!("SIGKILL -> the router sees the session end: {took:?}");
    assert!(took < Duration::from_millis(500), "{took:?}");
    daemon.wait_exit();
    assert!(pop.socket().exists(), "left behind, and replaced by the next start");

    let _daemon = pop.start();
    router.wait_complete(1);
    assert_eq!(get(pop.web(), "/").status, 200);
    let again = router.heard().into_iter().filter(|heard| heard.connection == 1).map(|heard| heard.line);
    let beginnings: Vec<_> = again.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    let updates: Vec<_> = beginnings.iter().filter(|word| *word != "keepalive").collect();
    assert_eq!(updates, ["connected", "open", "announce", "announce", "end-of-rib", "end-of-rib"]);
}
