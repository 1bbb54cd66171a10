//! From the bytes of a connection to messages, and what each of them does.

use std::{sync::Arc, time::Instant};

use bytes::{Buf, Bytes};
use proxima_bgp_wire::{
    Capability, DecodeError, ErrorCode, Message, Negotiated, Notification, Open, RefreshKind, RouteRefresh,
    Update, frame,
};
use proxima_types::Family;

use super::{Session, Slot, connections::Collision};
use crate::{
    Terms,
    fsm::{Event, Fsm, Link, Phase},
    inbound,
    interface::ConnectionId,
    output::RibChange,
    shared::Shared,
    status::Stamped,
    terms::Refusal,
};

impl Session {
    /// Each message may end the connection, or move it to the other slot.
    pub(super) fn received(&mut self, now: Instant, connection: ConnectionId, bytes: Bytes) {
        let Some(mut stream) = self.whole_messages(connection, bytes) else { return };
        while let Some(slot) = self.slot_of(connection) {
            match self.next_message(slot, &mut stream) {
                Ok(Some((bytes, message))) => self.message(now, slot, bytes, message),
                Ok(None) => break,
                Err(error) => {
                    self.shared.counters.messages_received += 1;
                    self.event(now, slot, Event::MessageErr(error.to_notification(), error.to_string()));
                }
            }
        }
        if let Some(fsm) = self.fsm_of(connection) {
            fsm.inbox.extend_from_slice(&stream);
        }
    }

    /// What has come on a connection, once there may be a whole message; kept until then.
    fn whole_messages(&mut self, connection: ConnectionId, bytes: Bytes) -> Option<Bytes> {
        let fsm = self.fsm_of(connection)?;
        if fsm.inbox.is_empty() {
            return Some(bytes);
        }
        fsm.inbox.extend_from_slice(&bytes);
        match frame(&fsm.inbox, negotiated(fsm).max_len_receive()) {
            Ok(None) => None,
            Ok(Some(_)) | Err(_) => Some(fsm.inbox.split().freeze()),
        }
    }

    pub(super) fn next_message(
        &self,
        slot: Slot,
        stream: &mut Bytes,
    ) -> Result<Option<(Bytes, Message)>, DecodeError> {
        let negotiated = self.fsm(slot).map_or_else(Negotiated::default, negotiated);
        let Some(length) = frame(stream, negotiated.max_len_receive())? else { return Ok(None) };
        let message = Message::decode(&stream[..length], negotiated)?;
        let bytes = stream.slice(..length);
        stream.advance(length);
        Ok(Some((bytes, message)))
    }

    fn message(&mut self, now: Instant, slot: Slot, bytes: Bytes, message: Message) {
        self.shared.counters.messages_received += 1;
        match message {
            Message::Open(open) => self.open(now, slot, &bytes, &open),
            Message::Keepalive => self.event(now, slot, Event::KeepAliveMsg),
            Message::Notification(notification) => {
                self.last_received = Some(Stamped { at: now, what: notification.clone() });
                self.event(now, slot, Event::NotifMsg(notification));
            }
            Message::Update(update) => self.update(now, slot, bytes, update),
            Message::RouteRefresh(refresh) => self.route_refresh(now, slot, refresh),
        }
    }

    /// RFC 4271 §6.2, then §6.8.
    fn open(&mut self, now: Instant, slot: Slot, bytes: &[u8], theirs: &Open) {
        let terms = match self.fsm(slot).map(Fsm::phase) {
            Some(Phase::OpenSent { ours, .. }) => {
                Terms::agree(&self.shared.settings, ours, theirs, Bytes::copy_from_slice(bytes))
            }
            // Out of place; the machine says so.
            Some(Phase::OpenConfirm { terms, .. } | Phase::Established { terms, .. }) => {
                Ok(Terms::clone(terms))
            }
            Some(Phase::Idle { .. } | Phase::Connect { .. } | Phase::Active { .. }) | None => return,
        };
        let terms = match terms {
            Err(Refusal { notification, detail }) => {
                return self.event(now, slot, Event::MessageErr(notification, detail));
            }
            Ok(terms) => Arc::new(terms),
        };
        match self.collision(now, slot, &terms) {
            Collision::Lost(lost) => {
                self.event_quietly(now, lost, Event::OpenCollisionDump);
                if lost != slot {
                    self.event_quietly(now, slot, Event::BgpOpen(terms));
                }
            }
            Collision::Replaced => {
                let why =
                    "the peer has opened a new connection, so it has lost this one (RFC 4724)".to_owned();
                self.event_quietly(now, slot.other(), Event::TcpConnectionFails(why));
                self.event_quietly(now, slot, Event::BgpOpen(terms));
            }
            Collision::None => self.event_quietly(now, slot, Event::BgpOpen(terms)),
        }
        self.settle(now);
    }

