//! A data plane in front of scripted backends, and a client that shows every byte.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "a module of test binaries")]
#![allow(clippy::unwrap_used, reason = "test helpers")]
#![allow(clippy::disallowed_methods, reason = "drives real sockets")]

pub mod h2;

use std::{
    future::Future,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use proxima_balance::{Candidate, Levels, PolicyKind};
use proxima_proxy::{
    AccessLog, AccessLogOptions, ClientLimits, DataPlane, DataPlaneConfig, Displaced, Distress, Inheritance,
    Listener, Match, Protocol, Route, Service, ServiceStats, Slow, Snapshot, Timeouts, TlsClient, TlsServer,
    Upstream, UpstreamProtocol,
};
use proxima_residency::Fence;
use proxima_types::{BackendId, Health, RegionName, ServiceName, Weight};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    task::JoinHandle,
};

/// Long enough for anything that happens at all.
pub const PATIENCE: Duration = Duration::from_mins(1);

pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// Waits until `holds`.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    soon(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub struct World {
    pub plane: DataPlane,
    pub address: SocketAddr,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub displaced: Displaced,
    /// Where the backends are, in their order.
    pub backends: Vec<SocketAddr>,
}

#[derive(Clone)]
pub struct Setup {
    pub protocol: Protocol,
    /// Of HTTPS and HTTP/3.
    pub tls: Option<TlsServer>,
    /// To the backends.
    pub backend_tls: Option<TlsClient>,
    pub listen: &'static str,
    /// Address, tier and jurisdiction.
    pub backends: Vec<(SocketAddr, u8, &'static str)>,
    pub allow: Option<&'static str>,
    pub matches: Match,
    pub upstream: UpstreamProtocol,
    pub timeouts: Timeouts,
    pub late: Option<Duration>,
    pub workers: usize,
    pub header_timeout: Duration,
    pub keep_alive: Duration,
    pub max_descriptors: Option<usize>,
    pub limits: ClientLimits,
    pub access_log: Option<AccessLog>,
    pub distress: Option<mpsc::Sender<Distress>>,
    /// Probes may be sent through the workers to each backend.
    pub probed: bool,
}

/// A task that panics ends alone, and what its client sees of it may be what a test expects anyway.
fn abort_on_a_workers_panic() {
    static ONCE: std::sync::Once = std::sync::Once::new();

    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            usual(panic);
            if std::thread::current().name().is_some_and(|name| name.starts_with("worker-")) {
                std::process::abort();
            }
        }));
    });
}

impl Setup {
    /// Backends in the order they are tried.
    pub fn http(backends: &[SocketAddr]) -> Self {
        let backends = backends.iter().zip(0..).map(|(address, tier)| (*address, tier, "EU")).collect();
        Self {
            protocol: Protocol::Http,
            tls: None,
            backend_tls: None,
            listen: "127.0.0.1:0",
            backends,
            allow: None,
            matches: Match::default(),
            upstream: UpstreamProtocol::Http1,
            timeouts: Timeouts::default(),
            late: None,
            distress: None,
            workers: 1,
            header_timeout: PATIENCE,
            keep_alive: PATIENCE,
            max_descriptors: None,
            limits: ClientLimits::default(),
            access_log: None,
            probed: false,
        }
    }

    pub fn tcp(backends: &[SocketAddr]) -> Self {
        Self { protocol: Protocol::Tcp, ..Self::http(backends) }
    }

    pub fn https(backends: &[SocketAddr], tls: TlsServer) -> Self {
        Self { protocol: Protocol::Https, tls: Some(tls), ..Self::http(backends) }
    }

