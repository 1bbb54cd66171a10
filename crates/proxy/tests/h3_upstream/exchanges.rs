//! Requests and responses as they should be.

use bytes::{Buf, Bytes};
use http::{Request, Response};

use crate::{
    backend::{Backend, setup, trailers},
    common::{Answer, Setup, World, field, h2, soon},
    pki::Authority,
    support::{self, Http3World},
};

/// A client of each version, each of a world of its own before the same backends.
enum Client {
    Http1(World),
    Http2(World),
    Http3(Box<Http3World>),
}

impl Client {
    fn all(setup: &Setup) -> [Self; 3] {
        let http3 = support::start(setup.clone());
        [Self::Http1(setup.start()), Self::Http2(setup.start()), Self::Http3(Box::new(http3))]
    }

    /// The answer to a request with a body of one piece, if it is not empty.
    async fn ask(&self, method: &str, body: &'static str) -> Answer {
        let request = |authority: &str| {
            let request = Request::builder().method(method).uri(format!("{authority}/p?q"));
            request.header("cookie", "c=1").header("te", "trailers").body(()).unwrap()
        };
        match self {
            Self::Http1(world) => {
                let mut client = world.client().await;
                let length = if body.is_empty() {
                    String::new()
                } else {
                    format!("Content-Length: {}\r\n", body.len())
                };
                client
                    .write(&format!(
                        "{method} /p?q HTTP/1.1\r\nHost: localhost\r\nConnection: x-hop\r\nX-Hop: 1\r\nTE: trailers\r\n\
                         Cookie: c=1\r\n{length}\r\n{body}"
                    ))
                    .await;
                let got = client.response().await;
                let mut head = Response::builder().status(got.status);
                for (name, value) in got.head.lines().filter_map(|line| line.split_once(": ")) {
                    head = head.header(name, value);
                }
                Answer { head: head.body(()).unwrap(), body: got.body, trailers: None }
            }
            Self::Http2(world) => {
                h2::Client::connect(world).await.ask(request("http://localhost"), body).await
            }
            Self::Http3(world) => world.client().await.ask(request("https://localhost"), body).await,
        }
    }

    fn version(&self) -> &'static str {
        match self {
            Self::Http1(_) => "1.1",
            Self::Http2(_) => "2",
            Self::Http3(_) => "3",
        }
    }

    fn world(&self) -> &World {
        match self {
            Self::Http1(world) | Self::Http2(world) => world,
            Self::Http3(world) => &world.world,
        }
    }
}

#[tokio::test]
async fn clients_of_every_version_are_served_over_one_connection_and_the_hop_is_named() {
    let authority = Authority::new();
    let (backend, mut seen) = Backend::telling(&authority, || {
        Response::builder().header("x-own", "v").header("content-length", "2").body("hi").unwrap()
    });
    let clients = Client::all(&setup(&authority, &[backend.address]));
    for client in &clients {
        for _ in 0..3 {
            let answer = client.ask("GET", "").await;
            assert_eq!((answer.status(), answer.text(), answer.field("x-own")), (200, "hi", Some("v")));
            assert_eq!((answer.field("via"), answer.field("content-length")), (Some("3 fra1"), Some("2")));
            let request = seen.recv().await.unwrap();
            assert_eq!(
                (request.method().as_str(), request.uri().to_string().as_str()),
                ("GET", "https://localhost/p?q")
            );
            let value = |name| request.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!((value("te"), value("cookie"), value("x-hop")), (Some("trailers"), Some("c=1"), None));
            assert_eq!(value("via"), Some(format!("{} fra1", client.version()).as_str()));
            for absent in ["host", "connection", "content-length", "transfer-encoding"] {
                assert_eq!(value(absent), None, "{absent}");
            }
        }
        let sums = client.world().plane.stats();
        let counted = sums.backends.values().next().unwrap();
        assert_eq!((counted.requests, counted.connects, counted.reuses), (3, 1, 2));
    }
    assert_eq!(backend.seen(), clients.len());
}

