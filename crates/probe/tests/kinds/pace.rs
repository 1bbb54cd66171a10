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

#[tokio::test]
async fn thousands_of_backends_that_hang_delay_none_that_answers() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    // It takes what its backlog has room for, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (hanging, answering) = (silent.local_addr().unwrap(), app.local_addr().unwrap());
    let long = Duration::from_hours(1);
    let mut targets: Vec<_> = (0..3000)
        .map(|n| ProbeTarget::new(format!("silent/{n}").parse().unwrap(), hanging, http(), long))
        .collect();
    let interval = Duration::from_millis(200);
    targets.push(ProbeTarget { timeout: PATIENCE, ..target(answering, http(), interval) });
    let (_prober, mut events) = Prober::start(targets, 1);
    // What the others tell is not of interest, but they must not wait with it.
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let (mut probe, _) = accept(&app).await;
    let (mut longest, mut before) = (Duration::ZERO, None);
    // A connection carries eleven probes.
    for _ in 0..11 {
        let mut request = [0; 1024];
        assert!(timeout(PATIENCE, probe.read(&mut request)).await.unwrap().unwrap() > 0);
        let now = Instant::now();
        if let Some(before) = before.replace(now) {
            longest = longest.max(now - before);
        }
        probe.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    }
    assert!(longest < Duration::from_secs(10), "{longest:?} between two probes of a backend that answers");
}
