//! The data plane as the daemon sees it: start, look at, drain, stop.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use arc_swap::ArcSwap;
use proxima_types::{PopName, ServiceName};
use tokio::sync::{mpsc as channel, watch};

use crate::{
    Displaced, Distress, Inheritance, Prepared, ProbeEntrance, Served, Snapshot, Stats, Taking,
    TrafficReader,
    inheritance::Holdings,
    limits::Census,
    listener::BindError,
    listening::{Listening, Reconfigure},
    quic::{ConnectionIds, ConnectionIdsError},
    stats::WorkerCounters,
    worker::{self, Drained, Phase, Start},
};

/// Orders that may wait for a worker. One that is stuck for so many reloads gets no more.
const ORDERS: usize = 16;

/// What the data plane is started with.
#[derive(Debug)]
pub struct DataPlaneConfig {
    /// How many worker threads.
    pub workers: NonZeroUsize,
    /// Where they listen at first.
    pub listeners: Vec<Listener>,
    /// Names this proxy in `Via`, `Forwarded` and `Proxy-Status`.
    pub pop: PopName,
    /// How long a client may take for a request's head, from its first byte.
    pub header_timeout: Duration,
    /// How long a client's connection may rest between two requests, and before the first.
    pub keep_alive: Duration,
    /// Clients that would reach another PoP sooner with a new connection.
    pub displaced: Displaced,
    /// Who hears at once that a backend refuses, resets or cuts real traffic. Words that find no room are dropped: the
    /// [counters](DataPlane::traffic) tell the same.
    pub distress: Option<channel::Sender<Distress>>,
    /// How many file descriptors clients and connections to backends may take, all workers together; clients at rest
    /// make room for others, and who comes beyond that is turned away. `None`: as many as the process gets.
    ///
    /// Every worker has its share, and goes beyond it by one descriptor for a moment.
    pub max_descriptors: Option<usize>,
    /// The connection IDs of HTTP/3. `None`: of this process alone, with a key that nobody else knows.
    pub connection_ids: Option<Arc<ConnectionIds>>,
    /// What the data plane before this one on the same host has left to it. Its sockets serve listeners at their places, whatever the
    /// service and protocol there; those of other places are closed by the first [`reconfigure`](DataPlane::reconfigure), or at once if there are
    /// `listeners`. Nothing is accepted or read before.
    pub inherited: Option<Inheritance>,
}

impl DataPlaneConfig {
    /// The usual deadlines, 15 s for a head and 75 s between requests, and no limit of descriptors; nobody hears of distress.
    pub fn new(workers: NonZeroUsize, listeners: Vec<Listener>, pop: PopName) -> Self {
        let (header_timeout, keep_alive) = (Duration::from_secs(15), Duration::from_secs(75));
        let displaced = Displaced::default();
        Self {
            workers,
            listeners,
            pop,
            header_timeout,
            keep_alive,
            displaced,
            distress: None,
            max_descriptors: None,
            connection_ids: None,
            inherited: None,
        }
    }
}

/// A service's place to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The service, by its name in the snapshot.
    pub service: ServiceName,
    /// The address; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// What is spoken.
    pub protocol: Protocol,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Bytes, relayed as they are.
    Tcp,
    /// HTTP/3, over QUIC.
    Http3,
    /// HTTP/1.1, or HTTP/2 with prior knowledge (RFC 9113 §3.3).
    Http,
    /// HTTP/1.1 over TLS.
    Https,
}

