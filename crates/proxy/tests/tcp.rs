//! The TCP relay between real sockets.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::time::Duration;

use common::{Backend, Peer, Setup, refusing, soon, until};
use proxima_proxy::{Reason, Timeouts, Unserved};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Sends back what comes, and ends when the client does.
async fn echo() -> Backend {
    Backend::start(|peer| async move {
        let (mut read, mut write) = peer.stream.into_split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

#[tokio::test]
async fn bytes_go_both_ways() {
    let backend = echo().await;
    let world = Setup::tcp(&[backend.address]).start();
    let mut client = world.client().await;
    for text in ["hello", "GET / HTTP/1.1\r\n\r\n", "\0\x01\x02"] {
        client.write(text).await;
        assert_eq!(client.exactly(text.len()).await, text.as_bytes());
    }
    drop(client);
    until("the end", || world.stats().open == 0).await;
    assert_eq!((world.stats().bytes_in, world.stats().bytes_out), (26, 26));
    assert_eq!(world.plane.stats().backends.values().next().unwrap().pending, 0);
}

#[tokio::test]
async fn either_side_may_end_first_and_still_hear_the_other() {
    // Answers only when the client has ended.
    let backend = Backend::start(|mut peer| async move {
        let (all, clean) = peer.rest().await;
        assert!(clean);
        peer.write_bytes(&all).await;
        peer.write(" and goodbye").await;
    })
    .await;
    let world = Setup::tcp(&[backend.address]).start();
    let mut client = world.client().await;
    client.write("hello").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, (b"hello and goodbye".to_vec(), true));

    // Ends first, and reads on.
    let backend = Backend::start(|mut peer| async move {
        peer.write("bye").await;
        peer.stream.shutdown().await.unwrap();
        assert_eq!(peer.rest().await, (b"but I still had to say this".to_vec(), true));
    })
    .await;
    let world = Setup::tcp(&[backend.address]).start();
    let mut client = world.client().await;
    assert_eq!(client.rest().await, (b"bye".to_vec(), true));
    client.write("but I still had to say this").await;
    drop(client);
    until("the end", || world.stats().open == 0).await;
    assert_eq!(world.stats().failures.len(), 0);
}

#[tokio::test]
async fn large_streams_arrive_whole_in_both_directions_at_once() {
    let backend = echo().await;
    let world = Setup::tcp(&[backend.address]).start();
    let client = world.client().await;
    let (mut read, mut write) = client.stream.into_split();
    let sent: Vec<u8> =
        (0..6u32 << 20).flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    let expected = sent.clone();
    let writer = tokio::spawn(async move {
        // Odd sizes, so that nothing falls on the borders of buffers and pipes.
        for piece in sent.chunks(77_777) {
            write.write_all(piece).await.unwrap();
        }
        write.shutdown().await.unwrap();
        write
    });
    let mut received = Vec::new();
    soon("the echo", read.read_to_end(&mut received)).await.unwrap();
    assert!(received == expected);
    writer.await.unwrap();
    assert_eq!(world.stats().bytes_out, expected.len() as u64);
}

#[tokio::test]
async fn a_reader_that_pauses_loses_nothing() {
    let backend = Backend::start(|mut peer| async move {
        let bytes: Vec<u8> = (0..4u32 << 20).flat_map(u32::to_le_bytes).collect();
        peer.stream.write_all(&bytes).await.unwrap();
    })
    .await;
    let world = Setup::tcp(&[backend.address]).start();
    let mut client = world.client().await;
    let mut count = 0u32;
    while count < 4 << 20 {
        let bytes = client.exactly(64 * 1024).await;
        for word in bytes.chunks(4) {
            assert_eq!(word, count.to_le_bytes());
            count += 1;
        }
        if count.is_multiple_of(1 << 18) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(client.rest().await, (Vec::new(), true));
}

#[tokio::test]
async fn a_refused_connection_goes_to_the_next_candidate() {
    let backend = echo().await;
    let world = Setup::tcp(&[refusing().await, refusing().await, backend.address]).start();
    let mut client = world.client().await;
    client.write("hello").await;
    assert_eq!(client.exactly(5).await, b"hello");
    assert_eq!(world.stats().failovers.get(&Reason::Connect), Some(&2));

    let world = Setup::tcp(&[refusing().await]).start();
    if let Ok(stream) = TcpStream::connect(world.address).await {
        let mut client = Peer { stream, buffer: Vec::new() };
        client.closed().await;
    }
    until("the end", || world.stats().connections == 1 && world.stats().open == 0).await;
    assert_eq!(world.stats().failures.get(&Reason::Connect), Some(&1));
}

#[tokio::test]
async fn a_reset_goes_on_as_a_reset_either_way() {
    let backend = Backend::start(|mut peer| async move {
        peer.exactly(5).await;
        SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    let world = Setup::tcp(&[backend.address]).start();
    let mut client = world.client().await;
    client.write("hello").await;
    assert!(!client.rest().await.1);

    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::start(move |mut peer| {
        let tell = tell.clone();
        async move {
            peer.write("hello").await;
            tell.send(peer.rest().await.1).unwrap();
        }
    })
    .await;
    let world = Setup::tcp(&[backend.address]).start();
    let mut client = world.client().await;
    client.exactly(5).await;
    SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(soon("the reset", told.recv()).await, Some(false));
    until("the end", || world.stats().open == 0).await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_moves_is_cut_off() {
    let backend = echo().await;
    let timeouts = Timeouts { idle: Duration::from_millis(200), ..Timeouts::default() };
    let world = Setup { timeouts, ..Setup::tcp(&[backend.address]) }.start();
    let mut client = world.client().await;
    client.write("hello").await;
    client.exactly(5).await;
    assert!(!client.rest().await.1);
    assert_eq!(world.stats().failures.get(&Reason::Idle), Some(&1));
}

#[tokio::test]
async fn without_a_backend_inside_the_fence_nothing_is_connected() {
    let elsewhere = echo().await;
    let mut setup = Setup { allow: Some("EU"), ..Setup::tcp(&[]) };
    setup.backends = vec![(elsewhere.address, 0, "US")];
    let world = setup.start();
    // Even the connect may see the reset already.
    if let Ok(stream) = TcpStream::connect(world.address).await {
        let mut client = Peer { stream, buffer: Vec::new() };
        client.closed().await;
    }
    until("the count", || world.stats().connections == 1 && world.stats().open == 0).await;
    assert_eq!(world.stats().unserved.get(&Unserved::AllOutside), Some(&1));
    assert_eq!(elsewhere.seen(), 0);
}
