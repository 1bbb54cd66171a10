//! One data plane takes over from another on the same host, under clients of HTTP/3.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use proxima_proxy::{
    DataPlane, DataPlaneConfig, Snapshot, StartError,
    quic::{ConnectionIds, SharedIds},
};
use quinn::ConnectionError;
use tokio::{net::UdpSocket, sync::watch, task::JoinHandle};

use crate::{
    common::{Backend, PATIENCE, Setup, World, handed_over, soon, until},
    lifecycle::{closed_by_us, told},
    support::{Client, Http3World, Stream, answer, get, post, start},
};

/// A client whose request has come to the backend, which answers once it is told to.
struct Waiting {
    world: Http3World,
    client: Client,
    request: Stream,
    go: watch::Sender<bool>,
    _backend: Backend,
}

async fn waiting() -> Waiting {
    let (backend, go) = told().await;
    let world = start(Setup { workers: 2, ..Setup::http(&[backend.address]) });
    let mut client = world.client().await;
    let mut request = client.send.send_request(get("/")).await.unwrap();
    request.finish().await.unwrap();
    until("the request", || world.world.stats().requests == 1).await;
    Waiting { world, client, request, go, _backend: backend }
}

/// Serves in place of `predecessor`, which drains.
async fn succeed(world: &Http3World, predecessor: &World) -> World {
    let successor = world.successor_of(predecessor);
    successor.succeed(predecessor, predecessor.plane.listeners()).await;
    // It begins; somebody else waits for its end.
    predecessor.plane.drain(Duration::ZERO).await;
    successor
}

/// It counts what it has handed on just after that.
async fn until_forwarded(world: &World) {
    until("a hand-over", || world.plane.stats().quic.forwarded > 0).await;
}

#[tokio::test]
async fn a_request_under_way_goes_on_with_the_predecessor_and_new_clients_come_to_the_successor() {
    let Waiting { world, client, request, go, .. } = waiting().await;
    let successor = succeed(&world, &world.world).await;
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(world.client().await);
    }
    assert_eq!((world.world.stats().connections, successor.stats().connections), (1, 8));
    go.send(true).unwrap();
    assert_eq!(soon("the answer", answer(request)).await.unwrap().text(), "ok");
    for other in &mut others {
        assert_eq!(other.get("/").await.text(), "ok");
    }
    assert_eq!((world.world.stats().requests, successor.stats().requests), (1, 8));
    assert_eq!(soon("the end", client.connection.closed()).await, closed_by_us());
    assert_eq!(world.world.plane.drain(PATIENCE).await, 0);
    until_forwarded(&successor).await;
    assert!(others.iter().all(|other| other.connection.close_reason().is_none()));
}

#[tokio::test]
async fn bodies_that_are_sent_across_several_successions_arrive_whole() {
    let backend = Backend::echo().await;
    let world = start(Setup { workers: 2, ..Setup::http(&[backend.address]) });
    let piece = Bytes::from(vec![b'x'; 100_000]);
    let mut successors: Vec<World> = Vec::new();
    let mut sending = Vec::new();
    for round in 0..4 {
        // A client of each process that there has been so far, all of them under way.
        let mut client = world.client().await;
        let stream = client.send.send_request(post("/")).await.unwrap();
        sending.push((client, stream));
        for (_, stream) in &mut sending {
            soon("room", stream.send_data(piece.clone())).await.unwrap();
        }
        let latest = successors.last().unwrap_or(&world.world);
        until("the request", || latest.stats().requests == 1).await;
        if round < 3 {
            let successor = succeed(&world, latest).await;
            successors.push(successor);
        }
    }
    for (number, (client, mut stream)) in sending.into_iter().enumerate() {
        soon("room", stream.send_data(piece.clone())).await.unwrap();
        stream.finish().await.unwrap();
        let answer = soon("the echo", answer(stream)).await.unwrap();
        assert_eq!(answer.body.len(), (5 - number) * piece.len(), "{number}");
        drop(client);
    }
    let (latest, before) = successors.split_last().unwrap();
    for drained in before.iter().chain([&world.world]) {
        assert_eq!(drained.plane.drain(PATIENCE).await, 0);
        assert_eq!(drained.stats().requests, 1);
    }
    assert_eq!(latest.stats().requests, 1);
}

#[tokio::test]
async fn a_response_that_is_still_on_its_way_to_the_client_is_waited_for() {
    const LENGTH: usize = 500_000;
    let (go, wait) = tokio::sync::watch::channel(false);
    let backend = Backend::start(move |mut peer| {
        let mut wait = wait.clone();
        async move {
            peer.head().await.unwrap();
            wait.wait_for(|go| *go).await.unwrap();
            peer.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n")).await;
            peer.write_bytes(&vec![b'x'; LENGTH]).await;
        }
    })
    .await;
    let world = start(Setup::http(&[backend.address]));
    let link = Link::to(world.world.address).await;
    let mut client = world.client_of(link.address).await;
    let mut request = client.send.send_request(get("/")).await.unwrap();
    request.finish().await.unwrap();
    until("the request", || world.world.stats().requests == 1).await;
    link.is_deaf.store(true, Ordering::SeqCst);
    go.send(true).unwrap();
    until("the response", || world.world.stats().bytes_out > LENGTH as u64).await;
    let _successor = succeed(&world, &world.world).await;
    // Longer than a connection lingers on which nothing is under way.
    assert_eq!(world.world.plane.drain(Duration::from_secs(4)).await, 1);
    link.is_deaf.store(false, Ordering::SeqCst);
    assert_eq!(soon("the response", answer(request)).await.unwrap().body.len(), LENGTH);
    assert_eq!(world.world.plane.drain(PATIENCE).await, 0);
}

