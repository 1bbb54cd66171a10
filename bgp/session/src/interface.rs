//! What goes into a session: the words of its driver. What comes out is in [`crate::output`].

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use bytes::Bytes;
use proxima_types::{Family, Prefix};

use crate::{Desired, Settings};

/// The generation of a TCP connection or of an attempt at one. Never used twice within a session, so that news of
/// a connection that is gone can't be taken for news of its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(crate) u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Our end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// Its address.
    pub address: IpAddr,
    /// The link-local address of the interface, where the peer is on a subnet shared with us: IPv6 next hops carry it
    /// too (RFC 2545 §3). To be left out where the peer is further away.
    pub link_local: Option<Ipv6Addr>,
    /// The subnet that an external peer shares with us, where it is known: its next hops are on it (RFC 4271 §6.3).
    pub subnet: Option<Prefix>,
}

impl From<IpAddr> for Local {
    fn from(address: IpAddr) -> Self {
        Self { address, link_local: None, subnet: None }
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

/// How a session is left for good, as far as this process is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leave {
    /// The service ends here: everything is withdrawn, then Cease 6/2 with this text (RFC 9003). It goes as a Hard
    /// Reset where the peer would otherwise keep our routes (RFC 8538 §3.1).
    Stop {
        /// Why, for the operator at the other end; empty for none.
        reason: String,
    },
    /// The process comes back soon: connections close without a word, so that a peer with graceful restart keeps our
    /// routes. A peer without loses them when it sees the connection end.
    Restart,
    /// A successor takes over: the established connection stays as it is, for [`Session::detach`](crate::Session::detach);
    /// all others close without a word. Nothing is sent any more and no timer runs, unless [`Input::Up`] calls it off.
    Upgrade,
    /// The peer is no longer configured: as [`Leave::Stop`], with Cease 6/3.
    Deconfigured,
}

/// News for a session.
#[derive(Debug, Clone)]
pub enum Input {
    /// The session is to be up: begins the first attempt, ends a [`Input::Shutdown`], calls off the drain before one,
    /// ends every wait. An established session takes no notice.
    Up,
    /// The peer was found where it had not been before, by its router advertisements say: a wait after failures is over, once
    /// until a session was stable or an operator has it begin again, since anyone can send an advertisement. What holds
    /// the session down otherwise ([`Held`](crate::Held)) still does.
    PeerFound,
    /// The operator takes the session down until [`Input::Up`]: Cease 6/2.
    ///
    /// With a `drain`, an established session first announces its routes again as about to go (GRACEFUL_SHUTDOWN,
    /// RFC 8326; LOCAL_PREF 0 towards an internal peer), and ends that much later. A second order replaces the first.
    Shutdown {
        /// Why, for the operator at the other end (RFC 9003); empty for none.
        reason: String,
        /// How long other paths get to be found; zero to end at once.
        drain: Duration,
    },
    /// This process has done with the session.
    Stop(Leave),
    /// The operator restarts it: Cease 6/4, then a new attempt after the shortest wait. What earlier failures taught is
    /// forgotten; a session that is shut down comes up.
    Reset,
    /// The settings change. Where [`Settings::change_to`](crate::Settings::change_to) says so the session begins anew
    /// (Cease 6/6), otherwise it goes on.
    Reconfigure(Box<Settings>),
    /// The connection that [`Output::Connect`](crate::Output::Connect) asked for is up.
    Connected {
        /// Its id from the output.
        connection: ConnectionId,
        /// Our end of it.
        local: Local,
    },
    /// The connection that [`Output::Connect`](crate::Output::Connect) asked for could not be made.
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
        /// Our end of it.
        local: Local,
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
    /// until then), and a resumed session may withdraw. Stays in force for all later connections.
    ReleaseEndOfRib,
    /// How many paths of a family the RIB now holds of the peer: as many as prefixes, unless several to a prefix are agreed on
    /// (RFC 7911).
    PrefixCount {
        /// The family.
        family: Family,
        /// How many, stale ones included.
        count: u32,
        /// How many of them are stale, so that they don't count against [`MaxPrefixes`](crate::MaxPrefixes).
        stale: u32,
    },
    /// How many announcements of a family the RIB has left out in the present session for
    /// [`LimitAction::Discard`](crate::LimitAction::Discard).
    PrefixesDiscarded {
        /// The family.
        family: Family,
        /// How many so far.
        total: u64,
    },
    /// How many announcements of a family the RIB has left out in the present session as the peer already had as many paths to
    /// their prefixes as it may (RFC 7911).
    PathsDiscarded {
        /// The family.
        family: Family,
        /// How many so far.
        total: u64,
        /// How many paths to one prefix are taken in.
        limit: usize,
    },
    /// Ask the peer for its routes of a family again (RFC 2918).
    Refresh(Family),
    /// The BFD session with the peer is up.
    BfdUp,
    /// The BFD session is down. Ends the BGP session only if BFD was up before.
    BfdDown {
        /// What BFD says of it.
        diagnostic: String,
        /// The peer's BFD does not share fate with its control plane (the C bit, RFC 5880 §4.1): then its forwarding is
        /// gone, and with it even routes that graceful restart would keep (RFC 5882 §4.3).
        independent: bool,
    },
    /// BFD was taken down by an operator at either end: no failure, and no longer a condition (RFC 5882 §3.2).
    BfdAdminDown,
}
