//! What an HTTP/2 client may not do, frame by frame, and how its connection ends.

#![allow(clippy::unwrap_used, reason = "test helpers")]
#![allow(clippy::disallowed_methods, reason = "drives real sockets")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{
    Backend, Setup, World,
    h2::{Client, END_HEADERS, END_STREAM, Raw, block, frame, get, get_block, kind, post},
    soon, until,
};
use http::Request;
use proxima_proxy::Slow;

const CALM: u32 = 11;
const ALONE: u8 = END_STREAM | END_HEADERS;

fn refused(world: &World) -> u64 {
    world.stats().refused.values().sum()
}

/// A backend that takes requests and answers none.
async fn silent() -> Backend {
    Backend::start(|mut peer| async move {
        peer.head().await;
        peer.closed().await;
    })
    .await
}

#[tokio::test]
async fn malformed_requests_are_refused_counted_and_never_forwarded() {
    let backend = Backend::fixed("served").await;
    let world = Setup::http(&[backend.address]).start();
    let get = |fields: &[(&str, &[u8])]| frame(kind::HEADERS, ALONE, 1, &get_block(fields));
    let head = |fields: &[(&str, &[u8])]| frame(kind::HEADERS, ALONE, 1, &block(fields));
    let with_data = |length: &[u8]| {
        let fields: &[(&str, &[u8])] = &[
            (":method", b"POST"),
            (":scheme", b"http"),
            (":path", b"/"),
            (":authority", b"a"),
            ("content-length", length),
        ];
        [frame(kind::HEADERS, END_HEADERS, 1, &block(fields)), frame(kind::DATA, END_STREAM, 1, b"abc")]
            .concat()
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("RFC 9113 §8.2.2", get(&[("connection", b"close")])),
        ("RFC 9113 §8.2.2", get(&[("transfer-encoding", b"chunked")])),
        ("RFC 9113 §8.2.2", get(&[("upgrade", b"websocket")])),
        ("RFC 9113 §8.2.2", get(&[("keep-alive", b"1")])),
        ("RFC 9113 §8.2.2", get(&[("proxy-connection", b"close")])),
        ("RFC 9113 §8.2.2", get(&[("te", b"gzip")])),
        ("RFC 9113 §8.2.1: upper case", get(&[("X-Own", b"v")])),
        ("RFC 9113 §8.2.1: white space", get(&[("x own", b"v")])),
        ("RFC 9113 §8.2.1: CR", get(&[("x", b"a\rb")])),
        ("RFC 9113 §8.2.1: LF", get(&[("x", b"a\nb: c")])),
        ("RFC 9113 §8.2.1: CR LF", get(&[("x", b"a\r\nb: c")])),
        ("RFC 9113 §8.2.1: NUL", get(&[("x", b"a\0b")])),
        ("a line end in a name", get(&[("x: y\r\nz", b"v")])),
        (
            "a line end in the path",
            head(&[
                (":method", b"GET"),
                (":scheme", b"http"),
                (":path", b"/ HTTP/1.1\r\nx: y"),
                (":authority", b"a"),
            ]),
        ),
        (
            "a space in the path",
            head(&[(":method", b"GET"), (":scheme", b"http"), (":path", b"/ x"), (":authority", b"a")]),
        ),
        (
            "a line end in the method",
            head(&[
                (":method", b"GET / HTTP/1.1\r\n"),
                (":scheme", b"http"),
                (":path", b"/"),
                (":authority", b"a"),
            ]),
        ),
        (
            "a line end in the authority",
            head(&[(":method", b"GET"), (":scheme", b"http"), (":path", b"/"), (":authority", b"a\r\nx: y")]),
        ),
        (
            "userinfo",
            head(&[(":method", b"GET"), (":scheme", b"http"), (":path", b"/"), (":authority", b"u@a")]),
        ),
        ("no host at all", head(&[(":method", b"GET"), (":scheme", b"http"), (":path", b"/")])),
        ("no path", head(&[(":method", b"GET"), (":scheme", b"http"), (":authority", b"a")])),
        (
            "an empty path",
            head(&[(":method", b"GET"), (":scheme", b"http"), (":path", b""), (":authority", b"a")]),
        ),
        (
            "a path above the root",
            head(&[(":method", b"GET"), (":scheme", b"http"), (":path", b"/../x"), (":authority", b"a")]),
        ),
        ("no method", head(&[(":scheme", b"http"), (":path", b"/"), (":authority", b"a")])),
        (
            "a pseudo-header field twice",
            head(&[
                (":method", b"GET"),
                (":method", b"PUT"),
                (":scheme", b"http"),
                (":path", b"/"),
                (":authority", b"a"),
            ]),
        ),
        ("a pseudo-header field behind others", get(&[("x", b"1"), (":path", b"/y")])),
        ("one of responses", get(&[(":status", b"200")])),
        ("one nobody knows", get(&[(":own", b"1")])),
        ("RFC 9113 §8.3.1: Host", get(&[("host", b"b")])),
        (
            "Host twice",
            head(&[
                (":method", b"GET"),
                (":scheme", b"http"),
                (":path", b"/"),
                ("host", b"a"),
                ("host", b"a"),
            ]),
        ),
        ("CONNECT", head(&[(":method", b"CONNECT"), (":authority", b"a:1")])),
        ("a protocol without CONNECT", get(&[(":protocol", b"websocket")])),
        ("TRACE with a body", {
            let fields: &[(&str, &[u8])] =
                &[(":method", b"TRACE"), (":scheme", b"http"), (":path", b"/"), (":authority", b"a")];
            frame(kind::HEADERS, END_HEADERS, 1, &block(fields))
        }),
        ("a length that is none", with_data(b"x")),
        ("two lengths", get(&[("content-length", b"0"), ("content-length", b"0")])),
        ("a length and no body", get(&[("content-length", b"3")])),
        ("an expectation nobody knows", get(&[("expect", b"the-worst")])),
        ("more fields than a head may have", get(&vec![("x", b"1" as &[u8]); 101])),
    ];
    for (count, (case, bytes)) in (1..).zip(&cases) {
        let mut client = Raw::connect(&world).await;
        client.write(bytes).await;
        let told = loop {
            let frame = client.next().await.unwrap_or_else(|| panic!("{case}: the end without a word"));
            if matches!(frame.kind, kind::HEADERS | kind::RST_STREAM | kind::GOAWAY) {
                break frame;
            }
        };
        if told.kind == kind::HEADERS {
            assert_ne!(told.payload[0], 0x88, "{case}: 200");
        } else {
            assert!(matches!(told.code(), 1 | 9), "{case}: {told:?}");
        }
        drop(client);
        until("the count", || refused(&world) >= count).await;
        assert_eq!(refused(&world), count, "{case}: counted once, {:?}", world.stats().refused);
    }
    assert_eq!(backend.seen(), 0);
    assert_eq!(Client::connect(&world).await.get("/").await.text(), "served");
}

