//! More clients than file descriptors.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use common::{Backend, Peer, Setup, World, until};
use tokio::{net::TcpStream, sync::Semaphore};

/// What is kept for refusals, and two descriptors for each of two clients.
const FOR_TWO: usize = 4 + 2 * 2;

/// Far more than are set aside, and room for few.
const FOR_FEW: usize = 64;

/// A backend that answers each request when it is let.
async fn held() -> (Backend, Arc<Semaphore>) {
    let let_go = Arc::new(Semaphore::new(0));
    let semaphore = let_go.clone();
    let backend = Backend::start(move |mut peer| {
        let semaphore = semaphore.clone();
        async move {
            while peer.head().await.is_some() {
                semaphore.acquire().await.unwrap().forget();
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nserved").await;
            }
        }
    })
    .await;
    (backend, let_go)
}

/// Clients whose requests are under way.
async fn busy_clients(world: &World, count: u64) -> Vec<Peer> {
    let before = world.stats().requests;
    let mut clients = connected_clients(world, count as usize).await;
    for client in &mut clients {
        client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    }
    until("requests", || world.stats().requests == before + count).await;
    clients
}

/// Clients that ask for nothing, and are known not to.
async fn resting_clients(world: &World, count: usize) -> Vec<Peer> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let before = world.stats();
        clients.push(world.client().await);
        until("a client at rest", || {
            let now = world.stats();
            now.connections > before.connections && now.idle + now.evicted > before.idle + before.evicted
        })
        .await;
    }
    clients
}

async fn connected_clients(world: &World, count: usize) -> Vec<Peer> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(world.client().await);
    }
    clients
}

#[tokio::test]
async fn clients_beyond_the_limit_are_told_503_and_the_others_served_on() {
    let (backend, let_go) = held().await;
    let setup = Setup { max_descriptors: Some(FOR_TWO), ..Setup::http(&[backend.address]) };
    let world = setup.start();
    let mut served = busy_clients(&world, 2).await;

    let mut beyond = world.client().await;
    let answer = beyond.get("/").await;
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("Connection: close"), "{}", answer.head);
    assert!(answer.head.contains("Proxy-Status: fra1; error=proxy_internal_response"), "{}", answer.head);
    assert!(beyond.rest().await.1, "the connection ends in order");
    let_go.add_permits(10);
    for client in &mut served {
        assert_eq!(client.response().await.text(), "served");
        assert_eq!(client.get("/").await.text(), "served");
    }
    let stats = world.stats();
    assert_eq!((stats.shed, stats.connections, stats.open), (1, 2, 2));

    served.pop();
    until("a client's end", || world.stats().open == 1).await;
    assert_eq!(world.client().await.get("/").await.text(), "served");
}

#[tokio::test]
async fn a_client_that_comes_back_from_a_rest_when_all_places_are_promised_is_told_503() {
    let (backend, let_go) = held().await;
    let world = Setup { max_descriptors: Some(FOR_TWO), ..Setup::http(&[backend.address]) }.start();
    let mut clients = resting_clients(&world, 3).await;
    clients[0].write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("a request", || world.stats().requests == 1).await;
    let shed = clients[1].get("/").await;
    assert_eq!(shed.status, 503, "{}", shed.head);
    assert!(clients[1].rest().await.1, "the connection ends in order");
    let_go.add_permits(10);
    assert_eq!(clients[0].response().await.status, 200);
    assert_eq!(clients[2].get("/").await.status, 200);
    assert_eq!(world.stats().shed, 1);
}

#[tokio::test]
async fn clients_that_have_rested_longest_make_room_for_new_ones() {
    let backend = Backend::fixed("served").await;
    let world = Setup { max_descriptors: Some(FOR_FEW), ..Setup::http(&[backend.address]) }.start();
    let mut clients = Vec::new();
    for number in 0..150 {
        let mut client = world.client().await;
        assert_eq!(client.get("/").await.text(), "served", "{number}");
        let served = number + 1;
        until("a rest", || world.stats().idle + world.stats().evicted == served).await;
        clients.push(client);
    }
    let stats = world.stats();
    assert_eq!((stats.shed, stats.connections), (0, 150));
    assert_eq!(stats.evicted + stats.open, 150);
    assert!(stats.open > FOR_FEW as u64 / 2 && stats.open < FOR_FEW as u64, "{}", stats.open);
    for (number, mut client) in clients.drain(..stats.evicted as usize).enumerate() {
        assert_eq!(client.rest().await, (Vec::new(), true), "{number} is closed in order");
    }
    for client in &mut clients {
        assert_eq!(client.get("/").await.text(), "served");
    }
    assert_eq!(world.stats().shed, 0);
}

