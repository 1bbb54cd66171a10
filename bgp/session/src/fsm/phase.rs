//! The states, each with all that exists in it and nothing else.

use std::{sync::Arc, time::Instant};

use proxima_bgp_wire::Open;

use crate::{ConnectionId, Local, Terms, shared::Shared};

/// Which end made the TCP connection; decides collisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Initiator {
    Local,
    Remote,
}

/// A TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    pub(crate) initiator: Initiator,
    pub(crate) local: Local,
}

/// The timers of a connection whose terms are agreed; all absent when the hold time is 0. The SendHoldTimer runs
/// from Established on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clocks {
    pub(crate) hold: Option<Instant>,
    pub(crate) keepalive: Option<Instant>,
    pub(crate) send_hold: Option<Instant>,
}

impl Clocks {
    pub(super) fn start(now: Instant, terms: &Terms, shared: &mut Shared) -> Self {
        Self {
            hold: terms.hold_time.map(|t| now + t),
            keepalive: shared.keepalive_wait(terms).map(|t| now + t),
            send_hold: None,
        }
    }

    pub(super) fn heard(self, now: Instant, terms: &Terms) -> Self {
        Self { hold: terms.hold_time.map(|t| now + t), ..self }
    }

    pub(super) fn spoke(self, now: Instant, terms: &Terms, shared: &mut Shared) -> Self {
        Self { keepalive: shared.keepalive_wait(terms).map(|t| now + t), ..self }
    }

    pub(super) fn sent(self, now: Instant, terms: &Terms) -> Self {
        Self { send_hold: terms.send_hold_time().map(|t| now + t), ..self }
    }
}

/// A state with all that exists in it.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    /// `restart` is the IdleHold timer; absent when the operator stopped the session.
    Idle {
        restart: Option<Instant>,
    },
    /// `retry` is the ConnectRetry timer.
    Connect {
        attempt: ConnectionId,
        retry: Instant,
    },
    /// `retry` is the ConnectRetry timer; absent when only the peer may connect.
    Active {
        retry: Option<Instant>,
    },
    /// `hold` is the large hold time before an OPEN; `ours` is the OPEN we sent.
    OpenSent {
        link: Link,
        hold: Instant,
        ours: Arc<Open>,
    },
    OpenConfirm {
        link: Link,
        terms: Arc<Terms>,
        clocks: Clocks,
    },
    Established {
        link: Link,
        terms: Arc<Terms>,
        clocks: Clocks,
        since: Instant,
    },
}
