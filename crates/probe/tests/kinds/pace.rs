//! When probes are made, and from where.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use proxima_health::Percent;
use proxima_probe::{ProbeKind, ProbeTarget, Prober};
use proxima_probe_kind::{Expect, Http, HttpVersion, Statuses};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::support::{PATIENCE, Probing, target};

fn http() -> ProbeKind {
    let expect = Expect { status: Statuses::ok(), body: None, header: None };
    ProbeKind::Http(Http { path: "/".to_owned(), host: None, version: HttpVersion::Http1, tls: None, expect })
}

/// Takes the next probe's connection.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    timeout(PATIENCE, listener.accept()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_probe_comes_from_the_source_that_is_configured() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source: IpAddr = "127.0.0.9".parse().unwrap();
    let settings = target(app.local_addr().unwrap(), ProbeKind::Tcp, Duration::from_secs(1));
    let mut probing = Probing::of(ProbeTarget { source: Some(source), timeout: PATIENCE, ..settings });
    let (_probe, from) = accept(&app).await;
    assert_eq!(from.ip(), source);
    probing.up().await;
}

#[tokio::test]
async fn a_source_this_host_does_not_have_says_nothing_of_the_backend() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = target(app.local_addr().unwrap(), ProbeKind::Tcp, Duration::from_millis(20));
    let elsewhere = Some("192.0.2.1".parse().unwrap());
    let mut probing = Probing::of(ProbeTarget { source: elsewhere, ..settings });
    assert!(probing.is_silent_for(Duration::from_millis(300)).await);
}

#[tokio::test]
async fn while_nothing_is_decided_the_fast_interval_is_the_pace_and_then_the_interval() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = target(app.local_addr().unwrap(), ProbeKind::Tcp, Duration::from_mins(1));
    let (fast_interval, jitter) = (Duration::from_millis(100), Percent::ZERO);
    let rise = 4.try_into().unwrap();
    let began = Instant::now();
    let _probing = Probing::of(ProbeTarget { fast_interval, jitter, rise, ..settings });
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(accept(&app).await);
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(295), "no faster than the fast interval: {took:?}");
    let next = timeout(Duration::from_millis(500), app.accept()).await;
    assert!(next.is_err(), "up: the next one is a minute away");
}

/// Answers the probes of a connection, and tells when each came.
async fn answer(mut probe: TcpStream, tell: mpsc::UnboundedSender<Instant>) {
    let mut request = [0; 1024];
    while probe.read(&mut request).await.is_ok_and(|read| read > 0) {
        let answered = probe.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        if answered.is_err() || tell.send(Instant::now()).is_err() {
            return;
        }
    }
}

/// The pauses between the probes of a backend that answers, besides `hanging` ones that never do, once these are known.
async fn pauses(hanging: u32) -> Vec<Duration> {
    // It takes what its backlog has room for, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_at = silent.local_addr().unwrap();
    let long = Duration::from_hours(1);
    let silent_one = |n| ProbeTarget::new(format!("silent/{n}").parse().unwrap(), silent_at, http(), long);
    let mut targets: Vec<_> = (0..hanging).map(silent_one).collect();
    let answering = target(app.local_addr().unwrap(), http(), Duration::from_millis(200));
    targets.push(ProbeTarget { timeout: PATIENCE, ..answering });
    let (_prober, mut events) = Prober::start(targets, 1);
    // What the others tell is not of interest, but they must not wait with it.
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let (tell, mut told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((probe, _)) = app.accept().await {
            tokio::spawn(answer(probe, tell.clone()));
        }
    });
    let mut asked = Vec::new();
    while asked.len() < 30 {
        asked.push(timeout(PATIENCE, told.recv()).await.expect("the next probe").unwrap());
    }
    let mut pauses: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).skip(10).collect();
    pauses.sort_unstable();
    pauses
}

#[tokio::test]
async fn thousands_of_backends_that_hang_delay_none_that_answers() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let (alone, among) = (pauses(0).await, pauses(5000).await);
    let median = |pauses: &[Duration]| pauses[pauses.len() / 2];
    let (alone, among) = (median(&alone), median(&among));
    assert!(
        among < alone + Duration::from_millis(200),
        "{among:?} between two probes, {alone:?} without others"
    );
}
