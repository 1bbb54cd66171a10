//! Whom a session watches, and how a datagram came (RFC 5881 §3–§5, RFC 5883 §3–§5).

use std::{fmt, net::IpAddr, ops::RangeInclusive};

/// UDP destination port of single-hop sessions (RFC 5881 §4).
pub const SINGLE_HOP_PORT: u16 = 3784;
/// UDP destination port of multihop sessions (RFC 5883 §5).
pub const MULTIHOP_PORT: u16 = 4784;
/// UDP source ports (RFC 5881 §4).
pub const SOURCE_PORTS: RangeInclusive<u16> = 49152..=65535;

/// How far the neighbour may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hops {
    /// On the same link: packets are sent with TTL 255 and must arrive with it (RFC 5881 §5).
    Single,
    /// Behind routers: packets are sent with TTL 255 and must arrive with at least this one (RFC 5883 §5).
    Multi {
        /// 1 takes everything; 254 one router between, when the neighbour sends with 255 as we do (BIRD sends with 64).
        least_ttl: u8,
    },
}

impl Hops {
    /// Whether packets come to [`MULTIHOP_PORT`].
    pub const fn is_multi(self) -> bool {
        matches!(self, Self::Multi { .. })
    }

    /// The least TTL a packet may arrive with.
    pub const fn least_ttl(self) -> u8 {
        match self {
            Self::Single => 255,
            Self::Multi { least_ttl } => least_ttl,
        }
    }

    /// Where packets are sent to.
    pub const fn port(self) -> u16 {
        match self {
            Self::Single => SINGLE_HOP_PORT,
            Self::Multi { .. } => MULTIHOP_PORT,
        }
    }
}

/// What a session watches. Two sessions with the same remote address differ in the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// The neighbour.
    pub remote: IpAddr,
    /// Our address; any when absent.
    pub local: Option<IpAddr>,
    /// The interface's index; any when absent.
    pub interface: Option<u32>,
    /// Single hop or multihop.
    pub hops: Hops,
}

impl Path {
    /// Whether a datagram that names no session can be meant for this one. Its source is known to be the remote address.
    pub(crate) fn fits(&self, arrival: &Arrival) -> bool {
        self.fits_link(arrival) && self.local.is_none_or(|local| local == arrival.destination)
    }

    /// Whether a datagram that names this session came the right way. Addresses do not count then (RFC 5880 §6.3).
    pub(crate) fn fits_link(&self, arrival: &Arrival) -> bool {
        self.hops.is_multi() == arrival.multihop
            && self.interface.is_none_or(|interface| interface == arrival.interface)
    }

    /// How closely it is described.
    pub(crate) fn detail(&self) -> u8 {
        u8::from(self.local.is_some()) + 2 * u8::from(self.interface.is_some())
    }

    /// Whether datagrams could not tell the two apart.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.remote == other.remote
            && self.local == other.local
            && self.interface == other.interface
            && self.hops.is_multi() == other.hops.is_multi()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.remote)?;
        if let Some(local) = self.local {
            write!(f, " from {local}")?;
        }
        if let Some(interface) = self.interface {
            write!(f, " on interface {interface}")?;
        }
        f.write_str(if self.hops.is_multi() { " (multihop)" } else { "" })
    }
}

/// How a datagram came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its source address.
    pub source: IpAddr,
    /// Its destination address.
    pub destination: IpAddr,
    /// The index of the interface it came in by.
    pub interface: u32,
    /// Its TTL or hop limit.
    pub ttl: u8,
    /// Whether it came to [`MULTIHOP_PORT`].
    pub multihop: bool,
}
