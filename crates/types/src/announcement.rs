//! What is announced, and how much it is preferred.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Community, LargeCommunity, Prefix};

/// Where an announcement group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReachState {
    /// Announced with the group's own attributes.
    Announced,
    /// Announced, but made less attractive (prepend, MED, communities).
    DePreferred,
    /// Not announced.
    Withdrawn,
}

impl fmt::Display for ReachState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Announced => "announced",
            Self::DePreferred => "de-preferred",
            Self::Withdrawn => "withdrawn",
        })
    }
}

/// The path attributes the operator chooses for a route; the session adds those the RFCs ask for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct RouteAttributes {
    /// How many times the own AS is prepended beyond the one that eBGP asks for.
    pub prepend: u8,
    /// MULTI_EXIT_DISC, absent when none is sent.
    pub med: Option<u32>,
    /// LOCAL_PREF towards internal peers; 100 when absent, 0 whatever it says while the route is about to go (RFC 8326).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<u32>,
    /// Communities, sorted and without duplicates.
    pub communities: Vec<Community>,
    /// Large communities, sorted and without duplicates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub large_communities: Vec<LargeCommunity>,
}

/// One route the announcement core wants its peers to hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Announcement {
    /// The prefix.
    pub prefix: Prefix,
    /// Its attributes.
    pub attributes: RouteAttributes,
}
