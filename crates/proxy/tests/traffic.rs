//! What real traffic tells about backends and services.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use common::{
    Backend, Setup, World,
    h2::{Client, get},
    refusing, service_name, soon, until,
};
use proxima_health::Passive;
use proxima_proxy::{Served, Timeouts, TrafficReader};
use proxima_types::BackendId;
use tokio::{sync::mpsc, time::Instant};

/// Answers with the status that is set, when it is let.
async fn answering(status: &Arc<AtomicU16>, after: Duration) -> Backend {
    let status = status.clone();
    Backend::start(move |mut peer| {
        let status = status.clone();
        async move {
            while peer.head().await.is_some() {
                tokio::time::sleep(after).await;
                let status = status.load(Ordering::SeqCst);
                peer.write(&format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n")).await;
            }
        }
    })
    .await
}

/// Takes each request, and closes instead of answering.
async fn closing() -> Backend {
    Backend::start(|mut peer| async move {
        peer.head().await;
    })
    .await
}

/// Begins each answer, and closes in the middle of it.
async fn cutting() -> Backend {
    Backend::start(|mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    })
    .await
}

/// What has come for the backend, as soon as something has.
async fn told(reader: &mut TrafficReader, backend: usize) -> Passive {
    let id: BackendId = format!("app/b{backend}").parse().unwrap();
    let mut seen = None;
    until("a report", || {
        seen = reader.read().remove(&id);
        seen.is_some()
    })
    .await;
    seen.unwrap()
}

fn served(world: &World) -> Served {
    world.plane.served().remove(&service_name()).unwrap()
}

#[tokio::test]
async fn answers_are_told_by_their_status_once_and_only_from_the_first_reading_on() {
    let status = Arc::new(AtomicU16::new(200));
    let backend = answering(&status, Duration::ZERO).await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.status, 200);
    let mut reader = world.plane.traffic();
    assert!(reader.read().is_empty(), "that was before");
    for said in [200, 404, 500, 503, 503] {
        status.store(said, Ordering::SeqCst);
        assert_eq!(client.get("/").await.status, said);
    }
    let expected = Passive { server_errors: 3, good: 2, ..Passive::default() };
    assert_eq!(told(&mut reader, 0).await, expected, "what is not found is well answered");
    assert!(reader.read().is_empty(), "told once");
}

#[tokio::test]
async fn each_way_to_fail_is_told_of_the_backend_that_failed() {
    let (closing, cutting) = (closing().await, cutting().await);
    let silent = Backend::start(|mut peer| async move {
        peer.head().await;
        peer.closed().await;
    })
    .await;
    let good = Backend::fixed("good").await;
    let timeouts = Timeouts { first_byte: Duration::from_millis(50), ..Timeouts::default() };
    let backends = [refusing().await, closing.address, silent.address, good.address];
    let world = Setup { timeouts, ..Setup::http(&backends) }.start();
    let mut reader = world.plane.traffic();
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.text(), "good");
    let mut all = reader.read();
    let mut of = |n: usize| all.remove(&format!("app/b{n}").parse().unwrap()).unwrap();
    assert_eq!(of(0), Passive::CONNECT_ERROR);
    assert_eq!(of(1), Passive::RESET);
    assert_eq!(of(2), Passive { slow: 1, ..Passive::default() });
    assert_eq!(of(3), Passive { good: 1, ..Passive::default() });

    let world = Setup::http(&[cutting.address]).start();
    let mut reader = world.plane.traffic();
    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.closed().await;
    let expected = Passive { good: 1, ..Passive::RESET };
    assert_eq!(told(&mut reader, 0).await, expected, "an answer that was begun, and cut");
    let Served { requests, errors, silent, first_byte } = served(&world);
    assert_eq!((requests, errors, silent, first_byte.count()), (1, 1, 0, 1));
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_late_and_passed_on() {
    let status = Arc::new(AtomicU16::new(200));
    let backend = answering(&status, Duration::from_millis(30)).await;
    for (late, expected) in [
        (Duration::from_millis(10), Passive { slow: 2, server_errors: 1, ..Passive::default() }),
        (Duration::from_secs(20), Passive { good: 2, server_errors: 1, ..Passive::default() }),
    ] {
        let world = Setup { late: Some(late), ..Setup::http(&[backend.address]) }.start();
        let mut reader = world.plane.traffic();
        let mut client = world.client().await;
        for said in [200, 500, 200] {
            status.store(said, Ordering::SeqCst);
            assert_eq!(client.get("/").await.status, said);
        }
        assert_eq!(told(&mut reader, 0).await, expected, "late beyond {late:?}; an error is one thing only");
    }
}

