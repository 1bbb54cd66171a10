//! What a data plane hands to the one that goes on in its place: the process of an upgrade, on the same host.
//!
//! ```text
//! predecessor                                             successor
//! ───────────                                             ─────────
//! bequeath ─▶ Inheritance ── descriptors, meta ─────────▶ Inheritance ─▶ start, prepare: takes nothing from the sockets yet
//! succeeded: reads no more from UDP; drain: closes TCP ─▶ reconfigure: accepts and reads
//!     ▲ datagrams of its connections, by lanes                   │
//!     └──────────────────────────────────────────────────────────┘
//! ```
//!
//! Both have the same sockets, not others at the same address: what a listening socket's queue holds when one of them closes is still
//! there for the other. So no connection is lost, whichever of both accepts it, and if the successor fails before it has
//! taken over nothing has changed.
//!
//! Datagrams of QUIC belong to whoever has the connection. The successor alone reads them, and hands those of its predecessors back
//! ([`crate::quic`]): each has a lane for each place and worker. With a lane its start is handed on, so that several
//! predecessors that drain at the same time are reached by the youngest directly.
//!
//! The socket of worker number w goes to worker number w. Sockets without a worker would keep what the kernel puts into them, so
//! the successor needs as many workers as its predecessor had.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    num::NonZeroUsize,
    os::fd::{AsFd, OwnedFd},
};

use serde::{Deserialize, Serialize};
use socket2::{SockRef, Type};

use crate::{
    TicketKeys, TicketKeysError,
    listening::{Place, Transport},
    quic::{LaneStart, Lineage},
    tls::OwnTicketKeys,
};

/// How [`InheritanceMeta`] and lanes are to be read. Another number for each change that an older reader would get wrong.
const FORMAT: u32 = 1;

/// What a data plane listens with, for its successor. Dropped, it has changed nothing.
#[derive(Debug)]
pub struct Inheritance {
    pub(crate) workers: usize,
    pub(crate) holdings: Holdings,
    /// `None`: nothing is listened on for QUIC.
    pub(crate) lineage: Option<Lineage>,
    /// `None`: files have them, or nobody has said.
    pub(crate) tickets: Option<OwnTicketKeys>,
}

/// By place.
pub(crate) type Holdings = HashMap<Place, Holding>;

/// What there is of a place.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    /// By worker.
    pub(crate) sockets: Vec<OwnedFd>,
    pub(crate) lanes: Vec<Lanes>,
}

/// The lanes to one predecessor, for one place.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// The predecessor's.
    pub(crate) generation: u8,
    /// By worker.
    pub(crate) starts: Vec<LaneStart>,
}

/// What the descriptors of an [`Inheritance`] are, in their order. It has keys: not for logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InheritanceMeta {
    format: u32,
    workers: usize,
    places: Vec<PlaceMeta>,
    lineage: Option<Lineage>,
    tickets: Option<OwnTicketKeys>,
}

/// Of each place there is a socket for each worker, and then, for each of these generations, as many lanes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PlaceMeta {
    place: Place,
    lanes: Vec<u8>,
}

/// Why nothing can be inherited.
#[derive(Debug, thiserror::Error)]
pub enum InheritanceError {
    /// The predecessor is of a version that hands over something else.
    #[error(
        "the running proximad hands over its sockets in format {found}, this one reads format {FORMAT}; restart instead of upgrading"
    )]
    Format {
        /// The predecessor's.
        found: u32,
    },
    /// Not all has come, or more than was said.
    #[error("{found} descriptors were handed over, {said} were announced")]
    Count {
        /// How many there are.
        found: usize,
        /// How many there should be.
        said: usize,
    },
    /// A descriptor is not what it is said to be.
    #[error("what was handed over for {address} is not a socket of it: {error}")]
    Socket {
        /// Where it should be bound.
        address: SocketAddr,
        /// What it is, or what the kernel said.
        error: io::Error,
    },
}

