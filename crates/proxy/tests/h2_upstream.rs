//! Backends that speak HTTP/2, for clients of HTTP/1.1 and of HTTP/2.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use common::{
    Setup, field,
    h2::{Backend, Client, answer, get, post},
    refusing, soon, until,
};
use h2::Reason;
use http::{HeaderMap, Request, Response};
use proxima_proxy::{Timeouts, UpstreamProtocol};
use tokio::sync::{Notify, mpsc};

fn setup(backends: &[std::net::SocketAddr]) -> Setup {
    Setup { upstream: UpstreamProtocol::Http2, ..Setup::http(backends) }
}

/// Answers with `body` at once.
async fn fixed(body: &'static str) -> Backend {
    Backend::start(move |_, mut respond| async move {
        let mut sending = respond.send_response(Response::new(()), false).unwrap();
        let _ = sending.send_data(Bytes::from_static(body.as_bytes()), true);
    })
    .await
}

#[tokio::test]
async fn clients_of_http1_share_one_connection_and_the_hop_is_named() {
    let (heads, mut seen) = mpsc::unbounded_channel();
    let backend = Backend::start(move |request, mut respond| {
        let heads = heads.clone();
        async move {
            heads.send(request.into_parts().0).unwrap();
            let response =
                Response::builder().header("x-own", "v").header("content-length", "2").body(()).unwrap();
            let mut sending = respond.send_response(response, false).unwrap();
            sending.send_data(Bytes::from_static(b"hi"), true).unwrap();
        }
    })
    .await;
    let world = setup(&[backend.address]).start();
    let (mut one, mut other) = (world.client().await, world.client().await);
    for client in [&mut one, &mut other] {
        for _ in 0..2 {
            client.write("GET /p?q HTTP/1.1\r\nHost: a\r\nConnection: x-hop\r\nX-Hop: 1\r\nTE: trailers\r\nCookie: c=1\r\n\r\n").await;
            let response = client.response().await;
            assert_eq!((response.status, response.text()), (200, "hi"));
            assert_eq!(
                response.head,
                "HTTP/1.1 200 \r\nx-own: v\r\ncontent-length: 2\r\nVia: 2 fra1\r\n\r\n"
            );
            let head = seen.recv().await.unwrap();
            assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("GET", "http://a/p?q"));
            let mut names: Vec<_> = head.headers.keys().map(http::HeaderName::as_str).collect();
            names.sort_unstable();
            assert_eq!(
                names,
                [
                    "cookie",
                    "forwarded",
                    "te",
                    "via",
                    "x-forwarded-for",
                    "x-forwarded-host",
                    "x-forwarded-proto"
                ]
            );
            assert_eq!(
                (&head.headers["te"], &head.headers["via"]),
                (&"trailers".parse().unwrap(), &"1.1 fra1".parse().unwrap())
            );
        }
    }
    assert_eq!(backend.seen(), 1);
    let sums = world.plane.stats();
    let counted = sums.backends.values().next().unwrap();
    assert_eq!((counted.requests, counted.connects, counted.reuses), (4, 1, 3));
    until("the ends of all", || {
        let regions = world.plane.stats().regions;
        let region = regions.values().next().unwrap();
        (region.responses, region.first_byte.count(), region.total.count()) == ([0, 4, 0, 0, 0], 4, 4)
    })
    .await;
}

