//! Clients that ask for a WebSocket.

use http::Request;
use proxima_proxy::UpstreamProtocol;

use crate::{
    Head,
    common::{self, Setup, World, soon, until},
    fields,
    support::{self, Http3World, frame, headers},
    wire::{Wire, first_frame},
};

/// The sample of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// What is asked for in every version.
const FIELDS: [(&str, &str); 3] = [
    ("sec-websocket-version", "13"),
    ("sec-websocket-protocol", "other, chat"),
    ("sec-websocket-extensions", "x-unknown"),
];

/// A world before a backend, for clients of one version.
pub(crate) enum Client {
    Http1(World),
    Http2(World),
    Http3(Box<Http3World>),
}

/// What an answer is, and what is behind it: the tunnel, or content.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) wire: Wire,
    /// What the stream needs, to be dropped with it.
    _connection: Option<Connection>,
}

enum Connection {
    Http2 { _client: common::h2::Client },
    Http3 { _raw: support::Raw },
}

impl Client {
    pub(crate) fn start(version: UpstreamProtocol, setup: Setup) -> Self {
        match version {
            UpstreamProtocol::Http1 => Self::Http1(setup.start()),
            UpstreamProtocol::Http2 => Self::Http2(setup.start()),
            UpstreamProtocol::Http3 => Self::Http3(Box::new(support::start(setup))),
        }
    }

    pub(crate) fn world(&self) -> &World {
        match self {
            Self::Http1(world) | Self::Http2(world) => world,
            Self::Http3(world) => &world.world,
        }
    }

    /// Asks, and says `early` at once behind the head.
    pub(crate) async fn ask(&self, path: &str, early: &str) -> Answer {
        match self {
            Self::Http1(world) => Self::ask_http1(world, path, early).await,
            Self::Http2(world) => Self::ask_http2(world, path, early).await,
            Self::Http3(world) => Self::ask_http3(world, path, early).await,
        }
    }

    /// Asks, and is agreed with.
    pub(crate) async fn open(&self, path: &str, early: &str) -> Answer {
        let answer = self.ask(path, early).await;
        let value = |name: &str| answer.head.get(name).map(String::as_str);
        let is_old = matches!(self, Self::Http1(_));
        assert_eq!(
            (answer.status, value("sec-websocket-protocol")),
            (if is_old { 101 } else { 200 }, Some("chat"))
        );
        // Of HTTP/1.1 alone, and made of the key that its client has sent.
        assert_eq!(value("sec-websocket-accept"), is_old.then_some(ACCEPT));
        assert_eq!(
            (value("upgrade"), value("connection")),
            (is_old.then_some("websocket"), is_old.then_some("Upgrade"))
        );
        assert_eq!((value("transfer-encoding"), value("content-length")), (None, None));
        answer
    }

    async fn ask_http1(world: &World, path: &str, early: &str) -> Answer {
        let mut client = world.client().await;
        let lines = FIELDS.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
        client
            .write(&format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
                 Sec-WebSocket-Key: {KEY}\r\n{lines}\r\n{early}"
            ))
            .await;
        let head = client.head().await.expect("a response");
        let (status, head) = (head[9..12].parse().unwrap(), fields(&head));
        Answer { status, head, wire: Wire::Http1(client), _connection: None }
    }

    async fn ask_http2(world: &World, path: &str, early: &str) -> Answer {
        let mut client = common::h2::Client::connect(world).await;
        until("the SETTINGS", || client.send.is_extended_connect_protocol_enabled()).await;
        let mut request = Request::connect(format!("http://localhost{path}"));
        for (name, value) in FIELDS {
            request = request.header(name, value);
        }
        let protocol = h2::ext::Protocol::from_static("websocket");
        let request = request.extension(protocol).body(()).unwrap();
        let (response, mut send) = client.send.send_request(request, false).unwrap();
        send.send_data(early.to_owned().into(), false).unwrap();
        let (parts, receive) = soon("a response", response).await.unwrap().into_parts();
        let named = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        let (status, head) = (parts.status.as_u16(), parts.headers.iter().map(named).collect());
        let connection = Connection::Http2 { _client: client };
        Answer { status, head, wire: Wire::Http2 { send, receive }, _connection: Some(connection) }
    }

    async fn ask_http3(world: &Http3World, path: &str, early: &str) -> Answer {
        let raw = world.raw().await;
        let (mut send, mut receive) = raw.connection.open_bi().await.unwrap();
        let head = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path),
            ("sec-websocket-key", "of the client, and for nobody"),
        ];
        send.write_all(&headers(&[&head[..], &FIELDS].concat())).await.unwrap();
        if !early.is_empty() {
            send.write_all(&frame(0, early.as_bytes())).await.unwrap();
        }
        let mut unread = Vec::new();
        let (kind, section) = first_frame(&mut receive, &mut unread).await.expect("a response");
        assert_eq!(kind, 1);
        let mut text = Vec::new();
        proxima_http3::response_text(&mut text, &section).unwrap();
        let text = String::from_utf8(text).unwrap();
        let (status, mut head) = (text[9..12].parse().unwrap(), fields(&text));
        // The reader's own word for content of any length.
        head.remove("transfer-encoding");
        let wire = Wire::Http3 { send, receive, raw: unread };
        Answer { status, head, wire, _connection: Some(Connection::Http3 { _raw: raw }) }
    }
}
