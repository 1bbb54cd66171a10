//! What changes from one configuration to the next, in the units a reload works with.
//!
//! What is in no list is untouched: its sessions, listeners and connections stay as they are.

use std::{collections::BTreeMap, fmt};

use proxima_types::{BackendId, GroupName, PeerName, PoolName, RegionName, ServiceName, StationName};
use serde::Serialize;

use crate::{Backend, Bmp, Config, Group, HttpService, Match, Peer, Protocol, Service};

/// The difference of two configurations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Sessions. One that takes a default from `[bgp]` changes with it; what can't be otherwise for one alone
    /// ([`Part::Pop`], [`Part::LocalAs`], …) is not repeated here.
    pub peers: Changes<PeerName>,
    /// Monitoring stations.
    pub bmp: Changes<StationName>,
    /// Announcement groups.
    pub groups: Changes<GroupName>,
    /// Services.
    pub services: Changes<ServiceName>,
    /// Pools, with their probes and backends.
    pub pools: Changes<PoolName>,
    /// Backends; what they share by their pool is not repeated here.
    pub backends: Changes<BackendId>,
    /// Regions.
    pub regions: Changes<RegionName>,
    /// Everything else that differs.
    pub other: Vec<Part>,
    /// Lists that hold something back or keep something up, and that are empty now or gone: their keys. Whoever left them
    /// out by mistake would rather hear of it.
    pub emptied: Vec<String>,
}

/// Named things that come, go or differ; each list sorted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changes<N> {
    /// Only in the new one.
    pub added: Vec<N>,
    /// Only in the old one.
    pub removed: Vec<N>,
    /// In both, and not the same.
    pub changed: Vec<N>,
}

/// A part of the file that holds nothing named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// `name` of `[pop]`.
    #[serde(rename = "pop.name")]
    PopName,
    /// `region` of `[pop]`.
    #[serde(rename = "pop.region")]
    PopRegion,
    /// `router-id` of `[pop]`.
    #[serde(rename = "pop.router-id")]
    RouterId,
    /// `local-as` of `[bgp]`.
    #[serde(rename = "bgp.local-as")]
    LocalAs,
    /// `listen` of `[bgp]`, or what follows from the peers when it is left out.
    #[serde(rename = "bgp.listen")]
    BgpListen,
    /// `best-path` of `[bgp]`.
    #[serde(rename = "bgp.best-path")]
    BestPath,
    /// `[bgp.mrt]`.
    #[serde(rename = "bgp.mrt")]
    Mrt,
    /// `[acme]`.
    Acme,
    /// `[catchment]`.
    Catchment,
    /// `[quic-lb]`.
    QuicLb,
    /// `workers` of `[data-plane]`.
    #[serde(rename = "data-plane.workers")]
    Workers,
    /// `distance` of `[data-plane]`, or the order of the regions where that is what it goes by.
    #[serde(rename = "data-plane.distance")]
    Distance,
    /// `[limits]`.
    Limits,
    /// `[drain]`.
    Drain,
    /// `[admin]`.
    Admin,
    /// `[metrics]`.
    Metrics,
    /// `level` of `[log]`.
    #[serde(rename = "log.level")]
    LogLevel,
    /// `format` of `[log]`.
    #[serde(rename = "log.format")]
    LogFormat,
}

impl Config {
    /// What has to be done to get from `old` to `new`.
    pub fn diff(old: &Self, new: &Self) -> Diff {
        let differs = [
            (Part::PopName, old.pop.name != new.pop.name),
            (Part::PopRegion, old.pop.region != new.pop.region),
            (Part::RouterId, old.pop.router_id != new.pop.router_id),
            (Part::LocalAs, old.bgp.local_as != new.bgp.local_as),
            (Part::BgpListen, old.bgp.listen != new.bgp.listen),
            (Part::BestPath, old.bgp.best_path != new.bgp.best_path),
            (Part::Mrt, old.bgp.mrt != new.bgp.mrt),
            (Part::Acme, old.issuers != new.issuers),
            (Part::Catchment, old.catchment != new.catchment),
            (Part::QuicLb, old.quic_lb != new.quic_lb),
            (Part::Workers, old.data_plane.workers != new.data_plane.workers),
            (Part::Distance, old.data_plane.distance != new.data_plane.distance),
            (Part::Limits, old.limits != new.limits),
            (Part::Drain, old.drain != new.drain),
            (Part::Admin, old.admin != new.admin),
            (Part::Metrics, old.metrics != new.metrics),
            (Part::LogLevel, old.log.level != new.log.level),
            (Part::LogFormat, old.log.format != new.log.format),
        ];
        Diff {
            peers: Changes::between(&peers(old), &peers(new)),
            bmp: Changes::between(&stations(old), &stations(new)),
            groups: Changes::between(&old.groups, &new.groups),
            services: Changes::between(&old.services, &new.services),
            pools: Changes::between(&old.pools, &new.pools),
            backends: Changes::between(&backends(old), &backends(new)),
            regions: Changes::between(&old.regions, &new.regions),
            other: differs.into_iter().filter_map(|(part, differs)| differs.then_some(part)).collect(),
            emptied: emptied(old, new),
        }
    }
}

