//! One worker: a thread, its runtime, its listeners and everything the connections on it share.
//!
//! Tasks of a worker: the main one (beats, phases, sweeps), one per listener, one that takes probes in, one per connection.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Cache};
use proxima_http1::Hop;
use proxima_http3::Code;
use rustls::pki_types::CertificateDer;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::LocalSet,
};

use crate::{
    BodyRate, ConnectionsPerIp, DataPlaneConfig, Listener, Protocol, Snapshot, TlsClient,
    access::{Access, Recorder, Tls, Who},
    backend::Backend,
    buffer::Pool,
    close::reset_on_close,
    descriptors::{Descriptors, Lease},
    distress::Teller,
    http::{self, Scratch},
    limits::{Census, Counted, TooMany},
    probed::{self, Inlet, Probed},
    quic::{Crypto, Limits, Port},
    retry::RetryBudget,
    stats::{ServiceCounters, WorkerCounters},
    stream::Stream,
    tcp::{self, Passage, Pipe},
    timer::{BEAT, Timers},
    tls::{self, TlsServer},
    view::{ServiceView, View, Viewer},
};

/// Where the data plane is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    Draining,
    Stopped,
}

/// What a worker begins with.
pub(crate) struct Start {
    pub(crate) number: usize,
    pub(crate) sockets: Vec<Socket>,
    /// For HTTP/3, with their listeners.
    pub(crate) ports: Vec<(usize, Port)>,
    pub(crate) probes: Option<Inlet>,
    pub(crate) config: Arc<DataPlaneConfig>,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) census: Arc<Census>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) drained: watch::Sender<bool>,
}

/// A worker's own socket of a listener.
pub(crate) struct Socket {
    pub(crate) listener: usize,
    pub(crate) socket: std::net::TcpListener,
}

/// How many buffers of each kind a worker keeps for the next exchange.
const POOLED: usize = 128;
/// From sweep to sweep of the connections at rest.
const SWEEP: Duration = Duration::from_secs(1);
/// How long a stop waits until clients of QUIC have been told.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// From one word in the log about clients turned away to the next.
const SHED_TOLD_EVERY: Duration = Duration::from_secs(30);

/// What the tasks of a worker share.
pub(crate) struct Worker {
    pub(crate) config: Arc<DataPlaneConfig>,
    pub(crate) timers: Rc<Timers>,
    pub(crate) retries: RetryBudget,
    pub(crate) counters: Arc<WorkerCounters>,
    /// By listener; then those of probes.
    pub(crate) services: Vec<Arc<ServiceCounters>>,
    pub(crate) probed: Probed,
    pub(crate) scratch: Pool<Box<Scratch>>,
    pub(crate) passage: Passage,
    pipes: Pool<Pipe>,
    descriptors: Rc<Descriptors>,
    census: Arc<Census>,
    recorder: Rc<Recorder>,
    shed_told_at: Cell<Option<Instant>>,
    draining: Cell<bool>,
    drained: watch::Sender<bool>,
    snapshot: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    viewer: Viewer,
    view: RefCell<View>,
}

/// Runs a worker on this thread until the data plane stops. Dropping its tasks closes their connections, and
/// resets those with something under way.
pub(crate) fn run(runtime: &tokio::runtime::Runtime, start: Start) {
    let tasks = LocalSet::new();
    tasks.block_on(runtime, serve(start));
}

async fn serve(start: Start) {
    let Start { number, sockets, ports, probes, config, snapshot, counters, census, mut phase, drained } =
        start;
    let worker = Rc::new(Worker::new(number, config, snapshot, counters, census, drained));
    let accepting: Vec<_> = sockets
        .into_iter()
        .map(|socket| tokio::task::spawn_local(accept(worker.clone(), socket, phase.clone())))
        .collect();
    let receiving: Vec<_> = ports
        .into_iter()
        .map(|(listener, port)| {
            tokio::task::spawn_local(receive(worker.clone(), listener, port, phase.clone()))
        })
        .collect();
    if let Some(probes) = probes {
        tokio::task::spawn_local(probed::accept(worker.clone(), probes));
    }
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut next_sweep = Instant::now();
    loop {
        tokio::select! {
            biased;
            changed = phase.changed() => {
                let now = *phase.borrow_and_update();
                if changed.is_err() || now == Phase::Stopped {
                    break;
                }
                worker.begin_drain();
            }
            _ = beat.tick() => {
                let now = Instant::now();
                worker.timers.beat(now);
                worker.counters.beats.add(1);
                worker.recorder.flush();
                if now >= next_sweep {
                    next_sweep = now + SWEEP;
                    worker.sweep();
                }
                if worker.is_draining() && accepting.iter().all(tokio::task::JoinHandle::is_finished) {
                    worker.note_drained();
                }
            }
        }
    }
    for closing in receiving {
        // An error is a panic of the task, which has been told.
        let _ = closing.await;
    }
}

