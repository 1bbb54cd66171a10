//! How connections begin, rest and end.

use std::time::Duration;

use bytes::Bytes;
use proxima_proxy::{Listener, Protocol};
use quinn::{ConnectionError, TransportConfig};
use tokio::sync::watch;

use crate::{
    common::{Backend, PATIENCE, Setup, service_name, soon, until},
    support::{GET, Outcome, answer, code, get, headers, outcome, start, uni},
};

/// Answers each request when told to.
pub(crate) async fn told() -> (Backend, watch::Sender<bool>) {
    let (go, wait) = watch::channel(false);
    let backend = Backend::start(move |mut peer| {
        let mut wait = wait.clone();
        async move {
            while peer.head().await.is_some() {
                wait.wait_for(|go| *go).await.unwrap();
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    (backend, go)
}

#[tokio::test]
async fn a_drain_lets_requests_end_and_serves_those_on_their_way() {
    let (backend, go) = told().await;
    let world = start(Setup::http(&[backend.address]));
    let mut client = world.client().await;
    let mut under_way = client.send.send_request(get("/")).await.unwrap();
    under_way.finish().await.unwrap();
    until("the request", || world.world.stats().requests == 1).await;
    let raw = world.raw().await;
    let drain = async {
        let left = world.world.plane.drain(PATIENCE).await;
        assert_eq!(left, 0);
    };
    let clients = async {
        // The first GOAWAY: another will follow. A request that crossed it is served.
        let mut control = raw.connection.accept_uni().await.unwrap();
        let mut octets = vec![0; 10 + 10];
        control.read_exact(&mut octets).await.unwrap();
        assert_eq!(octets[10..], [7, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc]);
        let (mut send, mut receive) = raw.connection.open_bi().await.unwrap();
        send.write_all(&headers(&GET)).await.unwrap();
        send.finish().unwrap();
        // The second: what comes from the next stream on is not served.
        let mut octets = [0; 3];
        control.read_exact(&mut octets).await.unwrap();
        assert_eq!(octets, [7, 1, 4]);
        let late = raw.say(&headers(&GET)).await;
        assert_eq!(late, Outcome::Reset(0x10b));
        go.send(true).unwrap();
        assert_eq!(outcome(&mut receive).await, Outcome::Status(200));
        assert_eq!(answer(under_way).await.unwrap().text(), "ok");
        assert_eq!(raw.closed().await, 0x100);
    };
    soon("the drain", async { tokio::join!(drain, clients) }).await;
}

#[tokio::test]
async fn a_client_that_says_it_leaves_is_left_when_its_requests_are_done() {
    let (backend, go) = told().await;
    let world = start(Setup::http(&[backend.address]));
    let (_endpoint, connection) = world.connect().await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&headers(&GET)).await.unwrap();
    send.finish().unwrap();
    until("the request", || world.world.stats().requests == 1).await;
    // Settings, and a GOAWAY.
    let _control = uni(&connection, &[0, 4, 0, 7, 1, 0]).await;
    go.send(true).unwrap();
    assert_eq!(outcome(&mut receive).await, Outcome::Status(200));
    assert_eq!(code(soon("the end of the connection", connection.closed()).await), 0x100);
}

#[tokio::test]
async fn a_draining_server_takes_no_new_client() {
    let (backend, go) = told().await;
    let world = start(Setup::http(&[backend.address]));
    let mut client = world.client().await;
    let mut under_way = client.send.send_request(get("/")).await.unwrap();
    under_way.finish().await.unwrap();
    until("the request", || world.world.stats().requests == 1).await;
    let drain = world.world.plane.drain(PATIENCE);
    let late = async {
        loop {
            // Until the worker has heard of the drain.
            if let Err(error) = world.try_connect(TransportConfig::default()).await {
                assert!(matches!(error, ConnectionError::ConnectionClosed(_)), "{error}");
                break;
            }
        }
        go.send(true).unwrap();
        assert_eq!(answer(under_way).await.unwrap().status(), 200);
    };
    soon("the drain", async { tokio::join!(drain, late) }).await;
}

#[tokio::test]
async fn a_connection_that_rests_too_long_is_ended() {
    let backend = Backend::fixed("hello").await;
    let world = start(Setup { keep_alive: Duration::from_millis(300), ..Setup::http(&[backend.address]) });
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.text(), "hello");
    let why = soon("the end", client.connection.closed()).await;
    assert!(matches!(why, ConnectionError::ApplicationClosed(_)), "{why}");
    until("the count", || world.world.stats().open == 0).await;
}

#[tokio::test]
async fn a_stop_tells_clients_and_cuts_what_is_under_way() {
    let (backend, _go) = told().await;
    let world = start(Setup::http(&[backend.address]));
    let raw = world.raw().await;
    let (mut send, mut receive) = raw.connection.open_bi().await.unwrap();
    send.write_all(&headers(&GET)).await.unwrap();
    send.finish().unwrap();
    until("the request", || world.world.stats().requests == 1).await;
    tokio::task::spawn_blocking(move || drop(world)).await.unwrap();
    assert_eq!(soon("the end", outcome(&mut receive)).await, Outcome::Closed(0x100));
}

#[tokio::test]
async fn a_service_that_nothing_has_been_said_of_refuses_clients() {
    let backend = Backend::fixed("hello").await;
    let world = start(Setup::http(&[backend.address]));
    let (service, address) = ("other".parse().unwrap(), "127.0.0.1:0".parse().unwrap());
    world.listen(vec![Listener { service, address, protocol: Protocol::Http3 }], PATIENCE).await;
    let address = world.world.plane.listeners()[0].address;
    let refused = world.try_connect_to(address).await.map(|_| ());
    assert!(matches!(refused, Err(ConnectionError::ConnectionClosed(_))), "{refused:?}");
}

#[tokio::test]
async fn clients_beyond_the_descriptors_are_refused_and_counted() {
    let backend = Backend::fixed("hello").await;
    let world = start(Setup { max_descriptors: Some(5), ..Setup::http(&[backend.address]) });
    let first = world.connect().await;
    let second = world.try_connect(TransportConfig::default()).await.map(|_| ());
    assert!(matches!(second, Err(ConnectionError::ConnectionClosed(_))), "{second:?}");
    assert_eq!(world.world.stats().shed, 1);
    drop(first);
}

#[tokio::test]
async fn clients_that_have_rested_longest_leave_for_new_ones() {
    let backend = Backend::fixed("hello").await;
    let world = start(Setup { max_descriptors: Some(40), ..Setup::http(&[backend.address]) });
    let mut clients = Vec::new();
    for number in 0..60 {
        let mut client = world.client().await;
        assert_eq!(client.get("/").await.text(), "hello", "{number}");
        clients.push(client);
        let served = clients.len() as u64;
        until("a rest", || world.world.stats().idle + world.world.stats().evicted == served).await;
    }
    until("their ends", || world.world.stats().open + world.world.stats().evicted == 60).await;
    let stats = world.world.stats();
    assert!(stats.shed == 0 && stats.open > 30 && stats.open < 40, "{stats:?}");
    for client in clients.drain(..stats.evicted as usize) {
        let why = soon("the end", client.connection.closed()).await;
        assert!(
            matches!(&why, ConnectionError::ApplicationClosed(it) if it.error_code == 0x100u32.into()),
            "{why}"
        );
    }
    for client in &mut clients {
        assert_eq!(client.get("/").await.text(), "hello");
    }
}

#[tokio::test]
async fn new_certificates_are_for_new_connections_and_touch_none_that_is_open() {
    let backend = Backend::fixed("hello").await;
    let world = start(Setup::http(&[backend.address]));
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.text(), "hello");
    let other = start(Setup::http(&[backend.address]));
    world.world.snapshot.store(other.world.snapshot.load_full());
    assert_eq!(client.get("/").await.text(), "hello");
    let before = world.try_connect(TransportConfig::default()).await.map(|_| ());
    assert!(
        matches!(before, Err(ConnectionError::TransportError(_))),
        "{before:?}: it trusts the old one only"
    );
    let after = other.try_connect_to(world.world.address).await.map(|_| ());
    assert!(after.is_ok(), "{after:?}");
    assert!(client.connection.close_reason().is_none());
}

#[tokio::test]
async fn a_listener_that_goes_tells_its_clients_and_the_others_do_not_notice() {
    let (backend, go) = told().await;
    let setup = Setup { workers: 2, ..Setup::http(&[backend.address]) };
    let world = start(setup);
    let listener = |address| Listener { service: service_name(), address, protocol: Protocol::Http3 };
    let (first, any) = (world.world.address, "127.0.0.1:0".parse().unwrap());
    world.listen(vec![listener(first), listener(any)], PATIENCE).await;
    let second = world.world.plane.listeners()[1].address;
    let (mut stays, mut goes) = (world.client_of(second).await, world.client().await);
    let mut under_way = Vec::new();
    for client in [&mut stays, &mut goes] {
        let mut request = client.send.send_request(get("/")).await.unwrap();
        request.finish().await.unwrap();
        under_way.push(request);
    }
    until("the requests", || world.world.stats().requests == 2).await;

    world.listen(vec![listener(second)], PATIENCE).await;
    let refused = world.try_connect(TransportConfig::default()).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused}");
    // Whoever listens there anew would take the packets of clients that are still there.
    let error = world.world.plane.prepare(vec![listener(second), listener(first)]).unwrap_err();
    assert!(error.to_string().contains("was given up a short while ago"), "{error}");
    go.send(true).unwrap();
    for request in under_way {
        assert_eq!(soon("an answer", answer(request)).await.unwrap().text(), "ok");
    }
    assert_eq!(soon("the end", goes.connection.closed()).await, closed_by_us());
    assert_eq!(stays.get("/").await.status(), 200);

    // Not before its socket is closed.
    until("the address", || world.world.plane.prepare(vec![listener(second), listener(first)]).is_ok()).await;
    world.listen(vec![listener(second), listener(first)], PATIENCE).await;
    assert_eq!(world.client().await.get("/").await.status(), 200);
    assert_eq!(stays.get("/").await.status(), 200);
}

#[tokio::test]
async fn http3_requests_that_still_run_when_their_time_is_over_are_cut() {
    let (backend, _go) = told().await;
    let world = start(Setup::http(&[backend.address]));
    let mut client = world.client().await;
    let mut request = client.send.send_request(get("/")).await.unwrap();
    request.finish().await.unwrap();
    until("the request", || world.world.stats().requests == 1).await;
    world.listen(Vec::new(), Duration::from_millis(100)).await;
    assert!(soon("an end", answer(request)).await.is_err());
    until("the end", || world.world.stats().open == 0).await;
}

/// H3_NO_ERROR.
pub(crate) fn closed_by_us() -> ConnectionError {
    let error_code = 0x100u32.into();
    ConnectionError::ApplicationClosed(quinn::ApplicationClose { error_code, reason: Bytes::default() })
}