/// Not every list: those that a session, a prefix or a fence hangs on.
fn emptied(old: &Config, new: &Config) -> Vec<String> {
    let whole = [
        ("bgp.peers", old.bgp.peers.is_empty(), new.bgp.peers.is_empty()),
        ("bgp.bmp", old.bgp.bmp.is_empty(), new.bgp.bmp.is_empty()),
        ("announce", old.groups.is_empty(), new.groups.is_empty()),
        ("services", old.services.is_empty(), new.services.is_empty()),
        ("pools", old.pools.is_empty(), new.pools.is_empty()),
    ];
    let whole = whole.into_iter().filter(|(_, was, is)| *is && !was).map(|(key, ..)| key.to_owned());
    let groups = old.groups.iter().filter_map(|(name, old)| Some((old, new.groups.get(name)?)));
    let services = old.services.iter().filter_map(|(name, old)| Some((old, new.services.get(name)?)));
    whole
        .chain(groups.flat_map(|(old, new)| emptied_communities(old, new)))
        .chain(services.clone().flat_map(|(old, new)| lost_fences(old, new)))
        .chain(services.filter_map(|(old, new)| lost_clients(old, new)))
        .collect()
}

fn emptied_communities(old: &Group, new: &Group) -> Vec<String> {
    let mut keys = Vec::new();
    if new.attributes.communities.is_empty() && !old.attributes.communities.is_empty() {
        keys.push(format!("announce.{}.communities", old.name));
    }
    // Those of the group itself are among them.
    let adds = |group: &Group| {
        let degraded = group.degraded.as_ref()?;
        Some(degraded.attributes.communities.len() > group.attributes.communities.len())
    };
    if adds(old) == Some(true) && adds(new) == Some(false) {
        keys.push(format!("announce.{}.degraded.communities", old.name));
    }
    keys
}

/// Where requests or connections that were inside a fence now go without one. Routes are numbered as in the new file, from 1.
fn lost_fences(old: &Service, new: &Service) -> Vec<String> {
    let were_fenced: Vec<&Match> = match &old.protocol {
        Protocol::Tcp(before) => before.residency.iter().map(|_| &EVERYTHING).collect(),
        Protocol::Http(before) => {
            let fenced = before.routes.iter().filter(|route| route.residency.is_some());
            fenced.map(|route| &route.matches).collect()
        }
    };
    match &new.protocol {
        Protocol::Tcp(after) => {
            let lost = !were_fenced.is_empty() && after.residency.is_none();
            lost.then(|| format!("services.{}.residency", old.name)).into_iter().collect()
        }
        Protocol::Http(after) => {
            // One that is still there is known by what it matches.
            let fate = |fenced: &Match| after.routes.iter().find(|route| route.matches == *fenced);
            let (kept, gone): (Vec<_>, Vec<_>) =
                were_fenced.into_iter().partition(|fenced| fate(fenced).is_some());
            let open = (1..).zip(&after.routes).filter(|(_, route)| route.residency.is_none());
            open.filter(|(_, route)| {
                kept.contains(&&route.matches) || gone.iter().any(|fenced| route.matches.overlaps(fenced))
            })
            .map(|(number, _)| format!("services.{}.routes[{number}].residency", old.name))
            .collect()
        }
    }
}

/// What a route without `match` takes.
static EVERYTHING: Match = Match { host: None, path_prefix: None, methods: Vec::new() };

