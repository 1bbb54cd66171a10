//! Starting: checks, listening sockets, a task for each peer.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use proxima_bgp_session::{Session, Status};
use proxima_types::Asn;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    PeerConfig, PeerStatus, SpeakerConfig, SpeakerEvent, SpeakerHandle, StartError, connect,
    event::EventSink,
    handle::PeerPort,
    listener,
    peer::{Peer, Ports, Wanted},
};

/// Commands that wait for a peer's task.
const COMMAND_QUEUE: usize = 16;
/// Accepted connections that wait for a peer's task.
const ACCEPT_QUEUE: usize = 4;

/// A BGP speaker; lives as the tasks that [`Speaker::start`] spawns.
#[derive(Debug)]
pub struct Speaker;

impl Speaker {
    /// Binds every listening socket, then starts all sessions. Nothing is announced before
    /// [`SpeakerHandle::set_desired`].
    ///
    /// To be called within a tokio runtime. When the last handle is dropped every connection is closed without a
    /// word, as if the process had died; [`SpeakerHandle::stop`] takes leave.
    ///
    /// # Errors
    /// When the configuration contradicts itself or an address can't be listened on; nothing was started then.
    pub fn start(config: SpeakerConfig) -> Result<(SpeakerHandle, mpsc::Receiver<SpeakerEvent>), StartError> {
        check(&config)?;
        let listeners = bind(&config)?;
        let listening = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();

        let (events, receiver) = EventSink::new();
        let (wanted, _) = watch::channel(Wanted::default());
        let mut by_address = HashMap::new();
        let mut peers = Vec::new();
        let mut tasks = JoinSet::new();
        for peer in &config.peers {
            let (accepted_sender, accepted) = mpsc::channel(ACCEPT_QUEUE);
            let (command_sender, commands) = mpsc::channel(COMMAND_QUEUE);
            let now = Instant::now();
            let session = Session::new(peer.settings(&config), random_seed());
            let (status, status_receiver) = watch::channel(initial_status(peer, session.status(), now));
            if let Some(address) = peer.socket_address() {
                by_address.insert(address.ip().to_canonical(), (peer.name.clone(), accepted_sender));
            }
            peers.push(PeerPort {
                name: peer.name.clone(),
                commands: command_sender,
                status: status_receiver,
            });
            let ports =
                Ports { wanted: wanted.subscribe(), commands, accepted, events: events.clone(), status };
            tasks.spawn(Peer::new(peer.clone(), session, ports, now).run());
        }
        let by_address = Arc::new(by_address);
        let mut listener_tasks = JoinSet::new();
        for listener in listeners {
            listener_tasks.spawn(listener::run(listener, by_address.clone()));
        }
        let handle = SpeakerHandle::new(config.allow_list, listening, wanted, peers, (tasks, listener_tasks));
        Ok((handle, receiver))
    }
}

fn check(config: &SpeakerConfig) -> Result<(), StartError> {
    if config.local_as == Asn(0) || config.router_id.is_unspecified() {
        return Err(StartError::ZeroIdentity);
    }
    let seconds = config.hold_time.as_secs();
    let whole = config.hold_time == Duration::from_secs(seconds);
    if !whole || !(seconds == 0 || (3..=u64::from(u16::MAX)).contains(&seconds)) {
        return Err(StartError::HoldTime(config.hold_time));
    }
    for (index, peer) in config.peers.iter().enumerate() {
        if peer.families.is_empty() {
            return Err(StartError::NoFamilies(peer.name.clone()));
        }
        if let (Some(source_address), Some(address)) = (peer.source, peer.socket_address())
            && source_address.is_ipv4() != address.is_ipv4()
        {
            let (peer, address) = (peer.name.clone(), address.ip());
            return Err(StartError::SourceFamily { peer, source_address, address });
        }
        for earlier in &config.peers[..index] {
            if earlier.name == peer.name {
                return Err(StartError::DuplicateName(peer.name.clone()));
            }
            if let Some(address) = same_source(config, earlier, peer) {
                let (first, second) = (earlier.name.clone(), peer.name.clone());
                return Err(StartError::DuplicateAddress { first, second, address });
            }
        }
    }
    Ok(())
}

/// The address from which a connection could be either's. Where nobody listens, or for another port, there is none.
fn same_source(config: &SpeakerConfig, one: &PeerConfig, other: &PeerConfig) -> Option<IpAddr> {
    let (one_address, other_address) = (one.socket_address()?, other.socket_address()?);
    let same = one_address.ip().to_canonical() == other_address.ip().to_canonical()
        && (one.port == other.port || one.passive || other.passive || !config.listen.is_empty());
    same.then_some(one_address.ip())
}

fn bind(config: &SpeakerConfig) -> Result<Vec<TcpListener>, StartError> {
    let listen = |&address| connect::listen(address).map_err(|source| StartError::Listen { address, source });
    config.listen.iter().map(listen).collect()
}

fn initial_status(peer: &PeerConfig, session: Status, now: Instant) -> PeerStatus {
    PeerStatus {
        name: peer.name.clone(),
        configured: peer.remote.clone(),
        port: peer.port,
        remote_as: peer.remote_as,
        since: now,
        local: None,
        remote: None,
        session,
    }
}

/// Jitter has to differ between speakers, no more: the standard library's random hash keys do.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
