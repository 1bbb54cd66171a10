//! Long bodies between plain TCP connections go through a pipe: nothing that holds of bytes that are copied may be lost by that.

#![allow(clippy::unwrap_used, reason = "test helpers")]
#![allow(clippy::disallowed_methods, reason = "drives real sockets")]

mod common;

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{Backend, Lines, Peer, Setup, World, agreement, field, soon, until};
use proxima_proxy::{BodyRate, ClientLimits, Reason, Slow, Timeouts};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
    task::JoinHandle,
};

const MIB: usize = 1 << 20;
/// More than anybody on the way holds.
const LONG: usize = 64 * MIB;
const BRIEF: Duration = Duration::from_secs(1);

/// Bytes that tell where they stand, up to a period that no buffer and no pipe has.
fn pattern(length: usize) -> Vec<u8> {
    static PERIOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
        (0u32..).flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes()).take(MIB - 3).collect()
    });
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        bytes.extend_from_slice(&PERIOD[..PERIOD.len().min(length - bytes.len())]);
    }
    bytes
}

/// How many ends of pipes this process has open.
fn pipes() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("pipe:")).count()
}

fn head(length: usize) -> String {
    format!("PUT /long HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
}

/// A request, and the first part of its body.
fn part() -> Vec<u8> {
    [head(LONG).into_bytes(), pattern(4 * MIB)].concat()
}

/// Writes on while the other half reads.
fn write(mut half: OwnedWriteHalf, bytes: Vec<u8>) -> JoinHandle<OwnedWriteHalf> {
    tokio::spawn(async move {
        let _ = half.write_all(&bytes).await;
        half
    })
}

/// Asks for a response that is not read beyond its head.
async fn begin(world: &World) -> Peer {
    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    client
}

#[derive(Clone, Copy)]
enum Then {
    Silence,
    Close,
    Reset,
}

/// Sends so much of a response of this length, or of one until the close.
async fn sending(length: Option<usize>, sent: usize, then: Then) -> Backend {
    let length = length.map_or_else(String::new, |length| format!("Content-Length: {length}\r\n"));
    let answer = [format!("HTTP/1.1 200 OK\r\n{length}\r\n").into_bytes(), pattern(sent)].concat();
    let answer = Arc::new(answer);
    Backend::start(move |mut peer| {
        let answer = answer.clone();
        async move {
            peer.head().await.unwrap();
            let _ = peer.stream.write_all(&answer).await;
            match then {
                Then::Silence => peer.closed().await,
                Then::Close => {}
                Then::Reset => SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).unwrap(),
            }
        }
    })
    .await
}

/// Takes so much of a request's body, and no more.
async fn taking(taken: usize) -> Backend {
    Backend::start(move |mut peer| async move {
        peer.head().await.unwrap();
        peer.exactly(taken).await;
        std::future::pending::<()>().await;
    })
    .await
}

#[tokio::test]
async fn bodies_around_every_threshold_arrive_as_they_are_and_are_counted_to_the_byte() {
    let (before, lines, backend) = (pipes(), Lines::default(), Backend::echo().await);
    let world = Setup { access_log: Some(lines.log(false)), ..Setup::http(&[backend.address]) }.start();
    let client = world.client().await;
    let (mut bytes_in, mut bytes_out) = (0, 0);
    let lengths = [1 << 12, 1 << 15, 1 << 16, 1 << 17, 1 << 18, 1 << 20];
    let lengths = lengths.into_iter().flat_map(|length| [length - 1, length, length + 1, length + 5000]);
    let lengths: Vec<usize> = lengths.chain([9 * MIB + 7, 10]).collect();
    let mut stream = client.stream;
    for length in &lengths {
        let body = pattern(*length);
        let sent = [head(*length).as_bytes(), &body].concat();
        bytes_in += sent.len();
        let (read, half) = stream.into_split();
        let writing = write(half, sent);
        let half = soon("the upload", writing).await.unwrap();
        let mut client = Peer::new(read.reunite(half).unwrap());
        let response = client.response().await;
        bytes_out += response.head.len() + response.body.len();
        assert!(response.body == body, "{length} octets");
        assert!(client.buffer.is_empty());
        stream = client.stream;
    }
    assert_eq!(backend.seen(), 1, "both connections are as good as new after each exchange");
    assert!(pipes() > before, "nothing was spliced");
    until("the count", || world.stats().bytes_out == bytes_out as u64).await;
    assert_eq!(world.stats().bytes_in, bytes_in as u64);
    let told = lines.wait(lengths.len()).await;
    for (line, length) in told.iter().zip(&lengths) {
        let told = (line["received"].as_u64(), line["sent"].as_u64(), line["end"].as_str());
        assert_eq!(told, (Some(*length as u64), Some(*length as u64), Some("done")));
    }
}

