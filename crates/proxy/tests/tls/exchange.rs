//! Requests and responses over TLS: the same as in plain text, and what only TLS can get wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Mutex, mpsc},
};
use tokio_rustls::{client::TlsStream, rustls};

use super::{
    common::{Backend, PATIENCE, Peer, Setup, World, field, soon, until},
    pki::{Authority, Wanted},
};

struct Scene {
    world: World,
    authority: Authority,
}

impl Scene {
    fn new(backend: &Backend, change: impl FnOnce(&mut Setup)) -> Self {
        let authority = Authority::new();
        let issued = authority.issue(&["a"]);
        let mut setup = Setup::https(&[backend.address], Wanted::new(&[&issued]).server());
        change(&mut setup);
        Self { world: setup.start(), authority }
    }

    async fn client(&self) -> Peer<TlsStream<TcpStream>> {
        self.world.tls_client(&self.authority.client(rustls::ALL_VERSIONS), "a").await
    }
}

#[tokio::test]
async fn backends_are_told_that_the_client_came_by_https() {
    let (heads, mut seen) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let heads = heads.clone();
        async move {
            while let Some(head) = peer.head().await {
                heads.send(head).unwrap();
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
            }
        }
    })
    .await;
    let scene = Scene::new(&backend, |_| {});
    let mut client = scene.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "hi");
        let head = seen.recv().await.unwrap();
        assert_eq!(field(&head, "x-forwarded-proto"), Some("https"));
        assert_eq!(field(&head, "forwarded"), Some("for=127.0.0.1;proto=https;by=_fra1;host=\"a\""));
    }
    assert_eq!((scene.world.stats().connections, backend.seen()), (1, 1));
}

/// A record holds more than the room for a head: what is left waits in TLS, where the event loop can't see it.
#[tokio::test]
async fn requests_that_came_in_one_record_are_all_answered() {
    let backend = Backend::fixed("hi").await;
    let scene = Scene::new(&backend, |_| {});
    let mut client = scene.client().await;
    let filler = "x".repeat(7000);
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Filler: {filler}\r\n\r\n");
    // Three records of two and more requests each.
    let requests = request.repeat(7);
    client.write(&requests).await;
    for _ in 0..7 {
        assert_eq!(client.response().await.text(), "hi");
    }
    assert_eq!(scene.world.stats().requests, 7);
}

#[tokio::test]
async fn each_piece_of_a_stream_reaches_the_client_before_the_next_one_is_made() {
    let (next, turn) = mpsc::unbounded_channel::<()>();
    let turn = Arc::new(Mutex::new(turn));
    let backend = Backend::start(move |mut peer| {
        let turn = turn.clone();
        async move {
            peer.head().await;
            peer.write(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .await;
            let mut turn = turn.lock().await;
            while turn.recv().await.is_some() {
                peer.write("6\r\ntoken \r\n").await;
            }
            peer.write("0\r\n\r\n").await;
            peer.closed().await;
        }
    })
    .await;
    let scene = Scene::new(&backend, |_| {});
    let mut client = scene.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await.unwrap();
    for _ in 0..5 {
        next.send(()).unwrap();
        assert_eq!(client.exactly(11).await, b"6\r\ntoken \r\n");
    }
    drop(next);
    assert_eq!(client.exactly(5).await, b"0\r\n\r\n");
}

#[tokio::test]
async fn long_bodies_go_both_ways_whole() {
    let backend = Backend::echo().await;
    let scene = Scene::new(&backend, |_| {});
    let client = scene.client().await;
    let body: Vec<u8> = (0..5_000_000u32).map(|index| (index % 251) as u8).collect();
    let (mut reading, mut writing) = tokio::io::split(client.stream);
    let sent = body.clone();
    let sending = tokio::spawn(async move {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", sent.len());
        writing.write_all(head.as_bytes()).await.unwrap();
        writing.write_all(&sent).await.unwrap();
        writing.flush().await.unwrap();
        writing
    });
    let mut received = Vec::new();
    while received.len() < body.len() || !received.ends_with(&body[body.len() - 100..]) {
        assert_ne!(soon("a read", reading.read_buf(&mut received)).await.unwrap(), 0);
    }
    let head = received.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(received[head..] == body[..]);
    sending.await.unwrap();
}

/// What the client's socket does not take waits with us, and not as much as the backend would like to send.
#[tokio::test]
async fn a_client_that_reads_slowly_slows_its_backend_and_gets_everything() {
    const SIZE: usize = 30_000_000;
    let written = Arc::<AtomicUsize>::default();
    let counter = written.clone();
    let backend = Backend::start(move |mut peer| {
        let counter = counter.clone();
        async move {
            peer.head().await;
            peer.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n")).await;
            let piece = vec![b'x'; 100_000];
            for _ in 0..SIZE / piece.len() {
                if peer.stream.write_all(&piece).await.is_err() {
                    return;
                }
                counter.fetch_add(piece.len(), Ordering::SeqCst);
            }
            peer.closed().await;
        }
    })
    .await;
    let scene = Scene::new(&backend, |_| {});
    let mut client = scene.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await.unwrap();
    // Nothing is read until all that fits between is full.
    let (mut seen, mut looks) = (0, 0);
    until("a stalled backend", || {
        let now = written.load(Ordering::SeqCst);
        looks = if now == std::mem::replace(&mut seen, now) { looks + 1 } else { 0 };
        now > 0 && looks == 100
    })
    .await;
    assert!(seen < SIZE, "the backend could send everything to a client that reads nothing");
    let body = client.exactly(SIZE).await;
    assert!(body.iter().all(|byte| *byte == b'x'));
}

/// RFC 8446 §6.1: without a close_notify the client could not tell this from a truncation.
#[tokio::test]
async fn a_response_that_ends_by_the_close_ends_by_a_close_notify() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\n\r\nall there is").await;
    })
    .await;
    let scene = Scene::new(&backend, |_| {});
    let mut client = scene.client().await;
    client.write("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let (bytes, clean) = client.rest().await;
    assert!(clean && bytes.ends_with(b"\r\n\r\nall there is"));
}

