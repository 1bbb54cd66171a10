//! Requests and responses as they should be.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::{Buf, Bytes};
use http::{HeaderMap, Request};
use proxima_proxy::{Clients, ForwardedCertificate};
use tokio::sync::mpsc;

use crate::{
    common::{Backend, Lines, Setup, field, soon},
    pki::{Authority, Wanted},
    support::{GET, Outcome, answer, frame, get, headers, outcome, post, start, start_with},
};

#[tokio::test]
async fn heads_become_those_of_http1_and_the_hop_is_named() {
    let (backend, mut seen) =
        Backend::telling("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-One: 1\r\nKeep-Alive: timeout=5\r\nConnection: x-two\r\nX-Two: 2\r\n\r\nhi")
            .await;
    let world = start(Setup::http(&[backend.address]));
    let mut client = world.client().await;
    let request = Request::get("https://localhost/one?q")
        .header("cookie", "a=1")
        .header("x-own", "v")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let response = client.ask(request, "").await;
    assert_eq!((response.status(), response.text()), (200, "hi"));
    let fields: Vec<_> = response
        .head
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(fields, [("content-length", "2"), ("x-one", "1"), ("via", "1.1 fra1")]);
    let head = seen.recv().await.unwrap();
    assert!(head.starts_with("GET /one?q HTTP/1.1\r\nHost: localhost\r\n"), "{head}");
    for (name, value) in [
        ("x-own", "v"),
        ("cookie", "a=1; b=2"),
        ("te", "trailers"),
        ("via", "3 fra1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1;proto=https;by=_fra1;host=\"localhost\""),
    ] {
        assert_eq!(field(&head, name), Some(value), "{head}");
    }
    assert_eq!(field(&head, "transfer-encoding"), None, "a GET has no content");
    let stats = world.world.stats();
    assert_eq!((stats.requests, stats.responses[1]), (1, 1));
    assert!(stats.bytes_in > 0 && stats.bytes_out > 0);
}

#[tokio::test]
async fn a_body_comes_back_whole_with_and_without_its_length_ahead() {
    let backend = Backend::echo().await;
    let world = start(Setup::http(&[backend.address]));
    let mut client = world.client().await;
    assert_eq!(client.ask(post("/"), "some content").await.text(), "some content");
    let with_length = Request::post("https://localhost/").header("content-length", "12").body(()).unwrap();
    assert_eq!(client.ask(with_length, "some content").await.text(), "some content");
    assert_eq!(client.ask(post("/"), "").await.text(), "");
    assert_eq!(backend.seen(), 1, "the connection to the backend is used again");
}

