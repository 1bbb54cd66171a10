//! One worker: a thread, its runtime, its listeners and everything the connections on it share.
//!
//! Tasks of a worker: the main one (beats, phases, sweeps, other listeners), one per socket, one that takes probes in, one per
//! connection.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Cache};
use proxima_http1::Hop;
use proxima_types::BackendId;
use rustls::pki_types::CertificateDer;
use tokio::{
    sync::{mpsc, watch},
    task::LocalSet,
};

use crate::{
    BodyRate, ConnectionsPerIp, DataPlaneConfig, Listener, Protocol, Snapshot, Upstream,
    access::{Access, Recorder, Tls, Who},
    backend::Backend,
    buffer::Pool,
    descriptors::{Descriptors, Lease, Over, Seat},
    direction::Passage,
    distress::Teller,
    door::Doors,
    entry::Entry,
    http::Scratch,
    limits::{Census, Counted, TooMany},
    listening::{Place, Reconfigure},
    probed::{self, Inlet, Probed},
    quic::Crypto,
    retry::RetryBudget,
    splice::Pipes,
    stats::WorkerCounters,
    timer::{BEAT, Deadline, Timers},
    tls::TlsServer,
    view::{ServiceView, View, Viewer},
};

/// Where the data plane is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    Draining,
    Stopped,
}

/// How far a worker's drain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Drained {
    Not,
    /// It takes no more connections.
    Shut,
    /// The last connection has ended.
    Over,
}

/// What a worker begins with.
pub(crate) struct Start {
    pub(crate) number: usize,
    pub(crate) config: Arc<DataPlaneConfig>,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) census: Arc<Census>,
    pub(crate) probes: Inlet,
    /// What it listens on, first and later.
    pub(crate) orders: mpsc::Receiver<Reconfigure>,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Another data plane serves in place of this one.
    pub(crate) succeeded: Arc<AtomicBool>,
    pub(crate) drained: watch::Sender<Drained>,
}

/// How many buffers of each kind a worker keeps for the next exchange.
const POOLED: usize = 128;
/// From sweep to sweep of the connections at rest.
const SWEEP: Duration = Duration::from_secs(1);
/// From one word in the log about clients turned away, or sent away, to the next.
const SHED_TOLD_EVERY: Duration = Duration::from_secs(30);

/// How often others have their turn, and with them those that were sent away, before it is done without the places of those.
const LEAVE_TURNS: usize = 8;

/// What the tasks of a worker share.
pub(crate) struct Worker {
    pub(crate) config: Arc<DataPlaneConfig>,
    pub(crate) timers: Rc<Timers>,
    pub(crate) retries: RetryBudget,
    pub(crate) counters: Arc<WorkerCounters>,
    /// Those of the listeners there are, and those that leave.
    entries: RefCell<Vec<Rc<Entry>>>,
    /// When those that leave have to be gone.
    leaving: RefCell<Vec<(Rc<Entry>, Deadline)>>,
    pub(crate) probed: Probed,
    pub(crate) scratch: Pool<Box<Scratch>>,
    pub(crate) passage: Passage,
    pub(crate) pipes: Pipes,
    descriptors: Rc<Descriptors>,
    census: Arc<Census>,
    recorder: Rc<Recorder>,
    shed_told_at: Cell<Option<Instant>>,
    sent_away_told_at: Cell<Option<Instant>>,
    draining: Cell<bool>,
    succeeded: Arc<AtomicBool>,
    drained: watch::Sender<Drained>,
    snapshot: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    viewer: Viewer,
    view: RefCell<View>,
}

/// What only the main task of a worker has.
struct Own {
    probes: Inlet,
    orders: mpsc::Receiver<Reconfigure>,
    phase: watch::Receiver<Phase>,
}

/// Runs a worker on this thread until the data plane stops. Dropping its tasks closes their connections, and
/// resets those with something under way.
pub(crate) fn run(runtime: &tokio::runtime::Runtime, start: Start) {
    let tasks = LocalSet::new();
    tasks.block_on(runtime, serve(start));
}

