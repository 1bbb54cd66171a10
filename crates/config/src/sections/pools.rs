//! `[pools.NAME]`: backends, and how they are probed.

use std::net::SocketAddr;

use proxima_types::{BackendId, PoolName, ProviderName, RegionName, Weight};

use super::{
    Place, Raw,
    client_tls::RawClientTls,
    element,
    notices::RawNotice,
    passive::RawPassive,
    place::{self, RawRegion},
    probes::RawProbe,
    refer, resolved,
};
use crate::{
    Backend, Balance, Passive, Pool, PoolProtocol,
    field::{At, Field},
    reference::Absent,
    report::{Report, Wrong},
    section::Section,
    value,
};

const TIER: u8 = 0;
const SHARED: bool = false;
const BALANCE: Balance = Balance::LeastRequest;
const PROTOCOL: PoolProtocol = PoolProtocol::Http1;

const POLICIES: [(&str, Balance); 2] =
    [("round-robin", Balance::RoundRobin), ("least-request", Balance::LeastRequest)];

const PROTOCOLS: [(&str, PoolProtocol); 3] =
    [("http/1.1", PoolProtocol::Http1), ("h2", PoolProtocol::Http2), ("h3", PoolProtocol::Http3)];

pub(super) struct RawPool {
    pub(super) name: Field<PoolName>,
    balance: Field<Balance>,
    pub(super) protocol: Field<PoolProtocol>,
    pub(super) tls: Field<RawClientTls>,
    probe: Field<RawProbe>,
    passive: Field<RawPassive>,
    notice: Field<RawNotice>,
    backends: Field<Vec<RawBackend>>,
    pub(super) place: Place,
}

pub(super) struct RawBackend {
    /// Checked as a name with the pool's.
    name: Field<String>,
    pub(super) region: Field<RegionName>,
    pub(super) address: Field<SocketAddr>,
    tier: Field<u8>,
    pub(super) weight: Field<u16>,
    pub(super) shared: Field<bool>,
    provider: Field<ProviderName>,
    pub(super) place: Place,
}

impl RawPool {
    pub(super) fn read(file: &mut Section<'_>) -> Vec<Self> {
        let doc = "Backends that serve the same thing, and how they are probed.";
        file.named("pools", doc).into_iter().map(|(name, pool)| Self::keys(name, pool)).collect()
    }

    fn keys(name: Field<PoolName>, mut pool: Section<'_>) -> Self {
        let hint = format!("add `[[{}.backends]]` with `name`, `region` and `address`", pool.path());
        let raw = Self {
            name,
            balance: pool.optional(
                "balance",
                value::word(&POLICIES),
                Absent::word(&POLICIES, &BALANCE),
                "How backends of one region and tier share the load, by weight. `least-request`: the less \
                loaded of two at random.",
            ),
            protocol: pool.optional(
                "protocol",
                value::word(&PROTOCOLS),
                Absent::word(&PROTOCOLS, &PROTOCOL),
                "What the backends speak, for HTTP services. `h2`: by prior knowledge, or by ALPN where \
                there is `tls`. `h3`: the pool has `tls`. A reload changes it for new connections.",
            ),
            tls: RawClientTls::read(&mut pool),
            probe: RawProbe::read(&mut pool),
            passive: RawPassive::read(&mut pool),
            notice: RawNotice::read(&mut pool),
            backends: pool
                .required_sections(
                    "backends",
                    &hint,
                    "One of the pool's backends. Names differ, and so do addresses; one at least has a \
                    weight. By a reload new ones get requests once they are up, what runs on those that \
                    are gone has `drain.streams` to end, and the others keep verdict and connections.",
                )
                .map(|backends| backends.into_iter().map(RawBackend::read).collect()),
            place: Place::of(&pool),
        };
        pool.close();
        raw
    }

    /// The backends; nothing when not all of them are known.
    pub(super) fn backends(&self) -> Option<&[RawBackend]> {
        self.backends.value().map(Vec::as_slice)
    }

    pub(super) fn resolve(&self, regions: &[RawRegion]) -> Option<(PoolName, Pool)> {
        let name = self.name.value()?.clone();
        let pool = Pool {
            name: name.clone(),
            balance: self.balance.or(BALANCE)?,
            protocol: self.protocol.or(PROTOCOL)?,
            tls: resolved(&self.tls, RawClientTls::resolve)?,
            probe: self.probe.value()?.resolve()?,
            passive: resolved(&self.passive, RawPassive::resolve)?.unwrap_or(Some(Passive::default())),
            notice: resolved(&self.notice, RawNotice::resolve)?,
            backends: self
                .backends()?
                .iter()
                .map(|backend| backend.resolve(&name, regions))
                .collect::<Option<_>>()?,
        };
        Some((name, pool))
    }
}