#[tokio::test]
async fn bodies_and_trailers_of_http1_clients_go_both_ways() {
    let backend = Backend::echo().await;
    let world = setup(&[backend.address]).start();
    let mut client = world.client().await;
    let known = client.post("/", "of known length").await;
    assert_eq!((known.text(), field(&known.head, "transfer-encoding")), ("of known length", Some("chunked")));
    client
        .write(
            "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\none\r\n4\r\n two\r\n0\r\nX-Sum: 7\r\n\r\n",
        )
        .await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200"));
    let mut body = String::new();
    loop {
        let size = usize::from_str_radix(&client.line().await, 16).unwrap();
        if size == 0 {
            break;
        }
        body += std::str::from_utf8(&client.exactly(size).await).unwrap();
        client.line().await;
    }
    assert_eq!(
        (body.as_str(), client.line().await.as_str(), client.line().await.as_str()),
        ("one two", "x-sum: 7", "")
    );
    // The connection goes on, and a large body fits through all windows.
    let large = "x".repeat(3 << 20);
    client.write(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", large.len())).await;
    let (mut reader, mut writer) = client.stream.into_split();
    let upload = tokio::spawn(async move {
        tokio::io::AsyncWriteExt::write_all(&mut writer, large.as_bytes()).await.unwrap();
        writer
    });
    let mut got = client.buffer;
    while !got.ends_with(b"0\r\n\r\n") {
        let count = soon("more", tokio::io::AsyncReadExt::read_buf(&mut reader, &mut got)).await.unwrap();
        assert_ne!(count, 0);
    }
    got.retain(|byte| *byte == b'x');
    assert_eq!(got.len(), 3 << 20);
    drop(upload.await.unwrap());
}

#[tokio::test]
async fn clients_of_http10_get_what_they_know() {
    let backend = fixed("served").await;
    let world = setup(&[backend.address]).start();
    let mut client = world.client().await;
    client.write("GET / HTTP/1.0\r\n\r\n").await;
    let (answered, clean) = client.rest().await;
    let answered = String::from_utf8(answered).unwrap();
    assert!(clean);
    assert!(answered.ends_with("\r\n\r\nserved") && !answered.contains("chunked"), "{answered}");
    let mut client = world.client().await;
    client.write("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(client.response().await.text(), "served");
}

#[tokio::test]
async fn an_interim_response_that_is_not_for_the_client_commits_to_nothing() {
    let broken = Backend::start(|_, mut respond| async move {
        respond.send_informational(Response::builder().status(103).body(()).unwrap()).unwrap();
        // Once that is on its way.
        tokio::task::yield_now().await;
        respond.send_reset(Reason::INTERNAL_ERROR);
    })
    .await;
    let world = setup(&[broken.address]).start();
    let mut client = world.client().await;
    client.write("GET / HTTP/1.0\r\n\r\n").await;
    let (answered, clean) = client.rest().await;
    let answered = String::from_utf8(answered).unwrap();
    assert!(clean && answered.starts_with("HTTP/1.1 502"), "{answered}");
}

#[tokio::test]
async fn a_connection_that_has_fallen_silent_gets_no_more_streams() {
    use common::h2::{END_HEADERS, END_STREAM, frame, kind};

    let (address, mut connections) = raw_backend().await;
    let timeouts = Timeouts { first_byte: Duration::from_millis(300), ..Timeouts::default() };
    let world = Setup { timeouts, ..setup(&[address]) }.start();
    let mut client = world.client().await;
    // It takes what is sent and says nothing, as one does that a firewall has forgotten.
    assert_eq!(client.post("/", "x").await.status, 504);
    let _silent = soon("a connection", connections.recv()).await.unwrap();
    let (response, answered) = tokio::join!(client.post("/", "x"), async {
        let mut other = soon("another connection", connections.recv()).await.unwrap();
        let request = other.expect(kind::HEADERS).await;
        // :status 204 of the static table.
        other.write(&frame(kind::HEADERS, END_STREAM | END_HEADERS, request.stream, &[0x89])).await;
        other
    });
    assert_eq!(response.status, 204);
    drop(answered);
}

/// A gRPC message: a flag and a length before it.
fn message(text: &str) -> Bytes {
    let mut framed = vec![0, 0, 0, 0, text.len() as u8];
    framed.extend(text.as_bytes());
    framed.into()
}

fn grpc(path: &str) -> Request<()> {
    let request = Request::post(format!("http://a{path}")).header("content-type", "application/grpc");
    request.header("te", "trailers").header("grpc-timeout", "10S").body(()).unwrap()
}

#[tokio::test]
async fn grpc_calls_pass_unary_and_streaming_both_ways_with_their_trailers() {
    let backend = Backend::start(|request, mut respond| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let path = request.uri().path().to_owned();
        let response = Response::builder().header("content-type", "application/grpc");
        if path == "/pkg.Service/Missing" {
            // Trailers only.
            let response = response.header("grpc-status", "12").body(()).unwrap();
            respond.send_response(response, true).unwrap();
            return;
        }
        let mut sending = respond.send_response(response.body(()).unwrap(), false).unwrap();
        let mut body = request.into_body();
        while let Some(bytes) = body.data().await {
            let bytes = bytes.unwrap();
            body.flow_control().release_capacity(bytes.len()).unwrap();
            if !bytes.is_empty() {
                sending.send_data(bytes, false).unwrap();
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("grpc-message", "done".parse().unwrap());
        sending.send_trailers(trailers).unwrap();
    })
    .await;
    let world = setup(&[backend.address]).start();
    let mut client = Client::connect(&world).await;

    let (response, mut sending) = client.send.send_request(grpc("/pkg.Service/Unary"), false).unwrap();
    sending.send_data(message("hello"), true).unwrap();
    let unary = answer(soon("a response", response).await.unwrap()).await.unwrap();
    assert_eq!(unary.body, message("hello"));
    assert_eq!(unary.trailers.unwrap()["grpc-message"], "done");

    // Each message is answered before the next one is sent.
    let (response, mut sending) = client.send.send_request(grpc("/pkg.Service/Chat"), false).unwrap();
    let mut body = soon("a head", response).await.unwrap().into_body();
    for n in 0..5 {
        sending.send_data(message(&format!("message {n}")), false).unwrap();
        let got = soon("a message", body.data()).await.unwrap().unwrap();
        assert_eq!(got, message(&format!("message {n}")));
    }
    sending.send_data(Bytes::new(), true).unwrap();
    assert!(soon("the end", body.data()).await.is_none());
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");

    let missing = client.ask(grpc("/pkg.Service/Missing"), "").await;
    assert_eq!((missing.field("grpc-status"), missing.body.len()), (Some("12"), 0));
    assert!(missing.trailers.is_none());
    assert_eq!(backend.seen(), 1);
}

#[tokio::test]
async fn streams_beyond_what_the_backend_takes_go_over_further_connections() {
    let cue = Arc::<Notify>::default();
    let (own, running) = (cue.clone(), Arc::<AtomicUsize>::default());
    let count = running.clone();
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(4);
    let backend = Backend::with(builder, move |_, mut respond| {
        let (cue, running) = (own.clone(), count.clone());
        async move {
            running.fetch_add(1, Ordering::SeqCst);
            cue.notified().await;
            let _ = respond.send_response(Response::new(()), true);
        }
    })
    .await;
    let world = setup(&[backend.address]).start();
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = world.client().await;
        client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        clients.push(client);
    }
    until("all requests", || running.load(Ordering::SeqCst) == 10).await;
    assert_eq!(backend.seen(), 3);
    cue.notify_waiters();
    for client in &mut clients {
        assert_eq!(client.response().await.status, 200);
    }
}

#[tokio::test]
async fn requests_that_the_backend_did_nothing_with_are_sent_again_whatever_they_are() {
    let refusals = Arc::<AtomicUsize>::default();
    let count = refusals.clone();
    let backend = Backend::start(move |request, mut respond| {
        let refuse = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if refuse {
                return respond.send_reset(Reason::REFUSED_STREAM);
            }
            let mut body = request.into_body();
            let mut sending = respond.send_response(Response::new(()), false).unwrap();
            while let Some(Ok(bytes)) = body.data().await {
                sending.send_data(bytes, false).unwrap();
            }
            sending.send_data(Bytes::new(), true).unwrap();
        }
    })
    .await;
    let world = setup(&[backend.address]).start();
    let mut client = Client::connect(&world).await;
    assert_eq!(client.ask(post("/"), "not idempotent").await.text(), "not idempotent");
    assert_eq!((refusals.load(Ordering::SeqCst), backend.seen()), (2, 2), "over another connection");
    // One that refuses always is given up for the next.
    let never =
        Backend::start(|_, mut respond| async move { respond.send_reset(Reason::REFUSED_STREAM) }).await;
    let good = Backend::echo().await;
    let world = setup(&[never.address, good.address]).start();
    let mut client = Client::connect(&world).await;
    assert_eq!(client.ask(post("/"), "not idempotent").await.text(), "not idempotent");
    let world = setup(&[never.address]).start();
    let refused = Client::connect(&world).await.ask(post("/"), "x").await;
    assert_eq!(refused.status(), 503);
    assert!(refused.field("proxy-status").unwrap().contains("connection_limit_reached"));
}

/// Frames of a backend by hand: accepts connections, says SETTINGS, and hands each over.
async fn raw_backend() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<common::h2::Raw>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connections, accepted) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if connections.send(common::h2::Raw::accepted(stream).await).is_err() {
                return;
            }
        }
    });
    (address, accepted)
}

