//! Who is too slow.

use std::time::Duration;

use proxima_proxy::{BodyRate, ClientLimits, ConnectionsPerIp, Reason, Slow, Timeouts};
use quinn::{ConnectionError, TransportConfig};

use crate::{
    common::{Backend, Setup, soon, until},
    support::{GET, Outcome, POST, frame, get, headers, outcome, start},
};

const SHORT: Duration = Duration::from_millis(300);

async fn silent() -> Backend {
    Backend::start(|mut peer| async move {
        peer.head().await;
        peer.closed().await;
    })
    .await
}

async fn endless() -> Backend {
    Backend::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        while soon("an end", tokio::io::AsyncWriteExt::write_all(&mut peer.stream, chunk.as_bytes()))
            .await
            .is_ok()
        {}
    })
    .await
}

#[tokio::test]
async fn without_an_answer_in_time_the_client_gets_504_or_408() {
    let backend = silent().await;
    let timeouts = Timeouts { first_byte: SHORT, idle: SHORT, ..Timeouts::default() };
    let world = start(Setup { timeouts, ..Setup::http(&[backend.address]) });
    assert_eq!(world.raw().await.say(&headers(&GET)).await, Outcome::Status(504));
    let raw = world.raw().await;
    let (mut send, mut receive) = raw.connection.open_bi().await.unwrap();
    send.write_all(&[headers(&POST), frame(0, b"half")].concat()).await.unwrap();
    assert_eq!(soon("an answer", outcome(&mut receive)).await, Outcome::Status(408));
    assert_eq!(world.world.slow_clients(Slow::Idle), 1);
    assert_eq!(world.world.stats().failures.get(&Reason::FirstByte), Some(&1));
}

#[tokio::test]
async fn an_exchange_has_a_deadline_as_a_whole() {
    let backend = endless().await;
    let timeouts = Timeouts { total: Some(SHORT), ..Timeouts::default() };
    let world = start(Setup { timeouts, ..Setup::http(&[backend.address]) });
    let mut client = world.client().await;
    let mut stream = client.send.send_request(get("/")).await.unwrap();
    stream.finish().await.unwrap();
    assert!(soon("the reset", crate::support::answer(stream)).await.is_err());
    assert_eq!(world.world.stats().failures.get(&Reason::Total), Some(&1));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let backend = endless().await;
    let idle = Setup {
        timeouts: Timeouts { idle: SHORT, ..Timeouts::default() },
        ..Setup::http(&[backend.address])
    };
    let body_rate = BodyRate { response: 1_000_000_000, grace: SHORT, ..BodyRate::default() };
    let slow = Setup {
        limits: ClientLimits { body_rate, ..ClientLimits::default() },
        ..Setup::http(&[backend.address])
    };
    for (setup, why) in [(idle, Slow::Idle), (slow, Slow::ResponseRate)] {
        let world = start(setup);
        let mut client = world.client().await;
        let mut stream = client.send.send_request(get("/")).await.unwrap();
        stream.finish().await.unwrap();
        assert_eq!(soon("the head", stream.recv_response()).await.unwrap().status(), 200);
        until("the cut", || world.world.slow_clients(why) == 1).await;
        let rest = async {
            while stream.recv_data().await?.is_some() {}
            Ok::<_, h3::error::StreamError>(())
        };
        assert!(soon("the reset", rest).await.is_err());
    }
}

#[tokio::test]
async fn a_body_that_drips_ends_with_408_and_the_word_that_no_more_is_wanted() {
    let backend = silent().await;
    let body_rate = BodyRate { request: 10_000, grace: SHORT, ..BodyRate::default() };
    let limits = ClientLimits { body_rate, ..ClientLimits::default() };
    let world = start(Setup { limits, ..Setup::http(&[backend.address]) });
    let raw = world.raw().await;
    let (mut send, mut receive) = raw.connection.open_bi().await.unwrap();
    let head = headers(&[&POST[..], &[("content-length", "1000")]].concat());
    send.write_all(&[head, frame(0, b"x")].concat()).await.unwrap();
    let drip = async {
        let mut pause = tokio::time::interval(Duration::from_millis(40));
        loop {
            pause.tick().await;
            if send.write_all(&frame(0, b"x")).await.is_err() {
                return send.stopped().await;
            }
        }
    };
    let (answer, stopped) = soon("an answer", async { tokio::join!(outcome(&mut receive), drip) }).await;
    assert_eq!(answer, Outcome::Status(408));
    assert_eq!(stopped.unwrap().map(quinn::VarInt::into_inner), Some(0x100));
    assert_eq!(world.world.slow_clients(Slow::RequestRate), 1);
}

#[tokio::test]
async fn connections_beyond_those_an_address_may_have_are_refused() {
    let backend = Backend::fixed("served").await;
    let limit = ConnectionsPerIp { most: 2.try_into().unwrap(), ipv6_prefix: 64, exempt: Vec::new() };
    let limits = ClientLimits { connections_per_ip: Some(limit), ..ClientLimits::default() };
    let world = start(Setup { limits, ..Setup::http(&[backend.address]) });
    let (mut first, second) = (world.client().await, world.client().await);
    assert_eq!(first.get("/").await.text(), "served");
    let third = world.try_connect(TransportConfig::default()).await.map(|_| ());
    assert!(matches!(third, Err(ConnectionError::ConnectionClosed(_))), "{third:?}");
    assert_eq!(world.world.stats().crowded, 1);
    second.connection.close(0u32.into(), b"");
    until("its end", || world.world.stats().open == 1).await;
    assert_eq!(world.client().await.get("/").await.text(), "served");
}