impl Worker {
    fn new(
        number: usize,
        config: Arc<DataPlaneConfig>,
        snapshot: Arc<ArcSwap<Snapshot>>,
        counters: Arc<WorkerCounters>,
        census: Arc<Census>,
        drained: watch::Sender<bool>,
    ) -> Self {
        let names: Vec<_> = config.listeners.iter().map(|listener| listener.service.clone()).collect();
        // The hasher's keys are random; the cores get their randomness from here.
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), number);
        let share = config.max_descriptors.map_or(usize::MAX, |total| total / config.workers);
        let descriptors = Descriptors::new(share);
        let timers = Timers::new(Instant::now());
        let probed = Probed::new(config.probed.len(), &timers);
        let services = names.iter().map(|name| counters.service(name)).chain(probed.counters()).collect();
        let teller = Teller::new(config.distress.clone(), timers.clone());
        let viewer = Viewer::new(names, counters.clone(), descriptors.clone(), teller, seed);
        let view = viewer.view(&snapshot.load_full());
        let recorder = Recorder::new(!seed, counters.clone());
        recorder.follow(view.access_log());
        let view = RefCell::new(view);
        Self {
            config,
            timers,
            retries: RetryBudget::new(),
            counters,
            services,
            probed,
            scratch: Pool::new(POOLED),
            passage: Passage::new(),
            pipes: Pool::new(POOLED),
            descriptors,
            census,
            recorder,
            shed_told_at: Cell::new(None),
            draining: Cell::new(false),
            drained,
            snapshot: RefCell::new(Cache::new(snapshot)),
            viewer,
            view,
        }
    }

    /// What `listener` serves now. Numbers beyond those of the listeners are probes'.
    pub(crate) fn service(&self, listener: usize) -> Option<Rc<ServiceView>> {
        if let Some(number) = listener.checked_sub(self.config.listeners.len()) {
            return self.probed.service(number);
        }
        self.refresh();
        self.view.borrow().service(listener).cloned()
    }

    /// The TLS of `listener` for a new client that comes over QUIC; `None` when there is none to be had.
    fn crypto(&self, listener: usize) -> Option<Crypto> {
        if self.is_draining() {
            return None;
        }
        self.service(listener)?.tls().map(TlsServer::quic)
    }

    /// What is spoken over to a backend that is probed.
    pub(crate) fn tls_of_probed(&self, number: usize) -> Option<TlsClient> {
        self.snapshot.borrow_mut().load().probed_tls.get(number).cloned().flatten()
    }

    /// Takes over a newer snapshot. Costs one load when there is none.
    fn refresh(&self) {
        let mut cache = self.snapshot.borrow_mut();
        let snapshot = cache.load();
        if !self.view.borrow().is_of(snapshot) {
            let view = self.viewer.view(snapshot);
            self.recorder.follow(view.access_log());
            self.view.replace(view);
            self.viewer.sweep(|_| {});
        }
    }

    /// Whether clients connect there, and not probes.
    pub(crate) fn is_for_clients(&self, listener: usize) -> bool {
        listener < self.config.listeners.len()
    }

    /// Counts one more connection of a client of `listener`, if it is held to a number.
    ///
    /// # Errors
    /// When it has as many as it may have, which is counted.
    fn count(&self, listener: usize, client: IpAddr) -> Result<Option<Counted>, TooMany> {
        self.refresh();
        let view = self.view.borrow();
        let Some(limit) = &view.limits().connections_per_ip else { return Ok(None) };
        self.census.count(limit, client).inspect_err(|TooMany| self.note_crowded(listener, client))
    }

    /// Whether [`Worker::count`] would fail; that is counted.
    fn is_full(&self, listener: usize, client: IpAddr) -> bool {
        self.refresh();
        let view = self.view.borrow();
        let is_full = |limit: &ConnectionsPerIp| self.census.is_full(limit, client);
        let is_full = view.limits().connections_per_ip.as_ref().is_some_and(is_full);
        if is_full {
            self.note_crowded(listener, client);
        }
        is_full
    }

    fn note_crowded(&self, listener: usize, client: IpAddr) {
        self.services[listener].crowded.add(1);
        tracing::debug!(%client, listener, "client refused: its address has too many connections");
    }

    /// The line in the access log of a request, or connection, that begins now.
    pub(crate) fn access(
        &self,
        listener: usize,
        client: SocketAddr,
        protocol: &'static str,
        tls: Option<Tls>,
    ) -> Access {
        self.refresh();
        match self.config.listeners.get(listener) {
            Some(Listener { service, .. }) => self.recorder.begin(&Who { client, service, protocol, tls }),
            // Probes are nobody's clients.
            None => Access::default(),
        }
    }

    /// How fast bodies have to move.
    pub(crate) fn body_rate(&self) -> BodyRate {
        self.view.borrow().limits().body_rate
    }

    /// A place for one more client, if there is one.
    fn admit(&self) -> Option<Lease> {
        let place = loop {
            match self.descriptors.client() {
                None if self.pipes.take().is_some() => {}
                place => break place?,
            }
        };
        self.make_room();
        Some(place)
    }

    /// A place for the backend of one more stream of a client, if there is one.
    pub(crate) fn admit_stream(&self) -> Option<Lease> {
        loop {
            match self.descriptors.stream() {
                None if self.pipes.take().is_some() => {}
                place => return place,
            }
        }
    }

    /// What is said of this hop, for a client of `listener` that speaks `version` and has shown `certificates`.
    pub(crate) fn hop(
        &self,
        listener: usize,
        client: IpAddr,
        scheme: &str,
        version: &str,
        certificates: &[CertificateDer<'_>],
    ) -> Hop {
        let hop = Hop::of_version(self.config.pop.as_str(), client, scheme, version);
        let service = if certificates.is_empty() { None } else { self.service(listener) };
        let hop = match service.as_ref().and_then(|service| service.tls()) {
            Some(tls) => tls.hop(hop, certificates),
            None => hop,
        };
        match self.config.http3_beside(listener) {
            Some(port) => hop.with_http3_at(port),
            None => hop,
        }
    }

    /// To be called before another connection to a backend is opened.
    pub(crate) fn make_room(&self) {
        self.viewer.make_room();
    }

    /// A pipe, if there are descriptors for it.
    pub(crate) fn pipe(&self) -> io::Result<Option<Pipe>> {
        match self.pipes.take() {
            Some(pipe) => Ok(Some(pipe)),
            None => self.descriptors.pipe().map(Pipe::new).transpose(),
        }
    }

    /// Takes an empty pipe back.
    pub(crate) fn give_back(&self, pipe: Pipe) {
        self.pipes.put(pipe);
    }

    fn tell_shed(&self, address: SocketAddr) {
        let now = Instant::now();
        if self.shed_told_at.get().is_none_or(|told| now >= told + SHED_TOLD_EVERY) {
            self.shed_told_at.set(Some(now));
            tracing::warn!(%address, "more clients than file descriptors: clients are turned away; raise LimitNOFILE");
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    fn begin_drain(&self) {
        self.draining.set(true);
        self.viewer.sweep(Backend::forget_idle);
        self.timers.wake_all();
    }

    fn note_drained(&self) {
        if self.counters.open.read() == 0 {
            self.drained.send_if_modified(|drained| !std::mem::replace(drained, true));
        }
    }

    fn sweep(&self) {
        self.retries.next_second();
        self.refresh();
        self.viewer.sweep(|backend| backend.sweep(&self.timers));
    }
}

/// Counts a connection as open until it is dropped.
pub(crate) struct Open {
    worker: Rc<Worker>,
    listener: usize,
    /// `None`: a probe's, for which no drain waits.
    place: Option<Lease>,
    /// Among the connections of its address.
    counted: Option<Counted>,
}

impl Open {
    fn new(worker: Rc<Worker>, listener: usize, place: Lease, counted: Option<Counted>) -> Self {
        let service = &worker.services[listener];
        service.connections.add(1);
        service.open.add(1);
        worker.counters.open.add(1);
        Self { worker, listener, place: Some(place), counted }
    }

    /// The connection of a probe, which is nobody's client.
    pub(crate) fn of_probe(worker: Rc<Worker>, listener: usize) -> Self {
        Self { worker, listener, place: None, counted: None }
    }

    /// Counts the connection among those of its address, which is known to be the client's now.
    ///
    /// # Errors
    /// When that has as many as it may have.
    pub(crate) fn count(&mut self, client: IpAddr) -> Result<(), TooMany> {
        if self.counted.is_none() {
            self.counted = self.worker.count(self.listener, client)?;
        }
        Ok(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.worker.services[self.listener].open.sub(1);
            self.worker.counters.open.sub(1);
        }
    }
}

/// Accepts until the data plane drains; then takes what the kernel has already completed, and closes.
async fn accept(worker: Rc<Worker>, socket: Socket, mut phase: watch::Receiver<Phase>) {
    let Socket { listener, socket } = socket;
    let address = worker.config.listeners[listener].address;
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%address, %error, "the event loop does not take the listener");
            return;
        }
    };
    let mut backoff = Backoff::default();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                backoff = Backoff::default();
                spawn(&worker, listener, stream, peer);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                worker.counters.accept_errors.add(1);
                backoff.wait(address, &error).await;
            }
        }
    }
    take_completed(&worker, listener, socket).unwrap_or_else(|error| {
        tracing::warn!(%address, %error, "connections the kernel had completed are lost");
    });
}