#[tokio::test]
async fn a_goaway_moves_what_was_not_taken_and_lets_the_rest_end() {
    use common::h2::{END_HEADERS, END_STREAM, frame, kind};

    let (address, mut accepted) = raw_backend().await;
    let world = setup(&[address]).start();
    let mut client = Client::connect(&world).await;
    let (first, _) = client.send.send_request(get("/first"), true).unwrap();
    let mut old = soon("a connection", accepted.recv()).await.unwrap();
    assert_eq!(old.expect(kind::HEADERS).await.stream, 1);
    let (second, mut sending) = client.send.send_request(post("/second"), false).unwrap();
    sending.send_data(Bytes::from_static(b"body"), true).unwrap();
    assert_eq!(old.expect(kind::DATA).await.stream, 3);
    old.write(&frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).await;
    // The second, though not idempotent, comes over a new connection.
    let mut new = soon("another connection", accepted.recv()).await.unwrap();
    assert_eq!(new.expect(kind::HEADERS).await.stream, 1);
    assert_eq!(new.expect(kind::DATA).await.payload, b"body");
    let ok = frame(kind::HEADERS, END_STREAM | END_HEADERS, 1, &[0x88]);
    new.write(&ok).await;
    assert_eq!(soon("the second", second).await.unwrap().status(), 200);
    old.write(&ok).await;
    assert_eq!(soon("the first", first).await.unwrap().status(), 200);
    assert_eq!(world.stats().failures.len(), 0);
}

