//! What can be told of a session at any moment.

use std::{sync::Arc, time::Instant};

use proxima_bgp_wire::{Notification, Open, Role};
use proxima_types::Family;

use crate::{Cause, ConnectionId, Local, State, Terms};

/// Counts since the session was made; they survive reconnects and a hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Messages received, of every type.
    pub messages_received: u64,
    /// Messages sent, of every type.
    pub messages_sent: u64,
    /// UPDATEs received.
    pub updates_received: u64,
    /// UPDATEs sent, End-of-RIB included.
    pub updates_sent: u64,
    /// How often an established session was lost.
    pub flaps: u64,
    /// Requests of the peer for our routes.
    pub refreshes_received: u64,
    /// Requests of ours for the peer's routes.
    pub refreshes_sent: u64,
    /// Routes taken as withdrawn because of a fault (RFC 7606) or a wrong first AS.
    pub treated_as_withdrawn: u64,
    /// Announcements of prefixes that are no destination of unicast routes; ignored.
    pub martians: u64,
    /// Routes with our own address as the next hop; taken as withdrawn.
    pub own_next_hops: u64,
    /// Paths that were not taken in, as the peer had as many as it may.
    pub discarded: u64,
    /// Routes with our own AS in their path.
    pub loops: u64,
    /// Routes that must not have come from this peer (RFC 9234).
    pub leaks: u64,
}

/// Something with the time it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped<T> {
    /// When.
    pub at: Instant,
    /// What.
    pub what: T,
}

/// A number for each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerFamily<T> {
    /// For IPv4.
    pub ipv4: T,
    /// For IPv6.
    pub ipv6: T,
}

impl<T> PerFamily<T> {
    /// That of `family`.
    pub fn of(&self, family: Family) -> &T {
        match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        }
    }

    pub(crate) fn of_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::Ipv4 => &mut self.ipv4,
            Family::Ipv6 => &mut self.ipv6,
        }
    }
}

/// Why a session that is down does not try to come up, or not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Nobody has asked for it yet.
    NotStarted,
    /// An operator shut it down, with these words.
    Shutdown(String),
    /// The process has done with it.
    Left,
    /// The peer sent too many prefixes.
    PrefixLimit {
        /// When it is tried again; absent if only by an operator.
        until: Option<Instant>,
    },
    /// One side lacks a capability the other insists on (2/7): only an operator can change that, so there is no further
    /// attempt from here; a connection of the peer's is welcome.
    Capability,
    /// BFD went down.
    Bfd {
        /// When it is tried again, should BFD not come up before.
        until: Instant,
    },
}

/// What runs, each with its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timers {
    /// The attempt is given up, or the next begins.
    pub connect_retry: Option<Instant>,
    /// The wait after a failure ends.
    pub idle_hold: Option<Instant>,
    /// The peer has been silent for too long.
    pub hold: Option<Instant>,
    /// The next KEEPALIVE is due.
    pub keepalive: Option<Instant>,
    /// The peer has taken nothing for too long (RFC 9687).
    pub send_hold: Option<Instant>,
    /// The drain before a shutdown ends.
    pub drain: Option<Instant>,
    /// The peer has to be back, or all its stale routes go (RFC 4724).
    pub restart: Option<Instant>,
    /// The peer has to have sent its routes, or those still stale go.
    pub stale: Option<Instant>,
    /// Until when our OPENs say that we have restarted.
    pub restart_window: Option<Instant>,
    /// The peer has to have ended its route refresh (RFC 7313).
    pub refresh: Option<Instant>,
}

/// What BFD says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bfd {
    /// It has not been up, or an operator took it down: no condition for the session.
    #[default]
    Unused,
    /// Up: its fall ends the session.
    Up,
    /// It was up and fell.
    Down,
}

/// A session at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its state: of two connections in a collision, the one further on.
    pub state: State,
    /// Since when; absent before the first change.
    pub since: Option<Instant>,
    /// What led to the state.
    pub cause: Cause,
    /// Why it is not tried, if it isn't.
    pub held: Option<Held>,
    /// The connection that has got furthest.
    pub connection: Option<ConnectionId>,
    /// Our end of that connection.
    pub local: Option<Local>,
    /// The OPEN we sent on it.
    pub sent_open: Option<Arc<Open>>,
    /// What was agreed on, the peer's OPEN included; from OpenConfirm on.
    pub terms: Option<Arc<Terms>>,
    /// Our role, if it counts on this session (RFC 9234).
    pub role: Option<Role>,
    /// The last NOTIFICATION we sent, with its detail.
    pub last_sent: Option<Stamped<Cause>>,
    /// The last NOTIFICATION of the peer.
    pub last_received: Option<Stamped<Notification>>,
    /// The last failure to connect or loss of a connection.
    pub last_transport_error: Option<Stamped<String>>,
    /// When the operating system last took bytes for the peer.
    pub last_written: Option<Instant>,
    /// What runs.
    pub timers: Timers,
    /// Families whose routes of the peer are stale, by graceful restart.
    pub stale: Vec<Family>,
    /// Families of the session whose routes could not be read and are ignored until its end (RFC 7606).
    pub disabled: Vec<Family>,
    /// Families of which the peer has sent all its routes in this session, as its End-of-RIB says (RFC 4724 §2). Not every
    /// speaker sends one without graceful restart.
    pub complete: Vec<Family>,
    /// What BFD says.
    pub bfd: Bfd,
    /// Paths received, stale ones included, as the RIB counted them last: as many as prefixes, unless several to a prefix are
    /// agreed on (RFC 7911).
    pub received: PerFamily<u32>,
    /// Prefixes the peer holds from us.
    pub advertised: usize,
    /// Counts.
    pub counters: Counters,
}
