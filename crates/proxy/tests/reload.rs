//! Listeners, services and backends that change under clients.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test helpers")]

mod common;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use common::{Backend, PATIENCE, Peer, Setup, World, field, service_name, soon, until};
use proxima_proxy::{
    BindError, DataPlane, DataPlaneConfig, Listener, Protocol, Snapshot, StartError, Timeouts,
    UpstreamProtocol,
};
use proxima_types::BackendId;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
};

/// The listener of `world`, for `protocol`.
fn listener(world: &World, protocol: Protocol) -> Listener {
    Listener { service: service_name(), address: world.address, protocol }
}

/// One more for the same service; the kernel chooses its port.
fn another() -> Listener {
    Listener { service: service_name(), address: ([127, 0, 0, 1], 0).into(), protocol: Protocol::Http }
}

/// A backend that answers `hi`, to `/slow` when told to.
async fn told() -> (Backend, watch::Sender<bool>) {
    let (go, wait) = watch::channel(false);
    let backend = Backend::start(move |mut peer| {
        let mut wait = wait.clone();
        async move {
            while let Some(head) = peer.head().await {
                if head.starts_with("GET /slow") && wait.wait_for(|go| *go).await.is_err() {
                    return;
                }
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
            }
        }
    })
    .await;
    (backend, go)
}

