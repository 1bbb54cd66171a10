//! The sockets of all listeners: had by the data plane, handed to the workers, and given up.
//!
//! ```text
//! DataPlane::prepare ─▶ Prepared: sockets for the addresses that are new; nothing else is touched
//!                          │ dropped: they close again
//!                          ▼
//! DataPlane::reconfigure ─▶ an order for each worker ─▶ Taking: until every worker has taken it over
//! ```
//!
//! What a worker has of a socket is its own. A second descriptor of each stays here, for a successor ([`crate::inheritance`]); it is let go before
//! the worker is to close its own, so that the socket closes then.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use proxima_types::ServiceName;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{
    Inheritance, Listener, Protocol, QuicStats, StartError,
    inheritance::{Holding, Holdings, Lanes, duplicates},
    listener::{self, BindError},
    quic::{self, ConnectionIds, ConnectionIdsError, Counters, Heir, LaneEnd, Port, Predecessor, lane},
};

/// How long a reload waits for workers that are stuck.
const PATIENCE: Duration = Duration::from_secs(2);

/// How datagrams and connections get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// What a socket is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
}

impl Place {
    pub(crate) fn of(listener: &Listener) -> Self {
        let transport = match listener.protocol {
            Protocol::Tcp | Protocol::Http | Protocol::Https => Transport::Tcp,
            Protocol::Http3 => Transport::Udp,
        };
        Self { address: listener.address, transport }
    }
}

/// A worker's socket of a place.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(std::net::TcpListener),
    Quic(Port),
}

/// A worker's sockets of some places.
pub(crate) type Sockets = Vec<(Place, Socket)>;

/// Dropped when what it was given for is done.
pub(crate) type Done = mpsc::Sender<Infallible>;

/// What a worker listens on from now on.
#[derive(Debug)]
pub(crate) struct Reconfigure {
    /// All there is.
    pub(crate) listeners: Arc<[Listener]>,
    /// For those of them that are at a place where nothing was.
    pub(crate) sockets: Sockets,
    /// How many descriptors the worker may take.
    pub(crate) descriptors: usize,
    /// How long connections of listeners that are gone may go on.
    pub(crate) drain: Duration,
    /// Dropped when no socket takes connections any more that should not.
    pub(crate) done: Done,
}

/// Listeners that can be had, with the sockets for those that are new. Dropped, it has changed nothing.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) listeners: Vec<Listener>,
    /// By worker.
    pub(crate) sockets: Vec<Sockets>,
    /// A second descriptor of each that is not inherited.
    kept: Holdings,
    datagrams: Vec<(Place, Vec<Arc<Counters>>)>,
    heirs: Vec<(Place, Vec<Heir>)>,
}

/// Ready when every worker has taken over what it was ordered.
#[derive(Debug)]
pub struct Taking(mpsc::Receiver<Infallible>);

impl Taking {
    /// From the first, the sender goes with the orders.
    pub(crate) fn new() -> (Done, Self) {
        let (done, all_done) = mpsc::channel(1);
        (done, Self(all_done))
    }

    /// Waits for it; false when a worker is stuck.
    pub async fn over(mut self) -> bool {
        tokio::time::timeout(PATIENCE, self.0.recv()).await.is_ok()
    }
}

/// How many processes may drain at the same time, each of which needs a lane for each socket of QUIC.
const PREDECESSORS: usize = 8;

/// What is listened on, over all workers.
#[derive(Debug)]
pub(crate) struct Listening {
    workers: usize,
    ids: Option<Arc<ConnectionIds>>,
    listeners: Vec<Listener>,
    /// A second descriptor of each socket, and lanes to predecessors.
    kept: Holdings,
    /// What a predecessor has left and nobody has asked for yet.
    inherited: Holdings,
    /// By place and worker.
    heirs: HashMap<Place, Vec<Heir>>,
    /// The ends of lanes that a successor has, which has not begun; by place and worker.
    promised: Vec<(Place, Vec<LaneEnd>)>,
    /// What becomes of datagrams, by place and worker. Those of a place that is given up stay until its sockets are closed.
    datagrams: HashMap<Place, Vec<Arc<Counters>>>,
    /// What became of datagrams at places that are no more.
    past: QuicStats,
}

