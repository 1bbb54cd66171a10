//! How connections of HTTP/2 clients end with what runs on them.

#![allow(clippy::unwrap_used, reason = "test helpers")]
#![allow(clippy::disallowed_methods, reason = "drives real sockets")]

mod common;

use std::time::Duration;

use common::{
    Backend, Setup,
    h2::{Client, END_HEADERS, END_STREAM, Raw, answer, frame, get, get_block, kind},
    soon, until,
};

const ALONE: u8 = END_STREAM | END_HEADERS;

/// Passes a token on each cue, and ends after the last.
async fn cued() -> (Backend, std::sync::Arc<tokio::sync::Notify>) {
    let cue = std::sync::Arc::<tokio::sync::Notify>::default();
    let own = cue.clone();
    let backend = Backend::start(move |mut peer| {
        let cue = own.clone();
        async move {
            while peer.head().await.is_some() {
                peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
                cue.notified().await;
                peer.write("4\r\nlast\r\n0\r\n\r\n").await;
            }
        }
    })
    .await;
    (backend, cue)
}

#[tokio::test]
async fn a_drain_says_goaway_and_lets_streams_end() {
    let (backend, cue) = cued().await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Client::connect(&world).await;
    let mut idle = Client::connect(&world).await;
    let (response, _) = client.send.send_request(get("/"), true).unwrap();
    let mut response = soon("a head", response).await.unwrap();
    assert_eq!(response.body_mut().data().await.unwrap().unwrap(), "first");
    assert!(idle.send.clone().ready().await.is_ok());
    let drain = world.plane.drain(common::PATIENCE);
    let streams = async {
        soon("the end of the idle one", &mut idle.connection).await.unwrap().unwrap();
        cue.notify_one();
        let rest = soon("the end of the stream", answer(response)).await.unwrap();
        assert_eq!(rest.text(), "last");
        soon("the end of the connection", client.connection).await.unwrap().unwrap();
    };
    let (left, ()) = tokio::join!(drain, streams);
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_listener_that_goes_says_goaway_and_lets_streams_end() {
    let (backend, cue) = cued().await;
    let setup = Setup::http(&[backend.address]);
    let world = setup.start();
    let mut client = Client::connect(&world).await;
    let mut idle = Client::connect(&world).await;
    let (response, _) = client.send.send_request(get("/"), true).unwrap();
    let mut response = soon("a head", response).await.unwrap();
    assert_eq!(response.body_mut().data().await.unwrap().unwrap(), "first");
    assert!(idle.send.clone().ready().await.is_ok());
    world.reconfigure(&setup, Vec::new(), common::PATIENCE).await;
    soon("the end of the idle one", &mut idle.connection).await.unwrap().unwrap();
    cue.notify_one();
    assert_eq!(soon("the end of the stream", answer(response)).await.unwrap().text(), "last");
    soon("the end of the connection", client.connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn streams_that_still_run_when_their_time_is_over_are_cut() {
    let (backend, _cue) = cued().await;
    let setup = Setup::http(&[backend.address]);
    let world = setup.start();
    let mut client = Client::connect(&world).await;
    let (response, _) = client.send.send_request(get("/"), true).unwrap();
    let mut response = soon("a head", response).await.unwrap();
    assert_eq!(response.body_mut().data().await.unwrap().unwrap(), "first");
    world.reconfigure(&setup, Vec::new(), Duration::from_millis(100)).await;
    assert!(soon("the end of the stream", answer(response)).await.is_err(), "it is not whole");
    until("the end", || world.stats().open == 0 && world.stats().cancelled == 1).await;
}

#[tokio::test]
async fn a_displaced_client_is_sent_away_after_its_streams() {
    let (backend, cue) = cued().await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Raw::connect(&world).await;
    world.displaced.note(std::time::Instant::now(), &[client.stream.local_addr().unwrap()]);
    client.write(&frame(kind::HEADERS, ALONE, 1, &get_block(&[]))).await;
    // RFC 9113 §6.8: first one that refuses nothing, then, with the PING answered, the last.
    let goaway = client.expect(kind::GOAWAY).await;
    assert_eq!((goaway.code(), &goaway.payload[..4]), (0, &[0x7f, 0xff, 0xff, 0xff][..]));
    let ping = client.expect(kind::PING).await;
    client.write(&frame(kind::PING, 1, 0, &ping.payload)).await;
    cue.notify_one();
    let rest = client.rest().await;
    assert!(rest.iter().any(|frame| frame.kind == kind::DATA && frame.flags & END_STREAM != 0), "{rest:?}");
    assert!(rest.iter().any(|frame| frame.kind == kind::GOAWAY && frame.payload[..4] == [0, 0, 0, 1]));
}

/// Longer than a connection at its end waits for a client that takes nothing more.
#[tokio::test]
async fn a_drain_waits_for_what_a_slow_client_has_not_taken_yet() {
    const STREAMS: u32 = 120;
    const BODY: usize = 60_000;
    const EVERY: Duration = Duration::from_millis(8);
    let backend = Backend::fixed("x".repeat(BODY).leak()).await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = Raw::narrow(&world).await;
    client.write(&frame(kind::WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes())).await;
    for number in 0..STREAMS {
        client.write(&frame(kind::HEADERS, ALONE, 2 * number + 1, &get_block(&[]))).await;
    }
    // All of it is in buffers, and more than the kernel takes.
    until("all responses", || world.stats().responses[1] == u64::from(STREAMS)).await;
    let drain = world.plane.drain(common::PATIENCE);
    let read = async {
        let mut pace = tokio::time::interval(EVERY);
        let (mut octets, mut ended) = (0, 0);
        while let Some(frame) = client.next().await {
            if frame.kind != kind::DATA {
                continue;
            }
            octets += frame.payload.len();
            ended += u32::from(frame.flags & END_STREAM != 0);
            pace.tick().await;
        }
        (octets, ended)
    };
    let (left, read) = tokio::join!(drain, read);
    assert_eq!((left, read), (0, (STREAMS as usize * BODY, STREAMS)));
}
