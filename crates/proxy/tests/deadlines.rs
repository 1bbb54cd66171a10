//! Who is too slow, by version of HTTP: the deadlines that other files do not show, and the rate of bodies. HTTP/3 has its
//! own (`h3/deadlines.rs`).

#![allow(clippy::unwrap_used, reason = "test helpers")]
#![allow(clippy::disallowed_methods, reason = "drives real sockets")]

mod common;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use common::{
    Backend, Setup,
    h2::{self as frames, Client, END_HEADERS, Raw, answer, block, frame, get, get_block, kind, post},
    soon, until,
};
use proxima_proxy::{BodyRate, ClientLimits, Reason, Slow, Timeouts, UpstreamProtocol};
use tokio::sync::Notify;

const GRACE: Duration = Duration::from_millis(400);
/// Much faster than what drips.
const RATE: BodyRate = BodyRate { request: 10_000, response: 0, grace: GRACE, streams: false };
const DRIP: Duration = Duration::from_millis(40);

fn rate(body_rate: BodyRate) -> ClientLimits {
    ClientLimits { body_rate, ..ClientLimits::default() }
}

/// Takes requests and never answers.
async fn silent() -> Backend {
    Backend::start(|mut peer| async move {
        peer.head().await;
        peer.closed().await;
    })
    .await
}

#[tokio::test]
async fn a_body_that_drips_ends_with_408_and_the_close() {
    for upstream in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let old = silent().await;
        let new = frames::Backend::start(|request, respond| async move {
            let _kept = (request, respond);
            std::future::pending::<()>().await;
        })
        .await;
        let address = if upstream == UpstreamProtocol::Http1 { old.address } else { new.address };
        let world = Setup { upstream, limits: rate(RATE), ..Setup::http(&[address]) }.start();
        let mut client = world.client().await;
        client.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").await;
        let (mut pause, mut dripped) = (tokio::time::interval(DRIP), 0);
        let answer = loop {
            tokio::select! {
                head = client.head() => break head.expect("an answer"),
                _ = pause.tick() => {}
            }
            dripped += 1;
            assert!(dripped < 500, "it is not stopped");
            let _ = client.stream.try_write(b"x");
        };
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("Connection: close"), "{answer}");
        assert!(dripped >= 8, "stopped within the grace, after {dripped} octets");
        assert_eq!(world.slow_clients(Slow::RequestRate), 1);
        client.closed().await;
    }
}

#[tokio::test]
async fn streams_waiting_backends_and_fast_bodies_are_none_of_the_rates_business() {
    let go = Arc::<Notify>::default();
    let wait = go.clone();
    let backend = Backend::start(move |mut peer| {
        let wait = wait.clone();
        async move {
            while let Some(head) = peer.head().await {
                if head.starts_with("PUT ") {
                    wait.notified().await;
                }
                let body = peer.body(&head).await;
                peer.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())).await;
                peer.write_bytes(&body).await;
            }
        }
    })
    .await;
    let world = Setup { limits: rate(RATE), ..Setup::http(&[backend.address]) }.start();
    let mut client = world.client().await;
    // A body of unknown length comes when there is something to say.
    client.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for _ in 0..6 {
        client.write("1\r\nx\r\n").await;
        tokio::time::sleep(GRACE / 4).await;
    }
    client.write("0\r\n\r\n").await;
    assert_eq!(client.response().await.text(), "xxxxxx");
    // A backend that does not read on is not the client's fault.
    let large = "x".repeat(16 << 20);
    let (mut reader, mut writer) = client.stream.into_split();
    let upload = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", large.len());
        writer.write_all(head.as_bytes()).await.unwrap();
        writer.write_all(large.as_bytes()).await.unwrap();
        writer
    });
    tokio::time::sleep(GRACE * 3).await;
    go.notify_one();
    let answer = async {
        use tokio::io::AsyncReadExt;
        let mut first = [0; 12];
        reader.read_exact(&mut first).await.unwrap();
        first
    };
    assert_eq!(&soon("an answer", answer).await, b"HTTP/1.1 200");
    drop(soon("the upload", upload).await.unwrap());
    assert!(world.stats().slow_clients.is_empty());
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_not_slow() {
    let backend = Backend::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        tokio::time::sleep(GRACE * 2).await;
        peer.write("HTTP/1.1 100 Continue\r\n\r\n").await;
        let body = peer.body(&head).await;
        peer.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())).await;
        peer.write_bytes(&body).await;
    })
    .await;
    let world = Setup { limits: rate(RATE), ..Setup::http(&[backend.address]) }.start();
    let mut client = world.client().await;
    client.write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.response().await.status, 100);
    client.write("body").await;
    assert_eq!(client.response().await.text(), "body");
}

#[tokio::test]
async fn where_streams_are_held_to_the_rate_they_are_until_they_are_answered() {
    let limits = rate(BodyRate { streams: true, ..RATE });
    let backend = silent().await;
    let world = Setup { limits: limits.clone(), ..Setup::http(&[backend.address]) }.start();
    let mut client = world.client().await;
    client.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n").await;
    assert_eq!(client.response().await.status, 408);
    let talking = Backend::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n").await;
        peer.exactly(b"1\r\nx\r\n0\r\n\r\n".len()).await;
        peer.write("0\r\n\r\n").await;
    })
    .await;
    let world = Setup { limits, ..Setup::http(&[talking.address]) }.start();
    let mut client = world.client().await;
    client.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    tokio::time::sleep(GRACE * 3).await;
    client.write("1\r\nx\r\n0\r\n\r\n").await;
    assert_eq!(client.body(&head).await, b"hi");
    assert!(world.stats().slow_clients.is_empty());
}

