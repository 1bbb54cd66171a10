//! Which connection is the session's, and what follows when that changes.
//!
//! An incoming connection gets a machine of its own beside one that is already connecting or connected. Both live until
//! an OPEN arrives on one while the other has had its own: then the connection made by the speaker with the higher BGP
//! identifier stays (RFC 4271 §6.8; equal identifiers: the higher AS number, RFC 6286 §2.3) and the other gets Cease 6/7.
//!
//! A connection that is established stays, with one exception: a peer with graceful restart that connects anew has lost
//! the old connection without our noticing. Its new one is tracked until its OPEN comes; if that is valid, the old one
//! is closed without a word, its routes stay as stale ones, and the new one takes its place (RFC 4724 §5). In the first
//! moments of a session ([`COLLISION_WINDOW`]) a second connection is more likely the late loser of a collision: then it
//! takes the word of the peer that it has restarted (R) to replace the first.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use proxima_bgp_wire::{ErrorCode, Families, Notification, Open};

use super::{Session, Slot};
use crate::{
    Terms,
    fsm::{Event, Fsm, Initiator, Link, Phase},
    interface::{ConnectionId, State},
    output::{Cause, Output, PeerUp, RibChange},
    problem::Problem,
    shared::encoded,
};

/// How long after a session came up a second connection may still be part of a collision.
const COLLISION_WINDOW: Duration = Duration::from_secs(5);

/// What is decided about two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collision {
    /// There is none, or not yet.
    None,
    /// This one goes, with Cease 6/7.
    Lost(Slot),
    /// The established one is dead and goes without a word.
    Replaced,
}

impl Session {
    pub(super) fn accepted(&mut self, now: Instant, link: Link) {
        match self.primary.phase() {
            // RFC 4271 §8.2.2: Idle refuses connections. While waiting after a failure, without a word, since a
            // NOTIFICATION would make the peer wait longer than we do.
            Phase::Idle { restart: Some(_) } => self.shared.close(link.id),
            Phase::Idle { restart: None } => {
                self.shared.notify(now, link.id, Notification::new(ErrorCode::CONNECTION_REJECTED, []), None);
            }
            Phase::Active { .. } => self.event(now, Slot::Primary, Event::TcpConnectionConfirmed(link)),
            Phase::Established { .. } if !self.may_be_replaced() => {
                self.shared.notify(
                    now,
                    link.id,
                    Notification::new(ErrorCode::CONNECTION_COLLISION, []),
                    None,
                );
            }
            Phase::Connect { .. }
            | Phase::OpenSent { .. }
            | Phase::OpenConfirm { .. }
            | Phase::Established { .. } => {
                // A third connection: the peer has given up the one before.
                self.event(now, Slot::Rival, Event::OpenCollisionDump);
                self.rival = Some(Fsm::listening());
                self.event(now, Slot::Rival, Event::TcpConnectionConfirmed(link));
            }
        }
    }

    fn may_be_replaced(&self) -> bool {
        self.is_steady() && self.up.as_ref().is_some_and(|terms| terms.graceful_restart.is_some())
    }

    /// What follows for two connections from a valid OPEN on `slot`.
    pub(super) fn collision(&self, now: Instant, slot: Slot, terms: &Terms) -> Collision {
        let (Some(this), Some(other)) = (self.fsm(slot), self.fsm(slot.other())) else {
            return Collision::None;
        };
        if !matches!(this.phase(), Phase::OpenSent { .. }) {
            return Collision::None;
        }
        match other.phase() {
            Phase::Established { since, .. } => {
                let restarted = terms.graceful_restart.is_some_and(|restart| restart.restarted);
                let settled = restarted || now >= *since + COLLISION_WINDOW;
                if settled && slot == Slot::Rival && self.may_be_replaced() {
                    Collision::Replaced
                } else {
                    Collision::Lost(slot)
                }
            }
            Phase::OpenConfirm { .. } => {
                self.loser(slot, &terms.peer).map_or(Collision::None, Collision::Lost)
            }
            Phase::Idle { .. } | Phase::Connect { .. } | Phase::Active { .. } | Phase::OpenSent { .. } => {
                Collision::None
            }
        }
    }

    fn loser(&self, slot: Slot, theirs: &Open) -> Option<Slot> {
        let this = self.fsm(slot)?.link()?.initiator;
        let other = self.fsm(slot.other())?.link()?.initiator;
        if this == other {
            return Some(Slot::Primary); // both made by the peer, which means the later one
        }
        let settings = &self.shared.settings;
        let ours_wins = (settings.router_id, settings.local_as) > (theirs.router_id, theirs.asn);
        let winner = if ours_wins { Initiator::Local } else { Initiator::Remote };
        Some(if this == winner { slot.other() } else { slot })
    }

    pub(super) fn event_for_all(&mut self, now: Instant, event: &Event) {
        self.event_quietly(now, Slot::Rival, event.clone());
        self.event_quietly(now, Slot::Primary, event.clone());
        self.settle(now);
    }

    pub(super) fn event(&mut self, now: Instant, slot: Slot, event: Event) {
        self.event_quietly(now, slot, event);
        self.settle(now);
    }

