//! WebSockets by extended CONNECT (RFC 9220).

use quinn::{RecvStream, SendStream};
use tokio::sync::mpsc;

use crate::{
    common::{Backend, Setup, agreement, field, soon},
    support::{Http3World, Outcome, Raw, frame, headers, outcome, start},
};

const WEBSOCKET: &str = "websocket";

/// Extended CONNECT.
async fn ask(raw: &Raw, path: &str, protocol: &str) -> (SendStream, RecvStream) {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "of the client, and for nobody"),
    ];
    let (mut send, receive) = raw.connection.open_bi().await.unwrap();
    send.write_all(&headers(&fields)).await.unwrap();
    (send, receive)
}

/// The next frame, whose kind and length have one octet or, of HEADERS, five.
async fn next(receive: &mut RecvStream) -> (u8, Vec<u8>) {
    let mut start = [0; 2];
    soon("a frame", receive.read_exact(&mut start)).await.unwrap();
    let [kind, first] = start;
    let length = match first {
        0..64 => usize::from(first),
        0x80.. => {
            let mut rest = [0; 3];
            receive.read_exact(&mut rest).await.unwrap();
            usize::from(rest[1]) << 8 | usize::from(rest[2])
        }
        _ => panic!("a length of {first:02x}"),
    };
    let mut payload = vec![0; length];
    soon("what is in it", receive.read_exact(&mut payload)).await.unwrap();
    (kind, payload)
}

/// So many octets of content, in however many frames.
async fn content(receive: &mut RecvStream, count: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < count {
        let (kind, payload) = next(receive).await;
        assert_eq!(kind, 0, "{payload:02x?}");
        got.extend(payload);
    }
    got
}

async fn raw(backend: &Backend) -> (Http3World, Raw) {
    let world = start(Setup::http(&[backend.address]));
    let raw = world.raw().await;
    (world, raw)
}

#[tokio::test]
async fn extended_connect_is_a_websocket_to_the_backend_and_passes_both_ways() {
    let (heads, mut seen) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let heads = heads.clone();
        async move {
            let head = peer.head().await.unwrap();
            // What the client sends must not come before the agreement.
            assert!(peer.buffer.is_empty());
            peer.write(&format!("{}at once;", agreement(&head))).await;
            heads.send(head).unwrap();
            while matches!(peer.fill().await, Ok(1..)) {
                let bytes = std::mem::take(&mut peer.buffer);
                peer.write_bytes(&bytes).await;
            }
            peer.write("bye").await;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut peer.stream).await;
        }
    })
    .await;
    let (world, raw) = raw(&backend).await;
    // The server says that it takes them.
    let mut control = raw.connection.accept_uni().await.unwrap();
    let mut settings = [0; 10];
    control.read_exact(&mut settings).await.unwrap();
    assert_eq!(settings[8..], [8, 1]);
    let (mut send, mut receive) = ask(&raw, "/chat?q", WEBSOCKET).await;
    send.write_all(&frame(0, b"early;")).await.unwrap();
    let (kind, section) = next(&mut receive).await;
    // 25 of the static table is `:status: 200`.
    assert_eq!((kind, &section[..3]), (1, &[0, 0, 0xc0 + 25][..]));
    let head = seen.recv().await.unwrap();
    assert!(head.starts_with("GET /chat?q HTTP/1.1\r\nHost: localhost\r\n"), "{head}");
    assert_eq!(
        (field(&head, "upgrade"), field(&head, "connection"), field(&head, "sec-websocket-version")),
        (Some("websocket"), Some("Upgrade"), Some("13"))
    );
    assert_eq!(head.to_ascii_lowercase().matches("sec-websocket-key").count(), 1, "{head}");
    assert!(!head.contains("for nobody"), "{head}");
    assert_eq!(content(&mut receive, 14).await, b"at once;early;");
    send.write_all(&frame(0, b"more;")).await.unwrap();
    assert_eq!(content(&mut receive, 5).await, b"more;");
    // An end goes on as one, and the other way is still open.
    send.finish().unwrap();
    assert_eq!(content(&mut receive, 3).await, b"bye");
    assert_eq!(soon("the end", receive.read_to_end(10)).await.unwrap(), b"");
    assert_eq!(world.world.stats().failures.len(), 0);
}

#[tokio::test]
async fn extended_connect_that_is_not_agreed_on_sends_nothing_after_the_head() {
    let backend = Backend::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        let answer = if head.starts_with("GET /liar") {
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
        } else {
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
        };
        peer.write(answer).await;
        peer.closed().await;
        assert!(peer.buffer.is_empty(), "{:?}", peer.buffer);
    })
    .await;
    let (_world, raw) = raw(&backend).await;
    for (path, protocol, status) in
        [("/", WEBSOCKET, 403), ("/liar", WEBSOCKET, 502), ("/", "connect-udp", 501)]
    {
        let (mut send, mut receive) = ask(&raw, path, protocol).await;
        // The server may refuse to read on.
        let _ = send.write_all(&frame(0, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let answered = soon("an answer", outcome(&mut receive)).await;
        assert_eq!(answered, Outcome::Status(status), "{path} {protocol}");
    }
    assert_eq!(backend.seen(), 2);
    backend.kill().await;
}
