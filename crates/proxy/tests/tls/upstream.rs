//! TLS to backends: whom we trust, who we are to them, and connections and sessions that are used again.

use std::{
    future::Future,
    sync::{Arc, Mutex},
};

use proxima_proxy::{
    Authorities, BackendStats, Handshake, Identity, Protocol, Reason, TlsClient, TlsClientOptions,
    UpstreamProtocol,
};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};

use super::{
    common::{Backend, Peer, Setup, World, soon},
    pki::{Authority, Issued},
    programs::Nginx,
};

type Secured = Peer<TlsStream<TcpStream>>;

/// A backend that speaks TLS; connections whose handshake fails come to nothing.
async fn backend<F, T>(config: ServerConfig, script: F) -> Backend
where
    F: Fn(Secured) -> T + Clone + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Backend::start(move |peer| {
        let (acceptor, script) = (acceptor.clone(), script.clone());
        async move {
            if let Ok(stream) = soon("a handshake", acceptor.accept(peer.stream)).await {
                script(Peer::over(stream)).await;
            }
        }
    })
    .await
}

/// Of backends that ask for a certificate of `clients`.
fn config(issued: &Issued, clients: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).map(Result::unwrap).collect();
    builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap()).unwrap()
}

/// To backends of `authority`.
fn tls(authority: &Authority, server_name: Option<&str>, identity: Option<&Identity>) -> TlsClient {
    let authorities = Authorities::Only(authority.chain());
    let protocol = UpstreamProtocol::Http1;
    TlsClient::new(&TlsClientOptions { authorities: &authorities, server_name, protocol, identity }).unwrap()
}

fn world(backends: &[&Backend], tls: TlsClient) -> World {
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    Setup { backend_tls: Some(tls), ..Setup::http(&addresses) }.start()
}

fn counted(world: &World, backend: &str) -> BackendStats {
    world.plane.stats().backends.remove(&backend.parse().unwrap()).unwrap()
}

const HI: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

async fn say_hi(mut peer: Secured) {
    while peer.head().await.is_some() {
        peer.write(HI).await;
    }
}

#[tokio::test]
async fn requests_go_over_one_connection_to_the_name_that_is_configured() {
    let authority = Authority::new();
    let names = Arc::<Mutex<Vec<_>>>::default();
    let seen = names.clone();
    let backend = backend(config(&authority.issue(&["app.internal"]), None), move |peer: Secured| {
        seen.lock().unwrap().push(peer.stream.get_ref().1.server_name().map(str::to_owned));
        say_hi(peer)
    })
    .await;
    let world = world(&[&backend], tls(&authority, Some("app.internal"), None));
    let mut client = world.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "hi");
    }
    assert_eq!(*names.lock().unwrap(), [Some("app.internal".to_owned())]);
    let counted = counted(&world, "app/b0");
    assert_eq!((counted.connects, counted.reuses), (1, 2));
    assert_eq!(counted.handshakes, [(Handshake::Full13, 1)].into());
}

#[tokio::test]
async fn without_a_name_the_certificate_has_to_have_the_address() {
    let authority = Authority::new();
    let good = backend(config(&authority.issue(&["127.0.0.1"]), None), |peer: Secured| async move {
        assert_eq!(peer.stream.get_ref().1.server_name(), None);
        say_hi(peer).await;
    })
    .await;
    assert_eq!(world(&[&good], tls(&authority, None, None)).client().await.get("/").await.text(), "hi");
    let other = backend(config(&authority.issue(&["app.internal"]), None), say_hi).await;
    let world = world(&[&other], tls(&authority, None, None));
    assert_eq!(world.client().await.get("/").await.status, 502);
}

#[tokio::test]
async fn sessions_go_on_with_the_next_connection() {
    let authority = Authority::new();
    let backend = backend(config(&authority.issue(&["a"]), None), |mut peer: Secured| async move {
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi").await;
    })
    .await;
    let world = world(&[&backend], tls(&authority, Some("a"), None));
    let mut client = world.client().await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.text(), "hi");
    }
    let expected = [(Handshake::Full13, 1), (Handshake::Resumed13, 3)].into();
    assert_eq!(counted(&world, "app/b0").handshakes, expected);
}