#[tokio::test]
async fn a_body_unlike_its_length_never_looks_whole_to_the_backend() {
    for body in [&b"abc"[..], b"abcdefgh"] {
        let backend = Backend::start(|mut peer| async move {
            peer.head().await.unwrap();
            peer.closed().await;
            assert!(peer.buffer.len() < 5, "{:?}", peer.buffer);
        })
        .await;
        let world = Setup::http(&[backend.address]).start();
        let mut client = Raw::connect(&world).await;
        let head = block(&[
            (":method", b"POST"),
            (":scheme", b"http"),
            (":path", b"/"),
            (":authority", b"a"),
            ("content-length", b"5"),
        ]);
        client.write(&frame(kind::HEADERS, END_HEADERS, 1, &head)).await;
        until("the request", || backend.seen() == 1).await;
        client.write(&frame(kind::DATA, END_STREAM, 1, body)).await;
        assert_eq!(client.expect(kind::RST_STREAM).await.code(), 1);
        until("the end", || world.stats().cancelled == 1).await;
        assert_eq!(world.stats().refused.get("h2-protocol"), Some(&1));
        backend.kill().await;
    }
}

#[tokio::test]
async fn trailers_that_must_not_come_late_are_refused() {
    let backend = silent().await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Client::connect(&world).await;
    let (response, mut sending) = client.send.send_request(post("/"), false).unwrap();
    sending.send_data(Bytes::from_static(b"body"), false).unwrap();
    let trailers = [(http::header::AUTHORIZATION, "x".parse().unwrap())].into_iter().collect();
    sending.send_trailers(trailers).unwrap();
    assert_eq!(soon("an answer", response).await.unwrap().status().as_u16(), 400);
    assert_eq!(world.stats().refused.get("unsafe-trailer"), Some(&1));
}

