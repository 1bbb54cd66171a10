//! Who the peers are: the one place where they come and go, and where a connection finds its peer.
//!
//! A lock around a list, held for a few steps at a time and never across a wait. What a session does is not in here: each
//! has a task of its own, reached by channels.
//!
//! | a connection from            | goes to                                                          |
//! |------------------------------|------------------------------------------------------------------|
//! | a peer's address             | that peer                                                        |
//! | a link-local address         | the peer configured with it and the interface, else the unnumbered one there |
//! | the longest range it is in   | the range's peer at that address, made when there is none        |
//! | elsewhere                    | nobody: Cease 6/5                                                |
//! | a peer, but another way than configured ([`arrival`]) | nobody: Cease 6/5                       |
//! | an unnumbered peer with a password, at an address that no key is set for yet | nobody: Cease 6/5 |

mod arrival;
mod entries;
mod hand_over;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use proxima_bgp_rib::PeerId;
use proxima_bgp_session::AllowList;
use proxima_types::{PeerName, Prefix};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    CommandError, Effect, GuardError, PeerConfig, PeerError, PeerStatus, Remote, StartError,
    config::Common,
    detach::{Before, Resumed},
    discovery::Neighbour,
    event::EventSink,
    listener::{Guard, Listeners},
    peer::{Command, Peer, Ports, Wanted},
    rib::RibQueue,
};

use arrival::Astray;

/// Commands that wait for a peer's task.
const COMMAND_QUEUE: usize = 16;
/// Accepted connections that wait for a peer's task.
const ACCEPT_QUEUE: usize = 4;

/// The peers of a speaker.
pub(crate) struct Roster {
    common: Common,
    /// Held while the desired state is changed, so that nothing is desired that the list does not have.
    allow_list: Mutex<AllowList>,
    wanted: watch::Sender<Wanted>,
    events: EventSink,
    rib: RibQueue,
    /// Changed under the lock of `inner`.
    accepting: watch::Sender<bool>,
    inner: Mutex<Inner>,
}

struct Inner {
    /// In the order of the configuration; members of ranges after the others.
    entries: Vec<Entry>,
    listeners: Listeners,
    tasks: JoinSet<()>,
    last_id: u32,
    /// The speaker was stopped: nobody comes any more.
    closed: bool,
}

struct Entry {
    config: PeerConfig,
    kind: Kind,
}

enum Kind {
    Session(PeerPort),
    /// A range; `down` while an operator has it shut down.
    Range {
        down: Option<String>,
    },
}

/// The way to one peer's task.
#[derive(Debug, Clone)]
pub(crate) struct PeerPort {
    pub(crate) id: PeerId,
    pub(crate) name: PeerName,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) status: watch::Receiver<PeerStatus>,
    accepted: mpsc::Sender<TcpStream>,
    /// The end of its link, once it is known.
    neighbour: Option<watch::Receiver<Neighbour>>,
}

/// Why a connection was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    Stranger(SocketAddr),
    Astray(PeerName, SocketAddr, Box<Astray>),
    Unsigned(PeerName, SocketAddr),
    Crowded(PeerName),
    RangeFull(PeerName, u16, SocketAddr),
    RangeDown(PeerName, SocketAddr),
    /// For now: another process may take over.
    StandsStill,
    Stopped,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger(from) => write!(
                f,
                "rejected a connection from {from}: not a configured peer; add it to [[bgp.peers]] if it should be"
            ),
            Self::Astray(name, from, astray) => {
                write!(f, "rejected a connection of peer {name} from {from}: {astray}")
            }
            Self::Unsigned(name, from) => write!(
                f,
                "rejected a connection of peer {name} from {from}: it is not signed, and the peer has a password; signed ones \
                 are taken once the router has advertised itself"
            ),
            Self::Crowded(name) => write!(f, "too many connections at once from peer {name}; closed one"),
            Self::RangeFull(range, max, from) => write!(
                f,
                "closed a connection from {from}: the range {range} has {max} peers, as many as `max-dynamic` allows"
            ),
            Self::RangeDown(range, from) => {
                write!(f, "closed a connection from {from}: the range {range} is shut down")
            }
            Self::StandsStill => f.write_str("a connection waits: another process may take over"),
            Self::Stopped => f.write_str("closed a connection: the speaker has been stopped"),
        }
    }
}

