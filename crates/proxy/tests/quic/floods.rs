//! First packets of clients that are not who they seem to be, or are too many.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proxima_proxy::quic::Limits;
use tokio::{net::UdpSocket, sync::watch, task::JoinHandle};

use crate::support::{Identity, Server, Setup, any, ask, soon};

/// A way to the server on which nothing comes back: as for a client with a forged address.
struct OneWay {
    address: SocketAddr,
    sent: Arc<AtomicUsize>,
    returned: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl OneWay {
    async fn to(server: SocketAddr) -> Self {
        let inside = UdpSocket::bind(any(server)).await.unwrap();
        let outside = UdpSocket::bind(any(server)).await.unwrap();
        outside.connect(server).await.unwrap();
        let address = inside.local_addr().unwrap();
        let sent = Arc::<AtomicUsize>::default();
        let (tell, returned) = watch::channel(0);
        let counted = sent.clone();
        let task = tokio::spawn(async move {
            let (mut there, mut back) = ([0; 2048], [0; 2048]);
            loop {
                tokio::select! {
                    Ok((count, _)) = inside.recv_from(&mut there) => {
                        counted.fetch_add(count, Ordering::SeqCst);
                        outside.send(&there[..count]).await.unwrap();
                    }
                    Ok(count) = outside.recv(&mut back) => {
                        tell.send_modify(|sum| *sum += count);
                        let (sum, sent) = (*tell.borrow(), counted.load(Ordering::SeqCst));
                        assert!(sum <= 3 * sent, "{sum} octets for {sent}: RFC 9000 §8.1");
                    }
                }
            }
        });
        Self { address, sent, returned, task }
    }
}

impl Drop for OneWay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_forged_address_gets_three_times_what_was_sent_in_its_name_at_most() {
    // A certificate that does not fit into three datagrams.
    let identity = Identity::new(120);
    let server = Server::start(&identity, Setup::default());
    let mut way = OneWay::to(server.address).await;
    let client = identity.client(way.address);
    let connecting = client.connect(way.address, "localhost").unwrap();
    let reached = async {
        // The client sends again and again, and the server answers each time.
        while way.sent.load(Ordering::SeqCst) < 4 * 1200 || *way.returned.borrow() < 2 * 4 * 1200 {
            way.returned.changed().await.expect("the way breaks on more than three times as much");
        }
    };
    soon("answers up to the limit", reached).await;
    drop(connecting);
    assert!(!way.task.is_finished());
    assert_eq!(server.handshakes.load(Ordering::Relaxed), 0);
}

/// Begins a handshake that the server never hears the end of.
async fn occupy(identity: &Identity, server: &Server) -> (OneWay, quinn::Endpoint, quinn::Connecting) {
    let mut way = OneWay::to(server.address).await;
    let client = identity.client(way.address);
    let connecting = client.connect(way.address, "localhost").unwrap();
    soon("the server's answer", way.returned.changed()).await.unwrap();
    (way, client, connecting)
}

#[tokio::test]
async fn with_many_forged_addresses_a_client_has_to_show_that_its_own_is_true() {
    let identity = Identity::new(0);
    let limits = Limits { retry_above: 2, ..Limits::default() };
    let server = Server::start(&identity, Setup { workers: 1, limits, ..Setup::default() });
    let first = occupy(&identity, &server).await;
    let second = occupy(&identity, &server).await;
    assert_eq!(server.stats().retries, 0);
    let client = identity.client(server.address);
    let connection = client.connect(server.address, "localhost").unwrap();
    let connection = soon("a connection by way of a Retry", connection).await.unwrap();
    ask(&connection, b"hello").await;
    assert!(server.stats().retries >= 1);
    drop((first, second));
}

#[tokio::test]
async fn first_packets_beyond_the_limit_of_handshakes_come_again() {
    let identity = Identity::new(0);
    let limits = Limits { handshakes: 1, ..Limits::default() };
    let deadline = Duration::from_millis(300);
    let server = Server::start(&identity, Setup { workers: 1, limits, deadline, ..Setup::default() });
    let held = occupy(&identity, &server).await;
    let client = identity.client(server.address);
    let connection = client.connect(server.address, "localhost").unwrap();
    let connection = soon("a connection once there is room", connection).await.unwrap();
    ask(&connection, b"hello").await;
    assert!(server.stats().crowded >= 1);
    assert!(server.stats().failed >= 1);
    drop(held);
}

#[tokio::test]
async fn a_retry_is_followed_to_the_worker_that_gave_it_and_ends_in_a_connection() {
    let identity = Identity::new(0);
    let limits = Limits { retry_above: 0, ..Limits::default() };
    let server = Server::start(&identity, Setup { limits, ..Setup::default() });
    for _ in 0..8 {
        let client = identity.client(server.address);
        let connection = client.connect(server.address, "localhost").unwrap();
        ask(&soon("a connection", connection).await.unwrap(), b"hello").await;
    }
    assert_eq!(server.stats().retries, 8);
}

#[tokio::test]
async fn datagrams_that_are_no_quic_do_no_harm() {
    let identity = Identity::new(0);
    let server = Server::start(&identity, Setup::default());
    let stranger = UdpSocket::bind(any(server.address)).await.unwrap();
    let datagrams: [&[u8]; 5] = [&[], &[0x40], &[0xff; 7], &[0; 1200], &[0xc0; 1200]];
    for datagram in datagrams {
        stranger.send_to(datagram, server.address).await.unwrap();
    }
    let client = identity.client(server.address);
    let connection = client.connect(server.address, "localhost").unwrap().await.unwrap();
    ask(&connection, b"hello").await;
}
