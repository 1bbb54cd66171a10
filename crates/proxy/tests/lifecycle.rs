//! Start, take over a snapshot, drain, stop.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test helpers")]

mod common;

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use common::{Backend, PATIENCE, Peer, Setup, field, soon, until};
use proxima_proxy::{
    BindError, DataPlane, DataPlaneConfig, Listener, Protocol, Snapshot, StartError, Unserved,
};
use tokio::{net::TcpStream, sync::mpsc};

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_names_service_and_remedy() {
    let backend = Backend::fixed("served").await;
    let world = Setup::http(&[backend.address]).start();
    let listener =
        Listener { service: "other".parse().unwrap(), address: world.address, protocol: Protocol::Http };
    let config = DataPlaneConfig::new(NonZeroUsize::MIN, vec![listener], "fra1".parse().unwrap());
    let error = DataPlane::start(config, &Arc::new(ArcSwap::from_pointee(Snapshot::default()))).unwrap_err();
    assert!(matches!(&error, StartError::Bind { error: BindError::Taken { .. }, .. }));
    let text = error.to_string();
    assert!(text.starts_with(&format!("service `other`: {} is taken", world.address)), "{text}");
    assert_eq!(world.client().await.get("/").await.text(), "served");
}

#[tokio::test]
async fn a_new_snapshot_counts_from_the_next_request_on() {
    let (one, two) = (Backend::fixed("one").await, Backend::fixed("two").await);
    let world = Setup::http(&[one.address]).start();
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.text(), "one");
    world.snapshot.store(Arc::new(Setup::http(&[two.address]).snapshot()));
    assert_eq!(client.get("/").await.text(), "two");
    world.snapshot.store(Arc::new(Setup::http(&[]).snapshot()));
    assert_eq!(client.get("/").await.status, 503);
    assert_eq!(world.stats().unserved.get(&Unserved::NoBackends), Some(&1));
    world.snapshot.store(Arc::new(Setup::http(&[one.address]).snapshot()));
    assert_eq!(client.get("/").await.text(), "one");
}

#[tokio::test]
async fn connections_to_a_backend_that_left_the_snapshot_close_by_themselves() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let ends = ends.clone();
        async move {
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
            peer.closed().await;
            ends.send(()).unwrap();
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    assert_eq!(world.client().await.get("/").await.text(), "hi");
    world.snapshot.store(Arc::new(Setup::http(&[]).snapshot()));
    soon("the end", ended.recv()).await.unwrap();
}

#[tokio::test]
async fn every_worker_beats() {
    let world = Setup { workers: 3, ..Setup::http(&[]) }.start();
    let beats = world.plane.beats();
    let first: Vec<u64> = beats.read().collect();
    assert_eq!(first.len(), 3);
    until("beats", || beats.read().zip(&first).all(|(now, before)| now > before + 2)).await;
}

#[tokio::test]
async fn draining_lets_exchanges_end_and_closes_everything_else() {
    let (go, gate) = mpsc::unbounded_channel::<()>();
    let gate = Arc::new(tokio::sync::Mutex::new(gate));
    let backend = Backend::start(move |mut peer| {
        let gate = gate.clone();
        async move {
            while let Some(head) = peer.head().await {
                if head.starts_with("GET /slow") {
                    gate.lock().await.recv().await.unwrap();
                }
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
            }
        }
    })
    .await;
    let world = Setup { workers: 2, ..Setup::http(&[backend.address]) }.start();
    let (mut busy, mut idle) = (world.client().await, world.client().await);
    assert_eq!(idle.get("/").await.text(), "hi");
    busy.write("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("the request", || world.stats().requests == 2).await;

    assert_eq!(world.plane.drain(Duration::from_millis(200)).await, 1, "the exchange goes on");
    assert_eq!(idle.rest().await, (Vec::new(), true));
    assert!(TcpStream::connect(world.address).await.is_err(), "nobody listens any more");

    go.send(()).unwrap();
    let response = busy.response().await;
    assert_eq!((field(&response.head, "connection"), response.text()), (Some("close"), "hi"));
    assert_eq!(busy.rest().await, (Vec::new(), true));
    assert_eq!(world.plane.drain(PATIENCE).await, 0);
    world.plane.stop();
}

#[tokio::test]
async fn a_displaced_client_is_told_to_come_back_on_another_connection_and_nobody_else() {
    let backend = Backend::fixed("hi").await;
    let world = Setup::http(&[backend.address]).start();
    let detour = TcpStream::connect(world.address).await.unwrap();
    let displaced = detour.local_addr().unwrap();
    let (mut detour, mut other) = (Peer::new(detour), world.client().await);
    assert_eq!(field(&detour.get("/").await.head, "connection"), None);
    world.displaced.note(Instant::now(), &[displaced]);
    let last = detour.get("/").await;
    assert_eq!((field(&last.head, "connection"), last.text()), (Some("close"), "hi"));
    detour.closed().await;
    for _ in 0..2 {
        assert_eq!(field(&other.get("/").await.head, "connection"), None);
    }
}

#[tokio::test]
async fn draining_takes_the_connections_the_kernel_has_completed() {
    let backend = Backend::fixed("served").await;
    let world = Setup::http(&[backend.address]).start();
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = common::Peer::new(TcpStream::connect(world.address).await.unwrap());
        client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        clients.push(client);
    }
    let drained = world.plane.drain(PATIENCE);
    let served = async {
        for client in &mut clients {
            assert_eq!(client.response().await.text(), "served");
        }
    };
    assert_eq!(tokio::join!(drained, served).0, 0);
}

#[tokio::test]
async fn stopping_closes_what_is_open_and_frees_the_port() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.closed().await;
    })
    .await;
    let world = Setup { workers: 2, ..Setup::http(&[backend.address]) }.start();
    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("the request", || backend.seen() == 1).await;
    world.plane.stop();
    client.closed().await;
    std::net::TcpListener::bind(world.address).unwrap();
}

#[tokio::test]
async fn a_response_that_a_stop_cuts_short_ends_with_a_reset() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart").await;
        peer.closed().await;
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    // A client that knows no chunks takes the end of the connection for the end of the response.
    let mut client = world.client().await;
    client.write("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!((field(&head, "content-length"), field(&head, "transfer-encoding")), (None, None));
    assert_eq!(client.exactly(4).await, b"part");
    world.plane.stop();
    assert_eq!(client.rest().await, (Vec::new(), false));
}

#[tokio::test]
async fn a_relay_that_a_stop_cuts_short_ends_with_a_reset_on_both_sides() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let ends = ends.clone();
        async move {
            peer.write("part").await;
            ends.send(peer.rest().await).unwrap();
        }
    })
    .await;
    let world = Setup::tcp(&[backend.address]).start();
    let mut client = world.client().await;
    assert_eq!(client.exactly(4).await, b"part");
    world.plane.stop();
    assert_eq!(client.rest().await, (Vec::new(), false));
    assert_eq!(soon("the backend's end", ended.recv()).await, Some((Vec::new(), false)));
}

#[tokio::test]
async fn a_connection_at_rest_ends_in_order_when_the_data_plane_stops() {
    let backend = Backend::fixed("hi").await;
    let world = Setup::http(&[backend.address]).start();
    let (mut used, mut fresh) = (world.client().await, world.client().await);
    assert_eq!(used.get("/").await.text(), "hi");
    until("both connections", || world.stats().open == 2).await;
    world.plane.stop();
    assert_eq!(used.rest().await, (Vec::new(), true));
    assert_eq!(fresh.rest().await, (Vec::new(), true));
}