/// A request of any method goes on: the backend that could not be trusted has seen nothing of it.
#[tokio::test]
async fn a_backend_that_can_t_be_trusted_gets_nothing_and_the_next_one_is_tried() {
    let (authority, others) = (Authority::new(), Authority::new());
    let strange =
        backend(config(&others.issue(&["a"]), None), |_: Secured| async { panic!("trusted") }).await;
    let misnamed =
        backend(config(&authority.issue(&["b"]), None), |_: Secured| async { panic!("trusted") }).await;
    let plain = Backend::start(|mut peer| async move {
        peer.fill().await.unwrap();
        peer.write("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        peer.closed().await;
    })
    .await;
    let good = backend(config(&authority.issue(&["a"]), None), |mut peer: Secured| async move {
        let head = peer.head().await.unwrap();
        let body = peer.body(&head).await;
        assert_eq!(body, b"precious");
        peer.write(HI).await;
        peer.closed().await;
    })
    .await;
    let wrong = [&strange, &misnamed, &plain];
    let world = world(&[wrong[0], wrong[1], wrong[2], &good], tls(&authority, Some("a"), None));
    assert_eq!(world.client().await.post("/", "precious").await.text(), "hi");
    for index in 0..3 {
        assert_eq!(counted(&world, &format!("app/b{index}")).failures, [(Reason::Tls, 1)].into(), "{index}");
    }

    let hopeless = self::world(&[&strange], tls(&authority, Some("a"), None));
    let response = hopeless.client().await.get("/").await;
    assert_eq!(response.status, 502);
    assert!(response.head.contains("error=tls_protocol_error"), "{}", response.head);
    assert_eq!(hopeless.stats().failures, [(Reason::Tls, 1)].into());
}

#[tokio::test]
async fn a_backend_that_asks_for_a_certificate_gets_ours() {
    let authority = Authority::new();
    let own = authority.issue(&["proxy"]);
    let backend = backend(config(&authority.issue(&["a"]), Some(&authority)), |peer: Secured| async move {
        assert_eq!(peer.stream.get_ref().1.peer_certificates().map(<[_]>::len), Some(1));
        say_hi(peer).await;
    })
    .await;
    let with = world(&[&backend], tls(&authority, Some("a"), Some(&own.identity())));
    assert_eq!(with.client().await.get("/").await.text(), "hi");
    let without = world(&[&backend], tls(&authority, Some("a"), None));
    assert_eq!(without.client().await.get("/").await.status, 502);
}

#[tokio::test]
async fn long_bodies_go_both_ways_whole() {
    let authority = Authority::new();
    let backend = backend(config(&authority.issue(&["a"]), None), |mut peer: Secured| async move {
        while let Some(head) = peer.head().await {
            let body = peer.body(&head).await;
            peer.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())).await;
            peer.write_bytes(&body).await;
        }
    })
    .await;
    let world = world(&[&backend], tls(&authority, Some("a"), None));
    let body: String = (0..3_000_000u32).map(|index| char::from(b'a' + (index % 23) as u8)).collect();
    let mut client = world.client().await;
    for _ in 0..2 {
        assert!(client.post("/", &body).await.text() == body);
    }
    assert_eq!(counted(&world, "app/b0").connects, 1);
}

/// RFC 8446 §6.1: a connection that ends without a close_notify may have been cut by anyone.
#[tokio::test]
async fn an_end_without_a_close_notify_is_no_end_of_a_response() {
    let authority = Authority::new();
    for orderly in [true, false] {
        let backend = backend(config(&authority.issue(&["a"]), None), move |mut peer: Secured| async move {
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\n\r\nall there is, or not").await;
            if orderly {
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut peer.stream).await;
            }
        })
        .await;
        let world = world(&[&backend], tls(&authority, Some("a"), None));
        let mut client = world.client().await;
        client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (bytes, clean) = client.rest().await;
        assert!(bytes.ends_with(b"all there is, or not") || !clean);
        assert_eq!(clean, orderly);
        assert_eq!(world.stats().cut, u64::from(!orderly));
    }
}

#[tokio::test]
async fn nginx_is_a_backend_over_tls_as_any_other() {
    let authority = Authority::new();
    let nginx = Nginx::start(&authority.issue(&["app.internal"])).await;
    let tls = tls(&authority, Some("app.internal"), None);
    let world = Setup { backend_tls: Some(tls), ..Setup::http(&[nginx.address]) }.start();
    let mut client = world.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "hi . app.internal");
    }
    assert_eq!(counted(&world, "app/b0").connects, 1);
}

/// RFC 9113 §3.2: the version is what ALPN agrees on.
#[tokio::test]
async fn http2_is_spoken_with_a_pool_that_says_so() {
    let authority = Authority::new();
    let mut config = config(&authority.issue(&["a"]), None);
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let backend = backend(config, |peer: Secured| async move {
        assert_eq!(peer.stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut connection = h2::server::handshake(peer.stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut body = respond.send_response(http::Response::new(()), false).unwrap();
            body.send_data("hi".into(), true).unwrap();
        }
    })
    .await;
    let protocol = UpstreamProtocol::Http2;
    let authorities = Authorities::Only(authority.chain());
    let server_name = Some("a");
    let options = TlsClientOptions { authorities: &authorities, server_name, protocol, identity: None };
    let backend_tls = Some(TlsClient::new(&options).unwrap());
    let world = Setup { backend_tls, upstream: protocol, ..Setup::http(&[backend.address]) }.start();
    let mut client = world.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "hi");
    }
    assert_eq!((backend.seen(), counted(&world, "app/b0").handshakes), (1, [(Handshake::Full13, 1)].into()));
}