    fn candidates(&self) -> impl Iterator<Item = Candidate> + '_ {
        self.backends.iter().enumerate().map(|(index, (address, tier, jurisdiction))| Candidate {
            backend: format!("app/b{index}").parse::<BackendId>().unwrap(),
            address: *address,
            region: "eu".parse().unwrap(),
            jurisdiction: jurisdiction.parse().unwrap(),
            tier: *tier,
            weight: Weight::default(),
            health: Health::Up,
            distance: 0,
            rtt: None,
        })
    }

    fn upstream(&self, fence: &Fence, candidates: impl IntoIterator<Item = Candidate>) -> Upstream {
        let region: RegionName = "eu".parse().unwrap();
        Upstream {
            levels: Arc::new(Levels::new(fence.admit(candidates), &region)),
            policy: PolicyKind::default(),
            protocol: self.upstream,
            tls: self.backend_tls.clone(),
            timeouts: self.timeouts,
            late: self.late,
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        let fence = Fence::new(self.allow.map(|name| vec![name.parse().unwrap()]));
        let upstream = self.upstream(&fence, self.candidates());
        let service = match self.protocol {
            Protocol::Tcp => Service::Tcp(upstream),
            Protocol::Http => Service::Http(vec![Route { matches: self.matches.clone(), upstream }]),
            Protocol::Https | Protocol::Http3 => {
                let routes = vec![Route { matches: self.matches.clone(), upstream }];
                Service::Https(self.tls.clone().unwrap(), routes)
            }
        };
        let places = self.candidates().map(|candidate| (candidate.backend, candidate.address));
        let backends = Arc::new(places.collect());
        let way = |candidate: Candidate| {
            let key = (candidate.backend.clone(), candidate.address);
            (key, self.upstream(&Fence::open(), [candidate]))
        };
        let probed = self.candidates().filter(|_| self.probed).map(way).collect();
        let services = [(service_name(), service)].into();
        let (limits, access_log) = (self.limits.clone(), self.access_log.clone());
        Snapshot { services, backends, probed, limits, access_log, ..Snapshot::default() }
    }

    pub fn start(&self) -> World {
        abort_on_a_workers_panic();
        let listener = Listener {
            service: service_name(),
            address: self.listen.parse().unwrap(),
            protocol: self.protocol,
        };
        let snapshot = Arc::new(ArcSwap::from_pointee(self.snapshot()));
        let config = self.config(vec![listener]);
        let displaced = config.displaced.clone();
        let plane = DataPlane::start(config, &snapshot).unwrap();
        let address = plane.listeners()[0].address;
        let backends = self.backends.iter().map(|(address, ..)| *address).collect();
        World { plane, address, snapshot, displaced, backends }
    }

    /// A world that has what `predecessor` leaves, and takes nothing yet.
    pub fn inherit(&self, predecessor: &World) -> World {
        let snapshot = Arc::new(ArcSwap::from_pointee(self.snapshot()));
        let inherited = Some(handed_over(&predecessor.plane));
        let config = DataPlaneConfig { inherited, ..self.config(Vec::new()) };
        let displaced = config.displaced.clone();
        let plane = DataPlane::start(config, &snapshot).unwrap();
        let backends = self.backends.iter().map(|(address, ..)| *address).collect();
        World { plane, address: predecessor.address, snapshot, displaced, backends }
    }

    pub fn config(&self, listeners: Vec<Listener>) -> DataPlaneConfig {
        let workers = NonZeroUsize::new(self.workers).unwrap();
        DataPlaneConfig {
            header_timeout: self.header_timeout,
            keep_alive: self.keep_alive,
            max_descriptors: self.max_descriptors,
            distress: self.distress.clone(),
            ..DataPlaneConfig::new(workers, listeners, "fra1".parse().unwrap())
        }
    }
}

/// What `plane` leaves, as another process would have it.
pub fn handed_over(plane: &DataPlane) -> Inheritance {
    let (meta, descriptors) = plane.bequeath().unwrap().into_parts();
    let meta = serde_json::from_slice(&serde_json::to_vec(&meta).unwrap()).unwrap();
    Inheritance::from_parts(meta, descriptors).unwrap()
}

