//! Path attributes by type, and the numbers and flags of their encoding.

use std::{
    collections::HashSet,
    fmt,
    hash::{Hash, Hasher},
    net::Ipv4Addr,
    ops::{Deref, DerefMut},
    sync::LazyLock,
};

use proxima_types::{Asn, Community, LargeCommunity};

use super::AsPath;

/// The path attributes that routes of one UPDATE share, next hops apart.
///
/// A RIB holds hundreds of thousands of these: lists are without spare room, and what few routes have is apart, in
/// [`Rare`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Attributes {
    /// How the route came into BGP. Decoding sees to it that it was there if there are routes.
    pub origin: Origin,
    /// The way it has come; likewise. From a two-octet peer it is already merged with AS4_PATH.
    pub as_path: AsPath,
    /// MULTI_EXIT_DISC: lower is better among entries to one AS.
    pub med: Option<u32>,
    /// LOCAL_PREF: higher is better; iBGP only.
    pub local_pref: Option<u32>,
    /// Some of the path was left out by an aggregating router.
    pub atomic_aggregate: bool,
    /// Communities (RFC 1997) as they came.
    pub communities: Box<[Community]>,
    /// Large communities (RFC 8092).
    pub large_communities: Box<[LargeCommunity]>,
    /// ONLY_TO_CUSTOMER (RFC 9234 §5): the AS that sent the route down or sideways; it may go to customers only.
    pub only_to_customer: Option<Asn>,
    /// What few routes have: `attributes.rare.aggregator` and so on.
    pub rare: Rare,
}

/// Path attributes that few routes have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RareAttributes {
    /// Who aggregated.
    pub aggregator: Option<Aggregator>,
    /// Extended communities (RFC 4360), raw.
    pub extended_communities: Box<[[u8; 8]]>,
    /// ORIGINATOR_ID of a route reflector (RFC 4456); iBGP only.
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST of route reflectors; iBGP only.
    pub cluster_list: Box<[Ipv4Addr]>,
    /// Optional transitive attributes that are kept as they came, in that order: those we do not know, and
    /// IPV6_EXTENDED_COMMUNITIES (RFC 5701). The partial bit is written as it stands here: whoever passes on one it does
    /// not know sets it (RFC 4271 §5), whoever tells what a peer said leaves it.
    pub unknown: Box<[RawAttribute]>,
}

/// [`RareAttributes`], which take up room only where one of them is set.
#[derive(Debug, Clone, Default)]
pub struct Rare(Option<Box<RareAttributes>>);

static NONE: LazyLock<RareAttributes> = LazyLock::new(RareAttributes::default);

impl From<RareAttributes> for Rare {
    fn from(attributes: RareAttributes) -> Self {
        Self((attributes != *NONE).then(|| Box::new(attributes)))
    }
}

impl Deref for Rare {
    type Target = RareAttributes;

    fn deref(&self) -> &RareAttributes {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Rare {
    fn deref_mut(&mut self) -> &mut RareAttributes {
        self.0.get_or_insert_default()
    }
}

impl PartialEq for Rare {
    fn eq(&self, other: &Self) -> bool {
        (self.0.is_none() && other.0.is_none()) || **self == **other
    }
}

impl Eq for Rare {}

impl Hash for Rare {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let set = self.0.as_deref().filter(|attributes| **attributes != *NONE);
        set.is_some().hash(state);
        if let Some(attributes) = set {
            attributes.hash(state);
        }
    }
}

/// ORIGIN (RFC 4271 §5.1.1); the lesser is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Origin {
    /// Interior to the originating AS.
    Igp = 0,
    /// Learned by EGP.
    Egp = 1,
    /// By other means.
    #[default]
    Incomplete = 2,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Igp => "igp",
            Self::Egp => "egp",
            Self::Incomplete => "incomplete",
        })
    }
}

/// AGGREGATOR (RFC 4271 §5.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Aggregator {
    /// Its AS.
    pub asn: Asn,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
}

/// Each once, where it stands first: repetitions are dropped on receipt and never sent (RFC 8092 §3). None where there are
/// none, as in all that was received.
pub(super) fn without_repetitions(communities: &[LargeCommunity]) -> Option<Box<[LargeCommunity]>> {
    let ascends = |communities: &[LargeCommunity]| communities.is_sorted_by(|a, b| a < b);
    if ascends(communities) {
        return None;
    }
    let mut sorted = communities.to_vec();
    sorted.sort_unstable();
    if ascends(&sorted) {
        return None;
    }
    let mut seen = HashSet::new();
    Some(communities.iter().copied().filter(|community| seen.insert(*community)).collect())
}

