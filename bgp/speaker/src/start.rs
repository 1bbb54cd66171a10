//! Starting: checks, listening sockets, the RIB's thread, a task for each peer.

use std::{collections::HashMap, net::SocketAddr, time::Instant};

use proxima_types::{Asn, PeerName};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    Detached, SpeakerConfig, SpeakerEvents, SpeakerHandle, StartError,
    config::{Common, fits_open},
    detach::{Resumed, ResumedSession, take_listener},
    event::EventSink,
    listener::Listeners,
    peer::Wanted,
    rib::RibQueue,
    roster::Roster,
    socket,
    watchers::Watchers,
};

/// A BGP speaker; lives as the tasks and the thread that [`Speaker::start`] spawns.
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
    pub fn start(config: SpeakerConfig) -> Result<(SpeakerHandle, SpeakerEvents), StartError> {
        Self::start_with(config, Detached::default())
    }

    /// Goes on with what another speaker has [handed over](SpeakerHandle::hand_over): its peers notice nothing, but for what
    /// [`Effect`](crate::Effect) says of those that are configured otherwise. Who is configured no longer hears Cease 6/3;
    /// what there is more begins as ever.
    ///
    /// Nothing is said or let in before the tasks run for the first time.
    ///
    /// # Errors
    /// As [`Speaker::start`]; what was handed over is lost then.
    pub fn start_with(
        config: SpeakerConfig,
        detached: Detached,
    ) -> Result<(SpeakerHandle, SpeakerEvents), StartError> {
        if config.local_as == Asn(0) || config.router_id.is_unspecified() {
            return Err(StartError::ZeroIdentity);
        }
        if !fits_open(config.hold_time) {
            return Err(StartError::HoldTime(config.hold_time));
        }
        let Detached { peers, down, mut listeners, started } = detached;
        let inherited = !listeners.is_empty();
        let listen = |&address| {
            listener(address, &mut listeners).map_err(|error| StartError::Listen { address, error })
        };
        let sockets = config.listen.iter().map(listen).collect::<Result<_, _>>()?;

        let common = Common {
            local_as: config.local_as,
            router_id: config.router_id,
            started: started.unwrap_or_else(Instant::now),
            hold_time: config.hold_time,
            connect_retry: config.connect_retry,
        };
        let (events, receiver) = EventSink::new();
        let (wanted, _) = watch::channel(Wanted::default());
        let rib = RibQueue::start(config.best_path).map_err(StartError::Thread)?;
        let roster = Roster::new(common, Listeners::new(sockets), config.allow_list, wanted, events, rib);
        let mut resumed: HashMap<PeerName, Resumed> = HashMap::new();
        for peer in peers {
            let name = peer.name.clone();
            resumed.entry(name).or_default().session = ResumedSession::try_from(peer).ok();
        }
        for down in down {
            let name = down.name.clone();
            resumed.entry(name).or_default().down = Some(down);
        }
        for peer in config.peers {
            let resumed = resumed.remove(&peer.name).unwrap_or_default();
            roster.add(peer, resumed)?;
        }
        for (member, resumed) in resumed {
            roster.resume_member(&member, resumed);
        }
        let mut listeners = JoinSet::new();
        if inherited {
            roster.guard_inherited(&mut listeners);
        }
        roster.listen(&mut listeners);
        let mut watchers = Watchers::new(config.router_id);
        watchers.begin(config.bmp, config.mrt, &roster);
        Ok((SpeakerHandle::new(config.router_id, roster, listeners, watchers), receiver))
    }
}

/// The socket that was handed over for an address, or a new one.
fn listener(address: SocketAddr, inherited: &mut Vec<std::net::TcpListener>) -> std::io::Result<TcpListener> {
    match take_listener(inherited, address) {
        Some(listener) => {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        }
        None => socket::listen(address),
    }
}
