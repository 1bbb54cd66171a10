//! What is told of each request, and each relayed connection.

#![allow(clippy::unwrap_used, reason = "test helpers")]
#![allow(clippy::disallowed_methods, reason = "drives real sockets")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{
    Backend, Lines, Peer, Setup, World,
    h2::{Client, get, post},
    refusing, until,
};
use proxima_proxy::{Timeouts, UpstreamProtocol};
use serde_json::{Value, json};

/// The field, and that it is there.
fn number(line: &Value, name: &str) -> f64 {
    line[name].as_f64().unwrap_or_else(|| panic!("no {name} in {line:#}"))
}

/// Without what differs from run to run, which is looked at here.
fn settled(mut line: Value) -> Value {
    let time = line["time"].as_str().unwrap();
    assert!(time.len() == "2026-11-27T20:00:00.000000Z".len() && time.ends_with('Z'), "{time}");
    assert!(line["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{line:#}");
    assert!(number(&line, "total_ms") > 0.0, "{line:#}");
    if line.get("first_byte_ms").is_some() {
        assert!(number(&line, "first_byte_ms") <= number(&line, "total_ms"), "{line:#}");
    }
    for name in ["time", "client", "total_ms", "first_byte_ms"] {
        line.as_object_mut().unwrap().remove(name);
    }
    line
}

#[tokio::test]
async fn a_request_is_a_line_with_where_it_went_and_how_it_ended() {
    let (lines, backend) = (Lines::default(), Backend::echo().await);
    for (upstream, query) in [(UpstreamProtocol::Http1, false), (UpstreamProtocol::Http1, true)] {
        let lines = lines.clone();
        let before = lines.read().len();
        let setup = Setup { upstream, access_log: Some(lines.log(query)), ..Setup::http(&[backend.address]) };
        let world = setup.start();
        let mut client = world.client().await;
        assert_eq!(client.post("/p/x?token=secret", "four").await.status, 200);
        assert_eq!(client.get("/").await.status, 200);
        let told = lines.wait(before + 2).await.split_off(before);
        assert!(number(&told[0], "first_byte_ms") > 0.0);
        let path = if query { "/p/x?token=secret" } else { "/p/x" };
        let expected = json!({
            "service": "web", "protocol": "HTTP/1.1", "route": 1, "method": "POST", "host": "a", "path": path,
            "status": 200, "received": 4, "sent": 4, "backend": "app/b0", "region": "eu", "retries": 0, "end": "done",
        });
        assert_eq!(settled(told[0].clone()), expected);
        assert_eq!(
            (&told[1]["path"], &told[1]["sent"], &told[1]["received"]),
            (&json!("/"), &json!(0), &json!(0))
        );
    }
}

#[tokio::test]
async fn clients_of_http2_have_a_line_for_each_stream_and_so_do_backends_of_http2() {
    let (lines, old) = (Lines::default(), Backend::echo().await);
    let world = Setup { access_log: Some(lines.log(false)), ..Setup::http(&[old.address]) }.start();
    let mut client = Client::connect(&world).await;
    let request = http::Request::post("http://a/x").header("content-length", "4").body(()).unwrap();
    assert_eq!(client.ask(request, "body").await.status(), 200);
    let told = lines.wait(1).await;
    let expected = json!({
        "service": "web", "protocol": "HTTP/2", "route": 1, "method": "POST", "host": "a", "path": "/x", "status": 200,
        "received": 4, "sent": 4, "backend": "app/b0", "region": "eu", "retries": 0, "end": "done",
    });
    assert_eq!(settled(told[0].clone()), expected);
    let new = common::h2::Backend::start(|_, mut respond| async move {
        let mut sending = respond.send_response(http::Response::new(()), false).unwrap();
        sending.send_data(bytes::Bytes::from_static(b"hello"), true).unwrap();
    })
    .await;
    let upstream = UpstreamProtocol::Http2;
    let world = Setup { upstream, access_log: Some(lines.log(false)), ..Setup::http(&[new.address]) }.start();
    assert_eq!(world.client().await.get("/").await.text(), "hello");
    let told = lines.wait(2).await;
    assert_eq!(
        (&told[1]["protocol"], &told[1]["sent"], &told[1]["end"]),
        (&json!("HTTP/1.1"), &json!(5), &json!("done"))
    );
}

/// The fields that tell what went wrong.
fn fate(line: &Value) -> (Option<u64>, &str, Option<&str>, Option<u64>) {
    (line["status"].as_u64(), line["end"].as_str().unwrap(), line["why"].as_str(), line["retries"].as_u64())
}

#[tokio::test]
async fn what_went_wrong_is_told_and_whose_fault_it_was() {
    let lines = Lines::default();
    let (dead, silent) =
        (refusing().await, Backend::start(|mut peer| async move { peer.closed().await }).await);
    let served = Backend::fixed("served").await;
    let log = || Some(lines.log(false));

    let world = Setup { access_log: log(), ..Setup::http(&[dead, served.address]) }.start();
    assert_eq!(world.client().await.get("/").await.status, 200);
    assert_eq!(fate(&lines.wait(1).await[0]), (Some(200), "done", None, Some(1)));

    let world = Setup { access_log: log(), ..Setup::http(&[dead]) }.start();
    assert_eq!(world.client().await.get("/").await.status, 502);
    let told = lines.wait(2).await;
    assert_eq!(fate(&told[1]), (Some(502), "upstream", Some("connect"), Some(0)));
    assert_eq!(told[1]["backend"], "app/b0");

    let timeouts = Timeouts { first_byte: Duration::from_millis(150), ..Timeouts::default() };
    let world = Setup { timeouts, access_log: log(), ..Setup::http(&[silent.address]) }.start();
    assert_eq!(Client::connect(&world).await.get("/").await.status(), 504);
    assert_eq!(fate(&lines.wait(3).await[2]), (Some(504), "upstream", Some("first-byte"), Some(0)));

    let world = Setup { access_log: log(), ..Setup::http(&[silent.address]) }.start();
    let mut client = world.client().await;
    client.write("GET /left HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("the request", || world.stats().requests == 1).await;
    drop(client);
    let told = lines.wait(4).await;
    assert_eq!((fate(&told[3]), &told[3]["path"]), ((None, "client-gone", None, Some(0)), &json!("/left")));

    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.response().await.status, 400);
    assert_eq!(fate(&lines.wait(5).await[4]), (Some(400), "refused", Some("repeated-host"), None));

    let setup = Setup { access_log: log(), ..Setup::http(&[]) };
    assert_eq!(setup.start().client().await.get("/").await.status, 503);
    assert_eq!(fate(&lines.wait(6).await[5]), (Some(503), "unserved", Some("no-backends"), None));

    let world = Setup { access_log: log(), ..Setup::http(&[silent.address]) }.start();
    let mut client = world.client().await;
    client.write("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("the request", || world.stats().requests == 1).await;
    tokio::task::spawn_blocking(move || drop(world)).await.unwrap();
    assert_eq!(fate(&lines.wait(7).await[6]), (None, "stopped", None, Some(0)), "a stop loses no line");
}

/// Says twice what it is told.
async fn repeating() -> Backend {
    Backend::start(|mut peer| async move {
        let bytes = peer.exactly(4).await;
        peer.write_bytes(&bytes).await;
        peer.write_bytes(&bytes).await;
        peer.rest().await;
    })
    .await
}

/// Switches protocols, and then answers what it is told.
async fn switching() -> Backend {
    Backend::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        let key = common::field(&head, "sec-websocket-key").unwrap();
        assert_eq!(key, "dGhlIHNhbXBsZSBub25jZQ==");
        peer.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )
        .await;
        peer.exactly(5).await;
        peer.write("hello world").await;
        peer.rest().await;
    })
    .await
}