#[tokio::test]
async fn field_lists_beyond_64_kib_get_431_and_far_beyond_the_end() {
    let backend = Backend::fixed("served").await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Client::connect(&world).await;
    let with = |length: usize| Request::get("http://a/").header("x", "v".repeat(length)).body(()).unwrap();
    assert_eq!(client.ask(with(60 * 1024), "").await.status(), 200);
    assert_eq!(client.ask(with(66 * 1024), "").await.status(), 431);
    assert_eq!(client.get("/").await.status(), 200);
    assert_eq!(world.stats().refused.get("head-too-long"), Some(&1), "{:?}", world.stats().refused);
    assert!(client.try_ask(with(1024 * 1024), "").await.is_err());
    until("the end", || world.stats().open == 0).await;
    assert_eq!(world.stats().requests, 2, "nothing else was let through");
    assert_eq!(world.stats().refused.get("h2-excess"), Some(&1), "{:?}", world.stats().refused);
}

#[tokio::test]
async fn heads_of_many_fields_are_refused_and_of_far_too_many_end_the_connection() {
    let backend = Backend::fixed("served").await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Client::connect(&world).await;
    // RFC 9113 §8.2.3: pieces of one cookie are one field.
    let mut crumbs = get("/");
    for crumb in 0..300 {
        crumbs.headers_mut().append("cookie", format!("c{crumb}=v").parse().unwrap());
    }
    assert_eq!(client.ask(crumbs, "").await.status(), 200);
    let mut many = get("/");
    for field in 0..300 {
        many.headers_mut().append("x", field.into());
    }
    assert_eq!(client.ask(many, "").await.status(), 431);
    assert_eq!(client.get("/").await.status(), 200);
    assert_eq!(world.stats().refused.get("too-many-fields"), Some(&1), "{:?}", world.stats().refused);
    let indexed = [get_block(&[]), vec![0x82; 600]].concat();
    let split = indexed.chunks(100).enumerate().map(|(at, fields)| {
        let kind = if at == 0 { kind::HEADERS } else { kind::CONTINUATION };
        frame(kind, 0, 1, fields)
    });
    let (padded, whole) = ([&[3][..], &indexed, &[0; 3]].concat(), indexed.clone());
    // Malformed as well, which only those find who decode it.
    let heads = [
        vec![frame(kind::HEADERS, ALONE, 1, &whole)],
        vec![frame(kind::HEADERS, ALONE | 0x8, 1, &padded)],
        split.collect(),
    ];
    for (count, head) in (1..).zip(heads) {
        drowned(&world, head).await;
        assert_eq!(world.stats().refused.get("h2-excess"), Some(&count), "{:?}", world.stats().refused);
    }
    assert_eq!(refused(&world), 4, "nothing else was found: {:?}", world.stats().refused);
    assert_eq!(world.stats().requests, 2, "nothing else was let through");
    until("the connections closed", || world.stats().open == 1).await;
}

#[tokio::test]
async fn what_comes_at_once_is_served_turn_by_turn_to_the_last_request() {
    let backend = Backend::fixed("served").await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Raw::connect(&world).await;
    let fields = vec![("x", b"1" as &[u8]); 90];
    let flood: Vec<u8> = (1..256)
        .step_by(2)
        .flat_map(|stream| frame(kind::HEADERS, ALONE, stream, &get_block(&fields)))
        .collect();
    client.write(&flood).await;
    let mut answered = 0;
    while answered < 128 {
        let told = client.next().await.expect("a frame");
        answered += usize::from(told.kind == kind::HEADERS && told.payload[0] == 0x88);
    }
    assert_eq!(refused(&world), 0);
}

/// Writes `flood` until the connection ends, or all of it is out, and looks how it ended.
async fn drowned(world: &World, flood: impl IntoIterator<Item = Vec<u8>>) {
    let mut client = Raw::connect(world).await;
    let flood: Vec<u8> = flood.into_iter().flatten().collect();
    client.write(&flood).await;
    let goaway = client.expect(kind::GOAWAY).await;
    assert_eq!(goaway.code(), CALM);
    client.rest().await;
}

