//! The HTTP/1.1 reverse proxy between real sockets: what goes through, and what does not.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::time::Duration;

use common::{Backend, PATIENCE, Setup, field, soon, until};
use proxima_proxy::{Match, Slow, Timeouts, Unserved};
use tokio::sync::mpsc;

#[tokio::test]
async fn connections_are_kept_on_both_sides_and_the_hop_is_named() {
    let (heads, mut seen) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let heads = heads.clone();
        async move {
            while let Some(head) = peer.head().await {
                heads.send(head).unwrap();
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=5\r\n\r\nhi").await;
            }
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    for path in ["/one", "/two?q", "/three"] {
        let response = client.get(path).await;
        assert_eq!((response.status, response.text()), (200, "hi"));
        assert_eq!(response.head, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVia: 1.1 fra1\r\n\r\n");
        let head = seen.recv().await.unwrap();
        assert!(head.starts_with(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n")), "{head}");
        assert_eq!(field(&head, "x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(field(&head, "forwarded"), Some("for=127.0.0.1;proto=http;by=_fra1;host=\"a\""));
    }
    assert_eq!(backend.seen(), 1);
    until("the end of the exchange", || world.plane.stats().backends.values().all(|b| b.pending == 0)).await;
    let stats = world.stats();
    assert_eq!((stats.connections, stats.open, stats.requests, stats.responses), (1, 1, 3, [0, 3, 0, 0, 0]));
    let sums = world.plane.stats();
    let backend = &sums.backends.values().next().unwrap();
    assert_eq!((backend.requests, backend.connects, backend.reuses, backend.pending), (3, 1, 2, 0));
    until("the ends of all", || {
        let regions = world.plane.stats().regions;
        let region = regions.values().next().unwrap();
        (region.responses, region.first_byte.count(), region.total.count()) == ([0, 3, 0, 0, 0], 3, 3)
    })
    .await;
}

#[tokio::test]
async fn ipv6_clients_and_backends_are_served() {
    let backend = Backend::start_at("[::1]:0", |mut peer| async move {
        let head = peer.head().await.unwrap();
        assert_eq!(field(&head, "x-forwarded-for"), Some("::1"));
        assert!(field(&head, "forwarded").unwrap().starts_with("for=\"[::1]\";proto=http;"));
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        peer.closed().await;
    })
    .await;
    let world = Setup { listen: "[::1]:0", ..Setup::http(&[backend.address]) }.start();
    assert_eq!(world.client().await.get("/").await.text(), "hi");
}

#[tokio::test]
async fn a_client_that_asks_for_a_close_gets_it_after_its_response() {
    let backend = Backend::echo().await;
    let world = Setup::http(&[backend.address]).start();
    for _ in 0..2 {
        let mut client = world.client().await;
        client.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert_eq!(field(&client.response().await.head, "connection"), Some("close"));
        assert_eq!(client.rest().await, (Vec::new(), true));
    }
    assert_eq!(backend.seen(), 1, "the backend's connection is kept");
}

#[tokio::test]
async fn pipelined_requests_are_answered_one_after_the_other() {
    let backend = Backend::echo().await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    let request =
        |body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let bodies: Vec<String> =
        (0..200).map(|number| format!("body {number} {}", "x".repeat(number * 3))).collect();
    let all: String = bodies.iter().map(|body| request(body)).collect();
    client.write(&all).await;
    for body in &bodies {
        assert_eq!(client.response().await.text(), body);
    }
}

#[tokio::test]
async fn large_bodies_go_through_whole_both_ways() {
    let backend = Backend::echo().await;
    let world = Setup::http(&[backend.address]).start();
    let body: Vec<u8> = (0..8u32 << 18).flat_map(u32::to_le_bytes).collect();

    for chunked in [false, true] {
        let mut sent = Vec::new();
        if chunked {
            sent.extend(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(70_001) {
                sent.extend(format!("{:x};ignored=\"x\"\r\n", chunk.len()).bytes());
                sent.extend(chunk);
                sent.extend(b"\r\n");
            }
            sent.extend(b"0\r\nX-Checksum: abc\r\n\r\n");
        } else {
            sent.extend(
                format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()).bytes(),
            );
            sent.extend(&body);
        }
        let client = world.client().await;
        let (read, mut write) = client.stream.into_split();
        let writer = tokio::spawn(async move {
            tokio::io::AsyncWriteExt::write_all(&mut write, &sent).await.unwrap();
            write
        });
        let write = soon("the upload", writer).await.unwrap();
        let mut client = common::Peer::new(read.reunite(write).unwrap());
        let response = client.response().await;
        assert_eq!(response.status, 200);
        assert!(response.body == body, "chunked: {chunked}");
    }
    until("the connections to rest", || world.plane.stats().backends.values().all(|b| b.pending == 0)).await;
}

#[tokio::test]
async fn chunks_extensions_and_trailers() {
    let (bodies, mut seen) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let bodies = bodies.clone();
        async move {
            while peer.head().await.is_some() {
                let body = "5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\nx-more: 2\r\n\r\n";
                bodies.send(String::from_utf8(peer.exactly(body.len()).await).unwrap()).unwrap();
                peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n").await;
                peer.write("3;e\r\nabc\r\n0\r\nX-T: 9\r\n\r\n").await;
            }
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let sent = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-Sum: 1\r\nx-more: 2\r\n\r\n";
    let received = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\nVia: 1.1 fra1\r\n\r\n\
                    3\r\nabc\r\n0\r\nX-T: 9\r\n\r\n";
    let mut client = world.client().await;
    // In one piece, and byte by byte.
    for piece in [sent.len(), 1] {
        for bytes in sent.as_bytes().chunks(piece) {
            client.write_bytes(bytes).await;
        }
        let got = client.exactly(received.len()).await;
        assert_eq!(String::from_utf8(got).unwrap(), received);
        assert_eq!(
            seen.recv().await.unwrap(),
            "5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\nx-more: 2\r\n\r\n"
        );
    }
    assert_eq!(backend.seen(), 1);
}

#[tokio::test]
async fn every_piece_of_a_stream_is_passed_on_before_the_next_one_is_made() {
    let (go, gate) = mpsc::unbounded_channel::<()>();
    let gate = std::sync::Arc::new(tokio::sync::Mutex::new(gate));
    let backend = Backend::start(move |mut peer| {
        let gate = gate.clone();
        async move {
            peer.head().await.unwrap();
            peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            for token in ["one", "two", "three"] {
                gate.lock().await.recv().await.unwrap();
                peer.write(&format!("{:x}\r\n{token}\r\n", token.len())).await;
            }
            gate.lock().await.recv().await.unwrap();
            peer.write("0\r\n\r\n").await;
            peer.closed().await;
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 200"));
    for token in ["one", "two", "three"] {
        go.send(()).unwrap();
        let expected = format!("{:x}\r\n{token}\r\n", token.len());
        assert_eq!(client.exactly(expected.len()).await, expected.as_bytes());
    }
    go.send(()).unwrap();
    assert_eq!(client.exactly(5).await, b"0\r\n\r\n");
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_the_backends() {
    let backend = Backend::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        assert_eq!(field(&head, "expect"), Some("100-continue"));
        peer.write("HTTP/1.1 100 Continue\r\nConnection: x\r\n\r\n").await;
        let body = String::from_utf8(peer.exactly(4).await).unwrap();
        peer.write(&format!(
            "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{body}"
        ))
        .await;
        peer.closed().await;
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    client.write("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap(), "HTTP/1.1 100 Continue\r\nVia: 1.1 fra1\r\n\r\n");
    client.write("body").await;
    assert_eq!(client.response().await.status, 103);
    assert_eq!(client.response().await.text(), "body");
}

#[tokio::test]
async fn clients_of_http_1_0_get_bare_data() {
    let backend = Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            assert!(head.lines().next().unwrap().ends_with("HTTP/1.1"));
            if head.starts_with("GET /chunked") {
                peer.write("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .await;
                peer.write("3\r\nabc\r\n2;x\r\nde\r\n0\r\nX: y\r\n\r\n").await;
            } else {
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
            }
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    client.write("GET /length HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!((field(&response.head, "connection"), response.text()), (Some("keep-alive"), "hi"));
    client.write("GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!(head, "HTTP/1.1 200 OK\r\nConnection: close\r\nVia: 1.1 fra1\r\n\r\n");
    assert_eq!(client.rest().await, (b"abcde".to_vec(), true));
}

#[tokio::test]
async fn responses_without_a_body_leave_the_connection_usable() {
    let backend = Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            let answer = match head.split(' ').next().unwrap() {
                "HEAD" => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
                "DELETE" => "HTTP/1.1 204 No Content\r\n\r\n",
                _ => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 7\r\n\r\n",
            };
            peer.write(answer).await;
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    for method in ["HEAD", "DELETE", "GET", "HEAD"] {
        client.write(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        client.head().await.unwrap();
    }
    assert!(client.buffer.is_empty());
    assert_eq!(backend.seen(), 1);
}

#[tokio::test]
async fn a_response_that_ends_with_its_connection_ends_with_the_clients() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.write("HTTP/1.0 200 OK\r\nContent-Type: x\r\n\r\nall there is").await;
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!(field(&head, "connection"), Some("close"));
    assert_eq!(client.rest().await, (b"all there is".to_vec(), true));
}

#[tokio::test]
async fn what_could_smuggle_a_request_reaches_no_backend() {
    let backend = Backend::fixed("served").await;
    let world = Setup::http(&[backend.address]).start();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let refused = [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "400"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
            "400",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\nHost: a\n\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET /../x HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "501"),
    ];
    for (bytes, status) in refused {
        let mut client = world.client().await;
        client.write(&format!("{bytes}{smuggled}")).await;
        let (answer, clean) = client.rest().await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(clean, "{bytes}");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes}\n{answer}");
        assert_eq!(answer.matches("Proxy-Status").count(), 1, "{bytes}\n{answer}");
        assert_eq!(field(&answer, "connection"), Some("close"));
        assert!(
            field(&answer, "proxy-status").unwrap().starts_with("fra1; error=http_request_error; details=\"")
        );
    }
    assert_eq!(backend.seen(), 0);
    assert_eq!(world.stats().refused.values().sum::<u64>(), refused.len() as u64);
    assert_eq!(world.client().await.get("/").await.text(), "served");
}

#[tokio::test]
async fn a_body_that_turns_out_malformed_ends_both_connections() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.closed().await;
        assert_eq!(peer.buffer, b"5\r\nhello\r\n");
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    client.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    until("the request", || backend.seen() == 1).await;
    client.write("5 \r\nworld\r\n0\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!((response.status, field(&response.head, "connection")), (400, Some("close")));
    assert_eq!(world.stats().refused.get("chunk-size"), Some(&1));
    backend.kill().await;
}

#[tokio::test]
async fn requests_of_no_route_get_404_and_the_connection_goes_on() {
    let backend = Backend::fixed("served").await;
    let matches = Match { path_prefix: Some("/v1".into()), ..Match::default() };
    let world = Setup { matches, ..Setup::http(&[backend.address]) }.start();
    let mut client = world.client().await;
    let response = client.get("/v2").await;
    assert_eq!((response.status, response.text()), (404, "no route takes this request\n"));
    assert_eq!(client.get("/x/../v1/y").await.text(), "served");
    assert_eq!(world.stats().unrouted, 1);
}

#[tokio::test]
async fn without_a_backend_inside_the_fence_the_answer_is_503_and_says_why() {
    let elsewhere = Backend::fixed("elsewhere").await;
    let mut setup = Setup { allow: Some("EU"), ..Setup::http(&[]) };
    setup.backends = vec![(elsewhere.address, 0, "US")];
    let world = setup.start();
    let mut client = world.client().await;
    for _ in 0..3 {
        let response = client.get("/").await;
        assert_eq!(response.status, 503);
        assert_eq!(response.text(), "no backend lies where this data may go (allowed: EU)\n");
        assert_eq!(field(&response.head, "retry-after"), Some("1"));
        assert_eq!(
            field(&response.head, "proxy-status"),
            Some(
                "fra1; error=destination_unavailable; \
                 details=\"no backend lies where this data may go (allowed: EU)\""
            )
        );
    }
    assert_eq!(client.post("/", "body").await.status, 503);
    assert_eq!(world.stats().unserved.get(&Unserved::AllOutside), Some(&4));
    assert_eq!(elsewhere.seen(), 0);
}

#[tokio::test]
async fn malformed_responses_are_502_and_counted_and_the_rest_goes_on() {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        "220 smtp.example ready\r\n",
    ];
    let next = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let backend = Backend::start(move |mut peer| {
        let answer = answers.get(next.fetch_add(1, std::sync::atomic::Ordering::SeqCst)).copied();
        async move {
            while peer.head().await.is_some() {
                peer.write(answer.unwrap_or("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")).await;
            }
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    for answer in answers {
        let response = client.get("/").await;
        assert_eq!(response.status, 502, "{answer}");
        assert_eq!(response.text(), "the backend's answer is malformed\n");
        assert!(field(&response.head, "proxy-status").unwrap().contains("error=http_protocol_error"));
    }
    assert_eq!(client.get("/").await.text(), "ok");
    assert_eq!(world.stats().malformed.values().sum::<u64>(), answers.len() as u64);
}

#[tokio::test]
async fn bytes_nobody_asked_for_never_become_the_next_response() {
    let backend = Backend::start(|mut peer| async move {
        while peer.head().await.is_some() {
            peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
                .await;
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.text(), "ok");
    }
    assert_eq!(backend.seen(), 5);
}

#[tokio::test]
async fn a_client_that_sends_much_after_it_was_refused_reads_its_answer() {
    let backend = Backend::fixed("served").await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write(head).await;
    // More than the buffers of both ends hold.
    soon("the upload", client.write_bytes(&vec![b'x'; 16 << 20])).await;
    assert_eq!(client.response().await.status, 400);
    assert_eq!(client.rest().await, (Vec::new(), true));
    assert_eq!(backend.seen(), 0);
}

#[tokio::test]
async fn an_answer_before_the_whole_body_arrives_at_the_client() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.write("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig").await;
        peer.closed().await;
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    client
        .write(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(50_000)))
        .await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (413, "big"));
    assert_eq!(field(&response.head, "connection"), Some("close"));
    assert_eq!(client.rest().await, (Vec::new(), true));
}

#[tokio::test]
async fn slow_heads_end_with_408_and_idle_connections_without_a_word() {
    let backend = Backend::fixed("served").await;
    let setup = Setup {
        header_timeout: Duration::from_millis(200),
        keep_alive: Duration::from_millis(300),
        ..Setup::http(&[backend.address])
    };
    let world = setup.start();
    let (mut slow, mut idle) = (world.client().await, world.client().await);
    assert_eq!(idle.get("/").await.text(), "served");
    slow.write("GET / HTTP/1.1\r\nHost:").await;
    assert_eq!(slow.response().await.status, 408);
    assert_eq!(idle.rest().await, (Vec::new(), true));
    assert_eq!(world.slow_clients(Slow::Head), 1);
}

#[tokio::test]
async fn a_body_that_stops_coming_ends_with_408() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.closed().await;
    })
    .await;
    let timeouts = Timeouts { idle: Duration::from_millis(200), ..Timeouts::default() };
    let world = Setup { timeouts, ..Setup::http(&[backend.address]) }.start();
    let mut client = world.client().await;
    client.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
    assert_eq!(client.response().await.status, 408);
    backend.kill().await;
    assert_eq!(world.slow_clients(Slow::Idle), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let backend = Backend::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        while soon("an end", tokio::io::AsyncWriteExt::write_all(&mut peer.stream, chunk.as_bytes()))
            .await
            .is_ok()
        {}
    })
    .await;
    let timeouts = Timeouts { idle: Duration::from_millis(300), ..Timeouts::default() };
    let world = Setup { timeouts, ..Setup::http(&[backend.address]) }.start();
    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("the cut", || world.slow_clients(Slow::Idle) == 1).await;
    assert!(!client.rest().await.1, "the client must see that something is missing");
    assert!(PATIENCE > timeouts.idle);
}