/// A response as clients of HTTP/2 and HTTP/3 see it.
pub struct Answer {
    pub head: http::Response<()>,
    pub body: Vec<u8>,
    pub trailers: Option<http::HeaderMap>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.status().as_u16()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.headers().get(name).map(|value| value.to_str().unwrap())
    }
}

pub fn service_name() -> ServiceName {
    "web".parse().unwrap()
}

impl World {
    pub async fn client(&self) -> Peer {
        Peer::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// Serves in place of `predecessor` from when this returns, at these listeners.
    pub async fn succeed(&self, predecessor: &World, listeners: Vec<Listener>) {
        let prepared = self.plane.prepare(listeners).unwrap();
        predecessor.plane.succeeded();
        let taking = self.plane.reconfigure(prepared, None, PATIENCE);
        assert!(taking.over().await, "a worker is stuck");
    }

    /// How many clients were given up for `slow`.
    pub fn slow_clients(&self, slow: Slow) -> u64 {
        self.stats().slow_clients.get(&slow).copied().unwrap_or_default()
    }

    /// Serves what `setup` says, at these listeners and no others, from when this returns.
    pub async fn reconfigure(&self, setup: &Setup, listeners: Vec<Listener>, drain: Duration) {
        let prepared = self.plane.prepare(listeners).unwrap();
        self.snapshot.store(Arc::new(setup.snapshot()));
        assert!(self.plane.reconfigure(prepared, None, drain).over().await, "a worker is stuck");
    }

    /// The same at the listeners there are.
    pub async fn reload(&self, setup: &Setup) {
        self.reconfigure(setup, self.plane.listeners(), PATIENCE).await;
    }

    pub fn stats(&self) -> ServiceStats {
        self.plane.stats().services.remove(&service_name()).unwrap_or_default()
    }
}

/// What an access log got.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub fn log(&self, query: bool) -> AccessLog {
        let lines = self.0.clone();
        let options = AccessLogOptions { query, sample: 1.0 };
        AccessLog::new(options, move |batch| {
            lines.lock().unwrap().extend(batch);
            true
        })
    }

    /// The lines so far.
    pub fn read(&self) -> Vec<serde_json::Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The lines when there are so many.
    pub async fn wait(&self, count: usize) -> Vec<serde_json::Value> {
        until("the lines", || self.read().len() >= count).await;
        let lines = self.read();
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }
}

/// An address where nothing listens.
pub async fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A backend that runs a script on each connection.
pub struct Backend {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Backend {
    pub async fn start<F, T>(script: F) -> Self
    where
        F: Fn(Peer) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        Self::start_at("127.0.0.1:0", script).await
    }

    pub async fn start_at<F, T>(address: &str, script: F) -> Self
    where
        F: Fn(Peer) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let stop = Arc::<Notify>::default();
        let (count, stopped) = (connections.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let mut scripts = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    () = stopped.notified() => break,
                    accepted = listener.accept() => {
                        let (stream, _) = accepted.unwrap();
                        count.fetch_add(1, Ordering::SeqCst);
                        scripts.spawn(script(Peer::new(stream)));
                    }
                }
            }
        });
        Self { address, connections, stop, task }
    }

    /// Answers every request with `body`.
    pub async fn fixed(body: &'static str) -> Self {
        Self::start(move |mut peer| async move {
            while peer.head().await.is_some() {
                peer.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
            }
        })
        .await
    }

    /// Tells of each head, and answers it with `response`.
    pub async fn telling(response: &'static str) -> (Self, mpsc::UnboundedReceiver<String>) {
        let (heads, seen) = mpsc::unbounded_channel();
        let backend = Self::start(move |mut peer| {
            let heads = heads.clone();
            async move {
                while let Some(head) = peer.head().await {
                    heads.send(head).unwrap();
                    peer.write(response).await;
                }
            }
        })
        .await;
        (backend, seen)
    }

    /// Sends back the body of each request of known length.
    pub async fn echo() -> Self {
        Self::start(|mut peer| async move {
            while let Some(head) = peer.head().await {
                let body = peer.body(&head).await;
                peer.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())).await;
                peer.write_bytes(&body).await;
            }
        })
        .await
    }

    pub fn seen(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// As if the process died: the listener and all connections close.
    pub async fn kill(self) {
        self.stop.notify_one();
        let _ = self.task.await;
    }
}

