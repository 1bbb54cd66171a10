//! BFD with the peers that have it: which sessions there are, and what becomes of their news.
//!
//! ```text
//!  configured peer with an address ──────────────▶ a session from the start
//!  range, interface ──▶ SpeakerEvent::Connected ─▶ a session with whoever connected, from where it did
//!
//!  BfdEvent ─▶ control task ─▶ journal
//!                          └─▶ SpeakerHandle::bfd     its fall ends the BGP session, if it was up (RFC 5882)
//! ```
//!
//! The thread is started with the first peer that has BFD. A BFD session of a peer that an operator has shut down is held
//! down, so that the neighbour does not take it for a failure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::Context;
use proxima_bfd_io::{
    Authentication, AuthenticationKind, Bfd, BfdError, BfdEvent, BfdHandle, BfdOptions, BfdStatus,
    HandedOver, Key, PreparedBfd, SessionConfig, Settings,
};
use proxima_config::{Peer, Remote};
use proxima_types::PeerName;
use tokio::sync::mpsc;

use crate::secret::{self, SecretError};

/// What RFC 5880 §4.4 has room for, in octets.
const KEY_MAX: usize = 20;

/// What is watched of a peer, but not yet whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) peer: PeerName,
    remote: Remote,
    local: Option<IpAddr>,
    /// The least TTL, where it goes across routers. A key keeps strangers out better.
    multihop: Option<u8>,
    settings: Settings,
    shutdown: bool,
}

impl Watch {
    /// What the configuration asks for, its key read from its file; nothing for a peer without BFD.
    ///
    /// # Errors
    /// When the key can't be read.
    pub(crate) fn of(peer: &Peer) -> Result<Option<Self>, SecretError> {
        let Some(bfd) = &peer.bfd else { return Ok(None) };
        let authentication = match &bfd.auth {
            None => None,
            Some(auth) => {
                let key = secret::read("BFD key", &auth.key_file, KEY_MAX)?;
                let key = Key::new(&key).expect("read within the same limits");
                let kind = AuthenticationKind::MeticulousKeyedSha1;
                Some(Authentication { kind, key_id: auth.key_id, key })
            }
        };
        Ok(Some(Self {
            peer: peer.name.clone(),
            remote: peer.remote.clone(),
            local: peer.source,
            multihop: bfd.multihop.then_some(bfd.least_ttl.get()),
            settings: Settings {
                desired_min_tx: bfd.interval,
                required_min_rx: bfd.interval,
                multiplier: bfd.multiplier,
                authentication,
            },
            shutdown: peer.shutdown.is_some(),
        }))
    }

    fn session(
        &self,
        name: &PeerName,
        remote: IpAddr,
        local: Option<IpAddr>,
        interface: Option<String>,
    ) -> SessionConfig {
        SessionConfig {
            name: name.to_string(),
            local,
            remote,
            interface,
            multihop: self.multihop,
            settings: self.settings.clone(),
        }
    }

    /// The session with a peer whose address is configured.
    fn fixed(&self) -> Option<SessionConfig> {
        match &self.remote {
            Remote::Address { address, interface } => {
                Some(self.session(&self.peer, *address, self.local, interface.clone()))
            }
            Remote::Range { .. } | Remote::Interface(_) => None,
        }
    }
}

/// Members of ranges, and routers at the ends of links, are there again by then: their sessions go on with those of BGP.
const CLAIMED_WITHIN: Duration = Duration::from_secs(5);
/// News that wait for the control task; the thread itself waits for nobody.
const NEWS: usize = 256;

/// All BFD of the daemon.
pub(crate) struct BfdSessions {
    handle: Option<BfdHandle>,
    /// A thread that waits for its sessions.
    prepared: Option<PreparedBfd>,
    news: mpsc::Sender<BfdEvent>,
    watches: BTreeMap<PeerName, Watch>,
    /// The sessions there are, by the peer that each is for.
    sessions: BTreeMap<PeerName, SessionConfig>,
    /// Until when peers may go on with sessions of the process before.
    claimed_by: Option<Instant>,
}