/// An attribute as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RawAttribute {
    /// Flags octet; the extended-length bit is not kept.
    pub flags: u8,
    /// Type code.
    pub code: u8,
    /// Value.
    pub value: Box<[u8]>,
}

/// Attribute flags (RFC 4271 §4.3).
pub(crate) mod flag {
    pub(crate) const OPTIONAL: u8 = 0x80;
    pub(crate) const TRANSITIVE: u8 = 0x40;
    pub(crate) const PARTIAL: u8 = 0x20;
    pub(crate) const EXTENDED_LENGTH: u8 = 0x10;
}

/// Attribute type codes.
pub(crate) mod code {
    pub(crate) const ORIGIN: u8 = 1;
    pub(crate) const AS_PATH: u8 = 2;
    pub(crate) const NEXT_HOP: u8 = 3;
    pub(crate) const MED: u8 = 4;
    pub(crate) const LOCAL_PREF: u8 = 5;
    pub(crate) const ATOMIC_AGGREGATE: u8 = 6;
    pub(crate) const AGGREGATOR: u8 = 7;
    pub(crate) const COMMUNITIES: u8 = 8;
    pub(crate) const ORIGINATOR_ID: u8 = 9;
    pub(crate) const CLUSTER_LIST: u8 = 10;
    pub(crate) const MP_REACH: u8 = 14;
    pub(crate) const MP_UNREACH: u8 = 15;
    pub(crate) const EXTENDED_COMMUNITIES: u8 = 16;
    pub(crate) const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
    pub(crate) const AS4_PATH: u8 = 17;
    pub(crate) const AS4_AGGREGATOR: u8 = 18;
    pub(crate) const LARGE_COMMUNITIES: u8 = 32;
    pub(crate) const ONLY_TO_CUSTOMER: u8 = 35;
}

/// The name of an attribute, for people.
pub(crate) fn name(attribute: u8) -> Option<&'static str> {
    Some(match attribute {
        code::ORIGIN => "ORIGIN",
        code::AS_PATH => "AS_PATH",
        code::NEXT_HOP => "NEXT_HOP",
        code::MED => "MULTI_EXIT_DISC",
        code::LOCAL_PREF => "LOCAL_PREF",
        code::ATOMIC_AGGREGATE => "ATOMIC_AGGREGATE",
        code::AGGREGATOR => "AGGREGATOR",
        code::COMMUNITIES => "COMMUNITIES",
        code::ORIGINATOR_ID => "ORIGINATOR_ID",
        code::CLUSTER_LIST => "CLUSTER_LIST",
        code::MP_REACH => "MP_REACH_NLRI",
        code::MP_UNREACH => "MP_UNREACH_NLRI",
        code::EXTENDED_COMMUNITIES => "EXTENDED_COMMUNITIES",
        code::AS4_PATH => "AS4_PATH",
        code::AS4_AGGREGATOR => "AS4_AGGREGATOR",
        code::IPV6_EXTENDED_COMMUNITIES => "IPV6_EXTENDED_COMMUNITIES",
        11 => "DPA",
        12 => "ADVERTISER",
        13 => "RCID_PATH",
        19 => "SAFI_SPECIFIC_ATTRIBUTE",
        20 => "CONNECTOR",
        21 => "AS_PATHLIMIT",
        22 => "PMSI_TUNNEL",
        23 => "TUNNEL_ENCAPSULATION",
        24 => "TRAFFIC_ENGINEERING",
        26 => "AIGP",
        27 => "PE_DISTINGUISHER_LABELS",
        28 => "ENTROPY_LABEL_CAPABILITY",
        29 => "BGP-LS",
        33 => "BGPSEC_PATH",
        36 => "D-PATH",
        37 => "SFP",
        38 => "BFD_DISCRIMINATOR",
        40 => "PREFIX-SID",
        128 => "ATTR_SET",
        code::LARGE_COMMUNITIES => "LARGE_COMMUNITY",
        code::ONLY_TO_CUSTOMER => "ONLY_TO_CUSTOMER",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_without_repetitions_are_written_as_they_are() {
        let listed = |numbers: &[u32]| -> Vec<LargeCommunity> {
            let community = |&local2: &u32| LargeCommunity { global: 64512, local1: 0, local2 };
            numbers.iter().map(community).collect()
        };
        for distinct in [&[][..], &[7], &[1, 2, 3], &[3, 1, 2]] {
            assert_eq!(without_repetitions(&listed(distinct)), None, "{distinct:?}: nothing is copied");
        }
        for (repeated, once) in [(&[1, 1][..], &[1][..]), (&[3, 1, 3, 2, 1], &[3, 1, 2])] {
            assert_eq!(without_repetitions(&listed(repeated)), Some(listed(once).into()), "{repeated:?}");
        }
    }
}
