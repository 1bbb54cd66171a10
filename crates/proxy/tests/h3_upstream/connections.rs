//! How connections to backends are made, shared and left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::Response;
use proxima_proxy::Timeouts;
use quinn::{TransportConfig, VarInt};
use tokio::sync::Notify;

use crate::{
    backend::{Backend, Raw, endpoint, setup},
    common::{Setup, soon, until},
    pki::Authority,
    support::{self, frame, headers},
};

const OK: [(&str, &str); 2] = [(":status", "200"), ("content-length", "0")];

#[tokio::test]
async fn streams_beyond_what_the_backend_takes_go_over_further_connections() {
    let authority = Authority::new();
    let (cue, running) = (Arc::<Notify>::default(), Arc::<AtomicUsize>::default());
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(4u32.into());
    let (endpoint, address) = endpoint(&authority.issue(&["127.0.0.1"]), None, transport);
    let (own, count) = (cue.clone(), running.clone());
    let backend = Backend::over(endpoint, address, move |_, mut stream| {
        let (cue, running) = (own.clone(), count.clone());
        async move {
            running.fetch_add(1, Ordering::SeqCst);
            cue.notified().await;
            stream.send_response(Response::new(())).await.unwrap();
            stream.finish().await.unwrap();
        }
    });
    let world = setup(&authority, &[address]).start();
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
async fn a_goaway_moves_what_was_not_taken_and_lets_the_rest_end() {
    let authority = Authority::new();
    let backend = Raw::start(&authority, TransportConfig::default());
    let world = setup(&authority, &[backend.address]).start();
    let mut first = world.client().await;
    first.write("GET /first HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut old = backend.accept().await;
    let (mut first_send, _first, _) = old.request().await;
    let mut second = world.client().await;
    second.write("POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody").await;
    let (_second_send, _second, _) = old.request().await;
    // Stream 4 and those beyond are not served.
    old.control.write_all(&[7, 1, 4]).await.unwrap();
    // The second, though not idempotent, comes over a new connection.
    let new = backend.accept().await;
    let (mut send, mut receive, _) = new.request().await;
    let body = soon("the body", receive.read_to_end(100)).await.unwrap();
    assert_eq!(body, frame_of_data(b"body"));
    send.write_all(&headers(&OK)).await.unwrap();
    send.finish().unwrap();
    assert_eq!(second.response().await.status, 200);
    first_send.write_all(&headers(&OK)).await.unwrap();
    first_send.finish().unwrap();
    assert_eq!(first.response().await.status, 200);
    // With its last stream the old connection has nothing left to do.
    let why = soon("its end", old.connection.closed()).await;
    assert_eq!(support::code(why), 0x100);
    assert_eq!(world.stats().failures.len(), 0);
}

fn frame_of_data(bytes: &[u8]) -> Vec<u8> {
    [&[0, bytes.len() as u8], bytes].concat()
}

#[tokio::test]
async fn requests_that_the_backend_did_nothing_with_are_sent_again_whatever_they_are() {
    let authority = Authority::new();
    let backend = Raw::start(&authority, TransportConfig::default());
    let world = setup(&authority, &[backend.address]).start();
    let mut client = world.client().await;
    client.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody").await;
    let old = backend.accept().await;
    let (mut send, mut receive, _) = old.request().await;
    let rejected = VarInt::from_u32(0x10b);
    send.reset(rejected).unwrap();
    receive.stop(rejected).unwrap();
    let new = backend.accept().await;
    let (mut send, _receive, _) = new.request().await;
    send.write_all(&headers(&OK)).await.unwrap();
    send.finish().unwrap();
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn a_request_that_a_used_connection_died_under_is_sent_again_only_if_it_is_idempotent() {
    let authority = Authority::new();
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 502),
    ] {
        let backend = Raw::start(&authority, TransportConfig::default());
        let world = setup(&authority, &[backend.address]).start();
        let mut client = world.client().await;
        client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let old = backend.accept().await;
        let (mut send, _receive, _) = old.request().await;
        send.write_all(&headers(&OK)).await.unwrap();
        send.finish().unwrap();
        assert_eq!(client.response().await.status, 200);
        client.write(request).await;
        let _second = old.request().await;
        old.connection.close(0x100u32.into(), b"");
        if expected == 200 {
            let (mut send, _receive, _) = backend.accept().await.request().await;
            send.write_all(&headers(&OK)).await.unwrap();
            send.finish().unwrap();
            assert_eq!(client.response().await.status, 200);
        } else {
            assert_eq!(client.response().await.status, expected);
        }
    }
}

#[tokio::test]
async fn a_port_that_nobody_has_is_passed_over_at_once() {
    let authority = Authority::new();
    let refusing = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (good, _seen) = Backend::telling(&authority, || Response::new("alive"));
    let timeouts = Timeouts { connect: Duration::from_secs(10), ..Timeouts::default() };
    let world = Setup { timeouts, ..setup(&authority, &[refusing, good.address]) }.start();
    let begun = Instant::now();
    assert_eq!(world.client().await.get("/").await.text(), "alive");
    assert!(begun.elapsed() < Duration::from_secs(5), "ICMP says so: no timeout is waited for");
    assert_eq!(world.plane.stats().backends[&"app/b0".parse().unwrap()].connects, 0);
}

#[tokio::test]
async fn a_backend_that_falls_silent_at_the_handshake_is_a_timeout() {
    let authority = Authority::new();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let timeouts = Timeouts { connect: Duration::from_millis(300), ..Timeouts::default() };
    let world = Setup { timeouts, ..setup(&authority, &[silent.local_addr().unwrap()]) }.start();
    assert_eq!(world.client().await.get("/").await.status, 504);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request_and_no_other() {
    let authority = Authority::new();
    let backend = Raw::start(&authority, TransportConfig::default());
    let world = setup(&authority, &[backend.address]).start();
    let mut leaving = world.client().await;
    leaving.write("GET /leaving HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let connection = backend.accept().await;
    let (mut send, _receive, _) = connection.request().await;
    let mut staying = world.client().await;
    staying.write("POST /staying HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhalf").await;
    let (mut other, _other, _) = connection.request().await;
    drop(leaving);
    let stopped = soon("STOP_SENDING", send.stopped()).await.unwrap();
    assert_eq!(stopped, Some(VarInt::from_u32(0x10c)));
    // It fails on a stream that was stopped.
    let _ = send.reset(VarInt::from_u32(0x10c));
    other.write_all(&headers(&OK)).await.unwrap();
    other.finish().unwrap();
    assert_eq!(staying.response().await.status, 200);
    assert!(connection.connection.close_reason().is_none());
}

#[tokio::test]
async fn a_client_that_leaves_amid_its_body_resets_it_at_the_backend() {
    let authority = Authority::new();
    let backend = Raw::start(&authority, TransportConfig::default());
    let world = setup(&authority, &[backend.address]).start();
    let mut client = world.client().await;
    client.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await;
    let connection = backend.accept().await;
    let (_send, mut receive, _) = connection.request().await;
    let mut data = [0; 6];
    soon("the half", receive.read_exact(&mut data)).await.unwrap();
    assert_eq!(data, *b"\0\x04half");
    drop(client);
    let reset = soon("RESET_STREAM", receive.read_to_end(100)).await.unwrap_err();
    let expected = quinn::ReadError::Reset(VarInt::from_u32(0x10c));
    assert_eq!(reset, quinn::ReadToEndError::Read(expected));
}

#[tokio::test]
async fn no_answer_in_time_is_a_504_and_cancels_the_request() {
    let authority = Authority::new();
    let backend = Raw::start(&authority, TransportConfig::default());
    let timeouts = Timeouts { first_byte: Duration::from_millis(300), ..Timeouts::default() };
    let world = Setup { timeouts, ..setup(&authority, &[backend.address]) }.start();
    let mut client = world.client().await;
    client.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    let connection = backend.accept().await;
    let (send, _receive, _) = connection.request().await;
    assert_eq!(client.response().await.status, 504);
    assert_eq!(soon("STOP_SENDING", send.stopped()).await.unwrap(), Some(VarInt::from_u32(0x10c)));
}

#[tokio::test]
async fn a_client_that_does_not_read_slows_its_own_response_alone() {
    const LENGTH: usize = 8 << 20;
    let authority = Authority::new();
    let backend = Raw::start(&authority, TransportConfig::default());
    let world = setup(&authority, &[backend.address]).start();
    let mut slow = world.client().await;
    slow.write("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let connection = backend.accept().await;
    let (mut send, _receive, _) = connection.request().await;
    let sent = Arc::<AtomicUsize>::default();
    let count = sent.clone();
    let sending = tokio::spawn(async move {
        let length = LENGTH.to_string();
        send.write_all(&headers(&[(":status", "200"), ("content-length", &length)])).await.unwrap();
        for _ in 0..LENGTH / 1024 {
            send.write_all(&frame(0, &[b'x'; 1024])).await.unwrap();
            count.fetch_add(1024, Ordering::SeqCst);
        }
        send.finish().unwrap();
    });
    // Others are served while it stands; the kernel's buffers and the windows take what they have room for.
    let mut other = world.client().await;
    let mut before = usize::MAX;
    while before != sent.load(Ordering::SeqCst) {
        before = sent.load(Ordering::SeqCst);
        for _ in 0..20 {
            other.write("GET /other HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let (mut send, _receive, _) = connection.request().await;
            send.write_all(&headers(&OK)).await.unwrap();
            send.finish().unwrap();
            assert_eq!(other.response().await.status, 200);
        }
    }
    assert!(before < LENGTH, "all of it was taken");
    assert_eq!(slow.response().await.body.len(), LENGTH);
    sending.await.unwrap();
}

#[tokio::test]
async fn an_answer_before_the_whole_body_ends_the_upload_without_an_error() {
    let authority = Authority::new();
    let backend = Raw::start(&authority, TransportConfig::default());
    let world = support::start(setup(&authority, &[backend.address]));
    let mut client = world.client().await;
    let mut stream = client.send.send_request(support::post("/")).await.unwrap();
    stream.send_data("some".into()).await.unwrap();
    let connection = backend.accept().await;
    let (mut send, mut receive, _) = connection.request().await;
    // RFC 9114 §4.1: the rest is not wanted, and the response is whole all the same.
    receive.stop(VarInt::from_u32(0x100)).unwrap();
    send.write_all(&headers(&[(":status", "413"), ("content-length", "0")])).await.unwrap();
    send.finish().unwrap();
    assert_eq!(soon("an answer", support::answer(stream)).await.unwrap().status(), 413);
    assert_eq!(client.connection.close_reason(), None);
}
