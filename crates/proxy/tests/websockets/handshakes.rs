//! How a WebSocket is asked for and agreed on.

use std::time::Duration;

use proxima_proxy::{Reason, Timeouts, UpstreamProtocol};
use tokio::sync::mpsc;

use crate::{
    Asking, Head, VERSIONS,
    backend::Backend,
    client::Client,
    common::{self, h2, soon, until},
    http3_backend::{Raw, setup},
    pairs, patient,
    pki::Authority,
    support::headers,
    wire::{End, first_frame},
};

#[tokio::test]
async fn the_backend_is_asked_as_its_version_has_it_and_told_what_the_client_wants() {
    let (heads, mut asked) = mpsc::unbounded_channel::<Head>();
    let script = move |asking: Asking| {
        let heads = heads.clone();
        async move {
            heads.send(asking.head()).unwrap();
            asking.agree().await.finish().await;
        }
    };
    for behind in VERSIONS {
        let backend = Backend::start(behind, script.clone()).await;
        for before in VERSIONS {
            let client = Client::start(before, backend.setup.clone());
            let answer = client.open("/chat?q", "").await;
            let head = soon("the request", asked.recv()).await.unwrap();
            let value = |name: &str| head.get(name).map(String::as_str);
            let versions = format!("{before:?} to {behind:?}");
            assert_eq!(value(":path"), Some("/chat?q"), "{versions}");
            assert_eq!(value("sec-websocket-version"), Some("13"), "{versions}");
            assert_eq!(value("sec-websocket-protocol"), Some("other, chat"), "{versions}");
            assert_eq!(value("sec-websocket-extensions"), Some("x-unknown"), "{versions}");
            let (asked, answered) = (via(before), via(behind));
            assert_eq!(value("via"), Some(asked), "{versions}");
            assert_eq!(answer.head.get("via").map(String::as_str), Some(answered), "{versions}");
            if behind == UpstreamProtocol::Http1 {
                assert_eq!(
                    (value(":method"), value("upgrade")),
                    (Some("GET"), Some("websocket")),
                    "{versions}"
                );
                let key = value("sec-websocket-key").unwrap();
                assert!(key.len() == 24 && key.ends_with("=="), "{versions}: {key}");
            } else {
                let asked = (value(":method"), value(":protocol"));
                assert_eq!(asked, (Some("CONNECT"), Some("websocket")), "{versions}");
                for old in ["sec-websocket-key", "upgrade", "connection", "host", "content-length"] {
                    assert!(
                        value(old).is_none() || (old == "host" && behind == UpstreamProtocol::Http3),
                        "{old}"
                    );
                }
            }
        }
    }
}

fn via(version: UpstreamProtocol) -> &'static str {
    match version {
        UpstreamProtocol::Http1 => "1.1 fra1",
        UpstreamProtocol::Http2 => "2 fra1",
        UpstreamProtocol::Http3 => "3 fra1",
    }
}

#[tokio::test]
async fn a_refusal_is_passed_on_and_nothing_is_sent_behind_the_request() {
    for pair in pairs(|_| {}, |asking: Asking| asking.refuse(403)).await {
        let mut answer = pair.client.ask("/", "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(answer.status, 403, "{}", pair.versions);
        assert_eq!(answer.wire.hear(2).await, "no", "{}", pair.versions);
        let world = pair.client.world();
        assert_eq!((world.stats().responses[3], world.stats().failures.len()), (1, 0), "{}", pair.versions);
    }
}

#[tokio::test]
async fn a_client_of_http1_that_was_refused_goes_on_with_its_connection() {
    for behind in VERSIONS {
        let backend = Backend::start(behind, |asking: Asking| asking.refuse(404)).await;
        let world = backend.setup.start();
        let mut client = world.client().await;
        for _ in 0..3 {
            client
                .write(
                    "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                )
                .await;
            let response = client.response().await;
            assert_eq!((response.status, response.text()), (404, "no"), "{behind:?}");
            // The script of a backend of HTTP/1.1 waits for the end of its connection.
            if behind == UpstreamProtocol::Http1 {
                break;
            }
        }
        assert_eq!(world.stats().connections, 1);
    }
}

#[tokio::test]
async fn no_answer_in_time_is_a_504() {
    let change = |setup: &mut common::Setup| {
        setup.timeouts = Timeouts { first_byte: Duration::from_millis(300), ..patient() };
    };
    let script = |asking: Asking| async move {
        let _asking = asking;
        std::future::pending::<()>().await;
    };
    for pair in pairs(change, script).await {
        assert_eq!(pair.client.ask("/", "early").await.status, 504, "{}", pair.versions);
        let failures = pair.client.world().stats().failures;
        assert_eq!(failures, [(Reason::FirstByte, 1)].into(), "{}", pair.versions);
    }
}

#[tokio::test]
async fn an_agreement_that_does_not_answer_the_key_is_malformed() {
    let backend = common::Backend::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )
        .await;
        peer.closed().await;
        assert!(peer.buffer.is_empty(), "{:?}", peer.buffer);
    })
    .await;
    for before in [UpstreamProtocol::Http2, UpstreamProtocol::Http3] {
        let setup = common::Setup { timeouts: patient(), ..common::Setup::http(&[backend.address]) };
        let client = Client::start(before, setup);
        assert_eq!(client.ask("/", "early").await.status, 502, "{before:?}");
        assert_eq!(client.world().stats().malformed.get("upgrade"), Some(&1), "{before:?}");
    }
}

