//! Backends that take no WebSockets, and requests that can't become one.

use http::Response;
use proxima_proxy::{Reason, UpstreamProtocol};

use crate::{
    Asking, VERSIONS,
    backend::Backend,
    client::Client,
    common::{self, Setup, h2},
    http3_backend, patient, pki,
};

/// A backend of HTTP/2 that has not said SETTINGS_ENABLE_CONNECT_PROTOCOL.
async fn unwilling_http2() -> h2::Backend {
    h2::Backend::start(|request, mut respond| async move {
        assert_eq!(request.method(), http::Method::GET);
        let response = Response::builder().status(204).body(()).unwrap();
        respond.send_response(response, true).unwrap();
    })
    .await
}

/// The same of HTTP/3.
fn unwilling_http3(authority: &pki::Authority) -> http3_backend::Backend {
    http3_backend::Backend::start(authority, |request, mut stream| async move {
        assert_eq!(request.method(), http::Method::GET);
        let _ = stream.send_response(Response::builder().status(204).body(()).unwrap()).await;
        let _ = stream.finish().await;
    })
}

/// Asks for a WebSocket, in vain, and then for something else over the same connection.
async fn is_refused(before: UpstreamProtocol, setup: &Setup) {
    let client = Client::start(before, setup.clone());
    let world = client.world();
    for _ in 0..2 {
        let answer = client.ask("/", "early").await;
        assert_eq!(answer.status, 502, "{before:?}");
        let told = &answer.head["proxy-status"];
        assert!(told.starts_with("fra1; error=http_upgrade_failed; "), "{told}");
    }
    let stats = world.plane.stats();
    let backend = stats.backends.values().next().unwrap();
    assert_eq!((world.stats().failures.get(&Reason::Upgrade), backend.connects), (Some(&2), 1), "{before:?}");
    assert_eq!(backend.failures, [(Reason::Upgrade, 2)].into(), "{before:?}");
    if let Client::Http1(world) = &client {
        assert_eq!(world.client().await.get("/").await.status, 204);
        assert_eq!(world.plane.stats().backends.values().next().unwrap().connects, 1);
    }
}

#[tokio::test]
async fn a_backend_that_has_not_allowed_extended_connect_is_not_asked() {
    let http2 = unwilling_http2().await;
    let timeouts = patient();
    let http2_setup = Setup { upstream: UpstreamProtocol::Http2, timeouts, ..Setup::http(&[http2.address]) };
    let authority = pki::Authority::new();
    let http3 = unwilling_http3(&authority);
    let http3_setup = Setup { timeouts, ..http3_backend::setup(&authority, &[http3.address]) };
    for before in VERSIONS {
        is_refused(before, &http2_setup).await;
        is_refused(before, &http3_setup).await;
    }
}

#[tokio::test]
async fn it_is_passed_over_for_one_that_has() {
    let unwilling = unwilling_http2().await;
    let willing = Backend::start(UpstreamProtocol::Http2, |asking: Asking| async move {
        let mut wire = asking.agree().await;
        wire.say(b"hello").await;
        wire.rest().await;
    })
    .await;
    let backends = Setup::http(&[unwilling.address, willing.address()]).backends;
    for before in VERSIONS {
        let client = Client::start(before, Setup { backends: backends.clone(), ..willing.setup.clone() });
        let mut answer = client.open("/", "").await;
        assert_eq!(answer.wire.hear(5).await, "hello", "{before:?}");
        let stats = client.world().stats();
        assert_eq!(stats.failovers, [(Reason::Upgrade, 1)].into(), "{before:?}");
        assert_eq!(stats.failures.len(), 0, "{before:?}");
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_signed() {
    let good = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for behind in [UpstreamProtocol::Http2, UpstreamProtocol::Http3] {
        let backend =
            Backend::start(behind, |asking: Asking| async move { panic!("{:?}", asking.head()) }).await;
        let world = backend.setup.start();
        for keys in ["", "Sec-WebSocket-Key: no nonce\r\n", &good.repeat(2)] {
            let mut client = world.client().await;
            client
                .write(&format!(
                    "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\n{keys}\r\n"
                ))
                .await;
            assert_eq!(client.response().await.status, 400, "{keys}");
        }
        assert_eq!(world.stats().refused.get("websocket-key"), Some(&3));
    }
}

#[tokio::test]
async fn extended_connect_for_another_protocol_is_not_served() {
    let backend = common::Backend::start(|mut peer| async move { panic!("{:?}", peer.head().await) }).await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = h2::Client::connect(&world).await;
    common::until("the SETTINGS", || client.send.is_extended_connect_protocol_enabled()).await;
    let protocol = ::h2::ext::Protocol::from_static("connect-udp");
    let request = http::Request::connect("http://a/").extension(protocol).body(()).unwrap();
    let (response, _send) = client.send.send_request(request, false).unwrap();
    assert_eq!(common::soon("an answer", response).await.unwrap().status(), 501);
}
