//! Backends.

use std::{fmt, net::SocketAddr};

use proxima_types::{BackendId, Health, Jurisdiction, ProviderName, RegionName, Weight};
use serde::{Deserialize, Serialize};

use crate::{ReceivedRoute, Timestamp, VerdictReason};

/// All backends: pools sorted by name, backends in the order of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backends {
    /// The backends.
    pub backends: Vec<Backend>,
}

/// One backend and the verdict on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// `pool/backend`.
    pub id: BackendId,
    /// Its region.
    pub region: RegionName,
    /// Its region's jurisdiction.
    pub jurisdiction: Jurisdiction,
    /// Whose it is.
    pub provider: Option<ProviderName>,
    /// Where it is reached.
    pub address: SocketAddr,
    /// 0 is tried first.
    pub tier: u8,
    /// Its share of traffic.
    pub weight: Weight,
    /// The verdict.
    pub health: Health,
    /// Since when.
    pub since: Timestamp,
    /// Why; absent before the first verdict.
    pub reason: Option<VerdictReason>,
    /// Round trip to it as probes measure it, in microseconds.
    pub rtt_us: Option<u64>,
    /// Every region uses it: its loss de-prefers, and never withdraws.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// What it is to its replicas or its primary, where its probe asks; as it was last known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<ServerRole>,
    /// How far it is behind its primary, in milliseconds, where its probe asks; as it was last known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// When its own certificate ends, where its probe sees one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ends: Option<Timestamp>,
    /// That it can't be checked; absent where it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchecked: Option<Unchecked>,
    /// How near it makes its region; absent where only the round trip counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<Distance>,
}

/// That the checks of a backend can't be made: its verdict is as old as that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unchecked {
    /// Since when no probe of it has ended.
    pub since: Timestamp,
    /// Why the latest one could not be made; absent where none has even failed.
    pub why: Option<String>,
    /// Whether scores still believe the verdict. Requests go by it in any case.
    pub believed: bool,
}

impl fmt::Display for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not checked since {:.0}", self.since)?;
        if let Some(why) = &self.why {
            write!(f, ": {why}")?;
        }
        f.write_str(if self.believed { "" } else { " (not up as far as scores go)" })
    }
}

/// What a server of a replicated database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerRole {
    /// It takes writes.
    Primary,
    /// It follows a primary.
    Replica,
}

impl ServerRole {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Primary, Self::Replica];
}

impl fmt::Display for ServerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        })
    }
}

/// What makes a region near, other than the round trip, which decides among equals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Distance {
    /// It is the own region: always the nearest.
    Own,
    /// The order of the configuration.
    Configured {
        /// From 1, the own region included.
        place: u32,
    },
    /// The best BGP path to the backend.
    Bgp {
        /// From 1 for the nearest; backends with equal paths share a place.
        place: u32,
        /// LOCAL_PREF as it is compared: with the default, and 0 for a path that is about to go (RFC 8326).
        compared_local_pref: u32,
        /// The path.
        route: Box<ReceivedRoute>,
    },
    /// No received route leads to the backend: the farthest.
    NoRoute,
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("own region"),
            Self::Configured { place } => write!(f, "{place} as configured"),
            Self::Bgp { place, compared_local_pref, route } => {
                write!(f, "{place} by bgp: local-pref {compared_local_pref}")?;
                if !route.as_path.0.is_empty() {
                    write!(f, ", path {}", route.as_path)?;
                }
                if let Some(med) = route.med {
                    write!(f, ", med {med}")?;
                }
                write!(f, ", {} of {}", route.prefix, route.peer)
            }
            Self::NoRoute => f.write_str("last by bgp: no route"),
        }
    }
}
