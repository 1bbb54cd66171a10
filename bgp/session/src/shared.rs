//! What the machines of one peer have in common: settings, backoff, the queue of outputs, counters.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use proxima_bgp_wire::{ErrorCode, KEEPALIVE, Message, Negotiated, Notification, Open};

use crate::{
    Settings, Terms,
    backoff::Backoff,
    interface::ConnectionId,
    output::{Cause, Output},
    settings::RETRY_CEILING,
    status::{Counters, Stamped},
    terms,
};

/// KEEPALIVEs are never closer together (RFC 4271 §4.4).
const LEAST_KEEPALIVE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) backoff: Backoff,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) counters: Counters,
    /// The peer refused the optional parameter: OPEN goes without capabilities (RFC 5492 §3).
    pub(crate) without_capabilities: bool,
    /// One side lacks a capability the other insists on: no attempt from here until an operator has looked at it
    /// (RFC 5492 §3). The peer may connect.
    pub(crate) capability_missing: bool,
    /// The IdleHold timer does not let go before this, as BFD is down.
    pub(crate) held_by_bfd: Option<Instant>,
    /// When the speaker was started.
    pub(crate) started: Instant,
    /// Until when our OPENs say that we have restarted; absent before the first start.
    pub(crate) restart_window: Option<Instant>,
    /// The last NOTIFICATION sent, with what the operator should know.
    pub(crate) last_sent: Option<Stamped<Cause>>,
    pub(crate) last_connection: u64,
}

impl Shared {
    pub(crate) fn new(settings: Settings, started: Instant, seed: u64) -> Self {
        Self {
            backoff: Backoff::new(settings.connect_retry, RETRY_CEILING, seed),
            settings,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            without_capabilities: false,
            capability_missing: false,
            held_by_bfd: None,
            started,
            restart_window: None,
            last_sent: None,
            last_connection: 0,
        }
    }

    /// Whether we may take the first step.
    pub(crate) fn may_connect(&self) -> bool {
        !self.settings.passive && !self.capability_missing
    }

    /// Begins afresh, as the operator wishes.
    pub(crate) fn forget_failures(&mut self) {
        self.backoff.reset();
        self.without_capabilities = false;
        self.capability_missing = false;
        self.held_by_bfd = None;
    }

    pub(crate) fn next_connection(&mut self) -> ConnectionId {
        self.last_connection += 1;
        ConnectionId(self.last_connection)
    }

    pub(crate) fn connect(&mut self) -> ConnectionId {
        let connection = self.next_connection();
        self.outputs.push_back(Output::Connect { connection });
        connection
    }

    pub(crate) fn close(&mut self, connection: ConnectionId) {
        self.outputs.push_back(Output::Close { connection });
    }

    pub(crate) fn send_open(&mut self, now: Instant, connection: ConnectionId) -> Arc<Open> {
        let restarted = self.restart_window.is_some_and(|until| now < until);
        let open = terms::our_open(&self.settings, self.without_capabilities, restarted);
        self.send(connection, encoded(&Message::Open(open.clone())));
        Arc::new(open)
    }

    /// The wait before the next KEEPALIVE: jittered, and never less than a second (RFC 4271 §4.4, §10).
    pub(crate) fn keepalive_wait(&mut self, terms: &Terms) -> Option<Duration> {
        let interval = terms.keepalive_interval()?;
        Some(self.backoff.jittered(interval).max(LEAST_KEEPALIVE))
    }

    pub(crate) fn send_keepalive(&mut self, connection: ConnectionId) {
        self.send(connection, Bytes::from_static(&KEEPALIVE));
    }

    /// Ends a connection with a NOTIFICATION; `detail` is for the operator here.
    pub(crate) fn notify(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        notification: Notification,
        detail: Option<String>,
    ) -> Cause {
        if notification.error() == ErrorCode::UNSUPPORTED_CAPABILITY {
            self.capability_missing = true;
        }
        self.send(connection, encoded(&Message::Notification(notification.clone())));
        self.close(connection);
        let cause = Cause::NotificationSent { notification, detail };
        self.last_sent = Some(Stamped { at: now, what: cause.clone() });
        cause
    }

    pub(crate) fn send(&mut self, connection: ConnectionId, bytes: Bytes) {
        self.counters.messages_sent += 1;
        self.outputs.push_back(Output::Send { connection, bytes });
    }
}

/// A message other than UPDATE as bytes.
pub(crate) fn encoded(message: &Message) -> Bytes {
    let mut bytes = BytesMut::new();
    message.encode(Negotiated::default(), &mut bytes).expect(
        "ours have a few short capabilities, the peer's came in one message, and a NOTIFICATION is cut to size",
    );
    bytes.freeze()
}
