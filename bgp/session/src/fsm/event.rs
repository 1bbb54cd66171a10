//! What can happen to a machine.

use std::{sync::Arc, time::Duration};

use proxima_bgp_wire::{ErrorCode, MessageType, Notification};

use super::{Link, error};
use crate::Terms;

/// An event of RFC 4271 §8.1.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// 1.
    ManualStart,
    /// 2.
    ManualStop(Farewell),
    /// 8: the session ends itself.
    AutomaticStop(Stop),
    /// 9.
    ConnectRetryTimerExpires,
    /// 10.
    HoldTimerExpires,
    /// 11.
    KeepaliveTimerExpires,
    /// 13.
    IdleHoldTimerExpires,
    /// 16: the connection we asked for is up.
    TcpCrAcked(Link),
    /// 17: the peer connected.
    TcpConnectionConfirmed(Link),
    /// 18: the attempt failed or the connection was lost.
    TcpConnectionFails(String),
    /// 19: an OPEN that passed every check, and what it leads to.
    BgpOpen(Arc<Terms>),
    /// 21, 22 and 28: a message with an error, the NOTIFICATION the RFC wants for it, and words for the operator.
    MessageErr(Notification, String),
    /// 23: the collision was lost.
    OpenCollisionDump,
    /// 24 and 25.
    NotifMsg(Notification),
    /// 26.
    KeepAliveMsg,
    /// 27; its routes are taken in a level above.
    UpdateMsg,
    /// A ROUTE-REFRESH (RFC 2918), answered a level above.
    RouteRefreshMsg,
    /// 29 (RFC 9687).
    SendHoldTimerExpires,
    /// The peer takes what we send, which restarts the SendHoldTimer (RFC 9687 §3.2).
    MessageSent,
}

impl Event {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::ManualStart => "ManualStart",
            Self::ManualStop(_) => "ManualStop",
            Self::AutomaticStop(..) => "AutomaticStop",
            Self::ConnectRetryTimerExpires => "ConnectRetryTimer_Expires",
            Self::HoldTimerExpires => "HoldTimer_Expires",
            Self::KeepaliveTimerExpires => "KeepaliveTimer_Expires",
            Self::IdleHoldTimerExpires => "IdleHoldTimer_Expires",
            Self::TcpCrAcked(_) => "Tcp_CR_Acked",
            Self::TcpConnectionConfirmed(_) => "TcpConnectionConfirmed",
            Self::TcpConnectionFails(_) => "TcpConnectionFails",
            Self::BgpOpen(_) => "BGPOpen",
            Self::MessageErr(..) => "BGPMsgErr",
            Self::OpenCollisionDump => "OpenCollisionDump",
            Self::NotifMsg(_) => "NotifMsg",
            Self::KeepAliveMsg => "KeepAliveMsg",
            Self::UpdateMsg => "UpdateMsg",
            Self::RouteRefreshMsg => "RouteRefreshMsg",
            Self::SendHoldTimerExpires => "SendHoldTimer_Expires",
            Self::MessageSent => "MessageSent",
        }
    }

    /// What to say of it where it has no place: `unexpected` with the type of the message (RFC 6608 §4), or that
    /// something is wrong with the machine itself.
    pub(super) fn out_of_place(&self, unexpected: ErrorCode) -> Notification {
        let message = match self {
            Self::BgpOpen(_) => MessageType::Open,
            Self::UpdateMsg => MessageType::Update,
            Self::KeepAliveMsg => MessageType::Keepalive,
            Self::RouteRefreshMsg => MessageType::RouteRefresh,
            _ => return error(ErrorCode::FSM_UNSPECIFIC),
        };
        Notification::new(unexpected, [message as u8])
    }
}

/// The last word of a session that is stopped for good. Where there is no connection there is none.
#[derive(Debug, Clone)]
pub(crate) enum Farewell {
    /// This Cease, as a Hard Reset where our routes would stay otherwise.
    Cease(Notification),
    /// None: the peer sees the connection end. With what the operator is told.
    Silence(&'static str),
}

/// Why and how a session ends itself.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    pub(crate) notification: Notification,
    /// For the operator here.
    pub(crate) why: String,
    /// Nobody's routes are to stay: as a Hard Reset where they would otherwise.
    pub(crate) hard: bool,
    pub(crate) then: Then,
}

/// What follows in Idle.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Then {
    /// The IdleHold timer, as after any failure.
    Retry,
    /// The shortest wait; it was no failure.
    Pause,
    /// This wait.
    After(Duration),
    /// Nothing, until an operator starts the session.
    Stay,
}