/// One end of a connection, with what was read and not yet used.
pub struct Peer<S = TcpStream> {
    pub stream: S,
    pub buffer: Vec<u8>,
}

pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Peer {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub async fn write(&mut self, text: &str) {
        self.write_bytes(text.as_bytes()).await;
    }

    /// Ignores that the other end may have closed: tests look at what they read.
    pub async fn write_bytes(&mut self, bytes: &[u8]) {
        let _ = soon("a write", self.stream.write_all(bytes)).await;
        let _ = soon("a flush", self.stream.flush()).await;
    }

    pub async fn fill(&mut self) -> std::io::Result<usize> {
        soon("a read", self.stream.read_buf(&mut self.buffer)).await
    }

    /// A head with its empty line; `None` when the connection ended before one.
    pub async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.buffer.split_off(at + 4);
                return Some(String::from_utf8(std::mem::replace(&mut self.buffer, rest)).unwrap());
            }
            if self.fill().await.ok()? == 0 {
                return None;
            }
        }
    }

    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert_ne!(self.fill().await.unwrap(), 0, "ended after {} of {count} bytes", self.buffer.len());
        }
        let rest = self.buffer.split_off(count);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// Everything up to the end, and whether that was a clean one.
    pub async fn rest(&mut self) -> (Vec<u8>, bool) {
        let clean = loop {
            match self.fill().await {
                Ok(0) => break true,
                Ok(_) => {}
                Err(_) => break false,
            }
        };
        (std::mem::take(&mut self.buffer), clean)
    }

    /// The body that `head` announces, bare; chunks are taken off.
    pub async fn body(&mut self, head: &str) -> Vec<u8> {
        if let Some(length) = field(head, "content-length") {
            return self.exactly(length.parse().unwrap()).await;
        }
        if field(head, "transfer-encoding").is_none() {
            return Vec::new();
        }
        let mut body = Vec::new();
        loop {
            let line = self.line().await;
            let size = usize::from_str_radix(&line, 16).unwrap();
            if size == 0 {
                while !self.line().await.is_empty() {}
                return body;
            }
            body.extend(self.exactly(size).await);
            assert!(self.line().await.is_empty());
        }
    }

    pub async fn line(&mut self) -> String {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.exactly(at + 2).await;
                return String::from_utf8(line[..at].to_vec()).unwrap();
            }
            assert_ne!(self.fill().await.unwrap(), 0);
        }
    }

    pub async fn response(&mut self) -> Response {
        let head = self.head().await.expect("a response");
        let status = head[9..12].parse().unwrap();
        let body = if matches!(status, 100..200 | 204 | 304) { Vec::new() } else { self.body(&head).await };
        Response { status, head, body }
    }

    pub async fn get(&mut self, path: &str) -> Response {
        self.write(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        self.response().await
    }

    pub async fn post(&mut self, path: &str, body: &str) -> Response {
        self.write(&format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
        self.response().await
    }

    /// Waits until the other end has closed or reset the connection; what came before is dropped.
    pub async fn closed(&mut self) {
        while !matches!(self.fill().await, Ok(0) | Err(_)) {}
    }
}

/// A field's value in a head.
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// Agrees to what is asked for, as RFC 6455 §4.2.2 has it.
pub fn agreement(head: &str) -> String {
    use sha1::Digest;

    let mut sum = sha1::Sha1::new();
    sum.update(field(head, "sec-websocket-key").unwrap());
    sum.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, sum.finalize());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}
