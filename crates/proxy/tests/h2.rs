//! HTTP/2 clients in front of HTTP/1.1 backends, between real sockets.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use bytes::Bytes;
use common::{
    Backend, PATIENCE, Setup, field,
    h2::{Client, END_HEADERS, END_STREAM, Raw, answer, block, frame, get, get_block, kind, post},
    refusing, soon, until,
};
use h2::Reason;
use http::{HeaderMap, Request};
use proxima_proxy::{Slow, Timeouts, Unserved};
use std::time::Duration;
use tokio::sync::mpsc;

#[tokio::test]
async fn heads_become_those_of_http1_and_the_hop_is_named() {
    let (backend, mut seen) =
        Backend::telling("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-One: 1\r\nKeep-Alive: timeout=5\r\nConnection: x-two\r\nX-Two: 2\r\n\r\nhi")
            .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Client::connect(&world).await;
    let request = Request::get("http://a/one?q")
        .header("cookie", "a=1")
        .header("x-own", "v")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .header("x-forwarded-for", "192.0.2.1")
        .body(())
        .unwrap();
    let response = client.ask(request, "").await;
    assert_eq!((response.status(), response.text()), (200, "hi"));
    let names: Vec<_> = response
        .head
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(names, [("content-length", "2"), ("x-one", "1"), ("via", "1.1 fra1")]);
    assert_eq!(
        seen.recv().await.unwrap(),
        "GET /one?q HTTP/1.1\r\nHost: a\r\nx-own: v\r\nCookie: a=1; b=2\r\nTE: trailers\r\nConnection: TE\r\n\
         Via: 2 fra1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-For: 192.0.2.1, 127.0.0.1\r\n\
         Forwarded: for=127.0.0.1;proto=http;by=_fra1;host=\"a\"\r\nX-Forwarded-Host: a\r\n\r\n"
    );
    for _ in 0..3 {
        client.get("/two").await;
    }
    assert_eq!(backend.seen(), 1, "the connection to the backend is kept");
    let stats = world.stats();
    assert_eq!((stats.connections, stats.requests, stats.responses), (1, 4, [0, 4, 0, 0, 0]));
    assert!(stats.bytes_in > 100 && stats.bytes_out > 100);
}

