//! Connections that switch to another protocol, between real sockets.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::time::Duration;

use common::{Backend, PATIENCE, Setup, field, soon, until};
use proxima_proxy::{Reason, Timeouts};
use tokio::{io::AsyncWriteExt, sync::mpsc};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\
                     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Agrees to a WebSocket, and sends back what comes until the end.
async fn echoing() -> (Backend, mpsc::UnboundedReceiver<String>) {
    let (heads, seen) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let heads = heads.clone();
        async move {
            heads.send(peer.head().await.unwrap()).unwrap();
            peer.write(&format!("{AGREE}at once;")).await;
            loop {
                let bytes = std::mem::take(&mut peer.buffer);
                peer.write_bytes(&bytes).await;
                if !matches!(peer.fill().await, Ok(1..)) {
                    break;
                }
            }
            // The other side has ended, and this one may still speak.
            peer.write("bye").await;
            let _ = peer.stream.shutdown().await;
        }
    })
    .await;
    (backend, seen)
}

#[tokio::test]
async fn a_websocket_is_agreed_on_and_its_bytes_pass_both_ways_to_both_ends() {
    let (backend, mut seen) = echoing().await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    client.write(&format!("{ASK}early;")).await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!((field(&head, "upgrade"), field(&head, "connection")), (Some("websocket"), Some("Upgrade")));
    assert_eq!(field(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let asked = seen.recv().await.unwrap();
    assert_eq!((field(&asked, "upgrade"), field(&asked, "connection")), (Some("websocket"), Some("Upgrade")));
    assert_eq!(field(&asked, "sec-websocket-version"), Some("13"));
    assert_eq!(client.exactly(14).await, b"at once;early;");
    let large = vec![b'x'; 1 << 20];
    client.write_bytes(b"more;").await;
    assert_eq!(client.exactly(5).await, b"more;");
    let (mut reader, mut writer) = client.stream.into_split();
    let upload = tokio::spawn(async move {
        writer.write_all(&large).await.unwrap();
        writer.shutdown().await.unwrap();
        writer
    });
    let mut got = Vec::new();
    soon("the rest", tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut got)).await.unwrap();
    assert_eq!((got.len(), &got[1 << 20..]), ((1 << 20) + 3, &b"bye"[..]), "a clean end");
    drop(upload.await.unwrap());
    until("the end", || world.stats().open == 0).await;
    let stats = world.stats();
    assert_eq!((stats.responses[0], stats.failures.len(), stats.cut), (1, 0, 0));
    assert_eq!(stats.bytes_in, (ASK.len() + 11 + (1 << 20)) as u64);
    assert!(world.plane.stats().backends.values().all(|backend| backend.pending == 0));
}

#[tokio::test]
async fn a_backend_that_does_not_switch_answers_as_ever() {
    let backend = Backend::fixed("no").await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    for _ in 0..3 {
        client.write(ASK).await;
        let response = client.response().await;
        assert_eq!((response.status, response.text()), (200, "no"));
    }
    assert_eq!(backend.seen(), 1);
}

#[tokio::test]
async fn other_protocols_are_not_offered_to_the_backend() {
    let (heads, mut seen) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let heads = heads.clone();
        async move {
            while let Some(head) = peer.head().await {
                heads.send(head).unwrap();
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        "Upgrade: websocket\r\n",
        "Connection: Upgrade\r\n",
    ] {
        let mut client = world.client().await;
        client.write(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await;
        assert_eq!(client.response().await.status, 200);
        let head = seen.recv().await.unwrap();
        assert_eq!((field(&head, "upgrade"), field(&head, "connection")), (None, None), "{head}");
        assert_eq!(field(&head, "http2-settings"), None);
    }
}

#[tokio::test]
async fn a_switch_to_what_was_not_asked_for_is_malformed() {
    for agreed in ["", "Upgrade: h2c\r\nConnection: Upgrade\r\n", "Upgrade: websocket\r\n"] {
        let backend = Backend::start(move |mut peer| async move {
            peer.head().await.unwrap();
            peer.write(&format!("HTTP/1.1 101 Switching Protocols\r\n{agreed}\r\n")).await;
            peer.closed().await;
        })
        .await;
        let world = Setup::http(&[backend.address]).start();
        let mut client = world.client().await;
        client.write(ASK).await;
        assert_eq!(client.response().await.status, 502, "{agreed}");
        assert_eq!(world.stats().malformed.get("upgrade"), Some(&1));
    }
}

#[tokio::test]
async fn a_side_that_breaks_breaks_the_other() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let ends = ends.clone();
        async move {
            peer.head().await.unwrap();
            peer.write(AGREE).await;
            ends.send(peer.rest().await.1).unwrap();
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    client.write(ASK).await;
    client.head().await.unwrap();
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(soon("the end", ended.recv()).await, Some(false), "a reset, no clean end");
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_is_closed() {
    let (backend, _seen) = echoing().await;
    let idle = Duration::from_millis(300);
    let timeouts = Timeouts { idle, ..Timeouts::default() };
    let world = Setup { timeouts, ..Setup::http(&[backend.address]) }.start();
    let mut client = world.client().await;
    client.write(ASK).await;
    client.head().await.unwrap();
    let (bytes, clean) = client.rest().await;
    assert_eq!((bytes.as_slice(), clean), (&b"at once;"[..], false));
    until("the count", || world.stats().failures.get(&Reason::Idle) == Some(&1)).await;
    assert!(PATIENCE > idle);
}
