//! One configured peer: its machine, a second one while two connections collide, and what is around them.
//!
//! ```text
//!  Input ──▶ handle ─┬─▶ administration: up, shutdown, drain, leave, reset, settings, BFD, counts ──▶ Fsm
//!                    └─▶ connections: collisions (RFC 4271 §6.8, 4724 §5) ──▶ messages: framing, checks ──▶ Fsm
//!                                                                                                          │
//!        poll_output ◀── Output: connect, send, close, state, RibChange, problem ◀── connections: settle ◀─┘
//!        poll_update ◀── adj-RIB-out, while established
//! ```
//!
//! UPDATEs leave by a door of their own, [`Session::poll_update`], one small batch at a time: the driver asks for the
//! next when it has room, so a slow peer makes neither a queue here nor a wait for the KEEPALIVE behind it.

mod administration;
mod connections;
mod handover;
mod messages;

use std::{mem::Discriminant, sync::Arc, time::Instant};

use proxima_bgp_wire::{Families, Notification};
use proxima_types::Family;

pub use handover::{ResumeError, Snapshot};

use crate::{
    AdjRibOut, Settings, Status, Terms, UpdateBatch,
    fsm::{Event, Fsm, Initiator, Link, Phase},
    graceful_restart::{Effects, Helper},
    interface::{ConnectionId, Input, State},
    limits::PrefixCounts,
    output::{Cause, Output, RibChange},
    problem::Problem,
    refresh::Refreshes,
    settings::PROBLEM_INTERVAL,
    shared::Shared,
    status::{Bfd, Held, Stamped, Timers},
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

/// What was ordered last.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Order {
    NotStarted,
    Up,
    /// Down, with the words for the peer's operator; from `drain` on, if that is still to come.
    Down {
        reason: String,
        drain: Option<Instant>,
    },
    Left,
    /// As [`Order::Left`], and the established connection is a successor's.
    HandedOver,
}

/// The session with one peer.
#[derive(Debug)]
pub struct Session {
    shared: Shared,
    primary: Fsm,
    rival: Option<Fsm>,
    order: Order,
    adj_rib_out: AdjRibOut,
    counts: PrefixCounts,
    /// The peer had too many prefixes, and no session since.
    held_by_limit: bool,
    helper: Helper,
    refreshes: Refreshes,
    bfd: Bfd,
    /// When faults of received routes were told last, by kind.
    told: Vec<(Discriminant<Problem>, Instant)>,
    /// What was agreed on in the session that is established.
    up: Option<Arc<Terms>>,
    /// Families of that session whose routes could not be read.
    disabled: Families,
    /// Families of that session of which the peer has sent all its routes.
    complete: Families,
    reported: State,
    cause: Cause,
    since: Option<Instant>,
    last_received: Option<Stamped<Notification>>,
    last_transport_error: Option<Stamped<String>>,
    last_written: Option<Instant>,
}

