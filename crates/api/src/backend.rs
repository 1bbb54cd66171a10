//! Backends.

use std::net::SocketAddr;

use proxima_types::{BackendId, Health, Jurisdiction, ProviderName, RegionName, Weight};
use serde::{Deserialize, Serialize};

use crate::{Timestamp, VerdictReason};

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
}
