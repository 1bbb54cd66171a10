//! What sessions with neighbours tell the control task: BGP, and BFD under it.

use std::time::{Duration, Instant};

use proxima_api::EventKind;
use proxima_bfd_io::{BfdEvent, Meaning};
use proxima_bgp_speaker::{BfdState, Held, SpeakerEvent, State, UpdateContent};
use proxima_types::PeerName;

use crate::{attempts::Step, control::Control, words};

/// How often members of ranges that are gone are looked for.
const CENSUS: Duration = Duration::from_secs(5);

impl Control {
    pub(crate) fn handle_speaker(&mut self, event: SpeakerEvent) {
        let (kind, at) = match event {
            SpeakerEvent::StateChanged { peer, from, to, cause, at } => {
                if from == State::Established && self.is_shut_down(&peer) {
                    self.bfd.hold_down(&peer, true);
                }
                let (from, to) = (words::session_state(from), words::session_state(to));
                let step = Step { from, to, reason: words::session_reason(&cause), at };
                for Step { from, to, reason, at } in self.attempts.tell(&peer, step) {
                    self.journal
                        .publish_at(EventKind::PeerState { peer: peer.clone(), from, to, reason }, at);
                }
                return;
            }
            SpeakerEvent::UpdateSent { peer, content, at } => {
                let (announced, withdrawn, attributes) = match content {
                    UpdateContent::Announced { prefixes, attributes } => {
                        (prefixes, Vec::new(), Some(attributes.as_ref().clone()))
                    }
                    UpdateContent::Withdrawn(prefixes) => (Vec::new(), prefixes, None),
                    UpdateContent::EndOfRib(family) => {
                        self.journal.publish_at(EventKind::EndOfRibSent { peer, family }, at);
                        return;
                    }
                    UpdateContent::RefreshBegun(_) | UpdateContent::RefreshEnded(_) => return,
                };
                (EventKind::UpdateSent { peer, announced, withdrawn, attributes }, at)
            }
            SpeakerEvent::Connected { peer, local, remote, interface, at: _ } => {
                self.bfd.connected(&peer, local, remote, interface);
                return;
            }
            SpeakerEvent::Problem { peer, problem, at } => {
                (EventKind::PeerFault { peer, fault: problem.to_string() }, at)
            }
        };
        self.journal.publish_at(kind, at);
    }

    /// Whether an operator holds the peer's session down.
    fn is_shut_down(&self, peer: &PeerName) -> bool {
        let status = self.speaker.peers().into_iter().find(|status| status.name == *peer);
        status.is_some_and(|status| matches!(status.session.held, Some(Held::Shutdown(_))))
    }

    /// A path to a peer works, or no longer does. The session is told first, the journal after.
    pub(crate) fn handle_bfd(&mut self, event: BfdEvent) {
        let Ok(peer) = event.name.parse::<PeerName>() else { return };
        let change = event.change;
        let state = match change.meaning() {
            Meaning::Up => Some(BfdState::Up),
            Meaning::Failed => {
                let diagnostic = change.cause.to_string();
                Some(BfdState::Down { diagnostic, independent: change.remote_independent })
            }
            Meaning::AdminDown => Some(BfdState::AdminDown),
            Meaning::Nothing => None,
        };
        if let Some(state) = state {
            let (speaker, peer) = (self.speaker.clone(), peer.clone());
            // Tasks begin in the order they are made, and a session's queue keeps it.
            tokio::spawn(async move {
                if let Err(error) = speaker.bfd(peer.as_str(), state).await {
                    tracing::debug!(%peer, %error, "BFD of a peer that is gone");
                }
            });
        }
        let (from, to) = (words::bfd_state(change.from), words::bfd_state(change.to));
        let diagnostic = (to != proxima_api::BfdState::Up && to != proxima_api::BfdState::Init)
            .then(|| change.cause.to_string());
        self.journal.publish_at(EventKind::BfdState { peer, from, to, diagnostic }, event.at);
    }

    /// No BFD with members of ranges that are no peers any more; looked at from time to time.
    pub(crate) fn forget_members(&mut self, now: Instant) {
        if now < self.last_census + CENSUS || !self.bfd.has_members() {
            return;
        }
        self.last_census = now;
        self.bfd.retain(&self.speaker.peers().into_iter().map(|peer| peer.name).collect());
    }
}
