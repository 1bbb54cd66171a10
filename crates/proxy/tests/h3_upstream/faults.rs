//! Responses that are not as they should be: none of them reaches a client as if it were.

use proxima_proxy::Reason;
use quinn::{TransportConfig, VarInt};

use crate::{
    backend::{Raw, RawConnection, setup},
    common::{World, soon, until},
    pki::Authority,
    support::{code, frame, headers, uni},
};

/// A world before a raw backend, with a request under way.
struct Asked {
    world: World,
    client: crate::common::Peer,
    connection: RawConnection,
    send: quinn::SendStream,
    receive: quinn::RecvStream,
}

async fn asked() -> Asked {
    let authority = Authority::new();
    let backend = Raw::start(&authority, TransportConfig::default());
    let world = setup(&authority, &[backend.address]).start();
    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let connection = backend.accept().await;
    let (send, receive, _) = connection.request().await;
    Asked { world, client, connection, send, receive }
}

#[tokio::test]
async fn malformed_heads_are_502_and_reset_their_stream_alone() {
    let long = "x".repeat(65_536);
    let cases: [&[(&str, &str)]; 14] = [
        &[("content-length", "0")],
        &[("content-length", "0"), (":status", "200")],
        &[(":status", "200"), (":status", "200")],
        &[(":status", "200"), (":path", "/")],
        &[(":status", "20")],
        &[(":status", "2000")],
        &[(":status", "099")],
        &[(":status", "101")],
        &[(":status", "200"), ("Upper", "1")],
        &[(":status", "200"), ("connection", "close")],
        &[(":status", "200"), ("transfer-encoding", "chunked")],
        &[(":status", "200"), ("x", "a\r\nb: c")],
        &[(":status", "200"), ("content-length", "1"), ("content-length", "2")],
        &[(":status", "200"), ("x", &long)],
    ];
    for fields in cases {
        let mut asked = asked().await;
        let _ = asked.send.write_all(&headers(fields)).await;
        let _ = asked.send.finish();
        let shown: Vec<_> = fields.iter().map(|(name, value)| (*name, value.len().min(20))).collect();
        assert_eq!(asked.client.response().await.status, 502, "{shown:?}");
        let stats = asked.world.plane.stats();
        assert_eq!(stats.backends.values().next().unwrap().failures[&Reason::Malformed], 1, "{shown:?}");
        assert!(asked.connection.connection.close_reason().is_none(), "{shown:?}");
    }
}

#[tokio::test]
async fn frames_that_must_not_come_end_the_connection_each_for_its_reason() {
    let head = headers(&[(":status", "200")]);
    let cases: [(Vec<u8>, u64); 6] = [
        (frame(0, b"content before a head"), 0x105),
        (frame(4, &[]), 0x105),
        (frame(5, &[0]), 0x108),
        (frame(7, &[0]), 0x105),
        (frame(1, &[0xff; 4]), 0x200),
        ([head, frame(2, &[])].concat(), 0x105),
    ];
    for (octets, expected) in cases {
        let mut asked = asked().await;
        asked.send.write_all(&octets).await.unwrap();
        let why = soon("the end", asked.connection.connection.closed()).await;
        assert_eq!(code(why), expected, "{octets:02x?}");
    }
}

#[tokio::test]
async fn streams_in_one_direction_that_must_not_come_end_the_connection() {
    // A push; a second control stream; an entry of a dynamic table.
    let cases: [(&[u8], u64); 3] = [(&[1, 0], 0x108), (&[0, 4, 0], 0x103), (&[2, 0xc0, 1, b'x'], 0x201)];
    for (octets, expected) in cases {
        let asked = asked().await;
        let _stream = uni(&asked.connection.connection, octets).await;
        assert_eq!(code(soon("the end", asked.connection.connection.closed()).await), expected, "{octets:?}");
    }
    // SETTINGS again; MAX_PUSH_ID; a GOAWAY that names no request.
    let cases: [(&[u8], u64); 3] = [(&[4, 0], 0x105), (&[13, 1, 0], 0x105), (&[7, 1, 1], 0x108)];
    for (octets, expected) in cases {
        let mut asked = asked().await;
        asked.connection.control.write_all(octets).await.unwrap();
        assert_eq!(code(soon("the end", asked.connection.connection.closed()).await), expected, "{octets:?}");
    }
    let mut asked = asked().await;
    asked.connection.control.finish().unwrap();
    assert_eq!(code(soon("the end", asked.connection.connection.closed()).await), 0x104);
}

#[tokio::test]
async fn content_of_another_length_than_was_said_never_ends_clean() {
    for content in [&b"too much"[..], b"few"] {
        let mut asked = asked().await;
        let head = headers(&[(":status", "200"), ("content-length", "5")]);
        asked.send.write_all(&[head, frame(0, content)].concat()).await.unwrap();
        let _ = asked.send.finish();
        let head = asked.client.head().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let (_, clean) = asked.client.rest().await;
        assert!(!clean, "{content:?}");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_reset_and_never_ended() {
    let mut asked = asked().await;
    asked.send.write_all(&[headers(&[(":status", "200")]), frame(0, b"so far")].concat()).await.unwrap();
    assert!(asked.client.head().await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!((asked.client.line().await.as_str(), asked.client.line().await.as_str()), ("6", "so far"));
    asked.send.reset(VarInt::from_u32(0x102)).unwrap();
    let (_, clean) = asked.client.rest().await;
    assert!(!clean);
    until("the count", || asked.world.stats().cut == 1).await;
}

#[tokio::test]
async fn empty_frames_are_earned_by_content_and_too_many_cut_their_response_alone() {
    let mut asked = asked().await;
    asked.send.write_all(&headers(&[(":status", "200")])).await.unwrap();
    assert!(asked.client.head().await.unwrap().starts_with("HTTP/1.1 200"));
    // As of a server that flushes each time.
    let flushed = [frame(0, b"x"), frame(0, b"")].concat();
    asked.send.write_all(&flushed.repeat(200)).await.unwrap();
    for _ in 0..200 {
        assert_eq!((asked.client.line().await.as_str(), asked.client.line().await.as_str()), ("1", "x"));
    }
    asked.send.write_all(&frame(0, b"").repeat(100)).await.unwrap();
    let stopped = soon("the word that no more is wanted", asked.send.stopped()).await.unwrap();
    assert_eq!(stopped.map(VarInt::into_inner), Some(0x107));
    let (_, clean) = asked.client.rest().await;
    assert!(!clean);
    assert!(asked.connection.connection.close_reason().is_none());
}

#[tokio::test]
async fn a_stream_that_ends_before_its_head_is_502() {
    let mut asked = asked().await;
    asked.send.finish().unwrap();
    // It is idempotent, and there is another try.
    assert_eq!(asked.client.response().await.status, 502);
    assert!(asked.connection.connection.close_reason().is_none());
    drop(asked.receive);
}
