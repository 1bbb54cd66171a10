//! UPDATE: routes gone and routes come (RFC 4271 §4.3, RFC 4760, RFC 4724 §2, RFC 7606).
//!
//! ```text
//!  body ─▶ withdrawn │ attributes │ NLRI
//!              │           │         │
//!              │       attribute by attribute (decode), each by its value; MP_REACH, MP_UNREACH ─▶ nlri
//!              │           │   faults ─▶ problem: discard · treat-as-withdraw · AFI/SAFI disable · session reset
//!              ▼           ▼         ▼
//!           Update { withdrawn, reach, attributes, end_of_rib, problems }
//! ```

mod as_path;
mod attributes;
mod decode;
mod encode;
mod nlri;
mod problem;
mod value;

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use proxima_types::{Family, Prefix};

pub use as_path::{AsPath, Segment, SegmentKind, Segments};
pub use attributes::{Aggregator, Attributes, Origin, Rare, RareAttributes, RawAttribute};
pub(crate) use attributes::{code, name as attribute_name};
pub(crate) use decode::raw_attributes;
pub use encode::{announce, end_of_rib, withdraw};
pub(crate) use nlri::decode as decode_nlri;
pub use problem::{AttributeProblem, Disposition, Fault, UpdateError};

/// What an UPDATE message says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// Routes of either family that are gone; those of a message to be treated as a withdrawal are among them.
    pub withdrawn: Vec<Nlri>,
    /// Routes that have come, all with `attributes`. At most one entry for the NLRI field and one for MP_REACH_NLRI.
    pub reach: Vec<Reach>,
    /// The path attributes of `reach`; without meaning when that is empty.
    pub attributes: Attributes,
    /// All routes of this family have been sent (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
    /// What was wrong with the message, in so far as the session survives it (RFC 7606).
    pub problems: Vec<AttributeProblem>,
}

impl Update {
    /// The hardest of what became of the message for its problems.
    pub fn disposition(&self) -> Option<Disposition> {
        self.problems.iter().map(|problem| problem.disposition).max()
    }

    /// The family the peer has lost with this message ([`Disposition::DisableFamily`]).
    pub fn disabled_family(&self) -> Option<Family> {
        self.problems.iter().find_map(|problem| match problem.disposition {
            Disposition::DisableFamily(family) => Some(family),
            _ => None,
        })
    }
}

/// Routes that share a next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Where to send packets.
    pub next_hop: NextHop,
    /// The destinations, all of one family, at least one.
    pub nlri: Vec<Nlri>,
}

/// A destination, and which of several paths to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nlri {
    /// The destination.
    pub prefix: Prefix,
    /// The path identifier (RFC 7911 §3); 0 where add-path is not negotiated.
    pub path_id: u32,
}

/// `203.0.113.0/24`, with its path identifier if that is not 0: `203.0.113.0/24 path 7`.
impl fmt::Display for Nlri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prefix.fmt(f)?;
        if self.path_id == 0 { Ok(()) } else { write!(f, " path {}", self.path_id) }
    }
}

impl From<Prefix> for Nlri {
    fn from(prefix: Prefix) -> Self {
        Self { prefix, path_id: 0 }
    }
}

/// The next hop of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// The address; for IPv6 the global one if there are two.
    pub address: IpAddr,
    /// The link-local address that came along (RFC 2545 §3).
    pub link_local: Option<Ipv6Addr>,
}

impl NextHop {
    /// Whether it is on a subnet, as far as that can be said: a link-local address is on its link, and of another family's
    /// nothing is known.
    pub fn is_on(self, subnet: Prefix) -> bool {
        match self.address {
            IpAddr::V6(address) if address.is_unicast_link_local() => true,
            address => address.is_ipv4() != subnet.address().is_ipv4() || subnet.contains(address),
        }
    }
}

/// `2001:db8::1 (fe80::1)`.
impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.link_local {
            Some(link_local) => write!(f, "{} ({link_local})", self.address),
            None => self.address.fmt(f),
        }
    }
}

impl From<IpAddr> for NextHop {
    fn from(address: IpAddr) -> Self {
        Self { address, link_local: None }
    }
}
