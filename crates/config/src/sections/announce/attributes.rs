//! The attributes a state of a group is announced with.

use proxima_types::{Asn, Community, LargeCommunity, RouteAttributes};

use super::super::{Place, distinct, element, resolved};
use crate::{
    report::{Report, Wrong},
    section::{Field, List, Section},
    value,
};

const MAX_PREPEND: u32 = 32;
/// The second part of the large communities a guard sets.
const MARKS: [u32; 2] = [1, 2];

pub(super) struct RawAttributes {
    pub(super) prepend: Field<u8>,
    pub(super) med: Field<u32>,
    pub(super) local_pref: Field<u32>,
    communities: Field<List<Community>>,
    large_communities: Field<List<LargeCommunity>>,
}

impl RawAttributes {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            prepend: section.optional("prepend", value::integer(0..=MAX_PREPEND)),
            med: section.optional("med", value::integer(0..=u32::MAX)),
            local_pref: section.optional("local-pref", value::integer(0..=u32::MAX)),
            communities: section.optional_list("communities", value::parsed),
            large_communities: section.optional_list("large-communities", value::parsed),
        }
    }

    /// These attributes where given, `base` where not; the communities of both kinds of both.
    pub(super) fn over(&self, base: &RouteAttributes) -> Option<RouteAttributes> {
        let mut communities = base.communities.clone();
        communities.extend(resolved(&self.communities, List::values)?.unwrap_or_default());
        communities.sort_unstable();
        communities.dedup();
        let mut large_communities = base.large_communities.clone();
        large_communities.extend(resolved(&self.large_communities, List::values)?.unwrap_or_default());
        large_communities.sort_unstable();
        large_communities.dedup();
        Some(RouteAttributes {
            prepend: self.prepend.or(base.prepend)?,
            med: self.med.maybe()?.or(base.med),
            local_pref: self.local_pref.maybe()?.or(base.local_pref),
            communities,
            large_communities,
        })
    }

    pub(super) fn check(&self, report: &Report, place: &Place, local_as: Option<Asn>) {
        if let Some(communities) = self.communities.value() {
            distinct(report, &communities.elements, &place.key("communities"));
        }
        let Some(large) = self.large_communities.value() else { return };
        distinct(report, &large.elements, &place.key("large-communities"));
        for (index, at) in large.elements.iter().enumerate() {
            let LargeCommunity { global, local1, .. } = at.value;
            if local_as == Some(Asn(global)) && MARKS.contains(&local1) {
                let wrong =
                    Wrong::new(format!("`{}` is a mark by which PoPs tell each other apart", at.value))
                        .hint("a `guard` sets `LOCAL-AS:1:…` and `LOCAL-AS:2:…` itself: use other numbers");
                report.elsewhere(at.span.clone(), &element(&place.path, "large-communities", index), wrong);
            }
        }
    }
}
