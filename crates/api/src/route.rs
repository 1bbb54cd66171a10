//! Routes sent to peers and received from them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use proxima_types::{Asn, Community, GroupName, PeerName, Prefix};
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Narrows a list of routes; what is absent does not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RouteFilter {
    /// Only routes of this peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerName>,
    /// Only this prefix and those within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Prefix>,
}

impl RouteFilter {
    /// Whether a route of `peer` for `prefix` is wanted.
    pub fn admits(&self, peer: &PeerName, prefix: &Prefix) -> bool {
        self.admits_peer(peer)
            && self
                .prefix
                .is_none_or(|outer| outer.length() <= prefix.length() && outer.contains(prefix.address()))
    }

    /// Whether any route of `peer` is wanted.
    pub fn admits_peer(&self, peer: &PeerName) -> bool {
        self.peer.as_ref().is_none_or(|wanted| wanted == peer)
    }
}

/// What peers were sent and what stands: sorted by peer, then prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvertisedRoutes {
    /// The routes.
    pub routes: Vec<AdvertisedRoute>,
}

/// A route as a peer was sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvertisedRoute {
    /// The peer.
    pub peer: PeerName,
    /// The prefix.
    pub prefix: Prefix,
    /// The announcement group it belongs to.
    pub group: Option<GroupName>,
    /// NEXT_HOP, or the next hop in MP_REACH_NLRI.
    pub next_hop: IpAddr,
    /// The link-local address beside it (RFC 2545 §3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop_link_local: Option<Ipv6Addr>,
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH.
    pub as_path: AsPath,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF, to internal peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<u32>,
    /// COMMUNITIES.
    pub communities: Vec<Community>,
    /// LARGE_COMMUNITY (RFC 8092), each as `64512:1:2`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub large_communities: Vec<String>,
    /// ONLY_TO_CUSTOMER (RFC 9234 §5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_to_customer: Option<Asn>,
}

/// A page of received routes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReceivedQuery {
    /// Only routes of this peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerName>,
    /// Only this prefix and those within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Prefix>,
    /// Only what comes after this prefix: `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Prefix>,
    /// About how many routes, 1 to [`ReceivedQuery::MOST`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl ReceivedQuery {
    /// The most routes of a page, and how many there are when nothing is said.
    pub const MOST: u32 = 1000;
}

/// A page of what peers sent and what stands: sorted by prefix, then peer. None of it is ever passed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedRoutes {
    /// The routes.
    pub routes: Vec<ReceivedRoute>,
    /// Where the next page begins: its `after`. Absent on the last page. A page may be empty and still not the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Prefix>,
}

/// How much there is of what peers sent. The best path of each prefix is chosen for it, so that it costs some work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutesSummary {
    /// Prefixes with a path, usable or not.
    pub prefixes: u64,
    /// Of them, those with a best path (the Loc-RIB, RFC 4271 §3.2).
    pub selected: u64,
    /// All paths.
    pub paths: u64,
}

/// An address to look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupQuery {
    /// The address.
    pub address: IpAddr,
}

/// The longest received prefix that holds an address and has a path that can be used, and all paths to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteLookup {
    /// The address asked for.
    pub address: IpAddr,
    /// The prefix; absent when none holds the address.
    pub prefix: Option<Prefix>,
    /// The paths, the best first.
    pub paths: Vec<JudgedRoute>,
}

/// A path and what selection makes of it (RFC 4271 §9.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedRoute {
    /// It is the best one.
    pub best: bool,
    /// Why it is not; absent for the best.
    pub reason: Option<String>,
    /// The path.
    #[serde(flatten)]
    pub route: ReceivedRoute,
}

/// A route as a peer sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedRoute {
    /// The peer.
    pub peer: PeerName,
    /// The prefix.
    pub prefix: Prefix,
    /// NEXT_HOP, or the next hop in MP_REACH_NLRI.
    pub next_hop: IpAddr,
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH.
    pub as_path: AsPath,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF, from internal peers.
    pub local_pref: Option<u32>,
    /// COMMUNITIES.
    pub communities: Vec<Community>,
    /// LARGE_COMMUNITY (RFC 8092), each as `64512:1:2`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub large_communities: Vec<String>,
    /// EXTENDED COMMUNITIES (RFC 4360), each as `rt:65001:9`, or its octets where there is no such form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extended_communities: Vec<String>,
    /// ORIGINATOR_ID (RFC 4456), of reflected routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub originator_id: Option<Ipv4Addr>,
    /// ONLY_TO_CUSTOMER (RFC 9234 §5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_to_customer: Option<Asn>,
    /// Which of the peer's paths to the prefix (RFC 7911); absent without add-path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_id: Option<u32>,
    /// It is kept from before the peer's restart and not yet confirmed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Why it can't be used, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
    /// Since when it stands as it is, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// ORIGIN (RFC 4271 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Interior to the originating AS.
    Igp,
    /// Learned by EGP.
    Egp,
    /// Learned by other means.
    Incomplete,
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

/// AS_PATH from the nearest AS to the origin, written `65002 64512 {65010 65011}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AsPath(pub Vec<AsPathElement>);

/// An AS number, or an AS_SET as a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AsPathElement {
    /// One AS of a sequence.
    As(Asn),
    /// An AS_SET.
    Set(Vec<Asn>),
}

impl FromIterator<Asn> for AsPath {
    fn from_iter<I: IntoIterator<Item = Asn>>(sequence: I) -> Self {
        Self(sequence.into_iter().map(AsPathElement::As).collect())
    }
}

impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self
            .0
            .iter()
            .map(|element| match element {
                AsPathElement::As(asn) => asn.to_string(),
                AsPathElement::Set(set) => {
                    format!("{{{}}}", set.iter().map(Asn::to_string).collect::<Vec<_>>().join(" "))
                }
            })
            .collect();
        f.pad(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_admits_the_prefix_and_those_within_it() {
        let peer: PeerName = "router".parse().unwrap();
        let filter = RouteFilter { peer: None, prefix: Some("203.0.112.0/22".parse().unwrap()) };
        for (prefix, admitted) in [
            ("203.0.112.0/22", true),
            ("203.0.113.0/24", true),
            ("203.0.112.0/20", false),
            ("203.0.116.0/24", false),
            ("2001:db8::/32", false),
        ] {
            assert_eq!(filter.admits(&peer, &prefix.parse().unwrap()), admitted, "{prefix}");
        }
        let filter = RouteFilter { peer: Some("other".parse().unwrap()), prefix: None };
        assert!(!filter.admits(&peer, &"203.0.113.0/24".parse().unwrap()));
        assert!(RouteFilter::default().admits(&peer, &"203.0.113.0/24".parse().unwrap()));
    }

    #[test]
    fn an_as_path_is_a_list_of_numbers_with_sets_as_lists() {
        let path =
            AsPath(vec![AsPathElement::As(Asn(65002)), AsPathElement::Set(vec![Asn(65010), Asn(65011)])]);
        assert_eq!(serde_json::to_string(&path).unwrap(), "[65002,[65010,65011]]");
        assert_eq!(serde_json::from_str::<AsPath>("[65002,[65010,65011]]").unwrap(), path);
        assert_eq!(path.to_string(), "65002 {65010 65011}");
    }
}
