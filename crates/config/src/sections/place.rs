//! `[pop]` and `[regions.NAME]`: who and where this PoP is.

use std::net::Ipv4Addr;

use proxima_types::{Jurisdiction, PopName, RegionName};

use super::{Place, Raw, refer};
use crate::{Pop, Region, field::Field, report::Report, section::Section, value};

pub(super) struct RawPop {
    name: Field<PopName>,
    pub(super) region: Field<RegionName>,
    router_id: Field<Ipv4Addr>,
    place: Place,
}

impl RawPop {
    pub(super) fn read(file: &mut Section<'_>) -> Field<Self> {
        let pop = file.required_section(
            "pop",
            "add `[pop]` with `name`, `region` and `router-id`",
            "Who and where this PoP is. A change needs a restart.",
        );
        pop.map(Self::keys)
    }

    fn keys(mut pop: Section<'_>) -> Self {
        let raw = Self {
            name: pop.required("name", "\"fra1\"", value::parsed(), "The PoP's name."),
            region: pop.required(
                "region",
                "\"eu\"",
                value::parsed(),
                "Its region, one of `[regions]`. What is healthy there is what it announces for.",
            ),
            router_id: pop.required(
                "router-id",
                "\"192.0.2.11\"",
                value::router_id(),
                "The BGP identifier, which no other router of the AS has (RFC 6286); written as an IPv4 \
                address.",
            ),
            place: Place::of(&pop),
        };
        pop.close();
        raw
    }

    pub(super) fn resolve(&self) -> Option<Pop> {
        Some(Pop {
            name: self.name.value()?.clone(),
            region: self.region.value()?.clone(),
            router_id: *self.router_id.value()?,
        })
    }
}

pub(super) struct RawRegion {
    pub(super) name: Field<RegionName>,
    pub(super) jurisdiction: Field<Jurisdiction>,
}

impl RawRegion {
    pub(super) fn read(file: &mut Section<'_>) -> Vec<Self> {
        let regions = file.required_named(
            "regions",
            "add `[regions.NAME]` with `jurisdiction` for every region, the own one included",
            "A region of the deployment; all of them are named, the own one included.",
        );
        let keys = |(name, mut region): (Field<RegionName>, Section<'_>)| {
            let jurisdiction = region.required(
                "jurisdiction",
                "\"EU\"",
                value::parsed(),
                "The jurisdiction that data in this region is under, as `residency` has it. Another one \
                needs a restart.",
            );
            region.close();
            Self { name, jurisdiction }
        };
        regions.into_iter().map(keys).collect()
    }

    pub(super) fn resolve(&self) -> Option<(RegionName, Region)> {
        Some((self.name.value()?.clone(), Region { jurisdiction: self.jurisdiction.value()?.clone() }))
    }
}

/// The names of the regions in the order of the file, when all could be read.
pub(super) fn in_order(regions: &[RawRegion]) -> Option<Vec<RegionName>> {
    let mut names = regions.iter().map(|region| region.name.given()).collect::<Option<Vec<_>>>()?;
    names.sort_by_key(|name| name.span.start);
    Some(names.into_iter().map(|name| name.value.clone()).collect())
}

/// The jurisdiction of a region, when both are known.
pub(super) fn jurisdiction<'r>(regions: &'r [RawRegion], name: &RegionName) -> Option<&'r Jurisdiction> {
    regions.iter().find(|region| region.name.value() == Some(name))?.jurisdiction.value()
}

pub(super) fn check(raw: &Raw, report: &Report) {
    if let Some(pop) = raw.pop.value()
        && let Some(region) = pop.region.given()
        && !raw.regions.is_empty()
    {
        let known = raw.regions.iter().filter_map(|region| region.name.value());
        refer(report, region, &pop.place.key("region"), "region", known);
    }
}
