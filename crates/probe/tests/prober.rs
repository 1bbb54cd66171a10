//! The prober against real sockets on loopback, and against an app that is a process of its own and gets killed.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test: it fails by panic and measures by the clock"
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    num::NonZeroU16,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proxima_health::{Failure, Reason};
use proxima_probe::{ProbeEvent, ProbeKind, ProbeTarget, Prober};
use proxima_probe_kind::{Expect, Http, HttpVersion, Statuses};
use proxima_types::Health;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};

/// Set in the environment of this test program when it is to be the app.
const APP: &str = "PROXIMA_PROBE_TEST_APP";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const PATIENCE: Duration = Duration::from_secs(20);

fn target(address: SocketAddr, interval: Duration) -> ProbeTarget {
    let kind = ProbeKind::Http(Http {
        path: "/healthz".to_owned(),
        host: None,
        version: HttpVersion::Http1,
        tls: None,
        expect: Expect { status: Statuses::ok(), body: None, header: None },
    });
    ProbeTarget {
        timeout: Duration::from_secs(5),
        rise: NonZeroU16::new(2).unwrap(),
        fall: NonZeroU16::new(3).unwrap(),
        ..ProbeTarget::new("app/one".parse().unwrap(), address, kind, interval)
    }
}

struct Verdict {
    from: Health,
    to: Health,
    reason: Reason,
    took: Duration,
}

/// Fails on a verdict among what the prober has said so far.
fn expect_no_verdict(events: &mut mpsc::Receiver<ProbeEvent>) {
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, ProbeEvent::Verdict { .. }), "{event:?}");
    }
}

async fn verdict(events: &mut mpsc::Receiver<ProbeEvent>) -> Verdict {
    let next = async {
        loop {
            match events.recv().await.expect("the prober runs") {
                ProbeEvent::Verdict { from, to, reason, at, evidence_at, .. } => {
                    return Verdict { from, to, reason, took: at - evidence_at };
                }
                ProbeEvent::Rtt { .. } | ProbeEvent::Share { .. } => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("a verdict comes")
}

/// Answers every request of a connection with `answer` until the client leaves; counts the requests.
async fn serve(mut stream: TcpStream, answer: &[u8], requests: Arc<AtomicUsize>) {
    let mut buffer = [0; 1024];
    let mut pending = Vec::new();
    while let Ok(received @ 1..) = stream.read(&mut buffer).await {
        pending.extend_from_slice(&buffer[..received]);
        while let Some(end) = pending.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            pending.drain(..end + 4);
            requests.fetch_add(1, Ordering::SeqCst);
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

/// An app that answers every request on every connection with `answer`, and counts both.
struct App {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

async fn app(answer: &'static [u8]) -> App {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = App {
        address: listener.local_addr().unwrap(),
        connections: Arc::default(),
        requests: Arc::default(),
    };
    let (connections, requests) = (app.connections.clone(), app.requests.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream, answer, requests.clone()));
        }
    });
    app
}

/// An app that is a process of its own: this test program again, running only [`app_process`].
struct AppProcess {
    child: Child,
    address: SocketAddr,
}

impl AppProcess {
    fn start(port: u16) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "app_process", "--nocapture"])
            .env(APP, port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .map(Result::unwrap)
            .find_map(|line| line.split_once("listening on ").map(|(_, address)| address.parse().unwrap()))
            .expect("the app tells where it listens");
        Self { child, address }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for AppProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn app_process() {
    let Ok(port) = std::env::var(APP) else { return };
    let listener = std::net::TcpListener::bind(("127.0.0.1", port.parse().unwrap())).unwrap();
    println!("listening on {}", listener.local_addr().unwrap());
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while matches!(stream.read(&mut buffer), Ok(1..)) && stream.write_all(OK).is_ok() {}
        });
    }
}

/// Kills an app that has `others` further connections; how long that took to be noticed.
async fn kill(kind: ProbeKind, others: usize) -> Duration {
    let mut app = AppProcess::start(0);
    let address = app.address;
    let target = ProbeTarget { kind, ..target(address, Duration::from_mins(1)) };
    let (_prober, mut events) = Prober::start(vec![target], 1);
    assert_eq!(verdict(&mut events).await.to, Health::Up);
    let mut connections = Vec::new();
    for _ in 0..others {
        connections.push(TcpStream::connect(address).await.unwrap());
    }
    let (killed, killed_at) = oneshot::channel();
    let killer = std::thread::spawn(move || {
        killed.send(std::time::Instant::now()).unwrap();
        app.kill();
    });
    let down = verdict(&mut events).await;
    let noticed_at = std::time::Instant::now();
    killer.join().unwrap();
    assert_eq!((down.from, down.to), (Health::Up, Health::Down));
    assert!(matches!(down.reason, Reason::Lost { confirm: Failure::Refused, .. }), "{}", down.reason);
    assert!(down.took < Duration::from_secs(1), "{:?}", down.took);
    noticed_at - killed_at.await.unwrap()
}

async fn kills_are_noticed_at_once(kind: ProbeKind) {
    let mut delays = Vec::new();
    // On a busy machine any one of them may have waited for a core.
    while delays.len() < 20 {
        delays.push(kill(kind.clone(), 0).await);
        if delays.last() < Some(&Duration::from_millis(5)) {
            return;
        }
    }
    panic!("none was noticed within 5 ms: {delays:?}");
}

#[tokio::test]
async fn a_killed_app_that_dies_slowly_is_noticed_by_the_same_evidence() {
    // The kernel closes each of these before it closes the listener.
    kill(ProbeKind::Tcp, 200).await;
}

