//! The way of probes through the workers: each to one given backend, past routes and balancing.
//!
//! ```text
//! control thread                                worker 0 … n-1, in turn
//! ProbeEntrance::connect ── TCP on loopback ──▶ accept ─ has it a ticket? ─▶ connect ─▶ relay ─────────────▶ backend
//!    └─▶ tickets, by the connection's own address ──┘                     └▶ HTTP exchange, as a client's ─▶ backend
//! ```
//!
//! A worker that doesn't run, or can't connect, or can't serve, keeps the probe from its backend as it would a client.
//!
//! Nobody else gets in. The listeners are on 127.0.0.1, and a connection is served only if its source address has a ticket,
//! which is written before the connect and is gone with it; the kernel gives an address and port to one socket at a time. All
//! others are reset.
//!
//! The worker first writes four bytes, big-endian: 0 when the way is open, else the error number that its own connect met.
//! Nothing of a probe is in the counters of services and backends, in what real traffic is evidence of, or in the account of
//! descriptors: clients that fill a worker don't make its backends look down.

use std::{
    collections::HashMap,
    future::poll_fn,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use arc_swap::ArcSwap;
use nix::errno::Errno;
use proxima_types::BackendId;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::{
    Match, Protocol, Snapshot, Upstream,
    access::Access,
    backend::Backend,
    close::{Guarded, reset_on_close},
    descriptors::Descriptors,
    distress::Teller,
    door::{Backoff, is_of_one_connection},
    entry::{Entry, Open},
    http,
    listener::{self, BindError},
    stats::{RegionCounters, ServiceCounters},
    stream::Stream,
    tcp,
    timer::Timers,
    view::{ServiceView, UpstreamView},
    worker::Worker,
};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Where the connections to a backend come from: the loopback has an address for each, so that ports which rest for a minute
/// after a connection (TIME_WAIT) are never wanting, for probes as for requests. Two that share one share its ports.
fn source(backend: &BackendId) -> SocketAddr {
    const FIRST: u32 = u32::from_be_bytes([127, 64, 0, 0]);
    const COUNT: u64 = 1 << 22;
    let mut hasher = DefaultHasher::new();
    backend.hash(&mut hasher);
    (Ipv4Addr::from(FIRST + (hasher.finish() % COUNT) as u32), 0).into()
}

/// Where probes enter the data plane. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ProbeEntrance(Arc<Entrance>);

#[derive(Debug)]
struct Entrance {
    /// Where each worker listens.
    workers: Vec<SocketAddr>,
    next: AtomicUsize,
    snapshot: Arc<ArcSwap<Snapshot>>,
    tickets: Tickets,
}

/// What a connection is for, by the address it comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tickets(Arc<Mutex<HashMap<SocketAddr, Ticket>>>);

#[derive(Debug)]
struct Ticket {
    backend: BackendId,
    address: SocketAddr,
    protocol: Protocol,
}

/// Takes its ticket back when it is dropped, used or not.
struct Issued<'a>(&'a Tickets, SocketAddr);

impl Tickets {
    fn issue(&self, to: SocketAddr, ticket: Ticket) -> Issued<'_> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(to, ticket);
        Issued(self, to)
    }

    fn take(&self, of: SocketAddr) -> Option<Ticket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&of)
    }
}

impl Drop for Issued<'_> {
    fn drop(&mut self) {
        self.0.take(self.1);
    }
}

/// A worker's side of the entrance.
pub(crate) struct Inlet {
    socket: std::net::TcpListener,
    tickets: Tickets,
}