#[tokio::test]
async fn what_is_pipelined_behind_a_spliced_body_is_the_next_request() {
    let (before, backend) = (pipes(), Backend::echo().await);
    let world = Setup::http(&[backend.address]).start();
    let bodies = [2 * MIB + 1, 10, MIB, 3 * MIB, 0].map(pattern);
    let all =
        bodies.iter().flat_map(|body| [head(body.len()).into_bytes(), body.clone()]).flatten().collect();
    let (read, half) = world.client().await.stream.into_split();
    let writing = write(half, all);
    let mut received = Vec::new();
    let mut reader = Reader(read);
    for body in &bodies {
        received.clear();
        let response = reader.response(&mut received).await;
        assert!(response.starts_with("HTTP/1.1 200 ") && received == *body, "{response}");
    }
    drop(soon("the upload", writing).await.unwrap());
    assert!(pipes() > before, "nothing was spliced");
}

/// Reads responses of known length.
struct Reader(OwnedReadHalf);

impl Reader {
    async fn response(&mut self, body: &mut Vec<u8>) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon("a head", self.0.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        body.resize(field(&head, "content-length").unwrap().parse().unwrap(), 0);
        soon("a body", self.0.read_exact(body)).await.unwrap();
        head
    }
}

#[tokio::test]
async fn what_a_backend_sends_behind_its_spliced_body_answers_nobody() {
    let count = Arc::<AtomicUsize>::default();
    let backend = Backend::start(move |mut peer| {
        let count = count.clone();
        async move {
            while peer.head().await.is_some() {
                let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {MIB}\r\n\r\n").into_bytes();
                answer.extend(pattern(MIB));
                if count.fetch_add(1, Ordering::SeqCst) == 0 {
                    answer.extend(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
                }
                peer.write_bytes(&answer).await;
            }
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    for _ in 0..3 {
        assert!(client.get("/").await.body == pattern(MIB));
    }
    assert_eq!(backend.seen(), 2, "the first connection can't be trusted");
}

#[tokio::test]
async fn a_backend_that_dies_within_a_spliced_body_leaves_no_whole_response() {
    for (length, then) in [
        (Some(LONG), Then::Close),
        (Some(LONG), Then::Reset),
        // One byte is missing.
        (Some(8 * MIB + 1), Then::Close),
        (None, Then::Reset),
    ] {
        let before = pipes();
        let backend = sending(length, 8 * MIB, then).await;
        let world = Setup::http(&[backend.address]).start();
        let (received, is_clean) = begin(&world).await.rest().await;
        assert!(!is_clean, "the client must see that something is missing");
        assert!(received.len() <= 8 * MIB && received == pattern(received.len()));
        assert!(pipes() > before, "nothing was spliced");
        until("the count", || world.stats().cut == 1).await;
        assert_eq!(world.stats().failures.get(&Reason::Broken), Some(&1));
    }
}

#[tokio::test]
async fn a_long_body_until_the_close_is_whole_with_the_close() {
    let (before, backend) = (pipes(), sending(None, 8 * MIB + 3, Then::Close).await);
    let world = Setup::http(&[backend.address]).start();
    let (received, is_clean) = begin(&world).await.rest().await;
    assert!(is_clean && received == pattern(8 * MIB + 3));
    assert!(pipes() > before, "nothing was spliced");
    until("the end", || world.stats().open == 0).await;
    assert!(world.stats().failures.is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_within_a_spliced_response_takes_its_backend_with_it() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let ends = ends.clone();
        async move {
            peer.head().await.unwrap();
            peer.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1u64 << 40)).await;
            let piece = pattern(MIB);
            while peer.stream.write_all(&piece).await.is_ok() {}
            ends.send(()).unwrap();
        }
    })
    .await;
    // While it reads, and when it has not for long.
    for read in [16 * MIB, 0] {
        let before = pipes();
        let world = Setup::http(&[backend.address]).start();
        let mut client = begin(&world).await;
        client.exactly(read).await;
        until("a pipe", || pipes() > before).await;
        drop(client);
        soon("the end", ended.recv()).await.unwrap();
        until("the count", || world.stats().cancelled == 1).await;
        assert!(world.stats().failures.is_empty());
    }
}

#[tokio::test]
async fn a_client_that_leaves_within_a_spliced_request_takes_its_backend_with_it() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let ends = ends.clone();
        async move {
            peer.head().await.unwrap();
            peer.exactly(4 * MIB).await;
            peer.closed().await;
            ends.send(()).unwrap();
        }
    })
    .await;
    let (before, world, body) = (pipes(), Setup::http(&[backend.address]).start(), part());
    let mut client = world.client().await;
    client.write_bytes(&body).await;
    until("a pipe", || pipes() > before).await;
    drop(client);
    soon("the end", ended.recv()).await.unwrap();
    until("the count", || world.stats().cancelled == 1).await;
}