impl BfdSessions {
    /// No sessions yet, and where their news will come from.
    pub(crate) fn new() -> (Self, mpsc::Receiver<BfdEvent>) {
        let (news, receiver) = mpsc::channel(NEWS);
        (
            Self {
                handle: None,
                prepared: None,
                news,
                watches: BTreeMap::new(),
                sessions: BTreeMap::new(),
                claimed_by: None,
            },
            receiver,
        )
    }

    /// Starts the thread if it does not run yet. To be called within a runtime.
    ///
    /// # Errors
    /// When it can't be had, with the remedy.
    pub(crate) fn ensure_started(&mut self) -> anyhow::Result<()> {
        self.start_with(HandedOver::default())
    }

    /// Has the thread ready for sessions of another process, which are not to wait for it.
    ///
    /// # Errors
    /// When there can be none.
    pub(crate) fn prepare(&mut self) -> anyhow::Result<()> {
        if self.handle.is_none() && self.prepared.is_none() {
            self.prepared =
                Some(Bfd::prepare(BfdOptions::default()).context("can't start the thread of BFD")?);
        }
        Ok(())
    }

    /// The same with the sessions of another process: each goes on with the first peer that has it.
    ///
    /// # Errors
    /// As [`Self::ensure_started`].
    pub(crate) fn start_with(&mut self, inherited: HandedOver) -> anyhow::Result<()> {
        if self.handle.is_none() {
            if !inherited.sessions.is_empty() {
                self.claimed_by = Some(Instant::now() + CLAIMED_WITHIN);
            }
            self.prepare()?;
            let Some(prepared) = self.prepared.take() else { return Ok(()) };
            let (handle, mut events) = prepared.start_with(inherited).context(
                "can't start BFD; another BFD daemon (BIRD, FRR's bfdd) may have the UDP ports 3784 and 4784: stop it, or remove `bfd` from the peers",
            )?;
            self.handle = Some(handle);
            let news = self.news.clone();
            tokio::spawn(async move {
                while let Some(event) = events.recv().await {
                    if news.send(event).await.is_err() {
                        break;
                    }
                }
            });
        }
        Ok(())
    }

    /// Watches a peer, or watches it otherwise.
    pub(crate) fn set(&mut self, watch: Watch) {
        let peer = watch.peer.clone();
        let fixed = watch.fixed();
        let shutdown = watch.shutdown;
        let before = self.watches.insert(peer.clone(), watch.clone());
        let held = before.as_ref().is_some_and(|before| before.shutdown);
        match fixed {
            Some(session) => self.establish(peer.clone(), session),
            None if before.is_some_and(|before| before.remote != watch.remote) => self.end_of(&peer),
            // Whoever is connected goes on, with the new settings.
            None => {
                for name in self.names_of(&peer) {
                    let SessionConfig { remote, local, interface, .. } = self.sessions[&name].clone();
                    self.establish(name.clone(), watch.session(&name, remote, local, interface));
                }
            }
        }
        if held != shutdown {
            self.hold_down(&peer, shutdown);
        }
    }

    /// No longer watches a peer.
    pub(crate) fn remove(&mut self, peer: &PeerName) {
        if self.watches.remove(peer).is_some() {
            self.end_of(peer);
        }
    }

    /// A BGP session stands between these ends: whoever it is with is watched from now on.
    pub(crate) fn connected(
        &mut self,
        peer: &PeerName,
        local: SocketAddr,
        remote: SocketAddr,
        interface: Option<String>,
    ) {
        let configured = peer.as_member().map_or_else(|| peer.clone(), |(range, _)| range);
        let Some(watch) = self.watches.get(&configured).filter(|watch| watch.fixed().is_none()) else {
            return;
        };
        let session = watch.session(peer, remote.ip(), Some(local.ip()), interface);
        self.establish(peer.clone(), session);
    }

    /// Forgets the members of ranges that the speaker has forgotten.
    pub(crate) fn retain(&mut self, known: &BTreeSet<PeerName>) {
        let gone: Vec<PeerName> = self
            .sessions
            .keys()
            .filter(|name| name.as_member().is_some() && !known.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            self.end(&name);
        }
    }

