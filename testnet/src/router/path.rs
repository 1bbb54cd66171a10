//! Routes as routers tell them and as they are told to send them.

use std::net::IpAddr;

use proxima_types::Prefix;

use super::{Make, peering::cannot};
use crate::error::Result;

/// One path to a prefix, as a router has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path {
    /// The next hop it was sent with.
    pub next_hop: Option<IpAddr>,
    /// AS_PATH, nearest AS first, after AS4_PATH was merged in.
    pub as_path: Vec<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF after the router's policy; none where it has none.
    pub local_pref: Option<u32>,
    /// COMMUNITIES as `64512:100`, sorted.
    pub communities: Vec<String>,
    /// Large communities as `64512:1:2`, sorted.
    pub large_communities: Vec<String>,
    /// It is kept for a peer that restarts (RFC 4724 §4.2).
    pub stale: bool,
}

/// A route a router shall send to the PoP. The next hop is the router itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The prefix.
    pub prefix: Prefix,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// COMMUNITIES as `64512:100`.
    pub communities: Vec<String>,
    /// Large communities as `64512:1:2`.
    pub large_communities: Vec<String>,
    /// Route targets (extended communities) as `64512:7`.
    pub route_targets: Vec<String>,
    /// The ASes behind the router, nearest first.
    pub as_path: Vec<u32>,
    /// An AS_SET at the end of the path.
    pub as_set: Vec<u32>,
    /// An attribute as it is to be on the wire, whatever sense it makes.
    pub attribute: Option<RawAttribute>,
    /// Paths to one prefix are numbered from 1 where several are announced; 0 for the only one.
    pub nth: u32,
}

/// A path attribute, octet by octet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawAttribute {
    /// Its type code.
    pub code: u8,
    /// Its flags.
    pub flags: u8,
    /// Its value.
    pub value: Vec<u8>,
}

impl Announcement {
    /// A plain route.
    ///
    /// # Panics
    /// When `prefix` is not one: it is written in a test.
    pub fn of(prefix: &str) -> Self {
        Self {
            prefix: prefix.parse().unwrap_or_else(|error| panic!("{prefix}: {error}")),
            med: None,
            communities: Vec::new(),
            large_communities: Vec::new(),
            route_targets: Vec::new(),
            as_path: Vec::new(),
            as_set: Vec::new(),
            attribute: None,
            nth: 0,
        }
    }

    /// With this MED.
    #[must_use]
    pub fn med(mut self, med: u32) -> Self {
        self.med = Some(med);
        self
    }

    /// With one more community.
    #[must_use]
    pub fn community(mut self, community: &str) -> Self {
        self.communities.push(community.to_owned());
        self
    }

    /// With one more large community.
    #[must_use]
    pub fn large_community(mut self, community: &str) -> Self {
        self.large_communities.push(community.to_owned());
        self
    }

    /// With one more route target.
    #[must_use]
    pub fn route_target(mut self, target: &str) -> Self {
        self.route_targets.push(target.to_owned());
        self
    }

    /// From behind these ASes.
    #[must_use]
    pub fn behind(mut self, as_path: &[u32]) -> Self {
        as_path.clone_into(&mut self.as_path);
        self
    }

    /// With an AS_SET at the end of its path.
    #[must_use]
    pub fn as_set(mut self, set: &[u32]) -> Self {
        set.clone_into(&mut self.as_set);
        self
    }

    /// With this attribute, as it is.
    #[must_use]
    pub fn attribute(mut self, code: u8, flags: u8, value: &[u8]) -> Self {
        self.attribute = Some(RawAttribute { code, flags, value: value.to_vec() });
        self
    }

    /// An error of a make that can write neither attributes octet by octet nor AS_SETs.
    pub(super) fn is_plain_for(&self, make: Make) -> Result<()> {
        if self.attribute.is_some() {
            return Err(cannot(make, "send an attribute that it does not know"));
        }
        if !self.as_set.is_empty() {
            return Err(cannot(make, "put an AS_SET into a path here"));
        }
        Ok(())
    }

    /// As one of several paths to the prefix.
    #[must_use]
    pub fn nth(mut self, nth: u32) -> Self {
        self.nth = nth;
        self
    }
}

/// Sorted, as [`Path`] has communities.
pub(super) fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort_unstable();
    words
}

/// A community from its four octets.
pub(super) fn community(value: u32) -> String {
    format!("{}:{}", value >> 16, value & 0xffff)
}