impl Refused {
    /// Whether the other side is told that it is not wanted (RFC 4486 §4), rather than to come again.
    pub(crate) fn is_rejection(&self) -> bool {
        match self {
            Self::Stranger(_) | Self::Astray(..) | Self::Unsigned(..) => true,
            Self::Crowded(_)
            | Self::RangeFull(..)
            | Self::RangeDown(..)
            | Self::StandsStill
            | Self::Stopped => false,
        }
    }
}

/// Why a peer was not taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error(transparent)]
    Guard(#[from] GuardError),
}

impl From<AddError> for CommandError {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Peer(error) => error.into(),
            AddError::Guard(error) => error.into(),
        }
    }
}

impl From<AddError> for StartError {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Peer(error) => error.into(),
            AddError::Guard(error) => error.into(),
        }
    }
}

/// Tasks that have to be told of a new configuration, with it; without it those that have to end.
pub(crate) type Told = Vec<(PeerPort, Option<PeerConfig>)>;

/// Which peers a name stands for.
pub(crate) enum Named {
    Session(PeerPort),
    Range(Vec<PeerPort>),
}

impl Roster {
    pub(crate) fn new(
        common: Common,
        listeners: Listeners,
        allow_list: AllowList,
        wanted: watch::Sender<Wanted>,
        events: EventSink,
        rib: RibQueue,
    ) -> Arc<Self> {
        let inner =
            Inner { entries: Vec::new(), listeners, tasks: JoinSet::new(), last_id: 0, closed: false };
        Arc::new(Self {
            common,
            allow_list: Mutex::new(allow_list),
            wanted,
            events,
            rib,
            accepting: watch::Sender::new(true),
            inner: Mutex::new(inner),
        })
    }

    pub(crate) fn allow_list(&self) -> MutexGuard<'_, AllowList> {
        self.allow_list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wanted(&self) -> &watch::Sender<Wanted> {
        &self.wanted
    }