#[tokio::test]
async fn a_request_that_was_taken_is_sent_again_only_if_it_is_idempotent() {
    use common::h2::kind;

    let good = fixed("the next one").await;
    for (request, status) in [(get("/"), 200), (post("/"), 502)] {
        let (address, mut accepted) = raw_backend().await;
        let world = setup(&[address, good.address]).start();
        let mut client = Client::connect(&world).await;
        let (response, _) = client.send.send_request(request, true).unwrap();
        let mut connection = soon("a connection", accepted.recv()).await.unwrap();
        connection.expect(kind::HEADERS).await;
        drop(connection);
        assert_eq!(soon("an answer", response).await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn a_connection_that_was_of_use_and_is_closed_costs_no_request() {
    use common::h2::{END_HEADERS, END_STREAM, frame, kind};

    let (address, mut accepted) = raw_backend().await;
    let world = setup(&[address]).start();
    let mut client = Client::connect(&world).await;
    let (first, _) = client.send.send_request(get("/"), true).unwrap();
    let mut connection = soon("a connection", accepted.recv()).await.unwrap();
    connection.expect(kind::HEADERS).await;
    connection.write(&frame(kind::HEADERS, END_STREAM | END_HEADERS, 1, &[0x88])).await;
    assert_eq!(soon("the first", first).await.unwrap().status(), 200);
    let (second, _) = client.send.send_request(get("/"), true).unwrap();
    connection.expect(kind::HEADERS).await;
    drop(connection);
    let mut next = soon("another connection", accepted.recv()).await.unwrap();
    next.expect(kind::HEADERS).await;
    next.write(&frame(kind::HEADERS, END_STREAM | END_HEADERS, 1, &[0x88])).await;
    assert_eq!(soon("the second", second).await.unwrap().status(), 200);
    let stats = world.plane.stats();
    let stale = stats.backends.values().next().unwrap().failures.get(&proxima_proxy::Reason::Stale);
    assert_eq!((stale, world.stats().failovers.len()), (Some(&1), 0));
}

#[tokio::test]
async fn a_client_that_leaves_resets_its_stream_and_no_other() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let backend = Backend::start(move |request, mut respond| {
        let ends = ends.clone();
        async move {
            if request.uri().path() == "/quick" {
                respond.send_response(Response::new(()), true).unwrap();
                return;
            }
            let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
            ends.send(reason).unwrap();
        }
    })
    .await;
    let world = setup(&[backend.address]).start();
    let (mut leaving, mut staying) = (world.client().await, world.client().await);
    leaving.write("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("the request", || world.stats().requests == 1).await;
    assert_eq!(staying.get("/quick").await.status, 200);
    drop(leaving);
    assert_eq!(soon("the reset", ended.recv()).await, Some(Reason::CANCEL));
    assert_eq!(staying.get("/quick").await.status, 200);
    assert_eq!(backend.seen(), 1);
    until("the count", || world.stats().cancelled == 1).await;
}

#[tokio::test]
async fn a_client_that_resets_a_request_it_has_ended_resets_its_stream_at_once() {
    use common::h2::{END_HEADERS, END_STREAM, Raw, frame, get_block, kind};

    let (ends, mut ended) = mpsc::unbounded_channel();
    let backend = Backend::start(move |_, mut respond| {
        let ends = ends.clone();
        async move {
            ends.send(None).unwrap();
            ends.send(std::future::poll_fn(|cx| respond.poll_reset(cx)).await.ok()).unwrap();
        }
    })
    .await;
    let world = setup(&[backend.address]).start();
    let mut client = Raw::connect(&world).await;
    client.write(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &get_block(&[]))).await;
    assert_eq!(soon("the request", ended.recv()).await, Some(None));
    client.write(&frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8])).await;
    assert_eq!(soon("the reset", ended.recv()).await, Some(Some(Reason::CANCEL)));
    until("the count", || world.stats().cancelled == 1).await;
}

