//! Clients that change their address.

use std::{cell::Cell, net::UdpSocket, sync::atomic::Ordering};

use quinn::ConnectionError;

use crate::support::{Identity, Server, Setup, any, ask, soon};

/// Moves a client under load until its packets have come in at workers that do not own its connection.
async fn move_about(listen: &'static str) {
    let identity = Identity::new(0);
    let server = Server::start(&identity, Setup { listen, ..Setup::default() });
    let client = identity.client(server.address);
    let connection = client.connect(server.address, "localhost").unwrap().await.unwrap();
    // Nobody moves before the handshake is confirmed (RFC 9000 §9).
    ask(&connection, b"at home").await;
    let has_moved = Cell::new(false);
    let load = async {
        let mut asked = 0;
        while !has_moved.get() {
            ask(&connection, &vec![b'x'; 20_000]).await;
            asked += 1;
        }
        asked
    };
    let moves = async {
        // One in four addresses is its owner's.
        while server.forwarding_workers() < 2 {
            client.rebind(UdpSocket::bind(any(server.address)).unwrap()).unwrap();
            ask(&connection, b"I am here now").await;
        }
        has_moved.set(true);
    };
    let (asked, ()) = soon("moving from worker to worker", async { tokio::join!(load, moves) }).await;
    assert!(asked > 0);
    assert_eq!(server.handshakes.load(Ordering::Relaxed), 1, "it is the same connection");
    assert_eq!(server.stats().elsewhere, 0);
}

#[tokio::test]
async fn a_client_that_moves_to_another_workers_socket_goes_on() {
    move_about("127.0.0.1:0").await;
}

#[tokio::test]
async fn a_client_that_moves_goes_on_over_ipv6_too() {
    move_about("[::1]:0").await;
}

#[tokio::test]
async fn clients_are_spread_over_the_workers_and_cost_no_detour() {
    let identity = Identity::new(0);
    let server = Server::start(&identity, Setup::default());
    for _ in 0..24 {
        let client = identity.client(server.address);
        let connection = client.connect(server.address, "localhost").unwrap().await.unwrap();
        ask(&connection, b"hello").await;
    }
    assert_eq!(server.handshakes.load(Ordering::Relaxed), 24);
    assert_eq!(server.stats().forwarded, 0);
}

#[tokio::test]
async fn a_client_is_told_when_its_server_stops() {
    let identity = Identity::new(0);
    let server = Server::start(&identity, Setup::default());
    let client = identity.client(server.address);
    let connection = client.connect(server.address, "localhost").unwrap().await.unwrap();
    ask(&connection, b"hello").await;
    drop(server);
    let why = soon("the end of the connection", connection.closed()).await;
    assert!(matches!(why, ConnectionError::ApplicationClosed(_)), "{why}");
}