    pub(crate) fn rib(&self) -> &RibQueue {
        &self.rib
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked left a list that is still one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the task of each listening socket.
    pub(crate) fn listen(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        for socket in self.lock().listeners.sockets() {
            let accepting = self.accepting.subscribe();
            tasks.spawn(crate::listener::run(Arc::clone(socket), Arc::downgrade(self), accepting));
        }
    }

    pub(crate) fn listening(&self) -> Vec<SocketAddr> {
        self.lock().listeners.addresses()
    }

    /// Every session there is.
    pub(crate) fn ports(&self) -> Vec<PeerPort> {
        self.lock().entries.iter().filter_map(Entry::port).cloned().collect()
    }

    /// Every session's number.
    pub(crate) fn ids(&self) -> Vec<PeerId> {
        self.lock().entries.iter().filter_map(Entry::port).map(|port| port.id).collect()
    }

    /// What goes by a name: a peer, or a range with its members.
    pub(crate) fn named(&self, name: &str) -> Result<Named, CommandError> {
        let inner = self.lock();
        let entry = inner.entries.iter().find(|entry| entry.config.name.as_str() == name);
        match entry.map(|entry| (&entry.config.name, &entry.kind)) {
            Some((_, Kind::Session(port))) => Ok(Named::Session(port.clone())),
            Some((range, Kind::Range { .. })) => Ok(Named::Range(inner.members(range))),
            None => Err(CommandError::UnknownPeer {
                name: name.to_owned(),
                known: inner.entries.iter().map(|entry| entry.config.name.to_string()).collect(),
            }),
        }
    }

    /// The peer with this number.
    pub(crate) fn name_of(&self, id: PeerId) -> Option<PeerName> {
        self.lock()
            .entries
            .iter()
            .filter_map(Entry::port)
            .find(|port| port.id == id)
            .map(|port| port.name.clone())
    }

    /// The one session a name stands for.
    pub(crate) fn session(&self, name: &str) -> Result<PeerPort, CommandError> {
        match self.named(name)? {
            Named::Session(port) => Ok(port),
            Named::Range(_) => Err(CommandError::IsRange(
                name.parse().map_err(|_| CommandError::Stopped)?, // it is the name of an entry
            )),
        }
    }

    /// Takes a peer in and starts its session; false when the speaker was stopped.
    ///
    /// # Errors
    /// When it contradicts itself or another peer, or can't be guarded; nothing is changed then.
    pub(crate) fn add(self: &Arc<Self>, config: PeerConfig, resumed: Resumed) -> Result<bool, AddError> {
        let mut inner = self.lock();
        if inner.closed {
            return Ok(false);
        }
        config.check()?;
        let listening = !inner.listeners.sockets().is_empty();
        for earlier in inner.entries.iter().filter(|entry| !entry.is_member()) {
            earlier.config.check_beside(&config, listening)?;
        }
        inner.listeners.guard(&config.name, Guard::of(&config))?;
        let kind = match config.remote {
            Remote::Range { .. } => {
                Kind::Range { down: resumed.down.map(|down| down.reason).or_else(|| config.shutdown.clone()) }
            }
            Remote::Address { .. } | Remote::Interface { .. } => {
                Kind::Session(self.spawn(&mut inner, config.clone(), None, resumed))
            }
        };
        let at = inner.entries.iter().position(Entry::is_member).unwrap_or(inner.entries.len());
        inner.entries.insert(at, Entry { config, kind });
        Ok(true)
    }

    /// Takes out a peer, or a range with its members, and returns the ways to their tasks, which go on.
    pub(crate) fn remove(&self, name: &str) -> Result<Vec<PeerPort>, CommandError> {
        self.named(name)?;
        let mut inner = self.lock();
        let Some(at) = inner.entries.iter().position(|entry| entry.config.name.as_str() == name) else {
            return Ok(Vec::new());
        };
        if inner.entries[at].is_member() {
            return Err(CommandError::OfRange(inner.entries[at].config.name.clone()));
        }
        let Entry { config, kind } = inner.entries.remove(at);
        let removed = match kind {
            Kind::Session(port) => vec![port],
            Kind::Range { .. } => {
                let members = inner.members(&config.name);
                inner.entries.retain(|entry| !entry.is_member_of(&config.name));
                members
            }
        };
        for name in removed.iter().map(|port| &port.name).chain([&config.name]) {
            if let Err(error) = inner.listeners.guard(name, None) {
                tracing::warn!(peer = %name, "BGP: what guarded the peer's connections is still there: {error}");
            }
        }
        Ok(removed)
    }

    /// Gives a peer or a range its new configuration; the tasks that have to be told of it, with what to tell.
    ///
    /// # Errors
    /// When there is no such peer, or the new configuration contradicts itself or another peer; nothing is changed then.
    pub(crate) fn reconfigure(&self, new: PeerConfig) -> Result<(Effect, Told), CommandError> {
        self.named(new.name.as_str())?;
        let mut inner = self.lock();
        let listening = !inner.listeners.sockets().is_empty();
        let Some(at) = inner.entries.iter().position(|entry| entry.config.name == new.name) else {
            return Ok((Effect::Unchanged, Vec::new()));
        };
        if inner.entries[at].is_member() {
            return Err(CommandError::OfRange(new.name));
        }
        new.check()?;
        for other in inner.entries.iter().filter(|entry| !entry.is_member()) {
            if other.config.name != new.name {
                other.config.check_beside(&new, listening)?;
            }
        }
        let effect = self.common.effect(&inner.entries[at].config, &new);
        if effect == Effect::Replaced {
            return Ok((effect, Vec::new()));
        }
        if !matches!(new.remote, Remote::Interface { .. }) {
            inner.listeners.guard(&new.name, Guard::of(&new))?;
        }
        let told = match &mut inner.entries[at] {
            Entry { config, kind: Kind::Session(port) } => {
                *config = new.clone();
                vec![(port.clone(), Some(new))]
            }
            Entry { config, kind: Kind::Range { down } } => {
                if config.shutdown != new.shutdown {
                    down.clone_from(&new.shutdown);
                }
                *config = new.clone();
                inner.change_members(&new)
            }
        };
        Ok((effect, told))
    }

    /// Marks a range as shut down or not.
    pub(crate) fn set_down(&self, range: &str, reason: Option<String>) {
        for entry in &mut self.lock().entries {
            if let Entry { config, kind: Kind::Range { down } } = entry
                && config.name.as_str() == range
            {
                *down = reason;
                return;
            }
        }
    }

    /// Hands a connection to the peer it comes from, which a range may have to make first.
    pub(crate) fn dispatch(
        self: &Arc<Self>,
        stream: TcpStream,
        from: SocketAddr,
    ) -> Result<(), (Refused, TcpStream)> {
        let mut inner = self.lock();
        if inner.closed {
            return Err((Refused::Stopped, stream));
        }
        if !*self.accepting.borrow() {
            return Err((Refused::StandsStill, stream));
        }
        let Some(at) = inner.owner(from) else { return Err((Refused::Stranger(from), stream)) };
        let config = &inner.entries[at].config;
        let announced = |address| self.allow_list().covering(address);
        if let Some(astray) = Astray::of(config, &stream, announced) {
            return Err((Refused::Astray(config.name.clone(), from, Box::new(astray)), stream));
        }
        if !inner.listeners.signs(config, from.ip().to_canonical()) {
            return Err((Refused::Unsigned(config.name.clone(), from), stream));
        }
        let port = match &inner.entries[at].kind {
            Kind::Session(port) => port.clone(),
            Kind::Range { .. } => match self.make_member(&mut inner, at, from) {
                Ok(port) => port,
                Err(refused) => return Err((refused, stream)),
            },
        };
        port.accepted.try_send(stream).map_err(|error| (Refused::Crowded(port.name), error.into_inner()))
    }

    fn make_member(
        self: &Arc<Self>,
        inner: &mut Inner,
        at: usize,
        from: SocketAddr,
    ) -> Result<PeerPort, Refused> {
        let Entry { config, kind: Kind::Range { down } } = &inner.entries[at] else {
            return Err(Refused::Stranger(from));
        };
        let Remote::Range { max, .. } = config.remote else { return Err(Refused::Stranger(from)) };
        let range = config.name.clone();
        if down.is_some() {
            return Err(Refused::RangeDown(range, from));
        }
        if inner.members(&range).len() >= usize::from(max) {
            return Err(Refused::RangeFull(range, max, from));
        }
        let config = config.member(from.ip().to_canonical());
        tracing::info!(peer = %config.name, "BGP: a peer of the range {range}");
        let port = self.spawn(inner, config.clone(), Some(range), Resumed::default());
        inner.entries.push(Entry { config, kind: Kind::Session(port.clone()) });
        Ok(port)
    }

    /// Takes a member of a range out, unless a connection waits for it just now. Called by the member's own task.
    pub(crate) fn retire(&self, name: &PeerName, accepted: &mpsc::Receiver<TcpStream>) -> bool {
        let mut inner = self.lock();
        if !accepted.is_empty() {
            return false;
        }
        inner.entries.retain(|entry| entry.config.name != *name);
        true
    }

    /// Guards the connections of a peer at the end of a link, whose address is known now.
    pub(crate) fn guard_neighbour(&self, config: &PeerConfig, address: IpAddr) {
        let guard = Guard::at(config, Prefix::host(address));
        if let Err(error) = self.lock().listeners.guard(&config.name, Some(guard)) {
            tracing::warn!(peer = %config.name, "BGP: {error}");
        }
    }

    /// Lets nobody in any more; the ways to all tasks, which go on.
    pub(crate) fn close(&self) -> Vec<PeerPort> {
        self.lock().closed = true;
        self.ports()
    }

    fn spawn(
        self: &Arc<Self>,
        inner: &mut Inner,
        config: PeerConfig,
        range: Option<PeerName>,
        Resumed { session: resumed, down }: Resumed,
    ) -> PeerPort {
        while inner.tasks.try_join_next().is_some() {}
        let now = Instant::now();
        inner.last_id += 1;
        let id = PeerId(inner.last_id);
        let (accepted_sender, accepted) = mpsc::channel(ACCEPT_QUEUE);
        let (command_sender, commands) = mpsc::channel(COMMAND_QUEUE);
        let (session, before) = self.begin(now, &config, resumed, &mut inner.tasks);
        let before = Before { down, ..before };
        let ends = before.connection.as_ref().map(|connection| (connection.local, connection.remote));
        let (local, remote) = ends.unwrap_or_default();
        let (status, status_receiver) = watch::channel(PeerStatus {
            local,
            remote,
            ..PeerStatus::new(&config, range.clone(), session.status(), now)
        });
        let ports = Ports {
            id,
            wanted: self.wanted.subscribe(),
            commands,
            accepted,
            events: self.events.clone(),
            status,
            rib: self.rib.clone(),
            roster: Arc::downgrade(self),
        };
        let name = config.name.clone();
        let peer = Peer::new(config, self.common.clone(), session, before, ports, now);
        let neighbour = peer.neighbour();
        inner.tasks.spawn(peer.run());
        PeerPort {
            id,
            name,
            commands: command_sender,
            status: status_receiver,
            accepted: accepted_sender,
            neighbour,
        }
    }
}

impl PeerConfig {
    fn check_beside(&self, later: &Self, listening: bool) -> Result<(), PeerError> {
        if self.name == later.name {
            return Err(PeerError::DuplicateName(later.name.clone()));
        }
        if self.confusable(later, listening) {
            let (first, second) = (self.name.clone(), later.name.clone());
            return Err(PeerError::DuplicateAddress { first, second, remote: later.remote.clone() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