#[tokio::test]
async fn floods_end_with_enhance_your_calm_and_others_are_served() {
    let backend = silent().await;
    let world = Setup::http(&[backend.address]).start();
    let control = [
        frame(kind::PING, 0, 0, &[0; 8]),
        frame(kind::SETTINGS, 0, 0, &[]),
        frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        frame(0xfa, 0, 0, b"unknown"),
    ];
    for (count, flood) in (1..).zip(&control) {
        drowned(&world, (0..3000).map(|_| flood.clone())).await;
        until("the count", || world.stats().refused.get("h2-control-flood") == Some(&count)).await;
    }
    assert_eq!(refused(&world), control.len() as u64, "each counted once");
    let head = frame(kind::HEADERS, END_STREAM, 1, &get_block(&[]));
    let more = frame(kind::CONTINUATION, 0, 1, &block(&[("x", b"v")]));
    drowned(&world, [head].into_iter().chain((0..3000).map(|_| more.clone()))).await;
    assert_eq!(world.stats().refused.get("h2-excess"), Some(&1));
    // Before a stream is even looked at.
    drowned(&world, (0..1000).map(|n| reset_at_once(2 * n + 1))).await;
    assert_eq!(world.stats().refused.get("h2-rapid-reset"), Some(&1));
    assert_eq!(world.stats().requests, 0);
    until("the connections closed", || world.stats().open == 0).await;
}

fn reset_at_once(stream: u32) -> Vec<u8> {
    let head = frame(kind::HEADERS, ALONE, stream, &get_block(&[]));
    [head, frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
}

#[tokio::test]
async fn rapid_resets_are_paid_for_out_of_a_budget() {
    let backend = silent().await;
    let world = Setup::http(&[backend.address]).start();
    // Slow enough that each request is under way, one by one.
    let mut client = Raw::connect(&world).await;
    let mut streams = (1..).step_by(2);
    let goaway = loop {
        let stream = streams.next().unwrap();
        client.write(&frame(kind::HEADERS, ALONE, stream, &get_block(&[]))).await;
        let requests = u64::from(stream / 2 + 1);
        until("the request", || world.stats().requests == requests || refused(&world) > 0).await;
        client.write(&frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8])).await;
        until("its end", || world.stats().cancelled == requests || refused(&world) > 0).await;
        if refused(&world) > 0 {
            break client.expect(kind::GOAWAY).await;
        }
        assert!(stream < 2000, "no end of resets");
    };
    assert_eq!(goaway.code(), CALM);
    assert_eq!(world.stats().refused.get("h2-rapid-reset"), Some(&1));
    until("the backends let go", || world.plane.stats().backends.values().all(|b| b.pending == 0)).await;
}

#[tokio::test]
async fn resets_that_a_client_makes_us_send_cost_it_as_its_own() {
    let backend = silent().await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Raw::connect(&world).await;
    let goaway = 'flood: {
        for stream in (1..4000).step_by(2) {
            client.write(&frame(kind::HEADERS, ALONE, stream, &get_block(&[]))).await;
            // RFC 9113 §6.9.1: a window beyond its bound is a stream error.
            client.write(&frame(kind::WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])).await;
            loop {
                let told = client.next().await.expect("a word");
                match told.kind {
                    kind::GOAWAY => break 'flood told,
                    kind::RST_STREAM => break,
                    _ => {}
                }
            }
        }
        panic!("no end of resets");
    };
    assert_eq!(goaway.code(), CALM);
    assert_eq!(world.stats().refused.get("h2-rapid-reset"), Some(&1));
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_unprocessed() {
    let backend = silent().await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Raw::connect(&world).await;
    let settings = client.expect(kind::SETTINGS).await;
    let limit = settings.payload.chunks(6).find(|setting| setting[..2] == [0, 3]).unwrap();
    assert_eq!(limit[2..], 128u32.to_be_bytes());
    let streams = (1..).step_by(2).take(129);
    let flood: Vec<u8> =
        streams.flat_map(|stream| frame(kind::HEADERS, ALONE, stream, &get_block(&[]))).collect();
    client.write(&flood).await;
    let reset = client.expect(kind::RST_STREAM).await;
    assert_eq!((reset.stream, reset.code()), (257, 7));
    until("the others", || world.stats().requests == 128).await;
    assert_eq!(world.stats().refused.get("h2-concurrency"), Some(&1));
}