/// Takes what waits in the kernel, seen by the event loop or not, and closes the listener.
fn take_completed(worker: &Rc<Worker>, listener: usize, socket: TcpListener) -> io::Result<()> {
    let socket = socket.into_std()?;
    loop {
        match socket.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(true)?;
                spawn(worker, listener, TcpStream::from_std(stream)?, peer);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Takes clients of HTTP/3 until the data plane drains, and datagrams of those it has until it stops. Then tells them so.
async fn receive(worker: Rc<Worker>, listener: usize, port: Port, mut phase: watch::Receiver<Phase>) {
    let address = worker.config.listeners[listener].address;
    let mut gate = match port.open(Limits::default()) {
        Ok(gate) => gate,
        Err(error) => {
            tracing::error!(%address, %error, "the event loop does not take the listener");
            return;
        }
    };
    loop {
        let (mut place, mut counted) = (None, None);
        let next = tokio::select! {
            next = gate.next(|newcomer| {
                let crypto = worker.crypto(listener)?;
                let client = newcomer.address.ip();
                // An address that may be forged is counted when the handshake is done: nobody shall use up another's share.
                if newcomer.is_validated {
                    counted = worker.count(listener, client).ok()?;
                } else if worker.is_full(listener, client) {
                    return None;
                }
                place = worker.admit();
                if place.is_none() {
                    worker.services[listener].shed.add(1);
                    worker.tell_shed(address);
                }
                place.as_ref().map(|_| crypto)
            }) => next,
            _ = phase.wait_for(|phase| *phase == Phase::Stopped) => break,
        };
        // The endpoint is closed below only.
        let Some(handshake) = next else { break };
        if let Some(place) = place {
            let open = Open::new(worker.clone(), listener, place, counted);
            tokio::task::spawn_local(http::h3::serve(worker.clone(), open, listener, handshake));
        }
    }
    gate.close(Code::NoError.value(), LAST_WORDS).await;
}

fn spawn(worker: &Rc<Worker>, listener: usize, stream: TcpStream, peer: SocketAddr) {
    let Ok(counted) = worker.count(listener, peer.ip()) else { return reset_on_close(&stream) };
    let Some(place) = worker.admit() else { return shed(worker, listener, stream, peer) };
    let open = Open::new(worker.clone(), listener, place, counted);
    let worker = worker.clone();
    match worker.config.listeners[listener].protocol {
        Protocol::Http => {
            let stream = Stream::Plain(stream);
            tokio::task::spawn_local(http::serve(worker, open, listener, stream, peer))
        }
        Protocol::Https => tokio::task::spawn_local(tls::serve(worker, open, listener, stream, peer)),
        Protocol::Tcp => tokio::task::spawn_local(tcp::serve(worker, open, listener, stream, peer)),
        Protocol::Http3 => unreachable!("its clients do not come over TCP"),
    };
}

/// Turns a client away: with an answer where there is one to give that costs no handshake, and not too many get theirs already.
fn shed(worker: &Rc<Worker>, listener: usize, stream: TcpStream, peer: SocketAddr) {
    worker.services[listener].shed.add(1);
    let Listener { address, protocol, .. } = worker.config.listeners[listener];
    worker.tell_shed(address);
    match worker.descriptors.refusal() {
        Some(place) if protocol == Protocol::Http => {
            let stream = Stream::Plain(stream);
            tokio::task::spawn_local(http::turn_away(worker.clone(), place, listener, stream, peer));
        }
        _ => reset_on_close(&stream),
    }
}

/// Whether only the connection that was to be accepted is lost.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::Interrupted)
}

/// Out of descriptors or memory: trying again at once would only burn the CPU that might free some.
#[derive(Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) async fn wait(&mut self, address: SocketAddr, error: &io::Error) {
        if self.failures == 0 {
            tracing::warn!(
                %address, %error,
                "can't accept connections; for `too many open files` raise LimitNOFILE. Trying on"
            );
        }
        let pause = Duration::from_millis(10 << self.failures.min(6));
        self.failures += 1;
        tokio::time::sleep(pause).await;
    }
}