async fn serve(start: Start) {
    let (worker, own) = Worker::new(start);
    let Own { probes, mut orders, mut phase } = own;
    tokio::task::spawn_local(probed::accept(worker.clone(), probes));
    let mut doors = Doors::default();
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut next_sweep = Instant::now();
    loop {
        tokio::select! {
            biased;
            Some(order) = orders.recv() => {
                worker.refresh();
                worker.descriptors.set_limit(order.descriptors);
                worker.viewer.limit(worker.timers.deadline(order.drain));
                doors.reconfigure(&worker, order);
                if worker.is_draining() {
                    doors.begin_drain();
                }
            }
            changed = phase.changed() => {
                let now = *phase.borrow_and_update();
                if changed.is_err() || now == Phase::Stopped {
                    break;
                }
                worker.begin_drain();
                doors.begin_drain();
            }
            _ = beat.tick() => {
                let now = Instant::now();
                worker.timers.beat(now);
                worker.counters.beats.add(1);
                worker.recorder.flush();
                worker.cut_short();
                doors.sweep(&worker);
                if now >= next_sweep {
                    next_sweep = now + SWEEP;
                    worker.sweep();
                }
                if worker.is_draining() && doors.are_shut() {
                    worker.note_shut();
                }
            }
        }
    }
    doors.close().await;
}

