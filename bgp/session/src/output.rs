//! What comes out of a session: what the driver has to do or to tell, and what goes to the RIB.

use std::{fmt, net::Ipv4Addr};

use bytes::Bytes;
use proxima_bgp_wire::{ErrorCode, Loops, Negotiated, Notification, PeerKind, Update};
use proxima_types::{Asn, Family};

use crate::{ConnectionId, Local, Problem, State};

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
        /// One whole message, or several of them.
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
    /// The peer's routes change: to be handed to the RIB in order, every one.
    Rib(RibChange),
    /// Something the operator should know while the session goes on.
    Problem(Problem),
}

/// What happens to the routes of the peer. The RIB holds none of a peer before its first [`RibChange::PeerUp`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RibChange {
    /// The session is established. Routes that are still held are stale ones and stay, until told otherwise.
    PeerUp(Box<PeerUp>),
    /// An UPDATE that says something about routes.
    Update(Box<ReceivedUpdate>),
    /// The peer has sent all its routes of the family.
    EndOfRib(Family),
    /// The session is lost, and all routes of the family are stale from now on (RFC 4724 §4.2): used as before, until they
    /// are announced anew or swept.
    MarkStale(Family),
    /// The peer begins to send all its routes of the family again (RFC 7313 §4): what it does not announce anew is swept
    /// at the end. Until then it stands as before, the session being up.
    BeginRefresh(Family),
    /// The routes of the family that are still stale go.
    SweepStale(Family),
    /// All routes of the family go.
    DropFamily(Family),
    /// All routes of the peer go.
    DropAll,
}

/// Who it is that routes now come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerUp {
    /// Its AS number.
    pub asn: Asn,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// In our AS or in another.
    pub kind: PeerKind,
    /// Our end of the connection.
    pub local: Local,
    /// How its messages are to be read.
    pub negotiated: Negotiated,
    /// Our OPEN as it went out, header included.
    pub sent_open: Bytes,
    /// Its OPEN as it came, header included.
    pub received_open: Bytes,
}

/// An UPDATE after the checks that do not end the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedUpdate {
    /// The message as it came, header included. It may share its memory with others that came along: not to be kept.
    pub message: Bytes,
    /// What it says. Routes that failed a check are among the withdrawn ones.
    pub update: Update,
    /// How that differs from what the message says.
    pub mended: Option<Mended>,
    /// What is to be said of the routes it announces.
    pub marks: Marks,
}

/// How an UPDATE was not taken for what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mended {
    /// Routes of it were treated as withdrawn for a fault of its attributes (RFC 7606 §2), the first AS of its path among them.
    TreatedAsWithdrawn,
    /// Otherwise: an attribute was discarded, or routes were refused or left out.
    Otherwise,
}

/// Why routes are kept to be seen, but not to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// By what they show that they have been here before: they must not be used (RFC 4271 §9.1.2, RFC 4456 §8). PoPs that
    /// share an AS hear of each other this way.
    pub loops: Loops,
    /// A route leak: ONLY_TO_CUSTOMER says that it must not have come from this peer (RFC 9234 §5). Ineligible.
    pub leak: bool,
}

impl Marks {
    /// Whether the routes may be used.
    pub fn eligible(self) -> bool {
        !self.loops.any() && !self.leak
    }
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
    /// We left the peer without a word, as ordered.
    Left(&'static str),
    /// We ended a connection without a word, or an attempt, for this reason.
    Ended(String),
    /// An event that makes no sense in its state, without a connection to tell it to.
    UnexpectedEvent(&'static str),
}

impl Cause {
    /// Whether it went as someone here had ordered: an operator, a new configuration, the end of the process.
    pub fn is_ordered(&self) -> bool {
        match self {
            Self::Stopped | Self::Left(_) => true,
            Self::NotificationSent { notification, .. } => {
                // RFC 4486 §3; RFC 8538 §3 wraps it where the peer would keep the routes.
                let inside = notification.hard_reset_reason();
                [
                    ErrorCode::ADMINISTRATIVE_SHUTDOWN,
                    ErrorCode::PEER_DECONFIGURED,
                    ErrorCode::ADMINISTRATIVE_RESET,
                    ErrorCode::OTHER_CONFIGURATION_CHANGE,
                ]
                .contains(&inside.as_ref().unwrap_or(notification).error())
            }
            Self::Started
            | Self::RetryTimerExpired
            | Self::TcpConnected
            | Self::TcpAccepted
            | Self::ConnectFailed(_)
            | Self::TcpLost(_)
            | Self::OpenAccepted
            | Self::OpenConfirmed
            | Self::NotificationReceived(_)
            | Self::Ended(_)
            | Self::UnexpectedEvent(_) => false,
        }
    }
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
            Self::Left(why) => f.write_str(why),
            Self::Ended(why) => f.write_str(why),
            Self::UnexpectedEvent(event) => write!(f, "unexpected {event}"),
        }
    }
}