impl Listening {
    pub(crate) fn new(workers: usize, ids: Option<Arc<ConnectionIds>>, inherited: Holdings) -> Self {
        Self {
            workers,
            ids,
            listeners: Vec::new(),
            kept: Holdings::new(),
            inherited,
            heirs: HashMap::new(),
            promised: Vec::new(),
            datagrams: HashMap::new(),
            past: QuicStats::default(),
        }
    }

    /// With the ports the kernel chose.
    pub(crate) fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    pub(crate) fn add_to(&self, sum: &mut QuicStats) {
        sum.add(&self.past);
        self.datagrams.values().flatten().for_each(|counters| counters.add_to(sum));
    }

    /// Sockets for what is new of `listeners`.
    ///
    /// # Errors
    /// When one can't be had; then none is.
    pub(crate) fn prepare(&mut self, mut listeners: Vec<Listener>) -> Result<Prepared, StartError> {
        self.forget();
        let present: HashSet<Place> = self.listeners.iter().map(Place::of).collect();
        let mut sockets: Vec<Sockets> = (0..self.workers).map(|_| Vec::new()).collect();
        let (mut kept, mut datagrams, mut heirs) = (Holdings::new(), Vec::new(), Vec::new());
        for listener in &mut listeners {
            if present.contains(&Place::of(listener)) {
                continue;
            }
            let (address, own) = self.sockets(listener)?;
            listener.address = address;
            let place = Place::of(listener);
            if !self.inherited.contains_key(&place) {
                let seconds = duplicates(&own).map_err(no_second(listener))?;
                kept.insert(place, Holding { sockets: seconds, lanes: Vec::new() });
            }
            let own: Vec<Socket> = match place.transport {
                Transport::Tcp => own.into_iter().map(|socket| Socket::Tcp(socket.into())).collect(),
                Transport::Udp => {
                    let mut ports = self.ports(listener, own)?;
                    datagrams.push((place, ports.iter().map(Port::counters).collect()));
                    heirs.push((place, ports.iter_mut().map(Port::heir).collect()));
                    ports.into_iter().map(Socket::Quic).collect()
                }
            };
            for (sockets, socket) in sockets.iter_mut().zip(own) {
                sockets.push((place, socket));
            }
        }
        Ok(Prepared { listeners, sockets, kept, datagrams, heirs })
    }

    /// The sockets of a place, inherited or new, and where that is.
    fn sockets(&self, listener: &Listener) -> Result<(SocketAddr, Vec<OwnedFd>), StartError> {
        let Listener { service, address, .. } = listener;
        let place = Place::of(listener);
        if let Some(inherited) = self.inherited.get(&place) {
            return Ok((*address, duplicates(&inherited.sockets).map_err(no_second(listener))?));
        }
        let failed = |error| StartError::Bind { service: service.clone(), error };
        if self.datagrams.contains_key(&place) {
            return Err(failed(BindError::Leaving { address: *address }));
        }
        Ok(match place.transport {
            Transport::Tcp => {
                let (address, sockets) = listener::bind(*address, self.workers).map_err(failed)?;
                (address, sockets.into_iter().map(OwnedFd::from).collect())
            }
            Transport::Udp => {
                let (address, sockets) = listener::bind_udp(*address, self.workers).map_err(failed)?;
                (address, sockets.into_iter().map(OwnedFd::from).collect())
            }
        })
    }

    /// What QUIC makes of the sockets of a place.
    fn ports(&mut self, listener: &Listener, sockets: Vec<OwnedFd>) -> Result<Vec<Port>, StartError> {
        let ids = match &self.ids {
            Some(ids) => ids,
            None => self.ids.insert(private_ids(&listener.service)?),
        };
        let sockets = sockets.into_iter().map(Into::into).collect();
        let mut ports = quic::ports(sockets, ids).map_err(of_ids(&listener.service))?;
        let lanes = self.inherited.get(&Place::of(listener)).map(|inherited| inherited.lanes.iter());
        for lanes in lanes.into_iter().flatten() {
            let Lanes { generation, starts } = lanes.try_clone().map_err(no_second(listener))?;
            for (port, lane) in ports.iter_mut().zip(starts) {
                port.succeed(Predecessor { generation, lane });
            }
        }
        Ok(ports)
    }