impl Worker {
    fn new(start: Start) -> (Rc<Self>, Own) {
        let Start { number, config, snapshot, counters, census, probes, orders, phase, succeeded, drained } =
            start;
        // The hasher's keys are random; the cores get their randomness from here.
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), number);
        let descriptors = Descriptors::new(usize::MAX);
        let timers = Timers::new(Instant::now());
        let probed = Probed::new(&timers);
        let teller = Teller::new(config.distress.clone(), timers.clone());
        let viewer = Viewer::new(counters.clone(), descriptors.clone(), teller, seed);
        let view = viewer.view(&snapshot.load_full());
        let recorder = Recorder::new(!seed, counters.clone());
        recorder.follow(view.access_log());
        let view = RefCell::new(view);
        let worker = Self {
            config,
            timers,
            retries: RetryBudget::new(),
            counters,
            entries: RefCell::default(),
            leaving: RefCell::default(),
            probed,
            scratch: Pool::new(POOLED),
            passage: Passage::new(),
            pipes: Pipes::new(POOLED, descriptors.clone()),
            descriptors,
            census,
            recorder,
            shed_told_at: Cell::new(None),
            sent_away_told_at: Cell::new(None),
            draining: Cell::new(false),
            succeeded,
            drained,
            snapshot: RefCell::new(Cache::new(snapshot)),
            viewer,
            view,
        };
        (Rc::new(worker), Own { probes, orders, phase })
    }

    /// What an entry serves now.
    pub(crate) fn service(&self, entry: &Entry) -> Option<Rc<ServiceView>> {
        self.refresh();
        entry.view()
    }

    /// The TLS of an entry for a new client that comes over QUIC; `None` when there is none to be had. One that `is_left` to
    /// this process by its successor is served also in a drain.
    pub(crate) fn crypto(&self, entry: &Entry, is_left: bool) -> Option<Crypto> {
        if entry.is_leaving() || (self.is_draining() && !is_left) {
            return None;
        }
        self.service(entry)?.tls().and_then(TlsServer::quic)
    }

    /// The way of probes to a backend at this address.
    pub(crate) fn way_of_probes(&self, backend: &BackendId, address: SocketAddr) -> Option<Upstream> {
        self.snapshot.borrow_mut().load().probed.get(&(backend.clone(), address)).cloned()
    }

    /// Takes over a newer snapshot. Costs one load when there is none.
    fn refresh(&self) {
        let mut cache = self.snapshot.borrow_mut();
        let snapshot = cache.load();
        if self.view.borrow().is_of(snapshot) {
            return;
        }
        let view = self.viewer.view(snapshot);
        self.recorder.follow(view.access_log());
        self.entries.borrow().iter().for_each(|entry| entry.follow(&view));
        self.view.replace(view);
        self.viewer.sweep(|_| {});
        self.forget_counters();
    }

    /// Drops what was counted of services and backends that are no more.
    fn forget_counters(&self) {
        let (view, entries) = (self.view.borrow(), self.entries.borrow());
        let is_listened_for = |name: &_| {
            entries.iter().filter_map(|entry| entry.listener()).any(|listener| listener.service == *name)
        };
        self.counters.keep_services(|name| view.service(name).is_some() || is_listened_for(name));
        self.counters.keep_backends(|id| view.has_backend(id) || self.viewer.uses(id));
    }

    /// A new entry, which connections come in at from now on.
    pub(crate) fn enter(&self, listener: Listener) -> Rc<Entry> {
        let counters = self.counters.service(&listener.service);
        let entry = Entry::of_clients(listener, counters);
        entry.follow(&self.view.borrow());
        self.entries.borrow_mut().push(entry.clone());
        entry
    }

    /// The connections of an entry end as when the data plane drains, by `deadline` whatever is under way.
    pub(crate) fn dismiss(&self, entry: &Rc<Entry>, deadline: Deadline) {
        if !entry.is_leaving() {
            entry.leave();
            self.leaving.borrow_mut().push((entry.clone(), deadline));
            self.timers.wake_all();
        }
    }

    /// Ends what should have ended by now, and forgets entries that have nothing left.
    fn cut_short(&self) {
        let mut was_cut = self.viewer.cut_short(&self.timers);
        let mut leaving = self.leaving.borrow_mut();
        let before = leaving.len();
        leaving.retain(|(entry, deadline)| {
            let is_over = self.timers.is_past(*deadline);
            if is_over {
                entry.cut();
                was_cut = true;
            }
            // Else only the two lists here know of it.
            !is_over && Rc::strong_count(entry) > 2
        });
        if leaving.len() < before {
            let leaves = |entry: &Rc<Entry>| leaving.iter().any(|(left, _)| Rc::ptr_eq(left, entry));
            self.entries.borrow_mut().retain(|entry| !entry.is_leaving() || leaves(entry));
            self.forget_counters();
        }
        if was_cut {
            self.timers.wake_all();
        }
    }

    /// Whether connections that came in at `place` are open.
    pub(crate) fn has_connections(&self, place: Place) -> bool {
        let is_there = |entry: &Rc<Entry>| entry.listener().is_some_and(|it| Place::of(it) == place);
        self.entries.borrow().iter().any(|entry| is_there(entry) && !entry.is_empty())
    }

    /// Where HTTPS is listened for, clients are told of HTTP/3 for the same service at the same address.
    pub(crate) fn note_http3(&self, listeners: &[Listener]) {
        let http3: HashMap<_, _> = listeners
            .iter()
            .filter(|listener| listener.protocol == Protocol::Http3)
            .map(|listener| (listener.address, &listener.service))
            .collect();
        for entry in self.entries.borrow().iter().filter(|entry| !entry.is_leaving()) {
            let Some(Listener { service, address, protocol: Protocol::Https }) = entry.listener() else {
                continue;
            };
            let is_beside = http3.get(address).is_some_and(|beside| *beside == service);
            entry.set_http3(is_beside.then(|| address.port()));
        }
    }

    /// Counts one more connection of a client of `entry`, if it is held to a number.
    ///
    /// # Errors
    /// When it has as many as it may have, which is counted.
    pub(crate) fn count(&self, entry: &Entry, client: IpAddr) -> Result<Option<Counted>, TooMany> {
        self.refresh();
        let view = self.view.borrow();
        let Some(limit) = &view.limits().connections_per_ip else { return Ok(None) };
        self.census.count(limit, client).inspect_err(|TooMany| note_crowded(entry, client))
    }

    /// Whether [`Worker::count`] would fail; that is counted.
    pub(crate) fn is_full(&self, entry: &Entry, client: IpAddr) -> bool {
        self.refresh();
        let view = self.view.borrow();
        let is_full = |limit: &ConnectionsPerIp| self.census.is_full(limit, client);
        let is_full = view.limits().connections_per_ip.as_ref().is_some_and(is_full);
        if is_full {
            note_crowded(entry, client);
        }
        is_full
    }

    /// The line in the access log of a request, or connection, that begins now.
    pub(crate) fn access(
        &self,
        entry: &Entry,
        client: SocketAddr,
        protocol: &'static str,
        tls: Option<Tls>,
    ) -> Access {
        self.refresh();
        match entry.listener() {
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
    pub(crate) fn admit(&self, over: Over) -> Option<Seat> {
        let seat = self.find(|account| account.client(over))?;
        self.make_room();
        Some(seat)
    }

    /// The same, if nobody has to give up theirs.
    pub(crate) fn admit_if_free(&self, over: Over) -> Option<Seat> {
        self.descriptors.client(over)
    }

    /// A place for the backend of one more stream of a client, if there is one.
    pub(crate) fn admit_stream(&self) -> Option<Lease> {
        self.find(Descriptors::stream)
    }

    /// Whether a client that has rested has a place for the backend of what it asks for now. Waits only for those that were sent away
    /// for it and others.
    pub(crate) async fn resume(&self, seat: &Seat) -> bool {
        for _ in 0..LEAVE_TURNS {
            if self.find(|_| seat.resume().then_some(())).is_some() {
                return true;
            }
            if !self.descriptors.is_clearing() {
                return false;
            }
            tokio::task::yield_now().await;
        }
        false
    }

    /// A place, for which others give up theirs if need be: first pipes that nobody uses, then clients at rest.
    fn find<T>(&self, place: impl Fn(&Rc<Descriptors>) -> Option<T>) -> Option<T> {
        loop {
            match place(&self.descriptors) {
                None if self.pipes.close_one() => {}
                None if self.descriptors.send_one_away() => self.tell_sent_away(),
                found => return found,
            }
        }
    }

    /// Waits until those that were sent away for others have left, if there are as many as may be at once. They are awake, and
    /// one that does not leave at its next turn is not waited for.
    pub(crate) async fn clear(&self) {
        for _ in 0..LEAVE_TURNS {
            if !self.descriptors.is_clearing() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// A place for telling one more client that there is none for it.
    pub(crate) fn refusal(&self) -> Option<Lease> {
        self.descriptors.refusal()
    }

    /// What is said of this hop, for a client of `entry` that speaks `version` and has shown `certificates`.
    pub(crate) fn hop(
        &self,
        entry: &Entry,
        client: IpAddr,
        scheme: &str,
        version: &str,
        certificates: &[CertificateDer<'_>],
    ) -> Hop {
        let hop = Hop::of_version(self.config.pop.as_str(), client, scheme, version);
        let service = if certificates.is_empty() { None } else { self.service(entry) };
        let hop = match service.as_ref().and_then(|service| service.tls()) {
            Some(tls) => tls.hop(hop, certificates),
            None => hop,
        };
        match entry.http3() {
            Some(port) => hop.with_http3_at(port),
            None => hop,
        }
    }

    /// To be called before another connection to a backend is opened.
    pub(crate) fn make_room(&self) {
        self.viewer.make_room();
    }

    pub(crate) fn tell_shed(&self, entry: &Entry) {
        if is_due(&self.shed_told_at) {
            tracing::warn!(address = %entry, "more clients than file descriptors: clients are turned away; raise LimitNOFILE");
        }
    }

    fn tell_sent_away(&self) {
        if is_due(&self.sent_away_told_at) {
            tracing::warn!(
                "more clients than file descriptors: connections at rest are closed for others; raise LimitNOFILE"
            );
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Whether another data plane takes the clients of this one, which it may wait for then.
    pub(crate) fn is_succeeded(&self) -> bool {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// Whether clients of `entry` do better with a new connection, or elsewhere.
    pub(crate) fn has_to_leave(&self, entry: &Entry) -> bool {
        self.is_draining() || entry.is_leaving()
    }

    fn begin_drain(&self) {
        self.draining.set(true);
        self.viewer.sweep(Backend::forget_idle);
        self.timers.wake_all();
    }

    fn note_shut(&self) {
        let is_over = self.counters.open.read() == 0;
        let reached = if is_over { Drained::Over } else { Drained::Shut };
        self.drained.send_if_modified(|drained| std::mem::replace(drained, reached.max(*drained)) < reached);
    }

    fn sweep(&self) {
        self.retries.next_second();
        self.refresh();
        self.viewer.sweep(|backend| backend.sweep(&self.timers));
    }
}

/// Whether word in the log is due again; from now on it is not, for a while.
fn is_due(told_at: &Cell<Option<Instant>>) -> bool {
    let now = Instant::now();
    let is_due = told_at.get().is_none_or(|told| now >= told + SHED_TOLD_EVERY);
    if is_due {
        told_at.set(Some(now));
    }
    is_due
}

fn note_crowded(entry: &Entry, client: IpAddr) {
    entry.counters.crowded.add(1);
    tracing::debug!(%client, listener = %entry, "client refused: its address has too many connections");
}
