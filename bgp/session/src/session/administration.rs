//! Orders, and what else comes from outside the connections: settings, BFD, counts.
//!
//! ```text
//!              Up ─────────────────────────────────────────────┐
//!               │ Shutdown, drain                              ▼
//!   established ──▶ about to go: GRACEFUL_SHUTDOWN ──▶ withdrawn, Cease 6/2 ──▶ down until Up or Reset
//!               │ Stop ─────────────────────────────▶ withdrawn, Cease 6/2 or 6/3
//!               │ Restart ──────────────────────────▶ closed without a word
//!               └ Upgrade ──────────────────────────▶ left as it is, for the successor
//! ```

use std::time::{Duration, Instant};

use proxima_bgp_wire::{ErrorCode, Message, Notification};
use proxima_types::Family;

use super::{Order, Session, Slot};
use crate::{
    Change, Leave, Problem, Settings,
    fsm::{Event, Farewell, Phase, Stop, Then},
    interface::State,
    limits::Verdict,
    settings::BFD_HOLD_OFF,
    shared::encoded,
    status::Bfd,
};

impl Session {
    pub(super) fn bring_up(&mut self, now: Instant) {
        self.order = Order::Up;
        self.held_by_limit = false;
        self.adj_rib_out.set_leaving(false);
        if let Some(configured) = self.shared.settings.graceful_restart {
            let started = self.shared.started;
            self.shared.restart_window.get_or_insert(started + configured.restart_time);
        }
        match self.primary.phase() {
            Phase::Active { .. } => {
                self.shared.forget_failures();
                self.event(now, Slot::Primary, Event::ConnectRetryTimerExpires);
            }
            Phase::Idle { .. }
            | Phase::Connect { .. }
            | Phase::OpenSent { .. }
            | Phase::OpenConfirm { .. }
            | Phase::Established { .. } => self.event(now, Slot::Primary, Event::ManualStart),
        }
    }

    pub(super) fn peer_found(&mut self, now: Instant) {
        if self.order != Order::Up || self.held().is_some() {
            return;
        }
        let event = match self.primary.phase() {
            Phase::Idle { .. } => Event::IdleHoldTimerExpires,
            Phase::Active { .. } => Event::ConnectRetryTimerExpires,
            Phase::Connect { .. }
            | Phase::OpenSent { .. }
            | Phase::OpenConfirm { .. }
            | Phase::Established { .. } => return,
        };
        if self.shared.backoff.cut_short() {
            self.event(now, Slot::Primary, event);
        }
    }

    pub(super) fn shut_down(&mut self, now: Instant, reason: String, drain: Duration) {
        let drains = !drain.is_zero() && self.established_link().is_some();
        self.order = Order::Down { reason, drain: drains.then(|| now + drain) };
        if drains {
            self.adj_rib_out.set_leaving(true);
        } else {
            self.drained(now);
        }
    }

    /// When the drain before a shutdown ends.
    pub(super) fn drain_ends(&self) -> Option<Instant> {
        match &self.order {
            Order::Down { drain, .. } => *drain,
            Order::NotStarted | Order::Up | Order::Left | Order::HandedOver => None,
        }
    }

    /// Why an operator has shut the session down, or is about to.
    pub fn shutdown_reason(&self) -> Option<&str> {
        match &self.order {
            Order::Down { reason, .. } => Some(reason),
            Order::NotStarted | Order::Up | Order::Left | Order::HandedOver => None,
        }
    }

    /// The drain before a shutdown is over, or can't go on as there is no session any more.
    pub(super) fn drained(&mut self, now: Instant) {
        let Order::Down { reason, drain } = &mut self.order else { return };
        *drain = None;
        let cease = Notification::shutdown(reason);
        self.take_leave(now, cease);
    }

    pub(super) fn leave(&mut self, now: Instant, leave: Leave) {
        self.order = Order::Left;
        match leave {
            Leave::Stop { reason } => self.take_leave(now, Notification::shutdown(&reason)),
            Leave::Deconfigured => {
                self.take_leave(now, Notification::new(ErrorCode::PEER_DECONFIGURED, []));
            }
            Leave::Restart => {
                self.end_for_good(now, Farewell::Silence("closed without a word: this speaker restarts"));
            }
            Leave::Upgrade => {
                let silence = Farewell::Silence("closed: another process takes over");
                if self.established_link().is_some() {
                    self.event(now, Slot::Rival, Event::ManualStop(silence));
                    self.order = Order::HandedOver;
                } else {
                    self.end_for_good(now, silence);
                }
            }
        }
    }

    /// Withdraws what the peer holds, says goodbye and stays down.
    fn take_leave(&mut self, now: Instant, cease: Notification) {
        if let Some(link) = self.established_link()
            && let Some((withdrawals, messages)) = self.adj_rib_out.withdraw_all()
        {
            self.shared.send(link.id, withdrawals);
            self.shared.counters.messages_sent += messages as u64 - 1;
            self.shared.counters.updates_sent += messages as u64;
        }
        self.end_for_good(now, Farewell::Cease(cease));
    }

    fn end_for_good(&mut self, now: Instant, farewell: Farewell) {
        self.event_for_all(now, &Event::ManualStop(farewell));
        if let Some(change) = self.helper.give_up() {
            self.rib(change);
        }
    }

    pub(super) fn reset(&mut self, now: Instant) {
        self.shared.forget_failures();
        self.held_by_limit = false;
        if matches!(self.primary.phase(), Phase::Idle { .. }) {
            self.bring_up(now);
            return;
        }
        self.order = Order::Up;
        let words = "reset by the operator";
        let stop = Stop {
            notification: Notification::reset(words),
            why: words.to_owned(),
            hard: true,
            then: Then::Pause,
        };
        self.event_for_all(now, &Event::AutomaticStop(stop));
    }

