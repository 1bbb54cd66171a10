//! One data plane takes over from another on the same host, under clients.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test helpers")]

mod common;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use common::{Backend, PATIENCE, Peer, Setup, field, handed_over, service_name, soon, until};
use proxima_proxy::{
    BindError, DataPlane, DataPlaneConfig, Inheritance, Listener, Protocol, Snapshot, StartError,
};
use tokio::{net::TcpStream, sync::watch, task::JoinHandle};

fn at(address: SocketAddr, protocol: Protocol) -> Listener {
    Listener { service: service_name(), address, protocol }
}

/// The kernel chooses its port.
fn anywhere() -> Listener {
    at(([127, 0, 0, 1], 0).into(), Protocol::Http)
}

/// A backend that answers `hi`, and to `/slow` one half before it is told to go on.
async fn told() -> (Backend, watch::Sender<bool>) {
    let (go, wait) = watch::channel(false);
    let backend = Backend::start(move |mut peer| {
        let mut wait = wait.clone();
        async move {
            while let Some(head) = peer.head().await {
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh").await;
                if head.starts_with("GET /slow") && wait.wait_for(|go| *go).await.is_err() {
                    return;
                }
                peer.write("i").await;
            }
        }
    })
    .await;
    (backend, go)
}

/// A client that has half of its response.
async fn busy(address: SocketAddr) -> Peer {
    let mut busy = Peer::new(TcpStream::connect(address).await.unwrap());
    busy.write("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(busy.head().await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(busy.exactly(1).await, b"h");
    busy
}

/// Clients that ask as fast as they can, each with a new connection for every request or with one for as long as it lasts.
struct Load {
    over: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
        let (over, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..8)
            .map(|number| {
                let (over, served) = (over.clone(), served.clone());
                tokio::spawn(async move {
                    let mut kept: Option<Peer> = None;
                    while !over.load(Ordering::Relaxed) {
                        let mut client = match kept.take() {
                            Some(client) => client,
                            None => Peer::new(TcpStream::connect(address).await.unwrap()),
                        };
                        let answer = client.get("/").await;
                        assert_eq!(answer.text(), "hi");
                        served.fetch_add(1, Ordering::Relaxed);
                        let lasts = field(&answer.head, "connection") != Some("close");
                        kept = (number % 2 == 0 && lasts).then_some(client);
                    }
                })
            })
            .collect();
        Self { over, served, clients }
    }

    /// Waits until more requests have been served.
    async fn goes_on(&self) {
        let before = self.served.load(Ordering::Relaxed);
        until("requests", || self.served.load(Ordering::Relaxed) > before + 50).await;
    }

    /// No request of any of them has failed.
    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            soon("the end of a client", client).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_one_takes_over_from_another_again_and_again() {
    let backend = Backend::fixed("hi").await;
    let setup = Setup { workers: 2, ..Setup::http(&[backend.address]) };
    let mut world = setup.start();
    let load = Load::on(world.address);
    for _ in 0..5 {
        load.goes_on().await;
        let successor = setup.inherit(&world);
        successor.succeed(&world, world.plane.listeners()).await;
        assert_eq!(world.plane.drain(PATIENCE).await, 0);
        let before = (world.stats().requests, successor.stats().requests);
        load.goes_on().await;
        assert_eq!(world.stats().requests, before.0, "it has none left");
        assert!(successor.stats().requests > before.1);
        tokio::task::spawn_blocking(move || drop(world)).await.unwrap();
        world = successor;
    }
    load.end().await;
}

#[tokio::test]
async fn what_waits_to_be_accepted_is_taken_by_the_successor_even_if_its_predecessor_has_died() {
    let backend = Backend::fixed("hi").await;
    let setup = Setup { workers: 3, ..Setup::http(&[backend.address]) };
    let world = setup.start();
    let successor = setup.inherit(&world);
    let prepared = successor.plane.prepare(world.plane.listeners()).unwrap();
    world.plane.stop();
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = successor.client().await;
        client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        clients.push(client);
    }
    assert_eq!(successor.plane.stats().services.len(), 0, "nothing is taken before it is told to");
    assert!(successor.plane.reconfigure(prepared, None, PATIENCE).over().await);
    for client in &mut clients {
        assert_eq!(client.response().await.text(), "hi");
    }
}

#[tokio::test]
async fn a_response_under_way_goes_on_to_its_end_while_others_are_served_by_the_successor() {
    let (backend, go) = told().await;
    let setup = Setup { workers: 2, ..Setup::http(&[backend.address]) };
    let world = setup.start();
    let mut busy = busy(world.address).await;
    let successor = setup.inherit(&world);
    successor.succeed(&world, world.plane.listeners()).await;
    let drained = async {
        assert_eq!(world.plane.drain(PATIENCE).await, 0);
    };
    let clients = async {
        until("that no others are left", || world.stats().open == 1).await;
        for _ in 0..20 {
            assert_eq!(successor.client().await.get("/").await.text(), "hi");
        }
        assert!(successor.stats().requests > 0);
        go.send(true).unwrap();
        assert_eq!(busy.exactly(1).await, b"i");
        drop(busy);
    };
    tokio::join!(drained, clients);
}

