//! What happens when backends fail, and when clients leave.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{Backend, Peer, Setup, field, refusing, soon, until};
use proxima_proxy::{Reason, Timeouts, UpstreamProtocol};
use socket2::SockRef;
use tokio::{sync::mpsc, time::Instant};

/// Takes each request, and closes instead of answering.
async fn closing() -> Backend {
    Backend::start(|mut peer| async move {
        peer.head().await;
    })
    .await
}

#[tokio::test]
async fn a_refused_connection_costs_no_request_of_any_method() {
    let backend = Backend::echo().await;
    let world = Setup::http(&[refusing().await, refusing().await, backend.address]).start();
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(client.post("/", "body").await.text(), "body");
    assert_eq!(world.stats().failovers.get(&Reason::Connect), Some(&4));
    assert_eq!(world.stats().budget_exhausted, 0);
}

#[tokio::test]
async fn when_nobody_takes_the_connection_the_answer_is_502() {
    let world = Setup::http(&[refusing().await, refusing().await]).start();
    let mut client = world.client().await;
    let response = client.get("/").await;
    assert_eq!((response.status, response.text()), (502, "no backend could be reached\n"));
    assert!(field(&response.head, "proxy-status").unwrap().contains("error=connection_refused"));
    assert_eq!(client.post("/", "body").await.status, 502, "the client's connection goes on");
    assert_eq!(world.stats().failures.get(&Reason::Connect), Some(&2));
}

/// Where no connection is made: a backlog that is full, so that the kernel drops further SYNs.
struct Full {
    address: SocketAddr,
    _listener: socket2::Socket,
    _filler: std::net::TcpStream,
}

impl Full {
    fn new() -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let filler = std::net::TcpStream::connect(address).unwrap();
        Self { address, _listener: listener, _filler: filler }
    }
}

#[tokio::test]
async fn a_client_that_still_sends_is_not_blamed_for_a_connection_that_is_not_made_in_time() {
    let timeouts = Timeouts { connect: Duration::from_millis(100), ..Timeouts::default() };
    let (broken, full) = (closing().await, Full::new());
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let addresses = [broken.address, full.address];
        let world = Setup { timeouts, upstream: protocol, ..Setup::http(&addresses) }.start();
        let mut client = world.client().await;
        client.write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf").await;
        let response = client.response().await;
        assert_eq!(response.status, 504, "{protocol:?}: {}", response.text());
        assert!(field(&response.head, "proxy-status").unwrap().contains("error=connection_timeout"));
        assert_eq!(world.stats().slow_clients.values().sum::<u64>(), 0);
    }
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_given_up_for_the_next_candidate() {
    let full = Full::new();
    let address = full.address;
    let backend = Backend::echo().await;
    let timeouts = Timeouts { connect: Duration::from_millis(100), ..Timeouts::default() };
    let world = Setup { timeouts, ..Setup::http(&[address, backend.address]) }.start();
    assert_eq!(world.client().await.post("/", "body").await.text(), "body");
    assert_eq!(world.stats().failovers.get(&Reason::ConnectTimeout), Some(&1));

    let world = Setup { timeouts, ..Setup::http(&[address]) }.start();
    let response = world.client().await.get("/").await;
    assert_eq!(response.status, 504);
    assert!(field(&response.head, "proxy-status").unwrap().contains("error=connection_timeout"));
}

#[tokio::test]
async fn an_idempotent_request_that_was_not_answered_goes_to_the_next_candidate() {
    let (broken, backend) = (closing().await, Backend::echo().await);
    let world = Setup::http(&[broken.address, backend.address]).start();
    let mut client = world.client().await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        client.write(&format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")).await;
        let head = client.head().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{method}: {head}");
        if method != "HEAD" {
            assert_eq!(client.exactly(4).await, b"body");
        }
    }
    assert_eq!(world.stats().failovers.get(&Reason::Closed), Some(&5));
}

#[tokio::test]
async fn a_request_that_may_not_be_repeated_goes_nowhere_else_once_it_was_sent() {
    let (broken, backend) = (closing().await, Backend::echo().await);
    let world = Setup::http(&[broken.address, backend.address]).start();
    let mut client = world.client().await;
    for _ in 0..3 {
        let response = client.post("/", "body").await;
        assert_eq!(response.status, 502);
        assert!(field(&response.head, "proxy-status").unwrap().contains("error=connection_terminated"));
    }
    assert_eq!((broken.seen(), backend.seen()), (3, 0));
}