#[tokio::test]
async fn deadlines_hold_while_a_response_is_spliced_and_say_whose_fault_it_was() {
    let idle = Timeouts { idle: BRIEF, ..Timeouts::default() };
    let silent = sending(Some(LONG), 4 * MIB, Then::Silence).await;
    let (before, world) = (pipes(), Setup { timeouts: idle, ..Setup::http(&[silent.address]) }.start());
    let (received, is_clean) = begin(&world).await.rest().await;
    assert!(!is_clean && received == pattern(4 * MIB), "all that came is with the client");
    assert!(pipes() > before, "nothing was spliced");
    assert_eq!(world.stats().failures.get(&Reason::Idle), Some(&1));

    let eager = sending(Some(LONG), LONG, Then::Silence).await;
    let world = Setup { timeouts: idle, ..Setup::http(&[eager.address]) }.start();
    let mut client = begin(&world).await;
    until("the cut", || world.slow_clients(Slow::Idle) == 1).await;
    assert!(!client.rest().await.1);
    assert!(world.stats().failures.is_empty());

    let total = Timeouts { total: Some(BRIEF), ..Timeouts::default() };
    let world = Setup { timeouts: total, ..Setup::http(&[eager.address]) }.start();
    let mut client = begin(&world).await;
    until("the cut", || world.stats().failures.contains_key(&Reason::Total)).await;
    assert!(!client.rest().await.1);
}

#[tokio::test]
async fn deadlines_hold_while_a_request_is_spliced_and_say_whose_fault_it_was() {
    let timeouts = Timeouts { idle: BRIEF, ..Timeouts::default() };
    // The client sends no more.
    let (backend, body) = (taking(4 * MIB).await, part());
    let (before, world) = (pipes(), Setup { timeouts, ..Setup::http(&[backend.address]) }.start());
    let mut client = world.client().await;
    client.write_bytes(&body).await;
    assert_eq!(client.response().await.status, 408);
    assert_eq!(world.slow_clients(Slow::Idle), 1);
    assert!(pipes() > before, "nothing was spliced");

    // The backend takes no more.
    let backend = taking(MIB).await;
    let world = Setup { timeouts, ..Setup::http(&[backend.address]) }.start();
    let (read, half) = world.client().await.stream.into_split();
    let writing = write(half, [head(LONG).into_bytes(), pattern(LONG)].concat());
    assert!(Reader(read).response(&mut Vec::new()).await.starts_with("HTTP/1.1 504 "));
    assert_eq!(world.stats().failures.get(&Reason::Idle), Some(&1));
    soon("the end", writing).await.unwrap();
}

