//! Probes that go by another way than straight.

#![allow(clippy::unwrap_used, reason = "test helpers")]

use std::{
    io,
    net::SocketAddr,
    num::NonZeroU16,
    sync::{Arc, Mutex},
    time::Duration,
};

use proxima_health::{Failure, Known, Reason};
use proxima_probe::{Carries, Connecting, ProbeEvent, ProbeKind, ProbeTarget, Prober, ProberHandle, Via};
use proxima_probe_kind::{Expect, Http, HttpVersion, Statuses};
use proxima_types::{BackendId, Health};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_mins(1);

/// A way that tells what was asked of it: bytes go to one address, requests to another.
#[derive(Debug)]
struct Detour {
    bytes: Mutex<SocketAddr>,
    requests: SocketAddr,
    asked: mpsc::UnboundedSender<(BackendId, Carries)>,
}

impl Via for Detour {
    fn connect(&self, backend: &BackendId, _: SocketAddr, carries: Carries) -> Connecting<'_> {
        self.asked.send((backend.clone(), carries)).unwrap();
        let address = match carries {
            Carries::Bytes => *self.bytes.lock().unwrap(),
            Carries::Requests => self.requests,
        };
        Box::pin(TcpStream::connect(address))
    }
}

/// Answers requests with this status until its listener is dropped with the task.
async fn app(status: u16) -> (SocketAddr, tokio::task::JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(async move { serve(stream, status).await.unwrap_or_default() });
        }
    });
    (address, tasks)
}

async fn serve(mut stream: TcpStream, status: u16) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

async fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn http() -> ProbeKind {
    let expect = Expect { status: Statuses::ok(), body: None, header: None };
    let version = HttpVersion::Http1;
    ProbeKind::Http(Http { path: "/".to_owned(), host: None, version, tls: None, expect })
}

struct Scene {
    _prober: ProberHandle,
    events: mpsc::Receiver<ProbeEvent>,
    asked: mpsc::UnboundedReceiver<(BackendId, Carries)>,
    detour: Arc<Detour>,
}

impl Scene {
    /// A backend whose own address is nobody's.
    async fn new(kind: ProbeKind, bytes: SocketAddr, requests: SocketAddr, fall: u16) -> Self {
        let (sender, asked) = mpsc::unbounded_channel();
        let detour = Arc::new(Detour { bytes: Mutex::new(bytes), requests, asked: sender });
        let interval = Duration::from_millis(20);
        let usual = ProbeTarget::new("app/one".parse().unwrap(), refusing().await, kind, interval);
        let fall = NonZeroU16::new(fall).unwrap();
        let target = ProbeTarget { via_service: true, fall, timeout: Duration::from_secs(20), ..usual };
        let via = Arc::<Detour>::clone(&detour);
        let (prober, events) = Prober::start_with(vec![target], Some(via), |_| Known::default(), 1);
        Self { _prober: prober, events, asked, detour }
    }

    async fn verdict(&mut self) -> (Health, Reason) {
        let verdict = async {
            loop {
                if let ProbeEvent::Verdict { to, reason, .. } = self.events.recv().await.unwrap() {
                    return (to, reason);
                }
            }
        };
        timeout(PATIENCE, verdict).await.expect("a verdict comes")
    }

    async fn asked(&mut self) -> Carries {
        let (backend, carries) = timeout(PATIENCE, self.asked.recv()).await.unwrap().unwrap();
        assert_eq!(backend.as_str(), "app/one");
        carries
    }
}

#[tokio::test]
async fn a_request_takes_the_way_of_requests_once_the_way_of_bytes_is_known_to_be_open() {
    let ((bytes, _app), (requests, _plane)) = (app(500).await, app(200).await);
    let mut scene = Scene::new(http(), bytes, requests, 1).await;
    assert_eq!(scene.verdict().await.0, Health::Up, "by the answer that came along the way of requests");
    assert_eq!(scene.asked().await, Carries::Bytes);
    assert_eq!(scene.asked().await, Carries::Requests);
}

#[tokio::test]
async fn a_way_that_is_refused_is_hard_evidence_though_the_data_plane_would_answer() {
    let ((bytes, mut dying), (requests, _plane)) = (app(200).await, app(502).await);
    // No number of answers with 502 decides.
    let mut scene = Scene::new(http(), bytes, requests, 60_000).await;
    dying.shutdown().await;
    let (to, reason) = scene.verdict().await;
    assert_eq!(to, Health::Down);
    assert!(
        matches!(reason, Reason::Refused { probe: Failure::Refused, confirm: Failure::Refused }),
        "{reason}"
    );
    // Back again, it is reached by the same way, and by it alone.
    let (again, _back) = app(200).await;
    *scene.detour.bytes.lock().unwrap() = again;
    while scene.asked().await != Carries::Requests {}
}

#[tokio::test]
async fn after_a_failed_request_the_next_probe_makes_the_whole_way_again() {
    let ((bytes, _app), (requests, _plane)) = (app(200).await, app(503).await);
    let mut scene = Scene::new(http(), bytes, requests, 3).await;
    let (to, reason) = scene.verdict().await;
    assert_eq!(to, Health::Down);
    assert!(reason.to_string().contains("status 503 instead of 200"), "{reason}");
    for _ in 0..3 {
        assert_eq!((scene.asked().await, scene.asked().await), (Carries::Bytes, Carries::Requests));
    }
}

#[tokio::test]
async fn what_is_no_request_goes_as_bytes() {
    let (bytes, _app) = app(200).await;
    let mut scene = Scene::new(ProbeKind::Tcp, bytes, refusing().await, 1).await;
    assert_eq!(scene.verdict().await.0, Health::Up);
    assert_eq!(scene.asked().await, Carries::Bytes);
}
