//! `[announce.NAME]`: prefixes that share a fate, and the scores that decide it.

use std::{net::SocketAddr, time::Duration};

use proxima_types::{Community, Family, GroupName, Prefix, RouteAttributes, Score, ServiceName};

use super::{Place, Raw, bgp, distinct, element, refer, resolved, services::RawService};
use crate::{
    Degraded, Group, Vip, WhenDown, Withdrawn,
    report::{Report, Wrong},
    section::{At, Field, List, Section},
    value,
};

const WITHDRAWN_BELOW: f64 = 0.01;
const WITHDRAWN_ABOVE: f64 = 0.02;
const HOLD_DOWN: Duration = Duration::from_secs(10);
const MAX_PREPEND: u32 = 32;
/// What internal peers get where nothing is configured.
const LOCAL_PREF: u32 = 100;
const VIPS: [(&str, Vip); 2] = [("anyip", Vip::AnyIp), ("none", Vip::None)];
const WHEN_DOWN: [(&str, Down); 2] = [("withdraw", Down::Withdraw), ("stay", Down::Stay)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Down {
    Withdraw,
    Stay,
}

pub(super) struct RawGroup {
    name: Field<GroupName>,
    prefixes: Field<List<Prefix>>,
    services: Field<List<ServiceName>>,
    attributes: RawAttributes,
    vip: Field<Vip>,
    hand_over: Field<bool>,
    when_down: Field<Down>,
    degraded: Field<RawDegraded>,
    withdrawn: Field<RawWithdrawn>,
    place: Place,
}

struct RawAttributes {
    prepend: Field<u8>,
    med: Field<u32>,
    local_pref: Field<u32>,
    communities: Field<List<Community>>,
}

struct RawDegraded {
    below: Field<Score>,
    above: Field<Score>,
    attributes: RawAttributes,
    place: Place,
}

struct RawWithdrawn {
    below: Field<Score>,
    above: Field<Score>,
    hold_down: Field<Duration>,
    place: Place,
}

impl RawGroup {
    pub(super) fn read(file: &mut Section<'_>) -> Vec<Self> {
        file.named("announce").into_iter().map(|(name, group)| Self::read_one(name, group)).collect()
    }

    fn read_one(name: Field<GroupName>, mut group: Section<'_>) -> Self {
        let prefixes = group.required_list("prefixes", "[\"203.0.113.0/24\"]", announceable);
        let services = group.required_list("services", "[\"web\"]", value::parsed);
        let attributes = RawAttributes::read(&mut group);
        let vip = group.optional("vip", value::word(&VIPS));
        let hand_over = group.optional("hand-over", value::boolean);
        let when_down = group.optional("when-down", value::word(&WHEN_DOWN));
        let degraded = group.section("degraded").map(RawDegraded::read);
        let withdrawn = if when_down.value() == Some(&Down::Stay) {
            let hint = "health never withdraws this group: remove the section, or `when-down`";
            group.refuse("withdrawn", "beside `when-down = \"stay\"`", hint);
            Field::Absent
        } else {
            group.section("withdrawn").map(RawWithdrawn::read)
        };
        let place = Place::of(&group);
        group.close();
        Self { name, prefixes, services, attributes, vip, hand_over, when_down, degraded, withdrawn, place }
    }

    fn prefixes(&self) -> &[At<Prefix>] {
        self.prefixes.value().map_or(&[], |list| &list.elements)
    }

    fn services(&self) -> &[At<ServiceName>] {
        self.services.value().map_or(&[], |list| &list.elements)
    }

    /// Whether health decides anything about the group.
    fn heeds_health(&self) -> bool {
        self.when_down.value() != Some(&Down::Stay) || !matches!(self.degraded, Field::Absent)
    }

    pub(super) fn resolve(&self) -> Option<(GroupName, Group)> {
        let name = self.name.value()?.clone();
        let mut prefixes = self.prefixes.value()?.values()?;
        prefixes.sort_unstable();
        let attributes = self.attributes.over(&RouteAttributes::default())?;
        let when_down = match self.when_down.or(Down::Withdraw)? {
            Down::Stay => WhenDown::Stay,
            Down::Withdraw => WhenDown::Withdraw(self.thresholds()?),
        };
        let group = Group {
            name: name.clone(),
            prefixes,
            services: self.services.value()?.values()?,
            vip: self.vip.or(Vip::AnyIp)?,
            hand_over: self.hand_over.or(when_down != WhenDown::Stay)?,
            degraded: resolved(&self.degraded, |degraded| degraded.resolve(&attributes))?,
            attributes,
            when_down,
        };
        Some((name, group))
    }

    fn thresholds(&self) -> Option<Withdrawn> {
        let default = Withdrawn {
            below: Score::new(WITHDRAWN_BELOW),
            above: Score::new(WITHDRAWN_ABOVE),
            hold_down: HOLD_DOWN,
        };
        resolved(&self.withdrawn, |withdrawn| {
            Some(Withdrawn {
                below: withdrawn.below.or(default.below)?,
                above: withdrawn.above.or(default.above)?,
                hold_down: withdrawn.hold_down.or(default.hold_down)?,
            })
        })
        .map(|given| given.unwrap_or(default))
    }
}

impl RawAttributes {
    fn read(section: &mut Section<'_>) -> Self {
        Self {
            prepend: section.optional("prepend", value::integer(0..=MAX_PREPEND)),
            med: section.optional("med", value::integer(0..=u32::MAX)),
            local_pref: section.optional("local-pref", value::integer(0..=u32::MAX)),
            communities: section.optional_list("communities", value::parsed),
        }
    }

    /// These attributes where given, `base` where not; the communities of both.
    fn over(&self, base: &RouteAttributes) -> Option<RouteAttributes> {
        let mut communities = base.communities.clone();
        communities.extend(resolved(&self.communities, List::values)?.unwrap_or_default());
        communities.sort_unstable();
        communities.dedup();
        Some(RouteAttributes {
            prepend: self.prepend.or(base.prepend)?,
            med: self.med.maybe()?.or(base.med),
            local_pref: self.local_pref.maybe()?.or(base.local_pref),
            communities,
            large_communities: base.large_communities.clone(),
        })
    }

    fn check(&self, report: &Report, place: &Place) {
        if let Some(communities) = self.communities.value() {
            distinct(report, &communities.elements, &place.key("communities"));
        }
    }
}

impl RawDegraded {
    fn read(mut degraded: Section<'_>) -> Self {
        let raw = Self {
            below: degraded.required("below", "0.8", threshold),
            above: degraded.required("above", "0.9", threshold),
            attributes: RawAttributes::read(&mut degraded),
            place: Place::of(&degraded),
        };
        degraded.close();
        raw
    }

    fn resolve(&self, healthy: &RouteAttributes) -> Option<Degraded> {
        Some(Degraded {
            below: *self.below.value()?,
            above: *self.above.value()?,
            attributes: self.attributes.over(healthy)?,
        })
    }

    /// De-preference has to change something, and never for the better.
    fn check(&self, report: &Report, healthy: &RawAttributes) {
        self.attributes.check(report, &self.place);
        check_order(report, &self.place, &self.below, &self.above);
        let Some(healthy) = healthy.over(&RouteAttributes::default()) else { return };
        let Some(degraded) = self.attributes.over(&healthy) else { return };
        if degraded == healthy {
            let wrong = Wrong::new("the degraded state is announced just like the healthy one")
                .hint("add `prepend`, `med`, `local-pref` or `communities` that make it less attractive");
            report.section(self.place.span.clone(), &self.place.path, wrong);
        }
        if let Some(prepend) = self.attributes.prepend.given()
            && prepend.value < healthy.prepend
        {
            let wrong = Wrong::new(format!(
                "a shorter path attracts more traffic, and the healthy state has prepend {}",
                healthy.prepend
            ))
            .hint(format!("write at least {}", healthy.prepend));
            report.elsewhere(prepend.span.clone(), &self.place.key("prepend"), wrong);
        }
        if let (Some(med), Some(base)) = (self.attributes.med.given(), healthy.med)
            && med.value < base
        {
            let wrong =
                Wrong::new(format!("a lower MED attracts more traffic, and the healthy state has {base}"))
                    .hint(format!("write at least {base}"));
            report.elsewhere(med.span.clone(), &self.place.key("med"), wrong);
        }
        let usual = healthy.local_pref.unwrap_or(LOCAL_PREF);
        if let Some(preference) = self.attributes.local_pref.given()
            && preference.value > usual
        {
            let wrong = Wrong::new(format!(
                "a higher LOCAL_PREF attracts more traffic, and the healthy state has {usual}"
            ))
            .hint(format!("write at most {usual}"));
            report.elsewhere(preference.span.clone(), &self.place.key("local-pref"), wrong);
        }
    }
}

impl RawWithdrawn {
    fn read(mut withdrawn: Section<'_>) -> Self {
        let raw = Self {
            below: withdrawn.optional("below", threshold),
            above: withdrawn.optional("above", threshold),
            hold_down: withdrawn
                .optional("hold-down", value::duration(Duration::ZERO..=Duration::from_hours(24))),
            place: Place::of(&withdrawn),
        };
        withdrawn.close();
        raw
    }

    fn check(&self, report: &Report) {
        match (&self.below, &self.above) {
            (Field::Given(below), Field::Absent) => self.check_alone(report, below, "below", "above"),
            (Field::Absent, Field::Given(above)) => self.check_alone(report, above, "above", "below"),
            (below, above) => check_order(report, &self.place, below, above),
        }
    }

    fn check_alone(&self, report: &Report, given: &At<Score>, key: &str, other: &str) {
        let wrong = Wrong::new(format!("`{key}` is given without `{other}`"))
            .hint(format!("hysteresis needs both thresholds: add `{other}`"));
        report.elsewhere(given.span.clone(), &self.place.key(key), wrong);
    }
}

pub(super) fn check(raw: &Raw, report: &Report) {
    for (index, group) in raw.groups.iter().enumerate() {
        check_prefixes(raw, report, group, &raw.groups[..index]);
        group.attributes.check(report, &group.place);
        if let Some(degraded) = group.degraded.value() {
            degraded.check(report, &group.attributes);
        }
        if let Some(withdrawn) = group.withdrawn.value() {
            withdrawn.check(report);
        }
        check_degraded_before_withdrawn(report, group);
        check_services(raw, report, group);
        if group.vip.or(Vip::AnyIp) == Some(Vip::AnyIp) {
            check_vips(raw, report, group);
        }
    }
}

fn check_prefixes(raw: &Raw, report: &Report, group: &RawGroup, earlier: &[RawGroup]) {
    distinct(report, group.prefixes(), &group.place.key("prefixes"));
    for (index, prefix) in group.prefixes().iter().enumerate() {
        let path = element(&group.place.path, "prefixes", index);
        for other in earlier {
            let Some(clash) = other.prefixes().iter().find(|at| overlap(at.value, prefix.value)) else {
                continue;
            };
            let message = if clash.value == prefix.value {
                format!("{} is announced by `{}` already", prefix.value, other.place.path)
            } else {
                format!("{} overlaps {} of `{}`", prefix.value, clash.value, other.place.path)
            };
            let wrong = Wrong::new(message).hint(
                "each address belongs to one group, or withdrawing one would leave the other attracting its traffic",
            );
            report.elsewhere(prefix.span.clone(), &path, wrong);
        }
        let family = prefix.value.family();
        if bgp::carried(raw, family) == Some(false) {
            let wrong =
                Wrong::new(format!("no peer carries {family}, so {} would never be announced", prefix.value))
                    .hint(format!("add \"{family}\" to the `families` of a peer"));
            report.elsewhere(prefix.span.clone(), &path, wrong);
        }
    }
}

fn check_degraded_before_withdrawn(report: &Report, group: &RawGroup) {
    let Some(degraded) = group.degraded.value() else { return };
    if group.when_down.or(Down::Withdraw) != Some(Down::Withdraw) {
        return;
    }
    let Some(withdrawn) = group.thresholds() else { return };
    for (key, field, least) in
        [("below", &degraded.below, withdrawn.below), ("above", &degraded.above, withdrawn.above)]
    {
        if let Some(at) = field.given()
            && at.value < least
        {
            let least = least.share();
            let wrong = Wrong::new(format!(
                "the group would be withdrawn before it is de-preferred: `withdrawn` has `{key} = {least}`"
            ))
            .hint(format!("write at least {least} here, or lower `{}.withdrawn`", group.place.path));
            report.elsewhere(at.span.clone(), &degraded.place.key(key), wrong);
        }
    }
}

fn check_services(raw: &Raw, report: &Report, group: &RawGroup) {
    distinct(report, group.services(), &group.place.key("services"));
    for (index, name) in group.services().iter().enumerate() {
        let path = element(&group.place.path, "services", index);
        let known = raw.services.iter().filter_map(|service| service.name.value());
        refer(report, name, &path, "service", known);
        let Some(service) = find(raw, &name.value) else { continue };
        if group.heeds_health() && scores(raw, service) == Some(false) {
            let region = raw
                .pop
                .value()
                .and_then(|pop| pop.region.value())
                .map_or(String::new(), |r| format!(" `{r}`"));
            let wrong = Wrong::new(format!(
                "service `{}` has no backend in the own region{region}: the score would always be 0",
                name.value
            ))
            .hint("add a backend of the own region with a weight above 0 to its pools, or gate the group by another service");
            report.elsewhere(name.span.clone(), &path, wrong);
        }
    }
}

/// Whether some backend behind the service counts towards the own region's score; nothing when that is not known.
fn scores(raw: &Raw, service: &RawService) -> Option<bool> {
    let own = raw.pop.value()?.region.value()?;
    raw.regions.iter().find(|region| region.name.value() == Some(own))?;
    let mut known = true;
    for name in service.pools()? {
        let pool = raw.pools.iter().find(|pool| pool.name.value() == Some(name))?;
        for backend in pool.backends()? {
            match backend.region.value() {
                Some(region) if region == own && backend.has_weight() => return Some(true),
                Some(_) => {}
                None => known = false,
            }
        }
    }
    known.then_some(false)
}

/// What becomes local has to be listened on: a service that gates the group, on every prefix of the group.
fn check_vips(raw: &Raw, report: &Report, group: &RawGroup) {
    let listens: Option<Vec<SocketAddr>> = raw
        .services
        .iter()
        .map(|service| service.listen.value()?.values())
        .collect::<Option<Vec<_>>>()
        .map(|lists| lists.concat());
    let Some(listens) = listens else { return };
    for (index, prefix) in group.prefixes().iter().enumerate() {
        if !raw.services.is_empty() && !listens.iter().any(|listen| serves(*listen, prefix.value)) {
            let wrong = Wrong::new(format!("no service listens inside {}: its traffic would find nobody", prefix.value))
                .hint("add an address of it to the `listen` of a service, or write `vip = \"none\"` if others serve it");
            report.elsewhere(prefix.span.clone(), &element(&group.place.path, "prefixes", index), wrong);
        }
    }
    let Some(prefixes) = group.prefixes.value().and_then(List::values) else { return };
    for (index, name) in group.services().iter().enumerate() {
        let Some(service) = find(raw, &name.value) else { continue };
        let inside = |listen: &At<SocketAddr>| prefixes.iter().any(|prefix| serves(listen.value, *prefix));
        if !service.listens().any(inside) {
            let wrong = Wrong::new(format!("service `{}` listens on no address of this group", name.value))
                .hint("add an address inside `prefixes` to its `listen`, or write `vip = \"none\"`");
            report.elsewhere(name.span.clone(), &element(&group.place.path, "services", index), wrong);
        }
    }
}

fn find<'r>(raw: &'r Raw, name: &ServiceName) -> Option<&'r RawService> {
    raw.services.iter().find(|service| service.name.value() == Some(name))
}

