//! The data plane as the daemon sees it: start, look at, drain, stop.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use arc_swap::ArcSwap;
use proxima_types::{PopName, ServiceName};
use tokio::sync::{mpsc as channel, watch};

use crate::{
    Displaced, Distress, ProbeEntrance, Served, Snapshot, Stats, TrafficReader, Upstream,
    limits::Census,
    listener::{self, BindError},
    quic::{self, ConnectionIds, ConnectionIdsError, Port, PortError},
    stats::WorkerCounters,
    worker::{self, Phase, Socket, Start},
};

/// What the data plane is started with.
#[derive(Debug, Clone)]
pub struct DataPlaneConfig {
    /// How many worker threads.
    pub workers: NonZeroUsize,
    /// Where they listen.
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
    /// How many file descriptors clients and connections to backends may take, all workers together; clients beyond
    /// are turned away. `None`: as many as the process gets.
    ///
    /// Every worker has its share, and goes beyond it by one descriptor for a moment.
    pub max_descriptors: Option<usize>,
    /// The connection IDs of HTTP/3. `None`: of this process alone, with a key that nobody else knows.
    pub connection_ids: Option<Arc<ConnectionIds>>,
    /// The backends that probes may reach [through](DataPlane::entrance) the workers: upstreams of one candidate each, and of a
    /// backend each. What they are probed with counts for no service and no backend.
    pub probed: Vec<Upstream>,
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
            probed: Vec::new(),
        }
    }
}

impl DataPlaneConfig {
    /// The port of HTTP/3 at the address of `listener`, if that speaks HTTPS and the same service is there.
    pub(crate) fn http3_beside(&self, listener: usize) -> Option<u16> {
        let Listener { service, address, protocol } = self.listeners.get(listener)?;
        let beside = |other: &&Listener| {
            other.protocol == Protocol::Http3 && other.service == *service && other.address == *address
        };
        let is_https = *protocol == Protocol::Https;
        is_https.then(|| self.listeners.iter().find(beside))?.map(|other| other.address.port())
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

/// Why the data plane did not start. Nothing of it is left then.
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
    /// A worker thread or its runtime could not be made.
    #[error("worker {worker} does not start: {error}; look at the limits of processes and open files")]
    Worker {
        /// Its number.
        worker: usize,
        /// What the system said.
        error: std::io::Error,
    },
}

impl StartError {
    fn of_port(service: &ServiceName, error: PortError) -> Self {
        let service = service.clone();
        match error {
            PortError::Bind(error) => Self::Bind { service, error },
            PortError::Ids(error) => Self::Quic { service, error },
        }
    }
}

fn private_ids(service: &ServiceName) -> Result<Arc<ConnectionIds>, StartError> {
    let failed = |error| StartError::Quic { service: service.clone(), error };
    ConnectionIds::private().map(Arc::new).map_err(failed)
}

/// A running data plane. Dropping it stops it at once.
#[derive(Debug)]
pub struct DataPlane {
    phase: watch::Sender<Phase>,
    workers: Vec<Worker>,
    listeners: Vec<Listener>,
    /// What became of datagrams, by listener and worker.
    datagrams: Vec<Arc<quic::Counters>>,
    entrance: ProbeEntrance,
    /// Disconnected when every worker's thread has ended.
    ended: Mutex<mpsc::Receiver<Infallible>>,
}

/// How long a stop waits for workers that are stuck.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Worker {
    counters: Arc<WorkerCounters>,
    /// True when it is draining and its last connection has ended.
    drained: watch::Receiver<bool>,
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
    /// When an address can't be listened on or a thread can't be made.
    pub fn start(config: DataPlaneConfig, snapshot: &Arc<ArcSwap<Snapshot>>) -> Result<Self, StartError> {
        let workers = config.workers.get();
        let mut sockets: Vec<Vec<Socket>> = (0..workers).map(|_| Vec::new()).collect();
        let mut ports: Vec<Vec<(usize, Port)>> = (0..workers).map(|_| Vec::new()).collect();
        let mut datagrams = Vec::new();
        let mut ids = config.connection_ids.clone();
        let mut listeners = config.listeners.clone();
        for (index, listener) in listeners.iter_mut().enumerate() {
            let service = &listener.service;
            if listener.protocol == Protocol::Http3 {
                let ids = match &ids {
                    Some(ids) => ids,
                    None => ids.insert(private_ids(service)?),
                };
                let (address, bound) = quic::bind(listener.address, workers, ids)
                    .map_err(|error| StartError::of_port(service, error))?;
                listener.address = address;
                datagrams.extend(bound.iter().map(Port::counters));
                for (own, port) in ports.iter_mut().zip(bound) {
                    own.push((index, port));
                }
                continue;
            }
            let (address, bound) = listener::bind(listener.address, workers)
                .map_err(|error| StartError::Bind { service: service.clone(), error })?;
            listener.address = address;
            for (own, socket) in sockets.iter_mut().zip(bound) {
                own.push(Socket { listener: index, socket });
            }
        }
        let (entrance, inlets) = ProbeEntrance::open(&config.probed, workers).map_err(StartError::Probes)?;
        let mut inlets = inlets.into_iter();
        let config = Arc::new(config);
        let (phase, _) = watch::channel(Phase::Serving);
        // Built up in place: should a worker fail, dropping it stops the others.
        let (alive, ended) = mpsc::channel();
        let ended = Mutex::new(ended);
        let census = Census::new();
        let workers = Vec::with_capacity(workers);
        let mut plane = Self { phase, workers, listeners, datagrams, entrance, ended };
        // Dropped before the plane, whose own drop waits for it.
        let alive = alive;
        for (number, (sockets, ports)) in sockets.into_iter().zip(ports).enumerate() {
            let failed = |error| StartError::Worker { worker: number, error };
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
            let counters = Arc::<WorkerCounters>::default();
            let (drained_sender, drained) = watch::channel(false);
            let start = Start {
                number,
                sockets,
                ports,
                probes: inlets.next(),
                config: config.clone(),
                snapshot: snapshot.clone(),
                counters: counters.clone(),
                census: census.clone(),
                phase: plane.phase.subscribe(),
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
            plane.workers.push(Worker { counters, drained, thread: Some(thread) });
        }
        Ok(plane)
    }

    /// Where it listens, with the ports the kernel chose.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Where probes enter, on their way through the workers to [backends of theirs](DataPlaneConfig::probed).
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
        self.datagrams.iter().for_each(|counters| counters.add_to(&mut sum.quic));
        sum
    }