/// A client whose request is with the backend.
async fn busy(world: &World, address: SocketAddr) -> Peer {
    let before = world.stats().requests;
    let mut busy = Peer::new(TcpStream::connect(address).await.unwrap());
    busy.write("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("the request", || world.stats().requests == before + 1).await;
    busy
}

#[tokio::test]
async fn a_listener_that_stays_loses_no_client_while_others_come_and_go() {
    let backend = Backend::fixed("hi").await;
    let setup = Setup { workers: 2, ..Setup::http(&[backend.address]) };
    let world = setup.start();
    let (over, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (over, served, address) = (over.clone(), served.clone(), world.address);
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let mut client = Peer::new(TcpStream::connect(address).await.unwrap());
                    assert_eq!(client.get("/").await.text(), "hi");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut kept = world.client().await;
    for _ in 0..20 {
        let before = served.load(Ordering::Relaxed);
        let both = vec![listener(&world, Protocol::Http), another()];
        world.reconfigure(&setup, both, PATIENCE).await;
        let added = world.plane.listeners()[1].address;
        assert_eq!(Peer::new(TcpStream::connect(added).await.unwrap()).get("/").await.text(), "hi");
        world.reconfigure(&setup, vec![listener(&world, Protocol::Http)], PATIENCE).await;
        assert!(
            TcpStream::connect(added).await.is_err(),
            "it is closed when all workers have taken that over"
        );
        let answer = kept.get("/").await;
        assert_eq!((answer.text(), field(&answer.head, "connection")), ("hi", None));
        until("clients", || served.load(Ordering::Relaxed) > before).await;
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn a_listener_that_goes_lets_exchanges_end_and_closes_everything_else() {
    let (backend, go) = told().await;
    let setup = Setup { workers: 2, ..Setup::http(&[backend.address]) };
    let world = setup.start();
    world.reconfigure(&setup, vec![listener(&world, Protocol::Http), another()], PATIENCE).await;
    let stays = world.plane.listeners()[1].clone();
    let mut other = Peer::new(TcpStream::connect(stays.address).await.unwrap());
    assert_eq!(other.get("/").await.text(), "hi");
    let mut idle = world.client().await;
    assert_eq!(idle.get("/").await.text(), "hi");
    let mut busy = busy(&world, world.address).await;

    world.reconfigure(&setup, vec![stays], PATIENCE).await;
    assert_eq!(idle.rest().await, (Vec::new(), true));
    assert!(TcpStream::connect(world.address).await.is_err());
    go.send(true).unwrap();
    let response = busy.response().await;
    assert_eq!((field(&response.head, "connection"), response.text()), (Some("close"), "hi"));
    assert_eq!(busy.rest().await, (Vec::new(), true));
    let response = other.get("/").await;
    assert_eq!((field(&response.head, "connection"), response.text()), (None, "hi"));

    let back = vec![listener(&world, Protocol::Http)];
    world.reconfigure(&setup, back, PATIENCE).await;
    assert_eq!(world.client().await.get("/").await.text(), "hi");
}

#[tokio::test]
async fn what_still_runs_when_its_time_is_over_is_cut() {
    let (backend, _go) = told().await;
    let echo = Backend::start(|mut peer| async move {
        let hello = peer.exactly(5).await;
        peer.write_bytes(&hello).await;
        peer.closed().await;
    })
    .await;
    for (setup, is_http) in [(Setup::http(&[backend.address]), true), (Setup::tcp(&[echo.address]), false)] {
        let world = setup.start();
        let mut client = if is_http {
            busy(&world, world.address).await
        } else {
            let mut client = world.client().await;
            client.write("hello").await;
            assert_eq!(client.exactly(5).await, b"hello");
            client
        };
        world.reconfigure(&setup, Vec::new(), Duration::from_millis(100)).await;
        assert_eq!(client.rest().await, (Vec::new(), false), "reset, so that nobody takes it for an end");
        until("the end", || world.stats().open == 0).await;
    }
}

#[tokio::test]
async fn another_protocol_at_the_same_address_is_spoken_from_the_next_connection_on() {
    let (backend, go) = told().await;
    let echo = Backend::start(|mut peer| async move {
        let hello = peer.exactly(5).await;
        peer.write_bytes(&hello).await;
    })
    .await;
    let setup = Setup { workers: 2, ..Setup::http(&[backend.address]) };
    let world = setup.start();
    let mut busy = busy(&world, world.address).await;
    let mut idle = world.client().await;
    assert_eq!(idle.get("/").await.text(), "hi");
    let relay = Setup { workers: 2, ..Setup::tcp(&[echo.address]) };
    world.reconfigure(&relay, vec![listener(&world, Protocol::Tcp)], PATIENCE).await;
    for _ in 0..8 {
        let mut client = world.client().await;
        client.write("hello").await;
        assert_eq!(client.exactly(5).await, b"hello");
    }
    assert_eq!(idle.rest().await, (Vec::new(), true));
    go.send(true).unwrap();
    let response = busy.response().await;
    assert_eq!((field(&response.head, "connection"), response.text()), (Some("close"), "hi"));
}

#[tokio::test]
async fn an_address_that_cannot_be_had_changes_nothing() {
    let backend = Backend::fixed("hi").await;
    let setup = Setup { workers: 2, ..Setup::http(&[backend.address]) };
    let (world, other) = (setup.start(), setup.start());
    let free = another();
    let error = world
        .plane
        .prepare(vec![listener(&world, Protocol::Http), free, listener(&other, Protocol::Http)])
        .unwrap_err();
    assert!(matches!(&error, StartError::Bind { error: BindError::Taken { .. }, .. }), "{error}");
    assert_eq!(world.plane.listeners(), [listener(&world, Protocol::Http)]);
    assert_eq!(world.client().await.get("/").await.text(), "hi");
    drop(other);
    // Nobody takes what was only prepared.
    drop(world.plane.prepare(vec![listener(&world, Protocol::Http), another()]).unwrap());
    assert_eq!(world.client().await.get("/").await.text(), "hi");
}

#[tokio::test]
async fn a_listener_whose_service_nobody_has_said_anything_of_says_so() {
    let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
    let config = DataPlaneConfig::new(std::num::NonZeroUsize::MIN, vec![another()], "fra1".parse().unwrap());
    let plane = DataPlane::start(config, &snapshot).unwrap();
    let address = plane.listeners()[0].address;
    let mut client = Peer::new(TcpStream::connect(address).await.unwrap());
    assert_eq!(client.get("/").await.text(), "this service is not configured\n");
    let backend = Backend::fixed("hi").await;
    snapshot.store(Arc::new(Setup::http(&[backend.address]).snapshot()));
    assert_eq!(client.get("/").await.text(), "hi");
    // One that is about to go serves on.
    snapshot.store(Arc::new(Snapshot::default()));
    assert_eq!(client.get("/").await.text(), "hi");
}

#[tokio::test]
async fn routes_timeouts_and_fences_are_new_for_the_next_request_of_a_connection() {
    let (backend, go) = told().await;
    let mut setup = Setup::http(&[backend.address]);
    let world = setup.start();
    let mut busy = busy(&world, world.address).await;
    let mut client = world.client().await;
    assert_eq!(client.get("/a").await.status, 200);
    setup.matches.path_prefix = Some("/b".to_owned());
    setup.timeouts = Timeouts { first_byte: Duration::from_millis(50), ..Timeouts::default() };
    world.reload(&setup).await;
    assert_eq!(client.get("/a").await.status, 404);
    assert_eq!(client.get("/b").await.status, 200);
    setup.matches.path_prefix = None;
    world.reload(&setup).await;
    assert_eq!(client.get("/slow").await.status, 504);
    setup.allow = Some("US");
    world.reload(&setup).await;
    assert_eq!(client.get("/b").await.status, 503);
    go.send(true).unwrap();
    assert_eq!(busy.response().await.text(), "hi", "what is under way has the deadlines it began with");
}

#[tokio::test]
async fn a_backend_that_stays_keeps_its_connections_and_counters_and_one_that_goes_loses_them() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let leaves = Backend::start(move |mut peer| {
        let ends = ends.clone();
        async move {
            while peer.head().await.is_some() {
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nleaves").await;
            }
            ends.send(()).unwrap();
        }
    })
    .await;
    let stays = Backend::fixed("stays").await;
    let mut setup = Setup::http(&[stays.address, leaves.address]);
    setup.backends[1].1 = 0;
    let world = setup.start();
    let mut client = world.client().await;
    let mut bodies = Vec::new();
    // Two at random, the less loaded first: both get some soon.
    while !(bodies.contains(&"stays".to_owned()) && bodies.contains(&"leaves".to_owned())) {
        bodies.push(client.get("/").await.text().to_owned());
    }
    let [id_stays, id_leaves] = ["app/b0", "app/b1"].map(|id| id.parse::<BackendId>().unwrap());
    let counted = |id: &BackendId| world.plane.stats().backends.get(id).map(|stats| stats.requests);
    let before = counted(&id_stays).unwrap();
    assert!(counted(&id_leaves).is_some());
    assert_eq!((stays.seen(), leaves.seen()), (1, 1));

    setup.backends.truncate(1);
    world.reload(&setup).await;
    soon("the end of the connection at rest", ended.recv()).await.unwrap();
    assert_eq!(client.get("/").await.text(), "stays");
    assert_eq!((stays.seen(), counted(&id_stays)), (1, Some(before + 1)));
    assert_eq!(counted(&id_leaves), None);
    let mut traffic = world.plane.traffic();
    assert_eq!(client.get("/").await.text(), "stays");
    let read = traffic.read();
    assert_eq!(read.keys().collect::<Vec<_>>(), [&id_stays]);
}

#[tokio::test]
async fn what_runs_on_a_backend_that_goes_runs_to_its_end_and_leaves_no_connection() {
    let (old, go) = told().await;
    let new = Backend::fixed("new").await;
    let world = Setup::http(&[old.address]).start();
    let mut busy = busy(&world, world.address).await;
    // The same name at another address: another backend.
    world.reload(&Setup::http(&[new.address])).await;
    let mut client = world.client().await;
    assert_eq!(client.get("/slow").await.text(), "new");
    go.send(true).unwrap();
    assert_eq!(busy.response().await.text(), "hi");
    world.reload(&Setup::http(&[old.address])).await;
    assert_eq!(client.get("/").await.text(), "hi");
    assert_eq!(old.seen(), 2, "the connection did not rest after the exchange");
}

#[tokio::test]
async fn what_still_runs_on_a_backend_that_goes_is_cut_when_its_time_is_over() {
    let (old, _go) = told().await;
    let silent = Backend::start(|mut peer| async move {
        peer.exactly(5).await;
        peer.closed().await;
    })
    .await;
    let world = Setup::http(&[old.address]).start();
    let mut busy = busy(&world, world.address).await;
    let soon_over = Duration::from_millis(100);
    world.reconfigure(&Setup::http(&[]), world.plane.listeners(), soon_over).await;
    assert_eq!(busy.response().await.status, 504, "nothing of a response has come");
    assert_eq!(busy.get("/").await.status, 503, "the connection goes on");

    let world = Setup::tcp(&[silent.address]).start();
    let mut relayed = world.client().await;
    relayed.write("hello").await;
    until("the connection", || silent.seen() == 1).await;
    world.reconfigure(&Setup::tcp(&[]), world.plane.listeners(), soon_over).await;
    assert_eq!(relayed.rest().await, (Vec::new(), false));
}

#[tokio::test]
async fn streams_on_an_http2_backend_that_goes_end_and_its_connection_with_them() {
    let (go, wait) = watch::channel(false);
    let (ends, mut ended) = mpsc::unbounded_channel();
    let old = Backend::start(move |peer| {
        let (wait, ends) = (wait.clone(), ends.clone());
        async move {
            let mut connection = h2::server::handshake(peer.stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut wait = wait.clone();
                tokio::spawn(async move {
                    wait.wait_for(|go| *go).await.unwrap();
                    respond.send_response(http::Response::new(()), true).unwrap();
                });
            }
            ends.send(()).unwrap();
        }
    })
    .await;
    let http2 =
        |backends: &[SocketAddr]| Setup { upstream: UpstreamProtocol::Http2, ..Setup::http(backends) };
    let world = http2(&[old.address]).start();
    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("the request", || world.stats().requests == 1).await;
    until("the connection", || old.seen() == 1).await;
    world.reload(&http2(&[])).await;
    assert!(ended.try_recv().is_err(), "a stream is open");
    go.send(true).unwrap();
    assert_eq!(client.response().await.status, 200);
    soon("the end of the connection", ended.recv()).await.unwrap();
    assert_eq!(client.get("/").await.status, 503);
}
