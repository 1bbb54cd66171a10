//! `[pools.NAME]`: backends, and how they are probed.

use std::{net::SocketAddr, num::NonZeroU16, time::Duration};

use proxima_types::{BackendId, PoolName, ProviderName, RegionName, Weight};

use super::{
    Place, Raw, element,
    passive::RawPassive,
    place::{self, RawRegion},
    refer, resolved,
};
use crate::{
    Backend, Balance, Passive, Pool, Probe, ProbeKind, http,
    report::{Report, Wrong},
    section::{Field, Section},
    value,
};

const POLICIES: [(&str, Balance); 2] =
    [("round-robin", Balance::RoundRobin), ("least-request", Balance::LeastRequest)];
const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(500);
const RISE: NonZeroU16 = NonZeroU16::new(2).expect("2 is not 0");
const FALL: NonZeroU16 = NonZeroU16::new(3).expect("3 is not 0");
const EXPECT: u16 = 200;

pub(super) struct RawPool {
    pub(super) name: Field<PoolName>,
    balance: Field<Balance>,
    probe: Field<RawProbe>,
    passive: Field<RawPassive>,
    backends: Field<Vec<RawBackend>>,
    place: Place,
}

struct RawProbe {
    http: Field<String>,
    tcp: Field<bool>,
    expect: Field<u16>,
    host: Field<String>,
    interval: Field<Duration>,
    timeout: Field<Duration>,
    rise: Field<NonZeroU16>,
    fall: Field<NonZeroU16>,
    place: Place,
}

pub(super) struct RawBackend {
    /// Checked as a name with the pool's.
    name: Field<String>,
    pub(super) region: Field<RegionName>,
    address: Field<SocketAddr>,
    tier: Field<u8>,
    pub(super) weight: Field<u16>,
    pub(super) shared: Field<bool>,
    provider: Field<ProviderName>,
    place: Place,
}

impl RawPool {
    pub(super) fn read(file: &mut Section<'_>) -> Vec<Self> {
        file.named("pools")
            .into_iter()
            .map(|(name, mut pool)| {
                let raw = Self {
                    name,
                    balance: pool.optional("balance", value::word(&POLICIES)),
                    probe: RawProbe::read(&mut pool),
                    passive: RawPassive::read(&mut pool),
                    backends: match pool.sections("backends") {
                        Field::Absent => {
                            let hint = format!(
                                "add `[[{}.backends]]` with `name`, `region` and `address`",
                                pool.path()
                            );
                            pool.missing("backends", &hint)
                        }
                        found => found.map(|backends| backends.into_iter().map(RawBackend::read).collect()),
                    },
                    place: Place::of(&pool),
                };
                pool.close();
                raw
            })
            .collect()
    }

    /// The backends; nothing when not all of them are known.
    pub(super) fn backends(&self) -> Option<&[RawBackend]> {
        self.backends.value().map(Vec::as_slice)
    }

    pub(super) fn resolve(&self, regions: &[RawRegion]) -> Option<(PoolName, Pool)> {
        let name = self.name.value()?.clone();
        let pool = Pool {
            name: name.clone(),
            balance: self.balance.or(Balance::LeastRequest)?,
            probe: self.probe.value()?.resolve()?,
            passive: resolved(&self.passive, RawPassive::resolve)?.unwrap_or(Some(Passive::default())),
            backends: self
                .backends()?
                .iter()
                .map(|backend| backend.resolve(&name, regions))
                .collect::<Option<_>>()?,
        };
        Some((name, pool))
    }
}

impl RawProbe {
    fn read(pool: &mut Section<'_>) -> Field<Self> {
        match pool.section("probe") {
            Field::Absent => {
                pool.missing("probe", "add `probe = { http = \"/healthz\" }` or `probe = { tcp = true }`")
            }
            found => found.map(|mut probe| {
                let limits = Duration::from_millis(10)..=Duration::from_hours(1);
                let http = probe.optional("http", http::target);
                let raw = Self {
                    tcp: probe.optional("tcp", value::boolean),
                    interval: probe.optional("interval", value::duration(limits)),
                    timeout: probe.optional(
                        "timeout",
                        value::duration(Duration::from_millis(1)..=Duration::from_hours(1)),
                    ),
                    rise: probe.optional("rise", value::integer(1..=65535)).map(non_zero),
                    fall: probe.optional("fall", value::integer(1..=65535)).map(non_zero),
                    expect: probe.optional("expect", value::integer(100..=599)),
                    host: probe.optional("host", http::authority),
                    http,
                    place: Place::of(&probe),
                };
                probe.close();
                raw
            }),
        }
    }

