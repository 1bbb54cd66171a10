//! The attributes a state of a group is announced with.

use proxima_types::{Asn, Community, LargeCommunity, RouteAttributes};

use super::super::{Place, distinct, element, resolved};
use crate::{
    field::{Field, List},
    reference::Absent,
    report::{Report, Wrong},
    section::Section,
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
    /// `[announce.NAME]`: those of the healthy state.
    pub(super) fn read(group: &mut Section<'_>) -> Self {
        Self {
            prepend: group.optional(
                "prepend",
                value::integer(0..=MAX_PREPEND),
                Absent::is(RouteAttributes::default().prepend),
                "How many times more the own AS stands in AS_PATH.",
            ),
            med: group.optional(
                "med",
                value::integer(0..=u32::MAX),
                Absent::means("none is sent"),
                "MULTI_EXIT_DISC: the lower attracts more.",
            ),
            local_pref: group.optional(
                "local-pref",
                value::integer(0..=u32::MAX),
                Absent::means("100"),
                "LOCAL_PREF for internal peers, the only ones that get one: the higher attracts more.",
            ),
            communities: group.optional_list(
                "communities",
                value::parsed(),
                Absent::means("none"),
                "Communities (RFC 1997): `\"64512:100\"`, or `no-export`, `no-advertise`, \
                `graceful-shutdown`.",
            ),
            large_communities: group.optional_list(
                "large-communities",
                value::parsed(),
                Absent::means("none"),
                "Large communities (RFC 8092), as in `\"64512:100:1\"`. `LOCAL-AS:1:…` and `LOCAL-AS:2:…` \
                are a guard's.",
            ),
        }
    }

    /// `[announce.NAME.degraded]`: what differs from the healthy state.
    pub(super) fn read_degraded(degraded: &mut Section<'_>) -> Self {
        const AS_EVER: &str = "as while healthy";
        Self {
            prepend: degraded.optional(
                "prepend",
                value::integer(0..=MAX_PREPEND),
                Absent::means(AS_EVER),
                "How many times more the own AS stands in AS_PATH; not fewer than while healthy.",
            ),
            med: degraded.optional(
                "med",
                value::integer(0..=u32::MAX),
                Absent::means(AS_EVER),
                "MULTI_EXIT_DISC; not lower than while healthy.",
            ),
            local_pref: degraded.optional(
                "local-pref",
                value::integer(0..=u32::MAX),
                Absent::means(AS_EVER),
                "LOCAL_PREF for internal peers; not higher than while healthy.",
            ),
            communities: degraded.optional_list(
                "communities",
                value::parsed(),
                Absent::means("none"),
                "Communities in addition to the group's own.",
            ),
            large_communities: degraded.optional_list(
                "large-communities",
                value::parsed(),
                Absent::means("none"),
                "Large communities in addition to the group's own.",
            ),
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
