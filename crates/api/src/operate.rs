//! Drain, undrain, reload, and what an error says.

use std::fmt;

use proxima_types::PeerName;
use serde::{Deserialize, Serialize};

use crate::{By, Timestamp};

/// Take this PoP out of anycast: its groups are withdrawn, what still arrives is served.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// Why, for those who read the status and the events.
    #[serde(default)]
    pub reason: Option<String>,
    /// For how long, in milliseconds, within the bounds of [`OrderRequest`](crate::OrderRequest); absent: until it is put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

/// That an operator drained this PoP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: Option<String>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// Until when; absent: until it is put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What a drain or an undrain brought about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// This request changed something; false when it was so already.
    pub changed: bool,
    /// Drained now; absent when not.
    pub drained: Option<Drained>,
}

/// Read the configuration file again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// Take it even though a list that was not empty is empty now.
    #[serde(default)]
    pub force: bool,
}

/// What a reload brought about. What is in no list is untouched.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reloaded {
    /// Peers.
    pub peers: Reloads,
    /// Monitoring stations.
    pub bmp: Reloads,
    /// Announcement groups.
    #[serde(default)]
    pub groups: Reloads,
    /// Services: their routes, pools and deadlines.
    #[serde(default)]
    pub services: Reloads,
    /// Pools, with their probes and backends.
    #[serde(default)]
    pub pools: Reloads,
    /// Backends, as `pool/backend`. One at another address is changed, and begins anew all the same.
    #[serde(default)]
    pub backends: Reloads,
    /// Regions.
    #[serde(default)]
    pub regions: Reloads,
    /// Whose certificates, keys, authorities or ticket keys are others now than before, though the file may say the same:
    /// `services.api.tls`, ….
    #[serde(default)]
    pub tls: Vec<String>,
    /// What else has other settings now, by its key in the file: `drain`, `bgp.mrt`, ….
    #[serde(default)]
    pub other: Vec<String>,
}

/// Named things that a reload has touched; each list sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reloads {
    /// New.
    pub added: Vec<String>,
    /// Gone.
    pub removed: Vec<String>,
    /// With other settings, keys and passwords in their files included.
    pub changed: Vec<String>,
}

impl Reloads {
    /// Whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl Reloaded {
    /// Each kind of named thing.
    fn named(&self) -> [(&'static str, &Reloads); 7] {
        [
            ("peers", &self.peers),
            ("bmp", &self.bmp),
            ("groups", &self.groups),
            ("services", &self.services),
            ("pools", &self.pools),
            ("backends", &self.backends),
            ("regions", &self.regions),
        ]
    }

    /// Whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        self.named().iter().all(|(_, reloads)| reloads.is_empty()) && self.other.is_empty()
    }
}

/// One line a kind: `peers: +new -old ~changed`; `nothing changes` when nothing does.
impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |kind: &str, reloads: &Reloads| {
            let signed = [('+', &reloads.added), ('-', &reloads.removed), ('~', &reloads.changed)];
            let words: Vec<String> = signed
                .iter()
                .flat_map(|(sign, names)| names.iter().map(move |name| format!("{sign}{name}")))
                .collect();
            (!words.is_empty()).then(|| format!("{kind}: {}", words.join(" ")))
        };
        let mut lines: Vec<String> =
            self.named().into_iter().filter_map(|(kind, reloads)| line(kind, reloads)).collect();
        if !self.tls.is_empty() {
            lines.push(format!("certificates and keys: ~{}", self.tls.join(" ~")));
        }
        if !self.other.is_empty() {
            lines.push(format!("other: ~{}", self.other.join(" ~")));
        }
        if lines.is_empty() { f.write_str("nothing changes") } else { f.write_str(&lines.join("\n")) }
    }
}

/// The daemon leaves its peers without a word and begins anew at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarting {
    /// Peers that keep our routes meanwhile (RFC 4724).
    pub helped_by: Vec<PeerName>,
    /// Peers that drop them until it is back.
    pub dropped_by: Vec<PeerName>,
}

/// Upgrade, although the new file empties what was not empty, or would have nothing announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradeRequest {
    /// Upgrade all the same.
    #[serde(default)]
    pub force: bool,
}

/// Another process has taken over; its predecessor has its clients' connections still, and no part in anything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// The process that has taken over.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// The process before.
    pub from_pid: u32,
    /// Its version.
    pub from_version: String,
    /// Peers whose sessions went over. Sessions that were not established begin anew.
    pub peers: Vec<PeerName>,
    /// How long sessions and decisions stood still, in microseconds. Zero of a version that does not tell.
    #[serde(default)]
    pub still_us: u64,
    /// How long the process before waits for its clients' connections to end, in milliseconds.
    pub drain_ms: u64,
}

/// Restart, although some peers will drop our routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartRequest {
    /// Restart all the same when established peers do not help.
    #[serde(default)]
    pub force: bool,
}

/// The body of every answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong.
    pub error: String,
    /// Everything that is wrong, where that is more than a line, each for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// The remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
