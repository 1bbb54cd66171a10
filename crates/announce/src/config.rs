//! What the operator sets for a group.

use std::time::Duration;

use proxima_types::{GroupName, Prefix, RouteAttributes, Score};

/// A group's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupConfig {
    /// The group.
    pub name: GroupName,
    /// The prefixes it announces; no others ever.
    pub prefixes: Vec<Prefix>,
    /// The attributes while announced.
    pub attributes: RouteAttributes,
    /// When and how it is de-preferred; `None`: never by health.
    pub degraded: Option<Degraded>,
    /// What health does to it when the region no longer serves.
    pub when_down: WhenDown,
}

/// When a group is de-preferred, and how. `below` ≤ `above`.
#[derive(Debug, Clone, PartialEq)]
pub struct Degraded {
    /// Entered when the score falls below this.
    pub below: Score,
    /// Left when the score reaches this.
    pub above: Score,
    /// All the attributes of this state, in place of the group's own.
    pub attributes: RouteAttributes,
}

/// What health does to a group when its region no longer serves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WhenDown {
    /// It is withdrawn.
    Withdraw(Withdrawn),
    /// It stays: the PoP itself answers. Health de-prefers it at most.
    Stay,
}

/// When a group is withdrawn. `below` ≤ `above`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Withdrawn {
    /// Entered when the score falls below this, and always at 0.
    pub below: Score,
    /// Left when the score reaches this, and never at 0.
    pub above: Score,
    /// The least time withdrawn by health.
    pub hold_down: Duration,
}
