//! Tunnels whose backend of HTTP/2 says what it says frame by frame, for a client that does not read.

use std::time::Duration;

use proxima_proxy::{BodyRate, Reason, Slow, Timeouts, UpstreamProtocol};
use tokio::net::TcpListener;

use crate::{
    common::{
        Setup, World,
        h2::{Client, END_HEADERS, END_STREAM, Raw, block, frame, get, kind},
        soon, until,
    },
    patient,
};

/// SETTINGS_ENABLE_CONNECT_PROTOCOL = 1 (RFC 8441 §3).
const CONNECT_PROTOCOL: [u8; 6] = [0, 8, 0, 0, 0, 1];
/// What a stream of the backend may send that its client does not read.
const WINDOW: usize = 64 * 1024;

/// What its client has room for.
const ROOM: u32 = 100;

/// A tunnel over the first stream of a connection, whose client has room for little.
struct Stalled {
    world: World,
    backend: Raw,
    /// Of the client.
    send: h2::SendStream<bytes::Bytes>,
    receive: h2::RecvStream,
    client: Client,
}

impl Stalled {
    async fn open(change: impl FnOnce(&mut Setup)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut setup = Setup {
            upstream: UpstreamProtocol::Http2,
            timeouts: patient(),
            ..Setup::http(&[listener.local_addr().unwrap()])
        };
        change(&mut setup);
        let world = setup.start();
        let mut client = Client::with(&world, h2::client::Builder::new().initial_window_size(ROOM)).await;
        until("the SETTINGS", || client.send.is_extended_connect_protocol_enabled()).await;
        let protocol = h2::ext::Protocol::from_static("websocket");
        let request = http::Request::connect("http://a/").header("sec-websocket-version", "13");
        let (response, send) =
            client.send.send_request(request.extension(protocol).body(()).unwrap(), false).unwrap();
        let (stream, _) = soon("a connection", listener.accept()).await.unwrap();
        let mut backend = Raw::accepted_with(stream, &CONNECT_PROTOCOL).await;
        let asked = backend.expect(kind::HEADERS).await;
        assert_eq!(asked.stream, 1);
        backend.write(&frame(kind::HEADERS, END_HEADERS, 1, &block(&[(":status", b"200")]))).await;
        let response = soon("a response", response).await.unwrap();
        assert_eq!(response.status(), 200);
        Self { world, backend, send, receive: response.into_body(), client }
    }

    /// All that was written has been read.
    async fn is_heard(&mut self) {
        self.backend.write(&frame(kind::PING, 0, 0, &[7; 8])).await;
        while self.backend.expect(kind::PING).await.flags & 1 == 0 {}
    }
}

#[tokio::test]
async fn short_messages_that_a_client_does_not_read_end_no_other_exchange() {
    let mut stalled = Stalled::open(|_| {}).await;
    let messages = frame(kind::DATA, 0, 1, b"x").repeat(WINDOW / 2);
    stalled.backend.write(&messages).await;
    stalled.is_heard().await;
    let mut other = stalled.world.client().await;
    other.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let asked = stalled.backend.expect(kind::HEADERS).await;
    assert_eq!(asked.stream, 3);
    let answer = frame(kind::HEADERS, END_HEADERS | END_STREAM, 3, &block(&[(":status", b"204")]));
    stalled.backend.write(&answer).await;
    assert_eq!(other.response().await.status, 204);
}

#[tokio::test]
async fn a_tunnel_is_held_to_no_rate() {
    let mut stalled = Stalled::open(|setup| {
        setup.limits.body_rate =
            BodyRate { response: 1_000_000, grace: Duration::from_millis(100), ..BodyRate::default() };
        setup.timeouts = Timeouts { idle: Duration::from_secs(1), ..patient() };
    })
    .await;
    stalled.backend.write(&frame(kind::DATA, 0, 1, &[b'x'; 1000])).await;
    until("the end", || !stalled.world.stats().failures.is_empty()).await;
    let stats = stalled.world.stats();
    assert_eq!(stats.failures, [(Reason::Idle, 1)].into());
    assert_eq!(stats.slow_clients.get(&Slow::ResponseRate), None);
}

#[tokio::test]
async fn what_the_backend_said_last_reaches_a_client_that_reads_later() {
    let mut stalled = Stalled::open(|_| {}).await;
    let (last, rest) = (frame(kind::DATA, END_STREAM, 1, b"end"), frame(kind::DATA, 0, 1, &[b'x'; 1000]));
    let reset = frame(kind::RST_STREAM, 0, 1, &[0; 4]);
    stalled.backend.write(&[rest.repeat(8), last, reset].concat()).await;
    stalled.is_heard().await;
    stalled.send.send_data("a word that nobody takes".into(), false).unwrap();
    // What comes behind it has been passed on: so it has been looked at.
    let _other = stalled.client.send.send_request(get("/"), true).unwrap();
    assert_eq!(stalled.backend.expect(kind::HEADERS).await.stream, 3);
    let mut got = Vec::new();
    while let Some(bytes) = soon("more", stalled.receive.data()).await {
        let bytes = bytes.unwrap();
        stalled.receive.flow_control().release_capacity(bytes.len()).unwrap();
        got.extend(bytes);
    }
    assert_eq!((got.len(), &got[8000..]), (8003, &b"end"[..]));
    assert_eq!((stalled.world.stats().failures.len(), stalled.world.stats().cut), (0, 0));
}