    pub(super) fn event_quietly(&mut self, now: Instant, slot: Slot, event: Event) {
        match (slot, &mut self.rival) {
            (Slot::Primary, _) => self.primary.handle(now, event, &mut self.shared),
            (Slot::Rival, Some(rival)) => rival.handle(now, event, &mut self.shared),
            (Slot::Rival, None) => {}
        }
    }

    /// After every event: notices the end of the session, ends or promotes the second machine, reports the state.
    pub(super) fn settle(&mut self, now: Instant) {
        let primary = self.primary.state();
        let ended = self.up.take_if(|_| primary != State::Established);
        let ended = ended.map(|terms| (terms, self.primary.cause().clone()));
        if let Some(mut rival) = self.rival.take() {
            if primary == State::Established && self.up.is_none() {
                rival.handle(now, Event::OpenCollisionDump, &mut self.shared);
            } else if rival.state() == State::Established {
                self.primary.handle(now, Event::OpenCollisionDump, &mut self.shared);
            }
            let primary_lives =
                matches!(self.primary.phase(), Phase::Connect { .. }) || self.primary.link().is_some();
            match (rival.link().is_some(), primary_lives) {
                (false, _) => {}
                (true, true) => self.rival = Some(rival),
                (true, false) => self.primary = rival,
            }
        }
        self.report(now, ended.as_ref().map(|(_, cause)| cause));
        if let Some((terms, cause)) = ended {
            self.lost(now, &terms, &cause);
        }
        if self.up.is_none()
            && let Phase::Established { link, terms, .. } = self.primary.phase()
        {
            let (link, terms) = (*link, terms.clone());
            self.came_up(now, link, terms);
        }
    }

    /// Tells a change of state; the end of a session with what ended it.
    fn report(&mut self, now: Instant, ended: Option<&Cause>) {
        let leading = self.leading();
        let state = leading.state();
        if state == self.reported {
            return;
        }
        let cause = ended.unwrap_or(leading.cause()).clone();
        let from = std::mem::replace(&mut self.reported, state);
        self.since = Some(now);
        self.cause = cause.clone();
        self.shared.outputs.push_back(Output::StateChanged { from, to: state, cause });
    }

    /// The end of an established session.
    fn lost(&mut self, now: Instant, terms: &Terms, cause: &Cause) {
        self.shared.counters.flaps += 1;
        self.shared.without_capabilities = false; // a peer that refuses them will say so again
        self.adj_rib_out.close();
        self.refreshes.clear();
        self.disabled = Families::NONE;
        self.complete = Families::NONE;
        for change in self.helper.lost(now, cause, terms) {
            self.rib(change);
        }
        if self.drain_ends().is_some() {
            self.drained(now);
        }
    }

    /// The beginning of one.
    fn came_up(&mut self, now: Instant, link: Link, terms: Arc<Terms>) {
        self.up = Some(terms.clone());
        self.disabled = Families::NONE;
        self.complete = Families::NONE;
        self.held_by_limit = false;
        self.shared.capability_missing = false;
        self.shared.held_by_bfd = None;
        self.counts.begin();
        self.refreshes.clear();
        let missing = terms.missing(&self.shared.settings).map(Problem::FamilyNotOffered);
        self.shared.outputs.extend(missing.map(Output::Problem));
        if self.shared.settings.effective_role().is_some() && terms.peer_role.is_none() {
            self.tell(Problem::RoleNotOffered);
        }
        self.rib(RibChange::PeerUp(Box::new(peer_up(link, &terms))));
        for change in self.helper.established(now, &terms, &self.shared.settings) {
            self.rib(change);
        }
        self.adj_rib_out.open(&terms, link.local, &self.shared.settings);
    }

    /// The machine that is further on.
    pub(super) fn leading(&self) -> &Fsm {
        match &self.rival {
            Some(rival) if rival.state() > self.primary.state() => rival,
            _ => &self.primary,
        }
    }

    pub(super) fn established_link(&self) -> Option<Link> {
        self.primary.link().filter(|_| self.primary.state() == State::Established)
    }

    pub(super) fn is_established(&self, slot: Slot) -> bool {
        self.fsm(slot).is_some_and(|fsm| fsm.state() == State::Established)
    }

    pub(super) fn fsm(&self, slot: Slot) -> Option<&Fsm> {
        match slot {
            Slot::Primary => Some(&self.primary),
            Slot::Rival => self.rival.as_ref(),
        }
    }

    pub(super) fn fsm_of(&mut self, connection: ConnectionId) -> Option<&mut Fsm> {
        [Some(&mut self.primary), self.rival.as_mut()]
            .into_iter()
            .flatten()
            .find(|fsm| fsm.link().is_some_and(|link| link.id == connection))
    }

    pub(super) fn slot_of(&self, connection: ConnectionId) -> Option<Slot> {
        let has = |fsm: &Fsm| fsm.link().is_some_and(|link| link.id == connection);
        [Slot::Primary, Slot::Rival].into_iter().find(|slot| self.fsm(*slot).is_some_and(has))
    }
}

pub(super) fn peer_up(link: Link, terms: &Terms) -> PeerUp {
    PeerUp {
        asn: terms.peer.asn,
        router_id: terms.peer.router_id,
        kind: terms.negotiated.peer,
        local: link.local,
        negotiated: terms.negotiated,
        sent_open: encoded(&proxima_bgp_wire::Message::Open(Open::clone(&terms.ours))),
        received_open: terms.peer_bytes.clone(),
    }
}