#[tokio::test]
async fn the_least_rate_holds_while_a_body_is_spliced() {
    let limits = |request, response| {
        let body_rate = BodyRate { request, response, grace: BRIEF, streams: false };
        ClientLimits { body_rate, ..ClientLimits::default() }
    };
    let (backend, body) = (taking(4 * MIB).await, part());
    let (before, world) =
        (pipes(), Setup { limits: limits(10_000, 0), ..Setup::http(&[backend.address]) }.start());
    let mut client = world.client().await;
    client.write_bytes(&body).await;
    let mut pause = tokio::time::interval(BRIEF / 10);
    let answer = loop {
        tokio::select! {
            head = client.head() => break head.expect("an answer"),
            _ = pause.tick() => {}
        }
        let _ = client.stream.try_write(b"x");
    };
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(world.slow_clients(Slow::RequestRate), 1);
    assert!(pipes() > before, "nothing was spliced");

    let backend = sending(Some(LONG), LONG, Then::Silence).await;
    let world = Setup { limits: limits(0, 1_000_000_000), ..Setup::http(&[backend.address]) }.start();
    let mut client = begin(&world).await;
    until("the cut", || world.slow_clients(Slow::ResponseRate) == 1).await;
    assert!(!client.rest().await.1, "the client must see that something is missing");
}

#[tokio::test]
async fn a_spliced_response_is_whole_after_a_drain_has_begun() {
    let (go, gate) = mpsc::unbounded_channel::<()>();
    let gate = Arc::new(tokio::sync::Mutex::new(gate));
    let backend = Backend::start(move |mut peer| {
        let gate = gate.clone();
        async move {
            peer.head().await.unwrap();
            peer.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 8 * MIB)).await;
            let body = pattern(8 * MIB);
            peer.write_bytes(&body[..4 * MIB]).await;
            gate.lock().await.recv().await.unwrap();
            peer.write_bytes(&body[4 * MIB..]).await;
            peer.closed().await;
        }
    })
    .await;
    let (before, world) = (pipes(), Setup::http(&[backend.address]).start());
    let mut client = begin(&world).await;
    let mut received = client.exactly(4 * MIB).await;
    assert!(pipes() > before, "nothing was spliced");
    assert_eq!(world.plane.drain(BRIEF).await, 1, "the exchange goes on");
    go.send(()).unwrap();
    let (rest, is_clean) = client.rest().await;
    received.extend(rest);
    assert!(is_clean && received == pattern(8 * MIB));
    assert_eq!(world.plane.drain(common::PATIENCE).await, 0);
}

#[tokio::test]
async fn a_long_talk_of_a_websocket_is_spliced_both_ways_to_both_ends() {
    let backend = Backend::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        peer.write(&agreement(&head)).await;
        let early = std::mem::take(&mut peer.buffer);
        let (mut read, mut half) = peer.stream.into_split();
        half.write_all(&early).await.unwrap();
        tokio::io::copy(&mut read, &mut half).await.unwrap();
        half.write_all(b"bye").await.unwrap();
    })
    .await;
    let (before, world) = (pipes(), Setup::http(&[backend.address]).start());
    let mut client = world.client().await;
    let ask = "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\nearly";
    client.write(ask).await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.exactly(5).await, b"early");
    let (mut read, mut half) = client.stream.into_split();
    let talk = pattern(16 * MIB);
    let said = talk.clone();
    let saying = tokio::spawn(async move {
        half.write_all(&said).await.unwrap();
        half.shutdown().await.unwrap();
        half
    });
    let mut heard = Vec::new();
    soon("the echo", read.read_to_end(&mut heard)).await.unwrap();
    assert!(heard[..talk.len()] == talk && heard[talk.len()..] == *b"bye");
    assert!(pipes() > before, "nothing was spliced");
    drop(saying.await.unwrap());
    until("the end", || world.stats().open == 0).await;
    assert_eq!(world.stats().bytes_in, (ask.len() + talk.len()) as u64);
    assert!(world.stats().failures.is_empty());
}

#[tokio::test]
async fn without_descriptors_for_pipes_long_bodies_are_copied() {
    let backend = Backend::echo().await;
    let world = Setup { max_descriptors: Some(10), ..Setup::http(&[backend.address]) }.start();
    let (read, half) = world.client().await.stream.into_split();
    let writing = write(half, [head(4 * MIB).into_bytes(), pattern(4 * MIB)].concat());
    let mut body = Vec::new();
    Reader(read).response(&mut body).await;
    assert!(body == pattern(4 * MIB));
    drop(writing.await.unwrap());
}
