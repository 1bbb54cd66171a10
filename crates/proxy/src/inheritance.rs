//! What a data plane hands to the one that goes on in its place: the process of an upgrade, on the same host.
//!
//! ```text
//! predecessor                                           successor
//! ───────────                                           ─────────
//! bequeath ─▶ Inheritance ── descriptors, meta ───────▶ Inheritance ─▶ start, prepare: takes nothing from the sockets yet
//! succeeded: lets go of UDP; drain: closes TCP ◀─ go ─▶ reconfigure: accepts and reads
//! ```
//!
//! Both have the same sockets, not others at the same address: what a listening socket's queue holds when one of them closes is still
//! there for the other. So no connection is lost, whichever of both accepts it, and if the successor fails before it has
//! taken over nothing has changed.
//!
//! The socket of worker number w goes to worker number w. Sockets without a worker would keep what the kernel puts into them, so
//! the successor needs as many workers as its predecessor had.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
};

use serde::{Deserialize, Serialize};
use socket2::{SockRef, Type};

use crate::listening::{Place, Transport};

/// How [`InheritanceMeta`] is to be read. Another number for each change that an older reader would get wrong.
const FORMAT: u32 = 1;

/// The listening sockets of a data plane, for its successor. Dropped, it has changed nothing.
#[derive(Debug)]
pub struct Inheritance {
    workers: usize,
    sockets: Inherited,
}

/// Sockets by place, and by worker there.
pub(crate) type Inherited = HashMap<Place, Vec<OwnedFd>>;

/// What the descriptors of an [`Inheritance`] are, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InheritanceMeta {
    format: u32,
    workers: usize,
    /// Each has one socket for each worker.
    places: Vec<Place>,
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
    pub(crate) fn new(workers: usize, sockets: Inherited) -> Self {
        Self { workers, sockets }
    }

    /// The number of workers, and the sockets.
    pub(crate) fn take(self) -> (usize, Inherited) {
        (self.workers, self.sockets)
    }

    /// The descriptors, and what they are, for another process: the descriptors by `SCM_RIGHTS`, of which the kernel takes 253 with
    /// one message, in their order.
    pub fn into_parts(self) -> (InheritanceMeta, Vec<OwnedFd>) {
        let (places, sockets): (Vec<_>, Vec<_>) = self.sockets.into_iter().unzip();
        let meta = InheritanceMeta { format: FORMAT, workers: self.workers, places };
        (meta, sockets.into_iter().flatten().collect())
    }

    /// From what [`into_parts`](Self::into_parts) gave in another process.
    ///
    /// # Errors
    /// When the descriptors are not what is said of them.
    pub fn from_parts(meta: InheritanceMeta, descriptors: Vec<OwnedFd>) -> Result<Self, InheritanceError> {
        let InheritanceMeta { format, workers, places } = meta;
        if format != FORMAT {
            return Err(InheritanceError::Format { found: format });
        }
        let (found, said) = (descriptors.len(), workers.saturating_mul(places.len()));
        if found != said {
            return Err(InheritanceError::Count { found, said });
        }
        let mut descriptors = descriptors.into_iter();
        let mut sockets = Inherited::new();
        for place in places {
            let of_place: Vec<_> = descriptors.by_ref().take(workers).collect();
            let failed = |error| InheritanceError::Socket { address: place.address, error };
            of_place.iter().try_for_each(|socket| check(place, socket)).map_err(failed)?;
            sockets.insert(place, of_place);
        }
        Ok(Self { workers, sockets })
    }
}

/// Whether `socket` is one of `place`, and does not block.
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

    fn place(address: SocketAddr, transport: Transport) -> Place {
        Place { address, transport }
    }

    fn listening() -> (SocketAddr, OwnedFd) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        (socket.local_addr().unwrap(), socket.into())
    }

    #[test]
    fn what_was_taken_apart_is_put_together_as_it_was() {
        let mut sockets = Inherited::new();
        let mut expected = Vec::new();
        for _ in 0..3 {
            let (address, socket) = listening();
            let two = vec![socket.try_clone().unwrap(), socket];
            sockets.insert(place(address, Transport::Tcp), two);
            expected.push(address);
        }
        let (meta, descriptors) = Inheritance::new(2, sockets).into_parts();
        let meta = serde_json::from_slice(&serde_json::to_vec(&meta).unwrap()).unwrap();
        let (workers, sockets) = Inheritance::from_parts(meta, descriptors).unwrap().take();
        assert_eq!((workers, sockets.len()), (2, 3));
        for address in expected {
            for socket in &sockets[&place(address, Transport::Tcp)] {
                assert_eq!(SockRef::from(socket).local_addr().unwrap().as_socket(), Some(address));
            }
        }
    }

    #[test]
    fn descriptors_that_are_not_what_is_said_are_refused() {
        let meta = |address, transport| InheritanceMeta {
            format: FORMAT,
            workers: 1,
            places: vec![place(address, transport)],
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

        let error = Inheritance::from_parts(meta(address, Transport::Tcp), vec![socket, other]).unwrap_err();
        assert_eq!(error.to_string(), "2 descriptors were handed over, 1 were announced");
        let error = Inheritance::from_parts(meta(address, Transport::Udp), Vec::new()).unwrap_err();
        assert!(matches!(error, InheritanceError::Count { found: 0, said: 1 }));
        let newer = InheritanceMeta { format: FORMAT + 1, ..meta(address, Transport::Udp) };
        let error = Inheritance::from_parts(newer, vec![datagrams.into()]).unwrap_err();
        assert!(error.to_string().contains("restart instead of upgrading"), "{error}");
    }
}
