//! The state machine of one BGP connection: RFC 4271 §8.2.2, as one exhaustive match.
//!
//! ```text
//!            start, retry              TCP up / OPEN             OPEN / KEEPALIVE
//!   ┌──────┐ ──────────▶ ┌─────────┐ ──────────────▶ ┌──────────┐ ──────────────▶ ┌─────────────┐
//!   │ Idle │             │ Connect │                 │ OpenSent │                 │ OpenConfirm │
//!   └──────┘ ──┐         └─────────┘                 └──────────┘                 └─────────────┘
//!      ▲       │ passive   │     ▲                     ▲      │                          │ KEEPALIVE
//!      │       │     fails │     │ retry               │      │ TCP lost                 ▼
//!      │       │           ▼     │         TCP up      │      │                   ┌─────────────┐
//!      │       └──────▶ ┌────────┐ ────────────────────┘      │                   │ Established │
//!      │                │ Active │ ◀──────────────────────────┘                   └─────────────┘
//!      │                └────────┘                                                       │
//!      └── any error: NOTIFICATION where one is due, close, wait (IdleHold) ◀────────────┘
//! ```
//!
//! A state carries what exists in it and nothing else: a link from OpenSent on, agreed terms from OpenConfirm on,
//! and the deadlines of the timers that run in it. Events are those of RFC 4271 §8.1, with their numbers. The
//! variants of the start event (3 to 7) are expressed by the peer's settings; DelayOpen (12, 20) and the tracking
//! of half-open connections (14, 15) are options of the RFC that are not taken. Collisions are decided a level
//! above, in [`crate::Session`], and arrive here as the event OpenCollisionDump, or where the peer has restarted as
//! TcpConnectionFails (RFC 4724 §5).
//!
//! [`BFD_HOLD_OFF`]: crate::BFD_HOLD_OFF
//!
//! Where the RFC leaves a choice or is commonly read otherwise:
//! - A failed attempt leads from Connect to Active, where an incoming connection is welcome, not to Idle.
//! - DampPeerOscillations is on: Idle is left by the IdleHold timer, whose wait grows with each failure.
//! - A message that is out of place gets the subcode of RFC 6608, its type in the data; a timer that can't be running
//!   there gets 5/0.
//! - After a missing capability (2/7, either way) no attempt is made from here until an operator has looked at it, as
//!   RFC 5492 §3 asks; but the machine waits in Active, where the peer may connect, since it may be the peer's operator
//!   who does.
//! - A session that BFD ended waits for BFD before it is tried again, though not for ever: see [`BFD_HOLD_OFF`].
//! - A peer that takes nothing of what we send for the send hold time is given up (RFC 9687).

mod event;
mod phase;

use std::{sync::Arc, time::Instant};

use bytes::BytesMut;
use proxima_bgp_wire::{ErrorCode, Notification, Open};

pub(crate) use self::{
    event::{Event, Farewell, Stop, Then},
    phase::{Clocks, Initiator, Link, Phase},
};
use crate::{
    graceful_restart::hard,
    interface::State,
    output::Cause,
    settings::{OPEN_HOLD_TIME, STABLE_AFTER},
    shared::Shared,
    status::Timers,
    terms::Terms,
};

/// The machine of one connection.
#[derive(Debug)]
pub(crate) struct Fsm {
    phase: Phase,
    /// Bytes received on the link that are not yet a whole message.
    pub(crate) inbox: BytesMut,
    /// Why the phase is what it is.
    cause: Cause,
}

impl Fsm {
    /// A machine that has not been started.
    pub(crate) fn new() -> Self {
        Self { phase: Phase::Idle { restart: None }, inbox: BytesMut::new(), cause: Cause::Stopped }
    }

    /// A machine for a connection of the peer beside the first machine's (RFC 4271 §8.2.1).
    pub(crate) fn listening() -> Self {
        Self { phase: Phase::Active { retry: None }, ..Self::new() }
    }

    /// A machine that goes on where that of another process stopped.
    pub(crate) fn resumed(phase: Phase, inbox: BytesMut) -> Self {
        Self { phase, inbox, cause: Cause::OpenConfirmed }
    }

    pub(crate) fn phase(&self) -> &Phase {
        &self.phase
    }