#[tokio::test]
async fn a_body_beyond_the_buffer_is_not_sent_twice() {
    let broken = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.exactly(100_000).await;
    })
    .await;
    let backend = Backend::echo().await;
    let world = Setup::http(&[broken.address, backend.address]).start();
    let mut client = world.client().await;
    client.write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n").await;
    client.write(&"x".repeat(150_000)).await;
    assert_eq!(client.response().await.status, 502);
    assert_eq!(backend.seen(), 0);
}

#[tokio::test]
async fn a_kept_connection_that_the_backend_closed_costs_no_request() {
    // Closes after each response, without saying so.
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    for _ in 0..200 {
        assert_eq!(client.get("/").await.text(), "hi");
        assert_eq!(client.post("/", "body").await.text(), "hi");
    }
}

#[tokio::test]
async fn a_kept_connection_that_is_reset_by_the_request_costs_no_idempotent_request() {
    // Answers once, then resets when the next request arrives.
    let backend = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        if peer.head().await.is_some() {
            SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.text(), "hi");
    }
    let sums = world.plane.stats();
    assert_eq!(sums.backends.values().next().unwrap().failures.get(&Reason::Stale), Some(&19));
    assert_eq!(world.stats().failures.values().sum::<u64>(), 0);
}

#[tokio::test]
async fn no_request_fails_while_backends_die_under_load() {
    let (first, second, last) = (Backend::echo().await, Backend::echo().await, Backend::echo().await);
    let setup = Setup { workers: 2, ..Setup::http(&[first.address, second.address, last.address]) };
    let world = setup.start();
    let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..32)
        .map(|_| {
            let (address, done, stop) = (world.address, done.clone(), stop.clone());
            tokio::spawn(async move {
                let mut client = Peer::new(tokio::net::TcpStream::connect(address).await.unwrap());
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(client.get("/").await.status, 200);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for victim in [first, second] {
        let before = done.load(Ordering::SeqCst);
        until("load", || done.load(Ordering::SeqCst) > before + 500).await;
        victim.kill().await;
    }
    let before = done.load(Ordering::SeqCst);
    until("load after the deaths", || done.load(Ordering::SeqCst) > before + 1000).await;
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let stats = world.stats();
    assert_eq!(stats.responses[1], stats.requests);
    assert!(stats.failovers.values().sum::<u64>() > 0);
    assert!(last.seen() > 0);
}

#[tokio::test]
async fn failover_never_leaves_the_fence() {
    let elsewhere = Backend::fixed("elsewhere").await;
    let (one, two) = (closing().await, refusing().await);
    let mut setup = Setup { allow: Some("EU"), ..Setup::http(&[]) };
    setup.backends = vec![(one.address, 0, "EU"), (elsewhere.address, 0, "US"), (two, 1, "EU")];
    let world = setup.start();
    let mut client = world.client().await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.status, 502);
        assert_eq!(client.post("/", "body").await.status, 502);
    }
    assert_eq!(elsewhere.seen(), 0);
}

#[tokio::test]
async fn a_backend_that_does_not_answer_in_time_is_left_for_the_next_or_504() {
    let silent = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.closed().await;
    })
    .await;
    let backend = Backend::echo().await;
    let timeouts = Timeouts { first_byte: Duration::from_millis(150), ..Timeouts::default() };
    let world = Setup { timeouts, ..Setup::http(&[silent.address, backend.address]) }.start();
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.status, 200);
    let response = client.post("/", "body").await;
    assert_eq!((response.status, response.text()), (504, "the backend did not answer in time\n"));
    silent.kill().await;
}

#[tokio::test]
async fn an_exchange_has_a_deadline_as_a_whole() {
    let dripping = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        while soon("an end", tokio::io::AsyncWriteExt::write_all(&mut peer.stream, b"1\r\nx\r\n"))
            .await
            .is_ok()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let timeouts = Timeouts { total: Some(Duration::from_millis(300)), ..Timeouts::default() };
    let world = Setup { timeouts, ..Setup::http(&[dripping.address]) }.start();
    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!client.rest().await.1);
    assert_eq!(world.stats().failures.get(&Reason::Total), Some(&1));
}

