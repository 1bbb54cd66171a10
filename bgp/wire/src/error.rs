//! What can be wrong with bytes from a peer, and with what we want to send.

use std::net::IpAddr;

use proxima_types::{Family, Prefix};

use crate::{HeaderError, Notification, OpenError, RouteRefreshError, UpdateError};

/// A message that ends the session. Its NOTIFICATION says why to the peer, its text to a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// RFC 4271 §6.1.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// RFC 4271 §6.2.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// RFC 4271 §6.3, where RFC 7606 leaves the session reset.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// RFC 7313 §5.
    #[error(transparent)]
    RouteRefresh(#[from] RouteRefreshError),
}

impl DecodeError {
    /// The RFC, and its section, that ends the session for it.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Header(_) => "RFC 4271 §6.1",
            Self::Open(error) => error.rule(),
            Self::Update(error) => error.rule(),
            Self::RouteRefresh(_) => "RFC 7313 §5",
        }
    }

    /// The NOTIFICATION the RFCs ask for, data included.
    pub fn to_notification(&self) -> Notification {
        match self {
            Self::Header(error) => error.to_notification(),
            Self::Open(error) => error.to_notification(),
            Self::Update(error) => error.to_notification(),
            Self::RouteRefresh(error) => error.to_notification(),
        }
    }
}

/// A message that can't be written as it was asked for. Nothing of it has been appended to the buffer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A capability's value has more than 255 octets.
    #[error("capability {code} has {len} octets; at most 255 fit")]
    CapabilityTooLong {
        /// Capability code.
        code: u8,
        /// Octets of its value.
        len: usize,
    },
    /// The OPEN would exceed 4096 octets.
    #[error("the OPEN would have {len} octets; at most 4096 are allowed, offer fewer capabilities")]
    OpenTooLong {
        /// Octets it would have.
        len: usize,
    },
    /// The attributes leave no room for a prefix.
    #[error(
        "the path attributes take {len} octets and leave no room for {prefix} in a message of {max}; use a shorter AS path or fewer communities"
    )]
    AttributesTooLong {
        /// Octets of the attributes.
        len: usize,
        /// The prefix that did not fit.
        prefix: Prefix,
        /// The most octets a message may have.
        max: usize,
    },
    /// A next hop of the wrong family, and RFC 8950 is not negotiated.
    #[error("{prefix} can't have the next hop {next_hop}; give one of its own family")]
    NextHopFamily {
        /// The prefix.
        prefix: Prefix,
        /// The next hop.
        next_hop: IpAddr,
    },
    /// Prefixes of both families in one announcement.
    #[error("{prefix} is not an {family} prefix; announce each family by itself")]
    MixedFamilies {
        /// The first prefix of the other family.
        prefix: Prefix,
        /// The family of those before it.
        family: Family,
    },
}