impl Inheritance {
    /// How many workers the predecessor has, and so its successor.
    pub fn workers(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.workers).unwrap_or(NonZeroUsize::MIN)
    }

    /// The same with the keys of session tickets that the process has drawn, so that sessions go on. Nothing more if `keys` are from a
    /// file, which the successor reads too.
    #[must_use]
    pub fn with_tickets(self, keys: &TicketKeys) -> Self {
        Self { tickets: keys.bequeath(), ..self }
    }

    /// The keys that the process before has drawn, if it has left any.
    ///
    /// # Errors
    /// When they are malformed.
    pub fn tickets(&self) -> Result<Option<TicketKeys>, TicketKeysError> {
        self.tickets.as_ref().map(TicketKeys::succeeding).transpose()
    }

    /// The descriptors, and what they are, for another process: the descriptors by `SCM_RIGHTS`, of which the kernel takes 253 with
    /// one message, in their order.
    pub fn into_parts(self) -> (InheritanceMeta, Vec<OwnedFd>) {
        let Self { workers, holdings, lineage, tickets } = self;
        let (mut places, mut descriptors) = (Vec::new(), Vec::new());
        for (place, Holding { sockets, lanes }) in holdings {
            places.push(PlaceMeta { place, lanes: lanes.iter().map(|lanes| lanes.generation).collect() });
            descriptors.extend(sockets);
            descriptors.extend(lanes.into_iter().flat_map(|it| it.starts).map(LaneStart::into_descriptor));
        }
        (InheritanceMeta { format: FORMAT, workers, places, lineage, tickets }, descriptors)
    }

    /// From what [`into_parts`](Self::into_parts) gave in another process.
    ///
    /// # Errors
    /// When the descriptors are not what is said of them.
    pub fn from_parts(meta: InheritanceMeta, descriptors: Vec<OwnedFd>) -> Result<Self, InheritanceError> {
        let InheritanceMeta { format, workers, places, lineage, tickets } = meta;
        if format != FORMAT {
            return Err(InheritanceError::Format { found: format });
        }
        let by_worker: usize = places.iter().map(|place| 1 + place.lanes.len()).sum();
        let (found, said) = (descriptors.len(), workers.saturating_mul(by_worker));
        if found != said {
            return Err(InheritanceError::Count { found, said });
        }
        let mut descriptors = descriptors.into_iter();
        let mut holdings = Holdings::new();
        for PlaceMeta { place, lanes } in places {
            let failed = |error| InheritanceError::Socket { address: place.address, error };
            let sockets: Vec<_> = descriptors.by_ref().take(workers).collect();
            sockets.iter().try_for_each(|socket| check(place, socket)).map_err(failed)?;
            let mut holding = Holding { sockets, lanes: Vec::new() };
            for generation in lanes {
                let starts = descriptors.by_ref().take(workers).map(LaneStart::from_descriptor);
                let starts = starts.collect::<io::Result<_>>().map_err(failed)?;
                holding.lanes.push(Lanes { generation, starts });
            }
            holdings.insert(place, holding);
        }
        Ok(Self { workers, holdings, lineage, tickets })
    }
}

impl Lanes {
    /// Others to the same predecessor.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let starts = self.starts.iter().map(LaneStart::try_clone).collect::<io::Result<_>>()?;
        Ok(Self { generation: self.generation, starts })
    }

    /// Whether the predecessor still has connections there.
    pub(crate) fn are_open(&self) -> bool {
        self.starts.iter().any(LaneStart::is_open)
    }
}

