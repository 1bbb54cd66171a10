//! Who routes come from.

use std::{fmt, net::IpAddr, net::Ipv4Addr};

use proxima_bgp_wire::PeerKind;
use proxima_types::{Asn, Family, Prefix};

/// A peer by number; whoever runs the sessions gives the numbers out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {}", self.0)
    }
}

/// What a session knows about its two ends, as far as routes are compared by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathSource {
    /// eBGP or iBGP.
    pub kind: PeerKind,
    /// The peer's AS.
    pub asn: Asn,
    /// The peer's BGP identifier.
    pub router_id: Ipv4Addr,
    /// The peer's address on this session.
    pub address: IpAddr,
    /// The subnet that an external peer shares with us, if it is known: a next hop elsewhere is of no use (RFC 4271 §6.3).
    pub subnet: Option<Prefix>,
    /// Whether a policy lets its routes in: without one those of an external peer are kept to be seen (RFC 8212 §2).
    pub import: bool,
}

/// Since what a path waits to be announced again. It is used as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stale {
    /// The loss of the session (RFC 4724 §4.2): whether the peer still has it is not known.
    Restart,
    /// The beginning of a refresh on the session (RFC 7313 §4): the peer would have withdrawn what it no longer has.
    Refresh,
}

/// The peer never was up, or is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} has sent routes without a session; tell of the session first")]
pub struct UnknownPeer(pub PeerId);

/// How many paths of a family a peer has here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All, those of no use among them. Without the stale ones, what [`Rib::limit`](crate::Rib::limit) is held against.
    pub paths: usize,
    /// Of them, those kept from before a restart or refresh and not yet announced again.
    pub stale: usize,
    /// Of them, those with our own AS or identifier.
    pub loops: usize,
    /// Of them, those that somebody leaked to us (RFC 9234 §5).
    pub leaks: usize,
    /// Announcements since the session began that were not taken in for [`Rib::limit`](crate::Rib::limit).
    pub discarded: u64,
    /// Announcements since the session began that were not taken in as the peer already had
    /// [`MAX_PATHS_PER_PREFIX`](crate::MAX_PATHS_PER_PREFIX) paths to the prefix.
    pub crowded: u64,
}

/// What became of an UPDATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Paths that were not here before.
    pub announced: usize,
    /// Paths that came with other attributes than before.
    pub replaced: usize,
    /// Paths that came just as they were: duplicates, or stale ones confirmed.
    pub unchanged: usize,
    /// Paths that are gone.
    pub withdrawn: usize,
    /// Withdrawals of what was not here.
    pub unknown: usize,
    /// Paths not taken in: the peer already has [`crate::MAX_PATHS_PER_PREFIX`] to that prefix, or as many as it may at all.
    pub refused: usize,
}

/// A position in arrays with one entry per family.
pub(crate) fn index(family: Family) -> usize {
    match family {
        Family::Ipv4 => 0,
        Family::Ipv6 => 1,
    }
}
