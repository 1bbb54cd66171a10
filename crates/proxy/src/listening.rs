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
    inheritance::{Inherited, duplicates},
    listener::{self, BindError},
    quic::{self, ConnectionIds, Counters, Port},
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
    /// The same sockets, by place.
    kept: Inherited,
    datagrams: Vec<(Place, Vec<Arc<Counters>>)>,
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

/// Where, the sockets, and a second descriptor of each.
type TcpSockets = (SocketAddr, Vec<std::net::TcpListener>, Vec<OwnedFd>);

/// What is listened on, over all workers.
#[derive(Debug)]
pub(crate) struct Listening {
    workers: usize,
    ids: Option<Arc<ConnectionIds>>,
    listeners: Vec<Listener>,
    /// A second descriptor of each socket over TCP.
    kept: Inherited,
    /// What a predecessor has left and nobody has asked for yet.
    inherited: Inherited,
    /// What becomes of datagrams, by place and worker. Those of a place that is given up stay until its sockets are closed.
    datagrams: HashMap<Place, Vec<Arc<Counters>>>,
    /// What became of datagrams at places that are no more.
    past: QuicStats,
}

impl Listening {
    pub(crate) fn new(workers: usize, ids: Option<Arc<ConnectionIds>>, inherited: Inherited) -> Self {
        let (listeners, past) = (Vec::new(), QuicStats::default());
        let (kept, datagrams) = (Inherited::new(), HashMap::new());
        Self { workers, ids, listeners, kept, inherited, datagrams, past }
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
        let (mut kept, mut datagrams) = (Inherited::new(), Vec::new());
        for listener in &mut listeners {
            if present.contains(&Place::of(listener)) {
                continue;
            }
            let bound: Vec<Socket> = match Place::of(listener).transport {
                Transport::Tcp => {
                    let (address, bound, seconds) = self.listen(listener)?;
                    listener.address = address;
                    kept.insert(Place::of(listener), seconds);
                    bound.into_iter().map(Socket::Tcp).collect()
                }
                Transport::Udp => {
                    let (address, ports) = self.bind_quic(listener)?;
                    listener.address = address;
                    datagrams.push((Place::of(listener), ports.iter().map(Port::counters).collect()));
                    ports.into_iter().map(Socket::Quic).collect()
                }
            };
            let place = Place::of(listener);
            for (own, socket) in sockets.iter_mut().zip(bound) {
                own.push((place, socket));
            }
        }
        Ok(Prepared { listeners, sockets, kept, datagrams })
    }

    /// The sockets of a place, inherited or new, and a second descriptor of each.
    fn listen(&self, listener: &Listener) -> Result<TcpSockets, StartError> {
        let Listener { service, address, .. } = listener;
        let (address, sockets) = match self.inherited.get(&Place::of(listener)) {
            Some(inherited) => {
                let sockets = inherited.iter().map(|socket| socket.try_clone().map(Into::into));
                (*address, sockets.collect::<io::Result<Vec<_>>>().map_err(no_second(listener))?)
            }
            None => listener::bind(*address, self.workers)
                .map_err(|error| StartError::Bind { service: service.clone(), error })?,
        };
        let seconds = duplicates(&sockets).map_err(no_second(listener))?;
        Ok((address, sockets, seconds))
    }

    fn bind_quic(&mut self, listener: &Listener) -> Result<(SocketAddr, Vec<Port>), StartError> {
        let Listener { service, address, .. } = listener;
        if self.datagrams.contains_key(&Place::of(listener)) {
            let error = BindError::Leaving { address: *address };
            return Err(StartError::Bind { service: service.clone(), error });
        }
        let ids = match &self.ids {
            Some(ids) => ids,
            None => self.ids.insert(private_ids(service)?),
        };
        quic::bind(*address, self.workers, ids).map_err(|error| StartError::of_port(service, error))
    }

    /// Takes what was prepared for what is listened on.
    pub(crate) fn take(&mut self, prepared: Prepared) -> (Arc<[Listener]>, Vec<Sockets>) {
        let Prepared { listeners, sockets, kept, datagrams } = prepared;
        self.listeners.clone_from(&listeners);
        self.datagrams.extend(datagrams);
        self.kept.extend(kept);
        let wanted: HashSet<Place> = listeners.iter().map(Place::of).collect();
        self.kept.retain(|place, _| wanted.contains(place));
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

    /// Another descriptor of each socket over TCP, for a successor.
    pub(crate) fn bequeath(&self) -> io::Result<Inheritance> {
        let sockets = self.kept.iter().map(|(place, sockets)| Ok((*place, duplicates(sockets)?)));
        Ok(Inheritance::new(self.workers, sockets.collect::<io::Result<_>>()?))
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
    let failed = |error| StartError::Quic { service: service.clone(), error };
    ConnectionIds::private().map(Arc::new).map_err(failed)
}