#[tokio::test]
async fn all_workers_are_added_up() {
    let backend = Backend::fixed("good").await;
    let world = Setup { workers: 3, ..Setup::http(&[backend.address]) }.start();
    let mut reader = world.plane.traffic();
    for _ in 0..60 {
        assert_eq!(world.client().await.get("/").await.status, 200);
    }
    let mut good = 0;
    until("all of them", || {
        good += reader.read().values().map(|seen| seen.good).sum::<u32>();
        good == 60
    })
    .await;
    assert_eq!((served(&world).requests, served(&world).first_byte.count()), (60, 60));
}

#[tokio::test]
async fn relayed_connections_are_good_and_refused_ones_are_not() {
    let backend = Backend::echo().await;
    let world = Setup::tcp(&[refusing().await, backend.address]).start();
    let mut reader = world.plane.traffic();
    assert_eq!(world.client().await.post("/", "body").await.text(), "body");
    let all = reader.read();
    assert_eq!(
        all.values().collect::<Vec<_>>(),
        [&Passive::CONNECT_ERROR, &Passive { good: 1, ..Passive::default() }]
    );
    let Served { requests, errors, .. } = served(&world);
    assert_eq!((requests, errors), (1, 0), "the client was served");
}

#[tokio::test]
async fn a_lost_connection_is_told_at_once_and_not_for_each_request() {
    let (sender, mut words) = mpsc::channel(64);
    let good = Backend::fixed("good").await;
    let setup = Setup::http(&[refusing().await, good.address]);
    let world = Setup { distress: Some(sender), ..setup }.start();
    let mut client = world.client().await;
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(client.get("/").await.text(), "good");
    }
    let word = soon("a word", words.recv()).await.unwrap();
    assert_eq!((word.backend.to_string().as_str(), word.seen), ("app/b0", Passive::CONNECT_ERROR));
    let beats = begun.elapsed().as_millis() / 50;
    assert!(words.len() as u128 <= beats, "{} more words in {beats} beats of the timer", words.len());
}

#[tokio::test]
async fn a_service_is_judged_by_what_its_clients_got_and_the_fence_is_no_failure() {
    let world = Setup::http(&[refusing().await, closing().await.address]).start();
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.status, 502);
    let Served { requests, errors, silent, first_byte } = served(&world);
    assert_eq!((requests, errors, silent, first_byte.count()), (1, 1, 1, 0), "one request, two attempts");

    let backend = Backend::fixed("good").await;
    let world = Setup { allow: Some("US"), ..Setup::http(&[backend.address]) }.start();
    assert_eq!(world.client().await.get("/").await.status, 503);
    assert_eq!(served(&world), Served::default());
}

#[tokio::test]
async fn responses_count_by_the_region_of_their_backend_and_their_time_until_they_end() {
    let status = Arc::new(AtomicU16::new(200));
    let whole = answering(&status, Duration::ZERO).await;
    let world = Setup::http(&[whole.address]).start();
    let counts = |world: &World| {
        let regions = world.plane.stats().regions;
        let ((service, region), stats) = regions.into_iter().next().unwrap();
        assert_eq!((service, region.as_str()), (service_name(), "eu"));
        (stats.responses, stats.first_byte.count(), stats.total.count())
    };
    assert_eq!(world.client().await.get("/").await.status, 200);
    status.store(503, Ordering::SeqCst);
    assert_eq!(Client::connect(&world).await.get("/").await.status(), 503);
    until("both ends", || counts(&world) == ([0, 1, 0, 0, 1], 2, 2)).await;

    let world = Setup::http(&[cutting().await.address]).start();
    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.rest().await;
    until("the cut", || world.stats().cut == 1).await;
    assert_eq!(counts(&world), ([0, 1, 0, 0, 0], 1, 0), "what was cut has no end");
}

#[tokio::test]
async fn streams_are_open_while_their_requests_are_under_way() {
    let (let_go, wait) = tokio::sync::watch::channel(false);
    let backend = Backend::start(move |mut peer| {
        let mut wait = wait.clone();
        async move {
            while peer.head().await.is_some() {
                wait.wait_for(|go| *go).await.unwrap();
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    let world = Setup::http(&[backend.address]).start();
    let client = Client::connect(&world).await;
    let mut responses = Vec::new();
    for _ in 0..3 {
        let mut ready = client.send.clone().ready().await.unwrap();
        responses.push(ready.send_request(get("/"), true).unwrap().0);
    }
    until("three streams", || world.stats().streams == 3).await;
    let_go.send(true).unwrap();
    for response in responses {
        assert_eq!(soon("a response", response).await.unwrap().status(), 200);
    }
    until("their ends", || world.stats().streams == 0 && world.stats().idle == 1).await;
}