#[tokio::test]
async fn a_response_that_breaks_off_ends_by_no_close_notify() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na part").await;
    })
    .await;
    let scene = Scene::new(&backend, |_| {});
    let mut client = scene.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (bytes, clean) = client.rest().await;
    assert!(!clean, "{}", String::from_utf8_lossy(&bytes));
    assert_eq!(scene.world.stats().cut, 1);
}

#[tokio::test]
async fn a_drain_and_a_long_rest_end_a_connection_in_order() {
    let backend = Backend::fixed("hi").await;
    let scene = Scene::new(&backend, |setup| setup.keep_alive = Duration::from_millis(100));
    let mut client = scene.client().await;
    assert_eq!(client.get("/").await.text(), "hi");
    assert_eq!(client.rest().await, (Vec::new(), true), "after the keep-alive deadline");

    let scene = Scene::new(&backend, |_| {});
    let mut client = scene.client().await;
    assert_eq!(client.get("/").await.text(), "hi");
    let (left, rest) = tokio::join!(scene.world.plane.drain(PATIENCE), client.rest());
    assert_eq!((left, rest), (0, (Vec::new(), true)));
}

#[tokio::test]
async fn a_malformed_request_is_answered_before_the_close() {
    let backend = Backend::fixed("hi").await;
    let scene = Scene::new(&backend, |_| {});
    let mut client = scene.client().await;
    client.write("GET / HTTP/1.1\r\nHost : a\r\n\r\n").await;
    assert_eq!(client.response().await.status, 400);
    assert_eq!(client.rest().await, (Vec::new(), true));
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_exchange() {
    let (gone, mut seen) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let gone = gone.clone();
        async move {
            peer.head().await;
            peer.closed().await;
            gone.send(()).unwrap();
        }
    })
    .await;
    let scene = Scene::new(&backend, |_| {});
    for orderly in [true, false] {
        let mut client = scene.client().await;
        client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        until("an exchange", || scene.world.plane.stats().backends.values().any(|b| b.pending == 1)).await;
        if orderly {
            client.stream.shutdown().await.unwrap();
        }
        drop(client);
        soon("the cancelled exchange", seen.recv()).await.unwrap();
    }
    until("both counted", || scene.world.stats().cancelled == 2).await;
}

#[tokio::test]
async fn a_client_that_sends_much_after_it_was_refused_reads_its_answer() {
    let backend = Backend::fixed("served").await;
    let scene = Scene::new(&backend, |_| ());
    let mut client = scene.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
    // More than the buffers of both ends hold.
    soon("the upload", client.write_bytes(&vec![b'x'; 16 << 20])).await;
    assert_eq!(client.response().await.status, 400);
    assert_eq!(client.rest().await, (Vec::new(), true));
    assert_eq!(backend.seen(), 0);
}
