//! One configured peer: its machine, a second one while two connections collide, and both RIBs.
//!
//! ```text
//!  Input ──▶ handle ──▶ framing ──▶ checks, collision (RFC 4271 §6.8) ──▶ Fsm ──▶ Output   (poll_output)
//!                                                       │
//!                                    adj-RIB-in ◀── UPDATE   Established ──▶ adj-RIB-out ──▶ UPDATEs (poll_update)
//! ```
//!
//! UPDATEs leave by a door of their own, [`Session::poll_update`], one small batch at a time: the driver asks for the
//! next when it has room, so a slow peer makes neither a queue here nor a wait for the KEEPALIVE behind it.
//!
//! Collisions: an incoming connection gets a machine of its own beside one that is already connecting or connected.
//! Both live until an OPEN arrives on one while the other has had its own: then the connection made by the speaker
//! with the higher BGP identifier stays (equal identifiers: the higher AS number, RFC 6286 §2.3) and the other gets
//! Cease 6/7. A connection that is established always stays.

use std::{sync::Arc, time::Instant};

use bytes::{Buf, Bytes};
use proxima_bgp_wire::{
    DecodeError, ErrorCode, Message, Negotiated, Notification, Open, RefreshKind, RouteRefresh, Update, frame,
};

use crate::{
    AdjRibIn, AdjRibOut, Settings, Status, Terms, UpdateBatch,
    fsm::{Event, Fsm, Initiator, Link, Phase},
    interface::{Cause, ConnectionId, Input, Output, Problem, State},
    shared::Shared,
    terms::Refusal,
};

/// Which machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// The peer's own.
    Primary,
    /// That of a second connection.
    Rival,
}

impl Slot {
    fn other(self) -> Self {
        match self {
            Self::Primary => Self::Rival,
            Self::Rival => Self::Primary,
        }
    }
}

/// The session with one peer.
#[derive(Debug)]
pub struct Session {
    shared: Shared,
    primary: Fsm,
    rival: Option<Fsm>,
    adj_rib_in: AdjRibIn,
    adj_rib_out: AdjRibOut,
    reported: State,
    cause: Cause,
    since: Option<Instant>,
    last_received: Option<Notification>,
    last_transport_error: Option<String>,
    last_written: Option<Instant>,
}

