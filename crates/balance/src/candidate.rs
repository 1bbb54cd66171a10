//! A backend as balancing sees it.

use std::{net::SocketAddr, time::Duration};

use proxima_residency::Located;
use proxima_types::{BackendId, Health, Jurisdiction, RegionName, Weight};

/// A backend with all that balancing has to know of it at the time of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub backend: BackendId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its region.
    pub region: RegionName,
    /// Its region's jurisdiction.
    pub jurisdiction: Jurisdiction,
    /// 0 is tried first.
    pub tier: u8,
    /// Its share among its neighbours; 0 takes no new traffic.
    pub weight: Weight,
    /// The prober's verdict.
    pub health: Health,
    /// How far it is for other reasons than time; 0 is the nearest. The same for all where only the round-trip time counts.
    pub distance: u32,
    /// Round-trip time as the prober measured it.
    pub rtt: Option<Duration>,
}

impl Candidate {
    /// Whether it may take new traffic.
    pub fn is_usable(&self) -> bool {
        self.health == Health::Up && self.weight.0 > 0
    }
}

impl Located for Candidate {
    fn jurisdiction(&self) -> &Jurisdiction {
        &self.jurisdiction
    }
}
