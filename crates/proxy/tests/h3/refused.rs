//! What is refused, and how the client is told. None of it reaches a backend.

use crate::{
    common::{Backend, Setup, soon, until},
    support::{GET, Http3World, Outcome, POST, frame, headers, start, uni},
};
use proxima_proxy::Slow;
use std::time::Duration;

async fn world() -> (Backend, Http3World) {
    let backend = Backend::fixed("must not be asked").await;
    let world = start(Setup::http(&[backend.address]));
    (backend, world)
}

#[tokio::test]
async fn malformed_requests_get_an_answer_that_says_so() {
    let (backend, world) = world().await;
    let raw = world.raw().await;
    let long = "x".repeat(60_000);
    let with = |field| headers(&[&GET[..], &[field]].concat());
    let cases: &[(Vec<u8>, u16, &str)] = &[
        (headers(&GET[1..]), 400, "pseudo-field"),
        (headers(&GET[..3]), 400, "pseudo-field"),
        (headers(&[GET[0], GET[1], GET[3]]), 400, "missing-host"),
        (with((":path", "/again")), 400, "pseudo-field"),
        (with(("Upper", "x")), 400, "field-line"),
        (with(("x", "a\r\nb: c")), 400, "field-line"),
        (with(("x", "a\0b")), 400, "field-line"),
        (with(("connection", "close")), 400, "connection-field"),
        (with(("transfer-encoding", "chunked")), 400, "connection-field"),
        (with(("te", "gzip")), 400, "connection-field"),
        (with(("host", "other")), 400, "host-mismatch"),
        (with(("content-length", "1")), 400, "length-mismatch"),
        (with(("content-length", "x")), 400, "length"),
        (headers(&[GET[0], GET[1], GET[2], (":path", "/../x")]), 400, "path"),
        (headers(&[GET[0], GET[1], GET[2], (":path", "/ HTTP/1.1\r\nx: y")]), 400, "target"),
        (headers(&[(":method", "CONNECT"), (":authority", "a:1")]), 501, "connect"),
        (headers(&[&GET[..], &[("x", &long), ("y", &long)]].concat()), 431, "head-too-long"),
        ([&[1, 0x80, 1, 0, 1][..], b"any"].concat(), 431, "head-too-long"),
    ];
    for (octets, status, fault) in cases {
        let before = world.world.stats().refused.get(fault).copied().unwrap_or_default();
        assert_eq!(raw.say(octets).await, Outcome::Status(*status), "{fault}");
        assert_eq!(world.world.stats().refused.get(fault), Some(&(before + 1)), "{fault}");
    }
    assert_eq!(raw.say(&headers(&GET)).await, Outcome::Status(200), "the connection lives on");
    assert_eq!(backend.seen(), 1);
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection() {
    let (backend, world) = world().await;
    let settings = frame(4, &[]);
    let cases: &[(Vec<u8>, u64, &str)] = &[
        (frame(0, b"first"), 0x105, "h3-protocol"),
        (settings, 0x105, "h3-protocol"),
        (frame(6, &[0; 8]), 0x105, "h3-protocol"),
        (vec![1, 2, 0], 0x106, "h3-protocol"),
        (frame(1, &[0, 0, 0x80]), 0x200, "h3-compression"),
        (frame(1, &[9, 0]), 0x200, "h3-compression"),
        ([headers(&POST), [0, 0].repeat(100)].concat(), 0x107, "h3-excess"),
    ];
    for (octets, code, name) in cases {
        let before = world.world.stats().refused.get(name).copied().unwrap_or_default();
        let raw = world.raw().await;
        assert_eq!(raw.say(octets).await, Outcome::Closed(*code), "{octets:?}");
        assert_eq!(world.world.stats().refused.get(name), Some(&(before + 1)), "{octets:?}");
    }
    // The last one's head was good.
    assert!(backend.seen() <= 1);
}

#[tokio::test]
async fn streams_that_must_not_be_end_the_connection() {
    let (_backend, world) = world().await;
    let cases: [(&[u8], u64); 7] = [
        (&[1], 0x103),
        (&[0, 4, 0], 0x103),
        (&[2, 0x3f, 9], 0x201),
        (&[2, 0xc0, 1], 0x201),
        (&[3, 0x80], 0x202),
        (&[3, 1], 0x202),
        (&[2], 0x104),
    ];
    for (octets, code) in cases {
        let raw = world.raw().await;
        let mut stream = uni(&raw.connection, octets).await;
        if code == 0x104 {
            stream.finish().unwrap();
        }
        assert_eq!(raw.closed().await, code, "{octets:?}");
    }
    let (_endpoint, connection) = world.connect().await;
    let _stream = uni(&connection, &[0, 7, 1, 0]).await;
    let closed = crate::support::code(soon("the end", connection.closed()).await);
    assert_eq!(closed, 0x10a, "settings come first");
}

#[tokio::test]
async fn streams_and_frames_that_nobody_knows_are_passed_over() {
    let (_backend, world) = world().await;
    let raw = world.raw().await;
    let unknown = uni(&raw.connection, &[0x21, 1, 2, 3]).await;
    assert!(soon("the word that it is not read", unknown.stopped()).await.unwrap().is_some());
    let request = [frame(0x21, b"grease"), headers(&GET), frame(0x3f, b"")].concat();
    assert_eq!(raw.say(&request).await, Outcome::Status(200));
}

#[tokio::test]
async fn a_client_that_opens_streams_for_nothing_all_the_time_is_sent_away() {
    let (_backend, world) = world().await;
    for says_what_for in [true, false] {
        let before = world.world.stats().refused.get("h3-excess").copied().unwrap_or_default();
        let raw = world.raw().await;
        let flood = async {
            while let Ok(mut stream) = raw.connection.open_uni().await {
                if says_what_for {
                    let _ = stream.write_all(&[0x21]).await;
                }
                let _ = stream.reset(0u32.into());
            }
        };
        soon("the end of it", flood).await;
        assert_eq!(raw.closed().await, 0x107, "{says_what_for}");
        assert_eq!(world.world.stats().refused.get("h3-excess"), Some(&(before + 1)));
    }
}

#[tokio::test]
async fn content_that_goes_wrong_later_is_told_before_the_response_or_cut() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.closed().await;
    })
    .await;
    let world = start(Setup::http(&[backend.address]));
    let raw = world.raw().await;
    let short = [headers(&[&POST[..], &[("content-length", "10")]].concat()), frame(0, b"short")].concat();
    assert_eq!(raw.say(&short).await, Outcome::Status(400));
    let long = [headers(&[&POST[..], &[("content-length", "3")]].concat()), frame(0, b"longer")].concat();
    assert_eq!(raw.say(&long).await, Outcome::Status(400));
    let trailers = [headers(&POST), frame(0, b"content"), headers(&[("content-length", "7")])].concat();
    assert_eq!(raw.say(&trailers).await, Outcome::Status(400));
    let refused = world.world.stats().refused;
    assert_eq!((refused.get("length-mismatch"), refused.get("unsafe-trailer")), (Some(&2), Some(&1)));
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_head_is_told() {
    let backend = Backend::fixed("must not be asked").await;
    let world =
        start(Setup { header_timeout: Duration::from_millis(300), ..Setup::http(&[backend.address]) });
    let raw = world.raw().await;
    let (mut send, mut receive) = raw.connection.open_bi().await.unwrap();
    send.write_all(&headers(&GET)[..9]).await.unwrap();
    let outcome = soon("the answer", crate::support::outcome(&mut receive)).await;
    assert_eq!(outcome, Outcome::Status(408));
    assert_eq!((world.world.slow_clients(Slow::Head), backend.seen()), (1, 0));
}

#[tokio::test]
async fn a_client_that_cancels_all_the_time_is_sent_away() {
    let backend = Backend::start(|mut peer| async move { peer.closed().await }).await;
    let world = start(Setup::http(&[backend.address]));
    let raw = world.raw().await;
    let flood = async {
        while let Ok((mut send, mut receive)) = raw.connection.open_bi().await {
            if send.write_all(&headers(&GET)).await.is_err() || send.finish().is_err() {
                break;
            }
            // Once it is under way.
            if receive.stop(0x10cu32.into()).is_err() {
                break;
            }
        }
    };
    soon("an end of it", flood).await;
    assert_eq!(raw.closed().await, 0x107);
    until("the count", || world.world.stats().refused.contains_key("h3-rapid-reset")).await;
}
