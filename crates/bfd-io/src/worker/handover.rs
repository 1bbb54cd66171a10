//! Handing the sessions to another process, and going on with those of one.

use std::{sync::Arc, time::Instant};

use proxima_bfd::{Cause, Discriminator};

use super::{ABSENT, LOOK_UP, Peer, Worker, index_of, requests::answer};
use crate::{
    handover::{HandedOver, HandedSession},
    outbox::Untold,
    settings::{BfdError, BfdEvent, SessionConfig},
};

/// What is to be told of a session once somebody claims it.
#[derive(Debug, Default)]
pub(super) struct Unclaimed {
    /// The state it was handed over in: told first, as no failure means anything to who has not heard that it was up.
    handed: Option<BfdEvent>,
    /// What became of it since.
    since: Untold,
}

impl Unclaimed {
    pub(super) fn add(&mut self, event: BfdEvent) {
        if event.change.cause == Cause::HandedOver {
            self.handed = Some(event);
        } else {
            self.since.add(event);
        }
    }

    fn take(&mut self) -> Option<BfdEvent> {
        self.handed.take().or_else(|| self.since.take())
    }
}

impl Worker {
    /// Whether the sessions are this thread's to change.
    pub(super) fn ours(&self) -> Result<(), BfdError> {
        if self.handed || self.to_hand_over.is_some() { Err(BfdError::HandedOver) } else { Ok(()) }
    }

    /// Hands over at the end of a round: what has been read is judged, what was to be sent and told is out.
    pub(super) fn hand_over_if_asked(&mut self, now: Instant) {
        let Some(reply) = self.to_hand_over.take() else { return };
        match self.sockets.duplicate() {
            Err(error) => answer(&reply, Err(BfdError::Sockets(error.to_string()))),
            Ok(sockets) => {
                self.handed = true;
                let snapshots = self.sessions.hand_over(now).into_iter();
                let sessions = snapshots.filter_map(|session| {
                    let peer = self.peers.get(&session.discriminator())?;
                    Some(HandedSession {
                        config: peer.config.clone(),
                        session,
                        send_errors: peer.send_errors,
                    })
                });
                let handed = HandedOver { sessions: sessions.collect(), sockets };
                if reply.send(Ok(handed)).is_err() {
                    // Whoever asked has given up.
                    self.take_back(now);
                }
            }
        }
    }

    /// Goes on with what was handed over.
    pub(super) fn take_back(&mut self, now: Instant) {
        self.sessions.take_back(now);
        self.handed = false;
    }

    /// Goes on with the sessions of another process. They are nobody's here until they are claimed.
    pub(crate) fn inherit(&mut self, now: Instant, sessions: Vec<HandedSession>) {
        for session in sessions {
            let name = session.config.name.clone();
            if let Err(error) = self.inherit_one(now, session) {
                tracing::warn!(session = %name, %error, "a BFD session that was handed over can't go on");
            }
        }
    }

    fn inherit_one(&mut self, now: Instant, handed: HandedSession) -> Result<(), BfdError> {
        let HandedSession { config, session, send_errors } = handed;
        config.check()?;
        if !self.sockets.can_reach(config.remote) {
            return Err(BfdError::Family(config.remote));
        }
        let path = config.path(config.interface.as_deref().map(index_of));
        self.sessions.resume(now, path, &session, config.settings.clone(), self.draws.draw())?;
        let peer = Peer { send_errors, ..Peer::new(config, &path) };
        self.unclaimed.insert(session.discriminator(), Unclaimed::default());
        self.insert(now, session.discriminator(), peer);
        Ok(())
    }

    /// The session of another process that watches what `config` is to watch, by an interface with this index. The interface
    /// may have another name by now.
    pub(super) fn unclaimed_like(
        &self,
        config: &SessionConfig,
        interface: Option<u32>,
    ) -> Option<Discriminator> {
        let goes_on = |peer: &Peer| {
            let same_link = interface == peer.interface && interface != Some(ABSENT);
            let named_alike = SessionConfig { interface: config.interface.clone(), ..peer.config.clone() };
            peer.config.same_path(config) || same_link && named_alike.same_path(config)
        };
        self.unclaimed
            .keys()
            .copied()
            .find(|discriminator| self.peers.get(discriminator).is_some_and(goes_on))
    }

    /// Makes a session of another process the one that is configured, and tells what is to be told of it.
    pub(super) fn claim(
        &mut self,
        now: Instant,
        discriminator: Discriminator,
        config: SessionConfig,
    ) -> Result<(), BfdError> {
        let name: Arc<str> = config.name.as_str().into();
        // What the session has still to tell is told before what the change makes of it.
        self.put_out(now);
        self.change(now, discriminator, config)?;
        if let Some(peer) = self.peers.get_mut(&discriminator) {
            peer.name = name.clone();
        }
        let mut unclaimed = self.unclaimed.remove(&discriminator).unwrap_or_default();
        while let Some(event) = unclaimed.take() {
            self.outbox.tell(BfdEvent { name: name.clone(), ..event });
        }
        self.names.insert(name, discriminator);
        Ok(())
    }

    /// Removes the sessions that nobody has claimed; their names.
    pub(super) fn end_unclaimed(&mut self, now: Instant) -> Vec<String> {
        let mut names = Vec::new();
        for (discriminator, _) in self.unclaimed.drain() {
            self.sessions.remove(now, discriminator);
            names.extend(self.peers.get(&discriminator).map(|peer| peer.config.name.clone()));
        }
        if !names.is_empty() {
            self.look_up_at.get_or_insert(now + LOOK_UP);
        }
        names.sort_unstable();
        names
    }
}