/// Makes `socket` one that does not block, if it is one of `place`.
fn check(place: Place, socket: &OwnedFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    let bound = socket.local_addr()?.as_socket();
    let kind = socket.r#type()?;
    let is_right = match place.transport {
        Transport::Tcp => kind == Type::STREAM && socket.is_listener()?,
        Transport::Udp => kind == Type::DGRAM,
    };
    if bound != Some(place.address) || !is_right {
        let found = format!("it is of type {kind:?}, bound to {bound:?}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, found));
    }
    socket.set_nonblocking(true)
}

/// Another descriptor for each of `sockets`.
pub(crate) fn duplicates<S: AsFd>(sockets: &[S]) -> io::Result<Vec<OwnedFd>> {
    sockets.iter().map(|socket| socket.as_fd().try_clone_to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;
    use crate::quic::lane;

    fn place(address: SocketAddr, transport: Transport) -> Place {
        Place { address, transport }
    }

    fn listening() -> (SocketAddr, OwnedFd) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        (socket.local_addr().unwrap(), socket.into())
    }

    #[test]
    fn what_was_taken_apart_is_put_together_as_it_was() {
        let mut holdings = Holdings::new();
        let mut expected = Vec::new();
        let mut ends = Vec::new();
        for lanes in 0..3 {
            let (address, socket) = listening();
            let sockets = vec![socket.try_clone().unwrap(), socket];
            let mut holding = Holding { sockets, lanes: Vec::new() };
            for generation in 0..lanes {
                let (starts, both): (Vec<_>, Vec<_>) = [lane().unwrap(), lane().unwrap()].into_iter().unzip();
                ends.push((address, generation, both));
                holding.lanes.push(Lanes { generation, starts });
            }
            holdings.insert(place(address, Transport::Tcp), holding);
            expected.push(address);
        }
        let (meta, descriptors) =
            Inheritance { workers: 2, holdings, lineage: None, tickets: None }.into_parts();
        let meta = serde_json::from_slice(&serde_json::to_vec(&meta).unwrap()).unwrap();
        let Inheritance { workers, holdings, .. } = Inheritance::from_parts(meta, descriptors).unwrap();
        assert_eq!((workers, holdings.len()), (2, 3));
        for address in expected {
            for socket in &holdings[&place(address, Transport::Tcp)].sockets {
                assert_eq!(SockRef::from(socket).local_addr().unwrap().as_socket(), Some(address));
            }
        }
        for (address, generation, both) in ends {
            let lanes = &holdings[&place(address, Transport::Tcp)].lanes;
            let lanes = lanes.iter().find(|lanes| lanes.generation == generation).unwrap();
            for (start, end) in lanes.starts.iter().zip(both) {
                assert!(start.is_open());
                drop(end);
                assert!(!start.is_open(), "it is another's");
            }
        }
    }

    #[test]
    fn descriptors_that_are_not_what_is_said_are_refused() {
        let meta = |address, transport| InheritanceMeta {
            format: FORMAT,
            workers: 1,
            places: vec![PlaceMeta { place: place(address, transport), lanes: Vec::new() }],
            lineage: None,
            tickets: None,
        };
        let (address, socket) = listening();
        let (elsewhere, other) = listening();
        let datagrams = UdpSocket::bind(address).unwrap();
        for (said, given) in [
            (meta(elsewhere, Transport::Tcp), socket.try_clone().unwrap()),
            (meta(address, Transport::Udp), socket.try_clone().unwrap()),
            (meta(address, Transport::Tcp), datagrams.try_clone().unwrap().into()),
            (meta(address, Transport::Tcp), std::fs::File::open("/dev/null").unwrap().into()),
        ] {
            let error = Inheritance::from_parts(said, vec![given]).unwrap_err();
            assert!(matches!(error, InheritanceError::Socket { .. }), "{error}");
        }
        let of_a_connection = std::net::TcpStream::connect(address).unwrap();
        let local = of_a_connection.local_addr().unwrap();
        let error = Inheritance::from_parts(meta(local, Transport::Tcp), vec![of_a_connection.into()]);
        assert!(matches!(error, Err(InheritanceError::Socket { .. })), "{error:?}");
        let mut with_lane = meta(address, Transport::Udp);
        with_lane.places[0].lanes.push(3);
        let both = vec![datagrams.try_clone().unwrap().into(), other.try_clone().unwrap()];
        let error = Inheritance::from_parts(with_lane, both);
        assert!(matches!(error, Err(InheritanceError::Socket { .. })), "{error:?}");

        let error = Inheritance::from_parts(meta(address, Transport::Tcp), vec![socket, other]).unwrap_err();
        assert_eq!(error.to_string(), "2 descriptors were handed over, 1 were announced");
        let error = Inheritance::from_parts(meta(address, Transport::Udp), Vec::new()).unwrap_err();
        assert!(matches!(error, InheritanceError::Count { found: 0, said: 1 }));
        let newer = InheritanceMeta { format: FORMAT + 1, ..meta(address, Transport::Udp) };
        let error = Inheritance::from_parts(newer, vec![datagrams.into()]).unwrap_err();
        assert!(error.to_string().contains("restart instead of upgrading"), "{error}");
    }
}
