//! What one speaker hands to the next, so that no peer notices: listening sockets, established connections, and the sessions
//! on them.
//!
//! ```text
//!  SpeakerHandle::hand_over ─▶ every task answers and stands still ─┬─▶ HandOver::taken       the tasks end, without a word
//!                                                                   └─▶ HandOver::called_off  they go on as if nothing had been
//! ```
//!
//! The routes of a peer go with its session (`carried`), if they are not too many: then its successor asks for them again (RFC 2918).

use std::{io, net::SocketAddr};

use bytes::Bytes;
use proxima_bgp_session::Snapshot;
use proxima_types::PeerName;
use tokio::sync::watch;

use crate::{SpeakerHandle, connection::Connection};

/// A speaker without its tasks.
#[derive(Debug, Default)]
pub struct Detached {
    /// Sessions that were established.
    pub peers: Vec<DetachedPeer>,
    /// Peers and ranges that an operator has shut down, each with the reason.
    pub down: Vec<(PeerName, String)>,
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
    pub(crate) fn new(name: PeerName, connection: &Connection, session: Snapshot) -> io::Result<Self> {
        let (stream, unwritten) = connection.duplicate()?;
        Ok(Self { name, stream, unwritten, session })
    }
}

/// A speaker whose sessions stand still: nothing is read, written or timed. To be kept for a moment only; dropped, it is
/// [called off](Self::called_off).
#[derive(Debug)]
pub struct HandOver {
    /// What the successor needs. The descriptors are others of the same sockets: closing them here means nothing to peers.
    pub detached: Detached,
    pub(crate) speaker: SpeakerHandle,
    pub(crate) taken: watch::Sender<Option<bool>>,
}

impl HandOver {
    /// The successor has it all: every task ends, and closes what it has without a word. Returns when that is done.
    pub async fn taken(self) {
        let Self { detached, speaker, taken } = self;
        drop(detached);
        speaker.end_as_taken(&taken).await;
    }

    /// There is no successor: all goes on. What peers have sent meanwhile is still there.
    pub fn called_off(self) {
        self.taken.send_replace(Some(false));
    }
}

/// What a peer's task answers when the speaker is handed over.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    pub(crate) session: Option<DetachedPeer>,
    /// An operator has shut it down, or is about to: why.
    pub(crate) down: Option<String>,
}

/// What goes on in a new task.
#[derive(Debug, Default)]
pub(crate) struct Resumed {
    pub(crate) session: Option<ResumedSession>,
    pub(crate) down: Option<String>,
}

/// A session of another process.
#[derive(Debug)]
pub(crate) struct ResumedSession {
    pub(crate) snapshot: Snapshot,
    pub(crate) stream: tokio::net::TcpStream,
    pub(crate) unwritten: Bytes,
}

/// What a peer's task begins with.
#[derive(Debug, Default)]
pub(crate) struct Before {
    pub(crate) connection: Option<Connection>,
    /// Whether the routes of the session are known already.
    pub(crate) has_routes: bool,
    /// It is to begin shut down.
    pub(crate) down: Option<String>,
}

impl TryFrom<DetachedPeer> for ResumedSession {
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
