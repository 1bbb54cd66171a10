//! Clients that do not do their part are not waited for.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proxima_proxy::Timeouts;
use quinn::{ConnectionError, TransportConfig};
use tokio::net::UdpSocket;

use crate::{
    common::{Backend, PATIENCE, Setup, soon, until},
    support::{GET, Http3World, headers, start, uni},
};

const SOON: Duration = Duration::from_millis(300);

fn impatient(backend: &Backend) -> Setup {
    Setup {
        timeouts: Timeouts { idle: SOON, ..Timeouts::default() },
        keep_alive: SOON,
        header_timeout: SOON,
        ..Setup::http(&[backend.address])
    }
}

/// A client whose connection does not end by itself.
fn alive() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_millis(100)));
    transport
}

/// The way between a client and the proxy.
struct Relay {
    /// For the client.
    address: SocketAddr,
    client: UdpSocket,
    proxy: UdpSocket,
}

impl Relay {
    async fn to(world: &Http3World) -> Self {
        let [client, proxy] =
            [UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap()];
        proxy.connect(world.world.address).await.unwrap();
        Self { address: client.local_addr().unwrap(), client, proxy }
    }

    /// Lets everything pass but longer datagrams of the proxy's than `most`.
    async fn run(self, most: Arc<AtomicUsize>) {
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        let mut client = None;
        loop {
            tokio::select! {
                received = self.client.recv_from(&mut up) => {
                    let (length, from) = received.unwrap();
                    client = Some(from);
                    // The proxy may have gone by then.
                    let _ = self.proxy.send(&up[..length]).await;
                }
                received = self.proxy.recv(&mut down) => {
                    if let (Ok(length), Some(client)) = (received, client)
                        && length <= most.load(Ordering::Relaxed)
                    {
                        self.client.send_to(&down[..length], client).await.unwrap();
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn one_that_grants_no_stream_for_settings_is_closed() {
    let backend = Backend::fixed("hello").await;
    let world = start(impatient(&backend));
    let mut transport = alive();
    transport.max_concurrent_uni_streams(0u32.into());
    let (_endpoint, connection) = world.try_connect(transport).await.unwrap();
    let why = soon("the end", connection.closed()).await;
    let general_protocol_error = 0x101u32.into();
    assert!(
        matches!(&why, ConnectionError::ApplicationClosed(it) if it.error_code == general_protocol_error),
        "{why}"
    );
    until("the count", || world.world.stats().open == 0).await;
    assert_eq!(world.world.stats().refused.get("h3-protocol"), Some(&1));
}

#[tokio::test]
async fn one_that_never_acknowledges_its_response_rests_as_others_do() {
    let body: &'static str = Box::leak("x".repeat(3000).into_boxed_str());
    let backend = Backend::fixed(body).await;
    let world = start(impatient(&backend));
    let (relay, most) = (Relay::to(&world).await, Arc::new(AtomicUsize::new(usize::MAX)));
    let address = relay.address;
    let relaying = tokio::spawn(relay.run(most.clone()));
    let (_endpoint, connection) = world.try_connect_with(address, alive()).await.unwrap();
    let _control = uni(&connection, &[0, 4, 0]).await;
    until("the client", || world.world.stats().idle == 1).await;
    // What is as long as a piece of the body gets lost from now on.
    most.store(300, Ordering::Relaxed);
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(&headers(&GET)).await.unwrap();
    send.finish().unwrap();
    soon("the end", connection.closed()).await;
    until("the count", || world.world.stats().open == 0).await;
    assert_eq!((world.world.stats().requests, world.world.stats().responses[1]), (1, 1));
    relaying.abort();
}

#[tokio::test]
async fn a_handshake_under_way_does_not_hold_up_a_drain() {
    let backend = Backend::fixed("hello").await;
    let world = start(Setup { header_timeout: PATIENCE * 2, ..Setup::http(&[backend.address]) });
    // Nothing of the proxy's arrives.
    let relay = Relay::to(&world).await;
    let address = relay.address;
    let relaying = tokio::spawn(relay.run(Arc::default()));
    let connecting = world.try_connect_with(address, TransportConfig::default());
    tokio::select! {
        connected = connecting => panic!("{:?}", connected.map(drop)),
        () = until("a handshake", || world.world.stats().open == 1) => {}
    }
    let left = soon("the end of the drain", world.world.plane.drain(PATIENCE * 2)).await;
    assert_eq!(left, 0);
    relaying.abort();
}

#[tokio::test]
async fn a_first_packet_that_is_no_good_takes_nobodys_place() {
    let backend = Backend::fixed("hello").await;
    let world = start(Setup { max_descriptors: Some(5), ..Setup::http(&[backend.address]) });
    let relay = Relay::to(&world).await;
    let mut first = vec![0; 65_536];
    let connecting = world.try_connect_with(relay.address, TransportConfig::default());
    let length = tokio::select! {
        connected = connecting => panic!("{:?}", connected.map(drop)),
        received = relay.client.recv_from(&mut first) => received.unwrap().0,
    };
    first[length - 1] ^= 1;
    relay.proxy.send(&first[..length]).await.unwrap();
    until("its refusal", || world.world.plane.stats().quic.failed == 1).await;
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.text(), "hello");
    assert_eq!((world.world.stats().shed, world.world.stats().connections), (0, 1));
}