impl ProbeEntrance {
    /// An entrance to `workers`, and the workers' sides of it.
    pub(crate) fn open(
        snapshot: Arc<ArcSwap<Snapshot>>,
        workers: usize,
    ) -> Result<(Self, Vec<Inlet>), BindError> {
        let tickets = Tickets::default();
        let (mut addresses, mut inlets) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (address, socket) = listener::bind_alone(LOOPBACK)?;
            addresses.push(address);
            inlets.push(Inlet { socket, tickets: tickets.clone() });
        }
        let entrance = Entrance { workers: addresses, next: AtomicUsize::new(0), snapshot, tickets };
        Ok((Self(Arc::new(entrance)), inlets))
    }

    /// A connection through the next worker to `backend` at `address`. With [`Protocol::Tcp`] it is there when the worker's connection to
    /// the backend is; with [`Protocol::Http`] it takes requests as the connection of a client does, which go on over TLS where
    /// the [snapshot](Snapshot::probed) says so.
    ///
    /// Dropped before it is done, it leaves nothing behind.
    ///
    /// # Errors
    /// What the worker's connect met; [`io::ErrorKind::NotFound`] when `backend` is not one of those that the
    /// [snapshot](Snapshot::probed) has; and whatever keeps this process from connecting to its own worker.
    pub async fn connect(
        &self,
        backend: &BackendId,
        address: SocketAddr,
        protocol: Protocol,
    ) -> io::Result<TcpStream> {
        let Entrance { workers, next, snapshot, tickets } = &*self.0;
        if !snapshot.load().probed.contains_key(&(backend.clone(), address)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let worker = workers[next.fetch_add(1, Ordering::Relaxed) % workers.len()];
        let socket = TcpSocket::new_v4()?;
        socket.bind(source(backend))?;
        let ticket = Ticket { backend: backend.clone(), address, protocol };
        let _issued = tickets.issue(socket.local_addr()?, ticket);
        let mut stream = socket.connect(worker).await?;
        match stream.read_i32().await? {
            0 => Ok(stream),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// What one worker keeps for probes.
pub(crate) struct Probed {
    /// Nobody reads it.
    counters: Arc<ServiceCounters>,
    region: Arc<RegionCounters>,
    descriptors: Rc<Descriptors>,
    teller: Rc<Teller>,
}

impl Probed {
    pub(crate) fn new(timers: &Rc<Timers>) -> Self {
        Self {
            counters: Arc::default(),
            region: Arc::default(),
            descriptors: Descriptors::new(usize::MAX),
            teller: Teller::new(None, timers.clone()),
        }
    }

    /// A backend of its own for each connection: what rests on it is the connection's.
    fn backend(&self, upstream: &Upstream) -> Option<Rc<Backend>> {
        let candidate = upstream.levels.candidates().first()?;
        let (descriptors, teller) = (self.descriptors.clone(), self.teller.clone());
        let tls = upstream.tls.as_ref().map(|tls| tls.to(candidate.address));
        Some(Rc::new(Backend::new(candidate, tls, Arc::default(), descriptors, teller)))
    }
}

/// Takes probes in as long as the worker runs, through a drain too.
pub(crate) async fn accept(worker: Rc<Worker>, inlet: Inlet) {
    let Inlet { socket, tickets } = inlet;
    let (socket, address) = match TcpListener::from_std(socket).and_then(|socket| {
        let address = socket.local_addr()?;
        Ok((socket, address))
    }) {
        Ok(listening) => listening,
        Err(error) => {
            tracing::error!(%error, "the event loop does not take the listener of probes");
            return;
        }
    };
    let mut backoff = Backoff::default();
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                backoff = Backoff::default();
                match tickets.take(peer) {
                    Some(ticket) => {
                        tokio::task::spawn_local(serve(worker.clone(), ticket, stream, peer));
                    }
                    None => reset_on_close(&stream),
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => backoff.wait(&address, &error).await,
        }
    }
}

async fn serve(worker: Rc<Worker>, ticket: Ticket, mut stream: TcpStream, peer: SocketAddr) {
    let Ticket { backend, address, protocol } = ticket;
    // It may have gone since the ticket was written.
    let Some(upstream) = worker.way_of_probes(&backend, address) else { return };
    let Some(backend) = worker.probed.backend(&upstream) else { return };
    match protocol {
        Protocol::Tcp => relay(&worker, &upstream, &backend, stream).await,
        Protocol::Http | Protocol::Https | Protocol::Http3 => {
            // A probe that is gone already needs nothing more.
            if stream.write_i32(0).await.is_err() {
                return;
            }
            let view = UpstreamView::alone(&upstream, backend.clone(), worker.probed.region.clone());
            let service = ServiceView::Http {
                tls: None,
                routes: vec![(Match::default(), Rc::new(view))],
                challenges: None,
            };
            let entry = Entry::of_probe(service, worker.probed.counters.clone());
            let open = Open::of_probe(worker.clone(), entry.clone());
            // A backend that closes its connection at rest closes the probe's: that is how a killed app is noticed.
            tokio::select! {
                biased;
                () = http::serve(worker.clone(), open, entry, Stream::Plain(stream), peer) => {}
                () = poll_fn(|cx| backend.poll_stirred(cx)) => {}
            }
            backend.forget_idle();
        }
    }
}

/// Connects, says how that went, and relays until either side ends.
async fn relay(worker: &Worker, upstream: &Upstream, backend: &Backend, mut probe: TcpStream) {
    let timeouts = upstream.timeouts;
    let connected = tokio::time::timeout(timeouts.connect, backend.connect_tcp()).await;
    let connected = connected.unwrap_or_else(|_| Err(Errno::ETIMEDOUT.into()));
    let code = connected.as_ref().map_or_else(error_number, |_| 0);
    if let (Ok(()), Ok(stream)) = (probe.write_i32(code).await, connected) {
        let timer = poll_fn(|cx| Poll::Ready(worker.timers.timer(cx))).await;
        let [mut probe, mut stream] = [probe, stream].map(|tcp| Guarded::under_way(Stream::Plain(tcp)));
        let counters = &worker.probed.counters;
        // However it ends, the probe sees it end the same way.
        let (idle, mut access) = (timeouts.idle, Access::default());
        let _ = tcp::relay(worker, counters, &mut probe, &mut stream, timer, idle, &mut access).await;
    }
}

fn error_number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(Errno::ECONNABORTED as i32)
}
