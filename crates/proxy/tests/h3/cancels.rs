//! Responses that end before their end, from either side.

use proxima_proxy::Timeouts;
use std::time::Duration;
use tokio::sync::mpsc;

use crate::{
    common::{Backend, Setup, soon, until},
    support::{GET, Outcome, POST, frame, get, headers, outcome, start},
};

const CANCELLED: u32 = 0x10c;

/// Answers with a head that promises more than comes, tells when the proxy has gone.
async fn promising() -> (Backend, mpsc::UnboundedReceiver<()>) {
    let (tell, told) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let tell = tell.clone();
        async move {
            peer.head().await.unwrap();
            peer.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nso far").await;
            peer.closed().await;
            tell.send(()).unwrap();
        }
    })
    .await;
    (backend, told)
}

#[tokio::test]
async fn a_client_that_cancels_a_response_cancels_it_at_the_backend() {
    let (backend, mut gone) = promising().await;
    let world = start(Setup::http(&[backend.address]));
    let mut client = world.client().await;
    let mut stream = client.send.send_request(get("/")).await.unwrap();
    stream.finish().await.unwrap();
    stream.recv_response().await.unwrap();
    stream.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
    soon("the backend's connection to end", gone.recv()).await.unwrap();
    until("the count", || world.world.stats().cancelled == 1).await;
    assert!(client.connection.close_reason().is_none());
}

#[tokio::test]
async fn a_client_that_cancels_before_the_first_byte_cancels_at_the_backend() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let tell = tell.clone();
        async move {
            peer.head().await.unwrap();
            tell.send("asked").unwrap();
            peer.closed().await;
            tell.send("gone").unwrap();
        }
    })
    .await;
    let world = start(Setup::http(&[backend.address]));
    let raw = world.raw().await;
    let (mut send, mut receive) = raw.connection.open_bi().await.unwrap();
    send.write_all(&headers(&GET)).await.unwrap();
    send.finish().unwrap();
    assert_eq!(soon("the request", told.recv()).await, Some("asked"));
    receive.stop(CANCELLED.into()).unwrap();
    assert_eq!(soon("the end", told.recv()).await, Some("gone"));
}

#[tokio::test]
async fn a_client_that_resets_its_body_cancels_at_the_backend() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let tell = tell.clone();
        async move {
            peer.head().await.unwrap();
            tell.send("asked").unwrap();
            peer.closed().await;
            tell.send("gone").unwrap();
        }
    })
    .await;
    let world = start(Setup::http(&[backend.address]));
    let raw = world.raw().await;
    let (mut send, mut receive) = raw.connection.open_bi().await.unwrap();
    send.write_all(&[headers(&POST), frame(0, b"half of")].concat()).await.unwrap();
    assert_eq!(soon("the request", told.recv()).await, Some("asked"));
    send.reset(CANCELLED.into()).unwrap();
    assert_eq!(soon("the end", told.recv()).await, Some("gone"));
    assert_eq!(soon("the reset", outcome(&mut receive)).await, Outcome::Reset(0x10c));
}

#[tokio::test]
async fn a_backend_that_breaks_off_is_a_reset_and_never_a_clean_end() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nso far").await;
    })
    .await;
    let world = start(Setup::http(&[backend.address]));
    let raw = world.raw().await;
    assert_eq!(raw.say(&headers(&GET)).await, Outcome::Reset(0x102));
    let stats = world.world.stats();
    assert_eq!(stats.cut, 1);
}

#[tokio::test]
async fn a_backend_that_breaks_off_its_chunks_is_a_reset_too() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nso far\r\n").await;
    })
    .await;
    let world = start(Setup::http(&[backend.address]));
    assert_eq!(world.raw().await.say(&headers(&GET)).await, Outcome::Reset(0x102));
}

#[tokio::test]
async fn a_backend_that_falls_silent_in_its_response_is_a_reset() {
    let (backend, _told) = promising().await;
    let timeouts = Timeouts { idle: Duration::from_millis(200), ..Timeouts::default() };
    let world = start(Setup { timeouts, ..Setup::http(&[backend.address]) });
    assert_eq!(world.raw().await.say(&headers(&GET)).await, Outcome::Reset(0x102));
}

#[tokio::test]
async fn a_backend_that_answers_early_is_not_waited_for_with_the_body() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
        peer.closed().await;
    })
    .await;
    let world = start(Setup::http(&[backend.address]));
    let raw = world.raw().await;
    let (mut send, mut receive) = raw.connection.open_bi().await.unwrap();
    send.write_all(&[headers(&POST), frame(0, b"the beginning")].concat()).await.unwrap();
    assert_eq!(soon("the answer", outcome(&mut receive)).await, Outcome::Status(403));
    let stopped = soon("the word that no more is wanted", send.stopped()).await.unwrap();
    assert_eq!(stopped.map(quinn::VarInt::into_inner), Some(0x100));
}

#[tokio::test]
async fn a_client_that_does_not_read_slows_its_own_stream_alone() {
    let backend = Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            let length = if head.starts_with("GET /long") { 50_000_000 } else { 2 };
            peer.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await;
            if length == 2 {
                peer.write("ok").await;
                continue;
            }
            // Ends when nothing more is taken for a moment.
            let piece = vec![b'x'; 100_000];
            for _ in 0..length / piece.len() {
                use tokio::io::AsyncWriteExt;
                if peer.stream.write_all(&piece).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let world = start(Setup::http(&[backend.address]));
    let mut client = world.client().await;
    let mut long = client.send.send_request(get("/long")).await.unwrap();
    long.finish().await.unwrap();
    assert_eq!(soon("the head", long.recv_response()).await.unwrap().status(), 200);
    for _ in 0..20 {
        assert_eq!(client.get("/short").await.text(), "ok");
    }
    // The client's window, those of quinn and the sockets between: far from all of it.
    assert!(world.world.stats().bytes_out < 20_000_000, "{}", world.world.stats().bytes_out);
}