/// A client that was told `pingping`.
async fn relayed(world: &World) -> Peer {
    let mut client = world.client().await;
    client.write("ping").await;
    assert_eq!(client.exactly(8).await, b"pingping");
    client
}

/// A client that was told `hello world` in a tunnel.
async fn tunnelled(world: &World) -> Peer {
    let mut client = world.client().await;
    client
        .write(
            "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 101 "));
    client.write("hello").await;
    assert_eq!(client.exactly(11).await, b"hello world");
    client
}

fn octets(line: &serde_json::Value) -> (Option<u64>, Option<u64>) {
    (line["received"].as_u64(), line["sent"].as_u64())
}

#[tokio::test]
async fn a_relayed_connection_and_a_tunnel_are_lines_at_their_end() {
    let lines = Lines::default();
    let backend = repeating().await;
    let world = Setup { access_log: Some(lines.log(false)), ..Setup::tcp(&[backend.address]) }.start();
    let client = relayed(&world).await;
    assert_eq!(lines.read().len(), 0);
    drop(client);
    let told = lines.wait(1).await;
    let expected = json!({
        "service": "web", "protocol": "tcp", "received": 4, "sent": 8, "backend": "app/b0", "region": "eu", "retries": 0,
        "end": "done",
    });
    assert_eq!(settled(told[0].clone()), expected);

    let backend = switching().await;
    let world = Setup { access_log: Some(lines.log(false)), ..Setup::http(&[backend.address]) }.start();
    let client = tunnelled(&world).await;
    assert_eq!(lines.read().len(), 1);
    drop(client);
    let told = lines.wait(2).await;
    assert_eq!(octets(&told[1]), (Some(5), Some(11)));
    assert_eq!(
        (&told[1]["status"], &told[1]["path"], &told[1]["end"]),
        (&json!(101), &json!("/ws"), &json!("done"))
    );
}

#[tokio::test]
async fn what_a_stop_cuts_is_a_line_with_what_went_each_way() {
    let lines = Lines::default();
    let backend = repeating().await;
    let world = Setup { access_log: Some(lines.log(false)), ..Setup::tcp(&[backend.address]) }.start();
    let _client = relayed(&world).await;
    tokio::task::spawn_blocking(move || drop(world)).await.unwrap();
    let told = lines.wait(1).await;
    assert_eq!((octets(&told[0]), &told[0]["end"]), ((Some(4), Some(8)), &json!("stopped")));

    let backend = switching().await;
    let world = Setup { access_log: Some(lines.log(false)), ..Setup::http(&[backend.address]) }.start();
    let _client = tunnelled(&world).await;
    tokio::task::spawn_blocking(move || drop(world)).await.unwrap();
    let told = lines.wait(2).await;
    assert_eq!((octets(&told[1]), &told[1]["end"]), ((Some(5), Some(11)), &json!("stopped")));
}

#[tokio::test]
async fn it_is_turned_on_and_off_without_touching_a_connection() {
    let (lines, backend) = (Lines::default(), Backend::fixed("served").await);
    let mut setup = Setup::http(&[backend.address]);
    let world = setup.start();
    let (mut old, mut new) = (world.client().await, Client::connect(&world).await);
    for log in [None, Some(lines.log(false)), None, Some(lines.log(false))] {
        setup.access_log = log;
        world.snapshot.store(Arc::new(setup.snapshot()));
        assert_eq!(old.get("/").await.status, 200);
        assert_eq!(new.ask(get("/"), "").await.status(), 200);
    }
    let told = lines.wait(4).await;
    assert!(told.iter().all(|line| line["end"] == "done"), "{told:#?}");
    assert_eq!(new.ask(post("/"), "").await.status(), 200);
    assert_eq!(world.stats().connections, 2);
}