#[tokio::test]
async fn megabytes_go_both_ways_at_once_and_come_whole() {
    let backend = Backend::echo().await;
    let world = start(Setup::http(&[backend.address]));
    let mut client = world.client().await;
    let content: Bytes = (0..5_000_000u32).map(|n| n as u8).collect::<Vec<_>>().into();
    let stream = client.send.send_request(post("/")).await.unwrap();
    let (mut send, mut receive) = stream.split();
    let sent = content.clone();
    let sending = async move {
        for piece in sent.chunks(70_000) {
            send.send_data(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        send.finish().await.unwrap();
    };
    let receiving = async {
        assert_eq!(receive.recv_response().await.unwrap().status(), 200);
        let mut got = Vec::new();
        while let Some(mut data) = receive.recv_data().await.unwrap() {
            let count = data.remaining();
            got.extend_from_slice(&data.copy_to_bytes(count));
        }
        got
    };
    let ((), got) = soon("all of it", async { tokio::join!(sending, receiving) }).await;
    assert!(got == content);
}

#[tokio::test]
async fn requests_on_one_connection_do_not_wait_for_each_other() {
    let (go, wait) = tokio::sync::watch::channel(false);
    let backend = Backend::start(move |mut peer| {
        let mut wait = wait.clone();
        async move {
            while let Some(head) = peer.head().await {
                if head.starts_with("GET /slow") {
                    wait.wait_for(|go| *go).await.unwrap();
                }
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    let world = start(Setup::http(&[backend.address]));
    let mut client = world.client().await;
    let mut slow = client.send.send_request(get("/slow")).await.unwrap();
    slow.finish().await.unwrap();
    assert_eq!(client.get("/fast").await.status(), 200);
    go.send(true).unwrap();
    assert_eq!(soon("the slow one", answer(slow)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn each_piece_of_a_response_goes_out_as_it_comes() {
    let (say, said) = mpsc::unbounded_channel::<&'static str>();
    let said = std::sync::Arc::new(tokio::sync::Mutex::new(said));
    let backend = Backend::start(move |mut peer| {
        let said = said.clone();
        async move {
            peer.head().await.unwrap();
            peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            while let Some(piece) = said.lock().await.recv().await {
                peer.write(&format!("{:x}\r\n{piece}\r\n", piece.len())).await;
            }
            peer.write("0\r\n\r\n").await;
        }
    })
    .await;
    let world = start(Setup::http(&[backend.address]));
    let mut client = world.client().await;
    let mut stream = client.send.send_request(get("/")).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(soon("the head", stream.recv_response()).await.unwrap().status(), 200);
    for piece in ["one", "two", "three"] {
        say.send(piece).unwrap();
        let mut data = soon("the piece", stream.recv_data()).await.unwrap().unwrap();
        assert_eq!(data.copy_to_bytes(data.remaining()), piece);
    }
    drop(say);
    assert!(soon("the end", stream.recv_data()).await.unwrap().is_none());
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let (heard, mut hears) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let heard = heard.clone();
        async move {
            peer.head().await.unwrap();
            let mut lines = Vec::new();
            while !lines.ends_with(&[String::new()]) {
                lines.push(peer.line().await);
            }
            heard.send(lines).unwrap();
            peer.write(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n",
            )
            .await;
        }
    })
    .await;
    let world = start(Setup::http(&[backend.address]));
    let mut client = world.client().await;
    let mut stream = client.send.send_request(post("/")).await.unwrap();
    stream.send_data(Bytes::from_static(b"hello")).await.unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-count", "5".parse().unwrap());
    stream.send_trailers(trailers).await.unwrap();
    let response = soon("an answer", answer(stream)).await.unwrap();
    assert_eq!(hears.recv().await.unwrap(), ["5", "hello", "0", "x-count: 5", ""]);
    assert_eq!(response.text(), "hi");
    assert_eq!(response.trailers.unwrap()["x-sum"], "7");
}

#[tokio::test]
async fn heads_without_content_end_the_response() {
    let (backend, _seen) = Backend::telling("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
    let world = start(Setup::http(&[backend.address]));
    let mut client = world.client().await;
    let head = Request::head("https://localhost/").body(()).unwrap();
    let response = client.ask(head, "").await;
    assert_eq!(
        (response.status(), response.field("content-length"), response.body.len()),
        (200, Some("5"), 0)
    );
    let (backend, _seen) = Backend::telling("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n").await;
    let world = start(Setup::http(&[backend.address]));
    let response = world.client().await.get("/").await;
    assert_eq!((response.status(), response.field("etag")), (304, Some("\"x\"")));
}

#[tokio::test]
async fn early_hints_come_before_the_response() {
    let (backend, _seen) = Backend::telling(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let world = start(Setup::http(&[backend.address]));
    let mut client = world.client().await;
    let mut stream = client.send.send_request(get("/")).await.unwrap();
    stream.finish().await.unwrap();
    let hints = soon("the hints", stream.recv_response()).await.unwrap();
    assert_eq!((hints.status().as_u16(), &hints.headers()["link"]), (103, &"</a.css>".parse().unwrap()));
    assert_eq!(soon("the response", stream.recv_response()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_dead_backend_is_passed_over() {
    let backend = Backend::fixed("alive").await;
    let world = start(Setup::http(&[crate::common::refusing().await, backend.address]));
    assert_eq!(world.client().await.get("/").await.text(), "alive");
}

#[tokio::test]
async fn a_body_in_tiny_pieces_comes_whole_to_another_backend_when_the_first_dies_with_a_part_of_it() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let is_first = Arc::new(AtomicBool::new(true));
    let start_backend = || {
        let (tell, is_first) = (tell.clone(), is_first.clone());
        Backend::start(move |mut peer| {
            let (tell, is_first) = (tell.clone(), is_first.clone());
            async move {
                let head = peer.head().await.unwrap();
                if is_first.swap(false, Ordering::SeqCst) {
                    tell.send(peer.exactly(300).await).unwrap();
                    return;
                }
                tell.send(peer.body(&head).await).unwrap();
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        })
    };
    let (one, other) = (start_backend().await, start_backend().await);
    let world = start(Setup::http(&[one.address, other.address]));
    let raw = world.raw().await;
    let content: Vec<u8> = (0..600u32).map(|number| number as u8).collect();
    let pieces = |part: &[u8]| part.iter().flat_map(|octet| frame(0, &[*octet])).collect::<Vec<_>>();
    let put = [(":method", "PUT"), GET[1], GET[2], GET[3], ("content-length", "600")];
    let (mut send, mut receive) = raw.connection.open_bi().await.unwrap();
    send.write_all(&[headers(&put), pieces(&content[..300])].concat()).await.unwrap();
    assert_eq!(soon("the first part", told.recv()).await.unwrap(), content[..300]);
    send.write_all(&pieces(&content[300..])).await.unwrap();
    send.finish().unwrap();
    assert_eq!(soon("the body", told.recv()).await.unwrap(), content);
    assert_eq!(soon("the response", outcome(&mut receive)).await, Outcome::Status(200));
}

#[tokio::test]
async fn without_a_backend_the_answer_says_so() {
    let world = start(Setup::http(&[]));
    let response = world.client().await.get("/").await;
    assert_eq!(response.status(), 503);
    assert!(response.field("proxy-status").unwrap().starts_with("fra1; error="));
    assert!(response.text().ends_with('\n'));
}

#[tokio::test]
async fn a_client_moves_to_another_port_between_and_within_requests() {
    let backend = Backend::echo().await;
    let world = start(Setup { workers: 4, ..Setup::http(&[backend.address]) });
    let mut client = world.client().await;
    // Nobody moves before the handshake is confirmed (RFC 9000 §9), and what confirms it came before this answer.
    assert_eq!(client.ask(post("/"), "at home").await.text(), "at home");
    let mut moves = 0;
    while world.world.plane.stats().quic.forwarded == 0 {
        client.move_on();
        moves += 1;
        assert_eq!(client.ask(post("/"), "here I am").await.text(), "here I am");
        let mut stream = client.send.send_request(post("/")).await.unwrap();
        stream.send_data(Bytes::from_static(b"before, ")).await.unwrap();
        client.move_on();
        stream.send_data(Bytes::from_static(b"and after")).await.unwrap();
        stream.finish().await.unwrap();
        assert_eq!(soon("the answer", answer(stream)).await.unwrap().text(), "before, and after");
    }
    assert!(moves < 60, "a move in four stays with its worker");
    assert_eq!(world.world.stats().connections, 1);
}

#[tokio::test]
async fn a_request_is_a_line_in_the_access_log() {
    let (lines, backend) = (Lines::default(), Backend::echo().await);
    let world = start(Setup { access_log: Some(lines.log(false)), ..Setup::http(&[backend.address]) });
    let mut client = world.client().await;
    let request =
        http::Request::post("https://localhost/x?q").header("content-length", "4").body(()).unwrap();
    assert_eq!(client.ask(request, "body").await.status(), 200);
    let line = &lines.wait(1).await[0];
    let told = ["protocol", "method", "host", "path", "end"].map(|name| line[name].as_str().unwrap());
    assert_eq!(told, ["HTTP/3", "POST", "localhost", "/x", "done"]);
    let counted = ["status", "received", "sent"].map(|name| line[name].as_u64().unwrap());
    assert_eq!((counted, line["tls"]["version"].as_str()), ([200, 4, 4], Some("1.3")));
    let outcome = world.raw().await.say(&crate::support::headers(&crate::support::GET[1..])).await;
    assert_eq!(outcome, crate::support::Outcome::Status(400));
    let line = &lines.wait(2).await[1];
    assert_eq!((line["end"].as_str(), line["why"].as_str()), (Some("refused"), Some("pseudo-field")));
}

#[tokio::test]
async fn backends_learn_of_a_clients_certificate() {
    let (backend, mut seen) = Backend::telling("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let authority = Authority::new();
    let (issued, own) = (authority.issue(&["localhost"]), authority.issue(&["client"]));
    let wanted = Wanted { clients: Clients::Required(authority.chain()), ..Wanted::new(&[&issued]) };
    let server = wanted.server().forwarding(ForwardedCertificate::Chain);
    let world = start_with(Setup::http(&[backend.address]), authority, server, Some(&own));
    let mut client = world.client().await;
    let request = Request::get("https://localhost/").header("client-cert", ":Zm9yZ2Vk:").body(()).unwrap();
    assert_eq!(client.ask(request, "").await.status(), 200);
    let head = seen.recv().await.unwrap();
    let shown = format!(":{}:", BASE64_STANDARD.encode(own.identity_der()));
    assert_eq!(field(&head, "client-cert"), Some(shown.as_str()), "{head}");
    assert_eq!(head.to_lowercase().matches("client-cert").count(), 1, "{head}");
}