impl Session {
    /// A session that waits for [`Input::ManualStart`]. `seed` feeds the jitter of its timers.
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            shared: Shared::new(settings, seed),
            primary: Fsm::new(),
            rival: None,
            adj_rib_in: AdjRibIn::default(),
            adj_rib_out: AdjRibOut::default(),
            reported: State::Idle,
            cause: Cause::Stopped,
            since: None,
            last_received: None,
            last_transport_error: None,
            last_written: None,
        }
    }

    /// An id for a connection the driver accepted.
    pub fn next_connection(&mut self) -> ConnectionId {
        self.shared.next_connection()
    }

    /// Takes news in. News of a connection that is gone is ignored.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::ManualStart => self.event(now, Slot::Primary, Event::ManualStart),
            Input::ManualStop { reason } => {
                self.event_for_all(now, &Event::ManualStop(reason));
            }
            Input::Reset => self.reset(now),
            Input::Connected { connection, local } => {
                let link = Link { id: connection, initiator: Initiator::Local, local };
                match self.primary.phase() {
                    Phase::Connect { attempt, .. } if *attempt == connection => {
                        self.event(now, Slot::Primary, Event::TcpCrAcked(link));
                    }
                    _ => self.shared.close(connection),
                }
            }
            Input::ConnectFailed { connection, error } => {
                if matches!(self.primary.phase(), Phase::Connect { attempt, .. } if *attempt == connection) {
                    self.last_transport_error = Some(error.clone());
                    self.event(now, Slot::Primary, Event::TcpConnectionFails(error));
                }
            }
            Input::Accepted { connection, local } => {
                self.accepted(now, Link { id: connection, initiator: Initiator::Remote, local });
            }
            Input::Received { connection, bytes } => self.received(now, connection, &bytes),
            Input::Written { connection } => {
                if let Some(slot) = self.slot_of(connection) {
                    self.last_written = Some(now);
                    self.event(now, slot, Event::MessageSent);
                }
            }
            Input::Closed { connection, error } => {
                if let Some(slot) = self.slot_of(connection) {
                    self.last_transport_error = Some(error.clone());
                    self.event(now, slot, Event::TcpConnectionFails(error));
                }
            }
            Input::SetDesired(desired) => self.adj_rib_out.set_desired(desired),
            Input::ReleaseEndOfRib => self.adj_rib_out.release_end_of_rib(),
        }
    }

    /// Lets every timer that is due expire.
    pub fn handle_timeout(&mut self, now: Instant) {
        for slot in [Slot::Primary, Slot::Rival] {
            while let Some((at, event)) = self.fsm(slot).and_then(Fsm::next_timer)
                && at <= now
            {
                if self.fsm(slot).is_some_and(|fsm| fsm.state() == State::Connect) {
                    self.last_transport_error = Some(Problem::NoAnswer.to_string());
                    self.shared.outputs.push_back(Output::Problem(Problem::NoAnswer));
                }
                self.event(now, slot, event);
            }
        }
    }

    /// When [`Self::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [Slot::Primary, Slot::Rival]
            .into_iter()
            .filter_map(|slot| Some(self.fsm(slot)?.next_timer()?.0))
            .min()
    }

    /// What there is to do, until None.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.shared.outputs.pop_front()
    }

    /// The next UPDATEs to write on [`Self::established`]. To be called after [`Self::poll_output`] has
    /// returned None, and only when there is room for a few messages.
    pub fn poll_update(&mut self) -> Option<UpdateBatch> {
        let mut problems = Vec::new();
        let batch = self.adj_rib_out.next_batch(&self.shared.settings, &mut problems);
        self.shared.outputs.extend(problems.into_iter().map(Output::Problem));
        let batch = batch?;
        self.shared.counters.messages_sent += batch.messages as u64;
        self.shared.counters.updates_sent += batch.messages as u64;
        Some(batch)
    }

    /// The connection on which UPDATEs go.
    pub fn established(&self) -> Option<ConnectionId> {
        match self.primary.phase() {
            Phase::Established { link, .. } => Some(link.id),
            Phase::Idle { .. }
            | Phase::Connect { .. }
            | Phase::Active { .. }
            | Phase::OpenSent { .. }
            | Phase::OpenConfirm { .. } => None,
        }
    }

    /// The state reported last by [`Output::StateChanged`].
    pub fn state(&self) -> State {
        self.reported
    }

    /// What the peer has announced.
    pub fn adj_rib_in(&self) -> &AdjRibIn {
        &self.adj_rib_in
    }

    /// What the peer holds from us.
    pub fn adj_rib_out(&self) -> &AdjRibOut {
        &self.adj_rib_out
    }

    /// Everything there is to tell.
    pub fn status(&self) -> Status {
        let fsm = self.leading();
        Status {
            state: self.reported,
            since: self.since,
            cause: self.cause.clone(),
            connection: fsm.link().map(|link| link.id),
            local_address: fsm.link().map(|link| link.local),
            terms: fsm.terms().cloned(),
            last_sent: self.shared.last_sent.clone(),
            last_received: self.last_received.clone(),
            last_transport_error: self.last_transport_error.clone(),
            last_written: self.last_written,
            received: self.adj_rib_in.len(),
            advertised: self.adj_rib_out.len(),
            counters: self.shared.counters,
        }
    }

    fn reset(&mut self, now: Instant) {
        self.shared.forget_failures();
        if matches!(self.primary.phase(), Phase::Idle { .. }) {
            self.event(now, Slot::Primary, Event::ManualStart);
        } else {
            let words = "reset by the operator";
            let event = Event::AutomaticStop(Notification::reset(words), words.to_owned());
            self.event_for_all(now, &event);
        }
    }

    fn accepted(&mut self, now: Instant, link: Link) {
        match self.primary.phase() {
            // RFC 4271 §8.2.2: Idle refuses connections. While waiting after a failure, without a word, since a
            // NOTIFICATION would make the peer wait longer than we do.
            Phase::Idle { restart: Some(_) } => self.shared.close(link.id),
            Phase::Idle { restart: None } => {
                self.shared.notify(link.id, Notification::new(ErrorCode::CONNECTION_REJECTED, []), None);
            }
            Phase::Active { .. } => self.event(now, Slot::Primary, Event::TcpConnectionConfirmed(link)),
            Phase::Connect { .. } | Phase::OpenSent { .. } | Phase::OpenConfirm { .. } => {
                // A third connection: the peer has given up the one before.
                self.event(now, Slot::Rival, Event::OpenCollisionDump);
                self.rival = Some(Fsm::listening());
                self.event(now, Slot::Rival, Event::TcpConnectionConfirmed(link));
            }
            Phase::Established { .. } => {
                self.shared.notify(link.id, Notification::new(ErrorCode::CONNECTION_COLLISION, []), None);
            }
        }
    }

    fn received(&mut self, now: Instant, connection: ConnectionId, bytes: &Bytes) {
        if let Some(fsm) = self.fsm_of(connection) {
            fsm.inbox.extend_from_slice(bytes);
        }
        // Each message may end the connection or move it to the other slot.
        while let Some(slot) = self.slot_of(connection) {
            match self.next_message(connection) {
                Ok(Some(message)) => self.message(now, slot, message),
                Ok(None) => return,
                Err(error) => {
                    self.shared.counters.messages_received += 1;
                    self.event(now, slot, Event::MessageErr(error.to_notification(), error.to_string()));
                }
            }
        }
    }

    fn next_message(&mut self, connection: ConnectionId) -> Result<Option<Message>, DecodeError> {
        let Some(fsm) = self.fsm_of(connection) else { return Ok(None) };
        let negotiated = fsm.terms().map_or_else(Negotiated::default, |terms| terms.negotiated);
        let Some(length) = frame(&fsm.inbox, negotiated.max_len())? else { return Ok(None) };
        let message = Message::decode(&fsm.inbox[..length], negotiated)?;
        fsm.inbox.advance(length);
        Ok(Some(message))
    }

    fn message(&mut self, now: Instant, slot: Slot, message: Message) {
        self.shared.counters.messages_received += 1;
        match message {
            Message::Open(open) => self.open(now, slot, &open),
            Message::Keepalive => self.event(now, slot, Event::KeepAliveMsg),
            Message::Notification(notification) => {
                self.last_received = Some(notification.clone());
                self.event(now, slot, Event::NotifMsg(notification));
            }
            Message::Update(update) => self.update(now, slot, update),
            Message::RouteRefresh(refresh) => self.route_refresh(now, slot, refresh),
        }
    }

    /// RFC 4271 §6.2, then §6.8.
    fn open(&mut self, now: Instant, slot: Slot, theirs: &Open) {
        let terms = match self.fsm(slot).map(Fsm::phase) {
            Some(Phase::OpenSent { ours, .. }) => Terms::agree(&self.shared.settings, ours, theirs),
            // Out of place; the machine says so.
            Some(Phase::OpenConfirm { terms, .. } | Phase::Established { terms, .. }) => {
                Ok(Terms::clone(terms))
            }
            Some(Phase::Idle { .. } | Phase::Connect { .. } | Phase::Active { .. }) | None => return,
        };
        match terms {
            Err(Refusal { notification, detail }) => {
                self.event(now, slot, Event::MessageErr(notification, detail));
            }
            Ok(terms) => {
                let loser = self.collision(slot, theirs);
                if let Some(loser) = loser {
                    self.event_quietly(now, loser, Event::OpenCollisionDump);
                }
                if loser != Some(slot) {
                    self.event_quietly(now, slot, Event::BgpOpen(Arc::new(terms)));
                }
                self.settle(now);
            }
        }
    }

    /// The connection that has to go now that an OPEN came on `slot`, if there are two.
    fn collision(&self, slot: Slot, theirs: &Open) -> Option<Slot> {
        let this = self.fsm(slot)?;
        let other = self.fsm(slot.other())?;
        if !matches!(this.phase(), Phase::OpenSent { .. }) {
            return None;
        }
        match other.phase() {
            Phase::Established { .. } => Some(slot),
            Phase::OpenConfirm { .. } => {
                let (this, other) = (this.link()?.initiator, other.link()?.initiator);
                if this == other {
                    return Some(Slot::Primary); // both made by the peer, which means the later one
                }
                let settings = &self.shared.settings;
                let ours_wins = (settings.router_id, settings.local_as) > (theirs.router_id, theirs.asn);
                let winner = if ours_wins { Initiator::Local } else { Initiator::Remote };
                Some(if this == winner { slot.other() } else { slot })
            }
            Phase::Idle { .. } | Phase::Connect { .. } | Phase::Active { .. } | Phase::OpenSent { .. } => {
                None
            }
        }
    }

    fn update(&mut self, now: Instant, slot: Slot, update: Update) {
        self.shared.counters.updates_received += 1;
        let established = self.is_established(slot);
        self.event(now, slot, Event::UpdateMsg);
        if !established {
            return;
        }
        let problems = update.problems.iter().cloned().map(Problem::MalformedUpdate).map(Output::Problem);
        self.shared.outputs.extend(problems);
        let summary = self.adj_rib_in.apply(now, update, self.shared.settings.local_as);
        self.shared.outputs.push_back(Output::RoutesReceived(summary));
        if let Some(max) = self.shared.settings.max_prefixes
            && let Err(Refusal { notification, detail }) = self.adj_rib_in.check_limit(max)
        {
            self.event(now, slot, Event::AutomaticStop(notification, detail));
        }
    }

    fn route_refresh(&mut self, now: Instant, slot: Slot, refresh: RouteRefresh) {
        let established = self.is_established(slot);
        self.event(now, slot, Event::RouteRefreshMsg);
        if let (true, RefreshKind::Request, Some(family)) =
            (established, refresh.kind, refresh.family.family())
        {
            self.adj_rib_out.refresh(family);
        }
    }

    fn event_for_all(&mut self, now: Instant, event: &Event) {
        self.event_quietly(now, Slot::Rival, event.clone());
        self.event_quietly(now, Slot::Primary, event.clone());
        self.settle(now);
    }

    fn event(&mut self, now: Instant, slot: Slot, event: Event) {
        self.event_quietly(now, slot, event);
        self.settle(now);
    }

    fn event_quietly(&mut self, now: Instant, slot: Slot, event: Event) {
        match (slot, &mut self.rival) {
            (Slot::Primary, _) => self.primary.handle(now, event, &mut self.shared),
            (Slot::Rival, Some(rival)) => rival.handle(now, event, &mut self.shared),
            (Slot::Rival, None) => {}
        }
    }

    /// After every event: ends or promotes the second machine, then reports the state.
    fn settle(&mut self, now: Instant) {
        if let Some(mut rival) = self.rival.take() {
            if self.primary.state() == State::Established {
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
        self.report(now);
    }

    fn report(&mut self, now: Instant) {
        let leading = self.leading();
        let (state, cause) = (leading.state(), leading.cause().clone());
        if state == self.reported {
            return;
        }
        let from = std::mem::replace(&mut self.reported, state);
        self.since = Some(now);
        self.cause = cause.clone();
        self.shared.outputs.push_back(Output::StateChanged { from, to: state, cause });
        if from == State::Established {
            self.shared.counters.flaps += 1;
            self.adj_rib_in.clear();
            self.adj_rib_out.close();
        }
        if let Phase::Established { link, terms, .. } = self.primary.phase() {
            let missing = terms.missing(&self.shared.settings).map(Problem::FamilyNotOffered);
            self.shared.outputs.extend(missing.map(Output::Problem));
            self.adj_rib_out.open(terms.negotiated, link.local, &self.shared.settings);
        }
    }

    /// The machine that is further on.
    fn leading(&self) -> &Fsm {
        match &self.rival {
            Some(rival) if rival.state() > self.primary.state() => rival,
            _ => &self.primary,
        }
    }

    fn is_established(&self, slot: Slot) -> bool {
        self.fsm(slot).is_some_and(|fsm| fsm.state() == State::Established)
    }

    fn fsm(&self, slot: Slot) -> Option<&Fsm> {
        match slot {
            Slot::Primary => Some(&self.primary),
            Slot::Rival => self.rival.as_ref(),
        }
    }

    fn fsm_of(&mut self, connection: ConnectionId) -> Option<&mut Fsm> {
        [Some(&mut self.primary), self.rival.as_mut()]
            .into_iter()
            .flatten()
            .find(|fsm| fsm.link().is_some_and(|link| link.id == connection))
    }

    fn slot_of(&self, connection: ConnectionId) -> Option<Slot> {
        let has = |fsm: &Fsm| fsm.link().is_some_and(|link| link.id == connection);
        [Slot::Primary, Slot::Rival].into_iter().find(|slot| self.fsm(*slot).is_some_and(has))
    }
}