impl Match {
    /// Whether some requests are taken by both.
    fn overlaps(&self, other: &Self) -> bool {
        let hosts = match (&self.host, &other.host) {
            (Some(own), Some(other)) => own == other,
            (None, _) | (_, None) => true,
        };
        let is_below = |path: &str, prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let paths = match (&self.path_prefix, &other.path_prefix) {
            (Some(own), Some(other)) => is_below(own, other) || is_below(other, own),
            (None, _) | (_, None) => true,
        };
        let methods = self.methods.is_empty()
            || other.methods.is_empty()
            || self.methods.iter().any(|method| other.methods.contains(method));
        hosts && paths && methods
    }
}

/// That a service takes anyone's clients now.
fn lost_clients(old: &Service, new: &Service) -> Option<String> {
    let Protocol::Http(HttpService { tls: Some(new), .. }) = &new.protocol else { return None };
    let Protocol::Http(HttpService { tls: Some(before), .. }) = &old.protocol else { return None };
    let lost = before.clients.is_some() && new.clients.is_none();
    lost.then(|| format!("services.{}.tls.client-ca", old.name))
}

fn peers(config: &Config) -> BTreeMap<PeerName, &Peer> {
    config.bgp.peers.iter().map(|peer| (peer.name.clone(), peer)).collect()
}

fn stations(config: &Config) -> BTreeMap<StationName, &Bmp> {
    config.bgp.bmp.iter().map(|station| (station.name.clone(), station)).collect()
}

fn backends(config: &Config) -> BTreeMap<BackendId, &Backend> {
    let backends = config.pools.values().flat_map(|pool| &pool.backends);
    backends.map(|backend| (backend.id.clone(), backend)).collect()
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
            && self.bmp.is_empty()
            && self.groups.is_empty()
            && self.services.is_empty()
            && self.pools.is_empty()
            && self.regions.is_empty()
            && self.other.is_empty()
    }
}

impl<N: Ord + Clone> Changes<N> {
    fn between<T: PartialEq>(old: &BTreeMap<N, T>, new: &BTreeMap<N, T>) -> Self {
        let names = |keep: &dyn Fn(&N) -> bool, map: &BTreeMap<N, T>| {
            map.keys().filter(|name| keep(name)).cloned().collect::<Vec<_>>()
        };
        Self {
            added: names(&|name| !old.contains_key(name), new),
            removed: names(&|name| !new.contains_key(name), old),
            changed: names(&|name| old.get(name).is_some_and(|old| old != &new[name]), new),
        }
    }
}

impl<N> Changes<N> {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// One line a kind: `pools: +new -old ~changed`; `nothing changes` when nothing does.
impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        lines.extend(self.peers.line("peers"));
        lines.extend(self.bmp.line("bmp"));
        lines.extend(self.groups.line("groups"));
        lines.extend(self.services.line("services"));
        lines.extend(self.pools.line("pools"));
        lines.extend(self.backends.line("backends"));
        lines.extend(self.regions.line("regions"));
        if !self.other.is_empty() {
            lines.push(format!(
                "other: ~{}",
                self.other.iter().map(Part::to_string).collect::<Vec<_>>().join(" ~")
            ));
        }
        if !self.emptied.is_empty() {
            lines.push(format!("emptied: {}", self.emptied.join(" ")));
        }
        if lines.is_empty() { f.write_str("nothing changes") } else { f.write_str(&lines.join("\n")) }
    }
}

impl<N: fmt::Display> Changes<N> {
    fn line(&self, kind: &str) -> Option<String> {
        let signed = [('+', &self.added), ('-', &self.removed), ('~', &self.changed)];
        let words: Vec<String> = signed
            .iter()
            .flat_map(|(sign, names)| names.iter().map(move |name| format!("{sign}{name}")))
            .collect();
        (!words.is_empty()).then(|| format!("{kind}: {}", words.join(" ")))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::PopName => "pop.name",
            Self::PopRegion => "pop.region",
            Self::RouterId => "pop.router-id",
            Self::LocalAs => "bgp.local-as",
            Self::BgpListen => "bgp.listen",
            Self::BestPath => "bgp.best-path",
            Self::Mrt => "bgp.mrt",
            Self::Acme => "acme",
            Self::Catchment => "catchment",
            Self::QuicLb => "quic-lb",
            Self::Workers => "data-plane.workers",
            Self::Distance => "data-plane.distance",
            Self::Limits => "limits",
            Self::Drain => "drain",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
            Self::LogLevel => "log.level",
            Self::LogFormat => "log.format",
        })
    }
}
