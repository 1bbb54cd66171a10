//! More connections of one address than it may have.

#![allow(clippy::unwrap_used, reason = "test helpers")]
#![allow(clippy::disallowed_methods, reason = "drives real sockets")]

mod common;

use std::{net::SocketAddr, sync::Arc};

use common::{Backend, Peer, Setup, World, soon, until};
use proxima_proxy::{ClientLimits, ConnectionsPerIp};
use tokio::net::TcpSocket;

fn at_most(most: u32, exempt: &[&str]) -> ClientLimits {
    let exempt = exempt.iter().map(|prefix| prefix.parse().unwrap()).collect();
    let limit = ConnectionsPerIp { most: most.try_into().unwrap(), ipv6_prefix: 64, exempt };
    ClientLimits { connections_per_ip: Some(limit), ..ClientLimits::default() }
}

/// A connection of the client at `address`.
async fn client_at(world: &World, address: &str) -> std::io::Result<Peer> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
    Ok(Peer::new(soon("a connection", socket.connect(world.address)).await?))
}

/// That one more connection of the client at `address` is reset without a word.
async fn is_refused(world: &World, address: &str) {
    let before = world.stats().crowded;
    // The reset may come as soon as the connection stands.
    if let Ok(mut client) = client_at(world, address).await {
        assert_eq!(client.rest().await, (Vec::new(), false));
    }
    until("the count", || world.stats().crowded == before + 1).await;
}

#[tokio::test]
async fn connections_beyond_are_reset_whatever_worker_gets_them_and_places_are_free_again_at_once() {
    let backend = Backend::fixed("served").await;
    let setup = Setup { workers: 4, limits: at_most(5, &[]), ..Setup::http(&[backend.address]) };
    let world = setup.start();
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(client_at(&world, "127.0.0.1").await.unwrap());
    }
    until("the clients", || world.stats().open == 5).await;
    for _ in 0..10 {
        is_refused(&world, "127.0.0.1").await;
    }
    for client in &mut open {
        assert_eq!(client.get("/").await.text(), "served");
    }
    assert_eq!(client_at(&world, "127.0.0.2").await.unwrap().get("/").await.text(), "served");
    for _ in 0..3 {
        let open_now = world.stats().open;
        drop(open.pop());
        until("a client's end", || world.stats().open < open_now).await;
        let mut client = client_at(&world, "127.0.0.1").await.unwrap();
        assert_eq!(client.get("/").await.text(), "served");
        open.push(client);
        is_refused(&world, "127.0.0.1").await;
    }
    let stats = world.stats();
    assert_eq!((stats.crowded, stats.shed, stats.connections), (13, 0, 9));
}

#[tokio::test]
async fn relayed_connections_count_too() {
    let backend = Backend::start(|mut peer| async move {
        let bytes = peer.exactly(4).await;
        peer.write_bytes(&bytes).await;
        peer.rest().await;
    })
    .await;
    let world = Setup { limits: at_most(1, &[]), ..Setup::tcp(&[backend.address]) }.start();
    let mut client = client_at(&world, "127.0.0.1").await.unwrap();
    until("the client", || world.stats().open == 1).await;
    is_refused(&world, "127.0.0.1").await;
    client.write("ping").await;
    assert_eq!(client.exactly(4).await, b"ping");
    assert_eq!(backend.seen(), 1);
}

#[tokio::test]
async fn exempt_addresses_may_have_any_number() {
    let backend = Backend::fixed("served").await;
    let limits = at_most(1, &["192.0.2.0/24", "127.0.0.0/31"]);
    let world = Setup { limits, ..Setup::http(&[backend.address]) }.start();
    let mut exempt = Vec::new();
    for _ in 0..5 {
        exempt.push(client_at(&world, "127.0.0.1").await.unwrap());
    }
    for client in &mut exempt {
        assert_eq!(client.get("/").await.text(), "served");
    }
    let _other = client_at(&world, "127.0.0.2").await.unwrap();
    until("all of them", || world.stats().open == 6).await;
    is_refused(&world, "127.0.0.2").await;
}

#[tokio::test]
async fn a_new_limit_holds_for_the_next_connection_and_closes_none() {
    let backend = Backend::fixed("served").await;
    let mut setup = Setup::http(&[backend.address]);
    let world = setup.start();
    let mut before = client_at(&world, "127.0.0.1").await.unwrap();
    assert_eq!(before.get("/").await.text(), "served");
    setup.limits = at_most(1, &[]);
    world.snapshot.store(Arc::new(setup.snapshot()));
    // What was there before does not count.
    let mut counted = client_at(&world, "127.0.0.1").await.unwrap();
    assert_eq!(counted.get("/").await.text(), "served");
    is_refused(&world, "127.0.0.1").await;
    assert_eq!(before.get("/").await.text(), "served");
    setup.limits = ClientLimits::default();
    world.snapshot.store(Arc::new(setup.snapshot()));
    assert_eq!(client_at(&world, "127.0.0.1").await.unwrap().get("/").await.text(), "served");
    assert_eq!(counted.get("/").await.text(), "served");
}