    /// Takes what was prepared for what is listened on.
    pub(crate) fn take(&mut self, prepared: Prepared) -> (Arc<[Listener]>, Vec<Sockets>) {
        let Prepared { listeners, sockets, kept, datagrams, heirs } = prepared;
        self.listeners.clone_from(&listeners);
        self.datagrams.extend(datagrams);
        self.heirs.extend(heirs);
        self.kept.extend(kept);
        let wanted: HashSet<Place> = listeners.iter().map(Place::of).collect();
        self.kept.extend(wanted.iter().filter_map(|place| self.inherited.remove_entry(place)));
        self.kept.retain(|place, _| wanted.contains(place));
        self.heirs.retain(|place, _| wanted.contains(place));
        (listeners.into(), sockets)
    }

    /// Closes what a predecessor has left and nobody listens on.
    pub(crate) fn disclaim(&mut self) {
        self.inherited.clear();
    }

    /// Lets go of every socket but the workers' own, which are to be closed.
    pub(crate) fn let_go(&mut self) {
        self.kept.clear();
        self.inherited.clear();
    }

    /// Another descriptor of each socket, for a successor, and lanes to this data plane and those before it.
    ///
    /// # Errors
    /// When there are no descriptors left, or too many of those before it still drain.
    pub(crate) fn bequeath(&mut self) -> io::Result<Inheritance> {
        self.promised.clear();
        let ids = self.ids.clone();
        let mut predecessors = Vec::new();
        let mut holdings = Holdings::new();
        for (place, kept) in &mut self.kept {
            let mut holding = Holding { sockets: duplicates(&kept.sockets)?, lanes: Vec::new() };
            if let (Transport::Udp, Some(ids)) = (place.transport, &ids) {
                let own = (0..self.workers).map(|_| lane()).collect::<io::Result<Vec<_>>>()?;
                let (starts, ends) = own.into_iter().unzip();
                holding.lanes.push(Lanes { generation: ids.generation(), starts });
                self.promised.push((*place, ends));
                self.heirs.get(place).into_iter().flatten().for_each(Heir::promise);
                kept.lanes.retain(Lanes::are_open);
                for lanes in &kept.lanes {
                    predecessors.push(lanes.generation);
                    holding.lanes.push(lanes.try_clone()?);
                }
            }
            holdings.insert(*place, holding);
        }
        predecessors.sort_unstable();
        predecessors.dedup();
        if predecessors.len() >= PREDECESSORS {
            return Err(io::Error::other(format!(
                "{PREDECESSORS} processes before this one still have connections of HTTP/3; wait until one of them has ended"
            )));
        }
        let lineage = ids.filter(|_| !self.promised.is_empty()).map(|ids| ids.lineage(predecessors));
        Ok(Inheritance { workers: self.workers, holdings, lineage, tickets: None })
    }

    /// Those who have what was bequeathed last read datagrams from now on.
    pub(crate) fn succeeded(&mut self) {
        for (place, ends) in std::mem::take(&mut self.promised) {
            let heirs = self.heirs.get(&place).into_iter().flatten();
            heirs.zip(ends).for_each(|(heir, end)| heir.begin(end));
        }
    }

    /// Lets go of the counters of places whose sockets are closed: nobody else has them any more.
    fn forget(&mut self) {
        let Self { listeners, datagrams, past, .. } = self;
        datagrams.retain(|place, counters| {
            let is_closed = counters.iter().all(|counters| Arc::strong_count(counters) == 1);
            let is_past = is_closed && listeners.iter().all(|listener| Place::of(listener) != *place);
            if is_past {
                for counters in counters.iter() {
                    counters.add_to(past);
                }
            }
            !is_past
        });
    }
}

/// What comes of an error with a socket that is there already.
fn no_second(listener: &Listener) -> impl Fn(io::Error) -> StartError {
    let (service, address) = (listener.service.clone(), listener.address);
    move |error| StartError::Bind { service: service.clone(), error: BindError::Other { address, error } }
}

fn private_ids(service: &ServiceName) -> Result<Arc<ConnectionIds>, StartError> {
    ConnectionIds::private().map(Arc::new).map_err(of_ids(service))
}

fn of_ids(service: &ServiceName) -> impl Fn(ConnectionIdsError) -> StartError {
    move |error| StartError::Quic { service: service.clone(), error }
}
