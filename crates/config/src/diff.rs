//! What changes from one configuration to the next, in the units a reload works with.
//!
//! What is in no list is untouched: its sessions, listeners and connections stay as they are.

use std::{collections::BTreeMap, fmt};

use proxima_types::{GroupName, PeerName, PoolName, ServiceName, StationName};
use serde::Serialize;

use crate::{Bmp, Config, Peer};

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
    /// Everything else that differs.
    pub other: Vec<Part>,
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
    /// `[pop]`.
    Pop,
    /// `[regions]`.
    Regions,
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
    /// `[catchment]`.
    Catchment,
    /// `[data-plane]`.
    DataPlane,
    /// `[limits]`.
    Limits,
    /// `[drain]`.
    Drain,
    /// `[admin]`.
    Admin,
    /// `[metrics]`.
    Metrics,
    /// `[log]`.
    Log,
}

impl Config {
    /// What has to be done to get from `old` to `new`.
    pub fn diff(old: &Self, new: &Self) -> Diff {
        let differs = [
            (Part::Pop, old.pop != new.pop),
            (Part::Regions, old.regions != new.regions),
            (Part::LocalAs, old.bgp.local_as != new.bgp.local_as),
            (Part::BgpListen, old.bgp.listen != new.bgp.listen),
            (Part::BestPath, old.bgp.best_path != new.bgp.best_path),
            (Part::Mrt, old.bgp.mrt != new.bgp.mrt),
            (Part::Catchment, old.catchment != new.catchment),
            (Part::DataPlane, old.data_plane != new.data_plane),
            (Part::Limits, old.limits != new.limits),
            (Part::Drain, old.drain != new.drain),
            (Part::Admin, old.admin != new.admin),
            (Part::Metrics, old.metrics != new.metrics),
            (Part::Log, old.log != new.log),
        ];
        Diff {
            peers: Changes::between(&peers(old), &peers(new)),
            bmp: Changes::between(&stations(old), &stations(new)),
            groups: Changes::between(&old.groups, &new.groups),
            services: Changes::between(&old.services, &new.services),
            pools: Changes::between(&old.pools, &new.pools),
            other: differs.into_iter().filter_map(|(part, differs)| differs.then_some(part)).collect(),
        }
    }
}

fn peers(config: &Config) -> BTreeMap<PeerName, &Peer> {
    config.bgp.peers.iter().map(|peer| (peer.name.clone(), peer)).collect()
}

fn stations(config: &Config) -> BTreeMap<StationName, &Bmp> {
    config.bgp.bmp.iter().map(|station| (station.name.clone(), station)).collect()
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
            && self.bmp.is_empty()
            && self.groups.is_empty()
            && self.services.is_empty()
            && self.pools.is_empty()
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
        if !self.other.is_empty() {
            lines.push(format!(
                "other: ~{}",
                self.other.iter().map(Part::to_string).collect::<Vec<_>>().join(" ~")
            ));
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
            Self::Pop => "pop",
            Self::Regions => "regions",
            Self::LocalAs => "bgp.local-as",
            Self::BgpListen => "bgp.listen",
            Self::BestPath => "bgp.best-path",
            Self::Mrt => "bgp.mrt",
            Self::Catchment => "catchment",
            Self::DataPlane => "data-plane",
            Self::Limits => "limits",
            Self::Drain => "drain",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
            Self::Log => "log",
        })
    }
}
