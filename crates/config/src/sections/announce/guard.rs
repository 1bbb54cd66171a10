//! `[announce.NAME.guard]`: who else has to announce a group before health withdraws it, and who tells.

use std::{num::NonZeroU16, time::Duration};

use proxima_types::{Family, PeerName, Prefix};

use super::super::{Place, Raw, bgp, distinct, element, refer};
use crate::{
    Guard,
    field::{At, Field, List},
    reference::Absent,
    report::{Report, Wrong},
    section::Section,
    value,
};

const MIN_ANNOUNCERS: NonZeroU16 = NonZeroU16::MIN;
const QUIET: Duration = Duration::from_secs(10);

pub(super) struct RawGuard {
    min_announcers: Field<NonZeroU16>,
    observe: Field<List<PeerName>>,
    quiet: Field<Duration>,
    place: Place,
}

impl RawGuard {
    pub(super) fn read(mut guard: Section<'_>) -> Self {
        let raw = Self {
            min_announcers: guard
                .optional(
                    "min-announcers",
                    value::integer(1..=255),
                    Absent::is(MIN_ANNOUNCERS),
                    "How many others have to be seen to announce the group.",
                )
                .map(|count: u16| NonZeroU16::new(count).expect("read within a range from 1")),
            observe: guard.required_list(
                "observe",
                "[\"rr1\"]",
                value::parsed(),
                "The peers whose routes tell who announces the group: route reflectors, collectors.",
            ),
            quiet: guard.optional(
                "quiet",
                value::duration(Duration::from_millis(100)..=Duration::from_mins(10)),
                Absent::is(QUIET),
                "How long the group is marked as leaving before it leaves: longer than the propagation \
                between PoPs times the number of PoPs.",
            ),
            place: Place::of(&guard),
        };
        guard.close();
        raw
    }

    pub(super) fn resolve(&self) -> Option<Guard> {
        Some(Guard {
            min_announcers: self.min_announcers.or(MIN_ANNOUNCERS)?,
            observe: self.observe.value()?.values()?,
            quiet: self.quiet.or(QUIET)?,
        })
    }

    pub(super) fn check(&self, raw: &Raw, report: &Report, prefixes: &[At<Prefix>]) {
        let Some(observe) = self.observe.value() else { return };
        distinct(report, &observe.elements, &self.place.key("observe"));
        let Some(peers) = bgp::peer_families(raw) else { return };
        for (index, name) in observe.elements.iter().enumerate() {
            let path = element(&self.place.path, "observe", index);
            refer(report, name, &path, "peer", peers.iter().filter_map(|(peer, _)| *peer));
        }
        let all = |name: &At<PeerName>| peers.iter().find(|(peer, _)| *peer == Some(&name.value));
        let carried: Option<Vec<&[Family]>> =
            observe.elements.iter().map(|name| all(name)?.1.as_deref()).collect();
        let (Some(carried), Some(at)) = (carried, self.observe.given()) else { return };
        if !observe.complete {
            return;
        }
        for family in Family::ALL {
            let Some(prefix) = prefixes.iter().find(|prefix| prefix.value.family() == family) else {
                continue;
            };
            if carried.iter().any(|families| families.contains(&family)) {
                continue;
            }
            let wrong = Wrong::new(format!(
                "none of these peers carries {family}, so nobody else would ever be seen to announce {}",
                prefix.value
            ))
            .hint(format!("observe a peer with \"{family}\" in its `families` too"));
            report.elsewhere(at.span.clone(), &self.place.key("observe"), wrong);
        }
    }
}