#[tokio::test]
async fn a_response_that_is_reset_never_looks_whole() {
    let breaks = Arc::<Notify>::default();
    let cue = breaks.clone();
    let backend = Backend::start(move |_, mut respond| {
        let cue = cue.clone();
        async move {
            let mut sending = respond.send_response(Response::new(()), false).unwrap();
            sending.send_data(Bytes::from_static(b"half"), false).unwrap();
            cue.notified().await;
            sending.send_reset(Reason::INTERNAL_ERROR);
        }
    })
    .await;
    let world = setup(&[backend.address]).start();
    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.head().await.unwrap().contains("chunked"));
    assert_eq!(client.exactly(9).await, b"4\r\nhalf\r\n");
    breaks.notify_one();
    let (rest, clean) = client.rest().await;
    assert!(rest.is_empty() && !clean);
    until("the cut", || world.stats().cut == 1).await;
}

#[tokio::test]
async fn a_slow_client_slows_its_own_stream_of_the_shared_connection_only() {
    let backend = Backend::start(|request, mut respond| async move {
        let mut sending = respond.send_response(Response::new(()), false).unwrap();
        if request.uri().path() != "/flood" {
            sending.send_data(Bytes::from_static(b"ok"), true).unwrap();
            return;
        }
        loop {
            sending.reserve_capacity(64 * 1024);
            let Some(Ok(room)) = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await else { return };
            if sending.send_data(Bytes::from(vec![b'x'; room]), false).is_err() {
                return;
            }
        }
    })
    .await;
    let world = setup(&[backend.address]).start();
    let mut floods = Vec::new();
    for _ in 0..4 {
        let mut slow = world.client().await;
        slow.write("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n").await;
        slow.head().await.unwrap();
        floods.push(slow);
    }
    let mut quick = world.client().await;
    for _ in 0..50 {
        assert_eq!(quick.get("/").await.text(), "ok");
    }
    assert_eq!(backend.seen(), 1);
}

#[tokio::test]
async fn what_can_not_be_reached_or_speaks_no_http2_is_passed_over() {
    let old = common::Backend::fixed("HTTP/1.1").await;
    let silent = common::Backend::start(|mut peer| async move { peer.closed().await }).await;
    let good = fixed("served").await;
    let timeouts = Timeouts { connect: Duration::from_millis(200), ..Timeouts::default() };
    let backends = [refusing().await, old.address, silent.address, good.address];
    let world = Setup { timeouts, ..setup(&backends) }.start();
    let mut client = world.client().await;
    assert_eq!(client.post("/", "x").await.text(), "served");
    let failovers = world.stats().failovers;
    assert_eq!(failovers.get(&proxima_proxy::Reason::Connect), Some(&2), "{failovers:?}");
    assert_eq!(failovers.get(&proxima_proxy::Reason::ConnectTimeout), Some(&1), "{failovers:?}");
}

#[tokio::test]
async fn interim_responses_and_expectations_cross_versions() {
    let backend = Backend::start(|request, mut respond| async move {
        assert_eq!(request.headers()["expect"], "100-continue");
        let interim = Response::builder().status(100).body(()).unwrap();
        respond.send_informational(interim).unwrap();
        let mut body = request.into_body();
        let bytes = body.data().await.unwrap().unwrap();
        let mut sending = respond.send_response(Response::new(()), false).unwrap();
        sending.send_data(bytes, true).unwrap();
    })
    .await;
    let world = setup(&[backend.address]).start();
    let mut client = world.client().await;
    client.write("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    assert_eq!(client.response().await.status, 100);
    client.write("body").await;
    assert_eq!(client.response().await.text(), "body");
}

#[tokio::test]
async fn a_malformed_body_of_an_http1_client_ends_both_sides() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let backend = Backend::start(move |request, _respond| {
        let ends = ends.clone();
        async move {
            let mut body = request.into_body();
            while let Some(bytes) = body.data().await {
                if bytes.is_err() {
                    ends.send(()).unwrap();
                    return;
                }
            }
            panic!("a body that looks whole");
        }
    })
    .await;
    let world = setup(&[backend.address]).start();
    let mut client = world.client().await;
    client.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    until("the request", || backend.seen() == 1).await;
    client.write("5 \r\nworld\r\n0\r\n\r\n").await;
    assert_eq!(client.response().await.status, 400);
    soon("the end", ended.recv()).await.unwrap();
    assert_eq!(world.stats().refused.get("chunk-size"), Some(&1));
    backend.kill().await;
}