#[tokio::test]
async fn sockets_for_another_number_of_workers_are_refused() {
    let setup = Setup { workers: 3, ..Setup::http(&[]) };
    let world = setup.start();
    let start = |workers| {
        let inherited = Some(handed_over(&world.plane));
        let config = DataPlaneConfig { inherited, ..Setup { workers, ..setup.clone() }.config(Vec::new()) };
        DataPlane::start(config, &Arc::new(ArcSwap::from_pointee(Snapshot::default())))
    };
    for workers in [2, 4] {
        let error = start(workers).unwrap_err();
        assert!(matches!(error, StartError::Workers { inherited: 3, wanted } if wanted == workers));
        let text = error.to_string();
        assert!(text.contains(&format!("has 3 workers, this one is to have {workers}")), "{text}");
        assert!(text.ends_with("restart instead of upgrading"), "{text}");
    }
    start(3).unwrap();
}

#[tokio::test]
async fn a_successor_that_fails_before_it_takes_over_changes_nothing() {
    let backend = Backend::fixed("hi").await;
    let setup = Setup { workers: 2, ..Setup::http(&[backend.address]) };
    let (world, other) = (setup.start(), setup.start());
    let load = Load::on(world.address);
    for _ in 0..3 {
        load.goes_on().await;
        let failing = setup.inherit(&world);
        // What it would listen on besides is taken.
        let both = vec![at(world.address, Protocol::Http), at(other.address, Protocol::Http)];
        let error = failing.plane.prepare(both).unwrap_err();
        assert!(matches!(error, StartError::Bind { error: BindError::Taken { .. }, .. }), "{error}");
        // And again, with what can be had.
        drop(failing.plane.prepare(world.plane.listeners()).unwrap());
        failing.plane.stop();
    }
    drop::<Inheritance>(handed_over(&world.plane));
    load.goes_on().await;
    load.end().await;
    let address = world.address;
    world.plane.stop();
    assert!(TcpStream::connect(address).await.is_err(), "nothing of it is left anywhere");
}

#[tokio::test]
async fn a_place_is_inherited_whatever_is_served_there_and_one_that_nobody_wants_is_closed() {
    let backend = Backend::fixed("hi").await;
    let setup = Setup { workers: 2, ..Setup::http(&[backend.address]) };
    let world = setup.start();
    let (first, second) = (at(world.address, Protocol::Http), anywhere());
    world.reconfigure(&setup, vec![first.clone(), second], PATIENCE).await;
    let second = world.plane.listeners()[1].address;

    let echo = Backend::start(|mut peer| async move {
        let hello = peer.exactly(5).await;
        peer.write_bytes(&hello).await;
    })
    .await;
    let relay = Setup { workers: 2, ..Setup::tcp(&[echo.address]) };
    let successor = relay.inherit(&world);
    let new = Listener { protocol: Protocol::Tcp, ..anywhere() };
    successor.succeed(&world, vec![at(second, Protocol::Tcp), new]).await;
    assert_eq!(world.plane.drain(PATIENCE).await, 0);
    let new = successor.plane.listeners()[1].address;
    for address in [second, new, second, new] {
        let mut client = Peer::new(TcpStream::connect(address).await.unwrap());
        client.write("hello").await;
        assert_eq!(client.exactly(5).await, b"hello");
    }
    assert!(TcpStream::connect(first.address).await.is_err(), "nobody listens there any more");
}

#[tokio::test]
async fn a_place_that_the_successor_gives_up_later_really_closes_while_its_predecessor_drains() {
    let (backend, go) = told().await;
    let setup = Setup { workers: 2, ..Setup::http(&[backend.address]) };
    let world = setup.start();
    let first = at(world.address, Protocol::Http);
    world.reconfigure(&setup, vec![first.clone(), anywhere()], PATIENCE).await;
    let both = world.plane.listeners();
    let mut busy = busy(world.address).await;
    let successor = setup.inherit(&world);
    successor.succeed(&world, both.clone()).await;
    let drained = async {
        assert_eq!(world.plane.drain(PATIENCE).await, 0);
    };
    let reloads = async {
        assert_eq!(get(&both[1]).await.as_deref(), Some("hi"));
        successor.reconfigure(&setup, vec![first.clone()], PATIENCE).await;
        until_refused(&both[1]).await;
        assert_eq!(get(&first).await.as_deref(), Some("hi"));
        // It can be had again.
        successor.reconfigure(&setup, both.clone(), PATIENCE).await;
        assert_eq!(get(&both[1]).await.as_deref(), Some("hi"));
        go.send(true).unwrap();
        assert_eq!(busy.exactly(1).await, b"i");
        // Nobody had told it to come back on another connection.
        let last = busy.get("/").await;
        assert_eq!((field(&last.head, "connection"), last.text()), (Some("close"), "hi"));
        assert_eq!(busy.rest().await, (Vec::new(), true));
    };
    tokio::join!(drained, reloads);
}

/// Waits until nobody listens there any more.
async fn until_refused(listener: &Listener) {
    let refused = async { while TcpStream::connect(listener.address).await.is_ok() {} };
    soon("a refusal", refused).await;
}

/// What a client is told there, if somebody listens.
async fn get(listener: &Listener) -> Option<String> {
    let mut client = Peer::new(TcpStream::connect(listener.address).await.ok()?);
    Some(client.get("/").await.text().to_owned())
}
