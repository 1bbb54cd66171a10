//! What the daemon hands in and is told.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use proxima_bfd::{AddError, Change, Discards, Hops, Meaning, Path, Settings, SettingsError, Status};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::priority::Priority;

/// How BFD runs on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BfdOptions {
    /// Where IPv4 packets are received; every address when unspecified, no IPv4 when absent.
    pub ipv4: Option<Ipv4Addr>,
    /// Where IPv6 packets are received; every address when unspecified, no IPv6 when absent.
    pub ipv6: Option<Ipv6Addr>,
    /// Priority of the thread among real-time ones, 1 to 99; an ordinary thread when absent. Interrupts that have threads
    /// have 50: more than that delays the very packets the thread waits for.
    pub real_time: Option<u8>,
}

impl Default for BfdOptions {
    /// Every address, real-time priority 40.
    fn default() -> Self {
        Self { ipv4: Some(Ipv4Addr::UNSPECIFIED), ipv6: Some(Ipv6Addr::UNSPECIFIED), real_time: Some(40) }
    }
}

/// A session to be. Written out, its key with it, only for the process that it is handed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionConfig {
    /// Names it: the peer it is for. Unique.
    pub name: String,
    /// The address to send from; the kernel's choice when absent. Multihop sessions should have one.
    pub local: Option<IpAddr>,
    /// The neighbour.
    pub remote: IpAddr,
    /// The interface to send and receive by; any when absent. A link-local neighbour needs one. It may come and go.
    pub interface: Option<String>,
    /// Present: multihop, and packets must arrive with at least this TTL; neighbours send them with 255, but BIRD with
    /// 64. Absent: single hop, TTL 255.
    pub multihop: Option<u8>,
    /// Intervals, multiplier, authentication.
    pub settings: Settings,
}

/// A session has changed its state. When the reader is slow, changes of a session that follow each other are told as one,
/// but a failure is always told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BfdEvent {
    /// The session.
    pub name: Arc<str>,
    /// When.
    pub at: Instant,
    /// From what to what, and why.
    pub change: Change,
}

impl BfdEvent {
    /// What the client of the session should make of it.
    pub fn meaning(&self) -> Meaning {
        self.change.meaning()
    }
}

/// What is known about a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BfdStatus {
    /// Its name.
    pub name: Arc<str>,
    /// The interface it is bound to.
    pub interface: Option<String>,
    /// State, timers, counters.
    pub session: Status,
    /// Packets the kernel did not take.
    pub send_errors: u64,
    /// Why it did not take the last one of them.
    pub last_send_error: Option<String>,
}

/// What is known about BFD on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostStatus {
    /// What the thread got.
    pub priority: Priority,
    /// How many sessions there are.
    pub sessions: usize,
    /// Datagrams received.
    pub received: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// What was discarded, whether or not it was for a session.
    pub discards: Discards,
    /// How much later than it wanted to the thread has woken at the worst, since this was asked the last time.
    pub worst_delay: Duration,
}

/// Why something could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BfdError {
    /// The name is taken.
    #[error("there is a BFD session {0} already")]
    Exists(String),
    /// No session has that name.
    #[error("there is no BFD session {0}")]
    Unknown(String),
    /// The family of the neighbour is off, or the kernel has none of it.
    #[error("BFD to {0} is not possible: its address family is off on this host")]
    Family(IpAddr),
    /// A neighbour and a local address of different families.
    #[error("BFD from {local} to {remote} is not possible: they are of different address families")]
    Mixed {
        /// Ours.
        local: IpAddr,
        /// The neighbour's.
        remote: IpAddr,
    },
    /// A link-local neighbour exists on each interface.
    #[error("BFD to the link-local address {0} needs an interface")]
    NoInterface(IpAddr),
    /// The sessions have been handed to another process, and not been taken back.
    #[error("the BFD sessions have been handed to another process")]
    HandedOver,
    /// The kernel has given no second descriptor of a socket.
    #[error("the sockets of BFD can't be handed over: {0}")]
    Sockets(String),
    /// The core refuses it.
    #[error(transparent)]
    Refused(#[from] AddError),
    /// The thread has not answered for a second. What was asked of it may be done yet.
    #[error("the BFD thread does not answer")]
    Stuck,
    /// The thread has ended.
    #[error("the BFD thread has ended")]
    Stopped,
}

impl From<SettingsError> for BfdError {
    fn from(error: SettingsError) -> Self {
        Self::Refused(error.into())
    }
}

impl SessionConfig {
    /// What needs no knowledge of other sessions.
    pub(crate) fn check(&self) -> Result<(), BfdError> {
        self.settings.check()?;
        if let Some(local) = self.local
            && local.is_ipv4() != self.remote.is_ipv4()
        {
            return Err(BfdError::Mixed { local, remote: self.remote });
        }
        let link_local = match self.remote {
            IpAddr::V4(_) => false,
            IpAddr::V6(remote) => remote.is_unicast_link_local(),
        };
        if link_local && self.interface.is_none() {
            return Err(BfdError::NoInterface(self.remote));
        }
        Ok(())
    }

    /// What the core knows it by, if `interface` is the index of its interface.
    pub(crate) fn path(&self, interface: Option<u32>) -> Path {
        let hops = self.multihop.map_or(Hops::Single, |least_ttl| Hops::Multi { least_ttl });
        Path { remote: self.remote, local: self.local, interface, hops }
    }

    /// Whether `other` watches the same, so that the one can become the other without a flap.
    pub(crate) fn same_path(&self, other: &Self) -> bool {
        self.local == other.local
            && self.remote == other.remote
            && self.interface == other.interface
            && self.multihop.is_some() == other.multihop.is_some()
    }
}