#[tokio::test]
async fn a_response_that_breaks_off_is_a_reset_however_it_is_framed() {
    let heads = ["Content-Length: 100", "Transfer-Encoding: chunked", "X-Until: close"];
    for head in heads {
        for reset in [false, true] {
            if head.starts_with('X') && !reset {
                continue; // A clean end is the whole response then.
            }
            let (broken, next) = (
                Backend::start(move |mut peer| async move {
                    peer.head().await;
                    peer.write(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n")).await;
                    if reset {
                        SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).unwrap();
                    }
                    peer.head().await;
                })
                .await,
                Backend::echo().await,
            );
            let world = Setup::http(&[broken.address, next.address]).start();
            let mut client = world.client().await;
            client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            client.head().await.unwrap();
            assert_eq!(client.exactly(10).await, b"5\r\nhello\r\n");
            broken.kill().await;
            assert_eq!(client.rest().await, (Vec::new(), false), "{head}, reset: {reset}");
            assert_eq!(world.stats().failures.get(&Reason::Broken), Some(&1));
            assert_eq!(next.seen(), 0);
        }
    }
}

#[tokio::test]
async fn a_backend_that_stalls_in_mid_stream_is_cut_off_visibly() {
    let stalling = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
        peer.closed().await;
    })
    .await;
    let timeouts = Timeouts { idle: Duration::from_millis(200), ..Timeouts::default() };
    let world = Setup { timeouts, ..Setup::http(&[stalling.address]) }.start();
    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!client.rest().await.1);
    assert_eq!(world.stats().failures.get(&Reason::Idle), Some(&1));
}

/// A backend that tells when a request has come and when its connection has ended.
async fn watching(answer: &'static str) -> (Backend, mpsc::UnboundedReceiver<&'static str>) {
    let (events, seen) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let events = events.clone();
        async move {
            if peer.head().await.is_some() {
                peer.write(answer).await;
                events.send("request").unwrap();
            }
            peer.closed().await;
            events.send("closed").unwrap();
        }
    })
    .await;
    (backend, seen)
}

#[tokio::test]
async fn when_the_client_leaves_the_backend_learns_it_at_once_before_and_after_the_first_byte() {
    let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for (answer, reset, pipelined) in [
        ("", false, false),
        ("", true, false),
        ("", false, true),
        (begun, false, false),
        (begun, true, false),
    ] {
        let (backend, mut events) = watching(answer).await;
        let world = Setup::http(&[backend.address]).start();
        let mut client = world.client().await;
        client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        if pipelined {
            client.write("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
        }
        assert_eq!(soon("the request", events.recv()).await, Some("request"));
        if !answer.is_empty() {
            client.head().await.unwrap();
            client.exactly(10).await;
        }
        if reset {
            SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        assert_eq!(soon("the end", events.recv()).await, Some("closed"));
        until("the count", || world.stats().cancelled == 1 && world.stats().open == 0).await;
        assert_eq!(world.plane.stats().backends.values().next().unwrap().pending, 0);
    }
}

#[tokio::test]
async fn when_the_client_leaves_in_the_middle_of_its_body_the_backend_learns_it() {
    let (backend, mut events) = watching("").await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    client.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
    assert_eq!(soon("the request", events.recv()).await, Some("request"));
    drop(client);
    assert_eq!(soon("the end", events.recv()).await, Some("closed"));
}

#[tokio::test]
async fn retries_stop_when_their_budget_is_spent() {
    let (one, two) = (closing().await, closing().await);
    let world = Setup::http(&[one.address, two.address]).start();
    let begun = Instant::now();
    let mut client = world.client().await;
    for _ in 0..1000 {
        assert_eq!(client.get("/").await.status, 502);
    }
    let stats = world.stats();
    let retried = stats.failovers[&Reason::Closed];
    // 100 to begin with, a fifth of the 1000 requests, and ten for each second the test took.
    let most = 300 + 10 * (begun.elapsed().as_secs() + 1);
    assert!((100..=most).contains(&retried), "{retried} of at most {most}");
    assert!(stats.budget_exhausted > 0);
}
