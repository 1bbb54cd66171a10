//! `[announce.NAME]`: prefixes that share a fate, and the scores that decide it.

mod attributes;
mod degraded;
mod guard;
mod withdrawn;

use std::{collections::BTreeMap, net::SocketAddr, ops::Bound, time::Duration};

use proxima_types::{Family, GroupName, PoolName, Prefix, RegionName, RouteAttributes, Score, ServiceName};

use self::{
    attributes::RawAttributes,
    degraded::RawDegraded,
    guard::RawGuard,
    withdrawn::{RawDamping, RawWithdrawn},
};
use super::{Place, Raw, bgp, distinct, element, refer, resolved, services::RawService};
use crate::{
    Group, Pool, Service, Vip, WhenDown, Withdrawn,
    field::{At, Field, List},
    reader::Reader,
    reference::{Absent, Shape},
    report::{Report, Wrong},
    section::Section,
    value,
};

/// The least time without a probe's end that is taken for a dead checker, where nothing is configured.
const DEAD_MAN: Duration = Duration::from_secs(30);
const VIP: Vip = Vip::AnyIp;
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
    damping: Field<RawDamping>,
    guard: Field<RawGuard>,
    dead_man: Field<Duration>,
    place: Place,
}

/// What is known of the rest of the file when groups are resolved.
pub(super) struct Around<'r> {
    pub(super) region: &'r RegionName,
    pub(super) services: &'r BTreeMap<ServiceName, Service>,
    pub(super) pools: &'r BTreeMap<PoolName, Pool>,
}

impl RawGroup {
    pub(super) fn read(file: &mut Section<'_>) -> Vec<Self> {
        let doc = "Prefixes that share a fate: announced, made less attractive and withdrawn together. See \
            [from a probe to a route](health.md). A reload sends only routes that differ.";
        file.named("announce", doc).into_iter().map(|(name, group)| Self::keys(name, group)).collect()
    }

    fn keys(name: Field<GroupName>, mut group: Section<'_>) -> Self {
        let prefixes = group.required_list(
            "prefixes",
            "[\"203.0.113.0/24\"]",
            announceable(),
            "What is announced. Prefixes of different groups do not overlap, and each family is carried by \
            a peer.",
        );
        let services = group.required_list(
            "services",
            "[\"web\"]",
            value::parsed(),
            "The services whose health gates the group; the least healthy of them decides.",
        );
        let attributes = RawAttributes::read(&mut group);
        let vip = group.optional(
            "vip",
            value::word(&VIPS),
            Absent::word(&VIPS, &VIP),
            "How the prefixes become local to this host. `anyip`: by a local route for each. `none`: the \
            operator sees to it.",
        );
        let hand_over = group.optional(
            "hand-over",
            value::boolean(),
            Absent::means("`true`; `false` beside `when-down = \"stay\"`"),
            "With `[catchment]`: whether running connections to these prefixes may be handed over between \
            PoPs, and with them whatever they carry.",
        );
        let when_down = group.optional(
            "when-down",
            value::word(&WHEN_DOWN),
            Absent::word(&WHEN_DOWN, &Down::Withdraw),
            "What health does when the region no longer serves. `withdraw`: see `withdrawn`. `stay`: never \
            withdraws, so that this PoP answers whatever happens.",
        );
        let degraded = group
            .section(
                "degraded",
                Absent::means("never by its score"),
                "When the group is made less attractive (de-preferred), and how. At least one attribute \
                differs.",
            )
            .map(RawDegraded::read);
        let (withdrawn, guard) = if when_down.value() == Some(&Down::Stay) {
            let hint = "health never withdraws this group: remove the section, or `when-down`";
            group.refuse("withdrawn", "beside `when-down = \"stay\"`", hint);
            group.refuse("guard", "beside `when-down = \"stay\"`", hint);
            (Field::Absent, Field::Absent)
        } else {
            let withdrawn = group
                .section("withdrawn", Absent::means("its defaults"), "When health withdraws the group.")
                .map(RawWithdrawn::read);
            let guard = group
                .section(
                    "guard",
                    Absent::means("health needs nobody's word"),
                    "Never the last one to leave: health withdraws the group only while others are seen to \
                    announce it. See [the guard](guard.md).",
                )
                .map(RawGuard::read);
            (withdrawn, guard)
        };
        let damping = RawDamping::read(&mut group);
        let dead_man = group.optional(
            "dead-man",
            value::duration_or_zero(Duration::from_secs(1)..=Duration::from_hours(24), "never"),
            Absent::is(DEAD_MAN)
                .or("three times the quickest gating probe with its timeout, where that is more"),
            "With no gating probe of the own region ended for so long nothing is known, and the group is \
            withdrawn. More than such a probe may take. `\"0s\"`: never.",
        );
        let place = Place::of(&group);
        group.close();
        Self {
            name,
            prefixes,
            services,
            attributes,
            vip,
            hand_over,
            when_down,
            degraded,
            withdrawn,
            damping,
            guard,
            dead_man,
            place,
        }
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

    pub(super) fn resolve(&self, around: &Around<'_>) -> Option<(GroupName, Group)> {
        let name = self.name.value()?.clone();
        let mut prefixes = self.prefixes.value()?.values()?;
        prefixes.sort_unstable();
        let attributes = self.attributes.over(&RouteAttributes::default())?;
        let when_down = match self.when_down.or(Down::Withdraw)? {
            Down::Stay => WhenDown::Stay,
            Down::Withdraw => WhenDown::Withdraw(self.thresholds()?),
        };
        let services = self.services.value()?.values()?;
        let dead_man = match self.dead_man.maybe()? {
            Some(given) => given,
            None => around.quickest(&services).map_or(DEAD_MAN, |pace| DEAD_MAN.max(pace * 3)),
        };
        let group = Group {
            name: name.clone(),
            prefixes,
            services,
            vip: self.vip.or(VIP)?,
            hand_over: self.hand_over.or(when_down != WhenDown::Stay)?,
            degraded: resolved(&self.degraded, |degraded| degraded.resolve(&attributes))?,
            attributes,
            when_down,
            damping: RawDamping::resolve(&self.damping)?,
            guard: resolved(&self.guard, RawGuard::resolve)?,
            dead_man: Some(dead_man).filter(|wait| !wait.is_zero()),
        };
        Some((name, group))
    }

    fn thresholds(&self) -> Option<Withdrawn> {
        resolved(&self.withdrawn, RawWithdrawn::resolve).map(|given| given.unwrap_or_else(withdrawn::default))
    }
}

impl Around<'_> {
    /// From the end of one probe of a gating backend of the own region to the end of the next, at most, of the pool that is
    /// probed the quickest; nothing without such a backend.
    fn quickest(&self, services: &[ServiceName]) -> Option<Duration> {
        let pools = services.iter().filter_map(|name| self.services.get(name)).flat_map(Service::pools);
        pools.filter_map(|name| pace(self.pools.get(name)?, self.region)).min()
    }
}