    pub(crate) fn cause(&self) -> &Cause {
        &self.cause
    }

    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::Idle { .. } => State::Idle,
            Phase::Connect { .. } => State::Connect,
            Phase::Active { .. } => State::Active,
            Phase::OpenSent { .. } => State::OpenSent,
            Phase::OpenConfirm { .. } => State::OpenConfirm,
            Phase::Established { .. } => State::Established,
        }
    }

    pub(crate) fn link(&self) -> Option<Link> {
        match &self.phase {
            Phase::Idle { .. } | Phase::Connect { .. } | Phase::Active { .. } => None,
            Phase::OpenSent { link, .. }
            | Phase::OpenConfirm { link, .. }
            | Phase::Established { link, .. } => Some(*link),
        }
    }

    pub(crate) fn terms(&self) -> Option<&Arc<Terms>> {
        match &self.phase {
            Phase::Idle { .. } | Phase::Connect { .. } | Phase::Active { .. } | Phase::OpenSent { .. } => {
                None
            }
            Phase::OpenConfirm { terms, .. } | Phase::Established { terms, .. } => Some(terms),
        }
    }

    /// Our OPEN on the link.
    pub(crate) fn sent_open(&self) -> Option<Arc<Open>> {
        match &self.phase {
            Phase::Idle { .. } | Phase::Connect { .. } | Phase::Active { .. } => None,
            Phase::OpenSent { ours, .. } => Some(ours.clone()),
            Phase::OpenConfirm { terms, .. } | Phase::Established { terms, .. } => Some(terms.ours.clone()),
        }
    }

    /// The next deadline and the event it brings. The hold timers go before the keepalive timer.
    pub(crate) fn next_timer(&self) -> Option<(Instant, Event)> {
        match &self.phase {
            Phase::Idle { restart } => restart.map(|at| (at, Event::IdleHoldTimerExpires)),
            Phase::Connect { retry, .. } => Some((*retry, Event::ConnectRetryTimerExpires)),
            Phase::Active { retry } => retry.map(|at| (at, Event::ConnectRetryTimerExpires)),
            Phase::OpenSent { hold, .. } => Some((*hold, Event::HoldTimerExpires)),
            Phase::OpenConfirm { clocks, .. } | Phase::Established { clocks, .. } => {
                let hold = clocks.hold.map(|at| (at, Event::HoldTimerExpires));
                let keepalive = clocks.keepalive.map(|at| (at, Event::KeepaliveTimerExpires));
                let send_hold = clocks.send_hold.map(|at| (at, Event::SendHoldTimerExpires));
                [hold, send_hold, keepalive].into_iter().flatten().min_by_key(|(at, _)| *at)
            }
        }
    }

    /// The timers that run, for people.
    pub(crate) fn timers(&self) -> Timers {
        let none = Timers::default();
        match &self.phase {
            Phase::Idle { restart } => Timers { idle_hold: *restart, ..none },
            Phase::Connect { retry, .. } => Timers { connect_retry: Some(*retry), ..none },
            Phase::Active { retry } => Timers { connect_retry: *retry, ..none },
            Phase::OpenSent { hold, .. } => Timers { hold: Some(*hold), ..none },
            Phase::OpenConfirm { clocks, .. } | Phase::Established { clocks, .. } => {
                Timers { hold: clocks.hold, keepalive: clocks.keepalive, send_hold: clocks.send_hold, ..none }
            }
        }
    }

    /// One transition.
    #[expect(clippy::match_same_arms, reason = "an arm per state and event, in the order of the RFC")]
    pub(crate) fn handle(&mut self, now: Instant, event: Event, shared: &mut Shared) {
        use Event as E;
        use Phase::{Active, Connect, Established, Idle, OpenConfirm, OpenSent};

        if let Established { since, .. } = self.phase
            && now >= since + STABLE_AFTER
        {
            shared.backoff.reset();
        }
        let before = self.state();
        let name = event.name();
        let mut cause = Cause::UnexpectedEvent(name);
        let phase = std::mem::replace(&mut self.phase, Idle { restart: None });
        self.phase = match (phase, event) {
            // ---- Idle: no connection, and none is accepted.
            (Idle { .. }, E::ManualStart) => {
                shared.forget_failures();
                cause = Cause::Started;
                start(now, shared)
            }
            (Idle { .. }, E::IdleHoldTimerExpires) => {
                cause = Cause::RetryTimerExpired;
                match shared.held_by_bfd {
                    Some(until) if now < until => Idle { restart: Some(until) },
                    Some(_) | None => {
                        shared.held_by_bfd = None;
                        start(now, shared)
                    }
                }
            }
            (Idle { .. }, E::ManualStop(_)) => {
                cause = Cause::Stopped;
                Idle { restart: None }
            }
            (idle @ Idle { .. }, E::TcpCrAcked(link) | E::TcpConnectionConfirmed(link)) => {
                shared.close(link.id);
                idle
            }
            (
                idle @ Idle { .. },
                E::AutomaticStop(_)
                | E::ConnectRetryTimerExpires
                | E::HoldTimerExpires
                | E::KeepaliveTimerExpires
                | E::TcpConnectionFails(_)
                | E::BgpOpen(_)
                | E::MessageErr(..)
                | E::OpenCollisionDump
                | E::NotifMsg(_)
                | E::KeepAliveMsg
                | E::UpdateMsg
                | E::RouteRefreshMsg
                | E::SendHoldTimerExpires
                | E::MessageSent,
            ) => idle,

            // ---- Connect: an attempt is under way.
            (Connect { attempt, retry }, E::ManualStart) => Connect { attempt, retry },
            (Connect { attempt, .. }, E::ManualStop(_)) => {
                shared.close(attempt);
                cause = Cause::Stopped;
                Idle { restart: None }
            }
            (Connect { attempt, .. }, E::ConnectRetryTimerExpires) => {
                shared.close(attempt);
                shared.backoff.after_failure();
                connect(now, shared)
            }
            (Connect { attempt, .. }, E::TcpCrAcked(link)) => {
                if link.id != attempt {
                    shared.close(attempt);
                }
                cause = Cause::TcpConnected;
                open(now, link, shared)
            }
            (Connect { attempt, .. }, E::TcpConnectionConfirmed(link)) => {
                shared.close(attempt);
                cause = Cause::TcpAccepted;
                open(now, link, shared)
            }
            (Connect { attempt, .. }, E::AutomaticStop(Stop { why, then, .. })) => {
                shared.close(attempt);
                cause = Cause::Ended(why);
                idle(now, then, shared)
            }
            (Connect { attempt, .. }, E::OpenCollisionDump) => {
                shared.close(attempt);
                Idle { restart: Some(now + shared.backoff.pause()) }
            }
            (Connect { .. }, E::TcpConnectionFails(error)) => {
                cause = Cause::ConnectFailed(error);
                Active { retry: Some(now + shared.backoff.after_failure()) }
            }
            (
                Connect { attempt, .. },
                E::HoldTimerExpires
                | E::KeepaliveTimerExpires
                | E::IdleHoldTimerExpires
                | E::BgpOpen(_)
                | E::MessageErr(..)
                | E::NotifMsg(_)
                | E::KeepAliveMsg
                | E::UpdateMsg
                | E::RouteRefreshMsg
                | E::SendHoldTimerExpires
                | E::MessageSent,
            ) => {
                shared.close(attempt);
                failed(now, shared)
            }

            // ---- Active: waiting for the peer or for the next attempt.
            (Active { retry }, E::ManualStart) => Active { retry },
            (Active { .. }, E::ManualStop(_)) => {
                cause = Cause::Stopped;
                Idle { restart: None }
            }
            (Active { .. }, E::ConnectRetryTimerExpires) => {
                cause = Cause::RetryTimerExpired;
                start(now, shared)
            }
            (Active { .. }, E::AutomaticStop(Stop { why, then, .. })) => {
                cause = Cause::Ended(why);
                idle(now, then, shared)
            }
            (Active { .. }, E::TcpCrAcked(link)) => {
                cause = Cause::TcpConnected;
                open(now, link, shared)
            }
            (Active { .. }, E::TcpConnectionConfirmed(link)) => {
                cause = Cause::TcpAccepted;
                open(now, link, shared)
            }
            (
                Active { .. },
                E::HoldTimerExpires
                | E::KeepaliveTimerExpires
                | E::IdleHoldTimerExpires
                | E::TcpConnectionFails(_)
                | E::BgpOpen(_)
                | E::MessageErr(..)
                | E::OpenCollisionDump
                | E::NotifMsg(_)
                | E::KeepAliveMsg
                | E::UpdateMsg
                | E::RouteRefreshMsg
                | E::SendHoldTimerExpires
                | E::MessageSent,
            ) => failed(now, shared),

            // ---- In every state with a link.
            (phase @ (OpenSent { .. } | OpenConfirm { .. } | Established { .. }), E::ManualStart) => phase,
            (
                phase @ (OpenSent { .. } | OpenConfirm { .. } | Established { .. }),
                E::TcpCrAcked(second) | E::TcpConnectionConfirmed(second),
            ) => {
                // A second connection has a machine of its own (§8.2.1); it is not this one's.
                shared.close(second.id);
                phase
            }
            (
                OpenSent { link, .. } | OpenConfirm { link, .. } | Established { link, .. },
                E::ManualStop(Farewell::Silence(why)),
            ) => {
                shared.close(link.id);
                cause = Cause::Left(why);
                Idle { restart: None }
            }
            (OpenSent { link, .. } | OpenConfirm { link, .. }, E::ManualStop(Farewell::Cease(cease))) => {
                cause = shared.notify(now, link.id, cease, None);
                Idle { restart: None }
            }
            (Established { link, terms, .. }, E::ManualStop(Farewell::Cease(cease))) => {
                cause = shared.notify(now, link.id, hard(cease, &terms), None);
                Idle { restart: None }
            }
            (OpenSent { link, .. } | OpenConfirm { link, .. }, E::AutomaticStop(stop)) => {
                cause = shared.notify(now, link.id, stop.notification, Some(stop.why));
                idle(now, stop.then, shared)
            }
            (Established { link, terms, .. }, E::AutomaticStop(stop)) => {
                let notification =
                    if stop.hard { hard(stop.notification, &terms) } else { stop.notification };
                cause = shared.notify(now, link.id, notification, Some(stop.why));
                idle(now, stop.then, shared)
            }
            (
                OpenSent { link, .. } | OpenConfirm { link, .. } | Established { link, .. },
                E::MessageErr(notification, why),
            ) => {
                cause = shared.notify(now, link.id, notification, Some(why));
                failed(now, shared)
            }
            (
                OpenSent { link, .. } | OpenConfirm { link, .. } | Established { link, .. },
                E::HoldTimerExpires,
            ) => {
                cause = shared.notify(now, link.id, error(ErrorCode::HOLD_TIMER_EXPIRED), None);
                failed(now, shared)
            }
            (
                OpenSent { link, .. } | OpenConfirm { link, .. } | Established { link, .. },
                E::SendHoldTimerExpires,
            ) => {
                let detail = "the peer takes nothing of what we send, though it still speaks".to_owned();
                cause = shared.notify(now, link.id, error(ErrorCode::SEND_HOLD_TIMER_EXPIRED), Some(detail));
                failed(now, shared)
            }
            (phase @ (OpenSent { .. } | OpenConfirm { .. }), E::MessageSent) => phase,
            (
                OpenSent { link, .. } | OpenConfirm { link, .. } | Established { link, .. },
                E::OpenCollisionDump,
            ) => {
                cause = shared.notify(now, link.id, error(ErrorCode::CONNECTION_COLLISION), None);
                Idle { restart: Some(now + shared.backoff.pause()) }
            }
            (
                OpenSent { link, .. } | OpenConfirm { link, .. } | Established { link, .. },
                E::NotifMsg(notification),
            ) => {
                shared.close(link.id);
                let idle = refused(now, &notification, shared);
                cause = Cause::NotificationReceived(notification);
                idle
            }

            // ---- OpenSent: the peer's OPEN is awaited.
            (OpenSent { link, .. }, E::TcpConnectionFails(error)) => {
                shared.close(link.id);
                cause = Cause::TcpLost(error);
                Active { retry: shared.may_connect().then(|| now + shared.backoff.after_failure()) }
            }
            (OpenSent { link, .. }, E::BgpOpen(terms)) => {
                shared.send_keepalive(link.id);
                cause = Cause::OpenAccepted;
                OpenConfirm { link, clocks: Clocks::start(now, &terms, shared), terms }
            }
            (
                OpenSent { link, .. },
                event @ (E::ConnectRetryTimerExpires
                | E::KeepaliveTimerExpires
                | E::IdleHoldTimerExpires
                | E::KeepAliveMsg
                | E::UpdateMsg
                | E::RouteRefreshMsg),
            ) => {
                let notification = event.out_of_place(ErrorCode::FSM_UNEXPECTED_IN_OPEN_SENT);
                cause = shared.notify(now, link.id, notification, Some(name.to_owned()));
                failed(now, shared)
            }

            // ---- OpenConfirm: the peer's KEEPALIVE is awaited.
            (OpenConfirm { link, terms, clocks }, E::KeepaliveTimerExpires) => {
                shared.send_keepalive(link.id);
                OpenConfirm { link, clocks: clocks.spoke(now, &terms, shared), terms }
            }
            (OpenConfirm { link, terms, clocks }, E::KeepAliveMsg) => {
                cause = Cause::OpenConfirmed;
                Established { link, clocks: clocks.heard(now, &terms).sent(now, &terms), terms, since: now }
            }
            (
                OpenConfirm { link, .. },
                event @ (E::ConnectRetryTimerExpires
                | E::IdleHoldTimerExpires
                | E::BgpOpen(_)
                | E::UpdateMsg
                | E::RouteRefreshMsg),
            ) => {
                let notification = event.out_of_place(ErrorCode::FSM_UNEXPECTED_IN_OPEN_CONFIRM);
                cause = shared.notify(now, link.id, notification, Some(name.to_owned()));
                failed(now, shared)
            }

            // ---- Established: routes are exchanged.
            (Established { link, terms, clocks, since }, E::KeepaliveTimerExpires) => {
                shared.send_keepalive(link.id);
                Established { link, clocks: clocks.spoke(now, &terms, shared), terms, since }
            }
            (Established { link, terms, clocks, since }, E::MessageSent) => {
                Established { link, clocks: clocks.sent(now, &terms), terms, since }
            }
            (
                Established { link, terms, clocks, since },
                E::KeepAliveMsg | E::UpdateMsg | E::RouteRefreshMsg,
            ) => Established { link, clocks: clocks.heard(now, &terms), terms, since },
            (
                Established { link, .. },
                event @ (E::ConnectRetryTimerExpires | E::IdleHoldTimerExpires | E::BgpOpen(_)),
            ) => {
                let notification = event.out_of_place(ErrorCode::FSM_UNEXPECTED_IN_ESTABLISHED);
                cause = shared.notify(now, link.id, notification, Some(name.to_owned()));
                failed(now, shared)
            }
            (OpenConfirm { link, .. } | Established { link, .. }, E::TcpConnectionFails(error)) => {
                shared.close(link.id);
                cause = Cause::TcpLost(error);
                failed(now, shared)
            }
        };
        if self.state() != before {
            self.cause = cause;
        }
        if self.link().is_none() {
            self.inbox = BytesMut::new();
        }
    }
}