/// Whether a listener takes connections to addresses of `prefix`.
fn serves(listen: SocketAddr, prefix: Prefix) -> bool {
    let any = listen.ip().is_unspecified() && listen.is_ipv4() == prefix.address().is_ipv4();
    any || prefix.contains(listen.ip())
}

fn overlap(a: Prefix, b: Prefix) -> bool {
    a.contains(b.address()) || b.contains(a.address())
}

fn check_order(report: &Report, place: &Place, below: &Field<Score>, above: &Field<Score>) {
    if let (Some(below), Some(above)) = (below.given(), above.given())
        && below.value > above.value
    {
        let (low, high) = (below.value.share(), above.value.share());
        let wrong = Wrong::new(format!("`below = {low}` is more than `above = {high}`")).hint(
            "the state is entered below the one and left at the other: `above` is the higher, or both are the same",
        );
        report.here(below.span.clone(), &place.key("below"), wrong);
    }
}

/// A threshold of the score. At 0 the state would never be entered.
fn threshold(found: &toml::de::DeValue<'_>) -> crate::section::Read<Score> {
    let score = value::share(found)?;
    if score == Score::ZERO {
        return Err(Wrong::new("a threshold of 0 is never crossed: no score is below it").hint(
            "write a share above 0; to keep health from withdrawing a group write `when-down = \"stay\"`",
        ));
    }
    Ok(score)
}

/// A prefix, but not all addresses at once.
fn announceable(found: &toml::de::DeValue<'_>) -> crate::section::Read<Prefix> {
    let prefix: Prefix = value::parsed(found)?;
    if prefix.length() == 0 {
        let family = match prefix.family() {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        };
        return Err(Wrong::new(format!(
            "{prefix} is every {family} address: announcing it would attract all traffic"
        ))
        .hint("write the prefix that holds the service's addresses"));
    }
    Ok(prefix)
}
