//! What the control task knows and has decided, for a successor's.

use std::{collections::BTreeMap, time::Instant};

use proxima_announce::Announcer;
use proxima_api::{Timestamp, VerdictReason};
use proxima_health::Known;
use proxima_types::{BackendId, GroupName, Health};
use serde::{Deserialize, Serialize};

use crate::{control::Control, orders::Orders, routing::Observed, traffic::Carried};

/// The state of the control task. What it only counts, or sees again at once, is not part of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ControlState {
    /// The groups with everything that holds them: hysteresis, hold-down, damping, guard, orders, the cap.
    pub(crate) announcer: Announcer,
    /// What probes have found out.
    pub(crate) observed: BTreeMap<BackendId, Observed>,
    /// What else of a backend a prober begins with.
    #[serde(default)]
    pub(crate) known: BTreeMap<BackendId, Known>,
    /// Since when, and why, for people.
    pub(crate) verdicts: BTreeMap<BackendId, (Timestamp, VerdictReason)>,
    pub(crate) group_since: BTreeMap<GroupName, Timestamp>,
    /// Whose the orders are.
    pub(crate) orders: Orders,
    /// What real traffic degrades the groups by.
    pub(crate) traffic: Option<Carried>,
}

impl ControlState {
    /// What a prober begins with.
    pub(crate) fn known(&self, backend: &BackendId) -> Known {
        let health = self.observed.get(backend).map_or(Health::Unknown, |observed| observed.health);
        Known { health, ..self.known.get(backend).copied().unwrap_or_default() }
    }
}

impl Control {
    /// As of now. A verdict that is doubted is none: what is probed since says what is true.
    pub(crate) fn state(&self) -> ControlState {
        let believed = |backend: &BackendId| Observed { unchecked: false, ..self.believed(backend) };
        ControlState {
            announcer: self.groups.announcer().clone(),
            observed: self.observed.keys().map(|backend| (backend.clone(), believed(backend))).collect(),
            known: self
                .observed
                .keys()
                .map(|backend| (backend.clone(), self.prober.known(backend)))
                .collect(),
            verdicts: self.verdicts.clone(),
            group_since: self.group_since.clone(),
            orders: self.orders.clone(),
            traffic: self.traffic.carried(Instant::now(), self.groups.names()),
        }
    }
}
