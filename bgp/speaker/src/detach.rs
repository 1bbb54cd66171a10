//! What one speaker hands to the next, so that no peer notices: listening sockets, established connections, and the
//! sessions on them.
//!
//! ```text
//!  SpeakerHandle::hand_over ─▶ every task answers and stands still ─┬─▶ HandOver::taken       all tasks end without a word
//!                                                                   └─▶ HandOver::called_off  they go on as if nothing had been
//! ```
//!
//! Nobody is let in meanwhile: who connects waits in the queues of the listening sockets, which both have.
//!
//! The routes of a peer go with its session (`carried`). Those that are too many for that, or have not reached the table,
//! the successor asks for again (RFC 2918); also where some were left out for a limit, as it would not know of them.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use proxima_bgp_session::Snapshot;
use proxima_types::PeerName;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    Configured, PeerConfig, SpeakerHandle, carried::Question, connection::Connection, roster::Roster,
};

/// A speaker without its tasks.
#[derive(Debug, Default)]
pub struct Detached {
    /// Sessions that were established.
    pub peers: Vec<DetachedPeer>,
    /// Peers and ranges that an operator has shut down.
    pub down: Vec<Down>,
    /// The sockets it listened on.
    pub listeners: Vec<std::net::TcpListener>,
    /// When the first of the speakers that handed one another over was started; none where that is not known. Peers are told of
    /// a restart for some time after it (RFC 4724 §3), and no hand-over is one.
    pub started: Option<Instant>,
}

/// A peer or a range that an operator has shut down, by an order and not in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// The peer.
    pub name: PeerName,
    /// Why.
    pub reason: String,
    /// How long its routes are still announced as about to go. 0: it is down.
    pub drain: Duration,
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
    /// What the configuration said of it.
    pub configured: Configured,
}

impl DetachedPeer {
    /// With what [`Connection::duplicate`] returned.
    pub(crate) fn new(
        config: &PeerConfig,
        (stream, unwritten): (std::net::TcpStream, Bytes),
        session: Snapshot,
    ) -> Self {
        let (name, configured) = (config.name.clone(), Configured::of(config));
        Self { name, stream, unwritten, session, configured }
    }
}

/// A speaker whose sessions stand still: nothing is read, written or timed. To be kept for a moment only; dropped, it is
/// [called off](Self::called_off).
#[derive(Debug)]
pub struct HandOver {
    /// What the successor needs. The descriptors are others of the same sockets: closing them here means nothing to peers.
    pub detached: Detached,
    pub(crate) speaker: SpeakerHandle,
    pub(crate) still: StandStill,
}

impl HandOver {
    /// The successor has it all: every task ends, and closes what it has without a word. Returns when that is done.
    pub async fn taken(self) {
        let Self { detached, speaker, still } = self;
        drop(detached);
        speaker.end_as_taken().await;
        drop(still);
    }

    /// There is no successor: all goes on. What peers have sent meanwhile is still there.
    pub fn called_off(self) {
        drop(self);
    }
}

/// The time for which a speaker stands still: ends when this is dropped, and all goes on, unless its tasks have ended.
pub(crate) struct StandStill {
    roster: Arc<Roster>,
    /// Dropped last, which is the word for tasks to go on.
    until: watch::Sender<()>,
}

impl StandStill {
    pub(crate) fn new(roster: Arc<Roster>) -> Self {
        Self { roster, until: watch::Sender::new(()) }
    }

    /// What is closed at its end.
    pub(crate) fn end(&self) -> watch::Receiver<()> {
        self.until.subscribe()
    }
}

impl fmt::Debug for StandStill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandStill").finish_non_exhaustive()
    }
}

impl Drop for StandStill {
    fn drop(&mut self) {
        self.roster.go_on();
    }
}

/// What a peer's task answers when the speaker is handed over.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    pub(crate) session: Option<DetachedPeer>,
    /// What to ask the table for the routes of the session; None where it does not have all that the peer has sent.
    pub(crate) routes: Option<Question>,
    pub(crate) down: Option<Down>,
}

/// What goes on in a new task.
#[derive(Debug, Default)]
pub(crate) struct Resumed {
    pub(crate) session: Option<ResumedSession>,
    pub(crate) down: Option<Down>,
}

/// A session of another process.
#[derive(Debug)]
pub(crate) struct ResumedSession {
    pub(crate) snapshot: Snapshot,
    pub(crate) stream: tokio::net::TcpStream,
    pub(crate) unwritten: Bytes,
    pub(crate) configured: Configured,
}

/// What a peer's task begins with.
#[derive(Debug, Default)]
pub(crate) struct Before {
    pub(crate) connection: Option<Connection>,
    /// Whether the routes of the session are known already.
    pub(crate) has_routes: bool,
    /// The connection was not made as it is configured now.
    pub(crate) reopen: bool,
    /// It is to begin shut down.
    pub(crate) down: Option<Down>,
    /// Why the configuration of the process before had it shut down, although it was up.
    pub(crate) overruled: Option<String>,
}

impl TryFrom<DetachedPeer> for ResumedSession {
    type Error = io::Error;

    fn try_from(peer: DetachedPeer) -> io::Result<Self> {
        let DetachedPeer { stream, unwritten, session, configured, .. } = peer;
        stream.set_nonblocking(true)?;
        Ok(Self {
            snapshot: session,
            stream: tokio::net::TcpStream::from_std(stream)?,
            unwritten,
            configured,
        })
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