#[tokio::test]
async fn bodies_of_known_and_unknown_length_arrive_whole() {
    let backend = Backend::echo().await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Client::connect(&world).await;
    let known = Request::post("http://a/").header("content-length", "5").body(()).unwrap();
    assert_eq!(client.ask(known, "hello").await.text(), "hello");
    assert_eq!(client.ask(post("/"), "of unknown length").await.text(), "of unknown length");
    assert_eq!(client.ask(post("/"), "").await.text(), "");
    // Larger than all windows and buffers, both ways at once.
    let (response, mut sending) = client.send.send_request(post("/big"), false).unwrap();
    let upload = tokio::spawn(async move {
        for n in 0..64u8 {
            let mut left = Bytes::from(vec![n; 64 * 1024]);
            while !left.is_empty() {
                sending.reserve_capacity(left.len());
                let room = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await.unwrap().unwrap();
                sending.send_data(left.split_to(room.min(left.len())), false).unwrap();
            }
        }
        sending.send_data(Bytes::new(), true).unwrap();
    });
    let answered = soon("the echo", answer(soon("a head", response).await.unwrap())).await.unwrap();
    upload.await.unwrap();
    assert_eq!(answered.body.len(), 64 * 64 * 1024);
    assert!(
        answered.body.chunks(64 * 1024).zip(0..64u8).all(|(chunk, n)| chunk.iter().all(|byte| *byte == n))
    );
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let (sections, mut seen) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let sections = sections.clone();
        async move {
            let head = peer.head().await.unwrap();
            assert_eq!(field(&head, "transfer-encoding"), Some("chunked"));
            assert_eq!(peer.exactly(10).await, b"5\r\nhello\r\n");
            sections.send(peer.head().await.unwrap()).unwrap();
            peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\nGrpc-Status: 0\r\nX-Sum: 7\r\n\r\n")
                .await;
            peer.closed().await;
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Client::connect(&world).await;
    let (response, mut sending) = client.send.send_request(post("/"), false).unwrap();
    sending.send_data(Bytes::from_static(b"hello"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-check", "42".parse().unwrap());
    sending.send_trailers(trailers).unwrap();
    assert_eq!(seen.recv().await.unwrap(), "0\r\nx-check: 42\r\n\r\n");
    let answered = answer(soon("a response", response).await.unwrap()).await.unwrap();
    assert_eq!(answered.text(), "yes");
    let trailers = answered.trailers.as_ref().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["x-sum"], "7");
    assert_eq!(answered.field("transfer-encoding"), None);
}

#[tokio::test]
async fn responses_without_content_end_with_their_head() {
    let (backend, _seen) =
        Backend::telling("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 7\r\n\r\n").await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Client::connect(&world).await;
    let response = client.get("/").await;
    assert_eq!((response.status(), response.field("etag"), response.body.len()), (304, Some("\"x\""), 0));
    let (backend, _seen) = Backend::telling("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Client::connect(&world).await;
    let head = Request::head("http://a/").body(()).unwrap();
    let response = client.ask(head, "").await;
    assert_eq!(
        (response.status(), response.field("content-length"), response.body.len()),
        (200, Some("1000"), 0)
    );
    let (backend, _seen) = Backend::telling("HTTP/1.1 204 No Content\r\n\r\n").await;
    let world = Setup::http(&[backend.address]).start();
    assert_eq!(Client::connect(&world).await.get("/").await.status(), 204);
}

#[tokio::test]
async fn interim_responses_are_passed_on() {
    let backend = Backend::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        assert_eq!(field(&head, "expect"), Some("100-continue"));
        peer.write("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(peer.exactly(4).await, b"body");
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        peer.closed().await;
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Client::connect(&world).await;
    let request = Request::post("http://a/")
        .header("expect", "100-continue")
        .header("content-length", "4")
        .body(())
        .unwrap();
    let (mut response, mut sending) = client.send.send_request(request, false).unwrap();
    let interim = async |response: &mut h2::client::ResponseFuture| {
        soon("an interim response", std::future::poll_fn(|cx| response.poll_informational(cx))).await
    };
    let hints = interim(&mut response).await.unwrap().unwrap();
    assert_eq!((hints.status().as_u16(), &hints.headers()["link"]), (103, &"</x>".parse().unwrap()));
    assert_eq!(interim(&mut response).await.unwrap().unwrap().status().as_u16(), 100);
    sending.send_data(Bytes::from_static(b"body"), true).unwrap();
    assert_eq!(answer(soon("a response", response).await.unwrap()).await.unwrap().text(), "ok");
}

#[tokio::test]
async fn tokens_pass_as_they_come_on_many_streams_at_once() {
    let backend = Backend::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for _ in 0..3 {
            peer.write(&format!("{:x}\r\n{path}\r\n", path.len())).await;
            // The next token only when the client says that it has this one.
            assert_ne!(peer.fill().await.unwrap(), 0);
            peer.buffer.clear();
        }
        peer.write("0\r\n\r\n").await;
        peer.closed().await;
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let client = Client::connect(&world).await;
    let mut streams = Vec::new();
    for n in 0..20 {
        let mut ready = client.send.clone().ready().await.unwrap();
        streams.push((n, ready.send_request(post(&format!("/{n:02}")), false).unwrap()));
    }
    for (n, (response, mut sending)) in streams {
        let mut body = soon("a head", response).await.unwrap().into_body();
        for turn in 0..3 {
            let token = soon("a token", body.data()).await.unwrap().unwrap();
            assert_eq!(token, format!("/{n:02}").as_bytes());
            sending.send_data(Bytes::from_static(b"next"), turn == 2).unwrap();
        }
        // The end may come in a frame of its own.
        while let Some(rest) = soon("the end", body.data()).await {
            assert!(rest.unwrap().is_empty());
        }
    }
}

/// A backend that answers nothing and tells of each connection that is given up.
async fn silent() -> (Backend, mpsc::UnboundedReceiver<()>) {
    let (ends, ended) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let ends = ends.clone();
        async move {
            peer.head().await.unwrap();
            peer.closed().await;
            ends.send(()).unwrap();
        }
    })
    .await;
    (backend, ended)
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_backend_before_the_first_byte() {
    let (backend, mut ended) = silent().await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Client::connect(&world).await;
    let (response, mut sending) = client.send.send_request(post("/"), false).unwrap();
    let (other, _) = client.send.send_request(get("/"), true).unwrap();
    until("the requests", || backend.seen() == 2).await;
    sending.send_reset(Reason::CANCEL);
    soon("the end of the first", ended.recv()).await.unwrap();
    drop((response, sending));
    client.connection.abort();
    soon("the end of the other", ended.recv()).await.unwrap();
    drop(other);
    until("both counted", || world.stats().cancelled == 2).await;
    until("the connection closed", || world.stats().open == 0).await;
}

#[tokio::test]
async fn a_client_that_resets_a_request_it_has_ended_cancels_its_backend_at_once() {
    let (backend, mut ended) = silent().await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Raw::connect(&world).await;
    let get = frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &get_block(&[]));
    let fields: &[(&str, &[u8])] = &[
        (":method", b"POST"),
        (":scheme", b"http"),
        (":path", b"/"),
        (":authority", b"a"),
        ("content-length", b"4"),
    ];
    let post =
        [frame(kind::HEADERS, END_HEADERS, 3, &block(fields)), frame(kind::DATA, END_STREAM, 3, b"body")]
            .concat();
    for (count, (stream, request)) in (1..).zip([(1, get), (3, post)]) {
        client.write(&request).await;
        until("the request", || backend.seen() as u64 == count).await;
        client.write(&frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8])).await;
        soon("the end", ended.recv()).await.unwrap();
        until("the count", || world.stats().cancelled == count).await;
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_reset_and_never_ended() {
    for head in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let breaks = std::sync::Arc::<tokio::sync::Notify>::default();
        let cue = breaks.clone();
        let backend = Backend::start(move |mut peer| {
            let cue = cue.clone();
            async move {
                peer.head().await.unwrap();
                let part = if head.starts_with('C') { "half" } else { "4\r\nhalf\r\n" };
                peer.write(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{part}")).await;
                cue.notified().await;
            }
        })
        .await;
        let world = Setup::http(&[backend.address]).start();
        let mut client = Client::connect(&world).await;
        let (response, _) = client.send.send_request(get("/"), true).unwrap();
        let mut body = soon("a head", response).await.unwrap().into_body();
        let mut got = Vec::new();
        let error = loop {
            match soon("an end", body.data()).await {
                Some(Ok(bytes)) => {
                    got.extend(bytes);
                    breaks.notify_one();
                }
                Some(Err(error)) => break error,
                None => panic!("a clean end"),
            }
        };
        assert_eq!((got.as_slice(), error.reason()), (&b"half"[..], Some(Reason::INTERNAL_ERROR)));
        until("the cut", || world.stats().cut == 1).await;
    }
}

#[tokio::test]
async fn a_slow_stream_slows_its_own_backend_and_no_other() {
    let (sent, mut told) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let sent = sent.clone();
        async move {
            while let Some(head) = peer.head().await {
                if !head.starts_with("GET /flood") {
                    peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                    continue;
                }
                peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                while tokio::io::AsyncWriteExt::write_all(&mut peer.stream, chunk.as_bytes()).await.is_ok() {
                    sent.send(chunk.len()).unwrap();
                }
                return;
            }
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    // Room for others beside the window of the flood's stream.
    let mut builder = h2::client::Builder::new();
    let mut client = Client::with(&world, builder.initial_connection_window_size(1 << 20)).await;
    let (flood, _) = client.send.send_request(get("/flood"), true).unwrap();
    let flood = soon("a head", flood).await.unwrap();
    // The window of the flood's stream is used up, and nothing of it is given back.
    let mut held = 0;
    while let Ok(Some(count)) = tokio::time::timeout(Duration::from_millis(300), told.recv()).await {
        held += count;
        assert!(held < 64 << 20, "what nobody reads must not be taken from the backend");
    }
    for _ in 0..50 {
        assert_eq!(client.get("/small").await.text(), "ok");
    }
    drop(flood);
    until("the flood cancelled", || world.stats().cancelled == 1).await;
}

#[tokio::test]
async fn an_upload_that_its_backend_does_not_take_holds_up_no_other() {
    let backend = Backend::start(|mut peer| async move {
        let mut head = peer.head().await.unwrap();
        if head.starts_with("POST /stuck") {
            // Takes the head and no more.
            peer.stream.set_nodelay(true).unwrap();
            return std::future::pending().await;
        }
        loop {
            let body = peer.body(&head).await;
            peer.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())).await;
            peer.write_bytes(&body).await;
            let Some(next) = peer.head().await else { return };
            head = next;
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Client::connect(&world).await;
    let mut stuck = Vec::new();
    for _ in 0..8 {
        let mut ready = client.send.clone().ready().await.unwrap();
        let (response, mut sending) = ready.send_request(post("/stuck"), false).unwrap();
        let upload = tokio::spawn(async move {
            loop {
                sending.reserve_capacity(64 * 1024);
                let Some(Ok(room)) = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await else {
                    return;
                };
                if sending.send_data(Bytes::from(vec![0; room]), false).is_err() {
                    return;
                }
            }
        });
        stuck.push((response, upload));
    }
    until("all uploads", || backend.seen() == 8).await;
    for _ in 0..20 {
        assert_eq!(client.ask(post("/"), "passes").await.text(), "passes");
    }
    for (_, upload) in &stuck {
        upload.abort();
    }
}

#[tokio::test]
async fn requests_go_to_the_next_backend_when_one_refuses_or_closes() {
    let closing = Backend::start(|mut peer| async move {
        peer.head().await;
    })
    .await;
    let good = Backend::echo().await;
    let world = Setup::http(&[refusing().await, closing.address, good.address]).start();
    let mut client = Client::connect(&world).await;
    let put = Request::put("http://a/").body(()).unwrap();
    assert_eq!(client.ask(put, "kept for the next one").await.text(), "kept for the next one");
    assert_eq!(client.get("/").await.status(), 200);
    // Not idempotent, and the closing one has seen it.
    let refused = client.ask(post("/"), "once").await;
    assert_eq!(refused.status(), 502);
    assert!(refused.field("proxy-status").unwrap().starts_with("fra1; error=connection_terminated"));
    let stats = world.stats();
    assert_eq!(stats.failovers.values().sum::<u64>(), 5);
    assert_eq!(stats.failures.values().sum::<u64>(), 1);
}

#[tokio::test]
async fn without_an_answer_in_time_the_client_gets_504_or_408() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.closed().await;
    })
    .await;
    let (first_byte, idle) = (Duration::from_millis(200), Duration::from_millis(200));
    let timeouts = Timeouts { first_byte, idle, ..Timeouts::default() };
    let world = Setup { timeouts, ..Setup::http(&[backend.address]) }.start();
    let mut client = Client::connect(&world).await;
    assert_eq!(client.get("/").await.status(), 504);
    let (response, mut sending) = client.send.send_request(post("/"), false).unwrap();
    sending.send_data(Bytes::from_static(b"half"), false).unwrap();
    assert_eq!(soon("an answer", response).await.unwrap().status().as_u16(), 408);
    assert_eq!(world.slow_clients(Slow::Idle), 1);
    assert!(PATIENCE > idle);
}

#[tokio::test]
async fn answers_of_our_own_say_why() {
    let elsewhere = Backend::fixed("elsewhere").await;
    let mut setup = Setup { allow: Some("EU"), ..Setup::http(&[]) };
    setup.backends = vec![(elsewhere.address, 0, "US")];
    let world = setup.start();
    let mut client = Client::connect(&world).await;
    let response = client.ask(post("/"), "a body").await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.text(), "no backend lies where this data may go (allowed: EU)\n");
    assert_eq!(response.field("retry-after"), Some("1"));
    assert_eq!(world.stats().unserved.get(&Unserved::AllOutside), Some(&1));
    let head = Request::head("http://a/").body(()).unwrap();
    assert_eq!(client.ask(head, "").await.body, b"");
    assert_eq!(elsewhere.seen(), 0);
}

#[tokio::test]
async fn an_answer_before_the_whole_body_ends_the_upload_without_an_error() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.write("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
        peer.closed().await;
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Client::connect(&world).await;
    let (response, mut sending) = client.send.send_request(post("/"), false).unwrap();
    let answered = answer(soon("a response", response).await.unwrap()).await.unwrap();
    assert_eq!((answered.status(), answered.text()), (413, "big"));
    let reset = soon("a reset", std::future::poll_fn(|cx| sending.poll_reset(cx))).await.unwrap();
    assert_eq!(reset, Reason::NO_ERROR, "RFC 9113 §8.1");
}