/// Why the data plane did not start, or can't listen as it should. Nothing of what was begun is left then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address can't be listened on.
    #[error("service `{service}`: {error}")]
    Bind {
        /// The service.
        service: ServiceName,
        /// Why.
        error: BindError,
    },
    /// HTTP/3 can't be served.
    #[error("service `{service}`, HTTP/3: {error}")]
    Quic {
        /// The service.
        service: ServiceName,
        /// Why.
        error: ConnectionIdsError,
    },
    /// The way of probes through the workers can't be opened.
    #[error("probes `via = \"service\"`: {0}")]
    Probes(BindError),
    /// The data plane before this one had sockets for another number of workers.
    #[error(
        "the running proximad has {inherited} workers, this one is to have {wanted}: connections in the sockets of the others would \
         be lost; keep `workers` as it is, or restart instead of upgrading"
    )]
    Workers {
        /// The predecessor's.
        inherited: usize,
        /// As configured.
        wanted: usize,
    },
    /// The connections of the data plane before this one could not be told from others.
    #[error("HTTP/3: {0}")]
    ConnectionIds(ConnectionIdsError),
    /// A worker thread or its runtime could not be made.
    #[error("worker {worker} does not start: {error}; look at the limits of processes and open files")]
    Worker {
        /// Its number.
        worker: usize,
        /// What the system said.
        error: io::Error,
    },
}

/// What there is to listen on at first: what is inherited, if anything is.
fn listening(config: &mut DataPlaneConfig) -> Result<Listening, StartError> {
    let (workers, configured) = (config.workers.get(), config.connection_ids.clone());
    let Some(Inheritance { workers: inherited, holdings, lineage, tickets: _ }) = config.inherited.take()
    else {
        return Ok(Listening::new(workers, configured, Holdings::new()));
    };
    if inherited != workers {
        return Err(StartError::Workers { inherited, wanted: workers });
    }
    let ids = match lineage {
        None => configured,
        Some(lineage) => {
            let ids = ConnectionIds::succeeding(configured.as_deref(), &lineage);
            Some(Arc::new(ids.map_err(StartError::ConnectionIds)?))
        }
    };
    Ok(Listening::new(workers, ids, holdings))
}

/// A running data plane. Dropping it stops it at once.
#[derive(Debug)]
pub struct DataPlane {
    phase: watch::Sender<Phase>,
    workers: Vec<Worker>,
    /// Of whoever changes it, and of readers of counters; no worker knows of it.
    listening: Mutex<Listening>,
    entrance: ProbeEntrance,
    /// Another one serves in its place.
    succeeded: Arc<AtomicBool>,
    /// Disconnected when every worker's thread has ended.
    ended: Mutex<mpsc::Receiver<Infallible>>,
}

/// How long a stop waits for workers that are stuck.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Worker {
    counters: Arc<WorkerCounters>,
    orders: channel::Sender<Reconfigure>,
    drained: watch::Receiver<Drained>,
    thread: Option<JoinHandle<()>>,
}

/// Counts the beats of the workers: each grows about 20 times a second while its worker is alive and not stuck.
#[derive(Debug, Clone)]
pub struct Beats(Vec<Arc<WorkerCounters>>);

impl Beats {
    /// The beats so far, by worker.
    pub fn read(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().map(|counters| counters.beats.read())
    }
}

