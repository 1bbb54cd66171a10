//! What one speaker hands to the next, so that no peer notices: listening sockets, established connections, and the sessions
//! on them.
//!
//! The routing table is not handed over: a session that goes on asks its peer for its routes again (RFC 2918).

use std::{io, net::SocketAddr};

use bytes::Bytes;
use proxima_bgp_session::Snapshot;
use proxima_types::PeerName;

use crate::connection::Connection;

/// A speaker without its tasks.
#[derive(Debug, Default)]
pub struct Detached {
    /// Sessions that were established.
    pub peers: Vec<DetachedPeer>,
    /// The sockets it listened on.
    pub listeners: Vec<std::net::TcpListener>,
}

/// An established session without its task.
#[derive(Debug)]
pub struct DetachedPeer {
    /// The peer.
    pub name: PeerName,
    /// Its connection.
    pub stream: std::net::TcpStream,
    /// Octets of messages that are to be written on it before anything else; they may begin in the middle of one.
    pub unwritten: Bytes,
    /// Its session.
    pub session: Snapshot,
}

impl DetachedPeer {
    pub(crate) fn new(name: PeerName, connection: Connection, session: Snapshot) -> io::Result<Self> {
        let (stream, unwritten) = connection.into_parts()?;
        Ok(Self { name, stream, unwritten, session })
    }
}

/// What goes on in a new task.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) snapshot: Snapshot,
    pub(crate) stream: tokio::net::TcpStream,
    pub(crate) unwritten: Bytes,
}

impl TryFrom<DetachedPeer> for Resumed {
    type Error = io::Error;

    fn try_from(peer: DetachedPeer) -> io::Result<Self> {
        let DetachedPeer { stream, unwritten, session, .. } = peer;
        stream.set_nonblocking(true)?;
        Ok(Self { snapshot: session, stream: tokio::net::TcpStream::from_std(stream)?, unwritten })
    }
}

/// Takes the socket that listens on `address` out of those handed over.
pub(crate) fn take_listener(
    listeners: &mut Vec<std::net::TcpListener>,
    address: SocketAddr,
) -> Option<std::net::TcpListener> {
    let at = listeners.iter().position(|listener| listener.local_addr().is_ok_and(|own| own == address))?;
    Some(listeners.swap_remove(at))
}