/// From the end of one probe of a backend in `region` to the end of the next, at most; nothing without such a backend.
fn pace(pool: &Pool, region: &RegionName) -> Option<Duration> {
    pool.backends.iter().any(|backend| backend.region == *region).then(|| pool.probe.pace())
}

pub(super) fn check(raw: &Raw, report: &Report) {
    for (index, group) in raw.groups.iter().enumerate() {
        check_prefixes(raw, report, group, &raw.groups[..index]);
        let local_as = bgp::local_as(raw);
        group.attributes.check(report, &group.place, local_as);
        if let Some(degraded) = group.degraded.value() {
            degraded.check(report, &group.attributes, local_as);
        }
        if let Some(withdrawn) = group.withdrawn.value() {
            withdrawn.check(report);
        }
        if let Some(damping) = group.damping.value() {
            damping.check(report);
        }
        if let Some(guard) = group.guard.value() {
            guard.check(raw, report, group.prefixes());
        }
        check_dead_man(raw, report, group);
        check_degraded_before_withdrawn(report, group);
        check_services(raw, report, group);
        if group.vip.or(VIP) == Some(Vip::AnyIp) {
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

/// In plain life the dead man's time never runs out.
fn check_dead_man(raw: &Raw, report: &Report, group: &RawGroup) {
    let Some(at) = group.dead_man.given().filter(|at| !at.value.is_zero()) else { return };
    let region = raw.pop.value().and_then(|pop| pop.region.value());
    let (Some(region), Some(services)) = (region, group.services.value().and_then(List::values)) else {
        return;
    };
    let mut quickest: Option<Duration> = None;
    for name in &services {
        let Some(pools) = find(raw, name).and_then(RawService::pools) else { return };
        for name in pools {
            let pool = raw.pools.iter().find(|pool| pool.name.value() == Some(name));
            let Some((_, pool)) = pool.and_then(|pool| pool.resolve(&raw.regions)) else { return };
            quickest = quickest.into_iter().chain(pace(&pool, region)).min();
        }
    }
    if let Some(pace) = quickest.filter(|pace| at.value <= *pace) {
        let pace = value::show(pace);
        let wrong = Wrong::new(format!(
            "the probes that gate the group may be {pace} apart, so it would be withdrawn in plain life"
        ))
        .hint(format!("write more than {pace}, better three times as much, or \"0s\" for never"));
        report.elsewhere(at.span.clone(), &group.place.key("dead-man"), wrong);
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
                _ if backend.is_shared() => return Some(true),
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
    for (peer, path) in bgp::peer_addresses(raw) {
        if let Some(prefix) = group.prefixes().iter().find(|prefix| prefix.value.contains(peer.value)) {
            let wrong = Wrong::new(format!(
                "{} is inside {}, all of which becomes local to this host: the peer could not be reached",
                peer.value, prefix.value
            ))
            .hint(format!("correct the address, or write `vip = \"none\"` in `{}`", group.place.path));
            report.elsewhere(peer.span.clone(), &path, wrong);
        }
    }
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
fn threshold() -> Reader<Score> {
    let reader = value::share().then(|score| {
        if score == Score::ZERO {
            return Err(Wrong::new("a threshold of 0 is never crossed: no score is below it").hint(
                "write a share above 0; to keep health from withdrawing a group write `when-down = \"stay\"`",
            ));
        }
        Ok(score)
    });
    reader.described(Shape::Number { from: Bound::Excluded(0.0), to: Bound::Included(1.0) })
}

/// What routers forward to nobody, with what it is for (RFC 6890; RFC 5771, 4291).
const NEVER_ROUTED: [(&str, &str); 9] = [
    ("0.0.0.0/8", "this network"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/127", "unspecified and loopback"),
    ("::ffff:0:0/96", "IPv4-mapped"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
];

/// A prefix, but not all addresses at once, and none that is never routed.
fn announceable() -> Reader<Prefix> {
    value::parsed().then(|prefix: Prefix| {
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
        let never =
            NEVER_ROUTED.iter().find(|(range, _)| range.parse().is_ok_and(|range| overlap(range, prefix)));
        if let Some((range, what)) = never {
            return Err(Wrong::new(format!("{prefix} is never routed: {range} is for {what} addresses"))
                .hint("write the prefix that holds the service's addresses"));
        }
        Ok(prefix)
    })
}
