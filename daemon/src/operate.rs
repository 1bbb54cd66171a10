//! What operators order: drain, commands to peers, restart.

use std::time::Instant;

use proxima_announce::Override;
use proxima_api::{DrainRequest, DrainStatus, Drained, EventKind, PeerCommanded, RestartRequest, Restarting};
use proxima_bgp_speaker::{CommandError, SpeakerHandle, State};
use proxima_types::{Family, PeerName};

use crate::{
    admin::{CommandRefusal, PeerVerb, Reply},
    control::Control,
    groups::drain_order,
    words::{self, Ordered},
};

impl Control {
    pub(crate) fn drain(&mut self, request: DrainRequest) -> DrainStatus {
        let changed = self.drained.is_none() && !self.is_stopping();
        if changed {
            let event = self.journal.publish(EventKind::Drain { reason: request.reason.clone() });
            self.ordered = Some(Ordered::Drain(request.reason.clone()));
            self.drained = Some(Drained { since: event.at, reason: request.reason });
            self.groups.order(Instant::now(), drain_order(self.config.drain.graceful_shutdown));
        }
        DrainStatus { changed, drained: self.drained.clone() }
    }

    pub(crate) fn undrain(&mut self) -> DrainStatus {
        let changed = self.drained.is_some() && !self.is_stopping();
        if changed {
            self.drained = None;
            self.ordered = None;
            self.journal.publish(EventKind::Undrain);
            self.groups.order(Instant::now(), Override::Auto);
        }
        DrainStatus { changed, drained: self.drained.clone() }
    }

    /// Hands a command to a peer's session, beside the control task: its task may be busy.
    pub(crate) fn command_peer(
        &mut self,
        peer: PeerName,
        verb: PeerVerb,
        reply: Reply<Result<PeerCommanded, CommandRefusal>>,
    ) {
        let known = self.speaker.peers();
        let concerned: Vec<_> = known
            .iter()
            .filter(|status| status.name == peer || status.range.as_ref() == Some(&peer))
            .collect();
        let state = concerned.iter().find(|status| status.name == peer).map(|status| status.session.state);
        if concerned.is_empty() && !self.config.bgp.peers.iter().any(|config| config.name == peer) {
            let known = self.config.bgp.peers.iter().map(|config| config.name.to_string()).collect();
            reply.send(Err(CommandError::UnknownPeer { name: peer.to_string(), known }.into())).ok();
            return;
        }
        if let (PeerVerb::Refresh, Some(state)) = (&verb, state)
            && state != State::Established
        {
            let (error, hint) =
                (format!("`{peer}` has no session to ask for routes on"), "see `proxima peers NAME`");
            reply.send(Err(CommandRefusal::conflict(error, hint))).ok();
            return;
        }
        match &verb {
            PeerVerb::Shutdown(_) => self.bfd.hold_down(&peer, true),
            PeerVerb::Up | PeerVerb::Reset => self.bfd.hold_down(&peer, false),
            PeerVerb::Refresh => {}
        }
        self.journal.publish(told(&peer, &verb));
        let (speaker, drain) = (self.speaker.clone(), self.config.drain.graceful_shutdown);
        tokio::spawn(async move {
            let done = match verb {
                PeerVerb::Reset => speaker.reset(peer.as_str()).await,
                PeerVerb::Up => speaker.up(peer.as_str()).await,
                PeerVerb::Shutdown(reason) => speaker.shutdown(peer.as_str(), &reason, drain).await,
                PeerVerb::Refresh => refresh(&speaker, &peer).await,
            };
            let answer = match done {
                Ok(()) => Ok(PeerCommanded { peer, state: state.map(words::session_state) }),
                Err(error) => Err(error.into()),
            };
            reply.send(answer).ok();
        });
    }

    /// Who keeps our routes over a restart, and who does not.
    ///
    /// # Errors
    /// When nobody would, or not everybody and it is not forced.
    pub(crate) fn restart(&mut self, request: RestartRequest) -> Result<Restarting, CommandRefusal> {
        if self.is_stopping() {
            return Err(CommandRefusal::Stopping);
        }
        let established =
            self.speaker.peers().into_iter().filter(|peer| peer.session.state == State::Established);
        let (helpers, others): (Vec<_>, Vec<_>) =
            established.partition(|peer| peer.terms().is_some_and(|terms| terms.graceful_restart.is_some()));
        let names = |peers: Vec<proxima_bgp_speaker::PeerStatus>| {
            peers.into_iter().map(|peer| peer.name).collect::<Vec<_>>()
        };
        let restarting = Restarting { helped_by: names(helpers), dropped_by: names(others) };
        if !request.force && restarting.helped_by.is_empty() {
            return Err(CommandRefusal::conflict(
                "no established peer keeps our routes over a restart",
                "set `graceful-restart` for peers that know RFC 4724, or restart with --force; `systemctl restart` drains first",
            ));
        }
        if !request.force && !restarting.dropped_by.is_empty() {
            let names = restarting.dropped_by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(CommandRefusal::conflict(
                format!("{names} would drop our routes during the restart"),
                "restart with --force if the others are enough; `systemctl restart` drains first",
            ));
        }
        let Restarting { helped_by, dropped_by } = restarting.clone();
        self.journal.publish(EventKind::Restarting { helped_by, dropped_by });
        Ok(restarting)
    }
}

fn told(peer: &PeerName, verb: &PeerVerb) -> EventKind {
    let peer = peer.clone();
    match verb {
        PeerVerb::Reset => EventKind::PeerReset { peer },
        PeerVerb::Refresh => EventKind::PeerRefresh { peer },
        PeerVerb::Shutdown(reason) => EventKind::PeerShutdown { peer, reason: reason.clone() },
        PeerVerb::Up => EventKind::PeerUp { peer },
    }
}

/// Every family that the session carries.
async fn refresh(speaker: &SpeakerHandle, peer: &PeerName) -> Result<(), CommandError> {
    let carried =
        speaker.peers().into_iter().find(|status| status.name == *peer).map(|status| status.families());
    for family in carried.unwrap_or_else(|| Family::ALL.to_vec()) {
        speaker.refresh(peer.as_str(), family).await?;
    }
    Ok(())
}
