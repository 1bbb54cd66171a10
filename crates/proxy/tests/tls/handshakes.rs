//! Handshakes that come to nothing, and that each is counted by why.

use std::{sync::Arc, time::Duration};

use proxima_proxy::{ClientLimits, ConnectionsPerIp, HandshakeFailure, ServiceStats};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, ClientConfig},
};

use super::{
    common::{Backend, Peer, Setup, World, soon, until},
    pki::{Authority, Wanted},
};

async fn world(authority: &Authority) -> World {
    let issued = authority.issue(&["a.example"]);
    let backend = Backend::fixed("hi").await;
    let tls = Wanted::new(&[&issued]).server();
    Setup { header_timeout: Duration::from_millis(200), ..Setup::https(&[backend.address], tls) }.start()
}

async fn counted(world: &World, reason: HandshakeFailure) {
    let failures = |stats: ServiceStats| stats.handshake_failures;
    until("a failed handshake", || !failures(world.stats()).is_empty()).await;
    assert_eq!(failures(world.stats()), [(reason, 1)].into());
    until("the end of the connection", || world.stats().open == 0).await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed_at_the_deadline_of_a_head() {
    let world = world(&Authority::new()).await;
    let mut client = world.client().await;
    client.closed().await;
    counted(&world, HandshakeFailure::Slow).await;
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_as_gone() {
    let world = world(&Authority::new()).await;
    drop(world.client().await);
    counted(&world, HandshakeFailure::Gone).await;
}

#[tokio::test]
async fn plain_http_is_no_tls() {
    let world = world(&Authority::new()).await;
    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.closed().await;
    counted(&world, HandshakeFailure::NotTls).await;
    assert_eq!(world.stats().requests, 0);
}

#[tokio::test]
async fn a_client_that_offers_other_protocols_only_is_refused_and_one_that_offers_none_is_not() {
    let authority = Authority::new();
    let world = world(&authority).await;
    let offering = |protocols: &[&[u8]]| {
        let mut config: ClientConfig = (**authority.client(rustls::ALL_VERSIONS).config()).clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    };
    assert!(world.try_tls_client(&offering(&[b"spdy/3"]), "a.example").await.is_err());
    counted(&world, HandshakeFailure::Alpn).await;
    for protocols in [&[][..], &[&b"spdy/3"[..], b"http/1.1"]] {
        let mut client = world.tls_client(&offering(protocols), "a.example").await;
        assert_eq!(client.get("/").await.text(), "hi");
    }
}

#[tokio::test]
async fn a_client_that_does_not_trust_us_says_so() {
    let world = world(&Authority::new()).await;
    let connector = Authority::new().client(rustls::ALL_VERSIONS);
    assert!(world.try_tls_client(&connector, "a.example").await.is_err());
    counted(&world, HandshakeFailure::Alert).await;
}

#[tokio::test]
async fn a_handshake_under_way_does_not_hold_up_a_drain() {
    let authority = Authority::new();
    let issued = authority.issue(&["a.example"]);
    let world = Setup::https(&[], Wanted::new(&[&issued]).server()).start();
    let _silent = world.client().await;
    until("a connection", || world.stats().open == 1).await;
    let left = soon("the end of the drain", world.plane.drain(Duration::from_mins(1))).await;
    assert_eq!(left, 0);
}

#[tokio::test]
async fn connections_beyond_those_an_address_may_have_end_before_any_handshake() {
    let authority = Authority::new();
    let tls = Wanted::new(&[&authority.issue(&["a.example"])]).server();
    let backend = Backend::fixed("hi").await;
    let limit = ConnectionsPerIp { most: 1.try_into().unwrap(), ipv6_prefix: 64, exempt: Vec::new() };
    let limits = ClientLimits { connections_per_ip: Some(limit), ..ClientLimits::default() };
    let world = Setup { limits, ..Setup::https(&[backend.address], tls) }.start();
    let _first = world.client().await;
    until("the client", || world.stats().open == 1).await;
    // The reset may come as soon as the connection stands.
    if let Ok(stream) = tokio::net::TcpStream::connect(world.address).await {
        assert_eq!(Peer::over(stream).rest().await, (Vec::new(), false));
    }
    until("the count", || world.stats().crowded == 1).await;
    assert!(world.stats().handshake_failures.is_empty());
}
