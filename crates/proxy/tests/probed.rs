//! Probes on their way through the workers.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::{collections::BTreeSet, io::ErrorKind};

use common::{Backend, PATIENCE, Peer, Setup, World, field, refusing, soon, until};
use proxima_proxy::Protocol;
use proxima_types::BackendId;
use tokio::net::{TcpListener, TcpStream};

/// A data plane whose backends all may be probed.
fn start(setup: Setup) -> World {
    Setup { probed: true, ..setup }.start()
}

fn backend(number: usize) -> BackendId {
    format!("app/b{number}").parse().unwrap()
}

async fn probe(world: &World, number: usize, protocol: Protocol) -> std::io::Result<Peer> {
    let entrance = world.plane.entrance();
    let address = world.backends.get(number).copied().unwrap_or(world.address);
    soon("a probe's connection", entrance.connect(&backend(number), address, protocol)).await.map(Peer::new)
}

#[tokio::test]
async fn a_probe_reaches_the_backend_it_names_through_each_worker_in_turn_and_counts_for_nobody() {
    let (one, other) = (Backend::fixed("one").await, Backend::fixed("other").await);
    let world = start(Setup { workers: 3, ..Setup::http(&[one.address, other.address]) });
    for protocol in [Protocol::Http, Protocol::Tcp] {
        let mut workers = BTreeSet::new();
        for turn in 0..6 {
            let (number, body) = [(0, "one"), (1, "other")][turn % 2];
            let mut probe = probe(&world, number, protocol).await.unwrap();
            workers.insert(probe.stream.peer_addr().unwrap().port());
            for _ in 0..2 {
                let response = probe.get("/healthz").await;
                assert_eq!((response.status, response.text()), (200, body));
                // Through the exchange of a worker, as a client's; or past it.
                assert_eq!(field(&response.head, "via").is_some(), protocol == Protocol::Http);
            }
        }
        assert_eq!(workers.len(), 3);
    }
    assert_eq!((one.seen(), other.seen()), (6, 6), "each probe has a connection of its own to its backend");
    let stats = world.plane.stats();
    assert!(
        stats.services.values().all(|counted| counted.connections + counted.requests + counted.bytes_in == 0)
    );
    assert!(
        stats.backends.values().all(|counted| counted.requests + counted.connects + counted.answers == 0)
    );
    assert!(world.plane.served().values().all(|served| served.requests == 0));
}

#[tokio::test]
async fn what_the_worker_met_is_what_the_probe_hears() {
    let listening = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = start(Setup::tcp(&[refusing().await, listening.local_addr().unwrap()]));
    assert_eq!(probe(&world, 0, Protocol::Tcp).await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
    assert!(probe(&world, 1, Protocol::Tcp).await.is_ok());
    assert_eq!(probe(&world, 2, Protocol::Tcp).await.err().unwrap().kind(), ErrorKind::NotFound);
    let mut http = probe(&world, 0, Protocol::Http).await.unwrap();
    assert_eq!(http.get("/").await.status, 502, "as a client would hear");
}

#[tokio::test]
async fn a_backend_that_dies_ends_the_connections_that_probes_left_standing() {
    for protocol in [Protocol::Http, Protocol::Tcp] {
        let app = Backend::fixed("up").await;
        let world = start(Setup::http(&[app.address]));
        let mut standing = probe(&world, 0, protocol).await.unwrap();
        assert_eq!(standing.get("/").await.text(), "up");
        // Another probe, whose connection goes first, leaves the other one alone.
        assert_eq!(probe(&world, 0, protocol).await.unwrap().get("/").await.text(), "up");
        assert_eq!(standing.get("/").await.text(), "up");
        app.kill().await;
        standing.closed().await;
        let refused = probe(&world, 0, Protocol::Tcp).await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn nobody_but_the_prober_gets_in() {
    let app = Backend::fixed("up").await;
    let world = start(Setup::http(&[app.address]));
    let entrance = probe(&world, 0, Protocol::Tcp).await.unwrap().stream.peer_addr().unwrap();
    until("the probe's connection", || app.seen() == 1).await;
    for _ in 0..3 {
        let stream = match TcpStream::connect(entrance).await {
            Ok(stream) => stream,
            // The reset was here before the connect was seen to be done.
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                continue;
            }
        };
        let mut stranger = Peer::new(stream);
        stranger.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(stranger.rest().await, (Vec::new(), false), "reset, without a byte");
    }
    assert_eq!(app.seen(), 1);
}

#[tokio::test]
async fn a_full_or_draining_data_plane_still_lets_probes_through_and_waits_for_none() {
    let app = Backend::fixed("up").await;
    let world = start(Setup { max_descriptors: Some(1), ..Setup::http(&[app.address]) });
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(world.client().await.response().await.status, 503, "no room for a second client");
    let mut standing = probe(&world, 0, Protocol::Tcp).await.unwrap();
    assert_eq!(standing.get("/").await.text(), "up");
    drop(client);
    assert_eq!(soon("the drain", world.plane.drain(PATIENCE)).await, 0);
    assert_eq!(standing.get("/").await.text(), "up");
    assert_eq!(probe(&world, 0, Protocol::Http).await.unwrap().get("/").await.text(), "up");
}
