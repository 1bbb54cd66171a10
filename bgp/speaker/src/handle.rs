//! How the rest of the daemon steers a speaker.

use std::{net::SocketAddr, sync::Arc};

use proxima_bgp_session::{AllowList, Desired, NotAllowed, ReceivedRoute};
use proxima_types::{Announcement, PeerName, Prefix, RouteAttributes};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinSet,
};

use crate::{
    CommandError, PeerStatus,
    peer::{Command, Wanted},
};

/// The handle of a running speaker; cheap to clone.
#[derive(Debug, Clone)]
pub struct SpeakerHandle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    allow_list: AllowList,
    listening: Vec<SocketAddr>,
    wanted: watch::Sender<Wanted>,
    peers: Vec<PeerPort>,
    /// Peers' tasks and listeners' tasks.
    tasks: Mutex<(JoinSet<()>, JoinSet<()>)>,
}

/// The way to one peer's task.
#[derive(Debug)]
pub(crate) struct PeerPort {
    pub(crate) name: PeerName,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) status: watch::Receiver<PeerStatus>,
}

impl SpeakerHandle {
    pub(crate) fn new(
        allow_list: AllowList,
        listening: Vec<SocketAddr>,
        wanted: watch::Sender<Wanted>,
        peers: Vec<PeerPort>,
        tasks: (JoinSet<()>, JoinSet<()>),
    ) -> Self {
        let inner = Inner { allow_list, listening, wanted, peers, tasks: Mutex::new(tasks) };
        Self { inner: Arc::new(inner) }
    }

    /// The routes every peer is to hold from now on: all of them, not a change. Equal state sends nothing.
    ///
    /// # Errors
    /// When a prefix is not on the allow-list; the error names all such prefixes, and nothing is changed.
    pub fn set_desired(&self, announcements: Vec<Announcement>) -> Result<(), NotAllowed> {
        let desired = Desired::new(&self.inner.allow_list, announcements)?;
        self.inner.wanted.send_if_modified(|wanted| {
            let changed = wanted.desired != desired;
            wanted.desired = desired;
            changed
        });
        Ok(())
    }

    /// The desired state is complete for the first time: End-of-RIB may follow it, on this and every later session.
    pub fn release_end_of_rib(&self) {
        self.inner.wanted.send_if_modified(|wanted| !std::mem::replace(&mut wanted.end_of_rib, true));
    }

    /// Every peer, in the order of the configuration.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.inner.peers.iter().map(|peer| peer.status.borrow().clone()).collect()
    }

    /// Waits until `condition` holds for the peer's status; for orderly starts and for tests.
    ///
    /// # Errors
    /// When there is no such peer, or the speaker stops first.
    pub async fn wait_for(
        &self,
        peer: &str,
        condition: impl FnMut(&PeerStatus) -> bool,
    ) -> Result<PeerStatus, CommandError> {
        let mut status = self.peer(peer)?.status.clone();
        let status = status.wait_for(condition).await.map_err(|_| CommandError::Stopped)?;
        Ok(status.clone())
    }

    /// The routes the peer has announced to us, in order of prefix.
    ///
    /// # Errors
    /// When there is no such peer, or the speaker was stopped.
    pub async fn received(&self, peer: &str) -> Result<Vec<(Prefix, ReceivedRoute)>, CommandError> {
        self.ask(peer, Command::Received).await
    }

    /// The routes the peer holds from us, in order of prefix.
    ///
    /// # Errors
    /// When there is no such peer, or the speaker was stopped.
    pub async fn advertised(&self, peer: &str) -> Result<Vec<(Prefix, Arc<RouteAttributes>)>, CommandError> {
        self.ask(peer, Command::Advertised).await
    }

    /// Ends the session with Cease 6/4 and begins it anew, without what earlier failures have taught.
    ///
    /// # Errors
    /// When there is no such peer, or the speaker was stopped.
    pub async fn reset(&self, peer: &str) -> Result<(), CommandError> {
        self.peer(peer)?.commands.send(Command::Reset).await.map_err(|_| CommandError::Stopped)
    }

    /// Ends every session with Cease 6/2 and `reason` for the peers' operators (RFC 9003), stops listening, and
    /// returns when the last words are delivered, at most two seconds later. A second call returns at once.
    pub async fn stop(&self, reason: &str) {
        let mut tasks = self.inner.tasks.lock().await;
        let (peers, listeners) = &mut *tasks;
        listeners.shutdown().await;
        for peer in &self.inner.peers {
            peer.commands.send(Command::Stop(reason.to_owned())).await.ok(); // its task has ended already
        }
        while peers.join_next().await.is_some() {}
    }

    /// Where it listens, with the ports the kernel chose.
    pub fn listening(&self) -> &[SocketAddr] {
        &self.inner.listening
    }

    fn peer(&self, name: &str) -> Result<&PeerPort, CommandError> {
        self.inner.peers.iter().find(|peer| peer.name.as_str() == name).ok_or_else(|| {
            CommandError::UnknownPeer {
                name: name.to_owned(),
                known: self.inner.peers.iter().map(|peer| peer.name.to_string()).collect(),
            }
        })
    }

    async fn ask<T>(
        &self,
        peer: &str,
        question: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, CommandError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.peer(peer)?.commands.send(question(answer)).await;
        sent.map_err(|_| CommandError::Stopped)?;
        answered.await.map_err(|_| CommandError::Stopped)
    }
}