impl Session {
    /// A session that waits for [`Input::Up`]. `started` is when the speaker was, which may be long before: only what comes
    /// soon after it is a restart (RFC 4724 §3). `seed` feeds the jitter of the session's timers.
    pub fn new(settings: Settings, started: Instant, seed: u64) -> Self {
        Self {
            shared: Shared::new(settings, started, seed),
            primary: Fsm::new(),
            rival: None,
            order: Order::NotStarted,
            adj_rib_out: AdjRibOut::default(),
            counts: PrefixCounts::default(),
            held_by_limit: false,
            helper: Helper::default(),
            refreshes: Refreshes::default(),
            bfd: Bfd::Unused,
            told: Vec::new(),
            up: None,
            disabled: Families::NONE,
            complete: Families::NONE,
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
        if self.order == Order::HandedOver {
            return self.handle_handed_over(now, input);
        }
        match input {
            Input::Up => self.bring_up(now),
            Input::PeerFound => self.peer_found(now),
            Input::Shutdown { reason, drain } => self.shut_down(now, reason, drain),
            Input::Stop(leave) => self.leave(now, leave),
            Input::Reset => self.reset(now),
            Input::Reconfigure(settings) => self.reconfigure(now, *settings),
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
                    self.last_transport_error = Some(Stamped { at: now, what: error.clone() });
                    self.event(now, Slot::Primary, Event::TcpConnectionFails(error));
                }
            }
            Input::Accepted { connection, local } => {
                self.accepted(now, Link { id: connection, initiator: Initiator::Remote, local });
            }
            Input::Received { connection, bytes } => self.received(now, connection, bytes),
            Input::Written { connection } => {
                if let Some(slot) = self.slot_of(connection) {
                    self.last_written = Some(now);
                    self.event(now, slot, Event::MessageSent);
                }
            }
            Input::Closed { connection, error } => {
                if let Some(slot) = self.slot_of(connection) {
                    self.last_transport_error = Some(Stamped { at: now, what: error.clone() });
                    self.event(now, slot, Event::TcpConnectionFails(error));
                }
            }
            Input::SetDesired(desired) => self.adj_rib_out.set_desired(desired),
            Input::ReleaseEndOfRib => self.adj_rib_out.release_end_of_rib(),
            Input::PrefixCount { family, count, stale } => self.counted(now, family, (count, stale)),
            Input::PrefixesDiscarded { family, total } => self.discarded(family, total),
            Input::PathsDiscarded { family, total, limit } => self.crowded(family, total, limit),
            Input::Refresh(family) => self.ask_for_routes(family),
            Input::BfdUp => self.bfd_up(now),
            Input::BfdDown { diagnostic, independent } => self.bfd_down(now, &diagnostic, independent),
            Input::BfdAdminDown => self.bfd_admin_down(now),
        }
    }

    /// Lets every timer that is due expire.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.order == Order::HandedOver {
            return;
        }
        for slot in [Slot::Primary, Slot::Rival] {
            while let Some((at, event)) = self.fsm(slot).and_then(Fsm::next_timer)
                && at <= now
            {
                if self.fsm(slot).is_some_and(|fsm| fsm.state() == State::Connect) {
                    let what = Problem::NoAnswer.to_string();
                    self.last_transport_error = Some(Stamped { at: now, what });
                    self.tell(Problem::NoAnswer);
                }
                self.event(now, slot, event);
            }
        }
        if self.drain_ends().is_some_and(|at| at <= now) {
            self.drained(now);
        }
        for Effects { changes, problems } in
            [self.helper.handle_timeout(now), self.refreshes.handle_timeout(now)]
        {
            self.shared.outputs.extend(problems.into_iter().map(Output::Problem));
            for change in changes {
                self.rib(change);
            }
        }
    }

    /// When [`Self::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.order == Order::HandedOver {
            return None;
        }
        let machines =
            [Slot::Primary, Slot::Rival].into_iter().filter_map(|slot| Some(self.fsm(slot)?.next_timer()?.0));
        let others = [self.drain_ends(), self.helper.deadline(), self.refreshes.deadline()];
        machines.chain(others.into_iter().flatten()).min()
    }

    /// What there is to do, until None.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.shared.outputs.pop_front()
    }

    /// The next UPDATEs to write on [`Self::established`]. To be called after [`Self::poll_output`] has
    /// returned None, and only when there is room for a few messages.
    pub fn poll_update(&mut self) -> Option<UpdateBatch> {
        if self.order == Order::HandedOver {
            return None;
        }
        let mut problems = Vec::new();
        let batch = self.adj_rib_out.next_batch(&self.shared.settings, &mut problems);
        self.shared.outputs.extend(problems.into_iter().map(Output::Problem));
        let batch = batch?;
        let messages = batch.messages as u64;
        self.shared.counters.messages_sent += messages;
        self.shared.counters.updates_sent += if batch.content.is_update() { messages } else { 0 };
        Some(batch)
    }

    /// The connection on which UPDATEs go.
    pub fn established(&self) -> Option<ConnectionId> {
        self.established_link().map(|link| link.id)
    }

    /// The state reported last by [`Output::StateChanged`].
    pub fn state(&self) -> State {
        self.reported
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
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
            held: self.held(),
            connection: fsm.link().map(|link| link.id),
            local: fsm.link().map(|link| link.local),
            sent_open: fsm.sent_open(),
            terms: fsm.terms().cloned(),
            role: self.shared.settings.effective_role(),
            last_sent: self.shared.last_sent.clone(),
            last_received: self.last_received.clone(),
            last_transport_error: self.last_transport_error.clone(),
            last_written: self.last_written,
            timers: Timers {
                drain: self.drain_ends(),
                restart: self.helper.restart_deadline(),
                stale: self.helper.stale_deadline(),
                restart_window: self.shared.restart_window,
                refresh: self.refreshes.deadline(),
                ..fsm.timers()
            },
            stale: self.helper.stale().collect(),
            disabled: self.disabled.iter().collect(),
            complete: self.complete.iter().collect(),
            bfd: self.bfd,
            received: self.counts.counts(),
            advertised: self.adj_rib_out.len(),
            counters: self.shared.counters,
        }
    }

    fn held(&self) -> Option<Held> {
        match (self.primary.phase(), &self.order) {
            (Phase::Idle { restart: None }, Order::NotStarted) => Some(Held::NotStarted),
            (Phase::Idle { restart: None }, Order::Down { reason, .. }) => {
                Some(Held::Shutdown(reason.clone()))
            }
            (Phase::Idle { restart: None }, Order::Left | Order::HandedOver) => Some(Held::Left),
            (Phase::Idle { restart }, _) if self.held_by_limit => Some(Held::PrefixLimit { until: *restart }),
            (Phase::Idle { restart: Some(_) }, _) if self.shared.held_by_bfd.is_some() => {
                self.shared.held_by_bfd.map(|until| Held::Bfd { until })
            }
            (Phase::Idle { .. } | Phase::Active { .. }, _) if self.shared.capability_missing => {
                Some(Held::Capability)
            }
            _ => None,
        }
    }

    fn tell(&mut self, problem: Problem) {
        self.shared.outputs.push_back(Output::Problem(problem));
    }

    /// Tells a fault of received routes, unless the like was told a moment ago: the peer chooses how many there are.
    fn tell_sparingly(&mut self, now: Instant, problem: Problem) {
        let kind = std::mem::discriminant(&problem);
        match self.told.iter_mut().find(|(told, _)| *told == kind) {
            Some((_, at)) if now < *at + PROBLEM_INTERVAL => return,
            Some((_, at)) => *at = now,
            None => self.told.push((kind, now)),
        }
        self.tell(problem);
    }

    fn rib(&mut self, change: RibChange) {
        match change {
            RibChange::DropAll => self.counts.clear(),
            RibChange::DropFamily(family) => self.counts.set(family, (0, 0)),
            RibChange::PeerUp(_)
            | RibChange::Update(_)
            | RibChange::EndOfRib(_)
            | RibChange::MarkStale(_)
            | RibChange::BeginRefresh(_)
            | RibChange::SweepStale(_) => {}
        }
        self.shared.outputs.push_back(Output::Rib(change));
    }

    /// Families of the session that is established, in which the peer's routes are taken.
    fn families(&self) -> impl Iterator<Item = Family> + use<> {
        let families = self.up.as_ref().map_or(Families::NONE, |terms| terms.negotiated.families);
        let disabled = self.disabled;
        families.iter().filter(move |family| !disabled.contains(*family))
    }
}