#[tokio::test]
async fn connections_at_rest_end_with_goaway_and_heads_that_trickle_with_the_close() {
    let backend = Backend::fixed("served").await;
    let (header_timeout, keep_alive) = (Duration::from_millis(700), Duration::from_millis(1200));
    let world = Setup { header_timeout, keep_alive, ..Setup::http(&[backend.address]) }.start();
    let mut resting = Raw::connect(&world).await;
    resting.write(&frame(kind::HEADERS, ALONE, 1, &get_block(&[]))).await;
    let goaway = resting.expect(kind::GOAWAY).await;
    assert_eq!(goaway.code(), 0);
    assert_eq!(world.slow_clients(Slow::Head), 0);
    let mut slow = Raw::connect(&world).await;
    slow.write(&frame(kind::HEADERS, ALONE, 1, &get_block(&[]))[..12]).await;
    slow.rest().await;
    let mut silent = Raw::connect(&world).await;
    silent.rest().await;
    assert_eq!(world.slow_clients(Slow::Head), 1, "one had begun a head");
    until("the connections closed", || world.stats().open == 0).await;
}

#[tokio::test]
async fn a_preface_that_does_not_come_whole_ends_as_any_slow_head() {
    let backend = Backend::fixed("served").await;
    let header_timeout = Duration::from_millis(200);
    let world = Setup { header_timeout, ..Setup::http(&[backend.address]) }.start();
    let mut client = world.client().await;
    client.write("PRI * HTTP/2.0\r\n").await;
    assert_eq!(client.response().await.status, 408);
    // What begins like one and is none, and one that comes late.
    for (bytes, status) in
        [("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", 505), ("PRI * HTTP/1.1\r\nHost: a\r\n\r\n", 400)]
    {
        let mut client = world.client().await;
        client.write(bytes).await;
        assert_eq!(client.response().await.status, status, "{bytes}");
    }
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.status, 200);
    client.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(client.response().await.status, 505);
}

#[tokio::test]
async fn streams_that_find_no_descriptor_for_their_backend_get_503() {
    let backend = silent().await;
    let world = Setup { max_descriptors: Some(12), ..Setup::http(&[backend.address]) }.start();
    let client = Client::connect(&world).await;
    let mut waiting = Vec::new();
    let shed = loop {
        let mut ready = client.send.clone().ready().await.unwrap();
        let (mut response, _) = ready.send_request(get("/"), true).unwrap();
        let requests = waiting.len() as u64 + 1;
        until("a verdict", || world.stats().requests == requests || world.stats().shed == 1).await;
        if world.stats().shed == 1 {
            break soon("an answer", &mut response).await.unwrap();
        }
        waiting.push(response);
    };
    assert_eq!(shed.status().as_u16(), 503);
    assert!((1..12).contains(&waiting.len()), "{}", waiting.len());
}

#[tokio::test]
async fn clients_at_rest_take_no_descriptor_from_the_one_stream_of_another() {
    let backend = silent().await;
    let world = Setup { max_descriptors: Some(64), ..Setup::http(&[backend.address]) }.start();
    let mut resting = Vec::new();
    let mut rest = async |count: u64| {
        for _ in 0..count {
            let before = world.stats();
            resting.push(tokio::net::TcpStream::connect(world.address).await.unwrap());
            until("a client at rest", || {
                let now = world.stats();
                now.connections > before.connections && now.idle + now.evicted > before.idle + before.evicted
            })
            .await;
        }
    };
    rest(20).await;
    let clients = [Client::connect(&world).await, Client::connect(&world).await];
    rest(50).await;
    assert!(world.stats().evicted < 20, "{}", world.stats().evicted);
    let mut waiting = Vec::new();
    for client in &clients {
        let mut ready = client.send.clone().ready().await.unwrap();
        waiting.push(ready.send_request(get("/"), true).unwrap());
        until("the backend to be asked", || backend.seen() == waiting.len()).await;
    }
    assert_eq!(world.stats().shed, 0);
}

#[tokio::test]
async fn a_client_at_rest_that_others_need_the_place_of_is_told_goaway() {
    let backend = Backend::fixed("served").await;
    let world = Setup { max_descriptors: Some(64), ..Setup::http(&[backend.address]) }.start();
    let mut client = Raw::connect(&world).await;
    client.write(&frame(kind::HEADERS, ALONE, 1, &get_block(&[]))).await;
    client.expect(kind::HEADERS).await;
    let mut resting = Vec::new();
    while world.stats().evicted == 0 {
        resting.push(world.client().await);
        let clients = resting.len() as u64 + 1;
        until("a client at rest", || world.stats().idle + world.stats().evicted == clients).await;
    }
    let goaway = client.expect(kind::GOAWAY).await;
    assert_eq!((goaway.code(), &goaway.payload[..4]), (0, &[0, 0, 0, 1][..]), "stream 1 was the last");
    assert_eq!((world.stats().shed, world.stats().evicted), (0, 1));
}