impl DataPlane {
    /// Listens everywhere, starts the workers, and serves what `snapshot` holds at the time of each request.
    ///
    /// # Errors
    /// When an address can't be listened on, a thread can't be made, or what is inherited is of another number of workers.
    pub fn start(mut config: DataPlaneConfig, snapshot: &Arc<ArcSwap<Snapshot>>) -> Result<Self, StartError> {
        let count = config.workers.get();
        let mut listening = listening(&mut config)?;
        let prepared = listening.prepare(config.listeners.clone())?;
        let (entrance, inlets) =
            ProbeEntrance::open(Arc::clone(snapshot), count).map_err(StartError::Probes)?;
        let max_descriptors = config.max_descriptors;
        let config = Arc::new(config);
        let (phase, _) = watch::channel(Phase::Serving);
        // Built up in place: should a worker fail, dropping it stops the others.
        let (alive, ended) = mpsc::channel();
        let (ended, listening) = (Mutex::new(ended), Mutex::new(listening));
        let census = Census::new();
        let (workers, succeeded) = (Vec::with_capacity(count), Arc::default());
        let mut plane = Self { phase, workers, listening, entrance, succeeded, ended };
        // Dropped before the plane, whose own drop waits for it.
        let alive = alive;
        for (number, probes) in inlets.into_iter().enumerate() {
            let failed = |error| StartError::Worker { worker: number, error };
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
            let counters = Arc::<WorkerCounters>::default();
            let (drained_sender, drained) = watch::channel(Drained::Not);
            let (orders, ordered) = channel::channel(ORDERS);
            let start = Start {
                number,
                config: config.clone(),
                snapshot: snapshot.clone(),
                counters: counters.clone(),
                census: census.clone(),
                probes,
                orders: ordered,
                phase: plane.phase.subscribe(),
                succeeded: plane.succeeded.clone(),
                drained: drained_sender,
            };
            let alive = alive.clone();
            let thread = thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    let _alive = alive;
                    worker::run(&runtime, start);
                })
                .map_err(failed)?;
            plane.workers.push(Worker { counters, orders, drained, thread: Some(thread) });
        }
        if prepared.listeners.is_empty() {
            plane.order(prepared, max_descriptors, Duration::ZERO);
        } else {
            plane.reconfigure(prepared, max_descriptors, Duration::ZERO);
        }
        Ok(plane)
    }

    /// Gets the sockets for what is new of `listeners`, which are all there shall be. Changes nothing else yet.
    ///
    /// # Errors
    /// When an address can't be listened on.
    pub fn prepare(&self, listeners: Vec<Listener>) -> Result<Prepared, StartError> {
        self.lock().prepare(listeners)
    }

    /// Listens on what was prepared, and on nothing else, from now on. To be called right after the snapshot for it was stored;
    /// `max_descriptors` is as in [`DataPlaneConfig`].
    ///
    /// Listeners that are the same as before are not touched. What comes to an address that has another service or protocol now
    /// is served by that from the next connection on. The others take no more connections. Those whose listener is no more end
    /// as in a [drain](Self::drain), within `drain`.
    pub fn reconfigure(&self, prepared: Prepared, max_descriptors: Option<usize>, drain: Duration) -> Taking {
        let taking = self.order(prepared, max_descriptors, drain);
        self.lock().disclaim();
        taking
    }

    fn order(&self, prepared: Prepared, max_descriptors: Option<usize>, drain: Duration) -> Taking {
        let (listeners, sockets) = self.lock().take(prepared);
        let descriptors = max_descriptors.map_or(usize::MAX, |total| total / self.workers.len());
        let (done, taking) = Taking::new();
        for (worker, sockets) in self.workers.iter().zip(sockets) {
            let (listeners, done) = (Arc::clone(&listeners), done.clone());
            let order = Reconfigure { listeners, sockets, descriptors, drain, done };
            if worker.orders.try_send(order).is_err() {
                // The control thread ends the process when a worker stays like that.
                tracing::error!("a worker is stuck or gone, and does not take over what changed");
            }
        }
        taking
    }

    fn lock(&self) -> MutexGuard<'_, Listening> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it listens, with the ports the kernel chose.
    pub fn listeners(&self) -> Vec<Listener> {
        self.lock().listeners().to_vec()
    }

    /// Where probes enter, on their way through the workers to [backends of theirs](Snapshot::probed).
    pub fn entrance(&self) -> ProbeEntrance {
        self.entrance.clone()
    }

    /// A handle to watch the workers with.
    pub fn beats(&self) -> Beats {
        Beats(self.workers.iter().map(|worker| worker.counters.clone()).collect())
    }

    /// Whether a worker has ended although nobody stopped it: it has panicked, and its listeners are gone.
    pub fn has_lost_a_worker(&self) -> bool {
        self.workers.iter().filter_map(|worker| worker.thread.as_ref()).any(JoinHandle::is_finished)
    }

    /// The counters of all workers, added up.
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        self.workers.iter().for_each(|worker| worker.counters.add_to(&mut sum));
        self.lock().add_to(&mut sum.quic);
        sum
    }

    /// What each service has done for its clients so far, for objectives: cheap enough for every second.
    pub fn served(&self) -> BTreeMap<ServiceName, Served> {
        let mut sum = Stats::default();
        self.workers.iter().for_each(|worker| worker.counters.add_services_to(&mut sum));
        let listening = self.lock();
        let protocols: BTreeMap<_, _> =
            listening.listeners().iter().map(|listener| (&listener.service, listener.protocol)).collect();
        let served =
            |(name, protocol): (&ServiceName, Protocol)| (name.clone(), Served::of(name, protocol, &sum));
        protocols.into_iter().map(served).collect()
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Reads what real traffic meets on the backends, from now on.
    pub fn traffic(&self) -> TrafficReader {
        TrafficReader::new(self.workers.iter().map(|worker| worker.counters.clone()))
    }

    /// Its sockets for a successor on the same host: other descriptors of the same sockets. Changes nothing, and may be asked for again;
    /// what was bequeathed before is worth nothing then. Sockets of listeners that are gone and still have connections are not
    /// among them. To be called before [`drain`](Self::drain), and with no change of listeners from then until the successor serves.
    ///
    /// # Errors
    /// When there are no descriptors left, or eight data planes before this one still have connections of HTTP/3.
    pub fn bequeath(&self) -> io::Result<Inheritance> {
        self.succeeded.store(false, Ordering::Relaxed);
        self.lock().bequeath()
    }

    /// A successor that has what was bequeathed last serves from now on: datagrams are its to read, and come from it as far as they are of
    /// connections here. Where it does not listen, or if it ends before this one, they are read here again; then a new
    /// succession may begin, or all go on as before. Best called just before the successor's [`reconfigure`](Self::reconfigure): while both
    /// read, what one has of the other's new connections is lost and comes again. To be followed by [`drain`](Self::drain).
    ///
    /// That drain is in no hurry: connections of HTTP/1.1 that have not rested for five seconds may bring one more request, whose
    /// response closes them.
    pub fn succeeded(&self) {
        self.succeeded.store(true, Ordering::Relaxed);
        self.lock().succeeded();
    }

    /// Stops listening, lets the exchanges under way end and tells their clients to come back on another
    /// connection; waits for that for `deadline` at most. Returns how many connections are still open.
    ///
    /// Connections the kernel has already completed are still taken before the listeners close.
    pub async fn drain(&self, deadline: Duration) -> u64 {
        self.drain_to(Drained::Over, deadline).await;
        self.workers.iter().map(|worker| worker.counters.open.read()).sum()
    }

    /// Begins a [drain](Self::drain), and returns when no worker takes connections any more; at most two seconds later, where
    /// one is stuck.
    pub async fn stop_listening(&self) {
        self.drain_to(Drained::Shut, PATIENCE).await;
    }

    async fn drain_to(&self, wanted: Drained, deadline: Duration) {
        self.lock().let_go();
        self.phase.send_if_modified(|phase| {
            let begins = *phase == Phase::Serving;
            *phase = (*phase).max(Phase::Draining);
            begins
        });
        let all_drained = async {
            for worker in &self.workers {
                let mut drained = worker.drained.clone();
                // An error means that the worker is gone, and its connections with it.
                let _ = drained.wait_for(|drained| *drained >= wanted).await;
            }
        };
        let _ = tokio::time::timeout(deadline, all_drained).await;
    }

    /// Closes every connection and ends the workers. Takes no longer than what each of them is doing right now, and at
    /// most two seconds.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Stopped);
        // Each worker holds a sender until its thread ends.
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("a worker is stuck and is left behind");
            return;
        }
        for worker in &mut self.workers {
            if let Some(Err(_)) = worker.thread.take().map(JoinHandle::join) {
                tracing::error!("a worker thread had panicked");
            }
        }
    }
}
