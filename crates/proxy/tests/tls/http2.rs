//! HTTP/2 over TLS: the version is what ALPN agreed on.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_rustls::{TlsConnector, rustls};

use super::{
    common::{Backend, Setup, World, field},
    pki::{Authority, Wanted},
    programs::{curl, h2load},
};

fn world(authority: &Authority, backend: &Backend) -> World {
    let issued = authority.issue(&["a"]);
    Setup::https(&[backend.address], Wanted::new(&[&issued]).server()).start()
}

#[tokio::test]
async fn curl_speaks_the_version_it_asks_for_and_http2_when_it_knows_both() {
    let (heads, mut seen) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let heads = heads.clone();
        async move {
            while let Some(head) = peer.head().await {
                heads.send(head).unwrap();
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
            }
        }
    })
    .await;
    let authority = Authority::new();
    let world = world(&authority, &backend);
    for (flag, version) in
        [("--http2", "2"), ("--http1.1", "1.1"), ("--http1.0", "1.1"), ("--no-alpn", "1.1")]
    {
        let more = [flag, "--write-out", " %{http_version}"];
        let said = curl(world.address, "a", &authority.file(), &more).await;
        assert_eq!(said.out, format!("hi {version}"), "{flag}: {said:?}");
        let head = seen.recv().await.unwrap();
        assert_eq!(field(&head, "x-forwarded-proto"), Some("https"), "{flag}: {head}");
        assert!(field(&head, "forwarded").unwrap().contains("proto=https"), "{flag}: {head}");
    }
}

#[tokio::test]
async fn h2load_finds_every_request_answered() {
    let backend = Backend::fixed("served").await;
    let world = world(&Authority::new(), &backend);
    let said = h2load(world.address, 1000).await;
    assert!(said.out.contains("1000 done, 1000 succeeded, 0 failed, 0 errored"), "{said:?}");
    assert!(said.out.contains("Application protocol: h2"), "{said:?}");
    assert_eq!(world.stats().responses, [0, 1000, 0, 0, 0]);
}

/// RFC 9113 §3.2, §3.3: prior knowledge is for plain text.
#[tokio::test]
async fn the_preface_of_http2_is_no_request_where_http1_was_agreed_on() {
    let backend = Backend::fixed("hi").await;
    let authority = Authority::new();
    let world = world(&authority, &backend);
    let mut config = (**authority.client(rustls::ALL_VERSIONS).config()).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut client = world.tls_client(&TlsConnector::from(Arc::new(config)), "a").await;
    client.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let response = client.response().await;
    assert!(matches!(response.status, 400 | 505), "{}", response.head);
    assert_eq!(backend.seen(), 0);
}
