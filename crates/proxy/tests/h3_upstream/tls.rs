//! Whom backends have to be, and who we are to them.

use http::Response;
use proxima_proxy::{
    Authorities, Handshake, Identity, Reason, TlsClient, TlsClientOptions, UpstreamProtocol,
};
use quinn::TransportConfig;

use crate::{
    backend::{Backend, Raw, endpoint, setup},
    common::{Setup, World},
    pki::{Authority, Issued},
    support::headers,
};

fn tls(authority: &Authority, server_name: Option<&str>, identity: Option<&Identity>) -> TlsClient {
    let authorities = Authorities::Only(authority.chain());
    let protocol = UpstreamProtocol::Http3;
    TlsClient::new(&TlsClientOptions { authorities: &authorities, server_name, protocol, identity }).unwrap()
}

fn world(backend: &Backend, tls: TlsClient) -> World {
    let upstream = UpstreamProtocol::Http3;
    Setup { upstream, backend_tls: Some(tls), ..Setup::http(&[backend.address]) }.start()
}

fn backend(issued: &Issued, clients: Option<&Authority>) -> Backend {
    let (endpoint, address) = endpoint(issued, clients, TransportConfig::default());
    Backend::over(endpoint, address, |_, mut stream| async move {
        let _ = stream.send_response(Response::new(())).await;
        let _ = stream.finish().await;
    })
}

fn failures(world: &World, reason: Reason) -> u64 {
    let stats = world.plane.stats();
    stats.backends.values().next().unwrap().failures.get(&reason).copied().unwrap_or(0)
}

#[tokio::test]
async fn backends_have_to_be_who_they_are_said_to_be() {
    let (authority, other) = (Authority::new(), Authority::new());
    let named = backend(&authority.issue(&["app.internal"]), None);
    let good = world(&named, tls(&authority, Some("app.internal"), None));
    assert_eq!(good.client().await.get("/").await.status, 200);
    for wrong in [
        tls(&authority, Some("other.internal"), None),
        tls(&authority, None, None),
        tls(&other, Some("app.internal"), None),
    ] {
        let world = world(&named, wrong);
        assert_eq!(world.client().await.get("/").await.status, 502);
        assert_eq!(failures(&world, Reason::Tls), 1);
    }
}

#[tokio::test]
async fn a_certificate_of_ours_is_shown_to_backends_that_ask_for_one() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let asking = backend(&authority.issue(&["127.0.0.1"]), Some(&clients));
    let identity = clients.issue(&["proxima"]).identity();
    let known = world(&asking, tls(&authority, None, Some(&identity)));
    assert_eq!(known.client().await.get("/").await.status, 200);
    let nobody = world(&asking, tls(&authority, None, None));
    assert_eq!(nobody.client().await.get("/").await.status, 502);
}

#[tokio::test]
async fn a_second_client_shares_the_connection_of_the_first() {
    let authority = Authority::new();
    let backend = backend(&authority.issue(&["127.0.0.1"]), None);
    let world = world(&backend, tls(&authority, None, None));
    assert_eq!(world.client().await.get("/").await.status, 200);
    assert_eq!(world.client().await.get("/").await.status, 200);
    assert_eq!(backend.seen(), 1);
}

#[tokio::test]
async fn handshakes_are_counted_and_go_on_with_earlier_sessions() {
    let authority = Authority::new();
    let backend = Raw::start(&authority, TransportConfig::default());
    let world = setup(&authority, &[backend.address]).start();
    for _ in 0..3 {
        let mut client = world.client().await;
        client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let connection = backend.accept().await;
        let (mut send, _receive, _) = connection.request().await;
        send.write_all(&headers(&[(":status", "204")])).await.unwrap();
        send.finish().unwrap();
        assert_eq!(client.response().await.status, 204);
        connection.connection.close(0u32.into(), b"");
    }
    let stats = world.plane.stats();
    let counted = stats.backends.values().next().unwrap();
    assert_eq!(counted.handshakes, [(Handshake::Full13, 1), (Handshake::Resumed13, 2)].into());
    assert_eq!(counted.connects, 3);
}

#[tokio::test]
async fn handshakes_that_fail_are_not_counted_as_done() {
    let (authority, other) = (Authority::new(), Authority::new());
    let named = backend(&authority.issue(&["127.0.0.1"]), None);
    let world = world(&named, tls(&other, None, None));
    assert_eq!(world.client().await.get("/").await.status, 502);
    assert!(world.plane.stats().backends.values().all(|backend| backend.handshakes.is_empty()));
    assert_eq!(failures(&world, Reason::Tls), 1);
}