#[tokio::test]
async fn clients_at_rest_make_room_for_requests_of_others_and_busy_ones_never() {
    let (backend, let_go) = held().await;
    let world = Setup { max_descriptors: Some(FOR_FEW), ..Setup::http(&[backend.address]) }.start();
    let mut busy = busy_clients(&world, 10).await;
    let mut resting = resting_clients(&world, 60).await;
    let evicted = world.stats().evicted;
    let mut last = resting.split_off(50);
    for client in &mut last {
        client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    }
    until("their requests", || world.stats().requests == 20).await;
    until("others to leave for them", || world.stats().evicted > evicted).await;
    let_go.add_permits(20);
    for client in busy.iter_mut().chain(&mut last) {
        assert_eq!(client.response().await.text(), "served");
    }
    assert_eq!(world.stats().shed, 0);
}

#[tokio::test]
async fn a_crowd_takes_no_more_descriptors_than_a_few() {
    let (backend, _let_go) = held().await;
    let setup = Setup { max_descriptors: Some(FOR_TWO), ..Setup::http(&[backend.address]) };
    let world = setup.start();
    let _served = busy_clients(&world, 2).await;
    let mut crowd: tokio::task::JoinSet<_> = (0..50).map(|_| TcpStream::connect(world.address)).collect();
    let mut waiting = Vec::new();
    while let Some(connected) = crowd.join_next().await {
        // A reset may come as soon as the connection stands.
        waiting.extend(connected.unwrap().ok());
    }
    until("all to be turned away", || world.stats().shed == 50).await;
    let stats = world.stats();
    assert_eq!((stats.open, stats.connections), (2, 2));
    for stream in waiting {
        let (answer, _) = Peer { stream, buffer: Vec::new() }.rest().await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 503 "), "{}", answer.escape_ascii());
    }
}

#[tokio::test]
async fn relayed_connections_beyond_the_limit_are_reset() {
    let backend = Backend::start(|mut peer| async move {
        let bytes = peer.exactly(4).await;
        peer.write_bytes(&bytes).await;
        peer.rest().await;
    })
    .await;
    let setup = Setup { max_descriptors: Some(FOR_TWO), ..Setup::tcp(&[backend.address]) };
    let world = setup.start();
    let mut served = connected_clients(&world, 2).await;
    until("two clients", || world.stats().open == 2).await;
    match TcpStream::connect(world.address).await {
        Ok(stream) => assert_eq!(Peer { stream, buffer: Vec::new() }.rest().await, (Vec::new(), false)),
        // It may come as soon as the connection stands.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    for client in &mut served {
        client.write("ping").await;
        assert_eq!(client.exactly(4).await, b"ping");
    }
    drop(served);
    until("the clients' end", || world.stats().open == 0).await;
    let mut client = world.client().await;
    client.write("pong").await;
    assert_eq!(client.exactly(4).await, b"pong");
    assert_eq!((world.stats().shed, backend.seen()), (1, 3));
}

#[tokio::test]
async fn connections_at_rest_make_room_for_new_ones() {
    let open = Arc::<AtomicUsize>::default();
    let mut backends = Vec::new();
    for _ in 0..12 {
        let open = open.clone();
        let script = move |mut peer: Peer| {
            let open = open.clone();
            async move {
                open.fetch_add(1, Ordering::SeqCst);
                while peer.head().await.is_some() {
                    peer.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                }
                open.fetch_sub(1, Ordering::SeqCst);
            }
        };
        backends.push(Backend::start(script).await);
    }
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let mut setup = Setup { max_descriptors: Some(FOR_TWO), ..Setup::http(&addresses) };
    let world = setup.start();
    let mut client = world.client().await;
    for (nearest, backend) in backends.iter().enumerate() {
        for (index, (_, tier, _)) in setup.backends.iter_mut().enumerate() {
            *tier = u8::from(index != nearest);
        }
        world.snapshot.store(Arc::new(setup.snapshot()));
        assert_eq!(client.get("/").await.status, 200);
        until("room", || open.load(Ordering::SeqCst) < FOR_TWO).await;
        assert_eq!(backend.seen(), 1);
    }
    assert_eq!(open.load(Ordering::SeqCst), FOR_TWO - 1, "connections rest while there is room");
    assert_eq!((world.stats().shed, world.stats().open), (0, 1));
}
