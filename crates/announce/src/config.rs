//! What the operator sets for a group, and for all groups together.

use std::time::Duration;

use proxima_types::{GroupName, Prefix, RouteAttributes, Score};
use serde::{Deserialize, Serialize};

use crate::{Damping, GuardConfig};

/// The settings of all groups of a PoP.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AnnouncerConfig {
    /// The groups; each name once.
    pub groups: Vec<GroupConfig>,
    /// The most withdrawals by health over all groups; `None`: any number.
    pub cap: Option<Cap>,
}

/// A cap on withdrawals by health, over all groups. Faults of this PoP and the operator's orders are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    /// So many; at least 1.
    pub most: u32,
    /// Within any such time; above zero.
    pub within: Duration,
}

/// A group's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupConfig {
    /// The group.
    pub name: GroupName,
    /// The prefixes it announces; no others ever.
    pub prefixes: Vec<Prefix>,
    /// The attributes while announced.
    pub attributes: RouteAttributes,
    /// When and how it is de-preferred; `None`: never by health, but for what keeps it from being withdrawn.
    pub degraded: Option<Degraded>,
    /// What health does to it when the region no longer serves.
    pub when_down: WhenDown,
    /// A penalty for flaps; `None`: none.
    pub damping: Option<Damping>,
    /// Never the last one to leave by health; `None`: health needs nobody's word.
    pub guard: Option<GuardConfig>,
    /// The longest time without a probe's end after which its health is still believed; `None`: for ever, as where no probe
    /// of the own region gates the group.
    pub dead_man: Option<Duration>,
}

/// When a group is de-preferred, and how. `below` ≤ `above`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Degraded {
    /// Entered when the score falls below this.
    pub below: Score,
    /// Left when the score reaches this.
    pub above: Score,
    /// All the attributes of this state, in place of the group's own.
    pub attributes: RouteAttributes,
}

/// What health does to a group when its region no longer serves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum WhenDown {
    /// It is withdrawn.
    Withdraw(Withdrawn),
    /// It stays: the PoP itself answers. Health de-prefers it at most.
    Stay,
}

/// When a group is withdrawn. `below` ≤ `above`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// Entered when the score falls below this, and always at 0.
    pub below: Score,
    /// Left when the score reaches this, and never at 0.
    pub above: Score,
    /// The least time withdrawn by health.
    pub hold_down: Duration,
    /// The least time announced or de-preferred before health withdraws; a fault of this PoP does not wait.
    pub min_up: Duration,
}