    fn update(&mut self, now: Instant, slot: Slot, bytes: Bytes, update: Update) {
        self.shared.counters.updates_received += 1;
        let established = self.is_established(slot);
        self.event(now, slot, Event::UpdateMsg);
        if established {
            self.take_update(now, bytes, update);
        }
    }

    /// What an UPDATE of the established session says.
    pub(super) fn take_update(&mut self, now: Instant, bytes: Bytes, update: Update) {
        if let Some(family) = update.disabled_family() {
            self.rib(RibChange::DropFamily(family));
            self.disabled = self.disabled.iter().chain([family]).collect();
            self.complete = self.complete.iter().filter(|complete| *complete != family).collect();
            if self.families().next().is_none() {
                let notification = Notification::new(ErrorCode::OPTIONAL_ATTRIBUTE_ERROR, []);
                let why = "no family of the session has routes that can be read".to_owned();
                return self.event(now, Slot::Primary, Event::MessageErr(notification, why));
            }
        }
        let end_of_rib = update.end_of_rib;
        let mut problems = Vec::new();
        let Some(Link { local, .. }) = self.established_link() else { return };
        let Shared { settings, counters, .. } = &mut self.shared;
        let session = inbound::Session { settings, local, disabled: self.disabled };
        let received = inbound::examine(session, bytes, update, counters, &mut problems);
        for problem in problems {
            self.tell_sparingly(now, problem);
        }
        if !received.update.withdrawn.is_empty() || !received.update.reach.is_empty() {
            self.rib(RibChange::Update(Box::new(received)));
        }
        if let Some(family) = end_of_rib.filter(|end| self.families().any(|family| family == *end)) {
            if let Some(swept) = self.helper.end_of_rib(family) {
                self.rib(swept);
            }
            self.is_complete(family);
            self.rib(RibChange::EndOfRib(family));
        }
    }

    /// The peer has told all of a family, which is worth something where it could be read.
    fn is_complete(&mut self, family: Family) {
        if !self.disabled.contains(family) {
            self.complete = self.complete.iter().chain([family]).collect();
        }
    }

    fn route_refresh(&mut self, now: Instant, slot: Slot, refresh: RouteRefresh) {
        let established = self.is_established(slot);
        self.event(now, slot, Event::RouteRefreshMsg);
        let Some(terms) = self.up.clone().filter(|_| established) else { return };
        match refresh.kind {
            // Of a speaker that has not offered it nobody may ask (RFC 2918 §4).
            RefreshKind::Request if !terms.ours.offers(&Capability::RouteRefresh) => {}
            RefreshKind::Request => {
                self.shared.counters.refreshes_received += 1;
                if let Some(family) = refresh.family.family() {
                    self.adj_rib_out.refresh(family);
                }
            }
            RefreshKind::Begin | RefreshKind::End => match self.refreshes.mark(now, refresh, &terms) {
                Ok(change) => {
                    // What was asked for has come in full, too (RFC 7313 §4).
                    if let RibChange::SweepStale(family) = &change {
                        self.is_complete(*family);
                    }
                    self.rib(change);
                }
                Err(problem) => self.tell_sparingly(now, problem),
            },
            RefreshKind::Unknown(_) => {} // RFC 7313 §5
        }
    }
}

fn negotiated(fsm: &Fsm) -> Negotiated {
    fsm.terms().map_or_else(Negotiated::default, |terms| terms.negotiated)
}