    pub(super) fn reconfigure(&mut self, now: Instant, settings: Settings) {
        let old = std::mem::replace(&mut self.shared.settings, settings);
        self.shared.backoff.rebase(self.shared.settings.connect_retry);
        match old.change_to(&self.shared.settings) {
            Change::None => {}
            Change::InPlace => self.go_on_with_new_settings(now, &old),
            Change::Reopen => self.begin_with_new_settings(now),
        }
    }

    fn go_on_with_new_settings(&mut self, now: Instant, old: &Settings) {
        // The operator has looked at what the session was closed for.
        let looked_at = self.held_by_limit && old.max_prefixes != self.shared.settings.max_prefixes;
        if let Some(terms) = self.up.clone() {
            self.adj_rib_out.reconfigure(&terms, &self.shared.settings);
            if old.enforce_first_as != self.shared.settings.enforce_first_as {
                self.families().for_each(|family| self.ask_for_routes(family));
            }
            if old.max_prefixes != self.shared.settings.max_prefixes {
                let left_out = self.families().filter(|family| self.counts.has_discarded(*family));
                left_out.collect::<Vec<_>>().into_iter().for_each(|family| self.ask_for_routes(family));
            }
            self.families().for_each(|family| self.check_count(now, family));
        }
        match self.primary.phase() {
            Phase::Idle { .. } if looked_at => self.bring_up(now),
            Phase::Active { retry: None } if self.shared.may_connect() => {
                self.event(now, Slot::Primary, Event::ConnectRetryTimerExpires);
            }
            _ => {}
        }
    }

    fn begin_with_new_settings(&mut self, now: Instant) {
        self.shared.forget_failures();
        let notification = Notification::new(ErrorCode::OTHER_CONFIGURATION_CHANGE, []);
        match self.primary.phase() {
            Phase::Idle { restart: None } if self.order == Order::Up => self.bring_up(now),
            Phase::Idle { restart: None } => {}
            Phase::Idle { restart: Some(_) } => {
                self.event(now, Slot::Primary, Event::IdleHoldTimerExpires);
            }
            _ => {
                let why = "the configuration of the peer has changed".to_owned();
                let stop = Stop { notification, why, hard: false, then: Then::Pause };
                self.event_for_all(now, &Event::AutomaticStop(stop));
            }
        }
    }

    /// The RIB holds so many paths, and so many of them are stale.
    pub(super) fn counted(&mut self, now: Instant, family: Family, (count, stale): (u32, u32)) {
        self.counts.set(family, (count, stale));
        if self.up.is_some() {
            self.check_count(now, family);
        }
    }

    pub(super) fn discarded(&mut self, family: Family, total: u64) {
        let max = self.shared.settings.max_prefixes;
        let (more, verdict) = self.counts.discard(family, total, max.filter(|_| self.up.is_some()));
        self.shared.counters.discarded += more;
        if let Verdict::Tell(problem) = verdict {
            self.tell(problem);
        }
    }

    pub(super) fn crowded(&mut self, family: Family, total: u64, limit: usize) {
        let (more, first) = self.counts.crowd(family, total);
        self.shared.counters.discarded += more;
        if first && self.up.is_some() {
            self.tell(Problem::PathsDiscarded { family, limit });
        }
    }

    fn check_count(&mut self, now: Instant, family: Family) {
        let max = self.shared.settings.max_prefixes;
        match self.counts.check(family, max) {
            Verdict::Fine => {}
            Verdict::Tell(problem) => self.tell(problem),
            Verdict::Close(notification, why) => {
                self.held_by_limit = true;
                let then = max.and_then(|max| max.restart).map_or(Then::Stay, Then::After);
                self.event_for_all(now, &Event::AutomaticStop(Stop { notification, why, hard: true, then }));
            }
        }
    }

    pub(super) fn ask_for_routes(&mut self, family: Family) {
        match (self.refreshes.ask(family, self.up.as_deref()), self.established_link()) {
            (Ok(Some(request)), Some(link)) => {
                self.shared.counters.refreshes_sent += 1;
                self.shared.send(link.id, encoded(&Message::RouteRefresh(request)));
            }
            (Ok(_), _) => {}
            (Err(problem), _) => self.tell(problem),
        }
    }

    pub(super) fn bfd_up(&mut self, now: Instant) {
        self.bfd = Bfd::Up;
        self.let_go_by_bfd(now);
    }

    /// BFD that never was up says nothing about the path.
    pub(super) fn bfd_down(&mut self, now: Instant, diagnostic: &str, independent: bool) {
        if self.bfd != Bfd::Up {
            return;
        }
        self.bfd = Bfd::Down;
        self.shared.held_by_bfd = Some(now + BFD_HOLD_OFF);
        let stop = Stop {
            notification: Notification::new(ErrorCode::BFD_DOWN, []),
            why: format!("BFD is down: {diagnostic}"),
            hard: independent,
            then: Then::Retry,
        };
        self.event_for_all(now, &Event::AutomaticStop(stop));
    }

    pub(super) fn bfd_admin_down(&mut self, now: Instant) {
        self.bfd = Bfd::Unused;
        self.let_go_by_bfd(now);
    }

    /// A session that only waits for BFD goes on; one whose backoff is not over yet waits for that.
    fn let_go_by_bfd(&mut self, now: Instant) {
        let until = self.shared.held_by_bfd.take();
        if until.is_some() && matches!(self.primary.phase(), Phase::Idle { restart } if *restart == until) {
            self.event(now, Slot::Primary, Event::IdleHoldTimerExpires);
        }
    }

    /// Whether a session is established and meant to stay.
    pub(super) fn is_steady(&self) -> bool {
        self.primary.state() == State::Established && self.order == Order::Up
    }
}