    /// What each service has done for its clients so far, for objectives: cheap enough for every second.
    pub fn served(&self) -> BTreeMap<ServiceName, Served> {
        let mut sum = Stats::default();
        self.workers.iter().for_each(|worker| worker.counters.add_services_to(&mut sum));
        let protocols: BTreeMap<_, _> =
            self.listeners.iter().map(|listener| (&listener.service, listener.protocol)).collect();
        let served =
            |(name, protocol): (&ServiceName, Protocol)| (name.clone(), Served::of(name, protocol, &sum));
        protocols.into_iter().map(served).collect()
    }

    /// Reads what real traffic meets on the backends, from now on.
    pub fn traffic(&self) -> TrafficReader {
        TrafficReader::new(self.workers.iter().map(|worker| worker.counters.clone()))
    }

    /// Stops listening, lets the exchanges under way end and tells their clients to come back on another
    /// connection; waits for that for `deadline` at most. Returns how many connections are still open.
    ///
    /// Connections the kernel has already completed are still taken before the listeners close.
    pub async fn drain(&self, deadline: Duration) -> u64 {
        self.phase.send_if_modified(|phase| {
            let begins = *phase == Phase::Serving;
            *phase = (*phase).max(Phase::Draining);
            begins
        });
        let all_drained = async {
            for worker in &self.workers {
                let mut drained = worker.drained.clone();
                // An error means that the worker is gone, and its connections with it.
                let _ = drained.wait_for(|drained| *drained).await;
            }
        };
        let _ = tokio::time::timeout(deadline, all_drained).await;
        self.workers.iter().map(|worker| worker.counters.open.read()).sum()
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
