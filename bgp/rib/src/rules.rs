//! The usual knobs of route selection, and its steps by name.

use std::fmt;

use proxima_bgp_wire::Attributes;
use proxima_types::Community;

use crate::Unusable;

/// How the best path is chosen where RFC 4271 §9.1 leaves room, or operators want it otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a knob of its own, named as on other routers")]
pub struct BestPathRules {
    /// LOCAL_PREF of paths without one, such as all of eBGP.
    pub default_local_pref: u32,
    /// MULTI_EXIT_DISC is compared among paths of different neighbouring ASes too.
    pub always_compare_med: bool,
    /// A path without MULTI_EXIT_DISC has the worst one instead of 0.
    pub missing_med_worst: bool,
    /// The length of AS_PATH does not matter.
    pub ignore_as_path_length: bool,
    /// Of eBGP paths the one that came first is kept, which spares changes (RFC 5004), before identifiers decide.
    pub prefer_oldest_external: bool,
    /// A path with the community GRACEFUL_SHUTDOWN has LOCAL_PREF 0 (RFC 8326 §4.1).
    pub honour_graceful_shutdown: bool,
}

impl Default for BestPathRules {
    fn default() -> Self {
        Self {
            default_local_pref: 100,
            always_compare_med: false,
            missing_med_worst: false,
            ignore_as_path_length: false,
            prefer_oldest_external: false,
            honour_graceful_shutdown: true,
        }
    }
}

/// What a path's attributes count for.
impl BestPathRules {
    /// LOCAL_PREF as it is compared.
    pub fn local_pref(&self, attributes: &Attributes) -> u32 {
        if self.honour_graceful_shutdown && attributes.communities.contains(&Community::GRACEFUL_SHUTDOWN) {
            return 0;
        }
        attributes.local_pref.unwrap_or(self.default_local_pref)
    }

    pub(crate) fn as_path_length(&self, attributes: &Attributes) -> usize {
        if self.ignore_as_path_length { 0 } else { attributes.as_path.length() }
    }

    pub(crate) fn med(&self, attributes: &Attributes) -> u32 {
        attributes.med.unwrap_or(if self.missing_med_worst { u32::MAX } else { 0 })
    }
}

/// The steps of selection in their order. At each, all paths but the equally best ones go out (RFC 4271 §9.1.2.2).
///
/// MULTI_EXIT_DISC is compared within the paths of one neighbouring AS only, among all that are left at that step: so
/// the outcome does not depend on the order in which paths came ("deterministic MED" on other routers).
/// The interior cost of next hops is not known here and counts as equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Higher LOCAL_PREF (§9.1.1).
    LocalPref,
    /// Shorter AS_PATH (a).
    AsPathLength,
    /// Lower ORIGIN (b).
    Origin,
    /// Lower MULTI_EXIT_DISC of the same neighbouring AS (c).
    Med,
    /// eBGP before iBGP (d).
    External,
    /// The older eBGP path (RFC 5004).
    Oldest,
    /// Lower BGP identifier, of the originator if the path was reflected (f; RFC 4456 §9).
    RouterId,
    /// Shorter CLUSTER_LIST (RFC 4456 §9).
    ClusterListLength,
    /// Lower peer address (g).
    PeerAddress,
    /// Lower path identifier.
    PathId,
}

pub(crate) const STEPS: [Step; 10] = [
    Step::LocalPref,
    Step::AsPathLength,
    Step::Origin,
    Step::Med,
    Step::External,
    Step::Oldest,
    Step::RouterId,
    Step::ClusterListLength,
    Step::PeerAddress,
    Step::PathId,
];

/// Why a path is not the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is the best.
    Best,
    /// Another was better at this step.
    Lost(Step),
    /// It did not take part.
    Unusable(Unusable),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::LocalPref => "lower LOCAL_PREF",
            Self::AsPathLength => "longer AS_PATH",
            Self::Origin => "worse ORIGIN",
            Self::Med => "higher MED",
            Self::External => "iBGP, not eBGP",
            Self::Oldest => "newer eBGP path",
            Self::RouterId => "higher router ID",
            Self::ClusterListLength => "longer CLUSTER_LIST",
            Self::PeerAddress => "higher peer address",
            Self::PathId => "higher path ID",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best => f.pad("best"),
            Self::Lost(step) => step.fmt(f),
            Self::Unusable(why) => why.fmt(f),
        }
    }
}