#[tokio::test]
async fn other_authorities_are_for_new_connections() {
    let (authority, others) = (Authority::new(), Authority::new());
    let backend = backend(config(&authority.issue(&["a"]), None), say_hi).await;
    let mut setup =
        Setup { backend_tls: Some(tls(&authority, Some("a"), None)), ..Setup::http(&[backend.address]) };
    let world = setup.start();
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.text(), "hi");
    world.snapshot.store(Arc::new(setup.snapshot()));
    assert_eq!(client.get("/").await.text(), "hi");
    assert_eq!(backend.seen(), 1, "the same TLS keeps its connections");
    setup.backend_tls = Some(tls(&others, Some("a"), None));
    world.snapshot.store(Arc::new(setup.snapshot()));
    assert_eq!(client.get("/").await.status, 502);
    assert_eq!(backend.seen(), 2);
}

#[tokio::test]
async fn a_probe_through_a_worker_goes_over_the_same_tls_as_requests() {
    let (authority, others) = (Authority::new(), Authority::new());
    let backend = backend(config(&authority.issue(&["a"]), None), say_hi).await;
    let mut setup = Setup {
        backend_tls: Some(tls(&authority, Some("a"), None)),
        probed: true,
        ..Setup::http(&[backend.address])
    };
    let world = setup.start();
    let probe = async || {
        let entrance = world.plane.entrance();
        let backend = "app/b0".parse().unwrap();
        let connecting = entrance.connect(&backend, world.backends[0], Protocol::Http);
        let mut probe = Peer::new(soon("a probe's connection", connecting).await.unwrap());
        probe.get("/healthz").await.status
    };
    assert_eq!(probe().await, 200);
    setup.backend_tls = Some(tls(&others, Some("a"), None));
    world.snapshot.store(Arc::new(setup.snapshot()));
    assert_eq!(probe().await, 502);
}

/// A backend that answers each stream with its scheme and path.
async fn http2_backend(mut config: ServerConfig, alpn: &[&[u8]]) -> Backend {
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    backend(config, |peer: Secured| async move {
        let Ok(mut connection) = h2::server::handshake(peer.stream).await else { return };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let mut sending = respond.send_response(http::Response::new(()), false).unwrap();
            sending.send_data(request.uri().to_string().into(), true).unwrap();
        }
    })
    .await
}

fn http2_world(authority: &Authority, backends: &[&Backend]) -> World {
    let protocol = UpstreamProtocol::Http2;
    let authorities = Authorities::Only(authority.chain());
    let options = TlsClientOptions { authorities: &authorities, server_name: None, protocol, identity: None };
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let backend_tls = Some(TlsClient::new(&options).unwrap());
    Setup { backend_tls, upstream: protocol, ..Setup::http(&addresses) }.start()
}

#[tokio::test]
async fn backends_that_agree_on_h2_share_a_connection_among_clients() {
    let authority = Authority::new();
    let backend = http2_backend(config(&authority.issue(&["127.0.0.1"]), None), &[b"h2"]).await;
    let world = http2_world(&authority, &[&backend]);
    for path in ["/one", "/two", "/three"] {
        assert_eq!(world.client().await.get(path).await.text(), format!("https://a{path}"));
    }
    let counted = counted(&world, "app/b0");
    assert_eq!((counted.connects, counted.reuses), (1, 2));
}

#[tokio::test]
async fn backends_that_do_not_agree_on_h2_get_no_request() {
    let authority = Authority::new();
    let issued = authority.issue(&["127.0.0.1"]);
    let silent = http2_backend(config(&issued, None), &[]).await;
    let old = http2_backend(config(&issued, None), &[b"http/1.1"]).await;
    let world = http2_world(&authority, &[&silent, &old]);
    assert_eq!(world.client().await.get("/").await.status, 502);
    for backend in ["app/b0", "app/b1"] {
        assert_eq!(counted(&world, backend).failures, [(Reason::Tls, 1)].into());
    }
}

#[tokio::test]
async fn a_connection_at_rest_ends_with_a_close_notify() {
    let authority = Authority::new();
    let issued = authority.issue(&["127.0.0.1"]);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let backend = backend(config(&issued, None), move |mut peer| {
        let tell = tell.clone();
        async move {
            while peer.head().await.is_some() {
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
            }
            // Without one the end is an error.
            tell.send(peer.fill().await.is_ok_and(|count| count == 0)).unwrap();
        }
    })
    .await;
    let world = world(&[&backend], tls(&authority, None, None));
    assert_eq!(world.client().await.get("/").await.text(), "hi");
    world.plane.drain(std::time::Duration::ZERO).await;
    assert_eq!(soon("the end", told.recv()).await, Some(true));
}