impl RawBackend {
    fn read(mut backend: Section<'_>) -> Self {
        let raw = Self {
            // A provider's name follows the same rule as a backend's.
            name: backend.required(
                "name",
                "\"app-1\"",
                value::parsed().map(|name: ProviderName| name.to_string()),
                "The backend's name in its pool.",
            ),
            region: backend.required("region", "\"eu\"", value::parsed(), "Where it is, one of `[regions]`."),
            address: backend.required(
                "address",
                "\"10.1.0.10:8080\"",
                value::endpoint(),
                "Where it listens; names are not looked up.",
            ),
            tier: backend.optional(
                "tier",
                value::integer(0..=255),
                Absent::is(TIER),
                "Tier 0 is tried first, the next when nothing of it is up.",
            ),
            weight: backend.optional(
                "weight",
                value::integer(0..=65535),
                Absent::is(Weight::default().0),
                "Its share of the traffic, and of its region's capacity; `0`: neither.",
            ),
            shared: backend.optional(
                "shared",
                value::boolean(),
                Absent::is(SHARED),
                "Whether every region uses it: its loss de-prefers the groups it gates and never withdraws \
                them, and it is no part of a region's capacity.",
            ),
            provider: backend.optional(
                "provider",
                value::parsed(),
                Absent::means("none"),
                "A label for people, told by `proxima --json backends`.",
            ),
            place: Place::of(&backend),
        };
        backend.close();
        raw
    }

    /// Whether the backend may get traffic, and counts towards the score of its region unless it is shared.
    pub(super) fn has_weight(&self) -> bool {
        self.weight.value() != Some(&0)
    }

    /// Whether every region uses it.
    pub(super) fn is_shared(&self) -> bool {
        self.shared.value() == Some(&true)
    }

    fn resolve(&self, pool: &PoolName, regions: &[RawRegion]) -> Option<Backend> {
        let region = self.region.value()?.clone();
        Some(Backend {
            id: BackendId::new(pool, self.name.value()?).ok()?,
            jurisdiction: place::jurisdiction(regions, &region)?.clone(),
            region,
            address: *self.address.value()?,
            tier: self.tier.or(TIER)?,
            weight: self.weight.maybe()?.map(Weight).unwrap_or_default(),
            shared: self.shared.or(SHARED)?,
            provider: self.provider.maybe()?,
        })
    }
}

pub(super) fn check(raw: &Raw, report: &Report) {
    for pool in &raw.pools {
        if let Some(passive) = pool.passive.value() {
            passive.check(report);
        }
        let backends = pool.backends().unwrap_or_default();
        if let Some(probe) = pool.probe.value() {
            probe.check(backends.iter().filter_map(|backend| backend.address.value()), report);
        }
        if let Some(notice) = pool.notice.value() {
            notice.check(report);
        }
        if let Some(protocol) = pool.protocol.given().filter(|at| at.value == PoolProtocol::Http3) {
            check_http3(pool, protocol, report);
        }
        for (index, backend) in backends.iter().enumerate() {
            if let Some(region) = backend.region.given() {
                let known = raw.regions.iter().filter_map(|region| region.name.value());
                refer(report, region, &backend.place.key("region"), "region", known);
            }
            check_distinct(
                report,
                &backends[..index],
                backend,
                &element(&pool.place.path, "backends", index),
            );
        }
        if !backends.is_empty() && backends.iter().all(|backend| !backend.has_weight()) {
            let wrong =
                Wrong::new("no backend of the pool has a weight above 0, so none would get any traffic")
                    .hint("give at least one backend a `weight`, or leave the key out for 100");
            report.section(pool.place.span.clone(), &pool.place.path, wrong);
        }
    }
}

/// What HTTP/3 asks of a pool.
fn check_http3(pool: &RawPool, protocol: &At<PoolProtocol>, report: &Report) {
    if matches!(pool.tls, Field::Absent) {
        let wrong = Wrong::new("HTTP/3 is spoken over TLS only, and the pool has no `tls`")
            .hint("add `tls = true`, or the table with a `ca-file`");
        report.elsewhere(protocol.span.clone(), &pool.place.key("protocol"), wrong);
    }
    if let Some(probe) = pool.probe.value() {
        probe.check_over_quic(report);
    }
}

fn check_distinct(report: &Report, earlier: &[RawBackend], backend: &RawBackend, path: &str) {
    if let Some(name) = backend.name.given()
        && earlier.iter().any(|other| other.name.value() == Some(&name.value))
    {
        let wrong = Wrong::new(format!("two backends of the pool are named `{}`", name.value))
            .hint("give each backend its own name");
        report.elsewhere(name.span.clone(), &format!("{path}.name"), wrong);
    }
    if let Some(address) = backend.address.given()
        && earlier.iter().any(|other| other.address.value() == Some(&address.value))
    {
        let wrong = Wrong::new(format!("two backends of the pool have the address {}", address.value))
            .hint("its capacity would count twice: remove one, and give the other the weight of both");
        report.elsewhere(address.span.clone(), &format!("{path}.address"), wrong);
    }
}
