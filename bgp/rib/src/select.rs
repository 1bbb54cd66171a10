//! Route selection (RFC 4271 §9.1.2): the steps one after the other, each on what is left.

use std::{collections::HashMap, net::IpAddr};

use proxima_bgp_wire::PeerKind;
use proxima_types::Asn;

use crate::{BestPathRules, PathSource, Shared, Step, rules::STEPS};

/// A usable path in the contest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) source: &'a PathSource,
    pub(crate) received: u32,
    pub(crate) path_id: u32,
    /// Which path of the caller's this is.
    pub(crate) index: usize,
}

/// Leaves the best of `candidates` and tells of the others at which step they went out.
pub(crate) fn select<'a>(
    rules: &BestPathRules,
    mut candidates: Vec<Candidate<'a>>,
    mut lost: impl FnMut(Candidate<'a>, Step),
) -> Option<Candidate<'a>> {
    for step in STEPS {
        if candidates.len() <= 1 {
            break;
        }
        if step == Step::Med && !rules.always_compare_med {
            let mut least: HashMap<Asn, u128> = HashMap::new();
            for candidate in &candidates {
                let rank = candidate.rank(step, rules);
                let least = least.entry(candidate.neighbour()).or_insert(rank);
                *least = rank.min(*least);
            }
            candidates.retain(|candidate| {
                let stays = candidate.rank(step, rules) == least[&candidate.neighbour()];
                if !stays {
                    lost(*candidate, step);
                }
                stays
            });
        } else {
            let least = candidates.iter().map(|candidate| candidate.rank(step, rules)).min();
            candidates.retain(|candidate| {
                let stays = Some(candidate.rank(step, rules)) == least;
                if !stays {
                    lost(*candidate, step);
                }
                stays
            });
        }
    }
    // Peers that agree in all of it are told apart by the order in which they came to be known.
    let (best, rest) = candidates.split_first()?;
    for candidate in rest {
        lost(*candidate, Step::PathId);
    }
    Some(*best)
}

impl Candidate<'_> {
    /// How bad the path is at `step`.
    fn rank(&self, step: Step, rules: &BestPathRules) -> u128 {
        let attributes = &self.shared.attributes;
        let external = self.source.kind == PeerKind::External;
        match step {
            Step::LocalPref => u128::from(u32::MAX - rules.local_pref(attributes)),
            Step::AsPathLength => rules.as_path_length(attributes) as u128,
            Step::Origin => attributes.origin as u128,
            Step::Med => u128::from(rules.med(attributes)),
            Step::External => u128::from(!external),
            Step::Oldest if rules.prefer_oldest_external && external => u128::from(self.received),
            Step::Oldest => 0,
            Step::RouterId => {
                let originator = attributes.rare.originator_id.unwrap_or(self.source.router_id);
                u128::from(u32::from(originator))
            }
            Step::ClusterListLength => attributes.rare.cluster_list.len() as u128,
            Step::PeerAddress => match self.source.address {
                IpAddr::V4(address) => u128::from(u32::from(address)),
                IpAddr::V6(address) => u128::from(address),
            },
            Step::PathId => u128::from(self.path_id),
        }
    }

    /// The AS that the path came from (RFC 4271 §9.1.2.2 c): the nearest one in it; for a path that has none, or begins
    /// with a set, the peer's.
    fn neighbour(&self) -> Asn {
        self.shared.attributes.as_path.neighbour().unwrap_or(self.source.asn)
    }
}