/// Clients that make a connection for each request, as fast as they can.
struct Load {
    over: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn on(world: &Arc<Http3World>) -> Self {
        let (over, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..4)
            .map(|_| {
                let (world, over, served) = (world.clone(), over.clone(), served.clone());
                tokio::spawn(async move {
                    while !over.load(Ordering::Relaxed) {
                        assert_eq!(world.client().await.get("/").await.text(), "hi");
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        Self { over, served, clients }
    }

    /// Waits until more requests have been served.
    async fn goes_on(&self) {
        let before = self.served.load(Ordering::Relaxed);
        until("requests", || self.served.load(Ordering::Relaxed) > before + 10).await;
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
async fn no_new_client_fails_while_one_takes_over_from_another_again_and_again() {
    let backend = Backend::fixed("hi").await;
    let world = Arc::new(start(Setup { workers: 2, ..Setup::http(&[backend.address]) }));
    let load = Load::on(&world);
    let mut successors: Vec<World> = Vec::new();
    for _ in 0..5 {
        load.goes_on().await;
        let latest = successors.last().unwrap_or(&world.world);
        let successor = succeed(&world, latest).await;
        assert_eq!(latest.plane.drain(PATIENCE).await, 0);
        successors.push(successor);
    }
    load.goes_on().await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_both_read_nobody_is_reset() {
    let backend = Backend::fixed("hi").await;
    let world = Arc::new(start(Setup { workers: 2, ..Setup::http(&[backend.address]) }));
    let load = Load::on(&world);
    load.goes_on().await;
    let successor = world.successor_of(&world.world);
    let prepared = successor.plane.prepare(world.world.plane.listeners()).unwrap();
    assert!(successor.plane.reconfigure(prepared, None, PATIENCE).over().await);
    // It answers from its first client on, and the predecessor reads some of what that says.
    until("a client", || successor.stats().connections > 0).await;
    world.world.plane.succeeded();
    load.goes_on().await;
    load.end().await;
}

#[tokio::test]
async fn clients_of_a_predecessor_that_dies_learn_it_from_the_successor() {
    let (backend, _go) = told().await;
    let world = start(Setup { workers: 2, ..Setup::http(&[backend.address]) });
    let link = Link::to(world.world.address).await;
    let mut client = world.client_of(link.address).await;
    let mut under_way = client.send.send_request(post("/")).await.unwrap();
    until("the request", || world.world.stats().requests == 1).await;
    let successor = succeed(&world, &world.world).await;
    // It says that it ends, which a process that dies does not.
    link.is_deaf.store(true, Ordering::SeqCst);
    let Http3World { world, .. } = world;
    tokio::task::spawn_blocking(move || drop(world)).await.unwrap();
    link.is_deaf.store(false, Ordering::SeqCst);
    // What it sends, and sends again while nobody acknowledges it, makes the successor answer.
    under_way.send_data(Bytes::from_static(b"hello?")).await.unwrap();
    assert_eq!(soon("a reset", client.connection.closed()).await, ConnectionError::Reset);
    assert_eq!(successor.stats().connections, 0);
}

#[tokio::test]
async fn where_the_successor_does_not_listen_the_predecessor_reads_on_and_refuses_new_clients() {
    let Waiting { world, client, request, go, .. } = waiting().await;
    let successor = world.successor_of(&world.world);
    successor.succeed(&world.world, Vec::new()).await;
    let drained = async {
        assert_eq!(world.world.plane.drain(PATIENCE).await, 0);
    };
    let clients = async {
        // Until it has heard of the drain, and that nobody else reads.
        let refused = async {
            loop {
                if let Err(error) = world.try_connect_to(world.world.address).await {
                    break error;
                }
            }
        };
        let refused = soon("a refusal", refused).await;
        assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused}");
        client.move_on();
        go.send(true).unwrap();
        assert_eq!(soon("the answer", answer(request)).await.unwrap().text(), "ok");
    };
    tokio::join!(drained, clients);
    assert_eq!(successor.plane.stats().quic.forwarded, 0);
}

#[tokio::test]
async fn a_successor_that_dies_leaves_the_predecessors_clients_to_it() {
    let Waiting { world, client, request, go, .. } = waiting().await;
    let successor = succeed(&world, &world.world).await;
    assert_eq!(world.client().await.connection.close_reason(), None);
    tokio::task::spawn_blocking(move || drop(successor)).await.unwrap();
    client.move_on();
    go.send(true).unwrap();
    assert_eq!(soon("the answer", answer(request)).await.unwrap().text(), "ok");
    assert_eq!(world.world.plane.drain(PATIENCE).await, 0);
}

#[tokio::test]
async fn a_process_that_ends_between_two_others_takes_no_connection_with_it() {
    let Waiting { world, client, request, go, .. } = waiting().await;
    let between = succeed(&world, &world.world).await;
    let last = succeed(&world, &between).await;
    assert_eq!(between.plane.drain(PATIENCE).await, 0);
    tokio::task::spawn_blocking(move || drop(between)).await.unwrap();
    client.move_on();
    go.send(true).unwrap();
    assert_eq!(soon("the answer", answer(request)).await.unwrap().text(), "ok");
    until_forwarded(&last).await;
}

#[tokio::test]
async fn so_many_processes_may_drain_at_once_and_no_more() {
    let world = start(Setup::http(&[]));
    let mut worlds: Vec<World> = Vec::new();
    for _ in 0..8 {
        let successor = succeed(&world, worlds.last().unwrap_or(&world.world)).await;
        worlds.push(successor);
    }
    let last = worlds.pop().unwrap();
    let error = last.plane.bequeath().unwrap_err().to_string();
    assert!(error.starts_with("8 processes before this one still have connections of HTTP/3"), "{error}");
    worlds.remove(3);
    last.plane.bequeath().unwrap();
}

#[tokio::test]
async fn a_handshake_that_a_succession_finds_under_way_ends_with_either() {
    let backend = Backend::fixed("hi").await;
    let world = start(Setup { workers: 2, ..Setup::http(&[backend.address]) });
    let link = Link::to(world.world.address).await;
    // The client's first packet is there, and the answer is lost.
    link.is_deaf.store(true, Ordering::SeqCst);
    let client = async {
        let mut client = world.client_of(link.address).await;
        assert_eq!(client.get("/").await.text(), "hi");
    };
    let succession = async {
        until("the handshake", || world.world.stats().connections == 1).await;
        let successor = succeed(&world, &world.world).await;
        link.is_deaf.store(false, Ordering::SeqCst);
        successor
    };
    let ((), successor) = tokio::join!(client, succession);
    assert!(successor.stats().requests + world.world.stats().requests == 1);
}

#[tokio::test]
async fn a_successor_that_dies_at_once_can_be_tried_again() {
    let backend = Backend::fixed("hi").await;
    let world = start(Setup { workers: 2, ..Setup::http(&[backend.address]) });
    let mut client = world.client().await;
    for _ in 0..3 {
        let successor = world.successor_of(&world.world);
        successor.succeed(&world.world, world.world.plane.listeners()).await;
        assert_eq!(client.get("/").await.text(), "hi");
        until_forwarded(&successor).await;
        tokio::task::spawn_blocking(move || drop(successor)).await.unwrap();
        assert_eq!(client.get("/").await.text(), "hi");
        // It takes new clients as before.
        assert_eq!(world.client().await.get("/").await.text(), "hi");
    }
}

#[tokio::test]
async fn connection_ids_that_could_not_be_read_refuse_the_succession() {
    let world = start(Setup::http(&[]));
    let ids = SharedIds { config_id: 0, nonce_length: 11, key: [7; 16], pop: 1, host: 1 };
    let connection_ids = Some(Arc::new(ConnectionIds::shared(&ids).unwrap()));
    let inherited = Some(handed_over(&world.world.plane));
    let config = DataPlaneConfig { connection_ids, inherited, ..Setup::http(&[]).config(Vec::new()) };
    let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
    let error = DataPlane::start(config, &snapshot).unwrap_err();
    assert!(matches!(error, StartError::ConnectionIds(_)), "{error}");
    assert!(error.to_string().contains("`[quic-lb]` is not what the running proximad has"), "{error}");
}

/// Between one client and a server.
struct Link {
    address: SocketAddr,
    /// Nothing that the server says gets through.
    is_deaf: Arc<AtomicBool>,
}

impl Link {
    async fn to(server: SocketAddr) -> Self {
        let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        far.connect(server).await.unwrap();
        let (address, is_deaf) = (near.local_addr().unwrap(), Arc::<AtomicBool>::default());
        let (client, told) = tokio::sync::watch::channel(None);
        let (here, there) = (near.clone(), far.clone());
        tokio::spawn(async move {
            let mut room = vec![0; 2048];
            loop {
                let (count, from) = here.recv_from(&mut room).await.unwrap();
                client.send_replace(Some(from));
                there.send(&room[..count]).await.unwrap();
            }
        });
        let deaf = is_deaf.clone();
        tokio::spawn(async move {
            let mut room = vec![0; 2048];
            loop {
                let count = far.recv(&mut room).await.unwrap();
                let client = told.borrow().unwrap();
                if !deaf.load(Ordering::SeqCst) {
                    near.send_to(&room[..count], client).await.unwrap();
                }
            }
        });
        Self { address, is_deaf }
    }
}