#[tokio::test]
async fn bodies_come_back_whole_from_clients_of_every_version() {
    let authority = Authority::new();
    let backend = Backend::echo(&authority);
    for client in Client::all(&setup(&authority, &[backend.address])) {
        for body in ["some content", ""] {
            let answer = client.ask("POST", body).await;
            assert_eq!((answer.status(), answer.text()), (200, body), "{}", client.version());
        }
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let authority = Authority::new();
    let backend = Backend::echo(&authority);
    let world = support::start(setup(&authority, &[backend.address]));
    let mut client = world.client().await;
    let mut stream = client.send.send_request(support::post("/")).await.unwrap();
    stream.send_data(Bytes::from_static(b"one")).await.unwrap();
    stream.send_trailers(trailers("x-sum", "7")).await.unwrap();
    let answer = soon("an answer", support::answer(stream)).await.unwrap();
    assert_eq!(answer.text(), "one");
    assert_eq!(answer.trailers.unwrap()["x-sum"], "7");

    // And between HTTP/1.1, which has chunks for them.
    let world = setup(&authority, &[backend.address]).start();
    let mut client = world.client().await;
    client
        .write(
            "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\none\r\n0\r\nX-Sum: 7\r\n\r\n",
        )
        .await;
    let head = client.head().await.unwrap();
    assert_eq!(field(&head, "transfer-encoding"), Some("chunked"), "{head}");
    let mut lines = Vec::new();
    while !lines.ends_with(&[String::new()]) {
        lines.push(client.line().await);
    }
    assert_eq!(lines, ["3", "one", "0", "x-sum: 7", ""]);
}

#[tokio::test]
async fn megabytes_go_both_ways_at_once_and_come_whole() {
    let authority = Authority::new();
    let backend = Backend::echo(&authority);
    let world = support::start(setup(&authority, &[backend.address]));
    let mut client = world.client().await;
    let content: Bytes = (0..3_000_000u32).map(|n| n as u8).collect::<Vec<_>>().into();
    let (mut send, mut receive) = client.send.send_request(support::post("/")).await.unwrap().split();
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
async fn early_hints_come_before_the_response() {
    let authority = Authority::new();
    let backend = Backend::start(&authority, |_, mut stream| async move {
        for status in [103, 103, 200] {
            let response = Response::builder().status(status).header("link", "</a.css>").body(()).unwrap();
            stream.send_response(response).await.unwrap();
        }
        stream.finish().await.unwrap();
    });
    let world = setup(&authority, &[backend.address]).start();
    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    for status in [103, 103, 200] {
        let head = client.head().await.unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert_eq!(field(&head, "link"), Some("</a.css>"));
    }
}

#[tokio::test]
async fn responses_without_content_end_with_their_head() {
    let authority = Authority::new();
    let (backend, _seen) = Backend::telling(&authority, || {
        Response::builder().status(304).header("etag", "\"x\"").body("").unwrap()
    });
    let (long, _asked) =
        Backend::telling(&authority, || Response::builder().header("content-length", "5").body("").unwrap());
    for client in Client::all(&setup(&authority, &[backend.address])) {
        let answer = client.ask("GET", "").await;
        assert_eq!((answer.status(), answer.field("etag"), answer.text()), (304, Some("\"x\""), ""));
    }
    let world = support::start(setup(&authority, &[long.address]));
    let request = Request::head("https://localhost/").body(()).unwrap();
    let answer = world.client().await.ask(request, "").await;
    assert_eq!((answer.status(), answer.field("content-length"), answer.text()), (200, Some("5"), ""));
}

#[tokio::test]
async fn a_client_of_http10_without_a_host_asks_for_the_address() {
    let authority = Authority::new();
    let (backend, mut seen) = Backend::telling(&authority, || Response::new("served"));
    let world = setup(&authority, &[backend.address]).start();
    let mut client = world.client().await;
    client.write("GET / HTTP/1.0\r\n\r\n").await;
    let (answered, clean) = client.rest().await;
    let answered = String::from_utf8(answered).unwrap();
    assert!(clean && answered.ends_with("\r\n\r\nserved"), "{answered}");
    assert_eq!(seen.recv().await.unwrap().uri().authority().unwrap().as_str(), backend.address.to_string());
}
