//! The words every crate shares: address prefixes, AS numbers, communities, names, health, score.
//!
//! Nothing here does I/O, reads a clock or knows a protocol's bytes.

mod announcement;
mod bgp;
mod health;
pub mod moment;
mod name;
mod prefix;

pub use announcement::{Announcement, ReachState, RouteAttributes};
pub use bgp::{Asn, Community, CommunityError, Family, LargeCommunity, LargeCommunityError};
pub use health::{Health, Score, UpCount, Weight};
pub use name::{
    BackendId, GroupName, IssuerName, Jurisdiction, NameError, PeerName, PoolName, PopName, ProviderName,
    RegionName, ServiceName, StationName,
};
pub use prefix::{Prefix, PrefixError};