    /// Whether members of ranges are watched.
    pub(crate) fn has_members(&self) -> bool {
        self.sessions.keys().any(|name| name.as_member().is_some())
    }

    /// Holds the sessions of a peer down, or lets them come up again.
    pub(crate) fn hold_down(&self, peer: &PeerName, down: bool) {
        let Some(handle) = &self.handle else { return };
        for name in self.names_of(peer) {
            if let Err(error) = handle.set_admin_down(name.as_str(), down) {
                tracing::warn!(peer = %name, %error, "BFD");
            }
        }
    }

    /// Everything for another process; from now on nothing is judged or told here.
    ///
    /// # Errors
    /// When the thread does not answer.
    pub(crate) fn hand_over(&self) -> Result<HandedOver, BfdError> {
        self.handle.as_ref().map_or_else(|| Ok(HandedOver::default()), BfdHandle::hand_over)
    }

    /// There is no other process: all goes on.
    pub(crate) fn take_back(&self) {
        if let Some(Err(error)) = self.handle.as_ref().map(BfdHandle::take_back) {
            tracing::error!(%error, "BFD does not go on");
        }
    }

    /// All is another process's: no neighbour is told anything.
    pub(crate) fn end_silently(&mut self) {
        self.sessions.clear();
        if let Some(Err(error)) = self.handle.take().as_ref().map(BfdHandle::end_silently) {
            tracing::warn!(%error, "BFD");
        }
    }

    /// To be called from time to time: sessions of the process before that no peer goes on with end.
    pub(crate) fn end_unclaimed(&mut self, now: Instant) {
        if self.claimed_by.take_if(|at| *at <= now).is_none() {
            return;
        }
        match self.handle.as_ref().map(BfdHandle::end_unclaimed) {
            Some(Err(error)) => {
                tracing::warn!(%error, "BFD sessions that no peer has any more were not ended");
            }
            Some(Ok(ended)) if !ended.is_empty() => {
                tracing::info!(
                    sessions = ended.join(", "),
                    "BFD sessions that no peer has any more have ended"
                );
            }
            Some(Ok(_)) | None => {}
        }
    }

    /// Tells all neighbours that what follows is no failure.
    pub(crate) fn farewell(&mut self) {
        if let Some(Err(error)) = self.handle.as_ref().map(BfdHandle::farewell) {
            tracing::warn!(%error, "BFD neighbours were not told of the end");
        }
        self.sessions.clear();
    }

    /// All sessions as they stand.
    pub(crate) fn sessions(&self) -> Vec<BfdStatus> {
        self.handle.as_ref().and_then(|handle| handle.sessions().ok()).unwrap_or_default()
    }

    fn names_of(&self, peer: &PeerName) -> Vec<PeerName> {
        let of =
            |name: &&PeerName| *name == peer || name.as_member().is_some_and(|(range, _)| range == *peer);
        self.sessions.keys().filter(of).cloned().collect()
    }

    fn establish(&mut self, name: PeerName, session: SessionConfig) {
        let Some(handle) = &self.handle else { return };
        let done = match self.sessions.get(&name) {
            Some(before) if *before == session => return,
            Some(_) => match handle.reconfigure(session.clone()) {
                // Thrown out by the thread at some time: begin anew.
                Err(BfdError::Unknown(_)) => handle.add(session.clone()),
                done => done,
            },
            None => handle.add(session.clone()),
        };
        match done {
            Ok(()) => drop(self.sessions.insert(name, session)),
            Err(error) => tracing::error!(peer = %name, %error, "no BFD with this peer"),
        }
    }

    fn end_of(&mut self, peer: &PeerName) {
        for name in self.names_of(peer) {
            self.end(&name);
        }
    }

    fn end(&mut self, name: &PeerName) {
        self.sessions.remove(name);
        if let Some(Err(error)) = self.handle.as_ref().map(|handle| handle.remove(name.as_str())) {
            tracing::debug!(peer = %name, %error, "BFD");
        }
    }
}
