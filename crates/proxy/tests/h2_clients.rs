//! HTTP/2 clients that others wrote: curl, nghttp, h2load.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use common::{Backend, PATIENCE, Setup, World};

/// Runs `program` to its end; what it printed.
async fn output(program: &str, arguments: &[&str]) -> String {
    let run = tokio::process::Command::new(program).args(arguments).kill_on_drop(true).output();
    let done = tokio::time::timeout(3 * PATIENCE, run)
        .await
        .unwrap_or_else(|_| panic!("{program} does not end"))
        .unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask test` installs it"));
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{program}: {}\n{out}\n{err}", done.status);
    out.into_owned()
}

fn url(world: &World, path: &str) -> String {
    format!("http://{}{path}", world.address)
}

#[tokio::test]
async fn curl_gets_and_posts() {
    let backend = Backend::echo().await;
    let world = Setup::http(&[backend.address]).start();
    let format = "\n%{http_version} %{response_code}";
    let usual = ["--silent", "--show-error", "--http2-prior-knowledge", "--write-out", format];
    let url = url(&world, "/path?query");
    let got = output("curl", &[&usual[..], &[&url]].concat()).await;
    assert_eq!(got, "\n2 200");
    let posted = output("curl", &[&usual[..], &["--data", "some data", &url]].concat()).await;
    assert_eq!(posted, "some data\n2 200");
    let header = ["--header", "Transfer-Encoding: chunked", "--data", "in pieces"];
    let posted = output("curl", &[&usual[..], &header, &[&url]].concat()).await;
    assert_eq!(posted, "in pieces\n2 200");
    // And HTTP/1.1 on the same listener.
    let old = output("curl", &["--silent", "--http1.1", "--write-out", format, &url]).await;
    assert_eq!(old, "\n1.1 200");
}

#[tokio::test]
async fn nghttp_sends_priorities_and_gets_trailers() {
    let backend = Backend::start(|mut peer| async move {
        while peer.head().await.is_some() {
            peer.write(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 7\r\n\r\n",
            )
            .await;
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let got = output("nghttp", &["--verbose", "--no-dep", &url(&world, "/")]).await;
    assert!(got.contains("x-sum: 7"), "{got}");
    assert_eq!(world.stats().responses, [0, 1, 0, 0, 0]);
}

#[tokio::test]
async fn h2load_finds_every_request_answered() {
    let backend = Backend::fixed("served").await;
    let world = Setup::http(&[backend.address]).start();
    let load = ["--requests=2000", "--clients=10", "--max-concurrent-streams=20"];
    let report = output("h2load", &[&load[..], &[&url(&world, "/")]].concat()).await;
    assert!(
        report.contains("2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored"),
        "{report}"
    );
    assert_eq!(world.stats().responses, [0, 2000, 0, 0, 0]);
    assert!(world.stats().refused.is_empty());
}