#[tokio::test]
async fn clients_are_told_that_websockets_are_taken() {
    let backend = Backend::start(UpstreamProtocol::Http1, |asking: Asking| asking.refuse(403)).await;
    // That of HTTP/2 waits for it in every test here.
    let Client::Http3(world) = Client::start(UpstreamProtocol::Http3, backend.setup.clone()) else {
        panic!("another version")
    };
    let raw = world.raw().await;
    let mut control = soon("the control stream", raw.connection.accept_uni()).await.unwrap();
    let mut settings = [0; 10];
    control.read_exact(&mut settings).await.unwrap();
    assert_eq!(settings[8..], [8, 1]);
}

#[tokio::test]
async fn the_settings_of_a_backend_of_http3_are_waited_for() {
    let authority = Authority::new();
    let backend = Raw::start(&authority, quinn::TransportConfig::default());
    let setup = common::Setup { timeouts: patient(), ..setup(&authority, &[backend.address]) };
    let client = Client::start(UpstreamProtocol::Http1, setup);
    let serving = async {
        let mut connection = backend.accept_silently().await;
        // A request for something else waits for nothing; its stream opens the one before it, too.
        let mut other = client.world().client().await;
        other.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (mut send, mut receive) = soon("a stream", connection.connection.accept_bi()).await.unwrap();
        let (mut quick, mut asked) = soon("another", connection.connection.accept_bi()).await.unwrap();
        first_frame(&mut asked, &mut Vec::new()).await.expect("a request");
        quick.write_all(&headers(&[(":status", "204")])).await.unwrap();
        quick.finish().unwrap();
        assert_eq!(other.response().await.status, 204);
        connection.control.write_all(&[0, 4, 2, 8, 1]).await.unwrap();
        let (_, section) = first_frame(&mut receive, &mut Vec::new()).await.expect("a request");
        let mut text = Vec::new();
        assert!(proxima_http3::RequestText::read(&mut text, &section).unwrap().is_websocket());
        send.write_all(&headers(&[(":status", "200"), ("sec-websocket-protocol", "chat")])).await.unwrap();
        send.finish().unwrap();
        (connection, receive)
    };
    let (mut answer, _connection) = tokio::join!(client.open("/", ""), serving);
    answer.wire.finish().await;
    assert_eq!(answer.wire.rest().await, (Vec::new(), End::Clean));
}

#[tokio::test]
async fn settings_that_do_not_come_in_time_are_a_504() {
    let authority = Authority::new();
    let backend = Raw::start(&authority, quinn::TransportConfig::default());
    let timeouts = Timeouts { connect: Duration::from_secs(2), ..patient() };
    let setup = common::Setup { timeouts, ..setup(&authority, &[backend.address]) };
    let client = Client::start(UpstreamProtocol::Http1, setup);
    let (answer, _connection) = tokio::join!(client.ask("/", ""), backend.accept_silently());
    assert_eq!(answer.status, 504);
    let failures = client.world().stats().failures;
    assert_eq!(failures, [(Reason::ConnectTimeout, 1)].into());
}

#[tokio::test]
async fn a_tunnel_shares_its_connection_with_requests_and_outlives_a_goaway() {
    let mut builder = ::h2::server::Builder::new();
    builder.enable_connect_protocol();
    let (streams, mut opened) = mpsc::unbounded_channel();
    let backend = h2::Backend::with(builder, move |request, mut respond| {
        let streams = streams.clone();
        async move {
            if request.method() == http::Method::CONNECT {
                let request = Box::new(request);
                streams.send(Asking::Http2 { request, respond }.agree().await).ok().unwrap();
                return std::future::pending().await;
            }
            respond.send_response(http::Response::new(()), true).unwrap();
        }
    })
    .await;
    let (upstream, timeouts) = (UpstreamProtocol::Http2, patient());
    let setup = common::Setup { upstream, timeouts, ..common::Setup::http(&[backend.address]) };
    let client = Client::start(UpstreamProtocol::Http1, setup);
    let mut answer = client.open("/", "").await;
    let mut behind = soon("the tunnel", opened.recv()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(client.world().client().await.get("/").await.status, 200);
        behind.say(b"hello").await;
        assert_eq!(answer.wire.hear(5).await, "hello");
    }
    assert_eq!(backend.seen(), 1);
    until("the counts", || client.world().plane.stats().backends.values().all(|one| one.reuses == 3)).await;
}