#[tokio::test]
async fn a_killed_app_is_down_within_milliseconds_whatever_the_interval() {
    kills_are_noticed_at_once(target(([127, 0, 0, 1], 1).into(), PATIENCE).kind).await;
}

#[tokio::test]
async fn a_killed_app_is_down_within_milliseconds_with_tcp_probes_too() {
    kills_are_noticed_at_once(ProbeKind::Tcp).await;
}

#[tokio::test]
async fn a_listener_that_outlives_the_standing_connection_for_a_moment_deceives_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = ProbeTarget {
        kind: ProbeKind::Tcp,
        rise: NonZeroU16::MIN,
        ..target(listener.local_addr().unwrap(), Duration::from_mins(1))
    };
    let (_prober, mut events) = Prober::start(vec![target], 1);
    let (standing, _) = listener.accept().await.unwrap();
    assert_eq!(verdict(&mut events).await.to, Health::Up);
    drop(standing);
    let (confirming, _) = listener.accept().await.unwrap();
    drop(listener);
    drop(confirming);
    assert_eq!(verdict(&mut events).await.to, Health::Down);
}

#[tokio::test]
async fn a_restarted_app_is_up_again_long_before_the_interval_is_over() {
    let mut app = AppProcess::start(0);
    let (_prober, mut events) = Prober::start(vec![target(app.address, Duration::from_mins(1))], 1);
    assert_eq!(verdict(&mut events).await.to, Health::Up);
    app.kill();
    assert_eq!(verdict(&mut events).await.to, Health::Down);
    let _restarted = AppProcess::start(app.address.port());
    let up = verdict(&mut events).await;
    assert_eq!((up.from, up.to), (Health::Down, Health::Up));
}

#[tokio::test]
async fn a_backend_nobody_serves_is_down_from_the_first_probe() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (_prober, mut events) = Prober::start(vec![target(free, Duration::from_mins(1))], 1);
    let down = verdict(&mut events).await;
    assert_eq!((down.from, down.to), (Health::Unknown, Health::Down));
    assert_eq!(down.reason, Reason::Refused { probe: Failure::Refused, confirm: Failure::Refused });
}

#[tokio::test]
async fn probes_share_one_connection_while_the_app_keeps_it_alive() {
    let app = app(OK).await;
    let (_prober, mut events) = Prober::start(vec![target(app.address, Duration::from_millis(10))], 1);
    assert_eq!(verdict(&mut events).await.to, Health::Up);
    let (connections, requests) = (app.connections.clone(), app.requests.clone());
    let enough = async {
        while requests.load(Ordering::SeqCst) < 44 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, enough).await.unwrap();
    let connections = connections.load(Ordering::SeqCst);
    assert!((4..=5).contains(&connections), "eleven requests each: {connections}");
}

#[tokio::test]
async fn an_app_that_does_not_keep_connections_gets_no_idle_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(listener.local_addr().unwrap(), Duration::from_millis(10));
    let (_prober, mut events) = Prober::start(vec![target], 1);
    // One connection at a time: an idle one would block it for good.
    let one_by_one = async {
        for _ in 0..20 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
            let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
            assert_eq!(stream.read(&mut buffer).await.unwrap(), 0, "the prober closes");
        }
    };
    tokio::time::timeout(PATIENCE, one_by_one).await.unwrap();
    assert_eq!(verdict(&mut events).await.to, Health::Up);
    expect_no_verdict(&mut events);
}

#[tokio::test]
async fn an_app_that_closes_idle_connections_stays_up_and_is_not_pestered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(listener.local_addr().unwrap(), Duration::from_millis(100));
    let (_prober, mut events) = Prober::start(vec![target], 1);
    let (mut probes, mut connections) = (0, 0);
    let start = tokio::time::Instant::now();
    while probes < 12 {
        let (mut stream, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        connections += 1;
        let mut buffer = [0; 1024];
        if matches!(stream.read(&mut buffer).await, Ok(1..)) {
            probes += 1;
            stream.write_all(OK).await.unwrap();
        }
    }
    assert_eq!(verdict(&mut events).await.to, Health::Up);
    expect_no_verdict(&mut events);
    assert!(connections <= 2 * probes, "a probe and a confirming connect each: {connections}");
    let pace = start.elapsed() / probes;
    assert!(pace > Duration::from_millis(50), "no tight loop: a probe every {pace:?}");
}

#[tokio::test]
async fn a_wrong_status_and_silence_are_soft_evidence() {
    let failing = app(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
    let (_prober, mut events) = Prober::start(vec![target(failing.address, Duration::from_millis(20))], 1);
    let down = verdict(&mut events).await;
    let last = Failure::Status { expected: 200, received: 503 };
    assert_eq!((down.to, down.reason), (Health::Down, Reason::Fell { failures: 3, last }));

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = ProbeTarget {
        timeout: Duration::from_millis(20),
        ..target(silent.local_addr().unwrap(), Duration::from_millis(20))
    };
    let (_prober, mut events) = Prober::start(vec![silent], 1);
    let down = verdict(&mut events).await;
    assert!(
        matches!(&down.reason, Reason::Fell { failures: 3, last: Failure::Timeout { .. } }),
        "{}",
        down.reason
    );
}

#[tokio::test]
async fn the_round_trip_time_is_told_before_the_first_verdict() {
    let app = app(OK).await;
    let (mut prober, mut events) = Prober::start(vec![target(app.address, Duration::from_millis(10))], 1);
    let first = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert!(matches!(first, ProbeEvent::Rtt { .. }), "{first:?}");
    assert_eq!(first.backend().as_str(), "app/one");
    assert_eq!(verdict(&mut events).await.to, Health::Up);
    prober.stop().await;
}
