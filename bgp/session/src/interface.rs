//! What goes into a session and what comes out: the words between the core and its driver.

use std::{fmt, net::IpAddr};

use bytes::Bytes;
use proxima_bgp_wire::{AttributeProblem, EncodeError, Notification};
use proxima_types::{Family, Prefix};

use crate::Desired;

/// The generation of a TCP connection or of an attempt at one. Never used twice within a session, so that news of
/// a connection that is gone can't be taken for news of its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(crate) u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The six states of RFC 4271 §8.2.2, in the order of the RFC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Stopped, or waiting after a failure.
    Idle,
    /// A TCP connection is being made.
    Connect,
    /// Waiting for the peer, or for the next attempt.
    Active,
    /// OPEN sent, the peer's awaited.
    OpenSent,
    /// OPEN received and accepted, KEEPALIVE awaited.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl State {
    /// All six, in the order of the RFC.
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Connect, Self::Active, Self::OpenSent, Self::OpenConfirm, Self::Established];

    /// The name the RFC gives it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// News for a session.
#[derive(Debug, Clone)]
pub enum Input {
    /// The operator starts the session.
    ManualStart,
    /// The operator stops it. The text goes to the peer in the Cease (RFC 9003).
    ManualStop {
        /// Why, for the operator at the other end; empty for none.
        reason: String,
    },
    /// The operator restarts it: Cease 6/4, then a new attempt after the shortest wait.
    Reset,
    /// The connection that [`Output::Connect`] asked for is up.
    Connected {
        /// Its id from the output.
        connection: ConnectionId,
        /// The local address of the connection.
        local: IpAddr,
    },
    /// The connection that [`Output::Connect`] asked for could not be made.
    ConnectFailed {
        /// Its id from the output.
        connection: ConnectionId,
        /// The operating system's words, with a remedy where one is known.
        error: String,
    },
    /// The peer connected. The driver took the id from [`crate::Session::next_connection`].
    Accepted {
        /// The id of the new connection.
        connection: ConnectionId,
        /// The local address of the connection.
        local: IpAddr,
    },
    /// Bytes from a connection, in order.
    Received {
        /// The connection.
        connection: ConnectionId,
        /// The bytes, cut anywhere.
        bytes: Bytes,
    },
    /// The operating system took bytes of a connection: the peer, or the room before it, still takes what we send.
    Written {
        /// The connection.
        connection: ConnectionId,
    },
    /// A connection ended or failed.
    Closed {
        /// The connection.
        connection: ConnectionId,
        /// How it ended.
        error: String,
    },
    /// The routes the peer is to hold from now on: all of them, not a change.
    SetDesired(Desired),
    /// The desired state is complete for the first time: End-of-RIB may follow it (RFC 4724 §4.1 asks to defer it
    /// until then). Stays in force for all later connections.
    ReleaseEndOfRib,
}

/// What the driver has to do or to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Connect to the peer, and report under this id.
    Connect {
        /// The id of the attempt.
        connection: ConnectionId,
    },
    /// Write these bytes, in order.
    Send {
        /// The connection.
        connection: ConnectionId,
        /// One whole message.
        bytes: Bytes,
    },
    /// Write what is still unwritten, then close; or give up the attempt. Nothing more comes for this id.
    Close {
        /// The connection or the attempt.
        connection: ConnectionId,
    },
    /// The session's state changed.
    StateChanged {
        /// From this state.
        from: State,
        /// To this state.
        to: State,
        /// Because of this.
        cause: Cause,
    },
    /// An UPDATE was taken into the adj-RIB-in.
    RoutesReceived(RoutesReceived),
    /// Something the operator should know while the session goes on.
    Problem(Problem),
}

/// What one received UPDATE did to the adj-RIB-in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoutesReceived {
    /// Prefixes announced or announced anew.
    pub announced: Vec<Prefix>,
    /// Prefixes withdrawn that were there.
    pub withdrawn: Vec<Prefix>,
    /// The peer has sent all its routes of this family.
    pub end_of_rib: Option<Family>,
    /// Prefixes in the adj-RIB-in afterwards.
    pub total: usize,
}

/// Something wrong that does not end the session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A malformed UPDATE that the session survives.
    #[error("malformed UPDATE from the peer: {0} (RFC 7606)")]
    MalformedUpdate(AttributeProblem),
    /// A route can't be written as it was asked for.
    #[error("cannot announce {routes} route(s): {error}")]
    Unsendable {
        /// How many routes it concerns; they are withdrawn until their attributes change.
        routes: usize,
        /// Why.
        error: EncodeError,
    },
    /// The peer does not offer a configured family.
    #[error(
        "the peer did not offer {0}: no {0} route is exchanged with it; enable the family on the peer or take \
         it out of `families`"
    )]
    FamilyNotOffered(Family),
    /// An attempt to connect was given up.
    #[error(
        "no answer to the attempt to connect, trying again; check that the peer is up, its `address`, and firewalls \
         between here and there"
    )]
    NoAnswer,
    /// There is no next hop for a family.
    #[error("no {0} next hop on this session: no {0} route is announced; set `next-hop-{0}` for the peer")]
    NoNextHop(Family),
}

/// Why a state changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The operator started the session.
    Started,
    /// The wait after a failure is over.
    RetryTimerExpired,
    /// A TCP connection came up.
    TcpConnected,
    /// The peer connected.
    TcpAccepted,
    /// The TCP connection could not be made.
    ConnectFailed(String),
    /// The TCP connection was lost.
    TcpLost(String),
    /// The peer's OPEN was accepted.
    OpenAccepted,
    /// The peer accepted our OPEN.
    OpenConfirmed,
    /// We ended the connection.
    NotificationSent {
        /// What the peer was told.
        notification: Notification,
        /// What the operator should know beyond that.
        detail: Option<String>,
    },
    /// The peer ended the connection.
    NotificationReceived(Notification),
    /// The operator stopped the session when there was no connection.
    Stopped,
    /// We ended an attempt, for this reason.
    Ended(String),
    /// An event that makes no sense in its state, without a connection to tell it to.
    UnexpectedEvent(&'static str),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started by the operator"),
            Self::RetryTimerExpired => f.write_str("trying again"),
            Self::TcpConnected => f.write_str("connected to the peer"),
            Self::TcpAccepted => f.write_str("the peer connected"),
            Self::ConnectFailed(error) => write!(f, "cannot connect: {error}"),
            Self::TcpLost(error) => write!(f, "connection lost: {error}"),
            Self::OpenAccepted => f.write_str("the peer's OPEN was accepted"),
            Self::OpenConfirmed => f.write_str("the peer accepted our OPEN"),
            Self::NotificationSent { notification, detail } => {
                write!(f, "we sent NOTIFICATION {notification}")?;
                detail.as_ref().map_or(Ok(()), |detail| write!(f, ": {detail}"))
            }
            Self::NotificationReceived(n) => write!(f, "the peer sent NOTIFICATION {n}"),
            Self::Stopped => f.write_str("stopped by the operator"),
            Self::Ended(why) => f.write_str(why),
            Self::UnexpectedEvent(event) => write!(f, "unexpected {event}"),
        }
    }
}