/// Promises more than comes, and falls silent.
async fn promising() -> Backend {
    Backend::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nso far").await;
        peer.closed().await;
    })
    .await
}

/// A response without end, as fast as it is taken.
async fn endless() -> Backend {
    Backend::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        while soon("an end", tokio::io::AsyncWriteExt::write_all(&mut peer.stream, chunk.as_bytes()))
            .await
            .is_ok()
        {}
    })
    .await
}

/// So fast that what the system takes to send is little.
const READING: BodyRate = BodyRate { request: 0, response: 1_000_000_000, grace: GRACE, streams: false };

#[tokio::test]
async fn a_client_that_takes_its_response_too_slowly_is_cut_off() {
    let backend = endless().await;
    let world = Setup { limits: rate(READING), ..Setup::http(&[backend.address]) }.start();
    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("the cut", || world.slow_clients(Slow::ResponseRate) == 1).await;
    assert!(!client.rest().await.1, "the client must see that something is missing");

    let mut client = Client::connect(&world).await;
    let (response, _) = client.send.send_request(get("/"), true).unwrap();
    let response = soon("the head", response).await.unwrap();
    until("the cut", || world.slow_clients(Slow::ResponseRate) == 2).await;
    assert!(soon("the reset", answer(response)).await.is_err());
}

#[tokio::test]
async fn a_response_that_its_backend_drips_is_as_slow_as_it_likes() {
    let backend = Backend::start(|mut peer| async move {
        while peer.head().await.is_some() {
            peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            for _ in 0..6 {
                peer.write("1\r\nx\r\n").await;
                tokio::time::sleep(GRACE / 3).await;
            }
            peer.write("0\r\n\r\n").await;
        }
    })
    .await;
    let world = Setup { limits: rate(READING), ..Setup::http(&[backend.address]) }.start();
    assert_eq!(world.client().await.get("/").await.text(), "xxxxxx");
    assert_eq!(Client::connect(&world).await.get("/").await.text(), "xxxxxx");
    assert!(world.stats().slow_clients.is_empty());
}

#[tokio::test]
async fn of_http2_a_body_that_drips_ends_with_408_and_the_stream_and_no_other() {
    let backend = silent().await;
    let world = Setup { limits: rate(RATE), ..Setup::http(&[backend.address]) }.start();
    let mut client = Raw::connect(&world).await;
    let fields: &[(&str, &[u8])] = &[
        (":method", b"POST"),
        (":scheme", b"http"),
        (":path", b"/"),
        (":authority", b"a"),
        ("content-length", b"1000"),
    ];
    client.write(&frame(kind::HEADERS, END_HEADERS, 1, &block(fields))).await;
    client.write(&frame(kind::HEADERS, END_HEADERS | frames::END_STREAM, 3, &get_block(&[]))).await;
    client.write(&frame(kind::DATA, 0, 1, b"x")).await;
    let answer = client.expect(kind::HEADERS).await;
    assert_eq!(answer.stream, 1);
    let reset = client.expect(kind::RST_STREAM).await;
    assert_eq!(reset.stream, 1);
    assert_eq!(world.slow_clients(Slow::RequestRate), 1);
    // The other one is still waited for.
    assert_eq!((world.stats().requests, world.stats().responses), (2, [0, 0, 0, 1, 0]));
}

#[tokio::test]
async fn of_http2_an_exchange_has_a_deadline_as_a_whole_and_one_without_a_byte() {
    let backend = endless().await;
    let total = Timeouts { total: Some(Duration::from_millis(300)), ..Timeouts::default() };
    let world = Setup { timeouts: total, ..Setup::http(&[backend.address]) }.start();
    let mut client = Client::connect(&world).await;
    let result = soon("the reset", client.try_ask(get("/"), "")).await;
    assert!(result.is_err_and(|error| error.is_reset()));
    assert_eq!(world.stats().failures.get(&Reason::Total), Some(&1));

    let idle = Timeouts { idle: Duration::from_millis(300), ..Timeouts::default() };
    let world = Setup { timeouts: idle, ..Setup::http(&[backend.address]) }.start();
    let mut client = Client::connect(&world).await;
    let (response, _) = client.send.send_request(get("/"), true).unwrap();
    let response = soon("the head", response).await.unwrap();
    until("the cut", || world.slow_clients(Slow::Idle) == 1).await;
    assert!(soon("the reset", answer(response)).await.is_err());
    let silent = promising().await;
    let world = Setup { timeouts: idle, ..Setup::http(&[silent.address]) }.start();
    let result = soon("the reset", Client::connect(&world).await.try_ask(get("/"), "")).await;
    assert!(result.is_err_and(|error| error.is_reset()));
    assert_eq!(world.stats().failures.get(&Reason::Idle), Some(&1));
}

#[tokio::test]
async fn of_http2_a_stream_of_unknown_length_is_as_slow_as_it_likes() {
    let backend = Backend::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        let body = peer.body(&head).await;
        peer.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())).await;
        peer.write_bytes(&body).await;
    })
    .await;
    let world = Setup { limits: rate(RATE), ..Setup::http(&[backend.address]) }.start();
    let mut client = Client::connect(&world).await;
    let (response, mut sending) = client.send.send_request(post("/"), false).unwrap();
    for _ in 0..6 {
        sending.send_data(Bytes::from_static(b"x"), false).unwrap();
        tokio::time::sleep(GRACE / 4).await;
    }
    sending.send_data(Bytes::new(), true).unwrap();
    assert_eq!(answer(soon("a response", response).await.unwrap()).await.unwrap().text(), "xxxxxx");
}