fn error(code: ErrorCode) -> Notification {
    Notification::new(code, [])
}

/// Tries to connect, or waits for the peer if it is the one to connect.
fn start(now: Instant, shared: &mut Shared) -> Phase {
    if shared.may_connect() { connect(now, shared) } else { Phase::Active { retry: None } }
}

/// Begins an attempt.
fn connect(now: Instant, shared: &mut Shared) -> Phase {
    let attempt = shared.connect();
    Phase::Connect { attempt, retry: now + shared.backoff.attempt_timeout() }
}

fn open(now: Instant, link: Link, shared: &mut Shared) -> Phase {
    let ours = shared.send_open(now, link.id);
    Phase::OpenSent { link, hold: now + OPEN_HOLD_TIME, ours }
}

fn idle(now: Instant, then: Then, shared: &mut Shared) -> Phase {
    let wait = match then {
        Then::Retry => Some(shared.backoff.after_failure()),
        Then::Pause => Some(shared.backoff.pause()),
        Then::After(wait) => Some(wait),
        Then::Stay => None,
    };
    Phase::Idle { restart: wait.map(|wait| now + wait) }
}

/// Idle until the IdleHold timer expires, which takes longer with each failure.
fn failed(now: Instant, shared: &mut Shared) -> Phase {
    Phase::Idle { restart: Some(now + shared.backoff.after_failure()) }
}

/// Idle after a NOTIFICATION from the peer; what it objected to is not repeated.
fn refused(now: Instant, notification: &Notification, shared: &mut Shared) -> Phase {
    match notification.error() {
        ErrorCode::UNSUPPORTED_OPTIONAL_PARAMETER if !shared.without_capabilities => {
            shared.without_capabilities = true; // RFC 5492 §3
            Phase::Idle { restart: Some(now + shared.backoff.pause()) }
        }
        ErrorCode::UNSUPPORTED_CAPABILITY => {
            shared.capability_missing = true; // RFC 5492 §3
            failed(now, shared)
        }
        ErrorCode::CONNECTION_COLLISION => Phase::Idle { restart: Some(now + shared.backoff.pause()) },
        _ => failed(now, shared),
    }
}

#[cfg(test)]
mod tests;