    fn check(&self, report: &Report) {
        let tcp = self.tcp.value() == Some(&true);
        match (&self.http, &self.tcp) {
            (Field::Given(_), Field::Given(at)) if tcp => {
                let wrong =
                    Wrong::new("a probe is either `http` or `tcp`, not both").hint("remove one of the two");
                report.here(at.span.clone(), &self.place.key("tcp"), wrong);
            }
            (Field::Absent, _) if !tcp && !matches!(self.tcp, Field::Bad) => {
                let wrong = Wrong::new("the probe does not say what to ask")
                    .hint("add `http = \"/healthz\"` or `tcp = true`");
                report.here(self.place.span.clone(), &self.place.path, wrong);
            }
            _ => {}
        }
        if tcp {
            let spans = [
                ("expect", self.expect.given().map(|at| &at.span)),
                ("host", self.host.given().map(|at| &at.span)),
            ];
            for (key, span) in spans {
                if let Some(span) = span {
                    let wrong = Wrong::new(format!("`{key}` means nothing to a TCP probe"))
                        .hint(format!("remove `{key}`, or probe with `http = \"/healthz\"`"));
                    report.here(span.clone(), &self.place.key(key), wrong);
                }
            }
        }
        if let (Some(timeout), Some(interval)) = (self.timeout.given(), self.interval.or(INTERVAL))
            && timeout.value > interval
        {
            let (timeout_text, interval_text) = (value::show(timeout.value), value::show(interval));
            let wrong = Wrong::new(format!(
                "the timeout of {timeout_text} is longer than the interval of {interval_text}"
            ))
            .hint("a probe ends before the next one begins: shorten `timeout` or lengthen `interval`");
            report.here(timeout.span.clone(), &self.place.key("timeout"), wrong);
        }
    }

    fn resolve(&self) -> Option<Probe> {
        let interval = self.interval.or(INTERVAL)?;
        let kind = match self.http.maybe()? {
            Some(path) => ProbeKind::Http { path, expect: self.expect.or(EXPECT)?, host: self.host.maybe()? },
            None => ProbeKind::Tcp,
        };
        Some(Probe {
            kind,
            interval,
            timeout: self.timeout.or(TIMEOUT.min(interval))?,
            rise: self.rise.or(RISE)?,
            fall: self.fall.or(FALL)?,
        })
    }
}

impl RawBackend {
    fn read(mut backend: Section<'_>) -> Self {
        let raw = Self {
            name: backend.required("name", "\"app-1\"", |found| {
                // A provider's name follows the same rule as a backend's.
                value::parsed::<ProviderName>(found).map(|name| name.to_string())
            }),
            region: backend.required("region", "\"eu\"", value::parsed),
            address: backend.required("address", "\"10.1.0.10:8080\"", value::endpoint),
            tier: backend.optional("tier", value::integer(0..=255)),
            weight: backend.optional("weight", value::integer(0..=65535)),
            shared: backend.optional("shared", value::boolean),
            provider: backend.optional("provider", value::parsed),
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
            tier: self.tier.or(0)?,
            weight: self.weight.maybe()?.map(Weight).unwrap_or_default(),
            shared: self.shared.or(false)?,
            provider: self.provider.maybe()?,
        })
    }
}

pub(super) fn check(raw: &Raw, report: &Report) {
    for pool in &raw.pools {
        if let Some(probe) = pool.probe.value() {
            probe.check(report);
        }
        if let Some(passive) = pool.passive.value() {
            passive.check(report);
        }
        let backends = pool.backends().unwrap_or_default();
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

fn non_zero(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("read within a range that begins at 1")
}
